// SPDX-License-Identifier: MPL-2.0
/**
 * Mutations: the planted bugs (lib/base/mutate.h), and the hunt that shows how many seeds each lives.
 */
#ifndef WEFT_TESTS_SIM_MUTATIONS_H
#define WEFT_TESTS_SIM_MUTATIONS_H

#include <stdbool.h>

struct sim_mutation {
    const char *name;
    bool often; // a few dozen seeds show it, whichever they are: CI hunts these
};

extern const struct sim_mutation sim_mutations[]; // without a name at the end

void sim_mutate(const char *name); // NULL: none

#endif
