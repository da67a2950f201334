// SPDX-License-Identifier: MPL-2.0
// What a ledger appends. Records gather in a builder while a turn's requests are judged, each applied to the table as it
// is added, at the offset that it will have: nobody else appends to a partition of __offsets, and nothing else happens to
// its log while it is led. At the end of the turn they become one batch, which the replica takes like a producer's. If it
// does not, the table forgets them again, and all that waited is refused.
//
// Who asked waits at the batch, not in contexts of their own: one token of the shard's waits stands for all of them.
// Batches become durable in the order of the log, so who waits for what was added waits for the last batch there is.
#include "offsets_self.h"

#include "lead.h"

#include "../../lib/base/assert.h"
#include <weft_gen/messages.h>

#include <stdlib.h>
#include <string.h>

#define S_BATCH_BYTES ((size_t) 1 << 20) // a batch that has so many is appended before the turn ends
#define S_WAIT_US (30 * 1000 * 1000)     // for the durable mark; then TIMED_OUT

static void s_unpark(weft_ledger_t *self, const struct weft_ledger_batch *batch)
{
    weft_shard_t *shard = self->partition->shard;
    self->asks_waiting -= batch->ask_count;
    shard->ledger_bytes -= batch->bytes + batch->ask_count * sizeof batch->asks[0];
}

static void s_free(struct weft_ledger_batch *batch)
{
    for (size_t i = 0; i < batch->ask_count; i++) free(batch->asks[i].reply);
    free(batch->asks);
    free(batch);
}

static void s_refuse(weft_ledger_t *self, const struct weft_asker *asker, weft_err_t code)
{
    weft_partition_t *partition = self->partition;
    if (code == WEFT_ERR_NOT_LEADER || code == WEFT_ERR_LEADER_CHANGED)
        weft_shard_refuse_moved(partition->shard, asker, code, partition->topic, partition->number);
    else
        weft_shard_refuse(partition->shard, asker, code, NULL);
}

static void s_answer(weft_shard_t *shard, const struct weft_ledger_ask *ask)
{
    weft_buf_clear(&shard->reply);
    if (ask->reply != NULL) {
        weft_buf_append(&shard->reply, ask->reply, ask->reply_size);
    } else {
        struct weft_commit_reply reply;
        weft_commit_reply_init(&reply);
        reply.header.id = ask->asker.request_id;
        weft_commit_reply_encode(&reply, &shard->reply);
    }
    weft_shard_answer(shard, &ask->asker, NULL);
}

// Takes it out of the list of those that wait.
static void s_leave(struct weft_ledger_batch *batch)
{
    weft_ledger_t *self = batch->ledger;
    if (self->newest == batch) self->newest = batch->next;
    if (batch->next != NULL) batch->next->previous = batch->previous;
    if (batch->previous != NULL) batch->previous->next = batch->next;
    batch->next = batch->previous = NULL;
}

static void s_finish(struct weft_ledger_batch *batch, weft_err_t code)
{
    weft_ledger_t *self = batch->ledger;
    s_leave(batch);
    s_unpark(self, batch);
    for (size_t i = 0; i < batch->ask_count; i++) {
        if (code == WEFT_OK)
            s_answer(self->partition->shard, &batch->asks[i]);
        else
            s_refuse(self, &batch->asks[i].asker, code);
    }
    s_free(batch);
}

// ---- what waits

bool weft_ledger_crowded(const weft_ledger_t *self)
{
    const weft_shard_t *shard = self->partition->shard;
    return self->asks_waiting >= shard->fetch_waiters_max || weft_shard_overloaded(shard);
}

bool weft_ledger_may_park(const weft_ledger_t *self)
{
    return self->open != NULL || self->newest != NULL;
}

bool weft_ledger_park(weft_ledger_t *self, const struct weft_asker *asker, weft_slice_t reply)
{
    struct weft_ledger_batch *batch = self->open != NULL ? self->open : self->newest;
    if (batch == NULL) return false;
    if (batch->ask_count == batch->ask_capacity) {
        batch->ask_capacity = batch->ask_capacity == 0 ? 16 : 2 * batch->ask_capacity;
        batch->asks = weft_realloc(batch->asks, batch->ask_capacity * sizeof batch->asks[0]);
    }
    struct weft_ledger_ask *ask = &batch->asks[batch->ask_count++];
    *ask = (struct weft_ledger_ask){.asker = *asker, .reply_size = reply.size};
    if (reply.data != NULL) {
        ask->reply = weft_alloc(reply.size);
        memcpy(ask->reply, reply.data, reply.size);
    }
    batch->bytes += reply.size;
    self->asks_waiting++;
    self->partition->shard->ledger_bytes += reply.size + sizeof *ask;
    return true;
}

// ---- the open batch

