// SPDX-License-Identifier: MPL-2.0
// libraft's core is a function of events; what it answers with is carried out here, in the order that keeps Raft's
// promises: term and vote to the disk, entries to the log (durable later, by the sync part), snapshots, and only then
// messages. QUORUM.md, "Rules of raft_step", is cited as rule n.
//
// What a leader proposes is written before libraft hears of it, so that a full disk refuses a proposal and nothing else.
// What a follower is sent goes the other way round, for only libraft knows what of it is new; a full disk then keeps it
// in memory, unacknowledged, until there is room.
#include "quorum_self.h"

#include "../lib/base/assert.h"
#include "../lib/base/mutate.h"
#include "../lib/base/trace.h"

#include <stdlib.h>
#include <string.h>

// Older ones lose acknowledged entries. At run time the soname tells them apart: the library does not export
// raft_version_number.
_Static_assert(RAFT_VERSION_MAJOR == 0 && RAFT_VERSION_MINOR == 22,
               "libraft 0.22 is needed (docs/decisions/quorum.md)");

enum { S_DISK_RETRY_US = 200 * 1000, S_SUBMIT_MAX = 4096 };

static void s_say_nothing(struct raft_tracer *tracer, int type, const void *info)
{
    (void) tracer;
    (void) type;
    (void) info;
}

static struct raft_tracer s_silent = {.version = 2, .emit = s_say_nothing};

bool weft_quorum_leads(const struct weft_quorum_self *self)
{
    return !self->failed && self->raft && self->raft->state == RAFT_LEADER;
}

// ---- what an update asks for

static void s_store(struct weft_quorum_self *self, uint64_t index, struct raft_entry *entries, unsigned count)
{
    weft_err_t err = WEFT_OK;
    if (index <= weft_quorum_log_last(&self->log)) err = weft_quorum_log_truncate(&self->log, index);
    if (err) {
        weft_quorum_fail(self, err, "taking entries back that were not decided failed");
    } else {
        weft_assert(index == weft_quorum_log_last(&self->log) + 1);
        for (unsigned i = 0; i < count; i++)
            weft_quorum_log_push(&self->log, entries[i].term, (uint8_t) entries[i].type,
                                 weft_slice(entries[i].buf.base, entries[i].buf.len));
        weft_quorum_flush(self);
    }
}

// What an update that is not carried out holds.
static void s_drop(struct weft_quorum_self *self, struct raft_update *update)
{
    if (update->flags & RAFT_UPDATE_ENTRIES) raft_free(update->entries.batch[0].batch);
    if (update->flags & RAFT_UPDATE_SNAPSHOT) {
        raft_free(update->snapshot.chunk.base);
        raft_configuration_close(&update->snapshot.metadata.configuration);
    }
    if (!self->failed) weft_quorum_raft_end(self);
}

static void s_carry_out(struct weft_quorum_self *self, struct raft_update *update)
{
    if (update->flags & (RAFT_UPDATE_CURRENT_TERM | RAFT_UPDATE_VOTED_FOR) && !weft_mutated("vote_not_stored"))
        if (!weft_quorum_keep_vote(self, raft_current_term(self->raft), raft_voted_for(self->raft))) { // rule 1
            s_drop(self, update);
            return;
        }
    if (update->flags & RAFT_UPDATE_ENTRIES) {
        if (!self->prewritten) s_store(self, update->entries.index, update->entries.batch, update->entries.n);
        raft_free(update->entries.batch[0].batch); // rule 2
    }
    if (update->flags & RAFT_UPDATE_SNAPSHOT) {
        raft_free(update->snapshot.chunk.base);
        weft_quorum_snapshot_install(self, &update->snapshot.metadata);
    }
    if (update->flags & RAFT_UPDATE_MESSAGES && !self->failed)
        for (unsigned i = 0; i < update->messages.n; i++) weft_quorum_send_raft(self, &update->messages.batch[i]);
}

bool weft_quorum_step(struct weft_quorum_self *self, struct raft_event *event)
{
    if (self->failed || !self->raft) return false;
    struct raft_update update = {.flags = 0};
    event->time = (raft_time) (self->now_us / 1000);
    event->capacity = 0;
    int rv = raft_step(self->raft, event, &update);
    if (rv != 0) {
        weft_trace(WEFT_TRACE_ERROR, self->name, "libraft refused an event of type %d: %s", (int) event->type,
                   raft_strerror(rv));
        return false;
    }
    s_carry_out(self, &update);
    return !self->failed && self->raft;
}

