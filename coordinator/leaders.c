// SPDX-License-Identifier: MPL-2.0
// Leaderships that move because somebody wants it: a broker that stops, one that is drained, and back to the
// preferred replicas.
//
// Moves go in batches, the next one once the one before is applied, so that clients are sent elsewhere bit by bit and
// nothing else waits long in the quorum. A broker that stops leads nothing any more before it is fenced, and is let
// go when no partition needs it: it waits, for a bounded time, while others still catch up that could take over, or
// without whom a partition would fall below min_insync.
//
// Leaderships go back to the preferred replicas by themselves, a bounded number a second, and only once no broker
// came or went for a while.
#include "coordinator.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"

#include <stdlib.h>
#include <string.h>

#define S_STOP_WAIT_US 10000000
#define S_QUIET_US 5000000
#define S_TICK_US 1000000

enum {
    S_BATCH_MAX = 500,  // leaderships of a broker that stops or is drained
    S_BALANCE_MAX = 200 // a tick
};

// ---- moves

static bool s_is_going(const weft_coordinator_t *self, int32_t id)
{
    const struct weft_broker_session *session = weft_coordinator_session(self, id);
    return !session || session->stopping || session->fencing;
}

static bool s_may_lead(const weft_coordinator_t *self, int32_t id)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, id);
    return broker && broker->alive && !broker->draining && !broker->sick && !s_is_going(self, id);
}

// Another in-sync member than the leader that may lead and stays; -1: none.
static int32_t s_other(const weft_coordinator_t *self, const struct weft_plan_leader *move)
{
    const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, move->topic);
    const struct weft_cluster_partition *partition = &topic->partitions[move->partition];
    for (uint8_t i = 0; i < partition->replica_count; i++) {
        int32_t id = partition->replicas[i];
        if (id == partition->leader || (partition->unsure & (1u << i)) || !s_may_lead(self, id)) continue;
        for (uint8_t j = 0; j < partition->isr_count; j++)
            if (partition->isr[j] == id) return id;
    }
    return -1;
}

// Leaves out what would go to a broker that is about to go itself.
static size_t s_plan(const weft_coordinator_t *self, int32_t from, bool preferred, struct weft_plan_leader *out,
                     size_t max)
{
    size_t count = weft_plan_leaders(self->cluster, from, preferred, out, max, NULL), kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (s_is_going(self, out[i].leader)) {
            if (preferred) continue;
            out[i].leader = s_other(self, &out[i]);
            if (out[i].leader < 0) continue;
        }
        out[kept++] = out[i];
    }
    return kept;
}

void weft_coordinator_leaders_move(weft_coordinator_t *self, const struct weft_proposal *proposal, weft_id_t operation,
                                   const struct weft_plan_leader *plan, size_t count)
{
    struct weft_leader_move *moves = weft_calloc(count, sizeof *moves);
    for (size_t i = 0; i < count; i++)
        moves[i] = (struct weft_leader_move){.topic_id = plan[i].topic,
                                             .partition = plan[i].partition,
                                             .partition_epoch = plan[i].partition_epoch,
                                             .leader = plan[i].leader};
    struct weft_leaders_moved_command command;
    weft_leaders_moved_command_init(&command);
    command.moves = moves;
    command.moves_count = count;
    command.operation = operation;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_leaders_moved_command_encode(&command, &bytes);
    free(moves);
    weft_coordinator_propose(self, proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
}

static uint32_t s_led(const weft_coordinator_t *self, int32_t id)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, id);
    return broker ? broker->led_count : 0;
}

// Proposes the next batch away from the proposal's broker; false if there is none. `position` becomes what it leads
// now: a batch after which it leads no fewer is not repeated.
static bool s_next_batch(weft_coordinator_t *self, const struct weft_proposal *like)
{
    struct weft_plan_leader plan[S_BATCH_MAX];
    size_t count = s_plan(self, like->broker, false, plan, S_BATCH_MAX);
    if (count == 0) return false;
    struct weft_proposal proposal = *like;
    proposal.command = WEFT_COMMAND_LEADERS_MOVED;
    proposal.position = s_led(self, like->broker);
    weft_coordinator_leaders_move(self, &proposal, (weft_id_t){{0}}, plan, count);
    return true;
}

// ---- the flags of a broker

// Only one change of a broker is under way at a time, for each carries all of its flags.
static void s_changed(weft_coordinator_t *self, const struct weft_proposal *proposal,
                      const struct weft_outcome *outcome)
{
    weft_map_remove_u64(self->changing, (uint64_t) proposal->broker);
    if (proposal->then) proposal->then(self, proposal, outcome);
}

