# SPDX-License-Identifier: MPL-2.0
"""What a server must do with frames and records, each check with the section of docs/PROTOCOL.md that says so; topics and groups stand in
cluster_checks.py. They change nothing but topics and groups of their own."""

import json
import os
import struct
import sys
import time

import msgpack
import zmq

import report
from cluster import Cluster, fine, refused
from report import Skipped, registry
from wire import CRC_ABSENT, ERRORS, LIMITS, LZ4, ROOT, ZSTD, batch, crc_is_right, lz4, record, records_of, split, zstd

CHECKS, check = registry()
GOLDEN = json.loads((ROOT / "docs/golden.json").read_text())

# ---- frames


@check("Frames")
def a_reply_carries_the_id_of_its_request(world):
    """Also an id of 64 bits."""
    link = world.link(fresh=True)
    for number in (0, 1, 2**32, 2**64 - 1):
        link.send(msgpack.packb({"api": "hello", "id": number}))
        header, _ = link.reply()
        assert header.get("id", 0) == number, f"asked with id {number}, answered with {header.get('id')}"
    link.socket.close()


@check("Frames")
def replies_come_in_any_order(world):
    """What waits holds nobody up: a parked fetch does not delay the hello behind it."""
    link = world.leader(world.topic(), fresh=True)
    topic = world.topics[-1]
    parked = link.request("fetch", topic=topic, partition=0, offset=0, max_wait_ms=1500)
    asked = link.request("hello")
    began = time.monotonic()
    header, _ = link.reply()
    assert header["id"] == asked and time.monotonic() - began < 1, "hello waited behind a fetch that waits for records"
    header, _ = link.reply()
    assert header["id"] == parked
    link.socket.close()


@check("Frames")
def a_REQ_socket_works(world):
    """Its empty delimiter is mirrored."""
    link = world.link(fresh=True, kind=zmq.REQ)
    fine(link.ask("hello")[0])
    fine(link.ask("metadata")[0])
    link.socket.close()


@check("Frames")
def a_delimited_produce_with_acks_none_is_answered(world):
    """REQ waits for an answer, a DEALER gets none."""
    topic = world.topic()
    link = world.leader(topic, fresh=True)
    link.send(b"", msgpack.packb({"api": "produce", "id": 5, "topic": topic, "partition": 0, "acks": "none"}), record())
    frames = link.receive()
    assert frames and frames[0] == b"" and msgpack.unpackb(frames[1])["id"] == 5, f"answered with {frames}"
    link.request("produce", record(), topic=topic, partition=0, acks="none")
    asked = link.request("hello")
    assert link.reply()[0]["id"] == asked, "produce with acks none was answered though nobody waits"
    link.socket.close()


@check("Frames")
def more_than_two_frames_are_refused(world):
    """BAD_FRAME under id 0."""
    link = world.link(fresh=True)
    link.send(msgpack.packb({"api": "hello", "id": 3}), b"", b"")
    assert refused(link.reply()[0], "BAD_FRAME").get("id", 0) == 0
    fine(link.ask("hello")[0])
    link.socket.close()


# ---- headers


@check("Headers")
def hello_tells_versions_and_limits(world):
    header = fine(world.link().ask("hello", client="conformance")[0])
    assert header["protocol_min"] <= 1 <= header["protocol_max"]
    assert header["frame_bytes_max"] >= header["batch_bytes_max"] > 0 and header["session_window"] >= 1
    assert abs(header["wall_ms"] - time.time() * 1000) < 600_000, "its clock is more than ten minutes from ours"
    assert len(header["cluster_id"]) == 16 and header["node"] and header["version"]


@check("Headers")
def strings_and_bin_are_taken_for_each_other(world):
    topic = world.topic()
    link = world.leader(topic)
    link.send(msgpack.packb({b"api": b"list_offsets", "id": 1, "topic": topic.encode(), "partition": 0}))
    fine(link.reply()[0])


