// SPDX-License-Identifier: MPL-2.0
// The file is made whole, atomically, the first time, and overwritten in place ever after: a full disk never keeps a
// voter from voting. Both slots are written for every change, so that the loss of either is the loss of nothing.
#include "quorum_vote.h"

#include "../lib/base/crc32c.h"

#include <string.h>

enum { S_SLOT_BYTES = 512, S_USED_BYTES = 44, S_CRC_AT = S_USED_BYTES };

static const uint8_t s_magic[4] = {'W', 'Q', 'V', '1'};

static uint8_t *s_put(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) at[i] = (uint8_t) (value >> (8 * (bytes - 1 - i)));
    return at + bytes;
}

static uint64_t s_get(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | at[i];
    return value;
}

static void s_encode(const struct weft_quorum_vote *vote, uint8_t slot[S_SLOT_BYTES])
{
    memset(slot, 0, S_SLOT_BYTES);
    memcpy(slot, s_magic, sizeof s_magic);
    uint8_t *at = s_put(slot + 4, vote->generation, 8);
    at = s_put(at, vote->server, 8);
    at = s_put(at, vote->term, 8);
    at = s_put(at, vote->voted_for, 8);
    at = s_put(at, vote->committed, 8);
    (void) s_put(at, weft_crc32c(0, slot, S_USED_BYTES), 4);
}

static bool s_decode(const uint8_t slot[S_SLOT_BYTES], struct weft_quorum_vote *out)
{
    if (memcmp(slot, s_magic, sizeof s_magic) != 0) return false;
    if (weft_crc32c(0, slot, S_USED_BYTES) != (uint32_t) s_get(slot + S_CRC_AT, 4)) return false;
    *out = (struct weft_quorum_vote){.generation = s_get(slot + 4, 8),
                                     .server = s_get(slot + 12, 8),
                                     .term = s_get(slot + 20, 8),
                                     .voted_for = s_get(slot + 28, 8),
                                     .committed = s_get(slot + 36, 8)};
    return true;
}

static weft_err_t s_replace(const struct weft_disk *disk, const char *path, const struct weft_quorum_vote *vote)
{
    uint8_t slots[2 * S_SLOT_BYTES];
    s_encode(vote, slots);
    memcpy(slots + S_SLOT_BYTES, slots, S_SLOT_BYTES);
    return weft_disk_replace_file(disk, path, weft_slice(slots, sizeof slots));
}

weft_err_t weft_quorum_vote_open(const struct weft_disk *disk, const char *path, struct weft_quorum_vote *out,
                                 struct weft_error *error)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_err_t err = weft_disk_read_file(disk, path, (size_t) 64 * 1024, &bytes);
    if (err && err != WEFT_ERR_TOO_LARGE) {
        if (err != WEFT_ERR_NOT_FOUND)
            (void) weft_error_set(error, err, "%s can't be read: %s", path, weft_err_sentence(err));
        weft_buf_fini(&bytes);
        return err;
    }
    struct weft_quorum_vote slots[2];
    bool good[2] = {false, false};
    for (size_t i = 0; i < 2; i++)
        if (bytes.size >= (i + 1) * S_SLOT_BYTES) good[i] = s_decode(bytes.data + i * S_SLOT_BYTES, &slots[i]);
    weft_buf_fini(&bytes);
    if (!good[0] && !good[1])
        return weft_error_set(error, WEFT_ERR_DAMAGED,
                              "%s is damaged: neither of its two slots matches its checksum; with other voters alive "
                              "remove this one (weft cluster voters remove) and add it with an empty directory, "
                              "else put back a copy of the whole data directory",
                              path);
    *out = good[0] && (!good[1] || slots[0].generation >= slots[1].generation) ? slots[0] : slots[1];
    err = s_replace(disk, path, out);
    if (err == WEFT_ERR_DISK_FULL && good[0] && good[1] && slots[0].generation == slots[1].generation) return WEFT_OK;
    return err ? weft_error_set(error, err, "%s can't be written again: %s", path, weft_err_sentence(err)) : WEFT_OK;
}

static weft_err_t s_overwrite(weft_file_t *file, const uint8_t slot[S_SLOT_BYTES])
{
    weft_slice_t slice = weft_slice(slot, S_SLOT_BYTES);
    for (int64_t i = 0; i < 2; i++) {
        weft_err_t err = file->disk->ops->pwritev(file, &slice, 1, i * S_SLOT_BYTES);
        if (!err) err = file->disk->ops->sync(file);
        if (err) return err;
    }
    return WEFT_OK;
}

weft_err_t weft_quorum_vote_store(const struct weft_disk *disk, const char *path, struct weft_quorum_vote *vote)
{
    uint8_t slot[S_SLOT_BYTES];
    vote->generation++;
    s_encode(vote, slot);
    weft_file_t *file = NULL;
    weft_err_t err = vote->torn ? WEFT_ERR_NOT_FOUND : disk->ops->open(disk, path, WEFT_OPEN_WRITE, &file);
    if (err == WEFT_ERR_NOT_FOUND) {
        err = s_replace(disk, path, vote);
    } else if (!err) {
        err = s_overwrite(file, slot);
        disk->ops->close(&file);
    }
    vote->torn = err != WEFT_OK;
    return err;
}
