// SPDX-License-Identifier: MPL-2.0
/**
 * Logs: the replicas' files, read past all nodes and compared byte for byte, batch by batch (I2, O5, O6).
 */
#ifndef WEFT_TESTS_SIM_LOGS_H
#define WEFT_TESTS_SIM_LOGS_H

#include "sim_witness.h"

// At any moment, also amid faults: whoever is in sync, dead or alive, has all that is known to be committed, and the same bytes of it.
void sim_logs_compare_committed(struct sim_nodes *nodes, const struct sim_clients *clients,
                                const sim_witness_t *witness);
// In the end, when all replicas are in sync and nothing is written: they are equal from the first offset that all have to the end.
void sim_logs_compare_all(struct sim_nodes *nodes, const struct sim_clients *clients, const sim_witness_t *witness);

#endif
