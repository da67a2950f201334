// SPDX-License-Identifier: MPL-2.0
#include "parts.h"

#include "lib/net/runtime.h"

#include <signal.h>
#include <unistd.h>

#define DEADLINE_US INT64_C(10000000)

static weft_runtime_t *s_runtime(void)
{
    weft_runtime_t *runtime = NULL;
    assert_int_equal(weft_runtime_new(&(struct weft_runtime_how){.io_threads = 1}, &runtime, NULL), WEFT_OK);
    return runtime;
}

static weft_part_id_t s_add(weft_runtime_t *runtime, const char *name, struct weft_part *part, const char *listen,
                            char *bound)
{
    const weft_world_t *world = weft_runtime_world(runtime);
    weft_part_id_t id = 0;
    struct weft_world_part how = {.name = name, .listen = listen, .frame_bytes_max = FRAME_BYTES_MAX};
    assert_int_equal(world->ops->add(world->self, &how, part, &id, bound, NULL), WEFT_OK);
    return id;
}

static void s_start(weft_runtime_t *runtime)
{
    const weft_world_t *world = weft_runtime_world(runtime);
    world->ops->start(world->self);
}

static void test_runtime__replies_given_while_stopping_still_arrive(void **state)
{
    weft_runtime_t *runtime = s_runtime();
    struct echo echo = {.part.ops = &echo_ops, .hold = 1};
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    weft_part_id_t id = s_add(runtime, "node/echo", &echo.part, "tcp://127.0.0.1:*", endpoint);
    s_start(runtime);
    void *context = zmq_ctx_new();
    void *dealer = peer_new(context, ZMQ_DEALER, endpoint);
    for (int i = 0; i < 50; i++) zmq_send(dealer, "wait", 4, 0);
    int64_t deadline = clock_us() + DEADLINE_US;
    while (atomic_load(&echo.messages) < 50) assert_true(clock_us() < deadline);
    assert_int_equal(weft_runtime_stop_parts(runtime, &id, 1, DEADLINE_US), WEFT_OK);
    assert_true(atomic_load(&echo.destroyed_flag));
    weft_runtime_destroy(&runtime);
    char text[16];
    for (int i = 0; i < 50; i++) {
        assert_int_equal(peer_receive(dealer, text, sizeof text), 4);
        assert_string_equal(text, "late");
    }
    zmq_close(dealer);
    zmq_ctx_term(context);
}

// ---- mail: a part that counts what comes and whether it comes in order; the first of a pair sends

#define MAILS 50000

struct counter {
    struct weft_part part;
    weft_port_t port;
    weft_part_id_t to; // 0: only counts
    uint64_t sent;
    uint64_t expected;
    atomic_bool disorder;
    atomic_ullong got;
    atomic_bool never_stops;
};

static struct counter *s_counter_of(struct weft_part *part)
{
    return (struct counter *) part;
}

static void s_counter_start(struct weft_part *part, const weft_port_t *port)
{
    s_counter_of(part)->port = *port;
}

static void s_counter_mail(struct weft_part *part, struct weft_mail *mail)
{
    struct counter *self = s_counter_of(part);
    uint64_t number = *(uint64_t *) mail->body;
    mail->body_free(mail->body);
    if (number != self->expected++) atomic_store(&self->disorder, true);
    atomic_fetch_add(&self->got, 1);
}

static int64_t s_counter_turn(struct weft_part *part, int64_t now_us)
{
    struct counter *self = s_counter_of(part);
    if (self->to == 0) return WEFT_TIME_NEVER;
    for (int i = 0; i < 100 && self->sent < MAILS; i++) {
        uint64_t *body = malloc(sizeof *body);
        *body = self->sent++;
        self->port.ops->post(self->port.world, self->to,
                             &(struct weft_mail){.kind = 1, .body = body, .body_free = free});
    }
    return self->sent < MAILS ? now_us : WEFT_TIME_NEVER;
}

static void s_counter_stop(struct weft_part *part) {}

static bool s_counter_stopped(struct weft_part *part)
{
    return !atomic_load(&s_counter_of(part)->never_stops);
}

static void s_counter_destroy(struct weft_part **part)
{
    *part = NULL;
}

static const struct weft_part_ops s_counter_ops = {.start = s_counter_start,
                                                   .message = echo_message,
                                                   .mail = s_counter_mail,
                                                   .link_up = echo_link,
                                                   .link_down = echo_link,
                                                   .turn = s_counter_turn,
                                                   .stop = s_counter_stop,
                                                   .stopped = s_counter_stopped,
                                                   .destroy = s_counter_destroy};

