// SPDX-License-Identifier: MPL-2.0
// One consumer in the source reads all topics that match, and the notes of the bridges that write there: by these it is
// known whose batches must not be copied back. Where a partition is read is said by its flow (seek); the subscription
// only finds out what there is.
#include "bridge_inner.h"

#include "../../lib/base/glob.h"
#include <weft_gen/records.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_STOPPED_MS 5000               // a batch that can't be read may be healed by another replica
#define S_ROOM_BYTES ((size_t) 4 << 20) // of the producer's buffer, left for notes

weft_err_t weft_bridge_source_open(weft_bridge_t *self, struct weft_error *error)
{
    weft_err_t err = weft_consumer_new((const char *const *) self->source_settings, &self->source, error);
    if (err != WEFT_OK) return err;
    size_t count = 0;
    while (self->topics[count] != NULL) count++;
    const char **patterns = weft_calloc(count + 1, sizeof *patterns);
    for (size_t i = 0; i < count; i++) patterns[i] = self->topics[i];
    patterns[count] = self->kept_topic;
    err =
        weft_consumer_subscribe(self->source, patterns, count + 1, (struct weft_position){.from = WEFT_FROM_EARLIEST});
    if (err != WEFT_OK && error != NULL)
        weft_node_refuse(error, err, "topics: %.400s", weft_consumer_error_text(self->source));
    free(patterns);
    return err;
}

// ---- sessions of bridges

static struct weft_bridge_origins *s_copied(weft_bridge_t *self, weft_slice_t topic)
{
    return weft_map_get(self->copied, topic);
}

bool weft_bridge_is_looped(weft_bridge_t *self, const char *topic)
{
    const struct weft_bridge_origins *copied = s_copied(self, weft_slice_text(topic));
    return copied != NULL && weft_bridge_origins_has(copied, self->target_cluster);
}

bool weft_bridge_add_origins(struct weft_bridge_flow *flow)
{
    weft_bridge_t *self = flow->bridge;
    const struct weft_bridge_origins *copied = s_copied(self, weft_slice_text(flow->topic->name));
    size_t before = flow->origins.count;
    for (size_t i = 0; copied != NULL && i < copied->count; i++)
        if (!weft_id_equal(copied->ids[i], self->target_cluster)) // those are left out
            (void) !weft_bridge_origins_add(&flow->origins, copied->ids[i]);
    return flow->origins.count != before;
}

// Also of a topic that holds nothing yet: who copies on from the target is to know it before there is a topic for it.
static void s_copied_heard(weft_bridge_t *self, const struct weft_bridge_place_record *record)
{
    struct weft_bridge_origins *copied = s_copied(self, record->target_topic);
    if (copied == NULL) {
        copied = weft_calloc(1, sizeof *copied);
        weft_map_put(self->copied, record->target_topic, copied);
    }
    size_t before = copied->count;
    for (size_t i = 0; i < record->origins_count; i++) (void) !weft_bridge_origins_add(copied, record->origins[i]);
    for (size_t i = 0; i < self->flow_count && copied->count != before; i++) {
        struct weft_bridge_flow *flow = self->flows[i];
        if (!flow->known || !weft_slice_is_text(record->target_topic, flow->topic->name)) continue;
        if (!weft_bridge_add_origins(flow)) continue;
        flow->noted = false; // it is, in the next round
        weft_bridge_flow_stop(flow, 0, NULL);
    }
}

static void s_session_heard(weft_bridge_t *self, weft_slice_t value)
{
    struct weft_bridge_place_record record;
    if (value.data == NULL || weft_bridge_place_record_decode(&self->codec, value, &record, NULL) != WEFT_OK) return;
    struct weft_bridge_session *session = weft_map_get_u64(self->sessions, (uint64_t) record.producer_id);
    if (session == NULL) {
        session = weft_calloc(1, sizeof *session);
        weft_map_put_u64(self->sessions, (uint64_t) record.producer_id, session);
    }
    session->plain = false;
    for (size_t i = 0; i < record.origins_count; i++)
        (void) !weft_bridge_origins_add(&session->origins, record.origins[i]);
    s_copied_heard(self, &record);
    weft_bridge_flow_session_known(self, record.producer_id);
}

