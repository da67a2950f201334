// SPDX-License-Identifier: MPL-2.0
/*
 * References: in a value, a list, each part may be @NODE, @NODE.OPTION or @GROUP, also behind KEY=
 * ("1=@coordinator-1"). A letter follows the '@': positions in time (@1700000000, @-90s) are none, nor is
 * ipc://@abstract. "@@" stands for "@".
 *
 * Every part that is an endpoint, by name or written out, is noted as a link; all that is said about who knows whom
 * comes from the links, never from text: with tcp://HOST:* two nodes have the same text until they have ports.
 */
#include "inner.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// Where the '@' of a reference (or "@@") stands in a part, NULL if it has none.
static const char *s_at(weft_slice_t part)
{
    const char *text = (const char *) part.data, *end = text + part.size;
    if (part.size > 0 && *text != '@') {
        const char *equals = memchr(text, '=', part.size);
        if (!equals) return NULL;
        text = equals + 1;
    }
    if (end - text < 2 || *text != '@') return NULL;
    return isalpha((unsigned char) text[1]) || text[1] == '@' ? text : NULL;
}

bool weft_topology_has_refs(const char *value)
{
    const char *at = value;
    weft_slice_t part;
    while (weft_topology_part(&at, &part))
        if (s_at(part)) return true;
    return false;
}

// ---- links

static size_t s_outside(weft_topology_t *self, weft_slice_t endpoint)
{
    for (size_t i = 0; i < self->outside_count; i++)
        if (weft_slice_is_text(endpoint, self->outside[i])) return i;
    self->outside = weft_realloc(self->outside, (self->outside_count + 1) * sizeof *self->outside);
    self->outside[self->outside_count] = weft_arena_text(&self->arena, endpoint);
    return self->outside_count++;
}

static void s_link(weft_topology_t *self, size_t node, size_t option, size_t to, unsigned line)
{
    if (self->link_count == WEFT_TOPOLOGY_LINKS_MAX) {
        if (!self->links_dropped)
            weft_topology_complain(self, line, "More than %d endpoints are used in one file; split it.",
                                   WEFT_TOPOLOGY_LINKS_MAX);
        self->links_dropped = true;
        return;
    }
    if (self->link_count % 256 == 0)
        self->links = weft_realloc(self->links, (self->link_count + 256) * sizeof *self->links);
    self->links[self->link_count++] = (struct weft_topology_link){node, option, to, line};
}

void weft_topology_link_parts(weft_topology_t *self, size_t node, size_t option, const char *value, unsigned line)
{
    const char *at = value;
    weft_slice_t part;
    while (weft_topology_part(&at, &part)) {
        if (s_at(part)) continue;
        const uint8_t *equals = memchr(part.data, '=', part.size); // ID=ENDPOINT
        const uint8_t *begin = equals ? equals + 1 : part.data;
        weft_slice_t endpoint = weft_slice(begin, (size_t) (part.data + part.size - begin));
        char *text = weft_slice_dup(endpoint);
        if (!strstr(text, "://"))
            weft_topology_complain(self, line ? line : self->nodes[node].line,
                                   "'%.100s' is no endpoint; write tcp://HOST:PORT, or @NODE for a node of this file.",
                                   text);
        else {
            size_t to = weft_topology_listener(self, endpoint);
            s_link(self, node, option,
                   to != WEFT_TOPOLOGY_NONE ? to : WEFT_TOPOLOGY_OUTSIDE + s_outside(self, endpoint), line);
        }
        free(text);
    }
}

// ---- replacing

struct s_expand {
    weft_topology_t *self;
    size_t node, option;
    const struct weft_topology_setting *setting;
    bool first, good;
    weft_buf_t out;
};

static void s_separate(struct s_expand *expand)
{
    if (expand->out.size > 0) weft_buf_append(&expand->out, ",", 1);
}

