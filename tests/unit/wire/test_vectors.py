#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The Python codec against the golden vectors, and against what the C codec wrote.

    test_vectors.py GENERATED_FOLDER TEST_MESSAGES_PROGRAM
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

try:
    import msgpack  # noqa: F401
except ImportError:
    print("skipped: this Python has no msgpack (Debian: python3-msgpack)")
    sys.exit(77)

GENERATED, PROGRAM = sys.argv[1:3]
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(GENERATED, "python"))

import weft_codec  # noqa: E402


def jsonable(value):
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [jsonable(inner) for inner in value]
    return value


def load():
    with open(os.path.join(GENERATED, "vectors", "vectors.json"), encoding="utf-8") as file:
        return json.load(file)


class Vectors(unittest.TestCase):
    def test_accepted_vectors_give_their_values_and_their_canonical_bytes(self):
        count = 0
        for vector in load():
            if vector["error"]:
                continue
            with self.subTest(kind=vector["kind"], case=vector["case"]):
                values = weft_codec.decode(vector["kind"], bytes.fromhex(vector["data"]))
                self.assertEqual(jsonable(values), vector["values"])
                self.assertEqual(weft_codec.encode(vector["kind"], values).hex(), vector["canonical"])
                count += 1
        self.assertGreater(count, 300)

    def test_refused_vectors_are_refused_by_name(self):
        for vector in load():
            if not vector["error"]:
                continue
            with self.subTest(kind=vector["kind"], case=vector["case"]):
                with self.assertRaises(weft_codec.CodecError) as caught:
                    weft_codec.decode(vector["kind"], bytes.fromhex(vector["data"]))
                self.assertEqual(caught.exception.name, vector["error"])

    def test_what_the_c_codec_writes_is_read_with_the_same_values(self):
        wanted = {(vector["kind"], vector["case"]): vector["values"] for vector in load() if not vector["error"]}
        with tempfile.TemporaryDirectory() as folder:
            written = os.path.join(folder, "written.txt")
            subprocess.run([PROGRAM, "--write", written], check=True, timeout=50)
            with open(written, encoding="ascii") as file:
                lines = [line.split() for line in file]
        self.assertEqual(len(lines), len(wanted))
        for kind, case, data in lines:
            with self.subTest(kind=kind, case=case):
                self.assertEqual(jsonable(weft_codec.decode(kind, bytes.fromhex(data))), wanted[kind, case])

    def test_every_kind_has_its_pair_of_functions(self):
        for vector in load():
            if vector["case"] == "full":
                decode = getattr(weft_codec, vector["kind"] + "_decode")
                encode = getattr(weft_codec, vector["kind"] + "_encode")
                self.assertEqual(encode(decode(bytes.fromhex(vector["data"]))).hex(), vector["canonical"])

    def test_unknown_fields_are_refused_when_encoding(self):
        with self.assertRaises(weft_codec.CodecError):
            weft_codec.produce_request_encode({"topik": "orders"})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
