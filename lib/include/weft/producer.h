// SPDX-License-Identifier: MPL-2.0
/**
 * Producer: sends records to topics; batched, retried, by default exactly once and in order per partition.
 *
 * Threads. A producer belongs to one thread at a time, like a ZeroMQ socket: no lock, no hidden thread of its own, no
 * callback on a surprise thread. It advances only inside calls on it: send, poll, flush, close. libzmq's I/O thread
 * moves bytes meanwhile, but lingering batches leave, answers are heard, retries happen and reports are called only
 * inside those calls. So a program that sends all the time needs nothing more; one that sends now and then calls
 * weft_producer_poll regularly (or when weft_producer_fd is readable), or flushes. To move a producer to another
 * thread, pass it through anything that is a memory barrier. Callbacks run in the calling thread, inside that call;
 * they may send, but not flush, close or destroy.
 *
 * Life of a record: send() encodes it into the open batch of its partition; the batch is closed when it holds
 * batch.bytes or is linger.ms old (0: as soon as the in-flight window allows), sent, and kept byte for byte until it is
 * answered: every retry is the same batch with the same sequence, so the broker writes it once (I3). After
 * delivery.timeout.ms it is reported as failed, with the outcome: not applied (it was surely not written) or maybe
 * applied.
 *
 * Options: docs/CONFIG.md, scope producer. Without `bootstrap` the environment variable WEFT_BOOTSTRAP is taken, then
 * tcp://127.0.0.1:9650.
 */
#ifndef WEFT_PRODUCER_H
#define WEFT_PRODUCER_H

#include <weft/record.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_producer weft_producer_t;
typedef struct weft_topic weft_topic_t;       // a topic of one producer, looked up once; lives as long as the producer
typedef struct weft_delivery weft_delivery_t; // a future: the fate of one record

/** What became of a record. Borrowed for the call. */
struct weft_report {
    const char *topic;
    int32_t partition;
    int64_t offset;                // -1 if it failed, with acks none, or as long as only the spool of an edge has it
    weft_err_t error;              // WEFT_OK: delivered as the option `acks` asked, or kept in a spool (option `spool`)
    enum weft_err_outcome outcome; // of a failure: WEFT_OUTCOME_NOT_APPLIED or WEFT_OUTCOME_MAYBE_APPLIED
    const char *text;              // sentence; "" when delivered
    void *opaque;                  // as given to send
};

/**
 * The same for a whole batch: record i has offset base_offset + i and opaques[i] (opaques is NULL when all are NULL).
 */
struct weft_batch_report {
    const char *topic;
    int32_t partition;
    int64_t base_offset;
    uint32_t count;
    weft_err_t error;
    enum weft_err_outcome outcome;
    const char *text;
    void *const *opaques;
    int64_t latency_us; // from the first send of the batch to its answer
    bool duplicate;     // it had been written before: by an earlier attempt, or by somebody else under its identity
};

typedef void weft_report_fn(void *context, const struct weft_report *report);
typedef void weft_batch_report_fn(void *context, const struct weft_batch_report *report);
/** Chooses a partition, 0 to partition_count - 1. Any other result refuses the record (INVALID_ARGUMENT). */
typedef int32_t weft_partitioner_fn(void *context, const char *topic, int32_t partition_count, weft_slice_t key,
                                    weft_slice_t value);

/** What most records do without. NULL stands for {0}: no headers, now, no opaque. */
struct weft_send_extra {
    weft_slice_t headers;       // from weft_headers_encoded, or of a record that was read
    int64_t timestamp_ms;       // 0: now
    void *opaque;               // given back in the report
    weft_delivery_t **delivery; // not NULL: receives a future, which the caller destroys
};

/**
 * settings: "key=value" strings, NULL at the end (NULL allowed: all defaults). Does not wait for a connection. Refused:
 * INVALID_OPTION, INVALID_ENDPOINT with a sentence in `error` (may be NULL).
 */
