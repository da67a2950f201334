# SPDX-License-Identifier: MPL-2.0
"""Consumer groups as their users meet them: members share, wait, leave, die, stall and come back; what was committed is where reading goes on.

One node serves all of these tests, each with its own topics and groups.
"""

import signal
import time

from harness import run, up, wait_until, weft_json
from members import LONG, SESSION, lines, members, own, parts, read_all, took

NODE = None


def topic(name, partitions=4, *options):
    NODE.weft("topic", "create", name, "--partitions", partitions, *options)


def produce(name, first, last):
    text, values = lines(first, last)
    NODE.weft("produce", name, "--key-separator", ":", input=text)
    return values


def described(group):
    return weft_json("group", "describe", group, bootstrap=NODE.endpoint)


def committed(group, name):
    """{partition: committed offset}, of those that have one."""
    return {p["partition"]: p["committed"] for p in described(group)["partitions"] if p["topic"] == name and p["committed"] >= 0}


def all_committed(group, name, count):
    wait_until(lambda: sum(committed(group, name).values()) == count, f"{count} records of {name} are committed")


def test_groups__members_share_partitions_and_read_each_record_once():
    topic("share")
    with members() as member:
        a, b = (member(NODE.endpoint, "share", "share") for _ in range(2))
        own(parts("share", 4), a, b)
        assert len(a.owned) == len(b.owned) == 2
        values = produce("share", 0, 1000)
        read_all(values, a, b)
        assert a.records and b.records
        c = member(NODE.endpoint, "share", "share")
        own(parts("share", 4), a, b, c)
        values += produce("share", 1000, 2000)
        read_all(values, a, b, c)
        assert sorted(map(int, a.values() + b.values() + c.values())) == list(range(2000))  # nobody died: each once
        assert a.leave() == b.leave() == c.leave() == 130
        all_committed("share", "share", 2000)
        assert described("share")["state"] == "empty"


def test_groups__the_rest_wait_and_take_over_at_once():
    topic("spare", 1)
    with members() as member:
        a = member(NODE.endpoint, "spare", "spare")
        own(parts("spare", 1), a)
        others = [member(NODE.endpoint, "spare", "spare") for _ in range(2)]
        wait_until(lambda: len(described("spare")["members"]) == 3, "all have joined")
        assert "(2 wait for a partition)" in NODE.weft("group", "describe", "spare").stdout
        read_all(produce("spare", 0, 100), a)
        assert a.owned and not any(each.owned for each in others)
        begun = time.monotonic()
        assert a.leave() == 130
        own(parts("spare", 1), *others)
        assert took(begun) < 10, f"{took(begun):.1f} s: sessions are of {LONG} s, so somebody waited for one"
        values = produce("spare", 100, 200)
        read_all(values, *others)
        assert all(set(each.values()) <= set(values) for each in others)  # what the first one read was committed


def test_groups__a_killed_member_is_found_dead_and_nothing_is_skipped():
    topic("killed", 2)
    with members() as member:
        a, b = (member(NODE.endpoint, "killed", "killed", session=SESSION) for _ in range(2))
        own(parts("killed", 2), a, b)
        values = produce("killed", 0, 500)
        read_all(values, a, b)
        all_committed("killed", "killed", 500)
        before = committed("killed", "killed")
        a.kill()
        values += produce("killed", 500, 1000)
        own(parts("killed", 2), b)
        taken = next(iter(a.owned))
        assert b.at[taken] >= before[taken[1]], (b.at, before)
        read_all(values, a, b)
        again = set(a.records) & set(b.records)
        assert all(offset >= b.at[taken] for _, _, offset, _ in again), "duplicates only after the last commit"
        assert "timed out" in NODE.weft("group", "describe", "killed").stdout


def test_groups__a_stalled_member_is_replaced_and_told_when_it_wakes_up():
    topic("stalled", 2)
    with members() as member:
        a, b = (member(NODE.endpoint, "stalled", "stalled", session=SESSION) for _ in range(2))
        own(parts("stalled", 2), a, b)
        values = produce("stalled", 0, 500)
        read_all(values, a, b)
        a.signal(signal.SIGSTOP)
        own(parts("stalled", 2), b)
        values += produce("stalled", 500, 1000)
        read_all(values, a, b)
        wait_until(lambda: sum(committed("stalled", "stalled").values()) == 1000, "all is committed")
        a.signal(signal.SIGCONT)
        wait_until(lambda: any("lost stalled/" in line for line in a.said), "it is told")
        own(parts("stalled", 2), a, b)
        assert committed("stalled", "stalled") == described_ends("stalled"), "what it still had to commit moved nothing"
        read_all(produce("stalled", 1000, 1100), a, b)


def described_ends(group):
    return {p["partition"]: p["end"] for p in described(group)["partitions"]}


def test_groups__after_a_crash_it_goes_on_at_the_committed_offset():
    topic("crash", 1)
    with members() as member:
        a = member(NODE.endpoint, "crash", "crash", session=SESSION)
        values = produce("crash", 0, 100)
        read_all(values, a)
        all_committed("crash", "crash", 100)
        a.kill()
        more = produce("crash", 100, 200)
        b = member(NODE.endpoint, "crash", "crash", session=SESSION)
        read_all(more, b)
        assert b.at == {("crash", 0): 100} and b.values() == more
        assert b.leave() == 130


