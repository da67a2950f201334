// SPDX-License-Identifier: MPL-2.0
// The coordinator's part: drains requests, proposes commands, answers when they come back applied, pushes them to
// the brokers.
//
// A turn: messages and syncs have been taken; sessions are looked at; the quorum writes what was proposed and
// starts a sync; what was applied goes to the brokers. Nothing that changes the cluster is answered before it is
// durable. Until it has taken office (a command of its own, applied after everything before it) it answers nothing
// from a state that may be old.
#include "coordinator.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"
#include "../lib/log/sync_part.h"
#include "../lib/wire/walk.h"

#include <stdlib.h>
#include <string.h>

#define S_OFFICE_AGAIN_US 200000

static weft_coordinator_t *s_self(struct weft_part *part)
{
    return (weft_coordinator_t *) part;
}

// ---- answers

void weft_coordinator_answer(weft_coordinator_t *self, const struct weft_asker *asker, const weft_buf_t *header)
{
    weft_err_t err =
        self->port.ops->reply(self->port.world, &asker->peer, asker->delimited, weft_buf_slice(header), NULL);
    if (err) weft_counter_add(self->counters, WEFT_COUNT_REPLIES_LOST, 1);
}

void weft_coordinator_refuse(weft_coordinator_t *self, const struct weft_asker *asker, weft_err_t err,
                             const char *sentence)
{
    weft_counter_add(self->counters, WEFT_COUNT_REFUSED_REQUESTS, 1);
    weft_buf_t header;
    weft_buf_init(&header);
    weft_error_reply_encode(asker->id, err, sentence, &header);
    weft_coordinator_answer(self, asker, &header);
    weft_buf_fini(&header);
}

// ---- proposals

static void s_done(weft_coordinator_t *self, const struct weft_proposal *proposal, uint64_t index)
{
    if (proposal->command == WEFT_COMMAND_TOOK_OFFICE) {
        weft_coordinator_took_office(self);
        weft_coordinator_groups_took_office(self);
    } else if (proposal->command == WEFT_COMMAND_BROKER_REGISTERED || proposal->command == WEFT_COMMAND_BROKER_FENCED)
        weft_coordinator_broker_done(self, proposal);
    else if (proposal->asked)
        weft_coordinator_topic_done(self, proposal, index);
}

// How it ended: applied at `index`, refused by the state (err) there, or lost (index 0).
static void s_settle(weft_coordinator_t *self, const struct weft_proposal *proposal, uint64_t index, weft_err_t err,
                     const char *sentence)
{
    if (proposal->settled) {
        struct weft_outcome outcome = {.index = index, .err = err, .sentence = sentence};
        proposal->settled(self, proposal, &outcome);
    } else if (!err) {
        s_done(self, proposal, index);
    } else {
        weft_coordinator_broker_lost(self, proposal);
        if (proposal->asked) weft_coordinator_refuse(self, &proposal->asker, err, sentence);
    }
}

void weft_coordinator_propose(weft_coordinator_t *self, const struct weft_proposal *proposal, weft_slice_t command)
{
    uint64_t token = ++self->token;
    weft_err_t err = self->quorum->ops->propose(self->quorum, command, token);
    if (err) {
        s_settle(self, proposal, 0, err, self->quorum->ops->failure(self->quorum));
        return;
    }
    weft_counter_add(self->counters, WEFT_COUNT_PROPOSED, 1);
    struct weft_proposal *kept = weft_alloc(sizeof *kept);
    *kept = *proposal;
    weft_map_put_u64(self->proposals, token, kept);
    self->partitions_proposed += kept->partitions;
    if (kept->command == WEFT_COMMAND_TOPIC_ALTERED) weft_map_put(self->altering, weft_id_slice(&kept->topic), self);
}

void weft_coordinator_propose_voter(weft_coordinator_t *self, const struct weft_proposal *proposal,
                                    const struct weft_quorum_voter *voter, bool remove)
{
    struct weft_error error = {.code = WEFT_OK};
    uint64_t token = ++self->token;
    weft_err_t err = self->quorum->ops->change(self->quorum, voter, remove, token, &error);
    if (err) {
        s_settle(self, proposal, 0, err, error.text);
        return;
    }
    struct weft_proposal *kept = weft_alloc(sizeof *kept);
    *kept = *proposal;
    weft_map_put_u64(self->proposals, token, kept);
}

