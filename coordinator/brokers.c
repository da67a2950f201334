// SPDX-License-Identifier: MPL-2.0
// Brokers: registration, and a session for each that is alive.
//
// A registration under the id of a broker that is alive waits: if the one before heartbeats on, two processes share
// the id and the newcomer is refused; if it is silent for three heartbeats, this is its next start, and a killed
// broker is back long before its session would have ended. When this coordinator has just started too and the
// newcomer holds the very endpoints, it waits for nothing: that is an embedded cluster, or a machine, that starts
// again.
#include "coordinator.h"

#include "../lib/base/assert.h"
#include "../lib/base/mutate.h"
#include "../lib/base/trace.h"

#include <stdlib.h>
#include <string.h>

enum { S_PARKED_HEARTBEATS = 3 };

// ---- sessions

struct weft_broker_session *weft_coordinator_session(const weft_coordinator_t *self, int32_t broker)
{
    return broker < 0 ? NULL : weft_map_get_u64(self->sessions, (uint64_t) broker);
}

weft_err_t weft_coordinator_find_broker(const weft_coordinator_t *self, int32_t id,
                                        const struct weft_cluster_broker **out, struct weft_error *error)
{
    *out = weft_cluster_broker(self->cluster, id);
    return *out ? WEFT_OK : weft_error_set(error, WEFT_ERR_UNKNOWN_BROKER, "no broker %d is registered", id);
}

weft_err_t weft_coordinator_broker_check(const weft_coordinator_t *self, int32_t id, weft_id_t incarnation,
                                         struct weft_error *error)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, id);
    if (broker && broker->alive && weft_id_equal(broker->incarnation, incarnation)) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_FENCED,
                          "broker %d is not registered with this incarnation, or was timed out; register again", id);
}

static void s_unpark(struct weft_broker_session *session)
{
    if (!session->parked) return;
    weft_buf_fini(&session->parked->command);
    free(session->parked);
    session->parked = NULL;
}

static void s_session_free(struct weft_broker_session *session)
{
    s_unpark(session);
    free(session);
}

void weft_coordinator_sessions_drop(weft_coordinator_t *self)
{
    void *value;
    for (size_t cursor = 0; weft_map_next(self->sessions, &cursor, NULL, &value);) {
        struct weft_broker_session *session = value;
        weft_map_remove_u64(self->sessions, (uint64_t) session->broker);
        s_session_free(session);
    }
    for (size_t cursor = 0; weft_map_next(self->gone, &cursor, NULL, &value);) {
        struct weft_gone *gone = value;
        weft_map_remove_u64(self->gone, (uint64_t) gone->broker);
        free(gone);
    }
    weft_coordinator_told_clear(self);
}

// Its session ends: when it was last heard is kept for whoever asks, as long as it is registered and we are in office.
static void s_keep_heard(weft_coordinator_t *self, int32_t id, const struct weft_broker_session *session)
{
    struct weft_gone *gone = weft_map_get_u64(self->gone, (uint64_t) id);
    if (!weft_cluster_broker(self->cluster, id)) {
        weft_map_remove_u64(self->gone, (uint64_t) id);
        free(gone);
    } else if (session && session->has_peer) {
        if (!gone) gone = weft_calloc(1, sizeof *gone);
        *gone = (struct weft_gone){.broker = id, .heard_us = session->heard_us};
        weft_map_put_u64(self->gone, (uint64_t) id, gone);
    }
}

// Called when the state says something new of a broker, and for all of them when office is taken.
void weft_coordinator_sessions_follow(weft_coordinator_t *self, int32_t id)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, id);
    struct weft_broker_session *session = weft_coordinator_session(self, id);
    self->changed_us = weft_port_now_us(&self->port);
    if (!broker || !broker->alive) {
        s_keep_heard(self, id, session);
        if (!session) return;
        weft_trace(WEFT_TRACE_INFO, self->name, session->stopping ? "broker %d has left" : "broker %d is fenced", id);
        weft_counter_add(self->counters, WEFT_COUNT_FENCINGS, 1);
        struct weft_parked *parked = session->parked;
        session->parked = NULL;
        weft_map_remove_u64(self->sessions, (uint64_t) id);
        s_session_free(session);
        if (!parked) return;
        struct weft_proposal proposal = {.command = WEFT_COMMAND_BROKER_REGISTERED,
                                         .asked = true,
                                         .asker = parked->asker,
                                         .broker = id,
                                         .incarnation = parked->incarnation};
        weft_coordinator_propose(self, &proposal, weft_buf_slice(&parked->command));
        weft_buf_fini(&parked->command);
        free(parked);
        return;
    }
    if (!session) {
        session = weft_calloc(1, sizeof *session);
        session->broker = id;
        weft_map_put_u64(self->sessions, (uint64_t) id, session);
    }
    if (weft_id_equal(session->incarnation, broker->incarnation)) return;
    session->incarnation = broker->incarnation;
    session->heard_us = weft_port_now_us(&self->port);
    session->has_peer = session->fencing = session->stopping = session->proving = false;
    session->sent = 0;
    session->turn_ms = 0;
    session->well_us = 0;
}

