// SPDX-License-Identifier: MPL-2.0
// A snapshot on its way to another voter, in pieces: one frame may be smaller than the state, and Raft's heartbeats stand
// behind what the same link still carries.
//
// The sender has two pieces under way at most; the receiver puts them together in order, and answers each with how much it
// has from the beginning on, so that either side goes on behind a lost connection, and a receiver that was started again
// says 0. The bytes of the file are read once an install and shared by the peers that need the same one. They go when the
// peer has all of it, when nothing has moved for a while, and with the office. libraft asks for the snapshot again at every
// heartbeat that the peer refuses, so what it asks says nothing about what was lost. The whole is stepped as one that came in
// one message, which is how a small one is sent.
#include "quorum_self.h"

#include "../lib/base/mutate.h"
#include "../lib/base/trace.h"

#include <weft_gen/limits.h>

#include <stdlib.h>

enum {
    S_UNDER_WAY = 2, // pieces
    S_SNAPSHOT = 5,  // as in quorum_peers.c
    S_PIECE = 8,
    S_TAKEN = 9,
    S_TAKEN_MISFIT = 1,
    S_AGAIN_US = 5 * 1000 * 1000,    // without an answer what is under way is taken for lost
    S_GIVE_UP_US = 20 * 1000 * 1000, // nothing moved
    S_OTHER_US = 5 * 1000 * 1000,    // then another sender of the same term may take over
};

// ---- out

struct weft_quorum_whole {
    size_t users;
    weft_buf_t bytes; // of the file
    struct weft_snapshot_head head;
    weft_slice_t voters, state; // in it
};

static void s_whole_drop(struct weft_quorum_whole *whole)
{
    if (--whole->users > 0) return;
    weft_buf_fini(&whole->bytes);
    free(whole);
}

void weft_quorum_pieces_drop(struct weft_quorum_peer *peer)
{
    if (peer->out.whole) s_whole_drop(peer->out.whole);
    peer->out = (struct weft_quorum_out){0};
}

void weft_quorum_pieces_lost(struct weft_quorum_peer *peer)
{
    peer->out.next = peer->out.acked;
    peer->out.given = 0;
}

static struct weft_quorum_whole *s_whole_read(struct weft_quorum_self *self)
{
    struct weft_quorum_whole *whole = weft_calloc(1, sizeof *whole);
    struct weft_error error;
    whole->users = 1;
    weft_buf_init(&whole->bytes);
    weft_err_t err =
        weft_quorum_snapshot_read(self, &whole->bytes, &whole->head, &whole->voters, &whole->state, &error);
    if (!err) return whole;
    if (err != WEFT_ERR_NOT_FOUND) weft_quorum_give_up(self, err, error.text);
    s_whole_drop(whole);
    return NULL;
}

// The one that goes to another peer already, or what the disk has.
static struct weft_quorum_whole *s_whole_from(struct weft_quorum_self *self, uint64_t index)
{
    for (size_t i = 0; i < self->peer_count; i++) {
        struct weft_quorum_whole *whole = self->peers[i].out.whole;
        if (!whole || whole->head.index < index || whole->head.index < self->snapshot.index) continue;
        whole->users++;
        return whole;
    }
    struct weft_quorum_whole *whole = s_whole_read(self);
    if (!whole || whole->head.index >= index) return whole;
    s_whole_drop(whole);
    return NULL;
}

// False: the link takes no more for now.
static bool s_send(struct weft_quorum_self *self, struct weft_quorum_peer *peer, const struct weft_quorum_out *out,
                   size_t offset, size_t size)
{
    const struct weft_quorum_whole *whole = out->whole;
    struct weft_quorum_request request;
    weft_frame_t frame = WEFT_FRAME_EMPTY;
    bool all = size == whole->state.size;
    weft_quorum_request_init(&request);
    request.kind = all ? S_SNAPSHOT : S_PIECE;
    request.term = out->term;
    request.index = whole->head.index;
    request.index_term = whole->head.term;
    request.configuration = whole->voters;
    request.configuration_index = whole->head.configuration_index;
    request.version = out->version;
    request.offset = all ? 0 : offset;
    request.total = all ? 0 : whole->state.size;
    weft_frame_init_copy(&frame, weft_slice(whole->state.data + offset, size));
    return weft_quorum_send(self, peer, &request, &frame);
}

