// SPDX-License-Identifier: MPL-2.0
#include "lib/base/metrics.h"

#include "lib/base/rand.h"
#include "tests/support/test.h"

static void test_metrics__counters_begin_at_zero_and_add(void **state)
{
    static const struct weft_counter_info infos[] = {{"frames_count", "Frames."}, {"bytes", "Bytes."}};
    weft_counters_t counters;
    weft_counters_init(&counters, infos, 2);
    assert_int_equal(weft_counter_get(&counters, 0), 0);
    weft_counter_add(&counters, 1, 5);
    weft_counter_add(&counters, 1, 6);
    weft_counter_set(&counters, 0, 3);
    assert_int_equal(weft_counter_get(&counters, 0), 3);
    assert_int_equal(weft_counter_get(&counters, 1), 11);
    assert_string_equal(counters.infos[1].name, "bytes");
    weft_counters_fini(&counters);
}

static void test_metrics__an_empty_histogram_answers_zero(void **state)
{
    weft_histogram_t *histogram = weft_histogram_new();
    assert_int_equal(weft_histogram_count(histogram), 0);
    assert_int_equal(weft_histogram_quantile(histogram, 0.5), 0);
    assert_int_equal(weft_histogram_max(histogram), 0);
    weft_histogram_destroy(&histogram);
    assert_null(histogram);
}

static void test_metrics__quantiles_of_small_values_are_exact(void **state)
{
    weft_histogram_t *histogram = weft_histogram_new();
    for (uint64_t i = 1; i <= 100; i++) weft_histogram_add(histogram, i);
    assert_int_equal(weft_histogram_quantile(histogram, 0.0), 1);
    assert_int_equal(weft_histogram_quantile(histogram, 0.5), 51);
    assert_int_equal(weft_histogram_quantile(histogram, 0.98), 99);
    assert_int_equal(weft_histogram_quantile(histogram, 1.0), 100);
    weft_histogram_destroy(&histogram);
}

static void test_metrics__any_value_comes_back_within_a_64th(void **state)
{
    const uint64_t hour_ns = UINT64_C(3600) * 1000 * 1000 * 1000;
    weft_rand_t rand;
    weft_rand_init(&rand, 3);
    for (int i = 0; i < 3000; i++) {
        uint64_t value = weft_rand_next(&rand) >> (22 + i % 42);
        if (value > hour_ns) value = hour_ns;
        weft_histogram_t *histogram = weft_histogram_new();
        weft_histogram_add(histogram, value);
        weft_histogram_add(histogram, UINT64_MAX); // above the hour: kept as the maximum
        uint64_t got = weft_histogram_quantile(histogram, 0.1);
        assert_true(got >= value && got - value <= value / 64);
        assert_true(weft_histogram_max(histogram) == UINT64_MAX);
        weft_histogram_destroy(&histogram);
    }
}

static void test_metrics__merging_equals_adding_to_one(void **state)
{
    weft_histogram_t *a = weft_histogram_new(), *b = weft_histogram_new(), *both = weft_histogram_new();
    weft_rand_t rand;
    weft_rand_init(&rand, 5);
    for (int i = 0; i < 10000; i++) {
        uint64_t value = weft_rand_below(&rand, 1000000);
        weft_histogram_add(i % 3 ? a : b, value);
        weft_histogram_add(both, value);
    }
    weft_histogram_merge(a, b);
    assert_int_equal(weft_histogram_count(a), 10000);
    for (int i = 0; i <= 100; i++)
        assert_int_equal(weft_histogram_quantile(a, i / 100.0), weft_histogram_quantile(both, i / 100.0));
    weft_histogram_destroy(&a);
    weft_histogram_destroy(&b);
    weft_histogram_destroy(&both);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics__counters_begin_at_zero_and_add),
        cmocka_unit_test(test_metrics__an_empty_histogram_answers_zero),
        cmocka_unit_test(test_metrics__quantiles_of_small_values_are_exact),
        cmocka_unit_test(test_metrics__any_value_comes_back_within_a_64th),
        cmocka_unit_test(test_metrics__merging_equals_adding_to_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
