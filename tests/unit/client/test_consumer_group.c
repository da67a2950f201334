// SPDX-License-Identifier: MPL-2.0
// A consumer of a group: what it reads, commits and lets go, with the member's side of the desk and the brokers played by
// the test.
#include "tests/support/client_peer.h"
#include "tests/support/test.h"

#include "lib/client/consumer_part.h"

#include <stdio.h>
#include <string.h>
#include <weft_gen/config.h>

#define NODE_A "tcp://a:1"
#define CALLS_MAX 64

struct told {
    enum weft_consumer_event_type type;
    int32_t partitions[8];
    uint64_t tokens[8];
    int64_t positions[8];
    size_t count;
    char text[256];
};

struct fixture {
    weft_consumer_part_t *part;
    weft_desk_t *desk;
    struct weft_desk_orders orders;
    struct peer peer;
    weft_buf_t batches;
    struct told told[16]; // by the callback
    size_t told_count;
    bool commits_in_callback;
    struct weft_commit_request commit; // decoded last; valid until the next
    struct weft_committed_request committed;
    weft_codec_t codec;
    uint64_t revision;
};

static void s_turn(struct fixture *self)
{
    struct weft_part *part = weft_consumer_part_base(self->part);
    (void) part->ops->turn(part, weft_fake_world_now_us(self->peer.world));
    peer_pump(&self->peer);
    weft_desk_orders(self->desk, &self->orders);
}

static void s_advance_ms(struct fixture *self, int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 10) {
        weft_fake_world_advance(self->peer.world, 10000);
        s_turn(self);
    }
}

static void s_rebalanced(void *context, const struct weft_rebalance *rebalance)
{
    struct fixture *self = context;
    assert_true(self->told_count < 16);
    struct told *told = &self->told[self->told_count++];
    *told = (struct told){.type = rebalance->type, .count = rebalance->count};
    snprintf(told->text, sizeof told->text, "%s", rebalance->text);
    for (size_t i = 0; i < rebalance->count; i++) {
        assert_string_equal(rebalance->partitions[i].topic, "orders");
        told->partitions[i] = rebalance->partitions[i].partition;
        told->tokens[i] = rebalance->partitions[i].token;
        told->positions[i] = rebalance->partitions[i].position;
    }
    uint64_t ticket;
    if (self->commits_in_callback && rebalance->type == WEFT_EVENT_REVOKED)
        assert_ok(weft_consumer_part_commit(self->part, &ticket));
}

static void s_open(struct fixture *self, const char *const *settings)
{
    memset(self, 0, sizeof *self);
    weft_options_t *options = weft_options_new(weft_options_consumer, weft_options_consumer_count, "consumer");
    assert_ok(weft_options_set(options, "bootstrap", NODE_A, NULL));
    assert_ok(weft_options_set(options, "group", "g", NULL));
    for (size_t i = 0; settings && settings[i]; i++) assert_ok(weft_options_set_pair(options, settings[i], NULL));
    struct weft_error error;
    assert_ok(weft_consumer_part_new(options, &self->part, &error));
    weft_options_destroy(&options);
    self->desk = weft_desk_new();
    weft_consumer_part_meet(self->part, self->desk);
    weft_consumer_part_on_rebalance(self->part, s_rebalanced, self);
    weft_buf_init(&self->batches);
    weft_codec_init(&self->codec);
    peer_init(&self->peer, weft_consumer_part_base(self->part), "orders", 4, NODE_A);
    self->peer.coordinator = NODE_A;
    self->peer.offsets_partitions = 4;
    self->peer.offsets_leader = NODE_A;
}

static void s_subscribe(struct fixture *self, enum weft_from from)
{
    const char *pattern = "orders";
    assert_ok(weft_consumer_part_subscribe(self->part, &pattern, 1, (struct weft_position){.from = from}));
    s_turn(self);
}

static void s_close(struct fixture *self)
{
    peer_fini(&self->peer);
    weft_desk_orders_fini(&self->orders);
    weft_desk_drop(&self->desk);
    weft_buf_fini(&self->batches);
    weft_codec_fini(&self->codec);
}

static bool s_poll(struct fixture *self)
{
    bool there = weft_consumer_part_begin_poll(self->part);
    s_turn(self);
    return there;
}

// The member got an assignment: these partitions, each with token 100 + partition + 10 * giving.
static void s_give(struct fixture *self, const int32_t *partitions, size_t count, uint64_t giving)
{
    weft_desk_assignment_t *assignment = weft_desk_assignment_new(5, ++self->revision, count);
    for (size_t i = 0; i < count; i++) {
        assignment->owned[i] = (struct weft_desk_owned){.topic = weft_strdup("orders"),
                                                        .topic_id = self->peer.topic_id,
                                                        .partition = (uint32_t) partitions[i],
                                                        .token = 100 + (uint64_t) partitions[i] + 10 * giving};
    }
    weft_desk_assign(self->desk, &assignment);
    weft_desk_lease(self->desk, weft_fake_world_now_us(self->peer.world) + 10000000);
    s_turn(self);
    (void) s_poll(self);
    s_advance_ms(self, 200); // metadata of the topic
}

