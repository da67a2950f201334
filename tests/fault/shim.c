// SPDX-License-Identifier: MPL-2.0
// A preloaded library that stands between a process and its disk. It journals what is written, created, renamed and
// removed under one directory and what is synced, so that after SIGKILL a power failure can be played by undoing a part
// of what was not (power.py: kill -9 alone never loses the page cache and proves nothing about fsync). And it makes
// calls fail, hang, take long or end the process, as rules in a mapped control page say, which may change at any time.
//
// Only the calls that lib/base/disk_posix.c uses are caught, and their plain relatives. A descriptor is known by its
// number; a watched file by its inode, which no other file can take while it is open or kept in the journal's folder.
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { S_DESCRIPTORS = 65536, S_OLD_BYTES_MAX = 4 << 20 };

struct s_descriptor {
    char *path; // NULL: not watched
    uint64_t inode;
    bool directory;
};

static struct s_descriptor s_open_files[S_DESCRIPTORS];
static char s_directory[PATH_MAX], s_graves[PATH_MAX];
static size_t s_directory_bytes;
static int s_journal = -1;
static struct shim_control *s_control;
static atomic_llong s_numbers; // tokens and graves
// A write and its note are one step as seen by other writes of the process: old bytes are read before new ones stand.
static pthread_mutex_t s_write_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t s_rule_lock = PTHREAD_MUTEX_INITIALIZER;

#define S_REAL(name) ((__typeof__(&name)) s_next(#name))
static void *s_next(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

// Looked up once: dlsym in every call would cost more than the call.
static struct {
    __typeof__(&open) open;
    __typeof__(&close) close;
    __typeof__(&write) write;
    __typeof__(&pwrite) pwrite;
    __typeof__(&pwritev) pwritev;
    __typeof__(&pread) pread;
    __typeof__(&fsync) fsync;
    __typeof__(&fdatasync) fdatasync;
    __typeof__(&syncfs) syncfs;
    __typeof__(&rename) rename;
    __typeof__(&unlink) unlink;
    __typeof__(&mkdir) mkdir;
    __typeof__(&rmdir) rmdir;
    __typeof__(&ftruncate) ftruncate;
    __typeof__(&fallocate) fallocate;
    __typeof__(&clock_gettime) clock_gettime;
    __typeof__(&statvfs) statvfs;
} s_real;

static void s_resolve(void)
{
    if (s_real.statvfs) return;
    s_real.open = S_REAL(open);
    s_real.close = S_REAL(close);
    s_real.write = S_REAL(write);
    s_real.pwrite = S_REAL(pwrite);
    s_real.pwritev = S_REAL(pwritev);
    s_real.pread = S_REAL(pread);
    s_real.fsync = S_REAL(fsync);
    s_real.fdatasync = S_REAL(fdatasync);
    s_real.syncfs = S_REAL(syncfs);
    s_real.rename = S_REAL(rename);
    s_real.unlink = S_REAL(unlink);
    s_real.mkdir = S_REAL(mkdir);
    s_real.rmdir = S_REAL(rmdir);
    s_real.ftruncate = S_REAL(ftruncate);
    s_real.fallocate = S_REAL(fallocate);
    s_real.clock_gettime = S_REAL(clock_gettime);
    s_real.statvfs = S_REAL(statvfs);
}

static void s_map_control(const char *path)
{
    int fd = s_real.open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *page = mmap(NULL, SHIM_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    s_real.close(fd);
    if (page != MAP_FAILED && ((struct shim_control *) page)->magic == SHIM_MAGIC) s_control = page;
}

__attribute__((constructor)) static void s_start(void)
{
    s_resolve();
    const char *directory = getenv("WEFT_FAULT_DIR"), *journal = getenv("WEFT_FAULT_JOURNAL"),
               *control = getenv("WEFT_FAULT_CONTROL");
    if (!directory || strlen(directory) >= sizeof s_directory) return;
    strcpy(s_directory, directory);
    s_directory_bytes = strlen(s_directory);
    if (journal && snprintf(s_graves, sizeof s_graves, "%s.d", journal) < (int) sizeof s_graves) {
        s_real.mkdir(s_graves, 0777);
        s_journal = s_real.open(journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    }
    if (control) s_map_control(control);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now); // numbers of one journal differ over restarts
    atomic_store(&s_numbers, (long long) now.tv_sec * 1000000000 + now.tv_nsec);
}

// ---- paths and descriptors

// The absolute path, or false if it is not below the watched directory.
static bool s_watched(const char *path, char out[PATH_MAX])
{
    if (!s_directory_bytes) return false;
    if (path[0] == '/') {
        if (snprintf(out, PATH_MAX, "%s", path) >= PATH_MAX) return false;
    } else {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here) || snprintf(out, PATH_MAX, "%s/%s", here, path) >= PATH_MAX) return false;
    }
    char *to = out;
    for (const char *from = out; *from; from++) { // "//" and "/./" say nothing
        if (from[0] == '/' && from[1] == '/') continue;
        if (from[0] == '/' && from[1] == '.' && (from[2] == '/' || !from[2])) {
            from++;
            continue;
        }
        *to++ = *from;
    }
    *to = '\0';
    return strncmp(out, s_directory, s_directory_bytes) == 0 &&
           (out[s_directory_bytes] == '/' || !out[s_directory_bytes]);
}

