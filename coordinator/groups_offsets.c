// SPDX-License-Identifier: MPL-2.0
// The internal topic __offsets: made by the first member of a group, or whoever commits without one, and given more
// replicas later if it was made with fewer than offsets.replicas for lack of brokers.
//
// It is made once: whoever asks meanwhile waits for the same command, and of two coordinators' the second is refused
// (TOPIC_EXISTS), which is as good. Without a live broker members are let in all the same, and it is tried again.
#include "groups.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"
#include "../lib/core/offsets.h"

#include <stdlib.h>
#include <string.h>

enum { S_ASKERS_MAX = 1000, S_AGAIN_US = 1000000, S_RAISE_US = 5000000, S_RAISED_MAX = 100 };

static const struct weft_cluster_topic *s_topic(const weft_coordinator_t *self)
{
    return weft_cluster_topic_by_name(self->cluster, weft_slice_text(WEFT_OFFSETS_TOPIC));
}

static bool s_is_usable(const struct weft_cluster_broker *broker)
{
    return broker->alive && !broker->leaving;
}

static uint32_t s_usable(const weft_coordinator_t *self)
{
    uint32_t count = 0;
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self->cluster, &cursor));) count += s_is_usable(broker);
    return count;
}

// ---- making it

static void s_answer(weft_coordinator_t *self, const struct weft_asker *asker, weft_id_t topic)
{
    struct weft_offsets_begin_reply reply;
    weft_offsets_begin_reply_init(&reply);
    reply.header.id = asker->id;
    reply.topic_id = topic;
    weft_buf_t out;
    weft_buf_init(&out);
    weft_offsets_begin_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
}

// All who wait, with the topic if it is there, else the error.
static void s_answer_all(weft_coordinator_t *self, weft_err_t err, const char *sentence)
{
    struct weft_group_rooms *rooms = self->rooms;
    const struct weft_cluster_topic *topic = s_topic(self);
    for (size_t i = 0; i < rooms->offsets_asker_count; i++)
        if (topic)
            s_answer(self, &rooms->offsets_askers[i], topic->id);
        else
            weft_coordinator_refuse(self, &rooms->offsets_askers[i], err, sentence);
    rooms->offsets_asker_count = 0;
}

static void s_made(weft_coordinator_t *self, const struct weft_proposal *proposal, const struct weft_outcome *outcome)
{
    struct weft_group_rooms *rooms = self->rooms;
    if (proposal->wait != rooms->office) return; // it may come yet, in another's office
    rooms->offsets_making = false;
    rooms->offsets_us = weft_port_now_us(&self->port) + (outcome->err ? S_AGAIN_US : S_RAISE_US);
    s_answer_all(self, outcome->err, outcome->sentence);
}

static void s_make(weft_coordinator_t *self, int64_t now_us)
{
    struct weft_group_rooms *rooms = self->rooms;
    uint32_t replicas = s_usable(self);
    if (replicas > rooms->settings.offsets_replicas) replicas = rooms->settings.offsets_replicas;
    struct weft_config_entry config[] = {
        {.key = weft_slice_text("cleanup.policy"), .value = weft_slice_text("compact")},
        {.key = weft_slice_text("segment.bytes"), .value = weft_slice_text("64MiB")},
    };
    struct weft_topic_create_request like;
    weft_topic_create_request_init(&like);
    like.topic = weft_slice_text(WEFT_OFFSETS_TOPIC);
    like.partitions = rooms->settings.offsets_partitions;
    like.replicas = replicas ? replicas : 1; // which is refused with a sentence
    like.config = config;
    like.config_count = sizeof config / sizeof config[0];
    struct weft_proposal proposal = {.settled = s_made, .wait = rooms->office};
    struct weft_error error;
    rooms->offsets_making = true;
    weft_err_t err = weft_coordinator_topic_make(self, &like, &proposal, &error);
    if (!err) return;
    rooms->offsets_making = false;
    rooms->offsets_us = now_us + S_AGAIN_US;
    s_answer_all(self, err, error.text);
}

void weft_coordinator_offsets_want(weft_coordinator_t *self)
{
    self->rooms->offsets_wanted = true;
}

void weft_coordinator_offsets_begin(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_group_rooms *rooms = self->rooms;
    (void) header; // asks for nothing in particular
    const struct weft_cluster_topic *topic = s_topic(self);
    if (topic) {
        s_answer(self, asker, topic->id);
        return;
    }
    if (rooms->offsets_asker_count == S_ASKERS_MAX) {
        weft_coordinator_refuse(self, asker, WEFT_ERR_OVERLOADED, NULL);
        return;
    }
    if (!rooms->offsets_askers) rooms->offsets_askers = weft_calloc(S_ASKERS_MAX, sizeof *rooms->offsets_askers);
    rooms->offsets_askers[rooms->offsets_asker_count++] = *asker;
    if (!rooms->offsets_making) rooms->offsets_us = 0;
}

