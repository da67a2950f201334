// SPDX-License-Identifier: MPL-2.0
// What compaction leaves, case by case; crashes and random histories are in test_log_compact_crash.c.
#include "compact_fixture.h"

#include "../../../lib/log/inspect.h"
#include "../../support/fault_disk.h"

static void s_puts(struct compact_fixture *self, int count, int keys)
{
    for (int i = 0; i < count; i++) compact_put(self, i % keys);
}

static void test_log_compact__newest_record_of_each_key_stays(void **state)
{
    struct compact_fixture *self = *state;
    s_puts(self, 60, 7);
    compact_roll(self);
    size_t segments = weft_log_segment_count(self->log.log);
    assert_true(segments > 3);
    assert_true(compact_all(self));
    assert_int_equal(self->report.records_removed, 53);
    assert_int_equal(weft_log_compacted(self->log.log), 60);
    compact_check(self);
    assert_true(weft_log_segment_count(self->log.log) < segments); // small neighbours became one
    compact_reopen(self, 60);
    assert_int_equal(weft_log_compacted(self->log.log), 60);
    compact_check(self);
    s_puts(self, 20, 9);
    compact_roll(self);
    assert_true(compact_all(self));
    compact_check(self);
}

static void test_log_compact__batches_keep_what_is_left_and_count_what_is_gone(void **state)
{
    static const enum weft_codec codecs[] = {WEFT_CODEC_NONE, WEFT_CODEC_LZ4, WEFT_CODEC_ZSTD};
    struct compact_fixture *self = *state;
    const struct item items[] = {{1, 0}, {2, 0}, {NO_KEY, 0}, {1, 0}, {3, 0},
                                 {4, 0}, {2, 0}, {5, 0},      {5, 0}, {NO_KEY, 1}};
    for (size_t i = 0; i < 3; i++) {
        self->now_ms += 100;
        assert_ok(compact_try_append(self, items, 10, codecs[i], -1));
    }
    compact_append(self, items + 3, 2);
    compact_roll(self);
    assert_true(compact_all(self));
    compact_check(self);
    s_puts(self, 5, 3); // gaps of one run meet those of the next
    compact_roll(self);
    assert_true(compact_all(self));
    compact_check(self);
    compact_reopen(self, weft_log_end(self->log.log));
    compact_check(self);
}

static void test_log_compact__emptied_neighbours_become_one_gap_within_their_epoch(void **state)
{
    struct compact_fixture *self = *state;
    self->log.config.segment_bytes = 8000;
    weft_log_configure(self->log.log, &self->log.config);
    s_puts(self, 10, 1);
    self->epoch = 2;
    s_puts(self, 10, 1);
    compact_put(self, 2);
    s_puts(self, 10, 1);
    compact_roll(self);
    compact_put(self, 1);
    assert_true(compact_all(self));
    compact_check(self);
    struct compact_headers headers = compact_headers(self);
    assert_int_equal(headers.gaps, 3); // epoch 1; epoch 2 before key 2, and behind it
    assert_int_equal(headers.count, 3 + 2 + 1);
    int32_t epoch;
    int64_t end;
    weft_log_epoch_end(self->log.log, 1, &epoch, &end);
    assert_int_equal(end, 10);
    compact_reopen(self, weft_log_synced_end(self->log.log));
    weft_log_epoch_end(self->log.log, 1, &epoch, &end);
    assert_int_equal(end, 10);
    compact_check(self);
}

static void test_log_compact__nothing_to_change_leaves_the_files(void **state)
{
    struct compact_fixture *self = *state;
    self->log.config.segment_bytes = 300;
    weft_log_configure(self->log.log, &self->log.config);
    s_puts(self, 30, 100);
    compact_roll(self);
    assert_true(compact_all(self));
    assert_int_equal(self->report.written_bytes, 0);
    assert_int_equal(weft_log_compacted(self->log.log), 30);
    compact_check(self);
}

static void test_log_compact__tombstone_stays_for_its_time_then_goes_and_is_told_of(void **state)
{
    struct compact_fixture *self = *state;
    const struct item items[] = {{8, 0}, {7, 1}, {9, 0}};
    compact_put(self, 7);
    compact_append(self, items, 3);
    compact_roll(self);
    assert_true(compact_all(self));
    assert_int_equal(self->report.next_horizon_ms, self->now_ms + 1000);
    assert_int_equal(self->report.tombstones_removed, 0);
    compact_check(self); // timestamps, too, though the batch's base is the horizon now
    assert_false(self->records[2].gone);
    self->now_ms += 999;
    assert_true(compact_all(self));
    assert_int_equal(self->report.tombstones_removed, 0);
    assert_int_equal(weft_log_tombstones_below(self->log.log), 0);
    self->now_ms += 1;
    self->tombstones_limit = 2; // a follower is not there yet
    assert_true(compact_all(self));
    assert_int_equal(self->report.tombstones_removed, 0);
    self->tombstones_limit = 3;
    assert_true(compact_all(self));
    assert_int_equal(self->report.tombstones_removed, 1);
    assert_int_equal(weft_log_tombstones_below(self->log.log), 3);
    compact_check(self);
    assert_true(self->records[2].gone);
    compact_reopen(self, 4);
    assert_int_equal(weft_log_tombstones_below(self->log.log), 3);
    compact_check(self);
}

