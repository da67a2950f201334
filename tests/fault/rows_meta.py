# SPDX-License-Identifier: MPL-2.0
"""Rows M1 to M14 of the fault matrix: what is done to the coordinators, and what has to hold."""

import errno
import os
import shutil
import time

import nodes
from metaload import MetaLoad
from rows_data import damage, row
from runs import Load, revive

ELECTION_S = 0.6  # default of election.ms


def both(run, cluster, **load):
    """Records and metadata change at the same time."""
    return Load(run, cluster, **{"producers": 2, "consumers": 1, "rate": 100, "partitions": 3, **load}), MetaLoad(run, cluster)


def finish(run, cluster, load, meta, restart=True):
    """Everything is healed, judged, stopped, and once more the same after a restart of all (O10)."""
    revive(cluster)
    meta.heal(5 * ELECTION_S)
    load.heal()
    load.stop_clients()
    load.judge()
    meta.finish()
    load.compare_replicas()
    if restart:
        cluster.start(40)
        meta.compare()
        run.held("O10 a restart of all gives the same state")
        cluster.close()


def active_of(run, cluster):
    while True:
        node = cluster.active()
        if node:
            return node
        run.pause(0.1)


@row("M1", "kill -9 of the active coordinator, of another, of two, of all")
def m1(run):
    with run.cluster(coordinators=3) as cluster:
        load, meta = both(run, cluster)
        turn = 0
        while run.left() > 0:
            active = active_of(run, cluster)
            others = [node for node in cluster.coordinators if node is not active]
            victims = [[active], [run.rng.choice(others)], run.rng.sample(cluster.coordinators, 2), cluster.coordinators][turn % 4]
            turn += 1
            run.fault("kill", ", ".join(node.name for node in victims))
            for node in victims:
                node.kill()
            run.pause(0.1, 1.5)
            for node in victims:
                node.start()
            meta.wait_acked(5, 20)
            run.pause(0.1, 1)
        finish(run, cluster, load, meta)


@row("M2", "SIGSTOP of the active coordinator for 0.5, 1.5 and 5 election timeouts, then SIGCONT")
def m2(run):
    with run.cluster(coordinators=3) as cluster:
        load, meta = both(run, cluster)
        turn = 0
        while run.left() > 0:
            active = active_of(run, cluster)
            times = (0.5, 1.5, 5)[turn % 3]
            turn += 1
            run.fault("stop", f"{active.name} for {times} election timeouts")
            active.stop()
            run.pause(times * ELECTION_S)
            active.cont()
            meta.wait_acked(5, 20)
            run.pause(0.2, 1)
        finish(run, cluster, load, meta)


@row("M3", "partitions among coordinators: alone, one way in or out, leader and follower, a ring, flapping", 60)
def m3(run):
    net = run.network()
    try:
        with run.cluster(coordinators=3, net=net) as cluster:
            load, meta = both(run, cluster)
            turn = 0
            while run.left() > 0:
                active = active_of(run, cluster)
                others = [node for node in cluster.coordinators if node is not active]
                epoch = cluster.status() or {"epoch": 0}
                kind = ["alone", "hears nobody", "is heard by nobody", "one follower", "ring", "flapping"][turn % 6]
                turn += 1
                run.fault("partition", f"{active.name}: {kind}")
                if kind == "alone":
                    net.isolate(active.name)
                elif kind == "hears nobody":
                    net.isolate(active.name, "in")
                elif kind == "is heard by nobody":
                    net.isolate(active.name, "out")
                elif kind == "one follower":
                    net.cut_both(active.name, others[0].name)
                elif kind == "ring":
                    names = [node.name for node in cluster.coordinators]
                    for a, b in zip(names, names[1:] + names[:1]):
                        net.cut(a, b)
                    run.pause(1)
                for _ in range(15 if kind == "flapping" else 0):
                    net.isolate(active.name)
                    run.pause(0.2)
                    net.heal()
                    run.pause(0.2)
                run.pause(3, 6)
                net.heal()
                meta.wait_acked(5, 20)
                after = cluster.status()
                if after:
                    run.figures["terms_in_a_cycle_most"] = max(run.figures.get("terms_in_a_cycle_most", 0), after["epoch"] - epoch["epoch"])
                run.pause(0.5, 1)
            finish(run, cluster, load, meta)
    finally:
        net.close()


