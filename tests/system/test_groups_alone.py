# SPDX-License-Identifier: MPL-2.0
"""Readers that share a group's offsets without being members of it: each names its partitions."""

from harness import run, up

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


if __name__ == "__main__":
    with up() as NODE:
        run(globals())
