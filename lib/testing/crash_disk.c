// SPDX-License-Identifier: MPL-2.0
/*
 * Two trees of names over counted nodes: `now` (what calls see) and `kept` (what survives power loss). A node holds its bytes twice, as read and as
 * kept, and a bitmap of the sectors in which they differ, so that a sync and a crash cost what was written since the last one. Every change of
 * a name is also put on a list; sync_directory applies those of its directory to `kept`, a crash applies some of them.
 */
#include "crash_disk.h"
#include "crash_tree.h"

#include "../base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct s_file {
    struct weft_file base;
    weft_crash_disk_t *owner;
    struct weft_crash_node *node;
    uint32_t references;
    uint32_t life;
    bool locks;
};

static weft_crash_disk_t *s_owner(const struct weft_disk *disk)
{
    return disk->self;
}

static struct s_file *s_file(weft_file_t *file)
{
    return (struct s_file *) file;
}

// Is `path` in the directory of `length` bytes, however deep?
static bool s_below(const char *path, const char *directory, size_t length)
{
    return strncmp(path, directory, length) == 0 && path[length] == '/';
}

// ---- changes of names

static void s_change_free(struct weft_crash_change *change)
{
    free(change->path);
    free(change->to);
    weft_crash_node_drop(change->node);
}

static void s_tree_remove_below(struct weft_crash_tree *tree, const char *directory)
{
    size_t length = strlen(directory);
    for (size_t i = tree->count; i > 0; i--)
        if (s_below(tree->entries[i - 1].path, directory, length))
            weft_crash_tree_remove(tree, tree->entries[i - 1].path);
}

static const struct weft_crash_entry *s_tree_first_below(const struct weft_crash_tree *tree, const char *directory)
{
    size_t length = strlen(directory);
    for (size_t i = 0; i < tree->count; i++)
        if (s_below(tree->entries[i].path, directory, length)) return &tree->entries[i];
    return NULL;
}

// A directory takes along what is in it, and whatever had the new name is gone.
static void s_tree_rename(struct weft_crash_tree *tree, const char *from, const char *to, struct weft_crash_node *node)
{
    s_tree_remove_below(tree, to);
    weft_crash_tree_put(tree, to, node);
    for (const struct weft_crash_entry *entry; (entry = s_tree_first_below(tree, from)) != NULL;) {
        char *path = weft_strdup(entry->path);
        weft_buf_t moved;
        weft_buf_init(&moved);
        weft_buf_printf(&moved, "%s%s", to, path + strlen(from));
        weft_crash_tree_put(tree, (const char *) moved.data, entry->node);
        weft_crash_tree_remove(tree, path);
        weft_buf_fini(&moved);
        free(path);
    }
    if (weft_crash_tree_get(tree, from) == node) weft_crash_tree_remove(tree, from);
}

void weft_crash_change_apply(struct weft_crash_tree *kept, const struct weft_crash_change *change)
{
    switch (change->kind) {
    case WEFT_CRASH_CREATE: weft_crash_tree_put(kept, change->path, change->node); break;
    case WEFT_CRASH_UNLINK:
        if (weft_crash_tree_get(kept, change->path) == change->node) weft_crash_tree_remove(kept, change->path);
        break;
    case WEFT_CRASH_RENAME:
        if (change->node->directory) {
            s_tree_rename(kept, change->path, change->to, change->node);
            break;
        }
        if (weft_crash_tree_get(kept, change->path) == change->node) weft_crash_tree_remove(kept, change->path);
        weft_crash_tree_put(kept, change->to, change->node);
        break;
    }
}

// Names in the root, which nobody syncs, are durable at once.
static bool s_in_root(const char *path)
{
    return !strchr(path + 1, '/');
}

static void s_change_add(weft_crash_disk_t *self, enum weft_crash_change_kind kind, const char *path, const char *to,
                         struct weft_crash_node *node)
{
    if (self->change_count == self->change_capacity) {
        self->change_capacity = self->change_capacity ? self->change_capacity * 2 : 16;
        self->changes = weft_realloc(self->changes, self->change_capacity * sizeof *self->changes);
    }
    self->changes[self->change_count++] =
        (struct weft_crash_change){kind, weft_strdup(path), to ? weft_strdup(to) : NULL, weft_crash_node_ref(node)};
    if (!s_in_root(path)) return;
    weft_crash_change_apply(&self->kept, &self->changes[--self->change_count]);
    s_change_free(&self->changes[self->change_count]);
}

