#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""What a bridge copies, what it refuses, and what can be asked of it."""

import contextlib
import json
import subprocess

import bridges
from harness import DEADLINE_S, WEFT, run, wait_until


def produce(node, topic, values, *options):
    node.weft("produce", topic, *options, input="".join(f"{value}\n" for value in values))


def test_topics_are_copied_as_they_are():
    with bridges.two() as (directory, source, target):
        source.weft("topic", "create", "orders", "--partitions", 4, "--replicas", 1, "--set", "retention.ms=3600000", "--set", "max.record.bytes=2MiB")
        source.weft("topic", "create", "secret", "--partitions", 1, "--replicas", 1)
        produce(source, "orders", (f"k{n % 7}:v{n}" for n in range(1000)), "--key-separator", ":", "--compression", "lz4")
        produce(source, "orders", (f"k{n % 7}:w{n}" for n in range(1000)), "--key-separator", ":", "--header", "trace=abc", "--header", "empty=")
        produce(source, "secret", ["x"])
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint, "topics=*", "except=secr*")
        with bridges.running(bridge):
            wait_until(lambda: bridge.is_copying("orders", 4), "it copies")
            form = "%p %o %k %v %h %T\\n"
            wanted = sorted(bridges.read(source, "orders", form))
            wait_until(lambda: sorted(bridges.read(target, "orders", form)) == wanted, "everything is as it was")
            held = describe(target, "orders")["config"]
            assert (held["retention.ms"], held["max.record.bytes"]) == ("3600000", "2MiB"), held
            # What comes later: records, partitions, topics.
            produce(source, "orders", (f"k{n}:late" for n in range(50)), "--key-separator", ":")
            source.weft("topic", "add-partitions", "orders", "--to", 6)
            source.weft("topic", "create", "later", "--partitions", 1, "--replicas", 1)
            produce(source, "later", ["first", "second"])
            produce(source, "orders", [f"in five {n}" for n in range(20)], "--partition", 5)
            bridges.wait_same(source, target, "orders")
            bridges.wait_same(source, target, "later")
            assert "secret" not in target.weft("topic", "list").stdout
            assert bridge.stop() == 0, bridge.trace()


def describe(node, topic):
    return json.loads(node.weft("topic", "describe", topic, "--json").stdout)


def test_records_do_not_go_round_between_two_clusters():
    with bridges.two() as (directory, one, other):
        for node in (one, other):
            node.weft("topic", "create", "shared", "--partitions", 2, "--replicas", 1)
        there = bridges.Bridge(directory, one.endpoint, other.endpoint, name="there")
        back = bridges.Bridge(directory, other.endpoint, one.endpoint, name="back")
        with bridges.running(there), bridges.running(back):
            wait_until(lambda: there.is_copying("shared", 2) and back.is_copying("shared", 2), "both copy")
            for part in range(5):
                produce(one, "shared", (f"one {part} {n}" for n in range(100)))
                produce(other, "shared", (f"other {part} {n}" for n in range(100)))
            wanted = sorted([f"one {p} {n}" for p in range(5) for n in range(100)] + [f"other {p} {n}" for p in range(5) for n in range(100)])
            for node in (one, other):
                wait_until(lambda node=node: sorted(bridges.read(node, "shared", "%v\\n")) == wanted, "each record is on both sides once")
            # Also after both have begun anew.
            there.kill()
            back.kill()
            produce(one, "shared", ["one at last"])
            there.start()
            back.start()
            wait_until(lambda: there.is_copying("shared", 2) and back.is_copying("shared", 2), "both copy again")
            produce(other, "shared", ["other at last"])
            wanted = sorted(wanted + ["one at last", "other at last"])
            for node in (one, other):
                wait_until(lambda node=node: sorted(bridges.read(node, "shared", "%v\\n")) == wanted, "nothing went round")
            assert "weft.bridges" not in [row["topic"] for row in there.partitions().values()]


