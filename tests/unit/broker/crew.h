// SPDX-License-Identifier: MPL-2.0
/**
 * Crew: several brokers, each over a fake world and a directory of its own; the test plays the coordinator and the
 * clients, and carries what the brokers say to each other, unless it cuts them off.
 *
 * One shard a broker. Nothing moves but in crew_settle and crew_advance. In-sync changes are granted at once, as a
 * coordinator with the real cluster state would (which refuses what is old); `grant` false leaves them unanswered.
 */
#ifndef WEFT_TESTS_UNIT_BROKER_CREW_H
#define WEFT_TESTS_UNIT_BROKER_CREW_H

#include "../../support/fake_world.h"
#include "../../support/test.h"

#include "../../../lib/core/cluster.h"
#include "../../../nodes/broker/broker.h"
#include "../../../nodes/broker/counters.h"

#include <weft_gen/commands.h>
#include <weft_gen/config.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CREW_MAX 4
#define CREW_COORDINATOR "tcp://coordinator:1"
#define CREW_COMMANDS_MAX 512
#define CREW_CLIENT 100 // peers from here on are clients
#define CREW_TOPIC "orders"

struct crew_broker {
    int32_t id;
    char directory[WEFT_TEST_PATH_BYTES];
    const struct weft_disk *disk;
    weft_fake_world_t *world;
    struct weft_node *node;
    weft_id_t incarnation;
    uint64_t pushed;       // commands that it was told
    bool registered, deaf; // deaf: the coordinator's pushes don't reach it
    uint32_t reports, damaged_reports;
    struct weft_replica_report last_report;
    // The newest reply to a client.
    weft_buf_t reply, reply_data;
    size_t reply_count;
};

struct crew {
    struct crew_broker brokers[CREW_MAX];
    size_t count;
    const char *const *pairs;             // options
    bool cut[CREW_MAX + 1][CREW_MAX + 1]; // by id: what the first says does not reach the second
    bool grant;
    uint32_t asks, refused_asks;
    uint32_t progresses, replicates;
    // Hook: sees (and may change) what a leader answers to a follower; NULL.
    void (*tamper)(struct crew *crew, weft_buf_t *header, weft_buf_t *data);
    int tampered;
    weft_cluster_t *cluster;
    weft_buf_t commands[CREW_COMMANDS_MAX];
    uint64_t index;
    weft_codec_t codec;
    weft_buf_t buf, other;
    struct weft_error error;
    uint64_t next_id;
};

static inline weft_id_t crew_id(uint8_t number)
{
    weft_id_t id = {{0}};
    id.bytes[0] = 0xcd;
    id.bytes[15] = number;
    return id;
}

// ---- the coordinator

static inline weft_err_t crew_commit(struct crew *crew)
{
    assert_true(crew->index + 1 < CREW_COMMANDS_MAX);
    weft_buf_t *command = &crew->commands[++crew->index];
    weft_buf_clear(command);
    weft_buf_append(command, crew->buf.data, crew->buf.size);
    weft_err_t code = weft_cluster_apply(crew->cluster, crew->index, weft_buf_slice(command), NULL, NULL, &crew->error);
    weft_cluster_check(crew->cluster);
    return code;
}

// False: there was nothing to tell.
static inline bool crew_push(struct crew *crew, struct crew_broker *to)
{
    if (to->world == NULL || !to->registered || to->deaf || to->pushed == crew->index) return false;
    weft_buf_t header, data;
    weft_buf_init(&header);
    weft_buf_init(&data);
    struct weft_cluster_update_request request;
    weft_cluster_update_request_init(&request);
    request.epoch = weft_cluster_epoch(crew->cluster);
    request.from_index = to->pushed;
    request.to_index = crew->index;
    request.snapshot = to->pushed == 0;
    weft_cluster_update_request_encode(&request, &header);
    for (uint64_t i = to->pushed + 1; to->pushed != 0 && i <= crew->index; i++) {
        const weft_buf_t *command = &crew->commands[i];
        const uint8_t head[] = {0x92,
                                0xcd,
                                (uint8_t) (i >> 8),
                                (uint8_t) i,
                                0xc6,
                                (uint8_t) (command->size >> 24),
                                (uint8_t) (command->size >> 16),
                                (uint8_t) (command->size >> 8),
                                (uint8_t) command->size};
        weft_buf_append(&data, head, sizeof head);
        weft_buf_append(&data, command->data, command->size);
    }
    if (to->pushed == 0) weft_cluster_encode(crew->cluster, &data);
    to->pushed = crew->index;
    weft_fake_world_from(to->world, CREW_COORDINATOR, weft_buf_slice(&header), weft_buf_slice(&data));
    weft_buf_fini(&header);
    weft_buf_fini(&data);
    return true;
}

