// SPDX-License-Identifier: MPL-2.0
// The public client against the embedded cluster on real sockets: what went in comes out, once, in order, whatever the
// settings; restarts in the middle; everything the admin does.
#include "tests/support/test.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <weft/embedded.h>
#include <weft/weft.h>

static char s_directory[WEFT_TEST_PATH_BYTES];
static char s_listen[64];
static char s_bootstrap[300];
static weft_embedded_t *s_cluster;

// ---- helpers

// On ports that stay the same over a restart.
static void s_start(void)
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

static int s_setup(void **state)
{
    weft_test_directory_make(s_directory);
    s_start();
    return 0;
}

static int s_teardown(void **state)
{
    (void) weft_embedded_stop(&s_cluster);
    weft_test_directory_remove(s_directory);
    return 0;
}

static weft_admin_t *s_admin(void)
{
    weft_admin_t *admin = NULL;
    assert_ok(weft_admin_new((const char *[]){s_bootstrap, "request.timeout.ms=10s", NULL}, &admin, NULL));
    return admin;
}

static void s_create(const char *topic, uint32_t partitions)
{
    weft_admin_t *admin = s_admin();
    weft_err_t err = weft_admin_create_topic(admin, topic, partitions, 1, NULL, 0, false, NULL);
    if (err) fail_msg("%s", weft_admin_error_text(admin));
    assert_ok(weft_admin_wait_topic(admin, topic, 10000));
    weft_admin_destroy(&admin);
}

static weft_producer_t *s_producer(const char *a, const char *b, const char *c)
{
    weft_producer_t *producer = NULL;
    struct weft_error error;
    weft_err_t err = weft_producer_new((const char *[]){s_bootstrap, a, b, c, NULL}, &producer, &error);
    if (err) fail_msg("%s", error.text);
    return producer;
}

static weft_consumer_t *s_consumer(const char *a, const char *b)
{
    weft_consumer_t *consumer = NULL;
    assert_ok(weft_consumer_new((const char *[]){s_bootstrap, a, b, NULL}, &consumer, NULL));
    return consumer;
}

static weft_topic_t *s_topic(weft_producer_t *producer, const char *name)
{
    weft_topic_t *topic = NULL;
    assert_ok(weft_producer_topic(producer, name, &topic));
    return topic;
}

static void s_send_numbers(weft_producer_t *producer, const char *name, int first, int count)
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
static int s_check_numbers(const char *name, const char *setting)
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

// ---- round trips

static void test_client__what_went_in_comes_out_whatever_the_settings(void **state)
{
    static const char *const acks[] = {"acks=leader", "acks=all"};
    static const char *const codecs[] = {"compression=none", "compression=lz4", "compression=zstd"};
    static const char *const others[] = {"idempotent=false", "linger.ms=0", "batch.bytes=2KiB", "durable=false"};
    int number = 0;
    for (size_t a = 0; a < 2; a++)
        for (size_t c = 0; c < 3; c++) {
            char name[32];
            snprintf(name, sizeof name, "settings-%d", number);
            s_create(name, 3);
            weft_producer_t *producer = s_producer(acks[a], codecs[c], others[number++ % 4]);
            s_send_numbers(producer, name, 0, 3000);
            assert_ok(weft_producer_flush(producer, 20000));
            assert_int_equal(weft_producer_waiting_bytes(producer), 0);
            assert_ok(weft_producer_close(producer, 1000));
            weft_producer_destroy(&producer);
            assert_int_equal(s_check_numbers(name, a == 1 && c == 2 ? "read=durable" : "fetch.bytes=4KiB"), 3000);
        }
}

