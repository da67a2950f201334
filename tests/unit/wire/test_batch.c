// SPDX-License-Identifier: MPL-2.0
#include "lib/wire/batch.h"

#include "lib/base/crc32c.h"
#include "tests/support/test.h"

#include <msgpack.h>
#include <string.h>

static const struct weft_batch_limits s_limits = {1 << 20, 1 << 19, 1 << 21};

static weft_buf_t s_bytes; // the batch under test
static struct weft_batch s_batch;
static struct weft_error s_error;
static uint32_t s_crc_state;

static int s_setup(void **state)
{
    weft_buf_init(&s_bytes);
    weft_test_batch(&s_bytes, 0, 0, 3, 20);
    assert_ok(weft_batch_read(weft_buf_slice(&s_bytes), &s_batch));
    s_error.text[0] = '\0';
    return 0;
}

static int s_teardown(void **state)
{
    weft_buf_fini(&s_bytes);
    return 0;
}

static weft_err_t s_accept(void)
{
    return weft_batch_accept(weft_buf_slice(&s_bytes), &s_limits, &s_batch, &s_crc_state, &s_error);
}

// Writes *batch over the header, with a CRC that fits.
static void s_rewrite(const struct weft_batch *batch)
{
    weft_batch_write_header(s_bytes.data, batch);
    weft_batch_seal(s_bytes.data, s_bytes.size);
}

// By their encoding: the structs have padding.
static void s_assert_same(const struct weft_batch *a, const struct weft_batch *b)
{
    uint8_t headers[2][WEFT_BATCH_HEADER_BYTES];
    weft_batch_write_header(headers[0], a);
    weft_batch_write_header(headers[1], b);
    assert_memory_equal(headers[0], headers[1], WEFT_BATCH_HEADER_BYTES);
}

// ---- layout

static void test_batch__header_has_exactly_the_bytes_of_the_design(void **state)
{
    static const uint8_t expected[80] = {
        0x9e, 0xd3, 1,    2,    3,    4,    5,    6,    7,    8,    0xd2, 0x11, 0x12, 0x13, 0x14, 0xcc,
        0x01, 0xce, 0x21, 0x22, 0x23, 0x24, 0xcd, 0x00, 0x04, 0xce, 0,    0,    1,    0,    0xd3, 0x31,
        0,    0,    0,    0,    0,    0,    0x38, 0xd3, 0x31, 0,    0,    0,    0,    0,    0,    0x39,
        0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xd1, 0xff, 0xff, 0xd2, 0xff, 0xff, 0xff,
        0xff, 0xce, 0,    0,    0,    0xff, 0xce, 0,    1,    2,    3,    0xc6, 0,    1,    0,    0};
    const struct weft_batch batch = {
        .base_offset = 0x0102030405060708,
        .leader_epoch = 0x11121314,
        .format = 1,
        .crc = 0x21222324,
        .attributes = WEFT_CODEC_ZSTD,
        .last_offset_delta = 256,
        .base_timestamp_ms = 0x3100000000000038,
        .max_timestamp_ms = 0x3100000000000039,
        .producer_id = -1,
        .producer_epoch = -1,
        .base_sequence = -1,
        .count = 255,
        .raw_bytes = 0x00010203,
        .payload_bytes = 0x00010000,
    };
    uint8_t header[80];
    memset(header, 0xaa, sizeof header);
    weft_batch_write_header(header, &batch);
    assert_memory_equal(header, expected, sizeof header);
    struct weft_batch read;
    assert_err(weft_batch_read(weft_slice(header, sizeof header), &read), WEFT_ERR_TRUNCATED); // no payload, but filled
    s_assert_same(&read, &batch);
}

static void test_batch__any_msgpack_library_reads_it(void **state)
{
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    size_t offset = 0;
    assert_int_equal(msgpack_unpack_next(&unpacked, (const char *) s_bytes.data, s_bytes.size, &offset),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(offset, s_bytes.size);
    assert_int_equal(unpacked.data.type, MSGPACK_OBJECT_ARRAY);
    assert_int_equal(unpacked.data.via.array.size, 14);
    const msgpack_object *fields = unpacked.data.via.array.ptr;
    assert_int_equal(fields[8].via.i64, -1);
    assert_int_equal(fields[11].via.u64, 3);
    msgpack_object_bin payload = fields[13].via.bin;
    msgpack_unpacked record;
    msgpack_unpacked_init(&record);
    size_t at = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(msgpack_unpack_next(&record, payload.ptr, payload.size, &at), MSGPACK_UNPACK_SUCCESS);
        assert_int_equal(record.data.type, MSGPACK_OBJECT_ARRAY);
        assert_int_equal(record.data.via.array.size, 4);
        assert_int_equal(record.data.via.array.ptr[0].via.u64, i);
        assert_int_equal(record.data.via.array.ptr[2].via.bin.size, 20);
    }
    assert_int_equal(at, payload.size);
    msgpack_unpacked_destroy(&record);
    msgpack_unpacked_destroy(&unpacked);
}

