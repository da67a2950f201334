// SPDX-License-Identifier: MPL-2.0
// The environment is read here for clients, and in lib/hosted_node.c for nodes: nowhere else in the library.
#include "settings.h"

#include <stdlib.h>

weft_err_t weft_settings_parse(const char *const *settings, const struct weft_option *table, size_t count,
                               const char *scope, weft_options_t **out, struct weft_error *error)
{
    weft_options_t *options = weft_options_new(table, count, scope);
    weft_err_t err = WEFT_OK;
    const char *bootstrap = getenv("WEFT_BOOTSTRAP");
    if (bootstrap && *bootstrap) err = weft_options_set(options, "bootstrap", bootstrap, error);
    for (size_t i = 0; !err && settings && settings[i]; i++) err = weft_options_set_pair(options, settings[i], error);
    if (err) {
        weft_options_destroy(&options);
        return err;
    }
    *out = options;
    return WEFT_OK;
}
