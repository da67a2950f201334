# SPDX-License-Identifier: MPL-2.0
"""The Python client against a live node."""

import asyncio
import logging
import signal
import threading
import time

from harness import run, up
from python_client import (CODECS, KafkaAdminClient, KafkaConsumer, KafkaProducer, NewTopic, TopicPartition, admin_of, fill, make, raises, reader, wait_until)

from weft import ConsumerRebalanceListener, OffsetAndMetadata, errors
from weft.admin import ConfigResource, NewPartitions, NoError
from weft.aio import AIOAdminClient, AIOConsumer, AIOProducer


class Told(logging.Handler):
    """What the package's loggers are told until end()."""

    def __init__(self):
        logging.Handler.__init__(self)
        self.texts = []
        logging.getLogger("weft").addHandler(self)

    def emit(self, record):
        self.texts.append(record.getMessage())

    def end(self):
        logging.getLogger("weft").removeHandler(self)
        return self.texts


def test_python__topics_are_made_described_grown_and_deleted():
    with up() as node, admin_of(node.endpoint) as admin:
        admin.create_topics([NewTopic(name="orders", num_partitions=2, replication_factor=1, topic_configs={"retention.ms": "1d"})])
        assert admin.list_topics() == ["orders"]
        described = admin.describe_topics(["orders", "nowhere"])
        assert described[0] == {"error_code": 0, "topic": "orders", "is_internal": False, "partitions": [
            {"error_code": 0, "partition": number, "leader": 1, "replicas": [1], "isr": [1], "offline_replicas": []} for number in range(2)]}
        assert described[1]["error_code"] == 3 and described[1]["partitions"] == []
        admin.create_partitions({"orders": NewPartitions(total_count=5)})
        assert len(admin.describe_topics(["orders"])[0]["partitions"]) == 5
        error = raises(errors.TopicAlreadyExistsError, lambda: admin.create_topics([NewTopic("orders", 1, 1)]), "exists")
        assert error.errno == 36 and not error.retriable
        raises(errors.InvalidReplicationFactorError, lambda: admin.create_topics([NewTopic("more", 1, 3)], validate_only=True))
        admin.create_topics([NewTopic("more", 1, 1)], validate_only=True)
        raises(errors.InvalidPartitionsError, lambda: admin.create_partitions({"orders": NewPartitions(1)}))
        admin.alter_configs([ConfigResource("topic", "orders", {"retention.ms": "2d"})])
        told = admin.describe_configs([ConfigResource("topic", "orders", {"retention.ms": None})])[0]["configs"]
        assert told == {"retention.ms": {"value": "2d", "is_default": False}}
        admin.alter_configs([ConfigResource("topic", "orders", {"retention.ms": None})])
        assert admin.describe_configs([ConfigResource("topic", "orders")])[0]["configs"]["retention.ms"]["is_default"]
        assert admin.describe_cluster()["brokers"][0]["node_id"] == 1
        admin.delete_topics(["orders"])
        assert admin.list_topics() == []
        raises(errors.UnknownTopicOrPartitionError, lambda: admin.delete_topics(["orders"]))


def test_python__a_topic_that_fails_keeps_no_other_one_back():
    with up() as node, admin_of(node.endpoint) as admin:
        admin.create_topics([NewTopic("there")])
        error = raises(errors.TopicAlreadyExistsError, lambda: admin.create_topics(
            [NewTopic("a"), NewTopic("there"), NewTopic("b", -1, -1), NewTopic("c/d"), NewTopic("c", topic_configs={"min.insync.replicas": 1})]),
            "topic 'there' exists", "not done, either: 'c/d'", "did you mean 'min.insync'", "done: 'a', 'b'")
        assert [(row.topic, row.error_code) for row in error.results] == [("a", 0), ("there", 36), ("b", 0), ("c/d", 17), ("c", 40)]
        assert admin.list_topics() == ["a", "b", "there"] and len(admin.describe_topics(["b"])[0]["partitions"]) == 1
        raises(errors.UnknownTopicOrPartitionError, lambda: admin.create_partitions({"no": NewPartitions(2), "a": NewPartitions(2)}), "done: 'a'")
        assert len(admin.describe_topics(["a"])[0]["partitions"]) == 2
        raises(errors.UnknownTopicOrPartitionError, lambda: admin.delete_topics(["no", "a", "b"]), "'no'", "done: 'a', 'b'")
        assert admin.list_topics() == ["there"]
        raises(errors.UnknownTopicOrPartitionError, lambda: admin.alter_configs(
            [ConfigResource("topic", name, {"retention.ms": "3d"}) for name in ("no", "there")]), "done: 'there'")
        assert admin.describe_configs([ConfigResource("topic", "there")])[0]["configs"]["retention.ms"]["value"] == "3d"
        raises(TypeError, lambda: admin.alter_configs(ConfigResource("topic", "there")), "a list of ConfigResource")
        raises(TypeError, lambda: admin.create_topics(["z"]), "NewTopic", "'z'")
        raises(TypeError, lambda: admin.create_topics(NewTopic("z")), "a list of NewTopic")
        raises(TypeError, lambda: admin.create_partitions({"there": 5}), "NewPartitions", "5")
        raises(TypeError, lambda: admin.create_partitions(["there"]), "NewPartitions")
        raises(TypeError, lambda: admin.delete_topics([5]), "names")