def test_with_prefixes_no_copy_of_a_copy_is_made():
    with bridges.two() as (directory, one, other):
        one.weft("topic", "create", "t", "--partitions", 1, "--replicas", 1)
        there = bridges.Bridge(directory, one.endpoint, other.endpoint, "prefix=one.", name="there")
        with bridges.running(there):
            produce(one, "t", ["a", "b"])
            bridges.wait_same(one, other, "t", "one.t")
            back = bridges.Bridge(directory, other.endpoint, one.endpoint, "prefix=other.", name="back")
            with bridges.running(back):
                other.weft("topic", "create", "own", "--partitions", 1, "--replicas", 1)
                produce(other, "own", ["c"])
                bridges.wait_same(other, one, "own", "other.own")
                wait_until(lambda: back.partitions()[("one.t", 0)].get("reason"), "it says why")
                assert "copy of a topic of the target" in back.partitions()[("one.t", 0)]["reason"]
                names = one.weft("topic", "list").stdout
                assert "other.one.t" not in names and "one.other.own" not in other.weft("topic", "list").stdout, names


def test_around_a_ring_each_topic_is_copied_to_both_others_and_no_further():
    with bridges.some("abc") as (directory, *nodes), contextlib.ExitStack() as stack:
        for node in nodes:
            node.weft("topic", "create", "t", "--partitions", 1, "--replicas", 1)
        ring = [bridges.Bridge(directory, nodes[at].endpoint, nodes[(at + 1) % 3].endpoint, f"prefix={'abc'[at]}.", name=f"from-{'abc'[at]}") for at in range(3)]
        for bridge in ring:
            stack.enter_context(bridges.running(bridge))
        for at, node in enumerate(nodes):
            produce(node, "t", [f"of {'abc'[at]}"])
        wanted = (["c.b.t", "c.t", "t"], ["a.c.t", "a.t", "t"], ["b.a.t", "b.t", "t"])

        def topics(node):
            return sorted(row["topic"] for row in json.loads(node.weft("topic", "list", "--json").stdout) if row["topic"] != "weft.bridges")

        for at, names in enumerate(wanted):
            for name in names:
                wait_until(lambda: bridges.read(nodes[at], name, "%v\\n") == [f"of {name[-3] if len(name) > 1 else 'abc'[at]}"], f"{name} is in {'abc'[at]}")
        for at, names in enumerate(wanted):
            last = (names[0], 0)
            wait_until(lambda: "copy of a topic of the target" in (ring[at].partitions().get(last, {}).get("reason") or ""), f"{last} ends there")
            # A bridge that stood still between a topic and its note may leave one more, which is empty and goes nowhere.
            more = [name for name in topics(nodes[at]) if name not in names]
            assert all(name.count(".") == 3 and bridges.count_of(nodes[at], name) == 0 for name in more), more


def test_a_topic_is_not_copied_into_itself():
    with bridges.two() as (directory, node, _):
        done = subprocess.run([WEFT, "bridge", "--set", f"source={node.endpoint}", "--set", f"target={node.endpoint}"],
                              capture_output=True, text=True, timeout=DEADLINE_S)
        assert done.returncode == 1 and "same cluster" in done.stderr, done
        done = subprocess.run([WEFT, "bridge", "--set", f"source={node.endpoint}", "--set", f"target={node.endpoint}",
                               "--set", "prefix=copy.", "--set", "producer=acks=none"], capture_output=True, text=True, timeout=DEADLINE_S)
        assert done.returncode == 1 and "acks=none" in done.stderr, done
        # With a prefix it may; the copies match "*" as well, and are not copied again.
        node.weft("topic", "create", "t", "--partitions", 1, "--replicas", 1)
        produce(node, "t", ["a"])
        bridge = bridges.Bridge(directory, node.endpoint, node.endpoint, "prefix=copy.")
        with bridges.running(bridge):
            bridges.wait_same(node, node, "t", "copy.t")
            assert list(bridge.partitions()) == [("t", 0)]


