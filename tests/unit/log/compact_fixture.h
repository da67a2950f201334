// SPDX-License-Identifier: MPL-2.0
/**
 * A log in a crash disk beside the records that were appended to it, and what compaction must leave of them: below the mark
 * `compacted` exactly the newest of each key and all without one; tombstones until their time is up; every offset covered once.
 */
#ifndef WEFT_TESTS_COMPACT_FIXTURE_H
#define WEFT_TESTS_COMPACT_FIXTURE_H

#include "../../../lib/log/compact.h"
#include "log_fixture.h"

#define NO_KEY (-1)

/** What is appended. */
struct item {
    int key; // NO_KEY: nil
    bool tombstone;
};

/** What was. */
struct kept {
    int64_t offset, timestamp_ms;
    struct item item;
    bool gone; // a tombstone that was removed
};

struct sent {
    int64_t base, end, producer;
    int32_t sequence;
};

struct compact_fixture {
    struct fixture log;
    struct kept *records;
    size_t record_count, record_capacity;
    struct sent *batches;
    size_t batch_count, batch_capacity;
    int32_t epoch;
    int64_t now_ms;
    int32_t sequences[8]; // by producer
    size_t memory_bytes;
    int64_t delete_retention_ms, lag_ms, limit, tombstones_limit;
    size_t window;   // batches that a session remembers
    int64_t from[8]; // what runs were told of that, by producer: after a truncation it is from further back
    struct weft_compact_report report;
};

static inline int compact_setup(void **state)
{
    struct compact_fixture *self = calloc(1, sizeof *self);
    void *log;
    fixture_setup(&log);
    self->log = *(struct fixture *) log;
    free(log);
    self->epoch = 1;
    self->now_ms = 1000000;
    self->memory_bytes = 1 << 20;
    self->delete_retention_ms = 1000;
    self->limit = self->tombstones_limit = INT64_MAX;
    self->window = 2;
    self->log.config.segment_bytes = 2000;
    self->log.config.index_interval_bytes = 200;
    weft_log_configure(self->log.log, &self->log.config);
    *state = self;
    return 0;
}

static inline int compact_teardown(void **state)
{
    struct compact_fixture *self = *state;
    weft_log_destroy(&self->log.log);
    weft_frame_pool_destroy(&self->log.pool);
    weft_crash_disk_destroy(&self->log.crash);
    free(self->records);
    free(self->batches);
    free(self);
    return 0;
}

static inline size_t compact_value(const struct kept *record, char text[64])
{
    return (size_t) snprintf(text, 64, "value %lld of key %d, as it was written", (long long) record->offset,
                             record->item.key);
}

static inline weft_slice_t compact_key(int key, char text[24])
{
    if (key == NO_KEY) return WEFT_SLICE_NIL;
    return weft_slice(text, (size_t) snprintf(text, 24, "key-%d", key));
}

static inline void compact_note(struct compact_fixture *self, const struct kept *record)
{
    if (self->record_count == self->record_capacity) {
        self->record_capacity = self->record_capacity ? 2 * self->record_capacity : 64;
        self->records = realloc(self->records, self->record_capacity * sizeof *self->records);
    }
    self->records[self->record_count++] = *record;
}

static inline void compact_note_batch(struct compact_fixture *self, const struct weft_batch *batch)
{
    if (self->batch_count == self->batch_capacity) {
        self->batch_capacity = self->batch_capacity ? 2 * self->batch_capacity : 64;
        self->batches = realloc(self->batches, self->batch_capacity * sizeof *self->batches);
    }
    self->batches[self->batch_count++] =
        (struct sent){batch->base_offset, weft_batch_next_offset(batch), batch->producer_id, batch->base_sequence};
}

// One batch; producer -1: none. An error leaves the model as it was.
static inline weft_err_t compact_try_append(struct compact_fixture *self, const struct item *items, size_t count,
                                            enum weft_codec codec, int64_t producer)
{
    weft_batch_builder_t builder;
    weft_buf_t bytes;
    struct weft_batch batch;
    struct kept made[64];
    char key[24], value[64];
    bool rolled;
    weft_buf_init(&bytes);
    weft_batch_builder_init(&builder);
    assert_true(count <= 64);
    for (size_t i = 0; i < count; i++) {
        made[i] = (struct kept){.offset = weft_log_end(self->log.log) + (int64_t) i,
                                .timestamp_ms = self->now_ms + (int64_t) i * 7,
                                .item = items[i]};
        weft_slice_t text = weft_slice(value, compact_value(&made[i], value));
        weft_batch_builder_add(&builder, made[i].timestamp_ms, compact_key(items[i].key, key),
                               items[i].tombstone ? WEFT_SLICE_NIL : text, WEFT_SLICE_NIL);
    }
    assert_ok(weft_batch_builder_finish(&builder, codec, producer, producer < 0 ? -1 : 0,
                                        producer < 0 ? -1 : self->sequences[producer], &bytes));
    assert_ok(weft_batch_read(weft_buf_slice(&bytes), &batch));
    batch.base_offset = weft_log_end(self->log.log);
    batch.leader_epoch = self->epoch;
    weft_batch_write_header(bytes.data, &batch);
    weft_batch_seal(bytes.data, bytes.size);
    assert_ok(weft_batch_verify(weft_buf_slice(&bytes), &batch));
    weft_err_t err = weft_log_append(self->log.log, weft_buf_slice(&bytes), WEFT_SLICE_NIL, &batch, &rolled);
    if (!err) {
        for (size_t i = 0; i < count; i++) compact_note(self, &made[i]);
        compact_note_batch(self, &batch);
        if (producer >= 0) self->sequences[producer] += (int32_t) count;
    }
    weft_batch_builder_fini(&builder);
    weft_buf_fini(&bytes);
    return err;
}

