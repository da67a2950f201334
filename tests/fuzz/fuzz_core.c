// SPDX-License-Identifier: MPL-2.0
/*
 * Fuzzes the pure core with sequences of events: the input is a program, a byte an event, more bytes its arguments.
 *
 * A replica runs over a toy log (headers only). After each event all invariants are checked; each answer is compared with what the
 * toy knows: no ack above its mark (R4), one answer a request at most, sessions as the log's prefix gives them (R7). The first byte chooses:
 * replica, sessions' snapshot, cluster commands or the cluster's snapshot.
 */
#include "../../lib/base/assert.h"
#include "../../lib/core/cluster.h"
#include "../../lib/core/replica.h"

#include <stdlib.h>
#include <string.h>

#define BATCHES_MAX 512
#define TOKENS_MAX 1024
#define SESSIONS_MAX 4
#define EXPIRY_MS INT64_MAX
#define MEMBERS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at, *end;
};

struct world {
    struct input input;
    weft_replica_t *replica;
    struct weft_batch log[BATCHES_MAX];
    size_t batch_count;
    int64_t start, synced, now_ms, peer_end[MEMBERS + 1];
    int32_t epoch, partition_epoch;
    uint8_t incarnation;
    uint64_t next_token;
    int64_t token_end[TOKENS_MAX]; // end offset that must be reached; -1: answered or not known
};

static uint32_t s_byte(struct input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

static int64_t s_end(const struct world *world)
{
    return world->batch_count == 0 ? world->start : weft_batch_next_offset(&world->log[world->batch_count - 1]);
}

static int32_t s_last_epoch(const struct world *world)
{
    return world->batch_count == 0 ? -1 : world->log[world->batch_count - 1].leader_epoch;
}

static weft_id_t s_id(uint32_t broker, uint8_t incarnation)
{
    return (weft_id_t){.bytes = {(uint8_t) broker, incarnation}};
}

static void s_replay(const struct world *world, weft_sessions_t *sessions)
{
    weft_sessions_clear(sessions);
    for (size_t i = 0; i < world->batch_count; i++) weft_sessions_apply(sessions, &world->log[i]);
}

static void s_cut(struct world *world, int64_t end)
{
    while (world->batch_count > 0 && s_end(world) > end) world->batch_count--;
    if (s_end(world) < world->start) world->batch_count = 0; // the log begins and ends at its start
    if (world->synced > s_end(world)) world->synced = s_end(world);
}

static void s_reply(struct world *world, const struct weft_replica_effect *effect)
{
    int64_t end = world->token_end[effect->token];
    weft_assert(end >= 0); // asked for, and not answered before
    world->token_end[effect->token] = -1;
    if (effect->code != WEFT_OK) return;
    if (effect->level == WEFT_LEVEL_DURABLE) weft_assert(effect->offset < weft_replica_durable(world->replica));
    if (effect->level >= WEFT_LEVEL_COMMITTED) weft_assert(effect->offset < weft_replica_committed(world->replica));
    weft_assert(effect->offset < weft_replica_log_end(world->replica));
}

static void s_effects(struct world *world)
{
    struct weft_replica_effect effect;
    while (weft_replica_effect(world->replica, &effect)) {
        if (effect.type == WEFT_REPLICA_REPLY) s_reply(world, &effect);
        if (effect.type != WEFT_REPLICA_TRUNCATE) continue;
        s_cut(world, effect.offset);
        s_replay(world, weft_replica_sessions(world->replica));
        weft_replica_truncated(world->replica, s_end(world), s_last_epoch(world));
    }
}

// ---- events

static void s_open(struct world *world)
{
    weft_replica_destroy(&world->replica);
    for (size_t i = 0; i < TOKENS_MAX; i++) world->token_end[i] = -1; // nobody is there to be answered
    world->incarnation++;
    world->replica = weft_replica_new(&(struct weft_replica_config){.self = 1,
                                                                    .sessions_max = SESSIONS_MAX,
                                                                    .session_expiry_ms = EXPIRY_MS,
                                                                    .waiters_max = 8,
                                                                    .replica_lag_ms = 100,
                                                                    .incarnation = s_id(1, world->incarnation)});
    s_replay(world, weft_replica_sessions(world->replica));
    weft_replica_opened(world->replica, world->start, s_end(world), world->synced, s_last_epoch(world));
}

static void s_crash(struct world *world)
{
    s_cut(world, world->synced);
    s_open(world);
}

static void s_assign(struct world *world)
{
    uint32_t bits = s_byte(&world->input);
    if ((bits & 1) != 0) world->epoch++;
    if ((bits & 2) != 0) world->partition_epoch++;
    struct weft_replica_assignment assignment = {.leader_epoch = world->epoch - ((bits & 0xe0) == 0xe0 ? 1 : 0),
                                                 .partition_epoch = world->partition_epoch,
                                                 .leader = (bits & 4) != 0 ? 1 : 2,
                                                 .min_insync = 1 + ((bits >> 3) & 1),
                                                 .member_count = MEMBERS};
    uint32_t insync = s_byte(&world->input);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        struct weft_replica_member *member = &assignment.members[i];
        member->broker = (int32_t) i + 1;
        member->incarnation = s_id(i + 1, i == 0 ? world->incarnation : (uint8_t) ((insync >> 4) & 1));
        member->in_sync = (insync & (1U << i)) != 0 || assignment.leader == member->broker;
    }
    weft_err_t err = weft_replica_assign(world->replica, &assignment, world->now_ms);
    weft_assert(err == WEFT_OK || err == WEFT_ERR_STALE_EPOCH);
}

