// SPDX-License-Identifier: MPL-2.0
// Snapshots of the state machine, in the file `snapshot` of the node's directory: taken here, or installed because the
// leader no longer keeps the entries that this voter lacks.
//
// The state is written to `snapshot.tmp`, synced by the sync part (this thread never blocks on that), renamed, and the
// directory synced: after a crash either the old or the new one is there. Only then the log is trimmed, and as many
// commands as lie between two snapshots are kept behind it. One that is installed empties the log instead, after it is
// durable itself: a start that finds the log short of an installed snapshot finishes that (rule 3). Only one is on its
// way at a time, and one to be installed is waited for by libraft, so it wins (rule 5).
//
// The file is a msgpack stream: CRC-32C of all behind it, index, term, index of the configuration, how it came
// about (false: taken, true: installed, 1: grown), cluster id, configuration, state.
#include "quorum_self.h"

#include "../lib/base/assert.h"
#include "../lib/base/crc32c.h"
#include "../lib/base/mutate.h"
#include "../lib/base/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    S_STATE_BYTES_MAX = 256 * 1024 * 1024,
    S_KEEP_BYTES = 32 * 1024 * 1024, // of entries in memory, behind a snapshot
    S_RETRY_US = 10 * 1000 * 1000,
    S_INSTALL_RETRY_US = 500 * 1000,
    S_HEAD_BYTES = 5 + 9 + 9 + 9 + 1 + 18 + 5 // and the configuration
};

static uint8_t *s_put(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) at[i] = (uint8_t) (value >> (8 * (bytes - 1 - i)));
    return at + bytes;
}

static uint64_t s_get(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | at[i];
    return value;
}

// ---- bytes

static void s_encode_head(const struct weft_snapshot_head *head, const struct raft_configuration *configuration,
                          weft_buf_t *out)
{
    uint8_t bytes[S_HEAD_BYTES] = {0xce};
    weft_buf_t voters;
    weft_buf_init(&voters);
    weft_quorum_configuration_encode(configuration, &voters);
    uint8_t *at = bytes + 5;
    const uint64_t numbers[3] = {head->index, head->term, head->configuration_index};
    for (size_t i = 0; i < 3; i++) {
        *at++ = 0xcf;
        at = s_put(at, numbers[i], 8);
    }
    *at++ = head->grown ? 0x01 : head->installed ? 0xc3 : 0xc2;
    *at++ = 0xc4;
    *at++ = 16;
    memcpy(at, head->cluster.bytes, 16);
    at += 16;
    *at++ = 0xc6;
    (void) s_put(at, voters.size, 4);
    weft_buf_append(out, bytes, sizeof bytes);
    weft_buf_append(out, voters.data, voters.size);
    weft_buf_fini(&voters);
}

// The state behind the head; nil: that is no snapshot.
static weft_slice_t s_decode(weft_slice_t bytes, struct weft_snapshot_head *head, weft_slice_t *voters)
{
    const uint8_t *data = bytes.data;
    if (bytes.size < S_HEAD_BYTES || data[0] != 0xce || data[5] != 0xcf || data[14] != 0xcf || data[23] != 0xcf ||
        data[33] != 0xc4 || data[34] != 16 || data[51] != 0xc6)
        return WEFT_SLICE_NIL;
    if (weft_crc32c(0, data + 5, bytes.size - 5) != (uint32_t) s_get(data + 1, 4)) return WEFT_SLICE_NIL;
    *head = (struct weft_snapshot_head){.index = s_get(data + 6, 8),
                                        .term = s_get(data + 15, 8),
                                        .configuration_index = s_get(data + 24, 8),
                                        .installed = data[32] == 0xc3,
                                        .grown = data[32] == 0x01};
    memcpy(head->cluster.bytes, data + 35, 16);
    size_t size = (size_t) s_get(data + 52, 4);
    if (size > bytes.size - S_HEAD_BYTES) return WEFT_SLICE_NIL;
    *voters = weft_slice(data + S_HEAD_BYTES, size);
    return weft_slice(data + S_HEAD_BYTES + size, bytes.size - S_HEAD_BYTES - size);
}

weft_err_t weft_quorum_snapshot_read(const struct weft_quorum_self *self, weft_buf_t *bytes,
                                     struct weft_snapshot_head *head, weft_slice_t *voters, weft_slice_t *state,
                                     struct weft_error *error)
{
    char path[WEFT_QUORUM_PATH_BYTES_MAX + 32];
    weft_quorum_path(self, "snapshot", path);
    weft_err_t err = weft_disk_read_file(self->disk, path, S_STATE_BYTES_MAX, bytes);
    if (err == WEFT_ERR_NOT_FOUND) return err;
    if (err) return weft_error_set(error, err, "%s can't be read: %s", path, weft_err_sentence(err));
    *state = s_decode(weft_buf_slice(bytes), head, voters);
    if (!state->data || !weft_quorum_configuration_guard(*voters))
        return weft_error_set(
            error, WEFT_ERR_DAMAGED,
            "%s (%zu bytes) is damaged or of another version; with other voters alive remove this one "
            "and add it with an empty directory, else put back a copy of the whole data directory",
            path, bytes->size);
    return WEFT_OK;
}

