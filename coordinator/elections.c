// SPDX-License-Identifier: MPL-2.0
// Elections: a leader for partitions that lost all that could lead, and replicas that can't be served.
//
// A partition without a leader waits for its frozen last set: in-sync and eligible members, and leavers
// (lib/core/cluster.h).
// Each of them, once it has recovered and synced, reports (epoch of its last batch, log end), over and over until
// the state shows a consequence. Reports are remembered here in memory, each for one incarnation and one leader
// epoch; when all of the frozen set have spoken, the highest leads; among equals members go before leavers, then
// the preferred order decides (REPLICATION.md rule 4). Nobody is left out: one that is down may be the one that
// has the last acknowledged record. What a person orders instead is in elect.c.
//
// A damaged replica is no candidate, and leaves the in-sync set as long as others are in it; the last of them is
// kept, for taking it out would lose all without a word. So would a leaver that led in its place.
#include "coordinator.h"

#include "../lib/base/mutate.h"
#include "../lib/base/trace.h"

#include <stdlib.h>
#include <string.h>

#define S_SWEEP_US 2000000
#define S_FORGET_US 10000000 // reports are repeated every second while they matter

struct s_key {
    uint8_t bytes[20];
};

static struct s_key s_key(weft_id_t topic, uint32_t partition)
{
    struct s_key key;
    memcpy(key.bytes, topic.bytes, 16);
    memcpy(key.bytes + 16, &partition, 4);
    return key;
}

struct weft_told *weft_coordinator_told(const weft_coordinator_t *self, weft_id_t topic, uint32_t partition)
{
    struct s_key key = s_key(topic, partition);
    return weft_map_get(self->told, weft_slice(key.bytes, sizeof key.bytes));
}

static struct weft_told *s_told_make(weft_coordinator_t *self, weft_id_t topic, uint32_t partition)
{
    struct weft_told *told = weft_coordinator_told(self, topic, partition);
    if (told) return told;
    told = weft_calloc(1, sizeof *told);
    told->topic = topic;
    told->partition = partition;
    struct s_key key = s_key(topic, partition);
    weft_map_put(self->told, weft_slice(key.bytes, sizeof key.bytes), told);
    return told;
}

static void s_told_drop(weft_coordinator_t *self, struct weft_told *told)
{
    struct s_key key = s_key(told->topic, told->partition);
    weft_map_remove(self->told, weft_slice(key.bytes, sizeof key.bytes));
    free(told);
}

void weft_coordinator_told_clear(weft_coordinator_t *self)
{
    void *value;
    for (size_t cursor = 0; weft_map_next(self->told, &cursor, NULL, &value);) s_told_drop(self, value);
}

static const struct weft_cluster_partition *s_partition(const weft_coordinator_t *self, weft_id_t id, uint32_t number)
{
    const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, id);
    return topic && number < topic->partition_count ? &topic->partitions[number] : NULL;
}

// The report of a broker that counts now: of this leader epoch, by the incarnation that is alive. NULL: none.
const struct weft_told_by *weft_coordinator_told_by(const weft_coordinator_t *self, const struct weft_told *told,
                                                    int32_t id)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, id);
    const struct weft_cluster_partition *partition = s_partition(self, told->topic, told->partition);
    if (!broker || !broker->alive || !partition || told->leader_epoch != partition->leader_epoch) return NULL;
    for (size_t i = 0; i < told->count; i++)
        if (told->by[i].broker == id && weft_id_equal(told->by[i].incarnation, broker->incarnation))
            return &told->by[i];
    return NULL;
}

bool weft_coordinator_had_all(const struct weft_cluster_partition *partition, uint8_t place)
{
    if (partition->eligible & (1u << place)) return true;
    for (uint8_t i = 0; i < partition->isr_count; i++)
        if (partition->isr[i] == partition->replicas[place]) return true;
    return false;
}

bool weft_coordinator_is_frozen(const struct weft_cluster_partition *partition, uint8_t place)
{
    return (partition->leavers & (1u << place)) || weft_coordinator_had_all(partition, place);
}

// ---- consequences

static void s_settled(weft_coordinator_t *self, const struct weft_proposal *proposal,
                      const struct weft_outcome *outcome)
{
    struct weft_told *told = weft_coordinator_told(self, proposal->topic, proposal->position);
    if (told) told->proposed = false; // a later report tries again
    if (outcome->err)
        weft_trace(WEFT_TRACE_WARN, self->name, "what followed from reports on partition %u was refused: %s",
                   proposal->position, weft_err_name(outcome->err));
}

static bool s_can_lead(const weft_coordinator_t *self, int32_t id)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, id);
    return broker && broker->alive && !broker->draining && !broker->sick;
}

// A candidate of the reports: `had_all` tells members from leavers.
struct s_candidate {
    const struct weft_told_by *by;
    bool had_all;
};

