// SPDX-License-Identifier: MPL-2.0
/**
 * A record as a program sees it, its headers, and places in a partition.
 */
#ifndef WEFT_RECORD_H
#define WEFT_RECORD_H

#include <weft/export.h>
#include <weft/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_PARTITION_AUTO (-1) // the partitioner chooses
#define WEFT_PARTITION_ALL (-1)  // every partition of the topic, also those added later
#define WEFT_TIMESTAMP_NOW INT64_C(0)

/**
 * A record that was read. Borrowed: every slice and the topic name point into memory of the consumer and are valid
 * until its next poll, seek, assign, subscribe or destroy.
 */
struct weft_record_view {
    const char *topic;
    int32_t partition;
    int32_t leader_epoch;
    int64_t offset;
    int64_t timestamp_ms; // Unix time; by the producer, or by the broker where the topic says so
    weft_slice_t key;     // data NULL: nil
    weft_slice_t value;   // data NULL: nil (in a compacted topic: the key is deleted)
    weft_slice_t headers; // encoded; data NULL: none. See weft_headers_next
};

/**
 * Walks headers: for (weft_slice_t rest = record.headers; weft_headers_next(&rest, &name, &value);) ...
 * Order and repeated names are kept. `value` may be nil. False at the end, and at bytes that are no headers.
 */
WEFT_EXPORT bool weft_headers_next(weft_slice_t *rest, weft_slice_t *name, weft_slice_t *value);

/** Builds headers to send. Reusable after weft_headers_clear; grows as needed. */
typedef struct weft_headers weft_headers_t;

WEFT_EXPORT weft_headers_t *weft_headers_new(void);
WEFT_EXPORT void weft_headers_destroy(weft_headers_t **self_p);
WEFT_EXPORT void weft_headers_clear(weft_headers_t *self);
WEFT_EXPORT void weft_headers_add(weft_headers_t *self, const char *name, weft_slice_t value);
// The encoded headers: borrowed until the next call on `self`; nil when none were added.
WEFT_EXPORT weft_slice_t weft_headers_encoded(weft_headers_t *self);

enum weft_from {
    WEFT_FROM_RESET,    // as the consumer's option `reset` says
    WEFT_FROM_EARLIEST, // the first record kept
    WEFT_FROM_LATEST,   // only what comes from now on
    WEFT_FROM_OFFSET,   // value = offset
    WEFT_FROM_TIME      // value = Unix time in ms: the first record not older
};

/** A place in a partition: {WEFT_FROM_EARLIEST}, {WEFT_FROM_OFFSET, 1042}, {WEFT_FROM_TIME, ms}. */
struct weft_position {
    enum weft_from from;
    int64_t value;
};

/** What a group commits for a partition: where its next reader begins. */
struct weft_group_offset {
    const char *topic;
    int32_t partition;
    int64_t offset;       // next to be read
    int32_t leader_epoch; // of the record before it, as weft_record_view tells; -1: not known
    const char *metadata; // for the program, at most 4,096 bytes; NULL: none
};

/**
 * "earliest", "latest", an offset, or "@" with Unix seconds or ms (@1700000000, @1700000000000) or ISO time
 * (@2026-11-22T10:00:00Z; date alone, without seconds, a space for T, a zone +01:00 for Z; UTC without one).
 * INVALID_ARGUMENT.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_position_parse(const char *text, struct weft_position *out);

/**
 * Kafka's murmur2 (seed 0x9747b28c), and the partition its default partitioner takes: (murmur2(key) & 0x7fffffff) %
 * count.
 */
WEFT_EXPORT uint32_t weft_murmur2(weft_slice_t key);
WEFT_EXPORT int32_t weft_partition_of_key(weft_slice_t key, int32_t partition_count);

#ifdef __cplusplus
}
#endif

#endif
