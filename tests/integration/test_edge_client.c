// SPDX-License-Identifier: MPL-2.0
// The public client through an edge, all in one process: over tcp and over inproc.
#include "client_cluster.h"

#include <weft/node.h>

static weft_hosted_node_t *s_edge;
static char s_edge_bootstrap[300];

static void s_edge_start(const char *listen)
{
    struct weft_error error = {0};
    char own[128];
    snprintf(own, sizeof own, "listen=%s", listen);
    const char *settings[] = {own, s_bootstrap, "spool.after.ms=100", NULL};
    weft_err_t err = weft_node_start("edge", settings, &s_edge, &error);
    if (err) fail_msg("%s", error.text);
    assert_ok(weft_node_wait_serving(s_edge, 10000, &error));
    snprintf(s_edge_bootstrap, sizeof s_edge_bootstrap, "bootstrap=%s", weft_node_endpoint(s_edge));
}

static weft_producer_t *s_edge_producer(void)
{
    weft_producer_t *producer = NULL;
    assert_ok(weft_producer_new((const char *[]){s_edge_bootstrap, NULL}, &producer, NULL));
    return producer;
}

static void s_produce(const char *name, int first, int count)
{
    weft_producer_t *producer = s_edge_producer();
    weft_topic_t *topic = NULL;
    assert_ok(weft_producer_topic(producer, name, &topic));
    for (int i = first; i < first + count; i++) {
        char value[32];
        snprintf(value, sizeof value, "%d", i);
        assert_ok(weft_producer_send(producer, topic, -1, weft_slice_text(value), weft_slice_text(value), NULL));
    }
    assert_ok(weft_producer_flush(producer, 20000));
    weft_producer_destroy(&producer);
}

static void s_group(const char *topic, const char *group, int expected)
{
    weft_consumer_t *consumer = NULL;
    char own[64];
    snprintf(own, sizeof own, "group=%s", group);
    assert_ok(weft_consumer_new((const char *[]){s_edge_bootstrap, own, NULL}, &consumer, NULL));
    assert_ok(weft_consumer_subscribe(consumer, &topic, 1, (struct weft_position){.from = WEFT_FROM_EARLIEST}));
    int got = 0;
    for (int turns = 0; turns < 1000 && got < expected; turns++) {
        weft_records_t *records = NULL;
        assert_ok(weft_consumer_poll(consumer, 100, &records));
        for (struct weft_record_view record; weft_records_next(records, &record);) got++;
    }
    assert_int_equal(got, expected);
    assert_ok(weft_consumer_commit(consumer, 10000));
    assert_ok(weft_consumer_close(consumer, 10000));
    weft_consumer_destroy(&consumer);
}

static void s_all_through(const char *listen, const char *topic)
{
    s_create(topic, 3);
    s_edge_start(listen);
    s_produce(topic, 0, 1000);
    s_group(topic, "readers", 1000);
    s_produce(topic, 1000, 100);
    s_group(topic, "readers", 100); // from what was committed through it
    assert_ok(weft_node_stop(&s_edge));
}

static void test_edge_client__a_producer_and_a_group_live_behind_it(void **state)
{
    s_all_through("tcp://127.0.0.1:*", "orders");
}

static void test_edge_client__over_inproc_too(void **state)
{
    s_all_through("inproc://edge-of-the-test", "parts");
}

// The core comes back on its endpoints; what was sent meanwhile is there once.
static void test_edge_client__a_producer_goes_on_while_the_core_is_away(void **state)
{
    struct weft_error error = {0};
    char listen[] = "listen=tcp://127.0.0.1:*", spool[WEFT_TEST_PATH_BYTES + 16];
    s_create("spooled", 1);
    snprintf(spool, sizeof spool, "spool=%s/spool", s_directory);
    assert_ok(weft_node_start("edge", (const char *[]){listen, s_bootstrap, spool, "spool.after.ms=100", NULL}, &s_edge,
                              &error));
    assert_ok(weft_node_wait_serving(s_edge, 10000, &error));
    snprintf(s_edge_bootstrap, sizeof s_edge_bootstrap, "bootstrap=%s", weft_node_endpoint(s_edge));
    s_produce("spooled", 0, 10);
    assert_ok(weft_embedded_stop(&s_cluster));
    s_produce("spooled", 10, 1000);
    char sentence[200] = "";
    assert_int_equal(weft_node_health(s_edge, sentence, sizeof sentence), WEFT_HEALTH_DEGRADED);
    s_start();
    s_produce("spooled", 1010, 10); // behind what was kept
    s_group("spooled", "readers", 1020);
    assert_ok(weft_node_stop(&s_edge));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_edge_client__a_producer_and_a_group_live_behind_it, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_edge_client__over_inproc_too, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_edge_client__a_producer_goes_on_while_the_core_is_away, s_setup,
                                        s_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
