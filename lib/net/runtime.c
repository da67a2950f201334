// SPDX-License-Identifier: MPL-2.0
// A part's thread goes through s_phase: RUNNING, STOPPING (stop() was called, turns go on until stopped()), RESTED (no
// more turns, the thread ends). The builder's thread asks by `asked` and a wake, the part's thread answers by `phase`
// under one lock and a condition; both are cold paths. Parts are destroyed by the builder's thread after their threads
// were joined.
#include "runtime.h"

#include "../base/assert.h"
#include "../base/disk.h"
#include "../base/trace.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define S_IO_THREADS_MAX 4
#define S_PARTING_MS 20
#define S_STUCK_GRACE_US INT64_C(2000000) // after its deadline a part may take so long to come back from a call

enum s_phase { S_ADDED, S_RUNNING, S_STOPPING, S_RESTED };
enum s_asked { S_GO_ON, S_STOP, S_ABANDON };

struct s_thread {
    weft_runtime_t *runtime;
    weft_loop_t *loop; // NULL: the slot's part was stopped
    pthread_t thread;
    atomic_int asked;
    enum s_phase phase; // under the runtime's lock
    bool rested_cleanly;
};

struct weft_runtime {
    weft_net_t *net;
    weft_world_t world;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct s_thread **threads;
    size_t count;
    bool stuck;
};

