# SPDX-License-Identifier: MPL-2.0
"""Subscribers of a tap that know nothing of Weft, only the KV-event convention of vLLM: PUB sends [topic][sequence][payload], a DEALER asks
[][first sequence] and is answered [][sequence][payload] up to sequence -1."""

import contextlib
import pathlib
import signal
import subprocess
import threading
import time

import msgpack
import zmq
from harness import DEADLINE_S, WEFT, free_ports, run, up, wait_until

NODE = None
CONTEXT = zmq.Context()
SANITIZED = b"__asan_init" in pathlib.Path(WEFT).read_bytes() or b"__tsan_init" in pathlib.Path(WEFT).read_bytes()  # keeps what is freed


class Subscriber(threading.Thread):
    """As somebody else would write one from the convention: gaps are filled from the replay socket, what was seen is dropped."""

    def __init__(self, publish, replay, topic, pace_s=0.0, hwm=None, topic_in_replies=False):
        super().__init__(daemon=True)
        self.sub, self.dealer = CONTEXT.socket(zmq.SUB), CONTEXT.socket(zmq.DEALER)
        if hwm:
            self.sub.setsockopt(zmq.RCVHWM, hwm)
            self.sub.setsockopt(zmq.RCVBUF, 4096)
        self.sub.connect(publish)
        self.sub.setsockopt(zmq.SUBSCRIBE, topic.encode())
        self.dealer.connect(replay)
        self.pace_s, self.frames = pace_s, 4 if topic_in_replies else 3
        self.last, self.events, self.gaps, self.backwards, self.stopping, self.failure = -1, [], 0, 0, threading.Event(), None

    def take(self, sequence, payload):
        self.events.append(msgpack.unpackb(payload))
        self.last = sequence

    def fill(self, first):
        """Asks for what is missing; asks again when the answer does not come to its end (the publisher may be away)."""
        self.gaps += 1
        self.dealer.send_multipart([b"", first.to_bytes(8, "big")])
        while self.dealer.poll(1000):
            frames = self.dealer.recv_multipart()
            assert len(frames) == self.frames, frames
            sequence = int.from_bytes(frames[-2], "big", signed=True)
            if sequence == -1:
                return
            if sequence > self.last:
                assert sequence == self.last + 1, f"the replay jumps from {self.last} to {sequence}"
                self.take(sequence, frames[-1])

    def run(self):
        try:
            lived = -1
            while not self.stopping.is_set():
                if not self.sub.poll(50):
                    continue
                _topic, sequence, payload = self.sub.recv_multipart()
                sequence = int.from_bytes(sequence, "big")
                self.backwards += sequence < lived
                lived = sequence
                while sequence > self.last + 1:
                    self.fill(self.last + 1)
                if sequence > self.last:
                    self.take(sequence, payload)
                if self.pace_s:
                    time.sleep(self.pace_s)  # allow-sleep: a subscriber that is slow
        except Exception as failure:  # noqa: BLE001, told by check
            self.failure = failure

    def check(self, count):
        """Waits for all events; each is there once, in order."""
        wait_until(lambda: self.failure or len(self.events) >= count, f"{count} events", 4 * DEADLINE_S)
        self.stopping.set()
        self.join()
        if self.failure:
            raise self.failure
        numbers = [int(event["number"]) for event in self.events]
        assert numbers == list(range(count)), f"{len(numbers)} events of {count}"
        assert not self.backwards, f"{self.backwards} times a sequence went back"
        self.sub.close(0)
        self.dealer.close(0)


class Asker(threading.Thread):
    """As vLLM's example: a REQ socket that takes one reply a request, given up and made anew when none comes."""

    def __init__(self, publish, replay, topic):
        super().__init__(daemon=True)
        self.publish, self.replay, self.topic = publish, replay, topic
        self.events, self.requests, self.stopping, self.failure = [], 0, threading.Event(), None

    def ask(self, first):
        with CONTEXT.socket(zmq.REQ) as replay:
            replay.setsockopt(zmq.LINGER, 0)
            replay.connect(self.replay)
            while not self.stopping.is_set():
                replay.send(first.to_bytes(8, "big"))
                self.requests += 1
                if not replay.poll(1000):
                    return first
                number, payload = replay.recv_multipart()
                if not payload:
                    assert number == b"\xff" * 8, number
                    return first
                assert int.from_bytes(number, "big") == first, (number, first)
                self.events.append(msgpack.unpackb(payload))
                first += 1
        return first

    def run(self):
        try:
            with CONTEXT.socket(zmq.SUB) as sub:
                sub.connect(self.publish)
                sub.setsockopt(zmq.SUBSCRIBE, self.topic.encode())
                while not self.stopping.is_set():
                    if not sub.poll(50):
                        continue
                    _topic, sequence, payload = sub.recv_multipart()
                    sequence = int.from_bytes(sequence, "big")
                    while len(self.events) < sequence and not self.stopping.is_set():
                        self.ask(len(self.events))
                    if sequence == len(self.events):
                        self.events.append(msgpack.unpackb(payload))
        except Exception as failure:  # noqa: BLE001, told by check
            self.failure = failure

    def check(self, count):
        wait_until(lambda: self.failure or len(self.events) >= count, f"{count} events, not {len(self.events)}", 4 * DEADLINE_S)
        self.stopping.set()
        self.join()
        if self.failure:
            raise self.failure
        assert [int(event["number"]) for event in self.events] == list(range(count))


