# SPDX-License-Identifier: MPL-2.0
"""weft: a client of Weft, shaped like kafka-python. docs/PYTHON.md shows it at work.

    from weft import KafkaConsumer, KafkaProducer, TopicPartition
    from weft.admin import KafkaAdminClient, NewTopic

    producer = KafkaProducer(bootstrap_servers="tcp://127.0.0.1:9650")
    print(producer.send("orders", b"two apples", key=b"customer-1").get(timeout=10).offset)

The classes have names of their own, too: Producer, Consumer, AdminClient. weft.aio has them for asyncio."""
import logging

from .admin import AdminClient, KafkaAdminClient, WeftAdminClient
from .consumer import Consumer, ConsumerRebalanceListener, KafkaConsumer
from .producer import FutureRecordMetadata, KafkaProducer, Producer
from .structs import (BrokerMetadata, ConsumerRecord, GroupInformation, OffsetAndMetadata, OffsetAndTimestamp, PartitionMetadata,
                      RecordMetadata, TopicPartition)

logging.getLogger("weft").addHandler(logging.NullHandler())  # nothing is printed unless the program sets logging up

__version__ = "0.1.0"