static inline void crew_on_register(struct crew *crew, struct crew_broker *from, weft_slice_t header)
{
    struct weft_broker_register_request request;
    assert_ok(weft_broker_register_request_decode(&crew->codec, header, &request, &crew->error));
    struct weft_broker_registered_command command;
    weft_broker_registered_command_init(&command);
    command.broker_id = request.broker_id;
    command.incarnation = from->incarnation = request.incarnation;
    command.endpoints = request.endpoints;
    command.endpoints_count = request.endpoints_count;
    command.replica_endpoints = request.replica_endpoints;
    command.replica_endpoints_count = request.replica_endpoints_count;
    command.clean = request.clean;
    weft_buf_clear(&crew->buf);
    weft_broker_registered_command_encode(&command, &crew->buf);
    assert_ok(crew_commit(crew));
    from->registered = true;
    struct weft_broker_register_reply reply;
    weft_broker_register_reply_init(&reply);
    reply.header.id = request.id;
    reply.cluster_id = weft_cluster_id(crew->cluster);
    reply.epoch = weft_cluster_epoch(crew->cluster);
    reply.heartbeat_ms = 100;
    reply.session_ms = 1000;
    weft_buf_clear(&crew->buf);
    weft_broker_register_reply_encode(&reply, &crew->buf);
    weft_fake_world_from(from->world, CREW_COORDINATOR, weft_buf_slice(&crew->buf), WEFT_SLICE_NIL);
}

static inline void crew_on_heartbeat(struct crew *crew, struct crew_broker *from, weft_slice_t header)
{
    struct weft_broker_heartbeat_request request;
    assert_ok(weft_broker_heartbeat_request_decode(&crew->codec, header, &request, &crew->error));
    struct weft_broker_heartbeat_reply reply;
    weft_broker_heartbeat_reply_init(&reply);
    reply.header.id = request.id;
    reply.epoch = weft_cluster_epoch(crew->cluster);
    reply.index = crew->index;
    reply.stop_now = request.want_stop;
    weft_buf_clear(&crew->buf);
    weft_broker_heartbeat_reply_encode(&reply, &crew->buf);
    weft_fake_world_from(from->world, CREW_COORDINATOR, weft_buf_slice(&crew->buf), WEFT_SLICE_NIL);
}

static inline void crew_on_ask(struct crew *crew, struct crew_broker *from, weft_slice_t header)
{
    struct weft_in_sync_change_request request;
    assert_ok(weft_in_sync_change_request_decode(&crew->codec, header, &request, &crew->error));
    assert_true(weft_id_equal(request.incarnation, from->incarnation));
    for (size_t i = 0; i < request.changes_count; i++) {
        const struct weft_in_sync_ask *ask = &request.changes[i];
        int32_t isr[WEFT_REPLICAS_MAX];
        weft_id_t incarnations[WEFT_REPLICAS_MAX];
        struct weft_partition_changed_command command;
        weft_partition_changed_command_init(&command);
        crew->asks++;
        if (!crew->grant) continue;
        for (size_t k = 0; k < ask->members_count; k++) {
            isr[k] = ask->members[k].broker;
            incarnations[k] = ask->members[k].incarnation;
        }
        command.topic_id = ask->topic_id;
        command.partition = ask->partition;
        command.partition_epoch = ask->partition_epoch;
        command.leader_epoch = ask->leader_epoch;
        command.leader = from->id;
        command.isr = isr;
        command.incarnations = incarnations;
        command.isr_count = command.incarnations_count = ask->members_count;
        weft_buf_clear(&crew->buf);
        weft_partition_changed_command_encode(&command, &crew->buf);
        if (crew_commit(crew) != WEFT_OK) crew->refused_asks++;
    }
    struct weft_in_sync_change_reply reply;
    weft_in_sync_change_reply_init(&reply);
    reply.header.id = request.id;
    weft_buf_clear(&crew->buf);
    weft_in_sync_change_reply_encode(&reply, &crew->buf);
    weft_fake_world_from(from->world, CREW_COORDINATOR, weft_buf_slice(&crew->buf), WEFT_SLICE_NIL);
}

