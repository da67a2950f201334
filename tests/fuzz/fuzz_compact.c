// SPDX-License-Identifier: MPL-2.0
// Compaction of whatever a log may hold, in two ways. A payload from the input behind a good header: what is left of it is a batch that
// reads to its count, of records that were there, at their offsets and times, and filtering that again changes nothing. And a directory in
// which a swap is under way, its files edited by the input: a start refuses with a sentence or gives a log that reads to its end and can be
// compacted.
#include "../../lib/testing/crash_disk.h"
#include "lib/base/assert.h"
#include "lib/base/trace.h"
#include "lib/log/compact_filter.h"
#include "tests/support/test.h"

#include "lib/base/crc32c.h"
#include "lib/log/layout.h"

#include <string.h>

#define DIRECTORY "data/topic/0"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t s_number(const uint8_t **at, const uint8_t *end, int bytes)
{
    uint32_t number = 0;
    for (; bytes > 0 && *at < end; bytes--) number = number << 8 | *(*at)++;
    return number;
}

// ---- one batch

// The records of `part` stand in `whole`, at the same offsets and times.
static void s_is_part(weft_slice_t part_bytes, const struct weft_batch *part, weft_slice_t whole_bytes,
                      const struct weft_batch *whole)
{
    weft_record_iter_t left, all;
    struct weft_record a, b;
    bool bad = false;
    uint32_t count = 0;
    weft_buf_t scratch;
    weft_slice_t payload, whole_payload;
    weft_buf_init(&scratch);
    weft_assert(weft_batch_payload(part_bytes, part, &scratch, &payload) == WEFT_OK);
    weft_assert(weft_batch_payload(whole_bytes, whole, NULL, &whole_payload) == WEFT_OK); // never packed
    weft_record_iter_init(&left, payload);
    weft_record_iter_init(&all, whole_payload);
    for (; weft_record_iter_next(&left, &a, &bad); count++) {
        do {
            weft_assert(weft_record_iter_next(&all, &b, NULL));
        } while (b.offset_delta < a.offset_delta);
        int64_t time = weft_record_timestamp_ms(whole, &b);
        bool far = time < INT64_MIN / 2 || time > INT64_MAX / 2; // saturates
        weft_assert(a.offset_delta == b.offset_delta && (far || weft_record_timestamp_ms(part, &a) == time));
        weft_assert(weft_slice_equal(a.key, b.key) && weft_slice_equal(a.value, b.value));
        weft_assert(weft_slice_equal(a.headers, b.headers));
    }
    weft_assert(!bad && count == part->count && part->base_offset == whole->base_offset &&
                part->last_offset_delta == whole->last_offset_delta);
    weft_buf_fini(&scratch);
}

static uint32_t s_count(weft_slice_t payload, uint32_t *span)
{
    weft_record_iter_t iter;
    struct weft_record record;
    uint32_t count = 0;
    *span = 1;
    weft_record_iter_init(&iter, payload);
    for (; weft_record_iter_next(&iter, &record, NULL); count++) *span = (uint32_t) record.offset_delta + 1;
    return count;
}

