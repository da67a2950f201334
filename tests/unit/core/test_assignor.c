// SPDX-License-Identifier: MPL-2.0
// Assignors against what their header promises, on scripted and on random inputs.
#include "lib/base/rand.h"
#include "lib/core/assignor.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define TOPICS_MAX 12
#define MEMBERS_MAX 24
#define PARTITIONS_MAX 16
#define RACKS 3

struct world {
    size_t topic_count, member_count;
    struct weft_assign_topic topics[TOPICS_MAX];
    struct weft_assign_member members[MEMBERS_MAX];
    char orders[MEMBERS_MAX][8];
    uint32_t reads[MEMBERS_MAX][TOPICS_MAX];
    uint32_t rack_first[TOPICS_MAX][PARTITIONS_MAX + 1], racks[TOPICS_MAX][PARTITIONS_MAX * 2];
    int32_t owners[TOPICS_MAX][PARTITIONS_MAX];
    int32_t *owner[TOPICS_MAX];
};

static void s_topic(struct world *self, uint32_t partitions)
{
    size_t t = self->topic_count++;
    self->topics[t] = (struct weft_assign_topic){.partition_count = partitions};
    self->topics[t].id.bytes[15] = (uint8_t) (t + 1);
    self->owner[t] = self->owners[t];
    for (size_t p = 0; p < PARTITIONS_MAX; p++) self->owners[t][p] = -1;
}

// Reads all topics of the bits.
static void s_member(struct world *self, uint32_t number, uint32_t topics, uint32_t rack)
{
    size_t m = self->member_count++;
    snprintf(self->orders[m], sizeof self->orders[m], "m%03u", number);
    self->members[m] =
        (struct weft_assign_member){.order = weft_slice_text(self->orders[m]), .rack = rack, .topics = self->reads[m]};
    for (uint32_t t = 0; t < self->topic_count; t++)
        if (topics & (1u << t)) self->reads[m][self->members[m].topic_count++] = t;
}

static void s_assign(struct world *self, enum weft_assignor assignor)
{
    weft_assign(assignor, self->topics, self->topic_count, self->members, self->member_count, self->owner);
}

static bool s_reads(const struct world *self, int32_t member, uint32_t topic)
{
    for (size_t i = 0; i < self->members[member].topic_count; i++)
        if (self->reads[member][i] == topic) return true;
    return false;
}

static uint32_t s_load(const struct world *self, size_t member)
{
    uint32_t load = 0;
    for (size_t t = 0; t < self->topic_count; t++)
        for (uint32_t p = 0; p < self->topics[t].partition_count; p++) load += self->owners[t][p] == (int32_t) member;
    return load;
}

// Everything that somebody reads has an owner, who reads it.
static void s_assert_whole(const struct world *self)
{
    for (uint32_t t = 0; t < self->topic_count; t++) {
        bool read = false;
        for (size_t m = 0; m < self->member_count; m++) read = read || s_reads(self, (int32_t) m, t);
        for (uint32_t p = 0; p < self->topics[t].partition_count; p++) {
            assert_int_equal(self->owners[t][p] >= 0, read);
            if (read) assert_true(s_reads(self, self->owners[t][p], t));
        }
    }
}

static uint32_t s_moves(const struct world *before, const struct world *after)
{
    uint32_t moves = 0;
    for (size_t t = 0; t < after->topic_count; t++)
        for (uint32_t p = 0; p < after->topics[t].partition_count; p++)
            moves += before->owners[t][p] >= 0 && before->owners[t][p] != after->owners[t][p];
    return moves;
}

// ---- uniform

static void test_assignor__names_are_known(void **state)
{
    assert_int_equal(weft_assignor_of_name(weft_slice_text("uniform")), WEFT_ASSIGNOR_UNIFORM);
    assert_int_equal(weft_assignor_of_name(weft_slice_text("range")), WEFT_ASSIGNOR_RANGE);
    assert_int_equal(weft_assignor_of_name(weft_slice_text("fair")), WEFT_ASSIGNOR_NONE);
    assert_int_equal(weft_assignor_of_name(WEFT_SLICE_NIL), WEFT_ASSIGNOR_NONE);
    assert_string_equal(weft_assignor_name(WEFT_ASSIGNOR_RANGE), "range");
}

