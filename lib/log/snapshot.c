// SPDX-License-Identifier: MPL-2.0
// Snapshots of what is derived from the log's prefix: files `<offset>.sessions`. They can be had again by replay, so
// writing one does not wait for the disk: it is renamed into place and goes with the next sync. The two newest are
// kept, so that a torn one leaves the other. One above the end belongs to a history that was cut off and is removed
// durably before anything is appended.
#include "log_internal.h"

#include "../base/crc32c.h"

#include <stdlib.h>

#define S_HEADER_BYTES 24
#define S_FORMAT 1
#define S_KEPT 2
#define S_FILE_BYTES_MAX (256 * 1024 * 1024)

void weft_log_snapshot_note(weft_log_t *self, int64_t offset)
{
    size_t at = self->snapshot_count;
    while (at > 0 && self->snapshots[at - 1] >= offset) at--;
    if (at < self->snapshot_count && self->snapshots[at] == offset) return;
    if (self->snapshot_count == self->snapshot_capacity) {
        self->snapshot_capacity = self->snapshot_capacity ? self->snapshot_capacity * 2 : 4;
        self->snapshots = weft_realloc(self->snapshots, self->snapshot_capacity * sizeof *self->snapshots);
    }
    memmove(self->snapshots + at + 1, self->snapshots + at, (self->snapshot_count - at) * sizeof *self->snapshots);
    self->snapshots[at] = offset;
    self->snapshot_count++;
}

weft_err_t weft_log_snapshots_cut(weft_log_t *self, int64_t offset, bool *removed)
{
    *removed = false;
    while (self->snapshot_count && self->snapshots[self->snapshot_count - 1] > offset) {
        weft_err_t err = weft_log_unlink(self, self->snapshots[self->snapshot_count - 1], ".sessions");
        if (err) return err;
        self->snapshot_count--;
        *removed = true;
    }
    return WEFT_OK;
}

static void s_header(uint8_t header[S_HEADER_BYTES], int64_t offset, weft_slice_t bytes)
{
    weft_put_u32(header, S_FORMAT);
    weft_put_u64(header + 4, (uint64_t) offset);
    weft_put_u64(header + 12, bytes.size);
    weft_put_u32(header + 20, weft_crc32c(weft_crc32c(0, header, 20), bytes.data, bytes.size));
}

// Writes the file under a passing name; *out stays open for the sync.
static weft_err_t s_write(weft_log_t *self, const char *path, int64_t offset, weft_slice_t bytes, weft_file_t **out)
{
    uint8_t header[S_HEADER_BYTES];
    weft_file_t *file;
    s_header(header, offset, bytes);
    const weft_slice_t slices[2] = {weft_slice(header, sizeof header), bytes};
    weft_err_t err = self->disk->ops->open(self->disk, path, WEFT_OPEN_CREATE, &file);
    if (err) return err;
    err = self->disk->ops->truncate(file, 0);
    if (!err) err = self->disk->ops->pwritev(file, slices, bytes.size ? 2 : 1, 0);
    if (err) {
        self->disk->ops->close(&file);
        return err;
    }
    *out = file;
    return WEFT_OK;
}

weft_err_t weft_log_snapshot_put(weft_log_t *self, int64_t offset, weft_slice_t bytes)
{
    char path[WEFT_LOG_PATH_BYTES_MAX], passing[WEFT_LOG_PATH_BYTES_MAX];
    weft_file_t *file;
    if (self->broken) return WEFT_ERR_DISK_FAILED;
    weft_log_path(path, self->directory, offset, ".sessions");
    weft_log_path(passing, self->directory, offset, ".tmp");
    weft_err_t err = s_write(self, passing, offset, bytes, &file);
    if (!err) {
        err = self->disk->ops->rename(self->disk, passing, path);
        if (!err) weft_log_pending_add(self, file, -1);
        self->disk->ops->close(&file);
    }
    if (err) {
        (void) self->disk->ops->unlink(self->disk, passing);
        return err;
    }
    weft_log_directory_dirty(self, 1);
    weft_log_snapshot_note(self, offset);
    while (self->snapshot_count > S_KEPT) { // one that can't be removed is found again at the next start
        (void) !weft_log_unlink(self, self->snapshots[0], ".sessions");
        self->snapshot_count--;
        memmove(self->snapshots, self->snapshots + 1, self->snapshot_count * sizeof *self->snapshots);
    }
    return WEFT_OK;
}

static bool s_good(const weft_buf_t *file, int64_t offset)
{
    uint8_t header[S_HEADER_BYTES];
    if (file->size < S_HEADER_BYTES) return false;
    s_header(header, offset, weft_slice(file->data + S_HEADER_BYTES, file->size - S_HEADER_BYTES));
    return memcmp(header, file->data, sizeof header) == 0;
}

weft_err_t weft_log_snapshot_get(weft_log_t *self, int64_t offset, int64_t *at, weft_buf_t *bytes)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_buf_t file;
    weft_buf_init(&file);
    weft_err_t err = WEFT_ERR_NOT_FOUND;
    for (size_t i = self->snapshot_count; i > 0 && err; i--) {
        int64_t candidate = self->snapshots[i - 1];
        if (candidate > offset) continue;
        weft_log_path(path, self->directory, candidate, ".sessions");
        if (weft_disk_read_file(self->disk, path, S_FILE_BYTES_MAX, &file) || !s_good(&file, candidate)) continue;
        weft_buf_clear(bytes);
        weft_buf_append(bytes, file.data + S_HEADER_BYTES, file.size - S_HEADER_BYTES);
        *at = candidate;
        err = WEFT_OK;
    }
    weft_buf_fini(&file);
    return err;
}