static inline void crew_on_report(struct crew *crew, struct crew_broker *from, weft_slice_t header)
{
    struct weft_partition_report_request request;
    assert_ok(weft_partition_report_request_decode(&crew->codec, header, &request, &crew->error));
    for (size_t i = 0; i < request.reports_count; i++) {
        from->reports++;
        from->damaged_reports += request.reports[i].damaged;
        from->last_report = request.reports[i];
    }
    struct weft_partition_report_reply reply;
    weft_partition_report_reply_init(&reply);
    reply.header.id = request.id;
    weft_buf_clear(&crew->buf);
    weft_partition_report_reply_encode(&reply, &crew->buf);
    weft_fake_world_from(from->world, CREW_COORDINATOR, weft_buf_slice(&crew->buf), WEFT_SLICE_NIL);
}

// ---- what brokers say

static inline const char *crew_door(const struct crew_broker *broker)
{
    return ((const struct weft_broker *) broker->node)->shards[0].replica_endpoint;
}

static inline void crew_to_broker(struct crew *crew, struct crew_broker *from, const char *endpoint,
                                  weft_slice_t header, weft_slice_t data)
{
    for (size_t i = 0; i < crew->count; i++) {
        struct crew_broker *to = &crew->brokers[i];
        if (to->world == NULL || strcmp(crew_door(to), endpoint) != 0 || crew->cut[from->id][to->id]) continue;
        struct weft_request_header request;
        assert_ok(weft_request_header_decode(header, &request, &crew->error));
        crew->progresses += request.api == WEFT_API_PROGRESS;
        crew->replicates += request.api == WEFT_API_REPLICATE;
        weft_fake_world_queue_at(to->world, 0, 1, (uint8_t) from->id, header, data);
        weft_fake_world_settle(to->world);
        return;
    }
}

static inline bool crew_take_sent(struct crew *crew, struct crew_broker *from)
{
    const struct weft_fake_sent *sent = weft_fake_world_take_sent(from->world);
    if (sent == NULL) return false;
    weft_buf_t header, data;
    weft_buf_init(&header);
    weft_buf_init(&data);
    weft_buf_append(&header, sent->header.data, sent->header.size);
    weft_buf_append(&data, sent->data.data, sent->data.size);
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    snprintf(endpoint, sizeof endpoint, "%s", sent->endpoint);
    struct weft_request_header request = {.api = WEFT_API_UNKNOWN};
    assert_ok(weft_request_header_decode(weft_buf_slice(&header), &request, &crew->error));
    if (strcmp(endpoint, CREW_COORDINATOR) != 0)
        crew_to_broker(crew, from, endpoint, weft_buf_slice(&header), weft_buf_slice(&data));
    else if (request.api == WEFT_API_BROKER_REGISTER)
        crew_on_register(crew, from, weft_buf_slice(&header));
    else if (request.api == WEFT_API_BROKER_HEARTBEAT)
        crew_on_heartbeat(crew, from, weft_buf_slice(&header));
    else if (request.api == WEFT_API_IN_SYNC_CHANGE)
        crew_on_ask(crew, from, weft_buf_slice(&header));
    else if (request.api == WEFT_API_PARTITION_REPORT)
        crew_on_report(crew, from, weft_buf_slice(&header));
    weft_buf_fini(&header);
    weft_buf_fini(&data);
    return true;
}

static inline bool crew_take_reply(struct crew *crew, struct crew_broker *from)
{
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(from->world);
    if (sent == NULL) return false;
    if (sent->peer >= CREW_CLIENT) {
        weft_buf_clear(&from->reply);
        weft_buf_clear(&from->reply_data);
        weft_buf_append(&from->reply, sent->header.data, sent->header.size);
        weft_buf_append(&from->reply_data, sent->data.data, sent->data.size);
        from->reply_count++;
        return true;
    }
    struct crew_broker *to = &crew->brokers[sent->peer - 1];
    if (to->world == NULL || crew->cut[from->id][to->id]) return true;
    weft_buf_t header, data;
    weft_buf_init(&header);
    weft_buf_init(&data);
    weft_buf_append(&header, sent->header.data, sent->header.size);
    weft_buf_append(&data, sent->data.data, sent->data.size);
    if (crew->tamper != NULL) crew->tamper(crew, &header, &data);
    weft_fake_world_from(to->world, crew_door(from), weft_buf_slice(&header), weft_buf_slice(&data));
    weft_buf_fini(&header);
    weft_buf_fini(&data);
    return true;
}

