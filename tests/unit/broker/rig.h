// SPDX-License-Identifier: MPL-2.0
/**
 * Rig of the broker's tests: a broker over the fake world and a real directory; the test plays the coordinator (with
 * a cluster state of its own) and the clients.
 */
#ifndef WEFT_TESTS_UNIT_BROKER_RIG_H
#define WEFT_TESTS_UNIT_BROKER_RIG_H

#include "../../support/fake_world.h"
#include "../../support/fault_disk.h"
#include "../../support/test.h"

#include "../../../lib/core/cluster.h"
#include "../../../lib/wire/node.h"
#include "../../../nodes/broker/counters.h"

#include <weft_gen/commands.h>
#include <weft_gen/config.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <string.h>

#define RIG_COORDINATOR "tcp://coordinator:1"
#define RIG_COMMANDS_MAX 256

struct rig {
    char directory[WEFT_TEST_PATH_BYTES];
    const struct weft_disk *disk;
    weft_fake_world_t *world;
    struct weft_node *node;
    struct weft_error error;
    // The coordinator's side.
    weft_cluster_t *cluster;
    weft_buf_t commands[RIG_COMMANDS_MAX]; // by index
    uint64_t index, epoch;
    bool silent; // it answers nothing
    bool stop_now;
    weft_err_t refuse; // what it answers instead
    uint32_t heartbeats, registrations;
    weft_id_t incarnation;
    bool clean;
    uint64_t told_index;
    weft_codec_t codec;
    // The clients' side.
    uint64_t next_id;
    weft_buf_t buf;
};

static inline weft_id_t rig_id(uint8_t number)
{
    weft_id_t id = {{0}};
    id.bytes[0] = 0xab;
    id.bytes[15] = number;
    return id;
}

// ---- coordinator

static inline void rig_push(struct rig *rig, uint64_t from, bool snapshot)
{
    weft_buf_t header, data;
    weft_buf_init(&header);
    weft_buf_init(&data);
    struct weft_cluster_update_request request;
    weft_cluster_update_request_init(&request);
    request.epoch = rig->epoch;
    request.from_index = from;
    request.to_index = rig->index;
    request.snapshot = snapshot;
    weft_cluster_update_request_encode(&request, &header);
    for (uint64_t i = from + 1; !snapshot && i <= rig->index; i++) {
        const uint8_t head[] = {0x92,
                                0xcd,
                                (uint8_t) (i >> 8),
                                (uint8_t) i,
                                0xc6,
                                (uint8_t) (rig->commands[i].size >> 24),
                                (uint8_t) (rig->commands[i].size >> 16),
                                (uint8_t) (rig->commands[i].size >> 8),
                                (uint8_t) rig->commands[i].size};
        weft_buf_append(&data, head, sizeof head);
        weft_buf_append(&data, rig->commands[i].data, rig->commands[i].size);
    }
    if (snapshot) weft_cluster_encode(rig->cluster, &data);
    weft_fake_world_from(rig->world, RIG_COORDINATOR, weft_buf_slice(&header), weft_buf_slice(&data));
    weft_buf_fini(&header);
    weft_buf_fini(&data);
}

// Applies the command in rig->buf to the coordinator's state, as committed.
static inline void rig_commit(struct rig *rig)
{
    assert_true(rig->index + 1 < RIG_COMMANDS_MAX);
    weft_buf_t *command = &rig->commands[++rig->index];
    weft_buf_clear(command);
    weft_buf_append(command, rig->buf.data, rig->buf.size);
    assert_ok(weft_cluster_apply(rig->cluster, rig->index, weft_buf_slice(command), NULL, NULL, &rig->error));
    rig->epoch = weft_cluster_epoch(rig->cluster);
}

static inline void rig_on_register(struct rig *rig, weft_slice_t header)
{
    struct weft_broker_register_request request;
    assert_ok(weft_broker_register_request_decode(&rig->codec, header, &request, &rig->error));
    rig->registrations++;
    weft_buf_t reply_bytes;
    weft_buf_init(&reply_bytes);
    struct weft_broker_register_reply reply;
    weft_broker_register_reply_init(&reply);
    reply.header.id = request.id;
    reply.header.error = rig->refuse;
    if (rig->refuse == WEFT_OK) {
        struct weft_broker_registered_command command;
        weft_broker_registered_command_init(&command);
        command.broker_id = request.broker_id;
        command.incarnation = rig->incarnation = request.incarnation;
        command.endpoints = request.endpoints;
        command.endpoints_count = request.endpoints_count;
        command.clean = rig->clean = request.clean;
        weft_buf_clear(&rig->buf);
        weft_broker_registered_command_encode(&command, &rig->buf);
        rig_commit(rig);
        reply.cluster_id = weft_cluster_id(rig->cluster);
        reply.epoch = rig->epoch;
        reply.heartbeat_ms = 100;
        reply.session_ms = 1000;
    }
    weft_broker_register_reply_encode(&reply, &reply_bytes);
    weft_fake_world_from(rig->world, RIG_COORDINATOR, weft_buf_slice(&reply_bytes), WEFT_SLICE_NIL);
    weft_buf_fini(&reply_bytes);
}

