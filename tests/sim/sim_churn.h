// SPDX-License-Identifier: MPL-2.0
/**
 * Churn: one topic that is deleted and created again under its name, all the time, while producers send to it (REPLICATION.md rule 12).
 *
 * What was acknowledged may be gone with the topic; it must never come back: nothing acknowledged before a deletion was asked for may stand in the
 * topic of that name in the end.
 */
#ifndef WEFT_TESTS_SIM_CHURN_H
#define WEFT_TESTS_SIM_CHURN_H

#include "sim_clients.h"

struct sim_churn {
    struct sim_clients *clients;
    int topic; // its number
    sim_host_t host;
    weft_admin_part_t *admin;
    weft_part_id_t admin_id;
    bool busy, creates, quiet;
    int64_t asked_us; // when the deletion under way was
    uint32_t deletions, creations;
};

void sim_churn_start(struct sim_churn *self, struct sim_clients *clients, int topic);
// Ends with the topic there. Call it once faults have stopped.
void sim_churn_settle(struct sim_churn *self);

#endif
