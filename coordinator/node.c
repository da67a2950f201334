// SPDX-License-Identifier: MPL-2.0
// The coordinator as a node: options, data directory, parts, health.
//
// The data directory holds `identity`, `lock`, `checkpoint` (the synced end of the log), `vote`, `log/` and `snapshot`.
// Everything is opened and recovered before the parts are added, so that a damaged log refuses the start with a
// sentence instead of failing a running node.
#include "node.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"
#include "../lib/log/sync_part.h"

#include <weft_gen/config.h>
#include <weft_gen/limits.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { S_CHECKPOINT_MS = 1000 };

// ---- health, from any thread

void weft_coordinator_health_set(weft_coordinator_t *self, enum weft_health health, const char *sentence)
{
    struct weft_coordinator_node *node = self->node;
    int now = atomic_load(&node->health);
    if (now == WEFT_HEALTH_FAILED || (now == WEFT_HEALTH_STOPPING && health != WEFT_HEALTH_FAILED)) return;
    if (health == WEFT_HEALTH_FAILED) snprintf(node->failure, sizeof node->failure, "%s", sentence);
    atomic_store(&node->health, (int) health);
}

void weft_coordinator_office_set(weft_coordinator_t *self, bool in_office)
{
    atomic_store(&self->node->in_office, in_office);
}

static enum weft_health s_serving(const struct weft_coordinator_node *self, char *sentence, size_t bytes)
{
    uint64_t leaderless = weft_counter_get(&self->counters, WEFT_COUNT_LEADERLESS);
    uint64_t alive = weft_counter_get(&self->counters, WEFT_COUNT_BROKERS_ALIVE);
    if (leaderless && atomic_load(&self->in_office)) {
        snprintf(sentence, bytes, "%llu of %llu partitions have no leader; weft cluster status says what they wait for",
                 (unsigned long long) leaderless,
                 (unsigned long long) weft_counter_get(&self->counters, WEFT_COUNT_PARTITIONS));
        return WEFT_HEALTH_DEGRADED;
    }
    if (!atomic_load(&self->in_office)) {
        snprintf(sentence, bytes, "follows: another coordinator is in office");
        return WEFT_HEALTH_SERVING;
    }
    snprintf(sentence, bytes, "in office, %llu broker%s alive", (unsigned long long) alive, alive == 1 ? "" : "s");
    return WEFT_HEALTH_SERVING;
}

static enum weft_health s_health(const struct weft_node *node, char *sentence, size_t bytes)
{
    const struct weft_coordinator_node *self = (const struct weft_coordinator_node *) node;
    int health = atomic_load(&self->health);
    if (health == WEFT_HEALTH_SERVING) return s_serving(self, sentence, bytes);
    const char *text = health == WEFT_HEALTH_FAILED     ? self->failure
                       : health == WEFT_HEALTH_STOPPING ? "stopping: syncing what there is"
                                                        : "starting: not in office yet";
    snprintf(sentence, bytes, "%s", text);
    return (enum weft_health) health;
}

// ---- building

void weft_coordinator_joined(weft_coordinator_t *self)
{
    weft_id_t cluster = weft_cluster_id(self->cluster);
    if (weft_id_is_zero(cluster) || !weft_id_is_zero(weft_identity_cluster_id(self->node->identity))) return;
    struct weft_error error;
    if (weft_identity_join(self->node->identity, cluster, &error) != WEFT_OK) // tried again at the next start
        weft_trace(WEFT_TRACE_WARN, self->name, "the data directory could not be marked with its cluster: %s",
                   error.text);
}

static weft_err_t s_open_directory(struct weft_coordinator_node *self, const struct weft_disk *disk,
                                   const weft_options_t *options, weft_checkpoint_t **checkpoint,
                                   struct weft_error *error)
{
    weft_rand_t rand;
    weft_rand_seed_os(&rand);
    const struct weft_identity_claim claim = {.node = "coordinator",
                                              .node_id = (int32_t) weft_options_int(options, "id"),
                                              .directory_id = weft_rand_id(&rand),
                                              .now_ms = (int64_t) time(NULL) * 1000};
    weft_err_t err = weft_identity_open(disk, weft_options_text(options, "data"), &claim, &self->identity, error);
    if (err) return err;
    err = weft_checkpoint_open(disk, weft_options_text(options, "data"), checkpoint, error);
    if (err) return err;
    bool clean = false; // every start replays and syncs its log alike
    err = weft_checkpoint_take_clean(*checkpoint, &clean);
    if (err)
        return weft_error_set(error, err, "the clean marker in %s can't be removed: %s",
                              weft_options_text(options, "data"), weft_err_sentence(err));
    return WEFT_OK;
}

