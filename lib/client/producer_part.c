// SPDX-License-Identifier: MPL-2.0
// Taking records in. The path of a record whose topic is known: choose the partition, compare two sizes, encode into
// the builder; nothing else. Whatever takes longer happens once a batch. Records of a topic whose partitions are not
// known yet wait as they are, and are replayed when the metadata is there.
#include "producer_inner.h"

#include "../base/assert.h"

#include <weft_gen/config.h>
#include <weft_gen/limits.h>

#include <stdio.h>
#include <stdlib.h>

static const struct weft_part_ops s_ops;

static const struct weft_counter_info s_counter_infos[WEFT_PRODUCER_COUNTERS] = {
    [WEFT_PRODUCER_RECORDS] = {"records_count", "Records taken by send."},
    [WEFT_PRODUCER_DELIVERED] = {"delivered_count", "Records reported as delivered."},
    [WEFT_PRODUCER_FAILED] = {"failed_count", "Records reported as failed."},
    [WEFT_PRODUCER_BATCHES] = {"batches_count", "Batches closed."},
    [WEFT_PRODUCER_BATCH_BYTES] = {"batch_bytes", "Bytes of batches closed."},
    [WEFT_PRODUCER_RETRIES] = {"retries_count", "Batches sent again."},
    [WEFT_PRODUCER_DUPLICATES] = {"duplicates_count", "Retries that the broker had written already."},
    [WEFT_PRODUCER_IDENTITIES] = {"identities_count",
                                  "Times a partition went on under a new epoch after a batch was given up."},
    [WEFT_PRODUCER_REFUSED] = {"refused_count", "Records that send did not take."},
    [WEFT_PRODUCER_LINKS_LOST] = {"links_lost_count", "Connections lost."},
    [WEFT_PRODUCER_REDIRECTS] = {"redirects_count", "Times a node named another one to go to."},
    [WEFT_PRODUCER_REROUTES] = {"reroutes_count",
                                "Requests given up because their partition was led elsewhere by then."},
    [WEFT_PRODUCER_STRAY] = {"stray_replies_count", "Answers to nothing that waits."},
};

// ---- life-cycle

static void s_read_options(weft_producer_part_t *self, const weft_options_t *options)
{
    static const char *const acks[] = {
        [WEFT_PRODUCER_ACKS_NONE] = "none", [WEFT_PRODUCER_ACKS_LEADER] = "leader", [WEFT_PRODUCER_ACKS_ALL] = "all"};
    static const enum weft_codec codecs[] = {[WEFT_PRODUCER_COMPRESSION_NONE] = WEFT_CODEC_NONE,
                                             [WEFT_PRODUCER_COMPRESSION_LZ4] = WEFT_CODEC_LZ4,
                                             [WEFT_PRODUCER_COMPRESSION_ZSTD] = WEFT_CODEC_ZSTD};
    snprintf(self->client, sizeof self->client, "%s", weft_options_text(options, "client"));
    self->acks = acks[weft_options_int(options, "acks")];
    self->answered = weft_options_int(options, "acks") != WEFT_PRODUCER_ACKS_NONE;
    self->spool = weft_options_bool(options, "spool");
    self->durable =
        weft_options_bool(options, "durable") && weft_options_int(options, "acks") == WEFT_PRODUCER_ACKS_ALL;
    self->idempotent = weft_options_bool(options, "idempotent") && self->answered;
    self->codec = codecs[weft_options_int(options, "compression")];
    self->batch_bytes = (size_t) weft_options_int(options, "batch.bytes");
    self->buffer_bytes = (size_t) weft_options_int(options, "buffer.bytes");
    self->linger_us = weft_options_int(options, "linger.ms") * 1000;
    self->in_flight_max = (uint32_t) weft_options_int(options, "in.flight");
    self->round_robin = weft_options_int(options, "partitioner") == WEFT_PRODUCER_PARTITIONER_ROUND_ROBIN;
    self->delivery_us = weft_options_int(options, "delivery.timeout.ms") * 1000;
    self->attempt_us = weft_options_int(options, "request.timeout.ms") * 1000;
}

