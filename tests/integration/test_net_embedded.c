// SPDX-License-Identifier: MPL-2.0
// The embedded cluster, a single node, and a node as an actor, on real sockets and a real disk.
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weft/czmq_actor.h>
#include <weft/embedded.h>
#include <weft/weft.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char s_directory[64];

static int s_setup(void **state)
{
    snprintf(s_directory, sizeof s_directory, "/tmp/weft-embedded-XXXXXX");
    return mkdtemp(s_directory) != NULL ? 0 : -1;
}

static int s_teardown(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", s_directory);
    return system(command);
}

static weft_embedded_t *s_start(uint32_t brokers, uint32_t shards, const char *listen)
{
    struct weft_embedded_options options = {
        .data = s_directory, .listen = listen, .brokers = brokers, .shards = shards};
    struct weft_error error = {0};
    weft_embedded_t *cluster = NULL;
    weft_err_t err = weft_embedded_start(&options, &cluster, &error);
    if (err != WEFT_OK) print_error("%s\n", error.text);
    assert_int_equal(err, WEFT_OK);
    return cluster;
}

static void s_create(const char *bootstrap, const char *topic, uint32_t partitions)
{
    const char *settings[] = {bootstrap, NULL};
    weft_admin_t *admin = NULL;
    assert_int_equal(weft_admin_new(settings, &admin, NULL), WEFT_OK);
    assert_int_equal(weft_admin_create_topic(admin, topic, partitions, 1, NULL, 0, false, NULL), WEFT_OK);
    assert_int_equal(weft_admin_wait_topic(admin, topic, 10000), WEFT_OK);
    weft_admin_destroy(&admin);
}

static void s_produce(const char *bootstrap, const char *name, int first, int count)
{
    const char *settings[] = {bootstrap, NULL};
    weft_producer_t *producer = NULL;
    weft_topic_t *topic = NULL;
    assert_int_equal(weft_producer_new(settings, &producer, NULL), WEFT_OK);
    assert_int_equal(weft_producer_topic(producer, name, &topic), WEFT_OK);
    for (int i = first; i < first + count; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        assert_int_equal(
            weft_producer_send_wait(producer, topic, WEFT_PARTITION_AUTO, weft_text(key), weft_text(key), NULL, 10000),
            WEFT_OK);
    }
    assert_int_equal(weft_producer_close(producer, 20000), WEFT_OK);
    weft_producer_destroy(&producer);
}

static int s_consume(const char *bootstrap, const char *topic)
{
    const char *settings[] = {bootstrap, NULL};
    weft_consumer_t *consumer = NULL;
    assert_int_equal(weft_consumer_new(settings, &consumer, NULL), WEFT_OK);
    assert_int_equal(weft_consumer_subscribe(consumer, &topic, 1, (struct weft_position){.from = WEFT_FROM_EARLIEST}),
                     WEFT_OK);
    int got = 0;
    for (int turns = 0; turns < 1000 && !weft_consumer_at_end(consumer); turns++) {
        weft_records_t *records = NULL;
        assert_int_equal(weft_consumer_poll(consumer, 100, &records), WEFT_OK);
        for (struct weft_record_view record; weft_records_next(records, &record);) got++;
    }
    assert_true(weft_consumer_at_end(consumer));
    weft_consumer_destroy(&consumer);
    return got;
}

static void test_embedded__keeps_what_it_acknowledged_over_a_clean_stop(void **state)
{
    char bootstrap[300];
    weft_embedded_t *cluster = s_start(1, 2, "tcp://127.0.0.1:*");
    snprintf(bootstrap, sizeof bootstrap, "bootstrap=%s", weft_embedded_endpoint(cluster));
    s_create(bootstrap, "orders", 4);
    s_produce(bootstrap, "orders", 0, 2000);
    assert_int_equal(s_consume(bootstrap, "orders"), 2000);
    assert_int_equal(weft_embedded_stop(&cluster), WEFT_OK);
    assert_null(cluster);
    cluster = s_start(1, 2, "tcp://127.0.0.1:*");
    snprintf(bootstrap, sizeof bootstrap, "bootstrap=%s", weft_embedded_endpoint(cluster));
    s_produce(bootstrap, "orders", 2000, 500);
    assert_int_equal(s_consume(bootstrap, "orders"), 2500);
    assert_int_equal(weft_embedded_stop(&cluster), WEFT_OK);
}

static void test_embedded__stops_and_starts_again_on_the_same_endpoints_at_once(void **state)
{
    char listen[WEFT_ERROR_TEXT_BYTES_MAX];
    snprintf(listen, sizeof listen, "ipc://%s/listen", s_directory);
    for (int i = 0; i < 3; i++) {
        weft_embedded_t *cluster = s_start(2, 2, listen);
        assert_string_equal(weft_embedded_endpoint(cluster), listen);
        struct weft_embedded_options twin = {.data = s_directory, .listen = listen};
        struct weft_error error = {0};
        weft_embedded_t *other = NULL;
        weft_err_t err = weft_embedded_start(&twin, &other, &error); // the data is locked, the endpoint taken
        assert_true(err == WEFT_ERR_LOCKED || err == WEFT_ERR_ENDPOINT_IN_USE);
        assert_true(error.text[0] != '\0');
        assert_null(other);
        assert_int_equal(weft_embedded_stop(&cluster), WEFT_OK);
    }
}

