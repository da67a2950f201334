// SPDX-License-Identifier: MPL-2.0
// Waiting on ZeroMQ sockets without zmq_poll: a socket's ZMQ_FD is edge-like, it tells of new commands from the I/O
// thread and not of messages that are there. So each socket has `ready`, true until a receive found nothing, and again
// after every call that may have taken in commands (a send, a look at ZMQ_EVENTS). Only sockets that are not ready are
// waited on; that rule stands here, once.
//
// Order of a turn: mail, the second door, links, the first door; each socket with a bounded share of its own. So what
// replicas and coordinators say to each other waits for one portion of the clients' backlog at most (REPLICATION.md rule
// 8). That portion is small, as followers are sent what came only at the end of a turn: with 4 MiB, a producer's whole
// window, they had nothing to do meanwhile (3 replicas, durable: a tenth).
//
// Sends wait in `outbox` until turn() returned, or until so many bytes were taken in: then what the part has answered so
// far goes out, so that its peers have work while it goes on with theirs. Measured: batches of 64 KiB, 16 in flight, one
// peer: 20 % more than with all answers at the end of a drain, when both sides wait for each other by turns.
#include "loop_self.h"

#include "../base/assert.h"
#include "sockets.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define S_FLUSH_BYTES (64 * 1024)
#define S_POLL_EVERY_US 200

static const struct weft_counter_info s_counter_infos[WEFT_LOOP_COUNTERS] = {
    [WEFT_LOOP_MESSAGES_IN] = {"messages_in_count", "Messages received."},
    [WEFT_LOOP_BYTES_IN] = {"messages_in_bytes", "Their headers and data."},
    [WEFT_LOOP_MESSAGES_OUT] = {"messages_out_count", "Messages handed to the transport."},
    [WEFT_LOOP_BYTES_OUT] = {"messages_out_bytes", "Their headers and data."},
    [WEFT_LOOP_MALFORMED] = {"messages_malformed_count", "Messages of a shape that is not legal, dropped."},
    [WEFT_LOOP_REPLIES_TO_GONE] = {"replies_to_gone_count", "Replies dropped because their peer had left."},
    [WEFT_LOOP_REPLIES_OVER_BUDGET] = {"replies_over_budget_count", "Replies dropped because their peer did not read."},
    [WEFT_LOOP_SENDS_LOST] = {"sends_lost_count", "Sends accepted and then dropped because the link was lost."},
    [WEFT_LOOP_MAIL_UNDELIVERED] = {"mail_undelivered_count", "Mail to parts that were gone."},
    [WEFT_LOOP_LINKS_LOST] = {"links_lost_count", "Connections of links that were lost."},
    [WEFT_LOOP_ACCEPTED] = {"connections_accepted_count", "Connections that came in."},
    [WEFT_LOOP_ENDED] =
        {"connections_ended_count",
         "Connections that ended: closed by their peer, cut off for a frame above the limit or a breach of ZMTP."},
    [WEFT_LOOP_TURNS] = {"turns_count", "Turns."},
};

static int64_t s_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

