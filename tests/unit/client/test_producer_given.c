// SPDX-License-Identifier: MPL-2.0
// Batches that a program passes on under an identity of its own.
#include "producer_fixture.h"

static weft_err_t s_give(struct fixture *self, int16_t epoch, int32_t sequence, int32_t after, uint32_t count,
                         int number)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_test_batch(&bytes, 500 + sequence, 9, count, 20);
    struct weft_batch_identity as = {4711, epoch, sequence, after, self->peer.topic_id};
    weft_err_t err = weft_producer_part_send_batch(self->part, self->topic, 0, weft_buf_slice(&bytes), &as,
                                                   (void *) (intptr_t) number);
    weft_buf_fini(&bytes);
    s_turn(self);
    return err;
}

static void test_producer_given__a_batch_goes_as_it_is_under_the_identity_given(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    assert_ok(s_give(&self, 3, 0, 70, 5, 1));
    assert_ok(s_give(&self, 3, 5, 70, 2, 2));
    for (int i = 0; i < 2; i++) {
        const struct peer_call *call = peer_take(&self.peer, WEFT_API_PRODUCE);
        struct weft_produce_request request;
        struct weft_batch batch;
        assert_ok(weft_produce_request_decode(&self.peer.codec, weft_buf_slice(&call->header), &request, NULL));
        assert_int_equal(request.after_sequence, 70);
        // A broker that does not know the condition must not take the batch without it.
        static const uint8_t must[] = "\xa4must\x91\xae"
                                      "after_sequence";
        struct weft_request_header understood;
        assert_ok(weft_request_header_decode(weft_buf_slice(&call->header), &understood, NULL));
        assert_non_null(memmem(call->header.data, call->header.size, must, sizeof must - 1));
        assert_ok(weft_batch_verify(weft_buf_slice(&call->data), &batch));
        assert_int_equal(batch.producer_id, 4711);
        assert_int_equal(batch.producer_epoch, 3);
        assert_int_equal(batch.base_sequence, i == 0 ? 0 : 5);
        assert_int_equal(batch.count, i == 0 ? 5 : 2);
        peer_produced(&self.peer, call, i == 0 ? 40 : 45, i == 1);
    }
    assert_int_equal(self.delivered, 2); // one report a batch
    assert_int_equal(self.offsets[0], 40);
    assert_int_equal(self.offsets[1], 45);
    assert_int_equal(self.seen[0], 1);
    assert_int_equal(self.seen[1], 2);
    assert_int_equal(weft_producer_part_waiting_count(self.part), 0);
    s_close(&self);
}

static void test_producer_given__a_retry_is_the_same_and_what_overtook_follows(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    assert_ok(s_give(&self, 0, 0, -1, 5, 1));
    assert_ok(s_give(&self, 0, 5, -1, 5, 2));
    struct peer_call first = *peer_take(&self.peer, WEFT_API_PRODUCE);
    peer_refuse(&self.peer, &first, WEFT_ERR_NOT_ENOUGH_REPLICAS, NULL, 0);
    struct peer_call second = *peer_take(&self.peer, WEFT_API_PRODUCE);
    peer_refuse(&self.peer, &second, WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    assert_int_equal(self.failed, 0);
    s_advance_ms(&self, 500);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->batch.base_sequence, 0);
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->batch.base_sequence, 5);
    s_close(&self);
}

static void test_producer_given__out_of_order_at_the_head_ends_all_behind_it_unrenumbered(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    assert_ok(s_give(&self, 0, 10, -1, 5, 1));
    assert_ok(s_give(&self, 0, 15, -1, 5, 2));
    struct peer_call first = *peer_take(&self.peer, WEFT_API_PRODUCE);
    peer_refuse(&self.peer, &first, WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    struct peer_call second = *peer_take(&self.peer, WEFT_API_PRODUCE);
    peer_refuse(&self.peer, &second, WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    assert_int_equal(self.failed, 2);
    assert_int_equal(self.seen[0], 1);
    assert_int_equal(self.seen[1], 2);
    assert_int_equal(self.outcome, WEFT_OUTCOME_NOT_APPLIED);
    assert_int_equal(s_counter(&self, "identities_count"), 0);
    // The program goes on as it sees fit.
    assert_ok(s_give(&self, 1, 0, 9, 5, 3));
    assert_int_equal(peer_take(&self.peer, WEFT_API_PRODUCE)->batch.producer_epoch, 1);
    s_close(&self);
}

static void test_producer_given__fenced_ends_the_batch_and_not_the_producer(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    assert_ok(s_give(&self, 0, 0, -1, 5, 1));
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), WEFT_ERR_PRODUCER_FENCED, NULL, 0);
    assert_int_equal(self.failed, 1);
    assert_int_equal(self.error, WEFT_ERR_PRODUCER_FENCED);
    assert_ok(s_give(&self, 2, 0, -1, 5, 2));
    peer_produced(&self.peer, peer_take(&self.peer, WEFT_API_PRODUCE), 7, false);
    assert_int_equal(self.delivered, 1);
    s_close(&self);
}

static void test_producer_given__what_is_no_batch_is_not_taken(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    struct weft_batch_identity as = {.producer_id = 4711, .after_sequence = -1};
    assert_err(weft_producer_part_send_batch(self.part, self.topic, 0, weft_text("rubbish"), &as, NULL),
               WEFT_ERR_BAD_BATCH);
    assert_err(s_give(&self, -1, 0, -1, 5, 1), WEFT_ERR_INVALID_ARGUMENT);
    assert_err(s_give(&self, 0, -5, -1, 5, 1), WEFT_ERR_INVALID_ARGUMENT);
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_test_batch(&bytes, 0, 0, 3, 20);
    assert_err(weft_producer_part_send_batch(self.part, self.topic, 1, weft_buf_slice(&bytes), &as, NULL),
               WEFT_ERR_INVALID_ARGUMENT);
    weft_buf_fini(&bytes);
    assert_int_equal(weft_producer_part_waiting_count(self.part), 0);
    s_close(&self);
}

// Nothing is known of a new topic's sessions: it would take what was meant to go on in the one that was looked at.
static void test_producer_given__a_topic_that_is_another_by_now_gets_nothing(void **state)
{
    struct fixture self;
    s_open(&self, 1, NULL);
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_test_batch(&bytes, 0, 9, 3, 20);
    struct weft_batch_identity as = {4711, 1, 0, 40, {{99}}};
    assert_err(weft_producer_part_send_batch(self.part, self.topic, 0, weft_buf_slice(&bytes), &as, NULL),
               WEFT_ERR_TOPIC_REPLACED);
    weft_buf_fini(&bytes);
    assert_int_equal(weft_producer_part_waiting_count(self.part), 0);
    assert_ok(s_give(&self, 1, 0, 40, 3, 1));
    s_close(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producer_given__a_batch_goes_as_it_is_under_the_identity_given),
        cmocka_unit_test(test_producer_given__a_retry_is_the_same_and_what_overtook_follows),
        cmocka_unit_test(test_producer_given__out_of_order_at_the_head_ends_all_behind_it_unrenumbered),
        cmocka_unit_test(test_producer_given__fenced_ends_the_batch_and_not_the_producer),
        cmocka_unit_test(test_producer_given__what_is_no_batch_is_not_taken),
        cmocka_unit_test(test_producer_given__a_topic_that_is_another_by_now_gets_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
