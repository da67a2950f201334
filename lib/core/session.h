// SPDX-License-Identifier: MPL-2.0
/**
 * Producer sessions of one partition: what makes retries safe (I3; REPLICATION.md rules 15 to 17; KIP-98, KIP-360).
 *
 * Pure state, a function of the log's prefix: apply every batch in order and the same table results. It remembers of
 * each producer id its epoch and the last WEFT_SESSION_WINDOW batches (first and last sequence, base offset). Sequences
 * wrap at 2^31.
 */
#ifndef WEFT_CORE_SESSION_H
#define WEFT_CORE_SESSION_H

#include "../wire/batch.h"

#define WEFT_SESSION_WINDOW 64 // batches remembered a session; hello tells it; clients keep no more in flight

typedef struct weft_sessions weft_sessions_t;

enum weft_session_verdict {
    WEFT_SESSION_NEXT,      // append it
    WEFT_SESSION_DUPLICATE, // *base_offset and *end_offset tell where the original is
    WEFT_SESSION_GAP,       // OUT_OF_ORDER_SEQUENCE: an earlier batch is missing
    WEFT_SESSION_OLD,       // DUPLICATE_SEQUENCE: a duplicate too old to be remembered; it ended below *end_offset
    WEFT_SESSION_FENCED,    // PRODUCER_FENCED: a newer epoch of this id has written
    WEFT_SESSION_UNKNOWN    // UNKNOWN_PRODUCER: not sequence 0 of an id that is not known here
};

weft_sessions_t *weft_sessions_new(size_t count_max, int64_t expiry_ms); // beyond count_max the longest idle is dropped
void weft_sessions_destroy(weft_sessions_t **self_p);
void weft_sessions_clear(weft_sessions_t *self);

// A batch without producer id is always NEXT. The offsets are written only where the verdict says so.
enum weft_session_verdict weft_sessions_judge(const weft_sessions_t *self, const struct weft_batch *batch,
                                              int64_t *base_offset, int64_t *end_offset);
// Of a batch that would begin an epoch: whether its producer's last one was of the epoch before and `sequence` would have been
// next, or its producer is not known. So who takes over from another run of itself, after a look at the log, is refused if that
// one has written since.
bool weft_sessions_ended_at(const weft_sessions_t *self, const struct weft_batch *batch, int32_t sequence);
// After the batch was appended (or met in replay: then what it continues may be gone, and it begins anew).
void weft_sessions_apply(weft_sessions_t *self, const struct weft_batch *batch);
// Drops sessions that nothing was applied to for expiry_ms, measured between calls of this function by a clock that
// never falls. Not by the batches' timestamps: those are the producers', and old ones (imported history) would end a
// session in mid-stream. A session counts as active at its load.
void weft_sessions_expire(weft_sessions_t *self, int64_t now_ms);
size_t weft_sessions_count(const weft_sessions_t *self);
/** A session, and where the oldest batch that it remembers begins: a replay of the batches from there on gives it again. */
struct weft_session_place {
    int64_t producer_id, from_offset;
    const void *at; // NULL: before the first
};
// The next one, the longest idle first; false at the end. Nothing may be applied in between.
bool weft_sessions_next(const weft_sessions_t *self, struct weft_session_place *place);

void weft_sessions_encode(const weft_sessions_t *self, weft_buf_t *out); // msgpack; same state, same bytes
// Replaces what is there; BAD_FRAME leaves it cleared.
WEFT_MUST_USE weft_err_t weft_sessions_decode(weft_sessions_t *self, weft_slice_t bytes);
void weft_sessions_check(const weft_sessions_t *self);

#endif
