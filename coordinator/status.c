// SPDX-License-Identifier: MPL-2.0
// What the coordinator tells of itself and of the cluster: hello, node_status, cluster_status. Problems are
// sentences that say what to do.
#include "coordinator.h"

#include "../lib/base/assert.h"

#include <weft_gen/limits.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    S_COUNTERS_MAX = 128 // the coordinator's and its transport's
};

void weft_coordinator_hello(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_hello_request request;
    struct weft_error error;
    weft_err_t err = weft_hello_request_decode(&self->codec, header, &request, &error);
    if (!err && (request.protocol_min > 1 || request.protocol_max < 1))
        err = weft_error_set(&error, WEFT_ERR_UNSUPPORTED_VERSION,
                             "protocol versions %u to %u were asked, this node speaks version 1", request.protocol_min,
                             request.protocol_max);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    struct weft_hello_reply reply;
    weft_hello_reply_init(&reply);
    reply.header.id = asker->id;
    reply.protocol_min = reply.protocol_max = 1;
    reply.node = weft_slice_text("coordinator");
    reply.node_id = self->id;
    reply.cluster_id = weft_cluster_id(self->cluster);
    reply.version = weft_slice_text(WEFT_VERSION);
    reply.frame_bytes_max = WEFT_FRAME_BYTES_MAX; // as its socket has it
    reply.batch_bytes_max = WEFT_BATCH_BYTES_MAX;
    reply.session_window = WEFT_SESSION_WINDOW;
    reply.wall_ms = weft_port_wall_ms(&self->port);
    weft_buf_t out;
    weft_buf_init(&out);
    weft_hello_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
}

// ---- node_status

static const char *s_health_name(enum weft_health health)
{
    static const char *const names[] = {[WEFT_HEALTH_STARTING] = "starting",
                                        [WEFT_HEALTH_SERVING] = "serving",
                                        [WEFT_HEALTH_DEGRADED] = "degraded",
                                        [WEFT_HEALTH_STOPPING] = "stopping",
                                        [WEFT_HEALTH_FAILED] = "failed"};
    return names[health];
}

static size_t s_list_counters(const weft_counters_t *set, struct weft_counter *out, size_t used)
{
    for (size_t i = 0; set != NULL && i < set->count && used < S_COUNTERS_MAX; i++)
        out[used++] =
            (struct weft_counter){.name = weft_slice_text(set->infos[i].name), .value = weft_counter_get(set, i)};
    return used;
}

void weft_coordinator_node_status(weft_coordinator_t *self, const struct weft_asker *asker)
{
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    enum weft_health health =
        weft_node_coordinator.health((const struct weft_node *) self->node, sentence, sizeof sentence);
    struct weft_counter counters[S_COUNTERS_MAX];
    size_t count = s_list_counters(self->counters, counters, 0);
    count = s_list_counters(weft_port_counters(&self->port), counters, count);
    struct weft_node_status_reply reply;
    weft_node_status_reply_init(&reply);
    reply.header.id = asker->id;
    reply.node = weft_slice_text(self->name);
    reply.health = weft_slice_text(s_health_name(health));
    const char *waits = self->quorum->ops->waits(self->quorum);
    reply.health_message = weft_slice_text(health == WEFT_HEALTH_STARTING && waits ? waits : sentence);
    reply.uptime_ms = (uint64_t) ((weft_port_now_us(&self->port) - self->started_us) / 1000);
    reply.version = weft_slice_text(WEFT_VERSION);
    reply.counters = counters;
    reply.counters_count = count;
    weft_buf_t out;
    weft_buf_init(&out);
    weft_node_status_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
}

// ---- cluster_status

uint32_t weft_coordinator_leaderless(const weft_coordinator_t *self)
{
    uint64_t led = 0;
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self->cluster, &cursor));) led += broker->led_count;
    return (uint32_t) (weft_cluster_partition_count(self->cluster) - led);
}

static int s_compare_brokers(const void *a, const void *b)
{
    const struct weft_cluster_broker *const *x = a, *const *y = b;
    return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

// All of them, sorted by id.
static const struct weft_cluster_broker **s_brokers(const weft_coordinator_t *self, weft_arena_t *arena, size_t *count)
{
    const struct weft_cluster_broker *broker;
    *count = 0;
    for (size_t cursor = 0; weft_cluster_next_broker(self->cluster, &cursor);) ++*count;
    const struct weft_cluster_broker **brokers = weft_arena_alloc(arena, *count * sizeof *brokers + 1);
    size_t used = 0;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self->cluster, &cursor));) brokers[used++] = broker;
    if (used) qsort(brokers, used, sizeof *brokers, s_compare_brokers);
    return brokers;
}

// How long ago it was heard; false: not since this coordinator took office, and so long is that ago.
static bool s_heard(const weft_coordinator_t *self, int32_t broker, uint32_t *age_ms)
{
    const struct weft_broker_session *session = weft_map_get_u64(self->sessions, (uint64_t) broker);
    const struct weft_gone *gone = weft_map_get_u64(self->gone, (uint64_t) broker);
    bool heard = session ? session->has_peer : gone != NULL;
    int64_t heard_us = !heard ? self->since_us : session ? session->heard_us : gone->heard_us;
    int64_t age = (weft_port_now_us(&self->port) - heard_us) / 1000;
    *age_ms = age < 0 ? 0 : age > UINT32_MAX ? UINT32_MAX : (uint32_t) age;
    return heard;
}

