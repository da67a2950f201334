// SPDX-License-Identifier: MPL-2.0
// An array that is consumed from its head and moved to the front when it is full.
#include "quorum_queue.h"

#include "../lib/base/assert.h"

#include <stdlib.h>
#include <string.h>

void weft_quorum_queue_fini(weft_quorum_queue_t *self)
{
    while (self->count) free(weft_quorum_queue_pop(self).command);
    free(self->entries);
    *self = (weft_quorum_queue_t){0};
}

void weft_quorum_queue_push(weft_quorum_queue_t *self, weft_slice_t command, uint64_t token)
{
    if (self->head + self->count == self->capacity) {
        if (self->count * 2 >= self->capacity) {
            self->capacity = self->capacity ? self->capacity * 2 : 16;
            self->entries = weft_realloc(self->entries, self->capacity * sizeof *self->entries);
        }
        memmove(self->entries, self->entries + self->head, self->count * sizeof *self->entries);
        self->head = 0;
    }
    struct weft_quorum_entry *entry = &self->entries[self->head + self->count++];
    *entry = (struct weft_quorum_entry){.token = token, .size = command.size};
    if (!command.data) return;
    entry->command = weft_alloc(command.size);
    memcpy(entry->command, command.data, command.size);
    self->bytes += command.size;
}

struct weft_quorum_entry *weft_quorum_queue_at(weft_quorum_queue_t *self, size_t position)
{
    weft_assert(position < self->count);
    return &self->entries[self->head + position];
}

struct weft_quorum_entry weft_quorum_queue_pop(weft_quorum_queue_t *self)
{
    weft_assert(self->count);
    struct weft_quorum_entry entry = self->entries[self->head];
    self->count--;
    self->head = self->count ? self->head + 1 : 0;
    if (self->written) self->written--;
    self->bytes -= entry.size;
    return entry;
}

void weft_quorum_queue_take_unwritten(weft_quorum_queue_t *self, weft_quorum_queue_t *out)
{
    for (size_t i = self->written; i < self->count; i++) {
        struct weft_quorum_entry *entry = weft_quorum_queue_at(self, i);
        weft_quorum_queue_push(out, WEFT_SLICE_NIL, entry->token);
        *weft_quorum_queue_at(out, out->count - 1) = *entry;
        out->bytes += entry->size;
        self->bytes -= entry->size;
    }
    self->count = self->written;
}
