// SPDX-License-Identifier: MPL-2.0
/**
 * Coordinator, inside: what the files of its part share. Programs use weft_node_coordinator (lib/wire/node.h).
 *
 * One part owns everything: the cluster state, the quorum, the sessions of the brokers. A request that changes
 * something becomes a command; its answer is sent when the quorum hands the command back applied, so durable. What
 * a race would decide (two creations of one name) is decided by applying.
 *
 *     part.c        life-cycle, turns, dispatch, proposals and their answers
 *     reads.c       metadata and other reads, barriers, the state's digest, who the voters are
 *     topics.c      topic_* requests                 feed.c       commands to the brokers
 *     brokers.c     registration, sessions           heartbeats.c heartbeats, session timeouts, sick brokers, pushes
 *     insync.c      in-sync sets                     elections.c  leaders for what has none, damaged replicas
 *     leaders.c     leaderships that move            elect.c      elections that a person orders
 *     moves.c       replicas that move               decommission.c  brokers that leave for good
 *     settings.c    cluster_alter, voter_change      status.c, problems.c  what all that looks like
 *     groups*.c     consumer groups (groups.h)
 */
#ifndef WEFT_COORDINATOR_COORDINATOR_H
#define WEFT_COORDINATOR_COORDINATOR_H

#include "../lib/core/cluster.h"
#include "../lib/core/cluster_view.h"
#include "../lib/core/groups.h"
#include "../lib/wire/node.h"
#include "counters.h"
#include "feed.h"
#include "quorum.h"

#include <weft_gen/codec.h>
#include <weft_gen/commands.h>
#include <weft_gen/messages.h>

/** Where an answer goes. */
struct weft_asker {
    struct weft_peer peer;
    bool delimited;
    uint64_t id;
};

typedef struct weft_coordinator weft_coordinator_t;
struct weft_proposal;

/** How a proposal ended. */
struct weft_outcome {
    uint64_t index;       // of the command; 0: lost, it may or may not be applied some day
    weft_err_t err;       // what the state, or the quorum, refused it with
    const char *sentence; // for the error; may be NULL
};
typedef void weft_settled_fn(weft_coordinator_t *self, const struct weft_proposal *proposal,
                             const struct weft_outcome *outcome);

/** A command on its way through the quorum. */
struct weft_proposal {
    enum weft_command command;
    bool asked; // somebody waits for the answer
    struct weft_asker asker;
    weft_id_t topic;
    uint32_t partitions; // that it adds
    int32_t broker;
    weft_id_t incarnation;
    weft_settled_fn
        *settled;          // called once when it ended, also by weft_coordinator_propose itself; NULL: part.c answers
    weft_settled_fn *then; // of weft_coordinator_broker_change
    weft_id_t operation;   // of the client; zero: none
    uint64_t wait;         // of `settled`: what waits for it, and which part of that
    uint32_t position;
};

/** A registered broker, as this coordinator hears it. */
struct weft_broker_session {
    int32_t broker;
    weft_id_t incarnation;
    bool has_peer;         // false: known from the log, not heard in this run
    struct weft_peer peer; // its last heartbeat or registration came from there
    int64_t heard_us;
    uint64_t sent; // cluster index that it was sent, or told that it has
    int64_t sent_us;
    bool fencing;  // a broker_fenced is proposed
    bool proving;  // a broker_heard is
    bool stopping; // at its own wish: a clean stop
    bool moving;   // its leaderships are, because it stops
    int64_t stop_since_us;
    bool disk_failed;
    int64_t well_us;            // since then its turns are fine; 0: they are not
    uint64_t ahead;             // cluster index that it says to have, above ours; 0: no
    uint32_t turn_ms;           // worst age of a turn of its shards and data directories
    struct weft_parked *parked; // a new incarnation that waits until this one is silent
};

/** A broker whose session ended while we are in office. */
struct weft_gone {
    int32_t broker;
    int64_t heard_us; // last
};

/** A registration under the id of a broker that may still be alive. */
struct weft_parked {
    struct weft_asker asker;
    int64_t since_us;
    weft_id_t incarnation;
    weft_buf_t command; // broker_registered
};

/** What replicas of one partition said of themselves while it waits for a leader, or that they are damaged. */
struct weft_told_by {
    int32_t broker;
    weft_id_t incarnation;
    int32_t last_epoch;
    int64_t log_end;
    bool damaged;
};
struct weft_told {
    weft_id_t topic;
    uint32_t partition;
    int32_t leader_epoch;
    bool proposed; // what follows from it
    int64_t heard_us;
    size_t count;
    struct weft_told_by by[WEFT_REPLICAS_MAX];
};

#define WEFT_VOTER_ASKERS_MAX 16 // who repeats a change of the voters while it is under way

struct weft_broker_flags {
    bool draining, leaving, sick;
};

