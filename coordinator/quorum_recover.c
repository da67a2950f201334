// SPDX-License-Identifier: MPL-2.0
// Start: vote, log, snapshot, and whether they belong together.
//
// What was written and not synced before a kill -9 is in the page cache and may have been acknowledged by nobody; it is
// synced before libraft hears of it. What can't be right is refused with the file and the place. The vote says up to
// which entry this voter knew its log to be decided and durable: a log that ends before is not the one it had.
#include "quorum_self.h"

#include "../lib/base/trace.h"

#include <stdlib.h>
#include <string.h>

#define S_REPLACE \
    "with other voters alive remove this one and add it with an empty directory, else put back a copy of the whole " \
    "data " \
    "directory"

static weft_err_t s_read_vote(struct weft_quorum_self *self, bool fresh, struct weft_error *error)
{
    char path[WEFT_QUORUM_PATH_BYTES_MAX + 32];
    weft_quorum_path(self, "vote", path);
    weft_err_t err = weft_quorum_vote_open(self->disk, path, &self->vote, error);
    if (err == WEFT_ERR_NOT_FOUND && fresh) {
        self->vote = (struct weft_quorum_vote){.server = self->server};
        err = weft_quorum_vote_store(self->disk, path, &self->vote);
        return err ? weft_error_set(error, err, "%s can't be written: %s", path, weft_err_sentence(err)) : WEFT_OK;
    }
    if (err == WEFT_ERR_NOT_FOUND)
        return weft_error_set(error, WEFT_ERR_DAMAGED, "%s is missing beside a log or snapshot; " S_REPLACE, path);
    if (err) return err;
    if (self->vote.server != self->server)
        return weft_error_set(error, WEFT_ERR_WRONG_DIRECTORY, "%s is of another data directory; " S_REPLACE, path);
    return WEFT_OK;
}

// An installed snapshot, or one by which a quorum of one grew, makes the log begin anew; a crash may have come between.
static bool s_is_begun(const struct weft_quorum_self *self)
{
    uint64_t index = self->snapshot.index;
    if (self->snapshot.grown) return self->log.first > index;
    if (!self->snapshot.installed || self->vote.committed >= index) return true;
    const struct weft_quorum_record *record = weft_quorum_log_get(&self->log, index);
    return weft_quorum_log_last(&self->log) >= index &&
           (record ? record->term == self->snapshot.term : self->log.first == index + 1);
}

static weft_err_t s_finish_install(struct weft_quorum_self *self, struct weft_error *error)
{
    if (s_is_begun(self)) return WEFT_OK;
    weft_err_t err = weft_quorum_log_reset(&self->log, self->snapshot.index);
    return err ? weft_error_set(error, err, "%s/log can't be begun anew: %s", self->directory, weft_err_sentence(err))
               : WEFT_OK;
}

static weft_err_t s_fit(const struct weft_quorum_self *self, struct weft_error *error)
{
    uint64_t last = weft_quorum_log_last(&self->log), index = self->snapshot.index;
    if (self->log.first > index + 1)
        return weft_error_set(error, WEFT_ERR_DAMAGED,
                              "%s/log begins at offset %llu and the snapshot before it is %s; " S_REPLACE,
                              self->directory, (unsigned long long) self->log.first - 1, index ? "older" : "missing");
    if (last < index || last < self->vote.committed)
        return weft_error_set(error, WEFT_ERR_DAMAGED,
                              "%s/log ends at offset %llu, but this voter knew %llu entries to be decided; " S_REPLACE,
                              self->directory, (unsigned long long) last,
                              (unsigned long long) (self->vote.committed > index ? self->vote.committed : index));
    const struct weft_quorum_record *record = weft_quorum_log_get(&self->log, index);
    if (record && record->term != self->snapshot.term)
        return weft_error_set(error, WEFT_ERR_DAMAGED, "%s/log and its snapshot are of two histories; " S_REPLACE,
                              self->directory);
    if (index == 0 && last > 0 && weft_quorum_log_get(&self->log, 1)->kind != RAFT_CHANGE)
        return weft_error_set(error, WEFT_ERR_WRONG_FORMAT,
                              "%s/log does not begin with its voters: another version wrote it", self->directory);
    return WEFT_OK;
}

static weft_err_t s_guard_entries(const struct weft_quorum_self *self, struct weft_error *error)
{
    for (uint64_t i = self->log.first; i <= weft_quorum_log_last(&self->log); i++) {
        const struct weft_quorum_record *record = weft_quorum_log_get(&self->log, i);
        if (record->kind == RAFT_CHANGE && !weft_quorum_configuration_guard(weft_slice(record->data, record->size)))
            return weft_error_set(error, WEFT_ERR_WRONG_FORMAT,
                                  "%s/log holds voters of a form that this build does not know at offset %llu",
                                  self->directory, (unsigned long long) i - 1);
    }
    return WEFT_OK;
}

