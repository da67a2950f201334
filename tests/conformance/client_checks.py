# SPDX-License-Identifier: MPL-2.0
"""What a client must do: each check starts a scripted server (scripted.py), calls the client's program, and looks at what both were left with.

The program's exit status 77 says that it does not do what this check is about; the check is skipped.
"""

import shutil
import subprocess
import sys

import msgpack

import report
from report import Skipped, registry
from scripted import TOPIC, Server
from wire import LZ4, ZSTD, batch, lz4, record, split, zstd

CHECKS, check = registry()
CLIENT_S = 60
LINES = [b"line %d" % n for n in range(500)]


class World:
    def __init__(self, command):
        self.command, self.said = command, ""

    def attempt(self, server, *arguments, lines=None):
        """What it printed, and its exit status."""
        endpoints = ",".join(server.endpoints)
        try:
            done = subprocess.run([*self.command, arguments[0], endpoints, TOPIC, *map(str, arguments[1:])], capture_output=True, timeout=CLIENT_S,
                                  input=b"".join(line + b"\n" for line in lines or []))
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"the client did not end within {CLIENT_S} s; it said: {(late.stderr or b'')[-300:].decode(errors='replace')}") from None
        if done.returncode == 77:
            raise Skipped(done.stderr.decode(errors="replace").strip() or "the client says that it does not do this")
        assert not server.problems, server.problems[0]
        assert done.returncode >= 0, f"the client died of signal {-done.returncode}"
        self.said = done.stderr.decode(errors="replace").strip()[-300:]
        return done.stdout, done.returncode

    def call(self, server, *arguments, lines=None, expect=0):
        printed, status = self.attempt(server, *arguments, lines=lines)
        if expect == 0:
            assert status == 0, f"the client ended with status {status}: {self.said}"
        else:
            assert status != 0, "the client ended with status 0, as if nothing had happened"
        return printed

    def produce(self, server, lines=LINES, expect=0):
        self.call(server, "produce", lines=lines, expect=expect)

    def consume(self, server, count):
        return self.call(server, "consume", count).splitlines()


class Serving:
    def __enter__(self):
        self.server = Server()
        return self.server

    def __exit__(self, *_):
        self.server.close()


def once_in_order(server, lines):
    """Each line once and in order; without producer ids duplicates are allowed, nothing else."""
    got = server.values()
    if server.sessions:
        assert got == lines, f"{len(got)} records for {len(lines)} lines; the first that differs is number " \
            f"{next((n for n, (a, b) in enumerate(zip(got, lines)) if a != b), min(len(got), len(lines)))}"
    else:
        assert set(got) == set(lines), f"{len(set(lines) - set(got))} lines are missing"


def numbered(server):
    if not server.sessions:
        raise Skipped("the client does not number its batches; what it sends again may stand twice")


# ---- producing


@check("A client that produces")
def lines_become_records(world):
    """In order, in batches whose CRC and counts are right, or as bare records."""
    with Serving() as server:
        world.produce(server)
        once_in_order(server, LINES)


@check("A client that produces")
def keys_that_nobody_knows_are_ignored_in_replies(world):
    with Serving() as server:
        server.strange = True
        world.produce(server)
        once_in_order(server, LINES)


@check("A client that produces")
def the_node_it_knows_need_not_lead(world):
    """The leader is named by metadata, or by NOT_LEADER."""
    with Serving() as server:
        server.leader = 1
        world.produce(server)
        once_in_order(server, LINES)


@check("A client that produces")
def a_leader_that_moves_is_followed(world):
    """NOT_LEADER in the middle names the new one."""
    with Serving() as server:
        def move(_):
            if len(server.produced) == 3:
                server.leader, server.epoch = 1, 2
                return ("NOT_LEADER", {"leader": 2, "endpoint": server.endpoints[1]})
            return None
        server.on_produce = move
        for lines in (LINES[:200], LINES[200:400], LINES[400:]):
            world.produce(server, lines)
        assert server.leader == 1, "three calls made less than three requests"
        once_in_order_calls(server)


def once_in_order_calls(server):
    """Several calls of the client are several producers: each line once, or at least once without ids."""
    got = server.values()
    assert (got == LINES) if server.sessions else (set(got) == set(LINES)), f"{len(got)} records for {len(LINES)} lines"


