// SPDX-License-Identifier: MPL-2.0
// Every disk call of a log's life fails in turn: EIO, a full disk, a short write, once or from then on. After each the log is opened again on a good
// disk, without and with power loss before, and must hold what was acknowledged, byte for byte, and nothing that was not written.
#include "../../lib/base/trace.h"
#include "../../lib/log/checkpoint.h"
#include "../../lib/log/log.h"
#include "../../lib/testing/crash_disk.h"
#include "../support/fault_disk.h"
#include "../support/test.h"

#include <stdio.h>
#include <string.h>

#define DIRECTORY "data/topic/0"
#define STEPS 30
#define BATCHES_MAX 64

struct run {
    weft_crash_disk_t *crash;
    weft_fault_disk_t *fault;
    weft_checkpoint_t *checkpoint;
    weft_log_t *log;
    struct weft_log_config config;
    uint32_t crcs[BATCHES_MAX]; // of the batch at each offset: one record a batch
    int64_t end;                // appended, as far as the log said so
    int64_t maybe;              // offset of an append that failed, or -1
    int64_t synced, start;
};

static const weft_id_t s_topic = {{7}};

static weft_err_t s_open(struct run *self, const struct weft_disk *disk)
{
    struct weft_error error = {0};
    struct weft_log_recovery recovery;
    weft_err_t err = weft_checkpoint_open(disk, "data", &self->checkpoint, &error);
    if (err) return err;
    err = weft_log_open(disk, DIRECTORY, &self->config, weft_checkpoint_get(self->checkpoint, s_topic, 0), &self->log,
                        &recovery, &error);
    if (err == WEFT_ERR_DAMAGED) fail_msg("%s", error.text);
    return err;
}

static void s_close(struct run *self)
{
    weft_log_destroy(&self->log);
    weft_checkpoint_destroy(&self->checkpoint);
}

static void s_append(struct run *self, int32_t epoch)
{
    weft_buf_t bytes;
    struct weft_batch batch;
    bool rolled;
    weft_buf_init(&bytes);
    int64_t offset = weft_log_end(self->log);
    weft_test_batch(&bytes, offset, epoch, 1, 200);
    weft_slice_t whole = weft_buf_slice(&bytes);
    assert_ok(weft_batch_read(whole, &batch));
    weft_err_t err = weft_log_append(self->log, weft_slice(whole.data, 80),
                                     weft_slice(whole.data + 80, whole.size - 80), &batch, &rolled);
    assert_true(offset < BATCHES_MAX);
    if (!err || self->maybe < 0) self->crcs[offset] = batch.crc;
    self->maybe = err == WEFT_ERR_DISK_FAILED ? offset : -1;
    if (!err) self->end = offset + 1;
    assert_int_equal(weft_log_end(self->log), self->end);
    weft_buf_fini(&bytes);
}

static void s_sync(struct run *self)
{
    struct weft_log_sync job;
    if (!weft_log_sync_begin(self->log, &job)) return;
    weft_log_sync_run(&job);
    if (!job.result) {
        weft_checkpoint_set(self->checkpoint, s_topic, 0, job.end_offset);
        (void) !weft_checkpoint_write(self->checkpoint);
    }
    if (!weft_log_sync_done(self->log, &job) && weft_log_synced_end(self->log) > self->synced)
        self->synced = weft_log_synced_end(self->log);
}

// Asked again after a failure, as a client does: what is answered then must be as true as a first answer.
static bool s_trim(struct run *self, int64_t offset)
{
    return !weft_log_trim(self->log, offset) || !weft_log_trim(self->log, offset);
}

