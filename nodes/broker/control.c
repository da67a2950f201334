// SPDX-License-Identifier: MPL-2.0
// The control part: finds the active coordinator, registers this start under a new incarnation, heartbeats, and hands
// the commands that the coordinator pushes to every shard.
//
//     SEEKING --register--> REGISTERED --silence--> next endpoint, heartbeats go on
//        ^                      |
//        +------- FENCED -------+   (with another incarnation: the fence names the old one)
//
// Nothing here is on the path of a record: with all coordinators down the shards go on with what they hold (I10).
// Orders of an older epoch are refused; an update that does not follow the state held here is left out, and the next
// heartbeat, sent at once, tells the index from which it has to be repeated.
#include "broker.h"
#include "counters.h"
#include "update.h"

#include "../../lib/base/assert.h"
#include "../../lib/log/sync_part.h"
#include <weft_gen/limits.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_COORDINATORS_MAX 16
#define S_REGISTER_US \
    2000000 // silence after which it is repeated elsewhere; one under our old start's id waits a session
#define S_REJECTED_US 5000000 // BROKER_ID_IN_USE for so long is no passing matter
#define S_LEAVE_US 2000000    // longest that a stop waits for the coordinator
#define S_SESSION_US 1000000  // until the coordinator tells its own

struct s_coordinator {
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    weft_link_t link;
    bool up;
};

struct s_control {
    struct weft_part part;
    struct weft_broker *broker;
    char name[WEFT_NODE_NAME_BYTES_MAX];
    weft_port_t port;
    weft_rand_t rand;
    struct s_coordinator coordinators[S_COORDINATORS_MAX];
    size_t coordinator_count, active;
    weft_cluster_t *cluster;
    uint64_t applied_index, epoch;
    weft_id_t incarnation;
    bool restarted; // not registered before in this run: tells `clean` of the directory
    bool registered, stopping, left;
    uint64_t next_id, register_id; // register_id 0: none under way
    uint64_t first_id;             // replies below were for another coordinator
    int64_t send_us;               // when the next heartbeat or registration is due
    int64_t answered_us;           // last word of an active coordinator
    int64_t turned_us;             // likewise, or when this one was turned to: its time to answer runs from there
    int64_t refused_us;            // since when registration is refused, 0: it is not
    int64_t leave_us;              // a stop waits no longer
    int64_t heartbeat_us, session_us;
    weft_codec_t codec;
    weft_buf_t buf;
    struct weft_error error;
};

static struct s_control *s_self(struct weft_part *part)
{
    return (struct s_control *) part;
}

static void s_standing(struct s_control *self, enum weft_broker_standing standing)
{
    atomic_store_explicit(&self->broker->standing, self->stopping ? WEFT_BROKER_LEAVING : (int) standing,
                          memory_order_relaxed);
}

static void s_count(struct s_control *self, enum weft_control_counter counter)
{
    weft_counter_add(&self->broker->counters, counter, 1);
}

// ---- coordinators

// The coordinator at that endpoint, made known if there is room (a learnt one takes the last place then).
static size_t s_coordinator(struct s_control *self, weft_slice_t endpoint)
{
    for (size_t i = 0; i < self->coordinator_count; i++)
        if (weft_slice_is_text(endpoint, self->coordinators[i].endpoint)) return i;
    size_t at = self->coordinator_count < S_COORDINATORS_MAX ? self->coordinator_count : S_COORDINATORS_MAX - 1;
    struct s_coordinator *one = &self->coordinators[at];
    if (at < self->coordinator_count && one->link != 0) self->port.ops->link_close(self->port.world, one->link);
    memset(one, 0, sizeof *one);
    snprintf(one->endpoint, sizeof one->endpoint, "%.*s", (int) endpoint.size, (const char *) endpoint.data);
    if (self->port.ops->link_open(self->port.world, one->endpoint, &one->link) != WEFT_OK) {
        one->link = 0;
        weft_trace(WEFT_TRACE_WARN, self->name, "coordinator endpoint '%s' can't be used", one->endpoint);
    }
    self->coordinator_count = at + 1 > self->coordinator_count ? at + 1 : self->coordinator_count;
    return at;
}

