// SPDX-License-Identifier: MPL-2.0
/*
 * The file's items become nodes, topics, groups and settings. What the items are follows from where they stand: a
 * name at the margin with a value is a setting of the whole, one without is a node, but for `topics` and `groups`. An
 * item that can't be used is told as a problem and left out, so that all problems of a file are told at once; only
 * text that is no ZPL ends the reading.
 */
#include "inner.h"

#include "../base/assert.h"
#include "../base/options_file.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum s_section { S_NOTHING, S_NODE, S_TOPICS, S_GROUPS };

struct s_read {
    weft_topology_t *self;
    enum s_section section;
    size_t base;        // depth of the names that keys are made of
    size_t depth;       // of the item before
    bool bare;          // which had no value ...
    unsigned bare_line; // and no reason to be without
    char key[WEFT_OPTIONS_LINE_BYTES_MAX * 2];
    size_t ends[WEFT_OPTIONS_DEPTH_MAX + 1]; // by depth: bytes of `key` that belong to it
    size_t setting_count;
    struct weft_topology_setting *settings; // of the node or topic that is being read
    size_t count, capacity;
    size_t *count_out; // where they go once it is whole
    const struct weft_topology_setting **settings_out;
    unsigned name_line, data_line;
};

static bool s_is_name(const char *name)
{
    if (!isalpha((unsigned char) name[0])) return false;
    for (const char *at = name; *at; at++)
        if (!isalnum((unsigned char) *at) && *at != '-' && *at != '_') return false;
    return strlen(name) <= WEFT_TOPOLOGY_NAME_BYTES_MAX;
}

// ---- settings of a node or topic

static void s_begin_settings(struct s_read *read, const struct weft_topology_setting **settings, size_t *count)
{
    read->settings_out = settings;
    read->count_out = count;
    read->count = 0;
}

static void s_end_settings(struct s_read *read)
{
    if (read->settings_out && read->count > 0) {
        struct weft_topology_setting *kept = weft_arena_alloc(&read->self->arena, read->count * sizeof *kept);
        memcpy(kept, read->settings, read->count * sizeof *kept);
        *read->settings_out = kept;
        *read->count_out = read->count;
    }
    read->settings_out = NULL;
    read->count = 0;
}

static void s_add_setting(struct s_read *read, unsigned line, const char *key, const char *value)
{
    weft_topology_t *self = read->self;
    for (size_t i = 0; i < read->count; i++) {
        if (strcmp(read->settings[i].key, key) != 0) continue;
        weft_topology_complain(self, line, "'%s' was set in line %u already; keep one of them.", key,
                               read->settings[i].line);
        return;
    }
    if (read->setting_count == WEFT_TOPOLOGY_SETTINGS_MAX) {
        weft_topology_complain(self, line, "More than %d settings in one file; split it.", WEFT_TOPOLOGY_SETTINGS_MAX);
        read->setting_count++;
    }
    if (read->setting_count > WEFT_TOPOLOGY_SETTINGS_MAX) return;
    read->setting_count++;
    if (read->count == read->capacity) {
        read->capacity = read->capacity ? read->capacity * 2 : 32;
        read->settings = weft_realloc(read->settings, read->capacity * sizeof *read->settings);
    }
    read->settings[read->count++] = (struct weft_topology_setting){weft_topology_keep(self, "%s", key),
                                                                   weft_topology_keep(self, "%s", value), line};
}

// ---- at the margin

