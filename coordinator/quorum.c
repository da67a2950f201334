// SPDX-License-Identifier: MPL-2.0
// The interface: opening, proposals, turns.
//
// A turn: libraft's timer, what waits in the queue (one batch for libraft, one sync for all that was written while the
// last ran), what was decided, snapshots, voters. Any failed write or sync, and a sync that does not come back for three
// seconds, ends this voter: its disk is in doubt, and the others go on without it.
#include "quorum_self.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"
#include "../lib/core/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    S_QUEUE_BYTES_MAX = 64 * 1024 * 1024,
    S_QUEUE_COUNT_MAX = 65536,
    S_PIECE_BYTES =
        512 * 1024, // two are under way at most: at 10 Mbit/s they hold a heartbeat up for less than a second
    S_STALL_US = 3 * 1000 * 1000,
    S_LATE_US = 500 * 1000 // a turn that late was this process's own pause
};

static struct weft_quorum_self *s_self(weft_quorum_t *base)
{
    return (struct weft_quorum_self *) base;
}

static const struct weft_quorum_self *s_const(const weft_quorum_t *base)
{
    return (const struct weft_quorum_self *) base;
}

void weft_quorum_path(const struct weft_quorum_self *self, const char *name, char path[WEFT_QUORUM_PATH_BYTES_MAX + 32])
{
    snprintf(path, WEFT_QUORUM_PATH_BYTES_MAX + 32, "%s/%s", self->directory, name);
}

bool weft_quorum_is_empty(const struct weft_quorum_self *self)
{
    return self->snapshot.index == 0 && weft_quorum_log_last(&self->log) == 0;
}

const struct raft_configuration *weft_quorum_in_force(const struct weft_quorum_self *self)
{
    return self->raft ? &self->raft->configuration : &self->configuration;
}

// ---- giving up

void weft_quorum_lose(struct weft_quorum_self *self, weft_quorum_queue_t *lost, weft_err_t written, weft_err_t code,
                      const char *sentence)
{
    size_t count = lost->written;
    for (size_t i = 0; lost->count; i++) {
        struct weft_quorum_entry entry = weft_quorum_queue_pop(lost);
        bool maybe = entry.command && i < count;
        free(entry.command);
        self->events.on_lost(self->context, entry.token, maybe ? written : code, sentence);
    }
    weft_quorum_queue_fini(lost);
}

void weft_quorum_give_up(struct weft_quorum_self *self, weft_err_t code, const char *sentence)
{
    if (self->failed) return;
    (void) weft_error_set(&self->failure, code, "%s", sentence);
    weft_trace(WEFT_TRACE_ERROR, self->name, "%s", self->failure.text);
    self->failed = true;
    if (self->led) self->events.on_leader(self->context, false);
    self->led = false;
    weft_quorum_queue_t lost = self->queue;
    self->queue = (weft_quorum_queue_t){0};
    weft_quorum_lose(self, &lost, WEFT_ERR_DISK_FAILED, WEFT_ERR_DISK_FAILED, self->failure.text);
    weft_quorum_change_lost(self, WEFT_ERR_DISK_FAILED, self->failure.text);
}

void weft_quorum_fail(struct weft_quorum_self *self, weft_err_t code, const char *what)
{
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    snprintf(sentence, sizeof sentence,
             "%s in %s (%s): this coordinator gives up; look at the disk, then start it again", what, self->directory,
             weft_err_name(code));
    weft_quorum_give_up(self, code, sentence);
}

bool weft_quorum_keep_vote(struct weft_quorum_self *self, uint64_t term, uint64_t voted_for)
{
    char path[WEFT_QUORUM_PATH_BYTES_MAX + 32];
    weft_quorum_path(self, "vote", path);
    const struct weft_quorum_vote before = self->vote;
    self->vote.server = self->server;
    self->vote.term = term;
    self->vote.voted_for = voted_for;
    if (self->raft && !self->raft->snapshot.installing) {
        // Not libraft's commit index: in the midst of a step it may be of entries that are yet to replace ours.
        uint64_t decided = self->applied, durable = weft_quorum_log_durable(&self->log);
        if (durable < decided) decided = durable;
        if (decided > self->vote.committed) self->vote.committed = decided;
    }
    weft_err_t err = weft_quorum_vote_store(self->disk, path, &self->vote);
    if (err == WEFT_ERR_DISK_FULL) {
        self->vote.term = before.term;
        self->vote.voted_for = before.voted_for;
        weft_quorum_raft_again(self);
    } else if (err) {
        weft_quorum_fail(self, err, "writing the vote failed");
    }
    return err == WEFT_OK;
}

