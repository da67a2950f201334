// SPDX-License-Identifier: MPL-2.0
/**
 * Inspect: reads segments offline, for `weft log dump` and `weft log verify`. Never writes, takes no lock: on a running
 * node's directory it shows what stood there at the moment of reading, and the last batches may look torn.
 */
#ifndef WEFT_LOG_INSPECT_H
#define WEFT_LOG_INSPECT_H

#include "../base/disk.h"
#include "../wire/batch.h"

enum weft_problem {
    // Bytes behind the last whole batch of a log: what a crash leaves; recovery cuts it if it was never synced.
    WEFT_PROBLEM_TAIL,
    WEFT_PROBLEM_DAMAGE, // a batch that should be there is not
    WEFT_PROBLEM_INDEX,  // an index that recovery would build again
    WEFT_PROBLEM_FILE    // a file that can't be read or is not what its name says
};

struct weft_inspect_batch {
    const char *file; // path of the segment
    int64_t position; // of the batch in it
    const struct weft_batch *batch;
    weft_slice_t bytes; // all of it, verified; for weft_batch_payload
};

struct weft_inspect_problem {
    enum weft_problem kind;
    const char *file;
    int64_t position;     // -1: the file as a whole
    int64_t offset;       // expected there; -1: none
    const char *sentence; // one, with file and place
};

struct weft_inspect {
    void *context;
    void (*log)(void *context, const char *directory);                    // a partition directory begins; may be NULL
    bool (*batch)(void *context, const struct weft_inspect_batch *batch); // false: stop; may be NULL
    void (*problem)(void *context, const struct weft_inspect_problem *problem); // may be NULL
    bool indexes;                                                               // check them too
    void (*aside)(void *context, const char *directory); // a damaged replica set aside, passed over; may be NULL
};

struct weft_inspect_report {
    int64_t logs, segments, batches, records, bytes;
    int64_t problems;   // all kinds but TAIL
    int64_t tail_bytes; // behind the last whole batches
    int64_t aside;      // damaged replicas that were set aside (weft_log_set_aside) and are not looked at
    bool stopped;       // by the callback
};

/**
 * `path` is a segment file, a partition directory, or any directory above such; below it, what was set aside as damaged
 * is only named. Problems are no error: they are told
 * and counted. Errors: NOT_FOUND, DISK_FAILED, INVALID_ARGUMENT (a file that is no segment), with a sentence.
 */
WEFT_MUST_USE weft_err_t weft_inspect_run(const struct weft_disk *disk, const char *path,
                                          const struct weft_inspect *inspect, struct weft_inspect_report *report,
                                          struct weft_error *error);

#endif
