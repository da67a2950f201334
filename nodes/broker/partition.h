// SPDX-License-Identifier: MPL-2.0
/**
 * Partition: one replica at home in a shard: its log, its pure core, the fetches parked on it.
 *
 * States: WAITING (known, log not opened yet) -> OPEN -> CLOSING (gone from the cluster; kept until the sync and the
 * compaction that are under way come back); REFUSED (damaged, or its disk failed at opening: clients get the error, others serve on). All
 * on the shard's thread.
 */
#ifndef WEFT_BROKER_PARTITION_H
#define WEFT_BROKER_PARTITION_H

#include "shard.h"

#include "../../lib/log/compact.h"
#include "../../lib/log/sync_part.h"

struct weft_compact_request; // lib/log/compact_part.h

enum weft_partition_state {
    WEFT_PARTITION_WAITING,
    WEFT_PARTITION_OPEN,
    WEFT_PARTITION_REFUSED,
    WEFT_PARTITION_CLOSING
};

struct weft_partition {
    weft_shard_t *shard;
    weft_id_t topic;
    uint32_t number;
    char *name; // "orders/3", for people
    char *directory;
    enum weft_partition_state state;
    weft_err_t refusal; // REFUSED: why
    char *refusal_text;
    struct weft_topic_settings settings;
    struct weft_replica_assignment assignment;
    bool assigned;
    weft_log_t *log; // OPEN, CLOSING
    weft_replica_t *replica;
    struct weft_wait_list fetches;
    struct weft_wait_list deletes;     // delete_records that wait for the durable mark or for followers
    struct weft_lead_entry *followers; // that pull from here (lead.h)
    struct weft_ledger *ledger;        // of __offsets, while it is led here (offsets.h)
    struct weft_pull *pull;            // from its leader (follow.h); NULL: it is not pulled
    int32_t reported_epoch;            // the last leader epoch in which a leader was told of this log; -1: none
    uint32_t syncs_in_flight;
    bool in_unopened, in_dirty, in_woken, in_used;
    bool leads, disk_full, disk_failed, delete_data;
    bool keeps_offsets; // it is one of __offsets
    bool damaged;       // there is a batch below the synced end that can't be read: not to be led here, if others can
    uint32_t damaged_count;                     // of its damaged batches, in the counter
    int64_t report_us;                          // when a report to the coordinator is due again
    int64_t damaged_at;                         // the last damaged batch met, as its reader named it; -1: none
    int64_t snapshot_at;                        // offset of the newest snapshot of the sessions, -1: none
    int64_t used_us;                            // last request
    int64_t durable_until_us;                   // somebody looks at the durable mark until then
    weft_partition_t *used_before, *used_after; // among those that may hold descriptors; in_used
    int64_t retain_us;                          // when retention is due
    weft_compact_t *compaction;                 // under way, at the compact part; NULL: none
    int64_t compact_us;                         // when it is looked at again
    int64_t compact_end, compact_end_us;        // its log's end when last looked at, and since when that is
    int64_t tombstones_due_ms;                  // Unix time when tombstones may go; INT64_MAX: none is known
    int64_t retry_us;                           // REFUSED: when to try again
};

// A new one, in the shard's lists; opened later by weft_partition_open.
weft_partition_t *weft_partition_new(weft_shard_t *shard, const struct weft_shard_topic *topic, uint32_t number);
// Opens log and sessions and takes up the assignment. REFUSED is a state, not an error.
void weft_partition_open(weft_partition_t *self);
// A REFUSED one, some time later: a full or failing disk may have recovered. DAMAGED stays.
void weft_partition_retry(weft_partition_t *self, int64_t now_us);
// The cluster's newest word about it.
void weft_partition_assign(weft_partition_t *self, const struct weft_replica_assignment *assignment);
void weft_partition_configure(weft_partition_t *self, const struct weft_topic_settings *settings);
// It is gone from this shard: all that waits is answered with `code`; freed now or when its sync is back; its data is
// removed if delete_data.
void weft_partition_close(weft_partition_t **self_p, weft_err_t code, bool delete_data);
// The end of a close whose last sync came back.
void weft_partition_closed(weft_partition_t **self_p);
// Frees it, whatever waits (the process ends, or a crash in the simulator).
void weft_partition_destroy(weft_partition_t **self_p);

