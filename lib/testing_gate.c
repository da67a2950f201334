// SPDX-License-Identifier: MPL-2.0
#include "testing_gate.h"

#include "base/map.h"
#include "base/rand.h"
#include "net/runtime.h"
#include "zmq_context.h"

#include <stdlib.h>

struct weft_gate_node {
    weft_runtime_t *runtime;
    struct weft_node *node;
    bool inproc; // in the process's shared context
};

static void s_free(struct weft_gate_node *self)
{
    if (self->inproc) weft_zmq_context_release();
    free(self);
}

static weft_err_t s_start(const struct weft_parts_type *type, const weft_options_t *options,
                          const struct weft_disk *disk, struct weft_gate_node **out, struct weft_error *error)
{
    struct weft_gate_node *self = weft_calloc(1, sizeof *self);
    self->inproc = weft_zmq_context_is_for(weft_options_text(options, "listen"));
    struct weft_runtime_how how = {
        .zmq_context = self->inproc ? weft_zmq_context_take() : NULL, .io_threads = 1, .disk = disk};
    weft_err_t err = weft_runtime_new(&how, &self->runtime, error);
    if (err != WEFT_OK) goto fail_new;
    const weft_world_t *world = weft_runtime_world(self->runtime);
    err = type->create(world, options, &self->node, error);
    if (err != WEFT_OK) goto fail_runtime;
    world->ops->start(world->self);
    *out = self;
    return WEFT_OK;

fail_runtime:
    weft_runtime_destroy(&self->runtime);
fail_new:
    s_free(self);
    return err;
}

static const struct weft_node *s_node(const struct weft_gate_node *self)
{
    return self->node;
}

static weft_err_t s_stop(struct weft_gate_node **self_p, int64_t timeout_us)
{
    struct weft_gate_node *self = *self_p;
    *self_p = NULL;
    weft_err_t err = weft_runtime_stop_node(self->runtime, &self->node, timeout_us);
    weft_runtime_destroy(&self->runtime);
    s_free(self);
    return err;
}

static void s_kill(struct weft_gate_node **self_p)
{
    struct weft_gate_node *self = *self_p;
    *self_p = NULL;
    weft_runtime_destroy(&self->runtime); // its parts as they are
    self->node->type->destroy(&self->node);
    s_free(self);
}

// The first map of a process takes randomness once; it must not be the first run with a seed that pays for it.
static void s_seed(uint64_t seed)
{
    weft_map_t *map = weft_map_new();
    weft_map_destroy(&map);
    weft_rand_source_set(seed);
}

const struct weft_gate *weft_testing_gate(void)
{
    static const struct weft_gate gate = {.version = WEFT_VERSION,
                                          .broker = &weft_node_broker,
                                          .coordinator = &weft_node_coordinator,
                                          .provide = weft_driver_provide,
                                          .seed = s_seed,
                                          .trace = weft_trace_level_set,
                                          .trace_to = weft_trace_sink_set,
                                          .disturb = weft_disturb_set,
                                          .disturb_serial = weft_disturb_serial,
                                          .start = s_start,
                                          .node = s_node,
                                          .stop = s_stop,
                                          .kill = s_kill};
    return &gate;
}
