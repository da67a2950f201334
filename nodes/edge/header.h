// SPDX-License-Identifier: MPL-2.0
/**
 * Header: another id in a request's or a reply's header; all else stays byte for byte, known to this build or not.
 */
#ifndef WEFT_EDGE_HEADER_H
#define WEFT_EDGE_HEADER_H

#include "../../lib/wire/guard.h"

// Appends the header to `out` with `id` in the place of whatever id it has, as its first pair. BAD_FRAME.
WEFT_MUST_USE weft_err_t weft_edge_header_with_id(weft_slice_t header, const struct weft_guard_limits *limits,
                                                  uint64_t id, weft_buf_t *out, struct weft_error *error);
// The same header again, made above, for another attempt.
void weft_edge_header_set_id(weft_buf_t *header, uint64_t id);

#endif
