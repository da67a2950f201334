# SPDX-License-Identifier: MPL-2.0
"""Plain values, with the names and the order of kafka-python's."""
from typing import Any, List, NamedTuple, Optional, Tuple

Headers = List[Tuple[str, Optional[bytes]]]


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class OffsetAndMetadata(NamedTuple):
    offset: int  # the next one to be read
    metadata: Optional[str] = ""
    leader_epoch: int = -1  # of the record before it; -1: not known


class OffsetAndTimestamp(NamedTuple):
    offset: int
    timestamp: int
    leader_epoch: int = -1


class PartitionMetadata(NamedTuple):
    topic: str
    partition: int
    leader: int
    replicas: List[int]
    isr: List[int]
    offline_replicas: List[int]
    error: int


class BrokerMetadata(NamedTuple):
    nodeId: int
    host: str
    port: int
    rack: Optional[str]


class ConsumerRecord(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int  # ms since 1970
    timestamp_type: int  # 0: given by the producer, 1: set by the broker when it appended
    key: Any
    value: Any
    headers: Headers


class RecordMetadata(NamedTuple):
    topic: str
    partition: int
    topic_partition: TopicPartition
    offset: int  # -1: not known (acks=0, or an old duplicate)
    timestamp: int
    level: Optional[str]  # what was reached: leader, committed or durable


class MemberInformation(NamedTuple):
    member_id: str
    client_id: Optional[str]
    client_host: Optional[str]
    member_metadata: "MemberMetadata"
    member_assignment: "MemberAssignment"


class MemberMetadata(NamedTuple):
    version: int
    subscription: List[str]
    user_data: Optional[bytes]


class MemberAssignment(NamedTuple):
    version: int
    assignment: List[Tuple[str, List[int]]]
    user_data: Optional[bytes]

    def partitions(self) -> List[TopicPartition]:
        return [TopicPartition(topic, partition) for topic, numbers in self.assignment for partition in numbers]


class GroupInformation(NamedTuple):
    error_code: int
    group: str
    state: str
    protocol_type: str
    protocol: str
    members: List[MemberInformation]
    authorized_operations: Optional[Any] = None