static void s_produce(struct world *world)
{
    uint32_t bits = s_byte(&world->input), shape = s_byte(&world->input);
    if (world->batch_count == BATCHES_MAX || world->next_token == TOKENS_MAX) return;
    struct weft_batch batch = {.format = 1,
                               .count = 1 + (shape & 3),
                               .last_offset_delta = shape & 3,
                               .producer_id = (int64_t) ((bits >> 2) & 7) - 1,
                               .producer_epoch = (int16_t) ((bits >> 5) & 1),
                               .base_sequence = (int32_t) (shape >> 2)};
    struct weft_replica_produce produce = {.token = world->next_token,
                                           .acks = (enum weft_acks)((bits & 3) % 3),
                                           .durable = (bits & 0x40) != 0,
                                           .batch = &batch};
    world->token_end[world->next_token++] = produce.acks == WEFT_ACKS_NONE ? -1 : 0;
    int64_t base;
    int32_t epoch;
    if (weft_replica_produce(world->replica, &produce, &base, &epoch) == WEFT_REPLICA_HANDLED) return;
    weft_assert(base == s_end(world));
    if ((bits & 0x80) != 0) {
        weft_replica_append_failed(world->replica, &produce, WEFT_ERR_DISK_FULL);
        return;
    }
    batch.base_offset = base;
    batch.leader_epoch = epoch;
    world->log[world->batch_count++] = batch;
    weft_replica_appended(world->replica, &produce, &batch);
}

static void s_sync(struct world *world)
{
    int64_t to = s_end(world) - s_byte(&world->input) % 8;
    if (to > world->synced) world->synced = to;
    if (to >= 0) weft_replica_synced(world->replica, to);
}

static void s_report(struct world *world)
{
    uint32_t bits = s_byte(&world->input), broker = 2 + (bits & 1);
    int64_t log_end = s_end(world) - s_byte(&world->input) % 16 + ((bits & 2) != 0 ? 4 : 0);
    int64_t synced_end = log_end - (bits >> 4);
    weft_err_t err = weft_replica_report(world->replica, (int32_t) broker, s_id(broker, (bits >> 2) & 1),
                                         world->epoch - ((bits & 8) != 0 ? 1 : 0), log_end, synced_end, world->now_ms);
    weft_assert(err != WEFT_OK || (log_end <= s_end(world) && synced_end <= log_end));
}

static void s_follow(struct world *world)
{
    uint32_t bits = s_byte(&world->input);
    if (!weft_replica_aligned(world->replica) || world->batch_count == BATCHES_MAX) return;
    struct weft_batch batch = {.base_offset = s_end(world),
                               .leader_epoch = weft_replica_leader_epoch(world->replica),
                               .last_offset_delta = bits & 3,
                               .producer_id = (int64_t) ((bits >> 2) & 7) - 1,
                               .base_sequence = (int32_t) (bits >> 5)};
    if (batch.leader_epoch < s_last_epoch(world)) return; // no leader sends that
    world->log[world->batch_count++] = batch;
    weft_replica_followed(world->replica, &batch);
}

static void s_diverge(struct world *world)
{
    uint32_t bits = s_byte(&world->input);
    int32_t leader_epoch = s_last_epoch(world) - (int32_t) (bits & 3), own_epoch = -1;
    int64_t own_end = world->start;
    for (size_t i = 0; i < world->batch_count && world->log[i].leader_epoch <= leader_epoch; i++) {
        own_epoch = world->log[i].leader_epoch;
        own_end = weft_batch_next_offset(&world->log[i]);
    }
    if (leader_epoch < -1) leader_epoch = -1;
    weft_replica_diverged(world->replica, leader_epoch, own_end + 4 - (int64_t) (bits >> 4), own_epoch, own_end);
}

