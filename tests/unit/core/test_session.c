// SPDX-License-Identifier: MPL-2.0
// Producer sessions: REPLICATION.md rules 15 to 17, and snapshots.
#include "../../../lib/core/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PRODUCER 77

static struct weft_batch s_batch(int64_t producer, int16_t epoch, int32_t sequence, uint32_t count, int64_t offset)
{
    return (struct weft_batch){.base_offset = offset,
                               .leader_epoch = 1,
                               .format = 1,
                               .last_offset_delta = count - 1,
                               .count = count,
                               .max_timestamp_ms = 1000 + offset,
                               .producer_id = producer,
                               .producer_epoch = epoch,
                               .base_sequence = sequence};
}

static enum weft_session_verdict s_judge(const weft_sessions_t *sessions, struct weft_batch batch, int64_t *base)
{
    int64_t end = -1;
    *base = -1;
    enum weft_session_verdict verdict = weft_sessions_judge(sessions, &batch, base, &end);
    if (verdict == WEFT_SESSION_DUPLICATE) assert_int_equal(end, *base + batch.last_offset_delta + 1);
    if (verdict == WEFT_SESSION_OLD) *base = end; // it lies below
    return verdict;
}

static enum weft_session_verdict s_verdict(const weft_sessions_t *sessions, int16_t epoch, int32_t sequence,
                                           uint32_t count)
{
    int64_t base;
    return s_judge(sessions, s_batch(PRODUCER, epoch, sequence, count, 0), &base);
}

static void s_apply(weft_sessions_t *sessions, struct weft_batch batch)
{
    weft_sessions_apply(sessions, &batch);
    weft_sessions_check(sessions);
}

static void test_session__a_batch_without_producer_is_always_next(void **state)
{
    (void) state;
    weft_sessions_t *sessions = weft_sessions_new(10, 1000);
    int64_t base;
    assert_int_equal(s_judge(sessions, s_batch(-1, -1, -1, 5, 0), &base), WEFT_SESSION_NEXT);
    s_apply(sessions, s_batch(-1, -1, -1, 5, 0));
    assert_int_equal(weft_sessions_count(sessions), 0);
    weft_sessions_destroy(&sessions);
    assert_null(sessions);
}

static void test_session__an_unknown_producer_begins_at_zero_or_is_refused(void **state)
{
    (void) state;
    weft_sessions_t *sessions = weft_sessions_new(10, 1000);
    assert_int_equal(s_verdict(sessions, 0, 0, 5), WEFT_SESSION_NEXT);
    assert_int_equal(s_verdict(sessions, 0, 5, 5), WEFT_SESSION_UNKNOWN);
    assert_int_equal(s_verdict(sessions, 0, -4, 5), WEFT_SESSION_GAP);
    weft_sessions_destroy(&sessions);
}

static void test_session__a_retry_is_answered_with_the_first_offset(void **state)
{
    (void) state;
    weft_sessions_t *sessions = weft_sessions_new(10, 1000);
    s_apply(sessions, s_batch(PRODUCER, 0, 0, 5, 100));
    s_apply(sessions, s_batch(PRODUCER, 0, 5, 3, 120));
    int64_t base;
    assert_int_equal(s_judge(sessions, s_batch(PRODUCER, 0, 0, 5, 0), &base), WEFT_SESSION_DUPLICATE);
    assert_int_equal(base, 100);
    assert_int_equal(s_judge(sessions, s_batch(PRODUCER, 0, 5, 3, 0), &base), WEFT_SESSION_DUPLICATE);
    assert_int_equal(base, 120);
    assert_int_equal(s_verdict(sessions, 0, 8, 1), WEFT_SESSION_NEXT);
    weft_sessions_destroy(&sessions);
}

