# SPDX-License-Identifier: MPL-2.0
"""Everything at random, from one seed: the schedule of D16 and of the long run. One fault at a time or two that overlap, then a while of peace.

A cluster that promises to survive one broken broker of three, and one coordinator of three, has to stay consistent under any of this and to
be available again when it is over. Each fault is a pair: break, mend.
"""

import errno
import os

import netns
from metaload import MetaLoad
from runs import Load, revive


class Nemesis:
    def __init__(self, run, cluster, load, net=None):
        self.run, self.cluster, self.load, self.net, self.rng = run, cluster, load, net, run.rng
        self.kinds = {"kill": 6, "kill leader": 5, "kill coordinator": 4, "stop": 4, "power": 4, "power of all": 1, "slow disk": 2, "failing disk": 2, "full disk": 2,
                      "drain": 2, "reassign": 3, "rolling restart": 1, "kill all": 1, "clock": 1}
        if net:
            self.kinds.update({"cut": 4, "cut one way": 4, "slow link": 2, "isolate coordinator": 3})

    def any_node(self):
        return self.rng.choice(list(self.cluster.nodes.values()))

    def broker(self):
        return self.rng.choice(self.cluster.brokers)

    def once(self):
        """One fault from breaking to mending."""
        kind = self.rng.choices(list(self.kinds), list(self.kinds.values()))[0]
        getattr(self, kind.replace(" ", "_"))()
        if self.rng.random() < 0.3:
            return  # the next one comes before all is well
        self.run.pause(0.5, 3)

    def down_for_a_while(self, nodes, how):
        self.run.fault(how, ", ".join(node.name for node in nodes))
        for node in nodes:
            node.kill()
        if how.startswith("power"):
            for node in nodes:
                node.disk.fail(node.data, self.rng)
        self.run.pause(0.1, 3)
        for node in nodes:
            node.start()

    def kill(self):
        self.down_for_a_while([self.any_node()], "kill")

    def kill_leader(self):
        leader = self.cluster.leader(self.load.topic, self.rng.randrange(6))
        self.down_for_a_while([leader or self.broker()], "kill leader")

    def kill_coordinator(self):
        self.down_for_a_while([self.cluster.active() or self.cluster.coordinators[0]], "kill coordinator")

    def kill_all(self):
        self.down_for_a_while(list(self.cluster.nodes.values()), "kill all")

    def power(self):
        self.down_for_a_while(self.rng.sample(list(self.cluster.nodes.values()), self.rng.randint(1, 2)), "power")

    def power_of_all(self):
        self.down_for_a_while(list(self.cluster.nodes.values()), "power of all")

    def stop(self):
        node = self.any_node()
        seconds = self.rng.uniform(0.3, 8)
        self.run.fault("stop", f"{node.name} for {seconds:.1f} s")
        node.stop()
        self.run.pause(seconds)
        node.cont()

    def slow_disk(self):
        node = self.any_node()
        ms = self.rng.randint(20, 500)
        self.run.fault("slow disk", f"{node.name}: {ms} ms a sync")
        node.shim.delay("sync", ms)
        self.run.pause(1, 6)
        node.shim.clear()

    def failing_disk(self):
        node = self.any_node()
        op = self.rng.choice(["write", "sync", "create", "sync_dir"])
        self.run.fault("failing disk", f"{node.name}: {op}")
        self.load.watch.may_end.add(node.name)
        node.shim.fail(op, errno.EIO, self.rng.randint(1, 10), -1)
        self.run.pause(1, 3)
        node.shim.clear()
        node.power(self.rng)  # another disk is not at hand: the machine is started again
        node.start()

    def full_disk(self):
        node = self.any_node()
        room = self.rng.randint(0, 200000)
        self.run.fault("full disk", f"{node.name}: room for {room} bytes")
        self.load.watch.may_end.add(node.name)
        node.shim.room(room)
        self.run.pause(1, 4)
        node.shim.room(-1)
        self.run.pause(0.5)
        if not node.running() or self.rng.random() < 0.3:
            node.kill()
            node.start()

    def drain(self):
        node = self.broker()
        self.run.fault("drain", node.name)
        self.cluster.admin("broker_drain", broker_id=node.number, undo=False)
        self.run.pause(1, 3)
        if self.rng.random() < 0.5:
            node.term()
            node.start()
        self.cluster.admin("broker_drain", broker_id=node.number, undo=True)

    def rolling_restart(self):
        self.run.fault("rolling restart")
        for node in self.cluster.brokers + self.cluster.coordinators:
            node.term()
            node.start()
            self.cluster.wait_healthy(40)
            self.cluster.wait_settled(self.load.topic, 40)

    def reassign(self):
        to = self.rng.sample([node.number for node in self.cluster.brokers], min(3, len(self.cluster.brokers)))
        partition = self.rng.randrange(6)
        self.run.fault("reassign", f"partition {partition} to {to}")
        self.cluster.admin("reassign", moves=[{"topic": self.load.topic, "partition": partition, "to": to}], bytes_per_second=-1)

    def clock(self):
        node = self.any_node()
        self.run.fault("clock", node.name)
        node.shim.clock(self.rng.choice([-1, 1]) * 3600000)
        self.run.pause(1, 4)
        node.shim.clock(0)

    def cut(self):
        a, b = self.rng.sample(list(self.cluster.nodes), 2)
        self.run.fault("cut", f"{a} and {b}")
        self.net.cut_both(a, b)
        self.run.pause(1, 6)
        self.net.heal()

    def cut_one_way(self):
        names = list(self.cluster.nodes)
        if self.rng.random() < 0.5:
            a, b = self.rng.sample(names, 2)
            self.run.fault("cut one way", f"{a} to {b}")
            self.net.cut(a, b)
        else:
            a = self.rng.choice(names)
            way = self.rng.choice(["in", "out", "both"])
            self.run.fault("cut one way", f"{a} alone, {way}")
            self.net.isolate(a, way)
        self.run.pause(1, 6)
        self.net.heal()

    def isolate_coordinator(self):
        node = self.cluster.active() or self.cluster.coordinators[0]
        self.run.fault("isolate coordinator", node.name)
        self.net.isolate(node.name, self.rng.choice(["in", "out", "both"]))
        self.run.pause(2, 6)
        self.net.heal()

    def slow_link(self):
        node = self.any_node()
        kbit = self.rng.choice([128, 512, 2000])
        self.run.fault("slow link", f"{node.name}: {kbit} kbit/s")
        self.net.rate(node.name, kbit)
        self.run.pause(2, 6)
        self.net.rate(node.name, 0)


