// SPDX-License-Identifier: MPL-2.0
// What the state machine of consumer groups refuses, with a sentence, and without a trace in its state.
#include "groups_fixture.h"

static void test_groups__bad_joins_are_refused_and_change_nothing(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 2);
    assert_ok(s_join(self, 1, "t"));
    s_settle(self);
    char longest[300];
    memset(longest, 'a', sizeof longest);
    longest[299] = 0;
    const struct {
        struct join join;
        weft_err_t err;
    } wrong[] = {
        {{.group = "", .member = 2, .topics = {"t"}}, WEFT_ERR_INVALID_GROUP},
        {{.group = "a\nb", .member = 2, .topics = {"t"}}, WEFT_ERR_INVALID_GROUP},
        {{.group = "\xff", .member = 2, .topics = {"t"}}, WEFT_ERR_INVALID_GROUP},
        {{.group = longest, .member = 2, .topics = {"t"}}, WEFT_ERR_INVALID_REQUEST}, // by the schema
        {{.member = 2}, WEFT_ERR_INVALID_REQUEST},
        {{.member = 2, .topics = {"t", "no topic"}}, WEFT_ERR_INVALID_TOPIC},
        {{.member = 2, .topics = {""}}, WEFT_ERR_INVALID_TOPIC},
        {{.member = 2, .topics = {"t["}}, WEFT_ERR_INVALID_PATTERN},
        {{.member = 2, .assignor = "fair", .topics = {"t"}}, WEFT_ERR_UNSUPPORTED_ASSIGNOR},
        {{.member = 2, .instance = "\x01", .topics = {"t"}}, WEFT_ERR_INVALID_REQUEST},
        {{.group = "new", .member = 2, .keeps = true, .topics = {"t"}}, WEFT_ERR_UNKNOWN_MEMBER},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint32_t before = weft_groups_digest(self->groups);
        assert_err(s_join_as(self, &wrong[i].join), wrong[i].err);
        assert_true(strlen(self->error.text) > 10);
        assert_int_equal(weft_groups_count(self->groups), 1);
        assert_int_not_equal(weft_groups_digest(self->groups), before); // the index alone
        assert_int_equal(s_group(self)->member_count, 1);
    }
}

static void test_groups__patterns_are_names_or_closed_globs(void **state)
{
    static const char *const good[] = {"a",         "a-b_c.d", "*",   "a?",   "[abc]",
                                       "[a-z0-9]x", "[!a-z]*", "__*", "[a-]", "[-a]"};
    static const char *const bad[] = {"a[", "[]", "[!]", "[z-a]", "a]", "*/", "[a b]", "[!", "!*", "a*\xc3\xa4"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_ok(weft_group_pattern_check(weft_slice_text(good[i]), NULL));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        weft_err_t err = weft_group_pattern_check(weft_slice_text(bad[i]), NULL);
        assert_true(err == WEFT_ERR_INVALID_PATTERN || err == WEFT_ERR_INVALID_TOPIC);
    }
    char longest[300];
    memset(longest, '*', sizeof longest);
    assert_err(weft_group_pattern_check(weft_slice(longest, 250), NULL), WEFT_ERR_INVALID_PATTERN);
    assert_ok(weft_group_pattern_check(weft_slice(longest, 249), NULL));
}

static void test_groups__full_is_full(void **state)
{
    struct fixture *self = *state;
    s_create(self, "t", 100, 2);
    assert_ok(s_set(self, "group.members", "2"));
    assert_ok(s_join(self, 1, "t"));
    assert_ok(s_join_as(self, &(struct join){.member = 2, .instance = "two", .topics = {"t"}}));
    assert_err(s_join(self, 3, "t"), WEFT_ERR_GROUP_FULL);
    assert_ok(s_join(self, 1, "t")); // is in it
    assert_ok(s_join_as(self, &(struct join){.member = 3, .replaces = 2, .instance = "two", .topics = {"t"}}));
    assert_ok(s_leave(self, 1, false));
    assert_ok(s_join(self, 4, "t"));
}

static void test_groups__globs_of_a_group_are_bounded(void **state)
{
    struct fixture *self = *state;
    char glob[32];
    uint32_t members = 0;
    for (;; members++) {
        snprintf(glob, sizeof glob, "a%u*", members);
        if (s_join(self, members + 1, glob) != WEFT_OK) break;
        assert_in_range(members, 0, WEFT_GROUP_GLOBS_MAX);
    }
    assert_int_equal(members, WEFT_GROUP_GLOBS_MAX);
    assert_int_equal(self->error.code, WEFT_ERR_GROUP_FULL);
    assert_ok(s_join(self, 1000, "a0*")); // one that it has
    assert_ok(s_join(self, 1001, "name"));
    assert_ok(s_leave(self, 2, false));
    assert_ok(s_join(self, 1002, "b*"));
}

