// SPDX-License-Identifier: MPL-2.0
/*
 * The whole is judged in passes, each over all nodes: types, options that name nobody, where everyone listens,
 * options that name others, then what only all together can be wrong about. A pass goes on where another one found a
 * problem, with what it has: a person wants to hear all at once.
 */
#include "inner.h"

#include "../base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- types

// "./counter.so" stands beside the file that names it.
static const char *s_type_path(weft_topology_t *self, const char *name)
{
    const char *slash = strrchr(self->path, '/');
    if (name[0] == '/' || !strchr(name, '/') || !slash) return name;
    return weft_topology_keep(self, "%.*s/%s", (int) (slash - self->path), self->path, name);
}

static void s_check_type(weft_topology_t *self, size_t index, const struct weft_topology_types *types)
{
    struct weft_topology_node *node = &self->nodes[index];
    static const char *const sections[] = {"topics", "groups"};
    const char *section = weft_nearest(node->name, sections, 2);
    if (!node->type_name && section) {
        weft_topology_complain(self, node->line,
                               "'%s' has no type; did you mean '%s'? Else add 'type = broker' (or another) below it.",
                               node->name, section);
        return;
    }
    if (!node->type_name || !*node->type_name) {
        weft_topology_complain(self, node->type_name ? node->type_line : node->line,
                               "'%s' has no type; add 'type = broker' (or another) below it.", node->name);
        return;
    }
    struct weft_error error = {0};
    node->type_name = s_type_path(self, node->type_name);
    node->type = types->find(types->context, node->type_name, &error);
    const char *near = weft_nearest(node->type_name, types->names, types->name_count);
    if (!node->type && near)
        weft_topology_complain(self, node->type_line, "'%s' is of type '%.80s', which there is not; did you mean '%s'?",
                               node->name, node->type_name, near);
    else if (!node->type)
        weft_topology_complain(self, node->type_line, "'%s': %s", node->name, error.text);
    else
        self->inside[index].options = weft_options_new(node->type->options, node->type->option_count, node->type->name);
}

// ---- options

static void s_set(weft_topology_t *self, size_t node, const struct weft_topology_setting *setting, const char *value)
{
    struct weft_error error = {0};
    if (weft_options_set(self->inside[node].options, setting->key, value, &error) != WEFT_OK)
        weft_topology_complain(self, setting->line, "'%s': %s", self->nodes[node].name, error.text);
}

static bool s_is_ref(const weft_topology_t *self, size_t node, const struct weft_topology_setting *setting,
                     size_t *option)
{
    const struct weft_node_type *type = self->nodes[node].type;
    *option = weft_topology_option_index(type, setting->key);
    return *option != WEFT_TOPOLOGY_NONE && type->options[*option].type == WEFT_OPTION_TEXT &&
           type->options[*option].role != WEFT_OPTION_ROLE_LISTEN &&
           type->options[*option].role != WEFT_OPTION_ROLE_PATH && weft_topology_has_refs(setting->value);
}

// A path may begin with the topology's own directory: "@data/spool".
static const char *s_path(weft_topology_t *self, size_t node, size_t option, const char *value)
{
    if (option == WEFT_TOPOLOGY_NONE || self->nodes[node].type->options[option].role != WEFT_OPTION_ROLE_PATH)
        return value;
    if (strncmp(value, "@data", 5) != 0 || (value[5] && value[5] != '/')) return value;
    return weft_topology_keep(self, "%s%s", self->data, value + 5);
}

// refs false: what names nobody; true: what does.
static void s_set_options(weft_topology_t *self, size_t node, bool refs)
{
    for (size_t i = 0; i < self->nodes[node].setting_count; i++) {
        const struct weft_topology_setting *setting = &self->nodes[node].settings[i];
        size_t option;
        if (s_is_ref(self, node, setting, &option) != refs) continue;
        const char *value =
            refs ? weft_topology_expand(self, node, option, setting, true) : s_path(self, node, option, setting->value);
        if (value) s_set(self, node, setting, value);
    }
}

