// SPDX-License-Identifier: MPL-2.0
/**
 * Configuration files, for options.c: ZPL (ZeroMQ RFC 4), read with care and handed out as (line, key, value).
 */
#ifndef WEFT_BASE_OPTIONS_FILE_H
#define WEFT_BASE_OPTIONS_FILE_H

#include "bytes.h"

#define WEFT_OPTIONS_FILE_BYTES_MAX (1 << 20)
#define WEFT_OPTIONS_LINE_BYTES_MAX 1000 // zconfig cuts lines at 1023
#define WEFT_OPTIONS_DEPTH_MAX 8

typedef weft_err_t weft_options_pair_fn(void *context, unsigned line, const char *name, const char *value);

/**
 * Calls `pair` for every setting in the order of the file; ends with its first error. A key below another is joined to it with a dot. NOT_FOUND and
 * INVALID_OPTION with a sentence that names file, line and what to do.
 */
WEFT_MUST_USE weft_err_t weft_options_file_read(const char *path, weft_options_pair_fn *pair, void *context,
                                                struct weft_error *error);
// The same from text in memory; `path` only names it.
WEFT_MUST_USE weft_err_t weft_options_file_parse(const char *path, weft_slice_t text, weft_options_pair_fn *pair,
                                                 void *context, struct weft_error *error);

// Every item of the file in its order, one a line: `depth` counts from 1, `value` is NULL where there is none (a section).
typedef weft_err_t weft_options_item_fn(void *context, unsigned line, size_t depth, const char *name,
                                        const char *value);
WEFT_MUST_USE weft_err_t weft_options_file_items(const char *path, weft_slice_t text, weft_options_item_fn *item,
                                                 void *context, struct weft_error *error);
// The file's bytes, appended; the same errors and sentences as weft_options_file_read.
WEFT_MUST_USE weft_err_t weft_options_file_bytes(const char *path, weft_buf_t *out, struct weft_error *error);

// A copy that may stand in a sentence: control characters replaced, "..." at the end where it was cut.
const char *weft_options_printable(const char *text, char *out, size_t size);

#endif
