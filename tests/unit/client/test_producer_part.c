// SPDX-License-Identifier: MPL-2.0
// The producer against a cluster that the test plays: what is sent, in which order, what is reported.
#include "tests/support/client_peer.h"
#include "tests/support/test.h"

#include "lib/client/producer_part.h"

#include <stdio.h>
#include <string.h>
#include <weft_gen/config.h>

#define NODE_A "tcp://a:1"
#define NODE_B "tcp://b:1"

struct fixture {
    weft_producer_part_t *part;
    struct peer peer;
    weft_topic_t *topic;
    // what was reported
    size_t delivered, failed;
    int64_t offsets[1000];
    weft_err_t error;
    enum weft_err_outcome outcome;
    char text[512];
    int seen[1000]; // opaque numbers in order
    size_t seen_count;
    bool send_again; // from inside a report
};

static void s_send(struct fixture *self, int32_t partition, const char *key, int number);

static void s_report(void *context, const struct weft_report *report)
{
    struct fixture *self = context;
    self->seen[self->seen_count++] = (int) (intptr_t) report->opaque;
    if (report->error) {
        self->failed++;
        self->error = report->error;
        self->outcome = report->outcome;
        snprintf(self->text, sizeof self->text, "%s", report->text);
    } else
        self->offsets[self->delivered++] = report->offset;
    if (self->send_again) {
        self->send_again = false;
        s_send(self, 0, NULL, 99);
    }
}

static void s_open(struct fixture *self, uint32_t partitions, const char *const *settings)
{
    memset(self, 0, sizeof *self);
    weft_options_t *options = weft_options_new(weft_options_producer, weft_options_producer_count, "producer");
    assert_ok(weft_options_set(options, "bootstrap", NODE_A "," NODE_B, NULL));
    for (size_t i = 0; settings && settings[i]; i++) assert_ok(weft_options_set_pair(options, settings[i], NULL));
    struct weft_error error;
    assert_ok(weft_producer_part_new(options, &self->part, &error));
    weft_options_destroy(&options);
    weft_producer_part_on_report(self->part, s_report, self);
    assert_ok(weft_producer_part_topic(self->part, "orders", &self->topic));
    peer_init(&self->peer, weft_producer_part_base(self->part), partitions ? "orders" : NULL, partitions, NODE_A);
    weft_fake_world_advance(self->peer.world, 1000);
    peer_pump(&self->peer);
}

static void s_close(struct fixture *self)
{
    peer_fini(&self->peer);
}

static void s_send(struct fixture *self, int32_t partition, const char *key, int number)
{
    char value[16];
    snprintf(value, sizeof value, "%d", number);
    struct weft_send_extra extra = {.opaque = (void *) (intptr_t) number};
    assert_ok(weft_producer_part_send(self->part, self->topic, partition, weft_text(key), weft_text(value), 1000,
                                      &extra, NULL));
}

// What a driver does after a call from outside.
static void s_turn(struct fixture *self)
{
    struct weft_part *part = weft_producer_part_base(self->part);
    (void) part->ops->turn(part, weft_fake_world_now_us(self->peer.world));
    peer_pump(&self->peer);
}

static void s_flush(struct fixture *self)
{
    weft_producer_part_flush(self->part);
    s_turn(self);
}

static void s_advance_ms(struct fixture *self, int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 10) {
        weft_fake_world_advance(self->peer.world, 10000);
        s_turn(self);
    }
}

// One record, one batch.
static void s_send_batch(struct fixture *self, int number)
{
    s_send(self, 0, NULL, number);
    s_flush(self);
}

static uint64_t s_counter(struct fixture *self, const char *name)
{
    const weft_counters_t *counters = weft_producer_part_counters(self->part);
    for (size_t i = 0; i < counters->count; i++)
        if (!strcmp(counters->infos[i].name, name)) return weft_counter_get(counters, i);
    fail();
    return 0;
}

static void test_producer__batches_by_linger_and_reports_offsets(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"linger.ms=20", NULL});
    for (int i = 0; i < 5; i++) s_send(&self, 0, NULL, i);
    s_advance_ms(&self, 10);
    assert_int_equal(self.peer.call_count, 0);
    s_advance_ms(&self, 20);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_int_equal(call->batch.count, 5);
    assert_int_equal(call->batch.base_sequence, 0);
    assert_true(call->batch.producer_id > 0);
    peer_produced(&self.peer, call, 100, false);
    assert_int_equal(self.delivered, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(self.offsets[i], 100 + i);
        assert_int_equal(self.seen[i], i);
    }
    assert_int_equal(weft_producer_part_waiting_count(self.part), 0);
    assert_int_equal(weft_producer_part_waiting_bytes(self.part), 0);
    s_close(&self);
}

