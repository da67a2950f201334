// SPDX-License-Identifier: MPL-2.0
/**
 * The types of nodes that this library knows, and those that stand in shared objects. A type in the table of nodes.c is
 * known to the command, to weft_node_start, to the CZMQ actor and to topologies.
 */
#ifndef WEFT_NODES_H
#define WEFT_NODES_H

#include "wire/node.h"

#include <weft/node_type.h>

// broker, coordinator and edge, which are made of parts: parts_node.c; the others say so themselves: nodes/<type>/<type>.c.
extern const struct weft_node_type weft_node_type_broker;
extern const struct weft_node_type weft_node_type_coordinator;
extern const struct weft_node_type weft_node_type_tap;
extern const struct weft_node_type weft_node_type_filter;
extern const struct weft_node_type weft_node_type_bridge;
extern const struct weft_node_type weft_node_type_edge;
extern const struct weft_node_type weft_node_type_recorder;
extern const struct weft_node_type weft_node_type_player;

extern const struct weft_node_type *const weft_node_types[]; // NULL at the end

const struct weft_node_type *weft_node_type_find(const char *name); // of the table; NULL: none
bool weft_node_type_is_file(const char *name);                      // "./libcounter.so": has a '/' or ends in ".so"
/*
 * A type by name or by file. A shared object stays open until weft_node_library_close(library), which comes after the
 * last use of the type; of a name `library` becomes NULL. INVALID_ARGUMENT, NOT_FOUND, with a sentence.
 */
WEFT_MUST_USE weft_err_t weft_node_type_open(const char *name, const struct weft_node_type **out, void **library,
                                             struct weft_error *error);
void weft_node_library_close(void **library_p);
// Whether a table keeps the contract of weft/node_type.h. `source` names it in the sentence ("./libcounter.so").
WEFT_MUST_USE weft_err_t weft_node_type_check(const struct weft_node_type *type, const char *source,
                                              struct weft_error *error);
// Parsed settings ("key=value", NULL at the end; NULL allowed) of a type.
WEFT_MUST_USE weft_err_t weft_node_type_options(const struct weft_node_type *type, const char *const *settings,
                                                weft_options_t **out, struct weft_error *error);

#endif
