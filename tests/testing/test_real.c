// SPDX-License-Identifier: MPL-2.0
// A user's cluster in real time (weft/testing.h): how fast it is there, and that each fault is one.
#include <weft/consumer.h>
#include <weft/producer.h>
#include <weft/testing.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t s_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const char *s_kind; // of endpoints; NULL: the default

static weft_test_cluster_t *s_start(uint32_t brokers, const char *listen)
{
    struct weft_test_options options = {.brokers = brokers, .listen = listen};
    weft_test_cluster_t *cluster;
    struct weft_error error;
    if (weft_test_start(&options, &cluster, &error) != WEFT_OK) fail_msg("%s", error.text);
    return cluster;
}

static void test_real__three_brokers_serve_soon(void **state)
{
    (void) state;
    int64_t best_ms = INT64_MAX;
    for (int i = 0; i < 5; i++) {
        int64_t begun_ms = s_clock_ms();
        weft_test_cluster_t *cluster = s_start(3, s_kind);
        int64_t took_ms = s_clock_ms() - begun_ms;
        if (took_ms < best_ms) best_ms = took_ms;
        begun_ms = s_clock_ms();
        weft_test_stop(&cluster);
        printf("started in %lld ms, stopped in %lld ms\n", (long long) took_ms, (long long) (s_clock_ms() - begun_ms));
    }
    assert_true(best_ms < 100);
}

static void test_real__records_survive_the_death_of_their_leader(void **state)
{
    (void) state;
    weft_test_cluster_t *cluster = s_start(3, s_kind);
    if (weft_test_topic(cluster, "t", 1, 3) != WEFT_OK) fail_msg("%s", weft_test_error_text(cluster));
    assert_int_equal(weft_test_put(cluster, "t", 0, NULL, "one"), WEFT_OK);
    const char *leader = weft_test_leader(cluster, "t", 0);
    assert_non_null(leader);
    weft_test_kill_node(cluster, leader);
    assert_false(weft_test_is_up(cluster, leader));
    if (weft_test_put(cluster, "t", 0, NULL, "two") != WEFT_OK) fail_msg("%s", weft_test_error_text(cluster));
    assert_int_equal(weft_test_end(cluster, "t", 0), 2);
    const char *next = weft_test_leader(cluster, "t", 0);
    assert_non_null(next);
    assert_string_not_equal(next, leader);
    assert_int_equal(weft_test_start_node(cluster, leader), WEFT_OK);
    assert_true(weft_test_serving(cluster, leader, 10000));
    assert_int_equal(weft_test_stop_node(cluster, next), WEFT_OK);
    if (weft_test_put(cluster, "t", 0, NULL, "three") != WEFT_OK) fail_msg("%s", weft_test_error_text(cluster));
    assert_int_equal(weft_test_end(cluster, "t", 0), 3);
    weft_test_stop(&cluster);
}

struct rig {
    weft_test_cluster_t *cluster;
    weft_producer_t *producer;
    weft_topic_t *topic;
};

static struct rig s_rig(const char *listen)
{
    struct rig rig = {.cluster = s_start(1, listen)};
    assert_int_equal(weft_test_topic(rig.cluster, "t", 1, 1), WEFT_OK);
    const char *settings[] = {weft_test_setting(rig.cluster), "client=writer", "linger.ms=0", NULL};
    assert_int_equal(weft_producer_new(settings, &rig.producer, NULL), WEFT_OK);
    assert_int_equal(weft_producer_topic(rig.producer, "t", &rig.topic), WEFT_OK);
    return rig;
}

static void s_end(struct rig *rig)
{
    weft_producer_destroy(&rig->producer);
    weft_test_stop(&rig->cluster);
}

static weft_err_t s_write(struct rig *rig, int timeout_ms, int64_t *took_ms)
{
    int64_t begun_ms = s_clock_ms();
    weft_slice_t value = weft_text("v");
    assert_int_equal(weft_producer_send(rig->producer, rig->topic, 0, WEFT_SLICE_NIL, value, NULL), WEFT_OK);
    weft_err_t err = weft_producer_flush(rig->producer, timeout_ms);
    if (took_ms != NULL) *took_ms = s_clock_ms() - begun_ms;
    return err;
}

static void s_heal_writer(weft_test_cluster_t *cluster, void *context)
{
    *(bool *) context = true;
    weft_test_heal(cluster, "writer", "*");
}

