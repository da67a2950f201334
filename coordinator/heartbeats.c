// SPDX-License-Identifier: MPL-2.0
// Heartbeats: who lives, who is sick, who wants to stop; and the pushes of the cluster state.
//
// A broker that was silent for its session is fenced at that very moment: the next look at the sessions is always
// set to the earliest end of one. Silence counts only while this coordinator itself was awake: after a late turn,
// and after taking office, everyone gets one whole session.
//
// A broker that lives may still be stuck: heartbeats carry the age of the oldest turn of its shards and data
// directories (REPLICATION.md rule 8). Beyond stuck.ms, or with a failed disk, it is called sick, which takes its
// leaderships; it is well again after ten good seconds. When half of the brokers are stuck it is the machine or the
// load that is slow, and moving leaderships would only add to it: no more are called sick then, but for failed disks.
#include "coordinator.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"

#include <stdlib.h>
#include <string.h>

#define S_WELL_US 10000000

void weft_coordinator_heartbeat_answer(weft_coordinator_t *self, const struct weft_asker *asker, bool stop_now)
{
    struct weft_broker_heartbeat_reply reply;
    weft_broker_heartbeat_reply_init(&reply);
    reply.header.id = asker->id;
    reply.epoch = weft_cluster_epoch(self->cluster);
    reply.index = weft_cluster_index(self->cluster);
    reply.stop_now = stop_now;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_broker_heartbeat_reply_encode(&reply, &header);
    weft_coordinator_answer(self, asker, &header);
    weft_buf_fini(&header);
}

void weft_coordinator_fence(weft_coordinator_t *self, struct weft_broker_session *session,
                            const struct weft_asker *asker)
{
    struct weft_broker_fenced_command fenced;
    weft_broker_fenced_command_init(&fenced);
    fenced.broker_id = session->broker;
    fenced.incarnation = session->incarnation;
    struct weft_proposal proposal = {.command = WEFT_COMMAND_BROKER_FENCED,
                                     .asked = asker != NULL,
                                     .broker = session->broker,
                                     .incarnation = session->incarnation};
    if (asker) proposal.asker = *asker;
    weft_buf_t command;
    weft_buf_init(&command);
    weft_broker_fenced_command_encode(&fenced, &command);
    session->fencing = true;
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&command));
    weft_buf_fini(&command);
}

// ---- sick and well

static uint32_t s_worst_turn(const struct weft_broker_heartbeat_request *request)
{
    uint32_t worst = 0;
    for (size_t i = 0; i < request->shard_turn_ms_count; i++)
        if (request->shard_turn_ms[i] > worst) worst = request->shard_turn_ms[i];
    for (size_t i = 0; i < request->disk_turn_ms_count; i++)
        if (request->disk_turn_ms[i] > worst) worst = request->disk_turn_ms[i];
    return worst;
}

static bool s_most_are_well(const weft_coordinator_t *self)
{
    size_t alive = 0, sick = 0;
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self->cluster, &cursor));) {
        alive += broker->alive;
        sick += broker->alive && broker->sick;
    }
    return 2 * (sick + 1) <= alive;
}

static void s_look_at_health(weft_coordinator_t *self, struct weft_broker_session *session,
                             const struct weft_cluster_broker *broker,
                             const struct weft_broker_heartbeat_request *request)
{
    int64_t now_us = weft_port_now_us(&self->port);
    session->turn_ms = s_worst_turn(request);
    session->disk_failed = request->disk_failed;
    bool stuck = (int64_t) session->turn_ms * 1000 > self->stuck_us;
    struct weft_broker_flags flags = {.draining = broker->draining, .leaving = broker->leaving, .sick = !broker->sick};
    if (stuck || request->disk_failed) {
        session->well_us = 0;
        if (broker->sick || !(request->disk_failed || s_most_are_well(self))) return;
        weft_trace(WEFT_TRACE_WARN, self->name,
                   request->disk_failed ? "the disk of broker %d failed: its leaderships go to others"
                                        : "broker %d is stuck: its leaderships go to others",
                   broker->id);
    } else {
        if (!broker->sick) return;
        if (session->well_us == 0) session->well_us = now_us;
        if (now_us - session->well_us < S_WELL_US) return;
    }
    struct weft_proposal proposal = {.broker = broker->id, .incarnation = session->incarnation};
    (void) weft_coordinator_broker_change(self, &proposal, &flags); // under way already: the next heartbeat sees to it
}

