// SPDX-License-Identifier: MPL-2.0
// A player on real sockets, as a program meets it; and the way there and back: recorded, played, the same frames.
#include "record_stage.h"

#include <math.h>

#define TOLERANCE_MS 25 // of a busy machine; on a quiet one it is 1 to 3
#define PACE_ROUNDS 10  // likewise; on a quiet one the first will do
#define PACE_RECORDS_MAX 64

// ---- topics to play

// A whole second not long ago: records of long ago would be taken by retention.
static int64_t s_base_ms(void)
{
    static int64_t base_ms;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (!base_ms) base_ms = ((int64_t) now.tv_sec - 10000) * 1000;
    return base_ms;
}

static void s_put(const char *topic, int32_t partition, const char *value, int64_t timestamp_ms)
{
    static weft_producer_t *producer;
    if (!value) {
        assert_ok(weft_producer_flush(producer, STAGE_MS));
        weft_producer_destroy(&producer);
        return;
    }
    if (!producer) producer = s_producer("linger.ms=0", NULL, NULL);
    struct weft_send_extra extra = {.timestamp_ms = timestamp_ms};
    assert_ok(weft_producer_send_wait(producer, s_topic(producer, topic), partition, WEFT_SLICE_NIL, weft_text(value),
                                      &extra, STAGE_MS));
}

static void s_put_end(void)
{
    s_put(NULL, 0, NULL, 0);
}

// `count` numbers, `step_ms` apart in recorded time.
static void s_put_numbers(const char *topic, int count, int step_ms)
{
    for (int i = 0; i < count; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        s_put(topic, 0, text, s_base_ms() + i * step_ms);
    }
    s_put_end();
}

static void s_expect_numbers(void *socket, int from, int to)
{
    for (int i = from; i < to; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        stage_expect(socket, text);
    }
}

static void s_expect_nothing(void *socket)
{
    assert_string_equal(stage_receive(socket, 50), "");
}

// ---- there and back

struct s_message {
    int count;
    size_t bytes[8];
    unsigned seed;
};

static struct s_message s_random(unsigned seed)
{
    static const size_t sizes[] = {0, 0, 1, 7, 100, 100, 255, 256, 5000, 70000};
    srand(seed + 1);
    struct s_message message = {.count = rand() % 3 ? 1 : 1 + rand() % 8, .seed = seed};
    for (int i = 0; i < message.count; i++) message.bytes[i] = sizes[rand() % 10];
    if (seed % 500 == 499) message.bytes[0] = 900000;
    return message;
}

static uint8_t *s_frame(const struct s_message *message, int index)
{
    static uint8_t bytes[900000];
    srand(message->seed * 8 + (unsigned) index);
    for (size_t i = 0; i < message->bytes[index] && i < 64; i++) bytes[i] = (uint8_t) rand();
    return bytes;
}

static void s_check_same(void *pull, const struct s_message *message)
{
    for (int i = 0; i < message->count; i++) {
        zmq_msg_t part;
        zmq_msg_init(&part);
        assert_true(zmq_msg_recv(&part, pull, 0) >= 0);
        assert_int_equal(zmq_msg_size(&part), message->bytes[i]);
        size_t known = message->bytes[i] < 64 ? message->bytes[i] : 64;
        assert_memory_equal(zmq_msg_data(&part), s_frame(message, i), known);
        assert_int_equal(zmq_msg_more(&part), i + 1 < message->count);
        zmq_msg_close(&part);
    }
}

static void s_check_there_and_back(const char *topic, const char *key, int count)
{
    char topic_setting[64], endpoint[256], target[300];
    snprintf(topic_setting, sizeof topic_setting, "topic=%s", topic);
    s_create(topic, 1);
    weft_hosted_node_t *recorder = STAGE_NODE("recorder", topic_setting, "listen=tcp://127.0.0.1:*", key);
    void *push = stage_socket(ZMQ_PUSH, weft_node_endpoint(recorder)), *pull = stage_bound(ZMQ_PULL, endpoint);
    snprintf(target, sizeof target, "target=%s", endpoint);
    weft_hosted_node_t *player = STAGE_NODE("player", topic_setting, target, "speed=max");
    for (int i = 0; i < count; i++) {
        struct s_message message = s_random((unsigned) i);
        for (int k = 0; k < message.count; k++)
            assert_true(
                zmq_send(push, s_frame(&message, k), message.bytes[k], k + 1 < message.count ? ZMQ_SNDMORE : 0) >= 0);
    }
    for (int i = 0; i < count; i++) {
        struct s_message message = s_random((unsigned) i);
        s_check_same(pull, &message);
    }
    assert_int_equal(stage_counter(player, "records_malformed_count"), 0);
    assert_ok(weft_node_stop(&player));
    assert_ok(weft_node_stop(&recorder));
    zmq_close(push);
    zmq_close(pull);
}

