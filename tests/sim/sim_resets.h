// SPDX-License-Identifier: MPL-2.0
/**
 * Resets: a person who sets the offsets of groups back or forth, or deletes a group, whenever one has no members; else it is refused.
 */
#ifndef WEFT_TESTS_SIM_RESETS_H
#define WEFT_TESTS_SIM_RESETS_H

#include "sim_members.h"

struct sim_resets {
    struct sim_members *members;
    sim_host_t host;
    weft_admin_part_t *admin;
    weft_part_id_t admin_id;
    enum { SIM_RESETS_REST, SIM_RESETS_TOKEN, SIM_RESETS_CHANGE } state;
    bool deletes, quiet;
    int group, topic, partition;
    weft_id_t id; // of the topic
    uint64_t token;
    int64_t offset;
    uint64_t done;
};

void sim_resets_start(struct sim_resets *self, struct sim_members *members);
void sim_resets_settle(struct sim_resets *self); // waits for what is under way, and does nothing more

#endif