static void test_assignor__uniform_spreads_each_topic(void **state)
{
    struct world world = {0};
    for (int t = 0; t < 3; t++) s_topic(&world, 4);
    for (uint32_t m = 0; m < 4; m++) s_member(&world, m, 7, UINT32_MAX);
    s_assign(&world, WEFT_ASSIGNOR_UNIFORM);
    for (size_t t = 0; t < 3; t++)
        for (int32_t m = 0; m < 4; m++) {
            uint32_t of_topic = 0;
            for (uint32_t p = 0; p < 4; p++) of_topic += world.owners[t][p] == m;
            assert_int_equal(of_topic, 1); // a busy topic is not one member's alone
        }
}

static void s_random(struct world *self, weft_rand_t *rand, bool equal, bool racks)
{
    memset(self, 0, sizeof *self);
    size_t topics = 1 + weft_rand_below(rand, TOPICS_MAX), members = 1 + weft_rand_below(rand, MEMBERS_MAX);
    for (size_t t = 0; t < topics; t++) s_topic(self, 1 + (uint32_t) weft_rand_below(rand, PARTITIONS_MAX));
    for (uint32_t m = 0; m < members; m++) {
        uint32_t reads = equal ? (1u << topics) - 1 : (uint32_t) weft_rand_below(rand, 1u << topics);
        uint32_t rack = racks && weft_rand_below(rand, 4) ? (uint32_t) weft_rand_below(rand, RACKS) : UINT32_MAX;
        s_member(self, (m * 7919) % 1000, reads, rack < members ? rack : UINT32_MAX);
    }
    for (size_t t = 0; t < topics; t++) {
        uint32_t used = 0;
        for (uint32_t p = 0; p < self->topics[t].partition_count; p++) {
            self->rack_first[t][p] = used;
            for (uint32_t r = 0; r < 2; r++) self->racks[t][used++] = (uint32_t) weft_rand_below(rand, RACKS);
            if (weft_rand_below(rand, 3)) self->owners[t][p] = (int32_t) weft_rand_below(rand, members);
        }
        self->rack_first[t][self->topics[t].partition_count] = used;
        if (!racks) continue;
        self->topics[t].rack_first = self->rack_first[t];
        self->topics[t].racks = self->racks[t];
    }
}

// Balance first, then as few moves as that takes: what members have above their share, the higher shares being for those
// that have them.
static uint32_t s_moves_min(const struct world *before)
{
    uint32_t total = 0, loads[MEMBERS_MAX], moves = 0;
    for (size_t t = 0; t < before->topic_count; t++) total += before->topics[t].partition_count;
    uint32_t each = total / (uint32_t) before->member_count, longer = total % (uint32_t) before->member_count;
    for (size_t m = 0; m < before->member_count; m++) {
        loads[m] = s_load(before, m);
        uint32_t quota = each;
        if (loads[m] > each && longer) {
            quota++;
            longer--;
        }
        if (loads[m] > quota) moves += loads[m] - quota;
    }
    return moves;
}

static void test_assignor__uniform_is_balanced_and_moves_no_more_than_needed(void **state)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 4711);
    struct world before, after;
    for (int round = 0; round < 3000; round++) {
        s_random(&before, &rand, true, round % 2);
        after = before;
        for (size_t t = 0; t < after.topic_count; t++) after.owner[t] = after.owners[t];
        s_assign(&after, WEFT_ASSIGNOR_UNIFORM);
        s_assert_whole(&after);
        uint32_t low = UINT32_MAX, high = 0;
        for (size_t m = 0; m < after.member_count; m++) {
            uint32_t load = s_load(&after, m);
            if (load < low) low = load;
            if (load > high) high = load;
        }
        assert_true(high - low <= 1);
        assert_int_equal(s_moves(&before, &after), s_moves_min(&before));
        before = after; // nothing left to do
        for (size_t t = 0; t < after.topic_count; t++) before.owner[t] = before.owners[t];
        s_assign(&before, WEFT_ASSIGNOR_UNIFORM);
        assert_int_equal(s_moves(&after, &before), 0);
    }
}