// ---- proposals

static bool s_may_submit(const struct weft_quorum_self *self)
{
    return weft_quorum_leads(self) && raft_transferee(self->raft) == 0 &&
           weft_quorum_log_written(&self->log) == weft_quorum_log_last(&self->log) &&
           raft_last_index(self->raft) == weft_quorum_log_last(&self->log);
}

// Into the log on the disk; DISK_FULL leaves nothing.
static weft_err_t s_prewrite(struct weft_quorum_self *self, uint8_t kind, weft_slice_t data)
{
    weft_quorum_log_push(&self->log, raft_current_term(self->raft), kind, data);
    weft_err_t err = weft_quorum_log_flush(&self->log, weft_port_wall_ms(&self->port));
    if (err) weft_quorum_log_pop(&self->log);
    if (err && err != WEFT_ERR_DISK_FULL) weft_quorum_fail(self, err, "writing the log failed");
    return err;
}

// Hands the entries from `first` on, which are in the log, to libraft.
static bool s_hand_in(struct weft_quorum_self *self, uint64_t first)
{
    uint64_t last = weft_quorum_log_last(&self->log);
    unsigned count = (unsigned) (last - first + 1);
    struct raft_entry *entries = calloc(count, sizeof *entries);
    uint8_t *batch = NULL;
    size_t bytes = 1, at = 0;
    for (uint64_t i = first; i <= last; i++) bytes += weft_quorum_log_get(&self->log, i)->size;
    batch = raft_malloc(bytes);
    weft_assert(entries && batch);
    for (unsigned i = 0; i < count; i++) {
        const struct weft_quorum_record *record = weft_quorum_log_get(&self->log, first + i);
        if (record->size) memcpy(batch + at, record->data, record->size);
        entries[i] = (struct raft_entry){.term = record->term,
                                         .type = (enum raft_entry_type) record->kind,
                                         .buf = {.base = batch + at, .len = record->size},
                                         .batch = batch};
        at += record->size;
    }
    struct raft_event event = {.type = RAFT_SUBMIT, .submit = {.entries = entries, .n = count}};
    self->prewritten = true;
    bool done = weft_quorum_step(self, &event);
    self->prewritten = false;
    free(entries);
    if (!done && !self->failed && self->raft) {
        raft_free(batch);
        weft_quorum_fail(self, WEFT_ERR_INTERNAL, "libraft did not take entries that it must take");
    }
    return done;
}

static void s_refuse_full(struct weft_quorum_self *self)
{
    if (!self->disk_full)
        weft_trace(WEFT_TRACE_WARN, self->name, "the disk of %s is full: changes are refused until space is free",
                   self->directory);
    self->disk_full = true;
    weft_quorum_queue_t lost = {0};
    weft_quorum_queue_take_unwritten(&self->queue, &lost);
    weft_quorum_lose(self, &lost, WEFT_ERR_DISK_FULL, WEFT_ERR_DISK_FULL, NULL);
    if (weft_quorum_leads(self)) (void) weft_quorum_hand_over(self); // another may have space
}

static void s_has_space(struct weft_quorum_self *self)
{
    if (self->disk_full) weft_trace(WEFT_TRACE_INFO, self->name, "the disk of %s has space again", self->directory);
    self->disk_full = false;
}

// Writes commands from the queue; barriers wait for what is before them, and, with other voters, for an entry of their
// own, one for all that wait: it proves that we still lead.
static weft_err_t s_write_queue(struct weft_quorum_self *self)
{
    bool alone = weft_quorum_count_voters(&self->raft->configuration) == 1;
    weft_err_t err = WEFT_OK;
    for (size_t n = 0; n < S_SUBMIT_MAX && self->queue.written < self->queue.count; n++) {
        struct weft_quorum_entry *entry = weft_quorum_queue_at(&self->queue, self->queue.written);
        if (entry->command) {
            err = s_prewrite(self, RAFT_COMMAND, weft_slice(entry->command, entry->size));
        } else if (!alone) {
            size_t next = self->queue.written + 1;
            bool more = next < self->queue.count && !weft_quorum_queue_at(&self->queue, next)->command;
            if (!more) err = s_prewrite(self, RAFT_BARRIER, weft_slice("", 0));
            if (!err) entry->index = weft_quorum_log_last(&self->log) + (more ? 1 : 0);
        }
        if (err) break; // the queue may be gone
        if (entry->command || alone) entry->index = weft_quorum_log_last(&self->log);
        self->queue.written++;
    }
    return err;
}

