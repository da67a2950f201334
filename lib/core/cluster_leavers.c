// SPDX-License-Identifier: MPL-2.0
// Leavers: replicas that left a partition's sets, and are needed until those that stayed have proved to be alive since.
//
// Members that die together are missed one after the other. Whoever is missed first leaves a set whose other members
// are dead by then too, and may have lost with their memory what he still has: committed, but synced by nobody (DESIGN.md
// section 5: all machines but one). So he stays a candidate of the reports until every member that stayed was heard with
// a state in which he had left: it was alive then, in the same start, and had all that was committed with him. He can't
// lead by himself, for those that stayed may have committed without him.
//
// Being heard is a number a broker, the index of the state that a heartbeat showed; the coordinator proposes it when
// somebody waits for it. It needs no reset at a new start: who loses something leaves the sets, which is a shrink with an
// index of its own.
#include "cluster_state.h"

#include "../base/mutate.h"

static uint16_t s_members(const struct weft_cluster_partition *partition)
{
    return weft_partition_isr_bits(partition) | partition->eligible;
}

bool weft_cluster_leavers_over(const weft_cluster_t *self, const struct weft_cluster_partition *partition)
{
    if (partition->leader < 0) return false; // frozen
    uint16_t members = s_members(partition);
    for (uint8_t i = 0; i < partition->replica_count; i++) {
        if (!(members & (1u << i))) continue;
        if (weft_cluster_broker_find(self, partition->replicas[i])->heard_index < partition->leavers_index)
            return false;
    }
    return true;
}

void weft_cluster_leavers_want(weft_cluster_t *self, const struct weft_cluster_partition *partition)
{
    uint16_t members = partition->leavers ? s_members(partition) : 0;
    for (uint8_t i = 0; i < partition->replica_count; i++) {
        struct weft_cluster_broker *broker = weft_cluster_broker_find(self, partition->replicas[i]);
        if ((members & (1u << i)) && broker->wanted_index < partition->leavers_index)
            broker->wanted_index = partition->leavers_index;
    }
}

static void s_forget(struct weft_cluster_partition *partition)
{
    partition->leavers = 0;
    partition->leavers_index = 0;
}

void weft_cluster_leavers_settle(weft_cluster_t *self, struct weft_cluster_edit *edit)
{
    const struct weft_cluster_partition *before = &edit->before;
    struct weft_cluster_partition *partition = edit->partition;
    bool never_led = before->leader < 0 && before->leader_epoch == 0; // all are empty
    uint16_t had = (uint16_t) ((s_members(before) | before->leavers) & ~edit->lost);
    partition->leavers = (uint16_t) (weft_partition_remap(before, had, partition) & ~s_members(partition));
    if (never_led || weft_mutated("leavers_not_needed")) partition->leavers = 0;
    uint16_t stayed = weft_partition_remap(before, s_members(before), partition) & s_members(partition);
    if (weft_partition_count(stayed) < weft_partition_count(s_members(before))) partition->leavers_index = self->index;
    if (!partition->leavers || weft_cluster_leavers_over(self, partition))
        s_forget(partition);
    else
        weft_cluster_leavers_want(self, partition);
}

weft_err_t weft_cluster_broker_heard(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_broker_heard_command it;
    weft_err_t err = weft_broker_heard_command_decode(self->codec, command, &it, error);
    if (err) return err;
    struct weft_cluster_broker *broker = weft_cluster_broker_find(self, it.broker_id);
    if (!broker) return weft_error_set(error, WEFT_ERR_UNKNOWN_BROKER, "no broker %d is registered", it.broker_id);
    if (!broker->alive || !weft_id_equal(broker->incarnation, it.incarnation))
        return weft_error_set(error, WEFT_ERR_FENCED, "broker %d was fenced or has registered anew meanwhile",
                              broker->id);
    if (it.index > self->index)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "broker %d can't have state %llu yet", broker->id,
                              (unsigned long long) it.index);
    if (it.index <= broker->heard_index) return WEFT_OK; // a repeat
    broker->heard_index = it.index;
    void *value;
    for (size_t cursor = 0; broker->stored_count && weft_map_next(self->topics, &cursor, NULL, &value);) {
        struct weft_cluster_topic *topic = value;
        for (uint32_t i = 0; i < topic->partition_count; i++)
            if (topic->partitions[i].leavers && weft_cluster_leavers_over(self, &topic->partitions[i]))
                s_forget(&topic->partitions[i]);
    }
    return WEFT_OK;
}
