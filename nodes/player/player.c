// SPDX-License-Identifier: MPL-2.0
// Player: the life of the node. One thread owns the consumer, the socket and the control socket. A turn: take in what was
// fetched, obey orders, play what is due, wait for whichever comes first: a record's time, a peer, an order, the end.
// Waits are cut to the millisecond below the time that is due, and the rest is slept: pace is as exact as the machine's timers.
#include "player_inner.h"

#include "../common/clients.h"
#include "../common/sockets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <weft_gen/config.h>

#define TURN_RECORDS 512
#define IDLE_MS 100
#define STARTING_MS 1000
#define BLOCKED_MS 1000 // peers that take nothing for longer are told in the health

static const struct weft_counter_info s_counters[WEFT_PLAYER_COUNTERS] = {
    [WEFT_PLAYER_SENT] = {"records_sent_count", "Records handed to the socket."},
    [WEFT_PLAYER_SENT_BYTES] = {"sent_bytes", "Bytes of their frames."},
    [WEFT_PLAYER_LATE] = {"records_late_count", "Records that left more than 10 ms after their time."},
    [WEFT_PLAYER_SLIP_MS] = {"slip_ms", "Time by which the pace has slipped in all."},
    [WEFT_PLAYER_BLOCKED_MS] = {"target_blocked_ms", "Time in which the peers took nothing."},
    [WEFT_PLAYER_MALFORMED] = {"records_malformed_count",
                               "Records not sent: they do not hold the frames they speak of."},
    [WEFT_PLAYER_SKIPPED] = {"offsets_skipped_count", "Offsets that were gone, or in batches that can't be read."},
    [WEFT_PLAYER_DAMAGED] = {"batches_damaged_count", "Batches that can't be read."},
    [WEFT_PLAYER_LOOPS] = {"loops_count", "Times that it began again."},
    [WEFT_PLAYER_PEERS] = {"target_peers_count", "Connections now."},
    [WEFT_PLAYER_SUBSCRIPTIONS] = {"subscriptions_count", "Subscriptions now (pub)."},
    [WEFT_PLAYER_REPLIES] = {"replies_count", "Messages that peers sent back; they are dropped (dealer)."},
};

// ---- health and counters

static void s_health_calm(struct weft_player *self)
{
    if (self->over)
        weft_node_set_health(self->node, WEFT_HEALTH_SERVING, "played to the end");
    else if (self->paused)
        weft_node_set_health(self->node, WEFT_HEALTH_SERVING, "paused after %llu records",
                             (unsigned long long) self->counts[WEFT_PLAYER_SENT]);
    else if (self->state == WEFT_REEL_AT_END)
        weft_node_set_health(self->node, WEFT_HEALTH_SERVING, "at the end, waiting for more records");
    else
        weft_node_set_health(self->node, WEFT_HEALTH_SERVING, NULL);
}

static void s_health(struct weft_player *self, int64_t now_us)
{
    const char *trouble = weft_reel_trouble(self->reel), *target = weft_options_text(self->options, "target");
    long long wanted = weft_options_int(self->options, "wait.subscribers");
    bool unknown = self->state == WEFT_REEL_WAIT && !self->counts[WEFT_PLAYER_SENT];
    if (unknown && now_us - self->begun_us < STARTING_MS * 1000) return; // still starting: the cluster may be, too
    if (*trouble)
        weft_node_set_health(self->node, WEFT_HEALTH_DEGRADED, "%s", trouble);
    else if (unknown)
        weft_node_set_health(self->node, WEFT_HEALTH_DEGRADED, "no node of the cluster has answered yet");
    else if (self->blocked && now_us - self->blocked_us > BLOCKED_MS * 1000)
        weft_node_set_health(self->node, WEFT_HEALTH_DEGRADED, "the peers have taken nothing for %lld s",
                             (long long) (now_us - self->blocked_us) / 1000000);
    else if (self->target.counts && !self->target.peers && *target)
        weft_node_set_health(self->node, WEFT_HEALTH_DEGRADED, "nobody answers at %.200s yet", target);
    else if (!self->over && self->counts[WEFT_PLAYER_SUBSCRIPTIONS] < (uint64_t) wanted)
        weft_node_set_health(self->node, WEFT_HEALTH_SERVING, "waiting for %lld subscriptions", wanted);
    else
        s_health_calm(self);
}

