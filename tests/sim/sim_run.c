// SPDX-License-Identifier: MPL-2.0
// The phases of a history, up to the verdict.
#include "sim_run.h"

#include "sim_faults.h"
#include "sim_logs.h"
#include "sim_stranger.h"
#include "sim_wrap.h"

#include <stdio.h>
#include <string.h>

#define SECOND SIM_SECOND
#define HEAL_LIMIT (60 * SECOND) // O9: after the last fault everything is delivered within this

// ---- phases

static bool s_bad(const struct sim_run *run)
{
    return sim_history_violation(run->history) != NULL;
}

static void s_supervise(void *context)
{
    struct sim_run *run = context;
    sim_nodes_supervise(&run->nodes);
    weft_sim_at(run->sim, weft_sim_now_us(run->sim) + SECOND / 2, s_supervise, run);
}

static bool s_start(struct sim_run *run)
{
    s_supervise(run);
    for (size_t i = 0; i < run->nodes.count; i++) sim_node_start(&run->nodes.nodes[i]);
    if (sim_clients_create_topics(&run->clients)) {
        if (run->has_groups) (void) sim_members_prepare(&run->members, run->clients.topics[0].replicas);
        return !s_bad(run);
    }
    sim_history_violate(run->history, "O9: topics could not be created in a calm cluster");
    return false;
}

static bool s_bad_or_over(void *context)
{
    return s_bad(context);
}

static bool s_load(struct sim_run *run)
{
    weft_sim_configure(run->sim, &run->network);
    if (run->has_edges) sim_edges_start(&run->edges);
    sim_producers_start(&run->clients);
    sim_consumers_start(&run->clients);
    if (run->has_churn) sim_churn_start(&run->churn, &run->clients, run->clients.stable_count);
    if (run->has_operations) {
        sim_operations_start(&run->operations, &run->clients, run->witness, run->unclean);
    }
    if (run->has_watch) sim_watch_start(&run->watch, &run->clients, run->witness);
    if (run->has_stranger) sim_stranger_start(&run->clients);
    if (run->has_groups) {
        sim_members_start(&run->members);
        sim_resets_start(&run->resets, &run->members);
    }
    sim_faults_start(run);
    if (run->has_edges) sim_edges_load(&run->edges, run->faults_end_us);
    weft_sim_run_until_true(run->sim, run->faults_end_us, s_bad_or_over, run);
    return !s_bad(run);
}

static bool s_nodes_up(void *context)
{
    const struct sim_run *run = context;
    return s_bad(run) || sim_nodes_all_up(&run->nodes);
}

static bool s_settled(void *context)
{
    const struct sim_run *run = context;
    char why[128];
    if (run->has_edges && !sim_edges_settled(&run->edges, why, sizeof why)) return s_bad(run);
    return s_bad(run) || (sim_nodes_all_up(&run->nodes) && sim_producers_done(&run->clients));
}

static bool s_consumers_done(void *context)
{
    const struct sim_run *run = context;
    if (s_bad(run)) return true;
    for (int i = 0; i < run->clients.consumer_count; i++) {
        if (!sim_consumer_done(&run->clients.consumers[i])) return false;
    }
    return true;
}

static bool s_replicas_settled(void *context)
{
    const struct sim_run *run = context;
    char why[256];
    return s_bad(run) || (sim_nodes_all_up(&run->nodes) && sim_witness_settled(run->witness, why, sizeof why));
}

// Every partition has a leader and all its replicas in sync; then the replicas are the same, byte for byte.
static bool s_converge(struct sim_run *run, int64_t limit_us)
{
    while (!weft_sim_run_until_true(run->sim, weft_sim_now_us(run->sim) + SECOND, s_replicas_settled, run)) {
        char why[256] = "";
        sim_faults_revive(run);
        if (weft_sim_now_us(run->sim) < limit_us) continue;
        (void) sim_witness_settled(run->witness, why, sizeof why);
        sim_history_violate(run->history, "O9: %lld s after the last fault %s", (long long) (HEAL_LIMIT / SECOND),
                            sim_nodes_all_up(&run->nodes) ? why : "a node is still down");
    }
    return !s_bad(run);
}

// Coordinators that come into office wait a session: who was not heard by then is fenced, leaders change and retain for
// themselves, tails are copied. All seemed settled before, too.
static bool s_converge_behind_start(struct sim_run *run)
{
    int64_t limit_us = weft_sim_now_us(run->sim) + HEAL_LIMIT;
    if (!s_converge(run, limit_us)) return false;
    weft_sim_run_until(run->sim, weft_sim_now_us(run->sim) + 4 * SECOND);
    return s_converge(run, limit_us);
}

