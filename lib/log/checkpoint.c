// SPDX-License-Identifier: MPL-2.0
/*
 * The file `checkpoint`: two slots of equal size, the first half of the file and the second. A slot is a legal msgpack
 * stream: the checkpoint record as bin32 (c6), then the CRC-32C of all before it in the slot as uint32 (ce), then
 * zeros. The good slot with the higher generation counts; a write goes to the other, so that a torn one leaves what
 * was. When a slot gets too small the whole file is replaced, and so it is by the first write after a start: what was
 * read then may stand in the page cache alone, if the last process's sync failed.
 */
#include "checkpoint.h"

#include "../base/assert.h"
#include "../base/crc32c.h"
#include "../base/map.h"
#include "layout.h"

#include <weft_gen/records.h>

#include <stdlib.h>

#define S_KEY_BYTES 20
#define S_FRAME_BYTES 10 // c6 + u32 before, ce + u32 behind
#define S_SLOT_BYTES_MIN 4096
#define S_FILE_BYTES_MAX (256 * 1024 * 1024)
#define S_CLEAN_BYTES 12

struct weft_checkpoint {
    const struct weft_disk *disk;
    char directory[256];
    weft_map_t *entries; // topic and partition to int64_t *
    uint64_t generation; // of the newest good slot; 0: none yet
    int64_t slot_bytes;  // 0: the file was not written by this process
    int slot;            // to be written next
    bool changed;
    bool broken; // a sync failed: never written again
};

struct s_key {
    uint8_t bytes[S_KEY_BYTES];
};

static struct s_key s_key(weft_id_t topic, uint32_t partition)
{
    struct s_key key;
    memcpy(key.bytes, topic.bytes, 16);
    weft_put_u32(key.bytes + 16, partition);
    return key;
}

// ---- entries

int64_t weft_checkpoint_get(const weft_checkpoint_t *self, weft_id_t topic, uint32_t partition)
{
    struct s_key key = s_key(topic, partition);
    const int64_t *end = weft_map_get(self->entries, weft_slice(key.bytes, sizeof key.bytes));
    return end ? *end : 0;
}

bool weft_checkpoint_next(const weft_checkpoint_t *self, size_t *cursor, weft_id_t *topic, uint32_t *partition,
                          int64_t *synced_end)
{
    weft_slice_t key;
    void *value;
    if (!weft_map_next(self->entries, cursor, &key, &value)) return false;
    *topic = weft_id_of_slice(weft_slice(key.data, 16));
    *partition = weft_get_u32(key.data + 16);
    *synced_end = *(const int64_t *) value;
    return true;
}

int64_t weft_checkpoint_sole(const weft_checkpoint_t *self)
{
    weft_slice_t key;
    void *value;
    size_t cursor = 0;
    if (weft_map_count(self->entries) != 1 || !weft_map_next(self->entries, &cursor, &key, &value)) return 0;
    return *(const int64_t *) value;
}

void weft_checkpoint_set(weft_checkpoint_t *self, weft_id_t topic, uint32_t partition, int64_t synced_end)
{
    struct s_key key = s_key(topic, partition);
    weft_slice_t slice = weft_slice(key.bytes, sizeof key.bytes);
    int64_t *end = weft_map_get(self->entries, slice);
    if (end && *end == synced_end) return;
    if (!end) {
        end = weft_alloc(sizeof *end);
        (void) weft_map_put(self->entries, slice, end);
    }
    *end = synced_end;
    self->changed = true;
}

void weft_checkpoint_remove(weft_checkpoint_t *self, weft_id_t topic, uint32_t partition)
{
    struct s_key key = s_key(topic, partition);
    int64_t *end = weft_map_remove(self->entries, weft_slice(key.bytes, sizeof key.bytes));
    if (end) self->changed = true;
    free(end);
}

static void s_clear(weft_checkpoint_t *self)
{
    weft_slice_t key;
    void *value;
    for (size_t i = 0; weft_map_next(self->entries, &i, &key, &value);) free(value);
    weft_map_destroy(&self->entries);
    self->entries = weft_map_new();
}

