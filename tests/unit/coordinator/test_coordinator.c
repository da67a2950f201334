// SPDX-License-Identifier: MPL-2.0
// The coordinator node, whole, over a disk in memory and a clock that the test moves: what is answered and when, what brokers are sent, what survives.
#include "tests/support/crash_disk.h"
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
};

static weft_err_t s_create(struct fixture *self)
{
    self->world = weft_fake_world_new(weft_crash_disk_of(self->disk));
    const struct weft_world *world = weft_fake_world_of(self->world);
    return weft_node_coordinator.create(world, self->options, &self->node, &self->error);
}

static void s_start(struct fixture *self)
{
    assert_ok(s_create(self));
    const struct weft_world *world = weft_fake_world_of(self->world);
    world->ops->start(world->self);
}

static void s_down(struct fixture *self)
{
    weft_fake_world_destroy(&self->world);
    if (self->node) weft_node_coordinator.destroy(&self->node);
}

static void s_say_nothing(void *context, enum weft_trace_level level, const char *source, const char *line)
{
    (void) context;
    (void) level;
    (void) source;
    (void) line;
}

static int s_setup(void **state)
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

static int s_teardown(void **state)
{
    struct fixture *self = *state;
    s_down(self);
    weft_options_destroy(&self->options);
    weft_codec_fini(&self->codec);
    weft_buf_fini(&self->header);
    weft_buf_fini(&self->reply);
    weft_crash_disk_destroy(&self->disk);
    free(self);
    return 0;
}

// Sends the request that was built, without waiting.
static void s_send(struct fixture *self, uint8_t peer)
{
    weft_fake_world_request(self->world, 0, peer, false, weft_buf_slice(&self->header), WEFT_SLICE_NIL, false);
    weft_buf_clear(&self->header);
}

// The next answer that is no push; pushes are dropped. NULL: none.
static const struct weft_fake_sent *s_next_answer(struct fixture *self)
{
    const struct weft_fake_sent *sent;
    while ((sent = weft_fake_world_take_reply(self->world))) {
        struct weft_request_header push;
        if (weft_request_header_decode(weft_buf_slice(&sent->header), &push, NULL) == WEFT_OK) continue;
        return sent;
    }
    return NULL;
}

// Error of the next answer; TIMED_OUT: there is none.
static weft_err_t s_answer_error(struct fixture *self)
{
    const struct weft_fake_sent *sent = s_next_answer(self);
    if (!sent) return WEFT_ERR_TIMED_OUT;
    struct weft_reply_header header;
    assert_ok(weft_reply_header_decode(&self->codec, weft_buf_slice(&sent->header), &header, NULL));
    return header.error;
}

// Sends and takes the answer into self->reply; its error is returned.
static weft_err_t s_ask(struct fixture *self, uint8_t peer)
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

// ---- requests

static void s_create_topic_request(struct fixture *self, const char *name, uint32_t partitions, const char *key,
                                   const char *value)
{
    struct weft_topic_create_request request;
    weft_topic_create_request_init(&request);
    struct weft_config_entry entry = {.key = weft_slice_text(key), .value = weft_slice_text(value)};
    request.id = ++self->id;
    request.topic = weft_slice_text(name);
    request.partitions = partitions;
    request.config = &entry;
    request.config_count = key ? 1 : 0;
    weft_topic_create_request_encode(&request, &self->header);
}

static weft_err_t s_create_topic(struct fixture *self, const char *name, uint32_t partitions)
{
    s_create_topic_request(self, name, partitions, NULL, NULL);
    return s_ask(self, ADMIN);
}

static weft_err_t s_delete_topic(struct fixture *self, const char *name)
{
    struct weft_topic_delete_request request;
    weft_topic_delete_request_init(&request);
    request.id = ++self->id;
    request.topic = weft_slice_text(name);
    weft_topic_delete_request_encode(&request, &self->header);
    return s_ask(self, ADMIN);
}

static weft_id_t s_incarnation(uint8_t number)
{
    weft_id_t id = {{0}};
    id.bytes[0] = number;
    return id;
}

static void s_register_request(struct fixture *self, int32_t broker, uint8_t incarnation)
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
static weft_err_t s_register(struct fixture *self, int32_t broker, uint8_t incarnation)
{
    s_register_request(self, broker, incarnation);
    return s_ask(self, (uint8_t) broker);
}