// The first call of that api, wherever it stands.
static const struct peer_call *s_take(struct fixture *self, enum weft_api api)
{
    peer_pump(&self->peer);
    for (size_t i = 0; i < self->peer.call_count; i++) {
        if (self->peer.calls[i].api != api) continue;
        struct peer_call call = self->peer.calls[i];
        memmove(&self->peer.calls[1], &self->peer.calls[0], i * sizeof call);
        self->peer.calls[0] = call;
        return peer_take(&self->peer, api);
    }
    fail_msg("no such call");
    return NULL;
}

static size_t s_count(struct fixture *self, enum weft_api api)
{
    peer_pump(&self->peer);
    size_t count = 0;
    for (size_t i = 0; i < self->peer.call_count; i++) count += self->peer.calls[i].api == api;
    return count;
}

static const struct peer_call *s_take_commit(struct fixture *self)
{
    const struct peer_call *call = s_take(self, WEFT_API_COMMIT);
    struct weft_error error;
    assert_ok(weft_commit_request_decode(&self->codec, weft_buf_slice(&call->header), &self->commit, &error));
    assert_true(weft_slice_is_text(self->commit.group, "g"));
    return call;
}

static const struct peer_call *s_take_committed(struct fixture *self)
{
    const struct peer_call *call = s_take(self, WEFT_API_COMMITTED);
    struct weft_error error;
    assert_ok(weft_committed_request_decode(&self->codec, weft_buf_slice(&call->header), &self->committed, &error));
    return call;
}

// refused: index of an entry, -1: none.
static void s_answer_commit(struct fixture *self, const struct peer_call *call, int refused, weft_err_t error)
{
    struct weft_commit_reply reply;
    weft_commit_reply_init(&reply);
    reply.header.id = call->id;
    struct weft_refused_entry entry = {.index = (uint32_t) refused, .error = error};
    reply.refused = &entry;
    reply.refused_count = refused >= 0 ? 1 : 0;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_commit_reply_encode(&reply, &header);
    peer_answer(&self->peer, call, &header);
    s_turn(self);
}

// Every entry asked for has this offset, of epoch 3; refused: index of one that has this error; -1: none.
static void s_answer_committed(struct fixture *self, const struct peer_call *call, int64_t offset, int refused,
                               weft_err_t error)
{
    struct weft_committed_offset offsets[8];
    memset(offsets, 0, sizeof offsets);
    for (size_t i = 0; i < self->committed.entries_count; i++)
        offsets[i] = (struct weft_committed_offset){.topic = weft_text("orders"),
                                                    .topic_id = self->committed.entries[i].topic_id,
                                                    .partition = self->committed.entries[i].partition,
                                                    .offset = offset,
                                                    .epoch = offset >= 0 ? 3 : -1,
                                                    .metadata = weft_text("m"),
                                                    .committed_ms = 77};
    if (refused >= 0) offsets[refused].error = error;
    struct weft_committed_reply reply;
    weft_committed_reply_init(&reply);
    reply.header.id = call->id;
    reply.offsets = offsets;
    reply.offsets_count = self->committed.entries_count;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_committed_reply_encode(&reply, &header);
    peer_answer(&self->peer, call, &header);
    s_turn(self);
}

// Answers a fetch with `count` records of epoch 3 from its offset on.
static int32_t s_feed(struct fixture *self, uint32_t count)
{
    const struct peer_call *call = s_take(self, WEFT_API_FETCH);
    weft_buf_clear(&self->batches);
    weft_test_batch_make(&self->batches, &(struct weft_test_batch){.base_offset = call->fetch.offset,
                                                                   .leader_epoch = 3,
                                                                   .count = count,
                                                                   .value_bytes = 20,
                                                                   .timestamp_ms = 1000});
    int32_t partition = (int32_t) call->partition;
    peer_fetched(&self->peer, call, weft_buf_slice(&self->batches), call->fetch.offset + count, 0);
    s_turn(self);
    return partition;
}

// Owns these partitions, which all resume at `offset`.
static void s_own(struct fixture *self, const int32_t *partitions, size_t count, int64_t offset)
{
    s_subscribe(self, WEFT_FROM_RESET);
    s_give(self, partitions, count, 0);
    s_answer_committed(self, s_take_committed(self), offset, -1, WEFT_OK);
}

static size_t s_read(struct fixture *self, size_t most)
{
    struct weft_record_view record;
    size_t count = 0;
    while (count < most && weft_consumer_part_next(self->part, &record, NULL)) count++;
    return count;
}

