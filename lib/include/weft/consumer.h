// SPDX-License-Identifier: MPL-2.0
/**
 * Consumer: reads records of partitions, in order, none skipped in silence (I4).
 *
 * Threads. A consumer belongs to one thread at a time, like a ZeroMQ socket; it advances only inside its calls (poll
 * above all). libzmq's I/O thread receives meanwhile: one fetch per partition is under way while the program works on
 * records. Only weft_consumer_wake may be called from another thread or a signal handler. Without the option `group`
 * there is no thread of ours and no lock. A member of a group has one thread behind it, which only sends heartbeats and
 * never runs code of the program: callbacks are called inside poll and close, on the caller's thread.
 *
 * These calls may block, for as long as their timeout_ms says: poll, commit, commit_offsets, committed, close; and
 * destroy, for two seconds at most. All others return at once.
 *
 * Records are not copied: they point into the received frames (or into a reused buffer, when compressed), and are valid
 * until the next poll. A record counts as read when weft_records_next returned it; what a program leaves unread comes
 * again with the next poll.
 *
 * Nothing is skipped in silence: when an offset is gone or the log diverged, the consumer follows its option `reset`
 * and says so by an event and a counter; with reset=error the partition stops and the event says why. Errors of one
 * partition do not stop the others.
 *
 * Groups. With the option `group`, weft_consumer_subscribe joins that consumer group: the group's coordinator spreads the
 * partitions over its members and moves them when members come and go. What is owned is told by events and by the
 * callback of weft_consumer_on_rebalance; only what moves stops, everything else is read on.
 *     assigned  read from where the group committed last; where it did not, from `at` of weft_consumer_subscribe
 *     revoked   asked back: what was read of it is committed (auto.commit.ms) and answered, then others may have it. It
 *               happens inside poll, when all records that earlier polls returned are done with
 *     lost      it may have another owner already: the group took this member for dead, or the program did not poll for
 *               max.poll.ms. Nothing can be committed for it any more; what was read since the last commit is read again
 *               by its new owner
 * Each record is read at least once: by default what earlier polls returned is committed every auto.commit.ms, on
 * revocation and at the end. All of that happens inside poll and close: poll takes all that was handed out before it as
 * done with, close all but the record handed out last, unless the program asked for the next one. A member's poll returns
 * max.poll.records at most, so that a program with work to do for each record polls, and commits, within max.poll.ms. With
 * auto.commit.ms=0 only weft_consumer_commit and weft_consumer_commit_offsets commit.
 * A commit carries the token of its partition: one of a member that was replaced is refused (FENCED), told by an event
 * LOST. Without a coordinator in reach a member goes on with what it owns; with exclusive=true it stops handing out
 * records when its session ended (counted from its last heartbeat that was answered), so that no two members ever hold a
 * partition at once, and goes on if the group kept its place. A record that was handed out before can't be taken back:
 * its token is for fencing where its effects go (weft_consumer_token).
 * With the option `group` and weft_consumer_assign there is no membership: what is assigned is resumed at the group's
 * committed offsets and committed for it, for a single reader, or readers that share out the partitions themselves. Once
 * a member held the partition a commit takes a token of the coordinator first: so it goes on where members left off, and is
 * refused (FENCED, with who is in it) while the group has members.
 *
 * Options: docs/CONFIG.md, scope consumer. Without `bootstrap` the environment variable WEFT_BOOTSTRAP is taken, then
 * tcp://127.0.0.1:9650.
 */
#ifndef WEFT_CONSUMER_H
#define WEFT_CONSUMER_H

#include <weft/record.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_consumer weft_consumer_t;
typedef struct weft_records weft_records_t; // what one poll returned; belongs to the consumer

struct weft_assignment {
    const char *topic;
    int32_t partition;       // or WEFT_PARTITION_ALL
    struct weft_position at; // {0}: as the option `reset` says
};

