// SPDX-License-Identifier: MPL-2.0
/*
 * One fault at a time, beside those of the cluster (sim_faults.c), which may end a cut at any moment: that of a core that is away is put
 * back until its time is over.
 */
#include "sim_edge_faults.h"

#define SECOND INT64_C(1000000)
#define HOLD_US 100000

static sim_t *s_sim(const struct sim_edges *self)
{
    return self->clients->sim;
}

static struct sim_edge *s_some(struct sim_edges *self)
{
    return &self->edges[weft_sim_below(s_sim(self), (uint64_t) self->count)];
}

static bool s_is_over(const struct sim_edges *self)
{
    return weft_sim_now_us(s_sim(self)) >= self->end_us;
}

// ---- the core

static void s_cut_core(struct sim_edge *edge, bool cut)
{
    const struct sim_nodes *nodes = edge->owner->clients->nodes;
    for (size_t i = 0; i < nodes->count; i++) {
        if (edge->mute) weft_sim_cut(nodes->sim, edge->host, nodes->nodes[i].host, cut);
        if (edge->deaf) weft_sim_cut(nodes->sim, nodes->nodes[i].host, edge->host, cut);
    }
}

static void s_hold(void *context)
{
    struct sim_edge *edge = context;
    sim_t *sim = s_sim(edge->owner);
    if (edge->away_until_us == 0) return;
    bool over = weft_sim_now_us(sim) >= edge->away_until_us || s_is_over(edge->owner);
    s_cut_core(edge, !over);
    if (over) {
        weft_sim_trace(sim, edge->name, "the core is back");
        edge->away_until_us = 0;
        return;
    }
    weft_sim_at(sim, weft_sim_now_us(sim) + HOLD_US, s_hold, edge);
}

static void s_core_away(struct sim_edges *self)
{
    struct sim_edge *edge = s_some(self);
    sim_t *sim = s_sim(self);
    if (edge->away_until_us > 0) return;
    uint64_t most = weft_sim_chance(sim, 300000) ? SECOND : 8 * SECOND;
    if (self->long_cuts && weft_sim_chance(sim, 500000)) most = 90 * SECOND;
    int64_t duration = (int64_t) weft_sim_below(sim, most);
    uint64_t how = weft_sim_below(sim, 4);
    edge->mute = how != 0;
    edge->deaf = how != 1;
    edge->away_until_us = weft_sim_now_us(sim) + duration;
    self->cuts++;
    weft_sim_trace(sim, edge->name, "the core is away for %lld us%s%s", (long long) duration,
                   edge->mute ? "" : ", but hears it", edge->deaf ? "" : ", but is heard");
    s_hold(edge);
}

static void s_node_away(struct sim_edges *self) // one of them, until somebody heals the net
{
    const struct sim_nodes *nodes = self->clients->nodes;
    sim_host_t node = nodes->nodes[weft_sim_below(s_sim(self), nodes->count)].host, edge = s_some(self)->host;
    uint64_t how = weft_sim_below(s_sim(self), 4);
    if (how == 3) weft_sim_break(s_sim(self), node, edge);
    if (how < 2) weft_sim_cut(s_sim(self), node, edge, true);
    if (how < 3) weft_sim_cut(s_sim(self), edge, node, true);
}

// ---- the edge

static int64_t s_downtime(struct sim_edges *self)
{
    return (int64_t) weft_sim_below(s_sim(self), weft_sim_chance(s_sim(self), 200000) ? 4 * SECOND : SECOND / 2);
}

static void s_crash(struct sim_edges *self)
{
    struct sim_edge *edge = s_some(self);
    if (edge->node == NULL) return;
    if (weft_sim_chance(s_sim(self), 500000))
        sim_edge_power_off(edge);
    else
        sim_edge_kill(edge);
    sim_edge_start_after(edge, s_downtime(self));
}

static void s_stop(struct sim_edges *self)
{
    sim_edge_stop(s_some(self)); // revived later
}

static void s_pause(struct sim_edges *self)
{
    const struct sim_edge *edge = s_some(self);
    if (edge->node == NULL) return;
    weft_sim_host_pause(s_sim(self), edge->host, (int64_t) weft_sim_below(s_sim(self), 5 * SECOND));
}

static void s_clock(struct sim_edges *self)
{
    weft_sim_host_clock_jump(s_sim(self), s_some(self)->host, (int64_t) weft_sim_below(s_sim(self), 7200000) - 3600000);
}

// ---- its clients