static struct weft_consumer_event s_event(struct fixture *self, enum weft_consumer_event_type type)
{
    struct weft_consumer_event event;
    while (weft_consumer_part_event(self->part, &event))
        if (event.type == type) return event;
    fail_msg("no such event");
    return event;
}

static void s_no_event(struct fixture *self, enum weft_consumer_event_type type)
{
    struct weft_consumer_event event;
    while (weft_consumer_part_event(self->part, &event)) assert_int_not_equal(event.type, type);
}

// ---- what is given

static void test_consumer_group__resumes_at_the_committed_offset_behind_its_fence(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_subscribe(&self, WEFT_FROM_RESET);
    assert_int_equal(self.orders.subscription, 1);
    assert_string_equal(self.orders.patterns[0], "orders");
    s_give(&self, (const int32_t[]){1, 2}, 2, 0);
    assert_int_equal(self.told[0].type, WEFT_EVENT_ASSIGNED);
    assert_int_equal(self.told[0].count, 2);
    assert_int_equal(self.told[0].tokens[1], 102);
    assert_int_equal(self.told[0].positions[0], -1);
    assert_int_equal(self.orders.epoch, 5);
    assert_int_equal(self.orders.revision, 1); // carried out
    const struct peer_call *call = s_take_committed(&self);
    assert_int_equal(self.committed.entries_count, 2);
    assert_int_equal(self.committed.entries[0].token, 101);
    assert_true(weft_id_equal(self.committed.entries[0].topic_id, self.peer.topic_id));
    assert_int_equal(s_count(&self, WEFT_API_FETCH), 0); // nothing before the fence
    s_answer_committed(&self, call, 40, -1, WEFT_OK);
    assert_int_equal(s_event(&self, WEFT_EVENT_ASSIGNED).offset, 40);
    const struct peer_call *fetch = s_take(&self, WEFT_API_FETCH);
    assert_int_equal(fetch->fetch.offset, 40);
    assert_int_equal(fetch->fetch.epoch, 3); // rule 18
    assert_int_equal(weft_consumer_part_token(self.part, "orders", 1), 101);
    assert_int_equal(weft_consumer_part_token(self.part, "orders", 3), 0);
    s_close(&self);
}

static void test_consumer_group__begins_by_reset_where_nothing_is_committed(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"reset=earliest", NULL});
    s_own(&self, (const int32_t[]){0}, 1, -1);
    const struct peer_call *call = s_take(&self, WEFT_API_LIST_OFFSETS);
    assert_string_equal(call->at, "earliest");
    peer_offset(&self.peer, call, 7);
    s_turn(&self);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_ASSIGNED);
    assert_int_equal(event.offset, 7);
    (void) s_poll(&self); // the place is committed soon, or a crash would make another be chosen
    call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 7);
    s_answer_commit(&self, call, -1, WEFT_OK);
    s_close(&self);

    s_open(&self, (const char *const[]){"reset=error", NULL});
    s_own(&self, (const int32_t[]){0}, 1, -1);
    assert_int_equal(s_event(&self, WEFT_EVENT_STOPPED).error, WEFT_ERR_OFFSET_OUT_OF_RANGE);
    s_close(&self);

    s_open(&self, (const char *const[]){"reset=error", NULL}); // `at` goes first
    s_subscribe(&self, WEFT_FROM_LATEST);
    s_give(&self, (const int32_t[]){0}, 1, 0);
    s_answer_committed(&self, s_take_committed(&self), -1, -1, WEFT_OK);
    assert_string_equal(s_take(&self, WEFT_API_LIST_OFFSETS)->at, "latest");
    s_close(&self);
}

static void test_consumer_group__a_committed_offset_that_is_gone_is_said(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"reset=earliest", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    peer_refuse(&self.peer, s_take(&self, WEFT_API_FETCH), WEFT_ERR_OFFSET_OUT_OF_RANGE, NULL, 0);
    s_turn(&self);
    peer_offset(&self.peer, s_take(&self, WEFT_API_LIST_OFFSETS), 60);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_RESET);
    assert_int_equal(event.from_offset, 40);
    assert_int_equal(event.offset, 60);
    s_close(&self);

    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0}, 1, 40);
    peer_diverged(&self.peer, s_take(&self, WEFT_API_FETCH), 30);
    event = s_event(&self, WEFT_EVENT_DIVERGED);
    assert_int_equal(event.from_offset, 40);
    assert_int_equal(event.offset, 30);
    s_close(&self);
}

