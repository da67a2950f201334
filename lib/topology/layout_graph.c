// SPDX-License-Identifier: MPL-2.0
// What is drawn: a box for each cluster, for each node beside it, for what is outside; a line for each way of records,
// those between the same two boxes joined, with the topics as its label.
#include "layout.h"

#include "../base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_OUTSIDE_MAX 128 // boxes of endpoints outside
#define S_NODES_SHOWN 12  // of one cluster
#define S_TOPICS_SHOWN 5

size_t weft_layout_add_box(struct weft_layout *self, enum weft_layout_kind kind)
{
    if (self->box_count == self->box_capacity) {
        self->box_capacity = self->box_capacity ? self->box_capacity * 2 : 64;
        self->boxes = weft_realloc(self->boxes, self->box_capacity * sizeof *self->boxes);
    }
    self->boxes[self->box_count] = (struct weft_layout_box){.kind = kind};
    if (kind != WEFT_LAYOUT_BEND) {
        struct weft_layout_box *box = &self->boxes[self->box_count];
        box->lines = weft_calloc(WEFT_LAYOUT_LINES_MAX, sizeof *box->lines);
    }
    return self->box_count++;
}

// Cut with "..." where it is too long.
void weft_layout_add_text(struct weft_layout *self, size_t index, const char *format, ...)
{
    struct weft_layout_box *box = &self->boxes[index];
    if (box->line_count == WEFT_LAYOUT_LINES_MAX) return;
    char text[1024];
    va_list list;
    va_start(list, format);
    int size = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (size > 60) memcpy(text + 57, "...", 4);
    snprintf(box->lines[box->line_count++], sizeof *box->lines, "%s", text);
}

struct weft_layout_line *weft_layout_add_line(struct weft_layout *self, size_t from, size_t to)
{
    if (self->line_count == self->line_capacity) {
        self->line_capacity = self->line_capacity ? self->line_capacity * 2 : 64;
        self->lines = weft_realloc(self->lines, self->line_capacity * sizeof *self->lines);
    }
    self->lines[self->line_count] = (struct weft_layout_line){.from = from, .to = to, .track = -1};
    return &self->lines[self->line_count++];
}

// ---- boxes

struct s_graph {
    struct weft_layout *layout;
    const weft_topology_t *topology;
    size_t of_node[WEFT_TOPOLOGY_NODES_MAX];  // box of a node; NONE: none yet
    size_t peers[2][WEFT_TOPOLOGY_NODES_MAX]; // boxes of who connects to a node: receivers, senders
    size_t *of_outside;
    size_t outside_count;
};

// A node that takes orders or gives them stands in the box of its cluster; a gateway in front of it has its own.
static bool s_is_inside(const weft_topology_t *topology, size_t node)
{
    if (topology->nodes[node].cluster == WEFT_TOPOLOGY_NONE) return false;
    for (size_t i = 0; i < topology->link_count; i++) {
        const struct weft_topology_link *link = &topology->links[i];
        if (link->node == node && topology->nodes[node].type->options[link->option].role != WEFT_OPTION_ROLE_CONTROL &&
            weft_topology_connects(topology->nodes[node].type->options[link->option].role))
            return false;
    }
    return true;
}

static void s_add_node(struct s_graph *graph, size_t index)
{
    const struct weft_topology_node *node = &graph->topology->nodes[index];
    size_t box = graph->of_node[index] = weft_layout_add_box(graph->layout, WEFT_LAYOUT_NODE);
    weft_layout_add_text(graph->layout, box, "%s", node->name);
    const char *type = node->type->name, *endpoint = weft_topology_endpoint(graph->topology, index);
    if (strcmp(type, node->name) != 0) weft_layout_add_text(graph->layout, box, "%s", type);
    if (*endpoint) weft_layout_add_text(graph->layout, box, "%s", endpoint);
}

