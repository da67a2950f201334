// SPDX-License-Identifier: MPL-2.0
// Small pure things: partitioner, positions, headers, endpoints, topic names, settings.
#include "tests/support/test.h"

#include "lib/client/cluster_view.h"
#include "lib/client/settings.h"

#include <stdio.h>
#include <string.h>
#include <weft/record.h>
#include <weft_gen/config.h>

static void test_partitioner__murmur2_is_kafkas(void **state)
{
    // From Kafka's UtilsTest.testMurmur2.
    static const struct {
        const char *key;
        int32_t hash;
    } known[] = {{"21", -973932308},
                 {"foobar", -790332482},
                 {"a-little-bit-long-string", -985981536},
                 {"a-little-bit-longer-string", -1486304829},
                 {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
                 {"abc", 479470107}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal((int32_t) weft_murmur2(weft_text(known[i].key)), known[i].hash);
    assert_int_equal(weft_partition_of_key(weft_text("foobar"), 10), (-790332482 & 0x7fffffff) % 10);
    assert_int_equal(weft_partition_of_key(weft_bytes("", 0), 1), 0);
}

static void test_position__reads_what_people_write(void **state)
{
    struct weft_position at;
    assert_ok(weft_position_parse("earliest", &at));
    assert_int_equal(at.from, WEFT_FROM_EARLIEST);
    assert_ok(weft_position_parse("latest", &at));
    assert_int_equal(at.from, WEFT_FROM_LATEST);
    assert_ok(weft_position_parse("1042", &at));
    assert_int_equal(at.from, WEFT_FROM_OFFSET);
    assert_int_equal(at.value, 1042);
    assert_ok(weft_position_parse("@1700000000", &at));
    assert_int_equal(at.value, INT64_C(1700000000000));
    assert_ok(weft_position_parse("@1700000000123", &at));
    assert_int_equal(at.value, INT64_C(1700000000123));
    assert_ok(weft_position_parse("@2023-11-14T22:13:20Z", &at));
    assert_int_equal(at.value, INT64_C(1700000000000));
    assert_int_equal(at.from, WEFT_FROM_TIME);
    static const char *const same[] = {"@2023-11-14 22:13:20", "@2023-11-14T23:13:20+01:00",
                                       "@2023-11-14T17:43:20-0430", "@2023-11-15T00:13:20+02"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        assert_ok(weft_position_parse(same[i], &at));
        assert_int_equal(at.value, INT64_C(1700000000000));
    }
    assert_ok(weft_position_parse("@2023-11-14T22:13", &at));
    assert_int_equal(at.value, INT64_C(1699999980000));
    static const char *const wrong[] = {"@2023-11-14T",
                                        "@2023-11-14T22",
                                        "@2023-11-14T22:13+1",
                                        "@2023-11-14T22:13+01:99",
                                        "@2023-11-14x",
                                        "",
                                        "-1",
                                        "x",
                                        "12x",
                                        "@",
                                        "@yesterday",
                                        "99999999999999999999",
                                        "@2023-11-14T99:00:00Z"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_err(weft_position_parse(wrong[i], &at), WEFT_ERR_INVALID_ARGUMENT);
}

static void test_headers__come_back_as_they_were_added(void **state)
{
    weft_headers_t *headers = weft_headers_new();
    assert_null(weft_headers_encoded(headers).data);
    static uint8_t large[70000];
    weft_headers_add(headers, "trace", weft_text("abc"));
    weft_headers_add(headers, "trace", WEFT_SLICE_NIL);
    weft_headers_add(headers, "", weft_bytes("", 0));
    weft_headers_add(headers, "large", weft_bytes(large, sizeof large));
    weft_slice_t rest = weft_headers_encoded(headers), name, value;
    assert_true(weft_headers_next(&rest, &name, &value));
    assert_slice(name, "trace");
    assert_slice(value, "abc");
    assert_true(weft_headers_next(&rest, &name, &value));
    assert_slice(name, "trace");
    assert_null(value.data);
    assert_true(weft_headers_next(&rest, &name, &value));
    assert_int_equal(name.size, 0);
    assert_non_null(value.data);
    assert_true(weft_headers_next(&rest, &name, &value));
    assert_int_equal(value.size, sizeof large);
    assert_false(weft_headers_next(&rest, &name, &value));
    weft_headers_destroy(&headers);
    assert_null(headers);
}

static void test_headers__of_any_number_are_legal_records(void **state)
{
    weft_headers_t *headers = weft_headers_new();
    weft_batch_builder_t builder;
    weft_batch_builder_init(&builder);
    static const uint32_t counts[] = {1, 7, 8, 40000};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        weft_headers_clear(headers);
        for (uint32_t k = 0; k < counts[i]; k++) weft_headers_add(headers, "n", weft_text("v"));
        weft_batch_builder_add(&builder, 1, WEFT_SLICE_NIL, weft_text("x"), weft_headers_encoded(headers));
        weft_slice_t payload =
            weft_bytes(builder.buf.data + WEFT_BATCH_HEADER_BYTES, builder.buf.size - WEFT_BATCH_HEADER_BYTES);
        assert_ok(weft_batch_check_records(payload, 1, 1 << 20, NULL));
        weft_slice_t rest = weft_headers_encoded(headers), name, value;
        uint32_t found = 0;
        while (weft_headers_next(&rest, &name, &value)) found++;
        assert_int_equal(found, counts[i]);
        weft_batch_builder_reset(&builder);
    }
    weft_batch_builder_fini(&builder);
    weft_headers_destroy(&headers);
}

static void test_view__endpoints_and_names_are_checked(void **state)
{
    static const char *const legal[] = {"tcp://127.0.0.1:9650", "tcp://host.name:1", "tcp://[::1]:80", "ipc:///tmp/x",
                                        "inproc://x"};
    for (size_t i = 0; i < sizeof legal / sizeof *legal; i++)
        assert_true(weft_view_endpoint_is_legal(weft_text(legal[i])));
    static const char *const wrong[] = {"",
                                        "tcp://",
                                        "tcp://host",
                                        "tcp://host:",
                                        "tcp://:80",
                                        "tcp://host:0",
                                        "tcp://host:65536",
                                        "tcp://host:8x",
                                        "udp://host:80",
                                        "ipc://",
                                        "host:80"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(weft_view_endpoint_is_legal(weft_text(wrong[i])));
    assert_true(weft_topic_name_is_legal("a.b_c-9"));
    assert_false(weft_topic_name_is_legal(""));
    assert_false(weft_topic_name_is_legal(".."));
    assert_false(weft_topic_name_is_legal("a b"));
    weft_view_t view;
    struct weft_error error;
    assert_err(weft_view_init(&view, "tcp://a:1,nonsense", &error), WEFT_ERR_INVALID_ENDPOINT);
    assert_non_null(strstr(error.text, "nonsense"));
    assert_err(weft_view_init(&view, " , ", &error), WEFT_ERR_INVALID_ENDPOINT);
    assert_ok(weft_view_init(&view, "tcp://a:1, tcp://b:2", &error));
    assert_int_equal(view.bootstrap_count, 2);
    weft_view_fini(&view);
}

static void test_settings__environment_names_the_cluster(void **state)
{
    weft_options_t *options;
    struct weft_error error;
    setenv("WEFT_BOOTSTRAP", "tcp://env:1", 1);
    assert_ok(
        weft_settings_parse(NULL, weft_options_producer, weft_options_producer_count, "producer", &options, &error));
    assert_string_equal(weft_options_text(options, "bootstrap"), "tcp://env:1");
    weft_options_destroy(&options);
    const char *settings[] = {"bootstrap=tcp://given:1", "acks=leader", NULL};
    assert_ok(weft_settings_parse(settings, weft_options_producer, weft_options_producer_count, "producer", &options,
                                  &error));
    assert_string_equal(weft_options_text(options, "bootstrap"), "tcp://given:1");
    assert_int_equal(weft_options_int(options, "acks"), WEFT_PRODUCER_ACKS_LEADER);
    weft_options_destroy(&options);
    const char *wrong[] = {"ack=leader", NULL};
    assert_err(
        weft_settings_parse(wrong, weft_options_producer, weft_options_producer_count, "producer", &options, &error),
        WEFT_ERR_INVALID_OPTION);
    assert_non_null(strstr(error.text, "acks")); // the nearest
    unsetenv("WEFT_BOOTSTRAP");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partitioner__murmur2_is_kafkas),
        cmocka_unit_test(test_position__reads_what_people_write),
        cmocka_unit_test(test_headers__come_back_as_they_were_added),
        cmocka_unit_test(test_headers__of_any_number_are_legal_records),
        cmocka_unit_test(test_view__endpoints_and_names_are_checked),
        cmocka_unit_test(test_settings__environment_names_the_cluster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
