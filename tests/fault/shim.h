// SPDX-License-Identifier: MPL-2.0
/**
 * What the preloaded shim (shim.c), its power-failure tool (power.py) and the harness (shim.py) share: the control page
 * and the journal.
 *
 * Environment: WEFT_FAULT_DIR (absolute path: calls on files below it are watched), WEFT_FAULT_JOURNAL (a file outside
 * of it; beside it FILE.d keeps what was unlinked or replaced), WEFT_FAULT_CONTROL (a file of 4,096 bytes, mapped:
 * whoever writes into it changes the process at its next call). Each may be absent.
 *
 * Python packs the same structs: change both (shim.py: RULE, HEAD; power.py: EVENT).
 */
#ifndef WEFT_FAULT_SHIM_H
#define WEFT_FAULT_SHIM_H

#include <stdint.h>

enum shim_op {
    SHIM_WRITE,    // write, pwrite, pwritev
    SHIM_SYNC,     // fsync, fdatasync of a file
    SHIM_SYNC_DIR, // fsync of a directory
    SHIM_SYNC_ALL, // syncfs
    SHIM_CREATE,   // open that may create
    SHIM_RENAME,
    SHIM_UNLINK, // rmdir too
    SHIM_MKDIR,
    SHIM_TRUNCATE,
    SHIM_ALLOCATE, // fallocate
    SHIM_READ,     // pread
    SHIM_OPS
};

enum shim_action {
    SHIM_NONE,
    SHIM_FAIL,        // with `error`; a sync that fails loses what it was to sync: "page then clean"
    SHIM_SHORT,       // a write takes half of the bytes
    SHIM_KILL_BEFORE, // SIGKILL to itself before the call
    SHIM_KILL_AFTER,  // or after it
    SHIM_DELAY,       // `delay_ms` before the call
    SHIM_HANG         // until the rule is changed
};

enum { SHIM_MAGIC = 0x5745464c, SHIM_RULES = 16, SHIM_PAGE_BYTES = 4096 };

struct shim_rule {
    uint32_t op;
    uint32_t action;
    int64_t after; // matching calls that pass first; the shim counts it down
    int64_t times; // how often it hits, -1: always; counted down
    int32_t error;
    uint32_t delay_ms;
    char match[40]; // part of the path; "": every path
    uint64_t hits;
};

struct shim_control {
    uint32_t magic;
    uint32_t reserved;
    int64_t room;     // bytes that files may still grow by, -1: no limit; then ENOSPC
    int64_t clock_ms; // the wall clock runs so far ahead (or, negative, behind)
    uint64_t calls[16];
    struct shim_rule rules[SHIM_RULES];
};

enum shim_event_type {
    SHIM_EV_CREATE = 1, // text: path
    SHIM_EV_WRITE,      // a: offset, b: bytes, c: size before; text: what stood there before, where something did
    SHIM_EV_TRUNCATE,   // a: size before, b: size after; text: the bytes cut off
    SHIM_EV_SYNC_BEGIN, // a: token
    SHIM_EV_SYNC_END,   // a: token, b: errno (0: everything written before the beginning is safe)
    SHIM_EV_DIR_BEGIN,  // the same of a directory; text: path
    SHIM_EV_DIR_END,
    SHIM_EV_ALL_BEGIN, // the same of everything
    SHIM_EV_ALL_END,
    SHIM_EV_RENAME, // text: from, zero, to; a: number of what was replaced in FILE.d, 0: nothing
    SHIM_EV_UNLINK, // text: path; a: number in FILE.d
    SHIM_EV_MKDIR,
    SHIM_EV_RMDIR
};

// Written after the call succeeded and before it returns: what a kill hides was written and not synced, and is simply kept.
struct shim_event {
    uint32_t bytes; // of event and text
    uint32_t type;
    uint64_t inode;
    int64_t a, b, c;
};

#endif
