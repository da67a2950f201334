// SPDX-License-Identifier: MPL-2.0
// Recorder: the life of the node. One thread owns the socket and the producer: wait for the topic, learn where the
// sequences stood, then take messages until the node is to stop. Three bounded places hold what is not in the log yet: the
// sender's queue, the socket's (hwm), and the producer's buffer (buffer.bytes). When the cluster is away they fill up in that
// order, backwards; a record is never given up for that (delivery.timeout.ms is ten years), so a sender that can wait loses
// nothing. Memory of the producer's records is freed when they are acknowledged, and not earlier.
#include "recorder_inner.h"

#include "../common/clients.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft_gen/config.h>

#define TURN_MESSAGES 4096 // received between two looks at everything else
#define IDLE_MS 100
#define STARTING_MS 1000
#define LINGER_MS 5       // as linger.ms of the producer: its timers need a poll
#define SILENCE_MS 2000   // without an answer: the cluster is said to be away
#define FAILURE_MS 10000  // a failure stays in the health for so long
#define AGAIN_MS_MAX 2000 // longest wait before the producer is made anew
#define WARN_MS 1000      // between two lines of trace
#define STOP_SHARE 8 / 10 // of stop.ms, for the cluster's answers

static const struct weft_counter_info s_counters[WEFT_RECORDER_COUNTERS] = {
    [WEFT_RECORDER_RECEIVED] = {"messages_received_count", "Messages read from the source."},
    [WEFT_RECORDER_RECEIVED_BYTES] = {"received_bytes", "Bytes of their frames."},
    [WEFT_RECORDER_ACKED] = {"records_acked_count",
                             "Records that the cluster has acknowledged, as producer's acks asks."},
    [WEFT_RECORDER_FAILED] = {"records_failed_count", "Records that were received and are lost, or may be."},
    [WEFT_RECORDER_TOO_LARGE] = {"messages_too_large_count", "Messages not recorded: too many bytes or frames."},
    [WEFT_RECORDER_WITHOUT_KEY] = {"messages_without_key_count", "Messages without the frame that is the key."},
    [WEFT_RECORDER_WAITING] = {"records_waiting_count", "Records received and not acknowledged yet."},
    [WEFT_RECORDER_BLOCKED_MS] = {"source_blocked_ms", "Time in which the source was not read: the buffer was full."},
    [WEFT_RECORDER_PEERS] = {"source_peers_count", "Connections to the source now."},
    [WEFT_RECORDER_GAPS] = {"sequence_gaps_count", "Places where the sequence has a gap."},
    [WEFT_RECORDER_MISSING] = {"sequence_missing_count", "Messages missing in them."},
    [WEFT_RECORDER_DUPLICATES] = {"sequence_duplicates_count", "Messages with a number seen before, or late."},
    [WEFT_RECORDER_RESETS] = {"sequence_resets_count", "Sequences that began anew."},
    [WEFT_RECORDER_UNREADABLE] = {"sequence_unreadable_count", "Messages without a readable number."},
    [WEFT_RECORDER_UNTRACKED] = {"sequence_untracked_count", "Messages of streams that are not followed."},
    [WEFT_RECORDER_STREAMS] = {"sequence_streams_count", "Streams followed now."},
};

void weft_recorder_warn(struct weft_recorder *self, const char *what, const char *why)
{
    int64_t now_ms = weft_mono_ms();
    if (self->warned_ms && now_ms - self->warned_ms < WARN_MS) return;
    self->warned_ms = now_ms;
    weft_node_trace(self->node, 1, "%s: %s", what, why);
}

// ---- health and counters

static void s_health_source(struct weft_recorder *self)
{
    const char *source = weft_options_text(self->options, "source");
    if (self->source.counts && !self->source.peers && *source)
        weft_node_set_health(self->node, WEFT_HEALTH_DEGRADED, "nobody answers at %.200s yet", source);
    else
        weft_node_set_health(self->node, WEFT_HEALTH_SERVING, NULL);
}