WEFT_EXPORT_CHECKED weft_err_t weft_producer_new(const char *const *settings, weft_producer_t **out,
                                                 struct weft_error *error);
/** Without close: what is not answered is given up and reported (LOCAL_CLOSED). Accepts NULL. */
WEFT_EXPORT void weft_producer_destroy(weft_producer_t **self_p);

// Options as in force. An unknown name is a defect of the caller (asserted).
WEFT_EXPORT int64_t weft_producer_option_int(const weft_producer_t *self,
                                             const char *name); // also bool, bytes, ms, index of a choice
WEFT_EXPORT const char *weft_producer_option_text(const weft_producer_t *self, const char *name);

// Set before the first send; NULL: none. Both may be set.
WEFT_EXPORT void weft_producer_on_report(weft_producer_t *self, weft_report_fn *fn, void *context);
WEFT_EXPORT void weft_producer_on_batch(weft_producer_t *self, weft_batch_report_fn *fn, void *context);
WEFT_EXPORT void weft_producer_set_partitioner(weft_producer_t *self, weft_partitioner_fn *fn, void *context);

/**
 * Handle of a topic; the same for the same name. Asks for its metadata in the background: records sent before that is
 * there wait in the producer. INVALID_TOPIC for a name that is not legal.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_producer_topic(weft_producer_t *self, const char *name, weft_topic_t **out);
WEFT_EXPORT const char *weft_topic_name(const weft_topic_t *topic);
/**
 * Waits until the topic's partitions are known. UNKNOWN_TOPIC (with the nearest name in the error text),
 * LOCAL_TIMED_OUT.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_producer_partition_count(weft_producer_t *self, weft_topic_t *topic, int timeout_ms,
                                                             int32_t *count);

/**
 * Takes a record: key, value and headers are copied. WEFT_OK: it will be reported, exactly once, if reports or a future
 * were asked for. Anything else: not taken, nothing will be reported. Does not block: LOCAL_QUEUE_FULL when
 * buffer.bytes are waiting (poll, then send again). Others: INVALID_ARGUMENT (partition), UNKNOWN_TOPIC (known not to
 * exist), RECORD_TOO_LARGE, PRODUCER_FENCED (fatal: stop), LOCAL_CLOSED.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_producer_send(weft_producer_t *self, weft_topic_t *topic, int32_t partition,
                                                  weft_slice_t key, weft_slice_t value,
                                                  const struct weft_send_extra *extra);
/** The same, but waits up to timeout_ms (-1: for ever) while the buffer is full. */
WEFT_EXPORT_CHECKED weft_err_t weft_producer_send_wait(weft_producer_t *self, weft_topic_t *topic, int32_t partition,
                                                       weft_slice_t key, weft_slice_t value,
                                                       const struct weft_send_extra *extra, int timeout_ms);

/**
 * Advances, calls reports; waits up to timeout_ms for something to happen (0: only what is there). Returns the number
 * of batches reported.
 */
WEFT_EXPORT size_t weft_producer_poll(weft_producer_t *self, int timeout_ms);
/**
 * Sends all that waits, now, and waits until everything is reported. LOCAL_TIMED_OUT: some still wait (call again).
 * Else the first error reported since the last flush, so that a program without callbacks misses nothing (I7); WEFT_OK:
 * everything was delivered.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_producer_flush(weft_producer_t *self, int timeout_ms);
/** Flush; what is not answered then is reported as failed. Afterwards only destroy and getters are allowed. */
WEFT_EXPORT_CHECKED weft_err_t weft_producer_close(weft_producer_t *self, int timeout_ms);

WEFT_EXPORT size_t weft_producer_waiting_count(const weft_producer_t *self); // records not yet reported
WEFT_EXPORT size_t weft_producer_waiting_bytes(const weft_producer_t *self);
/**
 * Readable when weft_producer_poll(self, 0) has something to do (level-triggered; for poll(2), epoll, zmq_poll). -1 if
 * the platform has none. Timers are not seen by it: also poll every linger.ms.
 */
