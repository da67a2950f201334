// SPDX-License-Identifier: MPL-2.0
/**
 * Outgoing messages and the accounts that count their bytes until the transport is done with them.
 *
 * libzmq's high-water marks count messages and stall whole sockets; here SNDHWM is 0 and each destination has an
 * account in bytes. A message is charged when it is made and discharged by libzmq's free callback (on an I/O thread)
 * when its last byte was handed to the kernel, or when it was dropped with its connection.
 */
#ifndef WEFT_NET_OUTGOING_H
#define WEFT_NET_OUTGOING_H

#include "../wire/frame.h"

#include <zmq.h>

typedef struct weft_account weft_account_t;

weft_account_t *weft_account_new(void);
// Gives up the owner's share: the account goes when its last message is discharged. Nulls the pointer.
void weft_account_release(weft_account_t **self_p);
size_t weft_account_bytes(const weft_account_t *self); // charged and not yet discharged; any thread
bool weft_account_idle(const weft_account_t *self);    // no message outstanding

/** One message ready to leave: [header][data]. Exactly one of send and discard ends it. */
typedef struct weft_outgoing {
    zmq_msg_t header;
    zmq_msg_t data;
    bool has_data;
} weft_outgoing_t;

// Copies the header; moves `data` (NULL or empty: none) in without a copy. Charges the account.
void weft_outgoing_init(weft_outgoing_t *self, weft_account_t *account, weft_slice_t header, weft_frame_t *data);
// Sends what follows a routing prefix; never blocks. False: not sent (errno as of zmq_msg_send), still to be discarded.
bool weft_outgoing_send(weft_outgoing_t *self, void *socket);
void weft_outgoing_discard(weft_outgoing_t *self);

#endif