// ---- start

weft_err_t weft_quorum_snapshot_load(struct weft_quorum_self *self, bool log_whole, struct weft_error *error)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    struct weft_snapshot_head head;
    weft_slice_t voters, state;
    weft_err_t err = weft_quorum_snapshot_read(self, &bytes, &head, &voters, &state, error);
    if (err == WEFT_ERR_DAMAGED && log_whole) {
        weft_trace(WEFT_TRACE_WARN, self->name, "%s; the log still holds everything and is applied from its beginning",
                   error->text);
        err = WEFT_ERR_NOT_FOUND;
    }
    if (err == WEFT_OK) {
        err = self->events.restore(self->context, head.index, state);
        if (err)
            (void) weft_error_set(
                error, err,
                "%s/snapshot is of another format than this build knows; start the version that wrote "
                "it",
                self->directory);
    }
    if (err == WEFT_OK) {
        raft_configuration_close(&self->configuration);
        bool good = weft_quorum_configuration_decode(voters, &self->configuration);
        weft_assert(good);
        weft_quorum_configuration_copy(&self->configuration, &self->snapshot_configuration);
        self->snapshot = head;
        self->configuration_index = head.configuration_index;
        self->applied = head.index;
        self->log.cluster = head.cluster;
    }
    weft_buf_fini(&bytes);
    return err == WEFT_ERR_NOT_FOUND ? WEFT_OK : err;
}

// ---- writing

struct weft_sync_request *weft_quorum_request_new(const struct weft_disk *disk, void *owner)
{
    struct weft_sync_request *request = weft_calloc(1, sizeof *request + sizeof request->jobs[0]);
    request->job_count = 1;
    request->jobs[0].owner = owner;
    request->jobs[0].sync.disk = disk;
    return request;
}

void weft_quorum_request_free(void *body)
{
    struct weft_sync_request *request = body;
    weft_log_sync_drop(&request->jobs[0].sync);
    free(request);
}

void weft_quorum_request_post(struct weft_quorum_self *self, struct weft_sync_request *request)
{
    struct weft_mail mail = {.kind = WEFT_MAIL_SYNC, .body = request, .body_free = weft_quorum_request_free};
    self->port.ops->post(self->port.world, self->sync_part, &mail);
}

static void s_post(struct weft_quorum_self *self, weft_file_t *file)
{
    struct weft_sync_request *request =
        weft_quorum_request_new(self->disk, &self->snapshot_step); // any owner but the log's
    struct weft_log_sync *sync = &request->jobs[0].sync;
    if (file) {
        self->disk->ops->ref(file);
        sync->files[0] = file;
        sync->file_count = 1;
    } else {
        sync->directory_dirty = true;
        sync->directory_levels = 1;
        snprintf(sync->directory, sizeof sync->directory, "%s", self->directory);
    }
    weft_quorum_request_post(self, request);
}

static weft_err_t s_write(struct weft_quorum_self *self, weft_slice_t state)
{
    char path[WEFT_QUORUM_PATH_BYTES_MAX + 32];
    weft_buf_t bytes;
    weft_quorum_path(self, "snapshot.tmp", path);
    weft_buf_init(&bytes);
    s_encode_head(&self->making, &self->making_configuration, &bytes);
    if (state.data)
        weft_buf_append(&bytes, state.data, state.size);
    else
        self->events.snapshot(self->context, &bytes);
    (void) s_put(bytes.data + 1, weft_crc32c(0, bytes.data + 5, bytes.size - 5), 4);
    weft_slice_t slice = weft_buf_slice(&bytes);
    weft_err_t err = self->disk->ops->open(self->disk, path, WEFT_OPEN_CREATE, &self->snapshot_file);
    if (!err) {
        err = self->disk->ops->truncate(self->snapshot_file, 0);
        if (!err) err = self->disk->ops->pwritev(self->snapshot_file, &slice, 1, 0);
        if (err) self->disk->ops->close(&self->snapshot_file);
    }
    if (err == WEFT_ERR_DISK_FULL) (void) self->disk->ops->unlink(self->disk, path);
    weft_buf_fini(&bytes);
    return err;
}

