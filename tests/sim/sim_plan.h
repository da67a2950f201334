// SPDX-License-Identifier: MPL-2.0
/**
 * Plan: what a seed stands for, drawn before anything happens; and the run, which the files of a history share: sim_plan.c, sim_faults.c,
 * sim_operations.c, sim_run.c.
 */
#ifndef WEFT_TESTS_SIM_PLAN_H
#define WEFT_TESTS_SIM_PLAN_H

#include "sim_churn.h"
#include "sim_clients.h"
#include "sim_edges.h"
#include "sim_operations.h"
#include "sim_resets.h"
#include "sim_watch.h"
#include "sim_witness.h"

#define SIM_SECOND INT64_C(1000000)

struct sim_run {
    sim_t *sim;
    sim_history_t *history;
    sim_witness_t *witness;
    struct sim_nodes nodes;
    struct sim_clients clients;
    struct sim_churn churn;
    struct sim_operations operations;
    struct sim_watch watch;
    struct sim_members members;
    struct sim_resets resets;
    struct sim_edges edges;
    struct sim_config network;
    // The plan.
    uint64_t seed;
    bool has_groups, has_edges;
    struct sim_settings settings;
    int replicas_max;       // of its topics
    int64_t faults_us;      // how long faults go on
    uint32_t fault_wait_us; // mean time between two
    bool disks_fail;
    bool has_churn, has_stranger, has_operations, has_watch;
    bool unclean;     // leaders are elected that may lack records
    bool rots;        // in the end a bit flips on a disk at rest
    bool left_alone;  // once it is calm all coordinators go, and the work goes on (I10)
    bool all_restart; // once it is calm all nodes go, and come back as they were (I9)
    uint32_t manners; // of faults (enum sim_manner)
    // On its way.
    int64_t faults_end_us;
    int64_t hang_until_us; // the last of the disks that hang goes on
    bool rolling;          // restarts under way
    size_t rolling_at;
    struct weft_crash_save *save; // of `saved`, from before
    struct sim_node *saved;
    bool data_lost; // of one machine
    int32_t rotten; // the broker where it did, 0: none yet
};

/** What faults of a history are like; several at once. */
enum sim_manner {
    SIM_MANNER_CRASHES = 1, // kills, stops and power losses of one node or all
    SIM_MANNER_LAST_ONE =
        2, // the others go one after the other; the last one loses power, and they come back first, or last
    SIM_MANNER_CUTS = 4,    // of links and hosts, one way or both, rings, flapping
    SIM_MANNER_ZOMBIES = 8, // who leads is paused or cut off from all but clients, longer than sessions last
    SIM_MANNER_SLOW = 16,   // disks and links
    SIM_MANNER_CLOCKS = 32,
    SIM_MANNER_DATA_LOSS = 64,    // a machine comes back with an empty disk, or with a copy from before
    SIM_MANNER_ROLLING = 128,     // restarts of all nodes in turn
    SIM_MANNER_COORDINATORS = 256 // most of it happens to coordinators
};

extern const struct sim_config sim_calm;

void sim_plan(struct sim_run *run); // simulation, history and witness are there

#endif
