// SPDX-License-Identifier: MPL-2.0
/*
 * Who belongs together: nodes that take orders from one another, directly or through a third, are one cluster
 * (union-find over the links of options of role CONTROL). A type that passes records on without naming topics (a
 * gateway) belongs to the cluster behind it. And in which order nodes start: first those that others connect to.
 */
#include "inner.h"

#include "../base/assert.h"

#include <stdlib.h>
#include <string.h>

#include <weft_gen/config.h>

size_t weft_topology_root(const weft_topology_t *self, size_t element)
{
    while (self->parents[element] != element) element = self->parents[element];
    return element;
}

const char *weft_topology_element_name(const weft_topology_t *self, size_t element)
{
    return element < WEFT_TOPOLOGY_OUTSIDE ? self->nodes[element].name : self->outside[element - WEFT_TOPOLOGY_OUTSIDE];
}

// The lower index stands for both: a node before what is outside.
static void s_join(weft_topology_t *self, size_t a, size_t b)
{
    a = weft_topology_root(self, a);
    b = weft_topology_root(self, b);
    self->parents[a > b ? a : b] = a > b ? b : a;
}

static enum weft_option_role s_role(const weft_topology_t *self, const struct weft_topology_link *link)
{
    return self->nodes[link->node].type->options[link->option].role;
}

static bool s_has_role(const struct weft_node_type *type, enum weft_option_role role)
{
    for (size_t i = 0; i < type->option_count; i++)
        if (type->options[i].role == role) return true;
    return false;
}

static bool s_names_topics(const struct weft_node_type *type)
{
    return s_has_role(type, WEFT_OPTION_ROLE_SOURCE_TOPIC) || s_has_role(type, WEFT_OPTION_ROLE_TARGET_TOPIC);
}

// An endpoint outside where somebody reads or writes topics is one of a cluster. Those of one list are of one.
static void s_find_outside(weft_topology_t *self)
{
    const struct weft_topology_link *before = NULL;
    for (size_t i = 0; i < self->link_count; i++) {
        const struct weft_topology_link *link = &self->links[i];
        enum weft_option_role role = s_role(self, link);
        enum weft_option_role topic =
            role == WEFT_OPTION_ROLE_SOURCE ? WEFT_OPTION_ROLE_SOURCE_TOPIC : WEFT_OPTION_ROLE_TARGET_TOPIC;
        if (link->to < WEFT_TOPOLOGY_OUTSIDE || (role != WEFT_OPTION_ROLE_SOURCE && role != WEFT_OPTION_ROLE_TARGET) ||
            !s_has_role(self->nodes[link->node].type, topic))
            continue;
        self->serves[link->to] = true;
        if (before && before->node == link->node && before->option == link->option) s_join(self, before->to, link->to);
        before = link;
    }
}

// Start order: one more than the deepest it connects to. Depth first over the links; a way back to a node that is being
// visited counts for nothing, nor does one of the same type (coordinators name each other).
struct s_depths {
    weft_topology_t *self;
    char state[WEFT_TOPOLOGY_NODES_MAX]; // 0 new, 1 being visited, 2 done
    size_t *first, *next;                // links of each node as lists
};

static size_t s_depth(struct s_depths *depths, size_t node)
{
    struct weft_topology_node *it = &depths->self->nodes[node];
    if (depths->state[node] == 2) return it->depth + 1;
    if (depths->state[node] == 1) return 0;
    depths->state[node] = 1;
    for (size_t i = depths->first[node]; i != WEFT_TOPOLOGY_NONE; i = depths->next[i]) {
        size_t to = depths->self->links[i].to;
        if (to >= WEFT_TOPOLOGY_OUTSIDE || depths->self->nodes[to].type == it->type) continue; // those start together
        size_t depth = s_depth(depths, to); // at most as deep as there are nodes
        if (depth > it->depth) it->depth = depth;
    }
    depths->state[node] = 2;
    return it->depth + 1;
}

