// SPDX-License-Identifier: MPL-2.0
/**
 * Mutations: the planted bugs (lib/base/mutate.h), and the hunt that shows how many seeds each lives.
 */
#ifndef WEFT_TESTS_SIM_MUTATIONS_H
#define WEFT_TESTS_SIM_MUTATIONS_H

#include <stddef.h>

extern const char *const sim_mutations[]; // names, NULL at the end

void sim_mutate(const char *name); // NULL: none

#endif
