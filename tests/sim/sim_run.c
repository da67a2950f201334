// SPDX-License-Identifier: MPL-2.0
// The phases of a history and the faults in it. All choices come from the simulation's own randomness: the seed is the history.
#include "sim_run.h"

#include "sim_churn.h"
#include "sim_clients.h"
#include "sim_stranger.h"
#include "sim_wrap.h"

#include "../../lib/base/assert.h"

#include <stdio.h>
#include <string.h>

#define SECOND INT64_C(1000000)
#define START_LIMIT (30 * SECOND)
#define HEAL_LIMIT (60 * SECOND) // O9: after the last fault everything is delivered within this

struct run {
    sim_t *sim;
    sim_history_t *history;
    struct sim_nodes nodes;
    struct sim_clients clients;
    struct sim_config network;
    int64_t faults_end_us;
    uint32_t fault_wait_us; // mean time between two faults
    bool disks_fail;
    int32_t rotten; // the broker where it did, 0: none yet
    struct sim_churn churn;
    bool has_churn, has_stranger;
    bool rots; // in the end a bit flips on a disk at rest
};

static const struct sim_config s_calm = {
    .delay_min_us = 50, .delay_max_us = 500, .sync_min_us = 100, .sync_max_us = 2000};

// ---- the plan

static void s_plan_network(struct run *run)
{
    sim_t *sim = run->sim;
    run->network = s_calm;
    run->network.delay_max_us = sim_chance(sim, 300000) ? 20000 : 1000;
    run->network.sync_max_us = sim_chance(sim, 300000) ? 50000 : 3000;
    if (sim_chance(sim, 500000)) run->network.slow_per_million = 20000;
    if (sim_chance(sim, 600000)) run->network.break_per_million = 1000;
    if (sim_chance(sim, 300000)) run->network.hang_per_million = 3000;
    if (sim_chance(sim, 500000)) run->network.pause_per_million = 500;
    run->disks_fail = sim_chance(sim, 400000);
    run->fault_wait_us = sim_chance(sim, 300000) ? 300000 : 1500000;
}

static void s_plan_clients(struct run *run)
{
    sim_t *sim = run->sim;
    struct sim_clients *clients = &run->clients;
    clients->topic_count = 1 + (int) sim_below(sim, 2);
    for (int i = 0; i < clients->topic_count; i++) {
        struct sim_topic *topic = &clients->topics[i];
        snprintf(topic->name, sizeof topic->name, "topic-%d", i);
        topic->partitions = 1 + (int) sim_below(sim, 3);
        topic->retained = sim_chance(sim, 200000);
    }
    clients->stable_count = clients->topic_count;
    clients->producer_count = 1 + (int) sim_below(sim, 4);
    clients->consumer_count = 1 + (int) sim_below(sim, 3);
}

static void s_plan_churn(struct run *run)
{
    struct sim_clients *clients = &run->clients;
    struct sim_topic *topic = &clients->topics[clients->topic_count];
    snprintf(topic->name, sizeof topic->name, "churn");
    topic->partitions = 2;
    topic->retained = false;
    sim_history_fickle(run->history, clients->topic_count++);
}

// ---- faults

static struct sim_node *s_some_node(struct run *run)
{
    size_t broker = 1 + (size_t) sim_below(run->sim, run->nodes.count - 1);
    return &run->nodes.nodes[sim_chance(run->sim, 150000) ? 0 : broker];
}

static sim_host_t s_some_host(struct run *run) // a node's or a client's
{
    struct sim_clients *clients = &run->clients;
    uint64_t kind = sim_below(run->sim, 4);
    if (kind == 0) return clients->producers[sim_below(run->sim, (uint64_t) clients->producer_count)].host;
    if (kind == 1) return clients->consumers[sim_below(run->sim, (uint64_t) clients->consumer_count)].host;
    return s_some_node(run)->host;
}

