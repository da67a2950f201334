// SPDX-License-Identifier: MPL-2.0
/*
 * Every record once, whatever happens: runs of one bridge against one partition, played from a seed. The target is the
 * broker's own session table over a list of batches. Runs are killed at any step, and what they had sent arrives later, or never;
 * others begin meanwhile from any note that was ever written; the source is compacted and trimmed under their hands, each of
 * them holding fetched batches of its own; strangers write in between; sessions expire; the target loses its end.
 */
#include "tests/support/test.h"

#include "lib/base/rand.h"
#include "lib/core/session.h"
#include "nodes/bridge/map.h"
#include "nodes/bridge/resume.h"
#include "nodes/bridge/rewrite.h"

#include <stdio.h>
#include <string.h>

#define PRODUCER 77
#define RUNS 3
#define FETCHED_MAX 6
#define MESSAGES_MAX 12

struct entry { // of a log
    weft_buf_t bytes;
};

struct message { // on its way to the target, and its fate when it is there
    weft_buf_t bytes;
    struct weft_bridge_batch batch;
    int32_t after;
    bool arrived, lost, duplicate;
    weft_err_t error;
    int64_t base_offset;
};

enum state { DEAD, LOOKING, COPYING, DRAINING };

struct bridge {
    enum state state;
    struct weft_bridge_resume resume;
    weft_bridge_map_t map;
    size_t look; // index in the target's log
    int64_t look_at;
    size_t look_end;
    int64_t fetch_next;
    weft_buf_t fetched[FETCHED_MAX];
    size_t fetched_count;
    struct message messages[MESSAGES_MAX];
    size_t message_count;
    bool failed; // this round
};

struct world {
    weft_rand_t rand;
    struct entry *source, *target;
    size_t source_count, target_count;
    int64_t source_end, target_end;
    weft_sessions_t *sessions;
    struct bridge runs[RUNS];
    struct message zombies[64]; // of runs that are dead
    size_t zombie_count;
    struct weft_bridge_place notes[256];
    int64_t notes_read[256];
    size_t note_count;
    weft_bridge_rewrite_t rewrite;
    weft_buf_t scratch;
    bool may_truncate;
    uint64_t written;
};

static uint64_t s_below(struct world *self, uint64_t bound)
{
    return weft_rand_below(&self->rand, bound);
}

static bool s_chance(struct world *self, unsigned of_hundred)
{
    return s_below(self, 100) < of_hundred;
}

// ---- logs

static void s_append(struct entry **log, size_t *count, weft_buf_t *bytes)
{
    *log = weft_realloc(*log, (*count + 1) * sizeof **log);
    (*log)[(*count)++].bytes = *bytes;
    weft_buf_init(bytes);
}

static struct weft_batch s_header(const weft_buf_t *bytes)
{
    struct weft_batch batch;
    assert_ok(weft_batch_read(weft_buf_slice(bytes), &batch));
    return batch;
}

static int64_t s_next(const struct entry *entry)
{
    struct weft_batch batch = s_header(&entry->bytes);
    return weft_batch_next_offset(&batch);
}

static void s_stamp(weft_buf_t *bytes, int64_t base_offset)
{
    struct weft_batch batch = s_header(bytes);
    batch.base_offset = base_offset;
    weft_batch_write_header(bytes->data, &batch);
    weft_batch_seal(bytes->data, bytes->size);
}

static void s_records(weft_buf_t *out, int64_t first, uint32_t count, const char *prefix)
{
    weft_batch_builder_t builder;
    weft_batch_builder_init(&builder);
    for (uint32_t i = 0; i < count; i++) {
        char value[32];
        int size = snprintf(value, sizeof value, "%s%lld", prefix, (long long) first + i);
        weft_batch_builder_add(&builder, 1000 + i, weft_text("key"), weft_bytes(value, (size_t) size), WEFT_SLICE_NIL);
    }
    weft_buf_init(out);
    assert_ok(weft_batch_builder_finish(&builder, WEFT_CODEC_NONE, -1, -1, -1, out));
    weft_batch_builder_fini(&builder);
}

