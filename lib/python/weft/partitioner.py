# SPDX-License-Identifier: MPL-2.0
"""Where a record goes: murmur2 of its key (Austin Appleby, public domain algorithm; Kafka's seed and byte order), so that a key
lands in the same partition as with the C client and with Kafka's."""
import random
from functools import lru_cache
from typing import List, Optional

MASK = 0xFFFFFFFF
M = 0x5BD1E995


@lru_cache(maxsize=65536)  # pure Python takes microseconds a key, and keys come back
def murmur2(key: bytes) -> int:
    size = len(key)
    h = (0x9747B28C ^ size) & MASK
    whole = size & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at:at + 4], "little") * M & MASK
        k = (k ^ k >> 24) * M & MASK
        h = (h * M & MASK) ^ k
    if size > whole:
        h = (h ^ int.from_bytes(key[whole:], "little")) * M & MASK
    h = (h ^ h >> 13) * M & MASK
    return h ^ h >> 15


def partition_of_key(key: bytes, count: int) -> int:
    return (murmur2(key) & 0x7FFFFFFF) % count


class DefaultPartitioner:
    """As kafka-python's: called with the serialized key, all partitions, and those that have a leader."""

    def __call__(self, key: Optional[bytes], all_partitions: List[int], available: List[int]) -> int:
        if key is None:
            return random.choice(available or all_partitions)
        return all_partitions[partition_of_key(key, len(all_partitions))]