@check("A client that produces")
def a_leader_that_falls_silent_is_left(world):
    """A dead leader tells nobody: another node's metadata does."""
    with Serving() as server:
        def die(_):
            if not server.dead:
                server.dead.add(0)
                server.leader, server.epoch = 1, 2
                return "silent"
            return None
        server.on_produce = die
        world.produce(server)
        once_in_order(server, LINES)


@check("A client that produces")
def what_may_be_tried_again_is(world):
    """Errors of class retry, also one that may have been applied."""
    for name in ("NOT_ENOUGH_REPLICAS", "DISK_FULL", "BAD_CRC", "TIMED_OUT"):
        with Serving() as server:
            server.on_produce = lambda _, server=server, name=name: (name,) if len(server.produced) <= 2 else None
            world.produce(server)
            once_in_order(server, LINES)


@check("A client that produces")
def retry_ms_is_waited_for(world):
    """OVERLOADED says when to come back."""
    with Serving() as server:
        server.on_produce = lambda _: ("OVERLOADED", {"retry_ms": 800}) if len(server.produced) == 1 else None
        world.produce(server, LINES[:5])
        pause = server.produced[1].at - server.produced[0].at
        assert pause > 0.4, f"asked to come back after 800 ms, it came after {pause * 1000:.0f} ms"
        once_in_order(server, LINES[:5])


@check("A client that produces")
def a_lost_answer_is_asked_for_again(world):
    """The same bytes, the same sequence: the record stands once."""
    with Serving() as server:
        server.on_produce = lambda _: "cut" if len(server.produced) in (1, 3) else None
        world.produce(server)
        numbered(server)
        once_in_order(server, LINES)


@check("A client that produces")
def answers_may_come_in_any_order(world):
    with Serving() as server:
        server.on_produce = lambda _: ("later", 2)
        world.produce(server)
        once_in_order(server, LINES)


@check("A client that produces")
def no_more_than_the_window_is_in_flight(world):
    with Serving() as server:
        server.on_produce = lambda _: ("later", 1000)
        world.produce(server)
        numbered(server)
        assert server.most_waiting <= server.window, f"{server.most_waiting} batches in flight, hello allows {server.window}"


@check("A client that produces")
def a_permanent_refusal_is_told_and_not_repeated(world):
    for name in ("RECORD_TOO_LARGE", "BAD_BATCH", "PRODUCER_FENCED", "FUTURE_ERROR"):
        with Serving() as server:
            server.on_produce = lambda _, name=name: (name,)
            world.produce(server, LINES[:3], expect=1)
            assert len(server.produced) <= 6, f"{name}: sent {len(server.produced)} times"


# ---- consuming


@check("A client that consumes")
def records_become_lines(world):
    with Serving() as server:
        server.fill(LINES)
        assert world.consume(server, 500) == LINES


@check("A client that consumes")
def unknown_keys_and_a_strange_bootstrap_do_not_matter(world):
    with Serving() as server:
        server.strange, server.leader = True, 1
        server.fill(LINES)
        assert world.consume(server, 500) == LINES


@check("A client that consumes")
def what_lies_below_the_offset_is_not_delivered(world):
    """The first batch may begin below it."""
    with Serving() as server:
        server.fill(LINES)
        server.log_start = 13
        assert world.consume(server, 487) == LINES[13:]


@check("A client that consumes")
def compacted_batches_are_understood(world):
    """A number among the records stands for so many gone; a batch may have none left."""
    with Serving() as server:
        server.fill(LINES[:10])
        server.append(batch([], payload=msgpack.packb(3) + record(b"a") + msgpack.packb(1) + record(b"b"), payload_bytes=len(record(b"a")) * 2 + 2,
                            raw_bytes=len(record(b"a")) * 2 + 2, count=2, last_offset_delta=9))
        server.append(batch([], count=0, last_offset_delta=99))
        server.fill(LINES[10:20])
        assert world.consume(server, 22) == LINES[:10] + [b"a", b"b"] + LINES[10:20]
        asked = max(request.fields["offset"] for request in server.fetched)
        assert asked <= server.end, f"asked for offset {asked}, the end is {server.end}: gaps were counted wrongly"


