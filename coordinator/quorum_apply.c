// SPDX-License-Identifier: MPL-2.0
// What is decided goes to the state machine in order, on every voter; what became of this voter's role goes after it.
//
// A proposal's token goes along if its entry is still the one that was written for it: losing office drops all tokens,
// for what stood behind them may be decided by the next leader, or overwritten.
#include "quorum_self.h"

#include "../lib/base/assert.h"
#include "../lib/base/mutate.h"
#include "../lib/base/trace.h"

#include <stdlib.h>

static void s_tell_configuration(struct weft_quorum_self *self, uint64_t index, const struct weft_quorum_record *record)
{
    struct raft_event event = {.type = RAFT_CONFIGURATION, .configuration = {.index = index}};
    bool good = weft_quorum_configuration_decode(weft_slice(record->data, record->size), &event.configuration.conf);
    weft_assert(good);                     // it was looked at when it came in
    (void) weft_quorum_step(self, &event); // takes it over
}

static void s_take_configuration(struct weft_quorum_self *self, uint64_t index, const struct weft_quorum_record *record)
{
    raft_configuration_close(&self->configuration);
    bool good = weft_quorum_configuration_decode(weft_slice(record->data, record->size), &self->configuration);
    weft_assert(good);
    self->configuration_index = index;
    s_tell_configuration(self, index, record);
    weft_quorum_peers_follow(self);
    weft_quorum_change_applied(self, index);
}

// Barriers whose place is reached.
static void s_pass_barriers(struct weft_quorum_self *self)
{
    while (self->queue.written) {
        struct weft_quorum_entry *head = weft_quorum_queue_at(&self->queue, 0);
        if (head->command || head->index > self->applied) break;
        struct weft_quorum_entry barrier = weft_quorum_queue_pop(&self->queue);
        self->events.on_apply(self->context, barrier.index, WEFT_SLICE_NIL, barrier.token);
    }
}

static void s_apply_one(struct weft_quorum_self *self, uint64_t index, const struct weft_quorum_record *record)
{
    uint64_t token = 0;
    self->applied = index;
    if (record->kind == RAFT_COMMAND) {
        if (self->queue.written && weft_quorum_queue_at(&self->queue, 0)->index == index) {
            struct weft_quorum_entry entry = weft_quorum_queue_pop(&self->queue);
            token = entry.token;
            free(entry.command);
        }
        self->events.on_apply(self->context, index, weft_slice(record->data, record->size), token);
    } else {
        self->events.on_apply(self->context, index, WEFT_SLICE_NIL, 0);
    }
    if (record->kind == RAFT_CHANGE) s_take_configuration(self, index, record);
    s_pass_barriers(self);
}

static void s_apply(struct weft_quorum_self *self)
{
    if (self->raft) s_pass_barriers(self);
    while (!self->failed && self->raft && !self->raft->snapshot.installing &&
           self->told < raft_commit_index(self->raft)) {
        const struct weft_quorum_record *record = weft_quorum_log_get(&self->log, self->told + 1);
        if (!record) break; // a snapshot takes its place
        self->told++;
        if (self->told > self->applied)
            s_apply_one(self, self->told, record);
        else if (record->kind == RAFT_CHANGE) // applied before libraft was started again
            s_tell_configuration(self, self->told, record);
    }
}

static void s_tell_role(struct weft_quorum_self *self)
{
    bool leads = weft_quorum_leads(self);
    if (leads == self->led) return;
    self->led = leads;
    self->handed_over = false;
    weft_trace(WEFT_TRACE_INFO, self->name, leads ? "leads the quorum from term %llu on" : "no longer leads the quorum",
               (unsigned long long) (self->raft ? raft_current_term(self->raft) : 0));
    self->events.on_leader(self->context, leads);
    if (leads) return;
    weft_quorum_queue_t lost = self->queue;
    self->queue = (weft_quorum_queue_t){0};
    weft_quorum_lose(self, &lost, WEFT_ERR_LEADER_CHANGED, WEFT_ERR_NOT_COORDINATOR,
                     "another coordinator took over before it was decided");
    weft_quorum_change_lost(self, WEFT_ERR_LEADER_CHANGED, "another coordinator took over before it was decided");
}

static void s_tell_voters(struct weft_quorum_self *self)
{
    if (self->configuration_index == 0 || self->configuration_told == self->configuration_index) return;
    self->configuration_told = self->configuration_index;
    self->events.on_voters(self->context);
}

void weft_quorum_settle(struct weft_quorum_self *self)
{
    if (self->failed || self->applying) return;
    self->applying = true;
    uint64_t before;
    bool led;
    do { // a configuration that is decided may end leadership
        before = self->applied;
        led = self->led;
        if (self->led && !weft_mutated("office_lost_later"))
            s_tell_role(self); // before anything that is not its own is applied
        s_apply(self);
        if (!self->failed) s_tell_voters(self);
        if (!self->failed && !self->led) s_tell_role(self); // with all that is decided
    } while (!self->failed && (self->applied != before || self->led != led));
    self->applying = false;
}