// ---- one slot

static void s_encode(const weft_checkpoint_t *self, uint64_t generation, weft_buf_t *out)
{
    struct weft_checkpoint_record record;
    uint8_t frame[5] = {0xc6};
    weft_checkpoint_record_init(&record);
    record.generation = generation;
    record.entries = weft_alloc(weft_map_count(self->entries) * sizeof *record.entries);
    struct weft_checkpoint_entry entry;
    for (size_t i = 0; weft_checkpoint_next(self, &i, &entry.topic_id, &entry.partition, &entry.synced_end);)
        record.entries[record.entries_count++] = entry;
    weft_buf_append(out, frame, sizeof frame);
    weft_checkpoint_record_encode(&record, out);
    free(record.entries);
    weft_put_u32(out->data + 1, (uint32_t) (out->size - sizeof frame));
    frame[0] = 0xce;
    weft_put_u32(frame + 1, weft_crc32c(0, out->data, out->size));
    weft_buf_append(out, frame, sizeof frame);
}

// Takes over a slot if it is good and newer than what is there.
static bool s_decode(weft_checkpoint_t *self, weft_slice_t slot)
{
    struct weft_checkpoint_record record;
    weft_codec_t codec;
    if (slot.size < S_FRAME_BYTES || slot.data[0] != 0xc6) return false;
    size_t size = weft_get_u32(slot.data + 1);
    if (size > slot.size - S_FRAME_BYTES || slot.data[size + 5] != 0xce) return false;
    if (weft_get_u32(slot.data + size + 6) != weft_crc32c(0, slot.data, size + 5)) return false;
    weft_codec_init(&codec);
    bool good = !weft_checkpoint_record_decode(&codec, weft_slice(slot.data + 5, size), &record, NULL);
    if (good && record.generation > self->generation) {
        s_clear(self);
        self->generation = record.generation;
        for (size_t i = 0; i < record.entries_count; i++)
            weft_checkpoint_set(self, record.entries[i].topic_id, record.entries[i].partition,
                                record.entries[i].synced_end);
    }
    weft_codec_fini(&codec);
    return good;
}

// ---- the file

static weft_err_t s_load(weft_checkpoint_t *self, weft_slice_t file, struct weft_error *error)
{
    size_t half = file.size / 2;
    bool first = s_decode(self, weft_slice(file.data, half));
    bool second = s_decode(self, weft_slice(file.data + half, file.size - half));
    if (!first && !second)
        return weft_error_set(
            error, WEFT_ERR_DAMAGED,
            "'%s/checkpoint' is damaged: neither of its two slots has a matching checksum; nothing was "
            "changed, restore this node's replicas from others",
            self->directory);
    self->changed = false;
    return WEFT_OK;
}

weft_err_t weft_checkpoint_open(const struct weft_disk *disk, const char *directory, weft_checkpoint_t **out,
                                struct weft_error *error)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_buf_t file;
    if (strlen(directory) >= sizeof((weft_checkpoint_t *) 0)->directory)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT, "the path '%.80s...' is too long for a data directory",
                              directory);
    weft_checkpoint_t *self = weft_calloc(1, sizeof *self);
    self->disk = disk;
    strcpy(self->directory, directory);
    self->entries = weft_map_new();
    weft_buf_init(&file);
    weft_err_t err =
        weft_disk_read_file(disk, weft_log_path_named(path, directory, "checkpoint"), S_FILE_BYTES_MAX, &file);
    if (err == WEFT_ERR_NOT_FOUND)
        err = WEFT_OK;
    else if (err)
        err = weft_error_set(error, err, "'%s' can't be read: %s", path, weft_err_sentence(err));
    else
        err = s_load(self, weft_buf_slice(&file), error);
    weft_buf_fini(&file);
    if (err) {
        weft_checkpoint_destroy(&self);
        return err;
    }
    *out = self;
    return WEFT_OK;
}

void weft_checkpoint_destroy(weft_checkpoint_t **self_p)
{
    weft_checkpoint_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    s_clear(self);
    weft_map_destroy(&self->entries);
    free(self);
}

