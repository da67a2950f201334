// SPDX-License-Identifier: MPL-2.0
#include "../../../lib/log/checkpoint.h"
#include "../../../lib/testing/crash_disk.h"
#include "../../support/test.h"

#include <string.h>

struct fixture {
    weft_crash_disk_t *crash;
    const struct weft_disk *disk;
    weft_checkpoint_t *checkpoint;
    struct weft_error error;
};

static const weft_id_t s_orders = {{1}}, s_people = {{2}};

static int s_setup(void **state)
{
    struct fixture *self = calloc(1, sizeof *self);
    self->crash = weft_crash_disk_new(1);
    self->disk = weft_crash_disk_of(self->crash);
    assert_ok(self->disk->ops->mkdir(self->disk, "data"));
    assert_ok(weft_checkpoint_open(self->disk, "data", &self->checkpoint, &self->error));
    *state = self;
    return 0;
}

static int s_teardown(void **state)
{
    struct fixture *self = *state;
    weft_checkpoint_destroy(&self->checkpoint);
    weft_crash_disk_destroy(&self->crash);
    free(self);
    return 0;
}

static void s_reopen(struct fixture *self)
{
    weft_checkpoint_destroy(&self->checkpoint);
    assert_ok(weft_checkpoint_open(self->disk, "data", &self->checkpoint, &self->error));
}

static void s_overwrite(struct fixture *self, int64_t position)
{
    weft_file_t *file;
    weft_slice_t slice = weft_slice_text("rot");
    assert_ok(self->disk->ops->open(self->disk, "data/checkpoint", WEFT_OPEN_WRITE, &file));
    assert_ok(self->disk->ops->pwritev(file, &slice, 1, position));
    self->disk->ops->close(&file);
}

static void test_checkpoint__knows_what_was_written_and_nothing_else(void **state)
{
    struct fixture *self = *state;
    assert_int_equal(weft_checkpoint_get(self->checkpoint, s_orders, 0), 0);
    weft_checkpoint_set(self->checkpoint, s_orders, 0, 100);
    weft_checkpoint_set(self->checkpoint, s_orders, 7, 300);
    weft_checkpoint_set(self->checkpoint, s_people, 0, INT64_MAX);
    assert_ok(weft_checkpoint_write(self->checkpoint));
    weft_checkpoint_set(self->checkpoint, s_orders, 0, 101);
    assert_int_equal(weft_checkpoint_get(self->checkpoint, s_orders, 0), 101);
    s_reopen(self);
    assert_int_equal(weft_checkpoint_get(self->checkpoint, s_orders, 0), 100);
    assert_int_equal(weft_checkpoint_get(self->checkpoint, s_orders, 7), 300);
    assert_int_equal(weft_checkpoint_get(self->checkpoint, s_people, 0), INT64_MAX);
    weft_checkpoint_remove(self->checkpoint, s_orders, 7);
    assert_ok(weft_checkpoint_write(self->checkpoint));
    s_reopen(self);
    assert_int_equal(weft_checkpoint_get(self->checkpoint, s_orders, 7), 0);
}

static void test_checkpoint__writes_nothing_when_nothing_changed(void **state)
{
    struct fixture *self = *state;
    weft_checkpoint_set(self->checkpoint, s_orders, 0, 100);
    assert_ok(weft_checkpoint_write(self->checkpoint));
    uint64_t writes = weft_crash_disk_stats(self->crash).writes;
    weft_checkpoint_set(self->checkpoint, s_orders, 0, 100);
    assert_ok(weft_checkpoint_write(self->checkpoint));
    assert_int_equal(weft_crash_disk_stats(self->crash).writes, writes);
}

static void test_checkpoint__a_torn_slot_leaves_the_other(void **state)
{
    struct fixture *self = *state;
    weft_checkpoint_set(self->checkpoint, s_orders, 0, 100); // first half
    assert_ok(weft_checkpoint_write(self->checkpoint));
    weft_checkpoint_set(self->checkpoint, s_orders, 0, 200); // second
    assert_ok(weft_checkpoint_write(self->checkpoint));
    s_reopen(self);
    assert_int_equal(weft_checkpoint_get(self->checkpoint, s_orders, 0), 200);
    s_overwrite(self, 4096 + 9);
    s_reopen(self);
    assert_int_equal(weft_checkpoint_get(self->checkpoint, s_orders, 0), 100);
    s_overwrite(self, 9);
    weft_checkpoint_destroy(&self->checkpoint);
    assert_err(weft_checkpoint_open(self->disk, "data", &self->checkpoint, &self->error), WEFT_ERR_DAMAGED);
    assert_non_null(strstr(self->error.text, "data/checkpoint"));
}

