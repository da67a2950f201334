// SPDX-License-Identifier: MPL-2.0
// broker, coordinator and edge as types like any other. They are made of parts that have threads of their own (wire/node.h),
// so that the simulator can run them: here their runtime is made and started by create, and the run thread does nothing
// but wait for the stop and then bring the parts to rest within stop.ms.
#include "host.h"
#include "hosted_node.h"

#include "base/assert.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weft_gen/config.h>

#define S_GRACE_MS 10000 // of parts that don't come to rest, until each was ended as it is

struct s_parts_node {
    weft_hosted_node_t *hosted;
    weft_host_t host;
    const struct weft_node *node;
    bool rests; // the host was ended
};

// Of whoever asks by its own table: each of those at the end of this file has a line here.
static const struct weft_parts_type *s_parts_type(const struct weft_node_type *type)
{
    static const struct weft_parts_type *const types[] = {&weft_node_broker, &weft_node_coordinator, &weft_node_edge};
    size_t i = 0;
    while (strcmp(types[i]->name, type->name) != 0) weft_assert(++i < sizeof types / sizeof *types);
    return types[i];
}

// One I/O thread a shard, at most one a core. With more, what a shard sends in one turn wakes several of them.
static int s_io_threads(const struct weft_parts_type *type, const weft_options_t *options)
{
    int64_t shards = 1;
    for (size_t i = 0; i < type->option_count; i++)
        if (strcmp(type->options[i].name, "shards") == 0) shards = weft_options_int(options, "shards");
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores < 1) cores = 1;
    return (int) (shards < cores ? shards : cores);
}

static weft_err_t s_create(weft_hosted_node_t *hosted, const weft_options_t *options, void **out,
                           struct weft_error *error)
{
    const struct weft_parts_type *type = s_parts_type(weft_hosted_node_type(hosted));
    struct s_parts_node *self = weft_calloc(1, sizeof *self);
    self->hosted = hosted;
    weft_err_t err =
        weft_host_init(&self->host, weft_hosted_node_shared_zmq(hosted), s_io_threads(type, options), error);
    if (err != WEFT_OK) goto fail_self;
    err = weft_host_start(&self->host, type, options, &self->node, error);
    if (err != WEFT_OK) goto fail_host;
    weft_hosted_node_set_name(hosted, self->node->name);
    weft_node_set_endpoint(hosted, self->node->endpoint);
    weft_hosted_node_set_zmq(hosted, weft_runtime_zmq(self->host.runtime));
    weft_hosted_node_set_grace(hosted, S_GRACE_MS);
    *out = self;
    return WEFT_OK;

fail_host:
    weft_host_fini(&self->host);
fail_self:
    free(self);
    return err;
}

static weft_err_t s_run(void *node, struct weft_error *error)
{
    struct s_parts_node *self = node;
    struct pollfd stop = {.fd = weft_node_stop_fd(self->hosted), .events = POLLIN};
    while (!weft_node_stopping(self->hosted))
        if (poll(&stop, 1, -1) < 0 && errno != EINTR)
            return weft_error_set(error, WEFT_ERR_INTERNAL, "can't wait for the stop: %s", strerror(errno));
    self->rests = true;
    weft_err_t err = weft_host_fini(&self->host);
    if (err == WEFT_OK) return WEFT_OK;
    return weft_error_set(error, err, "did not come to rest within its stop.ms; the next start recovers");
}

static void s_destroy(void **node_p)
{
    struct s_parts_node *self = *node_p;
    *node_p = NULL;
    if (!self->rests) weft_host_fini(&self->host);
    free(self);
}

static enum weft_health s_health(const void *node, char *sentence, size_t sentence_bytes)
{
    const struct s_parts_node *self = node;
    return self->node->type->health(self->node, sentence, sentence_bytes);
}

static void s_each_counter(const void *node, weft_counter_fn *each, void *context)
{
    weft_host_counters(&((const struct s_parts_node *) node)->host, each, context);
}

#define S_TYPE(NAME, DOC) \
    { \
        .abi = WEFT_NODE_ABI, .name = #NAME, .doc = DOC, .options = weft_options_##NAME, \
        .option_count = sizeof weft_options_##NAME / sizeof weft_options_##NAME[0], .create = s_create, .run = s_run, \
        .destroy = s_destroy, .health = s_health, .each_counter = s_each_counter \
    }

const struct weft_node_type weft_node_type_broker =
    S_TYPE(broker, "Stores partitions, leads some, follows others; serves producers and consumers.");
const struct weft_node_type weft_node_type_coordinator =
    S_TYPE(coordinator, "Holds brokers, topics, leadership and groups of a cluster, and tells everyone.");
const struct weft_node_type weft_node_type_edge = S_TYPE(
    edge, "One endpoint for clients that reach nothing else: forwards to the leaders, may spool while they are away.");