static void s_take_whole(struct s_read *read, unsigned line, const char *name, const char *value)
{
    weft_topology_t *self = read->self;
    static const char *const known[] = {"name", "data", "topics", "groups"};
    bool is_name = strcmp(name, "name") == 0;
    read->section = S_NOTHING;
    if (!is_name && strcmp(name, "data") != 0) {
        const char *near = weft_nearest(name, known, 4);
        weft_topology_complain(
            self, line,
            "'%s' is no setting of a topology (those are name and data)%s%s%s; a node is a section: its name "
            "alone on a line, and 'type = ...' indented below it.",
            name, near ? "; did you mean '" : "", near ? near : "", near ? "'" : "");
        return;
    }
    unsigned *before = is_name ? &read->name_line : &read->data_line;
    if (*before)
        weft_topology_complain(self, line, "'%s' was set in line %u already; keep one of them.", name, *before);
    else if (!*value || strlen(value) > 512)
        weft_topology_complain(self, line, "'%s' takes 1 to 512 bytes.", name);
    else
        *(is_name ? &self->name : &self->data) = weft_topology_keep(self, "%s", value);
    *before = line;
}

static void s_take_node(struct s_read *read, unsigned line, const char *name)
{
    weft_topology_t *self = read->self;
    read->section = S_NOTHING;
    size_t before = weft_topology_find(self, name);
    if (before != WEFT_TOPOLOGY_NONE) {
        weft_topology_complain(self, line, "A node '%s' stands in line %u already; give this one another name.", name,
                               self->nodes[before].line);
    } else if (!s_is_name(name)) {
        weft_topology_complain(
            self, line, "'%.80s' can't name a node; use a letter, then letters, digits, '-' and '_', %d at most.", name,
            WEFT_TOPOLOGY_NAME_BYTES_MAX);
    } else if (self->node_count == WEFT_TOPOLOGY_NODES_MAX) {
        weft_topology_complain(self, line, "'%s' is one node too many; a topology has at most %d.", name,
                               WEFT_TOPOLOGY_NODES_MAX);
    } else {
        struct weft_topology_node *node = &self->nodes[self->node_count++];
        *node = (struct weft_topology_node){
            .name = weft_topology_keep(self, "%s", name), .line = line, .cluster = WEFT_TOPOLOGY_NONE};
        s_begin_settings(read, &node->settings, &node->setting_count);
        read->section = S_NODE;
    }
}

static void s_take_margin(struct s_read *read, unsigned line, const char *name, const char *value)
{
    s_end_settings(read);
    read->base = 2;
    if (value) {
        s_take_whole(read, line, name, value);
    } else if (strcmp(name, "topics") == 0) {
        read->section = S_TOPICS;
        read->base = 3;
    } else if (strcmp(name, "groups") == 0) {
        read->section = S_GROUPS;
    } else {
        s_take_node(read, line, name);
    }
}

// ---- below it

// The names from the base down to this item, joined with dots. False: it is too long, told.
static bool s_join(struct s_read *read, unsigned line, size_t depth, const char *name)
{
    size_t before = depth > read->base ? read->ends[depth - 1] : 0;
    int more = snprintf(read->key + before, sizeof read->key - before, "%s%s", before > 0 ? "." : "", name);
    read->ends[depth] = before + (size_t) more;
    if (read->ends[depth] < WEFT_OPTIONS_LINE_BYTES_MAX) return true;
    weft_topology_complain(read->self, line, "The key is too long.");
    read->ends[depth] = before;
    return false;
}

static void s_take_node_item(struct s_read *read, unsigned line, size_t depth, const char *name, const char *value)
{
    struct weft_topology_node *node = &read->self->nodes[read->self->node_count - 1];
    if (depth == 2) read->base = 2;
    if (depth == 2 && strcmp(name, "options") == 0 && !value) {
        read->base = 3;
    } else if (depth == 2 && strcmp(name, "type") == 0 && value) {
        if (node->type_name)
            weft_topology_complain(read->self, line, "The type of '%s' was given already; keep one.", node->name);
        else
            node->type_name = weft_topology_keep(read->self, "%s", value);
        if (!node->type_line) node->type_line = line;
        read->bare_line = 0;
    } else if (s_join(read, line, depth, name) && value) {
        s_add_setting(read, line, read->key, value);
    }
}