static void test_consumer_group__makes_the_offsets_topic_if_nobody_did(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    self.peer.offsets_partitions = 0;
    s_subscribe(&self, WEFT_FROM_RESET);
    s_give(&self, (const int32_t[]){0}, 1, 0);
    const struct peer_call *call = s_take(&self, WEFT_API_OFFSETS_BEGIN);
    self.peer.offsets_partitions = 4;
    struct weft_offsets_begin_reply reply;
    weft_offsets_begin_reply_init(&reply);
    reply.header.id = call->id;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_offsets_begin_reply_encode(&reply, &header);
    peer_answer(&self.peer, call, &header);
    s_advance_ms(&self, 500);
    s_answer_committed(&self, s_take_committed(&self), 40, -1, WEFT_OK);
    assert_int_equal(s_take(&self, WEFT_API_FETCH)->fetch.offset, 40);
    s_close(&self);
}

static void test_consumer_group__a_fence_is_retried_until_it_is_answered(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_subscribe(&self, WEFT_FROM_RESET);
    s_give(&self, (const int32_t[]){0}, 1, 0);
    static const weft_err_t errors[] = {WEFT_ERR_COORDINATOR_LOADING, WEFT_ERR_NOT_LEADER, WEFT_ERR_OVERLOADED};
    for (size_t i = 0; i < 3; i++) {
        peer_refuse(&self.peer, s_take_committed(&self), errors[i], NULL, 0);
        s_advance_ms(&self, 500);
    }
    s_answer_committed(&self, s_take_committed(&self), 40, -1, WEFT_OK);
    assert_int_equal(s_take(&self, WEFT_API_FETCH)->fetch.offset, 40);
    s_close(&self);
}

static void test_consumer_group__a_seek_in_the_callback_waits_for_the_fence(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_subscribe(&self, WEFT_FROM_RESET);
    s_give(&self, (const int32_t[]){0}, 1, 0);
    assert_ok(weft_consumer_part_seek(self.part, "orders", 0, (struct weft_position){WEFT_FROM_OFFSET, 5}));
    s_turn(&self);
    assert_int_equal(s_count(&self, WEFT_API_FETCH), 0);
    s_answer_committed(&self, s_take_committed(&self), 40, -1, WEFT_OK);
    assert_int_equal(s_take(&self, WEFT_API_FETCH)->fetch.offset, 5);
    s_close(&self);
}

// ---- commits

static void test_consumer_group__commits_what_earlier_polls_returned_at_the_interval(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=1s", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    s_advance_ms(&self, 2000);
    assert_true(s_poll(&self));
    assert_int_equal(s_read(&self, 4), 4);
    s_advance_ms(&self, 2000);
    assert_int_equal(s_count(&self, WEFT_API_COMMIT), 0); // the program is at work
    (void) s_poll(&self);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries_count, 1);
    assert_int_equal(self.commit.entries[0].offset, 44);
    assert_int_equal(self.commit.entries[0].epoch, 3);
    assert_int_equal(self.commit.entries[0].token, 100);
    uint64_t n = self.commit.n;
    s_answer_commit(&self, call, -1, WEFT_OK);
    s_advance_ms(&self, 2000);
    (void) s_poll(&self);
    assert_int_equal(s_count(&self, WEFT_API_COMMIT), 0); // nothing new
    assert_int_equal(s_read(&self, 1), 1);
    s_advance_ms(&self, 2000);
    (void) s_poll(&self);
    (void) s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 45);
    assert_true(self.commit.n > n);
    s_close(&self);
}

static void test_consumer_group__of_many_commits_the_newest_wins(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    uint64_t first, ticket, last = 0;
    assert_int_equal(s_read(&self, 1), 1);
    assert_ok(weft_consumer_part_commit(self.part, &first));
    s_turn(&self);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 41); // the last one too
    for (int i = 0; i < 5; i++) {
        assert_int_equal(s_read(&self, 1), 1);
        assert_ok(weft_consumer_part_commit(self.part, &ticket));
        s_turn(&self);
        last = ticket;
    }
    assert_int_equal(s_count(&self, WEFT_API_COMMIT), 0); // one at a time
    weft_err_t err;
    assert_false(weft_consumer_part_committed(self.part, first, &err));
    s_answer_commit(&self, call, -1, WEFT_OK);
    call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 46);
    assert_false(weft_consumer_part_committed(self.part, last, &err));
    s_answer_commit(&self, call, -1, WEFT_OK);
    assert_true(weft_consumer_part_committed(self.part, last, &err));
    assert_ok(err);
    s_close(&self);
}