static void s_produce(struct world *self)
{
    weft_buf_t bytes;
    uint32_t count = 1 + (uint32_t) s_below(self, 5);
    s_records(&bytes, self->source_end, count, "");
    s_stamp(&bytes, self->source_end);
    self->source_end += count;
    s_append(&self->source, &self->source_count, &bytes);
}

static void s_stranger(struct world *self)
{
    weft_buf_t bytes;
    uint32_t count = 1 + (uint32_t) s_below(self, 3);
    s_records(&bytes, self->target_end, count, "stranger ");
    s_stamp(&bytes, self->target_end);
    self->target_end += count;
    s_append(&self->target, &self->target_count, &bytes);
}

// As compaction leaves a batch: integers for what is gone, or nothing but a header.
static void s_compact(struct world *self, bool *gone)
{
    if (self->source_count < 2) return;
    struct entry *entry = &self->source[s_below(self, self->source_count - 1)];
    struct weft_batch batch = s_header(&entry->bytes);
    weft_record_iter_t iter;
    struct weft_record record;
    weft_buf_t out;
    uint8_t room[WEFT_BATCH_HEADER_BYTES] = {0};
    int64_t next = 0;
    if (batch.count == 0) return;
    weft_buf_init(&out);
    weft_buf_append(&out, room, sizeof room);
    weft_record_iter_init(
        &iter, weft_slice(entry->bytes.data + WEFT_BATCH_HEADER_BYTES, entry->bytes.size - WEFT_BATCH_HEADER_BYTES));
    uint32_t count = 0;
    const uint8_t *at = iter.at;
    while (weft_record_iter_next(&iter, &record, NULL)) {
        while (*at < 0x80) at++; // gaps
        if (s_chance(self, 50)) {
            gone[batch.base_offset + record.offset_delta] = true;
        } else {
            uint8_t gap = (uint8_t) (record.offset_delta - next);
            if (gap > 0) weft_buf_append(&out, &gap, 1);
            weft_buf_append(&out, at, (size_t) (iter.at - at));
            next = record.offset_delta + 1;
            count++;
        }
        at = iter.at;
    }
    batch.count = count;
    batch.payload_bytes = batch.raw_bytes = (uint32_t) (out.size - WEFT_BATCH_HEADER_BYTES);
    if (count == 0) {
        out.size = WEFT_BATCH_HEADER_BYTES;
        batch.payload_bytes = batch.raw_bytes = 0;
    }
    weft_batch_write_header(out.data, &batch);
    weft_batch_seal(out.data, out.size);
    weft_buf_fini(&entry->bytes);
    entry->bytes = out;
}

static void s_look(struct world *self, struct bridge *run)
{
    run->look_at = weft_bridge_resume_look(&run->resume);
    run->state = LOOKING;
    run->failed = false;
    run->look_end = self->target_count;
    run->look = 0; // whole batches: the first may begin below
    while (run->look < self->target_count && s_next(&self->target[run->look]) <= run->look_at) run->look++;
}

// ---- the target

static void s_replay(struct world *self)
{
    weft_sessions_clear(self->sessions);
    for (size_t i = 0; i < self->target_count; i++) {
        struct weft_batch batch = s_header(&self->target[i].bytes);
        weft_sessions_apply(self->sessions, &batch);
    }
}

static void s_truncate(struct world *self)
{
    for (size_t lost = s_below(self, 4); lost > 0 && self->target_count > 0; lost--) {
        weft_buf_t *bytes = &self->target[--self->target_count].bytes;
        self->target_end = s_header(bytes).base_offset;
        weft_buf_fini(bytes);
    }
    s_replay(self);
    while (self->zombie_count > 0) weft_buf_fini(&self->zombies[--self->zombie_count].bytes);
    for (size_t i = 0; i < RUNS; i++) // the client says so: DIVERGED
        if (self->runs[i].state == LOOKING) s_look(self, &self->runs[i]);
}

