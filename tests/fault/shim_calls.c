// SPDX-License-Identifier: MPL-2.0
// The calls that the shim stands in for. Each asks the rules for its fate, does what it is to do through the real call,
// and notes it once it is done. A call of a 64-bit name is the same call.
#include "shim_self.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

enum { S_OLD_BYTES_MAX = 4 << 20 };

// A write and its note are one step as seen by other writes of the process: old bytes are read before new ones stand.
static pthread_mutex_t s_write_lock = PTHREAD_MUTEX_INITIALIZER;

// ---- writing

static size_t s_total(const struct iovec *parts, int count)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
    return bytes;
}

// What will be overwritten, for the journal. The caller frees it.
static char *s_old_bytes(int fd, int64_t offset, int64_t end, size_t *got)
{
    *got = 0;
    if (shim_journal < 0 || end <= offset || end - offset > S_OLD_BYTES_MAX) return NULL;
    char *old = malloc((size_t) (end - offset));
    if (!old) return NULL;
    int reader = fd;
    ssize_t read_bytes = shim_real.pread(reader, old, (size_t) (end - offset), offset);
    *got = read_bytes > 0 ? (size_t) read_bytes : 0;
    return old;
}

// Takes so much of the room that is left; how many bytes may be written.
static size_t s_take_room(int64_t size, int64_t offset, size_t bytes)
{
    if (!shim_control_page || shim_control_page->room < 0) return bytes;
    int64_t grows = offset + (int64_t) bytes - size;
    if (grows <= 0) return bytes;
    int64_t given = grows < shim_control_page->room ? grows : shim_control_page->room;
    shim_control_page->room -= given;
    int64_t fits = (int64_t) bytes - (grows - given);
    return fits > 0 ? (size_t) fits : 0;
}

static ssize_t s_write_part(int fd, const struct iovec *parts, int count, int64_t offset, size_t bytes)
{
    if (bytes == s_total(parts, count)) return shim_real.pwritev(fd, parts, count, offset);
    ssize_t done = 0;
    for (int i = 0; i < count && bytes; i++) {
        size_t now = parts[i].iov_len < bytes ? parts[i].iov_len : bytes;
        ssize_t written = shim_real.pwrite(fd, parts[i].iov_base, now, offset + done);
        if (written < 0) return done ? done : written;
        done += written;
        bytes -= (size_t) written;
        if ((size_t) written < now) break;
    }
    return done;
}

