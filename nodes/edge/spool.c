// SPDX-License-Identifier: MPL-2.0
// Opening all that is there, syncing and answering what is kept (keep.c), giving the turns in which it is delivered
// (drain.c).
#include "spool_inner.h"

#include <weft_gen/limits.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define S_SEGMENT_BYTES (16 << 20)
#define S_INDEX_BYTES 65536
#define S_CHECKPOINT_MS 200
#define S_READ_BYTES (1 << 20)
#define S_OPEN_MAX 256 // with more logs each gives its descriptors back once it is synced

static const struct weft_log_config s_log_config = {.segment_bytes = S_SEGMENT_BYTES,
                                                    .segment_ms = -1,
                                                    .retention_ms = -1,
                                                    .retention_bytes = -1,
                                                    .index_interval_bytes = S_INDEX_BYTES};

// ---- logs

static weft_err_t s_scanned(void *context, const struct weft_batch *batch)
{
    struct weft_spooled *self = context;
    self->batches++;
    if (batch->producer_id >= 0) weft_spool_note(self, batch);
    return WEFT_OK;
}

weft_err_t weft_spool_open(weft_spool_t *self, weft_id_t topic_id, uint32_t partition, int64_t synced_end,
                           struct weft_spooled **out, struct weft_error *error)
{
    char id[WEFT_ID_TEXT_BYTES], name[80];
    weft_id_text(topic_id, id);
    snprintf(name, sizeof name, "topics/%s/%u", id, (unsigned) partition);
    char *path = weft_spool_path(self, name);
    struct weft_spooled *one = weft_calloc(1, sizeof *one);
    struct weft_log_recovery recovery;
    weft_err_t err = weft_log_open(self->disk, path, &s_log_config, synced_end, &one->log, &recovery, error);
    free(path);
    if (err != WEFT_OK) {
        free(one);
        return err;
    }
    if (recovery.cut_bytes > 0)
        weft_trace(WEFT_TRACE_WARN, self->name,
                   "spool: topics/%s/%u ends in %lld bytes that were not whole, they are cut", id, (unsigned) partition,
                   (long long) recovery.cut_bytes);
    one->spool = self;
    one->topic_id = topic_id;
    one->partition = partition;
    one->sessions = weft_map_new();
    one->own_id = one->flight_id = -1;
    one->position = one->next = weft_log_start(one->log);
    one->read = WEFT_FRAME_EMPTY;
    err = weft_log_scan(one->log, one->position, s_scanned, one);
    if (err != WEFT_OK) { // what was not read again as it was opened, since it was stopped cleanly
        weft_error_set(error, err, "spool: %s can't be read to its end, after %llu batches: %s", name,
                       (unsigned long long) one->batches, weft_err_sentence(err));
        weft_spool_sessions_clear(one);
        weft_map_destroy(&one->sessions);
        weft_log_destroy(&one->log);
        free(one);
        return err;
    }
    self->logs = weft_realloc(self->logs, (self->count + 1) * sizeof(void *));
    self->logs[self->count++] = one;
    *out = one;
    return WEFT_OK;
}

struct weft_spooled *weft_spool_find(const weft_spool_t *self, weft_id_t topic_id, uint32_t partition)
{
    for (size_t i = 0; i < self->count; i++)
        if (self->logs[i]->partition == partition && weft_id_equal(self->logs[i]->topic_id, topic_id))
            return self->logs[i];
    return NULL;
}

static void s_close(struct weft_spooled *one)
{
    while (one->kept.first != NULL) {
        struct weft_edge_call *call = one->kept.first;
        weft_edge_list_remove(&one->kept, call);
        weft_edge_end(call);
    }
    weft_drain_fini(one);
    weft_frame_drop(&one->read);
    weft_spool_sessions_clear(one);
    weft_map_destroy(&one->sessions);
    weft_log_destroy(&one->log);
    free(one->names);
    free(one);
}