// Two of one type that give each other orders know each other by id (the coordinators' ID=ENDPOINT).
static bool s_are_peers(const struct s_expand *expand, size_t other)
{
    const struct weft_node_type *type = expand->self->nodes[expand->node].type;
    return type == expand->self->nodes[other].type && type->options[expand->option].role == WEFT_OPTION_ROLE_CONTROL &&
           weft_topology_option_index(type, "id") != WEFT_TOPOLOGY_NONE;
}

static void s_put_endpoint(struct s_expand *expand, weft_slice_t key, size_t other, const char *option)
{
    weft_topology_t *self = expand->self;
    const struct weft_topology_node *node = &self->nodes[other];
    const struct weft_topology_listen *listen = weft_topology_listen_of(self, other, option);
    if (!node->type) return; // told where its type stands
    s_separate(expand);
    if (!listen) {
        expand->good = false;
        weft_topology_complain(self, expand->setting->line,
                               option ? "'%s' has no option '%s' by which it listens; @%s is its first endpoint."
                                      : "'%s' listens nowhere%s, so nothing can connect to it; set its option for that "
                                        "(weft node describe %s).",
                               node->name, option ? option : "", option ? node->name : node->type->name);
        return;
    }
    if (key.size > 0)
        weft_buf_append(&expand->out, key.data, key.size);
    else if (s_are_peers(expand, other))
        weft_buf_printf(&expand->out, "%s=", weft_options_text(self->inside[other].options, "id"));
    weft_buf_printf(&expand->out, "%s", listen->reach);
    if (expand->first) s_link(self, expand->node, expand->option, other, expand->setting->line);
}

static void s_put_ref(struct s_expand *expand, weft_slice_t key, const char *name, const char *option)
{
    weft_topology_t *self = expand->self;
    size_t node = weft_topology_find(self, name);
    if (node != WEFT_TOPOLOGY_NONE) {
        s_put_endpoint(expand, key, node, option);
        return;
    }
    for (size_t i = 0; i < self->group_count; i++) {
        if (strcmp(self->groups[i].name, name) != 0) continue;
        for (size_t k = 0; k < self->groups[i].count; k++)
            s_put_endpoint(expand, key, self->groups[i].nodes[k], option);
        return;
    }
    expand->good = false;
    const char *near = weft_topology_nearest_node(self, name);
    weft_topology_complain(
        self, expand->setting->line, "There is no node '%.80s' for '%s'%s%s%s", name, expand->setting->key,
        near ? "; did you mean '@" : "; the nodes are the sections of this file", near ? near : "", near ? "'?" : ".");
}

static void s_put_part(struct s_expand *expand, weft_slice_t part)
{
    const char *at = s_at(part), *end = (const char *) part.data + part.size;
    if (!at) {
        s_separate(expand);
        weft_buf_append(&expand->out, part.data, part.size);
        return;
    }
    weft_slice_t key = weft_slice(part.data, (size_t) (at - (const char *) part.data));
    if (at[1] == '@') {
        s_separate(expand);
        weft_buf_append(&expand->out, key.data, key.size);
        weft_buf_append(&expand->out, at + 1, (size_t) (end - at - 1));
        return;
    }
    char *name = weft_slice_dup(weft_slice(at + 1, (size_t) (end - at - 1)));
    char *dot = strchr(name, '.');
    if (dot) *dot = 0;
    s_put_ref(expand, key, name, dot ? dot + 1 : NULL);
    free(name);
}

const char *weft_topology_expand(weft_topology_t *self, size_t node, size_t option,
                                 const struct weft_topology_setting *setting, bool first)
{
    struct s_expand expand = {self, node, option, setting, first, true, {0}};
    weft_buf_init(&expand.out);
    const char *at = setting->value;
    weft_slice_t part;
    while (weft_topology_part(&at, &part)) s_put_part(&expand, part);
    const char *made = weft_arena_text(&self->arena, weft_buf_slice(&expand.out));
    weft_buf_fini(&expand.out);
    return expand.good ? made : NULL;
}
