// SPDX-License-Identifier: MPL-2.0
// Moves of replicas: data first, leadership second.
//
// While a partition moves it has the replicas of both, those to be first. What is added copies from the leader and
// joins the in-sync set like anybody; the apply that brings in the last of the target ends the move (C9), so that no
// command is needed that could be late. A move may be redirected or given up at any time: what neither the origin nor
// the new target has goes at once, unless it is all that is left of the data.
#include "cluster_state.h"

#include "../base/assert.h"

#include <stdlib.h>
#include <string.h>

struct s_ids {
    int32_t ids[WEFT_REPLICAS_MAX];
    uint8_t count;
};

// Both, the first in front. INVALID_REPLICATION if they are too many.
static weft_err_t s_union(const struct weft_cluster_moving *moving, struct s_ids *out, struct weft_error *error)
{
    memcpy(out->ids, moving->target, sizeof out->ids);
    out->count = moving->target_count;
    for (uint8_t i = 0; i < moving->origin_count; i++) {
        if (weft_partition_has(out->ids, out->count, moving->origin[i])) continue;
        if (out->count == WEFT_REPLICAS_MAX)
            return weft_error_set(error, WEFT_ERR_INVALID_REPLICATION,
                                  "replicas before and after a move are together at most %d; move in two steps",
                                  WEFT_REPLICAS_MAX);
        out->ids[out->count++] = moving->origin[i];
    }
    return WEFT_OK;
}

static bool s_same_set(const struct weft_cluster_moving *moving)
{
    if (moving->target_count != moving->origin_count) return false;
    for (uint8_t i = 0; i < moving->target_count; i++)
        if (!weft_partition_has(moving->origin, moving->origin_count, moving->target[i])) return false;
    return true;
}

// What the partition would be: its replicas, and the move under way (none if target and origin are the same brokers).
static weft_err_t s_plan(const weft_cluster_t *self, const struct weft_cluster_partition *partition,
                         const struct weft_replica_move *it, struct weft_cluster_moving *moving, struct s_ids *replicas,
                         struct weft_error *error)
{
    const struct weft_cluster_moving *now = partition->moving;
    *moving = (struct weft_cluster_moving){0};
    if (!now && it->replicas_count == 0)
        return weft_error_set(error, WEFT_ERR_NO_REASSIGNMENT, "the replicas of partition %u are not being moved",
                              it->partition);
    moving->origin_count = now ? now->origin_count : partition->replica_count;
    memcpy(moving->origin, now ? now->origin : partition->replicas, sizeof moving->origin);
    if (it->replicas_count == 0) {
        memcpy(moving->target, moving->origin, sizeof moving->target);
        moving->target_count = moving->origin_count;
    } else {
        weft_err_t err = weft_cluster_replicas_check(self, it->replicas, it->replicas_count, error);
        if (err) return err;
        memcpy(moving->target, it->replicas, it->replicas_count * sizeof *it->replicas);
        moving->target_count = (uint8_t) it->replicas_count;
    }
    return s_union(moving, replicas, error);
}

// Who is not among the new replicas must not be all that has the data.
static weft_err_t s_drop_check(const struct weft_cluster_partition *partition, const struct s_ids *replicas,
                               struct weft_error *error)
{
    uint16_t kept = weft_partition_bits(partition, replicas->ids, replicas->count);
    uint16_t isr = weft_partition_isr_bits(partition);
    bool good = partition->leader >= 0 ? (isr & kept) != 0
                                       : !((isr | partition->eligible | partition->leavers) & ~kept); // rule 4
    if (good) return WEFT_OK;
    return weft_error_set(
        error, WEFT_ERR_NO_ELIGIBLE_LEADER,
        "only replicas that would be given up have what was acknowledged; let the others catch up first");
}

static weft_err_t s_move(weft_cluster_t *self, const struct weft_replica_move *it, struct weft_error *error)
{
    struct weft_cluster_edit edit;
    weft_err_t err = weft_cluster_edit_find(self, it->topic_id, it->partition, it->partition_epoch, &edit, error);
    if (err) return err;
    struct weft_cluster_partition *partition = edit.partition;
    struct weft_cluster_moving moving;
    struct s_ids replicas;
    err = s_plan(self, partition, it, &moving, &replicas, error);
    if (err) return err;
    err = s_drop_check(partition, &replicas, error);
    if (err) return err;
    bool still = s_same_set(&moving);
    if (still && !partition->moving && memcmp(partition->replicas, moving.target, sizeof moving.target) == 0)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "partition %u has these replicas already",
                              it->partition);
    if (still) { // given up, or only another order
        free(partition->moving);
        partition->moving = NULL;
    } else {
        if (!partition->moving) partition->moving = weft_alloc(sizeof *partition->moving);
        *partition->moving = moving;
    }
    weft_cluster_partition_hold(self, partition, replicas.ids, replicas.count);
    edit.changed = true;
    weft_cluster_edit_end(self, &edit);
    return WEFT_OK;
}

// Refused only if none of them fits any more.
weft_err_t weft_cluster_reassigned(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_reassigned_command it;
    weft_err_t err = weft_reassigned_command_decode(self->codec, command, &it, error);
    if (err) return err;
    if (weft_cluster_operation_repeated(self, it.operation)) return WEFT_OK;
    size_t done = 0;
    for (size_t i = 0; i < it.moves_count; i++) {
        weft_err_t refused = s_move(self, &it.moves[i], err ? NULL : error);
        if (refused && !err) err = refused;
        done += !refused;
    }
    return done ? WEFT_OK : err;
}
