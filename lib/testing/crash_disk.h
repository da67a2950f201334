// SPDX-License-Identifier: MPL-2.0
/**
 * Crash disk: a disk in memory that knows what was synced, and forgets the rest at a crash.
 *
 * For every file it keeps what reads see and what the platter holds; for every directory, the entries and the changes that were not made
 * durable. weft_crash_disk_crash keeps a random part of what was not synced: sectors of 512 bytes one by one (old, new,
 * now and then garbage), a
 * length between the old and the new, creates, renames and unlinks in order up to some point or each by its own luck. Renames are
 * atomic. Handles that were open at the crash answer DISK_FAILED from then on; closing them stays right.
 *
 * A sync that is made to fail loses a random part of what it should have written for good, while reads still see it (what Linux does to
 * dirty pages after an error): a later sync that succeeds does not bring it back.
 *
 * Names in the root ("data", "/data") are durable at once: nobody syncs the root.
 *
 * Deterministic from the seeds it is given; one thread at a time. No call takes time.
 */
#ifndef WEFT_TESTING_CRASH_DISK_H
#define WEFT_TESTING_CRASH_DISK_H

#include "../base/disk.h"
#include "../base/rand.h"

typedef struct weft_crash_disk weft_crash_disk_t;

/** Chances, per million calls; all 0 to begin with. */
struct weft_crash_disk_faults {
    uint32_t read_eio, write_eio, write_enospc, sync_eio,
        open_eio;        // write: pwritev, truncate; open: also rename, unlink, mkdir
    int64_t space_bytes; // of all files together: DISK_FULL beyond; 0: no limit
};

struct weft_crash_disk_stats {
    uint64_t reads, writes, syncs, directory_syncs, faults, crashes;
    uint64_t sectors_lost, entries_lost; // by crashes
    int64_t bytes;                       // of all files, now
};

weft_crash_disk_t *weft_crash_disk_new(uint64_t seed); // the seed is for faults; crashes are given their own randomness
void weft_crash_disk_destroy(weft_crash_disk_t **self_p); // after all files were closed
const struct weft_disk *weft_crash_disk_of(weft_crash_disk_t *self);

void weft_crash_disk_faults_set(weft_crash_disk_t *self, const struct weft_crash_disk_faults *faults);
// Power loss. What is left is durable.
void weft_crash_disk_crash(weft_crash_disk_t *self, weft_rand_t *rand);
// kill -9: the page cache survives; handles die, locks go.
void weft_crash_disk_kill(weft_crash_disk_t *self);
// Rot: flips one random bit at rest, in a file whose path ends with `suffix` (NULL: any). False: there is no byte to
// flip. `path` (may be NULL) gets the victim.
bool weft_crash_disk_flip(weft_crash_disk_t *self, weft_rand_t *rand, const char *suffix, char *path,
                          size_t path_bytes);

// What a file holds as calls see it; nil if there is none. Borrowed until the next call. No fault touches these two.
weft_slice_t weft_crash_disk_peek(const weft_crash_disk_t *self, const char *path);
// The paths of all files right in a directory, sorted.
void weft_crash_disk_each(const weft_crash_disk_t *self, const char *directory,
                          void (*each)(void *context, const char *path, weft_slice_t bytes), void *context);

// Everything as it is now, durable, to be put back later: a copy that somebody made of the data directory. `save` is
// freed by the caller; restoring is for a disk that nobody uses.
struct weft_crash_save;
struct weft_crash_save *weft_crash_disk_save(const weft_crash_disk_t *self);
void weft_crash_disk_restore(weft_crash_disk_t *self, const struct weft_crash_save *save);
void weft_crash_save_destroy(struct weft_crash_save **save_p);
// A new disk in its place: nothing is there any more. For a disk that nobody uses.
void weft_crash_disk_wipe(weft_crash_disk_t *self);

struct weft_crash_disk_stats weft_crash_disk_stats(const weft_crash_disk_t *self);

#endif
