// SPDX-License-Identifier: MPL-2.0
/**
 * What the files of the producer part share: topics, partitions, batches.
 *
 * producer_part.c takes records in and closes batches, producer_topic.c knows the topics, producer_dispatch.c sends
 * them and hears the answers, producer_report.c tells the program.
 */
#ifndef WEFT_CLIENT_PRODUCER_INNER_H
#define WEFT_CLIENT_PRODUCER_INNER_H

#include "../wire/batch.h"
#include "producer_part.h"
#include "requests.h"

enum weft_producer_counter {
    WEFT_PRODUCER_RECORDS,
    WEFT_PRODUCER_DELIVERED,
    WEFT_PRODUCER_FAILED,
    WEFT_PRODUCER_BATCHES,
    WEFT_PRODUCER_BATCH_BYTES,
    WEFT_PRODUCER_RETRIES,
    WEFT_PRODUCER_DUPLICATES,
    WEFT_PRODUCER_IDENTITIES,
    WEFT_PRODUCER_REFUSED,
    WEFT_PRODUCER_LINKS_LOST,
    WEFT_PRODUCER_REDIRECTS,
    WEFT_PRODUCER_REROUTES,
    WEFT_PRODUCER_STRAY,
    WEFT_PRODUCER_COUNTERS
};

enum weft_pbatch_state {
    WEFT_PBATCH_READY,  // to be sent (again)
    WEFT_PBATCH_SENT,   // waits for its answer
    WEFT_PBATCH_RESTAMP // surely not written: goes on under the next identity
};

struct weft_pbatch_future {
    uint32_t index;
    weft_delivery_t *delivery;
};

/** What is remembered of the records of one batch, only where it was asked for. Memory is kept from batch to batch. */
struct weft_ptags {
    void **opaques; // count entries once one is not NULL
    size_t opaque_count, opaque_capacity;
    struct weft_pbatch_future *futures;
    size_t future_count, future_capacity;
};

/** A closed batch, until it is reported. */
struct weft_pbatch {
    struct weft_call call; // context: the batch
    struct weft_ppartition *partition;
    struct weft_pbatch *previous, *next; // in order of sequence
    weft_shared_t *bytes;
    size_t size;
    uint32_t count;
    enum weft_pbatch_state state;
    bool in_doubt; // an attempt may have been applied
    bool given;    // by the program, with an identity that is the program's (producer_given.c)
    void *opaque;  // of a given one
    int32_t after_sequence;
    bool duplicate;
    int64_t opened_us;
    int64_t deadline_us;
    weft_err_t last_error;
    struct weft_ptags tags;
};

struct weft_ppartition {
    struct weft_topic *topic;
    int32_t index;
    bool active;              // in the part's list of partitions with something to do
    bool broken;              // a batch was given up: a new identity is due once nothing is in doubt
    int32_t spooled_sequence; // of the newest batch that only the spool of an edge has, as far as is known; -1: none
    weft_link_t spooled_by;   // the link to that edge; 0: there are several
    int64_t identity;         // producer id, 63 random bits
    int16_t epoch;
    int32_t next_sequence;
    weft_batch_builder_t builder; // the open batch
    struct weft_ptags tags;       // of the open batch
    int64_t opened_us;
    size_t open_bytes_before;         // of the batch closed last, uncompressed
    struct weft_pbatch *first, *last; // closed, unanswered
    uint32_t in_flight;
    uint32_t tries;   // attempts in a row that failed
    int64_t retry_us; // nothing is sent before
};

struct weft_topic {
    struct weft_producer_part *part;
    struct weft_view_topic *view;
    struct weft_ppartition **partitions;
    int32_t partition_count;
    int32_t made_count; // of `partitions`: a topic that was replaced by one with fewer keeps what it has
    int32_t sticky;     // -1: choose again
    uint32_t round_robin;
    weft_buf_t pending; // records that came before the partitions were known: struct weft_ppending and bytes
    size_t pending_count;
    int64_t pending_us; // since
};

struct weft_ppending {
    int32_t partition;
    bool key_nil, value_nil, headers_nil;
    uint32_t key_bytes, value_bytes, headers_bytes;
    int64_t timestamp_ms;
    void *opaque;
    weft_delivery_t *delivery;
};

