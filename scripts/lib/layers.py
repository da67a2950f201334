#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Reads every include of the source tree and refuses those that a layer may not have (docs/STYLE.md, Layers)."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# folder -> folders whose headers it may include (besides its own, generated and public ones)
ALLOWED = {
    "lib/base": [],
    "lib/wire": ["lib/base"],
    "lib/log": ["lib/base", "lib/wire"],
    "lib/core": ["lib/base", "lib/wire"],
    "lib/net": ["lib/base", "lib/wire"],
    "lib/client": ["lib/base", "lib/wire", "lib/log", "lib/core"],
    "lib/topology": ["lib/base", "lib/wire"],
    "lib/testing": ["lib/base", "lib/wire", "lib/log", "lib/client", "lib"],  # of lib: testing_gate.h
    "nodes/broker": ["lib/base", "lib/wire", "lib/log", "lib/core"],
    "nodes/edge": ["lib/base", "lib/wire", "lib/log", "lib/core", "lib/client"],  # made of parts, too
    "coordinator": ["lib/base", "lib/wire", "lib/log", "lib/core"],
    # nodes beside broker and coordinator stand on the public headers, as anybody's do
    "nodes/common": ["lib/base", "lib/wire"],
    **{f"nodes/{name}": ["lib/base", "lib/wire", "nodes/common"] for name in ("tap", "recorder", "player", "bridge", "filter")},
    "nodes/player": ["lib/base", "lib/wire", "nodes/common", "nodes/recorder"],  # it plays what the recorder wrote: one form of frames
}
# sockets are only spoken in lib/net and in the glue directly in lib/
SOCKETS = re.compile(r"<(zmq|czmq|zsock|zactor)[a-z_]*\.h>")
SOCKET_FOLDERS = {"lib/net", "lib", "cli", "lib/include/weft"} | {
    f"nodes/{name}" for name in ("common", "tap", "recorder", "player", "bridge", "filter")}
SOCKET_FILES = {"lib/base/options_file.c"}  # ZPL files are read with CZMQ's zconfig


def folder_of(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).parent.as_posix()


def problems_of(path: pathlib.Path):
    folder = folder_of(path)
    relative = path.relative_to(ROOT).as_posix()
    for number, line in enumerate(path.read_text().splitlines(), 1):
        where = f"{relative}:{number}"
        if SOCKETS.search(line) and folder not in SOCKET_FOLDERS and relative not in SOCKET_FILES:
            yield f"{where}: sockets belong to lib/net: {line.strip()}"
        match = re.match(r'\s*#include "([^"]+)"', line)
        if not match or folder not in ALLOWED:
            continue
        target = (path.parent / match.group(1)).resolve()
        if not target.exists():
            yield f"{where}: {match.group(1)} does not exist"
            continue
        other = folder_of(target)
        if other != folder and other not in ALLOWED[folder]:
            yield f"{where}: {folder} may not include {other}: {line.strip()}"


def main() -> int:
    found = []
    for pattern in ("lib/**/*.[ch]", "nodes/**/*.[ch]", "coordinator/*.[ch]", "cli/*.[ch]"):
        for path in sorted(ROOT.glob(pattern)):
            found.extend(problems_of(path))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