static bool s_directly_in(const char *path, const char *directory, size_t length)
{
    return s_below(path, directory, length) && !strchr(path + length + 1, '/');
}

static void s_changes_keep(weft_crash_disk_t *self, const char *directory)
{
    size_t length = strlen(directory), left = 0;
    for (size_t i = 0; i < self->change_count; i++) {
        if (s_directly_in(self->changes[i].path, directory, length)) {
            weft_crash_change_apply(&self->kept, &self->changes[i]);
            s_change_free(&self->changes[i]);
        } else {
            self->changes[left++] = self->changes[i];
        }
    }
    self->change_count = left;
}

void weft_crash_changes_clear(weft_crash_disk_t *self)
{
    for (size_t i = 0; i < self->change_count; i++) s_change_free(&self->changes[i]);
    self->change_count = 0;
}

// ---- the calls

static bool s_chance(weft_crash_disk_t *self, uint32_t per_million)
{
    if (!per_million || !weft_rand_chance(&self->rand, per_million)) return false;
    self->stats.faults++;
    return true;
}

static bool s_dead(const struct s_file *file)
{
    return file->life != file->owner->life;
}

static bool s_parent_is_there(const weft_crash_disk_t *self, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path) return true;
    char *parent = weft_slice_dup(weft_slice(path, (size_t) (slash - path)));
    const struct weft_crash_node *node = weft_crash_tree_get(&self->now, parent);
    free(parent);
    return node && node->directory;
}

static weft_file_t *s_handle(weft_crash_disk_t *self, struct weft_crash_node *node)
{
    struct s_file *file = weft_calloc(1, sizeof *file);
    file->base.disk = &self->disk;
    file->owner = self;
    file->node = weft_crash_node_ref(node);
    file->references = 1;
    file->life = self->life;
    return &file->base;
}

static weft_err_t s_open(const struct weft_disk *disk, const char *path, enum weft_open_mode mode, weft_file_t **out)
{
    weft_crash_disk_t *self = s_owner(disk);
    if (s_chance(self, self->faults.open_eio)) return WEFT_ERR_DISK_FAILED;
    struct weft_crash_node *node = weft_crash_tree_get(&self->now, path);
    if (node && node->directory) return WEFT_ERR_DISK_FAILED;
    if (!node) {
        if (mode != WEFT_OPEN_CREATE || !s_parent_is_there(self, path)) return WEFT_ERR_NOT_FOUND;
        node = weft_crash_node_new(false);
        weft_crash_tree_put(&self->now, path, node);
        s_change_add(self, WEFT_CRASH_CREATE, path, NULL, node);
        weft_crash_node_drop(node);
    }
    *out = s_handle(self, node);
    return WEFT_OK;
}

static void s_ref(weft_file_t *file)
{
    s_file(file)->references++;
}

static void s_close(weft_file_t **file_p)
{
    if (!*file_p) return;
    struct s_file *file = s_file(*file_p);
    *file_p = NULL;
    if (--file->references) return;
    if (file->locks && !s_dead(file)) file->node->locked = false;
    weft_crash_node_drop(file->node);
    free(file);
}

static weft_err_t s_pread(weft_file_t *handle, void *data, size_t size, int64_t offset, size_t *got)
{
    struct s_file *file = s_file(handle);
    if (s_dead(file) || s_chance(file->owner, file->owner->faults.read_eio)) return WEFT_ERR_DISK_FAILED;
    size_t at = (size_t) offset, end = file->node->now_bytes;
    *got = at >= end ? 0 : size < end - at ? size : end - at;
    if (*got) memcpy(data, file->node->now + at, *got);
    file->owner->stats.reads++;
    return WEFT_OK;
}

static weft_err_t s_grow(weft_crash_disk_t *self, struct weft_crash_node *node, size_t bytes)
{
    int64_t more = bytes > node->now_bytes ? (int64_t) (bytes - node->now_bytes) : 0;
    if (self->faults.space_bytes && more && self->stats.bytes + more > self->faults.space_bytes)
        return WEFT_ERR_DISK_FULL;
    return WEFT_OK;
}

