// SPDX-License-Identifier: MPL-2.0
// Quorums of three and five under everything that links, disks and power do to them (FAULTS.md, M1 to M6, M8 to M10),
// many seeds of it. WEFT_SEEDS=n plays more, WEFT_SEED=s one, RIG_TRACE=1 says what happens.
#include "quorum_rig.h"

// ---- faults at random

// A disk that fails now and then, or is full for a while.
static void s_spoil(struct rig *rig, struct rig_node *node)
{
    struct weft_crash_disk_faults faults = {0};
    if (weft_rand_chance(&rig->rand, 500000))
        faults.write_enospc = 200000 + (uint32_t) weft_rand_below(&rig->rand, 800000);
    else
        faults.write_eio = faults.sync_eio = faults.open_eio = 1 + (uint32_t) weft_rand_below(&rig->rand, 30000);
    weft_crash_disk_faults_set(node->disk, &faults);
}

// Whoever gave up is started again, on a disk that works.
static void s_revive(struct rig *rig)
{
    for (int i = 0; i < rig->node_count; i++) {
        struct rig_node *node = &rig->nodes[i];
        if (!node->quorum || !node->quorum->ops->failure(node->quorum)) continue;
        const char *failure = node->quorum->ops->failure(node->quorum);
        if (!strstr(failure, "DISK") && !strstr(failure, "can't be read") && !strstr(failure, "3 s"))
            fail_msg("%s", failure);
        s_rig_down(node, weft_rand_chance(&rig->rand, 500000));
        weft_crash_disk_faults_set(node->disk, &(struct weft_crash_disk_faults){0});
        s_rig_push(rig, (struct rig_event){.at_us = rig->now_us + 100 * MS, .kind = RIG_START, .node = i});
    }
}

static void s_fault(struct rig *rig, int voters)
{
    struct rig_node *node = &rig->nodes[weft_rand_below(&rig->rand, (uint64_t) rig->node_count)];
    int other = (int) weft_rand_below(&rig->rand, (uint64_t) rig->node_count);
    int64_t soon = rig->now_us + (int64_t) weft_rand_below(&rig->rand, 1500 * MS);
    switch (weft_rand_below(&rig->rand, 14)) {
    case 0:
    case 1:
    case 2: // one dies
        if (!node->quorum) break;
        s_rig_down(node, weft_rand_chance(&rig->rand, 600000));
        s_rig_push(rig, (struct rig_event){.at_us = soon, .kind = RIG_START, .node = node->number});
        break;
    case 3: // several at once
        for (int i = 0; i < rig->node_count; i++) {
            if (!rig->nodes[i].quorum || weft_rand_chance(&rig->rand, 400000)) continue;
            s_rig_down(&rig->nodes[i], true);
            s_rig_push(rig, (struct rig_event){.at_us = soon + i, .kind = RIG_START, .node = i});
        }
        break;
    case 4:
    case 5: // one way
        if (other != node->number) s_rig_cut(rig, node->number, other);
        break;
    case 6: // isolated
        for (int i = 0; i < rig->node_count; i++) {
            if (i == node->number) continue;
            s_rig_cut(rig, node->number, i);
            s_rig_cut(rig, i, node->number);
        }
        break;
    case 7: // a connection is lost, and what was under way on it
        if (other == node->number) break;
        s_rig_reset(node, other);
        if (node->quorum) s_rig_connect(node, other);
        break;
    case 8: node->paused_until_us = rig->now_us + (int64_t) weft_rand_below(&rig->rand, 900 * MS); break;
    case 9: node->sync_us = 1 * MS + (int64_t) weft_rand_below(&rig->rand, 400 * MS); break;
    case 10:
        rig->delay_us =
            1 * MS + (int64_t) weft_rand_below(&rig->rand, weft_rand_chance(&rig->rand, 200000) ? 200 * MS : 20 * MS);
        break;
    case 11: s_spoil(rig, node); break;
    case 12: // and it is well again
        for (int i = 0; i < rig->node_count; i++)
            weft_crash_disk_faults_set(rig->nodes[i].disk, &(struct weft_crash_disk_faults){0});
        break;
    default: s_rig_heal_all(rig); break;
    }
    (void) voters;
}