static bool s_heal(struct sim_run *run)
{
    sim_faults_heal(run);
    if (run->has_edges) sim_edges_heal(&run->edges);
    if (run->has_groups) {
        sim_resets_settle(&run->resets);
        sim_members_calm(&run->members);
    }
    int64_t limit = weft_sim_now_us(run->sim) + HEAL_LIMIT;
    while ((run->has_churn || run->has_operations) &&
           !weft_sim_run_until_true(run->sim, weft_sim_now_us(run->sim) + SECOND, s_nodes_up, run)) {
        sim_faults_revive(run); // one that was stopping when faults stopped
        if (weft_sim_now_us(run->sim) >= limit) break;
    }
    if (run->has_operations) sim_operations_settle(&run->operations); // first: new topics keep away from who is drained
    if (run->has_churn) sim_churn_settle(&run->churn);
    sim_producers_finish(&run->clients);
    while (!weft_sim_run_until_true(run->sim, weft_sim_now_us(run->sim) + SECOND, s_settled, run)) {
        sim_faults_revive(run);
        if (run->has_edges) sim_edges_revive(&run->edges);
        sim_producers_finish(&run->clients);
        if (weft_sim_now_us(run->sim) < limit) continue;
        sim_producers_trace(&run->clients);
        char why[128] = "producers still wait";
        if (run->has_edges) (void) sim_edges_settled(&run->edges, why, sizeof why);
        sim_history_violate(run->history, "O9: %lld s after the last fault %s", (long long) (HEAL_LIMIT / SECOND),
                            sim_nodes_all_up(&run->nodes) ? why : "a node is still down");
    }
    if (s_bad(run) || !s_converge(run, limit)) return false;
    if (run->has_edges) sim_edges_tell_renamed(&run->edges);
    // What nobody waits for an answer to is still under way: slow messages, syncs that hang.
    int64_t rest_us = weft_sim_now_us(run->sim) + 4 * SECOND;
    weft_sim_run_until(run->sim, rest_us > run->hang_until_us ? rest_us : run->hang_until_us + SECOND);
    sim_logs_compare_all(&run->nodes, &run->clients, run->witness);
    return !s_bad(run);
}

// ---- once it is calm

static bool s_answered(void *context)
{
    const struct sim_run *run = context;
    return s_bad(run) || sim_producers_done(&run->clients);
}

// Records are taken within 10 s, by every partition.
static bool s_probe_produce(struct sim_run *run, const char *when)
{
    sim_producers_probe(&run->clients);
    if (!weft_sim_run_until_true(run->sim, weft_sim_now_us(run->sim) + 10 * SECOND, s_answered, run)) {
        sim_producers_trace(&run->clients);
        sim_history_violate(run->history, "O9: records wait for longer than 10 s %s", when);
    }
    return !s_bad(run);
}

// Decisions within three election timeouts.
static bool s_probe(struct sim_run *run)
{
    int64_t begun_us = weft_sim_now_us(run->sim);
    weft_err_t err = sim_admin_touch(&run->clients, 20 * SECOND);
    int64_t took_ms = (weft_sim_now_us(run->sim) - begun_us) / 1000;
    if (err != WEFT_OK || took_ms > 3 * run->settings.election_ms) {
        sim_history_violate(run->history, "O9: a decision took %lld ms (%s) in a calm cluster, elections %u ms",
                            (long long) took_ms, weft_err_name(err), run->settings.election_ms);
    }
    return !s_bad(run) && s_probe_produce(run, "in a calm cluster");
}

static bool s_told(void *context)
{
    const struct sim_run *run = context;
    if (s_bad(run)) return true;
    return weft_sim_now_us(run->sim) >= sim_witness_decided_us(run->witness) + SECOND && s_replicas_settled(context);
}