bool weft_coordinator_is_done(const weft_coordinator_t *self, weft_id_t operation)
{
    return !weft_id_is_zero(operation) && weft_cluster_operation_done(self->cluster, operation, NULL);
}

// Takes a proposal that came back; the caller frees it. NULL: it is none of this run's.
static struct weft_proposal *s_take(weft_coordinator_t *self, uint64_t token)
{
    struct weft_proposal *proposal = token ? weft_map_remove_u64(self->proposals, token) : NULL;
    if (!proposal) return NULL;
    self->partitions_proposed -= proposal->partitions;
    if (proposal->command == WEFT_COMMAND_TOPIC_ALTERED)
        weft_map_remove(self->altering, weft_id_slice(&proposal->topic));
    return proposal;
}

// ---- the quorum's events

static void s_on_change(void *context, const struct weft_cluster_change *change)
{
    weft_coordinator_t *self = context;
    if (!self->in_office) return;
    switch (change->type) {
    case WEFT_CLUSTER_BROKER: weft_coordinator_sessions_follow(self, change->broker); break;
    case WEFT_CLUSTER_TOPIC_ADDED:
    case WEFT_CLUSTER_TOPIC_CHANGED:
    case WEFT_CLUSTER_TOPIC_REMOVED: weft_coordinator_groups_topic_changed(self, change); break;
    case WEFT_CLUSTER_SETTINGS: weft_coordinator_groups_settings(self); break;
    case WEFT_CLUSTER_PARTITION: break;
    }
}

// Commands of groups are for coordinators only: brokers find a gap in the indexes.
static weft_err_t s_apply(weft_coordinator_t *self, uint64_t index, weft_slice_t command, struct weft_error *error)
{
    if (weft_groups_command(command))
        return weft_groups_apply(self->groups, self->cluster, index, command, weft_coordinator_group_changed, self,
                                 error);
    weft_err_t err = weft_cluster_apply(self->cluster, index, command, s_on_change, self, error);
    weft_coordinator_feed_add(self->feed, index, command);
    return err;
}

static void s_on_apply(void *context, uint64_t index, weft_slice_t command, uint64_t token)
{
    weft_coordinator_t *self = context;
    struct weft_error error = {.code = WEFT_OK};
    weft_err_t err = WEFT_OK;
    if (weft_coordinator_read_applied(self, token)) return;
    if (command.size) { // else an entry of the quorum's own
        err = s_apply(self, index, command, &error);
        weft_counter_add(self->counters, WEFT_COUNT_APPLIED, 1);
        if (err) weft_counter_add(self->counters, WEFT_COUNT_APPLY_REFUSED, 1);
        weft_coordinator_joined(self);
    }
    weft_coordinator_digest(self, index, command);
    struct weft_proposal *proposal = s_take(self, token);
    if (!proposal) return;
    s_settle(self, proposal, index, err, error.text);
    free(proposal);
}

static void s_on_lost(void *context, uint64_t token, weft_err_t code, const char *reason)
{
    weft_coordinator_t *self = context;
    if (weft_coordinator_read_lost(self, token)) return;
    struct weft_proposal *proposal = s_take(self, token);
    if (!proposal) return;
    weft_counter_add(self->counters, WEFT_COUNT_LOST, 1);
    if (proposal->command == WEFT_COMMAND_TOOK_OFFICE && self->quorum->ops->leads(self->quorum))
        self->office_us = weft_port_now_us(&self->port) + S_OFFICE_AGAIN_US;
    const char *sentence = reason ? reason
                           : code == WEFT_ERR_DISK_FULL
                               ? "the coordinator's disk is full, nothing was changed; free space and try again"
                               : self->quorum->ops->failure(self->quorum);
    s_settle(self, proposal, 0, code, sentence);
    free(proposal);
}

static void s_propose_office(weft_coordinator_t *self)
{
    self->office_us = WEFT_TIME_NEVER;
    weft_buf_t command;
    weft_buf_init(&command);
    if (weft_id_is_zero(weft_cluster_id(self->cluster))) {
        struct weft_cluster_format_command format;
        weft_cluster_format_command_init(&format);
        format.cluster_id = self->quorum->ops->cluster(self->quorum);
        weft_cluster_format_command_encode(&format, &command);
        struct weft_proposal proposal = {.command = WEFT_COMMAND_CLUSTER_FORMAT};
        weft_coordinator_propose(self, &proposal, weft_buf_slice(&command));
        weft_buf_clear(&command);
    }
    struct weft_took_office_command office;
    weft_took_office_command_init(&office);
    office.coordinator_id = self->id;
    office.endpoint = weft_slice_text(self->endpoint);
    weft_took_office_command_encode(&office, &command);
    struct weft_proposal proposal = {.command = WEFT_COMMAND_TOOK_OFFICE};
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&command));
    weft_buf_fini(&command);
}

