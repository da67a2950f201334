// SPDX-License-Identifier: MPL-2.0
// What the control part says to a coordinator and does with the answers: registration, heartbeats, the cluster state's
// updates, and what the shards ask for.
//
// Orders of an older epoch are refused, whoever gives them. So are those of a coordinator whose state is older than this
// broker's, for its data directory is an old copy, and its next commands would be another history. Refusals carry no
// epoch: only the coordinator that is taken to be in office, or while there is none the one that was asked, can fence
// this broker. An update that does not follow the state held here is left out, and the next heartbeat, sent at once,
// tells the index from which it has to be repeated.
#include "control_self.h"

#include "../../lib/log/sync_part.h"

#include <string.h>

#define S_REGISTER_US 2000000 // silence after which it is repeated; one under our old start's id waits a session
#define S_REJECTED_US 5000000 // BROKER_ID_IN_USE for so long is no passing matter
#define S_LOADING_US 50000    // one that is about to take office is asked again after
#define S_ASKS_US 1000000     // silence after which asks are sent again

// ---- register and heartbeat

static bool s_send(weft_control_t *self, size_t at)
{
    const struct weft_control_coordinator *one = &self->coordinators[at];
    if (one->link == 0 || !one->up) return false;
    return self->port.ops->send(self->port.world, one->link, weft_buf_slice(&self->buf), NULL) == WEFT_OK;
}

static bool s_send_register(weft_control_t *self, size_t at, int64_t now_us)
{
    const struct weft_broker *broker = self->broker;
    struct weft_control_coordinator *one = &self->coordinators[at];
    if (one->register_id != 0 && now_us - one->register_us < S_REGISTER_US) return true;
    weft_slice_t endpoints[WEFT_BROKER_SHARDS_MAX], replica_endpoints[WEFT_BROKER_SHARDS_MAX];
    for (size_t i = 0; i < broker->shard_count; i++) {
        endpoints[i] = weft_slice_text(broker->shards[i].endpoint);
        replica_endpoints[i] = weft_slice_text(broker->shards[i].replica_endpoint);
    }
    struct weft_broker_register_request request;
    weft_broker_register_request_init(&request);
    request.id = self->next_id++;
    request.broker_id = broker->id;
    request.incarnation = self->incarnation;
    request.cluster_id = weft_identity_cluster_id(broker->identity);
    request.directory_id = weft_identity_directory_id(broker->identity);
    request.data_lost = weft_options_bool(broker->options, "data.lost");
    request.rejoin = weft_options_bool(broker->options, "rejoin");
    request.endpoints = endpoints;
    request.endpoints_count = broker->shard_count;
    request.replica_endpoints = replica_endpoints;
    request.replica_endpoints_count = broker->shard_count;
    request.rack = weft_slice_text(weft_options_text(broker->options, "rack"));
    request.clean = broker->was_clean || !self->restarted; // who was only fenced has lost nothing
    request.version = weft_slice_text(WEFT_VERSION);
    weft_buf_clear(&self->buf);
    weft_broker_register_request_encode(&request, &self->buf);
    if (!s_send(self, at)) return false;
    one->register_id = request.id;
    one->register_us = now_us;
    return true;
}

