// SPDX-License-Identifier: MPL-2.0
// Who the voters are: how they find each other, who is not let in, who comes, goes and grows (FAULTS.md, M10).
#include "quorum_play.h"

// ---- who is who

static void test_quorum_voters__nobody_leads_before_all_listed_were_there_once(void **state)
{
    (void) state;
    struct rig *rig = s_rig_new(60, 3, 0);
    assert_ok(s_rig_up(&rig->nodes[0]));
    assert_ok(s_rig_up(&rig->nodes[1]));
    s_rig_run(rig, 3000 * MS);
    assert_null(s_rig_leader_node(rig));
    assert_non_null(strstr(rig->nodes[0].quorum->ops->waits(rig->nodes[0].quorum), "coordinator 3"));
    s_rig_down(&rig->nodes[0], true); // and begins again
    assert_ok(s_rig_up(&rig->nodes[0]));
    assert_ok(s_rig_up(&rig->nodes[2]));
    s_rig_assert_well(rig, 5000 * MS);
    weft_id_t cluster = rig->nodes[0].quorum->ops->cluster(rig->nodes[0].quorum);
    for (int i = 0; i < 3; i++)
        assert_true(weft_id_equal(cluster, rig->nodes[i].quorum->ops->cluster(rig->nodes[i].quorum)));
    s_rig_destroy(&rig);
}

// The one that forms dies at every moment of it, and so do the others: one cluster comes of it, or none that commits.
static void test_quorum_voters__forming_may_be_interrupted_anywhere(void **state)
{
    (void) state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct rig *rig = s_rig_new(6000 + seed, 3, 0);
        for (int i = 0; i < 3; i++)
            s_rig_push(rig, (struct rig_event){.at_us = rig->now_us + (int64_t) weft_rand_below(&rig->rand, 50 * MS),
                                               .kind = RIG_START,
                                               .node = i});
        for (int kills = 0; kills < 6; kills++) {
            s_rig_run(rig, (int64_t) weft_rand_below(&rig->rand, 60 * MS));
            struct rig_node *node = &rig->nodes[weft_rand_below(&rig->rand, 3)];
            s_rig_down(node, weft_rand_chance(&rig->rand, 700000));
            s_rig_push(rig, (struct rig_event){.at_us = rig->now_us + (int64_t) weft_rand_below(&rig->rand, 40 * MS),
                                               .kind = RIG_START,
                                               .node = node->number});
        }
        s_rig_assert_well(rig, 8000 * MS);
        s_rig_destroy(&rig);
    }
}

// The former is wiped while its offer is under way: two clusters may begin, and never decide anything together.
static void test_quorum_voters__a_former_that_is_wiped_can_not_make_two_quorums(void **state)
{
    (void) state;
    size_t apart = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rig *rig = s_rig_new(7000 + seed, 3, 0);
        s_up_all(rig);
        s_rig_run(rig, (int64_t) weft_rand_below(&rig->rand, 80 * MS));
        if (weft_rand_chance(&rig->rand, 500000)) s_rig_cut(rig, 0, 1 + (int) weft_rand_below(&rig->rand, 2));
        s_rig_run(rig, (int64_t) weft_rand_below(&rig->rand, 80 * MS));
        s_rig_down(&rig->nodes[0], true);
        s_rig_wipe(&rig->nodes[0]);
        assert_ok(s_rig_up(&rig->nodes[0]));
        s_rig_heal_all(rig);
        s_rig_run(rig, 5000 * MS);
        struct rig_node *leader = s_rig_leader_node(rig);
        if (leader) (void) s_rig_propose(leader); // the rig knows one truth only
        s_rig_run(rig, 2000 * MS);
        weft_id_t first = rig->nodes[1].quorum->ops->cluster(rig->nodes[1].quorum);
        weft_id_t second = rig->nodes[2].quorum->ops->cluster(rig->nodes[2].quorum);
        apart += !weft_id_is_zero(first) && !weft_id_is_zero(second) && !weft_id_equal(first, second);
        s_rig_destroy(&rig);
    }
    (void) apart; // rare, and harmless
}

