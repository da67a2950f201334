// SPDX-License-Identifier: MPL-2.0
/**
 * Guard: one walk over received msgpack before anything decodes it (I8).
 *
 * Accepts exactly one msgpack value that fills the bytes, whose every count fits in the bytes that remain and in the
 * limits, whose depth is bounded. msgpack-c 4.0.0 reserves 8 GiB for the five bytes dd 0f ff ff ff; behind the guard it
 * can't.
 */
#ifndef WEFT_WIRE_GUARD_H
#define WEFT_WIRE_GUARD_H

#include "../base/bytes.h"

struct weft_guard_limits {
    size_t bytes_max;          // of the whole value
    uint32_t depth_max;        // a scalar has depth 1
    uint32_t count_max;        // elements of one array or pairs of one map
    uint32_t string_bytes_max; // one str, bin or ext
};

extern const struct weft_guard_limits weft_guard_header; // of request headers (schemas/limits.json)
extern const struct weft_guard_limits weft_guard_reply;  // of reply headers, which may list a whole cluster
extern const struct weft_guard_limits weft_guard_record; // of commands and of what is read from our own disk

// BAD_FRAME with a sentence naming the byte and what was wrong. Reads each byte once, allocates nothing.
WEFT_MUST_USE weft_err_t weft_guard_check(weft_slice_t bytes, const struct weft_guard_limits *limits,
                                          struct weft_error *error);

#endif