static void test_session__a_gap_or_an_overlap_is_refused(void **state)
{
    (void) state;
    weft_sessions_t *sessions = weft_sessions_new(10, 1000);
    s_apply(sessions, s_batch(PRODUCER, 0, 0, 5, 0));
    s_apply(sessions, s_batch(PRODUCER, 0, 5, 5, 5));
    assert_int_equal(s_verdict(sessions, 0, 11, 5), WEFT_SESSION_GAP);
    assert_int_equal(s_verdict(sessions, 0, 4, 5), WEFT_SESSION_GAP);  // overlaps both
    assert_int_equal(s_verdict(sessions, 0, 5, 6), WEFT_SESSION_GAP);  // begins like one, ends elsewhere
    assert_int_equal(s_verdict(sessions, 0, 0, 10), WEFT_SESSION_GAP); // covers both
    weft_sessions_destroy(&sessions);
}

static void test_session__remembers_a_whole_window(void **state)
{
    (void) state;
    weft_sessions_t *sessions = weft_sessions_new(10, 1000);
    for (int i = 0; i < WEFT_SESSION_WINDOW + 3; i++) s_apply(sessions, s_batch(PRODUCER, 0, i * 2, 2, 10 + i * 2));
    int64_t base;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s_judge(sessions, s_batch(PRODUCER, 0, i * 2, 2, 0), &base), WEFT_SESSION_OLD);
        assert_int_equal(base, 10 + 3 * 2); // where the window begins
    }
    for (int i = 3; i < WEFT_SESSION_WINDOW + 3; i++) {
        assert_int_equal(s_judge(sessions, s_batch(PRODUCER, 0, i * 2, 2, 0), &base), WEFT_SESSION_DUPLICATE);
        assert_int_equal(base, 10 + i * 2);
    }
    weft_sessions_destroy(&sessions);
}

static void test_session__old_is_never_said_of_what_was_not_written(void **state)
{
    (void) state;
    weft_sessions_t *sessions = weft_sessions_new(10, 1000);
    s_apply(sessions, s_batch(PRODUCER, 0, 0, 5, 0));
    assert_int_equal(s_verdict(sessions, 0, INT32_MAX - 4, 5), WEFT_SESSION_GAP); // "before" 0, yet never seen
    weft_sessions_destroy(&sessions);
}

static void test_session__sequences_wrap_at_two_to_the_31(void **state)
{
    (void) state;
    weft_sessions_t *sessions = weft_sessions_new(10, 1000);
    s_apply(sessions, s_batch(PRODUCER, 0, INT32_MAX - 9, 8, 0)); // as met in replay behind a trimmed start
    assert_int_equal(s_verdict(sessions, 0, INT32_MAX - 1, 5), WEFT_SESSION_NEXT);
    s_apply(sessions, s_batch(PRODUCER, 0, INT32_MAX - 1, 5, 8)); // MAX-1, MAX, 0, 1, 2
    assert_int_equal(s_verdict(sessions, 0, 3, 1), WEFT_SESSION_NEXT);
    assert_int_equal(s_verdict(sessions, 0, 4, 1), WEFT_SESSION_GAP);
    int64_t base;
    assert_int_equal(s_judge(sessions, s_batch(PRODUCER, 0, INT32_MAX - 1, 5, 0), &base), WEFT_SESSION_DUPLICATE);
    assert_int_equal(base, 8);
    weft_sessions_destroy(&sessions);
}

static void test_session__a_newer_epoch_fences_the_older(void **state)
{
    (void) state;
    weft_sessions_t *sessions = weft_sessions_new(10, 1000);
    s_apply(sessions, s_batch(PRODUCER, 3, 0, 5, 0));
    assert_int_equal(s_verdict(sessions, 4, 5, 5), WEFT_SESSION_GAP); // a new epoch begins at 0
    assert_int_equal(s_verdict(sessions, 4, 0, 5), WEFT_SESSION_NEXT);
    s_apply(sessions, s_batch(PRODUCER, 4, 0, 5, 5));
    assert_int_equal(s_verdict(sessions, 3, 5, 5), WEFT_SESSION_FENCED);
    assert_int_equal(s_verdict(sessions, 3, 0, 5), WEFT_SESSION_FENCED); // not even a retry
    s_apply(sessions, s_batch(PRODUCER, 3, 5, 5, 10));                   // a strange log changes nothing
    assert_int_equal(s_verdict(sessions, 4, 5, 1), WEFT_SESSION_NEXT);
    weft_sessions_destroy(&sessions);
}

