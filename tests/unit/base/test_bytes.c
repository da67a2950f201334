// SPDX-License-Identifier: MPL-2.0
#include "lib/base/bytes.h"

#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void test_bytes__nil_and_empty_differ(void **state)
{
    weft_slice_t empty = weft_slice("", 0);
    assert_false(weft_slice_equal(WEFT_SLICE_NIL, empty));
    assert_true(weft_slice_equal(WEFT_SLICE_NIL, WEFT_SLICE_NIL));
    assert_true(weft_slice_equal(empty, weft_slice_text("")));
    assert_null(weft_slice_text(NULL).data);
    assert_true(weft_slice_is_text(WEFT_SLICE_NIL, NULL));
    assert_false(weft_slice_is_text(WEFT_SLICE_NIL, ""));
}

static void test_bytes__slices_order_bytewise_shorter_first(void **state)
{
    assert_true(weft_slice_compare(weft_slice_text("a"), weft_slice_text("b")) < 0);
    assert_true(weft_slice_compare(weft_slice_text("ab"), weft_slice_text("a")) > 0);
    assert_true(weft_slice_compare(weft_slice_text("\xff"), weft_slice_text("a")) > 0);
    assert_int_equal(weft_slice_compare(weft_slice_text("same"), weft_slice_text("same")), 0);
    assert_true(weft_slice_compare(WEFT_SLICE_NIL, weft_slice_text("a")) < 0);
}

static void test_bytes__hash_sees_every_byte_and_the_size(void **state)
{
    uint8_t data[40] = {0};
    for (size_t size = 0; size <= sizeof data; size++) {
        uint64_t hash = weft_slice_hash(weft_slice(data, size), 1);
        assert_true(hash == weft_slice_hash(weft_slice(data, size), 1));
        assert_true(hash != weft_slice_hash(weft_slice(data, size), 2));
        if (size) assert_true(hash != weft_slice_hash(weft_slice(data, size - 1), 1));
        for (size_t i = 0; i < size; i++) {
            data[i] ^= 1;
            assert_true(hash != weft_slice_hash(weft_slice(data, size), 1));
            data[i] ^= 1;
        }
    }
}

static void test_bytes__dup_is_terminated(void **state)
{
    char *copy = weft_slice_dup(weft_slice("abcdef", 3));
    assert_string_equal(copy, "abc");
    free(copy);
    copy = weft_slice_dup(WEFT_SLICE_NIL);
    assert_string_equal(copy, "");
    free(copy);
}

static void test_bytes__buf_grows_and_keeps_its_bytes(void **state)
{
    weft_buf_t buf;
    weft_buf_init(&buf);
    weft_buf_append(&buf, NULL, 0);
    for (int i = 0; i < 10000; i++) weft_buf_append(&buf, "0123456789", 10);
    assert_int_equal(buf.size, 100000);
    assert_true(buf.capacity >= buf.size);
    for (size_t i = 0; i < buf.size; i++) assert_int_equal(buf.data[i], '0' + (int) (i % 10));
    uint8_t *memory = buf.data;
    weft_buf_clear(&buf);
    weft_buf_append(&buf, "x", 1);
    assert_ptr_equal(buf.data, memory);
    weft_buf_fini(&buf);
    assert_null(buf.data);
}

static void test_bytes__buf_printf_appends_without_the_terminator(void **state)
{
    weft_buf_t buf;
    weft_buf_init(&buf);
    weft_buf_printf(&buf, "%s-%d", "a", 7);
    weft_buf_printf(&buf, "%s", "");
    weft_buf_printf(&buf, "%0200d", 1);
    assert_int_equal(buf.size, 203);
    assert_memory_equal(buf.data, "a-7000", 6);
    weft_buf_fini(&buf);
}

static void test_bytes__arena_gives_zeroed_aligned_memory_again_after_a_reset(void **state)
{
    weft_arena_t arena;
    weft_arena_init(&arena);
    for (int round = 0; round < 3; round++) {
        for (size_t size = 0; size < 3000; size += 7) {
            uint8_t *memory = weft_arena_alloc(&arena, size);
            assert_int_equal((uintptr_t) memory % 16, 0);
            for (size_t i = 0; i < size; i++) assert_int_equal(memory[i], 0);
            memset(memory, 0xee, size);
        }
        assert_true(arena.used_bytes > 0);
        weft_arena_reset(&arena);
        assert_int_equal(arena.used_bytes, 0);
    }
    uint8_t *large = weft_arena_alloc(&arena, 5 << 20);
    large[(5 << 20) - 1] = 1;
    assert_string_equal(weft_arena_text(&arena, weft_slice("topics", 5)), "topic");
    weft_arena_reset(&arena);
    weft_arena_fini(&arena);
}

