// SPDX-License-Identifier: MPL-2.0
// Random operations, power losses, kills and disk errors against a model, from seeds. A failure prints its seed: WEFT_SEED=n runs that one alone,
// WEFT_SEEDS=n runs as many.
#include "log_model.h"

#include "../../../lib/base/trace.h"

#include <stdio.h>
#include <string.h>

#define DIRECTORY "data/0123456789abcdef0123456789abcdef/0"

static const weft_id_t s_topic = {{1, 2, 3}};

static void s_fail(const struct model *self, const char *what)
{
    fail_msg("seed %llu%s, step %llu: %s", (unsigned long long) self->seed, self->faulty ? " with faults" : "",
             (unsigned long long) self->steps, what);
}

#define expect(self, condition) \
    do { \
        if (!(condition)) s_fail((self), #condition); \
    } while (0)

static uint64_t s_below(struct model *self, uint64_t bound)
{
    return weft_rand_below(&self->rand, bound);
}

static int64_t s_end(const struct model *self)
{
    return self->batch_count ? self->batches[self->batch_count - 1].end : 0;
}

static void s_faults(struct model *self, bool on)
{
    struct weft_crash_disk_faults faults = {0};
    if (on && self->faulty)
        faults = (struct weft_crash_disk_faults){
            .write_eio = 8000, .write_enospc = 8000, .sync_eio = 8000, .open_eio = 8000};
    weft_crash_disk_faults_set(self->crash, &faults);
}

// The model ends at `end` from now on.
static void s_cut(struct model *self, int64_t end)
{
    while (self->batch_count && self->batches[self->batch_count - 1].end > end)
        weft_buf_fini(&self->batches[--self->batch_count].bytes);
    if (self->synced > end) self->synced = end;
}

static struct model_batch *s_add(struct model *self)
{
    if (self->batch_count == self->batch_capacity) {
        self->batch_capacity = self->batch_capacity ? self->batch_capacity * 2 : 64;
        self->batches = weft_realloc(self->batches, self->batch_capacity * sizeof *self->batches);
    }
    return &self->batches[self->batch_count++];
}

// A log can be empty at an offset: a batch of no bytes says where.
static void s_end_at(struct model *self, int64_t end)
{
    if (s_end(self) == end) return;
    struct model_batch *none = s_add(self);
    *none = (struct model_batch){.base = end, .end = end, .epoch = -1};
    weft_buf_init(&none->bytes);
}

// ---- comparing

static size_t s_find(const struct model *self, int64_t offset)
{
    size_t low = 0, high = self->batch_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (self->batches[middle].end <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// What was read from `offset` on must be these batches. Returns the offset behind them.
static int64_t s_same(struct model *self, int64_t offset, weft_slice_t bytes)
{
    size_t at = s_find(self, offset);
    while (bytes.size) {
        expect(self, at < self->batch_count);
        weft_slice_t wanted = weft_buf_slice(&self->batches[at].bytes);
        expect(self, bytes.size >= wanted.size && memcmp(bytes.data, wanted.data, wanted.size) == 0);
        bytes.data += wanted.size;
        bytes.size -= wanted.size;
        offset = self->batches[at++].end;
    }
    return offset;
}

static void s_compare_epochs(struct model *self)
{
    if (!self->batch_count || self->batches[self->batch_count - 1].base < weft_log_start(self->log)) return;
    int32_t epoch = self->batches[self->batch_count - 1].epoch;
    if (epoch < 0) return;
    int32_t found;
    int64_t end;
    expect(self, weft_log_last_epoch(self->log) == epoch);
    size_t at = self->batch_count;
    while (at > 0 && self->batches[at - 1].epoch == epoch) at--;
    if (at == 0 || self->batches[at].base <= weft_log_start(self->log)) return;
    weft_log_epoch_end(self->log, epoch - 1, &found, &end);
    expect(self, found == self->batches[at - 1].epoch);
    expect(self, end == self->batches[at].base);
}

void model_compare(struct model *self)
{
    s_faults(self, false);
    weft_log_check(self->log);
    expect(self, weft_log_end(self->log) == s_end(self));
    int64_t next = weft_log_start(self->log);
    while (next < weft_log_end(self->log)) {
        weft_frame_t frame;
        weft_err_t err = weft_log_read(self->log, next, 1 + s_below(self, 20000), true, INT64_MAX, self->pool, &frame);
        expect(self, err == WEFT_OK);
        expect(self, frame.size > 0);
        next = s_same(self, next, weft_frame_slice(&frame));
        weft_frame_drop(&frame);
    }
    s_compare_epochs(self);
    s_faults(self, true);
}

// ---- opening

static void s_open(struct model *self)
{
    struct weft_error error = {0};
    struct weft_log_recovery recovery;
    s_faults(self, false);
    weft_err_t err = weft_checkpoint_open(self->disk, "data", &self->checkpoint, &error);
    if (err) s_fail(self, error.text);
    int64_t synced = weft_checkpoint_get(self->checkpoint, s_topic, 0);
    err = weft_log_open(self->disk, DIRECTORY, &self->config, synced, &self->log, &recovery, &error);
    if (err) s_fail(self, error.text);
    s_faults(self, true);
    self->recoveries++;
}

static void s_close(struct model *self)
{
    weft_log_destroy(&self->log);
    weft_checkpoint_destroy(&self->checkpoint);
}

// The log as it is found: between what was promised and what was written.
static void s_found(struct model *self, bool durable)
{
    int64_t end = weft_log_end(self->log), start = weft_log_start(self->log);
    if (self->maybe.bytes.size && end == self->maybe.end && s_end(self) == self->maybe.base) {
        *s_add(self) = self->maybe;
        weft_buf_init(&self->maybe.bytes);
    }
    expect(self, start >= self->start || start == s_end(self));
    expect(self, end >= self->synced || end == start);
    expect(self, end <= s_end(self) || end == start);
    s_cut(self, end);
    if (durable) self->start = start; // else it may be a trim that failed half way, and lost later
    if (s_end(self) != end) {         // all was deleted and then lost: empty at its start
        expect(self, start == end);
        while (self->batch_count) weft_buf_fini(&self->batches[--self->batch_count].bytes);
        s_end_at(self, end);
    }
    self->epoch = weft_log_last_epoch(self->log) > self->epoch ? weft_log_last_epoch(self->log) : self->epoch;
    model_compare(self);
}

void model_crash(struct model *self)
{
    if (s_below(self, 2)) s_close(self); // what closing writes is unsynced as well
    weft_crash_disk_crash(self->crash, &self->rand);
    s_close(self);
    s_open(self);
    s_found(self, true);
}

static void s_kill(struct model *self)
{
    bool broken = weft_log_broken(self->log);
    int64_t end = s_end(self);
    weft_crash_disk_kill(self->crash);
    s_close(self);
    s_open(self);
    if (!broken) expect(self, weft_log_end(self->log) == end || weft_log_end(self->log) == self->maybe.end);
    s_found(self, false);
}

static void s_reopen(struct model *self)
{
    bool broken = weft_log_broken(self->log);
    int64_t end = s_end(self);
    s_close(self);
    s_open(self);
    if (!broken) expect(self, weft_log_end(self->log) == end || weft_log_end(self->log) == self->maybe.end);
    s_found(self, false);
}

// ---- operations

static struct model_batch s_batch(const struct weft_batch *batch, weft_buf_t bytes)
{
    return (struct model_batch){batch->base_offset, weft_batch_next_offset(batch), batch->max_timestamp_ms,
                                batch->leader_epoch, bytes};
}

static void s_append(struct model *self)
{
    if (s_below(self, 20) == 0) self->epoch += 1 + (int32_t) s_below(self, 3);
    struct weft_test_batch how = {.base_offset = weft_log_end(self->log),
                                  .leader_epoch = self->epoch,
                                  .count = 1 + (uint32_t) s_below(self, 4),
                                  .value_bytes = s_below(self, 10) ? s_below(self, 200) : s_below(self, 5000),
                                  .timestamp_ms = self->clock_ms + (int64_t) s_below(self, 50)};
    self->clock_ms += (int64_t) s_below(self, 30);
    struct weft_batch batch;
    weft_buf_t bytes;
    bool rolled;
    weft_buf_init(&bytes);
    weft_test_batch_make(&bytes, &how);
    weft_slice_t whole = weft_buf_slice(&bytes);
    expect(self, weft_batch_read(whole, &batch) == WEFT_OK);
    weft_err_t err = weft_log_append(
        self->log, weft_slice(whole.data, WEFT_BATCH_HEADER_BYTES),
        weft_slice(whole.data + WEFT_BATCH_HEADER_BYTES, whole.size - WEFT_BATCH_HEADER_BYTES), &batch, &rolled);
    if (err) {
        expect(self, self->faulty);
        expect(self, weft_log_end(self->log) == batch.base_offset);
        weft_buf_fini(&self->maybe.bytes);
        self->maybe = s_batch(&batch, bytes);
        if (err == WEFT_ERR_DISK_FULL) weft_buf_fini(&self->maybe.bytes);
        return;
    }
    weft_buf_fini(&self->maybe.bytes);
    *s_add(self) = s_batch(&batch, bytes);
    expect(self, weft_log_end(self->log) == s_end(self));
}

// A sync, perhaps with appends or a truncation while it is under way.
static void s_sync(struct model *self, bool record)
{
    struct weft_log_sync job;
    if (!weft_log_sync_begin(self->log, &job)) return;
    if (s_below(self, 3) == 0) s_append(self);
    int64_t end = job.end_offset;
    weft_log_sync_run(&job);
    weft_err_t result = job.result;
    if (!result && record) { // the sync part does this on its own thread, before the log hears of it
        weft_checkpoint_set(self->checkpoint, s_topic, 0, end);
        (void) !weft_checkpoint_write(self->checkpoint);
    }
    weft_err_t err = weft_log_sync_done(self->log, &job);
    expect(self, (err != WEFT_OK) == weft_log_broken(self->log));
    if (err) return;
    // After a start the log goes by the checkpoint, which may lag behind what is really synced.
    if (weft_log_synced_end(self->log) > self->synced) self->synced = weft_log_synced_end(self->log);
}

static void s_truncate(struct model *self)
{
    int64_t start = weft_log_start(self->log), end = weft_log_end(self->log);
    int64_t offset = start + (int64_t) s_below(self, (uint64_t) (end - start) + 1);
    if (s_below(self, 3) && end - offset > 20) offset = end - 20;
    size_t at = s_find(self, offset);
    int64_t cut = at < self->batch_count && offset < end ? self->batches[at].base : end;
    weft_err_t err = weft_log_truncate(self->log, offset);
    if (err) { // half done, broken: a start may find anything between
        expect(self, self->faulty);
        if (self->synced > cut) self->synced = cut;
        if (self->start > cut) self->start = cut;
        return;
    }
    expect(self, weft_log_end(self->log) == cut);
    s_cut(self, cut);
    if (self->start > cut) self->start = cut;
    s_end_at(self, cut);
}

// Begins anew at any offset. What fails half way leaves the old log, less of it, or an empty one at either start.
static void s_reset(struct model *self)
{
    int64_t start = weft_log_start(self->log), end = weft_log_end(self->log);
    int64_t offset = (int64_t) s_below(self, (uint64_t) end + 50);
    size_t at = s_find(self, start);
    int64_t cut = at < self->batch_count ? self->batches[at].base : start; // a batch that holds the start goes whole
    weft_err_t err = weft_log_reset(self->log, offset);
    if (err) {
        expect(self, self->faulty);
        if (self->start > cut) self->start = cut;
        if (!weft_log_broken(self->log)) return;
        if (self->synced > cut) self->synced = cut;
        if (self->start > offset) self->start = offset;
        return;
    }
    s_cut(self, -1);
    s_end_at(self, offset);
    self->start = self->synced = offset;
    weft_buf_fini(&self->maybe.bytes);
}

static void s_trim(struct model *self)
{
    int64_t start = weft_log_start(self->log), end = weft_log_end(self->log);
    int64_t offset = start + (int64_t) s_below(self, (uint64_t) (end - start) / 2 + 1);
    size_t removed;
    weft_err_t err;
    if (s_below(self, 2))
        err = weft_log_trim(self->log, offset);
    else
        err = weft_log_retain(self->log, self->clock_ms, self->synced, &removed);
    if (err) expect(self, self->faulty);
    if (!err && weft_log_start(self->log) != start) self->start = weft_log_start(self->log);
}

static void s_read(struct model *self)
{
    int64_t start = weft_log_start(self->log), end = weft_log_end(self->log);
    if (start == end) return;
    s_faults(self, false);
    int64_t offset = start + (int64_t) s_below(self, (uint64_t) (end - start));
    int64_t limit = offset + (int64_t) s_below(self, 100);
    weft_frame_t frame;
    weft_err_t err =
        weft_log_read(self->log, offset, 1 + s_below(self, 8000), s_below(self, 2), limit, self->pool, &frame);
    expect(self, err == WEFT_OK);
    expect(self, s_same(self, offset, weft_frame_slice(&frame)) <= limit || frame.size == 0);
    weft_frame_drop(&frame);
    expect(self, weft_log_bytes_between(self->log, offset, end) > 0);
    s_faults(self, true);
}

static void s_time(struct model *self)
{
    if (weft_log_broken(self->log)) return; // it may know less than the model
    int64_t offset, time, wanted = self->clock_ms - (int64_t) s_below(self, 5000);
    s_faults(self, false);
    expect(self, weft_log_offset_by_time(self->log, wanted, &offset, &time) == WEFT_OK);
    s_faults(self, true);
    size_t at = s_find(self, weft_log_start(self->log));
    while (at < self->batch_count && (self->batches[at].max_ms < wanted || self->batches[at].epoch < 0)) at++;
    if (at == self->batch_count) {
        expect(self, offset == -1);
        return;
    }
    expect(self, time >= wanted && offset >= weft_log_start(self->log));
    expect(self, offset >= self->batches[at].base && offset < self->batches[at].end);
}

static void s_snapshot(struct model *self)
{
    int64_t at, end = weft_log_end(self->log);
    char text[32];
    weft_buf_t bytes;
    snprintf(text, sizeof text, "state below %lld", (long long) end);
    weft_err_t err = weft_log_snapshot_put(self->log, end, weft_slice_text(text));
    if (err) expect(self, self->faulty);
    weft_buf_init(&bytes);
    if (!weft_log_snapshot_get(self->log, end, &at, &bytes)) {
        snprintf(text, sizeof text, "state below %lld", (long long) at);
        expect(self, at <= end && weft_slice_is_text(weft_buf_slice(&bytes), text));
    } else {
        expect(self, err || self->faulty);
    }
    weft_buf_fini(&bytes);
}

void model_step(struct model *self)
{
    self->steps++;
    if (weft_log_broken(self->log) && s_below(self, 4) == 0) {
        model_crash(self);
        return;
    }
    uint64_t dice = s_below(self, 1000);
    if (dice < 500)
        s_append(self);
    else if (dice < 650)
        s_sync(self, s_below(self, 2));
    else if (dice < 780)
        s_read(self);
    else if (dice < 820)
        s_time(self);
    else if (dice < 850)
        s_snapshot(self);
    else if (dice < 880)
        s_truncate(self);
    else if (dice < 905)
        s_trim(self);
    else if (dice < 910)
        s_reset(self);
    else if (dice < 930)
        weft_log_idle(self->log);
    else if (dice < 950)
        s_reopen(self);
    else if (dice < 970)
        s_kill(self);
    else
        model_crash(self);
    weft_log_check(self->log);
}

void model_init(struct model *self, uint64_t seed, bool faulty)
{
    memset(self, 0, sizeof *self);
    self->seed = seed;
    self->faulty = faulty;
    weft_rand_init(&self->rand, seed);
    self->crash = weft_crash_disk_new(seed);
    self->disk = weft_crash_disk_of(self->crash);
    self->pool = weft_frame_pool_new(32768, 4);
    self->clock_ms = 1000000;
    self->config = (struct weft_log_config){.segment_bytes = 2000 + (int64_t) s_below(self, 20000),
                                            .segment_ms = s_below(self, 2) ? -1 : 2000,
                                            .retention_ms = s_below(self, 2) ? -1 : 3000,
                                            .retention_bytes = s_below(self, 2) ? -1 : 20000,
                                            .index_interval_bytes = s_below(self, 2) ? 1 : 1000};
    // The data directory itself is there before any node.
    assert_ok(self->disk->ops->mkdir(self->disk, "data"));
    s_open(self);
}

void model_fini(struct model *self)
{
    s_close(self);
    while (self->batch_count) weft_buf_fini(&self->batches[--self->batch_count].bytes);
    free(self->batches);
    weft_buf_fini(&self->maybe.bytes);
    weft_frame_pool_destroy(&self->pool);
    weft_crash_disk_destroy(&self->crash);
}

static void s_run(bool faulty, uint64_t seeds, uint64_t steps)
{
    const char *one = getenv("WEFT_SEED"), *many = getenv("WEFT_SEEDS");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1, recoveries = 0;
    if (many) seeds = strtoull(many, NULL, 10);
    for (uint64_t seed = first; seed < first + (one ? 1 : seeds); seed++) {
        struct model model;
        model_init(&model, seed, faulty);
        for (uint64_t i = 0; i < steps; i++) model_step(&model);
        recoveries += model.recoveries;
        model_fini(&model);
    }
    print_message("%llu recoveries\n", (unsigned long long) recoveries);
}

static void test_log_crash__keeps_what_was_synced_and_invents_nothing(void **state)
{
    s_run(false, 1000, 150);
}

static void test_log_crash__keeps_what_was_synced_when_disk_calls_fail(void **state)
{
    s_run(true, 1000, 150);
}

// Hundreds of faults would say hundreds of times what they are.
static void s_silence(void *context, enum weft_trace_level level, const char *source, const char *line) {}

int main(void)
{
    weft_trace_sink_set(s_silence, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_crash__keeps_what_was_synced_and_invents_nothing),
        cmocka_unit_test(test_log_crash__keeps_what_was_synced_when_disk_calls_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
