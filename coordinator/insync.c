// SPDX-License-Identifier: MPL-2.0
// In-sync sets: what leaders ask for.
//
// A leader says on which state it decided: leader epoch, partition epoch, and the incarnation of every member. Any
// of them old and the change is refused whole, here where the refusal costs nothing, and again when the command is
// applied, for much can happen in between (REPLICATION.md rule 1). The changes of a request are proposed together:
// the quorum writes and syncs them in one turn, and the answer goes when the last of them came back.
#include "coordinator.h"

#include "../lib/base/mutate.h"

#include <stdlib.h>
#include <string.h>

struct weft_in_sync_wait {
    struct weft_asker asker;
    int32_t *errors;
    size_t count, open; // open: commands that have not come back, and the request itself while it is read
};

static void s_wait_free(struct weft_in_sync_wait *wait)
{
    free(wait->errors);
    free(wait);
}

void weft_coordinator_in_sync_drop(weft_coordinator_t *self)
{
    void *value;
    for (size_t cursor = 0; weft_map_next(self->in_sync_waits, &cursor, NULL, &value);) s_wait_free(value);
    weft_map_destroy(&self->in_sync_waits);
}

static void s_close(weft_coordinator_t *self, uint64_t number)
{
    struct weft_in_sync_wait *wait = weft_map_get_u64(self->in_sync_waits, number);
    if (--wait->open) return;
    weft_map_remove_u64(self->in_sync_waits, number);
    struct weft_in_sync_change_reply reply;
    weft_in_sync_change_reply_init(&reply);
    reply.header.id = wait->asker.id;
    reply.errors = wait->errors;
    reply.errors_count = wait->count;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_in_sync_change_reply_encode(&reply, &header);
    weft_coordinator_answer(self, &wait->asker, &header);
    weft_buf_fini(&header);
    s_wait_free(wait);
}

static void s_settled(weft_coordinator_t *self, const struct weft_proposal *proposal,
                      const struct weft_outcome *outcome)
{
    struct weft_in_sync_wait *wait = weft_map_get_u64(self->in_sync_waits, proposal->wait);
    wait->errors[proposal->position] = (int32_t) outcome->err;
    s_close(self, proposal->wait);
}

// ---- what may be asked

static bool s_has(const int32_t *ids, size_t count, int32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

static weft_err_t s_member_check(const weft_coordinator_t *self, const struct weft_cluster_partition *partition,
                                 const struct weft_in_sync_member *member)
{
    if (!s_has(partition->replicas, partition->replica_count, member->broker)) return WEFT_ERR_INVALID_REQUEST;
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, member->broker);
    if (!broker || !broker->alive) return WEFT_ERR_STALE_EPOCH;
    if (!weft_id_equal(broker->incarnation, member->incarnation) && !weft_mutated("old_incarnation_joins"))
        return WEFT_ERR_STALE_EPOCH;
    if (broker->sick && !s_has(partition->isr, partition->isr_count, member->broker)) return WEFT_ERR_DISK_FAILED;
    return WEFT_OK;
}

/*
 * A leader counts whom it asked for, so one that is sick but keeps up would come with every question, and who lags behind
 * stayed in for as long. It is left out, unless nothing else is asked.
 */
static void s_leave_out_sick(const weft_coordinator_t *self, struct weft_in_sync_ask *ask)
{
    const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, ask->topic_id);
    if (!topic || ask->partition >= topic->partition_count || ask->members_count > WEFT_REPLICAS_MAX) return;
    const struct weft_cluster_partition *partition = &topic->partitions[ask->partition];
    struct weft_in_sync_member kept[WEFT_REPLICAS_MAX];
    size_t count = 0, same = 0;
    for (size_t i = 0; i < ask->members_count; i++) {
        const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, ask->members[i].broker);
        bool is_in = s_has(partition->isr, partition->isr_count, ask->members[i].broker);
        if (broker && broker->sick && !is_in) continue;
        same += is_in;
        kept[count++] = ask->members[i];
    }
    if (same == count && count == partition->isr_count) return;
    if (count > 0) memcpy(ask->members, kept, count * sizeof *kept); // nobody: no array either
    ask->members_count = count;
}

