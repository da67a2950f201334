// SPDX-License-Identifier: MPL-2.0
/**
 * Quorum of one voter, inside: shared by quorum_single.c (proposals to applied), quorum_recover.c (start) and
 * quorum_snapshot.c.
 *
 * Index i stands at offset i - 1 of the log; a batch holds the commands of one turn as values of its records.
 */
#ifndef WEFT_COORDINATOR_QUORUM_SINGLE_H
#define WEFT_COORDINATOR_QUORUM_SINGLE_H

#include "../lib/log/sync_part.h"
#include "quorum.h"
#include "quorum_queue.h"

#define WEFT_QUORUM_PATH_BYTES_MAX 240

enum weft_quorum_state { WEFT_QUORUM_OPEN, WEFT_QUORUM_LEADING, WEFT_QUORUM_FAILED };
enum weft_snapshot_step { WEFT_SNAPSHOT_IDLE, WEFT_SNAPSHOT_WRITING, WEFT_SNAPSHOT_RENAMED };

struct weft_quorum_single {
    struct weft_quorum base;
    const struct weft_disk *disk;
    char directory[WEFT_QUORUM_PATH_BYTES_MAX]; // of the node
    char *name;
    struct weft_quorum_events events;
    void *context;
    weft_port_t port;
    weft_part_id_t sync_part;

    enum weft_quorum_state state;
    struct weft_error failure;
    bool stopping;
    bool disk_full; // the last append met one
    weft_log_t *log;
    weft_frame_pool_t *pool;
    int32_t term; // leader epoch of the batches of this run
    weft_quorum_queue_t queue;
    uint64_t applied;
    bool sync_out;         // a request is with the sync part
    int64_t sync_since_us; // since when something written is not durable; 0: nothing is
    int64_t turned_us;     // last turn

    uint64_t snapshot_commands;
    uint64_t snapshot_index; // of the last durable one
    enum weft_snapshot_step snapshot_step;
    uint64_t snapshot_next; // the one being made
    weft_file_t *snapshot_file;
    int64_t snapshot_retry_us; // not before
};

// Nothing goes on: everything waiting is lost, whoever asks hears the sentence. A failed sync is never retried
// (REPLICATION.md rule 11).
void weft_quorum_single_fail(struct weft_quorum_single *self, weft_err_t code, const char *what);

// Body of a WEFT_MAIL_SYNC with one job. The free function also drops the job's references to files, for mail that
// is never delivered.
struct weft_sync_request *weft_quorum_request_new(const struct weft_disk *disk, void *owner);
void weft_quorum_request_free(void *request);
void weft_quorum_request_post(struct weft_quorum_single *self, struct weft_sync_request *request);

// ---- quorum_recover.c

// `name` in the node's directory.
void weft_quorum_path(const struct weft_quorum_single *self, const char *name,
                      char path[WEFT_QUORUM_PATH_BYTES_MAX + 32]);
WEFT_MUST_USE weft_err_t weft_quorum_recover(struct weft_quorum_single *self, int64_t synced_end,
                                             struct weft_error *error);

// ---- quorum_snapshot.c

#define WEFT_SNAPSHOT_HEAD_BYTES 14 // msgpack u32 (CRC-32C of all behind it), msgpack u64 (index), then the state

// DAMAGED with a sentence; NOT_FOUND if there is none. *index and the state (in `bytes` from
// WEFT_SNAPSHOT_HEAD_BYTES on).
WEFT_MUST_USE weft_err_t weft_quorum_snapshot_read(struct weft_quorum_single *self, uint64_t *index, weft_buf_t *bytes,
                                                   struct weft_error *error);
void weft_quorum_snapshot_turn(struct weft_quorum_single *self, int64_t now_us);
void weft_quorum_snapshot_synced(struct weft_quorum_single *self, weft_err_t result);

#endif
