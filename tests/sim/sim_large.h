// SPDX-License-Identifier: MPL-2.0
/**
 * Large: one group of 1,000 members and 10,000 partitions, scripted. What heartbeats cost the coordinator, and how long a join and a leave take.
 */
#ifndef WEFT_TESTS_SIM_LARGE_H
#define WEFT_TESTS_SIM_LARGE_H

#include <stdbool.h>

// Prints what it measured; false: something took longer, or cost more, than it may.
bool sim_large_run(bool trace);

#endif