static void test_player__plays_any_recorded_message_as_it_was(void **state)
{
    s_check_there_and_back("there-and-back", "key=-1", 3000);
}

static void test_player__puts_a_key_back_in_its_place(void **state)
{
    s_check_there_and_back("keyed", "key=1", 1000);
}

// ---- pace

// Each number arrives one after the other; gaps[i]: how long after the one before it, in ms.
static void s_receive_gaps(void *pull, int count, double *gaps)
{
    int64_t before_us = 0;
    for (int i = 0; i < count; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        stage_expect(pull, text);
        int64_t now_us = stage_now_us();
        gaps[i] = i ? (double) (now_us - before_us) / 1000 : 0;
        before_us = now_us;
    }
}

static void s_play_once(const char *topic, const char *speed, int count, double *gaps)
{
    char setting[64], endpoint[256], target[300];
    snprintf(setting, sizeof setting, "topic=%s", topic);
    void *pull = stage_bound(ZMQ_PULL, endpoint);
    snprintf(target, sizeof target, "target=%s", endpoint);
    weft_hosted_node_t *player = STAGE_NODE("player", setting, target, speed);
    s_receive_gaps(pull, count, gaps);
    assert_ok(weft_node_stop(&player));
    zmq_close(pull);
}

// A machine that has no time for this process spoils a round, each time at another record; what the player does wrong
// it does wrong in every round. So of each gap the best of all rounds counts; together they are the time of the whole.
static void s_check_pace(const char *topic, const char *speed, int count, double step_ms)
{
    double off[PACE_RECORDS_MAX], gaps[PACE_RECORDS_MAX];
    for (int i = 0; i < count; i++) off[i] = 1e9;
    for (int round = 0; round < PACE_ROUNDS; round++) {
        s_play_once(topic, speed, count, gaps);
        double worst = 0, sum = 0;
        for (int i = 1; i < count; i++) {
            double now = gaps[i] - step_ms;
            if (fabs(now) < fabs(off[i])) off[i] = now;
            if (fabs(off[i]) > worst) worst = fabs(off[i]);
            sum += off[i];
        }
        print_message("%s: %d records %g ms apart, %d rounds: the worst gap is %.1f ms off, the whole %.1f\n", speed,
                      count, step_ms, round + 1, worst, sum);
        if (worst < TOLERANCE_MS && fabs(sum) < TOLERANCE_MS) return;
    }
    fail_msg("%s: the pace is never kept", speed);
}

static void test_player__keeps_the_recorded_pace(void **state)
{
    s_create("pace", 1);
    s_put_numbers("pace", 51, 20);
    s_check_pace("pace", "speed=1", 51, 20);
    s_check_pace("pace", "speed=10", 51, 2);
    s_check_pace("pace", "speed=2.5", 51, 8);
    s_check_pace("pace", "speed=max", 51, 0);
}

// Partitions that run empty by turns must not make each other wait.
static void test_player__keeps_the_pace_of_merged_partitions(void **state)
{
    s_create("pace-merged", 3);
    for (int i = 0; i < 60; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        s_put("pace-merged", i < 30 ? i % 3 : i % 2, text, s_base_ms() + i * 20);
    }
    s_put_end();
    s_check_pace("pace-merged", "speed=1", 60, 20);
}

static void test_player__cuts_long_pauses_where_told_to(void **state)
{
    s_create("pauses", 1);
    s_put("pauses", 0, "0", s_base_ms());
    s_put("pauses", 0, "1", s_base_ms() + 4000000);
    s_put("pauses", 0, "2", s_base_ms() + 3000); // backwards: at once
    s_put("pauses", 0, "3", INT64_MAX / 2);      // a lie
    s_put_end();
    char endpoint[256], target[300];
    void *pull = stage_bound(ZMQ_PULL, endpoint);
    snprintf(target, sizeof target, "target=%s", endpoint);
    weft_hosted_node_t *player = STAGE_NODE("player", "topic=pauses", target, "pause.max.ms=100");
    s_expect_numbers(pull, 0, 1);
    int64_t begun_us = stage_now_us();
    s_expect_numbers(pull, 1, 4);
    assert_true(stage_now_us() - begun_us > 150000);
    assert_ok(weft_node_stop(&player));
    zmq_close(pull);
}

