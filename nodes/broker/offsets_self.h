// SPDX-License-Identifier: MPL-2.0
/**
 * The inside of the ledger, shared by its files: offsets.c (life, reading the log), offsets_batch.c (what is appended,
 * and who waits for it), offsets_commit.c and offsets_admin.c (requests), offsets_expire.c. For nobody else.
 */
#ifndef WEFT_BROKER_OFFSETS_SELF_H
#define WEFT_BROKER_OFFSETS_SELF_H

#include "offsets.h"
#include "partition.h"

#include "../../lib/base/map.h"
#include "../../lib/core/offsets.h"

/** A request that waits for a batch. */
struct weft_ledger_ask {
    struct weft_asker asker;
    uint8_t *reply; // encoded; NULL: an answer with nothing in it
    size_t reply_size;
};

struct weft_ledger_batch {
    weft_ledger_t *ledger;
    struct weft_ledger_batch *next, *previous; // of those that were appended and wait
    struct weft_wait *wait;
    int64_t first; // offset of its first record
    bool appended;
    struct weft_ledger_ask *asks;
    size_t ask_count, ask_capacity;
    size_t bytes; // of all replies
};

/** Deletion of a whole group, a portion a turn. */
struct weft_ledger_deletion {
    struct weft_asker asker;
    char *group;
    size_t group_size;
    uint64_t token;
    uint32_t deleted;
};

enum weft_ledger_sweep { WEFT_SWEEP_REST, WEFT_SWEEP_LOOK, WEFT_SWEEP_ASKED, WEFT_SWEEP_DELETE };

struct weft_ledger {
    weft_partition_t *partition;
    weft_offsets_t *table;
    // Reading the log.
    int64_t load_at, load_end; // equal: all is read
    int64_t load_retry_us;
    int64_t load_began_us;
    uint64_t foreign; // records that nobody here wrote
    bool settled;     // all that was inherited is durable
    int64_t nudge_us; // when to ask for syncs again
    // What is appended next, and what was.
    weft_batch_builder_t builder;
    weft_buf_t packed, key, value;
    struct weft_ledger_batch *open;   // records in `builder`, askers; NULL: neither
    struct weft_ledger_batch *newest; // appended last and still waiting, those before it follow; NULL: none
    size_t asks_waiting;
    weft_err_t refusal; // of the last batch that could not be appended
    struct weft_ledger_deletion *deletions;
    size_t deletion_count;
    // Expiry.
    enum weft_ledger_sweep sweep;
    int64_t sweep_us; // when to go on
    int64_t retention_ms;
    size_t sweep_from, sweep_at, sweep_to; // places of the table
    weft_map_t *suspects;                  // groups asked about, then those that nobody knows
    weft_id_t sweep_topic;                 // the last one looked up
    bool sweep_topic_gone;
    uint64_t expired;
};

// ---- offsets.c

// The ledger of a group's partition, ready to answer; else NULL, and the asker was refused.
weft_ledger_t *weft_ledger_of_group(weft_shard_t *shard, const struct weft_asker *asker, weft_slice_t group);
weft_ledger_t *weft_ledger_of_number(weft_shard_t *shard, const struct weft_asker *asker, uint32_t number);

// What the tables of the other ledgers of this shard take, for weft_ledger_fits.
size_t weft_ledger_bytes_beside(const weft_ledger_t *self);
// Is there memory for it? OVERLOADED, with a sentence in the shard's error.
WEFT_MUST_USE weft_err_t weft_ledger_fits(const weft_ledger_t *self, const struct weft_offset_key *key,
                                          size_t metadata_size, size_t bytes_beside);

// ---- offsets_batch.c

// Makes a record of it (value NULL: a tombstone), applied at once. Not OK: a batch before it could not be appended; what
// waited for that was refused, and nothing was added.
WEFT_MUST_USE weft_err_t weft_ledger_add(weft_ledger_t *self, const struct weft_offset_key *key,
                                         const struct weft_offset_value *value);
// Answers `reply` (nil: nothing but the id) once all that was added by now is durable. False: nothing waits for the mark
// that would tell, add something.
bool weft_ledger_park(weft_ledger_t *self, const struct weft_asker *asker, weft_slice_t reply);
bool weft_ledger_may_park(const weft_ledger_t *self);
WEFT_MUST_USE weft_err_t weft_ledger_flush(weft_ledger_t *self);
void weft_ledger_refuse_all(weft_ledger_t *self); // it is not led here any more
void weft_ledger_drop_all(weft_ledger_t *self);   // answers nobody
bool weft_ledger_crowded(const weft_ledger_t *self);

// ---- offsets_admin.c

bool weft_ledger_delete_on(weft_ledger_t *self); // true: there is more to do
void weft_ledger_refuse_deletions(weft_ledger_t *self, weft_err_t code);

// ---- offsets_expire.c

int64_t weft_ledger_expire(weft_ledger_t *self, int64_t now_us);
// Somebody uses the group: what was found out about it is old.
void weft_ledger_touch(weft_ledger_t *self, weft_slice_t group);
void weft_ledger_sweep_fini(weft_ledger_t *self);

#endif
