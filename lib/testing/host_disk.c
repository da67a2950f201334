// SPDX-License-Identifier: MPL-2.0
// A wrapper around the real disk. Syncs are not passed on: a test's data dies with it, and what a killed node wrote is in
// the page cache whether synced or not; so a sync takes as long as the test says and no longer.
#include "host_disk.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct weft_host_disk {
    struct weft_disk disk;
    const struct weft_disk *under;
    _Atomic int64_t slow_ms;
    atomic_bool full;
};

struct s_file {
    struct weft_file base;
    atomic_uint references;
    weft_file_t *under;
};

static weft_host_disk_t *s_self(const struct weft_disk *disk)
{
    return disk->self;
}

static weft_file_t *s_under(weft_file_t *file)
{
    return ((struct s_file *) file)->under;
}

static const struct weft_disk_ops *s_ops_of(const struct weft_disk *disk)
{
    return s_self(disk)->under->ops;
}

static bool s_full(const struct weft_disk *disk)
{
    return atomic_load(&s_self(disk)->full);
}

static void s_wait_sync(const struct weft_disk *disk)
{
    int64_t ms = atomic_load(&s_self(disk)->slow_ms);
    struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    if (ms > 0) nanosleep(&wait, NULL);
}

// ---- files

static void s_wrap(const struct weft_disk *disk, weft_file_t *under, weft_file_t **out)
{
    struct s_file *file = weft_calloc(1, sizeof *file);
    file->base.disk = disk;
    file->references = 1;
    file->under = under;
    *out = &file->base;
}

static weft_err_t s_open(const struct weft_disk *disk, const char *path, enum weft_open_mode mode, weft_file_t **out)
{
    weft_file_t *under;
    weft_err_t err = s_ops_of(disk)->open(s_self(disk)->under, path, mode, &under);
    if (err == WEFT_OK) s_wrap(disk, under, out);
    return err;
}

static weft_err_t s_lock(const struct weft_disk *disk, const char *path, weft_file_t **out)
{
    weft_file_t *under;
    weft_err_t err = s_ops_of(disk)->lock(s_self(disk)->under, path, &under);
    if (err == WEFT_OK) s_wrap(disk, under, out);
    return err;
}

static void s_ref(weft_file_t *file)
{
    atomic_fetch_add(&((struct s_file *) file)->references, 1);
}

static void s_close(weft_file_t **file_p)
{
    struct s_file *file = (struct s_file *) *file_p;
    if (file == NULL) return;
    *file_p = NULL;
    if (atomic_fetch_sub(&file->references, 1) > 1) return;
    s_ops_of(file->base.disk)->close(&file->under);
    free(file);
}

static weft_err_t s_pread(weft_file_t *file, void *data, size_t size, int64_t offset, size_t *got)
{
    return s_ops_of(file->disk)->pread(s_under(file), data, size, offset, got);
}

static weft_err_t s_pwritev(weft_file_t *file, const weft_slice_t *slices, size_t count, int64_t offset)
{
    if (s_full(file->disk)) return WEFT_ERR_DISK_FULL;
    return s_ops_of(file->disk)->pwritev(s_under(file), slices, count, offset);
}

static weft_err_t s_size(weft_file_t *file, int64_t *bytes)
{
    return s_ops_of(file->disk)->size(s_under(file), bytes);
}

static weft_err_t s_truncate(weft_file_t *file, int64_t bytes)
{
    return s_ops_of(file->disk)->truncate(s_under(file), bytes);
}

static weft_err_t s_preallocate(weft_file_t *file, int64_t bytes)
{
    if (s_full(file->disk)) return WEFT_ERR_DISK_FULL;
    return s_ops_of(file->disk)->preallocate(s_under(file), bytes);
}

static weft_err_t s_sync(weft_file_t *file)
{
    s_wait_sync(file->disk);
    return WEFT_OK;
}

// ---- names

static weft_err_t s_rename(const struct weft_disk *disk, const char *from, const char *to)
{
    return s_ops_of(disk)->rename(s_self(disk)->under, from, to);
}

static weft_err_t s_unlink(const struct weft_disk *disk, const char *path)
{
    return s_ops_of(disk)->unlink(s_self(disk)->under, path);
}

static weft_err_t s_mkdir(const struct weft_disk *disk, const char *path)
{
    if (s_full(disk)) return WEFT_ERR_DISK_FULL;
    return s_ops_of(disk)->mkdir(s_self(disk)->under, path);
}

static weft_err_t s_rmdir(const struct weft_disk *disk, const char *path)
{
    return s_ops_of(disk)->rmdir(s_self(disk)->under, path);
}

static weft_err_t s_sync_directory(const struct weft_disk *disk, const char *path)
{
    s_wait_sync(disk);
    return WEFT_OK;
}

static weft_err_t s_list(const struct weft_disk *disk, const char *path, weft_disk_list_fn *each, void *context)
{
    return s_ops_of(disk)->list(s_self(disk)->under, path, each, context);
}

static weft_err_t s_free_bytes(const struct weft_disk *disk, const char *path, int64_t *bytes)
{
    return s_ops_of(disk)->free_bytes(s_self(disk)->under, path, bytes);
}

static const struct weft_disk_ops s_ops = {.open = s_open,
                                           .ref = s_ref,
                                           .close = s_close,
                                           .pread = s_pread,
                                           .pwritev = s_pwritev,
                                           .size = s_size,
                                           .truncate = s_truncate,
                                           .preallocate = s_preallocate,
                                           .sync = s_sync,
                                           .rename = s_rename,
                                           .unlink = s_unlink,
                                           .mkdir = s_mkdir,
                                           .rmdir = s_rmdir,
                                           .sync_directory = s_sync_directory,
                                           .list = s_list,
                                           .lock = s_lock,
                                           .free_bytes = s_free_bytes};

weft_host_disk_t *weft_host_disk_new(void)
{
    weft_host_disk_t *self = weft_calloc(1, sizeof *self);
    self->disk = (struct weft_disk){.ops = &s_ops, .self = self};
    self->under = weft_disk_posix();
    return self;
}

void weft_host_disk_destroy(weft_host_disk_t **self_p)
{
    free(*self_p);
    *self_p = NULL;
}

const struct weft_disk *weft_host_disk_of(weft_host_disk_t *self)
{
    return &self->disk;
}

void weft_host_disk_slow(weft_host_disk_t *self, int64_t ms_per_sync)
{
    atomic_store(&self->slow_ms, ms_per_sync);
}

void weft_host_disk_full(weft_host_disk_t *self, bool full)
{
    atomic_store(&self->full, full);
}