// ---- heartbeats

// What it was sent and does not have was lost on the way, unless it is still on the way.
static void s_repair(weft_coordinator_t *self, struct weft_broker_session *session, uint64_t index)
{
    uint64_t ours = weft_cluster_index(self->cluster);
    if (index > ours && !session->ahead)
        weft_trace(
            WEFT_TRACE_ERROR, self->name,
            "broker %d holds cluster state %llu, newer than this coordinator's %llu: its data directory is an old copy",
            session->broker, (unsigned long long) index, (unsigned long long) ours);
    session->ahead = index > ours ? index : 0;
    if (index >= session->sent) {
        if (index <= ours) session->sent = index;
        return;
    }
    if (weft_port_now_us(&self->port) - session->sent_us < self->heartbeat_us) return;
    session->sent = index;
    weft_counter_add(self->counters, WEFT_COUNT_UPDATES_REPEATED, 1);
}

static void s_proved(weft_coordinator_t *self, const struct weft_proposal *proposal, const struct weft_outcome *outcome)
{
    (void) outcome; // refused or lost: the next heartbeat sees to it
    struct weft_broker_session *session = weft_coordinator_session(self, proposal->broker);
    if (session) session->proving = false;
}

// It lives with a state that some partitions wait for, because somebody left their sets (lib/core/cluster_leavers.c).
static void s_prove(weft_coordinator_t *self, struct weft_broker_session *session,
                    const struct weft_cluster_broker *broker, uint64_t index)
{
    if (session->proving || broker->heard_index >= broker->wanted_index || index < broker->wanted_index ||
        index > weft_cluster_index(self->cluster))
        return;
    struct weft_broker_heard_command heard;
    weft_broker_heard_command_init(&heard);
    heard.broker_id = broker->id;
    heard.incarnation = session->incarnation;
    heard.index = index;
    struct weft_proposal proposal = {.command = WEFT_COMMAND_BROKER_HEARD,
                                     .settled = s_proved,
                                     .broker = broker->id,
                                     .incarnation = heard.incarnation};
    weft_buf_t command;
    weft_buf_init(&command);
    weft_broker_heard_command_encode(&heard, &command);
    session->proving = true;
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&command));
    weft_buf_fini(&command);
}

void weft_coordinator_broker_heartbeat(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_broker_heartbeat_request request;
    struct weft_error error;
    weft_err_t err = weft_broker_heartbeat_request_decode(&self->codec, header, &request, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, request.broker_id);
    if (request.want_stop && broker && !broker->alive && weft_id_equal(broker->incarnation, request.incarnation)) {
        weft_coordinator_heartbeat_answer(self, asker, true); // fenced already: nothing is led
        return;
    }
    struct weft_broker_session *session = weft_coordinator_session(self, request.broker_id);
    err = weft_coordinator_broker_check(self, request.broker_id, request.incarnation, &error);
    if (err || !session) {
        weft_coordinator_refuse(self, asker, WEFT_ERR_FENCED, err ? error.text : NULL);
        return;
    }
    weft_counter_add(self->counters, WEFT_COUNT_HEARTBEATS, 1);
    weft_coordinator_hear(self, session, asker);
    s_look_at_health(self, session, broker, &request);
    s_repair(self, session, request.index);
    s_prove(self, session, broker, request.index);
    if (request.want_stop && weft_coordinator_stop_step(self, session)) {
        weft_coordinator_fence(self, session, asker); // answered when it is applied
    } else {
        session->stopping = request.want_stop;
        weft_coordinator_heartbeat_answer(self, asker, false);
    }
}

