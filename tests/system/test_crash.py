# SPDX-License-Identifier: MPL-2.0
"""kill -9 in the middle of durable produce runs: every acknowledged record is there once, in order (I1, I3, I9)."""

import collections
import signal
import subprocess

from harness import WEFT, run, up, wait_until

PARTITIONS = 3


def acknowledged(path):
    """(partition, offset) of every whole line that `produce --print-acks` printed."""
    text = path.read_text()
    return [tuple(map(int, line.split())) for line in text[: text.rfind("\n") + 1].splitlines()]


def consumed(node):
    text = node.weft("consume", "events", "--from", "earliest", "--exit-at-end", "--format", "%p %o %v\\n").stdout
    return [(int(p), int(o), int(v)) for p, o, v in (line.split() for line in text.splitlines())]


def check(node, acks, produced):
    records = consumed(node)
    values = collections.Counter(value for _, _, value in records)
    assert not [value for value, count in values.items() if count > 1], "a record was written twice"
    assert set(values) <= set(range(produced)), "a record that nobody sent"
    places = {(p, o) for p, o, _ in records}
    missing = [ack for ack in acks if ack not in places]
    assert not missing, f"{len(missing)} acknowledged records are gone, the first {missing[0]}"
    for partition in range(PARTITIONS):
        offsets = [o for p, o, _ in records if p == partition]
        assert offsets == list(range(len(offsets))), f"offsets of partition {partition} have gaps"
        mine = [v for p, _, v in records if p == partition]
        assert mine == sorted(mine), f"order of partition {partition} is broken"
    return len(records)


def test_crash__producer_goes_on_over_kill_minus_9_and_every_acknowledged_record_is_there_once():
    with up() as node:
        node.weft("topic", "create", "events", "--partitions", PARTITIONS)
        path = node.directory / "acks"
        total = 60000
        lines = "".join(f"{n}\n" for n in range(total))
        with open(path, "wb") as out:
            producer = subprocess.Popen([WEFT, "produce", "events", "--print-acks", "--set", "batch.bytes=4KiB", "--bootstrap", node.endpoint],
                                        stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE)
            feeder = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=producer.stdin)
            half = len(lines) // 2
            feeder.stdin.write(lines[:half].encode())
            feeder.stdin.flush()
            wait_until(lambda: len(acknowledged(path)) > 2000, "the first acknowledgements")
            node.kill()
            node.start()
            feeder.stdin.write(lines[half:].encode())
            feeder.stdin.close()
            feeder.wait(60)
            producer.stdin.close()
            assert producer.wait(120) == 0, producer.stderr.read()
        acks = acknowledged(path)
        assert len(acks) == total
        assert check(node, acks, total) == total


def test_crash__what_a_dead_producer_heard_acknowledged_is_kept_again_and_again():
    with up() as node:
        node.weft("topic", "create", "events", "--partitions", PARTITIONS)
        path, first = node.directory / "acks", 0
        all_acks = []
        for _ in range(4):
            lines = "".join(f"{n}\n" for n in range(first, first + 200000)).encode()
            with open(path, "wb") as out:
                producer = subprocess.Popen([WEFT, "produce", "events", "--print-acks", "--bootstrap", node.endpoint], stdin=subprocess.PIPE, stdout=out,
                                            stderr=subprocess.DEVNULL)
                feeder = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=producer.stdin)
                producer.stdin.close()
                try:
                    feeder.stdin.write(lines[:400000])
                    feeder.stdin.flush()
                    wait_until(lambda: len(acknowledged(path)) > 500, "acknowledgements")
                    node.kill()
                finally:
                    producer.send_signal(signal.SIGKILL)
                    producer.wait(30)
                    feeder.kill()
                    feeder.wait(30)
                    feeder.stdin.close()
            all_acks += acknowledged(path)
            first += 200000
            node.start()
        check(node, all_acks, first)


def test_crash__sigterm_is_a_clean_stop_and_the_next_start_is_quick():
    with up() as node:
        node.weft("topic", "create", "events", "--partitions", PARTITIONS)
        node.weft("produce", "events", "--acks", "leader", input="".join(f"{n}\n" for n in range(50000)))
        assert node.stop() == 0, node.trace()
        node.start()
        assert check(node, [], 50000) == 50000


if __name__ == "__main__":
    run(globals())
