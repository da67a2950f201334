// SPDX-License-Identifier: MPL-2.0
/**
 * Asks: what the shards of a broker want the coordinator to know of their partitions, gathered by the control part into
 * one request of a kind at a time.
 *
 * Of a partition only the newest counts. Nothing here is sure to arrive: a shard asks again until the cluster state
 * shows the consequence, so what finds no room is left out, and what was refused is forgotten. Pure: no port.
 */
#ifndef WEFT_BROKER_ASKS_H
#define WEFT_BROKER_ASKS_H

#include "broker.h"

#define WEFT_ASKS_MESSAGE_MAX 512 // in one request: with 16 members each it stays within the limits of a header
#define WEFT_ASKS_WAITING_MAX 16384

enum weft_asks_kind {
    WEFT_ASKS_IN_SYNC, // struct weft_broker_ask, in_sync_change
    WEFT_ASKS_REPORTS  // struct weft_broker_report, partition_report
};

typedef struct weft_asks weft_asks_t;

weft_asks_t *weft_asks_new(enum weft_asks_kind kind);
void weft_asks_destroy(weft_asks_t **self_p);

// Copies `body` (of its kind) in place of an earlier one of that partition. False: too many wait, it is left out.
bool weft_asks_put(weft_asks_t *self, const void *body);
size_t weft_asks_waiting(const weft_asks_t *self);
bool weft_asks_flying(const weft_asks_t *self); // a request was encoded and is neither done nor back
// The oldest that wait, as one request. None may be flying, and something must wait.
void weft_asks_encode(weft_asks_t *self, uint64_t id, int32_t broker, weft_id_t incarnation, weft_buf_t *out);
void weft_asks_done(weft_asks_t *self);  // answered, whatever the answer was
void weft_asks_back(weft_asks_t *self);  // it will not be answered: waits again, but for what is newer by now
void weft_asks_clear(weft_asks_t *self); // all of it

#endif
