// SPDX-License-Identifier: MPL-2.0
/**
 * Wrap: the few places where code asks the machine instead of its port (a new directory's id, the time it was made, a hash seed) are
 * answered from the seed: linked with --wrap, so that a seed is a history. And __offsets, whose settings nobody can change,
 * is made with segments that roll soon, so that it is compacted within a history.
 */
#ifndef WEFT_TESTS_SIM_WRAP_H
#define WEFT_TESTS_SIM_WRAP_H

#include <stdint.h>

void sim_wrap_seed(uint64_t seed);

#endif
