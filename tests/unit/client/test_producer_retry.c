// SPDX-License-Identifier: MPL-2.0
// The producer against a cluster in trouble: what is sent again, in which order, and what is said of it at the end.
#include "producer_fixture.h"

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

// An edge has taken the first batch into its spool.
static void s_spooled(struct fixture *self)
{
    struct weft_produce_reply reply;
    const struct peer_call *call = peer_take(&self->peer, WEFT_API_PRODUCE);
    weft_produce_reply_init(&reply);
    reply.header.id = call->id;
    reply.level = weft_slice_text("spooled");
    weft_buf_t header;
    weft_buf_init(&header);
    weft_produce_reply_encode(&reply, &header);
    peer_answer(&self->peer, call, &header);
    assert_int_equal(self->delivered, 1);
}

// A new epoch would fence what the first edge still has to deliver.
static void test_producer__what_one_edge_keeps_is_not_fenced_by_way_of_another(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    weft_fake_world_link(self.peer.world, NODE_B, true);
    s_send_batch(&self, 1);
    int64_t identity = self.peer.calls[0].batch.producer_id;
    s_spooled(&self);
    s_send_batch(&self, 2);
    self.peer.leaders[0] = NODE_B;
    self.peer.epoch = 2;
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), WEFT_ERR_NOT_LEADER, NODE_B, 0);
    s_advance_ms(&self, 100);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_true(call->batch.producer_id == identity && call->batch.base_sequence == 1);
    peer_refuse(&self.peer, call, WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    s_advance_ms(&self, 1000);
    call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_string_equal(call->endpoint, NODE_B);
    assert_true(call->batch.producer_id != identity);
    assert_true(call->batch.producer_epoch == 0 && call->batch.base_sequence == 0);
    peer_produced(&self.peer, call, 7, false);
    assert_int_equal(self.delivered, 2);
    s_close(&self);
}

// By way of the same edge it comes behind that.
static void test_producer__behind_what_its_edge_keeps_the_next_epoch_begins(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    s_send_batch(&self, 1);
    int64_t identity = self.peer.calls[0].batch.producer_id;
    s_spooled(&self);
    s_send_batch(&self, 2);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    s_advance_ms(&self, 1000);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
    assert_true(call->batch.producer_id == identity && call->batch.producer_epoch == 1);
    peer_produced(&self.peer, call, 7, false);
    assert_int_equal(self.delivered, 2);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producer__a_lost_link_resends_the_same_bytes),
        cmocka_unit_test(test_producer__follows_the_leader_by_redirection),
        cmocka_unit_test(test_producer__a_dead_leader_is_found_by_asking_another_node),
        cmocka_unit_test(test_producer__silence_is_retried_within_the_delivery_timeout),
        cmocka_unit_test(test_producer__after_a_refusal_it_resends_from_the_first_refused),
        cmocka_unit_test(test_producer__overload_waits_as_long_as_it_was_told),
        cmocka_unit_test(test_producer__time_over_after_a_sending_may_have_been_applied),
        cmocka_unit_test(test_producer__time_over_without_a_sending_was_not_applied),
        cmocka_unit_test(test_producer__after_giving_up_the_next_epoch_begins_at_0),
        cmocka_unit_test(test_producer__what_one_edge_keeps_is_not_fenced_by_way_of_another),
        cmocka_unit_test(test_producer__behind_what_its_edge_keeps_the_next_epoch_begins),
        cmocka_unit_test(test_producer__nothing_new_is_sent_while_something_is_in_doubt),
        cmocka_unit_test(test_producer__doubt_behind_a_lost_head_ends),
        cmocka_unit_test(test_producer__an_expired_session_goes_on_unless_in_doubt),
        cmocka_unit_test(test_producer__a_fence_is_the_end),
        cmocka_unit_test(test_producer__a_permanent_refusal_fails_only_its_batch),
        cmocka_unit_test(test_producer__giving_up_reports_everything_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
