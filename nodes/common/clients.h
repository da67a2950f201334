// SPDX-License-Identifier: MPL-2.0
/**
 * Clients inside a node: how a node that stands on the public headers makes the settings of its consumers, producers
 * and admins from its own options.
 *
 * Lists are texts, NULL behind the last, freed as a whole. Later settings win over earlier ones: what the node says
 * first is a default, what a person adds ("key=value,key=value" in the options `consumer` and `producer`) counts.
 */
#ifndef WEFT_COMMON_CLIENTS_H
#define WEFT_COMMON_CLIENTS_H

#include <weft/node_type.h>

// What stands between commas, without the spaces around it; empty pieces are left out.
char **weft_list_split(const char *text);
void weft_list_free(char ***list_p); // NULL inside is fine; nulled

// bootstrap=, client= (the node's name), then `own` (NULL at the end), then the pieces of `more`.
char **weft_inside_settings(const weft_hosted_node_t *node, const char *bootstrap, const char *const *own,
                            const char *more);

// Complains of what is wrong in such an option (`consumer`), by the table of that client's settings.
void weft_inside_check(const weft_options_t *options, const char *option, const struct weft_option *table, size_t count,
                       weft_complain_fn *complain, void *context);

#endif
