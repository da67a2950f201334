// SPDX-License-Identifier: MPL-2.0
// Replies are [id]([])([topic])[sequence][payload]. The payload frame is a block of our own, whose release by libzmq
// (on an I/O thread, or where the pipe of a requester that went away is freed) takes it off the requester's account. The
// socket has no high-water mark: a send never waits, and a mark of messages would not bound bytes.
#include "replay_inner.h"

#include <stdlib.h>
#include <zmq.h>

#define REPLY_OVERHEAD_BYTES 512 // of up to five frames in libzmq's queues

struct weft_tap_account {
    atomic_size_t bytes;
    atomic_uint holders;
};

struct block {
    struct weft_tap_account *account;
    size_t charge;
    uint8_t bytes[];
};

struct weft_tap_account *weft_tap_account_new(void)
{
    struct weft_tap_account *self = weft_calloc(1, sizeof *self);
    atomic_init(&self->holders, 1);
    return self;
}

void weft_tap_account_drop(struct weft_tap_account *self)
{
    if (atomic_fetch_sub(&self->holders, 1) == 1) free(self);
}

size_t weft_tap_account_bytes(const struct weft_tap_account *self)
{
    return atomic_load(&self->bytes);
}

static void s_release(void *data, void *hint)
{
    struct block *block = hint;
    atomic_fetch_sub(&block->account->bytes, block->charge);
    weft_tap_account_drop(block->account);
    free(block);
}

static void s_init_payload(zmq_msg_t *message, struct weft_tap_account *account, weft_slice_t payload)
{
    struct block *block = weft_alloc(sizeof *block + payload.size + 1);
    *block = (struct block){.account = account, .charge = payload.size + REPLY_OVERHEAD_BYTES};
    if (payload.size > 0) memcpy(block->bytes, payload.data, payload.size);
    atomic_fetch_add(&account->bytes, block->charge);
    atomic_fetch_add(&account->holders, 1);
    zmq_msg_init_data(message, block->bytes, payload.size, s_release, block);
}

enum send_result weft_tap_reply_send(void *router, const struct weft_tap_requester *to, uint64_t sequence,
                                     weft_slice_t payload)
{
    const int more = ZMQ_SNDMORE | ZMQ_DONTWAIT;
    // ROUTER_MANDATORY: a peer that is gone is told by the first frame.
    if (zmq_send(router, to->id, to->id_bytes, more) < 0) return SEND_GONE;
    uint8_t number[8];
    weft_tap_store_sequence(number, sequence);
    bool sent = true;
    if (to->delimited) sent = zmq_send(router, "", 0, more) >= 0;
    bool is_end = sequence == WEFT_TAP_SEQUENCE_END;
    if (sent && to->with_topic) sent = zmq_send(router, to->name, is_end ? 0 : to->name_bytes, more) >= 0;
    if (sent) sent = zmq_send(router, number, sizeof number, more) >= 0;
    if (!sent) return SEND_GONE;
    zmq_msg_t message;
    s_init_payload(&message, to->account, payload);
    if (zmq_msg_send(&message, router, ZMQ_DONTWAIT) >= 0) return SEND_DONE;
    zmq_msg_close(&message);
    return SEND_GONE;
}
