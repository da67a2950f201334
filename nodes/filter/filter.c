// SPDX-License-Identifier: MPL-2.0
// The node type: reads a topic as a member of a consumer group, sends what passes, and commits what is delivered.
//
// One thread. A turn: answers of the producer, events and records of the consumer, then what became ripe to be committed.
// When the producer has no room, the outputs of the record at hand wait (outputs.c) and nothing more is read, but the
// consumer is polled on, so that the group keeps its member however long the target is away. A delivery that fails for
// good rewinds all partitions to what is committed: records may be written twice then, never lost.
#include "filter_inner.h"

#include "../../lib/base/error.h"
#include "../../lib/base/trace.h"
#include "../common/clients.h"

#include <stdio.h>
#include <stdlib.h>
#include <weft_gen/config.h>
#include <zmq.h>

#define TURN_RECORDS 4096
#define FLUSH_MS 5000    // for what is given away, or at the end
#define PAUSE_US 1000000 // after a failed delivery
#define LOOK_US 250000
#define PATIENCE_US 5000000 // without an answer of the target before it is complained of

enum weft_filter_counter {
    WEFT_FILTER_READ_COUNT,
    WEFT_FILTER_WRITTEN_COUNT,
    WEFT_FILTER_DROPPED_COUNT,
    WEFT_FILTER_UNREADABLE_COUNT,
    WEFT_FILTER_FAILED_COUNT,
    WEFT_FILTER_TOO_LARGE_COUNT,
    WEFT_FILTER_REWINDS_COUNT,
    WEFT_FILTER_COMMITS_COUNT,
    WEFT_FILTER_COMMITS_FAILED_COUNT,
    WEFT_FILTER_COUNTER_COUNT
};

static const struct weft_counter_info s_counters[WEFT_FILTER_COUNTER_COUNT] = {
    [WEFT_FILTER_READ_COUNT] = {"read_count", "Records read."},
    [WEFT_FILTER_WRITTEN_COUNT] = {"written_count", "Records given to the target, also those that were written again."},
    [WEFT_FILTER_DROPPED_COUNT] = {"dropped_count", "Records for which the expression does not hold."},
    [WEFT_FILTER_UNREADABLE_COUNT] = {"unreadable_count",
                                      "Records whose value is no msgpack where the expression looks."},
    [WEFT_FILTER_FAILED_COUNT] = {"failed_count", "Records for which the function failed."},
    [WEFT_FILTER_TOO_LARGE_COUNT] = {"too_large_count", "Records that the target refuses as too large."},
    [WEFT_FILTER_REWINDS_COUNT] = {"rewinds_count", "Times that a delivery failed and reading went back."},
    [WEFT_FILTER_COMMITS_COUNT] = {"commits_count", "Commits of progress."},
    [WEFT_FILTER_COMMITS_FAILED_COUNT] = {"commits_failed_count", "Commits that failed; a later one covers them."},
};

struct weft_filter_node {
    weft_hosted_node_t *node;
    const weft_options_t *options;
    const char *topic;
    weft_expression_t *expression; // NULL: all pass
    weft_function_t *function;     // NULL: records go on as they are
    bool stops, keeps_partition;
    int64_t commit_us, committed_us;
    weft_consumer_t *consumer;
    weft_producer_t *producer;
    weft_topic_t *target;
    weft_progress_t *progress;
    struct weft_outputs outputs;     // of the record at hand
    struct weft_record_view at_hand; // its place only
    bool blocked;                    // outputs wait
    int64_t paused_until_us;         // rewinding: 0 or when to go on
    bool rewinding;
    weft_err_t fatal;                                // ends the node
    char fatal_text[300], complaint[300], told[300]; // told: as health has it
    int64_t looked_us, answered_us;
    bool member_refused;
};

static void s_count(const struct weft_filter_node *self, enum weft_filter_counter counter, uint64_t more)
{
    if (more > 0) weft_node_counter_add(self->node, counter, more);
}

static void s_end(struct weft_filter_node *self, weft_err_t err, const char *text)
{
    if (self->fatal) return;
    self->fatal = err;
    snprintf(self->fatal_text, sizeof self->fatal_text, "%s", text);
}

// ---- sending

// Something failed that may be well later: all that is not committed is read and sent again, after a pause.
static void s_fail_delivery(struct weft_filter_node *self, weft_err_t err, const char *text)
{
    if (err == WEFT_ERR_PRODUCER_FENCED) s_end(self, err, text);
    if (self->rewinding) return;
    self->rewinding = true;
    self->paused_until_us = weft_mono_us() + PAUSE_US;
    snprintf(self->complaint, sizeof self->complaint, "Records can't be written to topic '%.100s': %.150s",
             weft_topic_name(self->target), text);
    weft_node_trace(self->node, WEFT_TRACE_WARN, "%s; they are read and tried again.", self->complaint);
}

