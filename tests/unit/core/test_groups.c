// SPDX-License-Identifier: MPL-2.0
// Commands of consumer groups one by one: who holds what after each.
#include "groups_fixture.h"

// ---- joining, leaving, moving

static void test_groups__first_member_gets_everything(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 4);
    assert_ok(s_join(self, 1, "t"));
    assert_int_equal(self->told, 1); // even with nothing yet: it has to hear its epoch
    assert_int_equal(self->changed, 1);
    assert_int_equal(s_member(self, 1)->epoch, self->index);
    assert_string_equal(weft_group_state(s_group(self), self->cluster), "assigning");
    assert_true(s_plan(self));
    assert_int_equal(s_has(self, 1), 4);
    assert_int_equal(s_held(self, 1, 100, 3)->token, self->index);
    assert_int_equal(s_member(self, 1)->revision, self->index);
    assert_int_equal(s_group(self)->epoch, self->index);
    assert_string_equal(weft_group_state(s_group(self), self->cluster), "stable");
    assert_false(s_plan(self));
}

static void test_groups__moved_partition_is_given_after_its_release(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 4);
    assert_ok(s_join(self, 1, "t"));
    assert_true(s_plan(self));
    assert_ok(s_join(self, 2, "t"));
    assert_true(s_plan(self));
    assert_int_equal(s_has(self, 1), 2);
    assert_int_equal(s_member(self, 1)->hold_count, 4); // I5: what it has to release is still its own
    assert_int_equal(s_has(self, 2), 0);
    assert_string_equal(weft_group_state(s_group(self), self->cluster), "reconciling");
    uint64_t before = s_member(self, 2)->revision;
    assert_ok(s_release(self, 1));
    assert_int_equal(self->told, 1); // the other alone
    assert_int_equal(s_member(self, 1)->hold_count, 2);
    assert_int_equal(s_has(self, 2), 2);
    assert_true(s_member(self, 2)->revision > before);
    for (size_t i = 0; i < 2; i++) assert_int_equal(s_member(self, 2)->holds[i].token, self->index);
    assert_string_equal(weft_group_state(s_group(self), self->cluster), "stable");
    assert_ok(s_release(self, 1)); // told again
    assert_int_equal(self->told, 0);
}

static void test_groups__release_of_an_older_revision_frees_only_what_it_names(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 6);
    assert_ok(s_join(self, 1, "t"));
    assert_true(s_plan(self));
    assert_ok(s_join(self, 2, "t"));
    assert_true(s_plan(self));
    uint64_t first = s_member(self, 1)->revision;
    assert_int_equal(s_member(self, 1)->dropped_count, 3);
    assert_ok(s_join(self, 3, "t"));
    assert_true(s_plan(self));
    assert_int_equal(s_member(self, 1)->dropped_count, 4);
    assert_ok(s_release_at(self, 1, s_member(self, 1)->epoch, first));
    assert_int_equal(s_member(self, 1)->dropped_count, 1);
    assert_int_equal(s_member(self, 1)->released, first);
    s_settle(self);
    for (uint32_t m = 1; m <= 3; m++) assert_int_equal(s_has(self, m), 2);
}

static void test_groups__what_comes_back_before_its_release_waits_for_it(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 2);
    assert_ok(s_join(self, 1, "t"));
    assert_true(s_plan(self));
    uint64_t token = s_held(self, 1, 100, 0)->token;
    assert_ok(s_join(self, 2, "t"));
    assert_true(s_plan(self));
    assert_int_equal(s_member(self, 1)->dropped_count, 1);
    assert_ok(s_leave(self, 2, false));
    assert_true(s_plan(self));
    assert_int_equal(s_member(self, 1)->target_count, 2);
    assert_int_equal(s_member(self, 1)->dropped_count, 1); // it may be releasing it already
    assert_ok(s_release(self, 1));
    assert_int_equal(s_has(self, 1), 2);
    assert_true(s_held(self, 1, 100, 0)->token > token || s_held(self, 1, 100, 1)->token > token); // rule 20
}

static void test_groups__who_leaves_frees_at_once(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 4);
    assert_ok(s_join(self, 1, "t"));
    assert_ok(s_join(self, 2, "t"));
    s_settle(self);
    assert_ok(s_leave(self, 1, false));
    assert_null(weft_group_member(s_group(self), s_id(1)));
    assert_true(s_plan(self));
    assert_int_equal(s_has(self, 2), 4);
    assert_ok(s_leave(self, 1, false)); // again: passed over
    assert_int_equal(self->told + self->changed, 0);
    assert_ok(s_leave(self, 2, false));
    assert_string_equal(weft_group_state(s_group(self), self->cluster), "empty");
    assert_int_equal(s_group(self)->empty_since_ms, 2000);
    assert_false(s_plan(self));
}

