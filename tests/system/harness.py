# SPDX-License-Identifier: MPL-2.0
"""What the system tests share: a temporary directory, a running `weft up`, commands, waiting for conditions.

Run by CTest with WEFT_CLI (the built command) and WEFT_ROOT (the source tree) set.
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

WEFT = os.environ["WEFT_CLI"]
ROOT = pathlib.Path(os.environ["WEFT_ROOT"])
DEADLINE_S = float(os.environ.get("WEFT_TEST_DEADLINE_S", "30"))


def wait_until(condition, what, seconds=None):
    """Waits for condition() to be true; fails with `what` when time is over. A command in it that fails is tried again:
    a node may not have heard yet of what another one was told."""
    deadline = time.monotonic() + (seconds or DEADLINE_S)
    why = ""
    while time.monotonic() < deadline:
        try:
            result = condition()
        except AssertionError as error:
            result, why = None, f" ({error})"
        if result:
            return result
        time.sleep(0.01)  # allow-sleep: the pace of a wait with a deadline
    raise AssertionError(f"did not happen in time: {what}{why}")


def free_ports(count):
    """The first of `count` ports in a row that nobody has: below those that the kernel gives out, so that it stays so over a restart."""
    for _ in range(1000):
        first = random.randrange(12000, 30000)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError(f"no {count} free ports in a row")


class Up:
    """A `weft up` process on free ports, the same ones at every start, its data in `directory`."""

    def __init__(self, directory, *options):
        self.directory = pathlib.Path(directory)
        self.options = list(map(str, options))
        self.process = None
        self.endpoint = None
        self.listen = f"tcp://127.0.0.1:{free_ports(12)}"

    def start(self):
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        trace = open(self.directory / "trace", "ab")
        self.process = subprocess.Popen(
            [WEFT, "up", "--data", str(self.directory / "data"), "--listen", self.listen, "--ready-file", str(ready), *self.options],
            stdout=trace, stderr=trace, stdin=subprocess.DEVNULL)

        def is_ready():
            assert self.process.poll() is None, f"weft up ended: {self.trace()}"
            return ready.exists() and ready.read_text().strip()

        self.endpoint = wait_until(is_ready, "weft up is ready").splitlines()[0]
        return self

    def trace(self):
        return (self.directory / "trace").read_text(errors="replace")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE_S)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def weft(self, *arguments, input=None, status=0):
        return weft(*arguments, bootstrap=self.endpoint, input=input, status=status)


def weft(*arguments, bootstrap=None, input=None, status=0):
    """Runs the command; checks its exit status; returns the finished process with text output."""
    environment = dict(os.environ)
    if bootstrap:
        environment["WEFT_BOOTSTRAP"] = bootstrap
    done = subprocess.run([WEFT, *map(str, arguments)], input=input, capture_output=True, env=environment, timeout=4 * DEADLINE_S,
                          text=not isinstance(input, bytes))
    assert status is None or done.returncode == status, f"weft {' '.join(map(str, arguments))}: status {done.returncode}, not {status}: {done.stdout!r} {done.stderr!r}"
    return done


def weft_json(*arguments, bootstrap=None):
    return json.loads(weft(*arguments, "--json", bootstrap=bootstrap).stdout)


@contextlib.contextmanager
def up(*options):
    """A running node in a directory that goes away with it."""
    with tempfile.TemporaryDirectory(prefix="weft-system-") as directory:
        node = Up(directory, *options).start()
        try:
            yield node
        finally:
            if node.process.poll() is None:
                node.process.kill()
                node.process.wait(DEADLINE_S)


def cluster_ports(count):
    """A base port with `count` free ones behind it and as many 500 above, as scripts/cluster lays nodes out."""
    for _ in range(1000):
        base = random.randrange(12000, 29000)
        with contextlib.ExitStack() as stack:
            try:
                for port in [*range(base, base + count), *range(base + 500, base + 505)]:
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise AssertionError("no free ports")


class Cluster:
    """scripts/cluster in a directory of its own: cluster("kill", "broker-2"), cluster.endpoints."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    def __call__(self, *arguments, status=0):
        done = subprocess.run([sys.executable, str(ROOT / "scripts/cluster"), *map(str, arguments), "--dir", str(self.directory)],
                              capture_output=True, text=True, timeout=4 * DEADLINE_S)
        assert status is None or done.returncode == status, f"{arguments}: {done.stdout} {done.stderr}"
        return done.stdout if status == 0 else done.stderr

    def up(self, brokers, *options):
        self("up", brokers, "--port", cluster_ports(brokers), "--build", pathlib.Path(WEFT).parent.parent, *options)
        return self

    @property
    def endpoints(self):
        return self("endpoints").strip()

    def weft(self, *arguments, input=None, status=0):
        return weft(*arguments, bootstrap=self.endpoints, input=input, status=status)

    def json(self, *arguments):
        return weft_json(*arguments, bootstrap=self.endpoints)

    def is_healthy(self):
        done = self.weft("cluster", "status", "--json", "--timeout", "2s", status=None)
        return done.returncode == 0 and json.loads(done.stdout)["healthy"]

    def partition(self, topic, number=0):
        return self.json("topic", "describe", topic)["partitions"][number]

    def coordinator(self):
        """The name of the active one."""
        voters = self.json("cluster", "voters")
        return next((f"coordinator-{voter['id']}" for voter in voters if voter["active"]), "coordinator-1")


@contextlib.contextmanager
def clusters():
    """A Cluster that is not up yet; whatever runs in it at the end is stopped."""
    with tempfile.TemporaryDirectory(prefix="weft-cluster-") as directory:
        cluster = Cluster(directory)
        try:
            yield cluster
        finally:
            if (pathlib.Path(directory) / "cluster.json").exists():
                cluster("down")


class Load:
    """Numbered lines at a steady rate into `weft produce --print-acks`; when each was acknowledged, and where."""

    def __init__(self, topic, bootstrap, *options, rate=1000):
        self.rate, self.stopping, self.sent, self.acks = rate, threading.Event(), 0, []
        self.process = subprocess.Popen([WEFT, "produce", topic, "--print-acks", "--bootstrap", bootstrap, *map(str, options)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.threads = [threading.Thread(target=self.feed, daemon=True), threading.Thread(target=self.hear, daemon=True)]
        for thread in self.threads:
            thread.start()

    def feed(self):
        begun = time.monotonic()
        while not self.stopping.is_set():
            due = int((time.monotonic() - begun) * self.rate)
            if due > self.sent:
                self.process.stdin.write("".join(f"{number}\n" for number in range(self.sent, due)))
                self.process.stdin.flush()
                self.sent = due
            self.stopping.wait(0.002)
        self.process.stdin.close()

    def hear(self):
        for line in self.process.stdout:
            self.acks.append((time.monotonic(), *map(int, line.split())))

    def stop(self):
        """Ends the input and waits for all answers; (exit status, what was said on stderr)."""
        self.stopping.set()
        status = self.process.wait(4 * DEADLINE_S)
        for thread in self.threads:
            thread.join(DEADLINE_S)
        return status, self.process.stderr.read()

    def gap(self):
        """The longest time without an acknowledgement, in seconds."""
        times = [ack[0] for ack in self.acks]
        return max(later - earlier for earlier, later in zip(times, times[1:]))


def run(tests):
    """Runs the functions named test_* of a module; prints one line each; the first failure ends the run."""
    names = [name for name in tests if name.startswith("test_")]
    for name in names:
        started = time.monotonic()
        tests[name]()
        print(f"ok {name} ({time.monotonic() - started:.2f} s)", flush=True)
    print(f"{len(names)} passed, 0 failed")
