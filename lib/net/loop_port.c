// SPDX-License-Identifier: MPL-2.0
// What a part may ask of its loop. Sends are only noted here (outbox.h) and leave after the turn; budgets are checked
// at once, on the account of the destination, which counts what was noted as well. A destination with nothing
// outstanding takes one message of any size.
#include "loop_self.h"

#include "../base/assert.h"
#include "../base/rand.h"

#include <time.h>

static int64_t s_now_us(void *world)
{
    const weft_loop_t *self = world;
    return self->now_us;
}

static int64_t s_wall_ms(void *world)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64_t s_seed(void *world)
{
    weft_rand_t rand;
    weft_rand_seed_os(&rand);
    return weft_rand_next(&rand);
}

struct weft_loop_link *weft_loop_link_find(weft_loop_t *self, weft_link_t id)
{
    for (size_t i = 0; i < self->link_count; i++) { // few: one for each node that this part talks to
        if (self->links[i].id == id) return &self->links[i];
    }
    return NULL;
}

static weft_err_t s_link_open(void *world, const char *endpoint, weft_link_t *out)
{
    weft_loop_t *self = world;
    weft_dealer_t *dealer;
    weft_err_t err = weft_dealer_new(self->net, self->name, endpoint, self->frame_bytes_max, &dealer);
    if (err != WEFT_OK) return err;
    if (self->link_count == self->link_capacity) {
        self->link_capacity = self->link_capacity == 0 ? 8 : self->link_capacity * 2;
        self->links = weft_realloc(self->links, self->link_capacity * sizeof *self->links);
    }
    weft_link_t id = ++self->link_next;
    self->links[self->link_count++] =
        (struct weft_loop_link){.id = id, .dealer = dealer, .ready = true, .monitor_ready = true};
    self->polls_stale = true;
    *out = id;
    return WEFT_OK;
}

static void s_link_close(void *world, weft_link_t id)
{
    weft_loop_t *self = world;
    struct weft_loop_link *link = weft_loop_link_find(self, id);
    if (link == NULL) return;
    link->closing = true; // after the turn: what was sent in it still leaves
    self->links_closing = true;
}

static bool s_over(const weft_account_t *account, size_t more, size_t bytes_max)
{
    size_t outstanding = weft_account_bytes(account);
    return outstanding > 0 && (outstanding > bytes_max || more > bytes_max - outstanding);
}

static void s_note(weft_loop_t *self, weft_link_t link, const struct weft_peer *peer, bool delimited,
                   weft_account_t *account, weft_slice_t header, weft_frame_t *data)
{
    struct weft_outbox_send *send = weft_outbox_add(&self->outbox);
    send->link = link;
    send->delimited = delimited;
    if (peer != NULL) send->peer = *peer;
    send->bytes = header.size + (data != NULL ? data->size : 0);
    weft_outgoing_init(&send->message, account, header, data);
}

static weft_err_t s_send(void *world, weft_link_t id, weft_slice_t header, weft_frame_t *data)
{
    weft_loop_t *self = world;
    struct weft_loop_link *link = weft_loop_link_find(self, id);
    if (link == NULL || link->closing || !weft_dealer_is_up(link->dealer)) return WEFT_ERR_LOCAL_NOT_CONNECTED;
    weft_account_t *account = weft_dealer_account(link->dealer);
    size_t bytes = header.size + (data != NULL ? data->size : 0);
    if (s_over(account, bytes, self->peer_bytes_max)) return WEFT_ERR_LOCAL_WOULD_BLOCK;
    s_note(self, id, NULL, false, account, header, data);
    return WEFT_OK;
}

weft_err_t weft_loop_reply(void *world, const struct weft_peer *peer, bool delimited, weft_slice_t header,
                           weft_frame_t *data)
{
    weft_loop_t *self = world;
    // Nobody can have asked at a door that is not there.
    weft_assert(peer->door < WEFT_LOOP_DOORS && self->doors[peer->door].router != NULL);
    weft_account_t *account = weft_router_account(self->doors[peer->door].router, peer);
    size_t bytes = header.size + (data != NULL ? data->size : 0);
    if (account == NULL || s_over(account, bytes, self->peer_bytes_max)) {
        weft_counter_add(&self->counters, WEFT_LOOP_REPLIES_OVER_BUDGET, 1);
        if (data != NULL) weft_frame_drop(data);
        return WEFT_ERR_LOCAL_WOULD_BLOCK;
    }
    s_note(self, 0, peer, delimited, account, header, data);
    return WEFT_OK;
}

static size_t s_peer_outstanding(void *world, const struct weft_peer *peer)
{
    const weft_loop_t *self = world;
    const weft_router_t *router = peer->door < WEFT_LOOP_DOORS ? self->doors[peer->door].router : NULL;
    return router != NULL ? weft_router_outstanding(router, peer) : 0;
}

static size_t s_link_outstanding(void *world, weft_link_t id)
{
    weft_loop_t *self = world;
    struct weft_loop_link *link = weft_loop_link_find(self, id);
    return link != NULL ? weft_account_bytes(weft_dealer_account(link->dealer)) : 0;
}

static void s_post(void *world, weft_part_id_t to, const struct weft_mail *mail)
{
    weft_loop_t *self = world;
    struct weft_mail sent = *mail;
    sent.from = self->id;
    if (!weft_net_post(self->net, to, &sent)) weft_counter_add(&self->counters, WEFT_LOOP_MAIL_UNDELIVERED, 1);
}

static weft_part_id_t s_self_id(void *world)
{
    const weft_loop_t *self = world;
    return self->id;
}

static const weft_counters_t *s_counters(void *world)
{
    weft_loop_t *self = world;
    weft_loop_watch_connections(self);
    return &self->counters;
}

const struct weft_port_ops weft_loop_port_ops = {
    .now_us = s_now_us,
    .wall_ms = s_wall_ms,
    .seed = s_seed,
    .link_open = s_link_open,
    .link_close = s_link_close,
    .send = s_send,
    .reply = weft_loop_reply,
    .peer_outstanding_bytes = s_peer_outstanding,
    .link_outstanding_bytes = s_link_outstanding,
    .post = s_post,
    .self_id = s_self_id,
    .counters = s_counters,
};