static void s_arrive(struct world *self, struct message *message)
{
    struct weft_batch batch = s_header(&message->bytes);
    int64_t base = -1, end = -1;
    message->arrived = true;
    enum weft_session_verdict verdict = weft_sessions_judge(self->sessions, &batch, &base, &end);
    bool refused = verdict == WEFT_SESSION_NEXT && batch.base_sequence == 0 && message->after >= 0 &&
                   !weft_sessions_ended_at(self->sessions, &batch, message->after); // as weft_replica_produce
    switch (refused ? WEFT_SESSION_GAP : verdict) {
    case WEFT_SESSION_NEXT: {
        weft_buf_t bytes = message->bytes;
        weft_buf_init(&message->bytes);
        message->base_offset = self->target_end;
        s_stamp(&bytes, self->target_end);
        batch = s_header(&bytes);
        weft_sessions_apply(self->sessions, &batch);
        self->target_end += batch.count;
        s_append(&self->target, &self->target_count, &bytes);
        self->written++;
        break;
    }
    case WEFT_SESSION_DUPLICATE:
        message->duplicate = true;
        message->base_offset = base;
        break;
    case WEFT_SESSION_OLD:
        message->duplicate = true;
        message->base_offset = -1;
        break;
    case WEFT_SESSION_GAP: message->error = WEFT_ERR_OUT_OF_ORDER_SEQUENCE; break;
    case WEFT_SESSION_FENCED: message->error = WEFT_ERR_PRODUCER_FENCED; break;
    case WEFT_SESSION_UNKNOWN: message->error = WEFT_ERR_UNKNOWN_PRODUCER; break;
    }
    message->lost = s_chance(self, 15);
}

// ---- a run

static void s_begin(struct world *self, struct bridge *run)
{
    weft_bridge_resume_init(&run->resume);
    weft_bridge_map_clear(&run->map);
    if (self->note_count > 0) {
        bool newest = self->may_truncate || s_chance(self, 60); // a note of another history may lie
        size_t note = newest ? self->note_count - 1 : s_below(self, self->note_count);
        run->resume.place = self->notes[note];
        run->resume.read_next = self->notes_read[note];
    }
    s_look(self, run);
}

static void s_copy(struct bridge *run)
{
    run->state = COPYING;
    run->fetch_next = run->resume.read_next < 0 ? 0 : run->resume.read_next;
    for (size_t i = 0; i < run->fetched_count; i++) weft_buf_fini(&run->fetched[i]);
    run->fetched_count = 0;
}

static void s_look_step(struct world *self, struct bridge *run)
{
    if (run->look_end > self->target_count) { // it lost its end meanwhile
        run->look_end = self->target_count;
        run->look_at = self->target_end;
        if (run->look > run->look_end) run->look = run->look_end;
    }
    if (run->look < run->look_end) {
        weft_buf_t *bytes = &self->target[run->look++].bytes;
        struct weft_batch batch = s_header(bytes);
        struct weft_bridge_span span;
        if (weft_batch_next_offset(&batch) > run->look_at) run->look_at = weft_batch_next_offset(&batch);
        if (weft_bridge_resume_meet(&run->resume, PRODUCER, &batch, weft_buf_slice(bytes), &self->scratch, &span))
            weft_bridge_map_add(&run->map, &span);
        return;
    }
    switch (weft_bridge_resume_decide(&run->resume, run->look_at)) {
    case WEFT_BRIDGE_GO: s_copy(run); break;
    case WEFT_BRIDGE_LOOK_ALL: s_look(self, run); break;
    case WEFT_BRIDGE_USED_UP: fail(); break;
    }
}

static void s_fetch(struct world *self, struct bridge *run)
{
    if (run->fetched_count == FETCHED_MAX) return;
    for (size_t i = 0; i < self->source_count; i++) {
        struct weft_batch batch = s_header(&self->source[i].bytes);
        if (weft_batch_next_offset(&batch) <= run->fetch_next) continue;
        weft_buf_t *copy = &run->fetched[run->fetched_count++];
        weft_buf_init(copy);
        weft_buf_append(copy, self->source[i].bytes.data, self->source[i].bytes.size);
        run->fetch_next = weft_batch_next_offset(&batch);
        return;
    }
}

