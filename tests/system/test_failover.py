# SPDX-License-Identifier: MPL-2.0
"""What a client notices when a leader is killed, stopped, drained or cut off under load: a pause, and nothing else."""

import json
import os
import subprocess
import threading

from harness import WEFT, Load, clusters, run, wait_until


def settled(cluster, topic, replicas=3):
    wait_until(lambda: all(len(p["isr"]) == replicas and p["leader"] >= 0 for p in cluster.json("topic", "describe", topic)["partitions"]), "all replicas are in sync")


def read_all(cluster, topic):
    out = cluster.weft("consume", topic, "--from", "earliest", "--exit-at-end", "--format", "%o %v\\n").stdout.split("\n")
    return [tuple(map(int, line.split())) for line in out if line]


def everything_once_in_order(cluster, topic, load):
    """Each acknowledged line stands where its acknowledgement said, once, and the lines are in the order they were sent.
    Who still asks a leader of the past is told its end, which is older, but never another record below it."""
    read = read_all(cluster, topic)
    for _ in range(20):
        values = [value for _, value in read]
        assert values == list(range(len(values))), f"first difference at {next(i for i, v in enumerate(values) if i != v)} of {load.sent}"
        if len(read) == load.sent:
            break
        print(f"  read {len(read)} of {load.sent}: the end of a leader of the past")
        read = read_all(cluster, topic)
    assert len(read) == load.sent, f"{len(read)} of {load.sent} read"
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
        cluster.up(3)
        load = fault(cluster, lambda leader: cluster("kill", leader), 2.5)  # 1.5 s where nothing else runs: see docs/PERFORMANCE.md
        everything_once_in_order(cluster, "events", load)


def test_failover__a_stopped_leader_is_left_and_does_no_harm_when_it_wakes_up():
    with clusters() as cluster:
        cluster.up(3)
        stopped = []
        load = fault(cluster, lambda leader: (stopped.append(leader), cluster("stop", leader)), 3.5)
        cluster("cont", stopped[0])
        settled(cluster, "events")
        everything_once_in_order(cluster, "events", load)


def test_failover__a_drain_and_a_clean_restart_cost_next_to_nothing():
    with clusters() as cluster:
        cluster.up(3)
        load = fault(cluster, lambda leader: (cluster.weft("cluster", "drain", leader[7:], "--wait"), cluster("restart", leader)), 0.5)
        everything_once_in_order(cluster, "events", load)


def test_failover__a_rolling_restart_is_not_noticed():
    with clusters() as cluster:
        cluster.up(3)
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
        cluster.up(3)
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
    return [WEFT, "consume", topic, "--from", "earliest", "--bootstrap", cluster.endpoints]


def test_failover__a_killed_coordinator_is_not_noticed_by_producers():
    with clusters() as cluster:
        cluster.up(3)
        office = []
        load = fault(cluster, lambda leader: (office.append(cluster.coordinator()), cluster("kill", office[0])), 1.0)
        everything_once_in_order(cluster, "events", load)
        assert cluster.coordinator() != office[0]
        wait_until(lambda: "2 of 3 coordinators" in cluster.weft("cluster", "status").stdout, "the dead one is missed")
        text = cluster.weft("cluster", "status").stdout
        assert "unreachable" in text and "start it again" in text, text
        cluster("start", office[0])
        wait_until(cluster.is_healthy, "it is back")


def test_failover__the_coordinator_and_the_leader_at_once():
    with clusters() as cluster:
        cluster.up(3)
        load = fault(cluster, lambda leader: cluster("kill", cluster.coordinator(), leader), 6)
        everything_once_in_order(cluster, "events", load)


def test_failover__changes_outlive_the_active_coordinator_and_are_done_once():
    with clusters() as cluster:
        cluster.up(3)
        made, failed, done = [], [], threading.Event()

        def make():
            while not done.is_set():
                name = f"topic-{len(made)}"
                told = cluster.weft("topic", "create", name, "--timeout", "30s", status=None)
                if told.returncode:  # TOPIC_EXISTS would be a change done twice
                    failed.append(told.stderr)
                    return
                made.append(name)

        thread = threading.Thread(target=make)
        thread.start()
        for _ in range(3):
            before = len(made)
            wait_until(lambda: len(made) > before + 5 or failed, "topics are made")
            office = cluster.coordinator()
            cluster("kill", office)
            before = len(made)
            wait_until(lambda: len(made) > before + 3 or failed, "topics are made again")
            cluster("start", office)
            wait_until(cluster.is_healthy, "it is back")
        done.set()
        thread.join(60)
        assert not failed, failed
        assert sorted(topic["topic"] for topic in cluster.json("topic", "list")) == sorted(made)


def test_failover__a_stopped_coordinator_is_passed_over():
    with clusters() as cluster:
        cluster.up(3)
        office = cluster.coordinator()
        cluster("stop", office)
        cluster.weft("topic", "create", "made", "--timeout", "20s")
        assert cluster.coordinator() != office
        cluster("cont", office)
        wait_until(cluster.is_healthy, "it is back")
        assert [topic["topic"] for topic in cluster.json("topic", "list")] == ["made"]


def cut_off(cluster, act):
    cluster.up(3, "--netns")
    load = fault(cluster, act, 6)
    cluster("heal")
    settled(cluster, "events")
    everything_once_in_order(cluster, "events", load)


def test_failover__a_leader_cut_off_from_everybody_is_left():
    if os.geteuid() != 0:
        return  # namespaces need root: see tests/system/test_cluster.py
    with clusters() as cluster:
        cut_off(cluster, lambda leader: cluster("cut", leader))


def test_failover__a_leader_that_only_clients_still_reach_is_left():
    if os.geteuid() != 0:
        return

    def act(leader):
        for node in ("coordinator-1", "coordinator-2", "coordinator-3", *(f"broker-{n}" for n in (1, 2, 3) if leader != f"broker-{n}")):
            cluster("cut", leader, node)

    with clusters() as cluster:
        cut_off(cluster, act)


def test_failover__without_coordinators_brokers_serve_and_status_says_so():
    with clusters() as cluster:
        cluster.up(3)
        one_partition(cluster)
        cluster("kill", "coordinator-1", "coordinator-2", "coordinator-3")
        cluster.weft("produce", "events", input="one\ntwo\n")
        assert cluster.weft("consume", "events", "--exit-at-end").stdout == "one\ntwo\n"
        done = cluster.weft("cluster", "status", "--timeout", "1s", status=1)
        assert "has no active coordinator" in done.stdout and "start the coordinators that are down" in done.stdout, done.stdout
        assert "no active coordinator can be reached" in done.stderr, done.stderr
        assert json.loads(cluster.weft("topic", "list", "--json").stdout)[0]["topic"] == "events"
        cluster("start", "coordinator-1", "coordinator-2", "coordinator-3")
        wait_until(cluster.is_healthy, "all is well again")


if __name__ == "__main__":
    run(globals())
