// SPDX-License-Identifier: MPL-2.0
// The shard's partitions follow its copy of the cluster state. Single commands tell what changed; after a snapshot,
// and when the broker has a new incarnation, everything is compared. Both end in the same few functions, which make
// one topic or one partition what the state says it is, so they may run as often as they like.
//
// A start never resumes leadership (rule 2): an assignment that names this broker as leader counts only once the state
// holds the incarnation of this start. Data on the disk is removed only for topics that the state calls deleted; of
// what it never heard, the files are left alone and named.
#include "partition.h"

#include <weft_gen/config.h>
#include <weft_gen/limits.h>

#include <stdlib.h>
#include <string.h>

// ---- settings

// Values that this build does not know (set by a newer one) are left out.
static weft_options_t *s_options(const weft_shard_t *self, const struct weft_cluster_topic *topic)
{
    weft_options_t *options = weft_options_new(weft_options_topic, weft_options_topic_count, "topic");
    for (size_t i = 0; i < topic->config_count; i++) {
        struct weft_error error;
        weft_err_t code = weft_options_set(options, topic->config_keys[i], topic->config_values[i], &error);
        if (code != WEFT_OK) weft_trace(WEFT_TRACE_WARN, self->name, "topic %s: %s", topic->name, error.text);
    }
    return options;
}

enum { S_POLICY_DELETE, S_POLICY_COMPACT, S_POLICY_BOTH }; // as the choices of cleanup.policy stand in the schema

static struct weft_topic_settings s_settings(const weft_shard_t *self, const struct weft_cluster_topic *topic)
{
    weft_options_t *options = s_options(self, topic);
    struct weft_topic_settings settings = {
        .limits = {.batch_bytes_max = (uint32_t) weft_options_int(options, "max.batch.bytes"),
                   .record_bytes_max = (uint32_t) weft_options_int(options, "max.record.bytes"),
                   .raw_bytes_max = WEFT_RAW_BYTES_MAX},
        .log = {.segment_bytes = weft_options_int(options, "segment.bytes"),
                .segment_ms = weft_options_int(options, "segment.ms"),
                .retention_ms = weft_options_int(options, "retention.ms"),
                .retention_bytes = weft_options_int(options, "retention.bytes"),
                .index_interval_bytes = (uint32_t) weft_options_int(self->broker->options, "index.interval.bytes")},
        .min_insync = (uint32_t) weft_options_int(options, "min.insync"),
        .append_time = weft_options_int(options, "timestamp.type") == 1,
        .compacts = weft_options_int(options, "cleanup.policy") != S_POLICY_DELETE,
        .deletes = weft_options_int(options, "cleanup.policy") != S_POLICY_COMPACT,
        .dirty_percent = (uint32_t) weft_options_int(options, "compact.dirty.percent"),
        .compaction_lag_ms = weft_options_int(options, "min.compaction.lag.ms"),
        .delete_retention_ms = weft_options_int(options, "delete.retention.ms"),
    };
    weft_options_destroy(&options);
    if (!settings.deletes) settings.log.retention_ms = settings.log.retention_bytes = -1;
    return settings;
}

// ---- one partition

// Is this start's registration in the state?
static bool s_registered(const weft_shard_t *self)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, self->broker->id);
    return broker != NULL && broker->alive && !weft_id_is_zero(self->incarnation) &&
           weft_id_equal(broker->incarnation, self->incarnation);
}

static bool s_leaving(const weft_shard_t *self)
{
    return atomic_load_explicit(&self->broker->standing, memory_order_relaxed) == WEFT_BROKER_LEAVING;
}

static bool s_holds(const int32_t *brokers, uint8_t count, int32_t broker)
{
    for (uint8_t i = 0; i < count; i++)
        if (brokers[i] == broker) return true;
    return false;
}

// A member that is not alive has no incarnation: what it says meanwhile is not believed, and what was asked for it
// before is void, for only who is alive is let into an in-sync set.
static struct weft_replica_assignment s_assignment(const weft_shard_t *self, const struct weft_cluster_topic *topic,
                                                   const struct weft_cluster_partition *partition)
{
    struct weft_replica_assignment out = {
        .leader_epoch = partition->leader_epoch,
        .partition_epoch = partition->partition_epoch,
        .leader = partition->leader,
        .min_insync = weft_cluster_min_insync(topic, partition),
        .member_count = partition->replica_count,
    };
    for (uint8_t i = 0; i < partition->replica_count; i++) {
        const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, partition->replicas[i]);
        out.members[i].broker = partition->replicas[i];
        if (broker != NULL && broker->alive) out.members[i].incarnation = broker->incarnation;
        out.members[i].in_sync = s_holds(partition->isr, partition->isr_count, partition->replicas[i]);
    }
    return out;
}

