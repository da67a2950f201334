// SPDX-License-Identifier: MPL-2.0
// What is to be said is never queued: a heartbeat is built from what the desk and this part know when it leaves, and what
// it carried counts as told once it was answered. So one that is lost, or ended by a newer one, needs no repair: the next
// one carries the same (rule 21). A join alone is always waited for, since each one answered is a new membership.
#include "member_inner.h"

#include "../base/mutate.h"

#include <stdio.h>
#include <stdlib.h>

#define PROBE_US 250000 // how long a coordinator may take to answer beyond the time it may park, at least
#define TRIES_MAX 6
#define TELLING_TRIES 5 // a join that was refused so often is told

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
    if (self->state != WEFT_MEMBER_IN) return; // about to leave
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
    self->heard_us = weft_mutated("lease_from_the_answer") ? now_us : self->call.sent_us; // rule 22
    weft_desk_lease(self->desk, self->heard_us + self->lease_us);
    weft_desk_say_unheard(self->desk, false);
    if (self->sent_join) {
        weft_counter_add(&self->counters, WEFT_MEMBER_COUNT_JOINS, 1);
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
    // A member has a session to lose: a new coordinator waits one for it, and is looked for several times meanwhile.
    if (self->epoch && wait_us > self->lease_us / 8) wait_us = self->lease_us / 8;
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
        weft_member_lose(self, said);
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
    weft_counter_add(&self->counters, header ? WEFT_MEMBER_COUNT_REFUSALS : WEFT_MEMBER_COUNT_UNANSWERED, 1);
    enum weft_err_class class = weft_err_class(error);
    if (error == WEFT_ERR_UNKNOWN_MEMBER || error == WEFT_ERR_FENCED_MEMBER) {
        s_not_a_member(self, error, text);
    } else if (class == WEFT_CLASS_RETRY || class == WEFT_CLASS_REFRESH || error == WEFT_ERR_INTERNAL) {
        self->full = true;
        if (error == WEFT_ERR_INSTANCE_IN_USE && header && header->retry_ms) self->tries = 0; // it is told when
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
            self->state = WEFT_MEMBER_REFUSED;
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
            weft_member_end(self);
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
    return self->orders.leave == WEFT_DESK_LEAVE || self->state == WEFT_MEMBER_IDLE ? "leave" : NULL;
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
        request.why = weft_text(self->state == WEFT_MEMBER_IDLE ? self->why : self->orders.why);
    } else if (self->full || self->sent_join || self->subscription != self->orders.subscription) {
        request.topics = topics;
        request.topics_count = self->orders.pattern_count;
    }
    if (!leave && (self->full || self->sent_join)) s_tell_all(self, &request);
    request.seen = self->epoch ? self->seen : 0;
    request.revision = self->sent_revision;
    self->wait_us = leave || self->sent_join || self->tries ? 0 : self->heartbeat_us;
    request.wait_ms = (uint32_t) (self->wait_us / 1000);
    request.idle_ms = (uint32_t) (weft_member_idle_us(self, now_us) / 1000);
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
        weft_counter_add(&self->counters, WEFT_MEMBER_COUNT_HEARTBEATS, 1);
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

static bool s_is_silent(const weft_member_part_t *self)
{
    return self->state == WEFT_MEMBER_OUT || self->state == WEFT_MEMBER_REFUSED || self->state == WEFT_MEMBER_GONE ||
           (self->state == WEFT_MEMBER_IDLE && self->leaving_told);
}

int64_t weft_member_speak(weft_member_part_t *self, int64_t now_us)
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