@check("Headers")
def integers_come_in_any_width(world):
    topic = world.topic()
    link = world.leader(topic)
    wide = b"\x84\xa3api\xaclist_offsets\xa2id\xcf" + struct.pack(">Q", 6) + b"\xa5topic" + msgpack.packb(topic) + b"\xa9partition\xd3" + bytes(8)
    link.send(wide)
    assert fine(link.reply()[0])["id"] == 6


@check("Headers")
def ids_come_as_bytes_or_as_hex(world):
    topic = world.topic()
    number = fine(world.link().ask("metadata", topics=[topic])[0])["topics"][0]["id"]
    for way in (number, number.hex(), number.hex().encode()):
        fine(world.at(topic, "list_offsets", topic_id=way)[0])
    refused(world.leader(topic).ask("list_offsets", topic=topic, partition=0, topic_id=b"short")[0], "INVALID_REQUEST")


@check("Headers")
def nil_is_absent_and_the_last_of_two_counts(world):
    topic = world.topic()
    link = world.leader(topic)
    fields = {"api": "list_offsets", "topic": topic, "partition": 0}
    pairs = [(key, value) for key, value in fields.items()] + [("at", None), ("partition", 99), ("partition", 0), ("id", 8)]
    link.send(bytes([0x80 | len(pairs)]) + b"".join(msgpack.packb(key) + msgpack.packb(value) for key, value in pairs))
    assert fine(link.reply()[0])["id"] == 8


@check("Headers")
def wrong_types_are_refused_with_a_sentence_that_names_the_field(world):
    topic = world.topic()
    link = world.leader(topic)
    for field, value in (("partition", 0.0), ("partition", -1), ("partition", True), ("topic", 7), ("offset", 1.5), ("max_bytes", "many")):
        fields = {"topic": topic, "partition": 0, "offset": 0, field: value}
        header = refused(link.ask("fetch", **fields)[0], "INVALID_REQUEST")
        assert field in header["message"], f"{field} = {value!r}: the sentence does not name the field: {header['message']}"
    header, _ = link.ask("fetch", topic=topic, partition=0)
    assert "offset" in refused(header, "INVALID_REQUEST")["message"]


@check("Headers")
def an_unknown_api_is_refused(world):
    header, _ = world.link().ask("no_such_api")
    refused(header, "UNKNOWN_API")


@check("Headers")
def errors_have_number_name_and_sentence(world):
    header, _ = world.link().ask("list_offsets", topic="conformance-none", partition=0)
    refused(header, "UNKNOWN_TOPIC")


# ---- evolution and limits


@check("Evolution")
def unknown_keys_are_ignored(world):
    fine(world.link().ask("hello", x_new=[1, {"a": [None, 2.5]}])[0])


@check("Evolution")
def must_names_what_may_not_be_ignored(world):
    refused(world.link().ask("hello", must=["x_new"], x_new=1)[0], "UNSUPPORTED")
    fine(world.link().ask("hello", must=["client"], client="conformance")[0])


@check("Evolution")
def protocol_versions_that_do_not_meet_are_refused(world):
    refused(world.link().ask("hello", protocol_min=900, protocol_max=901)[0], "UNSUPPORTED_VERSION")


@check("Limits")
def headers_that_are_no_map_are_refused(world):
    link = world.link(fresh=True)
    for header in (b"", b"\xc0", b"\x93\x01\x02\x03", b"\x81\xa1x\xdd\x0f\xff\xff\xff", msgpack.packb({"api": "hello", "id": 1})[:-1],
                   msgpack.packb({"api": "hello", "id": 1}) + b"\xc0", msgpack.packb({"api": "hello", "x": [[[[[[[[[]]]]]]]]]}), b"\xc1" * 50):
        link.send(header)
        refused(link.reply()[0], "BAD_FRAME")
    fine(link.ask("hello")[0])
    link.socket.close()