static void test_real__a_cut_client_hears_nothing_until_it_is_healed(void **state)
{
    (void) state;
    struct rig rig = s_rig(s_kind);
    assert_int_equal(s_write(&rig, 10000, NULL), WEFT_OK);
    weft_test_cut(rig.cluster, "writer", "*");
    assert_int_equal(s_write(&rig, 100, NULL), WEFT_ERR_LOCAL_TIMED_OUT);
    assert_int_equal(weft_test_put(rig.cluster, "t", 0, NULL, "others reach it"), WEFT_OK);
    bool healed = false;
    weft_test_after(rig.cluster, 100, s_heal_writer, &healed);
    assert_int_equal(weft_producer_flush(rig.producer, 10000), WEFT_OK);
    assert_true(healed);
    assert_int_equal(weft_test_end(rig.cluster, "t", 0), 3);
    s_end(&rig);
}

static void s_kill_broker(weft_test_cluster_t *cluster, void *context)
{
    weft_test_kill_node(cluster, "broker-1");
}

static bool s_is_down(void *context)
{
    return !weft_test_is_up(context, "broker-1");
}

static void test_real__a_node_that_dies_while_a_client_waits_comes_back(void **state)
{
    (void) state;
    struct rig rig = s_rig(s_kind);
    assert_int_equal(s_write(&rig, 10000, NULL), WEFT_OK);
    for (int i = 0; i < 5; i++) {
        weft_test_after(rig.cluster, 5, s_kill_broker, NULL);
        assert_true(weft_test_wait(rig.cluster, s_is_down, rig.cluster, 10000));
        assert_int_equal(s_write(&rig, 1 + 20 * i, NULL), WEFT_ERR_LOCAL_TIMED_OUT);
        assert_int_equal(weft_test_start_node(rig.cluster, "broker-1"), WEFT_OK);
        assert_int_equal(weft_producer_flush(rig.producer, 10000), WEFT_OK);
    }
    assert_int_equal(weft_test_end(rig.cluster, "t", 0), 6);
    s_end(&rig);
}

static void test_real__a_long_cut_costs_the_connection(void **state)
{
    (void) state;
    if (strcmp(s_kind, "ipc") == 0) skip(); // seconds of waiting, for a connection as tcp has it
    struct rig rig = s_rig(s_kind);
    assert_int_equal(s_write(&rig, 10000, NULL), WEFT_OK);
    weft_test_cut_from(rig.cluster, "*", "writer");
    assert_int_equal(s_write(&rig, 3500, NULL), WEFT_ERR_LOCAL_TIMED_OUT);
    weft_test_heal(rig.cluster, "*", "*");
    assert_int_equal(weft_producer_flush(rig.producer, 10000), WEFT_OK);
    assert_int_equal(weft_test_end(rig.cluster, "t", 0), 2); // it was written, and not twice
    s_end(&rig);
}

static void test_real__delays_are_felt_both_ways(void **state)
{
    (void) state;
    struct rig rig = s_rig(s_kind);
    assert_int_equal(s_write(&rig, 10000, NULL), WEFT_OK);
    weft_test_delay(rig.cluster, "writer", "broker-1", 60);
    int64_t took_ms;
    assert_int_equal(s_write(&rig, 10000, &took_ms), WEFT_OK);
    assert_in_range(took_ms, 120, 5000);
    weft_test_delay(rig.cluster, "*", "*", 0);
    weft_test_break(rig.cluster, "writer", "*");
    assert_int_equal(s_write(&rig, 10000, NULL), WEFT_OK);
    assert_int_equal(weft_test_end(rig.cluster, "t", 0), 3);
    s_end(&rig);
}

static void test_real__a_killed_client_is_heard_no_more(void **state)
{
    (void) state;
    struct rig rig = s_rig(s_kind);
    assert_int_equal(s_write(&rig, 10000, NULL), WEFT_OK);
    weft_test_kill_client(rig.cluster, "writer");
    assert_int_equal(s_write(&rig, 300, NULL), WEFT_ERR_LOCAL_TIMED_OUT);
    weft_producer_destroy(&rig.producer);
    const char *settings[] = {weft_test_setting(rig.cluster), "client=writer", "linger.ms=0", NULL};
    assert_int_equal(weft_producer_new(settings, &rig.producer, NULL), WEFT_OK);
    assert_int_equal(weft_producer_topic(rig.producer, "t", &rig.topic), WEFT_OK);
    assert_int_equal(s_write(&rig, 10000, NULL), WEFT_OK);
    assert_int_equal(weft_test_end(rig.cluster, "t", 0), 2);
    s_end(&rig);
}