static bool s_is_written(const struct weft_topology_node *node, const char *key, unsigned *line)
{
    for (size_t i = 0; i < node->setting_count; i++) {
        if (strcmp(node->settings[i].key, key) != 0) continue;
        *line = node->settings[i].line;
        return true;
    }
    return false;
}

static void s_give(weft_topology_t *self, size_t node, const char *key, const char *value)
{
    s_set(self, node, &(struct weft_topology_setting){key, value, self->nodes[node].line}, value);
}

// What follows from the node's name: `name`, and a directory of its own.
static void s_set_own(weft_topology_t *self, size_t node)
{
    const struct weft_topology_node *it = &self->nodes[node];
    unsigned line;
    bool first = true;
    for (size_t i = 0; i < it->type->option_count; i++) {
        const struct weft_option *option = &it->type->options[i];
        if (strcmp(option->name, "name") == 0 && option->type == WEFT_OPTION_TEXT &&
            !s_is_written(it, option->name, &line))
            s_give(self, node, option->name, it->name);
        if (option->role != WEFT_OPTION_ROLE_PATH || !*option->initial || s_is_written(it, option->name, &line))
            continue;
        s_give(self, node, option->name,
               first ? weft_topology_keep(self, "%s/%s", self->data, it->name)
                     : weft_topology_keep(self, "%s/%s-%s", self->data, it->name, option->name));
        first = false;
    }
}

// Endpoints written out, and defaults: those are told where no node of the file is behind them.
static void s_link_literals(weft_topology_t *self, size_t node)
{
    const struct weft_topology_node *it = &self->nodes[node];
    for (size_t i = 0; i < it->type->option_count; i++) {
        const struct weft_option *option = &it->type->options[i];
        unsigned line = 0;
        if (!weft_topology_connects(option->role)) continue;
        if (s_is_written(it, option->name, &line)) {
            for (size_t k = 0; k < it->setting_count; k++)
                if (strcmp(it->settings[k].key, option->name) == 0)
                    weft_topology_link_parts(self, node, i, it->settings[k].value, line);
            continue;
        }
        if (!*option->initial) continue;
        size_t before = self->link_count;
        weft_topology_link_parts(self, node, i, option->initial, 0);
        if (self->link_count > before && self->links[before].to >= WEFT_TOPOLOGY_OUTSIDE)
            weft_topology_complain(
                self, it->line,
                "'%s' is told no '%s', and no node of this file listens on its default %s; add '%s = "
                "@NODE' (or an endpoint).",
                it->name, option->name, option->initial, option->name);
    }
}

// ---- directories

char *weft_topology_plain_path(const char *path)
{
    char *out = weft_strdup(path);
    size_t used = 0;
    for (const char *at = path; *at;) {
        if (at[0] == '/' && at[1] == '/') {
            at++;
        } else if (at[0] == '.' && (at[1] == '/' || !at[1]) && (at == path || at[-1] == '/')) {
            at += at[1] ? 2 : 1;
        } else {
            out[used++] = *at++;
        }
    }
    while (used > 1 && out[used - 1] == '/') used--;
    out[used] = 0;
    return out;
}

static const char *s_plain_path(weft_topology_t *self, const char *path)
{
    char *plain = weft_topology_plain_path(path);
    const char *kept = weft_topology_keep(self, "%s", plain);
    free(plain);
    return kept;
}

struct s_path {
    size_t node;
    unsigned line;
    const char *option, *path;
};

static void s_check_paths(weft_topology_t *self)
{
    struct s_path *paths = NULL;
    size_t count = 0;
    for (size_t i = 0; i < self->node_count; i++) {
        const struct weft_topology_node *node = &self->nodes[i];
        for (size_t k = 0; node->type && k < node->type->option_count; k++) {
            const struct weft_option *option = &node->type->options[k];
            if (option->role != WEFT_OPTION_ROLE_PATH) continue;
            const char *text = weft_options_text(self->inside[i].options, option->name);
            if (!*text) continue;
            struct s_path path = {i, node->line, option->name, s_plain_path(self, text)};
            s_is_written(node, option->name, &path.line);
            for (size_t m = 0; m < count; m++) {
                if (strcmp(paths[m].path, path.path) != 0) continue;
                weft_topology_complain(
                    self, path.line,
                    "'%s' would keep its '%s' in %s, which is the '%s' of '%s' (line %u); give one of "
                    "them another directory.",
                    node->name, path.option, path.path, paths[m].option, self->nodes[paths[m].node].name,
                    paths[m].line);
                break;
            }
            paths = weft_realloc(paths, (count + 1) * sizeof *paths);
            paths[count++] = path;
        }
    }
    free(paths);
}

