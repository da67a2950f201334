// SPDX-License-Identifier: MPL-2.0
/**
 * To write a node: the contract that broker, coordinator, tap, recorder, player, bridge, edge and filter satisfy, and
 * that yours does, in the tree or outside of it (examples/node/ has one of a hundred lines, docs/NODES.md tells how).
 *
 * A type is one constant table. The host checks the options, calls create() and then run() on a thread of its own; it
 * gives health, counters, trace, restarts, the command (`weft TYPE --set key=value`), the CZMQ actor, the topology file.
 * A shared object shows its type under the symbol `weft_node_type_main`:
 *
 *     const struct weft_node_type weft_node_type_main = {.abi = WEFT_NODE_ABI, .name = "counter", ...};
 *
 * Options that the host knows, wherever a table has them: `name` (the node's name; empty or no such option: the type's),
 * `stop.ms` (a duration: longest a clean stop may take; no such option: 10 s) and `bootstrap` (a text; not set: the
 * environment variable WEFT_BOOTSTRAP counts, as it does for clients, before the table's default).
 */
#ifndef WEFT_NODE_TYPE_H
#define WEFT_NODE_TYPE_H

#include <weft/node.h>
#include <weft/options.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_NODE_ABI 1 // of the structs in this header; another number is refused

/** One counter, written by the node, read by anyone. */
struct weft_counter_info {
    const char *name; // snake_case with its unit last: "records_dropped_count"
    const char *doc;
};

enum weft_node_trait {
    WEFT_NODE_OWN_PROCESS = 1 // may crash (it runs foreign code): a topology gives it a process of its own
};

/** How a type tells what is wrong with an option: a sentence that needs neither the node's name nor the file's. */
typedef void weft_complain_fn(void *context, const char *option, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct weft_node_type {
    int abi;          // WEFT_NODE_ABI
    const char *name; // "tap": lower-case letters, digits, '-'
    const char *doc;  // one sentence
    const struct weft_option *options;
    size_t option_count;
    const struct weft_counter_info *counters; // may be NULL
    size_t counter_count;
    unsigned traits; // of enum weft_node_trait
    /**
     * Checks what the option table can't, opens files, binds sockets (weft_node_set_endpoint tells the host what was
     * bound); starts nothing that lasts. Refused: an error with a sentence, nothing is left behind. Must not wait for
     * other nodes: they may start later. `options` live until destroy returned. Called on the host's thread.
     */
    weft_err_t (*create)(weft_hosted_node_t *node, const weft_options_t *options, void **self,
                         struct weft_error *error);
    /**
     * The node's life, on a thread of its own: returns WEFT_OK soon after weft_node_stopping is true (sockets and
     * clients can wait on weft_node_stop_fd), or an error with a sentence when it can't go on: the node is then failed.
     * ZeroMQ sockets made in create may be used here; create does not touch them afterwards.
     */
    weft_err_t (*run)(void *self, struct weft_error *error);
    void (*destroy)(void **self_p); // after run returned, or without run; nulls the pointer
    // Optional; NULL: as told by weft_node_set_health. Any thread, between create and destroy.
    enum weft_health (*health)(const void *self, char *sentence, size_t sentence_bytes);
    // Optional; NULL: the table `counters`. As weft_node_counters.
    void (*each_counter)(const void *self, weft_counter_fn *each, void *context);
    /**
     * Optional: complains of every option whose value the table allows and the type does not (an expression that is
     * none, two options that exclude each other). Opens, binds and starts nothing: `weft topology check FILE` calls it,
     * where nothing runs, and tells each complaint with the option's line. Called before create too, which need not
     * repeat it: the first complaint refuses the start with INVALID_OPTION. Endpoints may still have the port `*`.
     */
    void (*check)(const weft_options_t *options, weft_complain_fn *complain, void *context);
};

/**
 * weft_node_start of a type that the program defines itself. `type` lives as long as the node. A table that breaks the
 * contract is refused with INVALID_ARGUMENT and a sentence.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_node_start_type(const struct weft_node_type *type, const char *const *settings,
                                                    weft_hosted_node_t **out, struct weft_error *error);

// ---- for the node's own code. weft_node_name, weft_node_endpoint, weft_node_zmq_context (weft/node.h) serve it too.

WEFT_EXPORT bool weft_node_stopping(const weft_hosted_node_t *node); // any thread
// Readable once the node is to stop, and from then on; for zmq_poll (its member fd), poll, epoll. Not to be read.
WEFT_EXPORT int weft_node_stop_fd(const weft_hosted_node_t *node);
// What others connect to, as really bound (ZMQ_LAST_ENDPOINT). In create only; a node that binds nothing has none.
WEFT_EXPORT void weft_node_set_endpoint(weft_hosted_node_t *node, const char *endpoint);
// A node is STARTING until it says something else. Any thread. The sentence may be NULL.
WEFT_EXPORT void weft_node_set_health(weft_hosted_node_t *node, enum weft_health health, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// By index in the type's table. One thread writes a counter.
WEFT_EXPORT void weft_node_counter_add(weft_hosted_node_t *node, size_t index, uint64_t more);
WEFT_EXPORT void weft_node_counter_set(weft_hosted_node_t *node, size_t index, uint64_t value);
// One line of trace on stderr, with the node's name before it; `level` 0 error, 1 warn, 2 info, 3 debug.
WEFT_EXPORT void weft_node_trace(const weft_hosted_node_t *node, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Sets `error` (may be NULL) and returns `code`; for create and run.
WEFT_EXPORT weft_err_t weft_node_refuse(struct weft_error *error, weft_err_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif

#endif
