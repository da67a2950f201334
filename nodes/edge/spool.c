// SPDX-License-Identifier: MPL-2.0
// Keeping. A batch is checked as a leader would check it, gets an identity if it has none, is appended, synced with all
// that came meanwhile, and answered. Of a session only what may come next is taken: a gap in it would be refused by the
// core later, when nobody is there to hear it. The same batch twice is taken: the core knows.
#include "spool_inner.h"

#include "../../lib/base/assert.h"
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
#define S_OPEN_MAX 256       // with more logs each gives its descriptors back once it is synced
#define S_SESSIONS_MAX 65536 // of one partition; more: it is forgotten what comes next, and anything is taken

static const struct weft_log_config s_log_config = {.segment_bytes = S_SEGMENT_BYTES,
                                                    .segment_ms = -1,
                                                    .retention_ms = -1,
                                                    .retention_bytes = -1,
                                                    .index_interval_bytes = S_INDEX_BYTES};

// ---- sessions

static int32_t s_after(int32_t sequence, uint32_t count)
{
    return (int32_t) (((uint32_t) sequence + count) & 0x7fffffff);
}

// How far `sequence` lies behind `next`, in the ring of sequences: 0 is next, positive a gap.
static int32_t s_ahead(int32_t sequence, int32_t next)
{
    uint32_t distance = ((uint32_t) sequence - (uint32_t) next) & 0x7fffffff;
    return distance < 0x40000000 ? (int32_t) distance : (int32_t) distance - (int32_t) 0x7fffffff - 1;
}

static void s_sessions_clear(struct weft_spooled *self)
{
    void *value;
    for (size_t i = 0; weft_map_next(self->sessions, &i, NULL, &value);) free(value);
    weft_map_destroy(&self->sessions);
    self->sessions = weft_map_new();
}

static struct weft_spool_session *s_session(struct weft_spooled *self, int64_t id, bool *made)
{
    struct weft_spool_session *session = weft_map_get_u64(self->sessions, (uint64_t) id);
    *made = session == NULL;
    if (session != NULL) return session;
    if (weft_map_count(self->sessions) >= S_SESSIONS_MAX) s_sessions_clear(self);
    session = weft_calloc(1, sizeof *session);
    weft_map_put_u64(self->sessions, (uint64_t) id, session);
    return session;
}

static void s_note(struct weft_spooled *self, const struct weft_batch *batch)
{
    bool made;
    struct weft_spool_session *session = s_session(self, batch->producer_id, &made);
    int32_t next = s_after(batch->base_sequence, batch->last_offset_delta + 1);
    if (made || batch->producer_epoch > session->epoch || s_ahead(next, session->next) > 0)
        *session = (struct weft_spool_session){.epoch = batch->producer_epoch, .next = next};
}

// Refused: from now on nothing behind it is taken before it.
static void s_note_refused(struct weft_spooled *self, const struct weft_batch *batch)
{
    bool made;
    if (batch->producer_id < 0) return;
    struct weft_spool_session *session = s_session(self, batch->producer_id, &made);
    if (made) *session = (struct weft_spool_session){.epoch = batch->producer_epoch, .next = batch->base_sequence};
}

static weft_err_t s_check_session(struct weft_spooled *self, const struct weft_batch *batch, struct weft_error *error)
{
    const struct weft_spool_session *session = weft_map_get_u64(self->sessions, (uint64_t) batch->producer_id);
    if (session == NULL || batch->producer_epoch > session->epoch) return WEFT_OK;
    if (batch->producer_epoch < session->epoch)
        return weft_error_set(error, WEFT_ERR_PRODUCER_FENCED,
                              "The edge keeps batches of epoch %d of this producer, and this one is of epoch %d.",
                              (int) session->epoch, (int) batch->producer_epoch);
    if (s_ahead(batch->base_sequence, session->next) > 0)
        return weft_error_set(error, WEFT_ERR_OUT_OF_ORDER_SEQUENCE,
                              "The edge's spool expects sequence %d of this producer, and this batch has %d.",
                              (int) session->next, (int) batch->base_sequence);
    return WEFT_OK;
}

// ---- logs

