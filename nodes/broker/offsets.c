// SPDX-License-Identifier: MPL-2.0
// A ledger's life. It begins with its leadership: the log is read from its start to where it ends then, a portion a turn
// for all ledgers of the shard together, so that everything else goes on. Nothing is appended meanwhile, for nothing is
// judged before the table is whole. What was read may not be durable yet: a commit that the leader before answered is,
// but not all that this one found behind it. So answers wait until the durable mark has passed all of it; nobody waits
// for that mark, hence the nudge.
#include "offsets_self.h"

#include "lead.h"

#include "../../lib/base/assert.h"
#include "../../lib/base/mutate.h"
#include "../../lib/core/cluster_view.h"
#include "../../lib/core/groups.h"

#include <stdlib.h>
#include <string.h>

#define S_LOAD_BYTES ((size_t) 1 << 20)   // read in a turn, by all ledgers of a shard
#define S_LOAD_RETRY_US (5 * 1000 * 1000) // the disk could not be read, or a batch is bad
#define S_NUDGE_US (200 * 1000)

static weft_ledger_t *s_new(weft_partition_t *partition)
{
    weft_ledger_t *self = weft_calloc(1, sizeof *self);
    self->partition = partition;
    self->table = weft_offsets_new();
    self->load_at = weft_log_start(partition->log);
    self->load_end = weft_log_end(partition->log);
    self->load_began_us = weft_port_now_us(&partition->shard->port);
    self->sweep_us = self->load_began_us;
    weft_batch_builder_init(&self->builder);
    weft_buf_init(&self->packed);
    weft_buf_init(&self->key);
    weft_buf_init(&self->value);
    weft_partition_list_push(&partition->shard->ledgers, partition);
    return self;
}

void weft_ledger_destroy(weft_ledger_t **self_p)
{
    weft_ledger_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    weft_partition_list_remove(&self->partition->shard->ledgers, self->partition);
    weft_ledger_drop_all(self);
    for (size_t i = 0; i < self->deletion_count; i++) free(self->deletions[i].group);
    free(self->deletions);
    weft_ledger_sweep_fini(self);
    weft_offsets_destroy(&self->table);
    weft_batch_builder_fini(&self->builder);
    weft_buf_fini(&self->packed);
    weft_buf_fini(&self->key);
    weft_buf_fini(&self->value);
    free(self);
}

void weft_ledger_follow(weft_partition_t *partition)
{
    if (!partition->keeps_offsets || partition->leads == (partition->ledger != NULL)) return;
    if (partition->leads) {
        partition->ledger = s_new(partition);
        return;
    }
    weft_ledger_refuse_all(partition->ledger);
    weft_ledger_refuse_deletions(partition->ledger, WEFT_ERR_LEADER_CHANGED);
    weft_ledger_destroy(&partition->ledger);
}

void weft_ledger_durable(weft_partition_t *partition)
{
    if (partition->ledger != NULL)
        weft_offsets_durable(partition->ledger->table, weft_replica_durable(partition->replica));
}

// ---- memory: what one shard holds, of all its ledgers

size_t weft_ledger_bytes_beside(const weft_ledger_t *self)
{
    const struct weft_partition_list *ledgers = &self->partition->shard->ledgers;
    size_t bytes = 0;
    for (size_t i = 0; i < ledgers->count; i++)
        if (ledgers->items[i]->ledger != self) bytes += weft_offsets_bytes(ledgers->items[i]->ledger->table);
    return bytes;
}

weft_err_t weft_ledger_fits(const weft_ledger_t *self, const struct weft_offset_key *key, size_t metadata_size,
                            size_t bytes_beside)
{
    weft_shard_t *shard = self->partition->shard;
    return weft_offsets_fits(self->table, key, metadata_size, bytes_beside, shard->offsets_bytes_max, &shard->error);
}

// ---- reading the log

static void s_load_batch(weft_ledger_t *self, const struct weft_batch *batch, weft_slice_t records)
{
    weft_record_iter_t iter;
    struct weft_record record;
    weft_record_iter_init(&iter, records);
    while (weft_record_iter_next(&iter, &record, NULL)) {
        struct weft_offset_key key;
        struct weft_offset_value value;
        bool has_value;
        if (batch->base_offset + record.offset_delta < self->load_at) continue; // deleted, or seen before
        if (weft_offset_decode(record.key, record.value, &key, &value, &has_value) != WEFT_OK)
            self->foreign++;
        else
            weft_offsets_apply(self->table, batch->base_offset + record.offset_delta, &key, has_value ? &value : NULL);
    }
}

