// SPDX-License-Identifier: MPL-2.0
// The rest of the cluster's own commands: brokers that go for good, operations done once, settings, coordinators, levels;
// what is counted; and what a client is told of a partition without a leader.
#include "cluster_fixture.h"

#include "core/cluster_view.h"

#include <weft_gen/messages.h>
#include <weft_gen/records.h>

// ---- brokers

static weft_err_t s_come(struct fixture *self, uint8_t incarnation, uint8_t directory, bool rejoin)
{
    struct weft_broker_registered_command it;
    weft_broker_registered_command_init(&it);
    weft_slice_t endpoint = weft_slice_text("inproc://a");
    it.broker_id = 3;
    it.incarnation = s_id(incarnation);
    it.endpoints = &endpoint;
    it.endpoints_count = 1;
    it.directory_id = s_id(directory);
    it.rejoin = rejoin;
    weft_broker_registered_command_encode(&it, &self->command);
    return s_apply(self);
}

static void s_go(struct fixture *self, uint8_t incarnation)
{
    assert_int_equal(s_fence(self, 3, incarnation), WEFT_OK);
    assert_int_equal(s_remove(self, 3), WEFT_OK);
}

static void test_cluster_admin__a_removed_broker_does_not_come_back_by_itself(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_come(self, 1, 1, false), WEFT_OK);
    s_go(self, 1);
    weft_buf_t snapshot;
    weft_buf_init(&snapshot);
    weft_cluster_encode(self->cluster, &snapshot);
    assert_int_equal(weft_cluster_decode(self->cluster, weft_buf_slice(&snapshot)), WEFT_OK);
    weft_buf_fini(&snapshot);
    assert_int_equal(s_come(self, 1, 1, false), WEFT_ERR_BROKER_REMOVED); // it was only cut off
    assert_int_equal(s_come(self, 2, 1, false), WEFT_ERR_BROKER_REMOVED);
    assert_non_null(strstr(self->error.text, "rejoin=true"));
    assert_null(weft_cluster_broker(self->cluster, 3));
    assert_int_equal(s_come(self, 3, 2, false), WEFT_OK); // another machine under the number
    s_go(self, 3);
    assert_int_equal(s_come(self, 4, 1, true), WEFT_OK); // a person's word, which holds
    assert_int_equal(s_come(self, 5, 1, false), WEFT_OK);
    assert_true(weft_cluster_was_removed(self->cluster, s_id(2)));
    s_go(self, 5);
    assert_int_equal(s_come(self, 6, 1, false), WEFT_ERR_BROKER_REMOVED);
}

static void test_cluster_admin__removed_ones_are_remembered_up_to_a_number(void **state)
{
    struct fixture *self = *state;
    for (uint32_t i = 1; i <= WEFT_CLUSTER_REMOVED_MAX + 1; i++) {
        struct weft_broker_registered_command it;
        weft_broker_registered_command_init(&it);
        weft_slice_t endpoint = weft_slice_text("inproc://a");
        it.broker_id = 3;
        it.incarnation = s_id(1);
        it.endpoints = &endpoint;
        it.endpoints_count = 1;
        memcpy(it.directory_id.bytes, &i, sizeof i);
        weft_broker_registered_command_encode(&it, &self->command);
        assert_int_equal(s_apply(self), WEFT_OK);
        s_go(self, 1);
    }
    weft_id_t first = {{1}}, second = {{2}};
    assert_false(weft_cluster_was_removed(self->cluster, first));
    assert_true(weft_cluster_was_removed(self->cluster, second));
    weft_cluster_check(self->cluster);
}

