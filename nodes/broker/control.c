// SPDX-License-Identifier: MPL-2.0
// The control part: finds the coordinator in office (control_seek.c), registers this start under a new incarnation,
// heartbeats, hands the commands that the coordinator pushes to every shard (control_talk.c), and passes on what shards
// ask for.
//
//     STARTING --register--> JOINED --silence--> ALONE: heartbeats go on, to whoever may be in office by then
//        ^                     |
//        +------- FENCED ------+   (with another incarnation: the fence names the old one)
//
// Nothing here is on the path of a record: with all coordinators down the shards go on with what they hold (I10).
//
// A clean stop asks the coordinator to move what this broker leads. Meanwhile the shards serve on and learn of each
// move, so that clients are told where to go; once nothing is left here, and for as long as clients still come, the
// answer stays that. Only then do the shards stop.
#include "control_self.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_LEAVE_US 2000000   // longest that a stop waits for a coordinator to answer
#define S_SESSION_US 1000000 // until the coordinator tells its own
#define S_QUIET_US 100000    // no client was sent elsewhere for so long: they know
#define S_PART_MAX_US 1000000

static weft_control_t *s_self(struct weft_part *part)
{
    return (weft_control_t *) part;
}

void weft_control_standing(weft_control_t *self, enum weft_broker_standing standing)
{
    atomic_store_explicit(&self->broker->standing, self->stopping ? WEFT_BROKER_LEAVING : (int) standing,
                          memory_order_relaxed);
}

void weft_control_count(weft_control_t *self, enum weft_control_counter counter)
{
    weft_counter_add(&self->broker->counters, counter, 1);
}

void weft_control_new_incarnation(weft_control_t *self)
{
    self->incarnation = weft_rand_id(&self->rand);
    self->registered = false;
    self->first_id = self->next_id;
    for (size_t i = 0; i < self->coordinator_count; i++) self->coordinators[i].register_id = 0;
    weft_asks_clear(self->in_sync.asks); // of the old one
    weft_asks_clear(self->reports.asks);
    for (size_t i = 0; i < self->broker->shard_count; i++) {
        struct weft_broker_joined *joined = weft_alloc(sizeof *joined);
        joined->incarnation = self->incarnation;
        const struct weft_mail mail = {.kind = WEFT_MAIL_BROKER_JOINED, .body = joined, .body_free = free};
        self->port.ops->post(self->port.world, self->broker->shards[i].id, &mail);
    }
}

// ---- leaving

static bool s_others_live(const weft_control_t *self)
{
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self->cluster, &cursor)) != NULL;)
        if (broker->alive && broker->id != self->broker->id) return true;
    return false;
}

static uint64_t s_sent_elsewhere(const weft_control_t *self)
{
    uint64_t count = 0;
    for (size_t i = 0; i < self->broker->shard_count; i++)
        count += weft_counter_get(&self->broker->shards[i].counters, WEFT_COUNT_NOT_LEADER);
    return count;
}

void weft_control_part(weft_control_t *self, int64_t now_us)
{
    if (self->parting) return;
    self->parting = true;
    self->part_told = s_sent_elsewhere(self);
    self->part_us = now_us + (s_others_live(self) ? S_QUIET_US : 0);
    self->part_last_us = now_us + S_PART_MAX_US;
}

static int64_t s_parting_turn(weft_control_t *self, int64_t now_us)
{
    uint64_t told = s_sent_elsewhere(self);
    if (told != self->part_told) self->part_us = now_us + S_QUIET_US;
    self->part_told = told;
    if (self->part_us > self->part_last_us) self->part_us = self->part_last_us;
    self->left = now_us >= self->part_us;
    return self->left ? WEFT_TIME_NEVER : self->part_us;
}

static bool s_any_up(const weft_control_t *self)
{
    for (size_t i = 0; i < self->coordinator_count; i++)
        if (self->coordinators[i].up) return true;
    return false;
}

// Without a coordinator it just goes: the session's end tells.
static void s_check_leave(weft_control_t *self, int64_t now_us)
{
    int64_t heard_us = self->answered_us > self->stop_us ? self->answered_us : self->stop_us;
    if (!self->registered || !s_any_up(self) || now_us - heard_us >= S_LEAVE_US || now_us >= self->stop_last_us)
        self->left = true;
}

