// SPDX-License-Identifier: MPL-2.0
// The topology as a value: one arena holds all text, problems are kept in the order of their lines.
#include "inner.h"

#include "../base/assert.h"
#include "../base/options_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void weft_topology_destroy(weft_topology_t **self_p)
{
    weft_topology_t *self = *self_p;
    if (!self) return;
    for (size_t i = 0; i < self->node_count; i++) weft_options_destroy(&self->inside[i].options);
    free(self->inside);
    free(self->groups);
    free(self->listens);
    free(self->outside);
    free(self->flows);
    free(self->links);
    weft_arena_fini(&self->arena);
    free(self);
    *self_p = NULL;
}

// ---- problems

// A problem of an earlier line goes before those that are there already; of one line they stay as they came.
void weft_topology_complain(weft_topology_t *self, unsigned line, const char *format, ...)
{
    struct weft_error error;
    va_list list;
    va_start(list, format);
    char text[2 * WEFT_ERROR_TEXT_BYTES_MAX];
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (self->problem_count == WEFT_TOPOLOGY_PROBLEMS_MAX) {
        self->problem_dropped++;
        return;
    }
    (void) weft_error_set(&error, WEFT_ERR_INVALID_OPTION, "%s", text); // clean: what a file says may be quoted
    size_t at = self->problem_count++;
    for (; at > 0 && self->problems[at - 1].line > line; at--) self->problems[at] = self->problems[at - 1];
    self->problems[at] =
        (struct weft_topology_problem){line, weft_arena_text(&self->arena, weft_slice_text(error.text))};
}

size_t weft_topology_problem_count(const weft_topology_t *self)
{
    return self->problem_count;
}

size_t weft_topology_problems_dropped(const weft_topology_t *self)
{
    return self->problem_dropped;
}

const struct weft_topology_problem *weft_topology_problem(const weft_topology_t *self, size_t index)
{
    weft_assert(index < self->problem_count);
    return &self->problems[index];
}

// ---- what it says

const char *weft_topology_path(const weft_topology_t *self)
{
    return self->path;
}

const char *weft_topology_name(const weft_topology_t *self)
{
    return self->name;
}

const char *weft_topology_data(const weft_topology_t *self)
{
    return self->data;
}

size_t weft_topology_node_count(const weft_topology_t *self)
{
    return self->node_count;
}

const struct weft_topology_node *weft_topology_node(const weft_topology_t *self, size_t index)
{
    weft_assert(index < self->node_count);
    return &self->nodes[index];
}

size_t weft_topology_topic_count(const weft_topology_t *self)
{
    return self->topic_count;
}

const struct weft_topology_topic *weft_topology_topic(const weft_topology_t *self, size_t index)
{
    weft_assert(index < self->topic_count);
    return &self->topics[index];
}

size_t weft_topology_find(const weft_topology_t *self, const char *name)
{
    for (size_t i = 0; i < self->node_count; i++) {
        if (strcmp(self->nodes[i].name, name) == 0) return i;
    }
    return WEFT_TOPOLOGY_NONE;
}

// ---- helpers of the layer

const char *weft_topology_keep(weft_topology_t *self, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *made = NULL;
    int size = vasprintf(&made, format, list);
    va_end(list);
    weft_assert(size >= 0);
    const char *kept = weft_arena_text(&self->arena, weft_slice(made, (size_t) size));
    free(made);
    return kept;
}

const char *weft_topology_nearest_node(const weft_topology_t *self, const char *name)
{
    const char *names[WEFT_TOPOLOGY_NODES_MAX + WEFT_TOPOLOGY_GROUPS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < self->node_count; i++) names[count++] = self->nodes[i].name;
    for (size_t i = 0; i < self->group_count; i++) names[count++] = self->groups[i].name;
    return weft_nearest(name, names, count);
}

size_t weft_topology_option_index(const struct weft_node_type *type, const char *name)
{
    for (size_t i = 0; i < type->option_count; i++) {
        if (strcmp(type->options[i].name, name) == 0) return i;
    }
    return WEFT_TOPOLOGY_NONE;
}

bool weft_topology_part(const char **at, weft_slice_t *part)
{
    while (**at == ' ' || **at == ',') (*at)++;
    if (!**at) return false;
    size_t size = strcspn(*at, ",");
    const char *begin = *at;
    *at += size;
    while (size > 0 && begin[size - 1] == ' ') size--;
    *part = weft_slice(begin, size);
    return true;
}

const char *weft_topology_option(const weft_topology_t *self, size_t node, const char *option)
{
    const struct weft_topology_node *known = weft_topology_node(self, node);
    if (!known->type || weft_topology_option_index(known->type, option) == WEFT_TOPOLOGY_NONE) return NULL;
    return weft_options_text(self->inside[node].options, option);
}

int64_t weft_topology_stop_ms(const weft_topology_t *self, size_t node)
{
    if (!weft_topology_option(self, node, "stop.ms")) return 10000; // as weft/node_type.h says
    return weft_options_int(self->inside[node].options, "stop.ms");
}
