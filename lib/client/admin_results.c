// SPDX-License-Identifier: MPL-2.0
// Answers as plain structs. Each result stands in front of the arena that holds all it points to: one destroy frees
// both.
#include "admin_inner.h"

#include <stdlib.h>

struct s_block {
    weft_arena_t arena;
    _Alignas(16) uint8_t body[];
};

void *weft_admin_block_new(size_t bytes, weft_arena_t **arena)
{
    struct s_block *block = weft_calloc(1, sizeof *block + bytes);
    weft_arena_init(&block->arena);
    *arena = &block->arena;
    return block->body;
}

static struct s_block *s_block(void *body)
{
    return (struct s_block *) (void *) ((uint8_t *) body - offsetof(struct s_block, body));
}

weft_arena_t *weft_admin_block_arena(void *body)
{
    return &s_block(body)->arena;
}

void weft_admin_block_free(void *body)
{
    if (!body) return;
    weft_arena_fini(&s_block(body)->arena);
    free(s_block(body));
}

static const char *const *s_texts(weft_arena_t *arena, const weft_slice_t *from, size_t count)
{
    const char **texts = weft_arena_alloc(arena, (count + 1) * sizeof *texts);
    for (size_t i = 0; i < count; i++) texts[i] = weft_arena_text(arena, from[i]);
    return texts;
}

static const int32_t *s_numbers(weft_arena_t *arena, const int32_t *from, size_t count)
{
    int32_t *numbers = weft_arena_alloc(arena, (count + 1) * sizeof *numbers);
    if (count) memcpy(numbers, from, count * sizeof *numbers);
    return numbers;
}

// ---- topic configuration

weft_topic_config_t *weft_topic_config_of(const struct weft_topic_describe_reply *reply)
{
    weft_arena_t *arena;
    weft_topic_config_t *self = weft_admin_block_new(sizeof *self, &arena);
    struct weft_topic_setting *settings = weft_arena_alloc(arena, (reply->config_count + 1) * sizeof *settings);
    for (size_t i = 0; i < reply->config_count; i++)
        settings[i] = (struct weft_topic_setting){.key = weft_arena_text(arena, reply->config[i].key),
                                                  .value = weft_arena_text(arena, reply->config[i].value),
                                                  .is_default = reply->config[i].is_default};
    *self = (weft_topic_config_t){.topic_id = reply->topic_id,
                                  .partitions = reply->partitions,
                                  .replicas = reply->replicas,
                                  .settings = settings,
                                  .setting_count = reply->config_count};
    return self;
}

void weft_topic_config_destroy(weft_topic_config_t **self_p)
{
    weft_admin_block_free(*self_p);
    *self_p = NULL;
}

// ---- metadata

static const struct weft_broker_info *s_brokers(weft_arena_t *arena, const struct weft_metadata_reply *reply)
{
    struct weft_broker_info *brokers = weft_arena_alloc(arena, (reply->brokers_count + 1) * sizeof *brokers);
    for (size_t i = 0; i < reply->brokers_count; i++) {
        const struct weft_metadata_broker *from = &reply->brokers[i];
        brokers[i] = (struct weft_broker_info){.id = from->id,
                                               .alive = from->alive,
                                               .rack = weft_arena_text(arena, from->rack),
                                               .endpoints = s_texts(arena, from->endpoints, from->endpoints_count),
                                               .endpoint_count = from->endpoints_count};
    }
    return brokers;
}

static void s_partition(weft_arena_t *arena, struct weft_partition_info *to, const struct weft_metadata_partition *from)
{
    *to = (struct weft_partition_info){.partition = (int32_t) from->partition,
                                       .error = from->error ? weft_err_of_number(from->error) : WEFT_OK,
                                       .leader = from->leader,
                                       .epoch = from->epoch,
                                       .endpoint = weft_arena_text(arena, from->endpoint),
                                       .replicas = s_numbers(arena, from->replicas, from->replicas_count),
                                       .replica_count = from->replicas_count,
                                       .isr = s_numbers(arena, from->isr, from->isr_count),
                                       .isr_count = from->isr_count,
                                       .offline = s_numbers(arena, from->offline, from->offline_count),
                                       .offline_count = from->offline_count};
}

static void s_topic(weft_arena_t *arena, struct weft_topic_info *to, const struct weft_metadata_topic *from)
{
    struct weft_partition_info *partitions = weft_arena_alloc(arena, (from->partitions_count + 1) * sizeof *partitions);
    for (size_t i = 0; i < from->partitions_count; i++) s_partition(arena, &partitions[i], &from->partitions[i]);
    *to = (struct weft_topic_info){.name = weft_arena_text(arena, from->name),
                                   .id = from->id,
                                   .error = from->error ? weft_err_of_number(from->error) : WEFT_OK,
                                   .internal = from->internal,
                                   .partitions = partitions,
                                   .partition_count = from->partitions_count};
}

static int s_by_name(const void *a, const void *b)
{
    const struct weft_topic_info *x = a, *y = b;
    return strcmp(x->name, y->name);
}

