// SPDX-License-Identifier: MPL-2.0
/*
 * The ways of records, from place to place through the nodes, and whether one of them comes back to where it began. A
 * place is a topic of a cluster or the stream of a socket. What a node does follows from the roles of its type's
 * options:
 *
 *   reads topics      SOURCE with SOURCE_TOPIC          writes a topic    TARGET with TARGET_TOPIC (not set: the names read)
 *   reads a stream    SOURCE alone, or it listens       writes a stream   TARGET alone, or it listens
 *
 * A bridge keeps the names it reads, with its `prefix` before them. Patterns that may overlap are taken to overlap.
 */
#include "inner.h"

#include "../base/assert.h"
#include "../base/glob.h"

#include <stdlib.h>
#include <string.h>

// ---- places

static size_t s_wild(const char *pattern)
{
    return strcspn(pattern, "*?[");
}

static bool s_names_overlap(const char *a, const char *b)
{
    bool wild_a = weft_glob_is_pattern(a), wild_b = weft_glob_is_pattern(b);
    if (!wild_a && !wild_b) return strcmp(a, b) == 0;
    if (!wild_a || !wild_b) return wild_a ? weft_glob_match(a, b) : weft_glob_match(b, a);
    size_t before_a = s_wild(a), before_b = s_wild(b);
    return strncmp(a, b, before_a < before_b ? before_a : before_b) == 0;
}

static bool s_is_excepted(const char *except, const char *topic)
{
    char pattern[WEFT_TOPOLOGY_TOPIC_BYTES_MAX + 1];
    weft_slice_t part;
    while (weft_topology_part(&except, &part)) {
        if (part.size >= sizeof pattern) continue;
        memcpy(pattern, part.data, part.size);
        pattern[part.size] = 0;
        if (weft_glob_match(pattern, topic)) return true; // "a.*" takes all that "a.x*" may stand for
    }
    return false;
}

// What is written at `to` is read at `from`.
static bool s_overlap(const weft_topology_t *self, const struct weft_topology_at *to,
                      const struct weft_topology_at *from)
{
    if (!to->topic != !from->topic) return false;
    if (!to->topic) return to->element == from->element;
    return weft_topology_root(self, to->element) == weft_topology_root(self, from->element) &&
           s_names_overlap(to->topic, from->topic) && !s_is_excepted(from->except, to->topic);
}

// ---- a node's ways

#define S_ENDS_MAX 2048 // places at one side of a node: a text option of 4 KiB has no more

struct s_ends {
    struct weft_topology_at at[S_ENDS_MAX];
    size_t count;
};

static void s_end(struct s_ends *ends, const char *topic, size_t element)
{
    if (ends->count < S_ENDS_MAX) ends->at[ends->count++] = (struct weft_topology_at){topic, "", element};
}

struct s_node {
    weft_topology_t *self;
    size_t index;
    const struct weft_node_type *type;
    struct s_ends from, to;
    bool names_source, names_target; // the type has options for the topics
};

static const char *s_value(const struct s_node *node, enum weft_option_role role, const char **key, bool *has)
{
    *has = false;
    for (size_t i = 0; i < node->type->option_count; i++) {
        if (node->type->options[i].role != role) continue;
        *key = node->type->options[i].name;
        *has = true;
        const char *value = weft_options_text(node->self->inside[node->index].options, *key);
        if (*value) return value;
    }
    return "";
}

static enum weft_option_role s_role(const struct s_node *node, const struct weft_topology_link *link)
{
    return node->type->options[link->option].role;
}

static unsigned s_line(const struct s_node *node)
{
    return node->self->nodes[node->index].line;
}

// Topics of `names` at the cluster behind `element`. Returns false if no cluster is there, told.
static bool s_topics(struct s_node *node, struct s_ends *ends, const char *names, const struct weft_topology_link *link)
{
    weft_topology_t *self = node->self;
    const struct weft_option *option = &node->type->options[link->option];
    if (link->to < WEFT_TOPOLOGY_OUTSIDE && !self->serves[link->to]) {
        weft_topology_complain(self, link->line ? link->line : s_line(node),
                               "'%s' of '%s' names '%s', which knows no topics; name a node of a cluster (a broker).",
                               option->name, self->nodes[node->index].name, self->nodes[link->to].name);
        return false;
    }
    weft_slice_t part;
    while (weft_topology_part(&names, &part)) s_end(ends, weft_arena_text(&self->arena, part), link->to);
    return true;
}

// One link of several suffices: those of one list are of one cluster. For streams all count.
static void s_find_ends(struct s_node *node, enum weft_option_role role, const char *names, bool as_topics,
                        struct s_ends *ends)
{
    const weft_topology_t *self = node->self;
    for (size_t i = 0; i < self->link_count; i++) {
        const struct weft_topology_link *link = &self->links[i];
        if (link->node != node->index || s_role(node, link) != role) continue;
        if (!as_topics)
            s_end(ends, NULL, link->to);
        else if (s_topics(node, ends, names, link))
            return;
    }
}

