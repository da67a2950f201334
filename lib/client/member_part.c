// SPDX-License-Identifier: MPL-2.0
// Each turn reads the orders of the desk anew and derives from them the state that the membership should be in; what has
// to be said for that, member_heartbeat.c says.
#include "member_inner.h"

#include <weft_gen/config.h>

#include <stdio.h>
#include <stdlib.h>

static const struct weft_counter_info s_infos[WEFT_MEMBER_COUNTERS] = {
    [WEFT_MEMBER_COUNT_HEARTBEATS] = {"heartbeats_count", "Heartbeats sent."},
    [WEFT_MEMBER_COUNT_JOINS] = {"joins_count", "Times it joined the group."},
    [WEFT_MEMBER_COUNT_LOST] = {"lost_count", "Times that all it owned was lost."},
    [WEFT_MEMBER_COUNT_UNANSWERED] = {"heartbeats_unanswered_count", "Heartbeats that got no answer."},
    [WEFT_MEMBER_COUNT_REFUSALS] = {"heartbeats_refused_count", "Heartbeats answered with an error."},
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
    weft_counters_init(&self->counters, s_infos, WEFT_MEMBER_COUNTERS);
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

void weft_member_forget(weft_member_part_t *self)
{
    self->epoch = self->seen = self->revision = 0;
    self->subscription = 0;
    self->full = true;
}

void weft_member_lose(weft_member_part_t *self, const char *text)
{
    weft_member_forget(self);
    weft_counter_add(&self->counters, WEFT_MEMBER_COUNT_LOST, 1);
    weft_desk_lost(self->desk, text);
}

void weft_member_end(weft_member_part_t *self)
{
    weft_requests_cancel(&self->requests, &self->call);
    weft_member_forget(self);
    self->state = WEFT_MEMBER_GONE;
    weft_desk_say_left(self->desk);
}

// ---- what state it should be in

int64_t weft_member_idle_us(const weft_member_part_t *self, int64_t now_us)
{
    return self->orders.polled_us == INT64_MAX || self->orders.polled_us > now_us ? 0 : now_us - self->orders.polled_us;
}

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
    self->state = WEFT_MEMBER_IDLE;
    weft_counter_add(&self->counters, WEFT_MEMBER_COUNT_LOST, 1);
    weft_desk_await_poll(self->desk);
    weft_desk_lost(self->desk, text);
}

static void s_mind_idle(weft_member_part_t *self, int64_t now_us)
{
    int64_t idle_us = weft_member_idle_us(self, now_us);
    if (self->state == WEFT_MEMBER_IN && idle_us > self->max_poll_us) {
        s_stop_idle(self, idle_us);
    } else if (self->state == WEFT_MEMBER_IDLE && idle_us <= self->max_poll_us) {
        weft_requests_cancel(&self->requests, &self->call);
        weft_member_forget(self);
        self->state = WEFT_MEMBER_IN;
        self->retry_us = 0;
    } else if (self->state == WEFT_MEMBER_IDLE) {
        weft_desk_await_poll(self->desk); // the one that woke this part was too long ago when it got its turn
    }
}

static void s_mind_orders(weft_member_part_t *self, int64_t now_us)
{
    if (self->state == WEFT_MEMBER_GONE) return;
    if (self->state == WEFT_MEMBER_OUT && self->orders.subscription) {
        self->state = WEFT_MEMBER_IN;
        self->full = true;
    }
    if (self->state == WEFT_MEMBER_REFUSED && self->orders.subscription != self->subscription) {
        self->state = WEFT_MEMBER_IN;
        self->retry_us = 0;
    }
    if (self->orders.leave == WEFT_DESK_STAY) {
        s_mind_idle(self, now_us);
        return;
    }
    // Nothing to leave. A join under way is waited for, since it may make a member of it.
    bool nothing = !self->epoch && self->call.state != WEFT_CALL_SENT;
    bool told = self->state == WEFT_MEMBER_IDLE && self->leaving_told;
    if (nothing || told || self->state == WEFT_MEMBER_OUT || self->state == WEFT_MEMBER_REFUSED) weft_member_end(self);
}

// When something is due though nobody says anything.
static int64_t s_timer_us(weft_member_part_t *self, int64_t now_us)
{
    int64_t next_us = WEFT_TIME_NEVER;
    if (self->state != WEFT_MEMBER_IN) return next_us;
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
    int64_t next_us = weft_member_speak(self, now_us);
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

bool weft_member_part_gone(const weft_member_part_t *self)
{
    return self->state == WEFT_MEMBER_GONE;
}

const weft_counters_t *weft_member_part_counters(const weft_member_part_t *self)
{
    return &self->counters;
}
