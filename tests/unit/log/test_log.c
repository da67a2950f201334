// SPDX-License-Identifier: MPL-2.0
#include "log_fixture.h"

static void test_log__an_empty_log_is_empty(void **state)
{
    struct fixture *self = *state;
    int64_t offset, time;
    int32_t epoch;
    weft_frame_t frame;
    assert_int_equal(weft_log_start(self->log), 0);
    assert_int_equal(weft_log_end(self->log), 0);
    assert_int_equal(weft_log_last_epoch(self->log), -1);
    assert_int_equal(weft_log_max_timestamp(self->log), -1);
    assert_int_equal(weft_log_bytes(self->log), 0);
    assert_false(weft_log_dirty(self->log));
    assert_ok(weft_log_read(self->log, 0, 1000, true, INT64_MAX, self->pool, &frame));
    assert_int_equal(frame.size, 0);
    assert_err(weft_log_read(self->log, 1, 1000, true, INT64_MAX, self->pool, &frame), WEFT_ERR_OFFSET_OUT_OF_RANGE);
    assert_ok(weft_log_offset_by_time(self->log, 0, &offset, &time));
    assert_int_equal(offset, -1);
    weft_log_epoch_end(self->log, 7, &epoch, &offset);
    assert_int_equal(epoch, -1);
    assert_int_equal(offset, 0);
}

static void test_log__reads_whole_batches_below_the_limit_from_the_one_that_holds_the_offset(void **state)
{
    struct fixture *self = *state;
    weft_frame_t frame;
    struct weft_batch batch;
    for (int i = 0; i < 100; i++) fixture_append(self, 0, 10, 50);
    assert_int_equal(weft_log_end(self->log), 1000);

    assert_ok(weft_log_read(self->log, 255, 100000, true, 500, self->pool, &frame));
    assert_ok(weft_batch_read(weft_frame_slice(&frame), &batch));
    assert_int_equal(batch.base_offset, 250);
    assert_int_equal(frame.size, 25 * weft_batch_bytes(&batch));
    weft_frame_drop(&frame);

    // The limit within a batch keeps it back; so does too little room, unless at least one is wanted.
    assert_ok(weft_log_read(self->log, 250, 100000, true, 255, self->pool, &frame));
    assert_int_equal(frame.size, 0);
    assert_ok(weft_log_read(self->log, 250, 100, false, INT64_MAX, self->pool, &frame));
    assert_int_equal(frame.size, 0);
    assert_ok(weft_log_read(self->log, 250, 100, true, INT64_MAX, self->pool, &frame));
    assert_int_equal(frame.size, weft_batch_bytes(&batch));
    weft_frame_drop(&frame);
    assert_ok(weft_log_read(self->log, 250, 2 * weft_batch_bytes(&batch) + 50, false, INT64_MAX, self->pool, &frame));
    assert_int_equal(frame.size, 2 * weft_batch_bytes(&batch));
    weft_frame_drop(&frame);
    assert_int_equal(fixture_read_all(self), 1000);
}

static void test_log__reads_a_batch_larger_than_asked_for_and_than_the_pool(void **state)
{
    struct fixture *self = *state;
    weft_frame_t frame;
    fixture_append(self, 0, 1, 3 * 1024 * 1024);
    assert_ok(weft_log_read(self->log, 0, 10, true, INT64_MAX, self->pool, &frame));
    assert_int_equal((int64_t) frame.size, weft_log_bytes(self->log));
    weft_frame_drop(&frame);
    assert_ok(weft_log_read(self->log, 0, 10, false, INT64_MAX, self->pool, &frame));
    assert_int_equal(frame.size, 0);
}