static void s_filter(const uint8_t *at, const uint8_t *end)
{
    struct weft_compact_session session = {7, 0};
    struct weft_compact_rule rule = {.now_ms = 1000000, .horizon_ms = 1001000, .sessions = &session};
    struct weft_compact_filter filter;
    enum weft_compact_verdict verdict;
    struct weft_batch batch = {.base_offset = 100, .format = WEFT_BATCH_FORMAT};
    weft_buf_t bytes;
    int64_t full;
    uint32_t span, flags = s_number(&at, end, 1);
    rule.session_count = flags & 1;
    batch.producer_id = flags & 2 ? 7 : -1;
    if (flags & 4) batch.attributes = WEFT_BATCH_ATTR_DELETE_HORIZON;
    if (flags & 8) batch.attributes |= WEFT_BATCH_ATTR_LOG_APPEND_TIME;
    rule.tombstones_limit = flags & 16 ? INT64_MAX : 100 + s_number(&at, end, 1);
    batch.base_timestamp_ms = flags & 32 ? 1000001 : 999999;
    batch.max_timestamp_ms = batch.base_timestamp_ms;
    weft_compact_map_init(&rule.map, flags & 64 ? 200 : 1 << 16, 1);
    weft_slice_t payload = weft_slice(at, (size_t) (end - at));
    batch.count = s_count(payload, &span);
    batch.last_offset_delta = span - 1 + (flags >> 7);
    batch.raw_bytes = batch.payload_bytes = (uint32_t) payload.size;
    weft_buf_init(&bytes);
    weft_buf_reserve(&bytes, weft_batch_bytes(&batch));
    weft_batch_write_header(bytes.data, &batch);
    bytes.size = WEFT_BATCH_HEADER_BYTES;
    if (payload.size) weft_buf_append(&bytes, payload.data, payload.size);
    weft_batch_seal(bytes.data, bytes.size);
    weft_assert(weft_batch_verify(weft_buf_slice(&bytes), &batch) == WEFT_OK);

    weft_compact_filter_init(&filter, &rule);
    weft_err_t err = weft_compact_map_batch(&rule.map, weft_buf_slice(&bytes), &batch, 100, &filter.inflated, &full);
    rule.end = full < 0 ? INT64_MAX : full;
    if (!err) err = weft_compact_filter_batch(&filter, weft_buf_slice(&bytes), &batch, &verdict);
    weft_assert(!err || err == WEFT_ERR_DAMAGED);
    if (!err && verdict == WEFT_COMPACT_CHANGED) {
        weft_buf_t first = filter.out; // taken over: the filter makes another
        struct weft_batch changed = filter.batch;
        weft_buf_init(&filter.out);
        s_is_part(weft_buf_slice(&first), &changed, weft_buf_slice(&bytes), &batch);
        err = weft_compact_filter_batch(&filter, weft_buf_slice(&first), &changed, &verdict);
        weft_assert(!err && verdict == WEFT_COMPACT_SAME);
        weft_buf_fini(&first);
    }
    weft_compact_filter_fini(&filter);
    weft_compact_map_fini(&rule.map);
    weft_buf_fini(&bytes);
}

// ---- a directory

static const struct weft_log_config s_config = {
    .segment_bytes = 600, .segment_ms = -1, .retention_ms = -1, .retention_bytes = -1, .index_interval_bytes = 100};

static const char *const s_files[] = {DIRECTORY "/swap",
                                      DIRECTORY "/compacted",
                                      DIRECTORY "/00000000000000000000.compact",
                                      DIRECTORY "/00000000000000000000.compact-index",
                                      DIRECTORY "/00000000000000000000.log",
                                      DIRECTORY "/00000000000000000000.index",
                                      DIRECTORY "/00000000000000000004.log",
                                      DIRECTORY "/00000000000000000004.index"};

static void s_append(weft_log_t *log, const char *key)
{
    const struct weft_test_batch how = {
        .base_offset = weft_log_end(log), .leader_epoch = 1, .count = 2, .value_bytes = 60, .key = key};
    weft_buf_t bytes;
    struct weft_batch batch;
    bool rolled;
    weft_buf_init(&bytes);
    weft_test_batch_make(&bytes, &how);
    weft_assert(weft_batch_read(weft_buf_slice(&bytes), &batch) == WEFT_OK);
    (void) !weft_log_append(log, weft_buf_slice(&bytes), WEFT_SLICE_NIL, &batch, &rolled);
    weft_buf_fini(&bytes);
}

static void s_write(const struct weft_disk *disk, const char *path, weft_slice_t bytes, int64_t position)
{
    weft_file_t *file;
    weft_assert(disk->ops->open(disk, path, WEFT_OPEN_CREATE, &file) == WEFT_OK);
    if (bytes.size) weft_assert(disk->ops->pwritev(file, &bytes, 1, position) == WEFT_OK);
    disk->ops->close(&file);
}

// Segments 0, 4 and more, and a swap that makes one of the first two.
static void s_make(weft_crash_disk_t *crash)
{
    const struct weft_disk *disk = weft_crash_disk_of(crash);
    weft_log_t *log;
    uint8_t swap[48];
    weft_assert(weft_log_open(disk, DIRECTORY, &s_config, 0, &log, NULL, NULL) == WEFT_OK);
    for (int i = 0; i < 8; i++) s_append(log, i % 2 ? "a" : "b");
    weft_log_destroy(&log);
    weft_buf_t merged;
    weft_buf_init(&merged);
    for (int i = 4; i <= 6; i += 2) {
        weft_slice_t bytes = weft_crash_disk_peek(crash, s_files[i]);
        weft_buf_append(&merged, bytes.data, bytes.size);
    }
    s_write(disk, s_files[2], weft_buf_slice(&merged), 0);
    weft_buf_fini(&merged);
    weft_put_u32(swap, 1);
    weft_put_u64(swap + 4, 8);
    weft_put_u64(swap + 12, 3);
    weft_put_u32(swap + 20, 1);
    weft_put_u64(swap + 24, 0);
    weft_put_u32(swap + 32, 1);
    weft_put_u64(swap + 36, 4);
    weft_put_u32(swap + 44, weft_crc32c(0, swap, 44));
    s_write(disk, s_files[0], weft_slice(swap, sizeof swap), 0);
}