static void test_consumer_group__a_commit_that_is_not_answered_is_sent_again_with_the_newest(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 1), 1);
    uint64_t ticket;
    assert_ok(weft_consumer_part_commit(self.part, &ticket));
    s_turn(&self);
    peer_refuse(&self.peer, s_take_commit(&self), WEFT_ERR_LEADER_CHANGED, NULL, 0);
    uint64_t n = self.commit.n;
    assert_int_equal(s_read(&self, 2), 2);
    assert_ok(weft_consumer_part_commit(self.part, &ticket));
    s_advance_ms(&self, 500);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries_count, 1);
    assert_int_equal(self.commit.entries[0].offset, 43);
    assert_true(self.commit.n > n);
    s_answer_commit(&self, call, -1, WEFT_OK);
    weft_err_t err;
    assert_true(weft_consumer_part_committed(self.part, ticket, &err));
    assert_ok(err);
    s_close(&self);
}

static void test_consumer_group__a_commit_that_nobody_answers_is_given_up_and_told(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", "request.timeout.ms=2s", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 1), 1);
    uint64_t ticket;
    assert_ok(weft_consumer_part_commit(self.part, &ticket));
    s_advance_ms(&self, 2500);
    weft_err_t err;
    assert_true(weft_consumer_part_committed(self.part, ticket, &err));
    assert_int_equal(err, WEFT_ERR_LOCAL_TIMED_OUT);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_COMMIT_FAILED);
    assert_int_equal(event.offset, 41);
    assert_int_equal(event.from_offset, 40); // what is known to be committed
    s_close(&self);
}

static void test_consumer_group__commits_offsets_of_the_programs_choice(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", NULL});
    s_own(&self, (const int32_t[]){0, 1}, 2, 40);
    struct weft_group_offset list[] = {
        {.topic = "orders", .partition = 0, .offset = 12, .leader_epoch = 2},
        {.topic = "orders", .partition = 1, .offset = 90, .leader_epoch = -1, .metadata = "x"}};
    uint64_t ticket;
    assert_ok(weft_consumer_part_commit_offsets(self.part, list, 2, &ticket));
    s_turn(&self);
    (void) s_take_commit(&self);
    assert_int_equal(self.commit.entries_count, 2);
    assert_int_equal(self.commit.entries[0].offset, 12);
    assert_int_equal(self.commit.entries[0].epoch, 2);
    assert_true(weft_slice_is_text(self.commit.entries[1].metadata, "x"));
    list[1].partition = 3;
    assert_int_equal(weft_consumer_part_commit_offsets(self.part, list, 2, &ticket), WEFT_ERR_NOT_FOUND);
    list[1].partition = 1;
    list[1].offset = -5;
    assert_int_equal(weft_consumer_part_commit_offsets(self.part, list, 2, &ticket), WEFT_ERR_INVALID_ARGUMENT);
    static char long_text[5000];
    memset(long_text, 'x', sizeof long_text - 1);
    list[1].offset = 5;
    list[1].metadata = long_text;
    assert_int_equal(weft_consumer_part_commit_offsets(self.part, list, 2, &ticket), WEFT_ERR_METADATA_TOO_LARGE);
    s_close(&self);
}

static void test_consumer_group__a_fenced_commit_loses_that_partition_only(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", NULL});
    s_own(&self, (const int32_t[]){0, 1}, 2, 40);
    int32_t fed = s_feed(&self, 10);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 12), 12);
    uint64_t ticket;
    assert_ok(weft_consumer_part_commit(self.part, &ticket));
    s_turn(&self);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries_count, 2);
    int index = self.commit.entries[0].partition == (uint32_t) fed ? 1 : 0; // the one with unread records
    int32_t other = 1 - fed;
    s_answer_commit(&self, call, index, WEFT_ERR_FENCED);
    weft_err_t err;
    assert_true(weft_consumer_part_committed(self.part, ticket, &err));
    assert_int_equal(err, WEFT_ERR_FENCED);
    assert_int_equal(s_read(&self, 100), 0); // nothing of it is handed out any more
    (void) s_poll(&self);
    assert_int_equal(self.told[self.told_count - 1].type, WEFT_EVENT_LOST);
    assert_int_equal(self.told[self.told_count - 1].count, 1);
    assert_int_equal(self.told[self.told_count - 1].partitions[0], other);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_LOST);
    assert_int_equal(event.partition, other);
    assert_int_equal(weft_consumer_part_token(self.part, "orders", other), 0);
    size_t told = self.told_count;
    s_give(&self, (const int32_t[]){fed}, 1, 0); // the group catches up: nothing is said twice
    assert_int_equal(self.told_count, told);
    s_close(&self);
}

// ---- what is taken

