// SPDX-License-Identifier: MPL-2.0
/**
 * Fake world: runs the parts of one node in the test's own thread, with a clock that the test moves and peers that
 * the test plays.
 *
 * Nothing happens but what the test asks for: settle() delivers mail and gives turns until nobody has anything left to
 * do at the present time. What parts send is kept until the test takes it. Links exist once opened and carry messages
 * while the test says that they are up.
 */
#ifndef WEFT_TESTS_SUPPORT_FAKE_WORLD_H
#define WEFT_TESTS_SUPPORT_FAKE_WORLD_H

#include "../../lib/wire/port.h"

typedef struct weft_fake_world weft_fake_world_t;

/** What a part sent: a reply to a peer of its ROUTER (link 0), or a message over a link. */
struct weft_fake_sent {
    weft_part_id_t part;
    weft_link_t link;
    char endpoint[WEFT_ENDPOINT_BYTES_MAX]; // of the link
    uint8_t peer;                           // number of the peer, as in weft_fake_world_request
    uint8_t door;                           // through which it came in
    bool delimited;
    weft_buf_t header;
    weft_buf_t data;
};

weft_fake_world_t *weft_fake_world_new(const struct weft_disk *disk);
// Destroys the parts that are left, as a crash does.
void weft_fake_world_destroy(weft_fake_world_t **self_p);
const weft_world_t *weft_fake_world_of(weft_fake_world_t *self);

// ---- time

#define WEFT_FAKE_WALL_MS INT64_C(1700000000000) // wall clock when the monotonic one stands at 1 s, where it begins

int64_t weft_fake_world_now_us(const weft_fake_world_t *self);
// Moves the clock in steps to every time at which a part asked for a turn, settling at each.
void weft_fake_world_advance(weft_fake_world_t *self, int64_t us);
void weft_fake_world_settle(weft_fake_world_t *self);

// ---- the peers' side

// A message to the ROUTER of the `number`-th listening part (from 0), then settles. `shared`: as over inproc. Data
// nil: one frame.
void weft_fake_world_request(weft_fake_world_t *self, size_t number, uint8_t peer, bool delimited, weft_slice_t header,
                             weft_slice_t data, bool shared);
// The same without a turn: for what arrives together.
void weft_fake_world_queue(weft_fake_world_t *self, size_t number, uint8_t peer, bool delimited, weft_slice_t header,
                           weft_slice_t data, bool shared);
// Likewise, at the door (0 or 1, struct weft_peer) of the `number`-th part that has it. Peers of two doors are others,
// whatever their numbers.
void weft_fake_world_request_at(weft_fake_world_t *self, size_t number, uint8_t door, uint8_t peer, weft_slice_t header,
                                weft_slice_t data);
void weft_fake_world_queue_at(weft_fake_world_t *self, size_t number, uint8_t door, uint8_t peer, weft_slice_t header,
                              weft_slice_t data);
// The oldest reply that was sent to any peer and not yet taken; NULL: none. It lives until the next take.
const struct weft_fake_sent *weft_fake_world_take_reply(weft_fake_world_t *self);
// The oldest message that went over any link, likewise.
const struct weft_fake_sent *weft_fake_world_take_sent(weft_fake_world_t *self);
size_t weft_fake_world_reply_count(const weft_fake_world_t *self);
// What peer_outstanding_bytes answers for every peer.
void weft_fake_world_outstanding(weft_fake_world_t *self, size_t bytes);

// All links to that endpoint come up or go down (also those opened later), then settles.
void weft_fake_world_link(weft_fake_world_t *self, const char *endpoint, bool up);
// A message from the endpoint over its link, then settles.
void weft_fake_world_from(weft_fake_world_t *self, const char *endpoint, weft_slice_t header, weft_slice_t data);

// ---- mail

// Mail to a part as if another had sent it (consumes the body), then settles.
void weft_fake_world_mail(weft_fake_world_t *self, weft_part_id_t to, const struct weft_mail *mail);

// ---- stop

// Holds mail to a part back until it is let go again: a sync that takes long.
void weft_fake_world_hold(weft_fake_world_t *self, weft_part_id_t part, bool hold);
// Asks the part to stop and gives it turns; false if it does not come to rest within `us`.
bool weft_fake_world_stop(weft_fake_world_t *self, weft_part_id_t part, int64_t us);

#endif