static void s_find_depths(weft_topology_t *self)
{
    struct s_depths depths = {.self = self,
                              .first = weft_alloc(WEFT_TOPOLOGY_NODES_MAX * sizeof(size_t)),
                              .next = weft_alloc((self->link_count + 1) * sizeof(size_t))};
    for (size_t i = 0; i < WEFT_TOPOLOGY_NODES_MAX; i++) depths.first[i] = WEFT_TOPOLOGY_NONE;
    for (size_t i = 0; i < self->link_count; i++) {
        depths.next[i] = depths.first[self->links[i].node];
        depths.first[self->links[i].node] = i;
    }
    for (size_t i = 0; i < self->node_count; i++) s_depth(&depths, i);
    free(depths.first);
    free(depths.next);
}

void weft_topology_find_clusters(weft_topology_t *self)
{
    size_t count = WEFT_TOPOLOGY_OUTSIDE + self->outside_count;
    self->parents = weft_arena_alloc(&self->arena, count * sizeof *self->parents);
    self->serves = weft_arena_alloc(&self->arena, count * sizeof *self->serves);
    for (size_t i = 0; i < count; i++) self->parents[i] = i;
    for (size_t i = 0; i < self->link_count; i++) {
        const struct weft_topology_link *link = &self->links[i];
        bool passes_on = weft_topology_connects(s_role(self, link)) && !s_names_topics(self->nodes[link->node].type);
        if (s_role(self, link) != WEFT_OPTION_ROLE_CONTROL && !passes_on) continue;
        s_join(self, link->node, link->to);
        self->serves[link->node] = self->serves[link->to] = true;
    }
    s_find_outside(self);
    for (size_t i = 0; i < self->node_count; i++)
        if (self->serves[i]) self->nodes[i].cluster = weft_topology_root(self, i);
    s_find_depths(self);
}

// ---- what can be wrong with one

// Whether one node takes orders from another, by a table: with hundreds of nodes it is asked millions of times.
static bool s_is_linked(const weft_topology_t *self, size_t from, size_t to)
{
    return self->orders[from * WEFT_TOPOLOGY_NODES_MAX + to];
}

static void s_find_orders(weft_topology_t *self)
{
    self->orders = weft_arena_alloc(&self->arena, (size_t) WEFT_TOPOLOGY_NODES_MAX * WEFT_TOPOLOGY_NODES_MAX);
    for (size_t i = 0; i < self->link_count; i++) {
        const struct weft_topology_link *link = &self->links[i];
        if (link->to < WEFT_TOPOLOGY_OUTSIDE && s_role(self, link) == WEFT_OPTION_ROLE_CONTROL)
            self->orders[link->node * WEFT_TOPOLOGY_NODES_MAX + link->to] = true;
    }
}

static const struct weft_option *s_control(const struct weft_node_type *type)
{
    for (size_t i = 0; i < type->option_count; i++)
        if (type->options[i].role == WEFT_OPTION_ROLE_CONTROL) return &type->options[i];
    return NULL;
}

// A broker that takes orders from several coordinators: each of those has to know the others.
static void s_check_peers(weft_topology_t *self, const struct weft_topology_link *a, const struct weft_topology_link *b)
{
    const struct weft_topology_node *one = &self->nodes[a->to], *two = &self->nodes[b->to];
    const struct weft_option *control = s_control(one->type);
    if (a->to == b->to || one->type != two->type || !control || a->to == a->node ||
        one->type == self->nodes[a->node].type)
        return;
    if (s_is_linked(self, a->to, b->to)) return;
    weft_topology_complain(self, one->line,
                           "'%s' does not know '%s', though '%s' takes orders from both; name all of them in the '%s' "
                           "of each: %s = @%s, @%s.",
                           one->name, two->name, self->nodes[a->node].name, control->name, control->name, one->name,
                           two->name);
}

static void s_check_ids(weft_topology_t *self, size_t a, size_t b)
{
    const struct weft_topology_node *one = &self->nodes[a], *two = &self->nodes[b];
    if (one->type != two->type || !one->type || one->cluster == WEFT_TOPOLOGY_NONE || one->cluster != two->cluster)
        return;
    if (weft_topology_option_index(one->type, "id") == WEFT_TOPOLOGY_NONE) return;
    const char *id = weft_options_text(self->inside[a].options, "id");
    if (strcmp(id, weft_options_text(self->inside[b].options, "id")) != 0) return;
    weft_topology_complain(self, two->line,
                           "'%s' has the id %s, as has '%s' (line %u) of the same cluster; set another "
                           "'id'.",
                           two->name, id, one->name, one->line);
}

