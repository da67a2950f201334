// SPDX-License-Identifier: MPL-2.0
#include "tests/support/test.h"

#include "nodes/bridge/settings.h"

#include <string.h>

// "a=1,b=2"
static void s_of(const char *text, struct weft_bridge_settings *out)
{
    out->count = 0;
    while (*text != '\0') {
        size_t key = strcspn(text, "="), value = strcspn(text + key + 1, ",");
        out->list[out->count++] =
            (struct weft_bridge_setting_value){weft_slice(text, key), weft_slice(text + key + 1, value)};
        text += key + 1 + value;
        text += *text == ',';
    }
}

static void s_expect(const char *before, const char *now, const char *target, const char *expected)
{
    struct weft_bridge_settings was, is, there;
    struct weft_bridge_settings_plan plan;
    weft_buf_t said;
    s_of(before, &was);
    s_of(now, &is);
    s_of(target, &there);
    weft_bridge_settings_plan(&was, &is, &there, &plan);
    weft_buf_init(&said);
    for (size_t i = 0; i < plan.set_count; i++)
        weft_buf_printf(&said, "%.*s=%.*s ", (int) plan.set_keys[i].size, (const char *) plan.set_keys[i].data,
                        (int) plan.set_values[i].size, (const char *) plan.set_values[i].data);
    for (size_t i = 0; i < plan.unset_count; i++)
        weft_buf_printf(&said, "-%.*s ", (int) plan.unset_keys[i].size, (const char *) plan.unset_keys[i].data);
    for (size_t i = 0; i < plan.left_count; i++)
        weft_buf_printf(&said, "(%.*s) ", (int) plan.left_keys[i].size, (const char *) plan.left_keys[i].data);
    weft_buf_append(&said, "", 1);
    assert_string_equal((const char *) said.data, expected);
    weft_buf_fini(&said);
}

static void test_bridge_settings__what_the_source_changed_is_carried(void **state)
{
    (void) state;
    s_expect("", "", "", "");
    s_expect("a=1", "a=1", "a=1", "");
    s_expect("a=1", "a=2", "a=1", "a=2 ");
    s_expect("", "a=2,b=3", "", "a=2 b=3 ");
    s_expect("a=1,b=1", "b=1", "a=1,b=1", "-a ");
    s_expect("a=1", "a=2", "a=2", ""); // the note was lost, the change was not
    s_expect("a=1", "", "", "");
    s_expect("retention.ms=3600000", "retention.ms=1h", "", ""); // written otherwise, and the same
    s_expect("retention.ms=1h", "retention.ms=2h", "retention.ms=60m", "retention.ms=2h ");
    s_expect("a=1h", "a=60m", "a=1h", "a=60m "); // who knows
}

static void test_bridge_settings__what_the_target_has_of_its_own_is_left(void **state)
{
    (void) state;
    s_expect("a=1", "a=1", "a=9", ""); // nothing changed in the source
    s_expect("a=1", "a=1", "", "");
    s_expect("a=1", "a=2", "a=9", "(a) ");
    s_expect("a=1", "a=2", "", "(a) ");
    s_expect("a=1", "", "a=9", "(a) ");
    s_expect("", "a=2,b=2", "a=9", "b=2 (a) ");
}

static void test_bridge_settings__each_cluster_keeps_its_own_count_of_replicas(void **state)
{
    (void) state;
    assert_true(weft_bridge_setting_is_carried("retention.ms"));
    assert_true(weft_bridge_setting_is_carried("cleanup.policy"));
    assert_false(weft_bridge_setting_is_carried("min.insync"));
    assert_false(weft_bridge_setting_is_carried("of.a.later.release"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bridge_settings__what_the_source_changed_is_carried),
        cmocka_unit_test(test_bridge_settings__what_the_target_has_of_its_own_is_left),
        cmocka_unit_test(test_bridge_settings__each_cluster_keeps_its_own_count_of_replicas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
