// SPDX-License-Identifier: MPL-2.0
/**
 * Port: all that a running part may ask of the world, and all that the world tells it.
 *
 * A *part* (broker control, shard, sync, coordinator, client) is single-threaded code behind struct weft_part_ops. The
 * *world* runs it: lib/net on real sockets, clocks and threads (one thread a part); tests/sim on simulated ones, all in
 * one thread from one seed. The part can't tell which. No part blocks, but sync and compact parts (on their disk).
 *
 * One turn: the world drains what has arrived (at most a bounded number) through message(), mail() and link_down(),
 * then calls turn() once; what the part sent meanwhile leaves after that turn. turn() returns the time at which it
 * wants to be called again.
 *
 * Threads: every function here is called on the part's own thread, except weft_world_* (the thread that builds the
 * node) and weft_port_post_from (any thread).
 */
#ifndef WEFT_WIRE_PORT_H
#define WEFT_WIRE_PORT_H

#include "../base/metrics.h"
#include "../base/rand.h"
#include "frame.h"

#define WEFT_TIME_NEVER INT64_MAX
#define WEFT_ENDPOINT_BYTES_MAX 256

typedef uint32_t weft_link_t;    // an outgoing connection (DEALER) of this part; 0 = none
typedef uint32_t weft_part_id_t; // a part of this process (this node, in the simulator); 0 = none

// The routing id of a peer that came in through this part's ROUTER.
struct weft_peer {
    uint8_t size;
    uint8_t door; // of the ROUTERs of this part: 0 `listen`, 1 `listen_too` (struct weft_world_part)
    uint8_t bytes[30];
};

/** A message that arrived. The part may move the frames out; what it leaves is dropped after the call. */
struct weft_message {
    weft_link_t link; // not 0: came over this link; 0: came in through the ROUTER, from `peer`
    struct weft_peer peer;
    bool delimited;      // an empty delimiter frame stood first (REQ): mirrored by the reply, which must always come
    weft_frame_t header; // msgpack map, not yet guarded
    weft_frame_t data;   // empty frame if the message had one part
};

/**
 * Mail between parts of one process: small, typed by the parts themselves; `body` is owned by the receiver after
 * delivery.
 */
struct weft_mail {
    weft_part_id_t from;
    uint32_t kind; // an enum of the receiving part's header
    void *body;    // may be NULL
    // called by the world if mail can't be delivered, else by the receiver; may be NULL
    void (*body_free)(void *body);
    uint64_t number; // for mail that needs no body
};

struct weft_part;
struct weft_port;

struct weft_part_ops {
    // Called once, first, on the part's own thread; the port stays valid until stop() returned.
    void (*start)(struct weft_part *self, const struct weft_port *port);
    void (*message)(struct weft_part *self, struct weft_message *message);
    void (*mail)(struct weft_part *self, struct weft_mail *mail);
    void (*link_up)(struct weft_part *self, weft_link_t link);   // connected (again)
    void (*link_down)(struct weft_part *self, weft_link_t link); // connection lost; the link reconnects by itself
    // returns when to call again (us), WEFT_TIME_NEVER if only on input
    int64_t (*turn)(struct weft_part *self, int64_t now_us);
    // The part must come to rest: asked once by a clean stop; it goes on with turns until `stopped` returns true or a
    // deadline passes.
    void (*stop)(struct weft_part *self);
    bool (*stopped)(struct weft_part *self);
    // after its last turn, on the world's thread. A crash in the simulator calls only this.
    void (*destroy)(struct weft_part **self_p);
};

/** First member of every part. */
struct weft_part {
    const struct weft_part_ops *ops;
};

struct weft_port_ops {
    int64_t (*now_us)(void *world);  // monotonic; constant within a turn
    int64_t (*wall_ms)(void *world); // Unix time; may jump
    // Random seed for this part, differs at every start.
    uint64_t (*seed)(void *world);

