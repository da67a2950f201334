// SPDX-License-Identifier: MPL-2.0
// Every call that changes the disk fails in turn, once or for good, as EIO or as a full disk; then the power goes.
// Whatever was acknowledged as durable must be there afterwards, once and at its offset (I1, I3, I9), and the broker
// must start by itself.
#include "rig.h"

#include "../../../lib/testing/crash_disk.h"

#include "../../../lib/base/trace.h"

#define S_BATCHES 8

static const char *const s_options[] = {"data=data", NULL};

struct s_acked {
    int32_t sequence;
    int64_t offset;
};

struct s_run {
    struct rig *rig;
    struct s_acked acked[S_BATCHES];
    size_t acked_count;
    uint64_t calls; // that change the disk
};

// One idempotent batch, tried again as a client does; what is acknowledged is noted.
static void s_produce(struct s_run *run, int32_t number)
{
    struct rig *rig = run->rig;
    weft_buf_t batch;
    weft_buf_init(&batch);
    const struct rig_produce how = {.topic = "orders", .timeout_ms = 1000};
    for (int attempt = 0; attempt < 3; attempt++) {
        rig_batch(&batch, 2, 55, 2 * number);
        rig_send_produce(rig, &how, weft_buf_slice(&batch));
        rig_advance(rig, 20);
        const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
        assert_non_null(sent); // nobody is left without an answer
        struct weft_produce_reply reply;
        assert_ok(weft_produce_reply_decode(&rig->codec, weft_buf_slice(&sent->header), &reply, &rig->error));
        if (reply.header.error != WEFT_OK) continue;
        run->acked[run->acked_count++] = (struct s_acked){2 * number, reply.offset};
        break;
    }
    weft_buf_fini(&batch);
}

// What the log holds, batch by batch: each acknowledged one once and in its place.
static void s_check(struct s_run *run)
{
    struct rig *rig = run->rig;
    rig_send_fetch(rig, &(struct rig_fetch){.topic = "orders", .offset = 0});
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    struct weft_reply_header header;
    assert_ok(weft_reply_header_decode(&rig->codec, weft_buf_slice(&sent->header), &header, &rig->error));
    if (run->acked_count > 0) assert_ok(header.error);
    size_t found = 0;
    int32_t last = -1;
    for (weft_slice_t rest = weft_buf_slice(&sent->data); rest.size != 0;) {
        struct weft_batch batch;
        assert_ok(weft_batch_verify(rest, &batch));
        assert_true(batch.base_sequence > last); // once, in order
        last = batch.base_sequence;
        for (size_t i = 0; i < run->acked_count; i++) {
            if (run->acked[i].sequence != batch.base_sequence) continue;
            assert_int_equal(batch.base_offset, run->acked[i].offset);
            found++;
        }
        rest = weft_slice(rest.data + weft_batch_bytes(&batch), rest.size - weft_batch_bytes(&batch));
    }
    assert_int_equal(found, run->acked_count);
}

// One history: a start, a topic, batches with the fault in their midst, power loss, another start.
static void s_history(struct s_run *run, const struct weft_fault *fault, uint64_t seed)
{
    struct rig rig;
    weft_crash_disk_t *crash = weft_crash_disk_new(seed);
    weft_fault_disk_t *faults = weft_fault_disk_new(weft_crash_disk_of(crash));
    weft_rand_t rand;
    weft_rand_init(&rand, seed);
    rig_begin(&rig);
    *run = (struct s_run){.rig = &rig};
    rig.disk = weft_fault_disk_of(faults);
    rig_up(&rig, s_options);
    weft_fault_disk_calls_reset(faults);
    if (fault != NULL) weft_fault_disk_arm(faults, fault);
    rig_topic_with(&rig, "orders", 10, 1, "segment.bytes", "65536");
    for (int32_t i = 0; i < S_BATCHES; i++) {
        s_produce(run, i);
        if (i == S_BATCHES / 2) rig_advance(&rig, 500); // a checkpoint
    }
    run->calls = weft_fault_disk_calls(faults, WEFT_FAULT_CHANGES);
    weft_fault_disk_disarm(faults);
    rig_kill(&rig);
    weft_crash_disk_crash(crash, &rand);
    rig_up(&rig, s_options);
    s_check(run);
    rig_end(&rig);
    weft_fault_disk_destroy(&faults);
    weft_crash_disk_destroy(&crash);
}

static void s_sweep(weft_err_t err, uint64_t times, size_t short_bytes)
{
    struct s_run run;
    s_history(&run, NULL, 1);
    assert_int_equal(run.acked_count, S_BATCHES);
    uint64_t calls = run.calls;
    assert_true(calls > 20);
    for (uint64_t nth = 1; nth <= calls; nth++) {
        const struct weft_fault fault = {
            .kinds = WEFT_FAULT_CHANGES, .nth = nth, .times = times, .err = err, .short_bytes = short_bytes};
        for (uint64_t seed = 1; seed <= 3; seed++) s_history(&run, &fault, 100 * nth + seed);
    }
}

static void test_faults__one_failed_call_loses_nothing_acknowledged(void **state)
{
    (void) state;
    s_sweep(WEFT_ERR_DISK_FAILED, 1, 0);
}

static void test_faults__a_disk_that_fails_for_good_loses_nothing_acknowledged(void **state)
{
    (void) state;
    s_sweep(WEFT_ERR_DISK_FAILED, 0, 0);
}

static void test_faults__a_full_disk_loses_nothing_acknowledged(void **state)
{
    (void) state;
    s_sweep(WEFT_ERR_DISK_FULL, 3, 30);
}

static void test_faults__power_loss_keeps_what_was_durable(void **state)
{
    (void) state;
    struct s_run run;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        s_history(&run, NULL, seed);
        assert_int_equal(run.acked_count, S_BATCHES);
    }
}

static void test_faults__a_start_on_a_failing_disk_is_refused_with_a_sentence(void **state)
{
    (void) state;
    size_t refused = 0;
    for (uint64_t nth = 1; nth <= 60; nth++) {
        struct rig rig;
        weft_crash_disk_t *crash = weft_crash_disk_new(nth);
        weft_fault_disk_t *faults = weft_fault_disk_new(weft_crash_disk_of(crash));
        rig_begin(&rig);
        rig.disk = weft_fault_disk_of(faults);
        const struct weft_fault fault = {.kinds = WEFT_FAULT_ALL, .nth = nth, .err = WEFT_ERR_DISK_FAILED};
        weft_fault_disk_arm(faults, &fault);
        if (rig_create(&rig, s_options) != WEFT_OK) {
            assert_true(strlen(rig.error.text) > 10);
            refused++;
        }
        rig_kill(&rig);
        weft_fault_disk_disarm(faults);
        rig_up(&rig, s_options); // nothing is left that hinders the next start
        rig_end(&rig);
        weft_fault_disk_destroy(&faults);
        weft_crash_disk_destroy(&crash);
    }
    assert_true(refused > 5);
}

static int s_quiet(void **state)
{
    (void) state;
    weft_trace_level_set((enum weft_trace_level) - 1); // failing is what this is about
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults__power_loss_keeps_what_was_durable),
        cmocka_unit_test(test_faults__a_start_on_a_failing_disk_is_refused_with_a_sentence),
        cmocka_unit_test(test_faults__one_failed_call_loses_nothing_acknowledged),
        cmocka_unit_test(test_faults__a_disk_that_fails_for_good_loses_nothing_acknowledged),
        cmocka_unit_test(test_faults__a_full_disk_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests(tests, s_quiet, NULL);
}
