// SPDX-License-Identifier: MPL-2.0
#include "../../../lib/log/inspect.h"
#include "log_fixture.h"

struct seen {
    int64_t logs, batches, next, stop_after, asides;
    int problems[4];
    char sentence[512], damage[512];
};

static void s_log(void *context, const char *directory)
{
    ((struct seen *) context)->logs++;
    assert_string_equal(directory, FIXTURE_DIRECTORY);
}

static bool s_batch(void *context, const struct weft_inspect_batch *found)
{
    struct seen *self = context;
    struct weft_batch batch;
    assert_ok(weft_batch_verify(found->bytes, &batch));
    assert_int_equal(batch.base_offset, found->batch->base_offset);
    assert_non_null(strstr(found->file, ".log"));
    self->next = weft_batch_next_offset(&batch);
    return ++self->batches != self->stop_after;
}

static void s_problem(void *context, const struct weft_inspect_problem *problem)
{
    struct seen *self = context;
    self->problems[problem->kind]++;
    snprintf(self->sentence, sizeof self->sentence, "%s", problem->sentence);
    if (problem->kind == WEFT_PROBLEM_DAMAGE) snprintf(self->damage, sizeof self->damage, "%s", problem->sentence);
}

static void s_aside(void *context, const char *directory)
{
    ((struct seen *) context)->asides++;
    assert_string_equal(directory, FIXTURE_DIRECTORY ".damaged");
}

static struct weft_inspect_report s_run(struct fixture *self, const char *path, struct seen *seen)
{
    struct weft_inspect_report report;
    const struct weft_inspect how = {seen, s_log, s_batch, s_problem, true, s_aside};
    struct weft_crash_disk_stats before = weft_crash_disk_stats(self->crash);
    weft_err_t err = weft_inspect_run(self->disk, path, &how, &report, &self->error);
    if (err) fail_msg("%s", self->error.text);
    assert_int_equal(weft_crash_disk_stats(self->crash).writes, before.writes);
    return report;
}

static void s_fill(struct fixture *self)
{
    self->config.segment_bytes = 5000;
    self->config.index_interval_bytes = 500;
    weft_log_configure(self->log, &self->config);
    for (int i = 0; i < 100; i++) fixture_append(self, i / 50, 2, 100);
    fixture_sync(self);
    weft_log_idle(self->log);
}

static void test_inspect__shows_every_batch_of_a_tree_of_directories(void **state)
{
    struct fixture *self = *state;
    struct seen seen = {0};
    s_fill(self);
    struct weft_inspect_report report = s_run(self, "data", &seen);
    assert_int_equal(seen.logs, 1);
    assert_int_equal(seen.batches, 100);
    assert_int_equal(seen.next, 200);
    assert_int_equal(report.records, 200);
    assert_int_equal(report.bytes, weft_log_bytes(self->log));
    assert_int_equal(report.segments, weft_log_segment_count(self->log));
    assert_int_equal(report.problems, 0);
    assert_int_equal(report.tail_bytes, 0);
}

static void test_inspect__reads_one_segment_and_stops_when_told(void **state)
{
    struct fixture *self = *state;
    struct seen seen = {.stop_after = 3};
    s_fill(self);
    struct weft_inspect_report report = s_run(self, FIXTURE_DIRECTORY "/00000000000000000000.log", &seen);
    assert_int_equal(seen.batches, 3);
    assert_true(report.stopped);
    assert_int_equal(seen.logs, 0);
}

static void test_inspect__names_damage_holes_bad_indexes_and_tails(void **state)
{
    struct fixture *self = *state;
    struct seen seen = {0};
    char name[64];
    s_fill(self);
    int64_t each = weft_log_bytes(self->log) / 100, last = 0;
    for (int64_t base = 0; base < 200; base += 2) {
        snprintf(name, sizeof name, "%020lld.log", (long long) base);
        if (fixture_size(self, name) >= 0) last = base;
    }
    snprintf(name, sizeof name, "%020lld.log", (long long) last);
    fixture_truncate_file(self, name, fixture_size(self, name) - 5);
    struct weft_inspect_report report = s_run(self, FIXTURE_DIRECTORY, &seen);
    assert_int_equal(seen.problems[WEFT_PROBLEM_TAIL], 1);
    assert_int_equal(report.tail_bytes, each - 5);
    assert_non_null(strstr(seen.sentence, name));

    memset(&seen, 0, sizeof seen);
    fixture_overwrite(self, "00000000000000000000.index", 30, "rot");
    report = s_run(self, FIXTURE_DIRECTORY, &seen);
    assert_int_equal(seen.problems[WEFT_PROBLEM_INDEX], 1);
    assert_int_equal(report.problems, 1);

    memset(&seen, 0, sizeof seen);
    fixture_overwrite(self, "00000000000000000000.log", 3 * each + 100, "rot");
    report = s_run(self, FIXTURE_DIRECTORY, &seen);
    assert_int_equal(seen.problems[WEFT_PROBLEM_DAMAGE], 1);
    assert_int_equal(report.batches, 98); // all but the torn one and that
    assert_non_null(strstr(seen.damage, "offsets 6 to 7:"));

    memset(&seen, 0, sizeof seen);
    fixture_overwrite(self, "00000000000000000000.log", 5 * each, "rot"); // where no header can be believed
    report = s_run(self, FIXTURE_DIRECTORY, &seen);
    assert_int_equal(seen.problems[WEFT_PROBLEM_DAMAGE], 3);
    assert_true(report.batches < 98);
    assert_non_null(strstr(seen.damage, "offsets 10 to "));
}

static void test_inspect__what_was_set_aside_is_named_and_not_looked_at(void **state)
{
    struct fixture *self = *state;
    struct seen seen = {0};
    s_fill(self);
    fixture_overwrite(self, "00000000000000000000.log", 100, "rot");
    assert_ok(weft_log_set_aside(self->disk, FIXTURE_DIRECTORY, &self->error));
    struct weft_inspect_report report = s_run(self, "data", &seen);
    assert_int_equal(seen.asides, 1);
    assert_int_equal(report.aside, 1);
    assert_int_equal(report.logs, 0);
    assert_int_equal(report.problems, 0);
    const struct weft_inspect how = {.indexes = true}; // whoever names it wants to see it
    assert_ok(weft_inspect_run(self->disk, FIXTURE_DIRECTORY ".damaged", &how, &report, &self->error));
    assert_int_equal(report.problems, 1);
    assert_true(report.batches > 50);
}

static void test_inspect__refuses_what_is_no_segment(void **state)
{
    struct fixture *self = *state;
    struct weft_inspect_report report;
    const struct weft_inspect how = {.indexes = true};
    s_fill(self);
    assert_err(weft_inspect_run(self->disk, FIXTURE_DIRECTORY "/epochs", &how, &report, &self->error),
               WEFT_ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(self->error.text, "epochs"));
    assert_err(weft_inspect_run(self->disk, "nowhere", &how, &report, &self->error), WEFT_ERR_NOT_FOUND);
    assert_ok(weft_inspect_run(self->disk, "data", &how, &report, &self->error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_inspect__shows_every_batch_of_a_tree_of_directories, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_inspect__reads_one_segment_and_stops_when_told, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_inspect__names_damage_holes_bad_indexes_and_tails, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_inspect__what_was_set_aside_is_named_and_not_looked_at, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_inspect__refuses_what_is_no_segment, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