static void s_reported(void *context, const struct weft_batch_report *report)
{
    struct weft_filter_node *self = context;
    bool delivered = report->error == WEFT_OK;
    for (uint32_t i = 0; report->opaques && i < report->count; i++)
        weft_progress_reported(report->opaques[i], delivered);
    if (delivered)
        self->answered_us = weft_mono_us();
    else
        s_fail_delivery(self, report->error, report->text);
}

// What is done about a record that can't be written or that the function fails for.
static void s_poison(struct weft_filter_node *self, enum weft_filter_counter counter, const char *why)
{
    s_count(self, counter, 1);
    char text[300];
    snprintf(text, sizeof text, "The record at offset %lld of '%.100s', partition %d, %s",
             (long long) self->at_hand.offset, self->topic, self->at_hand.partition, why);
    if (self->stops)
        s_end(self, WEFT_ERR_INVALID_ARGUMENT, text);
    else
        weft_node_trace(self->node, WEFT_TRACE_WARN, "%s; it is passed over.", text);
}

enum sent { SENT, NO_ROOM, NOT_SENT };

static enum sent s_send(struct weft_filter_node *self, const struct weft_filter_record *record)
{
    int32_t partition = self->keeps_partition ? self->at_hand.partition : WEFT_PARTITION_AUTO;
    struct weft_send_extra extra = {.headers = record->headers,
                                    .timestamp_ms = record->timestamp_ms,
                                    .opaque = weft_progress_sending(self->progress)};
    weft_err_t err = weft_producer_send(self->producer, self->target, partition, record->key, record->value, &extra);
    if (!err) {
        s_count(self, WEFT_FILTER_WRITTEN_COUNT, 1);
        return SENT;
    }
    weft_progress_not_sent(extra.opaque);
    if (err == WEFT_ERR_LOCAL_QUEUE_FULL) return NO_ROOM;
    if (err == WEFT_ERR_RECORD_TOO_LARGE) {
        s_poison(self, WEFT_FILTER_TOO_LARGE_COUNT, "is too large for the target");
        return SENT;
    }
    s_fail_delivery(self, err, weft_producer_error_text(self->producer));
    return NOT_SENT;
}

// Sends what the record at hand became. False: not all of it could be sent now.
static bool s_send_outputs(struct weft_filter_node *self)
{
    struct weft_filter_record record;
    while (weft_outputs_peek(&self->outputs, &record)) {
        enum sent sent = s_send(self, &record);
        self->blocked = sent == NO_ROOM;
        if (sent != SENT) return false;
        weft_outputs_sent(&self->outputs);
    }
    self->blocked = false;
    if (!self->fatal) weft_progress_done(self->progress, &self->at_hand);
    return true;
}

// ---- filtering

// False: no more now.
static bool s_filter(struct weft_filter_node *self, const struct weft_record_view *record)
{
    self->at_hand = *record;
    weft_outputs_clear(&self->outputs);
    bool unreadable = false;
    bool passes = !self->expression || weft_expression_matches(self->expression, record, &unreadable);
    s_count(self, WEFT_FILTER_UNREADABLE_COUNT, unreadable);
    s_count(self, WEFT_FILTER_DROPPED_COUNT, !passes);
    if (passes && self->function) {
        if (!weft_function_call(self->function, record, &self->outputs))
            s_poison(self, WEFT_FILTER_FAILED_COUNT, "makes the function fail");
    } else if (passes) {
        const struct weft_filter_record same = {record->key, record->value, record->headers, record->timestamp_ms};
        enum sent sent = s_send(self, &same);
        if (sent == NOT_SENT) return false;
        if (sent == NO_ROOM && !weft_outputs_add(&self->outputs, &same)) return false; // no record is that large
    }
    return s_send_outputs(self) && !self->fatal;
}

static bool s_read(struct weft_filter_node *self, weft_records_t *records)
{
    if (self->blocked && !s_send_outputs(self)) return false;
    struct weft_record_view record;
    int count = 0;
    while (count < TURN_RECORDS && weft_records_next(records, &record)) {
        count++;
        if (!s_filter(self, &record)) break;
    }
    s_count(self, WEFT_FILTER_READ_COUNT, (uint64_t) count);
    return count > 0;
}

// ---- progress

