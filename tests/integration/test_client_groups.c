// SPDX-License-Identifier: MPL-2.0
// Consumer groups by the public client against an embedded cluster on real sockets: members on their threads, offsets in
// __offsets, and the admin calls about them.
#include "client_cluster.h"

#include <stdlib.h>
#include <time.h>

#define PARTITIONS 4

static int64_t s_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/** A member, what it was told and what it read. */
struct member {
    weft_consumer_t *consumer;
    size_t owns; // by the callback
    size_t assigned, revoked, lost;
    uint64_t tokens[PARTITIONS]; // of what it owns, 0: not
    char lost_text[256];
    bool commits_on_revoke;
    size_t seen[PARTITIONS][1000];
    size_t count;
};

static void s_rebalanced(void *context, const struct weft_rebalance *rebalance)
{
    struct member *self = context;
    for (size_t i = 0; i < rebalance->count; i++) {
        uint64_t *token = &self->tokens[rebalance->partitions[i].partition];
        if (rebalance->type == WEFT_EVENT_ASSIGNED) assert_true(rebalance->partitions[i].token > *token);
        *token = rebalance->type == WEFT_EVENT_ASSIGNED ? rebalance->partitions[i].token : 0;
    }
    if (rebalance->type == WEFT_EVENT_ASSIGNED) {
        self->owns += rebalance->count;
        self->assigned++;
    } else {
        self->owns -= rebalance->count;
        if (rebalance->type == WEFT_EVENT_LOST) {
            self->lost++;
            snprintf(self->lost_text, sizeof self->lost_text, "%s", rebalance->text);
        } else
            self->revoked++;
    }
    if (rebalance->type == WEFT_EVENT_REVOKED && self->commits_on_revoke)
        assert_ok(weft_consumer_commit(self->consumer, 10000));
}

static struct member *s_member(const char *group, const char *topic, const char *a, const char *b)
{
    struct member *self = calloc(1, sizeof *self);
    char option[64];
    snprintf(option, sizeof option, "group=%s", group);
    struct weft_error error;
    weft_err_t err =
        weft_consumer_new((const char *[]){s_bootstrap, option, "reset=earliest", a ? a : "client=member", b, NULL},
                          &self->consumer, &error);
    if (err) fail_msg("%s", error.text);
    weft_consumer_on_rebalance(self->consumer, s_rebalanced, self);
    assert_ok(weft_consumer_subscribe(self->consumer, &topic, 1, (struct weft_position){0}));
    return self;
}

static void s_free(struct member *self)
{
    weft_consumer_destroy(&self->consumer);
    free(self);
}

static size_t s_poll(struct member *self, int timeout_ms)
{
    weft_records_t *records;
    weft_err_t err = weft_consumer_poll(self->consumer, timeout_ms, &records);
    if (err) fail_msg("%s: %s", weft_err_name(err), weft_consumer_error_text(self->consumer));
    size_t count = 0;
    for (struct weft_record_view record; weft_records_next(records, &record); count++)
        if (record.offset < 1000) self->seen[record.partition][record.offset]++;
    self->count += count;
    for (struct weft_consumer_event event; weft_consumer_event(self->consumer, &event);) {
        if (event.type == WEFT_EVENT_STOPPED || event.type == WEFT_EVENT_COMMIT_FAILED)
            fail_msg("%s/%d: %s", event.topic, (int) event.partition, event.text);
    }
    return count;
}

// Polls both until each owns that much; 20 s at most.
static void s_settle(struct member *a, size_t a_owns, struct member *b, size_t b_owns)
{
    int64_t deadline_ms = s_now_ms() + 20000;
    while (a->owns != a_owns || (b && b->owns != b_owns)) {
        (void) s_poll(a, 10);
        if (b) (void) s_poll(b, 10);
        if (s_now_ms() > deadline_ms) fail_msg("one owns %zu, the other %zu", a->owns, b ? b->owns : 0);
    }
}

