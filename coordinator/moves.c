// SPDX-License-Identifier: MPL-2.0
// Replicas that move: what a person asks for, what is under way, and evening out.
//
// Every move is checked alone against the state as it is, refused with a sentence of its own, and the others go on.
// The answer is made then and kept until the command is applied; what no longer fits by then is left out there, which
// the list of moves under way shows. Answers are bounded by what a header may hold.
#include "coordinator.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"

#include <weft_gen/limits.h>

#include <stdlib.h>
#include <string.h>

enum {
    S_MOVES_MAX = 4096,                              // of one request
    S_REQUEST_BYTES_MAX = WEFT_HEADER_BYTES_MAX / 2, // so that the answer, which says more, fits
    S_ANSWER_BYTES_MAX = WEFT_HEADER_BYTES_MAX - WEFT_HEADER_BYTES_MAX / 8,
    S_MOVE_BYTES = 256 // of one in an answer, beside its texts: 48 broker ids, keys
};

// ---- answers that wait for a command

struct weft_kept_answer {
    weft_buf_t header;
};

static void s_kept_free(struct weft_kept_answer *kept)
{
    weft_buf_fini(&kept->header);
    free(kept);
}

void weft_coordinator_kept_drop(weft_coordinator_t *self)
{
    void *value;
    for (size_t cursor = 0; weft_map_next(self->kept, &cursor, NULL, &value);) s_kept_free(value);
    weft_map_destroy(&self->kept);
}

// Takes the bytes of `header`.
static uint64_t s_keep(weft_coordinator_t *self, weft_buf_t *header)
{
    struct weft_kept_answer *kept = weft_alloc(sizeof *kept);
    kept->header = *header;
    weft_buf_init(header);
    uint64_t number = ++self->token;
    weft_map_put_u64(self->kept, number, kept);
    return number;
}

static void s_kept_settled(weft_coordinator_t *self, const struct weft_proposal *proposal,
                           const struct weft_outcome *outcome)
{
    struct weft_kept_answer *kept = weft_map_remove_u64(self->kept, proposal->wait);
    if (outcome->err)
        weft_coordinator_refuse(self, &proposal->asker, outcome->err, outcome->sentence);
    else
        weft_coordinator_answer(self, &proposal->asker, &kept->header);
    s_kept_free(kept);
}

void weft_coordinator_replicas_move(weft_coordinator_t *self, const struct weft_proposal *like, weft_id_t operation,
                                    struct weft_replica_move *moves, size_t count)
{
    struct weft_reassigned_command command;
    weft_reassigned_command_init(&command);
    command.moves = moves;
    command.moves_count = count;
    command.operation = operation;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_reassigned_command_encode(&command, &bytes);
    struct weft_proposal proposal = *like;
    proposal.command = WEFT_COMMAND_REASSIGNED;
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
}

// Generated structs hold what they borrow without const; an encoder only reads it.
static int32_t *s_ids(const int32_t *ids)
{
    union {
        const int32_t *read;
        int32_t *held;
    } both = {.read = ids};
    return both.held;
}

// ---- one move of a person

static bool s_has(const int32_t *ids, size_t count, int32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

static weft_err_t s_target_check(const weft_coordinator_t *self, const struct weft_cluster_partition *partition,
                                 const int32_t *to, size_t place, struct weft_error *error)
{
    int32_t id = to[place];
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, id);
    if (!broker) return weft_error_set(error, WEFT_ERR_UNKNOWN_BROKER, "no broker %d is registered", id);
    if (s_has(to, place, id))
        return weft_error_set(error, WEFT_ERR_INVALID_REPLICATION, "broker %d is named twice", id);
    if (s_has(partition->replicas, partition->replica_count, id)) return WEFT_OK; // stays, whatever it is
    if (!broker->alive)
        return weft_error_set(error, WEFT_ERR_INVALID_REPLICATION, "broker %d is not alive: it could copy nothing", id);
    if (broker->leaving)
        return weft_error_set(error, WEFT_ERR_INVALID_REPLICATION,
                              "broker %d is leaving the cluster: it is given nothing", id);
    if (broker->sick)
        return weft_error_set(error, WEFT_ERR_INVALID_REPLICATION, "broker %d is sick: look at its disk first", id);
    return WEFT_OK;
}

