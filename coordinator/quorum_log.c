// SPDX-License-Identifier: MPL-2.0
// A ring of what is kept in memory, over lib/log. Messages to other voters are filled from memory: what is kept is as
// much as lies between two snapshots twice, bounded in bytes by the snapshots (quorum_snapshot.c).
#include "quorum_log.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"

#include <raft.h>
#include <stdlib.h>
#include <string.h>

enum { S_READ_BYTES = 1024 * 1024, S_SEGMENT_BYTES = 8 * 1024 * 1024, S_KEY_BYTES_MAX = 17 };

// ---- memory

static void s_drop_front(weft_quorum_log_t *self)
{
    struct weft_quorum_record *record = &self->records[self->head];
    self->bytes -= record->size;
    free(record->data);
    self->head++;
    self->count--;
    self->first++;
}

static void s_drop_back(weft_quorum_log_t *self)
{
    struct weft_quorum_record *record = &self->records[self->head + self->count - 1];
    self->bytes -= record->size;
    free(record->data);
    self->count--;
}

uint64_t weft_quorum_log_last(const weft_quorum_log_t *self)
{
    return self->first + self->count - 1;
}

const struct weft_quorum_record *weft_quorum_log_get(const weft_quorum_log_t *self, uint64_t index)
{
    if (index < self->first || index >= self->first + self->count) return NULL;
    return &self->records[self->head + (size_t) (index - self->first)];
}

void weft_quorum_log_push(weft_quorum_log_t *self, uint64_t term, uint8_t kind, weft_slice_t data)
{
    if (self->head + self->count == self->capacity) {
        if (self->count * 2 >= self->capacity) {
            self->capacity = self->capacity ? self->capacity * 2 : 64;
            self->records = weft_realloc(self->records, self->capacity * sizeof *self->records);
        }
        memmove(self->records, self->records + self->head, self->count * sizeof *self->records);
        self->head = 0;
    }
    uint8_t *copy = weft_alloc(data.size);
    if (data.size) memcpy(copy, data.data, data.size);
    self->records[self->head + self->count++] =
        (struct weft_quorum_record){.term = term, .kind = kind, .data = copy, .size = data.size};
    self->bytes += data.size;
}

void weft_quorum_log_pop(weft_quorum_log_t *self)
{
    weft_assert(self->count && weft_quorum_log_written(self) < weft_quorum_log_last(self));
    s_drop_back(self);
}

// ---- disk

uint64_t weft_quorum_log_written(const weft_quorum_log_t *self)
{
    return (uint64_t) weft_log_end(self->log);
}

uint64_t weft_quorum_log_durable(const weft_quorum_log_t *self)
{
    return (uint64_t) weft_log_synced_end(self->log);
}

static weft_slice_t s_key(const weft_quorum_log_t *self, uint8_t kind, uint8_t key[S_KEY_BYTES_MAX])
{
    if (kind == RAFT_COMMAND) return WEFT_SLICE_NIL;
    key[0] = kind == RAFT_CHANGE ? 'c' : 'b';
    memcpy(key + 1, self->cluster.bytes, 16);
    return weft_slice(key, kind == RAFT_CHANGE ? S_KEY_BYTES_MAX : 1);
}

static weft_err_t s_write(weft_quorum_log_t *self, const struct weft_quorum_record *record, int64_t wall_ms)
{
    uint8_t key[S_KEY_BYTES_MAX];
    weft_batch_builder_reset(&self->builder);
    weft_batch_builder_add(&self->builder, wall_ms, s_key(self, record->kind, key),
                           weft_slice(record->data, record->size), WEFT_SLICE_NIL);
    weft_buf_clear(&self->batch);
    weft_err_t err = weft_batch_builder_finish(&self->builder, WEFT_CODEC_NONE, -1, 0, 0, &self->batch);
    struct weft_batch batch;
    if (!err) err = weft_batch_read(weft_buf_slice(&self->batch), &batch);
    if (err) return err;
    batch.base_offset = weft_log_end(self->log);
    batch.leader_epoch = (int32_t) record->term;
    weft_batch_write_header(self->batch.data, &batch);
    weft_batch_seal(self->batch.data, self->batch.size);
    err = weft_batch_read(weft_buf_slice(&self->batch), &batch); // with its CRC
    bool rolled = false;
    return err ? err : weft_log_append(self->log, weft_buf_slice(&self->batch), WEFT_SLICE_NIL, &batch, &rolled);
}

weft_err_t weft_quorum_log_flush(weft_quorum_log_t *self, int64_t wall_ms)
{
    weft_err_t err = WEFT_OK;
    while (!err && weft_quorum_log_written(self) < weft_quorum_log_last(self))
        err = s_write(self, weft_quorum_log_get(self, weft_quorum_log_written(self) + 1), wall_ms);
    return err;
}

weft_err_t weft_quorum_log_truncate(weft_quorum_log_t *self, uint64_t index)
{
    weft_assert(index >= self->first);
    while (self->count && weft_quorum_log_last(self) >= index) s_drop_back(self);
    if (weft_quorum_log_written(self) < index) return WEFT_OK;
    return weft_log_truncate(self->log, (int64_t) index - 1);
}

weft_err_t weft_quorum_log_trim(weft_quorum_log_t *self, uint64_t index)
{
    while (self->count && self->first < index) s_drop_front(self);
    int64_t offset = (int64_t) self->first - 1;
    if (offset <= weft_log_start(self->log) || offset > weft_log_end(self->log)) return WEFT_OK;
    return weft_log_trim(self->log, offset);
}

