// SPDX-License-Identifier: MPL-2.0
/*
 * One fault at a time, drawn by weight from those that the history's manners allow; some take a while (a rolling restart, a flapping link) and go on
 * beside the next ones. All choices come from the simulation's own randomness: the seed is the history.
 */
#include "sim_faults.h"

#include "sim_logs.h"

#include <stdlib.h>

#define SECOND SIM_SECOND

// ---- who

static struct sim_node *s_some_node(struct sim_run *run)
{
    const struct sim_settings *settings = &run->settings;
    uint32_t share = settings->coordinators > 1 ? 300000 : 150000;
    if (run->manners & SIM_MANNER_COORDINATORS) share = 850000;
    bool coordinator = weft_sim_chance(run->sim, share);
    uint64_t index = coordinator ? weft_sim_below(run->sim, settings->coordinators)
                                 : settings->coordinators + weft_sim_below(run->sim, settings->brokers);
    return &run->nodes.nodes[index];
}

static sim_host_t s_some_host(struct sim_run *run) // a node's or a client's
{
    struct sim_clients *clients = &run->clients;
    if (run->has_groups && weft_sim_chance(run->sim, 300000)) return sim_members_some(&run->members)->host;
    uint64_t kind = weft_sim_below(run->sim, 4);
    if (kind == 0) return clients->producers[weft_sim_below(run->sim, (uint64_t) clients->producer_count)].host;
    if (kind == 1) return clients->consumers[weft_sim_below(run->sim, (uint64_t) clients->consumer_count)].host;
    return s_some_node(run)->host;
}

// A partition, and who leads it; NULL: nobody.
static const struct weft_cluster_partition *s_some_partition(struct sim_run *run)
{
    int topic = (int) weft_sim_below(run->sim, (uint64_t) run->clients.stable_count);
    int partition = (int) weft_sim_below(run->sim, (uint64_t) run->clients.topics[topic].partitions);
    weft_id_t id;
    return sim_witness_partition(run->witness, topic, partition, &id);
}

// Who leads: the active coordinator or the leader of some partition.
static struct sim_node *s_some_leader(struct sim_run *run)
{
    if (weft_sim_chance(run->sim, 350000)) {
        int32_t id = -1;
        (void) weft_cluster_coordinator(sim_witness_cluster(run->witness), &id);
        return sim_nodes_coordinator(&run->nodes, id);
    }
    const struct weft_cluster_partition *partition = s_some_partition(run);
    return partition != NULL ? sim_nodes_broker(&run->nodes, partition->leader) : NULL;
}

static int64_t s_downtime(struct sim_run *run)
{
    return (int64_t) weft_sim_below(run->sim, weft_sim_chance(run->sim, 200000) ? 4000000 : 500000);
}

// ---- crashes

static void s_down(struct sim_run *run, struct sim_node *node, bool power)
{
    if (node->state == SIM_NODE_DOWN) return;
    if (power)
        sim_node_power_off(node);
    else
        sim_node_kill(node);
    sim_node_start_after(node, s_downtime(run));
}

static void s_crash(struct sim_run *run)
{
    s_down(run, s_some_node(run), weft_sim_chance(run->sim, 500000));
}

static void s_power_cut(struct sim_run *run) // everywhere at once, or of some
{
    uint32_t share = weft_sim_chance(run->sim, 600000) ? 1000000 : 500000;
    for (size_t i = 0; i < run->nodes.count; i++) {
        if (weft_sim_chance(run->sim, share)) s_down(run, &run->nodes.nodes[i], true);
    }
}

static void s_kill_some(struct sim_run *run) // any set of nodes
{
    for (size_t i = 0; i < run->nodes.count; i++) {
        if (weft_sim_chance(run->sim, 400000)) s_down(run, &run->nodes.nodes[i], false);
    }
}

struct crash { // that comes later
    struct sim_run *run;
    struct sim_node *node;
    bool power;
    int64_t away_us;
};

static void s_crash_due(void *context)
{
    struct crash crash = *(struct crash *) context;
    free(context);
    if (crash.node->state == SIM_NODE_DOWN || weft_sim_now_us(crash.run->sim) >= crash.run->faults_end_us) return;
    if (crash.power)
        sim_node_power_off(crash.node);
    else
        sim_node_kill(crash.node);
    sim_node_start_after(crash.node, crash.away_us);
}

