// SPDX-License-Identifier: MPL-2.0
// Settings of the whole cluster, its feature level, and its coordinators.
//
// A command carries all settings, so only one change of them is under way at a time. Voters change in two steps: the
// quorum decides who votes, and then a command tells everybody who has to find them.
#include "coordinator.h"

#include "../lib/base/assert.h"
#include "../lib/base/options.h"
#include "../lib/base/trace.h"

#include <weft_gen/config.h>
#include <weft_gen/limits.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { S_CONFIG_MAX = 64, S_LEVEL_AGAIN_US = 200000 };

static const char s_throttle_key[] = "reassign.bytes";

// ---- cluster_alter

static void s_settings_settled(weft_coordinator_t *self, const struct weft_proposal *proposal,
                               const struct weft_outcome *outcome)
{
    self->settings_changing = false;
    if (!proposal->asked) return;
    if (outcome->err) {
        weft_coordinator_refuse(self, &proposal->asker, outcome->err, outcome->sentence);
        return;
    }
    struct weft_cluster_alter_reply reply;
    weft_cluster_alter_reply_init(&reply);
    reply.header.id = proposal->asker.id;
    reply.version = outcome->index;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_cluster_alter_reply_encode(&reply, &header);
    weft_coordinator_answer(self, &proposal->asker, &header);
    weft_buf_fini(&header);
}

static const struct weft_config_entry *s_find(const struct weft_config_entry *entries, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++)
        if (weft_slice_is_text(entries[i].key, key)) return &entries[i];
    return NULL;
}

// All settings from now on: what is changed, then what stays. An empty value resets.
static size_t s_merge(const weft_coordinator_t *self, const struct weft_config_entry *changes, size_t count,
                      struct weft_config_entry *out)
{
    size_t used = 0;
    for (size_t i = 0; i < weft_options_cluster_count && used < S_CONFIG_MAX; i++) {
        const char *key = weft_options_cluster[i].name, *now = weft_cluster_config(self->cluster, key);
        const struct weft_config_entry *change = s_find(changes, count, key);
        weft_slice_t value = change ? change->value : weft_slice_text(now);
        if (value.size) out[used++] = (struct weft_config_entry){.key = weft_slice_text(key), .value = value};
    }
    return used;
}

static void s_propose(weft_coordinator_t *self, const struct weft_config_entry *changes, size_t count,
                      struct weft_proposal *proposal)
{
    struct weft_config_entry config[S_CONFIG_MAX];
    struct weft_cluster_altered_command command;
    weft_cluster_altered_command_init(&command);
    command.config = config;
    command.config_count = s_merge(self, changes, count, config);
    command.operation = proposal->operation;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_cluster_altered_command_encode(&command, &bytes);
    proposal->command = WEFT_COMMAND_CLUSTER_ALTERED;
    proposal->settled = s_settings_settled;
    self->settings_changing = true;
    weft_coordinator_propose(self, proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
}

static weft_err_t s_check(const struct weft_config_entry *entries, size_t count, struct weft_error *error)
{
    weft_options_t *options = weft_options_new(weft_options_cluster, weft_options_cluster_count, "cluster");
    weft_err_t err = WEFT_OK;
    for (size_t i = 0; i < count && !err; i++) {
        char *key = weft_slice_dup(entries[i].key.data ? entries[i].key : weft_slice_text(""));
        char *value = weft_slice_dup(entries[i].value.data ? entries[i].value : weft_slice_text(""));
        const struct weft_config_entry *first = s_find(entries, count, key);
        bool known = false;
        for (size_t k = 0; k < weft_options_cluster_count; k++) known |= strcmp(weft_options_cluster[k].name, key) == 0;
        if (first && first != &entries[i])
            err = weft_error_set(error, WEFT_ERR_INVALID_CONFIG, "'%s' is set twice", key);
        else if (!known || entries[i].value.size) // an empty value resets, and is legal for all that are known
            err = weft_options_set(options, key, value, error);
        free(key);
        free(value);
    }
    weft_options_destroy(&options);
    if (!err) return WEFT_OK;
    error->code = WEFT_ERR_INVALID_CONFIG;
    return WEFT_ERR_INVALID_CONFIG;
}

void weft_coordinator_cluster_alter(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_cluster_alter_request request;
    struct weft_error error;
    weft_err_t err = weft_cluster_alter_request_decode(&self->codec, header, &request, &error);
    if (!err) err = s_check(request.config, request.config_count, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    struct weft_proposal proposal = {.asked = true, .asker = *asker, .operation = request.operation};
    struct weft_outcome done = {.index = 0};
    if (!weft_id_is_zero(request.operation) &&
        weft_cluster_operation_done(self->cluster, request.operation, &done.index)) {
        bool changing = self->settings_changing;
        s_settings_settled(self, &proposal, &done);
        self->settings_changing = changing;
    } else if (self->settings_changing) {
        weft_coordinator_come_back(self, asker);
    } else {
        s_propose(self, request.config, request.config_count, &proposal);
    }
}

// ---- the throttle of moves, which is a setting

int64_t weft_coordinator_throttle_now(const weft_coordinator_t *self)
{
    weft_options_t *options = weft_options_new(weft_options_cluster, weft_options_cluster_count, "cluster");
    const char *text = weft_cluster_config(self->cluster, s_throttle_key);
    int64_t bytes = 0;
    if (!text || weft_options_set(options, s_throttle_key, text, NULL) == WEFT_OK)
        bytes = weft_options_int(options, s_throttle_key);
    weft_options_destroy(&options);
    return bytes;
}

bool weft_coordinator_throttle(weft_coordinator_t *self, int64_t bytes_per_second)
{
    if (bytes_per_second == weft_coordinator_throttle_now(self)) return true;
    if (self->settings_changing) return false;
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long) bytes_per_second);
    struct weft_config_entry change = {.key = weft_slice_text(s_throttle_key), .value = weft_slice_text(text)};
    struct weft_proposal proposal = {.asked = false};
    s_propose(self, &change, 1, &proposal);
    return true;
}