static void test_log_compact__tombstone_under_log_append_time_keeps_its_timestamp(void **state)
{
    struct compact_fixture *self = *state;
    struct weft_batch batch;
    weft_buf_t bytes;
    bool rolled;
    weft_batch_builder_t builder;
    weft_buf_init(&bytes);
    weft_batch_builder_init(&builder);
    weft_batch_builder_add(&builder, 5, weft_slice_text("k"), WEFT_SLICE_NIL, WEFT_SLICE_NIL);
    assert_ok(weft_batch_builder_finish(&builder, WEFT_CODEC_NONE, -1, -1, -1, &bytes));
    assert_ok(weft_batch_read(weft_buf_slice(&bytes), &batch));
    weft_batch_stamp_append_time(bytes.data, 0, 1, 777, &batch);
    assert_ok(weft_log_append(self->log.log, weft_buf_slice(&bytes), WEFT_SLICE_NIL, &batch, &rolled));
    compact_roll(self);
    assert_true(compact_all(self));
    int64_t offset, timestamp_ms;
    assert_ok(weft_log_offset_by_time(self->log.log, 700, &offset, &timestamp_ms));
    assert_int_equal(offset, 0);
    assert_int_equal(timestamp_ms, 777);
    weft_batch_builder_fini(&builder);
    weft_buf_fini(&bytes);
}

static void test_log_compact__headers_that_sessions_remember_stay(void **state)
{
    struct compact_fixture *self = *state;
    for (int i = 0; i < 12; i++)
        assert_ok(compact_try_append(self, &(struct item){.key = 1}, 1, WEFT_CODEC_NONE, i % 2));
    compact_put(self, 1);
    compact_roll(self);
    assert_true(compact_all(self));
    compact_check(self);
    compact_check_sessions(self);
    struct compact_headers headers = compact_headers(self);
    assert_int_equal(headers.empty, 4); // two batches of two producers
    assert_int_equal(headers.gaps, 1);
    for (int i = 0; i < 2; i++) // the older ones are forgotten now, and join the gap
        assert_ok(compact_try_append(self, &(struct item){.key = 1}, 1, WEFT_CODEC_ZSTD, 0));
    compact_roll(self);
    assert_true(compact_all(self));
    compact_check(self);
    compact_check_sessions(self);
}

static void test_log_compact__what_does_not_fit_into_memory_is_left_to_the_next(void **state)
{
    struct compact_fixture *self = *state;
    self->memory_bytes = 40 * 36; // 31 keys
    s_puts(self, 300, 100);
    compact_roll(self);
    int64_t before = -1;
    int rounds = 0;
    while (weft_log_compacted(self->log.log) < 300) {
        assert_true(compact_all(self));
        compact_check(self);
        assert_true(weft_log_compacted(self->log.log) > before);
        before = weft_log_compacted(self->log.log);
        assert_true(++rounds < 50);
    }
    assert_true(rounds > 3);
    self->memory_bytes = 1; // one key a run, at least
    compact_append(self, (const struct item[]){{1, 0}, {2, 0}, {1, 0}, {3, 0}}, 4);
    compact_roll(self);
    for (rounds = 0; weft_log_compacted(self->log.log) < 304; rounds++) {
        assert_true(compact_all(self));
        compact_check(self);
    }
    assert_true(rounds > 1);
}

static void test_log_compact__only_what_is_sealed_synced_below_the_limit_and_old_enough(void **state)
{
    struct compact_fixture *self = *state;
    struct weft_compact_dirt dirt;
    struct weft_compact_wish wish = {.limit = INT64_MAX};
    weft_compact_t *job;
    s_puts(self, 5, 1);
    assert_false(compact_begin(self, &job)); // not sealed
    bool rolled;
    assert_ok(weft_log_roll_due(self->log.log, 0, true, &rolled));
    assert_true(rolled);
    assert_false(compact_begin(self, &job)); // not synced
    fixture_sync(&self->log);
    self->limit = 4;
    assert_false(compact_begin(self, &job));
    self->limit = 5;
    self->lag_ms = 10;
    assert_false(compact_begin(self, &job));
    self->now_ms += 10;
    weft_log_compact_dirt(self->log.log, &wish, &dirt);
    assert_true(dirt.dirty_bytes > 0 && dirt.dirty_bytes == dirt.total_bytes && dirt.active_bytes == 0);
    assert_true(compact_all(self));
    weft_log_compact_dirt(self->log.log, &wish, &dirt);
    assert_true(dirt.dirty_bytes == 0 && dirt.total_bytes > 0);
    compact_put(self, 1);
    fixture_sync(&self->log);
    weft_log_compact_dirt(self->log.log, &wish, &dirt);
    assert_true(dirt.active_bytes > 0);
    assert_ok(weft_log_roll_due(self->log.log, INT64_MAX, false, &rolled)); // segment_ms -1: never
    assert_false(rolled);
}