static void s_crash_at(struct sim_run *run, int64_t at_us, struct sim_node *node, bool power, int64_t away_us)
{
    struct crash *crash = weft_alloc(sizeof *crash);
    *crash = (struct crash){.run = run, .node = node, .power = power, .away_us = away_us};
    weft_sim_at(run->sim, at_us, s_crash_due, crash);
}

// Clients lose their connections, send again what had no answer, and then the power goes: nothing may have been promised too early (rule 15).
static void s_break(struct sim_run *run)
{
    struct sim_node *node = s_some_node(run);
    for (int i = 0; i < run->clients.producer_count; i++) {
        weft_sim_break(run->sim, node->host, run->clients.producers[i].host);
    }
    bool and_power = node->is_broker && weft_sim_chance(run->sim, 400000);
    if (and_power) {
        s_crash_at(run, weft_sim_now_us(run->sim) + (int64_t) weft_sim_below(run->sim, 120000), node, true, 100000);
    }
}

static void s_stop(struct sim_run *run)
{
    struct sim_node *node = s_some_node(run);
    if (node->state == SIM_NODE_UP) sim_node_stop(node);
}

// The brokers of a partition go, at once or one after the other (rule 4, KIP-966). Mostly one of them only dies and keeps what it has written, while
// the machines of all others lose power: what was committed is kept by that one.
static void s_last_one(struct sim_run *run)
{
    const struct weft_cluster_partition *partition = s_some_partition(run);
    if (partition == NULL) return;
    int64_t at_us = weft_sim_now_us(run->sim);
    bool at_once = weft_sim_chance(run->sim, 500000), spare = weft_sim_chance(run->sim, 800000);
    uint64_t turn = weft_sim_below(run->sim, partition->replica_count);
    uint64_t spared = weft_sim_below(run->sim, partition->replica_count);
    for (uint64_t i = 0; i < partition->replica_count; i++) {
        int32_t broker = partition->replicas[(turn + i) % partition->replica_count];
        int64_t away_us = (int64_t) weft_sim_below(run->sim, weft_sim_chance(run->sim, 500000) ? 4000000 : 500000);
        bool loses = !spare || i != spared;
        s_crash_at(run, at_us, sim_nodes_broker(&run->nodes, broker), loses, away_us);
        at_us += (int64_t) weft_sim_below(run->sim, at_once ? 100000 : 2000000);
    }
}

// ---- restarts of all, one after the other

static void s_rolling_step(void *context)
{
    struct sim_run *run = context;
    if (weft_sim_now_us(run->sim) >= run->faults_end_us || run->rolling_at >= run->nodes.count) {
        run->rolling_at = 0;
        run->rolling = false;
        return;
    }
    struct sim_node *node = &run->nodes.nodes[run->rolling_at++];
    if (node->state == SIM_NODE_UP && !node->retired) {
        if (weft_sim_chance(run->sim, 800000))
            sim_node_stop(node); // s_revive starts it again
        else
            s_down(run, node, false);
    }
    weft_sim_at(run->sim, weft_sim_now_us(run->sim) + 300000 + (int64_t) weft_sim_below(run->sim, 2000000),
                s_rolling_step, run);
}

static void s_rolling(struct sim_run *run)
{
    if (run->rolling) return;
    run->rolling = true;
    run->rolling_at = 0;
    s_rolling_step(run);
}

// ---- the network

static void s_cut(struct sim_run *run)
{
    sim_host_t a = s_some_host(run), b = s_some_host(run);
    weft_sim_cut(run->sim, a, b, true);
    if (weft_sim_chance(run->sim, 500000)) weft_sim_cut(run->sim, b, a, true);
}

// From all other nodes, one way or both; clients still reach it.
static void s_isolate(struct sim_run *run, const struct sim_node *node)
{
    uint64_t how = weft_sim_below(run->sim, 4);
    for (size_t i = 0; i < run->nodes.count; i++) {
        sim_host_t other = run->nodes.nodes[i].host;
        if (how != 0) weft_sim_cut(run->sim, node->host, other, true);
        if (how != 1) weft_sim_cut(run->sim, other, node->host, true);
    }
}

