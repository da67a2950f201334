// SPDX-License-Identifier: MPL-2.0
/**
 * Faults: what the nemesis does to nodes, network, disks and clocks while clients work. Manners of the plan say which kinds a history has.
 */
#ifndef WEFT_TESTS_SIM_FAULTS_H
#define WEFT_TESTS_SIM_FAULTS_H

#include "sim_plan.h"

void sim_faults_start(struct sim_run *run); // until run->faults_end_us
void sim_faults_heal(struct sim_run *run);  // nothing fails any more; nodes that are down come back
// What was stopped cleanly comes back by itself after a while.
void sim_faults_revive(struct sim_run *run);

#endif