weft_metadata_t *weft_metadata_of(const struct weft_metadata_reply *reply)
{
    weft_arena_t *arena;
    weft_metadata_t *self = weft_admin_block_new(sizeof *self, &arena);
    struct weft_topic_info *topics = weft_arena_alloc(arena, (reply->topics_count + 1) * sizeof *topics);
    for (size_t i = 0; i < reply->topics_count; i++) s_topic(arena, &topics[i], &reply->topics[i]);
    qsort(topics, reply->topics_count, sizeof *topics, s_by_name);
    *self = (weft_metadata_t){.cluster_id = reply->cluster_id,
                              .version = reply->version,
                              .coordinator_id = reply->coordinator_id,
                              .coordinators = s_texts(arena, reply->coordinators, reply->coordinators_count),
                              .coordinator_count = reply->coordinators_count,
                              .brokers = s_brokers(arena, reply),
                              .broker_count = reply->brokers_count,
                              .topics = topics,
                              .topic_count = reply->topics_count};
    return self;
}

void weft_metadata_destroy(weft_metadata_t **self_p)
{
    weft_admin_block_free(*self_p);
    *self_p = NULL;
}

// ---- cluster and nodes

weft_cluster_health_t *weft_cluster_health_of(const struct weft_cluster_status_reply *reply)
{
    weft_arena_t *arena;
    weft_cluster_health_t *self = weft_admin_block_new(sizeof *self, &arena);
    struct weft_broker_health *brokers = weft_arena_alloc(arena, (reply->brokers_count + 1) * sizeof *brokers);
    for (size_t i = 0; i < reply->brokers_count; i++) {
        const struct weft_status_broker *from = &reply->brokers[i];
        brokers[i] = (struct weft_broker_health){.id = from->id,
                                                 .alive = from->alive,
                                                 .draining = from->draining,
                                                 .leaving = from->leaving,
                                                 .sick = from->sick,
                                                 .endpoint = weft_arena_text(arena, from->endpoint),
                                                 .rack = weft_arena_text(arena, from->rack),
                                                 .version = weft_arena_text(arena, from->version),
                                                 .shards = from->shards,
                                                 .leads = from->leads,
                                                 .replicas = from->replicas,
                                                 .heartbeat_age_ms = from->heartbeat_age_ms,
                                                 .heard = from->heard};
    }
    struct weft_coordinator_health *coordinators =
        weft_arena_alloc(arena, (reply->coordinators_count + 1) * sizeof *coordinators);
    for (size_t i = 0; i < reply->coordinators_count; i++) {
        const struct weft_status_coordinator *from = &reply->coordinators[i];
        coordinators[i] = (struct weft_coordinator_health){.id = from->id,
                                                           .endpoint = weft_arena_text(arena, from->endpoint),
                                                           .active = from->active,
                                                           .reachable = from->reachable,
                                                           .behind = from->behind};
    }
    *self = (weft_cluster_health_t){.cluster_id = reply->cluster_id,
                                    .version = reply->version,
                                    .epoch = reply->epoch,
                                    .coordinator = weft_arena_text(arena, reply->coordinator),
                                    .voter_change = weft_arena_text(arena, reply->voter_change),
                                    .topics = reply->topics,
                                    .partitions = reply->partitions,
                                    .leaderless = reply->leaderless,
                                    .level = reply->level,
                                    .offline = reply->offline,
                                    .under_replicated = reply->under_replicated,
                                    .under_min_insync = reply->under_min_insync,
                                    .moving = reply->moving,
                                    .coordinators = coordinators,
                                    .coordinator_count = reply->coordinators_count,
                                    .brokers = brokers,
                                    .broker_count = reply->brokers_count,
                                    .problems = s_texts(arena, reply->problems, reply->problems_count),
                                    .problem_count = reply->problems_count};
    return self;
}

void weft_cluster_health_destroy(weft_cluster_health_t **self_p)
{
    weft_admin_block_free(*self_p);
    *self_p = NULL;
}

// ---- moves of replicas and leaderships

static const char *s_why(weft_arena_t *arena, const struct weft_partition_move *move)
{
    if (!move->error) return "";
    return move->message.size ? weft_arena_text(arena, move->message)
                              : weft_err_sentence(weft_err_of_number(move->error));
}

static const struct weft_move *s_moves(weft_arena_t *arena, const struct weft_partition_move *from, size_t count)
{
    struct weft_move *moves = weft_arena_alloc(arena, (count + 1) * sizeof *moves);
    for (size_t i = 0; i < count; i++)
        moves[i] = (struct weft_move){.topic = weft_arena_text(arena, from[i].topic),
                                      .topic_id = from[i].topic_id,
                                      .partition = (int32_t) from[i].partition,
                                      .from = s_numbers(arena, from[i].from, from[i].from_count),
                                      .from_count = from[i].from_count,
                                      .to = s_numbers(arena, from[i].to, from[i].to_count),
                                      .to_count = from[i].to_count,
                                      .leader = from[i].leader,
                                      .endpoint = "",
                                      .error = from[i].error ? weft_err_of_number(from[i].error) : WEFT_OK,
                                      .message = s_why(arena, &from[i])};
    return moves;
}

