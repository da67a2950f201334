// SPDX-License-Identifier: MPL-2.0
// Replays: requests, whose turn it is, and reading the log for them.
//
// A replay runs from the sequence asked for to what was published when it began, so it ends however fast the topic
// grows, and what comes later the requester hears live. As long as the tap waits for its first subscribers nobody hears
// anything, and a replay runs to the end of the log, which its reader looks up first. A few readers (consumers) serve
// all requesters by turns: one that has enough unread, or has had its portion while others wait, gives its reader up and
// goes on later where it stood. So a requester that vanishes or never reads holds some bytes and nobody's turn.
//
// A second request of a requester before the end of its first is one more promise: the replay goes back if it has to,
// and as many end markers follow as were asked for. A REQ socket can take one reply only: it gets the first record, or
// the end marker.
#include "replay_inner.h"

#include "../../lib/base/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

#define READERS_MAX 16
#define PORTION_BYTES (1024 * 1024) // a requester's turn while others wait
#define TURN_RECORDS 2048           // of one reader, then requests are heard
#define ENDS_OWED_MAX 64
#define REQUESTS_A_TURN 256
#define LIVELY_US 50000    // so long it looks every millisecond whether requesters took something
#define UNKNOWN_US 1000000 // a name that no stream has after this time is none of ours

struct reader {
    weft_consumer_t *consumer;          // NULL: not needed so far
    struct weft_tap_requester *serving; // NULL: free
    struct weft_tap_stream *stream;     // where the consumer stands, so that who comes again needs no seek
    int64_t at;
    size_t portion_bytes; // of this turn
    bool looks;           // where the log ends, and does not read
    bool full;            // its requester has enough unread, but nobody else waits: it keeps what it has read
};

struct weft_tap_replay {
    struct weft_tap_settings settings;
    struct weft_tap_streams *streams;
    void *router;
    struct reader readers[READERS_MAX];
    struct weft_tap_requester *first, *last;
    size_t count;      // of requesters
    size_t queued;     // of them
    int64_t lively_us; // when something was done last
    weft_buf_t scratch;
};

static void s_count(const weft_tap_replay_t *self, enum weft_tap_counter counter, uint64_t more)
{
    if (more > 0) weft_node_counter_add(self->settings.node, counter, more);
}

// ---- requesters

static void s_unlink(weft_tap_replay_t *self, struct weft_tap_requester *one)
{
    *(one->previous ? &one->previous->next : &self->first) = one->next;
    *(one->next ? &one->next->previous : &self->last) = one->previous;
    one->next = one->previous = NULL;
}

static void s_link_last(weft_tap_replay_t *self, struct weft_tap_requester *one)
{
    one->previous = self->last;
    *(self->last ? &self->last->next : &self->first) = one;
    self->last = one;
}

static void s_set_state(weft_tap_replay_t *self, struct weft_tap_requester *one, enum requester_state state)
{
    if (one->state == REQUESTER_QUEUED) self->queued--;
    if (state == REQUESTER_QUEUED) self->queued++;
    one->state = state;
}

static void s_release_reader(weft_tap_replay_t *self, const struct weft_tap_requester *one)
{
    for (size_t i = 0; i < READERS_MAX; i++)
        if (self->readers[i].serving == one) self->readers[i].serving = NULL;
}

static void s_forget(weft_tap_replay_t *self, struct weft_tap_requester *one)
{
    s_release_reader(self, one);
    s_set_state(self, one, REQUESTER_OWING); // leaves the count of those that wait
    s_unlink(self, one);
    self->count--;
    weft_unread_drop(one->unread);
    free(one);
}

static struct weft_tap_requester *s_find(const weft_tap_replay_t *self, weft_slice_t id, weft_slice_t name)
{
    for (struct weft_tap_requester *at = self->first; at; at = at->next)
        if (at->id_bytes == id.size && memcmp(at->id, id.data, id.size) == 0 && at->name_bytes == name.size &&
            memcmp(at->name, name.data, name.size) == 0)
            return at;
    return NULL;
}