static void s_commit_ripe(struct weft_filter_node *self, int timeout_ms)
{
    size_t count;
    const struct weft_group_offset *list = weft_progress_collect(self->progress, &count);
    if (count == 0) return;
    weft_err_t err = weft_consumer_commit_offsets(self->consumer, list, count, timeout_ms);
    s_count(self, err ? WEFT_FILTER_COMMITS_FAILED_COUNT : WEFT_FILTER_COMMITS_COUNT, 1);
}

static void s_advance(struct weft_filter_node *self)
{
    int64_t now = weft_mono_us();
    if (now - self->committed_us >= self->commit_us && weft_progress_has_new(self->progress) &&
        weft_progress_close_epoch(self->progress))
        self->committed_us = now;
    s_commit_ripe(self, 0);
}

// All that was sent is delivered and committed, as far as that comes to pass in the time.
static void s_settle(struct weft_filter_node *self)
{
    weft_err_t err = weft_producer_flush(self->producer, FLUSH_MS);
    (void) err; // progress knows what of it was delivered
    if (weft_progress_has_new(self->progress) && !weft_progress_close_epoch(self->progress)) return;
    s_commit_ripe(self, FLUSH_MS);
}

static void s_rebalanced(void *context, const struct weft_rebalance *rebalance)
{
    struct weft_filter_node *self = context;
    if (rebalance->type == WEFT_EVENT_ASSIGNED) return;
    if (rebalance->type == WEFT_EVENT_REVOKED && !self->rewinding) s_settle(self);
    for (size_t i = 0; i < rebalance->count; i++) {
        weft_progress_drop(self->progress, rebalance->partitions[i].partition);
        if (self->blocked && self->at_hand.partition == rebalance->partitions[i].partition) {
            self->blocked = false; // its new owner has it
            weft_outputs_clear(&self->outputs);
        }
    }
}

static void s_seek_back(void *context, int32_t partition, int64_t offset)
{
    struct weft_filter_node *self = context;
    weft_err_t err =
        weft_consumer_seek(self->consumer, self->topic, partition, (struct weft_position){WEFT_FROM_OFFSET, offset});
    if (err && err != WEFT_ERR_NOT_FOUND) s_end(self, err, weft_consumer_error_text(self->consumer));
}

// Rewinds once every answer is there and the pause is over.
static void s_rewind(struct weft_filter_node *self)
{
    self->blocked = false;
    weft_outputs_clear(&self->outputs);
    if (weft_mono_us() < self->paused_until_us || weft_progress_waiting(self->progress) > 0) return;
    weft_progress_rewind(self->progress, s_seek_back, self);
    s_count(self, WEFT_FILTER_REWINDS_COUNT, 1);
    self->rewinding = false;
}

// ---- the consumer's events, health

static void s_event(struct weft_filter_node *self, const struct weft_consumer_event *event)
{
    switch (event->type) {
    case WEFT_EVENT_ASSIGNED:
        if (event->partition >= 0 && event->offset >= 0)
            weft_progress_start(self->progress, event->partition, event->offset);
        self->member_refused = false;
        break;
    case WEFT_EVENT_BAD_BATCH: // damage in the source: passed, if it can be
        weft_node_trace(self->node, WEFT_TRACE_ERROR, "%s", event->text);
        if (event->offset >= 0) s_seek_back(self, event->partition, event->offset);
        break;
    case WEFT_EVENT_COMMIT_FAILED: s_count(self, WEFT_FILTER_COMMITS_FAILED_COUNT, 1); break;
    case WEFT_EVENT_UNKNOWN_TOPIC:
    case WEFT_EVENT_REFUSED:
    case WEFT_EVENT_UNHEARD:
    case WEFT_EVENT_STOPPED:
        snprintf(self->complaint, sizeof self->complaint, "%s", event->text);
        self->member_refused = true;
        weft_node_trace(self->node, WEFT_TRACE_WARN, "%s", event->text);
        break;
    case WEFT_EVENT_RESET:
    case WEFT_EVENT_DIVERGED:
    case WEFT_EVENT_LOST: weft_node_trace(self->node, WEFT_TRACE_WARN, "%s", event->text); break;
    case WEFT_EVENT_REVOKED: break;
    }
}

// Health, and a line of trace whenever it is another sentence; NULL: all is well.
static void s_tell(struct weft_filter_node *self, const char *complaint)
{
    weft_node_set_health(self->node, complaint ? WEFT_HEALTH_DEGRADED : WEFT_HEALTH_SERVING, "%s",
                         complaint ? complaint : "");
    if (strcmp(self->told, complaint ? complaint : "") == 0) return;
    if (complaint) weft_node_trace(self->node, WEFT_TRACE_WARN, "degraded: %s", complaint);
    if (!complaint) weft_node_trace(self->node, WEFT_TRACE_INFO, "well again");
    snprintf(self->told, sizeof self->told, "%s", complaint ? complaint : "");
}

