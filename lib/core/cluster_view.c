// SPDX-License-Identifier: MPL-2.0
// Answers from the cluster state. Replies are filled in an arena that lives as long as one answer; strings borrow
// from the state.
#include "cluster_view.h"

#include "../base/assert.h"
#include "../base/options.h"

#include <weft_gen/config.h>
#include <weft_gen/limits.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    S_NEAREST_TOPICS_MAX = 500
}; // names looked at for "did you mean": a typo must not cost more than the request it replaces

bool weft_topic_name_is_internal(weft_slice_t name)
{
    return name.size >= 2 && name.data[0] == '_' && name.data[1] == '_';
}

// ---- finding what a request names

static weft_err_t s_unknown(const weft_cluster_t *self, weft_slice_t name, struct weft_error *error)
{
    if (weft_topic_name_check(name, error) != WEFT_OK) return WEFT_ERR_INVALID_TOPIC;
    char wanted[WEFT_TOPIC_NAME_BYTES_MAX + 1];
    memcpy(wanted, name.data, name.size);
    wanted[name.size] = 0;
    static const size_t many = S_NEAREST_TOPICS_MAX;
    const char **known = weft_calloc(many, sizeof *known);
    size_t count = 0;
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; count < many && (topic = weft_cluster_next_topic(self, &cursor));)
        known[count++] = topic->name;
    const char *nearest = weft_nearest(wanted, known, count);
    weft_err_t err =
        nearest
            ? weft_error_set(error, WEFT_ERR_UNKNOWN_TOPIC, "topic '%s' does not exist; did you mean '%s'?", wanted,
                             nearest)
            : weft_error_set(error, WEFT_ERR_UNKNOWN_TOPIC,
                             "topic '%s' does not exist; create it, or look at the names with weft topic list", wanted);
    free(known);
    return err;
}

weft_err_t weft_cluster_find_topic(const weft_cluster_t *self, weft_slice_t name, weft_id_t id,
                                   const struct weft_cluster_topic **out, struct weft_error *error)
{
    if (name.size == 0 && weft_id_is_zero(id))
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "the request names no topic");
    const struct weft_cluster_topic *topic =
        name.size ? weft_cluster_topic_by_name(self, name) : weft_cluster_topic(self, id);
    if (topic && !weft_id_is_zero(id) && !weft_id_equal(topic->id, id))
        return weft_error_set(error, WEFT_ERR_TOPIC_REPLACED,
                              "topic '%s' was deleted and created again; begin anew with its new id", topic->name);
    if (topic) {
        *out = topic;
        return WEFT_OK;
    }
    if (name.size) return s_unknown(self, name, error);
    return weft_error_set(error, WEFT_ERR_UNKNOWN_TOPIC,
                          weft_cluster_topic_was_deleted(self, id) ? "the topic of that id was deleted"
                                                                   : "no topic has that id");
}

weft_err_t weft_cluster_find_partition(const weft_cluster_t *self, weft_slice_t name, weft_id_t id, uint32_t partition,
                                       const struct weft_cluster_topic **out, struct weft_error *error)
{
    const struct weft_cluster_topic *topic = NULL; // a compiler can't see at -O3 that it is always set
    weft_err_t err = weft_cluster_find_topic(self, name, id, &topic, error);
    if (err) return err;
    if (partition >= topic->partition_count)
        return weft_error_set(error, WEFT_ERR_UNKNOWN_TOPIC, "topic '%s' has no partition %u: they go from 0 to %u",
                              topic->name, partition, topic->partition_count - 1);
    *out = topic;
    return WEFT_OK;
}

const char *weft_cluster_leader_endpoint(const weft_cluster_t *self, const struct weft_cluster_topic *topic,
                                         uint32_t partition)
{
    weft_assert(partition < topic->partition_count);
    const struct weft_cluster_broker *broker = weft_cluster_broker(self, topic->partitions[partition].leader);
    return broker ? broker->endpoints[weft_cluster_shard_of(topic->id, partition, broker->shard_count)] : "";
}

// ---- not led here

struct s_text {
    char bytes[256];
    size_t used, count; // count: brokers named
};

static void s_text_add(struct s_text *text, int32_t id)
{
    int wrote =
        snprintf(text->bytes + text->used, sizeof text->bytes - text->used, "%s%d", text->count ? ", " : "", id);
    if (wrote > 0 && (size_t) wrote < sizeof text->bytes - text->used) text->used += (size_t) wrote;
    text->count++;
}