static inline void compact_append(struct compact_fixture *self, const struct item *items, size_t count)
{
    assert_ok(compact_try_append(self, items, count, WEFT_CODEC_NONE, -1));
}

// A batch of one record.
static inline void compact_put(struct compact_fixture *self, int key)
{
    compact_append(self, &(struct item){.key = key}, 1);
}

static inline void compact_remove(struct compact_fixture *self, int key)
{
    compact_append(self, &(struct item){.key = key, .tombstone = true}, 1);
}

static inline void compact_roll(struct compact_fixture *self)
{
    bool rolled;
    assert_ok(weft_log_roll_due(self->log.log, self->now_ms, true, &rolled));
    fixture_sync(&self->log);
}

// From which batch on the session of a producer remembers.
static inline int64_t compact_remembered(const struct compact_fixture *self, int64_t producer)
{
    size_t left = self->window;
    for (size_t i = self->batch_count; i > 0; i--)
        if (self->batches[i - 1].producer == producer && --left == 0) return self->batches[i - 1].base;
    return 0;
}

static inline bool compact_begin(struct compact_fixture *self, weft_compact_t **job)
{
    struct weft_compact_session sessions[8];
    for (size_t i = 0; i < 8; i++) {
        sessions[i] = (struct weft_compact_session){7 - (int64_t) i, compact_remembered(self, 7 - (int64_t) i)};
        if (sessions[i].from_offset > self->from[7 - i]) self->from[7 - i] = sessions[i].from_offset;
    }
    const struct weft_compact_wish wish = {.limit = self->limit,
                                           .now_ms = self->now_ms,
                                           .lag_ms = self->lag_ms,
                                           .delete_retention_ms = self->delete_retention_ms,
                                           .tombstones_limit = self->tombstones_limit,
                                           .memory_bytes = self->memory_bytes,
                                           .seed = 42,
                                           .sessions = sessions,
                                           .session_count = 8};
    return weft_log_compact_begin(self->log.log, &wish, job);
}

static inline void compact_run(weft_compact_t *job, size_t step_bytes)
{
    bool more = true;
    size_t moved;
    while (more) (void) !weft_compact_step(job, step_bytes, &more, &moved);
}

// False: there was nothing to work on.
static inline bool compact_all(struct compact_fixture *self)
{
    weft_compact_t *job;
    if (!compact_begin(self, &job)) return false;
    compact_run(job, 700);
    assert_ok(weft_log_compact_done(self->log.log, &job, &self->report));
    assert_true(self->report.swapped);
    return true;
}

static inline void compact_reopen(struct compact_fixture *self, int64_t synced_end)
{
    fixture_reopen(&self->log, synced_end);
}

// ---- what must be there

// The newest record of a key below `end` from `at` on?
static inline bool compact_is_newest(const struct compact_fixture *self, size_t at, int64_t end)
{
    for (size_t i = at + 1; i < self->record_count && self->records[i].offset < end; i++)
        if (self->records[i].item.key == self->records[at].item.key) return false;
    return true;
}

// Goes on to the next record that must stand there, tombstones that may be gone taken out; record_count at the end.
static inline size_t compact_expect(struct compact_fixture *self, size_t at, int64_t found)
{
    int64_t compacted = weft_log_compacted(self->log.log);
    for (; at < self->record_count; at++) {
        struct kept *record = &self->records[at];
        if (record->offset < weft_log_start(self->log.log)) continue;
        if (record->item.key == NO_KEY || record->offset >= compacted) return at;
        if (!compact_is_newest(self, at, compacted)) continue;
        if (!record->item.tombstone) return at;
        if (record->offset == found && !record->gone) return at;
        assert_true(record->offset < weft_log_tombstones_below(self->log.log));
        record->gone = true;
    }
    return at;
}

