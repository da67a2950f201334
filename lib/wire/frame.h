// SPDX-License-Identifier: MPL-2.0
/**
 * Frame: one message part, as received or to be sent, without a copy.
 *
 * A frame owns its bytes through `ops`; lib/net wraps a zmq_msg_t in `storage`, a pool wraps a counted buffer, the
 * simulator wraps heap memory. Frames are moved, never copied: after weft_frame_move the source is empty. An empty
 * frame (ops NULL) has no data and needs no drop.
 * `shared` is true when somebody else still reads the same memory (inproc): then the bytes must not be patched in
 * place.
 */
#ifndef WEFT_WIRE_FRAME_H
#define WEFT_WIRE_FRAME_H

#include "../base/bytes.h"

struct weft_frame;

struct weft_frame_ops {
    // both have this ops; sets to->data; NULL: plain struct copy is right
    void (*move)(struct weft_frame *to, struct weft_frame *from);
    void (*drop)(struct weft_frame *self); // any thread
};

typedef struct weft_frame {
    const struct weft_frame_ops *ops;
    uint8_t *data;
    size_t size;
    bool shared;
    _Alignas(16) uint8_t storage[64];
} weft_frame_t;

#define WEFT_FRAME_EMPTY ((weft_frame_t){.ops = NULL, .data = NULL, .size = 0, .shared = false})

void weft_frame_move(weft_frame_t *to, weft_frame_t *from); // `to` must be empty
void weft_frame_drop(weft_frame_t *self);                   // empties it; an empty frame is allowed
weft_slice_t weft_frame_slice(const weft_frame_t *self);

// Heap frames.
void weft_frame_init_heap(weft_frame_t *self, size_t size); // uninitialised bytes
void weft_frame_init_copy(weft_frame_t *self, weft_slice_t bytes);
// Takes over the memory of `buf` (which is left empty and usable).
void weft_frame_init_buf(weft_frame_t *self, weft_buf_t *buf);

/**
 * A pool of equal buffers for data frames that leave (fetch replies). Taking and returning are safe from any thread: a
 * frame sent over a socket comes back from an I/O thread. The pool outlives its frames by itself (it is counted).
 */
typedef struct weft_frame_pool weft_frame_pool_t;

weft_frame_pool_t *weft_frame_pool_new(size_t buffer_bytes, size_t keep_count_max);
void weft_frame_pool_destroy(weft_frame_pool_t **self_p);
// A frame of `size` bytes, from the pool if size <= buffer_bytes, else made for it alone (counted all the same).
void weft_frame_pool_take(weft_frame_pool_t *self, size_t size, weft_frame_t *out);
// Memory of all frames that were taken and have not come back: what the transport still holds.
size_t weft_frame_pool_outside_bytes(weft_frame_pool_t *self);
// Shortens a frame after a short read: size only, the memory stays.
void weft_frame_shorten(weft_frame_t *self, size_t size);

#endif
