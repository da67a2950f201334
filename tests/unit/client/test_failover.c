// SPDX-License-Identifier: MPL-2.0
// Leaders that die, stop or move under a client: whom it asks, how often, and that order and window survive (rule 23).
#include "tests/support/client_peer.h"
#include "tests/support/test.h"

#include "lib/client/cluster_view.h"
#include "lib/client/consumer_part.h"
#include "lib/client/producer_part.h"

#include <stdio.h>
#include <string.h>
#include <weft_gen/config.h>

#define NODE_A "tcp://a:1"
#define NODE_B "tcp://b:1"
#define NODE_C "tcp://c:1"

struct fixture {
    weft_producer_part_t *producer;
    weft_consumer_part_t *consumer;
    struct weft_part *part;
    struct peer peer;
    weft_topic_t *topic;
    int seen[100];
    size_t seen_count, failed;
};

static void s_report(void *context, const struct weft_report *report)
{
    struct fixture *self = context;
    self->failed += report->error != WEFT_OK;
    self->seen[self->seen_count++] = (int) (intptr_t) report->opaque;
}

static void s_turn(struct fixture *self)
{
    (void) self->part->ops->turn(self->part, weft_fake_world_now_us(self->peer.world));
    peer_pump(&self->peer);
}

static void s_advance_ms(struct fixture *self, int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 10) {
        weft_fake_world_advance(self->peer.world, 10000);
        s_turn(self);
    }
}

// All three nodes are connected; A leads.
static void s_connect(struct fixture *self)
{
    peer_init(&self->peer, self->part, "orders", 1, NODE_A);
    weft_fake_world_link(self->peer.world, NODE_B, true);
    weft_fake_world_link(self->peer.world, NODE_C, true);
    s_advance_ms(self, 100);
}

static void s_open_producer(struct fixture *self)
{
    memset(self, 0, sizeof *self);
    weft_options_t *options = weft_options_new(weft_options_producer, weft_options_producer_count, "producer");
    assert_ok(weft_options_set(options, "bootstrap", NODE_A "," NODE_B "," NODE_C, NULL));
    struct weft_error error;
    assert_ok(weft_producer_part_new(options, &self->producer, &error));
    weft_options_destroy(&options);
    weft_producer_part_on_report(self->producer, s_report, self);
    assert_ok(weft_producer_part_topic(self->producer, "orders", &self->topic));
    self->part = weft_producer_part_base(self->producer);
    s_connect(self);
}

static void s_open_consumer(struct fixture *self)
{
    memset(self, 0, sizeof *self);
    weft_options_t *options = weft_options_new(weft_options_consumer, weft_options_consumer_count, "consumer");
    assert_ok(weft_options_set(options, "bootstrap", NODE_A "," NODE_B "," NODE_C, NULL));
    struct weft_error error;
    assert_ok(weft_consumer_part_new(options, &self->consumer, &error));
    weft_options_destroy(&options);
    const struct weft_assignment at = {.topic = "orders", .partition = 0, .at = {WEFT_FROM_OFFSET, 40}};
    assert_ok(weft_consumer_part_assign(self->consumer, &at, 1));
    self->part = weft_consumer_part_base(self->consumer);
    s_connect(self);
}

static void s_send_batch(struct fixture *self, int number)
{
    struct weft_send_extra extra = {.opaque = (void *) (intptr_t) number};
    assert_ok(
        weft_producer_part_send(self->producer, self->topic, 0, WEFT_SLICE_NIL, weft_text("v"), 1000, &extra, NULL));
    weft_producer_part_flush(self->producer);
    s_turn(self);
}

static void s_lead(struct fixture *self, const char *endpoint)
{
    self->peer.leaders[0] = endpoint;
    self->peer.epoch++;
    self->peer.version++;
}

// What was sent to one node, in order of sequences from `from` on; each is answered.
static void s_expect_window(struct fixture *self, const char *endpoint, int from, int count)
{
    for (int i = 0; i < count; i++) {
        const struct peer_call *call = peer_take(&self->peer, WEFT_API_PRODUCE);
        assert_string_equal(call->endpoint, endpoint);
        assert_int_equal(call->batch.base_sequence, from + i);
        peer_produced(&self->peer, call, 100 + from + i, false);
    }
}