weft_moves_t *weft_moves_of_reassign(const struct weft_reassign_reply *reply)
{
    weft_arena_t *arena;
    weft_moves_t *self = weft_admin_block_new(sizeof *self, &arena);
    *self = (weft_moves_t){.moves = s_moves(arena, reply->moves, reply->moves_count),
                           .move_count = reply->moves_count,
                           .bytes_per_second = WEFT_THROTTLE_KEEP};
    return self;
}

weft_moves_t *weft_moves_of_balance(const struct weft_balance_reply *reply)
{
    weft_arena_t *arena;
    weft_moves_t *self = weft_admin_block_new(sizeof *self, &arena);
    *self = (weft_moves_t){.leaders = s_moves(arena, reply->leaders, reply->leaders_count),
                           .leader_count = reply->leaders_count,
                           .moves = s_moves(arena, reply->moves, reply->moves_count),
                           .move_count = reply->moves_count,
                           .more = reply->more,
                           .bytes_per_second = WEFT_THROTTLE_KEEP};
    return self;
}

weft_moves_t *weft_moves_of_list(const struct weft_reassign_list_reply *reply)
{
    weft_arena_t *arena;
    weft_moves_t *self = weft_admin_block_new(sizeof *self, &arena);
    struct weft_move *moves = weft_arena_alloc(arena, (reply->moves_count + 1) * sizeof *moves);
    for (size_t i = 0; i < reply->moves_count; i++) {
        const struct weft_partition_moving *from = &reply->moves[i];
        moves[i] = (struct weft_move){.topic = weft_arena_text(arena, from->topic),
                                      .topic_id = from->topic_id,
                                      .partition = (int32_t) from->partition,
                                      .from = s_numbers(arena, from->from, from->from_count),
                                      .from_count = from->from_count,
                                      .to = s_numbers(arena, from->to, from->to_count),
                                      .to_count = from->to_count,
                                      .isr = s_numbers(arena, from->isr, from->isr_count),
                                      .isr_count = from->isr_count,
                                      .leader = from->leader,
                                      .endpoint = weft_arena_text(arena, from->endpoint),
                                      .message = ""};
    }
    *self = (weft_moves_t){.moves = moves,
                           .move_count = reply->moves_count,
                           .more = reply->more,
                           .bytes_per_second = reply->bytes_per_second};
    return self;
}

void weft_moves_destroy(weft_moves_t **self_p)
{
    weft_admin_block_free(*self_p);
    *self_p = NULL;
}

weft_node_report_t *weft_node_report_of(const struct weft_node_status_reply *reply)
{
    weft_arena_t *arena;
    weft_node_report_t *self = weft_admin_block_new(sizeof *self, &arena);
    struct weft_node_counter *counters = weft_arena_alloc(arena, (reply->counters_count + 1) * sizeof *counters);
    for (size_t i = 0; i < reply->counters_count; i++)
        counters[i] = (struct weft_node_counter){.name = weft_arena_text(arena, reply->counters[i].name),
                                                 .value = reply->counters[i].value};
    *self = (weft_node_report_t){.node = weft_arena_text(arena, reply->node),
                                 .health = weft_arena_text(arena, reply->health),
                                 .message = weft_arena_text(arena, reply->health_message),
                                 .version = weft_arena_text(arena, reply->version),
                                 .uptime_ms = reply->uptime_ms,
                                 .counters = counters,
                                 .counter_count = reply->counters_count};
    return self;
}

void weft_node_report_destroy(weft_node_report_t **self_p)
{
    weft_admin_block_free(*self_p);
    *self_p = NULL;
}

weft_node_hello_t *weft_node_hello_of(const struct weft_hello_reply *reply, int64_t round_trip_us)
{
    weft_arena_t *arena;
    weft_node_hello_t *self = weft_admin_block_new(sizeof *self, &arena);
    *self = (weft_node_hello_t){.protocol_min = reply->protocol_min,
                                .protocol_max = reply->protocol_max,
                                .node = weft_arena_text(arena, reply->node),
                                .version = weft_arena_text(arena, reply->version),
                                .node_id = reply->node_id,
                                .shard = reply->shard,
                                .cluster_id = reply->cluster_id,
                                .frame_bytes_max = reply->frame_bytes_max,
                                .batch_bytes_max = reply->batch_bytes_max,
                                .session_window = reply->session_window,
                                .wall_ms = reply->wall_ms,
                                .round_trip_us = round_trip_us,
                                .features = s_texts(arena, reply->features, reply->features_count),
                                .feature_count = reply->features_count};
    return self;
}

void weft_node_hello_destroy(weft_node_hello_t **self_p)
{
    weft_admin_block_free(*self_p);
    *self_p = NULL;
}
