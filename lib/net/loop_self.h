// SPDX-License-Identifier: MPL-2.0
/**
 * The inside of a loop, shared by its three files: loop.c (turns and waiting), loop_port.c (what the part calls) and
 * loop_fd.c (a loop inside another loop). For nobody else.
 */
#ifndef WEFT_NET_LOOP_SELF_H
#define WEFT_NET_LOOP_SELF_H

#include "awake.h"
#include "link.h"
#include "loop.h"
#include "outbox.h"
#include "router.h"

#include <poll.h>
#include <weft_gen/messages.h>

struct weft_loop_link {
    weft_link_t id;
    weft_dealer_t *dealer;
    bool ready;         // a receive may find something: see loop.c
    bool monitor_ready; // the monitor may have news
    bool closing;       // the part closed it: it goes after the turn
};

#define WEFT_LOOP_DOORS 2

// A ROUTER; its number is struct weft_peer's `door`.
struct weft_loop_door {
    weft_router_t *router; // NULL: none
    bool ready;            // as of a link
    bool watch;            // its monitor has news
};

struct weft_loop {
    weft_net_t *net;
    struct weft_part *part;
    char *name;
    weft_part_id_t id;
    weft_mailbox_t *mailbox; // the net's
    struct weft_loop_door doors[WEFT_LOOP_DOORS];
    bool mail_readable;
    bool started;
    bool closed;
    bool links_closing;
    bool polls_stale;
    size_t frame_bytes_max;
    size_t peer_bytes_max;
    struct weft_loop_link *links;
    size_t link_count;
    size_t link_capacity;
    weft_link_t link_next; // ids are not reused
    struct pollfd *polls;
    size_t poll_count;
    int64_t now_us;    // of this turn
    int64_t polled_us; // when the descriptors were looked at
    struct weft_awake awake;
    int64_t deadline_us; // as turn() returned it
    weft_outbox_t outbox;
    weft_buf_t scratch;
    weft_counters_t counters;
    int outer_fd; // -1 until asked for; see loop_fd.c
    int inner_fd;
    int timer_fd;
};

extern const struct weft_port_ops weft_loop_port_ops;

weft_err_t weft_loop_reply(void *world, const struct weft_peer *peer, bool delimited, weft_slice_t header,
                           weft_frame_t *data);
void weft_loop_watch_connections(weft_loop_t *self);
int64_t weft_loop_deadline_us(const weft_loop_t *self); // of the part and of its links
struct weft_loop_link *weft_loop_link_find(weft_loop_t *self, weft_link_t id);

void weft_loop_fd_renew(weft_loop_t *self); // the set of descriptors changed
void weft_loop_fd_arm(weft_loop_t *self);   // after a turn
void weft_loop_fd_close(weft_loop_t *self);

#endif