static void test_batch__crc_runs_from_byte_22_to_the_end_then_over_the_first_17(void **state)
{
    uint32_t crc = weft_crc32c(0, s_bytes.data + 22, s_bytes.size - 22);
    assert_int_equal(weft_crc32c(crc, s_bytes.data, 17), s_batch.crc);
}

// ---- reading and verifying

static void test_batch__a_cut_is_told_at_every_length(void **state)
{
    for (size_t size = 0; size < s_bytes.size; size++) {
        struct weft_batch batch = {.count = 999};
        weft_slice_t cut = weft_slice(s_bytes.data, size);
        assert_err(weft_batch_read(cut, &batch), WEFT_ERR_TRUNCATED);
        assert_int_equal(batch.count, size < WEFT_BATCH_HEADER_BYTES ? 999 : 3);
        assert_err(weft_batch_verify(cut, &batch), WEFT_ERR_TRUNCATED);
        assert_err(weft_batch_accept(cut, &s_limits, &batch, &s_crc_state, &s_error), WEFT_ERR_BAD_BATCH);
    }
}

static void test_batch__a_tail_of_zeros_is_no_batch(void **state)
{
    static const uint8_t zeros[200];
    for (size_t size = 1; size < sizeof zeros; size++)
        assert_err(weft_batch_read(weft_slice(zeros, size), &s_batch), WEFT_ERR_BAD_BATCH);
}

static void test_batch__more_may_follow(void **state)
{
    size_t size = s_bytes.size;
    weft_buf_append(&s_bytes, "\x9e more", 6);
    assert_ok(weft_batch_verify(weft_buf_slice(&s_bytes), &s_batch));
    assert_int_equal(weft_batch_bytes(&s_batch), size);
    assert_ok(s_accept());
    assert_int_equal(weft_batch_bytes(&s_batch), size);
}

static void test_batch__no_flipped_bit_is_missed(void **state)
{
    for (size_t bit = 0; bit < s_bytes.size * 8; bit++) {
        s_bytes.data[bit / 8] ^= (uint8_t) (1 << bit % 8);
        struct weft_batch batch;
        assert_true(weft_batch_verify(weft_buf_slice(&s_bytes), &batch) != WEFT_OK);
        if (bit != 23 * 8 + 7) assert_true(s_accept() != WEFT_OK); // that one says that the CRC is absent
        s_bytes.data[bit / 8] ^= (uint8_t) (1 << bit % 8);
    }
    assert_ok(s_accept());
}

static void test_batch__sizes_beyond_all_limits_are_refused_before_anyone_waits_for_them(void **state)
{
    struct weft_batch batch = s_batch;
    batch.payload_bytes = UINT32_MAX;
    s_rewrite(&batch);
    assert_err(weft_batch_read(weft_buf_slice(&s_bytes), &batch), WEFT_ERR_BAD_BATCH);
    batch = s_batch;
    batch.raw_bytes = UINT32_MAX;
    s_rewrite(&batch);
    assert_err(weft_batch_read(weft_buf_slice(&s_bytes), &batch), WEFT_ERR_BAD_BATCH);
    batch = s_batch;
    batch.count = 4; // in 3 offsets
    s_rewrite(&batch);
    assert_err(weft_batch_verify(weft_buf_slice(&s_bytes), &batch), WEFT_ERR_BAD_BATCH);
}

static void test_batch__a_stored_batch_must_have_its_crc(void **state)
{
    s_batch.attributes |= WEFT_BATCH_ATTR_CRC_ABSENT;
    s_rewrite(&s_batch);
    assert_err(weft_batch_verify(weft_buf_slice(&s_bytes), &s_batch), WEFT_ERR_BAD_BATCH);
}

// ---- accepting

