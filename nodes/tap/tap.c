// SPDX-License-Identifier: MPL-2.0
// The node type: options, sockets, and its two threads (tap_inner.h says which).
#include "outlet.h"

#include "../common/clients.h"
#include "../common/sockets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft_gen/config.h>
#include <zmq.h>

struct weft_tap {
    struct weft_tap_settings settings;
    struct weft_tap_streams streams;
    struct weft_tap_outlet outlet;
    void *router; // NULL: no replays
    weft_tap_live_t *live;
    weft_tap_replay_t *replay;
};

static const struct weft_counter_info s_counters[WEFT_TAP_COUNTER_COUNT] = {
    [WEFT_TAP_PUBLISHED_COUNT] = {"published_count", "Records published."},
    [WEFT_TAP_PUBLISHED_BYTES] = {"published_bytes", "Bytes of their payloads."},
    [WEFT_TAP_ANNOUNCED_COUNT] = {"announced_count",
                                  "Last records repeated, for those that may lack what came before."},
    [WEFT_TAP_FULL_COUNT] = {"full_count", "Times that a subscriber had too much unread and lost what followed."},
    [WEFT_TAP_SHRUNK_COUNT] = {"shrunk_count", "Times that all subscribers had to connect again, to bound memory."},
    [WEFT_TAP_GAPS_COUNT] = {"gaps_count", "Sequences that the topic has no record for (compaction, damage)."},
    [WEFT_TAP_RESETS_COUNT] = {"resets_count", "Times that records were gone before they were published."},
    [WEFT_TAP_DIVERGED_COUNT] = {"diverged_count", "Times that the cluster lost records that were published."},
    [WEFT_TAP_SUBSCRIPTIONS_COUNT] = {"subscriptions_count", "Subscriptions now."},
    [WEFT_TAP_SUBSCRIBED_COUNT] = {"subscribed_count", "Subscriptions since the start."},
    [WEFT_TAP_BAD_SUBSCRIPTIONS_COUNT] = {"bad_subscriptions_count",
                                          "Messages of subscribers that are no subscription."},
    [WEFT_TAP_BAD_BATCHES_COUNT] = {"bad_batches_count", "Damaged batches passed over."},
    [WEFT_TAP_REPLAYS_COUNT] = {"replays_count", "Replays asked for."},
    [WEFT_TAP_REPLAYS_ENDED_COUNT] = {"replays_ended_count", "Replays that came to their end."},
    [WEFT_TAP_REPLAYS_ACTIVE_COUNT] = {"replays_active_count", "Requesters now, with those that have not read all."},
    [WEFT_TAP_REPLAYED_COUNT] = {"replayed_count", "Records replayed."},
    [WEFT_TAP_REPLAYED_BYTES] = {"replayed_bytes", "Bytes of their payloads."},
    [WEFT_TAP_REPLAYS_MALFORMED_COUNT] = {"replays_malformed_count",
                                          "Requests ignored: malformed, or of no stream here."},
    [WEFT_TAP_REPLAYS_REFUSED_COUNT] = {"replays_refused_count",
                                        "Requests ignored: replay.requesters were there already."},
    [WEFT_TAP_REPLAYS_GONE_COUNT] = {"replays_gone_count", "Replays whose requester went away."},
    [WEFT_TAP_REPLAYS_STALLED_COUNT] = {"replays_stalled_count", "Replays given up: their requester did not read."},
    [WEFT_TAP_REPLAYS_CUT_COUNT] = {"replays_cut_count", "Replays that lack records: gone, damaged or out of reach."},
};

// ---- settings

weft_err_t weft_tap_consumer_new(const struct weft_tap_settings *settings, const char *const *extra,
                                 weft_consumer_t **out, struct weft_error *error)
{
    size_t count = 0, more = 0;
    while (settings->consumer[count]) count++;
    while (extra[more]) more++;
    const char **all = weft_calloc(count + more + 3, sizeof *all);
    all[0] = "reset=earliest";     // records that retention took: go on with the first there is
    all[1] = "buffer.bytes=16MiB"; // enough for two fetches and more under way
    memcpy(all + 2, settings->consumer, count * sizeof *all);
    memcpy(all + 2 + count, extra, more * sizeof *all);
    weft_err_t err = weft_consumer_new(all, out, error);
    free(all);
    if (err || !weft_consumer_option_text(*out, "group")[0]) return err;
    weft_consumer_destroy(out);
    return weft_node_refuse(error, WEFT_ERR_INVALID_OPTION,
                            "consumer: a tap keeps no offsets, so it takes no group; leave `group` out.");
}

static void s_check(const weft_options_t *options, weft_complain_fn *complain, void *context)
{
    struct weft_position from;
    const char *text = weft_options_text(options, "from");
    if (weft_position_parse(text, &from) != WEFT_OK)
        complain(context, "from", "from=%.64s is no place in a topic: say earliest, latest, an offset or @TIME.", text);
    if (!*weft_options_text(options, "topic"))
        complain(context, "topic", "topic is not set: say which one is published.");
    weft_inside_check(options, "consumer", weft_options_consumer, weft_options_consumer_count, complain, context);
}

