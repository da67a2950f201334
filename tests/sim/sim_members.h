// SPDX-License-Identifier: MPL-2.0
/**
 * Members: consumers in groups, each with a host of its own: the real consumer part and the real member part, which meet at a desk as they do in a
 * program, without the thread. They join, leave, stall, are stopped, crash, come back, change their minds; and the checkers of what they see:
 *
 * - what is handed out was given under a token and goes on where the group committed, without gaps (I4);
 * - what is committed was handed out to who commits it, or is where it began; what is released in peace is not handed out again;
 * - with `exclusive` nothing is handed out once another may hold it (I5, rule 22), by the state that is agreed on;
 * - once it is calm: after a join, a leave or a death every partition is held again in time, and everything is read.
 */
#ifndef WEFT_TESTS_SIM_MEMBERS_H
#define WEFT_TESTS_SIM_MEMBERS_H

#include "../../lib/client/member_part.h"
#include "sim_ledger.h"

#define SIM_GROUPS_MAX 3
#define SIM_MEMBERS_MAX 8

struct sim_members;

struct sim_release { // of a partition by a member that had committed all
    uint64_t token;  // 0: none
    int64_t offset;
};

struct sim_place { // a partition that a member was given
    weft_id_t topic;
    uint64_t token;   // 0: not its own
    int64_t begun;    // the first offset of this giving; -1: not known yet
    int64_t expected; // the next; -1: not known
    int64_t lowest;   // what it may commit: goes down by its own wish
    bool peace;       // it commits all it reads, and no commit of it failed
    int64_t highest;  // likewise: up by what it is handed, and not down when records are lost that it was handed
    int64_t position; // as the consumer says; -1: not known
    struct sim_release released; // if the event says so, too: until then a commit may fail
};

struct sim_group {
    bool exclusive, durable; // durable: its members read at that level
    const char *assignor;    // "" as it is
    uint32_t session_ms, max_poll_ms, release_ms;
};

struct sim_member {
    struct sim_members *owner;
    int number, group;
    char name[24], instance[16]; // instance "": none
    sim_host_t host;
    weft_consumer_part_t *part; // NULL: dead
    weft_member_part_t *member;
    weft_part_id_t part_id, member_id;
    weft_desk_t *desk;
    uint64_t life;            // grows with every start: steps of an older one end
    bool durable, commits;    // commits: by its own calls alone
    bool closing, away;       // away: it comes back only when told
    int64_t stalled_until_us; // its program does something else
    int64_t close_us;         // since when
    const char *pattern;
    struct sim_place places[SIM_TOPICS_MAX][SIM_PARTITIONS_MAX];
};

struct sim_step { // of a member's program, under way in the simulation or free
    struct sim_member *member;
    uint64_t life;
    struct sim_step *next, *next_free;
};

struct sim_members {
    struct sim_step *steps, *steps_free; // all, and those to be used again
    struct sim_clients *clients;
    const sim_witness_t *witness;
    sim_ledger_t *ledger;
    weft_rand_t rand; // their own: histories without groups are as they were
    struct sim_group groups[SIM_GROUPS_MAX];
    int group_count, count;
    struct sim_member members[SIM_MEMBERS_MAX];
    uint32_t heartbeat_ms, offsets_partitions;
    bool quiet; // nothing happens to them any more
    uint64_t handed, again, closed, killed, stalled;
    uint64_t reset_tokens[SIM_GROUPS_MAX]; // of a person, the last
    struct sim_release releases[SIM_GROUPS_MAX][SIM_TOPICS_MAX][SIM_PARTITIONS_MAX];
};

// Draws groups and members; `replicas` of __offsets. Creates nothing.
void sim_members_plan(struct sim_members *self, struct sim_clients *clients, const sim_witness_t *witness,
                      uint64_t seed);
// Settings of the cluster, and __offsets. False: not possible in a calm cluster (a violation).
bool sim_members_prepare(struct sim_members *self, int replicas);
void sim_members_start(struct sim_members *self);
void sim_members_fini(struct sim_members *self); // behind the simulation's end

// ---- faults

struct sim_member *sim_members_some(struct sim_members *self);
void sim_member_trouble(struct sim_member *self); // one of all that may happen to it

// ---- once it is calm

void sim_members_calm(struct sim_members *self); // all come back, nothing happens to them any more
// Every group has given out all that its members subscribe to, and they know it. False: why.
bool sim_members_settled(const struct sim_members *self, char *why, size_t why_bytes);
// One joins, leaves or dies; the others have everything soon.
bool sim_members_probe(struct sim_members *self);
// All groups have committed, or at least read, up to these ends (-1: there is nothing).
bool sim_members_done(const struct sim_members *self, int64_t ends[][SIM_PARTITIONS_MAX]);
void sim_members_stop(struct sim_members *self);
void sim_members_summary(const struct sim_members *self, char *text, size_t text_bytes);

#endif