// ---- what happens meanwhile

static void s_begin_dirty(struct compact_fixture *self, weft_compact_t **job)
{
    s_puts(self, 60, 7);
    compact_roll(self);
    assert_true(compact_begin(self, job));
    compact_run(*job, 1);
}

static void s_assert_void(struct compact_fixture *self, weft_compact_t **job)
{
    assert_ok(weft_log_compact_done(self->log.log, job, &self->report));
    assert_false(self->report.swapped);
    assert_int_equal(weft_log_compacted(self->log.log), 0);
    assert_int_equal(fixture_size(&self->log, "00000000000000000000.compact"), -1);
    assert_int_equal(fixture_size(&self->log, "00000000000000000000.compact-index"), -1);
}

static void test_log_compact__truncation_trim_and_reset_make_it_void(void **state)
{
    struct compact_fixture *self = *state;
    weft_compact_t *job;
    s_begin_dirty(self, &job);
    compact_put(self, 1);
    assert_ok(weft_log_truncate(self->log.log, 60));
    self->record_count--;
    s_assert_void(self, &job);
    compact_check(self);
    assert_true(compact_begin(self, &job));
    assert_ok(weft_log_trim(self->log.log, 30));
    compact_run(job, 1000); // segments went meanwhile
    s_assert_void(self, &job);
    compact_check(self);
    assert_true(compact_begin(self, &job));
    compact_run(job, 1000);
    assert_ok(weft_log_reset(self->log.log, 100));
    s_assert_void(self, &job);
    assert_int_equal(weft_log_start(self->log.log), 100);
}

static void test_log_compact__appends_and_reads_go_on(void **state)
{
    struct compact_fixture *self = *state;
    weft_compact_t *job, *second;
    s_begin_dirty(self, &job);
    assert_false(compact_begin(self, &second)); // one at a time
    s_puts(self, 30, 5);
    fixture_sync(&self->log);
    assert_int_equal(fixture_read_all(&self->log), 90);
    assert_ok(weft_log_compact_done(self->log.log, &job, &self->report));
    assert_true(self->report.swapped);
    compact_check(self);
}

static void test_log_compact__cancelled_it_ends_and_leaves_nothing(void **state)
{
    struct compact_fixture *self = *state;
    weft_compact_t *job;
    bool more;
    size_t moved;
    s_puts(self, 60, 7);
    compact_roll(self);
    assert_true(compact_begin(self, &job));
    for (int i = 0; i < 6; i++) assert_ok(weft_compact_step(job, 1, &more, &moved));
    assert_true(more);
    weft_compact_cancel(job);
    assert_ok(weft_compact_step(job, 1 << 20, &more, &moved));
    assert_false(more);
    s_assert_void(self, &job);
    compact_check(self);
}

static void test_log_compact__damage_is_named_and_nothing_is_swapped(void **state)
{
    struct compact_fixture *self = *state;
    weft_compact_t *job;
    s_puts(self, 60, 7);
    compact_roll(self);
    fixture_overwrite(&self->log, "00000000000000000000.log", 500, "rot");
    assert_true(compact_begin(self, &job));
    compact_run(job, 1000);
    assert_err(weft_log_compact_done(self->log.log, &job, &self->report), WEFT_ERR_DAMAGED);
    assert_false(self->report.swapped);
    assert_true(self->report.failed_at >= 3 && self->report.failed_at < 6);
    weft_log_check(self->log.log);
}

static void test_log_compact__mark_falls_with_a_truncation_below_it(void **state)
{
    struct compact_fixture *self = *state;
    s_puts(self, 60, 7);
    compact_roll(self);
    assert_true(compact_all(self));
    assert_ok(weft_log_truncate(self->log.log, 55)); // into the newest records: an unclean election
    assert_true(weft_log_compacted(self->log.log) <= 55);
    int64_t end = weft_log_end(self->log.log);
    compact_reopen(self, 60);
    assert_int_equal(weft_log_end(self->log.log), end);
    assert_true(weft_log_compacted(self->log.log) <= end);
}

