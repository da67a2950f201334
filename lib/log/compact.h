// SPDX-License-Identifier: MPL-2.0
/**
 * Compaction: of a log's sealed segments only the newest record of each key stays (REPLICATION.md rule 13).
 *
 * Three steps. *begin*, on the log's thread, takes note of the segments that may be worked on. *run*, on any thread, in
 * steps that the caller bounds, reads and writes files of its own and touches nothing of the log's. *done*, back on the
 * log's thread, puts the new segments in the place of the old ones, in a way that a start finishes or undoes after a
 * crash at any point. A truncation, trim or reset between begin and done makes the work void, no more.
 *
 * What a compacted log holds:
 *   - Every offset is covered once, as before. A batch keeps its offsets, epoch and producer; `count` is what is left,
 *     and an integer n among its records stands for n that are gone. One without records is a *gap*; neighbouring gaps
 *     of one epoch are merged, but for batches that a producer's session remembers: replay gives the same sessions.
 *   - Records without a key stay. Of each other key the newest stays, up to where the last run came (`compacted`).
 *   - A tombstone (value nil) is given a time when a run first meets it (attribute bit 6, base_timestamp = that time;
 *     KIP-534), and goes with the first run after it. From then on who has not read up to it can't learn of it any more:
 *     weft_log_tombstones_below tells up to where that is, for followers, which begin anew below it.
 *
 * Keys are compared by a keyed hash of 128 bits, in bounded memory; what does not fit is left to the next run.
 */
#ifndef WEFT_LOG_COMPACT_H
#define WEFT_LOG_COMPACT_H

#include "log.h"

typedef struct weft_compact weft_compact_t;

/** A producer whose session is alive: its batches from `from_offset` on are remembered. */
struct weft_compact_session {
    int64_t producer_id, from_offset;
};

struct weft_compact_wish {
    int64_t limit;               // no segment that reaches above is touched: committed and durable by then
    int64_t now_ms;              // Unix time
    int64_t lag_ms;              // nor one with a younger record, nor any behind it; 0: no lag
    int64_t delete_retention_ms; // a tombstone met first stays so long
    int64_t tombstones_limit;    // none at or above goes: a follower is not there yet. INT64_MAX: no limit
    size_t memory_bytes;         // for keys
    uint64_t seed;               // of the keyed hash
    const struct weft_compact_session *sessions; // in any order; copied
    size_t session_count;
};

struct weft_compact_report {
    bool swapped;                      // false: void, the log is as it was
    int64_t read_bytes, written_bytes; // by the run
    int64_t before_bytes, after_bytes; // of the segments that were worked on
    int64_t records_removed, tombstones_removed;
    size_t segments_before, segments_after;
    int64_t failed_at;       // after an error: the offset that the run had come to
    int64_t compacted;       // up to where the log is compacted now
    int64_t next_horizon_ms; // when the first tombstone that was left may go; INT64_MAX: none was met
};

/** How dirty a log is. */
struct weft_compact_dirt {
    int64_t total_bytes;  // of all sealed segments that may be worked on
    int64_t dirty_bytes;  // of those that hold something new
    int64_t active_bytes; // of the segment being written, where that might be worked on once it is closed
};

// Of `wish` only limit, now_ms and lag_ms count.
void weft_log_compact_dirt(const weft_log_t *self, const struct weft_compact_wish *wish, struct weft_compact_dirt *out);
// False: there is nothing to work on, or a run is under way. Else give *out back by weft_log_compact_done, or destroy it
// where the log is gone.
bool weft_log_compact_begin(weft_log_t *self, const struct weft_compact_wish *wish, weft_compact_t **out);

/**
 * Works on, until so many bytes were read and written (a batch may take it beyond that) or all is done. Any thread, one
 * at a time; blocks. An error ends the run (then *more is false, and so is every later call): DAMAGED (a batch that does
 * not verify), DISK_FULL, DISK_FAILED, NOT_FOUND (a segment went meanwhile), BATCH_TOO_LARGE (what is left of a batch
 * packs worse than all of it did, beyond what a batch may have).
 */
WEFT_MUST_USE weft_err_t weft_compact_step(weft_compact_t *self, size_t bytes_max, bool *more, size_t *bytes_moved);
// Any thread: the run is to end; the step under way ends with its next batch, its result is void.
void weft_compact_cancel(weft_compact_t *self);
bool weft_compact_cancelled(const weft_compact_t *self);

/**
 * On the log's thread, whatever became of the run: swaps the segments, or removes the files that it wrote. An error is
 * the run's, or the swap's: that may break the log, and a start sorts it out. Consumes the run.
 */
WEFT_MUST_USE weft_err_t weft_log_compact_done(weft_log_t *self, weft_compact_t **job_p,
                                               struct weft_compact_report *report);
// Without its log: files that it wrote stay until the directory is opened. Accepts NULL.
void weft_compact_destroy(weft_compact_t **self_p);

// Is it a gap: without records, producer or attributes?
bool weft_compact_is_gap(const struct weft_batch *batch);
// A gap's header, checksum included; also into *gap.
void weft_compact_gap_write(uint8_t bytes[WEFT_BATCH_HEADER_BYTES], struct weft_batch *gap);

int64_t weft_log_compacted(const weft_log_t *self);        // all below was compacted; 0: nothing yet
int64_t weft_log_tombstones_below(const weft_log_t *self); // tombstones below may be gone; 0: none is
// This log is filled from one in which tombstones below `offset` are gone. Durable when it returns; never falls.
WEFT_MUST_USE weft_err_t weft_log_tombstones_adopt(weft_log_t *self, int64_t offset);
/**
 * Closes the active segment if it holds something and its first record is segment_ms old, or if `now`: *rolled. Only
 * sealed segments are compacted. Errors: as of an append.
 */
WEFT_MUST_USE weft_err_t weft_log_roll_due(weft_log_t *self, int64_t now_ms, bool now, bool *rolled);

#endif
