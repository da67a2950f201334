// SPDX-License-Identifier: MPL-2.0
// Commands on the cluster itself, and the operations of clients that were done.
//
// An operation is remembered together with its effect, in the same apply: whoever repeats it, at this coordinator or the
// next, finds either both or neither. Ten thousand are kept, oldest first: a retry comes within seconds.
#include "cluster_state.h"

#include "../base/assert.h"

#include <stdlib.h>
#include <string.h>

static void s_told(weft_cluster_t *self)
{
    weft_cluster_note(self, WEFT_CLUSTER_SETTINGS, (weft_id_t){{0}}, 0, -1);
}

weft_err_t weft_cluster_formatted(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_cluster_format_command it;
    weft_err_t err = weft_cluster_format_command_decode(self->codec, command, &it, error);
    if (err) return err;
    if (!weft_id_is_zero(self->id) || weft_id_is_zero(it.cluster_id))
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "a cluster is formatted once, with an id that is not zero");
    self->id = it.cluster_id;
    return WEFT_OK;
}

weft_err_t weft_cluster_took_office(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_took_office_command it;
    weft_err_t err = weft_took_office_command_decode(self->codec, command, &it, error);
    if (err) return err;
    free(self->coordinator_endpoint);
    self->coordinator_endpoint = it.endpoint.data ? weft_slice_dup(it.endpoint) : weft_strdup("");
    self->coordinator_id = it.coordinator_id;
    self->epoch = self->index;
    return WEFT_OK;
}

weft_err_t weft_cluster_altered(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_cluster_altered_command it;
    weft_err_t err = weft_cluster_altered_command_decode(self->codec, command, &it, error);
    if (err) return err;
    if (weft_cluster_operation_repeated(self, it.operation)) return WEFT_OK;
    err = weft_cluster_config_check(it.config, it.config_count, error);
    if (err) return err;
    struct weft_cluster_settings *settings = &self->settings;
    weft_cluster_texts_set(&settings->keys, &settings->values, &settings->count, it.config, it.config_count);
    s_told(self);
    return WEFT_OK;
}

// ---- coordinators

weft_err_t weft_cluster_voters_check(const struct weft_voter *voters, size_t count, struct weft_error *error)
{
    if (count > WEFT_CLUSTER_VOTERS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "there are at most %d coordinators, not %zu",
                              WEFT_CLUSTER_VOTERS_MAX, count);
    for (size_t i = 0; i < count; i++) {
        weft_slice_t endpoint = voters[i].endpoint;
        if (voters[i].id < 0 || endpoint.size == 0 || endpoint.size > 255 || memchr(endpoint.data, 0, endpoint.size))
            return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                                  "coordinator %d has a negative id, or its endpoint is empty or no text",
                                  voters[i].id);
        for (size_t j = 0; j < i; j++)
            if (voters[j].id == voters[i].id)
                return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "coordinator %d is named twice", voters[i].id);
    }
    return WEFT_OK;
}

void weft_cluster_voters_set(weft_cluster_t *self, const struct weft_voter *voters, size_t count)
{
    weft_assert(count <= WEFT_CLUSTER_VOTERS_MAX);
    free(self->voters);
    self->voters = weft_calloc(count + 1, sizeof *self->voters);
    self->voter_count = count;
    for (size_t i = 0; i < count; i++) {
        self->voters[i].id = voters[i].id;
        self->voters[i].server = voters[i].server;
        memcpy(self->voters[i].endpoint, voters[i].endpoint.data, voters[i].endpoint.size);
    }
}

weft_err_t weft_cluster_voters_changed(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_voters_changed_command it;
    weft_err_t err = weft_voters_changed_command_decode(self->codec, command, &it, error);
    if (err) return err;
    err = weft_cluster_voters_check(it.voters, it.voters_count, error);
    if (err) return err;
    weft_cluster_voters_set(self, it.voters, it.voters_count);
    s_told(self);
    return WEFT_OK;
}

// Nothing of it is state: who applied up to that index compares with what it had there itself.
weft_err_t weft_cluster_state_digest(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_state_digest_command it;
    weft_err_t err = weft_state_digest_command_decode(self->codec, command, &it, error);
    if (err) return err;
    if (it.index >= self->index)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "a digest is of an index that was applied");
    return WEFT_OK;
}

weft_err_t weft_cluster_level_raised(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_level_raised_command it;
    weft_err_t err = weft_level_raised_command_decode(self->codec, command, &it, error);
    if (err) return err;
    if (it.level <= self->level)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "the cluster is at feature level %u already",
                              self->level);
    self->level = it.level; // also to one not known here: all have to hold the same state
    s_told(self);
    return WEFT_OK;
}

// ---- operations

bool weft_cluster_operation_done(const weft_cluster_t *self, weft_id_t operation, uint64_t *index)
{
    const uint64_t *found = weft_map_get(self->operations, weft_id_slice(&operation));
    if (found && index) *index = *found;
    return found != NULL;
}

bool weft_cluster_operation_repeated(weft_cluster_t *self, weft_id_t operation)
{
    if (weft_cluster_operation_done(self, operation, NULL)) return true;
    self->operation = operation;
    return false;
}

void weft_cluster_operation_add(weft_cluster_t *self, weft_id_t operation, uint64_t index)
{
    if (weft_map_count(self->operations) >= WEFT_CLUSTER_OPERATIONS_MAX) {
        size_t cursor = 0;
        weft_slice_t key;
        void *value;
        if (weft_map_next(self->operations, &cursor, &key, &value)) {
            weft_id_t oldest = weft_id_of_slice(key);
            weft_map_remove(self->operations, weft_id_slice(&oldest));
            free(value);
        }
    }
    uint64_t *value = weft_alloc(sizeof *value);
    *value = index;
    weft_map_put(self->operations, weft_id_slice(&operation), value);
}
