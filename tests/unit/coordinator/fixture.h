// SPDX-License-Identifier: MPL-2.0
/**
 * A coordinator node under test: over a disk in memory and a clock that the test moves, with peers that the test plays. Each test program
 * of this folder includes it once.
 */
#ifndef WEFT_TESTS_UNIT_COORDINATOR_FIXTURE_H
#define WEFT_TESTS_UNIT_COORDINATOR_FIXTURE_H

#include "../../../lib/testing/crash_disk.h"
#include "tests/support/fake_world.h"
#include "tests/support/test.h"

#include "base/trace.h"
#include "core/cluster.h"
#include "wire/node.h"

#include <weft_gen/config.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <string.h>

enum { CLIENT = 9, ADMIN = 8, COORDINATOR_PART = 2, SYNC_PART = 1, SECOND_US = 1000000 };

// ---- one coordinator

struct fixture {
    weft_crash_disk_t *disk;
    weft_fake_world_t *world;
    struct weft_node *node;
    weft_options_t *options;
    weft_codec_t codec;
    weft_buf_t header; // of the request being built
    weft_buf_t reply;  // the last
    uint64_t id;
    struct weft_error error;
    weft_cluster_t *copy; // the state as broker 1 is told it; NULL: not watched
};

static inline weft_err_t s_create(struct fixture *self)
{
    self->world = weft_fake_world_new(weft_crash_disk_of(self->disk));
    const struct weft_world *world = weft_fake_world_of(self->world);
    return weft_node_coordinator.create(world, self->options, &self->node, &self->error);
}

static inline void s_start(struct fixture *self)
{
    assert_ok(s_create(self));
    const struct weft_world *world = weft_fake_world_of(self->world);
    world->ops->start(world->self);
}

static inline void s_down(struct fixture *self)
{
    weft_fake_world_destroy(&self->world);
    if (self->node) weft_node_coordinator.destroy(&self->node);
}

static inline void s_say_nothing(void *context, enum weft_trace_level level, const char *source, const char *line)
{
    (void) context;
    (void) level;
    (void) source;
    (void) line;
}

static inline int s_setup(void **state)
{
    weft_trace_sink_set(s_say_nothing, NULL);
    struct fixture *self = weft_calloc(1, sizeof *self);
    self->disk = weft_crash_disk_new(1);
    self->options = weft_options_new(weft_options_coordinator, weft_options_coordinator_count, "coordinator");
    assert_ok(weft_options_set(self->options, "data", "c", NULL));
    assert_ok(weft_options_set(self->options, "listen", "tcp://127.0.0.1:9651", NULL));
    assert_ok(weft_options_set(self->options, "snapshot.commands", "32", NULL));
    weft_codec_init(&self->codec);
    weft_buf_init(&self->header);
    weft_buf_init(&self->reply);
    *state = self;
    return 0;
}

static inline int s_teardown(void **state)
{
    struct fixture *self = *state;
    s_down(self);
    weft_options_destroy(&self->options);
    weft_codec_fini(&self->codec);
    weft_buf_fini(&self->header);
    weft_buf_fini(&self->reply);
    weft_crash_disk_destroy(&self->disk);
    weft_cluster_destroy(&self->copy);
    free(self);
    return 0;
}

// Sends the request that was built, without waiting.
static inline void s_send(struct fixture *self, uint8_t peer)
{
    weft_fake_world_request(self->world, 0, peer, false, weft_buf_slice(&self->header), WEFT_SLICE_NIL, false);
    weft_buf_clear(&self->header);
}

// Applies a push to a broker's copy of the state; false if it is none.
static inline bool s_apply_push(struct fixture *self, const struct weft_fake_sent *sent, weft_cluster_t *copy)
{
    struct weft_cluster_update_request update;
    if (weft_cluster_update_request_decode(&self->codec, weft_buf_slice(&sent->header), &update, NULL) ||
        update.to_index == 0)
        return false;
    weft_slice_t rest = weft_buf_slice(&sent->data);
    if (update.snapshot) {
        assert_ok(weft_cluster_decode(copy, rest));
        return true;
    }
    if (update.from_index != weft_cluster_index(copy)) return true; // a gap: told by the next heartbeat
    while (rest.size) {                                             // 92 cf u64 c6 u32 bytes
        assert_true(rest.size >= 15 && rest.data[0] == 0x92 && rest.data[1] == 0xcf && rest.data[10] == 0xc6);
        uint64_t index = 0;
        size_t size = 0;
        for (int i = 0; i < 8; i++) index = index << 8 | rest.data[2 + i];
        for (int i = 0; i < 4; i++) size = size << 8 | rest.data[11 + i];
        assert_true(rest.size >= 15 + size);
        (void) weft_cluster_apply(copy, index, weft_slice(rest.data + 15, size), NULL, NULL, NULL);
        rest = weft_slice(rest.data + 15 + size, rest.size - 15 - size);
    }
    assert_int_equal(weft_cluster_index(copy), update.to_index);
    return true;
}

// The next answer that is no push; pushes are dropped, but that to broker 1 for the copy. NULL: none.
static inline const struct weft_fake_sent *s_next_answer(struct fixture *self)
{
    const struct weft_fake_sent *sent;
    while ((sent = weft_fake_world_take_reply(self->world))) {
        struct weft_request_header push;
        if (weft_request_header_decode(weft_buf_slice(&sent->header), &push, NULL) == WEFT_OK) {
            if (self->copy && sent->peer == 1) (void) s_apply_push(self, sent, self->copy);
            continue;
        }
        return sent;
    }
    return NULL;
}

