// SPDX-License-Identifier: MPL-2.0
/*
 * Small clusters often: what can be found in them is found sooner there. Every second history has replicas.
 */
#include "sim_plan.h"

#include <stdio.h>
#include <stdlib.h>

const struct sim_config sim_calm = {.delay_min_us = 50, .delay_max_us = 500, .sync_min_us = 100, .sync_max_us = 2000};

#define SEVERAL_VOTERS 1
#define SEVERAL_REPLICAS 1
#define OPERATIONS 1
#define GROUPS_PERCENT 30
#define COMPACTED_PERCENT 15

static void s_plan_network(struct sim_run *run)
{
    sim_t *sim = run->sim;
    run->network = sim_calm;
    run->network.delay_max_us = weft_sim_chance(sim, 300000) ? 20000 : 1000;
    run->network.sync_max_us = weft_sim_chance(sim, 300000) ? 50000 : 3000;
    if (weft_sim_chance(sim, 500000)) run->network.slow_per_million = 20000;
    if (weft_sim_chance(sim, 600000)) run->network.break_per_million = 1000;
    if (weft_sim_chance(sim, 300000)) run->network.hang_per_million = 3000;
    if (weft_sim_chance(sim, 500000)) run->network.pause_per_million = 500;
    run->disks_fail = weft_sim_chance(sim, 400000);
    run->fault_wait_us = weft_sim_chance(sim, 300000) ? 300000 : 1500000;
    run->faults_us = 4 * SIM_SECOND + (int64_t) weft_sim_below(sim, 8 * SIM_SECOND);
}

static void s_plan_times(struct sim_run *run)
{
    struct sim_settings *settings = &run->settings;
    bool fast = weft_sim_chance(run->sim, 500000); // as in a LAN
    settings->election_ms = fast ? 300 : 1000;
    settings->quorum_heartbeat_ms = fast ? 50 : 100;
    settings->session_ms = weft_sim_chance(run->sim, 700000) ? 1000 : 400;
    settings->snapshot_commands = weft_sim_chance(run->sim, 300000) ? 16 : 8192;
    settings->stuck_ms = weft_sim_chance(run->sim, 500000) ? 1000 : 5000;
    settings->replica_lag_ms = weft_sim_chance(run->sim, 500000) ? 1000 : 10000;
    settings->replica_wait_ms = weft_sim_chance(run->sim, 500000) ? 500 : 50;
    settings->replica_bytes = weft_sim_chance(run->sim, 300000) ? 65536 : 4 << 20;
}

static void s_plan_shape(struct sim_run *run)
{
    sim_t *sim = run->sim;
    struct sim_settings *settings = &run->settings;
    settings->shards = 1 + (uint32_t) weft_sim_below(sim, 2);
    settings->coordinators = 1;
    settings->brokers = 1 + (size_t) weft_sim_below(sim, 3);
    settings->inproc = weft_sim_chance(sim, 150000);
    run->replicas_max = 1;
    uint64_t kind = weft_sim_below(sim, 100);
    if (kind < 30) return; // as small as they come
    run->replicas_max = SEVERAL_REPLICAS ? 3 : 1;
    settings->brokers = kind < 75 ? 3 : kind < 85 ? 2 : kind < 92 ? 4 : 5;
    settings->racks = weft_sim_chance(sim, 200000) ? 2 : 0;
    kind = weft_sim_below(sim, 100);
    settings->coordinators = !SEVERAL_VOTERS || kind < 30 ? 1 : kind < 85 ? 3 : 5;
    if (run->replicas_max > (int) settings->brokers) run->replicas_max = (int) settings->brokers;
}

// What cluster the faults are for decides which make sense.
static void s_plan_manners(struct sim_run *run)
{
    static const uint32_t mixes[] = {
        SIM_MANNER_CRASHES | SIM_MANNER_CUTS | SIM_MANNER_CLOCKS,
        SIM_MANNER_CRASHES | SIM_MANNER_CUTS | SIM_MANNER_CLOCKS | SIM_MANNER_ZOMBIES | SIM_MANNER_SLOW,
        SIM_MANNER_CRASHES | SIM_MANNER_LAST_ONE,
        SIM_MANNER_CUTS | SIM_MANNER_ZOMBIES,
        SIM_MANNER_LAST_ONE | SIM_MANNER_CUTS | SIM_MANNER_SLOW,
        SIM_MANNER_ROLLING | SIM_MANNER_SLOW,
        SIM_MANNER_CRASHES | SIM_MANNER_DATA_LOSS,
    };
    run->manners = mixes[0];
    if (run->replicas_max > 1) run->manners = mixes[weft_sim_below(run->sim, sizeof mixes / sizeof mixes[0])];
    if (run->settings.coordinators > 1 && weft_sim_chance(run->sim, 200000)) {
        run->manners = SIM_MANNER_COORDINATORS | SIM_MANNER_CRASHES | SIM_MANNER_CUTS | SIM_MANNER_SLOW;
        run->fault_wait_us = 200000;
    }
}

