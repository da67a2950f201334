// SPDX-License-Identifier: MPL-2.0
/*
 * The guard is one walk (walk.c) over the whole value, then a look whether anything follows. What passes can be handed
 * to msgpack-c: its counts are true, so what it reserves is at most a small multiple of the bytes received.
 */
#include "guard.h"

#include "walk.h"

#include <weft_gen/limits.h>

const struct weft_guard_limits weft_guard_header = {
    .bytes_max = WEFT_HEADER_BYTES_MAX,
    .depth_max = WEFT_HEADER_DEPTH_MAX,
    .count_max = WEFT_HEADER_COUNT_MAX,
    .string_bytes_max = WEFT_STRING_BYTES_MAX,
};

const struct weft_guard_limits weft_guard_reply = {
    .bytes_max = WEFT_REPLY_BYTES_MAX,
    .depth_max = WEFT_HEADER_DEPTH_MAX,
    .count_max = WEFT_REPLY_COUNT_MAX,
    .string_bytes_max = WEFT_STRING_BYTES_MAX,
};

const struct weft_guard_limits weft_guard_record = {
    .bytes_max = WEFT_STATE_BYTES_MAX,
    .depth_max = WEFT_HEADER_DEPTH_MAX,
    .count_max = WEFT_STATE_COUNT_MAX,
    .string_bytes_max = WEFT_STRING_BYTES_MAX,
};

weft_err_t weft_guard_check(weft_slice_t bytes, const struct weft_guard_limits *limits, struct weft_error *error)
{
    weft_walk_t walk;
    struct weft_value value;
    weft_err_t err = weft_walk_init(&walk, bytes, limits, error);
    if (!err) err = weft_walk_next(&walk, &value);
    if (!err) err = weft_walk_skip_content(&walk, &value, 1);
    if (!err) err = weft_walk_end(&walk);
    return err;
}
