// SPDX-License-Identifier: MPL-2.0
// The sync part under a world of one part: mail goes in by hand, what it posts is collected.
#include "../../../lib/base/trace.h"
#include "../../../lib/log/sync_part.h"
#include "../../../lib/testing/crash_disk.h"
#include "../../support/fault_disk.h"
#include "../../support/test.h"

#include <stdio.h>
#include <string.h>

#define LOGS 50

struct fixture {
    weft_crash_disk_t *crash;
    weft_fault_disk_t *fault;
    const struct weft_disk *disk;
    struct weft_disk counted; // the same, with a sync_all
    struct weft_disk_ops counted_ops;
    struct weft_part *part;
    weft_log_t *logs[LOGS];
    struct weft_mail posted[LOGS * 2];
    weft_part_id_t posted_to[LOGS * 2];
    size_t posted_count;
    int64_t now_us;
    int sync_alls;
};

static struct fixture *s_fixture;

static void s_post(void *world, weft_part_id_t to, const struct weft_mail *mail)
{
    struct fixture *self = world;
    self->posted_to[self->posted_count] = to;
    self->posted[self->posted_count++] = *mail;
}

static weft_part_id_t s_self_id(void *world)
{
    return 9;
}

static int64_t s_now(void *world)
{
    return ((struct fixture *) world)->now_us;
}

static const struct weft_port_ops s_port_ops = {.post = s_post, .self_id = s_self_id, .now_us = s_now};

static weft_err_t s_sync_all(const struct weft_disk *disk, const char *path)
{
    s_fixture->sync_alls++;
    return WEFT_OK;
}

static weft_checkpoint_t *s_checkpoint(struct fixture *self)
{
    struct weft_error error;
    weft_checkpoint_t *checkpoint;
    assert_ok(weft_checkpoint_open(self->disk, "data", &checkpoint, &error));
    return checkpoint;
}

static void s_part(struct fixture *self, weft_checkpoint_t *checkpoint)
{
    const struct weft_port port = {&s_port_ops, self};
    self->part = weft_sync_part_new("sync", checkpoint, 100);
    self->part->ops->start(self->part, &port);
}

static int s_setup(void **state)
{
    struct fixture *self = calloc(1, sizeof *self);
    s_fixture = self;
    self->crash = weft_crash_disk_new(1);
    self->fault = weft_fault_disk_new(weft_crash_disk_of(self->crash));
    self->disk = weft_fault_disk_of(self->fault);
    self->counted_ops = *self->disk->ops;
    self->counted_ops.sync_all = s_sync_all;
    self->counted = (struct weft_disk){&self->counted_ops, self->disk->self};
    assert_ok(self->disk->ops->mkdir(self->disk, "data"));
    s_part(self, s_checkpoint(self));
    *state = self;
    return 0;
}

static int s_teardown(void **state)
{
    struct fixture *self = *state;
    if (self->part) self->part->ops->destroy(&self->part);
    for (size_t i = 0; i < LOGS; i++) weft_log_destroy(&self->logs[i]);
    weft_fault_disk_destroy(&self->fault);
    weft_crash_disk_destroy(&self->crash);
    free(self);
    return 0;
}

static weft_id_t s_topic(size_t i)
{
    return (weft_id_t){{5, (uint8_t) i}};
}

// Appends a batch to log i, opened at need.
static void s_append(struct fixture *self, size_t i)
{
    char directory[64];
    struct weft_error error;
    weft_buf_t bytes;
    struct weft_batch batch;
    bool rolled;
    const struct weft_log_config config = {1 << 20, -1, -1, -1, 4096};
    snprintf(directory, sizeof directory, "data/topic/%zu", i);
    if (!self->logs[i]) assert_ok(weft_log_open(self->disk, directory, &config, 0, &self->logs[i], NULL, &error));
    weft_buf_init(&bytes);
    weft_test_batch(&bytes, weft_log_end(self->logs[i]), 0, 1, 100);
    assert_ok(weft_batch_read(weft_buf_slice(&bytes), &batch));
    assert_ok(weft_log_append(self->logs[i], weft_buf_slice(&bytes), WEFT_SLICE_NIL, &batch, &rolled));
    weft_buf_fini(&bytes);
}

// One request for one log.
static void s_request(struct fixture *self, size_t i, weft_part_id_t from)
{
    struct weft_sync_request *request = calloc(1, sizeof *request + sizeof *request->jobs);
    request->job_count = 1;
    assert_true(weft_log_sync_begin(self->logs[i], &request->jobs[0].sync));
    request->jobs[0].topic = s_topic(i);
    request->jobs[0].owner = self->logs[i];
    struct weft_mail mail = {.from = from, .kind = WEFT_MAIL_SYNC, .body = request, .body_free = free, .number = i};
    self->part->ops->mail(self->part, &mail);
}

