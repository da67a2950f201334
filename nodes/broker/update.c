// SPDX-License-Identifier: MPL-2.0
// The pairs are read by hand: an array of two, an unsigned integer of any width, a bin (or str) of any width; each
// length is checked against the bytes that remain. Nothing of a malformed update is applied: the control part checks
// the whole before it forwards it.
#include "update.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

weft_update_t *weft_update_new(uint64_t epoch, uint64_t from_index, uint64_t to_index, bool snapshot, weft_slice_t data)
{
    weft_update_t *self = weft_alloc(sizeof *self + data.size);
    atomic_init(&self->references, 1);
    self->epoch = epoch;
    self->from_index = from_index;
    self->to_index = to_index;
    self->snapshot = snapshot;
    self->size = data.size;
    if (data.size != 0) memcpy(self->bytes, data.data, data.size);
    return self;
}

weft_update_t *weft_update_ref(weft_update_t *self)
{
    atomic_fetch_add_explicit(&self->references, 1, memory_order_relaxed);
    return self;
}

void weft_update_unref(void *self)
{
    weft_update_t *update = self;
    if (update == NULL) return;
    if (atomic_fetch_sub_explicit(&update->references, 1, memory_order_acq_rel) == 1) free(update);
}

// Big-endian integer of `width` bytes; false when the bytes end.
static bool s_take_be(weft_slice_t *rest, size_t width, uint64_t *out)
{
    if (rest->size < width) return false;
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++) value = value << 8 | rest->data[i];
    *rest = weft_slice(rest->data + width, rest->size - width);
    *out = value;
    return true;
}

static bool s_take_uint(weft_slice_t *rest, uint64_t *out)
{
    uint64_t tag;
    if (!s_take_be(rest, 1, &tag)) return false;
    if (tag < 0x80) {
        *out = tag;
        return true;
    }
    if (tag < 0xcc || tag > 0xcf) return false;
    return s_take_be(rest, (size_t) 1 << (tag - 0xcc), out);
}

static bool s_take_bin(weft_slice_t *rest, weft_slice_t *out)
{
    uint64_t tag, size;
    if (!s_take_be(rest, 1, &tag)) return false;
    if (tag >= 0xa0 && tag <= 0xbf) {
        size = tag & 0x1f;
    } else if (tag >= 0xc4 && tag <= 0xc6) {
        if (!s_take_be(rest, (size_t) 1 << (tag - 0xc4), &size)) return false;
    } else if (tag >= 0xd9 && tag <= 0xdb) {
        if (!s_take_be(rest, (size_t) 1 << (tag - 0xd9), &size)) return false;
    } else {
        return false;
    }
    if (size > rest->size) return false;
    *out = weft_slice(rest->data, (size_t) size);
    *rest = weft_slice(rest->data + size, rest->size - (size_t) size);
    return true;
}

// The next pair; false at anything that is none.
static bool s_take_pair(weft_slice_t *rest, uint64_t *index, weft_slice_t *command)
{
    uint64_t tag;
    return s_take_be(rest, 1, &tag) && tag == 0x92 && s_take_uint(rest, index) && s_take_bin(rest, command);
}

weft_err_t weft_update_check(const weft_update_t *self, struct weft_error *error)
{
    if (self->snapshot) return WEFT_OK; // decoding replaces the state whole or not at all
    weft_slice_t rest = weft_slice(self->bytes, self->size);
    uint64_t last = self->from_index;
    while (rest.size != 0) {
        size_t at = self->size - rest.size;
        uint64_t index;
        weft_slice_t command;
        if (!s_take_pair(&rest, &index, &command))
            return weft_error_set(error, WEFT_ERR_BAD_FRAME, "cluster_update: byte %zu is no pair [index, command]",
                                  at);
        if (index <= last || index > self->to_index)
            return weft_error_set(
                error, WEFT_ERR_BAD_FRAME, "cluster_update: index %llu at byte %zu is not in (%llu, %llu]",
                (unsigned long long) index, at, (unsigned long long) last, (unsigned long long) self->to_index);
        last = index;
    }
    return WEFT_OK;
}

weft_err_t weft_update_apply(const weft_update_t *self, weft_cluster_t *cluster, weft_cluster_watch_fn *watch,
                             void *context, struct weft_error *error)
{
    weft_slice_t rest = weft_slice(self->bytes, self->size);
    if (self->snapshot) {
        weft_err_t code = weft_cluster_decode(cluster, rest);
        if (code != WEFT_OK) return weft_error_set(error, code, "cluster_update: the snapshot can't be decoded");
        return WEFT_OK;
    }
    uint64_t index;
    weft_slice_t command;
    while (rest.size != 0 && s_take_pair(&rest, &index, &command)) {
        if (index <= weft_cluster_index(cluster)) continue; // the snapshot before it told it already
        struct weft_error refused = {.code = WEFT_OK};
        // What a command met is its proposer's business; the state moved its index all the same.
        (void) !weft_cluster_apply(cluster, index, command, watch, context, &refused);
    }
    return WEFT_OK;
}
