// SPDX-License-Identifier: MPL-2.0
// A user's cluster in virtual time (weft/testing.h): that a seed is a history, that clients work as they do elsewhere, and
// that each fault is one.
#include <weft/admin.h>
#include <weft/consumer.h>
#include <weft/producer.h>
#include <weft/testing.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t s_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static weft_test_cluster_t *s_start_with(struct weft_test_options options)
{
    weft_test_cluster_t *cluster;
    struct weft_error error;
    if (getenv("WEFT_TEST_TRACE") != NULL) options.trace = atoi(getenv("WEFT_TEST_TRACE"));
    if (weft_test_start(&options, &cluster, &error) != WEFT_OK) fail_msg("%s", error.text);
    return cluster;
}

static weft_test_cluster_t *s_start(uint64_t seed, uint32_t brokers)
{
    return s_start_with((struct weft_test_options){.seed = seed, .brokers = brokers});
}

static void s_ok(const weft_test_cluster_t *cluster, weft_err_t err)
{
    if (err != WEFT_OK) fail_msg("%s: %s", weft_err_name(err), weft_test_error_text(cluster));
}

static weft_producer_t *s_producer(const weft_test_cluster_t *cluster, const char *topic, weft_topic_t **handle)
{
    const char *settings[] = {weft_test_setting(cluster), "client=writer", NULL};
    weft_producer_t *producer;
    assert_int_equal(weft_producer_new(settings, &producer, NULL), WEFT_OK);
    assert_int_equal(weft_producer_topic(producer, topic, handle), WEFT_OK);
    return producer;
}

static void s_send(weft_producer_t *producer, weft_topic_t *topic, int number)
{
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    weft_err_t err = weft_producer_send_wait(producer, topic, -1, WEFT_SLICE_NIL, weft_text(text), NULL, -1);
    assert_int_equal(err, WEFT_OK);
}

static weft_consumer_t *s_consumer(const weft_test_cluster_t *cluster, const char *client, const char *group)
{
    char name[64], in[64];
    snprintf(name, sizeof name, "client=%s", client);
    snprintf(in, sizeof in, "group=%s", group);
    const char *settings[] = {weft_test_setting(cluster), name, in, "reset=earliest", NULL};
    const char *topics[] = {"t"};
    weft_consumer_t *consumer;
    assert_int_equal(weft_consumer_new(settings, &consumer, NULL), WEFT_OK);
    struct weft_position at = {.from = WEFT_FROM_EARLIEST};
    assert_int_equal(weft_consumer_subscribe(consumer, topics, 1, at), WEFT_OK);
    return consumer;
}

// Reads what there is within so much time; how many records.
static int s_read(weft_consumer_t *consumer, int timeout_ms, int wanted)
{
    int count = 0;
    for (int polls = 0; count < wanted && polls < 1000; polls++) {
        weft_records_t *records;
        struct weft_record_view record;
        int before = count;
        assert_int_equal(weft_consumer_poll(consumer, timeout_ms, &records), WEFT_OK);
        while (weft_records_next(records, &record)) count++;
        struct weft_consumer_event event;
        bool happened = false;
        while (weft_consumer_event(consumer, &event)) happened = true;
        if (count == before && !happened) break;
    }
    return count;
}

static void test_virtual__a_cluster_is_there_and_time_is_cheap(void **state)
{
    (void) state;
    int64_t begun_ms = s_clock_ms();
    weft_test_cluster_t *cluster = s_start(1, 3);
    s_ok(cluster, weft_test_topic(cluster, "t", 3, 3));
    printf("up after %lld ms (%lld of virtual time)\n", (long long) (s_clock_ms() - begun_ms),
           (long long) weft_test_now_ms(cluster));
    begun_ms = s_clock_ms();
    int64_t before_ms = weft_test_now_ms(cluster);
    weft_test_run_for(cluster, 60000);
    assert_int_equal(weft_test_now_ms(cluster) - before_ms, 60000);
    printf("a minute took %lld ms\n", (long long) (s_clock_ms() - begun_ms));
    assert_true(s_clock_ms() - begun_ms < 20000);
    weft_test_stop(&cluster);
}

