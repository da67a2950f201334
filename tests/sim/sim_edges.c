// SPDX-License-Identifier: MPL-2.0
// The lives of edges: drawn, started, killed and started again; what is asked of them. Faults are in sim_edge_faults.c.
#include "sim_edge_faults.h"

#include "../../lib/base/assert.h"
#include "../../nodes/edge/edge.h"

#include <stdio.h>
#include <string.h>

#define SECOND INT64_C(1000000)
#define STOP_LIMIT_US (10 * SECOND) // as stop.ms: what is not answered by then is not waited for
#define STOP_STEP_US 5000
#define WATCH_US 100000
#define SPOOL_BYTES (1 << 20)
#define SPOOL_SLACK (1 << 20) // indexes, and what came at once

// ---- plan

static const char *s_pick(sim_t *sim, const char *const *choices, size_t count)
{
    return choices[weft_sim_below(sim, count)];
}

#define PICK(sim, ...) \
    s_pick((sim), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void s_add(struct sim_edges *self)
{
    sim_t *sim = self->clients->sim;
    struct sim_edge *edge = &self->edges[self->count++];
    *edge = (struct sim_edge){.owner = self};
    snprintf(edge->name, sizeof edge->name, "edge-%d", self->count);
    snprintf(edge->endpoint, sizeof edge->endpoint,
             self->clients->nodes->settings.inproc ? "inproc://%s" : "tcp://%s:9660", edge->name);
    edge->disk = weft_crash_disk_new(weft_rand_next(weft_sim_rand(sim)));
    edge->host = weft_sim_host_add(sim, edge->name, weft_crash_disk_of(edge->disk));
    edge->spools = weft_sim_chance(sim, 850000);
    edge->after_ms = PICK(sim, "0", "50ms", "500ms", "2s");
    edge->retry_ms = PICK(sim, "500ms", "5s", "5s");
    edge->metadata_ms = PICK(sim, "1s", "1m");
    edge->max_ms = PICK(sim, "0", "0", "0", "3s");
    edge->client_requests = PICK(sim, "4096", "4096", "8");
}

static const char *s_through(const struct sim_edges *self)
{
    sim_t *sim = self->clients->sim;
    if (self->count == 2 && weft_sim_chance(sim, 500000)) return self->both;
    return self->edges[weft_sim_below(sim, (uint64_t) self->count)].endpoint;
}

int64_t sim_edges_plan(struct sim_edges *self, struct sim_clients *clients, bool sets_aside)
{
    sim_t *sim = clients->sim;
    *self = (struct sim_edges){.clients = clients, .sets_aside = sets_aside};
    int count = weft_sim_chance(sim, 300000) ? 2 : 1;
    while (self->count < count) s_add(self);
    if (count == 2) snprintf(self->both, sizeof self->both, "%s,%s", self->edges[0].endpoint, self->edges[1].endpoint);
    for (int i = 0; i < SIM_PRODUCERS_MAX; i++) {
        if (i > 0 && weft_sim_chance(sim, 300000)) continue; // directly
        clients->producer_through[i] = s_through(self);
        clients->producer_no_spool[i] = weft_sim_chance(sim, 200000);
        bool spools = !clients->producer_no_spool[i] && (self->edges[0].spools || self->edges[1].spools);
        clients->producer_spread[i] = spools && clients->producer_through[i] == self->both;
    }
    for (int i = 0; i < SIM_CONSUMERS_MAX; i++)
        if (weft_sim_chance(sim, 600000)) {
            clients->consumer_through[i] = s_through(self);
        }
    self->disks_fail = weft_sim_chance(sim, 300000);
    self->wait_us = weft_sim_chance(sim, 300000) ? 400000 : 2000000;
    self->long_cuts = weft_sim_chance(sim, 100000);
    return self->long_cuts ? 60 * SECOND + (int64_t) weft_sim_below(sim, 120 * SECOND)
                           : (int64_t) weft_sim_below(sim, 12 * SECOND);
}

// ---- life

static uint64_t s_counter(const struct sim_edge *self, enum weft_edge_counter counter)
{
    return self->node != NULL ? weft_counter_get(self->node->counters[0], counter) : 0;
}

static void s_gone(struct sim_edge *self, bool silent)
{
    struct sim_edges *owner = self->owner;
    owner->spooled += s_counter(self, WEFT_EDGE_SPOOLED);
    owner->drained += s_counter(self, WEFT_EDGE_DRAINED);
    owner->duplicates += s_counter(self, WEFT_EDGE_DRAIN_DUPLICATES);
    owner->renamed += s_counter(self, WEFT_EDGE_RENAMED);
    weft_sim_host_kill(owner->clients->sim, self->host, silent);
    if (self->node != NULL) weft_node_edge.destroy(&self->node);
    self->node = NULL;
    self->stopping = false;
}

static weft_options_t *s_options(const struct sim_edge *self)
{
    weft_options_t *options = weft_options_new(weft_node_edge.options, weft_node_edge.option_count, "edge");
    char bytes[16];
    snprintf(bytes, sizeof bytes, "%d", SPOOL_BYTES);
    const char *const settings[][2] = {{"name", self->name},
                                       {"listen", self->endpoint},
                                       {"spool", self->spools ? "spool" : ""},
                                       {"spool.after.ms", self->after_ms},
                                       {"spool.max.ms", self->max_ms},
                                       {"spool.bytes", bytes},
                                       {"retry.ms", self->retry_ms},
                                       {"metadata.ms", self->metadata_ms},
                                       {"client.requests", self->client_requests}};
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        weft_assert(weft_options_set(options, settings[i][0], settings[i][1], NULL) == WEFT_OK);
    sim_clients_bootstrap(self->owner->clients, options);
    return options;
}

static void s_start_due(void *context)
{
    struct sim_edge *self = context;
    if (self->restart_wanted) sim_edge_start(self);
}

void sim_edge_start_after(struct sim_edge *self, int64_t wait_us)
{
    self->restart_wanted = true;
    weft_sim_at(self->owner->clients->sim, weft_sim_now_us(self->owner->clients->sim) + wait_us, s_start_due, self);
}

void sim_edge_start(struct sim_edge *self)
{
    const struct sim_clients *clients = self->owner->clients;
    if (self->node != NULL) return;
    self->restart_wanted = false;
    weft_options_t *options = s_options(self);
    const weft_world_t *world = weft_sim_host_world(clients->sim, self->host);
    struct weft_error error = {.text = ""};
    weft_err_t err = weft_node_edge.create(world, options, &self->node, &error);
    weft_options_destroy(&options);
    if (err == WEFT_OK) {
        self->disk_bad = self->disk_fails;
        weft_sim_trace(clients->sim, self->name, "started");
        world->ops->start(world->self);
        return;
    }
    weft_sim_trace(clients->sim, self->name, "start refused: %s", error.text);
    if (self->owner->disk_faults == 0)
        sim_history_violate(clients->history, "I9: %s does not start: %s", self->name, error.text);
    weft_crash_disk_kill(self->disk);
    s_gone(self, false);
    sim_edge_start_after(self, 200000);
}

void sim_edge_kill(struct sim_edge *self)
{
    if (self->node == NULL) return;
    weft_sim_trace(self->owner->clients->sim, self->name, "killed");
    self->owner->kills++;
    weft_crash_disk_kill(self->disk);
    s_gone(self, false);
}

void sim_edge_power_off(struct sim_edge *self)
{
    sim_t *sim = self->owner->clients->sim;
    weft_sim_trace(sim, self->name, "lost power");
    self->owner->power_losses++;
    weft_crash_disk_crash(self->disk, weft_sim_rand(sim));
    s_gone(self, true);
}

static void s_stop_step(void *context)
{
    struct sim_edge *self = context;
    sim_t *sim = self->owner->clients->sim;
    if (self->node == NULL || !self->stopping) return;
    if (weft_sim_now_us(sim) > self->stop_deadline_us) {
        sim_edge_kill(self);
        return;
    }
    if (weft_sim_part_stopped(sim, self->host, self->node->parts[self->stopping_part])) {
        if (++self->stopping_part == self->node->part_count) {
            weft_sim_trace(sim, self->name, "stopped");
            s_gone(self, false);
            weft_crash_disk_kill(self->disk);
            return;
        }
        weft_sim_part_stop(sim, self->host, self->node->parts[self->stopping_part]);
    }
    weft_sim_at(sim, weft_sim_now_us(sim) + STOP_STEP_US, s_stop_step, self);
}

void sim_edge_stop(struct sim_edge *self)
{
    sim_t *sim = self->owner->clients->sim;
    if (self->node == NULL || self->stopping) return;
    weft_sim_trace(sim, self->name, "stopping");
    self->owner->stops++;
    self->stopping = true;
    self->stopping_part = 0;
    self->stop_deadline_us = weft_sim_now_us(sim) + STOP_LIMIT_US;
    weft_sim_part_stop(sim, self->host, self->node->parts[0]);
    s_stop_step(self);
}

// ---- what is asked of them

// Bounded, whatever happens.
static void s_watch(void *context)
{
    struct sim_edges *self = context;
    sim_t *sim = self->clients->sim;
    for (int i = 0; i < self->count; i++) {
        const struct sim_edge *edge = &self->edges[i];
        char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
        if (edge->node == NULL) continue;
        (void) weft_node_edge.health(edge->node, sentence, sizeof sentence);
        unsigned long long bytes = s_counter(edge, WEFT_EDGE_WAITING_BYTES);
        if (bytes > SPOOL_BYTES + SPOOL_SLACK)
            sim_history_violate(self->clients->history, "I8: %s has %llu bytes in its spool, and may have %d",
                                edge->name, bytes, SPOOL_BYTES);
    }
    weft_sim_at(sim, weft_sim_now_us(sim) + WATCH_US, s_watch, self);
}

void sim_edges_start(struct sim_edges *self)
{
    for (int i = 0; i < self->count; i++) sim_edge_start(&self->edges[i]);
    s_watch(self);
}

bool sim_edges_settled(const struct sim_edges *self, char *why, size_t why_bytes)
{
    for (int i = 0; i < self->count; i++) {
        const struct sim_edge *edge = &self->edges[i];
        unsigned long long waiting = s_counter(edge, WEFT_EDGE_WAITING_BATCHES);
        if (edge->node == NULL || edge->stopping)
            snprintf(why, why_bytes, "%s is down", edge->name);
        else if (waiting > 0)
            snprintf(why, why_bytes, "%llu batches wait in the spool of %s", waiting, edge->name);
        else
            continue;
        return false;
    }
    return true;
}

void sim_edges_tell_renamed(const struct sim_edges *self)
{
    uint64_t renamed = self->renamed;
    for (int i = 0; i < self->count; i++) renamed += s_counter(&self->edges[i], WEFT_EDGE_RENAMED);
    if (renamed > 0) sim_history_renamed(self->clients->history);
}

static uint64_t s_occurrences(weft_slice_t bytes, const char *text)
{
    uint64_t count = 0;
    size_t size = strlen(text);
    for (size_t i = 0; i + size <= bytes.size; i++) count += memcmp(bytes.data + i, text, size) == 0;
    return count;
}

// Of what was set aside a producer may have given up the epoch, with copies of it under way; it was reported to have failed
// then. Everything else the edge was to deliver. (No value of a record holds these words.)
static void s_check_dead(const struct sim_edge *self)
{
    weft_slice_t file = weft_crash_disk_peek(self->disk, "spool/dead-letters");
    uint64_t all = s_occurrences(file, "time_ms"), fenced = s_occurrences(file, "PRODUCER_FENCED");
    if (all == fenced || self->owner->sets_aside) return;
    sim_history_violate(self->owner->clients->history, "I1: %s set %llu batches aside that it had acknowledged",
                        self->name, (unsigned long long) (all - fenced));
}

void sim_edges_check(struct sim_edges *self)
{
    for (int i = 0; i < self->count; i++) {
        const struct sim_edge *edge = &self->edges[i];
        s_check_dead(edge);
        unsigned long long under_way = s_counter(edge, WEFT_EDGE_UNDER_WAY);
        if (under_way > 1000)
            sim_history_violate(self->clients->history, "I8: %llu requests are under way in %s", under_way, edge->name);
    }
}

void sim_edges_summary(const struct sim_edges *self, char *out, size_t out_bytes)
{
    uint64_t spooled = self->spooled, drained = self->drained, duplicates = self->duplicates, renamed = self->renamed;
    for (int i = 0; i < self->count; i++) {
        spooled += s_counter(&self->edges[i], WEFT_EDGE_SPOOLED);
        drained += s_counter(&self->edges[i], WEFT_EDGE_DRAINED);
        duplicates += s_counter(&self->edges[i], WEFT_EDGE_DRAIN_DUPLICATES);
        renamed += s_counter(&self->edges[i], WEFT_EDGE_RENAMED);
    }
    snprintf(out, out_bytes,
             ", %d edges: %llu batches spooled, %llu drained (%llu were there), %llu sessions renamed, %u kills, %u "
             "power losses, %u stops, %u cuts",
             self->count, (unsigned long long) spooled, (unsigned long long) drained, (unsigned long long) duplicates,
             (unsigned long long) renamed, self->kills, self->power_losses, self->stops, self->cuts);
}

void sim_edges_fini(struct sim_edges *self)
{
    for (int i = 0; i < self->count; i++) {
        s_gone(&self->edges[i], true);
        weft_crash_disk_destroy(&self->edges[i].disk);
    }
}