// Later in preferred order, so it has to be better. Of two with the same records the leaver may have missed what was
// deleted since he left.
static bool s_is_better(const weft_coordinator_t *self, const struct s_candidate *than, const struct s_candidate *it)
{
    if (!than->by) return true;
    if (it->by->last_epoch != than->by->last_epoch) return it->by->last_epoch > than->by->last_epoch;
    if (it->by->log_end != than->by->log_end) return it->by->log_end > than->by->log_end;
    if (it->had_all != than->had_all) return it->had_all;
    return s_can_lead(self, it->by->broker) && !s_can_lead(self, than->by->broker);
}

static void s_elect(weft_coordinator_t *self, struct weft_told *told, const struct weft_cluster_partition *partition)
{
    struct s_candidate best = {0};
    bool whole = false; // somebody of those that had everything
    for (uint8_t i = 0; i < partition->replica_count; i++) {
        if (!weft_coordinator_is_frozen(partition, i)) continue;
        struct s_candidate it = {weft_coordinator_told_by(self, told, partition->replicas[i]),
                                 weft_coordinator_had_all(partition, i)};
        if (!it.by && weft_mutated("leader_elected_without_all_reports")) continue;
        if (!it.by) return;
        if (!it.by->damaged && it.had_all) whole = true;
        if (!it.by->damaged && s_is_better(self, &best, &it)) best = it;
    }
    if (!whole) return; // all are damaged, and leavers lack what was committed without them: for a person
    struct weft_leader_elected_command command;
    weft_leader_elected_command_init(&command);
    command.topic_id = told->topic;
    command.partition = told->partition;
    command.partition_epoch = partition->partition_epoch;
    command.leader = best.by->broker;
    command.incarnation = best.by->incarnation;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_leader_elected_command_encode(&command, &bytes);
    struct weft_proposal proposal = {.command = WEFT_COMMAND_LEADER_ELECTED,
                                     .settled = s_settled,
                                     .topic = told->topic,
                                     .position = told->partition};
    told->proposed = true;
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
}

// Whether this replica, in sync or eligible, could take over from a damaged one.
static bool s_is_whole(const weft_coordinator_t *self, const struct weft_told *told,
                       const struct weft_cluster_partition *partition, uint8_t place)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, partition->replicas[place]);
    if (!broker || !broker->alive || (partition->unsure & (1u << place))) return false;
    const struct weft_told_by *by = weft_coordinator_told_by(self, told, broker->id);
    return !by || !by->damaged;
}

static int32_t s_successor(const weft_coordinator_t *self, const struct weft_told *told,
                           const struct weft_cluster_partition *partition)
{
    int32_t found = -1;
    for (uint8_t i = 0; i < partition->replica_count; i++) {
        if (!weft_coordinator_had_all(partition, i) || !s_is_whole(self, told, partition, i)) continue;
        if (found < 0 || (!s_can_lead(self, found) && s_can_lead(self, partition->replicas[i])))
            found = partition->replicas[i];
    }
    return found;
}

static bool s_is_damaged(const weft_coordinator_t *self, const struct weft_told *told, int32_t id)
{
    const struct weft_told_by *by = weft_coordinator_told_by(self, told, id);
    return by && by->damaged;
}

// Damaged members leave the in-sync and the eligible of a partition that has a leader, the leader itself too if another
// can take over: only then they heal.
static void s_take_out(weft_coordinator_t *self, struct weft_told *told, const struct weft_cluster_partition *partition)
{
    struct weft_partition_changed_command command;
    weft_partition_changed_command_init(&command);
    int32_t isr[WEFT_REPLICAS_MAX], damaged[WEFT_REPLICAS_MAX];
    weft_id_t incarnations[WEFT_REPLICAS_MAX];
    command.leader =
        s_is_damaged(self, told, partition->leader) ? s_successor(self, told, partition) : partition->leader;
    if (command.leader < 0) return; // the last one
    for (uint8_t i = 0; i < partition->replica_count; i++)
        if (weft_coordinator_is_frozen(partition, i) && s_is_damaged(self, told, partition->replicas[i]))
            damaged[command.damaged_count++] = partition->replicas[i];
    if (command.damaged_count == 0) return;
    for (uint8_t i = 0; i < partition->isr_count; i++)
        if (!s_is_damaged(self, told, partition->isr[i])) isr[command.isr_count++] = partition->isr[i];
    if (command.isr_count == 0) isr[command.isr_count++] = command.leader; // an eligible one
    for (size_t i = 0; i < command.isr_count; i++)
        incarnations[i] = weft_cluster_broker(self->cluster, isr[i])->incarnation;
    command.topic_id = told->topic;
    command.partition = told->partition;
    command.partition_epoch = partition->partition_epoch;
    command.leader_epoch = partition->leader_epoch;
    command.isr = isr;
    command.damaged = damaged;
    command.incarnations = incarnations;
    command.incarnations_count = command.isr_count;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_partition_changed_command_encode(&command, &bytes);
    struct weft_proposal proposal = {.command = WEFT_COMMAND_PARTITION_CHANGED,
                                     .settled = s_settled,
                                     .topic = told->topic,
                                     .position = told->partition};
    told->proposed = true;
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
}

