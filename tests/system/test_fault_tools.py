# SPDX-License-Identifier: MPL-2.0
"""The tools of the fault tests, tested: a judge that passes everything proves nothing, nor does a fault that does not happen."""

import errno
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fault"))

import clients
import netns
import nodes
import power
import shim
from harness import WEFT, run, wait_until
from proxy import Proxy

TOOLS = nodes.Tools(pathlib.Path(WEFT).parent.parent)

# ---- the shim and the power failure


class Machine:
    """A directory under the shim, and programs that write there."""

    def __init__(self, directory):
        self.data, side = pathlib.Path(directory).resolve() / "data", pathlib.Path(directory) / "side"
        self.data.mkdir()
        side.mkdir()
        self.shim = shim.Shim(TOOLS.shim, self.data, side)
        self.disk = power.Disk(self.shim.journal)

    PREFACE = """
import os, sys
os.chdir(sys.argv[1])
def sync_names(path="."):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
def create(name):
    return os.open(name, os.O_RDWR | os.O_CREAT)
"""

    def run(self, program):
        done = subprocess.run([sys.executable, "-c", self.PREFACE + program, str(self.data)], env=shim.environment_with(self.shim.environment()), capture_output=True,
                              text=True, timeout=60)
        self.disk.read()
        return done

    def names(self):
        return sorted(str(path.relative_to(self.data)) for path in self.data.rglob("*") if path.is_file())


def machine(test):
    def with_machine():
        with tempfile.TemporaryDirectory(prefix="weft-fault-") as directory:
            test(Machine(directory))

    with_machine.__name__ = test.__name__
    return with_machine


@machine
def test_shim__power_failure_takes_back_what_was_not_synced(m):
    done = m.run("""
a = create("a"); os.pwrite(a, b"A" * 3000, 0); os.fdatasync(a); sync_names()
os.pwrite(a, b"B" * 3000, 3000); os.pwrite(a, b"C" * 100, 50); os.ftruncate(a, 2000)
b = create("b"); os.pwrite(b, b"b" * 10, 0); os.fdatasync(b)
os.rename("b", "a2"); os.unlink("a")
os.mkdir("d"); os.close(create("d/x"))
os.kill(os.getpid(), 9)
""")
    assert done.returncode == -9 and m.names() == ["a2", "d/x"], (done, m.names())
    undone = m.disk.fail(m.data, random.Random(1), "all")
    assert undone["names_undone"] == 5, undone
    assert m.names() == ["a"] and (m.data / "a").read_bytes() == b"A" * 3000


@machine
def test_shim__what_was_synced_stays_whatever_the_seed(m):
    program = """
a = create("a"); b = create("b.tmp"); sync_names()
for n in range(20):
    os.pwrite(a, bytes([65 + n]) * 700, n * 700)
    if n == 9: os.fdatasync(a)
os.pwrite(b, b"new" * 500, 0); os.fsync(b); os.rename("b.tmp", "b"); sync_names()
os.kill(os.getpid(), 9)
"""
    synced = b"".join(bytes([65 + n]) * 700 for n in range(10))
    outcomes = set()
    for seed in range(25):
        for path in m.data.iterdir():
            path.unlink()
        m.run(program)
        m.disk.fail(m.data, random.Random(seed))
        content = (m.data / "a").read_bytes()
        assert content[: len(synced)] == synced, seed
        assert (m.data / "b").read_bytes() == b"new" * 500, seed
        outcomes.add(content)
    assert len(outcomes) > 8, "a power failure should leave many different disks"


@machine
def test_shim__a_failed_sync_loses_its_pages_even_if_the_next_one_succeeds(m):
    m.shim.fail("sync", nth=2)
    done = m.run("""
a = create("a"); sync_names(); os.pwrite(a, b"A" * 1000, 0); os.fsync(a)
os.pwrite(a, b"B" * 1000, 1000)
try: os.fsync(a)
except OSError as error: print(error.errno)
os.fsync(a)
""")
    assert done.stdout.split() == [str(errno.EIO)], done
    m.disk.fail(m.data, random.Random(1), "all")
    assert (m.data / "a").read_bytes() == b"A" * 1000 + bytes(1000)


@machine
def test_shim__unsynced_bytes_of_a_killed_process_stay_in_the_books(m):
    m.run('a = create("a"); sync_names(); os.pwrite(a, b"A" * 1000, 0); os.kill(os.getpid(), 9)')
    m.run('a = create("a"); os.pwrite(a, b"B" * 1000, 1000)')
    assert (m.data / "a").stat().st_size == 2000
    m.disk.fail(m.data, random.Random(1), "all")
    assert (m.data / "a").stat().st_size == 0


