// SPDX-License-Identifier: MPL-2.0
// One queue of copied records a partition. Copying a record costs less than a cache miss, and lets the consumer fetch on while
// a record waits for its time. The best of all heads is found by a scan, together with the second best: while the
// partition of the best has records that are older than the second best, no scan is needed.
#include "reel.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define QUEUE_BYTES_MAX ((size_t) 1 << 20)   // of one partition; a record more may stand in it
#define QUEUES_BYTES_MAX ((size_t) 32 << 20) // of all of them
#define QUEUE_BYTES_MIN ((size_t) 64 << 10)
#define PAST_MS 1000 // a time `to` that is over by so much: nothing older comes any more

// How a record stands in its queue, its bytes behind it: key, value, headers.
struct s_entry {
    int64_t timestamp_ms, offset;
    uint32_t key_bytes, value_bytes, headers_bytes;
    int32_t leader_epoch;
    bool key_nil, value_nil, headers_nil;
};

struct s_queue {
    weft_buf_t bytes;
    size_t at;            // where the first record begins; == bytes.size: none
    int64_t timestamp_ms; // of the first record
    int64_t end;          // offset before which it ends; -1: not known yet
    bool at_end;          // no more there now
    bool over;            // no more is wanted, or the partition is gone
    bool paused;
    uint64_t seen; // fill in which the partition was there last
};

struct weft_reel {
    struct weft_reel_settings settings;
    weft_consumer_t *consumer;
    struct s_queue *queues; // by partition
    int32_t queue_count;
    int32_t best; // partition of the next record; -1: to be looked for
    int64_t second_ms;
    int32_t second;
    bool hungry, known; // hungry: a partition has none and may have. known: the partitions are
    bool stale;         // a queue ran empty since the positions were looked at
    uint64_t fills;
    struct weft_reel_counts counts;
    char trouble[WEFT_ERROR_TEXT_BYTES_MAX];
};

// ---- queues

static size_t s_queue_bytes(const struct s_queue *queue)
{
    return queue->bytes.size - queue->at;
}

static void s_queue_clear(struct s_queue *queue)
{
    weft_buf_t bytes = queue->bytes;
    weft_buf_clear(&bytes);
    *queue = (struct s_queue){.bytes = bytes, .end = -1};
}

static void s_put_slice(weft_buf_t *bytes, weft_slice_t slice)
{
    if (slice.size) weft_buf_append(bytes, slice.data, slice.size);
}

static void s_queue_put(struct s_queue *queue, const struct weft_record_view *record)
{
    struct s_entry entry = {.timestamp_ms = record->timestamp_ms,
                            .offset = record->offset,
                            .leader_epoch = record->leader_epoch,
                            .key_bytes = (uint32_t) record->key.size,
                            .value_bytes = (uint32_t) record->value.size,
                            .headers_bytes = (uint32_t) record->headers.size,
                            .key_nil = !record->key.data,
                            .value_nil = !record->value.data,
                            .headers_nil = !record->headers.data};
    if (!s_queue_bytes(queue)) queue->timestamp_ms = record->timestamp_ms;
    weft_buf_append(&queue->bytes, &entry, sizeof entry);
    s_put_slice(&queue->bytes, record->key);
    s_put_slice(&queue->bytes, record->value);
    s_put_slice(&queue->bytes, record->headers);
}

static weft_slice_t s_slice(const uint8_t **at, uint32_t size, bool nil)
{
    weft_slice_t slice = nil ? WEFT_SLICE_NIL : weft_bytes(*at, size);
    *at += size;
    return slice;
}

static size_t s_queue_first(const struct s_queue *queue, struct weft_record_view *out)
{
    struct s_entry entry;
    const uint8_t *begin = queue->bytes.data + queue->at, *at = begin + sizeof entry;
    memcpy(&entry, begin, sizeof entry);
    out->timestamp_ms = entry.timestamp_ms;
    out->offset = entry.offset;
    out->leader_epoch = entry.leader_epoch;
    out->key = s_slice(&at, entry.key_bytes, entry.key_nil);
    out->value = s_slice(&at, entry.value_bytes, entry.value_nil);
    out->headers = s_slice(&at, entry.headers_bytes, entry.headers_nil);
    return (size_t) (at - begin);
}