static void test_quorum_voters__a_wiped_disk_is_not_let_back_in(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(61, 3, 0);
    s_write_some(rig, 10);
    struct rig_node *wiped = s_other(rig, s_rig_leader_node(rig));
    s_rig_down(wiped, true);
    s_rig_wipe(wiped);
    assert_ok(s_rig_up(wiped));
    s_rig_run(rig, 3000 * MS);
    const char *waits = wiped->quorum->ops->waits(wiped->quorum);
    assert_non_null(waits);
    assert_non_null(strstr(waits, "another data directory"));
    assert_int_equal(weft_quorum_log_last(&s_inside(wiped)->log), 0);
    // Removed and added again it is welcome.
    struct weft_quorum_voter voter = {.id = wiped->number + 1};
    struct weft_error error;
    snprintf(voter.endpoint, sizeof voter.endpoint, "node-%d", voter.id);
    struct rig_node *leader = s_rig_leader_node(rig);
    assert_ok(leader->quorum->ops->change(leader->quorum, &voter, true, UINT64_MAX, &error));
    s_rig_turn_at(leader, rig->now_us + 1);
    s_rig_run(rig, 1000 * MS);
    assert_int_equal(leader->changes_done, 1);
    assert_ok(leader->quorum->ops->change(leader->quorum, &voter, false, UINT64_MAX, &error));
    s_rig_turn_at(leader, rig->now_us + 1);
    s_rig_run(rig, 3000 * MS);
    assert_int_equal(leader->changes_done, 2);
    assert_null(wiped->quorum->ops->waits(wiped->quorum));
    s_rig_assert_well(rig, 3000 * MS);
    s_rig_destroy(&rig);
}

// A copy of the directory from before is put back: the others know that it had been further.
static void test_quorum_voters__an_old_copy_of_a_directory_gives_up(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(62, 3, 0);
    struct rig_node *stale = s_other(rig, s_rig_leader_node(rig));
    const struct weft_disk *disk = weft_crash_disk_of(stale->disk);
    s_rig_down(stale, false);
    static const char *const kept[] = {"q/vote", "q/log/00000000000000000000.log", "q/log/epochs"};
    weft_buf_t copies[3];
    for (size_t i = 0; i < 3; i++) {
        weft_buf_init(&copies[i]);
        assert_ok(weft_disk_read_file(disk, kept[i], 1 << 20, &copies[i]));
    }
    assert_ok(s_rig_up(stale));
    s_write_some(rig, 15); // it acknowledges these
    s_rig_run(rig, 500 * MS);
    s_rig_down(stale, false);
    assert_ok(weft_disk_remove_tree(disk, "q"));
    assert_ok(disk->ops->mkdir(disk, "q"));
    assert_ok(disk->ops->mkdir(disk, "q/log"));
    for (size_t i = 0; i < 3; i++) {
        assert_ok(weft_disk_replace_file(disk, kept[i], weft_buf_slice(&copies[i])));
        weft_buf_fini(&copies[i]);
    }
    assert_ok(s_rig_up(stale));
    s_rig_run(rig, 2000 * MS);
    const char *failure = stale->quorum->ops->failure(stale->quorum);
    assert_non_null(failure);
    assert_non_null(strstr(failure, "an old copy"));
    s_rig_destroy(&rig);
}

