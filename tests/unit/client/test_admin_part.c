// SPDX-License-Identifier: MPL-2.0
// Automatic calls: which node is asked, redirections, retries, deadlines.
#include "tests/support/client_peer.h"
#include "tests/support/test.h"

#include "lib/client/admin_part.h"

#include <string.h>
#include <weft_gen/config.h>

#define NODE_A "tcp://a:1"
#define NODE_B "tcp://b:1"

struct fixture {
    weft_admin_part_t *part;
    struct peer peer;
};

static void s_turn(struct fixture *self)
{
    struct weft_part *part = weft_admin_part_base(self->part);
    (void) part->ops->turn(part, weft_fake_world_now_us(self->peer.world));
    peer_pump(&self->peer);
}

static void s_advance_ms(struct fixture *self, int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 10) {
        weft_fake_world_advance(self->peer.world, 10000);
        s_turn(self);
    }
}

static void s_open(struct fixture *self)
{
    memset(self, 0, sizeof *self);
    weft_options_t *options = weft_options_new(weft_options_admin, weft_options_admin_count, "admin");
    assert_ok(weft_options_set(options, "bootstrap", NODE_A "," NODE_B, NULL));
    struct weft_error error;
    assert_ok(weft_admin_part_new(options, &self->part, &error));
    weft_options_destroy(&options);
    peer_init(&self->peer, weft_admin_part_base(self->part), "orders", 2, NODE_A);
}

static void s_status(struct fixture *self, enum weft_call_to to, const char *topic, const char *endpoint)
{
    struct weft_call *call = weft_admin_part_begin(self->part, to, topic, 0, endpoint);
    assert_non_null(call);
    struct weft_cluster_status_request request;
    weft_cluster_status_request_init(&request);
    request.id = call->id;
    weft_buf_clear(&call->header);
    weft_cluster_status_request_encode(&request, &call->header);
    weft_admin_part_submit(self->part, 3000000);
    s_turn(self);
}

static void test_requests__follow_the_coordinator(void **state)
{
    struct fixture self;
    s_open(&self);
    weft_fake_world_link(self.peer.world, NODE_B, true);
    peer_pump(&self.peer);
    s_status(&self, WEFT_TO_COORDINATOR, NULL, NULL);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_CLUSTER_STATUS);
    const char *other = strcmp(call->endpoint, NODE_A) ? NODE_A : NODE_B;
    peer_refuse(&self.peer, call, WEFT_ERR_NOT_COORDINATOR, other, 0);
    call = peer_take(&self.peer, WEFT_API_CLUSTER_STATUS);
    assert_string_equal(call->endpoint, other);
    peer_produced(&self.peer, call, 0, false); // any reply
    assert_true(weft_admin_part_is_done(self.part));
    assert_ok(weft_admin_part_error(self.part));
    peer_fini(&self.peer);
}

static void test_requests__two_confused_nodes_do_not_make_it_spin(void **state)
{
    struct fixture self;
    s_open(&self);
    weft_fake_world_link(self.peer.world, NODE_B, true);
    peer_pump(&self.peer);
    s_status(&self, WEFT_TO_COORDINATOR, NULL, NULL);
    int asked = 0;
    for (int i = 0; i < 100; i++) { // a second
        while (self.peer.call_count) {
            const struct peer_call *call = peer_take(&self.peer, WEFT_API_CLUSTER_STATUS);
            asked++;
            peer_refuse(&self.peer, call, WEFT_ERR_NOT_COORDINATOR, strcmp(call->endpoint, NODE_A) ? NODE_A : NODE_B,
                        0);
        }
        s_advance_ms(&self, 10);
    }
    assert_in_range(asked, 4, 20);
    peer_fini(&self.peer);
}

static void test_requests__a_lost_link_asks_another_node(void **state)
{
    struct fixture self;
    s_open(&self);
    weft_fake_world_link(self.peer.world, NODE_B, true);
    peer_pump(&self.peer);
    s_status(&self, WEFT_TO_ANY, NULL, NULL);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_CLUSTER_STATUS);
    char first[64];
    strcpy(first, call->endpoint);
    weft_fake_world_link(self.peer.world, first, false);
    s_turn(&self);
    assert_string_not_equal(peer_take(&self.peer, WEFT_API_CLUSTER_STATUS)->endpoint, first);
    peer_fini(&self.peer);
}

