// SPDX-License-Identifier: MPL-2.0
// The spool, on a real disk: what is acknowledged when, and how it is delivered whatever happens meanwhile.
#include "edge_rig.h"

#include "nodes/edge/edge.h"

#include <unistd.h>

static void s_cut(struct rig *rig)
{
    weft_fake_world_link(rig->peer.world, RIG_A, false);
    peer_pump(&rig->peer);
}

static void s_heal(struct rig *rig)
{
    weft_fake_world_link(rig->peer.world, RIG_A, true);
    peer_pump(&rig->peer);
    rig_advance(rig, 200);
}

static void s_expect_spooled(struct rig *rig, uint8_t client, uint64_t id)
{
    struct weft_produce_reply reply = rig_reply(rig, client, id);
    if (reply.header.error != WEFT_OK) fail_msg("%s", weft_err_name(reply.header.error));
    assert_slice(reply.level, "spooled");
    assert_int_equal(reply.offset, -1);
}

// Kept, not answered yet.
static void s_keep(struct rig *rig, uint64_t id, int64_t producer, int32_t sequence)
{
    rig_produce(rig, 1, id, rig_batch(rig, producer, sequence));
    rig_advance(rig, 600);
}

static void s_kept(struct rig *rig, uint64_t id, int64_t producer, int32_t sequence)
{
    s_keep(rig, id, producer, sequence);
    s_expect_spooled(rig, 1, id);
}

static void s_restart(struct rig *rig, bool core)
{
    rig_crash(rig);
    rig_world(rig);
    rig_begin(rig, NULL, core);
    if (core) rig_advance(rig, 300);
}

static void test_edge_spool__a_batch_is_acknowledged_once_it_is_synced(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    weft_fake_world_hold(rig.peer.world, rig.node->parts[1], true);
    s_keep(&rig, 1, 50, 0);
    assert_int_equal(weft_fake_world_reply_count(rig.peer.world), 0);
    weft_fake_world_hold(rig.peer.world, rig.node->parts[1], false);
    weft_fake_world_settle(rig.peer.world);
    s_expect_spooled(&rig, 1, 1);
    rig_fini(&rig);
}

static void test_edge_spool__what_is_delivered_before_it_is_synced_is_acknowledged_too(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    weft_fake_world_hold(rig.peer.world, rig.node->parts[1], true);
    s_keep(&rig, 1, 50, 0);
    s_heal(&rig);
    peer_produced(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), 0, false);
    rig_advance(&rig, 50);
    s_expect_spooled(&rig, 1, 1);
    weft_fake_world_hold(rig.peer.world, rig.node->parts[1], false);
    weft_fake_world_settle(rig.peer.world); // the sync comes back to a log that was emptied meanwhile
    s_cut(&rig);
    s_kept(&rig, 2, 50, 1);
    rig_fini(&rig);
}

static void test_edge_spool__it_is_delivered_in_order_under_the_identity_that_it_came_with(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    for (int32_t i = 0; i < 3; i++) s_kept(&rig, (uint64_t) i, 50, i);
    s_heal(&rig);
    for (int32_t i = 0; i < 3; i++) {
        const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
        assert_true(call->batch.producer_id == 50 && call->batch.base_sequence == i);
        peer_produced(&rig.peer, call, i, false);
    }
    assert_int_equal(weft_counter_get(rig.node->counters[0], WEFT_EDGE_WAITING_BYTES), 0);
    rig_produce(&rig, 1, 9, rig_batch(&rig, 50, 3)); // all is delivered: it goes directly
    const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
    peer_produced(&rig.peer, call, 3, false);
    assert_int_equal(rig_reply(&rig, 1, 9).offset, 3);
    rig_fini(&rig);
}