static bool s_send_heartbeat(weft_control_t *self, size_t at, int64_t now_us)
{
    const struct weft_broker *broker = self->broker;
    uint32_t shard_turn_ms[WEFT_BROKER_SHARDS_MAX], disk_turn_ms[1];
    for (size_t i = 0; i < broker->shard_count; i++) {
        int64_t turn_us = atomic_load_explicit(&broker->shards[i].turn_us, memory_order_relaxed);
        shard_turn_ms[i] = turn_us == 0 || turn_us >= now_us ? 0 : (uint32_t) ((now_us - turn_us) / 1000);
    }
    int64_t busy_us = weft_sync_part_busy_us(broker->sync, now_us);
    disk_turn_ms[0] = busy_us <= 0 ? 0 : (uint32_t) (busy_us / 1000);
    struct weft_broker_heartbeat_request request;
    weft_broker_heartbeat_request_init(&request);
    request.id = self->next_id++;
    request.broker_id = broker->id;
    request.incarnation = self->incarnation;
    request.index = self->applied_index;
    request.shard_turn_ms = shard_turn_ms;
    request.shard_turn_ms_count = broker->shard_count;
    request.disk_turn_ms = disk_turn_ms;
    request.disk_turn_ms_count = 1;
    request.want_stop = self->stopping;
    request.disk_failed = atomic_load_explicit(&broker->disk_failed, memory_order_relaxed);
    weft_buf_clear(&self->buf);
    weft_broker_heartbeat_request_encode(&request, &self->buf);
    if (!s_send(self, at)) return false;
    weft_control_count(self, WEFT_COUNT_HEARTBEATS);
    return true;
}

bool weft_control_ask(weft_control_t *self, size_t at, int64_t now_us)
{
    return self->registered ? s_send_heartbeat(self, at, now_us) : s_send_register(self, at, now_us);
}

// ---- refusals

static void s_reject(weft_control_t *self, const char *text)
{
    if (!weft_broker_notice_is_set(&self->broker->notice)) weft_trace(WEFT_TRACE_ERROR, self->name, "%s", text);
    weft_broker_notice_set(&self->broker->notice, text);
    weft_control_standing(self, WEFT_BROKER_REJECTED);
}

static void s_refused_for_good(weft_control_t *self, size_t at, const struct weft_reply_header *reply, int64_t now_us)
{
    if (self->refused_us == 0) self->refused_us = now_us;
    self->send_us = now_us + S_REGISTER_US / 4;
    if (reply->error == WEFT_ERR_BROKER_ID_IN_USE && now_us - self->refused_us < S_REJECTED_US) return;
    weft_error_set(&self->error, reply->error, "the coordinator at %s refuses this broker: %.*s",
                   self->coordinators[at].endpoint, (int) reply->message.size, (const char *) reply->message.data);
    s_reject(self, self->error.text);
}

// What a coordinator refuses any request with.
static void s_refused(weft_control_t *self, size_t at, const struct weft_reply_header *reply, int64_t now_us)
{
    weft_err_t code = reply->error;
    weft_trace(WEFT_TRACE_DEBUG, self->name, "the coordinator at %s answers %s", self->coordinators[at].endpoint,
               weft_err_name(code));
    bool asked = at == self->active || self->seeking;
    if (code == WEFT_ERR_NOT_COORDINATOR) {
        if (at == self->active) weft_control_seek(self, now_us);
        weft_control_name(self, reply->endpoint, now_us);
    } else if (code == WEFT_ERR_COORDINATOR_LOADING) { // elected, and about to take office
        if (at == self->active)
            self->send_us = now_us + S_LOADING_US;
        else if (self->seeking)
            weft_control_name(self, weft_slice_text(self->coordinators[at].endpoint), now_us);
    } else if (code == WEFT_ERR_COORDINATOR_UNAVAILABLE || code == WEFT_ERR_STOPPING) {
        if (at == self->active) weft_control_seek(self, now_us);
    } else if (self->registered && asked && (code == WEFT_ERR_FENCED || code == WEFT_ERR_UNKNOWN_BROKER)) {
        weft_trace(WEFT_TRACE_WARN, self->name, "the coordinator fenced this broker (%s); registering again",
                   weft_err_name(code));
        weft_control_found(self, at, now_us);
        weft_control_new_incarnation(self);
        self->send_us = now_us;
    } else if (asked && (code == WEFT_ERR_WRONG_CLUSTER || code == WEFT_ERR_BROKER_ID_IN_USE ||
                         code == WEFT_ERR_DATA_MISSING || code == WEFT_ERR_BROKER_REMOVED)) {
        s_refused_for_good(self, at, reply, now_us);
    }
}

