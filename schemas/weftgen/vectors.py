# SPDX-License-Identifier: MPL-2.0
"""Golden vectors: bytes, and what every codec must make of them. Fuzz seeds are made from them.

A vector is either accepted (then its canonical form, what any codec encodes from the decoded values, is given) or refused (then the name of
the error). Made here with an encoder of its own, so that neither codec is judged by itself.
"""
import json

from . import py_codec
from . import tiny_msgpack as mp
from .model import INTEGERS

TEXT_BYTES_SHOWN = 300  # strings at their maximum only where that is not larger


class Vectors:
    def __init__(self, model):
        self.runtime = py_codec.load(model)
        self.model = model
        self.all = []
        for kind in py_codec.kinds(model):
            self.group, self.rows = self.runtime["SHAPES"][kind]
            self.kind = kind
            self._accepted()
            self._refused()

    # ---- values

    def _scalar(self, type_text, mode, max_bytes):
        if type_text in INTEGERS:
            low, high = INTEGERS[type_text]
            return {"low": low, "high": high, "some": 5}[mode]
        if type_text == "bool":
            return mode != "low"
        if type_text == "id":
            return {"low": bytes(16), "high": b"\xff" * 16, "some": bytes(range(1, 17))}[mode]
        if type_text in ("str", "bin"):
            size = max_bytes if max_bytes <= TEXT_BYTES_SHOWN else TEXT_BYTES_SHOWN
            value = {"low": "", "high": "z" * size, "some": "w\u00e9ft"[:max(1, max_bytes // 2)]}[mode]
            return value if type_text == "str" else value.encode()
        return {row[0]: self._value(row, mode) for row in self.runtime["SHAPES"][type_text][1]}

    def _value(self, row, mode):
        _name, type_text, _flags, max_bytes, count_max, _default = row
        if type_text[0] != "[":
            return self._scalar(type_text, mode, max_bytes)
        if mode == "low":
            return []
        return [self._scalar(type_text[1:-1], way, max_bytes) for way in (mode, "low")][:count_max]

    def _values(self, mode):
        values = {row[0]: self._value(row, mode) for row in self.rows}
        if self.group == "reply":
            values["error"] = 0
        return values

    def _minimal(self):
        return {row[0]: self._value(row, "some") for row in self.rows if "r" in row[2] or not row[2]}

    # ---- packing

    @property
    def _is_text(self):
        return lambda value: isinstance(value, (str, self.runtime["RawText"]))

    def _pack(self, values, wide=False):
        return mp.pack(self.runtime["plain"](self.kind, values), self._is_text, wide)

    def _pairs(self, values):
        plain = self.runtime["plain"](self.kind, values)
        return [(mp.pack(key), mp.pack(value, self._is_text)) for key, value in plain.items()]

    def _full_values(self, values):
        full = self.runtime["defaults"](self.kind)
        full.update(values)
        return full

    def _accept(self, case, data, values):
        self.all.append({"kind": self.kind, "case": case, "data": data, "canonical": self._pack(values),
                         "values": self._full_values(values)})

    def _refuse(self, case, data, error):
        self.all.append({"kind": self.kind, "case": case, "data": data, "error": error})

    # ---- cases

    def _accepted(self):
        minimal, some = self._minimal(), self._values("some")
        if self.group == "reply":
            minimal["error"] = 0
        for case, values in (("minimal", minimal), ("full", some), ("low", self._values("low")), ("high", self._values("high"))):
            self._accept(case, self._pack(values), values)
        self._accept("wide", self._pack(some, wide=True), some)
        pairs = self._pairs(some)
        alien = [(mp.pack("x_unknown"), mp.pack([1, {"a": [2.5, None, -7]}])), (mp.pack(12345), mp.pack(b"\x00")),
                 (mp.pack([1]), mp.pack({}))]
        self._accept("unknown_keys", mp.pack_pairs(alien[:1] + pairs + alien[1:]), some)
        self._accept("reversed", mp.pack_pairs(pairs[::-1]), some)
        self._accept("duplicate_keys", mp.pack_pairs(self._pairs(self._values("low")) + pairs), self._latest(some))
        nil = [(mp.pack(row[0]), b"\xc0") for row in self.rows if "d" in row[2]]
        self._accept("nil_is_absent", mp.pack_pairs(self._pairs(minimal) + nil), self._without_defaults(minimal))
        ids = [row[0] for row in self.rows if row[1] == "id"]
        if ids:
            hexed = [(key, mp.pack(some[name].hex()) if name in ids else value)
                     for (key, value), name in ((pair, self._name_of(pair)) for pair in pairs)]
            self._accept("ids_as_hex", mp.pack_pairs(hexed), some)
        if self.group == "reply":
            self._refusals()

    def _latest(self, some):
        """Fields that the second writing left out keep what the first said."""
        sent, low = self.runtime["plain"](self.kind, some), self._values("low")
        first = self.runtime["plain"](self.kind, low)
        return {name: some[name] if name in sent else low[name] for name in some if name in sent or name in first}

    def _without_defaults(self, values):
        return {name: value for name, value in values.items() if name not in [row[0] for row in self.rows if "d" in row[2]]}

    @staticmethod
    def _name_of(pair):
        head = pair[0][0]
        return (pair[0][1:] if 0xa0 <= head < 0xc0 else pair[0][2:]).decode()

    def _refusals(self):
        names = {row[0]: row for row in self.rows}
        moved = {"id": 9, "error": 6, "leader": 3, "endpoint": "tcp://10.0.0.3:9650"}
        filled = dict(moved)
        filled["name"], filled["message"] = self.runtime["ERRORS"][6]
        self._accept("refused", self._pack(moved), filled)
        own = {"id": 9, "error": 1008, "name": "DIVERGED", "message": "Own sentence.", "retry_ms": 20}
        for name in ("end_offset", "log_start"):
            if name in names and "d" in names[name][2]:
                own[name] = 77
        self._accept("refused_with_more", self._pack(own), own)

    def _refused(self):
        some = self._values("some")
        pairs = self._pairs(some)
        good = self._pack(some)
        self._refuse("no_map", b"\x93\x01\x02\x03", "BAD_FRAME")
        self._refuse("empty", b"", "BAD_FRAME")
        self._refuse("cut", good[:-1], "BAD_FRAME")
        self._refuse("followed", good + b"\xc0", "BAD_FRAME")
        self._refuse("lying_count", b"\x81\xa1x\xdd\x0f\xff\xff\xff", "BAD_FRAME")
        self._refuse("too_deep", mp.pack_pairs(pairs + [(mp.pack("x"), b"\x91" * 8 + b"\xc0")]), "BAD_FRAME")
        for row in self.rows:
            for case, value in self._wrong_values(row):
                # behind the good pair of the same key: the last one counts
                self._refuse("%s_%s" % (row[0], case), mp.pack_pairs(pairs + [(mp.pack(row[0]), value)]), "INVALID_REQUEST")
            if "r" in row[2]:
                rest = [pair for pair in pairs if self._name_of(pair) != row[0]]
                self._refuse("%s_missing" % row[0], mp.pack_pairs(rest), "INVALID_REQUEST")

    def _wrong_values(self, row):
        _name, type_text, _flags, max_bytes, count_max, _default = row
        yield "float", mp.pack(1.5)
        if type_text in INTEGERS:
            low, high = INTEGERS[type_text]
            yield "bool", mp.pack(True)
            if type_text != "u64":
                yield "above", mp.pack(high + 1)
            if type_text != "i64":
                yield "below", mp.pack(low - 1)
        elif type_text in ("str", "bin"):
            yield "too_long", mp.pack("z" * (max_bytes + 1))
            yield "integer", mp.pack(1)
        elif type_text == "id":
            yield "short", mp.pack(b"123456789012345")
            yield "no_hex", mp.pack("z" * 32)
        elif type_text == "bool":
            yield "integer", mp.pack(1)
        else:
            yield "map", mp.pack({})
            yield "element", mp.pack([1.5])
            if count_max <= 100:
                inner = self._value(row, "some")[0]
                plain = self.runtime["_plain_value"](type_text[1:-1], inner)
                yield "too_many", mp.pack([plain] * (count_max + 1), self._is_text)


def _jsonable(value):
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_jsonable(inner) for inner in value]
    return value


def files(model):
    """vectors.txt for C (kind, case, bytes, then =canonical or !ERROR), vectors.json with the values, seeds for the fuzzers."""
    vectors = Vectors(model).all
    lines = ["%s %s %s %s" % (vector["kind"], vector["case"], vector["data"].hex() or "-",
                              "!" + vector["error"] if "error" in vector else "=" + vector["canonical"].hex())
             for vector in vectors]
    table = [{"kind": vector["kind"], "case": vector["case"], "data": vector["data"].hex(),
              "canonical": vector["canonical"].hex() if "canonical" in vector else None,
              "error": vector.get("error"), "values": _jsonable(vector.get("values"))} for vector in vectors]
    made = {"vectors/vectors.txt": "\n".join(lines) + "\n", "vectors/vectors.json": json.dumps(table, indent=0) + "\n"}
    order = {kind: number for number, kind in enumerate(py_codec.kinds(model))}
    for vector in vectors:
        name = "%s-%s" % (vector["kind"], vector["case"])
        if "canonical" in vector:
            made["fuzz_seeds/messages/" + name] = bytes([order[vector["kind"]]]) + vector["data"]
        if vector["case"] in ("full", "high", "wide", "unknown_keys", "too_deep", "lying_count"):
            made["fuzz_seeds/guard/" + name] = vector["data"]
    made.update(_config_seeds(model))
    return made


def _config_seeds(model):
    made = {"fuzz_seeds/config/empty": b"", "fuzz_seeds/config/comments": b"# a\n\n    # b\n   \n"}
    for number, (scope, doc, options) in enumerate(model.config):
        flat = "".join("# %s\n%s = %s\n" % (option.doc, option.name, option.default or "''") for option in options)
        nested = ""
        for option in options:
            for depth, part in enumerate(option.name.split(".")):
                nested += "%s%s%s\n" % ("    " * depth, part, " = '%s'" % option.default if depth == option.name.count(".") else "")
        made["fuzz_seeds/config/%s-flat" % scope] = bytes([number]) + flat.encode()
        made["fuzz_seeds/config/%s-nested" % scope] = bytes([number]) + nested.encode()
    return made