// Takes the answers; *results counts those that succeeded.
static size_t s_answers(struct fixture *self, size_t *good)
{
    size_t count = self->posted_count;
    *good = 0;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(self->posted[i].kind, WEFT_MAIL_SYNCED);
        assert_int_equal(self->posted[i].from, 9);
        struct weft_sync_request *request = self->posted[i].body;
        for (size_t j = 0; j < request->job_count; j++)
            if (!weft_log_sync_done(request->jobs[j].owner, &request->jobs[j].sync)) ++*good;
        free(request);
    }
    self->posted_count = 0;
    return count;
}

static void test_sync_part__answers_all_that_arrived_before_the_round_in_order(void **state)
{
    struct fixture *self = *state;
    size_t good;
    for (size_t i = 0; i < 10; i++) s_append(self, i);
    for (size_t i = 0; i < 10; i++) s_request(self, i, (weft_part_id_t) (100 + i));
    assert_int_equal(self->posted_count, 0);
    self->part->ops->turn(self->part, 1000);
    assert_int_equal(self->posted_count, 10);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(self->posted_to[i], 100 + i);
        assert_int_equal(self->posted[i].number, i);
    }
    assert_int_equal(s_answers(self, &good), 10);
    assert_int_equal(good, 10);
    for (size_t i = 0; i < 10; i++) assert_int_equal(weft_log_synced_end(self->logs[i]), 1);
    assert_int_equal(weft_sync_part_busy_us(self->part, 5000), 0);
}

static void test_sync_part__the_checkpoint_follows_after_a_while(void **state)
{
    struct fixture *self = *state;
    size_t good;
    s_append(self, 3);
    s_request(self, 3, 1);
    assert_int_equal(self->part->ops->turn(self->part, 1000), 1000);
    assert_int_equal(s_answers(self, &good), 1);
    assert_int_equal(self->part->ops->turn(self->part, 1001), 101000);
    weft_checkpoint_t *checkpoint = s_checkpoint(self);
    assert_int_equal(weft_checkpoint_get(checkpoint, s_topic(3), 0), 0);
    weft_checkpoint_destroy(&checkpoint);
    assert_int_equal(self->part->ops->turn(self->part, 101000), WEFT_TIME_NEVER);
    checkpoint = s_checkpoint(self);
    assert_int_equal(weft_checkpoint_get(checkpoint, s_topic(3), 0), 1);
    weft_checkpoint_destroy(&checkpoint);
}

static void test_sync_part__its_stop_leaves_checkpoint_and_clean_marker(void **state)
{
    struct fixture *self = *state;
    size_t good;
    bool clean;
    s_append(self, 0);
    s_request(self, 0, 1);
    self->part->ops->stop(self->part);
    assert_false(self->part->ops->stopped(self->part));
    self->part->ops->turn(self->part, 1000);
    assert_int_equal(s_answers(self, &good), 1);
    self->part->ops->turn(self->part, 1001);
    assert_true(self->part->ops->stopped(self->part));
    self->part->ops->destroy(&self->part);
    weft_checkpoint_t *checkpoint = s_checkpoint(self);
    assert_int_equal(weft_checkpoint_get(checkpoint, s_topic(0), 0), 1);
    assert_ok(weft_checkpoint_take_clean(checkpoint, &clean));
    assert_true(clean);
    weft_checkpoint_destroy(&checkpoint);
}

static void test_sync_part__an_unclean_stop_that_nobody_heard_of_is_not_hidden_by_a_clean_one(void **state)
{
    struct fixture *self = *state;
    bool clean;
    for (int told = 0; told < 2; told++) {
        weft_sync_part_vouch(self->part, false);
        if (told) weft_sync_part_vouch(self->part, true);
        self->part->ops->stop(self->part);
        self->part->ops->turn(self->part, 1000);
        assert_true(self->part->ops->stopped(self->part));
        self->part->ops->destroy(&self->part);
        weft_checkpoint_t *checkpoint = s_checkpoint(self);
        assert_ok(weft_checkpoint_take_clean(checkpoint, &clean));
        assert_int_equal(clean, told);
        self->part = weft_sync_part_new("sync", checkpoint, 200);
    }
}

