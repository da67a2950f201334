# SPDX-License-Identifier: MPL-2.0
"""A peer that speaks the protocol by hand, so that it can speak it wrongly: requests, batches byte by byte, bare ZMTP over TCP."""

import ctypes
import json
import pathlib
import socket
import struct
import time

import msgpack
import zmq

from harness import DEADLINE_S, ROOT

ERRORS = {e["number"]: e["name"] for e in json.loads((ROOT / "schemas/errors.json").read_text())["errors"]}
LIMITS = {limit["name"]: limit["value"] for limit in json.loads((ROOT / "schemas/limits.json").read_text())["limits"]}
CONTEXT = zmq.Context()

# ---- requests


class Peer:
    """A DEALER (or REQ) connected to one node."""

    def __init__(self, endpoint, kind=zmq.DEALER):
        self.endpoint = endpoint
        self.id = 100
        self.socket = CONTEXT.socket(kind)
        self.socket.linger = 0
        self.socket.connect(endpoint)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *frames):
        self.socket.send_multipart(frames)

    def receive(self, seconds=DEADLINE_S):
        """(header, data), or None when no reply came."""
        if not self.socket.poll(seconds * 1000):
            return None
        header, *data = self.socket.recv_multipart()
        return msgpack.unpackb(header), data[0] if data else b""

    def exchange(self, *frames):
        self.send(*frames)
        reply = self.receive()
        assert reply is not None, f"no reply to {[frame[:80] for frame in frames]}"
        return reply[0]

    def ask(self, api, data=None, **fields):
        """The reply to a request; its data frame is left in self.data."""
        self.id += 1
        self.send(msgpack.packb({"api": api, "id": self.id, **fields}), *([] if data is None else [data]))
        reply = self.receive()
        assert reply is not None, f"no reply to {api} {fields}"
        assert reply[0]["id"] == self.id, f"{api}: reply {reply[0]} is not for request {self.id}"
        self.data = reply[1]
        return reply[0]

    def counters(self):
        return {c["name"]: c["value"] for c in self.ask("node_status")["counters"]}


def refused(reply, *names):
    """The reply is an error of one of these names, and is told as one: number, name, a sentence for people."""
    assert ERRORS.get(reply.get("error", 0)) in names, f"expected {' or '.join(names)}, got {reply}"
    assert reply["name"] == ERRORS[reply["error"]], reply
    assert len(reply["message"].split()) >= 3, f"no sentence: {reply}"
    assert len(reply["message"].encode()) <= 512, reply
    return reply


# ---- batches

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


def record(value=b"value", key=None, headers=None, delta=0):
    return msgpack.packb([delta, key, value, headers])


CRC_ABSENT, LZ4, ZSTD = 0x8000, 3, 4
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


def lz4(data):
    """An lz4 frame, by the library that Weft links to."""
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


# ---- bare TCP

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)


def frame(body, more=False, command=False):
    flags = (4 if command else 0) | (1 if more else 0)
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | 2]) + struct.pack(">Q", len(body)) + body


READY = frame(b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER", command=True)


def dial(endpoint):
    host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=DEADLINE_S)


def shaken_hands(endpoint):
    """A TCP connection that has said all that ZMTP 3.0 wants of a DEALER, and heard the same."""
    connection = dial(endpoint)
    connection.sendall(GREETING + READY)
    heard = b""
    while len(heard) < len(GREETING) + 2 or len(heard) < len(GREETING) + 2 + heard[len(GREETING) + 1]:
        more = connection.recv(4096)
        assert more, "the node hung up on a legal handshake"
        heard += more
    return connection


def hung_up(connection, seconds=DEADLINE_S):
    """The node closes the connection within that time; what it still says is read away."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            if not connection.recv(1 << 16):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


# ---- processes


def rss_mib(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    raise AssertionError("the process is gone")