weft_err_t weft_loop_new(weft_net_t *net, const struct weft_world_part *how, struct weft_part *part, weft_loop_t **out,
                         char *bound, struct weft_error *error)
{
    weft_loop_t *self = weft_calloc(1, sizeof *self);
    self->net = net;
    self->part = part;
    self->name = weft_strdup(how->name != NULL ? how->name : "part");
    self->frame_bytes_max = how->frame_bytes_max;
    self->peer_bytes_max = how->peer_bytes_max > 0 ? how->peer_bytes_max : SIZE_MAX;
    self->outer_fd = self->inner_fd = self->timer_fd = -1;
    self->awake.most_us = how->awake_us;
    self->deadline_us = 0; // the first turn comes at once
    self->now_us = s_clock_us();
    weft_err_t err = WEFT_OK;
    if (how->listen != NULL)
        err = weft_router_new(net, how->listen, 0, how->frame_bytes_max, &self->doors[0].router, bound, error);
    if (err != WEFT_OK) goto fail_self;
    if (how->listen_too != NULL)
        err = weft_router_new(net, how->listen_too, 1, how->frame_bytes_max, &self->doors[1].router, how->bound_too,
                              error);
    if (err != WEFT_OK) goto fail_router;
    err = weft_net_mailbox_add(net, &self->id, &self->mailbox, error);
    if (err != WEFT_OK) goto fail_router;
    for (size_t i = 0; i < WEFT_LOOP_DOORS; i++)
        self->doors[i].ready = self->doors[i].watch = self->doors[i].router != NULL;
    self->polls_stale = true;
    weft_buf_init(&self->scratch);
    weft_counters_init(&self->counters, s_counter_infos, WEFT_LOOP_COUNTERS);
    *out = self;
    return WEFT_OK;

fail_router:
    for (size_t i = 0; i < WEFT_LOOP_DOORS; i++) weft_router_destroy(&self->doors[i].router);
fail_self:
    self->part->ops->destroy(&self->part);
    free(self->name);
    free(self);
    return err;
}

void weft_loop_destroy(weft_loop_t **self_p)
{
    weft_loop_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    weft_loop_close(self);
    if (self->part != NULL) self->part->ops->destroy(&self->part);
    weft_buf_fini(&self->scratch);
    weft_counters_fini(&self->counters);
    free(self->links);
    free(self->polls);
    free(self->name);
    free(self);
}

weft_part_id_t weft_loop_part_id(const weft_loop_t *self)
{
    return self->id;
}

struct weft_part *weft_loop_part(weft_loop_t *self)
{
    return self->part;
}

const char *weft_loop_name(const weft_loop_t *self)
{
    return self->name;
}

const weft_counters_t *weft_loop_counters(const weft_loop_t *self)
{
    return &self->counters;
}

void weft_loop_wake(weft_loop_t *self)
{
    weft_mailbox_wake(self->mailbox);
}

// ---- letting out

static void s_flush(weft_loop_t *self);

void weft_loop_close(weft_loop_t *self)
{
    if (self->closed) return;
    self->closed = true;
    s_flush(self); // a client may have sent since the last turn
    weft_mailbox_close(self->mailbox);
    weft_outbox_fini(&self->outbox);
    for (size_t i = 0; i < WEFT_LOOP_DOORS; i++) weft_router_destroy(&self->doors[i].router);
    for (size_t i = 0; i < self->link_count; i++) weft_dealer_destroy(&self->links[i].dealer);
    self->link_count = 0;
    weft_loop_fd_close(self);
}

// ---- draining

static void s_refuse(weft_loop_t *self, const struct weft_message *message)
{
    weft_counter_add(&self->counters, WEFT_LOOP_MALFORMED, 1);
    if (message->link != 0 || message->peer.size == 0) return;
    weft_buf_clear(&self->scratch);
    weft_error_reply_encode(0, WEFT_ERR_BAD_FRAME, "A message has a header frame and at most one data frame.",
                            &self->scratch);
    weft_loop_reply(self, &message->peer, message->delimited, weft_buf_slice(&self->scratch), NULL);
}

static bool s_is_closing(weft_loop_t *self, weft_link_t id)
{
    return self->links_closing && weft_loop_link_find(self, id)->closing;
}

