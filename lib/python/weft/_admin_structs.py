# SPDX-License-Identifier: MPL-2.0
"""What the admin client is given."""
import enum
from typing import Any, Dict, List, Optional

from ._settings import check_ints

KAFKA_CONFIGS = {  # settings of topics that have another name here
    "min.insync.replicas": "min.insync", "max.message.bytes": "max.batch.bytes", "message.timestamp.type": "timestamp.type",
    "min.cleanable.dirty.ratio": "compact.dirty.percent", "segment.max.bytes": "segment.bytes", "log.retention.ms": "retention.ms",
    "log.retention.bytes": "retention.bytes", "log.cleanup.policy": "cleanup.policy"}


class NewTopic:
    """A topic to be made. num_partitions -1: one. replication_factor -1 or 0: three, or as many as there are brokers. topic_configs:
    docs/CONFIG.md, scope topic ({"retention.ms": "1d"})."""

    def __init__(self, name: str, num_partitions: int = -1, replication_factor: int = -1,
                 replica_assignments: Optional[Dict[int, List[int]]] = None, topic_configs: Optional[Dict[str, Any]] = None) -> None:
        if replica_assignments:
            raise ValueError("replica_assignments: the coordinator places replicas; move them afterwards with `weft cluster reassign`")
        if not isinstance(name, str):
            raise TypeError("name is %r; a str is wanted" % (name,))
        check_ints(-1, num_partitions=num_partitions, replication_factor=replication_factor)
        self.name, self.num_partitions, self.replication_factor = name, num_partitions, replication_factor
        self.topic_configs = dict(topic_configs or {})


class NewPartitions:
    """How many partitions a topic is to have from now on."""

    def __init__(self, total_count: int, new_assignments: Optional[List[List[int]]] = None) -> None:
        if new_assignments:
            raise ValueError("new_assignments: the coordinator places replicas; move them afterwards with `weft cluster reassign`")
        check_ints(1, total_count=total_count)
        self.total_count = total_count


class ConfigResourceType(enum.IntEnum):
    TOPIC = 2
    BROKER = 4  # the whole cluster: Weft has no settings of single brokers that could be altered


class ConfigResource:
    """What configuration is asked for, or altered: ConfigResource(ConfigResourceType.TOPIC, "orders", {"retention.ms": "1d"})."""

    def __init__(self, resource_type: Any, name: str, configs: Optional[Dict[str, Any]] = None) -> None:
        if isinstance(resource_type, str):
            resource_type = ConfigResourceType[resource_type.upper()]
        self.resource_type, self.name, self.configs = ConfigResourceType(resource_type), name, configs