static void s_queue_pop(struct s_queue *queue)
{
    struct weft_record_view record;
    queue->at += s_queue_first(queue, &record);
    if (!s_queue_bytes(queue)) {
        weft_buf_clear(&queue->bytes);
        queue->at = 0;
        return;
    }
    (void) s_queue_first(queue, &record);
    queue->timestamp_ms = record.timestamp_ms;
    if (queue->at < QUEUE_BYTES_MIN || queue->at < s_queue_bytes(queue)) return;
    memmove(queue->bytes.data, queue->bytes.data + queue->at, s_queue_bytes(queue));
    queue->bytes.size = s_queue_bytes(queue);
    queue->at = 0;
}

static size_t s_queue_most(const weft_reel_t *self)
{
    size_t share = QUEUES_BYTES_MAX / (size_t) (self->queue_count ? self->queue_count : 1);
    return share > QUEUE_BYTES_MAX ? QUEUE_BYTES_MAX : share < QUEUE_BYTES_MIN ? QUEUE_BYTES_MIN : share;
}

static struct s_queue *s_queue(weft_reel_t *self, int32_t partition)
{
    if (partition >= self->queue_count) {
        self->queues = weft_realloc(self->queues, ((size_t) partition + 1) * sizeof *self->queues);
        for (; self->queue_count <= partition; self->queue_count++) {
            struct s_queue *queue = &self->queues[self->queue_count];
            weft_buf_init(&queue->bytes);
            s_queue_clear(queue);
            queue->over = true; // until the partition is seen
        }
    }
    return &self->queues[partition];
}

static void s_pause(weft_reel_t *self, int32_t partition, bool paused)
{
    struct s_queue *queue = &self->queues[partition];
    if (queue->paused == paused) return;
    weft_err_t err = paused ? weft_consumer_pause(self->consumer, self->settings.topic, partition)
                            : weft_consumer_resume(self->consumer, self->settings.topic, partition);
    if (!err) queue->paused = paused;
}

// ---- taking in

static bool s_is_behind_end(const weft_reel_t *self, const struct s_queue *queue, const struct weft_record_view *record)
{
    if (queue->end >= 0 && record->offset >= queue->end) return true;
    return self->settings.has_to && self->settings.to.from == WEFT_FROM_TIME &&
           record->timestamp_ms >= self->settings.to.value;
}

static void s_take(weft_reel_t *self, weft_records_t *records)
{
    struct weft_record_view record;
    size_t most = s_queue_most(self);
    while (weft_records_next(records, &record)) {
        struct s_queue *queue = s_queue(self, record.partition);
        if (queue->over && queue->seen) continue;
        if (s_is_behind_end(self, queue, &record)) {
            queue->over = true;
            s_pause(self, record.partition, true);
            continue;
        }
        s_queue_put(queue, &record);
        if (s_queue_bytes(queue) >= most) s_pause(self, record.partition, true);
    }
}

static void s_say(weft_reel_t *self, const char *text)
{
    snprintf(self->trouble, sizeof self->trouble, "%s", text);
}

// A place behind the end: the consumer begins at the beginning then, but what is wanted is what comes there.
static void s_stay_at_end(weft_reel_t *self, const struct weft_consumer_event *event)
{
    struct weft_position end = {WEFT_FROM_LATEST, 0};
    if (event->partition < 0 || event->partition >= self->queue_count) return;
    if (weft_consumer_seek(self->consumer, self->settings.topic, event->partition, end)) return;
    struct s_queue *queue = &self->queues[event->partition];
    weft_buf_clear(&queue->bytes); // records of the beginning
    queue->at = 0;
    queue->at_end = false;
}

