// SPDX-License-Identifier: MPL-2.0
// The live side: what the topic gets is sent to the XPUB, in order of the partition, each record once.
//
// Nothing is kept about subscribers. What PUB drops for a slow one, and what was published before it came (back), it
// finds as a gap in the sequence and asks for on the ROUTER. The gap is only seen when something follows it, so a
// stream that is silent after a subscription repeats its last record once (announce.ms): the new subscriber learns how
// far the stream is, the others have seen that sequence. The same after a subscriber was full, again and again with
// growing pauses, since nothing tells when it reads on. Sequences never go back otherwise, which subscribers of the
// KV-event convention take for a new publisher.
//
// Memory: libzmq keeps a fixed number of messages for each subscriber; when large ones become too many bytes the outlet is
// opened anew with a smaller number (outlet.h), or with slow=wait publishing waits.
#include "outlet.h"

#include "../../lib/base/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

#define TURN_RECORDS 8192        // then subscriptions and the end are looked at again
#define TURN_BYTES (1024 * 1024) // likewise
#define LOOK_BYTES 1024          // larger records make it look at what is unread
#define IDLE_MS 100              // the consumer's timers are not seen by its descriptor
#define PATIENCE_US 3000000
#define AGAIN_US_MAX 60000000 // longest pause between repetitions
#define LOOK_US 250000        // how often health is looked at
#define LOOK_FIRST_US 5000    // likewise, until a stream is known

struct weft_tap_live {
    struct weft_tap_settings settings;
    struct weft_tap_streams *streams;
    struct weft_tap_outlet *outlet;
    weft_consumer_t *consumer;
    weft_buf_t scratch;
    uint64_t subscriptions, subscribed; // now, since the start
    bool waiting;                       // for the first subscriptions
    bool announces;                     // some stream has an announcement to come
    bool lossy;                         // what is sent passes over subscribers that are full
    bool known;                         // how far a stream is
    int64_t looked_us;
    int64_t patient_until_us; // a cluster that has not answered by then is complained of
    bool unknown_topic;
    struct weft_error trouble;            // with the outlet
    char stopped[200];                    // why a partition stopped for good, "" if none did
    char told[WEFT_ERROR_TEXT_BYTES_MAX]; // the complaint that was traced
};

static void s_count(const weft_tap_live_t *self, enum weft_tap_counter counter, uint64_t more)
{
    if (more > 0) weft_node_counter_add(self->settings.node, counter, more);
}

// ---- subscribers

static void s_arm(weft_tap_live_t *self, struct weft_tap_stream *stream, int64_t again_us)
{
    if (self->settings.announce_us < 0) return;
    stream->announce_next = atomic_load_explicit(&stream->next, memory_order_relaxed);
    stream->announce_at_us = weft_mono_us() + self->settings.announce_us;
    if (again_us > 0) stream->announce_again_us = again_us;
    self->announces = true;
}

// Streams that a subscription may hear are to repeat their last record, unless something is published before.
static void s_announce_soon(weft_tap_live_t *self, weft_slice_t prefix)
{
    for (size_t i = 0; i < self->streams->count; i++) {
        struct weft_tap_stream *stream = self->streams->items[i];
        if (stream && prefix.size <= stream->name_bytes && memcmp(stream->name, prefix.data, prefix.size) == 0)
            s_arm(self, stream, 0);
    }
}

static void s_subscription(weft_tap_live_t *self, weft_slice_t frame)
{
    if (frame.size == 0 || frame.data[0] > 1) {
        s_count(self, WEFT_TAP_BAD_SUBSCRIPTIONS_COUNT, 1); // XSUB lets its users send anything
        return;
    }
    if (frame.data[0] == 1) {
        self->subscriptions++;
        self->subscribed++;
        s_announce_soon(self, weft_slice(frame.data + 1, frame.size - 1));
    } else if (self->subscriptions > 0) {
        self->subscriptions--;
    }
    weft_node_counter_set(self->settings.node, WEFT_TAP_SUBSCRIPTIONS_COUNT, self->subscriptions);
}

static void s_set_waiting(weft_tap_live_t *self, bool waiting)
{
    self->waiting = waiting;
    atomic_store(&self->streams->waiting, waiting);
}