static weft_err_t s_settings(struct weft_tap *self, weft_hosted_node_t *node, const weft_options_t *options,
                             struct weft_error *error)
{
    struct weft_position from;
    weft_err_t err = weft_position_parse(weft_options_text(options, "from"), &from);
    if (err != WEFT_OK) return weft_node_refuse(error, err, "%s", weft_err_sentence(err)); // s_check would have told
    int64_t announce_ms = weft_options_int(options, "announce.ms");
    self->settings = (struct weft_tap_settings){
        .node = node,
        .topic = weft_options_text(options, "topic"),
        .partition = (int32_t) weft_options_int(options, "partition"),
        .from = from,
        .whole_records = weft_options_int(options, "payload") == WEFT_TAP_PAYLOAD_RECORD,
        .replay_topic = weft_options_bool(options, "replay.topic"),
        .slow_waits = weft_options_int(options, "slow") == WEFT_TAP_SLOW_WAIT,
        .announce_us = announce_ms < 0 ? -1 : announce_ms * 1000,
        .wait_subscribers = (uint64_t) weft_options_int(options, "wait.subscribers"),
        .hwm = (uint64_t) weft_options_int(options, "hwm"),
        .subscriber_bytes = (uint64_t) weft_options_int(options, "subscriber.bytes"),
        .replay_readers = (size_t) weft_options_int(options, "replay.readers"),
        .replay_requesters = (size_t) weft_options_int(options, "replay.requesters"),
        .replay_bytes = (size_t) weft_options_int(options, "replay.bytes"),
        .replay_stall_us = weft_options_int(options, "replay.stall.ms") * 1000,
        .consumer = weft_inside_settings(node, weft_options_text(options, "bootstrap"), (const char *[]){NULL},
                                         weft_options_text(options, "consumer"))};
    return WEFT_OK;
}

// ---- sockets

static weft_err_t s_open_outlet(struct weft_tap *self, const char *endpoint, struct weft_error *error)
{
    weft_err_t err = weft_tap_outlet_open(&self->outlet, &self->settings, endpoint, error);
    if (!err) weft_node_set_endpoint(self->settings.node, self->outlet.endpoint);
    return err;
}

static weft_err_t s_open_router(struct weft_tap *self, const char *endpoint, struct weft_error *error)
{
    char bound[WEFT_BOUND_BYTES_MAX];
    weft_err_t err = weft_outside_router(self->settings.node, 64, 0, 4096, &self->router, error);
    if (err) return err;
    weft_outside_set(self->router, ZMQ_SNDHWM, 0);           // bytes are counted instead (replay_send.c)
    weft_outside_set(self->router, ZMQ_ROUTER_MANDATORY, 1); // who is gone is told
    weft_outside_set(self->router, ZMQ_TCP_KEEPALIVE, 1);
    weft_outside_set(self->router, ZMQ_TCP_KEEPALIVE_IDLE, 60);
    return weft_outside_bind(self->router, "replay", endpoint, bound, error);
}

// ---- the type

static void s_destroy(void **self_p)
{
    struct weft_tap *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    weft_tap_replay_destroy(&self->replay);
    weft_tap_live_destroy(&self->live);
    if (self->router) zmq_close(self->router);
    weft_tap_outlet_close(&self->outlet);
    weft_tap_streams_fini(&self->streams);
    weft_list_free(&self->settings.consumer);
    free(self);
}

static weft_err_t s_create(weft_hosted_node_t *node, const weft_options_t *options, void **out,
                           struct weft_error *error)
{
    struct weft_tap *self = weft_calloc(1, sizeof *self);
    void *owned = self;
    const char *as = weft_options_text(options, weft_options_is_set(options, "as") ? "as" : "topic");
    weft_tap_streams_init(&self->streams, as);
    const char *replay = weft_options_text(options, "replay");
    weft_err_t err = s_settings(self, node, options, error);
    if (!err) err = s_open_outlet(self, weft_options_text(options, "listen"), error);
    if (!err && replay[0]) err = s_open_router(self, replay, error);
    if (!err) err = weft_tap_live_new(&self->settings, &self->streams, &self->outlet, &self->live, error);
    if (!err && replay[0])
        err = weft_tap_replay_new(&self->settings, &self->streams, self->router, &self->replay, error);
    if (err) {
        s_destroy(&owned);
        return err;
    }
    *out = self;
    return WEFT_OK;
}

static void *s_replay_thread(void *context)
{
    weft_tap_replay_run(context);
    return NULL;
}

static weft_err_t s_run(void *context, struct weft_error *error)
{
    struct weft_tap *self = context;
    pthread_t thread;
    bool threaded = self->replay != NULL;
    if (threaded && pthread_create(&thread, NULL, s_replay_thread, self->replay) != 0)
        return weft_node_refuse(error, WEFT_ERR_INTERNAL, "no thread for replays: %s", strerror(errno));
    weft_err_t err = weft_tap_live_run(self->live, error);
    if (threaded) pthread_join(thread, NULL);
    return err;
}

extern const struct weft_node_type weft_node_type_tap;
const struct weft_node_type weft_node_type_tap = {
    .abi = WEFT_NODE_ABI,
    .name = "tap",
    .doc = "Publishes a topic for plain ZeroMQ subscribers, and replays from the log what they missed.",
    .options = weft_options_tap,
    .option_count = sizeof weft_options_tap / sizeof *weft_options_tap,
    .counters = s_counters,
    .counter_count = WEFT_TAP_COUNTER_COUNT,
    .create = s_create,
    .run = s_run,
    .destroy = s_destroy,
    .check = s_check,
};
