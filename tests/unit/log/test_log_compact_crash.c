// SPDX-License-Identifier: MPL-2.0
// Compaction with the power lost behind every call of the disk, also while a start finishes what another left; and
// random histories with crashes, kills and truncations. A failure prints its seed: WEFT_SEED=n runs that one alone, WEFT_SEEDS=n runs as many.
#include "compact_fixture.h"

#include "../../../lib/base/trace.h"
#include "../../support/fault_disk.h"

static void s_forget_gone(struct compact_fixture *self)
{
    for (size_t i = 0; i < self->record_count; i++) self->records[i].gone = false;
}

// A log compacted once, its tombstones due, dirty again: the next run merges, rewrites, and removes tombstones.
static void s_fill(struct compact_fixture *self)
{
    const struct item some[] = {{1, 0}, {2, 0}, {11, 1}, {NO_KEY, 0}, {3, 0}, {1, 0}};
    for (int i = 0; i < 30; i++) compact_put(self, i % 9);
    compact_append(self, some, 6);
    assert_ok(compact_try_append(self, some, 6, WEFT_CODEC_LZ4, 2));
    compact_remove(self, 4);
    compact_roll(self);
    assert_true(compact_all(self));
    self->now_ms += 2000;
    self->epoch = 2;
    assert_ok(compact_try_append(self, some, 4, WEFT_CODEC_ZSTD, 3));
    for (int i = 0; i < 30; i++) compact_put(self, i % 6);
    compact_roll(self);
    compact_put(self, 5);
    fixture_sync(&self->log);
}

static void s_compact_over(struct compact_fixture *self, weft_fault_disk_t *faulty, uint64_t nth, int64_t synced)
{
    const struct weft_fault fault = {.kinds = WEFT_FAULT_CHANGES, .nth = nth, .err = WEFT_ERR_DISK_FAILED};
    weft_compact_t *job;
    weft_log_destroy(&self->log.log);
    assert_ok(weft_log_open(weft_fault_disk_of(faulty), FIXTURE_DIRECTORY, &self->log.config, synced, &self->log.log,
                            &self->log.recovery, &self->log.error));
    assert_true(compact_begin(self, &job));
    weft_fault_disk_arm(faulty, &fault);
    compact_run(job, 5000);
    weft_err_t err = weft_log_compact_done(self->log.log, &job, &self->report);
    if (err) assert_true(weft_fault_disk_fired(faulty) > 0);
    assert_true(err || self->report.swapped);
    if (!weft_log_broken(self->log.log)) { // the log goes on, as it was or compacted
        weft_fault_disk_disarm(faulty);
        compact_check(self);
        s_forget_gone(self);
    }
}

// Nothing of a run is left but what is in use.
static void s_on_file(void *context, const char *path, weft_slice_t bytes)
{
    if (strstr(path, ".compact") || strstr(path, "/swap")) fail_msg("%s is left", path);
}

static void s_check_found(struct compact_fixture *self, bool swapped, int64_t synced)
{
    s_forget_gone(self);
    assert_int_equal(weft_log_end(self->log.log), synced);
    compact_check(self);
    compact_check_sessions(self);
    if (swapped) assert_int_equal(weft_log_compacted(self->log.log), synced - 1);
    weft_crash_disk_each(self->log.crash, FIXTURE_DIRECTORY, s_on_file, NULL);
    s_forget_gone(self);
    (void) !compact_all(self); // goes on from there
    compact_check(self);
    compact_check_sessions(self);
}

static void s_power_loss(struct compact_fixture *self, weft_rand_t *rand, int luck)
{
    if (luck == 0)
        weft_crash_disk_kill(self->log.crash);
    else
        weft_crash_disk_crash(self->log.crash, rand);
}

// A start that is cut short behind its nth change. False: it made it.
static bool s_open_cut_short(struct compact_fixture *self, uint64_t nth, int64_t synced)
{
    weft_fault_disk_t *faulty = weft_fault_disk_new(self->log.disk);
    const struct weft_fault fault = {.kinds = WEFT_FAULT_CHANGES, .nth = nth, .err = WEFT_ERR_DISK_FAILED};
    weft_fault_disk_arm(faulty, &fault);
    struct weft_error error;
    weft_err_t err = weft_log_open(weft_fault_disk_of(faulty), FIXTURE_DIRECTORY, &self->log.config, synced,
                                   &self->log.log, &self->log.recovery, &error);
    bool fired = weft_fault_disk_fired(faulty) > 0;
    if (!err) weft_log_destroy(&self->log.log);
    weft_fault_disk_destroy(&faulty);
    return fired;
}

