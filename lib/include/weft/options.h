// SPDX-License-Identifier: MPL-2.0
/**
 * Typed options of a node type, described once: what may be set, its default, its limits, what it means, and which part
 * it plays in a topology.
 *
 * The type's author writes a constant table; values are checked before the node sees them (a wrong one is refused with a
 * sentence that names the key, what was given, what is allowed, and the file's line), shown by `weft node describe`,
 * and read back with the functions below.
 */
#ifndef WEFT_OPTIONS_H
#define WEFT_OPTIONS_H

#include <weft/export.h>
#include <weft/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum weft_option_type {
    WEFT_OPTION_BOOL,     // true | false
    WEFT_OPTION_INT,      // decimal
    WEFT_OPTION_BYTES,    // decimal with optional KiB, MiB, GiB; -1 where min allows it
    WEFT_OPTION_DURATION, // milliseconds; decimal with optional ms, s, m, h, d; -1 where min allows it
    WEFT_OPTION_TEXT,
    WEFT_OPTION_CHOICE // one of `choices`, separated by '|'; the parsed value is its index
};

/**
 * What a text option is to a topology (docs/TOPOLOGIES.md): which endpoints a node binds, whose it connects to, and
 * which way the records flow; so that `weft up FILE` can order, check and draw nodes of any type.
 */
enum weft_option_role {
    WEFT_OPTION_ROLE_NONE,
    WEFT_OPTION_ROLE_LISTEN,  // endpoint that this node binds; no two nodes may have the same
    WEFT_OPTION_ROLE_CONTROL, // endpoints that this node connects to for orders, not records (a broker's coordinators)
    WEFT_OPTION_ROLE_SOURCE,  // endpoints that records come from, comma separated
    WEFT_OPTION_ROLE_TARGET,  // endpoints that records go to, comma separated
    WEFT_OPTION_ROLE_SOURCE_TOPIC, // topics read at WEFT_OPTION_ROLE_SOURCE, comma separated
    WEFT_OPTION_ROLE_TARGET_TOPIC, // topic written at WEFT_OPTION_ROLE_TARGET
    WEFT_OPTION_ROLE_PATH          // directory or file that is this node's own; no two nodes may have the same
};

struct weft_option {
    const char *name;
    enum weft_option_type type;
    const char *initial; // default, as text
    int64_t min, max;    // of the number, or of the text's length; not of bool and choice
    const char *choices;
    bool live;       // may change while running
    const char *doc; // one sentence
    enum weft_option_role role;
};

typedef struct weft_options weft_options_t;

// A name that is not in the table is a defect of the caller (asserted).
WEFT_EXPORT int64_t weft_options_int(const weft_options_t *self,
                                     const char *name); // also bool, bytes, duration (ms), choice index
WEFT_EXPORT bool weft_options_bool(const weft_options_t *self, const char *name);
WEFT_EXPORT const char *weft_options_text(const weft_options_t *self, const char *name); // as given; any type
WEFT_EXPORT bool weft_options_is_set(const weft_options_t *self, const char *name);      // false: it has its default

#ifdef __cplusplus
}
#endif

#endif
