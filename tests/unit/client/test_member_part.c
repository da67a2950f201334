// SPDX-License-Identifier: MPL-2.0
// A member of a group against a coordinator that the test plays, with the consumer's side of the desk in its hands.
#include "tests/support/client_peer.h"
#include "tests/support/test.h"

#include "lib/client/member_part.h"

#include <stdio.h>
#include <string.h>
#include <weft_gen/config.h>

#define NODE_A "tcp://a:1"
#define NODE_B "tcp://b:1"
#define INTERVAL_MS 3000
#define SESSION_MS 10000

struct fixture {
    weft_member_part_t *part;
    weft_desk_t *desk;
    struct peer peer;
    struct weft_desk_news news;
    struct weft_group_heartbeat_request seen; // decoded last; its slices live until the next
};

static void s_turn(struct fixture *self)
{
    struct weft_part *part = weft_member_part_base(self->part);
    (void) part->ops->turn(part, weft_fake_world_now_us(self->peer.world));
    peer_pump(&self->peer);
    weft_desk_read(self->desk, &self->news);
}

static void s_advance_ms(struct fixture *self, int64_t ms)
{
    weft_fake_world_advance(self->peer.world, ms * 1000);
    s_turn(self);
}

static int64_t s_now_us(const struct fixture *self)
{
    return weft_fake_world_now_us(self->peer.world);
}

static void s_open(struct fixture *self, const char *const *settings)
{
    memset(self, 0, sizeof *self);
    weft_options_t *options = weft_options_new(weft_options_consumer, weft_options_consumer_count, "consumer");
    assert_ok(weft_options_set(options, "bootstrap", NODE_A "," NODE_B, NULL));
    assert_ok(weft_options_set(options, "group", "g", NULL));
    assert_ok(weft_options_set(options, "client", "program", NULL));
    for (size_t i = 0; settings && settings[i]; i++) assert_ok(weft_options_set_pair(options, settings[i], NULL));
    self->desk = weft_desk_new();
    struct weft_error error;
    assert_ok(weft_member_part_new(options, "host-1", self->desk, &self->part, &error));
    weft_options_destroy(&options);
    peer_init(&self->peer, weft_member_part_base(self->part), NULL, 0, NODE_A);
    self->peer.coordinator = NODE_A;
}

static void s_close(struct fixture *self)
{
    weft_desk_news_fini(&self->news);
    peer_fini(&self->peer);
    weft_desk_drop(&self->desk);
}

static void s_subscribe(struct fixture *self, const char *pattern)
{
    weft_desk_polled(self->desk, s_now_us(self), false);
    weft_desk_subscribe(self->desk, &pattern, 1);
    s_turn(self);
}

// Takes the heartbeat that was sent; there is only one.
static const struct peer_call *s_heartbeat(struct fixture *self)
{
    const struct peer_call *call = peer_take(&self->peer, WEFT_API_GROUP_HEARTBEAT);
    struct weft_error error;
    assert_ok(
        weft_group_heartbeat_request_decode(&self->peer.codec, weft_buf_slice(&call->header), &self->seen, &error));
    assert_int_equal(self->peer.call_count, 0);
    return call;
}

// The newest, if others were ended by it.
static const struct peer_call *s_newest(struct fixture *self)
{
    peer_pump(&self->peer);
    while (self->peer.call_count > 1) (void) peer_take(&self->peer, WEFT_API_GROUP_HEARTBEAT);
    return s_heartbeat(self);
}

static void s_quiet(struct fixture *self)
{
    peer_pump(&self->peer);
    assert_int_equal(self->peer.call_count, 0);
}

// revision 0: no assignment comes with it; else partitions 0 to count - 1 of "orders", token = revision + number.
static void s_answer(struct fixture *self, const struct peer_call *call, uint64_t epoch, uint64_t revision,
                     uint32_t count)
{
    struct weft_group_heartbeat_reply reply;
    weft_group_heartbeat_reply_init(&reply);
    reply.header.id = call->id;
    reply.epoch = epoch;
    reply.heartbeat_ms = INTERVAL_MS;
    reply.session_ms = SESSION_MS;
    reply.revision = revision;
    uint32_t partitions[8];
    uint64_t tokens[8];
    for (uint32_t i = 0; i < count; i++) {
        partitions[i] = count - 1 - i;
        tokens[i] = revision + partitions[i];
    }
    struct weft_assigned_topic topic = {.topic = weft_text("orders"),
                                        .partitions = partitions,
                                        .partitions_count = count,
                                        .tokens = tokens,
                                        .tokens_count = count};
    topic.topic_id.bytes[0] = 7;
    reply.assigned = revision != 0;
    reply.assignment = &topic;
    reply.assignment_count = revision && count ? 1 : 0;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_group_heartbeat_reply_encode(&reply, &header);
    peer_answer(&self->peer, call, &header);
    s_turn(self);
}

