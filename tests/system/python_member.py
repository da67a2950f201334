# SPDX-License-Identifier: MPL-2.0
"""A member of a group, as a process that can be killed: prints a line for each record (partition offset value) and each rebalance.

usage: python_member.py BOOTSTRAP GROUP TOPIC SESSION_MS"""

import logging
import signal
import sys

from python_client import KafkaConsumer

from weft import ConsumerRebalanceListener


class Tell(ConsumerRebalanceListener):
    def on_partitions_assigned(self, assigned):
        print("assigned", *sorted(tp.partition for tp in assigned), flush=True)

    def on_partitions_revoked(self, revoked):
        print("revoked", *sorted(tp.partition for tp in revoked), flush=True)

    def on_partitions_lost(self, lost):
        print("lost", *sorted(tp.partition for tp in lost), flush=True)


def main():
    bootstrap, group, topic, session_ms = sys.argv[1:]
    logging.basicConfig(level=logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", session_timeout_ms=int(session_ms),
                       auto_commit_interval_ms=200, read="durable") as consumer:
        consumer.subscribe([topic], listener=Tell())
        for record in consumer:
            print(record.partition, record.offset, record.value.decode(), flush=True)


if __name__ == "__main__":
    main()