static void test_log_compact_crash__power_lost_behind_any_call_leaves_the_old_log_or_the_new_one(void **state)
{
    uint64_t cases = 0;
    weft_rand_t rand;
    weft_rand_init(&rand, 1);
    bool fired = true;
    for (uint64_t nth = 1; fired; nth++) {
        for (int luck = 0; luck < 12; luck++) {
            void *fixture;
            compact_setup(&fixture);
            struct compact_fixture *self = fixture;
            s_fill(self);
            int64_t synced = weft_log_end(self->log.log);
            weft_fault_disk_t *faulty = weft_fault_disk_new(self->log.disk);
            s_compact_over(self, faulty, nth, synced);
            fired = weft_fault_disk_fired(faulty) > 0;
            bool swapped = self->report.swapped;
            weft_log_destroy(&self->log.log);
            weft_fault_disk_destroy(&faulty);
            s_power_loss(self, &rand, luck);
            for (uint64_t k = 1; luck % 3 == 2 && s_open_cut_short(self, k, synced); k++)
                s_power_loss(self, &rand, luck);
            fixture_open(&self->log, synced);
            s_check_found(self, swapped, synced);
            compact_teardown(&fixture);
            cases++;
        }
    }
    print_message("%llu interrupted compactions\n", (unsigned long long) cases);
}

// A disk that fails for a moment and then goes on: the log is as it was, compacted, or broken; never in between.
static void test_log_compact_crash__any_call_may_fail_once(void **state)
{
    bool fired = true;
    for (uint64_t nth = 1; fired; nth++) {
        void *fixture;
        compact_setup(&fixture);
        struct compact_fixture *self = fixture;
        s_fill(self);
        int64_t synced = weft_log_end(self->log.log);
        weft_fault_disk_t *faulty = weft_fault_disk_new(self->log.disk);
        const struct weft_fault fault = {.kinds = WEFT_FAULT_ALL,
                                         .nth = nth,
                                         .times = 1,
                                         .err = nth % 2 ? WEFT_ERR_DISK_FULL : WEFT_ERR_DISK_FAILED};
        weft_compact_t *job;
        weft_log_destroy(&self->log.log);
        assert_ok(weft_log_open(weft_fault_disk_of(faulty), FIXTURE_DIRECTORY, &self->log.config, synced,
                                &self->log.log, &self->log.recovery, &self->log.error));
        assert_true(compact_begin(self, &job));
        weft_fault_disk_arm(faulty, &fault);
        compact_run(job, 5000);
        weft_err_t err = weft_log_compact_done(self->log.log, &job, &self->report);
        fired = weft_fault_disk_fired(faulty) > 0;
        weft_fault_disk_disarm(faulty);
        assert_true(fired || !err);
        if (!weft_log_broken(self->log.log)) {
            compact_check(self);
            if (err) assert_true(compact_all(self)); // another try
            compact_check(self);
            compact_put(self, 3);
            fixture_sync(&self->log);
        }
        int64_t end = weft_log_end(self->log.log);
        weft_log_destroy(&self->log.log);
        weft_fault_disk_destroy(&faulty);
        weft_crash_disk_kill(self->log.crash);
        fixture_open(&self->log, synced);
        s_check_found(self, false, end);
        compact_teardown(&fixture);
    }
}

// ---- random histories

struct history {
    struct compact_fixture *self;
    weft_rand_t rand;
    uint64_t seed;
    int64_t synced; // as a checkpoint would tell
    int64_t limit;  // nothing above was compacted
    weft_compact_t *job;
};

static uint64_t s_below(struct history *history, uint64_t bound)
{
    return weft_rand_below(&history->rand, bound);
}

static void s_append(struct history *history)
{
    static const enum weft_codec codecs[] = {WEFT_CODEC_NONE, WEFT_CODEC_NONE, WEFT_CODEC_LZ4, WEFT_CODEC_ZSTD};
    struct compact_fixture *self = history->self;
    struct item items[12];
    size_t count = 1 + s_below(history, 12);
    int keys = 1 + (int) s_below(history, 30);
    for (size_t i = 0; i < count; i++) {
        items[i].key = s_below(history, 15) ? (int) s_below(history, (uint64_t) keys) : NO_KEY;
        items[i].tombstone = s_below(history, 5) == 0;
    }
    self->now_ms += (int64_t) s_below(history, 400);
    assert_ok(compact_try_append(self, items, count, codecs[s_below(history, 4)], (int64_t) s_below(history, 5) - 1));
}

static void s_sync(struct history *history)
{
    fixture_sync(&history->self->log);
    if (s_below(history, 2)) history->synced = weft_log_synced_end(history->self->log.log);
}

static void s_done(struct history *history)
{
    struct compact_fixture *self = history->self;
    if (!history->job) return;
    compact_run(history->job, 1 + s_below(history, 5000));
    assert_ok(weft_log_compact_done(self->log.log, &history->job, &self->report));
    compact_check(self);
    compact_check_sessions(self);
}