// Delivers at most one turn's worth from one socket; returns whether anything came, and clears *ready when the socket
// is empty.
static bool s_drain(weft_loop_t *self, struct weft_loop_link *link, struct weft_loop_door *door, bool *ready)
{
    size_t count = 0, bytes = 0, flushed = 0;
    size_t bytes_max = door == &self->doors[0] ? WEFT_LOOP_DOOR_BYTES_MAX : WEFT_LOOP_TURN_BYTES_MAX;
    while (count < WEFT_LOOP_TURN_MESSAGES_MAX && bytes < bytes_max) {
        struct weft_message message;
        enum weft_received received =
            link != NULL ? weft_dealer_receive(link->dealer, &message) : weft_router_receive(door->router, &message);
        if (received == WEFT_RECEIVED_NOTHING) {
            *ready = false;
            break;
        }
        count++;
        if (received == WEFT_RECEIVED_REST) continue;
        message.link = link != NULL ? link->id : 0;
        if (received == WEFT_RECEIVED_MALFORMED) {
            s_refuse(self, &message);
            continue;
        }
        bytes += message.header.size + message.data.size;
        if (link == NULL || !s_is_closing(self, link->id)) self->part->ops->message(self->part, &message);
        if (bytes - flushed >= S_FLUSH_BYTES) {
            flushed = bytes;
            s_flush(self);
        }
        weft_frame_drop(&message.header);
        weft_frame_drop(&message.data);
    }
    if (count == 0) return false;
    weft_counter_add(&self->counters, WEFT_LOOP_MESSAGES_IN, count);
    weft_counter_add(&self->counters, WEFT_LOOP_BYTES_IN, bytes);
    return true;
}

static bool s_drain_mail(weft_loop_t *self)
{
    if (!weft_mailbox_pending(self->mailbox)) return false;
    size_t count;
    struct weft_mail *mails = weft_mailbox_take(self->mailbox, &count);
    for (size_t i = 0; i < count; i++) self->part->ops->mail(self->part, &mails[i]);
    return count > 0;
}

// Tells what became of a link's connection; what arrived before is delivered first.
static bool s_poll_link(weft_loop_t *self, size_t index)
{
    bool happened = false;
    struct weft_loop_link link = self->links[index]; // the part may open others, which moves the array
    for (;;) {
        enum weft_link_event event = weft_dealer_poll(link.dealer, self->now_us);
        if (event == WEFT_LINK_NOTHING) break;
        happened = true;
        if (event == WEFT_LINK_DOWN) weft_counter_add(&self->counters, WEFT_LOOP_LINKS_LOST, 1);
        if (s_is_closing(self, link.id)) continue;
        if (event == WEFT_LINK_UP) self->part->ops->link_up(self->part, link.id);
        if (event == WEFT_LINK_DOWN) self->part->ops->link_down(self->part, link.id);
    }
    if (happened) self->links[index].ready = true;
    if (weft_dealer_renewed(link.dealer)) self->polls_stale = true;
    return happened;
}

static bool s_link_has_news(const weft_loop_t *self, const struct weft_loop_link *link)
{
    return link->monitor_ready || (link->ready && !weft_dealer_is_up(link->dealer)) ||
           weft_dealer_revive_us(link->dealer) <= self->now_us;
}

static bool s_drain_link(weft_loop_t *self, size_t index)
{
    bool happened = false;
    bool news = s_link_has_news(self, &self->links[index]);
    if (news) self->links[index].ready = true;
    if (self->links[index].ready) {
        struct weft_loop_link link = self->links[index];
        bool ready = true;
        happened = s_drain(self, &link, NULL, &ready);
        if (!ready)
            self->links[index].ready = false;
        else if (news)
            return true; // its messages first, then its fate
    }
    if (!news) return happened;
    self->links[index].monitor_ready = false;
    return s_poll_link(self, index) || happened;
}

void weft_loop_watch_connections(weft_loop_t *self)
{
    uint64_t accepted = 0, ended = 0;
    for (size_t i = 0; i < WEFT_LOOP_DOORS; i++) {
        weft_router_t *router = self->doors[i].router;
        if (router == NULL) continue;
        weft_router_watch(router, self->now_us);
        accepted += weft_router_accepted(router);
        ended += weft_router_ended(router);
    }
    weft_counter_set(&self->counters, WEFT_LOOP_ACCEPTED, accepted);
    weft_counter_set(&self->counters, WEFT_LOOP_ENDED, ended);
}

static bool s_drain_door(weft_loop_t *self, struct weft_loop_door *door)
{
    if (door->router == NULL) return false;
    if (door->watch || weft_router_watch_us(door->router) <= self->now_us) {
        door->watch = false;
        weft_loop_watch_connections(self);
        door->ready = true;
    }
    return door->ready && s_drain(self, NULL, door, &door->ready);
}