def test_offsets_are_mapped_where_others_write_too():
    with bridges.two() as (directory, source, target):
        for node in (source, target):
            node.weft("topic", "create", "t", "--partitions", 1, "--replicas", 1)
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint)
        with bridges.running(bridge):
            wait_until(lambda: bridge.is_copying("t"), "it copies")
            for part in range(6):
                produce(source, "t", [f"{part} {n}" for n in range(10)])
                wait_until(lambda part=part: f"{part} 9" in bridges.read(target, "t", "%v\\n"), "it is copied")
                produce(target, "t", [f"strange {part} {n}" for n in range(part)])
            bridge.kill()
            produce(source, "t", [f"6 {n}" for n in range(10)])
            bridge.start()
            wait_until(lambda: "6 9" in bridges.read(target, "t", "%v\\n"), "it is copied")
            there = {value: int(offset) for offset, value in (line.split(" ", 1) for line in bridges.read(target, "t", "%o %v\\n"))}
            for line in bridges.read(source, "t", "%o %v\\n"):
                offset, value = line.split(" ", 1)
                answer = bridge.ask(topic="t", partition=0, offset=int(offset))
                assert (answer["offset"], answer["exact"]) == (there[value], True), (line, answer, there[value])
                answer = bridge.ask(topic="t", partition=0, target_offset=there[value])
                assert (answer["offset"], answer["exact"]) == (int(offset), True), (line, answer)
            assert bridge.ask(topic="t", partition=0, offset=70)["offset"] == there["6 9"] + 1
            assert bridge.ask(topic="unknown", partition=0, offset=0)["error"] != 0


def test_the_command_tells_what_a_bridge_knows():
    with bridges.two() as (directory, source, target):
        source.weft("topic", "create", "t", "--partitions", 2, "--replicas", 1)
        target.weft("topic", "create", "site.t", "--partitions", 2, "--replicas", 1)
        produce(source, "t", (f"{n}" for n in range(50)), "--partition", 0)
        produce(target, "site.t", (f"strange {n}" for n in range(7)), "--partition", 0)
        source.weft("consume", "t", "--group", "readers", "--from", "earliest", "--count", 20)
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint, "prefix=site.", "groups=*", "groups.ms=200")
        at = ("--endpoint", bridge.listen)
        with bridges.running(bridge):
            bridge_says = lambda *words: json.loads(source.weft("bridge", *words, *at, "--json").stdout)
            rows = wait_until(lambda: [row for row in bridge_says("status") if row["source_next"] == 50 and row["lag"] == 0], "all is copied")
            assert rows == [{"topic": "t", "partition": 0, "target_topic": "site.t", "state": "copying", "source_next": 50, "target_next": 57,
                             "lag": 0, "reason": None}], rows
            assert bridge_says("offset", "t", 0, 30) == {"topic": "t", "partition": 0, "offset": 30, "target_topic": "site.t", "target_offset": 37, "exact": True}
            assert bridge_says("offset", "t", 0, 37, "--back") == bridge_says("offset", "t", 0, 30)
            wanted = [{"group": "readers", "topic": "t", "partition": 0, "offset": 20, "target_topic": "site.t", "target_offset": 27, "exact": True,
                       "committed": 27, "reason": None}]
            wait_until(lambda: [row for row in bridge_says("groups", "read*") if row["partition"] == 0] == wanted, "its offsets are translated")
            lines = [line.split() for line in source.weft("bridge", "groups", *at).stdout.splitlines()]
            assert lines[0][:3] == ["GROUP", "TOPIC", "PARTITION"] and lines[1] == ["readers", "t", "0", "20", "site.t", "27", "yes", "27", "-"], lines
            lines = [line.split() for line in source.weft("bridge", "offset", "t", 0, 30, *at).stdout.splitlines()]
            assert lines[0] == "TOPIC PARTITION OFFSET TARGET TOPIC TARGET OFFSET EXACT".split() and lines[1] == "t 0 30 site.t 37 yes".split(), lines
            assert "site.t" in source.weft("bridge", "status", *at).stdout
            # What it does not know, and slips.
            assert "copies no such partition" in source.weft("bridge", "offset", "t", 2, 0, *at, status=1).stderr
            assert "nothing of this partition was copied yet" in source.weft("bridge", "offset", "t", 1, 0, *at, status=1).stderr
            assert "no such group" in source.weft("bridge", "groups", "nobody", *at, status=1).stderr
            assert "PARTITION is 'x'" in source.weft("bridge", "offset", "t", "x", 0, *at, status=2).stderr
            assert "--timeout is '0'" in source.weft("bridge", "status", *at, "--timeout", "0", status=2).stderr
        done = source.weft("bridge", "status", *at, "--timeout", "200ms", status=1)
        assert "is that the option listen of a bridge that runs?" in done.stderr, done.stderr
        assert "it takes one like" in source.weft("bridge", "status", "--endpoint", "core:9700", status=1).stderr
        assert "no bridge of this release" in source.weft("bridge", "status", "--endpoint", source.endpoint, "--timeout", "2s", status=1).stderr