static void s_no_grace(weft_coordinator_t *self, int64_t now_us)
{
    void *value;
    for (size_t cursor = 0; weft_map_next(self->sessions, &cursor, NULL, &value);)
        ((struct weft_broker_session *) value)->heard_us = now_us - self->session_us;
    self->grace_until_us = now_us;
}

void weft_coordinator_took_office(weft_coordinator_t *self)
{
    self->in_office = true;
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self->cluster, &cursor));) {
        if (!broker->alive) continue;
        weft_coordinator_sessions_follow(self, broker->id);
        weft_coordinator_session(self, broker->id)->sent =
            weft_cluster_index(self->cluster); // unknown until it is heard
    }
    int64_t now_us = weft_port_now_us(&self->port);
    self->since_us = now_us;
    self->grace_until_us = now_us + self->session_us;
    self->changed_us = now_us;
    if (weft_mutated("no_grace_after_office")) s_no_grace(self, now_us);
    weft_coordinator_health_set(self, WEFT_HEALTH_SERVING, NULL);
    weft_trace(WEFT_TRACE_INFO, self->name, "in office: epoch %llu, %zu topics, endpoint %s",
               (unsigned long long) weft_cluster_epoch(self->cluster), weft_cluster_topic_count(self->cluster),
               self->endpoint);
}

// ---- registration

static void s_welcome(weft_coordinator_t *self, const struct weft_asker *asker)
{
    struct weft_broker_register_reply reply;
    weft_broker_register_reply_init(&reply);
    reply.header.id = asker->id;
    reply.cluster_id = weft_cluster_id(self->cluster);
    reply.epoch = weft_cluster_epoch(self->cluster);
    reply.heartbeat_ms = (uint32_t) (self->heartbeat_us / 1000);
    reply.session_ms = (uint32_t) (self->session_us / 1000);
    weft_buf_t header;
    weft_buf_init(&header);
    weft_broker_register_reply_encode(&reply, &header);
    weft_coordinator_answer(self, asker, &header);
    weft_buf_fini(&header);
}

void weft_coordinator_hear(weft_coordinator_t *self, struct weft_broker_session *session,
                           const struct weft_asker *asker)
{
    session->has_peer = true;
    session->peer = asker->peer;
    session->heard_us = weft_port_now_us(&self->port);
}

// Waits in place of an earlier newcomer, which is refused: of two that both insist one goes, and a broker that
// restarts twice in a row comes in.
static void s_park(weft_coordinator_t *self, struct weft_broker_session *session, const struct weft_asker *asker,
                   weft_id_t incarnation, weft_slice_t command)
{
    if (session->parked && !weft_id_equal(session->parked->incarnation, incarnation)) {
        weft_coordinator_refuse(self, &session->parked->asker, WEFT_ERR_BROKER_ID_IN_USE,
                                "another broker asks for the same id; give each its own");
        s_unpark(session);
    }
    if (!session->parked) {
        session->parked = weft_calloc(1, sizeof *session->parked);
        session->parked->since_us = weft_port_now_us(&self->port);
        weft_buf_init(&session->parked->command);
    }
    struct weft_parked *parked = session->parked;
    parked->asker = *asker;
    parked->incarnation = incarnation;
    weft_buf_clear(&parked->command);
    weft_buf_append(&parked->command, command.data, command.size);
    self->scan_us = 0;
}

static void s_encode_registered(const struct weft_broker_register_request *request, weft_buf_t *out)
{
    struct weft_broker_registered_command command;
    weft_broker_registered_command_init(&command);
    command.broker_id = request->broker_id;
    command.incarnation = request->incarnation;
    command.endpoints = request->endpoints;
    command.endpoints_count = request->endpoints_count;
    command.rack = request->rack;
    command.clean = request->clean;
    command.version = request->version;
    command.replica_endpoints = request->replica_endpoints;
    command.replica_endpoints_count = request->replica_endpoints_count;
    command.directory_id = request->directory_id;
    command.data_lost = request->data_lost;
    command.rejoin = request->rejoin;
    weft_broker_registered_command_encode(&command, out);
}

static bool s_clean(weft_slice_t name)
{
    char *text = weft_slice_dup(name);
    bool clean = strlen(text) == name.size && weft_text_is_clean(text);
    free(text);
    return clean;
}

static weft_err_t s_register_check(const weft_coordinator_t *self, const struct weft_broker_register_request *request,
                                   struct weft_error *error)
{
    weft_id_t cluster = weft_cluster_id(self->cluster);
    if (!weft_id_is_zero(request->cluster_id) && !weft_id_equal(request->cluster_id, cluster)) {
        char theirs[WEFT_ID_TEXT_BYTES], ours[WEFT_ID_TEXT_BYTES];
        weft_id_text(request->cluster_id, theirs);
        weft_id_text(cluster, ours);
        return weft_error_set(error, WEFT_ERR_WRONG_CLUSTER,
                              "the data directory of broker %d belongs to cluster %s, this is cluster %s; start it "
                              "with the coordinators of its own cluster, or with "
                              "an empty data directory",
                              request->broker_id, theirs, ours);
    }
    if (request->broker_id < 0 || weft_id_is_zero(request->incarnation) || request->endpoints_count == 0)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "a broker registers with an id from 0 on, an incarnation and at least one endpoint");
    if (request->replica_endpoints_count && request->replica_endpoints_count != request->endpoints_count)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "a broker registers with as many replica endpoints as endpoints, or with none");
    if (!s_clean(request->rack) || !s_clean(request->version)) // stored, and shown by every node
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "rack and version of a broker are UTF-8 text without control characters");
    return WEFT_OK;
}

