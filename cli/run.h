// SPDX-License-Identifier: MPL-2.0
/**
 * weft up FILE: runs what a topology names, in this process or as processes of its own, watches over it, shows it, and
 * stops it in order. docs/TOPOLOGIES.md tells what a person sees.
 *
 * One thread: a loop over signals, the children's pipes and the nodes' health. What blocks (making topics) has a thread
 * of its own.
 */
#ifndef WEFT_CLI_RUN_H
#define WEFT_CLI_RUN_H

#include "cli.h"

#include "../lib/topology/topology.h"

#include <weft/node.h>

#include <sys/types.h>

#define RUN_BACKOFF_MS_MIN 200
#define RUN_BACKOFF_MS_MAX 30000
#define RUN_GOOD_MS 30000 // of serving, after which the back-off begins anew
#define RUN_COUNTERS_MAX 256
#define RUN_LINE_BYTES_MAX 2048 // of what a child says; longer lines are cut

// ---- run_load.c: files and types

/** Node types by name or file, and the shared objects they came from. */
struct run_types {
    struct weft_topology_types types;
    const char **names;
    void **libraries;
    size_t library_count;
};
void run_types_init(struct run_types *self);
void run_types_fini(struct run_types *self); // after the last topology that was checked with them

// Reads and checks; NULL after an error, told. The topology may have problems.
weft_topology_t *run_load(const struct cli_args *args, const char *path, struct run_types *types,
                          const struct weft_topology_how *how);
// "FILE:LINE: sentence", a line each.
void run_print_problems(const weft_topology_t *topology, FILE *stream);

/** Ports that were given to tcp://HOST:*, so that a node keeps its own when the file is read again. */
struct run_ports {
    struct {
        char *key; // "node option host"
        unsigned port, count;
    } * given;
    size_t count;
};
unsigned run_port(void *ports, const char *node, const char *option, const char *host, unsigned count);
void run_ports_fini(struct run_ports *self);

// ---- run_node.c, run_child.c: one node

enum run_state {
    RUN_WAITING, // to be started at next_us
    RUN_UP,
    RUN_DONE, // it ended by itself, its work done
    RUN_STOPPED
};

struct run_counter {
    char source[64], name[64];
    uint64_t value;
};

struct run_lines { // bytes of a pipe, handed out by lines
    int fd;
    size_t size;
    char text[RUN_LINE_BYTES_MAX];
};

struct run_node {
    char *name, *type, **settings;
    bool own_process;
    size_t depth;
    int64_t stop_ms;
    char endpoint[256];
    enum run_state state;
    enum weft_health health;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    int64_t since_ms; // wall clock: since when its health is as it is
    int64_t good_us;  // since when it serves; 0: it does not
    bool served;      // since its last start
    bool created;     // it has run, in whatever health: what it was given is right
    bool stopping;    // it was told to
    unsigned restarts;
    char reason[WEFT_ERROR_TEXT_BYTES_MAX]; // of its last end
    int64_t reason_ms;                      // wall clock
    int64_t backoff_ms, next_us;
    struct run_counter *counters;
    size_t counter_count;
    weft_hosted_node_t *hosted; // in this process
    pid_t pid;                  // or as a child: 0: none
    struct run_lines err, report;
    char last_line[RUN_LINE_BYTES_MAX]; // that it said on stderr
};

struct run;

struct run_node *run_node_new(const weft_topology_t *topology, size_t index, bool processes);
void run_node_destroy(struct run_node **self_p);
bool run_node_is(const struct run_node *self, const weft_topology_t *topology, size_t index,
                 bool processes); // unchanged
void run_node_start(struct run *run, struct run_node *node);
void run_node_look(struct run *run, struct run_node *node); // health, ends, and what follows from them
void run_node_count(struct run_node *node);                 // reads the counters
void run_node_stop_begin(struct run *run, struct run_node *node);
bool run_node_stop_done(struct run *run, struct run_node *node); // true: it has ended
// It is of this health from now on.
void run_node_health(struct run *run, struct run_node *node, enum weft_health health, const char *sentence);
void run_node_ended(struct run *run, struct run_node *node, bool in_order, const char *reason);
// Its create has refused: as an end; but at the first start of the whole the end of all, since waiting mends no mistake.
void run_node_refused(struct run *run, struct run_node *node, const char *sentence, const char *reason);

bool run_child_start(struct run *run, struct run_node *node); // false: told as its end
void run_child_read(struct run *run, struct run_node *node);  // what it said and reported
void run_child_look(struct run *run, struct run_node *node);  // whether it has ended

// ---- run_topics.c: topics are made by a thread, once their cluster serves

typedef struct run_topics run_topics_t;
struct run_topic_view {
    const char *name;
    bool made;
    bool refused;                             // for good, as it seems: not only for now
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX]; // what it waits for, or how it differs from the file
};
run_topics_t *run_topics_new(const weft_topology_t *topology);
void run_topics_end(run_topics_t *self); // ends its work; what it has done stays to be seen
void run_topics_destroy(run_topics_t **self_p);
// What a person has to hear of a topic and was not told yet: it is refused, or differs. False: nothing (more).
bool run_topics_news(run_topics_t *self, struct run_topic_view *view);
size_t run_topics_view(run_topics_t *self, struct run_topic_view *views, size_t count_max, unsigned *changes);

// ---- run_show.c: what people and scripts see

typedef struct run_show run_show_t;
run_show_t *run_show_new(const struct cli_args *args);
void run_show_destroy(run_show_t **self_p);
// A line for people, above the table; `of` names a node or is NULL.
void run_say(struct run *run, const char *of, const char *format, ...) __attribute__((format(printf, 3, 4)));
// The same for what went wrong: on standard error, unless a table is shown.
void run_complain(struct run *run, const char *of, const char *format, ...) __attribute__((format(printf, 3, 4)));
void run_pass(struct run *run, const char *of, const char *line); // what a child said on stderr
void run_show(struct run *run);                                   // called often; shows what has changed
void run_show_forget(struct run *run);                            // others may have written on the screen
void run_show_end(struct run *run);                               // the last picture stays, lines follow it plainly
bool run_write_ready(struct run *run);

// ---- run.c

struct run {
    const struct cli_args *args;
    const char *path;
    struct weft_topology_how how;
    struct run_types types;
    struct run_ports ports;
    weft_topology_t *topology;
    struct run_node **nodes; // by depth
    size_t node_count;
    run_topics_t *topics;
    run_show_t *show;
    int64_t started_ms;
    bool ready, stopping, changed;
    bool reloaded;    // by SIGHUP: what runs well must not end for a mistake in what came new
    bool once, ended; // with --once: a node has ended, so all do
    int status;
};

char *
run_bootstrap(const struct run *run); // of the brokers of the first cluster, "" if there are none; the caller frees it

int cli_run_topology(const struct cli_args *args); // weft up FILE

#endif
