// SPDX-License-Identifier: MPL-2.0
// Messages, commands, records: the golden vectors, and the promises that people rely on, by hand.
#include "lib/base/options.h"

#include <weft_gen/config.h>
#include <weft_gen/kinds.h>
#include <weft_gen/limits.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// ---- golden vectors

typedef weft_err_t s_round_fn(weft_codec_t *codec, weft_slice_t bytes, weft_buf_t *out, struct weft_error *error);

#define ROUND(kind) \
    static weft_err_t s_round_##kind(weft_codec_t *codec, weft_slice_t bytes, weft_buf_t *out, \
                                     struct weft_error *error) \
    { \
        struct weft_##kind value; \
        memset(&value, 0xa5, sizeof(value)); \
        weft_err_t err = weft_##kind##_decode(codec, bytes, &value, error); \
        if (!err) weft_##kind##_encode(&value, out); \
        return err; \
    }
WEFT_KINDS(ROUND)

static const struct {
    const char *name;
    s_round_fn *round;
} s_kinds[] = {
#define ROW(kind) {#kind, s_round_##kind},
    WEFT_KINDS(ROW)};

#define KIND_COUNT (sizeof(s_kinds) / sizeof(s_kinds[0]))

static s_round_fn *s_round_of(const char *kind)
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (strcmp(s_kinds[i].name, kind) == 0) return s_kinds[i].round;
    }
    fail_msg("no kind '%s'", kind);
    return NULL;
}

// Exactly allocated, so that a sanitizer sees any read beyond.
static weft_slice_t s_of_hex(const char *hex)
{
    size_t size = strcmp(hex, "-") == 0 ? 0 : strlen(hex) / 2;
    uint8_t *bytes = malloc(size ? size : 1);
    for (size_t i = 0; i < size; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        bytes[i] = (uint8_t) byte;
    }
    return weft_slice(bytes, size);
}

static void s_check_vector(weft_codec_t *codec, const char *kind, const char *test, const char *hex, const char *wanted,
                           FILE *written)
{
    weft_slice_t bytes = s_of_hex(hex);
    weft_buf_t out;
    weft_buf_init(&out);
    struct weft_error error = {.text = ""};
    weft_err_t err = s_round_of(kind)(codec, bytes, &out, &error);
    if (wanted[0] == '!') {
        if (strcmp(weft_err_name(err), wanted + 1) != 0)
            fail_msg("%s %s: %s, wanted %s", kind, test, weft_err_name(err), wanted + 1);
        if (!error.text[0] || strlen(error.text) > 400) fail_msg("%s %s: sentence '%s'", kind, test, error.text);
    } else {
        if (err) fail_msg("%s %s: %s", kind, test, error.text);
        weft_slice_t canonical = s_of_hex(wanted + 1);
        if (!weft_slice_equal(canonical, weft_buf_slice(&out))) fail_msg("%s %s: re-encoded otherwise", kind, test);
        free((void *) (uintptr_t) canonical.data);
    }
    if (written && !err) {
        fprintf(written, "%s %s ", kind, test);
        for (size_t i = 0; i < out.size; i++) fprintf(written, "%02x", out.data[i]);
        fprintf(written, "\n");
    }
    weft_buf_fini(&out);
    free((void *) (uintptr_t) bytes.data);
}

static size_t s_check_vectors(FILE *written)
{
    FILE *file = fopen(WEFT_GENERATED_FOLDER "/vectors/vectors.txt", "r");
    assert_non_null(file);
    weft_codec_t codec;
    weft_codec_init(&codec);
    char *line = NULL;
    size_t capacity = 0, count = 0;
    while (getline(&line, &capacity, file) > 0) {
        char *rest = NULL;
        const char *kind = strtok_r(line, " \n", &rest), *test = strtok_r(NULL, " \n", &rest);
        const char *hex = strtok_r(NULL, " \n", &rest), *wanted = strtok_r(NULL, " \n", &rest);
        assert_non_null(wanted);
        s_check_vector(&codec, kind, test, hex, wanted, written);
        count++;
    }
    free(line);
    fclose(file);
    weft_codec_fini(&codec);
    return count;
}