static bool s_same(const struct weft_replica_assignment *a, const struct weft_replica_assignment *b)
{
    if (a->leader_epoch != b->leader_epoch || a->partition_epoch != b->partition_epoch || a->leader != b->leader ||
        a->min_insync != b->min_insync || a->member_count != b->member_count)
        return false;
    for (size_t i = 0; i < a->member_count; i++) {
        const struct weft_replica_member *x = &a->members[i], *y = &b->members[i];
        if (x->broker != y->broker || x->in_sync != y->in_sync || !weft_id_equal(x->incarnation, y->incarnation))
            return false;
    }
    return true;
}

static void s_follow_partition(weft_shard_t *self, struct weft_shard_topic *topic,
                               const struct weft_cluster_topic *state, uint32_t number)
{
    const struct weft_cluster_partition *entry = &state->partitions[number];
    weft_partition_t **slot = &topic->partitions[number];
    bool holds = s_holds(entry->replicas, entry->replica_count, self->broker->id);
    bool here = holds && weft_cluster_shard_of(topic->id, number, self->broker->shard_count) == self->number;
    if (!here) {
        if (*slot == NULL) return;
        // Moved away by a state that is newer than the one it was held by: its data is of no use to anybody.
        bool moved = !holds && (*slot)->assigned && entry->partition_epoch > (*slot)->assignment.partition_epoch;
        weft_partition_close(slot, WEFT_ERR_NOT_LEADER, moved);
        return;
    }
    if (entry->leader == self->broker->id && !s_registered(self)) return; // an older start's leadership
    // Fenced at its own wish, and nobody else leads: what was promised is finished under the leadership it had (I6).
    if (entry->leader < 0 && *slot != NULL && (*slot)->leads && s_leaving(self)) return;
    if (*slot == NULL) *slot = weft_partition_new(self, topic, number);
    struct weft_replica_assignment assignment = s_assignment(self, state, entry);
    if (!(*slot)->assigned || !s_same(&assignment, &(*slot)->assignment)) weft_partition_assign(*slot, &assignment);
}

// ---- one topic

static struct weft_shard_topic *s_topic(const weft_shard_t *self, weft_id_t id)
{
    return weft_map_get(self->topics, weft_id_slice(&id));
}

static struct weft_shard_topic *s_add_topic(weft_shard_t *self, const struct weft_cluster_topic *state)
{
    struct weft_shard_topic *topic = weft_calloc(1, sizeof *topic);
    topic->id = state->id;
    topic->name = weft_strdup(state->name);
    weft_map_put(self->topics, weft_id_slice(&topic->id), topic);
    weft_map_put(self->topics_by_name, weft_slice_text(topic->name), topic);
    return topic;
}

static void s_follow_topic(weft_shard_t *self, weft_id_t id)
{
    const struct weft_cluster_topic *state = weft_cluster_topic(self->cluster, id);
    if (state == NULL) return;
    struct weft_shard_topic *topic = s_topic(self, id);
    if (topic == NULL) topic = s_add_topic(self, state);
    topic->settings = s_settings(self, state);
    if (topic->partition_count < state->partition_count) {
        topic->partitions = weft_realloc(topic->partitions, state->partition_count * sizeof(weft_partition_t *));
        for (uint32_t i = topic->partition_count; i < state->partition_count; i++) topic->partitions[i] = NULL;
        topic->partition_count = state->partition_count;
    }
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        if (topic->partitions[i] != NULL) weft_partition_configure(topic->partitions[i], &topic->settings);
        s_follow_partition(self, topic, state, i);
    }
}

static void s_free_topic(weft_shard_t *self, struct weft_shard_topic *topic)
{
    weft_map_remove(self->topics, weft_id_slice(&topic->id));
    // A topic of the same name may have taken its place already.
    if (weft_map_get(self->topics_by_name, weft_slice_text(topic->name)) == topic)
        weft_map_remove(self->topics_by_name, weft_slice_text(topic->name));
    free(topic->partitions);
    free(topic->name);
    free(topic);
}

static void s_drop_topic(weft_shard_t *self, weft_id_t id)
{
    struct weft_shard_topic *topic = s_topic(self, id);
    if (topic == NULL) return;
    bool deleted = weft_cluster_topic_was_deleted(self->cluster, id);
    if (!deleted)
        weft_trace(WEFT_TRACE_WARN, self->name, "topic %s is no longer in the cluster state: its data is left alone",
                   topic->name);
    for (uint32_t i = 0; i < topic->partition_count; i++)
        if (topic->partitions[i] != NULL) weft_partition_close(&topic->partitions[i], WEFT_ERR_UNKNOWN_TOPIC, deleted);
    s_free_topic(self, topic);
}