static void test_virtual__producer_and_consumer_work_as_they_do_elsewhere(void **state)
{
    (void) state;
    weft_test_cluster_t *cluster = s_start(2, 3);
    s_ok(cluster, weft_test_topic(cluster, "t", 2, 3));
    weft_topic_t *topic;
    weft_producer_t *producer = s_producer(cluster, "t", &topic);
    for (int i = 0; i < 1000; i++) s_send(producer, topic, i);
    assert_int_equal(weft_producer_flush(producer, 10000), WEFT_OK);
    weft_consumer_t *consumer = s_consumer(cluster, "reader", "g");
    assert_int_equal(s_read(consumer, 10000, 1000), 1000);
    assert_int_equal(weft_consumer_close(consumer, 10000), WEFT_OK);
    int64_t committed = weft_test_committed(cluster, "g", "t", 0) + weft_test_committed(cluster, "g", "t", 1);
    assert_in_range(committed, 999, 1000); // all but perhaps the one in hand
    assert_int_equal(weft_test_end(cluster, "t", 0) + weft_test_end(cluster, "t", 1), 1000);
    weft_consumer_destroy(&consumer);
    weft_producer_destroy(&producer);
    weft_test_stop(&cluster);
}

static void test_virtual__a_timestamp_is_of_the_virtual_clock(void **state)
{
    (void) state;
    weft_test_cluster_t *cluster = s_start(3, 1);
    s_ok(cluster, weft_test_topic(cluster, "t", 1, 1));
    s_ok(cluster, weft_test_put(cluster, "t", 0, NULL, "a"));
    weft_test_run_for(cluster, 3600000);
    s_ok(cluster, weft_test_put(cluster, "t", 0, NULL, "b"));
    weft_consumer_t *consumer = s_consumer(cluster, "reader", "g");
    int64_t first_ms = 0, last_ms = 0;
    for (int count = 0; count < 2;) {
        weft_records_t *records;
        struct weft_record_view record;
        assert_int_equal(weft_consumer_poll(consumer, -1, &records), WEFT_OK);
        for (; weft_records_next(records, &record); count++) {
            if (count == 0) first_ms = record.timestamp_ms;
            last_ms = record.timestamp_ms;
        }
    }
    assert_in_range(last_ms - first_ms, 3600000, 3601000);
    weft_consumer_destroy(&consumer);
    weft_test_stop(&cluster);
}

static void test_virtual__a_group_moves_to_who_is_left(void **state)
{
    (void) state;
    weft_test_cluster_t *cluster = s_start(4, 1);
    s_ok(cluster, weft_test_topic(cluster, "t", 4, 1));
    weft_consumer_t *one = s_consumer(cluster, "one", "g"), *two = s_consumer(cluster, "two", "g");
    for (int i = 0; i < 30; i++) {
        (void) s_read(one, 100, 1);
        (void) s_read(two, 100, 1);
    }
    struct weft_partition_position position;
    assert_true(weft_consumer_position(one, 1, &position) && !weft_consumer_position(one, 2, &position));
    assert_true(weft_consumer_position(two, 1, &position) && !weft_consumer_position(two, 2, &position));
    weft_test_kill_client(cluster, "one");
    for (int i = 0; i < 300; i++) (void) s_read(two, 100, 1);
    assert_true(weft_consumer_position(two, 3, &position)); // it has all four
    weft_consumer_destroy(&one);
    weft_consumer_destroy(&two);
    weft_test_stop(&cluster);
}

static void s_kill_leader(weft_test_cluster_t *cluster, void *context)
{
    const char **leader = context;
    weft_test_kill_node(cluster, *leader);
}

static void test_virtual__acknowledged_records_survive_a_leader_that_dies_meanwhile(void **state)
{
    (void) state;
    for (uint64_t seed = 10; seed < 15; seed++) {
        weft_test_cluster_t *cluster = s_start(seed, 3);
        s_ok(cluster, weft_test_topic(cluster, "t", 1, 3));
        const char *leader = weft_test_leader(cluster, "t", 0);
        assert_non_null(leader);
        weft_topic_t *topic;
        weft_producer_t *producer = s_producer(cluster, "t", &topic);
        for (int i = 0; i < 500; i++) s_send(producer, topic, i);
        weft_test_after(cluster, (int64_t) weft_test_random(cluster, 8), s_kill_leader, &leader);
        assert_int_equal(weft_producer_flush(producer, 60000), WEFT_OK);
        assert_int_equal(weft_test_end(cluster, "t", 0), 500); // each once
        weft_test_run_for(cluster, 10);
        assert_false(weft_test_is_up(cluster, leader));
        s_ok(cluster, weft_test_start_node(cluster, leader));
        assert_true(weft_test_serving(cluster, leader, 30000));
        weft_producer_destroy(&producer);
        weft_test_stop(&cluster);
    }
}