// Nothing was heard from the one before in this run, and what it listened at is the newcomer's now.
static bool s_took_over(const struct weft_broker_session *session, const struct weft_cluster_broker *broker,
                        const struct weft_broker_register_request *request)
{
    if (session->has_peer || broker->shard_count != request->endpoints_count) return false;
    for (size_t i = 0; i < broker->shard_count; i++)
        if (!weft_slice_is_text(request->endpoints[i], broker->endpoints[i])) return false;
    return true;
}

void weft_coordinator_broker_register(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_broker_register_request request;
    struct weft_error error;
    weft_err_t err = weft_broker_register_request_decode(&self->codec, header, &request, &error);
    if (!err) err = s_register_check(self, &request, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, request.broker_id);
    struct weft_broker_session *session = weft_coordinator_session(self, request.broker_id);
    bool same = broker && weft_id_equal(broker->incarnation, request.incarnation);
    if (broker && !weft_id_is_zero(broker->directory) && !weft_id_equal(broker->directory, request.directory_id))
        weft_trace(WEFT_TRACE_WARN, self->name,
                   "broker %d comes with another data directory than before: it has nothing of what it held",
                   broker->id);
    weft_buf_t command;
    weft_buf_init(&command);
    s_encode_registered(&request, &command);
    if (broker && broker->alive && !same && session && !s_took_over(session, broker, &request)) {
        s_park(self, session, asker, request.incarnation, weft_buf_slice(&command));
    } else {
        struct weft_proposal proposal = {.command = WEFT_COMMAND_BROKER_REGISTERED,
                                         .asked = true,
                                         .asker = *asker,
                                         .broker = request.broker_id,
                                         .incarnation = request.incarnation};
        weft_coordinator_propose(self, &proposal, weft_buf_slice(&command));
    }
    weft_buf_fini(&command);
}

// A newcomer under an id that was alive: in use if that one goes on, else let in.
void weft_coordinator_parked_turn(weft_coordinator_t *self, struct weft_broker_session *session, int64_t now_us)
{
    struct weft_parked *parked = session->parked;
    if (!parked) return;
    if (session->heard_us >= parked->since_us + self->heartbeat_us / 2) { // not just mail that was under way
        struct weft_error error;
        (void) weft_error_set(&error, WEFT_ERR_BROKER_ID_IN_USE,
                              "a live broker is registered as %d; give this one an id of its own, or stop the other",
                              session->broker);
        weft_coordinator_refuse(self, &parked->asker, error.code, error.text);
        s_unpark(session);
        return;
    }
    int64_t silent_since_us = session->heard_us > parked->since_us ? session->heard_us : parked->since_us;
    int64_t wait_us = S_PARKED_HEARTBEATS * self->heartbeat_us;
    if (wait_us > self->session_us) wait_us = self->session_us;
    if (now_us - silent_since_us < wait_us) {
        if (silent_since_us + wait_us < self->scan_us) self->scan_us = silent_since_us + wait_us;
        return;
    }
    struct weft_proposal proposal = {.command = WEFT_COMMAND_BROKER_REGISTERED,
                                     .asked = true,
                                     .asker = parked->asker,
                                     .broker = session->broker,
                                     .incarnation = parked->incarnation};
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&parked->command));
    s_unpark(session);
}

// ---- what came back from the quorum

void weft_coordinator_broker_done(weft_coordinator_t *self, const struct weft_proposal *proposal)
{
    if (!proposal->asked) return;
    if (proposal->command == WEFT_COMMAND_BROKER_FENCED) {
        weft_coordinator_heartbeat_answer(self, &proposal->asker, true);
        return;
    }
    weft_counter_add(self->counters, WEFT_COUNT_REGISTRATIONS, 1);
    struct weft_broker_session *session = weft_coordinator_session(self, proposal->broker);
    if (session && weft_id_equal(session->incarnation, proposal->incarnation))
        weft_coordinator_hear(self, session, &proposal->asker);
    weft_trace(WEFT_TRACE_INFO, self->name, "broker %d is registered", proposal->broker);
    s_welcome(self, &proposal->asker);
}

void weft_coordinator_broker_lost(weft_coordinator_t *self, const struct weft_proposal *proposal)
{
    if (proposal->command != WEFT_COMMAND_BROKER_FENCED) return;
    struct weft_broker_session *session = weft_coordinator_session(self, proposal->broker);
    if (!session) return;
    session->fencing = false; // tried again
    self->scan_us = 0;
}
