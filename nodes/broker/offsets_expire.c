// SPDX-License-Identifier: MPL-2.0
// What a ledger forgets. A sweep looks at some places of the table a turn:
//
//     LOOK     offsets of topics that were deleted get a tombstone; groups with something older than the retention are
//              noted as suspects, until there are enough of them to ask
//     ASKED    the control part asks the coordinator which of them it knows
//     DELETE   the same places again: what is old and belongs to a suspect that nobody knows gets a tombstone
//
// A group that is used meanwhile is no suspect any more, so that no answer from the past takes away what its new members
// wrote. Without an answer nothing is forgotten.
#include "offsets_self.h"

#include <weft_gen/config.h>

#include <stdlib.h>
#include <string.h>

#define S_STEPS_A_TURN 4096
#define S_ANSWER_US (10 * 1000 * 1000) // without an answer for so long: later again
#define S_REST_US_MAX (10 * 1000 * 1000)
#define S_RETENTION "offsets.retention.ms"

static int64_t s_retention_ms(const weft_shard_t *shard)
{
    weft_options_t *options = weft_options_new(weft_options_cluster, weft_options_cluster_count, "cluster");
    const char *text = weft_cluster_config(shard->cluster, S_RETENTION);
    struct weft_error error;
    if (text != NULL && weft_options_set(options, S_RETENTION, text, &error) != WEFT_OK)
        weft_trace(WEFT_TRACE_WARN, shard->name, "%s", error.text);
    int64_t retention_ms = weft_options_int(options, S_RETENTION);
    weft_options_destroy(&options);
    return retention_ms;
}

void weft_ledger_sweep_fini(weft_ledger_t *self)
{
    weft_map_destroy(&self->suspects);
}

void weft_ledger_touch(weft_ledger_t *self, weft_slice_t group)
{
    if (self->suspects != NULL && weft_map_count(self->suspects) > 0) weft_map_remove(self->suspects, group);
}

static int64_t s_rest(weft_ledger_t *self, int64_t now_us)
{
    int64_t rest_us = self->retention_ms < S_REST_US_MAX / 250 ? self->retention_ms * 250 : S_REST_US_MAX;
    if (self->expired != 0)
        weft_trace(WEFT_TRACE_INFO, self->partition->shard->name, "%s: %llu offsets expired", self->partition->name,
                   (unsigned long long) self->expired);
    self->expired = 0;
    self->sweep = WEFT_SWEEP_REST;
    self->sweep_at = 0;
    weft_map_destroy(&self->suspects);
    self->sweep_us = now_us + rest_us;
    return self->sweep_us;
}

static void s_expire(weft_ledger_t *self, const struct weft_offset_key *key)
{
    char *name = weft_slice_dup(key->group); // the table may drop its own
    const struct weft_offset_key copy = {
        .group = weft_slice(name, key->group.size), .topic = key->topic, .partition = key->partition};
    if (weft_ledger_add(self, &copy, NULL) == WEFT_OK) self->expired++; // else the next sweep
    free(name);
}

static bool s_old(const weft_ledger_t *self, const struct weft_offset_value *value)
{
    return value->committed_ms < weft_port_wall_ms(&self->partition->shard->port) - self->retention_ms;
}

static bool s_topic_gone(weft_ledger_t *self, weft_id_t topic)
{
    const weft_cluster_t *cluster = self->partition->shard->cluster;
    if (weft_id_is_zero(topic)) return false;
    if (weft_id_equal(topic, self->sweep_topic)) return self->sweep_topic_gone;
    self->sweep_topic = topic;
    self->sweep_topic_gone =
        weft_cluster_topic(cluster, topic) == NULL && weft_cluster_topic_was_deleted(cluster, topic);
    return self->sweep_topic_gone;
}

