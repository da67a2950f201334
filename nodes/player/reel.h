// SPDX-License-Identifier: MPL-2.0
/**
 * Reel: the records of a topic in the order in which they are played: all partitions merged by timestamp, ties by
 * partition, each partition in its own order; from a place to an end.
 *
 * A record is given out once every partition has one to compare, or is known to be at its end. Records that are produced
 * into a partition at its end afterwards come when they come, even if they are older. Memory is bounded: a partition that is ahead
 * of the others is paused.
 */
#ifndef WEFT_PLAYER_REEL_H
#define WEFT_PLAYER_REEL_H

#include "../../lib/base/bytes.h"

#include <weft/consumer.h>

enum weft_reel_state {
    WEFT_REEL_RECORD, // there is one
    WEFT_REEL_WAIT,   // not known yet which is next: fill again
    WEFT_REEL_AT_END, // all that is there was played; more may come
    WEFT_REEL_OVER    // the end was reached
};

struct weft_reel_settings {
    const char *const *consumer; // "key=value", NULL at the end
    const char *topic;
    int32_t partition; // or WEFT_PARTITION_ALL
    struct weft_position to;
    bool has_to;
    bool follows; // false: the end is where the partitions ended when playing began
};

struct weft_reel_counts {
    uint64_t skipped; // offsets that were gone, or in batches that can't be read
    uint64_t damaged; // such batches
};

typedef struct weft_reel weft_reel_t;

WEFT_MUST_USE weft_err_t weft_reel_new(const struct weft_reel_settings *settings, weft_reel_t **out,
                                       struct weft_error *error);
void weft_reel_destroy(weft_reel_t **self_p);
// Begins there, in each partition. INVALID_ARGUMENT, INVALID_TOPIC.
WEFT_MUST_USE weft_err_t weft_reel_seek(weft_reel_t *self, struct weft_position at);
/**
 * Takes in what has arrived; does not wait. An error is fatal (text: weft_reel_trouble). Anything else that is wrong, a topic
 * that isn't there or a leader that does not answer, is only told by weft_reel_trouble.
 */
WEFT_MUST_USE weft_err_t weft_reel_fill(weft_reel_t *self);
// RECORD: *out is valid until the next call but peek.
enum weft_reel_state weft_reel_peek(weft_reel_t *self, struct weft_record_view *out);
void weft_reel_pop(weft_reel_t *self); // the record peeked at was played
int weft_reel_fd(const weft_reel_t *self);
const char *weft_reel_trouble(const weft_reel_t *self); // "": none
const struct weft_reel_counts *weft_reel_counts(const weft_reel_t *self);

#endif
