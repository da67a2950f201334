# SPDX-License-Identifier: MPL-2.0
"""docs/golden.json: for whoever writes a codec elsewhere. Bytes of every message, command and disk record, and what they say; a choice of what
has to be refused; whole batches. A choice of the vectors that both codecs of this tree are judged by."""
import json

from . import vectors

ACCEPTED = ("minimal", "full", "unknown_keys", "refused")
REFUSED = ("cut", "followed")
SAME_FOR_ALL = ("no_map", "empty", "lying_count")  # of the first kind only
NOTE = ("Golden frames of Weft's protocol, made by schemas/generate.py --docs. 'bytes' is hexadecimal. A frame with 'values' has to be read as these (bytes stand "
        "as {\"hex\": ...}; absent fields have their defaults) and, written by a codec that leaves out defaults, becomes 'canonical' (absent: the same bytes). "
        "A frame with 'error' has to be refused with it.")

_CRC_TABLE = []
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = _crc >> 1 ^ (0x82F63B78 if _crc & 1 else 0)
    _CRC_TABLE.append(_crc)


def _crc32c(data):
    crc = 0xFFFFFFFF
    for octet in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _batch(note, values, records):
    """A batch of docs/PROTOCOL.md's table, made from the table."""
    payload = b"".join(records)
    head = b"\x9e\xd3" + values["base_offset"].to_bytes(8, "big", signed=True) + b"\xd2" + values["leader_epoch"].to_bytes(4, "big", signed=True) + b"\xcc\x01"
    tail = (b"\xcd" + values["attributes"].to_bytes(2, "big") + b"\xce" + values["last_offset_delta"].to_bytes(4, "big")
            + b"\xd3" + values["base_timestamp"].to_bytes(8, "big") + b"\xd3" + values["max_timestamp"].to_bytes(8, "big")
            + b"\xd3" + values["producer_id"].to_bytes(8, "big", signed=True) + b"\xd1" + values["producer_epoch"].to_bytes(2, "big", signed=True)
            + b"\xd2" + values["base_sequence"].to_bytes(4, "big", signed=True) + b"\xce" + values["count"].to_bytes(4, "big")
            + b"\xce" + len(payload).to_bytes(4, "big") + b"\xc6" + len(payload).to_bytes(4, "big") + payload)
    crc = _crc32c(tail + head)
    return {"note": note, "bytes": (head + b"\xce" + crc.to_bytes(4, "big") + tail).hex(), "crc32c": crc, **values, "raw_bytes": len(payload),
            "records": [record.hex() for record in records]}


def _batches():
    plain = {"base_offset": 0, "leader_epoch": 0, "attributes": 0, "last_offset_delta": 2, "base_timestamp": 1767225600000, "max_timestamp": 1767225600005,
             "producer_id": -1, "producer_epoch": 0, "base_sequence": 0, "count": 3}
    records = [bytes.fromhex("9400c403616e6ec40374656192a168c40176"), bytes.fromhex("9405c0c0c0"), bytes.fromhex("9400c400c400c0")]
    return [
        _batch("three records: [0, 'ann', 'tea', ['h', 'v']], [5, nil, nil, nil], [0, '', '', nil]; as a producer without an id sends them", plain, records),
        _batch("the same, number 7 of a producer, as the leader of epoch 4 keeps them at offset 1042",
               {**plain, "base_offset": 1042, "leader_epoch": 4, "producer_id": 0x0123456789ABCDEF, "base_sequence": 7}, records),
        _batch("compacted: the second record and the four behind the third are gone, eight offsets are covered",
               {**plain, "base_offset": 1042, "leader_epoch": 4, "last_offset_delta": 7, "count": 2}, [records[0], b"\x01", records[2]]),
        _batch("compacted: nothing is left of 100 offsets", {**plain, "base_offset": 2000, "leader_epoch": 4, "last_offset_delta": 99, "count": 0}, []),
    ]


def text(model):
    frames, seen = [], set()
    for vector in vectors.Vectors(model).all:
        case = vector["case"]
        if "error" in vector:
            fresh = case in SAME_FOR_ALL and case not in seen
            seen.add(case)
            if fresh or case in REFUSED or case.endswith(("_float", "_missing", "_above")) and len(vector["data"]) < 300:
                frames.append({"kind": vector["kind"], "case": case, "bytes": vector["data"].hex(), "error": vector["error"]})
        elif case in ACCEPTED and len(vector["data"]) < 2000:
            frame = {"kind": vector["kind"], "case": case, "bytes": vector["data"].hex()}
            if vector["canonical"] != vector["data"]:
                frame["canonical"] = vector["canonical"].hex()
            frames.append({**frame, "values": vectors._jsonable(vector["values"])} if case in ("minimal", "full", "refused") else frame)
    rows = ",\n".join("  " + json.dumps(frame, ensure_ascii=False) for frame in frames)
    batches = ",\n".join("  " + json.dumps(batch, ensure_ascii=False) for batch in _batches())
    return '{\n "note": %s,\n "batches": [\n%s\n ],\n "frames": [\n%s\n ]\n}\n' % (json.dumps(NOTE), batches, rows)
