// SPDX-License-Identifier: MPL-2.0
/**
 * Vote: what a voter may never forget, in the file `vote` of its data directory: whose directory it is, the term, whom
 * it voted for in it, and up to which entry it knows that its log is committed and durable.
 *
 * Two slots of 512 bytes, written and synced one after the other with the same content: after a crash in the middle one
 * of them is whole, and a bit that rots in one is repaired from the other. Big-endian: `WQV1`, u64 generation, u64
 * server, u64 term, u64 voted for (0: nobody), u64 committed, u32 CRC-32C over all before it, zeros.
 */
#ifndef WEFT_COORDINATOR_QUORUM_VOTE_H
#define WEFT_COORDINATOR_QUORUM_VOTE_H

#include "../lib/base/disk.h"

struct weft_quorum_vote {
    uint64_t generation;
    uint64_t server;
    uint64_t term, voted_for;
    uint64_t committed; // the log or the snapshot holds this entry, and it is decided
    bool torn;          // not stored: the last store failed in the midst of a slot, so the next one replaces the file
};

/**
 * NOT_FOUND if there is none; DAMAGED with a sentence if no slot can be believed. What was read is made whole and
 * durable again before this returns: one slot may be of a store that failed half-way, and what reads see may not be on
 * the disk after a sync that failed. Without room for that DISK_FULL, unless both slots say the same. Blocks.
 */
WEFT_MUST_USE weft_err_t weft_quorum_vote_open(const struct weft_disk *disk, const char *path,
                                               struct weft_quorum_vote *out, struct weft_error *error);
// Durable when it returns; counts the generation up. After an error nothing is sure: the voter must end. Blocks.
WEFT_MUST_USE weft_err_t weft_quorum_vote_store(const struct weft_disk *disk, const char *path,
                                                struct weft_quorum_vote *vote);

#endif