// ---- across processes

static void s_check_inproc(weft_topology_t *self, bool processes)
{
    for (size_t i = 0; i < self->link_count; i++) {
        const struct weft_topology_link *link = &self->links[i];
        const struct weft_topology_node *from = &self->nodes[link->node];
        if (link->to >= WEFT_TOPOLOGY_OUTSIDE) continue;
        const struct weft_topology_node *to = &self->nodes[link->to];
        if (strncmp(weft_topology_endpoint(self, link->to), "inproc://", 9) != 0) continue;
        if (processes || !(from->type->traits & WEFT_NODE_OWN_PROCESS)) continue; // told where `to` listens
        weft_topology_complain(self, link->line ? link->line : from->line,
                               "'%s' has a process of its own and can't reach '%s' on %s; let '%s' listen on ipc:// or "
                               "tcp://.",
                               from->name, to->name, weft_topology_endpoint(self, link->to), to->name);
    }
}

// ---- names of topics

static bool s_is_topic(weft_slice_t name, bool pattern)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t i = 0;
    while (i < name.size && name.data[i] &&
           (strchr(letters, name.data[i]) || (pattern && strchr("*?[]!^", name.data[i]))))
        i++;
    return i == name.size && name.size <= WEFT_TOPOLOGY_TOPIC_BYTES_MAX;
}

static void s_check_topic_names(weft_topology_t *self, size_t node)
{
    const struct weft_topology_node *it = &self->nodes[node];
    for (size_t i = 0; i < it->type->option_count; i++) {
        const struct weft_option *option = &it->type->options[i];
        bool source = option->role == WEFT_OPTION_ROLE_SOURCE_TOPIC;
        unsigned line;
        if ((!source && option->role != WEFT_OPTION_ROLE_TARGET_TOPIC) || !s_is_written(it, option->name, &line))
            continue;
        const char *at = weft_options_text(self->inside[node].options, option->name);
        weft_slice_t part;
        while (weft_topology_part(&at, &part))
            if (!s_is_topic(part, source))
                weft_topology_complain(self, line,
                                       "'%s': '%s' has '%.*s', which names no topic; use letters, digits, "
                                       "'.', '_' and '-', %d at most.",
                                       it->name, option->name, (int) (part.size < 80 ? part.size : 80),
                                       (const char *) part.data, WEFT_TOPOLOGY_TOPIC_BYTES_MAX);
    }
}

// ---- what a type itself says of its options

struct s_asked {
    weft_topology_t *self;
    size_t node;
};

static bool s_is_told(const weft_topology_t *self, unsigned line)
{
    for (size_t i = 0; i < self->problem_count; i++)
        if (self->problems[i].line == line) return true;
    return false;
}

// Of an option that was refused, or is missing and has a role here, all is told already.
__attribute__((format(printf, 3, 4))) static void s_complain(void *context, const char *option, const char *format, ...)
{
    const struct s_asked *asked = context;
    weft_topology_t *self = asked->self;
    const struct weft_topology_node *node = &self->nodes[asked->node];
    size_t index = weft_topology_option_index(node->type, option);
    bool role = index != WEFT_TOPOLOGY_NONE && node->type->options[index].role != WEFT_OPTION_ROLE_NONE;
    unsigned line = node->line;
    bool written = s_is_written(node, option, &line);
    if (index == WEFT_TOPOLOGY_NONE || (written && !weft_options_is_set(self->inside[asked->node].options, option)))
        return;
    if (role && s_is_told(self, line)) return;
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    weft_topology_complain(self, line, "'%s': %s", node->name, text);
}

