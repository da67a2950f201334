// SPDX-License-Identifier: MPL-2.0
/**
 * Frames: how a ZeroMQ message stands in a record, and how the record becomes the same message again.
 *
 *     frames of the message          value                               headers
 *     one                            its bytes                           none
 *     several                        msgpack array of bin, one a frame   weft.frames = "3"
 *     several, one made the key      the others, likewise; a single      weft.frames = "3", weft.key.frame = "0"
 *                                    one as its bytes; none: empty
 *
 * The value is never nil: in a compacted topic nil would delete its key. A record that follows a counted gap has
 * the header weft.missing with the number of messages that are missing before it. Numbers are decimal text.
 *
 * Whoever reads a topic without this library needs nothing but a msgpack library (docs/RECORD.md).
 */
#ifndef WEFT_RECORDER_FRAMES_H
#define WEFT_RECORDER_FRAMES_H

#include "../../lib/base/bytes.h"

#include <weft/record.h>

#define WEFT_FRAMES_COUNT_HEADER "weft.frames"
#define WEFT_FRAMES_KEY_HEADER "weft.key.frame"
#define WEFT_FRAMES_MISSING_HEADER "weft.missing"
#define WEFT_FRAMES_MAX 4096 // of one message; more are refused

/** What is sent to the producer; borrowed from the frames and from the buffers given to encode. */
struct weft_frames_record {
    weft_slice_t key, value, headers;
};

/**
 * key_frame: the frame that becomes the key, -1 or one that the message does not have: none. missing: as counted before
 * this message. `buf` and `headers` are cleared and hold the result until the next call. count is 1 to WEFT_FRAMES_MAX.
 */
void weft_frames_encode(const weft_slice_t *frames, size_t count, int64_t key_frame, uint64_t missing, weft_buf_t *buf,
                        weft_headers_t *headers, struct weft_frames_record *out);

/**
 * The frames of a record, pointing into it; `frames` has room for WEFT_FRAMES_MAX. *made: the record has the headers above, its
 * frames are those of a message. Without them it has one frame, its value (empty if that is nil), and *made is false.
 * BAD_FRAME: it has the headers, but what they say is not there.
 */
WEFT_MUST_USE weft_err_t weft_frames_decode(const struct weft_record_view *record, weft_slice_t *frames, size_t *count,
                                            bool *made);

#endif
