// SPDX-License-Identifier: MPL-2.0
/**
 * Ledger: the committed offsets of consumer groups, at the shard that leads a partition of __offsets.
 *
 * It exists as long as that partition is led here. A new leader reads the whole log first (a portion a turn), and
 * answers nothing before all that it inherited is durable here and at its followers (REPLICATION.md rule 5):
 * COORDINATOR_LOADING meanwhile. Then:
 *
 *     commit, offsets_delete    what is not refused becomes records; all of a turn make one batch, appended like a
 *     committed with a token    producer's, acks all and durable; answered when that is so
 *     committed, offsets_list   from what is durable
 *
 * Refusals judge by what was appended last, so a fence counts from its append on (rule 19). A batch that can't be
 * appended is taken back whole; one that was and whose leadership ended is answered "maybe".
 *
 * What nobody needs any more becomes tombstones: offsets of topics that were deleted, and those older than the cluster
 * setting offsets.retention.ms of groups that the coordinator does not know. The control part asks it (GROUPS mail).
 */
#ifndef WEFT_BROKER_OFFSETS_H
#define WEFT_BROKER_OFFSETS_H

#include "shard.h"

typedef struct weft_ledger weft_ledger_t;

// ---- requests; `header` was guarded

void weft_shard_commit(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_shard_committed(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_shard_offsets_list(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_shard_offsets_delete(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header);

// ---- what happens to the partition

// It is led here from now on, or not any more (then all that waits is refused). Nothing if that was so before, or if it
// is none of __offsets.
void weft_ledger_follow(weft_partition_t *partition);
// An effect for the batch of `wait`, or its time is up.
void weft_ledger_done(struct weft_wait *wait, const struct weft_replica_effect *effect);
void weft_ledger_timed_out(struct weft_wait *wait);
void weft_ledger_durable(weft_partition_t *partition); // the mark moved
void weft_ledger_destroy(weft_ledger_t **self_p);      // answers nobody

// ---- time

// Appends what came in this turn, reads on, deletes on. Before the shard's group commit. Returns when to be called again.
int64_t weft_ledgers_turn(weft_shard_t *shard, int64_t now_us);
// A stop: appends what came, gives up what would take longer.
void weft_ledgers_stop(weft_shard_t *shard);

// ---- groups that may have expired: asked by a shard, answered by the control part (offsets_check.c)

/** Mail of GROUPS, there and back. One block: names stand behind it. */
struct weft_broker_groups {
    weft_id_t topic; // of __offsets
    uint32_t partition;
    weft_part_id_t from;
    bool answered; // back: `known` is told
    size_t count;
    weft_slice_t *names;
    bool *known;
};

#define WEFT_BROKER_GROUPS_MAX 1000 // in one mail

struct weft_broker_groups *weft_broker_groups_new(const weft_slice_t *names, size_t count);
void weft_ledger_groups_told(weft_shard_t *shard, const struct weft_broker_groups *groups);

#endif
