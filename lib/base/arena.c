// SPDX-License-Identifier: MPL-2.0
// Arena: blocks in a list, the newest first; allocation moves a mark in the newest. A reset keeps the newest (and
// largest) block, so that a steady flow of messages allocates nothing. Blocks double up to S_BLOCK_BYTES_MAX; what is
// larger gets a block of its own size.
#include "assert.h"
#include "bytes.h"

#include <stdlib.h>
#include <string.h>

enum { S_BLOCK_BYTES_FIRST = 4096, S_BLOCK_BYTES_MAX = 1 << 20, S_ALIGN = 16 };

struct weft_arena_block {
    struct weft_arena_block *older;
    size_t capacity, used;
    _Alignas(16) uint8_t bytes[];
};

void weft_arena_init(weft_arena_t *self)
{
    *self = (weft_arena_t){NULL, 0};
}

static void s_free_blocks(struct weft_arena_block *block)
{
    while (block) {
        struct weft_arena_block *older = block->older;
        free(block);
        block = older;
    }
}

void weft_arena_fini(weft_arena_t *self)
{
    s_free_blocks(self->blocks);
    weft_arena_init(self);
}

void weft_arena_reset(weft_arena_t *self)
{
    self->used_bytes = 0;
    struct weft_arena_block *newest = self->blocks;
    if (!newest) return;
    s_free_blocks(newest->older);
    newest->older = NULL;
    newest->used = 0;
    if (newest->capacity > S_BLOCK_BYTES_MAX) { // one huge message must not hold its memory for ever
        free(newest);
        self->blocks = NULL;
    }
}

static void s_add_block(weft_arena_t *self, size_t bytes)
{
    size_t capacity = self->blocks ? self->blocks->capacity * 2 : S_BLOCK_BYTES_FIRST;
    if (capacity > S_BLOCK_BYTES_MAX) capacity = S_BLOCK_BYTES_MAX;
    if (capacity < bytes) capacity = bytes;
    struct weft_arena_block *block = weft_alloc(sizeof *block + capacity);
    *block = (struct weft_arena_block){.older = self->blocks, .capacity = capacity, .used = 0};
    self->blocks = block;
}

void *weft_arena_alloc(weft_arena_t *self, size_t bytes)
{
    weft_assert(bytes <= SIZE_MAX / 4);
    size_t rounded = (bytes + S_ALIGN - 1) & ~(size_t) (S_ALIGN - 1);
    if (rounded == 0) rounded = S_ALIGN;
    if (!self->blocks || self->blocks->capacity - self->blocks->used < rounded) s_add_block(self, rounded);
    uint8_t *memory = self->blocks->bytes + self->blocks->used;
    self->blocks->used += rounded;
    self->used_bytes += rounded;
    memset(memory, 0, rounded);
    return memory;
}

char *weft_arena_text(weft_arena_t *self, weft_slice_t text)
{
    char *copy = weft_arena_alloc(self, text.size + 1); // zeroed: terminated
    if (text.size) memcpy(copy, text.data, text.size);
    return copy;
}