enum weft_consumer_event_type {
    WEFT_EVENT_ASSIGNED, // a partition is read from `offset` on
    WEFT_EVENT_REVOKED,  // a partition is no longer read: its topic was deleted, or the group asked it back
    WEFT_EVENT_RESET,    // the offset was gone: went on at `offset`, as `reset` says; from_offset is where it stood
    // records from `offset` to from_offset - 1, read before, were lost by the cluster and replaced (KIP-320)
    WEFT_EVENT_DIVERGED,
    // a batch at from_offset is damaged or lies; the partition stops until a seek passes it: to `offset` if that is not -1
    WEFT_EVENT_BAD_BATCH,
    WEFT_EVENT_STOPPED,       // a permanent error: the partition stops until a seek
    WEFT_EVENT_UNKNOWN_TOPIC, // asked for by name, does not exist (yet): looked for again every metadata.ms
    // Of groups. `topic` is "" and `partition` -1 where no single partition is meant.
    WEFT_EVENT_LOST, // a partition may have another owner; `offset`: what was committed for it last, -1: unknown
    WEFT_EVENT_COMMIT_FAILED, // offsets up to `offset` were not committed, or it is not known; a later commit covers them
    WEFT_EVENT_REFUSED,       // the group does not take this member now; it goes on trying
    WEFT_EVENT_UNHEARD        // no coordinator was heard for a session (once, until one is heard again)
};

/** Borrowed until the next call on the consumer. */
struct weft_consumer_event {
    enum weft_consumer_event_type type;
    const char *topic;
    int32_t partition;   // -1: the topic
    int64_t from_offset; // -1 where it has no meaning
    int64_t offset;      // likewise
    weft_err_t error;    // WEFT_OK where nothing is wrong
    const char *text;    // sentence for people
};

/** Where a partition stands. */
struct weft_partition_position {
    const char *topic;
    int32_t partition;
    int64_t position;       // next offset to be returned; -1: not known yet
    int64_t high_watermark; // end of what may be read, as last heard (option `read`); -1: not known yet
    int64_t log_start;      // -1: not known yet
    int64_t lag;            // high_watermark - position; -1: not known yet
    int64_t end_at_start;   // high_watermark when reading began; -1: not known yet
    bool paused;
    weft_err_t error;   // why it stopped, WEFT_OK while it runs
    weft_err_t unheard; // why its leader does not answer now (tried again until it does), WEFT_OK while it does
};

/** A partition that is given or taken. */
struct weft_rebalance_partition {
    const char *topic;
    int32_t partition;
    int64_t position; // next record; ASSIGNED: -1, it is not known yet
    uint64_t token;   // of this giving: higher than all before in this group
};

/** Borrowed for the call of the callback. */
struct weft_rebalance {
    enum weft_consumer_event_type type; // WEFT_EVENT_ASSIGNED, _REVOKED or _LOST
    const struct weft_rebalance_partition *partitions;
    size_t count;
    const char *text; // LOST: why; else ""
};

/**
 * Called inside poll and close, on their thread. It may call everything of the consumer but poll, subscribe, assign,
 * close and destroy; seek for what was just assigned; commit for what is revoked, for the last time. What was revoked is given
 * away once it returned and all commits are answered.
 */
typedef void weft_rebalance_fn(void *context, const struct weft_rebalance *rebalance);

/** As weft_producer_new. INVALID_GROUP. */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_new(const char *const *settings, weft_consumer_t **out,
                                                 struct weft_error *error);
// Accepts NULL. A member that was not closed is closed first, for two seconds at most (and what its callback takes).
WEFT_EXPORT void weft_consumer_destroy(weft_consumer_t **self_p);
WEFT_EXPORT int64_t weft_consumer_option_int(const weft_consumer_t *self, const char *name);
WEFT_EXPORT const char *weft_consumer_option_text(const weft_consumer_t *self, const char *name);

// ---- what to read

