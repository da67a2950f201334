// SPDX-License-Identifier: MPL-2.0
/**
 * Sync part: group commit for one data directory, on a thread of its own (DESIGN.md section 4).
 *
 * Parts that own logs post WEFT_MAIL_SYNC with a struct weft_sync_request; all that arrived by the start of a round is
 * synced together (fdatasync a file; where very many files are dirty
 * the measured better way), then each request comes back as WEFT_MAIL_SYNCED to its sender, jobs' results filled in.
 * Between rounds it writes the data directory's checkpoint (after the
 * answers went out: it may lag). It blocks on its disk, as the compact part does and no other.
 */
#ifndef WEFT_LOG_SYNC_PART_H
#define WEFT_LOG_SYNC_PART_H

#include "../wire/port.h"
#include "checkpoint.h"
#include "log.h"

enum { WEFT_MAIL_SYNC = 0x5301, WEFT_MAIL_SYNCED = 0x5302 };

struct weft_sync_job {
    struct weft_log_sync sync;
    weft_id_t topic; // for the checkpoint; zero: not recorded
    uint32_t partition;
    void *owner; // the sender's; untouched
};

/*
 * A job without files and with end_offset -1 has nothing to sync: it removes its partition from the checkpoint (the
 * topic was deleted).
 */

/** Body of both mails; allocated by the sender, comes back to it, freed by it. */
struct weft_sync_request {
    size_t job_count;
    struct weft_sync_job jobs[];
};

// The part takes over the checkpoint (may be NULL) and writes it at most every checkpoint_ms, and at its stop together
// with the clean marker (only if every sync succeeded).
// It stops only after all posted requests were answered; stop it after the parts that post to it.
struct weft_part *weft_sync_part_new(const char *name, weft_checkpoint_t *checkpoint, int64_t checkpoint_ms);
// Whether its stop may leave the clean marker; true from the start. Not before the cluster knows of an unclean stop: a
// clean one that follows would hide it, and what was lost then would pass for replicated (rule 2). Any thread.
void weft_sync_part_vouch(struct weft_part *self, bool vouches);
// Microseconds (port time) since its last round began, 0 if idle: the turn of the data directory for heartbeats. Any
// thread.
int64_t weft_sync_part_busy_us(const struct weft_part *self, int64_t now_us);

#endif