static weft_err_t s_move_check(const weft_coordinator_t *self, const struct weft_partition_move *move,
                               const struct weft_cluster_topic **topic, struct weft_error *error)
{
    weft_err_t err =
        weft_cluster_find_partition(self->cluster, move->topic, move->topic_id, move->partition, topic, error);
    if (err) return err;
    const struct weft_cluster_partition *partition = &(*topic)->partitions[move->partition];
    if (move->to_count == 0 && !partition->moving)
        return weft_error_set(error, WEFT_ERR_NO_REASSIGNMENT, "the replicas of partition %u of '%s' are not moving",
                              move->partition, (*topic)->name);
    if (move->to_count == 0) return WEFT_OK;
    for (size_t i = 0; i < move->to_count; i++) {
        err = s_target_check(self, partition, move->to, i, error);
        if (err) return err;
    }
    const char *text = weft_cluster_topic_config(*topic, "min.insync");
    long min_insync = text ? strtol(text, NULL, 10) : 0;
    if (min_insync > (long) move->to_count)
        return weft_error_set(error, WEFT_ERR_INVALID_REPLICATION,
                              "min.insync of '%s' is %ld: with %zu replicas nothing could be produced", (*topic)->name,
                              min_insync, move->to_count);
    return WEFT_OK;
}

static bool s_changes_something(const struct weft_cluster_partition *partition, const struct weft_partition_move *move)
{
    const struct weft_cluster_moving *moving = partition->moving;
    if (moving) // given up, or sent elsewhere
        return moving->target_count != move->to_count ||
               memcmp(moving->target, move->to, move->to_count * sizeof *move->to) != 0;
    return partition->replica_count != move->to_count ||
           memcmp(partition->replicas, move->to, move->to_count * sizeof *move->to) != 0;
}

// ---- reassign

struct s_checked {
    struct weft_replica_move *moves; // that go on
    size_t count, refused;
    struct weft_error first;
    weft_arena_t arena;
};

static bool s_named_before(const struct s_checked *checked, weft_id_t topic, uint32_t partition)
{
    for (size_t i = 0; i < checked->count; i++)
        if (checked->moves[i].partition == partition && weft_id_equal(checked->moves[i].topic_id, topic)) return true;
    return false;
}

// Fills in what each partition has now, and why one is refused; the texts are the arena's and the state's.
static void s_check_moves(const weft_coordinator_t *self, struct weft_partition_move *moves, size_t count,
                          struct s_checked *out)
{
    *out = (struct s_checked){.moves = weft_calloc(count + 1, sizeof *out->moves)};
    weft_arena_init(&out->arena);
    for (size_t i = 0; i < count; i++) {
        struct weft_partition_move *move = &moves[i];
        const struct weft_cluster_topic *topic = NULL;
        struct weft_error error = {.code = WEFT_OK};
        weft_err_t err = s_move_check(self, move, &topic, &error);
        if (!err && s_named_before(out, topic->id, move->partition))
            err = weft_error_set(&error, WEFT_ERR_INVALID_REQUEST, "partition %u of '%s' is named twice",
                                 move->partition, topic->name);
        move->error = (int32_t) err;
        if (topic) {
            const struct weft_cluster_partition *partition = &topic->partitions[move->partition];
            move->topic_id = topic->id;
            move->from = s_ids(partition->replicas);
            move->from_count = partition->replica_count;
            move->leader = partition->leader;
            if (!err && s_changes_something(partition, move))
                out->moves[out->count++] = (struct weft_replica_move){.topic_id = topic->id,
                                                                      .partition = move->partition,
                                                                      .partition_epoch = partition->partition_epoch,
                                                                      .replicas = move->to,
                                                                      .replicas_count = move->to_count};
        }
        if (!err) continue;
        if (out->refused++ == 0) out->first = error;
        if (out->arena.used_bytes < S_ANSWER_BYTES_MAX / 4)
            move->message = weft_slice_text(weft_arena_text(&out->arena, weft_slice_text(error.text)));
    }
}

static weft_err_t s_reassign_check(const struct weft_reassign_request *request, size_t bytes, struct weft_error *error)
{
    if (request->bytes_per_second < -1)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "bytes_per_second is -1 (as it is), 0 (no limit) or more");
    if (request->moves_count > S_MOVES_MAX || bytes > S_REQUEST_BYTES_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "a request names at most %d moves in %d bytes; send these in parts", S_MOVES_MAX,
                              S_REQUEST_BYTES_MAX);
    return WEFT_OK;
}

