// SPDX-License-Identifier: MPL-2.0
// Options: values are parsed and bounded, whatever is wrong is refused with a sentence that helps, and changes nothing.
#include "lib/base/options.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct weft_option s_table[] = {
    {.name = "shards", .type = WEFT_OPTION_INT, .initial = "1", .min = 1, .max = 64, .doc = "d"},
    {.name = "segment.bytes", .type = WEFT_OPTION_BYTES, .initial = "256MiB", .min = -1, .max = INT64_MAX, .doc = "d"},
    {.name = "linger.ms", .type = WEFT_OPTION_DURATION, .initial = "5", .min = 0, .max = 604800000, .doc = "d"},
    {.name = "listen", .type = WEFT_OPTION_TEXT, .initial = "tcp://127.0.0.1:9650", .min = 1, .max = 40, .doc = "d"},
    {.name = "acks",
     .type = WEFT_OPTION_CHOICE,
     .initial = "all",
     .min = 0,
     .max = 2,
     .choices = "none|leader|all",
     .doc = "d"},
    {.name = "durable", .type = WEFT_OPTION_BOOL, .initial = "true", .min = 0, .max = 1, .doc = "d"},
};

static weft_options_t *s_new(void)
{
    return weft_options_new(s_table, sizeof(s_table) / sizeof(s_table[0]), "broker");
}

static void s_refused(weft_options_t *options, const char *name, const char *value, const char *sentence_part)
{
    struct weft_error error;
    assert_int_equal(weft_options_set(options, name, value, &error), WEFT_ERR_INVALID_OPTION);
    if (!strstr(error.text, sentence_part)) fail_msg("'%s' does not say '%s'", error.text, sentence_part);
    assert_int_equal(weft_options_set(options, name, value, NULL), WEFT_ERR_INVALID_OPTION);
}

static void test_options__defaults_are_there_and_not_set(void **state)
{
    weft_options_t *options = s_new();
    assert_int_equal(weft_options_int(options, "shards"), 1);
    assert_int_equal(weft_options_int(options, "segment.bytes"), 256 << 20);
    assert_int_equal(weft_options_int(options, "acks"), 2);
    assert_true(weft_options_bool(options, "durable"));
    assert_string_equal(weft_options_text(options, "segment.bytes"), "256MiB");
    assert_false(weft_options_is_set(options, "shards"));
    weft_options_destroy(&options);
    assert_null(options);
    weft_options_destroy(&options);
}

static void test_options__values_are_parsed_with_their_units(void **state)
{
    static const struct {
        const char *name, *value;
        int64_t number;
    } rows[] = {{"shards", "64", 64},
                {"segment.bytes", "-1", -1},
                {"segment.bytes", "4KiB", 4096},
                {"segment.bytes", "2GiB", INT64_C(2) << 30},
                {"segment.bytes", "7", 7},
                {"linger.ms", "0", 0},
                {"linger.ms", "3ms", 3},
                {"linger.ms", "2s", 2000},
                {"linger.ms", "2m", 120000},
                {"linger.ms", "1h", 3600000},
                {"linger.ms", "7d", 604800000},
                {"acks", "leader", 1},
                {"durable", "false", 0},
                {"listen", "tcp://*:1", 9}};
    weft_options_t *options = s_new();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(weft_options_set(options, rows[i].name, rows[i].value, NULL), WEFT_OK);
        assert_int_equal(weft_options_int(options, rows[i].name), rows[i].number);
        assert_string_equal(weft_options_text(options, rows[i].name), rows[i].value);
        assert_true(weft_options_is_set(options, rows[i].name));
    }
    weft_options_destroy(&options);
}

static void test_options__wrong_values_are_refused_with_what_is_allowed(void **state)
{
    weft_options_t *options = s_new();
    s_refused(options, "shards", "0", "'shards' can't be '0'; allowed is a number from 1 to 64");
    s_refused(options, "shards", "65", "1 to 64");
    s_refused(options, "shards", "", "can't be ''");
    s_refused(options, "shards", "4x", "1 to 64");
    s_refused(options, "shards", " 4", "1 to 64");
    s_refused(options, "shards", "+4", "1 to 64");
    s_refused(options, "shards", "99999999999999999999", "1 to 64");
    s_refused(options, "segment.bytes", "9223372036854775807GiB", "with KiB, MiB or GiB");
    s_refused(options, "segment.bytes", "4kb", "from -1 up");
    s_refused(options, "linger.ms", "8d", "from 0 to 7d");
    s_refused(options, "linger.ms", "-1", "from 0 to 7d");
    s_refused(options, "acks", "al", "one of none|leader|all");
    s_refused(options, "acks", "none|leader", "one of");
    s_refused(options, "acks", "", "one of");
    s_refused(options, "durable", "yes", "true or false");
    s_refused(options, "listen", "", "1 to 40");
    s_refused(options, "listen", "a\nb", "can't be 'a?b'");
    assert_false(weft_options_is_set(options, "shards"));
    assert_int_equal(weft_options_int(options, "shards"), 1);
    weft_options_destroy(&options);
}