// A new file with room to grow: the slot in its first half, zeros in the second.
static weft_err_t s_replace(weft_checkpoint_t *self, weft_buf_t *slot)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    size_t half = S_SLOT_BYTES_MIN;
    while (half < slot->size + slot->size / 2) half *= 2;
    size_t used = slot->size;
    weft_buf_reserve(slot, 2 * half - used);
    memset(slot->data + used, 0, 2 * half - used);
    slot->size = 2 * half;
    weft_log_path_named(path, self->directory, "checkpoint");
    weft_err_t err = weft_disk_replace_file(self->disk, path, weft_buf_slice(slot));
    if (err) return err;
    self->slot_bytes = (int64_t) half;
    self->slot = 1;
    return WEFT_OK;
}

static weft_err_t s_write_slot(weft_checkpoint_t *self, const weft_buf_t *slot)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_file_t *file;
    weft_slice_t bytes = weft_buf_slice(slot);
    weft_log_path_named(path, self->directory, "checkpoint");
    weft_err_t err = self->disk->ops->open(self->disk, path, WEFT_OPEN_WRITE, &file);
    if (err) return err;
    err = self->disk->ops->pwritev(file, &bytes, 1, self->slot * self->slot_bytes);
    if (!err) {
        err = self->disk->ops->sync(file);
        if (err) self->broken = true; // which of its bytes are there nobody knows: never again (rule 11)
    }
    self->disk->ops->close(&file);
    if (!err) self->slot = 1 - self->slot;
    return err;
}

weft_err_t weft_checkpoint_write(weft_checkpoint_t *self)
{
    weft_buf_t slot;
    if (self->broken) return WEFT_ERR_DISK_FAILED;
    if (!self->changed) return WEFT_OK;
    weft_buf_init(&slot);
    s_encode(self, self->generation + 1, &slot);
    bool fits = self->slot_bytes && (int64_t) slot.size <= self->slot_bytes;
    weft_err_t err = fits ? s_write_slot(self, &slot) : s_replace(self, &slot);
    weft_buf_fini(&slot);
    if (err) return err;
    self->generation++;
    self->changed = false;
    return WEFT_OK;
}

// ---- the clean marker: file `clean`, the generation of the checkpoint it belongs to

static void s_clean_bytes(const weft_checkpoint_t *self, uint8_t bytes[S_CLEAN_BYTES])
{
    weft_put_u64(bytes, self->generation);
    weft_put_u32(bytes + 8, weft_crc32c(0, bytes, 8));
}

weft_err_t weft_checkpoint_mark_clean(weft_checkpoint_t *self)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    uint8_t bytes[S_CLEAN_BYTES];
    if (self->broken || self->changed) return WEFT_ERR_DISK_FAILED; // what it would vouch for is not written
    s_clean_bytes(self, bytes);
    return weft_disk_replace_file(self->disk, weft_log_path_named(path, self->directory, "clean"),
                                  weft_slice(bytes, sizeof bytes));
}

weft_err_t weft_checkpoint_take_clean(weft_checkpoint_t *self, bool *was_clean)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    uint8_t expected[S_CLEAN_BYTES];
    weft_buf_t found;
    weft_buf_init(&found);
    s_clean_bytes(self, expected);
    weft_log_path_named(path, self->directory, "clean");
    weft_err_t err = weft_disk_read_file(self->disk, path, S_CLEAN_BYTES, &found);
    bool clean = !err && weft_slice_equal(weft_buf_slice(&found), weft_slice(expected, sizeof expected));
    bool there = err != WEFT_ERR_NOT_FOUND;
    weft_buf_fini(&found);
    if (err && err != WEFT_ERR_NOT_FOUND && err != WEFT_ERR_TOO_LARGE) return err;
    if (there) {
        err = self->disk->ops->unlink(self->disk, path);
        if (!err) err = self->disk->ops->sync_directory(self->disk, self->directory);
        if (err) return err;
    }
    *was_clean = clean;
    return WEFT_OK;
}