static void s_read_until(struct member *self, size_t count)
{
    int64_t deadline_ms = s_now_ms() + 20000;
    while (self->count < count) {
        (void) s_poll(self, 100);
        if (s_now_ms() > deadline_ms) fail_msg("%zu of %zu records came", self->count, count);
    }
}

static void s_produce(const char *topic, size_t each)
{
    weft_producer_t *producer = s_producer("linger.ms=1", NULL, NULL);
    weft_topic_t *to;
    assert_ok(weft_producer_topic(producer, topic, &to));
    for (size_t i = 0; i < each * PARTITIONS; i++)
        assert_ok(weft_producer_send_wait(producer, to, (int32_t) (i % PARTITIONS), WEFT_SLICE_NIL, weft_text("v"),
                                          NULL, 10000));
    assert_ok(weft_producer_flush(producer, 10000));
    weft_producer_destroy(&producer);
}

static void test_groups__members_share_and_hand_over_without_loss(void **state)
{
    s_create("shared", PARTITIONS);
    s_produce("shared", 100);
    struct member *first = s_member("g1", "shared", NULL, NULL);
    s_settle(first, PARTITIONS, NULL, 0);
    s_read_until(first, 100);
    struct member *second = s_member("g1", "shared", NULL, NULL);
    second->commits_on_revoke = true;
    s_settle(first, 2, second, 2);
    assert_int_equal(first->lost + second->lost, 0);
    s_produce("shared", 100);
    int64_t deadline_ms = s_now_ms() + 20000;
    while (first->count + second->count < 8 * 100 && s_now_ms() < deadline_ms) {
        (void) s_poll(first, 10);
        (void) s_poll(second, 10);
    }
    int64_t begun_ms = s_now_ms();
    assert_ok(weft_consumer_close(first->consumer, 10000));
    assert_int_equal(first->owns, 0);
    s_settle(second, PARTITIONS, NULL, 0);
    assert_true(s_now_ms() - begun_ms < 5000); // at once, not when a session ends
    s_produce("shared", 50);
    s_read_until(second, second->count + 4 * 50);
    for (int p = 0; p < PARTITIONS; p++)
        for (int i = 0; i < 250; i++) {
            if (first->seen[p][i] + second->seen[p][i] < 1) fail_msg("record %d of partition %d was skipped", i, p);
            if (first->seen[p][i] + second->seen[p][i] > 1) // all hand-overs were orderly
                fail_msg("record %d of partition %d came %zu times", i, p, first->seen[p][i] + second->seen[p][i]);
        }
    s_free(first);
    s_free(second);
}

static void test_groups__resumes_where_it_was_closed(void **state)
{
    s_create("resumed", PARTITIONS);
    s_produce("resumed", 50);
    struct member *member = s_member("g2", "resumed", NULL, NULL);
    s_read_until(member, 4 * 50);
    assert_ok(weft_consumer_close(member->consumer, 10000));
    assert_int_equal(weft_consumer_close(member->consumer, 10000), WEFT_OK);
    weft_records_t *records;
    assert_int_equal(weft_consumer_poll(member->consumer, 0, &records), WEFT_ERR_LOCAL_CLOSED);
    s_free(member);
    s_produce("resumed", 10);
    member = s_member("g2", "resumed", NULL, NULL);
    s_read_until(member, 4 * 10);
    for (int p = 0; p < PARTITIONS; p++)
        for (int i = 0; i < 60; i++) assert_int_equal(member->seen[p][i], i < 50 ? 0 : 1);
    s_free(member);
}

