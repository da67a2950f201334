// SPDX-License-Identifier: MPL-2.0
// A quorum of one voter over our own log.
//
// All proposals of a turn become one batch, one write, and (with whatever was written while the sync part was busy)
// one sync; a command is applied, and so answered, only after that sync came back. The order of applying is the
// order of the log, in this run and in every replay. Any failed write or sync, and a sync that does not come back
// for three seconds, ends this voter: its disk is in doubt, and with one voter there is nobody to go on.
#include "quorum_single.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"

#include <stdlib.h>
#include <string.h>

enum {
    S_BATCH_BYTES = 4 * 1024 * 1024,
    S_QUEUE_BYTES_MAX = 64 * 1024 * 1024,
    S_QUEUE_COUNT_MAX = 65536,
    S_STALL_US = 3 * 1000 * 1000,
    S_LATE_US = 500 * 1000 // a turn that late was this process's own pause
};

static struct weft_quorum_single *s_self(weft_quorum_t *base)
{
    return (struct weft_quorum_single *) base;
}

static const struct weft_quorum_single *s_const(const weft_quorum_t *base)
{
    return (const struct weft_quorum_single *) base;
}

// ---- giving up

// Tells the proposers of a detached queue.
static void s_lose(struct weft_quorum_single *self, weft_quorum_queue_t *lost, weft_err_t code)
{
    while (lost->count) {
        struct weft_quorum_entry entry = weft_quorum_queue_pop(lost);
        free(entry.command);
        self->events.on_lost(self->context, entry.token, code, NULL);
    }
    weft_quorum_queue_fini(lost);
}

void weft_quorum_single_fail(struct weft_quorum_single *self, weft_err_t code, const char *what)
{
    if (self->state == WEFT_QUORUM_FAILED) return;
    (void) weft_error_set(&self->failure, code,
                          "%s in %s (%s): this coordinator gives up; look at the disk, then start it again", what,
                          self->directory, weft_err_name(code));
    weft_trace(WEFT_TRACE_ERROR, self->name, "%s", self->failure.text);
    bool led = self->state == WEFT_QUORUM_LEADING;
    self->state = WEFT_QUORUM_FAILED;
    if (led) self->events.on_leader(self->context, false);
    weft_quorum_queue_t lost = self->queue;
    self->queue = (weft_quorum_queue_t){0};
    s_lose(self, &lost, WEFT_ERR_DISK_FAILED);
}

// ---- proposals into the log

static void s_disk_full(struct weft_quorum_single *self)
{
    if (!self->disk_full)
        weft_trace(WEFT_TRACE_WARN, self->name, "the disk of %s is full: changes are refused until space is free",
                   self->directory);
    self->disk_full = true;
    weft_quorum_queue_t lost = {0};
    weft_quorum_queue_take_unwritten(&self->queue, &lost);
    s_lose(self, &lost, WEFT_ERR_DISK_FULL);
}

// One batch of waiting commands; *count of them.
static weft_err_t s_build(struct weft_quorum_single *self, size_t *count, weft_buf_t *bytes)
{
    weft_batch_builder_t builder;
    weft_batch_builder_init(&builder);
    int64_t wall_ms = weft_port_wall_ms(&self->port);
    size_t at = self->queue.written;
    for (; at < self->queue.count; at++) {
        const struct weft_quorum_entry *entry = weft_quorum_queue_at(&self->queue, at);
        if (!entry->command || (builder.count && builder.buf.size + entry->size > S_BATCH_BYTES)) break;
        weft_batch_builder_add(&builder, wall_ms, WEFT_SLICE_NIL, weft_slice(entry->command, entry->size),
                               WEFT_SLICE_NIL);
    }
    *count = at - self->queue.written;
    weft_err_t err = weft_batch_builder_finish(&builder, WEFT_CODEC_NONE, -1, 0, 0, bytes);
    weft_batch_builder_fini(&builder);
    return err;
}

static weft_err_t s_append(struct weft_quorum_single *self, weft_buf_t *bytes)
{
    struct weft_batch batch;
    weft_err_t err = weft_batch_read(weft_buf_slice(bytes), &batch);
    if (err) return err;
    batch.base_offset = weft_log_end(self->log);
    batch.leader_epoch = self->term;
    weft_batch_write_header(bytes->data, &batch);
    weft_batch_seal(bytes->data, bytes->size);
    err = weft_batch_read(weft_buf_slice(bytes), &batch); // with its CRC
    if (err) return err;
    bool rolled = false;
    return weft_log_append(self->log, weft_buf_slice(bytes), WEFT_SLICE_NIL, &batch, &rolled);
}

