// SPDX-License-Identifier: MPL-2.0
// Objects of the cluster state, and lookups.
//
// Brokers, topics, deleted ids and operations live in maps that iterate in insertion order, so that every node that
// applied the same commands walks them in the same order: snapshots and digests depend on it. A deleted topic's id never
// returns (C6); a removed broker that comes back is a new one, behind the others.
#include "cluster_state.h"

#include "../base/assert.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// Drawn where topics go: nobody takes what was derived of others for what is derived of these.
static uint64_t s_lineage(void)
{
    static atomic_uint_fast64_t last;
    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

weft_cluster_t *weft_cluster_new(void)
{
    weft_cluster_t *self = weft_calloc(1, sizeof *self);
    self->codec = weft_calloc(1, sizeof *self->codec);
    weft_codec_init(self->codec);
    self->coordinator_id = -1;
    self->coordinator_endpoint = weft_strdup("");
    self->brokers = weft_map_new();
    self->topics = weft_map_new();
    self->names = weft_map_new();
    self->deleted = weft_map_new();
    self->removed = weft_map_new();
    self->operations = weft_map_new();
    self->level = 1;
    self->topics_lineage = s_lineage();
    return self;
}

static void s_texts_free(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++) free(texts[i]);
    free(texts);
}

static void s_broker_free(struct weft_cluster_broker *broker)
{
    s_texts_free(broker->endpoints, broker->shard_count);
    s_texts_free(broker->replica_endpoints, broker->shard_count);
    free(broker->rack);
    free(broker->version);
    free(broker);
}

static void s_topic_free(struct weft_cluster_topic *topic)
{
    s_texts_free(topic->config_keys, topic->config_count);
    s_texts_free(topic->config_values, topic->config_count);
    for (uint32_t i = 0; i < topic->partition_count; i++) free(topic->partitions[i].moving);
    free(topic->partitions);
    free(topic->name);
    free(topic);
}

void weft_cluster_destroy(weft_cluster_t **self_p)
{
    weft_cluster_t *self = *self_p;
    if (!self) return;
    void *value;
    for (size_t cursor = 0; weft_map_next(self->brokers, &cursor, NULL, &value);) s_broker_free(value);
    for (size_t cursor = 0; weft_map_next(self->topics, &cursor, NULL, &value);) s_topic_free(value);
    for (size_t cursor = 0; weft_map_next(self->operations, &cursor, NULL, &value);) free(value);
    s_texts_free(self->settings.keys, self->settings.count);
    s_texts_free(self->settings.values, self->settings.count);
    free(self->voters);
    weft_map_destroy(&self->operations);
    weft_map_destroy(&self->brokers);
    weft_map_destroy(&self->topics);
    weft_map_destroy(&self->names);
    weft_map_destroy(&self->deleted);
    weft_map_destroy(&self->removed);
    weft_codec_fini(self->codec);
    free(self->codec);
    free(self->changes);
    free(self->coordinator_endpoint);
    free(self);
    *self_p = NULL;
}

// ---- brokers

struct weft_cluster_broker *weft_cluster_broker_find(const weft_cluster_t *self, int32_t id)
{
    return id < 0 ? NULL : weft_map_get_u64(self->brokers, (uint64_t) id);
}

struct weft_cluster_broker *weft_cluster_broker_add(weft_cluster_t *self, int32_t id)
{
    struct weft_cluster_broker *broker = weft_calloc(1, sizeof *broker);
    broker->id = id;
    broker->rack = weft_strdup("");
    broker->version = weft_strdup("");
    weft_map_put_u64(self->brokers, (uint64_t) id, broker);
    return broker;
}

static char *s_text_of(weft_slice_t text)
{
    return text.data ? weft_slice_dup(text) : weft_strdup("");
}

static char **s_texts_of(const weft_slice_t *texts, size_t count)
{
    char **copies = weft_calloc(count, sizeof *copies);
    for (size_t i = 0; i < count; i++) copies[i] = s_text_of(texts[i]);
    return copies;
}