static struct s_descriptor *s_find(int fd)
{
    return fd >= 0 && fd < S_DESCRIPTORS && s_open_files[fd].path ? &s_open_files[fd] : NULL;
}

static void s_remember(int fd, const char *path)
{
    struct stat status;
    if (fd < 0 || fd >= S_DESCRIPTORS || fstat(fd, &status) != 0) return;
    free(s_open_files[fd].path);
    s_open_files[fd] = (struct s_descriptor){strdup(path), status.st_ino, S_ISDIR(status.st_mode)};
}

// ---- the journal

static void s_note(enum shim_event_type type, uint64_t inode, int64_t a, int64_t b, int64_t c, const void *text,
                   size_t bytes)
{
    if (s_journal < 0) return;
    struct shim_event event = {(uint32_t) (sizeof event + bytes), type, inode, a, b, c};
    struct iovec parts[2] = {{&event, sizeof event}, {NULL, bytes}};
    memcpy(&parts[1].iov_base, &text, sizeof text);
    int before = errno;
    if (writev(s_journal, parts, 2) != (ssize_t) event.bytes) abort(); // a journal with a hole would tell lies
    errno = before;
}

static void s_note_path(enum shim_event_type type, uint64_t inode, int64_t a, int64_t b, const char *path)
{
    s_note(type, inode, a, b, 0, path, strlen(path));
}

// Keeps a file that is about to lose its name; its number, 0 if there was none.
static int64_t s_bury(const char *path)
{
    struct stat status;
    if (s_journal < 0 || lstat(path, &status) != 0 || !S_ISREG(status.st_mode)) return 0;
    char grave[PATH_MAX + 32];
    int64_t number = atomic_fetch_add(&s_numbers, 1);
    snprintf(grave, sizeof grave, "%s/%lld", s_graves, (long long) number);
    return link(path, grave) == 0 ? number : 0;
}

static uint64_t s_inode_of(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0 ? status.st_ino : 0;
}

// ---- rules

static void s_nap(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL); // allow-sleep: this is the delay that a test asked for
}

static bool s_matches(const struct shim_rule *rule, enum shim_op op, const char *path)
{
    return rule->action != SHIM_NONE && rule->op == (uint32_t) op && rule->times != 0 &&
           (!rule->match[0] || strstr(path, rule->match));
}

// The action of the first rule that hits now, with its error and delay.
static struct shim_rule s_pick(enum shim_op op, const char *path, volatile struct shim_rule **where)
{
    struct shim_rule hit = {.action = SHIM_NONE};
    pthread_mutex_lock(&s_rule_lock);
    s_control->calls[op]++;
    for (int i = 0; i < SHIM_RULES; i++) {
        struct shim_rule *rule = &s_control->rules[i];
        if (!s_matches(rule, op, path)) continue;
        if (rule->after > 0) {
            rule->after--;
            continue;
        }
        if (rule->times > 0) rule->times--;
        rule->hits++;
        hit = *rule;
        *where = rule;
        break;
    }
    pthread_mutex_unlock(&s_rule_lock);
    return hit;
}