static void s_begin(struct history *history)
{
    struct compact_fixture *self = history->self;
    if (history->job) return;
    self->memory_bytes = s_below(history, 3) ? 1 << 20 : s_below(history, 3000);
    self->delete_retention_ms = (int64_t) s_below(history, 3000);
    self->tombstones_limit = s_below(history, 3) ? INT64_MAX : (int64_t) s_below(history, 1000);
    self->lag_ms = s_below(history, 4) ? 0 : (int64_t) s_below(history, 2000);
    if (!compact_begin(self, &history->job)) return;
    if (weft_log_synced_end(self->log.log) > history->limit) history->limit = weft_log_synced_end(self->log.log);
    bool more = true;
    size_t moved;
    for (uint64_t i = s_below(history, 20); i > 0 && more; i--)
        (void) !weft_compact_step(history->job, 300, &more, &moved);
}

// The log ends at `end`: what was appended behind never was.
static void s_cut(struct history *history, int64_t end)
{
    struct compact_fixture *self = history->self;
    while (self->record_count && self->records[self->record_count - 1].offset >= end) self->record_count--;
    while (self->batch_count && self->batches[self->batch_count - 1].base >= end) {
        const struct sent *last = &self->batches[--self->batch_count];
        if (last->producer >= 0) self->sequences[last->producer] = last->sequence;
    }
    if (history->synced > end) history->synced = end;
}

// A follower's log is cut above what is compacted: compaction stays below the marks.
static void s_truncate(struct history *history)
{
    struct compact_fixture *self = history->self;
    int64_t start = weft_log_start(self->log.log), end = weft_log_end(self->log.log);
    int64_t low = history->limit > start ? history->limit : start;
    assert_ok(weft_log_truncate(self->log.log, low + (int64_t) s_below(history, (uint64_t) (end - low) + 1)));
    self->epoch++;
    s_cut(history, weft_log_end(self->log.log));
}

static void s_trim(struct history *history)
{
    struct compact_fixture *self = history->self;
    int64_t start = weft_log_start(self->log.log), end = weft_log_synced_end(self->log.log);
    if (end <= start) return;
    assert_ok(weft_log_trim(self->log.log, start + (int64_t) s_below(history, (uint64_t) (end - start) / 4 + 1)));
}

static void s_reopen(struct history *history, bool crash)
{
    struct compact_fixture *self = history->self;
    int64_t synced = weft_log_synced_end(self->log.log);
    weft_compact_destroy(&history->job);
    weft_log_destroy(&self->log.log);
    if (crash)
        weft_crash_disk_crash(self->log.crash, &history->rand);
    else
        weft_crash_disk_kill(self->log.crash);
    fixture_open(&self->log, history->synced);
    assert_true(weft_log_end(self->log.log) >= synced);
    s_cut(history, weft_log_end(self->log.log));
    compact_check(self);
    compact_check_sessions(self);
}

static void s_step(struct history *history)
{
    struct compact_fixture *self = history->self;
    bool rolled;
    switch (s_below(history, 16)) {
    case 0: s_sync(history); break;
    case 1: assert_ok(weft_log_roll_due(self->log.log, 0, true, &rolled)); break;
    case 2:
        assert_ok(weft_log_roll_due(self->log.log, 0, true, &rolled));
        s_sync(history);
        s_begin(history);
        break;
    case 3: s_begin(history); break;
    case 4: s_done(history); break;
    case 5:
        if (s_below(history, 4) == 0) s_truncate(history);
        break;
    case 6:
        if (s_below(history, 6) == 0) s_trim(history);
        break;
    case 7:
        if (s_below(history, 2) == 0) s_reopen(history, s_below(history, 3) != 0);
        break;
    case 8: self->now_ms += (int64_t) s_below(history, 2000); break;
    default: s_append(history); break;
    }
}

static void s_history(uint64_t seed)
{
    void *fixture;
    compact_setup(&fixture);
    struct history history = {.self = fixture, .seed = seed};
    weft_rand_init(&history.rand, seed);
    history.self->log.config.segment_bytes = 400 + (int64_t) s_below(&history, 4000);
    history.self->log.config.index_interval_bytes = 1 + (uint32_t) s_below(&history, 400);
    weft_log_configure(history.self->log.log, &history.self->log.config);
    for (int i = 0; i < 150; i++) s_step(&history);
    s_sync(&history);
    s_done(&history);
    s_reopen(&history, true);
    compact_teardown(&fixture);
}

static void test_log_compact_crash__random_histories_keep_what_they_must(void **state)
{
    const char *one = getenv("WEFT_SEED"), *many = getenv("WEFT_SEEDS");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1, count = one ? 1 : many ? strtoull(many, NULL, 10) : 500;
    for (uint64_t seed = first; seed < first + count; seed++) {
        if (one || many) print_message("seed %llu\n", (unsigned long long) seed);
        s_history(seed);
    }
}

// Hundreds of faults would say hundreds of times what they are.
static void s_silence(void *context, enum weft_trace_level level, const char *source, const char *line) {}

int main(void)
{
    weft_trace_sink_set(s_silence, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_compact_crash__power_lost_behind_any_call_leaves_the_old_log_or_the_new_one),
        cmocka_unit_test(test_log_compact_crash__any_call_may_fail_once),
        cmocka_unit_test(test_log_compact_crash__random_histories_keep_what_they_must),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