static void s_on_leader(void *context, bool leads)
{
    weft_coordinator_t *self = context;
    self->in_office = false;
    weft_coordinator_office_set(self, false);
    self->voters_moved = true;
    weft_coordinator_sessions_drop(self);
    weft_coordinator_groups_lost_office(self);
    const char *failure = self->quorum->ops->failure(self->quorum);
    if (failure) weft_coordinator_health_set(self, WEFT_HEALTH_FAILED, failure);
    if (leads) s_propose_office(self);
    if (!leads) self->office_us = WEFT_TIME_NEVER;
}

static void s_on_voters(void *context)
{
    ((weft_coordinator_t *) context)->voters_moved = true;
}

static void s_snapshot(void *context, weft_buf_t *out)
{
    weft_coordinator_t *self = context;
    weft_cluster_encode(self->cluster, out);
    weft_groups_encode(self->groups, out);
}

// The snapshot is two maps back to back; one of an older version has no second.
static weft_err_t s_split(weft_slice_t snapshot, weft_slice_t *cluster, weft_slice_t *groups)
{
    weft_walk_t walk;
    struct weft_value value;
    struct weft_guard_limits limits = weft_guard_record; // of each of the two
    limits.bytes_max *= 2;
    weft_err_t err = weft_walk_init(&walk, snapshot, &limits, NULL);
    if (!err) err = weft_walk_next(&walk, &value);
    if (!err) err = weft_walk_skip_content(&walk, &value, 1);
    if (err) return err;
    size_t size = (size_t) (walk.at - snapshot.data);
    *cluster = weft_slice(snapshot.data, size);
    *groups = weft_slice(snapshot.data + size, snapshot.size - size);
    return WEFT_OK;
}

static weft_err_t s_restore(void *context, uint64_t index, weft_slice_t snapshot)
{
    weft_coordinator_t *self = context;
    weft_slice_t cluster, groups;
    weft_groups_t *fresh = weft_groups_new();
    weft_err_t err = s_split(snapshot, &cluster, &groups);
    if (!err && groups.size) err = weft_groups_decode(fresh, groups);
    if (!err) err = weft_cluster_decode(self->cluster, cluster);
    if (!err) {
        weft_groups_t *old = self->groups;
        self->groups = fresh;
        fresh = old;
    }
    weft_groups_destroy(&fresh);
    // The last entries before it may have been the quorum's own.
    if (!err && (weft_cluster_index(self->cluster) > index || weft_groups_index(self->groups) > index))
        err = WEFT_ERR_DAMAGED;
    if (err) return err;
    weft_coordinator_feed_reset(self->feed, weft_cluster_index(self->cluster));
    weft_coordinator_joined(self);
    return WEFT_OK;
}

const struct weft_quorum_events weft_coordinator_events = {.on_apply = s_on_apply,
                                                           .on_leader = s_on_leader,
                                                           .on_lost = s_on_lost,
                                                           .on_voters = s_on_voters,
                                                           .snapshot = s_snapshot,
                                                           .restore = s_restore};

// ---- requests

static void s_node_status(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    (void) header; // asks for nothing in particular
    weft_coordinator_node_status(self, asker);
}

static void s_cluster_status(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    (void) header;
    weft_coordinator_cluster_status(self, asker);
}

enum {
    S_ALWAYS = 1,  // answered before office and after a failure too
    S_CHANGES = 2, // refused while stopping
    S_ANY = 4,     // by whoever holds a state, in office or not
    S_READ = 8     // in office, only once it is sure that nobody else took over: linearizable
};

