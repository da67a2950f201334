// SPDX-License-Identifier: MPL-2.0
/**
 * Waits: the requests that a shard holds until it can answer them, with their deadlines.
 *
 * Contexts come from a pool in chunks that never move; a token (slot and generation) names one, so that an effect for
 * a request that timed out meanwhile finds nothing instead of somebody else. Deadlines are a binary heap of the same
 * contexts: no timer, no allocation per request.
 */
#ifndef WEFT_BROKER_WAITS_H
#define WEFT_BROKER_WAITS_H

#include "../../lib/core/replica.h"
#include "../../lib/wire/port.h"

struct weft_partition;

enum weft_wait_kind {
    WEFT_WAIT_FREE,
    WEFT_WAIT_PRODUCE,
    WEFT_WAIT_FETCH,
    WEFT_WAIT_REPLICATE,
    WEFT_WAIT_DELETE,
    WEFT_WAIT_OFFSETS
};

/** Who asked, and how to answer. */
struct weft_asker {
    uint64_t request_id;
    struct weft_peer peer;
    bool delimited;
};

struct weft_wait_fetch {
    int64_t offset;
    int32_t epoch;
    uint32_t min_bytes, max_bytes; // max_bytes 0: a watch
    bool durable;                  // read: durable
};

struct weft_wait {
    enum weft_wait_kind kind;
    uint32_t slot, generation;
    uint32_t heap_at; // position in the heap plus 1; 0: not in it
    int64_t deadline_us;
    struct weft_asker asker;
    struct weft_partition *partition;
    struct weft_wait *next, *previous; // in the partition's list
    void *owner;                       // REPLICATE: the session; OFFSETS: the batch
    struct weft_wait_fetch fetch;
    int64_t before_offset; // DELETE
};

typedef struct weft_waits {
    struct weft_wait **chunks;
    size_t chunk_count;
    struct weft_wait *free;
    struct weft_wait **heap;
    size_t heap_count, heap_capacity;
    size_t count; // taken now
} weft_waits_t;

void weft_waits_init(weft_waits_t *self);
void weft_waits_fini(weft_waits_t *self);

struct weft_wait *weft_waits_take(weft_waits_t *self, enum weft_wait_kind kind);
void weft_waits_give(weft_waits_t *self, struct weft_wait *wait); // leaves the heap too; must have left its list
uint64_t weft_wait_token(const struct weft_wait *wait);           // never 0
struct weft_wait *weft_waits_find(const weft_waits_t *self, uint64_t token); // NULL: answered already
void weft_waits_deadline(weft_waits_t *self, struct weft_wait *wait, int64_t deadline_us);
int64_t weft_waits_next_us(const weft_waits_t *self); // WEFT_TIME_NEVER if none
struct weft_wait *weft_waits_due(weft_waits_t *self,
                                 int64_t now_us);  // takes one whose deadline passed out of the heap; NULL: none
size_t weft_waits_bytes(const weft_waits_t *self); // memory that those taken stand for

// A partition's list: oldest first.
struct weft_wait_list {
    struct weft_wait *head, *tail;
    size_t count;
};

void weft_wait_list_push(struct weft_wait_list *list, struct weft_wait *wait);
void weft_wait_list_remove(struct weft_wait_list *list, struct weft_wait *wait);

#endif