struct s_fate {
    bool fails; // with errno set
    bool halves;
    bool dies;
};

static struct s_fate s_fate_of(enum shim_op op, const char *path)
{
    struct s_fate fate = {false, false, false};
    if (!s_control) return fate;
    volatile struct shim_rule *where = NULL;
    struct shim_rule rule = s_pick(op, path, &where);
    switch ((enum shim_action) rule.action) {
    case SHIM_NONE: break;
    case SHIM_FAIL:
        errno = rule.error;
        fate.fails = true;
        break;
    case SHIM_SHORT: fate.halves = true; break;
    case SHIM_KILL_BEFORE: raise(SIGKILL); break;
    case SHIM_KILL_AFTER: fate.dies = true; break;
    case SHIM_DELAY: s_nap(rule.delay_ms); break;
    case SHIM_HANG:
        while (where->action == SHIM_HANG) s_nap(5);
        break;
    }
    return fate;
}

static void s_end(struct s_fate fate)
{
    if (fate.dies) raise(SIGKILL);
}

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
    if (s_journal < 0 || end <= offset || end - offset > S_OLD_BYTES_MAX) return NULL;
    char *old = malloc((size_t) (end - offset));
    if (!old) return NULL;
    int reader = fd;
    ssize_t read_bytes = s_real.pread(reader, old, (size_t) (end - offset), offset);
    *got = read_bytes > 0 ? (size_t) read_bytes : 0;
    return old;
}

// Takes so much of the room that is left; how many bytes may be written.
static size_t s_take_room(int64_t size, int64_t offset, size_t bytes)
{
    if (!s_control || s_control->room < 0) return bytes;
    int64_t grows = offset + (int64_t) bytes - size;
    if (grows <= 0) return bytes;
    int64_t given = grows < s_control->room ? grows : s_control->room;
    s_control->room -= given;
    int64_t fits = (int64_t) bytes - (grows - given);
    return fits > 0 ? (size_t) fits : 0;
}

static ssize_t s_write_part(int fd, const struct iovec *parts, int count, int64_t offset, size_t bytes)
{
    if (bytes == s_total(parts, count)) return s_real.pwritev(fd, parts, count, offset);
    ssize_t done = 0;
    for (int i = 0; i < count && bytes; i++) {
        size_t now = parts[i].iov_len < bytes ? parts[i].iov_len : bytes;
        ssize_t written = s_real.pwrite(fd, parts[i].iov_base, now, offset + done);
        if (written < 0) return done ? done : written;
        done += written;
        bytes -= (size_t) written;
        if ((size_t) written < now) break;
    }
    return done;
}

static ssize_t s_pwritev(struct s_descriptor *file, int fd, const struct iovec *parts, int count, int64_t offset)
{
    struct s_fate fate = s_fate_of(SHIM_WRITE, file->path);
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
            s_note(SHIM_EV_WRITE, file->inode, offset, done, status.st_size, old,
                   old_bytes < (size_t) done ? old_bytes : (size_t) done);
        free(old);
    }
    pthread_mutex_unlock(&s_write_lock);
    s_end(fate);
    return done;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    s_resolve();
    struct s_descriptor *file = s_find(fd);
    return file ? s_pwritev(file, fd, parts, count, offset) : s_real.pwritev(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev(fd, parts, count, offset);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    s_resolve();
    struct s_descriptor *file = s_find(fd);
    if (!file) return s_real.pwrite(fd, data, bytes, offset);
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
    s_resolve();
    struct s_descriptor *file = s_find(fd);
    if (!file) return s_real.write(fd, data, bytes);
    struct iovec part = {NULL, bytes};
    memcpy(&part.iov_base, &data, sizeof data);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = s_pwritev(file, fd, &part, 1, at);
    if (done > 0) lseek(fd, at + done, SEEK_SET);
    return done;
}

