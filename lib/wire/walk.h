// SPDX-License-Identifier: MPL-2.0
/**
 * Walk: a bounded reader of msgpack heads over bytes that nobody has checked; the guard and the request header are
 * built on it.
 *
 * Allocates nothing, reads nothing behind the end, and refuses counts and sizes that lie before anybody can believe
 * them.
 */
#ifndef WEFT_WIRE_WALK_H
#define WEFT_WIRE_WALK_H

#include "guard.h"

enum weft_kind {
    WEFT_KIND_NIL,
    WEFT_KIND_BOOL,
    WEFT_KIND_UINT,     // not negative, whatever its width and sign bit on the wire
    WEFT_KIND_NEGATIVE, // `number` is its two's complement
    WEFT_KIND_FLOAT,
    WEFT_KIND_STR,
    WEFT_KIND_BIN,
    WEFT_KIND_EXT,
    WEFT_KIND_ARRAY,
    WEFT_KIND_MAP
};

struct weft_value {
    enum weft_kind kind;
    uint64_t number;    // of numbers and bools; elements of an array, pairs of a map
    weft_slice_t bytes; // of str, bin and ext
};

typedef struct weft_walk {
    const uint8_t *begin, *at, *end;
    const struct weft_guard_limits *limits;
    struct weft_error *error; // may be NULL
} weft_walk_t;

// BAD_FRAME if there are no bytes or more than the limits allow.
WEFT_MUST_USE weft_err_t weft_walk_init(weft_walk_t *self, weft_slice_t bytes, const struct weft_guard_limits *limits,
                                        struct weft_error *error);
// The next head; strings are passed with it, elements of arrays and maps follow. BAD_FRAME with a sentence.
WEFT_MUST_USE weft_err_t weft_walk_next(weft_walk_t *self, struct weft_value *out);
// Passes all that `value`, just read at `depth` (the outermost value has 1), holds.
WEFT_MUST_USE weft_err_t weft_walk_skip_content(weft_walk_t *self, const struct weft_value *value, uint32_t depth);
// BAD_FRAME unless all bytes were read.
WEFT_MUST_USE weft_err_t weft_walk_end(const weft_walk_t *self);

const char *weft_kind_name(enum weft_kind kind); // "a string"

#endif
