// SPDX-License-Identifier: MPL-2.0
// Between two looks the processor is offered to whoever waits for it (sched_yield). It comes back within a microsecond
// if nobody does; after more than S_OTHERS_US somebody has work, and looking out would take turns away from it. A short
// gap is no reason: a message's next station may just have been placed on this processor, and it is soon done.
#include "awake.h"

#include <sched.h>
#include <stdbool.h>
#include <time.h>

#define S_OTHERS_US 100
#define S_REST_US 10000
#define S_VAIN_SHARE 20

static int64_t s_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static bool s_may(struct weft_awake *self, int64_t now_us)
{
    self->credit_us += (now_us - self->credited_us) / S_VAIN_SHARE;
    if (self->credit_us > 2 * self->most_us) self->credit_us = 2 * self->most_us;
    self->credited_us = now_us;
    return now_us >= self->rest_until_us && self->credit_us >= self->most_us;
}

int weft_awake_look(struct weft_awake *self, struct pollfd *polls, size_t count)
{
    if (self->most_us == 0) return 0;
    int64_t begun_us = s_clock_us(), now_us = begun_us;
    if (!s_may(self, begun_us)) return 0;
    while (now_us - begun_us < self->most_us) {
        int readable = poll(polls, count, 0);
        if (readable > 0) return readable;
        int64_t offered_us = s_clock_us();
        sched_yield();
        now_us = s_clock_us();
        if (now_us - offered_us <= S_OTHERS_US) continue;
        self->rest_until_us = now_us + S_REST_US;
        return 0;
    }
    self->credit_us -= self->most_us;
    return 0;
}