static struct weft_tap_requester *s_add(weft_tap_replay_t *self, weft_slice_t id, weft_slice_t name)
{
    struct weft_tap_requester *one = weft_calloc(1, sizeof *one);
    memcpy(one->id, id.data, id.size);
    one->id_bytes = id.size;
    if (name.size > 0) memcpy(one->name, name.data, name.size);
    one->name_bytes = name.size;
    one->unread = weft_unread_new();
    one->state = REQUESTER_OWING;
    s_link_last(self, one);
    self->count++;
    return one;
}

// Ends a replay: the markers owed leave. What the requester has not read yet keeps it on the list.
static void s_finish(weft_tap_replay_t *self, struct weft_tap_requester *one, bool marked)
{
    s_release_reader(self, one);
    enum send_result result = SEND_DONE;
    for (; marked && result == SEND_DONE && one->ends_owed > 0; one->ends_owed--)
        result = weft_tap_reply_send(self->router, one, WEFT_TAP_SEQUENCE_END, WEFT_SLICE_NIL);
    one->ends_owed = 0;
    s_count(self, result == SEND_DONE ? WEFT_TAP_REPLAYS_ENDED_COUNT : WEFT_TAP_REPLAYS_GONE_COUNT, 1);
    if (result == SEND_GONE || weft_unread_bytes(one->unread) == 0) {
        s_forget(self, one);
        return;
    }
    s_set_state(self, one, REQUESTER_OWING);
}

// ---- requests

struct request {
    weft_slice_t id, topic;
    bool delimited, single, names_topic;
    uint64_t start;
};

static void s_accept(weft_tap_replay_t *self, const struct request *request)
{
    weft_slice_t name = request->topic;
    if (!request->names_topic) name = weft_text(self->streams->base);
    char plain[WEFT_TAP_NAME_BYTES_MAX];
    if (!request->names_topic && self->settings.partition > 0) { // the one stream there is
        snprintf(plain, sizeof plain, "%.200s/%d", self->streams->base, self->settings.partition);
        name = weft_text(plain);
    }
    struct weft_tap_requester *one = s_find(self, request->id, name);
    if (!one && self->count >= self->settings.replay_requesters) {
        s_count(self, WEFT_TAP_REPLAYS_REFUSED_COUNT, 1);
        return;
    }
    if (!one) one = s_add(self, request->id, name);
    s_count(self, WEFT_TAP_REPLAYS_COUNT, 1);
    int64_t start = request->start > INT64_MAX ? INT64_MAX : (int64_t) request->start;
    bool anew = one->state == REQUESTER_OWING || request->single;
    if (anew || start < one->at) {
        one->at = start;
        one->moved = true;
    }
    one->ends_owed = request->single ? 1 : one->ends_owed + (one->ends_owed < ENDS_OWED_MAX);
    one->end = REPLAY_END_UNKNOWN; // up to what is published when its turn comes
    one->delimited = request->delimited;
    one->single = request->single;
    one->with_topic = request->names_topic || self->settings.replay_topic;
    if (one->state != REQUESTER_OWING) return; // it goes on
    one->progress_us = weft_mono_us();
    one->seen_bytes = weft_unread_bytes(one->unread);
    s_set_state(self, one, REQUESTER_QUEUED);
}

// What frames stand for; false: nothing of ours.
static bool s_read_request(const weft_slice_t *frames, size_t count, struct request *out)
{
    // [id][sequence], [id][][sequence], [id][topic][sequence], [id][][topic][sequence]
    if (count < 2 || count > 4 || frames[0].size > REQUESTER_ID_BYTES_MAX) return false;
    weft_slice_t sequence = frames[count - 1];
    if (sequence.size != 8) return false;
    out->id = frames[0];
    out->delimited = count > 2 && frames[1].size == 0;
    if (count == 4 && !out->delimited) return false;
    out->names_topic = count == 4 || (count == 3 && !out->delimited);
    if (out->names_topic) out->topic = frames[count - 2];
    if (out->names_topic && out->topic.size >= WEFT_TAP_NAME_BYTES_MAX) return false;
    out->start = 0;
    for (size_t i = 0; i < 8; i++) out->start = out->start << 8 | sequence.data[i];
    return true;
}

