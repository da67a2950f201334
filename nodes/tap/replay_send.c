// SPDX-License-Identifier: MPL-2.0
// Replies are [id]([])([topic])[sequence][payload]. The payload frame is charged to the requester until libzmq releases
// it. The socket has no high-water mark: a send never waits, and a mark of messages would not bound bytes.
#include "replay_inner.h"

#include <zmq.h>

#define REPLY_OVERHEAD_BYTES 512 // of up to five frames in libzmq's queues

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
    sent = weft_unread_send(to->unread, router, payload, REPLY_OVERHEAD_BYTES, ZMQ_DONTWAIT);
    return sent ? SEND_DONE : SEND_GONE;
}