static void test_consumer_group__lets_go_once_its_commit_is_answered(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0, 1}, 2, 40);
    int32_t fed = s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    self.commits_in_callback = true;
    s_give(&self, (const int32_t[]){1 - fed}, 1, 0);
    assert_int_equal(self.orders.revision, 1);
    assert_int_equal(self.told_count, 1);    // ASSIGNED only
    assert_int_equal(s_read(&self, 100), 0); // no more of what goes
    (void) s_poll(&self);
    assert_int_equal(self.told_count, 1);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].partition, fed);
    assert_int_equal(self.commit.entries[0].offset, 44);
    s_answer_commit(&self, call, -1, WEFT_OK);
    assert_int_equal(self.orders.revision, 1); // a step of the program's is needed
    (void) s_poll(&self);
    assert_int_equal(self.told_count, 2);
    assert_int_equal(self.told[1].type, WEFT_EVENT_REVOKED);
    assert_int_equal(self.told[1].partitions[0], fed);
    assert_int_equal(self.told[1].positions[0], 44);
    (void) s_poll(&self);
    assert_int_equal(self.orders.revision, 2);
    assert_int_equal(s_event(&self, WEFT_EVENT_REVOKED).partition, fed);
    s_close(&self);
}

static void test_consumer_group__what_the_callback_commits_is_answered_first(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"auto.commit.ms=0", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    self.commits_in_callback = true;
    s_give(&self, NULL, 0, 0);
    assert_int_equal(self.told_count, 2);
    (void) s_poll(&self);
    assert_int_equal(self.orders.revision, 1);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 44);
    s_answer_commit(&self, call, -1, WEFT_OK);
    (void) s_poll(&self);
    assert_int_equal(self.orders.revision, 2);
    struct weft_partition_position position;
    assert_false(weft_consumer_part_position(self.part, 0, &position));
    s_close(&self);
}

static void test_consumer_group__others_are_read_on_while_one_is_let_go(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0, 1}, 2, 40);
    int32_t first = s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 1), 1);
    s_give(&self, (const int32_t[]){1 - first}, 1, 0);
    assert_int_equal(s_feed(&self, 5), 1 - first);
    assert_true(s_poll(&self));
    assert_int_equal(s_read(&self, 100), 5);
    s_close(&self);
}

static void test_consumer_group__a_commit_that_hangs_does_not_hold_a_partition_for_ever(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"release.ms=4s", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    s_give(&self, NULL, 0, 0);
    s_advance_ms(&self, 2100);
    (void) s_poll(&self);
    (void) s_poll(&self);
    assert_int_equal(self.orders.revision, 2);
    assert_int_equal(s_event(&self, WEFT_EVENT_COMMIT_FAILED).offset, 44);
    s_close(&self);
}

static void test_consumer_group__the_same_partition_given_anew_is_let_go_first(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0}, 1, 40);
    s_give(&self, (const int32_t[]){0}, 1, 1);
    assert_int_equal(self.told[1].type, WEFT_EVENT_REVOKED);
    assert_int_equal(self.told[2].type, WEFT_EVENT_ASSIGNED);
    assert_int_equal(self.told[2].tokens[0], 110);
    (void) s_take_committed(&self);
    assert_int_equal(self.committed.entries[0].token, 110);
    s_close(&self);
}

static void test_consumer_group__what_is_lost_is_neither_handed_out_nor_committed(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0, 1}, 2, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    weft_desk_lost(self.desk, "the group took this member for dead");
    s_turn(&self);
    assert_int_equal(s_read(&self, 100), 0);
    assert_int_equal(self.told_count, 1); // between polls nothing is called
    (void) s_poll(&self);
    assert_int_equal(self.told[1].type, WEFT_EVENT_LOST);
    assert_int_equal(self.told[1].count, 2);
    assert_string_equal(self.told[1].text, "the group took this member for dead");
    s_advance_ms(&self, 6000);
    (void) s_poll(&self);
    assert_int_equal(s_count(&self, WEFT_API_COMMIT), 0);
    struct weft_consumer_event event = s_event(&self, WEFT_EVENT_LOST);
    assert_int_equal(event.offset, 40); // committed last
    assert_int_equal(s_event(&self, WEFT_EVENT_LOST).partition, 1);
    struct weft_partition_position position;
    assert_false(weft_consumer_part_position(self.part, 0, &position));
    s_give(&self, (const int32_t[]){0}, 1, 2);
    assert_int_equal(self.told[2].type, WEFT_EVENT_ASSIGNED);
    s_answer_committed(&self, s_take_committed(&self), 42, -1, WEFT_OK);
    s_no_event(&self, WEFT_EVENT_LOST);
    s_close(&self);
}

// Rule 22.
static void test_consumer_group__exclusive_hands_out_nothing_once_the_lease_is_over(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"exclusive=true", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 2), 2);
    int64_t end_us = weft_desk_lease_us(self.desk);
    weft_fake_world_advance(self.peer.world,
                            end_us - weft_fake_world_now_us(self.peer.world)); // no turn: it was stopped
    assert_int_equal(s_read(&self, 1), 0);
    weft_desk_lease(self.desk, end_us + 10000000); // heard again, nothing was lost
    assert_int_equal(s_read(&self, 1), 1);
    weft_desk_lost(self.desk, "");
    weft_desk_lease(self.desk, end_us + 10000000); // another membership's
    assert_int_equal(s_read(&self, 1), 0);
    s_close(&self);
}