static void test_edge_spool__bare_records_get_an_identity_that_survives_the_edge(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    s_kept(&rig, 1, -1, 0);
    s_kept(&rig, 2, -1, 0);
    s_restart(&rig, true);
    const struct peer_call first = *peer_take(&rig.peer, WEFT_API_PRODUCE);
    assert_true(first.batch.producer_id > 0 && first.batch.base_sequence == 0);
    int64_t id = first.batch.producer_id;
    const struct peer_call *second = peer_take(&rig.peer, WEFT_API_PRODUCE);
    assert_true(second->batch.producer_id == id && second->batch.base_sequence == 1);
    s_restart(&rig, true); // neither was answered: both again, as they were
    for (int32_t i = 0; i < 2; i++) {
        const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
        assert_true(call->batch.producer_id == id && call->batch.base_sequence == i);
        peer_produced(&rig.peer, call, i, true);
    }
    s_restart(&rig, true);
    assert_int_equal(rig.peer.call_count, 0); // nothing is left
    rig_fini(&rig);
}

static void test_edge_spool__new_batches_go_behind_what_is_not_delivered(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    s_kept(&rig, 1, 50, 0);
    s_kept(&rig, 2, 60, 0);
    s_heal(&rig);
    const struct peer_call first = *peer_take(&rig.peer, WEFT_API_PRODUCE);
    assert_int_equal(rig.peer.call_count, 0); // that of another session waits for it
    rig_produce(&rig, 1, 3, rig_batch(&rig, 70, 0));
    s_expect_spooled(&rig, 1, 3);
    peer_produced(&rig.peer, &first, 0, false);
    rig_advance(&rig, 20);
    for (int64_t id = 60; id <= 70; id += 10) {
        const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
        assert_int_equal(call->batch.producer_id, id);
        peer_produced(&rig.peer, call, 1, false);
        rig_advance(&rig, 20);
    }
    rig_fini(&rig);
}

// The first batch of an epoch is taken whatever became of those of the epoch before, and fences them: it waits for their answers.
static void test_edge_spool__an_epoch_waits_for_the_one_before(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    s_kept(&rig, 1, 50, 0);
    struct weft_test_batch how = {
        .count = 1, .value_bytes = 10, .has_producer = true, .producer_id = 50, .producer_epoch = 1};
    weft_test_batch_make(&rig.batch, &how);
    rig_produce(&rig, 1, 2, weft_buf_slice(&rig.batch));
    s_expect_spooled(&rig, 1, 2);
    s_heal(&rig);
    peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_NOT_ENOUGH_REPLICAS, NULL, 0);
    assert_int_equal(rig.peer.call_count, 0);
    rig_advance(&rig, 300);
    for (int epoch = 0; epoch < 2; epoch++) {
        const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
        assert_int_equal(call->batch.producer_epoch, epoch);
        peer_produced(&rig.peer, call, epoch, false);
        rig_advance(&rig, 20);
    }
    assert_int_equal(weft_counter_get(rig.node->counters[0], WEFT_EDGE_DEAD), 0);
    rig_fini(&rig);
}

// What came while the whole spool was under way waits for its answers; if these are bad it is kept first.
static void test_edge_spool__what_waits_for_the_spool_is_not_overtaken_by_what_goes_into_it(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    s_kept(&rig, 1, 60, 0);
    s_heal(&rig);
    const struct peer_call under_way = *peer_take(&rig.peer, WEFT_API_PRODUCE);
    rig_produce(&rig, 1, 2, rig_batch(&rig, 50, 0));
    assert_int_equal(weft_fake_world_reply_count(rig.peer.world), 0);
    peer_refuse(&rig.peer, &under_way, WEFT_ERR_NOT_ENOUGH_REPLICAS, NULL, 0);
    rig_produce(&rig, 1, 3, rig_batch(&rig, 50, 1));
    rig_advance(&rig, 600);
    for (uint64_t id = 2; id <= 3; id++) s_expect_spooled(&rig, 1, id);
    peer_produced(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), 0, false);
    rig_advance(&rig, 20);
    for (int32_t i = 0; i < 2; i++) {
        const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
        assert_true(call->batch.producer_id == 50 && call->batch.base_sequence == i);
        peer_produced(&rig.peer, call, i + 1, false);
    }
    rig_fini(&rig);
}

