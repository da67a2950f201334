// SPDX-License-Identifier: MPL-2.0
// Group commit, the log's half. begin() hands out references to every file written since the last one, oldest first;
// the sync part blocks on them; done() moves the synced end. Syncs may overlap: each covers what was written before it
// began. A truncation syncs for itself and makes older syncs say nothing about the end (their bytes may be gone).
#include "log_internal.h"

#include "../base/assert.h"
#include "../base/mutate.h"
#include "../base/trace.h"

#include <stdlib.h>

void weft_log_pending_add(weft_log_t *self, weft_file_t *file, int64_t end_offset)
{
    if (self->pending_count == self->pending_capacity) {
        self->pending_capacity = self->pending_capacity ? self->pending_capacity * 2 : 4;
        self->pending = weft_realloc(self->pending, self->pending_capacity * sizeof *self->pending);
    }
    self->disk->ops->ref(file);
    self->pending[self->pending_count++] = (struct weft_log_pending){file, end_offset};
}

void weft_log_pending_clear(weft_log_t *self)
{
    for (size_t i = 0; i < self->pending_count; i++) self->disk->ops->close(&self->pending[i].file);
    self->pending_count = 0;
}

void weft_log_directory_dirty(weft_log_t *self, uint8_t levels)
{
    if (self->directory_levels_dirty < levels) self->directory_levels_dirty = levels;
}

bool weft_log_dirty(const weft_log_t *self)
{
    return !self->broken && (self->pending_count || self->epochs_dirty || self->directory_levels_dirty ||
                             weft_log_active_const(self)->dirty);
}

static void s_take(struct weft_log_sync *job, weft_file_t *file)
{
    job->files[job->file_count++] = file;
}

bool weft_log_sync_begin(weft_log_t *self, struct weft_log_sync *job)
{
    if (!weft_log_dirty(self)) return false;
    struct weft_segment *active = weft_log_active(self);
    *job =
        (struct weft_log_sync){.disk = self->disk, .end_offset = self->synced_end, .generation = self->sync_generation};
    weft_log_directory_dirty(self, self->directory_levels_unknown);
    job->directory_levels = self->directory_levels_dirty;
    job->directory_dirty = job->directory_levels > 0;
    strcpy(job->directory, self->directory);
    self->directory_levels_dirty = 0; // what was unknown stays so until the job is done: marks are stored meanwhile
    if (self->epochs_dirty) {         // before any batch of its newest epoch
        self->disk->ops->ref(self->epochs_file);
        s_take(job, self->epochs_file);
        self->epochs_dirty = false;
    }
    size_t taken = 0;
    while (taken < self->pending_count && job->file_count < WEFT_LOG_SYNC_FILES - 1) {
        s_take(job, self->pending[taken].file); // its reference goes along
        if (self->pending[taken].end_offset > job->end_offset) job->end_offset = self->pending[taken].end_offset;
        taken++;
    }
    self->pending_count -= taken;
    if (self->pending_count) memmove(self->pending, self->pending + taken, self->pending_count * sizeof *self->pending);
    if (self->pending_count) return true; // the rest, and the active segment, go with the next
    if (active->dirty) {
        self->disk->ops->ref(active->file);
        s_take(job, active->file);
        active->dirty = false;
    }
    job->end_offset = active->end_offset;
    return true;
}

// The directory and as many levels above it as were made with it.
weft_err_t weft_log_sync_directories(const struct weft_disk *disk, const char *directory, uint8_t levels)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    strcpy(path, directory);
    for (uint8_t level = 0; level < levels; level++) {
        weft_err_t err = disk->ops->sync_directory(disk, path);
        if (err) return err;
        char *slash = strrchr(path, '/');
        if (!slash || slash == path) break;
        *slash = '\0';
    }
    return WEFT_OK;
}

void weft_log_sync_run(struct weft_log_sync *job)
{
    job->result = WEFT_OK;
    size_t first = weft_mutated("rolled_segment_not_synced") && job->file_count > 0 ? job->file_count - 1 : 0;
    for (size_t i = first; i < job->file_count && !job->result; i++) job->result = job->disk->ops->sync(job->files[i]);
    if (weft_mutated("directory_not_synced")) return;
    if (!job->result && job->directory_dirty)
        job->result = weft_log_sync_directories(job->disk, job->directory, job->directory_levels);
}

void weft_log_cut_done(weft_log_t *self)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    if (!self->cut_from || self->synced_end < self->cut_from) return;
    (void) self->disk->ops->unlink(self->disk, weft_log_path_named(path, self->directory, "cut"));
    self->cut_from = 0; // not durable yet, and need not be: while it stands it only weakens what is called damage
}

void weft_log_sync_drop(struct weft_log_sync *job)
{
    for (size_t i = 0; i < job->file_count; i++) job->disk->ops->close(&job->files[i]);
    job->file_count = 0;
}

weft_err_t weft_log_sync_done(weft_log_t *self, struct weft_log_sync *job)
{
    weft_log_sync_drop(job);
    if (job->result && !weft_mutated("failed_sync_forgotten")) {
        weft_trace(WEFT_TRACE_ERROR, "log", "%s: a sync failed (%s); nothing more is written here", self->directory,
                   weft_err_name(job->result));
        self->broken = true; // REPLICATION.md rule 11
    }
    if (self->broken) return WEFT_ERR_DISK_FAILED;
    if (job->directory_levels >= self->directory_levels_unknown) self->directory_levels_unknown = 0;
    if (job->generation == self->sync_generation && job->end_offset > self->synced_end)
        self->synced_end = job->end_offset;
    weft_log_cut_done(self);
    weft_assert(self->synced_end <= weft_log_end(self));
    return WEFT_OK;
}

int64_t weft_log_synced_end(const weft_log_t *self)
{
    return self->synced_end;
}

bool weft_log_broken(const weft_log_t *self)
{
    return self->broken;
}
