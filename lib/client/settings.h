// SPDX-License-Identifier: MPL-2.0
/**
 * Settings of a client object: "key=value" strings over a table of options, and where to find the cluster.
 */
#ifndef WEFT_CLIENT_SETTINGS_H
#define WEFT_CLIENT_SETTINGS_H

#include "../base/options.h"

// settings: NULL at the end; NULL itself: none. Without bootstrap= the environment variable WEFT_BOOTSTRAP counts, if
// it is set and not empty.
WEFT_MUST_USE weft_err_t weft_settings_parse(const char *const *settings, const struct weft_option *table, size_t count,
                                             const char *scope, weft_options_t **out, struct weft_error *error);

#endif
