// SPDX-License-Identifier: MPL-2.0
// Pool and heap over the same contexts. A context knows its place in the heap, so leaving early (the usual case: it
// was answered) costs one sift. Chunks are never given back before the shard ends: their number is bounded by the
// limits on waiting requests.
#include "waits.h"

#include "../../lib/base/assert.h"

#include <stdlib.h>
#include <string.h>

#define S_CHUNK 256

void weft_waits_init(weft_waits_t *self)
{
    memset(self, 0, sizeof *self);
}

void weft_waits_fini(weft_waits_t *self)
{
    for (size_t i = 0; i < self->chunk_count; i++) free(self->chunks[i]);
    free(self->chunks);
    free(self->heap);
    memset(self, 0, sizeof *self);
}

static void s_grow(weft_waits_t *self)
{
    self->chunks = weft_realloc(self->chunks, (self->chunk_count + 1) * sizeof *self->chunks);
    struct weft_wait *chunk = weft_calloc(S_CHUNK, sizeof *chunk);
    for (size_t i = S_CHUNK; i-- > 0;) {
        chunk[i].slot = (uint32_t) (self->chunk_count * S_CHUNK + i);
        chunk[i].generation = 1;
        chunk[i].next = self->free;
        self->free = &chunk[i];
    }
    self->chunks[self->chunk_count++] = chunk;
}

struct weft_wait *weft_waits_take(weft_waits_t *self, enum weft_wait_kind kind)
{
    if (self->free == NULL) s_grow(self);
    struct weft_wait *wait = self->free;
    self->free = wait->next;
    wait->kind = kind;
    wait->next = wait->previous = NULL;
    wait->partition = NULL;
    wait->heap_at = 0;
    self->count++;
    return wait;
}

uint64_t weft_wait_token(const struct weft_wait *wait)
{
    return (uint64_t) wait->generation << 32 | wait->slot;
}

struct weft_wait *weft_waits_find(const weft_waits_t *self, uint64_t token)
{
    uint32_t slot = (uint32_t) token;
    if (slot / S_CHUNK >= self->chunk_count) return NULL;
    struct weft_wait *wait = &self->chunks[slot / S_CHUNK][slot % S_CHUNK];
    return wait->kind != WEFT_WAIT_FREE && wait->generation == (uint32_t) (token >> 32) ? wait : NULL;
}

static void s_put(weft_waits_t *self, size_t at, struct weft_wait *wait)
{
    self->heap[at] = wait;
    wait->heap_at = (uint32_t) at + 1;
}

static void s_sift_up(weft_waits_t *self, size_t at, struct weft_wait *wait)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (self->heap[parent]->deadline_us <= wait->deadline_us) break;
        s_put(self, at, self->heap[parent]);
        at = parent;
    }
    s_put(self, at, wait);
}

static void s_sift_down(weft_waits_t *self, size_t at, struct weft_wait *wait)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= self->heap_count) break;
        if (child + 1 < self->heap_count && self->heap[child + 1]->deadline_us < self->heap[child]->deadline_us)
            child++;
        if (self->heap[child]->deadline_us >= wait->deadline_us) break;
        s_put(self, at, self->heap[child]);
        at = child;
    }
    s_put(self, at, wait);
}

static void s_heap_remove(weft_waits_t *self, struct weft_wait *wait)
{
    if (wait->heap_at == 0) return;
    size_t at = wait->heap_at - 1;
    struct weft_wait *last = self->heap[--self->heap_count];
    wait->heap_at = 0;
    if (last == wait) return;
    if (at > 0 && self->heap[(at - 1) / 2]->deadline_us > last->deadline_us)
        s_sift_up(self, at, last);
    else
        s_sift_down(self, at, last);
}

void weft_waits_give(weft_waits_t *self, struct weft_wait *wait)
{
    weft_assert(wait->kind != WEFT_WAIT_FREE);
    s_heap_remove(self, wait);
    wait->kind = WEFT_WAIT_FREE;
    if (++wait->generation == 0) wait->generation = 1; // a token is never 0
    wait->partition = NULL;
    wait->previous = NULL;
    wait->next = self->free;
    self->free = wait;
    self->count--;
}

void weft_waits_deadline(weft_waits_t *self, struct weft_wait *wait, int64_t deadline_us)
{
    s_heap_remove(self, wait);
    wait->deadline_us = deadline_us;
    if (self->heap_count == self->heap_capacity) {
        self->heap_capacity = self->heap_capacity == 0 ? 256 : 2 * self->heap_capacity;
        self->heap = weft_realloc(self->heap, self->heap_capacity * sizeof *self->heap);
    }
    s_sift_up(self, self->heap_count++, wait);
}

int64_t weft_waits_next_us(const weft_waits_t *self)
{
    return self->heap_count == 0 ? WEFT_TIME_NEVER : self->heap[0]->deadline_us;
}

struct weft_wait *weft_waits_due(weft_waits_t *self, int64_t now_us)
{
    if (self->heap_count == 0 || self->heap[0]->deadline_us > now_us) return NULL;
    struct weft_wait *wait = self->heap[0];
    s_heap_remove(self, wait);
    return wait;
}

size_t weft_waits_bytes(const weft_waits_t *self)
{
    return self->count * sizeof(struct weft_wait);
}

void weft_wait_list_push(struct weft_wait_list *list, struct weft_wait *wait)
{
    wait->next = NULL;
    wait->previous = list->tail;
    if (list->tail != NULL)
        list->tail->next = wait;
    else
        list->head = wait;
    list->tail = wait;
    list->count++;
}

void weft_wait_list_remove(struct weft_wait_list *list, struct weft_wait *wait)
{
    if (wait->previous != NULL)
        wait->previous->next = wait->next;
    else
        list->head = wait->next;
    if (wait->next != NULL)
        wait->next->previous = wait->previous;
    else
        list->tail = wait->previous;
    wait->next = wait->previous = NULL;
    list->count--;
}