static void test_client__records_keep_every_part(void **state)
{
    s_create("parts", 1);
    weft_producer_t *producer = s_producer("linger.ms=0", NULL, NULL);
    weft_topic_t *topic = s_topic(producer, "parts");
    weft_headers_t *headers = weft_headers_new();
    weft_headers_add(headers, "a", weft_text("1"));
    weft_headers_add(headers, "a", WEFT_SLICE_NIL);
    static uint8_t large[300000];
    memset(large, 'L', sizeof large);
    int64_t sent_ms = (int64_t) time(NULL) * 1000 - 3600123; // an hour ago: retention goes by the records' time
    struct weft_send_extra extra = {.headers = weft_headers_encoded(headers), .timestamp_ms = sent_ms};
    assert_ok(weft_producer_send(producer, topic, 0, WEFT_SLICE_NIL, weft_bytes("", 0), &extra));
    assert_ok(weft_producer_send(producer, topic, 0, weft_bytes("", 0), WEFT_SLICE_NIL, NULL));
    assert_ok(weft_producer_send(producer, topic, 0, weft_text("k"), weft_bytes(large, sizeof large), NULL));
    assert_ok(weft_producer_flush(producer, 10000));
    weft_headers_destroy(&headers);
    weft_producer_destroy(&producer);

    weft_consumer_t *consumer = s_consumer("fetch.bytes=1KiB", NULL);
    struct weft_assignment from = {.topic = "parts", .partition = 0, .at = {WEFT_FROM_OFFSET, 0}};
    assert_ok(weft_consumer_assign(consumer, &from, 1));
    int count = 0;
    while (!weft_consumer_at_end(consumer)) {
        weft_records_t *records;
        assert_ok(weft_consumer_poll(consumer, 5000, &records));
        for (struct weft_record_view record; weft_records_next(records, &record); count++) {
            assert_int_equal(record.offset, count);
            weft_slice_t rest = record.headers, name, value;
            if (record.offset == 0) {
                assert_null(record.key.data);
                assert_non_null(record.value.data);
                assert_int_equal(record.timestamp_ms, sent_ms);
                assert_true(weft_headers_next(&rest, &name, &value));
                assert_slice(value, "1");
                assert_true(weft_headers_next(&rest, &name, &value));
                assert_null(value.data);
                assert_false(weft_headers_next(&rest, &name, &value));
            } else if (record.offset == 1) {
                assert_non_null(record.key.data);
                assert_null(record.value.data);
                assert_false(weft_headers_next(&rest, &name, &value));
                assert_true(llabs(record.timestamp_ms - (int64_t) time(NULL) * 1000) < 60000);
            } else
                assert_int_equal(record.value.size, sizeof large);
        }
    }
    assert_int_equal(count, 3);
    weft_consumer_destroy(&consumer);
}

static void test_client__a_restart_in_the_middle_loses_and_doubles_nothing(void **state)
{
    s_create("restart", 3);
    weft_producer_t *producer = s_producer("batch.bytes=4KiB", "retry.backoff.ms=20", NULL);
    s_send_numbers(producer, "restart", 0, 5000);
    assert_int_equal(weft_embedded_stop(&s_cluster), WEFT_OK);
    s_send_numbers(producer, "restart", 5000, 2000); // meanwhile nobody is there
    (void) weft_producer_poll(producer, 50);
    s_start();
    s_send_numbers(producer, "restart", 7000, 3000);
    weft_err_t err = weft_producer_flush(producer, 60000);
    if (err) fail_msg("%s: %s", weft_err_name(err), weft_producer_error_text(producer));
    assert_int_equal(s_check_numbers("restart", NULL), 10000);
    weft_producer_destroy(&producer);
}

static void test_client__a_consumer_lives_through_a_restart(void **state)
{
    s_create("reading", 2);
    weft_consumer_t *consumer = s_consumer("retry.backoff.ms=20", "reset=error");
    struct weft_assignment all = {.topic = "reading", .partition = WEFT_PARTITION_ALL, .at = {WEFT_FROM_EARLIEST, 0}};
    assert_ok(weft_consumer_assign(consumer, &all, 1));
    weft_producer_t *producer = s_producer(NULL, NULL, NULL);
    int seen = 0;
    for (int round = 0; round < 2; round++) {
        s_send_numbers(producer, "reading", round * 1700, 1700);
        assert_ok(weft_producer_flush(producer, 60000));
        time_t begin = time(NULL);
        while (seen < (round + 1) * 1700 && time(NULL) - begin < 60) {
            weft_records_t *records;
            assert_ok(weft_consumer_poll(consumer, 1000, &records));
            for (struct weft_record_view record; weft_records_next(records, &record);) seen++;
            for (struct weft_consumer_event event; weft_consumer_event(consumer, &event);)
                assert_int_equal(event.type, WEFT_EVENT_ASSIGNED);
        }
        assert_int_equal(seen, (round + 1) * 1700);
        if (round) break;
        assert_int_equal(weft_embedded_stop(&s_cluster), WEFT_OK);
        s_start();
    }
    weft_producer_destroy(&producer);
    weft_consumer_destroy(&consumer);
}

// ---- places

static int64_t s_first_offset(weft_consumer_t *consumer, struct weft_position at)
{
    assert_ok(weft_consumer_seek(consumer, "places", 0, at));
    for (int i = 0; i < 20; i++) {
        weft_records_t *records;
        struct weft_record_view record;
        assert_ok(weft_consumer_poll(consumer, 2000, &records));
        if (weft_records_next(records, &record)) return record.offset;
    }
    return -1;
}

