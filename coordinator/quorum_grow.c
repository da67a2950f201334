// SPDX-License-Identifier: MPL-2.0
// From one voter to several, while nothing is served: growing a running quorum of one could end without a leader for
// ever, for who has no configuration yet gives no vote.
//
// A voter that was alone and is started with others in its list does not lead. It asks them who they are, as one that
// forms a quorum does, and once all of them have told it that they have nothing, it writes a snapshot of all that it has
// decided, whose configuration is all of them. That one write is the step: before it, it is alone and nobody was told;
// after it, nothing is decided without a majority. Then whoever stands in a snapshot and has nothing is given it.
#include "quorum_self.h"

#include "../lib/base/assert.h"
#include "../lib/base/trace.h"

enum { S_TELL_US = 1000 * 1000 };

// All in the log is decided: nobody else had a say.
static void s_apply_all(struct weft_quorum_self *self)
{
    while (self->applied < weft_quorum_log_last(&self->log)) {
        const struct weft_quorum_record *record = weft_quorum_log_get(&self->log, ++self->applied);
        weft_slice_t command = record->kind == RAFT_COMMAND ? weft_slice(record->data, record->size) : WEFT_SLICE_NIL;
        self->events.on_apply(self->context, self->applied, command, 0);
    }
}

void weft_quorum_grow(struct weft_quorum_self *self, const struct raft_configuration *all)
{
    s_apply_all(self);
    const struct weft_quorum_record *last = weft_quorum_log_get(&self->log, self->applied);
    uint64_t index = self->applied;
    weft_err_t err = weft_quorum_snapshot_write(self, index, last ? last->term : self->snapshot.term, all);
    if (err == WEFT_ERR_DISK_FULL) return; // tried again
    if (err) {
        weft_quorum_fail(self, err, "writing the snapshot to grow from failed");
        return;
    }
    err = weft_quorum_log_reset(&self->log, index); // its first entry says that one is all
    if (err) {
        weft_quorum_fail(self, err, "emptying the log to grow failed");
        return;
    }
    raft_configuration_close(&self->configuration);
    weft_quorum_configuration_copy(all, &self->configuration);
    self->configuration_index = index;
    self->growing = false;
    weft_trace(WEFT_TRACE_INFO, self->name, "grew from one voter to %u", all->n);
}

void weft_quorum_grow_offer(struct weft_quorum_self *self, struct weft_quorum_peer *peer)
{
    const struct raft_server *server = weft_quorum_server(&self->snapshot_configuration, peer->server);
    if (!self->raft || !server || server->role != RAFT_VOTER || self->snapshot.index == 0) return;
    if (peer->offered_us && self->now_us - peer->offered_us < S_TELL_US) return;
    peer->offered_us = self->now_us;
    const struct raft_install_snapshot message = {.version = 1, .term = raft_current_term(self->raft)};
    weft_quorum_snapshot_send(self, peer, &message);
}