struct totals {
    uint64_t turns;
    int sources;
};

static void s_total(void *context, const char *source, const char *name, const char *doc, uint64_t value)
{
    struct totals *self = context;
    self->sources++;
    if (strcmp(name, "turns_count") == 0) self->turns += value;
}

static void test_embedded__tells_health_and_counters(void **state)
{
    weft_embedded_t *cluster = s_start(2, 1, "tcp://127.0.0.1:*");
    char sentence[256];
    assert_int_equal(weft_embedded_health(cluster, sentence, sizeof sentence), WEFT_HEALTH_SERVING);
    struct totals totals = {0};
    weft_embedded_counters(cluster, s_total, &totals);
    assert_true(totals.turns > 0 && totals.sources > 20);
    assert_non_null(strchr(weft_embedded_bootstrap(cluster), ','));
    assert_int_equal(weft_embedded_stop(&cluster), WEFT_OK);
}

static void test_embedded__refuses_what_can_not_be(void **state)
{
    struct weft_error error = {0};
    weft_embedded_t *cluster = NULL;
    struct weft_embedded_options options = {.data = s_directory, .listen = "tcp://127.0.0.1:65535"};
    assert_int_equal(weft_embedded_start(&options, &cluster, &error), WEFT_ERR_INVALID_ENDPOINT);
    options.listen = "nonsense";
    assert_int_equal(weft_embedded_start(&options, &cluster, &error), WEFT_ERR_INVALID_ENDPOINT);
    options.listen = NULL;
    options.brokers = 1000;
    assert_int_equal(weft_embedded_start(&options, &cluster, &error), WEFT_ERR_INVALID_ARGUMENT);
    const char *wrong[] = {"no.such.key=1", NULL};
    options =
        (struct weft_embedded_options){.data = s_directory, .listen = "tcp://127.0.0.1:*", .broker_settings = wrong};
    assert_int_equal(weft_embedded_start(&options, &cluster, &error), WEFT_ERR_INVALID_OPTION);
    assert_non_null(strstr(error.text, "no.such.key"));
    weft_hosted_node_t *node = NULL;
    assert_int_equal(weft_node_start("brokr", NULL, &node, &error), WEFT_ERR_INVALID_ARGUMENT);
    assert_null(node);
}

static void test_actor__runs_a_coordinator_and_answers(void **state)
{
    // Static: ThreadSanitizer doesn't see that the actor has read all this before zactor_new returns.
    static char data[128];
    static const char *const settings[] = {"listen=tcp://127.0.0.1:*", data, NULL};
    snprintf(data, sizeof data, "data=%s/coordinator", s_directory);
    static struct weft_node_actor_args args = {"coordinator", settings};
    zactor_t *actor = zactor_new(weft_node_actor, &args);
    assert_non_null(actor);
    zstr_send(actor, "ENDPOINT");
    char *endpoint = zstr_recv(actor);
    assert_memory_equal(endpoint, "tcp://127.0.0.1:", 16);
    zstr_free(&endpoint);
    zstr_send(actor, "HEALTH");
    zmsg_t *answer = zmsg_recv(actor);
    assert_int_equal(zmsg_size(answer), 2);
    zmsg_destroy(&answer);
    zstr_send(actor, "COUNTERS");
    answer = zmsg_recv(actor);
    assert_true(zmsg_size(answer) > 5);
    zmsg_destroy(&answer);
    zstr_send(actor, "WHAT");
    answer = zmsg_recv(actor);
    char *first = zmsg_popstr(answer);
    assert_string_equal(first, "ERROR");
    zstr_free(&first);
    zmsg_destroy(&answer);
    zactor_destroy(&actor);
}

static void test_actor__that_can_not_start_says_why(void **state)
{
    static const char *const settings[] = {"nonsense=1", NULL};
    static struct weft_node_actor_args args = {"coordinator", settings};
    zactor_t *actor = zactor_new(weft_node_actor, &args);
    assert_non_null(actor);
    zstr_send(actor, "HEALTH");
    char *health = NULL, *reason = NULL;
    assert_int_equal(zstr_recvx(actor, &health, &reason, NULL), 2);
    assert_string_equal(health, "failed");
    assert_non_null(strstr(reason, "nonsense"));
    zstr_free(&health);
    zstr_free(&reason);
    zactor_destroy(&actor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_embedded__keeps_what_it_acknowledged_over_a_clean_stop, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_embedded__stops_and_starts_again_on_the_same_endpoints_at_once, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_embedded__tells_health_and_counters, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_embedded__refuses_what_can_not_be, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_actor__runs_a_coordinator_and_answers, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_actor__that_can_not_start_says_why, s_setup, s_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