static void test_requests__silence_asks_another_node_and_late_answers_count(void **state)
{
    struct fixture self;
    s_open(&self);
    weft_fake_world_link(self.peer.world, NODE_B, true);
    peer_pump(&self.peer);
    s_status(&self, WEFT_TO_ANY, NULL, NULL);
    struct peer_call first = *peer_take(&self.peer, WEFT_API_CLUSTER_STATUS);
    s_advance_ms(&self, 1300);
    assert_string_not_equal(peer_take(&self.peer, WEFT_API_CLUSTER_STATUS)->endpoint, first.endpoint);
    peer_produced(&self.peer, &first, 0, false);
    assert_true(weft_admin_part_is_done(self.part));
    assert_ok(weft_admin_part_error(self.part));
    peer_fini(&self.peer);
}

static void test_requests__refusals_end_or_are_retried_by_class(void **state)
{
    struct fixture self;
    s_open(&self);
    s_status(&self, WEFT_TO_ANY, NULL, NULL);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_CLUSTER_STATUS), WEFT_ERR_COORDINATOR_LOADING, NULL, 0);
    assert_false(weft_admin_part_is_done(self.part));
    s_advance_ms(&self, 200);
    peer_refuse(&self.peer, peer_take(&self.peer, WEFT_API_CLUSTER_STATUS), WEFT_ERR_TOPIC_EXISTS, NULL, 0);
    assert_true(weft_admin_part_is_done(self.part));
    assert_err(weft_admin_part_error(self.part), WEFT_ERR_TOPIC_EXISTS);
    peer_fini(&self.peer);
}

static void test_requests__nobody_there_is_said_with_the_endpoint(void **state)
{
    struct fixture self;
    s_open(&self);
    weft_fake_world_link(self.peer.world, NODE_A, false);
    s_status(&self, WEFT_TO_ANY, NULL, NULL);
    s_advance_ms(&self, 3100);
    assert_true(weft_admin_part_is_done(self.part));
    assert_err(weft_admin_part_error(self.part), WEFT_ERR_LOCAL_NOT_CONNECTED);
    assert_non_null(strstr(weft_admin_part_error_text(self.part), NODE_A));
    assert_null(weft_admin_part_begin(self.part, WEFT_TO_LINK, NULL, 0, "nonsense"));
    peer_fini(&self.peer);
}

static void test_requests__a_missing_topic_ends_the_call_soon(void **state)
{
    struct fixture self;
    s_open(&self);
    self.peer.topic = NULL; // answers "missing: unknown"
    self.peer.version++;
    s_status(&self, WEFT_TO_LEADER, "missing", NULL);
    s_advance_ms(&self, 2500);
    assert_true(weft_admin_part_is_done(self.part));
    assert_err(weft_admin_part_error(self.part), WEFT_ERR_UNKNOWN_TOPIC);
    peer_fini(&self.peer);
}

static void test_requests__a_round_of_many_ends_when_all_are_answered(void **state)
{
    struct fixture self;
    s_open(&self);
    weft_admin_part_many_begin(self.part, 2);
    for (int32_t i = 0; i < 2; i++) {
        struct weft_call *call = weft_admin_part_many_call(self.part, (size_t) i, "orders", i);
        struct weft_list_offsets_request request;
        weft_list_offsets_request_init(&request);
        request.id = call->id;
        request.topic = weft_text("orders");
        request.partition = (uint32_t) i;
        request.at = weft_text("latest");
        weft_list_offsets_request_encode(&request, &call->header);
    }
    weft_admin_part_many_submit(self.part, 3000000);
    s_advance_ms(&self, 100);
    const struct peer_call *call = peer_take(&self.peer, WEFT_API_LIST_OFFSETS);
    int32_t first = (int32_t) call->partition;
    peer_offset(&self.peer, call, 7);
    assert_false(weft_admin_part_many_are_done(self.part));
    s_advance_ms(&self, 4000); // the other leader is silent
    assert_true(weft_admin_part_many_are_done(self.part));
    weft_slice_t reply;
    assert_ok(weft_admin_part_many_result(self.part, (size_t) first, &reply));
    assert_true(reply.size > 0);
    assert_int_equal(weft_admin_part_many_result(self.part, (size_t) (1 - first), &reply), WEFT_ERR_LOCAL_TIMED_OUT);
    weft_admin_part_many_begin(self.part, 1000); // forgets them
    peer_fini(&self.peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests__follow_the_coordinator),
        cmocka_unit_test(test_requests__two_confused_nodes_do_not_make_it_spin),
        cmocka_unit_test(test_requests__a_lost_link_asks_another_node),
        cmocka_unit_test(test_requests__silence_asks_another_node_and_late_answers_count),
        cmocka_unit_test(test_requests__refusals_end_or_are_retried_by_class),
        cmocka_unit_test(test_requests__nobody_there_is_said_with_the_endpoint),
        cmocka_unit_test(test_requests__a_missing_topic_ends_the_call_soon),
        cmocka_unit_test(test_requests__a_round_of_many_ends_when_all_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
