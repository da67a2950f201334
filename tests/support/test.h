// SPDX-License-Identifier: MPL-2.0
/**
 * What every test program needs: cmocka with its includes in the right order, temporary directories, batches to work
 * with.
 *
 * Helpers fail the running test (cmocka) where they can't do their work; none returns an error.
 */
#ifndef WEFT_TESTS_SUPPORT_TEST_H
#define WEFT_TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../lib/base/disk.h"
#include "../../lib/wire/batch.h"

// Asserts on a weft_err_t; a failure names the error.
#define assert_ok(expression) weft_test_err((expression), WEFT_OK, #expression, __FILE__, __LINE__)
#define assert_err(expression, expected) weft_test_err((expression), (expected), #expression, __FILE__, __LINE__)
void weft_test_err(weft_err_t got, weft_err_t expected, const char *expression, const char *file, int line);

// Asserts that a slice holds exactly these bytes (a C string without its terminator).
#define assert_slice(slice, text) assert_true(weft_slice_is_text((slice), (text)))

// ---- directories

#define WEFT_TEST_PATH_BYTES 512

// Makes a fresh directory under $TMPDIR.
void weft_test_directory_make(char path[WEFT_TEST_PATH_BYTES]);
// Removes it with all in it.
void weft_test_directory_remove(const char *path);
// directory/name; the result lives until the 16th next call: copy what a loop needs.
const char *weft_test_path(const char *directory, const char *name);

// ---- batches

struct weft_test_batch {
    int64_t base_offset;
    int32_t leader_epoch;
    uint32_t count;       // 0 stands for 1
    size_t value_bytes;   // of each record; its value begins with its offset as text, where that fits
    const char *key;      // of all records; NULL: nil
    int64_t timestamp_ms; // of the first record; each later one is 1 ms later
    enum weft_codec codec;
    bool has_producer; // false: producer_id -1
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
};

// A whole batch as a leader stamps it, CRC included, replacing what `out` held (it must be initialised).
void weft_test_batch_make(weft_buf_t *out, const struct weft_test_batch *how);
// The same without the rest: `count` records of `value_bytes`, times from 1000000 + base_offset, no producer.
void weft_test_batch(weft_buf_t *out, int64_t base_offset, int32_t leader_epoch, uint32_t count, size_t value_bytes);

#endif
