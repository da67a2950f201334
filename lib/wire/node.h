// SPDX-License-Identifier: MPL-2.0
/**
 * A node made of parts: broker, coordinator, edge.
 *
 * To the outside it is a node like any other (weft/node_type.h; lib/parts_node.c adapts it). It is made of parts (port.h)
 * added to a world, so that the same node runs as a process (`weft broker`), inside `weft up`, as a CZMQ actor in any
 * program, and in the simulator: only the world differs.
 */
#ifndef WEFT_WIRE_NODE_H
#define WEFT_WIRE_NODE_H

#include "../base/metrics.h"
#include "../base/options.h"
#include "port.h"

#include <weft/node.h>

#define WEFT_NODE_NAME_BYTES_MAX 64
#define WEFT_NODE_PARTS_MAX 80

struct weft_node;

struct weft_parts_type {
    const char *name;                  // "broker"
    const char *doc;                   // one sentence
    const struct weft_option *options; // every setting, described once
    size_t option_count;
    /*
     * Checks the options, opens and locks the data directory, adds the parts to the world (nothing runs before
     * world->start). Refused: `error` says why and what to do, nothing is left behind.
     */
    weft_err_t (*create)(const weft_world_t *world, const weft_options_t *options, struct weft_node **out,
                         struct weft_error *error);
    enum weft_health (*health)(const struct weft_node *self, char *sentence, size_t sentence_bytes); // any thread
    void (*destroy)(struct weft_node **self_p); // after all its parts were destroyed; releases the lock
};

/** First member of every node. */
struct weft_node {
    const struct weft_parts_type *type;
    char name[WEFT_NODE_NAME_BYTES_MAX];       // "broker-1"
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];    // its first endpoint, as bound
    weft_part_id_t parts[WEFT_NODE_PARTS_MAX]; // in the order in which they are to be stopped
    size_t part_count;
    const weft_counters_t *counters[WEFT_NODE_PARTS_MAX]; // any thread may read
    size_t counters_count;
};

extern const struct weft_parts_type weft_node_broker;      // nodes/broker
extern const struct weft_parts_type weft_node_coordinator; // coordinator
extern const struct weft_parts_type weft_node_edge;        // nodes/edge

#endif