// Error of the next answer; TIMED_OUT: there is none.
static inline weft_err_t s_answer_error(struct fixture *self)
{
    const struct weft_fake_sent *sent = s_next_answer(self);
    if (!sent) return WEFT_ERR_TIMED_OUT;
    struct weft_reply_header header;
    assert_ok(weft_reply_header_decode(&self->codec, weft_buf_slice(&sent->header), &header, NULL));
    return header.error;
}

// Sends and takes the answer into self->reply; its error is returned.
static inline weft_err_t s_ask(struct fixture *self, uint8_t peer)
{
    s_send(self, peer);
    const struct weft_fake_sent *sent = s_next_answer(self);
    assert_non_null(sent);
    assert_int_equal(sent->peer, peer);
    weft_buf_clear(&self->reply);
    weft_buf_append(&self->reply, sent->header.data, sent->header.size);
    struct weft_reply_header header;
    assert_ok(weft_reply_header_decode(&self->codec, weft_buf_slice(&self->reply), &header, NULL));
    assert_int_equal(header.id, self->id);
    snprintf(self->error.text, sizeof self->error.text, "%.*s", (int) header.message.size,
             (const char *) header.message.data);
    return header.error;
}

#define DECODE(kind, into) \
    assert_ok(weft_##kind##_reply_decode(&self->codec, weft_buf_slice(&self->reply), (into), NULL))

#define TEST(test_of__promise) cmocka_unit_test_setup_teardown(test_of__promise, s_setup, s_teardown)

// ---- requests

static inline void s_create_topic_request(struct fixture *self, const char *name, uint32_t partitions, const char *key,
                                          const char *value)
{
    struct weft_topic_create_request request;
    weft_topic_create_request_init(&request);
    struct weft_config_entry entry = {.key = weft_slice_text(key), .value = weft_slice_text(value)};
    request.id = ++self->id;
    request.topic = weft_slice_text(name);
    request.partitions = partitions;
    request.replicas = 1;
    request.config = &entry;
    request.config_count = key ? 1 : 0;
    weft_topic_create_request_encode(&request, &self->header);
}

static inline weft_err_t s_create_topic(struct fixture *self, const char *name, uint32_t partitions)
{
    s_create_topic_request(self, name, partitions, NULL, NULL);
    return s_ask(self, ADMIN);
}

static inline weft_err_t s_delete_topic(struct fixture *self, const char *name)
{
    struct weft_topic_delete_request request;
    weft_topic_delete_request_init(&request);
    request.id = ++self->id;
    request.topic = weft_slice_text(name);
    weft_topic_delete_request_encode(&request, &self->header);
    return s_ask(self, ADMIN);
}

static inline weft_id_t s_incarnation(uint8_t number)
{
    weft_id_t id = {{0}};
    id.bytes[0] = number;
    return id;
}

static inline void s_register_request(struct fixture *self, int32_t broker, uint8_t incarnation)
{
    struct weft_broker_register_request request;
    weft_broker_register_request_init(&request);
    weft_slice_t endpoint = weft_slice_text("tcp://127.0.0.1:7000");
    request.id = ++self->id;
    request.broker_id = broker;
    request.incarnation = s_incarnation(incarnation);
    request.endpoints = &endpoint;
    request.endpoints_count = 1;
    request.clean = true;
    weft_broker_register_request_encode(&request, &self->header);
}

// Brokers are played by the peer of their number.
static inline weft_err_t s_register(struct fixture *self, int32_t broker, uint8_t incarnation)
{
    s_register_request(self, broker, incarnation);
    return s_ask(self, (uint8_t) broker);
}

static inline void s_heartbeat_request(struct fixture *self, int32_t broker, uint8_t incarnation, uint64_t index,
                                       bool want_stop)
{
    struct weft_broker_heartbeat_request request;
    weft_broker_heartbeat_request_init(&request);
    request.id = ++self->id;
    request.broker_id = broker;
    request.incarnation = s_incarnation(incarnation);
    request.index = index;
    request.want_stop = want_stop;
    weft_broker_heartbeat_request_encode(&request, &self->header);
}

static inline weft_err_t s_heartbeat(struct fixture *self, int32_t broker, uint8_t incarnation, uint64_t index)
{
    s_heartbeat_request(self, broker, incarnation, index, false);
    return s_ask(self, (uint8_t) broker);
}

static inline struct weft_metadata_reply s_metadata(struct fixture *self)
{
    struct weft_metadata_request request;
    weft_metadata_request_init(&request);
    request.id = ++self->id;
    weft_metadata_request_encode(&request, &self->header);
    assert_ok(s_ask(self, CLIENT));
    struct weft_metadata_reply reply;
    DECODE(metadata, &reply);
    return reply;
}

static inline struct weft_node_status_reply s_status(struct fixture *self)
{
    struct weft_node_status_request request;
    weft_node_status_request_init(&request);
    request.id = ++self->id;
    weft_node_status_request_encode(&request, &self->header);
    assert_ok(s_ask(self, CLIENT));
    struct weft_node_status_reply reply;
    DECODE(node_status, &reply);
    return reply;
}

#endif
