// SPDX-License-Identifier: MPL-2.0
/**
 * Plain values that every header speaks of: borrowed bytes, ids, an error with its sentence.
 */
#ifndef WEFT_TYPES_H
#define WEFT_TYPES_H

#include <weft/errors.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Borrowed bytes. data NULL means nil, where nil and empty differ (a record's key or value). */
typedef struct weft_slice {
    const uint8_t *data;
    size_t size;
} weft_slice_t;

#define WEFT_SLICE_NIL ((weft_slice_t){NULL, 0})

static inline weft_slice_t weft_bytes(const void *data, size_t size)
{
    return (weft_slice_t){(const uint8_t *) data, size};
}

/** The bytes of a C string without its terminator; NULL gives nil. */
static inline weft_slice_t weft_text(const char *text)
{
    return text ? (weft_slice_t){(const uint8_t *) text, strlen(text)} : WEFT_SLICE_NIL;
}

/** Cluster, topic and incarnation ids; all zero stands for "none". */
typedef struct weft_id {
    uint8_t bytes[16];
} weft_id_t;

#define WEFT_ERROR_TEXT_BYTES_MAX 512

/** A code together with a sentence that says what was wrong, where, and what to do. */
struct weft_error {
    weft_err_t code;
    char text[WEFT_ERROR_TEXT_BYTES_MAX]; // one sentence, always terminated, cut if longer
};

#ifdef __cplusplus
}
#endif

#endif
