// SPDX-License-Identifier: MPL-2.0
// Topics of a producer: what metadata makes of them, and the records that wait until it is there. Those are kept as
// they are, one behind the other in a buffer, and replayed in order.
#include "producer_inner.h"

#include "../base/assert.h"

#include <stdio.h>
#include <stdlib.h>

// ---- topics

weft_err_t weft_producer_part_topic(weft_producer_part_t *self, const char *name, weft_topic_t **out)
{
    if (!name || !weft_topic_name_is_legal(name)) {
        snprintf(self->text, sizeof self->text, "'%.250s': %s", name ? name : "",
                 weft_err_sentence(WEFT_ERR_INVALID_TOPIC));
        return WEFT_ERR_INVALID_TOPIC;
    }
    struct weft_view_topic *view = weft_view_topic(&self->view, name);
    if (!view->owner) {
        weft_topic_t *topic = weft_calloc(1, sizeof *topic);
        topic->part = self;
        topic->view = view;
        topic->sticky = -1;
        weft_buf_init(&topic->pending);
        view->owner = topic;
        view->wanted = true;
        self->topics = weft_realloc(self->topics, (self->topic_count + 1) * sizeof(void *));
        self->topics[self->topic_count++] = topic;
        weft_requests_refresh_now(&self->requests);
        self->wants_turn = true;
    }
    *out = view->owner;
    return WEFT_OK;
}

const char *weft_topic_name(const weft_topic_t *topic)
{
    return topic->view->name;
}

int32_t weft_producer_part_partition_count(weft_producer_part_t *self, const weft_topic_t *topic)
{
    if (topic->partition_count) return topic->partition_count;
    if (!self->started || !weft_view_is_missing(&self->view, topic->view)) return 0;
    weft_requests_refresh(&self->requests); // it may be created yet
    self->wants_turn = true;
    return -1;
}

static void s_grow_partitions(weft_producer_part_t *self, weft_topic_t *topic, int32_t count)
{
    if (count > topic->made_count) topic->partitions = weft_realloc(topic->partitions, (size_t) count * sizeof(void *));
    for (; topic->made_count < count; topic->made_count++) {
        struct weft_ppartition *partition = weft_calloc(1, sizeof *partition);
        partition->topic = topic;
        partition->index = topic->made_count;
        weft_producer_identity_draw(self, partition);
        weft_batch_builder_init(&partition->builder);
        topic->partitions[topic->made_count] = partition;
    }
    topic->partition_count = count;
}

static void s_fail_topic(weft_producer_part_t *self, weft_topic_t *topic, int32_t from, weft_err_t error,
                         const char *text)
{
    for (int32_t i = from; i < topic->made_count; i++)
        weft_producer_fail_partition(self, topic->partitions[i], error, text);
}

// The topic was deleted and created again: the new one has another id, maybe fewer partitions, and knows no session of
// ours.
static void s_topic_replaced(weft_producer_part_t *self, weft_topic_t *topic)
{
    topic->view->replaced = false;
    topic->partition_count = 0;
    topic->sticky = -1;
    for (int32_t i = 0; i < topic->made_count; i++) {
        struct weft_ppartition *partition = topic->partitions[i];
        if (partition->first && partition->first->given) // whose offsets they follow is the program's to find out
            weft_producer_fail_partition(self, partition, WEFT_ERR_TOPIC_REPLACED,
                                         weft_err_sentence(WEFT_ERR_TOPIC_REPLACED));
        partition->broken = true;
    }
    s_fail_topic(self, topic, topic->view->partition_count, WEFT_ERR_TOPIC_REPLACED,
                 weft_err_sentence(WEFT_ERR_TOPIC_REPLACED));
}

// ---- records that wait for metadata

