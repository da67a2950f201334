# SPDX-License-Identifier: MPL-2.0
"""The Python client without a node: batches, the partitioner, errors, what it refuses before it sends."""

import ast
import importlib.util
import subprocess
import sys
import tempfile

import msgpack

from harness import ROOT, run
from python_client import CODECS, KafkaAdminClient, KafkaConsumer, KafkaProducer, NewTopic, batch_of, raises

from weft import _batch, _errors, errors
from weft._link import endpoints_of
from weft.partitioner import murmur2, partition_of_key


def read(frame, start=0, key=None, value=None):
    return [record for batch in _batch.batches(frame) for record in _batch.records_of("t", 1, batch, start, key, value)]


RECORDS = [(0, None, b"a", None), (5, b"", None, ["h", b"1", "h", None]), (-3, b"k", b"", [])]


def test_python_unit__a_batch_is_read_as_it_was_written():
    for codec in (0, *[_batch.codec_of(name)[0] for name in CODECS]):
        frame = batch_of(RECORDS, 40, codec) + batch_of(RECORDS, 43, codec)
        got = read(frame)
        assert [record.offset for record in got] == list(range(40, 46))
        assert [tuple(record)[3:] for record in got[:3]] == [
            (1000, 0, None, b"a", []), (1005, 0, b"", None, [("h", b"1"), ("h", None)]), (997, 0, b"k", b"", [])]
        assert [record.offset for record in read(frame, 44)] == [44, 45]
        for batch in _batch.batches(frame):
            batch.check()
    assert read(batch_of(RECORDS, attributes=8))[0].timestamp == 2000  # the broker's time
    assert read(batch_of(RECORDS, attributes=8))[0].timestamp_type == 1
    assert read(batch_of([(0, b"1", b"2", None)]), key=int, value=int)[0][5:7] == (1, 2)


def test_python_unit__many_records_of_each_array_width():
    for count in (1, 15, 16, 65535, 65536):
        rows = [(0, None, b"", None)] * count
        assert len(read(batch_of(rows))) == count


def test_python_unit__what_compaction_left_keeps_its_offsets():
    packed = msgpack.packb(2) + _batch.pack_records(RECORDS[:1]) + msgpack.packb(3) + _batch.pack_records(RECORDS[1:2])
    assert [record.offset for record in read(batch_of(packed, 10, next_offset=20))] == [12, 16]
    assert read(batch_of(b"", 10, next_offset=20)) == []


def test_python_unit__str_is_taken_for_bin():
    packed = msgpack.packb([0, "key", "value", ["name", "text"]])
    assert read(batch_of(packed))[0][5:] == (b"key", b"value", [("name", b"text")])


def test_python_unit__bad_bytes_are_an_error_and_nothing_else():
    good = batch_of(RECORDS)
    for at in range(80):
        for bad in (b"\xc1", b"\xff", b"\x00"):
            try:
                read(good[:at] + bad + good[at + 1:])
            except errors.WeftError as error:
                assert isinstance(error, (_errors.BadBatchError, _errors.UnsupportedCompressionError)), error
    for size in range(1, len(good)):
        raises(_errors.BadBatchError, lambda: read(good[:size]))
    raises(_errors.BadBatchError, lambda: read(batch_of(msgpack.packb("no record"))))
    raises(_errors.BadBatchError, lambda: read(batch_of(msgpack.packb([0, None]) + msgpack.packb([]))))
    raises(_errors.BadCrcError, lambda: [batch.check() for batch in _batch.batches(good[:-1] + b"\xc1")], "checksum")
    for name in CODECS:
        codec, compress = _batch.codec_of(name)
        bomb = compress(bytes(50_000_000))
        header = _batch.header_bytes(codec, 1, 0, 0, -1, -1, -1, 100, len(bomb))
        raises(_errors.BadBatchError, lambda: read(header + bomb), "inflate")


