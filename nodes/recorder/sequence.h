// SPDX-License-Identifier: MPL-2.0
/**
 * Sequences: what a stream's own numbering says is missing, told twice, or begun anew.
 *
 * A stream may lie: numbers are compared modulo their width, nothing is allocated by them, and at most streams_max streams
 * (of a name of at most WEFT_SEQUENCE_NAME_BYTES_MAX bytes) are followed; messages of more are counted as untracked.
 *     expected     the number after the one before
 *     gap          ahead of it by at most WEFT_SEQUENCE_JUMP_MAX: that many messages are missing
 *     duplicate    behind it by at most WEFT_SEQUENCE_RESEND_MAX, and above the first number seen: sent again, or late
 *     reset        anything else: the stream counts from there on
 */
#ifndef WEFT_RECORDER_SEQUENCE_H
#define WEFT_RECORDER_SEQUENCE_H

#include "../../lib/base/bytes.h"

#define WEFT_SEQUENCE_JUMP_MAX (UINT64_C(1) << 30)
#define WEFT_SEQUENCE_RESEND_MAX UINT64_C(1000)
#define WEFT_SEQUENCE_NAME_BYTES_MAX 255

enum weft_sequence_format { // as the choices of the option sequence.format
    WEFT_SEQUENCE_U64BE,
    WEFT_SEQUENCE_U64LE,
    WEFT_SEQUENCE_U32BE,
    WEFT_SEQUENCE_U32LE,
    WEFT_SEQUENCE_DECIMAL
};

struct weft_sequence_settings {
    int64_t frame; // that holds the number; -1: there is none, see() does nothing
    enum weft_sequence_format format;
    int64_t per; // frame that names the stream; -1: one stream
    size_t streams_max;
};

struct weft_sequence_counts {
    uint64_t gaps;
    uint64_t missing; // messages; stays at UINT64_MAX instead of wrapping
    uint64_t duplicates;
    uint64_t resets;
    uint64_t unreadable; // messages without the frame, or with another size of it
    uint64_t untracked;  // messages of streams that are too many, or whose name is too long
    uint64_t streams;    // followed now
};

typedef struct weft_sequences weft_sequences_t;

weft_sequences_t *weft_sequences_new(const struct weft_sequence_settings *settings);
void weft_sequences_destroy(weft_sequences_t **self_p);
// A message arrived. Returns how many are missing right before it.
uint64_t weft_sequences_see(weft_sequences_t *self, const weft_slice_t *frames, size_t count);
/**
 * A message of the past, read from the topic: where its stream stood. Counts nothing; of several, the one with the highest time,
 * then the highest number, is the last.
 */
void weft_sequences_learn(weft_sequences_t *self, const weft_slice_t *frames, size_t count, int64_t timestamp_ms);
const struct weft_sequence_counts *weft_sequences_counts(const weft_sequences_t *self);

#endif
