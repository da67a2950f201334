# SPDX-License-Identifier: MPL-2.0
"""A power failure: takes back a random part of what a killed process wrote and did not sync, by the journal of the preloaded shim.

What a disk may do is played per file: nothing of the unsynced bytes is there, all of them, a prefix to a sector's end, or each sector by
itself new, old, zero or (behind the synced size) garbage. Of the creates, renames and removals in a directory that no fsync of it covered a
random number of the last ones is undone. What was synced is never touched; what a failed fsync was to write is unsynced for ever, unless it
is written again (Linux calls such pages clean). A process that is only killed keeps its unsynced bytes: they stay in the books until they are
synced or the power fails.
"""

import os
import pathlib
import shutil
import struct

EVENT = struct.Struct("<IIQqqq")
(CREATE, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, DIR_BEGIN, DIR_END, ALL_BEGIN, ALL_END, RENAME, UNLINK, MKDIR, RMDIR) = range(1, 14)
NAMES = {CREATE: "create", RENAME: "rename", UNLINK: "unlink", MKDIR: "mkdir", RMDIR: "rmdir"}
SECTOR = 512


class Change:
    """Unsynced: a write or truncation of a file, or an operation on names."""

    def __init__(self, place, kind, inode, a, b, c, text):
        self.place, self.kind, self.inode, self.a, self.b, self.c, self.text = place, kind, inode, a, b, c, text

    def paths(self):
        return [part.decode() for part in self.text.split(b"\0")] if self.kind in NAMES else []


def parent(path):
    return path.rsplit("/", 1)[0]


