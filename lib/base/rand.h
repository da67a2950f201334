// SPDX-License-Identifier: MPL-2.0
/**
 * Seeded randomness (xoshiro256**, Blackman and Vigna 2018; seeded by splitmix64). Not for secrets.
 *
 * One seed gives one sequence: the simulator depends on it. Real nodes seed it from the operating system with
 * weft_rand_seed_os.
 */
#ifndef WEFT_BASE_RAND_H
#define WEFT_BASE_RAND_H

#include "bytes.h"

typedef struct weft_rand {
    uint64_t state[4];
} weft_rand_t;

void weft_rand_init(weft_rand_t *self, uint64_t seed);
void weft_rand_seed_os(weft_rand_t *self); // getrandom(2)
void weft_rand_source_set(uint64_t seed);  // tests in one thread: weft_rand_seed_os goes by this seed; 0: not any more
uint64_t weft_rand_next(weft_rand_t *self);
uint64_t weft_rand_below(weft_rand_t *self, uint64_t bound); // 0 to bound - 1, unbiased; bound >= 1
bool weft_rand_chance(weft_rand_t *self, uint32_t per_million);
weft_id_t weft_rand_id(weft_rand_t *self); // never zero

#endif
