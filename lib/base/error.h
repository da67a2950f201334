// SPDX-License-Identifier: MPL-2.0
/**
 * Errors: a code that travels, and a sentence that a person reads.
 *
 * weft_err_t and its table (name, sentence, class, outcome) are generated from schemas/errors.json into
 * the public header <weft/errors.h>. Positive numbers may travel and are frozen; negative ones are local.
 * Retry code asks weft_err_class(); no other file lists codes to decide what to do.
 *
 * A struct weft_error carries a code together with its sentence ("what was wrong, where, what to do").
 * Functions that open or parse what a person wrote take a `struct weft_error *error` (NULL allowed).
 */
#ifndef WEFT_BASE_ERROR_H
#define WEFT_BASE_ERROR_H

#include <weft/errors.h>
#include <weft/types.h>

#include <stdarg.h>
#include <stdbool.h>

// struct weft_error stands in the public <weft/types.h>.

// Sets code and formatted sentence; `error` may be NULL. Returns `code`, so that a caller can write
// `return weft_error_set(error, WEFT_ERR_..., "...", ...)`. Bytes that are no UTF-8 and control characters become '?':
// what a peer wrote may be quoted as it is.
weft_err_t weft_error_set(struct weft_error *error, weft_err_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

weft_err_t weft_error_set_list(struct weft_error *error, weft_err_t code, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

// UTF-8 without control characters: fit to be stored and shown.
bool weft_text_is_clean(const char *text);

// Maps an errno of a file operation to a code: ENOSPC and EDQUOT to DISK_FULL, ENOENT to NOT_FOUND, the rest to
// DISK_FAILED.
weft_err_t weft_err_of_errno(int os_errno);

#define WEFT_MUST_USE __attribute__((warn_unused_result))

#endif