static void s_turn_to(struct s_control *self, size_t at)
{
    int64_t now_us = weft_port_now_us(&self->port);
    if (at != self->active)
        weft_trace(WEFT_TRACE_INFO, self->name, "turning to the coordinator at %s", self->coordinators[at].endpoint);
    self->active = at;
    self->first_id = self->next_id;
    self->register_id = 0;
    self->turned_us = now_us;
    self->send_us = now_us;
}

// The next one that is connected, if any is.
static void s_turn_to_next(struct s_control *self)
{
    for (size_t i = 1; i <= self->coordinator_count; i++) {
        size_t at = (self->active + i) % self->coordinator_count;
        if (self->coordinators[at].up || i == self->coordinator_count) {
            int64_t now_us = weft_port_now_us(&self->port);
            s_turn_to(self, at);
            self->send_us = now_us + self->heartbeat_us; // no storm of questions round the circle
            return;
        }
    }
}

static void s_heard(struct s_control *self, int64_t now_us)
{
    self->answered_us = self->turned_us = now_us;
}

static bool s_send(struct s_control *self)
{
    const struct s_coordinator *one = &self->coordinators[self->active];
    if (one->link == 0) return false;
    return self->port.ops->send(self->port.world, one->link, weft_buf_slice(&self->buf), NULL) == WEFT_OK;
}

// ---- register and heartbeat

static void s_new_incarnation(struct s_control *self)
{
    self->incarnation = weft_rand_id(&self->rand);
    self->registered = false;
    self->register_id = 0;
    for (size_t i = 0; i < self->broker->shard_count; i++) {
        struct weft_broker_joined *joined = weft_alloc(sizeof *joined);
        joined->incarnation = self->incarnation;
        const struct weft_mail mail = {.kind = WEFT_MAIL_BROKER_JOINED, .body = joined, .body_free = free};
        self->port.ops->post(self->port.world, self->broker->shards[i].id, &mail);
    }
}

static bool s_send_register(struct s_control *self)
{
    const struct weft_broker *broker = self->broker;
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
    request.endpoints = endpoints;
    request.endpoints_count = broker->shard_count;
    request.replica_endpoints = replica_endpoints;
    request.replica_endpoints_count = broker->shard_count;
    request.rack = weft_slice_text(weft_options_text(broker->options, "rack"));
    request.clean = broker->was_clean || !self->restarted; // who was only fenced has lost nothing
    request.version = weft_slice_text(WEFT_VERSION);
    weft_buf_clear(&self->buf);
    weft_broker_register_request_encode(&request, &self->buf);
    self->register_id = request.id;
    return s_send(self);
}

static bool s_send_heartbeat(struct s_control *self, int64_t now_us)
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
    weft_buf_clear(&self->buf);
    weft_broker_heartbeat_request_encode(&request, &self->buf);
    bool sent = s_send(self);
    if (sent) s_count(self, WEFT_COUNT_HEARTBEATS);
    return sent;
}

// ---- replies

// What a coordinator refuses both requests with.
static void s_refused(struct s_control *self, const struct weft_reply_header *reply, int64_t now_us)
{
    weft_err_t code = reply->error;
    weft_trace(WEFT_TRACE_DEBUG, self->name, "the coordinator at %s answers %s",
               self->coordinators[self->active].endpoint, weft_err_name(code));
    self->register_id = 0;
    self->send_us = now_us + self->heartbeat_us;
    if (code == WEFT_ERR_NOT_COORDINATOR && reply->endpoint.size != 0 &&
        reply->endpoint.size < WEFT_ENDPOINT_BYTES_MAX) {
        s_turn_to(self, s_coordinator(self, reply->endpoint));
        self->send_us = now_us + 10000; // two that name each other are not asked in a tight circle
    } else if (code == WEFT_ERR_NOT_COORDINATOR || code == WEFT_ERR_COORDINATOR_UNAVAILABLE) {
        s_turn_to_next(self);
    } else if (self->registered && (code == WEFT_ERR_FENCED || code == WEFT_ERR_UNKNOWN_BROKER)) {
        weft_trace(WEFT_TRACE_WARN, self->name, "the coordinator fenced this broker (%s); registering again",
                   weft_err_name(code));
        s_new_incarnation(self);
        self->send_us = now_us;
    } else if (code == WEFT_ERR_WRONG_CLUSTER || code == WEFT_ERR_BROKER_ID_IN_USE) {
        if (self->refused_us == 0) self->refused_us = now_us;
        self->send_us = now_us + S_REGISTER_US / 4;
        if (code == WEFT_ERR_BROKER_ID_IN_USE && now_us - self->refused_us < S_REJECTED_US) return;
        weft_error_set(&self->error, code, "the coordinator at %s refuses this broker: %.*s",
                       self->coordinators[self->active].endpoint, (int) reply->message.size,
                       (const char *) reply->message.data);
        if (!atomic_load(&self->broker->notice.set)) weft_trace(WEFT_TRACE_ERROR, self->name, "%s", self->error.text);
        weft_broker_notice_set(&self->broker->notice, self->error.text);
        s_standing(self, WEFT_BROKER_REJECTED);
    }
}