weft_err_t weft_producer_part_new(const weft_options_t *options, weft_producer_part_t **out, struct weft_error *error)
{
    weft_producer_part_t *self = weft_calloc(1, sizeof *self);
    weft_err_t err = weft_view_init(&self->view, weft_options_text(options, "bootstrap"), error);
    if (err) {
        free(self);
        return err;
    }
    self->base.ops = &s_ops;
    s_read_options(self, options);
    weft_requests_init(
        &self->requests, &self->view,
        &(struct weft_requests_config){.client = self->client,
                                       .backoff_us = weft_options_int(options, "retry.backoff.ms") * 1000,
                                       .attempt_us = self->attempt_us,
                                       .silence_us = weft_options_int(options, "silence.ms") * 1000});
    weft_counters_init(&self->counters, s_counter_infos, WEFT_PRODUCER_COUNTERS);
    self->spare_buffer_max =
        self->buffer_bytes / self->batch_bytes < 4096 ? self->buffer_bytes / self->batch_bytes : 4096;
    self->spare_buffers = weft_calloc(self->spare_buffer_max + 1, sizeof(weft_buf_t));
    *out = self;
    return WEFT_OK;
}

struct weft_part *weft_producer_part_base(weft_producer_part_t *self)
{
    return &self->base;
}

static void s_start(struct weft_part *part, const weft_port_t *port)
{
    weft_producer_part_t *self = (weft_producer_part_t *) part;
    self->port = *port;
    weft_rand_init(&self->rand, port->ops->seed(port->world));
    weft_view_start(&self->view, port);
    weft_requests_start(&self->requests, port);
    self->started = true;
}

// Without a word to the program: its reports were told by give_up, or it crashed (simulator).
static void s_batch_free(weft_producer_part_t *self, struct weft_pbatch *batch)
{
    weft_requests_cancel(&self->requests, &batch->call);
    weft_shared_drop(&batch->bytes);
    for (size_t i = 0; i < batch->tags.future_count; i++) weft_delivery_drop(batch->tags.futures[i].delivery);
    weft_ptags_fini(&batch->tags);
    free(batch);
}

static void s_partition_free(weft_producer_part_t *self, struct weft_ppartition *partition)
{
    while (partition->first) {
        struct weft_pbatch *batch = partition->first;
        partition->first = batch->next;
        s_batch_free(self, batch);
    }
    for (size_t i = 0; i < partition->tags.future_count; i++) weft_delivery_drop(partition->tags.futures[i].delivery);
    weft_ptags_fini(&partition->tags);
    weft_batch_builder_fini(&partition->builder);
    free(partition);
}

static void s_topic_free(weft_producer_part_t *self, weft_topic_t *topic)
{
    for (int32_t i = 0; i < topic->made_count; i++) s_partition_free(self, topic->partitions[i]);
    free(topic->partitions);
    struct weft_ppending pending;
    for (size_t at = 0; at < topic->pending.size;
         at += sizeof pending + pending.key_bytes + pending.value_bytes + pending.headers_bytes) {
        memcpy(&pending, topic->pending.data + at, sizeof pending);
        if (pending.delivery) weft_delivery_drop(pending.delivery);
    }
    weft_buf_fini(&topic->pending);
    free(topic);
}

static void s_destroy(struct weft_part **part_p)
{
    weft_producer_part_t *self = (weft_producer_part_t *) *part_p;
    *part_p = NULL;
    if (!self) return;
    for (size_t i = 0; i < self->topic_count; i++) s_topic_free(self, self->topics[i]);
    free(self->topics);
    free(self->active);
    while (self->spare) {
        struct weft_pbatch *batch = self->spare;
        self->spare = batch->next;
        s_batch_free(self, batch);
    }
    for (size_t i = 0; i < self->spare_buffer_count; i++) weft_buf_fini(&self->spare_buffers[i]);
    free(self->spare_buffers);
    weft_requests_fini(&self->requests);
    weft_view_fini(&self->view);
    weft_counters_fini(&self->counters);
    free(self);
}

// ---- choosing a partition

static int32_t s_sticky(weft_producer_part_t *self, weft_topic_t *topic)
{
    if (topic->sticky >= 0) return topic->sticky;
    int32_t start = (int32_t) weft_rand_below(&self->rand, (uint64_t) topic->partition_count);
    topic->sticky = start;
    for (int32_t i = 0; i < topic->partition_count; i++) { // one that can be written to, if there is any
        int32_t at = (start + i) % topic->partition_count;
        const struct weft_view_link *link = weft_view_leader(topic->view, at);
        if (!link || !link->up || link->silent) continue;
        topic->sticky = at;
        break;
    }
    return topic->sticky;
}

int32_t weft_producer_choose(weft_producer_part_t *self, weft_topic_t *topic, weft_slice_t key, weft_slice_t value)
{
    if (self->partitioner)
        return self->partitioner(self->partitioner_context, topic->view->name, topic->partition_count, key, value);
    if (self->round_robin) return (int32_t) (topic->round_robin++ % (uint32_t) topic->partition_count);
    return key.data ? weft_partition_of_key(key, topic->partition_count) : s_sticky(self, topic);
}