static void s_change(struct rig *rig, struct rig_node *leader)
{
    struct weft_quorum_voter voter = {.id = 1 + (int32_t) weft_rand_below(&rig->rand, (uint64_t) rig->node_count)};
    struct rig_node *node = &rig->nodes[voter.id - 1];
    snprintf(voter.endpoint, sizeof voter.endpoint, "node-%d", voter.id);
    struct weft_error error;
    bool member = weft_quorum_server_of_id(weft_quorum_in_force(s_inside(leader)), voter.id) != NULL;
    if (!member && node->quorum && !weft_quorum_is_empty(s_inside(node))) { // was one before: a new directory
        s_rig_down(node, false);
        s_rig_wipe(node);
        assert_ok(s_rig_up(node));
    }
    (void) leader->quorum->ops->change(leader->quorum, &voter, member, UINT64_MAX, &error);
    s_rig_turn_at(leader, rig->now_us + 1);
}

static void s_calm(struct rig *rig)
{
    s_rig_heal_all(rig);
    rig->piece_faults = 0;
    rig->delay_us = 2 * MS;
    for (int i = 0; i < rig->node_count; i++) {
        rig->nodes[i].sync_us = 3 * MS;
        rig->nodes[i].paused_until_us = 0;
        weft_crash_disk_faults_set(rig->nodes[i].disk, &(struct weft_crash_disk_faults){0});
    }
    s_rig_run(rig, 4000 * MS); // a failure shows within 3 s
    s_revive(rig);
}

static size_t s_changes, s_acked, s_pieces; // of the seeds of a test

static void s_play(uint64_t seed, int voters, int spare)
{
    struct rig *rig = s_rig_new(seed, voters, spare);
    for (int i = 0; i < rig->node_count; i++)
        s_rig_push(rig, (struct rig_event){.at_us = rig->now_us + (int64_t) weft_rand_below(&rig->rand, 400 * MS),
                                           .kind = RIG_START,
                                           .node = i});
    rig->piece_faults = seed % 3 ? 50000 : 0;
    uint32_t calm = weft_rand_chance(&rig->rand, 500000) ? 60 : 15; // steps between faults
    int64_t until = rig->now_us + 20000 * MS;
    while (rig->now_us < until) {
        s_rig_run(rig, 1 + (int64_t) weft_rand_below(&rig->rand, 40 * MS));
        struct rig_node *node = &rig->nodes[weft_rand_below(&rig->rand, (uint64_t) rig->node_count)];
        for (uint64_t n = weft_rand_below(&rig->rand, 4); node->quorum && n; n--) (void) s_rig_propose(node);
        if (node->quorum && node->leads && weft_rand_chance(&rig->rand, 200000)) s_rig_barrier(node);
        if (weft_rand_below(&rig->rand, calm) == 0) s_fault(rig, voters);
        s_revive(rig);
        if (spare && node->quorum && node->leads && weft_rand_below(&rig->rand, 40) == 0) s_change(rig, node);
    }
    s_calm(rig);
    s_rig_assert_well(rig, 30000 * MS);
    for (int i = 0; i < rig->node_count; i++) s_changes += rig->nodes[i].changes_done;
    s_acked += rig->acked_count;
    s_pieces += rig->pieces;
    s_rig_destroy(&rig);
}

static uint64_t s_seeds(uint64_t few)
{
    const char *text = getenv("WEFT_SEEDS");
    return text ? strtoull(text, NULL, 10) : few;
}