bool weft_coordinator_broker_change(weft_coordinator_t *self, const struct weft_proposal *like,
                                    const struct weft_broker_flags *flags)
{
    if (weft_map_get_u64(self->changing, (uint64_t) like->broker)) return false;
    weft_map_put_u64(self->changing, (uint64_t) like->broker, self);
    struct weft_broker_changed_command command;
    weft_broker_changed_command_init(&command);
    command.broker_id = like->broker;
    command.incarnation = like->incarnation;
    command.draining = flags->draining;
    command.leaving = flags->leaving;
    command.sick = flags->sick;
    command.operation = like->operation;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_broker_changed_command_encode(&command, &bytes);
    struct weft_proposal proposal = *like;
    proposal.command = WEFT_COMMAND_BROKER_CHANGED;
    proposal.settled = s_changed;
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
    return true;
}

// ---- a broker that stops

static void s_stop_moved(weft_coordinator_t *self, const struct weft_proposal *proposal,
                         const struct weft_outcome *outcome)
{
    struct weft_broker_session *session = weft_coordinator_session(self, proposal->broker);
    if (!session || !weft_id_equal(session->incarnation, proposal->incarnation)) return;
    session->moving = false;
    if (outcome->err || !session->stopping || s_led(self, proposal->broker) >= proposal->position) return;
    session->moving = true;
    if (!s_next_batch(self, proposal)) session->moving = false;
}

static bool s_has(const int32_t *ids, uint8_t count, int32_t id)
{
    for (uint8_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

// Without this member something would be missed that one who still catches up will give.
static bool s_partition_needs(const weft_coordinator_t *self, const struct weft_cluster_topic *topic,
                              const struct weft_cluster_partition *partition, int32_t id)
{
    if (!s_has(partition->isr, partition->isr_count, id)) return false;
    bool enough = (uint32_t) partition->isr_count - 1 >= weft_cluster_min_insync(topic, partition);
    if (enough && partition->leader != id) return false;
    for (uint8_t i = 0; i < partition->replica_count; i++)
        if (!s_has(partition->isr, partition->isr_count, partition->replicas[i]) &&
            s_may_lead(self, partition->replicas[i]))
            return true;
    return false;
}

static bool s_is_needed(const weft_coordinator_t *self, int32_t id)
{
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self->cluster, &cursor));)
        for (uint32_t i = 0; i < topic->partition_count; i++)
            if (s_partition_needs(self, topic, &topic->partitions[i], id)) return true;
    return false;
}

bool weft_coordinator_stop_step(weft_coordinator_t *self, struct weft_broker_session *session)
{
    int64_t now_us = weft_port_now_us(&self->port);
    if (!session->stopping) session->stop_since_us = now_us;
    session->stopping = true;
    if (session->fencing || session->moving) return false;
    struct weft_proposal proposal = {.broker = session->broker, .incarnation = session->incarnation};
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, session->broker);
    bool waits = now_us - session->stop_since_us < S_STOP_WAIT_US && s_is_needed(self, broker->id);
    if (!broker->draining && (waits || broker->led_count)) { // nothing is given to it meanwhile; until its next start
        struct weft_broker_flags flags = {.draining = true, .leaving = broker->leaving, .sick = broker->sick};
        (void) weft_coordinator_broker_change(self, &proposal, &flags);
    }
    proposal.settled = s_stop_moved;
    session->moving = true;
    if (s_next_batch(self, &proposal)) return false;
    session->moving = false;
    return !waits;
}

// ---- a broker that is drained

static void s_answer_drain(weft_coordinator_t *self, const struct weft_asker *asker, int32_t broker)
{
    struct weft_broker_drain_reply reply;
    weft_broker_drain_reply_init(&reply);
    reply.header.id = asker->id;
    reply.leads = s_led(self, broker);
    size_t stuck = 0;
    struct weft_plan_leader none;
    if (reply.leads) (void) weft_plan_leaders(self->cluster, broker, false, &none, 1, &stuck);
    reply.stuck = (uint32_t) stuck;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_broker_drain_reply_encode(&reply, &header);
    weft_coordinator_answer(self, asker, &header);
    weft_buf_fini(&header);
}

