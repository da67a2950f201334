// SPDX-License-Identifier: MPL-2.0
/**
 * Shared bytes: a batch that is kept for its retries while the transport still reads it.
 *
 * Counted, because a frame on its way is dropped by an I/O thread. The producer holds its own reference until the batch
 * is answered; mostly it is the last one then, so that the memory can be used again (weft_shared_reclaim) without a
 * lock.
 */
#ifndef WEFT_CLIENT_SHARED_BYTES_H
#define WEFT_CLIENT_SHARED_BYTES_H

#include "../wire/frame.h"

typedef struct weft_shared weft_shared_t;

// Takes over the memory of `buf` (left empty and usable).
weft_shared_t *weft_shared_new(weft_buf_t *buf);
// Takes over a frame (left empty) that was received: its bytes are sent on, again and again, without a copy.
weft_shared_t *weft_shared_new_frame(weft_frame_t *frame);
void weft_shared_drop(weft_shared_t **self_p); // accepts NULL
// As drop; when it was the last reference (and not to a frame), `buf` (must be empty) gets the memory, with size 0. True then.
bool weft_shared_reclaim(weft_shared_t **self_p, weft_buf_t *buf);
weft_slice_t weft_shared_slice(const weft_shared_t *self);
// A frame of the same bytes, with a reference of its own. Marked shared: a receiver must not patch it.
void weft_shared_frame(weft_shared_t *self, weft_frame_t *out);

#endif
