// SPDX-License-Identifier: MPL-2.0
// Small files of 24 bytes: `start` (delete-records and retention: the log begins there whatever files are left), `cut`
// (a truncation is under way, or was, and the checkpoint may still hold a synced end from before it) and `compacted`
// (up to where the log is compacted, and up to where tombstones are gone). The first two are replaced durably before
// what they announce.
#include "log_internal.h"

#include "../base/crc32c.h"

#define S_MARK_BYTES 24
#define S_MARK_FORMAT 1

static weft_err_t s_store(weft_log_t *self, const char *name, int64_t first, int64_t second)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    uint8_t bytes[S_MARK_BYTES];
    weft_put_u32(bytes, S_MARK_FORMAT);
    weft_put_u64(bytes + 4, (uint64_t) first);
    weft_put_u64(bytes + 12, (uint64_t) second);
    weft_put_u32(bytes + 20, weft_crc32c(0, bytes, 20));
    weft_err_t err = weft_disk_replace_file(self->disk, weft_log_path_named(path, self->directory, name),
                                            weft_slice(bytes, sizeof bytes));
    if (err || !self->directory_levels_unknown) return err;
    // A file is as durable as the directory that it stands in.
    err = weft_log_sync_directories(self->disk, self->directory, self->directory_levels_unknown);
    if (!err) self->directory_levels_unknown = 0;
    return err;
}

/*
 * When it fails the new file may be in its place all the same, and a start would go by it: then the log does so from
 * now on. When that can't be found out the log is given up.
 */
weft_err_t weft_log_start_store(weft_log_t *self, int64_t offset)
{
    int64_t found[2] = {0, 0};
    weft_err_t err = s_store(self, "start", offset, 0);
    self->start_doubtful = err != WEFT_OK;
    if (!err) {
        self->start_offset = offset;
        return WEFT_OK;
    }
    weft_err_t read = weft_log_mark_load(self->disk, self->directory, "start", found);
    if (read && read != WEFT_ERR_NOT_FOUND)
        self->broken = true;
    else if (found[0] == offset)
        self->start_offset = offset;
    return err;
}

weft_err_t weft_log_cut_store(weft_log_t *self, int64_t to, int64_t from)
{
    return s_store(self, "cut", to, from);
}

weft_err_t weft_log_compacted_store(weft_log_t *self, int64_t compacted, int64_t tombstones_below)
{
    weft_err_t err = s_store(self, "compacted", compacted, tombstones_below);
    if (err) return err;
    self->compacted = compacted;
    self->tombstones_below = tombstones_below;
    return WEFT_OK;
}

weft_err_t weft_log_mark_load(const struct weft_disk *disk, const char *directory, const char *name, int64_t values[2])
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_err_t err = weft_disk_read_file(disk, weft_log_path_named(path, directory, name), S_MARK_BYTES, &bytes);
    if (err == WEFT_ERR_TOO_LARGE) return WEFT_ERR_DAMAGED;
    if (err) return err;
    bool good = bytes.size == S_MARK_BYTES && weft_get_u32(bytes.data) == S_MARK_FORMAT &&
                weft_get_u32(bytes.data + 20) == weft_crc32c(0, bytes.data, 20);
    if (good) {
        values[0] = (int64_t) weft_get_u64(bytes.data + 4);
        values[1] = (int64_t) weft_get_u64(bytes.data + 12);
        good = values[0] >= 0 && values[0] <= WEFT_LOG_OFFSET_MAX && values[1] >= 0;
    }
    weft_buf_fini(&bytes);
    return good ? WEFT_OK : WEFT_ERR_DAMAGED;
}
