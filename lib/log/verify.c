// SPDX-License-Identifier: MPL-2.0
// Verification: every byte from a position to the end of a file, read once through a window that grows to the largest
// batch met (bounded by WEFT_BATCH_BYTES_MAX). The same for recovery, `weft log verify` and the fuzzer: content is
// judged here and nowhere else.
#include "segment.h"

#include "../base/mutate.h"

#include <weft_gen/limits.h>

#include <stdio.h>

#define S_WINDOW_BYTES (1024 * 1024)

struct s_window {
    weft_buf_t bytes; // file bytes from `at` on
    int64_t at;
    bool last; // they reach the end of the file
};

// Makes at least `want` bytes from `position` visible, or all that are left.
static weft_err_t s_show(struct weft_verify *self, struct s_window *window, int64_t position, size_t want,
                         weft_slice_t *out)
{
    int64_t skip = position - window->at;
    if (window->bytes.size < (size_t) skip + want && !window->last) {
        window->bytes.size -= (size_t) skip;
        if (window->bytes.size) memmove(window->bytes.data, window->bytes.data + skip, window->bytes.size);
        window->at = position;
        skip = 0;
        size_t room = want > S_WINDOW_BYTES ? want : S_WINDOW_BYTES;
        weft_buf_reserve(&window->bytes, room - window->bytes.size);
        size_t got;
        room -= window->bytes.size;
        weft_err_t err = self->file->disk->ops->pread(self->file, window->bytes.data + window->bytes.size, room,
                                                      position + (int64_t) window->bytes.size, &got);
        if (err) return err;
        window->bytes.size += got;
        window->last = got < room;
    }
    *out = weft_slice(window->bytes.data + skip, window->bytes.size - (size_t) skip);
    return WEFT_OK;
}

static bool s_zeros(weft_slice_t bytes)
{
    for (size_t i = 0; i < bytes.size; i++)
        if (bytes.data[i]) return false;
    return true;
}

// Is the batch at the front of `bytes` not to be taken? Then self->reason says why. `bytes` holds the batch whole or
// ends with the file.
static bool s_refused(struct weft_verify *self, weft_slice_t bytes, struct weft_batch *batch)
{
    char *reason = self->reason;
    size_t room = sizeof self->reason;
    self->zeros = s_zeros(weft_slice(bytes.data, bytes.size < 4096 ? bytes.size : 4096));
    weft_err_t err = weft_batch_verify(bytes, batch);
    if (weft_mutated("torn_batch_taken")) err = weft_batch_read(bytes, batch);
    if (self->zeros)
        snprintf(reason, room, "zeros stand where a batch is expected");
    else if (err == WEFT_ERR_TRUNCATED)
        snprintf(reason, room, "the file ends within a batch");
    else if (err == WEFT_ERR_BAD_CRC)
        snprintf(reason, room, "the checksum of the batch does not match its bytes");
    else if (err || batch->base_offset < 0 || batch->base_offset > WEFT_LOG_OFFSET_MAX)
        snprintf(reason, room, "the bytes are no batch");
    else if (batch->base_offset != self->offset)
        snprintf(reason, room, "a batch of offset %lld stands there", (long long) batch->base_offset);
    else if (batch->leader_epoch < self->epoch)
        snprintf(reason, room, "the batch's leader epoch %d is below %d, which stands before it",
                 (int) batch->leader_epoch, (int) self->epoch);
    else
        return false;
    return true;
}

static weft_err_t s_step(struct weft_verify *self, struct s_window *window, bool *more)
{
    weft_slice_t bytes;
    struct weft_batch batch;
    weft_err_t err = s_show(self, window, self->position, WEFT_BATCH_HEADER_BYTES, &bytes);
    if (err) return err;
    *more = false;
    if (bytes.size == 0) return WEFT_OK;
    size_t want = 0;
    if (!weft_segment_header(bytes, &batch)) want = weft_batch_bytes(&batch);
    err = s_show(self, window, self->position, want, &bytes);
    if (err) return err;
    if (s_refused(self, bytes, &batch)) return WEFT_OK;
    if (self->each) self->each(self->context, &batch, self->position);
    self->position += (int64_t) weft_batch_bytes(&batch);
    self->read_bytes += (int64_t) weft_batch_bytes(&batch);
    self->offset = weft_batch_next_offset(&batch);
    self->epoch = batch.leader_epoch;
    *more = true;
    return WEFT_OK;
}

weft_err_t weft_segment_verify(struct weft_verify *self)
{
    struct s_window window = {.at = self->position};
    self->reason[0] = '\0';
    self->zeros = false;
    self->read_bytes = 0;
    weft_err_t err = self->file->disk->ops->size(self->file, &self->file_bytes);
    if (err) return err;
    if (self->position > self->file_bytes) {
        snprintf(self->reason, sizeof self->reason, "the file ends before it");
        return WEFT_OK;
    }
    weft_buf_init(&window.bytes);
    bool more = true;
    while (!err && more) err = s_step(self, &window, &more);
    weft_buf_fini(&window.bytes);
    return err;
}
