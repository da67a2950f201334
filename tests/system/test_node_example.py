# SPDX-License-Identifier: MPL-2.0
"""The node of examples/node, built as its author would: outside of the tree, against an installed prefix and nothing else."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

import zmq

from harness import DEADLINE_S, ROOT, WEFT, run, up, wait_until, weft, weft_json

BUILD = pathlib.Path(WEFT).parent.parent


def cached(name):
    found = re.search(rf"^{name}(?::[A-Z]+)?=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.MULTILINE)
    return found.group(1) if found else ""


@contextlib.contextmanager
def built():
    """The example's folder, copied away and made; its programs find the installed library."""
    with tempfile.TemporaryDirectory(prefix="weft-example-") as directory:
        prefix, here = pathlib.Path(directory) / "prefix", pathlib.Path(directory) / "node"
        subprocess.run(["cmake", "--install", BUILD / "lib", "--prefix", prefix], check=True, capture_output=True)
        shutil.copytree(ROOT / "examples/node", here)
        pc = next(prefix.rglob("weft.pc"))
        flags = "-O1 -Wall -Wextra -Werror" + (f" -fsanitize={cached('WEFT_SANITIZE')}" if cached("WEFT_SANITIZE") else "")
        environment = dict(os.environ, PKG_CONFIG_PATH=str(pc.parent), CC=cached("CMAKE_C_COMPILER") or "cc", CFLAGS=flags,
                           LD_LIBRARY_PATH=str(pc.parent.parent))
        made = subprocess.run(["make"], cwd=here, env=environment, capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr
        yield here, environment


@contextlib.contextmanager
def node(directory, *arguments):
    """A process of `weft node run`; gives what it said when it served, and itself."""
    process = subprocess.Popen([WEFT, "node", "run", *arguments], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline(), process
    finally:
        process.kill()
        process.communicate()


def test_example__runs_inside_a_program_over_inproc():
    with built() as (here, environment):
        done = subprocess.run(["./with_alarm", "data"], cwd=here, env=environment, capture_output=True, text=True, timeout=4 * DEADLINE_S)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.fullmatch(r"heard: orders silent for \d+ ms\nheard: orders heard again\n", done.stdout), done.stdout


def test_example__runs_as_a_process_of_the_command():
    with built() as (here, _), up() as cluster, zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        file = str(here / "libalarm.so")
        described = weft_json("node", "describe", file)
        assert described["type"] == "alarm" and [o["name"] for o in described["options"]][:3] == ["name", "bootstrap", "topic"], described
        assert [c["name"] for c in described["counters"]] == ["records_read_count", "silences_count"]
        text = weft("node", "describe", file).stdout
        assert "silence.ms  duration  2s" in text and "source-topic" in text and "silences_count" in text, text
        cluster.weft("topic", "create", "orders")
        with node(here, "./libalarm.so", "--set", f"bootstrap={cluster.endpoint}", "--set", "silence.ms=200ms", "--set", "name=alarm-1") as (line, process):
            endpoint = re.fullmatch(r"alarm-1 serves (tcp://127\.0\.0\.1:\d+)\n", line).group(1)
            subscriber.setsockopt(zmq.RCVTIMEO, int(DEADLINE_S * 1000))
            subscriber.subscribe(b"orders")
            subscriber.connect(endpoint)

            def alarmed():  # the subscription takes its time to arrive: what was told before that is not heard
                cluster.weft("produce", "orders", input="one\n")
                return subscriber.poll(1000)

            wait_until(alarmed, "the alarm is heard")
            topic, what = subscriber.recv_multipart()
            assert topic == b"orders" and (what.startswith(b"silent for ") or what == b"heard again"), what
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0, process.stderr.read()


def test_example__waits_for_its_cluster_and_says_so():
    with built() as (here, _):
        with node(here, "./libalarm.so", "--set", "bootstrap=tcp://127.0.0.1:1") as (line, process):
            assert line.startswith("alarm serves tcp://"), line
            assert process.stderr.readline() == "alarm is degraded: topic orders can't be read yet\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE_S) == 0, process.stderr.read()


def test_node__wrong_types_and_files_are_refused_with_a_sentence():
    with tempfile.TemporaryDirectory(prefix="weft-example-") as directory:
        text = pathlib.Path(directory) / "text.so"
        text.write_text("no shared object")
        assert "there is no file './libnone.so'" in weft("node", "run", "./libnone.so", status=1).stderr
        assert "can't be loaded as a shared object" in weft("node", "run", text, status=1).stderr
        assert "can't be loaded as a shared object" in weft("node", "describe", directory + "/", status=1).stderr
        assert "there is no node type 'brokr'; the types are coordinator, broker" in weft("node", "describe", "brokr", status=1).stderr
        libc = next(pathlib.Path("/lib").glob("*/libm.so.6"))
        assert "lacks the symbol weft_node_type_main" in weft("node", "run", libc, status=1).stderr


def test_node__types_are_listed_and_have_their_verb_and_page():
    types = {entry["type"]: entry["doc"] for entry in weft_json("node", "list")}
    assert "broker" in types and "coordinator" in types
    for name, doc in types.items():
        assert doc in weft("node", "list").stdout
        assert f"usage: weft {name} [options]" in weft(name, "--help").stdout
        assert weft("manual", name).stdout.startswith(f".TH weft-{name} 1")
        shown = weft(name, "--show").stdout
        for option in weft_json("node", "describe", name)["options"]:
            assert option["name"] in shown and option["doc"] in shown, option
    assert json.loads(weft("node", "describe", "broker", "--json").stdout)["own_process"] is False


def test_node__a_ready_file_tells_the_endpoint():
    with tempfile.TemporaryDirectory(prefix="weft-example-") as directory:
        ready = pathlib.Path(directory) / "ready"
        process = subprocess.Popen([WEFT, "coordinator", "--set", f"data={directory}/data", "--set", "listen=tcp://127.0.0.1:*", "--ready-file", ready],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            wait_until(ready.exists, "the ready file is written")
            assert process.stdout.readline() == f"coordinator-1 serves {ready.read_text()}"
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
            process.communicate()


if __name__ == "__main__":
    run(globals())
