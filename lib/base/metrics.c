// SPDX-License-Identifier: MPL-2.0
// Counter sets are plain arrays of atomics. The histogram keeps 64 linear buckets for each power of two: a value v with
// its top bit at e >= 6 falls into bucket 64 * (e - 6) + (v >> (e - 6)), which for v < 128 is v itself; so a bucket is
// at most 1/64 of its value wide.
#include "metrics.h"

#include "assert.h"

#include <stdlib.h>

void weft_counters_init(weft_counters_t *self, const struct weft_counter_info *infos, size_t count)
{
    *self = (weft_counters_t){.infos = infos, .count = count, .values = weft_calloc(count, sizeof *self->values)};
}

void weft_counters_fini(weft_counters_t *self)
{
    free(self->values);
    *self = (weft_counters_t){.infos = NULL, .count = 0, .values = NULL};
}

// ---- histogram

enum { S_SUB_BITS = 6, S_BUCKETS = 36 * 64 + 64 };

static const uint64_t s_ns_max = UINT64_C(3600) * 1000 * 1000 * 1000; // below 2^42: the last bucket is 35 * 64 + 127

struct weft_histogram {
    uint64_t count, max;
    uint64_t buckets[S_BUCKETS];
};

static size_t s_bucket(uint64_t ns)
{
    if (ns < 64) return ns;
    int shift = 63 - __builtin_clzll(ns) - S_SUB_BITS;
    return ((size_t) shift << S_SUB_BITS) + (size_t) (ns >> shift);
}

// The largest value of a bucket.
static uint64_t s_bucket_top(size_t bucket)
{
    if (bucket < 128) return bucket;
    int shift = (int) (bucket >> S_SUB_BITS) - 1;
    uint64_t mantissa = bucket - ((uint64_t) shift << S_SUB_BITS);
    return ((mantissa + 1) << shift) - 1;
}

weft_histogram_t *weft_histogram_new(void)
{
    return weft_calloc(1, sizeof(weft_histogram_t));
}

void weft_histogram_destroy(weft_histogram_t **self_p)
{
    free(*self_p);
    *self_p = NULL;
}

void weft_histogram_add(weft_histogram_t *self, uint64_t ns)
{
    if (ns > self->max) self->max = ns;
    size_t bucket = s_bucket(ns < s_ns_max ? ns : s_ns_max);
    weft_assert_slow(bucket < S_BUCKETS);
    self->buckets[bucket]++;
    self->count++;
}

void weft_histogram_merge(weft_histogram_t *self, const weft_histogram_t *other)
{
    for (size_t i = 0; i < S_BUCKETS; i++) self->buckets[i] += other->buckets[i];
    self->count += other->count;
    if (other->max > self->max) self->max = other->max;
}

uint64_t weft_histogram_count(const weft_histogram_t *self)
{
    return self->count;
}

uint64_t weft_histogram_quantile(const weft_histogram_t *self, double quantile)
{
    if (self->count == 0) return 0;
    if (!(quantile > 0.0)) quantile = 0.0;
    if (quantile >= 1.0) return self->max;
    uint64_t rank = (uint64_t) (quantile * (double) self->count) + 1; // of the sorted values, counted from 1
    if (rank > self->count) rank = self->count;
    uint64_t seen = 0;
    for (size_t i = 0; i < S_BUCKETS; i++) {
        seen += self->buckets[i];
        if (seen < rank) continue;
        uint64_t top = s_bucket_top(i);
        return top < self->max ? top : self->max;
    }
    return self->max;
}

uint64_t weft_histogram_max(const weft_histogram_t *self)
{
    return self->max;
}
