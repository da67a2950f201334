# SPDX-License-Identifier: MPL-2.0
"""Rows D1 to D17 of the fault matrix (D13 is in rows_groups.py): what is done to the replicas of partitions, and what has to hold."""

import errno

import clients
import logs
import nodes
from nemesis import rss_mib, soak
from runs import Load, revive

ROWS = {}


def row(name, what, seconds=40):
    def register(function):
        ROWS[name] = (function, what, seconds)
        return function

    return register


def cluster_of(run, **options):
    return run.cluster(coordinators=run.coordinators, **options)


def kill_leaders(run, cluster, load, topic="faults"):
    """kill -9 of the broker that leads a random partition, again and again; started again after a moment."""
    while run.left() > 0:
        leader = cluster.leader(topic, run.rng.randrange(6))
        if leader is None or not leader.running():
            run.pause(0.1)
            continue
        run.fault("kill", leader.name)
        leader.kill()
        run.pause(0.2, 1.5)
        leader.start()
        load.producers.wait_acked(1, 30)
        run.pause(0.5, 2)


@row("D1", "kill -9 of partition leaders under load")
def d1(run):
    with cluster_of(run) as cluster:
        load = Load(run, cluster)
        kill_leaders(run, cluster, load)
        found = load.finish()
        run.need(found["gap_ms"] <= 10000, "O9 writes go on within 10 s", f"no acknowledgement for {found['gap_ms']} ms")


@row("D2", "SIGSTOP of a leader, then SIGCONT: a zombie with requests in its queue")
def d2(run):
    with cluster_of(run) as cluster:
        load = Load(run, cluster)
        while run.left() > 0:
            leader = cluster.leader("faults", run.rng.randrange(6))
            if leader is None:
                run.pause(0.1)
                continue
            seconds = run.rng.uniform(0.5, 6)
            run.fault("stop", f"{leader.name} for {seconds:.1f} s")
            leader.stop()
            run.pause(seconds)
            leader.cont()
            run.pause(0.5, 1.5)
        load.finish()


@row("D3", "one-way cuts between leader, followers, coordinator and clients")
def d3(run):
    net = run.network()
    try:
        client = "client"
        with cluster_of(run, net=net) as cluster:
            net.host(client)
            load = Load(run, cluster, host=client)
            cuts = [lambda a, b: net.cut(a, b), lambda a, b: net.cut(b, a), lambda a, b: net.cut(a, active_name(cluster)), lambda a, b: net.cut(active_name(cluster), a),
                    lambda a, b: only_client_reaches(net, cluster, a, client), lambda a, b: net.isolate(a), lambda a, b: net.cut(client, a)]
            turn = 0
            while run.left() > 0:
                leader = cluster.leader("faults", run.rng.randrange(6))
                if leader is None:
                    run.pause(0.1)
                    continue
                other = run.rng.choice([node for node in cluster.brokers if node is not leader])
                names = ["leader to follower", "follower to leader", "leader to coordinator", "coordinator to leader", "all but clients", "all", "client to leader"]
                run.fault("cut", f"{names[turn % 7]}: {leader.name}, {other.name}")
                cuts[turn % 7](leader.name, other.name)
                turn += 1
                run.pause(2, 5)
                net.heal()
                run.note("healed")
                run.pause(0.5, 2)
            load.finish(heal=net.heal)
    finally:
        net.close()


def active_name(cluster):
    active = cluster.active()
    return active.name if active else cluster.coordinators[0].name


def only_client_reaches(net, cluster, leader, client):
    for node in cluster.nodes:
        if node != leader:
            net.cut_both(leader, node)


@row("D4", "KIP-101: leader and follower restart while the follower's watermark is one behind", 30)
def d4(run):
    with cluster_of(run, with_shim=True) as cluster:
        load = Load(run, cluster, partitions=2, consumers=1)
        for _ in range(3):
            leader = cluster.leader("faults", 0)
            follower = next(node for node in cluster.brokers if node is not leader)
            # The follower hears no more watermarks and the leader loses its page cache; both come back, the follower first.
            follower.stop()
            load.producers.wait_acked(20, 30)
            run.fault("restart both", f"{leader.name} with power loss, {follower.name}")
            follower.cont()
            follower.kill()
            leader.power(run.rng, "all")
            follower.start()
            run.pause(0.5, 1.5)
            leader.start()
            load.producers.wait_acked(20, 30)
            cluster.wait_settled("faults", 40)
        load.finish()


