// SPDX-License-Identifier: MPL-2.0
// Several brokers that replicate: bytes, marks, in-sync sets, failover, alignment.
#include "crew.h"

static int s_setup_of(void **state, size_t count, const char *const *pairs)
{
    struct crew *crew = weft_alloc(sizeof *crew);
    crew_begin(crew, count, pairs);
    *state = crew;
    return 0;
}

static int s_three(void **state)
{
    return s_setup_of(state, 3, NULL);
}

static int s_three_impatient(void **state)
{
    static const char *const pairs[] = {"replica.lag.ms=500", "sync.ms=100", NULL};
    return s_setup_of(state, 3, pairs);
}

static int s_teardown(void **state)
{
    struct crew *crew = *state;
    crew_end(crew);
    free(crew);
    return 0;
}

static const struct crew_produce s_plain = {.count = 10};

static void test_replicas__all_hold_the_leader_s_bytes_before_a_durable_ack(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 2, 3, NULL, NULL);
    for (int i = 0; i < 5; i++) {
        struct weft_produce_reply reply = crew_produce(crew, 1, &s_plain);
        assert_int_equal(reply.header.error, WEFT_OK);
        assert_int_equal(reply.offset, 10 * i);
        assert_true(weft_slice_is_text(reply.level, "durable"));
        crew_assert_same(crew, 1, 2, 10, 0);
        crew_assert_same(crew, 1, 3, 10, 0);
    }
    struct weft_partition_status_reply status = crew_status(crew, 1, 0);
    assert_int_equal(status.replicas_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(status.replicas[i].in_sync);
        assert_int_equal(status.replicas[i].log_end, 50);
        assert_int_equal(status.replicas[i].synced_end, 50);
        assert_int_equal(status.replicas[i].behind_ms, 0);
    }
    assert_int_equal(status.high_watermark, 50);
    assert_int_equal(status.durable, 50);
    assert_int_equal(crew_counter(crew, 2, WEFT_COUNT_FOLLOWED_BATCHES), 5);
    assert_int_equal(crew_counter(crew, 2, WEFT_COUNT_PARTITIONS_FOLLOWED), 2);
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_REPLICA_SESSIONS), 2);
}

static void test_replicas__idle_followers_ask_twice_a_second_and_no_more(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 50, 3, NULL, NULL);
    crew_advance(crew, 1000);
    uint32_t replicates = crew->replicates, progresses = crew->progresses;
    crew_advance(crew, 5000);
    assert_in_range(crew->replicates - replicates, 18, 24); // two followers, one session each, every 500 ms
    assert_int_equal(crew->progresses, progresses);
}

static void test_replicas__ack_waits_for_a_follower_that_is_cut_off_until_it_left_the_in_sync_set(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 1, 3, NULL, NULL);
    crew->cut[1][3] = crew->cut[3][1] = true;
    (void) crew_send(crew, 1, &s_plain);
    crew_advance(crew, 200);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 0);
    crew_advance(crew, 2500);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 1);
    assert_int_equal(crew_produced(crew, 1).header.error, WEFT_OK);
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 2);
    crew->cut[1][3] = crew->cut[3][1] = false;
    crew_advance(crew, 6000);
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 3);
    crew_assert_same(crew, 1, 3, 10, 0);
}

static void test_replicas__below_min_insync_nothing_is_acknowledged(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 1, 3, NULL, NULL);
    crew_kill(crew, 2);
    crew_kill(crew, 3);
    crew_fence(crew, 2);
    crew_fence(crew, 3);
    assert_int_equal(crew_produce(crew, 1, &s_plain).header.error, WEFT_ERR_NOT_ENOUGH_REPLICAS);
    const struct crew_produce to_leader = {.count = 10, .acks = "leader"};
    assert_int_equal(crew_produce(crew, 1, &to_leader).header.error, WEFT_OK);
    assert_int_equal(crew_status(crew, 1, 0).high_watermark, 0);
    crew_up(crew, 2);
    crew_advance(crew, 3000);
    assert_int_equal(crew_produce(crew, 1, &s_plain).header.error, WEFT_OK);
    assert_int_equal(crew_status(crew, 1, 0).high_watermark, 20);
}