// Joins, and owns two partitions by revision 20; its next heartbeat is parked.
static void s_join(struct fixture *self)
{
    s_subscribe(self, "orders");
    s_answer(self, s_heartbeat(self), 10, 20, 2);
    (void) s_heartbeat(self);
}

static void test_member__joins_with_all_it_has_to_say(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"rack=r1", "assignor=range", "session.ms=9s", "exclusive=true", NULL});
    s_turn(&self);
    s_quiet(&self); // nobody subscribed
    s_subscribe(&self, "order*");
    const struct peer_call *call = s_heartbeat(&self);
    assert_int_equal(self.seen.epoch, 0);
    assert_true(weft_slice_is_text(self.seen.group, "g"));
    assert_int_equal(self.seen.topics_count, 1);
    assert_true(weft_slice_is_text(self.seen.topics[0], "order*"));
    assert_true(weft_slice_is_text(self.seen.client, "program"));
    assert_true(weft_slice_is_text(self.seen.host, "host-1"));
    assert_true(weft_slice_is_text(self.seen.rack, "r1"));
    assert_true(weft_slice_is_text(self.seen.assignor, "range"));
    assert_int_equal(self.seen.session_ms, 9000);
    assert_true(self.seen.exclusive);
    assert_false(weft_id_is_zero(self.seen.member));
    s_answer(&self, call, 10, 20, 2);
    assert_int_equal(self.news.assignment->epoch, 10);
    assert_int_equal(self.news.assignment->revision, 20);
    assert_int_equal(self.news.assignment->count, 2);
    assert_string_equal(self.news.assignment->owned[0].topic, "orders");
    assert_int_equal(self.news.assignment->owned[0].partition, 0); // in order
    assert_int_equal(self.news.assignment->owned[0].token, 20);
    assert_int_equal(self.news.assignment->owned[1].token, 21);
    (void) s_heartbeat(&self);
    assert_int_equal(self.seen.epoch, 10);
    assert_int_equal(self.seen.seen, 20);
    assert_int_equal(self.seen.revision, 0); // not carried out yet
    assert_int_equal(self.seen.wait_ms, INTERVAL_MS);
    assert_int_equal(self.seen.topics_count, 0); // it knows
    s_close(&self);
}

static void test_member__says_at_once_that_an_assignment_is_carried_out(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_join(&self);
    s_advance_ms(&self, 100);
    s_quiet(&self); // parked
    weft_desk_carried(self.desk, 10, 20);
    s_turn(&self);
    const struct peer_call *call = s_heartbeat(&self);
    assert_int_equal(self.seen.revision, 20);
    s_advance_ms(&self, INTERVAL_MS);
    s_answer(&self, call, 10, 0, 0);
    (void) s_heartbeat(&self);
    assert_int_equal(self.seen.revision, 20); // repeated as long as it is so
    s_close(&self);
}

static void test_member__a_coordinator_that_does_not_park_is_asked_at_the_interval(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_subscribe(&self, "orders");
    s_answer(&self, s_heartbeat(&self), 10, 20, 2);
    s_answer(&self, s_heartbeat(&self), 10, 0, 0);
    s_advance_ms(&self, INTERVAL_MS - 100);
    s_quiet(&self);
    assert_false(self.news.settled);
    s_advance_ms(&self, 200);
    s_answer(&self, s_heartbeat(&self), 10, 0, 0);
    assert_true(self.news.settled); // for an interval nothing else came
    s_close(&self);
}

