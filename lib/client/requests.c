// SPDX-License-Identifier: MPL-2.0
// Slots hold the calls that have an id; id = generation << 20 | slot, so that a late answer to a forgotten call finds
// nothing. Deadlines are looked at in one sweep over the slots, at the earliest time any of them can be due: with
// attempts of seconds that is rare, and costs nothing per message.
#include "requests_inner.h"

#include "../base/assert.h"
#include "../base/map.h"
#include "../base/trace.h"

#include <weft_gen/limits.h>

#include <stdio.h>
#include <stdlib.h>

#define SLOT_BITS 20
#define SLOT_MASK ((UINT64_C(1) << SLOT_BITS) - 1)
#define SILENCE_LOOKS 4 // while a request stays unanswered others are asked again after this part of its age
#define LOOK_US_MAX 1000000
#define BATCH_BYTES_LEAST 1024 // a node that says it takes less makes no sense, and is not heeded
#define REDIRECTS_AT_ONCE \
    3 // then a redirection waits for the back-off, so that two confused nodes can't make a client spin

void weft_requests_init(weft_requests_t *self, weft_view_t *view, const struct weft_requests_config *config)
{
    memset(self, 0, sizeof *self);
    self->view = view;
    self->config = *config;
    weft_codec_init(&self->codec);
    weft_codec_init(&self->inner_codec);
    weft_buf_init(&self->metadata.header);
    self->metadata.to = WEFT_TO_ANY;
    self->metadata.done = weft_requests_metadata_done;
    self->metadata.context = self;
    self->check_us = WEFT_TIME_NEVER;
    self->metadata_next_us = WEFT_TIME_NEVER;
    self->unsettled_us = WEFT_TIME_NEVER;
    self->batch_bytes_max = WEFT_BATCH_BYTES_MAX;
    self->session_window = WEFT_SESSION_WINDOW;
}

void weft_requests_fini(weft_requests_t *self)
{
    weft_requests_cancel(self, &self->metadata);
    free(self->slots);
    free(self->generations);
    weft_codec_fini(&self->codec);
    weft_codec_fini(&self->inner_codec);
    memset(self, 0, sizeof *self);
}

void weft_requests_start(weft_requests_t *self, const weft_port_t *port)
{
    self->port = *port;
    weft_rand_init(&self->rand, port->ops->seed(port->world));
    self->metadata_wanted = true;
}

int64_t weft_requests_backoff_us(weft_requests_t *self, uint32_t tries)
{
    int64_t wait = self->config.backoff_us;
    for (uint32_t i = 1; i < tries && wait < self->config.backoff_us * 20; i++) wait *= 2;
    if (wait > self->config.backoff_us * 20) wait = self->config.backoff_us * 20;
    return wait * 3 / 4 + (int64_t) weft_rand_below(&self->rand, (uint64_t) wait / 2 + 1);
}

// ---- slots

uint64_t weft_requests_id(weft_requests_t *self, struct weft_call *call)
{
    if (call->id) return call->id;
    size_t slot = self->free_hint;
    while (slot < self->slot_count && self->slots[slot]) slot++;
    if (slot == self->slot_count) {
        if (self->slot_count == self->slot_capacity) {
            self->slot_capacity = self->slot_capacity ? self->slot_capacity * 2 : 64;
            weft_assert(self->slot_capacity <= SLOT_MASK);
            self->slots = weft_realloc(self->slots, self->slot_capacity * sizeof *self->slots);
            self->generations = weft_realloc(self->generations, self->slot_capacity * sizeof *self->generations);
        }
        self->slots[slot] = NULL;
        self->generations[slot] = 0;
        self->slot_count++;
    }
    self->free_hint = slot + 1;
    self->slots[slot] = call;
    call->id = (uint64_t) ++self->generations[slot] << SLOT_BITS | slot;
    call->state = WEFT_CALL_IDLE;
    call->attempts = 0;
    call->last_error = WEFT_OK;
    call->last_text[0] = 0;
    call->doubtful = call->redirected = false;
    call->avoid = NULL;
    return call->id;
}

