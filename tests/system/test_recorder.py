# SPDX-License-Identifier: MPL-2.0
"""Recorder and player as processes: killed, cut off from their broker, stopped; and the example of docs/RECORD.md."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading

import zmq

from harness import DEADLINE_S, ROOT, WEFT, free_ports, run, up, wait_until


class Process:
    """`weft TYPE` with these settings, started again at will."""

    def __init__(self, kind, directory, bootstrap, **settings):
        self.kind, self.directory = kind, pathlib.Path(directory)
        self.settings = {"bootstrap": bootstrap, **{key.replace("_", "."): value for key, value in settings.items()}}
        self.process = None

    def start(self):
        ready = self.directory / f"{self.kind}.ready"
        ready.unlink(missing_ok=True)
        trace = open(self.directory / f"{self.kind}.trace", "ab")
        pairs = [word for key, value in self.settings.items() for word in ("--set", f"{key}={value}")]
        self.process = subprocess.Popen([WEFT, self.kind, "--ready-file", str(ready), *pairs], stdout=trace, stderr=trace,
                                        stdin=subprocess.DEVNULL)

        def is_ready():
            assert self.process.poll() is None, f"weft {self.kind} ended: {self.trace()}"
            return ready.exists()

        wait_until(is_ready, f"weft {self.kind} is ready")
        return self

    def trace(self):
        return (self.directory / f"{self.kind}.trace").read_text(errors="replace")

    def memory_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


class Sender(threading.Thread):
    """Pushes messages of two frames, a number and a payload, as fast as they are taken."""

    def __init__(self, endpoint, count, payload=b"x" * 100):
        super().__init__(daemon=True)
        self.endpoint, self.count, self.payload, self.sent = endpoint, count, payload, 0

    def run(self):
        with zmq.Context() as context, context.socket(zmq.PUSH) as push:
            push.sndhwm = 1000
            push.linger = int(DEADLINE_S * 1000)
            push.reconnect_ivl = 50
            push.connect(self.endpoint)
            for number in range(self.count):
                push.send_multipart([b"%d" % number, self.payload])
                self.sent = number + 1


@contextlib.contextmanager
def stage(topic, count, **settings):
    """A node with the topic, a recorder process bound to a fixed port, and a sender to it."""
    with up() as node, tempfile.TemporaryDirectory(prefix="weft-recorder-") as directory:
        node.weft("topic", "create", topic, "--partitions", "1", "--replicas", "1")
        listen = f"tcp://127.0.0.1:{free_ports(1)}"
        recorder = Process("recorder", directory, node.endpoint, topic=topic, listen=listen, key=0, **settings).start()
        try:
            yield node, recorder, Sender(listen, count)
        finally:
            if recorder.process.poll() is None:
                recorder.process.kill()
                recorder.process.wait(DEADLINE_S)


def end_of(node, topic):
    return len(recorded(node, topic))


def recorded(node, topic):
    """(number, missing before it) of each record."""
    text = node.weft("consume", topic, "--from", "earliest", "--exit-at-end", "--format", "%k %h\\n").stdout
    found = []
    for line in text.splitlines():
        number, _, headers = line.partition(" ")
        found.append((int(number), int(headers.split("weft.missing=")[1].split(",")[0]) if "weft.missing" in headers else 0))
    return found


def test_a_recorder_killed_under_load_loses_only_what_is_counted():
    count = 200000
    with stage("killed", count, sequence_frame=0, sequence_format="decimal", hwm=1000) as (node, recorder, sender):
        sender.start()
        for step in (1, 2):
            wait_until(lambda: sender.sent > step * count // 4, "the sender is under way")
            before = recorded(node, "killed")
            recorder.end(signal.SIGKILL)
            recorder.start()
        sender.join(4 * DEADLINE_S)
        assert not sender.is_alive() and sender.sent == count
        found = wait_until(lambda: (records := recorded(node, "killed")) and records[-1][0] == count - 1 and records, "all is recorded")
        assert found[: len(before)] == before, "what was readable is gone"
        expected = 0
        for number, missing in found:
            assert number == expected + missing, f"{number} follows {expected - 1} with {missing} marked as missing"
            expected = number + 1
        lost = sum(missing for _, missing in found)
        assert len(found) + lost == count
        assert lost < count // 4, f"{lost} of {count} are lost"
        print(f"  {lost} of {count} messages were in the dead processes' sockets and buffers, and are marked as missing")
        assert "the sequence has a gap" in recorder.trace() or lost == 0
        assert recorder.end() == 0


def test_a_broker_killed_while_recording_loses_nothing():
    count = 300000
    with stage("cut", count, hwm=1000, producer="buffer.bytes=1MiB") as (node, recorder, sender):
        sender.start()
        for step in (1, 2):
            wait_until(lambda: sender.sent > step * count // 4, "the sender is under way")
            node.kill()
            full = sender.sent

            def stands():
                nonlocal full
                before, full = full, sender.sent
                return before == full or sender.sent == count

            wait_until(stands, "the sender feels it")
            assert recorder.memory_bytes() < 200 << 20, recorder.memory_bytes()
            node.start()
        sender.join(4 * DEADLINE_S)
        assert sender.sent == count
        found = wait_until(lambda: (records := recorded(node, "cut")) and len(records) >= count and records, "all is recorded")
        assert [number for number, _ in found] == list(range(count))
        assert recorder.end() == 0


def test_a_stopped_recorder_has_recorded_what_it_received():
    with stage("stopped", 5000) as (node, recorder, sender):
        sender.start()
        sender.join(DEADLINE_S)
        wait_until(lambda: end_of(node, "stopped") == 5000, "all is recorded")
        assert recorder.end() == 0
        assert "5000 messages received, 5000 recorded, 0 lost" in recorder.trace(), recorder.trace()


def test_a_recording_is_played_to_its_end():
    with stage("played", 1000) as (node, recorder, sender):
        sender.start()
        sender.join(DEADLINE_S)
        wait_until(lambda: end_of(node, "played") == 1000, "all is recorded")
        with zmq.Context() as context, context.socket(zmq.PULL) as pull:
            pull.rcvtimeo = int(DEADLINE_S * 1000)
            port = pull.bind_to_random_port("tcp://127.0.0.1")
            done = node.weft("player", "--set", f"bootstrap={node.endpoint}", "--set", "topic=played", "--set",
                             f"target=tcp://127.0.0.1:{port}", "--set", "speed=max", "--set", "at.end=stop")
            for number in range(1000):
                assert pull.recv_multipart() == [b"%d" % number, sender.payload]
        assert "1000 records sent" in done.stderr, done.stderr


def test_a_tap_that_is_recorded_and_played_gives_the_same_bytes():
    count = 2000
    values = [os.urandom(number * 7 % 300).replace(b"\n", b"-") for number in range(count)]
    port = free_ports(2)
    with up() as node, tempfile.TemporaryDirectory(prefix="weft-recorder-") as directory, zmq.Context() as context, context.socket(zmq.PULL) as pull:
        for topic in ("origin", "copy"):
            node.weft("topic", "create", topic, "--partitions", "1", "--replicas", "1")
        pull.rcvtimeo = int(DEADLINE_S * 1000)
        target = f"tcp://127.0.0.1:{pull.bind_to_random_port('tcp://127.0.0.1')}"
        running = []
        try:
            running.append(Process("tap", directory, node.endpoint, topic="origin", listen=f"tcp://127.0.0.1:{port}", slow="wait",
                                   replay=f"tcp://127.0.0.1:{port + 1}").start())
            running.append(Process("recorder", directory, node.endpoint, topic="copy", socket="sub", source=f"tcp://127.0.0.1:{port}",
                                   sequence_frame=1, sequence_per=0).start())
            running.append(Process("player", directory, node.endpoint, topic="copy", target=target, speed="max").start())
            node.weft("produce", "origin", input=b"".join(value + b"\n" for value in values))
            for number, value in enumerate(values):
                frames = pull.recv_multipart()
                while frames[1] != number.to_bytes(8, "big") and number and frames[1] == (number - 1).to_bytes(8, "big"):
                    frames = pull.recv_multipart()  # the tap repeats the last one before a silence
                assert frames == [b"origin", number.to_bytes(8, "big"), value], (number, frames)
            for process in running[::-1]:
                assert process.end() == 0, process.trace()
            assert "gap" not in running[1].trace()
        finally:
            for process in running:
                if process.process.poll() is None:
                    process.process.kill()
                    process.process.wait(DEADLINE_S)


def test_the_example_of_the_manual_works():
    text = (ROOT / "docs/RECORD.md").read_text()
    blocks = re.findall(r"<!-- example\.(sh|py) -->\n```[a-z]+\n(.*?)```", text, flags=re.S)
    assert len(blocks) == 5, blocks
    port = free_ports(20)
    with tempfile.TemporaryDirectory(prefix="weft-manual-") as directory:
        (pathlib.Path(directory) / "weft").symlink_to(WEFT)
        environment = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}", "WEFT_BOOTSTRAP": f"tcp://127.0.0.1:{port}"}
        answers, processes = [], []
        try:
            for kind, block in blocks:
                # Ports of their own; nodes take their bootstrap from their settings.
                for old, new in ((5555, port + 10), (5556, port + 11)):
                    block = block.replace(f":{old}", f":{new}")
                block = block.replace("weft up", f"weft up --listen tcp://127.0.0.1:{port}")
                block = block.replace("--set topic=prices", f"--set topic=prices --set bootstrap=tcp://127.0.0.1:{port}")
                command = ["bash", "-e", "-c", block] if kind == "sh" else [sys.executable, "-c", block]
                process = subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                           text=True, start_new_session=True)
                processes.append(process)
                assert process.wait(2 * DEADLINE_S) == 0, block
                if "&" not in block:
                    answers.append(process.stdout.read())
        finally:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        assert "weft.missing=1" in answers[1], answers
        assert "the last price was 1.0899" in answers[2], answers


if __name__ == "__main__":
    run(globals())
