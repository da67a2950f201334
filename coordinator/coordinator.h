// SPDX-License-Identifier: MPL-2.0
/**
 * Coordinator, inside: what the files of its part share. Programs use weft_node_coordinator (lib/wire/node.h).
 *
 * One part owns everything: the cluster state, the quorum, the sessions of the brokers. A request that changes
 * something becomes a command; its answer is sent when the quorum hands the command back applied, so durable. What
 * a race would decide (two creations of one name) is decided by applying.
 *
 *     part.c      life-cycle, turns, dispatch, proposals and their answers
 *     topics.c    topic_* requests           brokers.c   registration, heartbeats, session timeouts
 *     feed.c      commands to the brokers    status.c    hello, node_status, cluster_status, health
 */
#ifndef WEFT_COORDINATOR_COORDINATOR_H
#define WEFT_COORDINATOR_COORDINATOR_H

#include "../lib/core/cluster.h"
#include "../lib/core/cluster_view.h"
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
    weft_settled_fn *settled; // called once when it ended, also by weft_coordinator_propose itself; NULL: part.c answers
    weft_id_t operation;      // of the client; zero: none
    uint64_t wait;            // of `settled`: what waits for it, and which part of that
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
    bool fencing;               // a broker_fenced is proposed
    bool leaving;               // at its own wish: a clean stop
    uint64_t ahead;             // cluster index that it says to have, above ours; 0: no
    uint32_t turn_ms;           // worst age of a turn of its shards and data directories
    struct weft_parked *parked; // a new incarnation that waits until this one is silent
};

/** A registration under the id of a broker that may still be alive. */
struct weft_parked {
    struct weft_asker asker;
    int64_t since_us;
    weft_id_t incarnation;
    weft_buf_t command; // broker_registered
};

struct weft_coordinator {
    struct weft_part part;
    struct weft_coordinator_node *node;
    weft_port_t port;
    weft_part_id_t sync_part;

    char name[WEFT_NODE_NAME_BYTES_MAX];
    char endpoint[WEFT_ENDPOINT_BYTES_MAX]; // as others are told
    int32_t id;
    weft_id_t format_id; // for a cluster that has none yet; zero: drawn at the start
    int64_t heartbeat_us, session_us;
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
    weft_map_t *altering; // ids of topics with a topic_altered on its way
    weft_map_t *sessions; // broker id to struct weft_broker_session
    bool in_office, stopping;
    bool watching; // there were sessions at the last turn
    int64_t started_us, turned_us, scan_us;
    int64_t grace_until_us; // nobody is timed out before then
    int64_t office_us;      // its command was lost to a full disk: when to propose it again; WEFT_TIME_NEVER
};

// ---- part.c

struct weft_part *weft_coordinator_part(weft_coordinator_t *self);
// Everything but the quorum, which the node opens with weft_coordinator_events and `self` as context.
weft_coordinator_t *weft_coordinator_new(void);
extern const struct weft_quorum_events weft_coordinator_events;

// Hands a command to the quorum. Refused: settled at once, or the asker is told.
void weft_coordinator_propose(weft_coordinator_t *self, const struct weft_proposal *proposal, weft_slice_t command);
// Sends an encoded reply header.
void weft_coordinator_answer(weft_coordinator_t *self, const struct weft_asker *asker, const weft_buf_t *header);
void weft_coordinator_refuse(weft_coordinator_t *self, const struct weft_asker *asker, weft_err_t err,
                             const char *sentence);

// ---- topics.c

void weft_coordinator_topic_create(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_topic_delete(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_topic_alter(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_topic_add_partitions(weft_coordinator_t *self, const struct weft_asker *asker,
                                           weft_slice_t header);
// A topic command was applied.
void weft_coordinator_topic_done(weft_coordinator_t *self, const struct weft_proposal *proposal, uint64_t index);

// ---- brokers.c

void weft_coordinator_broker_register(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
void weft_coordinator_broker_heartbeat(weft_coordinator_t *self, const struct weft_asker *asker, weft_slice_t header);
// A broker command was applied, or a proposal for one was lost (err).
void weft_coordinator_broker_done(weft_coordinator_t *self, const struct weft_proposal *proposal);
void weft_coordinator_broker_lost(weft_coordinator_t *self, const struct weft_proposal *proposal);
// Sessions for the brokers that the state calls alive, and for no others.
void weft_coordinator_sessions_follow(weft_coordinator_t *self, int32_t broker);
void weft_coordinator_took_office(weft_coordinator_t *self);
// Timeouts, which are proposals: before the quorum's turn.
int64_t weft_coordinator_brokers_turn(weft_coordinator_t *self, int64_t now_us);
// What was applied goes out: after it.
void weft_coordinator_brokers_push(weft_coordinator_t *self, int64_t now_us);
void weft_coordinator_sessions_drop(weft_coordinator_t *self);

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

#endif
