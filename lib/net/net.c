// SPDX-License-Identifier: MPL-2.0
// The table of mailboxes only grows and its slots are atomic pointers, so posting looks a mailbox up without a lock.
#include "net.h"

#include "../base/assert.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <zmq.h>

// A link takes three sockets (DEALER and the two ends of its monitor); the default of 1,023 would be 341 links.
#define S_SOCKETS_MAX 16384
#define S_LINGER_MS 2000
#define S_CONNECTIONS_MAX ((size_t) 10000)

struct weft_net {
    void *zmq;
    bool foreign;
    const weft_security_t *security;
    int linger_ms;
    atomic_int connections;
    size_t connections_max;
    _Atomic(weft_mailbox_t *) mailboxes[WEFT_NET_PARTS_MAX]; // [id - 1]
    atomic_uint count;
};

void *weft_net_context_new(int io_threads)
{
    void *zmq = zmq_ctx_new();
    weft_assert(zmq != NULL);
    zmq_ctx_set(zmq, ZMQ_IO_THREADS, io_threads > 0 ? io_threads : 1);
    zmq_ctx_set(zmq, ZMQ_MAX_SOCKETS, S_SOCKETS_MAX);
    return zmq;
}

void weft_net_context_term(void **zmq_p)
{
    while (zmq_ctx_term(*zmq_p) != 0 && errno == EINTR) {}
    *zmq_p = NULL;
}

weft_err_t weft_net_new(const struct weft_net_how *how, weft_net_t **out, struct weft_error *error)
{
    weft_net_t *self = weft_calloc(1, sizeof *self);
    self->security = how->security != NULL ? how->security : weft_security_none();
    self->linger_ms = how->linger_ms > 0 ? how->linger_ms : S_LINGER_MS;
    struct rlimit files;
    size_t open_max = getrlimit(RLIMIT_NOFILE, &files) == 0 ? (size_t) files.rlim_cur : 1024;
    self->connections_max = open_max / 2 < S_CONNECTIONS_MAX ? open_max / 2 : S_CONNECTIONS_MAX;
    if (how->connections_max > 0) self->connections_max = how->connections_max;
    self->foreign = how->zmq_context != NULL;
    self->zmq = self->foreign ? how->zmq_context : weft_net_context_new(how->io_threads);
    weft_err_t err = self->security->begin(self->security, self->zmq, error);
    if (err != WEFT_OK) goto fail_context;
    *out = self;
    return WEFT_OK;

fail_context:
    if (!self->foreign) weft_net_context_term(&self->zmq);
    free(self);
    return err;
}

void weft_net_destroy(weft_net_t **self_p)
{
    weft_net_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    self->security->end(self->security, self->zmq);
    if (!self->foreign) weft_net_context_term(&self->zmq);
    for (size_t i = 0; i < WEFT_NET_PARTS_MAX; i++) {
        weft_mailbox_t *mailbox = atomic_load(&self->mailboxes[i]);
        weft_mailbox_destroy(&mailbox);
    }
    free(self);
}

void *weft_net_zmq(const weft_net_t *self)
{
    return self->zmq;
}

const weft_security_t *weft_net_security(const weft_net_t *self)
{
    return self->security;
}

size_t weft_net_connections_add(weft_net_t *self, int change)
{
    int now = atomic_fetch_add(&self->connections, change) + change;
    return now > 0 ? (size_t) now : 0;
}

size_t weft_net_connections_max(const weft_net_t *self)
{
    return self->connections_max;
}

int weft_net_linger_ms(const weft_net_t *self)
{
    return self->linger_ms;
}

weft_err_t weft_net_mailbox_add(weft_net_t *self, weft_part_id_t *id, weft_mailbox_t **out, struct weft_error *error)
{
    unsigned slot = atomic_fetch_add(&self->count, 1);
    if (slot >= WEFT_NET_PARTS_MAX) {
        atomic_fetch_sub(&self->count, 1);
        return weft_error_set(error, WEFT_ERR_TOO_LARGE,
                              "more than %d parts in one runtime: run the nodes in several processes",
                              WEFT_NET_PARTS_MAX);
    }
    weft_mailbox_t *mailbox = weft_mailbox_new();
    if (mailbox == NULL) // the slot stays empty
        return weft_error_set(error, WEFT_ERR_TOO_LARGE,
                              "no descriptor left for a part: raise the limit of open files (ulimit -n)");
    atomic_store_explicit(&self->mailboxes[slot], mailbox, memory_order_release);
    *id = slot + 1;
    *out = mailbox;
    return WEFT_OK;
}

bool weft_net_post(weft_net_t *self, weft_part_id_t to, const struct weft_mail *mail)
{
    if (to != 0 && to <= WEFT_NET_PARTS_MAX) {
        weft_mailbox_t *mailbox = atomic_load_explicit(&self->mailboxes[to - 1], memory_order_acquire);
        if (mailbox != NULL && weft_mailbox_put(mailbox, mail)) return true;
    }
    if (mail->body != NULL && mail->body_free != NULL) mail->body_free(mail->body);
    return false;
}
