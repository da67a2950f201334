# SPDX-License-Identifier: MPL-2.0
"""Bad peers of tap, edge, player, bridge and recorder, on real sockets: garbage, half handshakes, frames beyond the limit, messages of any shape, the same
routing id many times, connections that come and go, clients that never read. Each node lives, serves the next honest peer, and its memory is bounded (I8)."""

import contextlib
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import tempfile
import time

import msgpack
import peer as p
import zmq
from harness import DEADLINE_S, WEFT, run, up, wait_until

SANITIZED = b"__asan_init" in pathlib.Path(WEFT).read_bytes() or b"__tsan_init" in pathlib.Path(WEFT).read_bytes()  # keeps what is freed
SLACK_MIB = 600 if SANITIZED else 160
CONTEXT = zmq.Context()
CONTEXT.max_sockets = 4000
RANDOM = random.Random(5)


class Node:
    """`weft TYPE` as a process, its door bound to a free port."""

    def __init__(self, type_, bootstrap, *settings):
        self.directory = tempfile.TemporaryDirectory(prefix="weft-bad-peers-")
        self.ready = pathlib.Path(self.directory.name) / "ready"
        self.trace_path = pathlib.Path(self.directory.name) / "trace"
        with open(self.trace_path, "wb") as trace:
            self.process = subprocess.Popen([WEFT, type_, "--ready-file", self.ready, *(word for pair in settings for word in ("--set", pair))],
                                            stdout=trace, stderr=trace, env={**os.environ, "WEFT_BOOTSTRAP": bootstrap})
        wait_until(lambda: self.ready.exists() or self.process.poll() is not None, f"{type_} is ready")
        assert self.process.poll() is None, self.trace()

    def trace(self):
        return self.trace_path.read_text(errors="replace")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(DEADLINE_S)
        trace = self.trace()
        self.directory.cleanup()
        assert status == 0, f"{status}: {trace[-3000:]}"


@contextlib.contextmanager
def running(type_, bootstrap, *settings):
    node = Node(type_, bootstrap, *settings)
    try:
        yield node
        node.stop()
    finally:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait()


class Door:
    """Where a node is attacked: its endpoint, and what may connect there."""

    def __init__(self, endpoint, kind=zmq.DEALER):
        self.endpoint, self.kind = endpoint, kind

    def hands(self):
        return p.shaken_hands(self.endpoint, zmq.SocketType(self.kind).name.encode())

    def dial(self):
        return p.dial(self.endpoint)

    def socket(self, **how):
        return connected(self.endpoint, self.kind, **how)


def connected(endpoint, kind=zmq.DEALER, identity=None, deaf=False):
    """A socket that is not waited for; `deaf`: with no room for what it does not read."""
    one = CONTEXT.socket(kind)
    one.linger, one.rcvtimeo, one.sndtimeo = 0, int(DEADLINE_S * 1000), int(DEADLINE_S * 1000)
    if identity is not None:
        one.setsockopt(zmq.IDENTITY, identity)
    if deaf:
        one.rcvhwm, one.sndhwm = 1, 100000
        one.setsockopt(zmq.RCVBUF, 4096)
    one.connect(endpoint)
    return one


# ---- what hostile peers do


def garbage(door, _message):
    for n in range(30):
        with door.dial() as connection, contextlib.suppress(OSError):
            connection.sendall(RANDOM.randbytes(RANDOM.randrange(1, 600)) if n % 2 else b"GET / HTTP/1.1\r\n\r\n")
    for _ in range(30):
        with door.hands() as connection, contextlib.suppress(OSError):
            connection.sendall(RANDOM.randbytes(2000))


def half_handshakes(door, _message):
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    with contextlib.ExitStack() as stack:
        for n in range(100):
            stack.enter_context(door.dial()).sendall(greeting[: n % 64])
        yield_to_others(door)


def yield_to_others(door):
    """A round of honest greetings while the others stand there."""
    with door.hands():
        pass


def giants(door, _message):
    for head in (b"\x02\x7f" + b"\xff" * 7, b"\x03" + struct.pack(">Q", 1 << 40), b"\x06" + b"\xff" * 8, b"\x02" + struct.pack(">Q", 40 << 20)):
        with door.hands() as connection, contextlib.suppress(OSError):
            connection.sendall(head)
            for _ in range(64):
                connection.sendall(bytes(65536))


def multiparts(door, message):
    with door.socket() as one:
        for n in range(400):
            frames = [RANDOM.randbytes(RANDOM.choice((0, 0, 1, 8, 100, 3000))) for _ in range(RANDOM.choice((1, 2, 3, 4, 5, 100)))]
            if n % 3 == 0:
                frames[RANDOM.randrange(len(frames))] = message[-1]
            one.send_multipart(frames)
        for _ in range(20):
            for frames in (message, [b"", *message], [*message, b""], [b"", b"", *message], message[:-1] + [message[-1][:-1]], [message[-1] + b"\0"]):
                if frames:
                    one.send_multipart(frames)


def same_ids(door, message):
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            one = stack.enter_context(door.socket(identity=b"same"))
            one.send_multipart(message)
        for identity in (b"a\x00b", b"x" * 255, b"\xff"):
            stack.enter_context(door.socket(identity=identity)).send_multipart(message)


