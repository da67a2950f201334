// SPDX-License-Identifier: MPL-2.0
/*
 * A ring that doubles and a binary min-heap by end offset. Neither shrinks: their number is bounded by the replica's
 * waiters_max, and a steady load allocates nothing.
 */
#include "waiters.h"

#include "../base/assert.h"

#include <stdlib.h>

#define CAPACITY_MIN 16

void weft_waiters_init(struct weft_waiters *self)
{
    *self = (struct weft_waiters){.ring = NULL};
}

void weft_waiters_fini(struct weft_waiters *self)
{
    free(self->ring);
    free(self->heap);
    weft_waiters_init(self);
}

static struct weft_waiter *s_ring_at(const struct weft_waiters *self, size_t index)
{
    return &self->ring[(self->ring_first + index) & (self->ring_capacity - 1)];
}

static void s_ring_grow(struct weft_waiters *self)
{
    size_t capacity = self->ring_capacity == 0 ? CAPACITY_MIN : self->ring_capacity * 2;
    struct weft_waiter *ring = weft_alloc(capacity * sizeof *ring);
    for (size_t i = 0; i < self->ring_count; i++) ring[i] = *s_ring_at(self, i);
    free(self->ring);
    self->ring = ring;
    self->ring_first = 0;
    self->ring_capacity = capacity;
}

static void s_heap_up(struct weft_waiters *self, size_t at)
{
    struct weft_waiter moved = self->heap[at];
    while (at > 0 && self->heap[(at - 1) / 2].end_offset > moved.end_offset) {
        self->heap[at] = self->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    self->heap[at] = moved;
}

static void s_heap_down(struct weft_waiters *self, size_t at)
{
    struct weft_waiter moved = self->heap[at];
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= self->heap_count) break;
        bool right = child + 1 < self->heap_count && self->heap[child + 1].end_offset < self->heap[child].end_offset;
        if (right) child++;
        if (self->heap[child].end_offset >= moved.end_offset) break;
        self->heap[at] = self->heap[child];
        at = child;
    }
    self->heap[at] = moved;
}

static void s_heap_push(struct weft_waiters *self, const struct weft_waiter *waiter)
{
    if (self->heap_count == self->heap_capacity) {
        self->heap_capacity = self->heap_capacity == 0 ? CAPACITY_MIN : self->heap_capacity * 2;
        self->heap = weft_realloc(self->heap, self->heap_capacity * sizeof *self->heap);
    }
    self->heap[self->heap_count] = *waiter;
    s_heap_up(self, self->heap_count++);
}

static void s_heap_remove(struct weft_waiters *self, size_t at)
{
    self->heap_count--;
    if (at == self->heap_count) return;
    self->heap[at] = self->heap[self->heap_count];
    s_heap_up(self, at);
    s_heap_down(self, at);
}

void weft_waiters_add(struct weft_waiters *self, const struct weft_waiter *waiter)
{
    bool in_order = self->ring_count == 0 || s_ring_at(self, self->ring_count - 1)->end_offset < waiter->end_offset;
    if (waiter->duplicate || !in_order) {
        s_heap_push(self, waiter);
        return;
    }
    if (self->ring_count == self->ring_capacity) s_ring_grow(self);
    *s_ring_at(self, self->ring_count) = *waiter;
    self->ring_count++;
}

bool weft_waiters_take(struct weft_waiters *self, int64_t mark, struct weft_waiter *out)
{
    if (self->ring_count > 0 && s_ring_at(self, 0)->end_offset <= mark) {
        *out = *s_ring_at(self, 0);
        self->ring_first = (self->ring_first + 1) & (self->ring_capacity - 1);
        self->ring_count--;
        return true;
    }
    if (self->heap_count > 0 && self->heap[0].end_offset <= mark) {
        *out = self->heap[0];
        s_heap_remove(self, 0);
        return true;
    }
    return false;
}

bool weft_waiters_remove(struct weft_waiters *self, uint64_t token)
{
    for (size_t i = 0; i < self->ring_count; i++) {
        if (s_ring_at(self, i)->token != token) continue;
        for (size_t j = i + 1; j < self->ring_count; j++) *s_ring_at(self, j - 1) = *s_ring_at(self, j);
        self->ring_count--;
        return true;
    }
    for (size_t i = 0; i < self->heap_count; i++) {
        if (self->heap[i].token != token) continue;
        s_heap_remove(self, i);
        return true;
    }
    return false;
}

void weft_waiters_check(const struct weft_waiters *self, int64_t mark)
{
    int64_t before = mark;
    for (size_t i = 0; i < self->ring_count; i++) {
        weft_assert(s_ring_at(self, i)->end_offset > before);
        before = s_ring_at(self, i)->end_offset;
    }
    for (size_t i = 0; i < self->heap_count; i++) {
        weft_assert(self->heap[i].end_offset > mark);
        weft_assert(i == 0 || self->heap[(i - 1) / 2].end_offset <= self->heap[i].end_offset);
    }
}
