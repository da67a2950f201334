// SPDX-License-Identifier: MPL-2.0
/**
 * Consumer member: the background thread of a consumer that is a member of a group, with the member part on it.
 *
 * Everything between it and the consumer goes over the desk.
 */
#ifndef WEFT_CLIENT_CONSUMER_MEMBER_H
#define WEFT_CLIENT_CONSUMER_MEMBER_H

#include "../base/options.h"
#include "desk.h"

typedef struct weft_consumer_member weft_consumer_member_t;

// INVALID_GROUP, or why there is no thread or socket. Options are borrowed for the call.
WEFT_MUST_USE weft_err_t weft_consumer_member_start(const weft_options_t *options, weft_desk_t *desk,
                                                    weft_consumer_member_t **out, struct weft_error *error);
// Ends the thread, whatever it is at: who wants to leave the group first does so by the desk.
void weft_consumer_member_stop(weft_consumer_member_t **self_p);

#endif