// ---- turns

// A disk that does not answer for three seconds is as good as failed; a pause of this process is not the disk's, and a
// full disk is waited for.
static void s_watch_stall(struct weft_quorum_self *self)
{
    bool behind = weft_quorum_log_durable(&self->log) < weft_quorum_log_last(&self->log) && !self->disk_full;
    bool late = self->turned_us && self->now_us - self->turned_us > S_LATE_US;
    self->turned_us = self->now_us;
    if (!behind)
        self->dirty_us = 0;
    else if (self->dirty_us == 0 || late || weft_quorum_log_durable(&self->log) != self->dirty_durable)
        self->dirty_us = self->now_us;
    self->dirty_durable = weft_quorum_log_durable(&self->log);
    if (self->dirty_us && self->now_us - self->dirty_us >= S_STALL_US)
        weft_quorum_fail(self, WEFT_ERR_DISK_FAILED, "a sync did not finish within 3 s");
}

static void s_time_out(struct weft_quorum_self *self)
{
    for (int i = 0; i < 4 && !self->failed && (raft_time) (self->now_us / 1000) >= raft_timeout(self->raft); i++) {
        struct raft_event event = {.type = RAFT_TIMEOUT};
        if (!weft_quorum_step(self, &event)) {
            if (!self->failed && self->raft) weft_quorum_fail(self, WEFT_ERR_INTERNAL, "libraft refused a timeout");
            return;
        }
    }
}

// A leader that stops hands over first, once what it was given is decided.
static void s_turn_stop(struct weft_quorum_self *self)
{
    if (!self->stopping || self->handed_over || !weft_quorum_leads(self)) return;
    if (self->queue.count && self->now_us - self->stop_us < (int64_t) self->election_ms * 1000) return;
    self->handed_over = true;
    if (weft_quorum_count_voters(&self->raft->configuration) > 1) (void) weft_quorum_hand_over(self);
}

static int64_t s_next(const struct weft_quorum_self *self)
{
    int64_t next = (int64_t) raft_timeout(self->raft) * 1000;
    int64_t soon = self->now_us + 100 * 1000;
    bool waits = weft_quorum_in_force(self)->n == 0 || self->change.step != WEFT_CHANGE_NONE || self->disk_full ||
                 self->install_pending || self->stopping;
    for (unsigned i = 0; i < self->raft->configuration.n && !waits; i++)
        waits = self->raft->configuration.servers[i].role != RAFT_VOTER; // somebody catches up
    if (self->dirty_us && soon + 150 * 1000 < next) next = soon + 150 * 1000;
    if (waits && soon < next) next = soon;
    if (self->queue.written < self->queue.count && !self->disk_full && !weft_quorum_handing_over(self))
        next = self->now_us;
    return next <= self->now_us ? self->now_us : next;
}

static int64_t s_turn(weft_quorum_t *base, int64_t now_us)
{
    struct weft_quorum_self *self = s_self(base);
    self->now_us = now_us;
    if (self->failed) return WEFT_TIME_NEVER;
    if (self->growing) weft_quorum_form_turn(self);
    if (self->growing && !self->failed) return now_us + 100 * 1000;
    if (!self->raft && now_us >= self->raft_again_us && weft_quorum_raft_start(self)) weft_quorum_peers_follow(self);
    if (!self->raft) {
        weft_quorum_settle(self);
        return self->failed ? WEFT_TIME_NEVER : self->raft_again_us;
    }
    s_watch_stall(self);
    s_time_out(self);
    if (!self->failed) weft_quorum_form_turn(self);
    weft_quorum_settle(self);
    if (!self->failed) {
        weft_quorum_flush(self);
        weft_quorum_submit(self);
        weft_quorum_members_turn(self);
        s_turn_stop(self);
    }
    weft_quorum_settle(self);
    if (self->failed) return WEFT_TIME_NEVER;
    weft_quorum_sync(self);
    weft_quorum_snapshot_turn(self);
    weft_quorum_pieces_turn(self);
    weft_quorum_settle(self);
    if (self->failed) return WEFT_TIME_NEVER;
    return self->raft ? s_next(self) : self->raft_again_us;
}

