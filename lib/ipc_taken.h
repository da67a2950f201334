// SPDX-License-Identifier: MPL-2.0
/**
 * Whether somebody listens on an ipc endpoint. libzmq removes the file of a path before it binds, so that a second
 * program takes the first one's place in silence, and its clients with it; a tcp port in use is refused by the kernel.
 *
 * Nodes made of parts hold a lock beside the path as well (net/endpoint.h); of others that start within the same moment
 * the later one still wins.
 */
#ifndef WEFT_IPC_TAKEN_H
#define WEFT_IPC_TAKEN_H

#include "base/options.h"

/*
 * ENDPOINT_IN_USE with a sentence, if any ipc endpoint that these options have a node listen on is taken. May wait a
 * moment: a socket that was just closed in this process listens a little longer.
 */
WEFT_MUST_USE weft_err_t weft_ipc_check(const struct weft_option *table, size_t count, const weft_options_t *options,
                                        struct weft_error *error);

#endif
