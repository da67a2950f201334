# SPDX-License-Identifier: MPL-2.0
"""A compacted topic as people meet it: small in the end, over kill -9 too, and told to every kind of reader."""

import pathlib
import subprocess
import tempfile

from harness import WEFT, run, up, wait_until
from test_attach import python

KEYS = 50


def lines(rounds, begin=0):
    return "".join(f"k{n % KEYS}:round {begin + n // KEYS} of k{n % KEYS}\n" for n in range(rounds * KEYS))


def segments(node):
    logs = pathlib.Path(node.directory, "data").rglob("*/0/*.log")
    return sorted(log for log in logs if "broker" in str(log))


def is_small(node):
    try:
        return sum(log.stat().st_size for log in segments(node)) < 20000
    except FileNotFoundError:  # it is at it
        return False


def consumed(node):
    text = node.weft("consume", "kv", "--from", "earliest", "--exit-at-end", "--format", "%o %k %v\\n").stdout
    return {key: (int(offset), value) for offset, key, value in (line.split(" ", 2) for line in text.splitlines())}, len(text.splitlines())


def create(node):
    node.weft("topic", "create", "kv", "--partitions", 1, "--set", "cleanup.policy=compact", "--set", "segment.bytes=65536")


def test_compact__newest_record_of_each_key_stays_and_every_reader_passes_the_gaps():
    with up("--set", "retention.check.ms=200ms") as node, tempfile.TemporaryDirectory() as directory:
        create(node)
        node.weft("produce", "kv", "--key-separator", ":", input=lines(100))
        wait_until(lambda: is_small(node), "the log to be compacted")
        newest, count = consumed(node)
        assert count == KEYS and set(newest) == {f"k{n}" for n in range(KEYS)}
        assert all(value == f"round 99 of {key}" for key, (_, value) in newest.items()), newest
        assert min(offset for offset, _ in newest.values()) == 99 * KEYS, "offsets are what they were"
        assert node.weft("consume", "kv", "--from", 10, "--exit-at-end").stdout.count("\n") == KEYS
        expected = "".join(f"{offset} {key} {value}\n" for key, (offset, value) in newest.items())
        assert python(directory, "consumer.py", node.endpoint, "kv", 0, KEYS) == expected
        assert python(directory, "segment.py", *segments(node)) == expected
        assert "all checksums right" in node.weft("log", "verify", pathlib.Path(node.directory, "data")).stdout


def test_compact__records_without_a_key_are_refused_with_a_sentence():
    with up() as node:
        create(node)
        refused = node.weft("produce", "kv", input="no key\n", status=1).stderr
        assert "it has no key, which the records of a compacted topic need" in refused, refused


def test_compact__kill_minus_9_meanwhile_loses_no_key():
    with up("--set", "retention.check.ms=100ms") as node:
        create(node)
        for begin in range(0, 250, 50):
            feeder = subprocess.Popen([WEFT, "produce", "kv", "--key-separator", ":", "--bootstrap", node.endpoint], stdin=subprocess.PIPE)
            text = lines(50, begin).encode()
            feeder.stdin.write(text[: len(text) // 2])
            feeder.stdin.flush()
            node.kill()
            node.start()
            feeder.stdin.write(text[len(text) // 2:])
            feeder.stdin.close()
            assert feeder.wait(60) == 0
        wait_until(lambda: is_small(node), "the log to be compacted")
        newest, count = consumed(node)
        assert count == KEYS and all(value == f"round 249 of {key}" for key, (_, value) in newest.items()), newest


if __name__ == "__main__":
    run(globals())