struct s_listing {
    weft_spool_t *spool;
    const weft_checkpoint_t *checkpoint;
    weft_id_t topic;
    weft_err_t err;
    struct weft_error *error;
};

static void s_on_partition(void *context, const char *name, bool is_directory)
{
    struct s_listing *listing = context;
    struct weft_spooled *one;
    char *end;
    unsigned long number = strtoul(name, &end, 10);
    if (!is_directory || listing->err != WEFT_OK || *name < '0' || *name > '9' || *end != '\0' ||
        number >= WEFT_PARTITIONS_MAX)
        return;
    int64_t synced_end = weft_checkpoint_get(listing->checkpoint, listing->topic, (uint32_t) number);
    listing->err = weft_spool_open(listing->spool, listing->topic, (uint32_t) number, synced_end, &one, listing->error);
}

static void s_on_topic(void *context, const char *name, bool is_directory)
{
    struct s_listing *listing = context;
    if (!is_directory || listing->err != WEFT_OK || weft_id_parse(name, &listing->topic) != WEFT_OK) return;
    char path[64];
    snprintf(path, sizeof path, "topics/%.40s", name);
    char *directory = weft_spool_path(listing->spool, path);
    weft_err_t err = listing->spool->disk->ops->list(listing->spool->disk, directory, s_on_partition, listing);
    if (listing->err == WEFT_OK) listing->err = err; // what a partition said stands
    free(directory);
}

static weft_err_t s_open_all(weft_spool_t *self, const weft_checkpoint_t *checkpoint, struct weft_error *error)
{
    struct s_listing listing = {.spool = self, .checkpoint = checkpoint, .error = error};
    char *directory = weft_spool_path(self, "topics");
    weft_err_t err = self->disk->ops->mkdir(self->disk, directory);
    if (err == WEFT_OK) err = self->disk->ops->list(self->disk, directory, s_on_topic, &listing);
    if (err != WEFT_OK)
        weft_error_set(error, err,
                       "spool: %s can't be listed: see that it is a directory that this user may read and write",
                       directory);
    free(directory);
    return err != WEFT_OK ? err : listing.err;
}

// ---- life

static weft_err_t s_identity(weft_spool_t *self, struct weft_error *error)
{
    const struct weft_identity_claim claim = {
        .node = "edge", .node_id = 0, .directory_id = weft_rand_id(&self->rand), .now_ms = (int64_t) time(NULL) * 1000};
    return weft_identity_open(self->disk, self->directory, &claim, &self->identity, error);
}

weft_err_t weft_spool_new(const struct weft_disk *disk, const weft_options_t *options, const char *name,
                          weft_spool_t **out, struct weft_part **sync, struct weft_error *error)
{
    weft_spool_t *self = weft_calloc(1, sizeof *self);
    weft_checkpoint_t *checkpoint = NULL;
    bool clean;
    self->disk = disk;
    self->directory = weft_strdup(weft_options_text(options, "spool"));
    snprintf(self->name, sizeof self->name, "%s", name);
    weft_rand_seed_os(&self->rand);
    self->pool = weft_frame_pool_new(S_READ_BYTES, 4);
    self->bytes_max = weft_options_int(options, "spool.bytes");
    self->after_us = weft_options_int(options, "spool.after.ms") * 1000;
    self->max_us = weft_options_int(options, "spool.max.ms") * 1000;
    weft_err_t err = s_identity(self, error);
    if (err != WEFT_OK) goto fail;
    err = weft_checkpoint_open(disk, self->directory, &checkpoint, error);
    if (err != WEFT_OK) goto fail;
    err = s_open_all(self, checkpoint, error);
    if (err == WEFT_OK) err = weft_spool_names_load(self, error);
    if (err == WEFT_OK) err = weft_checkpoint_take_clean(checkpoint, &clean);
    if (err != WEFT_OK) goto fail;
    char part_name[WEFT_NODE_NAME_BYTES_MAX + 8];
    snprintf(part_name, sizeof part_name, "%s/sync", name);
    *sync = weft_sync_part_new(part_name, checkpoint, S_CHECKPOINT_MS);
    *out = self;
    return WEFT_OK;

fail:
    weft_checkpoint_destroy(&checkpoint);
    weft_spool_destroy(&self);
    return err;
}