static void test_producer__a_full_batch_leaves_at_once(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"linger.ms=60s", "batch.bytes=1024", NULL});
    while (!weft_producer_part_wants_turn(self.part)) s_send(&self, 0, NULL, 1);
    s_turn(&self);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_true(call->data.size <= 1024);
    assert_true(call->data.size > 900);
    s_close(&self);
}

static void test_producer__linger_0_sends_when_the_window_allows(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"linger.ms=0", "in.flight=2", NULL});
    for (int i = 0; i < 5; i++) {
        s_send(&self, 0, NULL, i);
        s_turn(&self);
    }
    assert_int_equal(self.peer.call_count, 2); // the rest waits together
    peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 0, false);
    (void) peer_take(&self.peer, WEFT_API_PRODUCE);
    weft_fake_world_advance(self.peer.world, 1);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->batch.count, 3);
    s_close(&self);
}

static void test_producer__a_flush_that_only_waits_asks_for_no_turn(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_send(&self, 0, NULL, 1);
    weft_producer_part_flush(self.part);
    assert_true(weft_producer_part_wants_turn(self.part));
    s_turn(&self);
    weft_producer_part_flush(self.part); // the batch is under way: nothing to do until it is answered
    assert_false(weft_producer_part_wants_turn(self.part));
    peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 0, false);
    assert_int_equal(self.delivered, 1);
    s_close(&self);
}

static void test_producer__keys_go_where_kafka_puts_them(void **state)
{
    struct fixture self;
    s_open(&self, 7, NULL);
    s_send(&self, WEFT_PARTITION_AUTO, "foobar", 1);
    s_flush(&self);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->partition, weft_partition_of_key(weft_text("foobar"), 7));
    s_close(&self);
}

static void test_producer__without_key_it_sticks_until_the_batch_is_closed(void **state)
{
    struct fixture self;
    s_open(&self, 8, NULL);
    for (int i = 0; i < 50; i++) s_send(&self, WEFT_PARTITION_AUTO, NULL, i);
    s_flush(&self);
    assert_int_equal(self.peer.call_count, 1);
    bool changed = false;
    uint32_t first = self.peer.calls[0].partition;
    for (int i = 0; i < 20 && !changed; i++) {
        s_send(&self, WEFT_PARTITION_AUTO, NULL, i);
        s_flush(&self);
        changed = self.peer.calls[self.peer.call_count - 1].partition != first;
    }
    assert_true(changed);
    s_close(&self);
}

static int32_t s_last_partition(void *context, const char *topic, int32_t count, weft_slice_t key, weft_slice_t value)
{
    return *(bool *) context ? count : count - 1;
}

static void test_producer__own_partitioner_decides_within_bounds(void **state)
{
    struct fixture self;
    bool wrong = false;
    s_open(&self, 3, NULL);
    weft_producer_part_set_partitioner(self.part, s_last_partition, &wrong);
    s_send(&self, WEFT_PARTITION_AUTO, "k", 1);
    s_flush(&self);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->partition, 2);
    wrong = true;
    assert_err(weft_producer_part_send(self.part, self.topic, -1, WEFT_SLICE_NIL, weft_text("v"), 1, NULL, NULL),
               WEFT_ERR_INVALID_ARGUMENT);
    s_close(&self);
}

static void test_producer__a_lost_link_resends_the_same_bytes(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_send_batch(&self, 1);
    s_send_batch(&self, 2);
    weft_buf_t first;
    weft_buf_init(&first);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    weft_buf_append(&first, call->data.data, call->data.size);
    (void) peer_take(&self.peer, WEFT_API_PRODUCE);
    weft_fake_world_link(self.peer.world, NODE_A, false);
    peer_pump(&self.peer);
    assert_int_equal(self.peer.call_count, 0);
    weft_fake_world_link(self.peer.world, NODE_A, true);
    s_advance_ms(&self, 100);
    call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_true(weft_slice_equal(weft_buf_slice(&call->data), weft_buf_slice(&first)));
    peer_produced(&self.peer, call, 10, true); // it had been written: a duplicate
    call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_int_equal(call->batch.base_sequence, 1);
    peer_produced(&self.peer, call, 11, false);
    assert_int_equal(self.delivered, 2);
    assert_int_equal(self.offsets[0], 10);
    assert_int_equal(s_counter(&self, "duplicates_count"), 1);
    weft_buf_fini(&first);
    s_close(&self);
}