// Rule 21: what was said in a heartbeat that got no answer is said again, and all the rest with it.
static void test_member__says_all_again_after_silence(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_join(&self);
    weft_desk_carried(self.desk, 10, 20);
    s_turn(&self);
    (void) s_heartbeat(&self);
    weft_fake_world_link(self.peer.world, NODE_A, false);
    s_turn(&self);
    s_quiet(&self);
    weft_fake_world_link(self.peer.world, NODE_B, true);
    s_advance_ms(&self, 500);
    const struct peer_call *call = s_heartbeat(&self);
    assert_string_equal(call->endpoint, NODE_B);
    assert_int_equal(self.seen.epoch, 10);
    assert_int_equal(self.seen.revision, 20);
    assert_int_equal(self.seen.topics_count, 1);
    assert_true(weft_slice_is_text(self.seen.client, "program"));
    s_close(&self);
}

static void test_member__a_stopped_coordinator_is_not_asked_first_again(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    weft_fake_world_link(self.peer.world, NODE_B, true);
    s_subscribe(&self, "orders");
    const struct peer_call *call = s_heartbeat(&self);
    if (!strcmp(call->endpoint, NODE_B)) { // any node is asked first
        peer_refuse(&self.peer, call, WEFT_ERR_NOT_COORDINATOR, NODE_A, 0);
        s_turn(&self);
        call = s_heartbeat(&self);
    }
    assert_string_equal(call->endpoint, NODE_A);
    s_answer(&self, call, 10, 20, 2);
    self.peer.coordinator = NULL;
    (void) s_heartbeat(&self); // A stops now: it never answers, its link stays
    s_advance_ms(&self, INTERVAL_MS + 3000);
    call = peer_take(&self.peer, WEFT_API_GROUP_HEARTBEAT);
    assert_string_equal(call->endpoint, NODE_B);
    s_close(&self);
}

static void test_member__one_that_is_unknown_has_lost_all_and_joins_again(void **state)
{
    static const weft_err_t errors[] = {WEFT_ERR_UNKNOWN_MEMBER, WEFT_ERR_FENCED_MEMBER};
    for (size_t i = 0; i < 2; i++) {
        struct fixture self;
        s_open(&self, NULL);
        s_subscribe(&self, "orders");
        s_answer(&self, s_heartbeat(&self), 10, 20, 2);
        weft_desk_carried(self.desk, 10, 20);
        const struct peer_call *call = s_heartbeat(&self);
        peer_refuse(&self.peer, call, errors[i], NULL, 0);
        s_turn(&self);
        assert_int_equal(self.news.lost, 1);
        assert_null(self.news.assignment);
        assert_int_equal(weft_desk_lease_us(self.desk), 0);
        assert_true(*self.news.lost_text);
        call = s_heartbeat(&self);
        assert_int_equal(self.seen.epoch, 0);
        assert_int_equal(self.seen.seen, 0);
        assert_int_equal(self.seen.revision, 0); // of the membership before: not said
        assert_int_equal(self.seen.topics_count, 1);
        s_answer(&self, call, 30, 31, 1);
        assert_int_equal(self.news.assignment->epoch, 30);
        s_close(&self);
    }
}

static void test_member__leaves_when_told_and_a_static_one_pauses(void **state)
{
    for (int i = 0; i < 2; i++) {
        struct fixture self;
        s_open(&self, i ? (const char *const[]){"instance=i1", NULL} : NULL);
        s_join(&self);
        weft_desk_leave(self.desk, i ? WEFT_DESK_PAUSE : WEFT_DESK_LEAVE, "closed");
        s_turn(&self);
        const struct peer_call *call = s_heartbeat(&self);
        assert_true(weft_slice_is_text(self.seen.leave, i ? "pause" : "leave"));
        assert_true(weft_slice_is_text(self.seen.why, "closed"));
        assert_int_equal(self.seen.epoch, 10);
        if (i) assert_true(weft_slice_is_text(self.seen.instance, "i1"));
        assert_false(self.news.left);
        s_answer(&self, call, 10, 0, 0);
        assert_true(self.news.left);
        assert_true(weft_member_part_gone(self.part));
        s_advance_ms(&self, 60000);
        s_quiet(&self);
        s_close(&self);
    }
}

static void test_member__leaving_is_repeated_until_it_is_heard(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_join(&self);
    weft_desk_leave(self.desk, WEFT_DESK_LEAVE, "closed");
    s_turn(&self);
    peer_refuse(&self.peer, s_heartbeat(&self), WEFT_ERR_COORDINATOR_LOADING, NULL, 0);
    s_advance_ms(&self, 200);
    const struct peer_call *call = s_heartbeat(&self);
    assert_true(weft_slice_is_text(self.seen.leave, "leave"));
    peer_refuse(&self.peer, call, WEFT_ERR_UNKNOWN_MEMBER, NULL, 0); // the first one was heard after all
    s_turn(&self);
    assert_true(self.news.left);
    assert_int_equal(self.news.lost, 0);
    s_close(&self);
}