// A leader refuses the first of two and is lost with the second: the first comes again before the second is kept.
static void test_edge_spool__what_was_refused_is_not_overtaken_by_what_stood_behind_it(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    rig_produce(&rig, 1, 1, rig_batch(&rig, 50, 0));
    rig_produce(&rig, 1, 2, rig_batch(&rig, 50, 1));
    peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_NOT_ENOUGH_REPLICAS, NULL, 0);
    rig_expect(&rig, 1, 1, WEFT_ERR_NOT_ENOUGH_REPLICAS);
    peer_forget(&rig.peer);
    s_cut(&rig);
    rig_produce(&rig, 1, 3, rig_batch(&rig, 50, 0));
    rig_advance(&rig, 600);
    rig_expect(&rig, 1, 2, WEFT_ERR_LEADER_CHANGED); // it was sent: what became of it nobody knows
    s_expect_spooled(&rig, 1, 3);
    rig_produce(&rig, 1, 4, rig_batch(&rig, 50, 1));
    s_expect_spooled(&rig, 1, 4);
    s_heal(&rig);
    for (int32_t i = 0; i < 2; i++) {
        const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
        assert_true(call->batch.producer_id == 50 && call->batch.base_sequence == i);
        peer_produced(&rig.peer, call, i, false);
    }
    rig_fini(&rig);
}

static void test_edge_spool__what_the_edge_sent_away_is_not_overtaken(void **state)
{
    struct rig rig;
    rig_init(&rig, (const char *[]){"client.requests=1", NULL}, true);
    s_cut(&rig);
    rig_produce(&rig, 1, 1, rig_batch(&rig, 60, 0));
    rig_produce(&rig, 1, 2, rig_batch(&rig, 50, 0));
    rig_expect(&rig, 1, 2, WEFT_ERR_OVERLOADED);
    rig_advance(&rig, 600);
    s_expect_spooled(&rig, 1, 1);
    rig_produce(&rig, 1, 3, rig_batch(&rig, 50, 1));
    rig_expect(&rig, 1, 3, WEFT_ERR_OUT_OF_ORDER_SEQUENCE);
    rig_produce(&rig, 1, 4, rig_batch(&rig, 50, 0));
    s_expect_spooled(&rig, 1, 4);
    rig_produce(&rig, 1, 5, rig_batch(&rig, 50, 1));
    s_expect_spooled(&rig, 1, 5);
    rig_fini(&rig);
}

// Of two that were sent away the first had been taken before; that it is answered pays nothing for the second.
static void test_edge_spool__of_what_was_sent_away_each_has_to_come_again(void **state)
{
    struct rig rig;
    rig_init(&rig, (const char *[]){"client.requests=1", NULL}, true);
    rig_produce(&rig, 1, 1, rig_batch(&rig, 50, 0));
    for (int32_t i = 0; i < 2; i++) {
        rig_produce(&rig, 1, 2, rig_batch(&rig, 50, i));
        rig_expect(&rig, 1, 2, WEFT_ERR_OVERLOADED);
    }
    peer_produced(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), 0, false);
    rig_expect(&rig, 1, 1, WEFT_OK);
    s_cut(&rig);
    s_keep(&rig, 3, 50, 2);
    rig_expect(&rig, 1, 3, WEFT_ERR_OUT_OF_ORDER_SEQUENCE);
    for (int32_t i = 1; i <= 2; i++) s_kept(&rig, 4, 50, i);
    rig_fini(&rig);
}

// What the spool refused and the core took later is no reason to refuse anything at the next cut.
static void test_edge_spool__a_refusal_is_forgotten_once_the_core_has_it(void **state)
{
    struct rig rig;
    rig_init(&rig, (const char *[]){"spool.max.ms=1s", NULL}, true);
    s_cut(&rig);
    s_kept(&rig, 1, 60, 0);
    rig_advance(&rig, 1100);
    rig_produce(&rig, 1, 2, rig_batch(&rig, 50, 0));
    rig_expect(&rig, 1, 2, WEFT_ERR_OVERLOADED);
    s_heal(&rig);
    peer_produced(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), 0, false);
    rig_advance(&rig, 20);
    for (int32_t i = 0; i < 2; i++) {
        rig_produce(&rig, 1, 3, rig_batch(&rig, 50, i));
        peer_produced(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), 1 + i, false);
        rig_expect(&rig, 1, 3, WEFT_OK);
    }
    s_cut(&rig);
    s_kept(&rig, 4, 50, 2);
    rig_fini(&rig);
}