def test_python__a_record_that_is_too_large_is_told_as_kafka_python_does():
    with up() as node:
        make(node.endpoint, "narrow")
        make(node.endpoint, "wide", max_record_bytes="8MiB")
        with KafkaProducer(bootstrap_servers=node.endpoint) as producer:
            for topic, size in (("narrow", 2_000_000), ("narrow", 5_000_000), ("wide", 5_000_000)):
                error = raises(errors.MessageSizeTooLargeError, producer.send(topic, bytes(size)).get, "bytes")
                assert isinstance(error, errors.BatchTooLargeError) == (size == 5_000_000)
            raises(errors.MessageSizeTooLargeError, lambda: producer.send("wide", bytes(9_000_000)), "9000024")
            for headers in ({"a": b"b"}, ["ab"], "ab", [5]):
                raises(TypeError, lambda: producer.send("wide", b"", headers=headers), "('source', b'shop 7')")


def test_python__a_topic_that_does_not_exist_is_told_soon():
    told = Told()
    with up() as node:
        make(node.endpoint, "orders")
        for group in (None, "g"):
            for way in ("subscribe", "assign"):
                del told.texts[:]
                with KafkaConsumer(bootstrap_servers=node.endpoint, group_id=group) as consumer:
                    if way == "subscribe":
                        consumer.subscribe(["ordres", "orders"])
                    else:
                        consumer.assign([TopicPartition("ordres", 0)])
                    begun = time.monotonic()
                    wait_until(lambda: any("topic 'ordres' does not exist" in text for text in told.texts), f"a warning ({group}, {way})", 10)
                    assert time.monotonic() - begun < 3  # 2 s where nobody else uses the machine
                    consumer.poll(0)
    assert not any("'orders'" in text for text in told.end())


def test_python__close_is_soon_over_where_nobody_answers():
    told = Told()
    with up() as node:
        make(node.endpoint, "things")
        fill(node.endpoint, "things", [b"1"])
        slow, hasty = (reader(node.endpoint, "things", group_id=group) for group in ("slow", "hasty"))
        for consumer in (slow, hasty):
            assert len(next(consumer).value) == 1
        node.kill()
        begun = time.monotonic()
        hasty.close(timeout_ms=200)
        assert time.monotonic() - begun < 2
        slow.close()
        assert time.monotonic() - begun < 9
    for group in ("slow", "hasty"):
        assert any(f"group '{group}': offsets were not committed at the end: no answer came within" in text for text in told.end()), told.texts


def test_python__a_constructor_waits_no_longer_than_it_may():
    for client in (KafkaAdminClient, KafkaConsumer, KafkaProducer):
        for options in ({"request_timeout_ms": 300}, {"connect_timeout_ms": 300}):
            begun = time.monotonic()
            raises(errors.NoBrokersAvailable, lambda: client(bootstrap_servers="tcp://127.0.0.1:1", **options), "127.0.0.1:1")
            assert time.monotonic() - begun < 2


def test_python__keys_go_where_the_c_client_puts_them():
    with up() as node:
        make(node.endpoint, "keys", 7)
        keys = ["", "a", "bc", "def", "ghij", "schlüssel", "x" * 100] + [f"customer-{n}" for n in range(200)]
        node.weft("produce", "keys", "--key-separator", ":", input="".join(f"{key}:1\n" for key in keys if key))
        with KafkaProducer(bootstrap_servers=node.endpoint, key_serializer=str.encode) as producer:
            mine = {key: producer.send("keys", b"2", key=key) for key in keys}
            mine = {key: future.get(10).partition for key, future in mine.items()}
        told = node.weft("consume", "keys", "--from", "earliest", "--exit-at-end", "--format", "%p %k %v\\n").stdout.splitlines()
        theirs = {line.split()[1]: int(line.split()[0]) for line in told if line.endswith(" 1")}
        assert len(theirs) == len(keys) - 1 and all(mine[key] == at for key, at in theirs.items())


