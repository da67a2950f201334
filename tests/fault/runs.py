# SPDX-License-Identifier: MPL-2.0
"""One run of a row: its seed, directory, schedule, load and verdict.

A row is a function of a Run. It makes a cluster, puts load on it, breaks things, heals them and lets the oracles judge. What they find is
collected; a run is good if nothing was found. A run that can't be made here raises Skipped with the reason.
"""

import collections
import pathlib
import random
import signal
import threading
import time

import clients
import logs
import netns
import nodes
from proxy import Proxy

HEAL_S, CAUGHT_UP_S, WRITE_S = 60, 60, 10


class Skipped(Exception):
    """The row can't run here; said with the reason, never passed in silence."""


class Run:
    coordinators = 3  # of a row that is about the data

    def __init__(self, tools, row, seed, seconds, directory, say=print):
        self.tools, self.row, self.seed, self.seconds, self.say = tools, row, seed, seconds, say
        self.directory = pathlib.Path(directory)
        self.rng = random.Random(f"{row} {seed}")
        self.started = time.monotonic()
        self.schedule, self.findings, self.figures, self.faults, self.verdicts = [], [], {}, collections.Counter(), {}

    def age(self):
        return time.monotonic() - self.started

    def left(self):
        """Seconds of trouble that are left."""
        return self.seconds - self.age()

    def note(self, text):
        line = f"{self.age():7.2f} s  {text}"
        self.schedule.append(line)
        self.say(line)

    def fault(self, kind, text=""):
        self.faults[kind] += 1
        self.note(f"{kind} {text}".rstrip())

    def find(self, oracle, text):
        self.findings.append((oracle, text))
        if sum(each == oracle for each, _ in self.findings) <= 5:  # the rest is counted
            self.note(f"FOUND {oracle}: {text}")

    def held(self, oracle):
        """The oracle was asked; whatever it found is among the findings."""
        self.verdicts.setdefault(oracle, True)

    def need(self, condition, oracle, text):
        self.held(oracle)
        if not condition:
            self.find(oracle, text)
        return condition

    def pause(self, low, high=None):
        """Some time in which nothing new is broken."""
        seconds = low if high is None else self.rng.uniform(low, high)
        time.sleep(max(0.0, seconds))  # allow-sleep: the faults' own schedule

    def network(self):
        reason = netns.why_not()
        if reason:
            raise Skipped(reason)
        return netns.Net()

    def proxy(self):
        return Proxy(self.tools.proxy)

    def cluster(self, name="cluster", **options):
        return nodes.Cluster(self.tools, self.directory / name, **options)


