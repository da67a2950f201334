// SPDX-License-Identifier: MPL-2.0
// In-sync sets at the coordinator: what a leader is granted, and what it is refused.
#include "cluster.h"

static void test_coordinator_insync__a_leader_takes_out_and_brings_back(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 1, 3, NULL);
    int32_t leader = s_partition(self, "orders", 0)->leader;
    int32_t other = leader % 3 + 1, slow = other % 3 + 1;
    struct wish without = {.topic = "orders", .members = {leader, other}};
    assert_ok(s_wish(self, leader, 1, &without));
    assert_int_equal(s_partition(self, "orders", 0)->isr_count, 2);
    assert_false(s_in_sync(s_partition(self, "orders", 0), slow));
    char told[100];
    snprintf(told, sizeof told, "1 replica on broker %d, up but not in sync (of partition 0 of 'orders')", slow);
    assert_true(s_status_says(self, told));
    struct wish with = {.topic = "orders", .members = {leader, other, slow}};
    assert_ok(s_wish(self, leader, 1, &with));
    assert_int_equal(s_partition(self, "orders", 0)->isr_count, 3);
    assert_int_equal(s_partition(self, "orders", 0)->leader, leader);
    assert_int_equal(s_partition(self, "orders", 0)->leader_epoch, 0);
    weft_cluster_check(self->copy);
}

static void test_coordinator_insync__what_is_old_is_refused_whole(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 1, 3, NULL);
    int32_t leader = s_partition(self, "orders", 0)->leader;
    int32_t a = leader % 3 + 1, b = a % 3 + 1;
    struct {
        struct wish wish;
        weft_err_t err;
    } cases[] = {
        {{.topic = "orders", .members = {leader, a}, .leader_epoch_more = -1}, WEFT_ERR_STALE_EPOCH},
        {{.topic = "orders", .members = {leader, a}, .leader_epoch_more = 1}, WEFT_ERR_UNKNOWN_EPOCH},
        {{.topic = "orders", .members = {leader, a}, .partition_epoch_more = -1}, WEFT_ERR_STALE_EPOCH},
        {{.topic = "orders", .members = {leader, a}, .partition_epoch_more = 1}, WEFT_ERR_STALE_EPOCH},
        {{.topic = "orders", .members = {leader, a}, .start_of_last = 2}, WEFT_ERR_STALE_EPOCH},
        {{.topic = "orders", .members = {leader, a, a}}, WEFT_ERR_INVALID_REQUEST},
        {{.topic = "orders", .members = {a, b}}, WEFT_ERR_INVALID_REQUEST}, // without itself
        {{.topic = "orders", .members = {leader, 9}}, WEFT_ERR_INVALID_REQUEST},
        {{.topic = "orders", .members = {0}}, WEFT_ERR_INVALID_REQUEST},
    };
    uint64_t index = weft_cluster_index(self->copy);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_err(s_wish(self, leader, 1, &cases[i].wish), cases[i].err);
    struct wish good = {.topic = "orders", .members = {leader, a}};
    assert_err(s_wish(self, a, 1, &good), WEFT_ERR_NOT_LEADER);
    assert_err(s_wish(self, leader, 2, &good), WEFT_ERR_FENCED); // another start of the leader
    s_drain(self);
    assert_int_equal(weft_cluster_index(self->copy), index);
    assert_int_equal(s_partition(self, "orders", 0)->isr_count, 3);
}

static void test_coordinator_insync__nobody_dead_or_sick_comes_in(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 3, 3, NULL);
    uint32_t led_by_1 = 0;
    while (s_partition(self, "orders", led_by_1)->leader != 1) led_by_1++;
    (void) s_beat(self, &(struct beat){.broker = 3, .start = 1, .disk_failed = true});
    assert_true(s_broker(self, 3)->sick);
    LOSE_ALL_BUT(self, 1, 3);
    (void) s_beat(self, &(struct beat){.broker = 3, .start = 1, .disk_failed = true});
    struct wish dead = {.topic = "orders", .partition = led_by_1, .members = {1, 2}};
    assert_err(s_wish(self, 1, 1, &dead), WEFT_ERR_STALE_EPOCH);
    struct wish sick = {.topic = "orders", .partition = led_by_1, .members = {1, 3}};
    assert_err(s_wish(self, 1, 1, &sick), WEFT_ERR_DISK_FAILED);
    assert_int_equal(s_partition(self, "orders", led_by_1)->isr_count, 1);
}

static void test_coordinator_insync__a_sick_one_keeps_nobody_in(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    s_topic_on(self, "orders", 3, 3, NULL);
    uint32_t led_by_1 = 0;
    while (s_partition(self, "orders", led_by_1)->leader != 1) led_by_1++;
    (void) s_beat(self, &(struct beat){.broker = 3, .start = 1, .disk_failed = true});
    assert_true(s_broker(self, 3)->sick);
    assert_int_equal(s_partition(self, "orders", led_by_1)->isr_count, 2);
    struct wish wish = {.topic = "orders", .partition = led_by_1, .members = {1, 3}}; // 2 lags behind
    assert_ok(s_wish(self, 1, 1, &wish));
    assert_int_equal(s_partition(self, "orders", led_by_1)->isr_count, 1);
    assert_true(s_in_sync(s_partition(self, "orders", led_by_1), 1));
    assert_err(s_wish(self, 1, 1, &wish), WEFT_ERR_DISK_FAILED);
}

