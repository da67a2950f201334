// SPDX-License-Identifier: MPL-2.0
/**
 * The types of nodes that this library knows. A new type is added to the table in nodes.c and is then known to the
 * command, to weft_node_start and to the CZMQ actor.
 */
#ifndef WEFT_NODES_H
#define WEFT_NODES_H

#include "wire/node.h"

#include <weft/node_type.h>

// Each type of this library but broker and coordinator, which are made of parts, says itself: nodes/<type>/<type>.c has
// `const struct weft_node_type weft_node_type_<type>`.

extern const struct weft_parts_type *const weft_node_types[]; // NULL at the end
// NULL: `error` (may be NULL) says which there are.
const struct weft_parts_type *weft_node_type_find(const char *name, struct weft_error *error);
// Parsed settings ("key=value", NULL at the end; NULL allowed) of a type.
WEFT_MUST_USE weft_err_t weft_node_type_options(const struct weft_parts_type *type, const char *const *settings,
                                                weft_options_t **out, struct weft_error *error);

#endif
