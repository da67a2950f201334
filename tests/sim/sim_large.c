// SPDX-License-Identifier: MPL-2.0
/*
 * Real coordinators, brokers and member parts; what stands for a member's consumer carries out every assignment a little later and reads nothing. All counts
 * are kept as assignments come, so that rest is known without a walk.
 */
#include "sim_large.h"

#include "../../lib/base/assert.h"
#include "../../lib/client/member_part.h"
#include "sim_clients.h"
#include "sim_plan.h"
#include "sim_wrap.h"

#include <weft_gen/config.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND SIM_SECOND
#define MEMBERS 1000
#define TOPICS 10
#define PARTITIONS 1000 // of a topic
#define ALL (TOPICS * PARTITIONS)
#define HOSTS 20
#define HEARTBEAT_US SECOND // group.heartbeat.ms as it is
#define CPU_PERCENT_MAX 10

struct large;

struct one { // member
    struct large *owner;
    sim_host_t host;
    weft_member_part_t *part;
    weft_part_id_t id;
    weft_desk_t *desk;
    struct weft_desk_news news;
    uint64_t carried;
    size_t count; // partitions that it has
    bool in, asked;
};

struct large {
    sim_t *sim;
    sim_history_t *history;
    struct sim_nodes nodes;
    struct sim_clients clients;
    sim_host_t hosts[HOSTS];
    struct one members[MEMBERS + 1];
    size_t live, held;
    size_t fitting; // have as many as they are to have
    bool bad;
};

static void s_note(const struct large *self, const char *what)
{
    printf("%-34s at %.3f s of the cluster's time\n", what, (double) weft_sim_now_us(self->sim) / 1e6);
    fflush(stdout);
}

// ---- members

static bool s_fits(const struct large *self, size_t count)
{
    return self->live > 0 && (count == ALL / self->live || (ALL % self->live > 0 && count == ALL / self->live + 1));
}

static void s_recount(struct large *self)
{
    self->fitting = 0;
    for (size_t i = 0; i <= MEMBERS; i++) self->fitting += self->members[i].in && s_fits(self, self->members[i].count);
}

static void s_carry(void *context)
{
    struct one *self = context;
    struct large *owner = self->owner;
    self->asked = false;
    weft_desk_read(self->desk, &self->news);
    const weft_desk_assignment_t *assignment = self->news.assignment;
    if (assignment == NULL || assignment->revision == self->carried) return;
    self->carried = assignment->revision;
    if (self->in) {
        owner->fitting -= s_fits(owner, self->count);
        owner->fitting += s_fits(owner, assignment->count);
    }
    owner->held += assignment->count;
    owner->held -= self->count;
    self->count = assignment->count;
    weft_desk_carried(self->desk, assignment->epoch, assignment->revision);
}

static void s_wake_consumer(void *context)
{
    struct one *self = context;
    if (self->asked) return;
    self->asked = true;
    weft_sim_at(self->owner->sim, weft_sim_now_us(self->owner->sim) + 1000, s_carry, self);
}

static void s_wake_member(void *context)
{
    const struct one *self = context;
    weft_sim_part_poke(self->owner->sim, self->host, self->id);
}

static void s_join(struct large *self, size_t index)
{
    struct one *member = &self->members[index];
    char name[24];
    snprintf(name, sizeof name, "member-%zu", index);
    *member = (struct one){.owner = self, .host = self->hosts[index % HOSTS], .in = true};
    weft_options_t *options = weft_options_new(weft_options_consumer, weft_options_consumer_count, "consumer");
    sim_clients_bootstrap(&self->clients, options);
    weft_assert(weft_options_set(options, "group", "large", NULL) == WEFT_OK);
    weft_assert(weft_options_set(options, "client", name, NULL) == WEFT_OK);
    struct weft_error error;
    member->desk = weft_desk_new();
    weft_assert(weft_member_part_new(options, name, member->desk, &member->part, &error) == WEFT_OK);
    weft_options_destroy(&options);
    member->id = sim_clients_run_part(&self->clients, member->host, name, weft_member_part_base(member->part));
    weft_desk_on_change(member->desk, WEFT_DESK_CONSUMER, s_wake_consumer, member);
    weft_desk_on_change(member->desk, WEFT_DESK_MEMBER, s_wake_member, member);
    const char *pattern = "large-*";
    weft_desk_polled(member->desk, weft_sim_now_us(self->sim), true);
    weft_desk_subscribe(member->desk, &pattern, 1);
    self->live++;
    s_recount(self);
}

static void s_leave(struct large *self, size_t index)
{
    struct one *member = &self->members[index];
    member->in = false;
    self->live--;
    self->held -= member->count;
    member->count = 0;
    weft_desk_on_change(member->desk, WEFT_DESK_CONSUMER, NULL, NULL);
    weft_desk_leave(member->desk, WEFT_DESK_LEAVE, "closed");
    s_recount(self);
}

static bool s_settled(void *context)
{
    const struct large *self = context;
    return self->held == ALL && self->fitting == self->live;
}

// How long until all have what they are to have; says so.
static void s_settle(struct large *self, const char *what, int64_t limit_us)
{
    int64_t begun_us = weft_sim_now_us(self->sim);
    bool settled = weft_sim_run_until_true(self->sim, begun_us + limit_us, s_settled, self);
    printf("%-34s %s %.3f s, at most %.3f s\n", what, settled ? "settles in" : "does NOT settle in",
           (double) (weft_sim_now_us(self->sim) - begun_us) / 1e6, (double) limit_us / 1e6);
    fflush(stdout);
    if (!settled) self->bad = true;
}

