// SPDX-License-Identifier: MPL-2.0
/*
 * Taking all away: a follower that begins anew where its leader's log begins, and a damaged directory that makes room.
 *
 * Reset goes by steps that a start already knows: a truncation to the log's own start, then the segment files, then the
 * mark `start`. File `cut` comes first and stays until the log has grown, synced, beyond its old end: the checkpoint may
 * tell a synced end from before. A crash leaves the log as it was, or cut somewhere, or empty at its old or its new
 * start, and nothing of the old history above or beside the new one.
 */
#include "log_internal.h"

#include "../base/trace.h"

#include <stdio.h>

static weft_err_t s_mark_cut(weft_log_t *self, int64_t offset)
{
    int64_t end = weft_log_end(self), to = offset < self->start_offset ? offset : self->start_offset;
    if (end == 0) return WEFT_OK; // nothing can have been recorded as synced
    if (!self->cut_from || to < self->cut_to) self->cut_to = to;
    if (end > self->cut_from) self->cut_from = end;
    return weft_log_cut_store(self, self->cut_to, self->cut_from);
}

static weft_err_t s_forget_history(weft_log_t *self)
{
    bool removed;
    weft_err_t err = weft_log_snapshots_cut(self, -1, &removed);
    self->epoch_count = 0;
    return err ? err : weft_log_epochs_store(self); // its directory sync takes the snapshots along
}

static weft_err_t s_unlink_segments(weft_log_t *self)
{
    for (size_t i = self->segment_count; i > 0; i--) {
        weft_err_t err = weft_log_unlink(self, self->segments[i - 1].base_offset, ".log");
        if (!err) err = weft_log_unlink(self, self->segments[i - 1].base_offset, ".index");
        if (err) return err;
    }
    return self->disk->ops->sync_directory(self->disk, self->directory);
}

static void s_drop_segments(weft_log_t *self)
{
    while (self->segment_count) weft_log_segment_drop_last(self);
    weft_log_pending_clear(self);
    weft_buf_clear(&self->index_page);
    self->index_since_bytes = 0;
    self->torn = false;
    self->sync_generation++; // syncs under way say nothing about this log
    self->shape_generation++;
    weft_log_forget_cursors(self);
    for (size_t i = 0; i < WEFT_LOG_READERS; i++) self->readers[i] = -1;
}

static weft_err_t s_begin_at(weft_log_t *self, int64_t offset)
{
    weft_err_t err = s_forget_history(self);
    if (!err) err = s_unlink_segments(self);
    if (!err) err = weft_log_start_store(self, offset);
    s_drop_segments(self);
    if (!err) err = weft_log_segment_create(self, offset);
    if (!err) err = self->disk->ops->sync_directory(self->disk, self->directory);
    return err;
}

weft_err_t weft_log_reset(weft_log_t *self, int64_t offset)
{
    if (self->broken) return WEFT_ERR_DISK_FAILED;
    if (offset < 0 || offset > WEFT_LOG_OFFSET_MAX) return WEFT_ERR_OFFSET_OUT_OF_RANGE;
    weft_err_t err = s_mark_cut(self, offset);
    if (!err && self->compacted) err = weft_log_compacted_store(self, 0, self->tombstones_below);
    if (!err) err = weft_log_truncate(self, self->start_offset);
    if (err) return err; // as it was, or broken by the truncation
    err = s_begin_at(self, offset);
    if (!err) {
        self->synced_end = offset;
        weft_log_cut_done(self);
        return WEFT_OK;
    }
    self->broken = true; // half done: a start sorts it out
    if (self->segment_count == 0) weft_log_segment_push(self, self->start_offset);
    if (self->synced_end > self->start_offset) self->synced_end = self->start_offset;
    return WEFT_ERR_DISK_FAILED;
}

// ---- setting aside

static weft_err_t s_set_aside_failed(struct weft_error *error, weft_err_t err, const char *doing, const char *path)
{
    return weft_error_set(error, err, "%s '%s' failed: %s", doing, path, weft_err_sentence(err));
}

weft_err_t weft_log_set_aside(const struct weft_disk *disk, const char *directory, struct weft_error *error)
{
    char aside[WEFT_LOG_PATH_BYTES_MAX], parent[WEFT_LOG_PATH_BYTES_MAX];
    snprintf(aside, sizeof aside, "%s" WEFT_LOG_ASIDE_SUFFIX, directory);
    snprintf(parent, sizeof parent, "%s", directory);
    char *slash = strrchr(parent, '/');
    if (strlen(directory) + sizeof WEFT_LOG_ASIDE_SUFFIX > sizeof aside || slash == NULL || slash == parent)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT, "'%.80s' is no directory of a partition", directory);
    *slash = '\0';
    // One older is as useless as this one and would grow into a second copy of the data; this one stands until that is
    // gone.
    weft_err_t err = weft_disk_remove_tree(disk, aside);
    if (err && err != WEFT_ERR_NOT_FOUND) return s_set_aside_failed(error, err, "removing", aside);
    err = disk->ops->rename(disk, directory, aside);
    if (err && err != WEFT_ERR_NOT_FOUND) return s_set_aside_failed(error, err, "setting aside", directory);
    if (!err) weft_trace(WEFT_TRACE_WARN, "log", "%s is kept as %s", directory, aside);
    err = disk->ops->sync_directory(disk, parent);
    if (err == WEFT_ERR_NOT_FOUND) return WEFT_OK; // the whole topic is gone: nothing is in the way
    return err ? s_set_aside_failed(error, err, "syncing", parent) : WEFT_OK;
}
