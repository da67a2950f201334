// SPDX-License-Identifier: MPL-2.0
// What is to be said is never queued: a heartbeat is built from what the desk and this part know when it leaves, and what
// it carried counts as told once it was answered. So one that is lost, or ended by a newer one, needs no repair: the next
// one carries the same (rule 21). A join alone is always waited for, since each one answered is a new membership.
#include "member_part.h"

#include "../base/assert.h"
#include "requests.h"

#include <weft_gen/config.h>

#include <stdio.h>
#include <stdlib.h>

#define PROBE_US 250000 // how long a coordinator may take to answer beyond the time it may park, at least
#define TRIES_MAX 6

enum s_state {
    S_OUT,     // nobody subscribed
    S_IN,      // joining (epoch 0) or a member
    S_IDLE,    // left, since the program does not poll
    S_REFUSED, // for good, until there is another subscription
    S_GONE     // left
};

enum s_counter { S_HEARTBEATS, S_JOINS, S_LOST, S_UNANSWERED, S_REFUSALS, S_COUNTERS };

static const struct weft_counter_info s_infos[S_COUNTERS] = {
    [S_HEARTBEATS] = {"heartbeats_count", "Heartbeats sent."},
    [S_JOINS] = {"joins_count", "Times it joined the group."},
    [S_LOST] = {"lost_count", "Times that all it owned was lost."},
    [S_UNANSWERED] = {"heartbeats_unanswered_count", "Heartbeats that got no answer."},
    [S_REFUSALS] = {"heartbeats_refused_count", "Heartbeats answered with an error."},
};

struct weft_member_part {
    struct weft_part base;
    weft_port_t port;
    weft_desk_t *desk;
    weft_view_t view;
    weft_requests_t requests;
    weft_counters_t counters;
    // options
    char group[256], instance[256], rack[65], assignor[33], client[129], host[129];
    uint32_t session_ms, release_ms;
    int64_t max_poll_us;
    bool exclusive;
    // membership
    enum s_state state;
    weft_id_t id;
    uint64_t epoch;                         // 0: to join
    uint64_t seen;                          // revision of the newest assignment received
    int64_t assigned_us;                    // when
    uint64_t subscription;                  // the newest that the coordinator has answered
    uint64_t revision;                      // carried out, likewise
    bool full;                              // it may not know all that a join tells
    struct weft_view_link *avoid;           // did not answer
    const struct weft_view_link *told_link; // of the coordinator that answered last
    int64_t heartbeat_us, lease_us;         // interval and session, as told
    int64_t heard_us;                       // sending of the last heartbeat that was answered
    struct weft_desk_orders orders;
    char why[256];     // S_IDLE: for the coordinator
    bool leaving_told; // S_IDLE: it knows, or need not
    // the heartbeat under way
    struct weft_call call;
    uint64_t sent_subscription, sent_revision;
    bool sent_leave, sent_join;
    int64_t wait_us;
    uint32_t tries;
    int64_t retry_us;
};

static const struct weft_part_ops s_ops;

static weft_member_part_t *s_of(struct weft_part *part)
{
    return (weft_member_part_t *) part;
}

// ---- life-cycle

weft_err_t weft_member_group_check(const char *group, struct weft_error *error)
{
    bool legal = *group && strlen(group) <= 255;
    for (const char *at = group; *at; at++)
        if ((unsigned char) *at < 32 || *at == 127) legal = false;
    if (legal) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_INVALID_GROUP, "'%.200s': %s", group,
                          weft_err_sentence(WEFT_ERR_INVALID_GROUP));
}