void weft_coordinator_reassign(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_reassign_request request;
    struct weft_error error;
    weft_err_t err = weft_reassign_request_decode(&self->codec, header, &request, &error);
    if (!err) err = s_reassign_check(&request, header.size, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    bool done = weft_coordinator_is_done(self, request.operation);
    struct s_checked checked;
    s_check_moves(self, done ? NULL : request.moves, done ? 0 : request.moves_count, &checked);
    if (checked.refused && checked.refused == request.moves_count) {
        weft_coordinator_refuse(self, asker, checked.first.code, checked.first.text);
    } else {
        struct weft_reassign_reply reply;
        weft_reassign_reply_init(&reply);
        reply.header.id = asker->id;
        reply.moves = request.moves;
        reply.moves_count = request.moves_count;
        weft_buf_t out;
        weft_buf_init(&out);
        weft_reassign_reply_encode(&reply, &out);
        struct weft_proposal proposal = {.settled = s_kept_settled, .asker = *asker};
        bool throttles = request.bytes_per_second >= 0 && !request.dry_run && !done;
        if (throttles && !weft_coordinator_throttle(self, request.bytes_per_second))
            weft_coordinator_come_back(self, asker);
        else if (request.dry_run || done || (checked.count == 0 && !throttles))
            weft_coordinator_answer(self, asker, &out);
        else {
            proposal.wait = s_keep(self, &out); // also without a move: answered once the throttle is in force
            weft_coordinator_replicas_move(self, &proposal, request.operation, checked.moves, checked.count);
        }
        weft_buf_fini(&out);
    }
    weft_arena_fini(&checked.arena);
    free(checked.moves);
}

// ---- what is under way

void weft_coordinator_reassign_list(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    (void) header; // asks for all
    struct weft_reassign_list_reply reply;
    weft_reassign_list_reply_init(&reply);
    reply.header.id = asker->id;
    reply.bytes_per_second = weft_coordinator_throttle_now(self);
    struct weft_cluster_health_counts counts;
    weft_cluster_count_health(self->cluster, &counts);
    reply.moves = weft_calloc((size_t) counts.moving + 1, sizeof *reply.moves);
    size_t bytes = 0;
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; counts.moving && (topic = weft_cluster_next_topic(self->cluster, &cursor));) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            const struct weft_cluster_partition *partition = &topic->partitions[i];
            if (!partition->moving) continue;
            const char *endpoint = weft_cluster_leader_endpoint(self->cluster, topic, i);
            bytes += S_MOVE_BYTES + strlen(topic->name) + strlen(endpoint);
            if (bytes > S_ANSWER_BYTES_MAX) {
                reply.more++;
                continue;
            }
            reply.moves[reply.moves_count++] =
                (struct weft_partition_moving){.topic = weft_slice_text(topic->name),
                                               .topic_id = topic->id,
                                               .partition = i,
                                               .from = partition->moving->origin,
                                               .from_count = partition->moving->origin_count,
                                               .to = partition->moving->target,
                                               .to_count = partition->moving->target_count,
                                               .isr = s_ids(partition->isr),
                                               .isr_count = partition->isr_count,
                                               .leader = partition->leader,
                                               .endpoint = weft_slice_text(endpoint)};
        }
    }
    weft_buf_t out;
    weft_buf_init(&out);
    weft_reassign_list_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
    free(reply.moves);
}

// ---- balance

struct s_listing {
    size_t bytes;
    uint32_t more;
};

// One line of the answer; false if there is no room.
static bool s_list(const weft_coordinator_t *self, struct s_listing *listing, weft_id_t id, uint32_t number,
                   struct weft_partition_move *out)
{
    const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, id);
    listing->bytes += S_MOVE_BYTES + strlen(topic->name);
    if (listing->bytes > S_ANSWER_BYTES_MAX) {
        listing->more++;
        return false;
    }
    const struct weft_cluster_partition *partition = &topic->partitions[number];
    *out = (struct weft_partition_move){.topic = weft_slice_text(topic->name),
                                        .topic_id = id,
                                        .partition = number,
                                        .from = s_ids(partition->replicas),
                                        .from_count = partition->replica_count,
                                        .leader = partition->leader};
    return true;
}

struct s_evening {
    struct weft_plan_leader *leaders;
    struct weft_plan_replicas *replicas;
    size_t leader_count, replica_count;
};

static void s_balance_encode(const weft_coordinator_t *self, const struct s_evening *plan, uint64_t id, weft_buf_t *out)
{
    struct s_listing listing = {0};
    struct weft_balance_reply reply;
    weft_balance_reply_init(&reply);
    reply.header.id = id;
    reply.leaders = weft_calloc(plan->leader_count + 1, sizeof *reply.leaders);
    reply.moves = weft_calloc(plan->replica_count + 1, sizeof *reply.moves);
    for (size_t i = 0; i < plan->leader_count; i++) {
        struct weft_partition_move *line = &reply.leaders[reply.leaders_count];
        if (!s_list(self, &listing, plan->leaders[i].topic, plan->leaders[i].partition, line)) continue;
        line->leader = plan->leaders[i].leader;
        reply.leaders_count++;
    }
    for (size_t i = 0; i < plan->replica_count; i++) {
        struct weft_partition_move *line = &reply.moves[reply.moves_count];
        if (!s_list(self, &listing, plan->replicas[i].topic, plan->replicas[i].partition, line)) continue;
        line->to = plan->replicas[i].replicas;
        line->to_count = plan->replicas[i].replica_count;
        reply.moves_count++;
    }
    reply.more = listing.more;
    weft_balance_reply_encode(&reply, out);
    free(reply.leaders);
    free(reply.moves);
}

