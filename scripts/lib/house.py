#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""House rules that a script can see: licence lines, unfinished words, tests without promises or with sleeps, lengths."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE_LINES_MAX = 700
WORDS = re.compile(r"\b(TODO|FIXME|XXX|HACK|unimplemented|not implemented yet)\b")
SLEEPS = re.compile(r"\b(usleep|nanosleep|zclock_sleep|time\.sleep|sleep)\s*\(")


def tracked():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def badly_named_tests(name: str, text: str):
    """Names given to cmocka, also through a macro of the file that passes its parameter on."""
    makers = [r"cmocka_unit_test(?:_\w+)?"]
    for macro, parameter, body in re.findall(r"^#define (\w+)\((\w+)\) (.*cmocka_unit_test.*)$", text, re.MULTILINE):
        if re.search(rf"\({parameter}\b", body):
            makers.append(macro)
    uses = re.sub(r"^#define .*$", "", text, flags=re.MULTILINE)
    for match in re.finditer(rf"\b(?:{'|'.join(makers)})\(\s*(\w+)", uses):
        if not re.match(r"test_\w+__\w+", match.group(1)):
            yield f"{name}: {match.group(1)}: a test is named test_<module>__<what_it_promises>"


def problems_of(path: pathlib.Path):
    name = path.relative_to(ROOT).as_posix()
    code = path.suffix in {".c", ".h", ".py", ".sh", ".cmake"} or (name.startswith("scripts/") and path.suffix == "")
    if not code:
        return
    text = path.read_text(errors="replace")
    lines = text.splitlines()
    if not any("SPDX-License-Identifier: MPL-2.0" in line for line in lines[:3]):
        yield f"{name}:1: the line 'SPDX-License-Identifier: MPL-2.0' is missing"
    if path.suffix in {".c", ".h", ".py"} and len(lines) > FILE_LINES_MAX:
        yield f"{name}: {len(lines)} lines, more than {FILE_LINES_MAX}: split it along its seams"
    for number, line in enumerate(lines, 1):
        if WORDS.search(line) and name != "scripts/lib/house.py":
            yield f"{name}:{number}: what is not done belongs in an issue: {line.strip()}"
        if name.startswith("tests/") and SLEEPS.search(line) and "allow-sleep" not in line:
            yield f"{name}:{number}: a test waits for a condition with a deadline, it does not sleep: {line.strip()}"
        if len(line) > 160 and path.suffix in {".c", ".h"}:
            yield f"{name}:{number}: {len(line)} columns"
    if name.startswith("tests/") and path.name.startswith("test_") and path.suffix == ".c":
        yield from badly_named_tests(name, text)


def main() -> int:
    found = [problem for path in tracked() for problem in problems_of(path)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