void weft_quorum_submit(struct weft_quorum_self *self)
{
    if (self->queue.written == self->queue.count || !s_may_submit(self)) return;
    uint64_t first = weft_quorum_log_last(&self->log) + 1;
    weft_err_t err = s_write_queue(self);
    if (self->failed) return;
    if (weft_quorum_log_last(&self->log) >= first && !s_hand_in(self, first)) return;
    if (err == WEFT_ERR_DISK_FULL)
        s_refuse_full(self);
    else
        s_has_space(self);
}

uint64_t weft_quorum_submit_own(struct weft_quorum_self *self, uint8_t kind, weft_slice_t data)
{
    if (!s_may_submit(self) || s_prewrite(self, kind, data) != WEFT_OK) return 0;
    uint64_t index = weft_quorum_log_last(&self->log);
    return s_hand_in(self, index) ? index : 0;
}

// ---- durability

void weft_quorum_flush(struct weft_quorum_self *self)
{
    if (self->failed || weft_quorum_log_written(&self->log) == weft_quorum_log_last(&self->log)) return;
    if (self->disk_full && self->now_us < self->disk_try_us) return;
    weft_err_t err = weft_quorum_log_flush(&self->log, weft_port_wall_ms(&self->port));
    if (err == WEFT_ERR_DISK_FULL) {
        if (!self->disk_full)
            weft_trace(WEFT_TRACE_WARN, self->name,
                       "the disk of %s is full: this voter falls behind until space is free", self->directory);
        self->disk_full = true;
        self->disk_try_us = self->now_us + S_DISK_RETRY_US;
    } else if (err) {
        weft_quorum_fail(self, err, "writing the log failed");
    } else {
        s_has_space(self);
    }
}

// Rule 4: only what is still in memory with its term, and nothing while a snapshot is being installed.
static void s_tell_persisted(struct weft_quorum_self *self)
{
    if (!self->raft || self->raft->snapshot.installing) return;
    uint64_t durable = weft_quorum_log_durable(&self->log);
    uint64_t last = raft_last_index(self->raft);
    if (weft_mutated("persisted_before_it_is_synced")) durable = weft_quorum_log_written(&self->log);
    if (durable > last) durable = last;
    if (durable <= self->raft->last_stored) return;
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES, .persisted_entries = {.index = durable}};
    (void) weft_quorum_step(self, &event);
}

void weft_quorum_sync(struct weft_quorum_self *self)
{
    if (weft_mutated("persisted_before_it_is_synced") && !self->failed) s_tell_persisted(self);
    if (self->sync_out || self->failed || !weft_log_dirty(self->log.log)) return;
    struct weft_sync_request *request = weft_quorum_request_new(self->disk, self);
    struct weft_sync_job *job = &request->jobs[0];
    if (!weft_log_sync_begin(self->log.log, &job->sync)) {
        weft_quorum_request_free(request);
        return;
    }
    job->topic = weft_quorum_log_id();
    self->sync_out = true;
    weft_quorum_request_post(self, request);
}

void weft_quorum_synced(struct weft_quorum_self *self, struct weft_log_sync *sync)
{
    self->sync_out = false;
    weft_err_t err = weft_log_sync_done(self->log.log, sync);
    if (self->failed) return;
    if (err)
        weft_quorum_fail(self, err, "syncing the log failed");
    else
        s_tell_persisted(self);
}

// ---- life

void weft_quorum_raft_end(struct weft_quorum_self *self)
{
    if (!self->raft) return;
    raft_close(self->raft, NULL);
    free(self->raft);
    self->raft = NULL;
    if (self->snapshot_step == WEFT_SNAPSHOT_IDLE || !self->installing) {
        self->install_pending = false;
        weft_frame_drop(&self->install_state);
    }
}