static void test_log__rolls_by_size_and_says_so(void **state)
{
    struct fixture *self = *state;
    self->config.segment_bytes = 10000;
    weft_log_configure(self->log, &self->config);
    size_t rolls = 0;
    for (int i = 0; i < 200; i++) {
        bool rolled;
        assert_ok(fixture_try_append(self, 0, 1, 400, i, &rolled));
        rolls += rolled;
    }
    assert_true(rolls >= 9);
    assert_int_equal(weft_log_segment_count(self->log), rolls + 1);
    assert_int_equal(fixture_read_all(self), 200);
    fixture_sync(self);
    assert_int_equal(weft_log_synced_end(self->log), 200);
    fixture_reopen(self, 200);
    assert_int_equal(weft_log_segment_count(self->log), rolls + 1);
    assert_true(self->recovery.verified_bytes < 10000);
    assert_int_equal(self->recovery.indexes_rebuilt, 0);
    assert_int_equal(fixture_read_all(self), 200);
    assert_false(weft_log_dirty(self->log));
}

// Copies one log's batches into another, as many a call as go: the same segments, epochs and bytes result.
static void test_log__a_run_of_batches_is_what_the_batches_are_one_by_one(void **state)
{
    struct fixture *self = *state;
    struct weft_log_config config = self->config;
    config.segment_bytes = 10000;
    weft_log_configure(self->log, &config);
    for (int i = 0; i < 150; i++) fixture_append(self, i / 40, 1 + i % 3, 300);
    static const char *const other = FIXTURE_DIRECTORY "-run";
    weft_log_t *copy;
    struct weft_log_recovery recovery;
    struct weft_error error;
    assert_ok(weft_log_open(self->disk, other, &config, 0, &copy, &recovery, &error));
    size_t calls = 0;
    while (weft_log_end(copy) < weft_log_end(self->log)) {
        struct weft_batch batches[64];
        size_t count = 0, at = 0, taken = 0;
        weft_frame_t frame = WEFT_FRAME_EMPTY;
        assert_ok(weft_log_read(self->log, weft_log_end(copy), 1 << 20, true, INT64_MAX, self->pool, &frame));
        weft_slice_t bytes = weft_frame_slice(&frame);
        for (; count < 64 && at < bytes.size; at += weft_batch_bytes(&batches[count++]))
            assert_ok(weft_batch_verify(weft_slice(bytes.data + at, bytes.size - at), &batches[count]));
        bool rolled;
        assert_ok(weft_log_append_run(copy, bytes, batches, count, &taken, &rolled));
        assert_in_range(taken, 1, count);
        assert_int_equal(weft_log_end(copy), weft_batch_next_offset(&batches[taken - 1]));
        weft_log_check(copy);
        weft_frame_drop(&frame);
        calls++;
    }
    assert_true(calls < 40); // one for each segment's first, one for the rest, and at every new epoch
    assert_int_equal(weft_log_segment_count(copy), weft_log_segment_count(self->log));
    assert_int_equal(weft_log_bytes(copy), weft_log_bytes(self->log));
    assert_int_equal(weft_log_last_epoch(copy), 3);
    for (int32_t epoch = 0; epoch < 4; epoch++) {
        int32_t found[2];
        int64_t end[2];
        weft_log_epoch_end(self->log, epoch, &found[0], &end[0]);
        weft_log_epoch_end(copy, epoch, &found[1], &end[1]);
        assert_true(found[0] == found[1] && end[0] == end[1]);
    }
    weft_log_destroy(&copy);
    assert_ok(weft_log_open(self->disk, other, &config, 0, &copy, &recovery, &error));
    assert_int_equal(weft_log_end(copy), weft_log_end(self->log));
    assert_int_equal(recovery.cut_bytes, 0);
    weft_log_destroy(&copy);
}

static void test_log__rolls_by_age_of_the_first_record(void **state)
{
    struct fixture *self = *state;
    bool rolled;
    self->config.segment_ms = 1000;
    weft_log_configure(self->log, &self->config);
    assert_ok(fixture_try_append(self, 0, 1, 10, 5000, &rolled));
    assert_ok(fixture_try_append(self, 0, 1, 10, 5999, &rolled));
    assert_false(rolled);
    assert_ok(fixture_try_append(self, 0, 1, 10, 6000, &rolled));
    assert_true(rolled);
}