static inline void rig_on_heartbeat(struct rig *rig, weft_slice_t header)
{
    struct weft_broker_heartbeat_request request;
    assert_ok(weft_broker_heartbeat_request_decode(&rig->codec, header, &request, &rig->error));
    rig->heartbeats++;
    rig->told_index = request.index;
    weft_buf_t reply_bytes;
    weft_buf_init(&reply_bytes);
    struct weft_broker_heartbeat_reply reply;
    weft_broker_heartbeat_reply_init(&reply);
    reply.header.id = request.id;
    reply.header.error = rig->refuse;
    reply.epoch = rig->epoch;
    reply.index = rig->index;
    reply.stop_now = request.want_stop && rig->stop_now;
    weft_broker_heartbeat_reply_encode(&reply, &reply_bytes);
    weft_fake_world_from(rig->world, RIG_COORDINATOR, weft_buf_slice(&reply_bytes), WEFT_SLICE_NIL);
    weft_buf_fini(&reply_bytes);
    if (rig->refuse == WEFT_OK && request.index < rig->index) rig_push(rig, request.index, request.index == 0);
}

// Answers all that the broker sent to its coordinator.
static inline void rig_coordinate(struct rig *rig)
{
    const struct weft_fake_sent *sent;
    while ((sent = weft_fake_world_take_sent(rig->world)) != NULL) {
        weft_buf_t header;
        weft_buf_init(&header);
        weft_buf_append(&header, sent->header.data, sent->header.size);
        struct weft_request_header request;
        assert_ok(weft_request_header_decode(weft_buf_slice(&header), &request, &rig->error));
        if (!rig->silent && request.api == WEFT_API_BROKER_REGISTER) rig_on_register(rig, weft_buf_slice(&header));
        if (!rig->silent && request.api == WEFT_API_BROKER_HEARTBEAT) rig_on_heartbeat(rig, weft_buf_slice(&header));
        weft_buf_fini(&header);
    }
}

// Moves the clock, the coordinator answering all the while.
static inline void rig_advance(struct rig *rig, int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 10) {
        weft_fake_world_advance(rig->world, 10000);
        rig_coordinate(rig);
    }
}

// ---- life

static inline void rig_begin(struct rig *rig)
{
    memset(rig, 0, sizeof *rig);
    weft_test_directory_make(rig->directory);
    rig->disk = weft_disk_posix();
    rig->cluster = weft_cluster_new();
    rig->stop_now = true;
    rig->next_id = 100;
    weft_codec_init(&rig->codec);
    weft_buf_init(&rig->buf);
    for (size_t i = 0; i < RIG_COMMANDS_MAX; i++) weft_buf_init(&rig->commands[i]);
    struct weft_cluster_format_command format = {.cluster_id = rig_id(1)};
    weft_cluster_format_command_encode(&format, &rig->buf);
    rig_commit(rig);
    struct weft_took_office_command office = {.coordinator_id = 1, .endpoint = weft_slice_text(RIG_COORDINATOR)};
    weft_buf_clear(&rig->buf);
    weft_took_office_command_encode(&office, &rig->buf);
    rig_commit(rig);
}

static inline weft_options_t *rig_options(const struct rig *rig, const char *const *pairs)
{
    struct weft_error error;
    weft_options_t *options = weft_options_new(weft_options_broker, weft_options_broker_count, "broker");
    assert_ok(weft_options_set(options, "data", weft_test_path(rig->directory, "data"), &error));
    assert_ok(weft_options_set(options, "coordinators", RIG_COORDINATOR, &error));
    assert_ok(weft_options_set(options, "listen", "tcp://127.0.0.1:*", &error));
    for (; pairs != NULL && *pairs != NULL; pairs++) assert_ok(weft_options_set_pair(options, *pairs, &error));
    return options;
}

