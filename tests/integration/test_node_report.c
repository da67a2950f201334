// SPDX-License-Identifier: MPL-2.0
// What a child tells its parent on a pipe is read back as it was, and nothing else is taken for it.
#include "tests/support/test.h"

#include "lib/node_report.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static void test_node_report__lines_are_read_back(void **state)
{
    struct weft_node_report report;
    assert_true(weft_node_report_parse("E tcp://127.0.0.1:9650", &report));
    assert_true(report.kind == WEFT_NODE_REPORT_ENDPOINT);
    assert_string_equal(report.text, "tcp://127.0.0.1:9650");
    assert_true(weft_node_report_parse("H serving", &report));
    assert_true(report.kind == WEFT_NODE_REPORT_HEALTH && report.health == WEFT_HEALTH_SERVING && !report.text[0]);
    assert_true(weft_node_report_parse("H degraded no coordinator answers", &report));
    assert_true(report.health == WEFT_HEALTH_DEGRADED);
    assert_string_equal(report.text, "no coordinator answers");
    assert_true(weft_node_report_parse("C", &report));
    assert_true(report.kind == WEFT_NODE_REPORT_COUNTERS);
    assert_true(weft_node_report_parse("c broker-1/0 records_count 18446744073709551615", &report));
    assert_true(report.kind == WEFT_NODE_REPORT_COUNTER && report.value == UINT64_MAX);
    assert_string_equal(report.source, "broker-1/0");
    assert_string_equal(report.text, "records_count");
}

static void test_node_report__other_text_is_no_report(void **state)
{
    static const char *const others[] = {"",         "H",    "H wellish", "H servingly", "c a b",
                                         "c a b -x", "CC 1", "x y",       "c",           "H  serving"};
    struct weft_node_report report;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(weft_node_report_parse(others[i], &report));
}

static void test_node_report__a_parent_that_is_gone_costs_nothing(void **state)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    weft_buf_t lines;
    weft_buf_init(&lines);
    weft_buf_printf(&lines, "C\n");
    weft_node_report_write(ends[1], &lines); // SIGPIPE is ignored, as in every node's process
    assert_int_equal(lines.size, 0);
    weft_buf_fini(&lines);
    close(ends[1]);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node_report__lines_are_read_back),
        cmocka_unit_test(test_node_report__other_text_is_no_report),
        cmocka_unit_test(test_node_report__a_parent_that_is_gone_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