// ---- feature level

static void s_level_raised(weft_coordinator_t *self, const struct weft_proposal *proposal,
                           const struct weft_outcome *outcome)
{
    (void) proposal;
    self->level_raising = false;
    if (outcome->err) self->level_us = weft_port_now_us(&self->port) + S_LEVEL_AGAIN_US;
    if (!outcome->err)
        weft_trace(WEFT_TRACE_INFO, self->name, "the cluster is at feature level %u now",
                   weft_cluster_level(self->cluster));
}

// What all coordinators know: one that runs an older version would be thrown out.
static uint32_t s_level_of_all(const weft_coordinator_t *self)
{
    struct weft_quorum_voter voters[WEFT_QUORUM_VOTERS_MAX];
    size_t count = self->quorum->ops->voters(self->quorum, voters, WEFT_QUORUM_VOTERS_MAX);
    uint32_t level = WEFT_CLUSTER_LEVEL_MAX;
    for (size_t i = 0; i < count; i++)
        if (voters[i].level < level) level = voters[i].level;
    return level;
}

static void s_raise_level(weft_coordinator_t *self)
{
    if (!self->in_office || self->stopping || self->level_raising) return;
    if (weft_port_now_us(&self->port) < self->level_us) return;
    struct weft_level_raised_command command;
    weft_level_raised_command_init(&command);
    command.level = s_level_of_all(self);
    if (command.level <= weft_cluster_level(self->cluster)) return;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_level_raised_command_encode(&command, &bytes);
    struct weft_proposal proposal = {.command = WEFT_COMMAND_LEVEL_RAISED, .settled = s_level_raised};
    self->level_raising = true;
    weft_coordinator_propose(self, &proposal, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
}

void weft_coordinator_level_turn(weft_coordinator_t *self)
{
    uint32_t level = weft_cluster_level(self->cluster);
    if (level < WEFT_CLUSTER_LEVEL_MAX) s_raise_level(self);
    if (level <= WEFT_CLUSTER_LEVEL_MAX || self->quorum->ops->failure(self->quorum)) return;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    snprintf(sentence, sizeof sentence,
             "the cluster is at feature level %u, this coordinator (version %s) knows %d: it would not do what the "
             "others do; start a newer version",
             level, WEFT_VERSION, WEFT_CLUSTER_LEVEL_MAX);
    self->quorum->ops->give_up(self->quorum, WEFT_ERR_UNSUPPORTED_VERSION, sentence);
}

// ---- voters

static void s_voter_answer(weft_coordinator_t *self, const struct weft_asker *asker, const struct weft_outcome *outcome)
{
    if (outcome->err) {
        weft_coordinator_refuse(self, asker, outcome->err, outcome->sentence);
        return;
    }
    struct weft_quorum_voter voters[WEFT_QUORUM_VOTERS_MAX];
    struct weft_voter_change_reply reply;
    weft_voter_change_reply_init(&reply);
    reply.header.id = asker->id;
    reply.voters = (uint32_t) self->quorum->ops->voters(self->quorum, voters, WEFT_QUORUM_VOTERS_MAX);
    weft_buf_t header;
    weft_buf_init(&header);
    weft_voter_change_reply_encode(&reply, &header);
    weft_coordinator_answer(self, asker, &header);
    weft_buf_fini(&header);
}

static void s_voter_settled(weft_coordinator_t *self, const struct weft_proposal *proposal,
                            const struct weft_outcome *outcome)
{
    struct weft_voter_waits *waits = &self->voter_waits;
    s_voter_answer(self, &proposal->asker, outcome);
    if (proposal->wait == 0 || proposal->wait != waits->wait) return; // refused beside the one under way
    waits->wait = 0;
    for (size_t i = 0; i < waits->asker_count; i++) s_voter_answer(self, &waits->askers[i], outcome);
    waits->asker_count = 0;
}

static weft_err_t s_voter_check(const struct weft_voter_change_request *request, struct weft_error *error)
{
    if (request->coordinator_id < 1)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "%d is no coordinator id: they count from 1",
                              request->coordinator_id);
    if (!request->remove && request->endpoint.size == 0)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "say at which endpoint coordinator %d is, for the others have to find it",
                              request->coordinator_id);
    if (request->endpoint.size && memchr(request->endpoint.data, 0, request->endpoint.size))
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "the endpoint is no text");
    return WEFT_OK;
}

