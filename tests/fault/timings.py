# SPDX-License-Identifier: MPL-2.0
"""How long nobody can write: leader killed, leader and active coordinator killed at once, broker drained. Default settings; last acknowledgement
to next acknowledgement on the partitions that the broker led."""

import time

import clients
import nodes

BARS = {"leader": 1500, "both": 4000, "drain": 100}
WHAT = {"leader": "kill -9 of a leader", "both": "kill -9 of leader and active coordinator", "drain": "drain of a broker"}


def measure(run, runs=20, what=tuple(BARS), partitions=6, report=None):
    figures = {}
    for kind in what:
        figures[kind] = one_kind(run, kind, runs, partitions)
        worst, bar = max(figures[kind]["gaps_ms"]), BARS[kind]
        run.need(worst <= bar, f"{kind}: at most {bar} ms", f"worst of {runs} was {worst:.0f} ms")
    text = table(figures, run.seed)
    run.say(text)
    if report:
        report.write_text(text)
    return figures


def one_kind(run, kind, runs, partitions):
    directory = run.directory / kind
    moments = []
    with run.cluster(name=f"cluster-{kind}", coordinators=run.coordinators) as cluster:
        cluster.create("timed", partitions, 3, min_insync=2)
        load = clients.Workload(cluster, "produce", "timed", directory, 2, 0, rate=1000, settings={"linger.ms": "0"})
        load.wait_acked(500, 30)
        for n in range(runs):
            cluster.wait_settled("timed", 60)
            run.pause(0.3, 0.8)
            victims, led = choose(run, cluster, kind)
            moments.append((time.monotonic_ns(), led))
            run.fault(kind, f"{n + 1} of {runs}: {', '.join(node.name for node in victims)}")
            if kind == "drain":
                reply = cluster.admin("broker_drain", broker_id=victims[0].number, undo=False)
                run.need(not reply.get("error"), "drain: at most 100 ms", f"{reply}")
                nodes.wait_until(lambda: all(p["leader"] != victims[0].number for p in cluster.partitions("timed")), "it leads nothing", 20)
                run.pause(0.5)
                cluster.admin("broker_drain", broker_id=victims[0].number, undo=True)
                cluster.admin("balance", replicas=False, bytes_per_second=-1, dry_run=False)
                nodes.wait_until(lambda: any(p["leader"] == victims[0].number for p in cluster.partitions("timed")), "it leads again", 30)
                continue
            for node in victims:
                node.kill()
            load.wait_acked(200, 30)
            run.pause(1.0, 1.2)
            for node in victims:
                node.start()
            cluster.wait_healthy(30)
        load.finish()
    times = {p: clients.ack_times(directory, p) for p in range(partitions)}
    gaps = [max([clients.gap_around(times[p], moment, moment + 5_000_000_000) for p in led], default=0.0) for moment, led in moments]
    return {"gaps_ms": gaps, "failed": load.failed, "acked": load.acked}


def choose(run, cluster, kind):
    """Whom to hit, and the partitions that it leads."""
    while True:
        active = cluster.active()
        leaders = {}
        for p in cluster.partitions("timed"):
            leaders.setdefault(p["leader"], []).append(p["partition"])
        leaders.pop(-1, None)
        if active and leaders:
            number = run.rng.choice(sorted(leaders))
            return [cluster[f"broker-{number}"]] + ([active] if kind == "both" else []), leaders[number]
        run.pause(0.1)


def table(figures, seed):
    lines = [f"Pauses of writing, seed {seed}: last acknowledgement to next acknowledgement on the partitions of the broker that was hit", "",
             "| what | runs | median ms | worst ms | bar ms | records failed |", "|---|---:|---:|---:|---:|---:|"]
    for kind, each in figures.items():
        gaps = sorted(each["gaps_ms"])
        lines.append(f"| {WHAT[kind]} | {len(gaps)} | {gaps[len(gaps) // 2]:.0f} | {gaps[-1]:.0f} | {BARS[kind]} | {each['failed']} |")
    return "\n".join(lines) + "\n"
