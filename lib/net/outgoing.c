// SPDX-License-Identifier: MPL-2.0
// One counted block a message, on the frame that leaves last: the header if it stands alone (its bytes follow the
// block), else the data frame. Frames of one connection are released in order, so the last one's release tells of both.
//
// An account is one atomic: bit 63 is the owner's share, below it the sum of (bytes + 1) over the outstanding messages.
// It is zero exactly when neither owner nor messages remain, so whoever brings it to zero frees it, without a second
// counter.
#include "outgoing.h"

#include "../base/assert.h"
#include "handover.h"

#include <stdatomic.h>
#include <stdlib.h>

#ifdef WEFT_HANDOVER_SEEN
char weft_handover;
#endif

#define S_OWNED (UINT64_C(1) << 63)

struct weft_account {
    _Atomic uint64_t charged;
};

struct s_block {
    weft_account_t *account;
    uint64_t charge;
    weft_frame_t frame; // empty for a lone header
    uint8_t header_bytes[];
};

weft_account_t *weft_account_new(void)
{
    weft_account_t *self = weft_alloc(sizeof *self);
    atomic_init(&self->charged, S_OWNED);
    return self;
}

static void s_discharge(weft_account_t *self, uint64_t amount)
{
    uint64_t before = atomic_fetch_sub_explicit(&self->charged, amount, memory_order_acq_rel);
    if (before == amount) free(self);
}

void weft_account_release(weft_account_t **self_p)
{
    weft_account_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    s_discharge(self, S_OWNED);
}

size_t weft_account_bytes(const weft_account_t *self)
{
    return (size_t) (atomic_load_explicit(&self->charged, memory_order_relaxed) & ~S_OWNED);
}

bool weft_account_idle(const weft_account_t *self)
{
    return (atomic_load_explicit(&self->charged, memory_order_acquire) & ~S_OWNED) == 0;
}

static void s_block_free(void *data, void *hint)
{
    weft_handover_take();
    struct s_block *block = hint;
    weft_account_t *account = block->account;
    uint64_t charge = block->charge;
    weft_frame_drop(&block->frame);
    free(block);
    s_discharge(account, charge);
}

static struct s_block *s_block_new(weft_account_t *account, size_t message_bytes, size_t header_bytes)
{
    struct s_block *block = weft_alloc(sizeof *block + header_bytes);
    block->charge = message_bytes + 1;
    block->frame = WEFT_FRAME_EMPTY;
    atomic_fetch_add_explicit(&account->charged, block->charge, memory_order_relaxed);
    block->account = account;
    return block;
}

static void s_message_init(zmq_msg_t *message, struct s_block *block, void *data, size_t size)
{
    int rc = zmq_msg_init_data(message, data, size, s_block_free, block);
    weft_assert(rc == 0); // fails only without memory
}

void weft_outgoing_init(weft_outgoing_t *self, weft_account_t *account, weft_slice_t header, weft_frame_t *data)
{
    self->has_data = data != NULL && data->size > 0;
    if (!self->has_data) {
        if (data != NULL) weft_frame_drop(data);
        struct s_block *block = s_block_new(account, header.size, header.size);
        if (header.size > 0) memcpy(block->header_bytes, header.data, header.size);
        s_message_init(&self->header, block, block->header_bytes, header.size);
        return;
    }
    int rc = zmq_msg_init_size(&self->header, header.size);
    weft_assert(rc == 0);
    if (header.size > 0) memcpy(zmq_msg_data(&self->header), header.data, header.size);
    struct s_block *block = s_block_new(account, header.size + data->size, 0);
    weft_frame_move(&block->frame, data);
    s_message_init(&self->data, block, block->frame.data, block->frame.size);
}

bool weft_outgoing_send(weft_outgoing_t *self, void *socket)
{
    weft_handover_give();
    if (zmq_msg_send(&self->header, socket, ZMQ_DONTWAIT | (self->has_data ? ZMQ_SNDMORE : 0)) < 0) return false;
    if (!self->has_data) return true;
    // Past the first frame libzmq refuses nothing: with SNDHWM 0 a pipe takes all, and a dying one swallows it.
    if (zmq_msg_send(&self->data, socket, ZMQ_DONTWAIT) < 0) zmq_msg_close(&self->data);
    return true;
}

void weft_outgoing_discard(weft_outgoing_t *self)
{
    zmq_msg_close(&self->header);
    if (self->has_data) zmq_msg_close(&self->data);
}