void weft_cluster_broker_describe(struct weft_cluster_broker *broker, weft_slice_t rack, weft_slice_t version,
                                  const weft_slice_t *endpoints, size_t endpoint_count,
                                  const weft_slice_t *replica_endpoints)
{
    s_texts_free(broker->endpoints, broker->shard_count);
    s_texts_free(broker->replica_endpoints, broker->shard_count);
    free(broker->rack);
    free(broker->version);
    broker->rack = s_text_of(rack);
    broker->version = s_text_of(version);
    broker->shard_count = endpoint_count;
    broker->endpoints = s_texts_of(endpoints, endpoint_count);
    broker->replica_endpoints = s_texts_of(replica_endpoints ? replica_endpoints : endpoints, endpoint_count);
}

void weft_cluster_broker_drop(weft_cluster_t *self, struct weft_cluster_broker *broker)
{
    weft_assert(broker->stored_count == 0 && broker->led_count == 0); // C2
    weft_map_remove_u64(self->brokers, (uint64_t) broker->id);
    s_broker_free(broker);
}

// ---- topics

struct weft_cluster_topic *weft_cluster_topic_find(const weft_cluster_t *self, weft_id_t id)
{
    return weft_map_get(self->topics, weft_id_slice(&id));
}

struct weft_cluster_topic *weft_cluster_topic_add(weft_cluster_t *self, weft_id_t id, weft_slice_t name,
                                                  uint64_t created_index)
{
    struct weft_cluster_topic *topic = weft_calloc(1, sizeof *topic);
    topic->id = id;
    topic->name = weft_slice_dup(name);
    topic->created_index = created_index;
    topic->serial = ++self->topics_added;
    weft_map_put(self->topics, weft_id_slice(&id), topic);
    weft_map_put(self->names, name, topic);
    return topic;
}

void weft_cluster_topic_drop(weft_cluster_t *self, struct weft_cluster_topic *topic)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) weft_cluster_partition_end(self, &topic->partitions[i]);
    self->partition_count -= topic->partition_count;
    weft_map_remove(self->names, weft_slice_text(topic->name));
    weft_map_remove(self->topics, weft_id_slice(&topic->id));
    s_topic_free(topic);
    self->topics_lineage = s_lineage();
}

struct weft_cluster_partition *weft_cluster_topic_grow(weft_cluster_t *self, struct weft_cluster_topic *topic,
                                                       uint32_t count)
{
    uint32_t before = topic->partition_count;
    weft_assert(count > before);
    topic->partitions = weft_realloc(topic->partitions, (size_t) count * sizeof *topic->partitions);
    memset(&topic->partitions[before], 0, (size_t) (count - before) * sizeof *topic->partitions);
    for (uint32_t i = before; i < count; i++) topic->partitions[i].leader = -1;
    topic->partition_count = count;
    self->partition_count += count - before;
    return &topic->partitions[before];
}

static int s_entry_compare(const void *a, const void *b)
{
    const struct weft_config_entry *const *x = a, *const *y = b;
    return weft_slice_compare((*x)->key, (*y)->key);
}

void weft_cluster_texts_set(char ***keys, char ***values, size_t *count, const struct weft_config_entry *entries,
                            size_t entry_count)
{
    weft_assert(entry_count <= WEFT_TOPIC_CONFIG_MAX);
    const struct weft_config_entry *sorted[WEFT_TOPIC_CONFIG_MAX];
    for (size_t i = 0; i < entry_count; i++) sorted[i] = &entries[i];
    if (entry_count > 1) qsort(sorted, entry_count, sizeof sorted[0], s_entry_compare);
    s_texts_free(*keys, *count);
    s_texts_free(*values, *count);
    *keys = weft_calloc(entry_count, sizeof **keys);
    *values = weft_calloc(entry_count, sizeof **values);
    *count = entry_count;
    for (size_t i = 0; i < entry_count; i++) {
        (*keys)[i] = s_text_of(sorted[i]->key);
        (*values)[i] = s_text_of(sorted[i]->value);
    }
}

void weft_cluster_topic_configure(struct weft_cluster_topic *topic, const struct weft_config_entry *entries,
                                  size_t count)
{
    weft_cluster_texts_set(&topic->config_keys, &topic->config_values, &topic->config_count, entries, count);
}

// Into a set of ids that forgets the oldest beyond `max`.
static void s_ids_add(weft_cluster_t *self, weft_map_t *ids, weft_id_t id, size_t max)
{
    if (weft_map_count(ids) >= max) {
        size_t cursor = 0;
        weft_slice_t oldest;
        void *value;
        if (weft_map_next(ids, &cursor, &oldest, &value)) {
            weft_id_t oldest_id = weft_id_of_slice(oldest);
            weft_map_remove(ids, weft_id_slice(&oldest_id));
        }
    }
    weft_map_put(ids, weft_id_slice(&id), self);
}