def settings_of(node, topic):
    return describe(node, topic)["config"]


def test_settings_that_change_in_the_source_change_in_the_target():
    with bridges.two() as (directory, source, target):
        for topic in ("made", "there", "left"):
            source.weft("topic", "create", topic, "--partitions", 1, "--replicas", 1, "--set", "retention.ms=3600000")
        target.weft("topic", "create", "there", "--partitions", 1, "--replicas", 1, "--set", "retention.ms=7200000", "--set", "segment.ms=60000")
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint, "except=left", "checkpoint.ms=50")
        unasked = bridges.Bridge(directory, source.endpoint, target.endpoint, "topics=left", "settings=false", name="unasked")
        with bridges.running(bridge), bridges.running(unasked):
            wait_until(lambda: bridge.is_copying("made") and bridge.is_copying("there") and unasked.is_copying("left"), "they copy")
            before = settings_of(target, "there")
            for topic in ("made", "there", "left"):
                source.weft("topic", "alter", topic, "--set", "retention.ms=1800000", "--set", "max.record.bytes=2MiB", "--set", "min.insync=1")
            wait_until(lambda: settings_of(target, "made")["retention.ms"] == "1800000", "a change is carried over")
            wait_until(lambda: settings_of(target, "there")["max.record.bytes"] == "2MiB", "to a topic that was there, too")
            assert settings_of(target, "there")["retention.ms"] == "7200000", "what is the target's own is left alone"
            wait_until(lambda: "has its own" in bridge.trace(), "it says so")
            # Changed while no bridge runs; a default again.
            assert bridge.stop() == 0, bridge.trace()
            source.weft("topic", "alter", "made", "--unset", "retention.ms", "--set", "segment.ms=90000")
            source.weft("topic", "alter", "there", "--set", "segment.ms=90000")
            bridge.start()
            wait_until(lambda: settings_of(target, "made")["segment.ms"] == "90000", "what changed meanwhile is carried over")
            held, wanted = settings_of(target, "made")["retention.ms"], settings_of(source, "made")["retention.ms"]
            assert held == wanted != "1800000", (held, wanted, bridge.trace())
            wait_until(lambda: bridge.trace().count("has its own") == 2, "the other one is seen as well")
            assert settings_of(target, "there") == {**before, "max.record.bytes": "2MiB"}
            # The target's own choice stands.
            target.weft("topic", "alter", "made", "--set", "retention.ms=999000")
            source.weft("topic", "alter", "made", "--set", "max.record.bytes=3MiB")
            wait_until(lambda: settings_of(target, "made")["max.record.bytes"] == "3MiB", "another setting is carried over")
            assert settings_of(target, "made")["retention.ms"] == "999000"
            assert settings_of(target, "left")["retention.ms"] == "3600000" and settings_of(source, "left")["retention.ms"] == "1800000"


