// SPDX-License-Identifier: MPL-2.0
/** An edge in a fake world: the test plays its clients (numbers) and the core (tests/support/client_peer.h). */
#ifndef WEFT_TESTS_UNIT_EDGE_RIG_H
#define WEFT_TESTS_UNIT_EDGE_RIG_H

#include "lib/base/options.h"
#include "lib/wire/node.h"
#include "tests/support/client_peer.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <weft_gen/config.h>

#define RIG_A "tcp://10.0.0.1:1" // leads all, and is the bootstrap endpoint
#define RIG_B "tcp://10.0.0.2:1"

struct rig {
    struct peer peer;
    struct weft_node *node;
    char directory[WEFT_TEST_PATH_BYTES]; // of the spool; empty: none
    weft_codec_t codec;
    weft_buf_t buf, batch;
};

static inline void rig_world(struct rig *rig)
{
    rig->peer.world = weft_fake_world_new(weft_disk_posix());
}

// The node, in the rig's world; RIG_A and RIG_B come up if `core`.
static inline void rig_begin(struct rig *rig, const char *const *settings, bool core)
{
    struct weft_error error = {.text = ""};
    char spool[WEFT_TEST_PATH_BYTES + 8];
    weft_options_t *options = weft_options_new(weft_options_edge, weft_options_edge_count, "edge");
    assert_ok(weft_options_set(options, "bootstrap", RIG_A, &error));
    snprintf(spool, sizeof spool, "spool=%s", rig->directory);
    if (rig->directory[0] != '\0') assert_ok(weft_options_set_pair(options, spool, &error));
    for (size_t i = 0; settings != NULL && settings[i] != NULL; i++)
        assert_ok(weft_options_set_pair(options, settings[i], &error));
    const weft_world_t *world = weft_fake_world_of(rig->peer.world);
    weft_err_t err = weft_node_edge.create(world, options, &rig->node, &error);
    if (err != WEFT_OK) fail_msg("%s", error.text);
    weft_options_destroy(&options);
    world->ops->start(world->self);
    weft_fake_world_settle(rig->peer.world);
    if (!core) return;
    weft_fake_world_link(rig->peer.world, RIG_A, true);
    weft_fake_world_link(rig->peer.world, RIG_B, true);
    peer_pump(&rig->peer);
}

static inline void rig_init(struct rig *rig, const char *const *settings, bool spool)
{
    memset(rig, 0, sizeof *rig);
    rig->peer = (struct peer){.topic = "orders", .partitions = 2, .epoch = 1, .version = 1};
    rig->peer.leaders[0] = rig->peer.leaders[1] = RIG_A;
    rig->peer.topic_id.bytes[0] = 7;
    weft_codec_init(&rig->peer.codec);
    weft_codec_init(&rig->codec);
    if (spool) weft_test_directory_make(rig->directory);
    rig_world(rig);
    rig_begin(rig, settings, true);
}

// The edge is gone, as by kill -9.
static inline void rig_crash(struct rig *rig)
{
    weft_fake_world_destroy(&rig->peer.world);
    weft_node_edge.destroy(&rig->node);
    peer_forget(&rig->peer);
}

static inline void rig_fini(struct rig *rig)
{
    weft_fake_world_destroy(&rig->peer.world);
    weft_node_edge.destroy(&rig->node);
    peer_fini(&rig->peer);
    weft_codec_fini(&rig->codec);
    weft_buf_fini(&rig->buf);
    weft_buf_fini(&rig->batch);
    if (rig->directory[0] != '\0') weft_test_directory_remove(rig->directory);
}

// A produce request of a client; the batch is that of weft_test_batch_make, or bare records.
static inline void rig_produce(struct rig *rig, uint8_t client, uint64_t id, weft_slice_t data)
{
    struct weft_produce_request request;
    weft_produce_request_init(&request);
    request.id = id;
    request.topic = weft_slice_text("orders");
    weft_buf_clear(&rig->buf);
    weft_produce_request_encode(&request, &rig->buf);
    weft_fake_world_request(rig->peer.world, 0, client, false, weft_buf_slice(&rig->buf), data, false);
    peer_pump(&rig->peer);
}

static inline weft_slice_t rig_batch(struct rig *rig, int64_t producer, int32_t sequence)
{
    const struct weft_test_batch how = {.count = 1,
                                        .value_bytes = 10,
                                        .has_producer = producer >= 0,
                                        .producer_id = producer,
                                        .base_sequence = sequence};
    weft_test_batch_make(&rig->batch, &how);
    return weft_buf_slice(&rig->batch);
}

// The oldest answer to any client.
static inline struct weft_produce_reply rig_reply(struct rig *rig, uint8_t client, uint64_t id)
{
    struct weft_produce_reply reply;
    struct weft_error error;
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->peer.world);
    if (sent == NULL) fail_msg("no answer to %d/%d", (int) client, (int) id);
    assert_ok(weft_produce_reply_decode(&rig->codec, weft_buf_slice(&sent->header), &reply, &error));
    assert_int_equal(sent->peer, client);
    assert_true(reply.header.id == id);
    return reply;
}

static inline void rig_expect(struct rig *rig, uint8_t client, uint64_t id, weft_err_t error)
{
    struct weft_produce_reply reply = rig_reply(rig, client, id);
    if (reply.header.error != error) fail_msg("%s, not %s", weft_err_name(reply.header.error), weft_err_name(error));
    assert_int_equal(reply.header.endpoint.size, 0);
}

static inline void rig_advance(struct rig *rig, int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 10) {
        weft_fake_world_advance(rig->peer.world, 10000);
        peer_pump(&rig->peer);
    }
}

#endif