struct s_handler {
    void (*answer)(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
    unsigned flags;
};

static const struct s_handler s_handlers[WEFT_API_COUNT] = {
    [WEFT_API_HELLO] = {weft_coordinator_hello, S_ALWAYS},
    [WEFT_API_NODE_STATUS] = {s_node_status, S_ALWAYS},
    [WEFT_API_METADATA] = {weft_coordinator_metadata, S_ANY | S_READ},
    [WEFT_API_TOPIC_DESCRIBE] = {weft_coordinator_topic_describe, S_ANY | S_READ},
    [WEFT_API_CLUSTER_STATUS] = {s_cluster_status, S_READ},
    [WEFT_API_PRODUCE] = {weft_coordinator_not_led_here, S_ANY},
    [WEFT_API_FETCH] = {weft_coordinator_not_led_here, S_ANY},
    [WEFT_API_LIST_OFFSETS] = {weft_coordinator_not_led_here, S_ANY},
    [WEFT_API_DELETE_RECORDS] = {weft_coordinator_not_led_here, S_ANY},
    [WEFT_API_PARTITION_STATUS] = {weft_coordinator_not_led_here, S_ANY},
    [WEFT_API_TOPIC_CREATE] = {weft_coordinator_topic_create, S_CHANGES},
    [WEFT_API_TOPIC_DELETE] = {weft_coordinator_topic_delete, S_CHANGES},
    [WEFT_API_TOPIC_ALTER] = {weft_coordinator_topic_alter, S_CHANGES},
    [WEFT_API_TOPIC_ADD_PARTITIONS] = {weft_coordinator_topic_add_partitions, S_CHANGES},
    [WEFT_API_BROKER_REGISTER] = {weft_coordinator_broker_register, S_CHANGES},
    [WEFT_API_BROKER_HEARTBEAT] = {weft_coordinator_broker_heartbeat, S_CHANGES},
    [WEFT_API_BROKER_DRAIN] = {weft_coordinator_broker_drain, S_CHANGES},
    [WEFT_API_BROKER_REMOVE] = {weft_coordinator_broker_remove, S_CHANGES},
    [WEFT_API_IN_SYNC_CHANGE] = {weft_coordinator_in_sync_change, S_CHANGES},
    [WEFT_API_PARTITION_REPORT] = {weft_coordinator_partition_report, S_CHANGES},
    [WEFT_API_ELECT_LEADER] = {weft_coordinator_elect_leader, S_CHANGES},
    [WEFT_API_REASSIGN] = {weft_coordinator_reassign, S_CHANGES},
    [WEFT_API_REASSIGN_LIST] = {weft_coordinator_reassign_list, 0},
    [WEFT_API_BALANCE] = {weft_coordinator_balance, S_CHANGES},
    [WEFT_API_CLUSTER_ALTER] = {weft_coordinator_cluster_alter, S_CHANGES},
    [WEFT_API_VOTER_CHANGE] = {weft_coordinator_voter_change, S_CHANGES},
    [WEFT_API_GROUP_HEARTBEAT] = {weft_coordinator_group_heartbeat, S_CHANGES},
    [WEFT_API_GROUP_LIST] = {weft_coordinator_group_list, S_READ},
    [WEFT_API_GROUP_DESCRIBE] = {weft_coordinator_group_describe, S_READ},
    [WEFT_API_GROUP_CHECK] = {weft_coordinator_group_check, S_READ},
    [WEFT_API_GROUP_TOKEN] = {weft_coordinator_group_token, S_CHANGES | S_READ},
    [WEFT_API_GROUP_DELETE] = {weft_coordinator_group_delete, S_CHANGES | S_READ},
    [WEFT_API_OFFSETS_BEGIN] = {weft_coordinator_offsets_begin, S_CHANGES},
    [WEFT_API_COMMIT] = {weft_coordinator_offsets_not_here, S_ANY},
    [WEFT_API_COMMITTED] = {weft_coordinator_offsets_not_here, S_ANY},
    [WEFT_API_OFFSETS_LIST] = {weft_coordinator_offsets_not_here, S_ANY},
    [WEFT_API_OFFSETS_DELETE] = {weft_coordinator_offsets_not_here, S_ANY},
};

// Who is not in office says who is, as far as it knows.
static void s_dispatch_out_of_office(weft_coordinator_t *self, const struct s_handler *handler,
                                     const struct weft_asker *asker, weft_slice_t header)
{
    bool leads = self->quorum->ops->leads(self->quorum);
    bool knows = !weft_id_is_zero(weft_cluster_id(self->cluster));
    if (handler->flags & S_ANY && knows && !leads)
        handler->answer(self, asker, header);
    else if (leads)
        weft_coordinator_refuse(self, asker, WEFT_ERR_COORDINATOR_LOADING, NULL);
    else
        weft_coordinator_redirect(self, asker);
}

static void s_dispatch(weft_coordinator_t *self, enum weft_api api, const struct weft_asker *asker, weft_slice_t header)
{
    const struct s_handler *handler = &s_handlers[api];
    const char *failure = self->quorum->ops->failure(self->quorum);
    if (!handler->answer)
        weft_coordinator_refuse(self, asker, WEFT_ERR_UNKNOWN_API,
                                "a coordinator does not answer this; send it to a broker");
    else if (failure && !(handler->flags & S_ALWAYS))
        weft_coordinator_refuse(self, asker, WEFT_ERR_COORDINATOR_UNAVAILABLE, failure);
    else if (self->stopping && (handler->flags & S_CHANGES))
        weft_coordinator_refuse(self, asker, WEFT_ERR_STOPPING,
                                "the coordinator is stopping; try again when it is back");
    else if (!self->in_office && !(handler->flags & S_ALWAYS))
        s_dispatch_out_of_office(self, handler, asker, header);
    else if (handler->flags & S_READ)
        weft_coordinator_read(self, asker, handler->answer, header);
    else
        handler->answer(self, asker, header);
}

static void s_message(struct weft_part *part, struct weft_message *message)
{
    weft_coordinator_t *self = s_self(part);
    weft_counter_add(self->counters, WEFT_COUNT_REQUESTS, 1);
    weft_slice_t header = weft_frame_slice(&message->header);
    struct weft_request_header request = {.id = 0};
    struct weft_error error;
    weft_err_t err = weft_request_header_decode(header, &request, &error);
    struct weft_asker asker = {.peer = message->peer, .delimited = message->delimited, .id = request.id};
    if (!err && request.api == WEFT_API_QUORUM) { // of another coordinator; never answered as such
        self->quorum->ops->message(self->quorum, message);
        return;
    }
    if (err) {
        weft_counter_add(self->counters, WEFT_COUNT_REFUSED_FRAMES, 1);
        weft_coordinator_refuse(self, &asker, err, error.text);
        return;
    }
    s_dispatch(self, request.api, &asker, header);
}

// ---- life-cycle

static void s_start(struct weft_part *part, const struct weft_port *port)
{
    weft_coordinator_t *self = s_self(part);
    self->port = *port;
    weft_rand_init(&self->rand, port->ops->seed(port->world));
    self->started_us = weft_port_now_us(port);
    self->quorum->ops->start(self->quorum, port, self->sync_part, self->endpoint);
}

static void s_mail(struct weft_part *part, struct weft_mail *mail)
{
    weft_coordinator_t *self = s_self(part);
    if (mail->kind == WEFT_MAIL_SYNCED)
        self->quorum->ops->mail(self->quorum, mail);
    else if (mail->body_free)
        mail->body_free(mail->body);
}

static void s_gauges(weft_coordinator_t *self)
{
    if (weft_counter_get(self->counters, WEFT_COUNT_CLUSTER_INDEX) == weft_cluster_index(self->cluster)) return;
    size_t alive = 0;
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self->cluster, &cursor));) alive += broker->alive;
    weft_counter_set(self->counters, WEFT_COUNT_CLUSTER_INDEX, weft_cluster_index(self->cluster));
    weft_counter_set(self->counters, WEFT_COUNT_BROKERS_ALIVE, alive);
    weft_counter_set(self->counters, WEFT_COUNT_PARTITIONS, weft_cluster_partition_count(self->cluster));
    weft_counter_set(self->counters, WEFT_COUNT_LEADERLESS, weft_coordinator_leaderless(self));
}

