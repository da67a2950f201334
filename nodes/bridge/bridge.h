// SPDX-License-Identifier: MPL-2.0
/**
 * Bridge: copies topics of one cluster into another, each record exactly once (docs/BRIDGE.md).
 */
#ifndef WEFT_BRIDGE_H
#define WEFT_BRIDGE_H

#include <weft/node_type.h>

extern const struct weft_node_type weft_node_type_bridge;

#endif
