// SPDX-License-Identifier: MPL-2.0
// From the socket to the producer. Receives don't wait and ask nothing between messages: a poll costs more than a
// message of 100 bytes. A message of one frame, the usual one, goes from libzmq's buffer straight into the producer's open
// batch. What the producer doesn't take is held, and nothing more is received: so the socket fills up, and a PUSH or DEALER at
// the other side feels it; bounded, and nothing is dropped here without being counted (I7).
#include "recorder_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CLOCK_AGE_MAX 64 // messages that may have the time of one look at the clock

static zmq_msg_t *s_part(struct weft_recorder *self, size_t index)
{
    if (index < self->parts_made) return self->parts[index];
    if (self->parts_made == WEFT_FRAMES_MAX) return NULL;
    if (!self->parts) self->parts = weft_calloc(WEFT_FRAMES_MAX, sizeof *self->parts);
    zmq_msg_t *part = weft_alloc(sizeof *part);
    zmq_msg_init(part);
    self->parts[self->parts_made++] = part;
    return part;
}

void weft_recorder_free_parts(struct weft_recorder *self)
{
    for (size_t i = 0; i < self->parts_made; i++) {
        zmq_msg_close(self->parts[i]);
        free(self->parts[i]);
    }
    free(self->parts);
    self->parts = NULL;
    self->parts_made = 0;
}

// The rest of a message that has more frames than any that is recorded.
static void s_pass(struct weft_recorder *self)
{
    zmq_msg_t part;
    zmq_msg_init(&part);
    do
        if (zmq_msg_recv(&part, self->source.socket, 0) < 0) break;
    while (zmq_msg_more(&part));
    zmq_msg_close(&part);
    self->counts[WEFT_RECORDER_TOO_LARGE]++;
}

// The frames behind the first; they came with it, so nothing waits here. False: the message was passed over.
static bool s_receive_rest(struct weft_recorder *self)
{
    while (zmq_msg_more(self->parts[self->part_count - 1])) {
        zmq_msg_t *part = s_part(self, self->part_count);
        if (!part) {
            s_pass(self);
            return false;
        }
        if (zmq_msg_recv(part, self->source.socket, 0) < 0) return false; // the context is gone
        self->part_count++;
        self->counts[WEFT_RECORDER_RECEIVED_BYTES] += zmq_msg_size(part);
    }
    return true;
}

static void s_look_at_clock(struct weft_recorder *self)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    self->received_ms = (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
    self->clock_age = 0;
}

// True: a message is there, its frames in `parts`. False: none now (*dry), or one was passed over.
static bool s_receive(struct weft_recorder *self, bool *dry)
{
    zmq_msg_t *first = s_part(self, 0);
    if (zmq_msg_recv(first, self->source.socket, ZMQ_DONTWAIT) < 0) {
        *dry = true;
        return false;
    }
    self->part_count = 1;
    self->counts[WEFT_RECORDER_RECEIVED]++;
    self->counts[WEFT_RECORDER_RECEIVED_BYTES] += zmq_msg_size(first);
    if (++self->clock_age > CLOCK_AGE_MAX) s_look_at_clock(self);
    return __builtin_expect(!zmq_msg_more(first), 1) || s_receive_rest(self);
}

static void s_tell_gap(struct weft_recorder *self)
{
    char text[64];
    snprintf(text, sizeof text, "%llu messages are missing", (unsigned long long) self->missing);
    weft_recorder_warn(self, "the sequence has a gap", text);
}

// What the message looks like as a record; it lives until the next message.
static void s_encode(struct weft_recorder *self)
{
    for (size_t i = 0; i < self->part_count; i++)
        self->frames[i] = weft_bytes(zmq_msg_data(self->parts[i]), zmq_msg_size(self->parts[i]));
    self->missing = weft_sequences_see(self->sequences, self->frames, self->part_count);
    if (self->missing) s_tell_gap(self);
    if (self->part_count == 1 && self->key_frame < 0 && !self->missing) {
        self->record = (struct weft_frames_record){.value = self->frames[0]};
        if (!self->record.value.data) self->record.value = weft_bytes("", 0); // nil is another thing
        return;
    }
    if (self->key_frame >= (int64_t) self->part_count) self->counts[WEFT_RECORDER_WITHOUT_KEY]++;
    weft_frames_encode(self->frames, self->part_count, self->key_frame, self->missing, &self->buf, self->headers,
                       &self->record);
}

bool weft_recorder_give(struct weft_recorder *self)
{
    struct weft_send_extra extra = {.headers = self->record.headers, .timestamp_ms = self->received_ms};
    weft_err_t err =
        weft_producer_send(self->producer, self->topic, self->partition, self->record.key, self->record.value, &extra);
    self->held = self->refused = false;
    if (__builtin_expect(err == WEFT_OK, 1)) return true;
    if (err == WEFT_ERR_RECORD_TOO_LARGE) { // it would never be taken
        self->counts[WEFT_RECORDER_TOO_LARGE]++;
        weft_recorder_warn(self, "a message is not recorded", weft_producer_error_text(self->producer));
        return true;
    }
    self->held = true;
    self->refused = err != WEFT_ERR_LOCAL_QUEUE_FULL;
    if (weft_err_class(err) == WEFT_CLASS_FATAL) self->over = true;
    if (self->refused) snprintf(self->why, sizeof self->why, "%s", weft_producer_error_text(self->producer));
    return false;
}

size_t weft_recorder_take(struct weft_recorder *self, size_t most)
{
    if (self->held && !weft_recorder_give(self)) return 0;
    s_look_at_clock(self);
    size_t taken = 0;
    for (bool dry = false; taken < most && !dry;) {
        if (!s_receive(self, &dry)) continue;
        taken++;
        s_encode(self);
        if (!weft_recorder_give(self)) break;
    }
    return taken;
}