static void s_health(struct weft_recorder *self, int64_t now_ms)
{
    uint64_t waiting = self->counts[WEFT_RECORDER_WAITING];
    long long silent_s = (now_ms - self->acked_ms) / 1000;
    if (!self->topic && now_ms - self->begun_ms < STARTING_MS) return; // still starting: the cluster may be, too
    if (self->refused || !self->topic)
        weft_node_set_health(self->node, WEFT_HEALTH_DEGRADED, "the source isn't read: %s", self->why);
    else if (self->failed_ms >= 0 && now_ms - self->failed_ms < FAILURE_MS)
        weft_node_set_health(self->node, WEFT_HEALTH_DEGRADED, "records were lost: %s", self->failed_text);
    else if (waiting && now_ms - self->acked_ms > SILENCE_MS)
        weft_node_set_health(self->node, WEFT_HEALTH_DEGRADED,
                             "the cluster has not answered for %lld s; %llu records wait%s", silent_s,
                             (unsigned long long) waiting, self->held ? ", the source isn't read" : "");
    else
        s_health_source(self);
}

static void s_publish_sequences(struct weft_recorder *self)
{
    const struct weft_sequence_counts *counts = weft_sequences_counts(self->sequences);
    self->counts[WEFT_RECORDER_GAPS] = counts->gaps;
    self->counts[WEFT_RECORDER_MISSING] = counts->missing;
    self->counts[WEFT_RECORDER_DUPLICATES] = counts->duplicates;
    self->counts[WEFT_RECORDER_RESETS] = counts->resets;
    self->counts[WEFT_RECORDER_UNREADABLE] = counts->unreadable;
    self->counts[WEFT_RECORDER_UNTRACKED] = counts->untracked;
    self->counts[WEFT_RECORDER_STREAMS] = counts->streams;
}

static void s_publish_now(struct weft_recorder *self, int64_t now_ms)
{
    self->published_ms = now_ms;
    weft_attach_look(&self->source);
    s_publish_sequences(self);
    self->counts[WEFT_RECORDER_PEERS] = (uint64_t) self->source.peers;
    self->counts[WEFT_RECORDER_WAITING] = self->producer ? weft_producer_waiting_count(self->producer) : 0;
    if (!self->counts[WEFT_RECORDER_WAITING]) self->acked_ms = now_ms;
    if (self->blocked_ms >= 0) {
        self->counts[WEFT_RECORDER_BLOCKED_MS] += (uint64_t) (now_ms - self->blocked_ms);
        self->blocked_ms = now_ms;
    }
    for (size_t i = 0; i < WEFT_RECORDER_COUNTERS; i++) weft_node_counter_set(self->node, i, self->counts[i]);
}

void weft_recorder_publish(struct weft_recorder *self)
{
    int64_t now_ms = weft_mono_ms();
    if (now_ms - self->published_ms < IDLE_MS) return;
    s_publish_now(self, now_ms);
    if (!weft_node_stopping(self->node)) s_health(self, now_ms);
}

// ---- the producer

static void s_report(void *context, const struct weft_batch_report *report)
{
    struct weft_recorder *self = context;
    if (!report->error) {
        self->counts[WEFT_RECORDER_ACKED] += report->count;
        self->acked_ms = weft_mono_ms();
        return;
    }
    self->counts[WEFT_RECORDER_FAILED] += report->count;
    // The topic was deleted: another producer waits until there is one, and nothing more is read meanwhile.
    if (report->error == WEFT_ERR_UNKNOWN_TOPIC || report->error == WEFT_ERR_TOPIC_REPLACED) self->over = true;
    self->failed_ms = weft_mono_ms();
    snprintf(self->failed_text, sizeof self->failed_text, "%u of partition %d: %s", report->count, report->partition,
             report->text);
    weft_recorder_warn(self, "records are lost", self->failed_text);
}

