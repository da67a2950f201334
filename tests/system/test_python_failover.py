# SPDX-License-Identifier: MPL-2.0
"""The Python client on a cluster whose nodes are killed and stopped, and members of a group that are."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

from harness import DEADLINE_S, ROOT, clusters, run, up, wait_until
from python_client import KafkaProducer, TopicPartition, admin_of, fill, make, reader

SESSION_MS = 2000


class Traffic:
    """Numbered records at a steady rate, keys in turn; when and where each was acknowledged."""

    def __init__(self, bootstrap, topic, keys=4, rate=1000, **options):
        self.acks, self.failures, self.sent, self.stopping = {}, [], 0, threading.Event()
        self.times = []
        self.producer = KafkaProducer(bootstrap_servers=bootstrap, **options)
        self.topic, self.keys, self.rate = topic, keys, rate
        self.thread = threading.Thread(target=self.feed, daemon=True)
        self.thread.start()

    def feed(self):
        begun = time.monotonic()
        while not self.stopping.is_set():
            due = int((time.monotonic() - begun) * self.rate)
            while self.sent < due:
                number = self.sent
                self.sent += 1
                future = self.producer.send(self.topic, b"%d" % number, key=b"key %d" % (number % self.keys))
                future.add_callback(self.heard, number).add_errback(self.failures.append)
            self.stopping.wait(0.005)

    def heard(self, number, metadata):
        self.times.append(time.monotonic())
        self.acks[number] = (metadata.partition, metadata.offset)

    def stop(self):
        self.stopping.set()
        self.thread.join(DEADLINE_S)
        self.producer.flush(DEADLINE_S)
        self.producer.close()
        assert not self.failures, self.failures[0]
        assert len(self.acks) == self.sent

    def gap(self):
        return max(later - earlier for earlier, later in zip(self.times, self.times[1:]))


class Reader:
    """A consumer in a thread; all records that it saw."""

    def __init__(self, bootstrap, *topics, **options):
        self.records, self.stopping = [], threading.Event()
        self.consumer = reader(bootstrap, *topics, timeout_ms=100, **options)
        self.thread = threading.Thread(target=self.eat, daemon=True)
        self.thread.start()

    def eat(self):
        while not self.stopping.is_set():
            for record in self.consumer:
                self.records.append((record.partition, record.offset, int(record.value)))

    def stop(self):
        self.stopping.set()
        self.thread.join(DEADLINE_S)
        self.consumer.close()


def each_once_in_order(records, traffic):
    """Each acknowledged record once, where its acknowledgement said; in each partition in the order sent."""
    assert sorted(records) == sorted((*at, number) for number, at in traffic.acks.items())
    for partition in {record[0] for record in records}:
        mine = [record for record in records if record[0] == partition]
        assert [offset for _, offset, _ in mine] == list(range(len(mine)))
        assert [number for _, _, number in mine] == sorted(number for _, _, number in mine)


@contextlib.contextmanager
def three_brokers(partitions=3):
    with clusters() as cluster:
        cluster.up(3)
        make(cluster.endpoints, "events", partitions, 3)
        wait_until(lambda: all(len(p["isr"]) == 3 and p["leader"] >= 0 for p in cluster.json("topic", "describe", "events")["partitions"]), "in sync")
        yield cluster


def under_load(cluster, act, most_s, then=lambda: None, **options):
    """A producer, a reader without and one with a group; what happens to them is a pause and nothing else. `then`, when it is over.
    All that they are told is one node: the leader of the first partition."""
    leader = cluster.partition("events")["leader"]
    bootstrap = next(broker["endpoint"] for broker in cluster.json("cluster", "brokers") if broker["id"] == leader)
    traffic = Traffic(bootstrap, "events", **options)
    readers = Reader(bootstrap, "events"), Reader(bootstrap, "events", group_id="g")
    wait_until(lambda: len(traffic.acks) > 500, "records are acknowledged")
    act(f"broker-{cluster.partition('events')['leader']}")
    before = len(traffic.acks)
    wait_until(lambda: len(traffic.acks) > before + 2000, "records are acknowledged again")
    then()
    before = len(traffic.acks)
    wait_until(lambda: len(traffic.acks) > before + 500, "it goes on")
    traffic.stop()
    for one in readers:
        wait_until(lambda: len(one.records) >= traffic.sent, "all is read")
        one.stop()
        each_once_in_order(one.records, traffic)
    print(f"  pause {traffic.gap() * 1000:.0f} ms, {traffic.sent} records, {traffic.producer.metrics()}", flush=True)
    assert traffic.gap() < most_s
    with admin_of(cluster.endpoints) as admin:
        offsets = admin.list_consumer_group_offsets("g")
        assert sum(at.offset for at in offsets.values()) == traffic.sent, offsets


def test_python_failover__a_killed_leader_costs_a_pause():
    with three_brokers() as cluster:
        under_load(cluster, lambda leader: cluster("kill", leader), 4)


def test_python_failover__a_stopped_leader_does_no_harm_when_it_wakes_up():
    with three_brokers() as cluster:
        stopped = []

        def stop(leader):
            stopped.append(leader)
            cluster("stop", leader)
        under_load(cluster, stop, 5, lambda: cluster("cont", stopped[0]), linger_ms=0)


def test_python_failover__the_coordinators_may_die():
    with three_brokers() as cluster:
        under_load(cluster, lambda leader: cluster("kill", cluster.coordinator()), 2)


def test_python_failover__leader_after_leader_is_restarted_and_each_record_is_written_once():
    with three_brokers(1) as cluster:
        def restarts(_leader):
            for number in (1, 2, 3):
                wait_until(lambda: len(cluster.partition("events")["isr"]) == 3, "all are in sync")
                cluster("kill", f"broker-{number}")
                cluster("start", f"broker-{number}")
        under_load(cluster, restarts, 6, max_in_flight_requests_per_connection=64, batch_size=2000)


# ---- members that are killed

class Member:
    def __init__(self, directory, name, bootstrap):
        self.out, self.err = pathlib.Path(directory, f"{name}.out"), pathlib.Path(directory, f"{name}.err")
        self.process = subprocess.Popen([sys.executable, str(ROOT / "tests/system/python_member.py"), bootstrap, "billing", "orders", str(SESSION_MS)],
                                        stdout=self.out.open("wb"), stderr=self.err.open("wb"), env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})

    def lines(self):
        text = self.out.read_text()
        return [line.split() for line in text[:text.rfind("\n") + 1].splitlines()]

    def records(self):
        return [tuple(map(int, line)) for line in self.lines() if line[0].isdigit()]

    def owned(self):
        owned = set()
        for word, *numbers in (line for line in self.lines() if not line[0].isdigit()):
            (owned.update if word == "assigned" else owned.difference_update)(map(int, numbers))
        return owned

    def end(self, how):
        self.process.send_signal(how)
        return self.process.wait(DEADLINE_S)


@contextlib.contextmanager
def members(bootstrap, *names):
    with tempfile.TemporaryDirectory(prefix="weft-python-") as directory:
        made = []

        def start(name):
            made.append(Member(directory, name, bootstrap))
            return made[-1]
        try:
            yield start
        finally:
            for member in made:
                if member.process.poll() is None:
                    member.process.kill()
                    member.process.wait(DEADLINE_S)


def test_python_failover__members_come_go_and_are_killed_and_each_record_is_worked_on():
    with up() as node, members(node.endpoint) as start, admin_of(node.endpoint) as admin:
        make(node.endpoint, "orders", 6)
        traffic = Traffic(node.endpoint, "orders", keys=24, rate=500)
        ann, bob = start("ann"), start("bob")
        everyone = [ann, bob]
        wait_until(lambda: len(ann.owned()) == len(bob.owned()) == 3 and not ann.owned() & bob.owned(), "each has three")
        wait_until(lambda: ann.records() and bob.records(), "both read")
        ann.process.kill()  # a crash: nothing is said to anybody
        wait_until(lambda: len(bob.owned()) == 6, "bob has all")
        cid = start("cid")
        everyone.append(cid)
        wait_until(lambda: len(cid.owned()) == len(bob.owned()) == 3, "cid has half")
        bob.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: len(cid.owned()) == 6, "cid has all")
        bob.process.send_signal(signal.SIGCONT)  # it hears that it lost everything, and joins again
        wait_until(lambda: any(line[0] == "lost" for line in bob.lines()), "bob is told")
        wait_until(lambda: len(cid.owned()) == len(bob.owned()) == 3, "bob is back")
        begun = time.monotonic()
        assert cid.end(signal.SIGTERM) == 0
        wait_until(lambda: len(bob.owned()) == 6, "bob has all at once")
        assert time.monotonic() - begun < DEADLINE_S
        traffic.stop()
        wanted = {(*at, number) for number, at in traffic.acks.items()}
        wait_until(lambda: wanted <= {record for member in everyone for record in member.records()}, "each is worked on")
        bob.end(signal.SIGTERM)
        seen = [record for member in everyone for record in member.records()]
        assert set(seen) == wanted
        print(f"  {len(wanted)} records, {len(seen) - len(wanted)} of them twice", flush=True)
        offsets = admin.list_consumer_group_offsets("billing")
        assert sum(at.offset for at in offsets.values()) == traffic.sent
        # Who is killed comes back where it committed last.
        assert admin.describe_consumer_groups(["billing"])[0].members == []


def test_python_failover__a_crashed_consumer_resumes_behind_its_last_commit():
    with up() as node, members(node.endpoint) as start, admin_of(node.endpoint) as admin:
        make(node.endpoint, "orders", 1)
        fill(node.endpoint, "orders", [b"%d" % number for number in range(100)])
        at = TopicPartition("orders", 0)
        first = start("first")
        wait_until(lambda: len(first.records()) == 100, "all is read")
        wait_until(lambda: admin.list_consumer_group_offsets("billing").get(at, (0,))[0] >= 99, "it is committed")
        first.process.kill()
        first.process.wait(DEADLINE_S)
        committed = admin.list_consumer_group_offsets("billing")[at].offset
        fill(node.endpoint, "orders", [b"100"])
        second = start("second")
        wait_until(lambda: second.records() and second.records()[-1][1] == 100, "it goes on")
        assert second.records()[0][1] == committed


if __name__ == "__main__":
    run(globals())