static void test_client__begins_at_any_place(void **state)
{
    s_create("places", 1);
    int64_t base_ms = (int64_t) time(NULL) * 1000 - 60000; // of our days: retention goes by the records' time
    weft_producer_t *producer = s_producer("batch.bytes=1KiB", NULL, NULL);
    weft_topic_t *topic = s_topic(producer, "places");
    for (int i = 0; i < 1000; i++) {
        struct weft_send_extra extra = {.timestamp_ms = base_ms + i * 10};
        assert_ok(weft_producer_send_wait(producer, topic, 0, WEFT_SLICE_NIL, weft_text("x"), &extra, 5000));
    }
    assert_ok(weft_producer_flush(producer, 10000));
    weft_consumer_t *consumer = s_consumer("reset=earliest", NULL);
    struct weft_assignment first = {.topic = "places", .partition = 0};
    assert_ok(weft_consumer_assign(consumer, &first, 1));
    weft_records_t *records;
    while (!weft_consumer_at_end(consumer)) {
        assert_ok(weft_consumer_poll(consumer, 1000, &records));
        for (struct weft_record_view record; weft_records_next(records, &record);) continue;
    }
    assert_int_equal(s_first_offset(consumer, (struct weft_position){WEFT_FROM_EARLIEST, 0}), 0);
    assert_int_equal(s_first_offset(consumer, (struct weft_position){WEFT_FROM_OFFSET, 777}), 777);
    assert_int_equal(s_first_offset(consumer, (struct weft_position){WEFT_FROM_TIME, base_ms + 5551}), 556);
    // latest: nothing until something new comes
    assert_ok(weft_consumer_seek(consumer, "places", 0, (struct weft_position){WEFT_FROM_LATEST, 0}));
    struct weft_partition_position position = {.position = -1};
    for (int i = 0; i < 50 && position.position != 1000; i++) {
        assert_ok(weft_consumer_poll(consumer, 100, &records));
        assert_true(weft_consumer_position(consumer, 0, &position));
    }
    assert_int_equal(position.position, 1000);
    assert_ok(weft_producer_send(producer, topic, 0, WEFT_SLICE_NIL, weft_text("new"), NULL));
    assert_ok(weft_producer_flush(producer, 10000));
    struct weft_record_view record = {.offset = -1};
    for (int i = 0; i < 20 && record.offset < 0; i++) {
        assert_ok(weft_consumer_poll(consumer, 1000, &records));
        (void) weft_records_next(records, &record);
    }
    assert_int_equal(record.offset, 1000);
    // an offset far beyond: by reset, and said
    assert_int_equal(s_first_offset(consumer, (struct weft_position){WEFT_FROM_OFFSET, 1000000}), 0);
    bool said = false;
    for (struct weft_consumer_event event; weft_consumer_event(consumer, &event);)
        said |= event.type == WEFT_EVENT_RESET && event.from_offset == 1000000 && event.offset == 0;
    assert_true(said);
    weft_producer_destroy(&producer);
    weft_consumer_destroy(&consumer);
}

static void test_client__a_glob_takes_topics_created_later(void **state)
{
    s_create("glob-a", 1);
    weft_consumer_t *consumer = s_consumer("metadata.ms=100ms", NULL);
    assert_ok(
        weft_consumer_subscribe(consumer, (const char *[]){"glob-*"}, 1, (struct weft_position){WEFT_FROM_LATEST, 0}));
    weft_records_t *records;
    for (int i = 0; i < 50 && !weft_consumer_at_end(consumer); i++)
        assert_ok(weft_consumer_poll(consumer, 100, &records));
    s_create("glob-b", 2);
    weft_producer_t *producer = s_producer(NULL, NULL, NULL);
    s_send_numbers(producer, "glob-b", 0, 100);
    assert_ok(weft_producer_flush(producer, 10000));
    int seen = 0;
    time_t begin = time(NULL);
    while (seen < 100 && time(NULL) - begin < 30) {
        assert_ok(weft_consumer_poll(consumer, 500, &records));
        for (struct weft_record_view record; weft_records_next(records, &record); seen++)
            assert_string_equal(record.topic, "glob-b");
    }
    assert_int_equal(seen, 100);
    weft_producer_destroy(&producer);
    weft_consumer_destroy(&consumer);
}

// ---- admin