@row("D5", "KIP-279: A leads, B leads, A leads, with tails that differ", 30)
def d5(run):
    with cluster_of(run, with_shim=True) as cluster:
        load = Load(run, cluster, partitions=2, consumers=1, min_insync=1)
        unsafe = Load(run, cluster, topic="leader-acks", producers=2, consumers=0, partitions=2, acks="leader", first=100, rate=400)
        for _ in range(3):
            for _ in range(2):
                leader = cluster.leader("leader-acks", 0)
                if leader is None:
                    break
                # The tail that only it has is written while followers stand still.
                others = [node for node in cluster.brokers if node is not leader]
                for node in others:
                    node.stop()
                unsafe.producers.wait_acked(5, 20)
                run.fault("divergent tail", leader.name)
                leader.kill()
                for node in others:
                    node.cont()
                nodes.wait_until(lambda: (cluster.leader("leader-acks", 0) or leader) is not leader, "another leads", 30)
                unsafe.producers.wait_acked(5, 30)
                leader.start()
            cluster.wait_settled("leader-acks", 60)
            run.pause(0.3, 1)
        unsafe.heal()
        unsafe.stop_clients()
        found = unsafe.judge(oracles=("O2", "O3", "O5"))  # acks leader: what only the dead leader had is lost by contract
        lost = found["found"]["missing"]["count"]
        run.need(lost > 0, "O6 replicas have the same bytes", "no tail differed: this run proves nothing")
        load.heal()
        load.stop_clients()
        load.judge()
        run.figures["lost_with_acks_leader"] = lost
        reply = cluster.metadata(topics=["leader-acks"])
        load.compare_replicas()
        compare_stopped(run, cluster, reply["topics"][0])


def compare_stopped(run, cluster, topic):
    for p in topic["partitions"]:
        copies = {f"broker-{n}": cluster[f"broker-{n}"].data / "topics" / topic["id"].hex() / str(p["partition"]) for n in p["replicas"]}
        for difference in logs.compare(copies)[0]:
            run.find("O6 replicas have the same bytes", f"{topic['name']} partition {p['partition']}: {difference}")


@row("D6", "KIP-966: the last in sync loses its unsynced tail; others come back first or last", 45)
def d6(run):
    for last_first in (False, True):
        run.note(f"the last one comes back {'first' if last_first else 'last'}")
        with run.cluster(name=f"cluster-{int(last_first)}", coordinators=1, with_shim=True) as cluster:
            load = Load(run, cluster, partitions=2, consumers=1, min_insync=2, topic=f"last{int(last_first)}")
            order = list(cluster.brokers)
            run.rng.shuffle(order)
            for node in order[:2]:
                run.fault("kill", node.name)
                node.kill()
                run.pause(0.3, 1.2)
            last = order[2]
            run.fault("power", last.name)
            last.power(run.rng, "all")
            for node in [last, *order[:2]] if last_first else [*order[:2], last]:
                node.start()
                run.pause(1.0, 1.5)
            load.finish()


@row("D7", "unclean election off and on: all in sync are dead, only one that lags is alive", 40)
def d7(run):
    with run.cluster(coordinators=1, with_shim=True, settings={"replica.lag.ms": "1s"}) as cluster:
        load = Load(run, cluster, partitions=1, consumers=0, min_insync=1, marks_may_fall=True)
        leader = cluster.leader("faults", 0)
        lagging, other = [node for node in cluster.brokers if node is not leader]
        run.fault("kill", f"{lagging.name}: it lags from now on")
        lagging.kill()
        nodes.wait_until(lambda: lagging.number not in cluster.partitions("faults")[0]["isr"], "it left the in-sync set", 30)
        load.producers.wait_acked(100, 30)
        run.fault("kill", f"{other.name} and {leader.name}: all in sync")
        other.kill()
        run.pause(1.5)
        leader.kill()
        lagging.start()
        run.pause(4)
        run.need(cluster.partitions("faults", lagging)[0]["leader"] < 0, "O1 no unclean leader by itself", "the lagging one leads though nobody said so")
        acked = load.producers.acked
        run.pause(0.5)
        run.need(load.producers.acked == acked, "O1 no unclean leader by itself", "records are acknowledged without an eligible leader")
        reply = cluster.admin("elect_leader", topic="faults", partition=0, broker_id=lagging.number, unclean=False)
        run.need(reply.get("error"), "O1 no unclean leader by itself", f"a clean election took it: {reply}")
        before = cluster.partitions("faults", lagging)[0]["epoch"]
        run.fault("unclean election", lagging.name)
        reply = cluster.admin("elect_leader", topic="faults", partition=0, broker_id=lagging.number, unclean=True)
        run.need(not reply.get("error") and reply.get("loss"), "O1 a loss is told", f"{reply}")
        run.need(reply.get("epoch", 0) > before, "O5 epochs grow", f"epoch {before}, then {reply.get('epoch')}")
        other.start()
        leader.start()
        load.finish(oracles=("O2", "O5"))
        run.need(run.figures["missing"] > 0, "O1 a loss is told", "nothing was lost: this run proves nothing")