def test_groups_go_on_in_the_target():
    with bridges.two() as (directory, source, target):
        source.weft("topic", "create", "t", "--partitions", 2, "--replicas", 1)
        produce(source, "t", (f"{n}" for n in range(100)), "--partition", 0)
        produce(source, "t", (f"{n}" for n in range(100)), "--partition", 1)
        # Somebody else was there first, so that offsets differ.
        target.weft("topic", "create", "t", "--partitions", 2, "--replicas", 1)
        produce(target, "t", (f"strange {n}" for n in range(7)), "--partition", 0)
        source.weft("consume", "t", "--group", "readers", "--from", "earliest", "--count", 120)
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint, "groups=read*", "groups.ms=200")

        def committed(node, group="readers"):
            done = node.weft("group", "describe", group, "--json", status=None)
            if done.returncode != 0:
                return {}
            return {row["partition"]: row["committed"] for row in json.loads(done.stdout)["partitions"]}

        with bridges.running(bridge):
            here = committed(source)
            wanted = {partition: offset + (7 if partition == 0 else 0) for partition, offset in here.items()}
            wait_until(lambda: committed(target) == wanted, f"offsets are translated to {wanted}")
            rest = target.weft("consume", "t", "--group", "readers", "--from", "earliest", "--count", 200 - sum(here.values())).stdout.split()
            assert "strange" not in rest and sorted(map(int, rest)) == sorted(
                n for partition in (0, 1) for n in range(here.get(partition, 0), 100)), rest
            # Forward only: who reads there is not thrown back.
            ahead = committed(target)
            produce(source, "t", ["more"], "--partition", 1)
            source.weft("consume", "t", "--group", "readers", "--count", 1)
            wait_until(lambda: bridge.is_copying("t", 2), "it copies")
            now = committed(target)
            assert all(now[partition] >= offset for partition, offset in ahead.items()), (ahead, now)


def test_what_the_source_deleted_or_compacted_is_passed_over():
    with bridges.two() as (directory, source, target):
        source.weft("topic", "create", "gaps", "--partitions", 1, "--replicas", 1, "--set", "segment.bytes=64KiB", "--set", "cleanup.policy=compact",
                    "--set", "compact.dirty.percent=1", "--set", "segment.ms=1s")
        filler = "x" * 500
        for part in range(6):
            produce(source, "gaps", (f"{'same' if n % 3 else f'own {part} {n}'}:{part} {n} {filler}" for n in range(300)), "--key-separator", ":")
        before = len(bridges.read(source, "gaps"))
        wait_until(lambda: compacted(source) < before - 200, "it is compacted")
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint, "checkpoint.ms=60000")
        with bridges.running(bridge):
            wait_until(lambda: bridge.is_copying("gaps"), "it copies")
            produce(source, "gaps", ["end:one"], "--key-separator", ":")
            wait_until(lambda: "0 one" in bridges.read(target, "gaps"), "it has come to the end")
            for number in range(3): # nothing was noted since: what the marks say has to do
                bridge.kill()
                produce(source, "gaps", [f"end {number}:again {number}"], "--key-separator", ":")
                bridge.start()
                wait_until(lambda number=number: f"0 again {number}" in bridges.read(target, "gaps"), "it goes on")
        values = bridges.read(target, "gaps", "%v\\n")
        assert len(values) == len(set(values)), "something was copied twice"
        assert set(bridges.read(source, "gaps", "%v\\n")) <= set(values)


def compacted(node):
    return len(bridges.read(node, "gaps"))