static void test_groups__who_leaves_in_the_middle_of_a_release_hands_over(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 4);
    assert_ok(s_join(self, 1, "t"));
    assert_true(s_plan(self));
    assert_ok(s_join(self, 2, "t"));
    assert_true(s_plan(self));
    assert_ok(s_leave(self, 1, false));
    assert_int_equal(s_has(self, 2), 2); // its target was free; the plan gives the rest
    assert_true(s_plan(self));
    assert_int_equal(s_has(self, 2), 4);
}

static void test_groups__same_member_leaving_and_joining_before_a_plan_gets_its_share(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 4);
    assert_ok(s_join(self, 1, "t"));
    assert_ok(s_join(self, 2, "t"));
    s_settle(self);
    assert_ok(s_leave(self, 2, false));
    assert_ok(s_join(self, 2, "t")); // members and topics are as the target was worked out from, the target isn't
    assert_true(s_plan(self));
    s_settle(self);
    assert_int_equal(s_has(self, 2), 2);
}

static void test_groups__joining_again_is_a_new_epoch_with_new_tokens(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 4);
    assert_ok(s_join(self, 1, "t"));
    assert_ok(s_join(self, 2, "t"));
    s_settle(self);
    uint64_t epoch = s_member(self, 1)->epoch, others = s_member(self, 2)->revision;
    assert_ok(s_join(self, 1, "t"));
    assert_true(s_member(self, 1)->epoch > epoch);
    assert_int_equal(s_has(self, 1), 2); // at once: nobody else waits for it
    for (size_t i = 0; i < 2; i++) assert_int_equal(s_member(self, 1)->holds[i].token, self->index);
    assert_int_equal(s_member(self, 2)->revision, others);
    assert_false(s_plan(self));
    assert_err(s_release_at(self, 1, epoch, epoch), WEFT_ERR_FENCED_MEMBER);
}

static void test_groups__more_members_than_partitions_wait(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 2);
    for (uint32_t m = 1; m <= 4; m++) assert_ok(s_join(self, m, "t"));
    s_settle(self);
    size_t idle = 0;
    for (uint32_t m = 1; m <= 4; m++) idle += s_has(self, m) == 0;
    assert_int_equal(idle, 2);
    uint32_t busy = s_has(self, 1) ? 1 : 2;
    assert_ok(s_leave(self, busy, false));
    assert_true(s_plan(self));
    size_t held = 0;
    for (size_t i = 0; i < 3; i++) held += s_group(self)->members[i]->hold_count;
    assert_int_equal(held, 2);
}

// ---- subscriptions and topics

static void test_groups__subscription_changes_without_losing_what_stays(void **state)
{
    struct fixture *self = *state;
    s_create(self, "a", 100, 2);
    s_create(self, "b", 101, 2);
    assert_ok(s_join(self, 1, "a"));
    s_settle(self);
    uint64_t epoch = s_member(self, 1)->epoch, token = s_held(self, 1, 100, 0)->token;
    assert_ok(s_join_as(self, &(struct join){.member = 1, .keeps = true, .topics = {"b", "a", "b"}}));
    assert_int_equal(s_member(self, 1)->epoch, epoch);
    assert_int_equal(s_member(self, 1)->topic_count, 2);
    assert_string_equal(s_member(self, 1)->topics[0], "a");
    assert_true(s_plan(self));
    assert_int_equal(s_has(self, 1), 4);
    assert_int_equal(s_held(self, 1, 100, 0)->token, token);
    assert_ok(s_join_as(self, &(struct join){.member = 1, .keeps = true, .topics = {"b"}}));
    assert_true(s_plan(self));
    assert_int_equal(s_has(self, 1), 2);
    assert_int_equal(s_member(self, 1)->dropped_count, 2);
    s_settle(self);
    assert_err(s_join_as(self, &(struct join){.member = 2, .keeps = true, .topics = {"b"}}), WEFT_ERR_UNKNOWN_MEMBER);
}

static void test_groups__new_topics_and_partitions_are_picked_up(void **state)
{
    struct fixture *self = *state;
    s_create(self, "log-a", 100, 2);
    assert_ok(s_join(self, 1, "log-*"));
    s_settle(self);
    assert_true(weft_group_reads(s_group(self), weft_slice_text("log-b")));
    assert_false(weft_group_reads(s_group(self), weft_slice_text("other")));
    s_create(self, "other", 102, 2);
    assert_false(s_plan(self));
    s_create(self, "log-b", 101, 3);
    assert_true(s_plan(self));
    assert_int_equal(s_has(self, 1), 5);
    s_grow(self, 100, 2);
    assert_true(s_plan(self));
    assert_int_equal(s_has(self, 1), 7);
    assert_int_equal(s_member(self, 1)->dropped_count, 0);
}