static weft_err_t s_scanned(void *context, const struct weft_batch *batch)
{
    struct weft_spooled *self = context;
    self->batches++;
    if (batch->producer_id >= 0) s_note(self, batch);
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
    one->spool = self;
    one->topic_id = topic_id;
    one->partition = partition;
    one->sessions = weft_map_new();
    one->own_id = one->flight_id = -1;
    one->position = one->next = weft_log_start(one->log);
    one->read = WEFT_FRAME_EMPTY;
    err = weft_log_scan(one->log, one->position, s_scanned, one);
    if (err != WEFT_OK) weft_trace(WEFT_TRACE_WARN, self->name, "%s/%u: not all could be read", id, partition);
    self->logs = weft_realloc(self->logs, (self->count + 1) * sizeof(void *));
    self->logs[self->count++] = one;
    *out = one;
    return WEFT_OK;
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
    s_sessions_clear(one);
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
    listing->err = listing->spool->disk->ops->list(listing->spool->disk, directory, s_on_partition, listing);
    free(directory);
}

static weft_err_t s_open_all(weft_spool_t *self, const weft_checkpoint_t *checkpoint, struct weft_error *error)
{
    struct s_listing listing = {.spool = self, .checkpoint = checkpoint, .error = error};
    char *directory = weft_spool_path(self, "topics");
    weft_err_t err = self->disk->ops->mkdir(self->disk, directory);
    if (err == WEFT_OK) err = self->disk->ops->list(self->disk, directory, s_on_topic, &listing);
    if (err != WEFT_OK) weft_error_set(error, err, "spool: %s can't be listed: %s", directory, weft_err_sentence(err));
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

// ---- keeping

static struct weft_batch_limits s_limits(const weft_spool_t *self)
{
    return (struct weft_batch_limits){.batch_bytes_max = self->edge->requests.batch_bytes_max,
                                      .record_bytes_max = WEFT_RECORD_BYTES_MAX,
                                      .raw_bytes_max = WEFT_RAW_BYTES_MAX};
}

// What a leader would look into, so that it is refused to the producer and not to nobody.
static weft_err_t s_look_inside(weft_spool_t *self, const struct weft_batch *batch, struct weft_error *error)
{
    weft_slice_t records;
    if (weft_batch_codec(batch) == WEFT_CODEC_NONE) return WEFT_OK;
    weft_buf_clear(&self->packed);
    weft_err_t err = weft_batch_payload(weft_buf_slice(&self->scratch), batch, &self->packed, &records);
    if (err != WEFT_OK) return weft_error_set(error, err, "batch: its payload does not inflate to raw_bytes");
    return weft_batch_check_records(records, batch->count, WEFT_RECORD_BYTES_MAX, error);
}

// The batch of a request, checked, in self->scratch; its state for the stamp.
static weft_err_t s_take(weft_spool_t *self, weft_slice_t data, struct weft_batch *batch, uint32_t *crc_state,
                         struct weft_error *error)
{
    struct weft_batch_limits limits = s_limits(self);
    weft_err_t err = WEFT_OK;
    weft_buf_clear(&self->scratch);
    if (data.size == 0)
        return weft_error_set(error, WEFT_ERR_BAD_BATCH,
                              "The request has no data frame: send one batch, or bare records, behind the header.");
    if (weft_batch_looks_like_batch(data))
        weft_buf_append(&self->scratch, data.data, data.size);
    else
        err = weft_batch_of_bare_records(data, weft_port_wall_ms(&self->edge->port), &limits, &self->scratch, error);
    if (err == WEFT_OK) err = weft_batch_accept(weft_buf_slice(&self->scratch), &limits, batch, crc_state, error);
    if (err != WEFT_OK) return err;
    if (self->scratch.size != weft_batch_bytes(batch))
        return weft_error_set(error, WEFT_ERR_BAD_BATCH, "%zu bytes follow the batch: send one batch in a message.",
                              self->scratch.size - weft_batch_bytes(batch));
    return s_look_inside(self, batch, error);
}

// What came without an identity gets the edge's own, in the batch: it is as durable as that.
static weft_err_t s_name(struct weft_spooled *one, struct weft_batch *batch, uint32_t *crc_state,
                         struct weft_error *error)
{
    weft_spool_t *self = one->spool;
    struct weft_batch_limits limits = s_limits(self);
    if (batch->producer_id >= 0) return WEFT_OK;
    if (one->own_id < 0) {
        one->own_id = (int64_t) (weft_rand_next(&self->rand) >> 1) | 1;
        one->own_next = 0;
    }
    batch->producer_id = one->own_id;
    batch->producer_epoch = 0;
    batch->base_sequence = one->own_next;
    weft_batch_write_header(self->scratch.data, batch);
    weft_batch_seal(self->scratch.data, self->scratch.size);
    return weft_batch_accept(weft_buf_slice(&self->scratch), &limits, batch, crc_state, error);
}

static weft_err_t s_room(struct weft_spooled *one, size_t bytes, struct weft_error *error)
{
    weft_spool_t *self = one->spool;
    if (weft_log_broken(one->log))
        return weft_error_set(error, WEFT_ERR_DISK_FAILED,
                              "A sync of the edge's spool failed; restart it once the disk "
                              "is well.");
    if (self->bytes + (int64_t) bytes > self->bytes_max)
        return weft_error_set(error, WEFT_ERR_OVERLOADED,
                              "The leader can't be reached and the edge's spool is full (`spool.bytes`); come back "
                              "later.");
    bool empty = one->position == weft_log_end(one->log);
    if (self->max_us > 0 && !empty && weft_port_now_us(&self->edge->port) - one->oldest_us > self->max_us)
        return weft_error_set(error, WEFT_ERR_OVERLOADED,
                              "The leader has been away for longer than the edge keeps batches (`spool.max.ms`).");
    return WEFT_OK;
}

static weft_err_t s_append(struct weft_spooled *one, struct weft_batch *batch, uint32_t crc_state,
                           struct weft_error *error)
{
    weft_spool_t *self = one->spool;
    bool rolled, empty = one->position == weft_log_end(one->log);
    weft_batch_stamp(self->scratch.data, weft_log_end(one->log), 0, crc_state, batch);
    weft_err_t err = weft_log_append(one->log, weft_buf_slice(&self->scratch), WEFT_SLICE_NIL, batch, &rolled);
    if (err != WEFT_OK)
        return weft_error_set(error, err, "The edge's spool could not be written: %s", weft_err_sentence(err));
    if (empty) one->oldest_us = weft_port_now_us(&self->edge->port);
    if (batch->producer_id == one->own_id) one->own_next = s_after(one->own_next, batch->last_offset_delta + 1);
    s_note(one, batch);
    one->batches++;
    self->bytes += (int64_t) weft_batch_bytes(batch);
    one->dirty = self->any_dirty = true;
    weft_counter_add(weft_edge_counters(self->edge), WEFT_EDGE_SPOOLED, 1);
    weft_counter_add(weft_edge_counters(self->edge), WEFT_EDGE_SPOOLED_BYTES, weft_batch_bytes(batch));
    return WEFT_OK;
}

static weft_err_t s_keep(struct weft_spooled *one, weft_slice_t data, struct weft_error *error)
{
    struct weft_batch batch = {.producer_id = -1};
    uint32_t crc_state;
    weft_err_t err = s_take(one->spool, data, &batch, &crc_state, error);
    if (err != WEFT_OK) return err;
    err = s_room(one, one->spool->scratch.size, error);
    if (err == WEFT_OK && batch.producer_id >= 0) err = s_check_session(one, &batch, error);
    const struct weft_batch asked = batch;
    if (err == WEFT_OK) err = s_name(one, &batch, &crc_state, error);
    if (err == WEFT_OK) err = s_append(one, &batch, crc_state, error);
    if (err != WEFT_OK) s_note_refused(one, &asked);
    return err;
}

void weft_spool_keep(weft_spool_t *self, struct weft_edge_lane *lane, struct weft_edge_call *call)
{
    struct weft_error error = {.text = ""};
    weft_err_t err = WEFT_OK;
    if (lane->spool == NULL) err = weft_spool_open(self, lane->topic_id, lane->partition, 0, &lane->spool, &error);
    if (err == WEFT_OK) {
        lane->spool->lane = lane;
        weft_slice_t data = call->call.data != NULL ? weft_shared_slice(call->call.data) : WEFT_SLICE_NIL;
        err = s_keep(lane->spool, data, &error);
    }
    if (err != WEFT_OK) {
        weft_counter_add(weft_edge_counters(self->edge), WEFT_EDGE_SPOOL_REFUSED, 1);
        weft_edge_end_refused(call, (int) err < 0 ? WEFT_ERR_DISK_FAILED : err, error.text);
        return;
    }
    self->next_us = 0;
    weft_requests_cancel(&self->edge->requests, &call->call);
    call->state = WEFT_EDGE_KEPT;
    call->kept_end = weft_log_end(lane->spool->log);
    weft_edge_list_add(&lane->spool->kept, call);
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
    s_sessions_clear(self);
    self->own_id = -1;
    weft_spool_names_clear(self);
}