// Of the frozen last set: who is not there, and who is, but has to be compared with the others first.
static void s_say_leaderless(const weft_cluster_t *self, const struct weft_cluster_topic *topic, uint32_t partition,
                             struct weft_error *error)
{
    const struct weft_cluster_partition *it = &topic->partitions[partition];
    struct s_text gone = {.count = 0}, back = {.count = 0};
    for (uint8_t i = 0; i < it->replica_count; i++) {
        bool last = (it->eligible >> i) & 1;
        for (uint8_t j = 0; j < it->isr_count; j++) last = last || it->isr[j] == it->replicas[i];
        if (last) s_text_add(weft_cluster_broker(self, it->replicas[i])->alive ? &back : &gone, it->replicas[i]);
    }
    static const char *const otherwise =
        "or for a person to elect another (weft cluster elect --unclean), which loses what only these have";
    if (gone.count == 0)
        (void) weft_error_set(error, WEFT_ERR_NOT_LEADER,
                              "partition %u of '%.200s' has no leader: it waits for broker%s %s, back after an unclean "
                              "stop, to report what %s; the best one leads",
                              partition, topic->name, back.count == 1 ? "" : "s", back.bytes,
                              back.count == 1 ? "it has" : "they have");
    else if (back.count == 0)
        (void) weft_error_set(error, WEFT_ERR_NOT_LEADER,
                              "partition %u of '%.200s' has no leader: it waits for broker%s %s, last in sync, to come "
                              "back, %s",
                              partition, topic->name, gone.count == 1 ? "" : "s", gone.bytes, otherwise);
    else
        (void) weft_error_set(error, WEFT_ERR_NOT_LEADER,
                              "partition %u of '%.200s' has no leader: it waits for broker%s %s, last in sync, to come "
                              "back and be compared with %s, which stopped uncleanly, %s",
                              partition, topic->name, gone.count == 1 ? "" : "s", gone.bytes, back.bytes, otherwise);
}

void weft_cluster_not_leader_encode(const weft_cluster_t *self, const struct weft_cluster_topic *topic,
                                    uint32_t partition, uint64_t id, weft_buf_t *out)
{
    const struct weft_cluster_partition *it = &topic->partitions[partition];
    struct weft_error error;
    struct weft_partition_status_reply reply; // any reply: with an error only its header is sent
    weft_partition_status_reply_init(&reply);
    reply.header.id = id;
    reply.header.error = WEFT_ERR_NOT_LEADER;
    reply.header.leader = it->leader;
    if (it->leader >= 0) {
        reply.header.endpoint = weft_slice_text(weft_cluster_leader_endpoint(self, topic, partition));
        (void) weft_error_set(&error, WEFT_ERR_NOT_LEADER,
                              "partition %u of '%.200s' is led by broker %d; send to its endpoint", partition,
                              topic->name, it->leader);
    } else {
        s_say_leaderless(self, topic, partition, &error);
    }
    reply.header.message = weft_slice_text(error.text);
    weft_partition_status_reply_encode(&reply, out);
}

// ---- metadata

static int32_t *s_ids(weft_arena_t *arena, const int32_t *ids, size_t count)
{
    int32_t *copy = weft_arena_alloc(arena, count * sizeof *copy);
    memcpy(copy, ids, count * sizeof *copy);
    return copy;
}

static void s_fill_partition(const weft_cluster_t *self, weft_arena_t *arena, const struct weft_cluster_topic *topic,
                             uint32_t number, struct weft_metadata_partition *out)
{
    const struct weft_cluster_partition *it = &topic->partitions[number];
    *out = (struct weft_metadata_partition){.partition = number, .leader = it->leader, .epoch = it->leader_epoch};
    out->error = it->leader < 0 ? WEFT_ERR_NOT_LEADER : WEFT_OK;
    out->replicas = s_ids(arena, it->replicas, it->replica_count);
    out->replicas_count = it->replica_count;
    out->isr = s_ids(arena, it->isr, it->isr_count);
    out->isr_count = it->isr_count;
    for (uint8_t i = 0; i < it->replica_count; i++) {
        if (weft_cluster_broker(self, it->replicas[i])->alive) continue;
        if (!out->offline) out->offline = weft_arena_alloc(arena, WEFT_REPLICAS_MAX * sizeof *out->offline);
        out->offline[out->offline_count++] = it->replicas[i];
    }
    out->endpoint = weft_slice_text(weft_cluster_leader_endpoint(self, topic, number));
}

static void s_fill_topic(const weft_cluster_t *self, weft_arena_t *arena, const struct weft_cluster_topic *topic,
                         struct weft_metadata_topic *out)
{
    *out = (struct weft_metadata_topic){.name = weft_slice_text(topic->name), .id = topic->id};
    out->internal = weft_topic_name_is_internal(out->name);
    out->partitions_count = topic->partition_count;
    out->partitions = weft_arena_alloc(arena, topic->partition_count * sizeof *out->partitions);
    for (uint32_t i = 0; i < topic->partition_count; i++) s_fill_partition(self, arena, topic, i, &out->partitions[i]);
}

static void s_fill_brokers(const weft_cluster_t *self, weft_arena_t *arena, struct weft_metadata_reply *reply)
{
    size_t count = 0;
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; weft_cluster_next_broker(self, &cursor);) count++;
    reply->brokers = weft_arena_alloc(arena, count * sizeof *reply->brokers + 1);
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self, &cursor));) {
        struct weft_metadata_broker *out = &reply->brokers[reply->brokers_count++];
        *out = (struct weft_metadata_broker){
            .id = broker->id, .rack = weft_slice_text(broker->rack), .alive = broker->alive};
        out->endpoints_count = broker->shard_count;
        out->endpoints = weft_arena_alloc(arena, broker->shard_count * sizeof *out->endpoints);
        for (size_t i = 0; i < broker->shard_count; i++) out->endpoints[i] = weft_slice_text(broker->endpoints[i]);
    }
}

