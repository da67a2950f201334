// SPDX-License-Identifier: MPL-2.0
// Voters that come and go, one at a time, and leadership that is handed over.
//
// Who comes is asked first who it is; then it is written down as a stand-by, which gets entries and has no vote; once it
// has caught up, as a voter. Each step is an entry of the log, and whoever leads carries on from what stands there: a
// stand-by that can be reached and has caught up becomes a voter, whoever asked for it. A step is only taken while all
// voters (but one that is to go) can be reached: a configuration that only a leader knows, which then dies, needs them.
#include "quorum_self.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { S_NEAR = 64, S_ASK_US = 10 * 1000 * 1000, S_CHANGE_US = 120 * 1000 * 1000 };

static bool s_under_way(const struct weft_quorum_self *self)
{
    return self->raft->configuration_uncommitted_index != 0 || self->raft->leader_state.promotee_id != 0;
}

// The first voter that can't be reached, `but` it.
static const struct raft_server *s_unreachable(const struct weft_quorum_self *self, uint64_t but)
{
    const struct raft_configuration *now = &self->raft->configuration;
    for (unsigned i = 0; i < now->n; i++)
        if (now->servers[i].role == RAFT_VOTER && now->servers[i].id != but &&
            !weft_quorum_server_reachable(self, now->servers[i].id))
            return &now->servers[i];
    return NULL;
}

// Writes a configuration; its index, 0: not now.
static uint64_t s_write(struct weft_quorum_self *self, const struct raft_configuration *next)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_quorum_configuration_encode(next, &bytes);
    uint64_t index = weft_quorum_submit_own(self, RAFT_CHANGE, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
    if (index) weft_quorum_peers_follow(self);
    return index;
}

static uint64_t s_write_added(struct weft_quorum_self *self, const struct weft_quorum_voter *voter, int role)
{
    struct raft_configuration next;
    char address[WEFT_QUORUM_ADDRESS_BYTES_MAX];
    weft_quorum_configuration_copy(&self->raft->configuration, &next);
    weft_quorum_address(voter, address);
    int rv = raft_configuration_add(&next, voter->server, address, role);
    uint64_t index = rv == 0 ? s_write(self, &next) : 0;
    raft_configuration_close(&next);
    return index;
}

static uint64_t s_write_removed(struct weft_quorum_self *self, uint64_t server)
{
    struct raft_configuration next;
    raft_configuration_init(&next);
    const struct raft_configuration *now = &self->raft->configuration;
    for (unsigned i = 0; i < now->n; i++) {
        if (now->servers[i].id == server) continue;
        int rv = raft_configuration_add(&next, now->servers[i].id, now->servers[i].address, now->servers[i].role);
        weft_assert(rv == 0);
    }
    uint64_t index = s_write(self, &next);
    raft_configuration_close(&next);
    return index;
}

static uint64_t s_write_promoted(struct weft_quorum_self *self, uint64_t server)
{
    struct raft_configuration next;
    weft_quorum_configuration_copy(&self->raft->configuration, &next);
    for (unsigned i = 0; i < next.n; i++)
        if (next.servers[i].id == server) next.servers[i].role = RAFT_VOTER;
    uint64_t index = s_write(self, &next);
    raft_configuration_close(&next);
    return index;
}

// ---- what is asked

static weft_err_t s_refuse(struct weft_error *error, const char *sentence)
{
    return weft_error_set(error, WEFT_ERR_VOTER_CHANGE_REFUSED, "%s", sentence);
}