static void s_ask(weft_ledger_t *self, int64_t now_us)
{
    weft_shard_t *shard = self->partition->shard;
    weft_slice_t names[WEFT_BROKER_GROUPS_MAX], name;
    size_t count = 0;
    for (size_t cursor = 0; count < WEFT_BROKER_GROUPS_MAX && weft_map_next(self->suspects, &cursor, &name, NULL);)
        names[count++] = name;
    struct weft_broker_groups *groups = weft_broker_groups_new(names, count);
    groups->topic = self->partition->topic;
    groups->partition = self->partition->number;
    groups->from = shard->shared->id;
    self->sweep = WEFT_SWEEP_ASKED;
    self->sweep_us = now_us + S_ANSWER_US;
    const struct weft_mail mail = {.kind = WEFT_MAIL_BROKER_GROUPS, .body = groups, .body_free = free};
    shard->port.ops->post(shard->port.world, shard->broker->control_id, &mail);
}

static int64_t s_look(weft_ledger_t *self, int64_t now_us)
{
    size_t steps = S_STEPS_A_TURN;
    struct weft_offset_key key;
    struct weft_offset_value value;
    while (weft_map_count(self->suspects) < WEFT_BROKER_GROUPS_MAX &&
           weft_offsets_next(self->table, &self->sweep_at, &steps, &key, &value)) {
        self->sweep_to = self->sweep_at;
        if (s_topic_gone(self, key.topic))
            s_expire(self, &key);
        else if (s_old(self, &value))
            weft_map_put(self->suspects, key.group, self);
    }
    bool end = self->sweep_at == SIZE_MAX;
    if (!end && weft_map_count(self->suspects) < WEFT_BROKER_GROUPS_MAX) return now_us;
    if (weft_map_count(self->suspects) == 0) return s_rest(self, now_us);
    s_ask(self, now_us);
    return self->sweep_us;
}

static int64_t s_delete(weft_ledger_t *self, int64_t now_us)
{
    size_t steps = S_STEPS_A_TURN;
    struct weft_offset_key key;
    struct weft_offset_value value;
    while (self->sweep_from < self->sweep_to && weft_offsets_next(self->table, &self->sweep_from, &steps, &key, &value))
        if (s_old(self, &value) && weft_map_get(self->suspects, key.group) != NULL) s_expire(self, &key);
    if (self->sweep_from < self->sweep_to) return now_us;
    if (self->sweep_at == SIZE_MAX) return s_rest(self, now_us);
    weft_map_destroy(&self->suspects);
    self->suspects = weft_map_new();
    self->sweep = WEFT_SWEEP_LOOK;
    self->sweep_from = self->sweep_at;
    return now_us;
}

int64_t weft_ledger_expire(weft_ledger_t *self, int64_t now_us)
{
    if (self->sweep == WEFT_SWEEP_LOOK) return s_look(self, now_us);
    if (self->sweep == WEFT_SWEEP_DELETE) return s_delete(self, now_us);
    if (now_us < self->sweep_us) return self->sweep_us;
    if (self->sweep == WEFT_SWEEP_ASKED) return s_rest(self, now_us);
    self->retention_ms = s_retention_ms(self->partition->shard);
    self->suspects = weft_map_new();
    self->sweep = WEFT_SWEEP_LOOK;
    self->sweep_from = self->sweep_at = self->sweep_to = 0;
    self->sweep_topic = (weft_id_t){{0}};
    return now_us;
}

void weft_ledger_groups_told(weft_shard_t *shard, const struct weft_broker_groups *groups)
{
    const struct weft_shard_topic *topic = weft_map_get(shard->topics, weft_id_slice(&groups->topic));
    weft_partition_t *partition =
        topic != NULL && groups->partition < topic->partition_count ? topic->partitions[groups->partition] : NULL;
    weft_ledger_t *self = partition != NULL ? partition->ledger : NULL;
    if (self == NULL || self->sweep != WEFT_SWEEP_ASKED) return;
    if (!groups->answered) {
        self->sweep_us = 0; // a rest, then all of it again
        return;
    }
    weft_map_t *unknown = weft_map_new();
    for (size_t i = 0; i < groups->count; i++) // who was used since was taken off the suspects
        if (!groups->known[i] && weft_map_get(self->suspects, groups->names[i]) != NULL)
            weft_map_put(unknown, groups->names[i], self);
    weft_map_destroy(&self->suspects);
    self->suspects = unknown;
    self->sweep = WEFT_SWEEP_DELETE;
}