class Watch:
    """Looks at the cluster ten times a second while things break: leaders by epoch (O5), marks that never fall (O6), processes that end by themselves (O9)."""

    def __init__(self, run, cluster, topic, marks_may_fall=False):
        self.run, self.cluster, self.topic, self.marks_may_fall = run, cluster, topic, marks_may_fall
        self.leaders, self.coordinators, self.marks, self.told = {}, {}, {}, set()
        self.may_end = set()  # names of nodes that may end by themselves (a failed disk)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        rng = random.Random(self.run.seed)
        while not self.over.wait(0.1):
            self.processes()
            node = rng.choice(self.cluster.brokers)
            if self.cluster.net is None or rng.random() < 0.3:
                self.look(node)

    def processes(self):
        for node in self.cluster.nodes.values():
            process = node.process
            code = process.poll() if process else None
            if code is None or code == -signal.SIGKILL or (code == 0 and node.asked) or process in self.told:
                continue
            self.told.add(process)
            if node.name not in self.may_end:
                self.run.find("O9 nobody ends by himself", f"{node.name} ended with {code}: {node.last_words(3)}")

    def look(self, node):
        if not node.running() or node.stopped:
            return
        reply = node.ask("metadata", 0.3, topics=[self.topic])
        for topic in (reply or {}).get("topics", []):
            for p in topic.get("partitions", []):
                self.partition(node, p)
        for each in self.cluster.coordinators:  # whoever says that it leads is counted, also two at once
            status = each.ask("cluster_status", 0.2) if each.running() and not each.stopped else None
            if status and not status.get("error"):
                self.coordinators.setdefault(status["epoch"], set()).add(status["coordinator"])

    def partition(self, node, p):
        if p["leader"] < 0:
            return
        self.leaders.setdefault((p["partition"], p["epoch"]), set()).add(p["leader"])
        if p["leader"] != node.number:
            return
        reply = node.ask("partition_status", 0.3, topic=self.topic, partition=p["partition"])
        if not reply or reply.get("error"):
            return
        # Held against marks that were known before the question was asked.
        epoch, mark = self.marks.get(p["partition"], (-1, -1))
        if reply["epoch"] >= epoch and reply["high_watermark"] < mark and not self.marks_may_fall:
            self.run.find("O6 marks never fall", f"partition {p['partition']}: {mark} in epoch {epoch}, then {reply['high_watermark']} in epoch {reply['epoch']} at {node.name}")
        self.marks[p["partition"]] = (max(epoch, reply["epoch"]), max(mark, reply["high_watermark"]))

    def elections(self):
        return len(self.leaders), len(self.coordinators)

    def close(self):
        self.over.set()
        self.thread.join(10)
        self.processes()
        self.run.held("O9 nobody ends by himself")
        for (partition, epoch), who in self.leaders.items():
            self.run.need(len(who) == 1, "O5 one leader an epoch", f"partition {partition} epoch {epoch}: {sorted(who)}")
        for epoch, who in self.coordinators.items():
            self.run.need(len(who) == 1, "O5 one leader an epoch", f"coordinator epoch {epoch}: {sorted(who)}")