static void test_log__refuses_a_batch_of_an_older_epoch(void **state)
{
    struct fixture *self = *state;
    bool rolled;
    fixture_append(self, 5, 1, 10);
    assert_err(fixture_try_append(self, 4, 1, 10, 0, &rolled), WEFT_ERR_STALE_EPOCH);
    assert_int_equal(weft_log_end(self->log), 1);
}

static void test_log__answers_where_an_epoch_ends(void **state)
{
    struct fixture *self = *state;
    static const struct {
        int32_t asked, found;
        int64_t end;
    } cases[] = {{0, -1, 0}, {1, 1, 10}, {2, 1, 10}, {3, 3, 30}, {4, 3, 30}, {7, 7, 60}, {8, 7, 60}, {100, 7, 60}};
    fixture_append(self, 1, 10, 10);
    fixture_append(self, 3, 10, 10);
    fixture_append(self, 3, 10, 10);
    fixture_append(self, 7, 30, 10);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            int32_t found;
            int64_t end;
            weft_log_epoch_end(self->log, cases[i].asked, &found, &end);
            assert_int_equal(found, cases[i].found);
            assert_int_equal(end, cases[i].end);
        }
        fixture_sync(self);
        fixture_reopen(self, 60);
    }
    assert_ok(weft_log_truncate(self->log, 30));
    assert_int_equal(weft_log_last_epoch(self->log), 3);
}

static void test_log__finds_the_first_record_by_time(void **state)
{
    struct fixture *self = *state;
    int64_t offset, time;
    bool rolled;
    self->config.segment_bytes = 5000;
    self->config.index_interval_bytes = 300;
    weft_log_configure(self->log, &self->config);
    // Times of each batch: 1000 * i, and 9 ms on from there; batch 50 is far ahead of its neighbours.
    for (int i = 0; i < 100; i++) assert_ok(fixture_try_append(self, 0, 10, 20, i == 50 ? 70500 : i * 1000, &rolled));
    assert_ok(weft_log_offset_by_time(self->log, 0, &offset, &time));
    assert_int_equal(offset, 0);
    assert_ok(weft_log_offset_by_time(self->log, 30005, &offset, &time));
    assert_int_equal(offset, 305);
    assert_int_equal(time, 30005);
    assert_ok(weft_log_offset_by_time(self->log, 30010, &offset, &time));
    assert_int_equal(offset, 310);
    assert_ok(weft_log_offset_by_time(self->log, 60000, &offset, &time));
    assert_int_equal(offset, 500);
    assert_ok(weft_log_offset_by_time(self->log, 70510, &offset, &time));
    assert_int_equal(offset, 710);
    assert_ok(weft_log_offset_by_time(self->log, 99010, &offset, &time));
    assert_int_equal(offset, -1);
    // Deleted records are not found.
    assert_ok(weft_log_trim(self->log, 303));
    assert_ok(weft_log_offset_by_time(self->log, 0, &offset, &time));
    assert_int_equal(offset, 303);
}

static void test_log__truncates_on_batch_boundaries_and_takes_new_batches(void **state)
{
    struct fixture *self = *state;
    self->config.segment_bytes = 3000;
    weft_log_configure(self->log, &self->config);
    for (int i = 0; i < 50; i++) fixture_append(self, 1, 10, 20);
    size_t segments = weft_log_segment_count(self->log);
    assert_true(segments > 3);
    fixture_sync(self);
    assert_ok(weft_log_truncate(self->log, 500));
    assert_int_equal(weft_log_end(self->log), 500);
    assert_ok(weft_log_truncate(self->log, 255));
    assert_int_equal(weft_log_end(self->log), 250);
    assert_int_equal(weft_log_synced_end(self->log), 250);
    assert_true(weft_log_segment_count(self->log) < segments);
    fixture_append(self, 2, 5, 20);
    assert_int_equal(fixture_read_all(self), 255);
    // The checkpoint may still say 500.
    fixture_reopen(self, 500);
    assert_int_equal(weft_log_end(self->log), 255);
    assert_int_equal(weft_log_last_epoch(self->log), 2);
    assert_err(weft_log_truncate(self->log, -1), WEFT_ERR_OFFSET_OUT_OF_RANGE);
    assert_ok(weft_log_truncate(self->log, 0));
    assert_int_equal(weft_log_end(self->log), 0);
    assert_int_equal(weft_log_last_epoch(self->log), -1);
}

