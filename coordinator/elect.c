// SPDX-License-Identifier: MPL-2.0
// Elections that a person orders.
//
// To another in-sync replica leadership just moves. For a partition without a leader a clean election is refused with
// what it waits for and what an unclean one would cost; an unclean one takes the named replica, or the best that is
// alive, and says the same in its answer. So may one whose leader is damaged or sick, with nobody in sync to take over.
#include "coordinator.h"

#include "../lib/base/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct s_order {
    const struct weft_cluster_topic *topic;
    const struct weft_cluster_partition *partition;
    uint32_t number;
    int32_t broker; // -1: the best
    bool unclean;
    weft_id_t operation;
};

static void s_answer(weft_coordinator_t *self, const struct weft_asker *asker, weft_id_t topic, uint32_t number,
                     const char *loss)
{
    const struct weft_cluster_topic *now = weft_cluster_topic(self->cluster, topic);
    struct weft_elect_leader_reply reply;
    weft_elect_leader_reply_init(&reply);
    reply.header.id = asker->id;
    if (now && number < now->partition_count) {
        reply.broker_id = now->partitions[number].leader;
        reply.epoch = now->partitions[number].leader_epoch;
    }
    if (loss) reply.loss = weft_slice_text(loss);
    weft_buf_t header;
    weft_buf_init(&header);
    weft_elect_leader_reply_encode(&reply, &header);
    weft_coordinator_answer(self, asker, &header);
    weft_buf_fini(&header);
}

// ---- who and at what cost

static bool s_has(const int32_t *ids, uint8_t count, int32_t id)
{
    for (uint8_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

static bool s_is_alive(const weft_coordinator_t *self, int32_t id)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, id);
    return broker && broker->alive;
}

static const struct weft_told_by *s_told_by(const weft_coordinator_t *self, const struct s_order *order, int32_t id)
{
    const struct weft_told *told = weft_coordinator_told(self, order->topic->id, order->number);
    return told ? weft_coordinator_told_by(self, told, id) : NULL;
}

// How good a replica is to lead when nobody is known to have everything: a higher one is better, -1 can't.
static int s_rank(const weft_coordinator_t *self, const struct s_order *order, uint8_t place)
{
    int32_t id = order->partition->replicas[place];
    if (!s_is_alive(self, id)) return -1;
    const struct weft_told_by *by = s_told_by(self, order, id);
    if ((by && by->damaged) || id == order->partition->leader) return 0;
    bool frozen = weft_coordinator_is_frozen(order->partition, place);
    return 1 + (by != NULL) + 2 * frozen;
}

static int32_t s_best(const weft_coordinator_t *self, const struct s_order *order)
{
    int32_t best = -1;
    int best_rank = 0; // a damaged one is taken by name only
    for (uint8_t i = 0; i < order->partition->replica_count; i++) {
        int32_t id = order->partition->replicas[i];
        int rank = s_rank(self, order, i);
        if (rank < best_rank || rank <= 0) continue;
        const struct weft_told_by *by = s_told_by(self, order, id), *than = s_told_by(self, order, best);
        bool further =
            by && than &&
            (by->last_epoch > than->last_epoch || (by->last_epoch == than->last_epoch && by->log_end > than->log_end));
        if (best >= 0 && rank == best_rank && !further) continue;
        best = id;
        best_rank = rank;
    }
    return best;
}

// "1, 2 and 3" of those frozen members that have not reported (or, all of them).
static void s_names(const weft_coordinator_t *self, const struct s_order *order, bool missing, char *out, size_t bytes)
{
    int32_t ids[WEFT_REPLICAS_MAX];
    size_t count = 0, used = 0;
    for (uint8_t i = 0; i < order->partition->replica_count; i++) {
        int32_t id = order->partition->replicas[i];
        const struct weft_told_by *by = s_told_by(self, order, id);
        if (weft_coordinator_is_frozen(order->partition, i) && !(missing && by && !by->damaged)) ids[count++] = id;
    }
    out[0] = 0;
    for (size_t i = 0; i < count && used < bytes; i++)
        used += (size_t) snprintf(out + used, bytes - used, "%s%d",
                                  i == 0           ? ""
                                  : i + 1 == count ? " and "
                                                   : ", ",
                                  ids[i]);
}

// All that had everything that is durable have said what they hold; only leavers are missing.
static bool s_durable_is_safe(const weft_coordinator_t *self, const struct s_order *order,
                              const struct weft_told_by *best)
{
    for (uint8_t i = 0; i < order->partition->replica_count; i++) {
        if (!weft_coordinator_had_all(order->partition, i)) continue;
        const struct weft_told_by *by = s_told_by(self, order, order->partition->replicas[i]);
        if (!by || by->damaged || by->last_epoch > best->last_epoch ||
            (by->last_epoch == best->last_epoch && by->log_end > best->log_end))
            return false;
    }
    return order->partition->leader < 0;
}

