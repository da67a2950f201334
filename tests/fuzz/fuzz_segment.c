// SPDX-License-Identifier: MPL-2.0
// Recovery from a data directory in which anything may stand. A good log of some segments is written, then the input edits its files: overwrites bytes,
// cuts, appends, removes; whole files can come from it as well. Checked beside "no crash": opening either refuses with a sentence or gives a log that
// reads to its end, takes a batch, and is the same when opened again; inspection, checkpoint and identity take any bytes.
#include "../../lib/testing/crash_disk.h"
#include "lib/base/assert.h"
#include "lib/base/trace.h"
#include "lib/log/checkpoint.h"
#include "lib/log/identity.h"
#include "lib/log/inspect.h"
#include "lib/log/log.h"
#include "tests/support/test.h"

#include <string.h>

#define DIRECTORY "data/topic/0"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct weft_log_config s_config = {
    .segment_bytes = 600, .segment_ms = -1, .retention_ms = -1, .retention_bytes = -1, .index_interval_bytes = 100};

static const char *const s_files[] = {DIRECTORY "/00000000000000000000.log",
                                      DIRECTORY "/00000000000000000000.index",
                                      DIRECTORY "/00000000000000000006.log",
                                      DIRECTORY "/00000000000000000006.index",
                                      DIRECTORY "/00000000000000000012.log",
                                      DIRECTORY "/00000000000000000012.index",
                                      DIRECTORY "/epochs",
                                      DIRECTORY "/start",
                                      DIRECTORY "/cut",
                                      DIRECTORY "/00000000000000000012.sessions",
                                      DIRECTORY "/00000000000000000009.log",
                                      "data/checkpoint",
                                      "data/clean",
                                      "data/identity"};

static void s_append(weft_log_t *log, int32_t epoch)
{
    weft_buf_t bytes;
    struct weft_batch batch;
    bool rolled;
    weft_buf_init(&bytes);
    weft_test_batch(&bytes, weft_log_end(log), epoch, 2, 20);
    weft_assert(weft_batch_read(weft_buf_slice(&bytes), &batch) == WEFT_OK);
    weft_assert(weft_log_append(log, weft_buf_slice(&bytes), WEFT_SLICE_NIL, &batch, &rolled) == WEFT_OK);
    weft_buf_fini(&bytes);
}

static void s_make(const struct weft_disk *disk)
{
    weft_log_t *log;
    weft_checkpoint_t *checkpoint;
    weft_identity_t *identity;
    const struct weft_identity_claim claim = {.node = "broker", .node_id = 1};
    weft_assert(weft_identity_open(disk, "data", &claim, &identity, NULL) == WEFT_OK);
    weft_identity_destroy(&identity);
    weft_assert(weft_checkpoint_open(disk, "data", &checkpoint, NULL) == WEFT_OK);
    weft_checkpoint_set(checkpoint, (weft_id_t){{1}}, 0, 14);
    weft_assert(weft_checkpoint_write(checkpoint) == WEFT_OK);
    weft_assert(weft_checkpoint_mark_clean(checkpoint) == WEFT_OK);
    weft_checkpoint_destroy(&checkpoint);
    weft_assert(weft_log_open(disk, DIRECTORY, &s_config, 0, &log, NULL, NULL) == WEFT_OK);
    for (int i = 0; i < 8; i++) s_append(log, i / 3);
    weft_assert(weft_log_snapshot_put(log, 12, weft_slice_text("state")) == WEFT_OK);
    weft_assert(weft_log_trim(log, 1) == WEFT_OK);
    weft_log_destroy(&log);
}

// Takes up to four bytes of the input as a number.
static uint32_t s_number(const uint8_t **at, const uint8_t *end, int bytes)
{
    uint32_t number = 0;
    for (; bytes > 0 && *at < end; bytes--) number = number << 8 | *(*at)++;
    return number;
}

// One edit: [file and kind][position][count][bytes].
static void s_edit(const struct weft_disk *disk, const uint8_t **at, const uint8_t *end)
{
    uint8_t what = (uint8_t) s_number(at, end, 1);
    const char *path = s_files[what % (sizeof s_files / sizeof *s_files)];
    int64_t position = s_number(at, end, 2);
    weft_slice_t bytes = weft_slice(*at, s_number(at, end, 1));
    bytes.data = *at;
    if ((size_t) (end - *at) < bytes.size) bytes.size = (size_t) (end - *at);
    *at += bytes.size;
    weft_file_t *file;
    if (what >= 240) {
        (void) !disk->ops->unlink(disk, path);
        return;
    }
    weft_assert(disk->ops->open(disk, path, WEFT_OPEN_CREATE, &file) == WEFT_OK);
    int64_t size;
    weft_assert(disk->ops->size(file, &size) == WEFT_OK);
    if (what >= 200)
        weft_assert(disk->ops->truncate(file, position % (size + 64)) == WEFT_OK);
    else if (bytes.size)
        weft_assert(disk->ops->pwritev(file, &bytes, 1, position % (size + 1)) == WEFT_OK);
    disk->ops->close(&file);
}