static void s_ring(struct sim_run *run) // each hears only some of the others
{
    size_t count = run->nodes.count;
    for (size_t i = 0; i < count; i++) {
        weft_sim_cut(run->sim, run->nodes.nodes[i].host, run->nodes.nodes[(i + 1) % count].host, true);
    }
}

static void s_split(struct sim_run *run) // two halves
{
    bool side[SIM_NODES_MAX];
    for (size_t i = 0; i < run->nodes.count; i++) side[i] = weft_sim_chance(run->sim, 500000);
    for (size_t i = 0; i < run->nodes.count; i++) {
        for (size_t j = 0; j < run->nodes.count; j++) {
            if (side[i] != side[j]) weft_sim_cut(run->sim, run->nodes.nodes[i].host, run->nodes.nodes[j].host, true);
        }
    }
}

struct flap {
    struct sim_run *run;
    sim_host_t a, b;
    int left;
};

static void s_flap_step(void *context)
{
    struct flap *flap = context;
    struct sim_run *run = flap->run;
    bool over = --flap->left <= 0 || weft_sim_now_us(run->sim) >= run->faults_end_us;
    bool cut = !over && flap->left % 2 == 0;
    weft_sim_cut(run->sim, flap->a, flap->b, cut);
    weft_sim_cut(run->sim, flap->b, flap->a, cut);
    if (over) {
        free(flap);
        return;
    }
    weft_sim_at(run->sim, weft_sim_now_us(run->sim) + 100000 + (int64_t) weft_sim_below(run->sim, 200000), s_flap_step,
                flap);
}

static void s_flap(struct sim_run *run)
{
    struct flap *flap = weft_alloc(sizeof *flap);
    sim_host_t a = s_some_node(run)->host, b = s_some_node(run)->host;
    *flap = (struct flap){.run = run, .a = a, .b = b, .left = 12};
    s_flap_step(flap);
}

static void s_net(struct sim_run *run)
{
    uint64_t kind = weft_sim_below(run->sim, 100);
    if (kind < 40)
        s_cut(run);
    else if (kind < 65)
        s_isolate(run, s_some_node(run));
    else if (kind < 75)
        s_ring(run);
    else if (kind < 85)
        s_split(run);
    else
        s_flap(run);
}

// ---- stops of the processor, slow things

static void s_pause(struct sim_run *run)
{
    int64_t duration = (int64_t) weft_sim_below(run->sim, 3000000);
    struct sim_node *node = s_some_node(run);
    if (node->state != SIM_NODE_UP) return;
    if (weft_sim_chance(run->sim, 500000)) {
        weft_sim_host_pause(run->sim, node->host, duration);
    } else {
        weft_part_id_t part = (weft_part_id_t) (1 + weft_sim_below(run->sim, node->node->part_count));
        weft_sim_part_pause(run->sim, node->host, part, duration);
    }
    weft_sim_trace(run->sim, node->name, "paused for %lld us", (long long) duration);
}

// A leader that is stopped, or hears no other node, for up to several sessions; then it goes on as if nothing had been.
static void s_zombie(struct sim_run *run)
{
    struct sim_node *node = s_some_leader(run);
    if (node == NULL || node->state != SIM_NODE_UP) return;
    int64_t duration = 300000 + (int64_t) weft_sim_below(run->sim, 5 * 1000 * run->settings.session_ms);
    if (weft_sim_chance(run->sim, 500000)) {
        s_isolate(run, node);
        return;
    }
    weft_sim_host_pause(run->sim, node->host, duration);
    weft_sim_trace(run->sim, node->name, "leads, and is paused for %lld us", (long long) duration);
}

static void s_slow(struct sim_run *run)
{
    struct sim_node *node = s_some_node(run), *other = s_some_node(run);
    if (weft_sim_chance(run->sim, 300000)) {
        uint32_t factor = 5 + (uint32_t) weft_sim_below(run->sim, 200);
        weft_sim_slow(run->sim, node->host, other->host, factor);
        if (weft_sim_chance(run->sim, 500000)) weft_sim_slow(run->sim, other->host, node->host, factor);
        weft_sim_trace(run->sim, node->name, "link to %s is %u times slower", other->name, factor);
        return;
    }
    if (weft_sim_chance(run->sim, 600000)) {
        uint32_t factor = weft_sim_chance(run->sim, 300000) ? 1 : 5 + (uint32_t) weft_sim_below(run->sim, 100);
        weft_sim_host_slow_disk(run->sim, node->host, factor);
        weft_sim_trace(run->sim, node->name, "syncs take %u times longer", factor);
        return;
    }
    if (node->state != SIM_NODE_UP) return;
    int64_t duration = (int64_t) weft_sim_below(run->sim, 8000000);
    weft_sim_sync_pause(run->sim, node->host, duration);
    int64_t until_us = weft_sim_now_us(run->sim) + duration;
    if (until_us > run->hang_until_us) run->hang_until_us = until_us;
    weft_sim_trace(run->sim, node->name, "its disk hangs for %lld us", (long long) duration);
}