// Carries everything until nobody has anything more to say.
static inline void crew_settle(struct crew *crew)
{
    bool any = true;
    for (int rounds = 0; any; rounds++) {
        assert_true(rounds < 10000);
        any = false;
        for (size_t i = 0; i < crew->count; i++) {
            struct crew_broker *broker = &crew->brokers[i];
            if (broker->world == NULL) continue;
            weft_fake_world_settle(broker->world);
            while (crew_take_sent(crew, broker) || crew_take_reply(crew, broker)) any = true;
            if (crew_push(crew, broker)) any = true;
        }
    }
}

static inline void crew_advance(struct crew *crew, int64_t ms)
{
    for (int64_t at = 0; at < ms; at += 5) {
        for (size_t i = 0; i < crew->count; i++)
            if (crew->brokers[i].world != NULL) weft_fake_world_advance(crew->brokers[i].world, 5000);
        crew_settle(crew);
    }
}

// ---- life

static inline struct crew_broker *crew_broker(struct crew *crew, int32_t id)
{
    return &crew->brokers[id - 1];
}

// Links between all that are up; those to the dead are down.
static inline void crew_links(struct crew *crew)
{
    for (size_t i = 0; i < crew->count; i++)
        for (size_t k = 0; k < crew->count; k++)
            if (i != k && crew->brokers[i].world != NULL && crew->brokers[k].node != NULL)
                weft_fake_world_link(crew->brokers[i].world, crew_door(&crew->brokers[k]),
                                     crew->brokers[k].world != NULL);
}

static inline void crew_up(struct crew *crew, int32_t id)
{
    struct crew_broker *broker = crew_broker(crew, id);
    struct weft_error error;
    char text[WEFT_TEST_PATH_BYTES + 16];
    weft_options_t *options = weft_options_new(weft_options_broker, weft_options_broker_count, "broker");
    assert_ok(weft_options_set(options, "data", weft_test_path(broker->directory, "data"), &error));
    assert_ok(weft_options_set(options, "coordinators", CREW_COORDINATOR, &error));
    snprintf(text, sizeof text, "tcp://broker%d:*", (int) id);
    assert_ok(weft_options_set(options, "listen", text, &error));
    snprintf(text, sizeof text, "%d", (int) id);
    assert_ok(weft_options_set(options, "id", text, &error));
    for (const char *const *pair = crew->pairs; pair != NULL && *pair != NULL; pair++)
        assert_ok(weft_options_set_pair(options, *pair, &error));
    broker->world = weft_fake_world_new(broker->disk);
    broker->pushed = 0;
    broker->registered = false;
    assert_ok(weft_node_broker.create(weft_fake_world_of(broker->world), options, &broker->node, &crew->error));
    weft_options_destroy(&options);
    const weft_world_t *world = weft_fake_world_of(broker->world);
    world->ops->start(world->self);
    weft_fake_world_link(broker->world, CREW_COORDINATOR, true);
    crew_links(crew);
    crew_advance(crew, 50);
}

static inline void crew_kill(struct crew *crew, int32_t id)
{
    struct crew_broker *broker = crew_broker(crew, id);
    for (size_t i = 0; i < crew->count; i++)
        if (crew->brokers[i].world != NULL && &crew->brokers[i] != broker)
            weft_fake_world_link(crew->brokers[i].world, crew_door(broker), false);
    weft_fake_world_destroy(&broker->world);
    broker->node->type->destroy(&broker->node);
    broker->registered = false;
}

static inline void crew_begin(struct crew *crew, size_t count, const char *const *pairs)
{
    memset(crew, 0, sizeof *crew);
    crew->count = count;
    crew->pairs = pairs;
    crew->grant = true;
    crew->next_id = 1;
    crew->cluster = weft_cluster_new();
    weft_codec_init(&crew->codec);
    weft_buf_init(&crew->buf);
    weft_buf_init(&crew->other);
    for (size_t i = 0; i < CREW_COMMANDS_MAX; i++) weft_buf_init(&crew->commands[i]);
    struct weft_cluster_format_command format = {.cluster_id = crew_id(1)};
    weft_cluster_format_command_encode(&format, &crew->buf);
    assert_ok(crew_commit(crew));
    struct weft_took_office_command office = {.coordinator_id = 1, .endpoint = weft_slice_text(CREW_COORDINATOR)};
    weft_buf_clear(&crew->buf);
    weft_took_office_command_encode(&office, &crew->buf);
    assert_ok(crew_commit(crew));
    for (size_t i = 0; i < count; i++) {
        struct crew_broker *broker = &crew->brokers[i];
        broker->id = (int32_t) i + 1;
        weft_test_directory_make(broker->directory);
        broker->disk = weft_disk_posix();
        weft_buf_init(&broker->reply);
        weft_buf_init(&broker->reply_data);
    }
    for (size_t i = 0; i < count; i++) crew_up(crew, (int32_t) i + 1);
}