static void test_cluster_admin__a_broker_is_removed_once_it_is_empty_and_gone(void **state)
{
    struct fixture *self = *state;
    for (int32_t i = 1; i <= 2; i++) assert_int_equal(s_register(self, i, (uint8_t) i, true), WEFT_OK);
    int32_t replicas[2] = {1, 2};
    assert_int_equal(s_create(self, "t", 1, 1, replicas, 2), WEFT_OK);
    assert_int_equal(s_remove(self, 9), WEFT_ERR_UNKNOWN_BROKER);
    assert_int_equal(s_fence(self, 2, 2), WEFT_OK);
    assert_int_equal(s_remove(self, 2), WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(s_reassign(self, 1, replicas, 1), WEFT_OK);
    assert_int_equal(s_register(self, 2, 2, true), WEFT_OK);
    assert_int_equal(s_remove(self, 2), WEFT_ERR_INVALID_REQUEST); // nobody asked it to leave
    assert_int_equal(s_change_broker(self, 2, 0, true, true, false), WEFT_OK);
    assert_int_equal(s_remove(self, 2), WEFT_OK);
    assert_int_equal(self->brokers, 1);
    assert_null(weft_cluster_broker(self->cluster, 2));
    assert_int_equal(s_register(self, 2, 3, true), WEFT_OK); // a new one of that id
    assert_false(weft_cluster_broker(self->cluster, 2)->leaving);
    size_t cursor = 0;
    assert_int_equal(weft_cluster_next_broker(self->cluster, &cursor)->id, 1);
    assert_int_equal(weft_cluster_next_broker(self->cluster, &cursor)->id, 2);
}

static void test_cluster_admin__replica_endpoints_are_one_a_shard_or_the_same(void **state)
{
    struct fixture *self = *state;
    weft_slice_t endpoints[2] = {weft_slice_text("inproc://a"), weft_slice_text("inproc://b")};
    weft_slice_t doors[2] = {weft_slice_text("inproc://c"), weft_slice_text("inproc://d")};
    struct weft_broker_registered_command it;
    weft_broker_registered_command_init(&it);
    it.incarnation = s_id(1);
    it.endpoints = endpoints;
    it.endpoints_count = 2;
    weft_broker_registered_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    assert_string_equal(weft_cluster_broker(self->cluster, 0)->replica_endpoints[1], "inproc://b");
    it.replica_endpoints = doors;
    it.replica_endpoints_count = 1;
    weft_broker_registered_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_ERR_INVALID_REQUEST);
    it.replica_endpoints_count = 2;
    weft_broker_registered_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    assert_string_equal(weft_cluster_broker(self->cluster, 0)->replica_endpoints[1], "inproc://d");
}

// ---- operations

static weft_err_t s_create_as(struct fixture *self, const char *name, uint8_t id, uint32_t operation)
{
    int32_t replicas[1] = {1};
    struct weft_placement placement = {.replicas = replicas, .replicas_count = 1};
    struct weft_topic_created_command it;
    weft_topic_created_command_init(&it);
    it.topic_id = s_id(id);
    it.topic = weft_slice_text(name);
    it.placement = &placement;
    it.placement_count = 1;
    memcpy(it.operation.bytes, &operation, sizeof operation);
    weft_topic_created_command_encode(&it, &self->command);
    return s_apply(self);
}

static weft_id_t s_operation(uint32_t number)
{
    weft_id_t id = {{0}};
    memcpy(id.bytes, &number, sizeof number);
    return id;
}

static void test_cluster_admin__an_operation_is_done_once(void **state)
{
    struct fixture *self = *state;
    uint64_t index = 0;
    assert_int_equal(s_create_as(self, "a", 1, 77), WEFT_ERR_INVALID_REPLICATION); // refused: not remembered
    assert_false(weft_cluster_operation_done(self->cluster, s_operation(77), NULL));
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    assert_int_equal(s_create_as(self, "a", 1, 77), WEFT_OK);
    assert_int_equal(s_create_as(self, "a", 2, 77), WEFT_OK); // a retry, by another coordinator: another id was drawn
    assert_int_equal(self->added, 0);
    assert_null(weft_cluster_topic(self->cluster, s_id(2)));
    assert_true(weft_cluster_operation_done(self->cluster, s_operation(77), &index));
    assert_int_equal(index, 3);
    assert_int_equal(weft_cluster_topic(self->cluster, s_id(1))->created_index, index); // what its asker is told
    assert_int_equal(s_delete(self, 1), WEFT_OK);
    assert_int_equal(s_create_as(self, "a", 3, 77), WEFT_OK); // late: it does not come back
    assert_int_equal(weft_cluster_topic_count(self->cluster), 0);
    assert_int_equal(s_create_as(self, "a", 3, 0), WEFT_OK); // zero is none
    assert_int_equal(s_create_as(self, "b", 4, 0), WEFT_OK);
    assert_int_equal(weft_cluster_topic_count(self->cluster), 2);
}

