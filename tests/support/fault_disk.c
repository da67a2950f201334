// SPDX-License-Identifier: MPL-2.0
// Each call asks s_fails() first, which counts it and says whether the armed fault takes it. A file wraps the file of
// the disk below and remembers its path, for the suffix filter.
#include "fault_disk.h"

#include "../../lib/base/assert.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { S_KINDS = 15 };

struct weft_fault_disk {
    struct weft_disk disk;
    struct weft_disk_ops ops; // sync_all only where the disk below has it
    const struct weft_disk *under;
    pthread_mutex_t lock;
    struct weft_fault fault; // kinds 0: disarmed
    uint64_t seen, fired;    // of the armed fault
    uint64_t calls[S_KINDS];
};

struct s_file {
    struct weft_file base;
    atomic_uint references;
    weft_file_t *under;
    char *path;
};

static weft_fault_disk_t *s_self(const struct weft_disk *disk)
{
    return disk->self;
}
static struct s_file *s_of(weft_file_t *file)
{
    return (struct s_file *) file;
}
static weft_file_t *s_under(weft_file_t *file)
{
    return s_of(file)->under;
}
static const struct weft_disk_ops *s_below(const struct weft_disk *disk)
{
    return s_self(disk)->under->ops;
}

static bool s_ends_with(const char *path, const char *suffix)
{
    size_t path_size = strlen(path), suffix_size = strlen(suffix);
    return path_size >= suffix_size && strcmp(path + path_size - suffix_size, suffix) == 0;
}

// Counts a call; the error that it shall give, or WEFT_OK to pass it on. *short_bytes may be NULL.
static weft_err_t s_fails(const struct weft_disk *disk, uint32_t kind, const char *path, size_t *short_bytes)
{
    weft_fault_disk_t *self = s_self(disk);
    weft_err_t err = WEFT_OK;
    pthread_mutex_lock(&self->lock);
    self->calls[__builtin_ctz(kind)]++;
    const struct weft_fault *fault = &self->fault;
    if ((fault->kinds & kind) && (!fault->path_suffix || s_ends_with(path, fault->path_suffix))) {
        self->seen++;
        bool due = self->seen >= fault->nth && (fault->times == 0 || self->seen - fault->nth < fault->times);
        if (due) {
            self->fired++;
            err = fault->err;
            if (short_bytes) *short_bytes = fault->short_bytes;
        }
    }
    pthread_mutex_unlock(&self->lock);
    return err;
}

static weft_err_t s_file_fails(weft_file_t *file, uint32_t kind)
{
    return s_fails(file->disk, kind, s_of(file)->path, NULL);
}

// ---- files

static void s_wrap(const struct weft_disk *disk, const char *path, weft_file_t *under, weft_file_t **out)
{
    struct s_file *file = weft_alloc(sizeof *file);
    file->base.disk = disk;
    atomic_init(&file->references, 1);
    file->under = under;
    file->path = weft_strdup(path);
    *out = &file->base;
}

static weft_err_t s_open(const struct weft_disk *disk, const char *path, enum weft_open_mode mode, weft_file_t **out)
{
    weft_err_t err = s_fails(disk, WEFT_FAULT_OPEN, path, NULL);
    weft_file_t *under = NULL;
    if (!err) err = s_below(disk)->open(s_self(disk)->under, path, mode, &under);
    if (!err) s_wrap(disk, path, under, out);
    return err;
}

static weft_err_t s_lock(const struct weft_disk *disk, const char *path, weft_file_t **out)
{
    weft_err_t err = s_fails(disk, WEFT_FAULT_LOCK, path, NULL);
    weft_file_t *under = NULL;
    if (!err) err = s_below(disk)->lock(s_self(disk)->under, path, &under);
    if (!err) s_wrap(disk, path, under, out);
    return err;
}

static void s_ref(weft_file_t *file)
{
    atomic_fetch_add(&s_of(file)->references, 1);
}

static void s_close(weft_file_t **file_p)
{
    if (!*file_p) return;
    struct s_file *file = s_of(*file_p);
    *file_p = NULL;
    if (atomic_fetch_sub(&file->references, 1) != 1) return;
    s_below(file->base.disk)->close(&file->under);
    free(file->path);
    free(file);
}

static weft_err_t s_pread(weft_file_t *file, void *data, size_t size, int64_t offset, size_t *got)
{
    weft_err_t err = s_file_fails(file, WEFT_FAULT_PREAD);
    return err ? err : s_below(file->disk)->pread(s_under(file), data, size, offset, got);
}

// What a disk that fills up in the middle leaves behind.
static void s_write_prefix(weft_file_t *file, const weft_slice_t *slices, size_t count, int64_t offset, size_t bytes)
{
    for (size_t i = 0; i < count && bytes; i++) {
        weft_slice_t part = slices[i];
        if (part.size > bytes) part.size = bytes;
        if (part.size && s_below(file->disk)->pwritev(s_under(file), &part, 1, offset) != WEFT_OK) return;
        offset += (int64_t) part.size;
        bytes -= part.size;
    }
}

static weft_err_t s_pwritev(weft_file_t *file, const weft_slice_t *slices, size_t count, int64_t offset)
{
    size_t short_bytes = 0;
    weft_err_t err = s_fails(file->disk, WEFT_FAULT_PWRITEV, s_of(file)->path, &short_bytes);
    if (!err) return s_below(file->disk)->pwritev(s_under(file), slices, count, offset);
    s_write_prefix(file, slices, count, offset, short_bytes);
    return err;
}

static weft_err_t s_size(weft_file_t *file, int64_t *bytes)
{
    weft_err_t err = s_file_fails(file, WEFT_FAULT_SIZE);
    return err ? err : s_below(file->disk)->size(s_under(file), bytes);
}