/**
 * Replaces all that was assigned or subscribed. Returns at once; topics that do not exist are told by an event. With the option
 * `group`, {0} is where the group committed last. INVALID_ARGUMENT (also: a member of a group can't assign), INVALID_TOPIC.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_assign(weft_consumer_t *self, const struct weft_assignment *list,
                                                    size_t count);
/**
 * Replaces all that was assigned or subscribed: every partition of the topics named or matched by a glob (* ? [a-z]
 * [!a-z]; whole name), also of topics and partitions that appear later (looked for every metadata.ms; those are read
 * from their first record). Internal topics match only a pattern that begins with "__".
 *
 * With the option `group` it joins the group, or tells it the new subscription: at most 256 patterns (and all globs of a
 * group have 4,096 characters together). The group spreads the partitions; `at` is where to begin where the group has no
 * committed offset. Returns at once: partitions come with a later poll. What the group refuses for good (INVALID_PATTERN,
 * UNSUPPORTED_ASSIGNOR, GROUP_FULL) the next poll returns.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_subscribe(weft_consumer_t *self, const char *const *patterns, size_t count,
                                                       struct weft_position at);
/**
 * Moves a partition of the assignment; also lets a stopped one go on. NOT_FOUND: not assigned (yet). Records of the
 * current poll become invalid.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_seek(weft_consumer_t *self, const char *topic, int32_t partition,
                                                  struct weft_position at);
/**
 * The same to an offset, for who keeps his place himself: leader_epoch is that of the record before it (weft_record_view,
 * struct weft_group_offset), -1: not known. If the log does not hold that record any more, WEFT_EVENT_DIVERGED tells from
 * where on.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_seek_behind(weft_consumer_t *self, const char *topic, int32_t partition,
                                                         int64_t offset, int32_t leader_epoch);
// WEFT_PARTITION_ALL: all of the topic; topic NULL: all. What was fetched is kept. NOT_FOUND.
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_pause(weft_consumer_t *self, const char *topic, int32_t partition);
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_resume(weft_consumer_t *self, const char *topic, int32_t partition);

// NULL: not any more. Set it before subscribe, to miss nothing.
WEFT_EXPORT void weft_consumer_on_rebalance(weft_consumer_t *self, weft_rebalance_fn *fn, void *context);

// ---- reading

/**
 * Waits up to timeout_ms (-1: for ever) until at least one record or event is there. WEFT_OK, and *records never NULL:
 * maybe without records (time is over, or an event waits). INTERRUPTED after weft_consumer_wake. LOCAL_CLOSED after
 * weft_consumer_close. What the group refuses for good, until the next subscribe. Anything else is fatal
 * (WRONG_CLUSTER, UNSUPPORTED_VERSION).
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_poll(weft_consumer_t *self, int timeout_ms, weft_records_t **records);
/**
 * The next record; false when the poll's records are all read (of a member, max.poll.records were: the next poll returns
 * more at once), or (exclusive=true) the session ended: what is left comes again if the partition is kept.
 */
WEFT_EXPORT bool weft_records_next(weft_records_t *self, struct weft_record_view *record);
/**
 * A whole batch as it is stored (docs/STORAGE.md): header and records, maybe compressed, checksum verified. Borrowed as
 * records are.
 */
struct weft_batch_view {
    const char *topic;
    weft_id_t topic_id;
    int32_t partition;
    int64_t position; // next record wanted: what the batch holds below was read, or never asked for
    int64_t base_offset, next_offset;
    weft_slice_t bytes;
};
/**
 * The same by whole batches, for programs that pass them on (weft_producer_send_batch). Batches without records are given too:
 * they stand for offsets that compaction took. May be mixed with weft_records_next. Of a member, max.poll.records are
 * not counted.
 */
WEFT_EXPORT bool weft_records_next_batch(weft_records_t *self, struct weft_batch_view *batch);
/**
 * The next event that happened; false when there is none. At most 1,024 wait; more are counted (events_dropped_count).
 */
WEFT_EXPORT bool weft_consumer_event(weft_consumer_t *self, struct weft_consumer_event *event);

