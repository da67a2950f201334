// SPDX-License-Identifier: MPL-2.0
// How voters that have nothing yet agree on who they are, once.
//
// A server id is random, of the data directory, so the first configuration can't be written down in anybody's options:
// the voters learn each other's ids by "who are you" (kind 7) first. Only the one with the lowest coordinator id forms
// the quorum: once every other listed coordinator has told this very server that it has nothing, it draws the cluster
// id, writes entry 1 (all voters, that id) durably, and from then on offers it to whoever has nothing and stands in it.
// The others take entry 1 as it is, durably, and only then begin to vote.
//
// Why there are never two: nobody else forms; the former forms only with an empty disk, and after having written entry 1
// its disk is not empty. If that disk is wiped, a new former may draw another cluster id while an offer of the old one
// is still under way, and some may have taken the old and some the new: they never listen to each other, for every
// message names its cluster, and each configuration is only ever voted on by servers that hold it. A restart anywhere
// begins again where its disk stands: with nothing, or with entry 1.
//
// A coordinator that is added later has nothing either; it is listed at home, asks, hears that the others are formed,
// and waits until their leader sends it what they have. A wiped one hears that its id belongs to another directory.
#include "quorum_self.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"

#include <stdlib.h>
#include <string.h>

enum { S_ASK_US = 300 * 1000, S_WHO_ARE_YOU = 7 };
enum { S_PLEASE_ANSWER = 1, S_ID_TAKEN = 2, S_NO_VOTER = 4 };

static void s_wait(struct weft_quorum_self *self, const char *sentence)
{
    if (self->waiting.code && strcmp(self->waiting.text, sentence) == 0) return;
    (void) weft_error_set(&self->waiting, WEFT_ERR_COORDINATOR_LOADING, "%s", sentence);
    weft_trace(WEFT_TRACE_INFO, self->name, "%s", self->waiting.text);
}

static bool s_has_configuration(const struct weft_quorum_self *self)
{
    return weft_quorum_in_force(self)->n > 0;
}

// ---- entry 1

// Writes it, and starts libraft anew with it.
static weft_err_t s_begin(struct weft_quorum_self *self, weft_id_t cluster, weft_slice_t configuration)
{
    self->log.cluster = cluster;
    weft_quorum_log_push(&self->log, 1, RAFT_CHANGE, configuration);
    int64_t wall_ms = self->started ? weft_port_wall_ms(&self->port) : 0;
    weft_err_t err = weft_quorum_log_flush(&self->log, wall_ms);
    if (err) {
        weft_quorum_log_pop(&self->log);
        self->log.cluster = (weft_id_t){{0}};
        return err;
    }
    return weft_quorum_log_sync(&self->log);
}

static void s_restart(struct weft_quorum_self *self)
{
    weft_quorum_raft_end(self);
    if (!weft_quorum_raft_start(self)) return;
    self->waiting.code = self->refused.code = WEFT_OK;
    weft_quorum_peers_follow(self);
}

static void s_add(struct raft_configuration *configuration, const struct weft_quorum_voter *voter)
{
    char address[WEFT_QUORUM_ADDRESS_BYTES_MAX];
    weft_quorum_address(voter, address);
    int rv = raft_configuration_add(configuration, voter->server, address, RAFT_VOTER);
    weft_assert(rv == 0);
}