// ---- disks

// Errors are followed by a new start; a full disk is not: there writing goes on by itself.
static void s_disk(struct sim_run *run)
{
    sim_t *sim = run->sim;
    struct sim_node *node = s_some_node(run);
    if (node->disk_fails || node->state != SIM_NODE_UP) return;
    struct weft_crash_disk_faults faults = {.read_eio = 0};
    switch (weft_sim_below(sim, 4)) {
    case 0: faults.sync_eio = 200000; break;
    case 1: faults.write_eio = 20000; break;
    case 2: faults.write_enospc = 100000; break;
    default: faults.space_bytes = weft_crash_disk_stats(node->disk).bytes + (int64_t) weft_sim_below(sim, 20000); break;
    }
    sim_node_disk_fault(node, &faults, (int64_t) weft_sim_below(sim, 2000000));
}

// The operator looks at nodes whose disk was bad.
static void s_repair(struct sim_run *run)
{
    for (size_t i = 0; i < run->nodes.count; i++) {
        struct sim_node *node = &run->nodes.nodes[i];
        if (!node->disk_bad || node->disk_fails || node->state != SIM_NODE_UP) continue;
        s_down(run, node, weft_sim_chance(run->sim, 500000));
    }
}

// Is somebody else alive and in sync, for every partition of which this broker may have all that is committed?
static bool s_dispensable(struct sim_run *run, int32_t broker)
{
    size_t cursor = 0;
    const struct weft_cluster_topic *topic;
    while ((topic = weft_cluster_next_topic(sim_witness_cluster(run->witness), &cursor)) != NULL) {
        for (uint32_t p = 0; p < topic->partition_count; p++) {
            const struct weft_cluster_partition *partition = &topic->partitions[p];
            bool other = false;
            for (int i = 0; i < partition->isr_count; i++) {
                int32_t id = partition->isr[i];
                const struct sim_node *node = sim_nodes_broker(&run->nodes, id);
                bool lives = node->state == SIM_NODE_UP && !node->disk_bad;
                other = other || (id != broker && lives && sim_witness_in_sync(partition, id));
            }
            if (!other) return false;
        }
    }
    return true;
}

// A machine comes back under its old name with an empty disk, or with a copy of its directory from before.
static void s_lose_data(struct sim_run *run)
{
    struct sim_node *node = s_some_node(run);
    if (!node->is_broker || node->state == SIM_NODE_DOWN || node->removed || run->data_lost) return;
    if (run->save == NULL) {
        run->saved = node;
        run->save = weft_crash_disk_save(node->disk);
        return;
    }
    if (!s_dispensable(run, node->id)) return;
    run->data_lost = true;
    s_down(run, node, true);
    sim_history_data_lost(run->history, node->id, weft_sim_now_us(run->sim));
    if (node == run->saved) {
        weft_sim_trace(run->sim, node->name, "has a copy of its data from before");
        weft_crash_disk_restore(node->disk, run->save);
        return;
    }
    weft_sim_trace(run->sim, node->name, "has a new disk");
    node->new_disk = true; // refused while it alone had something, until somebody says that this is gone
    node->word = weft_sim_chance(run->sim, 300000);
    weft_crash_disk_wipe(node->disk);
}

// ---- clients

static void s_client(struct sim_run *run)
{
    struct sim_clients *clients = &run->clients;
    uint64_t kind = weft_sim_below(run->sim, 3);
    if (kind == 0)
        sim_admin_delete_some(clients);
    else if (kind == 1)
        sim_producer_kill(&clients->producers[weft_sim_below(run->sim, (uint64_t) clients->producer_count)]);
    else
        sim_consumer_kill(&clients->consumers[weft_sim_below(run->sim, (uint64_t) clients->consumer_count)]);
}

