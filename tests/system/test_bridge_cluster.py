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


def lines(word, count):
    return [f"{word} {number}" for number in range(count)]


def produce(cluster, values):
    cluster.weft("produce", "orders", input="".join(f"{value}\n" for value in values))


def held_by_one(source, values):
    """Only the leader gets them; (the leader, the other)."""
    leader = source.partition("orders")["leader"]
    other = 3 - leader
    source("kill", f"broker-{other}")
    wait_until(lambda: source.partition("orders")["isr"] == [leader], "the dead one is out of the in-sync set", 60)
    produce(source, values)
    return leader, other


def lost(source, leader, other):
    """Who lacks them leads, by order of a person."""
    source("kill", f"broker-{leader}")
    source("start", f"broker-{other}")
    wait_until(lambda: {b["id"]: b["alive"] for b in source.json("cluster", "brokers")}[other], "it is back", 60)
    wait_until(lambda: source.partition("orders")["leader"] == -1, "nobody leads", 60)
    source.weft("cluster", "elect", "orders", 0, "--unclean", "--yes")
    wait_until(lambda: source.partition("orders")["leader"] == other, "it leads", 60)


def goes_on_behind(source, target, bridge, copied, when):
    """Copies what the source has instead, behind what it had copied: of an election while it was `when`."""
    gone, new = lines(f"gone {when}", 5), lines(f"new {when}", 3 if when == "killed" else 20)
    leader, other = held_by_one(source, gone)
    copied += gone
    wait_until(lambda: bridges.read(target, "orders", "%v\\n") == copied, f"what is to be lost is copied: {when}", 60)
    wait_until(lambda: bridge.partitions()[("orders", 0)]["lag"] == 0, "and answered", 60)
    if when == "stopped":
        assert bridge.stop() == 0, bridge.trace()
    elif when == "killed":
        bridge.kill()  # what it copied last was noted before, not since
    lost(source, leader, other)
    produce(source, new)
    if when != "running":
        bridge.start()
    copied += new
    wait_until(lambda: len(bridges.read(target, "orders")) >= len(copied), f"what is there instead is copied: {when}", 60)
    held = bridges.read(target, "orders", "%v\\n")
    assert held == copied, (when, held, bridge.trace())
    assert bridge.trace().count("the source has lost offsets") == 1 + ["stopped", "killed", "running"].index(when), bridge.trace()
    source("start", f"broker-{leader}")
    wait_until(lambda: len(source.partition("orders")["isr"]) == 2, "both are in sync", 60)


def test_what_a_source_lost_by_an_unclean_election_is_noticed_and_what_it_has_instead_is_copied():
    with clusters() as source, bridges.two() as (directory, target, _):
        source.up(2, "--coordinators", 1)
        source.weft("topic", "create", "orders", "--replicas", 2, "--set", "min.insync=1")
        wait_until(lambda: len(source.partition("orders")["isr"]) == 2, "both are in sync", 60)
        bridge = bridges.Bridge(directory, source.endpoints, target.endpoint, "topics=orders", "checkpoint.ms=10m")
        copied = lines("kept", 10)
        with bridges.running(bridge):
            produce(source, copied)
            for when in ("stopped", "killed", "running"):  # the new history is longer, shorter, longer
                goes_on_behind(source, target, bridge, copied, when)
            assert bridge.stop() == 0, bridge.trace()
            bridge.start()
            produce(source, ["last"])
            wait_until(lambda: "last" in bridges.read(target, "orders", "%v\\n"), "it goes on", 60)
            assert bridges.read(target, "orders", "%v\\n") == [*copied, "last"], bridge.trace()


if __name__ == "__main__":
    run(globals())
