// SPDX-License-Identifier: MPL-2.0
/**
 * Expressions over records whose values are msgpack: which of them pass. docs/FILTER.md describes the language.
 *
 *     type == "order" and (amount >= 100 or $key startswith "vip:") and not exists flags.test
 *
 * Parsed once; evaluated for each record without allocating anything, in time bounded by the expression's size times the
 * value's, whatever the value's bytes are. What can't be read counts as missing.
 */
#ifndef WEFT_NODES_FILTER_EXPRESSION_H
#define WEFT_NODES_FILTER_EXPRESSION_H

#include "../../lib/base/bytes.h"

#include <weft/record.h>

#define EXPRESSION_BYTES_MAX 4096
#define EXPRESSION_NODES_MAX 512
#define EXPRESSION_DEPTH_MAX 32 // of parentheses and `not`
#define EXPRESSION_STEPS_MAX 16 // of one path

typedef struct weft_expression weft_expression_t;

// INVALID_OPTION with a sentence that names the column.
WEFT_MUST_USE weft_err_t weft_expression_new(const char *text, weft_expression_t **out, struct weft_error *error);
void weft_expression_destroy(weft_expression_t **self_p);
// Whether the record passes. *unreadable becomes true where a path met bytes that are no msgpack; else it is left.
bool weft_expression_matches(const weft_expression_t *self, const struct weft_record_view *record, bool *unreadable);

#endif