// ---- data of topics that nobody knows

// Once, with the first state that holds this start's registration: by then it is as new as the cluster.
static void s_check_found(weft_shard_t *self)
{
    if (self->found_checked || !s_registered(self)) return;
    self->found_checked = true;
    for (size_t i = 0; i < self->broker->found_count; i++) {
        const struct weft_broker_found *found = &self->broker->found[i];
        if (weft_cluster_shard_of(found->topic, found->partition, self->broker->shard_count) != self->number) continue;
        const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, found->topic);
        const struct weft_cluster_partition *partition =
            topic != NULL && found->partition < topic->partition_count ? &topic->partitions[found->partition] : NULL;
        if (partition != NULL && s_holds(partition->replicas, partition->replica_count, self->broker->id)) continue;
        // Deleted, or its replica was moved away while this broker was down.
        if (partition != NULL || weft_cluster_topic_was_deleted(self->cluster, found->topic)) {
            weft_shard_remove_data(self, found->topic, found->partition);
            continue;
        }
        if (found->missing) { // nothing is left of it but its entry in the checkpoint
            weft_shard_sync_forget(self, found->topic, found->partition);
            continue;
        }
        char *directory = weft_broker_directory(self->broker, found->topic, found->partition);
        weft_counter_add(self->counters, WEFT_COUNT_ORPHANS, 1);
        weft_trace(WEFT_TRACE_WARN, self->name,
                   "%s belongs to no topic of this cluster: left alone; remove it by hand if nobody needs it",
                   directory);
        free(directory);
    }
}

// ---- changes

void weft_shard_reconcile(weft_shard_t *self)
{
    size_t cursor = 0;
    weft_slice_t key;
    void *value;
    while (weft_map_next(self->topics, &cursor, &key, &value)) {
        const struct weft_shard_topic *topic = value;
        if (weft_cluster_topic(self->cluster, topic->id) == NULL) s_drop_topic(self, topic->id);
    }
    cursor = 0;
    const struct weft_cluster_topic *state;
    while ((state = weft_cluster_next_topic(self->cluster, &cursor)) != NULL) s_follow_topic(self, state->id);
    s_check_found(self);
}

// A broker's incarnation stands in the assignments of the partitions that name it: nothing else has to be looked at, for
// all of this may be 10,000 partitions and every record waits meanwhile. Whether this broker is registered counts for
// all that it holds.
static void s_follow_broker(weft_shard_t *self, int32_t broker)
{
    bool own = broker == self->broker->id;
    size_t cursor = 0;
    weft_slice_t key;
    void *value;
    while (weft_map_next(self->topics, &cursor, &key, &value)) {
        struct weft_shard_topic *topic = value;
        const struct weft_cluster_topic *state = weft_cluster_topic(self->cluster, topic->id);
        for (uint32_t i = 0; state != NULL && i < topic->partition_count; i++) {
            const struct weft_cluster_partition *entry = &state->partitions[i];
            if (own || (topic->partitions[i] != NULL && s_holds(entry->replicas, entry->replica_count, broker)))
                s_follow_partition(self, topic, state, i);
        }
    }
    if (own) s_check_found(self);
}

void weft_shard_on_change(void *shard, const struct weft_cluster_change *change)
{
    weft_shard_t *self = shard;
    switch (change->type) {
    case WEFT_CLUSTER_BROKER: s_follow_broker(self, change->broker); break;
    case WEFT_CLUSTER_TOPIC_ADDED:
    case WEFT_CLUSTER_TOPIC_CHANGED: s_follow_topic(self, change->topic); break;
    case WEFT_CLUSTER_TOPIC_REMOVED: s_drop_topic(self, change->topic); break;
    case WEFT_CLUSTER_SETTINGS: break;
    case WEFT_CLUSTER_PARTITION: {
        const struct weft_cluster_topic *state = weft_cluster_topic(self->cluster, change->topic);
        struct weft_shard_topic *topic = s_topic(self, change->topic);
        if (state != NULL && topic != NULL && change->partition < topic->partition_count)
            s_follow_partition(self, topic, state, change->partition);
        break;
    }
    }
}

void weft_shard_topics_fini(weft_shard_t *self)
{
    size_t cursor = 0;
    weft_slice_t key;
    void *value;
    while (weft_map_next(self->topics, &cursor, &key, &value)) s_free_topic(self, value);
    weft_map_destroy(&self->topics);
    weft_map_destroy(&self->topics_by_name);
}
