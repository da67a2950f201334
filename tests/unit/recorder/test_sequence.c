// SPDX-License-Identifier: MPL-2.0
#include "nodes/recorder/sequence.h"

#include "lib/base/rand.h"
#include "tests/support/test.h"

#include <stdio.h>

static weft_sequences_t *s_new(enum weft_sequence_format format, int64_t per, size_t streams_max)
{
    return weft_sequences_new(
        &(struct weft_sequence_settings){.frame = 0, .format = format, .per = per, .streams_max = streams_max});
}

// Decimal numbers, one after the other; returns what was missing before the last.
static uint64_t s_see(weft_sequences_t *self, const uint64_t *numbers, size_t count)
{
    uint64_t missing = 0;
    for (size_t i = 0; i < count; i++) {
        char text[24];
        snprintf(text, sizeof text, "%llu", (unsigned long long) numbers[i]);
        weft_slice_t frame = weft_text(text);
        missing = weft_sequences_see(self, &frame, 1);
    }
    return missing;
}
#define SEE(self, ...) s_see(self, (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / 8)

static void s_check(weft_sequences_t **self_p, uint64_t gaps, uint64_t missing, uint64_t duplicates, uint64_t resets)
{
    const struct weft_sequence_counts *counts = weft_sequences_counts(*self_p);
    assert_int_equal(counts->gaps, gaps);
    assert_int_equal(counts->missing, missing);
    assert_int_equal(counts->duplicates, duplicates);
    assert_int_equal(counts->resets, resets);
    weft_sequences_destroy(self_p);
}

static void test_sequence__gaps_are_counted_with_what_is_missing(void **state)
{
    weft_sequences_t *self = s_new(WEFT_SEQUENCE_DECIMAL, -1, 1);
    assert_int_equal(SEE(self, 7, 8, 9), 0);
    assert_int_equal(SEE(self, 12), 2);
    assert_int_equal(SEE(self, 13), 0);
    assert_int_equal(SEE(self, 113), 99);
    s_check(&self, 2, 101, 0, 0);
}

static void test_sequence__what_is_sent_again_is_no_gap(void **state)
{
    weft_sequences_t *self = s_new(WEFT_SEQUENCE_DECIMAL, -1, 1);
    SEE(self, 0, 1, 2, 3, 4, 4, 2, 3, 4, 5, 6);
    s_check(&self, 0, 0, 4, 0);
}

static void test_sequence__a_sender_that_starts_again_is_a_reset(void **state)
{
    weft_sequences_t *self = s_new(WEFT_SEQUENCE_DECIMAL, -1, 1);
    SEE(self, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5);
    s_check(&self, 0, 0, 0, 1);
    self = s_new(WEFT_SEQUENCE_DECIMAL, -1, 1);
    SEE(self, 5000, 5001, 1, 2, 3, 9000000000000000000u, 9000000000000000001u);
    s_check(&self, 0, 0, 0, 2);
}

static void test_sequence__numbers_may_wrap(void **state)
{
    weft_sequences_t *self = s_new(WEFT_SEQUENCE_U32LE, -1, 1);
    static const char *const numbers[] = {"\xfe\xff\xff\xff", "\xff\xff\xff\xff", "\x00\x00\x00\x00",
                                          "\x03\x00\x00\x00"};
    uint64_t missing = 0;
    for (int i = 0; i < 4; i++) {
        weft_slice_t frame = weft_bytes(numbers[i], 4);
        missing = weft_sequences_see(self, &frame, 1);
    }
    assert_int_equal(missing, 2);
    s_check(&self, 1, 2, 0, 0);
    self = s_new(WEFT_SEQUENCE_DECIMAL, -1, 1);
    SEE(self, UINT64_MAX - 1, UINT64_MAX, 0, 1);
    s_check(&self, 0, 0, 0, 0);
}

static void s_check_format(enum weft_sequence_format format, weft_slice_t one, weft_slice_t four)
{
    weft_sequences_t *self = s_new(format, -1, 1);
    assert_int_equal(weft_sequences_see(self, &one, 1), 0);
    assert_int_equal(weft_sequences_see(self, &four, 1), 2);
    assert_int_equal(weft_sequences_counts(self)->unreadable, 0);
    weft_sequences_destroy(&self);
}

