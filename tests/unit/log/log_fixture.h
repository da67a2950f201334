// SPDX-License-Identifier: MPL-2.0
/**
 * A log in a crash disk, for tests that say themselves what happens: one directory, batches of which each has a number of its own.
 */
#ifndef WEFT_TESTS_LOG_FIXTURE_H
#define WEFT_TESTS_LOG_FIXTURE_H

#include "../../../lib/log/log.h"
#include "../../../lib/testing/crash_disk.h"
#include "../../support/test.h"

#include <stdio.h>
#include <string.h>

#define FIXTURE_DIRECTORY "data/topic/0"

struct fixture {
    weft_crash_disk_t *crash;
    const struct weft_disk *disk;
    weft_frame_pool_t *pool;
    weft_log_t *log;
    struct weft_log_config config;
    struct weft_log_recovery recovery;
    struct weft_error error;
};

static inline weft_err_t fixture_try_open(struct fixture *self, int64_t synced_end)
{
    memset(&self->error, 0, sizeof self->error);
    return weft_log_open(self->disk, FIXTURE_DIRECTORY, &self->config, synced_end, &self->log, &self->recovery,
                         &self->error);
}

static inline void fixture_open(struct fixture *self, int64_t synced_end)
{
    weft_err_t err = fixture_try_open(self, synced_end);
    if (err) fail_msg("%s", self->error.text);
}

static inline int fixture_setup(void **state)
{
    struct fixture *self = calloc(1, sizeof *self);
    self->crash = weft_crash_disk_new(1);
    self->disk = weft_crash_disk_of(self->crash);
    self->pool = weft_frame_pool_new(1024 * 1024, 4);
    self->config = (struct weft_log_config){.segment_bytes = 1024 * 1024,
                                            .segment_ms = -1,
                                            .retention_ms = -1,
                                            .retention_bytes = -1,
                                            .index_interval_bytes = 4096};
    fixture_open(self, 0);
    *state = self;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *self = *state;
    weft_log_destroy(&self->log);
    weft_frame_pool_destroy(&self->pool);
    weft_crash_disk_destroy(&self->crash);
    free(self);
    return 0;
}

static inline weft_err_t fixture_try_append(struct fixture *self, int32_t epoch, uint32_t count, size_t value_bytes,
                                            int64_t timestamp_ms, bool *rolled)
{
    struct weft_test_batch how = {.base_offset = weft_log_end(self->log),
                                  .leader_epoch = epoch,
                                  .count = count,
                                  .value_bytes = value_bytes,
                                  .timestamp_ms = timestamp_ms};
    weft_buf_t bytes;
    struct weft_batch batch;
    weft_buf_init(&bytes);
    weft_test_batch_make(&bytes, &how);
    weft_slice_t whole = weft_buf_slice(&bytes);
    assert_ok(weft_batch_read(whole, &batch));
    weft_err_t err = weft_log_append(
        self->log, weft_slice(whole.data, WEFT_BATCH_HEADER_BYTES),
        weft_slice(whole.data + WEFT_BATCH_HEADER_BYTES, whole.size - WEFT_BATCH_HEADER_BYTES), &batch, rolled);
    weft_buf_fini(&bytes);
    return err;
}

// Appends a batch of `count` records; its first is at the log's end.
static inline void fixture_append(struct fixture *self, int32_t epoch, uint32_t count, size_t value_bytes)
{
    bool rolled;
    assert_ok(fixture_try_append(self, epoch, count, value_bytes, 1000 + weft_log_end(self->log), &rolled));
}

static inline void fixture_sync(struct fixture *self)
{
    struct weft_log_sync job;
    while (weft_log_sync_begin(self->log, &job)) {
        weft_log_sync_run(&job);
        assert_ok(weft_log_sync_done(self->log, &job));
    }
}

static inline void fixture_reopen(struct fixture *self, int64_t synced_end)
{
    weft_log_destroy(&self->log);
    fixture_open(self, synced_end);
}

// Reads all from the start, whole batches one after the other. Returns the offset behind the last.
static inline int64_t fixture_read_all(struct fixture *self)
{
    int64_t next = weft_log_start(self->log);
    while (next < weft_log_end(self->log)) {
        weft_frame_t frame;
        assert_ok(weft_log_read(self->log, next, 65536, true, INT64_MAX, self->pool, &frame));
        assert_true(frame.size > 0);
        weft_slice_t rest = weft_frame_slice(&frame);
        while (rest.size) {
            struct weft_batch batch;
            assert_ok(weft_batch_read(rest, &batch));
            assert_ok(weft_batch_verify(weft_slice(rest.data, weft_batch_bytes(&batch)), &batch));
            assert_true(batch.base_offset <= next);
            next = weft_batch_next_offset(&batch);
            rest.data += weft_batch_bytes(&batch);
            rest.size -= weft_batch_bytes(&batch);
        }
        weft_frame_drop(&frame);
    }
    return next;
}

// Changes bytes of a file in the log's directory, as rot would.
static inline void fixture_overwrite(struct fixture *self, const char *name, int64_t position, const char *bytes)
{
    char path[256];
    weft_file_t *file;
    weft_slice_t slice = weft_slice_text(bytes);
    snprintf(path, sizeof path, FIXTURE_DIRECTORY "/%s", name);
    assert_ok(self->disk->ops->open(self->disk, path, WEFT_OPEN_WRITE, &file));
    assert_ok(self->disk->ops->pwritev(file, &slice, 1, position));
    assert_ok(self->disk->ops->sync(file));
    self->disk->ops->close(&file);
}

static inline int64_t fixture_size(struct fixture *self, const char *name)
{
    char path[256];
    weft_file_t *file;
    int64_t bytes;
    snprintf(path, sizeof path, FIXTURE_DIRECTORY "/%s", name);
    if (self->disk->ops->open(self->disk, path, WEFT_OPEN_READ, &file)) return -1;
    assert_ok(self->disk->ops->size(file, &bytes));
    self->disk->ops->close(&file);
    return bytes;
}

static inline void fixture_truncate_file(struct fixture *self, const char *name, int64_t bytes)
{
    char path[256];
    weft_file_t *file;
    snprintf(path, sizeof path, FIXTURE_DIRECTORY "/%s", name);
    assert_ok(self->disk->ops->open(self->disk, path, WEFT_OPEN_WRITE, &file));
    assert_ok(self->disk->ops->truncate(file, bytes));
    assert_ok(self->disk->ops->sync(file));
    self->disk->ops->close(&file);
}

static inline void fixture_unlink(struct fixture *self, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, FIXTURE_DIRECTORY "/%s", name);
    assert_ok(self->disk->ops->unlink(self->disk, path));
}

#endif
