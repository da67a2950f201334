// SPDX-License-Identifier: MPL-2.0
#include "sim_wrap.h"

#include "../../lib/base/rand.h"

#include <time.h>

static uint64_t s_state;

void sim_wrap_seed(uint64_t seed)
{
    s_state = seed;
}

void __wrap_weft_rand_seed_os(weft_rand_t *self);
time_t __wrap_time(time_t *out);

void __wrap_weft_rand_seed_os(weft_rand_t *self)
{
    weft_rand_init(self, s_state += 0x9e3779b97f4a7c15ULL);
}

time_t __wrap_time(time_t *out)
{
    if (out != NULL) *out = 1700000000;
    return 1700000000;
}
