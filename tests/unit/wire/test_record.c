// SPDX-License-Identifier: MPL-2.0
#include "lib/wire/batch.h"

#include "lib/base/rand.h"
#include "tests/support/test.h"

#include <msgpack.h>
#include <string.h>

static weft_batch_builder_t s_builder;

static int s_setup(void **state)
{
    weft_batch_builder_init(&s_builder);
    return 0;
}

static int s_teardown(void **state)
{
    weft_batch_builder_fini(&s_builder);
    return 0;
}

static weft_slice_t s_built(void)
{
    return weft_slice(s_builder.buf.data + WEFT_BATCH_HEADER_BYTES, s_builder.buf.size - WEFT_BATCH_HEADER_BYTES);
}

// How many records iterate, and whether it ended at something that is none.
static uint32_t s_iterate(weft_slice_t payload, struct weft_record *last, bool *bad)
{
    weft_record_iter_t iter;
    weft_record_iter_init(&iter, payload);
    uint32_t count = 0;
    while (weft_record_iter_next(&iter, last, bad)) count++;
    assert_false(weft_record_iter_next(&iter, last, NULL)); // it stays ended
    return count;
}

// ---- building

static void test_record__builder_writes_the_smallest_widths(void **state)
{
    static const struct {
        int64_t delta;
        const char *bytes;
        size_t size;
    } cases[] = {
        {0, "\x00", 1},
        {127, "\x7f", 1},
        {128, "\xcc\x80", 2},
        {255, "\xcc\xff", 2},
        {256, "\xcd\x01\x00", 3},
        {65536, "\xce\x00\x01\x00\x00", 5},
        {INT64_C(1) << 32, "\xcf\x00\x00\x00\x01\x00\x00\x00\x00", 9},
        {-1, "\xff", 1},
        {-32, "\xe0", 1},
        {-33, "\xd0\xdf", 2},
        {-129, "\xd1\xff\x7f", 3},
        {-32769, "\xd2\xff\xff\x7f\xff", 5},
        {-(INT64_C(1) << 31) - 1, "\xd3\xff\xff\xff\xff\x7f\xff\xff\xff", 9},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weft_batch_builder_reset(&s_builder);
        weft_batch_builder_add(&s_builder, 0, WEFT_SLICE_NIL, WEFT_SLICE_NIL, WEFT_SLICE_NIL);
        weft_batch_builder_add(&s_builder, cases[i].delta, WEFT_SLICE_NIL, WEFT_SLICE_NIL, WEFT_SLICE_NIL);
        weft_slice_t built = s_built();
        assert_int_equal(built.size, 5 + 4 + cases[i].size);
        assert_memory_equal(built.data + 6, cases[i].bytes, cases[i].size);
        struct weft_record record;
        bool bad = true;
        assert_int_equal(s_iterate(built, &record, &bad), 2);
        assert_false(bad);
        assert_true(record.timestamp_delta_ms == cases[i].delta);
        assert_ok(weft_batch_check_records(built, 2, 1 << 20, NULL));
    }
}

static void test_record__nil_and_empty_differ(void **state)
{
    weft_slice_t empty = weft_slice("", 0);
    struct weft_record record;
    weft_batch_builder_add(&s_builder, 0, empty, WEFT_SLICE_NIL, weft_slice("\x90", 1));
    s_iterate(s_built(), &record, NULL);
    assert_non_null(record.key.data);
    assert_int_equal(record.key.size, 0);
    assert_null(record.value.data);
    assert_non_null(record.headers.data);
    weft_batch_builder_add(&s_builder, 0, WEFT_SLICE_NIL, empty, WEFT_SLICE_NIL);
    s_iterate(s_built(), &record, NULL);
    assert_null(record.key.data);
    assert_non_null(record.value.data);
    assert_null(record.headers.data);
}