// A batch can't be read. Somebody else may have it whole and is asked to lead; the last one goes on without it.
static bool s_pass_over(weft_ledger_t *self, const struct weft_batch *batch, int64_t now_us)
{
    weft_partition_t *partition = self->partition;
    weft_partition_suspect(partition, self->load_at);
    if (!partition->damaged ||
        weft_shard_others_may_lead(partition->shard, partition)) { // or it was bad in memory only
        self->load_retry_us = now_us + S_LOAD_RETRY_US;
        return false;
    }
    weft_trace(WEFT_TRACE_ERROR, partition->shard->name,
               "%s: the batch at offset %lld can't be read; commits in it are lost, groups may go back to older ones",
               partition->name, (long long) self->load_at);
    self->load_at = weft_batch_next_offset(batch);
    return true;
}

// False: it has to wait.
static bool s_load_bytes(weft_ledger_t *self, weft_slice_t bytes, int64_t now_us)
{
    weft_buf_t *scratch = &self->partition->shard->scratch;
    while (bytes.size > 0) {
        struct weft_batch batch;
        weft_slice_t records;
        weft_err_t code = weft_batch_verify(bytes, &batch);
        weft_buf_clear(scratch);
        if (code == WEFT_OK) code = weft_batch_payload(bytes, &batch, scratch, &records);
        if (code != WEFT_OK && weft_batch_read(bytes, &batch) != WEFT_OK) {
            weft_partition_suspect(self->partition, self->load_at);
            self->load_retry_us = now_us + S_LOAD_RETRY_US;
            return false;
        }
        if (code != WEFT_OK && !s_pass_over(self, &batch, now_us)) return false;
        if (code == WEFT_OK) s_load_batch(self, &batch, records);
        self->load_at = weft_batch_next_offset(&batch);
        bytes = weft_slice(bytes.data + weft_batch_bytes(&batch), bytes.size - weft_batch_bytes(&batch));
    }
    return true;
}

static void s_loaded(weft_ledger_t *self, int64_t now_us)
{
    const weft_partition_t *partition = self->partition;
    weft_trace(WEFT_TRACE_INFO, partition->shard->name, "%s: %zu committed offsets read in %lld ms", partition->name,
               weft_offsets_count(self->table), (long long) (now_us - self->load_began_us) / 1000);
    if (self->foreign != 0)
        weft_trace(WEFT_TRACE_WARN, partition->shard->name, "%s: %llu records are no commits and are passed over",
                   partition->name, (unsigned long long) self->foreign);
}

static void s_load(weft_ledger_t *self, int64_t now_us)
{
    weft_partition_t *partition = self->partition;
    weft_shard_t *shard = partition->shard;
    if (now_us < self->load_retry_us) return;
    if (!partition->in_used && !weft_shard_make_room(shard)) return;
    weft_partition_used(partition);
    if (self->load_at < weft_log_start(partition->log)) self->load_at = weft_log_start(partition->log);
    weft_frame_t frame = WEFT_FRAME_EMPTY;
    weft_err_t code =
        weft_log_read(partition->log, self->load_at, S_LOAD_BYTES, true, self->load_end, shard->large_frames, &frame);
    if (code != WEFT_OK) {
        weft_partition_disk(partition, code, "read");
        self->load_retry_us = now_us + S_LOAD_RETRY_US;
        return;
    }
    weft_slice_t bytes = weft_frame_slice(&frame);
    if (bytes.size == 0) self->load_at = self->load_end; // nothing is left below it
    (void) s_load_bytes(self, bytes, now_us);
    weft_frame_drop(&frame);
    weft_offsets_durable(self->table, weft_replica_durable(partition->replica));
    if (self->load_at >= self->load_end) s_loaded(self, now_us);
}

// True once all that was inherited is durable.
static bool s_settle(weft_ledger_t *self, int64_t now_us)
{
    weft_partition_t *partition = self->partition;
    if (self->settled) return true;
    self->settled = weft_replica_durable(partition->replica) >= self->load_end;
    if (self->settled || now_us < self->nudge_us) return self->settled;
    self->nudge_us = now_us + S_NUDGE_US;
    weft_partition_durable_asked(partition, 0);
    return false;
}

// ---- turn