static void test_edge_spool__a_partition_that_is_damaged_in_the_core_is_waited_for(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    s_kept(&rig, 1, 50, 0);
    s_heal(&rig);
    peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_DAMAGED, NULL, 0);
    rig_advance(&rig, 300);
    peer_produced(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), 0, false); // somebody restored it
    rig_advance(&rig, 20);
    assert_int_equal(weft_counter_get(rig.node->counters[0], WEFT_EDGE_DEAD), 0);
    rig_fini(&rig);
}

// Its topics are told by the core, its cluster is not: what waits is for the one that the directory belongs to.
static void test_edge_spool__another_cluster_gets_nothing_of_it(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    rig_advance(&rig, 1100);
    s_cut(&rig);
    s_kept(&rig, 1, 50, 0);
    rig_crash(&rig);
    assert_int_equal(unlink(weft_test_path(rig.directory, "topics.known")), 0);
    rig.peer.cluster = 1;
    rig.peer.topic_id.bytes[0] ^= 1;
    rig_world(&rig);
    rig_begin(&rig, NULL, true);
    rig_advance(&rig, 30000);
    assert_int_equal(weft_counter_get(rig.node->counters[0], WEFT_EDGE_DEAD), 0);
    assert_int_equal(weft_counter_get(rig.node->counters[0], WEFT_EDGE_WAITING_BATCHES), 1);
    rig_fini(&rig);
}

static void test_edge_spool__of_a_topic_that_is_gone_all_is_set_aside_without_names(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    for (int32_t i = 0; i < 3; i++) s_kept(&rig, (uint64_t) i, 50, i);
    rig.peer.topic_id.bytes[0] = 9; // made anew
    rig.peer.version++;
    s_heal(&rig);
    rig_advance(&rig, 15000);
    assert_int_equal(weft_counter_get(rig.node->counters[0], WEFT_EDGE_DEAD), 3);
    assert_int_equal(weft_counter_get(rig.node->counters[0], WEFT_EDGE_WAITING_BATCHES), 0);
    assert_int_not_equal(access(weft_test_path(rig.directory, "renamed"), R_OK), 0);
    rig_fini(&rig);
}

static void test_edge_spool__a_failure_sends_all_again_from_the_first(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    for (int32_t i = 0; i < 3; i++) s_kept(&rig, (uint64_t) i, 50, i);
    s_heal(&rig);
    peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_NOT_ENOUGH_REPLICAS, NULL, 0);
    peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    rig_advance(&rig, 300);
    assert_int_equal(rig.peer.call_count, 1); // the third is waited for
    peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    rig_advance(&rig, 300);
    for (int32_t i = 0; i < 3; i++) {
        const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
        assert_true(call->batch.producer_id == 50 && call->batch.base_sequence == i);
        peer_produced(&rig.peer, call, i, false);
    }
    rig_fini(&rig);
}

static void test_edge_spool__what_is_refused_for_good_is_set_aside_and_its_session_goes_on(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    for (int32_t i = 0; i < 3; i++) s_kept(&rig, (uint64_t) i, 50, i);
    s_heal(&rig);
    peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_RECORD_TOO_LARGE, NULL, 0);
    for (int i = 0; i < 2; i++)
        peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_OUT_OF_ORDER_SEQUENCE, NULL, 0);
    rig_advance(&rig, 300);
    const struct peer_call first = *peer_take(&rig.peer, WEFT_API_PRODUCE);
    assert_true(first.batch.producer_id != 50 && first.batch.base_sequence == 0);
    s_restart(&rig, true);
    for (int32_t i = 0; i < 2; i++) {
        const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
        assert_true(call->batch.producer_id == first.batch.producer_id && call->batch.base_sequence == i);
        peer_produced(&rig.peer, call, i, false);
    }
    assert_int_equal(access(weft_test_path(rig.directory, "dead-letters"), R_OK), 0);
    rig_fini(&rig);
}