static void test_virtual__power_loss_keeps_what_was_acknowledged_as_durable(void **state)
{
    (void) state;
    for (uint64_t seed = 20; seed < 25; seed++) {
        weft_test_cluster_t *cluster = s_start(seed, 3);
        s_ok(cluster, weft_test_topic(cluster, "t", 1, 3));
        for (int i = 0; i < 20; i++) s_ok(cluster, weft_test_put(cluster, "t", 0, NULL, "durable"));
        weft_test_lose_power(cluster, "*");
        assert_false(weft_test_is_up(cluster, "broker-1") || weft_test_is_up(cluster, "coordinator-1"));
        s_ok(cluster, weft_test_start_node(cluster, "*"));
        assert_true(weft_test_serving(cluster, "*", 60000));
        s_ok(cluster, weft_test_put(cluster, "t", 0, NULL, "after"));
        assert_int_equal(weft_test_end(cluster, "t", 0), 21);
        weft_test_stop(&cluster);
    }
}

static void test_virtual__cuts_delays_disks_and_stops_are_felt(void **state)
{
    (void) state;
    weft_test_cluster_t *cluster = s_start(30, 1);
    s_ok(cluster, weft_test_topic(cluster, "t", 1, 1));
    weft_topic_t *topic;
    weft_producer_t *producer = s_producer(cluster, "t", &topic);
    s_send(producer, topic, 1);
    assert_int_equal(weft_producer_flush(producer, 10000), WEFT_OK);

    weft_test_cut(cluster, "writer", "*");
    s_send(producer, topic, 2);
    assert_int_equal(weft_producer_flush(producer, 5000), WEFT_ERR_LOCAL_TIMED_OUT);
    s_ok(cluster, weft_test_put(cluster, "t", 0, NULL, "another client"));
    weft_test_heal(cluster, "writer", "broker-1");
    assert_int_equal(weft_producer_flush(producer, 10000), WEFT_OK);

    weft_test_delay(cluster, "writer", "*", 200);
    int64_t before_ms = weft_test_now_ms(cluster);
    s_send(producer, topic, 3);
    assert_int_equal(weft_producer_flush(producer, 10000), WEFT_OK);
    assert_in_range(weft_test_now_ms(cluster) - before_ms, 400, 500);
    weft_test_heal(cluster, "*", "*");

    weft_test_slow_disk(cluster, "*", 300);
    before_ms = weft_test_now_ms(cluster);
    s_send(producer, topic, 4);
    assert_int_equal(weft_producer_flush(producer, 10000), WEFT_OK);
    assert_in_range(weft_test_now_ms(cluster) - before_ms, 300, 2000);
    weft_test_slow_disk(cluster, "*", 0);

    weft_test_break(cluster, "writer", "*");
    s_send(producer, topic, 5);
    assert_int_equal(weft_producer_flush(producer, 10000), WEFT_OK);
    assert_int_equal(weft_test_end(cluster, "t", 0), 6);

    s_ok(cluster, weft_test_stop_node(cluster, "broker-1"));
    s_send(producer, topic, 6);
    assert_int_equal(weft_producer_flush(producer, 5000), WEFT_ERR_LOCAL_TIMED_OUT);
    s_ok(cluster, weft_test_start_node(cluster, "broker-1"));
    assert_int_equal(weft_producer_flush(producer, 30000), WEFT_OK);
    assert_int_equal(weft_test_end(cluster, "t", 0), 7);
    weft_producer_destroy(&producer);
    weft_test_stop(&cluster);
}