static void s_sessions(weft_bridge_t *self, const struct weft_batch_view *view)
{
    struct weft_batch batch;
    weft_slice_t payload;
    weft_record_iter_t iter;
    struct weft_record record;
    if (weft_batch_read(view->bytes, &batch) != WEFT_OK || batch.count == 0) return;
    if (weft_batch_payload(view->bytes, &batch, &self->scratch, &payload) != WEFT_OK) return;
    weft_record_iter_init(&iter, payload);
    while (weft_record_iter_next(&iter, &record, NULL)) {
        weft_slice_t key = record.key;
        bool other = key.data == NULL || memchr(key.data, '#', key.size) != NULL ||
                     (key.size >= 6 && memcmp(key.data + key.size - 6, "/claim", 6) == 0);
        if (!other) s_session_heard(self, record.value);
    }
}

void weft_bridge_sessions_fini(weft_bridge_t *self)
{
    void *value;
    for (size_t i = 0; self->sessions != NULL && weft_map_next(self->sessions, &i, NULL, &value);) free(value);
    weft_map_destroy(&self->sessions);
    for (size_t i = 0; self->copied != NULL && weft_map_next(self->copied, &i, NULL, &value);) free(value);
    weft_map_destroy(&self->copied);
}

// ---- what there is

static bool s_wanted(const weft_bridge_t *self, const char *topic)
{
    if (strcmp(topic, self->kept_topic) == 0) return false;
    for (size_t i = 0; self->except[i] != NULL; i++)
        if (weft_glob_match(self->except[i], topic)) return false;
    // Within one cluster the copies match as well, and theirs would.
    bool same = weft_id_equal(self->source_cluster, self->target_cluster);
    return !same || strncmp(topic, self->prefix, strlen(self->prefix)) != 0;
}

static void s_appeared(weft_bridge_t *self, const char *name, int32_t partition)
{
    pthread_mutex_lock(&self->lock);
    struct weft_bridge_topic *topic = weft_bridge_topic_get(self, name);
    if (topic->state == WEFT_BRIDGE_TOPIC_READY && (uint32_t) partition >= topic->partitions)
        topic->state = WEFT_BRIDGE_TOPIC_WANTED;
    pthread_mutex_unlock(&self->lock);
    struct weft_bridge_flow *flow = weft_bridge_flow_new(self, topic, partition);
    int64_t now_ms = weft_mono_ms();
    if (self->discovered_ms == 0) self->discovered_ms = now_ms;
    if (topic->seen_ms == 0) topic->seen_ms = now_ms; // the loop's own
    flow->late = now_ms - self->discovered_ms > 2 * self->refresh_ms;
}

// Reading could not go on where it was.
static void s_reset(struct weft_bridge_flow *flow, const struct weft_consumer_event *event)
{
    weft_bridge_t *self = flow->bridge;
    if (event->error == WEFT_ERR_TOPIC_REPLACED) {
        weft_bridge_flow_begin_anew(flow);
        return;
    }
    if (flow->state != WEFT_BRIDGE_COPYING || event->from_offset < 0) return;
    if (event->offset >= event->from_offset) { // what it skips is marked in the next batch
        uint64_t gone = (uint64_t) (event->offset - event->from_offset);
        weft_node_counter_add(self->node, WEFT_BRIDGE_GONE, gone);
        weft_node_trace(
            self->node, 1, "'%s' %d: %llu offsets from %lld on are gone in the source before they were copied",
            event->topic, (int) event->partition, (unsigned long long) gone, (long long) event->from_offset);
        return;
    }
    weft_node_counter_add(self->node, WEFT_BRIDGE_DIVERGED, 1);
    weft_node_trace(
        self->node, 0,
        "'%s' %d: the source has lost its end, offset %lld is not there any more; what it takes now is copied",
        event->topic, (int) event->partition, (long long) event->from_offset);
    flow->diverged = true;
    (void) !weft_consumer_seek(self->source, event->topic, event->partition,
                               (struct weft_position){.from = WEFT_FROM_LATEST});
}