static weft_err_t s_truncate(weft_file_t *file, int64_t bytes)
{
    weft_err_t err = s_file_fails(file, WEFT_FAULT_TRUNCATE);
    return err ? err : s_below(file->disk)->truncate(s_under(file), bytes);
}

static weft_err_t s_preallocate(weft_file_t *file, int64_t bytes)
{
    weft_err_t err = s_file_fails(file, WEFT_FAULT_PREALLOCATE);
    return err ? err : s_below(file->disk)->preallocate(s_under(file), bytes);
}

static weft_err_t s_sync(weft_file_t *file)
{
    weft_err_t err = s_file_fails(file, WEFT_FAULT_SYNC);
    return err ? err : s_below(file->disk)->sync(s_under(file));
}

// ---- paths

static weft_err_t s_rename(const struct weft_disk *disk, const char *from, const char *to)
{
    weft_err_t err = s_fails(disk, WEFT_FAULT_RENAME, to, NULL);
    return err ? err : s_below(disk)->rename(s_self(disk)->under, from, to);
}

static weft_err_t s_unlink(const struct weft_disk *disk, const char *path)
{
    weft_err_t err = s_fails(disk, WEFT_FAULT_UNLINK, path, NULL);
    return err ? err : s_below(disk)->unlink(s_self(disk)->under, path);
}

static weft_err_t s_mkdir(const struct weft_disk *disk, const char *path)
{
    weft_err_t err = s_fails(disk, WEFT_FAULT_MKDIR, path, NULL);
    return err ? err : s_below(disk)->mkdir(s_self(disk)->under, path);
}

static weft_err_t s_rmdir(const struct weft_disk *disk, const char *path)
{
    weft_err_t err = s_fails(disk, WEFT_FAULT_RMDIR, path, NULL);
    return err ? err : s_below(disk)->rmdir(s_self(disk)->under, path);
}

static weft_err_t s_sync_directory(const struct weft_disk *disk, const char *path)
{
    weft_err_t err = s_fails(disk, WEFT_FAULT_SYNC_DIRECTORY, path, NULL);
    return err ? err : s_below(disk)->sync_directory(s_self(disk)->under, path);
}

static weft_err_t s_sync_all(const struct weft_disk *disk, const char *path)
{
    weft_err_t err = s_fails(disk, WEFT_FAULT_SYNC, path, NULL);
    return err ? err : s_below(disk)->sync_all(s_self(disk)->under, path);
}

static weft_err_t s_list(const struct weft_disk *disk, const char *path, weft_disk_list_fn *each, void *context)
{
    weft_err_t err = s_fails(disk, WEFT_FAULT_LIST, path, NULL);
    return err ? err : s_below(disk)->list(s_self(disk)->under, path, each, context);
}

static weft_err_t s_free_bytes(const struct weft_disk *disk, const char *path, int64_t *bytes)
{
    weft_err_t err = s_fails(disk, WEFT_FAULT_FREE_BYTES, path, NULL);
    return err ? err : s_below(disk)->free_bytes(s_self(disk)->under, path, bytes);
}

static const struct weft_disk_ops s_ops = {
    .open = s_open,
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
    .free_bytes = s_free_bytes,
    .sync_all = s_sync_all,
};

// ---- the disk itself

weft_fault_disk_t *weft_fault_disk_new(const struct weft_disk *under)
{
    weft_fault_disk_t *self = weft_calloc(1, sizeof *self);
    self->ops = s_ops;
    if (!under->ops->sync_all) self->ops.sync_all = NULL;
    self->disk = (struct weft_disk){.ops = &self->ops, .self = self};
    self->under = under;
    pthread_mutex_init(&self->lock, NULL);
    return self;
}

void weft_fault_disk_destroy(weft_fault_disk_t **self_p)
{
    if (!*self_p) return;
    pthread_mutex_destroy(&(*self_p)->lock);
    free(*self_p);
    *self_p = NULL;
}

const struct weft_disk *weft_fault_disk_of(weft_fault_disk_t *self)
{
    return &self->disk;
}

void weft_fault_disk_arm(weft_fault_disk_t *self, const struct weft_fault *fault)
{
    weft_assert(fault->nth >= 1 && fault->err != WEFT_OK);
    pthread_mutex_lock(&self->lock);
    self->fault = *fault;
    self->seen = 0;
    self->fired = 0;
    pthread_mutex_unlock(&self->lock);
}

void weft_fault_disk_disarm(weft_fault_disk_t *self)
{
    pthread_mutex_lock(&self->lock);
    self->fault.kinds = 0;
    pthread_mutex_unlock(&self->lock);
}

// Readers take the lock of an object that is const to their caller: it is not part of its value.
static weft_fault_disk_t *s_lockable(const weft_fault_disk_t *self)
{
    return self->disk.self;
}

uint64_t weft_fault_disk_fired(const weft_fault_disk_t *self)
{
    pthread_mutex_lock(&s_lockable(self)->lock);
    uint64_t fired = self->fired;
    pthread_mutex_unlock(&s_lockable(self)->lock);
    return fired;
}

uint64_t weft_fault_disk_calls(const weft_fault_disk_t *self, uint32_t kinds)
{
    uint64_t calls = 0;
    pthread_mutex_lock(&s_lockable(self)->lock);
    for (uint32_t i = 0; i < S_KINDS; i++) {
        if (kinds & (UINT32_C(1) << i)) calls += self->calls[i];
    }
    pthread_mutex_unlock(&s_lockable(self)->lock);
    return calls;
}

void weft_fault_disk_calls_reset(weft_fault_disk_t *self)
{
    pthread_mutex_lock(&self->lock);
    memset(self->calls, 0, sizeof self->calls);
    pthread_mutex_unlock(&self->lock);
}