static void test_messages__golden_vectors_are_read_and_written_canonically(void **state)
{
    assert_true(s_check_vectors(NULL) > KIND_COUNT * 10);
}

// ---- request header

static weft_err_t s_header(const void *bytes, size_t size, struct weft_request_header *out, struct weft_error *error)
{
    uint8_t *exact = malloc(size ? size : 1);
    memcpy(exact, bytes, size);
    weft_err_t err = weft_request_header_decode(weft_slice(exact, size), out, error);
    out->api_name = WEFT_SLICE_NIL; // points into the copy
    free(exact);
    return err;
}

#define HEADER(text, out, error) s_header(text, sizeof(text) - 1, out, error)

static void test_request_header__finds_api_and_id_in_any_order(void **state)
{
    struct weft_request_header header;
    struct weft_error error;
    for (int api = 1; api < WEFT_API_COUNT; api++) {
        weft_buf_t out;
        weft_buf_init(&out);
        const char *name = weft_api_name((enum weft_api) api);
        weft_buf_printf(&out, "\x83%cx\x91\xc0%cid\xcd\x01\x02%capi%c%s", 0xa1, 0xa2, 0xa3, (int) (0xa0 + strlen(name)),
                        name);
        assert_int_equal(s_header(out.data, out.size, &header, &error), WEFT_OK);
        assert_int_equal(header.api, api);
        assert_int_equal(header.id, 0x102);
        weft_buf_fini(&out);
    }
    assert_int_equal(HEADER("\x81\xa3"
                            "api\xc4\x05"
                            "hello",
                            &header, &error),
                     WEFT_OK);
    assert_int_equal(header.api, WEFT_API_HELLO);
    assert_int_equal(header.id, 0);
}

