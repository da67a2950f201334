// SPDX-License-Identifier: MPL-2.0
// The edge as a part: what comes in through the ROUTER is a client's, what comes over a link is the core's.
#include "edge.h"
#include "held.h"
#include "spool.h"

#include <weft_gen/messages.h>

#include <stdlib.h>

#define S_TICK_US 500000
#define S_SETTLE_US 1000000 // without a connection for so long after its start it is degraded, not starting

static weft_edge_part_t *s_self(struct weft_part *part)
{
    return (weft_edge_part_t *) part;
}

// ---- messages

static void s_request(weft_edge_part_t *self, struct weft_message *message)
{
    weft_slice_t header = weft_frame_slice(&message->header);
    struct weft_request_header request = {.api = WEFT_API_UNKNOWN};
    self->error.text[0] = '\0';
    weft_err_t code = weft_request_header_decode(header, &request, &self->error);
    const struct weft_edge_asker asker = {message->peer, message->delimited, request.id};
    if (code == WEFT_OK && weft_edge_is_inner(request.api))
        code = weft_error_set(&self->error, WEFT_ERR_UNKNOWN_API,
                              "This is an edge: what nodes say among themselves does not pass it.");
    if (code != WEFT_OK) {
        weft_counter_add(weft_edge_counters(self), WEFT_EDGE_BAD_FRAMES, 1);
        weft_edge_refuse(self, &asker, code, self->error.text);
    } else if (request.api == WEFT_API_HELLO) {
        weft_edge_hello(self, &asker, header);
    } else if (request.api == WEFT_API_NODE_STATUS) {
        weft_edge_node_status(self, &asker);
    } else if (self->stopping) {
        weft_edge_refuse(self, &asker, WEFT_ERR_STOPPING, NULL);
    } else if (!self->admin && weft_edge_is_admin(request.api)) {
        weft_edge_refuse(self, &asker, WEFT_ERR_UNSUPPORTED,
                         "This edge forwards no requests that change topics or the cluster (`admin` is false).");
    } else {
        weft_edge_begin(self, message, &request);
    }
}

static void s_message(struct weft_part *part, struct weft_message *message)
{
    weft_edge_part_t *self = s_self(part);
    if (message->link != 0) {
        weft_requests_message(&self->requests, message);
        return;
    }
    weft_counter_add(weft_edge_counters(self), WEFT_EDGE_REQUESTS, 1);
    s_request(self, message);
}

static void s_mail(struct weft_part *part, struct weft_mail *mail)
{
    weft_edge_part_t *self = s_self(part);
    if (mail->kind == WEFT_MAIL_SYNCED && self->spool != NULL)
        weft_spool_synced(self->spool, mail->body);
    else if (mail->body_free != NULL)
        mail->body_free(mail->body);
}

static void s_count_links(weft_edge_part_t *self)
{
    size_t up = 0;
    for (size_t i = 0; i < self->view.link_count; i++) up += self->view.links[i]->link != 0 && self->view.links[i]->up;
    weft_counter_set(weft_edge_counters(self), WEFT_EDGE_LINKS, up);
    if (up > 0) atomic_store(&self->node->settled, true);
}

static void s_link_up(struct weft_part *part, weft_link_t link)
{
    weft_edge_part_t *self = s_self(part);
    weft_requests_link_up(&self->requests, link);
    self->kicked = true;
    s_count_links(self);
}

static void s_link_down(struct weft_part *part, weft_link_t link)
{
    weft_edge_part_t *self = s_self(part);
    weft_requests_link_down(&self->requests, link);
    s_count_links(self);
}

// ---- turn

static int64_t s_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t s_turn(struct weft_part *part, int64_t now_us)
{
    weft_edge_part_t *self = s_self(part);
    if (now_us >= self->started_us + S_SETTLE_US) atomic_store(&self->node->settled, true);
    if (self->view.fatal.code != WEFT_OK) atomic_store(&self->node->foreign, true);
    if (self->seen_updates != self->view.updates) self->kicked = true;
    self->seen_updates = self->view.updates;
    bool kicked = self->kicked;
    if (kicked || now_us >= self->retry_us) {
        self->retry_us = WEFT_TIME_NEVER;
        weft_edge_retry_idle(self, now_us);
        weft_edge_lanes_advance(self);
        self->kicked = false;
    }
    int64_t spool_us = self->spool != NULL ? weft_spool_turn(self->spool, now_us, kicked) : WEFT_TIME_NEVER;
    int64_t requests_us = weft_requests_turn(&self->requests, now_us);
    weft_counter_set(weft_edge_counters(self), WEFT_EDGE_UNDER_WAY, self->under_way);
    if (self->seen_updates != self->view.updates) return now_us;
    return s_min(s_min(now_us + S_TICK_US, self->retry_us), s_min(spool_us, requests_us));
}

// ---- life

static void s_start(struct weft_part *part, const struct weft_port *port)
{
    weft_edge_part_t *self = s_self(part);
    self->port = *port;
    self->started_us = weft_port_now_us(port);
    weft_view_start(&self->view, port);
    weft_requests_start(&self->requests, port);
    if (self->spool != NULL) weft_spool_start(self->spool, self);
}