static void test_log__forgets_a_truncation_once_all_is_synced_again(void **state)
{
    struct fixture *self = *state;
    for (int i = 0; i < 10; i++) fixture_append(self, 1, 1, 20);
    fixture_sync(self);
    assert_ok(weft_log_truncate(self->log, 5));
    assert_int_equal(fixture_size(self, "cut"), 24);
    for (int i = 0; i < 5; i++) fixture_append(self, 2, 1, 20);
    fixture_sync(self);
    assert_int_equal(fixture_size(self, "cut"), -1);
}

static void test_log__a_sync_from_before_a_truncation_says_nothing_about_the_end(void **state)
{
    struct fixture *self = *state;
    struct weft_log_sync job;
    for (int i = 0; i < 10; i++) fixture_append(self, 1, 1, 20);
    assert_true(weft_log_sync_begin(self->log, &job));
    assert_ok(weft_log_truncate(self->log, 5));
    for (int i = 0; i < 20; i++) fixture_append(self, 2, 1, 20);
    weft_log_sync_run(&job);
    assert_ok(weft_log_sync_done(self->log, &job));
    assert_true(weft_log_synced_end(self->log) <= 5);
    fixture_sync(self);
    assert_int_equal(weft_log_synced_end(self->log), 25);
}

static void test_log__trims_and_removes_whole_segments_below(void **state)
{
    struct fixture *self = *state;
    weft_frame_t frame;
    self->config.segment_bytes = 3000;
    weft_log_configure(self->log, &self->config);
    for (int i = 0; i < 50; i++) fixture_append(self, 1, 10, 20);
    size_t segments = weft_log_segment_count(self->log);
    assert_err(weft_log_trim(self->log, 501), WEFT_ERR_OFFSET_OUT_OF_RANGE);
    assert_ok(weft_log_trim(self->log, 255));
    assert_int_equal(weft_log_start(self->log), 255);
    assert_true(weft_log_segment_count(self->log) < segments);
    assert_err(weft_log_read(self->log, 254, 100, true, INT64_MAX, self->pool, &frame), WEFT_ERR_OFFSET_OUT_OF_RANGE);
    assert_ok(weft_log_read(self->log, 255, 100, true, INT64_MAX, self->pool, &frame));
    weft_frame_drop(&frame);
    assert_err(weft_log_trim(self->log, 254), WEFT_ERR_OFFSET_OUT_OF_RANGE);
    fixture_reopen(self, 0);
    assert_int_equal(weft_log_start(self->log), 255);
    assert_ok(weft_log_trim(self->log, 500));
    fixture_reopen(self, 0);
    assert_int_equal(weft_log_start(self->log), 500);
    assert_int_equal(weft_log_end(self->log), 500);
    fixture_append(self, 1, 1, 20);
    assert_int_equal(fixture_read_all(self), 501);
}

