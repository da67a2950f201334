// SPDX-License-Identifier: MPL-2.0
// Links to the other coordinators, and Raft's messages as `quorum` requests. Each side sends over its own link, so an
// answer is a message of its own; what can't be sent is dropped, Raft asks again.
//
// A message counts only if it names this server as the one that it is meant for, and this cluster: a wiped or a copied
// directory, or a wrong list, makes mail for somebody else.
#include "quorum_self.h"

#include "../lib/base/assert.h"
#include "../lib/base/mutate.h"
#include "../lib/base/trace.h"
#include "../lib/core/cluster.h"

#include <stdlib.h>
#include <string.h>

enum {
    S_MESSAGE_BYTES = 4 * 1024 * 1024,
    S_ENTRIES_MAX = 65536,
    S_LINK_BYTES_MAX = 64 * 1024 * 1024,
    S_STRANGER_US = 60 * 1000 * 1000,
    S_TELL_US = 1000 * 1000
};

enum {
    S_APPEND = 1,
    S_APPENDED,
    S_VOTE,
    S_VOTED,
    S_SNAPSHOT,
    S_TIME_OUT_NOW,
    S_WHO_ARE_YOU,
    S_PIECE,
    S_TAKEN,
    S_VOTE_DISRUPT = 1,
    S_VOTE_PRE = 2,
    S_VOTED_GRANTED = 1,
    S_VOTED_PRE = 2
};

// ---- who there is

struct weft_quorum_peer *weft_quorum_peer_of_id(struct weft_quorum_self *self, int32_t id)
{
    for (size_t i = 0; i < self->peer_count; i++)
        if (self->peers[i].id == id) return &self->peers[i];
    return NULL;
}

struct weft_quorum_peer *weft_quorum_peer_of_server(struct weft_quorum_self *self, uint64_t server)
{
    for (size_t i = 0; i < self->peer_count; i++)
        if (self->peers[i].server == server && server != 0) return &self->peers[i];
    return NULL;
}

static struct weft_quorum_peer *s_peer_make(struct weft_quorum_self *self, int32_t id)
{
    struct weft_quorum_peer *peer = weft_quorum_peer_of_id(self, id);
    if (peer || self->peer_count == WEFT_QUORUM_PEERS_MAX) return peer;
    peer = &self->peers[self->peer_count++];
    *peer = (struct weft_quorum_peer){.id = id};
    return peer;
}

static void s_peer_is(struct weft_quorum_self *self, struct weft_quorum_peer *peer, const struct weft_quorum_voter *as)
{
    if (as->server && peer->server != as->server) { // another directory: nothing that was known of it counts
        peer->server = as->server;
        peer->heard_us = 0;
        peer->term = peer->acked = 0;
        peer->empty = false;
        weft_quorum_pieces_drop(peer);
        peer->level = 0;
    }
    if (peer->listed || !as->endpoint[0] || strcmp(peer->endpoint, as->endpoint) == 0) return;
    if (peer->link) self->port.ops->link_close(self->port.world, peer->link);
    peer->link = 0;
    peer->up = false;
    weft_quorum_pieces_lost(peer);
    strcpy(peer->endpoint, as->endpoint);
}

static void s_peers_of_configuration(struct weft_quorum_self *self, const struct raft_configuration *configuration)
{
    struct weft_quorum_voter voter;
    for (unsigned i = 0; i < configuration->n; i++) {
        if (!weft_quorum_voter_of(&configuration->servers[i], &voter) || voter.server == self->server) continue;
        struct weft_quorum_peer *peer = s_peer_make(self, voter.id);
        if (!peer) continue;
        s_peer_is(self, peer, &voter);
        peer->member = true;
    }
}

static void s_drop_strangers(struct weft_quorum_self *self)
{
    for (size_t i = 0; i < self->peer_count;) {
        struct weft_quorum_peer *peer = &self->peers[i];
        bool wanted = self->change.step != WEFT_CHANGE_NONE && self->change.voter.id == peer->id;
        bool talks =
            peer->heard_us && self->now_us - peer->heard_us < S_STRANGER_US; // it is told that it is none of us
        if (peer->listed || peer->member || wanted || talks) {
            i++;
            continue;
        }
        if (peer->link) self->port.ops->link_close(self->port.world, peer->link);
        weft_quorum_pieces_drop(peer);
        *peer = self->peers[--self->peer_count];
    }
}

