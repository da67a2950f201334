// SPDX-License-Identifier: MPL-2.0
/**
 * Control: the ROUTER socket by which a person or a test steers a player. A request is one frame of text, as from a REQ or
 * a DEALER socket; the answer one frame, one JSON object:
 *
 *     status                        how it stands
 *     pause | resume
 *     step [N]                      plays N records (1) at once and stays paused; answered when they are out, or at the end
 *     seek earliest|latest|OFFSET|@TIME
 *     speed X                       2.5, max
 *
 *     {"ok": true, "state": "playing", "speed": 1, "sent": 1200, "partition": 0, "offset": 1199, "timestamp_ms": ...}
 *     {"ok": false, "error": "..."}
 *
 * docs/RECORD.md has it for users. One step at a time; anything but status ends it early.
 */
#ifndef WEFT_PLAYER_CONTROL_H
#define WEFT_PLAYER_CONTROL_H

#include "../../lib/base/bytes.h"

#include <weft/record.h>

enum weft_control_verb {
    WEFT_CONTROL_STATUS,
    WEFT_CONTROL_PAUSE,
    WEFT_CONTROL_RESUME,
    WEFT_CONTROL_STEP,
    WEFT_CONTROL_SEEK,
    WEFT_CONTROL_SPEED
};

struct weft_control_order {
    enum weft_control_verb verb;
    uint64_t steps;
    struct weft_position at;
    double speed;
};

#define WEFT_CONTROL_TEXT_BYTES_MAX 200

// INVALID_ARGUMENT with a sentence that says what is understood.
WEFT_MUST_USE weft_err_t weft_control_parse(weft_slice_t text, struct weft_control_order *out,
                                            struct weft_error *error);

/** Whom to answer: the id that the ROUTER gave, and whether an empty frame came before the request. */
struct weft_control_client {
    uint8_t id[255];
    size_t id_bytes;
    bool delimiter;
};

// The next request on a ROUTER socket. False: there is none. A request of another shape has an empty text.
bool weft_control_receive(void *socket, struct weft_control_client *client, char *text, size_t *text_bytes);
// Not waited for: a client that is gone gets nothing.
void weft_control_answer(void *socket, const struct weft_control_client *client, const weft_buf_t *json);
// Appends a JSON string with its quotes.
void weft_control_quote(weft_buf_t *json, const char *text);

#endif