static void test_replicas__a_new_leader_has_what_was_acknowledged_and_the_old_one_is_cut_to_it(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 1, 3, NULL, NULL);
    const struct crew_produce first = {.count = 10, .producer_id = 7, .sequence = 0};
    assert_int_equal(crew_produce(crew, 1, &first).offset, 0);
    // What only the old leader has.
    crew->cut[1][2] = crew->cut[1][3] = true;
    const struct crew_produce lost = {.count = 5, .producer_id = 7, .sequence = 10};
    (void) crew_send(crew, 1, &lost);
    crew_advance(crew, 50);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 0);
    crew_kill(crew, 1);
    crew->cut[1][2] = crew->cut[1][3] = false;
    crew_fence(crew, 1);
    crew_advance(crew, 100);
    int32_t leader = crew_partition(crew, 10, 0)->leader;
    assert_int_equal(leader, 2);
    // A retry of what was acknowledged is one, on the new leader, too (rule 15); what was lost is taken again.
    struct weft_produce_reply reply = crew_produce(crew, leader, &first);
    assert_true(reply.duplicate);
    assert_int_equal(reply.offset, 0);
    const struct crew_produce again = {.count = 7, .producer_id = 7, .sequence = 10};
    reply = crew_produce(crew, leader, &again);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_false(reply.duplicate);
    assert_int_equal(reply.offset, 10);
    crew_up(crew, 1);
    crew_advance(crew, 1000);
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_TRUNCATIONS), 1);
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 3);
    crew_assert_same(crew, 1, 2, 10, 0);
    // Leading again it knows the session as the log has it: the batch of seven is a duplicate, the one of five is not.
    crew_move_leader(crew, 10, 0, 1);
    crew_advance(crew, 100);
    reply = crew_produce(crew, 1, &again);
    assert_true(reply.duplicate);
    assert_int_equal(reply.offset, 10);
}

static void test_replicas__leadership_moves_back_and_forth_under_writes(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 1, 3, NULL, NULL);
    for (int round = 0; round < 12; round++) {
        int32_t leader = crew_partition(crew, 10, 0)->leader;
        assert_int_equal(crew_produce(crew, leader, &s_plain).header.error, WEFT_OK);
        const struct crew_produce quick = {.count = 3, .acks = "leader"};
        (void) crew_send(crew, leader, &quick);
        crew_move_leader(crew, 10, 0, leader % 3 + 1);
    }
    crew_advance(crew, 2000);
    crew_assert_same(crew, 1, 2, 10, 0);
    crew_assert_same(crew, 1, 3, 10, 0);
    int32_t leader = crew_partition(crew, 10, 0)->leader;
    struct weft_partition_status_reply status = crew_status(crew, leader, 0);
    assert_int_equal(status.high_watermark, status.log_end);
    assert_int_equal(status.durable, status.log_end);
    assert_true(status.log_end >= 120);
}

static void test_replicas__many_partitions_are_served_in_turn(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 200, 3, NULL, NULL);
    crew_advance(crew, 500);
    for (uint32_t i = 0; i < 200; i++) {
        const struct crew_produce how = {.partition = i, .count = 5, .value_bytes = 2000};
        (void) crew_send(crew, 1, &how);
    }
    crew_advance(crew, 300);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 200);
    for (uint32_t i = 0; i < 200; i += 37) crew_assert_same(crew, 1, 3, 10, i);
    assert_true(crew->replicates < 60); // not a request for each
}

static void s_delete(struct crew *crew, int32_t to, int64_t before)
{
    struct weft_delete_records_request request;
    weft_delete_records_request_init(&request);
    request.id = crew->next_id++;
    request.topic = weft_slice_text(CREW_TOPIC);
    request.before_offset = before;
    request.timeout_ms = 1000;
    weft_buf_clear(&crew->buf);
    weft_delete_records_request_encode(&request, &crew->buf);
    crew_broker(crew, to)->reply_count = 0;
    weft_fake_world_queue(crew_broker(crew, to)->world, 0, CREW_CLIENT, false, weft_buf_slice(&crew->buf),
                          WEFT_SLICE_NIL, false);
}

