// SPDX-License-Identifier: MPL-2.0
/**
 * Member part: keeps a consumer in its group by group_heartbeat (KIP-848's model). Never blocks; runs in any world.
 *
 * The consumer runs it on a background thread, so that heartbeats go on while the program works on a record; simulator
 * and tests give it turns beside the consumer part. The two meet at a desk (desk.h) and nowhere else.
 *
 *     nobody subscribed -> joining (epoch 0) -> in -> leaving -> gone
 *                              ^                 |
 *                              '--- lost <-------'   UNKNOWN_MEMBER, FENCED_MEMBER, or the program stopped polling
 *
 * One heartbeat is under way at a time. It asks to be parked for the interval that the coordinator told, and is sent anew
 * at once when this side has something to say (another subscription, an assignment carried out, leaving), which ends the
 * parked one. After a heartbeat that was not answered, and to a coordinator that is another, it says all it has to say
 * (rule 21); what it owns is named by the assignment's revision, so that is little.
 *
 * A coordinator that can't be heard changes nothing (I10): the consumer goes on with what it owns. Only the lease ends,
 * counted from the sending of the last heartbeat that was answered (rule 22); who reads with `exclusive` obeys it.
 *
 * A program that does not ask for records for max.poll.ms leaves the group ("stopped polling for 312 s") and loses what
 * it owned; the next poll joins again. One that is dead just falls silent.
 */
#ifndef WEFT_CLIENT_MEMBER_PART_H
#define WEFT_CLIENT_MEMBER_PART_H

#include "../base/metrics.h"
#include "../base/options.h"
#include "../wire/port.h"
#include "desk.h"

typedef struct weft_member_part weft_member_part_t;

// A name that a group may have: INVALID_GROUP, with a sentence.
WEFT_MUST_USE weft_err_t weft_member_group_check(const char *group, struct weft_error *error);

/**
 * options: scope consumer, borrowed for the call; `group` is set. host: where it runs, for people, "" if not known. Holds
 * the desk. The part is destroyed through its ops by the world that runs it. INVALID_GROUP, with a sentence.
 */
WEFT_MUST_USE weft_err_t weft_member_part_new(const weft_options_t *options, const char *host, weft_desk_t *desk,
                                              weft_member_part_t **out, struct weft_error *error);
struct weft_part *weft_member_part_base(weft_member_part_t *self);

bool weft_member_part_gone(const weft_member_part_t *self); // it left, or was never in
const weft_counters_t *weft_member_part_counters(const weft_member_part_t *self);

#endif
