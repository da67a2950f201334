// SPDX-License-Identifier: MPL-2.0
/**
 * What the scripted tests do with a simulated quorum (quorum_rig.h). Each test program includes it once.
 */
#ifndef WEFT_TESTS_UNIT_COORDINATOR_QUORUM_PLAY_H
#define WEFT_TESTS_UNIT_COORDINATOR_QUORUM_PLAY_H

#include "quorum_rig.h"

static inline void s_up_all(struct rig *rig)
{
    for (int i = 0; i < rig->node_count; i++) assert_ok(s_rig_up(&rig->nodes[i]));
}

// A quorum that is formed and commits.
static inline struct rig *s_rig_formed(uint64_t seed, int voters, int spare)
{
    struct rig *rig = s_rig_new(seed, voters, spare);
    s_up_all(rig);
    s_rig_assert_well(rig, 5000 * MS);
    return rig;
}

static inline void s_write_some(struct rig *rig, int count)
{
    for (int i = 0; i < count; i++) {
        struct rig_node *leader = s_rig_leader_node(rig);
        assert_non_null(leader);
        assert_ok(s_rig_propose(leader));
        s_rig_run(rig, 5 * MS);
    }
}

static inline struct rig_node *s_other(struct rig *rig, const struct rig_node *but)
{
    for (int i = 0; i < rig->node_count; i++)
        if (&rig->nodes[i] != but && rig->nodes[i].quorum) return &rig->nodes[i];
    return NULL;
}

static inline void s_isolate(struct rig *rig, const struct rig_node *node)
{
    for (int i = 0; i < rig->node_count; i++) {
        if (i == node->number) continue;
        s_rig_cut(rig, node->number, i);
        s_rig_cut(rig, i, node->number);
    }
}

static inline weft_err_t s_ask(struct rig *rig, int32_t id, bool remove, struct weft_error *error)
{
    struct weft_quorum_voter voter = {.id = id};
    snprintf(voter.endpoint, sizeof voter.endpoint, "node-%d", id);
    struct rig_node *leader = s_rig_leader_node(rig);
    assert_non_null(leader);
    weft_err_t err = leader->quorum->ops->change(leader->quorum, &voter, remove, UINT64_MAX, error);
    s_rig_turn_at(leader, rig->now_us + 1);
    return err;
}

static inline size_t s_voters(struct rig *rig)
{
    struct weft_quorum_voter voters[WEFT_QUORUM_VOTERS_MAX];
    struct rig_node *leader = s_rig_leader_node(rig);
    return leader ? leader->quorum->ops->voters(leader->quorum, voters, WEFT_QUORUM_VOTERS_MAX) : 0;
}

#endif
