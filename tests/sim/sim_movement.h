// SPDX-License-Identifier: MPL-2.0
/**
 * Movement: does a new target of a group leave with its owners all that can stay there? Asked of the sticky assignor where all members subscribe to the
 * same: then the least that has to move is known.
 */
#ifndef WEFT_TESTS_SIM_MOVEMENT_H
#define WEFT_TESTS_SIM_MOVEMENT_H

#include "../../lib/core/groups.h"
#include "sim_history.h"

struct sim_movement_place {
    weft_id_t topic;
    uint32_t partition;
    size_t owner; // position in the group
};

struct sim_movement {
    char group[256];
    struct sim_movement_place *places; // by the old target
    size_t count, member_count;
};

// The target as it is before the group_assigned command; count stays 0 where nothing is asked.
void sim_movement_before(struct sim_movement *out, const weft_groups_t *groups, const weft_cluster_t *cluster,
                         weft_slice_t command);
void sim_movement_after(const struct sim_movement *self, const weft_groups_t *groups, const weft_cluster_t *cluster,
                        sim_history_t *history);
void sim_movement_fini(struct sim_movement *self);

#endif