static void test_groups__name_that_comes_later_is_picked_up(void **state)
{
    struct fixture *self = *state;
    assert_ok(s_join(self, 1, "late"));
    assert_true(s_plan(self)); // a target of nothing
    assert_int_equal(s_has(self, 1), 0);
    assert_false(s_plan(self));
    s_create(self, "late", 100, 2);
    assert_true(s_plan(self));
    assert_int_equal(s_has(self, 1), 2);
}

static void test_groups__deleted_topic_is_gone_without_a_release(void **state)
{
    struct fixture *self = *state;
    s_create(self, "a", 100, 2);
    s_create(self, "b", 101, 2);
    assert_ok(s_join_as(self, &(struct join){.member = 1, .topics = {"a", "b"}}));
    s_settle(self);
    s_delete_topic(self, 100);
    s_create(self, "a", 102, 1); // rule 12: another one
    assert_true(s_plan(self));
    assert_int_equal(s_member(self, 1)->hold_count, 3);
    assert_int_equal(s_member(self, 1)->dropped_count, 0);
    assert_null(s_held(self, 1, 100, 0));
    assert_non_null(s_held(self, 1, 102, 0));
    assert_int_equal(s_member(self, 1)->revision, self->index);
}

static void test_groups__deleted_topic_does_not_hold_up_a_release(void **state)
{
    struct fixture *self = *state;
    s_create(self, "a", 100, 2);
    assert_ok(s_join(self, 1, "a"));
    assert_true(s_plan(self));
    assert_ok(s_join(self, 2, "a"));
    assert_true(s_plan(self));
    assert_int_equal(s_member(self, 1)->dropped_count, 1);
    s_delete_topic(self, 100);
    assert_true(s_plan(self));
    assert_int_equal(s_member(self, 1)->hold_count, 0);
    assert_int_equal(s_member(self, 1)->dropped_count, 0);
}

static void test_groups__internal_topics_are_for_who_names_them(void **state)
{
    struct fixture *self = *state;
    s_create(self, "__offsets", 100, 2);
    s_create(self, "_own", 101, 1);
    assert_ok(s_join(self, 1, "*"));
    assert_ok(s_join(self, 2, "[_]*"));
    s_settle(self);
    assert_int_equal(s_has(self, 1) + s_has(self, 2), 1);
    assert_ok(s_join(self, 3, "__off*"));
    assert_ok(s_join_as(self, &(struct join){.member = 4, .topics = {"__offsets"}}));
    s_settle(self);
    assert_int_equal(s_has(self, 3), 1);
    assert_int_equal(s_has(self, 4), 1);
    assert_false(weft_group_reads(s_group(self), weft_slice_text("__other")));
}

static void test_groups__different_subscriptions_get_what_they_read(void **state)
{
    struct fixture *self = *state;
    s_create(self, "a", 100, 4);
    s_create(self, "b", 101, 4);
    assert_ok(s_join(self, 1, "a"));
    assert_ok(s_join(self, 2, "b"));
    assert_ok(s_join_as(self, &(struct join){.member = 3, .topics = {"a", "b"}}));
    s_settle(self);
    for (uint32_t m = 1; m <= 3; m++) assert_in_range(s_has(self, m), 2, 3);
    assert_null(s_held(self, 1, 101, 0));
}

static void test_groups__assignor_told_last_counts(void **state)
{
    struct fixture *self = *state;
    s_create(self, "a", 100, 4);
    s_create(self, "b", 101, 4);
    assert_ok(s_join_as(self, &(struct join){.member = 1, .assignor = "range", .topics = {"a", "b"}}));
    assert_ok(s_join_as(self, &(struct join){.member = 2, .topics = {"a", "b"}}));
    assert_int_equal(s_group(self)->assignor, WEFT_ASSIGNOR_RANGE);
    s_settle(self);
    for (uint32_t p = 0; p < 4; p++) { // the same partitions of both
        assert_non_null(s_held(self, p < 2 ? 1 : 2, 100, p));
        assert_non_null(s_held(self, p < 2 ? 1 : 2, 101, p));
    }
    assert_ok(s_join_as(self, &(struct join){.member = 1, .keeps = true, .assignor = "uniform"}));
    assert_int_equal(s_group(self)->assignor, WEFT_ASSIGNOR_UNIFORM);
    assert_true(s_plan(self));
    assert_int_equal(s_member(self, 1)->dropped_count, 0); // it is balanced
}