static bool s_loading(const weft_ledger_t *self)
{
    return self->load_at < self->load_end;
}

static int64_t s_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t s_turn(weft_ledger_t *self, int64_t now_us, bool *may_load)
{
    if (s_loading(self)) {
        if (!*may_load) return now_us;
        int64_t before = self->load_at;
        s_load(self, now_us);
        *may_load = self->load_at == before; // one did its portion
        if (s_loading(self)) return self->load_at != before ? now_us : now_us + S_NUDGE_US;
    }
    if (!s_settle(self, now_us)) return self->nudge_us;
    if (self->partition->shard->stopping) return WEFT_TIME_NEVER;
    bool idle = self->open == NULL && !self->partition->in_used;
    if (idle && !weft_shard_make_room(self->partition->shard)) return now_us + S_NUDGE_US;
    bool more = weft_ledger_delete_on(self);
    int64_t next_us = weft_ledger_expire(self, now_us);
    (void) !weft_ledger_flush(self);
    return more ? now_us : next_us;
}

int64_t weft_ledgers_turn(weft_shard_t *shard, int64_t now_us)
{
    int64_t next_us = WEFT_TIME_NEVER;
    bool may_load = true;
    for (size_t i = 0; i < shard->ledgers.count; i++)
        next_us = s_min(next_us, s_turn(shard->ledgers.items[i]->ledger, now_us, &may_load));
    return next_us;
}

void weft_ledgers_stop(weft_shard_t *shard)
{
    for (size_t i = 0; i < shard->ledgers.count; i++) {
        weft_ledger_t *self = shard->ledgers.items[i]->ledger;
        (void) !weft_ledger_flush(self);
        weft_ledger_refuse_deletions(self, WEFT_ERR_LEADER_CHANGED);
    }
}

// ---- who is asked

static weft_ledger_t *s_ready(weft_shard_t *shard, const struct weft_asker *asker, weft_partition_t *partition)
{
    weft_ledger_t *self = partition->ledger;
    weft_assert(self != NULL);
    if (s_loading(self)) {
        weft_shard_refuse(shard, asker, WEFT_ERR_COORDINATOR_LOADING,
                          "The new leader of the group's partition of __offsets still reads it; try again shortly.");
        return NULL;
    }
    bool settled = s_settle(self, weft_port_now_us(&shard->port)) && weft_replica_settled(partition->replica);
    if (!settled && !weft_mutated("unsettled_ledger_answers")) {
        weft_shard_refuse(
            shard, asker, WEFT_ERR_COORDINATOR_LOADING,
            "The new leader of the group's partition of __offsets waits until all that it inherited is on "
            "the disks of its followers; try again shortly.");
        return NULL;
    }
    return self;
}

static weft_ledger_t *s_ledger(weft_shard_t *shard, const struct weft_asker *asker, uint32_t number)
{
    const struct weft_target target = {.topic = weft_slice_text(WEFT_OFFSETS_TOPIC), .partition = number};
    weft_partition_t *partition = weft_shard_led_partition(shard, asker, &target);
    return partition == NULL ? NULL : s_ready(shard, asker, partition);
}

static const struct weft_shard_topic *s_topic(weft_shard_t *shard, const struct weft_asker *asker)
{
    const struct weft_shard_topic *topic = weft_map_get(shard->topics_by_name, weft_slice_text(WEFT_OFFSETS_TOPIC));
    if (topic != NULL || !weft_shard_has_state(shard, asker)) return topic;
    weft_shard_refuse(shard, asker, WEFT_ERR_UNKNOWN_TOPIC,
                      "There is no topic __offsets yet: send offsets_begin to the coordinator, then this again.");
    return NULL;
}

weft_ledger_t *weft_ledger_of_number(weft_shard_t *shard, const struct weft_asker *asker, uint32_t number)
{
    return s_topic(shard, asker) == NULL ? NULL : s_ledger(shard, asker, number);
}

weft_ledger_t *weft_ledger_of_group(weft_shard_t *shard, const struct weft_asker *asker, weft_slice_t group)
{
    if (weft_group_name_check(group, &shard->error) != WEFT_OK) {
        weft_shard_refuse(shard, asker, WEFT_ERR_INVALID_GROUP, shard->error.text);
        return NULL;
    }
    const struct weft_shard_topic *topic = s_topic(shard, asker);
    if (topic == NULL) return NULL;
    return s_ledger(shard, asker, weft_offsets_partition(group, topic->partition_count));
}
