// SPDX-License-Identifier: MPL-2.0
// The one place that knows every type of node by name.
#include "nodes.h"

#include <string.h>

const struct weft_parts_type *const weft_node_types[] = {&weft_node_broker, &weft_node_coordinator, NULL};

const struct weft_parts_type *weft_node_type_find(const char *name, struct weft_error *error)
{
    for (size_t i = 0; weft_node_types[i] != NULL; i++) {
        if (strcmp(weft_node_types[i]->name, name) == 0) return weft_node_types[i];
    }
    weft_err_t err = weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT,
                                    "there is no node type '%.64s'; the types are broker and coordinator", name);
    (void) err;
    return NULL;
}

weft_err_t weft_node_type_options(const struct weft_parts_type *type, const char *const *settings, weft_options_t **out,
                                  struct weft_error *error)
{
    weft_options_t *options = weft_options_new(type->options, type->option_count, type->name);
    for (size_t i = 0; settings != NULL && settings[i] != NULL; i++) {
        weft_err_t err = weft_options_set_pair(options, settings[i], error);
        if (err != WEFT_OK) {
            weft_options_destroy(&options);
            return err;
        }
    }
    *out = options;
    return WEFT_OK;
}