static weft_err_t s_hear(weft_tap_live_t *self)
{
    const uint64_t before = self->subscribed;
    for (int i = 0; i < 256; i++) {
        zmq_msg_t message;
        zmq_msg_init(&message);
        if (zmq_msg_recv(&message, self->outlet->socket, ZMQ_DONTWAIT) < 0) break;
        s_subscription(self, weft_slice(zmq_msg_data(&message), zmq_msg_size(&message)));
        zmq_msg_close(&message);
    }
    if (self->subscribed != before)
        weft_node_counter_set(self->settings.node, WEFT_TAP_SUBSCRIBED_COUNT, self->subscribed);
    if (!self->waiting || self->subscriptions < self->settings.wait_subscribers) return WEFT_OK;
    s_set_waiting(self, false);
    weft_err_t err = weft_consumer_resume(self->consumer, NULL, WEFT_PARTITION_ALL);
    return err == WEFT_ERR_NOT_FOUND ? WEFT_OK : err; // nothing is assigned yet
}

// ---- publishing

// One frame. EAGAIN: a subscriber is full. With slow=wait all wait for it, until the node stops.
static bool s_send(weft_tap_live_t *self, const void *data, size_t size, int flags)
{
    while (zmq_send(self->outlet->socket, data, size, flags) < 0) {
        if (zmq_errno() != EAGAIN && zmq_errno() != EINTR) return false;
        if (!self->settings.slow_waits || weft_node_stopping(self->settings.node)) return false;
    }
    return true;
}

// Its message has begun, so it is never refused for want of room.
static bool s_send_payload(weft_tap_live_t *self, weft_slice_t payload, int flags)
{
    while (!weft_tap_outlet_send_payload(self->outlet, payload, flags))
        if (zmq_errno() != EINTR && (zmq_errno() != EAGAIN || weft_node_stopping(self->settings.node))) return false;
    return true;
}

static void s_set_lossy(weft_tap_live_t *self, bool lossy)
{
    int nodrop = !lossy;
    if (zmq_setsockopt(self->outlet->socket, ZMQ_XPUB_NODROP, &nodrop, sizeof nodrop) == 0) self->lossy = lossy;
}

// The first frame decides whether a message is sent. Subscribers that are full lose it and what follows until they have
// read about half of what waits for them; libzmq tells the first time only.
static bool s_send_name(weft_tap_live_t *self, struct weft_tap_stream *stream, int flags)
{
    if (s_send(self, stream->name, stream->name_bytes, flags)) return true;
    if (self->settings.slow_waits || zmq_errno() != EAGAIN) return false;
    s_count(self, WEFT_TAP_FULL_COUNT, 1);
    for (size_t i = 0; i < self->streams->count; i++) // it may hear any of them
        if (self->streams->items[i]) s_arm(self, self->streams->items[i], self->settings.announce_us);
    s_set_lossy(self, true); // for the rest of this turn
    return s_send(self, stream->name, stream->name_bytes, flags);
}

static bool s_publish(weft_tap_live_t *self, struct weft_tap_stream *stream, const struct weft_record_view *record,
                      size_t *bytes)
{
    uint8_t sequence[8];
    weft_tap_store_sequence(sequence, (uint64_t) record->offset);
    weft_slice_t payload = record->value;
    if (self->settings.whole_records) {
        weft_tap_encode_record(&self->scratch, record);
        payload = weft_buf_slice(&self->scratch);
    }
    int flags = self->settings.slow_waits ? 0 : ZMQ_DONTWAIT;
    *bytes += payload.size;
    return s_send_name(self, stream, flags | ZMQ_SNDMORE) &&
           s_send(self, sequence, sizeof sequence, flags | ZMQ_SNDMORE) && s_send_payload(self, payload, flags);
}

// Too many bytes wait for the slowest. All wait for it, or all connect again and may leave less unread. An error: the
// endpoint is gone.
static weft_err_t s_relieve(weft_tap_live_t *self, struct weft_error *error)
{
    if (!weft_tap_outlet_is_full(self->outlet)) return WEFT_OK;
    weft_hosted_node_t *node = self->settings.node;
    while (self->settings.slow_waits && weft_tap_outlet_is_full(self->outlet) && !weft_node_stopping(node)) {
        zmq_pollitem_t stop = {NULL, weft_node_stop_fd(node), ZMQ_POLLIN, 0};
        (void) zmq_poll(&stop, 1, 1);
    }
    if (self->settings.slow_waits || !weft_tap_outlet_can_shrink(self->outlet)) return WEFT_OK;
    s_count(self, WEFT_TAP_SHRUNK_COUNT, 1);
    self->subscriptions = 0; // they come again
    self->lossy = false;     // as it begins
    weft_node_counter_set(node, WEFT_TAP_SUBSCRIPTIONS_COUNT, 0);
    weft_err_t err = weft_tap_outlet_shrink(self->outlet, error);
    weft_node_trace(node, WEFT_TRACE_INFO,
                    "a slow subscriber leaves more than subscriber.bytes unread: from now on %llu "
                    "messages at most wait for each; all connect again",
                    (unsigned long long) self->outlet->messages);
    return err;
}

