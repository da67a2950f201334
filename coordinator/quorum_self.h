// SPDX-License-Identifier: MPL-2.0
/**
 * Quorum, inside: what its files share.
 *
 *     quorum.c           opening, proposals, turns: the interface
 *     quorum_recover.c   what a start makes of the disk
 *     quorum_step.c      raft_step(): events in; terms, entries, messages and commits out
 *     quorum_apply.c     committed entries to the state machine, gain and loss of office
 *     quorum_form.c      how voters get to know each other and the first configuration
 *     quorum_grow.c      from one voter to several
 *     quorum_peers.c     links, messages to and from other voters
 *     quorum_snapshot.c  snapshots taken and installed
 *     quorum_pieces.c    snapshots on their way to other voters
 *     quorum_members.c   voters that come and go, leadership that is handed over
 *     quorum_log.h, quorum_vote.h, quorum_wire.h, quorum_queue.h   their storage and bytes
 *
 * Only quorum_step.c calls raft_step, and nothing called by it calls back: proposals and changes made by the state
 * machine wait for the turn.
 */
#ifndef WEFT_COORDINATOR_QUORUM_SELF_H
#define WEFT_COORDINATOR_QUORUM_SELF_H

#include "../lib/log/sync_part.h"
#include "quorum.h"
#include "quorum_log.h"
#include "quorum_queue.h"
#include "quorum_vote.h"
#include "quorum_wire.h"

#include <weft_gen/codec.h>
#include <weft_gen/messages.h>

#define WEFT_QUORUM_PATH_BYTES_MAX 240
#define WEFT_QUORUM_PEERS_MAX 16
#define WEFT_QUORUM_INFLIGHT_MAX 1024 // entries to one voter that it has not acknowledged

/** A snapshot that goes to a peer in pieces. */
struct weft_quorum_out {
    struct weft_quorum_whole *whole; // NULL: none
    uint64_t term;                   // ours when libraft wanted it sent
    uint8_t version;                 // of libraft's message
    bool offered;                    // to one that has nothing (quorum_grow.c): office or not
    size_t acked, next;              // the peer has all before the one; all before the other was sent
    uint64_t given;                  // index of the last one that the peer had all of; 0: none
    int64_t moved_us, again_us;      // it took some; since then nothing was sent again
};

/** A snapshot that comes in pieces. */
struct weft_quorum_in {
    uint64_t server, term, index, index_term; // whose and which
    size_t total;                             // 0: none
    weft_buf_t bytes;                         // its beginning
    int64_t moved_us;
};

/** Another coordinator. */
struct weft_quorum_peer {
    int32_t id;
    uint64_t server; // 0: not known yet
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    bool listed; // in the option: its endpoint stands there
    bool member; // of the configuration in force
    bool empty;  // it said that it has nothing, to this very server of ours
    weft_link_t link;
    bool up;
    int64_t heard_us; // 0: never
    int64_t asked_us; // "who are you" went out
    int64_t told_us;  // it was told that it is none of us
    int64_t offered_us;
    uint64_t term;  // highest that a message of `server` carried
    uint64_t acked; // highest committed entry that it acknowledged to us
    uint32_t level; // feature level that it told last; 0: not heard yet
    struct weft_quorum_out out;
};

enum weft_snapshot_step { WEFT_SNAPSHOT_IDLE, WEFT_SNAPSHOT_WRITING, WEFT_SNAPSHOT_RENAMED };

/** What stands in the head of a snapshot's file. */
struct weft_snapshot_head {
    uint64_t index, term;
    weft_id_t cluster;
    bool installed; // it came from the leader: the log may end before it
    bool grown;     // a quorum of one grew by it: the log begins behind it
    uint64_t configuration_index;
};

enum weft_change_step {
    WEFT_CHANGE_NONE,
    WEFT_CHANGE_ASK,
    WEFT_CHANGE_WANTED,
    WEFT_CHANGE_WRITTEN,
    WEFT_CHANGE_HAND_OVER
};

struct weft_quorum_self {
    struct weft_quorum base;
    const struct weft_disk *disk;
    char directory[WEFT_QUORUM_PATH_BYTES_MAX];
    char *name;
    struct weft_quorum_events events;
    void *context;
    weft_port_t port;
    weft_part_id_t sync_part;
    bool started; // has a port
    int32_t id;
    uint64_t server;
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    weft_id_t format_id;
    weft_id_t identity; // the cluster that the directory was marked with; zero: none
    uint32_t election_ms, heartbeat_ms;
    int64_t now_us;
    weft_codec_t codec;

    bool failed;
    struct weft_error failure;
    struct weft_error waiting; // code OK: nothing
    struct weft_error refused; // what other voters say of this one; code OK: nothing
    bool stopping;
    int64_t stop_us;     // when it was asked to
    bool handed_over;    // leadership was offered to another, for a stop or a change
    bool disk_full;      // the last append met one
    int64_t disk_try_us; // not before
    int64_t turned_us;

