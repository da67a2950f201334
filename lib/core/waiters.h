// SPDX-License-Identifier: MPL-2.0
/**
 * Waiters: produce requests that wait for one mark of one replica to pass their end offset. Used by replica only.
 *
 * Appends come in the order of offsets, so they wait in a ring and leave at its front. Duplicates (REPLICATION.md rule
 * 15) wait for an offset from the past: they are rare and wait in a heap, so that a client that sends nothing else
 * can't make the others pay.
 */
#ifndef WEFT_CORE_WAITERS_H
#define WEFT_CORE_WAITERS_H

#include "../base/bytes.h"
#include "../base/error.h"

struct weft_waiter {
    uint64_t token;
    int64_t base_offset, end_offset;
    bool duplicate;
    weft_err_t code; // the answer, once the mark has passed end_offset
};

struct weft_waiters {
    struct weft_waiter *ring, *heap;
    size_t ring_first, ring_count, ring_capacity; // capacity: a power of two
    size_t heap_count, heap_capacity;
};

void weft_waiters_init(struct weft_waiters *self);
void weft_waiters_fini(struct weft_waiters *self);
static inline size_t weft_waiters_count(const struct weft_waiters *self)
{
    return self->ring_count + self->heap_count;
}
void weft_waiters_add(struct weft_waiters *self, const struct weft_waiter *waiter);
// Takes out one whose end offset is at or below `mark`; false if there is none.
bool weft_waiters_take(struct weft_waiters *self, int64_t mark, struct weft_waiter *out);
// Takes out the one of this token: slow, for requests whose time is up.
bool weft_waiters_remove(struct weft_waiters *self, uint64_t token);
// All wait for more than `mark`, and in order.
void weft_waiters_check(const struct weft_waiters *self, int64_t mark);

#endif
