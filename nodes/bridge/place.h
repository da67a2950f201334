// SPDX-License-Identifier: MPL-2.0
/**
 * Place: how far a partition was copied, as the target's own log tells. Pure.
 *
 * A bridge writes every batch of a partition under one producer id (the same over all its lives), in epochs: a new one each
 * time it begins, within it sequences that count the records it copied: 0, 1, 2 ... (resume.h says why that is safe). Producer
 * id, epoch and sequence stand in the batch's header for as long as the batch lives, so the log itself tells what was copied: after a
 * crash the bridge reads the target's tail from its last note on and counts.
 *
 * Sequence and source offset go side by side: a source without gaps has one record for each. Where they part (the
 * source deleted or compacted records, a batch was left out, the source's log diverged) the first record of the batch
 * carries a mark: a header MARK with the producer id and the source offsets that the batch stands for. So the two meet
 * again in the same append that moved them apart, and no instant lies between where a crash could lose it.
 */
#ifndef WEFT_BRIDGE_PLACE_H
#define WEFT_BRIDGE_PLACE_H

#include "../../lib/wire/batch.h"

#define WEFT_BRIDGE_MARK "weft-bridge"
#define WEFT_BRIDGE_MARK_BYTES 24 // producer id, first source offset, next source offset: 8 bytes each, big endian

struct weft_bridge_place {
    int64_t source_next; // what the next sequence stands for, unless a mark says otherwise
    int64_t target_next; // the target's log is known up to here
    int64_t anchor;      // offset of the last batch of ours there; -1: none
    int32_t sequence;    // of the next record to be written
    int16_t epoch;       // -1: nothing was written yet
};

/** Offsets that a batch stands for in the two logs. Exact: they go one by one. */
struct weft_bridge_span {
    int64_t source, source_next;
    int64_t target, target_next;
    bool exact;
};

// 63 bits of a hash, marked so that other bridges know it for a bridge's (one id of a usual producer in 32768 looks so).
int64_t weft_bridge_producer_id(const char *bridge, weft_id_t source_cluster, weft_id_t source_topic,
                                int32_t partition);
bool weft_bridge_is_producer_id(int64_t producer_id);

void weft_bridge_place_init(struct weft_bridge_place *self); // nothing was copied yet

int32_t weft_bridge_sequence_add(int32_t sequence, uint32_t more); // modulo 2^31

void weft_bridge_mark_write(uint8_t mark[WEFT_BRIDGE_MARK_BYTES], int64_t producer_id, int64_t source,
                            int64_t source_next);
// Among a record's headers; false if there is none of this producer id.
bool weft_bridge_mark_find(weft_slice_t headers, int64_t producer_id, int64_t *source, int64_t *source_next);

/**
 * A batch of the target's log, met in order. True: it is ours and was not counted yet; *span is filled. Batches of ours that
 * are gone (retention, compaction) are counted by the next one's sequence.
 */
bool weft_bridge_place_meet(struct weft_bridge_place *self, int64_t producer_id, const struct weft_batch *batch,
                            weft_slice_t bytes, weft_buf_t *scratch, struct weft_bridge_span *span);

#endif