    struct weft_quorum_vote vote;
    weft_quorum_log_t log;
    struct raft *raft; // NULL before the start and while it waits to be started again
    int64_t raft_again_us;
    bool prewritten;  // the entries of this step are in the log already
    bool growing;     // it was alone, and is to be one of several: libraft waits
    bool led;         // as the state machine was told
    uint64_t applied; // by the state machine; never less than before
    uint64_t told;    // libraft was told of configurations up to here: behind `applied` after it was started again
    bool applying;
    struct raft_configuration configuration; // applied: the last that is decided
    uint64_t configuration_index;
    uint64_t configuration_told; // index of the one that the state machine was told of; UINT64_MAX: none yet

    weft_quorum_queue_t queue;
    bool sync_out;
    int64_t dirty_us; // since when what is durable has not moved though it should; 0: all is durable
    uint64_t dirty_durable;

    struct weft_quorum_peer peers[WEFT_QUORUM_PEERS_MAX];
    size_t peer_count;
    struct weft_quorum_voter list[WEFT_QUORUM_VOTERS_MAX]; // the option
    size_t list_count;

    uint64_t snapshot_commands;
    struct weft_snapshot_head snapshot; // the last durable one; index 0: none
    struct raft_configuration snapshot_configuration;
    enum weft_snapshot_step snapshot_step;
    bool installing;                  // the step is of a snapshot from the leader
    struct weft_snapshot_head making; // what is being written
    struct raft_configuration making_configuration;
    weft_file_t *snapshot_file;
    int64_t snapshot_retry_us;
    bool install_pending; // libraft waits for it
    struct weft_snapshot_head install;
    struct raft_configuration install_configuration;
    weft_frame_t install_state; // also `incoming` while a message is being stepped
    size_t piece_bytes;
    struct weft_quorum_in in;

    struct {
        enum weft_change_step step;
        struct weft_quorum_voter voter;
        bool remove;
        uint64_t token;
        uint64_t index; // of the entry
        int64_t until_us;
    } change;
};

// ---- quorum.c

// Nothing goes on: everything waiting is lost, whoever asks hears the sentence. A failed sync is never retried
// (REPLICATION.md rule 11).
void weft_quorum_give_up(struct weft_quorum_self *self, weft_err_t code, const char *sentence);
// The same because of the disk: "`what` in DIRECTORY (CODE): ...".
void weft_quorum_fail(struct weft_quorum_self *self, weft_err_t code, const char *what);
void weft_quorum_path(const struct weft_quorum_self *self, const char *name,
                      char path[WEFT_QUORUM_PATH_BYTES_MAX + 32]);
// The vote, durably. False: the voter failed, or libraft is gone for a while (weft_quorum_raft_again).
bool weft_quorum_keep_vote(struct weft_quorum_self *self, uint64_t term, uint64_t voted_for);
void weft_quorum_lose(struct weft_quorum_self *self, weft_quorum_queue_t *lost, weft_err_t written, weft_err_t code,
                      const char *sentence);
bool weft_quorum_has_leader(const struct weft_quorum_self *self); // it leads, or follows one
// Nothing is stored yet: no snapshot, no entry.
bool weft_quorum_is_empty(const struct weft_quorum_self *self);
const struct raft_configuration *weft_quorum_in_force(const struct weft_quorum_self *self); // decided or not

// ---- quorum_recover.c

weft_err_t weft_quorum_recover(struct weft_quorum_self *self, int64_t synced_end, struct weft_error *error);

// ---- quorum_step.c

// Starts libraft with what is stored. False: failed.
bool weft_quorum_raft_start(struct weft_quorum_self *self);
void weft_quorum_raft_end(struct weft_quorum_self *self);
// A full disk kept the vote from being stored: nothing of what followed from it has left, so libraft is started again
// with what is stored, a little later.
void weft_quorum_raft_again(struct weft_quorum_self *self);
// With the next turn it is started again, from what is stored now.
void weft_quorum_raft_renew(struct weft_quorum_self *self);
// False: it failed and the voter with it, or libraft refused the event.
bool weft_quorum_step(struct weft_quorum_self *self, struct raft_event *event);
bool weft_quorum_leads(const struct weft_quorum_self *self);
void weft_quorum_submit(struct weft_quorum_self *self); // what waits in the queue
// One entry of the quorum's own; its index, 0: not now.
uint64_t weft_quorum_submit_own(struct weft_quorum_self *self, uint8_t kind, weft_slice_t data);
void weft_quorum_flush(struct weft_quorum_self *self); // what a full disk kept from being written
void weft_quorum_sync(struct weft_quorum_self *self);
void weft_quorum_synced(struct weft_quorum_self *self, struct weft_log_sync *sync);

// ---- quorum_apply.c

// Commands that are decided go to the state machine, and so does what follows from a role that changed. Call after
// steps, never within one.
void weft_quorum_settle(struct weft_quorum_self *self);

// ---- quorum_form.c

