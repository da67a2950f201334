// SPDX-License-Identifier: MPL-2.0
/**
 * Nodes inside your program: a broker, a coordinator, or another type, on threads of its own.
 *
 * The same node that `weft broker` runs as a process. It takes no signals and prints nothing but trace (stderr).
 *
 * inproc is one space for the whole process: nodes and clients whose settings name an inproc:// endpoint live in one
 * ZeroMQ context, weft_zmq_context(), where your own sockets reach them; who connects first need not wait for who
 * binds. A node without such a setting has a context of its own.
 *
 * One thread at a time may start and stop nodes; health and counters are for any thread between start and stop.
 *
 *     const char *settings[] = {"id=1", "data=/var/lib/weft/broker-1", "coordinators=tcp://10.0.0.1:9651", NULL};
 *     weft_hosted_node_t *node;
 *     if (weft_node_start("broker", settings, &node, &error) != WEFT_OK) puts(error.text);
 */
#ifndef WEFT_NODE_H
#define WEFT_NODE_H

#include <weft/export.h>
#include <weft/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum weft_health {
    WEFT_HEALTH_STARTING, // not yet serving: recovering, or not yet known to the cluster
    WEFT_HEALTH_SERVING,
    WEFT_HEALTH_DEGRADED, // serves, but something is wrong: the sentence says what
    WEFT_HEALTH_STOPPING,
    WEFT_HEALTH_FAILED // serves no longer; stop it
};

WEFT_EXPORT const char *weft_health_name(enum weft_health health); // "serving"

/** A node that runs in this process. */
typedef struct weft_hosted_node weft_hosted_node_t;

/**
 * type: "broker", "coordinator", ... (`weft node list`), or the path of a shared object with a type of your own
 * ("./libcounter.so", see weft/node_type.h). settings: "key=value" strings, NULL at the end (NULL allowed: all
 * defaults); docs/CONFIG.md lists them. Returns when the node's endpoints are bound and its threads run; it may still be
 * starting (health). Refused, nothing left behind: INVALID_OPTION, INVALID_ENDPOINT, ENDPOINT_IN_USE, LOCKED,
 * WRONG_DIRECTORY, WRONG_FORMAT, ... with a sentence in `error` (may be NULL); of the type itself: INVALID_ARGUMENT,
 * NOT_FOUND.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_node_start(const char *type, const char *const *settings, weft_hosted_node_t **out,
                                               struct weft_error *error);
/**
 * Stops cleanly: what was acknowledged is kept, what was answered still leaves. Blocks up to the node's setting
 * stop.ms. LOCAL_TIMED_OUT: it did not come to rest in that time; nothing acknowledged is lost, the next start
 * recovers; a thread that can't be ended stays behind, with all that it uses. Any other error: the node had failed with
 * it. Nulls the pointer; accepts NULL.
 */
WEFT_EXPORT weft_err_t weft_node_stop(weft_hosted_node_t **self_p);

WEFT_EXPORT const char *weft_node_name(const weft_hosted_node_t *self);     // "broker-1"
WEFT_EXPORT const char *weft_node_endpoint(const weft_hosted_node_t *self); // as bound; "": it has none
// The sentence (may be NULL) is filled when there is something to say.
WEFT_EXPORT enum weft_health weft_node_health(const weft_hosted_node_t *self, char *sentence, size_t sentence_bytes);
/** Waits until the node serves. LOCAL_TIMED_OUT, or INTERNAL with a sentence if it failed. */
WEFT_EXPORT_CHECKED weft_err_t weft_node_wait_serving(const weft_hosted_node_t *self, int timeout_ms,
                                                      struct weft_error *error);

/** One counter; `source` names the part of the node. Called for each on the caller's thread. */
typedef void weft_counter_fn(void *context, const char *source, const char *name, const char *doc, uint64_t value);
WEFT_EXPORT void weft_node_counters(const weft_hosted_node_t *self, weft_counter_fn *each, void *context);

/**
 * The ZeroMQ context (void * as libzmq's) in which the node's inproc endpoints can be reached. Close what you made in it
 * before you stop the node.
 */
WEFT_EXPORT void *weft_node_zmq_context(const weft_hosted_node_t *self);

// ---- the context of all inproc endpoints

/**
 * Made when it is first needed. One that was asked for here stays until weft_zmq_context_set(NULL), else it goes with
 * the last node or client that used it. Any thread.
 */
WEFT_EXPORT void *weft_zmq_context(void);
/**
 * Your program's own context instead (CZMQ's: zsys_init()), before anything uses another; it is never terminated here:
 * do it after all nodes and clients are gone. NULL: back to none; one that was made here is terminated, which blocks
 * until your own sockets in it are closed. Refused with INVALID_ARGUMENT while a node or client uses another, and
 * nothing changes.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_zmq_context_set(void *zmq_context);

#ifdef __cplusplus
}
#endif

#endif