static void test_options__wrong_keys_name_the_nearest(void **state)
{
    weft_options_t *options = s_new();
    s_refused(options, "shard", "1", "'shard' is no setting of a broker; did you mean 'shards'?");
    s_refused(options, "segement.bytes", "1", "did you mean 'segment.bytes'?");
    s_refused(options, "listne", "1", "did you mean 'listen'?");
    s_refused(options, "replication", "1", "docs/CONFIG.md lists");
    static const struct weft_option one = {
        .name = "listen", .type = WEFT_OPTION_TEXT, .initial = "", .max = 9, .doc = "d"};
    weft_options_t *edge = weft_options_new(&one, 1, "edge");
    s_refused(edge, "listne", "1", "'listne' is no setting of an edge; did you mean 'listen'?");
    s_refused(edge, "data", "1", "'data' is no setting of an edge; docs/CONFIG.md lists");
    weft_options_destroy(&edge);
    s_refused(options, "", "1", "docs/CONFIG.md lists");
    weft_options_destroy(&options);
}

static void test_options__a_pair_is_split_at_its_first_equals(void **state)
{
    weft_options_t *options = s_new();
    struct weft_error error;
    assert_int_equal(weft_options_set_pair(options, "listen=ipc://a=b", &error), WEFT_OK);
    assert_string_equal(weft_options_text(options, "listen"), "ipc://a=b");
    assert_int_equal(weft_options_set_pair(options, "listen", &error), WEFT_ERR_INVALID_OPTION);
    assert_non_null(strstr(error.text, "key=value"));
    assert_int_equal(weft_options_set_pair(options, "=x", &error), WEFT_ERR_INVALID_OPTION);
    weft_options_destroy(&options);
}

static void test_options__a_copy_is_independent(void **state)
{
    weft_options_t *options = s_new();
    assert_int_equal(weft_options_set(options, "shards", "3", NULL), WEFT_OK);
    weft_options_t *copy = weft_options_copy(options);
    assert_int_equal(weft_options_set(options, "shards", "4", NULL), WEFT_OK);
    assert_int_equal(weft_options_int(copy, "shards"), 3);
    assert_true(weft_options_is_set(copy, "shards"));
    assert_false(weft_options_is_set(copy, "acks"));
    weft_options_destroy(&options);
    assert_string_equal(weft_options_text(copy, "shards"), "3");
    weft_options_destroy(&copy);
}

// ---- files

static char s_path[] = "/tmp/weft-options-XXXXXX";

static void s_write(const void *text, size_t size)
{
    int fd = open(s_path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), (ssize_t) size);
    close(fd);
}

static void s_file_refused(const char *text, const char *sentence_part)
{
    weft_options_t *options = s_new();
    struct weft_error error;
    s_write(text, strlen(text));
    assert_int_equal(weft_options_load(options, s_path, &error), WEFT_ERR_INVALID_OPTION);
    if (!strstr(error.text, sentence_part)) fail_msg("'%s' does not say '%s'", error.text, sentence_part);
    assert_non_null(strstr(error.text, s_path));
    for (size_t i = 0; i < sizeof(s_table) / sizeof(s_table[0]); i++)
        assert_false(weft_options_is_set(options, s_table[i].name));
    weft_options_destroy(&options);
}

static void test_options__a_file_is_read(void **state)
{
    static const char text[] = "# a comment\r\n\n   # an odd one\nshards = 4 # four\nlisten = 'tcp://*:9650'\n"
                               "segment\n    bytes = 1MiB\nacks=\"none\"\nlinger.ms =2s";
    weft_options_t *options = s_new();
    struct weft_error error;
    s_write(text, sizeof(text) - 1);
    assert_int_equal(weft_options_load(options, s_path, &error), WEFT_OK);
    assert_int_equal(weft_options_int(options, "shards"), 4);
    assert_string_equal(weft_options_text(options, "listen"), "tcp://*:9650");
    assert_int_equal(weft_options_int(options, "segment.bytes"), 1 << 20);
    assert_int_equal(weft_options_int(options, "acks"), 0);
    assert_int_equal(weft_options_int(options, "linger.ms"), 2000);
    assert_false(weft_options_is_set(options, "durable"));
    s_write("", 0);
    assert_int_equal(weft_options_load(options, s_path, &error), WEFT_OK);
    assert_int_equal(weft_options_int(options, "shards"), 4);
    weft_options_destroy(&options);
}

