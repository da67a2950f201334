// SPDX-License-Identifier: MPL-2.0
/*
 * Expressions of the filter: whatever the text, it is refused with a sentence or evaluated; whatever the value's bytes,
 * evaluation ends and reads nothing outside of them. The input is an expression, a zero byte, and a value; and the value
 * once more with fixed expressions that look everywhere.
 */
#include "lib/base/assert.h"
#include "nodes/filter/expression.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void s_evaluate(const char *text, weft_slice_t value)
{
    struct weft_error error = {0};
    weft_expression_t *expression = NULL;
    if (weft_expression_new(text, &expression, &error)) {
        weft_assert(error.code == WEFT_ERR_INVALID_OPTION && error.text[0]);
        return;
    }
    struct weft_record_view record = {.key = value, .value = value, .headers = value};
    bool unreadable = false, again = false;
    bool matches = weft_expression_matches(expression, &record, &unreadable);
    weft_assert(matches == weft_expression_matches(expression, &record, &again) && unreadable == again);
    weft_expression_destroy(&expression);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = memchr(data, 0, size);
    size_t text_bytes = zero ? (size_t) (zero - data) : size;
    char *text = malloc(text_bytes + 1);
    weft_assert(text);
    memcpy(text, data, text_bytes);
    text[text_bytes] = '\0';
    uint8_t *copy = malloc(size + 1); // exactly as large, so that a sanitizer sees a read behind it
    weft_assert(copy);
    size_t value_bytes = zero ? size - text_bytes - 1 : size;
    memcpy(copy, data + size - value_bytes, value_bytes);
    copy = realloc(copy, value_bytes > 0 ? value_bytes : 1);
    weft_slice_t value = weft_slice(copy, value_bytes);
    s_evaluate(text, value);
    s_evaluate(
        "a == 1 or a.b[0] > 2.5 and not exists a[3].b or type startswith \"x\" or b in [1, nil, \"y\"] or [0][0] < 0 "
        "or $header.a == $key or $value startswith $key",
        value);
    free(copy);
    free(text);
    return 0;
}
