// SPDX-License-Identifier: MPL-2.0
// Lists and settings as people write them.
#include "tests/support/test.h"

#include "nodes/common/clients.h"

#include <stdlib.h>
#include <string.h>

const char *weft_node_name(const weft_hosted_node_t *node) // the host is not linked here
{
    return "tap-1";
}

static void s_expect(char **list, const char *const *expected)
{
    size_t i = 0;
    for (; expected[i] != NULL; i++) {
        assert_non_null(list[i]);
        assert_string_equal(list[i], expected[i]);
    }
    assert_null(list[i]);
    weft_list_free(&list);
    assert_null(list);
}

static void test_list__has_what_stands_between_commas(void **state)
{
    s_expect(weft_list_split(""), (const char *[]){NULL});
    s_expect(weft_list_split(" , ,,"), (const char *[]){NULL});
    s_expect(weft_list_split("a"), (const char *[]){"a", NULL});
    s_expect(weft_list_split("a,b , c d,"), (const char *[]){"a", "b", "c d", NULL});
}

static void test_list__loses_nothing_however_long(void **state)
{
    enum { COUNT = 1000 };
    char text[COUNT * 2 + 1];
    for (size_t i = 0; i < COUNT; i++) memcpy(text + i * 2, "x,", 2);
    text[COUNT * 2] = '\0';
    char **list = weft_list_split(text);
    size_t count = 0;
    while (list[count] != NULL) count++;
    assert_int_equal(count, COUNT);
    weft_list_free(&list);
}

static void test_settings__what_a_person_adds_comes_last(void **state)
{
    s_expect(weft_inside_settings(NULL, "tcp://a:1,tcp://b:2", (const char *[]){"reset=earliest", NULL},
                                  "reset=latest, buffer.bytes=1MiB"),
             (const char *[]){"bootstrap=tcp://a:1,tcp://b:2", "client=tap-1", "reset=earliest", "reset=latest",
                              "buffer.bytes=1MiB", NULL});
}

static void test_settings__a_long_bootstrap_is_whole(void **state)
{
    enum { BYTES = 20000 };
    char *bootstrap = malloc(BYTES + 1);
    assert_non_null(bootstrap);
    memset(bootstrap, 'a', BYTES);
    bootstrap[BYTES] = '\0';
    char **list = weft_inside_settings(NULL, bootstrap, (const char *[]){NULL}, "");
    assert_int_equal(strlen(list[0]), strlen("bootstrap=") + BYTES);
    weft_list_free(&list);
    free(bootstrap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list__has_what_stands_between_commas),
        cmocka_unit_test(test_list__loses_nothing_however_long),
        cmocka_unit_test(test_settings__what_a_person_adds_comes_last),
        cmocka_unit_test(test_settings__a_long_bootstrap_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