// In office it serves, and so does one that follows whoever is; one that waits for the others is starting.
static void s_health(weft_coordinator_t *self)
{
    const char *failure = self->quorum->ops->failure(self->quorum);
    if (failure) {
        weft_coordinator_health_set(self, WEFT_HEALTH_FAILED, failure);
        return;
    }
    int32_t active = -1;
    (void) self->quorum->ops->active(self->quorum, &active);
    bool follows = active >= 0 && active != self->id && !self->quorum->ops->waits(self->quorum);
    weft_coordinator_office_set(self, self->in_office);
    weft_coordinator_health_set(self, self->in_office || follows ? WEFT_HEALTH_SERVING : WEFT_HEALTH_STARTING, NULL);
}

static int64_t s_turn(struct weft_part *part, int64_t now_us)
{
    weft_coordinator_t *self = s_self(part);
    int64_t next_brokers = weft_coordinator_brokers_turn(self, now_us);
    size_t sessions = weft_map_count(self->sessions);
    if (now_us >= self->office_us && self->quorum->ops->leads(self->quorum)) s_propose_office(self);
    if (self->office_us < next_brokers) next_brokers = self->office_us;
    int64_t next_groups = weft_coordinator_groups_turn(self, now_us);
    if (next_groups < next_brokers) next_brokers = next_groups;
    bool in_office = self->in_office;
    weft_coordinator_level_turn(self);
    weft_coordinator_voters_turn(self);
    weft_coordinator_reads_turn(self);
    int64_t next_quorum = self->quorum->ops->turn(self->quorum, now_us);
    if (weft_coordinator_reads_turn(self)) next_quorum = now_us; // asked while others were answered
    weft_coordinator_brokers_push(self, now_us);
    if (weft_coordinator_groups_push(self)) next_quorum = now_us;
    s_gauges(self);
    s_health(self);
    if (self->in_office != in_office || weft_map_count(self->sessions) != sessions) return now_us; // sessions began
    return next_quorum < next_brokers ? next_quorum : next_brokers;
}