// Each is matched against every topic there is, which has to end soon.
static void test_groups__the_length_of_all_globs_is_bounded(void **state)
{
    struct fixture *self = *state;
    char glob[WEFT_TOPIC_NAME_BYTES_MAX + 1];
    uint32_t members = 0;
    for (;; members++) {
        snprintf(glob, sizeof glob, "*[%0200u]", members);
        if (s_join(self, members + 1, glob) != WEFT_OK) break;
        assert_in_range(members, 0, WEFT_GROUP_GLOB_BYTES_MAX / 203);
    }
    assert_int_equal(members, WEFT_GROUP_GLOB_BYTES_MAX / 203);
    assert_int_equal(self->error.code, WEFT_ERR_GROUP_FULL);
    assert_ok(s_join(self, 1000, "a*")); // this one fits
    assert_ok(s_leave(self, 1, false));
    assert_ok(s_join(self, 1001, glob));
}

// Each is worked out for all topics that its members read.
static void test_groups__different_subscriptions_of_a_group_are_bounded(void **state)
{
    struct fixture *self = *state;
    char name[16];
    uint32_t members = 0;
    for (;; members++) {
        snprintf(name, sizeof name, "t%u", members);
        if (s_join(self, members + 1, name) != WEFT_OK) break;
        assert_in_range(members, 0, WEFT_GROUP_SUBSCRIPTIONS_MAX);
    }
    assert_int_equal(members, WEFT_GROUP_SUBSCRIPTIONS_MAX);
    assert_int_equal(self->error.code, WEFT_ERR_GROUP_FULL);
    assert_ok(s_join(self, 1000, "t7")); // as another does
    assert_ok(s_leave(self, 2, false));
    assert_ok(s_join(self, 1001, name));
    s_through_snapshot(self);
}

// Subscriptions as large as they may be, none like another, until the cluster has no room; what it took can be loaded.
static void test_groups__bytes_of_all_groups_are_bounded(void **state)
{
    struct fixture *self = *state;
    char *names = weft_alloc(WEFT_GROUP_TOPICS_MAX * (WEFT_TOPIC_NAME_BYTES_MAX + 1));
    weft_slice_t topics[WEFT_GROUP_TOPICS_MAX];
    struct weft_group_joined_command it;
    weft_group_joined_command_init(&it);
    it.topics = topics;
    it.topics_count = WEFT_GROUP_TOPICS_MAX;
    char group[16];
    uint32_t members = 0;
    for (weft_err_t err = WEFT_OK; !err; members++) {
        snprintf(group, sizeof group, "g%u", members / WEFT_GROUP_SUBSCRIPTIONS_MAX);
        it.group = weft_slice_text(group);
        for (size_t i = 0; i < WEFT_GROUP_TOPICS_MAX; i++) {
            char *name = names + i * (WEFT_TOPIC_NAME_BYTES_MAX + 1);
            memset(name, 'n', WEFT_TOPIC_NAME_BYTES_MAX);
            name[snprintf(name, 64, "%u-%zu", members, i)] = '-';
            topics[i] = weft_slice(name, WEFT_TOPIC_NAME_BYTES_MAX);
        }
        it.member = s_id(members + 1);
        weft_group_joined_command_encode(&it, &self->command);
        err = s_apply(self);
        if (err) assert_int_equal(err, WEFT_ERR_GROUP_FULL);
        assert_in_range(members, 0, 1000);
    }
    assert_true(members > 500);
    free(names);
    size_t in_all = 0;
    const struct weft_group *found;
    for (size_t cursor = 0; (found = weft_groups_next(self->groups, &cursor));) in_all += found->member_count;
    assert_int_equal(in_all, members - 1);
    s_through_snapshot(self);
    assert_ok(s_join(self, 2000, "small"));
}

static void test_groups__stale_and_wrong_targets_are_refused(void **state)
{
    struct fixture *self = *state;
    s_create(self, "a", 100, 2);
    s_create(self, "b", 101, 2);
    assert_ok(s_join(self, 1, "a"));
    weft_buf_t plan;
    weft_buf_init(&plan);
    weft_groups_plan(s_group(self), self->cluster, &plan);
    assert_ok(s_join(self, 2, "a")); // meanwhile
    weft_buf_append(&self->command, plan.data, plan.size);
    assert_err(s_apply(self), WEFT_ERR_STALE_EPOCH);
    assert_int_equal(s_group(self)->epoch, 0);
    weft_buf_fini(&plan);
    struct weft_group_assigned_command it;
    weft_group_assigned_command_init(&it);
    uint32_t partitions[2] = {0, 1};
    const struct {
        uint32_t topic, first, count, members;
    } wrong[] = {{101, 0, 1, 1}, {102, 0, 1, 1}, {100, 1, 2, 1}, {100, 0, 1, 2}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        partitions[0] = wrong[i].first; // not read; unknown; not ascending; twice
        struct weft_target_topic topic = {
            .topic_id = s_id(wrong[i].topic), .partitions = partitions, .partitions_count = wrong[i].count};
        struct weft_member_target members[2] = {{.member = s_id(1), .topics = &topic, .topics_count = 1},
                                                {.member = s_id(2), .topics = &topic, .topics_count = 1}};
        it.group = weft_slice_text("g");
        it.digest = weft_groups_inputs(s_group(self), self->cluster);
        it.members = members;
        it.members_count = wrong[i].members;
        weft_group_assigned_command_encode(&it, &self->command);
        assert_err(s_apply(self), WEFT_ERR_INVALID_REQUEST);
    }
    struct weft_member_target nobody = {.member = s_id(7)};
    it.members = &nobody;
    it.members_count = 1;
    weft_group_assigned_command_encode(&it, &self->command);
    assert_err(s_apply(self), WEFT_ERR_STALE_EPOCH);
}

