// SPDX-License-Identifier: MPL-2.0
/**
 * Fault disk: passes every call on to another disk, counts them, and makes chosen ones fail.
 *
 * For sweeps: run once without a fault and ask how many calls there were; then run again with the n-th failing, for
 * each n, and check what was acknowledged. Files opened through it stay usable after disarming. Safe from several
 * threads. It forgets nothing that was written: the loss of unsynced bytes is another disk's work.
 */
#ifndef WEFT_TESTS_SUPPORT_FAULT_DISK_H
#define WEFT_TESTS_SUPPORT_FAULT_DISK_H

#include "../../lib/base/disk.h"

// Kinds of calls, as bits.
enum {
    WEFT_FAULT_OPEN = 1 << 0,
    WEFT_FAULT_PREAD = 1 << 1,
    WEFT_FAULT_PWRITEV = 1 << 2,
    WEFT_FAULT_SIZE = 1 << 3,
    WEFT_FAULT_TRUNCATE = 1 << 4,
    WEFT_FAULT_PREALLOCATE = 1 << 5,
    WEFT_FAULT_SYNC = 1 << 6, // also sync_all
    WEFT_FAULT_RENAME = 1 << 7,
    WEFT_FAULT_UNLINK = 1 << 8,
    WEFT_FAULT_MKDIR = 1 << 9,
    WEFT_FAULT_RMDIR = 1 << 10,
    WEFT_FAULT_SYNC_DIRECTORY = 1 << 11,
    WEFT_FAULT_LIST = 1 << 12,
    WEFT_FAULT_LOCK = 1 << 13,
    WEFT_FAULT_FREE_BYTES = 1 << 14,
    WEFT_FAULT_ALL = (1 << 15) - 1,
    // Calls that change the disk or make it durable.
    WEFT_FAULT_CHANGES = WEFT_FAULT_PWRITEV | WEFT_FAULT_TRUNCATE | WEFT_FAULT_PREALLOCATE | WEFT_FAULT_SYNC |
                         WEFT_FAULT_RENAME | WEFT_FAULT_UNLINK | WEFT_FAULT_MKDIR | WEFT_FAULT_RMDIR |
                         WEFT_FAULT_SYNC_DIRECTORY
};

struct weft_fault {
    uint32_t kinds;          // which calls count
    uint64_t nth;            // the first of them that fails, from 1, counted from arming
    uint64_t times;          // how many fail from there on; 0: all
    weft_err_t err;          // DISK_FAILED, DISK_FULL, ...
    size_t short_bytes;      // a pwritev that fails has written this many bytes of its slices before (0: none)
    const char *path_suffix; // only calls on paths that end so; NULL: all. Borrowed until disarmed
};

typedef struct weft_fault_disk weft_fault_disk_t;

weft_fault_disk_t *weft_fault_disk_new(const struct weft_disk *under); // `under` is borrowed
void weft_fault_disk_destroy(weft_fault_disk_t **self_p);              // after all files were closed
const struct weft_disk *weft_fault_disk_of(weft_fault_disk_t *self);

void weft_fault_disk_arm(weft_fault_disk_t *self, const struct weft_fault *fault); // replaces an earlier one
void weft_fault_disk_disarm(weft_fault_disk_t *self);
uint64_t weft_fault_disk_fired(const weft_fault_disk_t *self); // calls that failed since arming

// Calls since the start or the last reset, failed ones included.
uint64_t weft_fault_disk_calls(const weft_fault_disk_t *self, uint32_t kinds);
void weft_fault_disk_calls_reset(weft_fault_disk_t *self);

#endif
