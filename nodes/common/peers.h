// SPDX-License-Identifier: MPL-2.0
/**
 * Who is connected to a socket, and a high-water mark that stands for bytes.
 *
 * libzmq bounds what waits for a peer by a number of *messages*. A mark follows the mean size of the messages, so that
 * the number stands for bytes: `bytes_max` for each peer, about.
 *
 * The mark of a socket that has peers can't be changed at any time: libzmq (4.3.4 and 4.3.5) tells the other end of every
 * pipe, also of one whose peer has just left, and that end may be freed already (libzmq's pull request 4647 has the
 * picture). So it is changed when nobody has left for a while; until then the old one holds. Peers over inproc leave
 * without a word, so with an inproc endpoint the mark stays what it was at the start.
 *
 * All of it belongs to the thread of the socket.
 */
#ifndef WEFT_COMMON_PEERS_H
#define WEFT_COMMON_PEERS_H

#include <stdbool.h>
#include <stdint.h>

struct weft_peers {
    void *monitor; // NULL: there is none
    int64_t count; // connections now
    uint64_t joined_count;
    int64_t left_us; // monotonic: when one left last, 0: none did
};

// Before the socket binds or connects. A context that gives no more sockets leaves `monitor` NULL.
void weft_peers_watch(struct weft_peers *self, void *context, void *socket);
void weft_peers_look(struct weft_peers *self); // reads what has happened since; call it several times a second
void weft_peers_unwatch(struct weft_peers *self, void *socket);

struct weft_mark {
    void *socket;
    int option;         // ZMQ_SNDHWM or ZMQ_RCVHWM
    uint64_t most;      // messages, whatever their size
    uint64_t bytes_max; // for each peer
    uint64_t bound;     // what a new connection gets
    uint64_t now, wanted;
    uint64_t mean_bytes;
    uint64_t joined_seen;
    bool fixed;
};

// Sets the first mark; before the socket binds or connects.
void weft_mark_init(struct weft_mark *self, void *socket, int option, uint64_t most, uint64_t bytes_max);
// What was sent or received: `bytes` of `messages`, and about `overhead_bytes` for each in libzmq's queues.
void weft_mark_see(struct weft_mark *self, uint64_t messages, uint64_t bytes, uint64_t overhead_bytes);
void weft_mark_tend(struct weft_mark *self, struct weft_peers *peers); // changes it if it has to be and may be; often

#endif