static void test_log_compact__tombstones_of_where_it_was_copied_from_are_adopted(void **state)
{
    struct compact_fixture *self = *state;
    assert_ok(weft_log_tombstones_adopt(self->log.log, 500));
    assert_ok(weft_log_tombstones_adopt(self->log.log, 400));
    assert_int_equal(weft_log_tombstones_below(self->log.log), 500);
    assert_ok(weft_log_reset(self->log.log, 0));
    compact_reopen(self, 0);
    assert_int_equal(weft_log_tombstones_below(self->log.log), 500);
}

static void test_log_compact__offset_by_time_passes_gaps(void **state)
{
    struct compact_fixture *self = *state;
    for (int i = 0; i < 40; i++) {
        self->now_ms += 10;
        compact_put(self, i % 4);
    }
    compact_roll(self);
    assert_true(compact_all(self));
    int64_t offset, timestamp_ms;
    assert_ok(weft_log_offset_by_time(self->log.log, 1000050, &offset, &timestamp_ms));
    assert_int_equal(offset, 36);
    assert_int_equal(timestamp_ms, 1000370);
    // Every offset can be asked for, also one in the midst of a gap.
    for (int64_t from = 0; from < 40; from++) {
        weft_frame_t frame;
        struct weft_batch batch;
        assert_ok(weft_log_read(self->log.log, from, 1, true, INT64_MAX, self->log.pool, &frame));
        assert_ok(weft_batch_read(weft_frame_slice(&frame), &batch));
        assert_true(batch.base_offset <= from && weft_batch_next_offset(&batch) > from);
        weft_frame_drop(&frame);
    }
}

static void test_log_compact__truncation_into_a_gap_takes_it_whole(void **state)
{
    struct compact_fixture *self = *state;
    s_puts(self, 40, 1);
    compact_roll(self);
    assert_true(compact_all(self));
    assert_ok(weft_log_truncate(self->log.log, 20));
    assert_int_equal(weft_log_end(self->log.log), 0);
    s_puts(self, 3, 1);
}

static int64_t s_problems(struct compact_fixture *self)
{
    const struct weft_inspect how = {.indexes = true};
    struct weft_inspect_report report;
    assert_ok(weft_inspect_run(self->log.disk, FIXTURE_DIRECTORY, &how, &report, &self->log.error));
    return report.problems;
}

static void test_log_compact__inspection_passes_gaps_and_a_swap_cut_short(void **state)
{
    struct compact_fixture *self = *state;
    const struct weft_fault fault = {.kinds = WEFT_FAULT_UNLINK, .nth = 1, .err = WEFT_ERR_DISK_FAILED};
    weft_fault_disk_t *faulty = weft_fault_disk_new(self->log.disk);
    weft_compact_t *job;
    s_puts(self, 60, 7);
    compact_roll(self);
    weft_log_destroy(&self->log.log);
    assert_ok(weft_log_open(weft_fault_disk_of(faulty), FIXTURE_DIRECTORY, &self->log.config, 60, &self->log.log,
                            &self->log.recovery, &self->log.error));
    assert_true(compact_begin(self, &job));
    compact_run(job, 1000);
    weft_fault_disk_arm(faulty, &fault);
    assert_err(weft_log_compact_done(self->log.log, &job, &self->report), WEFT_ERR_DISK_FAILED);
    assert_true(weft_log_broken(self->log.log)); // a start is to finish it
    weft_log_destroy(&self->log.log);
    weft_fault_disk_destroy(&faulty);
    assert_int_equal(s_problems(self), 0);
    fixture_open(&self->log, 60);
    compact_check(self);
    assert_int_equal(weft_log_compacted(self->log.log), 60);
    assert_int_equal(s_problems(self), 0);
}

#define compact_test(name) cmocka_unit_test_setup_teardown(test_log_compact__##name, compact_setup, compact_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        compact_test(newest_record_of_each_key_stays),
        compact_test(batches_keep_what_is_left_and_count_what_is_gone),
        compact_test(emptied_neighbours_become_one_gap_within_their_epoch),
        compact_test(nothing_to_change_leaves_the_files),
        compact_test(tombstone_stays_for_its_time_then_goes_and_is_told_of),
        compact_test(tombstone_under_log_append_time_keeps_its_timestamp),
        compact_test(headers_that_sessions_remember_stay),
        compact_test(what_does_not_fit_into_memory_is_left_to_the_next),
        compact_test(only_what_is_sealed_synced_below_the_limit_and_old_enough),
        compact_test(truncation_trim_and_reset_make_it_void),
        compact_test(appends_and_reads_go_on),
        compact_test(cancelled_it_ends_and_leaves_nothing),
        compact_test(damage_is_named_and_nothing_is_swapped),
        compact_test(mark_falls_with_a_truncation_below_it),
        compact_test(tombstones_of_where_it_was_copied_from_are_adopted),
        compact_test(offset_by_time_passes_gaps),
        compact_test(truncation_into_a_gap_takes_it_whole),
        compact_test(inspection_passes_gaps_and_a_swap_cut_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
