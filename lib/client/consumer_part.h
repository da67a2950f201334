// SPDX-License-Identifier: MPL-2.0
/**
 * Consumer part: the whole consumer without its blocking calls (those are consumer.c). Runs in any world.
 *
 * Never blocks. Functions may be called between turns by whoever runs the part; what they start leaves with the next
 * turn. Each assigned partition goes through: waiting (topic or leader not known), resolving (earliest, latest or a
 * time, by list_offsets), reading (one fetch under way whenever the byte budget allows), stopped (permanent error,
 * until a seek). Fetched frames wait as chunks in order of arrival; weft_consumer_part_next hands out their records.
 *
 * Promises kept here (I4): a record below the position is never handed out, one above it only if a record in between is
 * known to be gone, which is said by an event; checks: every batch's CRC (option check.crc), the walk over its records,
 * the epoch of the last record read goes with every fetch (KIP-320).
 *
 * Of a group: a member part (member_part.h) keeps the membership, this one reads, commits and lets go. What it owns changes only
 * inside begin_poll and close_step, which call the program's callback: so no record is being worked on then.
 */
#ifndef WEFT_CLIENT_CONSUMER_PART_H
#define WEFT_CLIENT_CONSUMER_PART_H

#include "../base/metrics.h"
#include "../base/options.h"
#include "../wire/port.h"
#include "desk.h"

#include <weft/consumer.h>

typedef struct weft_consumer_part weft_consumer_part_t;

// Checks the options (scope consumer; borrowed for the call). The part is destroyed through its ops by the world that
// runs it.
WEFT_MUST_USE weft_err_t weft_consumer_part_new(const weft_options_t *options, weft_consumer_part_t **out,
                                                struct weft_error *error);
struct weft_part *weft_consumer_part_base(weft_consumer_part_t *self);

// subscribe joins the group of the options by the member part at the other side of this desk, which it holds. Before
// anything is subscribed.
void weft_consumer_part_meet(weft_consumer_part_t *self, weft_desk_t *desk);

// As in <weft/consumer.h>.
WEFT_MUST_USE weft_err_t weft_consumer_part_assign(weft_consumer_part_t *self, const struct weft_assignment *list,
                                                   size_t count);
WEFT_MUST_USE weft_err_t weft_consumer_part_subscribe(weft_consumer_part_t *self, const char *const *patterns,
                                                      size_t count, struct weft_position at);
WEFT_MUST_USE weft_err_t weft_consumer_part_seek(weft_consumer_part_t *self, const char *topic, int32_t partition,
                                                 struct weft_position at);
WEFT_MUST_USE weft_err_t weft_consumer_part_seek_behind(weft_consumer_part_t *self, const char *topic,
                                                        int32_t partition, int64_t offset, int32_t leader_epoch);
WEFT_MUST_USE weft_err_t weft_consumer_part_pause(weft_consumer_part_t *self, const char *topic, int32_t partition,
                                                  bool paused);

// The program waits for records from now on, or does not any more: it is not idle meanwhile. Without threads nothing ever
// waits: begin_poll alone says that it lives.
void weft_consumer_part_waits(weft_consumer_part_t *self, bool waits);
bool weft_consumer_part_in_callback(const weft_consumer_part_t *self);
void weft_consumer_part_on_rebalance(weft_consumer_part_t *self, weft_rebalance_fn *fn, void *context);

// Frees what was read in full, and makes what has arrived so far the content of this poll. False: there is none. Of a
// group: also takes the next step of a rebalance, and commits when it is time to.
bool weft_consumer_part_begin_poll(weft_consumer_part_t *self);
// The desk has something that the part did not see yet: a turn, and it did.
bool weft_consumer_part_has_news(const weft_consumer_part_t *self);
// exclusive: no record may be handed out at that time.
bool weft_consumer_part_lease_over(const weft_consumer_part_t *self, int64_t now_us);
/**
 * The next record of this poll; of a member, max.poll.records of them at most. *crossed (may be NULL) is set when a
 * chunk was finished: a good moment to give the part a turn.
 */
bool weft_consumer_part_next(weft_consumer_part_t *self, struct weft_record_view *record, bool *crossed);
bool weft_consumer_part_next_batch(weft_consumer_part_t *self, struct weft_batch_view *batch, bool *crossed);
bool weft_consumer_part_event(weft_consumer_part_t *self, struct weft_consumer_event *event);
uint64_t weft_consumer_part_event_serial(const weft_consumer_part_t *self); // grows with every event
bool weft_consumer_part_at_end(const weft_consumer_part_t *self);
bool weft_consumer_part_position(const weft_consumer_part_t *self, size_t index, struct weft_partition_position *out);

// ---- offsets of the group. A ticket stands for all that was asked for up to then; no ticket is 0.

WEFT_MUST_USE weft_err_t weft_consumer_part_commit(weft_consumer_part_t *self, uint64_t *ticket);
WEFT_MUST_USE weft_err_t weft_consumer_part_commit_offsets(weft_consumer_part_t *self,
                                                           const struct weft_group_offset *list, size_t count,
                                                           uint64_t *ticket);
// True: answered, or given up; *error tells how, and error_text.
bool weft_consumer_part_committed(weft_consumer_part_t *self, uint64_t ticket, weft_err_t *error);
// Looks up what the group has committed; one look at a time, a new one ends the one before.
WEFT_MUST_USE weft_err_t weft_consumer_part_look(weft_consumer_part_t *self, const struct weft_committed *list,
                                                 size_t count, int64_t timeout_us);
// True: over. *error WEFT_OK: `list` (as given to look) is filled in; metadata is borrowed until the next look.
bool weft_consumer_part_looked(weft_consumer_part_t *self, struct weft_committed *list, weft_err_t *error);
uint64_t weft_consumer_part_token(const weft_consumer_part_t *self, const char *topic, int32_t partition);

// Begins to close; nothing is handed out any more. Then close_step between turns until it is true: all is committed and
// the group left. *error: of the last commit.
void weft_consumer_part_close(weft_consumer_part_t *self);
bool weft_consumer_part_close_step(weft_consumer_part_t *self, weft_err_t *error);

const struct weft_error *weft_consumer_part_fatal(const weft_consumer_part_t *self); // code WEFT_OK: none
const weft_counters_t *weft_consumer_part_counters(const weft_consumer_part_t *self);
const char *weft_consumer_part_error_text(const weft_consumer_part_t *self); // of the last call that failed

#endif
