// SPDX-License-Identifier: MPL-2.0
// One heap block a frame: it has the frame itself and a reference to the count.
#include "held.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct weft_held {
    atomic_size_t bytes;
    atomic_uint references;
};

struct s_one {
    weft_frame_t inner;
    weft_held_t *held;
};

weft_held_t *weft_held_new(void)
{
    weft_held_t *self = weft_calloc(1, sizeof *self);
    atomic_init(&self->references, 1);
    return self;
}

static void s_release(weft_held_t *self)
{
    if (atomic_fetch_sub_explicit(&self->references, 1, memory_order_acq_rel) == 1) free(self);
}

void weft_held_destroy(weft_held_t **self_p)
{
    weft_held_t *self = *self_p;
    *self_p = NULL;
    if (self != NULL) s_release(self);
}

size_t weft_held_bytes(const weft_held_t *self)
{
    return atomic_load_explicit(&self->bytes, memory_order_relaxed);
}

static void s_drop(weft_frame_t *frame)
{
    struct s_one *one;
    memcpy(&one, frame->storage, sizeof one);
    atomic_fetch_sub_explicit(&one->held->bytes, one->inner.size, memory_order_relaxed);
    s_release(one->held);
    weft_frame_drop(&one->inner);
    free(one);
}

static const struct weft_frame_ops s_ops = {.move = NULL, .drop = s_drop};

void weft_held_wrap(weft_held_t *self, weft_frame_t *frame)
{
    struct s_one *one = weft_calloc(1, sizeof *one);
    one->held = self;
    weft_frame_move(&one->inner, frame);
    atomic_fetch_add_explicit(&self->references, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&self->bytes, one->inner.size, memory_order_relaxed);
    *frame =
        (weft_frame_t){.ops = &s_ops, .data = one->inner.data, .size = one->inner.size, .shared = one->inner.shared};
    memcpy(frame->storage, &one, sizeof one);
}
