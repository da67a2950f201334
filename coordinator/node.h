// SPDX-License-Identifier: MPL-2.0
/**
 * The coordinator as a node, inside: what outlives its parts.
 */
#ifndef WEFT_COORDINATOR_NODE_H
#define WEFT_COORDINATOR_NODE_H

#include "../lib/log/identity.h"
#include "coordinator.h"

#include <stdatomic.h>

struct weft_coordinator_node {
    struct weft_node base;
    weft_identity_t *identity; // of the data directory; its lock
    weft_counters_t counters;
    _Atomic int health;                      // enum weft_health, as last set by the part
    _Atomic bool in_office;                  // likewise
    char failure[WEFT_ERROR_TEXT_BYTES_MAX]; // written before health becomes FAILED, never after
};

#endif