@row("M4", "slow links: 50 to 300 ms late, with jitter, or 256 kbit/s")
def m4(run):
    proxy = run.proxy()
    try:
        with run.cluster(coordinators=3, proxy=proxy) as cluster:
            load, meta = both(run, cluster)
            while run.left() > 0:
                node = run.rng.choice(cluster.coordinators)
                if run.rng.random() < 0.6:
                    ms = run.rng.randint(25, 150)
                    run.fault("delay", f"{node.name}: {ms} ms and up to {ms} more, each way")
                    proxy.delay(node.name, ms, ms)
                else:
                    run.fault("rate", f"{node.name}: 256 kbit/s")
                    proxy.rate(node.name, 32000)
                run.pause(3, 6)
                if run.rng.random() < 0.3:
                    run.fault("reset", node.name)
                    proxy.reset(node.name)
                proxy.heal(node.name)
                meta.wait_acked(5, 20)
            finish(run, cluster, load, meta)
    finally:
        proxy.close()


@row("M5", "the figure-8 history: a leader that dies after it wrote and before anybody heard, three times", 40)
def m5(run):
    with run.cluster(coordinators=3, with_shim=["coordinator-1", "coordinator-2", "coordinator-3"]) as cluster:
        load, meta = both(run, cluster, consumers=0)
        while run.left() > 0:
            fallen = []
            for _ in range(3):
                active = cluster.active()
                if active is None:
                    break
                others = [node for node in cluster.coordinators if node is not active]
                for node in others:
                    node.stop()
                active.shim.die("write", nth=run.rng.randint(1, 3), after=True, match=".log")
                run.fault("dies after its own write", active.name)
                try:
                    active.ended(3)
                except Exception:  # nothing was written meanwhile: it lost its office first
                    active.kill()
                active.asked = True
                active.shim.clear()
                for node in others:
                    node.cont()
                fallen.append(active)
                if len(fallen) == 2:
                    fallen.pop(0).start()
                run.pause(0.2, 2)
            for node in fallen:
                if not node.running():
                    node.start()
            meta.wait_acked(5, 30)
        finish(run, cluster, load, meta)


@row("M6", "snapshots: one falls behind them, is sent one, everybody is killed in every step", 50)
def m6(run):
    with run.cluster(coordinators=3, with_shim=["coordinator-1", "coordinator-2", "coordinator-3"], coordinator_settings={"snapshot.commands": 16}) as cluster:
        load, meta = both(run, cluster, consumers=0)
        while run.left() > 0:
            active = active_of(run, cluster)
            behind = run.rng.choice([node for node in cluster.coordinators if node is not active])
            run.fault("kill", f"{behind.name}: it falls behind the snapshots")
            behind.kill()
            meta.wait_acked(60, 40)
            victim = run.rng.choice([behind, active])
            op = run.rng.choice(["rename", "sync", "write", "sync_dir", "unlink", "create"])
            victim.shim.die(op, nth=run.rng.randint(1, 6), after=run.rng.random() < 0.5)
            run.fault("dies", f"{victim.name} in {op}, while {behind.name} is sent what it lacks")
            behind.start()
            run.pause(1, 3)
            victim.shim.clear()
            if not victim.running():
                victim.kill()
                victim.start()
            else:
                victim.kill()
                victim.start()
            meta.wait_acked(20, 30)
        finish(run, cluster, load, meta)