static void s_publish(struct weft_player *self, bool now)
{
    int64_t now_us = weft_mono_us();
    if (!now && now_us - self->published_us < IDLE_MS * 1000) return;
    self->published_us = now_us;
    weft_attach_look(&self->target);
    uint64_t blocked_us = self->blocked_total_us + (self->blocked ? (uint64_t) (now_us - self->blocked_us) : 0);
    self->counts[WEFT_PLAYER_PEERS] = (uint64_t) self->target.peers;
    self->counts[WEFT_PLAYER_SLIP_MS] = self->slip_us / 1000;
    self->counts[WEFT_PLAYER_BLOCKED_MS] = blocked_us / 1000;
    self->counts[WEFT_PLAYER_SKIPPED] = weft_reel_counts(self->reel)->skipped;
    self->counts[WEFT_PLAYER_DAMAGED] = weft_reel_counts(self->reel)->damaged;
    for (size_t i = 0; i < WEFT_PLAYER_COUNTERS; i++) weft_node_counter_set(self->node, i, self->counts[i]);
    if (!weft_node_stopping(self->node)) s_health(self, now_us);
}

// ---- turns

// What peers send back: subscriptions of a PUB, replies to a DEALER.
static void s_hear(struct weft_player *self)
{
    if (self->type == ZMQ_PUSH) return;
    char first;
    for (int i = 0; i < TURN_RECORDS; i++) {
        int size = zmq_recv(self->target.socket, &first, 1, ZMQ_DONTWAIT), more = 0;
        size_t more_bytes = sizeof more;
        if (size < 0) return;
        (void) zmq_getsockopt(self->target.socket, ZMQ_RCVMORE, &more, &more_bytes);
        if (self->type == ZMQ_DEALER)
            self->counts[WEFT_PLAYER_REPLIES] += !more;
        else if (size > 0 && first == 1)
            self->counts[WEFT_PLAYER_SUBSCRIPTIONS]++;
        else if (size > 0 && first == 0 && self->counts[WEFT_PLAYER_SUBSCRIPTIONS])
            self->counts[WEFT_PLAYER_SUBSCRIPTIONS]--;
    }
}

