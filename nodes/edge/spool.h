// SPDX-License-Identifier: MPL-2.0
/**
 * Spool: produce requests on the edge's disk while their leader can't be reached, delivered in order once it can.
 *
 * One log a partition (lib/log, a data directory like a broker's: docs/STORAGE.md), group commit by a sync part. A
 * request is answered, level `spooled`, once its batch is synced. The log holds batches as they will be sent: with the
 * producer's identity and sequence, or, of those that came without one, with an identity of the edge's own, which is
 * thereby as durable as the batch. So a batch may be sent any number of times, by any life of the edge, and the core
 * writes it once (I3). What was delivered is trimmed; the log's start is all that is remembered.
 *
 * Draining: batches of one identity go in a window, those of another wait for it, so that the order of the partition is
 * the order in which it was kept. After a failure all that is under way is waited for, and sent again from the first that
 * was not delivered.
 *
 * What the core refuses for good is set aside in the file `dead-letters`, with its reason (docs/EDGE.md), and what
 * stands behind it in the same session goes on under a new identity; so it does where the core has forgotten the session.
 * Such names are written to the file `renamed` before they are used.
 */
#ifndef WEFT_EDGE_SPOOL_H
#define WEFT_EDGE_SPOOL_H

#include "edge.h"

#include "../../lib/base/options.h"
#include "../../lib/log/sync_part.h"

struct weft_spooled; // what is kept of one partition

// Opens the directory and all that it holds. Blocks on the disk. *sync is a part to be added to the world, behind the
// edge's own. A sentence where it is refused: LOCKED, WRONG_DIRECTORY, DAMAGED ...
WEFT_MUST_USE weft_err_t weft_spool_new(const struct weft_disk *disk, const weft_options_t *options, const char *name,
                                        weft_spool_t **out, struct weft_part **sync, struct weft_error *error);
void weft_spool_destroy(weft_spool_t **self_p); // accepts NULL
void weft_spool_set_sync(weft_spool_t *self, weft_part_id_t sync_id);
int64_t weft_spool_after_us(const weft_spool_t *self);

// From the part's slots. Start makes a lane for each log that holds something.
void weft_spool_start(weft_spool_t *self, weft_edge_part_t *edge);
void weft_spool_synced(weft_spool_t *self, struct weft_sync_request *request); // consumes the mail's body
// When to call again; kicked: a link came up, or the view changed.
int64_t weft_spool_turn(weft_spool_t *self, int64_t now_us, bool kicked);
bool weft_spool_rests(const weft_spool_t *self);                              // no sync is under way
bool weft_spool_owns(const weft_spool_t *self, const struct weft_call *call); // a batch on its way, no client's request

// Keeps the batch of a request that is in no lane; it is answered later, or refused at once.
void weft_spool_keep(weft_spool_t *self, struct weft_edge_lane *lane, struct weft_edge_call *call);
// More of this partition goes behind what is kept.
bool weft_spooled_goes_behind(const struct weft_spooled *self);
// What waits in the lane waits on: not all that was kept before it is delivered.
bool weft_spooled_holds(const struct weft_spooled *self);

#endif