static void s_drain_moved(weft_coordinator_t *self, const struct weft_proposal *proposal,
                          const struct weft_outcome *outcome)
{
    bool stale = outcome->err == WEFT_ERR_STALE_EPOCH; // in-sync sets changed meanwhile, in all of the batch
    bool done = !stale && s_led(self, proposal->broker) >= proposal->position;
    if (outcome->err && !stale)
        weft_coordinator_refuse(self, &proposal->asker, outcome->err, outcome->sentence);
    else if (done || !s_next_batch(self, proposal))
        s_answer_drain(self, &proposal->asker, proposal->broker);
}

static void s_drain_batches(weft_coordinator_t *self, const struct weft_asker *asker, int32_t broker)
{
    struct weft_proposal proposal = {.settled = s_drain_moved, .asker = *asker, .broker = broker};
    if (!s_next_batch(self, &proposal)) s_answer_drain(self, asker, broker);
}

static void s_drain_changed(weft_coordinator_t *self, const struct weft_proposal *proposal,
                            const struct weft_outcome *outcome)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, proposal->broker);
    if (outcome->err)
        weft_coordinator_refuse(self, &proposal->asker, outcome->err, outcome->sentence);
    else if (broker && broker->draining)
        s_drain_batches(self, &proposal->asker, proposal->broker);
    else
        s_answer_drain(self, &proposal->asker, proposal->broker);
}

void weft_coordinator_broker_drain(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_broker_drain_request request;
    struct weft_error error;
    weft_err_t err = weft_broker_drain_request_decode(&self->codec, header, &request, &error);
    const struct weft_cluster_broker *broker = NULL;
    if (!err) err = weft_coordinator_find_broker(self, request.broker_id, &broker, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    self->changed_us = weft_port_now_us(&self->port); // nothing goes back meanwhile
    bool lasts = broker->draining && !broker->stopping;
    if (lasts != request.undo || weft_coordinator_is_done(self, request.operation)) {
        if (broker->draining)
            s_drain_batches(self, asker, broker->id); // what could not move before may now
        else
            s_answer_drain(self, asker, broker->id);
        return;
    }
    struct weft_broker_flags flags = {.draining = !request.undo, .leaving = broker->leaving, .sick = broker->sick};
    struct weft_proposal proposal = {
        .then = s_drain_changed, .asker = *asker, .broker = broker->id, .operation = request.operation};
    if (!weft_coordinator_broker_change(self, &proposal, &flags)) weft_coordinator_come_back(self, asker);
}

// ---- back to the preferred replicas

size_t weft_coordinator_plan_preferred(const weft_coordinator_t *self, struct weft_plan_leader *out, size_t max)
{
    return s_plan(self, -1, true, out, max);
}

static void s_balanced(weft_coordinator_t *self, const struct weft_proposal *proposal,
                       const struct weft_outcome *outcome)
{
    (void) proposal;
    (void) outcome; // what is left is planned anew
    self->balancing = false;
}

static bool s_is_wanted(const weft_coordinator_t *self)
{
    const char *wanted = weft_cluster_config(self->cluster, "balance.leaders");
    return !wanted || strcmp(wanted, "false") != 0;
}

// Away from those that drain or are sick, as soon as there is somebody else; back to the preferred once it is quiet.
static void s_balance(weft_coordinator_t *self, int64_t now_us)
{
    uint64_t index = weft_cluster_index(self->cluster);
    if (self->balancing || index == self->balanced_index) return;
    struct weft_plan_leader plan[S_BATCH_MAX];
    size_t count = s_plan(self, -1, false, plan, S_BATCH_MAX);
    bool wanted = s_is_wanted(self);
    if (count == 0 && wanted && now_us - self->changed_us < S_QUIET_US) return;
    if (count == 0 && wanted) {
        count = s_plan(self, -1, true, plan, S_BALANCE_MAX);
        if (count) weft_trace(WEFT_TRACE_INFO, self->name, "%zu leaderships go to their preferred replicas", count);
    }
    if (count == 0) {
        self->balanced_index = index; // nothing to do until something changes
        return;
    }
    struct weft_proposal proposal = {.command = WEFT_COMMAND_LEADERS_MOVED, .settled = s_balanced};
    self->balancing = true;
    weft_coordinator_leaders_move(self, &proposal, (weft_id_t){{0}}, plan, count);
}

int64_t weft_coordinator_leaders_turn(weft_coordinator_t *self, int64_t now_us)
{
    if (now_us < self->tick_us) return self->tick_us;
    self->tick_us = now_us + S_TICK_US;
    weft_coordinator_moves_turn(self);
    s_balance(self, now_us);
    return self->tick_us;
}