static void s_read_options(weft_member_part_t *self, const weft_options_t *options)
{
    snprintf(self->group, sizeof self->group, "%s", weft_options_text(options, "group"));
    snprintf(self->instance, sizeof self->instance, "%s", weft_options_text(options, "instance"));
    snprintf(self->rack, sizeof self->rack, "%s", weft_options_text(options, "rack"));
    snprintf(self->assignor, sizeof self->assignor, "%s", weft_options_text(options, "assignor"));
    snprintf(self->client, sizeof self->client, "%s", weft_options_text(options, "client"));
    self->session_ms = (uint32_t) weft_options_int(options, "session.ms");
    self->release_ms = (uint32_t) weft_options_int(options, "release.ms");
    self->max_poll_us = weft_options_int(options, "max.poll.ms") * 1000;
    self->exclusive = weft_options_bool(options, "exclusive");
    self->heartbeat_us = (int64_t) self->session_ms * 1000 / 4;
    self->lease_us = (int64_t) self->session_ms * 1000;
}

weft_err_t weft_member_part_new(const weft_options_t *options, const char *host, weft_desk_t *desk,
                                weft_member_part_t **out, struct weft_error *error)
{
    weft_err_t err = weft_member_group_check(weft_options_text(options, "group"), error);
    if (err) return err;
    weft_member_part_t *self = weft_calloc(1, sizeof *self);
    err = weft_view_init(&self->view, weft_options_text(options, "bootstrap"), error);
    if (err) {
        free(self);
        return err;
    }
    self->base.ops = &s_ops;
    self->desk = weft_desk_hold(desk);
    s_read_options(self, options);
    snprintf(self->host, sizeof self->host, "%s", host);
    weft_requests_init(
        &self->requests, &self->view,
        &(struct weft_requests_config){.client = self->client,
                                       .backoff_us = weft_options_int(options, "retry.backoff.ms") * 1000,
                                       .attempt_us = weft_options_int(options, "request.timeout.ms") * 1000,
                                       .silence_us = weft_options_int(options, "silence.ms") * 1000});
    weft_counters_init(&self->counters, s_infos, S_COUNTERS);
    weft_buf_init(&self->call.header);
    *out = self;
    return WEFT_OK;
}

struct weft_part *weft_member_part_base(weft_member_part_t *self)
{
    return &self->base;
}

static void s_start(struct weft_part *part, const weft_port_t *port)
{
    weft_member_part_t *self = s_of(part);
    self->port = *port;
    weft_view_start(&self->view, port);
    weft_requests_start(&self->requests, port);
    self->id = weft_rand_id(&self->requests.rand);
}

static void s_destroy(struct weft_part **part_p)
{
    weft_member_part_t *self = s_of(*part_p);
    *part_p = NULL;
    if (!self) return;
    weft_requests_cancel(&self->requests, &self->call);
    weft_requests_fini(&self->requests);
    weft_view_fini(&self->view);
    weft_counters_fini(&self->counters);
    weft_desk_orders_fini(&self->orders);
    weft_desk_drop(&self->desk);
    free(self);
}

// ---- what happens to the membership

static void s_forget(weft_member_part_t *self)
{
    self->epoch = self->seen = self->revision = 0;
    self->subscription = 0;
    self->full = true;
}

static void s_lose(weft_member_part_t *self, const char *text)
{
    s_forget(self);
    weft_counter_add(&self->counters, S_LOST, 1);
    weft_desk_lost(self->desk, text);
}

static void s_end(weft_member_part_t *self)
{
    weft_requests_cancel(&self->requests, &self->call);
    s_forget(self);
    self->state = S_GONE;
    weft_desk_say_left(self->desk);
}

// ---- answers

static int s_compare_owned(const void *a, const void *b)
{
    const struct weft_desk_owned *x = a, *y = b;
    int order = strcmp(x->topic, y->topic);
    if (order) return order;
    return x->partition < y->partition ? -1 : x->partition > y->partition;
}

static weft_desk_assignment_t *s_assignment(const struct weft_group_heartbeat_reply *reply)
{
    size_t count = 0;
    for (size_t i = 0; i < reply->assignment_count; i++) count += reply->assignment[i].partitions_count;
    weft_desk_assignment_t *assignment = weft_desk_assignment_new(reply->epoch, reply->revision, count);
    count = 0;
    for (size_t i = 0; i < reply->assignment_count; i++) {
        const struct weft_assigned_topic *topic = &reply->assignment[i];
        for (size_t k = 0; k < topic->partitions_count && k < topic->tokens_count; k++)
            assignment->owned[count++] = (struct weft_desk_owned){.topic = weft_slice_dup(topic->topic),
                                                                  .topic_id = topic->topic_id,
                                                                  .partition = topic->partitions[k],
                                                                  .token = topic->tokens[k]};
    }
    assignment->count = count;
    qsort(assignment->owned, count, sizeof *assignment->owned, s_compare_owned);
    return assignment;
}

