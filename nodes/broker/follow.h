// SPDX-License-Identifier: MPL-2.0
/**
 * Follow: the partitions of a shard that others lead, and the links over which they are pulled (DESIGN.md section 5).
 *
 * One link for every leader's shard that is followed, to its door for other brokers; on each two sessions of
 * `replicate`: the live one, for partitions in whose in-sync set this replica is, and the one of those that catch up,
 * which alone is throttled (cluster setting reassign.bytes), so that a replica that is far behind never delays an
 * acknowledgement.
 *
 * A *pull* is one partition on its way. After every new leader epoch it is aligned first (rule 5 of KIP-101, KIP-279:
 * weft_replica_diverged), then batches are appended as they come. Where the log ends and is synced is told with the
 * next `replicate`, or at once by `progress` while one is parked (REPLICATION.md rule 7).
 *
 * A session has one request parked, and sends a second only when it has something new to say; the leader answers the
 * first at once then. What is not answered in time, a gap, an error, a lost link: the session begins anew, from the
 * logs, which are all that counts.
 */
#ifndef WEFT_BROKER_FOLLOW_H
#define WEFT_BROKER_FOLLOW_H

#include "shard.h"

struct weft_pull;

weft_follow_t *weft_follow_new(weft_shard_t *shard);
void weft_follow_destroy(weft_follow_t **self_p);

// ---- partitions

// Its assignment, its log or its place in the cluster changed: it is pulled from whom it follows now, or no more.
void weft_follow_update(weft_partition_t *partition);
// It is closed.
void weft_follow_end(weft_partition_t *partition);
// Its log end or synced end moved.
void weft_follow_moved(weft_partition_t *partition);

// ---- world

void weft_follow_message(weft_follow_t *self, struct weft_message *message);
void weft_follow_link_up(weft_follow_t *self, weft_link_t link);
void weft_follow_link_down(weft_follow_t *self, weft_link_t link);
// A new incarnation: all sessions begin anew.
void weft_follow_restart(weft_follow_t *self);
// The cluster's setting may have changed: bytes a second for all that catch up here, 0: no limit.
void weft_follow_throttle(weft_follow_t *self, int64_t bytes_per_s);
// Sends what is due. Returns when to be called again.
int64_t weft_follow_turn(weft_follow_t *self, int64_t now_us);
void weft_follow_sweep(weft_follow_t *self, int64_t now_us);

#endif
