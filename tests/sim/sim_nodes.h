// SPDX-License-Identifier: MPL-2.0
/**
 * Nodes: the coordinators and brokers of one simulated cluster, as the node types build them, each on a host with a crash disk.
 *
 * Start, kill, power off, stop cleanly. A start that its disk's faults or its own data refuse is tried again until it holds; what it said is kept.
 */
#ifndef WEFT_TESTS_SIM_NODES_H
#define WEFT_TESTS_SIM_NODES_H

#include "../../lib/testing/crash_disk.h"
#include "../../lib/testing/sim_world.h"
#include "../../lib/wire/node.h"
#include "sim_history.h"

#define SIM_COORDINATORS_MAX 6
#define SIM_NODES_MAX (SIM_COORDINATORS_MAX + SIM_BROKERS_MAX)

enum sim_node_state { SIM_NODE_DOWN, SIM_NODE_UP, SIM_NODE_STOPPING };

struct sim_node {
    const struct weft_parts_type *type;
    bool is_broker;
    int32_t id; // among brokers or among coordinators, from 1 on
    char name[32], rack[8];
    sim_host_t host;
    weft_crash_disk_t *disk;
    struct weft_node *node; // NULL while down
    enum sim_node_state state;
    size_t stopping; // part that is being stopped
    int64_t stop_deadline_us;
    bool restart_wanted; // a start is planned
    bool new_disk;       // it came back with an empty one
    bool word;           // a person says that what its old disk held is gone
    bool retired;        // it left the cluster for good, or has not joined it yet
    bool removed;        // it was forgotten; who starts it all the same gets a broker that is refused
    struct sim_nodes *owner;
    uint32_t starts;
    int64_t power_lost_us;                   // last time; -1: never
    bool disk_fails;                         // now and then
    bool disk_bad;                           // it does, or did and the node wasn't started since
    char refusal[WEFT_ERROR_TEXT_BYTES_MAX]; // of the last start that failed, "" if it held
};

/** What all nodes of a cluster are set to. */
struct sim_settings {
    size_t coordinators, brokers;
    uint32_t shards, racks; // racks 0: no names
    bool inproc;            // endpoints of inproc: receivers share the senders' memory
    uint32_t election_ms, quorum_heartbeat_ms, session_ms, snapshot_commands, stuck_ms;
    uint32_t replica_lag_ms, replica_wait_ms, replica_bytes;
};

struct sim_nodes {
    sim_t *sim;
    sim_history_t *history;
    struct sim_settings settings;
    size_t count; // the coordinators, then the brokers
    struct sim_node nodes[SIM_NODES_MAX];
    uint32_t kills, power_losses, stops, refused_starts;
    uint32_t disk_faults; // begun; starts may be refused because of them, and stops may not end
};

void sim_nodes_init(struct sim_nodes *self, sim_t *sim, sim_history_t *history, const struct sim_settings *settings);
void sim_nodes_fini(struct sim_nodes *self);
void sim_nodes_endpoint(const struct sim_nodes *self, size_t node, char out[WEFT_ENDPOINT_BYTES_MAX]);
struct sim_node *sim_nodes_broker(struct sim_nodes *self, int32_t id);      // NULL if there is none
struct sim_node *sim_nodes_coordinator(struct sim_nodes *self, int32_t id); // likewise

void sim_node_start(struct sim_node *self); // nothing if it isn't down
void sim_node_start_after(struct sim_node *self, int64_t wait_us);
void sim_node_kill(struct sim_node *self);      // kill -9
void sim_node_power_off(struct sim_node *self); // and all that was not synced is in doubt
void sim_node_stop(struct sim_node *self);      // SIGTERM: parts come to rest, one after the other
// Its disk begins to fail as told, for a while; behind errors other than a full disk the node has to be started again.
void sim_node_disk_fault(struct sim_node *self, const struct weft_crash_disk_faults *faults, int64_t duration_us);
// What a supervisor does: a node whose health is FAILED ends its process and is started again.
void sim_nodes_supervise(struct sim_nodes *self);
bool sim_nodes_all_up(const struct sim_nodes *self); // but for those that are no part of the cluster

#endif