// ---- batches

void weft_producer_activate(weft_producer_part_t *self, struct weft_ppartition *partition)
{
    if (partition->active) return;
    if (self->active_count == self->active_capacity) {
        self->active_capacity = self->active_capacity ? self->active_capacity * 2 : 16;
        self->active = weft_realloc(self->active, self->active_capacity * sizeof(void *));
    }
    partition->active = true;
    self->active[self->active_count++] = partition;
}

weft_buf_t weft_producer_buffer(weft_producer_part_t *self)
{
    weft_buf_t out;
    weft_buf_init(&out);
    return self->spare_buffer_count ? self->spare_buffers[--self->spare_buffer_count] : out;
}

void weft_producer_queue(weft_producer_part_t *self, struct weft_pbatch *batch, weft_buf_t *bytes)
{
    struct weft_ppartition *partition = batch->partition;
    batch->size = bytes->size;
    batch->bytes = weft_shared_new(bytes);
    batch->previous = partition->last;
    if (partition->last)
        partition->last->next = batch;
    else
        partition->first = batch;
    partition->last = batch;
    self->waiting_bytes += batch->size;
    weft_counter_add(&self->counters, WEFT_PRODUCER_BATCHES, 1);
    weft_counter_add(&self->counters, WEFT_PRODUCER_BATCH_BYTES, batch->size);
    self->wants_turn = true;
}

void weft_producer_close_batch(weft_producer_part_t *self, struct weft_ppartition *partition)
{
    weft_batch_builder_t *builder = &partition->builder;
    struct weft_pbatch *batch = weft_producer_batch_take(self);
    batch->partition = partition;
    batch->count = builder->count;
    batch->opened_us = partition->opened_us;
    batch->deadline_us = partition->opened_us + self->delivery_us;
    weft_ptags_move(&batch->tags, &partition->tags);
    size_t open_bytes = builder->buf.size;
    partition->open_bytes_before = open_bytes;
    weft_buf_t out = weft_producer_buffer(self);
    weft_err_t err = weft_batch_builder_finish(builder, self->codec, self->idempotent ? partition->identity : -1,
                                               self->idempotent ? partition->epoch : -1,
                                               self->idempotent ? partition->next_sequence : -1, &out);
    weft_assert(!err); // only compression could fail, of bytes within its limits
    partition->next_sequence = (int32_t) (((uint32_t) partition->next_sequence + batch->count) & 0x7fffffff);
    weft_producer_queue(self, batch, &out);
    self->waiting_bytes -= open_bytes;
    if (partition->topic->sticky == partition->index) partition->topic->sticky = -1;
}

// The record is taken: into the open batch of its partition.
void weft_producer_append(weft_producer_part_t *self, struct weft_ppartition *partition, size_t bound, weft_slice_t key,
                          weft_slice_t value, weft_slice_t headers, int64_t timestamp_ms, void *opaque,
                          weft_delivery_t *delivery)
{
    weft_batch_builder_t *builder = &partition->builder;
    if (builder->count && builder->buf.size + bound > self->batch_bytes) weft_producer_close_batch(self, partition);
    size_t before = builder->buf.size;
    if (!builder->count) {
        before = 0;
        partition->opened_us = weft_port_now_us(&self->port);
        weft_producer_activate(self, partition);
        self->changed = true;
        if (!self->linger_us) self->wants_turn = true;
        // Room for the whole batch at once, where the last one was that large: growing would copy.
        weft_buf_reserve(&builder->buf, partition->open_bytes_before);
    }
    if (__builtin_expect(opaque || delivery || partition->tags.opaque_count, 0))
        weft_ptags_add(&partition->tags, builder->count, opaque, delivery);
    weft_batch_builder_add(builder, timestamp_ms, key, value, headers);
    self->waiting_bytes += builder->buf.size - before;
}

// ---- send

static weft_err_t s_refuse(weft_producer_part_t *self, weft_err_t error, const char *format, long long a, long long b)
{
    if (error != WEFT_ERR_LOCAL_QUEUE_FULL)
        snprintf(self->text, sizeof self->text, format, a, b);
    else
        snprintf(self->text, sizeof self->text, "%s", weft_err_sentence(error));
    weft_counter_add(&self->counters, WEFT_PRODUCER_REFUSED, 1);
    return error;
}

static weft_err_t s_check_size(weft_producer_part_t *self, size_t bound)
{
    size_t most = self->requests.batch_bytes_max - WEFT_BATCH_HEADER_BYTES;
    if (most > WEFT_RECORD_BYTES_MAX) most = WEFT_RECORD_BYTES_MAX;
    if (bound <= most) return WEFT_OK;
    return s_refuse(self, WEFT_ERR_RECORD_TOO_LARGE, "the record has %lld bytes; the cluster takes at most %lld",
                    (long long) bound, (long long) most);
}

