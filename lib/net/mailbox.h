// SPDX-License-Identifier: MPL-2.0
/**
 * Mailbox: where mail for one part waits, and what wakes the part's thread.
 *
 * Any thread puts; one thread takes, all at once. Order is kept for each pair of sender and receiver (for all senders,
 * in fact). The receiver is woken through an eventfd, and only when it said that it sleeps, so a busy receiver costs
 * its senders no system call.
 */
#ifndef WEFT_NET_MAILBOX_H
#define WEFT_NET_MAILBOX_H

#include "../wire/port.h"

typedef struct weft_mailbox weft_mailbox_t;

weft_mailbox_t *weft_mailbox_new(void);             // NULL: the process has no descriptor left
void weft_mailbox_destroy(weft_mailbox_t **self_p); // frees the bodies that nobody took

// ---- any thread

// False: the mailbox is closed; the mail stays the caller's.
bool weft_mailbox_put(weft_mailbox_t *self, const struct weft_mail *mail);
// Ends the receiver's sleep, or prevents its next one. Async-signal-safe.
void weft_mailbox_wake(weft_mailbox_t *self);

// ---- the receiver's thread

int weft_mailbox_fd(const weft_mailbox_t *self);       // readable when a sleeping receiver is to wake
bool weft_mailbox_pending(const weft_mailbox_t *self); // one atomic load: is it worth taking?
// All that waits, in order; the array is valid until the next take.
struct weft_mail *weft_mailbox_take(weft_mailbox_t *self, size_t *count);
// Says that the receiver is about to sleep on the fd. False: there is mail or a wake, don't sleep.
bool weft_mailbox_sleep(weft_mailbox_t *self);
void weft_mailbox_awake(weft_mailbox_t *self, bool fd_readable); // after the sleep
bool weft_mailbox_woken(weft_mailbox_t *self);                   // was wake called since this was asked last?
// Refuses all later mail; what waits can still be taken.
void weft_mailbox_close(weft_mailbox_t *self);

#endif
