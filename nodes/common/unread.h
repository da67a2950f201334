// SPDX-License-Identifier: MPL-2.0
/**
 * Unread: bytes of answers that libzmq still holds for somebody. A high-water mark counts messages, and an answer may be
 * of any size: who asks and never reads is bounded by this.
 *
 * Each answer is a block of its own, whose release by libzmq (on an I/O thread, or where the pipe of a peer that went
 * away is freed) takes it off the account. The account lives as long as its owner or any of its answers.
 */
#ifndef WEFT_COMMON_UNREAD_H
#define WEFT_COMMON_UNREAD_H

#include "../../lib/base/bytes.h"

typedef struct weft_unread weft_unread_t;

weft_unread_t *weft_unread_new(void);
void weft_unread_drop(weft_unread_t *self); // by its owner; accepts NULL
size_t weft_unread_bytes(const weft_unread_t *self);

// Sends a copy of `payload` as one frame (flags as of zmq_msg_send), charged with overhead_bytes more until it is read.
// False: it was not sent, and errno tells.
bool weft_unread_send(weft_unread_t *self, void *socket, weft_slice_t payload, size_t overhead_bytes, int flags);

#endif
