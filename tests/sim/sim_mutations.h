// SPDX-License-Identifier: MPL-2.0
/**
 * Mutations: the planted bugs (lib/base/mutate.h), and the hunt that shows how many seeds each lives.
 */
#ifndef WEFT_TESTS_SIM_MUTATIONS_H
#define WEFT_TESTS_SIM_MUTATIONS_H

#include <stddef.h>

// Names, NULL at the end.
extern const char *const sim_mutations_often[]; // a few dozen seeds show each, whichever they are: CI plants these
extern const char *const sim_mutations_seldom[];
extern const char *const sim_mutations_edge[]; // likewise, in histories with edges

void sim_mutate(const char *name); // NULL: none

#endif