// ---- more replicas

/** A broker that may be given one more. */
struct s_candidate {
    const struct weft_cluster_broker *broker;
    uint32_t load;
};

static bool s_holds(const int32_t *ids, size_t count, int32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

static bool s_shares_rack(const weft_coordinator_t *self, const int32_t *ids, size_t count, const char *rack)
{
    for (size_t i = 0; rack[0] && i < count; i++) {
        const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, ids[i]);
        if (broker && strcmp(broker->rack, rack) == 0) return true;
    }
    return false;
}

// The one with the fewest replicas, in a rack of its own if there is one; NULL: all have it.
static struct s_candidate *s_choose(const weft_coordinator_t *self, struct s_candidate *candidates, size_t count,
                                    const int32_t *ids, size_t id_count)
{
    struct s_candidate *best = NULL;
    bool best_shares = false;
    for (size_t i = 0; i < count; i++) {
        if (s_holds(ids, id_count, candidates[i].broker->id)) continue;
        bool shares = s_shares_rack(self, ids, id_count, candidates[i].broker->rack);
        if (best && (shares > best_shares || (shares == best_shares && candidates[i].load >= best->load))) continue;
        best = &candidates[i];
        best_shares = shares;
    }
    return best;
}

static size_t s_candidates(const weft_coordinator_t *self, struct s_candidate **out)
{
    size_t known = 0, count = 0;
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; weft_cluster_next_broker(self->cluster, &cursor);) known++;
    *out = weft_calloc(known + 1, sizeof **out);
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self->cluster, &cursor));)
        if (s_is_usable(broker) && !broker->sick && !broker->draining)
            (*out)[count++] = (struct s_candidate){.broker = broker, .load = broker->stored_count};
    return count;
}

static void s_raised(weft_coordinator_t *self, const struct weft_proposal *proposal, const struct weft_outcome *outcome)
{
    (void) outcome; // what is left is planned anew
    if (proposal->wait == self->rooms->office) self->rooms->offsets_raising = false;
}

static void s_raise(weft_coordinator_t *self, const struct weft_cluster_topic *topic)
{
    struct s_candidate *candidates, *chosen;
    size_t candidate_count = s_candidates(self, &candidates), count = 0;
    struct weft_replica_move *moves = weft_calloc(S_RAISED_MAX, sizeof *moves);
    int32_t(*ids)[WEFT_REPLICAS_MAX] = weft_calloc(S_RAISED_MAX, sizeof *ids);
    for (uint32_t i = 0; i < topic->partition_count && count < S_RAISED_MAX; i++) {
        const struct weft_cluster_partition *partition = &topic->partitions[i];
        size_t used = partition->replica_count;
        if (partition->moving || partition->leader < 0) continue;
        memcpy(ids[count], partition->replicas, used * sizeof ids[0][0]);
        while (used < self->rooms->settings.offsets_replicas && used < WEFT_REPLICAS_MAX &&
               (chosen = s_choose(self, candidates, candidate_count, ids[count], used))) {
            ids[count][used++] = chosen->broker->id;
            chosen->load++;
        }
        if (used == partition->replica_count) continue;
        moves[count] = (struct weft_replica_move){.topic_id = topic->id,
                                                  .partition = i,
                                                  .partition_epoch = partition->partition_epoch,
                                                  .replicas = ids[count],
                                                  .replicas_count = used};
        count++;
    }
    if (count) {
        weft_trace(WEFT_TRACE_INFO, self->name, "%zu partitions of %s get more replicas", count, topic->name);
        struct weft_proposal proposal = {.settled = s_raised, .wait = self->rooms->office};
        self->rooms->offsets_raising = true;
        weft_coordinator_replicas_move(self, &proposal, (weft_id_t){{0}}, moves, count);
    }
    free(candidates);
    free(moves);
    free(ids);
}

void weft_coordinator_offsets_turn(weft_coordinator_t *self, int64_t now_us)
{
    struct weft_group_rooms *rooms = self->rooms;
    if (now_us < rooms->offsets_us || rooms->offsets_making || rooms->offsets_raising) return;
    const struct weft_cluster_topic *topic = s_topic(self);
    bool wanted = rooms->offsets_wanted || rooms->offsets_asker_count || weft_groups_count(self->groups);
    if (!topic) {
        if (wanted) s_make(self, now_us);
        return;
    }
    rooms->offsets_wanted = false;
    s_answer_all(self, WEFT_OK, NULL);
    rooms->offsets_us = now_us + S_RAISE_US;
    if (now_us - self->changed_us >= S_RAISE_US) s_raise(self, topic); // once it is quiet
}
