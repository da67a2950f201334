# SPDX-License-Identifier: MPL-2.0
"""An edge: everything through one endpoint, leaders that move behind it, clients that misbehave."""

import os
import socket
import subprocess
import tempfile
import time

import msgpack

from edges import edges
from harness import DEADLINE_S, ROOT, WEFT, Load, clusters, run, up, wait_until, weft, weft_json
from test_attach import python


def ports_of(process):
    """The remote TCP ports that a process is connected to."""
    inodes = {os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")}
    rows = [line.split() for line in open(f"/proc/{process.pid}/net/tcp").read().splitlines()[1:]]
    return {int(row[2].split(":")[1], 16) for row in rows if f"socket:[{row[9]}]" in inodes and row[3] == "01"}


def test_edge__the_whole_command_works_where_only_the_edge_is_reached():
    with clusters() as cluster, edges() as edge:
        cluster.up(3)
        edge.start(cluster.endpoints)
        told = edge.ask(api="metadata", id=1)
        assert told["coordinators"] == [edge.endpoint] and all(broker["endpoints"] == [edge.endpoint] for broker in told["brokers"]), told
        weft("topic", "create", "orders", "--partitions", 6, "--replicas", 3, bootstrap=edge.endpoint)
        told = edge.ask(api="metadata", id=2, topics=["orders"])
        assert {p["endpoint"] for p in told["topics"][0]["partitions"]} == {edge.endpoint}, told
        assert len({p["leader"] for p in told["topics"][0]["partitions"]}) == 3, told
        weft("produce", "orders", bootstrap=edge.endpoint, input="".join(f"{n}\n" for n in range(20000)))
        for options in (["--from", "earliest"], ["--group", "readers", "--from", "earliest"]):
            process = subprocess.Popen([WEFT, "consume", "orders", "--bootstrap", edge.endpoint, "--count", "20000", *options],
                                       stdout=subprocess.PIPE, text=True)
            seen = [int(process.stdout.readline()) for _ in range(10)]
            assert ports_of(process) <= {edge.port}, "a client went to a broker"
            seen += [int(line) for line in process.stdout.read().splitlines()]
            assert process.wait(DEADLINE_S) == 0 and sorted(seen) == list(range(20000))
        group = weft_json("group", "describe", "readers", bootstrap=edge.endpoint)
        assert sum(p["committed"] for p in group["partitions"]) == 20000, group
        assert len(weft_json("cluster", "brokers", bootstrap=edge.endpoint)) == 3
        weft("topic", "alter", "orders", "--set", "retention.ms=1h", bootstrap=edge.endpoint)
        weft("group", "delete", "readers", bootstrap=edge.endpoint)
        weft("topic", "delete", "orders", bootstrap=edge.endpoint)
        assert edge.stop() == 0


def test_edge__the_listings_of_attach_run_unchanged():
    with up("--brokers", 2) as node, edges() as edge, tempfile.TemporaryDirectory() as directory:
        edge.start(node.endpoint)
        weft("topic", "create", "orders", "--partitions", 1, "--replicas", 2, bootstrap=edge.endpoint)
        assert python(directory, "producer.py", edge.endpoint, "orders") == "100 records from offset 0 on, durable\n"
        expected = "".join(f"{at} customer-{at % 7} order {at}\n" for at in range(100))
        assert python(directory, "consumer.py", edge.endpoint, "orders", 0, 100) == expected
        assert "orders/0 led by broker" in python(directory, "request.py", edge.endpoint)


def test_edge__it_conforms_as_a_broker_does():
    with up("--brokers", 2) as node, edges() as edge:
        edge.start(node.endpoint)
        done = subprocess.run([ROOT / "scripts/conformance", edge.endpoint], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0 and " 0 failed" in done.stdout, done.stdout + done.stderr


def test_edge__a_leader_that_dies_behind_it_is_not_told_to_clients():
    with clusters() as cluster, edges() as edge:
        cluster.up(3)
        edge.start(cluster.endpoints)
        weft("topic", "create", "orders", "--partitions", 1, "--replicas", 3, bootstrap=edge.endpoint)
        load = Load("orders", edge.endpoint)
        wait_until(lambda: len(load.acks) > 500, "records are acknowledged")
        for how in ("kill", "stop"):  # the dead tells its sockets, the stopped one nobody
            leader = f"broker-{cluster.partition('orders')['leader']}"
            cluster(how, leader)
            wait_until(lambda: f"broker-{cluster.partition('orders')['leader']}" not in (leader, "broker--1"), "another one leads")
            reached = len(load.acks)
            wait_until(lambda: len(load.acks) > reached + 500, "records are acknowledged by the new leader")
            cluster("start" if how == "kill" else "cont", leader)
            wait_until(cluster.is_healthy, "the cluster is whole again")
        status, said = load.stop()
        assert status == 0, said
        done = weft("consume", "orders", "--from", "earliest", "--exit-at-end", bootstrap=edge.endpoint)
        assert [int(line) for line in done.stdout.split()] == list(range(load.sent)), "each once, in order"
        assert edge.counter("sent_again_count") > 0


def test_edge__a_thin_producer_is_answered_by_the_new_leader_too():
    with clusters() as cluster, edges() as edge:
        cluster.up(3)
        edge.start(cluster.endpoints)
        weft("topic", "create", "orders", "--partitions", 1, "--replicas", 3, bootstrap=edge.endpoint)
        assert edge.produce("orders", b"a")["level"] == "durable"
        cluster("kill", f"broker-{cluster.partition('orders')['leader']}")
        assert edge.produce("orders", b"b", timeout_s=20) == {"id": 1, "error": 0, "offset": 1, "level": "durable"}
        assert edge.fetch("orders", 0) == [b"a", b"b"]


def test_edge__bad_clients_are_bounded_and_others_live():
    with up("--brokers", 1) as node, edges() as edge:
        edge.start(node.endpoint, "--set", "client.requests=8", "--set", "client.bytes=1MiB")
        weft("topic", "create", "orders", bootstrap=edge.endpoint)
        with edge.socket() as bad:
            for frames in ([b""], [b"\xc1"], [b"x" * 100000], [b"\xdf\x0f\xff\xff\xff"], [b"a", b"b", b"c"], [msgpack.packb({"api": "nonsense"})],
                           [msgpack.packb({"id": 3})], [msgpack.packb([1, 2])], [msgpack.packb({"api": "quorum", "id": 1})],
                           [msgpack.packb({"api": "broker_register", "id": 1, "broker_id": 1})],
                           [msgpack.packb({"api": "produce", "id": 2**64 - 1, "topic": "orders", "partition": 0}), b"rubbish"],
                           [msgpack.packb({"api": "produce", "id": -5, "topic": "o" * 5000, "partition": 0}), b"x"],
                           [msgpack.packb({"api": "fetch", "id": 7, "topic": "orders", "partition": 2**31, "offset": 0})]):
                bad.send_multipart(frames)
            ids = set()
            while not {2**64 - 1, 3, 7} <= ids:  # each comes back as it was
                answer = msgpack.unpackb(bad.recv_multipart()[0])
                assert answer["error"], answer
                ids.add(answer["id"])
        with edge.socket() as many:  # more under way than one client may have
            for number in range(100):
                many.send(msgpack.packb({"api": "fetch", "id": number, "topic": "orders", "partition": 0, "offset": 0, "max_wait_ms": 3000}))
            answers = [msgpack.unpackb(many.recv_multipart()[0]) for _ in range(100)]
            refused = [answer for answer in answers if answer["error"]]
            assert len(refused) == 92 and all(answer["name"] == "OVERLOADED" and answer["retry_ms"] for answer in refused), answers
        with edge.socket() as slow:  # asks for much and reads nothing
            for number in range(4):
                edge.produce("orders", os.urandom(300000))
            for number in range(2000):
                slow.send(msgpack.packb({"api": "fetch", "id": number, "topic": "orders", "partition": 0, "offset": 0}))
            wait_until(lambda: edge.counter("overloaded_count") + edge.counter("replies_dropped_count") > 500, "it is sent away")
            assert edge.counter("resident_bytes") < 400 << 20
        gone = edge.socket()
        gone.send(msgpack.packb({"api": "fetch", "id": 1, "topic": "orders", "partition": 0, "offset": 4, "max_wait_ms": 500}))
        gone.close()
        wait_until(lambda: edge.counter("under_way_count") == 0 and edge.counter("clients_count") == 0, "nothing is left of clients that went")
        assert edge.produce("orders", b"still well")["error"] == 0
        raw = socket.create_connection(("127.0.0.1", edge.port))
        raw.sendall(os.urandom(4096))
        raw.close()
        assert edge.produce("orders", b"still well")["error"] == 0


def test_edge__a_request_is_refused_in_time_when_nobody_is_there():
    with edges() as edge:
        edge.start("tcp://127.0.0.1:1", "--set", "retry.ms=300")
        begun = time.monotonic()
        told = edge.produce("orders", b"x")
        assert told["name"] == "COORDINATOR_UNAVAILABLE" and time.monotonic() - begun < 5, told
        assert edge.ask(api="node_status", id=1)["health"] in ("starting", "degraded")
        assert edge.ask(api="hello", id=1)["node"] == "edge"
        wait_until(lambda: edge.ask(api="node_status", id=1)["health"] == "degraded", "it says that it is alone")


def test_edge__without_admin_nothing_is_changed_through_it():
    with up("--brokers", 1) as node, edges() as edge:
        edge.start(node.endpoint, "--set", "admin=false")
        node.weft("topic", "create", "orders")
        said = weft("topic", "create", "more", bootstrap=edge.endpoint, status=1).stderr
        assert "admin" in said, said
        assert edge.produce("orders", b"x")["error"] == 0


if __name__ == "__main__":
    run(globals())
