// SPDX-License-Identifier: MPL-2.0
// Commands on the leader and the in-sync set of partitions.
//
// Whatever the coordinator decided on may be old by the time it is committed, so everything is checked again here, on
// the state that all nodes share: the epochs, and that every member that is to be in sync is alive in the very
// incarnation that caught up (REPLICATION.md rule 1; KIP-903). A new leader comes out of the in-sync set or is eligible;
// any other is an unclean election, and only a person's command is one.
#include "cluster_state.h"

#include "../base/assert.h"
#include "../base/mutate.h"

#include <string.h>

// ---- another in-sync set

static weft_err_t s_member_check(const weft_cluster_t *self, const struct weft_cluster_partition *partition,
                                 const struct weft_partition_changed_command *it, size_t i, struct weft_error *error)
{
    int32_t id = it->isr[i];
    if (!weft_partition_bit(partition, id) || weft_partition_has(it->isr, (uint8_t) i, id))
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "broker %d holds no replica, or is named twice", id);
    const struct weft_cluster_broker *broker = weft_cluster_broker_find(self, id);
    if (weft_mutated("isr_change_without_incarnations")) return WEFT_OK;
    if (!broker->alive)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "broker %d is not alive: it can't be in sync", id);
    if (it->incarnations_count && !weft_id_equal(it->incarnations[i], broker->incarnation))
        return weft_error_set(error, WEFT_ERR_STALE_EPOCH, "broker %d has started again meanwhile", id);
    return WEFT_OK;
}

static weft_err_t s_change_check(const weft_cluster_t *self, const struct weft_cluster_partition *partition,
                                 const struct weft_partition_changed_command *it, struct weft_error *error)
{
    if (it->leader_epoch >= 0 && it->leader_epoch != partition->leader_epoch)
        return weft_error_set(error, WEFT_ERR_STALE_EPOCH,
                              "partition %u is at leader epoch %d, the change was decided in %d", it->partition,
                              partition->leader_epoch, it->leader_epoch);
    if (partition->leader < 0)
        return weft_error_set(error, WEFT_ERR_NO_ELIGIBLE_LEADER,
                              "partition %u has no leader: its last in-sync set stays until one is elected",
                              it->partition); // rule 4
    if (it->isr_count < 1 || it->isr_count > partition->replica_count)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "an in-sync set has 1 to %u members, not %zu",
                              partition->replica_count, it->isr_count);
    if (it->incarnations_count && it->incarnations_count != it->isr_count)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "%zu incarnations of %zu members",
                              it->incarnations_count, it->isr_count);
    for (size_t i = 0; i < it->isr_count; i++) {
        weft_err_t err = s_member_check(self, partition, it, i, error);
        if (err) return err;
        if (weft_partition_has(it->damaged, (uint8_t) it->damaged_count, it->isr[i]))
            return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "broker %d is damaged: it can't be in sync",
                                  it->isr[i]);
    }
    uint16_t kept = weft_partition_bits(partition, it->isr, it->isr_count);
    uint16_t whole = weft_partition_isr_bits(partition) | partition->eligible; // who has all that is committed
    int32_t leader = it->leader == -1 ? partition->leader : it->leader;
    if (leader == partition->leader && (weft_partition_bit(partition, leader) & kept)) return WEFT_OK;
    if (kept & ~whole)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "a replica joins the in-sync set under the leader that asked for it only");
    if (it->leader == -1 || (weft_partition_bit(partition, leader) & kept)) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "broker %d can't lead: it would not be in sync", leader);
}

// The set in the command's order, which is the leader's.
static void s_isr_replace(struct weft_cluster_partition *partition, const int32_t *isr, size_t count)
{
    memset(partition->isr, 0, sizeof partition->isr);
    memcpy(partition->isr, isr, count * sizeof *isr);
    partition->isr_count = (uint8_t) count;
}

weft_err_t weft_cluster_partition_changed(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_partition_changed_command it;
    weft_err_t err = weft_partition_changed_command_decode(self->codec, command, &it, error);
    if (err) return err;
    struct weft_cluster_edit edit;
    err = weft_cluster_edit_find(self, it.topic_id, it.partition, it.partition_epoch, &edit, error);
    if (err) return err;
    struct weft_cluster_partition *partition = edit.partition;
    err = s_change_check(self, partition, &it, error);
    if (err) return err;
    uint16_t before = weft_partition_isr_bits(partition);
    uint16_t after = weft_partition_bits(partition, it.isr, it.isr_count);
    uint16_t damaged = weft_partition_bits(partition, it.damaged, it.damaged_count);
    partition->eligible = (uint16_t) ((partition->eligible | before) & ~after & ~damaged); // C7 is held at the end
    edit.lost = damaged;
    s_isr_replace(partition, it.isr, it.isr_count);
    if (it.leader >= 0) weft_cluster_partition_lead(self, partition, it.leader);
    edit.changed = true; // its asker waits for the next partition epoch
    weft_cluster_edit_end(self, &edit);
    return WEFT_OK;
}