// Whether the voters are as the request wants them: a repeat is answered like the first.
static bool s_is_so(const weft_coordinator_t *self, const struct weft_voter_change_request *request)
{
    struct weft_quorum_voter voters[WEFT_QUORUM_VOTERS_MAX];
    size_t count = self->quorum->ops->voters(self->quorum, voters, WEFT_QUORUM_VOTERS_MAX);
    for (size_t i = 0; i < count; i++)
        if (voters[i].id == request->coordinator_id)
            return !request->remove && weft_slice_is_text(request->endpoint, voters[i].endpoint);
    return false; // removing one that is none is for the quorum to refuse
}

// A repeat of the change under way, whose answer may have been lost: it is answered with the first.
static void s_voter_join(weft_coordinator_t *self, const struct weft_asker *asker)
{
    struct weft_voter_waits *waits = &self->voter_waits;
    if (waits->asker_count == WEFT_VOTER_ASKERS_MAX)
        weft_coordinator_come_back(self, asker);
    else
        waits->askers[waits->asker_count++] = *asker;
}

static void s_voter_propose(weft_coordinator_t *self, const struct weft_asker *asker,
                            const struct weft_quorum_voter *voter, bool remove)
{
    struct weft_voter_waits *waits = &self->voter_waits;
    struct weft_proposal proposal = {.settled = s_voter_settled, .asker = *asker};
    if (waits->wait == 0) { // else it is for the quorum to refuse
        waits->wait = proposal.wait = ++waits->waited;
        waits->voter = *voter;
        waits->remove = remove;
    }
    weft_coordinator_propose_voter(self, &proposal, voter, remove);
}

void weft_coordinator_voter_change(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_voter_change_request request;
    struct weft_error error;
    weft_err_t err = weft_voter_change_request_decode(&self->codec, header, &request, &error);
    if (!err) err = s_voter_check(&request, &error);
    if (err) {
        weft_coordinator_refuse(self, asker, err, error.text);
        return;
    }
    if (s_is_so(self, &request)) {
        struct weft_outcome outcome = {.index = 0};
        s_voter_answer(self, asker, &outcome);
        return;
    }
    const struct weft_voter_waits *waits = &self->voter_waits;
    struct weft_quorum_voter voter = {.id = request.coordinator_id};
    snprintf(voter.endpoint, sizeof voter.endpoint, "%.*s", (int) request.endpoint.size,
             request.endpoint.size ? (const char *) request.endpoint.data : "");
    bool same = waits->wait && waits->remove == request.remove && waits->voter.id == voter.id &&
                (request.remove || strcmp(waits->voter.endpoint, voter.endpoint) == 0);
    if (same)
        s_voter_join(self, asker);
    else
        s_voter_propose(self, asker, &voter, request.remove);
}