@machine
def test_shim__calls_fail_at_the_nth_for_the_file_that_was_meant(m):
    m.shim.fail("write", errno.ENOSPC, nth=3, match="index")
    done = m.run("""
a, b = create("log"), create("index")
for n in range(4):
    os.pwrite(a, b"x", n)
    try: os.pwrite(b, b"x", n)
    except OSError as error: print(n, error.errno)
""")
    assert done.stdout.split() == ["2", str(errno.ENOSPC)], done
    m.shim.clear()
    m.shim.short(nth=1)
    assert m.run('print(os.pwrite(create("c"), b"x" * 100, 0))').stdout.split() == ["50"]
    m.shim.clear()
    m.shim.die("rename", after=True)
    assert m.run('os.rename("c", "d"); print("alive")').returncode == -9 and "d" in m.names()


@machine
def test_shim__a_disk_is_full_when_its_room_is_used_up(m):
    m.shim.room(1500)
    done = m.run("""
a = create("a")
print(os.pwrite(a, b"x" * 1000, 0), os.pwrite(a, b"x" * 1000, 0), os.pwrite(a, b"x" * 1000, 1000), os.statvfs(".").f_bavail)
try: os.pwrite(a, b"x", 1500)
except OSError as error: print(error.errno)
""")
    assert done.stdout.split() == ["1000", "1000", "500", "0", str(errno.ENOSPC)], done


@machine
def test_shim__calls_take_longer_or_hang_until_told_otherwise(m):
    m.shim.hang("sync")
    process = subprocess.Popen([sys.executable, "-c", m.PREFACE + 'a = create("a"); os.fsync(a)', str(m.data)], env=shim.environment_with(m.shim.environment()))
    wait_until(lambda: m.shim.hits() == 1, "the sync hangs")
    assert process.poll() is None
    m.shim.clear()
    assert process.wait(10) == 0
    m.shim.delay("write", 200)
    started = time.monotonic()
    m.run('os.pwrite(create("a"), b"x", 0)')
    assert time.monotonic() - started >= 0.2


@machine
def test_shim__the_wall_clock_jumps_and_the_monotonic_one_does_not(m):
    m.shim.clock(-3600000)
    done = m.run("import time; print(int(time.time()), int(time.monotonic()))")
    wall, monotonic = map(int, done.stdout.split())
    assert abs(time.time() - 3600 - wall) < 5 and abs(time.monotonic() - monotonic) < 5


# ---- the proxy


