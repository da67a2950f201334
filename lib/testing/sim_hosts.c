// SPDX-License-Identifier: MPL-2.0
// Hosts: where nodes add their parts, and how they all go at once. A slot outlives its part, so that late events find it
// dead; a host's list of slots is of one life.
#include "sim_inner.h"

#include "../base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WALL_START_MS INT64_C(1700000000000)

// ---- the world as nodes see it

static bool s_listens(const sim_t *self, const char *endpoint)
{
    for (size_t i = 0; i < self->slot_count; i++) {
        const struct sim_slot *slot = self->slots[i];
        if (slot->part == NULL) continue;
        if (strcmp(slot->listen[0], endpoint) == 0 || strcmp(slot->listen[1], endpoint) == 0) return true;
    }
    return false;
}

// "tcp://name:*" takes a port that nobody has.
static void s_bind(struct sim_host *host, const char *wanted, char *bound)
{
    size_t size = strlen(wanted);
    if (size < 2 || wanted[size - 1] != '*')
        snprintf(bound, WEFT_ENDPOINT_BYTES_MAX, "%s", wanted);
    else
        snprintf(bound, WEFT_ENDPOINT_BYTES_MAX, "%.*s%u", (int) size - 1, wanted, 40000 + host->next_port++);
}

static weft_err_t s_add(void *world, const struct weft_world_part *how, struct weft_part *part, weft_part_id_t *id,
                        char *bound, struct weft_error *error)
{
    struct sim_host *host = world;
    sim_t *self = host->sim;
    struct sim_slot *slot = weft_calloc(1, sizeof *slot);
    const char *const doors[2] = {how->listen, how->listen_too};
    for (int door = 0; door < 2; door++) {
        if (doors[door] == NULL) continue;
        s_bind(host, doors[door], slot->listen[door]);
        if (!s_listens(self, slot->listen[door])) continue;
        weft_err_t err = weft_error_set(error, WEFT_ERR_ENDPOINT_IN_USE, "%s is in use.", slot->listen[door]);
        free(slot);
        part->ops->destroy(&part);
        return err;
    }
    slot->sim = self;
    slot->host = host->index;
    slot->part = part;
    slot->peer_bytes_max = how->peer_bytes_max > 0 ? how->peer_bytes_max : SIZE_MAX;
    slot->turn_us = WEFT_TIME_NEVER;
    snprintf(slot->name, sizeof slot->name, "%s", how->name != NULL ? how->name : host->name);
    size_t size = strlen(slot->name);
    slot->is_sync = size >= 4 && strcmp(slot->name + size - 4, "sync") == 0;
    if (self->slot_count == self->slot_capacity) {
        self->slot_capacity = self->slot_capacity == 0 ? 16 : self->slot_capacity * 2;
        self->slots = weft_realloc(self->slots, self->slot_capacity * sizeof(struct sim_slot *));
    }
    self->slots[self->slot_count++] = slot;
    host->slots = weft_realloc(host->slots, (host->slot_count + 1) * sizeof(struct sim_slot *));
    host->slots[host->slot_count++] = slot;
    slot->id = (weft_part_id_t) host->slot_count;
    *id = slot->id;
    if (bound != NULL) snprintf(bound, WEFT_ENDPOINT_BYTES_MAX, "%s", slot->listen[0]);
    if (how->bound_too != NULL) snprintf(how->bound_too, WEFT_ENDPOINT_BYTES_MAX, "%s", slot->listen[1]);
    return WEFT_OK;
}

static void s_start(void *world)
{
    struct sim_host *host = world;
    for (size_t i = 0; i < host->slot_count; i++) {
        if (host->slots[i]->world_started || host->slots[i]->part == NULL) continue;
        host->slots[i]->world_started = true;
        weft_sim_turn_at(host->slots[i], host->sim->now_us);
    }
}

static const struct weft_world_ops s_world_ops = {.add = s_add, .start = s_start};

// ---- hosts

sim_host_t weft_sim_host_add(sim_t *self, const char *name, const struct weft_disk *disk)
{
    weft_assert(self->host_count < SIM_HOSTS_MAX);
    struct sim_host *host = &self->hosts[self->host_count];
    snprintf(host->name, sizeof host->name, "%s", name);
    host->sim = self;
    host->index = self->host_count++;
    host->disk = disk;
    host->world = (weft_world_t){.ops = &s_world_ops, .self = host, .disk = disk};
    return host->index;
}

const weft_world_t *weft_sim_host_world(sim_t *self, sim_host_t host)
{
    return &self->hosts[host].world;
}

static void s_slot_kill(struct sim_slot *slot, bool silent)
{
    weft_sim_net_slot_dies(slot, silent);
    if (slot->part != NULL) slot->part->ops->destroy(&slot->part);
    slot->part = NULL;
    weft_sim_queue_fini(&slot->inputs);
    weft_sim_queue_fini(&slot->inputs_too);
    free(slot->links);
    slot->links = NULL;
    slot->link_count = 0;
    free(slot->sent);
    slot->sent = NULL;
    slot->sent_count = slot->sent_capacity = 0;
}

// Its mail goes with it: bodies may hold files of its disk.
static void s_drop_mail(sim_t *self, sim_host_t host, const struct sim_slot *slot)
{
    for (size_t i = 0; i < self->event_count; i++) {
        struct sim_event *event = &self->heap[i];
        if (event->type == SIM_EVENT_MAIL && event->slot->host == host && (slot == NULL || slot == event->slot))
            weft_sim_mail_drop(&event->mail);
    }
}

void weft_sim_part_kill(sim_t *self, sim_host_t host, weft_part_id_t part)
{
    struct sim_slot *slot = weft_sim_slot_of(self, host, part);
    s_slot_kill(slot, false);
    s_drop_mail(self, host, slot);
}

void weft_sim_host_kill(sim_t *self, sim_host_t index, bool silent)
{
    struct sim_host *host = &self->hosts[index];
    for (size_t i = 0; i < host->slot_count; i++) s_slot_kill(host->slots[i], silent);
    s_drop_mail(self, index, NULL);
    free(host->slots);
    host->slots = NULL;
    host->slot_count = 0;
}

bool weft_sim_host_up(const sim_t *self, sim_host_t host)
{
    return self->hosts[host].slot_count > 0;
}

void weft_sim_host_pause(sim_t *self, sim_host_t host, int64_t duration_us)
{
    for (size_t i = 0; i < self->hosts[host].slot_count; i++) {
        weft_sim_part_pause(self, host, (weft_part_id_t) (i + 1), duration_us);
    }
}

void weft_sim_host_clock_jump(sim_t *self, sim_host_t host, int64_t ms)
{
    self->hosts[host].wall_offset_ms += ms;
}

void weft_sim_host_slow_disk(sim_t *self, sim_host_t host, uint32_t factor)
{
    self->hosts[host].disk_factor = factor;
}

void weft_sim_host_sync_us(sim_t *self, sim_host_t host, int64_t us)
{
    self->hosts[host].sync_us = us;
}

int64_t weft_sim_host_wall_ms(const sim_t *self, sim_host_t host)
{
    return WALL_START_MS + self->now_us / 1000 + self->hosts[host].wall_offset_ms;
}
