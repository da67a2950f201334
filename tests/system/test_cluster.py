# SPDX-License-Identifier: MPL-2.0
"""scripts/cluster: a cluster of processes, its nodes killed, stopped, started and cut off by name."""

import json
import os
import time

from harness import clusters, run, wait_until, weft


def test_cluster__nodes_are_killed_stopped_and_started_by_name():
    with clusters() as cluster:
        cluster.up(3, "--coordinators", 1)
        endpoints = cluster.endpoints
        assert endpoints.count(",") == 3, endpoints  # the coordinator is the last
        cluster.weft("topic", "create", "events", "--partitions", 6, "--replicas", 1)
        leaders = {p["leader"] for p in cluster.json("topic", "describe", "events")["partitions"]}
        assert leaders == {1, 2, 3}
        keys = "".join(f"k{n}:v{n}\n" for n in range(3000))
        cluster.weft("produce", "events", "--key-separator", ":", input=keys)
        cluster("kill", "broker-2")
        wait_until(lambda: not cluster.json("cluster", "status")["healthy"], "the dead broker is told")
        assert "dead" in cluster("status") and "broker 2" in cluster.weft("cluster", "status").stdout.replace("broker-2", "broker 2")
        cluster("start", "broker-2")
        wait_until(lambda: cluster.json("cluster", "status")["healthy"], "the broker is back")
        cluster("kill", "coordinator-1")
        cluster.weft("produce", "events", "--partition", 0, input="while the coordinator is down\n")  # I10
        cluster("start", "coordinator-1")
        wait_until(lambda: cluster.weft("cluster", "status", status=None).returncode == 0, "the coordinator is back")
        cluster("stop", "broker-3")
        wait_until(lambda: not cluster.json("cluster", "status")["healthy"], "the stopped broker is fenced")
        cluster("cont", "broker-3")
        wait_until(lambda: cluster.json("cluster", "status")["healthy"], "the stopped broker is back")
        out = cluster.weft("consume", "events", "--from", "earliest", "--exit-at-end", "--format", "%k\\n").stdout.split()
        assert sorted(out) == sorted(f"k{n}" for n in range(3000))
        cluster("term", "broker-1")
        cluster("kill", "broker-9", status=2)


def test_cluster__status_tells_what_it_can_when_others_are_down():
    with clusters() as cluster:
        cluster.up(3)
        cluster("kill", "broker-1", "broker-2", "broker-3")
        wait_until(lambda: "0 of 3 brokers alive" in cluster.weft("cluster", "status").stdout, "that no broker is alive is told")
        cluster("kill", "coordinator-1", "coordinator-2")
        done = cluster.weft("cluster", "status", "--timeout", "1s", status=1)
        assert done.stdout.count("does not answer") == 2 and done.stdout.count(" answers\n") == 1, done.stdout
        cluster("kill", "coordinator-3")
        endpoints = cluster.endpoints
        begun = time.monotonic()
        done = weft("cluster", "status", "--timeout", "4s", bootstrap=endpoints, status=1)
        assert "weft up" not in done.stderr and "another bootstrap endpoint" in done.stderr, done.stderr
        assert time.monotonic() - begun < 7.5  # not twice its time


def test_cluster__nodes_are_cut_off_by_name():
    with clusters() as cluster:
        if os.geteuid() != 0:
            assert "needs root" in cluster("up", 2, "--netns", status=1)
            return
        cluster.up(2, "--netns")
        endpoints = cluster.endpoints

        def alive():
            return [broker["id"] for broker in cluster.json("cluster", "brokers") if broker["alive"]]

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
        cluster.up(1)
        assert "share one network" in cluster("cut", "broker-1", status=1)
        assert "broker-1 is running already" in cluster("start", "broker-1", status=1)
        assert "runs in" in cluster("up", 1, status=1)
        assert "takes a node, one of: coordinator-1, broker-1" in cluster("kill", "broker-9", status=2)
        cluster("restart", "broker-1")
        cluster("kill", "broker-1", "coordinator-1")
        assert [row["state"] for row in json.loads(cluster("status", "--json"))] == ["dead", "dead"]


if __name__ == "__main__":
    run(globals())