static void s_add_topics(struct s_graph *graph, size_t box, size_t cluster)
{
    size_t shown = 0, more = 0;
    for (size_t i = 0; i < graph->topology->topic_count; i++) {
        const struct weft_topology_topic *topic = &graph->topology->topics[i];
        if (topic->node == WEFT_TOPOLOGY_NONE || graph->topology->nodes[topic->node].cluster != cluster) continue;
        if (shown == S_TOPICS_SHOWN) {
            more++;
            continue;
        }
        char replicas[48] = "";
        if (topic->replicas > 1) snprintf(replicas, sizeof replicas, ", %u replicas", topic->replicas);
        weft_layout_add_text(graph->layout, box, "topic %.40s: %u partition%s%s", topic->name, topic->partitions,
                             topic->partitions == 1 ? "" : "s", replicas);
        shown++;
    }
    if (more) weft_layout_add_text(graph->layout, box, "and %zu topics more", more);
}

static void s_add_cluster(struct s_graph *graph, size_t cluster)
{
    const weft_topology_t *topology = graph->topology;
    size_t box = weft_layout_add_box(graph->layout, WEFT_LAYOUT_CLUSTER), shown = 0, more = 0, name = 0;
    for (size_t i = 0; i < topology->node_count; i++)
        if (topology->nodes[i].cluster == cluster && s_is_inside(topology, i) && strlen(topology->nodes[i].name) > name)
            name = strlen(topology->nodes[i].name);
    weft_layout_add_text(graph->layout, box, "cluster");
    for (size_t i = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].cluster != cluster || !s_is_inside(topology, i)) continue;
        graph->of_node[i] = box;
        if (shown < S_NODES_SHOWN)
            weft_layout_add_text(graph->layout, box, "%-*s  %s", (int) name, topology->nodes[i].name,
                                 weft_topology_endpoint(topology, i));
        shown < S_NODES_SHOWN ? shown++ : more++;
    }
    if (more) weft_layout_add_text(graph->layout, box, "and %zu nodes more", more);
    s_add_topics(graph, box, cluster);
}

// Whoever connects to a node that waits for it.
static size_t s_peer(struct s_graph *graph, size_t node, bool sender, const char *what)
{
    size_t *box = &graph->peers[sender][node];
    if (*box == WEFT_TOPOLOGY_NONE) {
        *box = weft_layout_add_box(graph->layout, WEFT_LAYOUT_OUTSIDE);
        weft_layout_add_text(graph->layout, *box, "%s", what);
    }
    return *box;
}

// The box of a cluster whose endpoint is written out; its nodes may stand in the file, or only a gateway to it.
static size_t s_cluster_box(const struct s_graph *graph, size_t root)
{
    for (size_t i = 0; i < graph->topology->node_count; i++)
        if (graph->topology->nodes[i].cluster == root && s_is_inside(graph->topology, i)) return graph->of_node[i];
    return WEFT_TOPOLOGY_NONE;
}

static size_t s_element(struct s_graph *graph, size_t element, bool topic)
{
    if (element < WEFT_TOPOLOGY_OUTSIDE) return graph->of_node[element];
    size_t index = element - WEFT_TOPOLOGY_OUTSIDE, root = weft_topology_root(graph->topology, element);
    size_t box = s_cluster_box(graph, root);
    if (box != WEFT_TOPOLOGY_NONE) return box;
    while (topic && index > 0 && weft_topology_root(graph->topology, WEFT_TOPOLOGY_OUTSIDE + index - 1) == root)
        index--;
    if (graph->of_outside[index] == WEFT_TOPOLOGY_NONE && graph->outside_count < S_OUTSIDE_MAX) {
        graph->outside_count++;
        box = graph->of_outside[index] = weft_layout_add_box(graph->layout, WEFT_LAYOUT_OUTSIDE);
        if (topic) weft_layout_add_text(graph->layout, box, "cluster elsewhere");
        weft_layout_add_text(graph->layout, box, "%s", graph->topology->outside[index]);
    }
    return graph->of_outside[index];
}

// ---- lines

