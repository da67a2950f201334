// SPDX-License-Identifier: MPL-2.0
// Epoch starts (KIP-101): file `epochs`, entries of 16 bytes, appended before the first batch of an epoch and synced
// together with it. What stands behind the log's end after a crash is dropped; what recovery reads of the batches is
// noted again; a file that contradicts the log is built anew.
#include "log_internal.h"

#include "../base/crc32c.h"

#define S_ENTRY_BYTES 16
#define S_FILE_BYTES_MAX (64 * 1024 * 1024)

static void s_entry_write(uint8_t *at, const struct weft_log_epoch *entry)
{
    weft_put_u32(at, (uint32_t) entry->epoch);
    weft_put_u64(at + 4, (uint64_t) entry->start_offset);
    weft_put_u32(at + 12, weft_crc32c(0, at, 12));
}

void weft_log_epochs_note(weft_log_t *self, int32_t epoch, int64_t start_offset)
{
    if (epoch <= weft_log_last_epoch(self)) return;
    if (self->epoch_count && start_offset <= self->epochs[self->epoch_count - 1].start_offset)
        return; // a damaged header
    if (self->epoch_count == self->epoch_capacity) {
        self->epoch_capacity = self->epoch_capacity ? self->epoch_capacity * 2 : 2;
        self->epochs = weft_realloc(self->epochs, self->epoch_capacity * sizeof *self->epochs);
    }
    self->epochs[self->epoch_count++] = (struct weft_log_epoch){epoch, start_offset};
}

bool weft_log_epochs_cut(weft_log_t *self, int64_t offset)
{
    size_t before = self->epoch_count;
    while (self->epoch_count && self->epochs[self->epoch_count - 1].start_offset >= offset) self->epoch_count--;
    return self->epoch_count != before;
}

int32_t weft_log_epoch_at(const weft_log_t *self, int64_t offset)
{
    for (size_t i = self->epoch_count; i > 0; i--)
        if (self->epochs[i - 1].start_offset <= offset) return self->epochs[i - 1].epoch;
    return -1;
}

weft_err_t weft_log_epochs_load(weft_log_t *self, bool *good)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    self->epoch_count = 0;
    *good = true;
    weft_err_t err =
        weft_disk_read_file(self->disk, weft_log_path_named(path, self->directory, "epochs"), S_FILE_BYTES_MAX, &bytes);
    if (err == WEFT_ERR_NOT_FOUND) return WEFT_OK;
    if (err == WEFT_ERR_TOO_LARGE) { // no file of ours: 4 million epochs
        *good = false;
        return WEFT_OK;
    }
    if (err) return err;
    for (size_t at = 0; at + S_ENTRY_BYTES <= bytes.size && *good; at += S_ENTRY_BYTES) {
        const uint8_t *entry = bytes.data + at;
        int32_t epoch = (int32_t) weft_get_u32(entry);
        int64_t start = (int64_t) weft_get_u64(entry + 4);
        bool grows = self->epoch_count == 0 ||
                     (epoch > weft_log_last_epoch(self) && start > self->epochs[self->epoch_count - 1].start_offset);
        *good = weft_get_u32(entry + 12) == weft_crc32c(0, entry, 12) && grows && epoch >= 0 && start >= 0;
        if (*good) weft_log_epochs_note(self, epoch, start);
    }
    weft_buf_fini(&bytes);
    return WEFT_OK;
}

weft_err_t weft_log_epochs_append(weft_log_t *self, int32_t epoch, int64_t start_offset)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    uint8_t bytes[S_ENTRY_BYTES];
    const struct weft_log_epoch entry = {epoch, start_offset};
    s_entry_write(bytes, &entry);
    weft_slice_t slice = weft_slice(bytes, sizeof bytes);
    if (!self->epochs_file) {
        weft_log_path_named(path, self->directory, "epochs");
        weft_err_t err = self->disk->ops->open(self->disk, path, WEFT_OPEN_CREATE, &self->epochs_file);
        if (err) return err;
        if (self->epoch_count == 0) weft_log_directory_dirty(self, 1);
    }
    // Behind the entries known in memory: one that a failed append left there is overwritten.
    self->epochs_dirty = true;
    weft_err_t err =
        self->disk->ops->pwritev(self->epochs_file, &slice, 1, (int64_t) self->epoch_count * S_ENTRY_BYTES);
    if (!err) weft_log_epochs_note(self, epoch, start_offset);
    return err;
}

weft_err_t weft_log_epochs_store(weft_log_t *self)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_buf_reserve(&bytes, self->epoch_count * S_ENTRY_BYTES + 1);
    for (size_t i = 0; i < self->epoch_count; i++) {
        s_entry_write(bytes.data + bytes.size, &self->epochs[i]);
        bytes.size += S_ENTRY_BYTES;
    }
    if (self->epochs_file) self->disk->ops->close(&self->epochs_file); // the old file, about to be replaced
    self->epochs_dirty = false;
    weft_err_t err = weft_disk_replace_file(self->disk, weft_log_path_named(path, self->directory, "epochs"),
                                            weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
    return err;
}

void weft_log_epoch_end(const weft_log_t *self, int32_t epoch, int32_t *found_epoch, int64_t *end_offset)
{
    *found_epoch = -1;
    *end_offset = self->start_offset;
    for (size_t i = self->epoch_count; i > 0; i--) {
        if (self->epochs[i - 1].epoch > epoch) continue;
        int64_t end = i == self->epoch_count ? weft_log_end(self) : self->epochs[i].start_offset;
        *found_epoch = self->epochs[i - 1].epoch;
        *end_offset = end > self->start_offset ? end : self->start_offset;
        return;
    }
}