static void test_client__admin_tells_what_is_wrong(void **state)
{
    weft_admin_t *admin = s_admin();
    s_create("customers", 2);
    assert_err(weft_admin_create_topic(admin, "customers", 2, 1, NULL, 0, false, NULL), WEFT_ERR_TOPIC_EXISTS);
    assert_err(weft_admin_create_topic(admin, "no good", 2, 1, NULL, 0, false, NULL), WEFT_ERR_INVALID_TOPIC);
    assert_err(weft_admin_create_topic(admin, "none", 0, 1, NULL, 0, false, NULL), WEFT_ERR_INVALID_PARTITIONS);
    assert_err(weft_admin_create_topic(admin, "many", 1, 9, NULL, 0, false, NULL), WEFT_ERR_INVALID_REPLICATION);
    struct weft_setting wrong = {"retention.mss", "1"};
    assert_err(weft_admin_create_topic(admin, "wrong", 1, 1, &wrong, 1, false, NULL), WEFT_ERR_INVALID_CONFIG);
    assert_non_null(strstr(weft_admin_error_text(admin), "retention.ms"));
    assert_err(weft_admin_delete_topic(admin, "customer", NULL), WEFT_ERR_UNKNOWN_TOPIC);
    assert_non_null(strstr(weft_admin_error_text(admin), "customers"));
    struct weft_partition_marks marks;
    assert_err(weft_admin_partition_status(admin, "customers", 2, &marks), WEFT_ERR_UNKNOWN_TOPIC);
    assert_err(weft_admin_partition_status(admin, "customers", -1, &marks), WEFT_ERR_INVALID_ARGUMENT);
    weft_node_hello_t *hello;
    assert_err(weft_admin_hello(admin, "nonsense", &hello), WEFT_ERR_INVALID_ENDPOINT);
    weft_admin_destroy(&admin);
}

static void test_client__admin_does_what_the_command_needs(void **state)
{
    weft_admin_t *admin = s_admin();
    struct weft_setting settings[] = {{"retention.ms", "1h"}};
    struct weft_topic_change change;
    assert_ok(weft_admin_create_topic(admin, "managed", 2, 1, settings, 1, true, NULL)); // only checked
    assert_ok(weft_admin_create_topic(admin, "managed", 2, 1, settings, 1, false, &change));
    assert_ok(weft_admin_wait_topic(admin, "managed", 10000));
    weft_topic_config_t *config;
    assert_ok(weft_admin_describe_topic(admin, "managed", &config));
    assert_memory_equal(config->topic_id.bytes, change.topic_id.bytes, 16);
    assert_int_equal(config->partitions, 2);
    bool found = false;
    for (size_t i = 0; i < config->setting_count; i++)
        if (!strcmp(config->settings[i].key, "retention.ms")) found = !config->settings[i].is_default;
    assert_true(found);
    weft_topic_config_destroy(&config);
    assert_null(config);
    assert_ok(weft_admin_alter_topic(admin, "managed", NULL, 0, (const char *[]){"retention.ms"}, 1, NULL));
    assert_ok(weft_admin_add_partitions(admin, "managed", 4, NULL));
    assert_ok(weft_admin_wait_topic(admin, "managed", 10000));

    weft_producer_t *producer = s_producer("batch.bytes=1KiB", NULL, NULL);
    weft_topic_t *topic = s_topic(producer, "managed");
    for (int i = 0; i < 500; i++)
        assert_ok(weft_producer_send_wait(producer, topic, 0, WEFT_SLICE_NIL, weft_text("value"), NULL, 5000));
    assert_ok(weft_producer_flush(producer, 10000));
    weft_producer_destroy(&producer);
    struct weft_offset_found offset;
    assert_ok(weft_admin_list_offsets(admin, "managed", 0, (struct weft_position){WEFT_FROM_LATEST, 0}, true, &offset));
    assert_int_equal(offset.offset, 500);
    int64_t log_start;
    assert_ok(weft_admin_delete_records(admin, "managed", 0, 200, &log_start));
    assert_int_equal(log_start, 200);
    assert_ok(
        weft_admin_list_offsets(admin, "managed", 0, (struct weft_position){WEFT_FROM_EARLIEST, 0}, false, &offset));
    assert_int_equal(offset.offset, 200);
    struct weft_partition_marks marks;
    assert_ok(weft_admin_partition_status(admin, "managed", 0, &marks));
    assert_int_equal(marks.log_end, 500);
    assert_int_equal(marks.log_start, 200);

    weft_metadata_t *metadata;
    assert_ok(weft_admin_metadata(admin, (const char *[]){"managed", "unknown"}, 2, false, &metadata));
    assert_int_equal(metadata->topic_count, 2);
    assert_int_equal(metadata->topics[0].partition_count, 4);
    assert_int_equal(metadata->topics[1].error, WEFT_ERR_UNKNOWN_TOPIC);
    assert_int_equal(metadata->broker_count, 1);
    weft_metadata_destroy(&metadata);
    weft_cluster_health_t *health;
    assert_ok(weft_admin_cluster_status(admin, &health));
    assert_true(health->topics >= 1);
    assert_int_equal(health->broker_count, 1);
    weft_cluster_health_destroy(&health);
    weft_node_report_t *report;
    assert_ok(weft_admin_node_status(admin, weft_embedded_endpoint(s_cluster), &report));
    assert_true(report->counter_count > 0);
    weft_node_report_destroy(&report);
    weft_node_hello_t *hello;
    assert_ok(weft_admin_hello(admin, NULL, &hello));
    assert_true(hello->session_window >= 16);
    assert_true(hello->round_trip_us > 0);
    weft_node_hello_destroy(&hello);
    assert_ok(weft_admin_delete_topic(admin, "managed", NULL));
    weft_admin_destroy(&admin);
}