static void s_put(weft_crash_disk_t *self, struct weft_crash_node *node, weft_slice_t bytes, size_t at)
{
    if (!bytes.size) return;
    weft_crash_node_reserve(node, at + bytes.size);
    memcpy(node->now + at, bytes.data, bytes.size);
    weft_crash_node_touch(node, at, at + bytes.size);
    if (at + bytes.size > node->now_bytes) {
        self->stats.bytes += (int64_t) (at + bytes.size - node->now_bytes);
        node->now_bytes = at + bytes.size;
    }
}

static weft_err_t s_pwritev(weft_file_t *handle, const weft_slice_t *slices, size_t count, int64_t offset)
{
    struct s_file *file = s_file(handle);
    weft_crash_disk_t *self = file->owner;
    if (s_dead(file)) return WEFT_ERR_DISK_FAILED;
    size_t total = 0, at = (size_t) offset;
    for (size_t i = 0; i < count; i++) total += slices[i].size;
    weft_err_t err = WEFT_OK;
    if (s_chance(self, self->faults.write_eio)) err = WEFT_ERR_DISK_FAILED;
    if (!err && s_chance(self, self->faults.write_enospc)) err = WEFT_ERR_DISK_FULL;
    if (!err) err = s_grow(self, file->node, at + total);
    size_t allowed = err ? (size_t) weft_rand_below(&self->rand, total + 1) : total; // any prefix of a write that fails
    if (err == WEFT_ERR_DISK_FULL && (allowed == total || s_grow(self, file->node, at + allowed))) allowed = 0;
    for (size_t i = 0; i < count; i++) {
        size_t size = slices[i].size < allowed ? slices[i].size : allowed;
        s_put(self, file->node, weft_slice(slices[i].data, size), at);
        at += size;
        allowed -= size;
    }
    self->stats.writes++;
    return err;
}

static weft_err_t s_size(weft_file_t *handle, int64_t *bytes)
{
    if (s_dead(s_file(handle))) return WEFT_ERR_DISK_FAILED;
    *bytes = (int64_t) s_file(handle)->node->now_bytes;
    return WEFT_OK;
}

static weft_err_t s_truncate(weft_file_t *handle, int64_t bytes)
{
    struct s_file *file = s_file(handle);
    weft_crash_disk_t *self = file->owner;
    if (s_dead(file) || s_chance(self, self->faults.write_eio)) return WEFT_ERR_DISK_FAILED;
    weft_err_t err = s_grow(self, file->node, (size_t) bytes);
    if (err) return err;
    self->stats.bytes += bytes - (int64_t) file->node->now_bytes;
    weft_crash_node_resize(file->node, (size_t) bytes);
    return WEFT_OK;
}

static weft_err_t s_preallocate(weft_file_t *handle, int64_t bytes)
{
    return s_dead(s_file(handle)) ? WEFT_ERR_DISK_FAILED : WEFT_OK;
}

// What a failed sync did not write is clean from then on, and so never written.
static void s_sync_half(weft_crash_disk_t *self, struct weft_crash_node *node)
{
    for (size_t sector = node->dirty_low; sector < node->dirty_high; sector++)
        if (node->dirty[sector] && weft_rand_below(&self->rand, 2)) weft_crash_node_keep_sector(node, sector);
    if (weft_rand_below(&self->rand, 2)) weft_crash_node_keep_length(node, node->now_bytes);
    weft_crash_node_clean(node);
}

static weft_err_t s_sync(weft_file_t *handle)
{
    struct s_file *file = s_file(handle);
    if (s_dead(file)) return WEFT_ERR_DISK_FAILED;
    file->owner->stats.syncs++;
    if (s_chance(file->owner, file->owner->faults.sync_eio)) {
        s_sync_half(file->owner, file->node);
        return WEFT_ERR_DISK_FAILED;
    }
    weft_crash_node_sync(file->node);
    return WEFT_OK;
}