// All coordinators are gone: what is in sync goes on (I10). Changes wait, and one that they had told the old leader but not
// yet the new one is a change: they go when what they decided is a second old, which is six heartbeats of a broker.
static bool s_leave_alone(struct sim_run *run)
{
    if (!weft_sim_run_until_true(run->sim, weft_sim_now_us(run->sim) + HEAL_LIMIT, s_told, run)) {
        sim_history_violate(run->history, "O9: coordinators of a calm cluster do not come to rest");
    }
    if (s_bad(run)) return false;
    weft_sim_trace(run->sim, "run", "all coordinators go");
    bool power = weft_sim_chance(run->sim, 500000);
    for (size_t i = 0; i < run->settings.coordinators; i++) {
        if (power)
            sim_node_power_off(&run->nodes.nodes[i]);
        else
            sim_node_kill(&run->nodes.nodes[i]);
    }
    weft_sim_run_until(run->sim, weft_sim_now_us(run->sim) + (int64_t) weft_sim_below(run->sim, 4 * SECOND));
    if (!s_probe_produce(run, "without coordinators, with all replicas in sync")) return false;
    for (size_t i = 0; i < run->settings.coordinators; i++) sim_node_start(&run->nodes.nodes[i]);
    return s_converge_behind_start(run);
}

static bool s_all_down(void *context)
{
    const struct sim_run *run = context;
    for (size_t i = 0; i < run->nodes.count; i++) {
        if (run->nodes.nodes[i].state != SIM_NODE_DOWN) return false;
    }
    return true;
}

// Everything goes, at once or as it is asked to, and is as it was when it comes back (I9).
static bool s_restart_all(struct sim_run *run)
{
    uint64_t how = weft_sim_below(run->sim, 3);
    weft_sim_trace(run->sim, "run", "everything goes");
    for (size_t i = run->nodes.count; i-- > 0;) {
        struct sim_node *node = &run->nodes.nodes[i];
        if (how == 0) sim_node_stop(node);
        if (how == 1) sim_node_kill(node);
        if (how == 2 && node->state != SIM_NODE_DOWN) sim_node_power_off(node);
    }
    if (!weft_sim_run_until_true(run->sim, weft_sim_now_us(run->sim) + HEAL_LIMIT, s_all_down, run)) {
        sim_history_violate(run->history, "O9: not all nodes stop");
    }
    for (size_t i = 0; i < run->nodes.count; i++) {
        sim_node_start_after(&run->nodes.nodes[i], (int64_t) weft_sim_below(run->sim, SECOND));
    }
    if (!s_converge_behind_start(run)) return false;
    sim_logs_compare_all(&run->nodes, &run->clients, run->witness);
    return !s_bad(run);
}

static bool s_calm(struct sim_run *run)
{
    if (!s_probe(run)) return false;
    if (run->has_groups && !sim_members_probe(&run->members)) return false;
    if (run->left_alone && !s_leave_alone(run)) return false;
    return !run->all_restart || s_restart_all(run);
}

