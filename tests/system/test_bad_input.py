# SPDX-License-Identifier: MPL-2.0
"""Bad input from peers, on a real node: each gets a number and a sentence, changes nothing, loses nothing; the node serves on, its memory bounded (I8).

unharmed() is the oracle: topics, log ends, counters, memory and the service for others before and after.
"""

import contextlib
import json
import pathlib
import signal
import socket
import struct
import subprocess

import msgpack
import zmq

import peer as p
from harness import DEADLINE_S, ROOT, WEFT, run, up, weft_json
from peer import Peer, batch, record, refused

SANITIZED = b"AddressSanitizer" in pathlib.Path(WEFT).read_bytes()
SLACK_MIB = 600 if SANITIZED else 160  # what allocators may keep of what was freed
MESSAGES = [json.loads(path.read_text()) for path in sorted((ROOT / "schemas/messages").glob("*.json")) if not path.name.startswith("_")]
UNANSWERED = {message["name"] for message in MESSAGES if "reply" not in message}
TO_COORDINATOR = {message["name"] for message in MESSAGES if message["to"] == "coordinator"} - UNANSWERED
TO_REPLICA_DOOR = {"replicate"}  # a broker's other door: see tests/unit/broker
RECORD_BYTES, BATCH_BYTES = 64 << 10, 1 << 20  # of the topic "orders"


@contextlib.contextmanager
def world():
    """A node with a topic that attacks aim at and one that shows that others are served."""
    with up() as node:
        node.weft("topic", "create", "orders", "--partitions", 2, "--set", f"max.record.bytes={RECORD_BYTES}", "--set", f"max.batch.bytes={BATCH_BYTES}")
        node.weft("topic", "create", "others")
        with Peer(node.endpoint) as peer:
            assert peer.ask("produce", batch([record()] * 3), topic="orders", partition=0)["offset"] == 0
            node.coordinator = peer.ask("metadata")["coordinators"][0]
        yield node


def state(node):
    with Peer(node.endpoint) as peer:
        topics = sorted((t["name"], t["id"], len(t["partitions"])) for t in peer.ask("metadata")["topics"])
        marks = [{k: v for k, v in peer.ask("partition_status", topic="orders", partition=n).items() if k != "id"} for n in range(2)]
    return topics, marks


def served(node):
    with Peer(node.endpoint) as peer:
        offset = peer.ask("produce", record(b"for others"), topic="others", partition=0)["offset"]
        assert peer.ask("fetch", topic="others", partition=0, offset=offset)["error"] == 0 and b"for others" in peer.data


def counted(node, endpoint):
    return weft_json("node", "status", "--endpoint", endpoint, bootstrap=node.endpoint)["counters"]


@contextlib.contextmanager
def unharmed(node, *counters, endpoint=None):
    """What happens inside changes nothing, and moves all these counters of the node at the endpoint."""
    endpoint = endpoint or node.endpoint
    served(node)
    before, numbers, memory = state(node), counted(node, endpoint), p.rss_mib(node.process)
    yield
    assert node.process.poll() is None, node.trace()
    served(node)
    after = state(node)
    assert after == before, f"{before} became {after}"
    now = counted(node, endpoint)
    for name in counters:
        assert now[name] > numbers[name], f"{name} did not move: {now}"
    grown = p.rss_mib(node.process) - memory
    assert grown < SLACK_MIB, f"the node grew by {grown} MiB"


# ---- headers

GOOD = msgpack.packb({"api": "metadata", "id": 5, "topics": ["orders"]})

BAD_HEADERS = {
    "not msgpack": b"\xc1",
    "another protocol": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an array": msgpack.packb([1, 2]),
    "an integer": b"\x07",
    "nil": b"\xc0",

    "trailing bytes": GOOD + b"\xc0",
    "two maps": GOOD + GOOD,
    "too deep, arrays": b"\x81\xa1x" + b"\x91" * 9 + b"\xc0",
    "too deep, maps": b"\x81\xa1x" * 9 + b"\xc0",
    "much too deep": b"\x81\xa1x" + b"\x91" * 500000 + b"\xc0",
    "array count lies": b"\x82\xa2id\x05\xa6topics\xdd\x0f\xff\xff\xff",
    "array count lies at its most": b"\x82\xa2id\x05\xa6topics\xdd\xff\xff\xff\xff",
    "map count lies": b"\xdf\xff\xff\xff\xff\xa2id\x05",
    "map16 count lies": b"\xde\xff\xff\xa2id\x05",
    "string size lies": b"\x81\xa3api\xdb\xff\xff\xff\xff",
    "bin size lies": b"\x81\xa3api\xc6\x7f\xff\xff\xffxyz",
    "ext size lies": b"\x81\xa3api\xc9\xff\xff\xff\xff\x01",
    "a reserved byte inside": b"\x81\xa3api\xc1",
    "a string too long": msgpack.packb({"api": "metadata", "pad": "x" * (p.LIMITS["STRING_BYTES_MAX"] + 1)}),
    "too many elements": msgpack.packb({"api": "metadata", "pad": [0] * (p.LIMITS["HEADER_COUNT_MAX"] + 1)}),
    "too large": msgpack.packb({"api": "metadata", "pad": ["x" * 200000] * 6}),
    "far too large": bytes(8 << 20),
}