static struct weft_delete_records_reply s_deleted(struct crew *crew, int32_t from)
{
    struct weft_delete_records_reply reply;
    assert_int_equal(crew_broker(crew, from)->reply_count, 1);
    assert_ok(weft_delete_records_reply_decode(&crew->codec, weft_buf_slice(&crew_broker(crew, from)->reply), &reply,
                                               &crew->error));
    return reply;
}

static void test_replicas__a_deletion_is_done_once_no_failover_brings_it_back(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 1, 3, NULL, NULL);
    for (int i = 0; i < 3; i++) assert_int_equal(crew_produce(crew, 1, &s_plain).header.error, WEFT_OK);
    s_delete(crew, 1, 15);
    crew_settle(crew); // no time passes: followers are told at once
    assert_int_equal(s_deleted(crew, 1).header.error, WEFT_OK);
    crew_move_leader(crew, 10, 0, 2);
    crew_advance(crew, 50);
    assert_int_equal(crew_status(crew, 2, 0).log_start, 15);
    // One that is in sync and can't be reached: not done.
    crew->cut[2][3] = crew->cut[3][2] = true;
    s_delete(crew, 2, 20);
    crew_advance(crew, 500);
    assert_int_equal(crew_broker(crew, 2)->reply_count, 0);
    crew_advance(crew, 600);
    assert_int_equal(s_deleted(crew, 2).header.error, WEFT_ERR_TIMED_OUT);
    s_delete(crew, 2, 20);
    crew_advance(crew, 100);
    crew_fence(crew, 3); // it may not lead now: who is left has done it
    assert_int_equal(s_deleted(crew, 2).header.error, WEFT_OK);
    s_delete(crew, 2, 25);
    crew_advance(crew, 100);
    assert_int_equal(s_deleted(crew, 2).header.error, WEFT_OK);
    // And whoever leaves leadership meanwhile says so.
    crew_fence(crew, 1);
    s_delete(crew, 2, 26);
    crew_advance(crew, 100);
    assert_int_equal(crew_broker(crew, 2)->reply_count, 0);
    crew_fence(crew, 2);
    assert_int_equal(s_deleted(crew, 2).header.error, WEFT_ERR_NOT_LEADER);
}

static void test_replicas__nothing_is_deleted_before_it_is_durable(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 1, 3, NULL, NULL);
    assert_int_equal(crew_produce(crew, 1, &s_plain).header.error, WEFT_OK);
    struct crew_broker *slow = crew_broker(crew, 3);
    weft_part_id_t sync = ((struct weft_broker *) slow->node)->sync_id;
    weft_fake_world_hold(slow->world, sync, true);
    const struct crew_produce committed = {.count = 10, .not_durable = true};
    assert_int_equal(crew_produce(crew, 1, &committed).offset, 10);
    s_delete(crew, 1, 20); // committed; but after a power loss of all these offsets might be given again
    crew_advance(crew, 500);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 0);
    struct weft_partition_status_reply status = crew_status(crew, 1, 0);
    assert_int_equal(status.high_watermark, 20);
    assert_int_equal(status.durable, 10);
    assert_int_equal(status.log_start, 0);
    s_delete(crew, 1, 10); // what is durable goes at once
    crew_advance(crew, 100);
    assert_int_equal(s_deleted(crew, 1).log_start, 10);
    crew_broker(crew, 1)->reply_count = 0;
    crew_advance(crew, 600); // and the first one's time is up
    assert_int_equal(s_deleted(crew, 1).header.error, WEFT_ERR_TIMED_OUT);
    s_delete(crew, 1, -1);
    crew_advance(crew, 100);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 0);
    weft_fake_world_hold(slow->world, sync, false);
    crew_advance(crew, 100); // far less than sync.ms: the deletion asked for the sync
    assert_int_equal(s_deleted(crew, 1).log_start, 20);
}

