// SPDX-License-Identifier: MPL-2.0
/**
 * What requests.c (calls) and requests_metadata.c (who leads what) share.
 */
#ifndef WEFT_CLIENT_REQUESTS_INNER_H
#define WEFT_CLIENT_REQUESTS_INNER_H

#include "requests.h"

// requests.c
void weft_requests_check_by(weft_requests_t *self, int64_t at_us); // the next sweep over the slots is due then
void weft_requests_make_due(weft_requests_t *self); // what waits for a node or a coordinator may try again at once
bool weft_requests_is_near(const weft_requests_t *self, const struct weft_view_link *link); // up, or just being opened
int32_t weft_requests_epoch(const struct weft_call *call); // leader epoch of its partition as the view has it, -1: none
// The attempt got no answer: its owner is told (manual), or it is tried again.
void weft_requests_attempt_failed(weft_requests_t *self, struct weft_call *call, weft_err_t error);

// requests_metadata.c
void weft_requests_metadata_done(struct weft_call *call, weft_err_t error, const char *text,
                                 const struct weft_reply_header *header, struct weft_message *message);
void weft_requests_metadata_turn(weft_requests_t *self, int64_t now_us);

#endif
