// SPDX-License-Identifier: MPL-2.0
// The file `identity` is a legal msgpack stream of two values: the node_identity record, then the CRC-32C of its bytes
// as uint32 (ce).
#include "identity.h"

#include "../base/crc32c.h"
#include "layout.h"

#include <weft_gen/records.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define S_FILE_BYTES_MAX 4096
#define S_CRC_BYTES 5

struct weft_identity {
    const struct weft_disk *disk;
    char *directory;
    weft_file_t *lock;
    char *node;
    struct weft_node_identity_record record; // its `node` points at the copy above
    bool made;
};

static weft_err_t s_too_long(const char *directory, struct weft_error *error)
{
    return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT,
                          "the path '%.80s...' is too long for a data directory; use one of at most 160 bytes",
                          directory);
}

// Before a node runs, a disk that can't be used is most often a place that is not for it.
static const char *s_why(weft_err_t err)
{
    if (err == WEFT_ERR_DISK_FULL) return weft_err_sentence(err);
    return "see that it and all above it are directories, that this user may write there, and that the disk is well";
}

// The process that holds the lock, as it wrote itself down; "another process" if that can't be read.
static void s_holder(const struct weft_disk *disk, const char *path, char *text, size_t room)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    size_t digits = 0;
    if (!weft_disk_read_file(disk, path, 64, &bytes))
        while (digits < bytes.size && isdigit(bytes.data[digits])) digits++;
    if (digits && digits < 16)
        snprintf(text, room, "process %.*s", (int) digits, (const char *) bytes.data);
    else
        snprintf(text, room, "another process");
    weft_buf_fini(&bytes);
}

static weft_err_t s_lock(weft_identity_t *self, struct weft_error *error)
{
    char path[WEFT_LOG_PATH_BYTES_MAX], holder[64];
    weft_log_path_named(path, self->directory, "lock");
    weft_err_t err = self->disk->ops->lock(self->disk, path, &self->lock);
    if (err == WEFT_ERR_LOCKED) {
        s_holder(self->disk, path, holder, sizeof holder);
        return weft_error_set(error, err,
                              "the data directory '%s' is in use by %s; stop it, or choose another directory",
                              self->directory, holder);
    }
    if (err)
        return weft_error_set(error, err, "the data directory '%s' can't be used: %s", self->directory, s_why(err));
    return WEFT_OK;
}

// ---- the file

static weft_err_t s_store(weft_identity_t *self, const struct weft_node_identity_record *record,
                          struct weft_error *error)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    uint8_t crc[S_CRC_BYTES] = {0xce};
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_node_identity_record_encode(record, &bytes);
    weft_put_u32(crc + 1, weft_crc32c(0, bytes.data, bytes.size));
    weft_buf_append(&bytes, crc, sizeof crc);
    weft_log_path_named(path, self->directory, "identity");
    weft_err_t err = weft_disk_replace_file(self->disk, path, weft_buf_slice(&bytes));
    weft_buf_fini(&bytes);
    if (err) return weft_error_set(error, err, "'%s' can't be written: %s", path, weft_err_sentence(err));
    return WEFT_OK;
}

static weft_err_t s_damaged(const char *path, struct weft_error *error)
{
    return weft_error_set(
        error, WEFT_ERR_DAMAGED,
        "'%s' is damaged: its checksum does not match; nothing was changed, restore the file or give the "
        "node an empty data directory",
        path);
}

static weft_err_t s_wrong_directory(const weft_identity_t *self, const struct weft_node_identity_record *found,
                                    const struct weft_identity_claim *claim, struct weft_error *error)
{
    return weft_error_set(error, WEFT_ERR_WRONG_DIRECTORY,
                          "the data directory '%s' belongs to %.*s %d, not to %s %d; give this node its own directory",
                          self->directory, (int) found->node.size, (const char *) found->node.data,
                          (int) found->node_id, claim->node, (int) claim->node_id);
}

static weft_err_t s_wrong_cluster(const weft_identity_t *self, weft_id_t theirs, weft_id_t ours,
                                  struct weft_error *error)
{
    char theirs_text[WEFT_ID_TEXT_BYTES], ours_text[WEFT_ID_TEXT_BYTES];
    weft_id_text(theirs, theirs_text);
    weft_id_text(ours, ours_text);
    return weft_error_set(
        error, WEFT_ERR_WRONG_CLUSTER,
        "the data directory '%s' belongs to cluster %s, not to %s; point the node at its own cluster or give "
        "it an empty directory",
        self->directory, theirs_text, ours_text);
}

static weft_err_t s_check(weft_identity_t *self, const struct weft_node_identity_record *found,
                          const struct weft_identity_claim *claim, struct weft_error *error)
{
    if (found->format == 0 || found->format > WEFT_STORAGE_FORMAT)
        return weft_error_set(
            error, WEFT_ERR_WRONG_FORMAT,
            "the data directory '%s' has format %u, this build reads up to %d; start it with a newer build",
            self->directory, (unsigned) found->format, WEFT_STORAGE_FORMAT);
    if (!weft_slice_is_text(found->node, claim->node) || found->node_id != claim->node_id)
        return s_wrong_directory(self, found, claim, error);
    if (!weft_id_is_zero(claim->cluster_id) && !weft_id_is_zero(found->cluster_id) &&
        !weft_id_equal(claim->cluster_id, found->cluster_id))
        return s_wrong_cluster(self, found->cluster_id, claim->cluster_id, error);
    self->record = *found;
    self->record.node = weft_slice_text(self->node);
    return WEFT_OK;
}

