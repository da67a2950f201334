// SPDX-License-Identifier: MPL-2.0
/*
 * A msgpack head is one byte, then up to eight of a length or number, big endian. A count is believed only if so many
 * values can still follow (an element takes at least one byte, a pair two), so no reader behind the walk can be made to
 * reserve more than a small multiple of what was really sent. Nesting is followed with a stack of what remains at each
 * depth, not by recursion.
 */
#include "walk.h"

#include "../base/assert.h"

#include <inttypes.h>

#define DEPTH_CEILING 32 // of any limits; the stack of weft_walk_skip_content

static weft_err_t s_refuse(const weft_walk_t *self, const uint8_t *at, const char *what)
{
    return weft_error_set(self->error, WEFT_ERR_BAD_FRAME,
                          "The message is no legal msgpack within the limits: byte %zu %s.",
                          (size_t) (at - self->begin), what);
}

static weft_err_t s_refuse_size(const weft_walk_t *self, const uint8_t *at, const char *what, uint64_t size,
                                uint64_t max, const char *why)
{
    return weft_error_set(self->error, WEFT_ERR_BAD_FRAME,
                          "The message is no legal msgpack within the limits: byte %zu announces %s of %" PRIu64
                          ", %s %" PRIu64 ".",
                          (size_t) (at - self->begin), what, size, why, max);
}

weft_err_t weft_walk_init(weft_walk_t *self, weft_slice_t bytes, const struct weft_guard_limits *limits,
                          struct weft_error *error)
{
    *self = (weft_walk_t){.begin = bytes.data, .at = bytes.data, .end = bytes.data, .limits = limits, .error = error};
    if (bytes.size == 0)
        return weft_error_set(error, WEFT_ERR_BAD_FRAME, "The message is empty; a msgpack map is wanted.");
    if (bytes.size > limits->bytes_max)
        return weft_error_set(error, WEFT_ERR_BAD_FRAME, "The message has %zu bytes, at most %zu are allowed.",
                              bytes.size, limits->bytes_max);
    self->end = bytes.data + bytes.size;
    return WEFT_OK;
}

static uint64_t s_load(const uint8_t *at, size_t width)
{
    uint64_t number = 0;
    for (size_t i = 0; i < width; i++) number = number << 8 | at[i];
    return number;
}

// `width` bytes of a number or length behind the head.
static weft_err_t s_number(weft_walk_t *self, const uint8_t *head, size_t width, uint64_t *out)
{
    if ((size_t) (self->end - self->at) < width)
        return s_refuse(self, head, "begins a value that the bytes do not hold whole");
    *out = s_load(self->at, width);
    self->at += width;
    return WEFT_OK;
}

static weft_err_t s_string(weft_walk_t *self, const uint8_t *head, uint64_t size, struct weft_value *out)
{
    size_t left = (size_t) (self->end - self->at);
    if (size > left) return s_refuse_size(self, head, "a string", size, left, "but the bytes that remain are");
    if (size > self->limits->string_bytes_max)
        return s_refuse_size(self, head, "a string", size, self->limits->string_bytes_max,
                             "more than the bytes allowed,");
    out->bytes = (weft_slice_t){self->at, (size_t) size};
    self->at += size;
    return WEFT_OK;
}

static weft_err_t s_count(weft_walk_t *self, const uint8_t *head, uint64_t count, struct weft_value *out)
{
    size_t left = (size_t) (self->end - self->at);
    size_t fit = out->kind == WEFT_KIND_MAP ? left / 2 : left;
    const char *what = out->kind == WEFT_KIND_MAP ? "a map" : "an array";
    if (count > fit) return s_refuse_size(self, head, what, count, fit, "but what remains can hold at most");
    if (count > self->limits->count_max)
        return s_refuse_size(self, head, what, count, self->limits->count_max, "more than the limit of");
    out->number = count;
    return WEFT_OK;
}

static weft_err_t s_integer(weft_walk_t *self, const uint8_t *head, size_t width, bool is_signed,
                            struct weft_value *out)
{
    weft_err_t err = s_number(self, head, width, &out->number);
    if (err) return err;
    bool negative = is_signed && out->number >> (8 * width - 1) != 0;
    if (negative && width < 8) out->number |= UINT64_MAX << (8 * width);
    out->kind = negative ? WEFT_KIND_NEGATIVE : WEFT_KIND_UINT;
    return WEFT_OK;
}

// str, bin, array and map: a length of `width` bytes, then the body.
static weft_err_t s_sized(weft_walk_t *self, const uint8_t *head, enum weft_kind kind, size_t width,
                          struct weft_value *out)
{
    uint64_t size = 0;
    weft_err_t err = s_number(self, head, width, &size);
    if (err) return err;
    out->kind = kind;
    if (kind == WEFT_KIND_ARRAY || kind == WEFT_KIND_MAP) return s_count(self, head, size, out);
    if (kind == WEFT_KIND_EXT) size++; // its type
    return s_string(self, head, size, out);
}

static weft_err_t s_fixed(weft_walk_t *self, const uint8_t *head, enum weft_kind kind, size_t width,
                          struct weft_value *out)
{
    out->kind = kind;
    if (kind == WEFT_KIND_EXT) return s_string(self, head, width + 1, out);
    return s_number(self, head, width, &out->number);
}

