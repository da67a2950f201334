// SPDX-License-Identifier: MPL-2.0
/**
 * Log: one partition's batches on disk. Append, read, truncate, trim, keep for a time; recover after any crash.
 *
 * A directory of segments. Each segment is batches, concatenated (a legal msgpack stream), with a sparse offset index
 * and a sparse time index beside it, both rebuildable. File formats: docs/STORAGE.md. The log decides nothing: offsets
 * and epochs come stamped in the batches.
 *
 * Single-threaded, but for weft_log_sync_run, which the sync part calls on its own thread. After a failed write the log
 * refuses further appends until it was truncated to its last good end (it does that itself when it can); after a failed
 * sync it is *broken* for ever (REPLICATION.md rule 11): every append answers DISK_FAILED, reads go on.
 */
#ifndef WEFT_LOG_LOG_H
#define WEFT_LOG_LOG_H

#include "../base/disk.h"
#include "../wire/batch.h"
#include "../wire/frame.h"

typedef struct weft_log weft_log_t;

struct weft_log_config {
    int64_t segment_bytes;         // roll at this size
    int64_t segment_ms;            // or when the first record is this old; -1 never
    int64_t retention_ms;          // -1 keep for ever
    int64_t retention_bytes;       // -1 no limit
    uint32_t index_interval_bytes; // one index entry at least every so many bytes
};

struct weft_log_recovery {
    int64_t log_end;         // after recovery
    int64_t cut_bytes;       // torn tail removed
    int64_t indexes_rebuilt; // count
    int64_t verified_bytes;  // read and checked
};

/**
 * Opens or creates the log in `directory`. `synced_end` is what the data directory's checkpoint recorded (0 if it knows
 * nothing): damage at or above that offset is a torn tail and is cut; below it DAMAGED is returned, nothing is changed,
 * and `error` names file, byte and offset. Of a log that was synced to its end only what lies behind the last index
 * entry is read again. Recovery takes a batch only at the expected offset with an epoch not below the last.
 */
WEFT_MUST_USE weft_err_t weft_log_open(const struct weft_disk *disk, const char *directory,
                                       const struct weft_log_config *config, int64_t synced_end, weft_log_t **out,
                                       struct weft_log_recovery *recovery, struct weft_error *error);
// Closes files; does not sync.
void weft_log_destroy(weft_log_t **self_p);
void weft_log_configure(weft_log_t *self, const struct weft_log_config *config);

int64_t weft_log_start(const weft_log_t *self);      // first offset kept
int64_t weft_log_end(const weft_log_t *self);        // next offset to be written
int32_t weft_log_last_epoch(const weft_log_t *self); // of the last batch ever; -1 if none
int64_t weft_log_bytes(const weft_log_t *self);      // of all segments
size_t weft_log_segment_count(const weft_log_t *self);
int64_t weft_log_max_timestamp(const weft_log_t *self); // ms, -1 if empty

/**
 * Appends one stamped batch, base_offset == weft_log_end(). `header` is its first 80 bytes, `payload` the rest: two
 * slices, so that a shared frame needs no copy of its payload; pass
 * payload NIL when `header` holds the whole batch. Written with one pwritev, not synced. May roll first: then *rolled
 * is set (the caller takes its session snapshot). Errors: DISK_FULL, DISK_FAILED, STALE_EPOCH (older than the last
 * batch's): all that was appended is as before.
 */
WEFT_MUST_USE weft_err_t weft_log_append(weft_log_t *self, weft_slice_t header, weft_slice_t payload,
                                         const struct weft_batch *batch, bool *rolled);

/**
 * The same for batches that stand back to back in `bytes`, each going on where the one before ends: one write for as
 * many as need neither a new segment nor a new epoch behind the first. *taken of `count` (1 or more) were appended;
 * `rolled` is about the first. An error: none was.
 */
WEFT_MUST_USE weft_err_t weft_log_append_run(weft_log_t *self, weft_slice_t bytes, const struct weft_batch *batches,
                                             size_t count, size_t *taken, bool *rolled);

/**
 * Reads whole batches from the one that contains `offset`, at most bytes_max (but at least one batch, if at_least_one),
 * none that ends above `limit` (exclusive: a mark). The frame comes from `pool`. Nothing to read: empty frame, no
 * error. OFFSET_OUT_OF_RANGE below start or above end. Headers of what is returned are whole; CRCs are not checked here
 * (the reader does).
 */
WEFT_MUST_USE weft_err_t weft_log_read(weft_log_t *self, int64_t offset, size_t bytes_max, bool at_least_one,
                                       int64_t limit, weft_frame_pool_t *pool, weft_frame_t *out);
/**
 * Verifies the batch that contains `offset` as it stands on the disk, CRC too: for a reader that met a bad one. DAMAGED:
 * `error` names file, byte and offsets. Other errors: OFFSET_OUT_OF_RANGE below start or not below end, DISK_FAILED.
 */
WEFT_MUST_USE weft_err_t weft_log_verify_at(weft_log_t *self, int64_t offset, struct weft_error *error);
// Bytes between `offset` and `limit`, a quick estimate from the index, for min_bytes; never 0 if there is a batch.
int64_t weft_log_bytes_between(weft_log_t *self, int64_t offset, int64_t limit);