// Names that were not synced in it are kept from here on: their changes tell the old path.
static weft_err_t s_rename_directory(weft_crash_disk_t *self, const char *from, const char *to,
                                     struct weft_crash_node *node)
{
    size_t length = strlen(from), left = 0;
    for (size_t i = 0; i < self->change_count; i++) {
        if (s_below(self->changes[i].path, from, length)) {
            weft_crash_change_apply(&self->kept, &self->changes[i]);
            s_change_free(&self->changes[i]);
        } else {
            self->changes[left++] = self->changes[i];
        }
    }
    self->change_count = left;
    weft_crash_node_ref(node); // the tree may hold the only reference
    s_change_add(self, WEFT_CRASH_RENAME, from, to, node);
    s_tree_rename(&self->now, from, to, node);
    weft_crash_node_drop(node);
    return WEFT_OK;
}

static weft_err_t s_rename(const struct weft_disk *disk, const char *from, const char *to)
{
    weft_crash_disk_t *self = s_owner(disk);
    if (s_chance(self, self->faults.open_eio)) return WEFT_ERR_DISK_FAILED;
    struct weft_crash_node *node = weft_crash_tree_get(&self->now, from);
    if (!node || !s_parent_is_there(self, to)) return WEFT_ERR_NOT_FOUND;
    const struct weft_crash_node *old = weft_crash_tree_get(&self->now, to);
    if (old == node) return WEFT_OK;
    if (node->directory) return old ? WEFT_ERR_DISK_FAILED : s_rename_directory(self, from, to, node);
    if (old && old->directory) return WEFT_ERR_DISK_FAILED;
    if (old) self->stats.bytes -= (int64_t) old->now_bytes;
    s_change_add(self, WEFT_CRASH_RENAME, from, to, node);
    weft_crash_tree_put(&self->now, to, node);
    weft_crash_tree_remove(&self->now, from);
    return WEFT_OK;
}

static weft_err_t s_remove(weft_crash_disk_t *self, const char *path, bool directory)
{
    if (s_chance(self, self->faults.open_eio)) return WEFT_ERR_DISK_FAILED;
    struct weft_crash_node *node = weft_crash_tree_get(&self->now, path);
    if (!node) return WEFT_ERR_NOT_FOUND;
    if (node->directory != directory) return WEFT_ERR_DISK_FAILED;
    s_change_add(self, WEFT_CRASH_UNLINK, path, NULL, node);
    self->stats.bytes -= (int64_t) node->now_bytes;
    weft_crash_tree_remove(&self->now, path);
    return WEFT_OK;
}

static weft_err_t s_unlink(const struct weft_disk *disk, const char *path)
{
    return s_remove(s_owner(disk), path, false);
}

static weft_err_t s_mkdir_one(weft_crash_disk_t *self, const char *path)
{
    struct weft_crash_node *node = weft_crash_tree_get(&self->now, path);
    if (node) return node->directory ? WEFT_OK : WEFT_ERR_DISK_FAILED;
    if (s_chance(self, self->faults.open_eio)) return WEFT_ERR_DISK_FAILED;
    node = weft_crash_node_new(true);
    weft_crash_tree_put(&self->now, path, node);
    s_change_add(self, WEFT_CRASH_CREATE, path, NULL, node);
    weft_crash_node_drop(node);
    return WEFT_OK;
}

static weft_err_t s_mkdir(const struct weft_disk *disk, const char *path)
{
    char *partial = weft_strdup(path);
    weft_err_t err = WEFT_OK;
    for (char *at = partial + 1; *at && !err; at++) {
        if (*at != '/') continue;
        *at = '\0';
        err = s_mkdir_one(s_owner(disk), partial);
        *at = '/';
    }
    if (!err) err = s_mkdir_one(s_owner(disk), partial);
    free(partial);
    return err;
}

static weft_err_t s_rmdir(const struct weft_disk *disk, const char *path)
{
    weft_crash_disk_t *self = s_owner(disk);
    size_t length = strlen(path);
    for (size_t i = 0; i < self->now.count; i++)
        if (s_below(self->now.entries[i].path, path, length)) return WEFT_ERR_DISK_FAILED;
    return s_remove(self, path, true);
}

static weft_err_t s_sync_directory(const struct weft_disk *disk, const char *path)
{
    weft_crash_disk_t *self = s_owner(disk);
    const struct weft_crash_node *node = weft_crash_tree_get(&self->now, path);
    if (!node || !node->directory)
        return *path && strcmp(path, "/") && strcmp(path, ".") ? WEFT_ERR_NOT_FOUND : WEFT_OK;
    self->stats.directory_syncs++;
    if (s_chance(self, self->faults.sync_eio)) return WEFT_ERR_DISK_FAILED;
    s_changes_keep(self, path);
    return WEFT_OK;
}