static weft_err_t s_check(struct weft_quorum_self *self, const struct weft_quorum_voter *voter, bool remove,
                          struct weft_error *error)
{
    const struct raft_configuration *now = &self->raft->configuration;
    const struct raft_server *known = weft_quorum_server_of_id(now, voter->id);
    size_t voters = weft_quorum_count_voters(now);
    if (self->change.step != WEFT_CHANGE_NONE || s_under_way(self))
        return s_refuse(error, "another change of the coordinators is under way; try again when it is done");
    if (voters == 1)
        return s_refuse(error,
                        "a cluster with one coordinator gets more of them offline only; the documentation says how");
    if (remove && !known) return s_refuse(error, "no coordinator of that id is among the voters");
    if (remove && known->role == RAFT_VOTER && voters < 3)
        return s_refuse(error, "with fewer than three coordinators none can be removed; add one first");
    if (!remove && known && known->role == RAFT_VOTER)
        return s_refuse(error,
                        "a coordinator of that id is among the voters already; one that lost its directory must be "
                        "removed first");
    if (!remove && now->n >= WEFT_QUORUM_VOTERS_MAX)
        return s_refuse(error, "there are as many coordinators as there may be");
    if (!remove && !voter->endpoint[0]) return s_refuse(error, "the endpoint of the new coordinator is missing");
    const struct raft_server *down = s_unreachable(self, remove ? known->id : 0);
    if (down)
        return weft_error_set(error, WEFT_ERR_VOTER_CHANGE_REFUSED,
                              "coordinator %s can't be reached; coordinators change only while all others are up",
                              down->address);
    return WEFT_OK;
}

// Who stood there before under that id, perhaps empty when the quorum was formed, is not who comes now.
static void s_forget(struct weft_quorum_peer *peer)
{
    if (!peer) return;
    peer->server = 0;
    peer->empty = false;
    peer->asked_us = 0;
}

weft_err_t weft_quorum_change(struct weft_quorum_self *self, const struct weft_quorum_voter *voter, bool remove,
                              uint64_t token, struct weft_error *error)
{
    if (!weft_quorum_leads(self))
        return weft_error_set(error, WEFT_ERR_NOT_COORDINATOR, "this coordinator does not lead");
    if (self->stopping) return weft_error_set(error, WEFT_ERR_STOPPING, "the coordinator is stopping");
    weft_err_t err = s_check(self, voter, remove, error);
    if (err) return err;
    self->change.voter = *voter;
    const struct raft_server *known = weft_quorum_server_of_id(&self->raft->configuration, voter->id);
    self->change.voter.server = known ? known->id : 0;
    self->change.remove = remove;
    self->change.token = token;
    self->change.index = 0;
    self->change.step = !remove && !known ? WEFT_CHANGE_ASK : WEFT_CHANGE_WANTED;
    self->change.until_us = self->now_us + (self->change.step == WEFT_CHANGE_ASK ? S_ASK_US : S_CHANGE_US);
    weft_quorum_peers_follow(self);
    if (self->change.step == WEFT_CHANGE_ASK) s_forget(weft_quorum_peer_of_id(self, voter->id));
    return WEFT_OK;
}

static void s_end(struct weft_quorum_self *self)
{
    self->change.step = WEFT_CHANGE_NONE;
    self->change.token = 0;
    weft_quorum_peers_follow(self);
}

void weft_quorum_change_lost(struct weft_quorum_self *self, weft_err_t code, const char *sentence)
{
    if (self->change.step == WEFT_CHANGE_NONE) return;
    if (self->change.step == WEFT_CHANGE_HAND_OVER && code == WEFT_ERR_LEADER_CHANGED) {
        code = WEFT_ERR_NOT_COORDINATOR;
        sentence = "it led, and handed over to another before it leaves; ask that one";
    }
    uint64_t token = self->change.token;
    s_end(self);
    self->events.on_lost(self->context, token, code, sentence);
}

void weft_quorum_change_applied(struct weft_quorum_self *self, uint64_t index)
{
    if (self->change.step == WEFT_CHANGE_NONE) return;
    const struct raft_server *server = weft_quorum_server(&self->configuration, self->change.voter.server);
    bool done = self->change.remove ? !server : server && server->role == RAFT_VOTER;
    if (!done) return;
    uint64_t token = self->change.token;
    s_end(self);
    self->events.on_apply(self->context, index, WEFT_SLICE_NIL, token);
}