static void s_send(struct bridge *run, weft_slice_t bytes, int64_t source, int64_t source_next, uint32_t count)
{
    struct message *message = &run->messages[run->message_count++];
    assert_true(run->message_count <= MESSAGES_MAX);
    int32_t after = weft_bridge_resume_after(&run->resume);
    *message =
        (struct message){.after = after, .batch = weft_bridge_resume_sent(&run->resume, source, source_next, count)};
    weft_buf_init(&message->bytes);
    weft_buf_append(&message->bytes, bytes.data, bytes.size);
    struct weft_batch header = s_header(&message->bytes);
    header.producer_id = PRODUCER;
    header.producer_epoch = message->batch.epoch;
    header.base_sequence = message->batch.sequence;
    weft_batch_write_header(message->bytes.data, &header);
    weft_batch_seal(message->bytes.data, message->bytes.size);
}

static void s_copy_step(struct world *self, struct bridge *run)
{
    if (run->fetched_count == 0 || run->message_count + 5 > MESSAGES_MAX) return;
    bool alone = !run->resume.owned;
    if (alone && run->message_count > 0) return;
    weft_buf_t bytes = run->fetched[0];
    run->fetched_count--;
    memmove(run->fetched, run->fetched + 1, run->fetched_count * sizeof *run->fetched);
    struct weft_batch batch = s_header(&bytes);
    int64_t position = run->resume.read_next < 0 ? 0 : batch.base_offset;
    if (run->resume.sent_next > position) position = run->resume.sent_next;
    size_t most = s_chance(self, 5) ? 1 : SIZE_MAX;
    struct weft_bridge_piece piece;
    if (batch.count > 0 && weft_bridge_is_plain(&batch, position, run->resume.sent_next, most)) {
        s_send(run, weft_buf_slice(&bytes), batch.base_offset, weft_batch_next_offset(&batch), batch.count);
    } else {
        assert_ok(weft_bridge_rewrite_begin(&self->rewrite, weft_buf_slice(&bytes), &batch, position));
        while (weft_bridge_rewrite_next(&self->rewrite, PRODUCER, run->resume.sent_next, most, &piece)) {
            s_send(run, piece.bytes, piece.source, piece.source_next, piece.count);
            if (!alone || piece.source_next == weft_batch_next_offset(&batch)) continue;
            while (run->fetched_count > 0) weft_buf_fini(&run->fetched[--run->fetched_count]);
            run->fetch_next = piece.source_next; // the rest comes again
            break;
        }
    }
    weft_buf_fini(&bytes);
}

// The first answer, in order.
static void s_hear(struct bridge *run)
{
    struct message *message = &run->messages[0];
    if (run->message_count == 0 || !message->arrived) return;
    weft_err_t error = message->lost ? WEFT_ERR_LOCAL_TIMED_OUT : message->error;
    if (error == WEFT_ERR_OUT_OF_ORDER_SEQUENCE && !run->failed) weft_bridge_resume_gap(&run->resume);
    bool counts = error == WEFT_OK && !run->failed &&
                  weft_bridge_resume_written(&run->resume, &message->batch, message->base_offset, message->duplicate);
    if (counts) {
        struct weft_bridge_span span = {message->batch.source, message->batch.source_next, message->base_offset,
                                        message->base_offset + message->batch.count,
                                        message->batch.source_next - message->batch.source ==
                                            (int64_t) message->batch.count};
        weft_bridge_map_add(&run->map, &span);
    } else {
        run->failed = true;
        run->state = DRAINING;
    }
    weft_buf_fini(&message->bytes);
    run->message_count--;
    memmove(run->messages, run->messages + 1, run->message_count * sizeof *run->messages);
}

static void s_kill(struct world *self, struct bridge *run)
{
    for (size_t i = 0; i < run->message_count; i++) {
        struct message *message = &run->messages[i];
        bool goes_on = !message->arrived && self->zombie_count < 64 && s_chance(self, 80);
        if (goes_on)
            self->zombies[self->zombie_count++] = *message;
        else
            weft_buf_fini(&message->bytes);
    }
    run->message_count = 0;
    for (size_t i = 0; i < run->fetched_count; i++) weft_buf_fini(&run->fetched[i]);
    run->fetched_count = 0;
    run->state = DEAD;
}