static void test_client__a_topic_created_anew_is_not_taken_for_the_old_one(void **state)
{
    s_create("again", 1);
    weft_producer_t *producer = s_producer("linger.ms=0", "delivery.timeout.ms=20s", NULL);
    weft_consumer_t *consumer = s_consumer("metadata.ms=100ms", NULL);
    struct weft_assignment all = {.topic = "again", .partition = 0, .at = {WEFT_FROM_EARLIEST, 0}};
    assert_ok(weft_consumer_assign(consumer, &all, 1));
    weft_topic_t *topic = s_topic(producer, "again");
    for (int i = 0; i < 5; i++)
        assert_ok(weft_producer_send(producer, topic, 0, WEFT_SLICE_NIL, weft_text("old"), NULL));
    assert_ok(weft_producer_flush(producer, 10000));
    int old = 0, fresh = 0;
    weft_records_t *records;
    time_t begin = time(NULL);
    while (old < 5 && time(NULL) - begin < 30) {
        assert_ok(weft_consumer_poll(consumer, 1000, &records));
        for (struct weft_record_view record; weft_records_next(records, &record);) old++;
    }
    weft_admin_t *admin = s_admin();
    assert_ok(weft_admin_delete_topic(admin, "again", NULL));
    weft_admin_destroy(&admin);
    s_create("again", 1);
    // The first may still meet the old id, which is an error for that record; then the new topic is known.
    weft_err_t err = WEFT_ERR_LOCAL_TIMED_OUT;
    begin = time(NULL);
    while (err && time(NULL) - begin < 30) {
        err = weft_producer_send(producer, topic, 0, WEFT_SLICE_NIL, weft_text("new"), NULL);
        if (!err)
            err = weft_producer_flush(producer, 10000);
        else
            (void) weft_producer_poll(producer, 50);
    }
    assert_ok(err);
    begin = time(NULL);
    while (!fresh && time(NULL) - begin < 30) {
        assert_ok(weft_consumer_poll(consumer, 1000, &records));
        for (struct weft_record_view record; weft_records_next(records, &record);) {
            assert_slice(record.value, "new");
            fresh++;
        }
    }
    assert_true(fresh > 0);
    bool said = false;
    for (struct weft_consumer_event event; weft_consumer_event(consumer, &event);)
        said |= event.type == WEFT_EVENT_RESET || event.type == WEFT_EVENT_REVOKED;
    assert_true(said);
    weft_producer_destroy(&producer);
    weft_consumer_destroy(&consumer);
}

// ---- threads and limits

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
        cmocka_unit_test(test_client__what_went_in_comes_out_whatever_the_settings),
        cmocka_unit_test(test_client__records_keep_every_part),
        cmocka_unit_test(test_client__begins_at_any_place),
        cmocka_unit_test(test_client__a_glob_takes_topics_created_later),
        cmocka_unit_test(test_client__admin_tells_what_is_wrong),
        cmocka_unit_test(test_client__admin_does_what_the_command_needs),
        cmocka_unit_test(test_client__a_topic_created_anew_is_not_taken_for_the_old_one),
        cmocka_unit_test(test_client__wake_ends_a_wait),
        cmocka_unit_test(test_client__idle_time_does_not_count),
        cmocka_unit_test(test_client__limits_are_known_before_sending),
        cmocka_unit_test(test_client__a_wrong_setting_is_refused_with_a_sentence),
        cmocka_unit_test(test_client__nobody_there_ends_in_time),
        cmocka_unit_test(test_client__destroy_reports_what_waits_and_takes_nothing_more),
        cmocka_unit_test(test_client__a_restart_in_the_middle_loses_and_doubles_nothing),
        cmocka_unit_test(test_client__a_consumer_lives_through_a_restart),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
