// SPDX-License-Identifier: MPL-2.0
/**
 * Lead: the followers that pull from the partitions led by a shard (DESIGN.md section 5).
 *
 * A session belongs to one link of a following shard. It holds an entry for every partition that the follower named, so
 * that a request says only what changed: naming one partition of 10,000 costs one lookup. An entry has one owner: a
 * follower that names a partition in another session takes it along. So there are at most as many entries as followers
 * of partitions, whoever asks for what.
 *
 * A request is parked until one of its partitions has data, then answered with the data of as many as fit. Marks travel
 * with data, and by themselves when the request's time is up. Data that was sent is not sent again before the follower
 * names the partition anew, with its place by then: an answer that got lost costs a new session, nothing else.
 *
 * What a follower says of its log counts as its report (weft_replica_report), but for the question where to align.
 * Reports by `progress` count only over the connection of the session that knows the follower: nothing overtakes there.
 */
#ifndef WEFT_BROKER_LEAD_H
#define WEFT_BROKER_LEAD_H

#include "shard.h"

struct weft_lead_entry;

weft_lead_t *weft_lead_new(weft_shard_t *shard, uint64_t seed);
void weft_lead_destroy(weft_lead_t **self_p);

// ---- requests; `header` was guarded

void weft_lead_replicate(weft_lead_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_lead_progress(weft_lead_t *self, const struct weft_asker *asker, weft_slice_t header);

// ---- what happened to a partition that may have followers

void weft_lead_appended(weft_partition_t *partition);
// A mark moved.
void weft_lead_moved(weft_partition_t *partition);
// The start of its log moved.
void weft_lead_trimmed(weft_partition_t *partition);
// Somebody waits for the durable mark: followers that hold unsynced records are told.
void weft_lead_wanted(weft_partition_t *partition);
// A new assignment: entries that it ends are answered and dropped.
void weft_lead_assigned(weft_partition_t *partition);
// It is gone, or not led any more.
void weft_lead_end(weft_partition_t *partition, weft_err_t code);

// The lowest offset that a follower at work has come to; INT64_MAX: there is none, or it is not led.
int64_t weft_lead_lowest(const weft_partition_t *partition);

// ---- time

// Answers the requests that have something to tell by now. Returns when to be called again.
int64_t weft_lead_turn(weft_lead_t *self, int64_t now_us);
void weft_lead_timed_out(weft_lead_t *self, struct weft_wait *wait);
// About once a second, for a partition that is led: who was heard lately is counted with what it has. A follower with
// nothing new reports nothing, and would stay out of the in-sync set if the set changed behind its last report.
void weft_lead_tick(weft_partition_t *partition, int64_t now_us);
// About once a second: sessions that nobody uses any more go.
void weft_lead_sweep(weft_lead_t *self, int64_t now_us);

#endif