static void s_forget_sent(struct fixture *self, int count)
{
    for (int i = 0; i < count; i++) (void) peer_take(&self->peer, WEFT_API_PRODUCE);
}

static void test_failover__a_dead_leader_is_replaced_at_a_short_pace_in_order(void **state)
{
    struct fixture self;
    s_open_producer(&self);
    for (int i = 0; i < 5; i++) s_send_batch(&self, i);
    s_forget_sent(&self, 5);
    uint32_t asked = self.peer.metadata_count;
    weft_fake_world_link(self.peer.world, NODE_A, false); // killed; the others still call it the leader
    s_turn(&self);
    assert_int_equal(self.peer.metadata_count, asked + 1); // at once
    s_advance_ms(&self, 1000);
    uint32_t paced = self.peer.metadata_count - asked;
    assert_in_range(paced, 12, 30); // every 50 ms or so, with jitter
    self.peer.leaders[0] = NULL;    // fenced; nobody is elected yet
    self.peer.epoch++, self.peer.version++;
    s_advance_ms(&self, 1000);
    assert_in_range(self.peer.metadata_count - asked - paced, 12, 30);
    assert_int_equal(self.peer.call_count, 0);
    s_lead(&self, NODE_B);
    s_advance_ms(&self, 80);
    s_expect_window(&self, NODE_B, 0, 5);
    assert_int_equal(self.seen_count, 5);
    assert_int_equal(self.failed, 0);
    peer_fini(&self.peer);
}

static void test_failover__a_long_outage_is_asked_about_less_and_less(void **state)
{
    struct fixture self;
    s_open_producer(&self);
    s_send_batch(&self, 1);
    weft_fake_world_link(self.peer.world, NODE_A, false);
    self.peer.leaders[0] = NULL;
    self.peer.epoch++, self.peer.version++;
    s_advance_ms(&self, 10000);
    uint32_t asked = self.peer.metadata_count;
    s_advance_ms(&self, 10000);
    assert_in_range(self.peer.metadata_count - asked, 5, 20);
    peer_fini(&self.peer);
}

static void test_failover__one_metadata_request_is_under_way_and_a_silent_node_is_passed_over(void **state)
{
    struct fixture self;
    s_open_producer(&self);
    s_send_batch(&self, 1);
    self.peer.silent = true; // nobody answers for metadata
    uint32_t before = self.peer.metadata_count;
    weft_fake_world_link(self.peer.world, NODE_A, false);
    s_advance_ms(&self, 3000);
    assert_int_equal(self.peer.metadata_count, before);
    assert_in_range(self.peer.metadata_left, 2, 5); // attempts of 500 ms, 1 s, 2 s ...
    self.peer.silent = false;
    s_lead(&self, NODE_B);
    s_advance_ms(&self, 4000);
    assert_true(self.peer.metadata_count > before);
    peer_fini(&self.peer);
}