static void test_real__a_slow_disk_delays_and_a_full_one_refuses(void **state)
{
    (void) state;
    struct rig rig = s_rig(s_kind);
    assert_int_equal(s_write(&rig, 10000, NULL), WEFT_OK);
    weft_test_slow_disk(rig.cluster, "broker-1", 80);
    int64_t took_ms;
    assert_int_equal(s_write(&rig, 10000, &took_ms), WEFT_OK);
    assert_in_range(took_ms, 80, 5000);
    weft_test_slow_disk(rig.cluster, "*", 0);
    weft_test_full_disk(rig.cluster, "broker-1", true);
    assert_int_not_equal(s_write(&rig, 300, NULL), WEFT_OK);
    weft_test_full_disk(rig.cluster, "broker-1", false);
    s_end(&rig);
}

static void test_real__nothing_is_left_behind(void **state)
{
    (void) state;
    char directory[] = "/tmp/weft-testing-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    assert_int_equal(setenv("TMPDIR", directory, 1), 0);
    weft_test_cluster_t *cluster = s_start(1, NULL);
    weft_test_stop(&cluster);
    assert_null(cluster);
    assert_int_equal(rmdir(directory), 0); // it is empty
    assert_non_null(mkdtemp(memcpy(directory, "/tmp/weft-testing-XXXXXX", sizeof directory)));
    assert_int_equal(unsetenv("TMPDIR"), 0);
    struct weft_test_options options = {.data = directory};
    assert_int_equal(weft_test_start(&options, &cluster, NULL), WEFT_OK);
    weft_test_stop(&cluster);
    snprintf(path, sizeof path, "%s/broker-1", directory);
    struct stat status;
    assert_int_equal(stat(path, &status), 0); // asked for: kept
    char command[80];
    snprintf(command, sizeof command, "rm -r %s", directory);
    assert_int_equal(system(command), 0);
}

static void s_refused(struct weft_test_options options, const char *sentence)
{
    weft_test_cluster_t *cluster = NULL;
    struct weft_error error = {0};
    assert_int_not_equal(weft_test_start(&options, &cluster, &error), WEFT_OK);
    assert_null(cluster);
    if (strstr(error.text, sentence) == NULL) fail_msg("'%s' does not say '%s'", error.text, sentence);
}

static void test_real__what_can_not_be_is_refused_with_a_sentence(void **state)
{
    (void) state;
    for (uint64_t seed = 0; seed < 2; seed++) {
        s_refused((struct weft_test_options){.seed = seed, .brokers = 17}, "at most 16 brokers");
        s_refused((struct weft_test_options){.seed = seed, .coordinators = 2}, "1, 3 or 5 coordinators");
        s_refused((struct weft_test_options){.seed = seed, .broker_settings = (const char *const[]){"fans=2", NULL}},
                  "'fans' is no setting of a broker");
        s_refused((struct weft_test_options){.seed = seed, .broker_settings = (const char *const[]){"id=2", NULL}},
                  "'id' of a node is the test cluster's own");
    }
    s_refused((struct weft_test_options){.listen = "udp"}, "known: inproc, ipc, tcp");
    s_refused((struct weft_test_options){.seed = 1, .listen = "tcp"}, "leave it out, or the seed");
    s_refused((struct weft_test_options){.seed = 1, .data = "here"}, "leave it out, or the seed");
    weft_test_cluster_t *cluster = s_start(1, NULL); // and the next one starts
    weft_test_stop(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real__three_brokers_serve_soon),
        cmocka_unit_test(test_real__records_survive_the_death_of_their_leader),
        cmocka_unit_test(test_real__a_cut_client_hears_nothing_until_it_is_healed),
        cmocka_unit_test(test_real__a_node_that_dies_while_a_client_waits_comes_back),
        cmocka_unit_test(test_real__a_long_cut_costs_the_connection),
        cmocka_unit_test(test_real__delays_are_felt_both_ways),
        cmocka_unit_test(test_real__a_killed_client_is_heard_no_more),
        cmocka_unit_test(test_real__a_slow_disk_delays_and_a_full_one_refuses),
        cmocka_unit_test(test_real__nothing_is_left_behind),
        cmocka_unit_test(test_real__what_can_not_be_is_refused_with_a_sentence),
    };
    static const char *const kinds[] = {"inproc", "ipc", "tcp"};
    int failed = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        s_kind = kinds[i];
        failed += cmocka_run_group_tests_name(s_kind, tests, NULL, NULL);
    }
    return failed;
}
