// SPDX-License-Identifier: MPL-2.0
// The edge as a node of parts: one that talks, and with a spool one that syncs.
#include "edge.h"
#include "spool.h"

#include <weft_gen/config.h>
#include <weft_gen/limits.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_REPLY_SLACK_BYTES (2 << 20) // refusals still reach a client that takes no data

const struct weft_counter_info weft_edge_counter_infos[WEFT_EDGE_COUNTERS] = {
    [WEFT_EDGE_REQUESTS] = {"requests_count", "Messages of clients."},
    [WEFT_EDGE_FORWARDED] = {"forwarded_count", "Requests sent on to the core, each attempt counted."},
    [WEFT_EDGE_ANSWERED] = {"answered_count", "Answers sent to clients."},
    [WEFT_EDGE_AGAIN] = {"sent_again_count",
                         "Attempts that came to nothing and were repeated without telling the client."},
    [WEFT_EDGE_REFUSED] = {"refused_count", "Requests that the edge refused itself."},
    [WEFT_EDGE_OVERLOADED] = {"overloaded_count", "Requests and answers sent away because too much was waiting."},
    [WEFT_EDGE_BAD_FRAMES] = {"frames_refused_count", "Messages that are no request of a client."},
    [WEFT_EDGE_GAVE_UP] = {"unreachable_count", "Requests for which no node was found within retry.ms."},
    [WEFT_EDGE_DROPPED] = {"acks_none_dropped_count", "Produce requests with acks none that could not be sent."},
    [WEFT_EDGE_REPLIES_DROPPED] = {"replies_dropped_count", "Answers whose client was gone or above its budget."},
    [WEFT_EDGE_UNDER_WAY] = {"under_way_count", "Requests under way now."},
    [WEFT_EDGE_CLIENTS] = {"clients_count", "Clients with requests under way now."},
    [WEFT_EDGE_LINKS] = {"links_count", "Nodes of the core that are connected now."},
    [WEFT_EDGE_SPOOLED] = {"spooled_batches_count", "Batches kept in the spool."},
    [WEFT_EDGE_SPOOLED_BYTES] = {"spooled_bytes", "Bytes of them."},
    [WEFT_EDGE_SPOOL_REFUSED] = {"spool_refused_count", "Produce requests that the spool did not take."},
    [WEFT_EDGE_DRAINED] = {"drained_batches_count", "Batches of the spool that the core has."},
    [WEFT_EDGE_DRAIN_AGAIN] = {"drain_repeats_count",
                               "Times the spool of a partition was sent again from its first batch."},
    [WEFT_EDGE_DRAIN_DUPLICATES] = {"drain_duplicates_count", "Batches of the spool that the core had already."},
    [WEFT_EDGE_RENAMED] = {"sessions_renamed_count", "Producer sessions that went on under a new identity."},
    [WEFT_EDGE_DEAD] = {"dead_letters_count", "Batches set aside in the file dead-letters."},
    [WEFT_EDGE_WAITING_BATCHES] = {"spool_waiting_count", "Batches in the spool that the core does not have yet, now."},
    [WEFT_EDGE_WAITING_BYTES] = {"spool_waiting_bytes", "Bytes of the spool's files, now."},
};

// ---- health

enum weft_health weft_edge_health(const struct weft_node *node, char *sentence, size_t sentence_bytes)
{
    const struct weft_edge *self = (const struct weft_edge *) node;
    const weft_counters_t *counters = &self->counters;
    unsigned long long waiting = weft_counter_get(counters, WEFT_EDGE_WAITING_BATCHES);
    unsigned long long dead = weft_counter_get(counters, WEFT_EDGE_DEAD);
    if (sentence_bytes > 0) *sentence = '\0';
    if (atomic_load(&self->stopping)) return WEFT_HEALTH_STOPPING;
    if (!atomic_load(&self->settled)) {
        snprintf(sentence, sentence_bytes, "connecting to %.200s", weft_options_text(self->options, "bootstrap"));
        return WEFT_HEALTH_STARTING;
    }
    if (weft_counter_get(counters, WEFT_EDGE_LINKS) == 0) {
        snprintf(sentence, sentence_bytes,
                 "no node of the core can be reached, bootstrap is %.200s; %llu batches spooled",
                 weft_options_text(self->options, "bootstrap"), waiting);
        return WEFT_HEALTH_DEGRADED;
    }
    if (atomic_load(&self->foreign)) {
        snprintf(sentence, sentence_bytes,
                 "the cluster at %.200s is another one than before, nothing is forwarded to it; check `bootstrap`, or "
                 "start anew, with an empty spool",
                 weft_options_text(self->options, "bootstrap"));
        return WEFT_HEALTH_DEGRADED;
    }
    if (dead > 0) {
        snprintf(sentence, sentence_bytes, "%llu batches were refused by the core for good, see dead-letters in %.200s",
                 dead, weft_options_text(self->options, "spool"));
        return WEFT_HEALTH_DEGRADED;
    }
    if (waiting > 0) {
        snprintf(sentence, sentence_bytes, "%llu batches of the spool wait to be delivered", waiting);
        return WEFT_HEALTH_DEGRADED;
    }
    return WEFT_HEALTH_SERVING;
}

// ---- life