static int64_t s_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static struct timespec s_timespec(int64_t us)
{
    return (struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
}

// ---- a part's thread

static void s_enter(struct s_thread *self, enum s_phase phase, bool cleanly)
{
    pthread_mutex_lock(&self->runtime->lock);
    self->phase = phase;
    self->rested_cleanly = cleanly;
    pthread_cond_broadcast(&self->runtime->changed);
    pthread_mutex_unlock(&self->runtime->lock);
}

static void *s_run(void *argument)
{
    struct s_thread *self = argument;
    struct weft_part *part = weft_loop_part(self->loop);
    bool stopping = false, stopped = false;
    weft_loop_start(self->loop);
    for (int asked; (asked = atomic_load(&self->asked)) != S_ABANDON;) {
        if (asked == S_STOP && !stopping) {
            stopping = true;
            part->ops->stop(part);
        }
        // While it stops the part is called at least every 10 ms: what it waits for may come from elsewhere.
        weft_err_t woken = weft_loop_run(self->loop, stopping ? 10000 : -1);
        (void) woken;
        stopped = stopping && part->ops->stopped(part);
        if (stopped) break;
    }
    s_enter(self, S_RESTED, stopped);
    return NULL;
}

static void s_spawn(struct s_thread *self)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    self->phase = S_RUNNING;
    int rc = pthread_create(&self->thread, NULL, s_run, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    weft_assert(rc == 0); // no thread, no node: the limit of processes is the only reason
    // The kernel keeps 15 bytes; the last ones tell parts of a node apart ("broker-1/shard-0").
    const char *name = weft_loop_name(self->loop);
    size_t size = strlen(name);
    pthread_setname_np(self->thread, size > 15 ? name + size - 15 : name);
}

// ---- world

static weft_err_t s_add(void *world, const struct weft_world_part *how, struct weft_part *part, weft_part_id_t *id,
                        char *bound, struct weft_error *error)
{
    weft_runtime_t *self = world;
    weft_loop_t *loop = NULL;
    weft_err_t err = weft_loop_new(self->net, how, part, &loop, bound, error);
    if (err != WEFT_OK) return err;
    struct s_thread *thread = weft_calloc(1, sizeof *thread);
    thread->runtime = self;
    thread->loop = loop;
    self->threads = weft_realloc(self->threads, (self->count + 1) * sizeof *self->threads);
    self->threads[self->count++] = thread;
    *id = weft_loop_part_id(loop);
    return WEFT_OK;
}

static void s_start(void *world)
{
    weft_runtime_t *self = world;
    for (size_t i = 0; i < self->count; i++) {
        if (self->threads[i]->loop != NULL && self->threads[i]->phase == S_ADDED) s_spawn(self->threads[i]);
    }
}

static const struct weft_world_ops s_world_ops = {.add = s_add, .start = s_start};

static int s_io_threads(int wanted)
{
    if (wanted > 0) return wanted;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > S_IO_THREADS_MAX ? S_IO_THREADS_MAX : (int) cores;
}

weft_err_t weft_runtime_new(const struct weft_runtime_how *how, weft_runtime_t **out, struct weft_error *error)
{
    weft_runtime_t *self = weft_calloc(1, sizeof *self);
    struct weft_net_how net_how = {
        .zmq_context = how->zmq_context, .io_threads = s_io_threads(how->io_threads), .security = how->security};
    weft_err_t err = weft_net_new(&net_how, &self->net, error);
    if (err != WEFT_OK) {
        free(self);
        return err;
    }
    self->world =
        (weft_world_t){.ops = &s_world_ops, .self = self, .disk = how->disk != NULL ? how->disk : weft_disk_posix()};
    pthread_mutex_init(&self->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out = self;
    return WEFT_OK;
}

const weft_world_t *weft_runtime_world(weft_runtime_t *self)
{
    return &self->world;
}

void *weft_runtime_zmq(const weft_runtime_t *self)
{
    return weft_net_zmq(self->net);
}

// ---- stopping

static struct s_thread *s_find(const weft_runtime_t *self, weft_part_id_t part)
{
    for (size_t i = 0; i < self->count; i++) {
        struct s_thread *thread = self->threads[i];
        if (thread->loop != NULL && weft_loop_part_id(thread->loop) == part) return thread;
    }
    return NULL;
}

const weft_counters_t *weft_runtime_counters(const weft_runtime_t *self, weft_part_id_t part)
{
    const struct s_thread *thread = s_find(self, part);
    return thread != NULL ? weft_loop_counters(thread->loop) : NULL;
}

static bool s_wait_rested(struct s_thread *thread, int64_t deadline_us)
{
    weft_runtime_t *self = thread->runtime;
    struct timespec until = s_timespec(deadline_us);
    pthread_mutex_lock(&self->lock);
    int rc = 0;
    while (thread->phase != S_RESTED && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&self->changed, &self->lock, &until);
    bool rested = thread->phase == S_RESTED;
    pthread_mutex_unlock(&self->lock);
    return rested;
}

static void s_ask(struct s_thread *thread, enum s_asked what)
{
    atomic_store(&thread->asked, what);
    weft_loop_wake(thread->loop);
}

// True: the part is at rest by itself. Its thread has ended or is about to, unless it is stuck (phase tells).
static bool s_stop_thread(struct s_thread *thread, int64_t deadline_us, bool abandon)
{
    if (thread->phase == S_ADDED) return true;
    if (!abandon) {
        s_ask(thread, S_STOP);
        if (s_wait_rested(thread, deadline_us)) return thread->rested_cleanly;
        weft_trace(WEFT_TRACE_WARN, weft_loop_name(thread->loop), "did not come to rest in its time; ended as it is");
    }
    s_ask(thread, S_ABANDON);
    if (!s_wait_rested(thread, s_clock_us() + S_STUCK_GRACE_US)) {
        weft_trace(WEFT_TRACE_ERROR, weft_loop_name(thread->loop),
                   "is stuck inside a call (a hung disk?); its thread is left behind");
        thread->runtime->stuck = true;
    }
    return false;
}

static void s_end_thread(struct s_thread *thread)
{
    if (thread->phase != S_ADDED) pthread_join(thread->thread, NULL);
    weft_loop_destroy(&thread->loop);
}

weft_err_t weft_runtime_stop_parts(weft_runtime_t *self, const weft_part_id_t *parts, size_t count, int64_t timeout_us)
{
    int64_t deadline = s_clock_us() + timeout_us;
    bool cleanly = true;
    for (size_t i = 0; i < count; i++) {
        struct s_thread *thread = s_find(self, parts[i]);
        // Behind a part that was abandoned none may call the stop a clean one: the sync part would mark it so.
        if (thread != NULL && !s_stop_thread(thread, deadline, !cleanly)) cleanly = false;
    }
    if (self->stuck) return WEFT_ERR_LOCAL_TIMED_OUT;
    // The last replies are on their way. A libzmq client drops what it has not read when it sees the connection close,
    // so they get a moment before that.
    nanosleep(&(const struct timespec){.tv_nsec = S_PARTING_MS * 1000000}, NULL);
    for (size_t i = 0; i < count; i++) {
        struct s_thread *thread = s_find(self, parts[i]);
        if (thread != NULL) s_end_thread(thread);
    }
    return cleanly ? WEFT_OK : WEFT_ERR_LOCAL_TIMED_OUT;
}

weft_err_t weft_runtime_stop_node(weft_runtime_t *self, struct weft_node **node_p, int64_t timeout_us)
{
    if (*node_p == NULL) return WEFT_OK;
    weft_err_t err = weft_runtime_stop_parts(self, (*node_p)->parts, (*node_p)->part_count, timeout_us);
    if (!self->stuck) (*node_p)->type->destroy(node_p);
    return err;
}

void weft_runtime_destroy(weft_runtime_t **self_p)
{
    weft_runtime_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    for (size_t i = 0; i < self->count; i++) {
        struct s_thread *thread = self->threads[i];
        if (thread->loop == NULL || thread->phase == S_ADDED) continue;
        s_ask(thread, S_ABANDON);
        if (!s_wait_rested(thread, s_clock_us() + S_STUCK_GRACE_US)) self->stuck = true;
    }
    if (self->stuck) return; // a thread still uses all this
    for (size_t i = 0; i < self->count; i++) {
        if (self->threads[i]->loop != NULL) s_end_thread(self->threads[i]);
        free(self->threads[i]);
    }
    free(self->threads);
    weft_net_destroy(&self->net);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}