// The nodes of one list of endpoints are of one cluster.
static void s_check_list(weft_topology_t *self, const struct weft_topology_link *a, const struct weft_topology_link *b)
{
    if (a->option != b->option || s_role(self, a) == WEFT_OPTION_ROLE_CONTROL) return;
    if (!weft_topology_connects(s_role(self, a)) || !self->serves[a->to] || !self->serves[b->to]) return;
    if (a->to >= WEFT_TOPOLOGY_OUTSIDE || b->to >= WEFT_TOPOLOGY_OUTSIDE) return;
    if (weft_topology_root(self, a->to) == weft_topology_root(self, b->to)) return;
    weft_topology_complain(self, b->line ? b->line : self->nodes[b->node].line,
                           "'%s' of '%s' names '%s' and '%s', which are of two clusters; name nodes of one.",
                           self->nodes[a->node].type->options[a->option].name, self->nodes[a->node].name,
                           weft_topology_element_name(self, a->to), weft_topology_element_name(self, b->to));
}

static void s_check_alone(weft_topology_t *self, size_t node)
{
    bool knows_peer = false;
    for (size_t i = 0; i < self->link_count; i++) {
        const struct weft_topology_link *link = &self->links[i];
        if (link->node != node || s_role(self, link) != WEFT_OPTION_ROLE_CONTROL) continue;
        knows_peer =
            knows_peer || (link->to < WEFT_TOPOLOGY_OUTSIDE && self->nodes[link->to].type == self->nodes[node].type);
    }
    if (knows_peer && !s_is_linked(self, node, node))
        weft_topology_complain(self, self->nodes[node].line,
                               "'%s' has to stand in its own list of those that decide together; add @%s to it.",
                               self->nodes[node].name, self->nodes[node].name);
}

void weft_topology_check_clusters(weft_topology_t *self)
{
    s_find_orders(self);
    for (size_t i = 0; i < self->link_count; i++) { // links of one node's option stand beside each other
        for (size_t k = i + 1; k < self->link_count && self->links[k].node == self->links[i].node; k++) {
            s_check_list(self, &self->links[i], &self->links[k]);
            if (s_role(self, &self->links[i]) == WEFT_OPTION_ROLE_CONTROL &&
                s_role(self, &self->links[k]) == WEFT_OPTION_ROLE_CONTROL &&
                self->links[i].to < WEFT_TOPOLOGY_OUTSIDE && self->links[k].to < WEFT_TOPOLOGY_OUTSIDE) {
                s_check_peers(self, &self->links[i], &self->links[k]);
            }
        }
    }
    for (size_t i = 0; i < self->node_count; i++) {
        if (self->nodes[i].type) s_check_alone(self, i);
        for (size_t k = 0; k < i; k++) s_check_ids(self, k, i);
    }
}

// ---- topics that are to be made

// A node that a client of the topic's cluster can be given; NONE: told.
static size_t s_topic_node(weft_topology_t *self, size_t topic, bool broken)
{
    const char *written = self->topic_cluster[topic];
    unsigned line = self->topics[topic].line;
    size_t found = WEFT_TOPOLOGY_NONE;
    if (written) {
        size_t node = weft_topology_find(self, written + (*written == '@'));
        if (node != WEFT_TOPOLOGY_NONE && self->nodes[node].cluster != WEFT_TOPOLOGY_NONE) return node;
        if (node != WEFT_TOPOLOGY_NONE && broken) return WEFT_TOPOLOGY_NONE; // it may be for what is told already
        weft_topology_complain(self, self->topic_cluster_line[topic],
                               "'%.80s' is no node of a cluster; name one: cluster = @NODE.", written);
        return WEFT_TOPOLOGY_NONE;
    }
    for (size_t i = 0; i < self->node_count; i++) {
        if (self->nodes[i].cluster == WEFT_TOPOLOGY_NONE) continue;
        if (found != WEFT_TOPOLOGY_NONE && self->nodes[i].cluster != self->nodes[found].cluster) {
            weft_topology_complain(self, line,
                                   "The topic '%s' could be of the cluster of '%s' or of that of '%s'; say 'cluster = "
                                   "@%s' below it.",
                                   self->topics[topic].name, self->nodes[found].name, self->nodes[i].name,
                                   self->nodes[found].name);
            return WEFT_TOPOLOGY_NONE;
        }
        found = i;
    }
    if (found == WEFT_TOPOLOGY_NONE && !broken)
        weft_topology_complain(self, line, "No cluster of this file can have the topic '%s'; add a broker.",
                               self->topics[topic].name);
    return found;
}