static void s_end_repetition(struct weft_tap_stream *stream)
{
    stream->repeats = -1;
    stream->announce_next = -1; // it spoke, also to those that subscribed while it was read
}

// Before the record leaves: who has heard it may ask for it at once, and a replay ends at what was noted.
static void s_note_published(weft_tap_live_t *self, struct weft_tap_stream *stream, int64_t offset)
{
    int64_t next = atomic_load_explicit(&stream->next, memory_order_relaxed);
    if (next >= 0 && offset > next) s_count(self, WEFT_TAP_GAPS_COUNT, 1);
    if (offset >= next) atomic_store_explicit(&stream->next, offset + 1, memory_order_release);
    if (stream->repeats >= 0) s_end_repetition(stream);
}

// Publishes what is there. False: nothing was.
static weft_err_t s_publish_some(weft_tap_live_t *self, bool *any, struct weft_error *error)
{
    weft_records_t *records;
    weft_err_t err = weft_consumer_poll(self->consumer, 0, &records);
    *any = false;
    if (err) return err == WEFT_ERR_INTERRUPTED ? WEFT_OK : err;
    if (self->waiting) return WEFT_OK; // what a new partition has comes again
    size_t count = 0, bytes = 0;
    struct weft_tap_stream *stream = NULL;
    struct weft_record_view record;
    while (count < TURN_RECORDS && bytes < TURN_BYTES && weft_records_next(records, &record)) {
        if (!stream || stream->partition != record.partition)
            stream = weft_tap_streams_of(self->streams, record.partition);
        if (record.value.size >= LOOK_BYTES && (err = s_relieve(self, error)) != WEFT_OK) return err;
        s_note_published(self, stream, record.offset);
        if (!s_publish(self, stream, &record, &bytes)) break; // the node stops
        count++;
    }
    if (self->lossy) s_set_lossy(self, false);
    *any = count > 0;
    if (count == 0) return WEFT_OK;
    s_count(self, WEFT_TAP_PUBLISHED_COUNT, count);
    s_count(self, WEFT_TAP_PUBLISHED_BYTES, bytes);
    return WEFT_OK;
}

// Decides whether a stream's last record is due now. One that is still being read (the cluster is away, or slow) is
// heard by all that came meanwhile.
static bool s_is_due(weft_tap_live_t *self, struct weft_tap_stream *stream, int64_t now)
{
    if (stream->repeats >= 0) return false;
    int64_t next = atomic_load_explicit(&stream->next, memory_order_relaxed);
    bool spoke = next != stream->announce_next; // since: that told as much, but maybe not those that were full
    if (!spoke && (now < stream->announce_at_us || next < 0)) return false;
    int64_t again_us = self->subscriptions > 0 ? stream->announce_again_us : 0;
    stream->announce_next = next;
    stream->announce_at_us = again_us > 0 ? now + again_us : 0;
    if (spoke) return false;
    stream->announce_again_us = 2 * again_us < AGAIN_US_MAX ? 2 * again_us : AGAIN_US_MAX;
    return next > 0;
}

// Streams that stayed silent: their last record comes again. It is read from the log anew, so nothing needs to be kept,
// also over a restart.
static weft_err_t s_announce(weft_tap_live_t *self)
{
    if (!self->announces || self->waiting) return WEFT_OK;
    int64_t now = weft_mono_us();
    self->announces = false;
    for (size_t i = 0; i < self->streams->count; i++) {
        struct weft_tap_stream *stream = self->streams->items[i];
        if (!stream || !stream->announce_at_us) continue;
        if (s_is_due(self, stream, now)) {
            const struct weft_position last = {WEFT_FROM_OFFSET, atomic_load(&stream->next) - 1};
            weft_err_t err = weft_consumer_seek(self->consumer, self->settings.topic, stream->partition, last);
            if (err && err != WEFT_ERR_NOT_FOUND) return err;
            if (!err) {
                stream->repeats = stream->sought = last.value;
                s_count(self, WEFT_TAP_ANNOUNCED_COUNT, 1);
            }
        }
        if (stream->announce_at_us) self->announces = true;
    }
    return WEFT_OK;
}

// ---- what happens to the consumer

