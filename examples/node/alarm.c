// SPDX-License-Identifier: MPL-2.0
// A node of your own: it watches a topic and tells on a PUB socket when its records stop coming and when they come again.
// Any SUB socket sees messages of two frames: [topic]["silent for 2003 ms" | "heard again"].
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <weft/node_type.h>
#include <weft/weft.h>
#include <zmq.h>

// What people may set: checked before create sees it, shown by `weft node describe ./libalarm.so`.
// Name, type, default, min, max (of the number or the length), choices, live, meaning, what it is to a topology.
static const struct weft_option options[] = {
    {"name", WEFT_OPTION_TEXT, "alarm", 1, 63, NULL, false, "Name of this node.", WEFT_OPTION_ROLE_NONE},
    {"bootstrap", WEFT_OPTION_TEXT, "tcp://127.0.0.1:9650", 1, 4096, NULL, false,
     "Endpoints of any nodes of the cluster, comma separated.", WEFT_OPTION_ROLE_SOURCE},
    {"topic", WEFT_OPTION_TEXT, "orders", 1, 249, NULL, false, "Topic to watch.", WEFT_OPTION_ROLE_SOURCE_TOPIC},
    {"listen", WEFT_OPTION_TEXT, "tcp://127.0.0.1:*", 1, 255, NULL, false, "Endpoint of the PUB socket.",
     WEFT_OPTION_ROLE_LISTEN},
    {"silence.ms", WEFT_OPTION_DURATION, "2s", 1, INT64_MAX, NULL, false, "So long without a record is a silence.",
     WEFT_OPTION_ROLE_NONE},
    {"stop.ms", WEFT_OPTION_DURATION, "10s", 1, INT64_MAX, NULL, false, "Longest a clean stop may take.",
     WEFT_OPTION_ROLE_NONE},
};

enum { RECORDS_READ, SILENCES };
static const struct weft_counter_info counters[] = {
    [RECORDS_READ] = {"records_read_count", "Records seen in the topic."},
    [SILENCES] = {"silences_count", "How often the records stopped coming."},
};

struct alarm {
    weft_hosted_node_t *node;
    const char *topic;
    int64_t silence_ms, heard_ms;
    bool silent;
    weft_consumer_t *consumer;
    void *publisher;
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void destroy(void **self_p)
{
    struct alarm *self = *self_p;
    *self_p = NULL;
    weft_consumer_destroy(&self->consumer);
    if (self->publisher) zmq_close(self->publisher);
    free(self);
}

// Binds and prepares; the cluster need not be there yet. Refused: a sentence, and nothing left behind.
static weft_err_t create(weft_hosted_node_t *node, const weft_options_t *set, void **out, struct weft_error *error)
{
    const char *listen = weft_options_text(set, "listen");
    char bootstrap[4096 + 16], bound[256];
    size_t size = sizeof bound;
    snprintf(bootstrap, sizeof bootstrap, "bootstrap=%s", weft_options_text(set, "bootstrap"));
    struct alarm *self = calloc(1, sizeof *self);
    if (!self) return weft_node_refuse(error, WEFT_ERR_INTERNAL, "out of memory");
    self->node = node;
    self->topic = weft_options_text(set, "topic");
    self->silence_ms = weft_options_int(set, "silence.ms");
    weft_err_t err = weft_consumer_new((const char *[]){bootstrap, NULL}, &self->consumer, error);
    if (!err)
        err = weft_consumer_subscribe(self->consumer, &self->topic, 1, (struct weft_position){WEFT_FROM_LATEST, 0});
    self->publisher = zmq_socket(weft_node_zmq_context(node), ZMQ_PUB);
    if (!err && (zmq_bind(self->publisher, listen) || zmq_getsockopt(self->publisher, ZMQ_LAST_ENDPOINT, bound, &size)))
        err = weft_node_refuse(error, WEFT_ERR_INVALID_ENDPOINT, "can't listen on %s: %s", listen, zmq_strerror(errno));
    void *made = self;
    if (err) {
        destroy(&made);
        return err;
    }
    weft_node_set_endpoint(node, bound);
    *out = self;
    return WEFT_OK;
}

static void tell(struct alarm *self, const char *what)
{
    zmq_send(self->publisher, self->topic, strlen(self->topic), ZMQ_SNDMORE);
    zmq_send(self->publisher, what, strlen(what), 0);
    weft_node_trace(self->node, 2, "%s is %s", self->topic, what);
}

static void judge(struct alarm *self, size_t records)
{
    int64_t now = now_ms();
    if (records > 0) {
        if (self->silent) tell(self, "heard again");
        self->silent = false;
        self->heard_ms = now;
    } else if (!self->silent && now - self->heard_ms >= self->silence_ms) {
        char text[64];
        snprintf(text, sizeof text, "silent for %lld ms", (long long) (now - self->heard_ms));
        tell(self, text);
        self->silent = true;
        weft_node_counter_add(self->node, SILENCES, 1);
    }
    struct weft_partition_position at;
    if (!weft_consumer_position(self->consumer, 0, &at) || at.position < 0 || at.unheard)
        weft_node_set_health(self->node, WEFT_HEALTH_DEGRADED, "topic %s can't be read yet", self->topic);
    else
        weft_node_set_health(self->node, WEFT_HEALTH_SERVING, NULL);
}

// On a thread of its own, until the host asks for the stop. An error ends the node: it is failed, and the host says why.
static weft_err_t run(void *node, struct weft_error *error)
{
    struct alarm *self = node;
    self->heard_ms = now_ms();
    while (!weft_node_stopping(self->node)) {
        zmq_pollitem_t items[] = {{.fd = weft_consumer_fd(self->consumer), .events = ZMQ_POLLIN},
                                  {.fd = weft_node_stop_fd(self->node), .events = ZMQ_POLLIN}};
        zmq_poll(items, 2, 50); // the consumer's own timers want a turn now and then
        weft_records_t *records;
        weft_err_t err = weft_consumer_poll(self->consumer, 0, &records);
        if (err) return weft_node_refuse(error, err, "%s", weft_consumer_error_text(self->consumer));
        size_t count = 0;
        for (struct weft_record_view record; weft_records_next(records, &record);) count++;
        for (struct weft_consumer_event event; weft_consumer_event(self->consumer, &event);)
            if (event.error) weft_node_trace(self->node, 1, "%s", event.text);
        weft_node_counter_add(self->node, RECORDS_READ, count);
        judge(self, count);
    }
    return WEFT_OK;
}

const struct weft_node_type weft_node_type_main = {
    .abi = WEFT_NODE_ABI,
    .name = "alarm",
    .doc = "Tells on a PUB socket when a topic falls silent.",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .counters = counters,
    .counter_count = sizeof counters / sizeof *counters,
    .create = create,
    .run = run,
    .destroy = destroy,
};