static void test_quorum_voters__a_list_that_can_not_be_right_is_refused(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(63, 3, 0);
    struct rig_node *node = &rig->nodes[1];
    s_rig_down(node, false);
    node->list_count = 0;
    assert_err(s_rig_up(node), WEFT_ERR_INVALID_CONFIG); // of several, and told that it is alone
    node->list[0] = 1;
    node->list[1] = 3;
    node->list_count = 2;
    assert_err(s_rig_up(node), WEFT_ERR_INVALID_CONFIG); // lists all but itself
    node->list[0] = 2;
    node->list[1] = 1;
    assert_ok(s_rig_up(node)); // what the voters decided counts
    s_rig_assert_well(rig, 3000 * MS);
    s_rig_destroy(&rig);
    rig = s_rig_formed(64, 1, 0);
    s_rig_down(&rig->nodes[0], false);
    for (int i = 0; i < 2; i++) rig->nodes[0].list[rig->nodes[0].list_count++] = (char) (i + 1);
    assert_err(s_rig_up(&rig->nodes[0]), WEFT_ERR_INVALID_CONFIG); // two are none
    s_rig_destroy(&rig);
}

// ---- M10, voters that come and go

static void test_quorum_voters__three_grow_to_five_and_shrink_again(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(70, 3, 2);
    struct weft_error error;
    s_write_some(rig, 100);
    assert_ok(s_ask(rig, 4, false, &error));
    assert_err(s_ask(rig, 5, false, &error), WEFT_ERR_VOTER_CHANGE_REFUSED); // one at a time
    s_rig_run(rig, 2000 * MS);
    assert_int_equal(s_voters(rig), 4);
    assert_ok(s_ask(rig, 5, false, &error));
    s_rig_run(rig, 2000 * MS);
    assert_int_equal(s_voters(rig), 5);
    s_write_some(rig, 30);
    s_rig_assert_well(rig, 2000 * MS);
    assert_ok(s_ask(rig, s_rig_leader_node(rig)->number + 1, true, &error)); // hands over, and says so
    s_rig_run(rig, 2000 * MS);
    assert_int_equal(s_voters(rig), 5);
    for (int i = 1; i <= 5; i++)
        if (s_rig_leader_node(rig)->number + 1 != i && s_voters(rig) > 3) {
            assert_ok(s_ask(rig, i, true, &error));
            s_rig_run(rig, 1500 * MS);
        }
    assert_int_equal(s_voters(rig), 3);
    s_rig_assert_well(rig, 3000 * MS);
    s_rig_destroy(&rig);
}

static void test_quorum_voters__changes_that_could_end_badly_are_refused(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(71, 3, 1);
    struct weft_error error;
    assert_err(s_ask(rig, 2, false, &error), WEFT_ERR_VOTER_CHANGE_REFUSED); // is one
    assert_err(s_ask(rig, 9, true, &error), WEFT_ERR_VOTER_CHANGE_REFUSED);  // is none
    struct rig_node *down = s_other(rig, s_rig_leader_node(rig));
    s_rig_down(down, true);
    s_rig_run(rig, 2000 * MS);
    assert_err(s_ask(rig, 4, false, &error), WEFT_ERR_VOTER_CHANGE_REFUSED); // not all are up
    assert_non_null(strstr(error.text, "can't be reached"));
    assert_ok(s_ask(rig, down->number + 1, true, &error)); // but the dead one may go
    s_rig_run(rig, 1000 * MS);
    assert_int_equal(s_voters(rig), 2);
    struct rig_node *follower = NULL;
    for (int i = 0; i < 3; i++)
        if (rig->nodes[i].quorum && !rig->nodes[i].leads) follower = &rig->nodes[i];
    assert_err(s_ask(rig, follower->number + 1, true, &error), WEFT_ERR_VOTER_CHANGE_REFUSED); // fewer than three
    assert_ok(s_ask(rig, 4, false, &error));
    s_rig_run(rig, 3000 * MS);
    assert_int_equal(s_voters(rig), 3);
    s_rig_assert_well(rig, 3000 * MS);
    s_rig_destroy(&rig);
    rig = s_rig_formed(72, 1, 0);
    assert_err(s_ask(rig, 2, false, &error), WEFT_ERR_VOTER_CHANGE_REFUSED); // from one: offline
    s_rig_destroy(&rig);
}

