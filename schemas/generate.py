#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Makes from the schemas what the build needs: C codecs and tables, the Python codec, vectors, fuzz seeds, reference docs.

    generate.py --out DIR     writes everything under DIR (files that would not change are left alone)
    generate.py --docs        writes docs/PROTOCOL.md, ERRORS.md and CONFIG.md, and the generated modules of lib/python/weft
    generate.py --check       fails if those drifted, or if the schemas break what frozen.json says was released
    generate.py --freeze      takes additions into frozen.json, at a release; refused if anything breaks it
"""
import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

from weftgen import c_codec, c_tables, docs, evolution, py_codec, py_package, vectors  # noqa: E402
from weftgen.model import Model, SchemaError  # noqa: E402

FOLDER = os.path.dirname(os.path.abspath(__file__))
DOCS = os.path.join(os.path.dirname(FOLDER), "docs")
PACKAGE = os.path.join(os.path.dirname(FOLDER), "lib", "python", "weft")
FROZEN = os.path.join(FOLDER, "frozen.json")


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


def outputs(model, folder):
    """Path below --out -> content."""
    made = {
        "include/weft/errors.h": c_tables.errors_header(model),
        "include/weft_gen/limits.h": c_tables.limits_header(model),
        "include/weft_gen/config.h": c_tables.config_header(model),
        "include/weft_gen/codec.h": c_codec.codec_header(model),
        "include/weft_gen/messages.h": c_codec.messages_header(model),
        "include/weft_gen/commands.h": c_codec.commands_header(model),
        "include/weft_gen/records.h": c_codec.records_header(model),
        "include/weft_gen/kinds.h": c_codec.kinds_header(model, os.path.abspath(folder)),
        "src/errors.c": c_tables.errors_source(model),
        "src/config.c": c_tables.config_source(model),
        "src/messages.c": c_codec.messages_source(model),
        "src/commands.c": c_codec.commands_source(model),
        "src/records.c": c_codec.records_source(model),
        "python/weft_codec.py": py_codec.module_text(model),
    }
    made.update(vectors.files(model))
    return made


def read_frozen():
    with open(FROZEN, encoding="utf-8") as file:
        return json.load(file)


def committed(model):
    """Path -> content of what is generated and stands in the repository."""
    made = {os.path.join(DOCS, name): content for name, content in docs.files(model).items()}
    made.update({os.path.join(PACKAGE, name): content for name, content in py_package.files(model).items()})
    return made


def check(model):
    """Sentences, one for each thing that is wrong."""
    problems = ["schemas: " + problem for problem in evolution.compare(read_frozen(), evolution.shape(model))]
    for path, content in committed(model).items():
        try:
            with open(path, encoding="utf-8") as file:
                same = file.read() == content
        except OSError:
            same = False
        if not same:
            problems.append("%s does not match the schemas; run schemas/generate.py --docs"
                            % os.path.relpath(path, os.path.dirname(FOLDER)))
    return problems


def dump(value, indent=0):
    """JSON with a line for each field, so that a diff shows what was added."""
    if not isinstance(value, dict) or not any(isinstance(inner, dict) for inner in value.values()) and indent > 1:
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    rows = ["%s%s: %s" % (" " * (indent + 1), json.dumps(key), dump(value[key], indent + 1)) for key in sorted(value)]
    return "{\n%s\n%s}" % (",\n".join(rows), " " * indent)


def freeze(model):
    now = evolution.shape(model)
    if os.path.exists(FROZEN):
        problems = evolution.compare(read_frozen(), now)
        if problems:
            return problems
    write_if_changed(FROZEN, dump(now) + "\n")
    return []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="DIR", help="write the generated files below this directory")
    parser.add_argument("--docs", action="store_true", help="write the reference docs")
    parser.add_argument("--check", action="store_true", help="check docs and evolution")
    parser.add_argument("--freeze", action="store_true", help="take additions into frozen.json")
    arguments = parser.parse_args()
    problems = []
    try:
        model = Model(FOLDER)
        if arguments.out:
            for name, content in outputs(model, arguments.out).items():
                write_if_changed(os.path.join(arguments.out, name), content)
        if arguments.docs:
            for path, content in committed(model).items():
                write_if_changed(path, content)
        if arguments.freeze:
            problems += freeze(model)
        if arguments.check:
            problems += check(model)
    except SchemaError as error:
        problems.append(str(error))
    for problem in problems:
        print("generate.py: %s" % problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
