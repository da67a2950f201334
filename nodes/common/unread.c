// SPDX-License-Identifier: MPL-2.0
// Two atomics on the heap: the bytes, and who still points at them.
#include "unread.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

struct weft_unread {
    atomic_size_t bytes;
    atomic_uint holders;
};

struct s_block {
    weft_unread_t *unread;
    size_t charge;
    uint8_t bytes[];
};

weft_unread_t *weft_unread_new(void)
{
    weft_unread_t *self = weft_calloc(1, sizeof *self);
    atomic_init(&self->holders, 1);
    return self;
}

void weft_unread_drop(weft_unread_t *self)
{
    if (self && atomic_fetch_sub(&self->holders, 1) == 1) free(self);
}

size_t weft_unread_bytes(const weft_unread_t *self)
{
    return atomic_load(&self->bytes);
}

static void s_release(void *data, void *hint)
{
    struct s_block *block = hint;
    atomic_fetch_sub(&block->unread->bytes, block->charge);
    weft_unread_drop(block->unread);
    free(block);
}

bool weft_unread_send(weft_unread_t *self, void *socket, weft_slice_t payload, size_t overhead_bytes, int flags)
{
    struct s_block *block = weft_alloc(sizeof *block + payload.size + 1);
    *block = (struct s_block){.unread = self, .charge = payload.size + overhead_bytes};
    if (payload.size > 0) memcpy(block->bytes, payload.data, payload.size);
    atomic_fetch_add(&self->bytes, block->charge);
    atomic_fetch_add(&self->holders, 1);
    zmq_msg_t message;
    zmq_msg_init_data(&message, block->bytes, payload.size, s_release, block);
    if (zmq_msg_send(&message, socket, flags) >= 0) return true;
    int code = zmq_errno();
    zmq_msg_close(&message);
    errno = code;
    return false;
}
