// SPDX-License-Identifier: MPL-2.0
// Pictures of topologies: what they show, and that whatever passes the check can be drawn.
#include "tests/support/test.h"

#include "types.h"

#define CLUSTER \
    "c\n    type = coordinator\n    listen = tcp://127.0.0.1:1\n" \
    "b\n    type = broker\n    listen = tcp://127.0.0.1:2\n    coordinators = @c\n"

static void s_draw(const char *text, bool svg, weft_buf_t *out)
{
    weft_topology_t *topology = types_check(text);
    for (size_t i = 0; i < weft_topology_problem_count(topology); i++)
        print_error("%s\n", weft_topology_problem(topology, i)->text);
    assert_int_equal(weft_topology_problem_count(topology), 0);
    weft_buf_init(out);
    (svg ? weft_topology_draw_svg : weft_topology_draw_text)(topology, out);
    weft_buf_append(out, "", 1);
    weft_topology_destroy(&topology);
}

static void s_expect(const char *text, const char *wanted)
{
    weft_buf_t got;
    s_draw(text, false, &got);
    if (strcmp((const char *) got.data, wanted) != 0) printf("got:\n%s\n", (const char *) got.data);
    assert_string_equal((const char *) got.data, wanted);
    weft_buf_fini(&got);
}

static void test_draw__a_cluster_is_one_box(void **state)
{
    s_expect(CLUSTER "topics\n    orders\n        partitions = 4\n        replicas = 1\n",
             "╔════════════════════════════╗\n"
             "║ cluster                    ║\n"
             "║ c  tcp://127.0.0.1:1       ║\n"
             "║ b  tcp://127.0.0.1:2       ║\n"
             "║ topic orders: 4 partitions ║\n"
             "╚════════════════════════════╝\n");
}

static void test_draw__records_flow_downward_and_a_way_back_goes_up(void **state)
{
    s_expect(CLUSTER
             "f\n    type = filter\n    bootstrap = @b\n    topic = in\n    target = @b\n    target.topic = out\n"
             "t\n    type = tap\n    bootstrap = @b\n    topic = in, out\n    listen = tcp://127.0.0.1:3\n",
             "  ╔══════════════════════╗\n"
             "  ║ cluster              ║\n"
             "  ║ c  tcp://127.0.0.1:1 ║\n"
             "  ║ b  tcp://127.0.0.1:2 ║\n"
             "  ╚══════════════════════╝\n"
             "    │   ▲               │\n"
             "  ┌─┘   │               └───┐\n"
             "  │ in  │ out               │ in, out\n"
             "  ▼     │                   ▼\n"
             "┌────────────┐    ┌───────────────────┐\n"
             "│ f          │    │ t                 │\n"
             "│ filter     │    │ tap               │\n"
             "└────────────┘    │ tcp://127.0.0.1:3 │\n"
             "                  └───────────────────┘\n"
             "                            │\n"
             "                            ▼\n"
             "                      ┌┄┄┄┄┄┄┄┄┄┄┄┐\n"
             "                      ┊ receivers ┊\n"
             "                      └┄┄┄┄┄┄┄┄┄┄┄┘\n");
}

static void test_draw__what_is_outside_has_boxes_too(void **state)
{
    s_expect("r\n    type = recorder\n    bootstrap = tcp://far:1\n    topic = x\n    listen = tcp://127.0.0.1:3\n"
             "e\n    type = edge\n    bootstrap = tcp://far:1\n",
             "     ┌┄┄┄┄┄┄┄┄┄┐                ┌┄┄┄┄┄┄┄┄┄┐\n"
             "     ┊ senders ┊                ┊ clients ┊\n"
             "     └┄┄┄┄┄┄┄┄┄┘                └┄┄┄┄┄┄┄┄┄┘\n"
             "          │                          │\n"
             "          ▼                          ▼\n"
             "┌───────────────────┐    ┌──────────────────────┐\n"
             "│ r                 │    │ e                    │\n"
             "│ recorder          │    │ edge                 │\n"
             "│ tcp://127.0.0.1:3 │    │ tcp://127.0.0.1:9660 │\n"
             "└───────────────────┘    └──────────────────────┘\n"
             "               │                │\n"
             "               │ x              │\n"
             "               ▼                ▼\n"
             "             ┌┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┐\n"
             "             ┊ cluster elsewhere ┊\n"
             "             ┊ tcp://far:1       ┊\n"
             "             └┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┘\n");
}

static void test_draw__svg_is_well_formed_text(void **state)
{
    weft_buf_t got;
    s_draw("name = <a & b>\n" CLUSTER "t\n    type = tap\n    bootstrap = @b\n    topic = x\n", true, &got);
    const char *svg = (const char *) got.data;
    assert_non_null(strstr(svg, "<title>&lt;a &amp; b&gt;</title>"));
    assert_int_equal(strncmp(svg, "<svg xmlns=", 11), 0);
    assert_string_equal(svg + strlen(svg) - 7, "</svg>\n");
    assert_non_null(strstr(svg, ">x</text>"));
    weft_buf_fini(&got);
}

static void test_draw__many_nodes_in_a_row_and_long_ways_fit(void **state)
{
    weft_buf_t text, picture;
    weft_buf_init(&text);
    weft_buf_append(&text, CLUSTER, strlen(CLUSTER));
    for (int i = 0; i < 120; i++) // a chain: each player into the next recorder, all over one cluster
        weft_buf_printf(&text,
                        "p%d\n    type = player\n    bootstrap = @b\n    topic = t%d\n    target = @r%d\n"
                        "r%d\n    type = recorder\n    bootstrap = @b\n    topic = t%d\n    listen = ipc://r%d\n",
                        i, i, i, i, i + 1, i);
    weft_buf_append(&text, "", 1);
    s_draw((const char *) text.data, false, &picture);
    assert_true(picture.size > 10000);
    weft_buf_fini(&picture);
    weft_buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draw__a_cluster_is_one_box),
        cmocka_unit_test(test_draw__records_flow_downward_and_a_way_back_goes_up),
        cmocka_unit_test(test_draw__what_is_outside_has_boxes_too),
        cmocka_unit_test(test_draw__svg_is_well_formed_text),
        cmocka_unit_test(test_draw__many_nodes_in_a_row_and_long_ways_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