static void test_log__retains_by_time_and_by_bytes_but_nothing_above_the_limit(void **state)
{
    struct fixture *self = *state;
    size_t removed;
    bool rolled;
    self->config.segment_bytes = 2000;
    self->config.retention_ms = 10000;
    weft_log_configure(self->log, &self->config);
    for (int i = 0; i < 50; i++) assert_ok(fixture_try_append(self, 1, 1, 200, i * 1000, &rolled));
    assert_ok(weft_log_retain(self->log, 30000, 0, &removed));
    assert_int_equal(removed, 0);
    assert_ok(weft_log_retain(self->log, 30000, 50, &removed));
    assert_true(removed > 0);
    assert_true(weft_log_start(self->log) <= 20 && weft_log_start(self->log) > 10);
    // Too old as a whole: the active segment is rolled and goes too.
    assert_ok(weft_log_retain(self->log, 1000000, 50, &removed));
    assert_int_equal(weft_log_start(self->log), 50);
    assert_int_equal(weft_log_bytes(self->log), 0);

    self->config.retention_ms = -1;
    self->config.retention_bytes = 5000;
    weft_log_configure(self->log, &self->config);
    for (int i = 0; i < 50; i++) fixture_append(self, 1, 1, 200);
    assert_ok(weft_log_retain(self->log, 0, 100, &removed));
    assert_true(weft_log_bytes(self->log) >= 5000 && weft_log_bytes(self->log) < 7000);
    fixture_reopen(self, 0);
    assert_int_equal(fixture_read_all(self), 100);
}

static void test_log__timestamps_of_the_future_hold_deletion_back_by_retention_only(void **state)
{
    struct fixture *self = *state;
    size_t removed;
    bool rolled;
    self->config.segment_bytes = 1000;
    self->config.retention_ms = 10000;
    weft_log_configure(self->log, &self->config);
    for (int i = 0; i < 10; i++) assert_ok(fixture_try_append(self, 1, 1, 300, INT64_MAX / 4, &rolled));
    assert_ok(weft_log_retain(self->log, 1000, 10, &removed));
    assert_int_equal(removed, 0);
    assert_ok(weft_log_retain(self->log, 10000, 10, &removed));
    assert_int_equal(removed, 0);
    assert_ok(weft_log_retain(self->log, 12000, 10, &removed));
    assert_true(removed > 0);
}

// Times are the producers' to give.
static void test_log__any_time_that_a_producer_gives_is_taken(void **state)
{
    struct fixture *self = *state;
    bool rolled;
    size_t removed;
    int64_t offset, timestamp_ms;
    self->config.segment_ms = 1000;
    weft_log_configure(self->log, &self->config);
    assert_ok(fixture_try_append(self, 1, 1, 20, INT64_MIN, &rolled));
    assert_ok(fixture_try_append(self, 1, 1, 20, INT64_MAX, &rolled));
    assert_true(rolled);
    assert_ok(fixture_try_append(self, 1, 1, 20, -5, &rolled));
    assert_false(rolled);
    assert_ok(weft_log_retain(self->log, 1000, 3, &removed));
    assert_ok(weft_log_offset_by_time(self->log, INT64_MAX, &offset, &timestamp_ms));
    assert_int_equal(offset, 1);
    assert_int_equal(timestamp_ms, INT64_MAX);
    assert_ok(weft_log_offset_by_time(self->log, INT64_MIN, &offset, &timestamp_ms));
    assert_int_equal(offset, 0);
    fixture_reopen(self, 0);
    assert_int_equal(fixture_read_all(self), 3);
}

// A machine whose clock was behind when it started: what was written before looks as if it came from the future.
static void test_log__clock_that_was_behind_for_a_while_deletes_nothing_early(void **state)
{
    struct fixture *self = *state;
    size_t removed;
    bool rolled;
    self->config.segment_bytes = 1000;
    self->config.retention_ms = 10000;
    weft_log_configure(self->log, &self->config);
    for (int i = 0; i < 10; i++) assert_ok(fixture_try_append(self, 1, 1, 300, 1000000, &rolled));
    assert_ok(weft_log_retain(self->log, 10, 10, &removed));      // long before all was written
    assert_ok(weft_log_retain(self->log, 1000500, 10, &removed)); // the clock was set right
    assert_int_equal(removed, 0);
    assert_ok(weft_log_retain(self->log, 1010500, 10, &removed));
    assert_true(removed > 0);
}

