# SPDX-License-Identifier: MPL-2.0
"""Readers that share a group's offsets without being members of it: each names its partitions."""

from harness import run, up, wait_until, weft_json
from members import members, own, parts

NODE = None


def read(topic, group, count):
    """Reads partition 0 for the group, commits, and returns the values."""
    done = NODE.weft("consume", topic, "--group", group, "--partition", 0, "--from", "earliest", "--count", count)
    return done.stdout.split()


def produce(topic, count):
    NODE.weft("topic", "create", topic, "--partitions", 1)
    NODE.weft("produce", topic, input="".join(f"{i}\n" for i in range(count)))


def test_groups_alone__a_reset_does_not_shut_them_out():
    produce("alone", 20)
    assert read("alone", "alone", 3) == ["0", "1", "2"]
    NODE.weft("group", "reset", "alone", "--topic", "alone", "--to", 10)
    values = read("alone", "alone", 3)  # and commits, or this would have failed
    assert values == ["10", "11", "12"], values
    NODE.weft("group", "reset", "alone", "--topic", "alone", "--to", "-1")
    assert read("alone", "alone", 2) == ["12", "13"]


def member_reads(topic, group, count):
    """A member reads that many records, commits and leaves."""
    values = NODE.weft("consume", topic, "--group", group, "--from", "earliest", "--count", count).stdout.split()
    wait_until(lambda: weft_json("group", "describe", group, bootstrap=NODE.endpoint)["state"] == "empty", "the member left")
    return values


def test_groups_alone__they_go_on_where_members_left_off():
    produce("left", 20)
    assert member_reads("left", "left", 3) == ["0", "1", "2"]
    assert read("left", "left", 3) == ["3", "4", "5"]
    assert read("left", "left", 3) == ["6", "7", "8"]  # it was committed, then
    assert member_reads("left", "left", 2) == ["9", "10"]  # and a member outranks them in turn
    assert read("left", "left", 2) == ["11", "12"]


def test_groups_alone__a_deleted_group_begins_anew():
    produce("gone", 20)
    assert member_reads("gone", "gone", 3) == ["0", "1", "2"]
    NODE.weft("group", "delete", "gone")
    assert read("gone", "gone", 3) == ["0", "1", "2"]
    assert read("gone", "gone", 2) == ["3", "4"]
    NODE.weft("group", "delete", "gone")
    assert read("gone", "gone", 4) == ["0", "1", "2", "3"]


def test_groups_alone__they_are_refused_while_somebody_is_in_the_group():
    produce("live", 20)
    with members() as member:
        one = member(NODE.endpoint, "live", "live")
        own(parts("live", 1), one)
        wait_until(lambda: len(one.values()) == 20, "the member read all of it")
        wait_until(lambda: weft_json("group", "describe", "live", bootstrap=NODE.endpoint)["partitions"][0]["committed"] == 20, "it is committed")
        NODE.weft("produce", "live", input="20\n21\n22\n")
        done = NODE.weft("consume", "live", "--group", "live", "--partition", 0, "--count", 1, status=1)
        assert "not committed: group 'live' has 1 member: weft consume@" in done.stderr, done.stderr
        wait_until(lambda: len(one.values()) == 23, "the member read the rest, undisturbed")
        assert one.leave() == 130
    NODE.weft("produce", "live", input="23\n")
    assert read("live", "live", 1) == ["23"]


if __name__ == "__main__":
    with up() as NODE:
        run(globals())
