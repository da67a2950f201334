// SPDX-License-Identifier: MPL-2.0
/** For tests of recorder and player: nodes in this process, plain sockets at the other side, counters, waits with a deadline. */
#ifndef WEFT_TESTS_INTEGRATION_RECORD_STAGE_H
#define WEFT_TESTS_INTEGRATION_RECORD_STAGE_H

#include "client_cluster.h"

#include <pthread.h>
#include <time.h>
#include <weft/node.h>
#include <zmq.h>

#define STAGE_MS 20000
#define STAGE_SETTINGS_MAX 24

static void *s_zmq;

static inline int64_t stage_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

// ---- nodes

// `settings`: NULL at the end; bootstrap is added.
static inline weft_hosted_node_t *stage_node(const char *type, const char *const *settings)
{
    const char *all[STAGE_SETTINGS_MAX] = {s_bootstrap};
    for (int i = 0; settings[i] && i < STAGE_SETTINGS_MAX - 2; i++) all[i + 1] = settings[i];
    weft_hosted_node_t *node = NULL;
    struct weft_error error;
    if (weft_node_start(type, all, &node, &error)) fail_msg("%s: %s", type, error.text);
    return node;
}
#define STAGE_NODE(type, ...) stage_node(type, (const char *const[]){__VA_ARGS__, NULL})

static inline void stage_refused(const char *type, const char *const *settings, weft_err_t expected, const char *word)
{
    weft_hosted_node_t *node = NULL;
    struct weft_error error = {0};
    assert_err(weft_node_start(type, settings, &node, &error), expected);
    if (!strstr(error.text, word)) fail_msg("'%s' does not speak of '%s'", error.text, word);
}
#define STAGE_REFUSED(type, expected, word, ...) \
    stage_refused(type, (const char *const[]){__VA_ARGS__, NULL}, expected, word)

struct stage_counter {
    const char *name;
    uint64_t value;
    bool found;
};

static inline void stage_each(void *context, const char *source, const char *name, const char *doc, uint64_t value)
{
    struct stage_counter *counter = context;
    if (strcmp(name, counter->name) != 0) return;
    counter->value = value;
    counter->found = true;
}

static inline uint64_t stage_counter(const weft_hosted_node_t *node, const char *name)
{
    struct stage_counter counter = {.name = name};
    weft_node_counters(node, stage_each, &counter);
    if (!counter.found) fail_msg("there is no counter %s", name);
    return counter.value;
}

static inline void stage_turn(int64_t deadline_us, const char *what)
{
    if (stage_now_us() > deadline_us) fail_msg("did not happen in time: %s", what);
    nanosleep(&(const struct timespec){.tv_nsec = 2000000}, NULL); // allow-sleep: pace of a deadline
}

// Waits until the counter has at least that value.
static inline void stage_wait_counter(const weft_hosted_node_t *node, const char *name, uint64_t value)
{
    for (int64_t deadline_us = stage_now_us() + STAGE_MS * 1000; stage_counter(node, name) < value;)
        stage_turn(deadline_us, name);
}

static inline void stage_wait_health(const weft_hosted_node_t *node, enum weft_health health, const char *word)
{
    char text[WEFT_ERROR_TEXT_BYTES_MAX] = "";
    for (int64_t deadline_us = stage_now_us() + STAGE_MS * 1000;;) {
        if (weft_node_health(node, text, sizeof text) == health && strstr(text, word)) return;
        if (stage_now_us() > deadline_us)
            fail_msg("health never became %s with '%s': %s", weft_health_name(health), word, text);
        stage_turn(deadline_us, word);
    }
}

// ---- sockets of the other side

static inline void *stage_socket(int type, const char *endpoint)
{
    if (!s_zmq) s_zmq = zmq_ctx_new();
    void *socket = zmq_socket(s_zmq, type);
    int linger_ms = 5000, timeout_ms = STAGE_MS, hwm = 1000000;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &timeout_ms, sizeof timeout_ms);
    zmq_setsockopt(socket, ZMQ_SNDTIMEO, &timeout_ms, sizeof timeout_ms);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &hwm, sizeof hwm);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &hwm, sizeof hwm);
    if (type == ZMQ_SUB) zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0);
    if (endpoint && zmq_connect(socket, endpoint)) fail_msg("%s: %s", endpoint, zmq_strerror(zmq_errno()));
    return socket;
}