static bool s_has_link(const struct s_node *node, enum weft_option_role role)
{
    for (size_t i = 0; i < node->self->link_count; i++) {
        const struct weft_topology_link *link = &node->self->links[i];
        if (link->node == node->index && s_role(node, link) == role) return true;
    }
    return false;
}

// The target is a cluster: its topics are written, not a stream.
static bool s_writes_topics(const struct s_node *node)
{
    for (size_t i = 0; i < node->self->link_count; i++) {
        const struct weft_topology_link *link = &node->self->links[i];
        if (link->node != node->index || s_role(node, link) != WEFT_OPTION_ROLE_TARGET) continue;
        if (node->names_target || node->self->serves[link->to]) return true;
    }
    return false;
}

// Names written where the target's topic is not given: those read, behind the prefix.
static void s_find_same_names(struct s_node *node)
{
    weft_topology_t *self = node->self;
    const char *prefix = weft_topology_option(self, node->index, "prefix");
    weft_buf_t names;
    weft_buf_init(&names);
    for (size_t i = 0; i < node->from.count; i++)
        if (node->from.at[i].topic)
            weft_buf_printf(&names, "%s%s%s", i ? "," : "", prefix ? prefix : "", node->from.at[i].topic);
    weft_buf_append(&names, "", 1);
    s_find_ends(node, WEFT_OPTION_ROLE_TARGET, (const char *) names.data, true, &node->to);
    weft_buf_fini(&names);
}

static void s_add_flow(struct s_node *node, const struct weft_topology_at *from, const struct weft_topology_at *to)
{
    weft_topology_t *self = node->self;
    if (self->flow_count > WEFT_TOPOLOGY_FLOWS_MAX) return;
    if (self->flow_count == WEFT_TOPOLOGY_FLOWS_MAX) {
        weft_topology_complain(self, s_line(node), "More than %d ways of records in one file; split it.",
                               WEFT_TOPOLOGY_FLOWS_MAX);
        self->flow_count++;
        return;
    }
    self->flows[self->flow_count++] = (struct weft_topology_flow){node->index, s_line(node), *from, *to};
}

static void s_add_flows(struct s_node *node, bool same_names)
{
    if (same_names) { // each name to its own
        for (size_t i = 0; i < node->from.count && i < node->to.count; i++)
            s_add_flow(node, &node->from.at[i], &node->to.at[i]);
        return;
    }
    for (size_t i = 0; i < node->from.count; i++)
        for (size_t k = 0; k < node->to.count; k++) s_add_flow(node, &node->from.at[i], &node->to.at[k]);
}

static void s_want_topic(struct s_node *node, const char *key, const char *verb)
{
    weft_topology_complain(node->self, s_line(node), "'%s' is told no topic to %s; add '%s = TOPIC'.",
                           node->self->nodes[node->index].name, verb, key);
}

static bool s_is_written(const struct s_node *node, const char *key)
{
    const struct weft_topology_node *it = &node->self->nodes[node->index];
    for (size_t i = 0; i < it->setting_count; i++)
        if (strcmp(it->settings[i].key, key) == 0) return true;
    return false;
}

static void s_want_stream(struct s_node *node, enum weft_option_role role, const char *verb)
{
    const char *key = "";
    bool has;
    s_value(node, role, &key, &has);
    if (!has || s_is_written(node, key)) return; // written and wrong: told already
    const char *listen = "";
    s_value(node, WEFT_OPTION_ROLE_LISTEN, &listen, &has);
    weft_topology_complain(node->self, s_line(node),
                           "'%s' has no socket to %s; add '%s = ENDPOINT' (it connects)%s%s%s.",
                           node->self->nodes[node->index].name, verb, key, has ? " or '" : "", has ? listen : "",
                           has ? " = ENDPOINT' (it binds)" : "");
}

