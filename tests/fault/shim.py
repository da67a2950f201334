# SPDX-License-Identifier: MPL-2.0
"""The preloaded shim, seen from the test: which directory it watches, and the control page that makes calls fail (shim.h has the meaning)."""

import errno
import mmap
import os
import pathlib
import struct

OPS = ["write", "sync", "sync_dir", "sync_all", "create", "rename", "unlink", "mkdir", "truncate", "allocate", "read"]
ACTIONS = ["none", "fail", "short", "kill_before", "kill_after", "delay", "hang"]
MAGIC, RULES, PAGE = 0x5745464C, 16, 4096
HEAD = struct.Struct("<IIqq16Q")
RULE = struct.Struct("<IIqqiI40sQ")


class Shim:
    """One node's disk: rules in slots 0 to 15, set and cleared while the node runs or before it starts."""

    def __init__(self, library, directory, beside):
        """directory: what is watched; beside: an existing directory outside of it, on the same file system, for journal and control page."""
        self.library, self.directory, self.beside = pathlib.Path(library), pathlib.Path(directory).resolve(), pathlib.Path(beside).resolve()
        self.journal, self.control = self.beside / "journal", self.beside / "control"
        self.control.write_bytes(HEAD.pack(MAGIC, 0, -1, 0, *[0] * 16).ljust(PAGE, b"\0"))
        with open(self.control, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), PAGE)

    def environment(self):
        return {"LD_PRELOAD": str(self.library), "WEFT_FAULT_DIR": str(self.directory), "WEFT_FAULT_JOURNAL": str(self.journal),
                "WEFT_FAULT_CONTROL": str(self.control)}

    def _put(self, slot, op, action, after, times, error, delay_ms, match):
        # The action last: a rule is seen whole or not at all.
        at = HEAD.size + slot * RULE.size
        whole = RULE.pack(OPS.index(op), ACTIONS.index(action), after, times, error, delay_ms, match.encode(), 0)
        self.page[at + 4 : at + 8] = struct.pack("<I", 0)
        self.page[at + 8 : at + RULE.size] = whole[8:]
        self.page[at : at + 8] = whole[:8]

    def fail(self, op, error=errno.EIO, nth=1, times=1, match="", slot=0):
        """The nth matching call from now on fails (times -1: and all after it)."""
        self._put(slot, op, "fail", nth - 1, times, error, 0, match)

    def short(self, nth=1, times=1, match="", slot=0):
        self._put(slot, "write", "short", nth - 1, times, 0, 0, match)

    def die(self, op, nth=1, after=False, match="", slot=0):
        """The process kills itself at the nth matching call, before or after it is done."""
        self._put(slot, op, "kill_after" if after else "kill_before", nth - 1, 1, 0, 0, match)

    def delay(self, op, ms, match="", slot=0):
        self._put(slot, op, "delay", 0, -1, 0, ms, match)

    def hang(self, op, match="", slot=0):
        self._put(slot, op, "hang", 0, -1, 0, 0, match)

    def clear(self, slot=None):
        for each in range(RULES) if slot is None else [slot]:
            at = HEAD.size + each * RULE.size
            self.page[at + 4 : at + 8] = struct.pack("<I", 0)
        if slot is None:
            self.room(-1)

    def room(self, nbytes):
        """So many bytes more fit on the disk; -1: as many as one likes."""
        self.page[8:16] = struct.pack("<q", nbytes)

    def clock(self, ms):
        """The node's wall clock is so far ahead."""
        self.page[16:24] = struct.pack("<q", ms)

    def hits(self, slot=0):
        at = HEAD.size + slot * RULE.size
        return RULE.unpack(self.page[at : at + RULE.size])[7]

    def calls(self, op):
        return HEAD.unpack(self.page[: HEAD.size])[4 + OPS.index(op)]

    def close(self):
        self.page.close()


def environment_with(extra):
    return {**os.environ, **extra}
