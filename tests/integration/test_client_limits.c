// SPDX-License-Identifier: MPL-2.0
// The public client's edges: waits that are woken or end in time, limits and settings that are refused with a sentence,
// objects that are destroyed with something in hand.
#include "client_cluster.h"

#include <pthread.h>

static void *s_wake_soon(void *consumer)
{
    usleep(50000); // allow-sleep: not to synchronise, either order of wake and poll must work
    weft_consumer_wake(consumer);
    return NULL;
}

static void test_client__wake_ends_a_wait(void **state)
{
    weft_consumer_t *consumer = s_consumer(NULL, NULL);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, s_wake_soon, consumer), 0);
    weft_records_t *records;
    weft_err_t err;
    do err = weft_consumer_poll(consumer, -1, &records);
    while (!err);
    assert_err(err, WEFT_ERR_INTERRUPTED);
    pthread_join(thread, NULL);
    weft_consumer_destroy(&consumer);
}

static void test_client__idle_time_does_not_count(void **state)
{
    s_create("idle", 1);
    weft_admin_t *admin = NULL;
    assert_ok(weft_admin_new((const char *[]){s_bootstrap, "request.timeout.ms=2500", NULL}, &admin, NULL));
    weft_producer_t *producer = s_producer("delivery.timeout.ms=2500", "request.timeout.ms=2000", NULL);
    weft_topic_t *topic = s_topic(producer, "idle");
    assert_ok(weft_producer_send(producer, topic, 0, WEFT_SLICE_NIL, weft_text("1"), NULL));
    assert_ok(weft_producer_flush(producer, 10000));
    struct weft_partition_marks marks;
    assert_ok(weft_admin_partition_status(admin, "idle", 0, &marks));
    usleep(2800000); // allow-sleep: this is what is tested, longer than both timeouts
    assert_ok(weft_producer_send(producer, topic, 0, WEFT_SLICE_NIL, weft_text("2"), NULL));
    assert_ok(weft_admin_partition_status(admin, "idle", 0, &marks));
    assert_ok(weft_producer_flush(producer, 10000));
    weft_producer_destroy(&producer);
    weft_admin_destroy(&admin);
}

static void test_client__limits_are_known_before_sending(void **state)
{
    s_create("limits", 1);
    weft_producer_t *producer = s_producer(NULL, NULL, NULL);
    weft_topic_t *topic = s_topic(producer, "limits");
    size_t size = 20u << 20;
    uint8_t *value = calloc(1, size);
    assert_err(weft_producer_send(producer, topic, 0, WEFT_SLICE_NIL, weft_bytes(value, size), NULL),
               WEFT_ERR_RECORD_TOO_LARGE);
    assert_err(weft_producer_send(producer, topic, 0, WEFT_SLICE_NIL, weft_bytes(value, 3u << 20), NULL), WEFT_OK);
    weft_err_t err = weft_producer_flush(producer, 10000); // larger than the topic's max.record.bytes
    assert_err(err, WEFT_ERR_RECORD_TOO_LARGE);
    assert_ok(weft_producer_send(producer, topic, 0, WEFT_SLICE_NIL, weft_text("fits"), NULL));
    assert_ok(weft_producer_flush(producer, 10000));
    free(value);
    int32_t count;
    weft_topic_t *missing = s_topic(producer, "does-not-exist");
    assert_err(weft_producer_partition_count(producer, missing, 10000, &count), WEFT_ERR_UNKNOWN_TOPIC);
    assert_ok(weft_producer_close(producer, 1000));
    assert_err(weft_producer_send(producer, topic, 0, WEFT_SLICE_NIL, weft_text("late"), NULL), WEFT_ERR_LOCAL_CLOSED);
    weft_producer_destroy(&producer);
}

static void test_client__a_wrong_setting_is_refused_with_a_sentence(void **state)
{
    struct weft_error error;
    weft_producer_t *producer = NULL;
    assert_err(weft_producer_new((const char *[]){"ackss=all", NULL}, &producer, &error), WEFT_ERR_INVALID_OPTION);
    assert_non_null(strstr(error.text, "acks"));
    assert_err(weft_producer_new((const char *[]){"bootstrap=nowhere", NULL}, &producer, &error),
               WEFT_ERR_INVALID_ENDPOINT);
    weft_consumer_t *consumer = NULL;
    assert_err(weft_consumer_new((const char *[]){"reset=never", NULL}, &consumer, &error), WEFT_ERR_INVALID_OPTION);
    assert_null(producer);
    assert_null(consumer);
}

static void test_client__nobody_there_ends_in_time(void **state)
{
    weft_admin_t *admin;
    assert_ok(
        weft_admin_new((const char *[]){"bootstrap=tcp://127.0.0.1:1", "request.timeout.ms=300", NULL}, &admin, NULL));
    weft_metadata_t *metadata;
    assert_err(weft_admin_metadata(admin, NULL, 0, false, &metadata), WEFT_ERR_LOCAL_NOT_CONNECTED);
    assert_non_null(strstr(weft_admin_error_text(admin), "tcp://127.0.0.1:1"));
    weft_admin_destroy(&admin);
    weft_producer_t *producer;
    assert_ok(weft_producer_new((const char *[]){"bootstrap=tcp://127.0.0.1:1", "delivery.timeout.ms=200", NULL},
                                &producer, NULL));
    weft_topic_t *topic = s_topic(producer, "any");
    weft_delivery_t *delivery = NULL;
    struct weft_send_extra extra = {.delivery = &delivery};
    assert_ok(weft_producer_send(producer, topic, 0, WEFT_SLICE_NIL, weft_text("x"), &extra));
    assert_err(weft_delivery_wait(delivery, 10000), WEFT_ERR_LOCAL_NOT_CONNECTED);
    assert_int_equal(weft_delivery_outcome(delivery), WEFT_OUTCOME_NOT_APPLIED);
    weft_producer_destroy(&producer);
    weft_delivery_destroy(&delivery); // after the producer is fine
}

struct last_words {
    weft_producer_t *producer;
    weft_topic_t *topic;
    int reports;
    weft_err_t error, again;
};

static void s_send_from_report(void *context, const struct weft_report *report)
{
    struct last_words *self = context;
    self->reports++;
    self->error = report->error;
    self->again = weft_producer_send(self->producer, self->topic, 0, WEFT_SLICE_NIL, weft_text("again"), NULL);
}

static void test_client__destroy_reports_what_waits_and_takes_nothing_more(void **state)
{
    struct last_words words = {.again = WEFT_OK};
    assert_ok(weft_producer_new((const char *[]){"bootstrap=tcp://127.0.0.1:1", NULL}, &words.producer, NULL));
    words.topic = s_topic(words.producer, "any");
    weft_producer_on_report(words.producer, s_send_from_report, &words);
    assert_ok(weft_producer_send(words.producer, words.topic, 0, WEFT_SLICE_NIL, weft_text("x"), NULL));
    weft_producer_t *producer = words.producer;
    weft_producer_destroy(&producer);
    assert_int_equal(words.reports, 1);
    assert_err(words.error, WEFT_ERR_LOCAL_CLOSED);
    assert_err(words.again, WEFT_ERR_LOCAL_CLOSED); // else it would never be reported
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client__wake_ends_a_wait),
        cmocka_unit_test(test_client__idle_time_does_not_count),
        cmocka_unit_test(test_client__limits_are_known_before_sending),
        cmocka_unit_test(test_client__a_wrong_setting_is_refused_with_a_sentence),
        cmocka_unit_test(test_client__nobody_there_ends_in_time),
        cmocka_unit_test(test_client__destroy_reports_what_waits_and_takes_nothing_more),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