static void test_batch__accept_names_what_it_refuses(void **state)
{
    const struct {
        const char *sentence;
        weft_err_t err;
        struct weft_batch change; // fields that differ from zero are set
    } cases[] = {
        {"format is 2, known is 1", WEFT_ERR_BAD_BATCH, {.format = 2}},
        {"codec is 1;", WEFT_ERR_UNSUPPORTED_COMPRESSION, {.attributes = 1}},
        {"codec is 7;", WEFT_ERR_UNSUPPORTED_COMPRESSION, {.attributes = 7}},
        {"of these 0x0010", WEFT_ERR_BAD_BATCH, {.attributes = WEFT_BATCH_ATTR_TRANSACTIONAL}},
        {"of these 0x0020", WEFT_ERR_BAD_BATCH, {.attributes = WEFT_BATCH_ATTR_CONTROL}},
        {"of these 0x0040", WEFT_ERR_BAD_BATCH, {.attributes = WEFT_BATCH_ATTR_DELETE_HORIZON}},
        {"of these 0x4000", WEFT_ERR_BAD_BATCH, {.attributes = 0x4000}},
        {"count is 3, last_offset_delta 3", WEFT_ERR_BAD_BATCH, {.last_offset_delta = 3}},
        {"count is 3, last_offset_delta 4294967295", WEFT_ERR_BAD_BATCH, {.last_offset_delta = UINT32_MAX}},
        {"payload holds 3 records", WEFT_ERR_BAD_BATCH, {.count = 4, .last_offset_delta = 3}},
        {"bytes follow the last of count 2", WEFT_ERR_BAD_BATCH, {.count = 2, .last_offset_delta = 1}},
        {"count is 1000, too many for raw_bytes", WEFT_ERR_BAD_BATCH, {.count = 1000, .last_offset_delta = 999}},
        {"raw_bytes is 60, payload_bytes", WEFT_ERR_BAD_BATCH, {.raw_bytes = 60}},
        {"raw_bytes is 3000000, at most 2097152", WEFT_ERR_BATCH_TOO_LARGE, {.raw_bytes = 3000000}},
        {"before base_timestamp 2000000", WEFT_ERR_BAD_BATCH, {.base_timestamp_ms = 2000000}},
        {"producer_id is -2", WEFT_ERR_BAD_BATCH, {.producer_id = -2}},
        {"with a producer_id, both count from 0", WEFT_ERR_BAD_BATCH, {.producer_id = 5}},
        {"base_sequence -7", WEFT_ERR_BAD_BATCH, {.producer_id = 5, .producer_epoch = 1, .base_sequence = -7}},
        {"payload_bytes is 4000, but", WEFT_ERR_BAD_BATCH, {.payload_bytes = 4000}},
    };
    const struct weft_batch good = s_batch;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weft_batch bad = good, untouched = {.count = 77};
        const struct weft_batch *change = &cases[i].change;
        if (change->format) bad.format = change->format;
        if (change->attributes) bad.attributes = change->attributes;
        if (change->last_offset_delta) bad.last_offset_delta = change->last_offset_delta;
        if (change->count) bad.count = change->count;
        if (change->raw_bytes) bad.raw_bytes = change->raw_bytes;
        if (change->payload_bytes) bad.payload_bytes = change->payload_bytes;
        if (change->base_timestamp_ms) bad.base_timestamp_ms = change->base_timestamp_ms;
        if (change->producer_id) bad.producer_id = change->producer_id;
        if (change->producer_epoch) bad.producer_epoch = change->producer_epoch;
        if (change->base_sequence) bad.base_sequence = change->base_sequence;
        s_rewrite(&bad);
        s_crc_state = 99;
        assert_err(weft_batch_accept(weft_buf_slice(&s_bytes), &s_limits, &untouched, &s_crc_state, &s_error),
                   cases[i].err);
        if (!strstr(s_error.text, cases[i].sentence)) fail_msg("'%s' lacks '%s'", s_error.text, cases[i].sentence);
        assert_int_equal(s_error.code, cases[i].err);
        assert_int_equal(untouched.count, 77);
        assert_int_equal(s_crc_state, 99);
        assert_err(weft_batch_accept(weft_buf_slice(&s_bytes), &s_limits, &untouched, &s_crc_state, NULL),
                   cases[i].err);
    }
    s_rewrite(&good);
    assert_ok(s_accept());
}

