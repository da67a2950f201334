// SPDX-License-Identifier: MPL-2.0
/**
 * A log beside its model: random operations, power losses and kills on a crash disk, and after each the log must be what the model allows.
 *
 * The model is the list of all batches appended, with how far they were synced. Allowed after power loss: every end between the
 * synced end and the end, with the same bytes below; after a kill: everything.
 */
#ifndef WEFT_TESTS_LOG_MODEL_H
#define WEFT_TESTS_LOG_MODEL_H

#include "../../../lib/log/checkpoint.h"
#include "../../../lib/log/log.h"
#include "../../../lib/testing/crash_disk.h"
#include "../../support/test.h"

struct model_batch {
    int64_t base, end, max_ms;
    int32_t epoch;
    weft_buf_t bytes;
};

struct model {
    uint64_t seed;
    weft_rand_t rand;
    weft_crash_disk_t *crash;
    const struct weft_disk *disk;
    struct weft_log_config config;
    weft_log_t *log;
    weft_checkpoint_t *checkpoint;
    weft_frame_pool_t *pool;
    struct model_batch *batches;
    size_t batch_count, batch_capacity;
    int64_t start;  // lowest legal start of the log
    int64_t synced; // all below is promised to be there
    int32_t epoch;
    int64_t clock_ms;
    bool faulty;              // disk calls fail now and then
    struct model_batch maybe; // an append that failed; a start may find it all the same (DISK_FAILED: maybe applied)
    uint64_t steps, recoveries;
};

void model_init(struct model *self, uint64_t seed, bool faulty);
void model_fini(struct model *self);
void model_step(struct model *self);
// Power loss, then the log opens and is compared.
void model_crash(struct model *self);
// Reads everything and compares it with the model.
void model_compare(struct model *self);

#endif
