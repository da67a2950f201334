// SPDX-License-Identifier: MPL-2.0
/**
 * Admin part: one call at a time to whatever node can answer it. Never blocks; runs in any world.
 *
 * For answers of many leaders there is also a round of many calls at once (`many_`), none of which may change anything.
 *
 * begin() gives a call with its id; the caller encodes the request into call->header, then submits; after turns until
 * done, the error or the reply is there until the next begin.
 */
#ifndef WEFT_CLIENT_ADMIN_PART_H
#define WEFT_CLIENT_ADMIN_PART_H

#include "../base/options.h"
#include "requests.h"

typedef struct weft_admin_part weft_admin_part_t;

// Checks the options (scope admin; borrowed for the call). The part is destroyed through its ops by the world that runs
// it.
WEFT_MUST_USE weft_err_t weft_admin_part_new(const weft_options_t *options, weft_admin_part_t **out,
                                             struct weft_error *error);
struct weft_part *weft_admin_part_base(weft_admin_part_t *self);

// topic: with TO_LEADER. endpoint: with TO_LINK. NULL, with a sentence in error_text, if the endpoint is not legal.
struct weft_call *weft_admin_part_begin(weft_admin_part_t *self, enum weft_call_to to, const char *topic,
                                        int32_t partition, const char *endpoint);
// A fresh operation id: a change carries one, the same in every retry of that call.
weft_id_t weft_admin_part_operation(weft_admin_part_t *self);
void weft_admin_part_submit(weft_admin_part_t *self, int64_t timeout_us);
void weft_admin_part_cancel(weft_admin_part_t *self); // a call that is not done
bool weft_admin_part_is_done(const weft_admin_part_t *self);
weft_err_t weft_admin_part_error(const weft_admin_part_t *self);
// What the call under way waits for, as far as is known.
void weft_admin_part_waits_for(const weft_admin_part_t *self, char *text, size_t bytes);
const char *weft_admin_part_error_text(const weft_admin_part_t *self);
weft_slice_t weft_admin_part_reply(const weft_admin_part_t *self);    // the reply's header, to be decoded
int64_t weft_admin_part_round_trip_us(const weft_admin_part_t *self); // of the attempt that was answered

// ---- many calls to leaders of partitions

// Begins a round of so many; the one before is forgotten, and what it answered.
void weft_admin_part_many_begin(weft_admin_part_t *self, size_t count);
// The call at `index`, with its id: the caller encodes into its header. Each of them, once.
struct weft_call *weft_admin_part_many_call(weft_admin_part_t *self, size_t index, const char *topic,
                                            int32_t partition);
void weft_admin_part_many_submit(weft_admin_part_t *self, int64_t timeout_us);
bool weft_admin_part_many_are_done(const weft_admin_part_t *self);
// How it ended; with WEFT_OK *reply is the reply's header, borrowed until the round is forgotten.
weft_err_t weft_admin_part_many_result(const weft_admin_part_t *self, size_t index, weft_slice_t *reply);

#endif
