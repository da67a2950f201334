// SPDX-License-Identifier: MPL-2.0
// Every call has the same shape: begin, encode, run until done, decode. The part does the rest (which node,
// redirections, retries).
#include "admin_inner.h"

#include "../base/assert.h"
#include "settings.h"

#include <weft_gen/config.h>

#include <stdio.h>
#include <stdlib.h>

#define COORDINATOR_US 1000000 // longest that the coordinator is asked about what another node doesn't know

static int64_t s_now_us(const weft_admin_t *self)
{
    return weft_driver_now_us(self->driver);
}

weft_err_t weft_admin_new(const char *const *settings, weft_admin_t **out, struct weft_error *error)
{
    struct weft_error ignored;
    if (!error) error = &ignored;
    weft_admin_t *self = weft_calloc(1, sizeof *self);
    weft_err_t err =
        weft_settings_parse(settings, weft_options_admin, weft_options_admin_count, "admin", &self->options, error);
    if (err) goto fail_new;
    self->timeout_us = weft_options_int(self->options, "request.timeout.ms") * 1000;
    err = weft_admin_part_new(self->options, &self->part, error);
    if (err) goto fail_options;
    const struct weft_driver_how how = {.bootstrap = weft_options_text(self->options, "bootstrap"),
                                        .client = weft_options_text(self->options, "client")};
    err = weft_driver_new(weft_admin_part_base(self->part), &how, &self->driver, error);
    if (err) goto fail_options; // the driver destroyed the part
    weft_codec_init(&self->codec);
    *out = self;
    return WEFT_OK;

fail_options:
    weft_options_destroy(&self->options);
fail_new:
    free(self);
    return err;
}

void weft_admin_destroy(weft_admin_t **self_p)
{
    weft_admin_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    self->driver->ops->destroy(&self->driver);
    weft_options_destroy(&self->options);
    weft_codec_fini(&self->codec);
    free(self);
}

const char *weft_admin_error_text(const weft_admin_t *self)
{
    return self->text;
}
void weft_admin_wake(weft_admin_t *self)
{
    self->driver->ops->wake(self->driver);
}

void weft_admin_on_wait(weft_admin_t *self, int after_ms, weft_admin_wait_fn *fn, void *context)
{
    self->on_wait = fn;
    self->on_wait_context = context;
    self->on_wait_us = (int64_t) after_ms * 1000;
}

// ---- one call

weft_err_t weft_admin_say(weft_admin_t *self, weft_err_t error, const char *text)
{
    snprintf(self->text, sizeof self->text, "%s", text);
    return error;
}

// Until when a wait may go on (-1: for ever); tells, once, when it is time to.
static int64_t s_patience_us(weft_admin_t *self, int64_t begun_us, bool *told)
{
    if (!self->on_wait || *told) return -1;
    int64_t left_us = begun_us + self->on_wait_us - s_now_us(self);
    if (left_us > 0) return left_us;
    *told = true;
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    weft_admin_part_waits_for(self->part, text, sizeof text);
    self->on_wait(self->on_wait_context, text);
    return -1;
}

typedef bool s_done_fn(const weft_admin_part_t *part);

// Runs until all that was submitted is done; WEFT_OK then, whatever came of it.
static weft_err_t s_run(weft_admin_t *self, s_done_fn *done)
{
    int64_t begun_us = s_now_us(self);
    bool told = false;
    // The first turn does not wait: the part has to say when the new call is due.
    for (int64_t wait_us = 0; !done(self->part); wait_us = s_patience_us(self, begun_us, &told)) {
        weft_err_t woken = self->driver->ops->run(self->driver, wait_us);
        if (!woken || done(self->part)) continue;
        weft_admin_part_cancel(self->part);
        return weft_admin_say(self, woken, weft_err_sentence(woken));
    }
    return WEFT_OK;
}

// The part's clock stood still since its last turn; a wake() that comes here is told by the wait to come.
static void s_refresh_clock(weft_admin_t *self)
{
    if (self->driver->ops->run(self->driver, 0)) self->driver->ops->wake(self->driver);
}

weft_err_t weft_admin_run(weft_admin_t *self)
{
    s_refresh_clock(self);
    weft_admin_part_submit(self->part, self->timeout_us);
    weft_err_t err = s_run(self, weft_admin_part_is_done);
    if (err) return err;
    err = weft_admin_part_error(self->part);
    return err ? weft_admin_say(self, err, weft_admin_part_error_text(self->part)) : WEFT_OK;
}

