// SPDX-License-Identifier: MPL-2.0
// One heap block of bookkeeping beside the buffer. Acquire-release on the last drop, as in any intrusive count.
#include "shared_bytes.h"

#include "../base/assert.h"

#include <stdatomic.h>
#include <stdlib.h>

struct weft_shared {
    atomic_uint count;
    weft_buf_t buf;
    weft_frame_t frame; // empty: the bytes are those of buf
};

weft_shared_t *weft_shared_new(weft_buf_t *buf)
{
    weft_shared_t *self = weft_calloc(1, sizeof *self);
    atomic_init(&self->count, 1);
    self->buf = *buf;
    weft_buf_init(buf);
    return self;
}

weft_shared_t *weft_shared_new_frame(weft_frame_t *frame)
{
    weft_shared_t *self = weft_calloc(1, sizeof *self);
    atomic_init(&self->count, 1);
    weft_frame_move(&self->frame, frame);
    return self;
}

static bool s_release(weft_shared_t *self)
{
    return atomic_fetch_sub_explicit(&self->count, 1, memory_order_acq_rel) == 1;
}

void weft_shared_drop(weft_shared_t **self_p)
{
    weft_shared_t *self = *self_p;
    *self_p = NULL;
    if (!self || !s_release(self)) return;
    weft_buf_fini(&self->buf);
    weft_frame_drop(&self->frame);
    free(self);
}

bool weft_shared_reclaim(weft_shared_t **self_p, weft_buf_t *buf)
{
    weft_shared_t *self = *self_p;
    *self_p = NULL;
    if (!self || !s_release(self)) return false;
    weft_assert(!buf->data);
    *buf = self->buf;
    buf->size = 0;
    bool reclaimed = !self->frame.ops;
    weft_frame_drop(&self->frame);
    free(self);
    return reclaimed;
}

weft_slice_t weft_shared_slice(const weft_shared_t *self)
{
    return self->frame.ops ? weft_frame_slice(&self->frame) : weft_buf_slice(&self->buf);
}

static void s_frame_drop(struct weft_frame *frame)
{
    weft_shared_t *self;
    memcpy(&self, frame->storage, sizeof self);
    weft_shared_drop(&self);
}

// No move slot: a frame is a plain struct that carries the pointer.
static const struct weft_frame_ops s_frame_ops = {.move = NULL, .drop = s_frame_drop};

void weft_shared_frame(weft_shared_t *self, weft_frame_t *out)
{
    atomic_fetch_add_explicit(&self->count, 1, memory_order_relaxed);
    weft_slice_t bytes = weft_shared_slice(self);
    *out = (weft_frame_t){.ops = &s_frame_ops, .size = bytes.size, .shared = true};
    out->data = self->frame.ops ? self->frame.data : self->buf.data;
    memcpy(out->storage, &self, sizeof self);
}