def come_and_go(door, message):
    for _ in range(10):
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(door.socket()).send_multipart(message)
    for _ in range(1000):
        with contextlib.suppress(OSError), door.dial() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset


def never_read(door, message):
    with contextlib.ExitStack() as stack:
        deaf = [stack.enter_context(door.socket(deaf=True)) for _ in range(10)]
        for one in deaf:
            with contextlib.suppress(zmq.Again):
                for _ in range(20000):
                    one.send_multipart(message, zmq.DONTWAIT)
        time.sleep(2)  # allow-sleep: what the node would pile up piles up in that time
        yield_to_others(door)


ATTACKS = (garbage, half_handshakes, giants, multiparts, same_ids, come_and_go, never_read)


def attacked(node, door, message, serves):
    serves()
    before = p.rss_mib(node.process)
    for attack in ATTACKS:
        started = time.monotonic()
        attack(door, message)
        assert node.process.poll() is None, f"{attack.__name__}: {node.trace()[-3000:]}"
        serves()
        grown = p.rss_mib(node.process) - before
        print(f"   {attack.__name__}: {grown} MiB more, {time.monotonic() - started:.1f} s", flush=True)
        assert grown < SLACK_MIB, f"{attack.__name__}: the node grew by {grown} MiB"


# ---- the nodes


def port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{one.getsockname()[1]}"


def asked(endpoint, *frames):
    with connected(endpoint) as one:
        one.send_multipart(frames)
        return one.recv_multipart()


def test_edge():
    with up() as core:
        core.weft("topic", "create", "orders")
        listen = port()
        with running("edge", core.endpoint, f"listen={listen}", f"bootstrap={core.endpoint}", "bytes=32MiB", "client.bytes=8MiB") as edge:
            def serves():
                reply = msgpack.unpackb(asked(listen, msgpack.packb({"api": "produce", "id": 3, "topic": "orders", "partition": 0}), p.record(b"x"))[0])
                assert reply["error"] == 0, reply

            attacked(edge, Door(listen), [msgpack.packb({"api": "metadata", "id": 1})], serves)
            attacked(edge, Door(listen), [msgpack.packb({"api": "fetch", "id": 1, "topic": "orders", "partition": 0, "offset": 0, "max_bytes": 1 << 20})], serves)


def test_tap():
    with up() as core:
        core.weft("topic", "create", "orders")
        core.weft("produce", "orders", input="".join(f"{n} {'x' * 1000}\n" for n in range(3000)))
        listen, replay = port(), port()
        with running("tap", core.endpoint, f"listen={listen}", f"replay={replay}", f"bootstrap={core.endpoint}", "topic=orders", "wait.subscribers=0") as tap:
            def serves():
                with CONTEXT.socket(zmq.SUB) as sub:
                    sub.connect(listen)
                    sub.setsockopt(zmq.SUBSCRIBE, b"orders")
                    core.weft("produce", "orders", input="more\n")
                    assert sub.poll(DEADLINE_S * 1000), tap.trace()
                with connected(replay) as one:
                    one.send_multipart([b"", (2990).to_bytes(8, "big")])
                    while int.from_bytes(one.recv_multipart()[1], "big", signed=True) != -1:
                        pass

            attacked(tap, Door(replay), [b"", bytes(8)], serves)
            attacked(tap, Door(listen, zmq.XSUB), [b"\x01orders"], serves)


def test_player():
    with up() as core:
        core.weft("topic", "create", "orders")
        core.weft("produce", "orders", input="a\nb\n")
        listen, control = port(), port()
        with running("player", core.endpoint, f"listen={listen}", f"control={control}", f"bootstrap={core.endpoint}", "topic=orders", "paused=true") as player:
            def serves():
                assert b'"ok": true' in asked(control, b"status")[-1]

            attacked(player, Door(control), [b"status"], serves)


def test_bridge():
    with up() as source, up() as target:
        source.weft("topic", "create", "orders", "--partitions", 1000)
        listen = port()
        with running("bridge", source.endpoint, f"listen={listen}", f"source={source.endpoint}", f"target={target.endpoint}") as bridge:
            def serves():
                assert msgpack.unpackb(asked(listen, msgpack.packb({"id": 1}))[-1])["id"] == 1

            wait_until(lambda: len(asked(listen, msgpack.packb({"id": 1}))[-1]) > 50000, "it copies")
            attacked(bridge, Door(listen), [msgpack.packb({"id": 1})], serves)


def test_recorder():
    with up() as core:
        core.weft("topic", "create", "orders")
        for kind in ("pull", "router"):
            listen = port()
            with running("recorder", core.endpoint, f"listen={listen}", f"socket={kind}", f"bootstrap={core.endpoint}", "topic=orders") as recorder:
                def serves():
                    end = core.weft("consume", "orders", "--from", "earliest", "--exit-at-end", "--format", "%o\\n").stdout.count("\n")
                    with connected(listen, zmq.PUSH if kind == "pull" else zmq.DEALER) as one:
                        one.linger = 10000
                        one.send(b"honest")
                    wait_until(lambda: core.weft("consume", "orders", "--from", end, "--exit-at-end", "--format", "%o\\n").stdout.count("\n") > 0, "it is recorded")

                attacked(recorder, Door(listen, zmq.PUSH if kind == "pull" else zmq.DEALER), [b"a message"], serves)


if __name__ == "__main__":
    run(globals())