// Begins to write `making`. False: not now.
static bool s_begin(struct weft_quorum_self *self, weft_slice_t state, int64_t retry_us)
{
    weft_err_t err = s_write(self, state);
    if (err == WEFT_ERR_DISK_FULL) {
        if (self->snapshot_retry_us == 0)
            weft_trace(WEFT_TRACE_WARN, self->name,
                       "no room for a snapshot in %s; free space, it is tried again by itself", self->directory);
        self->snapshot_retry_us = self->now_us + retry_us;
        return false;
    }
    if (err) {
        weft_quorum_fail(self, err, "writing a snapshot failed");
        return false;
    }
    self->snapshot_retry_us = 0;
    self->snapshot_step = WEFT_SNAPSHOT_WRITING;
    s_post(self, self->snapshot_file);
    return true;
}

// ---- taking

static bool s_is_due(const struct weft_quorum_self *self)
{
    if (self->snapshot_step != WEFT_SNAPSHOT_IDLE || self->install_pending || self->stopping) return false;
    if (self->now_us < self->snapshot_retry_us || self->raft->snapshot.installing) return false;
    uint64_t more = self->applied - self->snapshot.index;
    if (more < self->snapshot_commands && !(more > 16 && self->log.bytes > (size_t) 2 * S_KEEP_BYTES)) return false;
    return weft_quorum_log_durable(&self->log) >= self->applied ||
           weft_mutated("snapshot_of_what_is_not_durable"); // rule 3
}

static void s_take(struct weft_quorum_self *self)
{
    const struct weft_quorum_record *last = weft_quorum_log_get(&self->log, self->applied);
    if (!last) return;
    self->making = (struct weft_snapshot_head){.index = self->applied,
                                               .term = last->term,
                                               .cluster = self->log.cluster,
                                               .configuration_index = self->configuration_index};
    raft_configuration_close(&self->making_configuration);
    weft_quorum_configuration_copy(&self->configuration, &self->making_configuration);
    self->installing = false;
    (void) s_begin(self, WEFT_SLICE_NIL, S_RETRY_US);
}

// As many entries as lie between two snapshots, but not too many bytes.
static unsigned s_trailing(const struct weft_quorum_self *self, uint64_t index)
{
    size_t bytes = 0;
    uint64_t count = 0;
    while (count < self->snapshot_commands && count < index) {
        const struct weft_quorum_record *record = weft_quorum_log_get(&self->log, index - count);
        if (!record || (bytes += record->size) > S_KEEP_BYTES) break;
        count++;
    }
    return (unsigned) count;
}

// What was written is the snapshot.
static void s_is_now(struct weft_quorum_self *self)
{
    self->snapshot = self->making;
    raft_configuration_close(&self->snapshot_configuration);
    weft_quorum_configuration_copy(&self->making_configuration, &self->snapshot_configuration);
}

static void s_taken(struct weft_quorum_self *self)
{
    uint64_t index = self->making.index;
    s_is_now(self);
    if (self->raft && self->told < index) { // started again since, from the one before
        weft_quorum_raft_renew(self);
        return;
    }
    if (!self->raft || self->install_pending || self->raft->snapshot.installing)
        return; // the log that it is of is gone
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    event.snapshot.trailing = s_trailing(self, index);
    event.snapshot.metadata.index = index;
    event.snapshot.metadata.term = self->making.term;
    event.snapshot.metadata.configuration_index = self->making.configuration_index;
    weft_quorum_configuration_copy(&self->making_configuration, &event.snapshot.metadata.configuration);
    uint64_t keep_from = index - event.snapshot.trailing + 1;
    if (!weft_quorum_step(self, &event)) return;
    if (!weft_quorum_keep_vote(self, self->vote.term, self->vote.voted_for)) return; // and what is decided
    weft_err_t err = weft_quorum_log_trim(&self->log, keep_from);
    if (err && err != WEFT_ERR_DISK_FULL) weft_quorum_fail(self, err, "trimming the log failed");
}

// ---- installing

void weft_quorum_snapshot_install(struct weft_quorum_self *self, const struct raft_snapshot_metadata *metadata)
{
    weft_assert(!self->install_pending);
    self->install = (struct weft_snapshot_head){.index = metadata->index,
                                                .term = metadata->term,
                                                .cluster = self->log.cluster,
                                                .installed = true,
                                                .configuration_index = metadata->configuration_index};
    raft_configuration_close(&self->install_configuration);
    self->install_configuration = metadata->configuration;
    self->install_pending = true;
    self->snapshot_retry_us = 0;
}

static void s_install(struct weft_quorum_self *self)
{
    if (self->now_us < self->snapshot_retry_us) return;
    weft_trace(WEFT_TRACE_INFO, self->name, "installs a snapshot of the leader: all up to entry %llu",
               (unsigned long long) self->install.index);
    self->making = self->install;
    raft_configuration_close(&self->making_configuration);
    weft_quorum_configuration_copy(&self->install_configuration, &self->making_configuration);
    self->installing = s_begin(self, weft_frame_slice(&self->install_state), S_INSTALL_RETRY_US);
}