static weft_err_t s_each(void *context, const struct weft_batch *batch)
{
    int64_t *next = context;
    weft_assert(batch->base_offset <= *next && weft_batch_next_offset(batch) > *next);
    *next = weft_batch_next_offset(batch);
    return WEFT_OK;
}

// False: damage below the synced end, which no start looks for, was met on the way.
static bool s_read(weft_log_t *log, weft_frame_pool_t *pool)
{
    int64_t next = weft_log_start(log), offset, time;
    weft_err_t err = weft_log_scan(log, next, s_each, &next);
    weft_assert(!err || err == WEFT_ERR_DAMAGED);
    if (err) return false;
    weft_assert(next == weft_log_end(log));
    for (next = weft_log_start(log); next < weft_log_end(log); next++) {
        weft_frame_t frame;
        err = weft_log_read(log, next, 300, true, INT64_MAX, pool, &frame);
        weft_assert(err == WEFT_OK && frame.size > 0);
        weft_frame_drop(&frame);
        (void) weft_log_bytes_between(log, next, next + 5);
        err = weft_log_offset_by_time(log, 1000000 + next, &offset, &time);
        weft_assert(!err || err == WEFT_ERR_DAMAGED);
        if (next > weft_log_start(log) + 20) break;
    }
    return true;
}

static void s_recover(const struct weft_disk *disk, int64_t synced_end)
{
    struct weft_error error = {0};
    weft_log_t *log;
    weft_frame_pool_t *pool = weft_frame_pool_new(4096, 2);
    weft_err_t err = weft_log_open(disk, DIRECTORY, &s_config, synced_end, &log, NULL, &error);
    if (err) {
        weft_assert(err == WEFT_ERR_DAMAGED && error.text[0]);
        weft_frame_pool_destroy(&pool);
        return;
    }
    weft_log_check(log);
    if (s_read(log, pool) && weft_log_end(log) < INT64_MAX / 4) {
        s_append(log, weft_log_last_epoch(log) < 0 ? 0 : weft_log_last_epoch(log));
        int64_t end = weft_log_end(log), start = weft_log_start(log);
        weft_log_destroy(&log);
        weft_assert(weft_log_open(disk, DIRECTORY, &s_config, synced_end, &log, NULL, &error) == WEFT_OK);
        weft_assert(weft_log_end(log) == end && weft_log_start(log) == start);
        weft_assert(s_read(log, pool));
        (void) !weft_log_truncate(log, start + (end - start) / 2);
        weft_log_check(log);
    }
    weft_log_destroy(&log);
    weft_frame_pool_destroy(&pool);
}

static void s_others(const struct weft_disk *disk)
{
    struct weft_error error;
    weft_checkpoint_t *checkpoint;
    weft_identity_t *identity;
    struct weft_inspect_report report;
    const struct weft_inspect how = {.indexes = true};
    const struct weft_identity_claim claim = {.node = "broker", .node_id = 1};
    bool clean;
    weft_assert(weft_inspect_run(disk, "data", &how, &report, &error) == WEFT_OK);
    if (!weft_checkpoint_open(disk, "data", &checkpoint, &error)) {
        weft_assert(weft_checkpoint_take_clean(checkpoint, &clean) == WEFT_OK);
        weft_checkpoint_set(checkpoint, (weft_id_t){{2}}, 0, 1);
        weft_assert(weft_checkpoint_write(checkpoint) == WEFT_OK);
        weft_checkpoint_destroy(&checkpoint);
    }
    if (!weft_identity_open(disk, "data", &claim, &identity, &error)) weft_identity_destroy(&identity);
}

static void s_silence(void *context, enum weft_trace_level level, const char *source, const char *line) {}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *at = data, *end = data + size;
    weft_trace_sink_set(s_silence, NULL);
    weft_crash_disk_t *crash = weft_crash_disk_new(1);
    const struct weft_disk *disk = weft_crash_disk_of(crash);
    s_make(disk);
    int64_t synced_end = s_number(&at, end, 1) % 20;
    while (at < end) s_edit(disk, &at, end);
    s_others(disk);
    s_recover(disk, synced_end);
    weft_crash_disk_destroy(&crash);
    return 0;
}