@row("D8", "power loss: leader, leader and one more, all at once; durable and not", 45)
def d8(run):
    with cluster_of(run, with_shim=True) as cluster:
        load = Load(run, cluster, read="durable", marks_may_fall=True)
        cached = Load(run, cluster, topic="cached", producers=2, consumers=0, durable="false", first=100, marks_may_fall=True)
        for node in cluster.nodes.values():
            node.shim.delay("sync", 10)  # a disk on which there is something to lose
        turn = 0
        while run.left() > 0:
            leader = cluster.leader("faults", run.rng.randrange(6))
            if leader is None:
                run.pause(0.1)
                continue
            others = [node for node in cluster.brokers if node is not leader]
            victims = [[leader], [leader, run.rng.choice(others)], cluster.brokers, list(cluster.nodes.values())][turn % 4]
            turn += 1
            run.fault("power", ", ".join(node.name for node in victims))
            for node in victims:  # all are dead before the first one's disk is looked at
                node.kill()
            lost = [node.disk.fail(node.data, run.rng) for node in victims]
            run.figures["bytes_undone"] = run.figures.get("bytes_undone", 0) + sum(each["bytes_lost"] for each in lost)
            run.pause(0.1, 0.5)
            for node in victims:
                node.start()
            load.producers.wait_acked(50, 40)
            run.pause(0.5, 1.5)
        revive(cluster)
        cached.heal()
        cached.stop_clients()
        # Not durable: only what all in-sync replicas had not synced within sync.ms may be gone; how much that is, is measured.
        found = cached.judge(oracles=("O3", "O5"))
        run.figures["cached_acked"], run.figures["cached_missing"] = found["acked"], found["found"]["missing"]["count"]
        load.finish()


DISK_FAULTS = [("write", errno.EIO), ("write", errno.ENOSPC), ("sync", errno.EIO), ("create", errno.EIO), ("sync_dir", errno.EIO), ("rename", errno.EIO), ("short", 0)]


@row("D9", "EIO, ENOSPC, short writes and failed syncs on leader and follower, file by file", 60)
def d9(run):
    with cluster_of(run, with_shim=True) as cluster:
        load = Load(run, cluster)
        load.watch.may_end.update(node.name for node in cluster.brokers)  # a broker may end when its last disk failed
        while run.left() > 0:
            node = run.rng.choice(cluster.brokers)
            op, error = run.rng.choice(DISK_FAULTS)
            match, nth = run.rng.choice(["", ".log", ".index", "checkpoint", "epochs"]), run.rng.randint(1, 20)
            run.fault("disk", f"{node.name}: {op} {nth} of '{match}' fails with {error}")
            if op == "short":
                node.shim.short(nth, 3, match)
                node.shim.fail("write", errno.ENOSPC, nth + 3, 1, match, slot=1)
            else:
                node.shim.fail(op, error, nth, run.rng.choice([1, 1, -1]), match)
            run.pause(1, 3)
            node.shim.clear()
            if not node.running():
                run.note(f"{node.name} ended")
                node.process.wait(5)
                node.disk.read()
            elif op == "sync" or run.rng.random() < 0.5:
                node.kill()  # after a failed sync pages are clean and yet nowhere: they go with the power
            if not node.running():
                node.disk.fail(node.data, run.rng)
                node.start()
            load.producers.wait_acked(10, 40)
        load.finish(heal=lambda: restart_all(cluster))


def restart_all(cluster):
    """What a failed disk took offline comes back with a start."""
    revive(cluster)
    for node in cluster.brokers:
        node.term()
        node.start()