static void s_clock(struct sim_run *run)
{
    weft_sim_host_clock_jump(run->sim, s_some_host(run), (int64_t) weft_sim_below(run->sim, 7200000) - 3600000);
}

static void s_calm(struct sim_run *run)
{
    weft_sim_heal(run->sim);
}

// ---- the nemesis

struct fault {
    uint32_t manners; // any of these; 0: always
    uint32_t weight;
    void (*happen)(struct sim_run *run);
};

static const struct fault s_faults[] = {
    {SIM_MANNER_CRASHES, 32, s_crash},
    {SIM_MANNER_CRASHES, 4, s_power_cut},
    {SIM_MANNER_CRASHES, 4, s_kill_some},
    {SIM_MANNER_CRASHES, 8, s_stop},
    {SIM_MANNER_CRASHES, 8, s_break},
    {SIM_MANNER_LAST_ONE, 16, s_last_one},
    {SIM_MANNER_ROLLING, 16, s_rolling},
    {SIM_MANNER_CUTS, 16, s_net},
    {0, 8, s_calm},
    {SIM_MANNER_ZOMBIES, 16, s_zombie},
    {0, 8, s_pause},
    {SIM_MANNER_SLOW, 16, s_slow},
    {SIM_MANNER_DATA_LOSS, 16, s_lose_data},
    {SIM_MANNER_CLOCKS, 4, s_clock},
    {0, 12, s_client},
};

static void s_fault(struct sim_run *run)
{
    if (run->disks_fail && weft_sim_chance(run->sim, 200000)) {
        if (weft_sim_chance(run->sim, 600000))
            s_disk(run);
        else
            s_repair(run);
        return;
    }
    size_t count = sizeof s_faults / sizeof s_faults[0];
    uint32_t all = 0;
    for (size_t i = 0; i < count; i++) {
        if (s_faults[i].manners == 0 || (s_faults[i].manners & run->manners) != 0) all += s_faults[i].weight;
    }
    uint64_t drawn = weft_sim_below(run->sim, all);
    for (size_t i = 0; i < count; i++) {
        if (s_faults[i].manners != 0 && (s_faults[i].manners & run->manners) == 0) continue;
        if (drawn < s_faults[i].weight) {
            s_faults[i].happen(run);
            return;
        }
        drawn -= s_faults[i].weight;
    }
}

void sim_faults_revive(struct sim_run *run)
{
    for (size_t i = 0; i < run->nodes.count; i++) {
        struct sim_node *node = &run->nodes.nodes[i];
        if (node->state == SIM_NODE_DOWN && !node->restart_wanted) sim_node_start_after(node, s_downtime(run));
    }
}

static void s_nemesis(void *context)
{
    struct sim_run *run = context;
    if (weft_sim_now_us(run->sim) >= run->faults_end_us) return;
    sim_faults_revive(run);
    sim_logs_compare_committed(&run->nodes, &run->clients, run->witness);
    s_fault(run);
    weft_sim_at(run->sim, weft_sim_now_us(run->sim) + 1000 + (int64_t) weft_sim_below(run->sim, 2 * run->fault_wait_us),
                s_nemesis, run);
}

void sim_faults_start(struct sim_run *run)
{
    run->faults_end_us = weft_sim_now_us(run->sim) + run->faults_us;
    weft_sim_at(run->sim, weft_sim_now_us(run->sim) + 500000, s_nemesis, run);
}

void sim_faults_heal(struct sim_run *run)
{
    weft_sim_trace(run->sim, "nemesis", "faults stop");
    run->clients.calm = true;
    weft_sim_configure(run->sim, &sim_calm);
    weft_sim_heal(run->sim);
    for (size_t i = 0; i < run->nodes.count; i++) weft_sim_host_slow_disk(run->sim, run->nodes.nodes[i].host, 1);
    weft_sim_run_until(run->sim, weft_sim_now_us(run->sim) + 2 * SECOND); // the last bad disk works again
    for (size_t i = 0; i < run->nodes.count; i++) run->nodes.nodes[i].word = run->nodes.nodes[i].new_disk;
    s_repair(run);
    sim_faults_revive(run);
}
