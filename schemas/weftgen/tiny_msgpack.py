# SPDX-License-Identifier: MPL-2.0
"""A msgpack encoder of a page, because the build has nothing but Python's standard library. Canonical, or wide on purpose."""
import struct


def _integer(value):
    if 0 <= value < 0x80:
        return bytes([value])
    if -32 <= value < 0:
        return struct.pack(">b", value)
    forms = ((0xcc, ">B", 0, 1 << 8), (0xcd, ">H", 0, 1 << 16), (0xce, ">I", 0, 1 << 32), (0xcf, ">Q", 0, 1 << 64),
             (0xd0, ">b", -(1 << 7), 0), (0xd1, ">h", -(1 << 15), 0), (0xd2, ">i", -(1 << 31), 0), (0xd3, ">q", -(1 << 63), 0))
    for head, form, low, high in forms:
        if low <= value < high:
            return bytes([head]) + struct.pack(form, value)
    raise ValueError(value)


def _wide_integer(value):
    return b"\xd3" + struct.pack(">q", value) if value < (1 << 63) else b"\xcf" + struct.pack(">Q", value)


def _sized(size, fix, fix_max, heads):
    if size <= fix_max:
        return bytes([fix | size])
    for head, form, limit in heads:
        if head and size < limit:
            return bytes([head]) + struct.pack(form, size)
    raise ValueError(size)


def text(value, wide=False):
    if wide:
        return b"\xdb" + struct.pack(">I", len(value)) + value
    return _sized(len(value), 0xa0, 31, ((0xd9, ">B", 1 << 8), (0xda, ">H", 1 << 16), (0xdb, ">I", 1 << 32))) + value


def binary(value, wide=False):
    if wide:
        return b"\xc6" + struct.pack(">I", len(value)) + value
    return _sized(len(value), 0, -1, ((0xc4, ">B", 1 << 8), (0xc5, ">H", 1 << 16), (0xc6, ">I", 1 << 32))) + value


def array_head(count, wide=False):
    return b"\xdd" + struct.pack(">I", count) if wide else _sized(
        count, 0x90, 15, ((0xdc, ">H", 1 << 16), (0xdd, ">I", 1 << 32)))


def map_head(count, wide=False):
    return b"\xdf" + struct.pack(">I", count) if wide else _sized(
        count, 0x80, 15, ((0xde, ">H", 1 << 16), (0xdf, ">I", 1 << 32)))


def pack(value, is_text=lambda value: isinstance(value, str), wide=False):
    """wide: every head in its longest form, str and bin exchanged; legal all the same."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return _wide_integer(value) if wide else _integer(value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, (bytes, str)):
        data = value if isinstance(value, bytes) else value.encode("utf-8")
        return text(data, wide) if is_text(value) != wide else binary(data, wide)
    if isinstance(value, dict):
        value = list(value.items())
        return map_head(len(value), wide) + b"".join(pack(k, is_text, wide) + pack(v, is_text, wide) for k, v in value)
    return array_head(len(value), wide) + b"".join(pack(element, is_text, wide) for element in value)


def pack_pairs(pairs):
    """A map from encoded keys and values, which may repeat."""
    return map_head(len(pairs)) + b"".join(key + value for key, value in pairs)