/**
 * True when every partition was read up to the end it had when reading began (and all topics named are known to be
 * there or not): for "consume what is there and stop". Of a member: what it owns now, once its group is done assigning.
 */
WEFT_EXPORT bool weft_consumer_at_end(const weft_consumer_t *self);

// Partitions of the assignment, in order of topic and number; false behind the last. Borrowed until the next call.
WEFT_EXPORT bool weft_consumer_position(const weft_consumer_t *self, size_t index, struct weft_partition_position *out);

// ---- offsets of the group (option `group`; without it INVALID_ARGUMENT)

/**
 * Commits all that was read so far: every record that weft_records_next returned, the last one too. Waits until that is
 * durable. FENCED: a partition is lost (an event says which); the others were committed. LOCAL_TIMED_OUT: it goes on, and
 * may have happened. INTERRUPTED after weft_consumer_wake, likewise. Any other error: weft_consumer_error_text.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_commit(weft_consumer_t *self, int timeout_ms);
/**
 * The same without waiting: it leaves inside the next calls; of several, the newest counts. What fails is told by
 * WEFT_EVENT_COMMIT_FAILED.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_commit_async(weft_consumer_t *self);
/**
 * Commits these offsets, of partitions that it owns or was assigned, and no others; an offset may be lower than one before.
 * One beyond the log's end is found out by the next reader, and told by an event. leader_epoch -1: that of the last record
 * read here, for an offset up to the position; so whoever resumes is told if the log lost what was read. NOT_FOUND: a partition is not owned; nothing was
 * committed then. METADATA_TOO_LARGE. Else as weft_consumer_commit. timeout_ms 0: does not wait, as commit_async.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_commit_offsets(weft_consumer_t *self, const struct weft_group_offset *list,
                                                            size_t count, int timeout_ms);

struct weft_committed {
    const char *topic; // asked for
    int32_t partition;
    int64_t offset;       // next to be read; -1: the group has committed none
    int32_t leader_epoch; // of the record before it; -1: not known
    int64_t committed_ms; // Unix time; -1: never
    const char *metadata; // "" if none; borrowed until the next call on the consumer
    weft_err_t error;     // UNKNOWN_TOPIC
};
/**
 * Fills in what the group has committed for `count` partitions, any of them, whoever committed it; topic and partition are set by the
 * caller. At most 10,000. LOCAL_TIMED_OUT.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_committed(weft_consumer_t *self, struct weft_committed *list, size_t count,
                                                       int timeout_ms);

/**
 * The token under which this member owns a partition: whoever applies its effects elsewhere can refuse those that carry
 * a lower one than was seen. 0: it does not own it, or there is no membership.
 */
WEFT_EXPORT uint64_t weft_consumer_token(const weft_consumer_t *self, const char *topic, int32_t partition);

/**
 * Ends reading: commits (unless auto.commit.ms=0) what is done with, calls the callback (REVOKED) for all that is
 * owned, commits what that commits, and leaves the group, so that others have the partitions at once. A static member
 * (option `instance`) is only paused: its partitions wait for it until its session ends. The record that was handed out
 * last counts as done with only if the program asked for the next one: commit before, if it is. WEFT_OK, or the error of the last
 * commit, or LOCAL_TIMED_OUT: the group finds out by itself. weft_consumer_wake does not interrupt it. Closed in each
 * case: only destroy and what reads state may follow. Also without a group.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_close(weft_consumer_t *self, int timeout_ms);

// ---- beside

WEFT_EXPORT int weft_consumer_fd(const weft_consumer_t *self); // as weft_producer_fd
WEFT_EXPORT void
weft_consumer_wake(weft_consumer_t *self); // any thread, signal handlers: a waiting poll returns INTERRUPTED
WEFT_EXPORT const char *weft_consumer_error_text(const weft_consumer_t *self);
WEFT_EXPORT bool weft_consumer_counter(const weft_consumer_t *self, size_t index, const char **name, uint64_t *value);

#ifdef __cplusplus
}
#endif

#endif