/**
 * First offset whose batch's max timestamp >= time_ms: offset and timestamp of the first such record; offset -1 if
 * none.
 */
WEFT_MUST_USE weft_err_t weft_log_offset_by_time(weft_log_t *self, int64_t time_ms, int64_t *offset,
                                                 int64_t *timestamp_ms);

/** KIP-101: the end offset of the largest epoch <= `epoch` in this log, and that epoch (-1, log start if none). */
void weft_log_epoch_end(const weft_log_t *self, int32_t epoch, int32_t *found_epoch, int64_t *end_offset);

/**
 * Removes everything from `offset` on, on batch boundaries (a batch that straddles goes whole). Durable when it
 * returns; OFFSET_OUT_OF_RANGE below the start. A failure half-way breaks the log: open it again.
 */
WEFT_MUST_USE weft_err_t weft_log_truncate(weft_log_t *self, int64_t offset);
/**
 * Delete-records: the log starts at `offset` (start <= offset <= end) from now on; whole segments below are removed.
 * Durable when it returns. After an error the start may have moved all the same: ask weft_log_start.
 */
WEFT_MUST_USE weft_err_t weft_log_trim(weft_log_t *self, int64_t offset);
/**
 * Removes everything, epochs and snapshots too: the log is empty then and starts and ends at `offset`, wherever that is.
 * Durable when it returns. For a follower whose leader no longer has what would join their logs. A failure may leave it
 * as it was; half-way it breaks the log: open it again. OFFSET_OUT_OF_RANGE for no offset at all.
 */
WEFT_MUST_USE weft_err_t weft_log_reset(weft_log_t *self, int64_t offset);
#define WEFT_LOG_ASIDE_SUFFIX ".damaged"
/**
 * Renames `directory` (of a log that is not open) to `directory`.damaged, durably, so that the replica can be built anew
 * and a person can still look at what was there. One set aside earlier goes. No directory: nothing to do, no error.
 */
WEFT_MUST_USE weft_err_t weft_log_set_aside(const struct weft_disk *disk, const char *directory,
                                            struct weft_error *error);
/**
 * Retention: removes whole segments that are too old (by their max timestamp against now_ms; one of the future counts
 * from when it was first seen) or too many bytes, none that reaches `limit`. *removed counts segments. The active
 * segment is rolled if it is itself too old. Errors: as of weft_log_trim.
 */
WEFT_MUST_USE weft_err_t weft_log_retain(weft_log_t *self, int64_t now_ms, int64_t limit, size_t *removed);
/** Closes the file descriptors of a log that is idle; they are opened again at need. */
void weft_log_idle(weft_log_t *self);

/**
 * Calls `each` with every batch header from `offset` to the end, in order (for session replay). Stops at an error that
 * `each` returns.
 */
typedef weft_err_t weft_log_scan_fn(void *context, const struct weft_batch *batch);
WEFT_MUST_USE weft_err_t weft_log_scan(weft_log_t *self, int64_t offset, weft_log_scan_fn *each, void *context);

// ---- snapshots of what the caller derives from the log's prefix (producer sessions), kept beside the segments

// State after all below `offset`; old ones are dropped.
WEFT_MUST_USE weft_err_t weft_log_snapshot_put(weft_log_t *self, int64_t offset, weft_slice_t bytes);
// The newest snapshot at or below `offset` whose checksum is right; *at is its offset; NOT_FOUND if none (then replay
// from start).
WEFT_MUST_USE weft_err_t weft_log_snapshot_get(weft_log_t *self, int64_t offset, int64_t *at, weft_buf_t *bytes);

// ---- group commit, off the log's thread

/**
 * A job: files to sync and the offset that is synced once they are. Plain value; begin holds references to the files,
 * done drops them.
 */
struct weft_log_sync {
    weft_file_t *files[8];
    size_t file_count;
    // All below is synced once the job has run. May be less than the log's end: ask weft_log_dirty for what is left.
    int64_t end_offset;
    uint32_t generation;      // of the log, for overlap with truncation
    uint8_t directory_levels; // how many levels of `directory`, from its end, to sync
    bool directory_dirty;     // a file was created since the last sync
    char directory[256];
    const struct weft_disk *disk;
    weft_err_t result;
};

bool weft_log_dirty(const weft_log_t *self);
bool weft_log_sync_begin(weft_log_t *self, struct weft_log_sync *job); // false: nothing to sync
void weft_log_sync_run(struct weft_log_sync *job);                     // any thread; blocks; sets result
// Back on the log's thread: returns the new synced end, or breaks the log.
WEFT_MUST_USE weft_err_t weft_log_sync_done(weft_log_t *self, struct weft_log_sync *job);
// Gives a job up that can't come back (its log is gone, or the node dies): drops the files, says nothing to the log.
void weft_log_sync_drop(struct weft_log_sync *job);
int64_t weft_log_synced_end(const weft_log_t *self);
bool weft_log_broken(const weft_log_t *self);

void weft_log_check(const weft_log_t *self); // invariants, asserted

#endif