weft_err_t weft_quorum_form_alone(struct weft_quorum_self *self, struct weft_error *error);
void weft_quorum_form_turn(struct weft_quorum_self *self);
void weft_quorum_hello(struct weft_quorum_self *self, struct weft_quorum_peer *peer, bool ask);
void weft_quorum_hello_taken(struct weft_quorum_self *self, const struct weft_quorum_request *message);

// ---- quorum_grow.c

// All others are known and have nothing: from now on they are voters. Blocks.
void weft_quorum_grow(struct weft_quorum_self *self, const struct raft_configuration *all);
// Gives the snapshot to one that has nothing and stands in it.
void weft_quorum_grow_offer(struct weft_quorum_self *self, struct weft_quorum_peer *peer);

// ---- quorum_peers.c

struct weft_quorum_peer *weft_quorum_peer_of_id(struct weft_quorum_self *self, int32_t id);
struct weft_quorum_peer *weft_quorum_peer_of_server(struct weft_quorum_self *self, uint64_t server);
// The peers are those of the option, of the configuration in force and of a change under way; opens and closes links.
void weft_quorum_peers_follow(struct weft_quorum_self *self);
bool weft_quorum_reachable(const struct weft_quorum_self *self, const struct weft_quorum_peer *peer);
bool weft_quorum_server_reachable(const struct weft_quorum_self *self, uint64_t server); // true for ourselves
void weft_quorum_send_raft(struct weft_quorum_self *self, struct raft_message *message);
// Consumes the data. False: not now, nothing has left.
bool weft_quorum_send(struct weft_quorum_self *self, struct weft_quorum_peer *peer, struct weft_quorum_request *request,
                      weft_frame_t *data);
void weft_quorum_message_taken(struct weft_quorum_self *self, struct weft_message *message);

// ---- quorum_snapshot.c

// The snapshot on the disk, if there is one: restores the state machine and fills snapshot and configuration.
weft_err_t weft_quorum_snapshot_load(struct weft_quorum_self *self, bool log_whole, struct weft_error *error);
// Writes the state machine as it is under another configuration, durably, and makes it the snapshot. Blocks.
weft_err_t weft_quorum_snapshot_write(struct weft_quorum_self *self, uint64_t index, uint64_t term,
                                      const struct raft_configuration *configuration);
void weft_quorum_snapshot_turn(struct weft_quorum_self *self);
void weft_quorum_snapshot_synced(struct weft_quorum_self *self, weft_err_t result);
// libraft wants one installed; its state is in install_state. The configuration is taken over.
void weft_quorum_snapshot_install(struct weft_quorum_self *self, const struct raft_snapshot_metadata *metadata);
// The file as it is: the voters and the state are in `bytes`. NOT_FOUND: there is none.
weft_err_t weft_quorum_snapshot_read(const struct weft_quorum_self *self, weft_buf_t *bytes,
                                     struct weft_snapshot_head *head, weft_slice_t *voters, weft_slice_t *state,
                                     struct weft_error *error);
struct weft_sync_request *weft_quorum_request_new(const struct weft_disk *disk, void *owner);
void weft_quorum_request_post(struct weft_quorum_self *self, struct weft_sync_request *request);
void weft_quorum_request_free(void *request);

// ---- quorum_pieces.c

// libraft wants it sent, maybe again: begins, or goes on with what is under way.
void weft_quorum_snapshot_send(struct weft_quorum_self *self, struct weft_quorum_peer *peer,
                               const struct raft_install_snapshot *message);
// A piece came: true once it was the last one, with the whole state.
bool weft_quorum_piece_taken(struct weft_quorum_self *self, const struct weft_quorum_request *from, weft_slice_t data,
                             weft_frame_t *whole);
// The peer says what it has.
void weft_quorum_pieces_taken(struct weft_quorum_self *self, struct weft_quorum_peer *peer,
                              const struct weft_quorum_request *from);
void weft_quorum_pieces_turn(struct weft_quorum_self *self);
void weft_quorum_pieces_link(struct weft_quorum_self *self, struct weft_quorum_peer *peer, bool up);
void weft_quorum_pieces_lost(struct weft_quorum_peer *peer);   // the connection was
void weft_quorum_pieces_drop(struct weft_quorum_peer *peer);   // of one that goes
void weft_quorum_pieces_forget(struct weft_quorum_self *self); // what came

// ---- quorum_members.c

weft_err_t weft_quorum_change(struct weft_quorum_self *self, const struct weft_quorum_voter *voter, bool remove,
                              uint64_t token, struct weft_error *error);
void weft_quorum_members_turn(struct weft_quorum_self *self);
void weft_quorum_change_text(const struct weft_quorum_self *self, weft_buf_t *text); // quorum.h, changing
void weft_quorum_change_applied(struct weft_quorum_self *self, uint64_t index);
void weft_quorum_change_lost(struct weft_quorum_self *self, weft_err_t code, const char *sentence);
bool weft_quorum_hand_over(struct weft_quorum_self *self); // offers leadership; false: there is nobody
bool weft_quorum_handing_over(const struct weft_quorum_self *self);

#endif
