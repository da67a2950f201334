# SPDX-License-Identifier: MPL-2.0
"""scripts/cluster: a cluster of processes, its nodes killed, stopped, started and cut off by name."""

import contextlib
import json
import os
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
            for port in [*range(base, base + count), *range(base + 500, base + 505)]:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
    raise AssertionError("no free ports")


@contextlib.contextmanager
def clusters():
    """A function that runs scripts/cluster in a directory of its own, and a clean end."""
    with tempfile.TemporaryDirectory(prefix="weft-cluster-") as directory:
        def cluster(*arguments, status=0):
            done = subprocess.run([sys.executable, str(ROOT / "scripts/cluster"), *map(str, arguments), "--dir", directory], capture_output=True, text=True, timeout=90)
            assert done.returncode == status, f"{arguments}: {done.stdout} {done.stderr}"
            return done.stdout if status == 0 else done.stderr

        try:
            yield cluster
        finally:
            if (pathlib.Path(directory) / "cluster.json").exists():
                cluster("down")


BUILD = ("--build", pathlib.Path(WEFT).parent.parent)


def test_cluster__nodes_are_killed_stopped_and_started_by_name():
    with clusters() as cluster:
        cluster("up", 3, "--coordinators", 1, "--port", free_ports(3), *BUILD)
        endpoints = cluster("endpoints").strip()
        assert endpoints.count(",") == 2
        weft("topic", "create", "events", "--partitions", 6, "--replicas", 1, bootstrap=endpoints)
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


def test_cluster__nodes_are_cut_off_by_name():
    with clusters() as cluster:
        if os.geteuid() != 0:
            assert "needs root" in cluster("up", 2, "--netns", *BUILD, status=1)
            return
        cluster("up", 2, "--netns", *BUILD)
        endpoints = cluster("endpoints").strip()

        def alive():
            return [broker["id"] for broker in weft_json("cluster", "brokers", bootstrap=endpoints) if broker["alive"]]

        assert alive() == [1, 2]
        cluster("cut", "broker-2")
        wait_until(lambda: alive() == [1], "the broker that is cut off is fenced")
        rows = {row["node"]: row["cut"] for row in json.loads(cluster("status", "--json"))}
        assert rows == {"coordinator-1": "broker-2", "broker-1": "broker-2", "broker-2": "from all"}, rows
        cluster("heal", "broker-2")
        wait_until(lambda: alive() == [1, 2], "the broker is back")
        cluster("cut", "broker-1", "coordinator-1", "--from")  # its heartbeats are lost, clients still reach it
        wait_until(lambda: alive() == [2], "the broker that is not heard is fenced")
        assert "to coordinator-1" in cluster("status")
        assert weft("node", "status", "--endpoint", endpoints.split(",")[0]).stdout.startswith("broker-1 is")
        cluster("heal")
        wait_until(lambda: alive() == [1, 2], "all is well")
        assert "is no node" in cluster("cut", "broker-7", status=2)


def test_cluster__what_can_not_be_is_refused_with_a_sentence():
    with clusters() as cluster:
        assert "there is no cluster in" in cluster("status", status=1)
        assert "takes the number of brokers" in cluster("up", "many", status=2)
        assert "1 to 64" in cluster("up", 65, status=2)
        assert "--coordinators is 1 to 5" in cluster("up", 3, "--coordinators", 6, status=2)
        assert "more than the 500 ports" in cluster("up", 64, "--set", "shards=8", status=2)
        cluster("up", 1, "--port", free_ports(1), *BUILD)
        assert "share one network" in cluster("cut", "broker-1", status=1)
        assert "broker-1 is running already" in cluster("start", "broker-1", status=1)
        assert "runs in" in cluster("up", 1, *BUILD, status=1)
        assert "takes a node, one of: coordinator-1, broker-1" in cluster("kill", "broker-9", status=2)
        cluster("restart", "broker-1")
        cluster("kill", "broker-1", "coordinator-1")
        assert [row["state"] for row in json.loads(cluster("status", "--json"))] == ["dead", "dead"]


if __name__ == "__main__":
    run(globals())