def test_header__what_is_no_legal_map_is_refused_by_number_and_sentence():
    with world() as node:
        for endpoint in (node.endpoint, node.coordinator):
            with unharmed(node, "frames_refused_count", endpoint=endpoint), Peer(endpoint) as peer:
                limit = peer.ask("hello")["frame_bytes_max"]
                for name, header in BAD_HEADERS.items():
                    if len(header) > limit:
                        continue  # cut off by the transport, see below
                    reply = refused(peer.exchange(header), "BAD_FRAME")
                    assert reply["id"] in (0, 5), (name, reply)
                    refused(peer.exchange(header, batch()), "BAD_FRAME")  # whatever stands behind it


def test_header__every_prefix_and_every_flipped_bit_of_a_request_is_answered():
    header = msgpack.packb({"api": "fetch", "id": 5, "topic": "orders", "partition": 0, "offset": 0, "max_bytes": 100})
    with world() as node, unharmed(node, "frames_refused_count"), Peer(node.endpoint) as peer:
        for size in range(1, len(header)):
            refused(peer.exchange(header[:size]), "BAD_FRAME")
        for bit in range(len(header) * 8):
            flipped = bytearray(header)
            flipped[bit // 8] ^= 1 << bit % 8
            reply = peer.exchange(bytes(flipped))
            assert reply.get("error", 0) in p.ERRORS, (bit, reply)


def test_header__an_empty_frame_is_refused():
    with world() as node, unharmed(node, "frames_refused_count"), Peer(node.endpoint) as peer:
        refused(peer.exchange(b""), "BAD_FRAME")
        peer.send(b"", b"")
        assert peer.socket.poll(DEADLINE_S * 1000)
        delimiter, reply = peer.socket.recv_multipart()  # taken for a REQ's delimiter and an empty header
        assert delimiter == b""
        refused(msgpack.unpackb(reply), "BAD_FRAME")


def wrong_values(kind):
    """Values that are none of the type."""
    if kind.startswith("["):
        inner = kind[1:-1]
        return [5, "x", {}, True, [None]] + [[value] for value in wrong_values(inner)]
    if kind in ("str", "bin"):
        return [5, -1, 1.5, True, [], {}, ["x"], msgpack.ExtType(1, b"x")]
    if kind == "id":
        return [5, True, [], b"short", b"x" * 17, "g" * 32, ""]
    if kind == "bool":
        return [0, 1, "true", [], {}, 1.0]
    if kind[0] in "iu" and kind[1:].isdigit():
        bits = int(kind[1:])
        lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind[0] == "i" else (0, (1 << bits) - 1)
        beyond = [value for value in (lowest - 1, highest + 1) if -(1 << 63) <= value < 1 << 64]
        return ["1", "", 1.0, True, [], {}, b"\x01", *beyond]
    return [5, "x", [], True]  # a struct


def right_value(kind):
    if kind.startswith("["):
        return []
    return {"str": "orders", "bin": b"x", "id": b"x" * 16, "bool": True}.get(kind, 1 if kind[0] in "iu" else {})


def test_header__every_field_of_every_request_refuses_every_wrong_type():
    with world() as node:
        for endpoint, to_coordinator in ((node.endpoint, False), (node.coordinator, True)):
            counter = "requests_refused_count" if to_coordinator else "frames_refused_count"
            with unharmed(node, counter, endpoint=endpoint), Peer(endpoint) as peer:
                for message in MESSAGES:
                    api, fields = message["name"], message["request"]["fields"]
                    if api in UNANSWERED or api in TO_REPLICA_DOOR or (api in TO_COORDINATOR) != to_coordinator:
                        continue
                    whole = {field["name"]: right_value(field["type"]) for field in fields if field.get("required")}
                    for field in fields:
                        values = wrong_values(field["type"])
                        if "max" in field and field["type"] == "str":
                            values.append("x" * (field["max"] + 1))
                        for value in values:
                            reply = peer.ask(api, b"", **{**whole, field["name"]: value})
                            assert refused(reply, "INVALID_REQUEST", "BAD_FRAME"), (api, field["name"], value)
                            assert field["name"] in reply["message"], (api, field["name"], value, reply)
                        if field.get("required"):
                            reply = peer.ask(api, b"", **{name: value for name, value in whole.items() if name != field["name"]})
                            assert field["name"] in refused(reply, "INVALID_REQUEST")["message"], reply


def test_header__api_id_and_must_of_wrong_types():
    with world() as node:
        for endpoint, counter in ((node.endpoint, "frames_refused_count"), (node.coordinator, "requests_refused_count")):
            with unharmed(node, counter, endpoint=endpoint), Peer(endpoint) as peer:
                for header in ({}, {"id": 1}, {"api": 5}, {"api": None}, {"api": ["hello"]}, {"api": "hello", "id": "1"}, {"api": "hello", "id": -1},
                               {"api": "hello", "must": "x"}, {"api": "hello", "must": [5]}, {"api": "hello", "must": {"x": 1}}):
                    refused(peer.exchange(msgpack.packb(header)), "INVALID_REQUEST", "BAD_FRAME")


def test_header__unknown_apis_demands_and_versions_are_told_apart():
    with world() as node:
        for endpoint, counter in ((node.endpoint, "apis_refused_count"), (node.coordinator, "frames_refused_count")):
            with unharmed(node, counter, endpoint=endpoint), Peer(endpoint) as peer:
                refused(peer.ask("make_coffee"), "UNKNOWN_API")
                refused(peer.ask(""), "UNKNOWN_API", "INVALID_REQUEST")
                refused(peer.ask("cluster_update", b"", epoch=9, from_index=0, to_index=9, snapshot=True), "UNKNOWN_API")
                assert "filter" in refused(peer.ask("metadata", must=["filter"], filter=1), "UNSUPPORTED")["message"]
                refused(peer.ask("hello", must=["protocol_min", "x"]), "UNSUPPORTED")
                assert peer.ask("metadata", must=["topics"], topics=["orders"], unknown=[1, {"x": 2}])["error"] == 0
                assert "1" in refused(peer.ask("hello", protocol_min=2, protocol_max=9), "UNSUPPORTED_VERSION")["message"]
                refused(peer.ask("hello", protocol_min=0, protocol_max=0), "UNSUPPORTED_VERSION")


def test_header__an_order_of_the_coordinator_is_not_taken_from_a_peer():
    with world() as node, unharmed(node), Peer(node.endpoint) as peer:
        refused(peer.ask("broker_register", broker_id=1, incarnation=b"x" * 16, endpoints=["tcp://127.0.0.1:1"]), "NOT_COORDINATOR")
        with Peer(node.coordinator) as other:
            refused(other.ask("broker_register", broker_id=1, incarnation=b"x" * 16, endpoints=["tcp://127.0.0.1:1"]), "BROKER_ID_IN_USE")
            refused(other.ask("broker_heartbeat", broker_id=1, incarnation=b"x" * 16, index=1), "FENCED")
            refused(other.ask("broker_heartbeat", broker_id=77, incarnation=b"x" * 16, index=1), "UNKNOWN_BROKER", "FENCED")
            refused(other.ask("broker_register", broker_id=-5, incarnation=b"y" * 16, endpoints=["tcp://127.0.0.1:1"]), "INVALID_REQUEST")
            refused(other.ask("broker_register", broker_id=9, incarnation=bytes(16), endpoints=["tcp://127.0.0.1:1"]), "INVALID_REQUEST")
            refused(other.ask("broker_register", broker_id=9, incarnation=b"y" * 16, endpoints=[]), "INVALID_REQUEST")
            refused(other.ask("broker_register", broker_id=9, incarnation=b"y" * 16, cluster_id=b"z" * 16, endpoints=["tcp://127.0.0.1:1"]), "WRONG_CLUSTER")


# ---- frames


def test_frames__three_to_a_hundred_are_refused_and_counted():
    with world() as node:
        for endpoint in (node.endpoint, node.coordinator):
            with unharmed(node, "messages_malformed_count", endpoint=endpoint), Peer(endpoint) as peer:
                for count in (3, 4, 5, 100, 1000):
                    refused(peer.exchange(*[GOOD] * count), "BAD_FRAME")
                    refused(peer.exchange(*[b"x"] * count), "BAD_FRAME")
                assert peer.ask("hello")["error"] == 0  # the connection goes on


def test_frames__a_produce_without_data_is_refused():
    with world() as node, unharmed(node, "produce_refused_count"), Peer(node.endpoint) as peer:
        for data in (None, b""):
            assert "data" in refused(peer.ask("produce", data, topic="orders", partition=0), "BAD_BATCH")["message"]


def test_frames__more_for_ever_is_bounded_and_ends_with_its_connection():
    with world() as node:
        for endpoint in (node.endpoint, node.coordinator):
            with unharmed(node, endpoint=endpoint):
                connections = [p.shaken_hands(endpoint) for _ in range(3)]
                for connection in connections:
                    connection.sendall(p.frame(b"x" * 1000, more=True) * 3000)
                served(node)
                for connection in connections:
                    connection.close()


def test_frames__one_above_the_limit_is_cut_off_with_its_connection_and_counted():
    with world() as node:
        for endpoint in (node.endpoint, node.coordinator):
            with unharmed(node, "connections_ended_count", endpoint=endpoint):
                connection = p.shaken_hands(endpoint)
                with Peer(endpoint) as peer:
                    limit = peer.ask("hello")["frame_bytes_max"]
                connection.sendall(b"\x02" + struct.pack(">Q", limit + 1) + b"x" * 1000)  # announced is enough
                assert p.hung_up(connection)
                connection = p.shaken_hands(endpoint)
                connection.sendall(b"\x02" + struct.pack(">Q", (1 << 63) - 1))
                assert p.hung_up(connection)
        with unharmed(node, "connections_ended_count"), Peer(node.endpoint) as peer:
            peer.send(msgpack.packb({"api": "produce", "topic": "orders", "partition": 0}), bytes(p.LIMITS["FRAME_BYTES_MAX"] + 1))
            assert peer.receive(0.5) is None
            peer.socket.close()


def test_frames__the_client_refuses_what_is_too_large_before_it_sends():
    with world() as node, unharmed(node):
        done = node.weft("produce", "orders", input="x" * (RECORD_BYTES + 1) + "\n", status=1)
        assert f"at most {RECORD_BYTES:,}" in done.stderr, done.stderr


# ---- bytes on the port


def test_bytes__garbage_on_the_port_is_hung_up_on():
    with world() as node:
        for endpoint in (node.endpoint, node.coordinator):
            with unharmed(node, endpoint=endpoint):
                for garbage in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100, b"\x16\x03\x01\x02\x00" + bytes(512), bytes(range(256)) * 64, b"\xff" * 4096,
                                p.GREETING[:12] + b"CURVE" + bytes(47), p.GREETING + b"\x00" * 64, p.GREETING + b"\x04\xff" * 100,
                                p.GREETING + p.frame(b"\xffREADY", command=True), p.GREETING + p.ready(b"DEALER") + b"\xfc" * 100):
                    connection = p.dial(endpoint)
                    with contextlib.suppress(OSError):
                        connection.sendall(garbage)
                        connection.shutdown(socket.SHUT_WR)
                    assert p.hung_up(connection), garbage[:20]