def test_what_was_deleted_before_it_was_copied_is_counted_and_passed():
    with bridges.two() as (directory, source, target):
        source.weft("topic", "create", "t", "--partitions", 1, "--replicas", 1)
        produce(source, "t", [f"{n}" for n in range(100)])
        source.weft("topic", "delete-records", "t", "--partition", 0, "--before", 40)
        first = int(bridges.read(source, "t", "%v\\n")[0])
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint, "checkpoint.ms=60000")
        with bridges.running(bridge):
            bridges.wait_same(source, target, "t")
            bridge.kill()
            produce(source, "t", [f"{n}" for n in range(100, 200)])
            source.weft("topic", "delete-records", "t", "--partition", 0, "--before", 150)
            second = int(bridges.read(source, "t", "%v\\n")[0])
            wanted = [*range(first, 100), *range(max(second, 100), 200)]
            for number in range(3):  # also when it has to find its place behind the gap again
                bridge.start()
                wait_until(lambda: list(map(int, bridges.read(target, "t", "%v\\n"))) == wanted, f"{wanted}")
                bridge.kill()
                produce(source, "t", [f"{200 + number}"])
                wanted.append(200 + number)
            assert (first, second) == (40, 150), (first, second)
            assert "50 offsets from 100 on are gone" in bridge.trace()


def test_it_begins_at_the_end_if_told_so_and_then_misses_nothing():
    with bridges.two() as (directory, source, target):
        source.weft("topic", "create", "t", "--partitions", 1, "--replicas", 1)
        produce(source, "t", ["old"])
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint, "from=latest", "checkpoint.ms=100")
        with bridges.running(bridge):
            wait_until(lambda: bridge.is_copying("t") and bridge.partitions()[("t", 0)]["source_next"] == 1, "it copies from the end on")
            assert bridge.stop() == 0, bridge.trace()
            produce(source, "t", ["while it was away"])
            bridge.start()
            wait_until(lambda: bridges.read(target, "t", "%v\\n") == ["while it was away"], "what came meanwhile is copied")


def test_topics_that_are_made_anew_begin_anew():
    with bridges.two() as (directory, source, target):
        source.weft("topic", "create", "t", "--partitions", 1, "--replicas", 1)
        produce(source, "t", [f"old {n}" for n in range(30)])
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint)
        with bridges.running(bridge):
            bridges.wait_same(source, target, "t")
            target.weft("topic", "delete", "t")
            produce(source, "t", ["after"])
            bridges.wait_same(source, target, "t")
            source.weft("topic", "delete", "t")
            source.weft("topic", "create", "t", "--partitions", 1, "--replicas", 1)
            produce(source, "t", [f"new {n}" for n in range(40)])
            wait_until(lambda: bridges.read(target, "t", "%v\\n")[-40:] == [f"new {n}" for n in range(40)], "the new one is copied behind the old one")
            assert len(bridges.read(target, "t")) == 71


def test_a_target_topic_made_anew_while_nothing_is_copied_is_filled_again():
    with bridges.two() as (directory, source, target):
        source.weft("topic", "create", "t", "--partitions", 1, "--replicas", 1)
        produce(source, "t", [f"old {n}" for n in range(30)])
        bridge = bridges.Bridge(directory, source.endpoint, target.endpoint)
        with bridges.running(bridge):
            bridges.wait_same(source, target, "t")
            assert bridge.stop() == 0, bridge.trace()
            bridge.start()
            wait_until(lambda: bridge.is_copying("t"), "it has looked, and writes nothing yet")
            target.weft("topic", "delete", "t")
            target.weft("topic", "create", "t", "--partitions", 1, "--replicas", 1)
            source.weft("topic", "create", "u", "--partitions", 1, "--replicas", 1)
            produce(source, "u", ["u"])
            wait_until(lambda: bridges.read(target, "u"), "its producer has heard of the new topics")
            produce(source, "t", ["after"])
            bridges.wait_same(source, target, "t")


if __name__ == "__main__":
    run(globals())