weft_err_t weft_admin_run_many(weft_admin_t *self)
{
    s_refresh_clock(self);
    weft_admin_part_many_submit(self->part, self->timeout_us);
    return s_run(self, weft_admin_part_many_are_done);
}

weft_err_t weft_admin_decoded(weft_admin_t *self, weft_err_t err, const struct weft_error *why)
{
    return err ? weft_admin_say(self, err, why->text) : WEFT_OK;
}

weft_err_t weft_admin_check_topic(weft_admin_t *self, const char *topic)
{
    if (topic && weft_topic_name_is_legal(topic)) return WEFT_OK;
    snprintf(self->text, sizeof self->text, "'%.250s': %s", topic ? topic : "",
             weft_err_sentence(WEFT_ERR_INVALID_TOPIC));
    return WEFT_ERR_INVALID_TOPIC;
}

weft_err_t weft_admin_suggest(weft_admin_t *self, weft_err_t error, const char *topic)
{
    if (error != WEFT_ERR_UNKNOWN_TOPIC || strstr(self->text, "did you mean") || strstr(self->text, "partition "))
        return error;
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    snprintf(text, sizeof text, "topic '%s' does not exist", topic);
    weft_metadata_t *metadata;
    if (weft_admin_metadata(self, NULL, 0, true, &metadata) == WEFT_OK) {
        const char **names = weft_calloc(metadata->topic_count + 1, sizeof *names);
        for (size_t i = 0; i < metadata->topic_count; i++) names[i] = metadata->topics[i].name;
        const char *nearest = weft_nearest(topic, names, metadata->topic_count);
        if (nearest && strcmp(nearest, topic))
            snprintf(text, sizeof text, "topic '%s' does not exist; did you mean '%s'?", topic, nearest);
        free(names);
        weft_metadata_destroy(&metadata);
    }
    return weft_admin_say(self, error, text);
}

// ---- topics

weft_err_t weft_admin_create_topic(weft_admin_t *self, const char *topic, uint32_t partitions, uint32_t replicas,
                                   const struct weft_setting *settings, size_t setting_count, bool validate_only,
                                   struct weft_topic_change *out)
{
    weft_err_t err = weft_admin_check_topic(self, topic);
    if (err) return err;
    struct weft_config_entry *entries = weft_calloc(setting_count + 1, sizeof *entries);
    for (size_t i = 0; i < setting_count; i++)
        entries[i] = (struct weft_config_entry){weft_text(settings[i].key), weft_text(settings[i].value)};
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_topic_create_request request;
    weft_topic_create_request_init(&request);
    request.id = call->id;
    request.operation = weft_admin_part_operation(self->part);
    request.topic = weft_text(topic);
    request.partitions = partitions;
    request.replicas = replicas;
    request.config = entries;
    request.config_count = setting_count;
    request.validate_only = validate_only;
    weft_topic_create_request_encode(&request, &call->header);
    free(entries);
    err = weft_admin_run(self);
    if (err) return err;
    struct weft_topic_create_reply reply;
    struct weft_error why;
    err = weft_topic_create_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    if (out) *out = (struct weft_topic_change){reply.topic_id, reply.version};
    return WEFT_OK;
}

static bool s_has_leaders(const weft_metadata_t *metadata)
{
    if (metadata->topic_count != 1 || metadata->topics[0].error || !metadata->topics[0].partition_count) return false;
    for (size_t i = 0; i < metadata->topics[0].partition_count; i++)
        if (metadata->topics[0].partitions[i].leader < 0 || !*metadata->topics[0].partitions[i].endpoint) return false;
    return true;
}

weft_err_t weft_admin_wait_topic(weft_admin_t *self, const char *topic, int timeout_ms)
{
    weft_err_t err = weft_admin_check_topic(self, topic);
    if (err) return err;
    int64_t wait_us = 5000;
    for (int64_t deadline_us = s_now_us(self) + (int64_t) timeout_ms * 1000;;) {
        weft_metadata_t *metadata;
        err = weft_admin_metadata(self, &topic, 1, true, &metadata);
        if (err) return err;
        bool ready = s_has_leaders(metadata);
        weft_metadata_destroy(&metadata);
        if (ready) return WEFT_OK;
        int64_t left_us = deadline_us - s_now_us(self);
        if (left_us <= 0) break;
        for (int64_t until_us = s_now_us(self) + (left_us < wait_us ? left_us : wait_us); s_now_us(self) < until_us;) {
            weft_err_t woken = self->driver->ops->run(self->driver, until_us - s_now_us(self));
            if (woken) return weft_admin_say(self, woken, weft_err_sentence(woken));
        }
        if (wait_us < 200000) wait_us *= 2;
    }
    snprintf(self->text, sizeof self->text, "topic '%s' has no leader for every partition yet; see weft cluster status",
             topic);
    return WEFT_ERR_LOCAL_TIMED_OUT;
}

