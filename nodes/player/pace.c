// SPDX-License-Identifier: MPL-2.0
// Timestamps may go backwards or be lies: backwards counts as no time at all, and a step is at most a hundred years, so
// nothing overflows.
#include "pace.h"

#include <ctype.h>
#include <stdlib.h>

#define STEP_MS_MAX (INT64_C(100) * 365 * 86400 * 1000)

weft_err_t weft_pace_parse(const char *text, double *speed)
{
    if (strcmp(text, "max") == 0) {
        *speed = 0;
        return WEFT_OK;
    }
    // Digits with one point: strtod would take more, and asks the locale.
    double number = 0, unit = 1;
    bool point = false, digit = false;
    for (; *text; text++) {
        if (*text == '.' && !point) {
            point = true;
            continue;
        }
        if (!isdigit((unsigned char) *text)) return WEFT_ERR_INVALID_ARGUMENT;
        digit = true;
        number = number * 10 + (*text - '0');
        if (point) unit *= 10;
    }
    number /= unit;
    if (!digit || number > WEFT_PACE_SPEED_MAX || (number > 0 && number < 1 / WEFT_PACE_SPEED_MAX))
        return WEFT_ERR_INVALID_ARGUMENT;
    *speed = number;
    return WEFT_OK;
}

static int64_t s_step_ms(const struct weft_pace *self, int64_t timestamp_ms)
{
    int64_t step_ms;
    if (timestamp_ms <= self->media_of_ms) return 0;
    if (__builtin_sub_overflow(timestamp_ms, self->media_of_ms, &step_ms) || step_ms > STEP_MS_MAX)
        step_ms = STEP_MS_MAX;
    return self->pause_max_ms >= 0 && step_ms > self->pause_max_ms ? self->pause_max_ms : step_ms;
}

int64_t weft_pace_due_us(struct weft_pace *self, int64_t timestamp_ms, int64_t now_us)
{
    if (self->speed <= 0) return now_us;
    if (!self->begun) {
        self->begun = self->fresh = true;
        self->start_us = now_us;
        self->media_ms = 0;
        self->media_of_ms = timestamp_ms;
    }
    int64_t media_ms = self->media_ms + s_step_ms(self, timestamp_ms);
    double due_us = (double) media_ms * 1000 / self->speed;
    if (media_ms > STEP_MS_MAX || due_us > (double) STEP_MS_MAX * 1000) return self->start_us + STEP_MS_MAX * 1000;
    self->media_ms = media_ms;
    if (timestamp_ms > self->media_of_ms) self->media_of_ms = timestamp_ms;
    return self->start_us + (int64_t) due_us;
}

int64_t weft_pace_left(struct weft_pace *self, int64_t due_us, int64_t now_us)
{
    int64_t late_us = now_us - due_us;
    bool slips = self->begun && late_us > WEFT_PACE_SLIP_US;
    if (slips || self->fresh) self->start_us += late_us;
    self->fresh = false;
    return slips ? late_us : 0;
}

void weft_pace_restart(struct weft_pace *self)
{
    self->begun = false;
}
