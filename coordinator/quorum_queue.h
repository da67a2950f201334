// SPDX-License-Identifier: MPL-2.0
/**
 * Quorum queue: proposals and barriers between propose and apply, oldest first.
 *
 * The first `written` of them are in the log (or, for barriers, have nothing to wait for but those before them);
 * the rest wait for the next turn.
 */
#ifndef WEFT_COORDINATOR_QUORUM_QUEUE_H
#define WEFT_COORDINATOR_QUORUM_QUEUE_H

#include "../lib/base/bytes.h"

struct weft_quorum_entry {
    uint64_t token;
    uint64_t index;   // once written; of a barrier: the last index before it
    uint8_t *command; // owned; NULL: a barrier
    size_t size;
};

typedef struct weft_quorum_queue {
    struct weft_quorum_entry *entries; // [head, head + count)
    size_t head, count, capacity;
    size_t written;
    size_t bytes;
} weft_quorum_queue_t;

void weft_quorum_queue_fini(weft_quorum_queue_t *self);
// command NIL: a barrier.
void weft_quorum_queue_push(weft_quorum_queue_t *self, weft_slice_t command, uint64_t token);
struct weft_quorum_entry *weft_quorum_queue_at(weft_quorum_queue_t *self,
                                               size_t position); // from the head; borrowed until the next push
// Takes the head out; the caller frees its command.
struct weft_quorum_entry weft_quorum_queue_pop(weft_quorum_queue_t *self);
// Takes everything that is not written yet into *out (an empty queue).
void weft_quorum_queue_take_unwritten(weft_quorum_queue_t *self, weft_quorum_queue_t *out);

#endif
