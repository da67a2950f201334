# SPDX-License-Identifier: MPL-2.0
"""What the tests of topologies share: a running `weft up FILE` in a directory of its own."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile

from harness import DEADLINE_S, ROOT, WEFT, wait_until, weft

READY = ROOT / "topologies"


def on_free_ports(text):
    """A ready topology as it stands, but for its ports: several tests may run on one machine."""
    return re.sub(r"tcp://127\.0\.0\.1:\d+", "tcp://127.0.0.1:*", text)


class Topology:
    """`weft up FILE`: its file, process, what it printed, and how its nodes are."""

    def __init__(self, directory, text, *options):
        self.directory, self.options = pathlib.Path(directory), options
        self.file, self.said = self.directory / "test.conf", self.directory / "said"
        self.ready, self.status_file = self.directory / "ready", self.directory / "status"
        self.file.write_text(text)
        self.process = None

    def launch(self):
        out = open(self.said, "ab")
        self.process = subprocess.Popen([WEFT, "up", str(self.file), "--ready-file", str(self.ready), "--status-file", str(self.status_file), *self.options],
                                        cwd=self.directory, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        return self

    def start(self):
        self.launch()

        def is_ready():
            assert self.process.poll() is None, f"it ended: {self.text()}"
            return self.ready.exists()

        try:
            wait_until(is_ready, "the topology serves", 2 * DEADLINE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.text()}") from None
        return self

    def text(self):
        return self.said.read_text(errors="replace")

    @property
    def endpoints(self):
        return dict(line.split(" ", 1) for line in self.ready.read_text().splitlines()[1:])

    @property
    def bootstrap(self):
        return self.ready.read_text().splitlines()[0]

    def status(self):
        return json.loads(self.status_file.read_text())

    def node(self, name):
        return next(node for node in self.status()["nodes"] if node["name"] == name)

    def names(self):
        return [node["name"] for node in self.status()["nodes"]]

    def weft(self, *arguments, input=None, status=0, bootstrap=None):
        return weft(*arguments, bootstrap=bootstrap or self.bootstrap, input=input, status=status)

    def reload(self, text=None):
        if text is not None:
            self.file.write_text(text)
        self.process.send_signal(signal.SIGHUP)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(2 * DEADLINE_S)


@contextlib.contextmanager
def topology(text, *options, start=True):
    with tempfile.TemporaryDirectory(prefix="weft-topology-") as directory:
        it = Topology(directory, text, *options)
        try:
            yield it.start() if start else it
        finally:
            if it.process and it.process.poll() is None:
                it.process.kill()
                it.process.wait(DEADLINE_S)


def is_alive(pid):
    """A zombie is not: it waits to be reaped by whoever has become its parent."""
    try:
        return " Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