// Its producer has given up that epoch, and the core may have written some of it: under a new identity it would come twice.
static void test_edge_spool__what_is_fenced_does_not_go_on_under_a_new_identity(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    for (int32_t i = 0; i < 2; i++) s_kept(&rig, (uint64_t) i, 50, i);
    s_heal(&rig);
    for (int i = 0; i < 2; i++)
        peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_PRODUCER_FENCED, NULL, 0);
    rig_advance(&rig, 300);
    const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
    assert_true(call->batch.producer_id == 50 && call->batch.base_sequence == 1);
    peer_refuse(&rig.peer, call, WEFT_ERR_PRODUCER_FENCED, NULL, 0);
    rig_advance(&rig, 300);
    assert_int_equal(weft_counter_get(rig.node->counters[0], WEFT_EDGE_DEAD), 2);
    assert_int_equal(weft_counter_get(rig.node->counters[0], WEFT_EDGE_WAITING_BATCHES), 0);
    assert_int_equal(rig.peer.call_count, 0);
    rig_fini(&rig);
}

static void test_edge_spool__a_session_that_the_core_forgot_goes_on_under_a_new_identity(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    s_kept(&rig, 1, 50, 8);
    s_heal(&rig);
    peer_refuse(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), WEFT_ERR_UNKNOWN_PRODUCER, NULL, 0);
    rig_advance(&rig, 300);
    const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
    assert_true(call->batch.producer_id != 50 && call->batch.base_sequence == 0);
    peer_produced(&rig.peer, call, 0, false);
    rig_advance(&rig, 20);
    assert_int_not_equal(access(weft_test_path(rig.directory, "dead-letters"), R_OK), 0);
    rig_fini(&rig);
}

static void test_edge_spool__a_gap_in_a_session_is_refused_to_the_producer(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    s_cut(&rig);
    s_kept(&rig, 1, 50, 0);
    rig_produce(&rig, 1, 2, rig_batch(&rig, 50, 2));
    rig_expect(&rig, 1, 2, WEFT_ERR_OUT_OF_ORDER_SEQUENCE);
    rig_produce(&rig, 1, 3, rig_batch(&rig, 50, 0)); // again: the core will know it
    s_expect_spooled(&rig, 1, 3);
    s_restart(&rig, false);
    rig_produce(&rig, 1, 4, rig_batch(&rig, 50, 2)); // known from the log
    rig_expect(&rig, 1, 4, WEFT_ERR_OUT_OF_ORDER_SEQUENCE);
    rig_fini(&rig);
}

static void test_edge_spool__what_was_under_way_is_kept_in_its_place(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    rig_produce(&rig, 1, 1, rig_batch(&rig, 50, 0));
    rig_produce(&rig, 1, 2, rig_batch(&rig, 50, 1));
    peer_forget(&rig.peer); // the leader has them, and is gone
    s_cut(&rig);
    rig_produce(&rig, 1, 3, rig_batch(&rig, 50, 2));
    rig_advance(&rig, 600);
    for (uint64_t id = 1; id <= 3; id++) s_expect_spooled(&rig, 1, id);
    s_heal(&rig);
    for (int32_t i = 0; i < 3; i++) {
        const struct peer_call *call = peer_take(&rig.peer, WEFT_API_PRODUCE);
        assert_int_equal(call->batch.base_sequence, i);
        peer_produced(&rig.peer, call, i, i < 2);
    }
    rig_fini(&rig);
}

static void test_edge_spool__a_start_without_the_core_knows_the_topics(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    rig_advance(&rig, 1100); // topics are noted once a second
    s_restart(&rig, false);
    s_kept(&rig, 1, 50, 0);
    rig_fini(&rig);
}

