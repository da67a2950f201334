// SPDX-License-Identifier: MPL-2.0
#include "nodes/recorder/frames.h"

#include "lib/base/rand.h"
#include "tests/support/test.h"

#include <stdio.h>

struct s_message {
    weft_slice_t *frames;
    size_t count;
    weft_buf_t bytes;
};

static weft_headers_t *s_headers;
static weft_buf_t s_buf;
static weft_slice_t s_found[WEFT_FRAMES_MAX];

static int s_setup(void **state)
{
    s_headers = weft_headers_new();
    weft_buf_init(&s_buf);
    return 0;
}

static int s_teardown(void **state)
{
    weft_headers_destroy(&s_headers);
    weft_buf_fini(&s_buf);
    return 0;
}

static struct weft_record_view s_view(const struct weft_frames_record *record)
{
    return (struct weft_record_view){.key = record->key, .value = record->value, .headers = record->headers};
}

static void s_check_round_trip(const weft_slice_t *frames, size_t count, int64_t key_frame, uint64_t missing)
{
    struct weft_frames_record record;
    weft_frames_encode(frames, count, key_frame, missing, &s_buf, s_headers, &record);
    assert_non_null(record.value.data);
    struct weft_record_view view = s_view(&record);
    size_t found;
    bool made;
    assert_ok(weft_frames_decode(&view, s_found, &found, &made));
    assert_int_equal(found, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(s_found[i].size, frames[i].size);
        if (frames[i].size) assert_memory_equal(s_found[i].data, frames[i].data, frames[i].size);
    }
}

static void test_frames__any_message_comes_back_as_it_was(void **state)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 5);
    static const size_t sizes[] = {0, 0, 1, 15, 16, 100, 255, 256, 65535, 65536, 70000};
    static uint8_t bytes[70000];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t) weft_rand_next(&rand);
    weft_slice_t *frames = weft_calloc(WEFT_FRAMES_MAX, sizeof *frames);
    for (int round = 0; round < 2000; round++) {
        size_t count = 1 + weft_rand_below(&rand, round % 10 ? 5 : 40);
        for (size_t i = 0; i < count; i++)
            frames[i] = weft_bytes(bytes, sizes[weft_rand_below(&rand, sizeof sizes / sizeof *sizes)]);
        s_check_round_trip(frames, count, (int64_t) weft_rand_below(&rand, 7) - 1, weft_rand_below(&rand, 2));
    }
    s_check_round_trip(frames, WEFT_FRAMES_MAX, -1, 0);
    s_check_round_trip(frames, WEFT_FRAMES_MAX, WEFT_FRAMES_MAX - 1, UINT64_MAX);
    free(frames);
}

static void test_frames__one_frame_is_the_value_and_nothing_else(void **state)
{
    weft_slice_t frame = weft_text("hello");
    struct weft_frames_record record;
    weft_frames_encode(&frame, 1, -1, 0, &s_buf, s_headers, &record);
    assert_slice(record.value, "hello");
    assert_null(record.key.data);
    assert_null(record.headers.data);
}

static void test_frames__topic_and_payload_become_key_and_value(void **state)
{
    weft_slice_t frames[] = {weft_text("prices"), weft_text("42")};
    struct weft_frames_record record;
    weft_frames_encode(frames, 2, 0, 0, &s_buf, s_headers, &record);
    assert_slice(record.key, "prices");
    assert_slice(record.value, "42");
}

// A nil value would delete the key in a compacted topic.
static void test_frames__a_message_that_is_only_a_key_has_an_empty_value(void **state)
{
    weft_slice_t frame = weft_text("key");
    struct weft_frames_record record;
    weft_frames_encode(&frame, 1, 0, 0, &s_buf, s_headers, &record);
    assert_slice(record.key, "key");
    assert_non_null(record.value.data);
    assert_int_equal(record.value.size, 0);
}

