// SPDX-License-Identifier: MPL-2.0
/**
 * Edges: the nodes of nodes/edge between a cluster and some of its clients, and what happens to them.
 *
 * A history of this kind (`scripts/sim --edge`) is one like any other, with its nodes, clients, faults and checkers, but that some
 * producers and consumers know no endpoint but an edge's. The core is cut off from it for seconds or minutes, it is
 * killed, loses power, stops, its disk is slow, full or fails. What it answers counts as the cluster's own word: an
 * acknowledged record stands in the end, once, in the order of its producer (I1, I3), also one that only the spool had;
 * what was refused does not. After the last fault the spool is emptied in bounded time (O9), and nothing was set aside
 * but what its producer had given up.
 */
#ifndef WEFT_TESTS_SIM_EDGES_H
#define WEFT_TESTS_SIM_EDGES_H

#include "sim_clients.h"

#define SIM_EDGES_MAX 2

struct sim_edges;

struct sim_edge {
    struct sim_edges *owner;
    char name[16], endpoint[WEFT_ENDPOINT_BYTES_MAX];
    sim_host_t host;
    weft_crash_disk_t *disk;
    struct weft_node *node; // NULL while down
    bool restart_wanted, stopping, disk_fails, disk_bad;
    size_t stopping_part;
    int64_t stop_deadline_us;
    int64_t away_until_us; // until then the core can't be reached from it
    bool mute, deaf;       // in which directions
    // Settings of all its lives.
    bool spools;
    const char *after_ms, *retry_ms, *metadata_ms, *max_ms, *client_requests;
};

struct sim_edges {
    struct sim_clients *clients;
    struct sim_edge edges[SIM_EDGES_MAX];
    int count;
    char both[2 * WEFT_ENDPOINT_BYTES_MAX]; // for clients that go to either
    bool long_cuts, disks_fail;
    uint32_t wait_us;                               // mean time between two faults
    int64_t end_us;                                 // of the faults
    bool sets_aside;                                // something may be refused for good: topics are deleted
    uint64_t spooled, drained, duplicates, renamed; // by lives that are over
    uint32_t kills, power_losses, stops, cuts, disk_faults;
};

// Draws them, and who goes through them; how much longer faults are to go on.
int64_t sim_edges_plan(struct sim_edges *self, struct sim_clients *clients, bool sets_aside);
void sim_edges_start(struct sim_edges *self);
void sim_edges_load(struct sim_edges *self, int64_t end_us); // faults, until then
void sim_edges_heal(struct sim_edges *self);
void sim_edges_revive(struct sim_edges *self); // starts those that are down
// All serve, and all that was kept is delivered. False: why.
bool sim_edges_settled(const struct sim_edges *self, char *why, size_t why_bytes);
void sim_edges_tell_renamed(const struct sim_edges *self); // the history, once all is delivered
void sim_edges_check(struct sim_edges *self);              // in the end
void sim_edges_summary(const struct sim_edges *self, char *out, size_t out_bytes);
void sim_edges_fini(struct sim_edges *self);

#endif
