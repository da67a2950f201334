# SPDX-License-Identifier: MPL-2.0
"""Consumer groups on three brokers and three coordinators, each a process: what members notice when one of them dies."""

import json
import time

from harness import Load, clusters, run, wait_until
from members import LONG, SESSION, Hand, members, own, parts, read_all, took


def settled(cluster, topic):
    def is_so():
        done = cluster.weft("topic", "describe", topic, "--json", status=None)  # just made, it is not known everywhere
        return done.returncode == 0 and all(len(p["isr"]) == 3 and p["leader"] >= 0 for p in json.loads(done.stdout)["partitions"])

    wait_until(is_so, "all replicas are in sync")


def lines(first, last):
    return "".join(f"k{n}:{n}\n" for n in range(first, last)), [str(n) for n in range(first, last)]


def produce(cluster, first, last):
    text, values = lines(first, last)
    cluster.weft("produce", "events", "--key-separator", ":", input=text)
    return values


def holdings(cluster, group):
    """Who owns what, under which epochs and tokens, as the coordinator in office tells."""
    with Hand(cluster.endpoints, group) as hand:
        told = hand.ask("group_describe", group=group)
        assert not told.get("error"), told
        return told["epoch"], sorted((m["member"], m["epoch"], [(t["topic_id"], tuple(t["partitions"]), tuple(t["tokens"])) for t in m["owns"]]) for m in told["members"])


def committed(cluster, group):
    return sum(max(0, p["committed"]) for p in cluster.json("group", "describe", group)["partitions"])


def offsets_leader(cluster, group):
    """The broker that leads the group's partition of __offsets."""
    with Hand(cluster.endpoints, group) as hand:
        hand.ask("committed", group=group)
        return next(f"broker-{b['id']}" for b in cluster.json("cluster", "brokers") if b["endpoint"] == hand.peer.endpoint)


def test_cluster__members_do_not_notice_a_new_coordinator():
    with clusters() as cluster, members() as member:
        cluster.up(3)
        cluster.weft("topic", "create", "events", "--partitions", 4)
        settled(cluster, "events")
        a, b = (member(cluster.endpoints, "g", "events", session=2 * SESSION) for _ in range(2))  # a new coordinator has to be found within it
        own(parts("events", 4), a, b)
        settled(cluster, "__offsets")
        values = produce(cluster, 0, 500)
        read_all(values, a, b)
        before, moves = holdings(cluster, "g"), (a.moves, b.moves)
        for _ in range(2):  # the second one in office has the state only from the quorum's log
            office = cluster.coordinator()
            cluster("kill", office)
            values += produce(cluster, len(values), len(values) + 500)
            read_all(values, a, b)
            wait_until(lambda: cluster.coordinator() != office, "another is in office")
            now = holdings(cluster, "g")
            assert now == before, f"{before} became {now}; {a.said} {b.said}"
            wait_until(lambda: committed(cluster, "g") == len(values), "commits go on")
            cluster("start", office)
            wait_until(cluster.is_healthy, "it is back")
        assert (a.moves, b.moves) == moves, (a.said, b.said)
        assert sorted(map(int, a.values() + b.values())) == list(range(len(values)))  # nothing twice
        # A member that dies together with the coordinator is found by the next one, a session after it took office.
        office = cluster.coordinator()
        begun = time.monotonic()
        cluster("kill", office)
        a.kill()
        own(parts("events", 4), b)
        print(f"  member and coordinator killed: all taken over after {took(begun):.1f} s", flush=True)
        values += produce(cluster, len(values), len(values) + 100)
        read_all(values, a, b)


def test_cluster__commits_go_on_when_the_leader_of_the_offsets_dies():
    with clusters() as cluster, members() as member:
        cluster.up(3)
        cluster.weft("topic", "create", "events", "--partitions", 4)
        settled(cluster, "events")
        a, b = (member(cluster.endpoints, "g", "events", session=LONG) for _ in range(2))
        own(parts("events", 4), a, b)
        settled(cluster, "__offsets")
        load = Load("events", cluster.endpoints, rate=200)
        wait_until(lambda: committed(cluster, "g") > 100, "commits are made")
        before, moves = holdings(cluster, "g"), (a.moves, b.moves)
        victim = offsets_leader(cluster, "g")
        cluster("kill", victim)
        wait_until(lambda: offsets_leader(cluster, "g") != victim, "another leads the offsets")
        so_far = committed(cluster, "g")
        wait_until(lambda: committed(cluster, "g") > so_far + 200, "commits go on")
        status, said = load.stop()
        assert (status, said) == (0, ""), said
        values = [str(n) for n in range(load.sent)]
        read_all(values, a, b)
        wait_until(lambda: committed(cluster, "g") == load.sent, "all is committed")
        assert sorted(map(int, a.values() + b.values())) == list(range(load.sent))  # no crash of a member: each once
        assert holdings(cluster, "g") == before and (a.moves, b.moves) == moves, (a.said, b.said)
        assert a.leave() == b.leave() == 130
        c = member(cluster.endpoints, "g", "events")  # it goes on where they ended, told by the new leader
        own(parts("events", 4), c)
        assert sum(c.at.values()) == load.sent, c.at


def test_cluster__a_member_and_a_leader_die_under_load_and_nothing_is_skipped():
    with clusters() as cluster, members() as member:
        cluster.up(3)
        cluster.weft("topic", "create", "events", "--partitions", 6)
        settled(cluster, "events")
        a, b, c = (member(cluster.endpoints, "g", "events", session=SESSION) for _ in range(3))
        own(parts("events", 6), a, b, c)
        load = Load("events", cluster.endpoints, rate=300)
        wait_until(lambda: committed(cluster, "g") > 200, "commits are made")
        leader = f"broker-{cluster.partition('events', next(iter(b.owned))[1])['leader']}"
        cluster("kill", leader)
        a.kill()
        own(parts("events", 6), b, c)
        cluster("start", leader)
        acked = len(load.acks)
        wait_until(lambda: len(load.acks) > acked + 300, "the load goes on")
        status, said = load.stop()
        assert (status, said) == (0, ""), said
        read_all([str(n) for n in range(load.sent)], a, b, c)
        began = {part: at for each in (b, c) for part, at in each.at.items()}
        twice = set(a.records) & (set(b.records) | set(c.records))
        assert all(offset >= began[topic, partition] for topic, partition, offset, _ in twice), "duplicates only after the last commit"
        wait_until(lambda: committed(cluster, "g") == load.sent, "all is committed")


if __name__ == "__main__":
    run({name: value for name, value in globals().items() if name.startswith("test_cluster__")})
