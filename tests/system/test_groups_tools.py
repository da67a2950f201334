# SPDX-License-Identifier: MPL-2.0
"""weft group list, describe, reset and delete: what people see of groups, and what they change of those that nobody is in."""

import time

from harness import run, up, wait_until, weft_json
from members import lines, members, own, parts, read_all

NODE = None


def topic(name, partitions=2):
    NODE.weft("topic", "create", name, "--partitions", partitions)
    for number in range(partitions):  # a hundred each
        NODE.weft("produce", name, "--partition", number, "--key-separator", ":", input=lines(0, 100)[0])


def json(*words):
    return weft_json("group", *words, bootstrap=NODE.endpoint)


def committed(group):
    return {(p["topic"], p["partition"]): p["committed"] for p in json("describe", group)["partitions"]}


def reset(group, *words):
    """What it set, as it told."""
    told = json("reset", group, *words)
    assert told["group"] == group
    return {(p["topic"], p["partition"]): p["offset"] for p in told["partitions"]}


def refused(*words, says, status=1):
    done = NODE.weft("group", *words, status=status)
    assert all(each in done.stderr for each in says) and done.stdout == "" and done.stderr.count("\n") == (1 if status == 1 else 2), done.stderr
    return done.stderr


def test_tools__groups_are_listed_and_described():
    assert "there are no groups" in NODE.weft("group", "list").stdout
    topic("seen")
    with members() as member:
        a = member(NODE.endpoint, "seen", "seen", options=("--set", "client=alpha", "--set", "instance=one"))
        b = member(NODE.endpoint, "seen", "se*", options=("--set", "client=beta"))
        own(parts("seen", 2), a, b)
        read_all([str(n) for n in range(100)], a, b)
        a.leave(), b.leave()
        a = member(NODE.endpoint, "seen", "seen", options=("--set", "client=alpha", "--set", "instance=one"))
        own(parts("seen", 2), a)
        NODE.weft("produce", "seen", "--partition", 1, input="x\n")
        told = json("describe", "seen")
        assert (told["state"], told["assignor"], told["empty_ms"]) == ("stable", "uniform", -1), told
        (one,) = told["members"]
        assert (one["client"], one["instance"], one["owns"], one["topics"], one["session_ms"]) == ("alpha", "one", 2, ["seen"], 60000), one
        assert one["host"] and one["heard_ms"] < 60000
        rows = {p["partition"]: p for p in told["partitions"]}
        assert all(row["member"] == one["member"] and row["end"] == 100 + number and row["lag"] == row["end"] - row["committed"] for number, row in rows.items()), rows
        assert "left" in [each["why"] for each in told["left"] if each["client"] == "beta"][0] or told["left"], told["left"]
        text = NODE.weft("group", "describe", "seen").stdout
        assert all(word in text for word in ("group 'seen' is stable, uniform: 1 member, 2 partitions", "COMMITTED", "END", "LAG", "alpha", "one", one["host"], "beta")), text
        text = NODE.weft("group", "describe", "seen", "--members").stdout
        assert "LAST HEARD" in text and one["member"][:8] in text, text
        (row,) = json("list")
        assert (row["group"], row["state"], row["members"], row["partitions"]) == ("seen", "stable", 1, 2), row
        a.leave()