static int64_t s_downtime(struct run *run)
{
    return (int64_t) sim_below(run->sim, sim_chance(run->sim, 200000) ? 4000000 : 500000);
}

static void s_crash(struct run *run, bool power)
{
    struct sim_node *node = s_some_node(run);
    if (node->state == SIM_NODE_DOWN) return;
    if (power)
        sim_node_power_off(node);
    else
        sim_node_kill(node);
    sim_node_start_after(node, s_downtime(run));
}

static void s_power_cut(struct run *run) // everywhere at once
{
    for (size_t i = 0; i < run->nodes.count; i++) {
        struct sim_node *node = &run->nodes.nodes[i];
        if (node->state == SIM_NODE_DOWN) continue;
        sim_node_power_off(node);
        sim_node_start_after(node, s_downtime(run));
    }
}

static void s_power_off_due(void *context)
{
    struct sim_node *node = context;
    if (node->state == SIM_NODE_DOWN) return;
    sim_node_power_off(node);
    sim_node_start_after(node, 100000);
}

// Clients lose their connections, send again what had no answer, and then the power goes: nothing may have been promised too early (rule 15).
static void s_break(struct run *run)
{
    struct sim_node *node = s_some_node(run);
    for (int i = 0; i < run->clients.producer_count; i++) {
        sim_break(run->sim, node->host, run->clients.producers[i].host);
    }
    bool and_power = node->id > 0 && sim_chance(run->sim, 400000);
    if (and_power) {
        sim_at(run->sim, sim_now_us(run->sim) + (int64_t) sim_below(run->sim, 120000), s_power_off_due, node);
    }
}

static void s_stop(struct run *run)
{
    struct sim_node *node = s_some_node(run);
    if (node->state == SIM_NODE_UP) sim_node_stop(node);
}

static void s_cut(struct run *run)
{
    sim_host_t a = s_some_host(run), b = s_some_host(run);
    sim_cut(run->sim, a, b, true);
    if (sim_chance(run->sim, 500000)) sim_cut(run->sim, b, a, true);
}

static void s_pause(struct run *run)
{
    int64_t duration = (int64_t) sim_below(run->sim, 3000000);
    struct sim_node *node = s_some_node(run);
    if (node->state != SIM_NODE_UP) return;
    if (sim_chance(run->sim, 500000)) {
        sim_host_pause(run->sim, node->host, duration);
    } else {
        weft_part_id_t part = (weft_part_id_t) (1 + sim_below(run->sim, node->node->part_count));
        sim_part_pause(run->sim, node->host, part, duration);
    }
    sim_trace(run->sim, node->name, "paused for %lld us", (long long) duration);
}

// Errors are followed by a new start; a full disk is not: there writing goes on by itself.
static void s_disk(struct run *run)
{
    sim_t *sim = run->sim;
    struct sim_node *node = s_some_node(run);
    if (node->disk_fails || node->state != SIM_NODE_UP) return;
    struct weft_crash_disk_faults faults = {.read_eio = 0};
    switch (sim_below(sim, 4)) {
    case 0: faults.sync_eio = 200000; break;
    case 1: faults.write_eio = 20000; break;
    case 2: faults.write_enospc = 100000; break;
    default: faults.space_bytes = weft_crash_disk_stats(node->disk).bytes + (int64_t) sim_below(sim, 20000); break;
    }
    sim_node_disk_fault(node, &faults, (int64_t) sim_below(sim, 2000000));
}

// The operator looks at nodes whose disk was bad.
static void s_repair(struct run *run)
{
    for (size_t i = 0; i < run->nodes.count; i++) {
        struct sim_node *node = &run->nodes.nodes[i];
        if (!node->disk_bad || node->state != SIM_NODE_UP) continue;
        if (sim_chance(run->sim, 300000))
            sim_node_power_off(node);
        else
            sim_node_kill(node);
        sim_node_start_after(node, s_downtime(run));
    }
}