def damage(run, path, how):
    """Changes a file as a disk might; a sentence of what was done."""
    data = bytearray(path.read_bytes())
    if how == "flip" and data:
        at = run.rng.randrange(len(data))
        data[at] ^= 1 << run.rng.randrange(8)
        path.write_bytes(data)
        return f"bit flipped at {at} of {len(data)} in {path.name}"
    if how == "zero" and data:
        at = run.rng.randrange(len(data))
        data[at : at + 4096] = bytes(len(data[at : at + 4096]))
        path.write_bytes(data)
        return f"zeroed {at} to {at + 4096} of {len(data)} in {path.name}"
    if how == "truncate" and data:
        size = run.rng.randrange(len(data))
        path.write_bytes(data[:size])
        return f"{path.name} truncated from {len(data)} to {size}"
    path.unlink()
    return f"{path.name} removed"


@row("D10", "bit flip, truncation, missing file on one replica, which is then to lead", 60)
def d10(run):
    with cluster_of(run) as cluster:
        load = Load(run, cluster, partitions=3)
        while run.left() > 0:
            node = run.rng.choice(cluster.brokers)
            load.producers.wait_acked(100, 40)
            node.kill()
            files = [path for path in node.data.glob("topics/*/*/*") if path.suffix in (".log", ".index") or path.name in ("epochs", "start")]
            what = damage(run, run.rng.choice(files), run.rng.choice(["flip", "flip", "zero", "truncate", "remove"]))
            run.fault("damage", f"{node.name}: {what}")
            node.start()
            load.producers.wait_acked(20, 40)
            settled(run, cluster, load)
            for p in range(3):  # to lead, if it may
                cluster.admin("elect_leader", topic="faults", partition=p, broker_id=node.number, unclean=False)
            load.producers.wait_acked(20, 40)
        load.finish(rotten=True)


def settled(run, cluster, load):
    try:
        cluster.wait_settled(load.topic, 40)
    except AssertionError as error:
        run.find("O6 a damaged replica is made whole", str(error))


@row("D11", "a slow disk and a slow link on one follower", 50)
def d11(run):
    net = run.network()
    try:
        with cluster_of(run, net=net, with_shim=True, settings={"replica.lag.ms": "3s"}) as cluster:
            net.host("client")
            load = Load(run, cluster, host="client", rate=300, size=500)
            leader = cluster.leader("faults", 0)
            slow = next(node for node in cluster.brokers if node is not leader)
            for kind in ("disk", "link"):
                run.fault(f"slow {kind}", slow.name)
                if kind == "disk":
                    slow.shim.delay("sync", 4000)
                else:
                    net.rate(slow.name, 50)
                    net.rate(leader.name, 1000)
                run.pause(12)
                outside = [p["partition"] for p in cluster.partitions("faults", leader) if slow.number not in p["isr"]]
                run.note(f"{slow.name} has left the in-sync sets of partitions {outside}")
                if kind == "disk":
                    run.need(outside, "O9 a slow follower leaves the in-sync set", f"after 12 s with syncs of 4 s {slow.name} still holds all up")
                slow.shim.clear()
                net.rate(slow.name, 0)
                net.rate(leader.name, 0)
                load.producers.wait_acked(100, 30)
                settled(run, cluster, load)
            load.finish()
    finally:
        net.close()


@row("D12", "acknowledgements are lost, producers repeat over failovers", 45)
def d12(run):
    proxy = run.proxy()
    try:
        with cluster_of(run, proxy=proxy) as cluster:
            load = Load(run, cluster, settings={"request.timeout.ms": "2s"})
            while run.left() > 0:
                leader = cluster.leader("faults", run.rng.randrange(6))
                if leader is None:
                    run.pause(0.1)
                    continue
                run.fault("replies lost", leader.name)
                proxy.cut(leader.name, "down")
                run.pause(0.3, 1)
                proxy.reset(leader.name)  # what was held back is gone
                if run.rng.random() < 0.6:
                    run.fault("kill", leader.name)
                    leader.kill()
                    run.pause(0.3, 1.5)
                    leader.start()
                proxy.heal(leader.name)
                load.producers.wait_acked(10, 40)
                run.pause(0.3, 1)
            load.finish()
    finally:
        proxy.close()


