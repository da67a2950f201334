// SPDX-License-Identifier: MPL-2.0
/**
 * What sim_members.c (a member's program, its life, what it sees) and sim_groups.c (all of them) share.
 */
#ifndef WEFT_TESTS_SIM_MEMBERS_INNER_H
#define WEFT_TESTS_SIM_MEMBERS_INNER_H

#include "sim_members.h"

uint64_t sim_members_below(struct sim_members *self, uint64_t bound); // of the members' own randomness
bool sim_members_chance(struct sim_members *self, uint32_t percent);
void sim_members_direct(void *context); // something happens to one of them, again and again

void sim_member_come(void *context); // a member that is dead starts
void sim_member_come_later(struct sim_member *self);
void sim_member_close(struct sim_member *self);
void sim_member_kill(struct sim_member *self);
void sim_member_gone(struct sim_member *self, bool silent);
void sim_member_subscribe(struct sim_member *self);
// sim_ledger_sent_fn
void sim_member_commits(void *context, sim_host_t host, int group, weft_id_t topic, uint32_t partition, uint64_t token,
                        int64_t offset);

#endif
