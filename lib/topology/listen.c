// SPDX-License-Identifier: MPL-2.0
// Which endpoints the nodes bind, how others reach them, and that no two of them are the same.
#include "inner.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- endpoints as text

struct s_tcp {
    weft_slice_t host;
    long port; // 0: any that is free
};

static bool s_tcp(const char *text, struct s_tcp *out)
{
    if (strncmp(text, "tcp://", 6) != 0) return false;
    const char *colon = strrchr(text + 6, ':');
    if (!colon) return false;
    char *end;
    bool star = strcmp(colon, ":*") == 0;
    long port = star ? 0 : strtol(colon + 1, &end, 10);
    if (!star && (!isdigit((unsigned char) colon[1]) || *end || port > 65535)) return false;
    *out = (struct s_tcp){weft_slice(text + 6, (size_t) (colon - text - 6)), port};
    return true;
}

static bool s_is_any(weft_slice_t host)
{
    return weft_slice_is_text(host, "*") || weft_slice_is_text(host, "0.0.0.0") || weft_slice_is_text(host, "[::]");
}

static bool s_is_here(weft_slice_t host)
{
    return weft_slice_is_text(host, "localhost") || weft_slice_is_text(host, "127.0.0.1") ||
           weft_slice_is_text(host, "[::1]");
}

static bool s_same_host(weft_slice_t a, weft_slice_t b)
{
    return weft_slice_equal(a, b) || (s_is_here(a) && s_is_here(b));
}

// ---- finding them

// "replica.listen" is told to others as "replica.advertise", where the type has that and it is set.
static const char *s_advertised(const weft_topology_t *self, const struct weft_topology_listen *listen)
{
    const struct weft_node_type *type = self->nodes[listen->node].type;
    const char *name = type->options[listen->option].name;
    size_t size = strlen(name);
    if (size < 6 || strcmp(name + size - 6, "listen") != 0) return "";
    char other[128];
    snprintf(other, sizeof other, "%.*sadvertise", (int) (size - 6), name);
    if (weft_topology_option_index(type, other) == WEFT_TOPOLOGY_NONE) return "";
    return weft_options_text(self->inside[listen->node].options, other);
}

void weft_topology_reach(weft_topology_t *self, struct weft_topology_listen *listen)
{
    const char *advertised = s_advertised(self, listen);
    struct s_tcp tcp;
    if (*advertised)
        listen->reach = weft_topology_keep(self, "%s", advertised);
    else if (s_tcp(listen->text, &tcp) && s_is_any(tcp.host))
        listen->reach = weft_topology_keep(self, "tcp://127.0.0.1%s", strrchr(listen->text, ':'));
    else
        listen->reach = listen->text;
}

static unsigned s_line_of(const struct weft_topology_node *node, const char *key)
{
    for (size_t i = 0; i < node->setting_count; i++) {
        if (strcmp(node->settings[i].key, key) == 0) return node->settings[i].line;
    }
    return 0;
}

static unsigned s_shards(const weft_topology_t *self, size_t node)
{
    size_t at = weft_topology_option_index(self->nodes[node].type, "shards");
    if (at == WEFT_TOPOLOGY_NONE || self->nodes[node].type->options[at].type != WEFT_OPTION_INT) return 1;
    return (unsigned) weft_options_int(self->inside[node].options, "shards");
}

static void s_add(weft_topology_t *self, size_t node, size_t option, weft_slice_t text, unsigned count)
{
    self->listens = weft_realloc(self->listens, (self->listen_count + 1) * sizeof *self->listens);
    struct weft_topology_listen *listen = &self->listens[self->listen_count++];
    *listen = (struct weft_topology_listen){
        .node = node,
        .option = option,
        .line = s_line_of(&self->nodes[node], self->nodes[node].type->options[option].name),
        .text = weft_arena_text(&self->arena, text),
        .count = count};
    weft_topology_reach(self, listen);
}

void weft_topology_find_listens(weft_topology_t *self)
{
    for (size_t i = 0; i < self->node_count; i++) {
        const struct weft_node_type *type = self->nodes[i].type;
        bool first = true;
        for (size_t k = 0; type && k < type->option_count; k++) {
            if (type->options[k].role != WEFT_OPTION_ROLE_LISTEN) continue;
            const char *at = weft_options_text(self->inside[i].options, type->options[k].name);
            weft_slice_t part;
            while (weft_topology_part(&at, &part)) {
                s_add(self, i, k, part, first ? s_shards(self, i) : 1);
                first = false;
            }
        }
    }
}

const struct weft_topology_listen *weft_topology_listen_of(const weft_topology_t *self, size_t node, const char *option)
{
    for (size_t i = 0; i < self->listen_count; i++) {
        const struct weft_topology_listen *listen = &self->listens[i];
        if (listen->node != node) continue;
        if (!option || strcmp(self->nodes[node].type->options[listen->option].name, option) == 0) return listen;
    }
    return NULL;
}

size_t weft_topology_listener(const weft_topology_t *self, weft_slice_t endpoint)
{
    char text[300];
    struct s_tcp wanted, has;
    if (endpoint.size >= sizeof text) return WEFT_TOPOLOGY_NONE;
    memcpy(text, endpoint.data, endpoint.size);
    text[endpoint.size] = 0;
    bool tcp = s_tcp(text, &wanted);
    for (size_t i = 0; i < self->listen_count; i++) {
        const struct weft_topology_listen *listen = &self->listens[i];
        if (weft_slice_is_text(endpoint, listen->reach) || weft_slice_is_text(endpoint, listen->text))
            return listen->node;
        if (tcp && s_tcp(listen->reach, &has) && has.port && has.port <= wanted.port &&
            wanted.port < has.port + listen->count && s_same_host(has.host, wanted.host))
            return listen->node;
    }
    return WEFT_TOPOLOGY_NONE;
}

