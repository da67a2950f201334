// SPDX-License-Identifier: MPL-2.0
/**
 * Operations: a person who changes the cluster under load: drains, moves, balances, elects, adds partitions, alters settings, decommissions.
 *
 * One call at a time, by the real admin client, told to go on in spite of faults. What is asked is drawn from what was decided last (the witness).
 */
#ifndef WEFT_TESTS_SIM_OPERATIONS_H
#define WEFT_TESTS_SIM_OPERATIONS_H

#include "sim_witness.h"

struct sim_operations {
    struct sim_clients *clients;
    const sim_witness_t *witness;
    sim_host_t host;
    weft_admin_part_t *admin;
    weft_part_id_t admin_id;
    const char *what; // is asked, NULL: nothing
    bool quiet;
    bool unclean;          // this person elects leaders that may lack records
    int topic, partitions; // being added
    int32_t leaving;       // broker being decommissioned, 0: none
    bool removed;          // and it is gone
    uint32_t asked, done;
};

void sim_operations_start(struct sim_operations *self, struct sim_clients *clients, const sim_witness_t *witness,
                          bool unclean);
// Ends with nothing drained, nothing throttled, and a decommission finished. Call it once faults have stopped.
void sim_operations_settle(struct sim_operations *self);

#endif