static void s_release(weft_requests_t *self, struct weft_call *call)
{
    if (!call->id) return;
    size_t slot = (size_t) (call->id & SLOT_MASK);
    weft_assert(self->slots[slot] == call);
    self->slots[slot] = NULL;
    if (slot < self->free_hint) self->free_hint = slot;
    call->id = 0;
    call->state = WEFT_CALL_IDLE;
}

static struct weft_call *s_find(const weft_requests_t *self, uint64_t id)
{
    size_t slot = (size_t) (id & SLOT_MASK);
    if (slot >= self->slot_count || !self->slots[slot]) return NULL;
    return self->slots[slot]->id == id ? self->slots[slot] : NULL;
}

void weft_requests_cancel(weft_requests_t *self, struct weft_call *call)
{
    s_release(self, call);
    weft_buf_fini(&call->header);
    weft_buf_init(&call->header);
}

static void s_finish(weft_requests_t *self, struct weft_call *call, weft_err_t error, const char *text,
                     const struct weft_reply_header *header, struct weft_message *message)
{
    s_release(self, call);
    call->done(call, error, text, header, message);
}

void weft_requests_check_by(weft_requests_t *self, int64_t at_us)
{
    if (at_us < self->check_us) self->check_us = at_us;
}

// ---- sending

// After how much silence this attempt is given up. Asking a second node is cheap and a late answer of the first one
// still counts, so an automatic call does not wait long at first.
static int64_t s_attempt_us(const weft_requests_t *self, const struct weft_call *call)
{
    if (call->manual || !self->config.silence_us) return call->attempt_us;
    int64_t patience_us = self->config.silence_us << (call->attempts < 8 ? call->attempts - 1 : 7);
    patience_us += call->parked_us;
    return patience_us < call->attempt_us ? patience_us : call->attempt_us;
}

// When a request is so overdue that others are asked whether its node still leads.
static int64_t s_overdue_us(const weft_requests_t *self, const struct weft_call *call)
{
    if (!self->config.silence_us || call->to != WEFT_TO_LEADER) return WEFT_TIME_NEVER;
    return call->sent_us + call->parked_us + self->config.silence_us;
}

int32_t weft_requests_epoch(const struct weft_call *call)
{
    if (call->to != WEFT_TO_LEADER || call->partition < 0 || call->partition >= call->topic->partition_count) return -1;
    return call->topic->partitions[call->partition].epoch;
}

static weft_err_t s_send(weft_requests_t *self, struct weft_call *call, struct weft_view_link *link)
{
    weft_frame_t frame = WEFT_FRAME_EMPTY;
    if (call->data) weft_shared_frame(call->data, &frame);
    weft_err_t err =
        self->port.ops->send(self->port.world, link->link, weft_buf_slice(&call->header), call->data ? &frame : NULL);
    if (err) {
        weft_frame_drop(&frame);
        return err;
    }
    call->link = link;
    call->state = WEFT_CALL_SENT;
    call->attempts++;
    call->redirected = false;
    call->epoch = weft_requests_epoch(call);
    call->sent_us = weft_port_now_us(&self->port);
    weft_requests_check_by(self, call->sent_us + s_attempt_us(self, call));
    weft_requests_check_by(self, s_overdue_us(self, call));
    return WEFT_OK;
}

// A link that was just opened is worth the wait: whoever named it would only name it again. One that broke is not.
bool weft_requests_is_near(const weft_requests_t *self, const struct weft_view_link *link)
{
    return link->up || (!link->broken && weft_port_now_us(&self->port) - link->changed_us <= self->config.backoff_us);
}

