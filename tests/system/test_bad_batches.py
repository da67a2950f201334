# SPDX-License-Identifier: MPL-2.0
"""Bad batches and bad addresses, on a real node: each gets a number and a sentence and changes nothing."""

import msgpack

import peer as p
from harness import run
from peer import Peer, batch, crc32c, record, refused
from test_bad_input import RECORD_BYTES, unharmed, world

TWO = [record(b"one"), record(b"two")]
PLAIN = b"".join(TWO)


def compressed(codec, records, **lies):
    pack = {p.LZ4: p.lz4, p.ZSTD: p.zstd}[codec]
    return batch(records, payload=pack(b"".join(records)), attributes=codec, **lies)


def flipped(data, at):
    data = bytearray(data)
    data[at] ^= 1
    return bytes(data)


BAD_BATCHES = [
    # (what, bytes, errors)
    ("a wrong CRC", batch(TWO, crc=12345), "BAD_CRC"),
    ("a flipped bit of the payload", flipped(batch(TWO), -2), "BAD_CRC"),
    ("a flipped bit of a timestamp", flipped(batch(TWO), 47), "BAD_CRC"),
    ("count more", batch(TWO, count=3), "BAD_BATCH"),
    ("count less", batch(TWO, count=1), "BAD_BATCH"),
    ("count none", batch(TWO, count=0), "BAD_BATCH"),
    ("count at its most", batch(TWO, count=2**32 - 1), "BAD_BATCH"),
    ("count and delta at their most", batch(TWO, count=2**32 - 1, last_offset_delta=2**32 - 2), "BAD_BATCH"),
    ("count and delta more", batch(TWO, count=3, last_offset_delta=2), "BAD_BATCH"),
    ("count and delta less", batch(TWO, count=1, last_offset_delta=0), "BAD_BATCH"),
    ("delta more", batch(TWO, last_offset_delta=9), "BAD_BATCH"),
    ("delta less", batch(TWO, last_offset_delta=0), "BAD_BATCH"),
    ("delta at its most", batch(TWO, last_offset_delta=2**32 - 1), "BAD_BATCH"),
    ("delta at its most and count none", batch([], last_offset_delta=2**32 - 1, count=0), "BAD_BATCH"),
    ("no records", batch([], last_offset_delta=0, count=0), "BAD_BATCH"),
    ("payload size more", batch(TWO, payload_bytes=len(PLAIN) + 1), "BAD_BATCH"),
    ("payload size less", batch(TWO, payload_bytes=len(PLAIN) - 1), "BAD_BATCH", "BAD_CRC"),
    ("payload size none", batch(TWO, payload_bytes=0), "BAD_BATCH", "BAD_CRC"),
    ("payload size at its most", batch(TWO, payload_bytes=2**32 - 1), "BAD_BATCH"),
    ("raw_bytes more", batch(TWO, raw_bytes=len(PLAIN) + 1), "BAD_BATCH"),
    ("raw_bytes less", batch(TWO, raw_bytes=1), "BAD_BATCH"),
    ("raw_bytes at its most", batch(TWO, raw_bytes=2**32 - 1), "BAD_BATCH", "BATCH_TOO_LARGE"),
    ("format 0", batch(TWO, format=0), "BAD_BATCH"),
    ("format 2", batch(TWO, format=2), "BAD_BATCH"),
    ("codec 1, gzip", batch(TWO, attributes=1), "UNSUPPORTED_COMPRESSION"),
    ("codec 2, snappy", batch(TWO, attributes=2), "UNSUPPORTED_COMPRESSION"),
    ("codec 5", batch(TWO, attributes=5), "UNSUPPORTED_COMPRESSION"),
    ("codec 7", batch(TWO, attributes=7), "UNSUPPORTED_COMPRESSION"),
    ("transactional", batch(TWO, attributes=0x10), "BAD_BATCH"),
    ("control", batch(TWO, attributes=0x20), "BAD_BATCH"),
    ("delete horizon", batch(TWO, attributes=0x40), "BAD_BATCH"),
    ("reserved attribute", batch(TWO, attributes=0x4000), "BAD_BATCH"),
    ("max timestamp before base", batch(TWO, max_timestamp=p.NOW_MS - 1), "BAD_BATCH"),
    ("a negative producer", batch(TWO, producer_id=-2), "BAD_BATCH"),
    ("a negative producer epoch", batch(TWO, producer_id=5, producer_epoch=-1), "BAD_BATCH"),
    ("a negative sequence", batch(TWO, producer_id=5, base_sequence=-1), "BAD_BATCH"),
    ("rubbish behind it", batch(TWO) + b"x", "BAD_BATCH"),
    ("a second batch behind it", batch(TWO) * 2, "BAD_BATCH"),
    ("half a header", batch(TWO)[:40], "BAD_BATCH"),
    ("a header alone", batch(TWO)[:80], "BAD_BATCH"),
    ("its first byte", b"\x9e", "BAD_BATCH"),
    ("rubbish", b"rubbish", "BAD_BATCH"),
    ("zeros", bytes(200), "BAD_BATCH"),
    ("a record that is no array", batch([b"\x05" * 8]), "BAD_BATCH"),
    ("a record of three elements", batch([msgpack.packb([0, None, b"x"])]), "BAD_BATCH"),
    ("a record of five elements", batch([msgpack.packb([0, None, b"x", None, None])]), "BAD_BATCH"),
    ("a record whose time is a string", batch([msgpack.packb(["0", None, b"x", None])]), "BAD_BATCH"),
    ("a record whose key is an integer", batch([msgpack.packb([0, 5, b"x", None])]), "BAD_BATCH"),
    ("a record whose value is a map", batch([msgpack.packb([0, None, {}, None])]), "BAD_BATCH"),
    ("a record whose headers are a map", batch([msgpack.packb([0, None, b"x", {"a": b"b"}])]), "BAD_BATCH"),
    ("headers of an odd number", batch([record(headers=["a"])]), "BAD_BATCH"),
    ("headers with a nil name", batch([record(headers=[None, b"x"])]), "BAD_BATCH"),
    ("headers with an integer value", batch([record(headers=["a", 5])]), "BAD_BATCH"),
    ("headers whose count lies", batch([b"\x94\x00\xc0\xc0\xdd\xff\xff\xff\xff"]), "BAD_BATCH"),
    ("a value whose size lies", batch([b"\x94\x00\xc0\xc6\xff\xff\xff\xffx\xc0"]), "BAD_BATCH"),
    ("a gap of compaction", batch([b"\x01\x01\x01\x01\x01", record()]), "BAD_BATCH"),
    ("a record too large", batch([record(b"x" * RECORD_BYTES)]), "RECORD_TOO_LARGE"),
    ("a batch too large for the topic", batch([record(b"x" * 60000)] * 20, attributes=p.CRC_ABSENT), "BATCH_TOO_LARGE"),
    ("a batch too large for the node", batch([record(b"x" * 60000)] * 300, attributes=p.CRC_ABSENT), "BATCH_TOO_LARGE"),
    ("bare: a record too large", record(b"x" * RECORD_BYTES), "RECORD_TOO_LARGE"),
    ("bare: too much for the topic", record(b"x" * 60000) * 20, "BATCH_TOO_LARGE"),
    ("bare: the second is cut off", record() + record()[:-1], "BAD_BATCH"),
    ("bare: rubbish behind", record() + b"\xc1", "BAD_BATCH"),
    ("bare: a count that lies", b"\x94\x00\xc0\xc6\xff\xff\xff\xff", "BAD_BATCH"),
]

