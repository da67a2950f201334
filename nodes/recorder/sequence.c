// SPDX-License-Identifier: MPL-2.0
// One small struct a stream, found by the bytes of its name; a recorder of one stream has only `single`. Differences are
// taken modulo the width of the number, so that a counter of four bytes may wrap.
#include "sequence.h"

#include "../../lib/base/map.h"

#include <stdlib.h>

struct s_stream {
    uint64_t expected;
    uint64_t first;     // lowest number that duplicates are looked for above
    int64_t learned_ms; // time of the record it was learnt from
    bool begun;
};

struct weft_sequences {
    struct weft_sequence_settings settings;
    struct weft_sequence_counts counts;
    struct s_stream single;
    weft_map_t *streams; // name -> s_stream
};

weft_sequences_t *weft_sequences_new(const struct weft_sequence_settings *settings)
{
    weft_sequences_t *self = weft_calloc(1, sizeof *self);
    self->settings = *settings;
    self->streams = weft_map_new();
    return self;
}

void weft_sequences_destroy(weft_sequences_t **self_p)
{
    weft_sequences_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    void *stream;
    for (size_t i = 0; weft_map_next(self->streams, &i, NULL, &stream);) free(stream);
    weft_map_destroy(&self->streams);
    free(self);
}

const struct weft_sequence_counts *weft_sequences_counts(const weft_sequences_t *self)
{
    return &self->counts;
}

// ---- the number

static bool s_bytes(weft_slice_t frame, size_t width, bool little, uint64_t *out)
{
    if (frame.size != width) return false;
    uint64_t number = 0;
    for (size_t i = 0; i < width; i++) number = number << 8 | frame.data[little ? width - 1 - i : i];
    *out = number;
    return true;
}

static bool s_decimal(weft_slice_t frame, uint64_t *out)
{
    uint64_t number = 0;
    if (frame.size < 1 || frame.size > 20) return false;
    for (size_t i = 0; i < frame.size; i++) {
        uint8_t digit = (uint8_t) (frame.data[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, digit, &number))
            return false;
    }
    *out = number;
    return true;
}

static bool s_number(const weft_sequences_t *self, const weft_slice_t *frames, size_t count, uint64_t *out)
{
    if ((uint64_t) self->settings.frame >= count) return false;
    weft_slice_t frame = frames[self->settings.frame];
    switch (self->settings.format) {
    case WEFT_SEQUENCE_U64BE: return s_bytes(frame, 8, false, out);
    case WEFT_SEQUENCE_U64LE: return s_bytes(frame, 8, true, out);
    case WEFT_SEQUENCE_U32BE: return s_bytes(frame, 4, false, out);
    case WEFT_SEQUENCE_U32LE: return s_bytes(frame, 4, true, out);
    case WEFT_SEQUENCE_DECIMAL: break;
    }
    return s_decimal(frame, out);
}

static uint64_t s_mask(const weft_sequences_t *self)
{
    bool narrow = self->settings.format == WEFT_SEQUENCE_U32BE || self->settings.format == WEFT_SEQUENCE_U32LE;
    return narrow ? UINT32_MAX : UINT64_MAX;
}

// ---- the stream

// NULL: it is not followed.
static struct s_stream *s_stream(weft_sequences_t *self, const weft_slice_t *frames, size_t count)
{
    if (self->settings.per < 0) {
        self->counts.streams = 1;
        return &self->single;
    }
    if ((uint64_t) self->settings.per >= count) return NULL;
    weft_slice_t name = frames[self->settings.per];
    if (name.size > WEFT_SEQUENCE_NAME_BYTES_MAX) return NULL;
    if (!name.data) name = weft_bytes("", 0);
    struct s_stream *stream = weft_map_get(self->streams, name);
    if (stream || self->counts.streams >= self->settings.streams_max) return stream;
    stream = weft_calloc(1, sizeof *stream);
    (void) weft_map_put(self->streams, name, stream);
    self->counts.streams++;
    return stream;
}

static void s_begin(struct s_stream *stream, uint64_t number, uint64_t mask)
{
    stream->begun = true;
    stream->first = number;
    stream->expected = (number + 1) & mask;
}

static uint64_t s_judge(weft_sequences_t *self, struct s_stream *stream, uint64_t number)
{
    uint64_t mask = s_mask(self);
    uint64_t ahead = (number - stream->expected) & mask, behind = (stream->expected - number) & mask;
    if (ahead <= WEFT_SEQUENCE_JUMP_MAX) {
        stream->expected = (number + 1) & mask;
        if (!ahead) return 0;
        self->counts.gaps++;
        if (__builtin_add_overflow(self->counts.missing, ahead, &self->counts.missing))
            self->counts.missing = UINT64_MAX;
        return ahead;
    }
    // The number seen last, even if it is the only one, is the same message again and no new beginning.
    bool known = behind == 1 || behind < ((stream->expected - stream->first) & mask);
    if (known && behind <= WEFT_SEQUENCE_RESEND_MAX) {
        self->counts.duplicates++;
        return 0;
    }
    self->counts.resets++;
    s_begin(stream, number, mask);
    return 0;
}

uint64_t weft_sequences_see(weft_sequences_t *self, const weft_slice_t *frames, size_t count)
{
    uint64_t number;
    if (self->settings.frame < 0) return 0;
    if (!s_number(self, frames, count, &number)) {
        self->counts.unreadable++;
        return 0;
    }
    struct s_stream *stream = s_stream(self, frames, count);
    if (!stream) {
        self->counts.untracked++;
        return 0;
    }
    if (stream->begun) return s_judge(self, stream, number);
    s_begin(stream, number, s_mask(self));
    return 0;
}

void weft_sequences_learn(weft_sequences_t *self, const weft_slice_t *frames, size_t count, int64_t timestamp_ms)
{
    uint64_t number;
    if (self->settings.frame < 0 || !s_number(self, frames, count, &number)) return;
    struct s_stream *stream = s_stream(self, frames, count);
    if (!stream) return;
    if (stream->begun && timestamp_ms < stream->learned_ms) return;
    uint64_t mask = s_mask(self);
    bool follows = stream->begun && ((number - stream->expected) & mask) <= WEFT_SEQUENCE_JUMP_MAX;
    if (stream->begun && !follows && timestamp_ms == stream->learned_ms) return;
    stream->learned_ms = timestamp_ms;
    if (follows)
        stream->expected = (number + 1) & mask;
    else
        s_begin(stream, number, mask);
}
