// SPDX-License-Identifier: MPL-2.0
/**
 * What follow.c (links, partitions, time), follow_session.c (requests and reports) and follow_append.c (answers) share.
 * Nobody else includes this.
 */
#ifndef WEFT_BROKER_FOLLOW_SELF_H
#define WEFT_BROKER_FOLLOW_SELF_H

#include "follow.h"
#include "partition.h"
#include "ring.h"

#include <weft_gen/messages.h>

#define WEFT_FOLLOW_OUTSTANDING_MAX 2

struct weft_follow_link;

struct weft_follow_request {
    uint64_t id;
    int64_t sent_us;
};

struct weft_follow_session {
    struct weft_follow_link *link;
    bool live;         // the other one is of those that catch up
    uint64_t id;       // 0: to begin
    uint32_t sequence; // of the last request
    weft_ring_t pulls;
    weft_ring_t due; // to be named in the next request
    struct weft_partition_ref *forget;
    size_t forget_count, forget_capacity;
    struct weft_follow_request outstanding[WEFT_FOLLOW_OUTSTANDING_MAX]; // oldest first
    size_t outstanding_count;
    int64_t start_us; // nothing is sent before
    uint32_t failures;
};

struct weft_follow_link {
    struct weft_ring_node in_links;
    weft_follow_t *follow;
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    weft_link_t link;
    bool up;
    struct weft_follow_session sessions[2]; // 0: live
    weft_ring_t moved;                      // pulls whose place is to be reported
    size_t pull_count;
    int64_t blocked_us; // the transport takes nothing before
};

struct weft_pull {
    weft_partition_t *partition;
    struct weft_follow_session *session;
    struct weft_ring_node in_pulls, in_due, in_moved, in_waiting; // due, moved or waiting, or none: told
    int32_t epoch;                                                // leader epoch that it is pulled in
    bool named;                                                   // the session knows it
    uint64_t named_id;   // by this request: older answers are not for what it is now
    bool asked_to_align; // by that request
    int64_t told_start, told_end, told_synced;
    int64_t retry_us; // waiting
    uint32_t failures;
};

struct weft_follow {
    weft_shard_t *shard;
    weft_ring_t links;
    weft_ring_t waiting; // pulls that were refused, until their retry_us
    int64_t waiting_us;  // the earliest
    uint64_t next_id;
    weft_codec_t codec; // its own: what was decoded is walked while the shard goes on
    weft_buf_t buf;
    // Token bucket of those that catch up.
    int64_t bytes_per_s; // 0: no limit
    int64_t tokens, tokens_us;
    int64_t wait_us; // longest that a leader may park
    uint32_t reply_bytes;
    // Reused by each request.
    struct weft_replicate_partition *named;
    struct weft_partition_progress *progress;
};

// ---- follow.c

// Refused, or it could not be written: it is named again after a while, longer each time.
void weft_pull_wait(struct weft_pull *self, int64_t least_us);
// To be named in the next request.
void weft_pull_due(struct weft_pull *self);
weft_follow_t *weft_pull_follow(const struct weft_pull *self);
// All begins anew: what was asked is not waited for any more. `wait`: not at once.
void weft_follow_session_reset(struct weft_follow_session *self, bool wait);

// ---- follow_session.c

// Sends the requests and reports that are due over a link that is up. Returns when to be called again.
int64_t weft_follow_link_send(struct weft_follow_link *self, int64_t now_us);

// ---- follow_append.c

// One answer of a reply to request `id`, with its part of the data. May free the pull.
void weft_pull_answer(struct weft_pull *self, const struct weft_replicate_answer *answer, weft_slice_t data);

#endif