static void test_replicas__a_follower_below_the_leader_s_start_begins_anew_there(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 1, 3, "segment.bytes", "65536");
    assert_int_equal(crew_produce(crew, 1, &s_plain).offset, 0);
    crew_kill(crew, 3);
    crew_fence(crew, 3);
    const struct crew_produce big = {.count = 30, .value_bytes = 1000};
    for (int i = 0; i < 8; i++) assert_int_equal(crew_produce(crew, 1, &big).header.error, WEFT_OK);
    s_delete(crew, 1, 190);
    crew_settle(crew);
    assert_int_equal(s_deleted(crew, 1).log_start, 190);
    assert_int_equal(crew_status(crew, 1, 0).log_start, 190);
    crew_up(crew, 3);
    crew_advance(crew, 2000);
    assert_int_equal(crew_counter(crew, 3, WEFT_COUNT_RESETS), 1);
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 3);
    // Deletion reaches those that follow, too.
    crew_move_leader(crew, 10, 0, 2);
    crew_advance(crew, 100);
    assert_int_equal(crew_status(crew, 2, 0).log_start, 190);
    crew_move_leader(crew, 10, 0, 3);
    crew_advance(crew, 100);
    assert_int_equal(crew_status(crew, 3, 0).log_start, 190);
    assert_int_equal(crew_status(crew, 3, 0).log_end, 250);
    assert_int_equal(crew_produce(crew, 3, &s_plain).offset, 250);
}

static void test_replicas__what_can_t_be_compared_any_more_is_not_kept(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 1, 3, NULL, NULL);
    assert_int_equal(crew_produce(crew, 1, &s_plain).offset, 0);
    crew->cut[1][2] = crew->cut[1][3] = true;
    const struct crew_produce alone = {.count = 100, .acks = "leader"};
    assert_int_equal(crew_produce(crew, 1, &alone).header.error, WEFT_OK);
    crew_kill(crew, 1);
    crew->cut[1][2] = crew->cut[1][3] = false;
    crew_fence(crew, 1);
    // The new leader's records from 10 on are others, and are deleted before the old one is back with its own.
    for (int i = 0; i < 4; i++) assert_int_equal(crew_produce(crew, 2, &s_plain).header.error, WEFT_OK);
    s_delete(crew, 2, 45);
    crew_settle(crew);
    assert_int_equal(s_deleted(crew, 2).log_start, 45);
    crew_up(crew, 1);
    crew_advance(crew, 3000);
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_TRUNCATIONS), 0);
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_RESETS), 1);
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 3);
    crew_move_leader(crew, 10, 0, 1);
    crew_advance(crew, 100);
    assert_int_equal(crew_status(crew, 1, 0).log_start, 45);
    assert_int_equal(crew_produce(crew, 1, &s_plain).offset, 50);
}

static void s_flip_once(struct crew *crew, weft_buf_t *header, weft_buf_t *data)
{
    (void) header;
    if (data->size == 0 || crew->tampered++ != 0) return;
    data->data[data->size - 1] ^= 1;
}

static void test_replicas__a_batch_changed_on_the_way_is_refused_and_fetched_again(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 1, 3, NULL, NULL);
    crew->tamper = s_flip_once;
    assert_int_equal(crew_produce(crew, 1, &s_plain).header.error, WEFT_OK);
    assert_int_equal(
        crew_counter(crew, 2, WEFT_COUNT_FOLLOWED_REFUSED) + crew_counter(crew, 3, WEFT_COUNT_FOLLOWED_REFUSED), 1);
    crew_assert_same(crew, 1, 2, 10, 0);
    crew_assert_same(crew, 1, 3, 10, 0);
}

static void s_drop_some(struct crew *crew, weft_buf_t *header, weft_buf_t *data)
{
    if (crew->tampered++ % 3 == 0) return;
    weft_buf_clear(header); // nothing that can be read
    weft_buf_clear(data);
}

static void s_move_once(struct crew *crew, weft_buf_t *header, weft_buf_t *data)
{
    (void) header;
    if (data->size == 0 || crew->tampered++ != 0) return;
    struct weft_batch batch;
    assert_ok(weft_batch_read(weft_buf_slice(data), &batch));
    batch.base_offset = INT64_MAX;
    weft_batch_write_header(data->data, &batch);
    weft_batch_seal(data->data, data->size);
}

