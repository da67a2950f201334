// SPDX-License-Identifier: MPL-2.0
/**
 * What the files of this layer share: the topology's inside.
 */
#ifndef WEFT_TOPOLOGY_INNER_H
#define WEFT_TOPOLOGY_INNER_H

#include "topology.h"

struct weft_topology_group {
    const char *name;
    unsigned line;
    size_t nodes[WEFT_TOPOLOGY_NODES_MAX];
    size_t count;
    const char *text; // as written
};

// A node's own things beside the public ones.
struct weft_topology_inside {
    weft_options_t *options; // NULL: the type is not known. References are replaced as far as ports are known.
};

// One option by which a node listens.
struct weft_topology_listen {
    size_t node, option;
    unsigned line;     // 0: its default
    const char *text;  // what the node binds
    const char *reach; // what others connect to
    unsigned count;    // endpoints in a row, by the node's option `shards`
};

// One endpoint that a node connects to. What is connected to is an element: a node's index, or OUTSIDE + an index in
// `outside`.
#define WEFT_TOPOLOGY_OUTSIDE WEFT_TOPOLOGY_NODES_MAX
#define WEFT_TOPOLOGY_LINKS_MAX 65536
struct weft_topology_link {
    size_t node, option;
    size_t to;
    unsigned line; // 0: its default
};

// One way of records: from a place by a node to a place. A place is a topic of a cluster, or the stream of a node or of
// an endpoint outside.
struct weft_topology_at {
    const char *topic;  // may be a pattern; NULL: a stream
    const char *except; // of topics that are read: patterns that are not, comma separated
    size_t element;     // of a topic: the one that stands for the cluster
};
#define WEFT_TOPOLOGY_FLOWS_MAX 4096
struct weft_topology_flow {
    size_t node;
    unsigned line;
    struct weft_topology_at from, to;
};

struct weft_topology {
    weft_arena_t arena;
    const char *path, *name, *data;
    struct weft_topology_problem problems[WEFT_TOPOLOGY_PROBLEMS_MAX];
    size_t problem_count, problem_dropped;
    struct weft_topology_node nodes[WEFT_TOPOLOGY_NODES_MAX];
    struct weft_topology_inside *inside; // one a node
    size_t node_count;
    struct weft_topology_topic topics[WEFT_TOPOLOGY_TOPICS_MAX];
    unsigned topic_cluster_line[WEFT_TOPOLOGY_TOPICS_MAX];
    const char *topic_cluster[WEFT_TOPOLOGY_TOPICS_MAX]; // as written; NULL: not said
    size_t topic_count;
    struct weft_topology_group *groups;
    size_t group_count;
    struct weft_topology_listen *listens;
    size_t listen_count;
    const char **outside; // endpoints that are used and are no node's
    size_t outside_count;
    struct weft_topology_link *links;
    size_t link_count;
    bool links_dropped; // there were more: told
    size_t *parents;    // of every element: one of the same cluster, up to the one that stands for it
    bool *orders;       // of every pair of nodes: the first takes orders from the second
    bool *serves;       // of every element: it is of a cluster, so that topics are to be found there
    struct weft_topology_flow *flows;
    size_t flow_count;
    bool checked;
};

// topology.c
void weft_topology_complain(weft_topology_t *self, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const char *weft_topology_keep(weft_topology_t *self, const char *format, ...)
    __attribute__((format(printf, 2, 3))); // in the arena
const char *weft_topology_nearest_node(const weft_topology_t *self, const char *name);
size_t weft_topology_option_index(const struct weft_node_type *type, const char *name); // NONE: it has none

// A list "a, b" in its parts: the next one, trimmed; false at the end. `at` moves on.
bool weft_topology_part(const char **at, weft_slice_t *part);

// listen.c
void weft_topology_find_listens(weft_topology_t *self); // once all options without references are set
void weft_topology_check_listens(weft_topology_t *self, bool processes);
const struct weft_topology_listen *weft_topology_listen_of(const weft_topology_t *self, size_t node,
                                                           const char *option); // NULL option: the first
// The node that listens on this endpoint, as others would write it; NONE.
size_t weft_topology_listener(const weft_topology_t *self, weft_slice_t endpoint);
void weft_topology_reach(weft_topology_t *self, struct weft_topology_listen *listen); // fills reach

// refs.c
bool weft_topology_has_refs(const char *value);
// With every reference replaced, in the arena. `first`: what is wrong is told (NULL), and links are noted; else what is
// wrong stays as it is.
const char *weft_topology_expand(weft_topology_t *self, size_t node, size_t option,
                                 const struct weft_topology_setting *setting, bool first);
// Notes the endpoints of a value that are written out.
void weft_topology_link_parts(weft_topology_t *self, size_t node, size_t option, const char *value, unsigned line);

// check.c
char *weft_topology_plain_path(const char *path);       // without "./", "//" and a '/' at its end; the caller frees it
void weft_topology_expand_again(weft_topology_t *self); // once ports are known

// clusters.c
void weft_topology_find_clusters(weft_topology_t *self); // fills parents, serves, nodes' cluster and depth
void weft_topology_check_clusters(weft_topology_t *self);
void weft_topology_check_topics(weft_topology_t *self);
size_t weft_topology_root(const weft_topology_t *self, size_t element);
const char *weft_topology_element_name(const weft_topology_t *self, size_t element);

// flows.c
void weft_topology_check_flows(weft_topology_t *self);   // fills flows; finds loops
bool weft_topology_connects(enum weft_option_role role); // CONTROL, SOURCE, TARGET

#endif
