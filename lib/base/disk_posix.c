// SPDX-License-Identifier: MPL-2.0
// The real disk: one descriptor a file, positioned reads and writes (no shared position, hence safe from several
// threads), fdatasync. Interrupted calls are taken up again; short writes go on where they stopped. Locks are flock(2):
// gone with the process, kill -9 included.
#include "disk.h"

#include "assert.h"
#include "disk_syncfs.h"
#include "disk_unlink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

enum { S_SLICES_AT_ONCE = 64 };

struct s_file {
    struct weft_file base;
    atomic_uint references;
    int fd;
};

static struct s_file *s_of(weft_file_t *file)
{
    return (struct s_file *) file;
}

static int s_open_retry(const char *path, int flags)
{
    int fd;
    do fd = open(path, flags | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static weft_err_t s_open(const struct weft_disk *disk, const char *path, enum weft_open_mode mode, weft_file_t **out)
{
    static const int flags[] = {
        [WEFT_OPEN_READ] = O_RDONLY, [WEFT_OPEN_WRITE] = O_RDWR, [WEFT_OPEN_CREATE] = O_RDWR | O_CREAT};
    int fd = s_open_retry(path, flags[mode]);
    if (fd < 0) return weft_err_of_errno(errno);
    weft_err_t err = mode == WEFT_OPEN_READ ? WEFT_OK : weft_disk_syncfs_watch(fd, path);
    if (err) {
        close(fd);
        return err;
    }
    struct s_file *self = weft_alloc(sizeof *self);
    self->base.disk = disk;
    atomic_init(&self->references, 1);
    self->fd = fd;
    *out = &self->base;
    return WEFT_OK;
}

static void s_ref(weft_file_t *file)
{
    atomic_fetch_add_explicit(&s_of(file)->references, 1, memory_order_relaxed);
}

static void s_close(weft_file_t **file_p)
{
    if (!*file_p) return;
    struct s_file *self = s_of(*file_p);
    *file_p = NULL;
    if (atomic_fetch_sub_explicit(&self->references, 1, memory_order_acq_rel) != 1) return;
    close(self->fd); // what matters was synced before; close's own error says nothing more
    free(self);
}

static weft_err_t s_pread(weft_file_t *file, void *data, size_t size, int64_t offset, size_t *got)
{
    size_t done = 0;
    while (done < size) {
        ssize_t part = pread(s_of(file)->fd, (uint8_t *) data + done, size - done, offset + (int64_t) done);
        if (part < 0 && errno == EINTR) continue;
        if (part < 0) return weft_err_of_errno(errno);
        if (part == 0) break;
        done += (size_t) part;
    }
    *got = done;
    return WEFT_OK;
}

// Drops `written` bytes from the front of the vectors; returns the first that still has some.
static size_t s_advance(struct iovec *vectors, size_t first, size_t count, size_t written)
{
    while (first < count && written >= vectors[first].iov_len) written -= vectors[first++].iov_len;
    if (first < count) {
        vectors[first].iov_base = (uint8_t *) vectors[first].iov_base + written;
        vectors[first].iov_len -= written;
    }
    return first;
}

static weft_err_t s_write_vectors(int fd, struct iovec *vectors, size_t count, int64_t *offset)
{
    size_t first = s_advance(vectors, 0, count, 0); // past empty ones
    while (first < count) {
        ssize_t written = pwritev(fd, vectors + first, (int) (count - first), *offset);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return weft_err_of_errno(errno);
        if (written == 0) return WEFT_ERR_DISK_FAILED; // no progress on bytes that are not none
        *offset += written;
        first = s_advance(vectors, first, count, (size_t) written);
    }
    return WEFT_OK;
}

static weft_err_t s_pwritev(weft_file_t *file, const weft_slice_t *slices, size_t count, int64_t offset)
{
    while (count) {
        struct iovec vectors[S_SLICES_AT_ONCE];
        size_t now = count < S_SLICES_AT_ONCE ? count : S_SLICES_AT_ONCE;
        for (size_t i = 0; i < now; i++) {
            vectors[i].iov_len = slices[i].size;
            memcpy(&vectors[i].iov_base, &slices[i].data, sizeof(void *)); // iovec has no const
        }
        weft_err_t err = s_write_vectors(s_of(file)->fd, vectors, now, &offset);
        if (err) return err;
        slices += now;
        count -= now;
    }
    return WEFT_OK;
}

static weft_err_t s_size(weft_file_t *file, int64_t *bytes)
{
    struct stat status;
    if (fstat(s_of(file)->fd, &status) != 0) return weft_err_of_errno(errno);
    *bytes = status.st_size;
    return WEFT_OK;
}

static weft_err_t s_truncate(weft_file_t *file, int64_t bytes)
{
    int result;
    do result = ftruncate(s_of(file)->fd, bytes);
    while (result != 0 && errno == EINTR);
    return result == 0 ? WEFT_OK : weft_err_of_errno(errno);
}

// Blocks are reserved behind the end, so that a full disk shows at the roll of a segment and not in the middle of an
// append; the size that is read stays. A file system that can't do it goes without.
static weft_err_t s_preallocate(weft_file_t *file, int64_t bytes)
{
    int result;
    if (bytes <= 0) return WEFT_OK;
    do result = fallocate(s_of(file)->fd, FALLOC_FL_KEEP_SIZE, 0, bytes);
    while (result != 0 && errno == EINTR);
    if (result == 0 || errno == EOPNOTSUPP || errno == ENOSYS) return WEFT_OK;
    return weft_err_of_errno(errno);
}

static weft_err_t s_sync(weft_file_t *file)
{
    int result;
    do result = fdatasync(s_of(file)->fd); // only an interruption is taken up again: it reports nothing about the bytes
    while (result != 0 && errno == EINTR);
    return result == 0 ? WEFT_OK : weft_err_of_errno(errno);
}

static weft_err_t s_rename(const struct weft_disk *disk, const char *from, const char *to)
{
    return rename(from, to) == 0 ? WEFT_OK : weft_err_of_errno(errno);
}

static weft_err_t s_unlink(const struct weft_disk *disk, const char *path)
{
    return weft_disk_unlink(path) == 0 ? WEFT_OK : weft_err_of_errno(errno);
}

static weft_err_t s_sync_directory(const struct weft_disk *disk, const char *path)
{
    int fd = s_open_retry(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return weft_err_of_errno(errno);
    int result;
    do result = fsync(fd);
    while (result != 0 && errno == EINTR);
    weft_err_t err = result == 0 ? WEFT_OK : weft_err_of_errno(errno);
    close(fd);
    return err;
}

static weft_err_t s_sync_all(const struct weft_disk *disk, const char *path)
{
    return weft_disk_syncfs(path);
}

// *made (may be NULL) says whether it was not there.
static weft_err_t s_mkdir_one(const char *path, bool *made)
{
    struct stat status;
    if (made) *made = true;
    if (mkdir(path, 0777) == 0) return WEFT_OK;
    int why = errno;
    if (made) *made = false;
    if (why == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode)) return WEFT_OK;
    return weft_err_of_errno(why);
}

// The directory in which partial[0..end) has its name; `partial` is cut there for the moment.
static weft_err_t s_sync_parent(const struct weft_disk *disk, char *partial, char *end)
{
    char *slash = end;
    do slash--;
    while (slash > partial && *slash != '/');
    if (slash == partial) return s_sync_directory(disk, *partial == '/' ? "/" : ".");
    *slash = '\0';
    weft_err_t err = s_sync_directory(disk, partial);
    *slash = '/';
    return err;
}

// Parents that had to be made are synced here: the caller syncs the last one's directory, and knows nothing of those
// above.
static weft_err_t s_mkdir(const struct weft_disk *disk, const char *path)
{
    char partial[PATH_MAX];
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof partial) return WEFT_ERR_DISK_FAILED;
    memcpy(partial, path, size + 1);
    for (char *at = partial + 1; *at; at++) {
        if (*at != '/' || at[-1] == '/') continue;
        bool made;
        *at = '\0';
        weft_err_t err = s_mkdir_one(partial, &made);
        if (!err && made) err = s_sync_parent(disk, partial, at);
        if (err) return err;
        *at = '/';
    }
    return s_mkdir_one(partial, NULL);
}

static weft_err_t s_rmdir(const struct weft_disk *disk, const char *path)
{
    return rmdir(path) == 0 ? WEFT_OK : weft_err_of_errno(errno);
}

static bool s_is_directory(const char *path, const struct dirent *entry)
{
    if (entry->d_type != DT_UNKNOWN) return entry->d_type == DT_DIR;
    char full[PATH_MAX];
    struct stat status;
    if (snprintf(full, sizeof full, "%s/%s", path, entry->d_name) >= (int) sizeof full) return false;
    return lstat(full, &status) == 0 && S_ISDIR(status.st_mode);
}

static int s_by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int s_not_dots(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static weft_err_t s_list(const struct weft_disk *disk, const char *path, weft_disk_list_fn *each, void *context)
{
    struct dirent **entries;
    int count = scandir(path, &entries, s_not_dots, s_by_name);
    if (count < 0) return weft_err_of_errno(errno);
    for (int i = 0; i < count; i++) {
        each(context, entries[i]->d_name, s_is_directory(path, entries[i]));
        free(entries[i]);
    }
    free(entries);
    return WEFT_OK;
}

static weft_err_t s_lock(const struct weft_disk *disk, const char *path, weft_file_t **out)
{
    weft_file_t *file = NULL;
    weft_err_t err = s_open(disk, path, WEFT_OPEN_CREATE, &file);
    if (err) return err;
    int result;
    do result = flock(s_of(file)->fd, LOCK_EX | LOCK_NB);
    while (result != 0 && errno == EINTR);
    if (result != 0) {
        err = errno == EWOULDBLOCK ? WEFT_ERR_LOCKED : weft_err_of_errno(errno);
        goto fail_file;
    }
    char pid[32];
    weft_slice_t text = weft_slice(pid, (size_t) snprintf(pid, sizeof pid, "%ld\n", (long) getpid()));
    err = s_truncate(file, 0);
    if (!err) err = s_pwritev(file, &text, 1, 0);
    if (err) goto fail_file;
    *out = file;
    return WEFT_OK;

fail_file:
    s_close(&file);
    return err;
}

static weft_err_t s_free_bytes(const struct weft_disk *disk, const char *path, int64_t *bytes)
{
    struct statvfs status;
    if (statvfs(path, &status) != 0) return weft_err_of_errno(errno);
    *bytes = (int64_t) status.f_bavail * (int64_t) status.f_frsize;
    return WEFT_OK;
}

const struct weft_disk *weft_disk_posix(void)
{
    static const struct weft_disk_ops ops = {
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
    static const struct weft_disk disk = {.ops = &ops, .self = NULL};
    return &disk;
}
