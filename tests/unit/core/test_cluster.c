// SPDX-License-Identifier: MPL-2.0
// The cluster state machine: what each command does and refuses, and the answers that are made of the state.
#include "cluster_fixture.h"

#include "core/cluster_view.h"

#include <weft_gen/messages.h>

// ---- the cluster itself

static void test_cluster__is_formatted_once(void **state)
{
    struct fixture *self = *state;
    struct weft_cluster_format_command it;
    weft_cluster_format_command_init(&it);
    weft_cluster_format_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_ERR_INVALID_REQUEST); // a zero id
    it.cluster_id = s_id(9);
    weft_cluster_format_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    assert_true(weft_id_equal(weft_cluster_id(self->cluster), s_id(9)));
    it.cluster_id = s_id(10);
    weft_cluster_format_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_ERR_INVALID_REQUEST);
    assert_true(weft_id_equal(weft_cluster_id(self->cluster), s_id(9)));
}

static void test_cluster__office_index_is_the_epoch(void **state)
{
    struct fixture *self = *state;
    int32_t id;
    assert_string_equal(weft_cluster_coordinator(self->cluster, &id), "");
    assert_int_equal(id, -1);
    struct weft_took_office_command it;
    weft_took_office_command_init(&it);
    it.coordinator_id = 3;
    it.endpoint = weft_slice_text("tcp://127.0.0.1:1");
    weft_took_office_command_encode(&it, &self->command);
    assert_int_equal(weft_cluster_apply(self->cluster, 17, weft_buf_slice(&self->command), NULL, NULL, NULL), WEFT_OK);
    weft_buf_clear(&self->command);
    assert_int_equal(weft_cluster_epoch(self->cluster), 17); // a gap in the indexes is legal
    assert_string_equal(weft_cluster_coordinator(self->cluster, &id), "tcp://127.0.0.1:1");
    assert_int_equal(id, 3);
}