static void s_flow_event(struct weft_bridge_flow *flow, const struct weft_consumer_event *event)
{
    weft_bridge_t *self = flow->bridge;
    switch (event->type) {
    case WEFT_EVENT_ASSIGNED:
        if (flow->gone) { // it is there again
            flow->gone = false;
            weft_bridge_flow_begin_anew(flow);
        }
        return;
    case WEFT_EVENT_REVOKED:
        weft_bridge_flow_stop(flow, 0, "the source has this topic no more");
        flow->gone = true;
        return;
    case WEFT_EVENT_RESET: s_reset(flow, event); return;
    case WEFT_EVENT_DIVERGED:
        weft_node_counter_add(self->node, WEFT_BRIDGE_DIVERGED, 1);
        weft_node_trace(self->node, 0,
                        "'%s' %d: the source has lost offsets %lld to %lld, which were read; what it has there now is "
                        "copied",
                        event->topic, (int) event->partition, (long long) event->offset,
                        (long long) event->from_offset - 1);
        weft_bridge_flow_lost(flow, event->offset);
        return;
    case WEFT_EVENT_BAD_BATCH:
    case WEFT_EVENT_STOPPED: weft_bridge_flow_stop(flow, S_STOPPED_MS, event->text); return;
    case WEFT_EVENT_UNKNOWN_TOPIC:
    case WEFT_EVENT_LOST:
    case WEFT_EVENT_COMMIT_FAILED:
    case WEFT_EVENT_REFUSED:
    case WEFT_EVENT_UNHEARD: return;
    }
}

static void s_events(weft_bridge_t *self)
{
    struct weft_consumer_event event;
    while (weft_consumer_event(self->source, &event)) {
        bool kept = strcmp(event.topic, self->kept_topic) == 0;
        if (kept || event.partition < 0 || !s_wanted(self, event.topic)) continue;
        struct weft_bridge_flow *flow = weft_bridge_flow_find(self, event.topic, event.partition);
        if (flow != NULL)
            s_flow_event(flow, &event);
        else if (event.type == WEFT_EVENT_ASSIGNED)
            s_appeared(self, event.topic, event.partition);
    }
}

size_t weft_bridge_source_turn(weft_bridge_t *self)
{
    weft_records_t *records;
    struct weft_batch_view view;
    size_t count = 0;
    if (!self->began || weft_consumer_poll(self->source, 0, &records) != WEFT_OK) return 0;
    s_events(self);
    // What does not fit stays in the consumer.
    while (weft_producer_waiting_bytes(self->producer) + S_ROOM_BYTES < self->producer_bytes &&
           weft_records_next_batch(records, &view)) {
        count++;
        if (strcmp(view.topic, self->kept_topic) == 0) {
            s_sessions(self, &view);
            continue;
        }
        struct weft_bridge_flow *flow = weft_bridge_flow_find(self, view.topic, view.partition);
        if (flow == NULL) {
            (void) !weft_consumer_pause(self->source, view.topic, view.partition); // it is not copied
            continue;
        }
        weft_bridge_flow_batch(flow, &view);
        weft_bridge_flow_pace(flow);
    }
    return count;
}

// How far the source is ahead, and where it begins for who starts at its end.
void weft_bridge_source_tick(weft_bridge_t *self)
{
    struct weft_partition_position at;
    uint64_t lag = 0;
    bool unread = false;
    for (size_t i = 0; weft_consumer_position(self->source, i, &at); i++) {
        if (strcmp(at.topic, self->kept_topic) == 0) {
            unread |=
                at.position < 0 || at.high_watermark < 0 || at.position < at.high_watermark || at.unheard != WEFT_OK;
            self->sessions_read |= !unread;
            continue;
        }
        struct weft_bridge_flow *flow = weft_bridge_flow_find(self, at.topic, at.partition);
        if (flow == NULL) continue;
        bool copying = flow->state == WEFT_BRIDGE_COPYING;
        if (copying && flow->resume.read_next < 0 && at.position >= 0) {
            flow->resume.read_next = at.position;
            flow->moved = true;
        }
        int64_t next = flow->resume.read_next > flow->resume.place.source_next ? flow->resume.read_next
                                                                               : flow->resume.place.source_next;
        flow->source_end = at.high_watermark;
        if (at.high_watermark > next) lag += (uint64_t) (at.high_watermark - next);
        if (copying && at.unheard != WEFT_OK)
            snprintf(flow->reason, sizeof flow->reason, "the source's leader does not answer: %s",
                     weft_err_sentence(at.unheard));
        else if (copying)
            flow->reason[0] = '\0';
    }
    self->sessions_behind = unread;
    weft_node_counter_set(self->node, WEFT_BRIDGE_LAG, lag);
}