static void test_member__who_never_joined_has_left_at_once(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    weft_desk_leave(self.desk, WEFT_DESK_LEAVE, "closed");
    s_turn(&self);
    assert_true(self.news.left);
    s_quiet(&self);
    s_close(&self);
}

static void test_member__a_program_that_stops_polling_leaves_and_joins_again(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"max.poll.ms=20s", NULL});
    s_join(&self);
    for (int i = 0; i < 12; i++) {
        s_advance_ms(&self, 2000);
        weft_desk_polled(self.desk, s_now_us(&self), false);
        s_turn(&self);
        if (i % 2) s_answer(&self, s_newest(&self), 10, 0, 0);
    }
    assert_int_equal(self.news.lost, 0); // it polls
    for (int i = 0; i < 30 && !self.news.lost; i++) {
        s_advance_ms(&self, 1000);
        if (self.news.lost || i % 3 != 2) continue;
        s_answer(&self, s_newest(&self), 10, 0, 0);
        assert_true(self.seen.idle_ms <= 20000);
    }
    assert_non_null(strstr(self.news.lost_text, "did not poll for 20 s"));
    assert_null(self.news.assignment);
    const struct peer_call *call = s_newest(&self);
    assert_true(weft_slice_is_text(self.seen.leave, "leave"));
    assert_true(weft_slice_is_text(self.seen.why, "stopped polling for 20 s"));
    s_answer(&self, call, 10, 0, 0);
    assert_false(self.news.left); // only for now
    s_advance_ms(&self, 60000);
    s_quiet(&self);
    weft_desk_polled(self.desk, s_now_us(&self), false);
    s_turn(&self);
    call = s_heartbeat(&self);
    assert_int_equal(self.seen.epoch, 0);
    assert_int_equal(self.seen.topics_count, 1);
    s_answer(&self, call, 50, 51, 2);
    assert_int_equal(self.news.assignment->epoch, 50);
    s_close(&self);
}

static void s_count_wake(void *context)
{
    ++*(int *) context;
}

// The process is stopped between the poll that wakes this part and its turn: the next poll has to wake it again.
static void test_member__a_poll_that_is_heard_too_late_is_not_the_last_that_wakes(void **state)
{
    struct fixture self;
    int wakes = 0;
    s_open(&self, (const char *const[]){"max.poll.ms=2s", NULL});
    s_join(&self);
    weft_desk_polled(self.desk, s_now_us(&self), false);
    for (int i = 0; i < 10 && !self.news.lost; i++) s_advance_ms(&self, 500);
    s_answer(&self, s_newest(&self), 10, 0, 0); // it left
    weft_desk_on_change(self.desk, WEFT_DESK_MEMBER, s_count_wake, &wakes);
    weft_desk_polled(self.desk, s_now_us(&self), false);
    assert_int_equal(wakes, 1);
    s_advance_ms(&self, 5000);
    weft_desk_polled(self.desk, s_now_us(&self), false);
    assert_int_equal(wakes, 2);
    s_turn(&self);
    (void) s_newest(&self);
    assert_false(weft_slice_is_text(self.seen.leave, "leave"));
    assert_int_equal(self.seen.epoch, 0);
    weft_desk_on_change(self.desk, WEFT_DESK_MEMBER, NULL, NULL);
    s_close(&self);
}

static void test_member__one_that_waits_in_poll_is_not_idle(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"max.poll.ms=1s", NULL});
    s_join(&self);
    weft_desk_polled(self.desk, s_now_us(&self), true);
    s_advance_ms(&self, INTERVAL_MS);
    s_advance_ms(&self, INTERVAL_MS);
    assert_int_equal(self.news.lost, 0);
    s_close(&self);
}

