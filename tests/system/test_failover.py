# SPDX-License-Identifier: MPL-2.0
"""What a client notices when a leader is killed, stopped, drained or cut off under load: a pause, and nothing else."""

import subprocess

from harness import Load, clusters, run, wait_until


def settled(cluster, topic, replicas=3):
    wait_until(lambda: all(len(p["isr"]) == replicas and p["leader"] >= 0 for p in cluster.json("topic", "describe", topic)["partitions"]), "all replicas are in sync")


def everything_once_in_order(cluster, topic, load):
    """Each acknowledged line stands where its acknowledgement said, once, and the lines are in the order they were sent."""
    out = cluster.weft("consume", topic, "--from", "earliest", "--exit-at-end", "--format", "%o %v\\n").stdout.split("\n")
    read = [tuple(map(int, line.split())) for line in out if line]
    values = [value for _, value in read]
    assert values == list(range(load.sent)), f"{len(values)} of {load.sent} read; first difference at {next((i for i, v in enumerate(values) if i != v), len(values))}"
    assert sorted(offset for _, _, offset in load.acks) == [offset for offset, _ in read]


def one_partition(cluster):
    cluster.weft("topic", "create", "events")
    settled(cluster, "events")
    return f"broker-{cluster.partition('events')['leader']}"


def fault(cluster, act, most_s, *options):
    """Load on one partition, `act` on its leader after a while; the pause, checked to be `most_s` at most."""
    leader = one_partition(cluster)
    load = Load("events", cluster.endpoints, *options)
    wait_until(lambda: len(load.acks) > 500, "records are acknowledged")
    act(leader)
    before = len(load.acks)
    wait_until(lambda: len(load.acks) > before + 1500, "records are acknowledged again")
    status, said = load.stop()
    assert status == 0, said
    assert said == "", said
    print(f"  pause {load.gap() * 1000:.0f} ms", flush=True)
    assert load.gap() < most_s, f"{load.gap():.3f} s without an acknowledgement"
    return load


def test_failover__a_killed_leader_costs_a_pause():
    with clusters() as cluster:
        cluster.up(3, "--coordinators", 1)
        load = fault(cluster, lambda leader: cluster("kill", leader), 2.5)  # 1.5 s where nothing else runs: see docs/PERFORMANCE.md
        everything_once_in_order(cluster, "events", load)


def test_failover__a_stopped_leader_is_left_and_does_no_harm_when_it_wakes_up():
    with clusters() as cluster:
        cluster.up(3, "--coordinators", 1)
        stopped = []
        load = fault(cluster, lambda leader: (stopped.append(leader), cluster("stop", leader)), 3.5)
        cluster("cont", stopped[0])
        settled(cluster, "events")
        everything_once_in_order(cluster, "events", load)


def test_failover__a_drain_and_a_clean_restart_cost_next_to_nothing():
    with clusters() as cluster:
        cluster.up(3, "--coordinators", 1)
        load = fault(cluster, lambda leader: (cluster.weft("cluster", "drain", leader[7:], "--wait"), cluster("restart", leader)), 0.5)
        everything_once_in_order(cluster, "events", load)


def test_failover__a_rolling_restart_is_not_noticed():
    with clusters() as cluster:
        cluster.up(3, "--coordinators", 1)
        one_partition(cluster)
        load = Load("events", cluster.endpoints)
        for number in (1, 2, 3):
            cluster("restart", f"broker-{number}")
            wait_until(cluster.is_healthy, "the broker is back")
            settled(cluster, "events")
        status, said = load.stop()
        assert (status, said) == (0, ""), said
        print(f"  pause {load.gap() * 1000:.0f} ms", flush=True)
        everything_once_in_order(cluster, "events", load)


def test_failover__a_consumer_goes_on_at_the_new_leader():
    with clusters() as cluster:
        cluster.up(3, "--coordinators", 1)
        leader = one_partition(cluster)
        load = Load("events", cluster.endpoints)
        wait_until(lambda: len(load.acks) > 200, "records are acknowledged")
        with subprocess.Popen([*reader(cluster, "events")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as consumer:
            assert consumer.stdout.readline() == "0\n"
            cluster("kill", leader)
            before = len(load.acks)
            wait_until(lambda: len(load.acks) > before + 1000, "records are acknowledged again")
            status, said = load.stop()
            assert (status, said) == (0, ""), said
            for number in range(1, load.sent):
                line = consumer.stdout.readline()
                assert line == f"{number}\n", (number, line)
            consumer.terminate()


def reader(cluster, topic):
    from harness import WEFT

    return [WEFT, "consume", topic, "--from", "earliest", "--bootstrap", cluster.endpoints]


if __name__ == "__main__":
    run(globals())