#define WEFT_PROBLEMS_MAX 32 // sentences; what is more is counted in the last

struct weft_problems {
    weft_arena_t *arena;
    weft_slice_t sentences[WEFT_PROBLEMS_MAX];
    size_t count, left_out;
};

typedef void weft_coordinator_read_fn(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);

/** Requests that wait for a barrier. */
struct weft_coordinator_read {
    struct weft_asker asker;
    weft_coordinator_read_fn *answer;
    weft_buf_t header;
};
/** A change of the voters under way, and who else asked for the very same one: all are answered when it is done. */
struct weft_voter_waits {
    uint64_t wait;   // of the first one's proposal; 0: none is under way
    uint64_t waited; // the last number that was given
    struct weft_quorum_voter voter;
    bool remove;
    struct weft_asker askers[WEFT_VOTER_ASKERS_MAX];
    size_t asker_count;
};
struct weft_coordinator_reads {
    struct weft_coordinator_read *reads;
    size_t count, capacity;
};

struct weft_coordinator {
    struct weft_part part;
    struct weft_coordinator_node *node;
    weft_port_t port;
    weft_part_id_t sync_part;

    char name[WEFT_NODE_NAME_BYTES_MAX];
    char endpoint[WEFT_ENDPOINT_BYTES_MAX]; // as others are told
    int32_t id;
    int64_t heartbeat_us, session_us, stuck_us;
    uint64_t partitions_max;

    weft_cluster_t *cluster;
    weft_quorum_t *quorum;
    weft_codec_t codec;
    weft_counters_t *counters; // the node's, which lives longer
    weft_rand_t rand;
    weft_coordinator_feed_t *feed;
    weft_map_t *proposals; // token to struct weft_proposal
    uint64_t token;
    uint64_t partitions_proposed;
    weft_map_t *altering;                      // ids of topics with a topic_altered on its way
    weft_map_t *sessions;                      // broker id to struct weft_broker_session
    weft_map_t *gone;                          // broker id to struct weft_gone
    weft_map_t *changing;                      // ids of brokers with a broker_changed or broker_removed on its way
    weft_map_t *in_sync_waits, *kept, *losses; // of proposals, by their `wait`: insync.c, moves.c, elect.c
    weft_map_t *told;                          // topic id and partition to struct weft_told
    int64_t told_sweep_us;
    int64_t changed_us, tick_us; // a broker came or went; when leaders.c looks again
    bool balancing, wave_proposed, settings_changing, level_raising;
    int64_t level_us;                     // not raised before
    uint64_t balanced_index, waved_index; // nothing was to do at that index
    bool in_office, stopping;
    bool watching; // there were sessions at the last turn
    int64_t started_us, turned_us, scan_us;
    int64_t grace_until_us; // nobody is timed out before then
    int64_t since_us;       // in office since then
    int64_t office_us;      // its command was lost to a full disk: when to propose it again; WEFT_TIME_NEVER
    struct weft_coordinator_reads reads, reads_next; // behind a barrier under way, behind the one after it
    uint64_t reads_token;
    int64_t reads_asked_us, proved_us; // when the barrier under way was asked for; in office then, as one showed
    weft_groups_t *groups;
    struct weft_group_rooms *rooms; // groups.h
    bool voters_moved, voters_several;
    struct weft_voter_waits voter_waits;
    uint64_t digest_index; // the last entry at which the digest of the state was taken
    uint32_t digest;
};

// ---- part.c

struct weft_part *weft_coordinator_part(weft_coordinator_t *self);
// Everything but the quorum, which the node opens with weft_coordinator_events and `self` as context.
weft_coordinator_t *weft_coordinator_new(void);
extern const struct weft_quorum_events weft_coordinator_events;

// Hands a command to the quorum. Refused: settled at once, or the asker is told.
void weft_coordinator_propose(weft_coordinator_t *self, const struct weft_proposal *proposal, weft_slice_t command);
// Asks the quorum for another voter, or one less; it comes back like a command.
void weft_coordinator_propose_voter(weft_coordinator_t *self, const struct weft_proposal *proposal,
                                    const struct weft_quorum_voter *voter, bool remove);
// The operation of a client was done before.
bool weft_coordinator_is_done(const weft_coordinator_t *self, weft_id_t operation);
// Sends an encoded reply header.
void weft_coordinator_answer(weft_coordinator_t *self, const struct weft_asker *asker, const weft_buf_t *header);
void weft_coordinator_refuse(weft_coordinator_t *self, const struct weft_asker *asker, weft_err_t err,
                             const char *sentence);

// Another change of the same thing is under way: OVERLOADED, with a time to come back.
void weft_coordinator_come_back(weft_coordinator_t *self, const struct weft_asker *asker);

// ---- reads.c

