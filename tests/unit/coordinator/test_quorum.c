// SPDX-License-Identifier: MPL-2.0
// The quorum of one voter under a state machine that only remembers what it was told: order, durability, snapshots,
// and every disk call failing in turn.
#include "../../../lib/testing/crash_disk.h"
#include "tests/support/fake_world.h"
#include "tests/support/fault_disk.h"
#include "tests/support/test.h"

#include "base/trace.h"
#include "coordinator/quorum.h"
#include "log/sync_part.h"

#include <stdio.h>
#include <string.h>

enum { SYNC_PART = 1, HOST_PART = 2, SNAPSHOT_COMMANDS = 16, NUMBERS_MAX = 4096, SECOND_US = 1000000 };

// ---- a part that owns a quorum; commands are numbers as text

struct host {
    struct weft_part part;
    weft_quorum_t *quorum;
    uint32_t numbers[NUMBERS_MAX]; // applied, in order
    size_t count;
    size_t replayed;              // of these, in this run without a token
    uint64_t tokens[NUMBERS_MAX]; // of what was applied in this run
    size_t token_count;
    size_t lost;
    weft_err_t lost_code;
    size_t barriers;
    size_t barrier_after; // applied when the last barrier came
    bool leads;
};

struct fixture {
    weft_crash_disk_t *crash;
    weft_fault_disk_t *fault;
    weft_fake_world_t *world;
    struct host *host; // the world's
    struct weft_error error;
};

static void s_on_apply(void *context, uint64_t index, weft_slice_t command, uint64_t token)
{
    struct host *self = context;
    if (command.size == 0 && token == 0) return; // entry 1: the voters
    if (command.size == 0) {
        self->barriers++;
        self->barrier_after = self->count;
        return;
    }
    char text[16] = "";
    assert_true(command.size < sizeof text);
    memcpy(text, command.data, command.size);
    assert_int_equal(index, self->count + 2); // without gaps, behind the voters
    self->numbers[self->count++] = (uint32_t) strtoul(text, NULL, 10);
    if (token)
        self->tokens[self->token_count++] = token;
    else
        self->replayed++;
}

static void s_on_leader(void *context, bool leads)
{
    ((struct host *) context)->leads = leads;
}

static void s_on_lost(void *context, uint64_t token, weft_err_t code, const char *sentence)
{
    struct host *self = context;
    assert_true(token);
    self->lost++;
    self->lost_code = code;
}

static void s_on_voters(void *context)
{
    (void) context;
}

static void s_snapshot(void *context, weft_buf_t *out)
{
    const struct host *self = context;
    weft_buf_append(out, self->numbers, self->count * sizeof self->numbers[0]);
}

static weft_err_t s_restore(void *context, uint64_t index, weft_slice_t snapshot)
{
    struct host *self = context;
    assert_int_equal(snapshot.size, (index - 1) * sizeof self->numbers[0]);
    memcpy(self->numbers, snapshot.data, snapshot.size);
    self->count = index - 1;
    return WEFT_OK;
}

static void s_part_start(struct weft_part *part, const struct weft_port *port)
{
    struct host *self = (struct host *) part;
    self->quorum->ops->start(self->quorum, port, SYNC_PART, "");
}

static void s_part_message(struct weft_part *part, struct weft_message *message)
{
    (void) part;
    (void) message;
}

static void s_part_mail(struct weft_part *part, struct weft_mail *mail)
{
    struct host *self = (struct host *) part;
    self->quorum->ops->mail(self->quorum, mail);
}

static void s_part_link(struct weft_part *part, weft_link_t link)
{
    (void) part;
    (void) link;
}

static int64_t s_part_turn(struct weft_part *part, int64_t now_us)
{
    struct host *self = (struct host *) part;
    return self->quorum->ops->turn(self->quorum, now_us);
}

static void s_part_stop(struct weft_part *part)
{
    struct host *self = (struct host *) part;
    self->quorum->ops->stop(self->quorum);
}

static bool s_part_stopped(struct weft_part *part)
{
    struct host *self = (struct host *) part;
    return self->quorum->ops->stopped(self->quorum);
}