static void test_cluster__an_index_is_applied_once(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    uint32_t digest = weft_cluster_digest(self->cluster);
    struct weft_topic_deleted_command it;
    weft_topic_deleted_command_init(&it);
    weft_topic_deleted_command_encode(&it, &self->command);
    weft_slice_t command = weft_buf_slice(&self->command);
    assert_int_equal(weft_cluster_apply(self->cluster, 1, command, NULL, NULL, NULL), WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(weft_cluster_digest(self->cluster), digest);
}

static void test_cluster__rubbish_moves_only_the_index(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    static const char *const rubbish[] = {"",
                                          "\x80",
                                          "\xc1",
                                          "\xdd\x0f\xff\xff\xff",
                                          "\x81\xa7"
                                          "command\xcd\x7f\xff",
                                          "\x81\xa7"
                                          "command\x05"};
    for (size_t i = 0; i < sizeof rubbish / sizeof rubbish[0]; i++) {
        weft_buf_append(&self->command, rubbish[i], strlen(rubbish[i]));
        assert_int_not_equal(s_apply(self), WEFT_OK);
        assert_int_equal(self->brokers + self->added + self->partitions, 0);
    }
    assert_non_null(weft_cluster_broker(self->cluster, 1));
    weft_cluster_check(self->cluster);
}

// ---- topics

static void test_cluster__a_topic_lives_from_creation_to_deletion(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    int32_t replicas[1] = {1};
    assert_int_equal(s_create(self, "orders", 1, 3, replicas, 1), WEFT_OK);
    assert_int_equal(self->added, 1);
    const struct weft_cluster_topic *topic = weft_cluster_topic_by_name(self->cluster, weft_slice_text("orders"));
    assert_non_null(topic);
    assert_int_equal(topic->partition_count, 3);
    assert_int_equal(topic->created_index, 2);
    assert_int_equal(topic->partitions[2].leader, 1);
    assert_int_equal(topic->partitions[2].leader_epoch, 0);
    assert_int_equal(weft_cluster_broker(self->cluster, 1)->led_count, 3);
    assert_int_equal(weft_cluster_partition_count(self->cluster), 3);

    assert_int_equal(s_delete(self, 1), WEFT_OK);
    assert_int_equal(self->removed, 1);
    assert_null(weft_cluster_topic_by_name(self->cluster, weft_slice_text("orders")));
    assert_true(weft_cluster_topic_was_deleted(self->cluster, s_id(1)));
    assert_int_equal(weft_cluster_broker(self->cluster, 1)->led_count, 0);
    assert_int_equal(weft_cluster_broker(self->cluster, 1)->stored_count, 0);
    assert_int_equal(s_delete(self, 1), WEFT_ERR_UNKNOWN_TOPIC);

    assert_int_equal(s_create(self, "orders", 1, 1, replicas, 1),
                     WEFT_ERR_INVALID_REQUEST); // C6: the id never comes back
    assert_int_equal(s_create(self, "orders", 2, 1, replicas, 1), WEFT_OK);
}

static void test_cluster__of_two_creations_of_a_name_the_first_wins(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    int32_t replicas[1] = {1};
    assert_int_equal(s_create(self, "orders", 1, 1, replicas, 1), WEFT_OK);
    assert_int_equal(s_create(self, "orders", 2, 9, replicas, 1), WEFT_ERR_TOPIC_EXISTS);
    assert_null(weft_cluster_topic(self->cluster, s_id(2)));
}

static void test_cluster__a_placement_is_checked_whole(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    assert_int_equal(s_register(self, 2, 2, true), WEFT_OK);
    int32_t unknown[2] = {1, 7}, twice[2] = {1, 1}, good[2] = {2, 1};
    assert_int_equal(s_create(self, "t", 1, 1, unknown, 2), WEFT_ERR_INVALID_REPLICATION);
    assert_int_equal(s_create(self, "t", 1, 1, twice, 2), WEFT_ERR_INVALID_REPLICATION);
    assert_int_equal(s_create(self, "t", 1, 1, good, 0), WEFT_ERR_INVALID_REPLICATION);
    assert_int_equal(s_create(self, "t", 1, 0, good, 2), WEFT_ERR_INVALID_PARTITIONS);
    assert_int_equal(s_create(self, "no good", 1, 1, good, 2), WEFT_ERR_INVALID_TOPIC);
    assert_int_equal(weft_cluster_broker(self->cluster, 1)->stored_count, 0);
    assert_int_equal(s_create(self, "t", 1, 1, good, 2), WEFT_OK);
    assert_int_equal(s_partition(self, 1, 0)->leader, 2); // the first replica
}

static void test_cluster__partitions_are_added_once(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    int32_t replicas[1] = {1};
    assert_int_equal(s_create(self, "t", 1, 2, replicas, 1), WEFT_OK);
    struct weft_placement placement[3] = {{replicas, 1}, {replicas, 1}, {replicas, 1}};
    struct weft_partitions_added_command it;
    weft_partitions_added_command_init(&it);
    it.topic_id = s_id(1);
    it.from = 2;
    it.placement = placement;
    it.placement_count = 3;
    weft_partitions_added_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    assert_int_equal(self->changed, 1);
    assert_int_equal(self->partitions, 3);
    assert_int_equal(weft_cluster_topic(self->cluster, s_id(1))->partition_count, 5);
    weft_partitions_added_command_encode(&it, &self->command); // the same request, retried
    assert_int_equal(s_apply(self), WEFT_ERR_STALE_EPOCH);
    assert_int_equal(weft_cluster_topic(self->cluster, s_id(1))->partition_count, 5);
}

static void test_cluster__configuration_is_replaced_and_sorted(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    int32_t replicas[1] = {1};
    assert_int_equal(s_create(self, "t", 1, 1, replicas, 1), WEFT_OK);
    struct weft_config_entry config[2] = {{weft_slice_text("z"), weft_slice_text("1")},
                                          {weft_slice_text("a"), weft_slice_text("")}};
    struct weft_topic_altered_command it;
    weft_topic_altered_command_init(&it);
    it.topic_id = s_id(1);
    it.config = config;
    it.config_count = 2;
    weft_topic_altered_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, s_id(1));
    assert_string_equal(topic->config_keys[0], "a");
    assert_string_equal(weft_cluster_topic_config(topic, "z"), "1");
    assert_null(weft_cluster_topic_config(topic, "retention.ms"));
    config[1].key = config[0].key; // one key twice
    weft_topic_altered_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_ERR_INVALID_CONFIG);
    assert_int_equal(weft_cluster_topic(self->cluster, s_id(1))->config_count, 2);
}