static void s_heartbeat_request(struct fixture *self, int32_t broker, uint8_t incarnation, uint64_t index,
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

static weft_err_t s_heartbeat(struct fixture *self, int32_t broker, uint8_t incarnation, uint64_t index)
{
    s_heartbeat_request(self, broker, incarnation, index, false);
    return s_ask(self, (uint8_t) broker);
}

static struct weft_metadata_reply s_metadata(struct fixture *self)
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

static struct weft_node_status_reply s_status(struct fixture *self)
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

// ---- a broker's copy of the state, fed by pushes

// Applies every push that was sent to `peer`; returns how many there were. Answers are dropped.
static size_t s_follow(struct fixture *self, uint8_t peer, weft_cluster_t *copy)
{
    size_t pushes = 0;
    const struct weft_fake_sent *sent;
    while ((sent = weft_fake_world_take_reply(self->world))) {
        struct weft_cluster_update_request update;
        if (weft_cluster_update_request_decode(&self->codec, weft_buf_slice(&sent->header), &update, NULL) ||
            update.to_index == 0)
            continue;
        assert_int_equal(sent->peer, peer);
        pushes++;
        weft_slice_t rest = weft_buf_slice(&sent->data);
        if (update.snapshot) {
            assert_ok(weft_cluster_decode(copy, rest));
            continue;
        }
        if (update.from_index != weft_cluster_index(copy)) continue; // a gap: told by the next heartbeat
        while (rest.size) {                                          // 92 cf u64 c6 u32 bytes
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
    }
    return pushes;
}

// ---- start

static void test_coordinator__first_start_formats_the_cluster(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    struct weft_metadata_reply first = s_metadata(self);
    assert_false(weft_id_is_zero(first.cluster_id));
    assert_int_equal(first.coordinator_id, 1);
    assert_true(weft_slice_is_text(first.coordinators[0], "tcp://127.0.0.1:9651"));
    assert_int_equal(first.version, 2); // cluster_format, took_office
    s_down(self);
    weft_crash_disk_kill(self->disk);
    s_start(self);
    struct weft_metadata_reply again = s_metadata(self);
    assert_true(weft_id_equal(first.cluster_id, again.cluster_id));
    assert_int_equal(again.version, 3); // a new term of office: the epoch grows with every start
}

static void test_coordinator__answers_loading_until_it_took_office(void **state)
{
    struct fixture *self = *state;
    assert_ok(s_create(self));
    weft_fake_world_hold(self->world, SYNC_PART, true);
    const struct weft_world *world = weft_fake_world_of(self->world);
    world->ops->start(world->self);
    assert_err(s_create_topic(self, "t", 1), WEFT_ERR_COORDINATOR_LOADING);
    assert_true(weft_slice_is_text(s_status(self).health, "starting"));
    weft_fake_world_hold(self->world, SYNC_PART, false);
    weft_fake_world_settle(self->world);
    assert_true(weft_slice_is_text(s_status(self).health, "serving"));
}

// ---- topics

static void test_coordinator__a_change_is_answered_once_it_is_durable(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    weft_fake_world_hold(self->world, SYNC_PART, true);
    s_create_topic_request(self, "orders", 3, NULL, NULL);
    s_send(self, ADMIN);
    assert_null(s_next_answer(self));
    assert_int_equal(s_metadata(self).topics_count, 0); // nor seen
    weft_fake_world_hold(self->world, SYNC_PART, false);
    weft_fake_world_settle(self->world);
    assert_non_null(s_next_answer(self));
    struct weft_metadata_reply reply = s_metadata(self);
    assert_int_equal(reply.topics_count, 1);
    assert_int_equal(reply.topics[0].partitions_count, 3);
    assert_int_equal(reply.topics[0].partitions[0].leader, 1);
    assert_true(weft_slice_is_text(reply.topics[0].partitions[0].endpoint, "tcp://127.0.0.1:7000"));
}

static void test_coordinator__bad_requests_get_sentences_and_change_nothing(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_err(s_create_topic(self, "orders", 1), WEFT_ERR_INVALID_REPLICATION); // no broker
    assert_non_null(strstr(self->error.text, "no broker is alive"));
    assert_ok(s_register(self, 1, 1));
    uint64_t version = s_metadata(self).version;
    static const struct {
        const char *name;
        uint32_t partitions;
        const char *key, *value, *says;
        weft_err_t err;
    } cases[] = {
        {"no good", 1, NULL, NULL, "letters", WEFT_ERR_INVALID_TOPIC},
        {"", 1, NULL, NULL, "name", WEFT_ERR_INVALID_TOPIC},
        {"__mine", 1, NULL, NULL, "__", WEFT_ERR_INVALID_TOPIC},
        {"t", 0, NULL, NULL, "1 to", WEFT_ERR_INVALID_PARTITIONS},
        {"t", 100001, NULL, NULL, "100000", WEFT_ERR_INVALID_PARTITIONS},
        {"t", 1, "retention.mss", "1", "retention.ms", WEFT_ERR_INVALID_CONFIG},
        {"t", 1, "retention.ms", "soon", "retention.ms", WEFT_ERR_INVALID_CONFIG},
        {"t", 1, "min.insync", "2", "min.insync", WEFT_ERR_INVALID_CONFIG},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        s_create_topic_request(self, cases[i].name, cases[i].partitions, cases[i].key, cases[i].value);
        assert_err(s_ask(self, ADMIN), cases[i].err);
        assert_non_null(strstr(self->error.text, cases[i].says));
    }
    struct weft_topic_create_request request;
    weft_topic_create_request_init(&request);
    request.id = ++self->id;
    request.topic = weft_slice_text("t");
    request.replicas = 3;
    weft_topic_create_request_encode(&request, &self->header);
    assert_err(s_ask(self, ADMIN), WEFT_ERR_INVALID_REPLICATION);
    assert_non_null(strstr(self->error.text, "next release"));
    request.replicas = 1;
    request.validate_only = true;
    request.id = ++self->id;
    weft_topic_create_request_encode(&request, &self->header);
    assert_ok(s_ask(self, ADMIN));
    assert_int_equal(s_metadata(self).version, version);
}

static void test_coordinator__of_two_creations_that_race_one_wins(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    for (uint8_t i = 0; i < 2; i++) {
        s_create_topic_request(self, "orders", 1, NULL, NULL);
        weft_fake_world_queue(self->world, 0, i, false, weft_buf_slice(&self->header), WEFT_SLICE_NIL, false);
        weft_buf_clear(&self->header);
    }
    weft_fake_world_settle(self->world);
    static const weft_err_t expected[2] = {WEFT_OK, WEFT_ERR_TOPIC_EXISTS};
    for (uint8_t i = 0; i < 2; i++) {
        const struct weft_fake_sent *sent = s_next_answer(self);
        assert_non_null(sent);
        struct weft_reply_header header;
        assert_ok(weft_reply_header_decode(&self->codec, weft_buf_slice(&sent->header), &header, NULL));
        assert_int_equal(sent->peer, i);
        assert_err(header.error, expected[i]);
    }
    assert_err(s_create_topic(self, "orders", 1), WEFT_ERR_TOPIC_EXISTS); // what a retry after a timeout hears
}

static weft_err_t s_alter(struct fixture *self, const char *set, const char *value, const char *unset)
{
    struct weft_topic_alter_request request;
    weft_topic_alter_request_init(&request);
    struct weft_config_entry entry = {.key = weft_slice_text(set), .value = weft_slice_text(value)};
    weft_slice_t key = weft_slice_text(unset);
    request.id = ++self->id;
    request.topic = weft_slice_text("orders");
    request.set = &entry;
    request.set_count = set ? 1 : 0;
    request.unset = &key;
    request.unset_count = unset ? 1 : 0;
    weft_topic_alter_request_encode(&request, &self->header);
    return s_ask(self, ADMIN);
}

static void s_assert_config(struct fixture *self, const char *key, const char *value, bool is_default)
{
    struct weft_topic_describe_request request;
    weft_topic_describe_request_init(&request);
    request.id = ++self->id;
    request.topic = weft_slice_text("orders");
    weft_topic_describe_request_encode(&request, &self->header);
    assert_ok(s_ask(self, CLIENT));
    struct weft_topic_describe_reply reply;
    DECODE(topic_describe, &reply);
    for (size_t i = 0; i < reply.config_count; i++) {
        if (!weft_slice_is_text(reply.config[i].key, key)) continue;
        assert_slice(reply.config[i].value, value);
        assert_int_equal(reply.config[i].is_default, is_default);
        return;
    }
    fail_msg("no key %s", key);
}

static void test_coordinator__configuration_is_altered_key_by_key(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    s_create_topic_request(self, "orders", 1, "retention.ms", "1h");
    assert_ok(s_ask(self, ADMIN));
    assert_ok(s_alter(self, "segment.bytes", "1MiB", NULL));
    s_assert_config(self, "retention.ms", "1h", false);
    s_assert_config(self, "segment.bytes", "1MiB", false);
    assert_ok(s_alter(self, NULL, NULL, "retention.ms"));
    s_assert_config(self, "retention.ms", "7d", true);
    s_assert_config(self, "segment.bytes", "1MiB", false);
    assert_err(s_alter(self, NULL, NULL, "retention.mss"), WEFT_ERR_INVALID_CONFIG);
    assert_err(s_alter(self, "segment.bytes", "-5", NULL), WEFT_ERR_INVALID_CONFIG);
    assert_err(s_alter(self, "segment.bytes", "1MiB", "segment.bytes"), WEFT_ERR_INVALID_CONFIG);
    weft_fake_world_hold(self->world, SYNC_PART, true); // two at once would undo each other: the second comes back
    struct weft_topic_alter_request request;
    weft_topic_alter_request_init(&request);
    request.id = ++self->id;
    request.topic = weft_slice_text("orders");
    weft_topic_alter_request_encode(&request, &self->header);
    s_send(self, ADMIN);
    assert_err(s_alter(self, "segment.ms", "1h", NULL), WEFT_ERR_OVERLOADED);
    weft_fake_world_hold(self->world, SYNC_PART, false);
    weft_fake_world_settle(self->world);
    assert_non_null(s_next_answer(self));
    assert_ok(s_alter(self, "segment.ms", "1h", NULL));
}

static weft_err_t s_grow(struct fixture *self, uint32_t to)
{
    struct weft_topic_add_partitions_request request;
    weft_topic_add_partitions_request_init(&request);
    request.id = ++self->id;
    request.topic = weft_slice_text("orders");
    request.to = to;
    weft_topic_add_partitions_request_encode(&request, &self->header);
    return s_ask(self, ADMIN);
}

static void test_coordinator__topics_grow_and_go(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_create_topic(self, "orders", 2));
    assert_ok(s_grow(self, 5));
    assert_int_equal(s_metadata(self).topics[0].partitions_count, 5);
    assert_err(s_grow(self, 5), WEFT_ERR_INVALID_PARTITIONS);
    assert_err(s_grow(self, 100001), WEFT_ERR_INVALID_PARTITIONS);
    assert_err(s_delete_topic(self, "order"), WEFT_ERR_UNKNOWN_TOPIC);
    assert_string_equal(self->error.text, "topic 'order' does not exist; did you mean 'orders'?");
    assert_ok(s_delete_topic(self, "orders"));
    assert_err(s_delete_topic(self, "orders"), WEFT_ERR_UNKNOWN_TOPIC);
    assert_int_equal(s_metadata(self).topics_count, 0);
}

static void test_coordinator__produce_is_sent_to_the_leader(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_create_topic(self, "orders", 1));
    struct weft_produce_request request;
    weft_produce_request_init(&request);
    request.id = ++self->id;
    request.topic = weft_slice_text("orders");
    weft_produce_request_encode(&request, &self->header);
    assert_err(s_ask(self, CLIENT), WEFT_ERR_NOT_LEADER);
    struct weft_reply_header header;
    assert_ok(weft_reply_header_decode(&self->codec, weft_buf_slice(&self->reply), &header, NULL));
    assert_int_equal(header.leader, 1);
    assert_slice(header.endpoint, "tcp://127.0.0.1:7000");
    request.partition = 1;
    request.id = ++self->id;
    weft_produce_request_encode(&request, &self->header);
    assert_err(s_ask(self, CLIENT), WEFT_ERR_UNKNOWN_TOPIC);
}

