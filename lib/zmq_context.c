// SPDX-License-Identifier: MPL-2.0
// One static, under one lock. Who owns it decides how it ends: one made for nodes and clients alone ends with the last
// of them; one that the program was given may hold its sockets and stays until the program says so; one that the
// program brought is never ended here.
#include "zmq_context.h"

#include "base/assert.h"
#include "net/net.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include <weft/node.h>

#define S_IO_THREADS_MAX 4

enum s_owner { S_NOBODY, S_OURS, S_OURS_GIVEN, S_FOREIGN, S_FOREIGN_FOR_NOW };

static pthread_mutex_t s_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    void *zmq;
    enum s_owner owner;
    unsigned users;
} s_shared;

bool weft_zmq_context_is_for(const char *setting)
{
    return strstr(setting, "inproc://") != NULL;
}

// Under the lock.
static void s_make(void)
{
    if (s_shared.zmq != NULL) return;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    s_shared.zmq = weft_net_context_new(cores < 1 ? 1 : cores > S_IO_THREADS_MAX ? S_IO_THREADS_MAX : (int) cores);
    s_shared.owner = S_OURS;
}

// Under the lock. The result is to be terminated without it.
static void *s_forget(void)
{
    void *ours = s_shared.owner == S_OURS || s_shared.owner == S_OURS_GIVEN ? s_shared.zmq : NULL;
    s_shared.zmq = NULL;
    s_shared.owner = S_NOBODY;
    return ours;
}

static void s_unlock_and_end(void *ours)
{
    pthread_mutex_unlock(&s_lock);
    if (ours != NULL) weft_net_context_term(&ours);
}

void *weft_zmq_context_take_or(void *zmq_context)
{
    pthread_mutex_lock(&s_lock);
    if (s_shared.zmq == NULL && zmq_context != NULL) {
        s_shared.zmq = zmq_context;
        s_shared.owner = S_FOREIGN_FOR_NOW;
    }
    s_make();
    s_shared.users++;
    void *zmq = s_shared.zmq;
    pthread_mutex_unlock(&s_lock);
    return zmq;
}

void *weft_zmq_context_take(void)
{
    return weft_zmq_context_take_or(NULL);
}

void weft_zmq_context_release(void)
{
    pthread_mutex_lock(&s_lock);
    weft_assert(s_shared.users > 0);
    s_shared.users--;
    bool last = s_shared.users == 0 && (s_shared.owner == S_OURS || s_shared.owner == S_FOREIGN_FOR_NOW);
    s_unlock_and_end(last ? s_forget() : NULL);
}

void *weft_zmq_context(void)
{
    pthread_mutex_lock(&s_lock);
    s_make();
    if (s_shared.owner == S_OURS) s_shared.owner = S_OURS_GIVEN;
    void *zmq = s_shared.zmq;
    pthread_mutex_unlock(&s_lock);
    return zmq;
}

weft_err_t weft_zmq_context_set(void *zmq_context)
{
    pthread_mutex_lock(&s_lock);
    bool same = zmq_context == s_shared.zmq;
    bool ours_given = s_shared.owner == S_OURS || s_shared.owner == S_OURS_GIVEN;
    bool refused = !same && (s_shared.users > 0 || (zmq_context != NULL && ours_given));
    if (refused || same) {
        if (same && s_shared.owner == S_FOREIGN_FOR_NOW) s_shared.owner = S_FOREIGN;
        pthread_mutex_unlock(&s_lock);
        return refused ? WEFT_ERR_INVALID_ARGUMENT : WEFT_OK;
    }
    void *ours = s_forget();
    s_shared.zmq = zmq_context;
    s_shared.owner = zmq_context != NULL ? S_FOREIGN : S_NOBODY;
    s_unlock_and_end(ours);
    return WEFT_OK;
}