// Tries to create the broker; rig->error says why not.
static inline weft_err_t rig_create(struct rig *rig, const char *const *pairs)
{
    weft_options_t *options = rig_options(rig, pairs);
    rig->world = weft_fake_world_new(rig->disk);
    weft_err_t code = weft_node_broker.create(weft_fake_world_of(rig->world), options, &rig->node, &rig->error);
    weft_options_destroy(&options);
    if (code != WEFT_OK) weft_fake_world_destroy(&rig->world);
    return code;
}

static inline void rig_start(struct rig *rig)
{
    const weft_world_t *world = weft_fake_world_of(rig->world);
    world->ops->start(world->self);
    weft_fake_world_link(rig->world, RIG_COORDINATOR, true);
    rig_coordinate(rig);
}

// Creates, starts, registers: the broker serves.
static inline void rig_up(struct rig *rig, const char *const *pairs)
{
    assert_ok(rig_create(rig, pairs));
    rig_start(rig);
    rig_advance(rig, 20);
}

// As kill -9: nothing is stopped.
static inline void rig_kill(struct rig *rig)
{
    weft_fake_world_destroy(&rig->world);
    if (rig->node != NULL) rig->node->type->destroy(&rig->node);
}

// As SIGTERM: every part in turn. The coordinator answers.
static inline void rig_stop(struct rig *rig)
{
    for (size_t i = 0; i < rig->node->part_count; i++) {
        bool stopped = weft_fake_world_stop(rig->world, rig->node->parts[i], 0);
        for (int k = 0; k < 500 && !stopped; k++) {
            rig_coordinate(rig);
            stopped = weft_fake_world_stop(rig->world, rig->node->parts[i], 10000);
        }
        assert_true(stopped);
    }
    rig_kill(rig);
}

static inline void rig_end(struct rig *rig)
{
    rig_kill(rig);
    weft_cluster_destroy(&rig->cluster);
    weft_codec_fini(&rig->codec);
    weft_buf_fini(&rig->buf);
    for (size_t i = 0; i < RIG_COMMANDS_MAX; i++) weft_buf_fini(&rig->commands[i]);
    weft_test_directory_remove(rig->directory);
}

// ---- topics

static inline weft_id_t rig_topic_with(struct rig *rig, const char *name, uint8_t id, uint32_t partitions,
                                       const char *key, const char *value)
{
    int32_t replica[1] = {1};
    struct weft_placement placement[64];
    assert_true(partitions <= 64);
    for (uint32_t i = 0; i < partitions; i++)
        placement[i] = (struct weft_placement){.replicas = replica, .replicas_count = 1};
    struct weft_config_entry config = {.key = weft_slice_text(key), .value = weft_slice_text(value)};
    struct weft_topic_created_command command;
    weft_topic_created_command_init(&command);
    command.topic_id = rig_id(id);
    command.topic = weft_slice_text(name);
    command.placement = placement;
    command.placement_count = partitions;
    command.config = &config;
    command.config_count = key != NULL ? 1 : 0;
    weft_buf_clear(&rig->buf);
    weft_topic_created_command_encode(&command, &rig->buf);
    rig_commit(rig);
    rig_push(rig, rig->index - 1, false);
    return rig_id(id);
}

static inline weft_id_t rig_topic(struct rig *rig, const char *name, uint8_t id, uint32_t partitions)
{
    return rig_topic_with(rig, name, id, partitions, NULL, NULL);
}

static inline void rig_delete(struct rig *rig, weft_id_t topic)
{
    struct weft_topic_deleted_command command = {.topic_id = topic};
    weft_buf_clear(&rig->buf);
    weft_topic_deleted_command_encode(&command, &rig->buf);
    rig_commit(rig);
    rig_push(rig, rig->index - 1, false);
}

static inline void rig_alter(struct rig *rig, weft_id_t topic, const char *key, const char *value)
{
    struct weft_config_entry config = {.key = weft_slice_text(key), .value = weft_slice_text(value)};
    struct weft_topic_altered_command command = {.topic_id = topic, .config = &config, .config_count = 1};
    weft_buf_clear(&rig->buf);
    weft_topic_altered_command_encode(&command, &rig->buf);
    rig_commit(rig);
    rig_push(rig, rig->index - 1, false);
}

// ---- clients

struct rig_produce {
    const char *topic;
    weft_id_t topic_id;
    uint32_t partition;
    const char *acks; // NULL: all
    bool not_durable;
    uint32_t timeout_ms; // 0: the default
    bool delimited, shared;
    uint8_t peer;
};

