// SPDX-License-Identifier: MPL-2.0
/**
 * What the files of the consumer part share: partitions, chunks, events.
 *
 * consumer_part.c: life-cycle, events, what a program asks. consumer_assign.c: which partitions are read.
 * consumer_fetch.c: asking nodes and hearing answers. consumer_read.c: from chunks to records.
 */
#ifndef WEFT_CLIENT_CONSUMER_INNER_H
#define WEFT_CLIENT_CONSUMER_INNER_H

#include "../wire/batch.h"
#include "consumer_part.h"
#include "requests.h"

enum weft_consumer_counter {
    WEFT_CONSUMER_RECORDS,
    WEFT_CONSUMER_BYTES,
    WEFT_CONSUMER_FETCHES,
    WEFT_CONSUMER_EMPTY_FETCHES,
    WEFT_CONSUMER_RESETS,
    WEFT_CONSUMER_DIVERGENCES,
    WEFT_CONSUMER_BAD_BATCHES,
    WEFT_CONSUMER_GAPS,
    WEFT_CONSUMER_RETRIES,
    WEFT_CONSUMER_EVENTS_DROPPED,
    WEFT_CONSUMER_LINKS_LOST,
    WEFT_CONSUMER_REDIRECTS,
    WEFT_CONSUMER_REROUTES,
    WEFT_CONSUMER_STRAY,
    WEFT_CONSUMER_COUNTERS
};

enum weft_cstate {
    WEFT_CSTATE_RESOLVE, // the position has to be asked for
    WEFT_CSTATE_READ,
    WEFT_CSTATE_STOPPED
};

struct weft_cpartition {
    struct weft_consumer_part *part;
    struct weft_view_topic *topic;
    int32_t index;
    enum weft_cstate state;
    struct weft_position at; // RESOLVE: what to ask for
    bool resetting;          // RESOLVE because the offset was gone
    int64_t reset_from;      // where it stood then
    int64_t position;        // next offset to hand out, -1 unknown
    int64_t fetch_offset;    // next offset to ask for
    int32_t fetch_epoch;     // leader epoch of the record before fetch_offset, -1 unknown
    int64_t end;             // of what may be read, -1 unknown
    int64_t log_start;
    int64_t end_at_start;
    bool paused;
    bool caught_up; // the last fetch brought nothing
    weft_err_t error;
    weft_err_t unheard;    // of the last try, WEFT_OK once it was answered
    struct weft_call call; // one at a time: list_offsets or fetch
    uint32_t asked_bytes;  // reserved for the fetch under way
    uint32_t tries;
    int64_t retry_us;
    size_t queued_bytes;
    uint32_t chunk_count;
};

/** One fetched frame. */
struct weft_cchunk {
    struct weft_cchunk *previous, *next; // in order of arrival
    struct weft_cpartition *partition;   // NULL once it is spent
    uint64_t serial;                     // grows
    weft_frame_t frame;
    size_t at; // the batch being read begins here
};

struct weft_cevent {
    enum weft_consumer_event_type type;
    const char *topic; // of the view
    int32_t partition;
    int64_t from_offset, offset;
    weft_err_t error;
    char text[256];
};

#define WEFT_CONSUMER_EVENTS_MAX 1024
#define WEFT_CONSUMER_WATCH_MS 120000

struct weft_csubscription {
    char *pattern; // a glob, or a name
    bool is_glob;
    int32_t partition; // of a name: or WEFT_PARTITION_ALL
    struct weft_position at;
    bool looked; // metadata was there once: what appears later is read from its first record
    bool told_missing;
};

struct weft_consumer_part {
    struct weft_part base;
    weft_port_t port;
    bool started;
    weft_view_t view;
    weft_requests_t requests;
    uint64_t updates_seen;
    weft_counters_t counters;
    // options
    char client[129];
    bool durable, check_crc;
    int64_t reset; // index of the choice: earliest, latest, error
    uint32_t fetch_bytes, fetch_min_bytes, fetch_wait_ms;
    size_t buffer_bytes;
    int64_t attempt_us;
    // what to read
    struct weft_csubscription *subscriptions;
    size_t subscription_count;
    bool first_look; // no answer since the subscriptions changed
    bool has_glob;
    bool unsettled;                      // some topic is neither there nor surely missing
    uint64_t look_after;                 // view.updates_all when the subscriptions changed
    struct weft_cpartition **partitions; // sorted by topic and number
    size_t partition_count;
    size_t turn; // whose turn it is when the budget is short
    // what has arrived
    struct weft_cchunk *first, *last; // in order of arrival
    struct weft_cchunk *spent;        // no more to be read, freed by the next poll
    uint64_t serial, poll_serial;     // of the last chunk; of the last one in this poll
    size_t held_bytes;                // of all chunks, and what is asked for
    size_t paused_bytes;              // of them, of paused partitions; as of the last turn
    // reading
    struct weft_cchunk *reading; // NULL: between two chunks
    bool in_batch;
    struct weft_batch batch;
    weft_record_iter_t iter;
    weft_buf_t *scratch; // inflated batches of this poll; the last one used may be the current batch
    size_t scratch_count, scratch_used;
    size_t scratch_bytes; // inflated in this poll
    bool in_scratch;
    // events, a ring
    struct weft_cevent *events;
    size_t event_first, event_count;
    uint64_t event_serial;
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
};

// consumer_part.c
void weft_consumer_tell(weft_consumer_part_t *self, enum weft_consumer_event_type type,
                        const struct weft_view_topic *topic, int32_t partition, int64_t from_offset, int64_t offset,
                        weft_err_t error, const char *text);

// consumer_assign.c
void weft_consumer_match(weft_consumer_part_t *self); // subscriptions against what the view knows now
void weft_consumer_assign_fini(weft_consumer_part_t *self);
struct weft_cpartition *weft_consumer_find(const weft_consumer_part_t *self, const char *topic, int32_t partition);

// consumer_fetch.c
int64_t weft_consumer_fetch_turn(weft_consumer_part_t *self, int64_t now_us);
// Moves a partition to a place: forgets what was fetched and asked for.
void weft_consumer_move(weft_consumer_part_t *self, struct weft_cpartition *partition, struct weft_position at);
// Its topic was deleted and created again: offsets of the old one mean nothing.
void weft_consumer_begin_anew(weft_consumer_part_t *self, struct weft_cpartition *partition);
void weft_consumer_stop_partition(weft_consumer_part_t *self, struct weft_cpartition *partition,
                                  enum weft_consumer_event_type type, int64_t offset, int64_t next, weft_err_t error,
                                  const char *text);
// Tells the leader that the batch at `offset` is bad, so that its operator hears of it. One try: the partition is
// stopped, and its call free.
void weft_consumer_report(weft_consumer_part_t *self, struct weft_cpartition *partition, int64_t offset);
void weft_consumer_forget(weft_consumer_part_t *self, struct weft_cpartition *partition); // its call and chunks

// consumer_read.c
void weft_consumer_free_chunks(weft_consumer_part_t *self);
void weft_consumer_drop_chunks(weft_consumer_part_t *self, struct weft_cpartition *partition); // what was not read yet

#endif