weft_err_t weft_quorum_log_reset(weft_quorum_log_t *self, uint64_t index)
{
    while (self->count) s_drop_back(self);
    self->head = 0;
    self->first = index + 1;
    return weft_log_reset(self->log, (int64_t) index);
}

weft_err_t weft_quorum_log_sync(weft_quorum_log_t *self)
{
    while (weft_log_dirty(self->log)) {
        struct weft_log_sync job;
        if (!weft_log_sync_begin(self->log, &job)) break;
        weft_log_sync_run(&job);
        weft_err_t err = weft_log_sync_done(self->log, &job);
        if (err) return err;
    }
    return WEFT_OK;
}

// ---- start

static weft_err_t s_damaged(const char *path, int64_t offset, struct weft_error *error)
{
    return weft_error_set(
        error, WEFT_ERR_DAMAGED,
        "%s is damaged at offset %lld; look at it with weft log verify; with other voters alive remove "
        "this one and add it with an empty directory, else put back a copy of the whole data directory",
        path, (long long) offset);
}

// One entry a batch, of a kind that is known.
static bool s_load_batch(weft_quorum_log_t *self, weft_slice_t bytes, size_t *used)
{
    struct weft_batch batch;
    if (weft_batch_verify(bytes, &batch) != WEFT_OK) return false;
    *used = weft_batch_bytes(&batch);
    if (weft_batch_codec(&batch) != WEFT_CODEC_NONE || batch.count != 1 || batch.leader_epoch <= 0 ||
        (uint64_t) batch.base_offset != weft_quorum_log_last(self))
        return false;
    weft_record_iter_t iter;
    struct weft_record record;
    weft_record_iter_init(&iter, weft_slice(bytes.data + WEFT_BATCH_HEADER_BYTES, batch.payload_bytes));
    if (!weft_record_iter_next(&iter, &record, NULL) || !record.value.data) return false;
    uint8_t kind = RAFT_COMMAND;
    if (record.key.data) {
        if (record.key.size == 1 && record.key.data[0] == 'b')
            kind = RAFT_BARRIER;
        else if (record.key.size == S_KEY_BYTES_MAX && record.key.data[0] == 'c')
            kind = RAFT_CHANGE;
        else
            return false;
    }
    if (kind == RAFT_CHANGE) memcpy(self->cluster.bytes, record.key.data + 1, 16);
    weft_quorum_log_push(self, (uint64_t) batch.leader_epoch, kind, record.value);
    return true;
}

static weft_err_t s_load(weft_quorum_log_t *self, const char *path, struct weft_error *error)
{
    int64_t end = weft_log_end(self->log);
    self->first = (uint64_t) weft_log_start(self->log) + 1;
    while ((int64_t) weft_quorum_log_last(self) < end) {
        int64_t at = (int64_t) weft_quorum_log_last(self);
        weft_frame_t frame = WEFT_FRAME_EMPTY;
        weft_err_t err = weft_log_read(self->log, at, S_READ_BYTES, true, end, self->pool, &frame);
        if (err)
            return weft_error_set(error, err, "%s can't be read at offset %lld: %s", path, (long long) at,
                                  weft_err_sentence(err));
        weft_slice_t rest = weft_frame_slice(&frame);
        bool good = rest.size > 0;
        while (rest.size && good) {
            size_t used = 0;
            good = s_load_batch(self, rest, &used);
            rest = weft_slice(rest.data + used, rest.size - used);
        }
        weft_frame_drop(&frame);
        if (!good) return s_damaged(path, (int64_t) weft_quorum_log_last(self), error);
    }
    return WEFT_OK;
}

weft_err_t weft_quorum_log_open(weft_quorum_log_t *self, const struct weft_disk *disk, const char *path,
                                int64_t synced_end, const char *name, struct weft_error *error)
{
    static const struct weft_log_config config = {.segment_bytes = S_SEGMENT_BYTES,
                                                  .segment_ms = -1,
                                                  .retention_ms = -1,
                                                  .retention_bytes = -1,
                                                  .index_interval_bytes = 65536};
    *self = (weft_quorum_log_t){.first = 1};
    self->pool = weft_frame_pool_new(S_READ_BYTES, 2);
    weft_batch_builder_init(&self->builder);
    weft_buf_init(&self->batch);
    struct weft_log_recovery recovery = {0};
    weft_err_t err = weft_log_open(disk, path, &config, synced_end, &self->log, &recovery, error);
    if (err) return err;
    if (recovery.cut_bytes)
        weft_trace(WEFT_TRACE_WARN, name, "%s: cut %lld bytes of a torn tail; this voter had acknowledged none of them",
                   path, (long long) recovery.cut_bytes);
    err = weft_quorum_log_sync(self);
    if (err) return weft_error_set(error, err, "%s could not be synced; look at the disk", path);
    return s_load(self, path, error);
}

void weft_quorum_log_fini(weft_quorum_log_t *self)
{
    while (self->count) s_drop_back(self);
    free(self->records);
    weft_log_destroy(&self->log);
    weft_frame_pool_destroy(&self->pool);
    weft_batch_builder_fini(&self->builder);
    weft_buf_fini(&self->batch);
    *self = (weft_quorum_log_t){0};
}