// ---- turns

static void s_push(weft_coordinator_t *self, struct weft_broker_session *session, int64_t now_us)
{
    while (session->has_peer && session->sent < weft_cluster_index(self->cluster)) {
        struct weft_coordinator_update update;
        weft_coordinator_feed_next(self->feed, self->cluster, session->sent, &update);
        struct weft_cluster_update_request message;
        weft_cluster_update_request_init(&message);
        message.epoch = weft_cluster_epoch(self->cluster);
        message.from_index = update.from;
        message.to_index = update.to;
        message.snapshot = update.snapshot;
        size_t bytes = update.data.size;
        weft_buf_t header;
        weft_buf_init(&header);
        weft_cluster_update_request_encode(&message, &header);
        weft_err_t err =
            self->port.ops->reply(self->port.world, &session->peer, false, weft_buf_slice(&header), &update.data);
        weft_buf_fini(&header);
        session->sent_us = now_us;
        session->sent = update.to; // also when it failed: the next heartbeats show the gap
        weft_counter_add(self->counters, err ? WEFT_COUNT_UPDATES_FAILED : WEFT_COUNT_UPDATES, 1);
        if (err) break;
        weft_counter_add(self->counters, WEFT_COUNT_UPDATE_BYTES, bytes);
        if (update.snapshot) weft_counter_add(self->counters, WEFT_COUNT_UPDATE_SNAPSHOTS, 1);
    }
}

static void s_look_at(weft_coordinator_t *self, struct weft_broker_session *session, int64_t now_us)
{
    weft_coordinator_parked_turn(self, session, now_us);
    if (session->fencing) return;
    int64_t ends_us = session->heard_us + self->session_us;
    if (ends_us < self->grace_until_us) ends_us = self->grace_until_us;
    if (now_us < ends_us) {
        if (ends_us < self->scan_us) self->scan_us = ends_us;
        return;
    }
    weft_trace(WEFT_TRACE_WARN, self->name, "broker %d was not heard for %lld ms", session->broker,
               (long long) ((now_us - session->heard_us) / 1000));
    weft_coordinator_fence(self, session, NULL);
}

int64_t weft_coordinator_brokers_turn(weft_coordinator_t *self, int64_t now_us)
{
    size_t count = weft_map_count(self->sessions);
    if (self->watching && now_us - self->turned_us > self->session_us / 2) {
        self->grace_until_us = now_us + self->session_us;
        weft_counter_add(self->counters, WEFT_COUNT_LATE_TURNS, 1);
    }
    self->turned_us = now_us;
    self->watching = count > 0;
    if (!self->in_office || self->stopping) return WEFT_TIME_NEVER;
    int64_t next_us = weft_coordinator_leaders_turn(self, now_us);
    weft_coordinator_told_sweep(self, now_us);
    if (count == 0) return next_us;
    if (now_us >= self->scan_us) {
        self->scan_us = now_us + self->session_us; // or the earliest end of a session
        void *value;
        for (size_t cursor = 0; weft_map_next(self->sessions, &cursor, NULL, &value);) s_look_at(self, value, now_us);
    }
    if (self->scan_us < next_us) next_us = self->scan_us;
    int64_t awake_us = now_us + self->session_us / 4; // a gap longer than half a session is then a stall of our own
    return awake_us < next_us ? awake_us : next_us;
}

void weft_coordinator_brokers_push(weft_coordinator_t *self, int64_t now_us)
{
    if (!self->in_office) return;
    void *value;
    for (size_t cursor = 0; weft_map_next(self->sessions, &cursor, NULL, &value);) s_push(self, value, now_us);
    weft_coordinator_feed_forget(self->feed);
}
