// SPDX-License-Identifier: MPL-2.0
// How a broker goes: leaderships first, whoever is in office meanwhile, and clients are told where to go.
#include "seats.h"

static bool s_stop_control(struct scene *self, int64_t ms)
{
    weft_part_id_t control = self->rig.node->parts[0];
    for (int64_t i = 0; i < ms; i++) {
        if (weft_fake_world_stop(self->rig.world, control, 0)) return true;
        s_advance(self, 1);
    }
    return false;
}

static void test_leave__waits_for_the_coordinator_and_the_shards_learn_of_the_moves(void **state)
{
    struct scene *self = *state;
    struct rig *rig = &self->rig;
    const struct rig_produce orders = {.topic = "orders"};
    rig_topic(rig, "orders", 10, 1);
    s_advance(self, 200);
    assert_false(s_stop_control(self, 1000));
    assert_true(self->seats[0].told_stop);
    assert_int_equal(rig_produce_records(rig, &orders, 1).header.error, WEFT_OK); // served meanwhile
    rig_delete(rig, rig_id(10));
    s_advance(self, 200);
    assert_int_equal(rig_produce_records(rig, &orders, 1).header.error, WEFT_ERR_UNKNOWN_TOPIC);
    self->seats[0].stop_now = true;
    assert_true(s_stop_control(self, 300));
}

static void test_leave__goes_on_over_a_change_of_the_coordinator(void **state)
{
    struct scene *self = *state;
    assert_false(s_stop_control(self, 100));
    weft_fake_world_link(self->rig.world, self->seats[0].endpoint, false);
    assert_false(s_stop_control(self, 500));
    s_take_office(self, 2);
    self->seats[2].stop_now = true;
    assert_true(s_stop_control(self, 800));
    assert_true(self->seats[2].told_stop);
}

static void test_leave__nobody_who_answers_is_not_waited_for(void **state)
{
    struct scene *self = *state;
    for (size_t i = 0; i < 3; i++) self->seats[i].role = SILENT;
    int64_t began_us = s_now(self);
    assert_true(s_stop_control(self, 5000));
    assert_in_range((s_now(self) - began_us) / 1000, 1500, 2500);
    for (size_t i = 0; i < 3; i++) weft_fake_world_link(self->rig.world, self->seats[i].endpoint, false);
}

static void test_leave__clients_are_told_where_to_go_until_they_know(void **state)
{
    struct scene *self = *state;
    struct rig *rig = &self->rig;
    weft_slice_t endpoint = weft_slice_text("tcp://other:1");
    struct weft_broker_registered_command command;
    weft_broker_registered_command_init(&command);
    command.broker_id = 2;
    command.incarnation = rig_id(77);
    command.endpoints = &endpoint;
    command.endpoints_count = 1;
    weft_buf_clear(&rig->buf);
    weft_broker_registered_command_encode(&command, &rig->buf);
    rig_commit(rig);
    int32_t replicas[1] = {2};
    struct weft_placement placement = {.replicas = replicas, .replicas_count = 1};
    struct weft_topic_created_command topic;
    weft_topic_created_command_init(&topic);
    topic.topic_id = rig_id(10);
    topic.topic = weft_slice_text("orders");
    topic.placement = &placement;
    topic.placement_count = 1;
    weft_buf_clear(&rig->buf);
    weft_topic_created_command_encode(&topic, &rig->buf);
    rig_commit(rig);
    s_advance(self, 300);
    self->seats[0].stop_now = true;
    const struct rig_produce orders = {.topic = "orders"};
    int64_t began_us = s_now(self);
    for (int i = 0; i < 6; i++) {
        assert_false(s_stop_control(self, 50));
        struct weft_produce_reply reply = rig_produce_records(rig, &orders, 1);
        assert_int_equal(reply.header.error, WEFT_ERR_NOT_LEADER);
        assert_slice(reply.header.endpoint, "tcp://other:1");
    }
    assert_true(s_stop_control(self, 200));
    assert_in_range((s_now(self) - began_us) / 1000, 300, 700);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, s_setup, s_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_leave__waits_for_the_coordinator_and_the_shards_learn_of_the_moves),
        TEST(test_leave__goes_on_over_a_change_of_the_coordinator),
        TEST(test_leave__nobody_who_answers_is_not_waited_for),
        TEST(test_leave__clients_are_told_where_to_go_until_they_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