static bool s_ended_at(const weft_sessions_t *sessions, int16_t epoch, int32_t sequence)
{
    struct weft_batch batch = s_batch(PRODUCER, epoch, 0, 5, 0);
    return weft_sessions_ended_at(sessions, &batch, sequence);
}

static void test_session__an_epoch_may_begin_on_the_end_of_the_one_before(void **state)
{
    (void) state;
    weft_sessions_t *sessions = weft_sessions_new(10, 1000);
    assert_true(s_ended_at(sessions, 4, 15)); // not known
    s_apply(sessions, s_batch(PRODUCER, 3, 10, 5, 0));
    assert_true(s_ended_at(sessions, 4, 15));
    assert_false(s_ended_at(sessions, 4, 14));
    assert_false(s_ended_at(sessions, 5, 15)); // an epoch lies between
    s_apply(sessions, s_batch(PRODUCER, 3, 15, 1, 5));
    assert_false(s_ended_at(sessions, 4, 15)); // it was not the end
    s_apply(sessions, s_batch(PRODUCER, 4, 0, 1, 6));
    assert_false(s_ended_at(sessions, 4, 16));
    weft_sessions_destroy(&sessions);
}

static void test_session__beyond_the_maximum_the_longest_idle_goes(void **state)
{
    (void) state;
    weft_sessions_t *sessions = weft_sessions_new(100, 1000);
    int64_t offset = 0, base;
    for (int64_t id = 0; id < 100; id++) s_apply(sessions, s_batch(id, 0, 0, 1, offset++));
    s_apply(sessions, s_batch(0, 0, 1, 1, offset++)); // 0 is active again: 1 is the longest idle
    s_apply(sessions, s_batch(100, 0, 0, 1, offset++));
    assert_int_equal(weft_sessions_count(sessions), 100);
    assert_int_equal(s_judge(sessions, s_batch(0, 0, 2, 1, 0), &base), WEFT_SESSION_NEXT);
    assert_int_equal(s_judge(sessions, s_batch(1, 0, 1, 1, 0), &base), WEFT_SESSION_UNKNOWN);
    assert_int_equal(s_judge(sessions, s_batch(2, 0, 1, 1, 0), &base), WEFT_SESSION_NEXT);
    weft_sessions_destroy(&sessions);
}

static void test_session__expires_by_idleness_not_by_timestamps(void **state)
{
    (void) state;
    weft_sessions_t *sessions = weft_sessions_new(10, 1000);
    int64_t base;
    s_apply(sessions, s_batch(1, 0, 0, 1, 0)); // its timestamps are of 1970
    s_apply(sessions, s_batch(2, 0, 0, 1, 1));
    weft_sessions_expire(sessions, 5000000);
    assert_int_equal(weft_sessions_count(sessions), 2);
    weft_sessions_expire(sessions, 5000900);
    s_apply(sessions, s_batch(1, 0, 1, 1, 2));
    weft_sessions_expire(sessions, 5001000);
    assert_int_equal(weft_sessions_count(sessions), 2); // exactly 1000 is not longer than 1000
    weft_sessions_expire(sessions, 5001001);
    assert_int_equal(weft_sessions_count(sessions), 1);
    assert_int_equal(s_judge(sessions, s_batch(1, 0, 2, 1, 0), &base), WEFT_SESSION_NEXT);
    weft_sessions_expire(sessions, 5002001);
    assert_int_equal(weft_sessions_count(sessions), 0);
    weft_sessions_check(sessions);
    weft_sessions_destroy(&sessions);
}

static void s_fill(weft_sessions_t *sessions)
{
    int64_t offset = 0;
    for (int round = 0; round < 80; round++) {
        for (int64_t id = 0; id < 20; id++) {
            if ((round + id) % 3 == 0) continue;
            struct weft_batch batch = s_batch(id * 1000003, (int16_t) (round / 70), 0, 3, offset);
            int64_t base, end;
            for (batch.base_sequence = 0; weft_sessions_judge(sessions, &batch, &base, &end) != WEFT_SESSION_NEXT;) {
                batch.base_sequence += 3;
            }
            s_apply(sessions, batch);
            offset += 3;
        }
    }
}