// The state holds this start's registration: the shards serve from here on.
static void s_check_joined(struct s_control *self)
{
    const struct weft_cluster_broker *entry = weft_cluster_broker(self->cluster, self->broker->id);
    bool joined =
        self->registered && entry != NULL && entry->alive && weft_id_equal(entry->incarnation, self->incarnation);
    if (!joined) return;
    int before = atomic_load_explicit(&self->broker->standing, memory_order_relaxed);
    s_standing(self, WEFT_BROKER_JOINED);
    if (before == WEFT_BROKER_STARTING)
        weft_trace(WEFT_TRACE_INFO, self->name, "joined the cluster through %s",
                   self->coordinators[self->active].endpoint);
}

static bool s_take_epoch(struct s_control *self, uint64_t epoch)
{
    if (epoch < self->epoch) {
        s_count(self, WEFT_COUNT_UPDATES_REFUSED);
        weft_trace(WEFT_TRACE_WARN, self->name, "an order of coordinator epoch %llu is refused: %llu is in force",
                   (unsigned long long) epoch, (unsigned long long) self->epoch);
        return false;
    }
    self->epoch = epoch;
    weft_counter_set(&self->broker->counters, WEFT_COUNT_COORDINATOR_EPOCH, epoch);
    return true;
}

static bool s_same_cluster(struct s_control *self, weft_id_t cluster_id)
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
                   self->broker->data, self->coordinators[self->active].endpoint);
    weft_trace(WEFT_TRACE_ERROR, self->name, "%s", self->error.text);
    weft_broker_notice_set(&self->broker->notice, self->error.text);
    s_standing(self, WEFT_BROKER_REJECTED);
    return false;
}

static void s_on_registered(struct s_control *self, weft_slice_t header, int64_t now_us)
{
    struct weft_broker_register_reply reply;
    if (weft_broker_register_reply_decode(&self->codec, header, &reply, &self->error) != WEFT_OK) return;
    self->register_id = 0;
    s_heard(self, now_us);
    if (reply.header.error != WEFT_OK) {
        s_refused(self, &reply.header, now_us);
        return;
    }
    self->send_us = now_us + S_REGISTER_US;
    if (!s_take_epoch(self, reply.epoch) || !s_same_cluster(self, reply.cluster_id)) return;
    self->registered = true;
    self->restarted = false;
    self->refused_us = 0;
    if (reply.heartbeat_ms != 0) self->heartbeat_us = (int64_t) reply.heartbeat_ms * 1000;
    if (reply.session_ms != 0) self->session_us = (int64_t) reply.session_ms * 1000;
    self->send_us = now_us; // the heartbeat tells where to push the state to
    s_count(self, WEFT_COUNT_REGISTRATIONS);
    s_check_joined(self);
}

static void s_on_heartbeat(struct s_control *self, weft_slice_t header, int64_t now_us)
{
    struct weft_broker_heartbeat_reply reply;
    if (weft_broker_heartbeat_reply_decode(&self->codec, header, &reply, &self->error) != WEFT_OK) return;
    if (reply.header.error != WEFT_OK) {
        s_refused(self, &reply.header, now_us);
        return;
    }
    if (!s_take_epoch(self, reply.epoch)) return;
    s_heard(self, now_us);
    s_check_joined(self);
    if (self->stopping && reply.stop_now) self->left = true;
}