static void test_batch__accept_names_crc_marker_and_limits(void **state)
{
    s_bytes.data[WEFT_BATCH_HEADER_BYTES + 9] ^= 1;
    assert_err(s_accept(), WEFT_ERR_BAD_CRC);
    assert_non_null(strstr(s_error.text, "its bytes give 0x"));
    s_bytes.data[WEFT_BATCH_HEADER_BYTES + 9] ^= 1;
    s_bytes.data[48] = 0xcf;
    assert_err(s_accept(), WEFT_ERR_BAD_BATCH);
    assert_non_null(strstr(s_error.text, "byte 48 is 0xcf instead of the marker 0xd3"));
    s_bytes.data[48] = 0xd3;

    struct weft_batch_limits limits = s_limits;
    limits.batch_bytes_max = (uint32_t) s_bytes.size - 1;
    assert_err(weft_batch_accept(weft_buf_slice(&s_bytes), &limits, &s_batch, &s_crc_state, &s_error),
               WEFT_ERR_BATCH_TOO_LARGE);
    limits = s_limits;
    limits.record_bytes_max = 25;
    assert_err(weft_batch_accept(weft_buf_slice(&s_bytes), &limits, &s_batch, &s_crc_state, &s_error),
               WEFT_ERR_RECORD_TOO_LARGE);
    assert_non_null(strstr(s_error.text, "record 0: it has 26 bytes, at most 25"));
    limits.record_bytes_max = 26;
    assert_ok(weft_batch_accept(weft_buf_slice(&s_bytes), &limits, &s_batch, &s_crc_state, &s_error));
}

static void test_batch__compressed_counts_are_bounded_by_raw_bytes(void **state)
{
    weft_test_batch_make(&s_bytes,
                         &(struct weft_test_batch){.count = 100, .value_bytes = 100, .codec = WEFT_CODEC_ZSTD});
    assert_ok(weft_batch_read(weft_buf_slice(&s_bytes), &s_batch));
    assert_int_equal(weft_batch_codec(&s_batch), WEFT_CODEC_ZSTD);
    assert_true(s_batch.payload_bytes < s_batch.raw_bytes / 4);
    struct weft_batch bad = s_batch;
    bad.count = s_batch.raw_bytes / 5 + 1;
    bad.last_offset_delta = bad.count - 1;
    s_rewrite(&bad);
    assert_err(s_accept(), WEFT_ERR_BAD_BATCH);
    bad.count--;
    bad.last_offset_delta--;
    s_rewrite(&bad);
    assert_ok(s_accept()); // a lie that only a reader can find: bounded
}

// ---- stamping

static void test_batch__stamp_patches_offset_and_epoch_and_nothing_else(void **state)
{
    weft_buf_t before;
    weft_buf_init(&before);
    weft_buf_append(&before, s_bytes.data, s_bytes.size);
    assert_ok(s_accept());
    weft_batch_stamp(s_bytes.data, 0x1122334455667788, 9, s_crc_state, &s_batch);
    assert_memory_equal(s_bytes.data + 22, before.data + 22, s_bytes.size - 22);
    struct weft_batch stored;
    assert_ok(weft_batch_verify(weft_buf_slice(&s_bytes), &stored));
    assert_true(stored.base_offset == 0x1122334455667788);
    assert_int_equal(stored.leader_epoch, 9);
    s_assert_same(&stored, &s_batch);
    assert_true(weft_batch_next_offset(&stored) == 0x112233445566778b);
    weft_buf_fini(&before);
}

static void test_batch__stamp_fills_an_absent_crc(void **state)
{
    struct weft_batch bare = s_batch;
    bare.attributes |= WEFT_BATCH_ATTR_CRC_ABSENT;
    bare.crc = 0;
    weft_batch_write_header(s_bytes.data, &bare);
    assert_ok(s_accept());
    weft_batch_stamp(s_bytes.data, 0, 0, s_crc_state, &s_batch);
    struct weft_batch stored;
    assert_ok(weft_batch_verify(weft_buf_slice(&s_bytes), &stored));
    assert_int_equal(stored.attributes, 0);
}

static void test_batch__stamp_with_append_time_gives_every_record_that_time(void **state)
{
    assert_ok(s_accept());
    weft_batch_stamp_append_time(s_bytes.data, 50, 2, 7777, &s_batch);
    struct weft_batch stored;
    assert_ok(weft_batch_verify(weft_buf_slice(&s_bytes), &stored));
    s_assert_same(&stored, &s_batch);
    assert_int_equal(stored.attributes, WEFT_BATCH_ATTR_LOG_APPEND_TIME);
    assert_int_equal(stored.base_timestamp_ms, 7777);
    weft_record_iter_t iter;
    struct weft_record record;
    weft_record_iter_init(&iter, weft_slice(s_bytes.data + 80, stored.payload_bytes));
    int count = 0;
    for (; weft_record_iter_next(&iter, &record, NULL); count++)
        assert_int_equal(weft_record_timestamp_ms(&stored, &record), 7777);
    assert_int_equal(count, 3);
}

