// SPDX-License-Identifier: MPL-2.0
// Files as a crash, rot or a hand may leave them: each is either repaired to exactly what may be kept, or refused with the place named and nothing changed.
#include "log_fixture.h"

#define FIRST "00000000000000000000"

static void s_fill(struct fixture *self, int batches)
{
    for (int i = 0; i < batches; i++) fixture_append(self, 1, 1, 100);
}

static int64_t s_each(struct fixture *self)
{
    return weft_log_bytes(self->log) / weft_log_end(self->log);
}

static void s_refused(struct fixture *self, int64_t synced_end, const char *file, const char *also)
{
    weft_log_destroy(&self->log);
    struct weft_crash_disk_stats before = weft_crash_disk_stats(self->crash);
    assert_err(fixture_try_open(self, synced_end), WEFT_ERR_DAMAGED);
    if (!strstr(self->error.text, file) || !strstr(self->error.text, also)) fail_msg("%s", self->error.text);
    struct weft_crash_disk_stats after = weft_crash_disk_stats(self->crash);
    assert_int_equal(before.writes, after.writes);
    assert_int_equal(before.bytes, after.bytes);
}

static void test_log_recovery__torn_tail_is_cut_to_the_last_whole_batch(void **state)
{
    struct fixture *self = *state;
    s_fill(self, 10);
    int64_t each = s_each(self);
    weft_log_destroy(&self->log);
    fixture_truncate_file(self, FIRST ".log", 9 * each + 33);
    fixture_open(self, 5);
    assert_int_equal(weft_log_end(self->log), 9);
    assert_int_equal(self->recovery.cut_bytes, 33);
    assert_int_equal(fixture_size(self, FIRST ".log"), 9 * each);
    assert_int_equal(fixture_read_all(self), 9);
}

static void test_log_recovery__a_batch_behind_a_hole_is_cut_and_never_comes_back(void **state)
{
    struct fixture *self = *state;
    s_fill(self, 10);
    int64_t each = s_each(self);
    weft_log_destroy(&self->log);
    fixture_overwrite(self, FIRST ".log", 6 * each + 90, "!!");
    fixture_open(self, 5);
    assert_int_equal(weft_log_end(self->log), 6);
    assert_int_equal(fixture_size(self, FIRST ".log"), 6 * each);
    fixture_append(self, 1, 1, 100);
    assert_int_equal(fixture_read_all(self), 7);
    fixture_reopen(self, 5);
    assert_int_equal(weft_log_end(self->log), 7);
}

static void test_log_recovery__damage_below_the_synced_end_is_refused_and_named(void **state)
{
    struct fixture *self = *state;
    char byte[64];
    s_fill(self, 10);
    int64_t each = s_each(self);
    weft_log_destroy(&self->log);
    fixture_unlink(self, "epochs");
    fixture_overwrite(self, FIRST ".log", 6 * each + 90, "!!");
    fixture_open(self, 6); // above: a torn tail
    weft_log_destroy(&self->log);
    fixture_open(self, 6);
    s_fill(self, 4);
    fixture_overwrite(self, FIRST ".log", 6 * each + 90, "!!");
    snprintf(byte, sizeof byte, "at byte %lld: offset 6 is expected", (long long) (6 * each));
    s_refused(self, 7, FIRST ".log'", byte);
    s_refused(self, 10, FIRST ".log'", "checksum");
}

static void test_log_recovery__a_log_shorter_than_what_was_synced_is_refused(void **state)
{
    struct fixture *self = *state;
    s_fill(self, 10);
    int64_t each = s_each(self);
    fixture_truncate_file(self, FIRST ".log", 8 * each);
    s_refused(self, 9, FIRST ".log'", "the file ends");
    fixture_unlink(self, FIRST ".log");
    s_refused(self, 9, FIXTURE_DIRECTORY, "no segment with offset 0");
    fixture_open(self, 0);
    assert_int_equal(weft_log_end(self->log), 0);
}

static void test_log_recovery__zeros_behind_the_end_are_no_damage(void **state)
{
    struct fixture *self = *state;
    s_fill(self, 10);
    int64_t each = s_each(self);
    weft_log_destroy(&self->log);
    fixture_truncate_file(self, FIRST ".log", 10 * each + 100000);
    fixture_open(self, 10);
    assert_int_equal(weft_log_end(self->log), 10);
    assert_int_equal(self->recovery.cut_bytes, 0);
    assert_int_equal(fixture_size(self, FIRST ".log"), 10 * each);
}