static void test_assignor__uniform_of_different_subscriptions_has_no_better_move(void **state)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 815);
    struct world before, after;
    for (int round = 0; round < 3000; round++) {
        s_random(&before, &rand, false, round % 2);
        after = before;
        for (size_t t = 0; t < after.topic_count; t++) after.owner[t] = after.owners[t];
        s_assign(&after, WEFT_ASSIGNOR_UNIFORM);
        s_assert_whole(&after);
        for (uint32_t t = 0; t < after.topic_count; t++)
            for (size_t m = 0; m < after.member_count; m++)
                for (uint32_t p = 0; s_reads(&after, (int32_t) m, t) && p < after.topics[t].partition_count; p++)
                    assert_true(s_load(&after, m) + 1 >= s_load(&after, (size_t) after.owners[t][p]));
        before = after;
        for (size_t t = 0; t < after.topic_count; t++) before.owner[t] = before.owners[t];
        s_assign(&before, WEFT_ASSIGNOR_UNIFORM);
        assert_int_equal(s_moves(&after, &before), 0);
    }
}

static void test_assignor__nothing_depends_on_the_order_of_joining(void **state)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 12);
    struct world one, other;
    for (int round = 0; round < 500; round++) {
        s_random(&one, &rand, round % 2, true);
        other = one;
        size_t count = one.member_count;
        for (size_t t = 0; t < one.topic_count; t++) {
            other.owner[t] = other.owners[t];
            for (uint32_t p = 0; p < PARTITIONS_MAX; p++)
                if (one.owners[t][p] >= 0) other.owners[t][p] = (int32_t) count - 1 - one.owners[t][p];
        }
        for (size_t m = 0; m < count; m++) other.members[m] = one.members[count - 1 - m];
        enum weft_assignor assignor = round % 3 ? WEFT_ASSIGNOR_UNIFORM : WEFT_ASSIGNOR_RANGE;
        s_assign(&one, assignor);
        s_assign(&other, assignor);
        for (size_t t = 0; t < one.topic_count; t++)
            for (uint32_t p = 0; p < one.topics[t].partition_count; p++)
                assert_int_equal(other.owners[t][p] < 0 ? -1 : (int32_t) count - 1 - other.owners[t][p],
                                 one.owners[t][p]);
    }
}

static void test_assignor__free_partitions_go_to_their_racks(void **state)
{
    struct world world = {0};
    s_topic(&world, 12);
    for (uint32_t m = 0; m < 3; m++) s_member(&world, m, 1, m);
    for (uint32_t p = 0; p < 12; p++) {
        world.rack_first[0][p] = p;
        world.racks[0][p] = (p / 4 + 1) % 3; // 0 to 3 in rack 1, ...
    }
    world.rack_first[0][12] = 12;
    world.topics[0].rack_first = world.rack_first[0];
    world.topics[0].racks = world.racks[0];
    world.owners[0][0] = 0; // far, but it has it
    s_assign(&world, WEFT_ASSIGNOR_UNIFORM);
    assert_int_equal(world.owners[0][0], 0);
    uint32_t far = 0;
    for (uint32_t p = 0; p < 12; p++) far += world.owners[0][p] != (int32_t) world.racks[0][p];
    assert_int_equal(far, 2); // the one, and one that had to make room
    for (uint32_t p = 0; p < 12; p++) world.owners[0][p] = 0;
    s_assign(&world, WEFT_ASSIGNOR_UNIFORM); // has all, gives away what is far
    for (uint32_t p = 0; p < 12; p++) assert_int_equal(world.owners[0][p], world.racks[0][p]);
}

/** Many members, none of which subscribes as another. */
struct crowd {
    struct weft_assign_topic *topics;
    struct weft_assign_member *members;
    char (*orders)[8];
    uint32_t *reads;
    int32_t *owners, **owner;
};

static struct crowd s_crowd(size_t topics, uint32_t partitions, size_t members)
{
    struct crowd out = {.topics = weft_calloc(topics, sizeof *out.topics),
                        .members = weft_calloc(members, sizeof *out.members),
                        .orders = weft_calloc(members, sizeof *out.orders),
                        .reads = weft_calloc(members * topics, sizeof *out.reads),
                        .owners = weft_alloc(topics * partitions * sizeof *out.owners),
                        .owner = weft_calloc(topics, sizeof *out.owner)};
    for (size_t t = 0; t < topics; t++) {
        out.topics[t] = (struct weft_assign_topic){.partition_count = partitions};
        out.owner[t] = out.owners + t * partitions;
        for (size_t p = 0; p < partitions; p++) out.owner[t][p] = -1;
    }
    for (size_t m = 0; m < members; m++) {
        struct weft_assign_member *member = &out.members[m];
        snprintf(out.orders[m], sizeof out.orders[m], "m%05u", (unsigned) m);
        *member = (struct weft_assign_member){
            .order = weft_slice_text(out.orders[m]), .rack = UINT32_MAX, .topics = out.reads + m * topics};
        for (uint32_t t = 0; t < topics; t++)
            if (t != m % topics && t != m / topics) out.reads[m * topics + member->topic_count++] = t;
    }
    return out;
}

