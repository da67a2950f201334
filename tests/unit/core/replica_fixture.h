// SPDX-License-Identifier: MPL-2.0
/** One replica and what it is expected to do next, for the tests that play it event by event. */
#ifndef WEFT_TESTS_UNIT_CORE_REPLICA_FIXTURE_H
#define WEFT_TESTS_UNIT_CORE_REPLICA_FIXTURE_H

#include "../../../lib/core/replica.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SELF 1

static inline weft_id_t s_id(uint8_t n)
{
    return (weft_id_t){.bytes = {n}};
}

static inline weft_replica_t *s_new(size_t waiters_max)
{
    return weft_replica_new(&(struct weft_replica_config){.self = SELF,
                                                          .sessions_max = 100,
                                                          .session_expiry_ms = 1000000,
                                                          .waiters_max = waiters_max,
                                                          .replica_lag_ms = 1000,
                                                          .incarnation = s_id(1)});
}

// Brokers 1 to `members`, the first `insync` of them in sync.
static inline struct weft_replica_assignment s_assignment(int32_t leader, int32_t epoch, int32_t partition_epoch,
                                                          size_t members, size_t insync, uint32_t min_insync)
{
    struct weft_replica_assignment assignment = {.leader_epoch = epoch,
                                                 .partition_epoch = partition_epoch,
                                                 .leader = leader,
                                                 .min_insync = min_insync,
                                                 .member_count = members};
    for (size_t i = 0; i < members; i++) {
        assignment.members[i].broker = (int32_t) i + 1;
        assignment.members[i].incarnation = s_id((uint8_t) (i + 1));
        assignment.members[i].in_sync = i < insync;
    }
    return assignment;
}

static inline weft_err_t s_assign(weft_replica_t *replica, struct weft_replica_assignment assignment)
{
    weft_err_t err = weft_replica_assign(replica, &assignment, 0);
    weft_replica_check(replica);
    return err;
}

static inline weft_replica_t *s_leader(size_t members, size_t insync, uint32_t min_insync)
{
    weft_replica_t *replica = s_new(100);
    weft_replica_opened(replica, 0, 0, 0, -1);
    assert_int_equal(s_assign(replica, s_assignment(SELF, 5, 1, members, insync, min_insync)), WEFT_OK);
    return replica;
}

static inline struct weft_batch s_batch(int64_t producer, int32_t sequence, uint32_t count)
{
    return (struct weft_batch){.format = 1,
                               .last_offset_delta = count - 1,
                               .count = count,
                               .producer_id = producer,
                               .producer_epoch = 0,
                               .base_sequence = producer < 0 ? -1 : sequence};
}

static inline enum weft_replica_verdict s_produce_batch(weft_replica_t *replica, uint64_t token, enum weft_acks acks,
                                                        bool durable, struct weft_batch batch)
{
    struct weft_replica_produce produce = {.token = token, .acks = acks, .durable = durable, .batch = &batch};
    int64_t base_offset = -1;
    int32_t epoch = -1;
    enum weft_replica_verdict verdict = weft_replica_produce(replica, &produce, &base_offset, &epoch);
    if (verdict == WEFT_REPLICA_APPEND) {
        assert_int_equal(base_offset, weft_replica_log_end(replica));
        assert_int_equal(epoch, weft_replica_leader_epoch(replica));
        batch.base_offset = base_offset;
        batch.leader_epoch = epoch;
        weft_replica_appended(replica, &produce, &batch);
    }
    weft_replica_check(replica);
    return verdict;
}

static inline enum weft_replica_verdict s_produce(weft_replica_t *replica, uint64_t token, enum weft_acks acks,
                                                  bool durable)
{
    return s_produce_batch(replica, token, acks, durable, s_batch(-1, 0, 10));
}

static inline void s_expect_none(weft_replica_t *replica)
{
    struct weft_replica_effect effect;
    assert_false(weft_replica_effect(replica, &effect));
}

static inline void s_expect_mark(weft_replica_t *replica, enum weft_replica_effect_type type, int64_t offset)
{
    struct weft_replica_effect effect;
    assert_true(weft_replica_effect(replica, &effect));
    assert_int_equal(effect.type, type);
    assert_int_equal(effect.offset, offset);
}

static inline void s_expect_reply(weft_replica_t *replica, uint64_t token, weft_err_t code, int64_t offset,
                                  enum weft_level level)
{
    struct weft_replica_effect effect;
    assert_true(weft_replica_effect(replica, &effect));
    assert_int_equal(effect.type, WEFT_REPLICA_REPLY);
    assert_int_equal(effect.token, token);
    assert_int_equal(effect.code, code);
    assert_int_equal(effect.offset, offset);
    assert_int_equal(effect.level, level);
}

static inline void s_synced(weft_replica_t *replica, int64_t end)
{
    weft_replica_synced(replica, end);
    weft_replica_check(replica);
}

#endif