class Tap:
    """`weft tap` as a process, on the same ports at every start."""

    def __init__(self, topic, *settings):
        port = free_ports(2)
        self.publish, self.replay = f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port + 1}"
        self.arguments = [WEFT, "tap"]
        for setting in (f"bootstrap={NODE.endpoint}", f"topic={topic}", f"listen={self.publish}", f"replay={self.replay}", *settings):
            self.arguments += ["--set", setting]
        self.trace = open(pathlib.Path(NODE.directory) / f"tap-{topic}", "ab")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.arguments, stdout=self.trace, stderr=self.trace, stdin=subprocess.DEVNULL)

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def memory_bytes(self):
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@contextlib.contextmanager
def tap(topic, *settings):
    one = Tap(topic, *settings)
    one.start()
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.kill()


class Load(threading.Thread):
    """Numbered events, msgpack maps without a newline in them, through `weft produce`; a few a millisecond."""

    def __init__(self, topic, count, padding=0, burst=20, pace_s=0.002):
        super().__init__(daemon=True)
        self.count, self.padding, self.burst, self.pace_s = count, padding, burst, pace_s
        self.process = subprocess.Popen([WEFT, "produce", topic, "--bootstrap", NODE.endpoint], stdin=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.start()

    def run(self):
        for first in range(0, self.count, self.burst):
            events = ({"number": f"{number:08}", "pad": "x" * self.padding} for number in range(first, min(first + self.burst, self.count)))
            self.process.stdin.write(b"".join(msgpack.packb(event) + b"\n" for event in events))
            self.process.stdin.flush()
            if self.pace_s:
                time.sleep(self.pace_s)  # allow-sleep: the pace of the load
        self.process.stdin.close()

    def done(self):
        self.join(4 * DEADLINE_S)
        assert self.process.wait(4 * DEADLINE_S) == 0, self.process.stderr.read()


def create(topic):
    NODE.weft("topic", "create", topic, "--partitions", 1)


def test_tap__a_subscriber_of_the_convention_gets_every_event_over_kills_under_load():
    create("kills")
    with tap("kills") as one:
        subscribers = [Subscriber(one.publish, one.replay, "kills") for _ in range(2)]
        for subscriber in subscribers:
            subscriber.start()
        load = Load("kills", 40000)
        for seen in (3000, 12000, 20000):
            wait_until(lambda: len(subscribers[0].events) > seen, f"more than {seen} events")
            one.kill()
            have = len(subscribers[0].events)
            one.start()
            wait_until(lambda: len(subscribers[0].events) > have + 500, "events after the restart")
        load.done()
        for subscriber in subscribers:
            subscriber.check(40000)
        assert sum(subscriber.gaps for subscriber in subscribers) > 0, "the kills were not seen at all"


def test_tap__a_subscriber_with_a_req_socket_gets_every_event_over_kills_under_load():
    create("asked")
    with tap("asked") as one:
        asker, other = Asker(one.publish, one.replay, "asked"), Subscriber(one.publish, one.replay, "asked")
        asker.start()
        other.start()
        load = Load("asked", 6000)
        for seen in (500, 2500):
            wait_until(lambda: len(other.events) > seen, f"more than {seen} events")
            one.kill()
            one.start()
        load.done()
        other.check(6000)
        asker.check(6000)
        assert asker.requests > 0, "the kills were not seen at all"


def test_tap__replays_from_anywhere_end():
    create("anywhere")
    with tap("anywhere") as one, CONTEXT.socket(zmq.DEALER) as dealer, CONTEXT.socket(zmq.XSUB) as everything:
        dealer.connect(one.replay)
        everything.connect(one.publish)

        def replay(first):
            dealer.send_multipart([b"", first.to_bytes(8, "big")])
            numbers = []
            while True:
                assert dealer.poll(DEADLINE_S * 1000), f"no end of a replay from {first}: {numbers}"
                empty, number, _payload = dealer.recv_multipart()
                assert empty == b""
                if number == b"\xff" * 8:
                    return numbers
                numbers.append(int.from_bytes(number, "big"))

        strange = (1, 7, 10**6, 2**63 - 1, 2**63, 2**64 - 1)
        assert [replay(first) for first in (0, *strange)] == [[]] * 7, "an empty topic"
        NODE.weft("produce", "anywhere", input="".join(f"{number}\n" for number in range(5)))
        assert replay(0) == list(range(5)) and replay(4) == [4], "before anybody subscribes"
        everything.send(b"\x01any")  # a prefix
        assert everything.poll(DEADLINE_S * 1000) and everything.recv_multipart() == [b"anywhere", bytes(8), b"0"]
        wait_until(lambda: replay(0) == list(range(5)), "all is published")
        assert [replay(first) for first in strange] == [[1, 2, 3, 4]] + [[]] * 5


def test_tap__what_came_while_the_tap_was_away_is_found_although_nothing_follows():
    create("tail")
    with tap("tail", "announce.ms=100", "replay.topic=true") as one:
        subscriber = Subscriber(one.publish, one.replay, "tail", topic_in_replies=True)
        subscriber.start()
        Load("tail", 100).done()
        wait_until(lambda: len(subscriber.events) == 100, "the first events")
        assert one.kill(signal.SIGTERM) == 0
        create("other")
        NODE.weft("produce", "tail", input=b"".join(msgpack.packb({"number": f"{number:08}"}) + b"\n" for number in range(100, 300)))
        one.start()
        subscriber.check(300)


def test_tap__a_slow_subscriber_hinders_nobody_costs_little_and_fills_its_gaps():
    create("slow")
    count, padding = 60000, 1000
    with tap("slow", "subscriber.bytes=1MiB", "replay.bytes=256KiB") as one:
        fast = Subscriber(one.publish, one.replay, "slow")
        slow = [Subscriber(one.publish, one.replay, "slow", hwm=10) for _ in range(3)]
        deaf = CONTEXT.socket(zmq.SUB)  # never reads at all
        deaf.setsockopt(zmq.RCVHWM, 1)
        deaf.connect(one.publish)
        deaf.setsockopt(zmq.SUBSCRIBE, b"")
        fast.start()
        Load("slow", 100, padding).done()
        wait_until(lambda: len(fast.events) == 100, "the first events")
        before = one.memory_bytes()
        for subscriber in slow:
            subscriber.pace_s = 0.0005
            subscriber.start()
        lines = b"".join(msgpack.packb({"number": f"{number:08}", "pad": "x" * padding}) + b"\n" for number in range(100, count))
        NODE.weft("produce", "slow", input=lines)
        wait_until(lambda: len(fast.events) == count, "all events for the fast one", 4 * DEADLINE_S)
        grown = one.memory_bytes() - before
        assert SANITIZED or grown < 48 * 1024 * 1024, f"{grown} bytes more"
        for subscriber in slow:
            subscriber.pace_s = 0
            subscriber.check(count)
        fast.check(count)
        assert all(subscriber.gaps for subscriber in slow), "nobody was slow"
        deaf.close(0)


def test_tap__records_of_all_sizes_reach_everybody_beside_one_that_never_reads():
    create("sizes")

    def produce(first, count, padding):
        NODE.weft("produce", "sizes", input=b"".join(msgpack.packb({"number": f"{number:08}", "pad": "x" * padding}) + b"\n" for number in range(first, first + count)))
        return first + count

    with tap("sizes", "subscriber.bytes=4MiB") as one:
        fast, deaf = Subscriber(one.publish, one.replay, "sizes"), CONTEXT.socket(zmq.SUB)
        deaf.setsockopt(zmq.RCVHWM, 1)
        deaf.connect(one.publish)
        deaf.setsockopt(zmq.SUBSCRIBE, b"")
        fast.start()
        count = produce(0, 1777, 10)
        wait_until(lambda: len(fast.events) == count, "the first events")
        before = one.memory_bytes()
        for _ in range(4):
            for size, padding in ((30, 100000), (1000, 10), (100, 200000), (300, 5000)):
                count = produce(count, size, padding)
                wait_until(lambda: len(fast.events) == count, f"{count} events", 2 * DEADLINE_S)
        grown = one.memory_bytes() - before
        assert SANITIZED or grown < 64 * 1024 * 1024, f"{grown} bytes more"
        fast.check(count)
        deaf.close(0)


def test_tap__slow_wait_waits_for_large_records_in_bounded_memory():
    create("waits")
    with tap("waits", "subscriber.bytes=2MiB", "slow=wait") as one:
        slow = Subscriber(one.publish, one.replay, "waits", hwm=10)
        slow.pace_s = 0.001
        slow.start()
        before = one.memory_bytes()
        NODE.weft("produce", "waits", input=b"".join(msgpack.packb({"number": f"{number:08}", "pad": "x" * 100000}) + b"\n" for number in range(600)))
        wait_until(lambda: len(slow.events) > 300, "half of the events")
        grown = one.memory_bytes() - before
        assert SANITIZED or grown < 64 * 1024 * 1024, f"{grown} bytes more"
        slow.check(600)
        assert slow.gaps <= 1, f"{slow.gaps} gaps"  # one: what came before it subscribed


def test_tap__it_waits_for_its_cluster_and_goes_on_after_the_cluster_was_away():
    create("away")
    with tap("away") as one:
        subscriber = Subscriber(one.publish, one.replay, "away")
        subscriber.start()
        Load("away", 200).done()
        wait_until(lambda: len(subscriber.events) == 200, "the first events")
        NODE.kill()
        one.kill()
        one.start()
        NODE.start()
        NODE.weft("produce", "away", input=b"".join(msgpack.packb({"number": f"{number:08}"}) + b"\n" for number in range(200, 500)))
        subscriber.check(500)


if __name__ == "__main__":
    with up() as NODE:
        run(globals())