static void test_sequence__all_formats_are_read(void **state)
{
    s_check_format(WEFT_SEQUENCE_U64BE, weft_bytes("\0\0\0\0\0\0\1\1", 8), weft_bytes("\0\0\0\0\0\0\1\4", 8));
    s_check_format(WEFT_SEQUENCE_U64LE, weft_bytes("\1\1\0\0\0\0\0\0", 8), weft_bytes("\4\1\0\0\0\0\0\0", 8));
    s_check_format(WEFT_SEQUENCE_U32BE, weft_bytes("\0\0\1\1", 4), weft_bytes("\0\0\1\4", 4));
    s_check_format(WEFT_SEQUENCE_U32LE, weft_bytes("\1\1\0\0", 4), weft_bytes("\4\1\0\0", 4));
    s_check_format(WEFT_SEQUENCE_DECIMAL, weft_text("257"), weft_text("0260"));
}

static void test_sequence__what_can_t_be_read_is_counted(void **state)
{
    weft_sequences_t *self = s_new(WEFT_SEQUENCE_DECIMAL, -1, 1);
    static const char *const wrong[] = {
        "", "x", "-1", "1 ", "18446744073709551616", "99999999999999999999", "000000000000000000000"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        weft_slice_t frame = weft_text(wrong[i]);
        assert_int_equal(weft_sequences_see(self, &frame, 1), 0);
    }
    assert_int_equal(weft_sequences_see(self, NULL, 0), 0);
    assert_int_equal(weft_sequences_counts(self)->unreadable, 8);
    s_check(&self, 0, 0, 0, 0);
}

static void test_sequence__each_stream_has_its_own_up_to_the_most(void **state)
{
    weft_sequences_t *self = s_new(WEFT_SEQUENCE_DECIMAL, 1, 3);
    char name[300];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100; i++) {
            snprintf(name, sizeof name, "stream %d", i);
            char number[8];
            snprintf(number, sizeof number, "%d", round * (i + 1));
            weft_slice_t frames[] = {weft_text(number), weft_text(name)};
            assert_int_equal(weft_sequences_see(self, frames, 2), i < 3 && round ? i : 0);
        }
    }
    memset(name, 'n', sizeof name);
    weft_slice_t frames[] = {weft_text("1"), weft_bytes(name, sizeof name)};
    assert_int_equal(weft_sequences_see(self, frames, 2), 0);
    assert_int_equal(weft_sequences_see(self, frames, 1), 0);
    assert_int_equal(weft_sequences_counts(self)->streams, 3);
    assert_int_equal(weft_sequences_counts(self)->untracked, 3 * 97 + 2);
    s_check(&self, 4, 6, 0, 0);
}

static void test_sequence__what_was_learnt_is_gone_on_from(void **state)
{
    weft_sequences_t *self = s_new(WEFT_SEQUENCE_DECIMAL, -1, 1);
    static const struct {
        const char *number;
        int64_t ms;
    } past[] = {{"10", 1000}, {"12", 1001}, {"11", 1001}, {"7", 900}};
    for (int i = 0; i < 4; i++) {
        weft_slice_t frame = weft_text(past[i].number);
        weft_sequences_learn(self, &frame, 1, past[i].ms);
    }
    assert_int_equal(SEE(self, 15), 2);
    SEE(self, 12, 16); // sent again over the restart
    s_check(&self, 1, 2, 1, 0);
}

// A source that lies: whatever it says, memory stays as it is and the counts only grow.
static void test_sequence__a_lying_source_changes_nothing_but_counts(void **state)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 3);
    weft_sequences_t *self = s_new(WEFT_SEQUENCE_U64BE, 1, 16);
    uint64_t before = 0;
    for (int i = 0; i < 200000; i++) {
        uint64_t number = weft_rand_next(&rand) >> weft_rand_below(&rand, 64), name = weft_rand_below(&rand, 1000);
        weft_slice_t frames[] = {weft_bytes(&number, weft_rand_below(&rand, 50) ? 8 : weft_rand_below(&rand, 9)),
                                 weft_bytes(&name, weft_rand_below(&rand, 9))};
        (void) weft_sequences_see(self, frames, 1 + weft_rand_below(&rand, 2));
        const struct weft_sequence_counts *counts = weft_sequences_counts(self);
        assert_true(counts->missing >= before && counts->streams <= 16);
        before = counts->missing;
    }
    weft_sequences_destroy(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequence__gaps_are_counted_with_what_is_missing),
        cmocka_unit_test(test_sequence__what_is_sent_again_is_no_gap),
        cmocka_unit_test(test_sequence__a_sender_that_starts_again_is_a_reset),
        cmocka_unit_test(test_sequence__numbers_may_wrap),
        cmocka_unit_test(test_sequence__all_formats_are_read),
        cmocka_unit_test(test_sequence__what_can_t_be_read_is_counted),
        cmocka_unit_test(test_sequence__each_stream_has_its_own_up_to_the_most),
        cmocka_unit_test(test_sequence__what_was_learnt_is_gone_on_from),
        cmocka_unit_test(test_sequence__a_lying_source_changes_nothing_but_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