// ---- updates

static void s_apply(struct s_control *self, weft_update_t *update)
{
    weft_err_t code = weft_update_check(update, &self->error);
    if (code == WEFT_OK) code = weft_update_apply(update, self->cluster, NULL, NULL, &self->error);
    if (code != WEFT_OK) {
        s_count(self, WEFT_COUNT_UPDATES_REFUSED);
        weft_trace(WEFT_TRACE_ERROR, self->name, "%s", self->error.text);
        return;
    }
    self->applied_index = update->to_index;
    s_count(self, WEFT_COUNT_UPDATES);
    // A broker that leaves is fenced at its own wish: its shards finish what they promised under the leadership they
    // had (I6).
    for (size_t i = 0; i < self->broker->shard_count && !self->stopping; i++) {
        const struct weft_mail mail = {
            .kind = WEFT_MAIL_BROKER_UPDATE, .body = weft_update_ref(update), .body_free = weft_update_unref};
        self->port.ops->post(self->port.world, self->broker->shards[i].id, &mail);
    }
    s_check_joined(self);
}

static void s_on_update(struct s_control *self, const struct weft_message *message, int64_t now_us)
{
    struct weft_cluster_update_request request;
    if (weft_cluster_update_request_decode(&self->codec, weft_frame_slice(&message->header), &request, &self->error) !=
        WEFT_OK) {
        s_count(self, WEFT_COUNT_UPDATES_REFUSED);
        return;
    }
    // Not before this start is known to belong to the cluster that pushes.
    if (!self->registered || !s_take_epoch(self, request.epoch)) return;
    if (message->link == self->coordinators[self->active].link) s_heard(self, now_us);
    if (request.to_index <= self->applied_index) return; // told twice
    if (!request.snapshot && request.from_index > self->applied_index) {
        s_count(self, WEFT_COUNT_UPDATE_GAPS);
        self->send_us = now_us;
        return;
    }
    weft_update_t *update = weft_update_new(request.epoch, request.from_index, request.to_index, request.snapshot,
                                            weft_frame_slice(&message->data));
    s_apply(self, update);
    weft_update_unref(update);
}

static void s_message(struct weft_part *part, struct weft_message *message)
{
    struct s_control *self = s_self(part);
    if (message->link == 0) return; // it listens nowhere
    int64_t now_us = weft_port_now_us(&self->port);
    weft_slice_t header = weft_frame_slice(&message->header);
    struct weft_request_header request;
    if (weft_request_header_decode(header, &request, NULL) == WEFT_OK && request.api == WEFT_API_CLUSTER_UPDATE) {
        s_on_update(self, message, now_us);
        return;
    }
    struct weft_reply_header reply;
    if (message->link != self->coordinators[self->active].link ||
        weft_reply_header_decode(&self->codec, header, &reply, NULL) != WEFT_OK || reply.id < self->first_id ||
        reply.id >= self->next_id)
        return; // of a coordinator that was left meanwhile
    if (reply.id == self->register_id)
        s_on_registered(self, header, now_us);
    else if (self->registered)
        s_on_heartbeat(self, header, now_us);
}

// ---- turn

static void s_check_silence(struct s_control *self, int64_t now_us)
{
    if (self->registered && now_us - self->answered_us >= self->session_us) {
        int before = atomic_load_explicit(&self->broker->standing, memory_order_relaxed);
        s_standing(self, WEFT_BROKER_ALONE);
        if (before == WEFT_BROKER_JOINED) {
            s_count(self, WEFT_COUNT_HEARTBEATS_UNANSWERED);
            weft_trace(WEFT_TRACE_WARN, self->name, "the coordinator at %s does not answer; serving on without it",
                       self->coordinators[self->active].endpoint);
        }
    }
    if (now_us - self->turned_us >= (self->registered ? self->session_us : S_REGISTER_US)) s_turn_to_next(self);
}