static void test_virtual__a_member_that_stands_still_loses_its_place(void **state)
{
    (void) state;
    weft_test_cluster_t *cluster =
        s_start_with((struct weft_test_options){.seed = 31, .brokers = 1, .coordinators = 3});
    s_ok(cluster, weft_test_topic(cluster, "t", 2, 1));
    weft_consumer_t *one = s_consumer(cluster, "one", "g"), *two = s_consumer(cluster, "two", "g");
    for (int i = 0; i < 30; i++) {
        (void) s_read(one, 100, 1);
        (void) s_read(two, 100, 1);
    }
    struct weft_partition_position position;
    assert_false(weft_consumer_position(two, 1, &position));
    const char *active = weft_test_coordinator(cluster);
    assert_non_null(active);
    weft_test_kill_node(cluster, active);
    weft_test_pause(cluster, "one", 30000);
    for (int i = 0; i < 200; i++) (void) s_read(two, 100, 1);
    assert_true(weft_consumer_position(two, 1, &position)); // both are its own
    assert_string_not_equal(weft_test_coordinator(cluster), active);
    int64_t before_ms = weft_test_now_ms(cluster);
    (void) s_read(one, 100, 1); // goes on where it stood still
    assert_in_range(weft_test_now_ms(cluster) - before_ms, 5000, 11000);
    weft_consumer_destroy(&one);
    weft_consumer_destroy(&two);
    weft_test_stop(&cluster);
}

static void test_virtual__a_clock_may_jump_and_records_say_so(void **state)
{
    (void) state;
    weft_test_cluster_t *cluster = s_start(32, 1);
    s_ok(cluster, weft_test_topic(cluster, "t", 1, 1));
    s_ok(cluster, weft_test_put(cluster, "t", 0, NULL, "a"));
    weft_test_jump_clock(cluster, "test", -3600000);
    s_ok(cluster, weft_test_put(cluster, "t", 0, NULL, "b"));
    weft_consumer_t *consumer = s_consumer(cluster, "reader", "g");
    int64_t times_ms[2] = {0, 0};
    for (int count = 0; count < 2;) {
        weft_records_t *records;
        struct weft_record_view record;
        assert_int_equal(weft_consumer_poll(consumer, -1, &records), WEFT_OK);
        while (count < 2 && weft_records_next(records, &record)) times_ms[count++] = record.timestamp_ms;
    }
    assert_in_range(times_ms[0] - times_ms[1], 3500000, 3600000);
    weft_topic_config_t *config;
    assert_int_equal(weft_admin_describe_topic(weft_test_admin(cluster), "t", &config), WEFT_OK);
    weft_topic_config_destroy(&config);
    weft_consumer_destroy(&consumer);
    weft_test_stop(&cluster);
}

static void test_virtual__clusters_of_both_kinds_live_side_by_side(void **state)
{
    (void) state;
    weft_test_cluster_t *clusters[3];
    for (uint64_t i = 0; i < 3; i++) clusters[i] = s_start(i, 1); // the first one in real time
    for (int i = 0; i < 3; i++) s_ok(clusters[i], weft_test_topic(clusters[i], "t", 1, 1));
    for (int i = 0; i < 20; i++) s_ok(clusters[i % 3], weft_test_put(clusters[i % 3], "t", 0, "k", "v"));
    assert_int_equal(weft_test_end(clusters[2], "t", 0), 6);
    weft_test_stop(&clusters[2]);
    weft_test_cut(clusters[1], "test", "*");
    assert_int_equal(weft_test_put(clusters[1], "t", 0, NULL, "v"), WEFT_ERR_LOCAL_TIMED_OUT);
    for (int i = 0; i < 2; i++) {
        weft_test_heal(clusters[i], "*", "*");
        assert_int_equal(weft_test_end(clusters[i], "t", 0), 7);
        weft_test_stop(&clusters[i]);
    }
}

// ---- a seed is a history

// All that the next test is about, with faults; its fingerprint.
static uint64_t s_history(uint64_t seed, bool rough)
{
    weft_test_cluster_t *cluster =
        s_start_with((struct weft_test_options){.seed = seed, .brokers = 3, .coordinators = 3, .rough = rough});
    s_ok(cluster, weft_test_topic(cluster, "t", 2, 3));
    weft_topic_t *topic;
    weft_producer_t *producer = s_producer(cluster, "t", &topic);
    weft_consumer_t *one = s_consumer(cluster, "one", "g"), *two = s_consumer(cluster, "two", "g");
    for (int i = 0; i < 300; i++) {
        s_send(producer, topic, i);
        if (i == 50) weft_test_cut(cluster, "one", "*");
        if (i == 100) weft_test_kill_node(cluster, "broker-2");
        if (i == 150) weft_test_heal(cluster, "*", "*");
        if (i == 200) s_ok(cluster, weft_test_start_node(cluster, "broker-2"));
        if (i % 10 == 0) (void) s_read(one, 50, 5);
        if (i % 7 == 0) (void) s_read(two, 50, 5);
    }
    assert_int_equal(weft_producer_flush(producer, 60000), WEFT_OK);
    uint64_t fingerprint = weft_test_fingerprint(cluster);
    weft_consumer_destroy(&one);
    weft_consumer_destroy(&two);
    weft_producer_destroy(&producer);
    weft_test_stop(&cluster);
    return fingerprint;
}

