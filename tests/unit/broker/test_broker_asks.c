// SPDX-License-Identifier: MPL-2.0
// What a broker's shards ask of the coordinator and report to it, on its way through the control part.
#include "seats.h"

#include "../../../nodes/broker/asks.h"

static void s_ask(struct scene *self, uint32_t partition, int32_t partition_epoch)
{
    struct weft_broker_ask *ask = calloc(1, sizeof *ask);
    ask->topic = rig_id(10);
    ask->partition = partition;
    ask->partition_epoch = partition_epoch;
    ask->member_count = 3;
    for (size_t i = 0; i < 3; i++) ask->members[i].broker = (int32_t) i + 1;
    const struct weft_mail mail = {.kind = WEFT_MAIL_BROKER_ASK, .body = ask, .body_free = free};
    weft_fake_world_mail(self->rig.world, self->rig.node->parts[0], &mail);
}

static void s_tell(struct scene *self, uint32_t partition, int64_t log_end)
{
    struct weft_broker_report *report = calloc(1, sizeof *report);
    report->topic = rig_id(10);
    report->partition = partition;
    report->log_end = log_end;
    const struct weft_mail mail = {.kind = WEFT_MAIL_BROKER_REPORT, .body = report, .body_free = free};
    weft_fake_world_mail(self->rig.world, self->rig.node->parts[0], &mail);
}

static void test_asks__go_at_once_together_and_only_the_newest_of_a_partition(void **state)
{
    struct scene *self = *state;
    s_ask(self, 1, 1);
    s_ask(self, 2, 5); // the first flies: these wait for its answer
    s_ask(self, 3, 6);
    s_ask(self, 2, 7);
    s_tell(self, 4, 100);
    s_advance(self, 2);
    assert_int_equal(self->seats[0].changes, 2);
    assert_int_equal(self->seats[0].reports, 1);
    s_advance(self, 3000);
    assert_int_equal(self->seats[0].changes, 2); // answered is done: the shard asks again if it must
    s_ask(self, 2, 8);
    s_advance(self, 2);
    assert_int_equal(self->seats[0].last_count, 1);
    assert_int_equal(self->seats[0].last_value, 8);
}

static void test_asks__thousands_go_in_bounded_requests(void **state)
{
    struct scene *self = *state;
    self->seats[0].role = SILENT;
    s_ask(self, 0, 1);
    for (uint32_t i = 1; i <= 10000; i++) s_ask(self, i, 1);
    self->seats[0].role = OFFICE;
    s_advance(self, 3000);
    assert_in_range(self->seats[0].changes, 2 + 10000 / WEFT_ASKS_MESSAGE_MAX, 4 + 10000 / WEFT_ASKS_MESSAGE_MAX);
}

static void test_asks__go_again_to_a_new_coordinator(void **state)
{
    struct scene *self = *state;
    self->seats[0].role = SILENT;
    s_ask(self, 1, 1);
    s_tell(self, 2, 200);
    s_advance(self, 2);
    assert_int_equal(self->seats[0].changes, 1);
    weft_fake_world_link(self->rig.world, self->seats[0].endpoint, false);
    s_take_office(self, 1);
    s_advance(self, 500);
    assert_int_equal(self->seats[1].changes, 1);
    assert_int_equal(self->seats[1].reports, 1);
}

static void test_asks__of_an_older_start_are_forgotten(void **state)
{
    struct scene *self = *state;
    self->seats[0].role = SILENT;
    s_ask(self, 1, 1);
    s_ask(self, 2, 1);
    self->seats[0].role = FENCER;
    s_advance(self, 1500);
    self->seats[0].role = OFFICE;
    s_count_anew(self);
    s_advance(self, 2000);
    assert_true(self->seats[0].registrations > 0);
    assert_int_equal(self->seats[0].changes, 0);
}

static void test_asks__a_failed_disk_is_told_with_every_heartbeat(void **state)
{
    struct scene *self = *state;
    s_advance(self, 200);
    assert_false(self->seats[0].told_disk_failed);
    atomic_store(&((struct weft_broker *) self->rig.node)->disk_failed, true);
    s_advance(self, 200);
    assert_true(self->seats[0].told_disk_failed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, s_setup, s_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_asks__go_at_once_together_and_only_the_newest_of_a_partition),
        TEST(test_asks__thousands_go_in_bounded_requests),
        TEST(test_asks__go_again_to_a_new_coordinator),
        TEST(test_asks__of_an_older_start_are_forgotten),
        TEST(test_asks__a_failed_disk_is_told_with_every_heartbeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