static void s_open_link(struct weft_quorum_self *self, struct weft_quorum_peer *peer)
{
    if (peer->link || !peer->endpoint[0]) return;
    if (self->port.ops->link_open(self->port.world, peer->endpoint, &peer->link) == WEFT_OK) return;
    weft_trace(WEFT_TRACE_WARN, self->name, "coordinator %d can't be reached at %s: that is no endpoint", peer->id,
               peer->endpoint);
    peer->link = 0;
}

void weft_quorum_peers_follow(struct weft_quorum_self *self)
{
    if (!self->started) return;
    for (size_t i = 0; i < self->list_count; i++) {
        if (self->list[i].id == self->id) continue;
        struct weft_quorum_peer *peer = s_peer_make(self, self->list[i].id);
        if (!peer) continue;
        s_peer_is(self, peer, &self->list[i]);
        peer->listed = true;
    }
    for (size_t i = 0; i < self->peer_count; i++) self->peers[i].member = false;
    if (self->raft) s_peers_of_configuration(self, &self->raft->configuration);
    if (self->change.step != WEFT_CHANGE_NONE && !self->change.remove && self->change.voter.id != self->id) {
        struct weft_quorum_peer *peer = s_peer_make(self, self->change.voter.id);
        if (peer) s_peer_is(self, peer, &self->change.voter);
    }
    s_drop_strangers(self);
    for (size_t i = 0; i < self->peer_count; i++) s_open_link(self, &self->peers[i]);
}

bool weft_quorum_reachable(const struct weft_quorum_self *self, const struct weft_quorum_peer *peer)
{
    return peer->heard_us && self->now_us - peer->heard_us < (int64_t) self->election_ms * 2000;
}

bool weft_quorum_server_reachable(const struct weft_quorum_self *self, uint64_t server)
{
    if (server == self->server) return true;
    for (size_t i = 0; i < self->peer_count; i++)
        if (self->peers[i].server == server) return weft_quorum_reachable(self, &self->peers[i]);
    return false;
}

// ---- out

bool weft_quorum_send(struct weft_quorum_self *self, struct weft_quorum_peer *peer, struct weft_quorum_request *request,
                      weft_frame_t *data)
{
    bool sent = false;
    if (!peer->up) goto done;
    const struct weft_port_ops *ops = self->port.ops;
    if (data && ops->link_outstanding_bytes &&
        ops->link_outstanding_bytes(self->port.world, peer->link) > S_LINK_BYTES_MAX)
        goto done; // it does not read; what it lacks is sent again when it does
    request->cluster_id = self->log.cluster;
    request->from = self->server;
    request->from_id = self->id;
    request->to = peer->server;
    request->endpoint = weft_slice_text(self->endpoint);
    request->level = WEFT_CLUSTER_LEVEL_MAX;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_quorum_request_encode(request, &header);
    sent = self->port.ops->send(self->port.world, peer->link, weft_buf_slice(&header), data) == WEFT_OK;
    weft_buf_fini(&header);
done:
    if (data) weft_frame_drop(data);
    return sent;
}

// In messages of a bounded size, each right for itself.
static void s_send_append(struct weft_quorum_self *self, struct weft_quorum_peer *peer,
                          const struct raft_append_entries *append)
{
    struct weft_quorum_request request;
    uint64_t index = append->prev_log_index, term = append->prev_log_term, end = index + append->n_entries;
    do {
        weft_buf_t entries;
        weft_buf_init(&entries);
        weft_quorum_request_init(&request);
        request.kind = S_APPEND;
        request.term = append->term;
        request.index = index;
        request.index_term = term;
        request.commit = append->leader_commit;
        request.version = append->version;
        while (index < end && entries.size < S_MESSAGE_BYTES) {
            const struct weft_quorum_record *record = weft_quorum_log_get(&self->log, index + 1);
            weft_assert(record); // what libraft has in its log we have
            weft_quorum_entry_append(record->term, record->kind, weft_slice(record->data, record->size), &entries);
            term = record->term;
            index++;
        }
        weft_frame_t frame = WEFT_FRAME_EMPTY;
        if (entries.size) weft_frame_init_buf(&frame, &entries);
        weft_quorum_send(self, peer, &request, frame.size ? &frame : NULL);
        weft_buf_fini(&entries);
    } while (index < end);
}