void weft_producer_pend(weft_producer_part_t *self, weft_topic_t *topic, int32_t partition, weft_slice_t key,
                        weft_slice_t value, weft_slice_t headers, int64_t timestamp_ms, void *opaque,
                        weft_delivery_t *delivery)
{
    struct weft_ppending pending = {.partition = partition,
                                    .key_nil = !key.data,
                                    .value_nil = !value.data,
                                    .headers_nil = !headers.data,
                                    .key_bytes = (uint32_t) key.size,
                                    .value_bytes = (uint32_t) value.size,
                                    .headers_bytes = (uint32_t) headers.size,
                                    .timestamp_ms = timestamp_ms,
                                    .opaque = opaque,
                                    .delivery = delivery};
    if (!topic->pending_count) topic->pending_us = weft_port_now_us(&self->port);
    size_t before = topic->pending.size;
    weft_buf_append(&topic->pending, &pending, sizeof pending);
    if (key.size) weft_buf_append(&topic->pending, key.data, key.size);
    if (value.size) weft_buf_append(&topic->pending, value.data, value.size);
    if (headers.size) weft_buf_append(&topic->pending, headers.data, headers.size);
    topic->pending_count++;
    self->waiting_bytes += topic->pending.size - before;
    self->wants_turn = true;
}

static weft_slice_t s_unpend_slice(const uint8_t **at, uint32_t bytes, bool nil)
{
    weft_slice_t slice = nil ? WEFT_SLICE_NIL : weft_bytes(*at, bytes);
    *at += bytes;
    return slice;
}

// error WEFT_OK: the partitions are known, the records go their way.
void weft_producer_release_pending(weft_producer_part_t *self, weft_topic_t *topic, weft_err_t error, const char *text)
{
    weft_buf_t records = topic->pending; // a report may send again: what comes then waits in a new buffer
    weft_buf_init(&topic->pending);
    topic->pending_count = 0;
    self->waiting_bytes -= records.size;
    for (const uint8_t *at = records.data, *end = at + records.size; records.size && at < end;) {
        struct weft_ppending p;
        memcpy(&p, at, sizeof p);
        at += sizeof p;
        weft_slice_t key = s_unpend_slice(&at, p.key_bytes, p.key_nil);
        weft_slice_t value = s_unpend_slice(&at, p.value_bytes, p.value_nil);
        weft_slice_t headers = s_unpend_slice(&at, p.headers_bytes, p.headers_nil);
        int32_t partition = p.partition;
        if (!error && partition < 0) partition = weft_producer_choose(self, topic, key, value);
        if (error)
            weft_producer_report_one(self, topic, partition, p.opaque, p.delivery, error, text);
        else if (partition < 0 || partition >= topic->partition_count)
            weft_producer_report_one(self, topic, partition, p.opaque, p.delivery, WEFT_ERR_INVALID_ARGUMENT,
                                     "the topic has no such partition");
        else
            weft_producer_append(self, topic->partitions[partition], weft_record_bytes_bound(key, value, headers), key,
                                 value, headers, p.timestamp_ms, p.opaque, p.delivery);
    }
    weft_buf_fini(&records);
}

void weft_producer_topic_updated(weft_producer_part_t *self, weft_topic_t *topic, int64_t now_us)
{
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    if (topic->view->replaced) s_topic_replaced(self, topic);
    if (topic->view->partition_count > topic->partition_count)
        s_grow_partitions(self, topic, topic->view->partition_count);
    if (topic->partition_count && weft_view_is_missing(&self->view, topic->view)) {
        snprintf(text, sizeof text, "topic '%s' was deleted", topic->view->name);
        s_fail_topic(self, topic, 0, WEFT_ERR_UNKNOWN_TOPIC, text);
    }
    if (!topic->pending_count) return;
    if (topic->partition_count) {
        weft_producer_release_pending(self, topic, WEFT_OK, "");
    } else if (weft_view_is_missing(&self->view, topic->view)) {
        snprintf(text, sizeof text, "topic '%s' does not exist; create it first", topic->view->name);
        weft_producer_release_pending(self, topic, WEFT_ERR_UNKNOWN_TOPIC, text);
    } else if (now_us - topic->pending_us >= self->delivery_us) {
        snprintf(text, sizeof text,
                 "no node told of topic '%s' within delivery.timeout.ms; check bootstrap and the cluster",
                 topic->view->name);
        weft_producer_release_pending(self, topic, WEFT_ERR_LOCAL_NOT_CONNECTED, text);
    }
}
