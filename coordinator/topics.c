// SPDX-License-Identifier: MPL-2.0
// Topics: what people ask for is checked here, with sentences, against the state as it is; what a command then does
// is decided when it is applied.
//
// A request may carry the id of its operation: what was done under it already is answered as done. Without one, a
// repeat after a timeout is answered TOPIC_EXISTS for a creation that had happened, UNKNOWN_TOPIC for a deletion,
// INVALID_PARTITIONS ("has 6 already") for an added partition count; an alteration is the same twice. Alterations
// carry the whole configuration, so of one topic only one is under way at a time: another is asked to come back.
#include "coordinator.h"

#include "../lib/base/assert.h"
#include "../lib/base/options.h"

#include <weft_gen/config.h>
#include <weft_gen/limits.h>

#include <stdlib.h>
#include <string.h>

enum {
    S_RETRY_MS = 50,
    S_CONFIG_MAX = 64,
    S_REPLICAS = 3 // of a topic that says nothing, where there are as many brokers
};

// ---- configuration

// An option of scope topic is known and its value legal: INVALID_CONFIG with the sentence of the options otherwise.
static weft_err_t s_config_set(weft_options_t *options, weft_slice_t key, weft_slice_t value, struct weft_error *error)
{
    char *name = weft_slice_dup(key.data ? key : weft_slice_text(""));
    char *text = weft_slice_dup(value.data ? value : weft_slice_text(""));
    weft_err_t err = weft_options_set(options, name, text, error);
    free(name);
    free(text);
    if (err && error) error->code = WEFT_ERR_INVALID_CONFIG;
    return err ? WEFT_ERR_INVALID_CONFIG : WEFT_OK;
}

static weft_err_t s_config_check(const struct weft_config_entry *entries, size_t count, uint32_t replicas,
                                 struct weft_error *error)
{
    weft_options_t *options = weft_options_new(weft_options_topic, weft_options_topic_count, "topic");
    weft_err_t err = WEFT_OK;
    for (size_t i = 0; i < count && !err; i++) {
        for (size_t j = 0; j < i && !err; j++)
            if (weft_slice_equal(entries[i].key, entries[j].key))
                err = weft_error_set(error, WEFT_ERR_INVALID_CONFIG, "'%.*s' is set twice", (int) entries[i].key.size,
                                     (const char *) entries[i].key.data);
        if (!err) err = s_config_set(options, entries[i].key, entries[i].value, error);
    }
    if (!err && weft_options_int(options, "min.insync") > (int64_t) replicas)
        err = weft_error_set(error, WEFT_ERR_INVALID_CONFIG,
                             "min.insync %lld is more than the topic's replicas (%u): nothing could ever be produced",
                             (long long) weft_options_int(options, "min.insync"), replicas);
    weft_options_destroy(&options);
    return err;
}

// ---- create

static weft_err_t s_name_check(const weft_coordinator_t *self, weft_slice_t name, struct weft_error *error)
{
    weft_err_t err = weft_topic_name_check(name, error);
    if (err) return err;
    if (weft_topic_name_is_internal(name))
        return weft_error_set(error, WEFT_ERR_INVALID_TOPIC,
                              "names that begin with '__' are kept for Weft's own topics");
    const struct weft_cluster_topic *topic = weft_cluster_topic_by_name(self->cluster, name);
    if (topic)
        return weft_error_set(error, WEFT_ERR_TOPIC_EXISTS, "topic '%s' exists already, with %u partition%s",
                              topic->name, topic->partition_count, topic->partition_count == 1 ? "" : "s");
    return WEFT_OK;
}

static weft_err_t s_room_check(const weft_coordinator_t *self, uint32_t more, struct weft_error *error)
{
    uint64_t used = weft_cluster_partition_count(self->cluster) + self->partitions_proposed;
    if (used + more <= self->partitions_max) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_INVALID_PARTITIONS,
                          "%u more partitions would make %llu in the cluster, which holds %llu at most (partitions.max "
                          "of the coordinator)",
                          more, (unsigned long long) (used + more), (unsigned long long) self->partitions_max);
}

// What a topic that says nothing gets.
static uint32_t s_replicas_unasked(const weft_coordinator_t *self)
{
    uint32_t usable = 0;
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self->cluster, &cursor));)
        usable += broker->alive && !broker->leaving;
    return usable == 0 ? 1 : usable < S_REPLICAS ? usable : S_REPLICAS;
}

static weft_err_t s_create_check(const weft_coordinator_t *self, const struct weft_topic_create_request *request,
                                 struct weft_error *error)
{
    weft_err_t err = s_name_check(self, request->topic, error);
    if (err) return err;
    if (request->partitions < 1 || request->partitions > WEFT_PARTITIONS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_PARTITIONS, "a topic has 1 to %d partitions, not %u",
                              WEFT_PARTITIONS_MAX, request->partitions);
    err = s_room_check(self, request->partitions, error);
    if (err) return err;
    return s_config_check(request->config, request->config_count, request->replicas, error);
}