// In a process of its own: addresses, hashes of the process and what ran before are others there.
static uint64_t s_history_elsewhere(uint64_t seed, bool rough)
{
    int ends[2];
    uint64_t fingerprint = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        fingerprint = s_history(seed, rough);
        _exit(write(ends[1], &fingerprint, sizeof fingerprint) == sizeof fingerprint ? 0 : 1);
    }
    assert_int_equal(read(ends[0], &fingerprint, sizeof fingerprint), sizeof fingerprint);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    close(ends[0]);
    close(ends[1]);
    return fingerprint;
}

static void test_virtual__one_seed_is_one_history(void **state)
{
    (void) state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        uint64_t elsewhere = s_history_elsewhere(seed, seed % 2);
        uint64_t once = s_history(seed, seed % 2), again = s_history(seed, seed % 2);
        assert_true(once == again);
        assert_true(once == elsewhere);
        assert_false(once == s_history(seed + 100, seed % 2));
    }
}

// ---- mistakes of a test

static void test_virtual__a_cluster_may_be_stopped_before_its_clients(void **state)
{
    (void) state;
    weft_test_cluster_t *cluster = s_start(40, 1);
    s_ok(cluster, weft_test_topic(cluster, "t", 1, 1));
    weft_topic_t *topic;
    weft_producer_t *producer = s_producer(cluster, "t", &topic);
    weft_consumer_t *consumer = s_consumer(cluster, "one", "g");
    (void) s_read(consumer, 1000, 1);
    s_send(producer, topic, 1);
    weft_test_stop(&cluster);
    weft_consumer_destroy(&consumer);
    weft_producer_destroy(&producer);
}

static void s_expect_end(void (*fn)(weft_test_cluster_t *cluster), const char *sentence)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        weft_test_cluster_t *cluster = s_start(41, 1);
        fn(cluster);
        _exit(0);
    }
    close(ends[1]);
    char text[4096] = "";
    size_t used = 0;
    for (ssize_t got; used < sizeof text - 1 && (got = read(ends[0], text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t) got;
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
    if (strstr(text, sentence) == NULL) fail_msg("said: %s", text);
}

static void s_wait_for_ever(weft_test_cluster_t *cluster)
{
    weft_consumer_t *consumer = s_consumer(cluster, "one", "g");
    weft_records_t *records;
    for (;;) (void) !weft_consumer_poll(consumer, -1, &records);
}

static void s_name_nobody(weft_test_cluster_t *cluster)
{
    weft_test_cut(cluster, "broker-7", "*");
}

static void test_virtual__mistakes_of_a_test_end_it_with_a_sentence(void **state)
{
    (void) state;
    s_expect_end(s_wait_for_ever, "client 'one' has waited for 3600 s of virtual time, seed 41");
    s_expect_end(s_name_nobody, "there is no broker-7 in this cluster of 1 brokers");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_virtual__a_cluster_is_there_and_time_is_cheap),
        cmocka_unit_test(test_virtual__producer_and_consumer_work_as_they_do_elsewhere),
        cmocka_unit_test(test_virtual__a_timestamp_is_of_the_virtual_clock),
        cmocka_unit_test(test_virtual__a_group_moves_to_who_is_left),
        cmocka_unit_test(test_virtual__acknowledged_records_survive_a_leader_that_dies_meanwhile),
        cmocka_unit_test(test_virtual__power_loss_keeps_what_was_acknowledged_as_durable),
        cmocka_unit_test(test_virtual__cuts_delays_disks_and_stops_are_felt),
        cmocka_unit_test(test_virtual__a_member_that_stands_still_loses_its_place),
        cmocka_unit_test(test_virtual__a_clock_may_jump_and_records_say_so),
        cmocka_unit_test(test_virtual__clusters_of_both_kinds_live_side_by_side),
        cmocka_unit_test(test_virtual__one_seed_is_one_history),
        cmocka_unit_test(test_virtual__a_cluster_may_be_stopped_before_its_clients),
        cmocka_unit_test(test_virtual__mistakes_of_a_test_end_it_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
