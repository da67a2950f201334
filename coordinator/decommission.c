// SPDX-License-Identifier: MPL-2.0
// Decommission: a broker that leaves for good.
//
// It is marked as leaving, which a command keeps over every change of coordinator; its replicas then move to others
// in waves, each bounded, the next begun when most of the last is done; and once it holds nothing and is down it is
// forgotten. A broker that is dead already is treated alike: what others have in sync is copied from them, and what
// only it had keeps it known.
#include "coordinator.h"

#include "../lib/base/trace.h"

#include <stdlib.h>
#include <string.h>

enum { S_WAVE_MAX = 100 }; // partitions that move at once

static void s_answer(weft_coordinator_t *self, const struct weft_asker *asker, size_t replicas, bool removed)
{
    struct weft_broker_remove_reply reply;
    weft_broker_remove_reply_init(&reply);
    reply.header.id = asker->id;
    reply.replicas = (uint32_t) replicas;
    reply.removed = removed;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_broker_remove_reply_encode(&reply, &header);
    weft_coordinator_answer(self, asker, &header);
    weft_buf_fini(&header);
}

static void s_answer_now(weft_coordinator_t *self, const struct weft_asker *asker, int32_t id)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, id);
    s_answer(self, asker, broker ? broker->stored_count : 0, broker == NULL);
}

static void s_settled(weft_coordinator_t *self, const struct weft_proposal *proposal,
                      const struct weft_outcome *outcome)
{
    if (!proposal->asked) return;
    if (outcome->err)
        weft_coordinator_refuse(self, &proposal->asker, outcome->err, outcome->sentence);
    else
        s_answer_now(self, &proposal->asker, proposal->broker);
}

// ---- forgotten

static void s_forgotten(weft_coordinator_t *self, const struct weft_proposal *proposal,
                        const struct weft_outcome *outcome)
{
    weft_map_remove_u64(self->changing, (uint64_t) proposal->broker);
    if (!outcome->err) weft_trace(WEFT_TRACE_INFO, self->name, "broker %d is forgotten", proposal->broker);
    s_settled(self, proposal, outcome);
}

static void s_forget(weft_coordinator_t *self, const struct weft_proposal *like)
{
    weft_map_put_u64(self->changing, (uint64_t) like->broker, self);
    struct weft_broker_removed_command command;
    weft_broker_removed_command_init(&command);
    command.broker_id = like->broker;
    command.operation = like->operation;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_broker_removed_command_encode(&command, &bytes);
    struct weft_proposal proposal = *like;
    proposal.command = WEFT_COMMAND_BROKER_REMOVED;
    proposal.settled = s_forgotten;
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
}

// ---- waves

static void s_wave_settled(weft_coordinator_t *self, const struct weft_proposal *proposal,
                           const struct weft_outcome *outcome)
{
    (void) proposal;
    (void) outcome; // what was refused is planned anew
    self->wave_proposed = false;
}

static void s_wave(weft_coordinator_t *self, int32_t broker, uint32_t moving)
{
    struct weft_plan_replicas *plan = NULL;
    size_t count = 0;
    struct weft_error error;
    weft_err_t err = weft_plan_replicas(self->cluster, broker, &self->rand, &plan, &count, &error);
    if (err) {
        weft_trace(WEFT_TRACE_WARN, self->name, "broker %d can't be emptied now: %s", broker, error.text);
        return;
    }
    if (count > S_WAVE_MAX - moving) count = S_WAVE_MAX - moving;
    if (count) {
        struct weft_replica_move *moves = weft_coordinator_moves_of(plan, count);
        struct weft_proposal proposal = {.settled = s_wave_settled, .broker = broker};
        self->wave_proposed = true;
        weft_coordinator_replicas_move(self, &proposal, (weft_id_t){{0}}, moves, count);
        free(moves);
    }
    free(plan);
}