static void test_coordinator__rubbish_is_answered_and_counted(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    static const char *const rubbish[] = {"",
                                          "\xc1",
                                          "\x80",
                                          "\xdd\x0f\xff\xff\xff",
                                          "\x81\xa3"
                                          "api\xa3xyz",
                                          "\x81\xa3"
                                          "api\x07"};
    for (size_t i = 0; i < sizeof rubbish / sizeof rubbish[0]; i++) {
        weft_fake_world_request(self->world, 0, CLIENT, true, weft_slice(rubbish[i], strlen(rubbish[i])),
                                WEFT_SLICE_NIL, false);
        const struct weft_fake_sent *sent = weft_fake_world_take_reply(self->world);
        assert_non_null(sent);
        assert_true(sent->delimited);
    }
    struct weft_node_status_reply status = s_status(self);
    for (size_t i = 0; i < status.counters_count; i++)
        if (weft_slice_is_text(status.counters[i].name, "frames_refused_count"))
            assert_int_equal(status.counters[i].value, 6);
}

// ---- brokers

static void test_coordinator__a_broker_follows_by_pushes(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    weft_cluster_t *copy = weft_cluster_new();
    s_register_request(self, 1, 1);
    s_send(self, 1);
    assert_int_equal(s_follow(self, 1, copy), 1); // a snapshot
    uint64_t index = weft_cluster_index(copy);
    assert_int_equal(index, 3);
    s_create_topic_request(self, "orders", 2, NULL, NULL);
    s_send(self, ADMIN);
    assert_int_equal(s_follow(self, 1, copy), 1); // at once, without a heartbeat
    assert_int_equal(weft_cluster_index(copy), index + 1);
    assert_non_null(weft_cluster_topic_by_name(copy, weft_slice_text("orders")));
    assert_ok(s_heartbeat(self, 1, 1, index + 1));
    s_create_topic_request(self, "lost", 2, NULL, NULL);
    s_send(self, ADMIN);
    while (weft_fake_world_take_reply(self->world)) {} // the push is lost on its way
    assert_ok(s_heartbeat(self, 1, 1, index + 1));     // too early to tell
    assert_int_equal(s_follow(self, 1, copy), 0);
    weft_fake_world_advance(self->world, SECOND_US / 5);
    s_heartbeat_request(self, 1, 1, index + 1, false);
    s_send(self, 1);
    assert_int_equal(s_follow(self, 1, copy), 1);
    assert_int_equal(weft_cluster_index(copy), index + 2);
    weft_cluster_check(copy);
    weft_cluster_destroy(&copy);
}

