// SPDX-License-Identifier: MPL-2.0
/**
 * Quorum log: the entries of the quorum, in memory as far as they are kept, and in our own log on the disk.
 *
 * Entry i stands at offset i - 1, one batch an entry: a truncation then never takes a durable entry along. The batch's
 * leader epoch is the entry's term; the record's key is nil for a command, else one byte for the kind ('b' barrier, 'c'
 * voters) and, for voters, the id of the cluster; its value is the entry. What is in memory may be ahead of the disk:
 * a full disk is tried again.
 */
#ifndef WEFT_COORDINATOR_QUORUM_LOG_H
#define WEFT_COORDINATOR_QUORUM_LOG_H

#include "../lib/log/log.h"

struct weft_quorum_record {
    uint64_t term;
    uint8_t kind; // of raft.h: RAFT_COMMAND, RAFT_BARRIER, RAFT_CHANGE
    uint8_t *data;
    size_t size;
};

typedef struct weft_quorum_log {
    weft_log_t *log;
    weft_frame_pool_t *pool;
    struct weft_quorum_record *records; // [head, head + count)
    size_t head, count, capacity;
    uint64_t first; // index of the first of them; with none, of the next
    size_t bytes;
    weft_id_t cluster; // goes along with voters; read from the disk where it says so
    weft_batch_builder_t builder;
    weft_buf_t batch;
} weft_quorum_log_t;

/**
 * Opens, recovers and reads all into memory; syncs what may be in the page cache only. DAMAGED names file and place.
 */
WEFT_MUST_USE weft_err_t weft_quorum_log_open(weft_quorum_log_t *self, const struct weft_disk *disk, const char *path,
                                              int64_t synced_end, const char *name, struct weft_error *error);
void weft_quorum_log_fini(weft_quorum_log_t *self);

uint64_t weft_quorum_log_last(const weft_quorum_log_t *self);    // 0: nothing ever
uint64_t weft_quorum_log_written(const weft_quorum_log_t *self); // last index on the disk, synced or not
uint64_t weft_quorum_log_durable(const weft_quorum_log_t *self); // last index that is synced
// NULL if it is not kept (any more).
const struct weft_quorum_record *weft_quorum_log_get(const weft_quorum_log_t *self, uint64_t index);

// In memory; copied.
void weft_quorum_log_push(weft_quorum_log_t *self, uint64_t term, uint8_t kind, weft_slice_t data);
// Takes the last one back, which must not be on the disk.
void weft_quorum_log_pop(weft_quorum_log_t *self);
// Writes what is not on the disk, in order; what failed stays in memory.
WEFT_MUST_USE weft_err_t weft_quorum_log_flush(weft_quorum_log_t *self, int64_t wall_ms);
// Everything from `index` on goes, durably. Blocks.
WEFT_MUST_USE weft_err_t weft_quorum_log_truncate(weft_quorum_log_t *self, uint64_t index);
// Everything before `index` may go.
WEFT_MUST_USE weft_err_t weft_quorum_log_trim(weft_quorum_log_t *self, uint64_t index);
// All goes; the next entry is index + 1. Durable, blocks.
WEFT_MUST_USE weft_err_t weft_quorum_log_reset(weft_quorum_log_t *self, uint64_t index);
// Syncs all, blocking: at the start, where nothing else waits.
WEFT_MUST_USE weft_err_t weft_quorum_log_sync(weft_quorum_log_t *self);

#endif