static weft_err_t s_check(const weft_coordinator_t *self, int32_t sender, const struct weft_in_sync_ask *ask)
{
    const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, ask->topic_id);
    if (!topic || ask->partition >= topic->partition_count) return WEFT_ERR_UNKNOWN_TOPIC;
    const struct weft_cluster_partition *partition = &topic->partitions[ask->partition];
    if (ask->leader_epoch > partition->leader_epoch) return WEFT_ERR_UNKNOWN_EPOCH;
    if (ask->leader_epoch < partition->leader_epoch || ask->partition_epoch != partition->partition_epoch)
        return WEFT_ERR_STALE_EPOCH;
    if (partition->leader != sender) return WEFT_ERR_NOT_LEADER;
    if (ask->members_count == 0 || ask->members_count > partition->replica_count) return WEFT_ERR_INVALID_REQUEST;
    bool with_leader = false;
    for (size_t i = 0; i < ask->members_count; i++) {
        weft_err_t err = s_member_check(self, partition, &ask->members[i]);
        if (err) return err;
        with_leader |= ask->members[i].broker == sender;
        for (size_t j = 0; j < i; j++)
            if (ask->members[j].broker == ask->members[i].broker) return WEFT_ERR_INVALID_REQUEST;
    }
    return with_leader ? WEFT_OK : WEFT_ERR_INVALID_REQUEST;
}

static void s_propose(weft_coordinator_t *self, int32_t sender, const struct weft_in_sync_ask *ask, uint64_t wait,
                      uint32_t position)
{
    int32_t isr[WEFT_REPLICAS_MAX];
    weft_id_t incarnations[WEFT_REPLICAS_MAX];
    for (size_t i = 0; i < ask->members_count; i++) {
        isr[i] = ask->members[i].broker;
        incarnations[i] = ask->members[i].incarnation;
    }
    struct weft_partition_changed_command command;
    weft_partition_changed_command_init(&command);
    command.topic_id = ask->topic_id;
    command.partition = ask->partition;
    command.partition_epoch = ask->partition_epoch;
    command.leader = sender;
    command.isr = isr;
    command.isr_count = ask->members_count;
    command.leader_epoch = ask->leader_epoch;
    if (!weft_mutated("old_incarnation_joins")) {
        command.incarnations = incarnations;
        command.incarnations_count = ask->members_count;
    }
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_partition_changed_command_encode(&command, &bytes);
    struct weft_proposal proposal = {
        .command = WEFT_COMMAND_PARTITION_CHANGED, .settled = s_settled, .wait = wait, .position = position};
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
}

void weft_coordinator_in_sync_change(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_in_sync_change_request request;
    struct weft_error error;
    weft_err_t err = weft_in_sync_change_request_decode(&self->codec, header, &request, &error);
    if (!err) err = weft_coordinator_broker_check(self, request.broker_id, request.incarnation, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    uint64_t number = ++self->token;
    struct weft_in_sync_wait *wait = weft_alloc(sizeof *wait);
    *wait = (struct weft_in_sync_wait){.asker = *asker,
                                       .errors = weft_calloc(request.changes_count, sizeof *wait->errors),
                                       .count = request.changes_count,
                                       .open = 1};
    weft_map_put_u64(self->in_sync_waits, number, wait);
    for (size_t i = 0; i < request.changes_count; i++) {
        s_leave_out_sick(self, &request.changes[i]);
        wait->errors[i] = (int32_t) s_check(self, request.broker_id, &request.changes[i]);
        if (wait->errors[i]) continue;
        wait->open++;
        s_propose(self, request.broker_id, &request.changes[i], number, (uint32_t) i);
    }
    s_close(self, number);
}