static void s_fault(struct run *run)
{
    sim_t *sim = run->sim;
    uint64_t kind = sim_below(sim, run->disks_fail ? 125 : 100);
    if (kind >= 115)
        s_repair(run);
    else if (kind >= 100)
        s_disk(run);
    else if (kind < 16)
        s_crash(run, false);
    else if (kind < 32)
        s_crash(run, true);
    else if (kind < 36)
        s_power_cut(run);
    else if (kind < 44)
        s_stop(run);
    else if (kind < 60)
        s_cut(run);
    else if (kind < 68)
        sim_heal(sim);
    else if (kind < 76)
        s_break(run);
    else if (kind < 84)
        s_pause(run);
    else if (kind < 88)
        sim_host_clock_jump(sim, s_some_host(run), (int64_t) sim_below(sim, 7200000) - 3600000);
    else if (kind < 92)
        sim_admin_delete_some(&run->clients);
    else if (kind < 96)
        sim_producer_kill(&run->clients.producers[sim_below(sim, (uint64_t) run->clients.producer_count)]);
    else
        sim_consumer_kill(&run->clients.consumers[sim_below(sim, (uint64_t) run->clients.consumer_count)]);
}

// What was stopped cleanly comes back by itself after a while.
static void s_revive(struct run *run)
{
    for (size_t i = 0; i < run->nodes.count; i++) {
        struct sim_node *node = &run->nodes.nodes[i];
        if (node->state == SIM_NODE_DOWN && !node->restart_wanted) sim_node_start_after(node, s_downtime(run));
    }
}

static void s_nemesis(void *context)
{
    struct run *run = context;
    if (sim_now_us(run->sim) >= run->faults_end_us) return;
    s_revive(run);
    sim_nodes_supervise(&run->nodes);
    s_fault(run);
    sim_at(run->sim, sim_now_us(run->sim) + 1000 + (int64_t) sim_below(run->sim, 2 * run->fault_wait_us), s_nemesis,
           run);
}

// ---- phases

static bool s_bad(const struct run *run)
{
    return sim_history_violation(run->history) != NULL;
}

static bool s_start(struct run *run)
{
    for (size_t i = 0; i < run->nodes.count; i++) sim_node_start(&run->nodes.nodes[i]);
    if (sim_clients_create_topics(&run->clients)) return !s_bad(run);
    sim_history_violate(run->history, "O9: topics could not be created in a calm cluster");
    return false;
}

static bool s_bad_or_over(void *context)
{
    return s_bad(context);
}

static bool s_load(struct run *run)
{
    sim_configure(run->sim, &run->network);
    sim_producers_start(&run->clients);
    sim_consumers_start(&run->clients);
    if (run->has_churn) sim_churn_start(&run->churn, &run->clients, run->clients.stable_count);
    if (run->has_stranger) sim_stranger_start(&run->clients);
    run->faults_end_us = sim_now_us(run->sim) + 4 * SECOND + (int64_t) sim_below(run->sim, 8 * SECOND);
    sim_at(run->sim, sim_now_us(run->sim) + 500000, s_nemesis, run);
    sim_run_until_true(run->sim, run->faults_end_us, s_bad_or_over, run);
    return !s_bad(run);
}

static bool s_nodes_up(void *context)
{
    const struct run *run = context;
    return s_bad(run) || sim_nodes_all_up(&run->nodes);
}

static bool s_settled(void *context)
{
    const struct run *run = context;
    return s_bad(run) || (sim_nodes_all_up(&run->nodes) && sim_producers_done(&run->clients));
}

static bool s_consumers_done(void *context)
{
    const struct run *run = context;
    if (s_bad(run)) return true;
    for (int i = 0; i < run->clients.consumer_count; i++) {
        if (!sim_consumer_done(&run->clients.consumers[i])) return false;
    }
    return true;
}