static void test_cluster__topic_names_are_those_of_kafka(void **state)
{
    (void) state;
    char longest[WEFT_TOPIC_NAME_BYTES_MAX + 2];
    memset(longest, 'a', sizeof longest);
    struct weft_error error;
    assert_int_equal(weft_topic_name_check(weft_slice(longest, WEFT_TOPIC_NAME_BYTES_MAX), &error), WEFT_OK);
    assert_int_equal(weft_topic_name_check(weft_slice(longest, WEFT_TOPIC_NAME_BYTES_MAX + 1), &error),
                     WEFT_ERR_INVALID_TOPIC);
    static const char *const good[] = {"a", "A-b_c.9", "...", "__offsets"};
    static const char *const bad[] = {"", ".", "..", "a b", "a/b", "\xc3\xa9", "a\n", "a%sb"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(weft_topic_name_check(weft_slice_text(good[i]), &error), WEFT_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(weft_topic_name_check(weft_slice_text(bad[i]), &error), WEFT_ERR_INVALID_TOPIC);
        assert_true(strlen(error.text) > 10);
    }
}

// ---- views

static void test_cluster__an_unknown_topic_is_answered_with_the_nearest(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    int32_t replicas[1] = {1};
    assert_int_equal(s_create(self, "orders", 1, 2, replicas, 1), WEFT_OK);
    const struct weft_cluster_topic *topic;
    weft_id_t none = {{0}};
    weft_err_t err = weft_cluster_find_topic(self->cluster, weft_slice_text("order"), none, &topic, &self->error);
    assert_int_equal(err, WEFT_ERR_UNKNOWN_TOPIC);
    assert_string_equal(self->error.text, "topic 'order' does not exist; did you mean 'orders'?");
    err = weft_cluster_find_topic(self->cluster, weft_slice_text("orders"), s_id(7), &topic, &self->error);
    assert_int_equal(err, WEFT_ERR_TOPIC_REPLACED);
    err = weft_cluster_find_partition(self->cluster, weft_slice_text("orders"), none, 2, &topic, &self->error);
    assert_int_equal(err, WEFT_ERR_UNKNOWN_TOPIC);
    err = weft_cluster_find_partition(self->cluster, WEFT_SLICE_NIL, s_id(1), 1, &topic, &self->error);
    assert_int_equal(err, WEFT_OK);
    assert_string_equal(topic->name, "orders");
}

static void test_cluster__metadata_shows_leaders_and_unknown_names(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    int32_t replicas[1] = {1};
    assert_int_equal(s_create(self, "orders", 1, 2, replicas, 1), WEFT_OK);
    assert_int_equal(s_create(self, "__offsets", 2, 1, replicas, 1), WEFT_OK);
    weft_codec_t codec;
    weft_codec_init(&codec);
    struct weft_metadata_request request;
    struct weft_metadata_reply reply;
    weft_metadata_request_init(&request);
    request.id = 5;
    weft_buf_t out;
    weft_buf_init(&out);
    weft_cluster_metadata_encode(self->cluster, &request, &out);
    assert_int_equal(weft_metadata_reply_decode(&codec, weft_buf_slice(&out), &reply, NULL), WEFT_OK);
    assert_int_equal(reply.header.id, 5);
    assert_int_equal(reply.version, 3);
    assert_int_equal(reply.brokers_count, 1);
    assert_int_equal(reply.topics_count, 1); // not the internal one
    assert_int_equal(reply.topics[0].partitions_count, 2);
    assert_int_equal(reply.topics[0].partitions[1].leader, 1);
    assert_true(reply.topics[0].partitions[1].endpoint.size > 0);

    assert_int_equal(s_fence(self, 1, 1), WEFT_OK);
    weft_slice_t names[2] = {weft_slice_text("nothing"), weft_slice_text("orders")};
    request.topics = names;
    request.topics_count = 2;
    weft_buf_clear(&out);
    weft_cluster_metadata_encode(self->cluster, &request, &out);
    assert_int_equal(weft_metadata_reply_decode(&codec, weft_buf_slice(&out), &reply, NULL), WEFT_OK);
    assert_int_equal(reply.topics_count, 2);
    assert_int_equal(reply.topics[0].error, WEFT_ERR_UNKNOWN_TOPIC);
    assert_int_equal(reply.topics[1].partitions[0].leader, -1);
    assert_int_equal(reply.topics[1].partitions[0].offline_count, 1);
    weft_buf_clear(&out);
    weft_cluster_not_leader_encode(self->cluster, weft_cluster_topic(self->cluster, s_id(1)), 0, 9, &out);
    struct weft_reply_header header;
    assert_int_equal(weft_reply_header_decode(&codec, weft_buf_slice(&out), &header, NULL), WEFT_OK);
    assert_int_equal(header.error, WEFT_ERR_NOT_LEADER);
    assert_int_equal(header.leader, -1);
    weft_buf_fini(&out);
    weft_codec_fini(&codec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cluster__is_formatted_once),
        TEST(test_cluster__office_index_is_the_epoch),
        TEST(test_cluster__an_index_is_applied_once),
        TEST(test_cluster__rubbish_moves_only_the_index),
        TEST(test_cluster__a_topic_lives_from_creation_to_deletion),
        TEST(test_cluster__of_two_creations_of_a_name_the_first_wins),
        TEST(test_cluster__a_placement_is_checked_whole),
        TEST(test_cluster__partitions_are_added_once),
        TEST(test_cluster__configuration_is_replaced_and_sorted),
        TEST(test_cluster__topic_names_are_those_of_kafka),
        TEST(test_cluster__an_unknown_topic_is_answered_with_the_nearest),
        TEST(test_cluster__metadata_shows_leaders_and_unknown_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