static void s_note(struct world *self, const struct bridge *run)
{
    if (self->note_count == 256) {
        memmove(self->notes, self->notes + 128, 128 * sizeof *self->notes);
        memmove(self->notes_read, self->notes_read + 128, 128 * sizeof *self->notes_read);
        self->note_count = 128;
    }
    self->notes[self->note_count] = run->resume.place;
    self->notes_read[self->note_count++] = run->resume.place.source_next;
}

static void s_run_step(struct world *self, struct bridge *run)
{
    switch (run->state) {
    case DEAD: s_begin(self, run); return;
    case LOOKING: s_look_step(self, run); return;
    case DRAINING:
        s_hear(run);
        if (run->message_count == 0) s_look(self, run);
        return;
    case COPYING: break;
    }
    switch (s_below(self, 4)) {
    case 0: s_fetch(self, run); break;
    case 1: s_copy_step(self, run); break;
    case 2: s_hear(run); break;
    default:
        if (run->message_count == 0 || s_chance(self, 50)) s_note(self, run);
        break;
    }
}

// One message of some run, or of one that is dead; those of one run in order.
static void s_network(struct world *self)
{
    if (self->zombie_count > 0 && s_chance(self, 20)) {
        s_arrive(self, &self->zombies[0]);
        weft_buf_fini(&self->zombies[0].bytes);
        self->zombie_count--;
        memmove(self->zombies, self->zombies + 1, self->zombie_count * sizeof *self->zombies);
        return;
    }
    struct bridge *run = &self->runs[self->may_truncate ? 0 : s_below(self, RUNS)];
    for (size_t i = 0; i < run->message_count; i++) {
        if (run->messages[i].arrived) continue;
        s_arrive(self, &run->messages[i]);
        return;
    }
}

// Sessions are forgotten when they were idle for days: nothing of them is on its way then.
static void s_expire(struct world *self)
{
    if (self->zombie_count > 0 || self->may_truncate) return; // not both within days
    for (size_t i = 0; i < RUNS; i++)
        if (self->runs[i].message_count > 0) return;
    weft_sessions_clear(self->sessions);
    for (size_t i = 0; i < RUNS; i++) // nobody trusts a look of days ago where it would begin a session
        if (self->runs[i].state != DEAD) s_look(self, &self->runs[i]);
}

// ---- the verdict

// Each offset that the source still has, or had until it was compacted, at most once and in order; none of those it has is
// missing below `end`.
static void s_judge(struct world *self, const bool *gone, int64_t end, uint64_t seed)
{
    int64_t next = 0;
    for (size_t i = 0; i < self->target_count; i++) {
        weft_buf_t *bytes = &self->target[i].bytes;
        struct weft_batch batch = s_header(bytes);
        weft_record_iter_t iter;
        struct weft_record record;
        if (batch.producer_id != PRODUCER) continue;
        weft_record_iter_init(&iter,
                              weft_slice(bytes->data + WEFT_BATCH_HEADER_BYTES, bytes->size - WEFT_BATCH_HEADER_BYTES));
        while (weft_record_iter_next(&iter, &record, NULL)) {
            char text[32] = "";
            memcpy(text, record.value.data, record.value.size);
            int64_t offset = strtoll(text, NULL, 10);
            if (offset < next)
                fail_msg("seed %llu: offset %lld again, or out of order", (unsigned long long) seed,
                         (long long) offset);
            for (; next < offset; next++)
                if (!gone[next])
                    fail_msg("seed %llu: offset %lld is missing", (unsigned long long) seed, (long long) next);
            next = offset + 1;
        }
    }
    for (; next < end; next++)
        if (!gone[next])
            fail_msg("seed %llu: offset %lld is missing at the end", (unsigned long long) seed, (long long) next);
}

