// SPDX-License-Identifier: MPL-2.0
// A thin owner of one automatic call, or of a round of many.
#include "admin_part.h"

#include "../base/assert.h"

#include <stdio.h>
#include <stdlib.h>

#define MISSING_GRACE_US 300000 // a person waits: shorter than for programs

struct s_one {
    struct weft_call call;
    weft_admin_part_t *owner;
    weft_err_t error;
    weft_frame_t reply;
};

struct weft_admin_part {
    struct weft_part base;
    weft_port_t port;
    char client[129];
    weft_view_t view;
    weft_requests_t requests;
    struct weft_call call;
    bool done;
    weft_err_t error;
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    weft_frame_t reply;
    int64_t round_trip_us;
    struct s_one *many;
    size_t many_count, many_left; // not answered yet
};

static const struct weft_part_ops s_ops;

weft_err_t weft_admin_part_new(const weft_options_t *options, weft_admin_part_t **out, struct weft_error *error)
{
    weft_admin_part_t *self = weft_calloc(1, sizeof *self);
    weft_err_t err = weft_view_init(&self->view, weft_options_text(options, "bootstrap"), error);
    if (err) {
        free(self);
        return err;
    }
    self->base.ops = &s_ops;
    self->view.missing_grace_us = MISSING_GRACE_US;
    snprintf(self->client, sizeof self->client, "%s", weft_options_text(options, "client"));
    int64_t timeout_us = weft_options_int(options, "request.timeout.ms") * 1000;
    weft_requests_init(
        &self->requests, &self->view,
        &(struct weft_requests_config){.client = self->client,
                                       .backoff_us = weft_options_int(options, "retry.backoff.ms") * 1000,
                                       .attempt_us = timeout_us,
                                       .silence_us = weft_options_int(options, "silence.ms") * 1000});
    weft_buf_init(&self->call.header);
    self->reply = WEFT_FRAME_EMPTY;
    *out = self;
    return WEFT_OK;
}

struct weft_part *weft_admin_part_base(weft_admin_part_t *self)
{
    return &self->base;
}

// ---- slots

static void s_start(struct weft_part *part, const weft_port_t *port)
{
    weft_admin_part_t *self = (weft_admin_part_t *) part;
    self->port = *port;
    weft_view_start(&self->view, port);
    weft_requests_start(&self->requests, port);
}

static void s_message(struct weft_part *part, struct weft_message *message)
{
    weft_requests_message(&((weft_admin_part_t *) part)->requests, message);
}

static void s_mail(struct weft_part *part, struct weft_mail *mail)
{
    if (mail->body_free) mail->body_free(mail->body);
}

static void s_link_up(struct weft_part *part, weft_link_t link)
{
    weft_requests_link_up(&((weft_admin_part_t *) part)->requests, link);
}

static void s_link_down(struct weft_part *part, weft_link_t link)
{
    weft_requests_link_down(&((weft_admin_part_t *) part)->requests, link);
}

static int64_t s_turn(struct weft_part *part, int64_t now_us)
{
    return weft_requests_turn(&((weft_admin_part_t *) part)->requests, now_us);
}

static void s_stop(struct weft_part *part) {}

static bool s_stopped(struct weft_part *part)
{
    return true;
}

static void s_many_forget(weft_admin_part_t *self)
{
    for (size_t i = 0; i < self->many_count; i++) {
        struct s_one *one = &self->many[i];
        weft_requests_cancel(&self->requests, &one->call);
        weft_frame_drop(&one->reply);
        if (one->call.topic) one->call.topic->wanted = false;
    }
    free(self->many);
    self->many = NULL;
    self->many_count = self->many_left = 0;
}