static void s_plan_topics(struct sim_run *run)
{
    sim_t *sim = run->sim;
    struct sim_clients *clients = &run->clients;
    clients->topic_count = 1 + (int) weft_sim_below(sim, 2);
    for (int i = 0; i < clients->topic_count; i++) {
        struct sim_topic *topic = &clients->topics[i];
        snprintf(topic->name, sizeof topic->name, "topic-%d", i);
        topic->partitions = 1 + (int) weft_sim_below(sim, 3);
        topic->retained = weft_sim_chance(sim, 200000);
        topic->replicas = run->replicas_max;
        if (topic->replicas > 1 && weft_sim_chance(sim, 200000)) topic->replicas--;
        if (topic->replicas > 1 && weft_sim_chance(sim, 400000))
            topic->min_insync = 1 + (int) weft_sim_below(sim, (uint64_t) topic->replicas);
        for (int p = 0; p < topic->partitions && topic->retained; p++) sim_history_retained(run->history, i, p);
    }
    clients->stable_count = clients->topic_count;
    clients->lazy = run->replicas_max > 1 && weft_sim_chance(sim, run->manners & SIM_MANNER_LAST_ONE ? 600000 : 200000);
    clients->producer_count = 1 + (int) weft_sim_below(sim, run->replicas_max > 1 ? 3 : 4);
    clients->consumer_count = 1 + (int) weft_sim_below(sim, run->replicas_max > 1 ? 2 : 3);
    if (!run->has_churn) return;
    struct sim_topic *topic = &clients->topics[clients->topic_count];
    *topic = (struct sim_topic){.name = "churn", .partitions = 2, .replicas = run->replicas_max};
    sim_history_fickle(run->history, clients->topic_count++);
}

// Of a stream of randomness of their own: histories without groups and compaction are not changed by them.
static void s_plan_groups(struct sim_run *run)
{
    weft_rand_t rand;
    weft_rand_init(&rand, run->seed ^ UINT64_C(0x6f66667365747321));
    run->has_groups = weft_rand_below(&rand, 100) < GROUPS_PERCENT;
    struct sim_topic *topic = &run->clients.topics[weft_rand_below(&rand, (uint64_t) run->clients.stable_count)];
    topic->compacted = weft_rand_below(&rand, 100) < COMPACTED_PERCENT && !topic->retained && !run->rots;
    topic->tombstones_stay = weft_rand_below(&rand, 100) < 50;
    if (topic->compacted) {
        sim_history_compacted(run->history, (int) (topic - run->clients.topics), topic->tombstones_stay);
    }
    if (run->has_groups) sim_members_plan(&run->members, &run->clients, run->witness, run->seed);
}

void sim_plan(struct sim_run *run)
{
    s_plan_network(run);
    s_plan_shape(run);
    s_plan_times(run);
    s_plan_manners(run);
    run->rots = run->replicas_max == 1 && weft_sim_chance(run->sim, 200000);
    run->has_churn = weft_sim_chance(run->sim, 250000);
    run->has_stranger = weft_sim_chance(run->sim, 150000);
    run->has_operations = OPERATIONS && run->replicas_max > 1 && weft_sim_chance(run->sim, 400000);
    run->has_watch = run->replicas_max > 1 && weft_sim_chance(run->sim, 300000);
    run->unclean = run->has_operations && weft_sim_chance(run->sim, 100000);
    run->left_alone = !run->rots && weft_sim_chance(run->sim, 200000);
    run->all_restart = !run->rots && weft_sim_chance(run->sim, 250000);
    sim_nodes_init(&run->nodes, run->sim, run->history, &run->settings);
    sim_clients_init(&run->clients, run->sim, run->history, &run->nodes);
    s_plan_topics(run);
    s_plan_groups(run);
    if (run->has_edges) run->faults_us += sim_edges_plan(&run->edges, &run->clients, run->has_churn);
}