void weft_coordinator_moves_turn(weft_coordinator_t *self)
{
    if (self->wave_proposed || self->waved_index == weft_cluster_index(self->cluster)) return;
    self->waved_index = weft_cluster_index(self->cluster);
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self->cluster, &cursor));) {
        if (!broker->leaving) continue;
        if (broker->stored_count == 0) {
            struct weft_proposal proposal = {.broker = broker->id};
            if (broker->alive || weft_map_get_u64(self->changing, (uint64_t) broker->id)) continue;
            s_forget(self, &proposal);
            return; // the brokers are others when that came back
        }
        struct weft_cluster_health_counts counts;
        weft_cluster_count_health(self->cluster, &counts);
        if (counts.moving > S_WAVE_MAX / 2) return;
        s_wave(self, broker->id, counts.moving);
        if (self->wave_proposed) return;
    }
}

// ---- requests

static bool s_has(const int32_t *ids, uint8_t count, int32_t id)
{
    for (uint8_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

// Gives up the moves under way that take something from the broker.
static void s_cancel(weft_coordinator_t *self, const struct weft_proposal *like)
{
    struct weft_cluster_health_counts counts;
    weft_cluster_count_health(self->cluster, &counts);
    struct weft_replica_move *moves = weft_calloc((size_t) counts.moving + 1, sizeof *moves);
    size_t count = 0;
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self->cluster, &cursor));) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            const struct weft_cluster_moving *moving = topic->partitions[i].moving;
            if (!moving || !s_has(moving->origin, moving->origin_count, like->broker) ||
                s_has(moving->target, moving->target_count, like->broker))
                continue;
            moves[count++] = (struct weft_replica_move){
                .topic_id = topic->id, .partition = i, .partition_epoch = topic->partitions[i].partition_epoch};
        }
    }
    if (count)
        weft_coordinator_replicas_move(self, like, (weft_id_t){{0}}, moves, count);
    else
        s_answer_now(self, &like->asker, like->broker);
    free(moves);
}

static void s_changed(weft_coordinator_t *self, const struct weft_proposal *proposal,
                      const struct weft_outcome *outcome)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, proposal->broker);
    if (outcome->err || !broker || broker->leaving) {
        s_settled(self, proposal, outcome);
        return;
    }
    struct weft_proposal cancel = {
        .settled = s_settled, .asked = true, .asker = proposal->asker, .broker = proposal->broker};
    s_cancel(self, &cancel);
}

// How many replicas would move; refused if they have nowhere to go.
static weft_err_t s_count(weft_coordinator_t *self, int32_t broker, size_t *count, struct weft_error *error)
{
    struct weft_plan_replicas *plan = NULL;
    weft_err_t err = weft_plan_replicas(self->cluster, broker, &self->rand, &plan, count, error);
    free(plan);
    return err;
}

void weft_coordinator_broker_remove(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_broker_remove_request request;
    struct weft_error error;
    const struct weft_cluster_broker *broker = NULL;
    size_t count = 0;
    weft_err_t err = weft_broker_remove_request_decode(&self->codec, header, &request, &error);
    if (!err && weft_coordinator_is_done(self, request.operation)) {
        s_answer_now(self, asker, request.broker_id);
        return;
    }
    if (!err) err = weft_coordinator_find_broker(self, request.broker_id, &broker, &error);
    if (!err && !request.undo && !broker->leaving) err = s_count(self, broker->id, &count, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    struct weft_proposal proposal = {
        .asked = true, .asker = *asker, .broker = broker->id, .operation = request.operation, .then = s_changed};
    bool draining = broker->draining && !broker->stopping; // what ends with this start must not become lasting
    struct weft_broker_flags flags = {.draining = draining, .leaving = !request.undo, .sick = broker->sick};
    if (request.dry_run)
        s_answer(self, asker, count, false);
    else if (weft_map_get_u64(self->changing, (uint64_t) broker->id))
        weft_coordinator_come_back(self, asker);
    else if (!request.undo && !broker->alive && broker->stored_count == 0)
        s_forget(self, &proposal);
    else if (broker->leaving == !request.undo)
        s_answer_now(self, asker, broker->id);
    else
        (void) weft_coordinator_broker_change(self, &proposal, &flags);
}
