# SPDX-License-Identifier: MPL-2.0
"""Members of consumer groups: `weft consume --group` as a process that is killed, stopped and interrupted, and one that speaks by hand."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time

import msgpack

from harness import DEADLINE_S, WEFT, wait_until
from peer import Peer

SESSION = 2  # of those that are to be found dead: short, and long enough for a busy machine
LONG = 60  # of those that leave: what moves sooner did not wait for it


class Member:
    """A `weft consume --group` process: what it printed, and what it said it owns."""

    def __init__(self, bootstrap, group, *topics, session=LONG, origin="earliest", options=(), read=True):
        self.records = []  # (topic, partition, offset, value), in the order printed
        self.said = []  # lines on stderr
        self.owned = set()  # (topic, partition)
        self.at = {}  # where each was taken up last
        self.given = set()  # (topic, partition, offset): all places where it took up one
        self.moves = 0  # what was given and taken, counted
        words = [WEFT, "consume", *topics, "--group", group, "--show-rebalance", "--from", origin, "--format", "%t %p %o %v\\n",
                 "--set", f"session.ms={session}s", *map(str, options)]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, "WEFT_BOOTSTRAP": bootstrap})
        self.threads = [threading.Thread(target=self.hear_errors, daemon=True)] + [threading.Thread(target=self.hear, daemon=True)] * read
        for thread in self.threads:
            thread.start()

    def hear(self):
        for line in self.process.stdout:
            topic, partition, offset, value = line.rstrip("\n").split(" ", 3)
            self.records.append((topic, int(partition), int(offset), value))

    def hear_errors(self):
        for line in self.process.stderr:
            found = re.match(r"weft consume: (assigned|revoked|lost) (\S+)/(\d+)(?: at offset (\d+))?", line)
            if found:
                part = found[2], int(found[3])
                self.moves += 1
                (self.owned.add if found[1] == "assigned" else self.owned.discard)(part)
                if found[1] == "assigned":
                    self.at[part] = int(found[4])
                    self.given.add((*part, int(found[4])))
            self.said.append(line.rstrip("\n"))

    def kill(self):
        self.signal(signal.SIGKILL)
        self.ended()

    def signal(self, number):
        self.process.send_signal(number)

    def leave(self):
        """As Ctrl-C does; the exit status."""
        self.signal(signal.SIGINT)
        return self.ended()

    def ended(self):
        status = self.process.wait(DEADLINE_S)
        for thread in self.threads:
            thread.join(DEADLINE_S)
        return status

    def values(self):
        return [record[3] for record in self.records]


@contextlib.contextmanager
def members():
    """A function that starts a Member; all that still run at the end are killed."""
    started = []

    def start(*arguments, **how):
        started.append(Member(*arguments, **how))
        return started[-1]

    try:
        yield start
    finally:
        for member in started:
            if member.process.poll() is None:
                member.process.kill()
                member.process.wait(DEADLINE_S)


def parts(topic, count):
    return {(topic, number) for number in range(count)}


def own(expected, *several, seconds=None):
    """Waits until these members own that between them, each at least one of its partitions if there are enough; no partition twice."""

    def shared():
        whole = [part for member in several for part in list(member.owned)]
        return sorted(whole) == sorted(expected) and (len(expected) < len(several) or all(member.owned for member in several))

    def is_so():
        for member in several:
            assert member.process.poll() is None, f"a member ended: {member.said}"
        return shared()

    try:
        wait_until(is_so, "", seconds)
    except AssertionError as error:
        raise AssertionError(f"{error} {sorted(expected)} owned by {[sorted(member.owned) for member in several]}; they said {[member.said for member in several]}") from None


def read_all(expected, *several):
    """Waits until these members have printed all these values between them."""
    expected = set(expected)
    try:
        wait_until(lambda: expected <= {value for member in several for value in member.values()}, "")
    except AssertionError:
        missing = expected - {value for member in several for value in member.values()}
        raise AssertionError(f"{len(missing)} of {len(expected)} were not read, as {sorted(missing)[:5]}; they said {[member.said for member in several]}") from None


def jumps(member):
    """Records that neither follow the one before nor stand where the group said it committed: empty, if all is well."""
    found, last = [], {}
    for topic, partition, offset, _ in list(member.records):
        if last.get((topic, partition)) != offset - 1 and (topic, partition, offset) not in member.given:
            found.append((topic, partition, offset))
        last[topic, partition] = offset
    return found


def lines(first, last):
    """Numbered lines with keys, for several partitions; (input of weft produce --key-separator :, the values)."""
    return "".join(f"k{n}:{n}\n" for n in range(first, last)), [str(n) for n in range(first, last)]


def took(begun):
    return time.monotonic() - begun


class Hand:
    """A member that speaks by hand: every field of its heartbeats and commits may be told to lie."""

    def __init__(self, endpoints, group, *topics, **told):
        self.endpoints = endpoints.split(",")
        self.peer, self.group, self.id, self.epoch, self.seen, self.owned, self.n = Peer(self.endpoints[0]), group, os.urandom(16), 0, 0, {}, 0
        self.join = {"topics": list(topics), "client": "hand", "session_ms": 60000, **told}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.peer.socket.close()

    def ask(self, api, **fields):
        """Goes to whoever answers for it; the reply."""
        for turn in range(200):
            self.peer.send(msgpack.packb({"api": api, **fields}))
            reply = (self.peer.receive(3) or (None,))[0]
            if reply and reply.get("name") in ("COORDINATOR_LOADING", "COORDINATOR_UNAVAILABLE", "UNKNOWN_EPOCH", "LEADER_CHANGED", "NOT_ENOUGH_REPLICAS", "STOPPING"):
                time.sleep(0.05)  # allow-sleep: the pace of retries that are counted
            elif reply and reply.get("name") not in ("NOT_LEADER", "NOT_COORDINATOR"):
                return reply
            self.peer.socket.close()
            self.peer = Peer((reply or {}).get("endpoint") or self.endpoints[turn % len(self.endpoints)])
        raise AssertionError(f"nobody answers {api}: {reply}")

    def beat(self, **changes):
        """One heartbeat as it should be, but for the changes."""
        told = self.join if self.epoch == 0 else {}
        fields = {"group": self.group, "member": self.id, "epoch": self.epoch, "seen": self.seen, "revision": self.seen, **told, **changes}
        return self.ask("group_heartbeat", **fields)

    def turn(self):
        """A good heartbeat, and what it brings is taken up."""
        reply = self.beat()
        assert not reply.get("error"), reply
        self.epoch = reply["epoch"]
        if reply.get("assigned"):
            self.owned = {(t["topic_id"], p): token for t in reply.get("assignment") or [] for p, token in zip(t["partitions"], t["tokens"])}
            self.seen = reply["revision"]
        return reply

    def owns(self, count):
        wait_until(lambda: self.turn() and len(self.owned) == count, f"{count} partitions are owned by hand")

    def commit(self, part, offset, **changes):
        self.n += 1
        fields = {"topic_id": part[0], "partition": part[1], "offset": offset, "token": self.owned.get(part, 0)}
        n = changes.pop("n", self.n)
        group = changes.pop("group", self.group)
        return self.ask("commit", group=group, n=n, entries=[{**fields, **changes}])

    def committed(self, part, token=0):
        reply = self.ask("committed", group=self.group, entries=[{"topic_id": part[0], "partition": part[1], "token": token}])
        assert not reply.get("error"), reply
        return reply["offsets"][0]
