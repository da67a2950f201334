// SPDX-License-Identifier: MPL-2.0
// Batches that can't go as they are: what comes out are the same records, and the mark says what they stand for.
#include "tests/support/test.h"

#include "nodes/bridge/place.h"
#include "nodes/bridge/rewrite.h"

#include <string.h>

#define PRODUCER 99

static weft_bridge_rewrite_t rewrite;
static weft_buf_t source;

static struct weft_batch s_source(enum weft_codec codec)
{
    struct weft_batch batch;
    weft_test_batch_make(
        &source,
        &(struct weft_test_batch){
            .base_offset = 100, .count = 10, .value_bytes = 50, .key = "key", .timestamp_ms = 5000, .codec = codec});
    assert_ok(weft_batch_read(weft_buf_slice(&source), &batch));
    return batch;
}

// The records of a piece are those from `first` on, with their times; a mark in the first says so.
static void s_check(const struct weft_bridge_piece *piece, int64_t first)
{
    struct weft_batch batch;
    weft_buf_t scratch;
    weft_slice_t payload;
    weft_record_iter_t iter;
    struct weft_record record;
    int64_t from = -1, next = -1;
    weft_buf_init(&scratch);
    assert_ok(weft_batch_verify(piece->bytes, &batch));
    assert_int_equal(batch.count, piece->count);
    assert_ok(weft_batch_payload(piece->bytes, &batch, &scratch, &payload));
    assert_ok(weft_batch_check_records(payload, batch.count, 1 << 20, NULL));
    weft_record_iter_init(&iter, payload);
    for (uint32_t i = 0; i < batch.count; i++) {
        assert_true(weft_record_iter_next(&iter, &record, NULL));
        char text[51] = "";
        memcpy(text, record.value.data, record.value.size < 50 ? record.value.size : 50);
        assert_int_equal(strtoll(text, NULL, 10), first + i);
        assert_slice(record.key, "key");
        assert_int_equal(weft_record_timestamp_ms(&batch, &record), 5000 + (first + i - 100));
        bool marked = weft_bridge_mark_find(record.headers, PRODUCER, &from, &next);
        assert_int_equal(marked, piece->marked && i == 0);
    }
    if (piece->marked) {
        assert_int_equal(from, piece->source);
        assert_int_equal(next, piece->source_next);
    }
    weft_buf_fini(&scratch);
}

static void test_bridge_rewrite__what_was_read_before_is_cut_off(void **state)
{
    struct weft_bridge_piece piece;
    const enum weft_codec codecs[] = {WEFT_CODEC_NONE, WEFT_CODEC_LZ4, WEFT_CODEC_ZSTD};
    for (size_t i = 0; i < 3; i++) {
        struct weft_batch batch = s_source(codecs[i]);
        assert_ok(weft_bridge_rewrite_begin(&rewrite, weft_buf_slice(&source), &batch, 104));
        assert_true(weft_bridge_rewrite_next(&rewrite, PRODUCER, 104, SIZE_MAX, &piece));
        assert_false(piece.marked); // it follows
        assert_int_equal(piece.source, 104);
        assert_int_equal(piece.source_next, 110);
        s_check(&piece, 104);
        assert_false(weft_bridge_rewrite_next(&rewrite, PRODUCER, 110, SIZE_MAX, &piece));
    }
}

static void test_bridge_rewrite__behind_a_gap_the_first_record_is_marked(void **state)
{
    struct weft_bridge_piece piece;
    struct weft_batch batch = s_source(WEFT_CODEC_NONE);
    assert_ok(weft_bridge_rewrite_begin(&rewrite, weft_buf_slice(&source), &batch, 100));
    assert_true(weft_bridge_rewrite_next(&rewrite, PRODUCER, 42, SIZE_MAX, &piece));
    assert_true(piece.marked);
    s_check(&piece, 100);
    // Marked again, by another bridge: its own mark stays what it was.
    weft_buf_t again;
    weft_buf_init(&again);
    weft_buf_append(&again, piece.bytes.data, piece.bytes.size);
    assert_ok(weft_batch_read(weft_buf_slice(&again), &batch));
    assert_ok(weft_bridge_rewrite_begin(&rewrite, weft_buf_slice(&again), &batch, 0));
    assert_true(weft_bridge_rewrite_next(&rewrite, PRODUCER + 1, 7, SIZE_MAX, &piece));
    weft_record_iter_t iter;
    struct weft_record record;
    int64_t from, next;
    weft_record_iter_init(
        &iter, weft_slice(piece.bytes.data + WEFT_BATCH_HEADER_BYTES, piece.bytes.size - WEFT_BATCH_HEADER_BYTES));
    assert_true(weft_record_iter_next(&iter, &record, NULL));
    assert_true(weft_bridge_mark_find(record.headers, PRODUCER, &from, &next));
    assert_int_equal(from, 100);
    assert_true(weft_bridge_mark_find(record.headers, PRODUCER + 1, &from, &next));
    assert_int_equal(from, 0);
    weft_buf_fini(&again);
}