static void test_coordinator__a_silent_broker_is_fenced_and_may_come_back(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_create_topic(self, "orders", 1));
    for (int i = 0; i < 20; i++) { // a session and more, with heartbeats
        weft_fake_world_advance(self->world, SECOND_US / 5);
        assert_ok(s_heartbeat(self, 1, 1, 4));
    }
    weft_fake_world_advance(self->world, SECOND_US + SECOND_US / 2);
    struct weft_metadata_reply reply = s_metadata(self);
    assert_false(reply.brokers[0].alive);
    assert_int_equal(reply.topics[0].partitions[0].leader, -1);
    assert_true(weft_slice_is_text(s_status(self).health, "degraded"));
    assert_err(s_heartbeat(self, 1, 1, 4), WEFT_ERR_FENCED);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_heartbeat(self, 1, 1, 0));
    reply = s_metadata(self);
    assert_int_equal(reply.topics[0].partitions[0].leader, 1);
    assert_int_equal(reply.topics[0].partitions[0].epoch, 2);
    assert_err(s_heartbeat(self, 2, 1, 0), WEFT_ERR_FENCED);
}

static void test_coordinator__its_own_pause_fences_nobody(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    weft_fake_world_advance(self->world, SECOND_US / 5);
    weft_fake_world_hold(self->world, COORDINATOR_PART, true); // SIGSTOP
    weft_fake_world_advance(self->world, 5 * SECOND_US);
    weft_fake_world_hold(self->world, COORDINATOR_PART, false);
    weft_fake_world_settle(self->world);
    weft_fake_world_advance(self->world, SECOND_US / 2);
    assert_ok(s_heartbeat(self, 1, 1, 3));
    weft_fake_world_advance(self->world, 2 * SECOND_US); // silence now counts again
    assert_err(s_heartbeat(self, 1, 1, 3), WEFT_ERR_FENCED);
}