static void test_replicas__a_batch_of_an_impossible_offset_is_refused(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 1, 3, NULL, NULL);
    crew->tamper = s_move_once;
    assert_int_equal(crew_produce(crew, 1, &s_plain).header.error, WEFT_OK);
    assert_true(crew->tampered > 1);
    assert_int_equal(
        crew_counter(crew, 2, WEFT_COUNT_FOLLOWED_REFUSED) + crew_counter(crew, 3, WEFT_COUNT_FOLLOWED_REFUSED), 1);
    crew_assert_same(crew, 1, 2, 10, 0);
    crew_assert_same(crew, 1, 3, 10, 0);
}

static void test_replicas__answers_that_get_lost_are_asked_for_in_a_new_session(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 3, 3, NULL, NULL);
    crew->tamper = s_drop_some;
    for (int i = 0; i < 4; i++) {
        const struct crew_produce how = {.count = 10, .partition = (uint32_t) i % 3};
        (void) crew_send(crew, 1, &how);
        crew_advance(crew, 50);
    }
    crew_advance(crew, 20000);
    crew->tamper = NULL;
    crew_advance(crew, 8000);
    for (uint32_t i = 0; i < 3; i++) crew_assert_same(crew, 1, 2, 10, i);
    assert_true(crew_counter(crew, 2, WEFT_COUNT_REPLICATE_BAD) + crew_counter(crew, 3, WEFT_COUNT_REPLICATE_BAD) > 0);
}

static void test_replicas__a_leader_that_restarts_is_followed_at_its_new_door(void **state)
{
    struct crew *crew = *state;
    crew_topic(crew, CREW_TOPIC, 10, 1, 3, NULL, NULL);
    assert_int_equal(crew_produce(crew, 1, &s_plain).header.error, WEFT_OK);
    crew_kill(crew, 1);
    crew_up(crew, 1); // before its session ended: a new incarnation, another leader epoch
    crew_advance(crew, 1000);
    int32_t leader = crew_partition(crew, 10, 0)->leader;
    assert_true(crew_partition(crew, 10, 0)->leader_epoch > 0);
    assert_int_equal(crew_produce(crew, leader, &s_plain).offset, 10);
    crew_advance(crew, 1000);
    assert_int_equal(crew_partition(crew, 10, 0)->isr_count, 3);
    crew_assert_same(crew, 1, 2, 10, 0);
    crew_assert_same(crew, 1, 3, 10, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_replicas__all_hold_the_leader_s_bytes_before_a_durable_ack, s_three,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_replicas__idle_followers_ask_twice_a_second_and_no_more, s_three,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(
            test_replicas__ack_waits_for_a_follower_that_is_cut_off_until_it_left_the_in_sync_set, s_three_impatient,
            s_teardown),
        cmocka_unit_test_setup_teardown(test_replicas__below_min_insync_nothing_is_acknowledged, s_three, s_teardown),
        cmocka_unit_test_setup_teardown(
            test_replicas__a_new_leader_has_what_was_acknowledged_and_the_old_one_is_cut_to_it, s_three, s_teardown),
        cmocka_unit_test_setup_teardown(test_replicas__leadership_moves_back_and_forth_under_writes, s_three,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_replicas__many_partitions_are_served_in_turn, s_three, s_teardown),
        cmocka_unit_test_setup_teardown(test_replicas__nothing_is_deleted_before_it_is_durable, s_three, s_teardown),
        cmocka_unit_test_setup_teardown(test_replicas__a_deletion_is_done_once_no_failover_brings_it_back, s_three,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_replicas__a_follower_below_the_leader_s_start_begins_anew_there, s_three,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_replicas__what_can_t_be_compared_any_more_is_not_kept, s_three,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_replicas__a_batch_changed_on_the_way_is_refused_and_fetched_again, s_three,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_replicas__a_batch_of_an_impossible_offset_is_refused, s_three, s_teardown),
        cmocka_unit_test_setup_teardown(test_replicas__answers_that_get_lost_are_asked_for_in_a_new_session, s_three,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_replicas__a_leader_that_restarts_is_followed_at_its_new_door, s_three,
                                        s_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