bool weft_topology_check(weft_topology_t *self, const struct weft_topology_types *types,
                         const struct weft_topology_how *how)
{
    weft_assert(!self->checked);
    self->checked = true;
    if (how->data) self->data = weft_topology_keep(self, "%s", how->data);
    for (size_t i = 0; i < self->node_count; i++) s_check_type(self, i, types);
    for (size_t i = 0; i < self->node_count; i++) {
        if (!self->nodes[i].type) continue;
        s_set_options(self, i, false);
        s_set_own(self, i);
    }
    weft_topology_find_listens(self);
    for (size_t i = 0; i < self->node_count; i++) {
        if (!self->nodes[i].type) continue;
        s_set_options(self, i, true);
        s_link_literals(self, i);
        s_check_topic_names(self, i);
    }
    weft_topology_check_listens(self, how->processes);
    s_check_paths(self);
    s_check_inproc(self, how->processes);
    weft_topology_find_clusters(self);
    weft_topology_check_clusters(self);
    weft_topology_check_topics(self);
    weft_topology_check_flows(self);
    for (size_t i = 0; i < self->node_count; i++) {
        const struct weft_node_type *type = self->nodes[i].type;
        if (type && type->check) type->check(self->inside[i].options, s_complain, &(struct s_asked){self, i});
    }
    return self->problem_count == 0;
}

// ---- to run it

// Where a node listens, once ports are known; NULL: as its default says.
static char *s_listens(const weft_topology_t *self, size_t node, size_t option)
{
    const struct weft_option *info = &self->nodes[node].type->options[option];
    weft_buf_t out;
    weft_buf_init(&out);
    for (size_t i = 0; i < self->listen_count; i++)
        if (self->listens[i].node == node && self->listens[i].option == option)
            weft_buf_printf(&out, "%s%s", out.size > 0 ? "," : "", self->listens[i].text);
    weft_buf_append(&out, "", 1);
    char *text = (char *) out.data;
    if (weft_options_is_set(self->inside[node].options, info->name) || strcmp(text, info->initial) != 0) return text;
    free(text);
    return NULL;
}

// What a node is given for an option, on the heap; NULL: nothing.
static char *s_value(const weft_topology_t *self, size_t node, size_t option)
{
    const struct weft_option *info = &self->nodes[node].type->options[option];
    const weft_options_t *options = self->inside[node].options;
    if (info->role == WEFT_OPTION_ROLE_LISTEN) return s_listens(self, node, option);
    return weft_options_is_set(options, info->name) ? weft_strdup(weft_options_text(options, info->name)) : NULL;
}

// Ports are known now: references are replaced once more.
void weft_topology_expand_again(weft_topology_t *self)
{
    for (size_t i = 0; i < self->node_count; i++) {
        for (size_t k = 0; self->nodes[i].type && k < self->nodes[i].setting_count; k++) {
            const struct weft_topology_setting *setting = &self->nodes[i].settings[k];
            size_t option;
            if (!s_is_ref(self, i, setting, &option)) continue;
            const char *value = weft_topology_expand(self, i, option, setting, false);
            if (value) s_set(self, i, setting, value);
        }
    }
}

char **weft_topology_settings(const weft_topology_t *self, size_t node)
{
    const struct weft_node_type *type = weft_topology_node(self, node)->type;
    weft_buf_t text;
    weft_buf_init(&text);
    size_t count = 0;
    for (size_t i = 0; i < type->option_count; i++) {
        char *value = s_value(self, node, i);
        if (!value) continue;
        weft_buf_printf(&text, "%s=%s", type->options[i].name, value);
        weft_buf_append(&text, "", 1);
        free(value);
        count++;
    }
    char **list = weft_alloc((count + 1) * sizeof *list + text.size);
    char *at = (char *) (list + count + 1);
    if (text.size > 0) memcpy(at, text.data, text.size);
    for (size_t i = 0; i < count; i++, at += strlen(at) + 1) list[i] = at;
    list[count] = NULL;
    weft_buf_fini(&text);
    return list;
}
