// SPDX-License-Identifier: MPL-2.0
// xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018), seeded by splitmix64
// (Steele, Lea, Flood 2014) so that close seeds give unrelated sequences.
#include "rand.h"

#include "assert.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

static uint64_t s_rotate(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static uint64_t s_splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

void weft_rand_init(weft_rand_t *self, uint64_t seed)
{
    for (int i = 0; i < 4; i++) self->state[i] = s_splitmix(&seed);
}

static _Atomic uint64_t s_source; // 0: the operating system

void weft_rand_source_set(uint64_t seed)
{
    s_source = seed;
}

void weft_rand_seed_os(weft_rand_t *self)
{
    if (s_source != 0) {
        weft_rand_init(self, atomic_fetch_add(&s_source, 0x9e3779b97f4a7c15));
        return;
    }
    uint64_t seed = 0;
    ssize_t got;
    do got = getrandom(&seed, sizeof seed, 0);
    while (got < 0 && errno == EINTR);
    weft_assert(got == (ssize_t) sizeof seed);
    weft_rand_init(self, seed);
}

uint64_t weft_rand_next(weft_rand_t *self)
{
    uint64_t *s = self->state;
    uint64_t result = s_rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s_rotate(s[3], 45);
    return result;
}

// Multiply and reject (Lemire, "Fast random integer generation in an interval", 2019): no modulo bias, rarely a second
// draw.
uint64_t weft_rand_below(weft_rand_t *self, uint64_t bound)
{
    weft_assert(bound >= 1);
    unsigned __int128 product = (unsigned __int128) weft_rand_next(self) * bound;
    if ((uint64_t) product < bound) {
        uint64_t threshold = -bound % bound;
        while ((uint64_t) product < threshold) product = (unsigned __int128) weft_rand_next(self) * bound;
    }
    return (uint64_t) (product >> 64);
}

bool weft_rand_chance(weft_rand_t *self, uint32_t per_million)
{
    return weft_rand_below(self, 1000000) < per_million;
}

weft_id_t weft_rand_id(weft_rand_t *self)
{
    weft_id_t id;
    do {
        uint64_t halves[2] = {weft_rand_next(self), weft_rand_next(self)};
        memcpy(id.bytes, halves, sizeof id.bytes);
    } while (weft_id_is_zero(id));
    return id;
}