// ---- who may order what

static bool s_take_epoch(weft_control_t *self, uint64_t epoch)
{
    if (epoch < self->epoch) {
        weft_control_count(self, WEFT_COUNT_UPDATES_REFUSED);
        if (self->refused_epoch != epoch)
            weft_trace(WEFT_TRACE_WARN, self->name, "orders of coordinator epoch %llu are refused: %llu is in force",
                       (unsigned long long) epoch, (unsigned long long) self->epoch);
        self->refused_epoch = epoch;
        return false;
    }
    if (epoch > self->epoch) self->epoch = epoch;
    weft_counter_set(&self->broker->counters, WEFT_COUNT_COORDINATOR_EPOCH, self->epoch);
    return true;
}

/*
 * A coordinator in office holds all that was ever pushed to anybody. One that holds less has lost some of it. As long as
 * it is in that office its commands are another history, also once it has as many.
 */
static bool s_is_behind(weft_control_t *self, size_t at, uint64_t epoch, uint64_t index)
{
    struct weft_control_coordinator *one = &self->coordinators[at];
    if (index >= self->applied_index) return one->behind_epoch != 0 && one->behind_epoch == epoch;
    weft_control_count(self, WEFT_COUNT_UPDATES_REFUSED);
    if (one->behind_epoch != epoch) {
        weft_error_set(&self->error, WEFT_ERR_WRONG_CLUSTER,
                       "the coordinator at %s holds cluster state %llu, this broker %llu: its data directory is an old "
                       "copy; nothing of it is obeyed. Stop it, and start it with its newest data or as a new voter",
                       one->endpoint, (unsigned long long) index, (unsigned long long) self->applied_index);
        weft_trace(WEFT_TRACE_ERROR, self->name, "%s", self->error.text);
        weft_broker_notice_set(&self->broker->notice, self->error.text);
    }
    one->behind_epoch = epoch;
    return true;
}

static bool s_same_cluster(weft_control_t *self, size_t at, weft_id_t cluster_id)
{
    weft_id_t ours = weft_identity_cluster_id(self->broker->identity);
    if (weft_id_equal(ours, cluster_id)) return true;
    if (weft_id_is_zero(ours)) {
        if (weft_identity_join(self->broker->identity, cluster_id, &self->error) == WEFT_OK) return true;
        weft_trace(WEFT_TRACE_ERROR, self->name, "the cluster's id can't be kept: %s", self->error.text);
        return false;
    }
    weft_error_set(&self->error, WEFT_ERR_WRONG_CLUSTER,
                   "the data in %s belongs to another cluster than the coordinator at %s: give the right "
                   "`coordinators` or an empty `data` directory",
                   self->broker->data, self->coordinators[at].endpoint);
    s_reject(self, self->error.text);
    return false;
}

// ---- replies

// The state holds this start's registration: the shards serve from here on.
static void s_check_joined(weft_control_t *self)
{
    const struct weft_cluster_broker *entry = weft_cluster_broker(self->cluster, self->broker->id);
    bool joined =
        self->registered && entry != NULL && entry->alive && weft_id_equal(entry->incarnation, self->incarnation);
    if (!joined) return;
    int before = atomic_load_explicit(&self->broker->standing, memory_order_relaxed);
    weft_control_standing(self, WEFT_BROKER_JOINED);
    if (before == WEFT_BROKER_STARTING)
        weft_trace(WEFT_TRACE_INFO, self->name, "joined the cluster through %s",
                   self->coordinators[self->active].endpoint);
}