static struct weft_view_link *s_target(weft_requests_t *self, struct weft_call *call)
{
    switch (call->to) {
    case WEFT_TO_LEADER: return weft_view_leader(call->topic, call->partition);
    case WEFT_TO_LINK: return call->link;
    case WEFT_TO_COORDINATOR:
        if (self->view->coordinator && self->view->coordinator != call->avoid &&
            weft_requests_is_near(self, self->view->coordinator))
            return self->view->coordinator;
        return weft_view_any(self->view, call->avoid);
    case WEFT_TO_ANY: break;
    }
    return weft_view_any(self->view, call->avoid);
}

weft_err_t weft_requests_try(weft_requests_t *self, struct weft_call *call)
{
    weft_assert(call->id && call->state != WEFT_CALL_SENT);
    call->manual = true;
    struct weft_view_link *link = s_target(self, call);
    if (!link || !link->up) {
        // A leader whose link is only being opened needs no metadata; one that is not known, or went down, does.
        if (!link || !weft_requests_is_near(self, link)) weft_requests_refresh(self);
        return WEFT_ERR_LOCAL_NOT_CONNECTED;
    }
    return s_send(self, call, link);
}

// Asking goes nowhere: the topic or partition does not exist. Ends the call then.
static bool s_pointless(weft_requests_t *self, struct weft_call *call)
{
    if (call->to != WEFT_TO_LEADER) return false;
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    const struct weft_view_topic *topic = call->topic;
    if (call->view_updates == self->view->updates) return false; // it may have been made, or grown, since they told
    if (weft_view_is_missing(self->view, topic))
        snprintf(text, sizeof text, "topic '%s' does not exist", topic->name);
    else if (topic->state == WEFT_VIEW_KNOWN && call->partition >= topic->partition_count)
        snprintf(text, sizeof text, "topic '%s' has %d partitions, numbered from 0; there is no partition %d",
                 topic->name, (int) topic->partition_count, (int) call->partition);
    else
        return false;
    s_finish(self, call, WEFT_ERR_UNKNOWN_TOPIC, text, NULL, NULL);
    return true;
}

// An automatic call that waits: sends it if its time has come and its node is there.
static void s_advance(weft_requests_t *self, struct weft_call *call, int64_t now_us)
{
    if (call->retry_us > now_us) {
        weft_requests_check_by(self, call->retry_us);
        return;
    }
    if (s_pointless(self, call)) return;
    struct weft_view_link *link = s_target(self, call);
    if (call->to == WEFT_TO_LEADER && (!link || !link->up)) weft_requests_refresh(self);
    if (link && link->up && s_send(self, call, link) == WEFT_OK) return;
    call->retry_us = now_us + self->config.backoff_us; // or sooner: link_up and metadata make it due
    weft_requests_check_by(self, call->retry_us);
}

void weft_requests_submit(weft_requests_t *self, struct weft_call *call)
{
    weft_assert(call->id && call->state == WEFT_CALL_IDLE);
    call->manual = false;
    call->state = WEFT_CALL_QUEUED;
    call->retry_us = 0;
    call->view_updates = self->view->updates;
    if (!call->last_error) call->last_error = WEFT_ERR_LOCAL_NOT_CONNECTED;
    weft_requests_check_by(self, call->deadline_us);
    if (!self->view->started) {
        self->check_us = 0;
        return;
    }
    s_advance(self, call, weft_port_now_us(&self->port));
}

void weft_requests_make_due(weft_requests_t *self)
{
    for (size_t i = 0; i < self->slot_count; i++) {
        struct weft_call *call = self->slots[i];
        if (call && call->state == WEFT_CALL_QUEUED &&
            (call->last_error == WEFT_ERR_LOCAL_NOT_CONNECTED || call->last_error == WEFT_ERR_NOT_COORDINATOR))
            call->retry_us = 0;
    }
    self->check_us = 0;
}

// ---- what an attempt's failure means

