// SPDX-License-Identifier: MPL-2.0
// Guard: exactly one msgpack value within the limits passes, everything else is refused with a sentence that names the byte.
#include "lib/wire/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct weft_guard_limits s_limits = {
    .bytes_max = 100, .depth_max = 4, .count_max = 10, .string_bytes_max = 20};

// The bytes stand at the end of their allocation, so that a sanitizer sees a read beyond them.
static weft_err_t s_check_limits(const void *bytes, size_t size, const struct weft_guard_limits *limits,
                                 struct weft_error *error)
{
    uint8_t *exact = malloc(size ? size : 1);
    memcpy(exact, bytes, size);
    weft_err_t err = weft_guard_check(weft_slice(exact, size), limits, error);
    free(exact);
    return err;
}

static void s_good(const void *bytes, size_t size)
{
    struct weft_error error = {.text = ""};
    if (s_check_limits(bytes, size, &s_limits, &error)) fail_msg("%s", error.text);
    for (size_t cut = 0; cut < size; cut++)
        if (s_check_limits(bytes, cut, &s_limits, NULL) != WEFT_ERR_BAD_FRAME)
            fail_msg("cut to %zu of %zu passes", cut, size);
    uint8_t longer[128] = {0};
    memcpy(longer, bytes, size);
    assert_int_equal(s_check_limits(longer, size + 1, &s_limits, &error), WEFT_ERR_BAD_FRAME);
    assert_non_null(strstr(error.text, "follows the value"));
}

static void s_bad(const void *bytes, size_t size, const char *sentence_part)
{
    struct weft_error error = {.text = ""};
    assert_int_equal(s_check_limits(bytes, size, &s_limits, &error), WEFT_ERR_BAD_FRAME);
    if (!strstr(error.text, sentence_part)) fail_msg("'%s' does not say '%s'", error.text, sentence_part);
    assert_int_equal(s_check_limits(bytes, size, &s_limits, NULL), WEFT_ERR_BAD_FRAME);
}

#define GOOD(text) s_good(text, sizeof(text) - 1)
#define BAD(text, sentence_part) s_bad(text, sizeof(text) - 1, sentence_part)

