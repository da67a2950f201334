#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""A bridge that is killed, cut off, and run twice: every record is in the target exactly once, in order."""

import random
import signal
import time

import bridges
from harness import Load, run, wait_until


def test_a_bridge_killed_again_and_again_copies_each_record_once():
    with bridges.two() as (directory, source, target):
        source.weft("topic", "create", "numbers", "--partitions", 3, "--replicas", 1)
        load = Load("numbers", source.endpoint, rate=20000)
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint, "topics=numbers", "checkpoint.ms=700")
        with bridges.running(bridge):
            wait_until(lambda: read_some(target), "copying has begun")
            for _ in range(15):
                time.sleep(random.uniform(0.05, 0.9))  # allow-sleep: how long a life lasts
                bridge.kill()
                bridge.start()
            status, said = load.stop()
            assert status == 0, said
            count = bridges.wait_same(source, target, "numbers")
            assert count == load.sent
            assert bridge.stop() == 0, bridge.trace()
            # Stopped and started with nothing to do: nothing is copied again.
            bridge.start()
            wait_until(lambda: bridge.is_copying("numbers", 3), "it copies again")
            assert bridges.wait_same(source, target, "numbers") == count


def read_some(node):
    return len(bridges.read(node, "numbers")) > 0


def test_clusters_killed_at_both_ends_lose_and_repeat_nothing():
    with bridges.two() as (directory, source, target):
        source.weft("topic", "create", "numbers", "--partitions", 2, "--replicas", 1)
        load = Load("numbers", source.endpoint, rate=5000)
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint, "topics=numbers")
        with bridges.running(bridge):
            wait_until(lambda: read_some(target), "copying has begun")
            for node in (target, source, target, source, target):
                time.sleep(random.uniform(0.2, 0.8))  # allow-sleep: how long all is well
                node.kill()
                node.start()
            status, said = load.stop()
            assert status == 0, said
            bridges.wait_same(source, target, "numbers", seconds=60)
            assert bridge.process.poll() is None, bridge.trace()


def test_a_target_that_is_away_costs_no_memory_and_is_caught_up_with():
    with bridges.two() as (directory, source, target):
        source.weft("topic", "create", "numbers", "--partitions", 2, "--replicas", 1)
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint, "topics=numbers", "producer=delivery.timeout.ms=2000")
        with bridges.running(bridge):
            wait_until(lambda: bridge.is_copying("numbers", 2), "it copies")
            source.weft("produce", "numbers", input="".join(f"before {n}\n" for n in range(1000)))
            bridges.wait_same(source, target, "numbers")
            target.process.send_signal(signal.SIGSTOP)
            try:
                filler = "x" * 1000
                for part in range(30):
                    source.weft("produce", "numbers", input="".join(f"{part} {n} {filler}\n" for n in range(5000)))
                time.sleep(5)  # allow-sleep: what was sent is given up meanwhile, more than once
                wait_until(lambda: "is not copied now" in bridge.trace(), "it says that something is wrong")
                assert bridge.rss_bytes() < 300 << 20, bridge.rss_bytes()
            finally:
                target.process.send_signal(signal.SIGCONT)
            bridges.wait_same(source, target, "numbers", seconds=60)
            wait_until(lambda: "it copies again" in bridge.trace(), "it says that all is well")


def is_done(rows, count):
    done = all(row["lag"] == 0 for row in rows) and sum(row["source_next"] for row in rows) >= count
    return list(rows) if done else None


def test_notes_are_written_in_the_midst_of_answers():
    with bridges.two() as (directory, source, target):
        source.weft("topic", "create", "numbers", "--partitions", 4, "--replicas", 1)
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint, "topics=numbers", "checkpoint.ms=10")
        with bridges.running(bridge):
            source.weft("bench", "produce", "--topic", "numbers", "--count", 2000000, "--keys", 1000, "--batch-bytes", "8KiB")
            rows = wait_until(lambda: is_done(bridge.partitions().values(), 2000000), "all is copied", 60)
            assert sum(row["target_next"] for row in rows) == sum(row["source_next"] for row in rows)
            assert bridge.stop() == 0, bridge.trace()


def who_copies(first, second):
    """(the run that copies, the one that stands by), once it is one of them."""
    copying = [run.is_copying("numbers", 2) for run in (first, second)]
    return {(True, False): (first, second), (False, True): (second, first)}.get(tuple(copying))


def test_two_runs_of_one_bridge_write_each_record_once():
    with bridges.two() as (directory, source, target):
        source.weft("topic", "create", "numbers", "--partitions", 2, "--replicas", 1)
        load = Load("numbers", source.endpoint, rate=10000)
        settings = (directory, source.endpoint, target.endpoint, "topics=numbers", "standby.ms=1000")
        first, second = bridges.Bridge(*settings), bridges.Bridge(*settings)
        with bridges.running(first):
            wait_until(lambda: first.is_copying("numbers", 2), "the first copies")
            with bridges.running(second):
                wait_until(lambda: "stands by" in first.trace(), "the first stands by")
                # Mostly the second copies now; on a machine that is busy enough they may have changed places again.
                now, other = wait_until(lambda: who_copies(first, second), "one copies")
                # A run of the past wakes up in the midst of its work.
                now.process.send_signal(signal.SIGSTOP)
                wait_until(lambda: other.is_copying("numbers", 2), "the other takes over")
                now.process.send_signal(signal.SIGCONT)
                now, _ = wait_until(lambda: who_copies(first, second), "one stands by")
                now.kill()
                status, said = load.stop()
                assert status == 0, said
                bridges.wait_same(source, target, "numbers")  # the other one took over


if __name__ == "__main__":
    run(globals())
