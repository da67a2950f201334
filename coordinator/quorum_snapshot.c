// SPDX-License-Identifier: MPL-2.0
// Snapshots of the state machine, in the file `snapshot` of the node's directory.
//
// The state is written to `snapshot.tmp`, synced by the sync part (this thread never blocks on a sync), renamed,
// and the directory synced: after a crash either the old or the new one is there. Only then the log is trimmed, and
// as many commands as lie between two snapshots are kept behind it. The file is a msgpack stream: CRC-32C of what
// follows, index, state.
#include "quorum_single.h"

#include "../lib/base/assert.h"
#include "../lib/base/crc32c.h"
#include "../lib/base/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { S_STATE_BYTES_MAX = 256 * 1024 * 1024, S_RETRY_US = 10 * 1000 * 1000 };

static void s_put(uint8_t *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) out[i] = (uint8_t) (value >> (8 * (bytes - 1 - i)));
}

static uint64_t s_get(const uint8_t *in, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | in[i];
    return value;
}

weft_err_t weft_quorum_snapshot_read(struct weft_quorum_single *self, uint64_t *index, weft_buf_t *bytes,
                                     struct weft_error *error)
{
    char path[WEFT_QUORUM_PATH_BYTES_MAX + 32];
    weft_quorum_path(self, "snapshot", path);
    weft_err_t err = weft_disk_read_file(self->disk, path, S_STATE_BYTES_MAX, bytes);
    if (err == WEFT_ERR_NOT_FOUND) return err;
    if (err) return weft_error_set(error, err, "%s can't be read: %s", path, weft_err_sentence(err));
    const uint8_t *data = bytes->data;
    if (bytes->size < WEFT_SNAPSHOT_HEAD_BYTES || data[0] != 0xce || data[5] != 0xcf)
        return weft_error_set(
            error, WEFT_ERR_DAMAGED,
            "%s is damaged at byte 0: it does not begin like a snapshot; put back a copy of the whole data directory",
            path);
    if (weft_crc32c(0, data + 5, bytes->size - 5) != (uint32_t) s_get(data + 1, 4))
        return weft_error_set(error, WEFT_ERR_DAMAGED,
                              "%s (%zu bytes) does not match its checksum; put back a copy of the whole data directory",
                              path, bytes->size);
    *index = s_get(data + 6, 8);
    return WEFT_OK;
}

static weft_err_t s_write(struct weft_quorum_single *self, const char *path)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    static const uint8_t head[WEFT_SNAPSHOT_HEAD_BYTES] = {0xce, 0, 0, 0, 0, 0xcf};
    weft_buf_append(&bytes, head, sizeof head);
    s_put(bytes.data + 6, self->applied, 8);
    self->events.snapshot(self->context, &bytes);
    s_put(bytes.data + 1, weft_crc32c(0, bytes.data + 5, bytes.size - 5), 4);
    weft_slice_t slice = weft_buf_slice(&bytes);
    weft_err_t err = self->disk->ops->open(self->disk, path, WEFT_OPEN_CREATE, &self->snapshot_file);
    if (err) goto done;
    err = self->disk->ops->truncate(self->snapshot_file, 0);
    if (!err) err = self->disk->ops->pwritev(self->snapshot_file, &slice, 1, 0);
    if (err) self->disk->ops->close(&self->snapshot_file);
done:
    weft_buf_fini(&bytes);
    return err;
}

static void s_post(struct weft_quorum_single *self, weft_file_t *file)
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

void weft_quorum_snapshot_turn(struct weft_quorum_single *self, int64_t now_us)
{
    if (self->snapshot_step != WEFT_SNAPSHOT_IDLE || self->stopping || now_us < self->snapshot_retry_us) return;
    if (self->applied - self->snapshot_index < self->snapshot_commands) return;
    char path[WEFT_QUORUM_PATH_BYTES_MAX + 32];
    weft_quorum_path(self, "snapshot.tmp", path);
    weft_err_t err = s_write(self, path);
    if (err == WEFT_ERR_DISK_FULL) {
        weft_trace(WEFT_TRACE_WARN, self->name, "no room for a snapshot in %s; free space, it is tried again by itself",
                   self->directory);
        (void) self->disk->ops->unlink(self->disk, path);
        self->snapshot_retry_us = now_us + S_RETRY_US;
        return;
    }
    if (err) {
        weft_quorum_single_fail(self, err, "writing a snapshot failed");
        return;
    }
    self->snapshot_next = self->applied;
    self->snapshot_step = WEFT_SNAPSHOT_WRITING;
    s_post(self, self->snapshot_file);
}

static void s_trim(struct weft_quorum_single *self)
{
    if (self->snapshot_index <= self->snapshot_commands) return;
    int64_t keep_from = (int64_t) (self->snapshot_index - self->snapshot_commands);
    if (keep_from <= weft_log_start(self->log)) return;
    weft_err_t err = weft_log_trim(self->log, keep_from);
    if (err && err != WEFT_ERR_DISK_FULL) weft_quorum_single_fail(self, err, "trimming the log failed");
}

void weft_quorum_snapshot_synced(struct weft_quorum_single *self, weft_err_t result)
{
    enum weft_snapshot_step step = self->snapshot_step;
    if (self->snapshot_file) self->disk->ops->close(&self->snapshot_file);
    self->snapshot_step = WEFT_SNAPSHOT_IDLE;
    if (self->state == WEFT_QUORUM_FAILED) return;
    if (result) {
        weft_quorum_single_fail(self, result, "syncing a snapshot failed");
        return;
    }
    if (step == WEFT_SNAPSHOT_RENAMED) {
        self->snapshot_index = self->snapshot_next;
        s_trim(self);
        return;
    }
    char from[WEFT_QUORUM_PATH_BYTES_MAX + 32], to[WEFT_QUORUM_PATH_BYTES_MAX + 32];
    weft_quorum_path(self, "snapshot.tmp", from);
    weft_quorum_path(self, "snapshot", to);
    weft_err_t err = self->disk->ops->rename(self->disk, from, to);
    if (err) {
        weft_quorum_single_fail(self, err, "renaming a snapshot failed");
        return;
    }
    self->snapshot_step = WEFT_SNAPSHOT_RENAMED;
    s_post(self, NULL);
}
