// SPDX-License-Identifier: MPL-2.0
// A preloaded library that stands between a process and its disk. It journals what is written, created, renamed and
// removed under one directory and what is synced, so that after SIGKILL a power failure can be played by undoing a part
// of what was not (power.py: kill -9 alone never loses the page cache and proves nothing about fsync). And it makes
// calls fail, hang, take long or end the process, as rules in a mapped control page say, which may change at any time.
//
// Only the calls that lib/base/disk_posix.c uses are caught, and their plain relatives. A descriptor is known by its
// number; a watched file by its inode, which no other file can take while it is open or kept in the journal's folder.
#include "shim_self.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct shim_real shim_real;
struct shim_descriptor shim_open_files[SHIM_DESCRIPTORS];
int shim_journal = -1;
struct shim_control *shim_control_page;
atomic_llong shim_numbers;

static char s_directory[PATH_MAX], s_graves[PATH_MAX];
static size_t s_directory_bytes;
static pthread_mutex_t s_rule_lock = PTHREAD_MUTEX_INITIALIZER;

#define S_REAL(name) ((__typeof__(&name)) s_next(#name))
static void *s_next(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

void shim_resolve(void)
{
    if (shim_real.statvfs) return;
    shim_real.open = S_REAL(open);
    shim_real.close = S_REAL(close);
    shim_real.write = S_REAL(write);
    shim_real.pwrite = S_REAL(pwrite);
    shim_real.pwritev = S_REAL(pwritev);
    shim_real.pread = S_REAL(pread);
    shim_real.fsync = S_REAL(fsync);
    shim_real.fdatasync = S_REAL(fdatasync);
    shim_real.syncfs = S_REAL(syncfs);
    shim_real.rename = S_REAL(rename);
    shim_real.unlink = S_REAL(unlink);
    shim_real.mkdir = S_REAL(mkdir);
    shim_real.rmdir = S_REAL(rmdir);
    shim_real.ftruncate = S_REAL(ftruncate);
    shim_real.fallocate = S_REAL(fallocate);
    shim_real.clock_gettime = S_REAL(clock_gettime);
    shim_real.statvfs = S_REAL(statvfs);
}

static void s_map_control(const char *path)
{
    int fd = shim_real.open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *page = mmap(NULL, SHIM_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    shim_real.close(fd);
    if (page != MAP_FAILED && ((struct shim_control *) page)->magic == SHIM_MAGIC) shim_control_page = page;
}

__attribute__((constructor)) static void s_start(void)
{
    shim_resolve();
    const char *directory = getenv("WEFT_FAULT_DIR"), *journal = getenv("WEFT_FAULT_JOURNAL"),
               *control = getenv("WEFT_FAULT_CONTROL");
    if (!directory || strlen(directory) >= sizeof s_directory) return;
    strcpy(s_directory, directory);
    s_directory_bytes = strlen(s_directory);
    if (journal && snprintf(s_graves, sizeof s_graves, "%s.d", journal) < (int) sizeof s_graves) {
        shim_real.mkdir(s_graves, 0777);
        shim_journal = shim_real.open(journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    }
    if (control) s_map_control(control);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now); // numbers of one journal differ over restarts
    atomic_store(&shim_numbers, (long long) now.tv_sec * 1000000000 + now.tv_nsec);
}

// ---- paths and descriptors

bool shim_watched(const char *path, char out[PATH_MAX])
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

struct shim_descriptor *shim_find(int fd)
{
    return fd >= 0 && fd < SHIM_DESCRIPTORS && shim_open_files[fd].path ? &shim_open_files[fd] : NULL;
}

void shim_remember(int fd, const char *path)
{
    struct stat status;
    if (fd < 0 || fd >= SHIM_DESCRIPTORS || fstat(fd, &status) != 0) return;
    free(shim_open_files[fd].path);
    shim_open_files[fd] = (struct shim_descriptor){strdup(path), status.st_ino, S_ISDIR(status.st_mode)};
}

// ---- the journal

void shim_note(enum shim_event_type type, uint64_t inode, int64_t a, int64_t b, int64_t c, const void *text,
               size_t bytes)
{
    if (shim_journal < 0) return;
    struct shim_event event = {(uint32_t) (sizeof event + bytes), type, inode, a, b, c};
    struct iovec parts[2] = {{&event, sizeof event}, {NULL, bytes}};
    memcpy(&parts[1].iov_base, &text, sizeof text);
    int before = errno;
    if (writev(shim_journal, parts, 2) != (ssize_t) event.bytes) abort(); // a journal with a hole would tell lies
    errno = before;
}

void shim_note_path(enum shim_event_type type, uint64_t inode, int64_t a, int64_t b, const char *path)
{
    shim_note(type, inode, a, b, 0, path, strlen(path));
}

int64_t shim_bury(const char *path)
{
    struct stat status;
    if (shim_journal < 0 || lstat(path, &status) != 0 || !S_ISREG(status.st_mode)) return 0;
    char grave[PATH_MAX + 32];
    int64_t number = atomic_fetch_add(&shim_numbers, 1);
    snprintf(grave, sizeof grave, "%s/%lld", s_graves, (long long) number);
    return link(path, grave) == 0 ? number : 0;
}

uint64_t shim_inode_of(const char *path)
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
    shim_control_page->calls[op]++;
    for (int i = 0; i < SHIM_RULES; i++) {
        struct shim_rule *rule = &shim_control_page->rules[i];
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

struct shim_fate shim_fate_of(enum shim_op op, const char *path)
{
    struct shim_fate fate = {false, false, false};
    if (!shim_control_page) return fate;
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

void shim_end(struct shim_fate fate)
{
    if (fate.dies) raise(SIGKILL);
}
