# SPDX-License-Identifier: MPL-2.0
# ---- how it works: tables above, rules here

_INTEGERS = {
    "i8": (-(1 << 7), (1 << 7) - 1), "i16": (-(1 << 15), (1 << 15) - 1),
    "i32": (-(1 << 31), (1 << 31) - 1), "i64": (-(1 << 63), (1 << 63) - 1),
    "u8": (0, (1 << 8) - 1), "u16": (0, (1 << 16) - 1), "u32": (0, (1 << 32) - 1), "u64": (0, (1 << 64) - 1),
}
ZERO_ID = bytes(16)


class CodecError(Exception):
    """Bytes or values that are not legal: `name` is BAD_FRAME or INVALID_REQUEST, the text says what and where."""

    def __init__(self, name, sentence):
        Exception.__init__(self, sentence)
        self.name = name


class _Pairs(list):
    """A map as decoded: its pairs in order, because keys may repeat and need not be hashable."""


# Bytes of the number or length behind heads c0 to df, and what it is: n nothing, x fixed body, s string, e ext, a array, m map
_HEADS = {
    0xc0: (0, "n"), 0xc2: (0, "n"), 0xc3: (0, "n"), 0xc4: (1, "s"), 0xc5: (2, "s"), 0xc6: (4, "s"), 0xc7: (1, "e"),
    0xc8: (2, "e"), 0xc9: (4, "e"), 0xca: (4, "x"), 0xcb: (8, "x"), 0xcc: (1, "x"), 0xcd: (2, "x"), 0xce: (4, "x"),
    0xcf: (8, "x"), 0xd0: (1, "x"), 0xd1: (2, "x"), 0xd2: (4, "x"), 0xd3: (8, "x"), 0xd4: (2, "x"), 0xd5: (3, "x"),
    0xd6: (5, "x"), 0xd7: (9, "x"), 0xd8: (17, "x"), 0xd9: (1, "s"), 0xda: (2, "s"), 0xdb: (4, "s"), 0xdc: (2, "a"),
    0xdd: (4, "a"), 0xde: (2, "m"), 0xdf: (4, "m"),
}


def _head(data, at):
    """(where the head ends, kind, size or count)"""
    byte = data[at]
    if byte < 0x80 or byte >= 0xe0:
        return at + 1, "n", 0
    if byte < 0x90:
        return at + 1, "m", byte & 15
    if byte < 0xa0:
        return at + 1, "a", byte & 15
    if byte < 0xc0:
        return at + 1, "s", byte & 31
    if byte not in _HEADS:
        raise CodecError("BAD_FRAME", "byte %d is c1, which begins nothing" % at)
    width, kind = _HEADS[byte]
    if kind == "x":
        return at + 1 + width, "n", 0
    size = int.from_bytes(data[at + 1:at + 1 + width], "big")
    return at + 1 + width, "s" if kind == "e" else kind, size + (kind == "e")


def guard(data, limits):
    """One walk: exactly one value whose counts fit in the bytes and the limits. Nothing is decoded before."""
    bytes_max, depth_max, count_max, string_max = limits
    if not 0 < len(data) <= bytes_max:
        raise CodecError("BAD_FRAME", "the message has %d bytes; 1 to %d are allowed" % (len(data), bytes_max))
    at, remaining, stack = 0, 1, []
    while True:
        while remaining == 0:
            if not stack:
                if at != len(data):
                    raise CodecError("BAD_FRAME", "byte %d follows the value: nothing may" % at)
                return
            remaining = stack.pop()
        remaining -= 1
        if at >= len(data):
            raise CodecError("BAD_FRAME", "the bytes end before the value does")
        if len(stack) + 1 > depth_max:
            raise CodecError("BAD_FRAME", "byte %d lies deeper than the limit" % at)
        at, kind, size = _head(data, at)
        left = len(data) - at
        if left < 0:
            raise CodecError("BAD_FRAME", "the bytes end before the value does")
        if kind == "s":
            if size > left or size > string_max:
                raise CodecError("BAD_FRAME", "a string of %d bytes before byte %d" % (size, at))
            at += size
        elif kind != "n":
            inside = 2 * size if kind == "m" else size
            if inside > left or size > count_max:
                raise CodecError("BAD_FRAME", "a count of %d before byte %d" % (size, at))
            if inside:
                stack.append(remaining)
                remaining = inside


def _default(field):
    _name, type_text, _flags, _max, _count_max, default = field
    if type_text[0] == "[":
        return []
    if default is not None:
        return default
    if type_text in _INTEGERS:
        return 0
    return {"bool": False, "id": ZERO_ID}.get(type_text)


def defaults(kind):
    """All fields of a message, command or record with what they have when absent."""
    return {field[0]: _default(field) for field in SHAPES[kind][1]}


# ---- decoding

def _refuse(place, value, wanted):
    if isinstance(value, (bytes, str)):
        value = "a string of %d bytes" % len(value)
    elif isinstance(value, list):
        value = "a map" if isinstance(value, _Pairs) else "an array of %d" % len(value)
    raise CodecError("INVALID_REQUEST", "%s is %s; %s is wanted" % (place, value, wanted))


def _decode_value(place, field, type_text, value):
    if type_text in _INTEGERS:
        low, high = _INTEGERS[type_text]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            _refuse(place, value, "an integer from %d to %d" % (low, high))
        return value
    if type_text == "bool":
        if not isinstance(value, bool):
            _refuse(place, value, "true or false")
        return value
    if type_text in ("str", "bin"):
        if not isinstance(value, bytes):
            _refuse(place, value, "a string")
        if len(value) > field[3]:
            _refuse(place, value, "a string of at most %d bytes" % field[3])
        return value.decode("utf-8", "surrogateescape") if type_text == "str" else value
    if type_text == "id":
        return _decode_id(place, value)
    if not isinstance(value, _Pairs):
        _refuse(place, value, "a map")
    return _decode_map(place, type_text, value)