static void s_mail(weft_quorum_t *base, struct weft_mail *mail)
{
    struct weft_quorum_self *self = s_self(base);
    weft_assert(mail->kind == WEFT_MAIL_SYNCED);
    struct weft_sync_request *request = mail->body;
    struct weft_sync_job *job = &request->jobs[0];
    self->now_us = weft_port_now_us(&self->port);
    if (job->owner == self)
        weft_quorum_synced(self, &job->sync);
    else
        weft_quorum_snapshot_synced(self, job->sync.result);
    weft_quorum_request_free(request);
    weft_quorum_settle(self);
}

static void s_message(weft_quorum_t *base, struct weft_message *message)
{
    struct weft_quorum_self *self = s_self(base);
    self->now_us = weft_port_now_us(&self->port);
    weft_quorum_message_taken(self, message);
}

static void s_link(weft_quorum_t *base, weft_link_t link, bool up)
{
    struct weft_quorum_self *self = s_self(base);
    for (size_t i = 0; i < self->peer_count; i++) {
        struct weft_quorum_peer *peer = &self->peers[i];
        if (peer->link != link) continue;
        peer->up = up;
        weft_quorum_pieces_link(self, peer, up);
        peer->asked_us = weft_port_now_us(&self->port);
        if (up && !self->failed && (self->raft || self->growing)) weft_quorum_hello(self, peer, true);
    }
}

// ---- the interface

static void s_start(weft_quorum_t *base, const weft_port_t *port, weft_part_id_t sync_part, const char *endpoint)
{
    struct weft_quorum_self *self = s_self(base);
    self->port = *port;
    self->sync_part = sync_part;
    self->started = true;
    self->now_us = weft_port_now_us(port);
    snprintf(self->endpoint, sizeof self->endpoint, "%s", endpoint);
    if (weft_quorum_raft_start(self) || self->growing) weft_quorum_peers_follow(self);
}

static weft_err_t s_propose(weft_quorum_t *base, weft_slice_t command, uint64_t token)
{
    struct weft_quorum_self *self = s_self(base);
    weft_assert(command.data && command.size);
    if (!self->led || !weft_quorum_leads(self)) return WEFT_ERR_NOT_COORDINATOR;
    if (self->stopping) return WEFT_ERR_STOPPING;
    if (self->queue.count >= S_QUEUE_COUNT_MAX || self->queue.bytes + command.size > S_QUEUE_BYTES_MAX)
        return WEFT_ERR_OVERLOADED;
    weft_quorum_queue_push(&self->queue, command, token);
    return WEFT_OK;
}

static void s_barrier(weft_quorum_t *base, uint64_t token)
{
    struct weft_quorum_self *self = s_self(base);
    if (!self->led || !weft_quorum_leads(self))
        self->events.on_lost(self->context, token, WEFT_ERR_NOT_COORDINATOR, NULL);
    else
        weft_quorum_queue_push(&self->queue, WEFT_SLICE_NIL, token);
}

static bool s_leads(const weft_quorum_t *base)
{
    return s_const(base)->led && weft_quorum_leads(s_const(base));
}

static const char *s_failure(const weft_quorum_t *base)
{
    return s_const(base)->failed ? s_const(base)->failure.text : NULL;
}

bool weft_quorum_has_leader(const struct weft_quorum_self *self)
{
    raft_id server = 0;
    const char *address = NULL;
    if (self->raft) raft_leader(self->raft, &server, &address);
    return server != 0;
}