static void test_guard__every_format_passes_whole_and_is_refused_cut_or_followed(void **state)
{
    GOOD("\x00");
    GOOD("\x7f");
    GOOD("\xff");
    GOOD("\x80");
    GOOD("\x82\xa1"
         "a\x01\xa1"
         "b\x02");
    GOOD("\x90");
    GOOD("\x93\x01\x02\x03");
    GOOD("\xa3"
         "abc");
    GOOD("\xc0");
    GOOD("\xc2");
    GOOD("\xc3");
    GOOD("\xc4\x02"
         "ab");
    GOOD("\xc5\x00\x02"
         "ab");
    GOOD("\xc6\x00\x00\x00\x02"
         "ab");
    GOOD("\xc7\x02\x07"
         "ab");
    GOOD("\xc8\x00\x02\x07"
         "ab");
    GOOD("\xc9\x00\x00\x00\x02\x07"
         "ab");
    GOOD("\xca\x00\x00\x00\x00");
    GOOD("\xcb\x00\x00\x00\x00\x00\x00\x00\x00");
    GOOD("\xcc\xff");
    GOOD("\xcd\xff\xff");
    GOOD("\xce\xff\xff\xff\xff");
    GOOD("\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    GOOD("\xd0\xff");
    GOOD("\xd1\xff\xff");
    GOOD("\xd2\xff\xff\xff\xff");
    GOOD("\xd3\xff\xff\xff\xff\xff\xff\xff\xff");
    GOOD("\xd4\x07"
         "a");
    GOOD("\xd5\x07"
         "ab");
    GOOD("\xd6\x07"
         "abcd");
    GOOD("\xd7\x07"
         "abcdefgh");
    GOOD("\xd8\x07"
         "abcdefghabcdefgh");
    GOOD("\xd9\x02"
         "ab");
    GOOD("\xda\x00\x02"
         "ab");
    GOOD("\xdb\x00\x00\x00\x02"
         "ab");
    GOOD("\xdc\x00\x02\x01\x02");
    GOOD("\xdd\x00\x00\x00\x02\x01\x02");
    GOOD("\xde\x00\x01\x01\x02");
    GOOD("\xdf\x00\x00\x00\x01\x01\x02");
    GOOD("\x81\x92\x01\x02\x92\x91\xc0\x80");
}

static void test_guard__nothing_and_illegal_heads_are_refused(void **state)
{
    BAD("", "empty");
    BAD("\xc1", "byte 0 is c1");
    BAD("\x91\xc1", "byte 1 is c1");
    BAD("\x92\x01", "can hold at most");
    BAD("\x01\x01", "byte 1 follows the value");
}

static void test_guard__counts_that_lie_are_refused_before_they_are_believed(void **state)
{
    BAD("\xdd\x0f\xff\xff\xff", "byte 0 announces an array of 268435455, but what remains can hold at most 0");
    BAD("\xdd\xff\xff\xff\xff\x01\x01", "can hold at most 2");
    BAD("\xdf\x80\x00\x00\x00\x01\x01\x01", "can hold at most 1");
    BAD("\xdf\xff\xff\xff\xff", "announces a map");
    BAD("\xc6\xff\xff\xff\xff"
        "abc",
        "announces a string of 4294967295");
    BAD("\xc9\xff\xff\xff\xff"
        "abc",
        "announces a string of 4294967296");
    BAD("\xdb\x00\x00\x00\x04"
        "abc",
        "announces a string of 4, but the bytes that remain are 3");
}

static void test_guard__limits_hold_exactly(void **state)
{
    GOOD("\x9a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00");
    BAD("\x9b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "array of 11, more than the limit of 10");
    GOOD("\xb4"
         "aaaaaaaaaaaaaaaaaaaa");
    BAD("\xb5"
        "aaaaaaaaaaaaaaaaaaaaa",
        "more than the bytes allowed, 20");
    GOOD("\x91\x91\x91\x01");
    GOOD("\x91\x91\x91\x90");
    BAD("\x91\x91\x91\x91\x01", "byte 4 lies deeper");
    BAD("\x91\x91\x91\x91\x90", "byte 4 lies deeper");
    BAD("\x81\x91\x91\x91\x91\x01\x01", "lies deeper");
    uint8_t large[101] = {0xd9, 99};
    BAD("\x9a\xb4"
        "aaaaaaaaaaaaaaaaaaaa\xb4"
        "aaaaaaaaaaaaaaaaaaaa\xb4"
        "aaaaaaaaaaaaaaaaaaaa\xb4"
        "aaaaaaaaaaaaaaaaaaaa"
        "\xb0"
        "aaaaaaaaaaaaaaaa\x01\x01\x01\x01\x01",
        "at most 100 are allowed");
    s_bad(large, sizeof(large), "has 101 bytes, at most 100");
}

static void test_guard__depth_of_many_siblings_is_not_summed(void **state)
{
    GOOD("\x94\x91\x91\x01\x91\x91\x01\x91\x91\x01\x02");
    GOOD("\x83\x91\x01\x91\x01\x91\x01\x91\x01\x01\x01");
}

static void test_guard__the_deepest_bomb_of_a_whole_header_is_refused(void **state)
{
    size_t size = 1 << 20;
    uint8_t *bomb = malloc(size);
    memset(bomb, 0x91, size);
    struct weft_error error;
    assert_int_equal(weft_guard_check(weft_slice(bomb, size), &weft_guard_header, &error), WEFT_ERR_BAD_FRAME);
    assert_non_null(strstr(error.text, "byte 8 lies deeper"));
    free(bomb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guard__every_format_passes_whole_and_is_refused_cut_or_followed),
        cmocka_unit_test(test_guard__nothing_and_illegal_heads_are_refused),
        cmocka_unit_test(test_guard__counts_that_lie_are_refused_before_they_are_believed),
        cmocka_unit_test(test_guard__limits_hold_exactly),
        cmocka_unit_test(test_guard__depth_of_many_siblings_is_not_summed),
        cmocka_unit_test(test_guard__the_deepest_bomb_of_a_whole_header_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