def _decode_id(place, value):
    if isinstance(value, bytes) and len(value) == 16:
        return value
    try:
        if isinstance(value, bytes) and len(value) == 32:
            return bytes.fromhex(value.decode("ascii"))
    except ValueError:
        pass
    return _refuse(place, value, "an id (16 bytes, or 32 hex digits)")


def _decode_map(place, kind, pairs):
    fields = {field[0].encode(): field for field in SHAPES[kind][1]}
    result, seen = defaults(kind), set()
    for key, value in pairs:
        field = fields.get(key) if isinstance(key, bytes) else None
        if not field:
            continue
        name, type_text = field[0], field[1]
        here = "%s%s" % (place, name)
        if value is None:
            result[name] = _default(field)
            seen.discard(name)
            continue
        if type_text[0] == "[":
            if not isinstance(value, list) or isinstance(value, _Pairs) or len(value) > field[4]:
                _refuse(here, value, "an array of at most %d" % field[4])
            inner = type_text[1:-1]
            result[name] = [_decode_value("%s[%d]%s" % (here, i, "." if inner in SHAPES else ""), field, inner, element)
                            for i, element in enumerate(value)]
        else:
            result[name] = _decode_value(here, field, type_text, value)
        seen.add(name)
    for name, _type, flags, _max, _count_max, _def in SHAPES[kind][1]:
        if "r" in flags and name not in seen:
            raise CodecError("INVALID_REQUEST", "%s%s is missing" % (place, name))
    return result


def decode(kind, data):
    """A dict of all fields; what was absent has its default. Raises CodecError."""
    limits = LIMITS[SHAPES[kind][0]]
    guard(data, limits)
    try:
        value = msgpack.unpackb(data, raw=True, strict_map_key=False, use_list=True, object_pairs_hook=_Pairs)
    except Exception as error:  # msgpack has many, and none of them may pass as ours
        raise CodecError("BAD_FRAME", "no legal msgpack: %s" % error)
    if not isinstance(value, _Pairs):
        raise CodecError("BAD_FRAME", "%s: a map is wanted" % kind)
    return _decode_map("%s: " % kind.replace("_", " "), kind, value)


# ---- encoding

def _plain_value(type_text, value):
    if value is None:
        return None
    if type_text == "str" and isinstance(value, str):
        return RawText(value.encode("utf-8", "surrogateescape"))
    if type_text == "str":
        return RawText(bytes(value))
    if type_text in ("id", "bin"):
        return bytes(value)
    if type_text in SHAPES:
        return _plain_map(type_text, value)
    return value


class RawText(bytes):
    """Bytes to be sent as msgpack str."""


def _plain_map(kind, values, head=(), refused=False):
    plain = dict(head)
    for position, field in enumerate(SHAPES[kind][1]):
        name, type_text, flags, _max, _count_max, _default_given = field
        value = values.get(name, _default(field))
        is_default = value is None or value == _default(field)
        if refused and position >= REPLY_FIELDS:
            sent = "d" in flags and not is_default
        else:
            sent = "d" not in flags or "a" in flags or not is_default
        if sent:
            inner = type_text.strip("[]")
            plain[name] = ([_plain_value(inner, element) for element in value] if type_text[0] == "["
                           else _plain_value(inner, value))
    return plain


def plain(kind, values):
    """What is packed: a dict of the fields that are sent, strings as RawText."""
    unknown = set(values) - {field[0] for field in SHAPES[kind][1]}
    if unknown:
        raise CodecError("INVALID_REQUEST", "%s has no field %s" % (kind, ", ".join(sorted(unknown))))
    group = SHAPES[kind][0]
    if group == "request":
        return _plain_map(kind, values, {"api": RawText(kind[:-len("_request")].encode())})
    if group == "command":
        return _plain_map(kind, values, {"command": COMMANDS[kind]})
    if group == "reply" and values.get("error", 0):
        values = dict(values)
        name, sentence = ERRORS.get(values["error"], ERRORS[INTERNAL])
        values["name"] = name if values.get("name") is None else values["name"]
        values["message"] = sentence if values.get("message") is None else values["message"]
        return _plain_map(kind, values, refused=True)
    return _plain_map(kind, values)


def _pack(packer, value):
    """As msgpack.packb, but RawText becomes str whatever its bytes are."""
    if isinstance(value, RawText):
        size = len(value)
        head = (bytes([0xa0 | size]) if size < 32 else b"\xd9" + size.to_bytes(1, "big") if size < 256
                else b"\xda" + size.to_bytes(2, "big") if size < 65536 else b"\xdb" + size.to_bytes(4, "big"))
        return head + value
    if isinstance(value, dict):
        return packer.pack_map_header(len(value)) + b"".join(
            packer.pack(key) + _pack(packer, inner) for key, inner in value.items())
    if isinstance(value, list):
        return packer.pack_array_header(len(value)) + b"".join(_pack(packer, inner) for inner in value)
    return packer.pack(value)


def encode(kind, values):
    """One msgpack map; what is not in `values` has its default."""
    return _pack(msgpack.Packer(use_bin_type=True), plain(kind, values))


def reply_id(data):
    """The id of a reply, to find out whose it is. Raises CodecError."""
    try:
        found = msgpack.unpackb(data, raw=True, strict_map_key=False, use_list=False)[b"id"]
    except Exception as error:
        raise CodecError("BAD_FRAME", "no reply: %s" % error)
    return found if isinstance(found, int) else 0
