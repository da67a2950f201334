// SPDX-License-Identifier: MPL-2.0
// Start of the single voter: snapshot, then the log behind it.
//
// What was written and not synced before a kill -9 is in the page cache and may have been acknowledged by nobody;
// it is synced here before it is applied, so that nothing that is applied can be lost by the next power failure.
// Damage below the checkpoint's synced end, or a log and a snapshot that do not meet, is refused with the place:
// there is no second copy to heal from (QUORUM.md).
#include "quorum_single.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { S_READ_BYTES = 1024 * 1024, S_SEGMENT_BYTES = 8 * 1024 * 1024 };

void weft_quorum_path(const struct weft_quorum_single *self, const char *name,
                      char path[WEFT_QUORUM_PATH_BYTES_MAX + 32])
{
    snprintf(path, WEFT_QUORUM_PATH_BYTES_MAX + 32, "%s/%s", self->directory, name);
}

static weft_err_t s_sync_recovered(struct weft_quorum_single *self, struct weft_error *error)
{
    while (weft_log_dirty(self->log)) {
        struct weft_log_sync job;
        if (!weft_log_sync_begin(self->log, &job)) break;
        weft_log_sync_run(&job);
        weft_err_t err = weft_log_sync_done(self->log, &job);
        if (err) return weft_error_set(error, err, "%s/log could not be synced; look at the disk", self->directory);
    }
    return WEFT_OK;
}

static weft_err_t s_damaged(const struct weft_quorum_single *self, uint64_t index, struct weft_error *error)
{
    return weft_error_set(error, WEFT_ERR_DAMAGED,
                          "%s/log is damaged at offset %llu; look at it with weft log verify, and put back a copy of "
                          "the whole data directory",
                          self->directory, (unsigned long long) (index - 1));
}

// Applies the records of one batch that lie behind what is applied.
static weft_err_t s_replay_batch(struct weft_quorum_single *self, weft_slice_t bytes, size_t *used,
                                 struct weft_error *error)
{
    struct weft_batch batch;
    if (weft_batch_verify(bytes, &batch) != WEFT_OK) return s_damaged(self, self->applied + 1, error);
    *used = weft_batch_bytes(&batch);
    if ((batch.attributes & WEFT_BATCH_ATTR_CODEC_MASK) != WEFT_CODEC_NONE ||
        batch.base_offset > (int64_t) self->applied)
        return s_damaged(self, self->applied + 1, error);
    weft_record_iter_t iter;
    weft_record_iter_init(&iter, weft_slice(bytes.data + WEFT_BATCH_HEADER_BYTES, batch.payload_bytes));
    struct weft_record record;
    bool bad = false;
    while (weft_record_iter_next(&iter, &record, &bad)) {
        uint64_t index = (uint64_t) (batch.base_offset + record.offset_delta) + 1;
        if (index <= self->applied) continue;
        if (index != self->applied + 1) return s_damaged(self, index, error);
        self->applied = index;
        self->events.on_apply(self->context, index, record.value, 0);
    }
    if (bad || (int64_t) self->applied < weft_batch_next_offset(&batch))
        return s_damaged(self, self->applied + 1, error);
    return WEFT_OK;
}

static weft_err_t s_replay(struct weft_quorum_single *self, struct weft_error *error)
{
    int64_t end = weft_log_end(self->log);
    while ((int64_t) self->applied < end) {
        weft_frame_t frame = WEFT_FRAME_EMPTY;
        weft_err_t err = weft_log_read(self->log, (int64_t) self->applied, S_READ_BYTES, true, end, self->pool, &frame);
        if (err)
            return weft_error_set(error, err, "%s/log can't be read at offset %llu: %s", self->directory,
                                  (unsigned long long) self->applied, weft_err_sentence(err));
        if (frame.size == 0) return s_damaged(self, self->applied + 1, error);
        weft_slice_t rest = weft_frame_slice(&frame);
        while (rest.size && !err) {
            size_t used = 0;
            err = s_replay_batch(self, rest, &used, error);
            rest = weft_slice(rest.data + used, rest.size - used);
        }
        weft_frame_drop(&frame);
        if (err) return err;
    }
    return WEFT_OK;
}

static weft_err_t s_restore(struct weft_quorum_single *self, struct weft_error *error)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    uint64_t index = 0;
    weft_err_t err = weft_quorum_snapshot_read(self, &index, &bytes, error);
    if (err == WEFT_ERR_DAMAGED && weft_log_start(self->log) == 0 && weft_log_end(self->log) > 0) {
        weft_trace(WEFT_TRACE_WARN, self->name, "%s; the log still holds everything and is applied from its beginning",
                   error ? error->text : "bad snapshot");
        err = WEFT_ERR_NOT_FOUND;
    }
    if (err == WEFT_OK) {
        err = self->events.restore(
            self->context, index,
            weft_slice(bytes.data + WEFT_SNAPSHOT_HEAD_BYTES, bytes.size - WEFT_SNAPSHOT_HEAD_BYTES));
        if (err)
            (void) weft_error_set(
                error, err, "%s/snapshot is of another format than this build knows; start the version that wrote it",
                self->directory);
        else
            self->applied = self->snapshot_index = index;
    } else if (err == WEFT_ERR_NOT_FOUND) {
        err = WEFT_OK;
    }
    weft_buf_fini(&bytes);
    return err;
}

static weft_err_t s_fit(const struct weft_quorum_single *self, struct weft_error *error)
{
    int64_t start = weft_log_start(self->log), end = weft_log_end(self->log), at = (int64_t) self->applied;
    if (at < start)
        return weft_error_set(error, WEFT_ERR_DAMAGED,
                              "%s/log begins at offset %lld and the snapshot before it is %s; put back a copy of the "
                              "whole data directory",
                              self->directory, (long long) start, at ? "older" : "missing");
    if (at > end)
        return weft_error_set(error, WEFT_ERR_DAMAGED,
                              "%s/log ends at offset %lld, before its snapshot of %lld commands; put back a copy of "
                              "the whole data directory",
                              self->directory, (long long) end, (long long) at);
    return WEFT_OK;
}

weft_err_t weft_quorum_recover(struct weft_quorum_single *self, int64_t synced_end, struct weft_error *error)
{
    char path[WEFT_QUORUM_PATH_BYTES_MAX + 32];
    weft_quorum_path(self, "log", path);
    const struct weft_log_config config = {.segment_bytes = S_SEGMENT_BYTES,
                                           .segment_ms = -1,
                                           .retention_ms = -1,
                                           .retention_bytes = -1,
                                           .index_interval_bytes = 65536};
    struct weft_log_recovery recovery = {0};
    weft_err_t err = weft_log_open(self->disk, path, &config, synced_end, &self->log, &recovery, error);
    if (err) return err;
    if (recovery.cut_bytes)
        weft_trace(WEFT_TRACE_WARN, self->name, "%s: cut %lld bytes of a torn tail; nothing in them was acknowledged",
                   path, (long long) recovery.cut_bytes);
    struct weft_error mine;
    if (!error) error = &mine;
    err = s_restore(self, error);
    if (!err) err = s_fit(self, error);
    if (!err) err = s_sync_recovered(self, error);
    if (!err) err = s_replay(self, error);
    self->term = weft_log_last_epoch(self->log) + 1;
    return err;
}
