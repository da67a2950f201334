# SPDX-License-Identifier: MPL-2.0
"""The package weft from this checkout, for the tests of it."""

import importlib.util
import io
import struct
import sys

import msgpack

from harness import ROOT, wait_until

sys.path.insert(0, str(ROOT / "lib/python"))

from weft import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition  # noqa: E402
from weft import _batch  # noqa: E402
from weft.admin import NewTopic  # noqa: E402


def _has(package):
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


CODECS = [name for name, package in (("lz4", "lz4.frame"), ("zstd", "zstandard")) if _has(package)]  # the packages are no must


def admin_of(endpoint):
    return KafkaAdminClient(bootstrap_servers=endpoint)


def make(endpoint, name, partitions=1, replicas=1, **configs):
    with admin_of(endpoint) as admin:
        admin.create_topics([NewTopic(name, partitions, replicas, topic_configs={key.replace("_", "."): value for key, value in configs.items()})])


def fill(endpoint, topic, values, **options):
    """Sends them, with key b"k"; where each went."""
    with KafkaProducer(bootstrap_servers=endpoint, **options) as producer:
        return [future.get(30) for future in [producer.send(topic, value, key=b"k") for value in values]]


def reader(endpoint, *topics, timeout_ms=1000, **options):
    return KafkaConsumer(*topics, bootstrap_servers=endpoint, auto_offset_reset="earliest", consumer_timeout_ms=timeout_ms, **options)


def raises(kind, function, *words):
    """What was raised; its sentence has these words."""
    try:
        function()
    except kind as error:
        for word in words:
            assert word in str(error), f"{word!r} is not said: {error}"
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def batch_of(records, base_offset=0, codec=0, attributes=0, epoch=3, next_offset=None):
    """As a broker sends it."""
    raw = records if isinstance(records, bytes) else _batch.pack_records(records)
    count = len([row for row in msgpack.Unpacker(io.BytesIO(raw)) if not isinstance(row, int)])
    payload = _batch.codec_of({0: None, 3: "lz4", 4: "zstd"}[codec])[1](raw)
    header = bytearray(_batch.header_bytes(codec | attributes, max(1, count), 1000, 2000, -1, -1, -1, len(raw), len(payload)))
    header[66:70] = struct.pack(">I", count)
    header[2:10] = struct.pack(">q", base_offset)
    header[11:15] = struct.pack(">i", epoch)
    if next_offset is not None:
        header[26:30] = struct.pack(">I", next_offset - base_offset - 1)
    crc = _batch.slow_crc32c(bytes(header[:17]), _batch.slow_crc32c(payload, _batch.slow_crc32c(bytes(header[22:]))))
    header[18:22] = struct.pack(">I", crc)
    return bytes(header) + payload


__all__ = ["CODECS", "KafkaAdminClient", "KafkaConsumer", "KafkaProducer", "NewTopic", "TopicPartition", "admin_of", "batch_of", "fill", "make", "raises",
           "reader", "wait_until"]
