// SPDX-License-Identifier: MPL-2.0
/**
 * Broker, inside: what its parts share. Programs use weft_node_broker (lib/wire/node.h).
 *
 * A broker is one control part (talks to the coordinators), N shard parts (own the partitions, serve clients) and one
 * sync part (lib/log/sync_part.h). Parts share nothing that changes, but for the atomics below; all else goes by mail:
 *
 *     control -> every shard   JOINED       the incarnation that this start registered under
 *                              UPDATE       commands of the cluster state, as pushed by the coordinator; each shard
 *                                           applies them to a copy of its own
 *     shard   -> sync          SYNC         dirty logs; comes back as SYNCED
 *     shard   -> control       ASK          a led partition wants another in-sync set; the control part batches these into
 *                                           in_sync_change. Not answered: the answer is the state's next change, and
 *                                           the replica asks again until it comes
 *     shard   -> control       REPORT       what a replica holds whose partition waits for a leader, or that it can't
 *                                           be served; likewise repeated by the shard until the state changes
 *
 *     shard   -> control       GROUPS       does the coordinator know these consumer groups? Comes back, with or without
 *                                           an answer
 *
 * A shard has two doors (ROUTERs): one for clients, one for other brokers' replication, drained first, so that a backlog
 * of producers never delays replicas (REPLICATION.md rule 8). It opens links of its own to the replication doors of the
 * leaders that it follows.
 *
 * So a shard answers everything (also metadata) from what it holds itself, and goes on when the control part hears
 * nobody (I10).
 */
#ifndef WEFT_BROKER_BROKER_H
#define WEFT_BROKER_BROKER_H

#include "../../lib/base/trace.h"
#include "../../lib/log/checkpoint.h"
#include "../../lib/log/identity.h"
#include "../../lib/wire/node.h"

#define WEFT_BROKER_SHARDS_MAX 64

enum {
    WEFT_MAIL_BROKER_JOINED = 0x4201, // body: struct weft_broker_joined
    WEFT_MAIL_BROKER_UPDATE = 0x4202, // body: weft_update_t (update.h), one reference
    WEFT_MAIL_BROKER_ASK = 0x4203,    // body: struct weft_broker_ask
    WEFT_MAIL_BROKER_REPORT = 0x4204, // body: struct weft_broker_report
    WEFT_MAIL_BROKER_GROUPS = 0x4205  // body: struct weft_broker_groups (offsets.h), there and back
};

/** For in_sync_change: epochs and incarnations as the replica knew them when it decided. */
struct weft_broker_ask {
    weft_id_t topic;
    uint32_t partition;
    int32_t leader_epoch, partition_epoch;
    size_t member_count; // of the set wanted
    struct {
        int32_t broker;
        weft_id_t incarnation;
    } members[16];
};

/** For partition_report. */
struct weft_broker_report {
    weft_id_t topic;
    uint32_t partition;
    int32_t leader_epoch; // of the assignment in force
    int32_t last_epoch;   // of the last batch, -1: none
    int64_t log_end;      // all below is synced
    bool damaged;
};

struct weft_broker_joined {
    weft_id_t incarnation;
};

/**
 * A partition that was in the data directory at the start, or in its checkpoint, with the synced end recorded there.
 */
struct weft_broker_found {
    weft_id_t topic;
    uint32_t partition;
    int64_t synced_end;
    bool missing; // it has no directory: opened, it is damaged
};

/** What went wrong last in one part, for weft_node.health: written by its part, read by any thread (health.c). */
#define WEFT_BROKER_NOTICE_WORDS ((WEFT_ERROR_TEXT_BYTES_MAX + 7) / 8)
struct weft_broker_notice {
    _Atomic bool set;
    _Atomic uint32_t version; // odd while it is written
    _Atomic uint64_t words[WEFT_BROKER_NOTICE_WORDS];
};

/** What a shard lets other threads read. */
struct weft_broker_shard {
    weft_part_id_t id;
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];         // as others are told
    char replica_endpoint[WEFT_ENDPOINT_BYTES_MAX]; // of its second door, as other brokers are told
    weft_counters_t counters;
    _Atomic int64_t turn_us;          // port time of its last completed turn, 0 before the first
    struct weft_broker_notice notice; // counts while a partition is refused (counters tell)
    struct weft_broker_notice damage; // the first damaged batch that was met
};

enum weft_broker_standing {
    WEFT_BROKER_STARTING, // not registered yet
    WEFT_BROKER_JOINED,   // registered, heard lately
    WEFT_BROKER_ALONE,    // registered, but no coordinator answers: serves on
    WEFT_BROKER_REJECTED, // a coordinator refused it for good (another cluster, id in use)
    WEFT_BROKER_LEAVING   // a clean stop is under way
};

struct weft_broker {
    struct weft_node base;
    // Constant once the world runs.
    weft_options_t *options;
    const struct weft_disk *disk;
    char *data; // directory
    int32_t id;
    size_t shard_count;
    bool was_clean;                  // the last stop of this data directory was
    struct weft_broker_found *found; // sorted by topic, partition
    size_t found_count;
    weft_part_id_t control_id, compact_id, sync_id;
    struct weft_part *sync; // only for weft_sync_part_busy_us and _vouch
    int64_t started_ms;     // Unix time
    // The control part's alone once the world runs.
    weft_identity_t *identity;
    // Atomics inside.
    weft_counters_t counters; // of control
    _Atomic int standing;     // enum weft_broker_standing
    _Atomic bool disk_failed; // a log is broken for good (rule 11): set by any shard, told to the coordinator
    struct weft_broker_notice notice;
    struct weft_broker_shard shards[WEFT_BROKER_SHARDS_MAX];
};

// In place of what it said before. Set and clear: only the part that owns it.
void weft_broker_notice_set(struct weft_broker_notice *notice, const char *text);
void weft_broker_notice_clear(struct weft_broker_notice *notice); // the cause is gone
bool weft_broker_notice_is_set(const struct weft_broker_notice *notice);
enum weft_health weft_broker_health(const struct weft_node *node, char *sentence, size_t sentence_bytes);
// The synced end recorded for a partition at the start, or when it was last closed since; 0 if unknown.
int64_t weft_broker_found_end(const struct weft_broker *self, weft_id_t topic, uint32_t partition);
// Likewise from now on, for one that was stored at the start. Only by the shard that holds the partition.
void weft_broker_found_keep(struct weft_broker *self, weft_id_t topic, uint32_t partition, int64_t synced_end);
// "<data>/topics/<topic id>/<partition>"; the caller frees it. partition -1: the topic's directory.
char *weft_broker_directory(const struct weft_broker *self, weft_id_t topic, int64_t partition);

struct weft_part *weft_control_new(struct weft_broker *broker);
struct weft_part *weft_shard_new(struct weft_broker *broker, size_t number);

#endif