static void s_fill_results(const struct raft_message *message, struct weft_quorum_request *request)
{
    if (message->type == RAFT_APPEND_ENTRIES_RESULT) {
        const struct raft_append_entries_result *from = &message->append_entries_result;
        request->kind = S_APPENDED;
        request->term = from->term;
        request->index = from->last_log_index;
        request->rejected = from->rejected;
        request->features = from->features;
        request->capacity = from->capacity;
        request->version = from->version;
    } else {
        const struct raft_request_vote_result *from = &message->request_vote_result;
        request->kind = S_VOTED;
        request->term = from->term;
        request->flags = (from->vote_granted ? S_VOTED_GRANTED : 0) | (from->pre_vote ? S_VOTED_PRE : 0);
        request->features = from->features;
        request->capacity = from->capacity;
        request->version = from->version;
    }
}

static void s_fill_calls(const struct raft_message *message, struct weft_quorum_request *request)
{
    if (message->type == RAFT_REQUEST_VOTE) {
        const struct raft_request_vote *from = &message->request_vote;
        request->kind = S_VOTE;
        request->term = from->term;
        request->index = from->last_log_index;
        request->index_term = from->last_log_term;
        request->flags = (from->disrupt_leader ? S_VOTE_DISRUPT : 0) | (from->pre_vote ? S_VOTE_PRE : 0);
        request->version = from->version;
    } else {
        const struct raft_timeout_now *from = &message->timeout_now;
        request->kind = S_TIME_OUT_NOW;
        request->term = from->term;
        request->index = from->last_log_index;
        request->index_term = from->last_log_term;
        request->version = from->version;
    }
}

// libraft answers a pre-vote with the term that it was asked with. Who is refused because its term is old would never hear
// of it, and if its log is the longest nobody could be elected for ever.
static void s_tell_term(const struct weft_quorum_self *self, struct weft_quorum_request *request)
{
    bool refused = request->kind == S_VOTED && request->flags == S_VOTED_PRE;
    if (refused && request->term < raft_current_term(self->raft) && !weft_mutated("pre_vote_hides_the_term"))
        request->term = raft_current_term(self->raft);
}

void weft_quorum_send_raft(struct weft_quorum_self *self, struct raft_message *message)
{
    struct weft_quorum_peer *peer = weft_quorum_peer_of_server(self, message->server_id);
    if (!peer) return;
    struct weft_quorum_request request;
    weft_quorum_request_init(&request);
    switch (message->type) {
    case RAFT_APPEND_ENTRIES: s_send_append(self, peer, &message->append_entries); return;
    case RAFT_INSTALL_SNAPSHOT: weft_quorum_snapshot_send(self, peer, &message->install_snapshot); return;
    case RAFT_APPEND_ENTRIES_RESULT:
    case RAFT_REQUEST_VOTE_RESULT:
        s_fill_results(message, &request);
        s_tell_term(self, &request);
        break;
    case RAFT_REQUEST_VOTE:
    case RAFT_TIMEOUT_NOW: s_fill_calls(message, &request); break;
    default: return;
    }
    weft_quorum_send(self, peer, &request, NULL);
}

// ---- in

static bool s_receive(struct weft_quorum_self *self, struct raft_message *message)
{
    struct raft_event event = {.type = RAFT_RECEIVE, .receive = {.message = message}};
    bool done = weft_quorum_step(self, &event);
    if (!done && !self->failed && self->raft)
        weft_quorum_give_up(
            self, WEFT_ERR_INTERNAL,
            "what another coordinator sent contradicts what this one knows to be decided: one of their "
            "disks or memories is bad; remove this one from the quorum and add it with an empty directory");
    return done;
}