// Heads c0 to df, which are not one of the ranges of small values.
static weft_err_t s_wide(weft_walk_t *self, const uint8_t *head, struct weft_value *out)
{
    switch (*head) {
    case 0xc0: out->kind = WEFT_KIND_NIL; return WEFT_OK;
    case 0xc2:
    case 0xc3:
        out->kind = WEFT_KIND_BOOL;
        out->number = *head & 1;
        return WEFT_OK;
    case 0xc4: return s_sized(self, head, WEFT_KIND_BIN, 1, out);
    case 0xc5: return s_sized(self, head, WEFT_KIND_BIN, 2, out);
    case 0xc6: return s_sized(self, head, WEFT_KIND_BIN, 4, out);
    case 0xc7: return s_sized(self, head, WEFT_KIND_EXT, 1, out);
    case 0xc8: return s_sized(self, head, WEFT_KIND_EXT, 2, out);
    case 0xc9: return s_sized(self, head, WEFT_KIND_EXT, 4, out);
    case 0xca: return s_fixed(self, head, WEFT_KIND_FLOAT, 4, out);
    case 0xcb: return s_fixed(self, head, WEFT_KIND_FLOAT, 8, out);
    case 0xcc: return s_integer(self, head, 1, false, out);
    case 0xcd: return s_integer(self, head, 2, false, out);
    case 0xce: return s_integer(self, head, 4, false, out);
    case 0xcf: return s_integer(self, head, 8, false, out);
    case 0xd0: return s_integer(self, head, 1, true, out);
    case 0xd1: return s_integer(self, head, 2, true, out);
    case 0xd2: return s_integer(self, head, 4, true, out);
    case 0xd3: return s_integer(self, head, 8, true, out);
    case 0xd4: return s_fixed(self, head, WEFT_KIND_EXT, 1, out);
    case 0xd5: return s_fixed(self, head, WEFT_KIND_EXT, 2, out);
    case 0xd6: return s_fixed(self, head, WEFT_KIND_EXT, 4, out);
    case 0xd7: return s_fixed(self, head, WEFT_KIND_EXT, 8, out);
    case 0xd8: return s_fixed(self, head, WEFT_KIND_EXT, 16, out);
    case 0xd9: return s_sized(self, head, WEFT_KIND_STR, 1, out);
    case 0xda: return s_sized(self, head, WEFT_KIND_STR, 2, out);
    case 0xdb: return s_sized(self, head, WEFT_KIND_STR, 4, out);
    case 0xdc: return s_sized(self, head, WEFT_KIND_ARRAY, 2, out);
    case 0xdd: return s_sized(self, head, WEFT_KIND_ARRAY, 4, out);
    case 0xde: return s_sized(self, head, WEFT_KIND_MAP, 2, out);
    case 0xdf: return s_sized(self, head, WEFT_KIND_MAP, 4, out);
    default: return s_refuse(self, head, "is c1, which begins nothing");
    }
}

weft_err_t weft_walk_next(weft_walk_t *self, struct weft_value *out)
{
    const uint8_t *head = self->at;
    if (head == self->end) return s_refuse(self, head, "is missing: the bytes end before the value does");
    self->at++;
    uint8_t byte = *head;
    *out = (struct weft_value){.kind = WEFT_KIND_UINT, .number = byte};
    if (byte < 0x80) return WEFT_OK;
    if (byte >= 0xe0) {
        out->kind = WEFT_KIND_NEGATIVE;
        out->number = UINT64_MAX << 8 | byte;
        return WEFT_OK;
    }
    if (byte >= 0xc0) return s_wide(self, head, out);
    if (byte >= 0xa0) {
        out->kind = WEFT_KIND_STR;
        return s_string(self, head, byte & 0x1f, out);
    }
    out->kind = byte >= 0x90 ? WEFT_KIND_ARRAY : WEFT_KIND_MAP;
    return s_count(self, head, byte & 0x0f, out);
}

static uint64_t s_elements(const struct weft_value *value)
{
    if (value->kind == WEFT_KIND_ARRAY) return value->number;
    return value->kind == WEFT_KIND_MAP ? 2 * value->number : 0;
}

weft_err_t weft_walk_skip_content(weft_walk_t *self, const struct weft_value *value, uint32_t depth)
{
    weft_assert(self->limits->depth_max <= DEPTH_CEILING);
    uint64_t left[DEPTH_CEILING + 1];
    uint32_t base = depth;
    uint64_t remaining = s_elements(value);
    if (depth > self->limits->depth_max) return s_refuse(self, self->at - 1, "lies deeper than the limit");
    for (;;) {
        while (remaining == 0) {
            if (depth == base) return WEFT_OK;
            remaining = left[--depth];
        }
        remaining--;
        struct weft_value inner;
        const uint8_t *head = self->at;
        weft_err_t err = weft_walk_next(self, &inner);
        if (err) return err;
        if (depth + 1 > self->limits->depth_max) return s_refuse(self, head, "lies deeper than the limit");
        uint64_t inside = s_elements(&inner);
        if (inside == 0) continue;
        left[depth++] = remaining;
        remaining = inside;
    }
}

weft_err_t weft_walk_end(const weft_walk_t *self)
{
    return self->at == self->end ? WEFT_OK : s_refuse(self, self->at, "follows the value: nothing may");
}

const char *weft_kind_name(enum weft_kind kind)
{
    switch (kind) {
    case WEFT_KIND_NIL: return "nil";
    case WEFT_KIND_BOOL: return "a bool";
    case WEFT_KIND_UINT:
    case WEFT_KIND_NEGATIVE: return "an integer";
    case WEFT_KIND_FLOAT: return "a float";
    case WEFT_KIND_STR: return "a string";
    case WEFT_KIND_BIN: return "binary";
    case WEFT_KIND_EXT: return "an extension";
    case WEFT_KIND_ARRAY: return "an array";
    case WEFT_KIND_MAP: return "a map";
    }
    return "nothing";
}