static void test_failover__a_stopped_leader_is_left_once_another_leads(void **state)
{
    struct fixture self;
    s_open_producer(&self);
    for (int i = 0; i < 3; i++) s_send_batch(&self, i);
    struct peer_call late = *peer_take(&self.peer, WEFT_API_PRODUCE);
    s_forget_sent(&self, 2);
    uint32_t asked = self.peer.metadata_count;
    s_advance_ms(&self, 400);
    assert_int_equal(self.peer.metadata_count, asked); // a slow disk is no reason yet
    s_advance_ms(&self, 200);
    assert_true(self.peer.metadata_count > asked);
    assert_string_not_equal(self.peer.metadata_from, NODE_A); // who is silent is not asked about itself
    assert_int_equal(self.peer.call_count, 0);
    s_lead(&self, NODE_C);
    s_advance_ms(&self, 400);
    peer_produced(&self.peer, &late, 7, false); // the old leader wakes up: too late to count
    assert_int_equal(self.seen_count, 0);
    s_expect_window(&self, NODE_C, 0, 3);
    assert_int_equal(self.seen_count, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(self.seen[i], i);
    peer_fini(&self.peer);
}

static void test_failover__a_slow_leader_that_still_leads_is_left_alone(void **state)
{
    struct fixture self;
    s_open_producer(&self);
    s_send_batch(&self, 1);
    struct peer_call call = *peer_take(&self.peer, WEFT_API_PRODUCE);
    uint32_t asked = self.peer.metadata_count;
    s_advance_ms(&self, 8000);
    assert_int_equal(self.peer.call_count, 0);                // nothing is sent twice
    assert_in_range(self.peer.metadata_count - asked, 5, 30); // less often the longer it lasts
    peer_produced(&self.peer, &call, 5, false);
    assert_int_equal(self.seen_count, 1);
    peer_fini(&self.peer);
}

static void test_failover__a_drain_is_followed_without_a_wait(void **state)
{
    struct fixture self;
    s_open_producer(&self);
    for (int i = 0; i < 8; i++) s_send_batch(&self, i);
    s_lead(&self, NODE_B);
    struct peer_call calls[8];
    for (int i = 0; i < 8; i++) calls[i] = *peer_take(&self.peer, WEFT_API_PRODUCE);
    // Two were appended and not committed, six only queued: refused in order by the one who led.
    for (int i = 0; i < 8; i++)
        peer_refuse(&self.peer, &calls[i], i < 2 ? WEFT_ERR_LEADER_CHANGED : WEFT_ERR_NOT_LEADER, NODE_B, 0);
    s_turn(&self);
    s_expect_window(&self, NODE_B, 0, 8);
    assert_int_equal(self.seen_count, 8);
    assert_int_equal(self.failed, 0);
    peer_fini(&self.peer);
}

static void test_failover__one_refusal_of_a_whole_window_is_one_round(void **state)
{
    struct fixture self;
    s_open_producer(&self);
    for (int i = 0; i < 16; i++) s_send_batch(&self, i);
    struct peer_call calls[16];
    for (int i = 0; i < 16; i++) calls[i] = *peer_take(&self.peer, WEFT_API_PRODUCE);
    for (int i = 0; i < 16; i++) peer_refuse(&self.peer, &calls[i], WEFT_ERR_NOT_ENOUGH_REPLICAS, NULL, 0);
    s_advance_ms(&self, 80); // the first back-off, not the sixteenth
    s_expect_window(&self, NODE_A, 0, 16);
    peer_fini(&self.peer);
}

static void test_failover__knowledge_does_not_go_back(void **state)
{
    struct fixture self;
    s_open_producer(&self);
    s_lead(&self, NODE_B);
    weft_fake_world_link(self.peer.world, NODE_A, false);
    s_advance_ms(&self, 100);
    weft_fake_world_link(self.peer.world, NODE_A, true);
    self.peer.leaders[0] = NODE_A; // a node that lags answers
    self.peer.epoch--, self.peer.version--;
    weft_fake_world_link(self.peer.world, NODE_C, false);
    s_advance_ms(&self, 200);
    s_send_batch(&self, 1);
    s_expect_window(&self, NODE_B, 0, 1);
    peer_fini(&self.peer);
}

static void test_failover__a_parked_fetch_goes_to_the_new_leader_at_the_same_place(void **state)
{
    struct fixture self;
    s_open_consumer(&self);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_FETCH);
    assert_string_equal(call->endpoint, NODE_A);
    peer_fetched(&self.peer, call, WEFT_SLICE_NIL, 40, 0);
    s_advance_ms(&self, 10);
    call = peer_take(&self.peer, WEFT_API_FETCH); // parked for 500 ms, then overdue for 500 more: stopped
    s_lead(&self, NODE_B);
    s_advance_ms(&self, 900);
    assert_int_equal(self.peer.call_count, 0);
    s_advance_ms(&self, 300);
    call = peer_take(&self.peer, WEFT_API_FETCH);
    assert_string_equal(call->endpoint, NODE_B);
    assert_int_equal(call->fetch.offset, 40);
    // Right after an election a leader's watermark may lie below what was read: no error, no reset, no step back.
    peer_fetched(&self.peer, call, WEFT_SLICE_NIL, 38, 0);
    s_advance_ms(&self, 10);
    assert_int_equal(peer_take(&self.peer, WEFT_API_FETCH)->fetch.offset, 40);
    struct weft_partition_position position;
    assert_true(weft_consumer_part_position(self.consumer, 0, &position));
    assert_int_equal(position.position, 40);
    assert_int_equal(position.lag, 0);
    struct weft_consumer_event event;
    while (weft_consumer_part_event(self.consumer, &event)) assert_int_equal(event.type, WEFT_EVENT_ASSIGNED);
    peer_fini(&self.peer);
}