static void s_stop(struct weft_part *part)
{
    weft_edge_part_t *self = s_self(part);
    self->stopping = true;
    atomic_store(&self->node->stopping, true);
    // What waits for a node has no answer to come; what was sent is waited for.
    struct weft_edge_call *next;
    for (struct weft_edge_call *call = self->idle.first; call != NULL; call = next) {
        next = call->next;
        weft_edge_end_refused(call, WEFT_ERR_STOPPING, NULL);
    }
    void *value;
    for (size_t i = 0; weft_map_next(self->lanes, &i, NULL, &value);) {
        struct weft_edge_lane *lane = value;
        for (struct weft_edge_call *call = lane->calls.first; call != NULL; call = next) {
            next = call->next;
            if (call->state == WEFT_EDGE_WAITING) weft_edge_end_refused(call, WEFT_ERR_STOPPING, NULL);
        }
    }
}

// Produce, commits and the like are waited for; who only reads is told to go elsewhere.
static bool s_stopped(struct weft_part *part)
{
    weft_edge_part_t *self = s_self(part);
    bool waits = false;
    for (size_t i = 0; i < self->requests.slot_count; i++) {
        struct weft_call *base = self->requests.slots[i];
        if (base == NULL || base == &self->requests.metadata || base->state != WEFT_CALL_SENT) continue;
        if (weft_spool_owns(self->spool, base)) continue;
        struct weft_edge_call *call = base->context;
        if (call->repeatable && call->api != WEFT_API_PRODUCE)
            weft_edge_end_refused(call, WEFT_ERR_STOPPING, NULL);
        else
            waits = true;
    }
    if (waits) return false;
    return self->spool == NULL || weft_spool_rests(self->spool);
}

static void s_drop_calls(weft_edge_part_t *self)
{
    while (self->idle.first != NULL) weft_edge_end(self->idle.first);
    for (size_t i = 0; i < self->requests.slot_count; i++) {
        struct weft_call *base = self->requests.slots[i];
        if (base == NULL || base == &self->requests.metadata || weft_spool_owns(self->spool, base)) continue;
        weft_edge_end(base->context);
    }
    void *value;
    for (size_t i = 0; weft_map_next(self->lanes, &i, NULL, &value);) {
        struct weft_edge_lane *lane = value;
        while (lane->calls.first != NULL) weft_edge_end(lane->calls.first);
    }
}

static void s_destroy(struct weft_part **self_p)
{
    weft_edge_part_t *self = s_self(*self_p);
    *self_p = NULL;
    if (self == NULL) return;
    s_drop_calls(self);
    weft_spool_destroy(&self->spool);
    void *value;
    for (size_t i = 0; weft_map_next(self->lanes, &i, NULL, &value);) free(value);
    weft_map_destroy(&self->lanes);
    weft_edge_owed_clear(self);
    weft_map_destroy(&self->owed);
    weft_map_destroy(&self->clients);
    weft_map_destroy(&self->topics);
    weft_requests_fini(&self->requests);
    weft_view_fini(&self->view);
    weft_codec_fini(&self->codec);
    weft_buf_fini(&self->reply);
    weft_buf_fini(&self->scratch);
    weft_held_destroy(&self->held);
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

#define S_BACKOFF_US 50000
#define S_SILENCE_US 500000
#define S_METADATA_ATTEMPT_US 5000000

struct weft_part *weft_edge_part_new(struct weft_edge *node, weft_spool_t **spool_p, struct weft_error *error)
{
    weft_edge_part_t *self = weft_calloc(1, sizeof *self);
    const weft_options_t *options = node->options;
    weft_err_t err = weft_view_init(&self->view, weft_options_text(options, "bootstrap"), error);
    if (err != WEFT_OK) {
        free(self);
        return NULL;
    }
    self->base.ops = &s_ops;
    self->node = node;
    self->spool = *spool_p;
    *spool_p = NULL;
    weft_requests_init(&self->requests, &self->view,
                       &(struct weft_requests_config){.client = node->base.name,
                                                      .backoff_us = S_BACKOFF_US,
                                                      .attempt_us = S_METADATA_ATTEMPT_US,
                                                      .silence_us = S_SILENCE_US,
                                                      .metadata_us = weft_options_int(options, "metadata.ms") * 1000,
                                                      .all_topics = true,
                                                      .internal_topics = true});
    weft_codec_init(&self->codec);
    weft_buf_init(&self->reply);
    weft_buf_init(&self->scratch);
    self->clients = weft_map_new();
    self->lanes = weft_map_new();
    self->owed = weft_map_new();
    self->held = weft_held_new();
    self->retry_us = WEFT_TIME_NEVER;
    self->admin = weft_options_int(options, "admin") != 0;
    self->client_requests_max = (size_t) weft_options_int(options, "client.requests");
    self->client_bytes_max = (size_t) weft_options_int(options, "client.bytes");
    self->requests_max = (size_t) weft_options_int(options, "requests");
    self->bytes_max = (size_t) weft_options_int(options, "bytes");
    self->look_us = weft_options_int(options, "retry.ms") * 1000;
    return &self->base;
}
