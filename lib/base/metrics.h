// SPDX-License-Identifier: MPL-2.0
/**
 * Counters that anyone can read (I7), and a latency histogram.
 *
 * A counter set belongs to one actor, which alone writes; other threads may read (relaxed atomics). A set is described
 * by a constant table, so that names and docs stand in one place and can be listed.
 * The histogram has logarithmic buckets with 1/64 relative error from 1 ns to 1 hour (the layout of HdrHistogram, Tene
 * 2012).
 */
#ifndef WEFT_BASE_METRICS_H
#define WEFT_BASE_METRICS_H

#include "bytes.h"

#include <weft/node_type.h>

#include <stdatomic.h>

typedef struct weft_counters {
    const struct weft_counter_info *infos;
    size_t count;
    _Atomic uint64_t *values;
} weft_counters_t;

void weft_counters_init(weft_counters_t *self, const struct weft_counter_info *infos, size_t count);
void weft_counters_fini(weft_counters_t *self);

static inline void weft_counter_add(weft_counters_t *self, size_t index, uint64_t more)
{
    uint64_t value = atomic_load_explicit(&self->values[index], memory_order_relaxed);
    atomic_store_explicit(&self->values[index], value + more, memory_order_relaxed);
}

static inline void weft_counter_set(weft_counters_t *self, size_t index, uint64_t value)
{
    atomic_store_explicit(&self->values[index], value, memory_order_relaxed);
}

static inline uint64_t weft_counter_get(const weft_counters_t *self, size_t index)
{
    return atomic_load_explicit(&self->values[index], memory_order_relaxed);
}

typedef struct weft_histogram weft_histogram_t;

weft_histogram_t *weft_histogram_new(void);
void weft_histogram_destroy(weft_histogram_t **self_p);
void weft_histogram_add(weft_histogram_t *self, uint64_t ns);
void weft_histogram_merge(weft_histogram_t *self, const weft_histogram_t *other);
uint64_t weft_histogram_count(const weft_histogram_t *self);
uint64_t weft_histogram_quantile(const weft_histogram_t *self, double quantile); // 0.0 to 1.0; ns; 0 when empty
uint64_t weft_histogram_max(const weft_histogram_t *self);

#endif