static void s_take_assignment(weft_member_part_t *self, const struct weft_group_heartbeat_reply *reply, int64_t now_us)
{
    if (self->state != S_IN) return; // about to leave
    if (self->sent_join || (reply->assigned && reply->revision != self->seen)) {
        weft_desk_assignment_t *assignment = s_assignment(reply);
        weft_desk_assign(self->desk, &assignment);
        if (reply->assigned) self->seen = reply->revision; // a join that gave nothing yet says only that it is in
        self->assigned_us = now_us;
    } else if (now_us - self->assigned_us >= self->heartbeat_us)
        weft_desk_settle(self->desk, true); // it would have been told by now
}

static void s_heard(weft_member_part_t *self, const struct weft_group_heartbeat_reply *reply, int64_t now_us)
{
    if (reply->heartbeat_ms) self->heartbeat_us = (int64_t) reply->heartbeat_ms * 1000;
    if (reply->session_ms) self->lease_us = (int64_t) reply->session_ms * 1000;
    self->heard_us = self->call.sent_us;
    weft_desk_lease(self->desk, self->heard_us + self->lease_us);
    weft_desk_say_unheard(self->desk, false);
    if (self->sent_join) {
        weft_counter_add(&self->counters, S_JOINS, 1);
        self->assigned_us = now_us;
        self->seen = self->revision = 0;
    }
    self->epoch = reply->epoch;
    self->avoid = NULL;
    self->told_link = self->view.coordinator = self->call.link;
    self->full = false;
    self->tries = 0;
    self->subscription = self->sent_subscription;
    self->revision = self->sent_revision;
    weft_desk_refuse(self->desk, WEFT_OK, "");
    weft_desk_unknown(self->desk, reply->unknown, reply->unknown_count);
    s_take_assignment(self, reply, now_us);
    // Parked ones follow each other at once. A coordinator that does not park is asked at the interval.
    bool at_once = reply->assigned || now_us - self->call.sent_us >= self->wait_us / 2;
    self->retry_us = at_once ? now_us : self->call.sent_us + self->heartbeat_us;
}

static void s_later(weft_member_part_t *self, int64_t least_us)
{
    if (self->tries < TRIES_MAX) self->tries++;
    int64_t wait_us = weft_requests_backoff_us(&self->requests, self->tries);
    self->retry_us = weft_port_now_us(&self->port) + (wait_us > least_us ? wait_us : least_us);
}

// It is not a member (any more).
static void s_not_a_member(weft_member_part_t *self, weft_err_t error, const char *text)
{
    char said[256];
    if (self->epoch) {
        snprintf(said, sizeof said, "%s; it joins again (%.120s)",
                 error == WEFT_ERR_FENCED_MEMBER ? "another member took this one's place"
                                                 : "the group took this member for dead",
                 text);
        bool again = self->tries > 0; // not twice at once
        s_lose(self, said);
        if (again)
            s_later(self, 0);
        else
            self->retry_us = 0;
        self->tries++;
    } else
        s_later(self, 0);
}

