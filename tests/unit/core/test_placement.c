// SPDX-License-Identifier: MPL-2.0
// Placement: replicas on different live brokers, in different racks where there are such, leaders and replicas
// even.
#include "core/cluster.h"
#include "tests/support/test.h"

#include <weft_gen/commands.h>

#include <stdio.h>
#include <string.h>

enum { PARTITIONS_MAX = 1000, BROKERS_MAX = 64 };

static weft_id_t s_id(int32_t number)
{
    weft_id_t id = {{1}};
    id.bytes[14] = (uint8_t) (number >> 8);
    id.bytes[15] = (uint8_t) number;
    return id;
}

static void s_apply(weft_cluster_t *cluster, const weft_buf_t *command)
{
    assert_ok(weft_cluster_apply(cluster, weft_cluster_index(cluster) + 1, weft_buf_slice(command), NULL, NULL, NULL));
}

static void s_broker(weft_cluster_t *cluster, int32_t id, const char *rack)
{
    struct weft_broker_registered_command it;
    weft_broker_registered_command_init(&it);
    weft_slice_t endpoint = weft_slice_text("inproc://x");
    it.broker_id = id;
    it.incarnation = s_id(id);
    it.endpoints = &endpoint;
    it.endpoints_count = 1;
    it.rack = weft_slice_text(rack);
    weft_buf_t command;
    weft_buf_init(&command);
    weft_broker_registered_command_encode(&it, &command);
    s_apply(cluster, &command);
    weft_buf_fini(&command);
}

static void s_fence(weft_cluster_t *cluster, int32_t id)
{
    struct weft_broker_fenced_command it;
    weft_broker_fenced_command_init(&it);
    it.broker_id = id;
    it.incarnation = s_id(id);
    weft_buf_t command;
    weft_buf_init(&command);
    weft_broker_fenced_command_encode(&it, &command);
    s_apply(cluster, &command);
    weft_buf_fini(&command);
}

static void s_create(weft_cluster_t *cluster, int32_t number, int32_t (*placed)[WEFT_REPLICAS_MAX], uint32_t partitions,
                     uint32_t replicas)
{
    struct weft_placement placement[PARTITIONS_MAX];
    for (uint32_t i = 0; i < partitions; i++)
        placement[i] = (struct weft_placement){.replicas = placed[i], .replicas_count = replicas};
    char name[16];
    snprintf(name, sizeof name, "t%d", number);
    struct weft_topic_created_command it;
    weft_topic_created_command_init(&it);
    it.topic_id = s_id(1000 + number);
    it.topic = weft_slice_text(name);
    it.placement = placement;
    it.placement_count = partitions;
    weft_buf_t command;
    weft_buf_init(&command);
    weft_topic_created_command_encode(&it, &command);
    s_apply(cluster, &command);
    weft_buf_fini(&command);
}

static int32_t s_placed[PARTITIONS_MAX][WEFT_REPLICAS_MAX];

// How many replicas and leaders each broker got.
static void s_count(uint32_t partitions, uint32_t replicas, uint32_t stored[BROKERS_MAX], uint32_t led[BROKERS_MAX])
{
    memset(stored, 0, BROKERS_MAX * sizeof *stored);
    memset(led, 0, BROKERS_MAX * sizeof *led);
    for (uint32_t p = 0; p < partitions; p++) {
        led[s_placed[p][0]]++;
        for (uint32_t r = 0; r < replicas; r++) {
            stored[s_placed[p][r]]++;
            for (uint32_t q = 0; q < r; q++) assert_int_not_equal(s_placed[p][r], s_placed[p][q]);
        }
    }
}

static void test_placement__is_even_and_never_twice_on_a_broker(void **state)
{
    (void) state;
    for (uint32_t brokers = 1; brokers <= 20; brokers += 3) {
        for (uint32_t replicas = 1; replicas <= brokers && replicas <= 5; replicas++) {
            weft_cluster_t *cluster = weft_cluster_new();
            weft_rand_t rand;
            weft_rand_init(&rand, brokers * 10 + replicas);
            for (uint32_t i = 0; i < brokers; i++) s_broker(cluster, (int32_t) i, "");
            assert_ok(weft_placement(cluster, 600, replicas, &rand, s_placed, NULL));
            uint32_t stored[BROKERS_MAX], led[BROKERS_MAX];
            s_count(600, replicas, stored, led);
            for (uint32_t i = 0; i < brokers; i++) {
                assert_in_range(led[i], 600 / brokers, 600 / brokers + 1);
                assert_in_range(stored[i], 600 * replicas / brokers - 2, 600 * replicas / brokers + 3);
            }
            weft_cluster_destroy(&cluster);
        }
    }
}