static void s_fill_broker(const weft_coordinator_t *self, const struct weft_cluster_broker *broker,
                          struct weft_status_broker *out)
{
    *out = (struct weft_status_broker){.id = broker->id,
                                       .alive = broker->alive,
                                       .endpoint = weft_slice_text(broker->endpoints[0]),
                                       .rack = weft_slice_text(broker->rack),
                                       .shards = (uint32_t) broker->shard_count,
                                       .leads = broker->led_count,
                                       .replicas = broker->stored_count,
                                       .version = weft_slice_text(broker->version),
                                       .draining = broker->draining,
                                       .leaving = broker->leaving,
                                       .sick = broker->sick};
    out->heard = s_heard(self, broker->id, &out->heartbeat_age_ms);
}

// The voters, and what is wrong with them.
static void s_fill_voters(const weft_coordinator_t *self, weft_arena_t *arena, struct weft_problems *problems,
                          struct weft_cluster_status_reply *reply)
{
    struct weft_quorum_voter voters[WEFT_QUORUM_VOTERS_MAX];
    size_t count = self->quorum->ops->voters(self->quorum, voters, WEFT_QUORUM_VOTERS_MAX), reached = 0;
    reply->coordinators = weft_arena_alloc(arena, count * sizeof *reply->coordinators + 1);
    reply->coordinators_count = count;
    for (size_t i = 0; i < count; i++) {
        const struct weft_quorum_voter *voter = &voters[i];
        reply->coordinators[i] = (struct weft_status_coordinator){
            .id = voter->id,
            .endpoint = weft_slice_text(weft_arena_text(arena, weft_slice_text(voter->endpoint))),
            .active = voter->leads,
            .reachable = voter->reachable,
            .behind = voter->behind};
        reached += voter->reachable;
        if (!voter->reachable)
            weft_coordinator_problem(
                problems,
                "coordinator %d at %s can't be reached or takes no part; start it again, or see to its "
                "network; if it runs, it says why (weft node status)",
                voter->id, voter->endpoint);
    }
    if (count > 1 && reached < count && reached == count / 2 + 1)
        weft_coordinator_problem(
            problems, "%zu of %zu coordinators are up: one more that fails, and nothing can be changed any more",
            reached, count);
}

static void s_fill_status(const weft_coordinator_t *self, weft_arena_t *arena, struct weft_cluster_status_reply *reply)
{
    struct weft_problems *problems = weft_arena_alloc(arena, sizeof *problems);
    problems->arena = arena;
    size_t count, alive = 0;
    const struct weft_cluster_broker **brokers = s_brokers(self, arena, &count);
    reply->brokers = weft_arena_alloc(arena, count * sizeof *reply->brokers + 1);
    reply->brokers_count = count;
    for (size_t i = 0; i < count; i++) {
        alive += brokers[i]->alive;
        s_fill_broker(self, brokers[i], &reply->brokers[i]);
        weft_coordinator_broker_problems(self, brokers[i], problems);
    }
    if (count == 0)
        weft_coordinator_problem(
            problems, "no broker is registered; start one (weft broker) with this coordinator's endpoint, %s",
            self->endpoint);
    else if (alive == 0)
        weft_coordinator_problem(problems, "no broker is alive; start them again");
    s_fill_voters(self, arena, problems, reply);
    weft_buf_t changing;
    weft_buf_init(&changing);
    self->quorum->ops->changing(self->quorum, &changing);
    reply->voter_change = weft_slice_text(weft_arena_text(arena, weft_buf_slice(&changing)));
    weft_buf_fini(&changing);
    weft_coordinator_partition_problems(self, problems);
    weft_coordinator_problems_end(problems);
    reply->problems = problems->sentences;
    reply->problems_count = problems->count;
}

void weft_coordinator_cluster_status(weft_coordinator_t *self, const struct weft_asker *asker)
{
    weft_arena_t arena;
    weft_arena_init(&arena);
    struct weft_cluster_status_reply reply;
    weft_cluster_status_reply_init(&reply);
    reply.header.id = asker->id;
    reply.cluster_id = weft_cluster_id(self->cluster);
    reply.version = weft_cluster_index(self->cluster);
    reply.epoch = weft_cluster_epoch(self->cluster);
    reply.coordinator = weft_slice_text(weft_cluster_coordinator(self->cluster, NULL));
    reply.topics = (uint32_t) weft_cluster_topic_count(self->cluster);
    reply.partitions = (uint32_t) weft_cluster_partition_count(self->cluster);
    struct weft_cluster_health_counts counts;
    weft_cluster_count_health(self->cluster, &counts);
    reply.leaderless = counts.leaderless;
    reply.offline = counts.offline;
    reply.under_replicated = counts.under_replicated;
    reply.under_min_insync = counts.under_min_insync;
    reply.moving = counts.moving;
    reply.level = weft_cluster_level(self->cluster);
    s_fill_status(self, &arena, &reply);
    weft_buf_t out;
    weft_buf_init(&out);
    weft_cluster_status_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
    weft_arena_fini(&arena);
}