static void s_event(weft_reel_t *self, const struct weft_consumer_event *event)
{
    bool jumped = event->from_offset >= 0 && event->offset > event->from_offset;
    switch (event->type) {
    case WEFT_EVENT_RESET:
        if (event->offset >= 0 && event->offset < event->from_offset) s_stay_at_end(self, event);
        if (jumped) self->counts.skipped += (uint64_t) (event->offset - event->from_offset);
        break;
    case WEFT_EVENT_BAD_BATCH:
        self->counts.damaged++;
        if (jumped) {
            struct weft_position to = {WEFT_FROM_OFFSET, event->offset};
            self->counts.skipped += (uint64_t) (event->offset - event->from_offset);
            if (!weft_consumer_seek(self->consumer, event->topic, event->partition, to)) break;
        }
        s_say(self, event->text);
        break;
    case WEFT_EVENT_STOPPED:
    case WEFT_EVENT_UNKNOWN_TOPIC: s_say(self, event->text); break;
    case WEFT_EVENT_ASSIGNED: self->trouble[0] = 0; break;
    case WEFT_EVENT_REVOKED:
    case WEFT_EVENT_DIVERGED:
    case WEFT_EVENT_LOST:
    case WEFT_EVENT_COMMIT_FAILED:
    case WEFT_EVENT_REFUSED:
    case WEFT_EVENT_UNHEARD: break;
    }
}

static int64_t s_unix_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Where a partition ends is known once its end is.
static void s_find_end(const weft_reel_t *self, struct s_queue *queue, const struct weft_partition_position *at)
{
    const struct weft_reel_settings *settings = &self->settings;
    int64_t end = settings->follows ? INT64_MAX : at->end_at_start >= 0 ? at->end_at_start : at->high_watermark;
    if (settings->has_to && settings->to.from == WEFT_FROM_OFFSET && end > settings->to.value) end = settings->to.value;
    if (end >= 0) queue->end = end;
}

static void s_look_at(weft_reel_t *self, const struct weft_partition_position *at)
{
    struct s_queue *queue = s_queue(self, at->partition);
    if (!queue->seen) queue->over = false;
    queue->seen = self->fills;
    if (queue->over) return;
    if (queue->end < 0 || at->high_watermark < 0) s_find_end(self, queue, at);
    bool read = at->position >= 0 && at->high_watermark >= 0 && at->position >= at->high_watermark;
    queue->at_end = read;
    if (queue->end >= 0 && at->position >= queue->end) queue->over = true;
    const struct weft_position *to = &self->settings.to;
    if (read && self->settings.has_to && to->from == WEFT_FROM_TIME && s_unix_ms() > to->value + PAST_MS)
        queue->over = true;
    if (queue->paused && s_queue_bytes(queue) < s_queue_most(self) / 2) s_pause(self, at->partition, false);
    if (at->unheard) {
        snprintf(self->trouble, sizeof self->trouble, "the leader of partition %d does not answer: %s", at->partition,
                 weft_err_sentence(at->unheard));
    }
}

static void s_look(weft_reel_t *self)
{
    struct weft_partition_position at;
    size_t count = 0;
    bool unheard = false;
    self->stale = false;
    while (weft_consumer_position(self->consumer, count, &at)) {
        s_look_at(self, &at);
        unheard |= at.unheard || at.error;
        count++;
    }
    if (count) self->known = true;
    if (count && !unheard) self->trouble[0] = 0;
    for (int32_t i = 0; i < self->queue_count; i++)
        if (self->queues[i].seen != self->fills) self->queues[i].over = true; // never was, or is gone
}

weft_err_t weft_reel_fill(weft_reel_t *self)
{
    weft_records_t *records = NULL;
    weft_err_t err = weft_consumer_poll(self->consumer, 0, &records);
    if (err == WEFT_ERR_INTERRUPTED) return WEFT_OK;
    if (err) {
        s_say(self, weft_consumer_error_text(self->consumer));
        return err;
    }
    self->fills++;
    s_look(self);
    s_take(self, records);
    struct weft_consumer_event event;
    while (weft_consumer_event(self->consumer, &event)) s_event(self, &event);
    s_look(self);
    self->best = -1;
    return WEFT_OK;
}

