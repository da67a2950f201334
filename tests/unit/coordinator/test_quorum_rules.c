// SPDX-License-Identifier: MPL-2.0
// The rules of the quorum one by one: each interleaving and each kind of damage by hand (FAULTS.md, M5, M6, M9, M14).
#include "quorum_play.h"

// ---- M5, figure 8 of the Raft paper: an entry of an old term on a majority is not decided by being counted

static void s_figure_8(int voters)
{
    struct rig *rig = s_rig_formed(8, voters, 0);
    uint64_t last = rig->truth_last;
    // Three leaders in turn write one entry that nobody else gets, and die.
    for (int round = 0; round < 3; round++) {
        struct rig_node *leader = s_rig_leader_node(rig);
        assert_non_null(leader);
        s_isolate(rig, leader);
        assert_ok(s_rig_propose(leader));
        s_rig_run(rig, 30 * MS);
        assert_true(weft_quorum_log_last(&s_inside(leader)->log) > last);
        assert_true(leader->last <= rig->truth_last);
        s_rig_down(leader, false); // what was synced is kept
        s_rig_heal_all(rig);
        s_rig_run(rig, 2500 * MS); // the others elect one
        assert_non_null(s_rig_leader_node(rig));
        assert_ok(s_rig_up(leader));
        s_rig_run(rig, 500 * MS);
    }
    s_rig_assert_well(rig, 5000 * MS); // the rig has seen no two truths at one index
    s_rig_destroy(&rig);
}

static void test_quorum_rules__entries_of_old_terms_are_not_decided_by_counting(void **state)
{
    (void) state;
    s_figure_8(3);
    s_figure_8(5);
}

// An old leader that heard nothing of its end serves no read and acknowledges nothing.
static void test_quorum_rules__a_leader_cut_off_answers_nothing(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(2, 3, 0);
    struct rig_node *old = s_rig_leader_node(rig);
    s_isolate(rig, old);
    uint64_t acked = rig->acked_count;
    assert_ok(s_rig_propose(old));
    s_rig_barrier(old);
    s_rig_run(rig, 250 * MS); // it still believes that it leads
    assert_int_equal(rig->acked_count, acked);
    assert_int_equal(old->barriers_done, 0);
    s_rig_run(rig, 3000 * MS);
    assert_false(old->leads); // it stepped down by itself
    assert_int_equal(old->lost, 2);
    struct rig_node *leader = s_rig_leader_node(rig);
    assert_non_null(leader);
    assert_ptr_not_equal(leader, old);
    s_write_some(rig, 3);
    s_rig_heal_all(rig);
    s_rig_assert_well(rig, 5000 * MS);
    s_rig_destroy(&rig);
}

// A pause of the leader: whoever proposed to it meanwhile is told, and nothing is acknowledged twice over.
static void test_quorum_rules__a_leader_that_slept_is_no_leader(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(3, 3, 0);
    struct rig_node *old = s_rig_leader_node(rig);
    old->paused_until_us = rig->now_us + 5000 * MS;
    s_rig_run(rig, 3000 * MS);
    struct rig_node *leader = NULL;
    for (int i = 0; i < 3; i++)
        if (&rig->nodes[i] != old && rig->nodes[i].leads) leader = &rig->nodes[i];
    assert_non_null(leader);
    assert_ok(s_rig_propose(leader));
    s_rig_barrier(old); // asked while it sleeps
    s_rig_run(rig, 4000 * MS);
    assert_false(old->leads);
    assert_int_equal(old->barriers_done, 0);
    s_rig_assert_well(rig, 3000 * MS);
    s_rig_destroy(&rig);
}

// ---- M6, snapshots

static void test_quorum_rules__one_that_was_away_for_long_gets_a_snapshot(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(4, 3, 0);
    struct rig_node *away = s_other(rig, s_rig_leader_node(rig));
    s_rig_down(away, true);
    s_write_some(rig, 150);
    assert_ok(s_rig_up(away));
    s_rig_assert_well(rig, 5000 * MS);
    assert_true(s_inside(away)->snapshot.installed);
    assert_true(s_inside(away)->log.first > 100);
    s_rig_down(away, true);
    assert_ok(s_rig_up(away)); // and starts from it
    s_rig_assert_well(rig, 5000 * MS);
    s_rig_destroy(&rig);
}