static void s_crowd_free(struct crowd *self)
{
    free(self->topics);
    free(self->members);
    free(self->orders);
    free(self->reads);
    free(self->owners);
    free(self->owner);
}

// Where the least loaded can't be looked for each time (2000 classes, 100,000 partitions: 21 ms in a release build), who
// has most has little more than who has least.
static void test_assignor__uniform_of_a_crowd_is_bounded_and_nearly_balanced(void **state)
{
    enum { TOPICS = 200, PARTITIONS = 500, MEMBERS = 2000 };
    struct crowd crowd = s_crowd(TOPICS, PARTITIONS, MEMBERS);
    clock_t since = clock();
    weft_assign(WEFT_ASSIGNOR_UNIFORM, crowd.topics, TOPICS, crowd.members, MEMBERS, crowd.owner);
    double took_ms = (double) (clock() - since) * 1000 / CLOCKS_PER_SEC;
    uint32_t *loads = weft_calloc(MEMBERS, sizeof *loads), low = UINT32_MAX, high = 0;
    for (size_t i = 0; i < (size_t) TOPICS * PARTITIONS; i++) loads[crowd.owners[i]]++;
    for (size_t m = 0; m < MEMBERS; m++) {
        low = loads[m] < low ? loads[m] : low;
        high = loads[m] > high ? loads[m] : high;
    }
    print_message("%.1f ms, %u to %u partitions a member\n", took_ms, low, high);
    assert_in_range(high, 50, 60);
    assert_in_range(low, 40, 50);
    assert_true(took_ms < 5000); // a debug build under sanitizers, on a busy machine
    free(loads);
    s_crowd_free(&crowd);
}

// ---- range

static void test_assignor__range_gives_equal_ranges_in_order(void **state)
{
    struct world world = {0};
    s_topic(&world, 7);
    s_topic(&world, 2);
    s_member(&world, 3, 1, UINT32_MAX); // third in order
    s_member(&world, 1, 3, UINT32_MAX);
    s_member(&world, 2, 1, UINT32_MAX);
    world.owners[0][6] = 1; // not sticky
    s_assign(&world, WEFT_ASSIGNOR_RANGE);
    const int32_t expected[7] = {1, 1, 1, 2, 2, 0, 0};
    assert_memory_equal(world.owners[0], expected, sizeof expected);
    assert_int_equal(world.owners[1][0], 1);
    assert_int_equal(world.owners[1][1], 1);
    s_assert_whole(&world);
}

static void test_assignor__range_puts_equal_topics_side_by_side(void **state)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 77);
    struct world world;
    for (int round = 0; round < 500; round++) {
        s_random(&world, &rand, true, false);
        s_assign(&world, WEFT_ASSIGNOR_RANGE);
        s_assert_whole(&world);
        for (size_t a = 0; a < world.topic_count; a++)
            for (size_t b = 0; b < a; b++)
                if (world.topics[a].partition_count == world.topics[b].partition_count)
                    assert_memory_equal(world.owners[a], world.owners[b],
                                        world.topics[a].partition_count * sizeof(int32_t));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_assignor__names_are_known),
        cmocka_unit_test(test_assignor__uniform_spreads_each_topic),
        cmocka_unit_test(test_assignor__uniform_is_balanced_and_moves_no_more_than_needed),
        cmocka_unit_test(test_assignor__uniform_of_different_subscriptions_has_no_better_move),
        cmocka_unit_test(test_assignor__uniform_of_a_crowd_is_bounded_and_nearly_balanced),
        cmocka_unit_test(test_assignor__nothing_depends_on_the_order_of_joining),
        cmocka_unit_test(test_assignor__free_partitions_go_to_their_racks),
        cmocka_unit_test(test_assignor__range_gives_equal_ranges_in_order),
        cmocka_unit_test(test_assignor__range_puts_equal_topics_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