static void test_coordinator__after_taking_office_it_waits_one_session(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    s_down(self);
    weft_crash_disk_kill(self->disk);
    s_start(self);
    weft_fake_world_advance(self->world, SECOND_US - SECOND_US / 5);
    assert_true(s_metadata(self).brokers[0].alive);
    assert_ok(s_heartbeat(self, 1, 1, 3)); // the incarnation it knows from its log
    weft_fake_world_advance(self->world, SECOND_US / 2);
    assert_true(s_metadata(self).brokers[0].alive);
    weft_fake_world_advance(self->world, SECOND_US);
    assert_false(s_metadata(self).brokers[0].alive);
}

static void test_coordinator__a_killed_broker_is_back_before_its_session_ends(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_create_topic(self, "orders", 1));
    s_register_request(self, 1, 2); // its next start
    s_send(self, 1);
    assert_err(s_answer_error(self), WEFT_ERR_TIMED_OUT); // might be two with one id
    weft_fake_world_advance(self->world, SECOND_US * 6 / 10);
    assert_err(s_answer_error(self), WEFT_OK);
    struct weft_metadata_reply reply = s_metadata(self);
    assert_true(reply.brokers[0].alive);
    assert_int_equal(reply.topics[0].partitions[0].epoch, 1); // REPLICATION.md rule 2
    assert_err(s_heartbeat(self, 1, 1, 0), WEFT_ERR_FENCED);  // what is left of the one before
    assert_ok(s_heartbeat(self, 1, 2, 0));
}

static void test_coordinator__a_whole_cluster_that_starts_again_waits_for_nobody(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_create_topic(self, "orders", 1));
    s_down(self);
    weft_crash_disk_kill(self->disk);
    s_start(self);
    assert_ok(s_register(self, 1, 2)); // at the same endpoint, and the one before was not heard since
    assert_int_equal(s_metadata(self).topics[0].partitions[0].epoch, 1);
    s_register_request(self, 1, 3);
    s_send(self, 1);
    assert_err(s_answer_error(self), WEFT_ERR_TIMED_OUT); // from now on it waits as ever
}