static void test_consumer_group__without_exclusive_it_goes_on(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    s_advance_ms(&self, 20000);
    weft_desk_say_unheard(self.desk, true);
    s_turn(&self);
    assert_int_equal(s_read(&self, 2), 2);
    assert_int_equal(s_event(&self, WEFT_EVENT_UNHEARD).error, WEFT_ERR_COORDINATOR_UNAVAILABLE);
    s_close(&self);
}

// ---- close

static void test_consumer_group__close_commits_what_is_done_with_and_leaves(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    weft_consumer_part_close(self.part);
    weft_err_t err;
    assert_false(weft_consumer_part_close_step(self.part, &err));
    s_turn(&self);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 43); // the program may still be at 43
    s_answer_commit(&self, call, -1, WEFT_OK);
    assert_int_equal(self.orders.leave, WEFT_DESK_STAY);
    assert_false(weft_consumer_part_close_step(self.part, &err));
    assert_int_equal(self.told[1].type, WEFT_EVENT_REVOKED);
    s_turn(&self);
    assert_int_equal(self.orders.leave, WEFT_DESK_LEAVE);
    weft_desk_say_left(self.desk);
    s_turn(&self);
    assert_true(weft_consumer_part_close_step(self.part, &err));
    assert_ok(err);
    s_close(&self);
}

static void test_consumer_group__close_commits_all_that_was_read_to_the_end(void **state)
{
    struct fixture self;
    s_open(&self, (const char *const[]){"instance=i", NULL});
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 100), 10); // asked for more, and there was none
    weft_consumer_part_close(self.part);
    weft_err_t err;
    assert_false(weft_consumer_part_close_step(self.part, &err));
    s_turn(&self);
    const struct peer_call *call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].offset, 50);
    s_answer_commit(&self, call, -1, WEFT_OK);
    assert_false(weft_consumer_part_close_step(self.part, &err));
    s_turn(&self);
    assert_int_equal(self.orders.leave, WEFT_DESK_PAUSE); // a static member
    s_close(&self);
}

static void test_consumer_group__close_goes_on_when_all_is_lost_meanwhile(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0}, 1, 40);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 100), 10);
    weft_consumer_part_close(self.part);
    weft_err_t err;
    assert_false(weft_consumer_part_close_step(self.part, &err));
    s_turn(&self);
    weft_desk_lost(self.desk, "dead");
    s_turn(&self);
    assert_false(weft_consumer_part_close_step(self.part, &err));
    s_turn(&self);
    assert_int_equal(self.told[1].type, WEFT_EVENT_LOST);
    assert_int_equal(self.orders.leave, WEFT_DESK_LEAVE);
    s_close(&self);
}

// ---- without membership

static void test_consumer_group__what_is_assigned_resumes_and_commits_without_membership(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    struct weft_assignment assignment = {.topic = "orders", .partition = 0};
    assert_ok(weft_consumer_part_assign(self.part, &assignment, 1));
    s_advance_ms(&self, 300);
    assert_int_equal(self.orders.subscription, 0);
    const struct peer_call *call = s_take_committed(&self);
    assert_int_equal(self.committed.entries[0].token, 0);
    s_answer_committed(&self, call, 40, -1, WEFT_OK);
    (void) s_feed(&self, 10);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 4), 4);
    uint64_t ticket;
    assert_ok(weft_consumer_part_commit(self.part, &ticket));
    s_turn(&self);
    call = s_take_commit(&self);
    assert_int_equal(self.commit.entries[0].token, 0);
    assert_int_equal(self.commit.entries[0].offset, 44);
    s_answer_commit(&self, call, 0, WEFT_ERR_FENCED); // members hold it now
    weft_err_t err;
    assert_true(weft_consumer_part_committed(self.part, ticket, &err));
    assert_int_equal(err, WEFT_ERR_FENCED);
    assert_int_equal(s_event(&self, WEFT_EVENT_COMMIT_FAILED).error, WEFT_ERR_FENCED);
    assert_int_equal(s_read(&self, 1), 1); // reading goes on
    weft_consumer_part_close(self.part);
    assert_false(weft_consumer_part_close_step(self.part, &err));
    s_turn(&self);
    s_answer_commit(&self, s_take_commit(&self), -1, WEFT_OK);
    assert_true(weft_consumer_part_close_step(self.part, &err));
    assert_int_equal(self.told_count, 0); // nothing was given, nothing is revoked
    s_close(&self);
}