// ---- reports

static weft_err_t s_report_check(const struct weft_cluster_topic *topic, int32_t broker,
                                 const struct weft_replica_report *report, struct weft_error *error)
{
    if (report->partition >= topic->partition_count)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "broker %d reports partition %u of '%s', which has %u",
                              broker, report->partition, topic->name, topic->partition_count);
    int32_t epoch = topic->partitions[report->partition].leader_epoch;
    if (report->leader_epoch > epoch)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "broker %d reports leader epoch %d of partition %u of '%s', which is at %d", broker,
                              report->leader_epoch, report->partition, topic->name, epoch);
    if (report->log_end < 0 || report->last_epoch < -1 || report->last_epoch > epoch)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "broker %d claims log end %lld and last epoch %d of partition %u of '%s', which is at "
                              "leader epoch %d: impossible",
                              broker, (long long) report->log_end, report->last_epoch, report->partition, topic->name,
                              epoch);
    return WEFT_OK;
}

static void s_remember(weft_coordinator_t *self, struct weft_told *told, const struct weft_cluster_broker *broker,
                       const struct weft_replica_report *report)
{
    if (told->leader_epoch != report->leader_epoch) told->count = 0;
    told->leader_epoch = report->leader_epoch;
    size_t place = 0;
    while (place < told->count && told->by[place].broker != broker->id) place++;
    if (place == WEFT_REPLICAS_MAX) return;
    if (place == told->count) told->count++;
    if (report->damaged && !told->by[place].damaged)
        weft_trace(WEFT_TRACE_ERROR, self->name, "broker %d can't serve its replica of partition %u: damaged",
                   broker->id, report->partition);
    told->by[place] = (struct weft_told_by){.broker = broker->id,
                                            .incarnation = broker->incarnation,
                                            .last_epoch = report->last_epoch,
                                            .log_end = report->log_end,
                                            .damaged = report->damaged};
    told->heard_us = weft_port_now_us(&self->port);
}

static weft_err_t s_take(weft_coordinator_t *self, const struct weft_cluster_broker *broker,
                         const struct weft_replica_report *report, struct weft_error *error)
{
    const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, report->topic_id);
    if (!topic) return WEFT_OK; // deleted, which its sender will hear
    weft_err_t err = s_report_check(topic, broker->id, report, error);
    if (err) return err;
    const struct weft_cluster_partition *partition = &topic->partitions[report->partition];
    if (report->leader_epoch < partition->leader_epoch || (partition->leader >= 0 && !report->damaged)) return WEFT_OK;
    bool holds = false;
    for (uint8_t i = 0; i < partition->replica_count; i++) holds |= partition->replicas[i] == broker->id;
    if (!holds) return WEFT_OK; // moved away meanwhile
    struct weft_told *told = s_told_make(self, topic->id, report->partition);
    s_remember(self, told, broker, report);
    if (told->proposed) return WEFT_OK;
    if (partition->leader < 0)
        s_elect(self, told, partition);
    else
        s_take_out(self, told, partition);
    return WEFT_OK;
}

void weft_coordinator_partition_report(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_partition_report_request request;
    struct weft_error error, first = {.code = WEFT_OK};
    weft_err_t err = weft_partition_report_request_decode(&self->codec, header, &request, &error);
    if (!err) err = weft_coordinator_broker_check(self, request.broker_id, request.incarnation, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, request.broker_id);
    for (size_t i = 0; i < request.reports_count; i++) {
        err = s_take(self, broker, &request.reports[i], &error); // one that lies spoils none of the others
        if (err && !first.code) first = error;
    }
    if (first.code) {
        weft_trace(WEFT_TRACE_ERROR, self->name, "%s", first.text);
        weft_coordinator_refuse(self, asker, first.code, first.text);
        return;
    }
    struct weft_partition_report_reply reply;
    weft_partition_report_reply_init(&reply);
    reply.header.id = asker->id;
    weft_buf_t out;
    weft_buf_init(&out);
    weft_partition_report_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
}

void weft_coordinator_told_sweep(weft_coordinator_t *self, int64_t now_us)
{
    if (now_us < self->told_sweep_us || weft_map_count(self->told) == 0) return;
    self->told_sweep_us = now_us + S_SWEEP_US;
    void *value;
    for (size_t cursor = 0; weft_map_next(self->told, &cursor, NULL, &value);) {
        struct weft_told *told = value;
        const struct weft_cluster_partition *partition = s_partition(self, told->topic, told->partition);
        if (!partition || told->leader_epoch < partition->leader_epoch || now_us - told->heard_us > S_FORGET_US)
            s_told_drop(self, told);
    }
}