static void test_failover__a_dead_leader_of_a_reader_is_replaced(void **state)
{
    struct fixture self;
    s_open_consumer(&self);
    (void) peer_take(&self.peer, WEFT_API_FETCH);
    weft_fake_world_link(self.peer.world, NODE_A, false);
    s_advance_ms(&self, 1000);
    assert_int_equal(self.peer.call_count, 0);
    s_lead(&self, NODE_C);
    s_advance_ms(&self, 130);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_FETCH);
    assert_string_equal(call->endpoint, NODE_C);
    assert_int_equal(call->fetch.offset, 40);
    peer_fini(&self.peer);
}

// ---- links are bounded

static size_t s_open_count;
static weft_link_t s_next_link;

static weft_err_t s_link_open(void *world, const char *endpoint, weft_link_t *out)
{
    (void) world, (void) endpoint;
    s_open_count++;
    *out = ++s_next_link;
    return WEFT_OK;
}

static void s_link_close(void *world, weft_link_t link)
{
    (void) world, (void) link;
    s_open_count--;
}

static int64_t s_now_us(void *world)
{
    return *(int64_t *) world;
}

static void test_failover__links_are_bounded(void **state)
{
    static const struct weft_port_ops ops = {.now_us = s_now_us, .link_open = s_link_open, .link_close = s_link_close};
    int64_t now_us = 1000000;
    weft_port_t port = {.ops = &ops, .world = &now_us};
    struct weft_error error;
    weft_view_t view;
    s_open_count = s_next_link = 0;
    assert_ok(weft_view_init(&view, NODE_A, &error));
    weft_view_start(&view, &port);
    struct weft_view_link *kept = weft_view_link_to(&view, weft_text(NODE_B));
    weft_view_link_up(&view, kept->link);
    for (int i = 0; i < 3 * WEFT_VIEW_LINKS_MAX; i++) {
        char endpoint[40];
        snprintf(endpoint, sizeof endpoint, "tcp://n%d:1", i);
        assert_non_null(weft_view_link_to(&view, weft_text(endpoint)));
        assert_true(s_open_count <= WEFT_VIEW_LINKS_MAX);
    }
    assert_string_equal(view.links[0]->endpoint, NODE_A); // bootstrap, and what is connected, stay
    assert_string_equal(kept->endpoint, NODE_B);
    // A minute after nobody tells of them any more they are closed.
    now_us += 2 * WEFT_VIEW_FORGET_US;
    struct weft_metadata_reply reply;
    weft_metadata_reply_init(&reply);
    reply.version = 5;
    weft_view_apply(&view, &reply, false);
    assert_int_equal(s_open_count, 2);
    weft_view_fini(&view);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failover__a_dead_leader_is_replaced_at_a_short_pace_in_order),
        cmocka_unit_test(test_failover__a_long_outage_is_asked_about_less_and_less),
        cmocka_unit_test(test_failover__one_metadata_request_is_under_way_and_a_silent_node_is_passed_over),
        cmocka_unit_test(test_failover__a_stopped_leader_is_left_once_another_leads),
        cmocka_unit_test(test_failover__a_slow_leader_that_still_leads_is_left_alone),
        cmocka_unit_test(test_failover__a_drain_is_followed_without_a_wait),
        cmocka_unit_test(test_failover__one_refusal_of_a_whole_window_is_one_round),
        cmocka_unit_test(test_failover__knowledge_does_not_go_back),
        cmocka_unit_test(test_failover__a_parked_fetch_goes_to_the_new_leader_at_the_same_place),
        cmocka_unit_test(test_failover__a_dead_leader_of_a_reader_is_replaced),
        cmocka_unit_test(test_failover__links_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
