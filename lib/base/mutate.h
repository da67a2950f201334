// SPDX-License-Identifier: MPL-2.0
/**
 * Planted bugs: switches by which tests/sim proves that it finds a broken promise.
 *
 * Code that keeps a promise may ask weft_mutated("name") and then break it. Only objects compiled with WEFT_MUTATIONS have the question in them, those of
 * the test program weft_sim_mutants; everywhere else it is the constant false.
 */
#ifndef WEFT_BASE_MUTATE_H
#define WEFT_BASE_MUTATE_H

#include <stdbool.h>

#ifdef WEFT_MUTATIONS
bool weft_mutated(const char *name); // tests/sim/sim_mutations.c
#else
#define weft_mutated(name) false
#endif

#endif