weft_err_t weft_admin_delete_topic(weft_admin_t *self, const char *topic, struct weft_topic_change *out)
{
    weft_err_t err = weft_admin_check_topic(self, topic);
    if (err) return err;
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_topic_delete_request request;
    weft_topic_delete_request_init(&request);
    request.id = call->id;
    request.operation = weft_admin_part_operation(self->part);
    request.topic = weft_text(topic);
    weft_topic_delete_request_encode(&request, &call->header);
    err = weft_admin_run(self);
    if (err) return weft_admin_suggest(self, err, topic);
    struct weft_topic_delete_reply reply;
    struct weft_error why;
    err = weft_topic_delete_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    if (out) *out = (struct weft_topic_change){reply.topic_id, reply.version};
    return WEFT_OK;
}

weft_err_t weft_admin_alter_topic(weft_admin_t *self, const char *topic, const struct weft_setting *set,
                                  size_t set_count, const char *const *unset, size_t unset_count,
                                  struct weft_topic_change *out)
{
    weft_err_t err = weft_admin_check_topic(self, topic);
    if (err) return err;
    struct weft_config_entry *entries = weft_calloc(set_count + 1, sizeof *entries);
    weft_slice_t *keys = weft_calloc(unset_count + 1, sizeof *keys);
    for (size_t i = 0; i < set_count; i++)
        entries[i] = (struct weft_config_entry){weft_text(set[i].key), weft_text(set[i].value)};
    for (size_t i = 0; i < unset_count; i++) keys[i] = weft_text(unset[i]);
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_topic_alter_request request;
    weft_topic_alter_request_init(&request);
    request.id = call->id;
    request.operation = weft_admin_part_operation(self->part);
    request.topic = weft_text(topic);
    request.set = entries;
    request.set_count = set_count;
    request.unset = keys;
    request.unset_count = unset_count;
    weft_topic_alter_request_encode(&request, &call->header);
    free(entries);
    free(keys);
    err = weft_admin_run(self);
    if (err) return weft_admin_suggest(self, err, topic);
    struct weft_topic_alter_reply reply;
    struct weft_error why;
    err = weft_topic_alter_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    if (out) *out = (struct weft_topic_change){reply.topic_id, reply.version};
    return WEFT_OK;
}

weft_err_t weft_admin_add_partitions(weft_admin_t *self, const char *topic, uint32_t to, struct weft_topic_change *out)
{
    weft_err_t err = weft_admin_check_topic(self, topic);
    if (err) return err;
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_topic_add_partitions_request request;
    weft_topic_add_partitions_request_init(&request);
    request.id = call->id;
    request.operation = weft_admin_part_operation(self->part);
    request.topic = weft_text(topic);
    request.to = to;
    weft_topic_add_partitions_request_encode(&request, &call->header);
    err = weft_admin_run(self);
    if (err) return weft_admin_suggest(self, err, topic);
    struct weft_topic_add_partitions_reply reply;
    struct weft_error why;
    err = weft_topic_add_partitions_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    if (out) *out = (struct weft_topic_change){reply.topic_id, reply.version};
    return WEFT_OK;
}

// A node that was not told yet of what was made a moment ago is not the last word: the coordinator is, if it answers
// soon.
static weft_err_t s_run_at_coordinator(weft_admin_t *self)
{
    int64_t timeout_us = self->timeout_us;
    if (self->timeout_us > COORDINATOR_US) self->timeout_us = COORDINATOR_US;
    weft_err_t err = weft_admin_run(self);
    self->timeout_us = timeout_us;
    return err;
}

static void s_begin_describe(weft_admin_t *self, enum weft_call_to to, const char *topic)
{
    struct weft_call *call = weft_admin_begin(self, to);
    struct weft_topic_describe_request request;
    weft_topic_describe_request_init(&request);
    request.id = call->id;
    request.topic = weft_text(topic);
    weft_topic_describe_request_encode(&request, &call->header);
}

weft_err_t weft_admin_describe_topic(weft_admin_t *self, const char *topic, weft_topic_config_t **out)
{
    weft_err_t err = weft_admin_check_topic(self, topic);
    if (err) return err;
    s_begin_describe(self, WEFT_TO_ANY, topic);
    err = weft_admin_run(self);
    if (err == WEFT_ERR_UNKNOWN_TOPIC) {
        s_begin_describe(self, WEFT_TO_COORDINATOR, topic);
        if (s_run_at_coordinator(self) == WEFT_OK) err = WEFT_OK;
    }
    if (err) return weft_admin_suggest(self, err, topic);
    struct weft_topic_describe_reply reply;
    struct weft_error why;
    err = weft_topic_describe_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    *out = weft_topic_config_of(&reply);
    return WEFT_OK;
}