static void s_take_topic(struct s_read *read, unsigned line, const char *name)
{
    weft_topology_t *self = read->self;
    s_end_settings(read);
    for (size_t i = 0; i < self->topic_count; i++) {
        if (strcmp(self->topics[i].name, name) == 0)
            weft_topology_complain(self, line, "The topic '%s' stands in line %u already; keep one of them.", name,
                                   self->topics[i].line);
    }
    if (self->topic_count == WEFT_TOPOLOGY_TOPICS_MAX) {
        weft_topology_complain(self, line, "'%s' is one topic too many; a topology makes at most %d.", name,
                               WEFT_TOPOLOGY_TOPICS_MAX);
        return;
    }
    if (strlen(name) > WEFT_TOPOLOGY_TOPIC_BYTES_MAX || strspn(name, ".") == strlen(name))
        weft_topology_complain(self, line, "'%.80s' can't name a topic; use at most %d letters, digits, '.', '_', '-'.",
                               name, WEFT_TOPOLOGY_TOPIC_BYTES_MAX);
    struct weft_topology_topic *topic = &self->topics[self->topic_count++];
    *topic = (struct weft_topology_topic){.name = weft_topology_keep(self, "%s", name), .line = line, .partitions = 1};
    s_begin_settings(read, &topic->settings, &topic->setting_count);
}

static uint32_t s_number(weft_topology_t *self, unsigned line, const char *key, const char *value, uint32_t was)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(value, &end, 10);
    if (isdigit((unsigned char) value[0]) && !*end && !errno && number >= 1 && number <= 100000)
        return (uint32_t) number;
    weft_topology_complain(self, line, "'%s' can't be '%.40s'; allowed is a number from 1 to 100000.", key, value);
    return was;
}

static void s_take_topic_item(struct s_read *read, unsigned line, size_t depth, const char *name, const char *value)
{
    weft_topology_t *self = read->self;
    if (depth == 2) {
        s_take_topic(read, line, name);
        if (value)
            weft_topology_complain(
                self, line, "A topic is a name alone on its line; its settings (partitions = 4) stand below it.");
        return;
    }
    if (!read->settings_out || !s_join(read, line, depth, name) || !value) return;
    struct weft_topology_topic *topic = &self->topics[self->topic_count - 1];
    if (strcmp(read->key, "partitions") == 0) {
        topic->partitions = s_number(self, line, name, value, topic->partitions);
    } else if (strcmp(read->key, "replicas") == 0) {
        topic->replicas = s_number(self, line, name, value, topic->replicas);
    } else if (strcmp(read->key, "cluster") == 0) {
        self->topic_cluster[self->topic_count - 1] = weft_topology_keep(self, "%s", value);
        self->topic_cluster_line[self->topic_count - 1] = line;
    } else {
        s_add_setting(read, line, read->key, value);
    }
}

static void s_take_group(struct s_read *read, unsigned line, const char *name, const char *value)
{
    weft_topology_t *self = read->self;
    if (!value) {
        weft_topology_complain(self, line, "A group is written 'NAME = NODE, NODE'.");
    } else if (!s_is_name(name)) {
        weft_topology_complain(self, line, "'%.80s' can't name a group; use letters, digits, '-' and '_'.", name);
    } else if (self->group_count == WEFT_TOPOLOGY_GROUPS_MAX) {
        weft_topology_complain(self, line, "'%s' is one group too many; a topology has at most %d.", name,
                               WEFT_TOPOLOGY_GROUPS_MAX);
    } else {
        self->groups = weft_realloc(self->groups, (self->group_count + 1) * sizeof *self->groups);
        struct weft_topology_group *group = &self->groups[self->group_count++];
        group->name = weft_topology_keep(self, "%s", name);
        group->text = weft_topology_keep(self, "%s", value);
        group->line = line;
        group->count = 0;
    }
}

// The item before had no value: something has to stand below it, but for a node, a topic and a section.
static void s_judge_bare(struct s_read *read, size_t depth)
{
    if (read->bare_line && depth <= read->depth)
        weft_topology_complain(read->self, read->bare_line, "The key has no value; the form is key = value.");
    read->bare_line = 0;
}

