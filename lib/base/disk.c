// SPDX-License-Identifier: MPL-2.0
// Conveniences over struct weft_disk_ops: written once, so that every disk (real, failing, simulated) has them.
#include "disk.h"

#include "assert.h"

#include <stdlib.h>
#include <string.h>

weft_err_t weft_disk_read_file(const struct weft_disk *disk, const char *path, size_t bytes_max, weft_buf_t *out)
{
    weft_file_t *file = NULL;
    weft_err_t err = disk->ops->open(disk, path, WEFT_OPEN_READ, &file);
    if (err) return err;
    int64_t bytes;
    err = disk->ops->size(file, &bytes);
    if (err) goto fail_file;
    err = WEFT_ERR_TOO_LARGE;
    if (bytes < 0 || (uint64_t) bytes > bytes_max) goto fail_file;

    weft_buf_t content;
    weft_buf_init(&content);
    weft_buf_reserve(&content, (size_t) bytes + 1); // + 1: an empty file still gives data that is not NULL
    err = disk->ops->pread(file, content.data, (size_t) bytes, 0, &content.size);
    if (err) goto fail_content;
    disk->ops->close(&file);
    weft_buf_fini(out);
    *out = content;
    return WEFT_OK;

fail_content:
    weft_buf_fini(&content);
fail_file:
    disk->ops->close(&file);
    return err;
}

// The directory that holds `path`: "." when it names none. The caller frees it.
static char *s_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return weft_strdup(".");
    if (slash == path) return weft_strdup("/");
    return weft_slice_dup(weft_slice(path, (size_t) (slash - path)));
}

static char *s_join(const char *path, const char *name)
{
    weft_buf_t joined;
    weft_buf_init(&joined);
    weft_buf_printf(&joined, "%s/%s", path, name); // leaves a terminator behind the bytes
    return (char *) joined.data;
}

static weft_err_t s_write_synced(const struct weft_disk *disk, const char *path, weft_slice_t bytes)
{
    weft_file_t *file = NULL;
    weft_err_t err = disk->ops->open(disk, path, WEFT_OPEN_CREATE, &file);
    if (err) return err;
    err = disk->ops->truncate(file, 0); // one left by a crash
    if (!err && bytes.size) err = disk->ops->pwritev(file, &bytes, 1, 0);
    if (!err) err = disk->ops->sync(file);
    disk->ops->close(&file);
    return err;
}

weft_err_t weft_disk_replace_file(const struct weft_disk *disk, const char *path, weft_slice_t bytes)
{
    weft_buf_t scratch;
    weft_buf_init(&scratch);
    weft_buf_printf(&scratch, "%s.tmp", path);
    const char *temporary = (const char *) scratch.data;
    char *parent = s_parent(path);

    // Synced before the rename, or a crash could leave the new name with no content.
    weft_err_t err = s_write_synced(disk, temporary, bytes);
    if (!err) err = disk->ops->rename(disk, temporary, path);
    if (err)
        (void) disk->ops->unlink(disk, temporary);
    else
        err = disk->ops->sync_directory(disk, parent);

    free(parent);
    weft_buf_fini(&scratch);
    return err;
}

// ---- remove_tree

struct s_names {
    char **names;
    bool *directories;
    size_t count;
};

static void s_collect(void *context, const char *name, bool is_directory)
{
    struct s_names *self = context;
    self->names = weft_realloc(self->names, (self->count + 1) * sizeof *self->names);
    self->directories = weft_realloc(self->directories, (self->count + 1) * sizeof *self->directories);
    self->names[self->count] = weft_strdup(name);
    self->directories[self->count++] = is_directory;
}

static weft_err_t s_remove_entry(const struct weft_disk *disk, const char *path, bool is_directory)
{
    return is_directory ? weft_disk_remove_tree(disk, path) : disk->ops->unlink(disk, path);
}

weft_err_t weft_disk_remove_tree(const struct weft_disk *disk, const char *path)
{
    struct s_names found = {NULL, NULL, 0}; // listed first: a directory that changes under a listing may repeat or skip
    weft_err_t err = disk->ops->list(disk, path, s_collect, &found);
    for (size_t i = 0; i < found.count; i++) {
        if (!err) {
            char *entry = s_join(path, found.names[i]);
            err = s_remove_entry(disk, entry, found.directories[i]);
            free(entry);
        }
        free(found.names[i]);
    }
    free(found.names);
    free(found.directories);
    return err ? err : disk->ops->rmdir(disk, path);
}