def soak(run, rate=150, producers=4, consumers=3):
    """Load, metadata changes and trouble until the time is over; then all oracles."""
    reason = netns.why_not()
    net = None if reason else netns.Net()
    if reason:
        run.note(f"no partitions of the network in this run: {reason}")
    try:
        with run.cluster(coordinators=run.coordinators, net=net, with_shim=True) as cluster:
            host = None
            if net:
                host = "client"
                net.host(host)
            load = Load(run, cluster, rate=rate, producers=producers, consumers=consumers, read="durable", host=host, marks_may_fall=True)
            meta = MetaLoad(run, cluster, 2, pace_s=0.05)
            nemesis = Nemesis(run, cluster, load, net)
            checked = run.age()
            while run.left() > 0:
                nemesis.once()
                if run.age() - checked > 60:  # now and then all has to be well, or a stuck cluster would pass as a broken one
                    checked = run.age()
                    mend(run, cluster, net)
                    load.heal()
                    meta.heal(10)
            mend(run, cluster, net)
            meta.heal(10)
            load.heal()
            load.stop_clients()
            load.judge()
            meta.finish()
            resources(run, cluster)
            load.compare_replicas()
            cluster.start(60)
            load.judge()
            meta.compare()
            run.held("O10 a restart of all gives the same state")
    finally:
        if net:
            net.close()


def resources(run, cluster):
    """After hours of trouble a process is as small as after minutes (O11)."""
    sizes = {node.name: (rss_mib(node), len(os.listdir(f"/proc/{node.process.pid}/fd"))) for node in cluster.nodes.values()}
    run.figures["rss_mib_and_descriptors"] = sizes
    for name, (mib, descriptors) in sizes.items():
        run.need(mib < 768 and descriptors < 2000, "O11 resources stay bounded", f"{name} has {mib} MiB and {descriptors} descriptors")


def rss_mib(node):
    for line in open(f"/proc/{node.process.pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


def mend(run, cluster, net):
    run.note("peace")
    if net:
        for node in cluster.nodes:
            net.rate(node, 0)
    for node in cluster.brokers:
        cluster.admin("broker_drain", 30, broker_id=node.number, undo=True) if cluster.active() else None
    revive(cluster)