// "1=tcp://a:9651,2=tcp://b:9651,..."; false: not of that form.
static bool s_read_voter(const char *text, size_t length, struct weft_quorum_voter *out)
{
    char item[WEFT_ENDPOINT_BYTES_MAX + 16];
    if (length >= sizeof item) return false;
    memcpy(item, text, length);
    item[length] = '\0';
    char *end = NULL;
    long id = strtol(item, &end, 10);
    if (end == item || *end != '=' || id < 1 || id > INT32_MAX || !end[1]) return false;
    if (strlen(end + 1) >= sizeof out->endpoint) return false;
    *out = (struct weft_quorum_voter){.id = (int32_t) id};
    strcpy(out->endpoint, end + 1);
    return true;
}

static weft_err_t s_read_voters(const char *text, struct weft_quorum_voter *out, size_t *count,
                                struct weft_error *error)
{
    *count = 0;
    for (const char *at = text; *at;) {
        size_t length = strcspn(at, ",");
        if (*count == WEFT_QUORUM_VOTERS_MAX)
            return weft_error_set(error, WEFT_ERR_INVALID_CONFIG, "the option `coordinators` lists more than %d",
                                  WEFT_QUORUM_VOTERS_MAX);
        if (!s_read_voter(at, length, &out[*count]))
            return weft_error_set(error, WEFT_ERR_INVALID_CONFIG,
                                  "the option `coordinators` is ID=ENDPOINT, comma separated, not '%.*s'", (int) length,
                                  at);
        for (size_t i = 0; i < *count; i++)
            if (out[i].id == out[*count].id || strcmp(out[i].endpoint, out[*count].endpoint) == 0)
                return weft_error_set(error, WEFT_ERR_INVALID_CONFIG,
                                      "the option `coordinators` lists an id or an endpoint twice: '%.*s'",
                                      (int) length, at);
        ++*count;
        at += length + (at[length] == ',');
    }
    return WEFT_OK;
}

static uint64_t s_server_id(weft_id_t directory)
{
    uint64_t server = 0;
    for (size_t i = 0; i < 8; i++) server = server << 8 | directory.bytes[i];
    return server ? server : 1;
}

static weft_err_t s_open_quorum(weft_coordinator_t *self, const struct weft_disk *disk, const weft_options_t *options,
                                const weft_checkpoint_t *checkpoint, struct weft_error *error)
{
    struct weft_quorum_voter voters[WEFT_QUORUM_VOTERS_MAX];
    size_t count = 0;
    weft_rand_t rand;
    weft_rand_seed_os(&rand);
    weft_err_t err = s_read_voters(weft_options_text(options, "coordinators"), voters, &count, error);
    if (err) return err;
    for (size_t i = 0; i < count; i++)
        if (voters[i].id == self->id) strcpy(self->endpoint, voters[i].endpoint);
    const struct weft_quorum_options how = {
        .disk = disk,
        .directory = weft_options_text(options, "data"),
        .name = self->name,
        .synced_end = weft_checkpoint_get(checkpoint, weft_quorum_log_id(), 0),
        .snapshot_commands = (uint64_t) weft_options_int(options, "snapshot.commands"),
        .id = self->id,
        .server = s_server_id(weft_identity_directory_id(self->node->identity)),
        .cluster_id = weft_identity_cluster_id(self->node->identity),
        .format_id = weft_rand_id(&rand),
        .coordinators = voters,
        .coordinator_count = count,
        .election_ms = (uint32_t) weft_options_int(options, "election.ms"),
        .heartbeat_ms = (uint32_t) weft_options_int(options, "quorum.heartbeat.ms")};
    if (how.heartbeat_ms * 2 > how.election_ms)
        return weft_error_set(error, WEFT_ERR_INVALID_CONFIG,
                              "quorum.heartbeat.ms (%u) must be at most half of election.ms (%u)", how.heartbeat_ms,
                              how.election_ms);
    return weft_quorum_open(&how, &weft_coordinator_events, self, &self->quorum, error);
}

static void s_configure(weft_coordinator_t *self, const weft_options_t *options)
{
    self->id = (int32_t) weft_options_int(options, "id");
    snprintf(self->name, sizeof self->name, "coordinator-%d", self->id);
    self->heartbeat_us = weft_options_int(options, "heartbeat.ms") * 1000;
    self->session_us = weft_options_int(options, "session.ms") * 1000;
    self->stuck_us = weft_options_int(options, "stuck.ms") * 1000;
    self->partitions_max = (uint64_t) weft_options_int(options, "partitions.max");
}