static bool s_heal(struct run *run)
{
    sim_trace(run->sim, "nemesis", "faults stop");
    run->clients.calm = true;
    sim_configure(run->sim, &s_calm);
    sim_heal(run->sim);
    sim_run_until(run->sim, sim_now_us(run->sim) + 2 * SECOND); // the last bad disk works again
    s_repair(run);
    int64_t limit = sim_now_us(run->sim) + HEAL_LIMIT;
    s_revive(run);
    while (run->has_churn && !sim_run_until_true(run->sim, sim_now_us(run->sim) + SECOND, s_nodes_up, run)) {
        s_revive(run); // one that was stopping when faults stopped
        if (sim_now_us(run->sim) >= limit) break;
    }
    if (run->has_churn) sim_churn_settle(&run->churn);
    sim_producers_finish(&run->clients);
    while (!sim_run_until_true(run->sim, sim_now_us(run->sim) + SECOND, s_settled, run)) {
        s_revive(run);
        sim_nodes_supervise(&run->nodes);
        sim_producers_finish(&run->clients);
        if (sim_now_us(run->sim) < limit) continue;
        sim_producers_trace(&run->clients);
        sim_history_violate(run->history, "O9: %lld s after the last fault %s", (long long) (HEAL_LIMIT / SECOND),
                            sim_nodes_all_up(&run->nodes) ? "producers still wait" : "a node is still down");
    }
    // What nobody waits for an answer to is still under way: slow messages, syncs that hang.
    sim_run_until(run->sim, sim_now_us(run->sim) + 4 * SECOND);
    return !s_bad(run);
}

// Where every log begins and ends now; consumers have to get there.
static bool s_goals(struct run *run, int64_t starts[][SIM_PARTITIONS_MAX], int64_t ends[][SIM_PARTITIONS_MAX])
{
    struct sim_clients *clients = &run->clients;
    for (int t = 0; t < clients->topic_count; t++) {
        for (int p = 0; p < clients->topics[t].partitions; p++) {
            int64_t durable_end = -1;
            weft_err_t err = WEFT_OK;
            ends[t][p] = 0; // not the same as durable_end: it is asked at least once
            for (int tries = 0; err == WEFT_OK && durable_end != ends[t][p] && tries < 100; tries++) {
                if (tries > 0)
                    sim_run_until(run->sim, sim_now_us(run->sim) + 100000); // what asked for no answer still comes
                err = sim_admin_offsets(clients, t, p, false, &starts[t][p], &ends[t][p]);
                if (err == WEFT_OK) err = sim_admin_offsets(clients, t, p, true, &starts[t][p], &durable_end);
            }
            if (err == WEFT_OK && durable_end == ends[t][p]) continue;
            sim_history_violate(run->history, "O9: topic %d partition %d: %s, durable to %lld of %lld", t, p,
                                weft_err_name(err), (long long) durable_end, (long long) ends[t][p]);
            return false;
        }
    }
    return true;
}

// ---- rot: a bit that flips at rest is named, or harmless; never passed on, never a silent loss

static bool s_brokers_down(void *context)
{
    const struct run *run = context;
    for (size_t i = 1; i < run->nodes.count; i++) {
        if (run->nodes.nodes[i].state != SIM_NODE_DOWN) return false;
    }
    return true;
}

static void s_rot(struct run *run)
{
    for (size_t i = 1; i < run->nodes.count; i++) sim_node_stop(&run->nodes.nodes[i]);
    if (!sim_run_until_true(run->sim, sim_now_us(run->sim) + HEAL_LIMIT, s_brokers_down, run)) {
        sim_history_violate(run->history, "O9: brokers do not stop");
        return;
    }
    char path[256];
    struct sim_node *victim = &run->nodes.nodes[1 + sim_below(run->sim, run->nodes.count - 1)];
    const char *suffix = sim_chance(run->sim, 700000) ? ".log" : NULL;
    for (uint64_t flips = 1 + sim_below(run->sim, 12); flips > 0; flips--) {
        if (!weft_crash_disk_flip(victim->disk, sim_rand(run->sim), suffix, path, sizeof path)) break;
        sim_trace(run->sim, victim->name, "a bit flips in %s", path);
    }
    run->nodes.disk_faults++; // a start may be refused, with a sentence
    run->rotten = victim->id;
    for (size_t i = 1; i < run->nodes.count; i++) sim_node_start(&run->nodes.nodes[i]);
    sim_run_until(run->sim, sim_now_us(run->sim) + 5 * SECOND);
}