static weft_err_t s_parse(weft_identity_t *self, const char *path, weft_slice_t bytes,
                          const struct weft_identity_claim *claim, struct weft_error *error)
{
    if (bytes.size <= S_CRC_BYTES) return s_damaged(path, error);
    size_t size = bytes.size - S_CRC_BYTES;
    if (bytes.data[size] != 0xce || weft_get_u32(bytes.data + size + 1) != weft_crc32c(0, bytes.data, size))
        return s_damaged(path, error);
    weft_codec_t codec;
    struct weft_node_identity_record found;
    weft_codec_init(&codec);
    weft_err_t err = weft_node_identity_record_decode(&codec, weft_slice(bytes.data, size), &found, NULL);
    err = err ? s_damaged(path, error) : s_check(self, &found, claim, error);
    weft_codec_fini(&codec);
    return err;
}

static weft_err_t s_read_or_make(weft_identity_t *self, const struct weft_identity_claim *claim,
                                 struct weft_error *error)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_log_path_named(path, self->directory, "identity");
    weft_err_t err = weft_disk_read_file(self->disk, path, S_FILE_BYTES_MAX, &bytes);
    if (!err) {
        err = s_parse(self, path, weft_buf_slice(&bytes), claim, error);
    } else if (err == WEFT_ERR_NOT_FOUND) {
        weft_node_identity_record_init(&self->record);
        self->record.format = WEFT_STORAGE_FORMAT;
        self->record.node = weft_slice_text(self->node);
        self->record.node_id = claim->node_id;
        self->record.cluster_id = claim->cluster_id;
        self->record.directory_id = claim->directory_id;
        self->record.created_ms = claim->now_ms;
        self->made = true;
        err = s_store(self, &self->record, error);
    } else if (err == WEFT_ERR_TOO_LARGE) {
        err = s_damaged(path, error);
    } else {
        err = weft_error_set(error, err, "'%s' can't be read: see that it is a file that this user may read", path);
    }
    weft_buf_fini(&bytes);
    return err;
}

// ---- life

static weft_err_t s_make_directory(weft_identity_t *self, struct weft_error *error)
{
    weft_err_t err = self->disk->ops->mkdir(self->disk, self->directory);
    if (err)
        return weft_error_set(error, err, "the data directory '%s' can't be made: %s", self->directory, s_why(err));
    return WEFT_OK;
}

// The directory's own entry, for one that was just made. Above it is the installation's business, and may not be
// readable.
static void s_sync_parent(const weft_identity_t *self)
{
    char *parent = weft_strdup(self->directory);
    char *slash = strrchr(parent, '/');
    if (slash && slash != parent) {
        *slash = '\0';
        (void) !self->disk->ops->sync_directory(self->disk, parent);
    }
    free(parent);
}

weft_err_t weft_identity_open(const struct weft_disk *disk, const char *directory,
                              const struct weft_identity_claim *claim, weft_identity_t **out, struct weft_error *error)
{
    if (strlen(directory) > 160) return s_too_long(directory, error);
    weft_identity_t *self = weft_calloc(1, sizeof *self);
    self->disk = disk;
    self->directory = weft_strdup(directory);
    self->node = weft_strdup(claim->node);
    weft_err_t err = s_make_directory(self, error);
    if (!err) err = s_lock(self, error);
    if (!err) err = s_read_or_make(self, claim, error);
    if (err) {
        weft_identity_destroy(&self);
        return err;
    }
    if (self->made) s_sync_parent(self);
    *out = self;
    return WEFT_OK;
}

void weft_identity_destroy(weft_identity_t **self_p)
{
    weft_identity_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    if (self->lock) self->disk->ops->close(&self->lock);
    free(self->directory);
    free(self->node);
    free(self);
}

weft_id_t weft_identity_cluster_id(const weft_identity_t *self)
{
    return self->record.cluster_id;
}

weft_id_t weft_identity_directory_id(const weft_identity_t *self)
{
    return self->record.directory_id;
}

bool weft_identity_made(const weft_identity_t *self)
{
    return self->made;
}

const char *weft_identity_directory(const weft_identity_t *self)
{
    return self->directory;
}

weft_err_t weft_identity_join(weft_identity_t *self, weft_id_t cluster_id, struct weft_error *error)
{
    if (weft_id_equal(self->record.cluster_id, cluster_id)) return WEFT_OK;
    if (!weft_id_is_zero(self->record.cluster_id))
        return s_wrong_cluster(self, self->record.cluster_id, cluster_id, error);
    struct weft_node_identity_record joined = self->record;
    joined.cluster_id = cluster_id;
    weft_err_t err = s_store(self, &joined, error);
    if (!err) self->record = joined;
    return err;
}