@check("Limits")
def golden_requests_are_judged_as_the_schemas_say(world):
    """Every refused golden frame of the requests that any broker answers; docs/golden.json."""
    topic = world.topic()
    link = world.leader(topic)
    served = ("hello_request", "metadata_request", "fetch_request", "list_offsets_request", "produce_request")
    for vector in GOLDEN["frames"]:
        if vector["kind"] not in served or "error" not in vector:
            continue
        link.send(bytes.fromhex(vector["bytes"]))
        header, _ = link.reply()
        assert ERRORS.get(header.get("error", 0)) == vector["error"], \
            f"{vector['kind']} {vector['case']}: expected {vector['error']}, got {header.get('name', 'no error')}: {header.get('message', '')}"


# ---- produce


@check("Batches")
def bare_records_are_appended(world):
    topic = world.topic()
    header = world.produce(topic, record(b"one", b"k") + record(b"two"))
    assert header["offset"] == 0 and header["level"] == "durable", header
    assert world.produce(topic, record())["offset"] == 2


@check("Batches")
def a_batch_comes_back_as_it_was_sent(world):
    """The leader changes base_offset, leader_epoch and the CRC, nothing else."""
    topic = world.topic()
    world.produce(topic, record())
    sent = batch([record(b"a", b"k", ["h", b"v", "h", None], 5), record(None), record(b"", b"")], max_timestamp=int(time.time() * 1000) + 5)
    assert world.produce(topic, sent)["offset"] == 1
    got = split(world.fetch(topic, 1)[1])[-1]
    assert got["bytes"][22:] == sent[22:], "the bytes from attributes on differ"
    assert got["base_offset"] == 1 and got["format"] == 1 and crc_is_right(got["bytes"])
    assert [r for _, r in records_of(got)] == [[5, b"k", b"a", ["h", b"v", "h", None]], [0, None, None, None], [0, b"", b"", None]]


@check("Batches")
def a_missing_crc_is_filled(world):
    topic = world.topic()
    world.produce(topic, batch(attributes=CRC_ABSENT, crc=77))
    got = split(world.fetch(topic, 0)[1])[0]
    assert got["attributes"] & CRC_ABSENT == 0 and crc_is_right(got["bytes"])


@check("Batches")
def a_wrong_crc_is_refused(world):
    topic = world.topic()
    refused(world.at(topic, "produce", 0, batch(crc=12345))[0], "BAD_CRC")
    assert fine(world.at(topic, "list_offsets")[0])["offset"] == 0


@check("Batches")
def batches_that_lie_are_refused_whole(world):
    topic = world.topic()
    two = [record(b"one"), record(b"two")]
    for what, data in (("count", batch(two, count=3)), ("last_offset_delta", batch(two, last_offset_delta=5)), ("raw_bytes", batch(two, raw_bytes=3)),
                       ("format", batch(two, format=2)), ("transactional", batch(two, attributes=0x10)), ("control", batch(two, attributes=0x20)),
                       ("bytes behind it", batch(two) + b"x"), ("a second batch", batch(two) * 2), ("no batch at all", b"rubbish"),
                       ("a record of three elements", batch([msgpack.packb([0, None, b"x"])])), ("a record cut off", record()[:-1])):
        header, _ = world.at(topic, "produce", 0, data)
        assert header.get("error"), f"{what}: taken"
        refused(header, "BAD_BATCH", "BAD_CRC")
    for codec in (1, 2, 5):
        refused(world.at(topic, "produce", 0, batch(two, attributes=codec))[0], "UNSUPPORTED_COMPRESSION")
    assert fine(world.at(topic, "list_offsets")[0])["offset"] == 0, "something of a refused batch was written"


@check("Batches")
def lz4_and_zstd_are_kept_as_they_came(world):
    topic = world.topic()
    records = [record(b"value %d" % n) for n in range(50)]
    try:
        packed = {LZ4: lz4(b"".join(records)), ZSTD: zstd(b"".join(records))}
    except OSError as error:
        raise Skipped(f"no library to compress with: {error}") from None
    for codec, payload in packed.items():
        world.produce(topic, batch(records, payload=payload, attributes=codec))
    got = split(world.fetch(topic, 0)[1])
    assert [b["attributes"] for b in got] == [LZ4, ZSTD] and [b["payload"] for b in got] == list(packed.values())