// Topic not known yet, or known not to exist.
static weft_err_t s_send_early(weft_producer_part_t *self, weft_topic_t *topic, int32_t partition, weft_slice_t key,
                               weft_slice_t value, int64_t timestamp_ms, const struct weft_send_extra *extra,
                               weft_delivery_t *delivery)
{
    if (self->started && weft_view_is_missing(&self->view, topic->view)) {
        weft_requests_refresh(&self->requests); // it may be created yet
        self->wants_turn = true;
        snprintf(self->text, sizeof self->text, "topic '%s' does not exist; create it first", topic->view->name);
        weft_counter_add(&self->counters, WEFT_PRODUCER_REFUSED, 1);
        return WEFT_ERR_UNKNOWN_TOPIC;
    }
    weft_producer_pend(self, topic, partition, key, value, extra ? extra->headers : WEFT_SLICE_NIL, timestamp_ms,
                       extra ? extra->opaque : NULL, delivery);
    self->waiting_count++;
    weft_counter_add(&self->counters, WEFT_PRODUCER_RECORDS, 1);
    return WEFT_OK;
}

weft_err_t weft_producer_part_send(weft_producer_part_t *self, weft_topic_t *topic, int32_t partition, weft_slice_t key,
                                   weft_slice_t value, int64_t timestamp_ms, const struct weft_send_extra *extra,
                                   weft_delivery_t *delivery)
{
    if (__builtin_expect(self->fatal, 0)) return self->fatal;
    weft_slice_t headers = extra ? extra->headers : WEFT_SLICE_NIL;
    size_t bound = weft_record_bytes_bound(key, value, headers);
    if (__builtin_expect(bound > 1000, 0)) {
        weft_err_t err = s_check_size(self, bound);
        if (err) return err;
    }
    if (__builtin_expect(self->waiting_bytes + bound > self->buffer_bytes && self->waiting_count, 0))
        return s_refuse(self, WEFT_ERR_LOCAL_QUEUE_FULL, "", 0, 0);
    if (__builtin_expect(!topic->partition_count, 0))
        return s_send_early(self, topic, partition, key, value, timestamp_ms, extra, delivery);
    if (partition == WEFT_PARTITION_AUTO) partition = weft_producer_choose(self, topic, key, value);
    if (__builtin_expect(partition < 0 || partition >= topic->partition_count, 0))
        return s_refuse(self, WEFT_ERR_INVALID_ARGUMENT,
                        "there is no partition %lld; the topic has %lld, numbered from 0", partition,
                        topic->partition_count);
    weft_producer_append(self, topic->partitions[partition], bound, key, value, headers, timestamp_ms,
                         extra ? extra->opaque : NULL, delivery);
    self->waiting_count++;
    weft_counter_add(&self->counters, WEFT_PRODUCER_RECORDS, 1);
    return WEFT_OK;
}

void weft_producer_part_flush(weft_producer_part_t *self)
{
    // Without an open batch there is nothing to do at once: whoever waits for answers calls this again and again.
    for (size_t i = 0; i < self->active_count; i++)
        if (self->active[i]->builder.count) weft_producer_close_batch(self, self->active[i]); // wants a turn
}

void weft_producer_part_give_up(weft_producer_part_t *self, weft_err_t error)
{
    for (size_t i = 0; i < self->topic_count; i++)
        if (self->topics[i]->pending_count)
            weft_producer_release_pending(self, self->topics[i], error, weft_err_sentence(error));
    weft_producer_fail_all(self, error, weft_err_sentence(error));
}

// ---- slots

static void s_message(struct weft_part *part, struct weft_message *message)
{
    weft_requests_message(&((weft_producer_part_t *) part)->requests, message);
}

static void s_mail(struct weft_part *part, struct weft_mail *mail)
{
    if (mail->body_free) mail->body_free(mail->body);
}

static void s_link_up(struct weft_part *part, weft_link_t link)
{
    weft_requests_link_up(&((weft_producer_part_t *) part)->requests, link);
}

static void s_link_down(struct weft_part *part, weft_link_t link)
{
    weft_requests_link_down(&((weft_producer_part_t *) part)->requests, link);
}

static void s_count_requests(weft_producer_part_t *self)
{
    weft_counter_set(&self->counters, WEFT_PRODUCER_LINKS_LOST, self->requests.link_down_count);
    weft_counter_set(&self->counters, WEFT_PRODUCER_REDIRECTS, self->requests.redirect_count);
    weft_counter_set(&self->counters, WEFT_PRODUCER_REROUTES, self->requests.reroute_count);
    weft_counter_set(&self->counters, WEFT_PRODUCER_STRAY, self->requests.stray_count);
}