for codec, pack, bomb_name in ((p.LZ4, p.lz4, "lz4"), (p.ZSTD, p.zstd, "zstd")):
    bomb = pack(bytes(64 << 20))
    BAD_BATCHES += [
        (f"{bomb_name}: raw_bytes less than it inflates to", compressed(codec, TWO, raw_bytes=len(PLAIN) - 1), "BAD_BATCH"),
        (f"{bomb_name}: raw_bytes more than it inflates to", compressed(codec, TWO, raw_bytes=len(PLAIN) + 1), "BAD_BATCH"),
        (f"{bomb_name}: a bomb of 64 MiB that says 100 bytes", batch(TWO, payload=bomb, attributes=codec, raw_bytes=100), "BAD_BATCH"),
        (f"{bomb_name}: a bomb of 64 MiB that says so", batch(TWO, payload=bomb, attributes=codec, raw_bytes=64 << 20), "BAD_BATCH"),
        (f"{bomb_name}: raw_bytes above the limit", batch(TWO, payload=bomb, attributes=codec, raw_bytes=(64 << 20) + 1), "BATCH_TOO_LARGE"),
        (f"{bomb_name}: raw_bytes at its most", batch(TWO, payload=bomb, attributes=codec, raw_bytes=2**32 - 1), "BATCH_TOO_LARGE"),
        (f"{bomb_name}: not compressed at all", batch(TWO, attributes=codec), "BAD_BATCH"),
        (f"{bomb_name}: cut off", batch(TWO, payload=pack(PLAIN)[:-1], attributes=codec), "BAD_BATCH"),
        (f"{bomb_name}: rubbish behind", batch(TWO, payload=pack(PLAIN) + b"xx", attributes=codec), "BAD_BATCH"),
        (f"{bomb_name}: nothing", batch(TWO, payload=b"", attributes=codec), "BAD_BATCH"),
        (f"{bomb_name}: count more", compressed(codec, TWO * 5, count=11, last_offset_delta=10), "BAD_BATCH"),
        (f"{bomb_name}: count less", compressed(codec, TWO, count=1, last_offset_delta=0), "BAD_BATCH"),
        (f"{bomb_name}: rubbish inside", compressed(codec, [b"rubbish rubbish rubbish"]), "BAD_BATCH"),
        (f"{bomb_name}: a record too large", compressed(codec, [record(bytes(RECORD_BYTES))]), "RECORD_TOO_LARGE"),
    ]


