// SPDX-License-Identifier: MPL-2.0
/**
 * Resume: what is surely copied, what is sent next, and how the two are brought together again after trouble. Pure.
 *
 * Rounds: look() ... meet() each batch of the target's log from what that said on, to its end ... decide() ... sent()
 * for each batch that goes, written() as the answers come. A round ends with the first answer that is anything else; the
 * next one begins once nothing is under way any more.
 *
 * Each round is an epoch of the session. Its first batch goes alone, and only onto a session that ended where the look saw
 * it end (after_sequence); once it is answered, and not as a duplicate, the epoch belongs to this round: whatever earlier
 * rounds and other runs still send is refused as fenced.
 */
#ifndef WEFT_BRIDGE_RESUME_H
#define WEFT_BRIDGE_RESUME_H

#include "place.h"

/** A batch that was sent. */
struct weft_bridge_batch {
    int64_t source, source_next;
    int32_t sequence;
    int16_t epoch;
    uint32_t count;
};

struct weft_bridge_resume {
    struct weft_bridge_place place; // surely written
    // Read on from there once nothing is under way: place.source_next, or behind what was passed over since; -1: nothing was
    // copied, nor a place chosen where to begin.
    int64_t read_next;
    // The next batch to be sent: what its source offset is if it follows, and its number.
    int64_t sent_next;
    int32_t sequence;
    int16_t epoch;
    bool owned;      // the first batch of this epoch is written: others may follow without waiting
    bool met;        // a batch of ours in this look
    bool checking;   // the anchor was not reached yet
    bool denied;     // it is not there: the log is not the one that the place speaks of
    bool gap;        // the first batch of this round did not fit
    uint32_t doubts; // rounds in a row that ended so, though the log told nothing new
};

enum weft_bridge_verdict {
    WEFT_BRIDGE_GO,
    WEFT_BRIDGE_LOOK_ALL, // the place does not hold: look again, from the target's first record on
    WEFT_BRIDGE_USED_UP   // the session has no more epochs
};

void weft_bridge_resume_init(struct weft_bridge_resume *self);
int64_t weft_bridge_resume_look(struct weft_bridge_resume *self); // target offset to look from
// As weft_bridge_place_meet.
bool weft_bridge_resume_meet(struct weft_bridge_resume *self, int64_t producer_id, const struct weft_batch *batch,
                             weft_slice_t bytes, weft_buf_t *scratch, struct weft_bridge_span *span);
// target_end: what was looked at up to there.
enum weft_bridge_verdict weft_bridge_resume_decide(struct weft_bridge_resume *self, int64_t target_end);

int32_t
weft_bridge_resume_after(const struct weft_bridge_resume *self); // of the batch to be sent next; -1: no condition
struct weft_bridge_batch weft_bridge_resume_sent(struct weft_bridge_resume *self, int64_t source, int64_t source_next,
                                                 uint32_t count);
// Of this round, in order; duplicate: as the broker said. False: that ends the round.
bool weft_bridge_resume_written(struct weft_bridge_resume *self, const struct weft_bridge_batch *batch,
                                int64_t base_offset, bool duplicate);
// Of the first batch of a round that failed: OUT_OF_ORDER_SEQUENCE.
void weft_bridge_resume_gap(struct weft_bridge_resume *self);

#endif
