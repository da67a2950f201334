// SPDX-License-Identifier: MPL-2.0
/**
 * Inside of quorum_rig.h: the state machine of a simulated voter, and what it checks.
 */
#ifndef WEFT_TESTS_UNIT_COORDINATOR_QUORUM_RIG_STATE_H
#define WEFT_TESTS_UNIT_COORDINATOR_QUORUM_RIG_STATE_H

static inline uint64_t s_mix(uint64_t hash, uint64_t index, uint64_t value)
{
    hash ^= index * UINT64_C(0x9e3779b97f4a7c15) + value;
    hash *= UINT64_C(0xff51afd7ed558ccd);
    return hash ^ hash >> 33;
}

static inline void s_rig_apply(void *context, uint64_t index, weft_slice_t command, uint64_t token)
{
    struct rig_node *node = context;
    struct rig *rig = node->rig;
    if (token && token < 4096) { // a barrier
        node->barriers_done++;
        assert_true(node->last >= rig->barrier_floor[token]);
        return;
    }
    if (token == UINT64_MAX) {
        node->changes_done++;
        return;
    }
    if (!command.size) return;
    assert_true(index > node->last);
    assert_true(index < RIG_INDEX_MAX || rig->garble);
    uint64_t value = 0;
    if (command.size >= 8) memcpy(&value, command.data, 8);
    if (rig->garble) {
        node->last = index;
        return;
    }
    for (uint64_t i = node->last + 1; i < index; i++) assert_int_equal(rig->truth[i], 0); // none skipped
    node->last = index;
    node->count++;
    node->hash = s_mix(node->hash, index, value);
    if (index > rig->truth_last) {
        rig->truth_last = index;
        rig->truth[index] = value;
        rig->after[index] = node->hash;
    }
    assert_int_equal(rig->truth[index], value);
    assert_int_equal(rig->after[index], node->hash);
    if (!token) return;
    assert_int_equal(token, value);
    rig->acked_count++;
    if (index > rig->acked_last) rig->acked_last = index;
}

static inline void s_rig_leader(void *context, bool leads)
{
    struct rig_node *node = context;
    node->leads = leads;
    if (!leads || node->rig->garble) return;
    uint64_t term = raft_current_term(((struct weft_quorum_self *) node->quorum)->raft);
    assert_true(term < RIG_TERMS_MAX);
    int *leader = &node->rig->leader_of[term];
    assert_true(*leader == 0 || *leader == node->number + 1);
    *leader = node->number + 1;
}

static inline void s_rig_lost(void *context, uint64_t token, weft_err_t code, const char *sentence)
{
    struct rig_node *node = context;
    if (getenv("RIG_TRACE") && token == UINT64_MAX)
        fprintf(stderr, "%8.3f node-%d: change lost: %s\n", (double) node->rig->now_us / 1e6, node->number + 1,
                sentence ? sentence : "");
    node->lost++;
    node->lost_code = code;
    node->changes_lost += token == UINT64_MAX;
}

static inline void s_rig_voters(void *context)
{
    (void) context;
}

static inline void s_rig_snapshot(void *context, weft_buf_t *out)
{
    const struct rig_node *node = context;
    uint64_t state[3] = {node->last, node->count, node->hash};
    weft_buf_append(out, state, sizeof state);
    size_t words = node->rig->state_words; // some sectors, each word in its place
    weft_buf_reserve(out, words * sizeof state[0]);
    for (size_t i = 0; i < words; i++) {
        uint64_t word = s_mix(node->hash, i, node->last);
        memcpy(out->data + out->size, &word, sizeof word);
        out->size += sizeof word;
    }
}

static inline weft_err_t s_rig_restore(void *context, uint64_t index, weft_slice_t snapshot)
{
    struct rig_node *node = context;
    uint64_t state[3];
    if (node->rig->garble) return weft_rand_chance(&node->rig->rand, 500000) ? WEFT_ERR_BAD_FRAME : WEFT_OK;
    size_t words = node->rig->state_words;
    assert_int_equal(snapshot.size, sizeof state + words * sizeof state[0]);
    memcpy(state, snapshot.data, sizeof state);
    for (size_t i = 0; i < words; i++) {
        uint64_t word, right = s_mix(state[2], i, state[0]);
        memcpy(&word, (const uint8_t *) snapshot.data + sizeof state + i * sizeof word, sizeof word);
        if (word != right) assert_int_equal(word, right);
    }
    node->restored++;
    assert_true(state[0] <= index && state[0] >= node->last);
    assert_int_equal(node->rig->after[state[0]], state[2]);
    node->last = state[0];
    node->count = state[1];
    node->hash = state[2];
    return WEFT_OK;
}

static const struct weft_quorum_events s_rig_events = {.on_apply = s_rig_apply,
                                                       .on_leader = s_rig_leader,
                                                       .on_lost = s_rig_lost,
                                                       .on_voters = s_rig_voters,
                                                       .snapshot = s_rig_snapshot,
                                                       .restore = s_rig_restore};

#endif
