// SPDX-License-Identifier: MPL-2.0
// Crash disks as a whole: looked into, copied, put back, thrown away.
#include "crash_tree.h"

#include <stdlib.h>
#include <string.h>

struct s_saved {
    char *path;
    bool directory;
    uint8_t *bytes;
    size_t size;
};

struct weft_crash_save {
    struct s_saved *files;
    size_t count;
};

weft_slice_t weft_crash_disk_peek(const weft_crash_disk_t *self, const char *path)
{
    const struct weft_crash_node *node = weft_crash_tree_get(&self->now, path);
    if (!node || node->directory) return WEFT_SLICE_NIL;
    return weft_slice(node->now_bytes ? node->now : (const uint8_t *) "", node->now_bytes);
}

void weft_crash_disk_each(const weft_crash_disk_t *self, const char *directory,
                          void (*each)(void *context, const char *path, weft_slice_t bytes), void *context)
{
    size_t length = strlen(directory);
    for (size_t i = 0; i < self->now.count; i++) {
        const struct weft_crash_entry *entry = &self->now.entries[i];
        if (entry->node->directory || strncmp(entry->path, directory, length) != 0) continue;
        if (entry->path[length] != '/' || strchr(entry->path + length + 1, '/')) continue;
        each(context, entry->path, weft_crash_disk_peek(self, entry->path));
    }
}

struct weft_crash_save *weft_crash_disk_save(const weft_crash_disk_t *self)
{
    struct weft_crash_save *save = weft_calloc(1, sizeof *save);
    save->count = self->now.count;
    save->files = weft_calloc(save->count + 1, sizeof *save->files);
    for (size_t i = 0; i < save->count; i++) {
        const struct weft_crash_entry *entry = &self->now.entries[i];
        struct s_saved *file = &save->files[i];
        *file = (struct s_saved){.path = weft_strdup(entry->path), .directory = entry->node->directory};
        file->size = entry->node->directory ? 0 : entry->node->now_bytes;
        file->bytes = weft_alloc(file->size + 1);
        if (file->size) memcpy(file->bytes, entry->node->now, file->size);
    }
    return save;
}

void weft_crash_disk_wipe(weft_crash_disk_t *self)
{
    weft_crash_disk_kill(self);
    weft_crash_changes_clear(self);
    weft_crash_tree_clear(&self->now);
    weft_crash_tree_clear(&self->kept);
    self->stats.bytes = 0;
}

void weft_crash_disk_restore(weft_crash_disk_t *self, const struct weft_crash_save *save)
{
    weft_crash_disk_wipe(self);
    for (size_t i = 0; i < save->count; i++) {
        const struct s_saved *file = &save->files[i];
        struct weft_crash_node *node = weft_crash_node_new(file->directory);
        if (!file->directory) {
            weft_crash_node_resize(node, file->size);
            if (file->size) memcpy(node->now, file->bytes, file->size);
            weft_crash_node_touch(node, 0, file->size);
            weft_crash_node_sync(node);
            self->stats.bytes += (int64_t) file->size;
        }
        weft_crash_tree_put(&self->now, file->path, node);
        weft_crash_tree_put(&self->kept, file->path, node);
        weft_crash_node_drop(node);
    }
}

void weft_crash_save_destroy(struct weft_crash_save **save_p)
{
    struct weft_crash_save *save = *save_p;
    if (!save) return;
    for (size_t i = 0; i < save->count; i++) {
        free(save->files[i].path);
        free(save->files[i].bytes);
    }
    free(save->files);
    free(save);
    *save_p = NULL;
}
