// SPDX-License-Identifier: MPL-2.0
/**
 * Topology: one ZPL file that names nodes, their types and options, and whose endpoint each of them uses; read, checked
 * whole, made ready to run, drawn. docs/TOPOLOGIES.md is the manual of the file.
 *
 * Nothing runs here: `weft up FILE` (cli) starts what this layer hands out. It knows types only by their tables
 * (weft/node_type.h): the role of an option (weft/options.h) says what it is to the whole, so users' own types are
 * checked and drawn like ours.
 *
 * Order of calls: read, check; then draw, or place and settings. A topology with problems is not placed. Everything
 * handed out lives as long as the topology. One thread.
 */
#ifndef WEFT_TOPOLOGY_TOPOLOGY_H
#define WEFT_TOPOLOGY_TOPOLOGY_H

#include "../base/bytes.h"
#include "../base/options.h"

#include <weft/node_type.h>

#define WEFT_TOPOLOGY_NODES_MAX 256
#define WEFT_TOPOLOGY_SETTINGS_MAX 8192 // of all nodes and topics together
#define WEFT_TOPOLOGY_TOPICS_MAX 256
#define WEFT_TOPOLOGY_GROUPS_MAX 64
#define WEFT_TOPOLOGY_PROBLEMS_MAX 100 // further ones are counted, not kept
#define WEFT_TOPOLOGY_NAME_BYTES_MAX 64
#define WEFT_TOPOLOGY_TOPIC_BYTES_MAX 249
#define WEFT_TOPOLOGY_NONE SIZE_MAX

/** Where node types are found: the library's table and shared objects. */
struct weft_topology_types {
    void *context;
    // NULL: there is none, `error` has a sentence. `name` is a name, or the path of a shared object.
    const struct weft_node_type *(*find)(void *context, const char *name, struct weft_error *error);
    const char *const *names; // of all that have a name; for "did you mean"
    size_t name_count;
};

struct weft_topology_problem {
    unsigned line;    // 0: of no line
    const char *text; // a sentence that says what to do
};

struct weft_topology_setting {
    const char *key, *value;
    unsigned line;
};

struct weft_topology_node {
    const char *name;
    unsigned line;
    unsigned type_line;    // 0: it has none
    const char *type_name; // as weft_node_start takes it: a shared object's path stands as seen from the process
    const struct weft_node_type *type;
    const struct weft_topology_setting *settings; // as written
    size_t setting_count;
    size_t cluster; // index of a node that stands for its cluster: equal for all of one; NONE: in no cluster
    size_t depth;   // start lower ones first, stop them last: those it connects to have a lower one
};

struct weft_topology_topic {
    const char *name;
    unsigned line;
    uint32_t partitions, replicas; // replicas 0: as the cluster likes
    const struct weft_topology_setting *settings;
    size_t setting_count;
    size_t node; // index of a node of the cluster that is to have it
};

typedef struct weft_topology weft_topology_t;

// ---- life

/**
 * Reads a file, or text that `path` names. NOT_FOUND, TOO_LARGE, ...: it can't be read, with a sentence. A file that
 * can be read always gives a topology; what is wrong with it stands among its problems.
 */
WEFT_MUST_USE weft_err_t weft_topology_read(const char *path, weft_topology_t **out, struct weft_error *error);
weft_topology_t *weft_topology_parse(const char *path, weft_slice_t text);
void weft_topology_destroy(weft_topology_t **self_p);

struct weft_topology_how {
    const char *data; // instead of the file's; NULL: the file's, else "weft-data"
    bool processes;   // each node will have a process of its own
};

/**
 * Everything that can be known before a start: types, options, references, endpoints, directories, loops, topics.
 * Returns true if there are no problems. Once a topology.
 */
bool weft_topology_check(weft_topology_t *self, const struct weft_topology_types *types,
                         const struct weft_topology_how *how);

// ---- what it says

const char *weft_topology_path(const weft_topology_t *self);
const char *weft_topology_name(const weft_topology_t *self); // the file's name without its ending, if it says none
const char *weft_topology_data(const weft_topology_t *self);
size_t weft_topology_problem_count(const weft_topology_t *self);                                      // of those kept
size_t weft_topology_problems_dropped(const weft_topology_t *self);                                   // of those beyond
const struct weft_topology_problem *weft_topology_problem(const weft_topology_t *self, size_t index); // by line
size_t weft_topology_node_count(const weft_topology_t *self);
const struct weft_topology_node *weft_topology_node(const weft_topology_t *self, size_t index); // in the file's order
size_t weft_topology_topic_count(const weft_topology_t *self);
const struct weft_topology_topic *weft_topology_topic(const weft_topology_t *self, size_t index);
size_t weft_topology_find(const weft_topology_t *self, const char *name); // index of a node, or NONE

// ---- to run it; only without problems

// A port that nobody has, with count - 1 free ones behind it, for "tcp://HOST:*"; 0: none is found.
typedef unsigned weft_topology_port_fn(void *context, const char *node, const char *option, const char *host,
                                       unsigned count);
/** Gives every tcp://HOST:* that a node listens on a port; INVALID_ENDPOINT with a sentence. */
WEFT_MUST_USE weft_err_t weft_topology_place(weft_topology_t *self, weft_topology_port_fn *port, void *context,
                                             struct weft_error *error);
/** "key=value" strings, NULL at the end, as weft_node_start takes them, references replaced. The list is the caller's
 *  to free(), one block. */
char **weft_topology_settings(const weft_topology_t *self, size_t node);
// Where others reach a node, "" if it listens nowhere.
const char *weft_topology_endpoint(const weft_topology_t *self, size_t node);
/** Reachable endpoints of all nodes of the same cluster and type as `node`, comma separated; the caller frees it. */
char *weft_topology_bootstrap(const weft_topology_t *self, size_t node);
// Value in force of an option of a node, references replaced; NULL: its type has no such option.
const char *weft_topology_option(const weft_topology_t *self, size_t node, const char *option);
int64_t weft_topology_stop_ms(const weft_topology_t *self, size_t node); // longest a clean stop of it may take

// ---- pictures

void weft_topology_draw_text(const weft_topology_t *self, weft_buf_t *out); // UTF-8, with box characters
void weft_topology_draw_svg(const weft_topology_t *self, weft_buf_t *out);

#endif