weft_err_t weft_quorum_form_alone(struct weft_quorum_self *self, struct weft_error *error)
{
    struct raft_configuration configuration;
    struct weft_quorum_voter me = {.id = self->id, .server = self->server};
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    raft_configuration_init(&configuration);
    s_add(&configuration, &me);
    weft_quorum_configuration_encode(&configuration, &bytes);
    raft_configuration_close(&configuration);
    weft_err_t err = s_begin(self, self->format_id, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
    if (err) return weft_error_set(error, err, "%s/log can't be begun: %s", self->directory, weft_err_sentence(err));
    return WEFT_OK;
}

// All others have told us that they have nothing. Never assumed: asked, and answered to this very server.
static bool s_all_known(struct weft_quorum_self *self)
{
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    for (size_t i = 0; i < self->list_count; i++) {
        const struct weft_quorum_voter *voter = &self->list[i];
        if (voter->id == self->id) continue;
        const struct weft_quorum_peer *peer = weft_quorum_peer_of_id(self, voter->id);
        if (peer && peer->server && peer->empty) continue;
        if (self->refused.code) return false;
        snprintf(
            sentence, sizeof sentence,
            "forming the quorum: waits for coordinator %d at %s, which must be started once with an empty directory",
            voter->id, voter->endpoint);
        s_wait(self, sentence);
        return false;
    }
    return true;
}

static void s_write_first(struct weft_quorum_self *self, const struct raft_configuration *all)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_quorum_configuration_encode(all, &bytes);
    weft_err_t err = s_begin(self, self->format_id, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
    if (err == WEFT_ERR_DISK_FULL)
        s_wait(self, "forming the quorum: the disk is full");
    else if (err)
        weft_quorum_fail(self, err, "writing the first entry failed");
    else
        weft_trace(WEFT_TRACE_INFO, self->name, "formed a quorum of %zu", self->list_count);
}

static void s_form(struct weft_quorum_self *self)
{
    if (!s_all_known(self)) return;
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (size_t i = 0; i < self->list_count; i++) {
        struct weft_quorum_voter voter = self->list[i];
        if (voter.id == self->id) {
            voter.server = self->server;
            memcpy(voter.endpoint, self->endpoint, sizeof voter.endpoint);
        } else {
            voter.server = weft_quorum_peer_of_id(self, voter.id)->server;
        }
        s_add(&configuration, &voter);
    }
    if (self->growing)
        weft_quorum_grow(self, &configuration);
    else
        s_write_first(self, &configuration);
    raft_configuration_close(&configuration);
    if (self->failed || self->growing || weft_quorum_is_empty(self)) return; // tried again
    s_restart(self);
    for (size_t i = 0; i < self->peer_count; i++) weft_quorum_hello(self, &self->peers[i], false);
}

// The first of those listed forms.
static bool s_is_former(const struct weft_quorum_self *self)
{
    for (size_t i = 0; i < self->list_count; i++)
        if (self->list[i].id < self->id) return false;
    return self->list_count > 1;
}

static void s_ask_all(struct weft_quorum_self *self)
{
    for (size_t i = 0; i < self->peer_count; i++) {
        struct weft_quorum_peer *peer = &self->peers[i];
        if (!peer->up || (peer->asked_us && self->now_us - peer->asked_us < S_ASK_US)) continue;
        peer->asked_us = self->now_us;
        weft_quorum_hello(self, peer, true);
    }
}

void weft_quorum_form_turn(struct weft_quorum_self *self)
{
    if (s_has_configuration(self) && !self->growing) {
        self->waiting.code = WEFT_OK;
        return;
    }
    s_ask_all(self);
    if (self->growing || (s_is_former(self) && weft_quorum_is_empty(self)))
        s_form(self);
    else if (!self->refused.code)
        s_wait(self,
               "waits for the other coordinators to take this one in: the first of those listed forms the quorum, "
               "and one that comes later must be added (weft cluster voters add)");
}

// ---- offers

// What is given to whoever has nothing: entry 1, as long as we have it and the other stands in it.
static bool s_offer(const struct weft_quorum_self *self, uint64_t server, weft_slice_t *configuration)
{
    const struct weft_quorum_record *record = weft_quorum_log_get(&self->log, 1);
    if (!record || record->kind != RAFT_CHANGE) return false;
    struct raft_configuration decoded;
    if (!weft_quorum_configuration_decode(weft_slice(record->data, record->size), &decoded)) return false;
    bool stands = weft_quorum_server(&decoded, server) != NULL;
    raft_configuration_close(&decoded);
    *configuration = weft_slice(record->data, record->size);
    return stands;
}

// It must name us and be from one that it names, and agree with what we were told to expect.
static bool s_offer_fits(struct weft_quorum_self *self, const struct raft_configuration *offered, uint64_t from)
{
    struct weft_quorum_voter me;
    const struct raft_server *own = weft_quorum_server(offered, self->server);
    if (!own || !weft_quorum_voter_of(own, &me) || me.id != self->id || !weft_quorum_server(offered, from))
        return false;
    bool same = offered->n == self->list_count;
    for (size_t i = 0; i < self->list_count; i++)
        same = same && weft_quorum_server_of_id(offered, self->list[i].id) != NULL;
    if (!same)
        s_wait(self,
               "the option `coordinators` of this coordinator lists others than those that formed the quorum: make "
               "it the same everywhere");
    return same;
}

static void s_take_offer(struct weft_quorum_self *self, const struct weft_quorum_request *from)
{
    struct raft_configuration offered;
    if (!weft_quorum_is_empty(self) || s_has_configuration(self) || weft_id_is_zero(from->cluster_id)) return;
    if (!weft_id_is_zero(self->identity) && !weft_id_equal(self->identity, from->cluster_id)) return;
    if (!weft_quorum_configuration_decode(from->configuration, &offered)) return;
    bool fits = s_offer_fits(self, &offered, from->from);
    raft_configuration_close(&offered);
    if (!fits) return;
    weft_err_t err = s_begin(self, from->cluster_id, from->configuration);
    if (err && err != WEFT_ERR_DISK_FULL)
        weft_quorum_fail(self, err, "writing the first entry failed");
    else if (!err)
        s_restart(self);
}

// ---- who are you

// Whom the configuration in force knows under that coordinator id, if it is another server.
static uint64_t s_holder(const struct weft_quorum_self *self, int32_t id, uint64_t server)
{
    const struct raft_server *holder = weft_quorum_server_of_id(weft_quorum_in_force(self), id);
    return holder && holder->id != server ? holder->id : 0;
}

static void s_hello(struct weft_quorum_self *self, struct weft_quorum_peer *peer, uint64_t server, uint32_t flags)
{
    struct weft_quorum_request request;
    weft_quorum_request_init(&request);
    request.kind = S_WHO_ARE_YOU;
    request.flags = flags;
    request.term = self->raft ? raft_current_term(self->raft) : 0;
    request.index = weft_quorum_log_last(&self->log);
    if (peer->server == server) {
        request.index_term = peer->term;
        request.commit = peer->acked;
    }
    request.rejected = s_holder(self, peer->id, server);
    if (request.rejected) request.flags |= S_ID_TAKEN;
    if (s_has_configuration(self) && !weft_quorum_server(weft_quorum_in_force(self), server))
        request.flags |= S_NO_VOTER;
    weft_slice_t offer;
    if (server && s_offer(self, server, &offer)) request.configuration = offer;
    uint64_t known = peer->server;
    peer->server = server; // that it is meant for
    weft_quorum_send(self, peer, &request, NULL);
    peer->server = known;
}

void weft_quorum_hello(struct weft_quorum_self *self, struct weft_quorum_peer *peer, bool ask)
{
    s_hello(self, peer, peer->server, ask ? S_PLEASE_ANSWER : 0);
}

// Others may tell us what we should know ourselves: that would be a copy of our directory from before.
static void s_check_stale(struct weft_quorum_self *self, const struct weft_quorum_request *from)
{
    if (from->to != self->server || !self->raft) return;
    if (from->index_term <= raft_current_term(self->raft) && from->commit <= weft_quorum_log_last(&self->log)) return;
    weft_trace(WEFT_TRACE_ERROR, self->name, "coordinator %d has seen term %llu and entry %llu; here are %llu and %llu",
               from->from_id, (unsigned long long) from->index_term, (unsigned long long) from->commit,
               (unsigned long long) raft_current_term(self->raft),
               (unsigned long long) weft_quorum_log_last(&self->log));
    weft_quorum_give_up(
        self, WEFT_ERR_DAMAGED,
        "the others have seen more of this coordinator than its data directory knows: an old copy was put back, or the "
        "end of its log was lost: remove it from the quorum and add it with an empty one");
}

static void s_hear_refusal(struct weft_quorum_self *self, const struct weft_quorum_request *from)
{
    if (from->to != self->server || weft_quorum_has_leader(self)) return; // who follows one is counted
    bool member = weft_quorum_server(weft_quorum_in_force(self), self->server) != NULL;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    if (from->flags & S_ID_TAKEN && !member)
        snprintf(sentence, sizeof sentence,
                 "the other coordinators know coordinator %d with another data directory (server %llx): a wiped or new "
                 "directory never comes back under the old one's place; put the old directory back, or remove that "
                 "coordinator from the quorum and add it again",
                 self->id, (unsigned long long) from->rejected);
    else if (from->flags & S_NO_VOTER && !weft_quorum_is_empty(self))
        snprintf(sentence, sizeof sentence,
                 "the other coordinators do not count coordinator %d among them (any more): stop it, or add it again "
                 "with an empty directory",
                 self->id);
    else
        return;
    if (self->refused.code && strcmp(self->refused.text, sentence) == 0) return;
    (void) weft_error_set(&self->refused, WEFT_ERR_VOTER_CHANGE_REFUSED, "%s", sentence);
    weft_trace(WEFT_TRACE_WARN, self->name, "%s", self->refused.text);
}

void weft_quorum_hello_taken(struct weft_quorum_self *self, const struct weft_quorum_request *from)
{
    struct weft_quorum_peer *peer = weft_quorum_peer_of_id(self, from->from_id);
    if (!peer) return;
    bool unbound = !weft_quorum_server(weft_quorum_in_force(self), peer->server); // nobody decided who it is
    if (unbound && !s_holder(self, from->from_id, from->from)) {
        if (peer->server != from->from) {
            peer->server = from->from;
            peer->term = peer->acked = 0;
            peer->empty = false;
            peer->level = 0;
        }
        if (from->to == self->server) peer->empty = from->index == 0 && weft_id_is_zero(from->cluster_id);
    }
    if (peer->server == from->from) {
        peer->heard_us = self->now_us;
        peer->level = from->level;
    }
    bool ours = weft_id_is_zero(self->log.cluster) || weft_id_is_zero(from->cluster_id) ||
                weft_id_equal(from->cluster_id, self->log.cluster);
    if (ours && from->flags & (S_ID_TAKEN | S_NO_VOTER)) s_hear_refusal(self, from);
    if (ours) s_check_stale(self, from);
    if (self->failed) return;
    if (from->configuration.size) s_take_offer(self, from);
    if (self->failed || !(from->flags & S_PLEASE_ANSWER)) return;
    peer = weft_quorum_peer_of_id(self, from->from_id); // the offer may have moved it
    if (peer) s_hello(self, peer, from->from, 0);
    weft_slice_t first;
    bool nothing = from->index == 0 && from->to == self->server && peer && peer->server == from->from;
    if (nothing && !s_offer(self, from->from, &first)) weft_quorum_grow_offer(self, peer);
}