static void s_on_registered(weft_control_t *self, size_t at, weft_slice_t header, int64_t now_us)
{
    struct weft_broker_register_reply reply;
    self->coordinators[at].register_id = 0;
    if (weft_broker_register_reply_decode(&self->codec, header, &reply, &self->error) != WEFT_OK) return;
    if (reply.header.error != WEFT_OK) {
        s_refused(self, at, &reply.header, now_us);
        return;
    }
    if (!s_take_epoch(self, reply.epoch)) return;
    if (!s_same_cluster(self, at, reply.cluster_id)) {
        self->send_us = now_us + S_REGISTER_US;
        return;
    }
    weft_control_found(self, at, now_us);
    self->registered = true;
    self->restarted = false;
    weft_sync_part_vouch(self->broker->sync, true);
    self->refused_us = 0;
    if (reply.heartbeat_ms != 0) self->heartbeat_us = (int64_t) reply.heartbeat_ms * 1000;
    if (reply.session_ms != 0) self->session_us = (int64_t) reply.session_ms * 1000;
    self->send_us = now_us; // the heartbeat tells where to push the state to
    weft_control_count(self, WEFT_COUNT_REGISTRATIONS);
    s_check_joined(self);
}

static void s_on_heartbeat(weft_control_t *self, size_t at, weft_slice_t header, int64_t now_us)
{
    struct weft_broker_heartbeat_reply reply;
    if (weft_broker_heartbeat_reply_decode(&self->codec, header, &reply, &self->error) != WEFT_OK) return;
    if (reply.header.error != WEFT_OK) {
        s_refused(self, at, &reply.header, now_us);
        return;
    }
    uint64_t before = self->epoch;
    if (!s_take_epoch(self, reply.epoch) || s_is_behind(self, at, reply.epoch, reply.index)) {
        if (at == self->active) weft_control_seek(self, now_us);
        return;
    }
    // Late words of one that was left meanwhile change nothing.
    if (at != self->active && !self->seeking && reply.epoch == before) return;
    weft_control_found(self, at, now_us);
    weft_broker_notice_clear(&self->broker->notice);
    s_check_joined(self);
    if (self->stopping && reply.stop_now) weft_control_part(self, now_us);
}

// ---- updates

static void s_apply(weft_control_t *self, weft_update_t *update)
{
    weft_err_t code = weft_update_check(update, &self->error);
    if (code == WEFT_OK) code = weft_update_apply(update, self->cluster, NULL, NULL, &self->error);
    if (code != WEFT_OK) {
        weft_control_count(self, WEFT_COUNT_UPDATES_REFUSED);
        weft_trace(WEFT_TRACE_ERROR, self->name, "%s", self->error.text);
        return;
    }
    self->applied_index = update->to_index;
    weft_control_count(self, WEFT_COUNT_UPDATES);
    for (size_t i = 0; i < self->broker->shard_count; i++) {
        const struct weft_mail mail = {
            .kind = WEFT_MAIL_BROKER_UPDATE, .body = weft_update_ref(update), .body_free = weft_update_unref};
        self->port.ops->post(self->port.world, self->broker->shards[i].id, &mail);
    }
    weft_control_follow_voters(self);
    s_check_joined(self);
}

static void s_on_update(weft_control_t *self, size_t at, const struct weft_message *message, int64_t now_us)
{
    struct weft_cluster_update_request request;
    if (weft_cluster_update_request_decode(&self->codec, weft_frame_slice(&message->header), &request, &self->error) !=
        WEFT_OK) {
        weft_control_count(self, WEFT_COUNT_UPDATES_REFUSED);
        return;
    }
    // Not before this start is known to belong to the cluster that pushes.
    if (!self->registered || !s_take_epoch(self, request.epoch)) return;
    uint64_t behind_epoch = self->coordinators[at].behind_epoch;
    if (behind_epoch != 0 && behind_epoch == request.epoch) return;
    if (at == self->active) self->answered_us = now_us;
    if (request.to_index <= self->applied_index) return; // told twice
    if (!request.snapshot && request.from_index > self->applied_index) {
        weft_control_count(self, WEFT_COUNT_UPDATE_GAPS);
        self->send_us = now_us;
        return;
    }
    weft_update_t *update = weft_update_new(request.epoch, request.from_index, request.to_index, request.snapshot,
                                            weft_frame_slice(&message->data));
    s_apply(self, update);
    weft_update_unref(update);
}

