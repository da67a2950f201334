// SPDX-License-Identifier: MPL-2.0
/**
 * Disturbed: what tests do to one link (disturb.h): its messages that are held back or late, both ways. For link.c.
 */
#ifndef WEFT_NET_DISTURBED_H
#define WEFT_NET_DISTURBED_H

#include "../wire/port.h"
#include "disturb.h"
#include "outgoing.h"

typedef struct weft_disturbed weft_disturbed_t;

// NULL: off.
weft_disturbed_t *weft_disturbed_new(const char *party, const char *endpoint);
void weft_disturbed_destroy(weft_disturbed_t **self_p); // accepts NULL

/** Looks at what is to happen now; true: the connection is lost. `up`: whether it is at all. */
bool weft_disturbed_look(weft_disturbed_t *self, int64_t now_us, bool up);
bool weft_disturbed_is_cut(const weft_disturbed_t *self); // either way, as of the last look
void weft_disturbed_clear(weft_disturbed_t *self);        // all that waits is lost with its connection
int64_t weft_disturbed_next_us(const weft_disturbed_t *self, int64_t now_us); // when to look again

// Outgoing: hold() takes the message if it may not leave yet; release() gives the next that may.
bool weft_disturbed_hold(weft_disturbed_t *self, int64_t now_us, weft_outgoing_t *outgoing);
bool weft_disturbed_release(weft_disturbed_t *self, int64_t now_us, weft_outgoing_t *out);
// Incoming: what the socket gave goes in, what may be heard comes out.
void weft_disturbed_put(weft_disturbed_t *self, int64_t now_us, struct weft_message *message);
bool weft_disturbed_take(weft_disturbed_t *self, int64_t now_us, struct weft_message *out);

#endif