weft_err_t weft_ledger_add(weft_ledger_t *self, const struct weft_offset_key *key,
                           const struct weft_offset_value *value)
{
    weft_partition_t *partition = self->partition;
    if (self->open != NULL && self->builder.buf.size >= S_BATCH_BYTES) {
        weft_err_t code = weft_ledger_flush(self);
        if (code != WEFT_OK) return code;
    }
    if (self->open == NULL) {
        self->open = weft_calloc(1, sizeof *self->open);
        self->open->ledger = self;
        self->open->first = weft_log_end(partition->log);
    }
    weft_buf_clear(&self->key);
    weft_buf_clear(&self->value);
    weft_offset_encode(key, value, &self->key, &self->value);
    int64_t offset = self->open->first + self->builder.count;
    weft_batch_builder_add(&self->builder, weft_port_wall_ms(&partition->shard->port), weft_buf_slice(&self->key),
                           value != NULL ? weft_buf_slice(&self->value) : WEFT_SLICE_NIL, WEFT_SLICE_NIL);
    weft_offsets_apply(self->table, offset, key, value);
    return WEFT_OK;
}

// The wait of one that was appended; the replica will not name its token any more.
static void s_cancel(const struct weft_ledger_batch *batch)
{
    weft_partition_t *partition = batch->ledger->partition;
    (void) !weft_replica_cancel(partition->replica, weft_wait_token(batch->wait));
    weft_waits_give(&partition->shard->waits, batch->wait);
}

void weft_ledger_drop_all(weft_ledger_t *self)
{
    struct weft_ledger_batch *batch;
    while ((batch = self->open != NULL ? self->open : self->newest) != NULL) {
        if (batch != self->open) s_cancel(batch);
        self->open = NULL;
        s_leave(batch);
        s_unpark(self, batch);
        s_free(batch);
    }
    weft_batch_builder_reset(&self->builder);
}

void weft_ledger_refuse_all(weft_ledger_t *self)
{
    struct weft_ledger_batch *open = self->open;
    self->open = NULL;
    weft_batch_builder_reset(&self->builder);
    if (open != NULL) weft_offsets_undo(self->table, open->first);
    if (open != NULL) s_finish(open, WEFT_ERR_NOT_LEADER);
    while (self->newest != NULL) {
        s_cancel(self->newest);
        s_finish(self->newest, WEFT_ERR_LEADER_CHANGED);
    }
}

static void s_append(weft_ledger_t *self, struct weft_batch *batch, const struct weft_replica_produce *produce,
                     int64_t base_offset, int32_t leader_epoch)
{
    batch->base_offset = base_offset;
    batch->leader_epoch = leader_epoch;
    weft_batch_write_header(self->packed.data, batch);
    weft_batch_seal(self->packed.data, self->packed.size);
    (void) !weft_batch_read(weft_buf_slice(&self->packed), batch); // its checksum
    weft_partition_append(self->partition, weft_buf_slice(&self->packed), WEFT_SLICE_NIL, batch, produce);
}

weft_err_t weft_ledger_flush(weft_ledger_t *self)
{
    struct weft_ledger_batch *open = self->open;
    if (open == NULL) return WEFT_OK;
    weft_partition_t *partition = self->partition;
    weft_shard_t *shard = partition->shard;
    self->open = NULL;
    weft_err_t code = weft_batch_builder_finish(&self->builder, WEFT_CODEC_NONE, -1, -1, -1, &self->packed);
    weft_assert(code == WEFT_OK); // nothing is compressed
    struct weft_batch batch;
    code = weft_batch_read(weft_buf_slice(&self->packed), &batch);
    weft_assert(code == WEFT_OK);
    struct weft_wait *wait = weft_waits_take(&shard->waits, WEFT_WAIT_OFFSETS);
    wait->partition = partition;
    wait->owner = open;
    open->wait = wait;
    const struct weft_replica_produce produce = {
        .token = weft_wait_token(wait), .acks = WEFT_ACKS_ALL, .durable = true, .batch = &batch};
    int64_t base_offset;
    int32_t leader_epoch;
    weft_partition_used(partition);
    if (weft_replica_produce(partition->replica, &produce, &base_offset, &leader_epoch) == WEFT_REPLICA_APPEND) {
        weft_assert(base_offset == open->first);
        s_append(self, &batch, &produce, base_offset, leader_epoch);
        open->appended = weft_log_end(partition->log) > base_offset;
    }
    bool appended = open->appended;
    if (appended) {
        open->next = self->newest;
        if (open->next != NULL) open->next->previous = open;
        self->newest = open;
    }
    weft_partition_effects(partition); // may be the end of it
    bool waits = weft_waits_find(&shard->waits, produce.token) == wait;
    if (waits) weft_waits_deadline(&shard->waits, wait, weft_port_now_us(&shard->port) + S_WAIT_US);
    if (weft_log_dirty(partition->log)) weft_partition_dirty(partition, waits);
    if (waits) weft_lead_wanted(partition);
    return appended ? WEFT_OK : self->refusal;
}

// ---- the end of a wait

void weft_ledger_done(struct weft_wait *wait, const struct weft_replica_effect *effect)
{
    struct weft_ledger_batch *batch = wait->owner;
    weft_ledger_t *self = batch->ledger;
    weft_waits_give(&self->partition->shard->waits, wait);
    if (effect->code == WEFT_OK) {
        weft_offsets_durable(self->table, weft_replica_durable(self->partition->replica));
    } else if (!batch->appended) {
        weft_offsets_undo(self->table, batch->first);
        self->refusal = effect->code;
    }
    s_finish(batch, effect->code);
}

void weft_ledger_timed_out(struct weft_wait *wait)
{
    struct weft_ledger_batch *batch = wait->owner;
    s_cancel(batch);
    s_finish(batch, WEFT_ERR_TIMED_OUT);
}
