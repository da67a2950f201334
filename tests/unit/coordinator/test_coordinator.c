// SPDX-License-Identifier: MPL-2.0
// The coordinator node: start, topics, refusals. What is answered and when.
#include "fixture.h"

// ---- start

static void test_coordinator__first_start_formats_the_cluster(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    struct weft_metadata_reply first = s_metadata(self);
    assert_false(weft_id_is_zero(first.cluster_id));
    assert_int_equal(first.coordinator_id, 1);
    assert_true(weft_slice_is_text(first.coordinators[0], "tcp://127.0.0.1:9651"));
    assert_int_equal(first.version, 4); // the voters, cluster_format, took_office, level_raised
    s_down(self);
    weft_crash_disk_kill(self->disk);
    s_start(self);
    struct weft_metadata_reply again = s_metadata(self);
    assert_true(weft_id_equal(first.cluster_id, again.cluster_id));
    assert_int_equal(again.version, 5); // a new term of office: the epoch grows with every start
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
    assert_non_null(strstr(self->error.text, "3 replicas were asked"));
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