static void s_destroy(struct weft_node **self_p)
{
    struct weft_edge *self = (struct weft_edge *) *self_p;
    *self_p = NULL;
    if (self == NULL) return;
    weft_options_destroy(&self->options);
    weft_counters_fini(&self->counters);
    free(self);
}

static struct weft_edge *s_new(const weft_options_t *options)
{
    struct weft_edge *self = weft_calloc(1, sizeof *self);
    self->base.type = &weft_node_edge;
    self->options = weft_options_copy(options);
    snprintf(self->base.name, sizeof self->base.name, "%s", weft_options_text(options, "name"));
    weft_counters_init(&self->counters, weft_edge_counter_infos, WEFT_EDGE_COUNTERS);
    self->base.counters[self->base.counters_count++] = &self->counters;
    return self;
}

static weft_err_t s_check_advertise(const weft_options_t *options, struct weft_error *error)
{
    const char *advertise = weft_options_text(options, "advertise");
    if (*advertise == '\0' || weft_view_endpoint_is_legal(weft_slice_text(advertise))) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_INVALID_ENDPOINT,
                          "advertise: '%.200s' is no endpoint that clients could connect to; write tcp://HOST:PORT or "
                          "ipc://PATH",
                          advertise);
}

static void s_advertise(struct weft_edge *self)
{
    const char *advertise = weft_options_text(self->options, "advertise");
    snprintf(self->endpoint, sizeof self->endpoint, "%s", *advertise != '\0' ? advertise : self->base.endpoint);
    if (strncmp(self->endpoint, "tcp://*:", 8) == 0 || strncmp(self->endpoint, "tcp://0.0.0.0:", 14) == 0 ||
        strncmp(self->endpoint, "tcp://[::]:", 11) == 0)
        weft_trace(WEFT_TRACE_WARN, self->base.name,
                   "clients are told to reach this edge at %s, which only works on this machine; set `advertise`",
                   self->endpoint);
}

static weft_err_t s_add(struct weft_edge *self, const weft_world_t *world, struct weft_error *error)
{
    weft_spool_t *spool = NULL;
    struct weft_part *sync = NULL;
    weft_part_id_t id, sync_id;
    weft_err_t err;
    const char *directory = weft_options_text(self->options, "spool");
    err = s_check_advertise(self->options, error);
    if (err != WEFT_OK) return err;
    if (*directory != '\0') {
        err = weft_spool_new(world->disk, self->options, self->base.name, &spool, &sync, error);
        if (err != WEFT_OK) return err;
    }
    weft_spool_t *borrowed = spool;
    struct weft_part *part = weft_edge_part_new(self, &spool, error);
    if (part == NULL) {
        if (sync != NULL) sync->ops->destroy(&sync);
        weft_spool_destroy(&spool);
        return WEFT_ERR_INVALID_ENDPOINT;
    }
    struct weft_world_part how = {
        .name = self->base.name,
        .listen = weft_options_text(self->options, "listen"),
        .frame_bytes_max = WEFT_FRAME_BYTES_MAX,
        .peer_bytes_max = (size_t) weft_options_int(self->options, "client.bytes") + S_REPLY_SLACK_BYTES,
        .awake_us = weft_options_int(self->options, "awake.us"),
    };
    err = world->ops->add(world->self, &how, part, &id, self->base.endpoint, error);
    if (err != WEFT_OK) {
        if (sync != NULL) sync->ops->destroy(&sync);
        return err;
    }
    self->base.parts[self->base.part_count++] = id;
    s_advertise(self);
    if (sync == NULL) return WEFT_OK;
    char name[WEFT_NODE_NAME_BYTES_MAX + 8];
    snprintf(name, sizeof name, "%s/sync", self->base.name);
    how = (struct weft_world_part){.name = name, .frame_bytes_max = WEFT_FRAME_BYTES_MAX, .peer_bytes_max = 1 << 20};
    err = world->ops->add(world->self, &how, sync, &sync_id, NULL, error);
    if (err != WEFT_OK) return err;
    weft_spool_set_sync(borrowed, sync_id);
    self->base.parts[self->base.part_count++] = sync_id; // stopped last: it answers the edge
    return WEFT_OK;
}

static weft_err_t s_create(const weft_world_t *world, const weft_options_t *options, struct weft_node **out,
                           struct weft_error *error)
{
    struct weft_edge *self = s_new(options);
    struct weft_node *node = &self->base;
    weft_err_t err = s_add(self, world, error);
    if (err != WEFT_OK) {
        s_destroy(&node);
        return err;
    }
    weft_trace(WEFT_TRACE_INFO, self->base.name, "clients at %s, the core at %s%s%s", self->base.endpoint,
               weft_options_text(options, "bootstrap"),
               *weft_options_text(options, "spool") != '\0' ? ", spool in " : "", weft_options_text(options, "spool"));
    *out = node;
    return WEFT_OK;
}

const struct weft_parts_type weft_node_edge = {
    .name = "edge",
    .doc =
        "One endpoint for clients that reach nothing else: forwards to the leaders, and may spool while they are away.",
    .options = weft_options_edge,
    .option_count = sizeof weft_options_edge / sizeof weft_options_edge[0],
    .create = s_create,
    .health = weft_edge_health,
    .destroy = s_destroy,
};
