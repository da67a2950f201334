// SPDX-License-Identifier: MPL-2.0
/**
 * What the files of the tap share: the streams, which both of its threads know, and how records become frames.
 *
 * Two threads. The node's own (live.c) reads the topic and publishes; the replay thread (replay.c) has the ROUTER and
 * consumers of its own, so that no requester, however many there are or however slow they read, holds up what is live.
 * They share one thing: how far each stream has been published, because a replay ends there.
 */
#ifndef WEFT_NODES_TAP_INNER_H
#define WEFT_NODES_TAP_INNER_H

#include "../../lib/base/bytes.h"
#include "../common/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <weft/consumer.h>
#include <weft/node_type.h>

#define WEFT_TAP_NAME_BYTES_MAX 216      // of a topic frame
#define WEFT_TAP_SEQUENCE_END UINT64_MAX // -1: the end of a replay

enum weft_tap_counter {
    WEFT_TAP_PUBLISHED_COUNT,
    WEFT_TAP_PUBLISHED_BYTES,
    WEFT_TAP_ANNOUNCED_COUNT,
    WEFT_TAP_FULL_COUNT,
    WEFT_TAP_SHRUNK_COUNT,
    WEFT_TAP_GAPS_COUNT,
    WEFT_TAP_RESETS_COUNT,
    WEFT_TAP_DIVERGED_COUNT,
    WEFT_TAP_SUBSCRIPTIONS_COUNT,
    WEFT_TAP_SUBSCRIBED_COUNT,
    WEFT_TAP_BAD_SUBSCRIPTIONS_COUNT,
    WEFT_TAP_BAD_BATCHES_COUNT,
    WEFT_TAP_REPLAYS_COUNT,
    WEFT_TAP_REPLAYS_ENDED_COUNT,
    WEFT_TAP_REPLAYS_ACTIVE_COUNT,
    WEFT_TAP_REPLAYED_COUNT,
    WEFT_TAP_REPLAYED_BYTES,
    WEFT_TAP_REPLAYS_MALFORMED_COUNT,
    WEFT_TAP_REPLAYS_REFUSED_COUNT,
    WEFT_TAP_REPLAYS_GONE_COUNT,
    WEFT_TAP_REPLAYS_STALLED_COUNT,
    WEFT_TAP_REPLAYS_CUT_COUNT,
    WEFT_TAP_COUNTER_COUNT
};

/** One partition, published under one topic frame. Lives as long as the tap. */
struct weft_tap_stream {
    int32_t partition;
    char name[WEFT_TAP_NAME_BYTES_MAX]; // the topic frame
    size_t name_bytes;
    _Atomic int64_t next; // sequence that is published next; -1: not known yet
    // Of the live thread: when the last record is to be repeated (0: not), what `next` was when that was decided, and
    // how long after that again (0: not again).
    int64_t announce_at_us, announce_next, announce_again_us;
    // Of the live thread: the sequence that is read anew to be repeated, and the offset of a seek of the tap's own that
    // the consumer has yet to tell of, which moves nothing; -1: none.
    int64_t repeats, sought;
};

/** All streams by partition; grows when partitions are added. Readers of other threads lock. */
struct weft_tap_streams {
    pthread_mutex_t lock;
    struct weft_tap_stream **items; // entries may be NULL: a partition that was not seen yet
    size_t count;
    atomic_bool waiting; // for the first subscriptions: nothing is published yet
    char base[WEFT_TAP_NAME_BYTES_MAX];
};

void weft_tap_streams_init(struct weft_tap_streams *self, const char *base);
void weft_tap_streams_fini(struct weft_tap_streams *self);
// The stream of a partition, made if there is none yet. Live thread only.
struct weft_tap_stream *weft_tap_streams_of(struct weft_tap_streams *self, int32_t partition);
// The stream with this topic frame, or NULL. Any thread.
struct weft_tap_stream *weft_tap_streams_named(struct weft_tap_streams *self, weft_slice_t name);
bool weft_tap_streams_any(struct weft_tap_streams *self); // some stream's sequence is known. Any thread

// msgpack [offset, timestamp_ms, key, value, headers]: `out` is cleared first.
void weft_tap_encode_record(weft_buf_t *out, const struct weft_record_view *record);
void weft_tap_store_sequence(uint8_t out[8], uint64_t sequence);

/** What a tap was told, read once. */
struct weft_tap_settings {
    weft_hosted_node_t *node;
    const char *topic;
    int32_t partition; // -1: all
    struct weft_position from;
    bool whole_records, replay_topic, slow_waits;
    int64_t announce_us; // -1: never
    uint64_t wait_subscribers, hwm, subscriber_bytes;
    size_t replay_readers, replay_requesters, replay_bytes;
    int64_t replay_stall_us;
    char **consumer; // settings of a consumer, NULL at the end
};

// A consumer with the tap's settings and `extra` (NULL at the end) behind them.
WEFT_MUST_USE weft_err_t weft_tap_consumer_new(const struct weft_tap_settings *settings, const char *const *extra,
                                               weft_consumer_t **out, struct weft_error *error);

// ---- live.c

typedef struct weft_tap_live weft_tap_live_t;

// `outlet` is open; it stays the caller's.
struct weft_tap_outlet;
WEFT_MUST_USE weft_err_t weft_tap_live_new(const struct weft_tap_settings *settings, struct weft_tap_streams *streams,
                                           struct weft_tap_outlet *outlet, weft_tap_live_t **out,
                                           struct weft_error *error);
void weft_tap_live_destroy(weft_tap_live_t **self_p);
weft_err_t weft_tap_live_run(weft_tap_live_t *self, struct weft_error *error); // until the node is to stop

// ---- replay.c

typedef struct weft_tap_replay weft_tap_replay_t;

// `router` is bound; it stays the caller's. One reader is made at once, so that wrong settings are told.
WEFT_MUST_USE weft_err_t weft_tap_replay_new(const struct weft_tap_settings *settings, struct weft_tap_streams *streams,
                                             void *router, weft_tap_replay_t **out, struct weft_error *error);
void weft_tap_replay_destroy(weft_tap_replay_t **self_p);
void weft_tap_replay_run(weft_tap_replay_t *self); // until the node is to stop

#endif