static void s_look(struct weft_filter_node *self)
{
    int64_t now = weft_mono_us();
    if (now - self->looked_us < LOOK_US) return;
    self->looked_us = now;
    char text[300];
    if (weft_progress_waiting(self->progress) == 0) self->answered_us = now;
    struct weft_partition_position at;
    for (size_t i = 0; weft_consumer_position(self->consumer, i, &at); i++) {
        weft_err_t err = at.error ? at.error : at.unheard;
        if (!err) continue;
        snprintf(text, sizeof text, "Partition %d of topic '%.100s' can't be read now: %.150s", at.partition, at.topic,
                 weft_err_sentence(err));
        s_tell(self, text);
        return;
    }
    snprintf(text, sizeof text,
             "The target, topic '%.100s', does not answer: records wait for it, and are tried again.",
             weft_topic_name(self->target));
    bool silent = now - self->answered_us > PATIENCE_US;
    s_tell(self, self->rewinding || self->member_refused ? self->complaint : silent ? text : NULL);
}

// ---- life

// A filter that reads what it writes would fill the disk. With one name on both sides the clusters must differ; that is
// asked before anything is read, for as long as it takes.
static void s_refuse_loop(struct weft_filter_node *self)
{
    bool same = false;
    while (strcmp(self->topic, weft_topic_name(self->target)) == 0 && !weft_node_stopping(self->node)) {
        if (weft_filter_same_cluster(self->node, self->options, &same) == WEFT_OK) {
            if (same)
                s_end(self, WEFT_ERR_INVALID_OPTION,
                      "The filter would read what it writes: `bootstrap` and `target` name one cluster, and the topics "
                      "are the same; choose another target.topic.");
            return;
        }
        s_tell(self, "Both clusters have to be seen once, to know that they are two: one does not answer yet.");
        zmq_pollitem_t stop = {NULL, weft_node_stop_fd(self->node), ZMQ_POLLIN, 0};
        zmq_poll(&stop, 1, 500);
    }
}

static void s_destroy(void **self_p)
{
    struct weft_filter_node *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    if (self->consumer) weft_consumer_on_rebalance(self->consumer, NULL, NULL);
    weft_consumer_destroy(&self->consumer);
    if (self->producer) weft_producer_on_batch(self->producer, NULL, NULL);
    weft_producer_destroy(&self->producer);
    weft_progress_destroy(&self->progress);
    weft_outputs_fini(&self->outputs);
    weft_function_destroy(&self->function);
    weft_expression_destroy(&self->expression);
    free(self);
}

static void s_check(const weft_options_t *options, weft_complain_fn *complain, void *context)
{
    const char *where = weft_options_text(options, "where"), *path = weft_options_text(options, "function");
    bool has_topic = *weft_options_text(options, "topic");
    if (!has_topic || !*weft_options_text(options, "target.topic"))
        complain(context, has_topic ? "target.topic" : "topic",
                 "topic and target.topic have to be set: say which one is read and which one written.");
    if (!*where && !*path)
        complain(context, "where",
                 "say what passes: an expression in `where`, a function of yours in `function`, or both; "
                 "where=\"true\" copies all.");
    weft_expression_t *expression = NULL;
    struct weft_error error = {.code = WEFT_OK};
    if (*where && weft_expression_new(where, &expression, &error) != WEFT_OK)
        complain(context, "where", "%s", error.text);
    weft_expression_destroy(&expression);
    if (*path && !weft_function_is_there(path))
        complain(context, "function", "function: there is no file '%.400s'", path);
    weft_inside_check(options, "consumer", weft_options_consumer, weft_options_consumer_count, complain, context);
    weft_inside_check(options, "producer", weft_options_producer, weft_options_producer_count, complain, context);
}

// Endpoints as they are now: in a topology's check some have no port yet.
static weft_err_t s_check_topics(const struct weft_filter_node *self, struct weft_error *error)
{
    const weft_options_t *options = self->options;
    const char *target = weft_options_text(options, "target");
    bool one_cluster = !target[0] || strcmp(target, weft_options_text(options, "bootstrap")) == 0;
    if (one_cluster && strcmp(self->topic, weft_options_text(options, "target.topic")) == 0)
        return weft_node_refuse(error, WEFT_ERR_INVALID_OPTION,
                                "target.topic=%.100s is the topic that is read: the filter would read what it writes; "
                                "choose another one, or another cluster by `target`.",
                                self->topic);
    return WEFT_OK;
}