static void test_coordinator__a_second_broker_of_the_same_id_is_refused(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    s_register_request(self, 1, 2);
    uint64_t id = self->id;
    s_send(self, 5);
    for (int i = 0; i < 3; i++) {
        weft_fake_world_advance(self->world, SECOND_US / 10);
        s_heartbeat_request(self, 1, 1, 3, false);
        s_send(self, 1);
    }
    weft_fake_world_advance(self->world, SECOND_US / 5);
    bool refused = false;
    const struct weft_fake_sent *sent;
    while ((sent = s_next_answer(self))) {
        struct weft_reply_header header;
        assert_ok(weft_reply_header_decode(&self->codec, weft_buf_slice(&sent->header), &header, NULL));
        if (header.id != id) continue;
        assert_int_equal(sent->peer, 5);
        assert_err(header.error, WEFT_ERR_BROKER_ID_IN_USE);
        refused = true;
    }
    assert_true(refused);
    assert_ok(s_heartbeat(self, 1, 1, 3)); // the first is untouched
}

static void test_coordinator__a_broker_that_wants_to_stop_is_let_go(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_create_topic(self, "orders", 1));
    s_heartbeat_request(self, 1, 1, 4, true);
    assert_ok(s_ask(self, 1));
    struct weft_broker_heartbeat_reply reply;
    DECODE(broker_heartbeat, &reply);
    assert_true(reply.stop_now);
    assert_int_equal(s_metadata(self).topics[0].partitions[0].leader, -1);
    s_heartbeat_request(self, 1, 1, 4, true); // the answer was lost
    assert_ok(s_ask(self, 1));
    DECODE(broker_heartbeat, &reply);
    assert_true(reply.stop_now);
    assert_ok(s_register(self, 1, 2)); // and back without waiting
}

static void test_coordinator__a_broker_of_another_cluster_is_refused(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    struct weft_broker_register_request request;
    weft_broker_register_request_init(&request);
    weft_slice_t endpoint = weft_slice_text("tcp://127.0.0.1:7000");
    request.id = ++self->id;
    request.broker_id = 1;
    request.incarnation = s_incarnation(1);
    request.cluster_id = s_incarnation(77);
    request.endpoints = &endpoint;
    request.endpoints_count = 1;
    weft_broker_register_request_encode(&request, &self->header);
    assert_err(s_ask(self, 1), WEFT_ERR_WRONG_CLUSTER);
    assert_int_equal(s_metadata(self).brokers_count, 0);
}

static void test_coordinator__status_says_what_is_wrong(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    for (int i = 0; i < 12; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%d", i);
        assert_ok(s_create_topic(self, name, 1));
    }
    struct weft_cluster_status_request request;
    struct weft_cluster_status_reply reply;
    weft_cluster_status_request_init(&request);
    request.id = ++self->id;
    weft_cluster_status_request_encode(&request, &self->header);
    assert_ok(s_ask(self, CLIENT));
    DECODE(cluster_status, &reply);
    assert_int_equal(reply.problems_count, 0);
    assert_int_equal(reply.brokers[0].leads, 12);
    weft_fake_world_advance(self->world, 2 * SECOND_US);
    request.id = ++self->id;
    weft_cluster_status_request_encode(&request, &self->header);
    assert_ok(s_ask(self, CLIENT));
    DECODE(cluster_status, &reply);
    assert_int_equal(reply.leaderless, 12);
    assert_int_equal(reply.problems_count, 11); // broker down, none alive, eight named, four more
    assert_slice(reply.problems[0], "broker 1 is down and holds 12 partitions; start it again");
    assert_slice(reply.problems[10], "4 more partitions have no leader");
}

static void test_coordinator__a_broker_that_knows_more_is_a_problem(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_heartbeat(self, 1, 1, 500));
    struct weft_cluster_status_request request;
    struct weft_cluster_status_reply reply;
    weft_cluster_status_request_init(&request);
    request.id = ++self->id;
    weft_cluster_status_request_encode(&request, &self->header);
    assert_ok(s_ask(self, CLIENT));
    DECODE(cluster_status, &reply);
    assert_int_equal(reply.problems_count, 1);
    assert_slice(reply.problems[0], "broker 1 knows of 500 changes, this coordinator of 3: its data directory is an "
                                    "old copy; put back the newest one");
}

// ---- what survives

