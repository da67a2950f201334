// SPDX-License-Identifier: MPL-2.0
// Nodes stop in the reverse order of their start: brokers leave while their coordinator still listens.
#include "host.h"

#include "base/assert.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

weft_err_t weft_host_init(weft_host_t *self, void *zmq_context, int io_threads, struct weft_error *error)
{
    *self = (weft_host_t){0};
    struct weft_runtime_how how = {.zmq_context = zmq_context, .io_threads = io_threads};
    return weft_runtime_new(&how, &self->runtime, error);
}

weft_err_t weft_host_start(weft_host_t *self, const struct weft_parts_type *type, const weft_options_t *options,
                           const struct weft_node **out, struct weft_error *error)
{
    weft_assert(self->count < WEFT_HOST_NODES_MAX);
    const weft_world_t *world = weft_runtime_world(self->runtime);
    struct weft_node *node = NULL;
    weft_err_t err = type->create(world, options, &node, error);
    if (err != WEFT_OK) return err;
    self->nodes[self->count] = node;
    self->stop_ms[self->count++] = weft_options_int(options, "stop.ms");
    world->ops->start(world->self);
    *out = node;
    return WEFT_OK;
}

static int s_badness(enum weft_health health)
{
    switch (health) {
    case WEFT_HEALTH_SERVING: return 0;
    case WEFT_HEALTH_DEGRADED: return 1;
    case WEFT_HEALTH_STARTING: return 2;
    case WEFT_HEALTH_STOPPING: return 3;
    case WEFT_HEALTH_FAILED: return 4;
    default: return 4;
    }
}

enum weft_health weft_host_health(const weft_host_t *self, char *sentence, size_t sentence_bytes)
{
    enum weft_health worst = WEFT_HEALTH_SERVING;
    if (sentence != NULL && sentence_bytes > 0) sentence[0] = '\0';
    for (size_t i = 0; i < self->count; i++) {
        char text[WEFT_ERROR_TEXT_BYTES_MAX] = "";
        enum weft_health health = self->nodes[i]->type->health(self->nodes[i], text, sizeof text);
        if (s_badness(health) <= s_badness(worst)) continue;
        worst = health;
        if (sentence != NULL)
            snprintf(sentence, sentence_bytes, "%s is %s%s%s", self->nodes[i]->name, weft_health_name(health),
                     text[0] != '\0' ? ": " : "", text);
    }
    return worst;
}

static int64_t s_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

weft_err_t weft_host_wait_serving(const weft_host_t *self, int timeout_ms, struct weft_error *error)
{
    int64_t deadline = s_clock_ms() + timeout_ms;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    for (;;) {
        enum weft_health health = weft_host_health(self, sentence, sizeof sentence);
        if (health == WEFT_HEALTH_SERVING || health == WEFT_HEALTH_DEGRADED) return WEFT_OK;
        if (health == WEFT_HEALTH_FAILED) return weft_error_set(error, WEFT_ERR_INTERNAL, "%.480s", sentence);
        if (s_clock_ms() >= deadline)
            return weft_error_set(error, WEFT_ERR_LOCAL_TIMED_OUT, "after %d ms %.400s", timeout_ms, sentence);
        nanosleep(&(const struct timespec){.tv_nsec = 1000000},
                  NULL); // health has no event; starting takes some of these
    }
}

static void s_each(const weft_counters_t *set, const char *source, weft_counter_fn *each, void *context)
{
    for (size_t i = 0; i < set->count; i++)
        each(context, source, set->infos[i].name, set->infos[i].doc, weft_counter_get(set, i));
}

void weft_host_counters(const weft_host_t *self, weft_counter_fn *each, void *context)
{
    char source[WEFT_NODE_NAME_BYTES_MAX + 32];
    for (size_t i = 0; i < self->count; i++) {
        const struct weft_node *node = self->nodes[i];
        for (size_t k = 0; k < node->counters_count; k++) {
            snprintf(source, sizeof source, "%s/%zu", node->name, k);
            s_each(node->counters[k], source, each, context);
        }
        for (size_t k = 0; k < node->part_count; k++) {
            const weft_counters_t *set = weft_runtime_counters(self->runtime, node->parts[k]);
            snprintf(source, sizeof source, "%s/net-%zu", node->name, k);
            if (set != NULL) s_each(set, source, each, context);
        }
    }
}

weft_err_t weft_host_fini(weft_host_t *self)
{
    weft_err_t result = WEFT_OK;
    while (self->count > 0) {
        self->count--;
        weft_err_t err =
            weft_runtime_stop_node(self->runtime, &self->nodes[self->count], self->stop_ms[self->count] * 1000);
        if (err != WEFT_OK) result = err;
    }
    weft_runtime_destroy(&self->runtime);
    return result;
}