// The map of the run that ended tells where each copied record stands.
static void s_judge_map(struct world *self, struct bridge *run)
{
    weft_bridge_map_check(&run->map);
    for (size_t i = 0; i < self->target_count; i++) {
        weft_buf_t *bytes = &self->target[i].bytes;
        struct weft_batch batch = s_header(bytes);
        weft_record_iter_t iter;
        struct weft_record record;
        if (batch.producer_id != PRODUCER) continue;
        weft_record_iter_init(&iter,
                              weft_slice(bytes->data + WEFT_BATCH_HEADER_BYTES, bytes->size - WEFT_BATCH_HEADER_BYTES));
        while (weft_record_iter_next(&iter, &record, NULL)) {
            char text[32] = "";
            struct weft_bridge_mapped mapped;
            memcpy(text, record.value.data, record.value.size);
            int64_t here = batch.base_offset + record.offset_delta;
            if (!weft_bridge_map_target(&run->map, strtoll(text, NULL, 10), &mapped)) continue;
            bool before = run->map.spans[0].source > strtoll(text, NULL, 10);
            if (before) continue;
            if (mapped.exact) assert_int_equal(mapped.offset, here);
            assert_true(mapped.offset <= here);
        }
    }
}

static void s_play(uint64_t seed, bool truncates)
{
    struct world self = {.may_truncate = truncates};
    bool *gone = weft_calloc(100000, sizeof *gone);
    weft_rand_init(&self.rand, seed);
    self.sessions = weft_sessions_new(100, 1000000);
    weft_bridge_rewrite_init(&self.rewrite);
    weft_buf_init(&self.scratch);
    for (size_t i = 0; i < RUNS; i++) weft_bridge_map_init(&self.runs[i].map);
    for (int step = 0; step < 3000; step++) {
        uint64_t what = s_below(&self, 100);
        struct bridge *run = &self.runs[truncates ? 0 : s_below(&self, RUNS)];
        if (what < 12)
            s_produce(&self);
        else if (what < 14)
            s_stranger(&self);
        else if (what < 16)
            s_compact(&self, gone);
        else if (what < 17)
            s_kill(&self, run);
        else if (what == 17 && s_chance(&self, 20))
            s_expire(&self);
        else if (what == 18 && self.may_truncate && s_chance(&self, 20))
            s_truncate(&self);
        else if (what < 60)
            s_network(&self);
        else
            s_run_step(&self, run);
    }
    // All but one are killed, what they sent arrives, and the one comes to the end.
    for (size_t i = 1; i < RUNS; i++) s_kill(&self, &self.runs[i]);
    struct bridge *last = &self.runs[0];
    for (int step = 0; step < 60000; step++) {
        bool done = last->state == COPYING && last->message_count == 0 && last->fetched_count == 0 &&
                    last->fetch_next == self.source_end && self.zombie_count == 0;
        if (done) break;
        s_run_step(&self, last);
        s_network(&self);
    }
    s_judge(&self, gone, self.source_end, seed);
    if (!truncates) s_judge_map(&self, last);
    assert_true(self.written > 50);
    for (size_t i = 0; i < RUNS; i++) {
        s_kill(&self, &self.runs[i]);
        weft_bridge_map_fini(&self.runs[i].map);
    }
    for (size_t i = 0; i < self.zombie_count; i++) weft_buf_fini(&self.zombies[i].bytes);
    for (size_t i = 0; i < self.source_count; i++) weft_buf_fini(&self.source[i].bytes);
    for (size_t i = 0; i < self.target_count; i++) weft_buf_fini(&self.target[i].bytes);
    free(self.source);
    free(self.target);
    weft_sessions_destroy(&self.sessions);
    weft_bridge_rewrite_fini(&self.rewrite);
    weft_buf_fini(&self.scratch);
    free(gone);
}

static void test_bridge_resume__three_runs_at_once_write_each_record_once(void **state)
{
    (void) state;
    for (uint64_t seed = 1; seed <= 100; seed++) s_play(seed, false);
}

static void test_bridge_resume__what_the_target_lost_is_copied_again(void **state)
{
    (void) state;
    for (uint64_t seed = 1000; seed <= 1060; seed++) s_play(seed, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bridge_resume__three_runs_at_once_write_each_record_once),
        cmocka_unit_test(test_bridge_resume__what_the_target_lost_is_copied_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