static int64_t s_turn(struct weft_part *part, int64_t now_us)
{
    struct s_control *self = s_self(part);
    if (self->left) return WEFT_TIME_NEVER;
    s_check_silence(self, now_us);
    if (now_us < self->send_us) return self->send_us;
    self->send_us = now_us + self->heartbeat_us;
    bool sent = self->registered ? s_send_heartbeat(self, now_us) : self->register_id != 0 || s_send_register(self);
    if (!sent) {
        self->register_id = 0;
        if (!self->coordinators[self->active].up) s_turn_to_next(self);
    }
    return self->send_us;
}

static void s_link_up(struct weft_part *part, weft_link_t link)
{
    struct s_control *self = s_self(part);
    for (size_t i = 0; i < self->coordinator_count; i++)
        if (self->coordinators[i].link == link) self->coordinators[i].up = true;
    if (self->coordinators[self->active].link == link) {
        self->register_id = 0; // whatever was asked over the old connection
        self->send_us = weft_port_now_us(&self->port);
    }
}

static void s_link_down(struct weft_part *part, weft_link_t link)
{
    struct s_control *self = s_self(part);
    for (size_t i = 0; i < self->coordinator_count; i++)
        if (self->coordinators[i].link == link) self->coordinators[i].up = false;
}

// ---- life

static void s_start(struct weft_part *part, const struct weft_port *port)
{
    struct s_control *self = s_self(part);
    self->port = *port;
    weft_rand_init(&self->rand, port->ops->seed(port->world));
    const char *at = weft_options_text(self->broker->options, "coordinators");
    while (*at != '\0') {
        at += strspn(at, ", ");
        size_t size = strcspn(at, ", ");
        if (size != 0) (void) s_coordinator(self, weft_slice(at, size));
        at += size;
    }
    s_new_incarnation(self);
    self->answered_us = self->turned_us = self->send_us = weft_port_now_us(port);
}

static void s_mail(struct weft_part *part, struct weft_mail *mail)
{
    (void) part;
    if (mail->body_free != NULL) mail->body_free(mail->body);
}

// Asks the coordinator to move what this broker leads, for a moment; without one it just goes: the session's end tells.
static void s_stop(struct weft_part *part)
{
    struct s_control *self = s_self(part);
    if (self->stopping) return;
    self->stopping = true;
    s_standing(self, WEFT_BROKER_LEAVING);
    int64_t now_us = weft_port_now_us(&self->port);
    self->leave_us = now_us + S_LEAVE_US;
    self->send_us = now_us;
    if (!self->registered || !self->coordinators[self->active].up) self->left = true;
}

static bool s_stopped(struct weft_part *part)
{
    struct s_control *self = s_self(part);
    if (!self->coordinators[self->active].up || weft_port_now_us(&self->port) >= self->leave_us) self->left = true;
    return self->left;
}

static void s_destroy(struct weft_part **self_p)
{
    struct s_control *self = s_self(*self_p);
    if (self == NULL) return;
    *self_p = NULL;
    weft_cluster_destroy(&self->cluster);
    weft_codec_fini(&self->codec);
    weft_buf_fini(&self->buf);
    free(self);
}

static const struct weft_part_ops s_ops = {
    .start = s_start,
    .message = s_message,
    .mail = s_mail,
    .link_up = s_link_up,
    .link_down = s_link_down,
    .turn = s_turn,
    .stop = s_stop,
    .stopped = s_stopped,
    .destroy = s_destroy,
};

struct weft_part *weft_control_new(struct weft_broker *broker)
{
    struct s_control *self = weft_calloc(1, sizeof *self);
    self->part.ops = &s_ops;
    self->broker = broker;
    snprintf(self->name, sizeof self->name, "broker-%d/control", (int) broker->id);
    self->cluster = weft_cluster_new();
    self->restarted = true;
    self->next_id = self->first_id = 1;
    self->heartbeat_us = weft_options_int(broker->options, "heartbeat.ms") * 1000;
    self->session_us = S_SESSION_US;
    weft_codec_init(&self->codec);
    weft_buf_init(&self->buf);
    return &self->part;
}