static void test_bridge_rewrite__a_large_one_is_cut_into_pieces_that_follow(void **state)
{
    struct weft_bridge_piece piece;
    struct weft_batch batch = s_source(WEFT_CODEC_LZ4);
    int64_t next = 100;
    size_t pieces = 0;
    assert_ok(weft_bridge_rewrite_begin(&rewrite, weft_buf_slice(&source), &batch, 100));
    while (weft_bridge_rewrite_next(&rewrite, PRODUCER, next, WEFT_BATCH_HEADER_BYTES + 128 + 200, &piece)) {
        assert_int_equal(piece.source, next);
        assert_false(piece.marked);
        s_check(&piece, next);
        next = piece.source_next;
        pieces++;
    }
    assert_int_equal(next, 110);
    assert_true(pieces > 2);
}

static void test_bridge_rewrite__plain_is_what_follows_whole(void **state)
{
    struct weft_batch batch = s_source(WEFT_CODEC_ZSTD);
    assert_true(weft_bridge_is_plain(&batch, 100, 100, SIZE_MAX));
    assert_false(weft_bridge_is_plain(&batch, 100, 99, SIZE_MAX));
    assert_false(weft_bridge_is_plain(&batch, 101, 100, SIZE_MAX));
    assert_false(weft_bridge_is_plain(&batch, 100, 100, 100));
    batch.attributes |= WEFT_BATCH_ATTR_DELETE_HORIZON;
    assert_false(weft_bridge_is_plain(&batch, 100, 100, SIZE_MAX));
    batch = s_source(WEFT_CODEC_NONE);
    batch.count--; // compacted
    assert_false(weft_bridge_is_plain(&batch, 100, 100, SIZE_MAX));
}

static void test_bridge_rewrite__a_batch_without_records_gives_nothing(void **state)
{
    struct weft_bridge_piece piece;
    struct weft_batch batch = s_source(WEFT_CODEC_NONE);
    batch.count = 0;
    assert_ok(weft_bridge_rewrite_begin(&rewrite, weft_buf_slice(&source), &batch, 100));
    assert_false(weft_bridge_rewrite_next(&rewrite, PRODUCER, 100, SIZE_MAX, &piece));
}

static void test_bridge_rewrite__marks_of_rubbish_are_none(void **state)
{
    int64_t from, next;
    uint8_t mark[WEFT_BRIDGE_MARK_BYTES];
    assert_false(weft_bridge_mark_find(WEFT_SLICE_NIL, PRODUCER, &from, &next));
    assert_false(weft_bridge_mark_find(weft_bytes("\x92\xab", 2), PRODUCER, &from, &next));
    uint8_t headers[2 + 12 + 2 + sizeof mark] = {0x92, 0xab};
    memcpy(headers + 2, "weft-bridge", 11);
    headers[13] = 0xc4;
    headers[14] = sizeof mark;
    weft_bridge_mark_write(headers + 15, PRODUCER, 7, 9);
    assert_true(weft_bridge_mark_find(weft_bytes(headers, 15 + sizeof mark), PRODUCER, &from, &next));
    assert_int_equal(next, 9);
    weft_bridge_mark_write(headers + 15, PRODUCER, 9, 7); // ends before it begins
    assert_false(weft_bridge_mark_find(weft_bytes(headers, 15 + sizeof mark), PRODUCER, &from, &next));
}

static int s_setup(void **state)
{
    weft_bridge_rewrite_init(&rewrite);
    weft_buf_init(&source);
    return 0;
}

static int s_teardown(void **state)
{
    weft_bridge_rewrite_fini(&rewrite);
    weft_buf_fini(&source);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bridge_rewrite__what_was_read_before_is_cut_off),
        cmocka_unit_test(test_bridge_rewrite__behind_a_gap_the_first_record_is_marked),
        cmocka_unit_test(test_bridge_rewrite__a_large_one_is_cut_into_pieces_that_follow),
        cmocka_unit_test(test_bridge_rewrite__plain_is_what_follows_whole),
        cmocka_unit_test(test_bridge_rewrite__a_batch_without_records_gives_nothing),
        cmocka_unit_test(test_bridge_rewrite__marks_of_rubbish_are_none),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