static void test_frames__a_record_of_others_is_its_value(void **state)
{
    struct weft_record_view view = {.key = weft_text("k"), .value = weft_text("v")};
    size_t count;
    bool made;
    assert_ok(weft_frames_decode(&view, s_found, &count, &made));
    assert_int_equal(count, 1);
    assert_false(made);
    assert_slice(s_found[0], "v");
    view.value = WEFT_SLICE_NIL;
    assert_ok(weft_frames_decode(&view, s_found, &count, &made));
    assert_non_null(s_found[0].data);
    assert_int_equal(s_found[0].size, 0);
}

static void s_check_refused(const char *frames, const char *key_frame, weft_slice_t key, weft_slice_t value)
{
    weft_headers_clear(s_headers);
    weft_headers_add(s_headers, WEFT_FRAMES_COUNT_HEADER, weft_text(frames));
    if (key_frame) weft_headers_add(s_headers, WEFT_FRAMES_KEY_HEADER, weft_text(key_frame));
    struct weft_record_view view = {.key = key, .value = value, .headers = weft_headers_encoded(s_headers)};
    size_t count;
    bool made;
    assert_err(weft_frames_decode(&view, s_found, &count, &made), WEFT_ERR_BAD_FRAME);
}

static void test_frames__headers_that_lie_are_refused(void **state)
{
    weft_slice_t two = weft_bytes("\x92\xc4\x01"
                                  "a\xc4\x01"
                                  "b",
                                  7);
    s_check_refused("3", NULL, WEFT_SLICE_NIL, two);
    s_check_refused("0", NULL, WEFT_SLICE_NIL, two);
    s_check_refused("", NULL, WEFT_SLICE_NIL, two);
    s_check_refused("-2", NULL, WEFT_SLICE_NIL, two);
    s_check_refused("99999", NULL, WEFT_SLICE_NIL, two);
    s_check_refused("4294967298", NULL, WEFT_SLICE_NIL, two);
    s_check_refused("3", "3", weft_text("k"), two);
    s_check_refused("3", "0", WEFT_SLICE_NIL, two);
    s_check_refused("3", "x", weft_text("k"), two);
    s_check_refused("2", NULL, WEFT_SLICE_NIL, weft_bytes(two.data, 6));
    s_check_refused("2", NULL, WEFT_SLICE_NIL, WEFT_SLICE_NIL);
    s_check_refused("4095", NULL, WEFT_SLICE_NIL, weft_bytes("\xdd\x0f\xff\xff\xff", 5));
    s_check_refused("2", NULL, WEFT_SLICE_NIL, weft_bytes("\x92\x91\x91\x01\xc4", 5));
}

// Bytes changed at random are decoded or refused; sanitizers see to the rest.
static void test_frames__damaged_values_are_decoded_or_refused(void **state)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 6);
    weft_slice_t frames[] = {weft_text("one"), weft_text(""), weft_text("three"), weft_text("and a fourth")};
    for (int round = 0; round < 20000; round++) {
        struct weft_frames_record record;
        weft_frames_encode(frames, 4, -1, 0, &s_buf, s_headers, &record);
        size_t size = weft_rand_below(&rand, record.value.size + 1);
        uint8_t *copy = weft_alloc(size);
        memcpy(copy, record.value.data, size);
        for (int i = 0; i < 3 && size; i++) copy[weft_rand_below(&rand, size)] = (uint8_t) weft_rand_next(&rand);
        record.value = weft_bytes(copy, size);
        struct weft_record_view view = s_view(&record);
        size_t count;
        bool made;
        if (weft_frames_decode(&view, s_found, &count, &made) == WEFT_OK) assert_int_equal(count, 4);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames__any_message_comes_back_as_it_was),
        cmocka_unit_test(test_frames__one_frame_is_the_value_and_nothing_else),
        cmocka_unit_test(test_frames__topic_and_payload_become_key_and_value),
        cmocka_unit_test(test_frames__a_message_that_is_only_a_key_has_an_empty_value),
        cmocka_unit_test(test_frames__a_record_of_others_is_its_value),
        cmocka_unit_test(test_frames__headers_that_lie_are_refused),
        cmocka_unit_test(test_frames__damaged_values_are_decoded_or_refused),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
