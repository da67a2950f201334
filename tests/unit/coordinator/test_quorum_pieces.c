// SPDX-License-Identifier: MPL-2.0
// A snapshot that goes to another voter in pieces: what is lost between two of them, who lies about them, and a state that
// is larger than a frame.
#include "quorum_play.h"

#include <weft_gen/limits.h>

// Three voters, one of them down, and it will need a snapshot of some pieces.
static struct rig *s_rig_behind(uint64_t seed, size_t piece_bytes, struct rig_node **leader, struct rig_node **away)
{
    struct rig *rig = s_rig_new(seed, 3, 0);
    rig->piece_bytes = piece_bytes;
    s_up_all(rig);
    s_rig_assert_well(rig, 5000 * MS);
    *leader = s_rig_leader_node(rig);
    *away = s_other(rig, *leader);
    s_rig_down(*away, true);
    s_write_some(rig, 60);
    assert_ptr_equal(s_rig_leader_node(rig), *leader);
    assert_int_equal(rig->pieces, 0);
    return rig;
}

// Runs until so many pieces more were sent.
static void s_run_pieces(struct rig *rig, size_t count)
{
    int64_t until_us = rig->now_us + 5000 * MS;
    for (size_t at = rig->pieces + count; rig->pieces < at;) {
        s_rig_run(rig, 100);
        assert_true(rig->now_us < until_us);
    }
}

static void s_assert_nothing_kept(struct rig *rig)
{
    for (int i = 0; i < rig->node_count; i++) {
        if (!rig->nodes[i].quorum) continue;
        struct weft_quorum_self *self = s_inside(&rig->nodes[i]);
        assert_int_equal(self->in.total, 0);
        assert_null(self->in.bytes.data);
        for (size_t k = 0; k < self->peer_count; k++) assert_null(self->peers[k].out.whole);
    }
}

static void test_quorum_pieces__make_the_whole_and_are_forgotten(void **state)
{
    (void) state;
    struct rig_node *leader, *away;
    struct rig *rig = s_rig_behind(100, 100, &leader, &away);
    assert_ok(s_rig_up(away));
    s_rig_assert_well(rig, 1000 * MS);
    assert_int_equal(away->restored, 1);
    assert_int_equal(rig->pieces, 10); // 984 bytes: each once
    s_assert_nothing_kept(rig);
    s_rig_destroy(&rig);
}

static void test_quorum_pieces__go_on_behind_a_lost_connection(void **state)
{
    (void) state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct rig_node *leader, *away;
        struct rig *rig = s_rig_behind(200 + seed, 10, &leader, &away); // 99 pieces
        assert_ok(s_rig_up(away));
        for (int i = 0; i < 4; i++) {
            s_run_pieces(rig, 20);
            struct rig_node *from = i % 2 ? leader : away, *to = i % 2 ? away : leader; // pieces, or answers
            s_rig_reset(from, to->number);
            s_rig_connect(from, to->number);
        }
        s_rig_assert_well(rig, 8000 * MS);
        assert_int_equal(away->restored, 1);
        assert_in_range(rig->pieces, 99, 99 + 4 * 6);
        s_assert_nothing_kept(rig);
        s_rig_destroy(&rig);
    }
}

static void test_quorum_pieces__begin_anew_with_a_receiver_that_died(void **state)
{
    (void) state;
    struct rig_node *leader, *away;
    struct rig *rig = s_rig_behind(300, 10, &leader, &away);
    assert_ok(s_rig_up(away));
    for (int i = 0; i < 3; i++) {
        s_run_pieces(rig, 50);
        s_rig_down(away, true);
        s_rig_run(rig, 20 * MS);
        assert_ok(s_rig_up(away));
    }
    s_rig_assert_well(rig, 3000 * MS);
    assert_int_equal(away->restored, 1);
    s_assert_nothing_kept(rig);
    s_rig_destroy(&rig);
}

static void test_quorum_pieces__of_a_leader_that_died_are_no_part_of_the_next_ones(void **state)
{
    (void) state;
    struct rig_node *leader, *away;
    struct rig *rig = s_rig_behind(400, 10, &leader, &away);
    assert_ok(s_rig_up(away));
    s_run_pieces(rig, 50);
    assert_true(s_inside(away)->in.bytes.size > 0);
    s_rig_down(leader, true);
    s_rig_run(rig, 3000 * MS);
    s_rig_assert_well(rig, 3000 * MS);
    assert_int_equal(away->restored, 1);
    s_assert_nothing_kept(rig);
    s_rig_destroy(&rig);
}

// Nothing is kept for one that is gone, and nothing of one that is.
static void test_quorum_pieces__are_dropped_with_the_peer(void **state)
{
    (void) state;
    struct rig_node *leader, *away;
    struct rig *rig = s_rig_behind(500, 10, &leader, &away);
    assert_ok(s_rig_up(away));
    s_run_pieces(rig, 50);
    s_isolate(rig, away);
    assert_true(s_inside(away)->in.total > 0);
    s_rig_run(rig, 25000 * MS);
    s_assert_nothing_kept(rig);
    s_rig_heal_all(rig);
    s_rig_assert_well(rig, 8000 * MS);
    s_rig_destroy(&rig);
}