static inline uint64_t rig_send_produce(struct rig *rig, const struct rig_produce *how, weft_slice_t data)
{
    struct weft_produce_request request;
    weft_produce_request_init(&request);
    request.id = rig->next_id++;
    request.topic = weft_slice_text(how->topic);
    request.topic_id = how->topic_id;
    request.partition = how->partition;
    if (how->acks != NULL) request.acks = weft_slice_text(how->acks);
    request.durable = !how->not_durable;
    if (how->timeout_ms != 0) request.timeout_ms = how->timeout_ms;
    weft_buf_clear(&rig->buf);
    weft_produce_request_encode(&request, &rig->buf);
    weft_fake_world_request(rig->world, 0, how->peer, how->delimited, weft_buf_slice(&rig->buf), data, how->shared);
    return request.id;
}

// A batch of `count` records as a client builds it.
static inline void rig_batch(weft_buf_t *out, uint32_t count, int64_t producer_id, int32_t sequence)
{
    const struct weft_test_batch how = {.count = count,
                                        .value_bytes = 20,
                                        .timestamp_ms = WEFT_FAKE_WALL_MS,
                                        .has_producer = producer_id >= 0,
                                        .producer_id = producer_id,
                                        .base_sequence = sequence};
    weft_test_batch_make(out, &how);
}

// Sends `count` records and expects the oldest reply to be its answer.
static inline struct weft_produce_reply rig_take_produced(struct rig *rig)
{
    struct weft_produce_reply reply;
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    assert_non_null(sent);
    assert_ok(weft_produce_reply_decode(&rig->codec, weft_buf_slice(&sent->header), &reply, &rig->error));
    return reply;
}

static inline struct weft_produce_reply rig_produce_records(struct rig *rig, const struct rig_produce *how,
                                                            uint32_t count)
{
    weft_buf_t batch;
    weft_buf_init(&batch);
    rig_batch(&batch, count, -1, 0);
    uint64_t id = rig_send_produce(rig, how, weft_buf_slice(&batch));
    weft_buf_fini(&batch);
    struct weft_produce_reply reply = rig_take_produced(rig);
    assert_int_equal(reply.header.id, id);
    return reply;
}

struct rig_fetch {
    const char *topic;
    uint32_t partition;
    int64_t offset;
    bool has_epoch;
    int32_t epoch;
    uint32_t max_wait_ms, min_bytes, max_bytes; // max_bytes 0: the default
    bool watch, durable;
    uint8_t peer;
};

static inline void rig_send_fetch(struct rig *rig, const struct rig_fetch *how)
{
    struct weft_fetch_request request;
    weft_fetch_request_init(&request);
    request.id = rig->next_id++;
    request.topic = weft_slice_text(how->topic);
    request.partition = how->partition;
    request.offset = how->offset;
    if (how->has_epoch) request.epoch = how->epoch;
    request.max_wait_ms = how->max_wait_ms;
    if (how->min_bytes != 0) request.min_bytes = how->min_bytes;
    if (how->max_bytes != 0) request.max_bytes = how->max_bytes;
    if (how->watch) request.max_bytes = 0;
    if (how->durable) request.read = weft_slice_text("durable");
    weft_buf_clear(&rig->buf);
    weft_fetch_request_encode(&request, &rig->buf);
    weft_fake_world_request(rig->world, 0, how->peer, false, weft_buf_slice(&rig->buf), WEFT_SLICE_NIL, false);
}

// The oldest reply as a fetch reply; *records counts what its batches hold, each verified.
static inline struct weft_fetch_reply rig_take_fetched(struct rig *rig, uint32_t *records)
{
    struct weft_fetch_reply reply;
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    assert_non_null(sent);
    assert_ok(weft_fetch_reply_decode(&rig->codec, weft_buf_slice(&sent->header), &reply, &rig->error));
    *records = 0;
    weft_slice_t rest = weft_buf_slice(&sent->data);
    while (rest.size != 0) {
        struct weft_batch batch;
        assert_ok(weft_batch_verify(weft_slice(rest.data, rest.size), &batch));
        *records += batch.count;
        rest = weft_slice(rest.data + weft_batch_bytes(&batch), rest.size - weft_batch_bytes(&batch));
    }
    return reply;
}

static inline uint64_t rig_counter(const struct rig *rig, enum weft_shard_counter counter)
{
    return weft_counter_get(rig->node->counters[1], counter); // of shard 0
}

static inline enum weft_health rig_health(struct rig *rig, char sentence[WEFT_ERROR_TEXT_BYTES_MAX])
{
    return rig->node->type->health(rig->node, sentence, WEFT_ERROR_TEXT_BYTES_MAX);
}

#endif
