# SPDX-License-Identifier: MPL-2.0
"""An edge for the tests that need one: a process on a port that stays the same, and a client of a few lines."""

import contextlib
import io
import os
import pathlib
import signal
import subprocess
import tempfile

import msgpack
import zmq

from harness import DEADLINE_S, WEFT, free_ports


class Edge:
    """`weft edge` with its spool, if any, in `directory`."""

    def __init__(self, directory):
        self.directory, self.port, self.process = pathlib.Path(directory), free_ports(1), None
        self.endpoint = f"tcp://127.0.0.1:{self.port}"
        self.context = zmq.Context()

    def start(self, bootstrap=None, *options):
        if bootstrap is not None:
            self.options = ["--set", f"bootstrap={bootstrap}", *map(str, options)]
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        with open(self.directory / "trace", "ab") as trace:
            self.process = subprocess.Popen([WEFT, "edge", "--set", f"listen={self.endpoint}", *self.options], stdout=trace, stderr=trace)
        self.ask(api="hello", id=1)
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def trace(self):
        return (self.directory / "trace").read_text()

    def socket(self, timeout_s=DEADLINE_S):
        socket = self.context.socket(zmq.DEALER)
        socket.RCVTIMEO, socket.LINGER = int(timeout_s * 1000), 0
        socket.connect(self.endpoint)
        return socket

    def ask(self, data=b"", timeout_s=DEADLINE_S, **header):
        with self.socket(timeout_s) as socket:
            socket.send_multipart([msgpack.packb(header), data])
            return msgpack.unpackb(socket.recv_multipart()[0])

    def produce(self, topic, *values, partition=0, timeout_s=DEADLINE_S, **more):
        records = b"".join(msgpack.packb([0, None, value, None]) for value in values)
        return self.ask(records, timeout_s, api="produce", id=1, topic=topic, partition=partition, **more)

    def fetch(self, topic, offset, partition=0):
        """Values of one fetch."""
        with self.socket() as socket:
            socket.send(msgpack.packb({"api": "fetch", "id": 1, "topic": topic, "partition": partition, "offset": offset}))
            batches = msgpack.Unpacker(io.BytesIO(socket.recv_multipart()[1]), max_buffer_size=0)
            return [record[2] for batch in batches for record in msgpack.Unpacker(io.BytesIO(batch[13]), max_buffer_size=0)]

    def counter(self, name):
        if name == "resident_bytes":
            return int(open(f"/proc/{self.process.pid}/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return next(counter["value"] for counter in self.ask(api="node_status", id=1)["counters"] if counter["name"] == name)


@contextlib.contextmanager
def edges():
    """An Edge that is not started yet; if it runs at the end it is stopped."""
    with tempfile.TemporaryDirectory(prefix="weft-edge-") as directory:
        edge = Edge(directory)
        try:
            yield edge
        finally:
            if edge.process is not None and edge.process.poll() is None:
                edge.process.send_signal(signal.SIGCONT)
                edge.kill()
            edge.context.destroy(0)
