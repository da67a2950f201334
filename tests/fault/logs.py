# SPDX-License-Identifier: MPL-2.0
"""Reads the segment files of stopped brokers and compares replicas batch by batch (O6). docs/STORAGE.md has the layout."""

import hashlib
import mmap
import pathlib
import struct

HEAD_BYTES, PAYLOAD_AT = 80, 75


def batches(path):
    """(base offset, end offset, epoch, position, bytes) of each whole batch of a segment; zeros and a torn tail end it."""
    if path.stat().st_size == 0:
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, size = 0, len(data)
        while at + HEAD_BYTES <= size and data[at] == 0x9E:
            total = HEAD_BYTES + struct.unpack_from(">I", data, at + PAYLOAD_AT + 1)[0]
            if at + total > size:
                return
            base, epoch, delta = struct.unpack_from(">q", data, at + 2)[0], struct.unpack_from(">i", data, at + 11)[0], struct.unpack_from(">I", data, at + 26)[0]
            yield base, base + delta + 1, epoch, at, data[at : at + total]
            at += total


def segments(directory):
    return sorted(pathlib.Path(directory).glob("*.log"))


def partitions(data):
    """{(topic id, partition): directory} of a broker's data directory."""
    return {(path.parent.name, int(path.name)): path for path in pathlib.Path(data).glob("topics/*/*") if path.is_dir() and path.name.isdigit()}


def digests(directory):
    """{base offset: (end offset, epoch, digest)}."""
    return {base: (end, epoch, hashlib.blake2b(content, digest_size=8).hexdigest())
            for segment in segments(directory) for base, end, epoch, _, content in batches(segment)}


def compare(copies, upto=None):
    """copies: {name: directory} of one partition. Differences below `upto` (None: everywhere), as sentences; and the ends."""
    found, logs = [], {name: digests(path) for name, path in copies.items()}
    ends = {name: max((end for end, _, _ in log.values()), default=0) for name, log in logs.items()}
    starts = {name: min(log, default=0) for name, log in logs.items()}
    low = max(starts.values(), default=0)
    high = min(ends.values()) if upto is None else upto
    names = sorted(logs)
    for name in names:
        if ends[name] < high:
            found.append(f"{name} ends at {ends[name]}, below {high}")
    for other in names[1:]:
        a = {base: batch for base, batch in logs[names[0]].items() if low <= base < high}
        b = {base: batch for base, batch in logs[other].items() if low <= base < high}
        different = sorted(base for base in a.keys() | b.keys() if a.get(base) != b.get(base) and base < min(ends[names[0]], ends[other]))
        if different:
            at = different[0]
            found.append(f"{names[0]} and {other} differ in {len(different)} batches, first at offset {at}: {a.get(at)} and {b.get(at)}")
    return found, ends