// Thousands of partitions at once: one request, one answer, and not one sync each.
static void test_coordinator_insync__many_partitions_cost_one_round(void **state)
{
    enum { COUNT = 4096 };
    struct fixture *self = *state;
    s_cluster(self, 2);
    s_topic_on(self, "orders", COUNT + 100, 2, NULL);
    const struct weft_cluster_topic *topic = s_topic(self, "orders");
    struct weft_in_sync_ask *asks = weft_calloc(COUNT, sizeof *asks);
    struct weft_in_sync_member *members = weft_calloc(COUNT, sizeof *members);
    size_t count = 0;
    for (uint32_t i = 0; i < topic->partition_count && count < COUNT; i++) {
        if (topic->partitions[i].leader != 1) continue;
        members[count] = (struct weft_in_sync_member){.broker = 1, .incarnation = s_start_of(1, 1)};
        asks[count] = (struct weft_in_sync_ask){.topic_id = topic->id,
                                                .partition = i,
                                                .leader_epoch = topic->partitions[i].leader_epoch,
                                                .partition_epoch = topic->partitions[i].partition_epoch,
                                                .members = &members[count],
                                                .members_count = 1};
        count++;
    }
    asks[7].partition_epoch++; // one that is refused
    struct weft_in_sync_change_request request;
    weft_in_sync_change_request_init(&request);
    request.id = ++self->id;
    request.broker_id = 1;
    request.incarnation = s_start_of(1, 1);
    request.changes = asks;
    request.changes_count = count;
    weft_in_sync_change_request_encode(&request, &self->header);
    uint64_t syncs = weft_crash_disk_stats(self->disk).syncs;
    assert_ok(s_ask(self, 1));
    assert_true(weft_crash_disk_stats(self->disk).syncs - syncs <
                40); // snapshots of the fixture's small interval included
    struct weft_in_sync_change_reply reply;
    DECODE(in_sync_change, &reply);
    assert_int_equal(reply.errors_count, count);
    for (size_t i = 0; i < count; i++)
        assert_err((weft_err_t) reply.errors[i], i == 7 ? WEFT_ERR_STALE_EPOCH : WEFT_OK);
    assert_int_equal(s_partition(self, "orders", asks[0].partition)->isr_count, 1);
    assert_int_equal(s_partition(self, "orders", asks[7].partition)->isr_count, 2);
    free(asks);
    free(members);
}

// What a leader asked for while its member was fenced: the command is refused where it is applied.
static void test_coordinator_insync__a_change_that_races_a_fence_loses(void **state)
{
    struct fixture *self = *state;
    s_cluster(self, 3);
    char name[8] = "t0"; // a topic that broker 1 leads
    s_topic_on(self, name, 1, 3, NULL);
    for (char c = '1'; s_partition(self, name, 0)->leader != 1; c++) {
        name[1] = c;
        s_topic_on(self, name, 1, 3, NULL);
    }
    struct wish without = {.topic = name, .members = {1, 2}};
    assert_ok(s_wish(self, 1, 1, &without));
    struct wish with = {.topic = name, .members = {1, 2, 3}};
    struct weft_in_sync_member members[4];
    struct weft_in_sync_ask ask;
    (void) s_wish_fill(self, &with, members, &ask);
    weft_fake_world_advance(self->world, SECOND_US - SECOND_US / 4);
    for (int32_t i = 1; i <= 2; i++) (void) s_beat(self, &(struct beat){.broker = i, .start = 1});
    weft_fake_world_hold(self->world, SYNC_PART, true); // what is proposed stays on its way
    weft_fake_world_advance(self->world, SECOND_US / 4 + SECOND_US / 20);
    struct weft_in_sync_change_request request;
    weft_in_sync_change_request_init(&request);
    uint64_t id = request.id = ++self->id;
    request.broker_id = 1;
    request.incarnation = s_start_of(1, 1);
    request.changes = &ask;
    request.changes_count = 1;
    weft_in_sync_change_request_encode(&request, &self->header);
    s_send(self, 1);
    assert_null(s_next_answer(self)); // granted as far as the state knows
    weft_fake_world_hold(self->world, SYNC_PART, false);
    const struct weft_fake_sent *sent;
    bool answered = false;
    while ((sent = s_next_answer(self))) {
        struct weft_in_sync_change_reply reply;
        if (weft_in_sync_change_reply_decode(&self->codec, weft_buf_slice(&sent->header), &reply, NULL) ||
            reply.header.id != id)
            continue;
        answered = true;
        assert_int_equal(reply.errors_count, 1);
        assert_err((weft_err_t) reply.errors[0], WEFT_ERR_INVALID_REQUEST);
    }
    assert_true(answered);
    assert_false(s_broker(self, 3)->alive);
    assert_false(s_in_sync(s_partition(self, name, 0), 3));
    weft_cluster_check(self->copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_coordinator_insync__a_leader_takes_out_and_brings_back),
        TEST(test_coordinator_insync__what_is_old_is_refused_whole),
        TEST(test_coordinator_insync__nobody_dead_or_sick_comes_in),
        TEST(test_coordinator_insync__a_sick_one_keeps_nobody_in),
        TEST(test_coordinator_insync__many_partitions_cost_one_round),
        TEST(test_coordinator_insync__a_change_that_races_a_fence_loses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