// text NULL: what was the matter before still is.
static void s_retry(weft_requests_t *self, struct weft_call *call, weft_err_t error, const char *text, int64_t wait_us)
{
    if (text) {
        call->last_error = error;
        snprintf(call->last_text, sizeof call->last_text, "%s", text);
    }
    call->state = WEFT_CALL_QUEUED;
    call->retry_us = weft_port_now_us(&self->port) + wait_us;
    weft_requests_check_by(self, call->retry_us < call->deadline_us ? call->retry_us : call->deadline_us);
}

void weft_requests_attempt_failed(weft_requests_t *self, struct weft_call *call, weft_err_t error)
{
    const char *text = weft_err_sentence(error);
    call->doubtful = true;
    call->avoid = call->link;
    if (call->manual) {
        s_finish(self, call, error, text, NULL, NULL);
        return;
    }
    s_retry(self, call, error, text,
            error == WEFT_ERR_LOCAL_NOT_CONNECTED ? 0 : weft_requests_backoff_us(self, call->attempts));
}

// What the view learns from a refusal. True: the reply named a node to go to.
static bool s_learn(weft_requests_t *self, struct weft_call *call, weft_err_t error,
                    const struct weft_reply_header *header)
{
    bool redirected = false;
    bool moved = error == WEFT_ERR_LEADER_CHANGED || error == WEFT_ERR_STOPPING;
    if (call->to == WEFT_TO_LEADER && (error == WEFT_ERR_NOT_LEADER || (moved && header->endpoint.size))) {
        weft_view_redirect(self->view, call->topic, call->partition, header->leader, header->endpoint);
        struct weft_view_link *link = weft_view_leader(call->topic, call->partition);
        redirected = link && link != call->link;
    } else if (error == WEFT_ERR_NOT_COORDINATOR) {
        struct weft_view_link *link = header->endpoint.size ? weft_view_link_to(self->view, header->endpoint) : NULL;
        redirected = link && link != call->link;
        self->view->coordinator = redirected ? link : NULL;
        call->avoid = call->link;
    } else if (moved || error == WEFT_ERR_COORDINATOR_UNAVAILABLE || error == WEFT_ERR_COORDINATOR_LOADING)
        call->avoid = call->link; // another node may know more
    call->redirected = redirected;
    if (redirected) self->redirect_count++;
    bool stale = weft_err_class(error) == WEFT_CLASS_REFRESH || error == WEFT_ERR_TOPIC_REPLACED;
    if (!redirected && stale && call != &self->metadata) weft_requests_refresh(self);
    return redirected;
}

static void s_refused(weft_requests_t *self, struct weft_call *call, weft_err_t error,
                      const struct weft_reply_header *header, struct weft_message *message)
{
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    if (header->message.size)
        snprintf(text, sizeof text, "%.*s", (int) header->message.size, (const char *) header->message.data);
    else
        snprintf(text, sizeof text, "%s", weft_err_sentence(error));
    bool redirected = s_learn(self, call, error, header);
    const struct weft_view_link *office = self->view->coordinator;
    if (error == WEFT_ERR_NOT_COORDINATOR && !(office && office->up)) // for a person who waits
        snprintf(text, sizeof text,
                 "no active coordinator can be reached%s%s; until there is one nothing can be changed",
                 office ? ", the last known is " : "", office ? office->endpoint : "");
    if (weft_err_outcome(error) != WEFT_OUTCOME_NOT_APPLIED) call->doubtful = true;
    enum weft_err_class class = weft_err_class(error);
    // That a topic is unknown is the answer an automatic call asked for, unless the node may just lag: one more is
    // asked. A fence (of offsets) is one that no other node takes away.
    bool final = (error == WEFT_ERR_UNKNOWN_TOPIC && call->attempts > 1) || error == WEFT_ERR_FENCED;
    if (call->manual || final || (class != WEFT_CLASS_RETRY && class != WEFT_CLASS_REFRESH)) {
        s_finish(self, call, error, text, header, message);
        return;
    }
    int64_t wait = weft_requests_backoff_us(self, call->attempts);
    if (redirected && call->attempts <= REDIRECTS_AT_ONCE) wait = 0;
    if ((int64_t) header->retry_ms * 1000 > wait) wait = (int64_t) header->retry_ms * 1000;
    bool on_the_way = redirected && call->last_text[0]; // to where the last refusal came from
    s_retry(self, call, error, on_the_way ? NULL : text, wait);
    if (wait == 0) s_advance(self, call, weft_port_now_us(&self->port));
}