// A bound socket; its endpoint.
static inline void *stage_bound(int type, char endpoint[256])
{
    void *socket = stage_socket(type, NULL);
    size_t size = 256;
    assert_int_equal(zmq_bind(socket, "tcp://127.0.0.1:*"), 0);
    zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size);
    return socket;
}

static inline void stage_send(void *socket, const char *const *frames)
{
    for (int i = 0; frames[i]; i++) {
        int sent = zmq_send(socket, frames[i], strlen(frames[i]), frames[i + 1] ? ZMQ_SNDMORE : 0);
        if (sent < 0) fail_msg("send: %s", zmq_strerror(zmq_errno()));
    }
}
#define STAGE_SEND(socket, ...) stage_send(socket, (const char *const[]){__VA_ARGS__, NULL})

static inline void stage_send_number(void *socket, long number)
{
    char text[24];
    snprintf(text, sizeof text, "%ld", number);
    STAGE_SEND(socket, text);
}

// The next message, its frames joined by '|', as text; "" when none came within timeout_ms.
static inline const char *stage_receive(void *socket, int timeout_ms)
{
    static char text[4096];
    size_t used = 0;
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &timeout_ms, sizeof timeout_ms);
    text[0] = 0;
    for (int more = 1; more;) {
        char frame[1024];
        int size = zmq_recv(socket, frame, sizeof frame, 0);
        if (size < 0) return "";
        size_t option_bytes = sizeof more;
        zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &option_bytes);
        used += (size_t) snprintf(text + used, sizeof text - used, "%s%.*s", used ? "|" : "", size > 1023 ? 1023 : size,
                                  frame);
    }
    return text;
}

static inline void stage_expect(void *socket, const char *expected)
{
    const char *text = stage_receive(socket, STAGE_MS);
    if (strcmp(text, expected) != 0) fail_msg("received '%s', not '%s'", text, expected);
}

static void *stage_term(void *zmq)
{
    zmq_ctx_term(zmq);
    return NULL;
}

// The context's end waits for its sockets, and a test that failed leaves some: it is not waited for longer than this.
static inline int stage_teardown(void **state)
{
    pthread_t thread;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    if (s_zmq && pthread_create(&thread, NULL, stage_term, s_zmq) == 0) pthread_timedjoin_np(thread, NULL, &until);
    return s_teardown(state);
}

// ---- the topic

// Calls `each` for all records that are there, in order of partition 0.
typedef void stage_record_fn(int index, const struct weft_record_view *record);
static inline int stage_read(const char *topic, stage_record_fn *each)
{
    weft_consumer_t *consumer = s_consumer(NULL, NULL);
    struct weft_assignment all = {.topic = topic, .partition = WEFT_PARTITION_ALL, .at = {WEFT_FROM_EARLIEST, 0}};
    assert_ok(weft_consumer_assign(consumer, &all, 1));
    int count = 0;
    while (!weft_consumer_at_end(consumer)) {
        weft_records_t *records;
        assert_ok(weft_consumer_poll(consumer, 5000, &records));
        for (struct weft_record_view record; weft_records_next(records, &record); count++)
            if (each) each(count, &record);
    }
    weft_consumer_destroy(&consumer);
    return count;
}

static inline const char *stage_header(const struct weft_record_view *record, const char *name)
{
    static char text[64];
    weft_slice_t rest = record->headers, found, value;
    while (weft_headers_next(&rest, &found, &value)) {
        if (found.size != strlen(name) || memcmp(found.data, name, found.size) != 0) continue;
        snprintf(text, sizeof text, "%.*s", (int) value.size, (const char *) value.data);
        return text;
    }
    return "";
}

#endif