// A copy of entries [at, until), over a batch of its own.
static struct raft_entry *s_slice(const struct raft_entry *entries, unsigned at, unsigned until)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    for (unsigned i = at; i < until; i++)
        weft_quorum_entry_append(entries[i].term, (uint8_t) entries[i].type,
                                 weft_slice(entries[i].buf.base, entries[i].buf.len), &bytes);
    struct raft_entry *copy = NULL;
    unsigned count = 0;
    bool good = weft_quorum_entries_decode(weft_buf_slice(&bytes), UINT64_MAX, S_ENTRIES_MAX, &copy, &count);
    weft_assert(good && count == until - at);
    weft_buf_fini(&bytes);
    return copy;
}

// The end of what may go to libraft at once from `at` on. It keeps the index of the first entry of a message for that of
// a configuration anywhere in it, and so forgets to take back one that was overwritten: each gets a message of its own.
static unsigned s_group_end(const struct raft_entry *entries, unsigned at, unsigned count)
{
    if (weft_mutated("voters_within_a_message")) return count;
    if (at < count && entries[at].type == RAFT_CHANGE) return at + 1;
    while (at < count && entries[at].type != RAFT_CHANGE) at++;
    return at;
}

static void s_receive_entries(struct weft_quorum_self *self, struct raft_message *message, struct raft_entry *entries,
                              unsigned count)
{
    struct raft_append_entries *append = &message->append_entries;
    unsigned at = 0, until = s_group_end(entries, 0, count);
    if (until == count) { // all at once; the batch is libraft's, or given back
        append->entries = entries;
        append->n_entries = count;
        (void) s_receive(self, message);
        return;
    }
    for (; at < count; at = until) {
        until = s_group_end(entries, at, count);
        append->entries = s_slice(entries, at, until);
        append->n_entries = until - at;
        struct raft_entry *copy = append->entries;
        bool done = s_receive(self, message);
        raft_free(copy);
        if (!done) break;
        append->prev_log_term = entries[until - 1].term;
        append->prev_log_index += until - at;
    }
    raft_free(entries[0].batch);
}

// libraft takes an entry from before its log for one that it lacks, and appends it: what comes late, or twice, must not
// reach back behind the snapshot. All up to there is decided, so it is what the leader has too. How many entries to skip.
static unsigned s_skip_decided(const struct weft_quorum_self *self, struct raft_append_entries *append, unsigned count)
{
    const struct raft_trail *trail = &self->raft->trail;
    if (append->prev_log_index >= trail->offset || weft_mutated("entries_from_before_the_log")) return 0;
    uint64_t skip = trail->snapshot.index - append->prev_log_index;
    append->prev_log_index = trail->snapshot.index;
    append->prev_log_term = trail->snapshot.term;
    return skip < count ? (unsigned) skip : count;
}

static void s_take_append(struct weft_quorum_self *self, const struct weft_quorum_request *from,
                          struct raft_message *message, weft_slice_t data)
{
    struct raft_entry *entries = NULL;
    unsigned count = 0;
    if (from->term == 0 || (from->index == 0) != (from->index_term == 0) || from->index_term > from->term) return;
    if (!weft_quorum_entries_decode(data, from->term, S_ENTRIES_MAX, &entries, &count)) {
        weft_trace(WEFT_TRACE_WARN, self->name, "coordinator %d sent entries that can't be read", from->from_id);
        return;
    }
    if (count && entries[0].term < from->index_term) {
        raft_free(entries[0].batch);
        raft_free(entries);
        return;
    }
    message->type = RAFT_APPEND_ENTRIES;
    message->append_entries = (struct raft_append_entries){.version = from->version,
                                                           .term = from->term,
                                                           .prev_log_index = from->index,
                                                           .prev_log_term = from->index_term,
                                                           .leader_commit = from->commit};
    unsigned skip = s_skip_decided(self, &message->append_entries, count);
    if (count && skip == count) raft_free(entries[0].batch);
    s_receive_entries(self, message, entries ? entries + skip : NULL, count - skip);
    raft_free(entries);
}