static void test_groups__releases_out_of_place_are_refused(void **state)
{
    struct fixture *self = *state;
    s_create(self, "a", 100, 2);
    assert_err(s_release_at(self, 1, 1, 1), WEFT_ERR_UNKNOWN_GROUP);
    assert_ok(s_join(self, 1, "a"));
    assert_err(s_release_at(self, 2, 1, 1), WEFT_ERR_UNKNOWN_MEMBER);
    assert_err(s_release_at(self, 1, 1, 1), WEFT_ERR_FENCED_MEMBER);
    assert_err(s_release_at(self, 1, s_member(self, 1)->epoch, self->index + 5), WEFT_ERR_INVALID_REQUEST);
    assert_ok(s_leave(self, 77, false));
}

static weft_err_t s_delete(struct fixture *self)
{
    struct weft_group_deleted_command it;
    weft_group_deleted_command_init(&it);
    it.group = weft_slice_text("g");
    weft_group_deleted_command_encode(&it, &self->command);
    return s_apply(self);
}

static weft_err_t s_token(struct fixture *self)
{
    struct weft_group_tokened_command it;
    weft_group_tokened_command_init(&it);
    it.group = weft_slice_text("g");
    weft_group_tokened_command_encode(&it, &self->command);
    return s_apply(self);
}

static void test_groups__only_empty_groups_are_deleted_and_tokened(void **state)
{
    struct fixture *self = *state;
    s_create(self, "a", 100, 2);
    assert_err(s_delete(self), WEFT_ERR_UNKNOWN_GROUP);
    assert_ok(s_token(self)); // offsets may be there
    assert_ok(s_join(self, 1, "a"));
    s_settle(self);
    assert_err(s_delete(self), WEFT_ERR_GROUP_NOT_EMPTY);
    assert_non_null(strstr(self->error.text, "program")); // who is in it
    assert_err(s_token(self), WEFT_ERR_GROUP_NOT_EMPTY);
    assert_ok(s_leave(self, 1, false));
    assert_ok(s_token(self));
    assert_int_equal(weft_groups_count(self->groups), 1);
    assert_ok(s_delete(self));
    assert_int_equal(self->changed, 1);
    assert_null(weft_groups_find(self->groups, weft_slice_text("g")));
    assert_err(s_delete(self), WEFT_ERR_UNKNOWN_GROUP);
    uint64_t deleted = self->index;
    assert_ok(s_join(self, 1, "a"));
    s_settle(self);
    assert_true(s_held(self, 1, 100, 0)->token > deleted); // tokens never restart (rule 20)
}

static void test_groups__commands_wait_for_their_feature_level(void **state)
{
    struct fixture *self = *state;
    weft_cluster_destroy(&self->cluster);
    self->cluster = weft_cluster_new();
    assert_err(s_join(self, 1, "a"), WEFT_ERR_BAD_FRAME);
    s_raise(self, 2);
    assert_ok(s_join(self, 1, "a"));
    assert_err(weft_groups_apply(self->groups, self->cluster, self->index, WEFT_SLICE_NIL, NULL, NULL, NULL),
               WEFT_ERR_INVALID_REQUEST); // applied before
    weft_buf_append(&self->command, "\x81", 1);
    assert_false(weft_groups_command(weft_buf_slice(&self->command)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_groups__bad_joins_are_refused_and_change_nothing),
        TEST(test_groups__patterns_are_names_or_closed_globs),
        TEST(test_groups__full_is_full),
        TEST(test_groups__globs_of_a_group_are_bounded),
        TEST(test_groups__the_length_of_all_globs_is_bounded),
        TEST(test_groups__different_subscriptions_of_a_group_are_bounded),
        TEST(test_groups__bytes_of_all_groups_are_bounded),
        TEST(test_groups__stale_and_wrong_targets_are_refused),
        TEST(test_groups__releases_out_of_place_are_refused),
        TEST(test_groups__only_empty_groups_are_deleted_and_tokened),
        TEST(test_groups__commands_wait_for_their_feature_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