static void test_placement__spreads_over_racks(void **state)
{
    (void) state;
    weft_cluster_t *cluster = weft_cluster_new();
    weft_rand_t rand;
    weft_rand_init(&rand, 4);
    static const char *const racks[] = {"a", "b", "c"};
    for (int32_t i = 0; i < 9; i++) s_broker(cluster, i, racks[i % 3]);
    assert_ok(weft_placement(cluster, 90, 3, &rand, s_placed, NULL));
    for (uint32_t p = 0; p < 90; p++) {
        bool seen[3] = {false};
        for (uint32_t r = 0; r < 3; r++) seen[s_placed[p][r] % 3] = true;
        assert_true(seen[0] && seen[1] && seen[2]);
    }
    assert_ok(weft_placement(cluster, 10, 5, &rand, s_placed, NULL)); // more replicas than racks: still legal
    uint32_t stored[BROKERS_MAX], led[BROKERS_MAX];
    s_count(10, 5, stored, led);
    weft_cluster_destroy(&cluster);
}

static void test_placement__small_topics_go_to_the_emptiest_brokers(void **state)
{
    (void) state;
    weft_cluster_t *cluster = weft_cluster_new();
    weft_rand_t rand;
    weft_rand_init(&rand, 5);
    for (int32_t i = 0; i < 4; i++) s_broker(cluster, i, "");
    for (int32_t topic = 0; topic < 40; topic++) { // one partition each
        assert_ok(weft_placement(cluster, 1, 1, &rand, s_placed, NULL));
        s_create(cluster, topic, s_placed, 1, 1);
    }
    for (int32_t i = 0; i < 4; i++) assert_int_equal(weft_cluster_broker(cluster, i)->led_count, 10);
    for (int32_t topic = 40; topic < 60; topic++) { // all store as many: who leads least is first
        assert_ok(weft_placement(cluster, 1, 4, &rand, s_placed, NULL));
        s_create(cluster, topic, s_placed, 1, 4);
    }
    for (int32_t i = 0; i < 4; i++) assert_int_equal(weft_cluster_broker(cluster, i)->led_count, 15);
    s_broker(cluster, 4, ""); // a new one is filled first
    assert_ok(weft_placement(cluster, 1, 1, &rand, s_placed, NULL));
    assert_int_equal(s_placed[0][0], 4);
    weft_cluster_check(cluster);
    weft_cluster_destroy(&cluster);
}

static void test_placement__wants_enough_live_brokers(void **state)
{
    (void) state;
    weft_cluster_t *cluster = weft_cluster_new();
    weft_rand_t rand;
    weft_rand_init(&rand, 6);
    struct weft_error error;
    assert_err(weft_placement(cluster, 1, 1, &rand, s_placed, &error), WEFT_ERR_INVALID_REPLICATION);
    assert_non_null(strstr(error.text, "no broker is alive"));
    for (int32_t i = 0; i < 3; i++) s_broker(cluster, i, "");
    s_fence(cluster, 1);
    assert_err(weft_placement(cluster, 1, 3, &rand, s_placed, &error), WEFT_ERR_INVALID_REPLICATION);
    assert_err(weft_placement(cluster, 1, 0, &rand, s_placed, &error), WEFT_ERR_INVALID_REPLICATION);
    assert_err(weft_placement(cluster, 1, 17, &rand, s_placed, &error), WEFT_ERR_INVALID_REPLICATION);
    assert_ok(weft_placement(cluster, 50, 2, &rand, s_placed, &error));
    for (uint32_t p = 0; p < 50; p++) assert_true(s_placed[p][0] != 1 && s_placed[p][1] != 1); // not the dead one
    weft_cluster_destroy(&cluster);
}

static void test_placement__one_seed_gives_one_placement(void **state)
{
    (void) state;
    weft_cluster_t *cluster = weft_cluster_new();
    for (int32_t i = 0; i < 7; i++) s_broker(cluster, i, "");
    static int32_t again[PARTITIONS_MAX][WEFT_REPLICAS_MAX];
    weft_rand_t rand;
    weft_rand_init(&rand, 9);
    assert_ok(weft_placement(cluster, 100, 3, &rand, s_placed, NULL));
    weft_rand_init(&rand, 9);
    assert_ok(weft_placement(cluster, 100, 3, &rand, again, NULL));
    for (uint32_t p = 0; p < 100; p++) assert_memory_equal(s_placed[p], again[p], 3 * sizeof(int32_t));
    weft_cluster_destroy(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_placement__is_even_and_never_twice_on_a_broker),
        cmocka_unit_test(test_placement__spreads_over_racks),
        cmocka_unit_test(test_placement__small_topics_go_to_the_emptiest_brokers),
        cmocka_unit_test(test_placement__wants_enough_live_brokers),
        cmocka_unit_test(test_placement__one_seed_gives_one_placement),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