static void s_destroy(struct weft_part **part_p)
{
    weft_admin_part_t *self = (weft_admin_part_t *) *part_p;
    *part_p = NULL;
    if (!self) return;
    weft_requests_cancel(&self->requests, &self->call);
    s_many_forget(self);
    weft_frame_drop(&self->reply);
    weft_requests_fini(&self->requests);
    weft_view_fini(&self->view);
    free(self);
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

// ---- the call

static void s_done(struct weft_call *call, weft_err_t error, const char *text, const struct weft_reply_header *header,
                   struct weft_message *message)
{
    weft_admin_part_t *self = call->context;
    self->done = true;
    self->error = error;
    snprintf(self->text, sizeof self->text, "%s", text);
    self->round_trip_us = weft_port_now_us(&self->port) - call->sent_us;
    if (message) weft_frame_move(&self->reply, &message->header);
    if (call->topic) call->topic->wanted = false;
}

// What was missing at the last call may have been created since; what is known may have been deleted.
static struct weft_view_topic *s_topic(weft_admin_part_t *self, const char *name)
{
    struct weft_view_topic *found = weft_view_topic(&self->view, name);
    bool asked = found->wanted && found->state == WEFT_VIEW_ASKED;
    found->wanted = true;
    if (found->state == WEFT_VIEW_MISSING) found->state = WEFT_VIEW_ASKED;
    if (found->state != WEFT_VIEW_KNOWN && !asked) weft_requests_refresh_now(&self->requests);
    return found;
}

struct weft_call *weft_admin_part_begin(weft_admin_part_t *self, enum weft_call_to to, const char *topic,
                                        int32_t partition, const char *endpoint)
{
    weft_requests_cancel(&self->requests, &self->call);
    weft_frame_drop(&self->reply);
    weft_buf_clear(&self->call.header);
    self->done = false;
    self->error = WEFT_OK;
    self->call.to = to;
    self->call.topic = NULL;
    self->call.partition = partition;
    self->call.link = NULL;
    self->call.parked_us = 0;
    self->call.done = s_done;
    self->call.context = self;
    if (to == WEFT_TO_LEADER) {
        self->call.topic = s_topic(self, topic);
    } else if (to == WEFT_TO_LINK) {
        self->call.link = weft_view_link_to(&self->view, weft_text(endpoint));
        if (!self->call.link) {
            snprintf(self->text, sizeof self->text, "'%.250s' is no endpoint; expected tcp://HOST:PORT or ipc://PATH",
                     endpoint);
            return NULL;
        }
        self->call.link->pinned = true;
    }
    weft_requests_id(&self->requests, &self->call);
    return &self->call;
}

weft_id_t weft_admin_part_operation(weft_admin_part_t *self)
{
    weft_id_t id;
    uint64_t halves[2] = {weft_rand_next(&self->requests.rand), weft_rand_next(&self->requests.rand)};
    memcpy(id.bytes, halves, sizeof id.bytes);
    id.bytes[0] |= 1; // never zero, which stands for none
    return id;
}

void weft_admin_part_submit(weft_admin_part_t *self, int64_t timeout_us)
{
    // Silence of one node must leave time to ask another, unless the answer itself takes that long.
    self->call.attempt_us = self->call.parked_us ? timeout_us : timeout_us / 3;
    self->call.deadline_us = weft_port_now_us(&self->port) + timeout_us;
    weft_requests_submit(&self->requests, &self->call);
}

void weft_admin_part_cancel(weft_admin_part_t *self)
{
    weft_requests_cancel(&self->requests, &self->call);
    if (self->call.topic) self->call.topic->wanted = false;
    s_many_forget(self);
}

bool weft_admin_part_is_done(const weft_admin_part_t *self)
{
    return self->done;
}
weft_err_t weft_admin_part_error(const weft_admin_part_t *self)
{
    return self->error;
}
const char *weft_admin_part_error_text(const weft_admin_part_t *self)
{
    return self->text;
}
void weft_admin_part_waits_for(const weft_admin_part_t *self, char *text, size_t bytes)
{
    const char *where = self->call.to == WEFT_TO_LINK ? self->call.link->endpoint : self->view.bootstrap[0];
    bool more = self->call.to != WEFT_TO_LINK && self->view.bootstrap_count > 1;
    if (self->call.state == WEFT_CALL_SENT)
        snprintf(text, bytes, "%s has not answered yet", self->call.link->endpoint);
    else if (*self->call.last_text)
        snprintf(text, bytes, "%s", self->call.last_text);
    else
        snprintf(text, bytes, "%s %s%s", self->call.attempts ? "no answer from" : "no connection to", where,
                 more ? " or another bootstrap endpoint" : "");
}
weft_slice_t weft_admin_part_reply(const weft_admin_part_t *self)
{
    return weft_frame_slice(&self->reply);
}
int64_t weft_admin_part_round_trip_us(const weft_admin_part_t *self)
{
    return self->round_trip_us;
}

// ---- many

static void s_one_done(struct weft_call *call, weft_err_t error, const char *text,
                       const struct weft_reply_header *header, struct weft_message *message)
{
    struct s_one *one = call->context;
    one->error = error;
    one->owner->many_left--;
    if (message) weft_frame_move(&one->reply, &message->header);
}

void weft_admin_part_many_begin(weft_admin_part_t *self, size_t count)
{
    s_many_forget(self);
    self->many = weft_calloc(count + 1, sizeof *self->many);
    self->many_count = count;
    for (size_t i = 0; i < count; i++) {
        self->many[i] = (struct s_one){.owner = self, .reply = WEFT_FRAME_EMPTY};
        weft_buf_init(&self->many[i].call.header);
    }
}

struct weft_call *weft_admin_part_many_call(weft_admin_part_t *self, size_t index, const char *topic, int32_t partition)
{
    struct s_one *one = &self->many[index];
    one->call.to = WEFT_TO_LEADER;
    one->call.topic = s_topic(self, topic);
    one->call.partition = partition;
    one->call.done = s_one_done;
    one->call.context = one;
    weft_requests_id(&self->requests, &one->call);
    return &one->call;
}

void weft_admin_part_many_submit(weft_admin_part_t *self, int64_t timeout_us)
{
    self->many_left = self->many_count;
    for (size_t i = 0; i < self->many_count; i++) {
        struct weft_call *call = &self->many[i].call;
        call->attempt_us = timeout_us / 3;
        call->deadline_us = weft_port_now_us(&self->port) + timeout_us;
        weft_requests_submit(&self->requests, call);
    }
}

bool weft_admin_part_many_are_done(const weft_admin_part_t *self)
{
    return !self->many_left;
}

weft_err_t weft_admin_part_many_result(const weft_admin_part_t *self, size_t index, weft_slice_t *reply)
{
    const struct s_one *one = &self->many[index];
    if (!one->error) *reply = weft_frame_slice(&one->reply);
    return one->error;
}