static void test_bytes__id_text_reads_back(void **state)
{
    weft_id_t id = {{0x00, 0x01, 0xab, 0xff}}, read;
    char text[WEFT_ID_TEXT_BYTES];
    weft_id_text(id, text);
    assert_string_equal(text, "0001abff000000000000000000000000");
    assert_ok(weft_id_parse(text, &read));
    assert_true(weft_id_equal(id, read));
    assert_false(weft_id_is_zero(id));
    assert_true(weft_id_is_zero((weft_id_t){{0}}));
}

static void test_bytes__id_refuses_what_is_no_id(void **state)
{
    weft_id_t id = {{9}};
    assert_err(weft_id_parse(NULL, &id), WEFT_ERR_WRONG_FORMAT);
    assert_err(weft_id_parse("", &id), WEFT_ERR_WRONG_FORMAT);
    assert_err(weft_id_parse("0001abff00000000000000000000000", &id), WEFT_ERR_WRONG_FORMAT);
    assert_err(weft_id_parse("0001abff0000000000000000000000000", &id), WEFT_ERR_WRONG_FORMAT);
    assert_err(weft_id_parse("0001abff00000000000000000000000g", &id), WEFT_ERR_WRONG_FORMAT);
    assert_int_equal(id.bytes[0], 9); // written only on success
    assert_true(weft_id_is_zero(weft_id_of_slice(weft_slice("0123456789abcde", 15))));
    assert_true(weft_id_is_zero(weft_id_of_slice(WEFT_SLICE_NIL)));
    id = weft_id_of_slice(weft_slice("0123456789abcdef", 16));
    assert_true(weft_slice_is_text(weft_id_slice(&id), "0123456789abcdef"));
}

static void test_bytes__error_keeps_code_and_cut_sentence(void **state)
{
    struct weft_error error;
    assert_int_equal(weft_error_set(&error, WEFT_ERR_BAD_BATCH, "%s %d", "count is", 5), WEFT_ERR_BAD_BATCH);
    assert_int_equal(error.code, WEFT_ERR_BAD_BATCH);
    assert_string_equal(error.text, "count is 5");
    assert_int_equal(weft_error_set(NULL, WEFT_ERR_BAD_CRC, "nobody reads %d", 1), WEFT_ERR_BAD_CRC);
    weft_error_set(&error, WEFT_ERR_INTERNAL, "%0600d", 1);
    assert_int_equal(strlen(error.text), WEFT_ERROR_TEXT_BYTES_MAX - 1);
}

static void test_bytes__error_sentence_is_text_whatever_it_quotes(void **state)
{
    static const char *const cases[][2] = {
        {"h\xc3\xa4\xc3\x9f \xe6\x97\xa5 \xf0\x9f\x98\x80", "h\xc3\xa4\xc3\x9f \xe6\x97\xa5 \xf0\x9f\x98\x80"},
        {"a\nb\tc\x1b[31m\x7f", "a?b?c?[31m?"},        // a terminal's orders
        {"\xff\xfe", "??"},                            // never UTF-8
        {"\x80 \xc3", "? ?"},                          // the end of a character, its beginning
        {"\xc0\xaf \xe0\x80\xaf", "?? ???"},           // longer than needed
        {"\xed\xa0\x80 \xf4\x90\x80\x80", "??? ????"}, // a surrogate, beyond Unicode
        {"\xe6\x97", "??"},                            // cut off
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weft_error error;
        weft_error_set(&error, WEFT_ERR_INVALID_CONFIG, "'%s'", cases[i][0]);
        char expected[64];
        snprintf(expected, sizeof expected, "'%s'", cases[i][1]);
        assert_string_equal(error.text, expected);
    }
}

static void test_bytes__errno_maps_to_codes(void **state)
{
    assert_int_equal(weft_err_of_errno(ENOSPC), WEFT_ERR_DISK_FULL);
    assert_int_equal(weft_err_of_errno(EDQUOT), WEFT_ERR_DISK_FULL);
    assert_int_equal(weft_err_of_errno(ENOENT), WEFT_ERR_NOT_FOUND);
    assert_int_equal(weft_err_of_errno(EIO), WEFT_ERR_DISK_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes__nil_and_empty_differ),
        cmocka_unit_test(test_bytes__slices_order_bytewise_shorter_first),
        cmocka_unit_test(test_bytes__hash_sees_every_byte_and_the_size),
        cmocka_unit_test(test_bytes__dup_is_terminated),
        cmocka_unit_test(test_bytes__buf_grows_and_keeps_its_bytes),
        cmocka_unit_test(test_bytes__buf_printf_appends_without_the_terminator),
        cmocka_unit_test(test_bytes__arena_gives_zeroed_aligned_memory_again_after_a_reset),
        cmocka_unit_test(test_bytes__id_text_reads_back),
        cmocka_unit_test(test_bytes__id_refuses_what_is_no_id),
        cmocka_unit_test(test_bytes__error_keeps_code_and_cut_sentence),
        cmocka_unit_test(test_bytes__error_sentence_is_text_whatever_it_quotes),
        cmocka_unit_test(test_bytes__errno_maps_to_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