// Rule 22: from the sending of the last heartbeat that was answered.
static void test_member__the_lease_counts_from_the_sending(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_subscribe(&self, "orders");
    int64_t sent_us = s_now_us(&self);
    const struct peer_call *call = s_heartbeat(&self);
    s_advance_ms(&self, 400);
    s_answer(&self, call, 10, 20, 2);
    assert_int_equal(weft_desk_lease_us(self.desk), sent_us + SESSION_MS * 1000);
    sent_us = s_now_us(&self);
    call = s_heartbeat(&self);
    s_advance_ms(&self, INTERVAL_MS);
    s_answer(&self, call, 10, 0, 0);
    assert_int_equal(weft_desk_lease_us(self.desk), sent_us + SESSION_MS * 1000);
    (void) s_heartbeat(&self);
    assert_false(self.news.unheard);
    weft_fake_world_link(self.peer.world, NODE_A, false);
    s_advance_ms(&self, SESSION_MS);
    assert_true(self.news.unheard);
    assert_int_equal(self.news.lost, 0); // I10: it goes on
    assert_non_null(self.news.assignment);
    weft_fake_world_link(self.peer.world, NODE_A, true);
    s_advance_ms(&self, 2000);
    s_answer(&self, s_newest(&self), 10, 0, 0);
    assert_false(self.news.unheard);
    assert_non_null(self.news.assignment);
    s_close(&self);
}

static void test_member__what_is_refused_for_good_is_not_asked_again(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_subscribe(&self, "orders");
    peer_refuse(&self.peer, s_heartbeat(&self), WEFT_ERR_GROUP_FULL, NULL, 0);
    s_turn(&self);
    assert_int_equal(self.news.refused, WEFT_ERR_GROUP_FULL);
    s_advance_ms(&self, 60000);
    s_quiet(&self);
    s_subscribe(&self, "other");
    const struct peer_call *call = s_heartbeat(&self);
    assert_true(weft_slice_is_text(self.seen.topics[0], "other"));
    s_answer(&self, call, 10, 20, 1);
    assert_int_equal(self.news.refused, WEFT_OK);
    s_close(&self);
}

static void test_member__an_instance_in_use_is_waited_for(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"instance=i1", NULL});
    s_subscribe(&self, "orders");
    peer_refuse(&self.peer, s_heartbeat(&self), WEFT_ERR_INSTANCE_IN_USE, NULL, 2000);
    s_turn(&self);
    assert_int_equal(self.news.refused, WEFT_ERR_INSTANCE_IN_USE);
    s_advance_ms(&self, 1900);
    s_quiet(&self);
    s_advance_ms(&self, 200);
    s_answer(&self, s_heartbeat(&self), 10, 20, 1);
    assert_int_equal(self.news.refused, WEFT_OK);
    assert_non_null(self.news.assignment);
    s_close(&self);
}

static void test_member__tells_a_new_subscription_at_once(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_join(&self);
    s_subscribe(&self, "other");
    const struct peer_call *call = s_heartbeat(&self);
    assert_int_equal(self.seen.epoch, 10);
    assert_int_equal(self.seen.topics_count, 1);
    assert_true(weft_slice_is_text(self.seen.topics[0], "other"));
    s_advance_ms(&self, INTERVAL_MS);
    s_answer(&self, call, 10, 0, 0);
    (void) s_heartbeat(&self);
    assert_int_equal(self.seen.topics_count, 0);
    s_close(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member__joins_with_all_it_has_to_say),
        cmocka_unit_test(test_member__says_at_once_that_an_assignment_is_carried_out),
        cmocka_unit_test(test_member__a_coordinator_that_does_not_park_is_asked_at_the_interval),
        cmocka_unit_test(test_member__says_all_again_after_silence),
        cmocka_unit_test(test_member__a_stopped_coordinator_is_not_asked_first_again),
        cmocka_unit_test(test_member__one_that_is_unknown_has_lost_all_and_joins_again),
        cmocka_unit_test(test_member__leaves_when_told_and_a_static_one_pauses),
        cmocka_unit_test(test_member__leaving_is_repeated_until_it_is_heard),
        cmocka_unit_test(test_member__who_never_joined_has_left_at_once),
        cmocka_unit_test(test_member__a_program_that_stops_polling_leaves_and_joins_again),
        cmocka_unit_test(test_member__a_poll_that_is_heard_too_late_is_not_the_last_that_wakes),
        cmocka_unit_test(test_member__one_that_waits_in_poll_is_not_idle),
        cmocka_unit_test(test_member__the_lease_counts_from_the_sending),
        cmocka_unit_test(test_member__what_is_refused_for_good_is_not_asked_again),
        cmocka_unit_test(test_member__an_instance_in_use_is_waited_for),
        cmocka_unit_test(test_member__tells_a_new_subscription_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