static inline void compact_check_record(const struct kept *expected, const struct weft_batch *batch,
                                        const struct weft_record *record)
{
    char key[24], value[64];
    weft_slice_t text = weft_slice(value, compact_value(expected, value));
    assert_int_equal(batch->base_offset + record->offset_delta, expected->offset);
    assert_int_equal(weft_record_timestamp_ms(batch, record), expected->timestamp_ms);
    assert_true(weft_slice_equal(record->key, compact_key(expected->item.key, key)));
    assert_true(weft_slice_equal(record->value, expected->item.tombstone ? WEFT_SLICE_NIL : text));
}

// All records of one batch; returns how far the expectation has come.
static inline size_t compact_check_batch(struct compact_fixture *self, weft_slice_t bytes, size_t at)
{
    weft_buf_t scratch;
    weft_slice_t payload;
    struct weft_batch batch;
    weft_record_iter_t iter;
    struct weft_record record;
    bool bad = false;
    uint32_t count = 0;
    weft_buf_init(&scratch);
    assert_ok(weft_batch_verify(bytes, &batch));
    assert_ok(weft_batch_payload(bytes, &batch, &scratch, &payload));
    weft_record_iter_init(&iter, payload);
    while (weft_record_iter_next(&iter, &record, &bad)) {
        count++;
        if (batch.base_offset + record.offset_delta < weft_log_start(self->log.log)) continue;
        at = compact_expect(self, at, batch.base_offset + record.offset_delta);
        if (at == self->record_count)
            fail_msg("offset %lld should not be there", (long long) (batch.base_offset + record.offset_delta));
        compact_check_record(&self->records[at++], &batch, &record);
    }
    assert_false(bad);
    assert_int_equal(count, batch.count);
    weft_buf_fini(&scratch);
    return at;
}

// Reads everything and compares it with what must be left.
static inline void compact_check(struct compact_fixture *self)
{
    int64_t next = weft_log_start(self->log.log);
    size_t at = 0;
    bool first = true;
    weft_log_check(self->log.log);
    while (next < weft_log_end(self->log.log)) {
        weft_frame_t frame;
        assert_ok(weft_log_read(self->log.log, next, 3000, true, INT64_MAX, self->log.pool, &frame));
        assert_true(frame.size > 0);
        weft_slice_t rest = weft_frame_slice(&frame);
        while (rest.size) {
            struct weft_batch batch;
            assert_ok(weft_batch_read(rest, &batch));
            if (!first) assert_int_equal(batch.base_offset, next);
            first = false;
            at = compact_check_batch(self, weft_slice(rest.data, weft_batch_bytes(&batch)), at);
            next = weft_batch_next_offset(&batch);
            rest = weft_slice(rest.data + weft_batch_bytes(&batch), rest.size - weft_batch_bytes(&batch));
        }
        weft_frame_drop(&frame);
    }
    assert_int_equal(next, weft_log_end(self->log.log));
    at = compact_expect(self, at, -1);
    if (at != self->record_count) fail_msg("offset %lld is missing", (long long) self->records[at].offset);
}

/** A walk over the headers. */
struct compact_headers {
    struct compact_fixture *self;
    size_t count, gaps, empty; // empty: without records, with a producer
    size_t at;                 // of the batches sent
    bool remembered_only;
};

static inline weft_err_t compact_on_header(void *context, const struct weft_batch *batch)
{
    struct compact_headers *headers = context;
    headers->count++;
    if (batch->count == 0 && batch->producer_id < 0) headers->gaps++;
    if (batch->count == 0 && batch->producer_id >= 0) headers->empty++;
    return WEFT_OK;
}

static inline struct compact_headers compact_headers(struct compact_fixture *self)
{
    struct compact_headers headers = {.self = self};
    assert_ok(weft_log_scan(self->log.log, weft_log_start(self->log.log), compact_on_header, &headers));
    return headers;
}

static inline weft_err_t compact_on_session(void *context, const struct weft_batch *batch)
{
    struct compact_headers *headers = context;
    const struct compact_fixture *self = headers->self;
    while (headers->at < self->batch_count && self->batches[headers->at].base < batch->base_offset) {
        const struct sent *missed = &self->batches[headers->at++];
        if (missed->base < weft_log_start(self->log.log)) continue;
        if (missed->producer < 0 || missed->base < self->from[missed->producer]) continue;
        assert_true(missed->base < compact_remembered(self, missed->producer));
    }
    if (batch->producer_id < 0) return WEFT_OK;
    const struct sent *sent = &self->batches[headers->at++];
    assert_int_equal(batch->base_offset, sent->base);
    assert_int_equal(weft_batch_next_offset(batch), sent->end);
    assert_int_equal(batch->producer_id, sent->producer);
    assert_int_equal(batch->base_sequence, sent->sequence);
    return WEFT_OK;
}

// A replay gives the sessions that are remembered: no header of theirs is missing or changed.
static inline void compact_check_sessions(struct compact_fixture *self)
{
    struct compact_headers headers = {.self = self};
    assert_ok(weft_log_scan(self->log.log, weft_log_start(self->log.log), compact_on_session, &headers));
}

#endif
