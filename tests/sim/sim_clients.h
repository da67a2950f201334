// SPDX-License-Identifier: MPL-2.0
/**
 * Clients: producers, consumers and an admin of the real client library, and the people behind them.
 *
 * Each has a host of its own. What they do is drawn from the seed; all they are told or see goes to the history.
 */
#ifndef WEFT_TESTS_SIM_CLIENTS_H
#define WEFT_TESTS_SIM_CLIENTS_H

#include "../../lib/client/admin_part.h"
#include "../../lib/client/consumer_part.h"
#include "../../lib/client/producer_part.h"
#include "sim_nodes.h"

#define SIM_PRODUCERS_MAX 6
#define SIM_CONSUMERS_MAX 4

struct sim_clients;

struct sim_topic {
    char name[16];
    int partitions, replicas, min_insync; // min_insync 0: the default
    bool retained;                        // its retention may delete
    bool compacted, tombstones_stay;      // all its records have keys; and for a day
};

struct sim_producer {
    struct sim_clients *owner;
    sim_host_t host;
    weft_producer_part_t *part; // NULL: its process is dead
    weft_topic_t *topics[SIM_TOPICS_MAX];
    weft_part_id_t part_id;
    uint32_t writer; // its name in the history, new at every start
    int64_t started_us;
    char settings[512];
    bool busy; // goes on sending
};

struct sim_consumer {
    struct sim_clients *owner;
    sim_host_t host;
    weft_consumer_part_t *part;
    weft_part_id_t part_id;
    char name[24];
    int topic;
    bool durable, final;                  // final: its reading is the last word (sim_history_final_*)
    int64_t expected[SIM_PARTITIONS_MAX]; // next offset, -1: not known
    int32_t rotten;                       // what this broker holds may be damaged: 0, none
    bool stopped[SIM_PARTITIONS_MAX];     // because of that
    int64_t goal[SIM_PARTITIONS_MAX];     // where it is done
};

struct sim_clients {
    sim_t *sim;
    sim_history_t *history;
    struct sim_nodes *nodes;
    struct sim_topic topics[SIM_TOPICS_MAX];
    int topic_count, stable_count; // the topics behind the stable ones are deleted and made again
    struct sim_producer producers[SIM_PRODUCERS_MAX];
    int producer_count;
    struct sim_consumer consumers[SIM_CONSUMERS_MAX];
    int consumer_count;
    bool calm; // no client dies any more, nobody deletes
    // Clients that know no endpoint but this one; NULL: they know all nodes. no_spool: what they send is not to be kept there.
    const char *producer_through[SIM_PRODUCERS_MAX], *consumer_through[SIM_CONSUMERS_MAX];
    bool producer_no_spool[SIM_PRODUCERS_MAX];
    // What it sends may wait in one spool while it goes on by another: each record comes, but not in order, and some twice.
    bool producer_spread[SIM_PRODUCERS_MAX];
    bool lazy; // nobody asks for durability: what is committed may stand on no disk for seconds
    // admin
    sim_host_t admin_host;
    weft_admin_part_t *admin;
    weft_part_id_t admin_id;
    int delete_topic, delete_partition; // a deletion under way, -1: none
    int64_t delete_before;
    weft_codec_t codec;
    weft_buf_t scratch;
};

void sim_clients_init(struct sim_clients *self, sim_t *sim, sim_history_t *history, struct sim_nodes *nodes);
void sim_clients_fini(struct sim_clients *self);

// One admin call, run to its end: begin, encode the request into call->header with call->id, run. The reply is in weft_admin_part_reply.
struct weft_call *sim_admin_begin(struct sim_clients *self, enum weft_call_to to, const char *topic, int partition);
WEFT_MUST_USE weft_err_t sim_admin_run(struct sim_clients *self, int64_t timeout_us);
// Where the log of a partition begins and (at that level) ends.
WEFT_MUST_USE weft_err_t sim_admin_offsets(struct sim_clients *self, int topic, int partition, bool durable,
                                           int64_t *start, int64_t *end);
// A change of the cluster state that changes nothing for anybody, to see whether one can be made.
WEFT_MUST_USE weft_err_t sim_admin_touch(struct sim_clients *self, int64_t timeout_us);
// Creates the topics of the plan and waits until their partitions have leaders.
bool sim_clients_create_topics(struct sim_clients *self);
// Have all partitions of a topic a leader, as clients are told?
bool sim_clients_led(struct sim_clients *self, int topic);

void sim_producers_start(struct sim_clients *self);
void sim_producer_kill(struct sim_producer *self);        // its process dies and comes again under another name
void sim_producers_probe(struct sim_clients *self);       // each sends one record to each partition
void sim_producers_finish(struct sim_clients *self);      // no new records; all are flushed
void sim_producers_trace(const struct sim_clients *self); // who still waits for what
bool sim_producers_done(const struct sim_clients *self);

void sim_consumers_start(struct sim_clients *self);
void sim_consumer_kill(struct sim_consumer *self); // and comes again, from the beginning
// A new reader of the whole topic, whose reading is the final one.
void sim_consumer_start(struct sim_consumer *self, struct sim_clients *owner, const char *name, int topic, bool durable,
                        bool final);
void sim_consumer_stop(struct sim_consumer *self);
bool sim_consumer_done(const struct sim_consumer *self);

// The endpoints of all nodes as bootstrap; a part of theirs on that host.
void sim_clients_bootstrap(const struct sim_clients *self, weft_options_t *options);
weft_part_id_t sim_clients_run_part(struct sim_clients *self, sim_host_t host, const char *name,
                                    struct weft_part *part);

// One more admin, on a host of its own.
weft_admin_part_t *sim_clients_admin_run(struct sim_clients *self, const char *name, sim_host_t *host,
                                         weft_part_id_t *id);

void sim_admin_delete_some(struct sim_clients *self); // starts deleting a random prefix of a random partition

#endif