static const char *s_waits(const weft_quorum_t *base)
{
    const struct weft_quorum_self *self = s_const(base);
    const struct raft_server *me = weft_quorum_server(weft_quorum_in_force(self), self->server);
    if (self->growing) return self->waiting.code ? self->waiting.text : "grows to several coordinators";
    if (self->started && !self->raft) return "the disk is full; free space, it goes on by itself then";
    if (self->refused.code && !weft_quorum_has_leader(self)) return self->refused.text;
    if (me && me->role == RAFT_VOTER) return NULL;
    if (me) return "catches up with the other coordinators, to become one of the voters";
    if (weft_quorum_in_force(self)->n) return "this coordinator is none of the voters (any more): stop it";
    return self->waiting.code ? self->waiting.text : "waits for the other coordinators";
}

static void s_give_up(weft_quorum_t *base, weft_err_t code, const char *sentence)
{
    weft_quorum_give_up(s_self(base), code, sentence);
}

static weft_id_t s_cluster(const weft_quorum_t *base)
{
    return s_const(base)->log.cluster;
}

static void s_members(const weft_quorum_t *base, weft_buf_t *text)
{
    const struct weft_quorum_self *self = s_const(base);
    size_t voters = weft_quorum_count_voters(weft_quorum_in_force(self));
    weft_buf_printf(text, "%zu voter%s, %llu entries applied, snapshot at %llu", voters, voters == 1 ? "" : "s",
                    (unsigned long long) self->applied, (unsigned long long) self->snapshot.index);
}

static const char *s_active(const weft_quorum_t *base, int32_t *id)
{
    const struct weft_quorum_self *self = s_const(base);
    raft_id server = 0;
    const char *address = NULL;
    *id = -1;
    if (self->failed || !self->raft) return "";
    raft_leader(self->raft, &server, &address);
    if (server == self->server) {
        *id = self->id;
        return self->endpoint;
    }
    for (size_t i = 0; i < self->peer_count; i++) {
        if (server == 0 || self->peers[i].server != server) continue;
        *id = self->peers[i].id;
        return self->peers[i].endpoint;
    }
    return "";
}

static void s_changing(const weft_quorum_t *base, weft_buf_t *text)
{
    weft_quorum_change_text(s_const(base), text);
}

static uint32_t s_level(const struct weft_quorum_self *self, uint64_t server)
{
    if (server == self->server) return WEFT_CLUSTER_LEVEL_MAX;
    for (size_t i = 0; i < self->peer_count; i++)
        if (self->peers[i].server == server) return self->peers[i].level;
    return 0;
}

static size_t s_voters(const weft_quorum_t *base, struct weft_quorum_voter *out, size_t max)
{
    const struct weft_quorum_self *self = s_const(base);
    size_t count = 0;
    int32_t active = -1;
    (void) s_active(base, &active);
    bool leads = weft_quorum_leads(self);
    for (unsigned i = 0; i < self->configuration.n && count < max; i++) {
        struct weft_quorum_voter *voter = &out[count];
        const struct raft_server *server = &self->configuration.servers[i];
        if (server->role != RAFT_VOTER || !weft_quorum_voter_of(server, voter)) continue;
        count++;
        voter->leads = voter->id == active;
        voter->reachable = leads && weft_quorum_server_reachable(self, server->id);
        voter->level = s_level(self, voter->server);
        if (voter->server == self->server) memcpy(voter->endpoint, self->endpoint, sizeof voter->endpoint);
        raft_index match = 0;
        if (leads && voter->server != self->server && raft_match_index(self->raft, server->id, &match) == 0)
            voter->behind = raft_commit_index(self->raft) > match ? raft_commit_index(self->raft) - match : 0;
    }
    return count;
}

static weft_err_t s_change(weft_quorum_t *base, const struct weft_quorum_voter *voter, bool remove, uint64_t token,
                           struct weft_error *error)
{
    return weft_quorum_change(s_self(base), voter, remove, token, error);
}

static void s_stop(weft_quorum_t *base)
{
    struct weft_quorum_self *self = s_self(base);
    if (!self->stopping) self->stop_us = self->now_us;
    self->stopping = true;
}

static bool s_stopped(const weft_quorum_t *base)
{
    const struct weft_quorum_self *self = s_const(base);
    if (self->sync_out || (self->snapshot_step != WEFT_SNAPSHOT_IDLE))
        return false; // the sync part still holds our files
    if (self->failed || !self->raft) return true;
    if (weft_quorum_leads(self) && (!self->handed_over || weft_quorum_handing_over(self))) return false;
    return self->queue.count == 0 && (self->disk_full || !weft_log_dirty(self->log.log));
}

