# SPDX-License-Identifier: MPL-2.0
"""Each ready topology as a new user would try it: up, records through all of it, down."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile

import zmq
from harness import DEADLINE_S, ROOT, WEFT, run, wait_until, weft
from topologies import READY, on_free_ports, topology

CONTEXT = zmq.Context()


def ready(name, *options):
    return topology(on_free_ports((READY / f"{name}.conf").read_text()), *options)


def receive(socket):
    assert socket.poll(int(DEADLINE_S * 1000)), "nothing came"
    return socket.recv_multipart()


def test_topologies__each_is_right_as_it_stands():
    for file in sorted(READY.glob("*.conf")):
        assert "no problem" in weft("topology", "check", file).stdout
    assert len(list(READY.glob("*.conf"))) == 5


def test_topologies__pictures_in_the_manual_are_those_of_the_files():
    manual = (ROOT / "docs/TOPOLOGIES.md").read_text()
    for file in sorted(READY.glob("*.conf")):
        picture = (ROOT / "docs/topologies" / f"{file.stem}.svg").read_text()
        assert picture == weft("topology", "draw", file, "--svg").stdout, f"weft topology draw {file} --svg > docs/topologies/{file.stem}.svg"
        assert f"topologies/{file.stem}.svg" in manual


def test_topologies__single():
    for options in ([], ["--processes"]):
        with ready("single", *options) as it:
            it.weft("produce", "greetings", input="hello\nworld\n")
            assert it.weft("consume", "greetings", "--from", "earliest", "--exit-at-end").stdout == "hello\nworld\n"
            assert it.stop() == 0
            assert "single stopped cleanly" in it.text()


def test_topologies__three_broker_bears_the_death_of_any_one():
    with ready("three-broker", "--processes") as it:
        it.weft("produce", "orders", input="".join(f"{number}\n" for number in range(1000)))
        for victim in ("broker-2", "coordinator-1"):
            before = it.node(victim)
            os.kill(before["pid"], signal.SIGKILL)
            it.weft("produce", "orders", input=f"after {victim}\n")
            wait_until(lambda: it.node(victim)["restarts"] == 1 and it.node(victim)["health"] == "serving", f"{victim} serves again", 60)
            assert "killed by signal 9" in it.node(victim)["reason"]
        values = it.weft("consume", "orders", "--from", "earliest", "--exit-at-end").stdout.splitlines()
        assert sorted(values) == sorted([*map(str, range(1000)), "after broker-2", "after coordinator-1"])
        assert it.stop() == 0


def test_topologies__fan_out_publishes_to_plain_subscribers():
    with ready("fan-out") as it:
        archive, live = CONTEXT.socket(zmq.SUB), CONTEXT.socket(zmq.SUB)
        for socket, name in ((archive, "archive"), (live, "live")):
            socket.connect(it.endpoints[name])
            socket.setsockopt(zmq.SUBSCRIBE, b"events")
        it.weft("produce", "events", input="one\ntwo\n")
        for socket in (archive, live):
            first = receive(socket)
            assert first[0] == b"events" and first[1] == (0).to_bytes(8, "big") and b"one" in first[2]
            assert b"two" in receive(socket)[2]
            socket.close(0)
        assert it.stop() == 0


def test_topologies__what_is_recorded_is_played():
    with ready("record-and-replay") as it:
        push, sub = CONTEXT.socket(zmq.PUSH), CONTEXT.socket(zmq.SUB)
        push.connect(it.endpoints["recorder"])
        sub.connect(it.endpoints["player"])
        messages = [[b"frame", str(number).encode(), b""] for number in range(50)]
        for message in messages:
            push.send_multipart(message)
        sub.setsockopt(zmq.SUBSCRIBE, b"")
        assert [receive(sub) for _ in messages] == messages
        push.close(0)
        sub.close(0)
        assert it.stop() == 0


def test_topologies__edge_to_core_copies_and_forwards():
    with ready("edge-to-core") as it:
        edge, gateway = it.endpoints["edge-broker"], it.endpoints["gateway"]
        it.weft("produce", "sensors", input="".join(f"{number}\n" for number in range(100)), bootstrap=edge)

        def copied():
            done = it.weft("consume", "site-1.sensors", "--from", "earliest", "--exit-at-end", bootstrap=gateway, status=None)
            return done.returncode == 0 and len(done.stdout.splitlines()) == 100

        wait_until(copied, "all records are in the core, behind the gateway", 60)

        def told():
            rows = json.loads(it.weft("bridge", "status", "--endpoint", it.endpoints["bridge"], "--json").stdout)
            return sum(row["source_next"] for row in rows) == 100

        wait_until(told, "the bridge says so", 60)
        it.weft("topic", "create", "orders", bootstrap=gateway)
        it.weft("produce", "orders", input="through the gateway\n", bootstrap=gateway)
        assert it.weft("consume", "orders", "--from", "earliest", "--exit-at-end", bootstrap=it.endpoints["core-broker"]).stdout == "through the gateway\n"
        assert it.stop() == 0


if __name__ == "__main__":
    run(globals())