static void test_cluster_admin__the_last_ten_thousand_operations_are_known(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(s_register(self, 1, 1, true), WEFT_OK);
    struct weft_cluster_altered_command it;
    weft_cluster_altered_command_init(&it);
    for (uint32_t i = 1; i <= 10001; i++) {
        it.operation = s_operation(i);
        weft_cluster_altered_command_encode(&it, &self->command);
        assert_int_equal(s_apply(self), WEFT_OK);
    }
    assert_false(weft_cluster_operation_done(self->cluster, s_operation(1), NULL));
    assert_true(weft_cluster_operation_done(self->cluster, s_operation(2), NULL));
    assert_true(weft_cluster_operation_done(self->cluster, s_operation(10001), NULL));
    weft_buf_t snapshot;
    weft_buf_init(&snapshot);
    weft_cluster_encode(self->cluster, &snapshot);
    weft_cluster_t *other = weft_cluster_new();
    assert_int_equal(weft_cluster_decode(other, weft_buf_slice(&snapshot)), WEFT_OK);
    assert_int_equal(weft_cluster_digest(other), weft_cluster_digest(self->cluster));
    weft_cluster_destroy(&other);
    weft_buf_fini(&snapshot);
}

// ---- settings, coordinators, levels

static void test_cluster_admin__settings_are_replaced_whole(void **state)
{
    struct fixture *self = *state;
    struct weft_config_entry config[2] = {{weft_slice_text("reassign.bytes"), weft_slice_text("1m")},
                                          {weft_slice_text("balance.leaders"), weft_slice_text("false")}};
    struct weft_cluster_altered_command it;
    weft_cluster_altered_command_init(&it);
    it.config = config;
    it.config_count = 2;
    weft_cluster_altered_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    assert_int_equal(self->settings, 1);
    assert_string_equal(weft_cluster_config(self->cluster, "reassign.bytes"), "1m");
    it.config_count = 1;
    weft_cluster_altered_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    assert_null(weft_cluster_config(self->cluster, "balance.leaders"));
    config[1] = config[0];
    it.config_count = 2;
    weft_cluster_altered_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_ERR_INVALID_CONFIG);
}

static weft_err_t s_voters(struct fixture *self, struct weft_voter *voters, size_t count)
{
    struct weft_voters_changed_command it;
    weft_voters_changed_command_init(&it);
    it.voters = voters;
    it.voters_count = count;
    weft_voters_changed_command_encode(&it, &self->command);
    return s_apply(self);
}