// ---- what is played

static void s_check_played(const char *const *settings, const char *expected)
{
    char endpoint[256], target[300], got[512] = "";
    void *pull = stage_bound(ZMQ_PULL, endpoint);
    snprintf(target, sizeof target, "target=%s", endpoint);
    const char *all[STAGE_SETTINGS_MAX] = {target, "speed=max", "at.end=stop"};
    for (int i = 0; settings[i]; i++) all[i + 3] = settings[i];
    weft_hosted_node_t *player = stage_node("player", all);
    stage_wait_health(player, WEFT_HEALTH_FAILED, "ended by itself");
    for (const char *text; strlen(got) < strlen(expected) && *(text = stage_receive(pull, STAGE_MS));)
        strcat(got, text);
    strcat(got, stage_receive(pull, 100)); // nothing more
    assert_string_equal(got, expected);
    assert_ok(weft_node_stop(&player));
    zmq_close(pull);
}
#define S_CHECK_PLAYED(expected, ...) s_check_played((const char *const[]){__VA_ARGS__, NULL}, expected)

static void test_player__merges_partitions_by_time(void **state)
{
    s_create("merged", 3);
    static const struct {
        int32_t partition;
        int64_t ms;
        const char *value;
    } records[] = {{0, 1000, "a"}, {0, 1004, "e"}, {0, 1008, "i"}, {1, 1001, "b"}, {1, 1003, "d"},
                   {1, 1004, "f"}, {2, 1002, "c"}, {2, 1006, "g"}, {2, 1007, "h"}};
    for (size_t i = 0; i < sizeof records / sizeof *records; i++)
        s_put("merged", records[i].partition, records[i].value, s_base_ms() + records[i].ms);
    s_put_end();
    S_CHECK_PLAYED("abcdefghi", "topic=merged");
    S_CHECK_PLAYED("bdf", "topic=merged", "partition=1");
    S_CHECK_PLAYED("defghi", "topic=merged", "from=1");
    S_CHECK_PLAYED("abcdeg", "topic=merged", "to=2");
}

static void test_player__begins_and_ends_where_told_to(void **state)
{
    s_create("part", 1);
    for (int i = 0; i < 10; i++) {
        char text[2] = {(char) ('0' + i), 0};
        s_put("part", 0, text, s_base_ms() + i * 1000);
    }
    s_put_end();
    S_CHECK_PLAYED("0123456789", "topic=part");
    S_CHECK_PLAYED("789", "topic=part", "from=7");
    S_CHECK_PLAYED("34", "topic=part", "from=3", "to=5");
    char from[64], to[64];
    snprintf(from, sizeof from, "from=@%lld", (long long) s_base_ms() + 5000);
    snprintf(to, sizeof to, "to=@%lld", (long long) s_base_ms() + 8000);
    S_CHECK_PLAYED("567", "topic=part", from, to);
    S_CHECK_PLAYED("", "topic=part", "from=latest");
    S_CHECK_PLAYED("", "topic=part", "from=5", "to=5");
}

static void test_player__follows_the_topic_at_its_end(void **state)
{
    s_create("followed", 2);
    char endpoint[256], target[300];
    void *pull = stage_bound(ZMQ_PULL, endpoint);
    snprintf(target, sizeof target, "target=%s", endpoint);
    weft_hosted_node_t *player = STAGE_NODE("player", "topic=followed", target);
    s_put("followed", 0, "0", 0);
    s_put_end();
    stage_expect(pull, "0");
    stage_wait_health(player, WEFT_HEALTH_SERVING, "at the end");
    s_put("followed", 1, "1", 0);
    s_put_end();
    stage_expect(pull, "1");
    assert_ok(weft_node_stop(&player));
    zmq_close(pull);
}

