// SPDX-License-Identifier: MPL-2.0
/**
 * A compaction run, shared by the files that implement compact.h. It holds no pointer into the log.
 */
#ifndef WEFT_LOG_COMPACT_INTERNAL_H
#define WEFT_LOG_COMPACT_INTERNAL_H

#include "compact.h"
#include "compact_filter.h"
#include "log_internal.h"

#include <stdatomic.h>

#define WEFT_COMPACT_LOG ".compact"         // <base offset>.compact: becomes .log
#define WEFT_COMPACT_INDEX ".compact-index" // becomes .index

/** A segment of the log as it was at begin. */
struct weft_compact_source {
    int64_t base_offset, end_offset, bytes;
};

/** A new segment: stands for `count` sources from number `first` on. */
struct weft_compact_output {
    size_t first, count;
    struct weft_segment segment; // without files
};

enum weft_compact_phase {
    WEFT_COMPACT_MAP,   // reads the dirty part for its keys
    WEFT_COMPACT_WRITE, // reads from the beginning and writes what stays
    WEFT_COMPACT_READY
};

struct weft_compact {
    const struct weft_disk *disk;
    char directory[256];
    int64_t segment_bytes, index_interval_bytes;
    uint32_t shape_generation;
    int64_t dirty_from; // the keys of the batches from there on
    int64_t end;        // behind the last source
    struct weft_compact_source *sources;
    size_t source_count;
    struct weft_compact_rule rule;
    struct weft_compact_filter filter;
    _Atomic bool cancelled;
    weft_err_t err; // why it ended

    enum weft_compact_phase phase;
    // The source being read.
    size_t at;
    weft_file_t *file;
    int64_t position; // of the next batch
    int64_t offset;   // expected there
    int32_t epoch;    // none may be below
    weft_buf_t window;
    int64_t window_at;

    // The segment being made of the sources from `out.first` on. Until something changes it is not written: what was
    // passed is the same as the front of its first source.
    bool open; // there is one
    struct weft_compact_output out;
    weft_file_t *out_file;     // NULL: nothing changed yet
    int64_t copy_at, copy_to;  // of the first source, to be copied first
    int64_t flushed, unsynced; // bytes
    weft_buf_t out_bytes, index;
    int64_t index_since;
    bool has_gap; // not passed on yet: the next one may join it
    struct weft_batch gap;

    struct weft_compact_output *outputs;
    size_t output_count, output_capacity;
    int64_t moved_bytes; // by this step
    struct weft_compact_report report;
};

// Removes all files that it wrote, finished or not.
void weft_compact_unlink(const weft_compact_t *self);

#endif
