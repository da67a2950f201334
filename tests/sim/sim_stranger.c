// SPDX-License-Identifier: MPL-2.0
#include "sim_stranger.h"

#include "../../lib/base/assert.h"
#include "../../lib/wire/batch.h"

#include <weft_gen/limits.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sim_stranger {
    struct weft_part base;
    struct sim_clients *clients;
    weft_port_t port;
    weft_link_t links[SIM_NODES_MAX];
    size_t link_count;
    weft_rand_t rand;
    int64_t due_us;
    uint64_t answers;
    weft_buf_t header, data;
};

static uint64_t s_below(struct sim_stranger *self, uint64_t bound)
{
    return weft_rand_below(&self->rand, bound);
}

static void s_noise(struct sim_stranger *self, weft_buf_t *out, size_t bytes_max)
{
    for (size_t left = (size_t) s_below(self, bytes_max); left > 0; left--) {
        uint8_t byte = (uint8_t) s_below(self, 256);
        weft_buf_append(out, &byte, 1);
    }
}

static void s_flip(struct sim_stranger *self, weft_buf_t *bytes)
{
    if (bytes->size == 0) return;
    for (uint64_t flips = 1 + s_below(self, 3); flips > 0; flips--) {
        size_t at = (size_t) s_below(self, bytes->size);
        bytes->data[at] ^= (uint8_t) (1U << s_below(self, 8));
    }
}

static weft_slice_t s_topic(struct sim_stranger *self)
{
    int count = self->clients->topic_count;
    return weft_slice_text(self->clients->topics[s_below(self, (uint64_t) count)].name);
}

// A batch that is none: nothing of it may be accepted anywhere.
static void s_false_batch(struct sim_stranger *self)
{
    weft_batch_builder_t builder;
    weft_batch_builder_init(&builder);
    for (uint64_t count = 1 + s_below(self, 5); count > 0; count--) {
        weft_batch_builder_add(&builder, 1700000000000, WEFT_SLICE_NIL, weft_slice_text("a stranger's record"),
                               WEFT_SLICE_NIL);
    }
    weft_err_t err =
        weft_batch_builder_finish(&builder, WEFT_CODEC_NONE, (int64_t) s_below(self, 100) - 1, 0, 0, &self->data);
    weft_assert(err == WEFT_OK);
    weft_batch_builder_fini(&builder);
    s_flip(self, &self->data);
    const struct weft_batch_limits limits = {WEFT_BATCH_BYTES_MAX, WEFT_RECORD_BYTES_MAX, WEFT_RAW_BYTES_MAX};
    struct weft_batch batch;
    uint32_t state;
    weft_slice_t bytes = weft_buf_slice(&self->data);
    bool legal = weft_batch_accept(bytes, &limits, &batch, &state, NULL) == WEFT_OK; // as without a checksum
    if (legal || self->data.data[0] == 0x94) self->data.data[0] = 0x9d;
}

static void s_produce(struct sim_stranger *self)
{
    struct weft_produce_request request;
    weft_produce_request_init(&request);
    request.id = s_below(self, 1000);
    request.topic = s_topic(self);
    request.partition = (uint32_t) s_below(self, 6);
    request.acks = weft_slice_text(s_below(self, 2) == 0 ? "all" : s_below(self, 2) == 0 ? "leader" : "most");
    weft_produce_request_encode(&request, &self->header);
    s_false_batch(self);
}

static int64_t s_absurd(struct sim_stranger *self)
{
    static const int64_t values[] = {-2, -1, 0, 1, 1000000000, INT64_MAX, INT64_MIN, INT64_MAX - 1};
    return values[s_below(self, sizeof values / sizeof values[0])];
}

static void s_fetch(struct sim_stranger *self)
{
    struct weft_fetch_request request;
    weft_fetch_request_init(&request);
    request.id = s_below(self, 1000);
    request.topic = s_topic(self);
    request.partition = (uint32_t) s_below(self, 6);
    request.offset = s_absurd(self);
    request.epoch = (int32_t) s_absurd(self);
    request.max_bytes = (uint32_t) s_absurd(self);
    request.min_bytes = (uint32_t) s_absurd(self);
    request.max_wait_ms = (uint32_t) s_absurd(self);
    weft_fetch_request_encode(&request, &self->header);
}

// Of a topic that isn't there: a request that may change something must not hit a real one.
static void s_change(struct sim_stranger *self)
{
    struct weft_delete_records_request records;
    struct weft_topic_delete_request topic;
    switch (s_below(self, 2)) {
    case 0:
        weft_delete_records_request_init(&records);
        records.topic = weft_slice_text("no.such.topic");
        records.before_offset = s_absurd(self);
        weft_delete_records_request_encode(&records, &self->header);
        break;
    default:
        weft_topic_delete_request_init(&topic);
        topic.topic = weft_slice_text("no.such.topic");
        weft_topic_delete_request_encode(&topic, &self->header);
        break;
    }
}

