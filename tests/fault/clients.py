# SPDX-License-Identifier: MPL-2.0
"""Producers and consumers under load (workload.c) and the verdict over what they saw (history.c), by oracle."""

import json
import pathlib
import signal
import struct
import subprocess
import threading

import nodes

EVENT = struct.Struct("<BBHiqQqii")
SEND, ACK, FAIL, READ = 1, 2, 3, 4
ORACLES = {
    "O1 acknowledged records are there": ["missing"],
    "O2 one offset, one value": ["two_values", "log_gap", "invented", "bad_bytes"],
    "O3 no duplicates, order kept": ["duplicate", "order"],
    "O4 consumers: no gap, no step back, nothing vanishes": ["read_gap", "step_back", "vanished", "diverged"],
    "O5 epochs grow": ["epoch_back", "epoch_differs"],
    "I7 what was refused is not there": ["denied"],
}


class Workload:
    """One workload process."""

    def __init__(self, cluster, mode, topic, directory, count=1, first=0, host=None, **options):
        directory.mkdir(parents=True, exist_ok=True)
        settings = options.pop("settings", {})
        command = [str(cluster.tools.workload), mode, str(directory), topic] + ([] if mode == "read" else [str(count)]) + ["--first", str(first)]
        for key, value in options.items():
            command += [f"--{key}", str(value)]
        for key, value in {"bootstrap": cluster.bootstrap, **settings}.items():
            command += ["--set", f"{key}={value}"]
        if cluster.net and host:
            command = cluster.net.command(host, command)
        self.errors = directory / f"{mode}-{first}.stderr"
        self.sent = self.acked = self.failed = self.read = 0
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        cluster.processes.append(self.process)
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        for line in self.process.stdout:
            words = line.split()
            if len(words) == 5 and words[0] == "status":
                self.sent, self.acked, self.failed, self.read = map(int, words[1:])

    def finish(self, seconds=120):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds=120):
        code = self.process.wait(seconds)
        self.thread.join(10)
        self.process.stdout.close()
        assert code == 0, f"the workload ended with {code}: {self.errors.read_text()[-2000:]}"
        return self

    def wait_acked(self, more=1, seconds=30):
        """So many more records were acknowledged than now."""
        target = self.acked + more
        return nodes.wait_until(lambda: self.acked >= target or self.process.poll() is not None and self.acked >= target, f"{more} more acknowledgements", seconds, pace=0.01)

    def wait_read(self, more=1, seconds=30):
        target = self.read + more
        return nodes.wait_until(lambda: self.read >= target, f"{more} more records read", seconds, pace=0.01)


def judge(cluster, directory):
    """What weft_fault_history finds."""
    done = subprocess.run([str(cluster.tools.history), str(directory)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def verdicts(found):
    """{oracle: list of findings}, empty lists where it holds."""
    return {oracle: [f"{name}: {found['found'][name]['count']}, as {found['found'][name]['examples'][0]}" for name in names if found["found"][name]["count"]]
            for oracle, names in ORACLES.items()}


def read_final(cluster, topic, directory, seconds=60, host=None, read="committed"):
    Workload(cluster, "read", topic, pathlib.Path(directory), first=9000 % 4096, seconds=seconds, host=host,
             settings={"reset": "earliest", "read": read, "request.timeout.ms": "2s"}).wait(seconds + 30)


def events(path):
    """(type, how, partition, time_ns, id, offset, epoch, error) of a history file."""
    data = pathlib.Path(path).read_bytes()[16:]
    for kind, how, _, partition, time_ns, ident, offset, epoch, error in EVENT.iter_unpack(data[: len(data) // EVENT.size * EVENT.size]):
        yield kind, how, partition, time_ns, ident, offset, epoch, error


def ack_times(directory, partition=None):
    """Sorted times of acknowledgements, of one partition or all."""
    return sorted(time_ns for path in pathlib.Path(directory).glob("producer-*.history") for kind, _, p, time_ns, _, _, _, _ in events(path)
                  if kind == ACK and partition in (None, p))


def gap_around(times, moment_ns, after_ns=None):
    """The longest pause between neighbouring acknowledgements that touches the time from moment to after (or end): in ms."""
    worst = 0
    for a, b in zip(times, times[1:]):
        if b >= moment_ns and (after_ns is None or a <= after_ns):
            worst = max(worst, b - a)
    return worst / 1e6