static void s_flush(struct weft_quorum_single *self)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    while (self->state == WEFT_QUORUM_LEADING && self->queue.written < self->queue.count) {
        uint64_t last = (uint64_t) weft_log_end(self->log); // index of the last command written
        struct weft_quorum_entry *first = weft_quorum_queue_at(&self->queue, self->queue.written);
        if (!first->command) { // a barrier waits for what is before it only
            first->index = last;
            self->queue.written++;
            continue;
        }
        size_t count = 0;
        weft_buf_clear(&bytes);
        weft_err_t err = s_build(self, &count, &bytes);
        if (!err) err = s_append(self, &bytes);
        if (err == WEFT_ERR_DISK_FULL) {
            s_disk_full(self);
        } else if (err) {
            weft_quorum_single_fail(self, err, "writing the log failed");
        } else {
            if (self->disk_full)
                weft_trace(WEFT_TRACE_INFO, self->name, "the disk of %s has space again", self->directory);
            self->disk_full = false;
            for (size_t i = 0; i < count; i++)
                weft_quorum_queue_at(&self->queue, self->queue.written + i)->index = last + i + 1;
            self->queue.written += count;
        }
    }
    weft_buf_fini(&bytes);
}

// ---- syncs

struct weft_sync_request *weft_quorum_request_new(const struct weft_disk *disk, void *owner)
{
    struct weft_sync_request *request = weft_calloc(1, sizeof *request + sizeof request->jobs[0]);
    request->job_count = 1;
    request->jobs[0].owner = owner;
    request->jobs[0].sync.disk = disk;
    return request;
}

void weft_quorum_request_free(void *body)
{
    struct weft_sync_request *request = body;
    struct weft_log_sync *sync = &request->jobs[0].sync;
    for (size_t i = 0; i < sync->file_count; i++)
        if (sync->files[i]) sync->disk->ops->close(&sync->files[i]);
    free(request);
}

void weft_quorum_request_post(struct weft_quorum_single *self, struct weft_sync_request *request)
{
    struct weft_mail mail = {.kind = WEFT_MAIL_SYNC, .body = request, .body_free = weft_quorum_request_free};
    self->port.ops->post(self->port.world, self->sync_part, &mail);
}

static void s_sync(struct weft_quorum_single *self, int64_t now_us)
{
    if (self->sync_out || self->state == WEFT_QUORUM_FAILED || !weft_log_dirty(self->log)) return;
    struct weft_sync_request *request = weft_quorum_request_new(self->disk, self);
    request->jobs[0].topic = weft_quorum_log_id();
    if (!weft_log_sync_begin(self->log, &request->jobs[0].sync)) {
        weft_quorum_request_free(request);
        return;
    }
    self->sync_out = true;
    self->sync_since_us = now_us;
    weft_quorum_request_post(self, request);
}

static void s_apply(struct weft_quorum_single *self)
{
    uint64_t durable = (uint64_t) weft_log_synced_end(self->log);
    while (self->state == WEFT_QUORUM_LEADING && self->queue.written) {
        uint64_t index = weft_quorum_queue_at(&self->queue, 0)->index;
        if (index > durable) break;
        struct weft_quorum_entry entry = weft_quorum_queue_pop(&self->queue);
        if (entry.command) {
            weft_assert(entry.index == self->applied + 1);
            self->applied = entry.index;
        }
        self->events.on_apply(self->context, entry.index, weft_slice(entry.command, entry.size), entry.token);
        free(entry.command);
    }
}

static void s_mail(weft_quorum_t *base, struct weft_mail *mail)
{
    struct weft_quorum_single *self = s_self(base);
    weft_assert(mail->kind == WEFT_MAIL_SYNCED);
    struct weft_sync_request *request = mail->body;
    struct weft_sync_job *job = &request->jobs[0];
    weft_err_t result = job->sync.result;
    if (job->owner == self) {
        self->sync_out = false;
        self->sync_since_us = 0;
        result = weft_log_sync_done(self->log, &job->sync);
        if (result)
            weft_quorum_single_fail(self, result, "syncing the log failed");
        else
            s_apply(self);
    } else {
        weft_quorum_snapshot_synced(self, result);
    }
    weft_quorum_request_free(request);
}

// ---- turns

// A disk that does not answer for three seconds is as good as failed; a pause of this process is not the disk's.
static void s_watch_stall(struct weft_quorum_single *self, int64_t now_us)
{
    if (self->turned_us && now_us - self->turned_us > S_LATE_US && self->sync_since_us) self->sync_since_us = now_us;
    self->turned_us = now_us;
    if (self->sync_out && now_us - self->sync_since_us >= S_STALL_US)
        weft_quorum_single_fail(self, WEFT_ERR_DISK_FAILED, "a sync did not finish within 3 s");
}

static int64_t s_turn(weft_quorum_t *base, int64_t now_us)
{
    struct weft_quorum_single *self = s_self(base);
    if (self->state == WEFT_QUORUM_OPEN) {
        self->state = WEFT_QUORUM_LEADING;
        self->events.on_leader(self->context, true);
    }
    s_watch_stall(self, now_us);
    if (self->state != WEFT_QUORUM_LEADING) return WEFT_TIME_NEVER;
    s_flush(self);
    s_apply(self); // barriers
    s_sync(self, now_us);
    if (self->state == WEFT_QUORUM_LEADING) weft_quorum_snapshot_turn(self, now_us);
    if (self->state != WEFT_QUORUM_LEADING) return WEFT_TIME_NEVER;
    if (self->queue.written < self->queue.count || self->queue.written) {
        if (!self->sync_out) return now_us; // an applied command proposed the next
    }
    return self->sync_out ? now_us + S_LATE_US / 2 : WEFT_TIME_NEVER;
}