static void test_log_recovery__a_batch_of_an_older_epoch_or_other_offset_ends_the_log(void **state)
{
    struct fixture *self = *state;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    for (int round = 0; round < 2; round++) {
        weft_log_destroy(&self->log);
        fixture_open(self, 0);
        assert_ok(weft_log_truncate(self->log, 0));
        for (int i = 0; i < 5; i++) fixture_append(self, 7, 1, 100);
        int64_t size = weft_log_bytes(self->log);
        weft_log_destroy(&self->log);
        weft_test_batch(&bytes, round ? 6 : 5, round ? 7 : 6, 1, 100);
        weft_file_t *file;
        assert_ok(self->disk->ops->open(self->disk, FIXTURE_DIRECTORY "/" FIRST ".log", WEFT_OPEN_WRITE, &file));
        weft_slice_t slice = weft_buf_slice(&bytes);
        assert_ok(self->disk->ops->pwritev(file, &slice, 1, size));
        self->disk->ops->close(&file);
        fixture_open(self, 0);
        assert_int_equal(weft_log_end(self->log), 5);
        assert_int_equal(self->recovery.cut_bytes, (int64_t) slice.size);
    }
    weft_buf_fini(&bytes);
}

// Three sealed segments and an active one, all synced.
static void s_segments(struct fixture *self)
{
    self->config.segment_bytes = 5000;
    self->config.index_interval_bytes = 500;
    weft_log_configure(self->log, &self->config);
    while (weft_log_segment_count(self->log) < 4) fixture_append(self, 1, 1, 100);
    s_fill(self, 3);
    fixture_sync(self);
}

static void s_second(struct fixture *self, const char *suffix, char *name, size_t room)
{
    // Sizes are equal, so the second segment begins where as many batches as the first holds are behind.
    int64_t count = fixture_size(self, FIRST ".log") / s_each(self);
    snprintf(name, room, "%020lld%s", (long long) count, suffix);
    assert_true(fixture_size(self, name) >= 0);
}

static void test_log_recovery__a_missing_middle_segment_is_refused(void **state)
{
    struct fixture *self = *state;
    char name[64];
    s_segments(self);
    int64_t end = weft_log_end(self->log);
    s_second(self, ".log", name, sizeof name);
    fixture_unlink(self, name);
    s_refused(self, end, FIRST ".log'", "no segment goes on");
    // Never synced: cut, with all behind it.
    fixture_open(self, 0);
    assert_true(weft_log_end(self->log) < end);
    assert_int_equal(weft_log_segment_count(self->log), 1);
    fixture_append(self, 1, 1, 100);
    assert_int_equal(fixture_read_all(self), weft_log_end(self->log));
}

static void test_log_recovery__a_segment_under_a_wrong_name_is_refused(void **state)
{
    struct fixture *self = *state;
    char name[64], from[128], to[128];
    s_segments(self);
    int64_t end = weft_log_end(self->log);
    s_second(self, ".log", name, sizeof name);
    weft_log_destroy(&self->log);
    snprintf(from, sizeof from, FIXTURE_DIRECTORY "/%s", name);
    snprintf(to, sizeof to, FIXTURE_DIRECTORY "/%s.log", "00000000000000000005");
    assert_ok(self->disk->ops->rename(self->disk, from, to));
    s_refused(self, end, FIXTURE_DIRECTORY, "");
    assert_ok(self->disk->ops->rename(self->disk, to, FIXTURE_DIRECTORY "/old.log"));
    s_refused(self, end, FIRST ".log'", "no segment goes on");
    assert_ok(self->disk->ops->rename(self->disk, FIXTURE_DIRECTORY "/old.log", from));
    fixture_open(self, end);
    assert_int_equal(fixture_read_all(self), end);
}

static void test_log_recovery__lost_and_wrong_indexes_are_built_again(void **state)
{
    struct fixture *self = *state;
    char name[64];
    s_segments(self);
    int64_t end = weft_log_end(self->log), offset, time;
    s_second(self, ".index", name, sizeof name);
    int64_t size = fixture_size(self, name);
    for (int round = 0; round < 5; round++) {
        weft_log_destroy(&self->log);
        if (round == 0) fixture_unlink(self, name);
        if (round == 1) fixture_truncate_file(self, name, size + 2400);
        if (round == 2) fixture_truncate_file(self, name, 30);
        if (round == 3) fixture_overwrite(self, name, 25, "wrong"); // found when it is used
        if (round == 4) fixture_overwrite(self, name, size - 40, "wrong");
        fixture_open(self, end);
        assert_int_equal(self->recovery.indexes_rebuilt, round == 3 ? 0 : 1);
        assert_int_equal(fixture_read_all(self), end);
        for (int64_t at = 0; at < end; at++) {
            weft_frame_t frame;
            assert_ok(weft_log_read(self->log, at, 1, true, INT64_MAX, self->pool, &frame));
            weft_frame_drop(&frame);
            assert_ok(weft_log_offset_by_time(self->log, 1000 + at, &offset, &time));
            assert_int_equal(offset, at);
        }
        assert_int_equal(fixture_size(self, name), size);
    }
}