// Placement for new partitions as the commands hold it; *memory is one block for the caller to free.
static weft_err_t s_place(weft_coordinator_t *self, uint32_t partitions, uint32_t replicas, struct weft_placement **out,
                          void **memory, struct weft_error *error)
{
    size_t ids_bytes = (size_t) partitions * sizeof(int32_t[WEFT_REPLICAS_MAX]);
    uint8_t *block = weft_alloc(ids_bytes + (size_t) partitions * sizeof **out);
    int32_t(*ids)[WEFT_REPLICAS_MAX] = (int32_t(*)[WEFT_REPLICAS_MAX])(void *) block;
    weft_err_t err = weft_placement(self->cluster, partitions, replicas, &self->rand, ids, error);
    if (err) {
        free(block);
        return err;
    }
    *out = (struct weft_placement *) (void *) (block + ids_bytes);
    for (uint32_t i = 0; i < partitions; i++)
        (*out)[i] = (struct weft_placement){.replicas = ids[i], .replicas_count = replicas};
    *memory = block;
    return WEFT_OK;
}

// The four replies have the same two fields.
static void s_answer(weft_coordinator_t *self, const struct weft_asker *asker, weft_id_t topic, uint64_t version)
{
    struct weft_topic_create_reply reply;
    weft_topic_create_reply_init(&reply);
    reply.header.id = asker->id;
    reply.topic_id = topic;
    reply.version = version;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_topic_create_reply_encode(&reply, &header);
    weft_coordinator_answer(self, asker, &header);
    weft_buf_fini(&header);
}

// The topic that an operation created: its id is not the client's, so it is found by when that was.
static void s_created_before(weft_coordinator_t *self, const struct weft_asker *asker, uint64_t index)
{
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self->cluster, &cursor));) {
        if (topic->created_index != index) continue;
        s_answer(self, asker, topic->id, index);
        return;
    }
    weft_coordinator_refuse(self, asker, WEFT_ERR_UNKNOWN_TOPIC, "the topic was created, and deleted since");
}

static bool s_created_already(weft_coordinator_t *self, const struct weft_asker *asker, weft_id_t operation)
{
    uint64_t index = 0;
    if (weft_id_is_zero(operation) || !weft_cluster_operation_done(self->cluster, operation, &index)) return false;
    s_created_before(self, asker, index);
    return true;
}

// Another change was done before under this operation, and is answered. The id of what was deleted by name is not known
// any more.
static bool s_done_already(weft_coordinator_t *self, const struct weft_asker *asker, weft_id_t operation,
                           weft_slice_t name, weft_id_t id)
{
    uint64_t index = 0;
    if (weft_id_is_zero(operation) || !weft_cluster_operation_done(self->cluster, operation, &index)) return false;
    const struct weft_cluster_topic *topic =
        weft_id_is_zero(id) ? weft_cluster_topic_by_name(self->cluster, name) : NULL;
    s_answer(self, asker, topic ? topic->id : id, index);
    return true;
}

