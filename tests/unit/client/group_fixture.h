// SPDX-License-Identifier: MPL-2.0
/**
 * A consumer part of a group for unit tests: the member's side of the desk and the brokers are played by the test.
 */
#ifndef WEFT_TESTS_UNIT_CLIENT_GROUP_FIXTURE_H
#define WEFT_TESTS_UNIT_CLIENT_GROUP_FIXTURE_H

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

static inline void s_turn(struct fixture *self)
{
    struct weft_part *part = weft_consumer_part_base(self->part);
    (void) part->ops->turn(part, weft_fake_world_now_us(self->peer.world));
    peer_pump(&self->peer);
    weft_desk_orders(self->desk, &self->orders);
}

static inline void s_advance_ms(struct fixture *self, int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 10) {
        weft_fake_world_advance(self->peer.world, 10000);
        s_turn(self);
    }
}

static inline void s_rebalanced(void *context, const struct weft_rebalance *rebalance)
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

static inline void s_open(struct fixture *self, const char *const *settings)
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

static inline void s_subscribe(struct fixture *self, enum weft_from from)
{
    const char *pattern = "orders";
    assert_ok(weft_consumer_part_subscribe(self->part, &pattern, 1, (struct weft_position){.from = from}));
    s_turn(self);
}

static inline void s_close(struct fixture *self)
{
    peer_fini(&self->peer);
    weft_desk_orders_fini(&self->orders);
    weft_desk_drop(&self->desk);
    weft_buf_fini(&self->batches);
    weft_codec_fini(&self->codec);
}

static inline bool s_poll(struct fixture *self)
{
    bool there = weft_consumer_part_begin_poll(self->part);
    s_turn(self);
    return there;
}

// The member got an assignment: these partitions, each with token 100 + partition + 10 * giving.
static inline void s_give(struct fixture *self, const int32_t *partitions, size_t count, uint64_t giving)
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
static inline const struct peer_call *s_take(struct fixture *self, enum weft_api api)
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

static inline size_t s_count(struct fixture *self, enum weft_api api)
{
    peer_pump(&self->peer);
    size_t count = 0;
    for (size_t i = 0; i < self->peer.call_count; i++) count += self->peer.calls[i].api == api;
    return count;
}

static inline const struct peer_call *s_take_commit(struct fixture *self)
{
    const struct peer_call *call = s_take(self, WEFT_API_COMMIT);
    struct weft_error error;
    assert_ok(weft_commit_request_decode(&self->codec, weft_buf_slice(&call->header), &self->commit, &error));
    assert_true(weft_slice_is_text(self->commit.group, "g"));
    return call;
}

static inline const struct peer_call *s_take_committed(struct fixture *self)
{
    const struct peer_call *call = s_take(self, WEFT_API_COMMITTED);
    struct weft_error error;
    assert_ok(weft_committed_request_decode(&self->codec, weft_buf_slice(&call->header), &self->committed, &error));
    return call;
}

// refused: index of an entry, -1: none.
static inline void s_answer_commit(struct fixture *self, const struct peer_call *call, int refused, weft_err_t error)
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

static inline void s_answer_token(struct fixture *self, uint64_t token)
{
    const struct peer_call *call = s_take(self, WEFT_API_GROUP_TOKEN);
    struct weft_group_token_reply reply;
    weft_group_token_reply_init(&reply);
    reply.header.id = call->id;
    reply.token = token;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_group_token_reply_encode(&reply, &header);
    peer_answer(&self->peer, call, &header);
    s_turn(self);
}

// Every entry asked for has this offset, of epoch 3; refused: index of one that has this error; -1: none.
static inline void s_answer_committed(struct fixture *self, const struct peer_call *call, int64_t offset, int refused,
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
static inline int32_t s_feed(struct fixture *self, uint32_t count)
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
static inline void s_own(struct fixture *self, const int32_t *partitions, size_t count, int64_t offset)
{
    s_subscribe(self, WEFT_FROM_RESET);
    s_give(self, partitions, count, 0);
    s_answer_committed(self, s_take_committed(self), offset, -1, WEFT_OK);
}

static inline size_t s_read(struct fixture *self, size_t most)
{
    struct weft_record_view record;
    size_t count = 0;
    while (count < most && weft_consumer_part_next(self->part, &record, NULL)) count++;
    return count;
}

static inline struct weft_consumer_event s_event(struct fixture *self, enum weft_consumer_event_type type)
{
    struct weft_consumer_event event;
    while (weft_consumer_part_event(self->part, &event))
        if (event.type == type) return event;
    fail_msg("no such event");
    return event;
}

static inline void s_no_event(struct fixture *self, enum weft_consumer_event_type type)
{
    struct weft_consumer_event event;
    while (weft_consumer_part_event(self->part, &event)) assert_int_not_equal(event.type, type);
}

#endif
