# SPDX-License-Identifier: MPL-2.0
"""Checks by name, run one by one, told as a table or as JSON: what the two halves of the conformance kit share."""

import fnmatch
import json
import sys
import time
import traceback

COLOUR = sys.stdout.isatty()


class Skipped(Exception):
    """This check does not apply here; the text says why."""


class Check:
    def __init__(self, section, run):
        self.section, self.run = section, run
        self.name = run.__name__.replace("__", ": ").replace("_", " ")
        self.doc = (run.__doc__ or "").strip()


def registry():
    """(list, decorator): @check("Section of docs/PROTOCOL.md") puts a function in the list."""
    checks = []

    def check(section):
        def add(run):
            checks.append(Check(section, run))
            return run
        return add
    return checks, check


def paint(text, code):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def selected(checks, patterns):
    return [c for c in checks if not patterns or any(fnmatch.fnmatch(c.name, f"*{pattern}*") for pattern in patterns)]


def list_checks(checks):
    for one in checks:
        print(f"{one.name}\n    {one.section}. {one.doc}")


def told(error):
    """Why a check failed, where it has no sentence of its own: the line of the check."""
    last = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith("_checks.py")][-1:]
    line = f"{last[0].filename.rpartition('/')[2]}:{last[0].lineno}: {last[0].line}" if last else ""
    if isinstance(error, AssertionError):
        return f"this does not hold, at {line}"
    kind = {KeyError: "a reply lacks the field", IndexError: "a reply holds less than was asked for:"}.get(
        type(error), f"a reply is not as the page says: {type(error).__name__}:")
    return f"{kind} {error} (at {line})"


def run(checks, world, as_json):
    """Runs each with `world`; returns the exit status: 0 when none failed."""
    results, section = [], None
    for one in checks:
        began = time.monotonic()
        outcome, why = "passed", ""
        try:
            one.run(world)
        except Skipped as skipped:
            outcome, why = "skipped", str(skipped)
        except AssertionError as error:
            outcome, why = "failed", str(error) or told(error)
        except Exception as error:  # whatever a strange peer makes of us: this check failed, the others go on
            outcome, why = "failed", told(error)
        results.append({"check": one.name, "section": one.section, "result": outcome, "why": why, "ms": round((time.monotonic() - began) * 1000)})
        if as_json:
            continue
        if one.section != section:
            section = one.section
            print(paint(section, "1"))
        mark = {"passed": paint("ok  ", 32), "failed": paint("FAIL", 31), "skipped": paint("skip", 33)}[outcome]
        print(f"  {mark} {one.name}" + (f"\n       {why}" if why else ""), flush=True)
    counts = {name: sum(r["result"] == name for r in results) for name in ("passed", "failed", "skipped")}
    if as_json:
        print(json.dumps({"checks": results, **counts}, indent=1))
    else:
        print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0