static void test_producer__follows_the_leader_by_redirection(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    weft_fake_world_link(self.peer.world, NODE_B, true);
    s_send_batch(&self, 1);
    self.peer.leaders[0] = NODE_B;
    self.peer.epoch = 2;
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), WEFT_ERR_NOT_LEADER, NODE_B, 0);
    weft_fake_world_advance(self.peer.world, 1);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_string_equal(call->endpoint, NODE_B);
    peer_produced(&self.peer, call, 5, false);
    assert_int_equal(self.delivered, 1);
    s_close(&self);
}

static void test_producer__a_dead_leader_is_found_by_asking_another_node(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    weft_fake_world_link(self.peer.world, NODE_B, true);
    s_send_batch(&self, 1);
    (void) peer_take(&self.peer, WEFT_API_PRODUCE);
    self.peer.leaders[0] = NODE_B;
    self.peer.epoch = 2;
    weft_fake_world_link(self.peer.world, NODE_A, false);
    s_advance_ms(&self, 200);
    assert_string_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->endpoint, NODE_B);
    s_close(&self);
}

static void test_producer__silence_is_retried_within_the_delivery_timeout(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"request.timeout.ms=500", NULL});
    s_send_batch(&self, 1);
    (void) peer_take(&self.peer, WEFT_API_PRODUCE);
    s_advance_ms(&self, 2000);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    peer_produced(&self.peer, call, 0, true);
    assert_int_equal(self.delivered, 1);
    s_close(&self);
}

// Rule 16: batch 0 refused, batch 1 refused as out of order; both are sent again, 0 first.
static void test_producer__after_a_refusal_it_resends_from_the_first_refused(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    for (int i = 0; i < 3; i++) s_send_batch(&self, i);
    struct peer_call calls[3];
    for (int i = 0; i < 3; i++) {
        calls[i] = *peer_take(&self.peer, WEFT_API_PRODUCE);
        weft_buf_init(&self.peer.calls[PEER_CALLS_MAX - 1].data); // the copy owns it now
    }
    peer_refuse(&self.peer, &calls[0], WEFT_ERR_NOT_ENOUGH_REPLICAS, NULL, 0);
    peer_refuse(&self.peer, &calls[1], WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    peer_refuse(&self.peer, &calls[2], WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    s_advance_ms(&self, 300);
    for (int i = 0; i < 3; i++) {
        const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
        assert_int_equal(call->batch.base_sequence, i);
        assert_true(weft_slice_equal(weft_buf_slice(&call->data), weft_buf_slice(&calls[i].data)));
        peer_produced(&self.peer, call, i, false);
    }
    assert_int_equal(self.delivered, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(self.seen[i], i);
    for (int i = 0; i < 3; i++) weft_buf_fini(&calls[i].data);
    s_close(&self);
}

static void test_producer__overload_waits_as_long_as_it_was_told(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_send_batch(&self, 1);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), WEFT_ERR_OVERLOADED, NULL, 3000);
    s_advance_ms(&self, 2900);
    assert_int_equal(self.peer.call_count, 0);
    s_advance_ms(&self, 200);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->batch.base_sequence, 0);
    s_close(&self);
}

static void test_producer__time_over_after_a_sending_may_have_been_applied(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"delivery.timeout.ms=1s", NULL});
    s_send_batch(&self, 1);
    (void) peer_take(&self.peer, WEFT_API_PRODUCE);
    s_advance_ms(&self, 1100);
    assert_int_equal(self.failed, 1);
    assert_int_equal(self.error, WEFT_ERR_LOCAL_TIMED_OUT);
    assert_int_equal(self.outcome, WEFT_OUTCOME_MAYBE_APPLIED);
    s_close(&self);
}

static void test_producer__time_over_without_a_sending_was_not_applied(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"delivery.timeout.ms=1s", NULL});
    weft_fake_world_link(self.peer.world, NODE_A, false);
    s_send_batch(&self, 1);
    s_advance_ms(&self, 1200);
    assert_int_equal(self.failed, 1);
    assert_int_equal(self.outcome, WEFT_OUTCOME_NOT_APPLIED);
    char text[512];
    assert_err(weft_producer_part_take_first_error(self.part, text, sizeof text), self.error);
    assert_ok(weft_producer_part_take_first_error(self.part, text, sizeof text));
    s_close(&self);
}

