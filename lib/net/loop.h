// SPDX-License-Identifier: MPL-2.0
/**
 * Loop: runs one part (wire/port.h) over real sockets, on whatever thread calls weft_loop_run.
 *
 * The runtime gives every part a thread and a loop; a client drives its loop on its caller's thread. A turn: wait until
 * there is something to do, deliver what has arrived (bounded, fair between sockets and mail), call turn(), let out
 * what the part sent meanwhile. While messages keep coming a turn costs one poll(2) and libzmq's own work, no system
 * call a message.
 *
 * One thread at a time; calls from different threads need a barrier between them (a lock, a join), as ZeroMQ's
 * sockets do. weft_loop_wake and weft_net_post are for any thread.
 */
#ifndef WEFT_NET_LOOP_H
#define WEFT_NET_LOOP_H

#include "../base/metrics.h"
#include "net.h"

#define WEFT_LOOP_TURN_MESSAGES_MAX 256            // taken from one socket in one turn
#define WEFT_LOOP_TURN_BYTES_MAX (4 * 1024 * 1024) // the same in bytes, passed by at most one message
#define WEFT_LOOP_DOOR_BYTES_MAX (512 * 1024)      // from the first door: who comes to the others waits for no more

typedef struct weft_loop weft_loop_t;

enum weft_loop_counter {
    WEFT_LOOP_MESSAGES_IN,
    WEFT_LOOP_BYTES_IN,
    WEFT_LOOP_MESSAGES_OUT,
    WEFT_LOOP_BYTES_OUT,
    WEFT_LOOP_MALFORMED,
    WEFT_LOOP_REPLIES_TO_GONE,
    WEFT_LOOP_REPLIES_OVER_BUDGET,
    WEFT_LOOP_SENDS_LOST,
    WEFT_LOOP_MAIL_UNDELIVERED,
    WEFT_LOOP_LINKS_LOST,
    WEFT_LOOP_ACCEPTED,
    WEFT_LOOP_ENDED,
    WEFT_LOOP_TURNS,
    WEFT_LOOP_COUNTERS
};

// Takes ownership of the part, also on failure. Binds its ROUTER if how->listen says so. Errors: ENDPOINT_IN_USE,
// INVALID_ENDPOINT, TOO_LARGE.
WEFT_MUST_USE weft_err_t weft_loop_new(weft_net_t *net, const struct weft_world_part *how, struct weft_part *part,
                                       weft_loop_t **out, char *bound, struct weft_error *error);
// Closes the sockets (what was sent goes on leaving within their linger) and destroys the part. Later mail to it is
// freed.
void weft_loop_destroy(weft_loop_t **self_p);
// The first half of destroy: closes sockets and mailbox, keeps the part, which must not be run again.
void weft_loop_close(weft_loop_t *self);

weft_part_id_t weft_loop_part_id(const weft_loop_t *self);
struct weft_part *weft_loop_part(weft_loop_t *self);
const char *weft_loop_name(const weft_loop_t *self);
const weft_counters_t *weft_loop_counters(const weft_loop_t *self); // any thread

// Calls the part's start(), once; the first run does it if nobody did.
void weft_loop_start(weft_loop_t *self);
/*
 * At least one turn. Drains first; if that was nothing, waits up to timeout_us (0: not at all, negative: for ever), and
 * at most until the time that the last turn() returned, then drains again. Returns INTERRUPTED if weft_loop_wake was
 * called since the last run, else WEFT_OK.
 */
weft_err_t weft_loop_run(weft_loop_t *self, int64_t timeout_us);
// Ends the wait of weft_loop_run, or prevents the next one. Any thread; async-signal-safe.
void weft_loop_wake(weft_loop_t *self);
// A descriptor that polls readable whenever weft_loop_run(0) has something to do, for a loop inside another one. From
// the first call on, each run costs a few system calls more. -1: the process has no descriptor left.
int weft_loop_fd(weft_loop_t *self);

#endif