static weft_err_t s_producer_new(struct weft_recorder *self, weft_producer_t **out, struct weft_error *error)
{
    const char *const own[] = {"delivery.timeout.ms=3650d", NULL};
    char **settings = weft_inside_settings(self->node, weft_options_text(self->options, "bootstrap"), own,
                                           weft_options_text(self->options, "producer"));
    weft_err_t err = weft_producer_new((const char *const *) settings, out, error);
    weft_list_free(&settings);
    if (!err) weft_producer_on_batch(*out, s_report, self);
    return err;
}

// Waits for the topic. False: the node is to stop.
static bool s_find_topic(struct weft_recorder *self)
{
    weft_topic_t *topic;
    int32_t count;
    if (weft_producer_topic(self->producer, self->topic_name, &topic)) return false; // its name was checked
    while (!weft_node_stopping(self->node)) {
        weft_err_t err = weft_producer_partition_count(self->producer, topic, IDLE_MS, &count);
        if (!err) {
            self->topic = topic;
            return true;
        }
        snprintf(self->why, sizeof self->why, "%s", weft_producer_error_text(self->producer));
        // That a topic is missing is told without waiting, and asked for again meanwhile.
        if (err != WEFT_ERR_LOCAL_TIMED_OUT) (void) weft_producer_poll(self->producer, IDLE_MS);
        weft_recorder_publish(self);
    }
    return false;
}

// ---- recording

// Waits for a message, the cluster or the end, whatever can happen now.
static void s_wait(struct weft_recorder *self)
{
    zmq_pollitem_t items[] = {
        {.fd = weft_node_stop_fd(self->node), .events = ZMQ_POLLIN},
        {.fd = weft_producer_fd(self->producer), .events = ZMQ_POLLIN},
        {.socket = self->source.socket, .events = ZMQ_POLLIN},
    };
    int timeout_ms = weft_producer_waiting_count(self->producer) ? LINGER_MS : IDLE_MS;
    (void) weft_producer_poll(self->producer, 0);
    (void) zmq_poll(items, self->held ? 2 : 3, timeout_ms);
    (void) weft_producer_poll(self->producer, 0);
}

static void s_mark_blocked(struct weft_recorder *self)
{
    int64_t now_ms = weft_mono_ms();
    if (self->held && self->blocked_ms < 0) self->blocked_ms = now_ms;
    if (!self->held && self->blocked_ms >= 0) {
        self->counts[WEFT_RECORDER_BLOCKED_MS] += (uint64_t) (now_ms - self->blocked_ms);
        self->blocked_ms = -1;
    }
}

static void s_record(struct weft_recorder *self)
{
    bool again = true;
    while (again && !weft_node_stopping(self->node)) {
        size_t taken = weft_recorder_take(self, TURN_MESSAGES);
        if (self->held || self->blocked_ms >= 0) s_mark_blocked(self);
        if (!taken || self->held) s_wait(self);
        weft_recorder_publish(self);
        again = !self->over;
    }
}

// What is in the socket was sent before the end; senders that go on all the time have half of the time.
static void s_finish(struct weft_recorder *self, int64_t deadline_ms)
{
    int64_t half_ms = weft_mono_ms() + (deadline_ms - weft_mono_ms()) / 2;
    while (self->topic && weft_mono_ms() < half_ms) {
        size_t taken = weft_recorder_take(self, TURN_MESSAGES);
        if (!taken && !self->held) break;
        if (self->held) (void) weft_producer_poll(self->producer, LINGER_MS);
    }
    int64_t left_ms = deadline_ms - weft_mono_ms();
    weft_err_t err = weft_producer_close(self->producer, left_ms > 0 ? (int) left_ms : 0);
    if (err) weft_node_trace(self->node, 1, "at the end: %s", weft_err_sentence(err));
    if (self->held) self->counts[WEFT_RECORDER_FAILED]++;
    self->held = false;
}

// ---- life