void weft_coordinator_metadata(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_topic_describe(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_not_led_here(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_offsets_not_here(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
// NOT_COORDINATOR with where the one in office is, or COORDINATOR_UNAVAILABLE.
void weft_coordinator_redirect(weft_coordinator_t *self, const struct weft_asker *asker);
// Answers once a barrier is through; the header is copied.
void weft_coordinator_read(weft_coordinator_t *self, const struct weft_asker *asker, weft_coordinator_read_fn *answer,
                           weft_slice_t header);
bool weft_coordinator_reads_turn(weft_coordinator_t *self); // true: a barrier was asked for
// A token came back: was it that of the barrier?
bool weft_coordinator_read_applied(weft_coordinator_t *self, uint64_t token);
bool weft_coordinator_read_lost(weft_coordinator_t *self, uint64_t token);
void weft_coordinator_reads_drop(weft_coordinator_t *self);
// Something was applied: the digest is taken, told and compared when it is time.
void weft_coordinator_digest(weft_coordinator_t *self, uint64_t index, weft_slice_t command);
void weft_coordinator_voters_turn(weft_coordinator_t *self);

// ---- topics.c

void weft_coordinator_topic_create(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_topic_delete(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_topic_alter(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_topic_add_partitions(weft_coordinator_t *self, const struct weft_asker *asker,
                                           weft_slice_t header);
// Places and proposes a topic of our own; `like` has name, partitions, replicas and configuration.
WEFT_MUST_USE weft_err_t weft_coordinator_topic_make(weft_coordinator_t *self,
                                                     const struct weft_topic_create_request *like,
                                                     const struct weft_proposal *proposal, struct weft_error *error);
// A topic command was applied.
void weft_coordinator_topic_done(weft_coordinator_t *self, const struct weft_proposal *proposal, uint64_t index);

// ---- brokers.c

void weft_coordinator_broker_register(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
struct weft_broker_session *weft_coordinator_session(const weft_coordinator_t *self, int32_t broker); // NULL: none
// UNKNOWN_BROKER, with a sentence.
WEFT_MUST_USE weft_err_t weft_coordinator_find_broker(const weft_coordinator_t *self, int32_t id,
                                                      const struct weft_cluster_broker **out, struct weft_error *error);
// That this start of the broker is alive: FENCED otherwise.
WEFT_MUST_USE weft_err_t weft_coordinator_broker_check(const weft_coordinator_t *self, int32_t id,
                                                       weft_id_t incarnation, struct weft_error *error);
void weft_coordinator_hear(weft_coordinator_t *self, struct weft_broker_session *session,
                           const struct weft_asker *asker);
// A newcomer under an id that was alive: in use if that one goes on, else let in.
void weft_coordinator_parked_turn(weft_coordinator_t *self, struct weft_broker_session *session, int64_t now_us);
// A broker command was applied, or a proposal for one was lost (err).
void weft_coordinator_broker_done(weft_coordinator_t *self, const struct weft_proposal *proposal);
void weft_coordinator_broker_lost(weft_coordinator_t *self, const struct weft_proposal *proposal);
// Sessions for the brokers that the state calls alive, and for no others.
void weft_coordinator_sessions_follow(weft_coordinator_t *self, int32_t broker);
void weft_coordinator_took_office(weft_coordinator_t *self);
void weft_coordinator_sessions_drop(weft_coordinator_t *self);

// ---- heartbeats.c

void weft_coordinator_broker_heartbeat(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_heartbeat_answer(weft_coordinator_t *self, const struct weft_asker *asker, bool stop_now);
// `asker`, if any, is told to stop once it is done.
void weft_coordinator_fence(weft_coordinator_t *self, struct weft_broker_session *session,
                            const struct weft_asker *asker);
// Timeouts, which are proposals: before the quorum's turn.
int64_t weft_coordinator_brokers_turn(weft_coordinator_t *self, int64_t now_us);
// What was applied goes out: after it.
void weft_coordinator_brokers_push(weft_coordinator_t *self, int64_t now_us);

// ---- insync.c

void weft_coordinator_in_sync_change(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_in_sync_drop(weft_coordinator_t *self); // at the end

// ---- elections.c

void weft_coordinator_partition_report(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
struct weft_told *weft_coordinator_told(const weft_coordinator_t *self, weft_id_t topic, uint32_t partition);
// The report of a broker that counts now: of this leader epoch, by the incarnation that is alive. NULL: none.
const struct weft_told_by *weft_coordinator_told_by(const weft_coordinator_t *self, const struct weft_told *told,
                                                    int32_t broker);
// Whether a replica is in sync or eligible.
bool weft_coordinator_had_all(const struct weft_cluster_partition *partition, uint8_t place);
// The same, or a leaver: it has to report before anybody is elected.
bool weft_coordinator_is_frozen(const struct weft_cluster_partition *partition, uint8_t place);
void weft_coordinator_told_sweep(weft_coordinator_t *self, int64_t now_us);
void weft_coordinator_told_clear(weft_coordinator_t *self);

// ---- elect.c

void weft_coordinator_elect_leader(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_losses_drop(weft_coordinator_t *self); // at the end

// ---- leaders.c

void weft_coordinator_broker_drain(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
// A broker wants to stop: moves what it leads; true once it may.
bool weft_coordinator_stop_step(weft_coordinator_t *self, struct weft_broker_session *session);
// Proposes other flags of the proposal's broker (its incarnation: for this start only); `then` is called when it ended.
// False: another such change is under way.
bool weft_coordinator_broker_change(weft_coordinator_t *self, const struct weft_proposal *like,
                                    const struct weft_broker_flags *flags);
void weft_coordinator_leaders_move(weft_coordinator_t *self, const struct weft_proposal *proposal, weft_id_t operation,
                                   const struct weft_plan_leader *plan, size_t count);
size_t weft_coordinator_plan_preferred(const weft_coordinator_t *self, struct weft_plan_leader *out, size_t max);
int64_t weft_coordinator_leaders_turn(weft_coordinator_t *self, int64_t now_us);

// ---- moves.c

void weft_coordinator_reassign(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_reassign_list(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_balance(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_replicas_move(weft_coordinator_t *self, const struct weft_proposal *like, weft_id_t operation,
                                    struct weft_replica_move *moves, size_t count);
// Moves as the command holds them, which borrow from the plan; the caller frees the array.
struct weft_replica_move *weft_coordinator_moves_of(struct weft_plan_replicas *plan, size_t count);
void weft_coordinator_kept_drop(weft_coordinator_t *self); // at the end

// ---- decommission.c

void weft_coordinator_broker_remove(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
// The next wave, and brokers that can be forgotten.
void weft_coordinator_moves_turn(weft_coordinator_t *self);

// ---- settings.c

void weft_coordinator_cluster_alter(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_voter_change(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
// The throttle of moves. False: another change of settings is under way.
bool weft_coordinator_throttle(weft_coordinator_t *self, int64_t bytes_per_second);
int64_t weft_coordinator_throttle_now(const weft_coordinator_t *self);
// Raises the cluster's feature level once all coordinators know a higher one, and gives up once it is above what this
// software knows (REPLICATION.md rule 24).
void weft_coordinator_level_turn(weft_coordinator_t *self);

// ---- groups*.c

void weft_coordinator_group_heartbeat(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_group_list(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_group_describe(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_group_check(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_group_token(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_group_delete(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_offsets_begin(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_groups_new(weft_coordinator_t *self);
void weft_coordinator_groups_destroy(weft_coordinator_t *self);
// Events of the state: a group, for weft_groups_apply; a topic; settings.
void weft_coordinator_group_changed(void *context, const struct weft_group *group,
                                    const struct weft_group_member *member);
void weft_coordinator_groups_topic_changed(weft_coordinator_t *self, const struct weft_cluster_change *change);
void weft_coordinator_groups_settings(weft_coordinator_t *self);
void weft_coordinator_groups_took_office(weft_coordinator_t *self);
void weft_coordinator_groups_lost_office(weft_coordinator_t *self);
void weft_coordinator_groups_stop(weft_coordinator_t *self); // what is parked is answered
// Before the quorum's turn: what is due is proposed. Returns when to come again.
int64_t weft_coordinator_groups_turn(weft_coordinator_t *self, int64_t now_us);
// After it: who has another assignment is answered. True: another turn is wanted at once.
bool weft_coordinator_groups_push(weft_coordinator_t *self);

// ---- problems.c

void weft_coordinator_problem(struct weft_problems *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void weft_coordinator_broker_problems(const weft_coordinator_t *self, const struct weft_cluster_broker *broker,
                                      struct weft_problems *problems);
void weft_coordinator_partition_problems(const weft_coordinator_t *self, struct weft_problems *problems);
void weft_coordinator_problems_end(struct weft_problems *self); // what was left out

// ---- status.c

void weft_coordinator_hello(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_node_status(weft_coordinator_t *self, const struct weft_asker *asker);
void weft_coordinator_cluster_status(weft_coordinator_t *self, const struct weft_asker *asker);
uint32_t weft_coordinator_leaderless(const weft_coordinator_t *self);

// ---- node.c

// The state may have got its cluster id: the data directory belongs to that cluster from now on.
void weft_coordinator_joined(weft_coordinator_t *self);
// What health() tells; the sentence counts for FAILED.
void weft_coordinator_health_set(weft_coordinator_t *self, enum weft_health health, const char *sentence);
void weft_coordinator_office_set(weft_coordinator_t *self, bool in_office);

#endif