def refusals(counters):
    return counters["batches_refused_count"] + counters["batches_bad_crc_count"]


def test_batch__each_lie_is_refused_by_number_and_sentence_and_changes_nothing():
    with world() as node, Peer(node.endpoint) as peer:
        assert crc32c(b"123456789") == 0xE3069283
        for what, data, *errors in BAD_BATCHES:
            before = peer.counters()
            with_acks = [refused(peer.ask("produce", data, topic="orders", partition=0, acks=acks), *errors) for acks in ("all", "leader")]
            assert all(with_acks), what
            after = peer.counters()
            assert refusals(after) == refusals(before) + 2 and after["produce_refused_count"] == before["produce_refused_count"] + 2, what
        with unharmed(node, "batches_refused_count", "batches_bad_crc_count", "produce_refused_count"):
            for what, data, *errors in BAD_BATCHES:
                peer.ask("produce", data, topic="orders", partition=0)
                peer.send(msgpack.packb({"api": "produce", "topic": "orders", "partition": 0, "acks": "none"}), data)  # not answered, counted
            assert peer.ask("hello")["error"] == 0


def test_batch__what_is_only_unusual_is_taken():
    with world() as node, Peer(node.endpoint) as peer:
        end = peer.ask("partition_status", topic="orders", partition=1)["log_end"]
        many = [record(b"x" * 100, headers=["a", b"b", "a", None], delta=n) for n in range(500)]
        for data, count in ((compressed(p.LZ4, many), 500), (compressed(p.ZSTD, many), 500), (batch(TWO, attributes=p.CRC_ABSENT), 2), (PLAIN, 2),
                            (batch([msgpack.packb([-5, "text", "text", ["n", "v"]])]), 1), (batch([record(b""), record(None)]), 2),
                            (batch(TWO, base_offset=77, leader_epoch=-3), 2)):
            reply = peer.ask("produce", data, topic="orders", partition=1)
            assert (reply["error"], reply["offset"]) == (0, end), reply
            end += count
        out = node.weft("consume", "orders", "--partition", 1, "--from", "earliest", "--exit-at-end", "--format", "%o\\n").stdout
        assert out.split() == [str(n) for n in range(end)]


# ---- sequences


def test_sequence__gaps_old_epochs_and_unknown_producers_are_refused_and_duplicates_found():
    with world() as node, Peer(node.endpoint) as peer:
        def produce(sequence, epoch=0, producer=77, count=2):
            data = batch([record()] * count, producer_id=producer, producer_epoch=epoch, base_sequence=sequence)
            return peer.ask("produce", data, topic="orders", partition=1)

        assert produce(0)["offset"] == 0 and produce(2)["offset"] == 2
        with unharmed(node, "requests_refused_count", "produce_duplicates_count"):
            refused(produce(5), "OUT_OF_ORDER_SEQUENCE")
            refused(produce(3), "OUT_OF_ORDER_SEQUENCE", "DUPLICATE_SEQUENCE")  # half of one written before
            refused(produce(2**31 - 2), "OUT_OF_ORDER_SEQUENCE", "DUPLICATE_SEQUENCE")
            refused(produce(3, producer=78), "UNKNOWN_PRODUCER")
            refused(produce(1, epoch=1), "OUT_OF_ORDER_SEQUENCE")
            for sequence, offset in ((0, 0), (2, 2)):
                reply = produce(sequence)
                assert (reply["error"], reply["offset"], reply["duplicate"]) == (0, offset, True)
        assert produce(0, epoch=3)["offset"] == 4
        with unharmed(node):
            refused(produce(4, epoch=0), "PRODUCER_FENCED")
            refused(produce(0, epoch=2), "PRODUCER_FENCED")
        for n in range(p.LIMITS["SESSION_WINDOW"] + 1):
            assert produce(2 + 2 * n, epoch=3)["error"] == 0
        with unharmed(node):
            refused(produce(0, epoch=3), "DUPLICATE_SEQUENCE")  # too long ago