static size_t s_outstanding(const struct weft_quorum_self *self, const struct weft_quorum_peer *peer)
{
    const struct weft_port_ops *ops = self->port.ops;
    return ops->link_outstanding_bytes ? ops->link_outstanding_bytes(self->port.world, peer->link) : 0;
}

static void s_pump(struct weft_quorum_self *self, struct weft_quorum_peer *peer)
{
    struct weft_quorum_out *out = &peer->out;
    size_t total = out->whole->state.size;
    if (self->now_us - out->again_us > S_AGAIN_US && s_outstanding(self, peer) == 0) {
        weft_quorum_pieces_lost(peer);
        out->again_us = self->now_us;
    }
    while (peer->up && out->next < total && out->next - out->acked < S_UNDER_WAY * self->piece_bytes) {
        size_t size = total - out->next < self->piece_bytes ? total - out->next : self->piece_bytes;
        if (!s_send(self, peer, out, out->next, size)) return;
        out->next += size;
    }
}

// It goes on with the older one as long as the log has what comes behind that: else a link that is slower than snapshots
// are taken would carry beginnings only.
static bool s_goes_on(const struct weft_quorum_self *self, const struct weft_quorum_out *out,
                      const struct raft_install_snapshot *message)
{
    if (!out->whole || out->term != message->term) return false;
    return out->whole->head.index >= message->last_index || out->whole->head.index + 1 >= self->log.first;
}

void weft_quorum_snapshot_send(struct weft_quorum_self *self, struct weft_quorum_peer *peer,
                               const struct raft_install_snapshot *message)
{
    struct weft_quorum_out *out = &peer->out;
    if (s_goes_on(self, out, message)) return;
    if (out->given && out->given >= message->last_index && self->now_us - out->moved_us < S_AGAIN_US)
        return; // it installs
    weft_quorum_pieces_drop(peer);
    if (!peer->up) return;
    struct weft_quorum_whole *whole = s_whole_from(self, message->last_index);
    if (!whole) {
        if (!self->failed)
            weft_trace(WEFT_TRACE_WARN, self->name, "there is no snapshot that coordinator %d could be sent", peer->id);
        return;
    }
    *out = (struct weft_quorum_out){.whole = whole,
                                    .term = message->term,
                                    .version = message->version,
                                    .offered = !weft_quorum_leads(self),
                                    .moved_us = self->now_us,
                                    .again_us = self->now_us};
    if (whole->state.size > self->piece_bytes) return; // the turn sends them
    (void) s_send(self, peer, out, 0, whole->state.size);
    weft_quorum_pieces_drop(peer);
}

// The answer to a piece.
void weft_quorum_pieces_taken(struct weft_quorum_self *self, struct weft_quorum_peer *peer,
                              const struct weft_quorum_request *from)
{
    struct weft_quorum_out *out = &peer->out;
    if (!out->whole || from->index != out->whole->head.index || from->index_term != out->term ||
        from->total != out->whole->state.size || from->offset > from->total)
        return;
    bool misfit = from->flags & S_TAKEN_MISFIT;
    if (!misfit && from->offset < out->acked) return; // an older one
    if (from->offset > out->acked) out->moved_us = out->again_us = self->now_us;
    out->acked = (size_t) from->offset;
    if (misfit || out->next < out->acked) out->next = out->acked;
    if (out->acked < out->whole->state.size) return;
    weft_quorum_pieces_drop(peer);
    out->given = from->index;
    out->moved_us = self->now_us;
}

static bool s_is_over(const struct weft_quorum_self *self, const struct weft_quorum_peer *peer)
{
    const struct weft_quorum_out *out = &peer->out;
    raft_index match = 0;
    if (self->now_us - out->moved_us > S_GIVE_UP_US || out->term != raft_current_term(self->raft)) return true;
    if (!weft_quorum_leads(self)) return !out->offered;
    return raft_match_index(self->raft, peer->server, &match) != 0 || match >= out->whole->head.index;
}

// ---- in