def test_tools__a_group_is_reset_to_where_people_want_it():
    topic("jump")
    both = {("jump", 0), ("jump", 1)}
    began = f"@{int(time.time() * 1000)}"
    NODE.weft("produce", "jump", "--partition", 0, "--key-separator", ":", input=lines(100, 150)[0])
    to = ["--topic", "jump", "--to"]
    assert reset("jump", *to, "earliest") == dict.fromkeys(both, 0) == committed("jump")  # also of a group that is new
    assert reset("jump", *to, "latest") == {("jump", 0): 150, ("jump", 1): 100} == committed("jump")
    assert reset("jump", *to, 40) == dict.fromkeys(both, 40) == committed("jump")
    assert reset("jump", *to, "+5") == dict.fromkeys(both, 45) == committed("jump")
    assert reset("jump", *to, "-25") == dict.fromkeys(both, 20) == committed("jump")
    assert reset("jump", *to, "-1000") == dict.fromkeys(both, 0)  # stops at the ends
    assert reset("jump", *to, "+1000") == {("jump", 0): 150, ("jump", 1): 100}
    found = reset("jump", *to, began)
    assert found == {("jump", 0): 100, ("jump", 1): 100} == committed("jump"), (began, found, committed("jump"))
    assert reset("jump", *to, 7, "--partition", 1) == {("jump", 1): 7}
    assert committed("jump") == {("jump", 0): 100, ("jump", 1): 7}
    assert reset("jump", "--all-topics", "--to", "+1") == {("jump", 0): 101, ("jump", 1): 8} == committed("jump")
    with members() as member:  # and that is where reading goes on
        a = member(NODE.endpoint, "jump", "jump")
        read_all([str(n) for n in range(101, 150)] + [str(n) for n in range(8, 100)], a)
        assert a.at == {("jump", 0): 101, ("jump", 1): 8}
        a.leave()


def test_tools__a_dry_run_only_tells():
    topic("dry")
    reset("dry", "--topic", "dry", "--to", 10)
    assert reset("dry", "--topic", "dry", "--to", "earliest", "--dry-run") == {("dry", 0): 0, ("dry", 1): 0}
    done = NODE.weft("group", "reset", "dry", "--topic", "dry", "--to", "latest", "--dry-run").stdout
    assert "nothing was changed" in done and "100" in done, done
    assert set(committed("dry").values()) == {10}
    refused("reset", "nobody", "--all-topics", "--to", "earliest", "--dry-run", says=["nobody"])
    assert "nobody" not in [row["group"] for row in json("list")]


def test_tools__a_live_group_is_neither_reset_nor_deleted_and_says_who_is_in_it():
    topic("live")
    with members() as member:
        a = member(NODE.endpoint, "live", "live", options=("--set", "client=worker"))
        b = member(NODE.endpoint, "live", "live", options=("--set", "client=helper", "--set", "instance=two"))
        own(parts("live", 2), a, b)
        for words in (["reset", "live", "--topic", "live", "--to", "earliest"], ["reset", "live", "--topic", "live", "--to", "latest", "--dry-run"], ["delete", "live"]):
            refused(*words, says=["group 'live' has 2 members", "worker@", "two", "stop them first"])
        a.leave()
        b.leave()  # a static member is away, not gone
        for words in (["reset", "live", "--topic", "live", "--to", "earliest"], ["delete", "live"]):
            refused(*words, says=["1 member", "two (stopped, its place is kept for ", " s more); wait until it is out"])
        assert len(json("describe", "live")["members"]) == 1
        told = NODE.weft("group", "describe", "live").stdout
        assert told.count(" (away)  two ") == 2, told


def test_tools__a_deleted_group_leaves_nothing_behind():
    topic("gone")
    with members() as member:
        a = member(NODE.endpoint, "gone", "gone")
        read_all(["99"], a)
        own(parts("gone", 2), a)
        a.leave()
    assert "deleted group 'gone' and its 2 offsets" in NODE.weft("group", "delete", "gone").stdout
    assert "gone" not in [row["group"] for row in json("list")]
    for words in (["describe", "gone"], ["delete", "gone"]):
        refused(*words, says=["there is no group 'gone'"])
    with members() as member:  # the next of that name begins anew
        a = member(NODE.endpoint, "gone", "gone")
        own(parts("gone", 2), a)
        assert set(a.at.values()) == {0}, a.at