static void s_find_flows(weft_topology_t *self, size_t index)
{
    struct s_node *node = weft_calloc(1, sizeof *node);
    *node = (struct s_node){.self = self, .index = index, .type = self->nodes[index].type};
    const char *source_key = "", *target_key = "";
    const char *sources = s_value(node, WEFT_OPTION_ROLE_SOURCE_TOPIC, &source_key, &node->names_source);
    const char *target = s_value(node, WEFT_OPTION_ROLE_TARGET_TOPIC, &target_key, &node->names_target);
    bool listens = weft_topology_listen_of(self, index, NULL) != NULL;
    if (!node->names_source && !node->names_target) goto done; // broker, coordinator, gateway: they are the cluster
    if (node->names_source && !*sources) s_want_topic(node, source_key, "read");
    if (node->names_target && !*target && !node->names_source) s_want_topic(node, target_key, "write");
    s_find_ends(node, WEFT_OPTION_ROLE_SOURCE, sources, node->names_source, &node->from);
    const char *except = weft_topology_option(self, index, "except");
    for (size_t i = 0; except && i < node->from.count; i++) node->from.at[i].except = except;
    if (strcmp(target_key, "prefix") == 0) target = ""; // it stands before the names that are read
    bool same_names = node->names_source && !*target && s_writes_topics(node);
    if (same_names)
        s_find_same_names(node);
    else
        s_find_ends(node, WEFT_OPTION_ROLE_TARGET, target, node->names_target, &node->to);
    if (node->names_target && *target && !s_has_link(node, WEFT_OPTION_ROLE_TARGET)) // it writes where it reads
        s_find_ends(node, WEFT_OPTION_ROLE_SOURCE, target, true, &node->to);
    if (!node->names_source && !s_has_link(node, WEFT_OPTION_ROLE_SOURCE)) {
        if (listens)
            s_end(&node->from, NULL, index);
        else
            s_want_stream(node, WEFT_OPTION_ROLE_SOURCE, "read");
    }
    if (!node->names_target && !s_has_link(node, WEFT_OPTION_ROLE_TARGET)) {
        if (listens)
            s_end(&node->to, NULL, index);
        else
            s_want_stream(node, WEFT_OPTION_ROLE_TARGET, "write");
    }
    s_add_flows(node, same_names);
done:
    free(node);
}

// ---- loops

struct s_search {
    weft_topology_t *self;
    char *state; // of every flow: 0 new, 1 on the way, 2 done
    size_t way[WEFT_TOPOLOGY_FLOWS_MAX], next[WEFT_TOPOLOGY_FLOWS_MAX];
    size_t length;
};

static void s_print_place(const weft_topology_t *self, const struct weft_topology_at *at, weft_buf_t *out)
{
    const char *name =
        weft_topology_element_name(self, at->topic ? weft_topology_root(self, at->element) : at->element);
    if (at->topic)
        weft_buf_printf(out, "topic '%s' (cluster of '%s')", at->topic, name);
    else
        weft_buf_printf(out, "the stream of '%s'", name);
}

// The way from the flow at `begin` on, back to itself.
static void s_tell_loop(struct s_search *search, size_t begin)
{
    weft_topology_t *self = search->self;
    weft_buf_t path;
    weft_buf_init(&path);
    for (size_t i = begin; i < search->length; i++) {
        const struct weft_topology_flow *flow = &self->flows[search->way[i]];
        s_print_place(self, &flow->from, &path);
        weft_buf_printf(&path, " -> '%s' (line %u) -> ", self->nodes[flow->node].name, flow->line);
        if (i - begin == 7 && search->length - i > 2) { // the sentence has an end
            weft_buf_printf(&path, "... -> ");
            break;
        }
    }
    s_print_place(self, &self->flows[search->way[begin]].from, &path);
    weft_buf_append(&path, "", 1);
    const struct weft_topology_flow *last = &self->flows[search->way[search->length - 1]];
    weft_topology_complain(
        self, last->line,
        "Records would go round for ever: %s; let one of the nodes write elsewhere, or under another "
        "name.",
        (const char *) path.data);
    weft_buf_fini(&path);
}

// Depth first without recursion. One loop is told for every flow that closes one.
static void s_search(struct s_search *search, size_t start)
{
    weft_topology_t *self = search->self;
    search->length = 1;
    search->way[0] = start;
    search->next[0] = 0;
    search->state[start] = 1;
    while (search->length > 0) {
        size_t top = search->length - 1, flow = search->way[top], to = search->next[top]++;
        if (to == self->flow_count) {
            search->state[flow] = 2;
            search->length--;
        } else if (search->state[to] != 2 && s_overlap(self, &self->flows[flow].to, &self->flows[to].from)) {
            if (search->state[to] == 1) {
                size_t begin = top;
                while (search->way[begin] != to) begin--;
                s_tell_loop(search, begin);
            } else {
                search->state[to] = 1;
                search->way[search->length] = to;
                search->next[search->length++] = 0;
            }
        }
    }
}

bool weft_topology_connects(enum weft_option_role role)
{
    return role == WEFT_OPTION_ROLE_CONTROL || role == WEFT_OPTION_ROLE_SOURCE || role == WEFT_OPTION_ROLE_TARGET;
}

void weft_topology_check_flows(weft_topology_t *self)
{
    self->flows = weft_calloc(WEFT_TOPOLOGY_FLOWS_MAX, sizeof *self->flows);
    for (size_t i = 0; i < self->node_count; i++)
        if (self->nodes[i].type) s_find_flows(self, i);
    if (self->flow_count > WEFT_TOPOLOGY_FLOWS_MAX) self->flow_count = WEFT_TOPOLOGY_FLOWS_MAX;
    struct s_search *search = weft_calloc(1, sizeof *search);
    search->self = self;
    search->state = weft_calloc(self->flow_count + 1, 1);
    for (size_t i = 0; i < self->flow_count; i++)
        if (!search->state[i]) s_search(search, i);
    free(search->state);
    free(search);
}