struct weft_producer_part {
    struct weft_part base;
    weft_port_t port;
    bool started, stopping;
    weft_view_t view;
    weft_requests_t requests;
    uint64_t updates_seen; // view.updates that were taken in
    weft_rand_t rand;
    weft_counters_t counters;
    // options
    char client[129];
    size_t batch_bytes, buffer_bytes;
    int64_t linger_us, delivery_us, attempt_us;
    uint32_t in_flight_max;
    enum weft_codec codec;
    bool idempotent, durable, spool, answered, round_robin;
    const char *acks;
    // reports
    weft_report_fn *report;
    void *report_context;
    weft_batch_report_fn *batch_report;
    void *batch_report_context;
    weft_partitioner_fn *partitioner;
    void *partitioner_context;
    // state
    weft_topic_t **topics;
    size_t topic_count;
    struct weft_ppartition **active;
    size_t active_count, active_capacity;
    struct weft_pbatch *spare; // batches to use again, linked by next
    weft_buf_t *spare_buffers;
    size_t spare_buffer_count, spare_buffer_max; // as many as fit in buffer.bytes: fresh memory costs page faults
    size_t waiting_count, waiting_bytes;
    uint64_t reported_batches;
    bool wants_turn;  // there is something to do at once
    bool changed;     // since the last turn: what that one wished for may be too late
    weft_err_t fatal; // PRODUCER_FENCED, WRONG_CLUSTER: nothing more is taken
    weft_err_t first_error;
    char first_error_text[WEFT_ERROR_TEXT_BYTES_MAX];
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
};

// producer_part.c
void weft_producer_close_batch(weft_producer_part_t *self, struct weft_ppartition *partition);
void weft_producer_activate(weft_producer_part_t *self, struct weft_ppartition *partition);
int32_t weft_producer_choose(weft_producer_part_t *self, weft_topic_t *topic, weft_slice_t key, weft_slice_t value);
// The record is taken: into the open batch of its partition. bound: weft_record_bytes_bound of it.
void weft_producer_append(weft_producer_part_t *self, struct weft_ppartition *partition, size_t bound, weft_slice_t key,
                          weft_slice_t value, weft_slice_t headers, int64_t timestamp_ms, void *opaque,
                          weft_delivery_t *delivery);

// A closed batch behind the others of its partition. Takes the bytes; size, count and times are set.
void weft_producer_queue(weft_producer_part_t *self, struct weft_pbatch *batch, weft_buf_t *bytes);
weft_buf_t weft_producer_buffer(weft_producer_part_t *self); // an empty one, with memory if there is some to spare

// producer_topic.c
void weft_producer_topic_updated(weft_producer_part_t *self, weft_topic_t *topic, int64_t now_us);
void weft_producer_pend(weft_producer_part_t *self, weft_topic_t *topic, int32_t partition, weft_slice_t key,
                        weft_slice_t value, weft_slice_t headers, int64_t timestamp_ms, void *opaque,
                        weft_delivery_t *delivery);
// error WEFT_OK: the partitions are known, the records go their way; else they are reported.
void weft_producer_release_pending(weft_producer_part_t *self, weft_topic_t *topic, weft_err_t error, const char *text);

// producer_dispatch.c
int64_t weft_producer_partition_turn(weft_producer_part_t *self, struct weft_ppartition *partition, int64_t now_us);
void weft_producer_fail_partition(weft_producer_part_t *self, struct weft_ppartition *partition, weft_err_t error,
                                  const char *text);
void weft_producer_fail_all(weft_producer_part_t *self, weft_err_t error, const char *text);
void weft_producer_identity_draw(weft_producer_part_t *self, struct weft_ppartition *partition);

// producer_report.c
struct weft_pbatch *weft_producer_batch_take(weft_producer_part_t *self);
void weft_producer_batch_put(weft_producer_part_t *self, struct weft_pbatch *batch);
void weft_ptags_add(struct weft_ptags *self, uint32_t index, void *opaque, weft_delivery_t *delivery);
void weft_ptags_move(struct weft_ptags *to, struct weft_ptags *from); // `to` must be cleared; keeps the memory of both
void weft_ptags_fini(struct weft_ptags *self);
// The batch was taken out of its queue: tells the program, then the batch is spare.
void weft_producer_report_batch(weft_producer_part_t *self, struct weft_pbatch *batch, int64_t base_offset,
                                weft_err_t error, enum weft_err_outcome outcome, const char *text);
void weft_producer_report_one(weft_producer_part_t *self, const weft_topic_t *topic, int32_t partition, void *opaque,
                              weft_delivery_t *delivery, weft_err_t error, const char *text);

#endif
