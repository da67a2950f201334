// SPDX-License-Identifier: MPL-2.0
// The node type: options, sockets, and its two threads (tap_inner.h says which).
#include "tap_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft_gen/config.h>
#include <zmq.h>

struct tap {
    struct tap_settings settings;
    struct tap_streams streams;
    void *xpub, *router; // router NULL: no replays
    tap_live_t *live;
    tap_replay_t *replay;
};

static const struct weft_counter_info s_counters[TAP_COUNTER_COUNT] = {
    [TAP_PUBLISHED_COUNT] = {"published_count", "records published"},
    [TAP_PUBLISHED_BYTES] = {"published_bytes", "bytes of their payloads"},
    [TAP_ANNOUNCED_COUNT] = {"announced_count", "last records repeated, for those that may lack what came before"},
    [TAP_FULL_COUNT] = {"full_count", "times that a subscriber had too much unread and lost what followed"},
    [TAP_GAPS_COUNT] = {"gaps_count", "sequences that the topic has no record for (compaction, damage)"},
    [TAP_RESETS_COUNT] = {"resets_count", "times that records were gone before they were published"},
    [TAP_DIVERGED_COUNT] = {"diverged_count", "times that the cluster lost records that were published"},
    [TAP_SUBSCRIPTIONS_COUNT] = {"subscriptions_count", "subscriptions now"},
    [TAP_SUBSCRIBED_COUNT] = {"subscribed_count", "subscriptions since the start"},
    [TAP_BAD_SUBSCRIPTIONS_COUNT] = {"bad_subscriptions_count", "messages of subscribers that are no subscription"},
    [TAP_BAD_BATCHES_COUNT] = {"bad_batches_count", "damaged batches passed over"},
    [TAP_REPLAYS_COUNT] = {"replays_count", "replays asked for"},
    [TAP_REPLAYS_ENDED_COUNT] = {"replays_ended_count", "replays that came to their end"},
    [TAP_REPLAYS_ACTIVE_COUNT] = {"replays_active_count", "requesters now, with those that have not read all"},
    [TAP_REPLAYED_COUNT] = {"replayed_count", "records replayed"},
    [TAP_REPLAYED_BYTES] = {"replayed_bytes", "bytes of their payloads"},
    [TAP_REPLAYS_MALFORMED_COUNT] = {"replays_malformed_count", "requests ignored: malformed, or of no stream here"},
    [TAP_REPLAYS_REFUSED_COUNT] = {"replays_refused_count", "requests ignored: replay.requesters were there already"},
    [TAP_REPLAYS_GONE_COUNT] = {"replays_gone_count", "replays whose requester went away"},
    [TAP_REPLAYS_STALLED_COUNT] = {"replays_stalled_count", "replays given up: their requester did not read"},
    [TAP_REPLAYS_CUT_COUNT] = {"replays_cut_count", "replays that lack records: gone, damaged or out of reach"},
};

// ---- settings

// As clients have it: what was set, then the environment, then the default.
static const char *s_bootstrap(const weft_options_t *options)
{
    const char *environment = getenv("WEFT_BOOTSTRAP");
    bool is_set = weft_options_is_set(options, "bootstrap") || !environment || !environment[0];
    return is_set ? weft_options_text(options, "bootstrap") : environment;
}

// "a=1,b=2" as settings of a client, behind what the tap itself says.
static char **s_split(const char *bootstrap, const char *name, const char *more)
{
    size_t count = 4;
    for (const char *at = more; *at; at++) count += *at == ',';
    char **list = weft_calloc(count, sizeof *list);
    size_t used = 0;
    weft_buf_t text;
    weft_buf_init(&text);
    weft_buf_printf(&text, "bootstrap=%s", bootstrap);
    list[used++] = weft_slice_dup(weft_buf_slice(&text));
    weft_buf_clear(&text);
    weft_buf_printf(&text, "client=%s", name);
    list[used++] = weft_slice_dup(weft_buf_slice(&text));
    weft_buf_fini(&text);
    while (*more) {
        size_t size = strcspn(more, ",");
        if (size > 0) list[used++] = weft_slice_dup(weft_slice(more, size));
        more += size + (more[size] == ',');
    }
    return list;
}

weft_err_t tap_consumer_new(const struct tap_settings *settings, const char *const *extra, weft_consumer_t **out,
                            struct weft_error *error)
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

static weft_err_t s_settings(struct tap *self, weft_hosted_node_t *node, const weft_options_t *options,
                             struct weft_error *error)
{
    struct weft_position from;
    const char *text = weft_options_text(options, "from");
    if (weft_position_parse(text, &from) != WEFT_OK)
        return weft_node_refuse(error, WEFT_ERR_INVALID_OPTION,
                                "from=%.64s is no place in a topic: say earliest, latest, an offset or @TIME.", text);
    int64_t announce_ms = weft_options_int(options, "announce.ms");
    self->settings = (struct tap_settings){
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
        .consumer = s_split(s_bootstrap(options), weft_node_name(node), weft_options_text(options, "consumer"))};
    return WEFT_OK;
}

// ---- sockets

static void s_set(void *socket, int option, int value)
{
    int rc = zmq_setsockopt(socket, option, &value, sizeof value);
    (void) rc; // of the options used here none can be refused
}