// ---- leaderships move

static weft_err_t s_move(weft_cluster_t *self, const struct weft_leader_move *it, struct weft_error *error)
{
    struct weft_cluster_edit edit;
    weft_err_t err = weft_cluster_edit_find(self, it->topic_id, it->partition, it->partition_epoch, &edit, error);
    if (err) return err;
    struct weft_cluster_partition *partition = edit.partition;
    if (partition->leader == it->leader)
        return weft_error_set(error, WEFT_ERR_ELECTION_NOT_NEEDED, "broker %d leads partition %u already", it->leader,
                              it->partition);
    if (partition->leader < 0 || !weft_partition_has(partition->isr, partition->isr_count, it->leader)) // alive: C3
        return weft_error_set(error, WEFT_ERR_NO_ELIGIBLE_LEADER, "broker %d is not in sync in partition %u",
                              it->leader, it->partition);
    const struct weft_cluster_broker *broker = weft_cluster_broker_find(self, it->leader);
    if (broker->draining || broker->sick)
        return weft_error_set(error, WEFT_ERR_NO_ELIGIBLE_LEADER, "broker %d %s: it is given no leadership", it->leader,
                              broker->sick ? "is sick" : "drains"); // C8
    weft_cluster_partition_lead(self, partition, it->leader);
    weft_cluster_edit_end(self, &edit);
    return WEFT_OK;
}

// Refused only if none of them fits any more.
weft_err_t weft_cluster_leaders_moved(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_leaders_moved_command it;
    weft_err_t err = weft_leaders_moved_command_decode(self->codec, command, &it, error);
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

// ---- elections

static weft_err_t s_election_check(const weft_cluster_t *self, const struct weft_cluster_partition *partition,
                                   const struct weft_leader_elected_command *it, struct weft_error *error)
{
    uint16_t bit = weft_partition_bit(partition, it->leader);
    const struct weft_cluster_broker *broker = weft_cluster_broker_find(self, it->leader);
    if (!bit)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "broker %d holds no replica of partition %u", it->leader,
                              it->partition);
    if (partition->leader == it->leader || (partition->leader >= 0 && !it->unclean))
        return weft_error_set(error, WEFT_ERR_ELECTION_NOT_NEEDED, "partition %u is led by broker %d", it->partition,
                              partition->leader);
    if (!broker->alive) return weft_error_set(error, WEFT_ERR_NO_ELIGIBLE_LEADER, "broker %d is not alive", it->leader);
    if (!weft_id_equal(broker->incarnation, it->incarnation))
        return weft_error_set(error, WEFT_ERR_STALE_EPOCH, "broker %d has started again meanwhile", it->leader);
    if (!it->unclean && !(bit & (weft_partition_isr_bits(partition) | partition->eligible | partition->leavers)))
        return weft_error_set(error, WEFT_ERR_NO_ELIGIBLE_LEADER,
                              "broker %d is not among the last in sync of partition %u", it->leader, it->partition);
    return WEFT_OK;
}

weft_err_t weft_cluster_leader_elected(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_leader_elected_command it;
    weft_err_t err = weft_leader_elected_command_decode(self->codec, command, &it, error);
    if (err) return err;
    if (weft_cluster_operation_repeated(self, it.operation)) return WEFT_OK;
    struct weft_cluster_edit edit;
    err = weft_cluster_edit_find(self, it.topic_id, it.partition, it.partition_epoch, &edit, error);
    if (err) return err;
    struct weft_cluster_partition *partition = edit.partition;
    err = s_election_check(self, partition, &it, error);
    if (err) return err;
    bool in_sync = weft_partition_has(partition->isr, partition->isr_count, it.leader);
    if (partition->leader < 0 || !in_sync) { // its log is the partition's from now on; the others catch up with it
        s_isr_replace(partition, &it.leader, 1);
        partition->eligible = partition->unsure = 0;
        edit.lost = UINT16_MAX;
    }
    weft_cluster_partition_lead(self, partition, it.leader);
    weft_cluster_edit_end(self, &edit);
    return WEFT_OK;
}