static void test_checkpoint__survives_power_loss_at_any_write(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    weft_rand_init(&rand, 5);
    int64_t written = 0;
    for (int64_t i = 1; i < 2000; i++) {
        weft_checkpoint_set(self->checkpoint, s_orders, (uint32_t) (i % 300), i); // grows beyond its slots
        weft_checkpoint_set(self->checkpoint, s_people, 0, i);
        struct weft_crash_disk_faults faults = {.sync_eio = 20000, .write_eio = 20000, .open_eio = 10000};
        weft_crash_disk_faults_set(self->crash, &faults);
        weft_err_t err = weft_checkpoint_write(self->checkpoint);
        if (!err) written = i;
        memset(&faults, 0, sizeof faults);
        weft_crash_disk_faults_set(self->crash, &faults);
        if (!err && weft_rand_below(&rand, 10)) continue;
        if (weft_rand_below(&rand, 2)) weft_crash_disk_crash(self->crash, &rand);
        s_reopen(self);
        int64_t found = weft_checkpoint_get(self->checkpoint, s_people, 0);
        assert_true(found >= written && found <= i);
        written = err ? written : found;
    }
}

static void test_checkpoint__after_a_failed_sync_it_is_not_written_again(void **state)
{
    struct fixture *self = *state;
    weft_checkpoint_set(self->checkpoint, s_orders, 0, 100);
    assert_ok(weft_checkpoint_write(self->checkpoint));
    struct weft_crash_disk_faults faults = {.sync_eio = 1000000};
    weft_crash_disk_faults_set(self->crash, &faults);
    weft_checkpoint_set(self->checkpoint, s_orders, 0, 200);
    assert_err(weft_checkpoint_write(self->checkpoint), WEFT_ERR_DISK_FAILED);
    faults.sync_eio = 0;
    weft_crash_disk_faults_set(self->crash, &faults);
    assert_err(weft_checkpoint_write(self->checkpoint), WEFT_ERR_DISK_FAILED);
    assert_err(weft_checkpoint_mark_clean(self->checkpoint), WEFT_ERR_DISK_FAILED);
}

static void test_checkpoint__the_clean_marker_is_taken_once(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    bool clean = true;
    weft_rand_init(&rand, 1);
    assert_ok(weft_checkpoint_take_clean(self->checkpoint, &clean));
    assert_false(clean);
    weft_checkpoint_set(self->checkpoint, s_orders, 0, 100);
    assert_err(weft_checkpoint_mark_clean(self->checkpoint), WEFT_ERR_DISK_FAILED); // not written yet
    assert_ok(weft_checkpoint_write(self->checkpoint));
    assert_ok(weft_checkpoint_mark_clean(self->checkpoint));
    weft_crash_disk_crash(self->crash, &rand);
    s_reopen(self);
    assert_ok(weft_checkpoint_take_clean(self->checkpoint, &clean));
    assert_true(clean);
    weft_crash_disk_crash(self->crash, &rand);
    s_reopen(self);
    assert_ok(weft_checkpoint_take_clean(self->checkpoint, &clean));
    assert_false(clean);
    // One of an older checkpoint vouches for nothing.
    assert_ok(weft_checkpoint_mark_clean(self->checkpoint));
    weft_checkpoint_set(self->checkpoint, s_orders, 0, 101);
    assert_ok(weft_checkpoint_write(self->checkpoint));
    s_reopen(self);
    assert_ok(weft_checkpoint_take_clean(self->checkpoint, &clean));
    assert_false(clean);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_checkpoint__knows_what_was_written_and_nothing_else, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint__writes_nothing_when_nothing_changed, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint__a_torn_slot_leaves_the_other, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint__survives_power_loss_at_any_write, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint__after_a_failed_sync_it_is_not_written_again, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint__the_clean_marker_is_taken_once, s_setup, s_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
