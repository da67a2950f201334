// SPDX-License-Identifier: MPL-2.0
/**
 * Ledger: every commit that any client sends for a group, every answer to one, and every answer to `committed` (linked with --wrap); and the checkers over
 * them (I5, REPLICATION.md rules 5, 19, 20).
 *
 * A partition of a group is a register. Its writes are commits, ordered by (token, n), and fences, which change nothing and outrank all with a lower
 * token. A write that was answered before a question was asked, or one that outranks it, is what the answer has to tell: so no acknowledged commit
 * is lost, none of an owner of the past lands behind its fence, and nothing goes back that nobody put back. What a commit says is done with was
 * handed to somebody in the group.
 */
#ifndef WEFT_TESTS_SIM_LEDGER_H
#define WEFT_TESTS_SIM_LEDGER_H

#include "sim_witness.h"

typedef struct sim_ledger sim_ledger_t;

// May a part on this host commit that? Asked when it is sent, of whoever is not a person.
typedef void sim_ledger_sent_fn(void *context, sim_host_t host, int group, weft_id_t topic, uint32_t partition,
                                uint64_t token, int64_t offset);

// One at a time in a process. Groups are named by sim_group_name.
sim_ledger_t *sim_ledger_new(struct sim_clients *clients, const sim_witness_t *witness, sim_ledger_sent_fn *sent,
                             void *context);
void sim_ledger_destroy(sim_ledger_t **self_p);

void sim_group_name(int group, char text[16]);
int sim_group_of(weft_slice_t name); // -1: none
// The number of a topic of the clients by its id; -1: none of them, or deleted.
int sim_topic_of(const struct sim_clients *clients, const sim_witness_t *witness, weft_id_t id);

// Somebody in the group begins to read here.
void sim_ledger_began(sim_ledger_t *self, int group, weft_id_t topic, uint32_t partition, int64_t offset);
// A person puts the offset there (-1: deletes it), under a token: asked; and then, if it was answered, done.
void sim_ledger_reset(sim_ledger_t *self, int group, weft_id_t topic, uint32_t partition, uint64_t token,
                      int64_t offset, bool done);
// Every record of the final log from where the group began was handed to it. Once its members are at the end.
void sim_ledger_final(const sim_ledger_t *self);

uint64_t sim_ledger_commits(const sim_ledger_t *self); // acknowledged
uint64_t sim_ledger_fenced(const sim_ledger_t *self);  // refused FENCED

#endif
