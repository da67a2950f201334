// SPDX-License-Identifier: MPL-2.0
// What a loss of power, a kill and a bit that flips leave of a crash disk. Of what was not synced each sector and each
// name survives or not, by luck that is drawn anew for each file and crash.
#include "crash_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** How a crash treats what was not synced: the extremes are as likely as the middle. */
struct s_luck {
    uint32_t keep_per_million;
    uint32_t garbage_per_million;
    bool in_order; // names: a prefix of the changes; else each by itself
};

static struct s_luck s_luck(weft_rand_t *rand)
{
    static const uint32_t keep[] = {0, 100000, 500000, 900000, 1000000};
    struct s_luck luck = {keep[weft_rand_below(rand, 5)], 0, weft_rand_below(rand, 2)};
    if (weft_rand_below(rand, 4) == 0) luck.garbage_per_million = 100000;
    return luck;
}

static size_t s_crash_length(const struct weft_crash_node *node, weft_rand_t *rand)
{
    size_t low = node->kept_bytes < node->now_bytes ? node->kept_bytes : node->now_bytes;
    size_t high = node->kept_bytes < node->now_bytes ? node->now_bytes : node->kept_bytes;
    switch (weft_rand_below(rand, 3)) {
    case 0: return node->kept_bytes;
    case 1: return node->now_bytes;
    default: return low + (size_t) weft_rand_below(rand, high - low + 1);
    }
}

static void s_crash_sector(weft_crash_disk_t *self, struct weft_crash_node *node, size_t sector,
                           const struct s_luck *luck, weft_rand_t *rand)
{
    uint8_t *kept = node->kept + sector * WEFT_CRASH_SECTOR;
    if (weft_rand_chance(rand, luck->keep_per_million)) {
        weft_crash_node_keep_sector(node, sector);
        return;
    }
    self->stats.sectors_lost++;
    // Never below what was synced before: a sector that was being overwritten is old or new; one that is new to the file may hold anything.
    if (sector * WEFT_CRASH_SECTOR < node->kept_bytes || !weft_rand_chance(rand, luck->garbage_per_million)) return;
    if (node->kept_high < (sector + 1) * WEFT_CRASH_SECTOR) node->kept_high = (sector + 1) * WEFT_CRASH_SECTOR;
    for (size_t i = 0; i < WEFT_CRASH_SECTOR; i += 8) {
        uint64_t word = weft_rand_next(rand);
        memcpy(kept + i, &word, sizeof word);
    }
}

static void s_crash_node(weft_crash_disk_t *self, struct weft_crash_node *node, weft_rand_t *rand)
{
    if (node->directory) return;
    if (node->dirty_low < node->dirty_high || node->kept_bytes != node->now_bytes) {
        struct s_luck luck = s_luck(rand);
        size_t length = s_crash_length(node, rand);
        for (size_t sector = node->dirty_low; sector < node->dirty_high; sector++)
            if (node->dirty[sector]) s_crash_sector(self, node, sector, &luck, rand);
        weft_crash_node_keep_length(node, length);
    }
    weft_crash_node_clean(node);
    if (node->capacity) memcpy(node->now, node->kept, node->capacity);
    node->now_bytes = node->kept_bytes;
}

static void s_crash_names(weft_crash_disk_t *self, weft_rand_t *rand)
{
    struct s_luck luck = s_luck(rand);
    size_t prefix = (size_t) weft_rand_below(rand, self->change_count + 1);
    for (size_t i = 0; i < self->change_count; i++) {
        bool kept = luck.in_order ? i < prefix : weft_rand_chance(rand, luck.keep_per_million);
        if (kept)
            weft_crash_change_apply(&self->kept, &self->changes[i]);
        else
            self->stats.entries_lost++;
    }
    weft_crash_changes_clear(self);
}

// Entries whose directory did not survive are gone as well.
static void s_crash_orphans(weft_crash_disk_t *self)
{
    for (size_t i = 0; i < self->kept.count;) {
        const char *path = self->kept.entries[i].path;
        const char *slash = strrchr(path, '/');
        bool orphan = false;
        if (slash && slash != path) {
            char *parent = weft_slice_dup(weft_slice(path, (size_t) (slash - path)));
            const struct weft_crash_node *node = weft_crash_tree_get(&self->kept, parent);
            orphan = !node || !node->directory;
            free(parent);
        }
        if (orphan)
            weft_crash_tree_remove(&self->kept, path), i = 0;
        else
            i++;
    }
}

void weft_crash_disk_kill(weft_crash_disk_t *self)
{
    self->life++;
    for (size_t i = 0; i < self->now.count; i++) self->now.entries[i].node->locked = false;
}

void weft_crash_disk_crash(weft_crash_disk_t *self, weft_rand_t *rand)
{
    weft_crash_disk_kill(self);
    self->stats.crashes++;
    s_crash_names(self, rand);
    s_crash_orphans(self);
    weft_crash_tree_clear(&self->now);
    self->stats.bytes = 0;
    for (size_t i = 0; i < self->kept.count; i++) {
        struct weft_crash_node *node = self->kept.entries[i].node;
        s_crash_node(self, node, rand);
        node->locked = false;
        self->stats.bytes += (int64_t) node->now_bytes;
        weft_crash_tree_put(&self->now, self->kept.entries[i].path, node);
    }
}

static bool s_ends_with(const char *path, const char *suffix)
{
    size_t length = strlen(path), wanted = suffix ? strlen(suffix) : 0;
    return wanted <= length && memcmp(path + length - wanted, suffix ? suffix : "", wanted) == 0;
}

bool weft_crash_disk_flip(weft_crash_disk_t *self, weft_rand_t *rand, const char *suffix, char *path, size_t path_bytes)
{
    size_t count = 0, chosen = 0;
    for (size_t i = 0; i < self->now.count; i++) {
        const struct weft_crash_entry *entry = &self->now.entries[i];
        if (entry->node->directory || !entry->node->now_bytes || !s_ends_with(entry->path, suffix)) continue;
        count++;
        if (weft_rand_below(rand, count) == 0) chosen = i;
    }
    if (!count) return false;
    struct weft_crash_node *node = self->now.entries[chosen].node;
    size_t at = (size_t) weft_rand_below(rand, node->now_bytes);
    uint8_t bit = (uint8_t) (1u << weft_rand_below(rand, 8));
    node->now[at] ^= bit;
    if (at < node->kept_bytes) node->kept[at] ^= bit;
    if (path) snprintf(path, path_bytes, "%s", self->now.entries[chosen].path);
    return true;
}