static weft_err_t s_take_item(void *context, unsigned line, size_t depth, const char *name, const char *value)
{
    struct s_read *read = context;
    s_judge_bare(read, depth);
    if (!value && depth > (read->section == S_TOPICS ? 2u : 1u)) read->bare_line = line;
    read->depth = depth;
    if (depth == 1)
        s_take_margin(read, line, name, value);
    else if (read->section == S_NODE)
        s_take_node_item(read, line, depth, name, value);
    else if (read->section == S_TOPICS)
        s_take_topic_item(read, line, depth, name, value);
    else if (read->section == S_GROUPS)
        s_take_group(read, line, name, value);
    return WEFT_OK;
}

// ---- groups, once all nodes are known

static void s_fill_group(weft_topology_t *self, struct weft_topology_group *group)
{
    if (weft_topology_find(self, group->name) != WEFT_TOPOLOGY_NONE)
        weft_topology_complain(self, group->line, "'%s' names a node and a group; rename one of them.", group->name);
    const char *at = group->text;
    weft_slice_t part;
    while (weft_topology_part(&at, &part)) {
        if (part.size > 1 && part.data[0] == '@') part = weft_slice(part.data + 1, part.size - 1);
        char *name = weft_slice_dup(part);
        size_t node = weft_topology_find(self, name);
        const char *near = weft_topology_nearest_node(self, name);
        if (node == WEFT_TOPOLOGY_NONE)
            weft_topology_complain(self, group->line, "There is no node '%.80s'%s%s%s", name,
                                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : ".");
        else if (group->count < WEFT_TOPOLOGY_NODES_MAX)
            group->nodes[group->count++] = node;
        free(name);
    }
}

static const char *s_name_of_path(weft_topology_t *self)
{
    const char *slash = strrchr(self->path, '/'), *name = slash ? slash + 1 : self->path;
    const char *dot = strrchr(name, '.');
    size_t size = dot && dot > name ? (size_t) (dot - name) : strlen(name);
    return weft_arena_text(&self->arena, weft_slice(name, size));
}

weft_topology_t *weft_topology_parse(const char *path, weft_slice_t text)
{
    weft_topology_t *self = weft_calloc(1, sizeof *self);
    weft_arena_init(&self->arena);
    self->inside = weft_calloc(WEFT_TOPOLOGY_NODES_MAX, sizeof *self->inside);
    self->path = weft_topology_keep(self, "%s", path);
    struct s_read read = {.self = self, .base = 2};
    struct weft_error error = {0};
    weft_err_t err = weft_options_file_items(path, text, s_take_item, &read, &error);
    s_judge_bare(&read, 0);
    s_end_settings(&read);
    free(read.settings);
    if (err) { // "path:line: sentence"
        char shown[128];
        size_t skip = strlen(weft_options_printable(path, shown, sizeof shown)) + 1;
        const char *colon = strlen(error.text) > skip ? strchr(error.text + skip, ' ') : NULL;
        weft_topology_complain(self, colon ? (unsigned) strtoul(error.text + skip, NULL, 10) : 0, "%s",
                               colon ? colon + 1 : error.text);
    }
    if (!self->name) self->name = s_name_of_path(self);
    if (!self->data) self->data = "weft-data";
    for (size_t i = 0; i < self->group_count; i++) s_fill_group(self, &self->groups[i]);
    if (self->node_count == 0 && !err)
        weft_topology_complain(self, 0,
                               "No node stands in it; a node is a name alone on a line, and 'type = broker' "
                               "indented by four spaces below it.");
    return self;
}

weft_err_t weft_topology_read(const char *path, weft_topology_t **out, struct weft_error *error)
{
    weft_buf_t text;
    weft_buf_init(&text);
    weft_err_t err = weft_options_file_bytes(path, &text, error);
    if (!err) *out = weft_topology_parse(path, weft_buf_slice(&text));
    weft_buf_fini(&text);
    return err;
}
