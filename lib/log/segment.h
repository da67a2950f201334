// SPDX-License-Identifier: MPL-2.0
/**
 * Segment: one file of batches and its sparse index. Internal to lib/log.
 *
 * The index is one file of fixed entries that serves both searches: an entry names a batch by offset and position, and
 * holds the largest timestamp of all batches before it in the segment, which never falls: so the same binary search
 * answers "where is offset n" and "where does time t begin". A sealed segment's index ends with a footer: what a start
 * needs to know without reading the segment. Every entry carries a CRC that is seeded with the segment's base offset,
 * so that neither torn pages nor another segment's entries are ever taken for its own. Layouts: docs/STORAGE.md.
 */
#ifndef WEFT_LOG_SEGMENT_H
#define WEFT_LOG_SEGMENT_H

#include "../base/disk.h"
#include "../wire/batch.h"
#include "layout.h"

#define WEFT_INDEX_ENTRY_BYTES 24
#define WEFT_INDEX_FOOTER_BYTES 48
#define WEFT_SEGMENT_BYTES_MAX 0x7fffffff // positions and offset deltas of an index entry are 32 bits wide
#define WEFT_TIME_NONE INT64_MIN          // before every timestamp

struct weft_index_entry {
    int64_t offset;
    int64_t position;
    int64_t max_before_ms; // largest timestamp of all batches before `position`; WEFT_TIME_NONE at 0
    int32_t epoch;         // leader epoch of the batch at `position`
};

struct weft_segment {
    int64_t base_offset;
    int64_t end_offset; // behind its last batch
    int64_t bytes;
    int64_t max_timestamp_ms; // WEFT_TIME_NONE if empty
    int64_t first_timestamp_ms;
    int64_t seen_ms;       // when retention first saw it with timestamps of the future; WEFT_TIME_NONE
    int64_t index_count;   // entries in the index file
    int64_t verified_from; // position from which this start read it; -1: trusted
    int32_t last_epoch;    // of its last batch; -1 if empty
    bool sealed;
    bool dirty;        // written since the last sync began
    bool index_bad;    // rebuilding it failed: its entries are taken unconfirmed until the next start
    weft_file_t *file; // NULL: closed
    weft_file_t *index_file;
};

void weft_segment_init(struct weft_segment *self, int64_t base_offset);
void weft_segment_close(struct weft_segment *self);
WEFT_MUST_USE weft_err_t weft_segment_open(struct weft_segment *self, const struct weft_disk *disk,
                                           const char *directory);
WEFT_MUST_USE weft_err_t weft_segment_open_index(struct weft_segment *self, const struct weft_disk *disk,
                                                 const char *directory);
// Takes note of a batch behind the last one.
void weft_segment_note(struct weft_segment *self, const struct weft_batch *batch);

void weft_index_entry_write(uint8_t *at, int64_t base_offset, const struct weft_index_entry *entry);
bool weft_index_entry_read(const uint8_t *at, int64_t base_offset, struct weft_index_entry *entry); // false: CRC
void weft_index_footer_write(uint8_t *at, const struct weft_segment *segment);
bool weft_index_footer_read(const uint8_t *at,
                            struct weft_segment *segment); // fills end, bytes, times, epoch; false: no footer

/** What a search in an index looks for: the last entry for which the key is not beyond the bound. */
struct weft_index_want {
    bool by_time;
    int64_t bound; // offset: entry.offset <= bound; time: entry.max_before_ms < bound
};

static inline bool weft_index_before(const struct weft_index_want *want, const struct weft_index_entry *entry)
{
    return want->by_time ? entry->max_before_ms < want->bound : entry->offset <= want->bound;
}

// The entry for the beginning of a segment, which no index holds.
struct weft_index_entry weft_index_origin(const struct weft_segment *segment);

/**
 * Searches the index file. *index is the entry's number, -1 if the origin is the answer. A bad entry gives DAMAGED,
 * unless `lenient`: then it counts as beyond the bound, so that what is found is good though perhaps not the last.
 */
WEFT_MUST_USE weft_err_t weft_index_search(const struct weft_segment *segment, const struct weft_index_want *want,
                                           bool lenient, struct weft_index_entry *entry, int64_t *index);

/** Walk: batch headers one after the other, without their payloads. */
struct weft_segment_walk {
    weft_file_t *file;
    int64_t position; // of the next header
    int64_t end;      // of what may be read
    int64_t window_at;
    size_t window_size;
    uint8_t window[4096];
};

void weft_segment_walk_init(struct weft_segment_walk *self, weft_file_t *file, int64_t position, int64_t end);
// The header at self->position, which is left where it is. NOT_FOUND at the end; DAMAGED when no whole batch stands
// there.
WEFT_MUST_USE weft_err_t weft_segment_walk_peek(struct weft_segment_walk *self, struct weft_batch *batch);
// The same, and goes on behind the batch.
WEFT_MUST_USE weft_err_t weft_segment_walk_next(struct weft_segment_walk *self, struct weft_batch *batch);
// A header within bounds: shape, format, size limit; the payload may lie beyond `bytes`.
WEFT_MUST_USE weft_err_t weft_segment_header(weft_slice_t bytes, struct weft_batch *batch);

/**
 * Verifies batches of a file from `position`: shape, CRC, expected offset, epoch. Calls `each` for every good one;
 * stops at the first bad.
 */
struct weft_verify {
    weft_file_t *file;
    int64_t position;   // in: where to begin; out: behind the last good batch
    int64_t offset;     // the same as an offset: what is expected next
    int32_t epoch;      // none may be below
    int64_t file_bytes; // out
    int64_t read_bytes; // out: verified
    char reason[160];   // out: why it stopped before the end of the file, else ""
    bool zeros;         // out: it stopped where nothing but zeros follow in what was read
    void (*each)(void *context, const struct weft_batch *batch, int64_t position);
    void *context;
};
// Errors only of the disk: bad content is no error but a reason.
WEFT_MUST_USE weft_err_t weft_segment_verify(struct weft_verify *self);

#endif
