// SPDX-License-Identifier: MPL-2.0
#include "nodes/filter/expression.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

// {"type": "order", "amount": 250, "paid": true, "price": 1.5, "none": nil, "big": 2^63, "neg": -5, "small": 1.5f,
//  "who": {"name": "ann", "tags": ["a", "b", 7]}, "odd name": 1, "blob": bin "xyz"}
static const uint8_t s_value[] = "\x8b\xa4type\xa5order\xa6"
                                 "amount\xcc\xfa\xa4paid\xc3\xa5price\xcb\x3f\xf8\0\0\0\0\0\0\xa4none\xc0\xa3"
                                 "big\xcf\x80\0\0\0\0\0\0\0\xa3neg\xfb\xa5small\xca\x3f\xc0\0\0\xa3who\x82\xa4name\xa3"
                                 "ann\xa4tags\x93\xa1"
                                 "a\xa1"
                                 "b\x07\xa8odd name\x01\xa4"
                                 "blob\xc4\x03xyz";

static bool s_matches(const char *text)
{
    struct weft_error error = {0};
    weft_expression_t *expression = NULL;
    weft_err_t err = weft_expression_new(text, &expression, &error);
    if (err) fail_msg("%s: %s", text, error.text);
    static const uint8_t headers[] = "\x92\xa6source\xc4\x04"
                                     "eu-1"; // ["source", "eu-1"]
    struct weft_record_view record = {.partition = 3,
                                      .offset = 77,
                                      .timestamp_ms = 1000,
                                      .key = weft_slice_text("vip:7"),
                                      .value = weft_slice(s_value, sizeof s_value - 1),
                                      .headers = weft_slice(headers, sizeof headers - 1)};
    bool unreadable = false;
    bool matches = weft_expression_matches(expression, &record, &unreadable);
    assert_false(unreadable);
    weft_expression_destroy(&expression);
    return matches;
}

static void s_check(const char *const *yes, const char *const *no)
{
    for (; *yes; yes++)
        if (!s_matches(*yes)) fail_msg("does not hold: %s", *yes);
    for (; *no; no++)
        if (s_matches(*no)) fail_msg("holds: %s", *no);
}

static void test_expression__fields_are_compared(void **state)
{
    s_check((const char *[]){"type == \"order\"",
                             "type=='order'",
                             "amount >= 250",
                             "amount > 249.5",
                             "250 == amount",
                             "amount != 251",
                             "price == 1.5",
                             "small == price",
                             "paid",
                             "paid == true",
                             "not paid == false",
                             "none == nil",
                             "big == 9223372036854775808",
                             "big > 9223372036854775807",
                             "neg == -5",
                             "neg < 0",
                             "neg < 0.5",
                             "-4.5 > neg",
                             "who.name == \"ann\"",
                             "who.tags[1] == \"b\"",
                             "who.tags[2] == 7",
                             "who[\"name\"] == 'ann'",
                             "[\"odd name\"] == 1",
                             "type < \"p\"",
                             "blob == \"xyz\"",
                             "type == \"\\x6frder\"",
                             "big < 1e30",
                             "big == 9.223372036854775808e18",
                             NULL},
            (const char *[]){"type == \"orders\"", "amount < 250", "amount == \"250\"", "who == 1", "who == who",
                             "type < 5", "type > 5", "paid == 1", "big == 9223372036854775807", "amount", "who",
                             "who.tags[3] == 7", "who.name.first == 1", "who[0] == 1", "type[0] == 1", "paid > false",
                             "big > 9.3e18", NULL});
}

static void test_expression__what_is_missing_is_nil_but_does_not_exist(void **state)
{
    s_check((const char *[]){"exists type", "exists none", "not exists nothing", "nothing == nil", "nothing != 1",
                             "exists who.tags[0]", "exists who", "exists $key", "exists $header.source",
                             "not exists $header.other", NULL},
            (const char *[]){"exists nothing", "nothing", "nothing > 1", "nothing < 1", "exists who.tags[3]",
                             "nothing startswith \"\"", NULL});
}

static void test_expression__lists_prefixes_and_the_record_itself(void **state)
{
    s_check((const char *[]){"type in [\"a\", \"order\"]", "amount in [1, 250.0]", "none in [nil]",
                             "paid in [false, true]", "type startswith \"ord\"", "$key startswith \"vip:\"",
                             "$header.source startswith 'eu-'", "$offset == 77", "$partition in [1, 3]",
                             "$time >= 1000", "$value startswith \"\\x8b\"", NULL},
            (const char *[]){"type in [\"a\"]", "amount in [\"250\"]", "type startswith \"order!\"",
                             "amount startswith \"2\"", "$header[\"source\"] == \"us\"", NULL});
}

static void test_expression__and_binds_closer_than_or_and_not_closest(void **state)
{
    s_check((const char *[]){"true or false and false", "not false and true", "not (false and true)", "not not true",
                             "false or false or true", "true and (false or true)", "not nothing or nothing",
                             "type == 'order' and amount > 100 and (paid or neg > 0) and not exists who.gone", NULL},
            (const char *[]){"(true or false) and false", "not false and false", "not true or false",
                             "true and true and false", NULL});
}