static void s_part_destroy(struct weft_part **part_p)
{
    struct host *self = (struct host *) *part_p;
    if (self->quorum) self->quorum->ops->destroy(&self->quorum);
    free(self);
    *part_p = NULL;
}

static const struct weft_part_ops s_host_ops = {.start = s_part_start,
                                                .message = s_part_message,
                                                .mail = s_part_mail,
                                                .link_up = s_part_link,
                                                .link_down = s_part_link,
                                                .turn = s_part_turn,
                                                .stop = s_part_stop,
                                                .stopped = s_part_stopped,
                                                .destroy = s_part_destroy};

// ---- lives

static weft_err_t s_open(struct fixture *self)
{
    const struct weft_disk *disk = weft_fault_disk_of(self->fault);
    self->world = weft_fake_world_new(disk);
    const struct weft_world *world = weft_fake_world_of(self->world);
    weft_checkpoint_t *checkpoint = NULL;
    weft_err_t err = disk->ops->mkdir(disk, "q");
    if (!err) err = weft_checkpoint_open(disk, "q", &checkpoint, &self->error);
    if (err) return err;
    static const struct weft_quorum_events events = {.on_apply = s_on_apply,
                                                     .on_leader = s_on_leader,
                                                     .on_lost = s_on_lost,
                                                     .on_voters = s_on_voters,
                                                     .snapshot = s_snapshot,
                                                     .restore = s_restore};
    const struct weft_quorum_options options = {.disk = disk,
                                                .directory = "q",
                                                .name = "test",
                                                .synced_end = weft_checkpoint_get(checkpoint, weft_quorum_log_id(), 0),
                                                .snapshot_commands = SNAPSHOT_COMMANDS,
                                                .id = 1,
                                                .server = 4711,
                                                .format_id = {{1}},
                                                .election_ms = 300,
                                                .heartbeat_ms = 50};
    struct host *host = weft_calloc(1, sizeof *host);
    host->part.ops = &s_host_ops;
    struct weft_part *part = &host->part;
    err = weft_quorum_open(&options, &events, host, &host->quorum, &self->error);
    if (err) {
        weft_checkpoint_destroy(&checkpoint);
        s_part_destroy(&part);
        return err;
    }
    const struct weft_world_part how = {.name = "q"};
    weft_part_id_t id;
    assert_ok(world->ops->add(world->self, &how, weft_sync_part_new("sync", checkpoint, 100), &id, NULL, NULL));
    assert_int_equal(id, SYNC_PART);
    assert_ok(world->ops->add(world->self, &how, part, &id, NULL, NULL));
    assert_int_equal(id, HOST_PART);
    self->host = host;
    assert_false(host->leads);
    world->ops->start(world->self);
    return WEFT_OK;
}

static void s_close(struct fixture *self)
{
    self->host = NULL;
    weft_fake_world_destroy(&self->world);
}

static void s_say_nothing(void *context, enum weft_trace_level level, const char *source, const char *line)
{
    (void) context;
    (void) level;
    (void) source;
    (void) line;
}

static int s_setup(void **state)
{
    weft_trace_sink_set(s_say_nothing, NULL);
    struct fixture *self = weft_calloc(1, sizeof *self);
    self->crash = weft_crash_disk_new(1);
    self->fault = weft_fault_disk_new(weft_crash_disk_of(self->crash));
    *state = self;
    return 0;
}

static int s_teardown(void **state)
{
    struct fixture *self = *state;
    s_close(self);
    weft_fault_disk_destroy(&self->fault);
    weft_crash_disk_destroy(&self->crash);
    free(self);
    return 0;
}

static weft_err_t s_propose(struct fixture *self, uint32_t number)
{
    char text[16];
    snprintf(text, sizeof text, "%u", number);
    return self->host->quorum->ops->propose(self->host->quorum, weft_slice_text(text), number);
}

// A turn of the host, as any message would give it.
static void s_turn(struct fixture *self)
{
    (void) self->host->quorum->ops->turn(self->host->quorum, weft_fake_world_now_us(self->world));
    weft_fake_world_settle(self->world);
}

// ---- tests

