// SPDX-License-Identifier: MPL-2.0
// A list of chunks; a chunk that was read to its end goes to the spares, of which a few are kept for the next turn.
#include "outbox.h"

#include <stdlib.h>
#include <string.h>

#define S_CHUNK_COUNT 32
#define S_SPARE_MAX 16

struct weft_outbox_chunk {
    struct weft_outbox_chunk *next;
    size_t count;
    size_t spares; // behind this one in the list of spares, itself included
    struct weft_outbox_send sends[S_CHUNK_COUNT];
};

static struct weft_outbox_chunk *s_chunk(weft_outbox_t *self)
{
    struct weft_outbox_chunk *chunk = self->spare;
    if (chunk != NULL)
        self->spare = chunk->next;
    else
        chunk = weft_alloc(sizeof *chunk);
    chunk->next = NULL;
    chunk->count = 0;
    return chunk;
}

static void s_retire(weft_outbox_t *self, struct weft_outbox_chunk *chunk)
{
    size_t spares = self->spare != NULL ? self->spare->spares : 0;
    if (spares >= S_SPARE_MAX) {
        free(chunk);
        return;
    }
    chunk->spares = spares + 1;
    chunk->next = self->spare;
    self->spare = chunk;
}

bool weft_outbox_empty(const weft_outbox_t *self)
{
    return self->first == NULL || self->read == self->first->count;
}

struct weft_outbox_send *weft_outbox_add(weft_outbox_t *self)
{
    if (self->last == NULL || self->last->count == S_CHUNK_COUNT) {
        struct weft_outbox_chunk *chunk = s_chunk(self);
        if (self->last != NULL)
            self->last->next = chunk;
        else
            self->first = chunk;
        self->last = chunk;
    }
    return &self->last->sends[self->last->count++];
}

struct weft_outbox_send *weft_outbox_next(weft_outbox_t *self)
{
    struct weft_outbox_chunk *chunk = self->first;
    if (chunk == NULL) return NULL;
    if (self->read < chunk->count) return &chunk->sends[self->read++];
    self->read = 0;
    self->first = chunk->next;
    if (self->first == NULL) self->last = NULL;
    s_retire(self, chunk);
    return weft_outbox_next(self);
}

void weft_outbox_fini(weft_outbox_t *self)
{
    for (struct weft_outbox_send *send; (send = weft_outbox_next(self)) != NULL;) weft_outgoing_discard(&send->message);
    for (struct weft_outbox_chunk *chunk = self->spare; chunk != NULL;) {
        struct weft_outbox_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    *self = (weft_outbox_t){0};
}