// A batch was given up in doubt: what follows goes on under the next epoch, so that it can't gap, and the lost one
// can't land behind it.
static void test_producer__after_giving_up_the_next_epoch_begins_at_0(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"delivery.timeout.ms=1s", NULL});
    s_send_batch(&self, 1);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    int64_t identity = call->batch.producer_id;
    s_advance_ms(&self, 1100);
    assert_int_equal(self.failed, 1);
    s_send_batch(&self, 2);
    call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_int_equal(call->batch.producer_id, identity);
    assert_int_equal(call->batch.producer_epoch, 1);
    assert_int_equal(call->batch.base_sequence, 0);
    peer_produced(&self.peer, call, 7, false);
    assert_int_equal(self.delivered, 1);
    assert_int_equal(s_counter(&self, "identities_count"), 1);
    s_close(&self);
}

static void test_producer__nothing_new_is_sent_while_something_is_in_doubt(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"delivery.timeout.ms=1s", "in.flight=2", NULL});
    s_send_batch(&self, 1);
    s_advance_ms(&self, 500);
    s_send_batch(&self, 2);
    s_send_batch(&self, 3); // beyond the window
    (void) peer_take(&self.peer, WEFT_API_PRODUCE);
    struct peer_call second = *peer_take(&self.peer, WEFT_API_PRODUCE);
    weft_buf_init(&self.peer.calls[PEER_CALLS_MAX - 1].data);
    s_advance_ms(&self, 600);
    assert_int_equal(self.failed, 1);
    assert_int_equal(self.peer.call_count, 0); // 3 waits for the fate of 2
    peer_refuse(&self.peer, &second, WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    weft_fake_world_advance(self.peer.world, 1);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE); // 2 was surely not written: it goes first
    assert_int_equal(call->batch.producer_epoch, 1);
    assert_int_equal(call->batch.base_sequence, 0);
    peer_produced(&self.peer, call, 0, false);
    call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_int_equal(call->batch.base_sequence, 1);
    peer_produced(&self.peer, call, 1, false);
    assert_int_equal(self.seen[1], 2);
    assert_int_equal(self.seen[2], 3);
    weft_buf_fini(&second.data);
    s_close(&self);
}

// What was acknowledged before both is lost at the broker: the head is surely not written, the one behind it is in doubt, and both are gaps.
static void test_producer__doubt_behind_a_lost_head_ends(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"in.flight=2", NULL});
    s_send_batch(&self, 1);
    s_send_batch(&self, 2);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), WEFT_ERR_DISK_FULL, NULL, 0);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), WEFT_ERR_TIMED_OUT, NULL, 0);
    s_advance_ms(&self, 500);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    s_advance_ms(&self, 500);
    assert_int_equal(self.failed, 1); // the second, maybe applied
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_int_equal(call->batch.producer_epoch, 1);
    assert_int_equal(call->batch.base_sequence, 0);
    peer_produced(&self.peer, call, 0, false);
    assert_int_equal(self.delivered, 1);
    assert_int_equal(self.peer.call_count, 0);
    s_close(&self);
}

static void test_producer__an_expired_session_goes_on_unless_in_doubt(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_send_batch(&self, 1);
    peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 0, false);
    s_send_batch(&self, 2);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), WEFT_ERR_UNKNOWN_PRODUCER, NULL, 0);
    weft_fake_world_advance(self.peer.world, 1);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_int_equal(call->batch.base_sequence, 0);
    assert_int_equal(call->batch.producer_epoch, 1);
    peer_refuse(&self.peer, call, WEFT_ERR_TIMED_OUT, NULL, 0); // may have been applied
    s_advance_ms(&self, 300);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), WEFT_ERR_UNKNOWN_PRODUCER, NULL, 0);
    assert_int_equal(self.failed, 1);
    assert_int_equal(self.error, WEFT_ERR_UNKNOWN_PRODUCER);
    assert_int_equal(self.outcome, WEFT_OUTCOME_MAYBE_APPLIED);
    s_close(&self);
}

static void test_producer__a_fence_is_the_end(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_send_batch(&self, 1);
    s_send_batch(&self, 2);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), WEFT_ERR_PRODUCER_FENCED, NULL, 0);
    assert_int_equal(self.failed, 2);
    assert_err(weft_producer_part_send(self.part, self.topic, 0, WEFT_SLICE_NIL, weft_text("v"), 1, NULL, NULL),
               WEFT_ERR_PRODUCER_FENCED);
    s_close(&self);
}