// ---- building

static void test_batch__builder_hands_over_its_memory(void **state)
{
    weft_batch_builder_t builder;
    weft_batch_builder_init(&builder);
    uint8_t *old = s_bytes.data;
    for (int i = 0; i < 100; i++)
        weft_batch_builder_add(&builder, 1000, WEFT_SLICE_NIL, weft_slice_text("value"), WEFT_SLICE_NIL);
    uint8_t *memory = builder.buf.data;
    assert_ok(weft_batch_builder_finish(&builder, WEFT_CODEC_NONE, 7, 1, 40, &s_bytes));
    assert_ptr_equal(s_bytes.data, memory);
    assert_ptr_equal(builder.buf.data, old); // and takes that of `out` for the next batch
    assert_int_equal(builder.count, 0);
    assert_ok(s_accept());
    assert_int_equal(s_batch.count, 100);
    assert_int_equal(s_batch.producer_id, 7);
    assert_int_equal(s_batch.producer_epoch, 1);
    assert_int_equal(s_batch.base_sequence, 40);
    assert_int_equal(s_batch.base_offset, 0);
    weft_batch_builder_add(&builder, 2000, WEFT_SLICE_NIL, WEFT_SLICE_NIL, WEFT_SLICE_NIL);
    assert_ok(weft_batch_builder_finish(&builder, WEFT_CODEC_NONE, -1, -1, -1, &s_bytes));
    assert_ok(s_accept());
    assert_int_equal(s_batch.base_timestamp_ms, 2000);
    weft_batch_builder_fini(&builder);
}

static void test_batch__builder_keeps_what_does_not_shrink(void **state)
{
    uint8_t noise[64];
    uint32_t x = 12345;
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t) ((x = x * 1664525 + 1013904223) >> 24);
    static const enum weft_codec codecs[] = {WEFT_CODEC_LZ4, WEFT_CODEC_ZSTD};
    weft_batch_builder_t builder;
    weft_batch_builder_init(&builder);
    for (size_t i = 0; i < 2; i++) {
        weft_batch_builder_add(&builder, 1000, WEFT_SLICE_NIL, weft_slice(noise, sizeof noise), WEFT_SLICE_NIL);
        assert_ok(weft_batch_builder_finish(&builder, codecs[i], -1, -1, -1, &s_bytes));
        assert_ok(s_accept());
        assert_int_equal(weft_batch_codec(&s_batch), WEFT_CODEC_NONE);
        assert_int_equal(s_batch.raw_bytes, s_batch.payload_bytes);
    }
    weft_batch_builder_fini(&builder);
}

static void test_batch__compressed_batches_read_back(void **state)
{
    static const enum weft_codec codecs[] = {WEFT_CODEC_NONE, WEFT_CODEC_LZ4, WEFT_CODEC_ZSTD};
    weft_buf_t scratch;
    weft_buf_init(&scratch);
    for (size_t i = 0; i < 3; i++) {
        weft_test_batch_make(&s_bytes, &(struct weft_test_batch){
                                           .base_offset = 500, .count = 1000, .value_bytes = 300, .codec = codecs[i]});
        assert_ok(weft_batch_verify(weft_buf_slice(&s_bytes), &s_batch));
        assert_int_equal(weft_batch_codec(&s_batch), codecs[i]);
        weft_slice_t payload;
        assert_ok(weft_batch_payload(weft_buf_slice(&s_bytes), &s_batch, &scratch, &payload));
        if (codecs[i] == WEFT_CODEC_NONE) assert_ptr_equal(payload.data, s_bytes.data + 80);
        assert_ok(weft_batch_check_records(payload, 1000, 1 << 20, &s_error));
        weft_record_iter_t iter;
        struct weft_record record;
        weft_record_iter_init(&iter, payload);
        for (int n = 0; n < 1000; n++) {
            assert_true(weft_record_iter_next(&iter, &record, NULL));
            assert_int_equal(atoi((const char *) record.value.data), 500 + n);
        }
    }
    weft_buf_fini(&scratch);
}

// ---- bare records