static bool s_final_done(void *context)
{
    const struct sim_consumer *reader = context;
    return sim_history_violation(reader->owner->history) != NULL || sim_consumer_done(reader);
}

static bool s_verify_topic(struct run *run, int topic, const int64_t *starts, const int64_t *ends)
{
    struct sim_consumer reader;
    char name[24];
    snprintf(name, sizeof name, "final-%d", topic);
    int partitions = run->clients.topics[topic].partitions;
    for (int p = 0; p < partitions; p++) {
        if (ends[p] >= 0) sim_history_final_begin(run->history, topic, p, starts[p]);
    }
    sim_consumer_start(&reader, &run->clients, name, topic, true, true);
    reader.rotten = run->rotten;
    for (int p = 0; p < partitions; p++) {
        reader.goal[p] = ends[p];
        if (starts[p] == ends[p]) reader.goal[p] = -1; // nothing to read
        if (ends[p] < 0) reader.stopped[p] = true;     // refused already
    }
    if (!sim_run_until_true(run->sim, sim_now_us(run->sim) + HEAL_LIMIT, s_final_done, &reader)) {
        sim_history_violate(run->history, "O9: the final reading of topic %d does not reach its end", topic);
    }
    sim_consumer_stop(&reader);
    sim_run_until(run->sim, sim_now_us(run->sim) + 3 * SECOND); // its last step has found it gone
    for (int p = 0; p < partitions && !s_bad(run); p++) {
        if (!reader.stopped[p]) sim_history_final_end(run->history, topic, p, ends[p]);
    }
    return !s_bad(run);
}

// Reads what the brokers give out. A partition of the rotten one may refuse itself or stop the reader; whatever else is served has to be whole.
static bool s_verify_rotten(struct run *run)
{
    for (int i = 0; i < run->clients.consumer_count; i++) sim_consumer_stop(&run->clients.consumers[i]);
    s_rot(run);
    for (int t = 0; t < run->clients.topic_count && !s_bad(run); t++) {
        int64_t starts[SIM_PARTITIONS_MAX], ends[SIM_PARTITIONS_MAX];
        for (int p = 0; p < run->clients.topics[t].partitions; p++) {
            weft_err_t err = sim_admin_offsets(&run->clients, t, p, false, &starts[p], &ends[p]);
            bool rotten = sim_history_broker(run->history, t, p) == run->rotten;
            if (err != WEFT_OK) ends[p] = -1;
            if (err != WEFT_OK) sim_trace(run->sim, "admin", "topic %d partition %d: %s", t, p, weft_err_name(err));
            if (err == WEFT_OK || rotten) continue;
            sim_history_violate(run->history, "I8: topic %d partition %d answers %s, though its disk is whole", t, p,
                                weft_err_name(err));
        }
        if (!s_bad(run) && !s_verify_topic(run, t, starts, ends)) return false;
    }
    return !s_bad(run);
}

