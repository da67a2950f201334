// SPDX-License-Identifier: MPL-2.0
// What the host promises to any type of node, and what it refuses: tables and shared objects of strangers included.
#include "tests/support/test.h"

#include "echo_node.h"

#include <time.h>

static weft_hosted_node_t *s_start(const char *a, const char *b)
{
    const char *settings[] = {a, b, NULL};
    struct weft_error error = {.code = WEFT_OK};
    weft_hosted_node_t *node = NULL;
    weft_err_t err = weft_node_start_type(&echo_type, settings, &node, &error);
    if (err != WEFT_OK) fail_msg("%s", error.text);
    return node;
}

static void s_expect_health(const weft_hosted_node_t *node, enum weft_health wanted, const char *sentence)
{
    char text[256];
    for (int i = 0; i < 10000; i++) { // 10 s
        enum weft_health health = weft_node_health(node, text, sizeof text);
        if (health == wanted) {
            assert_string_equal(text, sentence);
            return;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); // allow-sleep: pace of a deadline
    }
    fail_msg("never %s", weft_health_name(wanted));
}

static void s_talk(void *zmq, const char *endpoint)
{
    char text[16];
    int patience = 10000;
    void *dealer = zmq_socket(zmq, ZMQ_DEALER);
    zmq_setsockopt(dealer, ZMQ_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(zmq_connect(dealer, endpoint), 0);
    assert_int_equal(zmq_send(dealer, "hello", 5, 0), 5);
    assert_int_equal(zmq_recv(dealer, text, sizeof text, 0), 5);
    zmq_close(dealer);
}

static void s_counter(void *context, const char *source, const char *name, const char *doc, uint64_t value)
{
    assert_string_equal(source, "echo-7");
    assert_string_equal(name, "messages_count");
    *(uint64_t *) context = value;
}

static void test_host__runs_a_type_that_the_program_defines(void **state)
{
    struct weft_error error;
    weft_hosted_node_t *node = s_start("name=echo-7", NULL);
    assert_string_equal(weft_node_name(node), "echo-7");
    assert_memory_equal(weft_node_endpoint(node), "tcp://127.0.0.1:", 16);
    assert_ok(weft_node_wait_serving(node, 10000, &error));
    void *zmq = zmq_ctx_new();
    s_talk(zmq, weft_node_endpoint(node));
    s_talk(zmq, weft_node_endpoint(node));
    zmq_ctx_term(zmq);
    uint64_t messages = 0;
    weft_node_counters(node, s_counter, &messages);
    assert_int_equal(messages, 2);
    assert_ok(weft_node_stop(&node));
    assert_null(node);
    assert_ok(weft_node_stop(&node));
}

static void test_host__a_node_without_a_name_has_its_types(void **state)
{
    weft_hosted_node_t *node = s_start(NULL, NULL);
    assert_string_equal(weft_node_name(node), "echo");
    assert_ok(weft_node_stop(&node));
}

static void test_host__a_degraded_node_is_one_that_serves(void **state)
{
    struct weft_error error;
    weft_hosted_node_t *node = s_start("behave=lonely", NULL);
    assert_ok(weft_node_wait_serving(node, 10000, &error));
    s_expect_health(node, WEFT_HEALTH_DEGRADED, "nobody is there yet");
    assert_ok(weft_node_stop(&node));
}

static void test_host__a_node_whose_run_ends_is_failed_with_the_reason(void **state)
{
    struct weft_error error;
    weft_hosted_node_t *node = s_start("behave=fails", NULL);
    s_expect_health(node, WEFT_HEALTH_FAILED, "the disk is gone");
    assert_err(weft_node_wait_serving(node, 1000, &error), WEFT_ERR_INTERNAL);
    assert_non_null(strstr(error.text, "the disk is gone"));
    assert_err(weft_node_stop(&node), WEFT_ERR_DISK_FAILED);
    node = s_start("behave=ends", NULL);
    s_expect_health(node, WEFT_HEALTH_FAILED, "ended by itself");
    assert_ok(weft_node_stop(&node));
    node = s_start("behave=stop-fails", NULL);
    assert_ok(weft_node_wait_serving(node, 10000, &error));
    assert_err(weft_node_stop(&node), WEFT_ERR_DISK_FULL);
}

static void test_host__leaves_a_node_behind_that_does_not_stop_in_its_time(void **state)
{
    struct weft_error error;
    weft_hosted_node_t *node = s_start("behave=never-stops", "stop.ms=50");
    assert_ok(weft_node_wait_serving(node, 10000, &error));
    assert_err(weft_node_stop(&node), WEFT_ERR_LOCAL_TIMED_OUT);
    assert_null(node);
    node = s_start("behave=leaves-a-socket", "stop.ms=50"); // its context can't end
    assert_ok(weft_node_wait_serving(node, 10000, &error));
    assert_err(weft_node_stop(&node), WEFT_ERR_LOCAL_TIMED_OUT);
}

static void test_host__refuses_settings_and_creates_that_fail(void **state)
{
    struct weft_error error = {.code = WEFT_OK};
    weft_hosted_node_t *node = NULL;
    assert_err(weft_node_start_type(&echo_type, (const char *[]){"behave=badly", NULL}, &node, &error),
               WEFT_ERR_INVALID_OPTION);
    assert_non_null(strstr(error.text, "one of well|fails"));
    assert_err(weft_node_start_type(&echo_type, (const char *[]){"listen=nonsense", NULL}, &node, &error),
               WEFT_ERR_INVALID_ENDPOINT);
    assert_non_null(strstr(error.text, "can't listen on 'nonsense'"));
    assert_err(weft_node_start_type(&echo_type, (const char *[]){"listen=nonsense", NULL}, &node, NULL),
               WEFT_ERR_INVALID_ENDPOINT);
    assert_err(weft_node_start_type(&echo_type, (const char *[]){"behave=gives-nothing", NULL}, &node, &error),
               WEFT_ERR_INTERNAL);
    assert_non_null(strstr(error.text, "gave no node"));
    assert_null(node);
}

// ---- tables that break the contract

static void s_refused(const struct weft_node_type *type, const char *sentence)
{
    struct weft_error error = {.code = WEFT_OK};
    weft_hosted_node_t *node = NULL;
    assert_err(weft_node_start_type(type, NULL, &node, &error), WEFT_ERR_INVALID_ARGUMENT);
    if (strstr(error.text, sentence) == NULL) fail_msg("no '%s' in: %s", sentence, error.text);
    assert_null(node);
}

static void test_host__refuses_tables_that_break_the_contract(void **state)
{
    struct weft_node_type type = echo_type;
    type.abi = 7;
    s_refused(&type, "number 7 of the node contract");
    type = echo_type;
    type.name = NULL;
    s_refused(&type, "name");
    type.name = "Echo 1";
    s_refused(&type, "name");
    type = echo_type;
    type.doc = NULL;
    s_refused(&type, "doc");
    type = echo_type;
    type.create = NULL;
    s_refused(&type, "create");
    type = echo_type;
    type.run = NULL;
    s_refused(&type, "run");
    type = echo_type;
    type.destroy = NULL;
    s_refused(&type, "destroy");
    type = echo_type;
    type.traits = 64;
    s_refused(&type, "traits");
    type = echo_type;
    type.counters = NULL;
    s_refused(&type, "counters");
    type.counter_count = 1000000;
    s_refused(&type, "256 counters");
    static const struct weft_counter_info twins[] = {{"a", "A."}, {"a", "A."}}, nameless[] = {{NULL, "A."}};
    type.counters = twins;
    type.counter_count = 2;
    s_refused(&type, "two counters");
    type.counters = nameless;
    type.counter_count = 1;
    s_refused(&type, "lacks its name");
    type = echo_type;
    type.options = NULL;
    s_refused(&type, "options is missing");
}

static void s_refused_options(const struct weft_option *options, size_t count, const char *sentence)
{
    struct weft_node_type type = echo_type;
    type.options = options;
    type.option_count = count;
    s_refused(&type, sentence);
}

static void test_host__refuses_options_that_break_the_contract(void **state)
{
    const struct weft_option good = {.name = "a", .type = WEFT_OPTION_INT, .initial = "5", .max = 9, .doc = "A."};
    struct weft_option broken = good;
    broken.initial = "10";
    s_refused_options(&broken, 1, "option 'a' has the default '10'");
    broken.initial = "ten";
    s_refused_options(&broken, 1, "has the default 'ten'");
    broken.initial = NULL;
    s_refused_options(&broken, 1, "lacks its default");
    broken = good;
    broken.doc = NULL;
    s_refused_options(&broken, 1, "lacks its doc");
    broken = good;
    broken.name = NULL;
    s_refused_options(&broken, 1, "option 1 has no name");
    broken.name = "a b";
    s_refused_options(&broken, 1, "option 1 has no name");
    broken = good;
    broken.type = (enum weft_option_type) 99;
    s_refused_options(&broken, 1, "no type that exists (99)");
    broken.type = WEFT_OPTION_CHOICE;
    s_refused_options(&broken, 1, "lacks its choices");
    broken = good;
    broken.role = WEFT_OPTION_ROLE_LISTEN; // of a number
    s_refused_options(&broken, 1, "role");
    broken = good;
    broken.name = "name";
    s_refused_options(&broken, 1, "'name' is no text");
    broken.name = "stop.ms";
    s_refused_options(&broken, 1, "'stop.ms' is no duration");
    const struct weft_option twins[] = {good, good};
    s_refused_options(twins, 2, "two options have the name 'a'");
}

static weft_err_t s_create_told(weft_hosted_node_t *node, const weft_options_t *options, void **out,
                                struct weft_error *error)
{
    return weft_node_refuse(error, WEFT_ERR_NOT_FOUND, "told %s", weft_options_text(options, "bootstrap"));
}

static void s_expect_told(const char *setting, const char *sentence)
{
    static const struct weft_option options[] = {
        {.name = "bootstrap", .type = WEFT_OPTION_TEXT, .initial = "tcp://a:1", .max = 20, .doc = "Endpoints."}};
    struct weft_node_type type = echo_type;
    type.options = options;
    type.option_count = 1;
    type.create = s_create_told;
    struct weft_error error = {.code = WEFT_OK};
    weft_hosted_node_t *node = NULL;
    assert_int_not_equal(weft_node_start_type(&type, (const char *[]){setting, NULL}, &node, &error), WEFT_OK);
    if (strstr(error.text, sentence) == NULL) fail_msg("no '%s' in: %s", sentence, error.text);
}

static void test_host__a_node_without_bootstrap_asks_the_environment(void **state)
{
    assert_int_equal(unsetenv("WEFT_BOOTSTRAP"), 0);
    s_expect_told(NULL, "told tcp://a:1");
    assert_int_equal(setenv("WEFT_BOOTSTRAP", "tcp://b:2", 1), 0);
    s_expect_told(NULL, "told tcp://b:2");
    s_expect_told("bootstrap=tcp://c:3", "told tcp://c:3");
    assert_int_equal(setenv("WEFT_BOOTSTRAP", "tcp://too.long.for.the.table:2", 1), 0);
    s_expect_told(NULL, "bootstrap");
    assert_int_equal(unsetenv("WEFT_BOOTSTRAP"), 0);
}

// ---- shared objects

static void s_refused_file(const char *file, weft_err_t expected, const char *sentence)
{
    struct weft_error error = {.code = WEFT_OK};
    weft_hosted_node_t *node = NULL;
    assert_err(weft_node_start(file, NULL, &node, &error), expected);
    if (strstr(error.text, sentence) == NULL) fail_msg("no '%s' in: %s", sentence, error.text);
    assert_null(node);
}

static void test_host__runs_a_type_from_a_shared_object_again_and_again(void **state)
{
    for (int i = 0; i < 3; i++) {
        struct weft_error error = {.code = WEFT_OK};
        weft_hosted_node_t *node = NULL, *twin = NULL;
        assert_ok(weft_node_start(OUTSIDE_NODE_GOOD, NULL, &node, &error));
        assert_ok(weft_node_start(OUTSIDE_NODE_GOOD, NULL, &twin, &error));
        assert_string_equal(weft_node_name(node), "echo-outside");
        assert_ok(weft_node_wait_serving(node, 10000, &error));
        assert_ok(weft_node_stop(&node));
        assert_ok(weft_node_wait_serving(twin, 10000, &error)); // the library is still there
        assert_ok(weft_node_stop(&twin));
    }
    struct weft_error error;
    weft_hosted_node_t *node = NULL;
    assert_err(weft_node_start(OUTSIDE_NODE_GOOD, (const char *[]){"lissten=x", NULL}, &node, &error),
               WEFT_ERR_INVALID_OPTION);
    assert_non_null(strstr(error.text, "did you mean 'listen'"));
}

static void test_host__refuses_shared_objects_that_are_none(void **state)
{
    s_refused_file("./no-such-file.so", WEFT_ERR_NOT_FOUND, "there is no file './no-such-file.so'");
    s_refused_file("no-such-file.so", WEFT_ERR_NOT_FOUND, "there is no file");
    s_refused_file(__FILE__, WEFT_ERR_INVALID_ARGUMENT, "can't be loaded");
    s_refused_file("/", WEFT_ERR_INVALID_ARGUMENT, "can't be loaded");
    s_refused_file(OUTSIDE_NODE_EMPTY, WEFT_ERR_INVALID_ARGUMENT, "lacks the symbol weft_node_type_main");
    s_refused_file(OUTSIDE_NODE_ABI, WEFT_ERR_INVALID_ARGUMENT, "number 7 of the node contract, this library has 1");
    s_refused_file(OUTSIDE_NODE_LOST, WEFT_ERR_INVALID_ARGUMENT, "weft_no_such_function");
    s_refused_file("brokr", WEFT_ERR_INVALID_ARGUMENT, "the types are coordinator, broker");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host__runs_a_type_that_the_program_defines),
        cmocka_unit_test(test_host__a_node_without_a_name_has_its_types),
        cmocka_unit_test(test_host__a_degraded_node_is_one_that_serves),
        cmocka_unit_test(test_host__a_node_whose_run_ends_is_failed_with_the_reason),
        cmocka_unit_test(test_host__leaves_a_node_behind_that_does_not_stop_in_its_time),
        cmocka_unit_test(test_host__refuses_settings_and_creates_that_fail),
        cmocka_unit_test(test_host__refuses_tables_that_break_the_contract),
        cmocka_unit_test(test_host__refuses_options_that_break_the_contract),
        cmocka_unit_test(test_host__a_node_without_bootstrap_asks_the_environment),
        cmocka_unit_test(test_host__runs_a_type_from_a_shared_object_again_and_again),
        cmocka_unit_test(test_host__refuses_shared_objects_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
