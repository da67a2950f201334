// SPDX-License-Identifier: MPL-2.0
// A ring of commands by index, and the change made last, shared by all who ask for the same (brokers are mostly at
// the same index).
#include "feed.h"

#include "../lib/base/assert.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// ---- counted bytes behind frames

struct s_shared {
    atomic_uint references;
    weft_buf_t bytes;
};

static void s_release(struct s_shared *shared)
{
    if (atomic_fetch_sub_explicit(&shared->references, 1, memory_order_acq_rel) != 1) return;
    weft_buf_fini(&shared->bytes);
    free(shared);
}

static void s_frame_drop(struct weft_frame *frame)
{
    struct s_shared *shared;
    memcpy(&shared, frame->storage, sizeof shared);
    s_release(shared);
}

static const struct weft_frame_ops s_frame_ops = {.move = NULL, .drop = s_frame_drop};

static void s_frame_of(struct s_shared *shared, weft_frame_t *out)
{
    atomic_fetch_add_explicit(&shared->references, 1, memory_order_relaxed);
    *out = (weft_frame_t){.ops = &s_frame_ops, .data = shared->bytes.data, .size = shared->bytes.size, .shared = true};
    memcpy(out->storage, &shared, sizeof shared);
}

// ---- the ring

struct s_kept {
    uint64_t index;
    uint8_t *command;
    size_t size;
};

struct s_made {
    struct s_shared *shared; // NULL: none
    uint64_t from, to;
};

struct weft_coordinator_feed {
    struct s_kept ring[WEFT_FEED_COMMANDS_MAX];
    size_t head, count, bytes;
    uint64_t complete_from; // every command above this index is in the ring
    struct s_made change, snapshot;
};

weft_coordinator_feed_t *weft_coordinator_feed_new(void)
{
    return weft_calloc(1, sizeof(weft_coordinator_feed_t));
}

static void s_drop_oldest(weft_coordinator_feed_t *self)
{
    struct s_kept *oldest = &self->ring[self->head];
    self->complete_from = oldest->index;
    self->bytes -= oldest->size;
    free(oldest->command);
    self->head = (self->head + 1) % WEFT_FEED_COMMANDS_MAX;
    self->count--;
}

void weft_coordinator_feed_destroy(weft_coordinator_feed_t **self_p)
{
    weft_coordinator_feed_t *self = *self_p;
    if (!self) return;
    while (self->count) s_drop_oldest(self);
    weft_coordinator_feed_forget(self);
    free(self);
    *self_p = NULL;
}

void weft_coordinator_feed_add(weft_coordinator_feed_t *self, uint64_t index, weft_slice_t command)
{
    while (self->count == WEFT_FEED_COMMANDS_MAX || (self->count && self->bytes + command.size > WEFT_FEED_BYTES_MAX))
        s_drop_oldest(self);
    if (self->count == 0) self->complete_from = index - 1;
    struct s_kept *kept = &self->ring[(self->head + self->count) % WEFT_FEED_COMMANDS_MAX];
    *kept = (struct s_kept){.index = index, .command = weft_alloc(command.size), .size = command.size};
    if (command.size) memcpy(kept->command, command.data, command.size);
    self->count++;
    self->bytes += command.size;
}

void weft_coordinator_feed_reset(weft_coordinator_feed_t *self, uint64_t index)
{
    while (self->count) s_drop_oldest(self);
    self->complete_from = index;
    weft_coordinator_feed_forget(self);
}

// ---- changes

static void s_keep(struct s_made *made, struct s_shared *shared, uint64_t from, uint64_t to)
{
    if (made->shared) s_release(made->shared);
    *made = (struct s_made){.shared = shared, .from = from, .to = to};
}

void weft_coordinator_feed_forget(weft_coordinator_feed_t *self)
{
    s_keep(&self->change, NULL, 0, 0);
    s_keep(&self->snapshot, NULL, 0, 0);
}

static struct s_shared *s_shared_new(void)
{
    struct s_shared *shared = weft_calloc(1, sizeof *shared);
    atomic_init(&shared->references, 1);
    weft_buf_init(&shared->bytes);
    return shared;
}

// msgpack array(2) of u64 and bin32.
static void s_put_pair(weft_buf_t *out, const struct s_kept *kept)
{
    uint8_t head[15] = {0x92, 0xcf};
    for (int i = 0; i < 8; i++) head[2 + i] = (uint8_t) (kept->index >> (8 * (7 - i)));
    head[10] = 0xc6;
    for (int i = 0; i < 4; i++) head[11 + i] = (uint8_t) (kept->size >> (8 * (3 - i)));
    weft_buf_append(out, head, sizeof head);
    weft_buf_append(out, kept->command, kept->size);
}

static void s_make_change(weft_coordinator_feed_t *self, uint64_t from)
{
    size_t position = 0; // indexes grow: find the first above `from`
    size_t low = 0, high = self->count;
    while (low < high) {
        position = (low + high) / 2;
        if (self->ring[(self->head + position) % WEFT_FEED_COMMANDS_MAX].index > from)
            high = position;
        else
            low = position + 1;
    }
    struct s_shared *shared = s_shared_new();
    uint64_t to = from;
    for (position = low; position < self->count; position++) {
        const struct s_kept *kept = &self->ring[(self->head + position) % WEFT_FEED_COMMANDS_MAX];
        if (shared->bytes.size && shared->bytes.size + kept->size > WEFT_FEED_MESSAGE_BYTES_MAX) break;
        s_put_pair(&shared->bytes, kept);
        to = kept->index;
    }
    s_keep(&self->change, shared, from, to);
}

static void s_make_snapshot(weft_coordinator_feed_t *self, const weft_cluster_t *cluster)
{
    struct s_shared *shared = s_shared_new();
    weft_cluster_encode(cluster, &shared->bytes);
    s_keep(&self->snapshot, shared, 0, weft_cluster_index(cluster));
}

void weft_coordinator_feed_next(weft_coordinator_feed_t *self, const weft_cluster_t *cluster, uint64_t from,
                                struct weft_coordinator_update *out)
{
    uint64_t index = weft_cluster_index(cluster);
    weft_assert(from < index);
    bool kept = from > 0 && self->count && from >= self->complete_from;
    if (kept && (!self->change.shared || self->change.from != from)) s_make_change(self, from);
    if (!kept && (!self->snapshot.shared || self->snapshot.to != index)) s_make_snapshot(self, cluster);
    const struct s_made *made = kept ? &self->change : &self->snapshot;
    *out = (struct weft_coordinator_update){.from = made->from, .to = made->to, .snapshot = !kept};
    s_frame_of(made->shared, &out->data);
}
