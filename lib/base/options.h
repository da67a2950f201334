// SPDX-License-Identifier: MPL-2.0
/**
 * Typed options, described once: every node, topic and client setting.
 *
 * The tables are generated from schemas/config/ (one file a scope). A value set keeps text as given and the parsed value; a wrong key or
 * value is refused with a sentence that names the key, what was given, what is allowed, the nearest known key, and (from a
 * file) file and line. Files are ZPL (CZMQ's zconfig).
 */
#ifndef WEFT_BASE_OPTIONS_H
#define WEFT_BASE_OPTIONS_H

#include "bytes.h"

#include <weft/options.h>

/*
 * A table that strangers wrote: names, defaults, choices are there and legal, no name twice; else INVALID_OPTION with a
 * sentence. weft_options_new asserts all this.
 */
WEFT_MUST_USE weft_err_t weft_options_check_table(const struct weft_option *table, size_t count,
                                                  struct weft_error *error);
bool weft_option_parse(const struct weft_option *option, const char *text, int64_t *out); // false: not a legal value
// What a value may be, in words: "true or false", "a number from 1 to 5".
void weft_option_allowed(const struct weft_option *option, char *out, size_t size);
const char *weft_option_type_name(enum weft_option_type type); // "bool", "int", ...
const char *weft_option_role_name(enum weft_option_role role); // "listen", "source-topic", ...; "": none

weft_options_t *weft_options_new(const struct weft_option *table, size_t count, const char *scope);
void weft_options_destroy(weft_options_t **self_p);
weft_options_t *weft_options_copy(const weft_options_t *self);

// Refused: nothing changed, `error` says why.
WEFT_MUST_USE weft_err_t weft_options_set(weft_options_t *self, const char *name, const char *value,
                                          struct weft_error *error);
WEFT_MUST_USE weft_err_t weft_options_set_pair(weft_options_t *self, const char *pair,
                                               struct weft_error *error); // "key=value"
// Reads a ZPL file of `key = value` lines. All or nothing.
WEFT_MUST_USE weft_err_t weft_options_load(weft_options_t *self, const char *path, struct weft_error *error);

// Generated, one a scope: weft_options_broker, weft_options_coordinator, weft_options_topic, weft_options_producer,
// weft_options_consumer (lib/base includes nothing generated but errors; the tables are in lib/wire's generated config.h).

// The known name nearest to `name` by edit distance, or NULL when none is near; for "did you mean".
const char *weft_nearest(const char *name, const char *const *known, size_t count);

#endif