// What is published next has changed, not by publishing.
static void s_moved(weft_tap_live_t *self, int32_t partition, int64_t next)
{
    struct weft_tap_stream *stream = weft_tap_streams_of(self->streams, partition);
    atomic_store(&stream->next, next);
    stream->repeats = -1;
}

static void s_assigned(weft_tap_live_t *self, const struct weft_consumer_event *event)
{
    self->unknown_topic = false;
    struct weft_tap_stream *stream = weft_tap_streams_of(self->streams, event->partition);
    // The seek of a repetition takes nothing back: neither how far a replay goes, nor which record is the last.
    bool own = event->offset >= 0 && event->offset == stream->sought;
    stream->sought = -1;
    if (own) return;
    if (event->offset >= 0) s_moved(self, event->partition, event->offset);
    if (self->subscriptions > 0) s_announce_soon(self, weft_slice(stream->name, stream->name_bytes));
}

static void s_pass_damage(weft_tap_live_t *self, const struct weft_consumer_event *event)
{
    weft_node_trace(self->settings.node, WEFT_TRACE_ERROR, "%s", event->text);
    if (event->offset < 0 || weft_consumer_seek(self->consumer, event->topic, event->partition,
                                                (struct weft_position){WEFT_FROM_OFFSET, event->offset}) != WEFT_OK) {
        snprintf(self->stopped, sizeof self->stopped, "%s", event->text);
        return;
    }
    s_count(self, WEFT_TAP_BAD_BATCHES_COUNT, 1);
    struct weft_tap_stream *stream = weft_tap_streams_of(self->streams, event->partition);
    if (stream->repeats < 0 || event->offset != atomic_load(&stream->next)) return;
    s_end_repetition(stream); // the last record is damaged: it is not tried again and again
    stream->sought = event->offset;
}

static void s_event(weft_tap_live_t *self, const struct weft_consumer_event *event)
{
    weft_hosted_node_t *node = self->settings.node;
    switch (event->type) {
    case WEFT_EVENT_ASSIGNED: s_assigned(self, event); break;
    case WEFT_EVENT_RESET:
    case WEFT_EVENT_DIVERGED:
        s_count(self, event->type == WEFT_EVENT_RESET ? WEFT_TAP_RESETS_COUNT : WEFT_TAP_DIVERGED_COUNT, 1);
        weft_node_trace(node, WEFT_TRACE_WARN, "%s", event->text);
        if (event->partition >= 0 && event->offset >= 0) s_moved(self, event->partition, event->offset);
        break;
    case WEFT_EVENT_BAD_BATCH: s_pass_damage(self, event); break;
    case WEFT_EVENT_STOPPED:
        snprintf(self->stopped, sizeof self->stopped, "%s", event->text);
        weft_node_trace(node, WEFT_TRACE_ERROR, "%s", event->text);
        break;
    case WEFT_EVENT_UNKNOWN_TOPIC: self->unknown_topic = true; break;
    case WEFT_EVENT_REVOKED: // the topic was deleted; one of its name starts over
        if (event->partition >= 0) s_moved(self, event->partition, -1);
        break;
    case WEFT_EVENT_LOST:
    case WEFT_EVENT_COMMIT_FAILED:
    case WEFT_EVENT_REFUSED:
    case WEFT_EVENT_UNHEARD: break; // of groups
    }
}

// What keeps the tap from being well, or NULL.
static const char *s_complaint(weft_tap_live_t *self, char *text, size_t text_bytes)
{
    if (self->stopped[0]) return self->stopped;
    struct weft_partition_position at;
    size_t count = 0;
    for (; weft_consumer_position(self->consumer, count, &at); count++) {
        // A position of a stream is known from its start on, not only when something was published.
        struct weft_tap_stream *stream = weft_tap_streams_of(self->streams, at.partition);
        if (at.position >= 0 && atomic_load(&stream->next) < 0) atomic_store(&stream->next, at.position);
        if (at.error == WEFT_OK && at.unheard == WEFT_OK) continue;
        snprintf(text, text_bytes, "Partition %d of topic '%.100s' can't be read now: %s", at.partition, at.topic,
                 weft_err_sentence(at.error ? at.error : at.unheard));
        return text;
    }
    if (count > 0 || (!self->unknown_topic && weft_mono_us() < self->patient_until_us)) return NULL;
    snprintf(text, text_bytes,
             self->unknown_topic
                 ? "Topic '%.200s' does not exist (yet): create it; the tap looks for it again and again."
                 : "The cluster of topic '%.200s' does not answer (yet): see that a node of `bootstrap` runs.",
             self->settings.topic);
    return text;
}

