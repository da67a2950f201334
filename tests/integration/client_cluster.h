// SPDX-License-Identifier: MPL-2.0
/** One embedded cluster on real sockets for the tests of a program, and the public client's objects for it. */
#ifndef WEFT_TESTS_INTEGRATION_CLIENT_CLUSTER_H
#define WEFT_TESTS_INTEGRATION_CLIENT_CLUSTER_H

#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <weft/embedded.h>
#include <weft/weft.h>

static char s_directory[WEFT_TEST_PATH_BYTES];
static char s_listen[64];
static char s_bootstrap[300];
static weft_embedded_t *s_cluster;

// On ports that stay the same over a restart.
static inline void s_start(void)
{
    struct weft_error error = {0};
    weft_err_t err = WEFT_OK;
    for (int tries = 0; tries < 20; tries++) {
        if (!s_listen[0])
            snprintf(s_listen, sizeof s_listen, "tcp://127.0.0.1:%d", 20000 + (getpid() * 7 + tries * 131) % 12000);
        struct weft_embedded_options options = {.data = s_directory, .listen = s_listen};
        err = weft_embedded_start(&options, &s_cluster, &error);
        if (err != WEFT_ERR_ENDPOINT_IN_USE) break;
        s_listen[0] = 0;
    }
    if (err) fail_msg("%s", error.text);
    snprintf(s_bootstrap, sizeof s_bootstrap, "bootstrap=%s", weft_embedded_bootstrap(s_cluster));
}

static inline int s_setup(void **state)
{
    weft_test_directory_make(s_directory);
    s_start();
    return 0;
}

static inline int s_teardown(void **state)
{
    (void) weft_embedded_stop(&s_cluster);
    weft_test_directory_remove(s_directory);
    return 0;
}

static inline weft_admin_t *s_admin(void)
{
    weft_admin_t *admin = NULL;
    assert_ok(weft_admin_new((const char *[]){s_bootstrap, "request.timeout.ms=10s", NULL}, &admin, NULL));
    return admin;
}

static inline void s_create(const char *topic, uint32_t partitions)
{
    weft_admin_t *admin = s_admin();
    weft_err_t err = weft_admin_create_topic(admin, topic, partitions, 1, NULL, 0, false, NULL);
    if (err) fail_msg("%s", weft_admin_error_text(admin));
    assert_ok(weft_admin_wait_topic(admin, topic, 10000));
    weft_admin_destroy(&admin);
}

static inline weft_producer_t *s_producer(const char *a, const char *b, const char *c)
{
    weft_producer_t *producer = NULL;
    struct weft_error error;
    weft_err_t err = weft_producer_new((const char *[]){s_bootstrap, a, b, c, NULL}, &producer, &error);
    if (err) fail_msg("%s", error.text);
    return producer;
}

static inline weft_consumer_t *s_consumer(const char *a, const char *b)
{
    weft_consumer_t *consumer = NULL;
    assert_ok(weft_consumer_new((const char *[]){s_bootstrap, a, b, NULL}, &consumer, NULL));
    return consumer;
}

static inline weft_topic_t *s_topic(weft_producer_t *producer, const char *name)
{
    weft_topic_t *topic = NULL;
    assert_ok(weft_producer_topic(producer, name, &topic));
    return topic;
}

static inline void s_send_numbers(weft_producer_t *producer, const char *name, int first, int count)
{
    weft_topic_t *topic = s_topic(producer, name);
    for (int i = first; i < first + count; i++) {
        char key[16], value[64];
        snprintf(key, sizeof key, "key-%d", i % 17);
        snprintf(value, sizeof value, "value number %d", i);
        weft_err_t err = weft_producer_send_wait(producer, topic, WEFT_PARTITION_AUTO, weft_text(key), weft_text(value),
                                                 NULL, 20000);
        if (err) fail_msg("%s: %s", weft_err_name(err), weft_producer_error_text(producer));
    }
}

// Reads the whole topic: numbers of a key must grow one by one (by 17), so none is missing, none twice, none out of
// order.
static inline int s_check_numbers(const char *name, const char *setting)
{
    weft_consumer_t *consumer = s_consumer(setting, NULL);
    struct weft_assignment all = {.topic = name, .partition = WEFT_PARTITION_ALL, .at = {WEFT_FROM_EARLIEST, 0}};
    assert_ok(weft_consumer_assign(consumer, &all, 1));
    int next[17], count = 0;
    for (int i = 0; i < 17; i++) next[i] = i;
    while (!weft_consumer_at_end(consumer)) {
        weft_records_t *records;
        assert_ok(weft_consumer_poll(consumer, 5000, &records));
        for (struct weft_record_view record; weft_records_next(records, &record); count++) {
            char value[64], expected[64];
            snprintf(value, sizeof value, "%.*s", (int) record.key.size, (const char *) record.key.data);
            int key = atoi(value + 4);
            snprintf(expected, sizeof expected, "value number %d", next[key]);
            assert_slice(record.value, expected);
            next[key] += 17;
        }
        for (struct weft_consumer_event event; weft_consumer_event(consumer, &event);)
            assert_int_equal(event.type, WEFT_EVENT_ASSIGNED);
    }
    weft_consumer_destroy(&consumer);
    return count;
}

#endif