static void s_destroy(weft_quorum_t **self_p)
{
    struct weft_quorum_self *self = s_self(*self_p);
    if (!self) return;
    weft_quorum_raft_end(self);
    if (self->snapshot_file) self->disk->ops->close(&self->snapshot_file);
    weft_quorum_log_fini(&self->log);
    weft_quorum_queue_fini(&self->queue);
    raft_configuration_close(&self->configuration);
    raft_configuration_close(&self->making_configuration);
    raft_configuration_close(&self->install_configuration);
    raft_configuration_close(&self->snapshot_configuration);
    weft_frame_drop(&self->install_state);
    weft_quorum_pieces_forget(self);
    for (size_t i = 0; i < self->peer_count; i++) weft_quorum_pieces_drop(&self->peers[i]);
    weft_codec_fini(&self->codec);
    free(self->name);
    free(self);
    *self_p = NULL;
}

static const struct weft_quorum_ops s_ops = {.start = s_start,
                                             .propose = s_propose,
                                             .barrier = s_barrier,
                                             .leads = s_leads,
                                             .failure = s_failure,
                                             .waits = s_waits,
                                             .give_up = s_give_up,
                                             .cluster = s_cluster,
                                             .members = s_members,
                                             .mail = s_mail,
                                             .message = s_message,
                                             .link = s_link,
                                             .active = s_active,
                                             .voters = s_voters,
                                             .changing = s_changing,
                                             .change = s_change,
                                             .turn = s_turn,
                                             .stop = s_stop,
                                             .stopped = s_stopped,
                                             .destroy = s_destroy};

weft_id_t weft_quorum_log_id(void)
{
    static const char name[17] = "weft-quorum-log.";
    return weft_id_of_slice(weft_slice(name, 16));
}

static struct weft_quorum_self *s_new(const struct weft_quorum_options *options,
                                      const struct weft_quorum_events *events, void *context)
{
    struct weft_quorum_self *self = weft_calloc(1, sizeof *self);
    self->base.ops = &s_ops;
    self->disk = options->disk;
    strcpy(self->directory, options->directory);
    self->name = weft_strdup(options->name);
    self->events = *events;
    self->context = context;
    self->snapshot_commands = options->snapshot_commands;
    self->id = options->id;
    self->server = options->server;
    self->identity = options->cluster_id;
    self->format_id = options->format_id;
    self->election_ms = options->election_ms;
    self->heartbeat_ms = options->heartbeat_ms;
    self->list_count = options->coordinator_count;
    for (size_t i = 0; i < options->coordinator_count; i++) self->list[i] = options->coordinators[i];
    raft_configuration_init(&self->configuration);
    raft_configuration_init(&self->making_configuration);
    raft_configuration_init(&self->install_configuration);
    raft_configuration_init(&self->snapshot_configuration);
    self->configuration_told = UINT64_MAX;
    self->install_state = WEFT_FRAME_EMPTY;
    self->piece_bytes = options->piece_bytes ? options->piece_bytes : S_PIECE_BYTES;
    weft_buf_init(&self->in.bytes);
    weft_codec_init(&self->codec);
    return self;
}

weft_err_t weft_quorum_open(const struct weft_quorum_options *options, const struct weft_quorum_events *events,
                            void *context, weft_quorum_t **out, struct weft_error *error)
{
    struct weft_error mine;
    if (!error) error = &mine;
    weft_assert(options->server != 0);
    if (strlen(options->directory) >= WEFT_QUORUM_PATH_BYTES_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT,
                              "the path of the data directory is longer than %d bytes", WEFT_QUORUM_PATH_BYTES_MAX - 1);
    if (options->coordinator_count > WEFT_QUORUM_VOTERS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_CONFIG, "there are 1, 3 or 5 coordinators, not %zu",
                              options->coordinator_count);
    struct weft_quorum_self *self = s_new(options, events, context);
    weft_err_t err = weft_quorum_recover(self, options->synced_end, error);
    weft_quorum_t *base = &self->base;
    if (err) {
        s_destroy(&base);
        return err;
    }
    *out = base;
    return WEFT_OK;
}