static bool s_verify(struct run *run)
{
    int64_t starts[SIM_TOPICS_MAX][SIM_PARTITIONS_MAX], ends[SIM_TOPICS_MAX][SIM_PARTITIONS_MAX];
    if (!s_goals(run, starts, ends)) return false;
    for (int i = 0; i < run->clients.consumer_count; i++) {
        struct sim_consumer *consumer = &run->clients.consumers[i];
        int partitions = run->clients.topics[consumer->topic].partitions;
        for (int p = 0; p < partitions; p++)
            consumer->goal[p] = starts[consumer->topic][p] == ends[consumer->topic][p] ? -1 : ends[consumer->topic][p];
    }
    if (!sim_run_until_true(run->sim, sim_now_us(run->sim) + HEAL_LIMIT, s_consumers_done, run)) {
        sim_history_violate(run->history, "O9: consumers do not reach the end");
    }
    // Retention may have moved the starts meanwhile.
    for (int t = 0; t < run->clients.topic_count && !s_bad(run); t++) {
        int64_t now_starts[SIM_TOPICS_MAX][SIM_PARTITIONS_MAX], now_ends[SIM_TOPICS_MAX][SIM_PARTITIONS_MAX];
        if (!s_goals(run, now_starts, now_ends)) return false;
        if (!s_verify_topic(run, t, now_starts[t], now_ends[t])) return false;
    }
    return !s_bad(run);
}

// ---- a seed

static void s_summarize(const struct run *run, struct sim_result *out)
{
    const struct sim_history_stats *stats = sim_history_stats(run->history);
    const struct sim_stats *world = sim_stats(run->sim);
    const char *violation = sim_history_violation(run->history);
    out->failed = violation != NULL;
    snprintf(out->violation, sizeof out->violation, "%s", violation != NULL ? violation : "");
    out->digest = sim_digest(run->sim);
    out->sent = stats->sent;
    out->acked = stats->acked;
    out->crashes = run->nodes.kills + run->nodes.power_losses;
    out->events = world->events;
    out->virtual_us = sim_now_us(run->sim);
    snprintf(out->summary, sizeof out->summary,
             "%zu brokers, %llu sent, %llu acked, %llu maybe, %llu refused, %llu read, %llu duplicates, %u kills, "
             "%u power losses, %u stops, %u disk faults, %llu breaks, %.1f s",
             run->nodes.count - 1, (unsigned long long) stats->sent, (unsigned long long) stats->acked,
             (unsigned long long) stats->maybe_applied, (unsigned long long) stats->not_applied,
             (unsigned long long) stats->read, (unsigned long long) stats->duplicates, run->nodes.kills,
             run->nodes.power_losses, run->nodes.stops, run->nodes.disk_faults, (unsigned long long) world->broken,
             (double) out->virtual_us / 1e6);
}

void sim_run_seed(uint64_t seed, bool trace, struct sim_result *out)
{
    struct run run = {.sim = sim_new(seed, &s_calm), .history = sim_history_new()};
    sim_wrap_seed(seed);
    sim_trace_on(run.sim, trace);
    s_plan_network(&run);
    size_t brokers = 1 + (size_t) sim_below(run.sim, 3); // one draw a statement: their order must not be the compiler's
    uint32_t shards = 1 + (uint32_t) sim_below(run.sim, 2);
    sim_nodes_init(&run.nodes, run.sim, run.history, brokers, shards);
    weft_rand_t extra; // what came to the plan later draws from its own sequence: seeds.txt keeps its histories
    weft_rand_init(&extra, seed ^ 0x5eed);
    run.nodes.inproc = weft_rand_chance(&extra, 200000);
    run.rots = weft_rand_chance(&extra, 200000);
    run.has_churn = weft_rand_chance(&extra, 250000);
    run.has_stranger = weft_rand_chance(&extra, 200000);
    sim_clients_init(&run.clients, run.sim, run.history, &run.nodes);
    s_plan_clients(&run);
    if (run.has_churn) s_plan_churn(&run);
    if (s_start(&run) && s_load(&run) && s_heal(&run)) (void) (run.rots ? s_verify_rotten(&run) : s_verify(&run));
    memset(out, 0, sizeof *out);
    s_summarize(&run, out);
    sim_clients_fini(&run.clients);
    sim_nodes_fini(&run.nodes);
    sim_destroy(&run.sim);
    sim_history_destroy(&run.history);
}
