// SPDX-License-Identifier: MPL-2.0
// A broker among three coordinators: whom it asks, and whom it obeys.
#include "seats.h"

// ---- whom it asks

static void test_seek__others_are_left_alone_while_one_answers(void **state)
{
    struct scene *self = *state;
    s_advance(self, 3000);
    assert_in_range(self->seats[0].heartbeats, 29, 31);
    assert_int_equal(self->seats[1].heartbeats + self->seats[2].heartbeats, 0);
}

static void test_seek__a_lost_coordinator_is_replaced_as_soon_as_another_is_in_office(void **state)
{
    struct scene *self = *state;
    self->seats[0].role = SILENT;
    weft_fake_world_link(self->rig.world, self->seats[0].endpoint, false);
    assert_in_range(s_until_heard(self, 1, 100), 0, 60); // both others are asked at once
    s_advance(self, 800);                                // nobody is elected yet
    uint32_t asked = self->seats[1].heartbeats + self->seats[2].heartbeats;
    assert_in_range(asked, 6, 20); // and are not flooded meanwhile
    s_take_office(self, 2);
    assert_in_range(s_until_heard(self, 2, 1000), 0, 250);
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    s_advance(self, 200);
    assert_int_equal(rig_health(&self->rig, sentence), WEFT_HEALTH_SERVING);
    s_count_anew(self);
    s_advance(self, 1000);
    assert_int_equal(self->seats[1].heartbeats, 0);
    assert_in_range(self->seats[2].heartbeats, 9, 11);
    assert_int_equal(self->seats[2].registrations, 0); // the same start goes on
}

static void test_seek__a_stopped_coordinator_is_left_within_its_session(void **state)
{
    struct scene *self = *state;
    self->seats[0].role = SILENT; // its link stays up
    s_advance(self, 450);
    assert_true(self->seats[1].heartbeats + self->seats[2].heartbeats > 0);
    assert_true(self->seats[0].heartbeats >= 4); // it may only be slow
    s_take_office(self, 1);
    assert_in_range(s_until_heard(self, 1, 1000), 0, 250);
    s_count_anew(self);
    self->seats[0].role = OFFICE; // continued, and still of its old epoch
    self->seats[0].epoch = self->rig.epoch - 1;
    s_advance(self, 1000);
    assert_int_equal(self->seats[0].heartbeats, 0);
    assert_in_range(self->seats[1].heartbeats, 9, 11);
}

static void test_seek__a_slow_coordinator_is_kept_when_nobody_else_is_in_office(void **state)
{
    struct scene *self = *state;
    self->seats[1].names = self->seats[2].names = self->seats[0].endpoint;
    self->seats[0].role = SILENT;
    s_advance(self, 800);
    self->seats[0].role = OFFICE;
    s_advance(self, 150);
    s_count_anew(self);
    s_advance(self, 1000);
    assert_in_range(self->seats[0].heartbeats, 9, 11);
    assert_int_equal(self->seats[1].heartbeats + self->seats[2].heartbeats, 0);
    assert_int_equal(self->seats[0].registrations, 0);
}

static void test_seek__who_is_named_is_asked_next_even_when_unknown(void **state)
{
    struct scene *self = *state;
    self->seat_count = 4;
    weft_fake_world_link(self->rig.world, self->seats[3].endpoint, true);
    s_take_office(self, 3);
    self->seats[0].role = PASSIVE;
    for (size_t i = 0; i < 3; i++) self->seats[i].names = self->seats[3].endpoint;
    assert_in_range(s_until_heard(self, 3, 1000), 0, 150);
    s_advance(self, 50);
    s_count_anew(self);
    s_advance(self, 1000);
    assert_in_range(self->seats[3].heartbeats, 9, 11);
}

static void test_seek__two_that_name_each_other_are_not_flooded(void **state)
{
    struct scene *self = *state;
    for (size_t i = 0; i < 3; i++) {
        self->seats[i].role = PASSIVE;
        self->seats[i].names = self->seats[(i + 1) % 2].endpoint;
    }
    s_advance(self, 2000);
    uint32_t asked = 0;
    for (size_t i = 0; i < 3; i++) asked += self->seats[i].heartbeats;
    assert_in_range(asked, 20, 80);
}

static void test_seek__one_that_takes_office_is_asked_again_soon(void **state)
{
    struct scene *self = *state;
    self->seats[0].role = SILENT;
    weft_fake_world_link(self->rig.world, self->seats[0].endpoint, false);
    self->seats[1].role = LOADING;
    s_advance(self, 300);
    s_take_office(self, 1);
    assert_in_range(s_until_heard(self, 1, 1000), 0, 150);
}