// Power is lost at every moment of an installation.
static void test_quorum_rules__an_installation_may_be_interrupted_anywhere(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(5, 3, 0);
    struct rig_node *away = s_other(rig, s_rig_leader_node(rig));
    size_t interrupted = 0;
    for (int64_t delay = 1; delay < 60; delay++) {
        s_rig_down(away, true);
        s_write_some(rig, 45);
        away->sync_us = 20 * MS;
        assert_ok(s_rig_up(away));
        for (int n = 0; n < 400 && !s_inside(away)->install_pending; n++) s_rig_run(rig, 5 * MS);
        s_rig_run(rig, delay * MS);
        interrupted += s_inside(away)->install_pending;
        s_rig_down(away, delay % 3 != 0);
        assert_ok(s_rig_up(away));
        away->sync_us = 3 * MS;
        s_rig_assert_well(rig, 5000 * MS);
    }
    assert_true(interrupted > 10);
    s_rig_destroy(&rig);
}

// ---- M9, damage: repaired, refused with a sentence, or never looked at; never silent

static void s_fill(struct rig *rig, int count)
{
    s_write_some(rig, count);
    s_rig_run(rig, 200 * MS);
}

// Every bit that rots in a file of one voter of three.
static void test_quorum_rules__a_flipped_bit_is_refused_or_repaired(void **state)
{
    (void) state;
    static const char *const files[] = {"vote", "snapshot", ".log", ".index", "epochs", "checkpoint", NULL};
    size_t refused = 0, survived = 0;
    for (uint64_t seed = 1; seed <= 90; seed++) {
        struct rig *rig = s_rig_formed(900 + seed, seed % 3 ? 3 : 1, 0);
        s_fill(rig, 30 + (int) seed);
        struct rig_node *victim = &rig->nodes[0];
        s_rig_down(victim, false);
        char path[256] = "";
        const char *suffix = files[seed % 7];
        if (weft_crash_disk_flip(victim->disk, &rig->rand, suffix, path, sizeof path)) {
            if (s_rig_up(victim) != WEFT_OK) {
                assert_true(strlen(victim->error.text) > 30);
                refused++;
            } else {
                survived++;
                s_rig_run(rig, 1000 * MS);
                if (victim->quorum->ops->failure(victim->quorum)) { // the others know that it had more
                    assert_non_null(strstr(victim->quorum->ops->failure(victim->quorum), "data directory"));
                    s_rig_down(victim, false);
                }
            }
        }
        if (rig->node_count > 1 || victim->quorum) s_rig_assert_well(rig, 8000 * MS);
        s_rig_destroy(&rig);
    }
    assert_true(refused > 10 && survived > 10);
}

static weft_err_t s_start_without(struct rig *rig, struct rig_node *node, const char *path)
{
    const struct weft_disk *disk = weft_crash_disk_of(node->disk);
    s_rig_down(node, false);
    assert_ok(strcmp(path, "q/log") == 0 ? weft_disk_remove_tree(disk, path) : disk->ops->unlink(disk, path));
    (void) rig;
    return s_rig_up(node);
}

static void test_quorum_rules__a_file_that_is_gone_is_refused(void **state)
{
    (void) state;
    static const char *const paths[] = {"q/vote", "q/snapshot", "q/log"};
    for (size_t i = 0; i < 3; i++) {
        struct rig *rig = s_rig_formed(30 + i, 3, 0);
        s_fill(rig, 100);
        struct rig_node *victim = s_other(rig, s_rig_leader_node(rig));
        assert_err(s_start_without(rig, victim, paths[i]), WEFT_ERR_DAMAGED);
        assert_true(strlen(victim->error.text) > 30);
        s_rig_assert_well(rig, 3000 * MS); // the others go on
        s_rig_destroy(&rig);
    }
}

// Not even with the checkpoint gone too: the vote knows what was decided.
static void test_quorum_rules__a_log_that_is_gone_is_missed_by_the_vote(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(40, 3, 0);
    s_fill(rig, 100);
    struct rig_node *victim = s_other(rig, s_rig_leader_node(rig));
    const struct weft_disk *disk = weft_crash_disk_of(victim->disk);
    s_rig_down(victim, false);
    assert_ok(disk->ops->unlink(disk, "q/checkpoint"));
    assert_ok(disk->ops->unlink(disk, "q/snapshot"));
    assert_ok(weft_disk_remove_tree(disk, "q/log"));
    assert_err(s_rig_up(victim), WEFT_ERR_DAMAGED);
    s_rig_destroy(&rig);
}

