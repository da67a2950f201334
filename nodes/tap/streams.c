// SPDX-License-Identifier: MPL-2.0
// The sequence of a stream is the offset in its partition: the same after every restart of the tap and of the cluster,
// and the very number that finds a record in the log again; it has gaps only where the log has. So one partition is one
// stream. Partition 0 has the plain name, so that a subscriber that knows one sequence per publisher can read a topic of
// one partition, and names stay what they were when partitions are added.
#include "tap_inner.h"

#include <stdio.h>
#include <stdlib.h>

void weft_tap_streams_init(struct weft_tap_streams *self, const char *base)
{
    *self = (struct weft_tap_streams){0};
    pthread_mutex_init(&self->lock, NULL);
    snprintf(self->base, sizeof self->base, "%s", base);
}

void weft_tap_streams_fini(struct weft_tap_streams *self)
{
    for (size_t i = 0; i < self->count; i++) free(self->items[i]);
    free(self->items);
    pthread_mutex_destroy(&self->lock);
}

struct weft_tap_stream *weft_tap_streams_of(struct weft_tap_streams *self, int32_t partition)
{
    size_t index = (size_t) partition;
    if (index < self->count && self->items[index]) return self->items[index];
    struct weft_tap_stream *stream = weft_calloc(1, sizeof *stream);
    stream->partition = partition;
    atomic_init(&stream->next, -1);
    stream->repeats = stream->sought = -1;
    if (partition == 0)
        snprintf(stream->name, sizeof stream->name, "%s", self->base);
    else
        snprintf(stream->name, sizeof stream->name, "%.200s/%d", self->base, partition);
    stream->name_bytes = strlen(stream->name);
    pthread_mutex_lock(&self->lock);
    if (index >= self->count) {
        self->items = weft_realloc(self->items, (index + 1) * sizeof(struct weft_tap_stream *));
        while (self->count <= index) self->items[self->count++] = NULL;
    }
    self->items[index] = stream;
    pthread_mutex_unlock(&self->lock);
    return stream;
}

struct weft_tap_stream *weft_tap_streams_named(struct weft_tap_streams *self, weft_slice_t name)
{
    struct weft_tap_stream *found = NULL;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < self->count && !found; i++) {
        struct weft_tap_stream *at = self->items[i];
        if (at && at->name_bytes == name.size && memcmp(at->name, name.data, name.size) == 0) found = at;
    }
    pthread_mutex_unlock(&self->lock);
    return found;
}

bool weft_tap_streams_any(struct weft_tap_streams *self)
{
    bool any = false;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < self->count && !any; i++) any = self->items[i] && atomic_load(&self->items[i]->next) >= 0;
    pthread_mutex_unlock(&self->lock);
    return any;
}

void weft_tap_store_sequence(uint8_t out[8], uint64_t sequence)
{
    for (int i = 7; i >= 0; i--, sequence >>= 8) out[i] = (uint8_t) sequence;
}

static void s_append_int(weft_buf_t *out, int64_t number)
{
    uint8_t bytes[9] = {0xd3};
    weft_tap_store_sequence(bytes + 1, (uint64_t) number);
    weft_buf_append(out, bytes, sizeof bytes);
}

static void s_append_bin(weft_buf_t *out, weft_slice_t value)
{
    if (!value.data) {
        weft_buf_append(out, &(uint8_t){0xc0}, 1);
        return;
    }
    uint32_t size = (uint32_t) value.size;
    uint8_t head[5] = {0xc6, (uint8_t) (size >> 24), (uint8_t) (size >> 16), (uint8_t) (size >> 8), (uint8_t) size};
    weft_buf_append(out, head, sizeof head);
    weft_buf_append(out, value.data, value.size);
}

void weft_tap_encode_record(weft_buf_t *out, const struct weft_record_view *record)
{
    weft_buf_clear(out);
    weft_buf_append(out, &(uint8_t){0x95}, 1);
    s_append_int(out, record->offset);
    s_append_int(out, record->timestamp_ms);
    s_append_bin(out, record->key);
    s_append_bin(out, record->value);
    if (record->headers.data) // an array of names and values already
        weft_buf_append(out, record->headers.data, record->headers.size);
    else
        weft_buf_append(out, &(uint8_t){0xc0}, 1);
}