void weft_cluster_deleted_add(weft_cluster_t *self, weft_id_t id)
{
    s_ids_add(self, self->deleted, id, WEFT_CLUSTER_DELETED_MAX);
}

void weft_cluster_removed_add(weft_cluster_t *self, weft_id_t directory)
{
    s_ids_add(self, self->removed, directory, WEFT_CLUSTER_REMOVED_MAX);
}

void weft_cluster_note(weft_cluster_t *self, enum weft_cluster_change_type type, weft_id_t topic, uint32_t partition,
                       int32_t broker)
{
    if (self->change_count == self->change_capacity) {
        self->change_capacity = self->change_capacity ? self->change_capacity * 2 : 64;
        self->changes = weft_realloc(self->changes, self->change_capacity * sizeof *self->changes);
    }
    self->changes[self->change_count++] =
        (struct weft_cluster_change){.type = type, .topic = topic, .partition = partition, .broker = broker};
}

// ---- lookups

uint64_t weft_cluster_index(const weft_cluster_t *self)
{
    return self->index;
}

uint64_t weft_cluster_epoch(const weft_cluster_t *self)
{
    return self->epoch;
}

weft_id_t weft_cluster_id(const weft_cluster_t *self)
{
    return self->id;
}

const char *weft_cluster_coordinator(const weft_cluster_t *self, int32_t *id)
{
    if (id) *id = self->coordinator_id;
    return self->coordinator_endpoint;
}

const struct weft_cluster_broker *weft_cluster_broker(const weft_cluster_t *self, int32_t id)
{
    return weft_cluster_broker_find(self, id);
}

const struct weft_cluster_topic *weft_cluster_topic(const weft_cluster_t *self, weft_id_t id)
{
    return weft_cluster_topic_find(self, id);
}

const struct weft_cluster_topic *weft_cluster_topic_by_name(const weft_cluster_t *self, weft_slice_t name)
{
    return weft_map_get(self->names, name);
}

void weft_cluster_topics_version(const weft_cluster_t *self, uint64_t *lineage, uint64_t *added)
{
    *lineage = self->topics_lineage;
    *added = self->topics_added;
}

size_t weft_cluster_topic_count(const weft_cluster_t *self)
{
    return weft_map_count(self->topics);
}

uint64_t weft_cluster_partition_count(const weft_cluster_t *self)
{
    return self->partition_count;
}

bool weft_cluster_topic_was_deleted(const weft_cluster_t *self, weft_id_t id)
{
    return weft_map_get(self->deleted, weft_id_slice(&id)) != NULL;
}

bool weft_cluster_was_removed(const weft_cluster_t *self, weft_id_t directory)
{
    return weft_map_get(self->removed, weft_id_slice(&directory)) != NULL;
}

const struct weft_cluster_broker *weft_cluster_next_broker(const weft_cluster_t *self, size_t *cursor)
{
    void *value;
    return weft_map_next(self->brokers, cursor, NULL, &value) ? value : NULL;
}

const struct weft_cluster_topic *weft_cluster_next_topic(const weft_cluster_t *self, size_t *cursor)
{
    void *value;
    return weft_map_next(self->topics, cursor, NULL, &value) ? value : NULL;
}

static const char *s_text(char *const *keys, char *const *values, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i], key) == 0) return values[i];
    return NULL;
}

const char *weft_cluster_topic_config(const struct weft_cluster_topic *topic, const char *key)
{
    return s_text(topic->config_keys, topic->config_values, topic->config_count, key);
}

const char *weft_cluster_config(const weft_cluster_t *self, const char *key)
{
    return s_text(self->settings.keys, self->settings.values, self->settings.count, key);
}

const struct weft_cluster_voter *weft_cluster_voters(const weft_cluster_t *self, size_t *count)
{
    *count = self->voter_count;
    return self->voters;
}

uint32_t weft_cluster_level(const weft_cluster_t *self)
{
    return self->level;
}

uint32_t weft_cluster_shard_of(weft_id_t topic, uint32_t partition, size_t shard_count)
{
    if (shard_count <= 1) return 0;
    return (uint32_t) (weft_slice_hash(weft_id_slice(&topic), partition) % shard_count);
}