static weft_err_t s_add_parts(struct weft_coordinator_node *self, const weft_world_t *world,
                              const weft_options_t *options, weft_coordinator_t *coordinator,
                              weft_checkpoint_t *checkpoint, struct weft_error *error)
{
    char sync_name[WEFT_NODE_NAME_BYTES_MAX + 8];
    snprintf(sync_name, sizeof sync_name, "%s/sync", self->base.name);
    struct weft_world_part sync_how = {.name = sync_name, .frame_bytes_max = WEFT_FRAME_BYTES_MAX, .peer_bytes_max = 0};
    struct weft_part *sync = weft_sync_part_new(sync_name, checkpoint, S_CHECKPOINT_MS);
    weft_part_id_t sync_id = 0, id = 0;
    weft_err_t err = world->ops->add(world->self, &sync_how, sync, &sync_id, NULL, error);
    struct weft_part *part = weft_coordinator_part(coordinator);
    if (err) {
        part->ops->destroy(&part);
        return err;
    }
    coordinator->sync_part = sync_id;
    // Snapshots of a large cluster go to brokers in one message; beyond this many bytes one that does not read is
    // not sent more.
    struct weft_world_part how = {.name = self->base.name,
                                  .listen = weft_options_text(options, "listen"),
                                  .frame_bytes_max = WEFT_FRAME_BYTES_MAX, // snapshots between coordinators
                                  .peer_bytes_max = (size_t) 2 * WEFT_FRAME_BYTES_MAX};
    err = world->ops->add(world->self, &how, part, &id, self->base.endpoint, error);
    if (err) return err;
    const char *advertise = weft_options_text(options, "advertise");
    if (advertise[0] || !coordinator->endpoint[0])
        snprintf(coordinator->endpoint, sizeof coordinator->endpoint, "%s",
                 advertise[0] ? advertise : self->base.endpoint);
    self->base.parts[self->base.part_count++] = id;
    self->base.parts[self->base.part_count++] = sync_id; // last: it answers the coordinator's syncs
    self->base.counters[self->base.counters_count++] = &self->counters;
    return WEFT_OK;
}

static void s_destroy(struct weft_node **self_p)
{
    struct weft_coordinator_node *self = (struct weft_coordinator_node *) *self_p;
    if (!self) return;
    weft_identity_destroy(&self->identity);
    weft_counters_fini(&self->counters);
    free(self);
    *self_p = NULL;
}

static weft_err_t s_create(const weft_world_t *world, const weft_options_t *options, struct weft_node **out,
                           struct weft_error *error)
{
    struct weft_coordinator_node *self = weft_calloc(1, sizeof *self);
    struct weft_node *node = &self->base;
    self->base.type = &weft_node_coordinator;
    weft_counters_init(&self->counters, weft_counter_infos_coordinator, WEFT_COUNTERS_COORDINATOR);
    weft_coordinator_t *coordinator = weft_coordinator_new();
    struct weft_part *part = weft_coordinator_part(coordinator);
    coordinator->node = self;
    coordinator->counters = &self->counters;
    s_configure(coordinator, options);
    snprintf(self->base.name, sizeof self->base.name, "%s", coordinator->name);
    weft_checkpoint_t *checkpoint = NULL;
    weft_err_t err = s_open_directory(self, world->disk, options, &checkpoint, error);
    if (!err) err = s_open_quorum(coordinator, world->disk, options, checkpoint, error);
    if (err) goto fail_part;
    err = s_add_parts(self, world, options, coordinator, checkpoint, error); // takes part and checkpoint
    if (err) goto fail_node;
    weft_trace(WEFT_TRACE_INFO, self->base.name, "data in %s, %llu commands, listening at %s",
               weft_options_text(options, "data"), (unsigned long long) weft_cluster_index(coordinator->cluster),
               self->base.endpoint);
    *out = node;
    return WEFT_OK;

fail_part:
    part->ops->destroy(&part);
    weft_checkpoint_destroy(&checkpoint);
fail_node:
    s_destroy(&node);
    return err;
}

const struct weft_parts_type weft_node_coordinator = {
    .name = "coordinator",
    .doc = "Holds brokers, topics and leadership of a cluster, and tells everyone.",
    .options = weft_options_coordinator,
    .option_count = sizeof weft_options_coordinator / sizeof weft_options_coordinator[0],
    .create = s_create,
    .health = s_health,
    .destroy = s_destroy,
};