static void s_unheard(weft_coordinator_t *self, const struct weft_proposal *proposal,
                      const struct weft_outcome *outcome)
{
    (void) self;
    (void) proposal;
    (void) outcome; // the command behind it answers
}

struct weft_replica_move *weft_coordinator_moves_of(struct weft_plan_replicas *plan, size_t count)
{
    struct weft_replica_move *moves = weft_calloc(count + 1, sizeof *moves);
    for (size_t i = 0; i < count; i++)
        moves[i] = (struct weft_replica_move){.topic_id = plan[i].topic,
                                              .partition = plan[i].partition,
                                              .partition_epoch = plan[i].partition_epoch,
                                              .replicas = plan[i].replicas,
                                              .replicas_count = plan[i].replica_count};
    return moves;
}

// What gets other replicas gets another partition epoch too, so its leadership is left for later.
static void s_leave_out_moved(struct s_evening *plan)
{
    weft_map_t *moved = weft_map_new();
    uint8_t key[20];
    for (size_t i = 0; i < plan->replica_count; i++) {
        memcpy(key, plan->replicas[i].topic.bytes, 16);
        memcpy(key + 16, &plan->replicas[i].partition, 4);
        weft_map_put(moved, weft_slice(key, sizeof key), plan);
    }
    size_t kept = 0;
    for (size_t i = 0; i < plan->leader_count; i++) {
        memcpy(key, plan->leaders[i].topic.bytes, 16);
        memcpy(key + 16, &plan->leaders[i].partition, 4);
        if (!weft_map_get(moved, weft_slice(key, sizeof key))) plan->leaders[kept++] = plan->leaders[i];
    }
    plan->leader_count = kept;
    weft_map_destroy(&moved);
}

static void s_balance_propose(weft_coordinator_t *self, const struct weft_asker *asker, weft_id_t operation,
                              const struct s_evening *plan, weft_buf_t *answer)
{
    struct weft_proposal proposal = {.settled = s_kept_settled, .asker = *asker, .wait = s_keep(self, answer)};
    struct weft_proposal first = {.command = WEFT_COMMAND_LEADERS_MOVED, .settled = s_unheard};
    if (plan->replica_count == 0) {
        proposal.command = WEFT_COMMAND_LEADERS_MOVED;
        weft_coordinator_leaders_move(self, &proposal, operation, plan->leaders, plan->leader_count);
        return;
    }
    if (plan->leader_count)
        weft_coordinator_leaders_move(self, &first, (weft_id_t){{0}}, plan->leaders, plan->leader_count);
    struct weft_replica_move *moves = weft_coordinator_moves_of(plan->replicas, plan->replica_count);
    weft_coordinator_replicas_move(self, &proposal, operation, moves, plan->replica_count);
    free(moves);
}

void weft_coordinator_balance(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_balance_request request;
    struct weft_error error;
    struct s_evening plan = {0};
    weft_err_t err = weft_balance_request_decode(&self->codec, header, &request, &error);
    if (!err && request.bytes_per_second < -1)
        err =
            weft_error_set(&error, WEFT_ERR_INVALID_REQUEST, "bytes_per_second is -1 (as it is), 0 (no limit) or more");
    bool done = !err && weft_coordinator_is_done(self, request.operation);
    if (!err && request.replicas && !done)
        err = weft_plan_replicas(self->cluster, -1, &self->rand, &plan.replicas, &plan.replica_count, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    plan.leaders = weft_calloc(S_MOVES_MAX, sizeof *plan.leaders);
    if (!done) plan.leader_count = weft_coordinator_plan_preferred(self, plan.leaders, S_MOVES_MAX);
    s_leave_out_moved(&plan);
    weft_buf_t out;
    weft_buf_init(&out);
    s_balance_encode(self, &plan, asker->id, &out);
    bool throttles = request.bytes_per_second >= 0 && !request.dry_run && !done;
    if (throttles && !weft_coordinator_throttle(self, request.bytes_per_second))
        weft_coordinator_come_back(self, asker);
    else if (request.dry_run || (plan.leader_count == 0 && plan.replica_count == 0))
        weft_coordinator_answer(self, asker, &out);
    else
        s_balance_propose(self, asker, request.operation, &plan, &out);
    weft_buf_fini(&out);
    free(plan.leaders);
    free(plan.replicas);
}