static inline void crew_end(struct crew *crew)
{
    for (size_t i = 0; i < crew->count; i++) {
        struct crew_broker *broker = &crew->brokers[i];
        if (broker->world != NULL) crew_kill(crew, broker->id);
        weft_buf_fini(&broker->reply);
        weft_buf_fini(&broker->reply_data);
        weft_test_directory_remove(broker->directory);
    }
    weft_cluster_destroy(&crew->cluster);
    weft_codec_fini(&crew->codec);
    weft_buf_fini(&crew->buf);
    weft_buf_fini(&crew->other);
    for (size_t i = 0; i < CREW_COMMANDS_MAX; i++) weft_buf_fini(&crew->commands[i]);
}

// ---- topics and leaders

// Partitions that all have the replicas 1, 2 ... `replicas`, led by 1.
static inline void crew_topic(struct crew *crew, const char *name, uint8_t id, uint32_t partitions, size_t replicas,
                              const char *key, const char *value)
{
    int32_t brokers[CREW_MAX] = {1, 2, 3, 4};
    struct weft_placement placement[256];
    assert_true(partitions <= 256);
    for (uint32_t i = 0; i < partitions; i++)
        placement[i] = (struct weft_placement){.replicas = brokers, .replicas_count = replicas};
    struct weft_config_entry config = {.key = weft_slice_text(key), .value = weft_slice_text(value)};
    struct weft_topic_created_command command;
    weft_topic_created_command_init(&command);
    command.topic_id = crew_id(id);
    command.topic = weft_slice_text(name);
    command.placement = placement;
    command.placement_count = partitions;
    command.config = &config;
    command.config_count = key != NULL ? 1 : 0;
    weft_buf_clear(&crew->buf);
    weft_topic_created_command_encode(&command, &crew->buf);
    assert_ok(crew_commit(crew));
    crew_advance(crew, 20);
}

static inline void crew_fence(struct crew *crew, int32_t id)
{
    struct weft_broker_fenced_command command = {.broker_id = id, .incarnation = crew_broker(crew, id)->incarnation};
    weft_buf_clear(&crew->buf);
    weft_broker_fenced_command_encode(&command, &crew->buf);
    assert_ok(crew_commit(crew));
    crew_settle(crew);
}

static inline void crew_move_leader(struct crew *crew, uint8_t topic, uint32_t partition, int32_t to)
{
    const struct weft_cluster_topic *state = weft_cluster_topic(crew->cluster, crew_id(topic));
    struct weft_leader_move move = {.topic_id = crew_id(topic),
                                    .partition = partition,
                                    .partition_epoch = state->partitions[partition].partition_epoch,
                                    .leader = to};
    struct weft_leaders_moved_command command;
    weft_leaders_moved_command_init(&command);
    command.moves = &move;
    command.moves_count = 1;
    weft_buf_clear(&crew->buf);
    weft_leaders_moved_command_encode(&command, &crew->buf);
    assert_ok(crew_commit(crew));
    crew_settle(crew);
}

static inline const struct weft_cluster_partition *crew_partition(const struct crew *crew, uint8_t topic,
                                                                  uint32_t number)
{
    return &weft_cluster_topic(crew->cluster, crew_id(topic))->partitions[number];
}

// ---- clients

struct crew_produce {
    uint32_t partition, count, value_bytes;
    const char *acks;
    bool not_durable;
    int64_t producer_id; // 0: none
    int32_t sequence;
    uint32_t timeout_ms;
};