const char *weft_topology_endpoint(const weft_topology_t *self, size_t node)
{
    const struct weft_topology_listen *listen = weft_topology_listen_of(self, node, NULL);
    return listen ? listen->reach : "";
}

// ---- no two the same

// "ipc://./a//b" is "ipc://a/b".
static bool s_same_text(const char *a, const char *b)
{
    if (strncmp(a, "ipc://", 6) != 0 || strncmp(b, "ipc://", 6) != 0) return strcmp(a, b) == 0;
    char *one = weft_topology_plain_path(a + 6), *two = weft_topology_plain_path(b + 6);
    bool same = strcmp(one, two) == 0;
    free(one);
    free(two);
    return same;
}

static bool s_collide(const struct weft_topology_listen *a, const struct weft_topology_listen *b)
{
    struct s_tcp x, y;
    if (!s_tcp(a->text, &x) || !s_tcp(b->text, &y)) return s_same_text(a->text, b->text);
    if (!x.port || !y.port) return false;
    if (!s_same_host(x.host, y.host) && !s_is_any(x.host) && !s_is_any(y.host)) return false;
    return x.port < y.port + (long) b->count && y.port < x.port + (long) a->count;
}

static const char *s_where(weft_topology_t *self, const struct weft_topology_listen *listen)
{
    const char *option = self->nodes[listen->node].type->options[listen->option].name;
    if (listen->line) return weft_topology_keep(self, "'%s' in line %u", option, listen->line);
    return weft_topology_keep(self, "its default of '%s'", option);
}

static void s_complain_pair(weft_topology_t *self, const struct weft_topology_listen *a,
                            const struct weft_topology_listen *b)
{
    const struct weft_topology_node *first = &self->nodes[a->node], *second = &self->nodes[b->node];
    const char *shards = a->count > 1 || b->count > 1 ? " (each shard takes one more port)" : "";
    weft_topology_complain(
        self, b->line ? b->line : second->line,
        "'%s' would listen on %s (%s), but '%s' in line %u has %s (%s)%s; give one of them another endpoint, or "
        "tcp://127.0.0.1:* for a free port.",
        second->name, b->text, s_where(self, b), first->name, first->line, a->text, s_where(self, a), shards);
}

static void s_check_one(weft_topology_t *self, const struct weft_topology_listen *listen, bool processes)
{
    const struct weft_topology_node *node = &self->nodes[listen->node];
    unsigned line = listen->line ? listen->line : node->line;
    struct s_tcp tcp;
    if (!strstr(listen->text, "://")) {
        weft_topology_complain(self, line, "'%s' is no endpoint; write tcp://HOST:PORT, ipc://PATH or inproc://NAME.",
                               listen->text);
    } else if (strncmp(listen->text, "tcp://", 6) == 0 && !s_tcp(listen->text, &tcp)) {
        const char *colon = strrchr(listen->text + 6, ':');
        bool number = colon && colon[1] && colon[1 + strspn(colon + 1, "0123456789")] == 0;
        weft_topology_complain(self, line,
                               number ? "The port of '%s' is out of range; it is 1 to 65535, or * for a free one."
                                      : "'%s' has no port; write tcp://HOST:PORT, or tcp://HOST:* for a free one.",
                               listen->text);
    } else if (strncmp(listen->text, "inproc://", 9) == 0 &&
               (processes || (node->type->traits & WEFT_NODE_OWN_PROCESS))) {
        weft_topology_complain(
            self, line,
            "'%s' listens on %s, which reaches only the nodes of one process, but it has one of its own%s; "
            "use ipc:// or tcp://.",
            node->name, listen->text, processes ? " with --processes" : "");
    }
}

void weft_topology_check_listens(weft_topology_t *self, bool processes)
{
    for (size_t i = 0; i < self->listen_count; i++) {
        s_check_one(self, &self->listens[i], processes);
        size_t k = 0;
        while (k < i && !s_collide(&self->listens[k], &self->listens[i])) k++;
        if (k < i) s_complain_pair(self, &self->listens[k], &self->listens[i]); // one is enough to find them all
    }
}

// ---- ports

weft_err_t weft_topology_place(weft_topology_t *self, weft_topology_port_fn *port, void *context,
                               struct weft_error *error)
{
    for (size_t i = 0; i < self->listen_count; i++) {
        struct weft_topology_listen *listen = &self->listens[i];
        struct s_tcp tcp;
        if (!s_tcp(listen->text, &tcp) || tcp.port) continue;
        const struct weft_topology_node *node = &self->nodes[listen->node];
        const char *host = weft_arena_text(&self->arena, tcp.host);
        unsigned given = port(context, node->name, node->type->options[listen->option].name, host, listen->count);
        if (given == 0)
            return weft_error_set(error, WEFT_ERR_INVALID_ENDPOINT,
                                  "%s:%u: No free port is found for '%s' on %s; check that the address is one of this "
                                  "machine.",
                                  self->path, node->line, node->name, listen->text);
        listen->text = weft_topology_keep(self, "tcp://%s:%u", host, given);
        weft_topology_reach(self, listen);
    }
    weft_topology_expand_again(self);
    return WEFT_OK;
}
