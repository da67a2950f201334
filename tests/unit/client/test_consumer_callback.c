// SPDX-License-Identifier: MPL-2.0
// A consumer of a group: what happens while its callback works, which may run the part by a commit that it waits for.
#include "group_fixture.h"

struct callback {
    struct fixture *fixture;
    weft_err_t refused; // of its commit; WEFT_OK: all is lost meanwhile
    size_t revoked, lost;
};

static void s_work(void *context, const struct weft_rebalance *rebalance)
{
    struct callback *self = context;
    struct fixture *fixture = self->fixture;
    if (rebalance->type == WEFT_EVENT_LOST) self->lost += rebalance->count;
    if (rebalance->type != WEFT_EVENT_REVOKED) return;
    self->revoked += rebalance->count;
    uint64_t ticket;
    assert_ok(weft_consumer_part_commit(fixture->part, &ticket));
    s_turn(fixture);
    const struct peer_call *call = s_take_commit(fixture);
    if (self->refused)
        s_answer_commit(fixture, call, 0, self->refused);
    else
        weft_desk_lost(fixture->desk, "the group took this member for dead");
    s_turn(fixture);
}

static void s_read_four(struct fixture *self, struct callback *callback)
{
    s_open(self, (const char *const[]){"auto.commit.ms=0", NULL});
    s_own(self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(self, 10);
    (void) s_poll(self);
    assert_int_equal(s_read(self, 4), 4);
    callback->fixture = self;
    weft_consumer_part_on_rebalance(self->part, s_work, callback);
}

static void test_consumer_callback__all_may_be_lost_while_it_works(void **state)
{
    struct fixture self;
    struct callback callback = {.refused = WEFT_OK};
    s_read_four(&self, &callback);
    s_give(&self, NULL, 0, 0);
    (void) s_poll(&self);
    assert_int_equal(callback.revoked, 1);
    assert_int_equal(callback.lost, 0);        // it was told so already
    assert_int_equal(self.orders.revision, 0); // of a membership that is no more nothing is carried out
    struct weft_partition_position position;
    assert_false(weft_consumer_part_position(self.part, 0, &position));
    s_give(&self, (const int32_t[]){0}, 1, 2);
    (void) s_take_committed(&self);
    assert_int_equal(self.committed.entries[0].token, 120);
    s_close(&self);
}

static void test_consumer_callback__what_is_fenced_while_it_works_can_be_given_anew(void **state)
{
    struct fixture self;
    struct callback callback = {.refused = WEFT_ERR_FENCED};
    s_read_four(&self, &callback);
    s_give(&self, (const int32_t[]){0}, 1, 1);
    (void) s_poll(&self);
    assert_int_equal(callback.revoked, 1);
    assert_int_equal(self.orders.revision, 2);
    assert_int_equal(weft_consumer_part_token(self.part, "orders", 0), 110);
    (void) s_take_committed(&self);
    assert_int_equal(self.committed.entries[0].token, 110);
    s_close(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consumer_callback__all_may_be_lost_while_it_works),
        cmocka_unit_test(test_consumer_callback__what_is_fenced_while_it_works_can_be_given_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