WEFT_EXPORT int weft_producer_fd(const weft_producer_t *self);
/**
 * Makes a waiting poll, flush or send_wait of the owner's thread return early. The one call allowed from any thread,
 * and from a signal handler.
 */
WEFT_EXPORT void weft_producer_wake(weft_producer_t *self);
/** The sentence of the last call that failed; "" before. Valid until the next call. */
WEFT_EXPORT const char *weft_producer_error_text(const weft_producer_t *self);

/** Counters (I7): name and value by index; false behind the last. */
WEFT_EXPORT bool weft_producer_counter(const weft_producer_t *self, size_t index, const char **name, uint64_t *value);

// ---- batches that are there already

/** Under which name a batch goes; the broker judges by it what is the next, and what was written before. */
struct weft_batch_identity {
    int64_t producer_id; // of the caller's choice, 0 or more
    int16_t epoch;       // a higher one begins with sequence 0, and ends all lower ones
    int32_t sequence;    // of the first record; the next batch's is higher by the records in this one, modulo 2^31
    // With sequence 0: taken only if the last batch of the epoch before ended just before this sequence, or none is known; else
    // OUT_OF_ORDER_SEQUENCE. So nothing can have been written between a look at the log and this batch. -1: in any case.
    int32_t after_sequence;
    weft_id_t topic_id; // of the topic that was looked at: TOPIC_REPLACED if there is another by now; zeros: any
};

/**
 * Sends a batch as weft_records_next_batch gave it (copied; its records, times and compression stay as they are) under
 * an identity that the caller keeps: for programs that copy from log to log and must know, after a crash of theirs, what was
 * written. The caller numbers the batches; nothing is renumbered. So a batch that fails takes those behind it with it:
 * each is reported, in order, OUT_OF_ORDER_SEQUENCE where the one before it is missing, PRODUCER_FENCED and
 * UNKNOWN_PRODUCER for what they say; none of them stops the producer. Reported to the callback for batches, `opaques`
 * holding the one opaque, and to the other with the first record's offset. Not beside weft_producer_send in one partition.
 *
 * LOCAL_QUEUE_FULL as with send; LOCAL_NOT_CONNECTED: the topic's partitions are not known yet, poll and send again;
 * UNKNOWN_TOPIC; TOPIC_REPLACED; INVALID_ARGUMENT (partition, identity); BAD_BATCH: it has no records, or gaps of compaction between them;
 * BATCH_TOO_LARGE.
 */
WEFT_EXPORT_CHECKED weft_err_t weft_producer_send_batch(weft_producer_t *self, weft_topic_t *topic, int32_t partition,
                                                        weft_slice_t batch, const struct weft_batch_identity *as,
                                                        void *opaque);

// ---- futures: driven by the producer's calls, and by wait

WEFT_EXPORT bool weft_delivery_is_done(const weft_delivery_t *self);
/** Advances the producer until the record's fate is known: its error (WEFT_OK: delivered), or LOCAL_TIMED_OUT. */
WEFT_EXPORT_CHECKED weft_err_t weft_delivery_wait(weft_delivery_t *self, int timeout_ms);
WEFT_EXPORT weft_err_t weft_delivery_error(const weft_delivery_t *self);              // WEFT_OK while not done
WEFT_EXPORT enum weft_err_outcome weft_delivery_outcome(const weft_delivery_t *self); // MAYBE_APPLIED while not done
WEFT_EXPORT int32_t weft_delivery_partition(const weft_delivery_t *self);             // -1 while not known
WEFT_EXPORT int64_t weft_delivery_offset(const weft_delivery_t *self);                // -1 while not known
/** Forgets the future; the record goes its way. Also allowed after the producer is gone. Accepts NULL. */
WEFT_EXPORT void weft_delivery_destroy(weft_delivery_t **self_p);

#ifdef __cplusplus
}
#endif

#endif
