// SPDX-License-Identifier: MPL-2.0
/**
 * Bytes: borrowed slices, owned buffers, an arena for what lives as long as one message, and 128-bit ids.
 *
 * Out of memory ends the process (weft_alloc): memory is bounded up front by limits, so a failed allocation of
 * a bounded size is not an operating condition. Anything a peer sizes is checked against a limit first.
 */
#ifndef WEFT_BASE_BYTES_H
#define WEFT_BASE_BYTES_H

#include "error.h"

#include <weft/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- allocation that can't fail

void *weft_alloc(size_t bytes);                // uninitialised; 0 bytes gives a valid pointer
void *weft_calloc(size_t count, size_t bytes); // zeroed; overflow ends the process
void *weft_realloc(void *memory, size_t bytes);
char *weft_strdup(const char *text);

// ---- slice: borrowed bytes

// weft_slice_t and WEFT_SLICE_NIL stand in the public <weft/types.h>: data NULL means nil, where nil and empty differ.

weft_slice_t weft_slice(const void *data, size_t size);
weft_slice_t weft_slice_text(const char *text);         // without the terminator; NULL gives nil
bool weft_slice_equal(weft_slice_t a, weft_slice_t b);  // nil equals only nil
int weft_slice_compare(weft_slice_t a, weft_slice_t b); // bytewise, shorter first
bool weft_slice_is_text(weft_slice_t slice, const char *text);
uint64_t weft_slice_hash(weft_slice_t slice, uint64_t seed); // fast, not cryptographic
// A heap copy with a terminator behind it; the caller frees it.
char *weft_slice_dup(weft_slice_t slice);

// ---- buf: owned, growing bytes

typedef struct weft_buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
} weft_buf_t;

void weft_buf_init(weft_buf_t *self);
void weft_buf_fini(weft_buf_t *self);
void weft_buf_clear(weft_buf_t *self); // keeps the memory
void weft_buf_reserve(weft_buf_t *self, size_t bytes_more);
void weft_buf_append(weft_buf_t *self, const void *data, size_t size);
void weft_buf_printf(weft_buf_t *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
weft_slice_t weft_buf_slice(const weft_buf_t *self);

// ---- arena: many small allocations, freed together

typedef struct weft_arena {
    struct weft_arena_block *blocks;
    size_t used_bytes;
} weft_arena_t;

void weft_arena_init(weft_arena_t *self);
void weft_arena_fini(weft_arena_t *self);
void weft_arena_reset(weft_arena_t *self);                    // keeps one block; pointers into it die
void *weft_arena_alloc(weft_arena_t *self, size_t bytes);     // 16-aligned, zeroed
char *weft_arena_text(weft_arena_t *self, weft_slice_t text); // terminated copy

// ---- id: cluster, topic and incarnation ids

#define WEFT_ID_TEXT_BYTES 33 // 32 lower-case hex digits and the terminator

bool weft_id_is_zero(weft_id_t id); // all zero stands for "none"
bool weft_id_equal(weft_id_t a, weft_id_t b);
void weft_id_text(weft_id_t id, char text[WEFT_ID_TEXT_BYTES]);
WEFT_MUST_USE weft_err_t weft_id_parse(const char *text, weft_id_t *out);
weft_id_t weft_id_of_slice(weft_slice_t slice); // zero unless exactly 16 bytes
weft_slice_t weft_id_slice(const weft_id_t *id);

#endif
