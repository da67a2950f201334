// SPDX-License-Identifier: MPL-2.0
// What is read from the cluster state, and when: in office only after a barrier has shown that nobody else took over
// meanwhile, one barrier for all that ask until it is through; out of office from the state at hand, which may lag.
#include "coordinator.h"

#include "../lib/base/assert.h"
#include "../lib/base/crc32c.h"
#include "../lib/base/trace.h"
#include "../lib/core/offsets.h"

#include <stdlib.h>
#include <string.h>

enum { S_WAITING_MAX = 20000, S_DIGEST_ENTRIES = 1024 };

// ---- who is in office

void weft_coordinator_redirect(weft_coordinator_t *self, const struct weft_asker *asker)
{
    int32_t active = -1;
    const char *endpoint = self->quorum->ops->active(self->quorum, &active);
    const char *waits = self->quorum->ops->waits(self->quorum);
    if (active < 0 || active == self->id || !endpoint[0]) {
        weft_coordinator_refuse(
            self, asker,
            self->voters_several || !weft_id_is_zero(weft_cluster_id(self->cluster)) ? WEFT_ERR_COORDINATOR_UNAVAILABLE
                                                                                     : WEFT_ERR_COORDINATOR_LOADING,
            waits ? waits : "no coordinator is in office at the moment: they elect one, or too few are up");
        return;
    }
    struct weft_metadata_reply reply; // any: a refusal carries the header's fields only
    weft_metadata_reply_init(&reply);
    reply.header.id = asker->id;
    reply.header.error = WEFT_ERR_NOT_COORDINATOR;
    reply.header.endpoint = weft_slice_text(endpoint);
    weft_buf_t out;
    weft_buf_init(&out);
    weft_metadata_reply_encode(&reply, &out);
    weft_coordinator_answer(self, asker, &out);
    weft_buf_fini(&out);
    weft_counter_add(self->counters, WEFT_COUNT_REFUSED_REQUESTS, 1);
}

// ---- reads that wait for a barrier

static void s_reads_fini(struct weft_coordinator_reads *reads)
{
    for (size_t i = 0; i < reads->count; i++) weft_buf_fini(&reads->reads[i].header);
    free(reads->reads);
    *reads = (struct weft_coordinator_reads){.reads = NULL};
}

void weft_coordinator_read(weft_coordinator_t *self, const struct weft_asker *asker, weft_coordinator_read_fn *answer,
                           weft_slice_t header)
{
    struct weft_coordinator_reads *next = &self->reads_next;
    if (!self->voters_several) { // who is alone knows
        answer(self, asker, header);
        return;
    }
    if (next->count == S_WAITING_MAX) {
        weft_coordinator_refuse(self, asker, WEFT_ERR_OVERLOADED, NULL);
        return;
    }
    if (next->count == next->capacity) {
        next->capacity = next->capacity ? next->capacity * 2 : 8;
        next->reads = weft_realloc(next->reads, next->capacity * sizeof *next->reads);
    }
    struct weft_coordinator_read *read = &next->reads[next->count++];
    *read = (struct weft_coordinator_read){.asker = *asker, .answer = answer};
    weft_buf_init(&read->header);
    weft_buf_append(&read->header, header.data, header.size);
}

bool weft_coordinator_reads_turn(weft_coordinator_t *self)
{
    if (self->reads_next.count == 0 || self->reads.count) return false;
    self->reads = self->reads_next;
    self->reads_next = (struct weft_coordinator_reads){.reads = NULL};
    self->reads_token = ++self->token;
    self->reads_asked_us = weft_port_now_us(&self->port);
    self->quorum->ops->barrier(self->quorum, self->reads_token);
    return true;
}

bool weft_coordinator_read_applied(weft_coordinator_t *self, uint64_t token)
{
    if (token == 0 || token != self->reads_token || self->reads.count == 0) return false;
    struct weft_coordinator_reads reads = self->reads;
    self->reads = (struct weft_coordinator_reads){.reads = NULL};
    self->proved_us = self->reads_asked_us;
    for (size_t i = 0; i < reads.count; i++)
        reads.reads[i].answer(self, &reads.reads[i].asker, weft_buf_slice(&reads.reads[i].header));
    s_reads_fini(&reads);
    return true;
}

bool weft_coordinator_read_lost(weft_coordinator_t *self, uint64_t token)
{
    if (token == 0 || token != self->reads_token || self->reads.count == 0) return false;
    struct weft_coordinator_reads reads = self->reads;
    self->reads = (struct weft_coordinator_reads){.reads = NULL};
    for (size_t i = 0; i < reads.count; i++) weft_coordinator_redirect(self, &reads.reads[i].asker);
    s_reads_fini(&reads);
    return true;
}

void weft_coordinator_reads_drop(weft_coordinator_t *self)
{
    s_reads_fini(&self->reads);
    s_reads_fini(&self->reads_next);
}

// ---- the state that all share

// Before groups there are none, and others may run a version that doesn't know them.
static uint32_t s_digest(const weft_coordinator_t *self)
{
    uint32_t digest = weft_cluster_digest(self->cluster);
    if (weft_cluster_level(self->cluster) < 2) return digest;
    uint32_t groups = weft_groups_digest(self->groups);
    return weft_crc32c(digest, &groups, sizeof groups);
}