static void s_trim(struct world *world)
{
    int64_t to = weft_replica_durable(world->replica) - s_byte(&world->input);
    if (to <= world->start) return;
    size_t gone = 0;
    while (gone < world->batch_count && weft_batch_next_offset(&world->log[gone]) <= to) gone++;
    if (gone == world->batch_count) return; // keep one batch: the toy's end and epoch hang on it
    if (weft_replica_role(world->replica) != WEFT_ROLE_LEADER) return;
    world->start = to;
    if (world->synced < to) world->synced = to;
    weft_replica_trimmed(world->replica, to);
}

static void s_other(struct world *world)
{
    uint32_t bits = s_byte(&world->input);
    if ((bits & 3) == 0) {
        world->now_ms += bits >> 2;
        weft_replica_tick(world->replica, world->now_ms);
    } else if ((bits & 3) == 1) {
        weft_replica_leader_marks(world->replica, s_end(world) + 3 - (bits >> 3), s_end(world) - (bits >> 2));
    } else if ((bits & 3) == 2 && world->next_token > 0) {
        uint64_t token = (bits >> 2) % world->next_token;
        if (weft_replica_cancel(world->replica, token)) world->token_end[token] = -1;
    } else if (bits == 0xff) {
        weft_replica_disk_failed(world->replica);
    }
}

static void s_check(const struct world *world)
{
    weft_replica_check(world->replica);
    weft_assert(weft_replica_log_end(world->replica) == s_end(world));
    weft_sessions_t *replayed = weft_sessions_new(SESSIONS_MAX, EXPIRY_MS);
    s_replay(world, replayed);
    weft_buf_t a, b;
    weft_buf_init(&a);
    weft_buf_init(&b);
    weft_sessions_encode(replayed, &a);
    weft_sessions_encode(weft_replica_sessions(world->replica), &b);
    weft_assert(weft_slice_equal(weft_buf_slice(&a), weft_buf_slice(&b))); // R7
    weft_buf_fini(&a);
    weft_buf_fini(&b);
    weft_sessions_destroy(&replayed);
}

static void s_fuzz_replica(struct input input)
{
    static void (*const events[])(struct world *) = {s_produce, s_produce, s_sync, s_report, s_follow,
                                                     s_assign,  s_crash,   s_open, s_trim,   s_diverge,
                                                     s_other,   s_produce, s_sync, s_report, s_other};
    struct world *world = weft_calloc(1, sizeof *world);
    world->input = input;
    world->epoch = 1;
    s_open(world);
    while (world->input.at < world->input.end) {
        events[s_byte(&world->input) % (sizeof events / sizeof events[0])](world);
        s_effects(world);
        s_check(world);
    }
    weft_replica_destroy(&world->replica);
    free(world);
}

static void s_fuzz_sessions(struct input input)
{
    weft_sessions_t *sessions = weft_sessions_new(SESSIONS_MAX, EXPIRY_MS);
    weft_err_t err = weft_sessions_decode(sessions, weft_slice(input.at, (size_t) (input.end - input.at)));
    weft_assert(err == WEFT_OK || weft_sessions_count(sessions) == 0);
    weft_sessions_check(sessions);
    weft_sessions_destroy(&sessions);
}

// Commands, each led by its size in two bytes.
static void s_fuzz_cluster(struct input input)
{
    weft_cluster_t *cluster = weft_cluster_new();
    uint64_t index = 0;
    while (input.at < input.end) {
        size_t size = s_byte(&input) << 8;
        size |= s_byte(&input);
        if (size > (size_t) (input.end - input.at)) size = (size_t) (input.end - input.at);
        struct weft_error error;
        (void) weft_cluster_apply(cluster, ++index, weft_slice(input.at, size), NULL, NULL, &error);
        weft_cluster_check(cluster);
        input.at += size;
    }
    weft_buf_t snapshot;
    weft_buf_init(&snapshot);
    weft_cluster_encode(cluster, &snapshot);
    weft_cluster_t *copy = weft_cluster_new();
    weft_assert(weft_cluster_decode(copy, weft_buf_slice(&snapshot)) == WEFT_OK);
    weft_assert(weft_cluster_digest(copy) == weft_cluster_digest(cluster));
    weft_buf_fini(&snapshot);
    weft_cluster_destroy(&copy);
    weft_cluster_destroy(&cluster);
}

static void s_fuzz_cluster_snapshot(struct input input)
{
    weft_cluster_t *cluster = weft_cluster_new();
    weft_err_t err = weft_cluster_decode(cluster, weft_slice(input.at, (size_t) (input.end - input.at)));
    weft_assert(err == WEFT_OK || weft_cluster_index(cluster) == 0); // refused: as it was
    weft_cluster_check(cluster);
    weft_cluster_destroy(&cluster);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct input input = {data + 1, data + size};
    switch (data[0] % 8) {
    case 1: s_fuzz_sessions(input); break;
    case 2: s_fuzz_cluster(input); break;
    case 3: s_fuzz_cluster_snapshot(input); break;
    default: s_fuzz_replica(input); break;
    }
    return 0;
}