static void test_session__a_snapshot_restores_the_same_state(void **state)
{
    (void) state;
    weft_sessions_t *sessions = weft_sessions_new(50, 1000), *copy = weft_sessions_new(50, 1000);
    s_fill(sessions);
    weft_buf_t first, second;
    weft_buf_init(&first);
    weft_buf_init(&second);
    weft_sessions_encode(sessions, &first);
    assert_int_equal(weft_sessions_decode(copy, weft_buf_slice(&first)), WEFT_OK);
    weft_sessions_check(copy);
    assert_int_equal(weft_sessions_count(copy), 20);
    weft_sessions_encode(copy, &second);
    assert_true(weft_slice_equal(weft_buf_slice(&first), weft_buf_slice(&second)));
    weft_buf_fini(&first);
    weft_buf_fini(&second);
    weft_sessions_destroy(&sessions);
    weft_sessions_destroy(&copy);
}

static void test_session__a_bad_snapshot_leaves_it_cleared(void **state)
{
    (void) state;
    weft_sessions_t *sessions = weft_sessions_new(50, 1000);
    s_fill(sessions);
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_sessions_encode(sessions, &bytes);
    for (size_t size = 0; size < bytes.size; size += 1 + bytes.size / 50) {
        assert_int_equal(weft_sessions_decode(sessions, weft_slice(bytes.data, size)), WEFT_ERR_BAD_FRAME);
        assert_int_equal(weft_sessions_count(sessions), 0);
    }
    for (size_t at = 0; at < bytes.size; at++) { // any outcome but a broken invariant
        bytes.data[at] ^= 0x10;
        weft_err_t err = weft_sessions_decode(sessions, weft_buf_slice(&bytes));
        if (err != WEFT_OK) assert_int_equal(weft_sessions_count(sessions), 0);
        weft_sessions_check(sessions);
        bytes.data[at] ^= 0x10;
    }
    weft_buf_fini(&bytes);
    weft_sessions_destroy(&sessions);
}

static void test_session__replay_of_the_same_log_gives_the_same_state(void **state)
{
    (void) state;
    weft_sessions_t *a = weft_sessions_new(7, 1000), *b = weft_sessions_new(7, 1000); // with drops on the way
    s_fill(a);
    s_fill(b);
    weft_buf_t first, second;
    weft_buf_init(&first);
    weft_buf_init(&second);
    weft_sessions_encode(a, &first);
    weft_sessions_encode(b, &second);
    assert_true(weft_slice_equal(weft_buf_slice(&first), weft_buf_slice(&second)));
    weft_sessions_clear(a);
    weft_sessions_check(a);
    assert_int_equal(weft_sessions_count(a), 0);
    weft_buf_fini(&first);
    weft_buf_fini(&second);
    weft_sessions_destroy(&a);
    weft_sessions_destroy(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session__a_batch_without_producer_is_always_next),
        cmocka_unit_test(test_session__an_unknown_producer_begins_at_zero_or_is_refused),
        cmocka_unit_test(test_session__a_retry_is_answered_with_the_first_offset),
        cmocka_unit_test(test_session__a_gap_or_an_overlap_is_refused),
        cmocka_unit_test(test_session__remembers_a_whole_window),
        cmocka_unit_test(test_session__old_is_never_said_of_what_was_not_written),
        cmocka_unit_test(test_session__sequences_wrap_at_two_to_the_31),
        cmocka_unit_test(test_session__a_newer_epoch_fences_the_older),
        cmocka_unit_test(test_session__an_epoch_may_begin_on_the_end_of_the_one_before),
        cmocka_unit_test(test_session__beyond_the_maximum_the_longest_idle_goes),
        cmocka_unit_test(test_session__expires_by_idleness_not_by_timestamps),
        cmocka_unit_test(test_session__a_snapshot_restores_the_same_state),
        cmocka_unit_test(test_session__a_bad_snapshot_leaves_it_cleared),
        cmocka_unit_test(test_session__replay_of_the_same_log_gives_the_same_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