// ---- giving out

static bool s_is_before(int64_t a_ms, int32_t a, int64_t b_ms, int32_t b)
{
    return a_ms != b_ms ? a_ms < b_ms : a < b;
}

static void s_scan(weft_reel_t *self)
{
    int64_t best_ms = INT64_MAX, second_ms = INT64_MAX;
    int32_t best = -1, second = INT32_MAX;
    self->hungry = !self->known;
    for (int32_t i = 0; i < self->queue_count; i++) {
        const struct s_queue *queue = &self->queues[i];
        if (!s_queue_bytes(queue)) {
            if (!queue->over && !queue->at_end) self->hungry = true;
        } else if (best < 0 || s_is_before(queue->timestamp_ms, i, best_ms, best)) {
            if (best >= 0) second = best, second_ms = best_ms;
            best = i, best_ms = queue->timestamp_ms;
        } else if (s_is_before(queue->timestamp_ms, i, second_ms, second))
            second = i, second_ms = queue->timestamp_ms;
    }
    self->best = best;
    self->second = second;
    self->second_ms = second_ms;
}

static bool s_is_over(const weft_reel_t *self)
{
    for (int32_t i = 0; i < self->queue_count; i++)
        if (!self->queues[i].over) return false;
    return true;
}

enum weft_reel_state weft_reel_peek(weft_reel_t *self, struct weft_record_view *out)
{
    if (self->best < 0) s_scan(self);
    if (self->hungry && self->stale) { // maybe it is at its end
        s_look(self);
        s_scan(self);
    }
    if (self->hungry) return WEFT_REEL_WAIT;
    if (self->best < 0) return s_is_over(self) ? WEFT_REEL_OVER : WEFT_REEL_AT_END;
    *out = (struct weft_record_view){.topic = self->settings.topic, .partition = self->best};
    (void) s_queue_first(&self->queues[self->best], out);
    return WEFT_REEL_RECORD;
}

void weft_reel_pop(weft_reel_t *self)
{
    struct s_queue *queue = &self->queues[self->best];
    s_queue_pop(queue);
    if (!s_queue_bytes(queue)) {
        queue->at_end = false; // as far as is known now
        self->stale = true;
    }
    if (!s_queue_bytes(queue) || !s_is_before(queue->timestamp_ms, self->best, self->second_ms, self->second))
        self->best = -1;
}

// ---- life

weft_err_t weft_reel_new(const struct weft_reel_settings *settings, weft_reel_t **out, struct weft_error *error)
{
    weft_reel_t *self = weft_calloc(1, sizeof *self);
    self->settings = *settings;
    self->best = -1;
    weft_err_t err = weft_consumer_new(settings->consumer, &self->consumer, error);
    self->settings.consumer = NULL; // lived for the call
    if (err)
        free(self);
    else
        *out = self;
    return err;
}

void weft_reel_destroy(weft_reel_t **self_p)
{
    weft_reel_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    weft_consumer_destroy(&self->consumer);
    for (int32_t i = 0; i < self->queue_count; i++) weft_buf_fini(&self->queues[i].bytes);
    free(self->queues);
    free(self);
}

weft_err_t weft_reel_seek(weft_reel_t *self, struct weft_position at)
{
    struct weft_assignment all = {self->settings.topic, self->settings.partition, at};
    weft_err_t err = weft_consumer_assign(self->consumer, &all, 1);
    if (err) {
        s_say(self, weft_consumer_error_text(self->consumer));
        return err;
    }
    for (int32_t i = 0; i < self->queue_count; i++) {
        s_queue_clear(&self->queues[i]);
        self->queues[i].over = true;
    }
    self->known = false;
    self->best = -1;
    return WEFT_OK;
}

int weft_reel_fd(const weft_reel_t *self)
{
    return weft_consumer_fd(self->consumer);
}

const char *weft_reel_trouble(const weft_reel_t *self)
{
    return self->trouble;
}

const struct weft_reel_counts *weft_reel_counts(const weft_reel_t *self)
{
    return &self->counts;
}