static void test_edge_spool__a_core_that_is_away_for_too_long_is_told_to_producers(void **state)
{
    struct rig rig;
    rig_init(&rig, (const char *[]){"spool.max.ms=5s", NULL}, true);
    s_cut(&rig);
    s_kept(&rig, 1, 50, 0);
    rig_advance(&rig, 5100);
    rig_produce(&rig, 1, 2, rig_batch(&rig, 50, 1));
    rig_expect(&rig, 1, 2, WEFT_ERR_OVERLOADED);
    s_heal(&rig);
    peer_produced(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), 0, false);
    rig_advance(&rig, 20);
    rig_produce(&rig, 1, 3, rig_batch(&rig, 50, 1));
    peer_produced(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), 1, false);
    rig_expect(&rig, 1, 3, WEFT_OK);
    rig_fini(&rig);
}

static void test_edge_spool__a_directory_serves_one_edge(void **state)
{
    struct rig rig;
    struct weft_error error = {.text = ""};
    char spool[WEFT_TEST_PATH_BYTES + 8];
    struct weft_node *second = NULL;
    rig_init(&rig, NULL, true);
    weft_options_t *options = weft_options_new(weft_options_edge, weft_options_edge_count, "edge");
    snprintf(spool, sizeof spool, "spool=%s", rig.directory);
    assert_ok(weft_options_set_pair(options, spool, &error));
    assert_err(weft_node_edge.create(weft_fake_world_of(rig.peer.world), options, &second, &error), WEFT_ERR_LOCKED);
    weft_options_destroy(&options);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edge_spool__a_batch_is_acknowledged_once_it_is_synced),
        cmocka_unit_test(test_edge_spool__what_is_delivered_before_it_is_synced_is_acknowledged_too),
        cmocka_unit_test(test_edge_spool__it_is_delivered_in_order_under_the_identity_that_it_came_with),
        cmocka_unit_test(test_edge_spool__bare_records_get_an_identity_that_survives_the_edge),
        cmocka_unit_test(test_edge_spool__new_batches_go_behind_what_is_not_delivered),
        cmocka_unit_test(test_edge_spool__an_epoch_waits_for_the_one_before),
        cmocka_unit_test(test_edge_spool__what_waits_for_the_spool_is_not_overtaken_by_what_goes_into_it),
        cmocka_unit_test(test_edge_spool__what_was_refused_is_not_overtaken_by_what_stood_behind_it),
        cmocka_unit_test(test_edge_spool__what_the_edge_sent_away_is_not_overtaken),
        cmocka_unit_test(test_edge_spool__of_what_was_sent_away_each_has_to_come_again),
        cmocka_unit_test(test_edge_spool__a_refusal_is_forgotten_once_the_core_has_it),
        cmocka_unit_test(test_edge_spool__a_partition_that_is_damaged_in_the_core_is_waited_for),
        cmocka_unit_test(test_edge_spool__another_cluster_gets_nothing_of_it),
        cmocka_unit_test(test_edge_spool__of_a_topic_that_is_gone_all_is_set_aside_without_names),
        cmocka_unit_test(test_edge_spool__a_failure_sends_all_again_from_the_first),
        cmocka_unit_test(test_edge_spool__what_is_refused_for_good_is_set_aside_and_its_session_goes_on),
        cmocka_unit_test(test_edge_spool__what_is_fenced_does_not_go_on_under_a_new_identity),
        cmocka_unit_test(test_edge_spool__a_session_that_the_core_forgot_goes_on_under_a_new_identity),
        cmocka_unit_test(test_edge_spool__a_gap_in_a_session_is_refused_to_the_producer),
        cmocka_unit_test(test_edge_spool__what_was_under_way_is_kept_in_its_place),
        cmocka_unit_test(test_edge_spool__a_start_without_the_core_knows_the_topics),
        cmocka_unit_test(test_edge_spool__a_core_that_is_away_for_too_long_is_told_to_producers),
        cmocka_unit_test(test_edge_spool__a_directory_serves_one_edge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