def test_tools__offsets_without_members_are_a_group_too():
    topic("alone")
    with members() as member:
        a = member(NODE.endpoint, "alone", "alone", options=("--partition", 0))
        read_all([str(n) for n in range(100)], a)
        a.leave()
    told = json("describe", "alone")
    assert told["state"] == "none" and told["members"] == [] and committed("alone") == {("alone", 0): 100}, told
    assert "has only offsets, never had members" in NODE.weft("group", "describe", "alone").stdout
    NODE.weft("group", "delete", "alone")


def test_tools__a_jump_over_what_is_gone_is_told_also_when_it_happens_at_the_end():
    NODE.weft("topic", "create", "holes", "--partitions", 4)
    for number in range(4):
        NODE.weft("produce", "holes", "--partition", number, input="x\n" * 6000)
    reset("holes", "--topic", "holes", "--to", 100)
    NODE.weft("topic", "delete-records", "holes", "--partition", 0, "--before", 5000)
    for _ in range(20):
        done = NODE.weft("consume", "holes", "--group", "holes", "--count", 1, "--from", "earliest")
        at = committed("holes")[("holes", 0)]
        told = "holes/0 went on at offset 5000, not 100" in done.stderr
        assert told or at == 100, (at, done.stderr)
        if at != 100:
            return
    raise AssertionError("it was never read from partition 0")


def test_tools__who_reads_a_partition_that_members_hold_stops_with_a_sentence():
    topic("held", 1)
    with members() as member:
        a = member(NODE.endpoint, "held", "held")
        own(parts("held", 1), a)
        read_all(["99"], a)
        wait_until(lambda: committed("held") == {("held", 0): 100}, "it is committed")
        NODE.weft("produce", "held", input="x\n")
        done = NODE.weft("consume", "held", "--group", "held", "--partition", 0, "--from", "earliest", status=1)
        assert done.stderr == "weft consume: members of group 'held' hold held/0: leave out --partition to join them, or stop them first\n", done.stderr
        a.leave()


def test_tools__settings_of_members_go_with_a_group():
    topic("alone2", 1)
    for pair in ("instance=one", "session.ms=2s", "max.poll.ms=1m", "max.poll.records=5", "exclusive=true", "assignor=range", "auto.commit.ms=0", "group=g"):
        done = NODE.weft("consume", "alone2", "--count", 1, "--set", pair, status=2)
        assert f"--set {pair.split('=')[0]}= goes with --group" in done.stderr and done.stdout == "", done.stderr


def test_tools__what_can_not_be_is_refused_with_a_sentence():
    topic("no")
    reset("no", "--topic", "no", "--to", 10)
    refused("describe", "nobody", says=["there is no group 'nobody'"])
    refused("delete", "nobody", says=["there is no group 'nobody'"])
    refused("reset", "no", "--topic", "no", "--to", 101, says=["offset 101 is outside no/", "0 to 100"])
    refused("reset", "no", "--topic", "missing", "--to", 0, says=["missing"])
    refused("reset", "no", "--topic", "no", "--partition", 9, "--to", 0, says=["no partition 9; it has 2"])
    refused("reset", "new", "--topic", "no", "--to", "+1", says=["no offset of no/0 to count from"])
    for words, says in ((["--to", 0], "--topic T"), (["--topic", "no"], "--to is missing"), (["--topic", "no", "--to", "tomorrow"], "earliest, latest"), (["--topic", "no", "--to", "+x"], "number of records"),
                        (["--to", 0, "--partition", 1, "--all-topics"], "goes with --topic"), (["--topic", "no", "--partition", "x", "--to", 0], "number from 0")):
        refused("reset", "no", *words, says=[says], status=2)
    for verb in (["describe"], ["delete"], ["reset", "--topic", "no", "--to", "earliest"]):
        said = refused(verb[0], "g" * 10240, *verb[1:], says=["255 bytes"])
        assert len(said) < 1000, f"{len(said)} bytes are said to a name of 10 KiB"
        refused(verb[0], "a\tb", *verb[1:], says=["control"])
    assert set(committed("no").values()) == {10}


if __name__ == "__main__":
    with up() as NODE:
        run(globals())