static void s_client_away(struct sim_edges *self)
{
    struct sim_clients *clients = self->clients;
    uint64_t which = weft_sim_below(s_sim(self), (uint64_t) (clients->producer_count + clients->consumer_count));
    sim_host_t client = which < (uint64_t) clients->producer_count
                            ? clients->producers[which].host
                            : clients->consumers[which - (uint64_t) clients->producer_count].host;
    sim_host_t edge = s_some(self)->host;
    uint64_t how = weft_sim_below(s_sim(self), 4);
    if (how == 3) weft_sim_break(s_sim(self), client, edge);
    if (how < 2) weft_sim_cut(s_sim(self), client, edge, true);
    if (how < 3) weft_sim_cut(s_sim(self), edge, client, true);
}

static void s_calm(struct sim_edges *self)
{
    weft_sim_heal(s_sim(self));
}

// ---- its disk

static void s_disk_good(void *context)
{
    struct sim_edge *edge = context;
    edge->disk_fails = false;
    weft_crash_disk_faults_set(edge->disk, &(struct weft_crash_disk_faults){.read_eio = 0});
    weft_sim_trace(s_sim(edge->owner), edge->name, "disk works again");
}

static void s_slow(struct sim_edges *self)
{
    struct sim_edge *edge = s_some(self);
    sim_t *sim = s_sim(self);
    if (weft_sim_chance(sim, 500000))
        weft_sim_host_slow_disk(sim, edge->host,
                                weft_sim_chance(sim, 300000) ? 1 : 5 + (uint32_t) weft_sim_below(sim, 200));
    else if (edge->node != NULL)
        weft_sim_sync_pause(sim, edge->host, (int64_t) weft_sim_below(sim, 8 * SECOND));
}

static void s_disk(struct sim_edges *self)
{
    struct sim_edge *edge = s_some(self);
    sim_t *sim = s_sim(self);
    if (!self->disks_fail || edge->disk_fails) return;
    struct weft_crash_disk_faults faults = {.read_eio = 0};
    switch (weft_sim_below(sim, 5)) {
    case 0: faults.sync_eio = 200000; break;
    case 1: faults.write_eio = 20000; break;
    case 2: faults.write_enospc = 100000; break;
    case 3: faults.open_eio = 100000; break;
    default: faults.space_bytes = weft_crash_disk_stats(edge->disk).bytes + (int64_t) weft_sim_below(sim, 20000); break;
    }
    weft_sim_trace(sim, edge->name, "disk: sync EIO %u, write EIO %u, ENOSPC %u, open EIO %u, space %lld",
                   faults.sync_eio, faults.write_eio, faults.write_enospc, faults.open_eio,
                   (long long) faults.space_bytes);
    self->disk_faults++;
    edge->disk_fails = edge->disk_bad = true;
    weft_crash_disk_faults_set(edge->disk, &faults);
    weft_sim_at(sim, weft_sim_now_us(sim) + (int64_t) weft_sim_below(sim, 2 * SECOND), s_disk_good, edge);
}

// ---- the nemesis

struct fault {
    uint32_t weight;
    void (*happen)(struct sim_edges *self);
};

static const struct fault s_faults[] = {{30, s_core_away}, {8, s_node_away}, {24, s_crash}, {8, s_stop},
                                        {6, s_pause},      {2, s_clock},     {8, s_calm},   {10, s_client_away},
                                        {8, s_slow},       {8, s_disk}};

void sim_edges_revive(struct sim_edges *self)
{
    for (int i = 0; i < self->count; i++) {
        struct sim_edge *edge = &self->edges[i];
        if (edge->node == NULL && !edge->restart_wanted) sim_edge_start_after(edge, s_downtime(self));
    }
}

static void s_nemesis(void *context)
{
    struct sim_edges *self = context;
    sim_t *sim = s_sim(self);
    if (s_is_over(self)) return;
    sim_edges_revive(self);
    uint64_t all = 0;
    for (size_t i = 0; i < sizeof s_faults / sizeof s_faults[0]; i++) all += s_faults[i].weight;
    uint64_t drawn = weft_sim_below(sim, all);
    const struct fault *fault = s_faults;
    while (drawn >= fault->weight) drawn -= fault++->weight;
    fault->happen(self);
    weft_sim_at(sim, weft_sim_now_us(sim) + 1000 + (int64_t) weft_sim_below(sim, 2 * self->wait_us), s_nemesis, self);
}

void sim_edges_load(struct sim_edges *self, int64_t end_us)
{
    self->end_us = end_us;
    weft_sim_at(s_sim(self), weft_sim_now_us(s_sim(self)) + SECOND / 2, s_nemesis, self);
}

// Behind an error other than a full disk it is started again, as it asks for.
void sim_edges_heal(struct sim_edges *self)
{
    for (int i = 0; i < self->count; i++) {
        struct sim_edge *edge = &self->edges[i];
        weft_sim_host_slow_disk(s_sim(self), edge->host, 1);
        if (edge->disk_bad && edge->node != NULL) sim_edge_kill(edge);
    }
    sim_edges_revive(self);
}
