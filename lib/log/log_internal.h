// SPDX-License-Identifier: MPL-2.0
/**
 * Internal state of a log, shared by the files that implement log.h. Nothing outside lib/log includes this.
 */
#ifndef WEFT_LOG_INTERNAL_H
#define WEFT_LOG_INTERNAL_H

#include "log.h"
#include "segment.h"

#define WEFT_LOG_PAGE_ENTRIES 170 // index entries gathered in memory before they are written: 4 KiB
#define WEFT_LOG_CURSORS 4        // places where a sequential reader is expected next
#define WEFT_LOG_READERS 4        // sealed segments kept open for reading
#define WEFT_LOG_SYNC_FILES 8

struct weft_log_epoch {
    int32_t epoch;
    int64_t start_offset;
};

/** A file, other than the active segment, that was written and not yet handed to a sync. */
struct weft_log_pending {
    weft_file_t *file;  // a reference of its own
    int64_t end_offset; // all below is synced once this and all older ones are; -1: says nothing
};

struct weft_log_cursor {
    int64_t offset; // -1: unused
    int64_t base_offset;
    int64_t position;
};

struct weft_log {
    const struct weft_disk *disk;
    char directory[256];
    struct weft_log_config config;

    struct weft_segment *segments; // oldest first, never empty; the last is the active one
    size_t segment_count, segment_capacity;
    int64_t start_offset;
    int64_t synced_end;
    bool broken; // a sync failed: nothing is written any more
    bool torn;   // a failed append may have left bytes behind the end
    bool recovering;

    // Index of the segment being written: entries not yet in its file.
    weft_buf_t index_page;
    int64_t index_since_bytes; // appended since the last entry

    struct weft_log_epoch *epochs;
    size_t epoch_count, epoch_capacity;
    weft_file_t *epochs_file;
    bool epochs_dirty;

    struct weft_log_pending *pending;
    size_t pending_count, pending_capacity;
    uint8_t directory_levels_dirty;   // 1: this directory; more: that many levels above as well
    uint8_t directory_levels_unknown; // since the start: known once a sync that took them along is done
    uint32_t sync_generation;         // a truncation makes older syncs say nothing about the end
    bool start_doubtful;              // the file `start` was written, but not surely: the same trim stores it again
    int64_t cut_to, cut_from;         // the file `cut` stands until all below cut_from is synced; 0: no file

    struct weft_log_cursor cursors[WEFT_LOG_CURSORS];
    size_t cursor_next;
    int64_t readers[WEFT_LOG_READERS]; // base offsets of sealed segments open for reading; -1
    size_t reader_next;

    int64_t *snapshots; // offsets, ascending
    size_t snapshot_count, snapshot_capacity;

    int64_t compacted;         // all below was compacted
    int64_t tombstones_below;  // tombstones below may be gone
    uint32_t shape_generation; // truncations, trims and resets: they make a compaction under way void
    bool compacting;
    bool leftovers; // a start found files of a compaction that came to nothing
};

static inline struct weft_segment *weft_log_active(weft_log_t *self)
{
    return &self->segments[self->segment_count - 1];
}

static inline const struct weft_segment *weft_log_active_const(const weft_log_t *self)
{
    return &self->segments[self->segment_count - 1];
}

// ---- log.c
struct weft_segment *weft_log_segment_push(weft_log_t *self, int64_t base_offset);
void weft_log_segment_drop_last(weft_log_t *self);
void weft_log_segments_drop_first(weft_log_t *self, size_t count);
// The segment that holds `offset`, start <= offset <= end.
struct weft_segment *weft_log_segment_of(weft_log_t *self, int64_t offset);
WEFT_MUST_USE weft_err_t weft_log_segment_create(weft_log_t *self, int64_t base_offset);
WEFT_MUST_USE weft_err_t weft_log_roll(weft_log_t *self);
WEFT_MUST_USE weft_err_t weft_log_unlink(weft_log_t *self, int64_t offset, const char *suffix); // absent is no error
void weft_log_forget_cursors(weft_log_t *self);