static bool s_tell(struct weft_quorum_self *self, const struct weft_quorum_request *piece, size_t size)
{
    static const uint8_t bytes[64];
    weft_frame_t whole = WEFT_FRAME_EMPTY;
    bool done = weft_quorum_piece_taken(self, piece, weft_slice(bytes, size), &whole);
    assert_true(done == (whole.size > 0));
    weft_frame_drop(&whole);
    return done;
}

static void test_quorum_pieces__that_do_not_fit_are_thrown_away(void **state)
{
    (void) state;
    struct rig *rig = s_rig_formed(601, 3, 0);
    struct rig_node *node = s_other(rig, s_rig_leader_node(rig));
    struct weft_quorum_self *self = s_inside(node);
    struct weft_quorum_request good;
    weft_quorum_request_init(&good);
    good.kind = 8;
    good.from = s_rig_leader_node(rig)->server;
    good.to = node->server;
    good.term = raft_current_term(self->raft);
    good.index = 1000;
    good.index_term = good.term;
    good.total = 100;
    struct weft_quorum_request bad[] = {good, good, good, good, good, good};
    bad[0].total = (uint64_t) WEFT_STATE_BYTES_MAX + 1;
    bad[1].offset = 100;
    bad[2].offset = UINT64_MAX;
    bad[3].index_term = good.term + 1;
    bad[4].term = good.term - 1;
    bad[5].total = 63;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(s_tell(self, &bad[i], 64));
        assert_int_equal(self->in.total, 0);
    }
    assert_false(s_tell(self, &good, 0));
    good.offset = 36;
    assert_false(s_tell(self, &good, 64)); // without its beginning
    assert_int_equal(self->in.total, 0);
    good.offset = 0;
    assert_false(s_tell(self, &good, 64));
    assert_false(s_tell(self, &good, 64)); // twice
    good.offset = 65;
    assert_false(s_tell(self, &good, 35)); // a gap
    assert_int_equal(self->in.bytes.size, 64);
    struct weft_quorum_request other = good;
    other.offset = 0;
    other.from++;
    assert_false(s_tell(self, &other, 64)); // of the same term: one of them is enough
    assert_int_equal(self->in.server, good.from);
    good.offset = 64;
    assert_true(s_tell(self, &good, 36));
    s_assert_nothing_kept(rig);
    s_rig_destroy(&rig);
}

// Larger than a frame, over a link that carries 20 MiB a second, to the one voter of two that a leader has left: without
// its answers to heartbeats the leader would leave its office.
static void test_quorum_pieces__of_a_state_beyond_a_frame_cost_nobody_the_office(void **state)
{
    (void) state;
    struct rig *rig = s_rig_new(700, 3, 0);
    rig->piece_bytes = 0;
    rig->snapshot_commands = 40;
    s_up_all(rig);
    s_rig_assert_well(rig, 5000 * MS);
    struct rig_node *leader = s_rig_leader_node(rig), *away = s_other(rig, leader), *third = NULL;
    s_rig_down(away, true);
    rig->state_words = 5 * 1024 * 1024; // 40 MiB
    assert_true(rig->state_words * 8 > WEFT_FRAME_BYTES_MAX);
    s_write_some(rig, 100);
    uint64_t term = raft_current_term(s_inside(leader)->raft);
    rig->mib_us = 50 * MS;
    assert_ok(s_rig_up(away));
    s_run_pieces(rig, 4);
    for (int i = 0; i < 3; i++)
        if (&rig->nodes[i] != leader && &rig->nodes[i] != away) third = &rig->nodes[i];
    s_rig_down(third, true);
    int64_t since_us = rig->now_us;
    while (away->last != rig->truth_last) {
        assert_true(rig->now_us - since_us < 8000 * MS);
        s_rig_run(rig, 10 * MS);
        assert_true(leader->leads);
        assert_int_equal(raft_current_term(s_inside(leader)->raft), term);
    }
    assert_true(rig->now_us - since_us > 1500 * MS); // several election timeouts
    s_rig_assert_well(rig, 2000 * MS);
    assert_int_equal(away->restored, 1);
    s_assert_nothing_kept(rig);
    assert_ok(s_rig_up(third));
    s_rig_assert_well(rig, 5000 * MS);
    s_rig_destroy(&rig);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quorum_pieces__make_the_whole_and_are_forgotten),
        cmocka_unit_test(test_quorum_pieces__go_on_behind_a_lost_connection),
        cmocka_unit_test(test_quorum_pieces__begin_anew_with_a_receiver_that_died),
        cmocka_unit_test(test_quorum_pieces__of_a_leader_that_died_are_no_part_of_the_next_ones),
        cmocka_unit_test(test_quorum_pieces__are_dropped_with_the_peer),
        cmocka_unit_test(test_quorum_pieces__that_do_not_fit_are_thrown_away),
        cmocka_unit_test(test_quorum_pieces__of_a_state_beyond_a_frame_cost_nobody_the_office),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