static void test_record__every_size_reads_back_and_stays_within_its_bound(void **state)
{
    uint8_t *data = weft_alloc(70000);
    for (size_t i = 0; i < 70000; i++) data[i] = (uint8_t) (i * 7 + (i >> 8));
    static const size_t around[] = {255, 256, 257, 65535, 65536, 65537};
    for (size_t i = 0; i < 300 + 6; i++) {
        size_t size = i < 300 ? i : around[i - 300];
        weft_slice_t key = weft_slice(data + 1, i % 50), value = weft_slice(data, size),
                     headers = weft_slice("\x92\xa1h\xc4\x01v", 6);
        weft_batch_builder_reset(&s_builder);
        weft_batch_builder_add(&s_builder, 1, key, value, headers);
        struct weft_record record;
        assert_int_equal(s_iterate(s_built(), &record, NULL), 1);
        assert_true(weft_slice_equal(record.key, key));
        assert_true(weft_slice_equal(record.value, value));
        assert_true(weft_slice_equal(record.headers, headers));
        assert_true(s_built().size <= weft_record_bytes_bound(key, value, headers));
        assert_ok(weft_batch_check_records(s_built(), 1, 1 << 20, NULL));
    }
    free(data);
}

static void test_record__times_saturate_instead_of_wrapping(void **state)
{
    weft_batch_builder_add(&s_builder, -10, WEFT_SLICE_NIL, WEFT_SLICE_NIL, WEFT_SLICE_NIL);
    weft_batch_builder_add(&s_builder, INT64_MAX, WEFT_SLICE_NIL, WEFT_SLICE_NIL, WEFT_SLICE_NIL);
    struct weft_record record;
    s_iterate(s_built(), &record, NULL);
    assert_true(record.timestamp_delta_ms == INT64_MAX);
    struct weft_batch batch = {.base_timestamp_ms = 10};
    assert_true(weft_record_timestamp_ms(&batch, &record) == INT64_MAX);
    record.timestamp_delta_ms = INT64_MIN;
    batch.base_timestamp_ms = -10;
    assert_true(weft_record_timestamp_ms(&batch, &record) == INT64_MIN);
}

// ---- reading what others write

#define S_BYTES(text) weft_slice(text, sizeof(text) - 1)

