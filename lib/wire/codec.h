// SPDX-License-Identifier: MPL-2.0
/**
 * Codec: message headers, commands and records, between msgpack maps and C structs, from tables that
 * schemas/generate.py makes.
 *
 * Callers use the generated functions (<weft_gen/messages.h>, <weft_gen/commands.h>, <weft_gen/records.h>); this is
 * what stands behind them. The rules are those of docs/PROTOCOL.md: unknown keys are ignored, absent (or nil) keys have
 * their defaults, of a key that stands twice the last counts, integers of any width are taken, str and bin stand for
 * each other.
 */
#ifndef WEFT_WIRE_CODEC_H
#define WEFT_WIRE_CODEC_H

#include "guard.h"

/**
 * What a decode needs for its arrays: they live until the next decode with the same codec, strings point into the
 * decoded bytes. One thread at a time.
 */
typedef struct weft_message_codec {
    weft_arena_t arena;
    struct msgpack_zone *zone; // made by the first decode
} weft_codec_t;

void weft_codec_init(weft_codec_t *self);
void weft_codec_fini(weft_codec_t *self);

// ---- tables

enum weft_field_type {
    WEFT_FIELD_BOOL,
    WEFT_FIELD_I8,
    WEFT_FIELD_I16,
    WEFT_FIELD_I32,
    WEFT_FIELD_I64,
    WEFT_FIELD_U8,
    WEFT_FIELD_U16,
    WEFT_FIELD_U32,
    WEFT_FIELD_U64,
    WEFT_FIELD_STR, // weft_slice_t
    WEFT_FIELD_BIN, // weft_slice_t
    WEFT_FIELD_ID,  // weft_id_t
    WEFT_FIELD_STRUCT
};

enum {
    WEFT_FIELD_ARRAY = 1,       // T *name; size_t name_count
    WEFT_FIELD_REQUIRED = 2,    // absent: refused
    WEFT_FIELD_HAS_DEFAULT = 4, // left out by the encoder when equal to it
    WEFT_FIELD_ALWAYS = 8       // sent even then
};

struct weft_field {
    const char *name;
    uint8_t name_bytes;
    uint8_t type; // enum weft_field_type
    uint8_t flags;
    uint32_t offset;                  // in the struct
    uint32_t count_offset;            // of name_count
    uint32_t bytes_max;               // of one str or bin
    uint32_t count_max;               // of an array
    int64_t initial;                  // default of numbers and bools
    const char *initial_text;         // default of a str, NULL: nil
    const struct weft_shape *element; // of an array of structs
};

struct weft_shape {
    const char *name; // as sentences name it: "produce request"
    const struct weft_field *fields;
    size_t field_count;
    size_t bytes; // sizeof the struct
};

// Sets every field to its default; without one: 0, false, zero id, nil, empty array.
void weft_shape_init(const struct weft_shape *shape, void *out);
// BAD_FRAME (by the guard) or INVALID_REQUEST, with a sentence that names the field, what was given and what is
// allowed; *out is written only on success.
WEFT_MUST_USE weft_err_t weft_shape_decode(weft_codec_t *codec, const struct weft_shape *shape, weft_slice_t bytes,
                                           const struct weft_guard_limits *limits, void *out, struct weft_error *error);

/** What an encoded map begins with, before the fields of the shape. */
struct weft_shape_head {
    const char *text_key; // "api", or NULL
    const char *text;
    const char *number_key; // "id", "command", or NULL
    uint64_t number;
};

// Appends one map. What the struct holds is not checked: the receiver does that.
void weft_shape_encode(const struct weft_shape *shape, const void *self, const struct weft_shape_head *head,
                       weft_buf_t *out);
// Adds `must`, naming one key, to an encoded request of fewer than 15 pairs that would be wrong if the key were ignored.
void weft_request_add_must(weft_buf_t *header, const char *key);

// ---- what the generated functions share

#define WEFT_REPLY_FIELD_COUNT 7 // fields of struct weft_reply_header stand first in the shape of every reply

// Decodes a reply, whose header stands at the beginning of *out.
WEFT_MUST_USE weft_err_t weft_reply_shape_decode(weft_codec_t *codec, const struct weft_shape *shape,
                                                 weft_slice_t bytes, void *out, struct weft_error *error);
void weft_reply_shape_encode(const struct weft_shape *shape, const void *reply, weft_buf_t *out);
// The unsigned number under `key` of a map. BAD_FRAME; INVALID_REQUEST if there is none.
WEFT_MUST_USE weft_err_t weft_map_number(weft_slice_t bytes, const struct weft_guard_limits *limits, const char *key,
                                         uint64_t *out);

struct weft_api_row {
    const char *name;
    const struct weft_shape *request;
};

extern const struct weft_api_row weft_api_rows[]; // by enum weft_api

#endif