static void test_quorum__commands_are_applied_in_order_once_durable(void **state)
{
    struct fixture *self = *state;
    assert_ok(s_open(self));
    assert_true(self->host->leads);
    weft_fake_world_hold(self->world, SYNC_PART, true);
    for (uint32_t i = 1; i <= 10; i++) assert_ok(s_propose(self, i));
    s_turn(self);
    assert_int_equal(self->host->count, 0);
    uint64_t syncs = weft_crash_disk_stats(self->crash).syncs;
    weft_fake_world_hold(self->world, SYNC_PART, false);
    weft_fake_world_settle(self->world);
    assert_int_equal(self->host->count, 10);
    assert_true(weft_crash_disk_stats(self->crash).syncs - syncs <= 3); // group commit: log, epochs, checkpoint
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(self->host->numbers[i], i + 1);
        assert_int_equal(self->host->tokens[i], i + 1);
    }
    s_close(self);
    weft_crash_disk_kill(self->crash);
    assert_ok(s_open(self));
    assert_int_equal(self->host->count, 10);
    assert_int_equal(self->host->replayed, 10);
}

static void test_quorum__a_barrier_waits_for_what_is_before_it(void **state)
{
    struct fixture *self = *state;
    assert_ok(s_open(self));
    weft_quorum_t *quorum = self->host->quorum;
    quorum->ops->barrier(quorum, 99);
    s_turn(self);
    assert_int_equal(self->host->barriers, 1); // nothing to wait for
    weft_fake_world_hold(self->world, SYNC_PART, true);
    assert_ok(s_propose(self, 1));
    quorum->ops->barrier(quorum, 98);
    assert_ok(s_propose(self, 2));
    s_turn(self);
    assert_int_equal(self->host->barriers, 1);
    weft_fake_world_hold(self->world, SYNC_PART, false);
    weft_fake_world_settle(self->world);
    assert_int_equal(self->host->barriers, 2);
    assert_int_equal(self->host->barrier_after, 1);
    assert_int_equal(self->host->count, 2);
}

static void test_quorum__the_queue_is_bounded(void **state)
{
    struct fixture *self = *state;
    assert_ok(s_open(self));
    weft_err_t err = WEFT_OK;
    uint32_t taken = 0;
    while (!err && taken < 1000000) {
        err = s_propose(self, 7);
        taken += err == WEFT_OK;
    }
    assert_err(err, WEFT_ERR_OVERLOADED);
    assert_int_equal(taken, 65536);
}

static void test_quorum__a_start_replays_little_behind_a_snapshot(void **state)
{
    struct fixture *self = *state;
    assert_ok(s_open(self));
    for (uint32_t i = 1; i <= 500; i++) {
        assert_ok(s_propose(self, i));
        s_turn(self);
    }
    assert_int_equal(self->host->count, 500);
    s_close(self);
    weft_rand_t rand;
    weft_rand_init(&rand, 1);
    weft_crash_disk_crash(self->crash, &rand);
    assert_ok(s_open(self));
    assert_int_equal(self->host->count, 500);
    assert_true(self->host->replayed <= 2 * SNAPSHOT_COMMANDS);
    for (uint32_t i = 0; i < 500; i++) assert_int_equal(self->host->numbers[i], i + 1);
}

static void test_quorum__a_clean_stop_leaves_nothing_under_way(void **state)
{
    struct fixture *self = *state;
    assert_ok(s_open(self));
    for (uint32_t i = 1; i <= 20; i++) assert_ok(s_propose(self, i));
    assert_true(weft_fake_world_stop(self->world, HOST_PART, SECOND_US));
    assert_int_equal(self->host->count, 20);
    assert_err(s_propose(self, 21), WEFT_ERR_STOPPING);
}

