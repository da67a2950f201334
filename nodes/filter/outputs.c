// SPDX-License-Identifier: MPL-2.0
// Outputs lie in one buffer that is reused, so that a record which the producer has no room for can wait while the
// consumer goes on (its bytes are valid until its next poll only), and so that what a failing function emitted is dropped.
#include "filter_inner.h"

#include <stdlib.h>

void weft_outputs_fini(struct weft_outputs *self)
{
    weft_buf_fini(&self->bytes);
    free(self->list);
}

void weft_outputs_clear(struct weft_outputs *self)
{
    weft_buf_clear(&self->bytes);
    self->count = self->next = 0;
}

static int64_t s_append(weft_buf_t *bytes, weft_slice_t slice)
{
    if (!slice.data) return -1;
    weft_buf_append(bytes, slice.data, slice.size);
    return (int64_t) slice.size;
}

bool weft_outputs_add(struct weft_outputs *self, const struct weft_filter_record *record)
{
    size_t room = OUTPUTS_BYTES_MAX - self->bytes.size;
    if (self->count == OUTPUTS_COUNT_MAX || record->key.size > room || record->value.size > room ||
        record->headers.size > room || record->key.size + record->value.size + record->headers.size > room)
        return false;
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? 2 * self->capacity : 16;
        self->list = weft_realloc(self->list, self->capacity * sizeof *self->list);
    }
    struct weft_output *output = &self->list[self->count++];
    output->at = self->bytes.size;
    output->key_bytes = s_append(&self->bytes, record->key);
    output->value_bytes = s_append(&self->bytes, record->value);
    output->headers_bytes = s_append(&self->bytes, record->headers);
    output->timestamp_ms = record->timestamp_ms;
    return true;
}

static weft_slice_t s_take(const struct weft_outputs *self, size_t *at, int64_t size)
{
    if (size < 0) return WEFT_SLICE_NIL;
    static const uint8_t empty = 0; // an empty value is not nil, also while the buffer has no memory
    weft_slice_t slice = weft_slice(size > 0 ? self->bytes.data + *at : &empty, (size_t) size);
    *at += (size_t) size;
    return slice;
}

bool weft_outputs_peek(const struct weft_outputs *self, struct weft_filter_record *out)
{
    if (self->next == self->count) return false;
    const struct weft_output *output = &self->list[self->next];
    size_t at = output->at;
    out->key = s_take(self, &at, output->key_bytes);
    out->value = s_take(self, &at, output->value_bytes);
    out->headers = s_take(self, &at, output->headers_bytes);
    out->timestamp_ms = output->timestamp_ms;
    return true;
}

void weft_outputs_sent(struct weft_outputs *self)
{
    self->next++;
}
