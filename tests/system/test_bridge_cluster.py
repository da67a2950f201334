#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""A bridge between replicated clusters whose leaders die, while it is killed itself."""

import random
import tempfile
import time

import bridges
from harness import Load, clusters, run, wait_until


def test_leaders_that_die_at_both_ends_lose_and_repeat_nothing():
    with clusters() as source, clusters() as target, tempfile.TemporaryDirectory(prefix="weft-bridge-") as directory:
        source.up(2)
        target.up(3)
        source.weft("topic", "create", "numbers", "--partitions", 2, "--replicas", 2, "--set", "min.insync=1")
        load = Load("numbers", source.endpoints, rate=3000)
        bridge = bridges.Bridge(directory, source.endpoints, target.endpoints, "topics=numbers", "replicas=3")
        with bridges.running(bridge):
            wait_until(lambda: bridge.is_copying("numbers", 2), "it copies", 60)
            for number in range(4):
                time.sleep(random.uniform(0.5, 1.5))  # allow-sleep: how long all is well
                side, topic = (target, "numbers") if number % 2 == 0 else (source, "numbers")
                leader = side.partition(topic)["leader"]
                side("kill", f"broker-{leader}")
                if number == 2:
                    bridge.kill()
                    bridge.start()
                wait_until(lambda: side.partition(topic)["leader"] not in (leader, -1, None), "another leads", 60)
                side("start", f"broker-{leader}")
                wait_until(side.is_healthy, "the broker is back", 60)
            status, said = load.stop()
            assert status == 0, said
            count = bridges.wait_same(source, target, "numbers", seconds=90)
            assert count >= len(load.acks), (count, len(load.acks))
            assert bridge.stop() == 0, bridge.trace()


if __name__ == "__main__":
    run(globals())