static weft_err_t s_list(const struct weft_disk *disk, const char *path, weft_disk_list_fn *each, void *context)
{
    weft_crash_disk_t *self = s_owner(disk);
    size_t length = strlen(path);
    const struct weft_crash_node *node = weft_crash_tree_get(&self->now, path);
    if (!node || !node->directory) return WEFT_ERR_NOT_FOUND;
    if (s_chance(self, self->faults.read_eio)) return WEFT_ERR_DISK_FAILED;
    // Listed first: `each` may change the tree. Paths sort as names do, but for what stands below a directory, which is skipped.
    char **names = weft_alloc((self->now.count + 1) * sizeof *names);
    bool *directories = weft_alloc(self->now.count + 1);
    size_t count = 0;
    for (size_t i = 0; i < self->now.count; i++) {
        const struct weft_crash_entry *entry = &self->now.entries[i];
        if (!s_directly_in(entry->path, path, length)) continue;
        directories[count] = entry->node->directory;
        names[count++] = weft_strdup(entry->path + length + 1);
    }
    for (size_t i = 0; i < count; i++) {
        each(context, names[i], directories[i]);
        free(names[i]);
    }
    free(names);
    free(directories);
    return WEFT_OK;
}

static weft_err_t s_lock(const struct weft_disk *disk, const char *path, weft_file_t **out)
{
    weft_file_t *file;
    weft_err_t err = s_open(disk, path, WEFT_OPEN_CREATE, &file);
    if (err) return err;
    if (s_file(file)->node->locked) {
        s_close(&file);
        return WEFT_ERR_LOCKED;
    }
    weft_slice_t pid = weft_slice_text("1\n");
    err = s_pwritev(file, &pid, 1, 0);
    if (err) {
        s_close(&file);
        return err;
    }
    s_file(file)->node->locked = true;
    s_file(file)->locks = true;
    *out = file;
    return WEFT_OK;
}

static weft_err_t s_free_bytes(const struct weft_disk *disk, const char *path, int64_t *bytes)
{
    const weft_crash_disk_t *self = s_owner(disk);
    *bytes = self->faults.space_bytes ? self->faults.space_bytes - self->stats.bytes : INT64_MAX;
    if (*bytes < 0) *bytes = 0;
    return WEFT_OK;
}

// ---- life

weft_crash_disk_t *weft_crash_disk_new(uint64_t seed)
{
    static const struct weft_disk_ops ops = {.open = s_open,
                                             .ref = s_ref,
                                             .close = s_close,
                                             .pread = s_pread,
                                             .pwritev = s_pwritev,
                                             .size = s_size,
                                             .truncate = s_truncate,
                                             .preallocate = s_preallocate,
                                             .sync = s_sync,
                                             .rename = s_rename,
                                             .unlink = s_unlink,
                                             .mkdir = s_mkdir,
                                             .rmdir = s_rmdir,
                                             .sync_directory = s_sync_directory,
                                             .list = s_list,
                                             .lock = s_lock,
                                             .free_bytes = s_free_bytes};
    weft_crash_disk_t *self = weft_calloc(1, sizeof *self);
    self->disk = (struct weft_disk){.ops = &ops, .self = self};
    weft_rand_init(&self->rand, seed);
    return self;
}

void weft_crash_disk_destroy(weft_crash_disk_t **self_p)
{
    weft_crash_disk_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    weft_crash_changes_clear(self);
    free(self->changes);
    weft_crash_tree_clear(&self->now);
    weft_crash_tree_clear(&self->kept);
    free(self);
}

const struct weft_disk *weft_crash_disk_of(weft_crash_disk_t *self)
{
    return &self->disk;
}

void weft_crash_disk_faults_set(weft_crash_disk_t *self, const struct weft_crash_disk_faults *faults)
{
    self->faults = *faults;
}

struct weft_crash_disk_stats weft_crash_disk_stats(const weft_crash_disk_t *self)
{
    return self->stats;
}