def test_bytes__half_a_greeting_holds_nothing_up_and_is_let_go():
    with world() as node, unharmed(node):
        half = [p.dial(node.endpoint) for _ in range(20)]
        for connection in half:
            connection.sendall(p.GREETING[:11])
        silent = p.dial(node.endpoint)
        served(node)
        assert p.hung_up(half[0], 15) and p.hung_up(silent, 15)  # within the handshake's time
        for connection in half:
            connection.close()


def test_bytes__hundreds_of_idle_connections_do_no_harm():
    with world() as node, unharmed(node):
        idle = [p.shaken_hands(node.endpoint) for _ in range(300)]
        served(node)
        for connection in idle:
            connection.close()


# ---- slow peers


def test_slow__a_consumer_that_never_reads_is_refused_beyond_its_budget_and_others_are_served():
    with world() as node:
        with Peer(node.endpoint) as peer:
            big = batch([record(b"x" * 60000)] * 16, attributes=p.CRC_ABSENT)
            for _ in range(16):
                assert peer.ask("produce", big, topic="orders", partition=1)["error"] == 0
        with unharmed(node, "overloaded_count"):
            slow = p.shaken_hands(node.endpoint)
            fetch = p.frame(msgpack.packb({"api": "fetch", "id": 1, "topic": "orders", "partition": 1, "offset": 0, "max_bytes": 16 << 20}))
            slow.sendall(fetch * 40)  # 40 times 15 MiB; the answers are never read
            for _ in range(20):
                served(node)
            slow.close()


def test_slow__a_stopped_consumer_holds_up_nobody():
    with world() as node:
        node.weft("produce", "orders", "--partition", 1, input=("y" * 9999 + "\n") * 3000)
        with unharmed(node):
            consumer = subprocess.Popen([WEFT, "consume", "orders", "--from", "earliest", "--bootstrap", node.endpoint], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
            assert consumer.stdout.read(10000)
            consumer.send_signal(signal.SIGSTOP)
            for _ in range(20):
                served(node)
            consumer.kill()
            consumer.wait(DEADLINE_S)
            consumer.stdout.close()


if __name__ == "__main__":
    run(globals())
