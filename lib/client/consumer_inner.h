// SPDX-License-Identifier: MPL-2.0
/**
 * What the files of the consumer part share: partitions, chunks, events.
 *
 * consumer_part.c: life-cycle, events, what a program asks. consumer_assign.c: which partitions are read.
 * consumer_fetch.c: asking nodes and hearing answers. consumer_read.c: from chunks to records.
 * consumer_group.c: what the group gives and takes. consumer_offsets.c: what is committed for it; consumer_token.c: under
 * which token without membership.
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
    WEFT_CONSUMER_COMMITS,
    WEFT_CONSUMER_COMMITS_FAILED,
    WEFT_CONSUMER_ASSIGNED,
    WEFT_CONSUMER_REVOKED,
    WEFT_CONSUMER_LOST,
    WEFT_CONSUMER_COUNTERS
};

enum weft_cstate {
    WEFT_CSTATE_RESOLVE, // the position has to be asked for
    WEFT_CSTATE_READ,
    WEFT_CSTATE_STOPPED,
    WEFT_CSTATE_FENCE // the group's offset has to be asked for first, which raises its fence
};

/** What is, or is to be, committed of a partition. */
struct weft_ccommit {
    int64_t want; // -1: nothing is asked for that was not sent
    int32_t want_epoch;
    char *metadata; // of `want`; NULL: none
    int64_t sent;   // under way, -1: none is
    int32_t sent_epoch;
    char *sent_metadata;
    int64_t done; // as answered last, -1: nothing, or not known
    bool fenced;  // what is wanted was refused, and waits for a token
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
    bool quiet;     // hands out nothing now: paused, let go, or lost
    bool caught_up; // the last fetch brought nothing
    // of a group
    bool owned;         // by membership
    weft_id_t topic_id; // as assigned; its offsets mean nothing for another
    uint64_t token;
    bool sought;          // FENCE: to `at`, whatever is committed
    int32_t sought_epoch; // of the record before a place that was sought; -1: not known
    bool dropped;         // the newest assignment lacks it
    bool letting_go;      // the group asked it back
    bool given;           // the program knows that it has it
    bool lost, told;      // another may have it; the program knows
    int32_t read_epoch; // leader epoch of the last record read: no record before `position` has a newer one; -1 unknown
    struct weft_ccommit commit;
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

/** A call about offsets of the group, tried until it is answered. */
struct weft_coffsets_call {
    struct weft_call call;
    struct weft_cpartition **list; // commit, fences: of whom; NULL where one was removed meanwhile
    size_t count, capacity;
    uint32_t tries;
    int64_t retry_us;
    int64_t begun_us; // the first try of what it is about
};

struct weft_coffsets {
    char group[256]; // "": none
    int64_t auto_us; // interval; 0: none
    int64_t auto_last_us;
    uint64_t auto_records;         // handed out by then
    bool auto_now;                 // a place was chosen that nobody has committed yet
    struct weft_view_topic *topic; // __offsets; NULL: not needed so far
    bool missing;                  // a broker does not know it
    struct weft_coffsets_call commit, fence;
    size_t want_count;
    uint64_t n;               // of the commit sent last
    uint64_t asked, answered; // tickets
    weft_err_t round_error;   // of what was answered since `answered`
    char round_text[256];
    uint64_t failed_from, failed_to; // tickets that ended with an error
    weft_err_t failed;
    char failed_text[256];
    // without membership
    uint64_t token;         // to commit with; 0: none was needed so far
    bool token_wanted;      // some commit was fenced
    uint32_t token_tries;   // since the last commit that was taken whole
    struct weft_call ask;   // group_token
    struct weft_call begin; // offsets_begin
    int64_t begin_us;       // not before
    // a look at what is committed
    struct weft_call look;
    bool look_waits; // for metadata of __offsets
    bool look_done;
    weft_err_t look_error;
    struct weft_committed *looked;
    size_t look_count;
    weft_arena_t look_arena;
};

enum weft_cphase {
    WEFT_CPHASE_REST,
    WEFT_CPHASE_LETTING_GO, // what is to be released is being committed
    WEFT_CPHASE_RELEASING   // the program was told; what it committed is not answered yet
};

struct weft_cgroup {
    weft_desk_t *desk; // NULL: no membership
    bool subscribed;
    bool exclusive;
    uint64_t serial;
    struct weft_desk_news news;
    uint64_t lost_seen, unknown_seen;
    uint64_t epoch, revision;     // of the assignment carried out
    bool taken;                   // one was
    weft_desk_assignment_t *next; // being carried out
    enum weft_cphase phase;
    uint64_t ticket;
    int64_t deadline_us, patience_us;
    struct weft_position at; // where nothing is committed
    weft_rebalance_fn *fn;
    void *context;
    bool waiting, in_callback;
    struct weft_error refused;
    bool told_refused, told_unheard;
    bool lost_untold; // some partition is, and the program does not know
    bool is_static;
    bool letting_all_go;
    bool closing, leaving, closed;
    weft_err_t close_error;
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
    uint64_t poll_most, poll_left;    // records of a member's poll; that this poll may still hand out
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
    struct weft_cpartition *handed; // whose record was handed out last and is maybe worked on; NULL: none
    int32_t handed_epoch;           // of the record before it
    struct weft_coffsets offsets;
    struct weft_cgroup group;
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

// topic "", partition -1: of the whole.
void weft_consumer_tell_name(weft_consumer_part_t *self, enum weft_consumer_event_type type, const char *topic,
                             int32_t partition, int64_t from_offset, int64_t offset, weft_err_t error,
                             const char *text);

// consumer_assign.c
void weft_consumer_match(weft_consumer_part_t *self); // subscriptions against what the view knows now
void weft_consumer_assign_fini(weft_consumer_part_t *self);
struct weft_cpartition *weft_consumer_find(const weft_consumer_part_t *self, const char *topic, int32_t partition);
struct weft_cpartition *weft_consumer_own(weft_consumer_part_t *self, const struct weft_desk_owned *owned);
void weft_consumer_disown(weft_consumer_part_t *self, struct weft_cpartition *partition); // frees it
void weft_consumer_hush(struct weft_cpartition *partition); // what it is says whether it is quiet

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
// The record before the position just sought is of this leader epoch; -1: not known.
void weft_consumer_behind(struct weft_cpartition *partition, int32_t leader_epoch);
// The group's offset is known: -1, none.
void weft_consumer_fenced(weft_consumer_part_t *self, struct weft_cpartition *partition, int64_t offset, int32_t epoch);

// consumer_group.c
void weft_consumer_group_turn(weft_consumer_part_t *self, int64_t now_us); // hears the news
void weft_consumer_group_step(weft_consumer_part_t *self);                 // calls the program
void weft_consumer_group_fini(weft_consumer_part_t *self);
bool weft_consumer_group_settled(const weft_consumer_part_t *self);
// A commit said that another owns it by now.
void weft_consumer_lose(weft_consumer_part_t *self, struct weft_cpartition *partition, const char *text);

// consumer_offsets.c
void weft_consumer_offsets_init(weft_consumer_part_t *self, const weft_options_t *options);
void weft_consumer_offsets_fini(weft_consumer_part_t *self);
int64_t weft_consumer_offsets_turn(weft_consumer_part_t *self, int64_t now_us);
void weft_consumer_offsets_forget(weft_consumer_part_t *self, struct weft_cpartition *partition);
// Wants committed what was read of a partition, if that is not committed already; but the record that the program works on,
// if it is to be spared.
void weft_consumer_want(weft_consumer_part_t *self, struct weft_cpartition *partition, bool spare);
void weft_consumer_want_at(weft_consumer_part_t *self, struct weft_cpartition *partition,
                           const struct weft_group_offset *at);
uint64_t weft_consumer_ticket(weft_consumer_part_t *self); // for all that is wanted now
bool weft_consumer_offsets_idle(const weft_consumer_part_t *self);
void weft_consumer_give_up(weft_consumer_part_t *self, weft_err_t error, const char *text); // all that is not answered
void weft_consumer_auto_commit(weft_consumer_part_t *self, int64_t now_us);                 // if it is time

// Points a call at the leader of the group's partition of __offsets. False: it is not known (yet), and is looked for.
bool weft_consumer_aim(weft_consumer_part_t *self, struct weft_call *call, int64_t now_us);

// Some commit waits for a token that does not come.
void weft_consumer_no_token(weft_consumer_part_t *self, weft_err_t error, const char *text);

// consumer_token.c
// A commit without membership was refused as FENCED. True: a token is asked for, and then it is tried again.
bool weft_consumer_want_token(weft_consumer_part_t *self, const struct weft_cpartition *partition);
void weft_consumer_token_turn(weft_consumer_part_t *self, int64_t now_us, int64_t deadline_us);

// consumer_commit.c
int64_t weft_consumer_look_turn(weft_consumer_part_t *self, int64_t now_us);

// consumer_read.c
void weft_consumer_free_chunks(weft_consumer_part_t *self);
void weft_consumer_drop_chunks(weft_consumer_part_t *self, struct weft_cpartition *partition); // what was not read yet

#endif