static void test_consumer_group__looks_up_what_is_committed(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    struct weft_committed list[] = {{.topic = "orders", .partition = 2}, {.topic = "orders", .partition = 3}};
    assert_ok(weft_consumer_part_look(self.part, list, 2, 1000000));
    s_advance_ms(&self, 200);
    weft_err_t err;
    assert_false(weft_consumer_part_looked(self.part, list, &err));
    const struct peer_call *call = s_take_committed(&self);
    assert_int_equal(self.committed.entries[0].token, 0); // raises nothing
    s_answer_committed(&self, call, 66, -1, WEFT_OK);
    assert_true(weft_consumer_part_looked(self.part, list, &err));
    assert_ok(err);
    assert_int_equal(list[1].offset, 66);
    assert_int_equal(list[1].partition, 3);
    assert_string_equal(list[1].metadata, "m");
    assert_int_equal(list[1].committed_ms, 77);
    s_close(&self);
}

static void test_consumer_group__a_member_can_not_assign(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_subscribe(&self, WEFT_FROM_RESET);
    struct weft_assignment assignment = {.topic = "orders", .partition = 0};
    assert_int_equal(weft_consumer_part_assign(self.part, &assignment, 1), WEFT_ERR_INVALID_ARGUMENT);
    weft_desk_refuse(self.desk, WEFT_ERR_GROUP_FULL, "it is full");
    s_turn(&self);
    assert_int_equal(weft_consumer_part_fatal(self.part)->code, WEFT_ERR_GROUP_FULL);
    s_subscribe(&self, WEFT_FROM_RESET);
    assert_ok(weft_consumer_part_fatal(self.part)->code);
    s_close(&self);
}

static void test_consumer_group__is_at_its_end_once_the_group_is_settled(void **state)
{
    struct fixture self;
    s_open(&self, NULL);
    s_own(&self, (const int32_t[]){0}, 1, 40);
    assert_false(weft_consumer_part_at_end(self.part));
    weft_desk_settle(self.desk, true);
    s_turn(&self);
    assert_false(weft_consumer_part_at_end(self.part)); // it has an end yet to be heard of
    (void) s_feed(&self, 2);
    (void) s_poll(&self);
    assert_int_equal(s_read(&self, 100), 2);
    assert_true(weft_consumer_part_at_end(self.part));
    s_close(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consumer_group__resumes_at_the_committed_offset_behind_its_fence),
        cmocka_unit_test(test_consumer_group__begins_by_reset_where_nothing_is_committed),
        cmocka_unit_test(test_consumer_group__a_committed_offset_that_is_gone_is_said),
        cmocka_unit_test(test_consumer_group__makes_the_offsets_topic_if_nobody_did),
        cmocka_unit_test(test_consumer_group__a_fence_is_retried_until_it_is_answered),
        cmocka_unit_test(test_consumer_group__a_seek_in_the_callback_waits_for_the_fence),
        cmocka_unit_test(test_consumer_group__commits_what_earlier_polls_returned_at_the_interval),
        cmocka_unit_test(test_consumer_group__of_many_commits_the_newest_wins),
        cmocka_unit_test(test_consumer_group__a_commit_that_is_not_answered_is_sent_again_with_the_newest),
        cmocka_unit_test(test_consumer_group__a_commit_that_nobody_answers_is_given_up_and_told),
        cmocka_unit_test(test_consumer_group__commits_offsets_of_the_programs_choice),
        cmocka_unit_test(test_consumer_group__a_fenced_commit_loses_that_partition_only),
        cmocka_unit_test(test_consumer_group__lets_go_once_its_commit_is_answered),
        cmocka_unit_test(test_consumer_group__what_the_callback_commits_is_answered_first),
        cmocka_unit_test(test_consumer_group__others_are_read_on_while_one_is_let_go),
        cmocka_unit_test(test_consumer_group__a_commit_that_hangs_does_not_hold_a_partition_for_ever),
        cmocka_unit_test(test_consumer_group__the_same_partition_given_anew_is_let_go_first),
        cmocka_unit_test(test_consumer_group__what_is_lost_is_neither_handed_out_nor_committed),
        cmocka_unit_test(test_consumer_group__exclusive_hands_out_nothing_once_the_lease_is_over),
        cmocka_unit_test(test_consumer_group__without_exclusive_it_goes_on),
        cmocka_unit_test(test_consumer_group__close_commits_what_is_done_with_and_leaves),
        cmocka_unit_test(test_consumer_group__close_commits_all_that_was_read_to_the_end),
        cmocka_unit_test(test_consumer_group__close_goes_on_when_all_is_lost_meanwhile),
        cmocka_unit_test(test_consumer_group__what_is_assigned_resumes_and_commits_without_membership),
        cmocka_unit_test(test_consumer_group__looks_up_what_is_committed),
        cmocka_unit_test(test_consumer_group__a_member_can_not_assign),
        cmocka_unit_test(test_consumer_group__is_at_its_end_once_the_group_is_settled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