static void test_runtime__mail_arrives_in_order_between_threads(void **state)
{
    weft_runtime_t *runtime = s_runtime();
    struct counter left = {.part.ops = &s_counter_ops}, right = {.part.ops = &s_counter_ops};
    weft_part_id_t ids[2] = {s_add(runtime, "left", &left.part, NULL, NULL),
                             s_add(runtime, "right", &right.part, NULL, NULL)};
    left.to = ids[1];
    right.to = ids[0];
    s_start(runtime);
    int64_t deadline = clock_us() + DEADLINE_US;
    while (atomic_load(&left.got) < MAILS || atomic_load(&right.got) < MAILS) assert_true(clock_us() < deadline);
    assert_int_equal(weft_runtime_stop_parts(runtime, ids, 2, DEADLINE_US), WEFT_OK);
    assert_false(atomic_load(&left.disorder));
    assert_false(atomic_load(&right.disorder));
    weft_runtime_destroy(&runtime);
}

static void test_runtime__mail_to_a_stopped_part_is_freed(void **state)
{
    weft_runtime_t *runtime = s_runtime();
    struct counter left = {.part.ops = &s_counter_ops}, right = {.part.ops = &s_counter_ops};
    weft_part_id_t ids[2] = {s_add(runtime, "left", &left.part, NULL, NULL),
                             s_add(runtime, "right", &right.part, NULL, NULL)};
    left.to = ids[1];
    assert_int_equal(weft_runtime_stop_parts(runtime, &ids[1], 1, DEADLINE_US), WEFT_OK); // never started
    s_start(runtime);
    const weft_counters_t *counters = weft_runtime_counters(runtime, ids[0]);
    int64_t deadline = clock_us() + DEADLINE_US;
    while (weft_counter_get(counters, WEFT_LOOP_MAIL_UNDELIVERED) < MAILS) assert_true(clock_us() < deadline);
    assert_null(weft_runtime_counters(runtime, ids[1]));
    weft_runtime_destroy(&runtime); // without a clean stop; leaks show under the sanitizer
}

static void test_runtime__a_part_that_never_rests_is_ended_at_the_deadline(void **state)
{
    weft_runtime_t *runtime = s_runtime();
    struct counter stubborn = {.part.ops = &s_counter_ops};
    atomic_store(&stubborn.never_stops, true);
    weft_part_id_t id = s_add(runtime, "stubborn", &stubborn.part, NULL, NULL);
    s_start(runtime);
    int64_t began = clock_us();
    assert_int_equal(weft_runtime_stop_parts(runtime, &id, 1, 50000), WEFT_ERR_LOCAL_TIMED_OUT);
    assert_true(clock_us() - began >= 50000);
    weft_runtime_destroy(&runtime);
}

static volatile sig_atomic_t s_signalled;

static void s_on_signal(int number)
{
    s_signalled++;
}

static void test_runtime__leaves_the_hosts_signals_alone(void **state)
{
    struct sigaction ours = {.sa_handler = s_on_signal}, before, after;
    sigaction(SIGTERM, &ours, &before);
    weft_runtime_t *runtime = s_runtime();
    struct counter idle = {.part.ops = &s_counter_ops};
    weft_part_id_t id = s_add(runtime, "idle", &idle.part, NULL, NULL);
    s_start(runtime);
    sigaction(SIGTERM, NULL, &after);
    assert_ptr_equal(after.sa_handler, s_on_signal);
    s_signalled = 0;
    kill(getpid(), SIGTERM);
    int64_t deadline = clock_us() + DEADLINE_US;
    while (s_signalled == 0) assert_true(clock_us() < deadline);
    assert_int_equal(weft_runtime_stop_parts(runtime, &id, 1, DEADLINE_US), WEFT_OK);
    weft_runtime_destroy(&runtime);
    sigaction(SIGTERM, &before, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runtime__replies_given_while_stopping_still_arrive),
        cmocka_unit_test(test_runtime__mail_arrives_in_order_between_threads),
        cmocka_unit_test(test_runtime__mail_to_a_stopped_part_is_freed),
        cmocka_unit_test(test_runtime__a_part_that_never_rests_is_ended_at_the_deadline),
        cmocka_unit_test(test_runtime__leaves_the_hosts_signals_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