// ---- leadership

bool weft_quorum_hand_over(struct weft_quorum_self *self)
{
    if (!weft_quorum_leads(self) || raft_transferee(self->raft)) return false;
    const struct raft_configuration *now = &self->raft->configuration;
    uint64_t best = 0, reached = 0;
    for (unsigned i = 0; i < now->n; i++) {
        raft_index match = 0;
        const struct raft_server *server = &now->servers[i];
        if (server->role != RAFT_VOTER || server->id == self->server || !weft_quorum_server_reachable(self, server->id))
            continue;
        if (raft_match_index(self->raft, server->id, &match) != 0 || (best && match <= reached)) continue;
        best = server->id;
        reached = match;
    }
    if (best == 0) return false;
    struct raft_event event = {.type = RAFT_TRANSFER, .transfer = {.server_id = best}};
    return weft_quorum_step(self, &event);
}

bool weft_quorum_handing_over(const struct weft_quorum_self *self)
{
    return weft_quorum_leads(self) && raft_transferee(self->raft) != 0;
}

// ---- for who looks

static void s_standby_text(const struct weft_quorum_self *self, const struct raft_server *server, weft_buf_t *text)
{
    struct weft_quorum_voter voter;
    raft_index match = 0;
    if (!weft_quorum_voter_of(server, &voter)) return;
    weft_buf_printf(text, "coordinator %d at %s ", voter.id, voter.endpoint);
    if (!weft_quorum_server_reachable(self, server->id) || raft_match_index(self->raft, server->id, &match) != 0) {
        weft_buf_printf(text, "is to be added, and can't be reached");
        return;
    }
    uint64_t last = weft_quorum_log_last(&self->log), behind = last > match ? last - match : 0;
    weft_buf_printf(text, "is being added: it lacks %llu entr%s, then it gets its vote", (unsigned long long) behind,
                    behind == 1 ? "y" : "ies");
}

void weft_quorum_change_text(const struct weft_quorum_self *self, weft_buf_t *text)
{
    if (!weft_quorum_leads(self)) return;
    const struct raft_configuration *now = &self->raft->configuration;
    const struct weft_quorum_voter *voter = &self->change.voter;
    size_t size = text->size;
    for (unsigned i = 0; i < now->n && text->size == size; i++)
        if (now->servers[i].role != RAFT_VOTER) s_standby_text(self, &now->servers[i], text);
    bool adds = !self->change.remove;
    if (self->change.step == WEFT_CHANGE_NONE || (adds && text->size != size)) return;
    const struct raft_server *down = s_unreachable(self, self->change.remove ? voter->server : 0);
    weft_buf_printf(text, "%scoordinator %d is being %s", text->size == size ? "" : "; ", voter->id,
                    adds ? "added" : "removed");
    if (self->change.step == WEFT_CHANGE_ASK)
        weft_buf_printf(text, ": it is asked at %s who it is", voter->endpoint);
    else if (down)
        weft_buf_printf(text, ": that waits for coordinator %s, which can't be reached", down->address);
}

// ---- steps

static void s_turn_ask(struct weft_quorum_self *self)
{
    struct weft_quorum_peer *peer = weft_quorum_peer_of_id(self, self->change.voter.id);
    if (!peer) return;
    if (peer->server && peer->empty) {
        self->change.voter.server = peer->server;
        self->change.step = WEFT_CHANGE_WANTED;
        self->change.until_us = self->now_us + S_CHANGE_US;
    } else if (peer->up && (!peer->asked_us || self->now_us - peer->asked_us > 300 * 1000)) {
        peer->asked_us = self->now_us;
        weft_quorum_hello(self, peer, true);
    }
}

