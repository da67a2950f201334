// SPDX-License-Identifier: MPL-2.0
// The next record, its time, and its frames on the socket. Sends never wait: when the peers take nothing the record stays
// the next one, and the loop waits for the socket together with everything else.
#include "player_inner.h"

#include <errno.h>

#define LATE_US 10000 // counted as late

void weft_player_restart_pace(struct weft_player *self)
{
    weft_pace_restart(&self->pace);
    self->due_us = 0;
}

weft_err_t weft_player_seek(struct weft_player *self, struct weft_position at)
{
    weft_err_t err = weft_reel_seek(self->reel, at);
    self->over = self->decoded = false;
    self->state = WEFT_REEL_WAIT;
    weft_player_restart_pace(self);
    return err;
}

// ---- one record

static void s_next(struct weft_player *self)
{
    weft_reel_pop(self->reel);
    self->decoded = false;
    self->due_us = 0;
}

// False: it can't be played, and was passed over.
static bool s_decode(struct weft_player *self, const struct weft_record_view *record)
{
    bool made;
    if (weft_frames_decode(record, self->frames, &self->frame_count, &made)) {
        if (!self->counts[WEFT_PLAYER_MALFORMED]++)
            weft_node_trace(self->node, 1,
                            "the record at offset %lld of partition %d is not sent: it does not hold what its headers "
                            "say; further ones are only counted",
                            (long long) record->offset, record->partition);
        s_next(self);
        return false;
    }
    if (!made && self->key_value) {
        self->frames[1] = self->frames[0];
        self->frames[0] = record->key.data ? record->key : weft_bytes("", 0);
        self->frame_count = 2;
    }
    self->decoded = true;
    return true;
}

// False: the peers take nothing now. A message that broke off (its peer left) begins anew.
static bool s_send(struct weft_player *self)
{
    size_t bytes = 0;
    for (size_t i = 0; i < self->frame_count; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < self->frame_count ? ZMQ_SNDMORE : 0);
        if (zmq_send(self->target.socket, self->frames[i].data, self->frames[i].size, flags) < 0) return false;
        bytes += self->frames[i].size;
    }
    self->counts[WEFT_PLAYER_SENT]++;
    self->counts[WEFT_PLAYER_SENT_BYTES] += bytes;
    return true;
}

static void s_mark_blocked(struct weft_player *self, bool blocked, int64_t now_us)
{
    if (self->blocked == blocked) return;
    if (!blocked) self->blocked_total_us += (uint64_t) (now_us - self->blocked_us);
    self->blocked = blocked;
    self->blocked_us = now_us;
}

static void s_sent(struct weft_player *self, const struct weft_record_view *record, int64_t now_us)
{
    if (now_us - self->due_us > LATE_US) self->counts[WEFT_PLAYER_LATE]++;
    self->slip_us += (uint64_t) weft_pace_left(&self->pace, self->due_us, now_us);
    self->last = (struct weft_record_view){
        .partition = record->partition, .offset = record->offset, .timestamp_ms = record->timestamp_ms};
    if (self->steps && !--self->steps) weft_player_end_step(self);
    s_next(self);
}

// ---- what is due

// A place to begin again, but not in a hurry if there is nothing.
static void s_at_over(struct weft_player *self)
{
    weft_player_end_step(self);
    if (self->at_end != WEFT_PLAYER_LOOP || self->loop_sent == self->counts[WEFT_PLAYER_SENT]) {
        self->over = true;
        return;
    }
    self->loop_sent = self->counts[WEFT_PLAYER_SENT];
    self->counts[WEFT_PLAYER_LOOPS]++;
    if (weft_player_seek(self, self->from)) self->over = true;
}

static bool s_may_play(const struct weft_player *self)
{
    if (self->over) return false;
    if (self->paused) return self->steps > 0;
    return self->counts[WEFT_PLAYER_SUBSCRIPTIONS] >= (uint64_t) weft_options_int(self->options, "wait.subscribers");
}

bool weft_player_play(struct weft_player *self, size_t most)
{
    struct weft_record_view record;
    if (!self->over) self->state = weft_reel_peek(self->reel, &record);
    if (!s_may_play(self)) return false;
    self->decoded = false; // what was taken in since may have moved the record
    int64_t now_us = weft_mono_us();
    for (size_t i = 0; i < most; i++) {
        self->state = weft_reel_peek(self->reel, &record);
        if (self->state == WEFT_REEL_OVER) s_at_over(self);
        if (self->state == WEFT_REEL_AT_END) weft_player_end_step(self);
        if (self->state != WEFT_REEL_RECORD) return false;
        if (!self->decoded && !s_decode(self, &record)) continue;
        if (!self->due_us)
            self->due_us = self->paused ? now_us : weft_pace_due_us(&self->pace, record.timestamp_ms, now_us);
        if (self->due_us > now_us) {
            now_us = weft_mono_us();
            if (self->due_us > now_us) return false;
        }
        if (!s_send(self)) {
            s_mark_blocked(self, true, now_us);
            return false;
        }
        if (self->blocked || i % 64 == 0) now_us = weft_mono_us();
        s_mark_blocked(self, false, now_us);
        s_sent(self, &record, now_us);
        if (self->paused && !self->steps) return false;
    }
    return true;
}
