// SPDX-License-Identifier: MPL-2.0
// Taking all away, with every call of the disk failing in turn and the power lost behind it.
#include "log_fixture.h"

#include "../../../lib/base/trace.h"
#include "../../support/fault_disk.h"

#include <stdio.h>
#include <string.h>

#define START 20 // of the log that is reset: its first batches were deleted
#define END 60

struct case_ {
    int64_t offset;
    const char *what;
};

static const struct case_ s_cases[] = {
    {0, "to the very beginning"}, {7, "below its start"},        {START, "to its start"}, {31, "inside"},
    {END, "to its end"},          {END + 1000, "above its end"},
};

// Three segments and more, epochs 1 to 3, snapshots, synced but for the last batch.
static void s_fill(struct fixture *self)
{
    self->config.segment_bytes = 1500;
    self->config.index_interval_bytes = 1;
    weft_log_configure(self->log, &self->config);
    while (weft_log_end(self->log) < END) {
        int64_t end = weft_log_end(self->log);
        if (end == END - 1) fixture_sync(self);
        fixture_append(self, 1 + (int32_t) (end / 25), 1, 200);
        if (end % 20 == 0) assert_ok(weft_log_snapshot_put(self->log, end, weft_slice_text("state")));
    }
    assert_ok(weft_log_trim(self->log, START));
}

static void s_assert_empty_at(struct fixture *self, int64_t offset)
{
    weft_buf_t bytes;
    int64_t at;
    weft_buf_init(&bytes);
    assert_int_equal(weft_log_start(self->log), offset);
    assert_int_equal(weft_log_end(self->log), offset);
    assert_int_equal(weft_log_last_epoch(self->log), -1);
    assert_int_equal(weft_log_bytes(self->log), 0);
    assert_int_equal(weft_log_snapshot_get(self->log, INT64_MAX, &at, &bytes), WEFT_ERR_NOT_FOUND);
    weft_log_check(self->log);
}

static void test_log_reset__begins_anew_wherever_it_is_told(void **state)
{
    for (size_t i = 0; i < sizeof s_cases / sizeof *s_cases; i++) {
        void *fixture;
        fixture_setup(&fixture);
        struct fixture *self = fixture;
        int64_t offset = s_cases[i].offset;
        s_fill(self);
        assert_ok(weft_log_reset(self->log, offset));
        s_assert_empty_at(self, offset);
        assert_int_equal(weft_log_synced_end(self->log), offset);
        fixture_reopen(self, END - 1); // the checkpoint still tells of the old log
        s_assert_empty_at(self, offset);
        fixture_append(self, 0, 3, 100); // an epoch below those that were
        fixture_sync(self);
        int64_t end = weft_log_end(self->log);
        fixture_reopen(self, END - 1);
        assert_int_equal(weft_log_start(self->log), offset);
        assert_int_equal(weft_log_end(self->log), end);
        assert_int_equal(fixture_read_all(self), end);
        fixture_teardown(&fixture);
    }
}

static void test_log_reset__sync_under_way_says_nothing_about_the_new_log(void **state)
{
    struct fixture *self = *state;
    struct weft_log_sync job;
    for (int i = 0; i < 10; i++) fixture_append(self, 1, 1, 100);
    assert_true(weft_log_sync_begin(self->log, &job));
    assert_ok(weft_log_reset(self->log, 4));
    fixture_append(self, 2, 8, 100);
    weft_log_sync_run(&job);
    assert_ok(weft_log_sync_done(self->log, &job));
    assert_int_equal(weft_log_synced_end(self->log), 4);
    fixture_sync(self);
    assert_int_equal(weft_log_synced_end(self->log), 12);
}

