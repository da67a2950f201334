// SPDX-License-Identifier: MPL-2.0
/**
 * What the crash disk is made of: nodes (a file's bytes as read and as kept on the platter, or a directory) and trees of names. Internal to it.
 */
#ifndef WEFT_TESTING_CRASH_TREE_H
#define WEFT_TESTING_CRASH_TREE_H

#include "crash_disk.h"

#define WEFT_CRASH_SECTOR 512

struct weft_crash_node {
    uint32_t references; // of trees, changes and open files
    bool directory;
    bool locked;
    uint8_t *now, *kept;
    size_t now_bytes, kept_bytes;
    size_t kept_high;             // `kept` is zero from here on
    size_t capacity;              // of both
    uint8_t *dirty;               // a byte a sector: now differs from kept
    size_t dirty_low, dirty_high; // sectors that may be dirty
};

struct weft_crash_entry {
    char *path;
    struct weft_crash_node *node;
};

struct weft_crash_tree {
    struct weft_crash_entry *entries;
    size_t count, capacity;
};

struct weft_crash_node *weft_crash_node_new(bool directory); // one reference
struct weft_crash_node *weft_crash_node_ref(struct weft_crash_node *node);
void weft_crash_node_drop(struct weft_crash_node *node);
void weft_crash_node_reserve(struct weft_crash_node *node, size_t bytes);
// Bytes from `from` to `to` were changed in `now`.
void weft_crash_node_touch(struct weft_crash_node *node, size_t from, size_t to);
void weft_crash_node_clean(struct weft_crash_node *node);
void weft_crash_node_resize(struct weft_crash_node *node, size_t bytes); // of what is read
void weft_crash_node_keep_sector(struct weft_crash_node *node, size_t sector);
void weft_crash_node_keep_length(struct weft_crash_node *node, size_t bytes);
void weft_crash_node_sync(struct weft_crash_node *node);

// A tree holds a reference to each of its nodes.
struct weft_crash_node *weft_crash_tree_get(const struct weft_crash_tree *tree, const char *path); // NULL if absent
void weft_crash_tree_put(struct weft_crash_tree *tree, const char *path, struct weft_crash_node *node);
void weft_crash_tree_remove(struct weft_crash_tree *tree, const char *path);
void weft_crash_tree_clear(struct weft_crash_tree *tree);

// ---- the disk itself

enum weft_crash_change_kind { WEFT_CRASH_CREATE, WEFT_CRASH_UNLINK, WEFT_CRASH_RENAME };

struct weft_crash_change { // of a name, not durable yet
    enum weft_crash_change_kind kind;
    char *path, *to;
    struct weft_crash_node *node;
};

struct weft_crash_disk {
    struct weft_disk disk;
    struct weft_crash_tree now, kept;
    struct weft_crash_change *changes;
    size_t change_count, change_capacity;
    struct weft_crash_disk_faults faults;
    struct weft_crash_disk_stats stats;
    weft_rand_t rand;
    uint32_t life; // handles of an earlier one are dead
};

// Makes a change of a name in the tree of what is kept.
void weft_crash_change_apply(struct weft_crash_tree *kept, const struct weft_crash_change *change);
void weft_crash_changes_clear(weft_crash_disk_t *self);

#endif