static void test_options__a_wrong_file_is_refused_with_its_line(void **state)
{
    s_file_refused("shards = 2\n\n# x\nshard = 3\n", ":4: 'shard' is no setting of a broker; did you mean 'shards'?");
    s_file_refused("shards = 2\nlinger.ms = never\n", ":2: 'linger.ms' can't be 'never'");
    s_file_refused("shards = 2\nlinger.ms = 1\nshards = 3\n", ":3: 'shards' was set in line 1 already");
    s_file_refused("shards = 2\n  linger.ms = 1\n", ":2: indented by other than");
    s_file_refused("shards = 2\n        linger.ms = 1\n", ":2: indented deeper");
    s_file_refused("shards = 2\n\tlinger.ms = 1\n", ":2: a tab");
    s_file_refused("listen = 'x\n", ":1: the quote is not closed");
    s_file_refused("listen = 'x' y\n", ":1: something follows");
    s_file_refused("shards 2\n", ":1: the form is key = value");
    s_file_refused("shards: 2\n", ":1: the form is key = value");
    s_file_refused("= 2\n", ":1: the form is key = value");
    s_file_refused("shards/ = 2\n", ":1: the form is key = value");
    s_file_refused("shards\n", ":1: the key has no value");
    s_file_refused("shards = 2\n\x01\n", ":2: this is no text");
    s_file_refused("segment\n    byte = 1\n",
                   ":2: 'segment.byte' is no setting of a broker; did you mean 'segment.bytes'?");
    s_file_refused(
        "a\n    a\n        a\n            a\n                a\n                    a\n                        a\n"
        "                            a\n                                a = 1\n",
        ":9: nested too deeply");
    char line[1200];
    memset(line, 'x', sizeof(line));
    memcpy(line, "listen = ", 9);
    line[sizeof(line) - 1] = 0;
    s_file_refused(line, ":1: the line is longer");
}

static void test_options__a_file_that_is_none_is_refused(void **state)
{
    weft_options_t *options = s_new();
    struct weft_error error;
    assert_int_equal(weft_options_load(options, "/tmp/weft-no-such-file", &error), WEFT_ERR_NOT_FOUND);
    assert_non_null(strstr(error.text, "/tmp/weft-no-such-file"));
    assert_int_not_equal(weft_options_load(options, "/tmp", &error), WEFT_OK);
    assert_int_equal(truncate(s_path, (1 << 20) + 1), 0);
    assert_int_equal(weft_options_load(options, s_path, &error), WEFT_ERR_TOO_LARGE);
    static const char zeros[100];
    s_write(zeros, sizeof(zeros));
    assert_int_equal(weft_options_load(options, s_path, &error), WEFT_ERR_INVALID_OPTION);
    weft_options_destroy(&options);
}

static void test_nearest__finds_transpositions_and_gives_up_on_strangers(void **state)
{
    static const char *const known[] = {"orders", "payments", "a", ""};
    assert_string_equal(weft_nearest("order", known, 4), "orders");
    assert_string_equal(weft_nearest("odrers", known, 4), "orders");
    assert_string_equal(weft_nearest("paymentss", known, 4), "payments");
    assert_string_equal(weft_nearest("payments", known, 4), "payments");
    assert_null(weft_nearest("customers", known, 4));
    assert_null(weft_nearest("", known, 4));
    assert_null(weft_nearest("orders", known, 0));
    char longest[200] = {0};
    memset(longest, 'o', sizeof(longest) - 1);
    assert_null(weft_nearest(longest, known, 4));
}

static int s_setup(void **state)
{
    int fd = mkstemp(s_path);
    if (fd < 0) return -1;
    return close(fd);
}

static int s_teardown(void **state)
{
    return unlink(s_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options__defaults_are_there_and_not_set),
        cmocka_unit_test(test_options__values_are_parsed_with_their_units),
        cmocka_unit_test(test_options__wrong_values_are_refused_with_what_is_allowed),
        cmocka_unit_test(test_options__wrong_keys_name_the_nearest),
        cmocka_unit_test(test_options__a_pair_is_split_at_its_first_equals),
        cmocka_unit_test(test_options__a_copy_is_independent),
        cmocka_unit_test(test_options__a_file_is_read),
        cmocka_unit_test(test_options__a_wrong_file_is_refused_with_its_line),
        cmocka_unit_test(test_options__a_file_that_is_none_is_refused),
        cmocka_unit_test(test_nearest__finds_transpositions_and_gives_up_on_strangers),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
