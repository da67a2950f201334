# SPDX-License-Identifier: MPL-2.0
"""Ten thousand partitions of three replicas on three brokers: what they cost while nothing happens, and how fast their leaders move."""

import glob
import json
import time

from harness import Load, clusters, run, wait_until

PARTITIONS = 10_000
IDLE_CORE = 0.02  # of a core, per broker: heartbeats, metadata, replication
LOAD_CORE = 0.05  # what is asserted: this machine may be a busy one
WINDOW_S = 10


def pid(cluster, node):
    return int((cluster.directory / f"{node}.pid").read_text().split()[0])


def cpu_ns(cluster, node):
    """Time on a processor of all threads of a node."""
    total = 0
    for path in glob.glob(f"/proc/{pid(cluster, node)}/task/*/schedstat"):
        with open(path, encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total


def descriptors(cluster, node):
    return len(glob.glob(f"/proc/{pid(cluster, node)}/fd/*"))


def used(cluster, nodes, seconds):
    """Share of a core that each node used in a window."""
    before = {node: cpu_ns(cluster, node) for node in nodes}
    begun = time.monotonic()
    time.sleep(seconds)  # allow-sleep: a window of measurement
    took = time.monotonic() - begun
    return {node: (cpu_ns(cluster, node) - before[node]) / 1e9 / took for node in nodes}


def in_sync(cluster):
    """The state that the coordinator holds: cheaper than asking every leader for sizes."""
    return json.loads(cluster.weft("cluster", "status", "--json", status=None).stdout)["healthy"]


def settled_use(cluster, nodes):
    """Once new logs are synced and closed: the least of some windows, for others use this machine too."""
    best = {}
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for node, share in used(cluster, nodes, WINDOW_S).items():
            best[node] = min(share, best.get(node, 1.0))
        if max(best.values()) < IDLE_CORE:
            break
    return best


def pause(cluster, partition, act, most_s):
    """Load on one partition, `act` on its leader; no error, and no longer pause."""
    leader = cluster.partition("many", partition)["leader"]
    load = Load("many", cluster.endpoints, "--partition", partition, rate=200)
    wait_until(lambda: len(load.acks) > 200, "records are acknowledged")
    act(f"broker-{leader}")
    before = len(load.acks)
    wait_until(lambda: len(load.acks) > before + 400, "records are acknowledged again")
    status, said = load.stop()
    assert (status, said) == (0, ""), said
    assert load.gap() < most_s, f"{load.gap():.3f} s without an acknowledgement"
    return leader, load.gap()


def test_many_partitions__cost_little_while_idle_and_move_fast():
    brokers = [f"broker-{n}" for n in (1, 2, 3)]
    coordinators = [f"coordinator-{n}" for n in (1, 2, 3)]
    with clusters() as cluster:
        cluster.up(3)
        cluster.weft("topic", "create", "many", "--partitions", PARTITIONS, "--replicas", 3, "--timeout", "60s")
        wait_until(lambda: in_sync(cluster), "all are in sync", 60)
        cluster.weft("produce", "many", "--key-separator", "\t", input="".join(f"k{n}\tv{n}\n" for n in range(5000)))

        _, gap = pause(cluster, 7, lambda leader: cluster("restart", leader), 1.5)
        print(f"  pause {gap * 1000:.0f} ms by a clean restart", flush=True)
        wait_until(lambda: in_sync(cluster), "it is in sync again", 60)

        best = settled_use(cluster, brokers + coordinators)
        print("  idle: " + ", ".join(f"{node} {share * 100:.2f} %" for node, share in best.items()), flush=True)
        assert max(best.values()) < LOAD_CORE, best
        wait_until(lambda: max(descriptors(cluster, node) for node in brokers) < 200, "idle logs hold no descriptors", 60)

        leader, gap = pause(cluster, 5, lambda leader: cluster("kill", leader), 2.5)
        print(f"  pause {gap * 1000:.0f} ms by kill -9 of the leader of a third of them", flush=True)
        begun = time.monotonic()
        cluster("start", f"broker-{leader}")
        wait_until(lambda: in_sync(cluster), "it is in sync again", 60)
        print(f"  all in sync {time.monotonic() - begun:.2f} s after its start", flush=True)


if __name__ == "__main__":
    run(globals())