// ---- hello: limits and versions, asked of every node when its link comes up

static void s_hello_send(weft_requests_t *self, weft_link_t link)
{
    struct weft_hello_request request;
    weft_hello_request_init(&request);
    request.client = weft_text(self->config.client);
    request.id = (uint64_t) link << 1 | UINT64_C(1) << 63; // no slot has bit 63: answers to it are hellos
    weft_buf_t header;
    weft_buf_init(&header);
    weft_hello_request_encode(&request, &header);
    weft_err_t err = self->port.ops->send(self->port.world, link, weft_buf_slice(&header), NULL);
    if (err) weft_trace(WEFT_TRACE_DEBUG, "client", "hello not sent: %s", weft_err_name(err));
    weft_buf_fini(&header);
}

static void s_hello_answered(weft_requests_t *self, weft_err_t error, struct weft_message *message)
{
    struct weft_error why;
    struct weft_hello_reply reply;
    if (error == WEFT_ERR_UNSUPPORTED_VERSION)
        weft_error_set(&self->view->fatal, error,
                       "the node speaks no protocol version that this library speaks; upgrade the older one");
    if (error || weft_hello_reply_decode(&self->inner_codec, weft_frame_slice(&message->header), &reply, &why)) return;
    if (reply.batch_bytes_max >= BATCH_BYTES_LEAST && reply.batch_bytes_max < self->batch_bytes_max)
        self->batch_bytes_max = reply.batch_bytes_max;
    if (reply.session_window && reply.session_window < self->session_window)
        self->session_window = reply.session_window;
}

// ---- slots of the part

void weft_requests_message(weft_requests_t *self, struct weft_message *message)
{
    struct weft_reply_header header;
    struct weft_error why;
    weft_view_link_heard(self->view, message->link);
    if (weft_reply_header_decode(&self->codec, weft_frame_slice(&message->header), &header, &why)) {
        weft_trace(WEFT_TRACE_WARN, "client", "a message that is no reply: %s", why.text);
        self->stray_count++;
        return;
    }
    if (header.id >> 63) {
        s_hello_answered(self, header.error, message);
        return;
    }
    struct weft_call *call = s_find(self, header.id);
    if (!call || !call->attempts) { // not sent yet: who answers it guesses ids
        self->stray_count++;
        return;
    }
    if (header.error)
        s_refused(self, call, header.error, &header, message);
    else
        s_finish(self, call, WEFT_OK, "", &header, message);
}

void weft_requests_link_up(weft_requests_t *self, weft_link_t link)
{
    weft_view_link_up(self->view, link);
    s_hello_send(self, link);
    weft_requests_make_due(self);
}

void weft_requests_link_down(weft_requests_t *self, weft_link_t id)
{
    struct weft_view_link *link = weft_view_link_down(self->view, id);
    if (!link) return;
    self->link_down_count++;
    self->metadata_us = 0; // whatever the pace was: what it led needs another leader
    self->unsettled_us = WEFT_TIME_NEVER;
    if (self->view->coordinator == link) self->view->coordinator = NULL;
    for (size_t i = 0; i < self->slot_count; i++) {
        struct weft_call *call = self->slots[i];
        if (call && call->state == WEFT_CALL_SENT && call->link == link)
            weft_requests_attempt_failed(self, call, WEFT_ERR_LOCAL_NOT_CONNECTED);
    }
    weft_requests_refresh(self);
}

