// SPDX-License-Identifier: MPL-2.0
/**
 * The process's shared ZeroMQ context (weft/node.h), as nodes and clients of this library take it: counted.
 */
#ifndef WEFT_ZMQ_CONTEXT_H
#define WEFT_ZMQ_CONTEXT_H

#include <stdbool.h>

// Whether a setting names an inproc endpoint, alone or in a list.
bool weft_zmq_context_is_for(const char *setting);
// One more that uses it. Each take has its release, after all sockets of the taker are closed; the last one may block
// until what they sent has left.
void *weft_zmq_context_take(void);
void weft_zmq_context_release(void);
// take, with `zmq_context` where there is no context yet; that one is forgotten again with the last release.
void *weft_zmq_context_take_or(void *zmq_context);

#endif