static void s_blank(const struct weft_disk *disk, int64_t slot)
{
    static const uint8_t zeros[512] = {0};
    weft_file_t *file = NULL;
    weft_slice_t slice = weft_slice(zeros, sizeof zeros);
    assert_ok(disk->ops->open(disk, "q/vote", WEFT_OPEN_WRITE, &file));
    assert_ok(disk->ops->pwritev(file, &slice, 1, slot * 512));
    disk->ops->close(&file);
}

static void test_quorum_rules__one_slot_of_the_vote_is_enough(void **state)
{
    (void) state;
    weft_crash_disk_t *crash = weft_crash_disk_new(1);
    const struct weft_disk *disk = weft_crash_disk_of(crash);
    struct weft_quorum_vote vote = {.server = 7, .term = 3, .voted_for = 9, .committed = 11}, read;
    struct weft_error error;
    assert_ok(disk->ops->mkdir(disk, "q"));
    assert_err(weft_quorum_vote_open(disk, "q/vote", &read, &error), WEFT_ERR_NOT_FOUND);
    assert_ok(weft_quorum_vote_store(disk, "q/vote", &vote));
    vote.term = 4;
    assert_ok(weft_quorum_vote_store(disk, "q/vote", &vote));
    for (int64_t slot = 0; slot < 2; slot++) {
        s_blank(disk, slot);
        assert_ok(weft_quorum_vote_open(disk, "q/vote", &read, &error)); // and is whole again
        assert_true(read.term == 4 && read.voted_for == 9 && read.committed == 11 && read.server == 7);
    }
    s_blank(disk, 0);
    s_blank(disk, 1);
    assert_err(weft_quorum_vote_open(disk, "q/vote", &read, &error), WEFT_ERR_DAMAGED);
    weft_crash_disk_destroy(&crash);
}

// ---- disks

static void test_quorum_rules__a_disk_that_fails_ends_the_voter_and_nothing_else(void **state)
{
    (void) state;
    const struct weft_crash_disk_faults faults[] = {
        {.write_eio = 1000000}, {.sync_eio = 1000000}, {.read_eio = 1000000, .write_eio = 1000000}};
    for (size_t i = 0; i < 3; i++) {
        struct rig *rig = s_rig_formed(50 + i, 3, 0);
        struct rig_node *victim = s_rig_leader_node(rig);
        weft_crash_disk_faults_set(victim->disk, &faults[i]);
        (void) s_rig_propose(victim);
        s_rig_run(rig, 1000 * MS);
        assert_non_null(victim->quorum->ops->failure(victim->quorum));
        assert_false(victim->leads);
        assert_non_null(strstr(victim->quorum->ops->failure(victim->quorum), "disk"));
        s_rig_down(victim, true);
        weft_crash_disk_faults_set(victim->disk, &(struct weft_crash_disk_faults){0});
        s_rig_assert_well(rig, 3000 * MS);
        assert_ok(s_rig_up(victim));
        s_rig_assert_well(rig, 3000 * MS);
        s_rig_destroy(&rig);
    }
}

static void test_quorum_rules__a_sync_that_hangs_ends_the_voter(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(53, 3, 0);
    struct rig_node *victim = s_rig_leader_node(rig);
    victim->stall_us = 10000 * MS;
    assert_ok(s_rig_propose(victim));
    int64_t until = rig->now_us + 3600 * MS;
    while (rig->now_us < until) {
        s_rig_run(rig, 100 * MS);
        s_rig_turn_at(victim, rig->now_us + 1);
    }
    assert_non_null(victim->quorum->ops->failure(victim->quorum));
    assert_non_null(strstr(victim->quorum->ops->failure(victim->quorum), "3 s"));
    s_rig_down(victim, true);
    s_rig_assert_well(rig, 5000 * MS);
    s_rig_destroy(&rig);
}

// A full disk of the leader refuses what it is given, hands over, and follows again once there is room.
static void test_quorum_rules__a_full_disk_makes_room_for_another_leader(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(54, 3, 0);
    struct rig_node *full = s_rig_leader_node(rig);
    weft_crash_disk_faults_set(full->disk, &(struct weft_crash_disk_faults){.write_enospc = 1000000});
    assert_ok(s_rig_propose(full));
    s_rig_run(rig, 100 * MS);
    assert_int_equal(full->lost_code, WEFT_ERR_DISK_FULL);
    s_rig_run(rig, 3000 * MS);
    struct rig_node *leader = s_rig_leader_node(rig);
    assert_non_null(leader);
    assert_ptr_not_equal(leader, full);
    s_write_some(rig, 60); // past a snapshot
    assert_null(full->quorum->ops->failure(full->quorum));
    weft_crash_disk_faults_set(full->disk, &(struct weft_crash_disk_faults){0});
    s_rig_assert_well(rig, 8000 * MS);
    s_rig_destroy(&rig);
}