// The past once; a producer that is made anew later goes on from what this one saw. A past that can't be read does not
// keep the present from being recorded.
static bool s_resume(struct weft_recorder *self)
{
    if (!self->resumed && !weft_recorder_resume(self) && !weft_node_stopping(self->node))
        weft_recorder_warn(self, "the last records can't be read now",
                           "a gap between them and the next ones is not counted");
    self->resumed = true;
    return !weft_node_stopping(self->node);
}

static void s_pause(struct weft_recorder *self, int64_t *again_ms)
{
    zmq_pollitem_t item = {.fd = weft_node_stop_fd(self->node), .events = ZMQ_POLLIN};
    (void) zmq_poll(&item, 1, *again_ms);
    *again_ms = *again_ms * 2 < AGAIN_MS_MAX ? *again_ms * 2 : AGAIN_MS_MAX;
}

static weft_err_t s_end(struct weft_recorder *self, struct weft_error *error)
{
    uint64_t failed = self->counts[WEFT_RECORDER_FAILED];
    int64_t stop_ms = weft_options_int(self->options, "stop.ms");
    s_finish(self, weft_mono_ms() + stop_ms * STOP_SHARE);
    weft_producer_destroy(&self->producer);
    s_publish_now(self, weft_mono_ms());
    weft_node_trace(self->node, 2, "%llu messages received, %llu recorded, %llu lost, %llu too large",
                    (unsigned long long) self->counts[WEFT_RECORDER_RECEIVED],
                    (unsigned long long) self->counts[WEFT_RECORDER_ACKED],
                    (unsigned long long) self->counts[WEFT_RECORDER_FAILED],
                    (unsigned long long) self->counts[WEFT_RECORDER_TOO_LARGE]);
    failed = self->counts[WEFT_RECORDER_FAILED] - failed;
    if (!failed) return WEFT_OK;
    return weft_node_refuse(error, WEFT_ERR_LOCAL_NOT_CONNECTED,
                            "%llu records that were received are not acknowledged: the cluster did not answer in time; "
                            "they may be there or not",
                            (unsigned long long) failed);
}

static weft_err_t s_run(void *context, struct weft_error *error)
{
    struct weft_recorder *self = context;
    for (int64_t again_ms = 50;;) {
        self->over = false;
        if (s_find_topic(self) && s_resume(self)) s_record(self);
        if (weft_node_stopping(self->node)) return s_end(self, error);
        self->topic = NULL;
        (void) !weft_producer_close(self->producer, 0);
        weft_producer_destroy(&self->producer);
        weft_err_t err = s_producer_new(self, &self->producer, error);
        if (err) return err;
        s_pause(self, &again_ms);
    }
}

static void s_destroy(void **self_p)
{
    struct weft_recorder *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    weft_producer_destroy(&self->producer);
    weft_recorder_free_parts(self);
    weft_attach_close(&self->source);
    weft_sequences_destroy(&self->sequences);
    weft_headers_destroy(&self->headers);
    weft_buf_fini(&self->buf);
    free(self->frames);
    free(self);
}

// ---- create

static const int s_socket_types[] = {ZMQ_PULL, ZMQ_SUB, ZMQ_DEALER, ZMQ_ROUTER, ZMQ_XSUB}; // as the choices of `socket`