// Sends a batch to a broker; nothing moves yet.
static inline uint64_t crew_send(struct crew *crew, int32_t to, const struct crew_produce *how)
{
    const struct weft_test_batch batch = {.count = how->count != 0 ? how->count : 1,
                                          .value_bytes = how->value_bytes != 0 ? how->value_bytes : 20,
                                          .timestamp_ms = WEFT_FAKE_WALL_MS,
                                          .has_producer = how->producer_id != 0,
                                          .producer_id = how->producer_id,
                                          .base_sequence = how->sequence};
    weft_buf_clear(&crew->other);
    weft_test_batch_make(&crew->other, &batch);
    struct weft_produce_request request;
    weft_produce_request_init(&request);
    request.id = crew->next_id++;
    request.topic = weft_slice_text(CREW_TOPIC);
    request.partition = how->partition;
    if (how->acks != NULL) request.acks = weft_slice_text(how->acks);
    request.durable = !how->not_durable;
    if (how->timeout_ms != 0) request.timeout_ms = how->timeout_ms;
    weft_buf_clear(&crew->buf);
    weft_produce_request_encode(&request, &crew->buf);
    struct crew_broker *broker = crew_broker(crew, to);
    broker->reply_count = 0;
    weft_fake_world_queue(broker->world, 0, CREW_CLIENT, false, weft_buf_slice(&crew->buf),
                          weft_buf_slice(&crew->other), false);
    return request.id;
}

static inline struct weft_produce_reply crew_produced(struct crew *crew, int32_t from)
{
    struct weft_produce_reply reply;
    struct crew_broker *broker = crew_broker(crew, from);
    assert_true(broker->reply_count > 0);
    assert_ok(weft_produce_reply_decode(&crew->codec, weft_buf_slice(&broker->reply), &reply, &crew->error));
    return reply;
}

static inline struct weft_produce_reply crew_produce(struct crew *crew, int32_t to, const struct crew_produce *how)
{
    (void) crew_send(crew, to, how);
    for (int i = 0; i < 40 && crew_broker(crew, to)->reply_count == 0; i++) crew_advance(crew, 5);
    return crew_produced(crew, to);
}

// Sizes and marks at the leader; the arrays live until the next.
static inline struct weft_partition_status_reply crew_status(struct crew *crew, int32_t from, uint32_t partition)
{
    struct weft_partition_status_request request;
    struct weft_partition_status_reply reply;
    weft_partition_status_request_init(&request);
    request.id = crew->next_id++;
    request.topic = weft_slice_text(CREW_TOPIC);
    request.partition = partition;
    weft_buf_clear(&crew->buf);
    weft_partition_status_request_encode(&request, &crew->buf);
    struct crew_broker *broker = crew_broker(crew, from);
    broker->reply_count = 0;
    weft_fake_world_request(broker->world, 0, CREW_CLIENT, false, weft_buf_slice(&crew->buf), WEFT_SLICE_NIL, false);
    crew_settle(crew);
    assert_true(broker->reply_count == 1);
    assert_ok(weft_partition_status_reply_decode(&crew->codec, weft_buf_slice(&broker->reply), &reply, &crew->error));
    return reply;
}

static inline uint64_t crew_counter(struct crew *crew, int32_t id, enum weft_shard_counter counter)
{
    return weft_counter_get(&((struct weft_broker *) crew_broker(crew, id)->node)->shards[0].counters, counter);
}

// The bytes of the first segment of a replica.
static inline void crew_bytes(struct crew *crew, int32_t id, uint8_t topic, uint32_t partition, int64_t base,
                              weft_buf_t *out)
{
    char path[WEFT_TEST_PATH_BYTES], text[WEFT_ID_TEXT_BYTES];
    weft_id_text(crew_id(topic), text);
    snprintf(path, sizeof path, "%s/data/topics/%s/%u/%020lld.log", crew_broker(crew, id)->directory, text,
             (unsigned) partition, (long long) base);
    assert_ok(weft_disk_read_file(weft_disk_posix(), path, 1 << 26, out));
}

static inline void crew_assert_same(struct crew *crew, int32_t a, int32_t b, uint8_t topic, uint32_t partition)
{
    weft_buf_t x, y;
    weft_buf_init(&x);
    weft_buf_init(&y);
    crew_bytes(crew, a, topic, partition, 0, &x);
    crew_bytes(crew, b, topic, partition, 0, &y);
    assert_int_equal(x.size, y.size);
    if (x.size != 0) assert_memory_equal(x.data, y.data, x.size);
    weft_buf_fini(&x);
    weft_buf_fini(&y);
}

#endif