void weft_spool_destroy(weft_spool_t **self_p)
{
    weft_spool_t *self = *self_p;
    *self_p = NULL;
    if (self == NULL) return;
    for (size_t i = 0; i < self->count; i++) s_close(self->logs[i]);
    free(self->logs);
    if (self->dead != NULL) self->disk->ops->close(&self->dead);
    if (self->renamed != NULL) self->disk->ops->close(&self->renamed);
    weft_frame_pool_destroy(&self->pool);
    weft_identity_destroy(&self->identity);
    weft_buf_fini(&self->topics);
    weft_buf_fini(&self->scratch);
    weft_buf_fini(&self->packed);
    free(self->directory);
    free(self);
}

void weft_spool_set_sync(weft_spool_t *self, weft_part_id_t sync_id)
{
    self->sync_id = sync_id;
}

int64_t weft_spool_after_us(const weft_spool_t *self)
{
    return self->after_us;
}

static void s_place(struct weft_spooled *one)
{
    weft_edge_part_t *edge = one->spool->edge;
    struct weft_view_topic *topic = weft_edge_topic_of_id(edge, one->topic_id);
    if (one->lane != NULL || topic == NULL) return;
    one->lane = weft_edge_lane_of(edge, topic, one->partition);
    one->lane->spool = one;
}

void weft_spool_start(weft_spool_t *self, weft_edge_part_t *edge)
{
    self->edge = edge;
    // Whoever answers at `bootstrap`, what is here is for that cluster and for no other.
    if (weft_id_is_zero(edge->view.cluster_id)) edge->view.cluster_id = weft_identity_cluster_id(self->identity);
    weft_spool_topics_load(self);
    for (size_t i = 0; i < self->count; i++) {
        self->logs[i]->oldest_us = weft_port_now_us(&edge->port);
        s_place(self->logs[i]);
    }
    weft_spool_count(self);
}

bool weft_spool_rests(const weft_spool_t *self)
{
    return self->syncs_in_flight == 0 && !self->any_dirty;
}

bool weft_spool_owns(const weft_spool_t *self, const struct weft_call *call)
{
    return self != NULL && weft_drain_owns(call);
}

bool weft_spooled_goes_behind(const struct weft_spooled *self)
{
    return self->next < weft_log_end(self->log) || self->failing;
}

bool weft_spooled_holds(const struct weft_spooled *self)
{
    return self->position < weft_log_end(self->log);
}

void weft_spool_count(weft_spool_t *self)
{
    uint64_t batches = 0;
    self->bytes = 0;
    for (size_t i = 0; i < self->count; i++) {
        batches += self->logs[i]->batches;
        self->bytes += weft_log_bytes(self->logs[i]->log);
    }
    weft_counter_set(weft_edge_counters(self->edge), WEFT_EDGE_WAITING_BATCHES, batches);
    weft_counter_set(weft_edge_counters(self->edge), WEFT_EDGE_WAITING_BYTES, (uint64_t) self->bytes);
}

// ---- sync

static void s_request_free(void *body)
{
    struct weft_sync_request *request = body;
    if (request == NULL) return;
    for (size_t i = 0; i < request->job_count; i++) weft_log_sync_drop(&request->jobs[i].sync);
    free(request);
}