@row("M7", "disk faults of coordinators: EIO, ENOSPC, short writes, failed and hanging syncs", 60)
def m7(run):
    with run.cluster(coordinators=3, with_shim=["coordinator-1", "coordinator-2", "coordinator-3"]) as cluster:
        load, meta = both(run, cluster, consumers=0)
        load.watch.may_end.update(node.name for node in cluster.coordinators)
        nth = 0
        while run.left() > 0:
            nth = nth % 20 + 1
            node = run.rng.choice([active_of(run, cluster), run.rng.choice(cluster.coordinators)])
            kind = run.rng.choice(["EIO", "ENOSPC", "short", "sync", "hang", "create", "rename"])
            run.fault("disk", f"{node.name}: {kind} at call {nth}")
            if kind in ("EIO", "ENOSPC"):
                node.shim.fail("write", getattr(errno, kind), nth, -1)
            elif kind == "short":
                node.shim.short(nth, -1)
            elif kind == "hang":
                hang_ms = run.rng.randint(200, 5000)
                node.shim.delay("sync", hang_ms)
            else:
                node.shim.fail(kind, errno.EIO, nth if kind == "sync" else 1, -1)
            meta.wait_acked(3, 20)  # the others go on
            run.pause(0.5, 1.5)
            node.shim.clear()
            if kind == "hang":  # the one that hangs may yet give up: no second one meanwhile
                run.pause(hang_ms / 1000)
            meta.wait_acked(3, 20)
            if not node.running() or kind == "sync":
                node.power(run.rng)
                node.start()
        finish(run, cluster, load, meta)


@row("M8", "power loss of one, two and all three coordinators", 40)
def m8(run):
    with run.cluster(coordinators=3, with_shim=["coordinator-1", "coordinator-2", "coordinator-3"]) as cluster:
        load, meta = both(run, cluster)
        for node in cluster.coordinators:
            node.shim.delay("sync", 5)
        turn = 0
        while run.left() > 0:
            victims = run.rng.sample(cluster.coordinators, turn % 3 + 1)
            turn += 1
            run.fault("power", ", ".join(node.name for node in victims))
            for node in victims:
                node.kill()
            for node in victims:
                node.disk.fail(node.data, run.rng)
                node.start()
            meta.wait_acked(20, 30)
            run.pause(0.1, 1)
        finish(run, cluster, load, meta)


@row("M9", "corruption of each kind of file: minority, and a single voter", 60)
def m9(run):
    with run.cluster(coordinators=3) as cluster:
        load, meta = both(run, cluster, consumers=0)
        load.watch.may_end.update(node.name for node in cluster.coordinators)
        while run.left() > run.seconds / 3:
            node = run.rng.choice(cluster.coordinators)
            node.kill()
            files = sorted(path for path in node.data.rglob("*") if path.is_file() and path.name != "lock")
            path = run.rng.choice(files)
            kept = node.data.with_name("kept")
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(node.data, kept)
            run.fault("damage", f"{node.name}: {damage(run, path, run.rng.choice(['flip', 'flip', 'zero', 'truncate', 'remove']))}")
            node.start()
            meta.wait_acked(10, 30)
            run.pause(0.5, 1.5)
            if not node.running():
                words = node.last_words(2)
                run.note(f"{node.name} refuses: {words.splitlines()[-1][:200]}")
                run.need(len(words.split()) > 5, "O9 damage is refused with a sentence", f"{node.name}: {words}")
                shutil.rmtree(node.data)
                kept.rename(node.data)
                node.start()
            meta.wait_acked(5, 20)
        finish(run, cluster, load, meta)
    single_voter_damaged(run)