// The leader dies at every moment of an addition.
static void test_quorum_voters__an_addition_may_be_interrupted_anywhere(void **state)
{
    (void) state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rig *rig = s_rig_formed(7200 + seed, 3, 1);
        struct weft_error error;
        s_write_some(rig, 60);
        assert_ok(s_ask(rig, 4, false, &error));
        s_rig_run(rig, (int64_t) seed * 2 * MS);
        struct rig_node *leader = s_rig_leader_node(rig);
        s_rig_down(leader, true);
        s_rig_run(rig, 20 * MS);
        assert_ok(s_rig_up(leader));
        s_rig_assert_well(rig, 8000 * MS); // never without a leader for good
        if (s_voters(rig) == 3 && !weft_quorum_server_of_id(weft_quorum_in_force(s_inside(s_rig_leader_node(rig))), 4))
            assert_ok(s_ask(rig, 4, false, &error));
        s_rig_run(rig, 3000 * MS);
        assert_int_equal(s_voters(rig), 4);
        s_rig_assert_well(rig, 5000 * MS);
        s_rig_destroy(&rig);
    }
}

// The offline step: started with others in its list, the one makes voters of them.
static void test_quorum_voters__one_grows_to_three_and_may_be_interrupted_anywhere(void **state)
{
    (void) state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rig *rig = s_rig_new(7400 + seed, 1, 2);
        assert_ok(s_rig_up(&rig->nodes[0]));
        s_rig_run(rig, 10 * MS);
        s_write_some(rig, (int) seed);
        s_rig_down(&rig->nodes[0], true);
        for (int i = 0; i < 3; i++) {
            rig->nodes[i].list_count = 0;
            for (int j = 0; j < 3; j++) rig->nodes[i].list[rig->nodes[i].list_count++] = (char) (j + 1);
        }
        assert_ok(s_rig_up(&rig->nodes[0]));
        s_rig_run(rig, 1000 * MS);
        assert_false(rig->nodes[0].leads); // it waits for the others
        assert_ok(s_rig_up(&rig->nodes[1]));
        assert_ok(s_rig_up(&rig->nodes[2]));
        for (int kills = 0; kills < 4; kills++) {
            s_rig_run(rig, (int64_t) weft_rand_below(&rig->rand, 80 * MS));
            struct rig_node *node = &rig->nodes[weft_rand_below(&rig->rand, 3)];
            s_rig_down(node, true);
            s_rig_run(rig, (int64_t) weft_rand_below(&rig->rand, 20 * MS));
            assert_ok(s_rig_up(node));
        }
        s_rig_assert_well(rig, 10000 * MS);
        s_rig_run(rig, 3000 * MS);
        assert_int_equal(s_voters(rig), 3);
        for (int i = 0; i < 3; i++) {
            const char *waits = rig->nodes[i].quorum->ops->waits(rig->nodes[i].quorum);
            if (waits) fail_msg("node %d %s", i + 1, waits);
        }
        s_rig_destroy(&rig);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quorum_voters__nobody_leads_before_all_listed_were_there_once),
        cmocka_unit_test(test_quorum_voters__forming_may_be_interrupted_anywhere),
        cmocka_unit_test(test_quorum_voters__a_former_that_is_wiped_can_not_make_two_quorums),
        cmocka_unit_test(test_quorum_voters__a_wiped_disk_is_not_let_back_in),
        cmocka_unit_test(test_quorum_voters__an_old_copy_of_a_directory_gives_up),
        cmocka_unit_test(test_quorum_voters__a_list_that_can_not_be_right_is_refused),
        cmocka_unit_test(test_quorum_voters__three_grow_to_five_and_shrink_again),
        cmocka_unit_test(test_quorum_voters__changes_that_could_end_badly_are_refused),
        cmocka_unit_test(test_quorum_voters__an_addition_may_be_interrupted_anywhere),
        cmocka_unit_test(test_quorum_voters__one_grows_to_three_and_may_be_interrupted_anywhere),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