static void s_installed(struct weft_quorum_self *self)
{
    s_is_now(self);
    self->installing = self->install_pending = false;
    weft_err_t err = weft_quorum_log_reset(&self->log, self->snapshot.index);
    if (err) {
        weft_quorum_fail(self, err, "emptying the log for a snapshot failed");
        return;
    }
    self->told = self->snapshot.index;
    if (self->snapshot.index > self->applied) { // else this state machine was further than its log is now
        raft_configuration_close(&self->configuration);
        weft_quorum_configuration_copy(&self->snapshot_configuration, &self->configuration);
        self->configuration_index = self->snapshot.configuration_index;
        self->applied = self->snapshot.index;
        err = self->events.restore(self->context, self->snapshot.index, weft_frame_slice(&self->install_state));
    }
    weft_frame_drop(&self->install_state);
    if (err) {
        weft_quorum_give_up(
            self, err,
            "the leader sent a snapshot of another format than this build knows; start the same version "
            "on all coordinators");
        return;
    }
    if (!self->raft || !self->raft->snapshot.installing) { // started again since, and knows of no installation
        weft_quorum_raft_renew(self);
        return;
    }
    struct raft_event event = {.type = RAFT_PERSISTED_SNAPSHOT, .persisted_snapshot = {.last = true}};
    event.persisted_snapshot.metadata.index = self->snapshot.index;
    event.persisted_snapshot.metadata.term = self->snapshot.term;
    event.persisted_snapshot.metadata.configuration_index = self->snapshot.configuration_index;
    weft_quorum_configuration_copy(&self->snapshot_configuration, &event.persisted_snapshot.metadata.configuration);
    if (!weft_quorum_step(self, &event)) return;
    (void) weft_quorum_keep_vote(self, self->vote.term, self->vote.voted_for);
    weft_quorum_peers_follow(self);
}

// ---- growing

weft_err_t weft_quorum_snapshot_write(struct weft_quorum_self *self, uint64_t index, uint64_t term,
                                      const struct raft_configuration *configuration)
{
    weft_buf_t bytes;
    char path[WEFT_QUORUM_PATH_BYTES_MAX + 32];
    weft_quorum_path(self, "snapshot", path);
    weft_buf_init(&bytes);
    self->making = (struct weft_snapshot_head){
        .index = index, .term = term, .cluster = self->log.cluster, .grown = true, .configuration_index = index};
    raft_configuration_close(&self->making_configuration);
    weft_quorum_configuration_copy(configuration, &self->making_configuration);
    s_encode_head(&self->making, &self->making_configuration, &bytes);
    self->events.snapshot(self->context, &bytes);
    (void) s_put(bytes.data + 1, weft_crc32c(0, bytes.data + 5, bytes.size - 5), 4);
    weft_err_t err = weft_disk_replace_file(self->disk, path, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
    if (!err) s_is_now(self);
    return err;
}

// ---- both

void weft_quorum_snapshot_turn(struct weft_quorum_self *self)
{
    if (self->failed || !self->raft || self->snapshot_step != WEFT_SNAPSHOT_IDLE) return;
    if (self->install_pending)
        s_install(self);
    else if (s_is_due(self))
        s_take(self);
}

static void s_rename(struct weft_quorum_self *self)
{
    char from[WEFT_QUORUM_PATH_BYTES_MAX + 32], to[WEFT_QUORUM_PATH_BYTES_MAX + 32];
    weft_quorum_path(self, "snapshot.tmp", from);
    weft_quorum_path(self, "snapshot", to);
    weft_err_t err = self->disk->ops->rename(self->disk, from, to);
    if (err) {
        weft_quorum_fail(self, err, "renaming a snapshot failed");
        return;
    }
    self->snapshot_step = WEFT_SNAPSHOT_RENAMED;
    s_post(self, NULL);
}

void weft_quorum_snapshot_synced(struct weft_quorum_self *self, weft_err_t result)
{
    enum weft_snapshot_step step = self->snapshot_step;
    if (self->snapshot_file) self->disk->ops->close(&self->snapshot_file);
    self->snapshot_step = WEFT_SNAPSHOT_IDLE;
    if (self->failed) return;
    if (result)
        weft_quorum_fail(self, result, "syncing a snapshot failed");
    else if (step == WEFT_SNAPSHOT_WRITING && !self->installing && self->install_pending)
        weft_quorum_snapshot_turn(self); // the one that was taken is of no use any more
    else if (step == WEFT_SNAPSHOT_WRITING)
        s_rename(self);
    else if (self->installing)
        s_installed(self);
    else
        s_taken(self);
}
