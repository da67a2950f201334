// SPDX-License-Identifier: MPL-2.0
/**
 * Quorum: agreement among the coordinator's voters, behind a small interface (QUORUM.md of the founding design).
 *
 * The coordinator proposes commands; the quorum makes them durable and agreed, and hands them back in log order
 * through on_apply, on every voter. 1, 3 or 5 voters, one voter being the same code without peers: raft_step() of
 * libraft decides, entries lie in our own log (lib/log), messages are `quorum` requests over our own links. Pure of
 * sockets: time and mail come in by calls; entries are synced by the node's sync part. Commands have growing indexes
 * with gaps between them (the quorum's own entries).
 *
 * No callback may be answered by calling anything but propose, barrier and change, which only note what is wanted.
 */
#ifndef WEFT_COORDINATOR_QUORUM_H
#define WEFT_COORDINATOR_QUORUM_H

#include "../lib/base/disk.h"
#include "../lib/wire/port.h"

typedef struct weft_quorum weft_quorum_t;

struct weft_quorum_events {
    // A committed command; called once each in index order. `token` is the proposer's on the voter that proposed it
    // in this run, else 0.
    void (*on_apply)(void *context, uint64_t index, weft_slice_t command, uint64_t token);
    // This voter began (true) or ceased (false) to be the active coordinator. Whoever begins proposes that it takes
    // office.
    void (*on_leader)(void *context, bool leads);
    // A proposal, barrier or change that this run will not hand to on_apply any more. The code's outcome says whether it
    // may have been applied all the same. `sentence` may be NULL.
    void (*on_lost)(void *context, uint64_t token, weft_err_t code, const char *sentence);
    // The voters, as decided, are others than before (also at the start): told on every one of them.
    void (*on_voters)(void *context);
    // The state machine's snapshot: take (encode into out) and restore, which may also happen in the middle of a run.
    // `index` is the last entry in it; the last command may be an earlier one.
    void (*snapshot)(void *context, weft_buf_t *out);
    weft_err_t (*restore)(void *context, uint64_t index, weft_slice_t snapshot);
};

#define WEFT_QUORUM_VOTERS_MAX 7 // 5, and what is between two changes

struct weft_quorum_voter {
    int32_t id;
    uint64_t server; // random, of its data directory: a wiped disk is another server
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    bool leads, reachable;
    uint64_t behind; // entries that are decided and that it lacks
    uint32_t level;  // feature level that its software knows; 0: not heard yet
};

struct weft_quorum_ops {
    // On the owning part's thread, once, before the first turn. `sync_part` runs the syncs (lib/log/sync_part.h);
    // `endpoint` is where the other voters find this one.
    void (*start)(weft_quorum_t *self, const weft_port_t *port, weft_part_id_t sync_part, const char *endpoint);
    weft_err_t (*propose)(weft_quorum_t *self, weft_slice_t command,
                          uint64_t token); // NOT_COORDINATOR, STOPPING, OVERLOADED; copies the command
    void (*barrier)(
        weft_quorum_t *self,
        uint64_t token); // applied (with an empty command) once all before it is, and we still lead: linearizable reads
    bool (*leads)(const weft_quorum_t *self);
    const char *(*failure)(const weft_quorum_t *self); // a sentence once it gave up for ever, else NULL
    // A sentence while it takes no part in the quorum: it is being formed, or this voter is none (any more); else NULL.
    const char *(*waits)(const weft_quorum_t *self);
    // Gives up: the sentence says why, and what to do.
    void (*give_up)(weft_quorum_t *self, weft_err_t code, const char *sentence);
    weft_id_t (*cluster)(const weft_quorum_t *self);              // drawn when the quorum was formed; zero before
    void (*members)(const weft_quorum_t *self, weft_buf_t *text); // for status
    void (*mail)(weft_quorum_t *self, struct weft_mail *mail);    // of kinds WEFT_MAIL_SYNCED
    // A `quorum` message of another coordinator, in order of arrival (header, data).
    void (*message)(weft_quorum_t *self, struct weft_message *message);
    void (*link)(weft_quorum_t *self, weft_link_t link, bool up);
    // Where the voter that leads is, as far as known: "" and -1 if not. Brokers and clients are sent there.
    const char *(*active)(const weft_quorum_t *self, int32_t *id);
    // The voters, as decided; for voters_changed and status. `reachable` and `behind` are known to the leader only.
    size_t (*voters)(const weft_quorum_t *self, struct weft_quorum_voter *out, size_t max);
    // Adds or removes one voter; the token comes back by on_apply (an empty command) or on_lost. VOTER_CHANGE_REFUSED
    // with a sentence: fewer than three voters, not all of them up, a change under way, unknown, known already.
    weft_err_t (*change)(weft_quorum_t *self, const struct weft_quorum_voter *voter, bool remove, uint64_t token,
                         struct weft_error *error);
    // Appends what becomes of the voters right now, and what that waits for; nothing if nothing does. The leader knows.
    void (*changing)(const weft_quorum_t *self, weft_buf_t *text);
    int64_t (*turn)(weft_quorum_t *self, int64_t now_us);
    void (*stop)(weft_quorum_t *self); // no more proposals; sync what there is
    bool (*stopped)(const weft_quorum_t *self);
    void (*destroy)(weft_quorum_t **self_p);
};

struct weft_quorum {
    const struct weft_quorum_ops *ops;
};

struct weft_quorum_options {
    const struct weft_disk *disk;
    const char *directory;      // of the node: `log`, `snapshot` and `vote` are there
    const char *name;           // of the node, for the trace
    int64_t synced_end;         // of the log, from the directory's checkpoint under weft_quorum_log_id
    uint64_t snapshot_commands; // commands between snapshots; as many are kept behind one
    int32_t id;                 // of this coordinator
    uint64_t server;            // of its data directory: random, never 0, never another in the same directory
    weft_id_t cluster_id;       // that the directory belongs to; zero: none yet
    weft_id_t format_id;        // for a cluster that is formed by this voter
    // All voters, this one included (endpoints; servers are learnt). Count 0: the only one. Copied.
    const struct weft_quorum_voter *coordinators;
    size_t coordinator_count;
    uint32_t election_ms, heartbeat_ms;
    size_t piece_bytes; // of a snapshot that is sent; 0: 512 KiB
};

// Under this name the log stands in the checkpoint of its data directory (partition 0).
weft_id_t weft_quorum_log_id(void);

/**
 * Opens and recovers: snapshot restored, log read and synced; blocks. What is committed is applied from the first turn
 * on. DAMAGED (with the file, the place and what to do), WRONG_CLUSTER, INVALID_CONFIG (`coordinators` contradicts what
 * the voters decided), DISK_FULL, DISK_FAILED, or what `restore` refused: nothing was changed on the disk but the torn
 * tail of the last write.
 */
WEFT_MUST_USE weft_err_t weft_quorum_open(const struct weft_quorum_options *options,
                                          const struct weft_quorum_events *events, void *context, weft_quorum_t **out,
                                          struct weft_error *error);

#endif