// ---- metadata

static void s_begin_metadata(weft_admin_t *self, enum weft_call_to to, const char *const *topics, size_t topic_count,
                             bool internal)
{
    weft_slice_t *names = weft_calloc(topic_count + 1, sizeof *names);
    for (size_t i = 0; i < topic_count; i++) names[i] = weft_text(topics[i]);
    struct weft_call *call = weft_admin_begin(self, to);
    struct weft_metadata_request request;
    weft_metadata_request_init(&request);
    request.id = call->id;
    if (topics) {
        request.topics = names;
        request.topics_count = topic_count;
        request.brokers_only = topic_count == 0;
    }
    request.internal = internal;
    weft_metadata_request_encode(&request, &call->header);
    free(names);
}

static weft_err_t s_take_metadata(weft_admin_t *self, weft_metadata_t **out)
{
    struct weft_metadata_reply reply;
    struct weft_error why;
    weft_err_t err = weft_metadata_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    *out = weft_metadata_of(&reply);
    return WEFT_OK;
}

static bool s_lacks_topics(const weft_metadata_t *metadata)
{
    for (size_t i = 0; i < metadata->topic_count; i++)
        if (metadata->topics[i].error == WEFT_ERR_UNKNOWN_TOPIC) return true;
    return false;
}

weft_err_t weft_admin_metadata(weft_admin_t *self, const char *const *topics, size_t topic_count, bool internal,
                               weft_metadata_t **out)
{
    s_begin_metadata(self, WEFT_TO_ANY, topics, topic_count, internal);
    weft_err_t err = weft_admin_run(self);
    if (!err) err = s_take_metadata(self, out);
    if (err || !s_lacks_topics(*out)) return err;
    s_begin_metadata(self, WEFT_TO_COORDINATOR, topics, topic_count, internal);
    weft_metadata_t *newer;
    if (s_run_at_coordinator(self) != WEFT_OK || s_take_metadata(self, &newer) != WEFT_OK) return WEFT_OK;
    weft_metadata_destroy(out);
    *out = newer;
    return WEFT_OK;
}

// ---- partitions

static struct weft_call *s_begin_at_leader(weft_admin_t *self, const char *topic, int32_t partition, weft_err_t *err)
{
    *err = weft_admin_check_topic(self, topic);
    if (!*err && partition < 0) *err = weft_admin_say(self, WEFT_ERR_INVALID_ARGUMENT, "the partition is negative");
    return *err ? NULL : weft_admin_part_begin(self->part, WEFT_TO_LEADER, topic, partition, NULL);
}

weft_err_t weft_admin_list_offsets(weft_admin_t *self, const char *topic, int32_t partition, struct weft_position at,
                                   bool durable, struct weft_offset_found *out)
{
    weft_err_t err;
    struct weft_call *call = s_begin_at_leader(self, topic, partition, &err);
    if (err) return err;
    struct weft_list_offsets_request request;
    weft_list_offsets_request_init(&request);
    request.id = call->id;
    request.topic = weft_text(topic);
    request.partition = (uint32_t) partition;
    request.at = weft_text(at.from == WEFT_FROM_EARLIEST ? "earliest" : at.from == WEFT_FROM_TIME ? "time" : "latest");
    if (at.from == WEFT_FROM_TIME) request.time_ms = at.value;
    request.read = weft_text(durable ? "durable" : "committed");
    weft_list_offsets_request_encode(&request, &call->header);
    err = weft_admin_run(self);
    if (err) return weft_admin_suggest(self, err, topic);
    struct weft_list_offsets_reply reply;
    struct weft_error why;
    err = weft_list_offsets_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    *out = (struct weft_offset_found){.offset = at.from == WEFT_FROM_OFFSET ? at.value : reply.offset,
                                      .timestamp_ms = reply.timestamp_ms,
                                      .epoch = reply.epoch,
                                      .high_watermark = reply.high_watermark,
                                      .log_start = reply.log_start};
    return WEFT_OK;
}