// ---- log_index.c
void weft_log_index_note(weft_log_t *self, struct weft_segment *segment, const struct weft_batch *batch);
// The same for a segment and an index page that are nobody's yet: *since_bytes counts from the last entry.
void weft_index_gather(weft_buf_t *page, int64_t *since_bytes, int64_t interval_bytes, struct weft_segment *segment,
                       const struct weft_batch *batch);
WEFT_MUST_USE weft_err_t weft_log_index_flush(weft_log_t *self, struct weft_segment *segment);
WEFT_MUST_USE weft_err_t weft_log_index_seal(weft_log_t *self, struct weft_segment *segment);
// The last entry that `want` allows; repairs the index when it is bad. segment->file is open after it.
WEFT_MUST_USE weft_err_t weft_log_index_find(weft_log_t *self, struct weft_segment *segment,
                                             struct weft_index_want want, struct weft_index_entry *entry);
// Drops entries at or above `offset` and the page in memory; the file is cut and, if that changed it, synced.
WEFT_MUST_USE weft_err_t weft_log_index_cut(weft_log_t *self, struct weft_segment *segment, int64_t offset);
WEFT_MUST_USE weft_err_t weft_log_use(weft_log_t *self, struct weft_segment *segment); // opens its files for reading

// ---- epochs.c
// Reads the file; *good is false when it can't be trusted.
WEFT_MUST_USE weft_err_t weft_log_epochs_load(weft_log_t *self, bool *good);
// Is an epoch new with this batch? Then it is written (unsynced), before the batch.
WEFT_MUST_USE weft_err_t weft_log_epochs_append(weft_log_t *self, int32_t epoch, int64_t start_offset);
void weft_log_epochs_note(weft_log_t *self, int32_t epoch, int64_t start_offset); // memory only
bool weft_log_epochs_cut(weft_log_t *self, int64_t offset);        // memory only: drops what starts at or above
int32_t weft_log_epoch_at(const weft_log_t *self, int64_t offset); // -1 if none
WEFT_MUST_USE weft_err_t weft_log_epochs_store(weft_log_t *self);  // replaces the file, durably

// ---- marks.c: files `start`, `cut` and `compacted`
WEFT_MUST_USE weft_err_t weft_log_start_store(weft_log_t *self, int64_t offset); // sets start_offset
WEFT_MUST_USE weft_err_t weft_log_cut_store(weft_log_t *self, int64_t to, int64_t from);
WEFT_MUST_USE weft_err_t weft_log_compacted_store(weft_log_t *self, int64_t compacted, int64_t tombstones_below);
WEFT_MUST_USE weft_err_t weft_log_mark_load(const struct weft_disk *disk, const char *directory, const char *name,
                                            int64_t values[2]);

// ---- sync.c
void weft_log_pending_add(weft_log_t *self, weft_file_t *file, int64_t end_offset); // takes a reference of its own
void weft_log_pending_clear(weft_log_t *self);
void weft_log_directory_dirty(weft_log_t *self, uint8_t levels);
void weft_log_cut_done(weft_log_t *self); // removes file `cut` once it says nothing any more
WEFT_MUST_USE weft_err_t weft_log_sync_directories(const struct weft_disk *disk, const char *directory, uint8_t levels);

// ---- snapshot.c
void weft_log_snapshot_note(weft_log_t *self, int64_t offset);
// Removes those above `offset`; *removed says whether there were any.
WEFT_MUST_USE weft_err_t weft_log_snapshots_cut(weft_log_t *self, int64_t offset, bool *removed);

// ---- compact_swap.c
// Finishes a swap that a crash cut short.
WEFT_MUST_USE weft_err_t weft_log_swap_finish(const struct weft_disk *disk, const char *directory,
                                              struct weft_error *error);
// Removes files of a run that never came to its swap. They are in nobody's way: a failure is none.
void weft_log_remove_leftovers(weft_log_t *self);
bool weft_log_is_leftover(const char *name);

// ---- recover.c
WEFT_MUST_USE weft_err_t weft_log_recover(weft_log_t *self, int64_t synced_end, struct weft_log_recovery *recovery,
                                          struct weft_error *error);

#endif