void weft_quorum_raft_again(struct weft_quorum_self *self)
{
    if (!self->disk_full)
        weft_trace(WEFT_TRACE_WARN, self->name, "the disk of %s is full: this voter waits until space is free",
                   self->directory);
    self->disk_full = true;
    self->raft_again_us = self->now_us + S_DISK_RETRY_US;
}

void weft_quorum_raft_renew(struct weft_quorum_self *self)
{
    weft_quorum_raft_end(self);
    self->raft_again_us = self->now_us;
}

static struct raft_entry *s_stored(const struct weft_quorum_self *self, unsigned *count)
{
    *count = (unsigned) self->log.count;
    struct raft_entry *entries = weft_calloc(self->log.count + 1, sizeof *entries);
    for (unsigned i = 0; i < *count; i++) {
        const struct weft_quorum_record *record = weft_quorum_log_get(&self->log, self->log.first + i);
        entries[i] = (struct raft_entry){.term = record->term,
                                         .type = (enum raft_entry_type) record->kind,
                                         .buf = {.base = record->data, .len = record->size},
                                         .batch = record->data};
    }
    return entries;
}

static void s_configure(struct weft_quorum_self *self)
{
    raft_seed(self->raft, (unsigned) self->port.ops->seed(self->port.world));
    raft_set_election_timeout(self->raft, self->election_ms);
    raft_set_heartbeat_timeout(self->raft, self->heartbeat_ms);
    raft_set_install_snapshot_timeout(self->raft, self->election_ms * 5 > 5000 ? self->election_ms * 5 : 5000);
    raft_set_pre_vote(self->raft, true); // rule 6
    raft_set_max_inflight_entries(self->raft, WEFT_QUORUM_INFLIGHT_MAX);
}

// libraft takes all that it is started with for durable. What a full disk kept in memory was never acknowledged.
static bool s_settle_log(struct weft_quorum_self *self)
{
    while (weft_quorum_log_written(&self->log) < weft_quorum_log_last(&self->log)) weft_quorum_log_pop(&self->log);
    weft_err_t err = weft_quorum_log_sync(&self->log);
    if (err) weft_quorum_fail(self, err, "syncing the log failed");
    return err == WEFT_OK;
}

bool weft_quorum_raft_start(struct weft_quorum_self *self)
{
    if (self->growing || !s_settle_log(self)) return false; // growing: quorum_form.c starts it
    char address[WEFT_QUORUM_ADDRESS_BYTES_MAX];
    struct weft_quorum_voter me = {.id = self->id, .server = self->server};
    memcpy(me.endpoint, self->endpoint, sizeof me.endpoint);
    weft_quorum_address(&me, address);
    self->raft = weft_calloc(1, sizeof *self->raft);
    int rv = raft_init(self->raft, NULL, NULL, self->server, address);
    weft_assert(rv == 0);
    self->raft->tracer = &s_silent;
    s_configure(self);

    // The term of a voter is never below that of its last entry.
    uint64_t last = weft_quorum_log_last(&self->log);
    const struct weft_quorum_record *record = weft_quorum_log_get(&self->log, last);
    uint64_t term = record ? record->term : self->snapshot.term;
    if (term > self->vote.term && !weft_quorum_keep_vote(self, term, 0)) {
        weft_quorum_raft_end(self);
        return false;
    }

    struct raft_snapshot_metadata metadata = {.index = self->snapshot.index, .term = self->snapshot.term};
    struct raft_event event = {.type = RAFT_START};
    if (self->snapshot.index) {
        weft_quorum_configuration_copy(&self->snapshot_configuration, &metadata.configuration);
        metadata.configuration_index = self->snapshot.configuration_index;
        event.start.metadata = &metadata;
    }
    event.start.term = self->vote.term;
    event.start.voted_for = self->vote.voted_for;
    event.start.start_index = self->log.first;
    self->told = self->snapshot.index;
    event.start.entries = s_stored(self, &event.start.n_entries);
    bool done = weft_quorum_step(self, &event);
    free(event.start.entries);
    if (!done && !self->failed && self->raft)
        weft_quorum_fail(self, WEFT_ERR_DAMAGED, "libraft refused what is stored");
    return done;
}