def test_groups__a_static_member_finds_its_partitions_again():
    topic("static")
    with members() as member:
        def static(name, session):
            return member(NODE.endpoint, "static", "static", session=session, options=("--set", f"instance={name}"))

        a, b = static("a", LONG), static("b", LONG)
        own(parts("static", 4), a, b)
        mine, moves = set(a.owned), b.moves
        assert a.leave() == 130
        assert any(m["instance"] == "a" and m["paused"] for m in described("static")["members"])
        a = static("a", SESSION)
        own(mine, a)
        a.kill()  # it says nothing, so its successor waits for its session
        a = static("a", SESSION)
        own(mine, a)
        read_all(produce("static", 0, 100), a, b)
        assert b.moves == moves, b.said  # nobody else noticed
        rows = {m["instance"]: m["owns"] for m in described("static")["members"]}
        assert rows == {"a": 2, "b": 2}, rows


def test_groups__a_static_member_that_was_killed_and_started_again_at_once_moves_nothing():
    topic("again")
    with members() as member:
        def static(name):  # a session so long that who waits for its end has a long back-off by then
            return member(NODE.endpoint, "again", "again", session=7, options=("--set", f"instance={name}"))

        def owners():
            group = described("again")
            by_id = {m["member"]: m["instance"] for m in group["members"]}
            return {p["partition"]: by_id.get(p["member"]) for p in group["partitions"]}

        a, b = static("a"), static("b")
        own(parts("again", 4), a, b)
        before, moves = owners(), b.moves
        assert sorted(before.values()) == ["a", "a", "b", "b"], before
        a.kill()
        a = static("a")
        own(parts("again", 4), a, b)
        assert owners() == before
        assert b.moves == moves, b.said
        assert [each["why"] for each in described("again")["left"]] == ["replaced"]


def test_groups__a_member_that_stops_polling_is_told_apart_from_a_dead_one():
    topic("idle", 1)
    values = produce("idle", 0, 100000)
    with members() as member:
        a = member(NODE.endpoint, "idle", "idle", options=("--set", "max.poll.ms=1500"), read=False)  # its pipe fills up
        own(parts("idle", 1), a)
        b = member(NODE.endpoint, "idle", "idle")
        own(parts("idle", 1), b)
        why = [each["why"] for each in described("idle")["left"]]
        assert any("poll" in each for each in why), why
        read_all(values[-10:], b)
        a.kill()


def test_groups__who_begins_and_what_is_gone_follows_the_reset_policy():
    topic("reset", 1)
    old = produce("reset", 0, 100)
    with members() as member:
        early = member(NODE.endpoint, "reset-earliest", "reset", origin="earliest")
        late = member(NODE.endpoint, "reset-latest", "reset", origin="latest")
        read_all(old, early)
        own(parts("reset", 1), late)
        new = produce("reset", 100, 200)
        read_all(new, late)
        assert late.values() == new
        assert early.leave() == late.leave() == 130
        for name in ("reset-earliest", "reset-latest", "reset-error"):
            NODE.weft("group", "reset", name, "--topic", "reset", "--to", 50)
        from peer import Peer

        with Peer(NODE.endpoint) as peer:
            assert peer.ask("delete_records", topic="reset", partition=0, before_offset=150)["error"] == 0
        early = member(NODE.endpoint, "reset-earliest", "reset", origin="earliest")
        late = member(NODE.endpoint, "reset-latest", "reset", origin="latest")
        error = member(NODE.endpoint, "reset-error", "reset", options=("--set", "reset=error"))
        wait_until(lambda: any("went on at offset 150, not 50" in line for line in early.said), "earliest is said")
        wait_until(lambda: any("went on at offset 200, not 50" in line for line in late.said), "latest is said")
        assert error.ended() == 1
        assert any("reset/0 at offset 50" in line for line in error.said), error.said
        last = produce("reset", 200, 210)
        read_all(last, early, late)
        assert early.values() == new[50:] + last and late.values() == last and error.values() == []
        assert committed("reset-error", "reset") == {0: 50}


def test_groups__globs_new_topics_and_added_partitions_are_picked_up():
    topic("log.a", 2)
    with members() as member:
        a, b = (member(NODE.endpoint, "globs", "log.*", session=LONG) for _ in range(2))
        own(parts("log.a", 2), a, b)
        topic("log.b", 2)
        topic("other", 2)
        own(parts("log.a", 2) | parts("log.b", 2), a, b)
        NODE.weft("topic", "add-partitions", "log.a", "--to", 6)
        own(parts("log.a", 6) | parts("log.b", 2), a, b)
        values = produce("log.a", 0, 300) + produce("log.b", 300, 400)
        read_all(values, a, b)
        NODE.weft("topic", "delete", "log.b")
        own(parts("log.a", 6), a, b)


def test_groups__a_group_outlives_a_restart_of_its_node():
    topic("restart", 2)
    with members() as member:
        a, b = (member(NODE.endpoint, "restart", "restart", session=LONG) for _ in range(2))
        own(parts("restart", 2), a, b)
        values = produce("restart", 0, 200)
        read_all(values, a, b)
        all_committed("restart", "restart", 200)
        moves = a.moves, b.moves
        NODE.kill()
        NODE.start()
        values += produce("restart", 200, 400)
        read_all(values, a, b)
        all_committed("restart", "restart", 400)
        assert (a.moves, b.moves) == moves, (a.said, b.said)
        assert len(described("restart")["members"]) == 2


if __name__ == "__main__":
    with up() as NODE:
        run(globals())
