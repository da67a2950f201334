// SPDX-License-Identifier: MPL-2.0
/**
 * Driver: runs one client part on the caller's thread, turn by turn, as the blocking calls of the public objects need
 * it.
 *
 * lib/client may not touch sockets; the driver is its way to them. lib/driver_net.c makes one over lib/net's loop (its
 * own context and I/O thread; no thread of its own that runs our code). Tests may bring another, over the simulated
 * world.
 */
#ifndef WEFT_CLIENT_DRIVER_H
#define WEFT_CLIENT_DRIVER_H

#include "../wire/port.h"

#include <time.h>

struct weft_driver;

struct weft_driver_ops {
    /*
     * Gives the part at least one turn. First drains what has arrived; if that was nothing and timeout_us is not 0,
     * waits until a message, a link's change, the part's own wish to be called (the result of its last turn), wake(),
     * or timeout_us (-1: for ever) and gives a turn then. Returns WEFT_OK, or INTERRUPTED if wake() was called since
     * the last run (that run gives its turn too). Called on the owner's thread only; never from inside the part.
     */
    weft_err_t (*run)(struct weft_driver *self, int64_t timeout_us);
    // Makes a waiting run return, or the next one if none waits. Any thread; async-signal-safe.
    void (*wake)(struct weft_driver *self);
    // A descriptor that polls readable when run(0) has something to do, or -1.
    int (*fd)(const struct weft_driver *self);
    // Optional: from now on the world gives the part its turns by itself, run() is not called any more. NULL: the owner
    // who wants that runs it on a thread.
    void (*go)(struct weft_driver *self);
    // Optional, NULL: the process's clocks. As the part's port says (port.h), but now_us may move within a turn.
    int64_t (*now_us)(const struct weft_driver *self);
    int64_t (*wall_ms)(const struct weft_driver *self);
    // Stops and destroys the part (its destroy slot is called), closes links with a short linger, frees the driver.
    // Nulls the pointer.
    void (*destroy)(struct weft_driver **self_p);
};

/** First member of every driver. */
struct weft_driver {
    const struct weft_driver_ops *ops;
};

static inline int64_t weft_driver_now_us(const struct weft_driver *self)
{
    if (self->ops->now_us != NULL) return self->ops->now_us(self);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline int64_t weft_driver_wall_ms(const struct weft_driver *self)
{
    if (self->ops->wall_ms != NULL) return self->ops->wall_ms(self);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// The same of a clock that is cheap to read (a sixth), and moves every 4 ms or so.
static inline int64_t weft_driver_coarse_ms(const struct weft_driver *self)
{
    if (self->ops->wall_ms != NULL) return self->ops->wall_ms(self);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/** Of the client that wants a driver. */
struct weft_driver_how {
    const char *bootstrap; // its setting; with an inproc endpoint in it: the process's shared context, else an own one
    const char *client;    // its setting: its name
};

/**
 * Takes ownership of `part` (also on failure, then it is destroyed), calls its start slot. `how` is borrowed for the
 * call. Defined outside lib/client; the only function that lib/client does not define itself.
 */
WEFT_MUST_USE weft_err_t weft_driver_new(struct weft_part *part, const struct weft_driver_how *how,
                                         struct weft_driver **out, struct weft_error *error);

/**
 * Another maker of drivers, for bootstraps that begin with `scheme` ("virtual://"): clusters in virtual time
 * (weft/testing.h). NULL takes it away again. One at a time; set while no client of that scheme lives.
 */
typedef weft_err_t weft_driver_make_fn(struct weft_part *part, const struct weft_driver_how *how,
                                       struct weft_driver **out, struct weft_error *error);
void weft_driver_provide(const char *scheme, weft_driver_make_fn *make);

#endif