// ---- the interface

static weft_err_t s_propose(weft_quorum_t *base, weft_slice_t command, uint64_t token)
{
    struct weft_quorum_single *self = s_self(base);
    weft_assert(command.data && command.size);
    if (self->state != WEFT_QUORUM_LEADING) return WEFT_ERR_NOT_COORDINATOR;
    if (self->stopping) return WEFT_ERR_STOPPING;
    if (self->queue.count >= S_QUEUE_COUNT_MAX || self->queue.bytes + command.size > S_QUEUE_BYTES_MAX)
        return WEFT_ERR_OVERLOADED;
    weft_quorum_queue_push(&self->queue, command, token);
    return WEFT_OK;
}

static void s_barrier(weft_quorum_t *base, uint64_t token)
{
    struct weft_quorum_single *self = s_self(base);
    if (self->state != WEFT_QUORUM_LEADING)
        self->events.on_lost(self->context, token, WEFT_ERR_NOT_COORDINATOR, NULL);
    else
        weft_quorum_queue_push(&self->queue, WEFT_SLICE_NIL, token);
}

static bool s_leads(const weft_quorum_t *base)
{
    return s_const(base)->state == WEFT_QUORUM_LEADING;
}

static const char *s_failure(const weft_quorum_t *base)
{
    return s_const(base)->state == WEFT_QUORUM_FAILED ? s_const(base)->failure.text : NULL;
}

static void s_members(const weft_quorum_t *base, weft_buf_t *text)
{
    weft_buf_printf(text, "one voter, %llu commands applied, snapshot at %llu",
                    (unsigned long long) s_const(base)->applied, (unsigned long long) s_const(base)->snapshot_index);
}

static void s_start(weft_quorum_t *base, const weft_port_t *port, weft_part_id_t sync_part, const char *endpoint)
{
    s_self(base)->port = *port;
    s_self(base)->sync_part = sync_part;
}

static void s_stop(weft_quorum_t *base)
{
    s_self(base)->stopping = true;
}

static bool s_stopped(const weft_quorum_t *base)
{
    const struct weft_quorum_single *self = s_const(base);
    if (self->sync_out || self->snapshot_step != WEFT_SNAPSHOT_IDLE)
        return false; // the sync part still holds our files
    return self->state != WEFT_QUORUM_LEADING || (self->queue.count == 0 && !weft_log_dirty(self->log));
}

static void s_destroy(weft_quorum_t **self_p)
{
    struct weft_quorum_single *self = s_self(*self_p);
    if (!self) return;
    if (self->snapshot_file) self->disk->ops->close(&self->snapshot_file);
    weft_log_destroy(&self->log);
    weft_frame_pool_destroy(&self->pool);
    weft_quorum_queue_fini(&self->queue);
    free(self->name);
    free(self);
    *self_p = NULL;
}

static const struct weft_quorum_ops s_ops = {.start = s_start,
                                             .propose = s_propose,
                                             .barrier = s_barrier,
                                             .leads = s_leads,
                                             .failure = s_failure,
                                             .members = s_members,
                                             .mail = s_mail,
                                             .turn = s_turn,
                                             .stop = s_stop,
                                             .stopped = s_stopped,
                                             .destroy = s_destroy};

weft_id_t weft_quorum_log_id(void)
{
    static const char name[17] = "weft-quorum-log.";
    return weft_id_of_slice(weft_slice(name, 16));
}

weft_err_t weft_quorum_single_open(const struct weft_quorum_single_options *options,
                                   const struct weft_quorum_events *events, void *context, weft_quorum_t **out,
                                   struct weft_error *error)
{
    if (strlen(options->directory) >= WEFT_QUORUM_PATH_BYTES_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT,
                              "the path of the data directory is longer than %d bytes", WEFT_QUORUM_PATH_BYTES_MAX - 1);
    struct weft_quorum_single *self = weft_calloc(1, sizeof *self);
    self->base.ops = &s_ops;
    self->disk = options->disk;
    strcpy(self->directory, options->directory);
    self->name = weft_strdup(options->name);
    self->events = *events;
    self->context = context;
    self->snapshot_commands = options->snapshot_commands;
    self->pool = weft_frame_pool_new(1024 * 1024, 2);
    weft_err_t err = weft_quorum_recover(self, options->synced_end, error);
    weft_quorum_t *base = &self->base;
    if (err) {
        s_destroy(&base);
        return err;
    }
    *out = base;
    return WEFT_OK;
}
