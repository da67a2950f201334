// SPDX-License-Identifier: MPL-2.0
// Heap frames keep the pointer to free in `storage` (data may be all that a reader looks at, but the memory's owner is
// the frame). Pool frames are one allocation [s_buffer | bytes]; the buffer knows its pool, the pool counts its owner
// and every buffer outside, so that it lives until the last I/O thread has given its frame back.
#include "frame.h"

#include "../base/assert.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

void weft_frame_move(weft_frame_t *to, weft_frame_t *from)
{
    weft_assert(!to->ops && to != from);
    if (from->ops && from->ops->move) {
        from->ops->move(to, from);
        to->ops = from->ops;
        to->size = from->size;
        to->shared = from->shared;
    } else {
        *to = *from;
    }
    *from = WEFT_FRAME_EMPTY;
}

void weft_frame_drop(weft_frame_t *self)
{
    if (self->ops) self->ops->drop(self);
    *self = WEFT_FRAME_EMPTY;
}

weft_slice_t weft_frame_slice(const weft_frame_t *self)
{
    return (weft_slice_t){self->data, self->size};
}

void weft_frame_shorten(weft_frame_t *self, size_t size)
{
    weft_assert(size <= self->size);
    self->size = size;
}

// ---- heap

static void s_keep(weft_frame_t *self, void *memory)
{
    memcpy(self->storage, &memory, sizeof memory);
}

static void *s_kept(const weft_frame_t *self)
{
    void *memory;
    memcpy(&memory, self->storage, sizeof memory);
    return memory;
}

static void s_heap_drop(weft_frame_t *self)
{
    free(s_kept(self));
}

static const struct weft_frame_ops s_heap_ops = {.move = NULL, .drop = s_heap_drop};

static void s_init_heap(weft_frame_t *self, void *memory, size_t size)
{
    *self = (weft_frame_t){.ops = &s_heap_ops, .data = memory, .size = size, .shared = false};
    s_keep(self, memory);
}

void weft_frame_init_heap(weft_frame_t *self, size_t size)
{
    s_init_heap(self, weft_alloc(size), size);
}

void weft_frame_init_copy(weft_frame_t *self, weft_slice_t bytes)
{
    weft_frame_init_heap(self, bytes.size);
    if (bytes.size) memcpy(self->data, bytes.data, bytes.size);
}

void weft_frame_init_buf(weft_frame_t *self, weft_buf_t *buf)
{
    if (!buf->data) weft_buf_reserve(buf, 1); // a frame's data is never NULL, not even when empty
    s_init_heap(self, buf->data, buf->size);
    weft_buf_init(buf);
}

// ---- pool

struct s_buffer {
    struct weft_frame_pool *pool;
    struct s_buffer *next; // in the list of free ones
    size_t capacity;       // more than buffer_bytes: made for one frame, never kept
    _Alignas(16) uint8_t bytes[];
};

// The lock is held for a handful of instructions and taken once for each data frame that leaves: 20 ns, uncontended,
// beside the 10 us that reading and sending 64 KiB takes. A lock-free stack with several takers needs tagged pointers
// and saves nothing that could be measured.
struct weft_frame_pool {
    pthread_mutex_t lock;
    struct s_buffer *free_list;
    size_t buffer_bytes, free_count, keep_count_max;
    size_t users; // the owner and every buffer outside
    size_t outside_bytes;
};

weft_frame_pool_t *weft_frame_pool_new(size_t buffer_bytes, size_t keep_count_max)
{
    weft_frame_pool_t *self = weft_calloc(1, sizeof *self);
    pthread_mutex_init(&self->lock, NULL);
    self->buffer_bytes = buffer_bytes;
    self->keep_count_max = keep_count_max;
    self->users = 1;
    return self;
}

static void s_free_list(struct s_buffer *list)
{
    while (list) {
        struct s_buffer *next = list->next;
        free(list);
        list = next;
    }
}

// Gives up one use, with `buffer` (or NULL) back on the list where it is wanted.
static void s_release(weft_frame_pool_t *self, struct s_buffer *buffer)
{
    struct s_buffer *unwanted = NULL;
    pthread_mutex_lock(&self->lock);
    if (buffer) self->outside_bytes -= buffer->capacity;
    if (buffer && buffer->capacity == self->buffer_bytes && self->free_count < self->keep_count_max) {
        buffer->next = self->free_list;
        self->free_list = buffer;
        self->free_count++;
    } else {
        unwanted = buffer;
    }
    bool last = --self->users == 0;
    pthread_mutex_unlock(&self->lock);
    free(unwanted);
    if (!last) return;
    s_free_list(self->free_list);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

void weft_frame_pool_destroy(weft_frame_pool_t **self_p)
{
    weft_frame_pool_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    pthread_mutex_lock(&self->lock);
    struct s_buffer *list = self->free_list;
    self->free_list = NULL;
    self->free_count = 0;
    self->keep_count_max = 0; // what comes back later is freed at once
    pthread_mutex_unlock(&self->lock);
    s_free_list(list);
    s_release(self, NULL);
}

static void s_pool_drop(weft_frame_t *self)
{
    struct s_buffer *buffer = s_kept(self);
    s_release(buffer->pool, buffer);
}

static const struct weft_frame_ops s_pool_ops = {.move = NULL, .drop = s_pool_drop};

void weft_frame_pool_take(weft_frame_pool_t *self, size_t size, weft_frame_t *out)
{
    size_t capacity = size > self->buffer_bytes ? size : self->buffer_bytes;
    pthread_mutex_lock(&self->lock);
    struct s_buffer *buffer = capacity == self->buffer_bytes ? self->free_list : NULL;
    if (buffer) {
        self->free_list = buffer->next;
        self->free_count--;
    }
    self->users++;
    self->outside_bytes += capacity;
    pthread_mutex_unlock(&self->lock);
    if (!buffer) buffer = weft_alloc(sizeof *buffer + capacity);
    buffer->pool = self;
    buffer->next = NULL;
    buffer->capacity = capacity;
    *out = (weft_frame_t){.ops = &s_pool_ops, .data = buffer->bytes, .size = size, .shared = false};
    s_keep(out, buffer);
}

size_t weft_frame_pool_outside_bytes(weft_frame_pool_t *self)
{
    pthread_mutex_lock(&self->lock);
    size_t outside_bytes = self->outside_bytes;
    pthread_mutex_unlock(&self->lock);
    return outside_bytes;
}
