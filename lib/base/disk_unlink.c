// SPDX-License-Identifier: MPL-2.0
// A descriptor keeps the file beyond its last name; a thread cuts it piece by piece and rests in between, so that syncs
// get in. Few such threads at a time: where many large files go at once (a topic's), their remover waits as it would
// without them. What a crash or the process's end leaves of it the file system drops by itself: it has no name.
#include "disk_unlink.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define S_PIECE_BYTES (4 << 20) // a millisecond; a smaller file is not worth a thread
#define S_THREADS_MAX 4
#define S_REST_NS_MAX INT64_C(100000000)

static atomic_int s_threads;

static int64_t s_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

// Twice as long as the piece took: two thirds of the disk's time are for others.
static void s_rest(int64_t began_ns)
{
    int64_t rest_ns = 2 * (s_clock_ns() - began_ns);
    if (rest_ns > S_REST_NS_MAX) rest_ns = S_REST_NS_MAX;
    nanosleep(&(struct timespec){.tv_nsec = (long) rest_ns}, NULL);
}

static void s_shrink(int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || status.st_nlink != 0) return;
    for (off_t bytes = status.st_size - S_PIECE_BYTES; bytes > 0; bytes -= S_PIECE_BYTES) {
        int64_t began_ns = s_clock_ns();
        if (ftruncate(fd, bytes) != 0) return;
        s_rest(began_ns);
    }
}

static void *s_run(void *argument)
{
    int fd = (int) (intptr_t) argument;
    s_shrink(fd);
    close(fd);
    atomic_fetch_sub(&s_threads, 1);
    return NULL;
}

static bool s_run_elsewhere(int fd)
{
    sigset_t all, before;
    pthread_t thread;
    if (atomic_fetch_add(&s_threads, 1) >= S_THREADS_MAX) goto fail_count;
    sigfillset(&all); // signals are for the host's own threads
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, NULL, s_run, (void *) (intptr_t) fd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) goto fail_count;
    pthread_detach(thread);
    return true;

fail_count:
    atomic_fetch_sub(&s_threads, 1);
    return false;
}

int weft_disk_unlink(const char *path)
{
    struct stat status;
    bool large = lstat(path, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > S_PIECE_BYTES;
    int fd = large ? open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    int result = unlink(path), error = errno;
    if (fd >= 0 && (result != 0 || !s_run_elsewhere(fd))) close(fd);
    errno = error;
    return result;
}