static void s_stop(struct weft_part *part)
{
    weft_control_t *self = s_self(part);
    if (self->stopping) return;
    self->stopping = true;
    weft_control_standing(self, WEFT_BROKER_LEAVING);
    int64_t now_us = weft_port_now_us(&self->port);
    self->stop_us = self->send_us = now_us;
    // The shards and the sync part need the rest of the time.
    self->stop_last_us = now_us + weft_options_int(self->broker->options, "stop.ms") * 1000 / 2;
    s_check_leave(self, now_us);
}

static bool s_stopped(struct weft_part *part)
{
    weft_control_t *self = s_self(part);
    if (!self->parting) s_check_leave(self, weft_port_now_us(&self->port));
    return self->left;
}

// ---- turn

static int64_t s_turn(struct weft_part *part, int64_t now_us)
{
    weft_control_t *self = s_self(part);
    if (self->left) return WEFT_TIME_NEVER;
    if (self->parting) return s_parting_turn(self, now_us);
    int64_t seek_us = weft_control_seek_turn(self, now_us);
    int64_t asks_us = weft_control_asks_turn(self, now_us);
    int64_t groups_us = weft_control_groups_turn(self, now_us);
    if (groups_us < asks_us) asks_us = groups_us;
    return seek_us < asks_us ? seek_us : asks_us;
}

// ---- what comes

static void s_message(struct weft_part *part, struct weft_message *message)
{
    weft_control_t *self = s_self(part);
    weft_control_told(self, message, weft_port_now_us(&self->port));
}

static void s_mail(struct weft_part *part, struct weft_mail *mail)
{
    weft_control_t *self = s_self(part);
    if (mail->kind == WEFT_MAIL_BROKER_GROUPS) {
        weft_control_groups_put(self, mail->body);
        return;
    }
    if (mail->kind == WEFT_MAIL_BROKER_ASK)
        (void) weft_asks_put(self->in_sync.asks, mail->body);
    else if (mail->kind == WEFT_MAIL_BROKER_REPORT)
        (void) weft_asks_put(self->reports.asks, mail->body);
    else
        weft_trace(WEFT_TRACE_WARN, self->name, "mail of kind %u is not for the control part", (unsigned) mail->kind);
    if (mail->body_free != NULL) mail->body_free(mail->body);
}

static void s_link_up(struct weft_part *part, weft_link_t link)
{
    weft_control_link_up(s_self(part), link);
}

static void s_link_down(struct weft_part *part, weft_link_t link)
{
    weft_control_link_down(s_self(part), link);
}

// ---- life

static void s_start(struct weft_part *part, const struct weft_port *port)
{
    weft_control_t *self = s_self(part);
    self->port = *port;
    weft_rand_init(&self->rand, port->ops->seed(port->world));
    const char *at = weft_options_text(self->broker->options, "coordinators");
    while (*at != '\0') {
        at += strspn(at, ", ");
        size_t size = strcspn(at, ", ");
        if (size != 0) (void) weft_control_coordinator(self, weft_slice(at, size), true);
        at += size;
    }
    weft_control_new_incarnation(self);
    self->answered_us = self->send_us = weft_port_now_us(port);
}

static void s_destroy(struct weft_part **self_p)
{
    weft_control_t *self = s_self(*self_p);
    if (self == NULL) return;
    *self_p = NULL;
    weft_cluster_destroy(&self->cluster);
    weft_asks_destroy(&self->in_sync.asks);
    weft_asks_destroy(&self->reports.asks);
    weft_control_groups_fini(self);
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
    weft_control_t *self = weft_calloc(1, sizeof *self);
    self->part.ops = &s_ops;
    self->broker = broker;
    snprintf(self->name, sizeof self->name, "broker-%d/control", (int) broker->id);
    self->cluster = weft_cluster_new();
    self->restarted = true;
    self->next_id = self->first_id = 1;
    self->named = SIZE_MAX;
    self->heartbeat_us = weft_options_int(broker->options, "heartbeat.ms") * 1000;
    self->session_us = S_SESSION_US;
    self->in_sync.asks = weft_asks_new(WEFT_ASKS_IN_SYNC);
    self->reports.asks = weft_asks_new(WEFT_ASKS_REPORTS);
    weft_codec_init(&self->codec);
    weft_buf_init(&self->buf);
    return &self->part;
}
