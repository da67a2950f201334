// SPDX-License-Identifier: MPL-2.0
/**
 * Pace: when a record is due. Counted from one start, in whole milliseconds of the recording, so that errors of single
 * sleeps never add up.
 *
 *     due = start + (recorded time since the first record, pauses cut) / speed
 *
 * A record that leaves up to WEFT_PACE_SLIP_US late is caught up: the next ones are due as before. One that leaves later (a peer
 * that took nothing, a cluster that was away) moves the start: the pace slips, and there is no rush afterwards. The first one
 * moves it in any case: its leaving is the start.
 */
#ifndef WEFT_PLAYER_PACE_H
#define WEFT_PLAYER_PACE_H

#include "../../lib/base/error.h"

#define WEFT_PACE_SLIP_US 100000
#define WEFT_PACE_SPEED_MAX 1e6

struct weft_pace {
    double speed;         // 0: as fast as possible
    int64_t pause_max_ms; // -1: as recorded
    bool begun, fresh;    // fresh: the first record has not left yet
    int64_t start_us;     // monotonic
    int64_t media_ms;     // recorded time since the start, of the record at media_of_ms
    int64_t media_of_ms;
};

// "2.5"; "0" and "max": as fast as possible. INVALID_ARGUMENT.
WEFT_MUST_USE weft_err_t weft_pace_parse(const char *text, double *speed);

// The record with this time is due at the result (monotonic us). The first one after a restart is due now.
int64_t weft_pace_due_us(struct weft_pace *self, int64_t timestamp_ms, int64_t now_us);
// It left now. Returns by how much the pace slipped (us), 0 mostly.
int64_t weft_pace_left(struct weft_pace *self, int64_t due_us, int64_t now_us);
void weft_pace_restart(
    struct weft_pace *self); // the next record is due at once: after a pause, a seek, a change of speed

#endif