static void s_refused(weft_member_part_t *self, weft_err_t error, const char *text,
                      const struct weft_reply_header *header)
{
    weft_counter_add(&self->counters, header ? S_REFUSALS : S_UNANSWERED, 1);
    enum weft_err_class class = weft_err_class(error);
    if (error == WEFT_ERR_UNKNOWN_MEMBER || error == WEFT_ERR_FENCED_MEMBER) {
        s_not_a_member(self, error, text);
    } else if (class == WEFT_CLASS_RETRY || class == WEFT_CLASS_REFRESH || error == WEFT_ERR_INTERNAL) {
        self->full = true;
        if (error == WEFT_ERR_INSTANCE_IN_USE || error == WEFT_ERR_INTERNAL) weft_desk_refuse(self->desk, error, text);
        // One that does not answer, or goes, is asked last, unless somebody says that it is the coordinator.
        self->avoid = self->call.redirected ? NULL : self->call.link;
        if (self->call.redirected && self->tries < 3) {
            self->tries++;
            self->retry_us = 0;
        } else
            s_later(self, header ? (int64_t) header->retry_ms * 1000 : 0);
    } else {
        weft_desk_refuse(self->desk, error, text);
        if (self->epoch) { // still a member, by what was told before
            self->subscription = self->sent_subscription;
            self->full = false;
            s_later(self, self->heartbeat_us);
        } else {
            self->state = S_REFUSED;
            self->subscription = self->sent_subscription;
        }
    }
}

static void s_answered(struct weft_call *call, weft_err_t error, const char *text,
                       const struct weft_reply_header *header, struct weft_message *message)
{
    weft_member_part_t *self = call->context;
    struct weft_group_heartbeat_reply reply;
    struct weft_error why;
    if (!error) {
        error =
            weft_group_heartbeat_reply_decode(&self->requests.codec, weft_frame_slice(&message->header), &reply, &why);
        text = why.text;
    }
    bool is_out = !error || error == WEFT_ERR_UNKNOWN_MEMBER || error == WEFT_ERR_FENCED_MEMBER ||
                  weft_err_class(error) == WEFT_CLASS_PERMANENT;
    if (self->sent_leave && is_out) {
        if (self->orders.leave != WEFT_DESK_STAY)
            s_end(self);
        else
            self->leaving_told = true;
    } else if (error)
        s_refused(self, error, text, header);
    else
        s_heard(self, &reply, weft_port_now_us(&self->port));
}

// ---- asking

static void s_tell_all(weft_member_part_t *self, struct weft_group_heartbeat_request *request)
{
    if (*self->assignor) request->assignor = weft_text(self->assignor);
    request->client = weft_text(self->client);
    if (*self->host) request->host = weft_text(self->host);
    if (*self->rack) request->rack = weft_text(self->rack);
    request->session_ms = self->session_ms;
    request->release_ms = self->release_ms;
    request->exclusive = self->exclusive;
}

static const char *s_leave_word(const weft_member_part_t *self)
{
    if (self->orders.leave == WEFT_DESK_PAUSE) return "pause";
    return self->orders.leave == WEFT_DESK_LEAVE || self->state == S_IDLE ? "leave" : NULL;
}

static int64_t s_idle_us(const weft_member_part_t *self, int64_t now_us)
{
    return self->orders.polled_us == INT64_MAX || self->orders.polled_us > now_us ? 0 : now_us - self->orders.polled_us;
}

static void s_encode(weft_member_part_t *self, int64_t now_us)
{
    if (self->view.coordinator != self->told_link) self->full = true;
    struct weft_group_heartbeat_request request;
    weft_group_heartbeat_request_init(&request);
    request.id = weft_requests_id(&self->requests, &self->call);
    request.group = weft_text(self->group);
    request.member = self->id;
    request.epoch = self->epoch;
    if (*self->instance) request.instance = weft_text(self->instance);
    const char *leave = s_leave_word(self);
    self->sent_leave = leave != NULL;
    self->sent_join = !self->epoch && !leave;
    self->sent_subscription = self->orders.subscription;
    self->sent_revision = self->epoch && self->orders.epoch == self->epoch ? self->orders.revision : 0;
    weft_slice_t *topics = weft_calloc(self->orders.pattern_count + 1, sizeof *topics);
    for (size_t i = 0; i < self->orders.pattern_count; i++) topics[i] = weft_text(self->orders.patterns[i]);
    if (leave) {
        request.leave = weft_text(leave);
        request.why = weft_text(self->state == S_IDLE ? self->why : self->orders.why);
    } else if (self->full || self->sent_join || self->subscription != self->orders.subscription) {
        request.topics = topics;
        request.topics_count = self->orders.pattern_count;
    }
    if (!leave && (self->full || self->sent_join)) s_tell_all(self, &request);
    request.seen = self->epoch ? self->seen : 0;
    request.revision = self->sent_revision;
    self->wait_us = leave || self->sent_join || self->tries ? 0 : self->heartbeat_us;
    request.wait_ms = (uint32_t) (self->wait_us / 1000);
    request.idle_ms = (uint32_t) (s_idle_us(self, now_us) / 1000);
    weft_buf_clear(&self->call.header);
    weft_group_heartbeat_request_encode(&request, &self->call.header);
    free(topics);
}