class Load:
    """Producers and consumers of one topic, and what is asked of them when all is over."""

    def __init__(self, run, cluster, topic="faults", producers=4, consumers=3, rate=150, partitions=6, replicas=None, read="committed", acks="all", durable="true",
                 host=None, size=100, create=True, min_insync=None, marks_may_fall=False, first=0, config=None, settings=None):
        self.run, self.cluster, self.topic, self.read, self.host = run, cluster, topic, read, host
        self.histories = run.directory / f"histories-{topic}"
        self.consumer_count = consumers
        if create:
            replicas = replicas or min(3, len(cluster.brokers))
            cluster.create(topic, partitions, replicas, **{"min_insync": min_insync or (replicas + 1) // 2, "segment_bytes": "1MiB", **(config or {})})
        producer = {"acks": acks, "durable": durable, "delivery.timeout.ms": "60s", **(settings or {})}
        if acks != "all":
            producer.pop("durable")
        self.producers = clients.Workload(cluster, "produce", topic, self.histories, producers, first, host=host, rate=rate, bytes=size, settings=producer)
        self.consumers = clients.Workload(cluster, "consume", topic, self.histories, consumers, first + 500, host=host,
                                          settings={"read": read, "reset": "earliest"}) if consumers else None
        self.watch = Watch(run, cluster, topic, marks_may_fall)
        self.producers.wait_acked(20, 30)

    def heal(self):
        """Faults are over: the cluster has to be whole again, and to take records."""
        run, cluster = self.run, self.cluster
        started = time.monotonic()
        try:
            self.producers.wait_acked(20, HEAL_S if run.faults else WRITE_S)
            run.figures["write_after_heal_s"] = round(time.monotonic() - started, 2)
            run.need(run.figures["write_after_heal_s"] <= WRITE_S, "O9 writes go on within 10 s", f"{run.figures['write_after_heal_s']} s")
            cluster.wait_healthy(HEAL_S)
            cluster.wait_settled(self.topic, HEAL_S)
            run.figures["settled_after_heal_s"] = round(time.monotonic() - started, 2)
        except AssertionError as error:
            run.find("O9 all is well again", str(error))
        run.held("O9 all is well again")

    def stop_clients(self):
        run = self.run
        try:
            self.producers.finish(120)
        except (AssertionError, OSError) as error:
            run.find("O9 producers end", str(error))
        if self.consumers:
            wanted = self.producers.acked * self.consumer_count
            try:
                nodes.wait_until(lambda: self.consumers.read >= wanted, f"consumers read {wanted}, so far {self.consumers.read}", CAUGHT_UP_S)
            except AssertionError as error:
                run.find("O9 consumers catch up", f"{error} ({self.consumers.read} at the end)")
            run.held("O9 consumers catch up")
            self.consumers.finish(60)
        self.watch.close()

    def judge(self, oracles=None):
        """The final read and the judge; oracles: which may be broken is left out."""
        run = self.run
        try:
            clients.read_final(self.cluster, self.topic, self.histories, host=self.host)
        except AssertionError as error:
            run.find("O9 the log can be read", str(error))
        found = clients.judge(self.cluster, self.histories)
        for oracle, problems in clients.verdicts(found).items():
            if oracles is None or oracle[:2] in oracles:
                run.held(oracle)
                for problem in problems:
                    run.find(oracle, problem)
        for name in ("sent", "acked", "unknown", "unknown_present", "refused", "read", "gap_ms", "partition_gap_ms"):
            run.figures[name] = found[name]
        run.figures["missing"] = found["found"]["missing"]["count"]
        run.figures["elections"], run.figures["coordinator_elections"] = self.watch.elections()
        return found

    def compare_replicas(self, rotten=False):
        """Stops everything and compares what brokers have on their disks (O6). rotten: bits were flipped on disks at rest; a batch that nobody has read
        since may still be bad, if `weft log verify` names it and another copy is good."""
        run, cluster = self.run, self.cluster
        reply = cluster.metadata(topics=[self.topic])
        topic = reply["topics"][0]
        hosts = {p["partition"]: p["replicas"] for p in topic["partitions"]}
        stop_all(run, cluster)
        for partition, replicas in hosts.items():
            copies = {f"broker-{n}": cluster[f"broker-{n}"].data / "topics" / topic["id"].hex() / str(partition) for n in replicas}
            if rotten:
                bad = [name for name, path in copies.items() if cluster.weft("log", "verify", path, status=None).returncode != 0]
                run.figures["damage_not_met_yet"] = run.figures.get("damage_not_met_yet", 0) + len(bad)
                copies = {name: path for name, path in copies.items() if name not in bad}
                run.need(copies, "O6 replicas have the same bytes", f"partition {partition}: every copy is damaged")
            differences, ends = logs.compare(copies)
            for difference in differences:
                run.find("O6 replicas have the same bytes", f"partition {partition}: {difference}")
            run.figures["offsets_compared"] = run.figures.get("offsets_compared", 0) + min(ends.values(), default=0)
            run.need(len(set(ends.values())) == 1, "O6 replicas have the same bytes", f"partition {partition} ends differ: {ends}")

    def finish(self, heal=None, oracles=None, compare=True, rotten=False):
        """All of it, in order."""
        if heal:
            heal()
        self.heal()
        self.stop_clients()
        found = self.judge(oracles)
        if compare:
            self.compare_replicas(rotten)
        return found


def stop_all(run, cluster):
    """A clean stop of every node: brokers first."""
    for group in (cluster.brokers, cluster.coordinators):
        for node in group:
            if node.running():
                try:
                    code = node.term()
                    run.need(code == 0, "O9 a clean stop is clean", f"{node.name} ended with {code}: {node.last_words(2)}")
                except Exception as error:  # a stop that hangs is a finding, not the end of the run
                    run.find("O9 a clean stop is clean", f"{node.name}: {error}")
                    node.kill()


def revive(cluster):
    """Every node that was killed, stopped, cut off or given a bad disk is as it was."""
    if cluster.net:
        cluster.net.heal()
    for node in cluster.nodes.values():
        if cluster.proxy:
            for link in (node.name, f"{node.name}-replica") if node.role == "broker" else (node.name,):
                cluster.proxy.heal(link)
        if node.shim:
            node.shim.clear()
        node.cont()
    for node in cluster.coordinators + cluster.brokers:
        if not node.running() and not node.spare:
            node.start()