static void test_producer__a_permanent_refusal_fails_only_its_batch(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_send_batch(&self, 1);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), WEFT_ERR_RECORD_TOO_LARGE, NULL, 0);
    assert_int_equal(self.failed, 1);
    assert_int_equal(self.outcome, WEFT_OUTCOME_NOT_APPLIED);
    s_send_batch(&self, 2);
    peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 0, false);
    assert_int_equal(self.delivered, 1);
    s_close(&self);
}

static void test_producer__the_buffer_is_bounded(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"buffer.bytes=65536", "linger.ms=60s", NULL});
    char value[1000] = {0};
    weft_err_t err = WEFT_OK;
    int taken = 0;
    while (!err && taken < 1000) {
        err = weft_producer_part_send(self.part, self.topic, 0, WEFT_SLICE_NIL, weft_bytes(value, sizeof value), 1,
                                      NULL, NULL);
        if (!err) taken++;
    }
    assert_err(err, WEFT_ERR_LOCAL_QUEUE_FULL);
    assert_in_range(taken, 60, 65);
    s_flush(&self);
    while (self.peer.call_count) peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 0, false);
    assert_ok(weft_producer_part_send(self.part, self.topic, 0, WEFT_SLICE_NIL, weft_bytes(value, 10), 1, NULL, NULL));
    s_close(&self);
}

static void test_producer__too_large_a_record_is_refused_before_sending(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    size_t size = 9u << 20;
    uint8_t *value = calloc(1, size);
    assert_err(
        weft_producer_part_send(self.part, self.topic, 0, WEFT_SLICE_NIL, weft_bytes(value, size), 1, NULL, NULL),
        WEFT_ERR_RECORD_TOO_LARGE);
    assert_non_null(strstr(weft_producer_part_error_text(self.part), "takes at most"));
    free(value);
    s_close(&self);
}

static void test_producer__records_wait_for_their_topic(void **state)
{
    struct fixture self;
    s_open(&self, 0, NULL);
    s_send(&self, WEFT_PARTITION_AUTO, "k", 1);
    s_send(&self, 5, "k", 2);   // there is none
    self.peer.topic = "orders"; // it is created just then
    self.peer.partitions = 2;
    self.peer.leaders[0] = self.peer.leaders[1] = NODE_A;
    s_advance_ms(&self, 500);
    s_flush(&self);
    assert_int_equal(self.failed, 1);
    assert_int_equal(self.error, WEFT_ERR_INVALID_ARGUMENT);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->batch.count, 1);
    s_close(&self);
}

static void test_producer__a_topic_that_does_not_exist_fails_its_records(void **state)
{
    struct fixture self;
    s_open(&self, 0, NULL);
    self.peer.topic = NULL;
    weft_topic_t *topic;
    assert_ok(weft_producer_part_topic(self.part, "missing", &topic));
    assert_ok(weft_producer_part_send(self.part, topic, 0, WEFT_SLICE_NIL, weft_text("v"), 1, NULL, NULL));
    s_advance_ms(&self, 4000);
    assert_int_equal(self.failed, 1);
    assert_int_equal(self.error, WEFT_ERR_UNKNOWN_TOPIC);
    assert_err(weft_producer_part_send(self.part, topic, 0, WEFT_SLICE_NIL, weft_text("v"), 1, NULL, NULL),
               WEFT_ERR_UNKNOWN_TOPIC);
    assert_err(weft_producer_part_topic(self.part, "no such name", &topic), WEFT_ERR_INVALID_TOPIC);
    s_close(&self);
}

static void test_producer__acks_none_is_done_when_sent(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"acks=none", NULL});
    s_send_batch(&self, 1);
    assert_int_equal(self.delivered, 1);
    assert_int_equal(self.offsets[0], -1);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->batch.producer_id, -1);
    s_close(&self);
}

static void test_producer__a_report_may_send(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    self.send_again = true;
    s_send_batch(&self, 1);
    peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 0, false);
    s_flush(&self);
    peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 1, false);
    assert_int_equal(self.delivered, 2);
    assert_int_equal(self.seen[1], 99);
    s_close(&self);
}

