// SPDX-License-Identifier: MPL-2.0
/** The monotonic clock of this machine: for pauses, deadlines and ages, never for what is stored or sent. Any thread. */
#ifndef WEFT_COMMON_CLOCK_H
#define WEFT_COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t weft_mono_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline int64_t weft_mono_ms(void)
{
    return weft_mono_us() / 1000;
}

#endif