    // Opens a DEALER to the endpoint (one a distinct endpoint a part is usual). Never blocks; messages before link_up
    // are refused with WEFT_ERR_LOCAL_NOT_CONNECTED.
    weft_err_t (*link_open)(void *world, const char *endpoint, weft_link_t *out);
    void (*link_close)(void *world, weft_link_t link);
    /*
     * Sends [header][data] over a link. `data` may be NULL or empty; on success the frame is consumed (left empty), on
     * failure untouched. Success does not mean that it arrived. Errors: LOCAL_NOT_CONNECTED, LOCAL_WOULD_BLOCK (too
     * much queued).
     */
    weft_err_t (*send)(void *world, weft_link_t link, weft_slice_t header, weft_frame_t *data);
    /*
     * Replies to a peer of the ROUTER. `data` is consumed in any case. Failure (peer gone, or over its budget of
     * outstanding bytes) is counted; the caller need not care, but may ask peer_outstanding before building a large
     * reply.
     */
    weft_err_t (*reply)(void *world, const struct weft_peer *peer, bool delimited, weft_slice_t header,
                        weft_frame_t *data);
    // queued for it and not yet taken by the transport
    size_t (*peer_outstanding_bytes)(void *world, const struct weft_peer *peer);
    // Sent over the link and not yet taken by the transport; 0 for a link that is gone. NULL where nothing is ever queued.
    size_t (*link_outstanding_bytes)(void *world, weft_link_t link);
    // Mail to another part of this process. Consumes the body. Never blocks; delivery is in order per pair.
    void (*post)(void *world, weft_part_id_t to, const struct weft_mail *mail);
    weft_part_id_t (*self_id)(void *world);
    // What the transport counted for this part, current as of this call; NULL where there is none (the op itself, too).
    const weft_counters_t *(*counters)(void *world);
};

/** Handed to the part at start; copy it by value. */
typedef struct weft_port {
    const struct weft_port_ops *ops;
    void *world; // this part's slot in the world
} weft_port_t;

static inline int64_t weft_port_now_us(const weft_port_t *port)
{
    return port->ops->now_us(port->world);
}
static inline const weft_counters_t *weft_port_counters(const weft_port_t *port)
{
    return port->ops->counters != NULL ? port->ops->counters(port->world) : NULL;
}
static inline int64_t weft_port_wall_ms(const weft_port_t *port)
{
    return port->ops->wall_ms(port->world);
}

/**
 * World: what builds and runs parts. A node's constructor gets one and adds its parts to it.
 */
struct weft_world_part {
    const char *name;   // for trace and thread name: "broker-1/shard-0"
    const char *listen; // endpoint to bind its ROUTER to, or NULL: no ROUTER. "tcp://host:*" takes a free port
    // A second ROUTER, for peers that must not wait behind the first one's: drained first in each turn. NULL: none.
    const char *listen_too;
    char *bound_too;        // receives the endpoint really bound to it (WEFT_ENDPOINT_BYTES_MAX bytes); may be NULL
    size_t frame_bytes_max; // larger frames are cut off by the socket (MAXMSGSIZE)
    size_t peer_bytes_max;  // outstanding bytes per peer before replies are refused
    int64_t awake_us;       // how long its thread looks out for work before it sleeps, where threads are real; 0: not
};

struct weft_world_ops {
    // Adds a part; ownership of it passes to the world, also on failure. `bound` (WEFT_ENDPOINT_BYTES_MAX bytes, may be
    // NULL) receives the endpoint really bound. Binding happens here, running begins with start(). Errors:
    // ENDPOINT_IN_USE, INVALID_ENDPOINT, with a sentence.
    weft_err_t (*add)(void *world, const struct weft_world_part *how, struct weft_part *part, weft_part_id_t *id,
                      char *bound, struct weft_error *error);
    void (*start)(void *world); // runs all parts added so far
};

typedef struct weft_world {
    const struct weft_world_ops *ops;
    void *self;
    const struct weft_disk *disk; // the disk of this world (base/disk.h)
} weft_world_t;

#endif