static void s_sync(weft_spool_t *self)
{
    if (!self->any_dirty || self->syncs_in_flight > 0) return;
    struct weft_sync_request *request = weft_calloc(1, sizeof *request + self->count * sizeof request->jobs[0]);
    self->any_dirty = false;
    for (size_t i = 0; i < self->count; i++) {
        struct weft_spooled *one = self->logs[i];
        struct weft_sync_job *job = &request->jobs[request->job_count];
        if (!one->dirty) continue;
        one->dirty = false;
        if (weft_log_broken(one->log) || !weft_log_sync_begin(one->log, &job->sync)) continue;
        job->topic = one->topic_id;
        job->partition = one->partition;
        job->owner = one;
        request->job_count++;
        one->dirty = weft_log_dirty(one->log);
        self->any_dirty |= one->dirty;
    }
    if (request->job_count == 0) {
        s_request_free(request);
        return;
    }
    self->syncs_in_flight++;
    const struct weft_mail mail = {.kind = WEFT_MAIL_SYNC, .body = request, .body_free = s_request_free};
    self->edge->port.ops->post(self->edge->port.world, self->sync_id, &mail);
}

static void s_answer(struct weft_edge_call *call)
{
    weft_edge_part_t *edge = call->edge;
    const struct weft_edge_asker asker = weft_edge_asker_of(call);
    struct weft_produce_reply reply;
    weft_produce_reply_init(&reply);
    reply.header.id = call->client_id;
    reply.level = weft_slice_text("spooled");
    weft_buf_clear(&edge->reply);
    weft_produce_reply_encode(&reply, &edge->reply);
    if (call->answers) weft_edge_answer(edge, &asker, NULL);
    weft_edge_end(call);
}

// Nothing is answered before what it promises is true.
static void s_answer_synced(struct weft_spooled *one)
{
    int64_t synced = weft_log_synced_end(one->log);
    struct weft_edge_call *call;
    while ((call = one->kept.first) != NULL && call->kept_end <= synced) {
        weft_edge_list_remove(&one->kept, call);
        s_answer(call);
    }
    while (weft_log_broken(one->log) && (call = one->kept.first) != NULL) {
        weft_edge_list_remove(&one->kept, call);
        weft_edge_end_refused(call, WEFT_ERR_DISK_FAILED, "The edge's spool could not be synced.");
    }
}

void weft_spool_synced(weft_spool_t *self, struct weft_sync_request *request)
{
    self->syncs_in_flight--;
    for (size_t i = 0; i < request->job_count; i++) {
        struct weft_spooled *one = request->jobs[i].owner;
        weft_err_t err = weft_log_sync_done(one->log, &request->jobs[i].sync);
        if (err != WEFT_OK) weft_trace(WEFT_TRACE_ERROR, self->name, "spool: a sync failed (%s)", weft_err_name(err));
        s_answer_synced(one);
        if (self->count > S_OPEN_MAX && !weft_log_dirty(one->log)) weft_log_idle(one->log);
    }
    s_request_free(request);
    self->next_us = 0;
}

// ---- turn

static void s_join(weft_spool_t *self)
{
    struct weft_error error = {.text = ""};
    if (self->joined || weft_id_is_zero(self->edge->view.cluster_id)) return;
    self->joined = true;
    if (weft_identity_join(self->identity, self->edge->view.cluster_id, &error) != WEFT_OK)
        weft_trace(WEFT_TRACE_ERROR, self->name, "spool: %s", error.text);
}

int64_t weft_spool_turn(weft_spool_t *self, int64_t now_us, bool kicked)
{
    if (now_us >= self->next_us || kicked) {
        s_join(self);
        self->next_us = WEFT_TIME_NEVER;
        for (size_t i = 0; i < self->count; i++) {
            struct weft_spooled *one = self->logs[i];
            s_place(one);
            int64_t next_us = weft_drain_turn(one, now_us);
            if (next_us < self->next_us) self->next_us = next_us;
        }
        weft_spool_topics_turn(self, now_us);
        weft_spool_count(self);
    }
    s_sync(self);
    return self->next_us;
}

void weft_spool_emptied(struct weft_spooled *self)
{
    while (self->kept.first != NULL) { // delivered before it was synced
        struct weft_edge_call *call = self->kept.first;
        weft_edge_list_remove(&self->kept, call);
        s_answer(call);
    }
    weft_spool_sessions_clear(self);
    self->own_id = -1;
    weft_spool_names_clear(self);
}
