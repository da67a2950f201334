// SPDX-License-Identifier: MPL-2.0
/**
 * A node as a CZMQ actor. A header of its own, so that only programs that use CZMQ need it.
 *
 *     struct weft_node_actor_args args = {"broker", settings};
 *     zactor_t *broker = zactor_new(weft_node_actor, &args);
 *     zstr_send(broker, "HEALTH");                    // -> "serving" | "starting" | ..., and a sentence
 *     zactor_destroy(&broker);                        // stops it cleanly
 *
 * Commands: "HEALTH" answers [health][sentence]; "ENDPOINT" answers [endpoint]; "COUNTERS" answers [source name value]
 * strings, one frame each; "$TERM" stops the node; anything else answers ["ERROR"][sentence]. A node that could not
 * start answers HEALTH with "failed" and the reason, until it is destroyed.
 *
 * With an inproc:// endpoint in its settings the node lives in CZMQ's context, so that any zsock of the program reaches
 * it (unless weft_zmq_context_set said otherwise, or nodes and clients use another already; weft/node.h). CZMQ allows
 * 1,023 sockets in it unless zsys_set_max_sockets(0) was called first; a broker needs three for each peer it talks to.
 */
#ifndef WEFT_CZMQ_ACTOR_H
#define WEFT_CZMQ_ACTOR_H

#include <weft/export.h>

#include <czmq.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weft_node_actor_args {
    const char *type;            // "broker", or "./libcounter.so"
    const char *const *settings; // "key=value" strings, NULL at the end
};

// `args` is a struct weft_node_actor_args; read before zactor_new returns.
WEFT_EXPORT void weft_node_actor(zsock_t *pipe, void *args);

#ifdef __cplusplus
}
#endif

#endif
