# SPDX-License-Identifier: MPL-2.0
"""The weft command at the ends of pipes: readers that leave, disks that are full, clusters that go away, signals."""

import os
import signal
import subprocess
import tempfile

from harness import WEFT, DEADLINE_S, run, up, wait_until, weft, weft_json

READER_LEFT = 141
INTERRUPTED = 130


def start(node, *arguments, **how):
    environment = dict(os.environ, WEFT_BOOTSTRAP=node.endpoint)
    return subprocess.Popen([WEFT, *map(str, arguments)], env=environment, stderr=subprocess.PIPE, **how)


def finish(process, seconds=DEADLINE_S):
    """Status and standard error of a process that is about to end; its input and output stay as they are."""
    with process.stderr:
        said = process.stderr.read().decode()
    return process.wait(seconds), said


def test_cli__a_reader_that_leaves_ends_it_quietly():
    with up() as node:
        node.weft("topic", "create", "orders")
        node.weft("produce", "orders", input="".join(f"{i}\n" for i in range(200000)))
        for arguments in (("consume", "orders", "--from", "earliest"), ("consume", "orders", "--exit-at-end", "--json"),
                          ("log", "dump", "--records", node.directory / "data")):
            process = start(node, *arguments, stdout=subprocess.PIPE)
            process.stdout.readline()
            process.stdout.close()
            assert finish(process) == (READER_LEFT, ""), arguments


def test_cli__a_reader_that_leaves_an_idle_topic_is_noticed():
    with up() as node:
        node.weft("topic", "create", "orders")
        node.weft("produce", "orders", input="one\n")
        process = start(node, "consume", "orders", "--from", "earliest", stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"one\n"
        process.stdout.close()  # nothing more is ever written
        assert finish(process) == (READER_LEFT, "")


def test_cli__output_that_can_not_be_written_is_said():
    with up() as node, open("/dev/full", "wb") as full:
        node.weft("topic", "create", "orders")
        node.weft("produce", "orders", input="one\n")
        for arguments in (("topic", "list"), ("topic", "list", "--json"), ("consume", "orders", "--exit-at-end"), ("consume", "orders", "--from", "earliest"), ("help",)):
            status, said = finish(start(node, *arguments, stdout=full))
            assert status == 1 and said == "weft: standard output can't be written: No space left on device\n", (arguments, status, said)


def test_cli__consume_ends_by_a_signal():
    with up() as node:
        node.weft("topic", "create", "orders")
        node.weft("produce", "orders", input="one\n")
        for number in (signal.SIGINT, signal.SIGTERM):
            process = start(node, "consume", "orders", "--from", "earliest", stdout=subprocess.PIPE)
            assert process.stdout.readline() == b"one\n"
            process.send_signal(number)
            assert finish(process) == (INTERRUPTED, "")
            process.stdout.close()


def test_cli__consume_says_what_it_waits_for():
    with up() as node:
        node.weft("topic", "create", "orders")
        node.weft("produce", "orders", input="one\n")
        process = start(node, "consume", "orders", "--from", "earliest", stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"one\n"
        node.kill()
        said = process.stderr.readline().decode()
        assert "orders/0 can't be read" in said and "trying on" in said, said
        node.start()
        said = process.stderr.readline().decode()
        assert "can be read again" in said, said
        process.send_signal(signal.SIGINT)
        assert finish(process) == (INTERRUPTED, "")
        process.stdout.close()


def test_cli__produce_without_its_cluster_says_so_and_ends_by_a_signal():
    with up() as node:
        node.weft("topic", "create", "orders")
        # More than its buffer holds: it waits for room when the signal comes.
        process = start(node, "produce", "orders", "--print-acks", "--set", "buffer.bytes=65536", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdin.write(b"first\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"0 0\n"
        node.kill()
        process.stdin.write(b"".join(b"%060d\n" % i for i in range(1700)))  # the rest fits in the pipe
        process.stdin.flush()
        said = process.stderr.readline().decode()
        assert "nothing was acknowledged for 5 s" in said and "delivery.timeout.ms" in said, said
        process.send_signal(signal.SIGINT)
        status, said = finish(process)
        assert status == 1 and "were not acknowledged" in said, (status, said)
        process.stdin.close()
        process.stdout.close()


def test_cli__produce_tells_what_was_not_delivered_in_time():
    with up() as node:
        node.weft("topic", "create", "orders")
        process = start(node, "produce", "orders", "--print-acks", "--set", "delivery.timeout.ms=1s", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdin.write(b"first\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"0 0\n"
        node.kill()
        process.stdin.write(b"second\n")
        process.stdin.close()
        status, said = finish(process)
        assert status == 1 and "1 of 2 records were not acknowledged" in said, (status, said)
        process.stdout.close()


def test_cli__an_interrupted_bench_leaves_nothing_behind():
    with up() as node, tempfile.TemporaryDirectory() as directory:
        # limit unlinks its file at once, and is not asked to end: whatever signal ends it leaves nothing
        for arguments, status in ((("consume", "--count", 10**9), INTERRUPTED), (("produce", "--seconds", 600), INTERRUPTED),
                                  (("latency", "--seconds", 600, "--rate", 2), INTERRUPTED),
                                  (("produce", "--embedded", "--seconds", 600, "--dir", directory), INTERRUPTED),
                                  (("limit", "--seconds", 600, "--dir", directory), -signal.SIGINT)):
            process = start(node, "bench", *arguments, stdout=subprocess.PIPE)
            made = (lambda: os.listdir(directory)) if "--embedded" in arguments else (lambda: weft_json("topic", "list", bootstrap=node.endpoint))
            if arguments[0] == "limit":
                made = lambda: os.path.exists(f"/proc/{process.pid}/task") and len(os.listdir(f"/proc/{process.pid}/task")) > 3
            wait_until(made, "the bench runs")
            process.send_signal(signal.SIGINT)
            got, said = finish(process)
            assert got == status and process.stdout.read() == b"", (arguments, got, said)
            process.stdout.close()
            assert weft_json("topic", "list", bootstrap=node.endpoint) == [] and os.listdir(directory) == [], arguments


def test_cli__too_many_options_are_refused():
    for arguments in (("version", *["-h"] * 5000), ("consume", "orders", *["--set", "reset=latest"] * 300)):
        done = weft(*arguments, bootstrap="tcp://127.0.0.1:1", status=2)
        assert "more than 256 options were given" in done.stderr, done.stderr


def test_cli__a_topic_that_is_deleted_is_not_called_read_to_its_end():
    with up() as node:
        node.weft("topic", "create", "orders")
        node.weft("produce", "orders", input="one\n")
        process = start(node, "consume", "orders", "--count", 2, "--from", "earliest", "--set", "metadata.ms=1s", stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"one\n"
        node.weft("topic", "delete", "orders")
        status, said = finish(process)
        assert status == 1 and "orders/0 at offset 1: the topic was deleted" in said, (status, said)
        process.stdout.close()


if __name__ == "__main__":
    run(globals())