// Rolls, epochs, snapshots, syncs, a truncation, a trim, retention, idling: each kind of call at least once.
static void s_live(struct run *self)
{
    size_t removed;
    for (int i = 0; i < STEPS; i++) {
        s_append(self, 1 + i / 10);
        if (i % 4 == 3) s_sync(self);
        if (i == 11) (void) !weft_log_snapshot_put(self->log, self->end, weft_slice_text("state"));
        if (i == 14) weft_log_idle(self->log);
        if (i == 17) {
            int64_t cut = self->end > 3 ? self->end - 3 : 0;
            weft_err_t err = weft_log_truncate(self->log, cut);
            if (self->synced > cut) self->synced = cut;
            if (!err) self->end = cut;
            if (!err) self->maybe = -1;
            if (err && weft_log_broken(self->log)) return; // any end from the cut to the old one may be found
        }
        if (i == 22 && s_trim(self, self->end / 2)) self->start = weft_log_start(self->log);
        if (i == 26) {
            if (!weft_log_retain(self->log, 1000000, self->synced, &removed) && removed)
                self->start = weft_log_start(self->log);
        }
    }
    s_sync(self);
    bool clean;
    (void) !weft_checkpoint_take_clean(self->checkpoint, &clean);
    (void) !weft_checkpoint_mark_clean(self->checkpoint);
}

static weft_err_t s_each(void *context, const struct weft_batch *batch)
{
    const struct run *self = context;
    assert_true(batch->base_offset < BATCHES_MAX);
    assert_int_equal(batch->crc, self->crcs[batch->base_offset]);
    return WEFT_OK;
}

static void s_check(struct run *self, bool power_loss)
{
    const struct weft_disk *good = weft_crash_disk_of(self->crash);
    assert_ok(s_open(self, good));
    weft_log_check(self->log);
    int64_t end = weft_log_end(self->log);
    bool all_deleted = weft_log_start(self->log) == end;
    if (end < self->synced && !all_deleted) fail_msg("synced to %d, but ends at %d", (int) self->synced, (int) end);
    if (end > self->end && end != self->maybe + 1)
        fail_msg("appended to %d, but ends at %d", (int) self->end, (int) end);
    assert_true(weft_log_start(self->log) >= self->start);
    assert_ok(weft_log_scan(self->log, weft_log_start(self->log), s_each, self));
    struct weft_log_sync job;
    while (weft_log_sync_begin(self->log, &job)) {
        weft_log_sync_run(&job);
        assert_ok(weft_log_sync_done(self->log, &job));
    }
    s_close(self);
}

// False: the fault did not strike, so the sweep is over.
static bool s_sweep(const struct weft_fault *fault, bool power_loss, uint64_t *struck)
{
    struct run self = {.maybe = -1};
    weft_rand_t rand;
    self.config = (struct weft_log_config){
        .segment_bytes = 1500, .segment_ms = -1, .retention_ms = 100, .retention_bytes = -1, .index_interval_bytes = 1};
    weft_rand_init(&rand, fault->nth);
    self.crash = weft_crash_disk_new(fault->nth);
    self.fault = weft_fault_disk_new(weft_crash_disk_of(self.crash));
    assert_ok(weft_crash_disk_of(self.crash)->ops->mkdir(weft_crash_disk_of(self.crash), "data"));
    weft_fault_disk_arm(self.fault, fault);
    if (!s_open(&self, weft_fault_disk_of(self.fault))) s_live(&self);
    bool fired = weft_fault_disk_fired(self.fault) > 0;
    *struck += fired;
    if (power_loss) {
        s_close(&self);
        weft_fault_disk_disarm(self.fault);
        weft_crash_disk_crash(self.crash, &rand);
    } else {
        weft_fault_disk_disarm(self.fault);
        s_close(&self);
    }
    s_check(&self, power_loss);
    s_check(&self, power_loss);
    weft_fault_disk_destroy(&self.fault);
    weft_crash_disk_destroy(&self.crash);
    return fired;
}

