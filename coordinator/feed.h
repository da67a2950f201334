// SPDX-License-Identifier: MPL-2.0
/**
 * Feed: the last commands, kept to be sent to brokers as the change from one index of the cluster state to another.
 *
 * Bounded in commands and bytes; whoever is further behind gets a snapshot. Frames made from it are counted: a
 * change encoded once goes to any number of brokers without a copy.
 */
#ifndef WEFT_COORDINATOR_FEED_H
#define WEFT_COORDINATOR_FEED_H

#include "../lib/core/cluster.h"
#include "../lib/wire/frame.h"

#define WEFT_FEED_COMMANDS_MAX 8192
#define WEFT_FEED_BYTES_MAX (16 * 1024 * 1024)
#define WEFT_FEED_MESSAGE_BYTES_MAX (4 * 1024 * 1024) // of one push, but always one command

typedef struct weft_coordinator_feed weft_coordinator_feed_t;

weft_coordinator_feed_t *weft_coordinator_feed_new(void);
void weft_coordinator_feed_destroy(weft_coordinator_feed_t **self_p);
void weft_coordinator_feed_add(weft_coordinator_feed_t *self, uint64_t index,
                               weft_slice_t command); // copied; `index` above the last
// The state was replaced by a snapshot at `index`: what was kept leads nowhere.
void weft_coordinator_feed_reset(weft_coordinator_feed_t *self, uint64_t index);

/** One push. */
struct weft_coordinator_update {
    uint64_t from, to; // index before and after; from means nothing for a snapshot
    bool snapshot;
    weft_frame_t data; // for the caller to send or drop
};

/**
 * The next step from index `from` (below weft_cluster_index): [index, command] pairs back to back while they are
 * kept, else the whole cluster. from 0 is somebody who holds nothing: a snapshot too.
 */
void weft_coordinator_feed_next(weft_coordinator_feed_t *self, const weft_cluster_t *cluster, uint64_t from,
                                struct weft_coordinator_update *out);
// Lets go of the encoded changes that weft_coordinator_feed_next keeps for the next who asks for the same.
void weft_coordinator_feed_forget(weft_coordinator_feed_t *self);

#endif