static int s_hex(char digit)
{
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

static void s_subscribe_one(void *socket, int type, const uint8_t *begin, size_t size)
{
    if (type == ZMQ_SUB)
        (void) zmq_setsockopt(socket, ZMQ_SUBSCRIBE, begin + 1, size - 1);
    else
        (void) zmq_send(socket, begin, size, 0); // XSUB: 1, then the beginning
}

// The list of the option `subscribe`, with \xNN for any byte.
static void s_subscribe(void *socket, int type, const char *list)
{
    if (type != ZMQ_SUB && type != ZMQ_XSUB) return;
    uint8_t *begin = weft_alloc(strlen(list) + 2);
    const char *at = list;
    do {
        size_t size = 0;
        for (begin[size++] = 1; *at && *at != ','; at++) {
            bool escaped = at[0] == '\\' && at[1] == 'x' && s_hex(at[2]) >= 0 && s_hex(at[3]) >= 0;
            begin[size++] = escaped ? (uint8_t) (s_hex(at[2]) << 4 | s_hex(at[3])) : (uint8_t) *at;
            if (escaped) at += 3;
        }
        s_subscribe_one(socket, type, begin, size);
    } while (*at++);
    free(begin);
}

static void s_check(const weft_options_t *options, weft_complain_fn *complain, void *context)
{
    weft_inside_check(options, "producer", weft_options_producer, weft_options_producer_count, complain, context);
}

static weft_err_t s_open(struct weft_recorder *self, struct weft_error *error)
{
    const weft_options_t *options = self->options;
    const struct weft_attach_settings settings = {
        .type = s_socket_types[weft_options_int(options, "socket")],
        .listen = weft_options_text(options, "listen"),
        .connect = weft_options_text(options, "source"),
        .identity = weft_options_text(options, "identity"),
        .hwm = (int) weft_options_int(options, "hwm"),
        .message_bytes_max = weft_options_int(options, "message.bytes.max"),
    };
    weft_err_t err = weft_attach_open(self->node, &settings, "source", &self->source, error);
    if (!err) s_subscribe(self->source.socket, settings.type, weft_options_text(options, "subscribe"));
    return err;
}

static weft_sequences_t *s_sequences(const weft_options_t *options)
{
    return weft_sequences_new(&(struct weft_sequence_settings){
        .frame = weft_options_int(options, "sequence.frame"),
        .format = (enum weft_sequence_format) weft_options_int(options, "sequence.format"),
        .per = weft_options_int(options, "sequence.per"),
        .streams_max = (size_t) weft_options_int(options, "sequence.streams"),
    });
}

// The producer is made here, and only used in run: so its settings are checked before anything starts.
static weft_err_t s_make_producer(struct weft_recorder *self, struct weft_error *error)
{
    weft_topic_t *topic;
    weft_err_t err = s_producer_new(self, &self->producer, error);
    if (err) return err;
    err = weft_producer_topic(self->producer, self->topic_name, &topic);
    if (err) return weft_node_refuse(error, err, "option 'topic': %s", weft_producer_error_text(self->producer));
    return WEFT_OK;
}

static weft_err_t s_create(weft_hosted_node_t *node, const weft_options_t *options, void **out,
                           struct weft_error *error)
{
    struct weft_recorder *self = weft_calloc(1, sizeof *self);
    self->node = node;
    self->options = options;
    self->key_frame = weft_options_int(options, "key");
    self->partition = (int32_t) weft_options_int(options, "partition");
    self->topic_name = weft_options_text(options, "topic");
    self->frames = weft_calloc(WEFT_FRAMES_MAX, sizeof *self->frames);
    self->headers = weft_headers_new();
    self->sequences = s_sequences(options);
    self->failed_ms = self->blocked_ms = -1;
    self->acked_ms = self->begun_ms = weft_mono_ms();
    snprintf(self->why, sizeof self->why, "the topic is looked up");
    weft_err_t err = s_make_producer(self, error);
    if (!err) err = s_open(self, error);
    void *made = self;
    if (err)
        s_destroy(&made);
    else
        *out = self;
    return err;
}

const struct weft_node_type weft_node_type_recorder = {
    .abi = WEFT_NODE_ABI,
    .name = "recorder",
    .doc = "Takes a ZeroMQ stream into a topic, and counts what the stream's sequence says is missing.",
    .options = weft_options_recorder,
    .option_count = sizeof weft_options_recorder / sizeof weft_options_recorder[0],
    .counters = s_counters,
    .counter_count = WEFT_RECORDER_COUNTERS,
    .create = s_create,
    .run = s_run,
    .destroy = s_destroy,
    .check = s_check,
};
