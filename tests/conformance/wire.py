# SPDX-License-Identifier: MPL-2.0
"""Weft's bytes made by hand from docs/PROTOCOL.md, so that they can be made wrongly: records, batches, the errors' names.

Nothing of Weft's own code is behind it but the table of errors.
"""

import ctypes
import json
import pathlib
import struct
import time

import msgpack

ROOT = pathlib.Path(__file__).resolve().parents[2]
ERRORS = {e["number"]: e["name"] for e in json.loads((ROOT / "schemas/errors.json").read_text())["errors"]}
NUMBERS = {name: number for number, name in ERRORS.items()}
LIMITS = {limit["name"]: limit["value"] for limit in json.loads((ROOT / "schemas/limits.json").read_text())["limits"]}
CRC_ABSENT, LZ4, ZSTD = 0x8000, 3, 4

_CRC32C = []
for byte in range(256):
    crc = byte
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    _CRC32C.append(crc)


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for octet in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF


# ---- records and batches


def record(value=b"value", key=None, headers=None, delta=0):
    return msgpack.packb([delta, key, value, headers])


NOW_MS = int(time.time() * 1000)  # older ones would be retention's


def batch(records=None, *, payload=None, crc=None, **fields):
    """A whole batch; any field may be told to lie. The CRC is right unless given, or marked absent."""
    records = [record()] if records is None else records
    raw = b"".join(records)
    payload = raw if payload is None else payload
    f = {"base_offset": 0, "leader_epoch": 0, "format": 1, "attributes": 0, "last_offset_delta": len(records) - 1, "base_timestamp": NOW_MS,
         "max_timestamp": NOW_MS, "producer_id": -1, "producer_epoch": 0, "base_sequence": 0, "count": len(records), "raw_bytes": len(raw),
         "payload_bytes": len(payload)}
    assert not set(fields) - set(f), fields
    f.update(fields)
    head = b"\x9e\xd3" + struct.pack(">q", f["base_offset"]) + b"\xd2" + struct.pack(">i", f["leader_epoch"]) + b"\xcc" + bytes([f["format"]])
    tail = (b"\xcd" + struct.pack(">H", f["attributes"]) + b"\xce" + struct.pack(">I", f["last_offset_delta"]) + b"\xd3"
            + struct.pack(">q", f["base_timestamp"]) + b"\xd3" + struct.pack(">q", f["max_timestamp"]) + b"\xd3" + struct.pack(">q", f["producer_id"])
            + b"\xd1" + struct.pack(">h", f["producer_epoch"]) + b"\xd2" + struct.pack(">i", f["base_sequence"]) + b"\xce" + struct.pack(">I", f["count"])
            + b"\xce" + struct.pack(">I", f["raw_bytes"]) + b"\xc6" + struct.pack(">I", f["payload_bytes"]) + payload)
    if crc is None:
        crc = 0 if f["attributes"] & CRC_ABSENT else crc32c(head, crc32c(tail))
    return head + b"\xce" + struct.pack(">I", crc) + tail


FIELDS = ("base_offset", "leader_epoch", "format", "crc32c", "attributes", "last_offset_delta", "base_timestamp", "max_timestamp",
          "producer_id", "producer_epoch", "base_sequence", "count", "raw_bytes", "payload")


def split(data):
    """Batches of a data frame: dicts of their fields, with the bytes as they came under `bytes`."""
    found, at = [], 0
    while at < len(data):
        assert data[at] == 0x9E and len(data) - at >= 80, f"at byte {at} of the data frame no batch begins"
        size = 80 + struct.unpack_from(">I", data, at + 76)[0]
        whole = data[at:at + size]
        assert len(whole) == size, f"the batch at byte {at} is cut off: {len(whole)} of {size} bytes"
        found.append(dict(zip(FIELDS, msgpack.unpackb(whole)), bytes=whole))
        at += size
    return found


def crc_is_right(whole):
    """Of a batch's bytes."""
    return struct.unpack_from(">I", whole, 18)[0] == crc32c(whole[:17], crc32c(whole[22:]))


def records_of(one):
    """(offset, record) of a batch that is not compressed."""
    unpacker, at = msgpack.Unpacker(max_buffer_size=0), one["base_offset"]
    unpacker.feed(one["payload"])
    for element in unpacker:
        if isinstance(element, int):
            at += element
        else:
            yield at, element
            at += 1


def lz4(data):
    """An lz4 frame, by the library itself."""
    library = ctypes.CDLL("liblz4.so.1")
    library.LZ4F_compressFrameBound.restype = library.LZ4F_compressFrame.restype = ctypes.c_size_t
    room = library.LZ4F_compressFrameBound(ctypes.c_size_t(len(data)), None)
    out = ctypes.create_string_buffer(room)
    size = library.LZ4F_compressFrame(out, ctypes.c_size_t(room), data, ctypes.c_size_t(len(data)), None)
    return out.raw[:size]


def zstd(data):
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compressBound.restype = library.ZSTD_compress.restype = ctypes.c_size_t
    room = library.ZSTD_compressBound(ctypes.c_size_t(len(data)))
    out = ctypes.create_string_buffer(room)
    size = library.ZSTD_compress(out, ctypes.c_size_t(room), data, ctypes.c_size_t(len(data)), 3)
    return out.raw[:size]


def inflate(codec, data, size):
    """What lz4 or zstd packed: `size` bytes at most."""
    out = ctypes.create_string_buffer(size)
    if codec == ZSTD:
        library = ctypes.CDLL("libzstd.so.1")
        library.ZSTD_decompress.restype = ctypes.c_size_t
        got = library.ZSTD_decompress(out, ctypes.c_size_t(size), data, ctypes.c_size_t(len(data)))
        return out.raw[:got]
    library = ctypes.CDLL("liblz4.so.1")
    library.LZ4F_decompress.restype = library.LZ4F_createDecompressionContext.restype = ctypes.c_size_t
    context, made, taken = ctypes.c_void_p(), ctypes.c_size_t(size), ctypes.c_size_t(len(data))
    library.LZ4F_createDecompressionContext(ctypes.byref(context), 100)
    library.LZ4F_decompress(context, out, ctypes.byref(made), data, ctypes.byref(taken), None)
    library.LZ4F_freeDecompressionContext(context)
    return out.raw[:made.value]