static void s_stop(struct weft_part *part)
{
    weft_coordinator_t *self = s_self(part);
    self->stopping = true;
    weft_coordinator_health_set(self, WEFT_HEALTH_STOPPING, "the coordinator is stopping");
    weft_coordinator_groups_stop(self);
    self->quorum->ops->stop(self->quorum);
}

static bool s_stopped(struct weft_part *part)
{
    return s_self(part)->quorum->ops->stopped(s_self(part)->quorum);
}

static void s_link_up(struct weft_part *part, weft_link_t link)
{
    s_self(part)->quorum->ops->link(s_self(part)->quorum, link, true);
}

static void s_link_down(struct weft_part *part, weft_link_t link)
{
    s_self(part)->quorum->ops->link(s_self(part)->quorum, link, false);
}

static void s_destroy(struct weft_part **self_p)
{
    weft_coordinator_t *self = s_self(*self_p);
    if (!self) return;
    if (self->quorum) self->quorum->ops->destroy(&self->quorum);
    void *value;
    for (size_t cursor = 0; weft_map_next(self->proposals, &cursor, NULL, &value);) free(value);
    weft_coordinator_sessions_drop(self);
    weft_map_destroy(&self->proposals);
    weft_map_destroy(&self->altering);
    weft_map_destroy(&self->sessions);
    weft_map_destroy(&self->gone);
    weft_map_destroy(&self->changing);
    weft_map_destroy(&self->told);
    weft_coordinator_in_sync_drop(self);
    weft_coordinator_kept_drop(self);
    weft_coordinator_losses_drop(self);
    weft_coordinator_reads_drop(self);
    weft_coordinator_groups_destroy(self);
    weft_coordinator_feed_destroy(&self->feed);
    weft_cluster_destroy(&self->cluster);
    weft_codec_fini(&self->codec);
    free(self);
    *self_p = NULL;
}

static const struct weft_part_ops s_ops = {.start = s_start,
                                           .message = s_message,
                                           .mail = s_mail,
                                           .link_up = s_link_up,
                                           .link_down = s_link_down,
                                           .turn = s_turn,
                                           .stop = s_stop,
                                           .stopped = s_stopped,
                                           .destroy = s_destroy};

weft_coordinator_t *weft_coordinator_new(void)
{
    weft_coordinator_t *self = weft_calloc(1, sizeof *self);
    self->part.ops = &s_ops;
    self->cluster = weft_cluster_new();
    weft_codec_init(&self->codec);
    self->feed = weft_coordinator_feed_new();
    self->proposals = weft_map_new();
    self->altering = weft_map_new();
    self->sessions = weft_map_new();
    self->gone = weft_map_new();
    self->changing = weft_map_new();
    self->told = weft_map_new();
    self->in_sync_waits = weft_map_new();
    self->kept = weft_map_new();
    self->losses = weft_map_new();
    self->office_us = WEFT_TIME_NEVER;
    weft_coordinator_groups_new(self);
    return self;
}

struct weft_part *weft_coordinator_part(weft_coordinator_t *self)
{
    return &self->part;
}