// ---- stops

static void test_quorum_rules__a_clean_stop_leaves_no_gap(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(80, 3, 0);
    for (int round = 0; round < 6; round++) {
        struct rig_node *leader = s_rig_leader_node(rig);
        assert_ok(s_rig_propose(leader));
        leader->quorum->ops->stop(leader->quorum);
        s_rig_turn_at(leader, rig->now_us + 1);
        int64_t asked = rig->now_us;
        while (!leader->quorum->ops->stopped(leader->quorum) && rig->now_us < asked + 2000 * MS) {
            s_rig_run(rig, 1 * MS);
            s_rig_turn_at(leader, rig->now_us + 1);
        }
        assert_true(leader->quorum->ops->stopped(leader->quorum));
        s_rig_down(leader, false);
        while (!s_rig_leader_node(rig)) s_rig_run(rig, 1 * MS);
        assert_true(rig->now_us - asked < RIG_ELECTION_MS * MS / 2); // nobody had to time out
        assert_ok(s_rig_up(leader));
        s_rig_assert_well(rig, 3000 * MS);
    }
    s_rig_destroy(&rig);
}

// M14
static void test_quorum_rules__one_voter_starts_again_two_hundred_times(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(90, 1, 0);
    for (int i = 0; i < 200; i++) {
        s_write_some(rig, 3);
        uint64_t acked = rig->acked_last;
        s_rig_down(&rig->nodes[0], i % 2);
        assert_ok(s_rig_up(&rig->nodes[0]));
        s_rig_run(rig, 1 * MS);
        assert_true(rig->nodes[0].leads); // at once
        assert_true(rig->nodes[0].last >= acked);
    }
    s_rig_destroy(&rig);
}

// I8: whatever bytes come, no voter crashes; one that can't believe what it is told gives up with a sentence.
static void test_quorum_rules__garbled_messages_crash_nobody(void **state)
{
    (void) state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rig *rig = s_rig_formed(9100 + seed, 3, 0);
        rig->garble = 300000;
        for (int i = 0; i < 300; i++) {
            s_rig_run(rig, 20 * MS);
            struct rig_node *node = &rig->nodes[weft_rand_below(&rig->rand, 3)];
            if (node->quorum && node->leads) (void) s_rig_propose(node);
            if (!node->quorum || i % 60 == 0) {
                s_rig_down(node, false);
                (void) !s_rig_up(node);
            }
        }
        s_rig_destroy(&rig);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quorum_rules__entries_of_old_terms_are_not_decided_by_counting),
        cmocka_unit_test(test_quorum_rules__a_leader_cut_off_answers_nothing),
        cmocka_unit_test(test_quorum_rules__a_leader_that_slept_is_no_leader),
        cmocka_unit_test(test_quorum_rules__one_that_was_away_for_long_gets_a_snapshot),
        cmocka_unit_test(test_quorum_rules__an_installation_may_be_interrupted_anywhere),
        cmocka_unit_test(test_quorum_rules__a_flipped_bit_is_refused_or_repaired),
        cmocka_unit_test(test_quorum_rules__a_file_that_is_gone_is_refused),
        cmocka_unit_test(test_quorum_rules__a_log_that_is_gone_is_missed_by_the_vote),
        cmocka_unit_test(test_quorum_rules__one_slot_of_the_vote_is_enough),
        cmocka_unit_test(test_quorum_rules__a_disk_that_fails_ends_the_voter_and_nothing_else),
        cmocka_unit_test(test_quorum_rules__a_sync_that_hangs_ends_the_voter),
        cmocka_unit_test(test_quorum_rules__a_full_disk_makes_room_for_another_leader),
        cmocka_unit_test(test_quorum_rules__a_clean_stop_leaves_no_gap),
        cmocka_unit_test(test_quorum_rules__one_voter_starts_again_two_hundred_times),
        cmocka_unit_test(test_quorum_rules__garbled_messages_crash_nobody),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
