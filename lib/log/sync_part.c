// SPDX-License-Identifier: MPL-2.0
/*
 * A round is what one turn drained: all its requests are synced together and then answered, in the order in which they
 * came. Files are synced one by one, unless there are so many that one syncfs of the whole file system is quicker.
 * After a failed sync the directory is given up (REPLICATION.md rule 11): every later job fails untried, nothing is
 * recorded in the checkpoint any more, and the stop is not clean.
 */
#include "sync_part.h"

#include "../base/assert.h"
#include "../base/mutate.h"
#include "../base/trace.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/*
 * Measured on ext4 (virtio disk), 4 KiB written to each file: fdatasync one by one takes 1.3 ms for 8 files, 5.2 ms for
 * 32, 12 ms for 64, 30 ms for 128; one syncfs 0.3, 0.9, 1.7 and 3.6 ms. But syncfs also waits for what others wrote to
 * that file system, so it has to be worth it several times over.
 */
#define S_FILES_ONE_BY_ONE_MAX 32

struct s_request {
    struct weft_sync_request *body;
    void (*body_free)(void *body);
    weft_part_id_t from;
    uint64_t number;
};

struct s_part {
    struct weft_part base;
    weft_port_t port;
    char *name;
    weft_checkpoint_t *checkpoint;
    int64_t checkpoint_us;
    int64_t checkpoint_due_us; // WEFT_TIME_NEVER: nothing to write
    struct s_request *requests;
    size_t request_count, request_capacity;
    bool failed;   // no checkpoint any more
    bool given_up; // a sync failed: no file of this directory is synced any more
    bool stopping, stopped;
    _Atomic int64_t round_began_us; // -1: idle
    _Atomic bool vouches;           // its stop may leave the clean marker
};

static struct s_part *s_of(struct weft_part *part)
{
    return (struct s_part *) part;
}

static void s_start(struct weft_part *part, const weft_port_t *port)
{
    s_of(part)->port = *port;
}

static void s_message(struct weft_part *part, struct weft_message *message)
{
    // It has no endpoint; the world drops what is left in the message.
}

static void s_mail(struct weft_part *part, struct weft_mail *mail)
{
    struct s_part *self = s_of(part);
    if (mail->kind != WEFT_MAIL_SYNC || !mail->body) {
        if (mail->body && mail->body_free) mail->body_free(mail->body);
        return;
    }
    if (self->request_count == self->request_capacity) {
        self->request_capacity = self->request_capacity ? self->request_capacity * 2 : 16;
        self->requests = weft_realloc(self->requests, self->request_capacity * sizeof *self->requests);
    }
    self->requests[self->request_count++] = (struct s_request){mail->body, mail->body_free, mail->from, mail->number};
}

static void s_link(struct weft_part *part, weft_link_t link) {}

// ---- a round

static bool s_many_files(const struct s_part *self, const struct weft_log_sync **any)
{
    size_t files = 0;
    *any = NULL;
    for (size_t i = 0; i < self->request_count; i++)
        for (size_t j = 0; j < self->requests[i].body->job_count; j++) {
            const struct weft_log_sync *job = &self->requests[i].body->jobs[j].sync;
            files += job->file_count + job->directory_levels;
            if (job->file_count && job->disk->ops->sync_all) *any = job;
        }
    return files > S_FILES_ONE_BY_ONE_MAX && *any;
}

// One job, or (after one syncfs for all) only its result.
static void s_run_job(struct s_part *self, struct weft_sync_job *job, bool all_synced, weft_err_t all_result)
{
    bool removal = job->sync.file_count == 0 && job->sync.end_offset < 0;
    if (self->given_up && !removal)
        job->sync.result = WEFT_ERR_DISK_FAILED;
    else if (removal || (all_synced && all_result))
        job->sync.result = removal ? WEFT_OK : all_result;
    else if (all_synced)
        job->sync.result = WEFT_OK;
    else
        weft_log_sync_run(&job->sync);

    if (job->sync.result && !self->failed)
        weft_trace(WEFT_TRACE_ERROR, self->name, "a sync of %s failed: %s", job->sync.directory,
                   weft_err_name(job->sync.result));
    self->given_up |= job->sync.result != WEFT_OK;
    self->failed |= self->given_up;
    if (self->failed || !self->checkpoint || weft_id_is_zero(job->topic)) return;
    if (removal)
        weft_checkpoint_remove(self->checkpoint, job->topic, job->partition);
    else
        weft_checkpoint_set(self->checkpoint, job->topic, job->partition,
                            job->sync.end_offset + (weft_mutated("checkpoint_runs_ahead") ? 50 : 0));
}

static void s_answer(struct s_part *self, const struct s_request *request)
{
    const struct weft_mail mail = {.from = self->port.ops->self_id(self->port.world),
                                   .kind = WEFT_MAIL_SYNCED,
                                   .body = request->body,
                                   .body_free = request->body_free,
                                   .number = request->number};
    self->port.ops->post(self->port.world, request->from, &mail);
}

