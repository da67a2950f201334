// SPDX-License-Identifier: MPL-2.0
// Two queues a link, in order: each message with the time from which on it may pass. A cut holds the head, whatever its
// time. Rules are asked for at every use: tests are small, and a cut holds from the next message on.
#include "disturbed.h"

#include "../base/bytes.h"

#include <stdatomic.h>
#include <stdlib.h>

#define S_SILENCE_US INT64_C(3000000) // as sockets.c's heartbeats
#define S_LOOK_US 20000
#define S_LOOK_BUSY_US 2000

struct s_held {
    struct s_held *next;
    int64_t due_us;
    weft_outgoing_t outgoing;
    struct weft_message message;
};

struct s_queue {
    struct s_held *first, **last;
};

struct weft_disturbed {
    char *party, *endpoint;
    uint64_t serial;
    weft_disturb_fn *fn;
    struct weft_disturbance now;
    int64_t cut_since_us; // 0: not cut
    uint64_t breaks;
    struct s_queue out, in;
};

static _Atomic(weft_disturb_fn *) s_fn;
static _Atomic uint64_t s_serial;

void weft_disturb_set(weft_disturb_fn *fn)
{
    atomic_store(&s_fn, fn);
}

uint64_t weft_disturb_serial(void)
{
    return atomic_load(&s_serial);
}

static void s_ask(weft_disturbed_t *self)
{
    self->now = (struct weft_disturbance){0};
    self->fn(self->party, self->endpoint, self->serial, &self->now);
}

weft_disturbed_t *weft_disturbed_new(const char *party, const char *endpoint)
{
    weft_disturb_fn *fn = atomic_load_explicit(&s_fn, memory_order_relaxed);
    if (fn == NULL) return NULL;
    weft_disturbed_t *self = weft_calloc(1, sizeof *self);
    self->party = weft_strdup(party);
    self->endpoint = weft_strdup(endpoint);
    self->serial = atomic_fetch_add(&s_serial, 1) + 1;
    self->fn = fn;
    self->out.last = &self->out.first;
    self->in.last = &self->in.first;
    s_ask(self);
    self->breaks = self->now.breaks;
    return self;
}

void weft_disturbed_destroy(weft_disturbed_t **self_p)
{
    weft_disturbed_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    weft_disturbed_clear(self);
    free(self->party);
    free(self->endpoint);
    free(self);
}

// ---- queues

static struct s_held *s_push(struct s_queue *queue, int64_t due_us)
{
    struct s_held *held = weft_calloc(1, sizeof *held);
    held->due_us = due_us;
    *queue->last = held;
    queue->last = &held->next;
    return held;
}

static struct s_held *s_pop(struct s_queue *queue)
{
    struct s_held *held = queue->first;
    queue->first = held->next;
    if (queue->first == NULL) queue->last = &queue->first;
    return held;
}

void weft_disturbed_clear(weft_disturbed_t *self)
{
    while (self->out.first != NULL) {
        struct s_held *held = s_pop(&self->out);
        weft_outgoing_discard(&held->outgoing);
        free(held);
    }
    while (self->in.first != NULL) {
        struct s_held *held = s_pop(&self->in);
        weft_frame_drop(&held->message.header);
        weft_frame_drop(&held->message.data);
        free(held);
    }
}

// ---- the connection

bool weft_disturbed_look(weft_disturbed_t *self, int64_t now_us, bool up)
{
    s_ask(self);
    bool cut = self->now.cut_out || self->now.cut_in;
    if (!cut)
        self->cut_since_us = 0;
    else if (self->cut_since_us == 0)
        self->cut_since_us = now_us;
    bool lost = cut && now_us - self->cut_since_us >= S_SILENCE_US;
    if (self->now.breaks != self->breaks) lost = true;
    self->breaks = self->now.breaks;
    return lost && up;
}

bool weft_disturbed_is_cut(const weft_disturbed_t *self)
{
    return self->now.cut_out || self->now.cut_in;
}

int64_t weft_disturbed_next_us(const weft_disturbed_t *self, int64_t now_us)
{
    bool busy = self->out.first != NULL || self->in.first != NULL || weft_disturbed_is_cut(self);
    return now_us + (busy ? S_LOOK_BUSY_US : S_LOOK_US);
}

// ---- messages

static void s_move(weft_outgoing_t *to, weft_outgoing_t *from)
{
    to->has_data = from->has_data;
    zmq_msg_init(&to->header);
    zmq_msg_move(&to->header, &from->header);
    zmq_msg_close(&from->header);
    if (!from->has_data) return;
    zmq_msg_init(&to->data);
    zmq_msg_move(&to->data, &from->data);
    zmq_msg_close(&from->data);
}

bool weft_disturbed_hold(weft_disturbed_t *self, int64_t now_us, weft_outgoing_t *outgoing)
{
    s_ask(self);
    if (!self->now.cut_out && self->now.delay_out_us == 0 && self->out.first == NULL) return false;
    s_move(&s_push(&self->out, now_us + self->now.delay_out_us)->outgoing, outgoing);
    return true;
}

bool weft_disturbed_release(weft_disturbed_t *self, int64_t now_us, weft_outgoing_t *out)
{
    if (self->out.first == NULL || self->now.cut_out || self->out.first->due_us > now_us) return false;
    struct s_held *held = s_pop(&self->out);
    s_move(out, &held->outgoing);
    free(held);
    return true;
}

void weft_disturbed_put(weft_disturbed_t *self, int64_t now_us, struct weft_message *message)
{
    s_ask(self);
    struct s_held *held = s_push(&self->in, now_us + self->now.delay_in_us);
    held->message = *message;
    held->message.header = held->message.data = WEFT_FRAME_EMPTY;
    weft_frame_move(&held->message.header, &message->header);
    weft_frame_move(&held->message.data, &message->data);
}

bool weft_disturbed_take(weft_disturbed_t *self, int64_t now_us, struct weft_message *out)
{
    if (self->in.first == NULL) return false;
    s_ask(self);
    if (self->now.cut_in || self->in.first->due_us > now_us) return false;
    struct s_held *held = s_pop(&self->in);
    *out = held->message;
    out->header = out->data = WEFT_FRAME_EMPTY;
    weft_frame_move(&out->header, &held->message.header);
    weft_frame_move(&out->data, &held->message.data);
    free(held);
    return true;
}