static void s_loss(const weft_coordinator_t *self, const struct s_order *order, int32_t leader, char *out, size_t bytes)
{
    char frozen[WEFT_REPLICAS_MAX * 12];
    s_names(self, order, false, frozen, sizeof frozen);
    const char *plural = strchr(frozen, ' ') ? "s" : "";
    const struct weft_told_by *by = s_told_by(self, order, leader);
    if (by && !by->damaged && s_durable_is_safe(self, order, by))
        snprintf(
            out, bytes,
            "broker %d holds partition %u of '%s' up to offset %lld (epoch %d): nothing durable is lost, but records "
            "from there on that were acknowledged without being durable, and that only broker%s %s had, are",
            leader, order->number, order->topic->name, (long long) by->log_end, by->last_epoch, plural, frozen);
    else if (by && !by->damaged)
        snprintf(
            out, bytes,
            "broker %d holds partition %u of '%s' up to offset %lld (epoch %d): acknowledged records from there on, "
            "and those of later epochs, that only broker%s %s had are lost",
            leader, order->number, order->topic->name, (long long) by->log_end, by->last_epoch, plural, frozen);
    else
        snprintf(
            out, bytes,
            "broker %d has not said what it holds of partition %u of '%s': every acknowledged record that it lacks "
            "is lost, for only broker%s %s%s known to have had all",
            leader, order->number, order->topic->name, plural, frozen, *plural ? " are" : " is");
}

// ---- with a leader

static bool s_leads(const weft_coordinator_t *self, const struct weft_proposal *proposal)
{
    const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, proposal->topic);
    return topic && proposal->position < topic->partition_count &&
           topic->partitions[proposal->position].leader == proposal->broker;
}

static void s_moved(weft_coordinator_t *self, const struct weft_proposal *proposal, const struct weft_outcome *outcome)
{
    if (outcome->err)
        weft_coordinator_refuse(self, &proposal->asker, outcome->err, outcome->sentence);
    else if (!s_leads(self, proposal))
        weft_coordinator_refuse(self, &proposal->asker, WEFT_ERR_NO_ELIGIBLE_LEADER,
                                "the partition changed meanwhile; look at it again (weft topic describe)");
    else
        s_answer(self, &proposal->asker, proposal->topic, proposal->position, NULL);
}

static weft_err_t s_move_check(const weft_coordinator_t *self, const struct s_order *order, struct weft_error *error)
{
    const struct weft_cluster_partition *partition = order->partition;
    const char *name = order->topic->name;
    if (order->broker < 0 || order->broker == partition->leader)
        return weft_error_set(error, WEFT_ERR_ELECTION_NOT_NEEDED, "broker %d leads partition %u of '%s' already",
                              partition->leader, order->number, name);
    const struct weft_cluster_broker *broker;
    weft_err_t err = weft_coordinator_find_broker(self, order->broker, &broker, error);
    if (err) return err;
    if (!s_has(partition->replicas, partition->replica_count, broker->id))
        return weft_error_set(
            error, WEFT_ERR_NO_ELIGIBLE_LEADER,
            "broker %d holds no replica of partition %u of '%s' (weft topic describe names those that "
            "do)",
            broker->id, order->number, name);
    if (!s_has(partition->isr, partition->isr_count, broker->id))
        return weft_error_set(
            error, WEFT_ERR_NO_ELIGIBLE_LEADER,
            "broker %d is not in sync with partition %u of '%s', which broker %d leads: let it catch up", broker->id,
            order->number, name, partition->leader);
    if (broker->draining || broker->sick)
        return weft_error_set(error, WEFT_ERR_NO_ELIGIBLE_LEADER, "broker %d is %s: it leads nothing", broker->id,
                              broker->sick ? "sick" : "drained");
    return WEFT_OK;
}