static void s_look(weft_tap_live_t *self)
{
    int64_t now = weft_mono_us();
    if (now - self->looked_us < (self->known ? LOOK_US : LOOK_FIRST_US)) return;
    self->looked_us = now;
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    const char *complaint = s_complaint(self, text, sizeof text);
    self->known = self->known || weft_tap_streams_any(self->streams);
    if (strcmp(self->told, complaint ? complaint : "") != 0) {
        snprintf(self->told, sizeof self->told, "%s", complaint ? complaint : "");
        weft_node_trace(self->settings.node, complaint ? WEFT_TRACE_WARN : WEFT_TRACE_INFO, "%s%s",
                        complaint ? "degraded: " : "well again", self->told);
    }
    if (complaint)
        weft_node_set_health(self->settings.node, WEFT_HEALTH_DEGRADED, "%s", complaint);
    else if (!weft_tap_streams_any(self->streams))
        return; // starting
    else if (self->waiting)
        weft_node_set_health(self->settings.node, WEFT_HEALTH_SERVING, "waits for %llu subscriptions",
                             (unsigned long long) self->settings.wait_subscribers);
    else
        weft_node_set_health(self->settings.node, WEFT_HEALTH_SERVING, NULL);
}

// ---- life

static weft_err_t s_begin(weft_tap_live_t *self)
{
    const struct weft_assignment all = {.topic = self->settings.topic,
                                        .partition = self->settings.partition < 0 ? WEFT_PARTITION_ALL
                                                                                  : self->settings.partition,
                                        .at = self->settings.from};
    weft_err_t err = weft_consumer_assign(self->consumer, &all, 1);
    if (err) return err;
    s_set_waiting(self, self->settings.wait_subscribers > 0);
    return WEFT_OK;
}

weft_err_t weft_tap_live_new(const struct weft_tap_settings *settings, struct weft_tap_streams *streams,
                             struct weft_tap_outlet *outlet, weft_tap_live_t **out, struct weft_error *error)
{
    weft_consumer_t *consumer = NULL;
    weft_err_t err = weft_tap_consumer_new(settings, (const char *const[]){NULL}, &consumer, error);
    if (err) return err;
    weft_tap_live_t *self = weft_calloc(1, sizeof *self);
    self->settings = *settings;
    self->streams = streams;
    self->outlet = outlet;
    self->consumer = consumer;
    weft_buf_init(&self->scratch);
    err = s_begin(self);
    if (err) {
        err = weft_node_refuse(error, err, "topic=%s: %s", settings->topic, weft_consumer_error_text(consumer));
        weft_tap_live_destroy(&self);
        return err;
    }
    *out = self;
    return WEFT_OK;
}

void weft_tap_live_destroy(weft_tap_live_t **self_p)
{
    weft_tap_live_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    weft_consumer_destroy(&self->consumer);
    weft_buf_fini(&self->scratch);
    free(self);
}

weft_err_t weft_tap_live_run(weft_tap_live_t *self, struct weft_error *error)
{
    weft_hosted_node_t *node = self->settings.node;
    weft_err_t err = WEFT_OK;
    bool any = false;
    self->patient_until_us = weft_mono_us() + PATIENCE_US;
    while (!weft_node_stopping(node)) {
        if (!any) {
            zmq_pollitem_t items[] = {{NULL, weft_node_stop_fd(node), ZMQ_POLLIN, 0},
                                      {NULL, weft_consumer_fd(self->consumer), ZMQ_POLLIN, 0},
                                      {self->outlet->socket, 0, ZMQ_POLLIN, 0}};
            zmq_poll(items, 3, self->announces ? 20 : IDLE_MS);
        }
        err = s_hear(self);
        if (!err && self->waiting) { // also of partitions that came since
            err = weft_consumer_pause(self->consumer, NULL, WEFT_PARTITION_ALL);
            if (err == WEFT_ERR_NOT_FOUND) err = WEFT_OK;
        }
        any = false;
        if (!err) err = s_publish_some(self, &any, &self->trouble);
        for (struct weft_consumer_event event; !err && weft_consumer_event(self->consumer, &event);)
            s_event(self, &event);
        if (!err && !any) err = s_announce(self);
        if (err) break;
        s_look(self);
    }
    if (!err) return WEFT_OK;
    if (self->trouble.text[0]) return weft_node_refuse(error, err, "%s", self->trouble.text);
    return weft_node_refuse(error, err, "The tap of topic '%s' ends: %s", self->settings.topic,
                            weft_consumer_error_text(self->consumer));
}
