// SPDX-License-Identifier: MPL-2.0
/*
 * A node's life. A crash takes the disk first: whatever a destructor still writes can't be kept. Its parts are then destroyed as
 * they stand, as the port's contract says of crashes.
 */
#include "sim_nodes.h"

#include "../../lib/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STOP_LIMIT_US INT64_C(60000000)
#define STOP_STEP_US 5000

void sim_nodes_endpoint(const struct sim_nodes *self, size_t node, char out[WEFT_ENDPOINT_BYTES_MAX])
{
    const char *format = self->settings.inproc ? "inproc://%s" : "tcp://%s:9650";
    snprintf(out, WEFT_ENDPOINT_BYTES_MAX, format, self->nodes[node].name);
}

static void s_add(struct sim_nodes *self, bool broker, int32_t id)
{
    struct sim_node *node = &self->nodes[self->count++];
    *node = (struct sim_node){.type = broker ? &weft_node_broker : &weft_node_coordinator,
                              .is_broker = broker,
                              .id = id,
                              .owner = self,
                              .power_lost_us = -1};
    snprintf(node->name, sizeof node->name, broker ? "broker-%d" : "coordinator-%d", id);
    if (broker && self->settings.racks > 0)
        snprintf(node->rack, sizeof node->rack, "rack-%u", (unsigned) id % self->settings.racks);
    node->disk = weft_crash_disk_new(weft_rand_next(weft_sim_rand(self->sim)));
    node->host = weft_sim_host_add(self->sim, node->name, weft_crash_disk_of(node->disk));
}

void sim_nodes_init(struct sim_nodes *self, sim_t *sim, sim_history_t *history, const struct sim_settings *settings)
{
    *self = (struct sim_nodes){.sim = sim, .history = history, .settings = *settings};
    for (size_t i = 1; i <= settings->coordinators; i++) s_add(self, false, (int32_t) i);
    for (size_t i = 1; i <= settings->brokers; i++) s_add(self, true, (int32_t) i);
}

struct sim_node *sim_nodes_broker(struct sim_nodes *self, int32_t id)
{
    for (size_t i = 0; i < self->count; i++) {
        if (self->nodes[i].is_broker && self->nodes[i].id == id) return &self->nodes[i];
    }
    return NULL;
}

struct sim_node *sim_nodes_coordinator(struct sim_nodes *self, int32_t id)
{
    for (size_t i = 0; i < self->count; i++) {
        if (!self->nodes[i].is_broker && self->nodes[i].id == id) return &self->nodes[i];
    }
    return NULL;
}

static void s_gone(struct sim_node *self, bool silent)
{
    weft_sim_host_kill(self->owner->sim, self->host, silent);
    if (self->node != NULL) self->type->destroy(&self->node);
    self->node = NULL;
    self->state = SIM_NODE_DOWN;
}

void sim_nodes_fini(struct sim_nodes *self)
{
    for (size_t i = 0; i < self->count; i++) {
        s_gone(&self->nodes[i], true);
        weft_crash_disk_destroy(&self->nodes[i].disk);
    }
}