static void s_wait(struct weft_player *self)
{
    bool timed = self->due_us && !self->blocked && !(self->paused && !self->steps);
    int64_t left_us = timed ? self->due_us - weft_mono_us() : IDLE_MS * 1000;
    if (left_us > IDLE_MS * 1000) left_us = IDLE_MS * 1000;
    zmq_pollitem_t items[] = {
        {.fd = weft_node_stop_fd(self->node), .events = ZMQ_POLLIN},
        {.fd = weft_reel_fd(self->reel), .events = ZMQ_POLLIN},
        {.socket = self->target.socket, .events = self->type == ZMQ_PUSH ? 0 : ZMQ_POLLIN},
        {.socket = self->control, .events = ZMQ_POLLIN},
    };
    if (self->blocked) items[2].events |= ZMQ_POLLOUT;
    int ready = zmq_poll(items, self->control ? 4 : 3, left_us > 0 ? left_us / 1000 : 0);
    if (ready || !timed) return;
    left_us = self->due_us - weft_mono_us();
    if (left_us <= 0 || left_us >= 1000) return;
    struct timespec until = {.tv_sec = self->due_us / 1000000, .tv_nsec = self->due_us % 1000000 * 1000};
    (void) clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static weft_err_t s_run(void *context, struct weft_error *error)
{
    struct weft_player *self = context;
    weft_err_t err = weft_player_seek(self, self->from);
    self->begun_us = weft_mono_us();
    while (!err && !weft_node_stopping(self->node)) {
        err = weft_reel_fill(self->reel);
        if (err) break;
        weft_player_orders(self);
        s_hear(self);
        bool more = weft_player_play(self, TURN_RECORDS);
        s_publish(self, false);
        if (self->over && self->at_end == WEFT_PLAYER_STOP) break;
        if (!more) s_wait(self);
    }
    s_publish(self, true);
    weft_node_trace(self->node, 2, "%llu records sent, %llu late, %llu ms slipped",
                    (unsigned long long) self->counts[WEFT_PLAYER_SENT],
                    (unsigned long long) self->counts[WEFT_PLAYER_LATE],
                    (unsigned long long) self->counts[WEFT_PLAYER_SLIP_MS]);
    if (err) return weft_node_refuse(error, err, "%s", weft_reel_trouble(self->reel));
    return WEFT_OK;
}

static void s_destroy(void **self_p)
{
    struct weft_player *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    weft_reel_destroy(&self->reel);
    weft_attach_close(&self->target);
    if (self->control) zmq_close(self->control);
    free(self->frames);
    free(self);
}

// ---- create

static void s_check(const weft_options_t *options, weft_complain_fn *complain, void *context)
{
    const char *speed = weft_options_text(options, "speed"), *from = weft_options_text(options, "from");
    const char *to = weft_options_text(options, "to");
    struct weft_position at;
    double number;
    if (weft_pace_parse(speed, &number) != WEFT_OK)
        complain(context, "speed", "option 'speed': '%.32s' is not max, 0, or a number from 0.000001 to 1000000",
                 speed);
    if (weft_position_parse(from, &at) != WEFT_OK)
        complain(context, "from", "option 'from': '%.64s' is not earliest, latest, an offset or @TIME", from);
    if (*to && (weft_position_parse(to, &at) || (at.from != WEFT_FROM_OFFSET && at.from != WEFT_FROM_TIME)))
        complain(context, "to", "option 'to': '%.64s' is no offset and no @TIME", to);
    if (weft_options_bool(options, "paused") && !*weft_options_text(options, "control"))
        complain(context, "paused", "option 'paused': nothing could ever resume it; set 'control' as well");
    weft_inside_check(options, "consumer", weft_options_consumer, weft_options_consumer_count, complain, context);
}

static weft_err_t s_open(struct weft_player *self, struct weft_error *error)
{
    static const int types[] = {ZMQ_XPUB, ZMQ_PUSH, ZMQ_DEALER}; // as the choices of `socket`
    const weft_options_t *options = self->options;
    int64_t linger_ms = weft_options_int(options, "stop.ms");
    self->type = types[weft_options_int(options, "socket")];
    const struct weft_attach_settings settings = {
        .type = self->type,
        .listen = weft_options_text(options, "listen"),
        .connect = weft_options_text(options, "target"),
        .hwm = (int) weft_options_int(options, "hwm"),
        .message_bytes_max = 1 << 20, // of what peers send back
        .linger_ms = linger_ms > INT32_MAX ? INT32_MAX : (int) linger_ms,
        .lossless = weft_options_int(options, "slow") == WEFT_PLAYER_SLOW_WAIT,
    };
    return weft_attach_open(self->node, &settings, "target", &self->target, error);
}

static weft_err_t s_open_control(struct weft_player *self, struct weft_error *error)
{
    const char *endpoint = weft_options_text(self->options, "control");
    if (!*endpoint) return WEFT_OK;
    char bound[WEFT_BOUND_BYTES_MAX];
    weft_err_t err = weft_outside_router(self->node, 100, 200, 4096, &self->control, error);
    if (!err) err = weft_outside_bind(self->control, "control", endpoint, bound, error);
    if (!err) weft_node_trace(self->node, 2, "control at %s", bound);
    return err;
}

static weft_err_t s_open_reel(struct weft_player *self, struct weft_error *error)
{
    const weft_options_t *options = self->options;
    const char *to = weft_options_text(options, "to");
    struct weft_reel_settings settings = {
        .topic = weft_options_text(options, "topic"),
        .partition = (int32_t) weft_options_int(options, "partition"),
        .has_to = *to,
        .follows = self->at_end == WEFT_PLAYER_WAIT,
    };
    weft_err_t err = *to ? weft_position_parse(to, &settings.to) : WEFT_OK;
    if (err) return err; // s_check would have told
    const char *const own[] = {"reset=earliest", "metadata.ms=1s", NULL};
    char **list = weft_inside_settings(self->node, weft_options_text(options, "bootstrap"), own,
                                       weft_options_text(options, "consumer"));
    settings.consumer = (const char *const *) list;
    err = weft_reel_new(&settings, &self->reel, error);
    weft_list_free(&list);
    if (err) return err;
    err = weft_reel_seek(self->reel, self->from);
    if (err) return weft_node_refuse(error, err, "option 'topic': %s", weft_reel_trouble(self->reel));
    return WEFT_OK;
}

// What may be wrong with them, s_check has told.
static weft_err_t s_read_options(struct weft_player *self)
{
    const weft_options_t *options = self->options;
    self->pace.pause_max_ms = weft_options_int(options, "pause.max.ms");
    self->at_end = (enum weft_player_at_end) weft_options_int(options, "at.end");
    self->key_value = weft_options_int(options, "plain") == 1;
    self->paused = weft_options_bool(options, "paused");
    weft_err_t err = weft_pace_parse(weft_options_text(options, "speed"), &self->pace.speed);
    return err ? err : weft_position_parse(weft_options_text(options, "from"), &self->from);
}

static weft_err_t s_create(weft_hosted_node_t *node, const weft_options_t *options, void **out,
                           struct weft_error *error)
{
    struct weft_player *self = weft_calloc(1, sizeof *self);
    self->node = node;
    self->options = options;
    self->frames = weft_calloc(WEFT_FRAMES_MAX + 1, sizeof *self->frames);
    weft_err_t err = s_read_options(self);
    if (!err) err = s_open_reel(self, error);
    if (!err) err = s_open(self, error);
    if (!err) err = s_open_control(self, error);
    void *made = self;
    if (err)
        s_destroy(&made);
    else
        *out = self;
    return err;
}

const struct weft_node_type weft_node_type_player = {
    .abi = WEFT_NODE_ABI,
    .name = "player",
    .doc = "Replays a topic into a ZeroMQ socket: at the recorded pace, faster, or step by step.",
    .options = weft_options_player,
    .option_count = sizeof weft_options_player / sizeof weft_options_player[0],
    .counters = s_counters,
    .counter_count = WEFT_PLAYER_COUNTERS,
    .create = s_create,
    .run = s_run,
    .destroy = s_destroy,
    .check = s_check,
};