static void test_coordinator__what_it_answered_survives_power_loss(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        weft_rand_init(&rand, seed);
        weft_crash_disk_destroy(&self->disk);
        self->disk = weft_crash_disk_new(seed);
        bool acked[60] = {false};
        uint32_t made = 0;
        for (int life = 0; life < 3; life++) {
            s_start(self);
            struct weft_metadata_reply reply = s_metadata(self);
            for (uint32_t i = 0; i < made; i++) {
                if (!acked[i]) continue;
                char name[8];
                snprintf(name, sizeof name, "t%u", i);
                bool found = false;
                for (size_t t = 0; t < reply.topics_count; t++) found |= weft_slice_is_text(reply.topics[t].name, name);
                assert_true(found); // I9, O1
            }
            s_register_request(self, 1, (uint8_t) (life + 1));
            s_send(self, 1);
            weft_fake_world_advance(self->world, SECOND_US);
            while (weft_fake_world_take_reply(self->world)) {}
            uint32_t until = made + 1 + (uint32_t) weft_rand_below(&rand, 18);
            for (; made < until; made++) {
                char name[8];
                snprintf(name, sizeof name, "t%u", made);
                if (made + 1 == until) weft_fake_world_hold(self->world, SYNC_PART, true); // the last is under way
                s_create_topic_request(self, name, 1, NULL, NULL);
                s_send(self, ADMIN);
                acked[made] = s_answer_error(self) == WEFT_OK;
            }
            weft_crash_disk_crash(self->disk, &rand);
            s_down(self);
        }
    }
}

static void test_coordinator__snapshots_carry_the_state_over_starts(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    for (int round = 0; round < 60; round++) { // a snapshot every 32 commands
        char name[8];
        snprintf(name, sizeof name, "t%d", round);
        assert_ok(s_create_topic(self, name, 2));
        if (round % 3) assert_ok(s_delete_topic(self, name));
        weft_fake_world_advance(self->world, SECOND_US / 10);
        assert_ok(s_heartbeat(self, 1, 1, 0));
    }
    const struct weft_disk *disk = weft_crash_disk_of(self->disk);
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    assert_ok(weft_disk_read_file(disk, "c/snapshot", 1 << 20, &bytes));
    weft_buf_fini(&bytes);
    uint64_t version = s_metadata(self).version;
    s_down(self);
    weft_rand_t rand;
    weft_rand_init(&rand, 3);
    weft_crash_disk_crash(self->disk, &rand);
    s_start(self);
    struct weft_metadata_reply reply = s_metadata(self);
    assert_int_equal(reply.version, version + 1);
    assert_int_equal(reply.topics_count, 20);
    assert_slice(reply.topics[19].name, "t57");
}

static void test_coordinator__a_flipped_bit_is_refused_or_harmless(void **state)
{
    struct fixture *self = *state;
    size_t refused = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        weft_crash_disk_destroy(&self->disk);
        self->disk = weft_crash_disk_new(seed);
        s_start(self);
        assert_ok(s_register(self, 1, 1));
        for (int i = 0; i < 40; i++) {
            char name[8];
            snprintf(name, sizeof name, "t%d", i);
            assert_ok(s_create_topic(self, name, 1));
        }
        uint64_t version = s_metadata(self).version;
        assert_true(weft_fake_world_stop(self->world, COORDINATOR_PART, 5 * SECOND_US));
        assert_true(weft_fake_world_stop(self->world, SYNC_PART, 5 * SECOND_US));
        s_down(self);
        weft_rand_t rand;
        weft_rand_init(&rand, seed);
        char path[256];
        assert_true(weft_crash_disk_flip(self->disk, &rand, NULL, path, sizeof path));
        if (s_create(self) != WEFT_OK) {
            assert_true(strlen(self->error.text) > 20);
            refused++;
        } else {
            const struct weft_world *world = weft_fake_world_of(self->world);
            world->ops->start(world->self);
            struct weft_metadata_reply reply = s_metadata(self);
            assert_int_equal(reply.topics_count, 40); // never in silence
            assert_int_equal(reply.version, version + 1);
        }
        s_down(self);
    }
    assert_true(refused > 0);
}

static void test_coordinator__a_failed_sync_ends_it(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    const struct weft_crash_disk_faults faults = {.sync_eio = 1000000};
    weft_crash_disk_faults_set(self->disk, &faults);
    assert_err(s_create_topic(self, "orders", 1), WEFT_ERR_DISK_FAILED); // maybe applied
    const struct weft_crash_disk_faults none = {0};
    weft_crash_disk_faults_set(self->disk, &none);
    assert_err(s_create_topic(self, "orders", 1), WEFT_ERR_COORDINATOR_UNAVAILABLE); // never tried again
    struct weft_node_status_reply status = s_status(self);
    assert_slice(status.health, "failed");
    char sentence[256];
    assert_int_equal(weft_node_coordinator.health(self->node, sentence, sizeof sentence), WEFT_HEALTH_FAILED);
    assert_non_null(strstr(sentence, "disk"));
}