static void test_log_recovery__damage_in_a_sealed_segment_is_not_served(void **state)
{
    struct fixture *self = *state;
    char name[64];
    s_segments(self);
    int64_t end = weft_log_end(self->log), second;
    s_second(self, ".log", name, sizeof name);
    second = atoll(name);
    // The header: found by every read that passes.
    fixture_overwrite(self, name, 0, "x");
    weft_frame_t frame;
    assert_err(weft_log_read(self->log, second, 100, true, INT64_MAX, self->pool, &frame), WEFT_ERR_DAMAGED);
    assert_ok(weft_log_read(self->log, second - 1, 10000, true, INT64_MAX, self->pool, &frame));
    weft_frame_drop(&frame);
    // A sealed segment whose size and footer fit is not read again by a start; without its index it is.
    fixture_reopen(self, end);
    s_second(self, ".index", name, sizeof name);
    fixture_unlink(self, name);
    s_refused(self, end, ".log'", "byte 0");
}

// Taken for one that ends above the limit it would be answered with nothing, for ever.
static void test_log_recovery__a_batch_that_reaches_beyond_its_segment_is_damage(void **state)
{
    struct fixture *self = *state;
    char name[64];
    s_segments(self);
    int64_t end = weft_log_end(self->log), second;
    s_second(self, ".log", name, sizeof name);
    second = atoll(name);
    fixture_overwrite(self, name, 26, "x"); // the first byte of last_offset_delta
    weft_frame_t frame;
    assert_err(weft_log_read(self->log, second, 10000, true, end, self->pool, &frame), WEFT_ERR_DAMAGED);
}

static void test_log_recovery__epochs_are_read_from_the_batches_when_their_file_is_bad(void **state)
{
    struct fixture *self = *state;
    int32_t found;
    int64_t end;
    for (int epoch = 1; epoch <= 5; epoch++)
        for (int i = 0; i < 3; i++) fixture_append(self, epoch, 1, 100);
    fixture_sync(self);
    for (int round = 0; round < 4; round++) {
        weft_log_destroy(&self->log);
        if (round == 0) fixture_unlink(self, "epochs");
        if (round == 1) fixture_truncate_file(self, "epochs", 40);
        if (round == 2) fixture_overwrite(self, "epochs", 17, "x");
        if (round == 3) fixture_truncate_file(self, "epochs", 0);
        fixture_open(self, 15);
        weft_log_epoch_end(self->log, 2, &found, &end);
        assert_int_equal(found, 2);
        assert_int_equal(end, 6);
        assert_int_equal(weft_log_last_epoch(self->log), 5);
        assert_int_equal(fixture_size(self, "epochs"), 80);
    }
}

static void test_log_recovery__a_clean_log_is_hardly_read(void **state)
{
    struct fixture *self = *state;
    self->config.segment_bytes = 64 * 1024 * 1024;
    weft_log_configure(self->log, &self->config);
    for (int i = 0; i < 5000; i++) fixture_append(self, 1, 1, 2000);
    fixture_sync(self);
    fixture_reopen(self, 5000);
    assert_true(self->recovery.verified_bytes < 3 * 4096);
    // Killed: at most one page of index entries, each of an interval, is read again.
    for (int i = 0; i < 5000; i++) fixture_append(self, 1, 1, 2000);
    fixture_sync(self);
    weft_crash_disk_kill(self->crash);
    fixture_reopen(self, 10000);
    assert_int_equal(weft_log_end(self->log), 10000);
    assert_true(self->recovery.verified_bytes < 171 * 6400);
}

static void test_log_recovery__damaged_marks_are_refused(void **state)
{
    struct fixture *self = *state;
    s_fill(self, 10);
    assert_ok(weft_log_trim(self->log, 3));
    assert_ok(weft_log_truncate(self->log, 8));
    fixture_overwrite(self, "start", 9, "x");
    s_refused(self, 0, "start'", "checksum");
    fixture_unlink(self, "start");
    fixture_truncate_file(self, "cut", 10);
    s_refused(self, 0, "cut'", "checksum");
}

static void test_log_recovery__a_truncation_lowers_what_the_checkpoint_may_demand(void **state)
{
    struct fixture *self = *state;
    s_fill(self, 10);
    fixture_sync(self);
    assert_ok(weft_log_truncate(self->log, 4));
    weft_rand_t rand;
    weft_rand_init(&rand, 7);
    weft_log_destroy(&self->log);
    weft_crash_disk_crash(self->crash, &rand);
    fixture_open(self, 10);
    assert_int_equal(weft_log_end(self->log), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_log_recovery__torn_tail_is_cut_to_the_last_whole_batch, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__a_batch_behind_a_hole_is_cut_and_never_comes_back,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__damage_below_the_synced_end_is_refused_and_named,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__a_log_shorter_than_what_was_synced_is_refused, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__zeros_behind_the_end_are_no_damage, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__a_batch_of_an_older_epoch_or_other_offset_ends_the_log,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__a_missing_middle_segment_is_refused, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__a_segment_under_a_wrong_name_is_refused, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__lost_and_wrong_indexes_are_built_again, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__a_batch_that_reaches_beyond_its_segment_is_damage,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__damage_in_a_sealed_segment_is_not_served, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__epochs_are_read_from_the_batches_when_their_file_is_bad,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__a_clean_log_is_hardly_read, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__damaged_marks_are_refused, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_recovery__a_truncation_lowers_what_the_checkpoint_may_demand,
                                        fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
