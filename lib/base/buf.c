// SPDX-License-Identifier: MPL-2.0
// Growing bytes: capacity doubles, so that appending is amortised O(1). data is NULL until the first reserve.
#include "assert.h"
#include "bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { S_CAPACITY_FIRST = 64 };

void weft_buf_init(weft_buf_t *self)
{
    *self = (weft_buf_t){NULL, 0, 0};
}

void weft_buf_fini(weft_buf_t *self)
{
    free(self->data);
    weft_buf_init(self);
}

void weft_buf_clear(weft_buf_t *self)
{
    self->size = 0;
}

void weft_buf_reserve(weft_buf_t *self, size_t bytes_more)
{
    if (self->capacity - self->size >= bytes_more) return;
    weft_assert(bytes_more <= SIZE_MAX / 4 && self->size <= SIZE_MAX / 4);
    size_t capacity = self->capacity ? self->capacity : S_CAPACITY_FIRST;
    while (capacity < self->size + bytes_more) capacity *= 2;
    self->data = weft_realloc(self->data, capacity);
    self->capacity = capacity;
}

void weft_buf_append(weft_buf_t *self, const void *data, size_t size)
{
    if (size == 0) return;
    weft_buf_reserve(self, size);
    memcpy(self->data + self->size, data, size);
    self->size += size;
}

void weft_buf_printf(weft_buf_t *self, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (size > 0) {
        weft_buf_reserve(self, (size_t) size + 1); // vsnprintf writes a terminator, which does not count
        vsnprintf((char *) self->data + self->size, (size_t) size + 1, format, again);
        self->size += (size_t) size;
    }
    va_end(again);
}

weft_slice_t weft_buf_slice(const weft_buf_t *self)
{
    return (weft_slice_t){self->data, self->size};
}
