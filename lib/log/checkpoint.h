// SPDX-License-Identifier: MPL-2.0
/**
 * Checkpoint: the synced end of every partition of a data directory, itself synced (REPLICATION.md rule 9), and the
 * clean marker.
 *
 * It tells a torn tail (above: cut) from damage (below: refused). It may lag what was really synced, never lead it. One
 * file, CRC protected, written in two alternating slots so that a torn write leaves the other. A partition is named by
 * topic id and number. The clean marker is written after the last sync of a clean stop and durably removed before
 * anything is served (rule 2).
 */
#ifndef WEFT_LOG_CHECKPOINT_H
#define WEFT_LOG_CHECKPOINT_H

#include "../base/disk.h"

typedef struct weft_checkpoint weft_checkpoint_t;

// Opens or creates `directory`/checkpoint. Both slots bad: DAMAGED with a sentence.
WEFT_MUST_USE weft_err_t weft_checkpoint_open(const struct weft_disk *disk, const char *directory,
                                              weft_checkpoint_t **out, struct weft_error *error);
void weft_checkpoint_destroy(weft_checkpoint_t **self_p);

int64_t weft_checkpoint_get(const weft_checkpoint_t *self, weft_id_t topic, uint32_t partition); // 0 if unknown
// Walks all entries, in no order: *cursor is 0 at first. False at the end.
bool weft_checkpoint_next(const weft_checkpoint_t *self, size_t *cursor, weft_id_t *topic, uint32_t *partition,
                          int64_t *synced_end);
// The synced end of a checkpoint that has one entry (a coordinator's), 0 if it has none or several.
int64_t weft_checkpoint_sole(const weft_checkpoint_t *self);
void weft_checkpoint_set(weft_checkpoint_t *self, weft_id_t topic, uint32_t partition, int64_t synced_end); // in memory
void weft_checkpoint_remove(weft_checkpoint_t *self, weft_id_t topic, uint32_t partition);
WEFT_MUST_USE weft_err_t
weft_checkpoint_write(weft_checkpoint_t *self); // writes the older slot and syncs it; no-op if nothing changed

WEFT_MUST_USE weft_err_t weft_checkpoint_mark_clean(weft_checkpoint_t *self);
// Was the last stop clean? Removes the marker durably before it returns.
WEFT_MUST_USE weft_err_t weft_checkpoint_take_clean(weft_checkpoint_t *self, bool *was_clean);

#endif
