// SPDX-License-Identifier: MPL-2.0
// A node keeps both images at full length and a byte a sector for where they differ; a tree is an array of entries sorted by path.
#include "crash_tree.h"

#include <stdlib.h>
#include <string.h>

// ---- nodes

struct weft_crash_node *weft_crash_node_new(bool directory)
{
    struct weft_crash_node *node = weft_calloc(1, sizeof *node);
    node->directory = directory;
    node->references = 1;
    node->dirty_low = SIZE_MAX;
    return node;
}

struct weft_crash_node *weft_crash_node_ref(struct weft_crash_node *node)
{
    node->references++;
    return node;
}

void weft_crash_node_drop(struct weft_crash_node *node)
{
    if (--node->references) return;
    free(node->now);
    free(node->kept);
    free(node->dirty);
    free(node);
}

void weft_crash_node_reserve(struct weft_crash_node *node, size_t bytes)
{
    if (bytes <= node->capacity) return;
    size_t capacity = node->capacity ? node->capacity : WEFT_CRASH_SECTOR;
    while (capacity < bytes) capacity *= 2;
    node->now = weft_realloc(node->now, capacity);
    node->kept = weft_realloc(node->kept, capacity);
    node->dirty = weft_realloc(node->dirty, capacity / WEFT_CRASH_SECTOR);
    memset(node->now + node->capacity, 0, capacity - node->capacity);
    memset(node->kept + node->capacity, 0, capacity - node->capacity);
    memset(node->dirty + node->capacity / WEFT_CRASH_SECTOR, 0, (capacity - node->capacity) / WEFT_CRASH_SECTOR);
    node->capacity = capacity;
}

void weft_crash_node_touch(struct weft_crash_node *node, size_t from, size_t to)
{
    if (from >= to) return;
    size_t low = from / WEFT_CRASH_SECTOR, high = (to + WEFT_CRASH_SECTOR - 1) / WEFT_CRASH_SECTOR;
    memset(node->dirty + low, 1, high - low);
    if (low < node->dirty_low) node->dirty_low = low;
    if (high > node->dirty_high) node->dirty_high = high;
}

void weft_crash_node_clean(struct weft_crash_node *node)
{
    if (node->dirty_low < node->dirty_high)
        memset(node->dirty + node->dirty_low, 0, node->dirty_high - node->dirty_low);
    node->dirty_low = SIZE_MAX;
    node->dirty_high = 0;
}

// Bytes behind the length are zero in both images, always: a file that grows again shows zeros there.
void weft_crash_node_resize(struct weft_crash_node *node, size_t bytes)
{
    weft_crash_node_reserve(node, bytes);
    if (bytes < node->now_bytes) {
        memset(node->now + bytes, 0, node->now_bytes - bytes);
        weft_crash_node_touch(node, bytes, node->now_bytes);
    }
    node->now_bytes = bytes;
}

void weft_crash_node_keep_sector(struct weft_crash_node *node, size_t sector)
{
    memcpy(node->kept + sector * WEFT_CRASH_SECTOR, node->now + sector * WEFT_CRASH_SECTOR, WEFT_CRASH_SECTOR);
    if (node->kept_high < (sector + 1) * WEFT_CRASH_SECTOR) node->kept_high = (sector + 1) * WEFT_CRASH_SECTOR;
}

// A length on the platter frees what was behind it: never seen again.
void weft_crash_node_keep_length(struct weft_crash_node *node, size_t bytes)
{
    if (bytes < node->kept_high) {
        memset(node->kept + bytes, 0, node->kept_high - bytes);
        node->kept_high = bytes;
    }
    node->kept_bytes = bytes;
}

void weft_crash_node_sync(struct weft_crash_node *node)
{
    for (size_t sector = node->dirty_low; sector < node->dirty_high; sector++)
        if (node->dirty[sector]) weft_crash_node_keep_sector(node, sector);
    weft_crash_node_keep_length(node, node->now_bytes);
    weft_crash_node_clean(node);
}

// ---- trees

static size_t s_tree_find(const struct weft_crash_tree *tree, const char *path, bool *found)
{
    size_t low = 0, high = tree->count;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(tree->entries[middle].path, path);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct weft_crash_node *weft_crash_tree_get(const struct weft_crash_tree *tree, const char *path)
{
    bool found;
    size_t at = s_tree_find(tree, path, &found);
    return found ? tree->entries[at].node : NULL;
}

void weft_crash_tree_remove(struct weft_crash_tree *tree, const char *path)
{
    bool found;
    size_t at = s_tree_find(tree, path, &found);
    if (!found) return;
    weft_crash_node_drop(tree->entries[at].node);
    free(tree->entries[at].path);
    tree->count--;
    memmove(tree->entries + at, tree->entries + at + 1, (tree->count - at) * sizeof *tree->entries);
}

void weft_crash_tree_put(struct weft_crash_tree *tree, const char *path, struct weft_crash_node *node)
{
    bool found;
    size_t at = s_tree_find(tree, path, &found);
    weft_crash_node_ref(node);
    if (found) {
        weft_crash_node_drop(tree->entries[at].node);
        tree->entries[at].node = node;
        return;
    }
    if (tree->count == tree->capacity) {
        tree->capacity = tree->capacity ? tree->capacity * 2 : 16;
        tree->entries = weft_realloc(tree->entries, tree->capacity * sizeof *tree->entries);
    }
    memmove(tree->entries + at + 1, tree->entries + at, (tree->count - at) * sizeof *tree->entries);
    tree->entries[at] = (struct weft_crash_entry){weft_strdup(path), node};
    tree->count++;
}

void weft_crash_tree_clear(struct weft_crash_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        weft_crash_node_drop(tree->entries[i].node);
        free(tree->entries[i].path);
    }
    free(tree->entries);
    *tree = (struct weft_crash_tree){NULL, 0, 0};
}