static void s_take_snapshot(struct weft_quorum_self *self, const struct weft_quorum_request *from,
                            struct raft_message *message, weft_frame_t *data)
{
    struct raft_install_snapshot *install = &message->install_snapshot;
    if (self->raft->snapshot.installing || self->install_pending) return; // rule 5: one at a time
    if (from->index == 0 || from->index_term == 0 || from->index_term > from->term || data->size == 0) return;
    *install = (struct raft_install_snapshot){.version = from->version,
                                              .term = from->term,
                                              .last_index = from->index,
                                              .last_term = from->index_term,
                                              .conf_index = from->configuration_index};
    if (from->configuration_index > from->index ||
        !weft_quorum_configuration_decode(from->configuration, &install->conf)) {
        weft_trace(WEFT_TRACE_WARN, self->name, "coordinator %d sent a snapshot that can't be read", from->from_id);
        return;
    }
    message->type = RAFT_INSTALL_SNAPSHOT;
    install->data.base = raft_malloc(1); // the state itself stays with us
    install->data.len = 1;
    weft_frame_move(&self->install_state, data);
    (void) s_receive(self, message);
    if (!self->install_pending) weft_frame_drop(&self->install_state);
}

static void s_take_piece(struct weft_quorum_self *self, const struct weft_quorum_request *from,
                         struct raft_message *message, weft_frame_t *data)
{
    weft_frame_t whole = WEFT_FRAME_EMPTY;
    if (self->raft->snapshot.installing || self->install_pending) return;
    if (!weft_quorum_piece_taken(self, from, weft_frame_slice(data), &whole)) return;
    s_take_snapshot(self, from, message, &whole);
    weft_frame_drop(&whole);
}

static void s_take_vote(struct weft_quorum_self *self, const struct weft_quorum_request *from,
                        struct raft_message *message)
{
    message->type = RAFT_REQUEST_VOTE;
    message->request_vote = (struct raft_request_vote){.version = from->version,
                                                       .term = from->term,
                                                       .candidate_id = from->from,
                                                       .last_log_index = from->index,
                                                       .last_log_term = from->index_term,
                                                       .disrupt_leader = from->flags & S_VOTE_DISRUPT,
                                                       .pre_vote = from->flags & S_VOTE_PRE};
    (void) s_receive(self, message);
}

static void s_take_result(struct weft_quorum_self *self, const struct weft_quorum_request *from,
                          struct raft_message *message)
{
    if (from->kind == S_VOTED) {
        if (self->raft->state != RAFT_CANDIDATE) return; // libraft reads a candidate's fields before it asks
        message->type = RAFT_REQUEST_VOTE_RESULT;
        message->request_vote_result = (struct raft_request_vote_result){.version = from->version,
                                                                         .term = from->term,
                                                                         .vote_granted = from->flags & S_VOTED_GRANTED,
                                                                         .pre_vote = from->flags & S_VOTED_PRE,
                                                                         .features = (unsigned short) from->features,
                                                                         .capacity = (unsigned short) from->capacity};
    } else if (from->kind == S_APPENDED) {
        message->type = RAFT_APPEND_ENTRIES_RESULT;
        message->append_entries_result =
            (struct raft_append_entries_result){.version = from->version,
                                                .term = from->term,
                                                .rejected = from->rejected,
                                                .last_log_index = from->index,
                                                .features = (unsigned short) from->features,
                                                .capacity = (unsigned short) from->capacity};
    } else {
        message->type = RAFT_TIMEOUT_NOW;
        message->timeout_now = (struct raft_timeout_now){.version = from->version,
                                                         .term = from->term,
                                                         .last_log_index = from->index,
                                                         .last_log_term = from->index_term};
    }
    (void) s_receive(self, message);
}

// What a later hello of a stale copy of its directory is compared with.
static void s_remember(struct weft_quorum_self *self, struct weft_quorum_peer *peer,
                       const struct weft_quorum_request *from)
{
    peer->heard_us = self->now_us;
    peer->level = from->level;
    bool pre_vote =
        (from->kind == S_VOTE && from->flags & S_VOTE_PRE) || (from->kind == S_VOTED && from->flags & S_VOTED_PRE);
    if (!pre_vote && from->term > peer->term) peer->term = from->term;
    if (from->kind != S_APPENDED || from->rejected || !weft_quorum_leads(self)) return;
    uint64_t decided = raft_commit_index(self->raft) < from->index ? raft_commit_index(self->raft) : from->index;
    if (from->term == raft_current_term(self->raft) && decided > peer->acked) peer->acked = decided;
}