static void test_coordinator__a_stuck_sync_ends_it_after_three_seconds(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    weft_fake_world_hold(self->world, SYNC_PART, true);
    s_create_topic_request(self, "orders", 1, NULL, NULL);
    s_send(self, ADMIN);
    weft_fake_world_advance(self->world, 2 * SECOND_US);
    assert_null(s_next_answer(self));
    weft_fake_world_advance(self->world, 2 * SECOND_US);
    assert_non_null(s_next_answer(self));
    assert_slice(s_status(self).health, "failed");
    weft_fake_world_hold(self->world, SYNC_PART, false);
    weft_fake_world_settle(self->world);
}

static void test_coordinator__a_full_disk_refuses_changes_until_there_is_space(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    const struct weft_crash_disk_faults full = {.write_enospc = 1000000}, none = {0};
    weft_crash_disk_faults_set(self->disk, &full);
    assert_err(s_create_topic(self, "orders", 1), WEFT_ERR_DISK_FULL);
    assert_ok(s_heartbeat(self, 1, 1, 3));
    weft_crash_disk_faults_set(self->disk, &none);
    assert_ok(s_create_topic(self, "orders", 1));
}

static void test_coordinator__a_clean_stop_answers_what_it_took(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    s_create_topic_request(self, "orders", 1, NULL, NULL);
    weft_fake_world_queue(self->world, 0, ADMIN, false, weft_buf_slice(&self->header), WEFT_SLICE_NIL, false);
    weft_buf_clear(&self->header);
    assert_true(weft_fake_world_stop(self->world, COORDINATOR_PART, 5 * SECOND_US));
    assert_non_null(s_next_answer(self));
    assert_err(s_create_topic(self, "late", 1), WEFT_ERR_STOPPING);
    assert_slice(s_status(self).health, "stopping");
    assert_true(weft_fake_world_stop(self->world, SYNC_PART, 5 * SECOND_US));
    s_down(self);
    weft_rand_t rand;
    weft_rand_init(&rand, 5);
    weft_crash_disk_crash(self->disk, &rand);
    s_start(self);
    assert_int_equal(s_metadata(self).topics_count, 1);
}

static void test_coordinator__a_directory_is_one_coordinators(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    struct fixture other = *self;
    other.world = NULL;
    other.node = NULL;
    assert_err(s_create(&other), WEFT_ERR_LOCKED);
    s_down(&other);
    s_down(self);
    weft_crash_disk_kill(self->disk);
    assert_ok(weft_options_set(self->options, "id", "2", NULL));
    assert_err(s_create(self), WEFT_ERR_WRONG_DIRECTORY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, s_setup, s_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_coordinator__first_start_formats_the_cluster),
        TEST(test_coordinator__answers_loading_until_it_took_office),
        TEST(test_coordinator__a_change_is_answered_once_it_is_durable),
        TEST(test_coordinator__bad_requests_get_sentences_and_change_nothing),
        TEST(test_coordinator__of_two_creations_that_race_one_wins),
        TEST(test_coordinator__configuration_is_altered_key_by_key),
        TEST(test_coordinator__topics_grow_and_go),
        TEST(test_coordinator__produce_is_sent_to_the_leader),
        TEST(test_coordinator__rubbish_is_answered_and_counted),
        TEST(test_coordinator__a_broker_follows_by_pushes),
        TEST(test_coordinator__a_silent_broker_is_fenced_and_may_come_back),
        TEST(test_coordinator__its_own_pause_fences_nobody),
        TEST(test_coordinator__after_taking_office_it_waits_one_session),
        TEST(test_coordinator__a_killed_broker_is_back_before_its_session_ends),
        TEST(test_coordinator__a_whole_cluster_that_starts_again_waits_for_nobody),
        TEST(test_coordinator__a_second_broker_of_the_same_id_is_refused),
        TEST(test_coordinator__a_broker_that_wants_to_stop_is_let_go),
        TEST(test_coordinator__a_broker_of_another_cluster_is_refused),
        TEST(test_coordinator__status_says_what_is_wrong),
        TEST(test_coordinator__a_broker_that_knows_more_is_a_problem),
        TEST(test_coordinator__what_it_answered_survives_power_loss),
        TEST(test_coordinator__snapshots_carry_the_state_over_starts),
        TEST(test_coordinator__a_flipped_bit_is_refused_or_harmless),
        TEST(test_coordinator__a_failed_sync_ends_it),
        TEST(test_coordinator__a_stuck_sync_ends_it_after_three_seconds),
        TEST(test_coordinator__a_full_disk_refuses_changes_until_there_is_space),
        TEST(test_coordinator__a_clean_stop_answers_what_it_took),
        TEST(test_coordinator__a_directory_is_one_coordinators),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