@check("Batches")
def a_batch_above_the_limit_is_refused(world):
    topic = world.topic()
    limit = fine(world.link().ask("hello")[0])["batch_bytes_max"]
    big = batch([record(bytes(65536))] * (limit // 65536 + 1), attributes=CRC_ABSENT)
    if len(big) > LIMITS["FRAME_BYTES_MAX"]:
        raise Skipped("the limit of a batch is above that of a frame")
    refused(world.at(topic, "produce", 0, big)[0], "BATCH_TOO_LARGE", "RECORD_TOO_LARGE")


@check("produce")
def the_answer_names_the_level_reached(world):
    topic = world.topic()
    assert world.produce(topic, record())["level"] == "durable"
    assert world.produce(topic, record(), durable=False)["level"] in ("committed", "durable")
    assert world.produce(topic, record(), acks="leader")["level"] in ("leader", "committed", "durable")
    refused(world.at(topic, "produce", 0, record(), acks="some")[0], "INVALID_REQUEST")


@check("produce")
def unknown_topics_and_partitions_are_refused(world):
    topic = world.topic(partitions=2)
    refused(world.link().ask("produce", record(), topic="conformance-none", partition=0)[0], "UNKNOWN_TOPIC")
    refused(world.link().ask("produce", record(), topic=topic, partition=2)[0], "UNKNOWN_TOPIC", "INVALID_REQUEST", "INVALID_PARTITIONS")
    refused(world.leader(topic).ask("produce", record(), topic=topic, partition=0, topic_id=os.urandom(16))[0], "TOPIC_REPLACED", "UNKNOWN_TOPIC")


@check("produce")
def offsets_have_no_gaps(world):
    topic = world.topic()
    link = world.leader(topic)
    ids = [link.request("produce", record(b"%d" % n) * (n % 3 + 1), topic=topic, partition=0) for n in range(60)]
    replies = {}
    for _ in ids:
        header, _ = link.reply()
        replies[header["id"]] = fine(header)["offset"]
    expected, want = 0, []
    for n in range(60):
        want.append(expected)
        expected += n % 3 + 1
    assert [replies[i] for i in ids] == want, "pipelined batches of one connection were not appended in order without gaps"


# ---- writing once


@check("Writing once")
def a_batch_sent_twice_is_written_once(world):
    topic = world.topic()
    producer = int.from_bytes(os.urandom(8), "big") >> 1
    sent = [batch([record(b"%d" % n)] * 2, producer_id=producer, base_sequence=2 * n) for n in range(3)]
    offsets = [world.produce(topic, one)["offset"] for one in sent]
    again = [world.produce(topic, one) for one in sent]
    assert [header["offset"] for header in again] == offsets, "a duplicate is answered with the offset of the original"
    assert all(header.get("duplicate") for header in again), "and says so"
    assert fine(world.at(topic, "list_offsets")[0])["offset"] == 6


@check("Writing once")
def a_missing_batch_is_noticed(world):
    topic = world.topic()
    producer = int.from_bytes(os.urandom(8), "big") >> 1
    world.produce(topic, batch(producer_id=producer, base_sequence=0))
    refused(world.at(topic, "produce", 0, batch(producer_id=producer, base_sequence=2))[0], "OUT_OF_ORDER_SEQUENCE")
    world.produce(topic, batch(producer_id=producer, base_sequence=1))


@check("Writing once")
def an_older_epoch_is_fenced(world):
    topic = world.topic()
    producer = int.from_bytes(os.urandom(8), "big") >> 1
    world.produce(topic, batch(producer_id=producer, producer_epoch=0))
    world.produce(topic, batch(producer_id=producer, producer_epoch=1))
    refused(world.at(topic, "produce", 0, batch(producer_id=producer, producer_epoch=0, base_sequence=1))[0], "PRODUCER_FENCED")


@check("Writing once")
def a_window_of_batches_is_remembered(world):
    """session_window of hello: so many in flight may all be sent again."""
    topic = world.topic()
    window = fine(world.link().ask("hello")[0])["session_window"]
    producer = int.from_bytes(os.urandom(8), "big") >> 1
    sent = [batch([record(b"%d" % n)], producer_id=producer, base_sequence=n) for n in range(window)]
    for one in sent:
        world.produce(topic, one, acks="leader")
    for n, one in enumerate(sent):
        header = world.produce(topic, one, acks="leader" if n < window - 1 else "all")  # then all are committed
        assert header["offset"] == n, f"batch {n} of {window} is no longer remembered: {header}"
    assert fine(world.at(topic, "list_offsets")[0])["offset"] == window


# ---- fetch


def filled(world, count=10, **config):
    """A topic with `count` batches of two records."""
    topic = world.topic(**config)
    for n in range(count):
        world.produce(topic, batch([record(b"%d" % (2 * n)), record(b"%d" % (2 * n + 1))]), acks="leader")
    world.produce(topic, record(b"last"))
    return topic


@check("fetch")
def whole_batches_from_an_offset_on(world):
    """The first may begin below it."""
    topic = filled(world)
    for offset in (0, 1, 7, 20):
        header, data = world.fetch(topic, offset)
        got = split(data)
        assert got[0]["base_offset"] <= offset <= got[0]["base_offset"] + got[0]["last_offset_delta"], f"asked for {offset}, got {got[0]['base_offset']}"
        assert all(crc_is_right(b["bytes"]) for b in got), "a batch's CRC is wrong"
        values = [r[2] for b in got for at, r in records_of(b) if at >= offset]
        assert values == [b"%d" % n for n in range(offset, 20)] + [b"last"], values
        assert header["high_watermark"] == 21


@check("fetch")
def max_bytes_bounds_the_answer_but_for_one_batch(world):
    topic = filled(world)
    assert len(split(world.fetch(topic, 0, max_bytes=1)[1])) == 1
    one = len(split(world.fetch(topic, 0, max_bytes=1)[1])[0]["bytes"])
    assert len(split(world.fetch(topic, 0, max_bytes=3 * one + 5)[1])) == 3


@check("fetch")
def the_end_is_no_error_and_beyond_it_is(world):
    topic = filled(world, 2)
    header, data = world.fetch(topic, 5)
    assert data == b"" and header["high_watermark"] == 5
    for offset in (6, -1):
        header = refused(world.at(topic, "fetch", offset=offset)[0], "OFFSET_OUT_OF_RANGE", "INVALID_REQUEST")


@check("fetch")
def a_fetch_waits_for_records(world):
    """max_wait_ms: answered when a record comes, not when the time is over; without one when it is."""
    topic = world.topic()
    link = world.leader(topic, fresh=True)
    began = time.monotonic()
    link.request("fetch", topic=topic, partition=0, offset=0, max_wait_ms=300)
    header, data = link.reply()
    assert data == b"" and 0.2 < time.monotonic() - began < 3, f"an empty fetch of 300 ms took {time.monotonic() - began:.3f} s"
    link.request("fetch", topic=topic, partition=0, offset=0, max_wait_ms=8000)
    began = time.monotonic()
    world.produce(topic, record(b"now"))
    header, data = link.reply()
    assert [r[2] for b in split(data) for _, r in records_of(b)] == [b"now"] and time.monotonic() - began < 4
    link.socket.close()


@check("fetch")
def min_bytes_holds_the_answer_back(world):
    topic = world.topic()
    link = world.leader(topic, fresh=True)
    link.request("fetch", topic=topic, partition=0, offset=0, max_wait_ms=8000, min_bytes=300)
    world.produce(topic, batch())
    assert link.receive(0.2) is None, "answered below min_bytes"
    world.produce(topic, batch([record(bytes(400))]))
    assert len(split(link.reply()[1])) == 2
    link.socket.close()


@check("fetch")
def a_watch_is_answered_without_data(world):
    """max_bytes 0."""
    topic = world.topic()
    link = world.leader(topic, fresh=True)
    link.request("fetch", topic=topic, partition=0, offset=0, max_wait_ms=8000, max_bytes=0)
    world.produce(topic, record())
    header, data = link.reply()
    assert data == b"" and fine(header)["high_watermark"] == 1
    link.socket.close()


@check("fetch")
def durable_reading_ends_at_the_durable_mark(world):
    topic = filled(world, 3)
    header, data = world.fetch(topic, 0, read="durable", max_wait_ms=2000)
    ends = [b["base_offset"] + b["last_offset_delta"] + 1 for b in split(data)]
    assert ends and ends[-1] <= header["durable"] <= header["high_watermark"]
    refused(world.at(topic, "fetch", offset=0, read="dirty")[0], "INVALID_REQUEST")


# ---- who and where


@check("list_offsets")
def offsets_by_name_and_by_time(world):
    topic = world.topic()
    start = int(time.time() * 1000)
    for n in range(3):
        world.produce(topic, batch(base_timestamp=start + 1000 * n, max_timestamp=start + 1000 * n))
    assert fine(world.at(topic, "list_offsets", at="earliest")[0])["offset"] == 0
    assert fine(world.at(topic, "list_offsets")[0])["offset"] == 3
    for when, offset in ((start, 0), (start + 1, 1), (start + 2000, 2), (start + 2001, 3)):
        header = fine(world.at(topic, "list_offsets", at="time", time_ms=when)[0])
        assert header["offset"] == offset, f"the first record not older than start + {when - start} ms is {offset}, not {header['offset']}"
    refused(world.at(topic, "list_offsets", at="middle")[0], "INVALID_REQUEST")


@check("metadata")
def metadata_names_leaders_and_endpoints(world):
    topic = world.topic(partitions=3)
    header = fine(world.link().ask("metadata", topics=[topic, "conformance-none"])[0])
    found = {t["name"]: t for t in header["topics"]}
    assert ERRORS[found["conformance-none"]["error"]] == "UNKNOWN_TOPIC"
    brokers = {b["id"]: b for b in header["brokers"]}
    partitions = found[topic]["partitions"]
    assert [p["partition"] for p in partitions] == [0, 1, 2]
    for p in partitions:
        assert p["leader"] in p["replicas"] and set(p["isr"]) <= set(p["replicas"]) and p["leader"] in brokers, p
        link = world.link(p["endpoint"])
        fine(link.ask("list_offsets", topic=topic, partition=p["partition"])[0])
    assert header["coordinators"] and not fine(world.link().ask("metadata", brokers_only=True)[0])["topics"]


@check("metadata")
def who_does_not_lead_names_the_leader(world):
    """NOT_LEADER with an endpoint; needs two endpoints of brokers."""
    header = fine(world.link().ask("metadata", brokers_only=True)[0])
    endpoints = [endpoint for broker in header["brokers"] if broker["alive"] for endpoint in broker["endpoints"]]
    if len(set(endpoints)) < 2:
        raise Skipped("one broker of one shard leads everything")
    topic = world.topic()
    seen = 0
    for endpoint in endpoints:
        header, _ = world.link(endpoint).ask("list_offsets", topic=topic, partition=0)
        if header.get("error"):
            refused(header, "NOT_LEADER")
            fine(world.link(header["endpoint"]).ask("list_offsets", topic=topic, partition=0)[0])
            seen += 1
    assert seen == len(set(endpoints)) - 1, f"of {len(set(endpoints))} endpoints {seen} refused; all but the leader's must"


def run(checks, endpoint, as_json):
    world = Cluster(endpoint)
    try:
        fine(world.link().ask("hello", client="conformance")[0])
    except AssertionError as error:
        print(f"scripts/conformance: {error}", file=sys.stderr)
        return 1
    except zmq.ZMQError as error:
        print(f"scripts/conformance: '{endpoint}' is no endpoint: {error}", file=sys.stderr)
        return 2
    try:
        return report.run(checks, world, as_json)
    finally:
        world.close()