# ---- addresses


def test_address__what_is_not_there_is_named():
    with world() as node, Peer(node.endpoint) as peer:
        apis = {"produce": {"data": batch()}, "fetch": {"offset": 0}, "list_offsets": {}, "partition_status": {}, "delete_records": {"before_offset": 0}}
        with unharmed(node, "requests_refused_count"):
            for api, fields in apis.items():
                data, fields = fields.get("data"), {k: v for k, v in fields.items() if k != "data"}
                assert "orderz" in refused(peer.ask(api, data, topic="orderz", partition=0, **fields), "UNKNOWN_TOPIC")["message"]
                for partition in (2, 100000, 2**32 - 1):
                    reply = refused(peer.ask(api, data, topic="orders", partition=partition, **fields), "UNKNOWN_TOPIC")
                    assert str(partition) in reply["message"], reply
                refused(peer.ask(api, data, partition=0, **fields), "UNKNOWN_TOPIC", "INVALID_REQUEST")
                refused(peer.ask(api, data, topic="", partition=0, **fields), "UNKNOWN_TOPIC", "INVALID_REQUEST")
                refused(peer.ask(api, data, topic_id=b"x" * 16, partition=0, **fields), "UNKNOWN_TOPIC")
                refused(peer.ask(api, data, topic="orders", topic_id=b"x" * 16, partition=0, **fields), "TOPIC_REPLACED")
                refused(peer.ask(api, data, topic="orders\0", partition=0, **fields), "UNKNOWN_TOPIC", "INVALID_TOPIC")
                refused(peer.ask(api, data, topic=b"\xff\xfe\x80", partition=0, **fields), "UNKNOWN_TOPIC", "INVALID_TOPIC")
                refused(peer.ask(api, data, topic="../../etc", partition=0, **fields), "UNKNOWN_TOPIC", "INVALID_TOPIC")


def test_address__a_deleted_topics_id_is_not_taken_for_its_namesakes():
    with world() as node, Peer(node.endpoint) as peer:
        old = peer.ask("metadata", topics=["orders"])["topics"][0]["id"]
        node.weft("topic", "delete", "orders")
        node.weft("topic", "create", "orders", "--partitions", 2)
        with unharmed(node):
            refused(peer.ask("produce", batch(), topic="orders", topic_id=old, partition=0), "TOPIC_REPLACED")
            refused(peer.ask("fetch", topic_id=old, partition=0, offset=0), "UNKNOWN_TOPIC")


def test_address__offsets_out_of_range_are_refused():
    with world() as node, Peer(node.endpoint) as peer:
        peer.ask("delete_records", topic="orders", partition=0, before_offset=1)
        with unharmed(node, "requests_refused_count"):
            for offset in (0, -1, -2**63, 4, 2**40, 2**63 - 1):
                refused(peer.ask("fetch", topic="orders", partition=0, offset=offset), "OFFSET_OUT_OF_RANGE")
                refused(peer.ask("fetch", topic="orders", partition=0, offset=offset, max_bytes=0, max_wait_ms=60000), "OFFSET_OUT_OF_RANGE")
            for before in (-2, 4, 2**63 - 1, -2**63):
                refused(peer.ask("delete_records", topic="orders", partition=0, before_offset=before), "OFFSET_OUT_OF_RANGE")
            assert peer.ask("fetch", topic="orders", partition=0, offset=3)["error"] == 0 and peer.data == b""  # the end: nothing yet