static int64_t s_turn(struct weft_part *part, int64_t now_us)
{
    weft_producer_part_t *self = (weft_producer_part_t *) part;
    self->wants_turn = self->changed = false;
    int64_t next_us = weft_requests_turn(&self->requests, now_us);
    if (self->batch_bytes > self->requests.batch_bytes_max) self->batch_bytes = self->requests.batch_bytes_max;
    if (self->view.fatal.code && !self->fatal) {
        self->fatal = self->view.fatal.code;
        snprintf(self->text, sizeof self->text, "%s", self->view.fatal.text);
        weft_producer_fail_all(self, self->fatal, self->view.fatal.text);
    }
    for (size_t i = 0; i < self->topic_count; i++) {
        weft_topic_t *topic = self->topics[i];
        if (self->updates_seen != self->view.updates || topic->pending_count || topic->view->state == WEFT_VIEW_MISSING)
            weft_producer_topic_updated(self, topic, now_us);
        if (topic->pending_count && topic->pending_us + self->delivery_us < next_us)
            next_us = topic->pending_us + self->delivery_us;
    }
    self->updates_seen = self->view.updates;
    for (size_t i = 0; i < self->active_count;) {
        struct weft_ppartition *partition = self->active[i];
        int64_t at_us = weft_producer_partition_turn(self, partition, now_us);
        if (at_us < next_us) next_us = at_us;
        if (partition->first || partition->builder.count) {
            i++;
            continue;
        }
        partition->active = false;
        self->active[i] = self->active[--self->active_count];
    }
    s_count_requests(self);
    return self->wants_turn ? now_us : next_us;
}

static void s_stop(struct weft_part *part)
{
    weft_producer_part_t *self = (weft_producer_part_t *) part;
    self->stopping = true;
    weft_producer_part_flush(self);
}

static bool s_stopped(struct weft_part *part)
{
    return ((weft_producer_part_t *) part)->waiting_count == 0;
}

static const struct weft_part_ops s_ops = {.start = s_start,
                                           .message = s_message,
                                           .mail = s_mail,
                                           .link_up = s_link_up,
                                           .link_down = s_link_down,
                                           .turn = s_turn,
                                           .stop = s_stop,
                                           .stopped = s_stopped,
                                           .destroy = s_destroy};

// ---- what the program sees

void weft_producer_part_on_report(weft_producer_part_t *self, weft_report_fn *fn, void *context)
{
    self->report = fn;
    self->report_context = context;
}

void weft_producer_part_on_batch(weft_producer_part_t *self, weft_batch_report_fn *fn, void *context)
{
    self->batch_report = fn;
    self->batch_report_context = context;
}

void weft_producer_part_set_partitioner(weft_producer_part_t *self, weft_partitioner_fn *fn, void *context)
{
    self->partitioner = fn;
    self->partitioner_context = context;
}

bool weft_producer_part_wants_turn(const weft_producer_part_t *self)
{
    return self->wants_turn;
}
bool weft_producer_part_is_changed(const weft_producer_part_t *self)
{
    return self->changed || self->wants_turn;
}

size_t weft_producer_part_waiting_count(const weft_producer_part_t *self)
{
    return self->waiting_count;
}
size_t weft_producer_part_waiting_bytes(const weft_producer_part_t *self)
{
    return self->waiting_bytes;
}
size_t weft_producer_part_leaving_bytes(const weft_producer_part_t *self)
{
    size_t bytes = 0;
    if (self->answered || !self->started || !self->port.ops->link_outstanding_bytes) return 0;
    for (size_t i = 0; i < self->view.link_count; i++)
        if (self->view.links[i]->link)
            bytes += self->port.ops->link_outstanding_bytes(self->port.world, self->view.links[i]->link);
    return bytes;
}
uint64_t weft_producer_part_reported_batches(const weft_producer_part_t *self)
{
    return self->reported_batches;
}
const weft_counters_t *weft_producer_part_counters(const weft_producer_part_t *self)
{
    return &self->counters;
}
const char *weft_producer_part_error_text(const weft_producer_part_t *self)
{
    return self->text;
}

weft_err_t weft_producer_part_take_first_error(weft_producer_part_t *self, char *text, size_t text_bytes)
{
    weft_err_t error = self->first_error;
    if (error) snprintf(text, text_bytes, "%s", self->first_error_text);
    self->first_error = WEFT_OK;
    return error;
}
