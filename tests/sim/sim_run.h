// SPDX-License-Identifier: MPL-2.0
/**
 * Run: the history of one seed, from the first start of the nodes to the verdict.
 *
 * Phases: nodes start and topics are created, without faults; load with faults; faults stop, everything has to be delivered in bounded
 * time (O9); the whole log is read once more and compared with all that was ever told (I1 to I4).
 */
#ifndef WEFT_TESTS_SIM_RUN_H
#define WEFT_TESTS_SIM_RUN_H

#include <stdbool.h>
#include <stdint.h>

struct sim_result {
    bool failed;
    char violation[1024];
    char summary[768]; // one line: what happened in it
    uint64_t digest;   // of the whole history: the same for every run of a seed by the same program
    uint64_t sent, acked, crashes, events;
    int64_t virtual_us;
};

enum sim_kind {
    SIM_KIND_CLUSTER, // clients know the nodes
    SIM_KIND_EDGE     // some know an edge alone (sim_edges.h)
};

// trace: steps on stderr; messages: also every message that arrives.
void sim_run_seed(uint64_t seed, enum sim_kind kind, bool trace, bool messages, struct sim_result *out);

#endif