static void test_groups__manual_commits_and_what_admin_tells(void **state)
{
    s_create("told", PARTITIONS);
    s_produce("told", 20);
    struct member *member = s_member("g3", "told", "auto.commit.ms=0", "client=worker");
    s_read_until(member, 4 * 20);
    assert_ok(weft_consumer_commit(member->consumer, 10000));
    struct weft_group_offset chosen = {
        .topic = "told", .partition = 1, .offset = 7, .leader_epoch = -1, .metadata = "half way"};
    assert_ok(weft_consumer_commit_offsets(member->consumer, &chosen, 1, 10000));
    struct weft_committed list[] = {{.topic = "told", .partition = 0}, {.topic = "told", .partition = 1}};
    assert_ok(weft_consumer_committed(member->consumer, list, 2, 10000));
    assert_int_equal(list[0].offset, 20);
    assert_int_equal(list[1].offset, 7);
    assert_string_equal(list[1].metadata, "half way");
    assert_int_equal(weft_consumer_token(member->consumer, "told", 0), member->tokens[0]);

    weft_admin_t *admin = s_admin();
    weft_group_list_t *groups;
    assert_ok(weft_admin_list_groups(admin, &groups));
    assert_int_equal(groups->unanswered, 0);
    bool listed = false;
    for (size_t i = 0; i < groups->count; i++) {
        if (strcmp(groups->groups[i].name, "g3")) continue;
        listed = true;
        assert_int_equal(groups->groups[i].members, 1);
        assert_int_equal(groups->groups[i].partitions, 4);
        assert_string_equal(groups->groups[i].state, "stable");
    }
    assert_true(listed);
    weft_group_list_destroy(&groups);
    weft_group_info_t *info;
    assert_ok(weft_admin_describe_group(admin, "g3", &info));
    assert_int_equal(info->member_count, 1);
    assert_string_equal(info->members[0].client, "worker");
    assert_true(*info->members[0].host);
    assert_int_equal(info->members[0].owns, 4);
    assert_int_equal(info->partition_count, 4);
    assert_int_equal(info->partitions[1].committed, 7);
    assert_int_equal(info->partitions[1].end, 20);
    assert_int_equal(info->partitions[1].lag, 13);
    assert_int_equal(info->partitions[1].member, 0);
    assert_string_equal(info->partitions[1].metadata, "half way");
    weft_group_info_destroy(&info);
    uint64_t token;
    assert_int_equal(weft_admin_group_token(admin, "g3", &token), WEFT_ERR_GROUP_NOT_EMPTY);
    assert_non_null(strstr(weft_admin_error_text(admin), "worker"));
    assert_int_equal(weft_admin_delete_group(admin, "g3", NULL), WEFT_ERR_GROUP_NOT_EMPTY);
    assert_int_equal(weft_admin_describe_group(admin, "nobody", &info), WEFT_ERR_UNKNOWN_GROUP);
    s_free(member); // destroy closes it

    assert_ok(weft_admin_group_token(admin, "g3", &token));
    struct weft_group_offset back[] = {{.topic = "told", .partition = 0, .offset = 15, .leader_epoch = -1},
                                       {.topic = "told", .partition = 1, .offset = 20, .leader_epoch = -1}};
    size_t committed;
    assert_ok(weft_admin_commit_group_offsets(admin, "g3", token, back, 2, &committed));
    assert_int_equal(committed, 2);
    assert_int_equal(weft_admin_commit_group_offsets(admin, "g3", token - 1, back, 1, &committed), WEFT_ERR_FENCED);
    member = s_member("g3", "told", "auto.commit.ms=0", NULL);
    s_read_until(member, 5);
    assert_int_equal(member->seen[0][15], 1);
    assert_int_equal(member->seen[0][14] + member->seen[1][19] + member->seen[2][19], 0);
    assert_ok(weft_consumer_close(member->consumer, 10000));
    s_free(member);
    uint32_t deleted;
    assert_ok(weft_admin_delete_group(admin, "g3", &deleted));
    assert_int_equal(deleted, 4);
    assert_int_equal(weft_admin_delete_group(admin, "g3", &deleted), WEFT_ERR_UNKNOWN_GROUP);
    weft_admin_destroy(&admin);
}

