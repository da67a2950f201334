// SPDX-License-Identifier: MPL-2.0
/**
 * Witness: sees every command that any node applies to its cluster state, and every snapshot that one takes over (linked with --wrap).
 *
 * The first node that applies an index tells what was agreed there; the witness applies it to a state of its own. From then on whoever applies
 * another command there, passes one over, has another result or another digest breaks O7. So the simulator knows what was decided the moment it
 * is, whoever lives: leaders, in-sync sets, moves; members, what they hold, under which tokens.
 */
#ifndef WEFT_TESTS_SIM_WITNESS_H
#define WEFT_TESTS_SIM_WITNESS_H

#include "../../lib/core/cluster.h"
#include "../../lib/core/groups.h"
#include "sim_clients.h"

typedef struct sim_witness sim_witness_t;

// One at a time in a process. `clients` says which topics the history is about.
sim_witness_t *sim_witness_new(sim_t *sim, sim_history_t *history, const struct sim_clients *clients);
void sim_witness_destroy(sim_witness_t **self_p);

const weft_cluster_t *sim_witness_cluster(const sim_witness_t *self); // as agreed
const weft_groups_t *sim_witness_groups(const sim_witness_t *self);   // likewise
// The partition of a topic of the clients; NULL: there is none now.
const struct weft_cluster_partition *sim_witness_partition(const sim_witness_t *self, int topic, int partition,
                                                           weft_id_t *id);
// Does every partition have a leader and all its replicas in sync, and is nothing being moved? If not: why.
bool sim_witness_settled(const sim_witness_t *self, char *why, size_t why_bytes);
// When something was last decided about the cluster (not: groups); nodes are told of it behind that.
int64_t sim_witness_decided_us(const sim_witness_t *self);
// Is `broker` in the in-sync set, and not one that restarted since?
bool sim_witness_in_sync(const struct weft_cluster_partition *partition, int32_t broker);
// When the broker last joined under a new incarnation; -1: never.
int64_t sim_witness_joined_us(const sim_witness_t *self, int32_t broker);
// What was decided how often, as ", 3 offices, 5 set changes".
void sim_witness_summary(const sim_witness_t *self, char *text, size_t text_bytes);

#endif