static void test_seek__voters_of_the_state_are_known_without_configuration(void **state)
{
    struct scene *self = *state;
    struct rig *rig = &self->rig;
    self->seat_count = 4;
    struct weft_voter voters[2];
    for (size_t i = 0; i < 2; i++)
        voters[i] = (struct weft_voter){
            .id = (int32_t) i + 3, .server = i + 3, .endpoint = weft_slice_text(self->seats[i + 2].endpoint)};
    struct weft_voters_changed_command command;
    weft_voters_changed_command_init(&command);
    command.voters = voters;
    command.voters_count = 2;
    weft_buf_clear(&rig->buf);
    weft_voters_changed_command_encode(&command, &rig->buf);
    rig_commit(rig);
    s_advance(self, 300);
    weft_fake_world_link(rig->world, self->seats[3].endpoint, true);
    for (size_t i = 0; i < 3; i++) weft_fake_world_link(rig->world, self->seats[i].endpoint, false); // all configured
    s_take_office(self, 3);
    assert_in_range(s_until_heard(self, 3, 1000), 0, 300);
    s_count_anew(self);
    s_advance(self, 1000);
    assert_in_range(self->seats[3].heartbeats, 9, 11);
}

static void test_seek__a_start_finds_the_one_in_office_though_the_first_is_stopped(void **state)
{
    struct scene *self = *state;
    rig_kill(&self->rig);
    static const char *const options[] = {"coordinators=tcp://coordinator:1,tcp://coordinator:2,tcp://coordinator:3",
                                          NULL};
    assert_ok(rig_create(&self->rig, options));
    const weft_world_t *world = weft_fake_world_of(self->rig.world);
    world->ops->start(world->self);
    self->seats[0].role = SILENT;
    s_take_office(self, 2);
    for (size_t i = 0; i < 3; i++) weft_fake_world_link(self->rig.world, self->seats[i].endpoint, true);
    s_advance(self, 1200);
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    assert_int_equal(rig_health(&self->rig, sentence), WEFT_HEALTH_SERVING);
    assert_int_equal(self->seats[2].registrations, 1);
}

// ---- whom it obeys

static void test_seek__only_the_one_in_office_can_fence(void **state)
{
    struct scene *self = *state;
    s_advance(self, 2000);
    // A late word of one that nobody takes for the coordinator.
    weft_id_t incarnation = self->rig.incarnation;
    struct weft_broker_heartbeat_reply reply;
    weft_broker_heartbeat_reply_init(&reply);
    reply.header.id = 12;
    reply.header.error = WEFT_ERR_FENCED;
    weft_buf_clear(&self->buf);
    weft_broker_heartbeat_reply_encode(&reply, &self->buf);
    s_send(self, &self->seats[2]);
    s_advance(self, 500);
    assert_true(weft_id_equal(incarnation, self->rig.incarnation));
    self->seats[0].role = FENCER;
    s_advance(self, 150);
    self->seats[0].role = OFFICE;
    s_advance(self, 300);
    assert_false(weft_id_equal(incarnation, self->rig.incarnation));
}

static void test_seek__a_new_coordinator_may_fence_when_the_old_one_is_gone(void **state)
{
    struct scene *self = *state;
    weft_id_t incarnation = self->rig.incarnation;
    weft_fake_world_link(self->rig.world, self->seats[0].endpoint, false);
    s_take_office(self, 1);
    self->seats[1].role = FENCER;
    s_advance(self, 100);
    self->seats[1].role = OFFICE;
    s_advance(self, 300);
    assert_false(weft_id_equal(incarnation, self->rig.incarnation));
    assert_true(self->seats[1].registrations >= 1);
}

static void test_seek__an_old_copy_of_the_state_is_not_obeyed_also_once_it_has_as_much(void **state)
{
    struct scene *self = *state;
    struct rig *rig = &self->rig;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    const struct rig_produce orders = {.topic = "orders"};
    rig_topic(rig, "orders", 10, 1);
    s_advance(self, 200);
    assert_int_equal(rig_produce_records(rig, &orders, 1).header.error, WEFT_OK);
    for (size_t i = 1; i < 3; i++) weft_fake_world_link(rig->world, self->seats[i].endpoint, false);
    self->seats[0].epoch = rig->epoch + 5;
    self->seats[0].index = 2; // it came back with an old disk
    s_advance(self, 1500);
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_DEGRADED);
    assert_non_null(strstr(sentence, "old copy"));
    // Another history grows there, in which the topic was deleted.
    rig_delete(rig, rig_id(10));
    self->seats[0].index = 0;
    s_advance(self, 500);
    assert_int_equal(rig_produce_records(rig, &orders, 1).header.error, WEFT_OK); // I10
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, s_setup, s_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_seek__others_are_left_alone_while_one_answers),
        TEST(test_seek__a_lost_coordinator_is_replaced_as_soon_as_another_is_in_office),
        TEST(test_seek__a_stopped_coordinator_is_left_within_its_session),
        TEST(test_seek__a_slow_coordinator_is_kept_when_nobody_else_is_in_office),
        TEST(test_seek__who_is_named_is_asked_next_even_when_unknown),
        TEST(test_seek__two_that_name_each_other_are_not_flooded),
        TEST(test_seek__one_that_takes_office_is_asked_again_soon),
        TEST(test_seek__voters_of_the_state_are_known_without_configuration),
        TEST(test_seek__a_start_finds_the_one_in_office_though_the_first_is_stopped),
        TEST(test_seek__only_the_one_in_office_can_fence),
        TEST(test_seek__a_new_coordinator_may_fence_when_the_old_one_is_gone),
        TEST(test_seek__an_old_copy_of_the_state_is_not_obeyed_also_once_it_has_as_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