static void test_groups__who_stops_polling_loses_all_and_comes_back(void **state)
{
    s_create("stopped", PARTITIONS);
    s_produce("stopped", 10);
    struct member *lazy = s_member("g4", "stopped", "max.poll.ms=700", NULL);
    s_settle(lazy, PARTITIONS, NULL, 0);
    struct member *other = s_member("g4", "stopped", NULL, NULL);
    s_settle(lazy, 2, other, 2);
    int64_t deadline_ms = s_now_ms() + 20000;
    while (other->owns < PARTITIONS && s_now_ms() < deadline_ms) (void) s_poll(other, 50); // and `lazy` does not
    assert_int_equal(other->owns, PARTITIONS);
    assert_int_equal(lazy->lost, 0); // nothing is called behind its back
    s_settle(lazy, 2, other, 2);
    assert_int_equal(lazy->lost, 1);
    assert_non_null(strstr(lazy->lost_text, "did not poll"));
    s_free(lazy);
    s_free(other);
}

static void test_groups__a_reader_without_membership_resumes_too(void **state)
{
    s_create("alone", PARTITIONS);
    s_produce("alone", 10);
    for (int round = 0; round < 2; round++) {
        weft_consumer_t *consumer = s_consumer("group=g5", "reset=earliest");
        struct weft_assignment all = {.topic = "alone", .partition = WEFT_PARTITION_ALL};
        assert_ok(weft_consumer_assign(consumer, &all, 1));
        size_t count = 0;
        int64_t deadline_ms = s_now_ms() + 20000;
        while (!weft_consumer_at_end(consumer) && s_now_ms() < deadline_ms) {
            weft_records_t *records;
            assert_ok(weft_consumer_poll(consumer, 100, &records));
            for (struct weft_record_view record; weft_records_next(records, &record);) count++;
        }
        assert_true(weft_consumer_at_end(consumer));
        assert_int_equal(count, round ? 0 : 4 * 10);
        assert_ok(weft_consumer_commit(consumer, 10000));
        weft_consumer_destroy(&consumer);
    }
}

static void test_groups__a_wake_interrupts_only_when_the_program_wakes(void **state)
{
    s_create("woken", PARTITIONS);
    struct member *member = s_member("g6", "woken", NULL, NULL);
    s_settle(member, PARTITIONS, NULL, 0);
    weft_consumer_wake(member->consumer);
    weft_records_t *records;
    int64_t deadline_ms = s_now_ms() + 10000;
    weft_err_t err;
    do err = weft_consumer_poll(member->consumer, 1000, &records);
    while (!err && s_now_ms() < deadline_ms);
    assert_int_equal(err, WEFT_ERR_INTERRUPTED);
    assert_ok(weft_consumer_poll(member->consumer, 500, &records));
    weft_consumer_wake(member->consumer);
    assert_ok(weft_consumer_close(member->consumer, 10000)); // what a program does that was woken
    assert_int_equal(member->revoked, 1);
    s_free(member);
    weft_consumer_t *consumer;
    struct weft_error error;
    assert_int_equal(weft_consumer_new((const char *[]){s_bootstrap, "group=a\nb", NULL}, &consumer, &error),
                     WEFT_ERR_INVALID_OPTION);
    assert_ok(
        weft_consumer_new((const char *[]){s_bootstrap, "group=g7", "assignor=lottery", NULL}, &consumer, &error));
    assert_ok(weft_consumer_subscribe(consumer, (const char *const[]){"woken"}, 1, (struct weft_position){0}));
    do err = weft_consumer_poll(consumer, 1000, &records);
    while (!err && s_now_ms() < deadline_ms);
    assert_int_equal(err, WEFT_ERR_UNSUPPORTED_ASSIGNOR);
    weft_consumer_destroy(&consumer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups__members_share_and_hand_over_without_loss),
        cmocka_unit_test(test_groups__resumes_where_it_was_closed),
        cmocka_unit_test(test_groups__manual_commits_and_what_admin_tells),
        cmocka_unit_test(test_groups__who_stops_polling_loses_all_and_comes_back),
        cmocka_unit_test(test_groups__a_reader_without_membership_resumes_too),
        cmocka_unit_test(test_groups__a_wake_interrupts_only_when_the_program_wakes),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