// One edit: [file and kind][position][count][bytes]. A checksum at its end is made right now and then.
static void s_edit(weft_crash_disk_t *crash, const uint8_t **at, const uint8_t *end)
{
    const struct weft_disk *disk = weft_crash_disk_of(crash);
    uint32_t what = s_number(at, end, 1), position = s_number(at, end, 1), count = s_number(at, end, 1);
    const char *path = s_files[what % (sizeof s_files / sizeof *s_files)];
    if (count > (size_t) (end - *at)) count = (uint32_t) (end - *at);
    if (what >= 224) {
        (void) !disk->ops->unlink(disk, path);
        return;
    }
    s_write(disk, path, weft_slice(*at, count), position);
    *at += count;
    weft_slice_t bytes = weft_crash_disk_peek(crash, path);
    uint8_t crc[4];
    if (what < 64 || bytes.size < 4) return;
    weft_put_u32(crc, weft_crc32c(0, bytes.data, bytes.size - 4));
    s_write(disk, path, weft_slice(crc, 4), (int64_t) bytes.size - 4);
}

static void s_compact(weft_log_t *log)
{
    const struct weft_compact_wish wish = {
        .limit = INT64_MAX, .now_ms = 1, .tombstones_limit = INT64_MAX, .memory_bytes = 4096};
    struct weft_compact_report report;
    weft_compact_t *job;
    bool more = true, rolled;
    size_t moved;
    weft_assert(weft_log_roll_due(log, 0, true, &rolled) == WEFT_OK);
    struct weft_log_sync sync;
    while (weft_log_sync_begin(log, &sync)) {
        weft_log_sync_run(&sync);
        weft_assert(weft_log_sync_done(log, &sync) == WEFT_OK);
    }
    if (!weft_log_compact_begin(log, &wish, &job)) return;
    while (more) (void) !weft_compact_step(job, 1000, &more, &moved);
    weft_err_t err = weft_log_compact_done(log, &job, &report);
    weft_assert(!err || err == WEFT_ERR_DAMAGED);
}

static weft_err_t s_each(void *context, const struct weft_batch *batch)
{
    int64_t *next = context;
    weft_assert(batch->base_offset <= *next && weft_batch_next_offset(batch) > *next);
    *next = weft_batch_next_offset(batch);
    return WEFT_OK;
}

static void s_directory(const uint8_t *at, const uint8_t *end)
{
    weft_crash_disk_t *crash = weft_crash_disk_new(1);
    const struct weft_disk *disk = weft_crash_disk_of(crash);
    struct weft_error error = {0};
    weft_log_t *log;
    s_make(crash);
    int64_t synced_end = s_number(&at, end, 1) % 20;
    while (at < end) s_edit(crash, &at, end);
    weft_err_t err = weft_log_open(disk, DIRECTORY, &s_config, synced_end, &log, NULL, &error);
    weft_assert(!err || (err == WEFT_ERR_DAMAGED && error.text[0]));
    if (!err) {
        int64_t next = weft_log_start(log);
        weft_log_check(log);
        weft_assert(weft_crash_disk_peek(crash, s_files[0]).data == NULL); // the swap is done
        err = weft_log_scan(log, next, s_each, &next);
        weft_assert(!err || err == WEFT_ERR_DAMAGED);
        if (!err) s_append(log, "a");
        s_compact(log);
        weft_log_check(log);
        weft_log_destroy(&log);
    }
    weft_crash_disk_destroy(&crash);
}

static void s_silence(void *context, enum weft_trace_level level, const char *source, const char *line) {}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weft_trace_sink_set(s_silence, NULL);
    if (size == 0) return 0;
    if (data[0] & 1)
        s_filter(data + 1, data + size);
    else
        s_directory(data + 1, data + size);
    return 0;
}
