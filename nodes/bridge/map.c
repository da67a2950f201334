// SPDX-License-Identifier: MPL-2.0
// Invariant: spans are in order and do not overlap, in the source and in the target. Joining keeps it: a joined span runs
// from the first one's beginning to the last one's end and is not exact.
#include "map.h"

#include "../../lib/base/assert.h"

#include <stdlib.h>

void weft_bridge_map_init(weft_bridge_map_t *self)
{
    *self = (weft_bridge_map_t){0};
}

void weft_bridge_map_fini(weft_bridge_map_t *self)
{
    free(self->spans);
    *self = (weft_bridge_map_t){0};
}

void weft_bridge_map_clear(weft_bridge_map_t *self)
{
    self->count = self->fresh = 0;
    self->dirty = 1;
}

static void s_dirty(weft_bridge_map_t *self, size_t index)
{
    self->dirty |= UINT64_C(1) << (index / WEFT_BRIDGE_MAP_PAGE);
}

// What lies at or above `source` is no more what the source has there.
static void s_cut(weft_bridge_map_t *self, int64_t source)
{
    while (self->count > 0 && self->spans[self->count - 1].source >= source) s_dirty(self, --self->count);
    if (self->count == 0) return;
    struct weft_bridge_span *last = &self->spans[self->count - 1];
    if (last->source_next <= source) return;
    if (last->exact) last->target_next = last->target + (source - last->source);
    last->source_next = source;
    s_dirty(self, self->count - 1);
}

// The older half by pairs: what is long ago needs less precision.
static void s_thin(weft_bridge_map_t *self)
{
    size_t half = self->count / 2, to = 0;
    for (size_t from = 0; from < self->count; to++) {
        self->spans[to] = self->spans[from++];
        if (from >= half) continue;
        self->spans[to].source_next = self->spans[from].source_next;
        self->spans[to].target_next = self->spans[from].target_next;
        self->spans[to].exact = false;
        from++;
    }
    self->count = to;
    self->dirty = UINT64_MAX;
}

static void s_push(weft_bridge_map_t *self, const struct weft_bridge_span *span)
{
    if (self->count == WEFT_BRIDGE_MAP_SPANS_MAX) s_thin(self);
    if (self->count == self->capacity) {
        self->capacity = self->capacity == 0 ? 4 : self->capacity * 2;
        self->spans = weft_realloc(self->spans, self->capacity * sizeof *self->spans);
    }
    self->spans[self->count] = *span;
    s_dirty(self, self->count++);
    self->fresh++;
}

void weft_bridge_map_add(weft_bridge_map_t *self, const struct weft_bridge_span *span)
{
    s_cut(self, span->source);
    struct weft_bridge_span *last = self->count > 0 ? &self->spans[self->count - 1] : NULL;
    if (last != NULL && span->target < last->target_next) return; // met before
    bool follows = last != NULL && last->exact && span->exact && last->source_next == span->source &&
                   last->target_next == span->target;
    if (!follows && (last == NULL || self->fresh < WEFT_BRIDGE_MAP_FRESH_MAX)) {
        s_push(self, span);
        return;
    }
    last->source_next = span->source_next;
    last->target_next = span->target_next;
    last->exact = follows;
    s_dirty(self, self->count - 1);
}

// ---- asking

// The last span that begins at or before; count if none does.
static size_t s_find(const weft_bridge_map_t *self, int64_t offset, bool in_target)
{
    size_t low = 0, high = self->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int64_t begin = in_target ? self->spans[middle].target : self->spans[middle].source;
        if (begin <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? self->count : low - 1;
}

static int64_t s_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

bool weft_bridge_map_target(const weft_bridge_map_t *self, int64_t source, struct weft_bridge_mapped *out)
{
    if (self->count == 0) return false;
    size_t at = s_find(self, source, false);
    const struct weft_bridge_span *span = &self->spans[at == self->count ? 0 : at];
    if (at == self->count) // before all that is known
        *out = (struct weft_bridge_mapped){span->target, false};
    else if (source >= span->source_next)
        *out = (struct weft_bridge_mapped){span->target_next, at + 1 == self->count && source == span->source_next};
    else if (span->exact)
        *out = (struct weft_bridge_mapped){s_least(span->target + (source - span->source), span->target_next), true};
    else
        *out = (struct weft_bridge_mapped){span->target, source == span->source};
    return true;
}

bool weft_bridge_map_source(const weft_bridge_map_t *self, int64_t target, struct weft_bridge_mapped *out)
{
    if (self->count == 0) return false;
    size_t at = s_find(self, target, true);
    const struct weft_bridge_span *span = &self->spans[at == self->count ? 0 : at];
    if (at == self->count)
        *out = (struct weft_bridge_mapped){span->source, false};
    else if (target >= span->target_next)
        *out = (struct weft_bridge_mapped){span->source_next, at + 1 == self->count && target == span->target_next};
    else if (span->exact)
        *out = (struct weft_bridge_mapped){s_least(span->source + (target - span->target), span->source_next), true};
    else
        *out = (struct weft_bridge_mapped){span->source, target == span->target};
    return true;
}

void weft_bridge_map_check(const weft_bridge_map_t *self)
{
    for (size_t i = 0; i < self->count; i++) {
        const struct weft_bridge_span *span = &self->spans[i];
        weft_assert(span->source_next >= span->source && span->target_next >= span->target);
        if (span->exact) weft_assert(span->source_next - span->source == span->target_next - span->target);
        if (i == 0) continue;
        weft_assert(span->source >= span[-1].source_next && span->target >= span[-1].target_next);
    }
}