def test_python_unit__keys_go_where_kafka_puts_them():
    for key, expected in ((b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536),
                          (b"a-little-bit-longer-string", -1486304829), (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
                          (b"abc", 479470107)):
        assert murmur2(key) == expected & 0xFFFFFFFF, key
    assert partition_of_key(b"foobar", 7) == (-790332482 & 0x7FFFFFFF) % 7


def test_python_unit__errors_have_the_class_and_the_outcome_of_the_table():
    error = errors.of_number(6, "ask broker 3")
    assert isinstance(error, errors.NotLeaderForPartitionError) and error.retriable and error.outcome == "not_applied"
    assert str(error) == "ask broker 3" and error.errno == 6 and error.error_class == "refresh"
    assert errors.of_number(4711).name == "INTERNAL"
    assert errors.KafkaTimeoutError().outcome == "maybe_applied"
    assert str(errors.TopicExistsError()) == errors.TopicExistsError.sentence


def test_python_unit__endpoints_are_taken_as_kafka_clients_give_them():
    assert endpoints_of("localhost:9650") == ("tcp://localhost:9650",)
    assert endpoints_of("a, tcp://b:1,ipc:///tmp/x") == ("tcp://a:9650", "tcp://b:1", "ipc:///tmp/x")
    assert endpoints_of(["a:1", "a:1", "b:2"]) == ("tcp://a:1", "tcp://b:2")
    raises(ValueError, lambda: endpoints_of(" , "), "empty")
    raises(ValueError, lambda: endpoints_of("http://a"), "no endpoint")


def test_python_unit__senseless_settings_are_refused_at_once():
    raises(ValueError, lambda: KafkaProducer(acks="some"), "acks")
    raises(ValueError, lambda: KafkaProducer(compression_type="gzip"), "gzip")
    raises(ValueError, lambda: KafkaConsumer(auto_offset_reset="middle"), "middle")
    raises(errors.InvalidGroupError, lambda: KafkaConsumer(group_id="g" * 256))
    raises(TypeError, lambda: KafkaProducer(batchsize=1))
    raises(errors.NoBrokersAvailable, lambda: KafkaProducer(bootstrap_servers="tcp://127.0.0.1:1", connect_timeout_ms=100), "is a node running")


def test_python_unit__what_makes_no_sense_is_named_before_anything_is_connected():
    for kind, client, options, *words in (
            (ValueError, KafkaProducer, {"bootstrap_servers": []}, "empty"), (ValueError, KafkaConsumer, {"bootstrap_servers": ""}, "empty"),
            (TypeError, KafkaConsumer, {"bootstrap_servers": 5}, "bootstrap_servers is 5"),
            (ValueError, KafkaAdminClient, {"bootstrap_servers": "localhost:http"}, "no port"),
            (TypeError, KafkaProducer, {"durable": "no"}, "durable", "True or False"), (TypeError, KafkaProducer, {"acks": [1]}, "acks"),
            (ValueError, KafkaProducer, {"linger_ms": -4}, "linger_ms is -4"), (TypeError, KafkaProducer, {"linger_ms": "4"}, "linger_ms is '4'"),
            (TypeError, KafkaProducer, {"value_serializer": "json"}, "serialize()"), (TypeError, KafkaProducer, {"retries": 1.5}, "an int"),
            (ValueError, KafkaConsumer, {"max_poll_records": 0}, "max_poll_records is 0"), (TypeError, KafkaConsumer, {"group_id": 5}, "group_id is 5"),
            (ValueError, KafkaConsumer, {"consumer_timeout_ms": -1}, "0 or more"), (TypeError, KafkaConsumer, {"check_crcs": 3}, "check_crcs"),
            (TypeError, KafkaProducer, {"api_version": (2, 5)}, "api_version", "leave it out", "tell their versions"),
            (TypeError, KafkaConsumer, {"heartbeat_interval_ms": 3000}, "leave it out", "the coordinator"),
            (TypeError, KafkaConsumer, {"security_protocol": "SSL"}, "neither encrypted"), (TypeError, KafkaProducer, {"sasl_mechanism": "PLAIN"}, "sasl_"),
            (TypeError, KafkaAdminClient, {"timeout": 3}, "unexpected keyword argument 'timeout'"),
            (TypeError, KafkaProducer, {"batchsize": 1}, "did you mean 'batch_size'?")):
        raises(kind, lambda: client(**options), *words)
    raises(TypeError, lambda: KafkaConsumer(["a", "b"]), "one by one: KafkaConsumer('a', 'b')")
    raises(TypeError, lambda: NewTopic("a", "2"), "num_partitions is '2'")
    raises(ValueError, lambda: NewTopic("a", 1, -2), "replication_factor is -2")
    for options in ({"security_protocol": "PLAINTEXT"}, {"api_version": None}):  # that is so here anyway
        raises(errors.NoBrokersAvailable, lambda: KafkaProducer(bootstrap_servers="127.0.0.1:1", connect_timeout_ms=50, **options))


def test_python_unit__a_host_name_without_address_is_told():
    raises(errors.NoBrokersAvailable, lambda: KafkaProducer(bootstrap_servers="no-such-host.invalid:9650"), "'no-such-host.invalid' has no address")


def test_python_unit__nothing_is_printed_where_logging_is_not_set_up():
    program = "import logging, weft; logging.getLogger('weft.consumer').warning('something')"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT / "lib/python", capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_python_unit__types_hold_where_mypy_is_installed():
    if importlib.util.find_spec("mypy") is None:
        return
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run([sys.executable, "-m", "mypy", "--cache-dir", cache], cwd=ROOT / "lib/python", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_python_unit__the_package_is_python_3_9():
    for path in (ROOT / "lib/python/weft").glob("*.py"):
        ast.parse(path.read_text(), str(path), feature_version=(3, 9))


if __name__ == "__main__":
    run(globals())