// The sentence of a call whose time is over.
static void s_why_over(const weft_requests_t *self, const struct weft_call *call, weft_err_t error, char *text,
                       size_t bytes)
{
    const char *where = call->to == WEFT_TO_LINK ? call->link->endpoint : self->view->bootstrap[0];
    bool several = call->to != WEFT_TO_LINK && self->view->bootstrap_count > 1;
    if (!call->attempts && !call->last_text[0])
        snprintf(text, bytes, "no connection to %s%s", where,
                 several ? " or another bootstrap endpoint; are the nodes running, and is the network up?"
                         : "; is a node running there? (weft up starts one)");
    else if (error == call->last_error && call->last_text[0])
        snprintf(text, bytes, "%s", call->last_text);
    else
        snprintf(text, bytes, "%s%s%s", weft_err_sentence(error), call->last_text[0] ? " Last: " : "", call->last_text);
}

// A request that is overdue: its node is asked last from now on.
static void s_mind_silence(weft_requests_t *self, struct weft_call *call, int64_t now_us)
{
    int64_t overdue_us = s_overdue_us(self, call);
    if (now_us < overdue_us) {
        weft_requests_check_by(self, overdue_us);
        return;
    }
    weft_view_link_silent(self->view, call->link);
    int64_t age_us = now_us - call->sent_us - call->parked_us;
    if (age_us > self->overdue_us) self->overdue_us = age_us;
}

// While requests are overdue others are asked who leads; the longer it lasts the less often, but once a second: a node
// that is only slow must not be buried under questions, and the next one may have stopped.
static void s_look_at_silence(weft_requests_t *self, int64_t now_us)
{
    if (!self->overdue_us) return;
    if (now_us >= self->look_us) {
        weft_requests_refresh(self);
        int64_t wait_us = self->overdue_us / SILENCE_LOOKS;
        self->look_us = now_us + (wait_us < LOOK_US_MAX ? wait_us : LOOK_US_MAX);
    }
    weft_requests_check_by(self, self->look_us);
}

static void s_sweep_one(weft_requests_t *self, struct weft_call *call, int64_t now_us)
{
    if (call->state == WEFT_CALL_SENT && now_us - call->sent_us >= s_attempt_us(self, call)) {
        self->timeout_count++;
        weft_view_link_silent(self->view, call->link);
        if (call != &self->metadata) weft_requests_refresh(self);
        bool manual = call->manual;
        weft_requests_attempt_failed(self, call, WEFT_ERR_LOCAL_TIMED_OUT);
        if (manual || call->state != WEFT_CALL_QUEUED) return; // a manual one is its owner's again, and may be gone
    }
    if (call->state == WEFT_CALL_SENT) {
        weft_requests_check_by(self, call->sent_us + s_attempt_us(self, call));
        s_mind_silence(self, call, now_us);
    }
    if (call->manual || call->state == WEFT_CALL_IDLE) return;
    if (now_us >= call->deadline_us) {
        // Refused each time: the refusal says more than that time is over, and that nothing was changed.
        bool in_doubt = call->doubtful || call->state == WEFT_CALL_SENT;
        weft_err_t error = call->attempts && in_doubt ? WEFT_ERR_LOCAL_TIMED_OUT : call->last_error;
        char text[WEFT_ERROR_TEXT_BYTES_MAX];
        s_why_over(self, call, error, text, sizeof text);
        s_finish(self, call, error, text, NULL, NULL);
        return;
    }
    weft_requests_check_by(self, call->deadline_us);
    if (call->state == WEFT_CALL_QUEUED) s_advance(self, call, now_us);
}

int64_t weft_requests_turn(weft_requests_t *self, int64_t now_us)
{
    if (now_us >= self->check_us) {
        self->check_us = WEFT_TIME_NEVER;
        self->overdue_us = 0;
        for (size_t i = 0; i < self->slot_count; i++)
            if (self->slots[i]) s_sweep_one(self, self->slots[i], now_us);
        s_look_at_silence(self, now_us);
    }
    weft_requests_metadata_turn(self, now_us);
    int64_t next = self->check_us < self->metadata_next_us ? self->check_us : self->metadata_next_us;
    return next;
}
