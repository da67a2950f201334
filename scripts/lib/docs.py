#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""What pages say about the tree is there: every relative link has a target, every `file.c:function` is defined in that file."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
FUNCTION = re.compile(r"`([\w./-]+\.[ch]):(\w+)`")
TREE_FILE = re.compile(r"`((?:lib|nodes|coordinator|cli|schemas|tests|scripts|docs|cmake)/[\w./-]*\.(?:c|h|py|json|trace|supp|md|cmake))`")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def defines(path: pathlib.Path, function: str) -> bool:
    """Is there a line that begins with a type and ends this function's parameter list without a semicolon?"""
    text = path.read_text(errors="replace")
    for match in re.finditer(rf"^[A-Za-z_][^;\n]*\b{re.escape(function)}\(", text, re.MULTILINE):
        depth, at = 1, match.end()
        while depth and at < len(text):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        rest = text[at:].lstrip()
        if rest.startswith("{") or path.suffix == ".h":
            return True
    return False


def find(name: str):
    """The file of that path, or the only one whose path ends so."""
    if (ROOT / name).is_file():
        return ROOT / name
    tracked = subprocess.run(["git", "ls-files", f"*{name}"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    hits = [hit for hit in tracked if hit.endswith("/" + name)]
    return ROOT / hits[0] if len(hits) == 1 else None


def problems_of(page: pathlib.Path):
    name = page.relative_to(ROOT).as_posix()
    text = FENCE.sub(lambda match: "\n" * match.group(0).count("\n"), page.read_text())
    for number, line in enumerate(text.splitlines(), 1):
        for target in LINK.findall(line):
            if not (page.parent / target).exists():
                yield f"{name}:{number}: the link to {target} leads nowhere"
        for path, function in FUNCTION.findall(line):
            found = find(path)
            if found is None:
                yield f"{name}:{number}: {path} is not there, or there are several"
            elif not defines(found, function):
                yield f"{name}:{number}: {path} does not define {function}"
        for path in TREE_FILE.findall(line):
            if not (ROOT / path).exists():
                yield f"{name}:{number}: {path} is not there"


def main() -> int:
    names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True)
    pages = [ROOT / name for name in names.stdout.split("\n") if name and (ROOT / name).is_file()]
    found = [problem for page in pages for problem in problems_of(page)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