weft_err_t weft_admin_delete_records(weft_admin_t *self, const char *topic, int32_t partition, int64_t before_offset,
                                     int64_t *log_start)
{
    weft_err_t err;
    struct weft_call *call = s_begin_at_leader(self, topic, partition, &err);
    if (err) return err;
    struct weft_delete_records_request request;
    weft_delete_records_request_init(&request);
    request.id = call->id;
    request.topic = weft_text(topic);
    request.partition = (uint32_t) partition;
    request.before_offset = before_offset;
    weft_delete_records_request_encode(&request, &call->header);
    err = weft_admin_run(self);
    if (err) return weft_admin_suggest(self, err, topic);
    struct weft_delete_records_reply reply;
    struct weft_error why;
    err = weft_delete_records_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    if (log_start) *log_start = reply.log_start;
    return WEFT_OK;
}

weft_err_t weft_admin_partition_status(weft_admin_t *self, const char *topic, int32_t partition,
                                       struct weft_partition_marks *out)
{
    weft_err_t err;
    struct weft_call *call = s_begin_at_leader(self, topic, partition, &err);
    if (err) return err;
    struct weft_partition_status_request request;
    weft_partition_status_request_init(&request);
    request.id = call->id;
    request.topic = weft_text(topic);
    request.partition = (uint32_t) partition;
    weft_partition_status_request_encode(&request, &call->header);
    err = weft_admin_run(self);
    if (err) return weft_admin_suggest(self, err, topic);
    struct weft_partition_status_reply reply;
    struct weft_error why;
    err = weft_partition_status_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    *out = (struct weft_partition_marks){.log_start = reply.log_start,
                                         .log_end = reply.log_end,
                                         .high_watermark = reply.high_watermark,
                                         .durable = reply.durable,
                                         .bytes = reply.bytes,
                                         .segments = reply.segments,
                                         .producers = reply.producers,
                                         .epoch = reply.epoch};
    for (size_t i = 0; i < reply.replicas_count && i < WEFT_REPLICAS_KNOWN_MAX; i++)
        out->replicas[out->replica_count++] = (struct weft_replica_marks){.broker = reply.replicas[i].broker,
                                                                          .in_sync = reply.replicas[i].in_sync,
                                                                          .log_end = reply.replicas[i].log_end,
                                                                          .synced_end = reply.replicas[i].synced_end,
                                                                          .behind_ms = reply.replicas[i].behind_ms};
    return WEFT_OK;
}

// ---- nodes

weft_err_t weft_admin_cluster_status(weft_admin_t *self, weft_cluster_health_t **out)
{
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_cluster_status_request request;
    weft_cluster_status_request_init(&request);
    request.id = call->id;
    weft_cluster_status_request_encode(&request, &call->header);
    weft_err_t err = weft_admin_run(self);
    if (err) return err;
    struct weft_cluster_status_reply reply;
    struct weft_error why;
    err = weft_cluster_status_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    *out = weft_cluster_health_of(&reply);
    return WEFT_OK;
}

static struct weft_call *s_begin_at_node(weft_admin_t *self, const char *endpoint)
{
    struct weft_call *call =
        weft_admin_part_begin(self->part, endpoint ? WEFT_TO_LINK : WEFT_TO_ANY, NULL, 0, endpoint);
    if (!call) (void) weft_admin_say(self, WEFT_ERR_INVALID_ENDPOINT, weft_admin_part_error_text(self->part));
    return call;
}

weft_err_t weft_admin_node_status(weft_admin_t *self, const char *endpoint, weft_node_report_t **out)
{
    struct weft_call *call = s_begin_at_node(self, endpoint);
    if (!call) return WEFT_ERR_INVALID_ENDPOINT;
    struct weft_node_status_request request;
    weft_node_status_request_init(&request);
    request.id = call->id;
    weft_node_status_request_encode(&request, &call->header);
    weft_err_t err = weft_admin_run(self);
    if (err) return err;
    struct weft_node_status_reply reply;
    struct weft_error why;
    err = weft_node_status_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    *out = weft_node_report_of(&reply);
    return WEFT_OK;
}

weft_err_t weft_admin_hello(weft_admin_t *self, const char *endpoint, weft_node_hello_t **out)
{
    struct weft_call *call = s_begin_at_node(self, endpoint);
    if (!call) return WEFT_ERR_INVALID_ENDPOINT;
    struct weft_hello_request request;
    weft_hello_request_init(&request);
    request.id = call->id;
    request.client = weft_text(weft_options_text(self->options, "client"));
    weft_hello_request_encode(&request, &call->header);
    weft_err_t err = weft_admin_run(self);
    if (err) return err;
    struct weft_hello_reply reply;
    struct weft_error why;
    err = weft_hello_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    *out = weft_node_hello_of(&reply, weft_admin_part_round_trip_us(self->part));
    return WEFT_OK;
}