static void test_cluster_admin__all_coordinators_are_told_the_active_one_first(void **state)
{
    struct fixture *self = *state;
    struct weft_voter voters[3] = {{1, 11, weft_slice_text("tcp://a:1")},
                                   {2, 12, weft_slice_text("tcp://b:1")},
                                   {3, 13, weft_slice_text("tcp://c:1")}};
    assert_int_equal(s_voters(self, voters, 3), WEFT_OK);
    assert_int_equal(self->settings, 1);
    struct weft_took_office_command office;
    weft_took_office_command_init(&office);
    office.coordinator_id = 2;
    office.endpoint = voters[1].endpoint;
    weft_took_office_command_encode(&office, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    size_t count;
    assert_int_equal(weft_cluster_voters(self->cluster, &count)[2].server, 13);
    assert_int_equal(count, 3);

    weft_codec_t codec;
    weft_codec_init(&codec);
    weft_buf_t out;
    weft_buf_init(&out);
    struct weft_metadata_request request;
    struct weft_metadata_reply reply;
    weft_metadata_request_init(&request);
    weft_cluster_metadata_encode(self->cluster, &request, &out);
    assert_int_equal(weft_metadata_reply_decode(&codec, weft_buf_slice(&out), &reply, NULL), WEFT_OK);
    assert_int_equal(reply.coordinator_id, 2);
    assert_int_equal(reply.coordinators_count, 3);
    assert_true(weft_slice_equal(reply.coordinators[0], weft_slice_text("tcp://b:1")));
    assert_true(weft_slice_equal(reply.coordinators[1], weft_slice_text("tcp://a:1")));
    assert_true(weft_slice_equal(reply.coordinators[2], weft_slice_text("tcp://c:1")));
    weft_buf_fini(&out);
    weft_codec_fini(&codec);

    voters[1].id = 1;
    assert_int_equal(s_voters(self, voters, 3), WEFT_ERR_INVALID_REQUEST);
    voters[1] = (struct weft_voter){4, 1, weft_slice_text("")};
    assert_int_equal(s_voters(self, voters, 3), WEFT_ERR_INVALID_REQUEST);
}

static void test_cluster_admin__the_feature_level_only_rises(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(weft_cluster_level(self->cluster), 1);
    struct weft_level_raised_command it;
    weft_level_raised_command_init(&it);
    it.level = 1;
    weft_level_raised_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_ERR_INVALID_REQUEST);
    it.level = 3; // of a newer software: applied all the same, and the node has to stop
    weft_level_raised_command_encode(&it, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    assert_true(weft_cluster_level(self->cluster) > WEFT_CLUSTER_LEVEL_MAX);
    struct weft_state_digest_command digest;
    weft_state_digest_command_init(&digest);
    digest.index = 2;
    weft_state_digest_command_encode(&digest, &self->command);
    assert_int_equal(s_apply(self), WEFT_OK);
    digest.index = 99;
    weft_state_digest_command_encode(&digest, &self->command);
    assert_int_equal(s_apply(self), WEFT_ERR_INVALID_REQUEST);
}

// ---- snapshots of before

static void test_cluster_admin__what_an_old_snapshot_lacks_has_defaults(void **state)
{
    struct fixture *self = *state;
    int32_t replicas[2] = {1, 2};
    weft_slice_t endpoint = weft_slice_text("inproc://a");
    struct weft_snapshot_broker brokers[2] = {
        {.id = 1, .incarnation = s_id(1), .alive = true, .endpoints = &endpoint, .endpoints_count = 1},
        {.id = 2, .incarnation = s_id(2), .endpoints = &endpoint, .endpoints_count = 1}};
    struct weft_snapshot_partition partition = {.leader = 1,
                                                .leader_epoch = 3,
                                                .partition_epoch = 5,
                                                .replicas = replicas,
                                                .replicas_count = 2,
                                                .isr = replicas,
                                                .isr_count = 1};
    struct weft_snapshot_topic topic = {
        .id = s_id(1), .name = weft_slice_text("t"), .partitions = &partition, .partitions_count = 1};
    struct weft_cluster_snapshot_record it;
    weft_cluster_snapshot_record_init(&it);
    for (int i = 0; i < 2; i++) brokers[i].rack = brokers[i].version = weft_slice_text(""); // as they were written
    it.coordinator_endpoint = weft_slice_text("");
    it.index = 9;
    it.cluster_id = s_id(1);
    it.brokers = brokers;
    it.brokers_count = 2;
    it.topics = &topic;
    it.topics_count = 1;
    weft_buf_t out;
    weft_buf_init(&out);
    weft_cluster_snapshot_record_encode(&it, &out);
    assert_int_equal(weft_cluster_decode(self->cluster, weft_buf_slice(&out)), WEFT_OK);
    assert_int_equal(weft_cluster_level(self->cluster), 1);
    assert_null(s_partition(self, 1, 0)->moving);
    assert_string_equal(weft_cluster_broker(self->cluster, 1)->replica_endpoints[0], "inproc://a");
    weft_buf_t again;
    weft_buf_init(&again);
    weft_cluster_encode(self->cluster, &again);
    assert_int_equal(again.size, out.size);
    assert_memory_equal(again.data, out.data, out.size); // same state, same bytes

    partition.target = replicas; // half a move
    partition.target_count = 1;
    weft_buf_clear(&out);
    weft_cluster_snapshot_record_encode(&it, &out);
    assert_int_equal(weft_cluster_decode(self->cluster, weft_buf_slice(&out)), WEFT_ERR_BAD_FRAME);
    weft_buf_fini(&out);
    weft_buf_fini(&again);
}

// ---- what people see

static void test_cluster_admin__health_is_counted(void **state)
{
    struct fixture *self = *state;
    for (int32_t i = 1; i <= 3; i++) assert_int_equal(s_register(self, i, (uint8_t) i, true), WEFT_OK);
    int32_t all[3] = {1, 2, 3}, third[1] = {3};
    assert_int_equal(s_create(self, "t", 1, 2, all, 3), WEFT_OK);
    assert_int_equal(s_create(self, "u", 2, 4, third, 1), WEFT_OK);
    struct weft_cluster_health_counts counts;
    weft_cluster_count_health(self->cluster, &counts);
    assert_int_equal(counts.leaderless + counts.offline + counts.under_replicated + counts.under_min_insync, 0);
    assert_int_equal(s_fence(self, 3, 3), WEFT_OK);
    weft_cluster_count_health(self->cluster, &counts);
    assert_int_equal(counts.leaderless, 4);
    assert_int_equal(counts.offline, 4);
    assert_int_equal(counts.under_replicated, 6);
    assert_int_equal(counts.under_min_insync, 4);
    assert_int_equal(s_fence(self, 2, 2), WEFT_OK);
    assert_int_equal(s_reassign(self, 1, all, 2), WEFT_OK);
    weft_cluster_count_health(self->cluster, &counts);
    assert_int_equal(counts.under_min_insync, 6);
    assert_int_equal(counts.moving, 1);
}

static void s_assert_told(struct fixture *self, const char *expected)
{
    weft_buf_t out;
    weft_buf_init(&out);
    weft_codec_t codec;
    weft_codec_init(&codec);
    struct weft_reply_header header;
    weft_cluster_not_leader_encode(self->cluster, weft_cluster_topic(self->cluster, s_id(1)), 0, 9, &out);
    assert_int_equal(weft_reply_header_decode(&codec, weft_buf_slice(&out), &header, NULL), WEFT_OK);
    assert_int_equal(header.error, WEFT_ERR_NOT_LEADER);
    char text[512];
    snprintf(text, sizeof text, "%.*s", (int) header.message.size, (const char *) header.message.data);
    assert_string_equal(text, expected);
    weft_codec_fini(&codec);
    weft_buf_fini(&out);
}

static void test_cluster_admin__a_refusal_says_who_is_waited_for(void **state)
{
    struct fixture *self = *state;
    for (int32_t i = 1; i <= 3; i++) assert_int_equal(s_register(self, i, (uint8_t) i, true), WEFT_OK);
    int32_t all[3] = {1, 2, 3};
    assert_int_equal(s_create(self, "t", 1, 1, all, 3), WEFT_OK);
    for (int32_t i = 3; i >= 1; i--) assert_int_equal(s_fence(self, i, (uint8_t) i), WEFT_OK);
    s_assert_told(self,
                  "partition 0 of 't' has no leader: it waits for brokers 1, 2, last in sync, to come back, or for "
                  "a person to elect another (weft cluster elect --unclean), which loses what only these have");
    assert_int_equal(s_register(self, 2, 12, false), WEFT_OK);
    s_assert_told(self,
                  "partition 0 of 't' has no leader: it waits for broker 1, last in sync, to come back and be "
                  "compared with 2, which stopped uncleanly, or for a person to elect another (weft cluster elect "
                  "--unclean), which loses what only these have");
    assert_int_equal(s_register(self, 1, 11, false), WEFT_OK);
    s_assert_told(self, "partition 0 of 't' has no leader: it waits for brokers 1, 2, back after an unclean stop, to "
                        "report what they have; the best one leads");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cluster_admin__a_removed_broker_does_not_come_back_by_itself),
        TEST(test_cluster_admin__removed_ones_are_remembered_up_to_a_number),
        TEST(test_cluster_admin__a_broker_is_removed_once_it_is_empty_and_gone),
        TEST(test_cluster_admin__replica_endpoints_are_one_a_shard_or_the_same),
        TEST(test_cluster_admin__an_operation_is_done_once),
        TEST(test_cluster_admin__the_last_ten_thousand_operations_are_known),
        TEST(test_cluster_admin__settings_are_replaced_whole),
        TEST(test_cluster_admin__all_coordinators_are_told_the_active_one_first),
        TEST(test_cluster_admin__the_feature_level_only_rises),
        TEST(test_cluster_admin__what_an_old_snapshot_lacks_has_defaults),
        TEST(test_cluster_admin__health_is_counted),
        TEST(test_cluster_admin__a_refusal_says_who_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
