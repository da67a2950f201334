// SPDX-License-Identifier: MPL-2.0
// One node over a host of its own (weft/node.h). The I/O threads follow its shards, up to the number of cores.
#include "host.h"
#include "net/process.h"

#include <stdlib.h>

struct weft_hosted_node {
    weft_host_t host;
    const struct weft_node *node;
};

const char *weft_health_name(enum weft_health health)
{
    switch (health) {
    case WEFT_HEALTH_STARTING: return "starting";
    case WEFT_HEALTH_SERVING: return "serving";
    case WEFT_HEALTH_DEGRADED: return "degraded";
    case WEFT_HEALTH_STOPPING: return "stopping";
    case WEFT_HEALTH_FAILED: return "failed";
    default: return "unknown";
    }
}

weft_err_t weft_node_start(const char *type_name, const char *const *settings, weft_hosted_node_t **out,
                           struct weft_error *error)
{
    const struct weft_parts_type *type = weft_node_type_find(type_name, error);
    if (type == NULL) return WEFT_ERR_INVALID_ARGUMENT;
    weft_options_t *options = NULL;
    weft_err_t err = weft_node_type_options(type, settings, &options, error);
    if (err != WEFT_OK) return err;
    weft_hosted_node_t *self = weft_calloc(1, sizeof *self);
    err = weft_host_init(&self->host, weft_process_io_threads(type, options), error);
    if (err != WEFT_OK) goto fail_options;
    err = weft_host_start(&self->host, type, options, &self->node, error);
    if (err != WEFT_OK) goto fail_host;
    weft_options_destroy(&options);
    *out = self;
    return WEFT_OK;

fail_host:
    weft_host_fini(&self->host);
fail_options:
    weft_options_destroy(&options);
    free(self);
    return err;
}

weft_err_t weft_node_stop(weft_hosted_node_t **self_p)
{
    weft_hosted_node_t *self = *self_p;
    if (self == NULL) return WEFT_OK;
    *self_p = NULL;
    weft_err_t err = weft_host_fini(&self->host);
    free(self);
    return err;
}

const char *weft_node_name(const weft_hosted_node_t *self)
{
    return self->node->name;
}

const char *weft_node_endpoint(const weft_hosted_node_t *self)
{
    return self->node->endpoint;
}

enum weft_health weft_node_health(const weft_hosted_node_t *self, char *sentence, size_t sentence_bytes)
{
    char text[WEFT_ERROR_TEXT_BYTES_MAX] = "";
    if (sentence == NULL) return self->node->type->health(self->node, text, sizeof text);
    if (sentence_bytes > 0) sentence[0] = '\0';
    return self->node->type->health(self->node, sentence, sentence_bytes);
}

weft_err_t weft_node_wait_serving(const weft_hosted_node_t *self, int timeout_ms, struct weft_error *error)
{
    return weft_host_wait_serving(&self->host, timeout_ms, error);
}

void weft_node_counters(const weft_hosted_node_t *self, weft_counter_fn *each, void *context)
{
    weft_host_counters(&self->host, each, context);
}

void *weft_node_zmq_context(const weft_hosted_node_t *self)
{
    return weft_runtime_zmq(self->host.runtime);
}