static void test_groups__racks_are_preferred(void **state)
{
    struct fixture *self = *state;
    assert_ok(s_register(self, 1, "west"));
    s_create_on(self, "t", 100, 8, 2); // even ones in the east
    assert_ok(s_join_as(self, &(struct join){.member = 1, .rack = "west", .topics = {"t"}}));
    assert_ok(s_join_as(self, &(struct join){.member = 2, .rack = "east", .topics = {"t"}}));
    s_settle(self);
    for (uint32_t p = 0; p < 8; p++) assert_non_null(s_held(self, p % 2 ? 1 : 2, 100, p));
}

// It travels in commands, and coordinators of two versions have to agree on it (rule 24).
static void test_groups__digest_of_the_inputs_never_changes_its_meaning(void **state)
{
    struct fixture *self = *state;
    s_create(self, "a", 100, 4);
    assert_ok(s_join_as(self, &(struct join){.member = 1, .instance = "one", .topics = {"a", "b*"}}));
    assert_ok(s_join(self, 2, "a"));
    assert_true(weft_groups_inputs(s_group(self), self->cluster) == UINT64_C(0x6f8508a4f3959b87));
    assert_ok(s_join_as(self, &(struct join){.member = 3, .replaces = 1, .instance = "one", .topics = {"b*", "a"}}));
    assert_true(weft_groups_inputs(s_group(self), self->cluster) == UINT64_C(0x6f8508a4f3959b87));
    s_grow(self, 100, 1);
    assert_true(weft_groups_inputs(s_group(self), self->cluster) != UINT64_C(0x6f8508a4f3959b87));
}

// ---- static members

static void test_groups__paused_member_keeps_its_place(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 4);
    assert_ok(s_join_as(self, &(struct join){.member = 1, .instance = "one", .topics = {"t"}}));
    assert_ok(s_join_as(self, &(struct join){.member = 2, .instance = "two", .topics = {"t"}}));
    s_settle(self);
    uint64_t others = s_member(self, 2)->revision;
    assert_ok(s_leave(self, 1, true));
    assert_true(s_member(self, 1)->paused);
    assert_int_equal(s_member(self, 1)->hold_count, 0);
    assert_int_equal(s_member(self, 1)->target_count, 2);
    assert_false(s_plan(self)); // nothing is rebalanced
    assert_int_equal(s_has(self, 2), 2);
    assert_int_equal(s_group(self)->empty_since_ms, -1);
    assert_ok(s_leave(self, 1, true)); // again
    assert_int_equal(self->changed, 0);
    s_through_snapshot(self);
    assert_err(s_join_as(self, &(struct join){.member = 1, .keeps = true, .topics = {"t"}}), WEFT_ERR_FENCED_MEMBER);
    assert_ok(s_join_as(self, &(struct join){.member = 3, .replaces = 1, .instance = "one", .topics = {"t"}}));
    assert_null(weft_group_member(s_group(self), s_id(1)));
    assert_ptr_equal(weft_group_instance(s_group(self), weft_slice_text("one")), s_member(self, 3));
    assert_int_equal(s_has(self, 3), 2);
    assert_int_equal(s_member(self, 3)->holds[0].token, self->index); // rule 20
    assert_false(s_plan(self));
    assert_int_equal(s_member(self, 2)->revision, others);
}

static void test_groups__what_falls_to_a_paused_member_waits_for_it(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 4);
    assert_ok(s_join_as(self, &(struct join){.member = 1, .instance = "one", .topics = {"t"}}));
    s_settle(self);
    assert_ok(s_join_as(self, &(struct join){.member = 2, .instance = "two", .topics = {"t"}}));
    assert_ok(s_leave(self, 2, true));
    assert_true(s_plan(self)); // it has a share
    assert_ok(s_release(self, 1));
    assert_int_equal(s_has(self, 1), 2);
    assert_int_equal(s_member(self, 2)->hold_count, 0);
    assert_ok(s_join_as(self, &(struct join){.member = 3, .instance = "two", .topics = {"t"}})); // replaces not named
    assert_int_equal(s_has(self, 3), 2);
}

static void test_groups__paused_member_that_stays_away_is_left(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 4);
    assert_ok(s_join_as(self, &(struct join){.member = 1, .instance = "one", .topics = {"t"}}));
    assert_ok(s_join(self, 2, "t"));
    s_settle(self);
    assert_ok(s_leave(self, 1, true));
    assert_ok(s_leave(self, 1, false));
    assert_true(s_plan(self));
    assert_int_equal(s_has(self, 2), 4);
    assert_ok(s_leave(self, 2, true)); // no instance: it is gone
    assert_int_equal(s_group(self)->member_count, 0);
}