static void test_record__every_legal_width_is_read(void **state)
{
    static const struct {
        weft_slice_t bytes;
        int64_t delta;
    } cases[] = {
        {{(const uint8_t *) "\x94\x05\xc4\x01k\xc4\x01v\xc0", 9}, 5},
        {{(const uint8_t *) "\x94\xcc\x05\xc5\x00\x01k\xc5\x00\x01v\xc0", 12}, 5},
        {{(const uint8_t *) "\x94\xcd\x00\x05\xc6\x00\x00\x00\x01k\xc6\x00\x00\x00\x01v\xc0", 17}, 5},
        {{(const uint8_t *) "\x94\xce\x00\x00\x00\x05\xa1k\xa1v\xc0", 11}, 5},
        {{(const uint8_t *) "\x94\xcf\x00\x00\x00\x00\x00\x00\x00\x05\xd9\x01k\xd9\x01v\xc0", 17}, 5},
        {{(const uint8_t *) "\x94\xd0\x05\xda\x00\x01k\xda\x00\x01v\xc0", 12}, 5},
        {{(const uint8_t *) "\x94\xd1\x00\x05\xdb\x00\x00\x00\x01k\xdb\x00\x00\x00\x01v\xc0", 17}, 5},
        {{(const uint8_t *) "\x94\xd2\xff\xff\xff\xfe\xa1k\xc4\x01v\xc0", 12}, -2},
        {{(const uint8_t *) "\x94\xd3\xff\xff\xff\xff\xff\xff\xff\xfe\xc4\x01k\xa1v\xc0", 16}, -2},
        {{(const uint8_t *) "\xdc\x00\x04\x05\xa1k\xa1v\xc0", 9}, 5},
        {{(const uint8_t *) "\xdd\x00\x00\x00\x04\x05\xa1k\xa1v\xc0", 11}, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weft_record record;
        bool bad = true;
        assert_int_equal(s_iterate(cases[i].bytes, &record, &bad), 1);
        assert_false(bad);
        assert_int_equal(record.timestamp_delta_ms, cases[i].delta);
        assert_slice(record.key, "k");
        assert_slice(record.value, "v");
        assert_ok(weft_batch_check_records(cases[i].bytes, 1, 100, NULL));
        for (size_t cut = 1; cut < cases[i].bytes.size; cut++) {
            weft_slice_t part = weft_slice(cases[i].bytes.data, cut);
            assert_int_equal(s_iterate(part, &record, &bad), 0);
            assert_true(bad);
            assert_err(weft_batch_check_records(part, 1, 100, NULL), WEFT_ERR_BAD_BATCH);
        }
    }
}

static void test_record__what_is_no_record_is_named(void **state)
{
    static const struct {
        weft_slice_t bytes;
        const char *sentence;
    } cases[] = {
        {{(const uint8_t *) "\x93\x00\xc0\xc0", 4}, "record 0: a record has four elements (byte 0 of the payload)"},
        {{(const uint8_t *) "\x80", 1}, "record 0: a record is an array (byte 0"},
        {{(const uint8_t *) "\x94\xc0\xc0\xc0\xc0", 5}, "ts_delta is no whole integer (byte 1"},
        {{(const uint8_t *) "\x94\xca\x00\x00\x00\x00\xc0\xc0\xc0", 9}, "ts_delta is no whole integer"},
        {{(const uint8_t *) "\x94\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xc0\xc0\xc0", 13},
         "ts_delta is no whole integer"},
        {{(const uint8_t *) "\x94\x00\x05\xc0\xc0", 5}, "key is no whole bin, str or nil (byte 2"},
        {{(const uint8_t *) "\x94\x00\xc6\xff\xff\xff\xff\xc0\xc0", 9}, "key is no whole bin, str or nil"},
        {{(const uint8_t *) "\x94\x00\xc0\xc4\x05v\xc0", 7}, "value is no whole bin, str or nil (byte 3"},
        {{(const uint8_t *) "\x94\x00\xc0\x91\x00\xc0", 6}, "value is no whole bin"},
        {{(const uint8_t *) "\x94\x00\xc0\xc0\xc4\x00", 6}, "headers are neither an array nor nil (byte 4"},
        {{(const uint8_t *) "\x94\x00\xc0\xc0\x80", 5}, "headers are neither an array nor nil"},
        {{(const uint8_t *) "\x94\x00\xc0\xc0\x91\xa1n", 7}, "headers are an array of odd count"},
        {{(const uint8_t *) "\x94\x00\xc0\xc0\x92\xc0\xc0", 7}, "a header's name is nil"},
        {{(const uint8_t *) "\x94\x00\xc0\xc0\x92\xa1n\x05", 8}, "a header's name or value is no whole bin"},
        {{(const uint8_t *) "\x94\x00\xc0\xc0\xdd\xff\xff\xff\xfe\xa1n\xa1v", 13},
         "a header's name or value is no whole bin"},
        {{(const uint8_t *) "\x94\x00\xc0\xc0\xc0\xc0", 6}, "1 bytes follow the last of count 1 records"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weft_error error;
        assert_err(weft_batch_check_records(cases[i].bytes, 1, 100, &error), WEFT_ERR_BAD_BATCH);
        if (!strstr(error.text, cases[i].sentence)) fail_msg("'%s' lacks '%s'", error.text, cases[i].sentence);
    }
}

static void test_record__gaps_of_compaction_count_as_offsets(void **state)
{
    weft_slice_t payload = S_BYTES("\x03\x94\x00\xc0\xc0\xc0\xcd\x01\x00\x94\x00\xc0\xc0\xc0\x05");
    weft_record_iter_t iter;
    struct weft_record record;
    bool bad = true;
    weft_record_iter_init(&iter, payload);
    assert_true(weft_record_iter_next(&iter, &record, &bad));
    assert_int_equal(record.offset_delta, 3);
    assert_true(weft_record_iter_next(&iter, &record, &bad));
    assert_int_equal(record.offset_delta, 3 + 1 + 256);
    assert_false(weft_record_iter_next(&iter, &record, &bad));
    assert_false(bad);
    assert_err(weft_batch_check_records(payload, 2, 100, NULL), WEFT_ERR_BAD_BATCH); // nobody produces them
}

static void test_record__a_gap_of_nothing_is_bad(void **state)
{
    static const weft_slice_t gaps[] = {{(const uint8_t *) "\x00", 1},
                                        {(const uint8_t *) "\xff", 1},
                                        {(const uint8_t *) "\xcf\x00\x00\x00\x02\x00\x00\x00\x00", 9},
                                        {(const uint8_t *) "\xcd\x01", 2}};
    for (size_t i = 0; i < 4; i++) {
        struct weft_record record;
        bool bad = false;
        assert_int_equal(s_iterate(gaps[i], &record, &bad), 0);
        assert_true(bad);
    }
}

static void test_record__headers_iterate_in_order_with_repeats(void **state)
{
    weft_slice_t rest = S_BYTES("\x96\xa1"
                                "a"
                                "\xc4\x01"
                                "1"
                                "\xa1"
                                "a"
                                "\xc0\xd9\x01"
                                "b"
                                "\xa0");
    weft_slice_t name, value;
    bool begun = false;
    assert_true(weft_record_header_next(&rest, &begun, &name, &value));
    assert_slice(name, "a");
    assert_slice(value, "1");
    assert_true(weft_record_header_next(&rest, &begun, &name, &value));
    assert_slice(name, "a");
    assert_null(value.data);
    assert_true(weft_record_header_next(&rest, &begun, &name, &value));
    assert_slice(name, "b");
    assert_slice(value, "");
    assert_false(weft_record_header_next(&rest, &begun, &name, &value));
    assert_false(weft_record_header_next(&rest, &begun, &name, &value));

    static const char *const ends[] = {"\x90", "\x92\xa1", "\x92\xa1h", "\x92\xc0\xc0", "\x05"};
    for (size_t i = 0; i < 5; i++) {
        rest = weft_slice_text(ends[i]);
        begun = false;
        assert_false(weft_record_header_next(&rest, &begun, &name, &value));
    }
    rest = WEFT_SLICE_NIL;
    begun = false;
    assert_false(weft_record_header_next(&rest, &begun, &name, &value));
}

// Random bytes around real records: what the checker takes, msgpack-c takes too, and iteration gives exactly that many.
static void test_record__checker_iterator_and_msgpack_agree_on_damaged_payloads(void **state)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 17);
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    int taken = 0;
    for (int round = 0; round < 20000; round++) {
        weft_batch_builder_reset(&s_builder);
        uint32_t count = 1 + (uint32_t) weft_rand_below(&rand, 4);
        for (uint32_t i = 0; i < count; i++)
            weft_batch_builder_add(&s_builder, (int64_t) weft_rand_below(&rand, 400),
                                   i % 2 ? weft_slice_text("key") : WEFT_SLICE_NIL, weft_slice_text("some value"),
                                   i % 3 ? S_BYTES("\x92\xa1n\xc4\x01v") : WEFT_SLICE_NIL);
        weft_slice_t payload = s_built();
        uint8_t *bytes = s_builder.buf.data + WEFT_BATCH_HEADER_BYTES;
        bytes[weft_rand_below(&rand, payload.size)] = (uint8_t) weft_rand_next(&rand);
        if (weft_batch_check_records(payload, count, 1000, NULL) != WEFT_OK) continue;
        taken++;
        struct weft_record record;
        bool bad = true;
        assert_int_equal(s_iterate(payload, &record, &bad), count);
        assert_false(bad);
        size_t at = 0;
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(msgpack_unpack_next(&unpacked, (const char *) bytes, payload.size, &at),
                             MSGPACK_UNPACK_SUCCESS);
        assert_int_equal(at, payload.size);
    }
    assert_true(taken > 1000);
    msgpack_unpacked_destroy(&unpacked);
}

#define s_test(function) cmocka_unit_test_setup_teardown(function, s_setup, s_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        s_test(test_record__builder_writes_the_smallest_widths),
        s_test(test_record__nil_and_empty_differ),
        s_test(test_record__every_size_reads_back_and_stays_within_its_bound),
        s_test(test_record__times_saturate_instead_of_wrapping),
        s_test(test_record__every_legal_width_is_read),
        s_test(test_record__what_is_no_record_is_named),
        s_test(test_record__gaps_of_compaction_count_as_offsets),
        s_test(test_record__a_gap_of_nothing_is_bad),
        s_test(test_record__headers_iterate_in_order_with_repeats),
        s_test(test_record__checker_iterator_and_msgpack_agree_on_damaged_payloads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