// Removes a partition's directory: the cluster state says that its topic was deleted, or its replica moved away.
void weft_shard_remove_data(weft_shard_t *shard, weft_id_t topic, uint32_t partition);
// Its directory is not what it was at the start any more: what was recorded of it then says nothing.
void weft_shard_forget_found(weft_shard_t *shard, weft_id_t topic, uint32_t partition);

// Carries out all effects of the replica.
void weft_partition_effects(weft_partition_t *self);
// Somebody reads up to the durable mark: what is appended from now on is synced without delay, as if an ack waited.
void weft_partition_durable_asked(weft_partition_t *self, uint32_t wait_ms);
/**
 * Appends a stamped batch that the replica's verdict for `produce` wants appended, and tells the replica how that went:
 * effects follow. payload nil: `head` is the whole batch.
 */
void weft_partition_append(weft_partition_t *self, weft_slice_t head, weft_slice_t payload,
                           const struct weft_batch *stamped, const struct weft_replica_produce *produce);
// After an append: it wants the next group commit; urgent: somebody waits for it.
void weft_partition_dirty(weft_partition_t *self, bool urgent);
// A read, write or sync failed, or went well again (WEFT_OK): keeps the gauges and the notice.
void weft_partition_disk(weft_partition_t *self, weft_err_t code, const char *doing);
// Somebody waits for the durable mark, or reads up to it.
bool weft_partition_durable_wanted(const weft_partition_t *self);
// A reader met a bad batch at `offset`: if it is bad on the disk, the operator is told.
void weft_partition_suspect(weft_partition_t *self, int64_t offset);
// The same, known to be bad: counts it, sets the notice, traces. Nothing if it was the last one told of.
void weft_partition_damaged(weft_partition_t *self, int64_t offset, const char *place);
// Snapshot of the sessions as they are after all records below `offset`; done already: nothing.
void weft_partition_snapshot(weft_partition_t *self, int64_t offset);
// The log starts at `offset` from now on (leader: not above the durable mark). Errors as of weft_log_trim, and as there it may have moved all the same.
WEFT_MUST_USE weft_err_t weft_partition_trim(weft_partition_t *self, int64_t offset);
// Takes up where the log starts by now.
void weft_partition_trimmed(weft_partition_t *self);

// ---- partition_files.c

// How many logs a shard may have open: its share of the process's descriptors.
size_t weft_shard_open_max(size_t shard_count);
// Closes what was not used for longest until one more log may be opened. False: all of it waits for its sync first.
bool weft_shard_make_room(weft_shard_t *shard);
// Its log is about to be used.
void weft_partition_used(weft_partition_t *self);
// Closes the files of its log, if that is synced.
void weft_partition_idle(weft_partition_t *self);
// It has no log any more.
void weft_partition_unuse(weft_partition_t *self);

// ---- partition_heal.c

// The replica wants another in-sync set: asks for it.
void weft_partition_ask(weft_partition_t *self, const struct weft_replica_assignment *wanted);
/**
 * Tells the coordinator, once a second, what it has to know to go on: what this replica holds while nobody leads, or
 * that it can't be served. A damaged one that nobody counts on any more is set aside and built anew from its leader
 * (REPLICATION.md rule 9). Cheap where there is nothing to tell.
 */
void weft_partition_report(weft_partition_t *self, int64_t now_us);

// ---- partition_compact.c

// From the sweep: closes the active segment and begins a run where that is due.
void weft_partition_compact(weft_partition_t *self, int64_t now_us);
// A run under way is to end soon; weft_shard_compacted follows.
void weft_partition_compact_cancel(weft_partition_t *self);
// A run is back.
void weft_shard_compacted(weft_shard_t *shard, struct weft_compact_request *request);

// ---- partition_sync.c

// Posts one group commit for all dirty logs of the shard. False: nothing was dirty.
bool weft_shard_sync_post(weft_shard_t *shard);
// Until when a sync that somebody waits for may wait for more to be written; 0: not at all.
int64_t weft_shard_gathers_until(const weft_shard_t *shard);
// The data of a deleted topic's partition is gone: the checkpoint forgets it.
void weft_shard_sync_forget(weft_shard_t *shard, weft_id_t topic, uint32_t partition);
void weft_shard_synced(weft_shard_t *shard, struct weft_sync_request *request);
// Retention, idle logs and the replica's clock; a bounded number a call. True: the sweep goes on.
bool weft_shard_sweep(weft_shard_t *shard, int64_t now_us);

#endif
