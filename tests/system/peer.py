# SPDX-License-Identifier: MPL-2.0
"""A peer that speaks the protocol by hand, so that it can speak it wrongly: requests, bare ZMTP over TCP, batches byte by byte (wire.py)."""

import pathlib
import socket
import struct
import sys
import time

import msgpack
import zmq

from harness import DEADLINE_S, ROOT

sys.path.insert(0, str(ROOT / "tests/conformance"))
from wire import CRC_ABSENT, ERRORS, LIMITS, LZ4, NOW_MS, ZSTD, batch, crc32c, lz4, record, zstd  # noqa: E402,F401

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


# ---- bare TCP

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)


def frame(body, more=False, command=False):
    flags = (4 if command else 0) | (1 if more else 0)
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | 2]) + struct.pack(">Q", len(body)) + body


def ready(kind):
    return frame(b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind, command=True)


def dial(endpoint):
    host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=DEADLINE_S)


def shaken_hands(endpoint, kind=b"DEALER"):
    """A TCP connection that has said all that ZMTP 3.0 wants of such a socket, and heard the same."""
    connection = dial(endpoint)
    connection.sendall(GREETING + ready(kind))
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