static bool s_drain_all(weft_loop_t *self)
{
    bool happened = s_drain_mail(self);
    if (s_drain_door(self, &self->doors[1])) happened = true;
    for (size_t i = 0; i < self->link_count; i++) {
        if (s_drain_link(self, i)) happened = true;
    }
    if (s_drain_door(self, &self->doors[0])) happened = true;
    return happened;
}

// ---- waiting

// polls: [0] the mailbox, then for each door its ROUTER and its monitor (fd -1 if none), then for each link its DEALER
// and its monitor.
#define S_POLLS_FIXED (1 + 2 * WEFT_LOOP_DOORS)

static void s_polls_renew(weft_loop_t *self)
{
    self->poll_count = S_POLLS_FIXED + 2 * self->link_count;
    self->polls = weft_realloc(self->polls, self->poll_count * sizeof *self->polls);
    self->polls[0] = (struct pollfd){.fd = weft_mailbox_fd(self->mailbox), .events = POLLIN};
    for (size_t i = 0; i < WEFT_LOOP_DOORS; i++) {
        const weft_router_t *router = self->doors[i].router;
        int fd = router != NULL ? weft_router_fd(router) : -1;
        int monitor = router != NULL ? weft_router_monitor_fd(router) : -1;
        self->polls[1 + 2 * i] = (struct pollfd){.fd = fd, .events = POLLIN};
        self->polls[2 + 2 * i] = (struct pollfd){.fd = monitor, .events = POLLIN};
    }
    for (size_t i = 0; i < self->link_count; i++) {
        const weft_dealer_t *dealer = self->links[i].dealer;
        self->polls[S_POLLS_FIXED + 2 * i] = (struct pollfd){.fd = weft_dealer_fd(dealer), .events = POLLIN};
        self->polls[S_POLLS_FIXED + 1 + 2 * i] =
            (struct pollfd){.fd = weft_dealer_monitor_fd(dealer), .events = POLLIN};
    }
    self->polls_stale = false;
    weft_loop_fd_renew(self);
}

static void s_poll(weft_loop_t *self, int64_t wait_us)
{
    if (self->polls_stale) s_polls_renew(self);
    int count = 0;
    if (wait_us > self->awake.most_us) count = weft_awake_look(&self->awake, self->polls, self->poll_count);
    struct timespec wait = {.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000};
    if (count == 0) count = ppoll(self->polls, self->poll_count, wait_us == WEFT_TIME_NEVER ? NULL : &wait, NULL);
    if (count <= 0) { // a signal or the time: nothing is readable
        self->mail_readable = false;
        return;
    }
    self->mail_readable = self->polls[0].revents != 0;
    for (size_t i = 0; i < WEFT_LOOP_DOORS; i++) {
        if (self->polls[1 + 2 * i].revents != 0) self->doors[i].ready = true;
        if (self->polls[2 + 2 * i].revents != 0) self->doors[i].watch = true;
    }
    for (size_t i = 0; i < self->link_count; i++) {
        if (self->polls[S_POLLS_FIXED + 2 * i].revents != 0) self->links[i].ready = true;
        if (self->polls[S_POLLS_FIXED + 1 + 2 * i].revents != 0) self->links[i].monitor_ready = true;
    }
}

int64_t weft_loop_deadline_us(const weft_loop_t *self)
{
    int64_t deadline = self->deadline_us;
    for (size_t i = 0; i < WEFT_LOOP_DOORS; i++) {
        const weft_router_t *router = self->doors[i].router;
        if (router != NULL && weft_router_watch_us(router) < deadline) deadline = weft_router_watch_us(router);
    }
    for (size_t i = 0; i < self->link_count; i++) {
        int64_t revive = weft_dealer_revive_us(self->links[i].dealer);
        if (revive < deadline) deadline = revive;
    }
    return deadline;
}

static int64_t s_wait_us(const weft_loop_t *self, int64_t timeout_us)
{
    int64_t wait = timeout_us < 0 ? WEFT_TIME_NEVER : timeout_us;
    int64_t deadline = weft_loop_deadline_us(self);
    if (deadline != WEFT_TIME_NEVER) {
        int64_t left = deadline > self->now_us ? deadline - self->now_us : 0;
        if (left < wait) wait = left;
    }
    return wait;
}

