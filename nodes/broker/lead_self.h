// SPDX-License-Identifier: MPL-2.0
/** What lead.c (sessions, entries) and lead_answer.c (answers) share. Nobody else includes this. */
#ifndef WEFT_BROKER_LEAD_SELF_H
#define WEFT_BROKER_LEAD_SELF_H

#include "lead.h"
#include "partition.h"
#include "ring.h"

#include "../../lib/base/rand.h"

#define WEFT_LEAD_BYTES_MAX ((uint32_t) 32 << 20) // of one answer

/** A partition that could not be named; told with the next answer. */
struct weft_lead_error {
    weft_id_t topic;
    uint32_t partition;
    weft_err_t code;
    int64_t log_start;
};

struct weft_lead_session {
    weft_lead_t *lead;
    uint64_t id, number; // number: in the order in which they were begun
    uint32_t sequence;   // of its last request
    int32_t broker;
    weft_id_t incarnation;
    struct weft_peer peer;  // from which its last request came
    struct weft_wait *wait; // the request that is parked; NULL: none
    uint32_t max_bytes;     // of it
    bool fresh;             // its id was not told yet: the first request is answered at once
    int64_t used_us;
    weft_ring_t all, ready[2], moved; // entries; ready: first those that count for the marks
    struct weft_ring_node in_order, in_woken;
    struct weft_lead_error *errors;
    size_t error_count, error_capacity;
};

struct weft_lead_entry {
    struct weft_lead_session *session;
    weft_partition_t *partition;
    struct weft_lead_entry *next; // of the same partition
    struct weft_ring_node in_session, in_ready, in_moved;
    int32_t leader_epoch;
    int64_t offset, synced_end; // as named
    int64_t sent_lazily;        // all below was sent, the last of it without saying that somebody waits
    int32_t last_epoch;
    uint32_t max_bytes;
    uint32_t stalls;
    bool align;    // it asks where its last_epoch ends
    bool awaiting; // data was sent: nothing more before it is named again
};

struct weft_lead {
    weft_shard_t *shard;
    weft_rand_t rand;
    weft_map_t *sessions; // by id
    uint64_t begun;       // sessions, ever
    weft_ring_t order;    // the longest unused first
    weft_ring_t woken;
    int64_t retry_us; // when those that had no room are tried again
    // Reused by each answer.
    struct weft_replicate_answer *answers;
    size_t answer_count, answer_capacity;
    weft_frame_t *frames;
    size_t frame_count, frame_capacity;
    size_t data_bytes;
};

enum weft_lead_why { WEFT_LEAD_WHAT_THERE_IS, WEFT_LEAD_AT_ONCE, WEFT_LEAD_TIME_IS_UP };

/**
 * Answers the parked request of a session with errors, alignments and data; with the marks that moved, too, if its time
 * is up. WHAT_THERE_IS: stays parked if that is nothing.
 */
void weft_lead_answer(struct weft_lead_session *session, enum weft_lead_why why);

#endif
