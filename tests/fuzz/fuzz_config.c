// SPDX-License-Identifier: MPL-2.0
/*
 * Configuration files: the first byte chooses the scope, the rest is the text. Whatever it is, it is taken or refused with a sentence; what is taken can be
 * given again value by value; and a key taken from the text never makes the search for the nearest name go wrong.
 */
#include "lib/base/assert.h"
#include "lib/base/options.h"
#include "lib/base/options_file.h"

#include <weft_gen/config.h>

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct s_context {
    weft_options_t *options, *again;
    struct weft_error error;
};

static weft_err_t s_pair(void *user, unsigned line, const char *name, const char *value)
{
    struct s_context *context = user;
    weft_assert(line > 0 && name && value);
    context->error.text[0] = 0;
    weft_err_t err = weft_options_set(context->options, name, value, &context->error);
    if (err) {
        weft_assert(err == WEFT_ERR_INVALID_OPTION && context->error.text[0]);
        return err;
    }
    weft_err_t same = weft_options_set(context->again, name, weft_options_text(context->options, name), NULL);
    weft_assert(!same && weft_options_int(context->again, name) == weft_options_int(context->options, name));
    return WEFT_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct {
        const struct weft_option *table;
        size_t count;
    } scopes[] = {
#define SCOPE(scope) {weft_options_##scope, weft_options_##scope##_count},
        WEFT_OPTION_SCOPES(SCOPE)};
    if (size == 0) return 0;
    size_t scope = data[0] % (sizeof(scopes) / sizeof(scopes[0]));
    struct s_context context;
    context.options = weft_options_new(scopes[scope].table, scopes[scope].count, "scope");
    context.again = weft_options_copy(context.options);
    struct weft_error error = {.text = ""};
    weft_err_t err = weft_options_file_parse("fuzz.conf", weft_slice(data + 1, size - 1), s_pair, &context, &error);
    weft_assert(!err || err == WEFT_ERR_INVALID_OPTION);
    if (err && context.error.text[0] == 0) weft_assert(strncmp(error.text, "fuzz.conf:", 10) == 0);
    weft_options_destroy(&context.options);
    weft_options_destroy(&context.again);
    return 0;
}