static void test_log_reset__refuses_what_is_no_offset(void **state)
{
    struct fixture *self = *state;
    fixture_append(self, 1, 3, 100);
    assert_int_equal(weft_log_reset(self->log, -1), WEFT_ERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(weft_log_reset(self->log, INT64_MAX), WEFT_ERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(weft_log_end(self->log), 3);
}

// The log over a disk whose n-th change and all later ones fail. False: that made no difference to the caller.
static bool s_interrupted(struct fixture *self, int64_t offset, uint64_t nth)
{
    weft_fault_disk_t *faulty = weft_fault_disk_new(self->disk);
    const struct weft_fault fault = {.kinds = WEFT_FAULT_CHANGES, .nth = nth, .err = WEFT_ERR_DISK_FAILED};
    s_fill(self);
    weft_log_destroy(&self->log);
    assert_ok(weft_log_open(weft_fault_disk_of(faulty), FIXTURE_DIRECTORY, &self->config, END - 1, &self->log,
                            &self->recovery, &self->error));
    weft_fault_disk_arm(faulty, &fault);
    weft_err_t err = weft_log_reset(self->log, offset);
    if (err) assert_true(weft_fault_disk_fired(faulty) > 0);
    weft_log_check(self->log);
    weft_log_destroy(&self->log);
    weft_fault_disk_destroy(&faulty);
    return err != WEFT_OK;
}

static void s_assert_allowed(struct fixture *self, const struct case_ *what, uint64_t nth)
{
    int64_t start = weft_log_start(self->log), end = weft_log_end(self->log);
    bool old = start == START && end >= START && end <= END;
    bool new = start == what->offset &&end == what->offset;
    if (!old && !new)
        fail_msg("reset %s, call %llu lost: the log is [%lld, %lld)", what->what, (unsigned long long) nth,
                 (long long) start, (long long) end);
    assert_int_equal(fixture_read_all(self), end);
}

static void test_log_reset__power_lost_at_any_step_leaves_the_old_log_or_less_or_the_new_one(void **state)
{
    uint64_t cases = 0;
    weft_rand_t rand;
    weft_rand_init(&rand, 1);
    for (size_t i = 0; i < sizeof s_cases / sizeof *s_cases; i++) {
        bool fired = true;
        for (uint64_t nth = 1; fired; nth++) {
            for (int luck = 0; luck < 8; luck++) {
                void *fixture;
                fixture_setup(&fixture);
                struct fixture *self = fixture;
                fired = s_interrupted(self, s_cases[i].offset, nth);
                if (luck == 0)
                    weft_crash_disk_kill(self->crash);
                else
                    weft_crash_disk_crash(self->crash, &rand);
                fixture_open(self, END - 1);
                s_assert_allowed(self, &s_cases[i], nth);
                if (!fired) s_assert_empty_at(self, s_cases[i].offset); // durable when it returned
                assert_ok(weft_log_reset(self->log, s_cases[i].offset));
                s_assert_empty_at(self, s_cases[i].offset);
                fixture_teardown(&fixture);
                cases++;
            }
        }
    }
    print_message("%llu interrupted resets\n", (unsigned long long) cases);
}

// ---- setting aside

static void s_names(void *context, const char *name, bool is_directory)
{
    weft_buf_printf(context, "%s ", name);
}

static void s_assert_listed(struct fixture *self, const char *directory, const char *names)
{
    weft_buf_t found;
    weft_buf_init(&found);
    assert_ok(self->disk->ops->list(self->disk, directory, s_names, &found));
    weft_buf_append(&found, "", 1);
    assert_string_equal((const char *) found.data, names);
    weft_buf_fini(&found);
}

static void test_log_reset__damaged_directory_is_kept_beside_the_new_one(void **state)
{
    struct fixture *self = *state;
    for (int round = 1; round <= 2; round++) { // the second replaces what the first set aside
        fixture_append(self, round, 5, 100);
        fixture_sync(self);
        weft_log_destroy(&self->log);
        fixture_overwrite(self, "00000000000000000000.log", 100, "rot");
        assert_int_equal(fixture_try_open(self, 5), WEFT_ERR_DAMAGED);
        assert_ok(weft_log_set_aside(self->disk, FIXTURE_DIRECTORY, &self->error));
        s_assert_listed(self, "data/topic", "0.damaged ");
        fixture_open(self, 0);
        s_assert_listed(self, "data/topic", "0 0.damaged ");
        s_assert_empty_at(self, 0);
    }
    s_assert_listed(self, "data/topic/0.damaged", "00000000000000000000.log epochs ");
}

static void test_log_reset__nothing_to_set_aside_is_no_error(void **state)
{
    struct fixture *self = *state;
    assert_ok(weft_log_set_aside(self->disk, "data/topic/1", &self->error));
    assert_ok(weft_log_set_aside(self->disk, "data/other/0", &self->error));
    assert_int_equal(weft_log_set_aside(self->disk, "0", &self->error), WEFT_ERR_INVALID_ARGUMENT);
}

static bool s_there(struct fixture *self, const char *path)
{
    weft_file_t *file;
    if (self->disk->ops->open(self->disk, path, WEFT_OPEN_READ, &file)) return false;
    self->disk->ops->close(&file);
    return true;
}

static void test_log_reset__power_lost_while_setting_aside_loses_neither(void **state)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 2);
    bool fired = true;
    for (uint64_t nth = 1; fired; nth++) {
        for (int luck = 0; luck < 8; luck++) {
            void *fixture;
            fixture_setup(&fixture);
            struct fixture *self = fixture;
            fixture_append(self, 1, 5, 100);
            fixture_sync(self);
            weft_log_destroy(&self->log);
            assert_ok(weft_log_set_aside(self->disk, FIXTURE_DIRECTORY, &self->error));
            fixture_open(self, 0);
            fixture_append(self, 2, 3, 100);
            fixture_sync(self);
            weft_log_destroy(&self->log);
            weft_fault_disk_t *faulty = weft_fault_disk_new(self->disk);
            const struct weft_fault fault = {.kinds = WEFT_FAULT_CHANGES, .nth = nth, .err = WEFT_ERR_DISK_FAILED};
            weft_fault_disk_arm(faulty, &fault);
            weft_err_t err = weft_log_set_aside(weft_fault_disk_of(faulty), FIXTURE_DIRECTORY, &self->error);
            fired = weft_fault_disk_fired(faulty) > 0;
            assert_true(fired == (err != WEFT_OK));
            weft_fault_disk_destroy(&faulty);
            weft_crash_disk_crash(self->crash, &rand);
            bool here = s_there(self, "data/topic/0/00000000000000000000.log");
            bool aside = s_there(self, "data/topic/0.damaged/00000000000000000000.log");
            assert_true(here || aside); // this one is never gone
            if (!fired) assert_true(!here && aside);
            assert_ok(weft_log_set_aside(self->disk, FIXTURE_DIRECTORY, &self->error)); // again, as a start would
            if (here) assert_true(s_there(self, "data/topic/0.damaged/00000000000000000000.log"));
            fixture_open(self, 0);
            s_assert_empty_at(self, 0);
            fixture_teardown(&fixture);
        }
    }
}

static void s_silence(void *context, enum weft_trace_level level, const char *source, const char *line) {}

int main(void)
{
    weft_trace_sink_set(s_silence, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_reset__begins_anew_wherever_it_is_told),
        cmocka_unit_test_setup_teardown(test_log_reset__sync_under_way_says_nothing_about_the_new_log, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_reset__refuses_what_is_no_offset, fixture_setup, fixture_teardown),
        cmocka_unit_test(test_log_reset__power_lost_at_any_step_leaves_the_old_log_or_less_or_the_new_one),
        cmocka_unit_test_setup_teardown(test_log_reset__damaged_directory_is_kept_beside_the_new_one, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_reset__nothing_to_set_aside_is_no_error, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test(test_log_reset__power_lost_while_setting_aside_loses_neither),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