// ---- the cluster

static void s_create(struct large *self, int topic)
{
    char name[16];
    snprintf(name, sizeof name, "large-%d", topic);
    weft_err_t err = WEFT_ERR_INTERNAL;
    for (int tries = 0; err != WEFT_OK && tries < 50; tries++) {
        struct weft_call *call = sim_admin_begin(&self->clients, WEFT_TO_COORDINATOR, NULL, 0);
        struct weft_topic_create_request request;
        weft_topic_create_request_init(&request);
        request.id = call->id;
        request.topic = weft_slice_text(name);
        request.partitions = PARTITIONS;
        request.replicas = 1;
        weft_topic_create_request_encode(&request, &call->header);
        err = sim_admin_run(&self->clients, 30 * SECOND);
        if (err != WEFT_OK) weft_sim_run_until(self->sim, weft_sim_now_us(self->sim) + SECOND / 5);
    }
    weft_assert(err == WEFT_OK);
}

static void s_begin(struct large *self, bool trace)
{
    struct sim_settings settings = {.coordinators = 3,
                                    .brokers = 3,
                                    .shards = 1,
                                    .election_ms = 1000,
                                    .quorum_heartbeat_ms = 100,
                                    .session_ms = 1000,
                                    .snapshot_commands = 8192,
                                    .stuck_ms = 5000,
                                    .replica_lag_ms = 10000,
                                    .replica_wait_ms = 500,
                                    .replica_bytes = 4 << 20};
    *self = (struct large){.sim = weft_sim_new(1, &sim_calm), .history = sim_history_new()};
    sim_wrap_seed(1);
    weft_sim_trace_on(self->sim, trace, false);
    sim_nodes_init(&self->nodes, self->sim, self->history, &settings);
    sim_clients_init(&self->clients, self->sim, self->history, &self->nodes);
    for (size_t i = 0; i < self->nodes.count; i++) sim_node_start(&self->nodes.nodes[i]);
    for (int i = 0; i < HOSTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "members-%d", i);
        self->hosts[i] = weft_sim_host_add(self->sim, name, NULL);
    }
    for (int i = 0; i < TOPICS; i++) s_create(self, i);
    s_note(self, "topics are there");
}

static void s_end(struct large *self)
{
    for (size_t i = 0; i <= MEMBERS; i++) {
        struct one *member = &self->members[i];
        if (member->desk == NULL) continue;
        weft_desk_on_change(member->desk, WEFT_DESK_CONSUMER, NULL, NULL);
        weft_desk_on_change(member->desk, WEFT_DESK_MEMBER, NULL, NULL);
        weft_desk_news_fini(&member->news);
        weft_desk_drop(&member->desk);
    }
    sim_clients_fini(&self->clients);
    sim_nodes_fini(&self->nodes);
    weft_sim_destroy(&self->sim);
    sim_history_destroy(&self->history);
}

static uint64_t s_heartbeats(const struct large *self)
{
    uint64_t sent = 0;
    for (size_t i = 0; i <= MEMBERS; i++) {
        if (self->members[i].part == NULL || !self->members[i].in) continue;
        const weft_counters_t *counters = weft_member_part_counters(self->members[i].part);
        for (size_t k = 0; k < counters->count; k++) {
            if (strcmp(counters->infos[k].name, "heartbeats_count") == 0) sent += weft_counter_get(counters, k);
        }
    }
    return sent;
}

// Real time of a processor for `seconds` of nothing but heartbeats.
static void s_measure(struct large *self, int seconds)
{
    const struct sim_node *coordinators = self->nodes.nodes;
    for (int i = 0; i < 3; i++) weft_sim_host_meter(self->sim, coordinators[i].host);
    uint64_t sent = s_heartbeats(self);
    weft_sim_run_until(self->sim, weft_sim_now_us(self->sim) + seconds * SECOND);
    sent = s_heartbeats(self) - sent;
    int64_t most_us = 0;
    for (int i = 0; i < 3; i++) {
        int64_t cpu_us = weft_sim_host_cpu_us(self->sim, coordinators[i].host);
        if (cpu_us > most_us) most_us = cpu_us;
    }
    double percent = (double) most_us / seconds / 1e6 * 100;
    printf("%-34s %.2f %% of a core, at most %d %%; %.0f a second\n", "heartbeats cost the coordinator", percent,
           CPU_PERCENT_MAX, (double) sent / seconds);
    if (percent > CPU_PERCENT_MAX || sent < (uint64_t) (MEMBERS * seconds / 2)) self->bad = true;
}

bool sim_large_run(bool trace)
{
    struct large *self = weft_calloc(1, sizeof *self);
    s_begin(self, trace);
    for (size_t i = 0; i < MEMBERS; i++) s_join(self, i);
    s_settle(self, "1,000 members join at once", 120 * SECOND);
    weft_sim_run_until(self->sim, weft_sim_now_us(self->sim) + 5 * SECOND);
    s_measure(self, 20);
    s_join(self, MEMBERS);
    s_settle(self, "one joins", 2 * HEARTBEAT_US);
    weft_sim_run_until(self->sim, weft_sim_now_us(self->sim) + 5 * SECOND);
    s_leave(self, 17);
    s_settle(self, "one leaves", 2 * HEARTBEAT_US);
    bool good = !self->bad && sim_history_violation(self->history) == NULL;
    s_end(self);
    free(self);
    return good;
}