static void s_connect(struct s_graph *graph, size_t from, size_t to, const char *label)
{
    struct weft_layout *layout = graph->layout;
    if (from == WEFT_TOPOLOGY_NONE || to == WEFT_TOPOLOGY_NONE || from == to) return;
    struct weft_layout_line *line = NULL;
    for (size_t i = 0; i < layout->line_count && !line; i++)
        if (layout->lines[i].from == from && layout->lines[i].to == to) line = &layout->lines[i];
    if (!line) line = weft_layout_add_line(layout, from, to);
    line->head_down = true;
    size_t used = strlen(line->label), size = strlen(label);
    if (size == 0 || strstr(line->label, "...") || (used > 0 && strstr(line->label, label))) return;
    if (used > 0 && used + size > 30)
        snprintf(line->label + used, sizeof line->label - used, ", ...");
    else
        snprintf(line->label + used, sizeof line->label - used, "%s%.28s%s", used > 0 ? ", " : "", label,
                 size > 28 ? "..." : "");
}

// Another node of the file is at the other end of a node's own stream.
static bool s_has_peer(const weft_topology_t *topology, const struct weft_topology_flow *flow, bool source)
{
    for (size_t i = 0; i < topology->flow_count; i++) {
        const struct weft_topology_flow *other = &topology->flows[i];
        const struct weft_topology_at *at = source ? &other->to : &other->from;
        if (other->node != flow->node && !at->topic && at->element == flow->node) return true;
    }
    return false;
}

static void s_draw_end(struct s_graph *graph, const struct weft_topology_flow *flow, bool source)
{
    const struct weft_topology_at *at = source ? &flow->from : &flow->to;
    size_t node = graph->of_node[flow->node], other = WEFT_TOPOLOGY_NONE;
    if (at->topic) {
        other = s_element(graph, at->element, true);
    } else if (at->element != flow->node) {
        other = s_element(graph, at->element, false);
    } else if (!s_has_peer(graph->topology, flow, source)) {
        other = s_peer(graph, flow->node, source, source ? "senders" : "receivers");
    }
    s_connect(graph, source ? other : node, source ? node : other, at->topic ? at->topic : "");
}

static void s_draw_gateways(struct s_graph *graph)
{
    const weft_topology_t *topology = graph->topology;
    for (size_t i = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].cluster == WEFT_TOPOLOGY_NONE || s_is_inside(topology, i)) continue;
        for (size_t k = 0; k < topology->link_count; k++)
            if (topology->links[k].node == i)
                s_connect(graph, graph->of_node[i], s_element(graph, topology->links[k].to, true), "");
        s_connect(graph, s_peer(graph, i, true, "clients"), graph->of_node[i], "");
    }
}

void weft_layout_graph(struct weft_layout *self, const weft_topology_t *topology)
{
    struct s_graph *graph = weft_calloc(1, sizeof *graph);
    graph->layout = self;
    graph->topology = topology;
    graph->of_outside = weft_calloc(topology->outside_count + 1, sizeof(size_t));
    for (size_t i = 0; i < WEFT_TOPOLOGY_NODES_MAX; i++)
        graph->of_node[i] = graph->peers[0][i] = graph->peers[1][i] = WEFT_TOPOLOGY_NONE;
    for (size_t i = 0; i < topology->outside_count; i++) graph->of_outside[i] = WEFT_TOPOLOGY_NONE;
    for (size_t i = 0; i < topology->node_count; i++) {
        if (graph->of_node[i] != WEFT_TOPOLOGY_NONE || !topology->nodes[i].type) continue;
        if (s_is_inside(topology, i))
            s_add_cluster(graph, topology->nodes[i].cluster);
        else
            s_add_node(graph, i);
    }
    for (size_t i = 0; i < topology->flow_count; i++) {
        s_draw_end(graph, &topology->flows[i], true);
        s_draw_end(graph, &topology->flows[i], false);
    }
    s_draw_gateways(graph);
    free(graph->of_outside);
    free(graph);
}