// Every so many entries whoever is in office says what its state was; one that finds another in itself must not go on.
void weft_coordinator_digest(weft_coordinator_t *self, uint64_t index, weft_slice_t command)
{
    struct weft_state_digest_command told;
    enum weft_command type = WEFT_COMMAND_UNKNOWN;
    if (command.size && weft_command_peek(command, &type) == WEFT_OK && type == WEFT_COMMAND_STATE_DIGEST &&
        weft_state_digest_command_decode(&self->codec, command, &told, NULL) == WEFT_OK &&
        told.index == self->digest_index && told.digest != self->digest && told.index != 0) {
        weft_trace(WEFT_TRACE_ERROR, self->name, "digest at %llu: %08x here, %08x told",
                   (unsigned long long) told.index, self->digest, told.digest);
        self->quorum->ops->give_up(
            self->quorum, WEFT_ERR_DAMAGED,
            "the state of this coordinator differs from that of the one in office: its memory or "
            "disk is bad, or it runs another version; remove it from the quorum and add it with an "
            "empty directory");
        return;
    }
    if (index % S_DIGEST_ENTRIES || index <= self->digest_index || !self->voters_several) return;
    self->digest_index = index;
    self->digest = s_digest(self);
    if (!self->in_office || self->stopping) return;
    weft_buf_t out;
    weft_buf_init(&out);
    weft_state_digest_command_init(&told);
    told.index = index;
    told.digest = self->digest;
    weft_state_digest_command_encode(&told, &out);
    struct weft_proposal proposal = {.command = WEFT_COMMAND_STATE_DIGEST};
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&out));
    weft_buf_fini(&out);
}

// Everybody is told where the coordinators are.
void weft_coordinator_voters_turn(weft_coordinator_t *self)
{
    if (!self->voters_moved) return;
    struct weft_quorum_voter voters[WEFT_QUORUM_VOTERS_MAX];
    struct weft_voter told[WEFT_QUORUM_VOTERS_MAX];
    size_t count = self->quorum->ops->voters(self->quorum, voters, WEFT_QUORUM_VOTERS_MAX), known = 0;
    const struct weft_cluster_voter *now = weft_cluster_voters(self->cluster, &known);
    self->voters_several = count > 1;
    if (!self->in_office || self->stopping) return;
    self->voters_moved = false;
    bool same = count == known || (count == 1 && known == 0);
    for (size_t i = 0; i < count; i++) {
        told[i] = (struct weft_voter){
            .id = voters[i].id, .server = voters[i].server, .endpoint = weft_slice_text(voters[i].endpoint)};
        same = same && (known == 0 || (now[i].id == voters[i].id && now[i].server == voters[i].server &&
                                       strcmp(now[i].endpoint, voters[i].endpoint) == 0));
    }
    if (same) return;
    struct weft_voters_changed_command command;
    weft_voters_changed_command_init(&command);
    command.voters = told;
    command.voters_count = count;
    weft_buf_t out;
    weft_buf_init(&out);
    weft_voters_changed_command_encode(&command, &out);
    struct weft_proposal proposal = {.command = WEFT_COMMAND_VOTERS_CHANGED};
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&out));
    weft_buf_fini(&out);
}

// ---- answers from the state

void weft_coordinator_metadata(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_metadata_request request;
    struct weft_error error;
    weft_err_t err = weft_metadata_request_decode(&self->codec, header, &request, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    weft_buf_t reply;
    weft_buf_init(&reply);
    weft_cluster_metadata_encode(self->cluster, &request, &reply);
    weft_coordinator_answer(self, asker, &reply);
    weft_buf_fini(&reply);
}

void weft_coordinator_topic_describe(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_topic_describe_request request;
    struct weft_error error;
    weft_err_t err = weft_topic_describe_request_decode(&self->codec, header, &request, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    weft_buf_t reply;
    weft_buf_init(&reply);
    weft_cluster_topic_describe_encode(self->cluster, &request, &reply);
    weft_coordinator_answer(self, asker, &reply);
    weft_buf_fini(&reply);
}

// Requests for what a group committed: the leader of its partition of __offsets has it.
void weft_coordinator_offsets_not_here(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_group_describe_request request; // whatever else they hold, only the group counts here
    struct weft_error error;
    weft_err_t err = weft_group_describe_request_decode(&self->codec, header, &request, &error);
    const struct weft_cluster_topic *topic =
        weft_cluster_topic_by_name(self->cluster, weft_slice_text(WEFT_OFFSETS_TOPIC));
    if (!err && !topic)
        err = weft_error_set(&error, WEFT_ERR_UNKNOWN_TOPIC,
                             "nothing was committed yet: the topic %s is made by the first consumer group, or by "
                             "offsets_begin",
                             WEFT_OFFSETS_TOPIC);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    weft_buf_t reply;
    weft_buf_init(&reply);
    weft_cluster_not_leader_encode(self->cluster, topic, weft_offsets_partition(request.group, topic->partition_count),
                                   asker->id, &reply);
    weft_coordinator_answer(self, asker, &reply);
    weft_buf_fini(&reply);
    weft_counter_add(self->counters, WEFT_COUNT_REFUSED_REQUESTS, 1);
}

// Requests for a partition: whatever else they hold, only the names count here.
void weft_coordinator_not_led_here(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_partition_status_request request;
    struct weft_error error;
    weft_err_t err = weft_partition_status_request_decode(&self->codec, header, &request, &error);
    const struct weft_cluster_topic *topic = NULL;
    if (!err)
        err = weft_cluster_find_partition(self->cluster, request.topic, request.topic_id, request.partition, &topic,
                                          &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    weft_buf_t reply;
    weft_buf_init(&reply);
    weft_cluster_not_leader_encode(self->cluster, topic, request.partition, asker->id, &reply);
    weft_coordinator_answer(self, asker, &reply);
    weft_buf_fini(&reply);
    weft_counter_add(self->counters, WEFT_COUNT_REFUSED_REQUESTS, 1);
}