// Some voter that stays does not know yet who the voters are. One that was just promoted denies its vote until it does:
// with another voter removed meanwhile, and the leader dead, no majority would be left that gives one.
static bool s_unaware(const struct weft_quorum_self *self, uint64_t leaves)
{
    const struct raft_configuration *now = &self->raft->configuration;
    for (unsigned i = 0; i < now->n; i++) {
        raft_index match = 0;
        uint64_t server = now->servers[i].id;
        if (now->servers[i].role != RAFT_VOTER || server == self->server || server == leaves) continue;
        if (raft_match_index(self->raft, server, &match) != 0 || match < self->configuration_index) return true;
    }
    return false;
}

static void s_turn_wanted(struct weft_quorum_self *self)
{
    const struct weft_quorum_voter *voter = &self->change.voter;
    if (self->change.remove && s_unaware(self, voter->server)) return;
    if (s_under_way(self) || s_unreachable(self, self->change.remove ? voter->server : 0)) return;
    if (self->change.remove && voter->server == self->server) {
        if (weft_quorum_hand_over(self)) self->change.step = WEFT_CHANGE_HAND_OVER;
        return;
    }
    const struct raft_server *known = weft_quorum_server(&self->raft->configuration, voter->server);
    if (self->change.remove)
        self->change.index = s_write_removed(self, voter->server);
    else if (!known)
        self->change.index = s_write_added(self, voter, RAFT_STANDBY);
    if (self->change.index || known) self->change.step = WEFT_CHANGE_WRITTEN;
}

// A stand-by that has caught up gets its vote.
static void s_turn_promote(struct weft_quorum_self *self)
{
    const struct raft_configuration *now = &self->raft->configuration;
    if (s_under_way(self) || (self->change.step != WEFT_CHANGE_NONE && self->change.remove)) return;
    for (unsigned i = 0; i < now->n; i++) {
        raft_index match = 0;
        uint64_t server = now->servers[i].id;
        if (now->servers[i].role == RAFT_VOTER || !weft_quorum_server_reachable(self, server)) continue;
        if (raft_match_index(self->raft, server, &match) != 0) continue;
        bool near = match + S_NEAR >= weft_quorum_log_last(&self->log) && match >= self->configuration_index;
        if (!near || s_unreachable(self, 0)) continue;
        weft_trace(WEFT_TRACE_INFO, self->name, "coordinator %s has caught up and gets its vote",
                   now->servers[i].address);
        (void) s_write_promoted(self, server);
        return;
    }
}

static void s_out_of_time(struct weft_quorum_self *self)
{
    const struct weft_quorum_voter *voter = &self->change.voter;
    const struct weft_quorum_peer *peer = weft_quorum_peer_of_id(self, voter->id);
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    if (self->change.step != WEFT_CHANGE_ASK)
        snprintf(text, sizeof text, "the change was not finished in time; it goes on by itself when all are reachable");
    else if (peer && peer->server)
        snprintf(text, sizeof text,
                 "the directory of coordinator %d at %s is not empty, a new one's must be; nothing was changed",
                 voter->id, voter->endpoint);
    else
        snprintf(text, sizeof text,
                 "coordinator %d at %s does not answer: start it first, with all coordinators in its setting "
                 "'coordinators'; nothing was changed",
                 voter->id, voter->endpoint);
    weft_quorum_change_lost(self, self->change.index ? WEFT_ERR_TIMED_OUT : WEFT_ERR_VOTER_CHANGE_REFUSED, text);
}

void weft_quorum_members_turn(struct weft_quorum_self *self)
{
    if (!weft_quorum_leads(self) || self->stopping) return;
    if (self->change.step != WEFT_CHANGE_NONE && self->now_us > self->change.until_us) {
        s_out_of_time(self);
        return;
    }
    if (self->change.step == WEFT_CHANGE_ASK) s_turn_ask(self);
    if (self->change.step == WEFT_CHANGE_WANTED) s_turn_wanted(self);
    if (self->change.step == WEFT_CHANGE_HAND_OVER && !weft_quorum_handing_over(self))
        self->change.step = WEFT_CHANGE_WANTED; // nobody took it; again
    if (!self->failed && weft_quorum_leads(self)) s_turn_promote(self);
}
