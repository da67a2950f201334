// SPDX-License-Identifier: MPL-2.0
/**
 * History: what clients sent, were told and saw, and the checkers over it (I1 to I4; oracles O1 to O5 of FAULTS.md).
 *
 * For each partition it keeps the truth: which record stands at which offset, as first learnt from an answer or a read, and how firmly (DESIGN.md
 * section 5). *Durable* truth (an answer or a read at level durable) holds for ever. *Committed* truth holds until all machines of an in-sync set that
 * was in force lost power after the record was sent: one that keeps it is enough. What they lost before somebody left the set does not count: those who
 * die at once are missed one after the other, and the last of them is not all that is left (sim_sets.h). What a *leader* alone acknowledged holds while
 * nobody else leads and its machine keeps its power. A person's unclean election ends all promises for its partition.
 *
 * A record's value tells who it is and is filled from its name, so that any byte that is not its own shows.
 */
#ifndef WEFT_TESTS_SIM_HISTORY_H
#define WEFT_TESTS_SIM_HISTORY_H

#include "../../lib/base/bytes.h"
#include "sim_sets.h"

#include <weft/record.h>

#define SIM_TOPICS_MAX 4
#define SIM_PARTITIONS_MAX 4

enum sim_fate { SIM_SENT, SIM_ACKED, SIM_NOT_APPLIED, SIM_MAYBE_APPLIED };
enum sim_promise { SIM_PROMISE_NONE, SIM_PROMISE_LEADER, SIM_PROMISE_COMMITTED, SIM_PROMISE_DURABLE };

struct sim_record {
    uint32_t producer, sequence; // sequence: of this producer in this partition, from 0
    uint8_t topic, partition;
    enum sim_fate fate;
    uint32_t value_bytes;
    int64_t sent_us, acked_us, committed_us, offset; // committed_us: when somebody was first told; 0: never
    uint32_t final_count;                            // times it stands in the final log
    uint32_t handed;                                 // to consumer groups, as bits
    bool tombstone;                                  // its value is nil
};

struct sim_writer { // what is known of a producer
    bool idempotent;
    enum sim_promise promise; // of its answers
    bool by_edge;
};

typedef struct sim_history sim_history_t;

struct sim_history_stats {
    uint64_t sent, acked, not_applied, maybe_applied, read, read_again, deleted_offsets, final_records, duplicates;
};

sim_history_t *sim_history_new(void);
void sim_history_destroy(sim_history_t **self_p);

// The first thing that went wrong, NULL while nothing did.
const char *sim_history_violation(const sim_history_t *self);
void sim_history_violate(sim_history_t *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
const struct sim_history_stats *sim_history_stats(const sim_history_t *self);

// Whether retention may delete from it.
void sim_history_retained(sim_history_t *self, int topic, int partition);
// Of a key the newest may be all that is left. A tombstone stays, or goes when its time is over.
void sim_history_compacted(sim_history_t *self, int topic, bool tombstones_stay);
uint32_t sim_history_key(const struct sim_record *record); // of a record of such a topic
// May a reader of such a topic go on there: has each key something newer than what is passed?
bool sim_history_may_be_compacted(const sim_history_t *self, int topic, int partition, int64_t from, int64_t to);
// What was decided about a partition (brokers as bits): the leader (-1: none), who has all that is committed (in sync, or eligible), who left
// these lately and is still a candidate, and who is asked for nothing any more: no replica, or damaged.
struct sim_decision {
    int32_t leader;
    uint32_t had_all, leavers, gone;
};
void sim_history_decided(sim_history_t *self, int topic, int partition, int64_t now_us, const struct sim_decision *it);
// A person let a replica lead that may lack what was promised.
void sim_history_unclean(sim_history_t *self, int topic, int partition);
bool sim_history_only_on(const sim_history_t *self, int topic, int partition, int32_t broker); // in sync is nobody else
// What is known to be committed, and was told so by then, ends here (the highest offset, plus one; 0: nothing known).
int64_t sim_history_committed_end(const sim_history_t *self, int topic, int partition, int64_t by_us);
// The topic is deleted and made again: no truth is kept, but what was acknowledged before a deletion was asked for must not be there in the end.
void sim_history_fickle(sim_history_t *self, int topic);
void sim_history_topic_deleted(sim_history_t *self, int topic, int64_t asked_us); // surely
// An edge renamed a session that the cluster had forgotten (with records that were not durable): what it delivers again may be there.
void sim_history_renamed(sim_history_t *self);
void sim_history_power_lost(sim_history_t *self, int32_t broker, int64_t now_us);
void sim_history_data_lost(sim_history_t *self, int32_t broker, int64_t now_us); // synced or not

// ---- producers

uint32_t sim_history_writer(sim_history_t *self, const struct sim_writer *writer); // its number
// A record to be sent; its value is appended to `value`. Kept by the history.
struct sim_record *sim_history_send(sim_history_t *self, uint32_t producer, int topic, int partition,
                                    uint32_t value_bytes, int64_t now_us, weft_buf_t *value);
void sim_history_unsend(sim_history_t *self, struct sim_record *record); // it was not taken
void sim_history_acked(sim_history_t *self, struct sim_record *record, int64_t offset, int64_t now_us);
void sim_history_failed(sim_history_t *self, struct sim_record *record, bool maybe_applied);
void sim_history_abandon(sim_history_t *self,
                         uint32_t producer); // its process died: whatever has no answer may be applied
uint64_t sim_history_unanswered(const sim_history_t *self, uint32_t producer);

// ---- consumers

// A record was handed out. `durable`: by a reader at level durable. NULL: nobody sent it, which is a violation,
// or (a tombstone) it is not known who.
struct sim_record *sim_history_read(sim_history_t *self, const char *reader, int topic,
                                    const struct weft_record_view *view, bool durable, int64_t now_us);
// Somebody asked to delete below `before`; `done`: and was told that it starts there now.
void sim_history_delete(sim_history_t *self, int topic, int partition, int64_t before, bool done);
int64_t sim_history_deleted(const sim_history_t *self, int topic, int partition); // all below may be gone
// May a reader that stood at `from` go on at `to`, forward, because all in between was deleted?
bool sim_history_may_skip(const sim_history_t *self, int topic, int partition, int64_t from, int64_t to);
// May records of it have been lost that such a reader has seen? Only then may it be sent back.
bool sim_history_may_diverge(const sim_history_t *self, int topic, int partition, bool durable);

// A group committed that all of [from, to) is done with: every record known to be durable there was handed to it (at least once).
void sim_history_passed(sim_history_t *self, int group, int topic, int partition, int64_t from, int64_t to);
// Likewise of all that stands in the final log from there on.
void sim_history_final_handed(sim_history_t *self, int group, int topic, int partition, int64_t from);

// ---- the end: the whole log, read once more by one reader, in order of offsets

void sim_history_final_begin(sim_history_t *self, int topic, int partition, int64_t log_start);
void sim_history_final_record(sim_history_t *self, int topic, const struct weft_record_view *view);
void sim_history_final_end(sim_history_t *self, int topic, int partition, int64_t log_end);

#endif