static weft_err_t s_create(weft_hosted_node_t *node, const weft_options_t *options, void **out,
                           struct weft_error *error)
{
    struct weft_filter_node *self = weft_calloc(1, sizeof *self);
    void *owned = self;
    self->node = node;
    self->options = options;
    self->topic = weft_options_text(options, "topic");
    self->stops = weft_options_int(options, "on.error") == WEFT_FILTER_ON_ERROR_STOP;
    self->keeps_partition = weft_options_int(options, "partition") == WEFT_FILTER_PARTITION_KEEP;
    self->commit_us = weft_options_int(options, "commit.ms") * 1000;
    self->progress = weft_progress_new(self->topic);
    const char *where = weft_options_text(options, "where"), *path = weft_options_text(options, "function");
    weft_err_t err = s_check_topics(self, error);
    if (!err && where[0]) err = weft_expression_new(where, &self->expression, error);
    if (!err && path[0]) err = weft_function_new(path, weft_options_text(options, "config"), &self->function, error);
    if (!err) err = weft_filter_open_producer(node, options, &self->producer, &self->target, error);
    if (!err) err = weft_filter_open_consumer(node, options, &self->consumer, error);
    if (err) {
        s_destroy(&owned);
        return err;
    }
    weft_producer_on_batch(self->producer, s_reported, self);
    weft_consumer_on_rebalance(self->consumer, s_rebalanced, self);
    if (self->function) weft_node_trace(node, WEFT_TRACE_INFO, "function %s", weft_function_name(self->function));
    *out = self;
    return WEFT_OK;
}

static void s_wait(const struct weft_filter_node *self, bool busy)
{
    if (busy) return;
    zmq_pollitem_t items[] = {{NULL, weft_node_stop_fd(self->node), ZMQ_POLLIN, 0},
                              {NULL, weft_producer_fd(self->producer), ZMQ_POLLIN, 0},
                              {NULL, weft_consumer_fd(self->consumer), ZMQ_POLLIN, 0}};
    bool waits = self->blocked || self->rewinding; // the consumer's records are there, and have to stay
    zmq_poll(items, waits ? 2 : 3, weft_producer_waiting_count(self->producer) > 0 ? 5 : 50);
}

static weft_err_t s_run(void *context, struct weft_error *error)
{
    struct weft_filter_node *self = context;
    s_refuse_loop(self);
    bool latest = weft_options_int(self->options, "from") == WEFT_FILTER_FROM_LATEST;
    const struct weft_position from = {latest ? WEFT_FROM_LATEST : WEFT_FROM_EARLIEST, 0};
    weft_err_t err = self->fatal ? WEFT_OK : weft_consumer_subscribe(self->consumer, &self->topic, 1, from);
    if (err) s_end(self, err, weft_consumer_error_text(self->consumer));
    bool busy = false;
    while (!weft_node_stopping(self->node) && !self->fatal) {
        s_wait(self, busy);
        weft_producer_poll(self->producer, 0);
        weft_records_t *records;
        err = weft_consumer_poll(self->consumer, 0, &records);
        if (err && err != WEFT_ERR_INTERRUPTED) s_end(self, err, weft_consumer_error_text(self->consumer));
        if (err) continue;
        for (struct weft_consumer_event event; weft_consumer_event(self->consumer, &event);) s_event(self, &event);
        if (self->rewinding) s_rewind(self);
        busy = !self->rewinding && !self->fatal && s_read(self, records);
        s_advance(self);
        s_look(self);
    }
    if (!self->rewinding) s_settle(self);
    err = weft_consumer_close(self->consumer, FLUSH_MS);
    (void) err; // the group finds out by itself
    if (!self->fatal) return WEFT_OK;
    return weft_node_refuse(error, self->fatal, "%s", self->fatal_text);
}

extern const struct weft_node_type weft_node_type_filter;
const struct weft_node_type weft_node_type_filter = {
    .abi = WEFT_NODE_ABI,
    .name = "filter",
    .doc = "Copies what passes an expression or a function of yours from one topic to another, at least once.",
    .options = weft_options_filter,
    .option_count = sizeof weft_options_filter / sizeof *weft_options_filter,
    .counters = s_counters,
    .counter_count = WEFT_FILTER_COUNTER_COUNT,
    .traits = WEFT_NODE_OWN_PROCESS,
    .create = s_create,
    .run = s_run,
    .destroy = s_destroy,
    .check = s_check,
};