// ---- options against what the voters decided

// The last configuration that is stored, decided or not.
static bool s_stored_configuration(const struct weft_quorum_self *self, struct raft_configuration *out)
{
    for (uint64_t i = weft_quorum_log_last(&self->log); i >= self->log.first && i > self->snapshot.index; i--) {
        const struct weft_quorum_record *record = weft_quorum_log_get(&self->log, i);
        if (record->kind == RAFT_CHANGE)
            return weft_quorum_configuration_decode(weft_slice(record->data, record->size), out);
    }
    if (self->configuration.n == 0) return false;
    weft_quorum_configuration_copy(&self->configuration, out);
    return true;
}

static weft_err_t s_compare(struct weft_quorum_self *self, const struct raft_configuration *stored,
                            struct weft_error *error)
{
    if (stored->n == 1 && self->list_count > 1) {
        if (self->list_count == 2)
            return weft_error_set(error, WEFT_ERR_INVALID_CONFIG,
                                  "a cluster with one coordinator grows to 3 or 5, not to 2");
        weft_trace(WEFT_TRACE_INFO, self->name, "was the only coordinator, and is to be one of %zu", self->list_count);
        self->growing = true;
        return WEFT_OK;
    }
    if (stored->n > 1 && self->list_count <= 1)
        return weft_error_set(error, WEFT_ERR_INVALID_CONFIG,
                              "%s is of a cluster with %u coordinators; list them all in the option `coordinators`",
                              self->directory, stored->n);
    size_t shared = 0;
    for (size_t i = 0; i < self->list_count; i++) shared += weft_quorum_server_of_id(stored, self->list[i].id) != NULL;
    if (self->list_count && (shared < stored->n || shared < self->list_count))
        weft_trace(
            WEFT_TRACE_WARN, self->name,
            "the option `coordinators` lists others than the voters that stand in %s; the voters decide, correct "
            "the option",
            self->directory);
    return WEFT_OK;
}

static weft_err_t s_check_list(struct weft_quorum_self *self, struct weft_error *error)
{
    bool own = self->list_count == 0;
    for (size_t i = 0; i < self->list_count; i++) own = own || self->list[i].id == self->id;
    if (!own)
        return weft_error_set(error, WEFT_ERR_INVALID_CONFIG,
                              "the option `coordinators` lists all but this one, coordinator %d", self->id);
    struct raft_configuration stored;
    weft_err_t err = WEFT_OK;
    if (s_stored_configuration(self, &stored)) {
        err = s_compare(self, &stored, error);
        raft_configuration_close(&stored);
    } else if (self->list_count == 2) {
        err = weft_error_set(error, WEFT_ERR_INVALID_CONFIG, "a quorum is formed of 1, 3 or 5 coordinators, not of 2");
    }
    return err;
}

static weft_err_t s_check_cluster(const struct weft_quorum_self *self, struct weft_error *error)
{
    if (weft_id_is_zero(self->identity) || weft_id_equal(self->identity, self->log.cluster)) return WEFT_OK;
    char text[WEFT_ID_TEXT_BYTES];
    weft_id_text(self->identity, text);
    return weft_error_set(error, WEFT_ERR_DAMAGED,
                          "%s belongs to cluster %s, but its log is of another one or empty; " S_REPLACE,
                          self->directory, text);
}

weft_err_t weft_quorum_recover(struct weft_quorum_self *self, int64_t synced_end, struct weft_error *error)
{
    char path[WEFT_QUORUM_PATH_BYTES_MAX + 32];
    weft_quorum_path(self, "log", path);
    weft_err_t err = weft_quorum_log_open(&self->log, self->disk, path, synced_end, self->name, error);
    if (err) return err;
    bool log_whole = self->log.first == 1 && self->log.count > 0;
    err = weft_quorum_snapshot_load(self, log_whole, error);
    if (!err) err = s_read_vote(self, weft_quorum_is_empty(self), error);
    if (!err) err = s_finish_install(self, error);
    if (!err) err = s_fit(self, error);
    if (!err) err = s_guard_entries(self, error);
    if (!err) err = s_check_cluster(self, error);
    if (!err) err = s_check_list(self, error);
    if (!err && weft_quorum_is_empty(self) && self->list_count <= 1) err = weft_quorum_form_alone(self, error);
    return err;
}