static weft_err_t s_count(void *context, const struct weft_batch *batch)
{
    int64_t *expected = context;
    assert_int_equal(batch->base_offset, *expected);
    *expected = weft_batch_next_offset(batch);
    return *expected == 777 ? WEFT_ERR_INTERNAL : WEFT_OK;
}

static void test_log__scans_headers_in_order_and_stops_at_an_error(void **state)
{
    struct fixture *self = *state;
    self->config.segment_bytes = 3000;
    weft_log_configure(self->log, &self->config);
    for (int i = 0; i < 300; i++) fixture_append(self, 1, 7, 20);
    int64_t next = 0;
    assert_err(weft_log_scan(self->log, 0, s_count, &next), WEFT_ERR_INTERNAL);
    assert_int_equal(next, 777);
    next = 1400;
    assert_ok(weft_log_scan(self->log, 1403, s_count, &next));
    assert_int_equal(next, 2100);
}

static void test_log__estimates_the_bytes_between_two_offsets(void **state)
{
    struct fixture *self = *state;
    self->config.segment_bytes = 30000;
    self->config.index_interval_bytes = 500;
    weft_log_configure(self->log, &self->config);
    for (int i = 0; i < 300; i++) fixture_append(self, 1, 1, 400);
    int64_t each = weft_log_bytes(self->log) / 300;
    assert_int_equal(weft_log_bytes_between(self->log, 0, 300), weft_log_bytes(self->log));
    assert_int_equal(weft_log_bytes_between(self->log, 300, 300), 0);
    assert_true(weft_log_bytes_between(self->log, 299, 300) > 0);
    int64_t half = weft_log_bytes_between(self->log, 100, 200);
    assert_true(half > 95 * each && half < 105 * each);
}

static void test_log__keeps_snapshots_and_drops_those_of_a_lost_future(void **state)
{
    struct fixture *self = *state;
    weft_buf_t bytes;
    int64_t at;
    weft_buf_init(&bytes);
    assert_err(weft_log_snapshot_get(self->log, 100, &at, &bytes), WEFT_ERR_NOT_FOUND);
    for (int i = 0; i < 3; i++) {
        char text[16];
        fixture_append(self, 1, 10, 10);
        snprintf(text, sizeof text, "at %d", 10 * (i + 1));
        assert_ok(weft_log_snapshot_put(self->log, 10 * (i + 1), weft_slice_text(text)));
    }
    fixture_sync(self);
    fixture_reopen(self, 30);
    assert_ok(weft_log_snapshot_get(self->log, 30, &at, &bytes));
    assert_int_equal(at, 30);
    assert_slice(weft_buf_slice(&bytes), "at 30");
    assert_ok(weft_log_snapshot_get(self->log, 29, &at, &bytes));
    assert_slice(weft_buf_slice(&bytes), "at 20");
    assert_err(weft_log_snapshot_get(self->log, 19, &at, &bytes), WEFT_ERR_NOT_FOUND); // the third oldest went
    // A bad one is passed over.
    fixture_overwrite(self, "00000000000000000030.sessions", 25, "X");
    assert_ok(weft_log_snapshot_get(self->log, 30, &at, &bytes));
    assert_int_equal(at, 20);
    assert_ok(weft_log_truncate(self->log, 15));
    assert_err(weft_log_snapshot_get(self->log, 30, &at, &bytes), WEFT_ERR_NOT_FOUND);
    assert_int_equal(fixture_size(self, "00000000000000000020.sessions"), -1);
    weft_buf_fini(&bytes);
}

static void test_log__idles_without_descriptors_and_goes_on(void **state)
{
    struct fixture *self = *state;
    self->config.segment_bytes = 3000;
    weft_log_configure(self->log, &self->config);
    for (int i = 0; i < 50; i++) {
        fixture_append(self, 1, 1, 100);
        if (i % 7 == 0) fixture_sync(self);
        weft_log_idle(self->log);
    }
    assert_int_equal(fixture_read_all(self), 50);
    weft_log_idle(self->log);
    fixture_append(self, 2, 1, 100);
    fixture_reopen(self, 0);
    assert_int_equal(fixture_read_all(self), 51);
}