ssize_t pread(int fd, void *data, size_t bytes, off_t offset)
{
    s_resolve();
    struct s_descriptor *file = s_find(fd);
    if (file && s_fate_of(SHIM_READ, file->path).fails) return -1;
    return s_real.pread(fd, data, bytes, offset);
}

ssize_t pread64(int fd, void *data, size_t bytes, off_t offset)
{
    return pread(fd, data, bytes, offset);
}

int ftruncate(int fd, off_t size)
{
    s_resolve();
    struct s_descriptor *file = s_find(fd);
    if (!file) return s_real.ftruncate(fd, size);
    struct s_fate fate = s_fate_of(SHIM_TRUNCATE, file->path);
    if (fate.fails) return -1;
    pthread_mutex_lock(&s_write_lock);
    struct stat status = {0};
    fstat(fd, &status);
    size_t old_bytes;
    char *old = s_old_bytes(fd, size, status.st_size, &old_bytes);
    int result = s_real.ftruncate(fd, size);
    if (result == 0) s_note(SHIM_EV_TRUNCATE, file->inode, status.st_size, size, 0, old, old_bytes);
    free(old);
    pthread_mutex_unlock(&s_write_lock);
    s_end(fate);
    return result;
}

int ftruncate64(int fd, off_t size)
{
    return ftruncate(fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t bytes)
{
    s_resolve();
    struct s_descriptor *file = s_find(fd);
    if (file && s_fate_of(SHIM_ALLOCATE, file->path).fails) return -1;
    if (file && s_control && s_control->room >= 0 && bytes > s_control->room) {
        errno = ENOSPC;
        return -1;
    }
    return s_real.fallocate(fd, mode, offset, bytes);
}

int fallocate64(int fd, int mode, off_t offset, off_t bytes)
{
    return fallocate(fd, mode, offset, bytes);
}

int statvfs(const char *path, struct statvfs *out)
{
    s_resolve();
    int result = s_real.statvfs(path, out);
    char full[PATH_MAX];
    if (result != 0 || !s_control || s_control->room < 0 || !s_watched(path, full)) return result;
    fsblkcnt_t blocks = (fsblkcnt_t) s_control->room / out->f_frsize;
    if (out->f_bavail > blocks) out->f_bavail = blocks;
    if (out->f_bfree > blocks) out->f_bfree = blocks;
    return 0;
}

int statvfs64(const char *path, struct statvfs64 *out)
{
    return statvfs(path, (struct statvfs *) out); // one layout where off_t has 64 bits
}

// ---- syncing

static int s_sync(struct s_descriptor *file, int fd, int (*real)(int))
{
    struct s_descriptor known = *file;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", known.path); // another thread may close the descriptor meanwhile
    struct s_fate fate = s_fate_of(known.directory ? SHIM_SYNC_DIR : SHIM_SYNC, path);
    int64_t token = atomic_fetch_add(&s_numbers, 1);
    s_note_path(known.directory ? SHIM_EV_DIR_BEGIN : SHIM_EV_SYNC_BEGIN, known.inode, token, 0, path);
    int result = fate.fails ? -1 : real(fd);
    s_note_path(known.directory ? SHIM_EV_DIR_END : SHIM_EV_SYNC_END, known.inode, token, result == 0 ? 0 : errno,
                path);
    s_end(fate);
    return result;
}

int fsync(int fd)
{
    s_resolve();
    struct s_descriptor *file = s_find(fd);
    return file ? s_sync(file, fd, s_real.fsync) : s_real.fsync(fd);
}

int fdatasync(int fd)
{
    s_resolve();
    struct s_descriptor *file = s_find(fd);
    return file ? s_sync(file, fd, s_real.fdatasync) : s_real.fdatasync(fd);
}

int syncfs(int fd)
{
    s_resolve();
    struct s_descriptor *file = s_find(fd);
    if (!file) return s_real.syncfs(fd);
    struct s_fate fate = s_fate_of(SHIM_SYNC_ALL, file->path);
    int64_t token = atomic_fetch_add(&s_numbers, 1);
    s_note(SHIM_EV_ALL_BEGIN, 0, token, 0, 0, NULL, 0);
    int result = fate.fails ? -1 : s_real.syncfs(fd);
    s_note(SHIM_EV_ALL_END, 0, token, result == 0 ? 0 : errno, 0, NULL, 0);
    s_end(fate);
    return result;
}

// ---- names

static int s_open(const char *path, int flags, mode_t mode)
{
    char full[PATH_MAX];
    if (!s_watched(path, full)) return s_real.open(path, flags, mode);
    struct s_fate fate = {false, false, false};
    bool absent = false;
    if (flags & O_CREAT) {
        fate = s_fate_of(SHIM_CREATE, full);
        if (fate.fails) return -1;
        absent = s_inode_of(full) == 0;
    }
    int fd = s_real.open(path, flags, mode);
    if (fd >= 0) s_remember(fd, full);
    if (fd >= 0 && absent) s_note_path(SHIM_EV_CREATE, s_inode_of(full), 0, 0, full);
    s_end(fate);
    return fd;
}

int open(const char *path, int flags, ...)
{
    s_resolve();
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return s_open(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    s_resolve();
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return s_open(path, flags, mode);
}

int close(int fd)
{
    s_resolve();
    struct s_descriptor *file = s_find(fd);
    if (file) {
        char *path = file->path;
        file->path = NULL; // before the number can be given to another file
        free(path);
    }
    return s_real.close(fd);
}

int rename(const char *from, const char *to)
{
    s_resolve();
    char a[PATH_MAX], b[PATH_MAX];
    if (!s_watched(from, a) || !s_watched(to, b)) return s_real.rename(from, to);
    struct s_fate fate = s_fate_of(SHIM_RENAME, b);
    if (fate.fails) return -1;
    uint64_t inode = s_inode_of(a);
    int64_t grave = s_bury(b);
    int result = s_real.rename(from, to);
    if (result == 0) {
        char both[2 * PATH_MAX];
        int first = snprintf(both, sizeof both, "%s", a) + 1;
        int second = snprintf(both + first, sizeof both - (size_t) first, "%s", b);
        s_note(SHIM_EV_RENAME, inode, grave, 0, 0, both, (size_t) (first + second));
    }
    s_end(fate);
    return result;
}

int unlink(const char *path)
{
    s_resolve();
    char full[PATH_MAX];
    if (!s_watched(path, full)) return s_real.unlink(path);
    struct s_fate fate = s_fate_of(SHIM_UNLINK, full);
    if (fate.fails) return -1;
    uint64_t inode = s_inode_of(full);
    int64_t grave = s_bury(full);
    int result = s_real.unlink(path);
    if (result == 0) s_note_path(SHIM_EV_UNLINK, inode, grave, 0, full);
    s_end(fate);
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    s_resolve();
    char full[PATH_MAX];
    if (!s_watched(path, full)) return s_real.mkdir(path, mode);
    struct s_fate fate = s_fate_of(SHIM_MKDIR, full);
    if (fate.fails) return -1;
    int result = s_real.mkdir(path, mode);
    if (result == 0) s_note_path(SHIM_EV_MKDIR, s_inode_of(full), 0, 0, full);
    s_end(fate);
    return result;
}

int rmdir(const char *path)
{
    s_resolve();
    char full[PATH_MAX];
    if (!s_watched(path, full)) return s_real.rmdir(path);
    struct s_fate fate = s_fate_of(SHIM_UNLINK, full);
    if (fate.fails) return -1;
    uint64_t inode = s_inode_of(full);
    int result = s_real.rmdir(path);
    if (result == 0) s_note_path(SHIM_EV_RMDIR, inode, 0, 0, full);
    s_end(fate);
    return result;
}

// ---- the wall clock

int clock_gettime(clockid_t clock, struct timespec *out)
{
    s_resolve();
    int result = s_real.clock_gettime(clock, out);
    if (result != 0 || !s_control || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
    int64_t ns = (int64_t) out->tv_sec * 1000000000 + out->tv_nsec + s_control->clock_ms * 1000000;
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