static void test_quorum__log_and_snapshot_must_meet(void **state)
{
    struct fixture *self = *state;
    const struct weft_disk *disk = weft_crash_disk_of(self->crash);
    assert_ok(s_open(self));
    for (uint32_t i = 1; i <= 100; i++) {
        assert_ok(s_propose(self, i));
        s_turn(self);
    }
    s_close(self);
    assert_ok(disk->ops->rename(disk, "q/snapshot", "q/elsewhere"));
    assert_err(s_open(self), WEFT_ERR_DAMAGED); // the log was trimmed behind it
    assert_non_null(strstr(self->error.text, "snapshot"));
    s_close(self);
    assert_ok(disk->ops->rename(disk, "q/elsewhere", "q/snapshot"));
    assert_ok(s_open(self));
    assert_int_equal(self->host->count, 100);
    s_close(self);
    assert_ok(weft_disk_remove_tree(disk, "q/log"));
    assert_err(s_open(self), WEFT_ERR_DAMAGED);
    assert_non_null(strstr(self->error.text, "log"));
}

// One life with the n-th changing call failing, a crash, and one without: what was applied is there, in order, and
// little else.
static bool s_sweep_once(struct fixture *self, uint64_t nth, weft_err_t err, weft_rand_t *rand)
{
    static uint32_t applied[NUMBERS_MAX];
    const struct weft_fault fault = {
        .kinds = WEFT_FAULT_CHANGES, .nth = nth, .times = 1, .err = err, .short_bytes = nth % 3 ? 0 : 5};
    size_t count = 0;
    bool fired = false;
    weft_fault_disk_arm(self->fault, &fault);
    if (s_open(self) == WEFT_OK) {
        for (uint32_t i = 1; i <= 60; i++) {
            (void) s_propose(self, i);
            if (i % 3 == 0) s_turn(self);
        }
        weft_fake_world_advance(self->world, SECOND_US);
        count = self->host->count;
        memcpy(applied, self->host->numbers, count * sizeof applied[0]);
        if (self->host->quorum->ops->failure(self->host->quorum)) assert_false(self->host->leads);
    }
    fired = weft_fault_disk_fired(self->fault) > 0;
    weft_fault_disk_disarm(self->fault);
    s_close(self);
    if (weft_rand_chance(rand, 500000))
        weft_crash_disk_crash(self->crash, rand);
    else
        weft_crash_disk_kill(self->crash);
    assert_ok(s_open(self));
    assert_true(self->host->count >= count); // I1, I9
    assert_memory_equal(self->host->numbers, applied, count * sizeof applied[0]);
    for (size_t i = 1; i < self->host->count; i++) assert_true(self->host->numbers[i] > self->host->numbers[i - 1]);
    assert_ok(s_propose(self, 1000));
    s_turn(self);
    assert_int_equal(self->host->numbers[self->host->count - 1], 1000); // it goes on
    s_close(self);
    return fired;
}

static void s_sweep(struct fixture *self, weft_err_t err)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 11);
    uint64_t nth = 1;
    for (bool fired = true; fired && nth < 2000; nth++) {
        fired = s_sweep_once(self, nth, err, &rand);
        weft_fault_disk_destroy(&self->fault);
        weft_crash_disk_destroy(&self->crash);
        self->crash = weft_crash_disk_new(nth);
        self->fault = weft_fault_disk_new(weft_crash_disk_of(self->crash));
    }
    assert_true(nth > 50 && nth < 2000);
}

static void test_quorum__every_failing_call_keeps_what_was_applied(void **state)
{
    s_sweep(*state, WEFT_ERR_DISK_FAILED);
}

static void test_quorum__a_disk_full_at_every_call_keeps_what_was_applied(void **state)
{
    s_sweep(*state, WEFT_ERR_DISK_FULL);
}

#define TEST(test_of__promise) cmocka_unit_test_setup_teardown(test_of__promise, s_setup, s_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_quorum__commands_are_applied_in_order_once_durable),
        TEST(test_quorum__a_barrier_waits_for_what_is_before_it),
        TEST(test_quorum__the_queue_is_bounded),
        TEST(test_quorum__a_start_replays_little_behind_a_snapshot),
        TEST(test_quorum__a_clean_stop_leaves_nothing_under_way),
        TEST(test_quorum__log_and_snapshot_must_meet),
        TEST(test_quorum__every_failing_call_keeps_what_was_applied),
        TEST(test_quorum__a_disk_full_at_every_call_keeps_what_was_applied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
