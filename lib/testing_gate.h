// SPDX-License-Identifier: MPL-2.0
/**
 * Gate: what libweft-testing needs of libweft's inside, as one table, so that libweft shows one symbol more and no others.
 *
 * libweft-testing has its own copies of what has no state (lib/base, lib/wire); what has state, or sockets, is reached
 * through here. Both libraries come from one build: `version` tells them apart if they don't.
 */
#ifndef WEFT_TESTING_GATE_H
#define WEFT_TESTING_GATE_H

#include "base/trace.h"
#include "client/driver.h"
#include "net/disturb.h"
#include "wire/node.h"

#include <weft/export.h>

/** A node on threads of its own: a runtime for itself, so that it can be ended alone. */
struct weft_gate_node;

struct weft_gate {
    const char *version;
    const struct weft_parts_type *broker, *coordinator;
    void (*provide)(const char *scheme, weft_driver_make_fn *make);
    void (*seed)(uint64_t seed); // ids of nodes' directories come from it; 0: of the operating system again
    void (*trace)(enum weft_trace_level level);
    void (*trace_to)(weft_trace_sink_fn *sink, void *context); // NULL: stderr
    void (*disturb)(weft_disturb_fn *fn);
    uint64_t (*disturb_serial)(void);

    weft_err_t (*start)(const struct weft_parts_type *type, const weft_options_t *options, const struct weft_disk *disk,
                        struct weft_gate_node **out, struct weft_error *error);
    const struct weft_node *(*node)(const struct weft_gate_node *self);
    weft_err_t (*stop)(struct weft_gate_node **self_p, int64_t timeout_us); // cleanly
    void (*kill)(struct weft_gate_node **self_p);                           // as it is
};

WEFT_EXPORT const struct weft_gate *weft_testing_gate(void);

#endif
