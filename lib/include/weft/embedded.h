// SPDX-License-Identifier: MPL-2.0
/**
 * Embedded: coordinators and brokers in this process, the same code as the big cluster. `weft up` is this.
 *
 *     struct weft_embedded_options options = {.data = "weft-data"};
 *     weft_embedded_t *cluster;
 *     if (weft_embedded_start(&options, &cluster, &error) != WEFT_OK) puts(error.text);
 *     ... clients: "bootstrap=" weft_embedded_endpoint(cluster)
 *     weft_embedded_stop(&cluster);
 *
 * Endpoints, all from `listen`, S shards a broker. tcp://HOST:P: broker 1 has the ports P to P+S-1, the coordinator
 * P+S, broker 2 P+S+1 and so on, S ports each; coordinators 2 and up follow behind the last broker. tcp://HOST:*: free
 * ports for all. ipc://PATH and inproc://NAME: broker 1 has it, the coordinator "-coordinator" behind it, coordinator K
 * "-coordinator-K", broker K "-broker-K". Data: DIR/coordinator-K, DIR/broker-K. It takes no signals.
 */
#ifndef WEFT_EMBEDDED_H
#define WEFT_EMBEDDED_H

#include <weft/node.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_EMBEDDED_BROKERS_MAX 16
#define WEFT_EMBEDDED_COORDINATORS_MAX 5

struct weft_embedded_options {
    const char *data;                        // directory, made if absent; NULL: "weft-data"
    const char *listen;                      // NULL: tcp://127.0.0.1:9650
    uint32_t brokers;                        // 0: one
    uint32_t shards;                         // of each broker; 0: one
    const char *const *broker_settings;      // more "key=value" for every broker, NULL at the end; may be NULL
    const char *const *coordinator_settings; // the same for every coordinator
    uint32_t coordinators;                   // 0: one; 3 or 5 show how one takes over from another
    int ready_ms;                            // how long to wait until all serve; 0: 60,000; negative: not at all
};

typedef struct weft_embedded weft_embedded_t;

/**
 * Starts all nodes and waits until they serve. Refused, nothing left running: as weft_node_start; LOCAL_TIMED_OUT if
 * they do not serve within ready_ms; each with a sentence in `error` (may be NULL).
 */
WEFT_EXPORT_CHECKED weft_err_t weft_embedded_start(const struct weft_embedded_options *options, weft_embedded_t **out,
                                                   struct weft_error *error);
/** Stops cleanly, brokers first. Blocks; result as weft_node_stop. Nulls the pointer; accepts NULL. */
WEFT_EXPORT weft_err_t weft_embedded_stop(weft_embedded_t **self_p);

WEFT_EXPORT const char *weft_embedded_endpoint(const weft_embedded_t *self);    // of broker 1: enough for a client
WEFT_EXPORT const char *weft_embedded_bootstrap(const weft_embedded_t *self);   // of all brokers, comma separated
WEFT_EXPORT const char *weft_embedded_coordinator(const weft_embedded_t *self); // of coordinator 1
/** The worst of all nodes; the sentence (may be NULL) names the node. Any thread. */
WEFT_EXPORT enum weft_health weft_embedded_health(const weft_embedded_t *self, char *sentence, size_t sentence_bytes);
WEFT_EXPORT void weft_embedded_counters(const weft_embedded_t *self, weft_counter_fn *each, void *context);
WEFT_EXPORT void *weft_embedded_zmq_context(const weft_embedded_t *self); // for inproc: see weft/node.h

#ifdef __cplusplus
}
#endif

#endif
