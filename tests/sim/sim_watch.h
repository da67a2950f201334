// SPDX-License-Identifier: MPL-2.0
/**
 * Watch: somebody who asks again and again where partitions end, at level committed. What was committed before the question was
 * asked, in an epoch up to that of the leader that answers, may not be missing from the answer (rule 5, KIP-207; O6).
 */
#ifndef WEFT_TESTS_SIM_WATCH_H
#define WEFT_TESTS_SIM_WATCH_H

#include "sim_witness.h"

struct sim_watch {
    struct sim_clients *clients;
    const sim_witness_t *witness;
    sim_host_t host;
    weft_admin_part_t *admin;
    weft_part_id_t admin_id;
    bool busy;
    int topic, partition;
    int32_t epoch;           // of the leader when it was asked
    int64_t asked_us, known; // when; what was committed by then
};

void sim_watch_start(struct sim_watch *self, struct sim_clients *clients, const sim_witness_t *witness);

#endif