static void s_set(weft_options_t *options, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void s_set(weft_options_t *options, const char *name, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    weft_err_t err = weft_options_set(options, name, text, NULL);
    weft_assert(err == WEFT_OK);
}

// The endpoints of all coordinators, as brokers ("E,E") or coordinators ("1=E,2=E") are told.
static void s_coordinators(const struct sim_nodes *self, bool named, char *out, size_t out_bytes)
{
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    out[0] = '\0';
    for (size_t i = 0; i < self->count; i++) {
        const struct sim_node *node = &self->nodes[i];
        if (node->is_broker) continue;
        sim_nodes_endpoint(self, i, endpoint);
        size_t used = strlen(out);
        if (named)
            snprintf(out + used, out_bytes - used, "%s%d=%s", used > 0 ? "," : "", node->id, endpoint);
        else
            snprintf(out + used, out_bytes - used, "%s%s", used > 0 ? "," : "", endpoint);
    }
}

static weft_options_t *s_options(const struct sim_node *self)
{
    const struct sim_settings *settings = &self->owner->settings;
    weft_options_t *options = weft_options_new(self->type->options, self->type->option_count, self->type->name);
    char text[1024];
    sim_nodes_endpoint(self->owner, (size_t) (self - self->owner->nodes), text);
    s_set(options, "listen", "%s", text);
    s_set(options, "data", "data");
    s_set(options, "id", "%d", self->id);
    if (self->is_broker) {
        s_coordinators(self->owner, false, text, sizeof text);
        s_set(options, "coordinators", "%s", text);
        s_set(options, "shards", "%u", settings->shards);
        s_set(options, "retention.check.ms", "500ms");
        s_set(options, "rack", "%s", self->rack);
        if (self->word) s_set(options, "data.lost", "true");
        s_set(options, "replica.lag.ms", "%u", settings->replica_lag_ms);
        s_set(options, "replica.wait.ms", "%u", settings->replica_wait_ms);
        s_set(options, "replica.bytes", "%u", settings->replica_bytes);
        return options;
    }
    s_coordinators(self->owner, true, text, sizeof text);
    if (settings->coordinators > 1) s_set(options, "coordinators", "%s", text);
    s_set(options, "session.ms", "%u", settings->session_ms);
    s_set(options, "election.ms", "%u", settings->election_ms);
    s_set(options, "quorum.heartbeat.ms", "%u", settings->quorum_heartbeat_ms);
    s_set(options, "snapshot.commands", "%u", settings->snapshot_commands);
    s_set(options, "stuck.ms", "%u", settings->stuck_ms);
    return options;
}

static void s_start_due(void *context)
{
    struct sim_node *self = context;
    if (self->restart_wanted) sim_node_start(self);
}

void sim_node_start_after(struct sim_node *self, int64_t wait_us)
{
    self->restart_wanted = true;
    weft_sim_at(self->owner->sim, weft_sim_now_us(self->owner->sim) + wait_us, s_start_due, self);
}

// A refused start leaves nothing behind but the parts already added to the world.
static void s_refused(struct sim_node *self, const struct weft_error *error)
{
    struct sim_nodes *owner = self->owner;
    snprintf(self->refusal, sizeof self->refusal, "%s", error->text);
    weft_sim_trace(owner->sim, self->name, "start refused: %s", error->text);
    owner->refused_starts++;
    if (owner->disk_faults == 0)
        sim_history_violate(owner->history, "I9: %s does not start: %s", self->name, error->text);
    weft_crash_disk_kill(self->disk);
    s_gone(self, false);
    sim_node_start_after(self, 200000);
}

void sim_node_start(struct sim_node *self)
{
    if (self->state != SIM_NODE_DOWN || self->retired) return;
    self->restart_wanted = false;
    weft_options_t *options = s_options(self);
    const weft_world_t *world = weft_sim_host_world(self->owner->sim, self->host);
    struct weft_error error = {.text = ""};
    struct weft_node *node = NULL;
    weft_err_t err = self->type->create(world, options, &node, &error);
    weft_options_destroy(&options);
    if (err != WEFT_OK) {
        s_refused(self, &error);
        return;
    }
    self->starts++;
    self->disk_bad = self->disk_fails;
    self->refusal[0] = '\0';
    self->node = node;
    self->state = SIM_NODE_UP;
    weft_sim_trace(self->owner->sim, self->name, "started");
    world->ops->start(world->self);
}

void sim_node_kill(struct sim_node *self)
{
    if (self->state == SIM_NODE_DOWN) return;
    weft_sim_trace(self->owner->sim, self->name, "killed");
    self->owner->kills++;
    weft_crash_disk_kill(self->disk);
    s_gone(self, false);
}

void sim_node_power_off(struct sim_node *self)
{
    weft_sim_trace(self->owner->sim, self->name, "lost power");
    self->owner->power_losses++;
    weft_crash_disk_crash(self->disk, weft_sim_rand(self->owner->sim));
    s_gone(self, true);
    self->power_lost_us = weft_sim_now_us(self->owner->sim);
    if (self->is_broker) sim_history_power_lost(self->owner->history, self->id, self->power_lost_us);
}

static void s_stop_step(void *context)
{
    struct sim_node *self = context;
    sim_t *sim = self->owner->sim;
    if (self->state != SIM_NODE_STOPPING) return;
    if (weft_sim_part_stopped(sim, self->host, self->node->parts[self->stopping])) {
        if (++self->stopping == self->node->part_count) {
            weft_sim_trace(sim, self->name, "stopped");
            s_gone(self, false);
            weft_crash_disk_kill(self->disk);
            return;
        }
        weft_sim_part_stop(sim, self->host, self->node->parts[self->stopping]);
    }
    if (weft_sim_now_us(sim) > self->stop_deadline_us) {
        if (self->owner->disk_faults == 0)
            sim_history_violate(self->owner->history, "O9: %s does not stop", self->name);
        sim_node_kill(self);
        return;
    }
    weft_sim_at(sim, weft_sim_now_us(sim) + STOP_STEP_US, s_stop_step, self);
}

void sim_node_stop(struct sim_node *self)
{
    if (self->state != SIM_NODE_UP) return;
    weft_sim_trace(self->owner->sim, self->name, "stopping");
    self->owner->stops++;
    self->state = SIM_NODE_STOPPING;
    self->stopping = 0;
    self->stop_deadline_us = weft_sim_now_us(self->owner->sim) + STOP_LIMIT_US;
    weft_sim_part_stop(self->owner->sim, self->host, self->node->parts[0]);
    s_stop_step(self);
}

static void s_disk_good(void *context)
{
    struct sim_node *self = context;
    self->disk_fails = false;
    weft_crash_disk_faults_set(self->disk, &(struct weft_crash_disk_faults){.read_eio = 0});
    weft_sim_trace(self->owner->sim, self->name, "disk works again");
}

// A log whose sync or write failed is given up (rule 11), with all that was not synced: as if its machine had lost power then.
static void s_given_up(void *context)
{
    struct sim_node *self = context;
    sim_history_power_lost(self->owner->history, self->id, weft_sim_now_us(self->owner->sim));
    if (self->disk_fails) weft_sim_at(self->owner->sim, weft_sim_now_us(self->owner->sim) + 50000, s_given_up, self);
}

void sim_node_disk_fault(struct sim_node *self, const struct weft_crash_disk_faults *faults, int64_t duration_us)
{
    weft_sim_trace(self->owner->sim, self->name, "disk: write EIO %u, ENOSPC %u, sync EIO %u, open EIO %u, space %lld",
                   faults->write_eio, faults->write_enospc, faults->sync_eio, faults->open_eio,
                   (long long) faults->space_bytes);
    self->owner->disk_faults++;
    self->disk_bad = self->disk_fails = true;
    weft_crash_disk_faults_set(self->disk, faults);
    if (self->is_broker && (faults->sync_eio > 0 || faults->write_eio > 0)) s_given_up(self);
    weft_sim_at(self->owner->sim, weft_sim_now_us(self->owner->sim) + duration_us, s_disk_good, self);
}

void sim_nodes_supervise(struct sim_nodes *self)
{
    for (size_t i = 0; i < self->count; i++) {
        struct sim_node *node = &self->nodes[i];
        char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
        if (node->state != SIM_NODE_UP) continue;
        if (node->type->health(node->node, sentence, sizeof sentence) != WEFT_HEALTH_FAILED) continue;
        weft_sim_trace(self->sim, node->name, "failed: %s", sentence);
        sim_node_kill(node);
        sim_node_start_after(node, 100000);
    }
}

bool sim_nodes_all_up(const struct sim_nodes *self)
{
    for (size_t i = 0; i < self->count; i++) {
        const struct sim_node *node = &self->nodes[i];
        if (!node->retired && !node->removed && node->state != SIM_NODE_UP) return false;
    }
    return true;
}