@row("D14", "delete-records, retention, topic delete and re-create while leaders are killed", 45)
def d14(run):
    with cluster_of(run, settings={"retention.check.ms": "1s"}) as cluster:
        load = Load(run, cluster, size=1000, config={"segment_bytes": "64KiB", "retention_bytes": "1MiB"})
        ids = set()
        turn = 0
        while run.left() > 0:
            turn += 1
            leader = cluster.leader("faults", run.rng.randrange(6))
            if leader is None:
                run.pause(0.1)
                continue
            cluster.create("again", 2, 3)
            cluster.weft("produce", "again", input=f"life {turn}\n")
            again = cluster.metadata(topics=["again"])["topics"][0]
            run.need(again["id"] not in ids, "O4 a deleted topic never comes back", f"id {again['id'].hex()} was deleted before")
            run.fault("kill", leader.name)
            leader.kill()
            reply = cluster.admin("topic_delete", topic="again")
            run.need(not reply.get("error"), "O9 metadata changes go on", f"delete: {reply}")
            ids.add(again["id"])
            run.pause(0.3, 1)
            leader.start()
            load.producers.wait_acked(20, 40)
            run.pause(0.5, 1)
        load.finish(compare=False)  # replicas trim at their own moments

        def stored():
            return sorted({f"{node.name} {ident}" for node in cluster.brokers for ident, _ in logs.partitions(node.data) if bytes.fromhex(ident) in ids})

        try:
            nodes.wait_until(lambda: not stored(), "deleted topics are gone from all disks", 10, pace=0.2)
        except AssertionError as error:
            run.find("O4 a deleted topic never comes back", f"{error}: {stored()}")


@row("D15", "reassignment, rolling restart and a broker added while leaders are killed", 60)
def d15(run):
    with cluster_of(run, brokers=4) as cluster:
        load = Load(run, cluster, replicas=3)
        while run.left() > 0:
            pick = run.rng.random()
            if pick < 0.4:
                partition = run.rng.randrange(6)
                to = run.rng.sample(range(1, 5), 3)
                run.fault("reassign", f"partition {partition} to {to}")
                cluster.admin("reassign", moves=[{"topic": "faults", "partition": partition, "to": to}], bytes_per_second=-1)
                if run.rng.random() < 0.5:
                    run.pause(0, 0.3)
                    leader = cluster.leader("faults", partition)
                    if leader and leader.running():
                        run.fault("kill", leader.name)
                        leader.kill()
                        run.pause(0.2, 1)
                        leader.start()
            elif pick < 0.7:
                node = run.rng.choice(cluster.brokers)
                run.fault("restart", node.name)
                code = node.term()
                run.need(code == 0, "O9 a clean stop is clean", f"{node.name} ended with {code}: {node.last_words(2)}")
                node.start()
            else:
                node = run.rng.choice(cluster.brokers)
                run.fault("kill", node.name)
                node.kill()
                run.pause(0.2, 1)
                node.start()
            load.producers.wait_acked(10, 40)
            run.pause(0.3, 1)
        cluster.wait_healthy(30)
        nodes.wait_until(lambda: not cluster.admin("reassign_list").get("moves"), "all moves are done", 60, pace=0.2)
        load.finish()


@row("D16", "everything at random (nemesis)", 60)
def d16(run):
    soak(run)


@row("D17", "a consumer that stands still, and one that dies, with plenty of records", 30)
def d17(run):
    with cluster_of(run) as cluster:
        load = Load(run, cluster, rate=1500, size=1000, consumers=2)
        still = clients.Workload(cluster, "consume", "faults", run.directory / "still", 3, 700)
        still.wait_read(100)
        before = {node.name: rss_mib(node) for node in cluster.brokers}
        run.fault("stop", "three consumers")
        still.process.send_signal(19)
        while run.left() > 0:
            load.producers.wait_acked(500, 30)
            run.pause(0.5)
        after = {node.name: rss_mib(node) for node in cluster.brokers}
        run.figures["rss_mib_before"], run.figures["rss_mib_after"] = before, after
        for name in before:
            run.need(after[name] < before[name] + 256, "O11 memory stays bounded", f"{name}: {before[name]} MiB, then {after[name]} MiB")
        still.process.kill()
        found = load.finish()
        run.need(found["gap_ms"] <= 3000, "O9 others go on", f"no acknowledgement for {found['gap_ms']} ms")
