// SPDX-License-Identifier: MPL-2.0
/**
 * Held: how many bytes of answers the transport still has. An answer's data frame is wrapped, sent, and counted off
 * wherever it is dropped, on an I/O thread.
 */
#ifndef WEFT_EDGE_HELD_H
#define WEFT_EDGE_HELD_H

#include "../../lib/wire/frame.h"

typedef struct weft_held weft_held_t;

weft_held_t *weft_held_new(void);
void weft_held_destroy(weft_held_t **self_p); // lives on until the last frame is dropped
size_t weft_held_bytes(const weft_held_t *self);
// Wraps the frame, in its place.
void weft_held_wrap(weft_held_t *self, weft_frame_t *frame);

#endif
