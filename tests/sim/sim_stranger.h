// SPDX-License-Identifier: MPL-2.0
/**
 * Stranger: a peer that sends every node what no client of ours would (I8): noise, lying counts, good requests with
 * flipped bits, batches that don't match their checksum, offsets from nowhere. Nothing it sends may be taken: what the
 * cluster keeps and gives to others is checked by the history as ever.
 */
#ifndef WEFT_TESTS_SIM_STRANGER_H
#define WEFT_TESTS_SIM_STRANGER_H

#include "sim_clients.h"

// A part on a host of its own, sending until the simulation ends; it belongs to the world.
void sim_stranger_start(struct sim_clients *clients);

#endif
