// SPDX-License-Identifier: MPL-2.0
// The one thread of ours in a client (docs/decisions/client-without-threads.md): it gives the member part its turns and
// runs nothing else. It starts with the first subscription in a group and ends with the consumer. Signals are the
// program's: this thread takes none. In virtual time there is no thread: the driver runs the part by itself.
#include "consumer_member.h"

#include "../base/assert.h"
#include "../base/trace.h"
#include "driver.h"
#include "member_part.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct weft_consumer_member {
    struct weft_driver *driver;
    weft_desk_t *desk;
    pthread_t thread;
    bool threaded; // false: its driver gives the turns
    atomic_bool stop;
};

static void *s_run(void *context)
{
    weft_consumer_member_t *self = context;
    while (!self->stop)
        if (self->driver->ops->run(self->driver, -1) != WEFT_OK) continue; // woken: the turn it gave saw why
    return NULL;
}

static void s_wake(void *context)
{
    weft_consumer_member_t *self = context;
    self->driver->ops->wake(self->driver);
}

static bool s_begin(weft_consumer_member_t *self)
{
    if (self->driver->ops->go) {
        self->driver->ops->go(self->driver);
        return true;
    }
    self->threaded = true;
    sigset_t all, before;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before)) return false;
    bool begun = pthread_create(&self->thread, NULL, s_run, self) == 0;
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (begun) (void) pthread_setname_np(self->thread, "weft-member");
    return begun;
}

weft_err_t weft_consumer_member_start(const weft_options_t *options, weft_desk_t *desk, weft_consumer_member_t **out,
                                      struct weft_error *error)
{
    char host[129] = "";
    // In a test's virtual time (weft/testing.h) a history is the same on every machine.
    bool virtual = !strncmp(weft_options_text(options, "bootstrap"), "virtual://", 10);
    if (virtual || gethostname(host, sizeof host - 1)) host[0] = 0;
    weft_member_part_t *part;
    weft_err_t err = weft_member_part_new(options, host, desk, &part, error);
    if (err) return err;
    weft_consumer_member_t *self = weft_calloc(1, sizeof *self);
    const struct weft_driver_how how = {.bootstrap = weft_options_text(options, "bootstrap"),
                                        .client = weft_options_text(options, "client")};
    err = weft_driver_new(weft_member_part_base(part), &how, &self->driver, error);
    if (err) goto fail_new; // the driver destroyed the part
    self->desk = weft_desk_hold(desk);
    weft_desk_on_change(desk, WEFT_DESK_MEMBER, s_wake, self);
    if (!s_begin(self)) {
        err = weft_error_set(error, WEFT_ERR_INTERNAL, "the thread for heartbeats can't be started");
        goto fail_desk;
    }
    *out = self;
    return WEFT_OK;

fail_desk:
    weft_desk_on_change(desk, WEFT_DESK_MEMBER, NULL, NULL);
    weft_desk_drop(&self->desk);
    self->driver->ops->destroy(&self->driver);
fail_new:
    free(self);
    return err;
}

void weft_consumer_member_stop(weft_consumer_member_t **self_p)
{
    weft_consumer_member_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    weft_desk_on_change(self->desk, WEFT_DESK_MEMBER, NULL, NULL);
    self->stop = true;
    if (self->threaded) {
        self->driver->ops->wake(self->driver);
        weft_assert(pthread_join(self->thread, NULL) == 0);
    }
    self->driver->ops->destroy(&self->driver);
    weft_desk_drop(&self->desk);
    free(self);
}
