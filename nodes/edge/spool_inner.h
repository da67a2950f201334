// SPDX-License-Identifier: MPL-2.0
/**
 * What spool.c (all of it), keep.c (keeping), drain.c (delivering) and spool_files.c (what stands beside the logs) share.
 */
#ifndef WEFT_EDGE_SPOOL_INNER_H
#define WEFT_EDGE_SPOOL_INNER_H

#include "spool.h"

#include "../../lib/log/identity.h"

#define WEFT_DRAIN_WINDOW 16 // batches under way, well below the session window of the core
#define WEFT_DRAIN_BYTES (4 << 20)
#define WEFT_DRAIN_ACTIVE 32 // partitions that are delivered at the same time

/** What is known of a producer in one partition's spool: the sequence that may come next. */
struct weft_spool_session {
    int16_t epoch;
    int32_t next;
};

/** A session goes on under another identity: its batches from an offset and a sequence on. */
struct weft_spool_name {
    int64_t producer_id;
    int16_t epoch;
    int64_t from_offset;
    int64_t new_id;
    int32_t base_sequence; // has sequence 0 of the new one
};

/** A batch on its way to the core. */
struct weft_drain {
    struct weft_call call;
    struct weft_spooled *spooled;
    int64_t offset, end;
    size_t bytes;
    bool under_way, done;
    weft_err_t error;
    char text[256];
};

struct weft_spooled {
    weft_spool_t *spool;
    weft_id_t topic_id;
    uint32_t partition;
    struct weft_edge_lane *lane; // NULL: its topic is not known (yet)
    weft_log_t *log;
    // Keeping.
    weft_map_t *sessions; // struct weft_spool_session by producer id
    int64_t own_id;       // of batches that came without an identity; -1: none drawn
    int32_t own_next;
    struct weft_edge_list kept; // to be answered once synced
    bool dirty, syncing;
    int64_t oldest_us; // since when something is in it
    // Delivering.
    int64_t position; // all below is delivered
    int64_t next;     // first offset not under way
    struct weft_drain flight[WEFT_DRAIN_WINDOW];
    size_t first, count; // in flight, from the oldest
    size_t flight_bytes;
    int64_t flight_id; // identity of those
    int16_t flight_epoch;
    bool failing;
    uint32_t tries;
    int64_t retry_us;
    weft_frame_t read; // batches read, from read_at on
    size_t read_at;
    int64_t trimmed_us;
    uint64_t batches; // not delivered
    int64_t missing_us;
    uint64_t missing_updates;
    struct weft_spool_name *names;
    size_t name_count;
};

struct weft_spool {
    const struct weft_disk *disk;
    char *directory;
    char name[WEFT_NODE_NAME_BYTES_MAX];
    weft_identity_t *identity;
    weft_part_id_t sync_id;
    weft_edge_part_t *edge;
    struct weft_spooled **logs;
    size_t count;
    int64_t bytes; // of their files
    weft_frame_pool_t *pool;
    weft_rand_t rand;
    size_t syncs_in_flight;
    size_t active; // partitions with batches under way
    bool any_dirty;
    uint64_t topics_updates; // view.updates when the file `topics` was looked at
    int64_t topics_us;
    weft_buf_t topics; // as written last
    weft_file_t *dead, *renamed;
    int64_t dead_bytes, renamed_bytes;
    bool joined;
    weft_buf_t scratch, packed;
    int64_t next_us;
    // Options.
    int64_t bytes_max, after_us, max_us;
};

// ---- spool.c

struct weft_spooled *weft_spool_find(const weft_spool_t *self, weft_id_t topic_id, uint32_t partition); // NULL: none
// Opens (or makes) the log of a partition and adds it to the list.
WEFT_MUST_USE weft_err_t weft_spool_open(weft_spool_t *self, weft_id_t topic_id, uint32_t partition, int64_t synced_end,
                                         struct weft_spooled **out, struct weft_error *error);
void weft_spool_count(weft_spool_t *self);          // the gauges
void weft_spool_emptied(struct weft_spooled *self); // all is delivered: it may begin anew

// ---- keep.c

void weft_spool_note(struct weft_spooled *self, const struct weft_batch *batch); // what comes next in its session
void weft_spool_sessions_clear(struct weft_spooled *self);

// ---- drain.c

int64_t weft_drain_turn(struct weft_spooled *self, int64_t now_us); // when to call again
void weft_drain_fini(struct weft_spooled *self);
bool weft_drain_owns(const struct weft_call *call);

// ---- spool_files.c

char *weft_spool_path(const weft_spool_t *self, const char *name); // the caller frees it
// `topics`: names, ids and partition counts, so that a start without the core knows what is produced to.
void weft_spool_topics_load(weft_spool_t *self);
void weft_spool_topics_turn(weft_spool_t *self, int64_t now_us);
// `renamed`: read at the start, written before a name is used.
WEFT_MUST_USE weft_err_t weft_spool_names_load(weft_spool_t *self, struct weft_error *error);
WEFT_MUST_USE weft_err_t weft_spool_name_add(struct weft_spooled *self, const struct weft_spool_name *name);
void weft_spool_names_clear(struct weft_spooled *self); // all is delivered
// `dead-letters`: durable when it returns.
WEFT_MUST_USE weft_err_t weft_spool_dead(struct weft_spooled *self, weft_slice_t batch, weft_err_t error,
                                         const char *text);

#endif
