#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Makes from the schemas what the build needs: C codecs and tables, the Python codec, vectors, fuzz seeds, reference docs.

    generate.py --out DIR     writes everything under DIR (files that would not change are left alone)
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

from weftgen import c_codec, c_tables  # noqa: E402
from weftgen.model import Model, SchemaError  # noqa: E402

FOLDER = os.path.dirname(os.path.abspath(__file__))


def write_if_changed(path, content):
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    try:
        with open(path, "rb") as file:
            if file.read() == data:
                return
    except OSError:
        pass
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def outputs(model):
    """Path below --out -> content."""
    return {
        "include/weft/errors.h": c_tables.errors_header(model),
        "include/weft_gen/limits.h": c_tables.limits_header(model),
        "include/weft_gen/config.h": c_tables.config_header(model),
        "include/weft_gen/codec.h": c_codec.codec_header(model),
        "include/weft_gen/messages.h": c_codec.messages_header(model),
        "include/weft_gen/commands.h": c_codec.commands_header(model),
        "include/weft_gen/records.h": c_codec.records_header(model),
        "src/errors.c": c_tables.errors_source(model),
        "src/config.c": c_tables.config_source(model),
        "src/messages.c": c_codec.messages_source(model),
        "src/commands.c": c_codec.commands_source(model),
        "src/records.c": c_codec.records_source(model),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="DIR", help="write the generated files below this directory")
    arguments = parser.parse_args()
    try:
        model = Model(FOLDER)
    except SchemaError as error:
        print("generate.py: %s" % error, file=sys.stderr)
        return 1
    if arguments.out:
        for name, content in outputs(model).items():
            write_if_changed(os.path.join(arguments.out, name), content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
