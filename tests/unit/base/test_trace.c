// SPDX-License-Identifier: MPL-2.0
#include "lib/base/trace.h"

#include "tests/support/test.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct s_seen {
    int lines;
    enum weft_trace_level level;
    char source[64], line[4096];
};

static void s_sink(void *context, enum weft_trace_level level, const char *source, const char *line)
{
    struct s_seen *seen = context;
    seen->lines++;
    seen->level = level;
    snprintf(seen->source, sizeof seen->source, "%s", source);
    snprintf(seen->line, sizeof seen->line, "%s", line);
}

static void test_trace__below_the_level_nothing_is_evaluated(void **state)
{
    struct s_seen seen = {0};
    int evaluated = 0;
    weft_trace_sink_set(s_sink, &seen);
    weft_trace(WEFT_TRACE_DEBUG, "broker-1", "%d", ++evaluated);
    assert_int_equal(evaluated, 0);
    assert_int_equal(seen.lines, 0);
    weft_trace_level_set(WEFT_TRACE_DEBUG);
    weft_trace(WEFT_TRACE_DEBUG, "broker-1", "%d", ++evaluated);
    assert_int_equal(evaluated, 1);
    assert_int_equal(seen.lines, 1);
    weft_trace_level_set(WEFT_TRACE_ERROR);
    weft_trace(WEFT_TRACE_WARN, "broker-1", "%d", ++evaluated);
    assert_int_equal(evaluated, 1);
    weft_trace_level_set(WEFT_TRACE_INFO);
    weft_trace_sink_set(NULL, NULL);
}

static void test_trace__sink_gets_level_source_and_sentence(void **state)
{
    struct s_seen seen = {0};
    weft_trace_sink_set(s_sink, &seen);
    weft_trace(WEFT_TRACE_WARN, "coordinator-1", "epoch %d is over", 4);
    assert_int_equal(seen.level, WEFT_TRACE_WARN);
    assert_string_equal(seen.source, "coordinator-1");
    assert_string_equal(seen.line, "epoch 4 is over");
    weft_trace_sink_set(NULL, NULL);
}

static void test_trace__a_peer_can_not_forge_lines(void **state)
{
    struct s_seen seen = {0};
    weft_trace_sink_set(s_sink, &seen);
    weft_trace(WEFT_TRACE_WARN, "broker-1", "topic '%s'", "a\nerror broker-2:\x1b[2J");
    assert_string_equal(seen.line, "topic 'a?error broker-2:?[2J'");
    weft_trace_sink_set(NULL, NULL);
}

// What a function writes to stderr, through a pipe.
static size_t s_capture(char *text, size_t size, const char *message)
{
    int ends[2], kept = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    weft_trace(WEFT_TRACE_INFO, "broker-1", "%s", message);
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(ends[1]);
    ssize_t got = read(ends[0], text, size - 1); // one write: one read has it all
    close(ends[0]);
    assert_true(got > 0);
    text[got] = '\0';
    return (size_t) got;
}

static void test_trace__a_line_names_time_level_and_source(void **state)
{
    char text[4096];
    regex_t pattern;
    assert_int_equal(
        regcomp(&pattern,
                "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z info broker-1: it runs\n$",
                REG_EXTENDED | REG_NOSUB),
        0);
    s_capture(text, sizeof text, "it runs");
    assert_int_equal(regexec(&pattern, text, 0, NULL, 0), 0);
    regfree(&pattern);
}

static void test_trace__an_endless_sentence_is_cut_to_one_line(void **state)
{
    char endless[6000], text[8000];
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    size_t size = s_capture(text, sizeof text, endless);
    assert_in_range(size, 1000, 2500);
    assert_int_equal(text[size - 1], '\n');
    assert_ptr_equal(strchr(text, '\n'), text + size - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trace__below_the_level_nothing_is_evaluated),
        cmocka_unit_test(test_trace__sink_gets_level_source_and_sentence),
        cmocka_unit_test(test_trace__a_peer_can_not_forge_lines),
        cmocka_unit_test(test_trace__a_line_names_time_level_and_source),
        cmocka_unit_test(test_trace__an_endless_sentence_is_cut_to_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
