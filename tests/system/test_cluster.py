# SPDX-License-Identifier: MPL-2.0
"""scripts/cluster: a cluster of processes, its nodes killed, stopped and started by name."""

import pathlib
import socket
import subprocess
import sys
import tempfile

from harness import ROOT, WEFT, run, wait_until, weft, weft_json


def free_ports(count):
    """A base port with `count` free ones behind it and as many 500 above, as scripts/cluster lays nodes out."""
    for base in range(21000, 29000, 100):
        try:
            for port in [*range(base, base + count), base + 500]:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
    raise AssertionError("no free ports")


def test_cluster__nodes_are_killed_stopped_and_started_by_name():
    with tempfile.TemporaryDirectory() as directory:
        def cluster(*arguments, status=0):
            done = subprocess.run([sys.executable, str(ROOT / "scripts/cluster"), *map(str, arguments), "--dir", directory], capture_output=True, text=True, timeout=90)
            assert done.returncode == status, f"{arguments}: {done.stdout} {done.stderr}"
            return done.stdout

        cluster("up", 3, "--port", free_ports(3), "--build", pathlib.Path(WEFT).parent.parent)
        try:
            endpoints = cluster("endpoints").strip()
            assert endpoints.count(",") == 2
            weft("topic", "create", "events", "--partitions", 6, bootstrap=endpoints)
            leaders = {p["leader"] for p in weft_json("topic", "describe", "events", bootstrap=endpoints)["partitions"]}
            assert leaders == {1, 2, 3}
            keys = "".join(f"k{n}:v{n}\n" for n in range(3000))
            weft("produce", "events", "--key-separator", ":", input=keys, bootstrap=endpoints)
            cluster("kill", "broker-2")
            wait_until(lambda: not weft_json("cluster", "status", bootstrap=endpoints)["healthy"], "the dead broker is told")
            assert "dead" in cluster("status") and "broker 2" in weft("cluster", "status", bootstrap=endpoints).stdout.replace("broker-2", "broker 2")
            cluster("start", "broker-2")
            wait_until(lambda: weft_json("cluster", "status", bootstrap=endpoints)["healthy"], "the broker is back")
            cluster("kill", "coordinator-1")
            weft("produce", "events", "--partition", 0, input="while the coordinator is down\n", bootstrap=endpoints)  # I10
            cluster("start", "coordinator-1")
            wait_until(lambda: weft("cluster", "status", bootstrap=endpoints, status=None).returncode == 0, "the coordinator is back")
            cluster("stop", "broker-3")
            wait_until(lambda: not weft_json("cluster", "status", bootstrap=endpoints)["healthy"], "the stopped broker is fenced")
            cluster("cont", "broker-3")
            wait_until(lambda: weft_json("cluster", "status", bootstrap=endpoints)["healthy"], "the stopped broker is back")
            out = weft("consume", "events", "--from", "earliest", "--exit-at-end", "--format", "%k\\n", bootstrap=endpoints).stdout.split()
            assert sorted(out) == sorted(f"k{n}" for n in range(3000))
            cluster("term", "broker-1")
            cluster("kill", "broker-9", status=2)
        finally:
            cluster("down")


if __name__ == "__main__":
    run(globals())