static void test_player__loops(void **state)
{
    s_create("looped", 1);
    s_put_numbers("looped", 3, 10);
    char endpoint[256], target[300];
    void *pull = stage_bound(ZMQ_PULL, endpoint);
    snprintf(target, sizeof target, "target=%s", endpoint);
    weft_hosted_node_t *player = STAGE_NODE("player", "topic=looped", target, "at.end=loop");
    for (int round = 0; round < 4; round++) s_expect_numbers(pull, 0, 3);
    stage_wait_counter(player, "loops_count", 3);
    assert_ok(weft_node_stop(&player));
    zmq_close(pull);
}

static void test_player__waits_for_its_topic(void **state)
{
    char endpoint[256], target[300];
    void *pull = stage_bound(ZMQ_PULL, endpoint);
    snprintf(target, sizeof target, "target=%s", endpoint);
    weft_hosted_node_t *player = STAGE_NODE("player", "topic=not-yet", target);
    stage_wait_health(player, WEFT_HEALTH_DEGRADED, "not-yet");
    s_create("not-yet", 1);
    s_put_numbers("not-yet", 3, 1);
    s_expect_numbers(pull, 0, 3);
    assert_ok(weft_node_stop(&player));
    zmq_close(pull);
}

static void test_player__a_record_that_is_no_message_is_counted_and_passed(void **state)
{
    s_create("malformed", 1);
    weft_producer_t *producer = s_producer(NULL, NULL, NULL);
    weft_headers_t *headers = weft_headers_new();
    weft_headers_add(headers, "weft.frames", weft_text("3"));
    struct weft_send_extra extra = {.headers = weft_headers_encoded(headers)};
    weft_topic_t *topic = s_topic(producer, "malformed");
    assert_ok(weft_producer_send_wait(producer, topic, 0, WEFT_SLICE_NIL, weft_text("x"), &extra, STAGE_MS));
    assert_ok(weft_producer_send_wait(producer, topic, 0, weft_text("k"), weft_text("v"), NULL, STAGE_MS));
    assert_ok(weft_producer_close(producer, STAGE_MS));
    weft_producer_destroy(&producer);
    weft_headers_destroy(&headers);
    S_CHECK_PLAYED("v", "topic=malformed");
    S_CHECK_PLAYED("k|v", "topic=malformed", "plain=key-value");
}

// ---- sockets

static void test_player__a_pub_begins_when_its_subscribers_are_there(void **state)
{
    s_create("published", 1);
    s_put_numbers("published", 200, 0);
    weft_hosted_node_t *player = STAGE_NODE("player", "topic=published", "socket=pub", "listen=tcp://127.0.0.1:*",
                                            "speed=max", "wait.subscribers=2");
    stage_wait_health(player, WEFT_HEALTH_SERVING, "waiting for 2 subscriptions");
    void *first = stage_socket(ZMQ_SUB, weft_node_endpoint(player));
    stage_wait_counter(player, "subscriptions_count", 1);
    assert_int_equal(stage_counter(player, "records_sent_count"), 0);
    void *second = stage_socket(ZMQ_SUB, weft_node_endpoint(player));
    s_expect_numbers(first, 0, 200);
    s_expect_numbers(second, 0, 200);
    zmq_close(second);
    zmq_close(first);
    assert_ok(weft_node_stop(&player));
}

static void test_player__a_pub_that_may_wait_waits_for_a_slow_subscriber(void **state)
{
    s_create("unhurried", 1);
    s_put_numbers("unhurried", 20000, 0);
    weft_hosted_node_t *player = STAGE_NODE("player", "topic=unhurried", "socket=pub", "listen=tcp://127.0.0.1:*",
                                            "speed=max", "wait.subscribers=1", "slow=wait", "hwm=10");
    void *slow = stage_socket(ZMQ_SUB, NULL);
    int hwm = 10;
    zmq_setsockopt(slow, ZMQ_RCVHWM, &hwm, sizeof hwm);
    assert_int_equal(zmq_connect(slow, weft_node_endpoint(player)), 0);
    s_expect_numbers(slow, 0, 20000);
    zmq_close(slow);
    assert_ok(weft_node_stop(&player));
}