static void test_batch__bare_records_become_a_batch(void **state)
{
    static const char bare[] = "\x94\x00\xc0\xc4\x01"
                               "a"
                               "\xc0" // bin value
                               "\x94\xd1\xff\x00\xa1"
                               "k"
                               "\xa5value\x90"                  // str key and value, 256 ms ago, no headers
                               "\x94\x07\xc0\xc0\x92\xa1n\xc0"; // a header with a nil value
    weft_slice_t records = weft_slice(bare, sizeof bare - 1);
    assert_false(weft_batch_looks_like_batch(records));
    assert_ok(weft_batch_of_bare_records(records, 5000, &s_limits, &s_bytes, &s_error));
    assert_true(weft_batch_looks_like_batch(weft_buf_slice(&s_bytes)));
    assert_ok(s_accept());
    assert_int_equal(s_batch.count, 3);
    assert_int_equal(s_batch.producer_id, -1);
    assert_int_equal(s_batch.base_timestamp_ms, 5000);
    assert_int_equal(s_batch.max_timestamp_ms, 5007);
    assert_memory_equal(s_bytes.data + 80, bare, sizeof bare - 1);
}

static void test_batch__bare_records_are_checked_like_any(void **state)
{
    struct weft_batch_limits limits = {200, 50, 1000};
    assert_err(weft_batch_of_bare_records(weft_slice("", 0), 1, &limits, &s_bytes, &s_error), WEFT_ERR_BAD_BATCH);
    assert_err(weft_batch_of_bare_records(weft_slice("\x94\x00\xc0\xc0", 4), 1, &limits, &s_bytes, &s_error),
               WEFT_ERR_BAD_BATCH);
    assert_err(weft_batch_of_bare_records(weft_slice("\x01\x94\x00\xc0\xc0\xc0", 6), 1, &limits, &s_bytes, &s_error),
               WEFT_ERR_BAD_BATCH);
    assert_non_null(strstr(s_error.text, "bare record 0: a record is an array"));
    uint8_t large[150] = {0x94, 0x00, 0xc0, 0xc4, 144};
    large[149] = 0xc0;
    assert_err(weft_batch_of_bare_records(weft_slice(large, 150), 1, &limits, &s_bytes, &s_error),
               WEFT_ERR_BATCH_TOO_LARGE);
    limits.batch_bytes_max = 1000;
    assert_err(weft_batch_of_bare_records(weft_slice(large, 150), 1, &limits, &s_bytes, &s_error),
               WEFT_ERR_RECORD_TOO_LARGE);
    limits.record_bytes_max = 150;
    assert_ok(weft_batch_of_bare_records(weft_slice(large, 150), 1, &limits, &s_bytes, &s_error));
    assert_err(weft_batch_of_bare_records(weft_slice("\x94\xd3\x7f\xff\xff\xff\xff\xff\xff\xff\xc0\xc0\xc0", 13), 1,
                                          &limits, &s_bytes, &s_error),
               WEFT_ERR_BAD_BATCH);
}

#define s_test(function) cmocka_unit_test_setup_teardown(function, s_setup, s_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        s_test(test_batch__header_has_exactly_the_bytes_of_the_design),
        s_test(test_batch__any_msgpack_library_reads_it),
        s_test(test_batch__crc_runs_from_byte_22_to_the_end_then_over_the_first_17),
        s_test(test_batch__a_cut_is_told_at_every_length),
        s_test(test_batch__a_tail_of_zeros_is_no_batch),
        s_test(test_batch__more_may_follow),
        s_test(test_batch__no_flipped_bit_is_missed),
        s_test(test_batch__sizes_beyond_all_limits_are_refused_before_anyone_waits_for_them),
        s_test(test_batch__a_stored_batch_must_have_its_crc),
        s_test(test_batch__accept_names_what_it_refuses),
        s_test(test_batch__accept_names_crc_marker_and_limits),
        s_test(test_batch__compressed_counts_are_bounded_by_raw_bytes),
        s_test(test_batch__stamp_patches_offset_and_epoch_and_nothing_else),
        s_test(test_batch__stamp_fills_an_absent_crc),
        s_test(test_batch__stamp_with_append_time_gives_every_record_that_time),
        s_test(test_batch__builder_hands_over_its_memory),
        s_test(test_batch__builder_keeps_what_does_not_shrink),
        s_test(test_batch__compressed_batches_read_back),
        s_test(test_batch__bare_records_become_a_batch),
        s_test(test_batch__bare_records_are_checked_like_any),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