static void test_sync_part__a_failed_sync_is_told_recorded_nowhere_and_not_clean(void **state)
{
    struct fixture *self = *state;
    size_t good;
    bool clean;
    for (size_t i = 0; i < 4; i++) s_append(self, i);
    const struct weft_fault fault = {.kinds = WEFT_FAULT_SYNC, .nth = 3, .times = 1, .err = WEFT_ERR_DISK_FAILED};
    for (size_t i = 0; i < 4; i++) s_request(self, i, 1);
    weft_fault_disk_arm(self->fault, &fault);
    self->part->ops->turn(self->part, 1000);
    assert_int_equal(s_answers(self, &good), 4);
    assert_int_equal(good, 1); // the directory is given up: those behind it are not even tried
    self->part->ops->turn(self->part, 1000000);
    self->part->ops->stop(self->part);
    self->part->ops->turn(self->part, 1000001);
    assert_true(self->part->ops->stopped(self->part));
    self->part->ops->destroy(&self->part);
    weft_checkpoint_t *checkpoint = s_checkpoint(self);
    for (size_t i = 0; i < 4; i++) assert_int_equal(weft_checkpoint_get(checkpoint, s_topic(i), 0), 0);
    assert_ok(weft_checkpoint_take_clean(checkpoint, &clean));
    assert_false(clean);
    weft_checkpoint_destroy(&checkpoint);
}

static void test_sync_part__very_many_files_are_synced_at_once_where_the_disk_can(void **state)
{
    struct fixture *self = *state;
    size_t good;
    const struct weft_disk *plain = self->disk;
    for (int round = 0; round < 2; round++) {
        size_t logs = round ? LOGS : 5;
        for (size_t i = 0; i < logs; i++) s_append(self, i);
        for (size_t i = 0; i < logs; i++) {
            s_request(self, i, 1);
        }
        self->part->ops->turn(self->part, 1000);
        assert_int_equal(s_answers(self, &good), logs);
        assert_int_equal(good, logs);
        assert_int_equal(self->sync_alls, 0); // this disk can't
    }
    for (size_t i = 0; i < LOGS; i++) weft_log_destroy(&self->logs[i]);
    self->disk = &self->counted;
    for (size_t i = 0; i < LOGS; i++) s_append(self, i);
    s_request(self, 0, 1);
    self->part->ops->turn(self->part, 2000);
    assert_int_equal(self->sync_alls, 0);
    for (size_t i = 1; i < LOGS; i++) s_request(self, i, 1);
    self->part->ops->turn(self->part, 3000);
    assert_int_equal(self->sync_alls, 1);
    assert_int_equal(s_answers(self, &good), LOGS);
    assert_int_equal(good, LOGS);
    self->disk = plain;
}

static void test_sync_part__a_deleted_partition_leaves_the_checkpoint(void **state)
{
    struct fixture *self = *state;
    size_t good;
    s_append(self, 0);
    s_request(self, 0, 1);
    self->part->ops->turn(self->part, 1000);
    assert_int_equal(s_answers(self, &good), 1);
    self->part->ops->turn(self->part, 200000);

    struct weft_sync_request *request = calloc(1, sizeof *request + sizeof *request->jobs);
    request->job_count = 1;
    request->jobs[0].sync.end_offset = -1;
    request->jobs[0].topic = s_topic(0);
    struct weft_mail mail = {.from = 1, .kind = WEFT_MAIL_SYNC, .body = request, .body_free = free};
    self->part->ops->mail(self->part, &mail);
    self->part->ops->turn(self->part, 300000);
    assert_int_equal(self->posted_count, 1);
    free(self->posted[0].body);
    self->part->ops->turn(self->part, 400000);
    weft_checkpoint_t *checkpoint = s_checkpoint(self);
    assert_int_equal(weft_checkpoint_get(checkpoint, s_topic(0), 0), 0);
    weft_checkpoint_destroy(&checkpoint);
}

static void test_sync_part__requests_it_never_ran_are_freed_with_it(void **state)
{
    struct fixture *self = *state;
    s_append(self, 0);
    s_request(self, 0, 1);
    self->part->ops->destroy(&self->part);
}

static void s_silence(void *context, enum weft_trace_level level, const char *source, const char *line) {}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sync_part__answers_all_that_arrived_before_the_round_in_order, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_sync_part__the_checkpoint_follows_after_a_while, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_sync_part__its_stop_leaves_checkpoint_and_clean_marker, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(
            test_sync_part__an_unclean_stop_that_nobody_heard_of_is_not_hidden_by_a_clean_one, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_sync_part__a_failed_sync_is_told_recorded_nowhere_and_not_clean, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_sync_part__very_many_files_are_synced_at_once_where_the_disk_can, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_sync_part__a_deleted_partition_leaves_the_checkpoint, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_sync_part__requests_it_never_ran_are_freed_with_it, s_setup, s_teardown),
    };
    weft_trace_sink_set(s_silence, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