static void test_player__a_dealer_plays_to_a_router(void **state)
{
    s_create("dealt-out", 1);
    s_put_numbers("dealt-out", 3, 0);
    char endpoint[256], target[300], id[256];
    void *router = stage_bound(ZMQ_ROUTER, endpoint);
    snprintf(target, sizeof target, "target=%s", endpoint);
    weft_hosted_node_t *player = STAGE_NODE("player", "topic=dealt-out", target, "socket=dealer");
    for (int i = 0; i < 3; i++) {
        int size = zmq_recv(router, id, sizeof id, 0);
        assert_true(size > 0);
        char value[8] = "";
        assert_int_equal(zmq_recv(router, value, sizeof value, 0), 1);
        assert_int_equal(value[0], '0' + i);
        zmq_send(router, id, (size_t) size, ZMQ_SNDMORE);
        zmq_send(router, "thanks", 6, 0);
    }
    stage_wait_counter(player, "replies_count", 3);
    assert_ok(weft_node_stop(&player));
    zmq_close(router);
}

// How many of the numbers came with no time between them, after nobody had been there for a while.
static int s_rushed_after_slip(int count)
{
    weft_hosted_node_t *player = STAGE_NODE("player", "topic=slow-peers", "listen=tcp://127.0.0.1:*");
    stage_wait_counter(player, "target_blocked_ms", 300); // nobody is there
    assert_int_equal(stage_counter(player, "records_sent_count"), 0);
    void *pull = stage_socket(ZMQ_PULL, weft_node_endpoint(player));
    double gaps[PACE_RECORDS_MAX];
    s_receive_gaps(pull, count, gaps);
    stage_wait_counter(player, "slip_ms", 250);
    assert_true(stage_counter(player, "records_late_count") >= 1);
    zmq_close(pull);
    assert_ok(weft_node_stop(&player));
    int rushed = 0;
    for (int i = 1; i < count; i++) rushed += gaps[i] < 1;
    return rushed;
}

// Peers that take nothing make the pace slip; nothing is lost, and there is no rush afterwards.
static void test_player__the_pace_slips_when_peers_take_nothing(void **state)
{
    s_create("slow-peers", 1);
    s_put_numbers("slow-peers", 40, 10);
    for (int round = 0; s_rushed_after_slip(40) > 20; round++) // a player that rushed would do so each time
        if (round == PACE_ROUNDS) fail_msg("the pace is not kept after a slip");
}

// ---- orders

static const char *s_order(void *control, const char *order)
{
    STAGE_SEND(control, order);
    return stage_receive(control, STAGE_MS);
}

static void s_check_order(void *control, const char *order, const char *word)
{
    const char *answer = s_order(control, order);
    if (!strstr(answer, word)) fail_msg("'%s' was answered %s, without '%s'", order, answer, word);
}

static void test_player__plays_step_by_step(void **state)
{
    s_create("steps", 1);
    s_put_numbers("steps", 10, 60000);
    char endpoint[256], target[300], control[300];
    void *pull = stage_bound(ZMQ_PULL, endpoint);
    snprintf(target, sizeof target, "target=%s", endpoint);
    snprintf(control, sizeof control, "control=ipc://%s/control", s_directory);
    weft_hosted_node_t *player = STAGE_NODE("player", "topic=steps", target, control, "paused=true");
    void *orders = stage_socket(ZMQ_REQ, control + 8);
    s_check_order(orders, "status", "\"state\": \"paused\"");
    s_expect_nothing(pull);
    s_check_order(orders, "step", "\"sent\": 1, \"partition\": 0, \"offset\": 0, \"timestamp_ms\": ");
    s_check_order(orders, "step 3", "\"offset\": 3");
    s_expect_numbers(pull, 0, 4);
    s_expect_nothing(pull);
    s_check_order(orders, "seek 8", "\"state\": \"paused\"");
    s_check_order(orders, "step 100", "\"at_end\": true, \"speed\": 1, \"sent\": 6");
    s_expect_numbers(pull, 8, 10);
    snprintf(target, sizeof target, "seek @%lld", (long long) s_base_ms() + 3 * 60000);
    s_check_order(orders, target, "\"ok\": true");
    s_check_order(orders, "step", "\"offset\": 3");
    s_expect_numbers(pull, 3, 4);
    s_check_order(orders, "seek 1000", "true"); // behind the end: nothing, until there is more
    s_check_order(orders, "step", "\"at_end\": true, \"speed\": 1, \"sent\": 7");
    s_check_order(orders, "seek 4", "\"ok\": true");
    s_check_order(orders, "speed max", "\"speed\": 0");
    s_check_order(orders, "resume", "\"ok\": true");
    s_expect_numbers(pull, 4, 10);
    s_check_order(orders, "pause", "\"state\": \"paused\"");
    s_check_order(orders, "status\n", "\"sent\": 13");
    zmq_close(orders);
    zmq_close(pull);
    assert_ok(weft_node_stop(&player));
}