static ssize_t s_pwritev(struct shim_descriptor *file, int fd, const struct iovec *parts, int count, int64_t offset)
{
    struct shim_fate fate = shim_fate_of(SHIM_WRITE, file->path);
    if (fate.fails) return -1;
    pthread_mutex_lock(&s_write_lock);
    struct stat status = {0};
    fstat(fd, &status);
    size_t bytes = s_total(parts, count), wanted = bytes;
    if (fate.halves && bytes > 1) bytes /= 2;
    bytes = s_take_room(status.st_size, offset, bytes);
    ssize_t done = -1;
    if (bytes == 0 && wanted > 0) {
        errno = ENOSPC;
    } else {
        int64_t end = offset + (int64_t) bytes < status.st_size ? offset + (int64_t) bytes : status.st_size;
        size_t old_bytes;
        char *old = s_old_bytes(fd, offset, end, &old_bytes);
        done = s_write_part(fd, parts, count, offset, bytes);
        if (done > 0)
            shim_note(SHIM_EV_WRITE, file->inode, offset, done, status.st_size, old,
                      old_bytes < (size_t) done ? old_bytes : (size_t) done);
        free(old);
    }
    pthread_mutex_unlock(&s_write_lock);
    shim_end(fate);
    return done;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    shim_resolve();
    struct shim_descriptor *file = shim_find(fd);
    return file ? s_pwritev(file, fd, parts, count, offset) : shim_real.pwritev(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev(fd, parts, count, offset);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    shim_resolve();
    struct shim_descriptor *file = shim_find(fd);
    if (!file) return shim_real.pwrite(fd, data, bytes, offset);
    struct iovec part = {NULL, bytes};
    memcpy(&part.iov_base, &data, sizeof data);
    return s_pwritev(file, fd, &part, 1, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t offset)
{
    return pwrite(fd, data, bytes, offset);
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    shim_resolve();
    struct shim_descriptor *file = shim_find(fd);
    if (!file) return shim_real.write(fd, data, bytes);
    struct iovec part = {NULL, bytes};
    memcpy(&part.iov_base, &data, sizeof data);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = s_pwritev(file, fd, &part, 1, at);
    if (done > 0) lseek(fd, at + done, SEEK_SET);
    return done;
}

ssize_t pread(int fd, void *data, size_t bytes, off_t offset)
{
    shim_resolve();
    struct shim_descriptor *file = shim_find(fd);
    if (file && shim_fate_of(SHIM_READ, file->path).fails) return -1;
    return shim_real.pread(fd, data, bytes, offset);
}

ssize_t pread64(int fd, void *data, size_t bytes, off_t offset)
{
    return pread(fd, data, bytes, offset);
}

int ftruncate(int fd, off_t size)
{
    shim_resolve();
    struct shim_descriptor *file = shim_find(fd);
    if (!file) return shim_real.ftruncate(fd, size);
    struct shim_fate fate = shim_fate_of(SHIM_TRUNCATE, file->path);
    if (fate.fails) return -1;
    pthread_mutex_lock(&s_write_lock);
    struct stat status = {0};
    fstat(fd, &status);
    size_t old_bytes;
    char *old = s_old_bytes(fd, size, status.st_size, &old_bytes);
    int result = shim_real.ftruncate(fd, size);
    if (result == 0) shim_note(SHIM_EV_TRUNCATE, file->inode, status.st_size, size, 0, old, old_bytes);
    free(old);
    pthread_mutex_unlock(&s_write_lock);
    shim_end(fate);
    return result;
}

int ftruncate64(int fd, off_t size)
{
    return ftruncate(fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t bytes)
{
    shim_resolve();
    struct shim_descriptor *file = shim_find(fd);
    if (file && shim_fate_of(SHIM_ALLOCATE, file->path).fails) return -1;
    if (file && shim_control_page && shim_control_page->room >= 0 && bytes > shim_control_page->room) {
        errno = ENOSPC;
        return -1;
    }
    return shim_real.fallocate(fd, mode, offset, bytes);
}

int fallocate64(int fd, int mode, off_t offset, off_t bytes)
{
    return fallocate(fd, mode, offset, bytes);
}

int statvfs(const char *path, struct statvfs *out)
{
    shim_resolve();
    int result = shim_real.statvfs(path, out);
    char full[PATH_MAX];
    if (result != 0 || !shim_control_page || shim_control_page->room < 0 || !shim_watched(path, full)) return result;
    fsblkcnt_t blocks = (fsblkcnt_t) shim_control_page->room / out->f_frsize;
    if (out->f_bavail > blocks) out->f_bavail = blocks;
    if (out->f_bfree > blocks) out->f_bfree = blocks;
    return 0;
}

int statvfs64(const char *path, struct statvfs64 *out)
{
    return statvfs(path, (struct statvfs *) out); // one layout where off_t has 64 bits
}

// ---- syncing

static int s_sync(struct shim_descriptor *file, int fd, int (*real)(int))
{
    struct shim_descriptor known = *file;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", known.path); // another thread may close the descriptor meanwhile
    struct shim_fate fate = shim_fate_of(known.directory ? SHIM_SYNC_DIR : SHIM_SYNC, path);
    int64_t token = atomic_fetch_add(&shim_numbers, 1);
    shim_note_path(known.directory ? SHIM_EV_DIR_BEGIN : SHIM_EV_SYNC_BEGIN, known.inode, token, 0, path);
    int result = fate.fails ? -1 : real(fd);
    shim_note_path(known.directory ? SHIM_EV_DIR_END : SHIM_EV_SYNC_END, known.inode, token, result == 0 ? 0 : errno,
                   path);
    shim_end(fate);
    return result;
}

int fsync(int fd)
{
    shim_resolve();
    struct shim_descriptor *file = shim_find(fd);
    return file ? s_sync(file, fd, shim_real.fsync) : shim_real.fsync(fd);
}

int fdatasync(int fd)
{
    shim_resolve();
    struct shim_descriptor *file = shim_find(fd);
    return file ? s_sync(file, fd, shim_real.fdatasync) : shim_real.fdatasync(fd);
}

int syncfs(int fd)
{
    shim_resolve();
    struct shim_descriptor *file = shim_find(fd);
    if (!file) return shim_real.syncfs(fd);
    struct shim_fate fate = shim_fate_of(SHIM_SYNC_ALL, file->path);
    int64_t token = atomic_fetch_add(&shim_numbers, 1);
    shim_note(SHIM_EV_ALL_BEGIN, 0, token, 0, 0, NULL, 0);
    int result = fate.fails ? -1 : shim_real.syncfs(fd);
    shim_note(SHIM_EV_ALL_END, 0, token, result == 0 ? 0 : errno, 0, NULL, 0);
    shim_end(fate);
    return result;
}

// ---- names

static int s_open(const char *path, int flags, mode_t mode)
{
    char full[PATH_MAX];
    if (!shim_watched(path, full)) return shim_real.open(path, flags, mode);
    struct shim_fate fate = {false, false, false};
    bool absent = false;
    if (flags & O_CREAT) {
        fate = shim_fate_of(SHIM_CREATE, full);
        if (fate.fails) return -1;
        absent = shim_inode_of(full) == 0;
    }
    int fd = shim_real.open(path, flags, mode);
    if (fd >= 0) shim_remember(fd, full);
    if (fd >= 0 && absent) shim_note_path(SHIM_EV_CREATE, shim_inode_of(full), 0, 0, full);
    shim_end(fate);
    return fd;
}

int open(const char *path, int flags, ...)
{
    shim_resolve();
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return s_open(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    shim_resolve();
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return s_open(path, flags, mode);
}

int close(int fd)
{
    shim_resolve();
    struct shim_descriptor *file = shim_find(fd);
    if (file) {
        char *path = file->path;
        file->path = NULL; // before the number can be given to another file
        free(path);
    }
    return shim_real.close(fd);
}

int rename(const char *from, const char *to)
{
    shim_resolve();
    char a[PATH_MAX], b[PATH_MAX];
    if (!shim_watched(from, a) || !shim_watched(to, b)) return shim_real.rename(from, to);
    struct shim_fate fate = shim_fate_of(SHIM_RENAME, b);
    if (fate.fails) return -1;
    uint64_t inode = shim_inode_of(a);
    int64_t grave = shim_bury(b);
    int result = shim_real.rename(from, to);
    if (result == 0) {
        char both[2 * PATH_MAX];
        int first = snprintf(both, sizeof both, "%s", a) + 1;
        int second = snprintf(both + first, sizeof both - (size_t) first, "%s", b);
        shim_note(SHIM_EV_RENAME, inode, grave, 0, 0, both, (size_t) (first + second));
    }
    shim_end(fate);
    return result;
}

int unlink(const char *path)
{
    shim_resolve();
    char full[PATH_MAX];
    if (!shim_watched(path, full)) return shim_real.unlink(path);
    struct shim_fate fate = shim_fate_of(SHIM_UNLINK, full);
    if (fate.fails) return -1;
    uint64_t inode = shim_inode_of(full);
    int64_t grave = shim_bury(full);
    int result = shim_real.unlink(path);
    if (result == 0) shim_note_path(SHIM_EV_UNLINK, inode, grave, 0, full);
    shim_end(fate);
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    shim_resolve();
    char full[PATH_MAX];
    if (!shim_watched(path, full)) return shim_real.mkdir(path, mode);
    struct shim_fate fate = shim_fate_of(SHIM_MKDIR, full);
    if (fate.fails) return -1;
    int result = shim_real.mkdir(path, mode);
    if (result == 0) shim_note_path(SHIM_EV_MKDIR, shim_inode_of(full), 0, 0, full);
    shim_end(fate);
    return result;
}

int rmdir(const char *path)
{
    shim_resolve();
    char full[PATH_MAX];
    if (!shim_watched(path, full)) return shim_real.rmdir(path);
    struct shim_fate fate = shim_fate_of(SHIM_UNLINK, full);
    if (fate.fails) return -1;
    uint64_t inode = shim_inode_of(full);
    int result = shim_real.rmdir(path);
    if (result == 0) shim_note_path(SHIM_EV_RMDIR, inode, 0, 0, full);
    shim_end(fate);
    return result;
}

// ---- the wall clock

int clock_gettime(clockid_t clock, struct timespec *out)
{
    shim_resolve();
    int result = shim_real.clock_gettime(clock, out);
    if (result != 0 || !shim_control_page || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
    int64_t ns = (int64_t) out->tv_sec * 1000000000 + out->tv_nsec + shim_control_page->clock_ms * 1000000;
    out->tv_sec = ns / 1000000000;
    out->tv_nsec = ns % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    *out = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return result;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