static void test_request_header__refusals_keep_the_id(void **state)
{
    struct weft_request_header header;
    struct weft_error error;
    assert_int_equal(HEADER("\x82\xa2"
                            "id\x07\xa3"
                            "api\xa4"
                            "helo",
                            &header, &error),
                     WEFT_ERR_UNKNOWN_API);
    assert_int_equal(header.id, 7);
    assert_non_null(strstr(error.text, "'helo' is not known to this node; did you mean 'hello'?"));
    assert_int_equal(HEADER("\x81\xa2"
                            "id\x07",
                            &header, &error),
                     WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(header.id, 7);
    assert_non_null(strstr(error.text, "has no 'api'"));
    assert_int_equal(HEADER("\x82\xa2"
                            "id\x07\xa3"
                            "api\x05",
                            &header, &error),
                     WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(HEADER("\x82\xa2"
                            "id\xff\xa3"
                            "api\xa5"
                            "hello",
                            &header, &error),
                     WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(header.id, 0);
    assert_int_equal(HEADER("\x82\xa2"
                            "id\x07\xa3"
                            "api\xa5"
                            "hell",
                            &header, &error),
                     WEFT_ERR_BAD_FRAME);
    assert_int_equal(header.id, 7);
    assert_int_equal(HEADER("\x82\xa2"
                            "id\x07\xa3"
                            "api\xa5"
                            "hello\x01",
                            &header, &error),
                     WEFT_ERR_BAD_FRAME);
    assert_int_equal(header.id, 7);
    assert_int_equal(HEADER("\x91\x01", &header, &error), WEFT_ERR_BAD_FRAME);
    assert_int_equal(HEADER("", &header, &error), WEFT_ERR_BAD_FRAME);
    assert_int_equal(HEADER("\x82\xa2"
                            "id\x07\xa3"
                            "api\xa0",
                            &header, NULL),
                     WEFT_ERR_UNKNOWN_API);
}

static void test_request_header__must_is_understood_or_refused(void **state)
{
    struct weft_request_header header;
    struct weft_error error;
    assert_int_equal(HEADER("\x83\xa4"
                            "must\x93\xa6"
                            "client\xa2"
                            "id\xc4\x04"
                            "must\xa2"
                            "id\x07\xa3"
                            "api\xa5"
                            "hello",
                            &header, &error),
                     WEFT_OK);
    assert_int_equal(HEADER("\x83\xa4"
                            "must\x91\xa5"
                            "magic\xa2"
                            "id\x07\xa3"
                            "api\xa5"
                            "hello",
                            &header, &error),
                     WEFT_ERR_UNSUPPORTED);
    assert_int_equal(header.id, 7);
    assert_int_equal(header.api, WEFT_API_HELLO);
    assert_non_null(strstr(error.text, "'magic' must be understood"));
    assert_int_equal(HEADER("\x82\xa4"
                            "must\xa5"
                            "magic\xa3"
                            "api\xa5"
                            "hello",
                            &header, &error),
                     WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(HEADER("\x82\xa4"
                            "must\x91\x05\xa3"
                            "api\xa5"
                            "hello",
                            &header, &error),
                     WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(HEADER("\x82\xa4"
                            "must\xc0\xa3"
                            "api\xa5"
                            "hello",
                            &header, &error),
                     WEFT_OK);
}

static void test_request_header__every_prefix_of_every_request_is_refused(void **state)
{
    struct weft_produce_request request;
    weft_produce_request_init(&request);
    request.id = 12345;
    request.topic = weft_slice_text("orders");
    weft_buf_t out;
    weft_buf_init(&out);
    weft_produce_request_encode(&request, &out);
    struct weft_request_header header;
    for (size_t cut = 0; cut < out.size; cut++)
        assert_int_equal(s_header(out.data, cut, &header, NULL), WEFT_ERR_BAD_FRAME);
    assert_int_equal(s_header(out.data, out.size, &header, NULL), WEFT_OK);
    weft_buf_fini(&out);
}

// ---- messages

static void test_messages__refusals_name_field_value_and_what_is_allowed(void **state)
{
    struct weft_error error;
    struct weft_produce_request out = {.id = 77};
    weft_codec_t codec;
    weft_codec_init(&codec);
    static const char below[] = "\x82\xa5"
                                "topic\xa1t\xa9"
                                "partition\xff";
    weft_slice_t bytes = weft_slice(below, sizeof(below) - 1);
    assert_int_equal(weft_produce_request_decode(&codec, bytes, &out, &error), WEFT_ERR_INVALID_REQUEST);
    assert_string_equal(error.text, "produce request: partition is -1; an integer from 0 to 4294967295 is wanted.");
    static const char missing[] = "\x81\xa5"
                                  "topic\xa1t";
    bytes = weft_slice(missing, sizeof(missing) - 1);
    assert_int_equal(weft_produce_request_decode(&codec, bytes, &out, &error), WEFT_ERR_INVALID_REQUEST);
    assert_string_equal(error.text,
                        "produce request: partition is missing; an integer from 0 to 4294967295 is wanted.");
    assert_int_equal(out.id, 77); // untouched
    static const char nested[] = "\x82\xa5"
                                 "topic\xa1t\xa6"
                                 "config\x92\x82\xa3"
                                 "key\xa1k\xa5"
                                 "value\xa1v\x81\xa3"
                                 "key\x01";
    struct weft_topic_create_request create;
    bytes = weft_slice(nested, sizeof(nested) - 1);
    assert_int_equal(weft_topic_create_request_decode(&codec, bytes, &create, &error), WEFT_ERR_INVALID_REQUEST);
    assert_string_equal(error.text, "topic_create request: config[1].key is 1; a string is wanted.");
    weft_codec_fini(&codec);
}

static void test_messages__arrays_and_strings_come_back(void **state)
{
    int32_t replicas[] = {1, 2, 3};
    struct weft_metadata_partition partitions[2] = {
        {.partition = 0, .leader = 2, .replicas = replicas, .replicas_count = 3}, {.partition = 1, .leader = -1}};
    struct weft_metadata_topic topics[1] = {
        {.name = weft_slice_text("orders"), .partitions = partitions, .partitions_count = 2}};
    struct weft_metadata_reply reply, back;
    weft_metadata_reply_init(&reply);
    assert_int_equal(reply.header.leader, -1);
    reply.header.id = 5;
    reply.topics = topics;
    reply.topics_count = 1;
    weft_buf_t out;
    weft_buf_init(&out);
    weft_metadata_reply_encode(&reply, &out);
    weft_codec_t codec;
    weft_codec_init(&codec);
    assert_int_equal(weft_metadata_reply_decode(&codec, weft_buf_slice(&out), &back, NULL), WEFT_OK);
    assert_int_equal(back.topics_count, 1);
    assert_true(weft_slice_is_text(back.topics[0].name, "orders"));
    assert_int_equal(back.topics[0].partitions_count, 2);
    assert_int_equal(back.topics[0].partitions[0].replicas_count, 3);
    assert_memory_equal(back.topics[0].partitions[0].replicas, replicas, sizeof(replicas));
    assert_int_equal(back.topics[0].partitions[1].leader, -1);
    assert_null(back.topics[0].partitions[1].replicas);
    assert_int_equal(back.coordinator_id, -1);
    weft_codec_fini(&codec);
    weft_buf_fini(&out);
}

static void test_messages__nil_and_empty_strings_differ(void **state)
{
    struct weft_hello_request request, back;
    weft_codec_t codec;
    weft_codec_init(&codec);
    for (int empty = 0; empty < 2; empty++) {
        weft_hello_request_init(&request);
        if (empty) request.client = weft_slice_text("");
        weft_buf_t out;
        weft_buf_init(&out);
        weft_hello_request_encode(&request, &out);
        assert_int_equal(weft_hello_request_decode(&codec, weft_buf_slice(&out), &back, NULL), WEFT_OK);
        assert_int_equal(back.client.data != NULL, empty);
        assert_int_equal(back.client.size, 0);
        weft_buf_fini(&out);
    }
    weft_codec_fini(&codec);
}

static void test_messages__frames_are_small(void **state)
{
    struct weft_produce_request request;
    weft_produce_request_init(&request);
    request.id = 7;
    request.topic = weft_slice_text("orders");
    weft_buf_t out;
    weft_buf_init(&out);
    weft_produce_request_encode(&request, &out);
    static const char wanted[] = "\x84\xa3"
                                 "api\xa7"
                                 "produce\xa2"
                                 "id\x07\xa5"
                                 "topic\xa6"
                                 "orders\xa9"
                                 "partition\x00";
    assert_int_equal(out.size, sizeof(wanted) - 1);
    assert_memory_equal(out.data, wanted, out.size);
    weft_buf_fini(&out);
}

static void test_replies__refusals_carry_name_and_sentence(void **state)
{
    weft_buf_t out;
    weft_buf_init(&out);
    weft_codec_t codec;
    weft_codec_init(&codec);
    struct weft_reply_header header;
    weft_error_reply_encode(9, WEFT_ERR_OVERLOADED, NULL, &out);
    assert_int_equal(weft_reply_header_decode(&codec, weft_buf_slice(&out), &header, NULL), WEFT_OK);
    assert_int_equal(header.id, 9);
    assert_int_equal(header.error, WEFT_ERR_OVERLOADED);
    assert_true(weft_slice_is_text(header.name, "OVERLOADED"));
    assert_true(weft_slice_is_text(header.message, weft_err_sentence(WEFT_ERR_OVERLOADED)));
    assert_int_equal(header.leader, -1);
    weft_buf_clear(&out);
    weft_error_reply_encode(9, WEFT_ERR_INVALID_TOPIC, "No such name.", &out);
    struct weft_produce_reply reply; // any reply can be read as a refusal
    assert_int_equal(weft_produce_reply_decode(&codec, weft_buf_slice(&out), &reply, NULL), WEFT_OK);
    assert_true(weft_slice_is_text(reply.header.message, "No such name."));
    assert_int_equal(reply.offset, -1);
    static const char unknown[] = "\x82\xa2"
                                  "id\x01\xa5"
                                  "error\xcd\x03\xe7";
    assert_int_equal(weft_reply_header_decode(&codec, weft_slice(unknown, sizeof(unknown) - 1), &header, NULL),
                     WEFT_OK);
    assert_int_equal(header.error, WEFT_ERR_INTERNAL);
    weft_codec_fini(&codec);
    weft_buf_fini(&out);
}

static void test_replies__a_refused_fetch_still_tells_where_the_common_part_ends(void **state)
{
    weft_buf_t out;
    weft_buf_init(&out);
    weft_codec_t codec;
    weft_codec_init(&codec);
    struct weft_fetch_reply reply, back;
    weft_fetch_reply_init(&reply);
    reply.header.error = WEFT_ERR_DIVERGED;
    reply.end_offset = 41;
    weft_fetch_reply_encode(&reply, &out);
    assert_int_equal(weft_fetch_reply_decode(&codec, weft_buf_slice(&out), &back, NULL), WEFT_OK);
    assert_int_equal(back.end_offset, 41);
    assert_int_equal(back.high_watermark, -1);
    weft_codec_fini(&codec);
    weft_buf_fini(&out);
}

// ---- commands

static void test_commands__are_told_apart_by_their_number(void **state)
{
    enum weft_command command = WEFT_COMMAND_TOPIC_DELETED;
    static const char known[] = "\x82\xa7"
                                "command\x05\xa1x\x01",
                      later[] = "\x81\xa7"
                                "command\xcd\x01\x00",
                      none[] = "\x80";
    assert_int_equal(weft_command_peek(weft_slice(known, sizeof(known) - 1), &command), WEFT_OK);
    assert_int_equal(command, WEFT_COMMAND_TOPIC_CREATED);
    assert_string_equal(weft_command_name(command), "topic_created");
    assert_int_equal(weft_command_peek(weft_slice(none, 1), &command), WEFT_ERR_INVALID_REQUEST);
    assert_int_equal(weft_command_peek(weft_slice(known, 3), &command), WEFT_ERR_BAD_FRAME);
    assert_int_equal(command, WEFT_COMMAND_TOPIC_CREATED);
    assert_int_equal(weft_command_peek(weft_slice(later, sizeof(later) - 1), &command), WEFT_OK);
    assert_int_equal(command, WEFT_COMMAND_UNKNOWN);
}

static void test_commands__a_topic_of_the_most_partitions_fits(void **state)
{
    static int32_t replicas[] = {1, 2, 3};
    struct weft_placement *placement = calloc(WEFT_PARTITIONS_MAX, sizeof(*placement));
    for (size_t i = 0; i < WEFT_PARTITIONS_MAX; i++) placement[i] = (struct weft_placement){replicas, 3};
    struct weft_topic_created_command command, back;
    weft_topic_created_command_init(&command);
    command.topic = weft_slice_text("orders");
    command.placement = placement;
    command.placement_count = WEFT_PARTITIONS_MAX;
    weft_buf_t out;
    weft_buf_init(&out);
    weft_topic_created_command_encode(&command, &out);
    weft_codec_t codec;
    weft_codec_init(&codec);
    assert_int_equal(weft_topic_created_command_decode(&codec, weft_buf_slice(&out), &back, NULL), WEFT_OK);
    assert_int_equal(back.placement_count, WEFT_PARTITIONS_MAX);
    assert_memory_equal(back.placement[WEFT_PARTITIONS_MAX - 1].replicas, replicas, sizeof(replicas));
    free(placement);
    weft_codec_fini(&codec);
    weft_buf_fini(&out);
}

static void test_guard__a_request_may_not_be_as_large_as_a_reply_or_a_record(void **state)
{
    size_t size = WEFT_HEADER_COUNT_MAX + 1 + 5;
    uint8_t *bytes = calloc(1, size); // an array32 of zeros
    memcpy(bytes, "\xdd\x00\x01\x00\x01", 5);
    assert_int_equal(weft_guard_check(weft_slice(bytes, size), &weft_guard_header, NULL), WEFT_ERR_BAD_FRAME);
    assert_int_equal(weft_guard_check(weft_slice(bytes, size), &weft_guard_reply, NULL), WEFT_OK);
    assert_int_equal(weft_guard_check(weft_slice(bytes, size), &weft_guard_record, NULL), WEFT_OK);
    free(bytes);
}

// ---- tables

static void test_errors__table_is_sound(void **state)
{
    assert_int_equal(WEFT_ERR_NOT_LEADER, 6);
    assert_int_equal(WEFT_ERR_TRUNCATED, -6);
    assert_string_equal(weft_err_name(WEFT_OK), "NONE");
    assert_string_equal(weft_err_name(WEFT_ERR_NOT_LEADER), "NOT_LEADER");
    assert_int_equal(weft_err_class(WEFT_ERR_NOT_LEADER), WEFT_CLASS_REFRESH);
    assert_int_equal(weft_err_class(WEFT_OK), WEFT_CLASS_NONE);
    assert_int_equal(weft_err_outcome(WEFT_ERR_TIMED_OUT), WEFT_OUTCOME_MAYBE_APPLIED);
    assert_int_equal(weft_err_of_number(4711), WEFT_ERR_INTERNAL);
    assert_int_equal(weft_err_of_number(-6), WEFT_ERR_TRUNCATED);
    assert_string_equal(weft_err_name((weft_err_t) 4711), "INTERNAL");
}

static void test_config__every_default_is_legal(void **state)
{
    const struct {
        const struct weft_option *table;
        size_t count;
    } scopes[] = {
#define SCOPE(scope) {weft_options_##scope, weft_options_##scope##_count},
        WEFT_OPTION_SCOPES(SCOPE)};
    for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
        weft_options_t *options = weft_options_new(scopes[i].table, scopes[i].count, "scope");
        for (size_t j = 0; j < scopes[i].count; j++)
            assert_int_equal(weft_options_set(options, scopes[i].table[j].name, scopes[i].table[j].initial, NULL),
                             WEFT_OK);
        weft_options_destroy(&options);
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write") == 0) { // what this codec makes of the vectors, for test_vectors.py
        FILE *written = fopen(argv[2], "w");
        if (!written) return 1;
        s_check_vectors(written);
        return fclose(written);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages__golden_vectors_are_read_and_written_canonically),
        cmocka_unit_test(test_request_header__finds_api_and_id_in_any_order),
        cmocka_unit_test(test_request_header__refusals_keep_the_id),
        cmocka_unit_test(test_request_header__must_is_understood_or_refused),
        cmocka_unit_test(test_request_header__every_prefix_of_every_request_is_refused),
        cmocka_unit_test(test_messages__refusals_name_field_value_and_what_is_allowed),
        cmocka_unit_test(test_messages__arrays_and_strings_come_back),
        cmocka_unit_test(test_messages__nil_and_empty_strings_differ),
        cmocka_unit_test(test_messages__frames_are_small),
        cmocka_unit_test(test_replies__refusals_carry_name_and_sentence),
        cmocka_unit_test(test_replies__a_refused_fetch_still_tells_where_the_common_part_ends),
        cmocka_unit_test(test_commands__are_told_apart_by_their_number),
        cmocka_unit_test(test_commands__a_topic_of_the_most_partitions_fits),
        cmocka_unit_test(test_guard__a_request_may_not_be_as_large_as_a_reply_or_a_record),
        cmocka_unit_test(test_errors__table_is_sound),
        cmocka_unit_test(test_config__every_default_is_legal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
