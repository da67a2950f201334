// SPDX-License-Identifier: MPL-2.0
/**
 * Epochs: in which leader epoch of the source what was copied was written, so that a source that lost it says so when the
 * bridge comes back (KIP-320). Two spans are kept, the last ones. Pure.
 *
 * They must be true of a place that the target's tail tells, not only of the one noted. So a batch of another leader epoch
 * ends the round and is copied in the next one, and they are noted with the number of the last round that is surely this
 * run's, and, before its first batch, with that of the round it is about to begin. If the tail has batches of a newer round,
 * or another run had the claim, they are not believed: a wrong epoch would make the source deny what is there, and records
 * would be copied twice.
 */
#ifndef WEFT_BRIDGE_EPOCHS_H
#define WEFT_BRIDGE_EPOCHS_H

#include <stdbool.h>
#include <stdint.h>

struct weft_bridge_epoch {
    int64_t from; // source offset
    int32_t epoch;
};

struct weft_bridge_epochs {
    struct weft_bridge_epoch now, before; // from INT64_MAX, epoch -1: none
    int16_t round; // epoch of the bridge's session up to which they hold for what was copied; -1: none
};

void weft_bridge_epochs_init(struct weft_bridge_epochs *self);
int32_t weft_bridge_epochs_of(const struct weft_bridge_epochs *self, int64_t offset); // -1: not known
// From `from` on it is that one. False: that is known.
bool weft_bridge_epochs_begin(struct weft_bridge_epochs *self, int64_t from, int32_t epoch);
void weft_bridge_epochs_cut(struct weft_bridge_epochs *self, int64_t end); // what was behind is no more

#endif