static void s_fill_topics(const weft_cluster_t *self, weft_arena_t *arena, const struct weft_metadata_request *request,
                          struct weft_metadata_reply *reply)
{
    const struct weft_cluster_topic *topic;
    if (request->topics_count == 0) {
        reply->topics = weft_arena_alloc(arena, weft_cluster_topic_count(self) * sizeof *reply->topics + 1);
        for (size_t cursor = 0; (topic = weft_cluster_next_topic(self, &cursor));) {
            if (weft_topic_name_is_internal(weft_slice_text(topic->name)) && !request->internal) continue;
            s_fill_topic(self, arena, topic, &reply->topics[reply->topics_count++]);
        }
        return;
    }
    reply->topics = weft_arena_alloc(arena, request->topics_count * sizeof *reply->topics);
    for (size_t i = 0; i < request->topics_count; i++) {
        struct weft_metadata_topic *out = &reply->topics[reply->topics_count++];
        topic = weft_cluster_topic_by_name(self, request->topics[i]);
        if (topic)
            s_fill_topic(self, arena, topic, out);
        else
            *out = (struct weft_metadata_topic){.name = request->topics[i], .error = WEFT_ERR_UNKNOWN_TOPIC};
    }
}

static void s_fill_coordinators(const weft_cluster_t *self, weft_arena_t *arena, struct weft_metadata_reply *reply)
{
    static const size_t most = 16; // as the schema says
    size_t voter_count;
    const struct weft_cluster_voter *voters = weft_cluster_voters(self, &voter_count);
    weft_slice_t active = weft_slice_text(weft_cluster_coordinator(self, &reply->coordinator_id));
    reply->coordinators = weft_arena_alloc(arena, most * sizeof *reply->coordinators);
    if (active.size) reply->coordinators[reply->coordinators_count++] = active;
    for (size_t i = 0; i < voter_count && reply->coordinators_count < most; i++) {
        weft_slice_t endpoint = weft_slice_text(voters[i].endpoint);
        if (voters[i].id == reply->coordinator_id || weft_slice_equal(endpoint, active)) continue;
        reply->coordinators[reply->coordinators_count++] = endpoint;
    }
}

void weft_cluster_metadata_encode(const weft_cluster_t *self, const struct weft_metadata_request *request,
                                  weft_buf_t *out)
{
    weft_arena_t arena;
    weft_arena_init(&arena);
    struct weft_metadata_reply reply;
    weft_metadata_reply_init(&reply);
    reply.header.id = request->id;
    reply.cluster_id = weft_cluster_id(self);
    reply.version = weft_cluster_index(self);
    s_fill_coordinators(self, &arena, &reply);
    s_fill_brokers(self, &arena, &reply);
    if (!request->brokers_only) s_fill_topics(self, &arena, request, &reply);
    size_t before = out->size;
    weft_metadata_reply_encode(&reply, out);
    weft_arena_fini(&arena);
    if (out->size - before <= WEFT_REPLY_BYTES_MAX) return;
    struct weft_error error;
    (void) weft_error_set(
        &error, WEFT_ERR_INVALID_REQUEST,
        "the metadata of these topics takes %zu bytes, more than one answer holds; ask for fewer topics by name",
        out->size - before);
    out->size = before;
    weft_error_reply_encode(request->id, error.code, error.text, out);
}

// ---- topic_describe

void weft_cluster_topic_describe_encode(const weft_cluster_t *self, const struct weft_topic_describe_request *request,
                                        weft_buf_t *out)
{
    struct weft_error error;
    const struct weft_cluster_topic *topic;
    weft_err_t err = weft_cluster_find_topic(self, request->topic, request->topic_id, &topic, &error);
    if (err) {
        weft_error_reply_encode(request->id, err, error.text, out);
        return;
    }
    struct weft_topic_describe_reply reply;
    weft_topic_describe_reply_init(&reply);
    reply.header.id = request->id;
    reply.topic_id = topic->id;
    reply.partitions = topic->partition_count;
    reply.replicas = topic->partitions[0].replica_count;
    struct weft_config_value values[64];
    for (size_t i = 0; i < weft_options_topic_count && i < 64; i++) {
        const struct weft_option *option = &weft_options_topic[i];
        const char *set = weft_cluster_topic_config(topic, option->name);
        values[i] = (struct weft_config_value){.key = weft_slice_text(option->name),
                                               .value = weft_slice_text(set ? set : option->initial),
                                               .is_default = !set};
        reply.config_count = i + 1;
    }
    reply.config = values;
    weft_topic_describe_reply_encode(&reply, out);
}