static void s_send(weft_member_part_t *self, int64_t now_us)
{
    s_encode(self, now_us);
    int64_t patience_us = self->requests.config.silence_us << (self->tries < 4 ? self->tries : 4);
    if (patience_us > self->lease_us / 4) patience_us = self->lease_us / 4;
    if (patience_us < PROBE_US) patience_us = PROBE_US;
    // A join waits for the quorum, and asked twice it would be another membership.
    if (self->sent_join && patience_us < self->lease_us / 4) patience_us = self->lease_us / 4;
    self->call.to = WEFT_TO_COORDINATOR;
    self->call.avoid = self->avoid;
    self->call.done = s_answered;
    self->call.context = self;
    self->call.parked_us = self->wait_us;
    self->call.attempt_us = self->wait_us + patience_us;
    weft_err_t err = weft_requests_try(&self->requests, &self->call);
    if (!err) {
        weft_counter_add(&self->counters, S_HEARTBEATS, 1);
        return;
    }
    self->retry_us = now_us + self->requests.config.backoff_us; // or sooner, when a link comes up
}

// Something is to be said that neither was answered nor is under way.
static bool s_has_more(const weft_member_part_t *self)
{
    bool sent = self->call.state == WEFT_CALL_SENT;
    bool leave = s_leave_word(self) != NULL;
    if (leave) return !sent || !self->sent_leave;
    if (!self->epoch) return false;
    uint64_t revision = self->orders.epoch == self->epoch ? self->orders.revision : 0;
    uint64_t told = sent ? self->sent_revision : self->revision;
    if (revision != told) return true;
    return self->orders.subscription != (sent ? self->sent_subscription : self->subscription);
}

// ---- what state it should be in

static void s_stop_idle(weft_member_part_t *self, int64_t idle_us)
{
    char text[256];
    double seconds = (double) idle_us / 1e6;
    int digits = idle_us < 10000000 ? 1 : 0;
    snprintf(self->why, sizeof self->why, "stopped polling for %.*f s", digits, seconds);
    snprintf(text, sizeof text,
             "the program did not poll for %.*f s (max.poll.ms): it left the group, and joins again now", digits,
             seconds);
    self->leaving_told = !self->epoch && self->call.state != WEFT_CALL_SENT;
    self->state = S_IDLE;
    weft_counter_add(&self->counters, S_LOST, 1);
    weft_desk_await_poll(self->desk);
    weft_desk_lost(self->desk, text);
}

static void s_mind_idle(weft_member_part_t *self, int64_t now_us)
{
    int64_t idle_us = s_idle_us(self, now_us);
    if (self->state == S_IN && idle_us > self->max_poll_us) {
        s_stop_idle(self, idle_us);
    } else if (self->state == S_IDLE && idle_us <= self->max_poll_us) {
        weft_requests_cancel(&self->requests, &self->call);
        s_forget(self);
        self->state = S_IN;
        self->retry_us = 0;
    }
}