static void test_player__orders_that_are_none_are_refused(void **state)
{
    s_create("orders", 1);
    char control[300], large[300];
    snprintf(control, sizeof control, "control=ipc://%s/orders", s_directory);
    weft_hosted_node_t *player = STAGE_NODE("player", "topic=orders", "listen=tcp://127.0.0.1:*", control);
    void *orders = stage_socket(ZMQ_DEALER, control + 8);
    static const char *const wrong[] = {
        "stop",      "step 0",     "step -1",    "step x",   "step 99999999999999999999",
        "seek",      "seek 1 2",   "speed",      "speed -1", "speed 1e9",
        "speed nan", "status now", "\"quoted\"", " "};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) s_check_order(orders, wrong[i], "\"ok\": false");
    s_check_order(orders, "", "\"ok\": false");
    STAGE_SEND(orders, "a", "b", "c");
    assert_non_null(strstr(stage_receive(orders, STAGE_MS), "\"ok\": false"));
    memset(large, 'x', sizeof large);
    large[sizeof large - 1] = 0;
    s_check_order(orders, large, "\"ok\": false");
    s_check_order(orders, "status", "\"ok\": true");
    zmq_close(orders);
    assert_ok(weft_node_stop(&player));
}

static void test_player__what_a_person_got_wrong_is_said(void **state)
{
    STAGE_REFUSED("player", WEFT_ERR_INVALID_TOPIC, "topic", "listen=tcp://127.0.0.1:*");
    STAGE_REFUSED("player", WEFT_ERR_INVALID_ARGUMENT, "neither 'listen' nor 'target'", "topic=t");
    STAGE_REFUSED("player", WEFT_ERR_INVALID_OPTION, "'speed'", "topic=t", "listen=tcp://127.0.0.1:*", "speed=fast");
    STAGE_REFUSED("player", WEFT_ERR_INVALID_OPTION, "'from'", "topic=t", "listen=tcp://127.0.0.1:*", "from=x");
    STAGE_REFUSED("player", WEFT_ERR_INVALID_OPTION, "'to'", "topic=t", "listen=tcp://127.0.0.1:*", "to=latest");
    STAGE_REFUSED("player", WEFT_ERR_INVALID_OPTION, "'control'", "topic=t", "listen=tcp://127.0.0.1:*", "paused=true");
    STAGE_REFUSED("player", WEFT_ERR_INVALID_ENDPOINT, "nothing", "topic=t", "listen=tcp://127.0.0.1:*",
                  "control=nothing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_player__plays_any_recorded_message_as_it_was),
        cmocka_unit_test(test_player__puts_a_key_back_in_its_place),
        cmocka_unit_test(test_player__keeps_the_recorded_pace),
        cmocka_unit_test(test_player__keeps_the_pace_of_merged_partitions),
        cmocka_unit_test(test_player__cuts_long_pauses_where_told_to),
        cmocka_unit_test(test_player__merges_partitions_by_time),
        cmocka_unit_test(test_player__begins_and_ends_where_told_to),
        cmocka_unit_test(test_player__follows_the_topic_at_its_end),
        cmocka_unit_test(test_player__loops),
        cmocka_unit_test(test_player__waits_for_its_topic),
        cmocka_unit_test(test_player__a_record_that_is_no_message_is_counted_and_passed),
        cmocka_unit_test(test_player__a_pub_begins_when_its_subscribers_are_there),
        cmocka_unit_test(test_player__a_pub_that_may_wait_waits_for_a_slow_subscriber),
        cmocka_unit_test(test_player__a_dealer_plays_to_a_router),
        cmocka_unit_test(test_player__the_pace_slips_when_peers_take_nothing),
        cmocka_unit_test(test_player__plays_step_by_step),
        cmocka_unit_test(test_player__orders_that_are_none_are_refused),
        cmocka_unit_test(test_player__what_a_person_got_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, s_setup, stage_teardown);
}
