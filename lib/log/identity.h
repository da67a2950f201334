// SPDX-License-Identifier: MPL-2.0
/**
 * Identity: whose data directory this is, and the lock that keeps a second process out. Used by every node that keeps
 * data.
 *
 * Files: `lock` (held for the life of the process, gone with it, kill -9 included) and `identity` (a node_identity
 * record with a CRC, replaced atomically). A directory belongs to one node type and id for ever, and to one cluster
 * from the moment it joined.
 */
#ifndef WEFT_LOG_IDENTITY_H
#define WEFT_LOG_IDENTITY_H

#include "../base/disk.h"

#define WEFT_STORAGE_FORMAT 1 // of data directories, as docs/STORAGE.md describes them

typedef struct weft_identity weft_identity_t;

/** Who opens it. */
struct weft_identity_claim {
    const char *node; // "broker", "coordinator"
    int32_t node_id;
    weft_id_t cluster_id;   // zero: whichever it belongs to
    weft_id_t directory_id; // random; taken only if the directory is new
    int64_t now_ms;         // Unix time; likewise
};

/**
 * Makes the directory if need be, locks it, reads or writes its identity. Blocks on the disk. Refused, with a sentence,
 * and nothing changed: LOCKED (names the process), WRONG_DIRECTORY (another node), WRONG_CLUSTER, WRONG_FORMAT (newer),
 * DAMAGED, or what the disk said.
 */
WEFT_MUST_USE weft_err_t weft_identity_open(const struct weft_disk *disk, const char *directory,
                                            const struct weft_identity_claim *claim, weft_identity_t **out,
                                            struct weft_error *error);
void weft_identity_destroy(weft_identity_t **self_p); // releases the lock

weft_id_t weft_identity_cluster_id(const weft_identity_t *self); // zero until joined
weft_id_t weft_identity_directory_id(const weft_identity_t *self);
bool weft_identity_made(const weft_identity_t *self); // this open made it
const char *weft_identity_directory(const weft_identity_t *self);

// Stores the cluster once joined; durable when it returns. The same again is no error; another is WRONG_CLUSTER. Blocks
// on the disk the first time.
WEFT_MUST_USE weft_err_t weft_identity_join(weft_identity_t *self, weft_id_t cluster_id, struct weft_error *error);

#endif