static void s_mind_orders(weft_member_part_t *self, int64_t now_us)
{
    if (self->state == S_GONE) return;
    if (self->state == S_OUT && self->orders.subscription) {
        self->state = S_IN;
        self->full = true;
    }
    if (self->state == S_REFUSED && self->orders.subscription != self->subscription) {
        self->state = S_IN;
        self->retry_us = 0;
    }
    if (self->orders.leave == WEFT_DESK_STAY) {
        s_mind_idle(self, now_us);
        return;
    }
    // Nothing to leave. A join under way is waited for, since it may make a member of it.
    bool nothing = !self->epoch && self->call.state != WEFT_CALL_SENT;
    bool told = self->state == S_IDLE && self->leaving_told;
    if (nothing || told || self->state == S_OUT || self->state == S_REFUSED) s_end(self);
}

static bool s_is_silent(const weft_member_part_t *self)
{
    return self->state == S_OUT || self->state == S_REFUSED || self->state == S_GONE ||
           (self->state == S_IDLE && self->leaving_told);
}

static int64_t s_speak(weft_member_part_t *self, int64_t now_us)
{
    if (s_is_silent(self)) return WEFT_TIME_NEVER;
    bool more = s_has_more(self);
    if (self->call.state == WEFT_CALL_SENT) {
        if (!more || self->sent_join) return WEFT_TIME_NEVER;
        weft_requests_cancel(&self->requests, &self->call); // the next one says all that this one did
        self->retry_us = now_us;
    } else if (more && !self->tries)
        self->retry_us = now_us;
    if (self->retry_us > now_us) return self->retry_us;
    s_send(self, now_us);
    return self->call.state == WEFT_CALL_SENT ? WEFT_TIME_NEVER : self->retry_us;
}

// When something is due though nobody says anything.
static int64_t s_timer_us(weft_member_part_t *self, int64_t now_us)
{
    int64_t next_us = WEFT_TIME_NEVER;
    if (self->state != S_IN) return next_us;
    if (self->orders.polled_us != INT64_MAX) next_us = self->orders.polled_us + self->max_poll_us + 1;
    if (!self->epoch) return next_us;
    int64_t end_us = self->heard_us + self->lease_us;
    if (now_us >= end_us)
        weft_desk_say_unheard(self->desk, true);
    else if (end_us < next_us)
        next_us = end_us;
    return next_us > now_us ? next_us : now_us + 1000;
}

// ---- slots

static int64_t s_turn(struct weft_part *part, int64_t now_us)
{
    weft_member_part_t *self = s_of(part);
    int64_t requests_us = weft_requests_turn(&self->requests, now_us);
    weft_desk_orders(self->desk, &self->orders);
    s_mind_orders(self, now_us);
    int64_t next_us = s_speak(self, now_us);
    int64_t timer_us = s_timer_us(self, now_us);
    if (timer_us < next_us) next_us = timer_us;
    if (self->requests.check_us < requests_us) requests_us = self->requests.check_us; // of what was just sent
    return requests_us < next_us ? requests_us : next_us;
}

static void s_message(struct weft_part *part, struct weft_message *message)
{
    weft_requests_message(&s_of(part)->requests, message);
}

static void s_mail(struct weft_part *part, struct weft_mail *mail)
{
    if (mail->body_free) mail->body_free(mail->body);
}

static void s_link_up(struct weft_part *part, weft_link_t link)
{
    weft_member_part_t *self = s_of(part);
    weft_requests_link_up(&self->requests, link);
    if (self->call.state != WEFT_CALL_SENT && self->tries < 2) self->retry_us = 0;
}

static void s_link_down(struct weft_part *part, weft_link_t link)
{
    weft_requests_link_down(&s_of(part)->requests, link);
}

static void s_stop(struct weft_part *part) {}

static bool s_stopped(struct weft_part *part)
{
    return true;
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

// ---- what is asked of it

weft_id_t weft_member_part_id(const weft_member_part_t *self)
{
    return self->id;
}

uint64_t weft_member_part_epoch(const weft_member_part_t *self)
{
    return self->epoch;
}

bool weft_member_part_gone(const weft_member_part_t *self)
{
    return self->state == S_GONE;
}

const weft_counters_t *weft_member_part_counters(const weft_member_part_t *self)
{
    return &self->counters;
}
