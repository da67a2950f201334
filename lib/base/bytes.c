// SPDX-License-Identifier: MPL-2.0
// Allocation that ends the process when memory is out, slices, and ids. Buffers are in buf.c, arenas in arena.c.
#include "bytes.h"

#include "assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- allocation

static void *s_checked(void *memory, size_t bytes)
{
    if (__builtin_expect(memory != NULL, 1)) return memory;
    fprintf(stderr, "weft: out of memory (%zu bytes)\n", bytes);
    abort();
}

void *weft_alloc(size_t bytes)
{
    return s_checked(malloc(bytes ? bytes : 1), bytes);
}

void *weft_calloc(size_t count, size_t bytes)
{
    if (count == 0 || bytes == 0) return s_checked(calloc(1, 1), 1);
    return s_checked(calloc(count, bytes), bytes);
}

void *weft_realloc(void *memory, size_t bytes)
{
    return s_checked(realloc(memory, bytes ? bytes : 1), bytes);
}

char *weft_strdup(const char *text)
{
    weft_assert(text);
    return weft_slice_dup(weft_slice_text(text));
}

// ---- slice

weft_slice_t weft_slice(const void *data, size_t size)
{
    return (weft_slice_t){data, size};
}

weft_slice_t weft_slice_text(const char *text)
{
    return text ? (weft_slice_t){(const uint8_t *) text, strlen(text)} : WEFT_SLICE_NIL;
}

bool weft_slice_equal(weft_slice_t a, weft_slice_t b)
{
    if (!a.data || !b.data) return a.data == b.data;
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

int weft_slice_compare(weft_slice_t a, weft_slice_t b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    if (order != 0) return order;
    return (a.size > b.size) - (a.size < b.size);
}

bool weft_slice_is_text(weft_slice_t slice, const char *text)
{
    return weft_slice_equal(slice, weft_slice_text(text));
}

static inline uint64_t s_load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

// Folds the 128-bit product: every input bit reaches both halves (the mixing step of Wang Yi's wyhash, 2019).
static inline uint64_t s_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128) a * b;
    return (uint64_t) product ^ (uint64_t) (product >> 64);
}

uint64_t weft_slice_hash(weft_slice_t slice, uint64_t seed)
{
    const uint64_t odd_1 = 0x9e3779b97f4a7c15, odd_2 = 0xd1b54a32d192ed03;
    const uint8_t *at = slice.data;
    size_t left = slice.size;
    uint64_t state = s_fold(seed ^ odd_1, odd_2 ^ slice.size);
    for (; left > 16; left -= 16, at += 16) state = s_fold(s_load64(at) ^ odd_1, s_load64(at + 8) ^ state);
    uint8_t tail[16] = {0};
    if (left) memcpy(tail, at, left);
    state = s_fold(s_load64(tail) ^ odd_2, s_load64(tail + 8) ^ state);
    return s_fold(state ^ odd_1, odd_2);
}

char *weft_slice_dup(weft_slice_t slice)
{
    weft_assert(slice.size < SIZE_MAX);
    char *copy = weft_alloc(slice.size + 1);
    if (slice.size) memcpy(copy, slice.data, slice.size);
    copy[slice.size] = '\0';
    return copy;
}

// ---- id

bool weft_id_is_zero(weft_id_t id)
{
    uint8_t any = 0;
    for (size_t i = 0; i < sizeof id.bytes; i++) any |= id.bytes[i];
    return any == 0;
}

bool weft_id_equal(weft_id_t a, weft_id_t b)
{
    return memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
}

void weft_id_text(weft_id_t id, char text[WEFT_ID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof id.bytes; i++) {
        text[2 * i] = digits[id.bytes[i] >> 4];
        text[2 * i + 1] = digits[id.bytes[i] & 15];
    }
    text[WEFT_ID_TEXT_BYTES - 1] = '\0';
}

static int s_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

weft_err_t weft_id_parse(const char *text, weft_id_t *out)
{
    if (!text || strlen(text) != WEFT_ID_TEXT_BYTES - 1) return WEFT_ERR_WRONG_FORMAT;
    weft_id_t id;
    for (size_t i = 0; i < sizeof id.bytes; i++) {
        int high = s_digit(text[2 * i]), low = s_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) return WEFT_ERR_WRONG_FORMAT;
        id.bytes[i] = (uint8_t) (high << 4 | low);
    }
    *out = id;
    return WEFT_OK;
}

weft_id_t weft_id_of_slice(weft_slice_t slice)
{
    weft_id_t id = {{0}};
    if (slice.size == sizeof id.bytes) memcpy(id.bytes, slice.data, sizeof id.bytes);
    return id;
}

weft_slice_t weft_id_slice(const weft_id_t *id)
{
    return (weft_slice_t){id->bytes, sizeof id->bytes};
}