class Echo:
    """A server that sends back what it gets."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def serve(connection):
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass
        connection.close()


def through(endpoint):
    host, port = endpoint.removeprefix("tcp://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def echo(connection, data=b"x", timeout=10.0):
    """Seconds until all came back; None if it did not."""
    started = time.monotonic()
    connection.settimeout(timeout)
    try:
        connection.sendall(data)
        got = 0
        while got < len(data):
            more = connection.recv(65536)
            if not more:
                return None
            got += len(more)
    except TimeoutError:
        return None
    return time.monotonic() - started


def test_proxy__passes_on_delays_slows_cuts_and_heals():
    server, proxy = Echo(), Proxy(TOOLS.proxy)
    try:
        connection = through(proxy.link("a", server.endpoint))
        assert echo(connection, b"x" * 3000000) < 5
        proxy.delay("a", 80, 20, "down")
        assert 0.08 <= echo(connection) < 1
        proxy.heal("a")
        assert echo(connection) < 0.08
        proxy.rate("a", 100000, "up")
        assert echo(connection, b"x" * 30000) >= 0.15
        proxy.heal("a")
        for way in ("up", "down", "both"):
            proxy.cut("a", way)
            assert echo(connection, timeout=0.2) is None, way
            proxy.heal("a")
            connection.settimeout(10)
            assert connection.recv(1) == b"x", "what was held back arrives"
        proxy.reset("a")
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            pass
        assert echo(through(proxy.link("b", server.endpoint))) is not None
    finally:
        proxy.close()


def test_proxy__half_open_talks_into_the_void():
    server, proxy = Echo(), Proxy(TOOLS.proxy)
    try:
        connection = through(proxy.link("a", server.endpoint))
        assert echo(connection) is not None
        proxy.half("a")
        assert echo(connection, timeout=0.2) is None
        connection.sendall(b"y" * 1000)  # nobody tells it
        proxy.heal("a")
        assert echo(connection, timeout=0.2) is None, "a half-open connection stays so"
    finally:
        proxy.close()


# ---- namespaces


def test_netns__cuts_one_way_and_leaves_nothing():
    reason = netns.why_not()
    if reason:
        print(f"skipped test_netns__cuts_one_way_and_leaves_nothing: {reason}")
        return
    net = netns.Net()
    try:
        a, b = net.host("a"), net.host("b")
        listener = "import socket,sys\ns=socket.create_server(('0.0.0.0',7000))\nwhile True:\n c,_=s.accept()\n c.sendall(b'hello')\n c.close()"
        server = subprocess.Popen(net.command("b", [sys.executable, "-c", listener]))
        dial = f"import socket\nc=socket.create_connection(('{b}',7000),timeout=0.5)\nassert c.recv(9)==b'hello'"

        def reaches():
            return subprocess.run(net.command("a", [sys.executable, "-c", dial]), capture_output=True).returncode == 0

        try:
            wait_until(reaches, "a reaches b")
            assert through(f"tcp://{b}:7000").recv(9) == b"hello", "the test itself reaches b"
            for sender, receiver in (("a", "b"), ("b", "a")):
                net.cut(sender, receiver)
                assert not reaches(), f"{sender} to {receiver} is cut"
                net.heal()
                assert reaches()
            net.rate("b", 1000)
            assert reaches()
        finally:
            server.kill()
            server.wait()
    finally:
        net.close()
    left = netns.ip("netns", "list").stdout + netns.ip("link").stdout
    assert f"{netns.PREFIX}-{os.getpid()}" not in left and net.leg not in left, left


# ---- the judge

HEADS = {"producer": 0, "consumer": 1, "final": 2}
MS = 1000000


class History:
    """Histories written by hand: a good one, in which each test breaks one thing."""

    def __init__(self):
        self.events = {("producer", 1): [], ("producer", 2): [], ("consumer", 50): [], ("final", 99): []}
        self.clock = 1000 * MS
        for n in range(10):  # two producers in turn, one partition
            client, sequence = 1 + n % 2, n // 2
            self.add("producer", client, clients.SEND, ident=client << 40 | sequence)
            self.add("producer", client, clients.ACK, ident=client << 40 | sequence, offset=n)
            for reader in (("consumer", 50), ("final", 99)):
                self.add(*reader, clients.READ, ident=client << 40 | sequence, offset=n, epoch=1 + n // 5)

    def add(self, kind, client, event, how=0, partition=0, ident=0, offset=0, epoch=0, error=0):
        self.clock += MS
        self.events[kind, client].append([event, how, 0, partition, self.clock, ident, offset, epoch, error])

    def judged(self):
        with tempfile.TemporaryDirectory(prefix="weft-fault-") as directory:
            for (kind, client), events in self.events.items():
                head = b"WEFTHIS1" + client.to_bytes(4, "little") + HEADS[kind].to_bytes(4, "little")
                (pathlib.Path(directory) / f"{kind}-{client}.history").write_bytes(head + b"".join(clients.EVENT.pack(*event) for event in events))
            return clients.judge(type("C", (), {"tools": TOOLS}), directory)


def broken(history, *findings):
    found = {name: each["count"] for name, each in history.judged()["found"].items() if each["count"]}
    assert set(findings) <= set(found), f"expected {findings}, found {found}"


def test_history__a_good_one_passes_and_is_counted():
    judged = History().judged()
    assert not any(each["count"] for each in judged["found"].values()), judged
    assert (judged["sent"], judged["acked"], judged["read"], judged["final"]) == (10, 10, 10, 10)


def test_history__every_oracle_has_one_that_fails():
    h = History()
    h.events["final", 99].pop()
    broken(h, "missing", "vanished")  # O1, O4
    h = History()
    h.events["final", 99][4][5] = 1 << 40 | 77
    broken(h, "missing", "two_values", "invented")  # O2
    h = History()
    h.events["consumer", 50][4][5] = 2 << 40 | 4
    broken(h, "two_values")
    h = History()
    h.add("final", 99, clients.READ, ident=1 << 40 | 4, offset=10, epoch=2)
    broken(h, "duplicate", "order")  # O3
    h = History()
    final = h.events["final", 99]
    final[0][5], final[2][5] = final[2][5], final[0][5]
    broken(h, "order")
    h = History()
    del h.events["consumer", 50][3]
    broken(h, "read_gap")  # O4
    h = History()
    h.events["consumer", 50].append(h.events["consumer", 50][2])
    broken(h, "step_back")
    h = History()
    h.add("consumer", 50, 5, how=3, ident=9, offset=8)
    broken(h, "diverged")
    h = History()
    del h.events["final", 99][3]
    broken(h, "log_gap")
    h = History()
    h.events["final", 99][9][7] = 1
    broken(h, "epoch_back", "epoch_differs")  # O5
    h = History()
    h.add("producer", 1, 3, how=0, ident=1 << 40 | 0)
    broken(h, "denied")  # I7
    h = History()
    h.events["consumer", 50][9][0] = 6
    broken(h, "bad_bytes")


def test_history__unknown_ones_may_be_there_and_pauses_are_measured():
    h = History()
    h.events["producer", 1][-1][:2] = [clients.FAIL, 1]
    h.events["producer", 2][-1][4] += 700 * MS
    judged = h.judged()
    assert not any(each["count"] for each in judged["found"].values()), judged
    assert (judged["unknown"], judged["unknown_present"]) == (1, 1) and judged["gap_ms"] >= 700


if __name__ == "__main__":
    run(globals())