static void test_log__verifies_what_a_reader_suspects_and_names_the_place(void **state)
{
    struct fixture *self = *state;
    self->config.index_interval_bytes = 500;
    weft_log_configure(self->log, &self->config);
    for (int i = 0; i < 50; i++) fixture_append(self, 0, 2, 100);
    fixture_sync(self);
    weft_log_idle(self->log);
    int64_t each = weft_log_bytes(self->log) / 50;
    for (int64_t offset = 0; offset < 100; offset++) assert_ok(weft_log_verify_at(self->log, offset, &self->error));
    assert_err(weft_log_verify_at(self->log, 100, &self->error), WEFT_ERR_OFFSET_OUT_OF_RANGE);

    fixture_overwrite(self, "00000000000000000000.log", 5 * each + 100, "rot");
    assert_err(weft_log_verify_at(self->log, 11, &self->error), WEFT_ERR_DAMAGED);
    assert_non_null(strstr(self->error.text, "00000000000000000000.log: byte "));
    assert_non_null(strstr(self->error.text, "offsets 10 to 11 "));
    assert_ok(weft_log_verify_at(self->log, 12, &self->error));

    fixture_overwrite(self, "00000000000000000000.log", 20 * each, "rot"); // no header tells where it ends
    assert_err(weft_log_verify_at(self->log, 40, &self->error), WEFT_ERR_DAMAGED);
    const char *told = strstr(self->error.text, "from offset ");
    assert_non_null(told);
    int64_t next = strtoll(told + strlen("from offset "), NULL, 10);
    assert_in_range(next, 42, 60);
    for (; next < 100; next++) assert_ok(weft_log_verify_at(self->log, next, &self->error));
}

static void test_log__many_rolls_between_two_syncs_are_synced_in_several_jobs(void **state)
{
    struct fixture *self = *state;
    struct weft_log_sync job;
    self->config.segment_bytes = 500;
    weft_log_configure(self->log, &self->config);
    for (int i = 0; i < 100; i++) fixture_append(self, 1, 1, 300);
    assert_true(weft_log_sync_begin(self->log, &job));
    assert_true(job.end_offset < 100);
    weft_log_sync_run(&job);
    assert_ok(weft_log_sync_done(self->log, &job));
    assert_true(weft_log_dirty(self->log));
    assert_int_equal(weft_log_synced_end(self->log), job.end_offset);
    fixture_sync(self);
    assert_int_equal(weft_log_synced_end(self->log), 100);
    assert_false(weft_log_dirty(self->log));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_log__an_empty_log_is_empty, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_log__reads_whole_batches_below_the_limit_from_the_one_that_holds_the_offset, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__reads_a_batch_larger_than_asked_for_and_than_the_pool, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__rolls_by_size_and_says_so, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__a_run_of_batches_is_what_the_batches_are_one_by_one, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__rolls_by_age_of_the_first_record, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__refuses_a_batch_of_an_older_epoch, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__answers_where_an_epoch_ends, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__finds_the_first_record_by_time, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__truncates_on_batch_boundaries_and_takes_new_batches, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__forgets_a_truncation_once_all_is_synced_again, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__a_sync_from_before_a_truncation_says_nothing_about_the_end,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__trims_and_removes_whole_segments_below, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__retains_by_time_and_by_bytes_but_nothing_above_the_limit,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__timestamps_of_the_future_hold_deletion_back_by_retention_only,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__any_time_that_a_producer_gives_is_taken, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__clock_that_was_behind_for_a_while_deletes_nothing_early,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__scans_headers_in_order_and_stops_at_an_error, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__estimates_the_bytes_between_two_offsets, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__keeps_snapshots_and_drops_those_of_a_lost_future, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__idles_without_descriptors_and_goes_on, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__verifies_what_a_reader_suspects_and_names_the_place, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log__many_rolls_between_two_syncs_are_synced_in_several_jobs,
                                        fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
