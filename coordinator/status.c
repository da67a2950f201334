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
    S_COUNTERS_MAX = 128,       // the coordinator's and its transport's
    S_PROBLEMS_MAX = 32,        // sentences; what is more is counted in the last
    S_LEADERLESS_NAMED_MAX = 8, // groups of partitions without a leader that are named
    S_STUCK_MS = 2000           // a turn of a shard or a sync that takes longer is a problem
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
    reply.frame_bytes_max = WEFT_HEADER_BYTES_MAX; // as its socket has it: no request to a coordinator has data
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
    reply.health_message = weft_slice_text(sentence);
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

struct s_problems {
    weft_arena_t *arena;
    weft_slice_t *sentences;
    size_t count, left_out;
};

static void s_problem(struct s_problems *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void s_problem(struct s_problems *self, const char *format, ...)
{
    if (self->count + 1 >= S_PROBLEMS_MAX) { // one place for what is left out
        self->left_out++;
        return;
    }
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    self->sentences[self->count++] = weft_slice_text(weft_arena_text(self->arena, weft_slice_text(text)));
}

static void s_broker_problems(const weft_coordinator_t *self, const struct weft_cluster_broker *broker,
                              struct s_problems *problems)
{
    const struct weft_broker_session *session = weft_map_get_u64(self->sessions, (uint64_t) broker->id);
    if (!broker->alive && broker->stored_count)
        s_problem(problems, "broker %d is down and holds %u partition%s; start it again", broker->id,
                  broker->stored_count, broker->stored_count == 1 ? "" : "s");
    if (session && session->ahead)
        s_problem(problems,
                  "broker %d knows of %llu changes, this coordinator of %llu: its data directory is an old copy; put "
                  "back the newest one",
                  broker->id, (unsigned long long) session->ahead,
                  (unsigned long long) weft_cluster_index(self->cluster));
    if (session && session->turn_ms > S_STUCK_MS)
        s_problem(problems,
                  "a shard or disk of broker %d has been busy with one turn for %u ms; look at its disk and its load",
                  broker->id, session->turn_ms);
}

/** Partitions of one topic that wait for one broker. */
struct s_waiting {
    const struct weft_cluster_topic *topic;
    int32_t broker;
    uint32_t first, count;
};

// Adds to the groups of this topic, which begin at `from`; what no group has room for is left to the total.
static void s_group_topic(const struct weft_cluster_topic *topic, struct s_waiting *groups, size_t *used)
{
    size_t from = *used;
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        const struct weft_cluster_partition *partition = &topic->partitions[i];
        if (partition->leader >= 0) continue;
        size_t at = from;
        while (at < *used && groups[at].broker != partition->isr[0]) at++;
        if (at == S_LEADERLESS_NAMED_MAX) continue;
        if (at == *used) groups[(*used)++] = (struct s_waiting){topic, partition->isr[0], i, 0};
        groups[at].count++;
    }
}

static void s_leaderless_problems(const weft_coordinator_t *self, uint32_t leaderless, struct s_problems *problems)
{
    if (leaderless == 0) return;
    struct s_waiting groups[S_LEADERLESS_NAMED_MAX];
    size_t used = 0;
    uint32_t named = 0;
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; used < S_LEADERLESS_NAMED_MAX && (topic = weft_cluster_next_topic(self->cluster, &cursor));)
        s_group_topic(topic, groups, &used);
    for (size_t i = 0; i < used; i++) {
        const struct s_waiting *group = &groups[i];
        named += group->count;
        if (group->count == 1)
            s_problem(problems, "partition %u of '%s' has no leader: it waits for broker %d", group->first,
                      group->topic->name, group->broker);
        else
            s_problem(problems, "%u partitions of '%s' have no leader: they wait for broker %d", group->count,
                      group->topic->name, group->broker);
    }
    if (leaderless > named)
        s_problem(problems, "%u more partition%s no leader", leaderless - named,
                  leaderless - named == 1 ? " has" : "s have");
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

static void s_fill_broker(const weft_coordinator_t *self, const struct weft_cluster_broker *broker,
                          struct weft_status_broker *out)
{
    const struct weft_broker_session *session = weft_map_get_u64(self->sessions, (uint64_t) broker->id);
    *out = (struct weft_status_broker){.id = broker->id,
                                       .alive = broker->alive,
                                       .endpoint = weft_slice_text(broker->endpoints[0]),
                                       .rack = weft_slice_text(broker->rack),
                                       .shards = (uint32_t) broker->shard_count,
                                       .leads = broker->led_count,
                                       .replicas = broker->stored_count,
                                       .version = weft_slice_text(broker->version)};
    if (session) out->heartbeat_age_ms = (uint32_t) ((weft_port_now_us(&self->port) - session->heard_us) / 1000);
}

static void s_fill_status(const weft_coordinator_t *self, weft_arena_t *arena, struct weft_cluster_status_reply *reply)
{
    struct s_problems problems = {.arena = arena,
                                  .sentences = weft_arena_alloc(arena, S_PROBLEMS_MAX * sizeof(weft_slice_t))};
    size_t count, alive = 0;
    const struct weft_cluster_broker **brokers = s_brokers(self, arena, &count);
    reply->brokers = weft_arena_alloc(arena, count * sizeof *reply->brokers + 1);
    reply->brokers_count = count;
    for (size_t i = 0; i < count; i++) {
        alive += brokers[i]->alive;
        s_fill_broker(self, brokers[i], &reply->brokers[i]);
        s_broker_problems(self, brokers[i], &problems);
    }
    if (count == 0)
        s_problem(&problems, "no broker is registered; start one (weft broker) with this coordinator's endpoint, %s",
                  self->endpoint);
    else if (alive == 0)
        s_problem(&problems, "no broker is alive; start them again");
    s_leaderless_problems(self, reply->leaderless, &problems);
    if (problems.left_out) {
        char *text = weft_arena_alloc(arena, 64);
        snprintf(text, 64, "and %zu more problems", problems.left_out);
        problems.sentences[problems.count++] = weft_slice_text(text);
    }
    reply->problems = problems.sentences;
    reply->problems_count = problems.count;
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
    reply.leaderless = weft_coordinator_leaderless(self);
    s_fill_status(self, &arena, &reply);
    weft_buf_t out;
    weft_buf_init(&out);
    weft_cluster_status_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
    weft_arena_fini(&arena);
}