def test_python__what_was_sent_is_what_comes():
    with up() as node:
        make(node.endpoint, "things", 1, max_record_bytes="4000000")
        with KafkaProducer(bootstrap_servers=node.endpoint) as producer:
            sent = [producer.send("things", b"v", key=b"k", headers=[("a", b"1"), ("a", None), ("ä", b"")], timestamp_ms=1234567890123),
                    producer.send("things", None, key=b""), producer.send("things", b"", timestamp_ms=5), producer.send("things", bytearray(b"x")),
                    producer.send("things", b"y" * 3_000_000, partition=0)]
            metadata = [future.get(10) for future in sent]
        assert [row.offset for row in metadata] == [0, 1, 2, 3, 4]
        assert metadata[0].timestamp == 1234567890123 and metadata[0].level == "durable"
        assert metadata[0].topic_partition == TopicPartition("things", 0)
        with reader(node.endpoint, "things", check_crcs=True) as consumer:
            got = list(consumer)
        assert [tuple(record[:3]) for record in got] == [("things", 0, offset) for offset in range(5)]
        assert (got[0].key, got[0].value, got[0].headers) == (b"k", b"v", [("a", b"1"), ("a", None), ("ä", b"")])
        assert (got[0].timestamp, got[2].timestamp) == (1234567890123, 5) and abs(got[1].timestamp / 1000 - time.time()) < 60
        assert [(record.key, record.value) for record in got[1:4]] == [(b"", None), (None, b""), (None, b"x")]
        assert got[4].value == b"y" * 3_000_000
        node.weft("log", "verify", node.directory / "data")