// May one that we know under its id be another by now? Who catches up reads in the log who was there once; whoever leads,
// or is to lead, since then has to be answered all the same.
static bool s_may_follow_it(const struct weft_quorum_self *self, const struct weft_quorum_request *from)
{
    if (weft_quorum_leads(self) || from->term < raft_current_term(self->raft)) return false;
    bool leads = from->kind == S_APPEND || from->kind == S_SNAPSHOT || from->kind == S_PIECE;
    return leads || (from->kind == S_VOTE && !weft_quorum_has_leader(self));
}

// Somebody who was one of us, or will be as soon as we hear of it: it is told what we know.
static void s_meet_stranger(struct weft_quorum_self *self, const struct weft_quorum_request *from,
                            const struct weft_quorum_voter *stranger)
{
    struct weft_quorum_peer *peer = weft_quorum_peer_of_id(self, stranger->id);
    if (peer && peer->member && !s_may_follow_it(self, from)) return; // another has its place, and answers for it
    if (!peer) peer = s_peer_make(self, stranger->id);
    if (!peer) return;
    s_peer_is(self, peer, stranger);
    peer->heard_us = self->now_us;
    s_open_link(self, peer);
    if (peer->told_us && self->now_us - peer->told_us < S_TELL_US) return;
    peer->told_us = self->now_us;
    weft_quorum_hello(self, peer, false);
}

static void s_take(struct weft_quorum_self *self, const struct weft_quorum_request *from, weft_frame_t *data)
{
    struct weft_quorum_voter sender = {.id = from->from_id, .server = from->from};
    if (from->endpoint.size) memcpy(sender.endpoint, from->endpoint.data, from->endpoint.size);
    char address[WEFT_QUORUM_ADDRESS_BYTES_MAX];
    weft_quorum_address(&sender, address);
    struct raft_message message = {.server_id = from->from, .server_address = address};
    struct weft_quorum_peer *peer = weft_quorum_peer_of_server(self, from->from);
    if (peer) s_remember(self, peer, from);
    const struct raft_configuration *now = weft_quorum_in_force(self);
    if (now->n && !weft_quorum_server(now, from->from))
        s_meet_stranger(self, from, &sender);
    else if (!peer)
        weft_quorum_peers_follow(self); // another had its place meanwhile
    switch (from->kind) {
    case S_APPEND: s_take_append(self, from, &message, weft_frame_slice(data)); break;
    case S_VOTE: s_take_vote(self, from, &message); break;
    case S_SNAPSHOT: s_take_snapshot(self, from, &message, data); break;
    case S_PIECE: s_take_piece(self, from, &message, data); break;
    case S_TAKEN:
        if ((peer = weft_quorum_peer_of_server(self, from->from))) weft_quorum_pieces_taken(self, peer, from);
        break;
    case S_APPENDED:
    case S_VOTED:
    case S_TIME_OUT_NOW: s_take_result(self, from, &message); break;
    default: break; // of a later version
    }
}

void weft_quorum_message_taken(struct weft_quorum_self *self, struct weft_message *message)
{
    struct weft_quorum_request from;
    struct weft_error error;
    if (self->failed || (!self->raft && !self->growing)) return;
    if (weft_quorum_request_decode(&self->codec, weft_frame_slice(&message->header), &from, &error) != WEFT_OK) return;
    if (from.from == 0 || from.from == self->server || from.from_id < 1 || from.term > WEFT_QUORUM_TERM_MAX) return;
    if (from.endpoint.size >= WEFT_ENDPOINT_BYTES_MAX) return;
    bool ours = weft_id_is_zero(self->log.cluster) || weft_id_is_zero(from.cluster_id) ||
                weft_id_equal(from.cluster_id, self->log.cluster);
    if (from.kind == S_WHO_ARE_YOU) {
        weft_quorum_hello_taken(self, &from);
    } else if (self->raft && ours && !weft_id_is_zero(from.cluster_id) && from.to == self->server) {
        if (weft_id_is_zero(self->log.cluster))
            self->log.cluster = from.cluster_id; // goes to the disk with what it sends
        s_take(self, &from, &message->data);
    }
    weft_quorum_settle(self);
}