class Disk:
    """What of a directory is not on the disk yet. read() while no process writes the journal, then fail() for the power failure."""

    def __init__(self, journal):
        self.journal = pathlib.Path(journal)
        self.graves = pathlib.Path(f"{journal}.d")
        self.place = 0
        self.begins = {}  # token -> place of the beginning of a sync
        self.files = {}  # inode -> changes, oldest first
        self.doomed = {}  # inode -> [(offset, end)]: a sync of them failed
        self.names = []  # operations on names, oldest first, each with the directories whose sync it waits for

    # ---- reading the journal

    def read(self):
        """Takes in what the journal says and empties it."""
        if not self.journal.exists():
            return self
        data = self.journal.read_bytes()
        at = 0
        while at + EVENT.size <= len(data):
            size, kind, inode, a, b, c = EVENT.unpack_from(data, at)
            if at + size > len(data):
                break  # killed in the middle of the note
            self.take(kind, inode, a, b, c, data[at + EVENT.size : at + size])
            at += size
        os.truncate(self.journal, 0)
        return self

    def take(self, kind, inode, a, b, c, text):
        self.place += 1
        if kind in (WRITE, TRUNCATE):
            self.files.setdefault(inode, []).append(Change(self.place, kind, inode, a, b, c, text))
        elif kind in NAMES:
            change = Change(self.place, kind, inode, a, b, c, text)
            if kind == CREATE:
                self.files.pop(inode, None)  # another file under an old inode number
                self.doomed.pop(inode, None)
            self.names.append((change, {parent(path) for path in change.paths()}))
        elif kind in (SYNC_BEGIN, DIR_BEGIN, ALL_BEGIN):
            self.begins[a] = self.place
        else:
            self.end_of_sync(kind, inode, self.begins.pop(a, None), b == 0, text.decode())

    def end_of_sync(self, kind, inode, begin, good, path):
        if begin is None:
            return
        if kind in (SYNC_END, ALL_END):
            for each in [inode] if kind == SYNC_END else list(self.files):
                self.settle(each, begin, good)
        if good and kind in (DIR_END, ALL_END):
            for change, waits in self.names:
                if change.place < begin:
                    waits.difference_update({path} if kind == DIR_END else set(waits))
            self.bury_for_good([change for change, waits in self.names if not waits])
            self.names = [(change, waits) for change, waits in self.names if waits]

    def settle(self, inode, begin, good):
        """The changes of a file before `begin` are on the disk, or lost for ever."""
        done = [change for change in self.files.get(inode, []) if change.place < begin]
        rest = [change for change in self.files.get(inode, []) if change.place > begin]
        if not good:
            self.doomed.setdefault(inode, []).extend(done)
        elif inode in self.doomed:
            written = [(change.a, change.a + change.b) for change in done if change.kind == WRITE]
            self.doomed[inode] = [change for change in self.doomed[inode] if not covered(change, written)]
        if rest:
            self.files[inode] = rest
        else:
            self.files.pop(inode, None)

    def bury_for_good(self, changes):
        for change in changes:
            if change.kind in (UNLINK, RENAME) and change.a:
                (self.graves / str(change.a)).unlink(missing_ok=True)

    # ---- the power failure

    def fail(self, directory, rng, how="random"):
        """Undoes: how = "random", or "all" that was not synced. Returns what was done, for the report."""
        done = {"names_undone": 0, "files_changed": 0, "bytes_lost": 0}
        self.undo_names(rng, how, done)
        paths = {os.lstat(os.path.join(root, name)).st_ino: os.path.join(root, name) for root, _, names in os.walk(directory) for name in names}
        for inode in sorted(set(self.files) | set(self.doomed)):
            if inode in paths:
                self.undo_bytes(paths[inode], self.files.get(inode, []), self.doomed.get(inode, []), rng, how, done)
        self.files, self.doomed, self.names, self.begins = {}, {}, [], {}
        shutil.rmtree(self.graves, ignore_errors=True)
        return done

    def undo_names(self, rng, how, done):
        keep_until = {}
        for change, waits in self.names:
            for directory in waits:
                places = [c.place for c, w in self.names if directory in w]
                keep_until.setdefault(directory, 0 if how == "all" else rng.choice([0, places[-1], rng.choice([0, *places])]))
        for change, waits in reversed(self.names):
            if any(change.place > keep_until[directory] for directory in waits):
                done["names_undone"] += self.undo_name(change)

    def undo_name(self, change):
        paths = change.paths()
        try:
            if change.kind == CREATE:
                os.unlink(paths[0])
            elif change.kind == MKDIR:
                shutil.rmtree(paths[0])
            elif change.kind == RMDIR:
                os.mkdir(paths[0])
            elif change.kind == UNLINK and change.a:
                os.link(self.graves / str(change.a), paths[0])
            elif change.kind == RENAME:
                os.rename(paths[1], paths[0])
                if change.a:
                    os.link(self.graves / str(change.a), paths[1])
            return 1
        except OSError:
            return 0  # a directory above it is gone with it

    def undo_bytes(self, path, changes, doomed, rng, how, done):
        doomed = [change for change in doomed if change.kind == WRITE]
        if not changes and not doomed:
            return
        with open(path, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            low = min(min(change.a, change.b) if change.kind == TRUNCATE else change.a for change in changes + doomed) // SECTOR * SECTOR
            file.seek(low)
            new = file.read()
            old = before(new, low, changes)
            for change in reversed(doomed):  # what came behind may have been synced since: the place stays, its bytes go
                end = min(change.a + change.b - low, len(old))
                if change.a - low < end:
                    old[change.a - low : end] = change.text.ljust(change.b, b"\0")[: end - (change.a - low)]
            out = choose(bytes(new), bytes(old), low, rng, how)
            if out == new:
                return
            file.seek(low)
            file.write(out)
            file.truncate(low + len(out))
        done["files_changed"] += 1
        done["bytes_lost"] += max(0, size - low - len(out))


def covered(change, ranges):
    """Every byte of a doomed write was written again (by one of the writes: Weft rewrites in larger pieces)."""
    return change.kind == WRITE and any(low <= change.a and change.a + change.b <= high for low, high in ranges)


def before(new, low, changes):
    """The bytes from `low` on as they were before the changes."""
    image = bytearray(new)
    for change in reversed(changes):
        if change.kind == WRITE:
            at = change.a - low
            image[at : at + len(change.text)] = change.text
            if change.a + change.b > change.c:  # it had grown the file
                del image[max(0, change.c - low) :]
        elif change.a > change.b and len(change.text) == change.a - change.b:
            image.extend(bytes(max(0, change.b - low - len(image))))
            image[change.b - low :] = change.text
    return image


def choose(new, old, low, rng, how):
    pick = 0 if how == "all" else rng.random()
    if pick < 0.25:
        return old
    if pick < 0.4:
        return new
    longer = max(len(new), len(old))
    if pick < 0.65:
        cut = rng.randrange(0, longer // SECTOR + 1) * SECTOR
        return new[:cut] + old[cut:]
    size = len(new) if len(new) <= len(old) else rng.choice([len(new), len(old), rng.randint(len(old), len(new))])
    out = bytearray()
    for at in range(0, size, SECTOR):
        sector_new, sector_old = new[at : at + SECTOR].ljust(SECTOR, b"\0"), old[at : at + SECTOR].ljust(SECTOR, b"\0")
        choices = [sector_new, sector_new, sector_old]
        if at >= len(old):
            choices += [bytes(SECTOR), rng.randbytes(SECTOR)]
        out += rng.choice(choices)
    return bytes(out[:size])
