// SPDX-License-Identifier: MPL-2.0
// The client's driver (lib/client/driver.h) over lib/net: one context with one I/O thread (or the process's shared one,
// for inproc), one loop, the client's part.
// It stands outside both layers, which don't know of each other; libweft is where they meet.
#include "client/driver.h"
#include "net/loop.h"
#include "zmq_context.h"

#include <stdlib.h>
#include <string.h>
#include <weft_gen/limits.h>

// The producer bounds its own memory (buffer.bytes); this only stops a part that doesn't.
#define S_LINK_BYTES_MAX ((size_t) 1 << 30)
#define S_LINGER_MS 500

struct s_driver {
    struct weft_driver base;
    weft_net_t *net;
    weft_loop_t *loop;
    bool inproc; // the net is in the process's shared context
};

static struct s_driver *s_of(struct weft_driver *driver)
{
    return (struct s_driver *) driver;
}

static weft_err_t s_run(struct weft_driver *driver, int64_t timeout_us)
{
    return weft_loop_run(s_of(driver)->loop, timeout_us);
}

static void s_wake(struct weft_driver *driver)
{
    weft_loop_wake(s_of(driver)->loop);
}

static int s_fd(const struct weft_driver *driver)
{
    return weft_loop_fd(((const struct s_driver *) driver)->loop);
}

static void s_net_end(weft_net_t **net_p, bool inproc)
{
    weft_net_destroy(net_p);
    if (inproc) weft_zmq_context_release();
}

static void s_destroy(struct weft_driver **driver_p)
{
    if (*driver_p == NULL) return;
    struct s_driver *self = s_of(*driver_p);
    *driver_p = NULL;
    weft_loop_destroy(&self->loop);
    s_net_end(&self->net, self->inproc);
    free(self);
}

static const struct weft_driver_ops s_ops = {.run = s_run, .wake = s_wake, .fd = s_fd, .destroy = s_destroy};

static _Atomic(const char *) s_scheme;
static _Atomic(weft_driver_make_fn *) s_make;

void weft_driver_provide(const char *scheme, weft_driver_make_fn *make)
{
    s_make = make;
    s_scheme = make != NULL ? scheme : NULL;
}

weft_err_t weft_driver_new(struct weft_part *part, const struct weft_driver_how *client, struct weft_driver **out,
                           struct weft_error *error)
{
    const char *scheme = s_scheme;
    if (scheme != NULL && strncmp(client->bootstrap, scheme, strlen(scheme)) == 0) {
        weft_driver_make_fn *make = s_make;
        return make(part, client, out, error);
    }
    weft_net_t *net = NULL;
    bool inproc = weft_zmq_context_is_for(client->bootstrap);
    struct weft_net_how net_how = {
        .zmq_context = inproc ? weft_zmq_context_take() : NULL, .io_threads = 1, .linger_ms = S_LINGER_MS};
    weft_err_t err = weft_net_new(&net_how, &net, error);
    if (err != WEFT_OK) {
        if (inproc) weft_zmq_context_release();
        part->ops->destroy(&part);
        return err;
    }
    struct weft_world_part how = {
        .name = client->client, .frame_bytes_max = WEFT_FRAME_BYTES_MAX, .peer_bytes_max = S_LINK_BYTES_MAX};
    weft_loop_t *loop = NULL;
    err = weft_loop_new(net, &how, part, &loop, NULL, error);
    if (err != WEFT_OK) {
        s_net_end(&net, inproc);
        return err;
    }
    struct s_driver *self = weft_calloc(1, sizeof *self);
    self->base.ops = &s_ops;
    self->net = net;
    self->loop = loop;
    self->inproc = inproc;
    weft_loop_start(loop);
    *out = &self->base;
    return WEFT_OK;
}
