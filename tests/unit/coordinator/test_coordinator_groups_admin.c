// SPDX-License-Identifier: MPL-2.0
// Consumer groups at the coordinator: what tools read and change, expiry, and the topic __offsets.
#include "group_play.h"

#include "cluster.h"

static int s_group_setup(void **state)
{
    void *fixture;
    assert_int_equal(s_setup(&fixture), 0);
    struct play *self = s_play_new(fixture);
    *state = self;
    return 0;
}

static int s_group_teardown(void **state)
{
    struct play *self = *state;
    void *fixture = self->at;
    s_play_free(self);
    return s_teardown(&fixture);
}

#define GROUP_TEST(test_of__promise) cmocka_unit_test_setup_teardown(test_of__promise, s_group_setup, s_group_teardown)

#define PLAY_DECODE(kind, into) \
    assert_ok(weft_##kind##_reply_decode(&self->at->codec, weft_buf_slice(&self->at->reply), (into), NULL))

static void s_begin(struct play *self)
{
    s_group_start(self->at);
    assert_ok(s_create_topic(self->at, "orders", 6));
}

static void s_set(struct play *self, const char *key, const char *value)
{
    struct weft_cluster_alter_request alter;
    weft_cluster_alter_request_init(&alter);
    struct weft_config_entry entry = {.key = weft_slice_text(key), .value = weft_slice_text(value)};
    alter.id = ++self->at->id;
    alter.config = &entry;
    alter.config_count = 1;
    weft_cluster_alter_request_encode(&alter, &self->at->header);
    assert_ok(s_play_ask(self));
}

static struct weft_group_list_reply s_list(struct play *self)
{
    struct weft_group_list_request request;
    weft_group_list_request_init(&request);
    request.id = ++self->at->id;
    weft_group_list_request_encode(&request, &self->at->header);
    assert_ok(s_play_ask(self));
    struct weft_group_list_reply reply;
    PLAY_DECODE(group_list, &reply);
    return reply;
}

static weft_err_t s_describe(struct play *self, const char *group, struct weft_group_describe_reply *reply)
{
    struct weft_group_describe_request request;
    weft_group_describe_request_init(&request);
    request.id = ++self->at->id;
    request.group = weft_slice_text(group);
    weft_group_describe_request_encode(&request, &self->at->header);
    weft_err_t err = s_play_ask(self);
    if (!err) PLAY_DECODE(group_describe, reply);
    return err;
}

static weft_err_t s_token(struct play *self, const char *group, uint64_t *token)
{
    struct weft_group_token_request request;
    weft_group_token_request_init(&request);
    request.id = ++self->at->id;
    request.group = weft_slice_text(group);
    weft_group_token_request_encode(&request, &self->at->header);
    weft_err_t err = s_play_ask(self);
    struct weft_group_token_reply reply;
    if (err) return err;
    PLAY_DECODE(group_token, &reply);
    *token = reply.token;
    return WEFT_OK;
}

static weft_err_t s_delete(struct play *self, const char *group, uint64_t *token, bool *existed)
{
    struct weft_group_delete_request request;
    weft_group_delete_request_init(&request);
    request.id = ++self->at->id;
    request.group = weft_slice_text(group);
    weft_group_delete_request_encode(&request, &self->at->header);
    weft_err_t err = s_play_ask(self);
    struct weft_group_delete_reply reply;
    if (err) return err;
    PLAY_DECODE(group_delete, &reply);
    *token = reply.token;
    *existed = reply.existed;
    return WEFT_OK;
}

// ---- list, describe, check

static void test_coordinator_groups_admin__lists_by_name(void **state)
{
    struct play *self = *state;
    s_begin(self);
    assert_int_equal(s_list(self).groups_count, 0);
    assert_ok(s_join_group(self, s_member(self, "zebra", "orders")));
    struct member *a = s_member(self, "ant", "orders");
    a->assignor = "range";
    assert_ok(s_join_group(self, a));
    s_live(self, SECOND_US);
    assert_ok(s_leave_group(self, a, "leave", NULL));
    struct weft_group_list_reply reply = s_list(self);
    assert_int_equal(reply.groups_count, 2);
    assert_slice(reply.groups[0].group, "ant");
    assert_slice(reply.groups[0].state, "empty");
    assert_slice(reply.groups[0].assignor, "range");
    assert_slice(reply.groups[1].group, "zebra");
    assert_slice(reply.groups[1].state, "stable");
    assert_slice(reply.groups[1].assignor, "uniform");
    assert_int_equal(reply.groups[1].members, 1);
    assert_true(reply.groups[1].epoch > 0);
}

static void test_coordinator_groups_admin__describes_members_and_what_they_hold(void **state)
{
    struct play *self = *state;
    struct weft_group_describe_reply reply;
    s_begin(self);
    assert_err(s_describe(self, "g", &reply), WEFT_ERR_UNKNOWN_GROUP);
    assert_non_null(strstr(self->at->error.text, "'g'"));
    struct member *a = s_member(self, "g", "orders"), *b = s_member(self, "g", "orders");
    a->instance = "one";
    assert_ok(s_join_group(self, a));
    s_live(self, SECOND_US);
    a->slow = true;
    assert_ok(s_join_group(self, b));
    s_live(self, SECOND_US);
    assert_ok(s_describe(self, "g", &reply));
    assert_slice(reply.state, "reconciling");
    assert_int_equal(reply.empty_ms, -1);
    assert_int_equal(reply.members_count, 2);
    const struct weft_described_member *first = &reply.members[0], *second = &reply.members[1];
    assert_true(weft_id_equal(first->member, a->id));
    assert_slice(first->instance, "one");
    assert_slice(first->client, "app");
    assert_slice(first->host, "host");
    assert_slice(first->topics[0], "orders");
    assert_int_equal(first->epoch, a->epoch);
    assert_int_equal(first->session_ms, 10000);
    assert_true(first->heard_ms <= 1100);
    assert_int_equal(first->owns_count, 1);
    assert_slice(first->owns[0].topic, "orders");
    assert_int_equal(first->owns[0].partitions_count, 6);
    assert_true(first->owns[0].tokens[5] > 0);
    assert_int_equal(first->target[0].partitions_count, 3);
    assert_int_equal(first->releasing, 3);
    assert_int_equal(second->owns_count, 0);
    assert_int_equal(second->target[0].partitions_count, 3);
    assert_ok(s_leave_group(self, b, "leave", NULL));
    assert_ok(s_leave_group(self, a, "pause", NULL));
    s_live(self, SECOND_US);
    assert_ok(s_describe(self, "g", &reply));
    assert_true(reply.members[0].paused);
    assert_int_equal(reply.left_count, 1);
    assert_slice(reply.left[0].why, "left");
    assert_true(weft_id_equal(reply.left[0].member, b->id));
}

static void test_coordinator_groups_admin__says_which_groups_it_knows(void **state)
{
    struct play *self = *state;
    s_begin(self);
    assert_ok(s_join_group(self, s_member(self, "g", "orders")));
    weft_slice_t names[3] = {weft_slice_text("x"), weft_slice_text("g"), weft_slice_text("")};
    struct weft_group_check_request request;
    weft_group_check_request_init(&request);
    request.id = ++self->at->id;
    request.groups = names;
    request.groups_count = 3;
    weft_group_check_request_encode(&request, &self->at->header);
    assert_ok(s_play_ask(self));
    struct weft_group_check_reply reply;
    PLAY_DECODE(group_check, &reply);
    assert_int_equal(reply.known_count, 3);
    assert_false(reply.known[0]);
    assert_true(reply.known[1]);
    assert_false(reply.known[2]);
}

// ---- token, delete, expiry

static void test_coordinator_groups_admin__who_is_away_cannot_be_stopped_and_is_waited_for(void **state)
{
    struct play *self = *state;
    uint64_t token;
    bool existed;
    s_begin(self);
    struct member *a = s_member(self, "g", "orders");
    a->instance = "a";
    assert_ok(s_join_group(self, a));
    s_live(self, SECOND_US);
    assert_ok(s_leave_group(self, a, "pause", NULL));
    s_live(self, 7 * SECOND_US + SECOND_US / 2);
    assert_err(s_delete(self, "g", &token, &existed), WEFT_ERR_GROUP_NOT_EMPTY);
    assert_string_equal(self->at->error.text,
                        "group 'g' has 1 member: a (stopped, its place is kept for 3 s more); wait "
                        "until it is out");
    assert_ok(s_join_group(self, s_member(self, "g", "orders")));
    assert_err(s_token(self, "g", &token), WEFT_ERR_GROUP_NOT_EMPTY);
    assert_non_null(strstr(self->at->error.text, "app@host; stop those that run, and wait until the others are out"));
}

static void test_coordinator_groups_admin__a_live_group_says_who_is_in_it(void **state)
{
    struct play *self = *state;
    uint64_t token, older = 0;
    bool existed;
    s_begin(self);
    struct member *a = s_member(self, "g", "orders");
    a->instance = "one";
    assert_ok(s_join_group(self, a));
    for (int i = 0; i < 6; i++) assert_ok(s_join_group(self, s_member(self, "g", "orders")));
    s_live(self, SECOND_US);
    assert_err(s_token(self, "g", &token), WEFT_ERR_GROUP_NOT_EMPTY);
    assert_err(s_delete(self, "g", &token, &existed), WEFT_ERR_GROUP_NOT_EMPTY);
    assert_string_equal(self->at->error.text,
                        "group 'g' has 7 members: one, app@host, app@host, app@host, app@host and 2 "
                        "more; stop them first");
    for (size_t i = 0; i < self->count; i++) {
        for (size_t k = 0; k < self->members[i].owned_count; k++)
            if (self->members[i].owned[k].token > older) older = self->members[i].owned[k].token;
        assert_ok(s_leave_group(self, &self->members[i], "leave", NULL));
    }
    assert_ok(s_token(self, "g", &token));
    assert_true(token > older);
    older = token;
    assert_ok(s_delete(self, "g", &token, &existed));
    assert_true(existed && token > older);
    assert_int_equal(s_list(self).groups_count, 0);
    older = token;
    assert_ok(s_delete(self, "g", &token, &existed)); // its offsets may still be there
    assert_true(!existed && token > older);
    assert_ok(s_token(self, "never", &token));
    assert_err(s_token(self, "", &token), WEFT_ERR_INVALID_GROUP);
}

static void test_coordinator_groups_admin__an_unused_group_is_forgotten(void **state)
{
    struct play *self = *state;
    s_begin(self);
    s_set(self, "offsets.retention.ms", "5s");
    struct member *a = s_member(self, "g", "orders");
    assert_ok(s_join_group(self, a));
    assert_ok(s_join_group(self, s_member(self, "h", "orders")));
    s_live(self, 10 * SECOND_US);
    assert_ok(s_leave_group(self, a, "leave", NULL));
    s_live(self, 3 * SECOND_US);
    assert_int_equal(s_list(self).groups_count, 2);
    s_live(self, 4 * SECOND_US);
    struct weft_group_list_reply reply = s_list(self);
    assert_int_equal(reply.groups_count, 1);
    assert_slice(reply.groups[0].group, "h");
}

// ---- __offsets

static weft_err_t s_begin_offsets(struct play *self, weft_id_t *topic)
{
    struct weft_offsets_begin_request request;
    weft_offsets_begin_request_init(&request);
    request.id = ++self->at->id;
    weft_offsets_begin_request_encode(&request, &self->at->header);
    weft_err_t err = s_play_ask(self);
    struct weft_offsets_begin_reply reply;
    if (err) return err;
    PLAY_DECODE(offsets_begin, &reply);
    *topic = reply.topic_id;
    return WEFT_OK;
}

static bool s_offsets_described(struct play *self, struct weft_topic_describe_reply *reply)
{
    struct weft_topic_describe_request request;
    weft_topic_describe_request_init(&request);
    request.id = ++self->at->id;
    request.topic = weft_slice_text("__offsets");
    weft_topic_describe_request_encode(&request, &self->at->header);
    if (s_play_ask(self) != WEFT_OK) return false;
    PLAY_DECODE(topic_describe, reply);
    return true;
}

static void test_coordinator_groups_admin__offsets_are_made_once(void **state)
{
    struct play *self = *state;
    struct weft_topic_describe_reply reply;
    weft_id_t topic, again;
    s_group_start(self->at);
    s_set(self, "offsets.partitions", "4");
    assert_false(s_offsets_described(self, &reply));
    weft_fake_world_hold(self->at->world, SYNC_PART, true);
    assert_err(s_begin_offsets(self, &topic), WEFT_ERR_TIMED_OUT); // it waits, and so does another
    s_beat_member(self, s_member(self, "g", "orders"));
    assert_err(s_begin_offsets(self, &topic), WEFT_ERR_TIMED_OUT);
    weft_fake_world_hold(self->at->world, SYNC_PART, false);
    (void) s_pump(self);
    assert_ok(s_begin_offsets(self, &topic));
    assert_ok(s_begin_offsets(self, &again));
    assert_true(weft_id_equal(topic, again));
    assert_true(s_offsets_described(self, &reply));
    assert_int_equal(reply.partitions, 4);
    bool compacts = false;
    for (size_t i = 0; i < reply.config_count; i++)
        compacts |= weft_slice_is_text(reply.config[i].key, "cleanup.policy") &&
                    weft_slice_is_text(reply.config[i].value, "compact");
    assert_true(compacts);
}

static void test_coordinator_groups_admin__without_a_broker_offsets_wait_and_members_come_in(void **state)
{
    struct play *self = *state;
    struct weft_topic_describe_reply reply;
    weft_id_t topic;
    s_start(self->at);
    assert_err(s_begin_offsets(self, &topic), WEFT_ERR_INVALID_REPLICATION);
    assert_non_null(strstr(self->at->error.text, "no broker is alive"));
    assert_ok(s_join_group(self, s_member(self, "g", "orders")));
    s_live(self, SECOND_US);
    assert_false(s_offsets_described(self, &reply));
    s_register_request(self->at, 1, 1);
    assert_ok(s_play_ask(self));
    s_live(self, 2 * SECOND_US);
    assert_true(s_offsets_described(self, &reply));
}

static void test_coordinator_groups_admin__offsets_get_more_replicas_when_brokers_come(void **state)
{
    struct play *self = *state;
    struct weft_topic_describe_reply reply;
    weft_id_t topic;
    assert_ok(weft_options_set(self->at->options, "session.ms", "600000", NULL));
    s_cluster(self->at, 1);
    s_set(self, "offsets.partitions", "4");
    assert_ok(s_begin_offsets(self, &topic));
    assert_true(s_offsets_described(self, &reply));
    assert_int_equal(reply.replicas, 1);
    for (int32_t i = 2; i <= 5; i++) assert_ok(s_join(self->at, i, 1, true));
    weft_fake_world_advance(self->at->world, 12 * SECOND_US);
    (void) s_pump(self);
    assert_true(s_offsets_described(self, &reply));
    size_t held[6] = {0};
    for (uint32_t i = 0; i < 4; i++) {
        const struct weft_cluster_partition *partition = s_partition(self->at, "__offsets", i);
        assert_int_equal(partition->replica_count, 3);
        assert_int_equal(partition->replicas[0], 1); // who has the data stays first
        for (size_t k = 0; k < 3; k++) held[partition->replicas[k]]++;
    }
    for (int i = 2; i <= 5; i++) assert_int_equal(held[i], 2); // evenly
}

static void test_coordinator_groups_admin__commits_are_sent_to_the_leader(void **state)
{
    struct play *self = *state;
    weft_id_t topic;
    s_group_start(self->at);
    struct weft_committed_request request;
    weft_committed_request_init(&request);
    request.group = weft_slice_text("g");
    request.id = ++self->at->id;
    weft_committed_request_encode(&request, &self->at->header);
    assert_err(s_play_ask(self), WEFT_ERR_UNKNOWN_TOPIC);
    assert_ok(s_begin_offsets(self, &topic));
    request.id = ++self->at->id;
    weft_committed_request_encode(&request, &self->at->header);
    assert_err(s_play_ask(self), WEFT_ERR_NOT_LEADER);
    struct weft_reply_header header;
    assert_ok(weft_reply_header_decode(&self->at->codec, weft_buf_slice(&self->at->reply), &header, NULL));
    assert_slice(header.endpoint, "tcp://127.0.0.1:7000");
    assert_int_equal(header.leader, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROUP_TEST(test_coordinator_groups_admin__lists_by_name),
        GROUP_TEST(test_coordinator_groups_admin__describes_members_and_what_they_hold),
        GROUP_TEST(test_coordinator_groups_admin__says_which_groups_it_knows),
        GROUP_TEST(test_coordinator_groups_admin__a_live_group_says_who_is_in_it),
        GROUP_TEST(test_coordinator_groups_admin__who_is_away_cannot_be_stopped_and_is_waited_for),
        GROUP_TEST(test_coordinator_groups_admin__an_unused_group_is_forgotten),
        GROUP_TEST(test_coordinator_groups_admin__offsets_are_made_once),
        GROUP_TEST(test_coordinator_groups_admin__without_a_broker_offsets_wait_and_members_come_in),
        GROUP_TEST(test_coordinator_groups_admin__offsets_get_more_replicas_when_brokers_come),
        GROUP_TEST(test_coordinator_groups_admin__commits_are_sent_to_the_leader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
