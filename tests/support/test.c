// SPDX-License-Identifier: MPL-2.0
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void weft_test_err(weft_err_t got, weft_err_t expected, const char *expression, const char *file, int line)
{
    if (got == expected) return;
    print_error("%s\n    gave %s (%d) instead of %s (%d)\n", expression, weft_err_name(got), (int) got,
                weft_err_name(expected), (int) expected);
    _fail(file, line);
}

// ---- directories

void weft_test_directory_make(char path[WEFT_TEST_PATH_BYTES])
{
    const char *parent = getenv("TMPDIR");
    int size = snprintf(path, WEFT_TEST_PATH_BYTES, "%s/weft-test-XXXXXX", parent && *parent ? parent : "/tmp");
    assert_true(size > 0 && size < WEFT_TEST_PATH_BYTES);
    assert_non_null(mkdtemp(path));
}

void weft_test_directory_remove(const char *path)
{
    assert_ok(weft_disk_remove_tree(weft_disk_posix(), path));
}

const char *weft_test_path(const char *directory, const char *name)
{
    static char paths[16][WEFT_TEST_PATH_BYTES];
    static unsigned turn;
    char *path = paths[turn++ % 16];
    int size = snprintf(path, WEFT_TEST_PATH_BYTES, "%s/%s", directory, name);
    assert_true(size > 0 && size < WEFT_TEST_PATH_BYTES);
    return path;
}

// ---- batches

static void s_fill_value(uint8_t *value, size_t bytes, int64_t offset)
{
    memset(value, 'x', bytes);
    char text[32];
    size_t size = (size_t) snprintf(text, sizeof text, "%lld:", (long long) offset);
    if (size <= bytes) memcpy(value, text, size);
}

void weft_test_batch_make(weft_buf_t *out, const struct weft_test_batch *how)
{
    weft_batch_builder_t builder;
    weft_batch_builder_init(&builder);
    uint8_t *value = weft_alloc(how->value_bytes);
    uint32_t count = how->count ? how->count : 1;
    for (uint32_t i = 0; i < count; i++) {
        s_fill_value(value, how->value_bytes, how->base_offset + i);
        weft_batch_builder_add(&builder, how->timestamp_ms + i, weft_slice_text(how->key),
                               weft_slice(value, how->value_bytes), WEFT_SLICE_NIL);
    }
    free(value);
    int64_t producer_id = how->has_producer ? how->producer_id : -1;
    int16_t producer_epoch = how->has_producer ? how->producer_epoch : -1;
    int32_t base_sequence = how->has_producer ? how->base_sequence : -1;
    assert_ok(weft_batch_builder_finish(&builder, how->codec, producer_id, producer_epoch, base_sequence, out));
    weft_batch_builder_fini(&builder);

    const struct weft_batch_limits limits = {UINT32_MAX, UINT32_MAX, UINT32_MAX};
    struct weft_batch batch;
    struct weft_error error;
    uint32_t crc_state;
    assert_ok(weft_batch_accept(weft_buf_slice(out), &limits, &batch, &crc_state, &error));
    weft_batch_stamp(out->data, how->base_offset, how->leader_epoch, crc_state, &batch);
}

void weft_test_batch(weft_buf_t *out, int64_t base_offset, int32_t leader_epoch, uint32_t count, size_t value_bytes)
{
    weft_test_batch_make(out, &(struct weft_test_batch){
                                  .base_offset = base_offset,
                                  .leader_epoch = leader_epoch,
                                  .count = count,
                                  .value_bytes = value_bytes,
                                  .timestamp_ms = 1000000 + base_offset,
                              });
}