// ---- asks of the shards

static bool s_asks_answered(weft_control_t *self, struct weft_control_asks *asks, size_t at,
                            const struct weft_reply_header *reply, int64_t now_us)
{
    if (!weft_asks_flying(asks->asks) || asks->id != reply->id || asks->link != self->coordinators[at].link)
        return false;
    // Granted or not: the state tells. Only what nobody has looked at goes again.
    enum weft_err_class class = weft_err_class(reply->error);
    if (reply->error == WEFT_ERR_NOT_COORDINATOR || class == WEFT_CLASS_RETRY)
        weft_asks_back(asks->asks);
    else
        weft_asks_done(asks->asks);
    if (reply->error != WEFT_OK) s_refused(self, at, reply, now_us);
    if (class == WEFT_CLASS_RETRY) asks->since_us = now_us + S_LOADING_US;
    return true;
}

void weft_control_asks_lost(weft_control_t *self, weft_link_t link)
{
    struct weft_control_asks *all[2] = {&self->in_sync, &self->reports};
    for (size_t i = 0; i < 2; i++)
        if (link == 0 || all[i]->link == link) weft_asks_back(all[i]->asks);
}

static int64_t s_asks_turn(weft_control_t *self, struct weft_control_asks *asks, int64_t now_us)
{
    if (weft_asks_flying(asks->asks)) {
        if (now_us - asks->since_us < S_ASKS_US) return asks->since_us + S_ASKS_US;
        weft_asks_back(asks->asks);
    }
    if (weft_asks_waiting(asks->asks) == 0 || !self->registered || self->seeking) return WEFT_TIME_NEVER;
    if (now_us < asks->since_us) return asks->since_us;
    asks->id = self->next_id++;
    asks->link = self->coordinators[self->active].link;
    asks->since_us = now_us;
    weft_buf_clear(&self->buf);
    weft_asks_encode(asks->asks, asks->id, self->broker->id, self->incarnation, &self->buf);
    if (s_send(self, self->active)) return now_us + S_ASKS_US;
    weft_asks_back(asks->asks);
    asks->since_us = now_us + S_LOADING_US;
    return asks->since_us;
}

int64_t weft_control_asks_turn(weft_control_t *self, int64_t now_us)
{
    int64_t in_sync_us = s_asks_turn(self, &self->in_sync, now_us);
    int64_t reports_us = s_asks_turn(self, &self->reports, now_us);
    return in_sync_us < reports_us ? in_sync_us : reports_us;
}

// ---- messages

void weft_control_told(weft_control_t *self, struct weft_message *message, int64_t now_us)
{
    size_t at = weft_control_coordinator_of(self, message->link);
    if (at == SIZE_MAX) return; // it listens nowhere
    weft_slice_t header = weft_frame_slice(&message->header);
    struct weft_request_header request;
    if (weft_request_header_decode(header, &request, NULL) == WEFT_OK && request.api == WEFT_API_CLUSTER_UPDATE) {
        s_on_update(self, at, message, now_us);
        return;
    }
    struct weft_reply_header reply;
    if (weft_reply_header_decode(&self->codec, header, &reply, NULL) != WEFT_OK || reply.id < self->first_id ||
        reply.id >= self->next_id)
        return; // to another incarnation
    if (reply.id == self->coordinators[at].register_id)
        s_on_registered(self, at, header, now_us);
    else if (!weft_control_groups_answered(self, reply.id, header) &&
             !s_asks_answered(self, &self->in_sync, at, &reply, now_us) &&
             !s_asks_answered(self, &self->reports, at, &reply, now_us) && self->registered)
        s_on_heartbeat(self, at, header, now_us);
}