static weft_err_t s_bind(weft_hosted_node_t *node, void *socket, const char *option, const char *endpoint,
                         struct weft_error *error)
{
    if (zmq_bind(socket, endpoint) == 0) return WEFT_OK;
    bool used = zmq_errno() == EADDRINUSE;
    return weft_node_refuse(error, used ? WEFT_ERR_ENDPOINT_IN_USE : WEFT_ERR_INVALID_ENDPOINT, "%s=%s: %s", option,
                            endpoint,
                            used ? "another program has it; choose another port." : zmq_strerror(zmq_errno()));
}

static weft_err_t s_open_xpub(struct tap *self, const char *endpoint, struct weft_error *error)
{
    weft_hosted_node_t *node = self->settings.node;
    self->xpub = zmq_socket(weft_node_zmq_context(node), ZMQ_XPUB);
    if (!self->xpub) return weft_node_refuse(error, WEFT_ERR_INTERNAL, "no XPUB socket: %s", zmq_strerror(zmq_errno()));
    s_set(self->xpub, ZMQ_LINGER, 500); // what does not leave in that time is asked for again
    s_set(self->xpub, ZMQ_SNDHWM, (int) self->settings.hwm);
    s_set(self->xpub, ZMQ_RCVHWM, 256);
    int64_t bytes_max = 4096; // of a subscription
    zmq_setsockopt(self->xpub, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max);
    s_set(self->xpub, ZMQ_XPUB_VERBOSER, 1); // each subscription and its end, to count them
    s_set(self->xpub, ZMQ_TCP_KEEPALIVE, 1);
    s_set(self->xpub, ZMQ_TCP_KEEPALIVE_IDLE, 60);
    s_set(self->xpub, ZMQ_XPUB_NODROP, 1); // a full subscriber is told; live.c decides
    s_set(self->xpub, ZMQ_SNDTIMEO, 100);  // slow=wait: then it looks whether the node stops
    return s_bind(node, self->xpub, "listen", endpoint, error);
}

static weft_err_t s_open_router(struct tap *self, const char *endpoint, struct weft_error *error)
{
    weft_hosted_node_t *node = self->settings.node;
    self->router = zmq_socket(weft_node_zmq_context(node), ZMQ_ROUTER);
    if (!self->router)
        return weft_node_refuse(error, WEFT_ERR_INTERNAL, "no ROUTER socket: %s", zmq_strerror(zmq_errno()));
    s_set(self->router, ZMQ_LINGER, 0);
    s_set(self->router, ZMQ_SNDHWM, 0);  // bytes are counted instead (replay_send.c)
    s_set(self->router, ZMQ_RCVHWM, 64); // requests of one peer
    int64_t bytes_max = 4096;            // of a request
    zmq_setsockopt(self->router, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max);
    s_set(self->router, ZMQ_ROUTER_MANDATORY, 1); // who is gone is told
    s_set(self->router, ZMQ_TCP_KEEPALIVE, 1);
    s_set(self->router, ZMQ_TCP_KEEPALIVE_IDLE, 60);
    return s_bind(node, self->router, "replay", endpoint, error);
}

// ---- the type

static void s_destroy(void **self_p)
{
    struct tap *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    tap_replay_destroy(&self->replay);
    tap_live_destroy(&self->live);
    if (self->router) zmq_close(self->router);
    if (self->xpub) zmq_close(self->xpub);
    tap_streams_fini(&self->streams);
    for (char **at = self->settings.consumer; at && *at; at++) free(*at);
    free(self->settings.consumer);
    free(self);
}

static weft_err_t s_create(weft_hosted_node_t *node, const weft_options_t *options, void **out,
                           struct weft_error *error)
{
    struct tap *self = weft_calloc(1, sizeof *self);
    void *owned = self;
    const char *as = weft_options_text(options, weft_options_is_set(options, "as") ? "as" : "topic");
    tap_streams_init(&self->streams, as);
    const char *replay = weft_options_text(options, "replay");
    weft_err_t err = s_settings(self, node, options, error);
    if (!err) err = s_open_xpub(self, weft_options_text(options, "listen"), error);
    if (!err && replay[0]) err = s_open_router(self, replay, error);
    if (!err) err = tap_live_new(&self->settings, &self->streams, self->xpub, &self->live, error);
    if (!err && replay[0]) err = tap_replay_new(&self->settings, &self->streams, self->router, &self->replay, error);
    if (err) {
        s_destroy(&owned);
        return err;
    }
    char endpoint[256];
    size_t bytes = sizeof endpoint;
    if (zmq_getsockopt(self->xpub, ZMQ_LAST_ENDPOINT, endpoint, &bytes) == 0) weft_node_set_endpoint(node, endpoint);
    *out = self;
    return WEFT_OK;
}

static void *s_replay_thread(void *context)
{
    tap_replay_run(context);
    return NULL;
}

static weft_err_t s_run(void *context, struct weft_error *error)
{
    struct tap *self = context;
    pthread_t thread;
    bool threaded = self->replay != NULL;
    if (threaded && pthread_create(&thread, NULL, s_replay_thread, self->replay) != 0)
        return weft_node_refuse(error, WEFT_ERR_INTERNAL, "no thread for replays: %s", strerror(errno));
    weft_err_t err = tap_live_run(self->live, error);
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
    .counter_count = TAP_COUNTER_COUNT,
    .create = s_create,
    .run = s_run,
    .destroy = s_destroy,
};
