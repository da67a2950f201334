// SPDX-License-Identifier: MPL-2.0
/**
 * Consumer: reads records of partitions, in order, none skipped in silence (I4).
 *
 * Threads. A consumer belongs to one thread at a time, like a ZeroMQ socket; it advances only inside its calls (poll
 * above all); no lock, no hidden thread, no callback. libzmq's I/O thread receives meanwhile: one fetch per partition
 * is under way while the program works on records. Only weft_consumer_wake may be called from another thread or a
 * signal handler.
 *
 * Records are not copied: they point into the received frames (or into a reused buffer, when compressed), and are valid
 * until the next poll. A record counts as read when weft_records_next returned it; what a program leaves unread comes
 * again with the next poll.
 *
 * Nothing is skipped in silence: when an offset is gone or the log diverged, the consumer follows its option `reset`
 * and says so by an event and a counter; with reset=error the partition stops and the event says why. Errors of one
 * partition do not stop the others.
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
    WEFT_EVENT_REVOKED,  // a partition is no longer read: its topic was deleted
    WEFT_EVENT_RESET,    // the offset was gone: went on at `offset`, as `reset` says; from_offset is where it stood
    // records from `offset` to from_offset - 1, read before, were lost by the cluster and replaced (KIP-320)
    WEFT_EVENT_DIVERGED,
    // a batch at from_offset is damaged or lies; the partition stops until a seek passes it: to `offset` if that is not -1
    WEFT_EVENT_BAD_BATCH,
    WEFT_EVENT_STOPPED,      // a permanent error: the partition stops until a seek
    WEFT_EVENT_UNKNOWN_TOPIC // asked for by name, does not exist (yet): looked for again every metadata.ms
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

/** As weft_producer_new. */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_new(const char *const *settings, weft_consumer_t **out,
                                                 struct weft_error *error);
WEFT_EXPORT void weft_consumer_destroy(weft_consumer_t **self_p); // accepts NULL
WEFT_EXPORT int64_t weft_consumer_option_int(const weft_consumer_t *self, const char *name);
WEFT_EXPORT const char *weft_consumer_option_text(const weft_consumer_t *self, const char *name);

// ---- what to read

/**
 * Replaces all that was assigned or subscribed. Returns at once; topics that do not exist are told by an event.
 * INVALID_ARGUMENT, INVALID_TOPIC.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_assign(weft_consumer_t *self, const struct weft_assignment *list,
                                                    size_t count);
/**
 * Replaces all that was assigned or subscribed: every partition of the topics named or matched by a glob (* ? [a-z]
 * [!a-z]; whole name), also of topics and partitions that appear later (looked for every metadata.ms; those are read
 * from their first record). Internal topics match only a pattern that begins with "__".
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_subscribe(weft_consumer_t *self, const char *const *patterns, size_t count,
                                                       struct weft_position at);
/**
 * Moves a partition of the assignment; also lets a stopped one go on. NOT_FOUND: not assigned (yet). Records of the
 * current poll become invalid.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_seek(weft_consumer_t *self, const char *topic, int32_t partition,
                                                  struct weft_position at);
// WEFT_PARTITION_ALL: all of the topic; topic NULL: all. What was fetched is kept. NOT_FOUND.
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_pause(weft_consumer_t *self, const char *topic, int32_t partition);
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_resume(weft_consumer_t *self, const char *topic, int32_t partition);

// ---- reading

/**
 * Waits up to timeout_ms (-1: for ever) until at least one record or event is there. WEFT_OK, and *records never NULL:
 * maybe without records (time is over, or an event waits). INTERRUPTED after weft_consumer_wake. Anything else is fatal
 * (WRONG_CLUSTER, UNSUPPORTED_VERSION).
 */
WEFT_EXPORT_CHECKED weft_err_t weft_consumer_poll(weft_consumer_t *self, int timeout_ms, weft_records_t **records);
/** The next record; false when the poll's records are all read. */
WEFT_EXPORT bool weft_records_next(weft_records_t *self, struct weft_record_view *record);
/**
 * The next event that happened; false when there is none. At most 1,024 wait; more are counted (events_dropped_count).
 */
WEFT_EXPORT bool weft_consumer_event(weft_consumer_t *self, struct weft_consumer_event *event);

/**
 * True when every partition was read up to the end it had when reading began (and all topics named are known to be
 * there or not): for "consume what is there and stop".
 */
WEFT_EXPORT bool weft_consumer_at_end(const weft_consumer_t *self);

// Partitions of the assignment, in order of topic and number; false behind the last. Borrowed until the next call.
WEFT_EXPORT bool weft_consumer_position(const weft_consumer_t *self, size_t index, struct weft_partition_position *out);

WEFT_EXPORT int weft_consumer_fd(const weft_consumer_t *self); // as weft_producer_fd
WEFT_EXPORT void
weft_consumer_wake(weft_consumer_t *self); // any thread, signal handlers: a waiting poll returns INTERRUPTED
WEFT_EXPORT const char *weft_consumer_error_text(const weft_consumer_t *self);
WEFT_EXPORT bool weft_consumer_counter(const weft_consumer_t *self, size_t index, const char **name, uint64_t *value);

#ifdef __cplusplus
}
#endif

#endif