static void s_move(weft_coordinator_t *self, const struct weft_asker *asker, const struct s_order *order)
{
    struct weft_error error;
    weft_err_t err = s_move_check(self, order, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    struct weft_plan_leader plan = {.topic = order->topic->id,
                                    .partition = order->number,
                                    .partition_epoch = order->partition->partition_epoch,
                                    .leader = order->broker};
    struct weft_proposal proposal = {.command = WEFT_COMMAND_LEADERS_MOVED,
                                     .settled = s_moved,
                                     .asker = *asker,
                                     .topic = order->topic->id,
                                     .broker = order->broker,
                                     .position = order->number};
    self->changed_us = weft_port_now_us(&self->port); // it does not go back at once
    weft_coordinator_leaders_move(self, &proposal, order->operation, &plan, 1);
}

// ---- without

void weft_coordinator_losses_drop(weft_coordinator_t *self)
{
    void *value;
    for (size_t cursor = 0; weft_map_next(self->losses, &cursor, NULL, &value);) free(value);
    weft_map_destroy(&self->losses);
}

static void s_elected(weft_coordinator_t *self, const struct weft_proposal *proposal,
                      const struct weft_outcome *outcome)
{
    char *loss = weft_map_remove_u64(self->losses, proposal->wait);
    if (outcome->err)
        weft_coordinator_refuse(self, &proposal->asker, outcome->err, outcome->sentence);
    else
        s_answer(self, &proposal->asker, proposal->topic, proposal->position, loss);
    free(loss);
}

static weft_err_t s_unclean_check(const weft_coordinator_t *self, const struct s_order *order, int32_t leader,
                                  struct weft_error *error)
{
    if (leader < 0)
        return weft_error_set(error, WEFT_ERR_NO_ELIGIBLE_LEADER,
                              "no replica of partition %u of '%s' is alive and whole; start one of its brokers",
                              order->number, order->topic->name);
    if (!s_has(order->partition->replicas, order->partition->replica_count, leader))
        return weft_error_set(error, WEFT_ERR_NO_ELIGIBLE_LEADER, "broker %d holds no replica of partition %u of '%s'",
                              leader, order->number, order->topic->name);
    if (!s_is_alive(self, leader))
        return weft_error_set(error, WEFT_ERR_NO_ELIGIBLE_LEADER, "broker %d is not alive", leader);
    if (order->unclean) return WEFT_OK;
    char missing[WEFT_REPLICAS_MAX * 12], loss[WEFT_ERROR_TEXT_BYTES_MAX];
    s_names(self, order, true, missing, sizeof missing);
    s_loss(self, order, leader, loss, sizeof loss);
    return weft_error_set(error, WEFT_ERR_NO_ELIGIBLE_LEADER, "it waits for broker%s %s; elected uncleanly, %s",
                          strpbrk(missing, " ,") ? "s" : "", missing, loss);
}

static void s_elect(weft_coordinator_t *self, const struct weft_asker *asker, const struct s_order *order)
{
    struct weft_error error;
    int32_t leader = order->broker >= 0 ? order->broker : s_best(self, order);
    weft_err_t err = s_unclean_check(self, order, leader, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    char loss[WEFT_ERROR_TEXT_BYTES_MAX];
    s_loss(self, order, leader, loss, sizeof loss);
    weft_trace(WEFT_TRACE_WARN, self->name, "unclean election ordered: %s", loss);
    struct weft_leader_elected_command command;
    weft_leader_elected_command_init(&command);
    command.topic_id = order->topic->id;
    command.partition = order->number;
    command.partition_epoch = order->partition->partition_epoch;
    command.leader = leader;
    command.incarnation = weft_cluster_broker(self->cluster, leader)->incarnation;
    command.unclean = true;
    command.operation = order->operation;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_leader_elected_command_encode(&command, &bytes);
    struct weft_proposal proposal = {.command = WEFT_COMMAND_LEADER_ELECTED,
                                     .settled = s_elected,
                                     .asker = *asker,
                                     .topic = order->topic->id,
                                     .position = order->number,
                                     .wait = ++self->token};
    weft_map_put_u64(self->losses, proposal.wait, weft_strdup(loss));
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
}

// Nobody can produce there, and nobody can take over without loss.
static bool s_is_hopeless(const weft_coordinator_t *self, const struct s_order *order)
{
    const struct weft_cluster_partition *partition = order->partition;
    if (partition->leader < 0) return true;
    if (!order->unclean || partition->isr_count > 1 || order->broker == partition->leader) return false;
    const struct weft_told_by *by = s_told_by(self, order, partition->leader);
    return (by && by->damaged) || weft_cluster_broker(self->cluster, partition->leader)->sick;
}

void weft_coordinator_elect_leader(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_elect_leader_request request;
    struct weft_error error;
    struct s_order order = {.topic = NULL};
    weft_err_t err = weft_elect_leader_request_decode(&self->codec, header, &request, &error);
    if (!err)
        err = weft_cluster_find_partition(self->cluster, request.topic, request.topic_id, request.partition,
                                          &order.topic, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    order.partition = &order.topic->partitions[request.partition];
    order.number = request.partition;
    order.broker = request.broker_id;
    order.unclean = request.unclean;
    order.operation = request.operation;
    if (weft_coordinator_is_done(self, request.operation))
        s_answer(self, asker, order.topic->id, order.number, NULL);
    else if (s_is_hopeless(self, &order))
        s_elect(self, asker, &order);
    else
        s_move(self, asker, &order);
}