static void s_heartbeat(struct sim_stranger *self) // of a start that never was
{
    struct weft_broker_heartbeat_request request;
    weft_broker_heartbeat_request_init(&request);
    request.broker_id = (int32_t) s_below(self, 5);
    request.incarnation = weft_rand_id(&self->rand);
    request.index = (uint64_t) s_absurd(self);
    weft_broker_heartbeat_request_encode(&request, &self->header);
}

static void s_update(struct sim_stranger *self) // commands that no coordinator decided
{
    struct weft_cluster_update_request request;
    weft_cluster_update_request_init(&request);
    weft_cluster_update_request_encode(&request, &self->header);
    s_noise(self, &self->data, 200);
}

static void s_compose(struct sim_stranger *self)
{
    static const char *const lies[] = {"\xdd\x0f\xff\xff\xff", "\xdf\xff\xff\xff\xff\xa1x", "\xc6\xff\xff\xff\xff",
                                       "\x81\xa3\x61pi\xdb\xff\xff\xff\xff"};
    weft_buf_clear(&self->header);
    weft_buf_clear(&self->data);
    switch (s_below(self, 9)) {
    case 0:
        s_noise(self, &self->header, 200);
        s_noise(self, &self->data, 200);
        break;
    case 1: {
        const char *lie = lies[s_below(self, sizeof lies / sizeof lies[0])];
        weft_buf_append(&self->header, lie, strlen(lie));
        break;
    }
    case 2:
        for (uint64_t depth = s_below(self, 5000); depth > 0; depth--) weft_buf_append(&self->header, "\x91", 1);
        break;
    case 3: s_produce(self); break;
    case 4: s_fetch(self); break;
    case 5: s_change(self); break;
    case 6: s_heartbeat(self); break;
    case 7: s_update(self); break;
    default:
        s_fetch(self);
        s_flip(self, &self->header);
        break;
    }
}

static void s_send(struct sim_stranger *self)
{
    s_compose(self);
    if (self->data.size > 0 && self->data.data[0] == 0x94) self->data.data[0] = 0x95; // never a legal bare record
    weft_frame_t data;
    weft_frame_init_copy(&data, weft_buf_slice(&self->data));
    weft_link_t link = self->links[s_below(self, self->link_count)];
    (void) self->port.ops->send(self->port.world, link, weft_buf_slice(&self->header), &data);
    weft_frame_drop(&data);
}

// ---- the part

static void s_start(struct weft_part *part, const weft_port_t *port)
{
    struct sim_stranger *self = (struct sim_stranger *) part;
    self->port = *port;
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    for (size_t i = 0; i < self->clients->nodes->count; i++) {
        sim_nodes_endpoint(self->clients->nodes, i, endpoint);
        weft_err_t err = port->ops->link_open(port->world, endpoint, &self->links[self->link_count++]);
        weft_assert(err == WEFT_OK);
    }
}

static void s_message(struct weft_part *part, struct weft_message *message)
{
    ((struct sim_stranger *) part)->answers++;
}

static void s_mail(struct weft_part *part, struct weft_mail *mail) {}
static void s_link(struct weft_part *part, weft_link_t link) {}

static int64_t s_turn(struct weft_part *part, int64_t now_us)
{
    struct sim_stranger *self = (struct sim_stranger *) part;
    if (now_us < self->due_us) return self->due_us;
    self->due_us = now_us + 100 + (int64_t) s_below(self, 20000);
    s_send(self);
    return self->due_us;
}

static void s_stop(struct weft_part *part) {}
static bool s_stopped(struct weft_part *part)
{
    return true;
}

static void s_destroy(struct weft_part **part_p)
{
    struct sim_stranger *self = (struct sim_stranger *) *part_p;
    *part_p = NULL;
    weft_sim_trace(self->clients->sim, "stranger", "%llu answers", (unsigned long long) self->answers);
    weft_buf_fini(&self->header);
    weft_buf_fini(&self->data);
    free(self);
}

static const struct weft_part_ops s_ops = {.start = s_start,
                                           .message = s_message,
                                           .mail = s_mail,
                                           .link_up = s_link,
                                           .link_down = s_link,
                                           .turn = s_turn,
                                           .stop = s_stop,
                                           .stopped = s_stopped,
                                           .destroy = s_destroy};

void sim_stranger_start(struct sim_clients *clients)
{
    struct sim_stranger *self = weft_calloc(1, sizeof *self);
    self->base.ops = &s_ops;
    self->clients = clients;
    weft_rand_init(&self->rand, weft_rand_next(weft_sim_rand(clients->sim)));
    sim_host_t host = weft_sim_host_add(clients->sim, "stranger", NULL);
    (void) sim_clients_run_part(clients, host, "stranger", &self->base);
}