// A cluster that goes on outside of the file may have more brokers there.
static void s_check_replicas(weft_topology_t *self, const struct weft_topology_topic *topic)
{
    size_t cluster = self->nodes[topic->node].cluster, brokers = 0;
    for (size_t i = 0; i < self->outside_count; i++)
        if (weft_topology_root(self, WEFT_TOPOLOGY_OUTSIDE + i) == cluster) return;
    for (size_t i = 0; i < self->node_count; i++)
        brokers += self->nodes[i].cluster == cluster && self->nodes[i].type &&
                   strcmp(self->nodes[i].type->name, "broker") == 0;
    if (brokers > 0 && topic->replicas > brokers)
        weft_topology_complain(
            self, topic->line,
            "Topic '%s' asks for %u replicas, but its cluster has %zu broker%s; lower 'replicas', or "
            "add brokers.",
            topic->name, topic->replicas, brokers, brokers == 1 ? "" : "s");
}

static void s_check_setting(weft_topology_t *self, const struct weft_topology_topic *topic,
                            const struct weft_topology_setting *setting, weft_options_t *options)
{
    static const char *const own[] = {"partitions", "replicas", "cluster"};
    struct weft_error error = {0};
    if (weft_options_set(options, setting->key, setting->value, &error) == WEFT_OK) return;
    const char *near = weft_nearest(setting->key, own, 3);
    for (size_t i = 0; near && i < weft_options_topic_count; i++)
        if (strcmp(weft_options_topic[i].name, setting->key) == 0) near = NULL;
    if (near)
        weft_topology_complain(self, setting->line, "Topic '%s': '%s' is no setting of a topic; did you mean '%s'?",
                               topic->name, setting->key, near);
    else
        weft_topology_complain(self, setting->line, "Topic '%s': %s", topic->name, error.text);
}

void weft_topology_check_topics(weft_topology_t *self)
{
    bool broken = self->problem_count > 0;
    for (size_t i = 0; i < self->topic_count; i++) {
        struct weft_topology_topic *topic = &self->topics[i];
        topic->node = s_topic_node(self, i, broken);
        if (topic->node != WEFT_TOPOLOGY_NONE) s_check_replicas(self, topic);
        weft_options_t *options = weft_options_new(weft_options_topic, weft_options_topic_count, "topic");
        for (size_t k = 0; k < topic->setting_count; k++) s_check_setting(self, topic, &topic->settings[k], options);
        weft_options_destroy(&options);
    }
}

char *weft_topology_bootstrap(const weft_topology_t *self, size_t node)
{
    weft_buf_t out;
    weft_buf_init(&out);
    const struct weft_topology_node *it = weft_topology_node(self, node);
    for (size_t i = 0; i < self->node_count; i++) {
        const struct weft_topology_node *other = &self->nodes[i];
        bool same = i == node ||
                    (other->type == it->type && it->cluster != WEFT_TOPOLOGY_NONE && other->cluster == it->cluster);
        if (!same || !*weft_topology_endpoint(self, i)) continue;
        weft_buf_printf(&out, "%s%s", out.size > 0 ? "," : "", weft_topology_endpoint(self, i));
    }
    char *text = weft_slice_dup(weft_slice(out.data ? out.data : (const uint8_t *) "", out.size));
    weft_buf_fini(&out);
    return text;
}