static void s_round(struct s_part *self, int64_t now_us)
{
    const struct weft_log_sync *any;
    weft_err_t all_result = WEFT_OK;
    atomic_store_explicit(&self->round_began_us, now_us, memory_order_relaxed);
    bool all = s_many_files(self, &any);
    if (all) all_result = any->disk->ops->sync_all(any->disk, any->directory);
    for (size_t i = 0; i < self->request_count; i++) {
        struct weft_sync_request *body = self->requests[i].body;
        for (size_t j = 0; j < body->job_count; j++) s_run_job(self, &body->jobs[j], all, all_result);
        s_answer(self, &self->requests[i]);
    }
    self->request_count = 0;
    atomic_store_explicit(&self->round_began_us, -1, memory_order_relaxed);
    if (self->checkpoint && self->checkpoint_due_us == WEFT_TIME_NEVER)
        self->checkpoint_due_us = now_us + self->checkpoint_us;
}

// ---- the checkpoint

static void s_checkpoint(struct s_part *self, int64_t now_us)
{
    self->checkpoint_due_us = WEFT_TIME_NEVER;
    if (self->failed) return; // what stands there stays true
    weft_err_t err = weft_checkpoint_write(self->checkpoint);
    if (!err) return;
    weft_trace(WEFT_TRACE_WARN, self->name, "the checkpoint was not written: %s", weft_err_name(err));
    if (err == WEFT_ERR_DISK_FULL)
        self->checkpoint_due_us = now_us + self->checkpoint_us; // lagging behind is allowed
    else
        self->failed = true;
}

static void s_finish(struct s_part *self, int64_t now_us)
{
    self->stopped = true;
    if (!self->checkpoint) return;
    s_checkpoint(self, now_us);
    if (self->failed || self->checkpoint_due_us != WEFT_TIME_NEVER || !atomic_load(&self->vouches)) return;
    weft_err_t err = weft_checkpoint_mark_clean(self->checkpoint);
    if (err) weft_trace(WEFT_TRACE_WARN, self->name, "the clean marker was not written: %s", weft_err_name(err));
}

static int64_t s_turn(struct weft_part *part, int64_t now_us)
{
    struct s_part *self = s_of(part);
    if (self->request_count) {
        s_round(self, now_us);
        return now_us; // another turn: requests that came meanwhile are not kept waiting for the checkpoint
    }
    if (self->stopping) {
        if (!self->stopped) s_finish(self, now_us);
        return WEFT_TIME_NEVER;
    }
    if (now_us >= self->checkpoint_due_us) s_checkpoint(self, now_us);
    return self->checkpoint_due_us;
}

static void s_stop(struct weft_part *part)
{
    s_of(part)->stopping = true;
}

static bool s_stopped(struct weft_part *part)
{
    const struct s_part *self = s_of(part);
    return self->stopped && self->request_count == 0;
}

static void s_destroy(struct weft_part **part_p)
{
    if (!*part_p) return;
    struct s_part *self = s_of(*part_p);
    *part_p = NULL;
    for (size_t i = 0; i < self->request_count; i++) {
        struct weft_sync_request *body = self->requests[i].body;
        for (size_t j = 0; j < body->job_count; j++) weft_log_sync_drop(&body->jobs[j].sync);
        if (self->requests[i].body_free) self->requests[i].body_free(body);
    }
    weft_checkpoint_destroy(&self->checkpoint);
    free(self->requests);
    free(self->name);
    free(self);
}

void weft_sync_part_vouch(struct weft_part *part, bool vouches)
{
    atomic_store(&s_of(part)->vouches, vouches);
}

struct weft_part *weft_sync_part_new(const char *name, weft_checkpoint_t *checkpoint, int64_t checkpoint_ms)
{
    static const struct weft_part_ops ops = {.start = s_start,
                                             .message = s_message,
                                             .mail = s_mail,
                                             .link_up = s_link,
                                             .link_down = s_link,
                                             .turn = s_turn,
                                             .stop = s_stop,
                                             .stopped = s_stopped,
                                             .destroy = s_destroy};
    struct s_part *self = weft_calloc(1, sizeof *self);
    self->base.ops = &ops;
    self->name = weft_strdup(name);
    self->checkpoint = checkpoint;
    self->checkpoint_us = checkpoint_ms * 1000;
    atomic_init(&self->vouches, true);
    self->checkpoint_due_us = WEFT_TIME_NEVER;
    atomic_init(&self->round_began_us, -1);
    return &self->base;
}

int64_t weft_sync_part_busy_us(const struct weft_part *part, int64_t now_us)
{
    int64_t began_us = atomic_load_explicit(&((const struct s_part *) part)->round_began_us, memory_order_relaxed);
    return began_us < 0 || now_us < began_us ? 0 : now_us - began_us;
}