static void test_producer__futures_tell_each_record(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    weft_delivery_t *futures[3];
    for (int i = 0; i < 3; i++) {
        futures[i] = weft_delivery_new(NULL);
        assert_ok(
            weft_producer_part_send(self.part, self.topic, 0, WEFT_SLICE_NIL, weft_text("v"), 1, NULL, futures[i]));
    }
    weft_delivery_drop(futures[1]); // the program lost interest
    s_flush(&self);
    peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 40, false);
    assert_true(futures[0]->done);
    assert_int_equal(futures[0]->offset, 40);
    assert_int_equal(futures[2]->offset, 42);
    weft_delivery_drop(futures[0]);
    weft_delivery_drop(futures[2]);
    s_close(&self);
}

static void test_producer__giving_up_reports_everything_once(void **state)
{
    struct fixture self;
    s_open(&self, 2, NULL);
    s_send_batch(&self, 1);
    s_send(&self, 1, NULL, 2);
    weft_producer_part_give_up(self.part, WEFT_ERR_LOCAL_CLOSED);
    assert_int_equal(self.failed, 2);
    assert_int_equal(weft_producer_part_waiting_count(self.part), 0);
    assert_int_equal(weft_producer_part_waiting_bytes(self.part), 0);
    s_close(&self);
}

static void test_producer__compressed_batches_are_whole(void **state)
{
    struct fixture self;
    s_open(&self, 1, (const char *const[]){"compression=zstd", NULL});
    for (int i = 0; i < 200; i++) s_send(&self, 0, "same-key", 7);
    s_flush(&self);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_int_equal(call->batch.attributes & WEFT_BATCH_ATTR_CODEC_MASK, WEFT_CODEC_ZSTD);
    struct weft_batch_limits limits = {
        .batch_bytes_max = 1 << 20, .record_bytes_max = 1 << 20, .raw_bytes_max = 1 << 20};
    struct weft_batch batch;
    struct weft_error error;
    uint32_t crc;
    assert_ok(weft_batch_accept(weft_buf_slice(&call->data), &limits, &batch, &crc, &error));
    assert_int_equal(batch.count, 200);
    peer_produced(&self.peer, call, 0, false);
    assert_int_equal(weft_producer_part_waiting_bytes(self.part), 0);
    s_close(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producer__batches_by_linger_and_reports_offsets),
        cmocka_unit_test(test_producer__a_full_batch_leaves_at_once),
        cmocka_unit_test(test_producer__linger_0_sends_when_the_window_allows),
        cmocka_unit_test(test_producer__a_flush_that_only_waits_asks_for_no_turn),
        cmocka_unit_test(test_producer__keys_go_where_kafka_puts_them),
        cmocka_unit_test(test_producer__without_key_it_sticks_until_the_batch_is_closed),
        cmocka_unit_test(test_producer__own_partitioner_decides_within_bounds),
        cmocka_unit_test(test_producer__a_lost_link_resends_the_same_bytes),
        cmocka_unit_test(test_producer__follows_the_leader_by_redirection),
        cmocka_unit_test(test_producer__a_dead_leader_is_found_by_asking_another_node),
        cmocka_unit_test(test_producer__silence_is_retried_within_the_delivery_timeout),
        cmocka_unit_test(test_producer__after_a_refusal_it_resends_from_the_first_refused),
        cmocka_unit_test(test_producer__overload_waits_as_long_as_it_was_told),
        cmocka_unit_test(test_producer__time_over_after_a_sending_may_have_been_applied),
        cmocka_unit_test(test_producer__time_over_without_a_sending_was_not_applied),
        cmocka_unit_test(test_producer__after_giving_up_the_next_epoch_begins_at_0),
        cmocka_unit_test(test_producer__nothing_new_is_sent_while_something_is_in_doubt),
        cmocka_unit_test(test_producer__doubt_behind_a_lost_head_ends),
        cmocka_unit_test(test_producer__an_expired_session_goes_on_unless_in_doubt),
        cmocka_unit_test(test_producer__a_fence_is_the_end),
        cmocka_unit_test(test_producer__a_permanent_refusal_fails_only_its_batch),
        cmocka_unit_test(test_producer__the_buffer_is_bounded),
        cmocka_unit_test(test_producer__too_large_a_record_is_refused_before_sending),
        cmocka_unit_test(test_producer__records_wait_for_their_topic),
        cmocka_unit_test(test_producer__a_topic_that_does_not_exist_fails_its_records),
        cmocka_unit_test(test_producer__acks_none_is_done_when_sent),
        cmocka_unit_test(test_producer__a_report_may_send),
        cmocka_unit_test(test_producer__futures_tell_each_record),
        cmocka_unit_test(test_producer__giving_up_reports_everything_once),
        cmocka_unit_test(test_producer__compressed_batches_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