def test_python__serializers_acks_and_compression():
    import json
    with up() as node:
        make(node.endpoint, "things", 1)
        count = 0
        for options in ({"acks": 0}, {"acks": 1}, {"acks": "all", "durable": False}, *[{"compression_type": name} for name in CODECS],
                        {"enable_idempotence": False}, {"linger_ms": 0}, {"partitioner": lambda key, every, some: every[-1]}):
            with KafkaProducer(bootstrap_servers=node.endpoint, value_serializer=lambda value: json.dumps(value).encode(), **options) as producer:
                futures = [producer.send("things", {"number": number}) for number in range(100)]
                levels = {future.get(10).level for future in futures}
            assert levels == {{0: None, 1: "leader"}.get(options.get("acks"), "durable" if options.get("durable", True) else "committed")}, levels
            count += 100
        with reader(node.endpoint, "things", value_deserializer=json.loads) as consumer:
            assert [record.value["number"] for record in consumer] == list(range(100)) * (count // 100)


def test_python__senders_are_told():
    with up() as node:
        make(node.endpoint, "things", 1, max_record_bytes="1000")
        with KafkaProducer(bootstrap_servers=node.endpoint, retry_backoff_ms=10) as producer:
            raises(errors.UnknownTopicError, lambda: producer.send("nowhere", b"x"), "create it")
            raises(TypeError, lambda: producer.send("things", "text"), "value_serializer")
            raises(TypeError, lambda: producer.send("things", b"", key=5), "key")
            raises(TypeError, lambda: producer.send("things", b"", headers=[(b"n", b"v")]), "header")
            raises(TypeError, lambda: producer.send("things", b"", timestamp_ms="now"), "timestamp_ms")
            raises(errors.UnknownTopicError, lambda: producer.send("things", b"", partition=1), "no partition 1")
            raises(errors.MessageSizeTooLargeError, lambda: producer.send("things", b"x" * 9_000_000))
            heard = []
            good = producer.send("things", b"a").add_callback(heard.append).add_errback(heard.append)
            assert good.get(10).offset == 0
            bad = producer.send("things", b"x" * 2000).add_errback(lambda word, error: heard.append((word, error)), "no")
            raises(errors.RecordTooLargeError, lambda: bad.get(10))
            assert bad.failed() and good.succeeded() and good.is_done
            after = producer.send("things", b"b").get(10)  # who was refused does not stop the others
            assert after.offset == 1
            wait_until(lambda: len(heard) == 2, "callbacks are called")
            assert heard[0].offset == 0 and heard[1][0] == "no" and isinstance(heard[1][1], errors.RecordTooLargeError)
            assert producer.partitions_for("things") == {0}
        raises(errors.LocalClosedError, lambda: producer.send("things", b"x"))


def test_python__a_full_buffer_makes_senders_wait_and_a_dead_node_is_told():
    with up() as node:
        make(node.endpoint, "things", 1)
        producer = KafkaProducer(bootstrap_servers=node.endpoint, buffer_memory=200_000, max_block_ms=500, delivery_timeout_ms=2000,
                                 request_timeout_ms=1000)
        for _ in range(1000):
            producer.send("things", b"x" * 1000)
        producer.flush(10)
        node.kill()

        def much():
            for _ in range(1000):
                producer.send("things", b"x" * 1000)
        raises(errors.KafkaTimeoutError, much, "buffer")
        future = next(iter(producer._sender.pending)).lane  # what waits is given up, and says so
        assert future is not None
        producer.close(5)
        assert producer.metrics()["failed_count"] > 0


def test_python__an_iterator_seeks_pauses_and_tells_where_it_is():
    with up() as node:
        make(node.endpoint, "things", 2)
        began = int(time.time() * 1000) - 60_000
        with KafkaProducer(bootstrap_servers=node.endpoint) as producer:
            for number in range(2000):
                producer.send("things", b"%d" % number, partition=number % 2, timestamp_ms=began + number)
        zero, one = TopicPartition("things", 0), TopicPartition("things", 1)
        with reader(node.endpoint) as consumer:
            consumer.assign([zero])
            assert consumer.assignment() == {zero}
            first = next(consumer)
            assert first.offset == 0 and consumer.position(zero) == 1
            assert [next(consumer).offset for _ in range(10)][-1] == 10 and consumer.position(zero) == 11
            for record in consumer:  # a seek takes effect at once, in the middle of a batch
                if record.offset == 20:
                    consumer.seek(zero, 700)
                if record.offset == 705:
                    break
            assert record.offset == 705 and consumer.position(zero) == 706
            consumer.assign([zero, one])
            consumer.pause(zero)
            assert consumer.paused() == {zero}
            assert {record.partition for record in consumer} == {1}
            consumer.resume(zero)
            assert [record.offset for record in consumer] == list(range(706, 1000))
            assert consumer.highwater(one) == 1000
            consumer.seek_to_beginning(one)
            got = consumer.poll(2000, max_records=7)
            assert [record.offset for record in got[one]] == list(range(7)) and consumer.position(one) == 7
            assert consumer.poll(2000, max_records=3)[one][0].offset == 7
            consumer.seek_to_end()
            assert consumer.poll(100) == {} and consumer.position(one) == 1000
            assert consumer.beginning_offsets([zero]) == {zero: 0} and consumer.end_offsets([zero, one]) == {zero: 1000, one: 1000}
            times = consumer.offsets_for_times({zero: began + 1000, one: began + 9000})
            assert times[zero] == (500, began + 1000, 0) and times[one] is None
            raises(errors.IllegalStateError, lambda: consumer.seek(TopicPartition("things", 5), 0), "not assigned")
            raises(errors.IllegalStateError, lambda: consumer.subscribe(["things"]))
            assert consumer.topics() == {"things"} and consumer.partitions_for_topic("things") == {0, 1}
            assert consumer.partitions_for_topic("nowhere") is None


def test_python__patterns_and_new_partitions():
    with up() as node, admin_of(node.endpoint) as admin:
        for name in ("logs.a", "logs.b", "other"):
            make(node.endpoint, name)
            fill(node.endpoint, name, [name.encode()])
        for consumer in (reader(node.endpoint, "logs.*"), reader(node.endpoint, "logs.*", group_id="globs")):
            with consumer:
                assert {record.value for record in consumer} == {b"logs.a", b"logs.b"}
        for options in ({}, {"group_id": "patterns"}):
            with reader(node.endpoint, metadata_max_age_ms=200, **options) as consumer:
                consumer.subscribe(pattern="^(logs|more)[.]")
                assert {record.value for record in consumer} == {b"logs.a", b"logs.b"}
                name = f"more.{len(options)}"
                make(node.endpoint, name)
                fill(node.endpoint, name, [b"late"])
                assert next(consumer).value == b"late"
                admin.delete_topics([name])
        with KafkaConsumer("logs.a", bootstrap_servers=node.endpoint, metadata_max_age_ms=200, consumer_timeout_ms=10000) as consumer:  # latest
            wait_until(lambda: consumer.poll(10) == {} and consumer.assignment() and consumer.position(TopicPartition("logs.a", 0)) == 1, "it is there")
            admin.create_partitions({"logs.a": NewPartitions(2)})
            with KafkaProducer(bootstrap_servers=node.endpoint) as producer:
                wait_until(lambda: producer.partitions_for("logs.a") == {0, 1}, "the producer knows")
                producer.send("logs.a", b"in the new one", partition=1).get(10)
            assert next(consumer).value == b"in the new one"


def test_python__resets_follow_the_policy():
    with up() as node:
        make(node.endpoint, "things", 1)
        fill(node.endpoint, "things", [b"%d" % number for number in range(10)])
        at = TopicPartition("things", 0)
        with KafkaConsumer("things", bootstrap_servers=node.endpoint, auto_offset_reset="none") as consumer:
            raises(errors.NoOffsetForPartitionError, lambda: [consumer.poll(100) for _ in range(100)], "seek")
            consumer.seek(at, 3)
            wait_until(lambda: consumer.poll(100), "it reads")
            with admin_of(node.endpoint) as admin:
                assert admin.delete_records({at: 5}) == {at: {"low_watermark": 5, "error_code": 0}}
            assert consumer.beginning_offsets([at]) == {at: 5}
            consumer.seek(at, 99)
            raises(errors.OffsetOutOfRangeError, lambda: [consumer.poll(100) for _ in range(100)], "things/0 at offset 99")
        with reader(node.endpoint) as consumer:
            consumer.assign([at])
            consumer.seek(at, 99)
            assert next(consumer).offset == 5


class Listener(ConsumerRebalanceListener):
    def __init__(self):
        self.said = []

    def on_partitions_revoked(self, revoked):
        self.said.append(("revoked", sorted(tp.partition for tp in revoked)))

    def on_partitions_assigned(self, assigned):
        self.said.append(("assigned", sorted(tp.partition for tp in assigned)))

    def on_partitions_lost(self, lost):
        self.said.append(("lost", sorted(tp.partition for tp in lost)))


def test_python__a_group_shares_and_goes_on_where_it_was():
    with up() as node, admin_of(node.endpoint) as admin:
        make(node.endpoint, "orders", 4)
        with KafkaProducer(bootstrap_servers=node.endpoint) as producer:
            for number in range(400):
                producer.send("orders", b"%d" % number, partition=number % 4)
        ann, bob = (reader(node.endpoint, group_id="billing", client_id=name, session_timeout_ms=60000) for name in ("ann", "bob"))
        heard = Listener(), Listener()
        ann.subscribe(["orders"], listener=heard[0])
        got = [next(ann) for _ in range(50)]
        assert heard[0].said == [("assigned", [0, 1, 2, 3])]
        bob.subscribe(["orders"], listener=heard[1])

        def both_have_two():
            for consumer in (ann, bob):
                for records in consumer.poll(20).values():
                    got.extend(records)
            return len(ann.assignment()) == len(bob.assignment()) == 2
        wait_until(both_have_two, "each has two")
        assert heard[0].said[1][0] == "revoked" and heard[0].said[1] == ("revoked", heard[1].said[0][1]), (heard[0].said, heard[1].said)
        told = admin.describe_consumer_groups(["billing"])[0]
        assert (told.error_code, told.group, told.state, told.protocol_type, told.protocol) == (0, "billing", "Stable", "consumer", "uniform")
        assert sorted(member.client_id for member in told.members) == ["ann", "bob"]
        assert sorted(tp.partition for member in told.members for tp in member.member_assignment.partitions()) == [0, 1, 2, 3]
        assert admin.delete_consumer_groups(["billing"]) == [("billing", errors.NonEmptyGroupError)]
        raises(errors.NonEmptyGroupError, lambda: admin.alter_consumer_group_offsets("billing", {TopicPartition("orders", 0): 0}))
        for consumer in (ann, bob):
            got.extend(consumer)
        ann.close()
        wait_until(lambda: bob.poll(20) == {} and len(bob.assignment()) == 4, "bob has all")
        bob.close()
        assert sorted(int(record.value) for record in got) == list(range(400))
        assert admin.list_consumer_groups() == [("billing", "consumer")]
        offsets = admin.list_consumer_group_offsets("billing")
        assert {tp.partition: at.offset for tp, at in offsets.items()} == {number: 100 for number in range(4)}, offsets
        assert admin.reset_consumer_group_offsets("billing", "orders", 90, partitions=[1]) == {TopicPartition("orders", 1): 90}
        with reader(node.endpoint, "orders", group_id="billing") as consumer:
            assert [(record.partition, record.offset) for record in consumer] == [(1, offset) for offset in range(90, 100)]
        assert admin.delete_consumer_groups(["billing", "nobody"]) == [("billing", NoError), ("nobody", errors.GroupIdNotFoundError)]
        assert admin.list_consumer_groups() == []


def test_python__what_is_committed_is_what_the_program_is_through_with():
    with up() as node:
        make(node.endpoint, "orders", 1)
        at = TopicPartition("orders", 0)
        fill(node.endpoint, "orders", [b"%d" % number for number in range(1000)])

        def committed(group):
            with admin_of(node.endpoint) as admin:
                found = admin.list_consumer_group_offsets(group).get(at)
                return found.offset if found else None

        with reader(node.endpoint, "orders", group_id="break") as consumer:
            for record in consumer:
                if record.offset == 9:
                    break
        assert committed("break") == 10  # it was worked on
        try:
            with reader(node.endpoint, "orders", group_id="raise") as consumer:
                for record in consumer:
                    if record.offset == 9:
                        raise KeyError("the program failed")
        except KeyError:
            pass
        assert committed("raise") == 9  # whoever comes next gets it again
        with reader(node.endpoint, "orders", group_id="raise") as consumer:
            assert next(consumer).offset == 9
        with reader(node.endpoint, "orders", group_id="slow", auto_commit_interval_ms=50) as consumer:  # committed within a batch
            for record in consumer:
                if record.offset > 100 and committed("slow"):
                    break
            assert 1 <= committed("slow") <= record.offset
        with reader(node.endpoint, "orders", group_id="poll") as consumer:
            wait_until(lambda: consumer.poll(100, max_records=10), "records")
            consumer.commit()
            assert consumer.committed(at) == 10 and consumer.committed(at, metadata=True).metadata == ""
            consumer.commit({at: OffsetAndMetadata(5, "note", -1)})
            assert consumer.committed(at, metadata=True)[:2] == (5, "note")
            answers = []
            consumer.commit_async({at: 7}, callback=lambda offsets, error: answers.append((offsets, error)))
            wait_until(lambda: consumer.poll(10, max_records=1) is not None and answers, "the callback is called")
            assert answers == [({at: 7}, None)]
            raises(errors.CommitFailedError, lambda: consumer.commit({TopicPartition("orders", 5): 1}))
            raises(errors.OffsetMetadataTooLargeError, lambda: consumer.commit({at: OffsetAndMetadata(5, "x" * 5000)}))
        with reader(node.endpoint, "orders", group_id="manual", enable_auto_commit=False) as consumer:
            next(consumer)
        assert committed("manual") is None
        with reader(node.endpoint) as consumer:
            raises(errors.IllegalStateError, consumer.commit, "group_id")


def test_python__who_is_assigned_by_hand_commits_while_nobody_is_in_the_group():
    with up() as node:
        make(node.endpoint, "orders", 1)
        at = TopicPartition("orders", 0)
        fill(node.endpoint, "orders", [b"%d" % number for number in range(10)])
        with reader(node.endpoint, "orders", group_id="g") as member:
            [next(member) for _ in range(4)]
        with reader(node.endpoint, group_id="g") as tool:
            tool.assign([at])
            assert next(tool).offset == 4
            tool.commit()
            assert tool.committed(at) == 5
            with reader(node.endpoint, "orders", group_id="g") as member:
                assert next(member).offset == 5
                raises(errors.CommitFailedError, lambda: tool.commit({at: 9}))
        with admin_of(node.endpoint) as admin:
            assert admin.list_consumer_group_offsets("g")[at].offset == 6


def test_python__a_member_that_does_not_poll_leaves_and_comes_back():
    with up() as node:
        make(node.endpoint, "orders", 2)
        fill(node.endpoint, "orders", [b"x"] * 10)
        listener = Listener()
        with reader(node.endpoint, group_id="g", max_poll_interval_ms=300, enable_auto_commit=False) as idle, admin_of(node.endpoint) as admin:
            idle.subscribe(["orders"], listener=listener)
            wait_until(lambda: idle.poll(100), "records")
            wait_until(lambda: not admin.describe_consumer_groups(["g"])[0].members, "it left")
            raises(errors.CommitFailedError, idle.commit)
            wait_until(lambda: (idle.poll(50), listener.said[-1])[1] == ("assigned", [0, 1]) and len(listener.said) > 1, "it is back")
            assert listener.said == [("assigned", [0, 1]), ("lost", [0, 1]), ("assigned", [0, 1])]


def test_python__a_static_member_keeps_its_place():
    with up() as node, admin_of(node.endpoint) as admin:
        make(node.endpoint, "orders", 2)
        fill(node.endpoint, "orders", [b"x"] * 10)
        with reader(node.endpoint, "orders", group_id="g") as other:
            with reader(node.endpoint, "orders", group_id="g", group_instance_id="one", session_timeout_ms=30000) as static:
                wait_until(lambda: (other.poll(20), static.poll(20)) and len(other.assignment()) == len(static.assignment()) == 1, "each has one")
                held = static.assignment()
            assert len(other.assignment()) == 1 and len(admin.describe_consumer_groups(["g"])[0].members) == 2
            with reader(node.endpoint, "orders", group_id="g", group_instance_id="one") as static:
                wait_until(lambda: (other.poll(20), static.poll(20)) and static.assignment(), "it is back")
                assert static.assignment() == held


def test_python__what_the_group_refuses_is_raised():
    with up() as node:
        make(node.endpoint, "orders", 1)
        with reader(node.endpoint, "orders", group_id="g", partition_assignment_strategy="nonsense") as consumer:
            raises(errors.UnsupportedAssignorError, lambda: next(consumer), "nonsense")
        with reader(node.endpoint, "orders", group_id="h", partition_assignment_strategy="range") as consumer:
            wait_until(lambda: consumer.poll(20) == {} and consumer.assignment(), "it is in")
        raises(ValueError, lambda: reader(node.endpoint, "orders", group_id="g", partition_assignment_strategy=[1]))


def test_python__others_may_wake_whoever_waits():
    with up() as node:
        make(node.endpoint, "orders", 1)
        with KafkaConsumer("orders", bootstrap_servers=node.endpoint) as consumer:
            threading.Timer(0.1, consumer.wakeup).start()
            begun = time.monotonic()
            raises(errors.WakeupError, lambda: consumer.poll(60000))
            assert time.monotonic() - begun < 30
            assert consumer.poll(0) == {}
        raises(errors.LocalClosedError, lambda: consumer.poll(0))


def test_python__many_partitions_share_a_small_buffer():
    with up() as node:
        make(node.endpoint, "wide", 40)
        with KafkaProducer(bootstrap_servers=node.endpoint, linger_ms=1) as producer:
            for number in range(20000):
                producer.send("wide", b"%d" % number + b"." * 500, partition=number % 40)
        with reader(node.endpoint, "wide", fetch_max_bytes=1_000_000, max_partition_fetch_bytes=100_000, timeout_ms=3000) as consumer:
            seen = {}
            for record in consumer:
                assert record.offset == seen.get(record.partition, 0)
                seen[record.partition] = record.offset + 1
                assert consumer._fetcher.held <= 1_200_000
            assert seen == {number: 500 for number in range(40)}


def test_python__a_deleted_and_remade_topic_is_read_from_its_beginning():
    with up() as node, admin_of(node.endpoint) as admin:
        make(node.endpoint, "things", 1)
        with KafkaProducer(bootstrap_servers=node.endpoint) as producer, reader(node.endpoint, "things", timeout_ms=20000) as consumer:
            for number in range(5):
                producer.send("things", b"old%d" % number).get(10)
            assert [next(consumer).value for _ in range(5)][-1] == b"old4"
            admin.delete_topics(["things"])
            make(node.endpoint, "things", 1)
            raises(errors.TopicReplacedError, lambda: producer.send("things", b"refused").get(20), "created again")


            def is_taken():
                try:
                    return producer.send("things", b"new").get(20).offset == 0
                except errors.TopicReplacedError:
                    return False
            wait_until(is_taken, "the producer knows the new one")
            assert next(consumer).value == b"new"


def test_python__records_for_a_deleted_topic_fail_soon():
    with up() as node, admin_of(node.endpoint) as admin:
        make(node.endpoint, "things", 1)
        with KafkaProducer(bootstrap_servers=node.endpoint) as producer:
            producer.send("things", b"x").get(10)
            admin.delete_topics(["things"])
            raises(errors.UnknownTopicError, lambda: producer.send("things", b"y").get(20))
            make(node.endpoint, "other", 1)
            assert producer.send("other", b"z").get(10).offset == 0


def test_python__exclusive_stops_when_its_lease_may_be_over():
    with up() as node:
        make(node.endpoint, "orders", 1)
        fill(node.endpoint, "orders", [b"%d" % number for number in range(1000)])
        with reader(node.endpoint, "orders", group_id="g", exclusive=True, session_timeout_ms=1000, timeout_ms=300) as consumer:
            wait_until(lambda: consumer.poll(100, max_records=10), "records")
            node.process.send_signal(signal.SIGSTOP)
            try:
                begun, handed = time.monotonic(), 0
                for record in consumer:  # they are here; after a second they are not handed out any more
                    handed += 1
                    threading.Event().wait(0.01)
                assert 10 < handed < 400 and time.monotonic() - begun < 10, handed
                assert consumer.poll(100) == {}
            finally:
                node.process.send_signal(signal.SIGCONT)
            wait_until(lambda: consumer.poll(100, max_records=10), "it goes on")


def test_python__a_consumer_may_change_its_mind():
    with up() as node, admin_of(node.endpoint) as admin:
        for name in ("a", "b"):
            make(node.endpoint, name, 1)
            fill(node.endpoint, name, [name.encode()])
        for options in ({}, {"group_id": "g"}):
            with reader(node.endpoint, "a", **options) as consumer:
                assert next(consumer).value == b"a"
                consumer.subscribe(["a", "b"])
                got = [record.value for record in consumer]
                assert got == [b"b"], (got, options)
                consumer.subscribe(["b"])
                wait_until(lambda: consumer.poll(20) == {} and consumer.assignment() == {TopicPartition("b", 0)}, "only b")
                consumer.unsubscribe()
                assert consumer.assignment() == set() and consumer.poll(10) == {} and consumer.subscription() is None
                assert not options or not admin.describe_consumer_groups(["g"])[0].members
                consumer.subscribe(["a"])
                wait_until(lambda: consumer.poll(20) is not None and consumer.assignment() == {TopicPartition("a", 0)}, "a again")
                consumer.unsubscribe()
                consumer.assign([TopicPartition("a", 0)])
                consumer.seek(TopicPartition("a", 0), 0)
                assert next(consumer).value == b"a"


def test_python__many_threads_share_a_producer():
    with up() as node:
        make(node.endpoint, "things", 3)
        with KafkaProducer(bootstrap_servers=node.endpoint, batch_size=4000, buffer_memory=100_000) as producer:
            def work(name):
                for number in range(3000):
                    producer.send("things", b"%d %d" % (name, number), key=b"%d" % name)
            threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        with reader(node.endpoint, "things") as consumer:
            seen = {name: [] for name in range(6)}
            for record in consumer:
                name, number = map(int, record.value.split())
                seen[name].append(number)
        assert all(numbers == list(range(3000)) for numbers in seen.values())


def test_python__compacted_topics_are_read_with_their_gaps():
    with up("--set", "retention.check.ms=100ms") as node:
        make(node.endpoint, "table", 1, cleanup_policy="compact", segment_bytes="65536")
        with KafkaProducer(bootstrap_servers=node.endpoint, batch_size=4096) as producer:
            for number in range(4000):
                producer.send("table", b"%d" % number + b"." * 80, key=b"%d" % (number % 10))
            producer.flush()  # what a topic does not take fails with its whole batch
            bad = producer.send("table", b"no key")
            raises(errors.BadBatchError, lambda: bad.get(10), "key")

        def few():
            with reader(node.endpoint, "table", timeout_ms=500, check_crcs=True) as consumer:
                records = list(consumer)
            assert [record.offset for record in records] == sorted({record.offset for record in records})
            assert {int(record.value.rstrip(b".")) for record in records} >= set(range(3990, 4000))
            assert all(int(record.value.rstrip(b".")) == record.offset for record in records)
            return len(records) < 3000
        wait_until(few, "it is compacted", 60)


def test_python__asyncio_does_the_same():
    async def program(endpoint):
        async with AIOAdminClient(endpoint) as admin, AIOProducer(endpoint) as producer:
            await admin.create_topics([NewTopic("orders", 2, 1)])
            assert (await producer.send_and_wait("orders", b"0", key=b"k")).level == "durable"
            metadata = await asyncio.gather(*[await producer.send("orders", b"%d" % number) for number in range(1, 1000)])
            assert len({(row.partition, row.offset) for row in metadata}) == 999
            try:
                await producer.send_and_wait("nowhere", b"")
                raise AssertionError("it was taken")
            except errors.UnknownTopicError:
                pass
            async with AIOConsumer("orders", bootstrap_servers=endpoint, group_id="g", auto_offset_reset="earliest") as consumer:
                got = []
                async for record in consumer:
                    got.append(record.value)
                    if len(got) == 300:
                        break
                await consumer.commit()
                assert sum(at.offset for at in (await admin.list_consumer_group_offsets("g")).values()) == 300
                got.append((await consumer.getone()).value)
                for _ in range(20):  # who gives up waiting loses nothing
                    try:
                        got.append((await asyncio.wait_for(consumer.getone(), 0.0005)).value)
                    except asyncio.TimeoutError:
                        pass
                for rows in (await consumer.getmany(max_records=50)).values():
                    got.extend(record.value for record in rows)
            async with AIOConsumer("orders", bootstrap_servers=endpoint, group_id="g", auto_offset_reset="earliest") as consumer:
                while len(got) < 1000:
                    for rows in (await consumer.getmany(timeout_ms=1000)).values():
                        got.extend(record.value for record in rows)
            assert sorted(map(int, got)) == list(range(1000))

    with up() as node:
        asyncio.run(asyncio.wait_for(program(node.endpoint), 100))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    run(globals())