// Waits if nothing is there; in any case looks once at all descriptors, so that no socket starves behind a busy one.
// A busy loop looks at most every S_POLL_EVERY_US: sockets that it uses are ready anyway. But an idle loop inside
// another one looks: weft_loop_fd said that there is something, and would go on saying so. Returns whether it looked.
static bool s_wait(weft_loop_t *self, bool idle, int64_t timeout_us)
{
    int64_t wait = idle ? s_wait_us(self, timeout_us) : 0;
    bool sent_here = idle && self->outer_fd >= 0;
    if (wait == 0 && !sent_here && self->now_us - self->polled_us < S_POLL_EVERY_US) return false;
    if (wait == 0) {
        s_poll(self, 0);
        if (self->mail_readable) weft_mailbox_awake(self->mailbox, true);
    } else {
        if (!weft_mailbox_sleep(self->mailbox)) wait = 0;
        s_poll(self, wait);
        weft_mailbox_awake(self->mailbox, self->mail_readable);
    }
    self->now_us = self->polled_us = s_clock_us();
    return true;
}

// ---- turn

static void s_flush(weft_loop_t *self)
{
    size_t count = 0, bytes = 0;
    for (struct weft_outbox_send *send; (send = weft_outbox_next(&self->outbox)) != NULL;) {
        bool sent;
        if (send->link == 0) {
            struct weft_loop_door *door = &self->doors[send->peer.door];
            weft_assert(door->router != NULL); // weft_loop_reply asked
            sent = weft_router_send(door->router, &send->peer, send->delimited, &send->message);
            door->ready = true;
            if (!sent) weft_counter_add(&self->counters, WEFT_LOOP_REPLIES_TO_GONE, 1);
        } else {
            struct weft_loop_link *link = weft_loop_link_find(self, send->link);
            weft_assert(link != NULL); // links are reaped after the flush
            sent = weft_dealer_send(link->dealer, &send->message);
            link->ready = true;
            if (!sent) weft_counter_add(&self->counters, WEFT_LOOP_SENDS_LOST, 1);
        }
        if (!sent) continue;
        count++;
        bytes += send->bytes;
    }
    if (count == 0) return;
    weft_counter_add(&self->counters, WEFT_LOOP_MESSAGES_OUT, count);
    weft_counter_add(&self->counters, WEFT_LOOP_BYTES_OUT, bytes);
}

static void s_reap_links(weft_loop_t *self)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->link_count; i++) {
        if (self->links[i].closing)
            weft_dealer_destroy(&self->links[i].dealer);
        else
            self->links[kept++] = self->links[i];
    }
    self->link_count = kept;
    self->links_closing = false;
    self->polls_stale = true;
}

void weft_loop_start(weft_loop_t *self)
{
    if (self->started) return;
    self->started = true;
    self->now_us = s_clock_us();
    self->part->ops->start(self->part, &(const weft_port_t){.ops = &weft_loop_port_ops, .world = self});
}

weft_err_t weft_loop_run(weft_loop_t *self, int64_t timeout_us)
{
    weft_assert(!self->closed);
    weft_loop_start(self);
    self->now_us = s_clock_us();
    bool idle = !s_drain_all(self);
    bool woken = weft_mailbox_woken(self->mailbox);
    bool looked = s_wait(self, idle && !woken && weft_outbox_empty(&self->outbox), timeout_us);
    if (idle && looked) s_drain_all(self);
    weft_counter_add(&self->counters, WEFT_LOOP_TURNS, 1);
    self->deadline_us = self->part->ops->turn(self->part, self->now_us);
    s_flush(self);
    if (self->links_closing) s_reap_links(self);
    weft_loop_fd_arm(self);
    if (weft_mailbox_woken(self->mailbox)) woken = true;
    return woken ? WEFT_ERR_INTERRUPTED : WEFT_OK;
}