@check("A client that consumes")
def values_come_as_bin_or_str(world):
    """And nil, empty, with headers, with integers of any width."""
    with Serving() as server:
        server.append(batch([msgpack.packb([0, "key", "text", None]), record(b"plain", b"k", ["h", b"v", b"n", None]), b"\x94\xd3" + bytes(8) + b"\xc0\xc6\x00\x00\x00\x04wide\xc0"]))
        assert world.consume(server, 3) == [b"text", b"plain", b"wide"]


@check("A client that consumes")
def a_leader_that_moves_is_followed_by_readers(world):
    with Serving() as server:
        server.fill(LINES)

        def move(request):
            if len(server.fetched) == 3:
                server.leader, server.epoch = 1, 2
                return ("NOT_LEADER", {"leader": 2, "endpoint": server.endpoints[1]})
            return one_batch(server, request)
        server.on_fetch = move
        assert world.consume(server, 500) == LINES


def one_batch(server, request):
    """The bytes of the batch that holds the offset asked for: many small answers."""
    return next((whole for _, end, whole in server.batches if end > request.fields["offset"]), None)


@check("A client that consumes")
def a_silent_leader_is_left_by_readers(world):
    with Serving() as server:
        server.fill(LINES)

        def die(request):
            if len(server.fetched) == 3:
                server.dead.add(0)
                server.leader, server.epoch = 1, 2
                return "silent"
            return one_batch(server, request)
        server.on_fetch = die
        assert world.consume(server, 500) == LINES


@check("A client that consumes")
def retry_errors_are_waited_out(world):
    with Serving() as server:
        server.fill(LINES)
        server.on_fetch = lambda request: ("OVERLOADED", {"retry_ms": 50}) if len(server.fetched) % 3 == 1 and len(server.fetched) < 30 else one_batch(server, request)
        assert world.consume(server, 500) == LINES


@check("A client that consumes")
def empty_answers_are_no_end(world):
    with Serving() as server:
        server.fill(LINES)
        server.on_fetch = lambda request: b"" if len(server.fetched) % 2 else one_batch(server, request)
        assert world.consume(server, 500) == LINES


@check("A client that consumes")
def what_retention_took_is_passed(world):
    """OFFSET_OUT_OF_RANGE: it goes on from the earliest, as it was told to begin there."""
    with Serving() as server:
        server.fill(LINES)

        def trim(request):
            if len(server.fetched) == 3:
                server.log_start = 300
            return one_batch(server, request) if request.fields["offset"] >= server.log_start else None
        server.on_fetch = trim
        assert world.consume(server, 220) == LINES[:20] + LINES[300:]


@check("A client that consumes")
def a_damaged_batch_is_never_delivered(world):
    """Its CRC is wrong. The client ends with an error, or asks again and gets a whole one. One that does not check CRCs says 77."""
    with Serving() as server:
        server.fill(LINES)
        damaged = []

        def damage(request):
            whole = one_batch(server, request)
            if not damaged and request.fields["offset"] >= 100:
                damaged.append(True)
                return whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]
            return whole
        server.on_fetch = damage
        got, status = world.attempt(server, "consume", 500)
        got = got.splitlines()
        assert got == LINES[:len(got)], f"delivered {next((a for a, b in zip(got, LINES) if a != b), b'')!r}"
        assert got == LINES or status, f"ended with status 0 after {len(got)} of 500 records"


def packed(world, codec, pack):
    with Serving() as server:
        for at in range(0, 500, 50):
            records = [record(line) for line in LINES[at:at + 50]]
            try:
                payload = pack(b"".join(records))
            except OSError as error:
                raise Skipped(f"no library to compress with: {error}") from None
            server.append(batch(records, payload=payload, attributes=codec))
        assert len(split(server.batches[0][2])) == 1
        assert world.consume(server, 500) == LINES


@check("A client that consumes")
def lz4_is_inflated(world):
    packed(world, LZ4, lz4)


@check("A client that consumes")
def zstd_is_inflated(world):
    packed(world, ZSTD, zstd)


def run(checks, command, as_json):
    if shutil.which(command[0]) is None:
        print(f"scripts/conformance: '{command[0]}' is no program that can be run", file=sys.stderr)
        return 2
    return report.run(checks, World(command), as_json)
