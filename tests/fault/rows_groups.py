# SPDX-License-Identifier: MPL-2.0
"""Row D13 of the fault matrix: consumer groups whose members die, stall and come in crowds, while coordinators and brokers die."""

from group_clients import Group, acked
from rows_data import cluster_of, row
from runs import Load, revive


def stall(run, group):
    """A member stands still past its session, and then goes on with what it had."""
    member = run.rng.choice(group.members())
    run.fault("stop member", member.name)
    member.stop()
    run.pause(group.session_s + 0.5, group.session_s + 2.5)
    member.cont()


def kill_member(run, group):
    member = run.rng.choice(group.members())
    run.fault("kill member", member.name)
    member.kill()
    group.join()


def storm(run, group, crowd):
    """Many join within a moment, and go again: some say so, some are killed; all while offsets are committed."""
    run.fault("storm", f"{crowd} members join and go")
    joined = []
    for _ in range(crowd):
        joined.append(group.join())
        run.pause(0, 0.08)
    run.pause(0.5, 2)
    run.rng.shuffle(joined)
    for member in joined:
        if run.rng.random() < 0.15:
            member.kill()
        else:
            member.leave()
        run.pause(0, 0.08)
    for member in joined:
        member.joined()


def kill_node(run, cluster, node):
    if node is None or not node.running():
        run.pause(0.1)
        return
    run.fault("kill", node.name)
    node.kill()
    run.pause(0.3, 2)
    node.start()


@row("D13", "consumer groups: members stall, die, come in crowds; the coordinator and the offsets' leader are killed", 60)
def d13(run):
    crowd = 30 if run.seconds >= 20 else 8  # briefly: where CI has two cores for everything
    with cluster_of(run) as cluster:
        load = Load(run, cluster, consumers=0)
        stormy = Group(run, cluster, "stormy", "faults")
        calm = Group(run, cluster, "calm", "faults", session_s=60)  # nobody touches its members: nothing of this may be seen there
        for group in (stormy, stormy, stormy, calm, calm):
            group.join()
        faults = [lambda: storm(run, stormy, crowd), lambda: kill_node(run, cluster, cluster.active()), lambda: stall(run, stormy), lambda: kill_member(run, stormy),
                  lambda: kill_node(run, cluster, cluster.leader("__offsets", run.rng.randrange(16))), lambda: kill_node(run, cluster, cluster.leader("faults", run.rng.randrange(6)))]
        turn = 0
        while run.left() > 0 or turn < 3:
            faults[turn if turn < 3 else run.rng.randrange(len(faults))]()
            turn += 1
            load.producers.wait_acked(50, 40)
            run.pause(0.3, 1.5)
        revive(cluster)
        for member in stormy.members():
            member.cont()
        load.heal()
        load.stop_clients()
        told = acked(load.histories)
        stormy.finish(told)
        calm.finish(told, moves=False)
        load.judge()
        load.compare_replicas()
