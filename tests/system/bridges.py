# SPDX-License-Identifier: MPL-2.0
"""A running bridge, and what tests ask it."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile

import msgpack
import zmq

from harness import DEADLINE_S, WEFT, Up, free_ports, wait_until


class Bridge:
    """A `weft bridge` process, the same settings at every start."""

    def __init__(self, directory, source, target, *settings, name="bridge"):
        self.directory, self.process = pathlib.Path(directory), None
        self.listen = f"tcp://127.0.0.1:{free_ports(1)}"
        self.settings = [f"source={source}", f"target={target}", f"name={name}", f"listen={self.listen}", "refresh.ms=500",
                         "consumer=metadata.ms=300", *settings]
        self.trace_path = self.directory / f"{name}-{self.listen.rsplit(':')[-1]}.trace"

    def start(self):
        arguments = [argument for setting in self.settings for argument in ("--set", setting)]
        with open(self.trace_path, "ab") as trace:
            self.process = subprocess.Popen([WEFT, "bridge", *arguments], stdin=subprocess.DEVNULL, stdout=trace, stderr=trace)
        return self

    def trace(self):
        return self.trace_path.read_text(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def rss_bytes(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def ask(self, seconds=DEADLINE_S, **question):
        """Its answer, as a dictionary with text keys."""
        with zmq.Context() as context, context.socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.connect(self.listen)
            socket.send(msgpack.packb({"id": 7, **question}))
            assert socket.poll(int(seconds * 1000)), f"no answer: {self.trace()}"
            answer = msgpack.unpackb(socket.recv(), raw=False)
            assert answer["id"] == 7, answer
            return answer

    def partitions(self):
        return {(row["topic"], row["partition"]): row for row in self.ask().get("partitions", [])}

    def is_copying(self, topic, count=1):
        rows = [row for (name, _), row in self.partitions().items() if name == topic]
        return len(rows) == count and all(row["state"] == "copying" for row in rows)


@contextlib.contextmanager
def some(names, *options):
    """Clusters of one node each, not bridged yet."""
    with tempfile.TemporaryDirectory(prefix="weft-bridge-") as directory, contextlib.ExitStack() as stack:
        nodes = []
        for name in names:
            place = pathlib.Path(directory) / name
            place.mkdir()
            node = Up(place, *options).start()
            stack.callback(lambda node=node: node.process.poll() is None and (node.process.kill(), node.process.wait(DEADLINE_S)))
            nodes.append(node)
        yield pathlib.Path(directory), *nodes


def two(*options):
    return some("ab", *options)


@contextlib.contextmanager
def running(bridge):
    """Starts it; it is gone afterwards, whatever happened."""
    try:
        yield bridge.start()
    finally:
        if bridge.process.poll() is None:
            bridge.process.kill()
            bridge.process.wait(DEADLINE_S)


def read(node, topic, form="%p %v\\n"):
    """What a topic holds, a line each; nothing if it is not there."""
    done = node.weft("consume", topic, "--from", "earliest", "--exit-at-end", "--format", form, status=None)
    return done.stdout.splitlines() if done.returncode == 0 else []


def by_partition(lines):
    held = {}
    for line in lines:
        partition, _, value = line.partition(" ")
        held.setdefault(partition, []).append(value)
    return held


def count_of(node, topic):
    """Records of a topic that nothing was deleted from, without reading them; 0 if it is not there."""
    done = node.weft("topic", "describe", topic, "--json", status=None)
    rows = json.loads(done.stdout)["partitions"] if done.returncode == 0 else []
    return sum(max(row.get("high_watermark", 0) - row.get("log_start", 0), 0) for row in rows)


def wait_same(source, target, topic, copy=None, seconds=None):
    """Waits until the copy holds as many records; then each partition must hold the same ones in the same order."""
    wanted = by_partition(read(source, topic))
    count = sum(map(len, wanted.values()))
    wait_until(lambda: count_of(target, copy or topic) >= count, f"{count} records are copied", seconds)

    def read_all():
        lines = read(target, copy or topic)
        return lines if len(lines) >= count else None

    copied = wait_until(read_all, f"{count} records are read", seconds)
    held = by_partition(copied)
    for partition, values in wanted.items():
        got = held.get(partition, [])
        if got != values:
            first = next((at for at, pair in enumerate(zip(values, got)) if pair[0] != pair[1]), min(len(values), len(got)))
            raise AssertionError(f"partition {partition}: {len(values)} records, {len(got)} copied, first difference at {first}: "
                                 f"{values[first:first + 3]} {got[first:first + 3]}; repeated: {len(got) - len(set(got))}")
    assert set(held) == set(wanted), (set(held), set(wanted))
    return count