static void test_groups__instance_of_a_live_member_is_in_use(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 2);
    assert_ok(s_join_as(self, &(struct join){.member = 1, .instance = "one", .topics = {"t"}}));
    s_settle(self);
    assert_err(s_join_as(self, &(struct join){.member = 2, .instance = "one", .topics = {"t"}}),
               WEFT_ERR_INSTANCE_IN_USE);
    // Silent for its session, as the coordinator found: two newcomers in one turn, the first has it.
    assert_ok(s_join_as(self, &(struct join){.member = 2, .replaces = 1, .instance = "one", .topics = {"t"}}));
    assert_err(s_join_as(self, &(struct join){.member = 3, .replaces = 1, .instance = "one", .topics = {"t"}}),
               WEFT_ERR_INSTANCE_IN_USE);
    // The proposal of the first was applied twice.
    assert_ok(s_join_as(self, &(struct join){.member = 2, .replaces = 1, .instance = "one", .topics = {"t"}}));
    assert_int_equal(s_group(self)->member_count, 1);
    assert_int_equal(s_has(self, 2), 2);
    assert_false(s_plan(self));
}

static void test_groups__replacement_keeps_the_order_of_range(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 4);
    assert_ok(s_join_as(self, &(struct join){.member = 9, .instance = "a", .assignor = "range", .topics = {"t"}}));
    assert_ok(s_join_as(self, &(struct join){.member = 5, .instance = "b", .topics = {"t"}}));
    s_settle(self);
    assert_non_null(s_held(self, 9, 100, 0));
    assert_ok(s_join_as(self, &(struct join){.member = 99, .replaces = 9, .instance = "a"})); // topics as before
    assert_false(s_plan(self));
    assert_non_null(s_held(self, 99, 100, 0));
    assert_int_equal(s_member(self, 99)->position, 0);
}

static void test_groups__member_that_moves_to_another_instance_leaves_its_own(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 4);
    assert_ok(s_join_as(self, &(struct join){.member = 1, .instance = "one", .topics = {"t"}}));
    assert_ok(s_join_as(self, &(struct join){.member = 2, .instance = "two", .topics = {"t"}}));
    s_settle(self);
    assert_ok(s_leave(self, 2, true));
    assert_ok(s_join_as(self, &(struct join){.member = 1, .instance = "two", .topics = {"t"}}));
    assert_int_equal(s_group(self)->member_count, 1);
    assert_null(weft_group_instance(s_group(self), weft_slice_text("one")));
    s_settle(self);
    assert_int_equal(s_has(self, 1), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_groups__first_member_gets_everything),
        TEST(test_groups__moved_partition_is_given_after_its_release),
        TEST(test_groups__release_of_an_older_revision_frees_only_what_it_names),
        TEST(test_groups__what_comes_back_before_its_release_waits_for_it),
        TEST(test_groups__who_leaves_frees_at_once),
        TEST(test_groups__who_leaves_in_the_middle_of_a_release_hands_over),
        TEST(test_groups__same_member_leaving_and_joining_before_a_plan_gets_its_share),
        TEST(test_groups__joining_again_is_a_new_epoch_with_new_tokens),
        TEST(test_groups__more_members_than_partitions_wait),
        TEST(test_groups__subscription_changes_without_losing_what_stays),
        TEST(test_groups__new_topics_and_partitions_are_picked_up),
        TEST(test_groups__name_that_comes_later_is_picked_up),
        TEST(test_groups__deleted_topic_is_gone_without_a_release),
        TEST(test_groups__deleted_topic_does_not_hold_up_a_release),
        TEST(test_groups__internal_topics_are_for_who_names_them),
        TEST(test_groups__different_subscriptions_get_what_they_read),
        TEST(test_groups__assignor_told_last_counts),
        TEST(test_groups__racks_are_preferred),
        TEST(test_groups__digest_of_the_inputs_never_changes_its_meaning),
        TEST(test_groups__paused_member_keeps_its_place),
        TEST(test_groups__what_falls_to_a_paused_member_waits_for_it),
        TEST(test_groups__paused_member_that_stays_away_is_left),
        TEST(test_groups__instance_of_a_live_member_is_in_use),
        TEST(test_groups__replacement_keeps_the_order_of_range),
        TEST(test_groups__member_that_moves_to_another_instance_leaves_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
