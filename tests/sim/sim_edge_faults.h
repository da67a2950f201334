// SPDX-License-Identifier: MPL-2.0
/**
 * Faults of edges (sim_edge_faults.c), and the moves of one edge that they are made of (sim_edges.c).
 */
#ifndef WEFT_TESTS_SIM_EDGE_FAULTS_H
#define WEFT_TESTS_SIM_EDGE_FAULTS_H

#include "sim_edges.h"

void sim_edge_start(struct sim_edge *self); // nothing if it isn't down
void sim_edge_start_after(struct sim_edge *self, int64_t wait_us);
void sim_edge_kill(struct sim_edge *self);
void sim_edge_power_off(struct sim_edge *self);
void sim_edge_stop(struct sim_edge *self);

#endif