static void s_all(uint32_t kinds, weft_err_t err, size_t short_bytes, uint64_t times)
{
    for (int power_loss = 0; power_loss < 2; power_loss++) {
        uint64_t struck = 0;
        struct weft_fault fault = {.kinds = kinds, .nth = 1, .times = times, .err = err, .short_bytes = short_bytes};
        while (s_sweep(&fault, power_loss, &struck)) fault.nth++;
        assert_true(struck > 10);
    }
}

static void test_log_faults__each_call_fails_once(void **state)
{
    s_all(WEFT_FAULT_ALL & ~(uint32_t) (WEFT_FAULT_PREALLOCATE | WEFT_FAULT_LOCK), WEFT_ERR_DISK_FAILED, 0, 1);
}

static void test_log_faults__each_call_and_all_after_it_fail(void **state)
{
    s_all(WEFT_FAULT_CHANGES, WEFT_ERR_DISK_FAILED, 0, 0);
}

static void test_log_faults__the_disk_is_full_for_a_while_and_for_good(void **state)
{
    s_all(WEFT_FAULT_PWRITEV | WEFT_FAULT_RENAME, WEFT_ERR_DISK_FULL, 0, 1);
    s_all(WEFT_FAULT_PWRITEV | WEFT_FAULT_RENAME, WEFT_ERR_DISK_FULL, 0, 0);
}

static void test_log_faults__a_write_stops_in_the_middle(void **state)
{
    static const size_t bytes[] = {1, 79, 80, 81, 200};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        s_all(WEFT_FAULT_PWRITEV, WEFT_ERR_DISK_FAILED, bytes[i], 1);
        s_all(WEFT_FAULT_PWRITEV | WEFT_FAULT_TRUNCATE, WEFT_ERR_DISK_FULL, bytes[i], 2); // and the mending fails too
    }
}

// The file `start` stands in its place, but its directory's sync failed: a second trim to the same offset stores it anew.
static void test_log_faults__a_trim_asked_again_is_as_durable_as_the_first(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct run self = {.maybe = -1};
        weft_rand_t rand;
        weft_rand_init(&rand, seed);
        self.config = (struct weft_log_config){.segment_bytes = 100000,
                                               .segment_ms = -1,
                                               .retention_ms = -1,
                                               .retention_bytes = -1,
                                               .index_interval_bytes = 1};
        self.crash = weft_crash_disk_new(seed);
        self.fault = weft_fault_disk_new(weft_crash_disk_of(self.crash));
        assert_ok(weft_crash_disk_of(self.crash)->ops->mkdir(weft_crash_disk_of(self.crash), "data"));
        assert_ok(s_open(&self, weft_fault_disk_of(self.fault)));
        for (int i = 0; i < 4; i++) s_append(&self, 0);
        s_sync(&self);
        weft_fault_disk_arm(self.fault,
                            &(struct weft_fault){
                                .kinds = WEFT_FAULT_SYNC_DIRECTORY, .nth = 1, .times = 1, .err = WEFT_ERR_DISK_FAILED});
        assert_err(weft_log_trim(self.log, 2), WEFT_ERR_DISK_FAILED);
        weft_fault_disk_disarm(self.fault);
        assert_ok(weft_log_trim(self.log, 2));
        self.start = 2;
        s_close(&self);
        weft_crash_disk_crash(self.crash, &rand);
        s_check(&self, true);
        weft_fault_disk_destroy(&self.fault);
        weft_crash_disk_destroy(&self.crash);
    }
}

static void s_silence(void *context, enum weft_trace_level level, const char *source, const char *line) {}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_faults__each_call_fails_once),
        cmocka_unit_test(test_log_faults__each_call_and_all_after_it_fail),
        cmocka_unit_test(test_log_faults__the_disk_is_full_for_a_while_and_for_good),
        cmocka_unit_test(test_log_faults__a_write_stops_in_the_middle),
        cmocka_unit_test(test_log_faults__a_trim_asked_again_is_as_durable_as_the_first),
    };
    weft_trace_sink_set(s_silence, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