void weft_coordinator_topic_create(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_topic_create_request request;
    struct weft_error error;
    struct weft_placement *placement = NULL;
    void *memory = NULL;
    weft_err_t err = weft_topic_create_request_decode(&self->codec, header, &request, &error);
    if (!err && s_created_already(self, asker, request.operation)) return;
    if (!err && request.replicas == 0) request.replicas = s_replicas_unasked(self);
    if (!err) err = s_create_check(self, &request, &error);
    if (!err) err = s_place(self, request.partitions, request.replicas, &placement, &memory, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    if (request.validate_only) {
        s_answer(self, asker, (weft_id_t){{0}}, weft_cluster_index(self->cluster));
        free(memory);
        return;
    }
    struct weft_topic_created_command command;
    weft_topic_created_command_init(&command);
    command.topic_id = weft_rand_id(&self->rand);
    command.topic = request.topic;
    command.placement = placement;
    command.placement_count = request.partitions;
    command.config = request.config;
    command.config_count = request.config_count;
    command.operation = request.operation;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_topic_created_command_encode(&command, &bytes);
    struct weft_proposal proposal = {.command = WEFT_COMMAND_TOPIC_CREATED,
                                     .asked = true,
                                     .asker = *asker,
                                     .topic = command.topic_id,
                                     .operation = request.operation,
                                     .partitions = request.partitions};
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
    free(memory);
}

weft_err_t weft_coordinator_topic_make(weft_coordinator_t *self, const struct weft_topic_create_request *like,
                                       const struct weft_proposal *proposal, struct weft_error *error)
{
    struct weft_placement *placement = NULL;
    void *memory = NULL;
    weft_err_t err = s_room_check(self, like->partitions, error);
    if (!err) err = s_place(self, like->partitions, like->replicas, &placement, &memory, error);
    if (err) return err;
    struct weft_topic_created_command command;
    weft_topic_created_command_init(&command);
    command.topic_id = weft_rand_id(&self->rand);
    command.topic = like->topic;
    command.placement = placement;
    command.placement_count = like->partitions;
    command.config = like->config;
    command.config_count = like->config_count;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_topic_created_command_encode(&command, &bytes);
    struct weft_proposal made = *proposal;
    made.command = WEFT_COMMAND_TOPIC_CREATED;
    made.topic = command.topic_id;
    made.partitions = like->partitions;
    weft_coordinator_propose(self, &made, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
    free(memory);
    return WEFT_OK;
}

// ---- delete

static weft_err_t s_find_own(const weft_coordinator_t *self, weft_slice_t name, weft_id_t id,
                             const struct weft_cluster_topic **out, struct weft_error *error)
{
    const struct weft_cluster_topic *topic = NULL;
    weft_err_t err = weft_cluster_find_topic(self->cluster, name, id, &topic, error);
    if (err) return err;
    if (weft_topic_name_is_internal(weft_slice_text(topic->name)))
        return weft_error_set(error, WEFT_ERR_INVALID_TOPIC, "topic '%s' is Weft's own and stays as it is",
                              topic->name);
    *out = topic;
    return WEFT_OK;
}

void weft_coordinator_topic_delete(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_topic_delete_request request;
    struct weft_error error;
    const struct weft_cluster_topic *topic = NULL;
    weft_err_t err = weft_topic_delete_request_decode(&self->codec, header, &request, &error);
    if (!err && s_done_already(self, asker, request.operation, request.topic, request.topic_id)) return;
    if (!err) err = s_find_own(self, request.topic, request.topic_id, &topic, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    struct weft_topic_deleted_command command;
    weft_topic_deleted_command_init(&command);
    command.topic_id = topic->id;
    command.operation = request.operation;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_topic_deleted_command_encode(&command, &bytes);
    struct weft_proposal proposal = {.command = WEFT_COMMAND_TOPIC_DELETED,
                                     .asked = true,
                                     .asker = *asker,
                                     .topic = topic->id,
                                     .operation = request.operation};
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
}

// ---- alter

static bool s_names(const weft_slice_t *names, size_t count, weft_slice_t name)
{
    for (size_t i = 0; i < count; i++)
        if (weft_slice_equal(names[i], name)) return true;
    return false;
}

static bool s_sets(const struct weft_topic_alter_request *request, weft_slice_t key)
{
    for (size_t i = 0; i < request->set_count; i++)
        if (weft_slice_equal(request->set[i].key, key)) return true;
    return false;
}

// What its partitions have, or are to have: while one is moved it has those of both places.
static uint32_t s_replicas(const struct weft_cluster_topic *topic)
{
    const struct weft_cluster_partition *first = &topic->partitions[0];
    return first->moving != NULL ? first->moving->target_count : first->replica_count;
}

// What is set from now on, into out[S_CONFIG_MAX]: the old less what is set anew or unset, then the new.
static weft_err_t s_merge(const struct weft_cluster_topic *topic, const struct weft_topic_alter_request *request,
                          struct weft_config_entry *out, size_t *count, struct weft_error *error)
{
    weft_options_t *options = weft_options_new(weft_options_topic, weft_options_topic_count, "topic");
    weft_err_t err = WEFT_OK;
    for (size_t i = 0; i < request->unset_count && !err; i++) { // known, and not set by the same request
        if (s_sets(request, request->unset[i]))
            err = weft_error_set(error, WEFT_ERR_INVALID_CONFIG, "'%.*s' is both set and unset",
                                 (int) request->unset[i].size, (const char *) request->unset[i].data);
        bool known = false;
        for (size_t k = 0; k < weft_options_topic_count; k++)
            known |= weft_slice_is_text(request->unset[i], weft_options_topic[k].name);
        if (!err && !known)
            err = s_config_set(options, request->unset[i], weft_slice_text(""), error); // for its sentence
    }
    weft_options_destroy(&options);
    if (err) return err;
    size_t used = 0;
    for (size_t i = 0; i < topic->config_count; i++) {
        weft_slice_t key = weft_slice_text(topic->config_keys[i]);
        if (s_sets(request, key) || s_names(request->unset, request->unset_count, key)) continue;
        out[used++] = (struct weft_config_entry){.key = key, .value = weft_slice_text(topic->config_values[i])};
    }
    if (used + request->set_count > S_CONFIG_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_CONFIG, "at most %d keys can be set", S_CONFIG_MAX);
    for (size_t i = 0; i < request->set_count; i++) out[used++] = request->set[i];
    *count = used;
    return s_config_check(out, used, s_replicas(topic), error);
}

void weft_coordinator_come_back(weft_coordinator_t *self, const struct weft_asker *asker)
{
    struct weft_topic_alter_reply reply;
    weft_topic_alter_reply_init(&reply);
    reply.header.id = asker->id;
    reply.header.error = WEFT_ERR_OVERLOADED;
    reply.header.retry_ms = S_RETRY_MS;
    reply.header.message = weft_slice_text("another change of the same is being written; come back after retry_ms");
    weft_buf_t header;
    weft_buf_init(&header);
    weft_topic_alter_reply_encode(&reply, &header);
    weft_coordinator_answer(self, asker, &header);
    weft_buf_fini(&header);
    weft_counter_add(self->counters, WEFT_COUNT_REFUSED_REQUESTS, 1);
}

void weft_coordinator_topic_alter(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_topic_alter_request request;
    struct weft_error error;
    const struct weft_cluster_topic *topic = NULL;
    struct weft_config_entry config[S_CONFIG_MAX];
    size_t count = 0;
    weft_err_t err = weft_topic_alter_request_decode(&self->codec, header, &request, &error);
    if (!err && s_done_already(self, asker, request.operation, request.topic, request.topic_id)) return;
    if (!err) err = s_find_own(self, request.topic, request.topic_id, &topic, &error);
    if (!err) err = s_merge(topic, &request, config, &count, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    if (weft_map_get(self->altering, weft_id_slice(&topic->id))) {
        weft_coordinator_come_back(self, asker);
        return;
    }
    struct weft_topic_altered_command command;
    weft_topic_altered_command_init(&command);
    command.topic_id = topic->id;
    command.config = config;
    command.config_count = count;
    command.operation = request.operation;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_topic_altered_command_encode(&command, &bytes);
    struct weft_proposal proposal = {.command = WEFT_COMMAND_TOPIC_ALTERED,
                                     .asked = true,
                                     .asker = *asker,
                                     .topic = topic->id,
                                     .operation = request.operation};
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
}

// ---- add partitions

static weft_err_t s_grow_check(const weft_coordinator_t *self, const struct weft_cluster_topic *topic, uint32_t to,
                               struct weft_error *error)
{
    if (to <= topic->partition_count)
        return weft_error_set(error, WEFT_ERR_INVALID_PARTITIONS,
                              "topic '%s' has %u partitions already; they can only become more", topic->name,
                              topic->partition_count);
    if (to > WEFT_PARTITIONS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_PARTITIONS, "a topic has at most %d partitions, %u were asked",
                              WEFT_PARTITIONS_MAX, to);
    return s_room_check(self, to - topic->partition_count, error);
}

void weft_coordinator_topic_add_partitions(weft_coordinator_t *self, const struct weft_asker *asker,
                                           weft_slice_t header)
{
    struct weft_topic_add_partitions_request request;
    struct weft_error error;
    const struct weft_cluster_topic *topic = NULL;
    struct weft_placement *placement = NULL;
    void *memory = NULL;
    weft_err_t err = weft_topic_add_partitions_request_decode(&self->codec, header, &request, &error);
    if (!err && s_done_already(self, asker, request.operation, request.topic, request.topic_id)) return;
    if (!err) err = s_find_own(self, request.topic, request.topic_id, &topic, &error);
    if (!err) err = s_grow_check(self, topic, request.to, &error);
    if (!err) err = s_place(self, request.to - topic->partition_count, s_replicas(topic), &placement, &memory, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    struct weft_partitions_added_command command;
    weft_partitions_added_command_init(&command);
    command.topic_id = topic->id;
    command.from = topic->partition_count;
    command.placement = placement;
    command.placement_count = request.to - topic->partition_count;
    command.operation = request.operation;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_partitions_added_command_encode(&command, &bytes);
    struct weft_proposal proposal = {.command = WEFT_COMMAND_PARTITIONS_ADDED,
                                     .asked = true,
                                     .asker = *asker,
                                     .topic = topic->id,
                                     .operation = request.operation,
                                     .partitions = request.to - topic->partition_count};
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
    free(memory);
}

// ---- applied

void weft_coordinator_topic_done(weft_coordinator_t *self, const struct weft_proposal *proposal, uint64_t index)
{
    uint64_t first = index; // two of one operation at a time: the second did nothing
    if (!weft_id_is_zero(proposal->operation))
        (void) weft_cluster_operation_done(self->cluster, proposal->operation, &first);
    if (first != index && proposal->command == WEFT_COMMAND_TOPIC_CREATED)
        s_created_before(self, &proposal->asker, first);
    else
        s_answer(self, &proposal->asker, proposal->topic, first);
}