// One message; false: none is there.
static bool s_hear_one(weft_tap_replay_t *self)
{
    zmq_msg_t parts[4];
    weft_slice_t frames[4];
    size_t count = 0, extra = 0;
    bool more = true, is_req = false;
    while (more) {
        zmq_msg_t spare, *part = count < 4 ? &parts[count] : &spare;
        zmq_msg_init(part);
        if (zmq_msg_recv(part, self->router, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(part);
            break; // between messages; within one the rest is there
        }
        more = zmq_msg_more(part) != 0;
        if (part == &spare) {
            zmq_msg_close(part);
            extra++;
            continue;
        }
        const char *kind = zmq_msg_gets(part, "Socket-Type");
        if (kind && strcmp(kind, "REQ") == 0) is_req = true;
        frames[count++] = weft_slice(zmq_msg_data(part), zmq_msg_size(part));
    }
    if (count == 0) return false;
    struct request request = {.single = is_req};
    if (extra == 0 && s_read_request(frames, count, &request))
        s_accept(self, &request);
    else
        s_count(self, WEFT_TAP_REPLAYS_MALFORMED_COUNT, 1);
    for (size_t i = 0; i < count; i++) zmq_msg_close(&parts[i]);
    return true;
}

// ---- reading

static weft_err_t s_open(weft_tap_replay_t *self, struct reader *reader, struct weft_error *error)
{
    static const char *const extra[] = {"reset=earliest", "fetch.bytes=512KiB", "buffer.bytes=2MiB", NULL};
    return weft_tap_consumer_new(&self->settings, extra, &reader->consumer, error);
}

// Where the replay ends is known once the stream is. False: not yet; or it named no stream of ours and is over.
static bool s_resolve(weft_tap_replay_t *self, struct weft_tap_requester *one)
{
    if (one->end != REPLAY_END_UNKNOWN) return true;
    if (!one->stream) one->stream = weft_tap_streams_named(self->streams, weft_slice(one->name, one->name_bytes));
    if (!one->stream) return false;
    int64_t next = atomic_load_explicit(&one->stream->next, memory_order_acquire);
    if (next < 0) return false;
    one->end = atomic_load(&self->streams->waiting) ? REPLAY_END_OF_LOG : next;
    return true;
}

// Gives the reader a requester. False: it could not be done.
static bool s_serve(weft_tap_replay_t *self, struct reader *reader, struct weft_tap_requester *one)
{
    struct weft_error error;
    if (!reader->consumer && s_open(self, reader, &error) != WEFT_OK) {
        weft_node_trace(self->settings.node, WEFT_TRACE_ERROR, "no reader for replays: %s", error.text);
        return false;
    }
    bool looks = one->end == REPLAY_END_OF_LOG;
    if (looks || reader->stream != one->stream || reader->at != one->at) {
        struct weft_assignment from = {
            .topic = self->settings.topic, .partition = one->stream->partition, .at = {WEFT_FROM_OFFSET, one->at}};
        if (looks) from.at = (struct weft_position){WEFT_FROM_LATEST, 0};
        for (struct weft_consumer_event old; weft_consumer_event(reader->consumer, &old);) {
        } // of whom it served before
        if (weft_consumer_assign(reader->consumer, &from, 1) != WEFT_OK) return false;
    }
    reader->looks = looks;
    reader->stream = looks ? NULL : one->stream;
    reader->at = one->at;
    reader->serving = one;
    reader->portion_bytes = 0;
    reader->full = false;
    one->progress_us = weft_mono_us();
    one->moved = false;
    s_set_state(self, one, REQUESTER_SERVED);
    return true;
}

static void s_give_turns(weft_tap_replay_t *self)
{
    struct weft_tap_requester *one = self->first, *next;
    for (size_t i = 0; i < self->settings.replay_readers && self->queued > 0; i++) {
        struct reader *reader = &self->readers[i];
        for (; one && !reader->serving; one = next) {
            next = one->next;
            if (one->state != REQUESTER_QUEUED || !s_resolve(self, one)) continue;
            if (one->at >= one->end && one->end >= 0)
                s_finish(self, one, true);
            else if (!s_serve(self, reader, one))
                return;
        }
    }
}

static void s_leave_reader(weft_tap_replay_t *self, struct reader *reader, enum requester_state state)
{
    struct weft_tap_requester *one = reader->serving;
    reader->serving = NULL;
    s_set_state(self, one, state);
    s_unlink(self, one);
    s_link_last(self, one); // behind those that wait
}

static void s_found_end(weft_tap_replay_t *self, struct reader *reader, int64_t end)
{
    reader->looks = false;
    if (end >= 0) reader->serving->end = end;
}

// What the reader's consumer says beside records. False: this replay can't go on.
static bool s_reader_events(weft_tap_replay_t *self, struct reader *reader)
{
    bool fine = true;
    for (struct weft_consumer_event event; weft_consumer_event(reader->consumer, &event);) {
        if (event.type == WEFT_EVENT_ASSIGNED) {
            if (reader->looks) s_found_end(self, reader, event.offset);
            continue;
        }
        weft_node_trace(self->settings.node, WEFT_TRACE_WARN, "replay: %s", event.text);
        if (event.type == WEFT_EVENT_BAD_BATCH && event.offset >= 0)
            fine = weft_consumer_seek(reader->consumer, event.topic, event.partition,
                                      (struct weft_position){WEFT_FROM_OFFSET, event.offset}) == WEFT_OK;
        else if (event.type != WEFT_EVENT_RESET && event.type != WEFT_EVENT_DIVERGED)
            fine = false;
        if (event.type == WEFT_EVENT_RESET) s_count(self, WEFT_TAP_REPLAYS_CUT_COUNT, 1);
    }
    return fine;
}

// Sends one record. False: the reader is done with its requester.
static bool s_reply(weft_tap_replay_t *self, struct reader *reader, const struct weft_record_view *record)
{
    struct weft_tap_requester *one = reader->serving;
    weft_slice_t payload = record->value;
    if (self->settings.whole_records) {
        weft_tap_encode_record(&self->scratch, record);
        payload = weft_buf_slice(&self->scratch);
    }
    if (weft_tap_reply_send(self->router, one, (uint64_t) record->offset, payload) == SEND_GONE) {
        s_count(self, WEFT_TAP_REPLAYS_GONE_COUNT, 1);
        s_forget(self, one);
        return false;
    }
    s_count(self, WEFT_TAP_REPLAYED_COUNT, 1);
    s_count(self, WEFT_TAP_REPLAYED_BYTES, payload.size);
    one->at = reader->at = record->offset + 1;
    reader->portion_bytes += payload.size;
    if (one->single || one->at >= one->end) {
        if (one->single) one->ends_owed = 0;
        s_finish(self, one, true);
        return false;
    }
    if (weft_unread_bytes(one->unread) > self->settings.replay_bytes) {
        reader->full = true;
        return false;
    }
    if (reader->portion_bytes > PORTION_BYTES && self->queued > 0) {
        s_leave_reader(self, reader, REQUESTER_QUEUED);
        return false;
    }
    return true;
}

// One turn of a reader that serves. True: it did something.
static bool s_read(weft_tap_replay_t *self, struct reader *reader)
{
    struct weft_tap_requester *one = reader->serving;
    if (one->moved || one->end == REPLAY_END_UNKNOWN) { // asked again meanwhile
        s_leave_reader(self, reader, REQUESTER_QUEUED);
        return true;
    }
    if (reader->full && weft_unread_bytes(one->unread) > self->settings.replay_bytes / 2) {
        if (self->queued > 0 || weft_mono_us() - one->progress_us > self->settings.replay_stall_us)
            s_leave_reader(self, reader, REQUESTER_BLOCKED);
        return false;
    }
    reader->full = false;
    weft_records_t *records;
    weft_err_t err = weft_consumer_poll(reader->consumer, 0, &records);
    bool any = false;
    struct weft_record_view record;
    for (int i = 0; !err && !reader->looks && i < TURN_RECORDS && weft_records_next(records, &record); i++) {
        if (record.offset < one->at) continue;
        any = true;
        if (record.offset >= one->end) { // what was asked for ended in a gap
            reader->stream = NULL;
            s_finish(self, one, true);
            return true;
        }
        if (!s_reply(self, reader, &record)) return true;
    }
    bool looked = reader->looks;
    bool fine = s_reader_events(self, reader) && (!err || err == WEFT_ERR_INTERRUPTED);
    if (fine && looked && !reader->looks) { // now it is read
        s_leave_reader(self, reader, REQUESTER_QUEUED);
        return true;
    }
    struct weft_partition_position at;
    if (fine && !any && !looked && weft_consumer_position(reader->consumer, 0, &at) && at.position >= one->end) {
        reader->stream = NULL;
        s_finish(self, one, true);
        return true;
    }
    if (any) one->progress_us = weft_mono_us();
    bool stuck = weft_mono_us() - one->progress_us > self->settings.replay_stall_us;
    if (fine && !stuck) return any;
    s_count(self, WEFT_TAP_REPLAYS_CUT_COUNT, 1); // the requester asks again if it still has a gap
    reader->stream = NULL;
    s_finish(self, one, true);
    return true;
}

// ---- those that have enough unread, and those whose stream is not known

// True: somebody's turn may have come.
static bool s_look_after(weft_tap_replay_t *self)
{
    int64_t now = weft_mono_us();
    bool any = false;
    for (struct weft_tap_requester *one = self->first, *next; one; one = next) {
        next = one->next;
        size_t unread = weft_unread_bytes(one->unread);
        if (unread < one->seen_bytes) one->progress_us = now;
        one->seen_bytes = unread;
        if (one->state == REQUESTER_OWING && unread == 0) {
            s_forget(self, one);
        } else if (one->state == REQUESTER_BLOCKED && unread <= self->settings.replay_bytes / 2) {
            s_set_state(self, one, REQUESTER_QUEUED);
            any = true;
        } else if (one->state == REQUESTER_BLOCKED && now - one->progress_us > self->settings.replay_stall_us) {
            s_count(self, WEFT_TAP_REPLAYS_STALLED_COUNT, 1);
            s_finish(self, one, false); // it owes: asking again goes on from there
        } else if (one->state == REQUESTER_QUEUED && !one->stream && now - one->progress_us > UNKNOWN_US &&
                   weft_tap_streams_any(self->streams)) {
            s_count(self, WEFT_TAP_REPLAYS_MALFORMED_COUNT, 1); // no such stream
            s_forget(self, one);
        }
    }
    return any;
}

// ---- life

weft_err_t weft_tap_replay_new(const struct weft_tap_settings *settings, struct weft_tap_streams *streams, void *router,
                               weft_tap_replay_t **out, struct weft_error *error)
{
    weft_tap_replay_t *self = weft_calloc(1, sizeof *self);
    self->settings = *settings;
    self->streams = streams;
    self->router = router;
    weft_buf_init(&self->scratch);
    weft_err_t err = s_open(self, &self->readers[0], error);
    if (err) {
        weft_tap_replay_destroy(&self);
        return err;
    }
    *out = self;
    return WEFT_OK;
}

void weft_tap_replay_destroy(weft_tap_replay_t **self_p)
{
    weft_tap_replay_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    while (self->first) s_forget(self, self->first);
    for (size_t i = 0; i < READERS_MAX; i++) weft_consumer_destroy(&self->readers[i].consumer);
    weft_buf_fini(&self->scratch);
    free(self);
}

static void s_wait(weft_tap_replay_t *self, bool busy)
{
    if (busy) return;
    zmq_pollitem_t items[2 + READERS_MAX] = {{NULL, weft_node_stop_fd(self->settings.node), ZMQ_POLLIN, 0},
                                             {self->router, 0, ZMQ_POLLIN, 0}};
    int count = 2;
    for (size_t i = 0; i < READERS_MAX; i++)
        if (self->readers[i].serving && !self->readers[i].full)
            items[count++] = (zmq_pollitem_t){NULL, weft_consumer_fd(self->readers[i].consumer), ZMQ_POLLIN, 0};
    // What a requester takes is not told by a descriptor, nor are the timers of a consumer.
    bool lively = weft_mono_us() - self->lively_us < LIVELY_US;
    zmq_poll(items, count, self->count == 0 ? 500 : lively ? 1 : 10);
}

void weft_tap_replay_run(weft_tap_replay_t *self)
{
    bool busy = false;
    while (!weft_node_stopping(self->settings.node)) {
        s_wait(self, busy);
        busy = false;
        for (int i = 0; i < REQUESTS_A_TURN && s_hear_one(self); i++) {}
        busy = s_look_after(self);
        s_give_turns(self);
        for (size_t i = 0; i < READERS_MAX; i++)
            if (self->readers[i].serving && s_read(self, &self->readers[i])) busy = true;
        if (busy) self->lively_us = weft_mono_us();
        weft_node_counter_set(self->settings.node, WEFT_TAP_REPLAYS_ACTIVE_COUNT, self->count);
    }
}