def test_address__words_and_times_out_of_range():
    with world() as node, Peer(node.endpoint) as peer:
        with unharmed(node, "frames_refused_count"):
            for acks in ("", "ALL", "some", "1"):
                assert "acks" in refused(peer.ask("produce", batch(), topic="orders", partition=0, acks=acks), "INVALID_REQUEST")["message"]
            for api, fields in (("fetch", {"offset": 0}), ("list_offsets", {})):
                refused(peer.ask(api, topic="orders", partition=0, read="dirty", **fields), "INVALID_REQUEST")
            refused(peer.ask("list_offsets", topic="orders", partition=0, at="yesterday"), "INVALID_REQUEST")
        with unharmed(node):
            for time_ms in (-2**63, -1, 0, 2**63 - 1):
                assert peer.ask("list_offsets", topic="orders", partition=0, at="time", time_ms=time_ms)["error"] == 0
            for fields in ({"max_bytes": 2**32 - 1}, {"min_bytes": 2**32 - 1}, {"max_bytes": 1}, {"min_bytes": 0}):
                assert peer.ask("fetch", topic="orders", partition=0, offset=0, **fields)["error"] == 0
            refused(peer.ask("fetch", topic="orders", partition=0, offset=1, epoch=2**31 - 1), "UNKNOWN_EPOCH", "DIVERGED")


# ---- topics


def test_topics__names_counts_and_settings_out_of_bounds_change_nothing():
    names = ["", ".", "..", "x" * 250, "x" * 300, "a/b", "/etc/passwd", "../x", "a b", "a\nb", "a\0b", "häß", "日本", b"\xff\xfe", "__mine", "*", "a:b"]
    with world() as node, Peer(node.coordinator) as peer:
        with unharmed(node, "requests_refused_count", endpoint=node.coordinator):
            for name in names:
                for api, fields in (("topic_create", {}), ("topic_delete", {}), ("topic_alter", {}), ("topic_add_partitions", {"to": 9})):
                    refused(peer.ask(api, topic=name, **fields), "INVALID_TOPIC", "UNKNOWN_TOPIC", "INVALID_REQUEST")
            for partitions in (0, 100001, 10**9, 2**32 - 1):
                refused(peer.ask("topic_create", topic="new", partitions=partitions), "INVALID_PARTITIONS")
            for to in (0, 1, 2, 100001, 10**9, 2**32 - 1):
                refused(peer.ask("topic_add_partitions", topic="orders", to=to), "INVALID_PARTITIONS")
            for replicas in (2, 17, 2**32 - 1):
                refused(peer.ask("topic_create", topic="new", replicas=replicas), "INVALID_REPLICATION")
            refused(peer.ask("topic_create", topic="orders"), "TOPIC_EXISTS")
            for api, fields in (("topic_delete", {}), ("topic_alter", {}), ("topic_add_partitions", {"to": 9}), ("topic_describe", {})):
                refused(peer.ask(api, topic="orderz", **fields), "UNKNOWN_TOPIC")
                refused(peer.ask(api, topic="orders", topic_id=b"x" * 16, **fields), "TOPIC_REPLACED")


def test_topics__settings_that_are_not_known_or_not_legal_change_nothing():
    pairs = [("retention.msec", "1"), ("", "1"), ("retention.ms", ""), ("retention.ms", "soon"), ("retention.ms", "-2"), ("retention.ms", "9" * 40),
             ("segment.bytes", "1"), ("segment.bytes", "1e9"), ("max.record.bytes", "63"), ("max.record.bytes", "9MiB"), ("max.batch.bytes", "17MiB"),
             ("min.insync", "2"), ("min.insync", "17"), ("timestamp.type", "never"), ("timestamp.type", "append\0"), ("a\0b", "c"), (b"\xff", b"\xff"),
             ("data", "/tmp"), ("retention.ms", "x" * 1024)]
    with world() as node, Peer(node.coordinator) as peer:
        with unharmed(node, "requests_refused_count", endpoint=node.coordinator):
            for key, value in pairs:
                entry = [{"key": key, "value": value}]
                refused(peer.ask("topic_create", topic="new", config=entry), "INVALID_CONFIG")
                refused(peer.ask("topic_alter", topic="orders", set=entry), "INVALID_CONFIG")
            refused(peer.ask("topic_alter", topic="orders", unset=["retention.msec"]), "INVALID_CONFIG")
            refused(peer.ask("topic_alter", topic="orders", set=[{"key": "retention.ms", "value": "1d"}] * 2), "INVALID_CONFIG")
            refused(peer.ask("topic_alter", topic="orders", set=[{"key": "retention.ms", "value": "1d"}], unset=["retention.ms"]), "INVALID_CONFIG")
            assert node.weft("topic", "describe", "orders", "--json").stdout.count('"retention.ms"') <= 1


if __name__ == "__main__":
    run(globals())