static void test_expression__a_mistake_is_told_with_its_column(void **state)
{
    static const struct {
        const char *text;
        int column;
        const char *says;
    } wrong[] = {
        {"type = 1", 6, "=="},
        {"type == ", 9, "missing"},
        {"", 1, "missing"},
        {"a and", 6, "missing"},
        {"(a or b", 8, "')'"},
        {"a b", 3, "over"},
        {"a == \"x", 6, "no end"},
        {"a[", 3, "index"},
        {"a[1.5]", 3, "index"},
        {"a[0", 4, "']'"},
        {"a.", 3, "name"},
        {"a in 1", 6, "list"},
        {"a in [b]", 7, "list"},
        {"a in [1", 8, "','"},
        {"$nothing == 1", 1, "$key"},
        {"$key.x == 1", 1, "fields"},
        {"$header == 1", 1, "header"},
        {"a ? b", 3, "language"},
        {"and", 1, "word"},
        {"a == 99999999999999999999", 6, "large"},
        {"a == '\\q'", 7, "escapes"},
        {"a == 12abc", 8, "number ends"},
        {"exists 5", 8, "missing"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct weft_error error = {0};
        weft_expression_t *expression = NULL;
        char column[32];
        snprintf(column, sizeof column, "column %d,", wrong[i].column);
        assert_err(weft_expression_new(wrong[i].text, &expression, &error), WEFT_ERR_INVALID_OPTION);
        if (!strstr(error.text, column) || !strstr(error.text, wrong[i].says))
            fail_msg("%s: '%s' does not say '%s' and '%s'", wrong[i].text, error.text, column, wrong[i].says);
    }
}

static void test_expression__its_size_and_depth_are_bounded(void **state)
{
    char text[EXPRESSION_BYTES_MAX + 10];
    struct weft_error error = {0};
    weft_expression_t *expression = NULL;
    memset(text, '(', EXPRESSION_DEPTH_MAX);
    text[EXPRESSION_DEPTH_MAX] = 'a';
    memset(text + EXPRESSION_DEPTH_MAX + 1, ')', EXPRESSION_DEPTH_MAX);
    text[2 * EXPRESSION_DEPTH_MAX + 1] = '\0';
    assert_ok(weft_expression_new(text, &expression, &error));
    weft_expression_destroy(&expression);
    memset(text, '(', EXPRESSION_DEPTH_MAX + 1);
    strcpy(text + EXPRESSION_DEPTH_MAX + 1, "a");
    assert_err(weft_expression_new(text, &expression, &error), WEFT_ERR_INVALID_OPTION);
    assert_non_null(strstr(error.text, "deep"));
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_err(weft_expression_new(text, &expression, &error), WEFT_ERR_INVALID_OPTION);
    text[0] = '\0';
    for (int i = 0; i < 400; i++) strcat(text, "a or ");
    strcat(text, "a");
    assert_err(weft_expression_new(text, &expression, &error), WEFT_ERR_INVALID_OPTION);
    assert_non_null(strstr(error.text, "many"));
    strcpy(text, "a");
    for (int i = 0; i < 20; i++) strcat(text, ".b");
    assert_err(weft_expression_new(text, &expression, &error), WEFT_ERR_INVALID_OPTION);
    text[0] = '\0';
    for (int i = 0; i < 150; i++) strcat(text, "false or ");
    strcat(text, "true");
    assert_true(s_matches(text));
}

static void test_expression__bytes_that_are_no_msgpack_match_nothing_and_are_told(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        bool unreadable;
    } values[] = {{"", 0, true},
                  {"\x81", 1, true},
                  {"\x81\xa1", 2, true},
                  {"\xdf\xff\xff\xff\xff", 5, true},
                  {"\x81\xa1x\x01", 4, false},
                  {"plain text", 10, false},
                  {"\xc1", 1, true},
                  {"\x81\xa1"
                   "a",
                   3, true}};
    weft_expression_t *expression = NULL;
    assert_ok(weft_expression_new("a == 1", &expression, NULL));
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct weft_record_view record = {.value = weft_slice(values[i].bytes, values[i].size)};
        bool unreadable = false;
        assert_false(weft_expression_matches(expression, &record, &unreadable));
        assert_int_equal(unreadable, values[i].unreadable);
    }
    struct weft_record_view nothing = {.value = WEFT_SLICE_NIL};
    bool unreadable = false;
    assert_false(weft_expression_matches(expression, &nothing, &unreadable));
    assert_false(unreadable); // nil is a value
    weft_expression_destroy(&expression);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expression__fields_are_compared),
        cmocka_unit_test(test_expression__what_is_missing_is_nil_but_does_not_exist),
        cmocka_unit_test(test_expression__lists_prefixes_and_the_record_itself),
        cmocka_unit_test(test_expression__and_binds_closer_than_or_and_not_closest),
        cmocka_unit_test(test_expression__a_mistake_is_told_with_its_column),
        cmocka_unit_test(test_expression__its_size_and_depth_are_bounded),
        cmocka_unit_test(test_expression__bytes_that_are_no_msgpack_match_nothing_and_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