// Where every log begins and ends now; consumers have to get there.
static bool s_goals(struct sim_run *run, int64_t starts[][SIM_PARTITIONS_MAX], int64_t ends[][SIM_PARTITIONS_MAX])
{
    struct sim_clients *clients = &run->clients;
    for (int t = 0; t < clients->topic_count; t++) {
        for (int p = 0; p < clients->topics[t].partitions; p++) {
            int64_t durable_end = -1;
            weft_err_t err = WEFT_OK;
            ends[t][p] = 0; // not the same as durable_end: it is asked at least once
            for (int tries = 0; err == WEFT_OK && durable_end != ends[t][p] && tries < 100; tries++) {
                if (tries > 0)
                    weft_sim_run_until(run->sim,
                                       weft_sim_now_us(run->sim) + 100000); // what asked for no answer still comes
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
    const struct sim_run *run = context;
    for (size_t i = 0; i < run->nodes.count; i++) {
        if (run->nodes.nodes[i].is_broker && run->nodes.nodes[i].state != SIM_NODE_DOWN) return false;
    }
    return true;
}

static void s_rot(struct sim_run *run)
{
    size_t first = run->settings.coordinators;
    for (size_t i = first; i < run->nodes.count; i++) sim_node_stop(&run->nodes.nodes[i]);
    if (!weft_sim_run_until_true(run->sim, weft_sim_now_us(run->sim) + HEAL_LIMIT, s_brokers_down, run)) {
        sim_history_violate(run->history, "O9: brokers do not stop");
        return;
    }
    char path[256];
    struct sim_node *victim = &run->nodes.nodes[first + weft_sim_below(run->sim, run->settings.brokers)];
    const char *suffix = weft_sim_chance(run->sim, 700000) ? ".log" : NULL;
    for (uint64_t flips = 1 + weft_sim_below(run->sim, 12); flips > 0; flips--) {
        if (!weft_crash_disk_flip(victim->disk, weft_sim_rand(run->sim), suffix, path, sizeof path)) break;
        weft_sim_trace(run->sim, victim->name, "a bit flips in %s", path);
    }
    run->nodes.disk_faults++; // a start may be refused, with a sentence
    run->rotten = victim->id;
    for (size_t i = first; i < run->nodes.count; i++) sim_node_start(&run->nodes.nodes[i]);
    weft_sim_run_until(run->sim, weft_sim_now_us(run->sim) + 5 * SECOND);
}

static bool s_final_done(void *context)
{
    const struct sim_consumer *reader = context;
    return sim_history_violation(reader->owner->history) != NULL || sim_consumer_done(reader);
}

static bool s_verify_topic(struct sim_run *run, int topic, const int64_t *starts, const int64_t *ends)
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
    if (!weft_sim_run_until_true(run->sim, weft_sim_now_us(run->sim) + HEAL_LIMIT, s_final_done, &reader)) {
        sim_history_violate(run->history, "O9: the final reading of topic %d does not reach its end", topic);
    }
    sim_consumer_stop(&reader);
    weft_sim_run_until(run->sim, weft_sim_now_us(run->sim) + 3 * SECOND); // its last step has found it gone
    for (int p = 0; p < partitions && !s_bad(run); p++) {
        if (!reader.stopped[p]) sim_history_final_end(run->history, topic, p, ends[p]);
    }
    return !s_bad(run);
}

// Reads what the brokers give out. A partition of the rotten one may refuse itself or stop the reader; whatever else is served has to be whole.
static bool s_verify_rotten(struct sim_run *run)
{
    for (int i = 0; i < run->clients.consumer_count; i++) sim_consumer_stop(&run->clients.consumers[i]);
    if (run->has_groups) sim_members_stop(&run->members);
    s_rot(run);
    for (int t = 0; t < run->clients.topic_count && !s_bad(run); t++) {
        int64_t starts[SIM_PARTITIONS_MAX], ends[SIM_PARTITIONS_MAX];
        for (int p = 0; p < run->clients.topics[t].partitions; p++) {
            weft_err_t err = sim_admin_offsets(&run->clients, t, p, false, &starts[p], &ends[p]);
            bool rotten = sim_history_only_on(run->history, t, p, run->rotten);
            if (err != WEFT_OK) ends[p] = -1;
            if (err != WEFT_OK)
                weft_sim_trace(run->sim, "admin", "topic %d partition %d: %s", t, p, weft_err_name(err));
            if (err == WEFT_OK || rotten) continue;
            sim_history_violate(run->history, "I8: topic %d partition %d answers %s, though its disk is whole", t, p,
                                weft_err_name(err));
        }
        if (!s_bad(run) && !s_verify_topic(run, t, starts, ends)) return false;
    }
    return !s_bad(run);
}

struct group_goals {
    const struct sim_run *run;
    int64_t (*ends)[SIM_PARTITIONS_MAX];
};

static bool s_groups_done(void *context)
{
    const struct group_goals *goals = context;
    return s_bad(goals->run) || sim_members_done(&goals->run->members, goals->ends);
}

// Groups get to the end of what there is.
static bool s_groups_read_all(struct sim_run *run, int64_t starts[][SIM_PARTITIONS_MAX],
                              int64_t all_ends[][SIM_PARTITIONS_MAX])
{
    int64_t ends[SIM_TOPICS_MAX][SIM_PARTITIONS_MAX];
    for (int t = 0; t < run->clients.topic_count; t++) {
        for (int p = 0; p < run->clients.topics[t].partitions; p++) {
            ends[t][p] = starts[t][p] == all_ends[t][p] ? -1 : all_ends[t][p];
        }
    }
    struct group_goals goals = {.run = run, .ends = ends};
    if (!weft_sim_run_until_true(run->sim, weft_sim_now_us(run->sim) + HEAL_LIMIT, s_groups_done, &goals)) {
        sim_history_violate(run->history, "O9: a group does not reach the end of what it reads");
    }
    return !s_bad(run);
}

static bool s_verify(struct sim_run *run)
{
    int64_t starts[SIM_TOPICS_MAX][SIM_PARTITIONS_MAX], ends[SIM_TOPICS_MAX][SIM_PARTITIONS_MAX];
    if (!s_goals(run, starts, ends)) return false;
    if (run->has_groups && !s_groups_read_all(run, starts, ends)) return false;
    for (int i = 0; i < run->clients.consumer_count; i++) {
        struct sim_consumer *consumer = &run->clients.consumers[i];
        int partitions = run->clients.topics[consumer->topic].partitions;
        for (int p = 0; p < partitions; p++)
            consumer->goal[p] = starts[consumer->topic][p] == ends[consumer->topic][p] ? -1 : ends[consumer->topic][p];
    }
    if (!weft_sim_run_until_true(run->sim, weft_sim_now_us(run->sim) + HEAL_LIMIT, s_consumers_done, run)) {
        sim_history_violate(run->history, "O9: consumers do not reach the end");
    }
    // Retention may have moved the starts meanwhile, once more where leaders changed.
    weft_sim_run_until(run->sim, weft_sim_now_us(run->sim) + 2 * SECOND);
    for (int t = 0; t < run->clients.topic_count && !s_bad(run); t++) {
        int64_t now_starts[SIM_TOPICS_MAX][SIM_PARTITIONS_MAX], now_ends[SIM_TOPICS_MAX][SIM_PARTITIONS_MAX];
        if (!s_goals(run, now_starts, now_ends)) return false;
        if (!s_verify_topic(run, t, now_starts[t], now_ends[t])) return false;
    }
    if (run->has_edges) sim_edges_check(&run->edges);
    if (run->has_groups && !s_bad(run)) sim_ledger_final(run->members.ledger);
    return !s_bad(run);
}

// ---- a seed

static void s_summarize(const struct sim_run *run, struct sim_result *out)
{
    const struct sim_history_stats *stats = sim_history_stats(run->history);
    const struct sim_stats *world = weft_sim_stats(run->sim);
    const char *violation = sim_history_violation(run->history);
    out->failed = violation != NULL;
    snprintf(out->violation, sizeof out->violation, "%s", violation != NULL ? violation : "");
    out->digest = weft_sim_digest(run->sim);
    out->sent = stats->sent;
    out->acked = stats->acked;
    out->crashes = run->nodes.kills + run->nodes.power_losses;
    out->events = world->events;
    out->virtual_us = weft_sim_now_us(run->sim);
    char decided[200], groups[200] = "", edges[256] = "";
    sim_witness_summary(run->witness, decided, sizeof decided);
    if (run->has_groups) sim_members_summary(&run->members, groups, sizeof groups);
    if (run->has_edges) sim_edges_summary(&run->edges, edges, sizeof edges);
    snprintf(out->summary, sizeof out->summary,
             "%zu coordinators, %zu brokers, %d replicas, %llu sent, %llu acked, %llu maybe, %llu refused, %llu read, "
             "%llu duplicates, %u kills, %u power losses, %u stops, %u disk faults, %llu breaks%s%s%s, %.1f s",
             run->settings.coordinators, run->settings.brokers, run->replicas_max, (unsigned long long) stats->sent,
             (unsigned long long) stats->acked, (unsigned long long) stats->maybe_applied,
             (unsigned long long) stats->not_applied, (unsigned long long) stats->read,
             (unsigned long long) stats->duplicates, run->nodes.kills, run->nodes.power_losses, run->nodes.stops,
             run->nodes.disk_faults, (unsigned long long) world->broken, decided, groups, edges,
             (double) out->virtual_us / 1e6);
}

void sim_run_seed(uint64_t seed, enum sim_kind kind, bool trace, bool messages, struct sim_result *out)
{
    struct sim_run run = {.sim = weft_sim_new(seed, &sim_calm),
                          .history = sim_history_new(),
                          .seed = seed,
                          .has_edges = kind == SIM_KIND_EDGE};
    sim_wrap_seed(seed);
    weft_sim_trace_on(run.sim, trace || messages, messages);
    run.witness = sim_witness_new(run.sim, run.history, &run.clients);
    sim_plan(&run);
    if (s_start(&run) && s_load(&run) && s_heal(&run) && s_calm(&run))
        (void) (run.rots ? s_verify_rotten(&run) : s_verify(&run));
    memset(out, 0, sizeof *out);
    s_summarize(&run, out);
    weft_crash_save_destroy(&run.save);
    sim_clients_fini(&run.clients);
    if (run.has_edges) sim_edges_fini(&run.edges);
    sim_nodes_fini(&run.nodes);
    weft_sim_destroy(&run.sim);
    if (run.has_groups) sim_members_fini(&run.members);
    sim_history_destroy(&run.history);
    sim_witness_destroy(&run.witness);
}