void weft_quorum_pieces_forget(struct weft_quorum_self *self)
{
    weft_buf_fini(&self->in.bytes);
    self->in = (struct weft_quorum_in){.total = 0};
    weft_buf_init(&self->in.bytes);
}

static void s_answer(struct weft_quorum_self *self, const struct weft_quorum_in *of, size_t have, bool misfit)
{
    struct weft_quorum_peer *peer = weft_quorum_peer_of_server(self, of->server);
    if (!peer) return;
    struct weft_quorum_request request;
    weft_quorum_request_init(&request);
    request.kind = S_TAKEN; // without a term of its own: ours may not be durable yet
    request.index = of->index;
    request.index_term = of->term;
    request.offset = have;
    request.total = of->total;
    request.flags = misfit ? S_TAKEN_MISFIT : 0;
    (void) weft_quorum_send(self, peer, &request, NULL);
}

static bool s_is_piece(const struct weft_quorum_request *from, size_t size)
{
    return from->index && from->index_term && from->index_term <= from->term && from->total <= WEFT_STATE_BYTES_MAX &&
           from->offset < from->total && size > 0 && size <= from->total - from->offset;
}

static bool s_is_same(const struct weft_quorum_in *in, const struct weft_quorum_in *of)
{
    return in->total == of->total && in->server == of->server && in->term == of->term && in->index == of->index &&
           in->index_term == of->index_term;
}

// May it take the place of what is being put together?
static bool s_may_begin(const struct weft_quorum_self *self, const struct weft_quorum_request *from)
{
    const struct weft_quorum_in *in = &self->in;
    if (in->total == 0 || from->term > in->term) return true;
    if (from->term < in->term) return false;
    return from->from == in->server || self->now_us - in->moved_us > S_OTHER_US;
}

bool weft_quorum_piece_taken(struct weft_quorum_self *self, const struct weft_quorum_request *from, weft_slice_t data,
                             weft_frame_t *whole)
{
    struct weft_quorum_in *in = &self->in;
    if (!s_is_piece(from, data.size) || from->term < raft_current_term(self->raft)) return false;
    const struct weft_quorum_in of = {.server = from->from,
                                      .term = from->term,
                                      .index = from->index,
                                      .index_term = from->index_term,
                                      .total = (size_t) from->total};
    if (from->index <= self->snapshot.index) { // sent before it was heard that it is installed
        s_answer(self, &of, of.total, false);
        return false;
    }
    if (!s_is_same(in, &of)) {
        if (!s_may_begin(self, from)) return false;
        if (from->offset > 0) {
            s_answer(self, &of, 0, true);
            return false;
        }
        weft_quorum_pieces_forget(self);
        *in = of;
    }
    size_t have = in->bytes.size;
    bool fits = from->offset == have || (weft_mutated("pieces_out_of_place") && data.size <= in->total - have);
    if (fits) {
        weft_buf_append(&in->bytes, data.data, data.size);
        in->moved_us = self->now_us;
    }
    s_answer(self, in, in->bytes.size, from->offset > have);
    if (in->bytes.size < in->total) return false;
    weft_frame_init_buf(whole, &in->bytes);
    weft_quorum_pieces_forget(self);
    return true;
}

// ---- both

void weft_quorum_pieces_link(struct weft_quorum_self *self, struct weft_quorum_peer *peer, bool up)
{
    const struct weft_quorum_in *in = &self->in;
    weft_quorum_pieces_lost(peer);
    peer->out.acked = peer->out.next = 0; // it may have been started again; its answer tells
    if (up && in->total && in->server == peer->server)
        s_answer(self, in, in->bytes.size, false); // the last one was lost
}

void weft_quorum_pieces_turn(struct weft_quorum_self *self)
{
    if (self->failed || !self->raft) return;
    for (size_t i = 0; i < self->peer_count; i++) {
        struct weft_quorum_peer *peer = &self->peers[i];
        if (!peer->out.whole) continue;
        if (s_is_over(self, peer))
            weft_quorum_pieces_drop(peer);
        else
            s_pump(self, peer);
    }
    const struct weft_quorum_in *in = &self->in;
    if (in->total && (in->term < raft_current_term(self->raft) || self->now_us - in->moved_us > S_GIVE_UP_US))
        weft_quorum_pieces_forget(self);
}
