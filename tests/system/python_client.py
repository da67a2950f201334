# SPDX-License-Identifier: MPL-2.0
"""The package weft from this checkout, for the tests of it."""

import importlib.util
import sys

from harness import ROOT, wait_until

sys.path.insert(0, str(ROOT / "lib/python"))

from weft import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition  # noqa: E402
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


__all__ = ["CODECS", "KafkaAdminClient", "KafkaConsumer", "KafkaProducer", "NewTopic", "TopicPartition", "admin_of", "fill", "make", "raises",
           "reader", "wait_until"]