def single_voter_damaged(run):
    """Alone it has nobody to ask: it says what is damaged, or has lost nothing."""
    with run.cluster(name="single", brokers=1, coordinators=1) as cluster:
        node = cluster.coordinators[0]
        for n in range(20):
            cluster.create(f"topic{n}", 1, 1)
        # Until the synced end is recorded, a second later at most, damage can't be told from a torn tail.
        nodes.wait_until((node.data / "checkpoint").exists, "the synced end is recorded", 10)
        cluster["broker-1"].kill()
        run.pause(2.5)
        node.kill()
        kept = node.data.with_name("kept")
        shutil.copytree(node.data, kept)
        for turn in range(12):
            files = sorted(path for path in node.data.rglob("*") if path.is_file() and path.name != "lock")
            what = damage(run, files[turn % len(files)], ["flip", "zero", "truncate", "remove"][turn // len(files) % 4])
            run.fault("damage", f"single voter: {what}")
            node.start()
            reply = None
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline and node.running() and (not reply or reply.get("error")):
                reply = node.ask("topic_describe", 0.5, topic="topic19")
            if node.running():
                there = [n for n in range(20) if not node.ask("topic_describe", topic=f"topic{n}").get("error")]
                run.need(len(there) == 20, "O1 metadata: acknowledged changes stay", f"after '{what}' it serves with {len(there)} of 20 topics, and says nothing: {node.last_words(2)}")
            else:
                run.note(f"refused: {node.last_words(1)[:200]}")
            node.kill()
            shutil.rmtree(node.data)
            shutil.copytree(kept, node.data)


@row("M10", "voters are added and removed while they are killed; a wiped disk under its old id", 60)
def m10(run):
    with run.cluster(coordinators=3, spares=1) as cluster:
        extra = cluster["coordinator-4"]
        load, meta = both(run, cluster, consumers=0)
        while run.left() > 0:
            voters = [node for node in cluster.coordinators if not node.spare]
            victim = run.rng.choice([None, active_of(run, cluster), run.rng.choice(voters)])
            if extra.spare:
                extra.start()
                extra.spare = False
                change_voters(run, cluster, victim, coordinator_id=extra.number, endpoint=extra.endpoint, remove=False)
            else:
                extra = run.rng.choice(voters)  # whoever goes is the next to come
                change_voters(run, cluster, None if victim is extra else victim, coordinator_id=extra.number, endpoint="", remove=True)
                begin_anew(extra)
                extra.spare = True
            meta.wait_acked(5, 30)
        voters = [node for node in cluster.coordinators if not node.spare]
        wiped = run.rng.choice(voters)
        run.fault("wiped disk", wiped.name)
        begin_anew(wiped)
        load.watch.may_end.add(wiped.name)
        wiped.start()
        meta.wait_acked(5, 30)
        run.pause(3)
        run.note(f"{wiped.name}: {wiped.last_words(1)[:300]}")
        active = active_of(run, cluster)
        run.need(active is not wiped, "O7 a wiped disk is no old voter", f"{wiped.name} leads after its disk was wiped")
        if wiped.running():
            reply = wiped.ask("topic_create", 1.0, operation=bytes(15) + b"x", topic="by-the-wiped", partitions=1, replicas=1, config=[])
            run.need(reply is None or reply.get("error"), "O7 a wiped disk is no old voter", f"{wiped.name} takes changes after its disk was wiped: {reply}")
        change_voters(run, cluster, None, coordinator_id=wiped.number, endpoint="", remove=True)
        begin_anew(wiped)
        wiped.start()
        change_voters(run, cluster, None, coordinator_id=wiped.number, endpoint=wiped.endpoint, remove=False)
        finish(run, cluster, load, meta)


def begin_anew(node):
    """An empty directory, and all coordinators in its settings, as one that is added needs it."""
    node.settings["coordinators"] = ",".join(f"{each.number}={each.endpoint}" for each in node.cluster.coordinators)
    node.kill()
    shutil.rmtree(node.data)
    node.data.mkdir()


def change_voters(run, cluster, victim, **fields):
    """One change, asked again under the same operation until it is made; the victim is killed in the middle and started again."""
    what = f"{'remove' if fields['remove'] else 'add'} coordinator-{fields['coordinator_id']}"
    run.fault("voter", what)
    operation = os.urandom(16)
    if victim is not None:
        for node in cluster.coordinators:  # sent, not waited for
            if node.running():
                node.ask("voter_change", 0.05, operation=operation, **fields)
        run.fault("kill", victim.name)
        victim.kill()
        run.pause(0.1, 1)
        victim.start()
    reply, deadline = {}, time.monotonic() + 40
    while time.monotonic() < deadline:
        reply = cluster.admin("voter_change", 30, operation=operation, **fields)
        made = "no coordinator of that id" if fields["remove"] else "among the voters already"  # by the first asking
        if not reply.get("error") or made in reply["message"]:
            return
        operation = os.urandom(16)  # refused: nothing was changed
        run.pause(0.2)
    run.find("O9 metadata changes go on", f"{what}: {reply}")


@row("M11", "brokers' heartbeats are lost while the coordinator fails over; all register again at once")
def m11(run):
    with run.cluster(brokers=6, coordinators=3) as cluster:
        load = Load(run, cluster, partitions=12, producers=2, consumers=1)
        while run.left() > 0:
            before = {p["partition"]: (p["leader"], p["epoch"]) for p in cluster.partitions("faults")}
            active = active_of(run, cluster)
            run.fault("kill", f"{active.name}, with no heartbeat to the others")
            active.kill()
            nodes.wait_until(cluster.active, "another coordinator leads", 15)
            run.pause(2)
            active.start()
            after = {p["partition"]: (p["leader"], p["epoch"]) for p in cluster.partitions("faults")}
            moved = [p for p in before if after.get(p) != before[p]]
            run.need(len(moved) <= 1, "O5 no leader moves for a coordinator's sake", f"partitions {moved} of {len(before)}: {before} to {after}")
            cluster.wait_healthy(20)
            run.pause(0.5, 1)
        load.finish()


@row("M12", "orders of an old coordinator arrive late", 45)
def m12(run):
    proxy = run.proxy()
    try:
        with run.cluster(coordinators=3, proxy=proxy, coordinator_settings={"session.ms": "3s"}) as cluster:
            load, meta = both(run, cluster)
            while run.left() > 0:
                active = active_of(run, cluster)
                run.fault("late orders", f"of {active.name}, 8 s")
                proxy.delay(active.name, 8000, 0, "down")
                leader = cluster.leader("faults", 0)
                if leader:
                    run.fault("kill", leader.name)
                    leader.kill()
                    run.pause(4)
                    leader.start()
                run.pause(6)
                proxy.heal(active.name)
                meta.wait_acked(5, 30)
                load.producers.wait_acked(10, 40)
            finish(run, cluster, load, meta)
    finally:
        proxy.close()


@row("M13", "wall clocks jump by an hour, to and fro", 30)
def m13(run):
    with run.cluster(coordinators=3, with_shim=True) as cluster:
        load, meta = both(run, cluster)
        while run.left() > 0:
            node = run.rng.choice(list(cluster.nodes.values()))
            hours = run.rng.choice([-1, 1, 0])
            run.fault("clock", f"{node.name}: {hours:+d} h")
            node.shim.clock(hours * 3600000)
            meta.wait_acked(10, 10)
            load.producers.wait_acked(20, 10)
            run.pause(0.2, 1)
        for node in cluster.nodes.values():
            node.shim.clock(0)
        finish(run, cluster, load, meta)
        run.need(load.watch.elections()[1] <= 1, "O9 clocks elect nobody", f"{load.watch.elections()[1]} coordinators led")


@row("M14", "a single voter: kill -9 and power loss again and again", 40)
def m14(run):
    with run.cluster(brokers=1, coordinators=1, with_shim=["coordinator-1"]) as cluster:
        load, meta = both(run, cluster, consumers=0)
        node = cluster.coordinators[0]
        node.shim.delay("sync", 2)
        starts = []
        while run.left() > 0:
            loss = run.rng.random() < 0.5
            run.fault("power" if loss else "kill", node.name)
            if loss:
                node.power(run.rng)
            else:
                node.kill()
            began = time.monotonic()
            node.start()
            nodes.wait_until(lambda: node.ask("hello", 0.2, client="faults", protocol_min=1, protocol_max=1), "it answers", 10, pace=0.002)
            starts.append(time.monotonic() - began)
            meta.wait_acked(run.rng.randint(1, 30), 20)
        starts.sort()
        run.figures["start_ms_median"], run.figures["start_ms_worst"] = round(1000 * starts[len(starts) // 2]), round(1000 * starts[-1])
        run.need(starts[len(starts) // 2] < 0.2, "O9 a start takes less than 200 ms", f"median {starts[len(starts) // 2] * 1000:.0f} ms")
        finish(run, cluster, load, meta)