static void s_play_many(uint64_t few, uint64_t base, int voters, int spare)
{
    const char *one = getenv("WEFT_SEED");
    uint64_t from = one ? strtoull(one, NULL, 10) : 0, count = one ? 1 : s_seeds(few);
    s_changes = s_acked = s_pieces = 0;
    for (uint64_t i = from; i < from + count; i++) {
        if (getenv("RIG_SEEDS")) fprintf(stderr, "seed %llu\n", (unsigned long long) i);
        s_play(base + i, voters, spare);
    }
    if (getenv("RIG_SEEDS"))
        fprintf(stderr, "%zu acknowledged, %zu changes of voters, %zu pieces of snapshots\n", s_acked, s_changes,
                s_pieces);
    assert_true(s_acked >= count * 50);
    assert_true(!spare || s_changes >= count / 4);
    assert_true(voters == 1 || count < 10 || s_pieces >= count);
}

static void test_quorum_sim__three_voters_agree_whatever_happens(void **state)
{
    (void) state;
    s_play_many(30, 1000000, 3, 0);
}

static void test_quorum_sim__five_voters_agree_whatever_happens(void **state)
{
    (void) state;
    s_play_many(10, 2000000, 5, 0);
}

static void test_quorum_sim__voters_come_and_go_whatever_happens(void **state)
{
    (void) state;
    s_play_many(20, 3000000, 3, 2);
}

static void test_quorum_sim__one_voter_keeps_what_it_acknowledged(void **state)
{
    (void) state;
    s_play_many(10, 4000000, 1, 0);
}

// ---- in good weather

static void s_up_all(struct rig *rig)
{
    for (int i = 0; i < rig->node_count; i++) assert_ok(s_rig_up(&rig->nodes[i]));
}

static void test_quorum_sim__three_voters_form_elect_and_commit(void **state)
{
    (void) state;
    struct rig *rig = s_rig_new(1, 3, 0);
    s_up_all(rig);
    s_rig_assert_well(rig, 3000 * MS);
    for (int i = 0; i < 100; i++) {
        assert_ok(s_rig_propose(s_rig_leader_node(rig)));
        s_rig_run(rig, 1 * MS);
    }
    s_rig_assert_well(rig, 1000 * MS);
    assert_true(rig->acked_count >= 100);
    s_rig_destroy(&rig);
}

// A follower that was away gets commands, a configuration and commands in one message. libraft alone would take the
// first for the configuration's place, and never see it decided.
static void test_quorum_sim__a_configuration_amid_commands_is_seen_decided(void **state)
{
    (void) state;
    struct rig *rig = s_rig_new(2, 3, 1);
    s_up_all(rig);
    s_rig_assert_well(rig, 3000 * MS);
    struct rig_node *leader = s_rig_leader_node(rig);
    struct rig_node *away = &rig->nodes[(leader->number + 1) % 3];
    s_rig_cut(rig, leader->number, away->number);
    for (int i = 0; i < 3; i++) assert_ok(s_rig_propose(leader));
    struct weft_quorum_voter voter = {.id = 4, .endpoint = "node-4"};
    struct weft_error error;
    assert_ok(leader->quorum->ops->change(leader->quorum, &voter, false, UINT64_MAX, &error));
    for (int i = 0; i < 20; i++) {
        s_rig_run(rig, 10 * MS);
        assert_ok(s_rig_propose(leader));
    }
    s_rig_reset(leader, away->number); // and what was under way is lost
    s_rig_heal_all(rig);
    s_rig_assert_well(rig, 3000 * MS);
    struct raft *raft = s_inside(away)->raft;
    assert_true(raft->configuration.n == 4);
    assert_int_equal(raft->configuration_uncommitted_index, 0);
    assert_int_equal(raft->configuration_committed_index, s_inside(leader)->raft->configuration_committed_index);
    s_rig_destroy(&rig);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quorum_sim__three_voters_form_elect_and_commit),
        cmocka_unit_test(test_quorum_sim__a_configuration_amid_commands_is_seen_decided),
        cmocka_unit_test(test_quorum_sim__three_voters_agree_whatever_happens),
        cmocka_unit_test(test_quorum_sim__five_voters_agree_whatever_happens),
        cmocka_unit_test(test_quorum_sim__voters_come_and_go_whatever_happens),
        cmocka_unit_test(test_quorum_sim__one_voter_keeps_what_it_acknowledged),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
