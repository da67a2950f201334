# SPDX-License-Identifier: MPL-2.0
"""scripts/faults: runs rows of the fault matrix on real processes and reports.

usage:
  scripts/faults list
  scripts/faults run ROW... | all            [--seconds S] [--seed N]
  scripts/faults smoke                       M1, D1 and D13 briefly, M5, M9, M10, D4, D5, D6: about two minutes
  scripts/faults soak --minutes N --seed S   everything at random, all oracles
  scripts/faults timings [leader] [both] [drain] [--runs 20]    pauses of writing: leader killed, coordinator with it, drain
options: --build DIR (with the programs built), --coordinators N (default 3; the rows M have their own), --dir DIR (for the runs; default a temporary one), --report FILE (Markdown), --quiet

A run that failed keeps its directory (traces, data, histories) and prints its seed. The same seed gives the same schedule; processes and the
kernel still take their own time. Status 0: all good (skipped rows are told), 1: something was found, 2: wrong usage.
"""

import argparse
import pathlib
import random
import shutil
import sys
import tempfile
import time
import traceback

import netns
import nodes
import rows_data
import rows_groups  # noqa: F401: registers its row
import rows_meta  # noqa: F401
import timings
from runs import Run, Skipped

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMOKE = [("M1", 8), ("D1", 8), ("M5", 6), ("M9", 9), ("M10", 9), ("D4", 0), ("D5", 0), ("D6", 0), ("D13", 0)]


def by_number(name):
    return (name[0] != "M", int(name[1:]))


def find_build(given):
    places = [pathlib.Path(given)] if given else [ROOT / "build" / kind for kind in ("release", "debug")]
    missing = []
    for place in places:
        tools = nodes.Tools(place)
        missing = tools.missing()
        if not missing:
            return tools
    print(f"scripts/faults: not built: {missing[0]} (cmake --preset release && cmake --build build/release)", file=sys.stderr)
    sys.exit(2)


def one(options, tools, name, seconds, body):
    """Runs a body; ("ok" | "failed" | "skipped", run)."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix=f"weft-fault-{name}-", dir=options.dir))
    run = Run(tools, name, options.seed, seconds, directory, say=(lambda text: None) if options.quiet else lambda text: print(f"  {text}", flush=True))
    state = "ok"
    try:
        body(run)
    except Skipped as reason:
        state, run.reason = "skipped", str(reason)
    except Exception as error:  # a test that breaks down has not shown that all is well
        run.find("the run itself", f"{type(error).__name__}: {error}")
        run.schedule.append(traceback.format_exc())
    if run.findings:
        state = "failed"
    took = f"{time.monotonic() - run.started:.0f} s"
    if state == "failed":
        (directory / "findings").write_text("\n".join(f"{oracle}: {text}" for oracle, text in run.findings) + "\n\n" + "\n".join(run.schedule) + "\n")
        print(f"FAILED {name} seed {options.seed} ({took}): {len(run.findings)} findings, the first: {run.findings[0][0]}: {run.findings[0][1]}")
        print(f"       its directory: {directory}", flush=True)
    else:
        shutil.rmtree(directory, ignore_errors=True)
        print(f"{state} {name} seed {options.seed} ({took}) {run.reason if state == 'skipped' else summary(run)}", flush=True)
    return state, run


def summary(run):
    shown = {key: run.figures[key] for key in ("acked", "unknown", "missing", "gap_ms", "elections", "coordinator_elections", "metadata_acked") if key in run.figures}
    return " ".join(f"{key} {value}" for key, value in shown.items()) + f" faults {sum(run.faults.values())}"


def markdown(results):
    lines = ["# Fault runs", "", "| row | result | seed | seconds | faults | acked | unknown | missing | longest pause ms | elections | findings |", "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|"]
    for state, run in results:
        f = run.figures
        lines.append(f"| {run.row} | {state} | {run.seed} | {run.age():.0f} | {sum(run.faults.values())} | {f.get('acked', '')} | {f.get('unknown', '')} | {f.get('missing', '')} | "
                     f"{f.get('gap_ms', '')} | {f.get('elections', '')} | {run.reason if state == 'skipped' else len(run.findings) or ''} |")
    for state, run in results:
        if state == "skipped":
            continue
        lines += ["", f"## {run.row}", "", "| oracle | verdict |", "|---|---|"]
        broken = {oracle for oracle, _ in run.findings}
        lines += [f"| {oracle} | {'**broken**' if oracle in broken else 'holds'} |" for oracle in sorted(set(run.verdicts) | broken)]
        lines += ["", "Faults: " + (", ".join(f"{kind} {count}" for kind, count in sorted(run.faults.items())) or "none") + ".", "",
                  "Figures: " + ", ".join(f"{key} {value}" for key, value in run.figures.items()) + "."]
        if run.findings:
            lines += ["", "Found:", ""] + [f"- {oracle}: {text}" for oracle, text in run.findings[:50]]
        lines += ["", "<details><summary>Schedule</summary>", "", "```", *run.schedule, "```", "", "</details>"]
    return "\n".join(lines) + "\n"


def arguments(argv):
    parser = argparse.ArgumentParser(prog="scripts/faults", usage=__doc__.split("usage:\n", 1)[1])
    parser.add_argument("verb", choices=["list", "run", "smoke", "soak", "timings"])
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--build")
    parser.add_argument("--dir")
    parser.add_argument("--report", type=pathlib.Path)
    parser.add_argument("--coordinators", type=int, default=3)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args(argv)
    Run.coordinators = options.coordinators
    options.seed = random.randrange(1, 1000000) if options.seed is None else options.seed
    return options


def main(argv):
    options = arguments(argv)
    rows = rows_data.ROWS
    if options.verb == "list":
        for name in sorted(rows, key=by_number):
            print(f"{name:4} {rows[name][2]:3} s  {rows[name][1]}")
        print("D18  is not here: two builds of different versions are needed, and there is one version yet")
        return 0
    tools = find_build(options.build)
    plan = []
    if options.verb == "run":
        names = sorted(rows, key=by_number) if options.rows == ["all"] else [name.upper() for name in options.rows]
        unknown = [name for name in names if name not in rows]
        if unknown or not names:
            print(f"scripts/faults: {', '.join(unknown) or 'run takes rows'}: scripts/faults list shows them", file=sys.stderr)
            return 2
        plan = [(name, options.seconds if options.seconds is not None else rows[name][2], rows[name][0]) for name in names]
    elif options.verb == "smoke":
        plan = [(name, seconds, rows[name][0]) for name, seconds in SMOKE]
    elif options.verb == "soak":
        plan = [("soak", options.minutes * 60, rows["D16"][0])]
    else:
        plan = [("timings", 0, lambda run: timings.measure(run, options.runs, options.rows or list(timings.BARS), report=options.report))]
    results = []
    try:
        for name, seconds, body in plan:
            print(f"{name}: {rows[name][1] if name in rows else ''} (seed {options.seed})", flush=True)
            results.append(one(options, tools, name, seconds, body))
    finally:
        if options.report and options.verb != "timings":
            options.report.write_text(markdown(results))
        netns.sweep()
    failed = [run.row for state, run in results if state == "failed"]
    skipped = [run.row for state, run in results if state == "skipped"]
    print(f"{len(results) - len(failed) - len(skipped)} good, {len(failed)} failed{': ' + ' '.join(failed) if failed else ''}, {len(skipped)} skipped{': ' + ' '.join(skipped) if skipped else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
