// SPDX-License-Identifier: MPL-2.0
/*
 * One partition's way: wait for its topic in the target, look through the target's tail from the last note on, read the
 * source behind what was found there, copy. Whatever goes wrong while it copies ends the same way: what is under way is
 * waited for, then it looks again, from what is surely known on. So there is one path of recovery, and every start takes it.
 */
#include "bridge_inner.h"

#include "../../lib/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_WAIT_MS_MIN 50
#define S_WAIT_MS_MAX 5000
#define S_LOOK_MS_MAX 600000 // sessions live for days
#define S_BATCH_BYTES_MIN ((size_t) 16 << 10)

// ---- finding

static weft_slice_t s_key(char *out, size_t size, const char *topic, int32_t partition)
{
    int length = snprintf(out, size, "%s%c%d", topic, '\n', (int) partition);
    return weft_slice(out, (size_t) length);
}

struct weft_bridge_flow *weft_bridge_flow_find(weft_bridge_t *self, const char *topic, int32_t partition)
{
    struct weft_bridge_flow *latest = self->latest;
    if (latest != NULL && latest->partition == partition && strcmp(latest->topic->name, topic) == 0) return latest;
    char key[320];
    struct weft_bridge_flow *found = weft_map_get(self->by_place, s_key(key, sizeof key, topic, partition));
    if (found != NULL) self->latest = found;
    return found;
}

struct weft_bridge_flow *weft_bridge_flow_new(weft_bridge_t *self, struct weft_bridge_topic *topic, int32_t partition)
{
    char key[320];
    struct weft_bridge_flow *flow = weft_calloc(1, sizeof *flow);
    flow->bridge = self;
    flow->topic = topic;
    flow->partition = partition;
    flow->batch_bytes_max = SIZE_MAX;
    flow->source_end = flow->lost_from = -1;
    flow->planned = -1;
    weft_bridge_epochs_init(&flow->epochs);
    weft_bridge_resume_init(&flow->resume);
    weft_bridge_map_init(&flow->map);
    pthread_mutex_lock(&self->lock);
    self->flows = weft_realloc(self->flows, (self->flow_count + 1) * sizeof(void *));
    self->flows[self->flow_count++] = flow;
    pthread_mutex_unlock(&self->lock);
    weft_map_put(self->by_place, s_key(key, sizeof key, topic->name, partition), flow);
    return flow;
}

void weft_bridge_flow_free(struct weft_bridge_flow **flow_p)
{
    weft_bridge_map_fini(&(*flow_p)->map);
    free(*flow_p);
    *flow_p = NULL;
}

const char *weft_bridge_state_name(const struct weft_bridge_flow *flow)
{
    switch (flow->state) {
    case WEFT_BRIDGE_WAITING: return "waiting";
    case WEFT_BRIDGE_LOOKING:
    case WEFT_BRIDGE_NOTING:
    case WEFT_BRIDGE_ASKING: return "looking";
    case WEFT_BRIDGE_COPYING: return "copying";
    case WEFT_BRIDGE_DRAINING:
    case WEFT_BRIDGE_STANDING: return "standing";
    }
    return "";
}

// ---- reading on and off

static void s_pause(struct weft_bridge_flow *flow, bool pause)
{
    if (flow->paused == pause || flow->gone) return;
    weft_consumer_t *source = flow->bridge->source;
    weft_err_t err = pause ? weft_consumer_pause(source, flow->topic->name, flow->partition)
                           : weft_consumer_resume(source, flow->topic->name, flow->partition);
    if (err == WEFT_OK) flow->paused = pause;
}

void weft_bridge_flow_pace(struct weft_bridge_flow *flow)
{
    size_t most = flow->bridge->partition_bytes;
    if (flow->state != WEFT_BRIDGE_COPYING)
        s_pause(flow, true);
    else if (flow->out_bytes >= most || (!flow->resume.owned && flow->out_count > 0)) // the first one goes alone
        s_pause(flow, true);
    else if (flow->out_bytes <= most / 2)
        s_pause(flow, false);
}

// ---- trouble

void weft_bridge_flow_stop(struct weft_bridge_flow *flow, int64_t wait_ms, const char *reason)
{
    int64_t at_ms = weft_mono_ms() + wait_ms;
    if (at_ms > flow->retry_ms) flow->retry_ms = at_ms;
    if (reason != NULL) snprintf(flow->reason, sizeof flow->reason, "%s", reason);
    if (flow->state == WEFT_BRIDGE_WAITING || flow->state == WEFT_BRIDGE_DRAINING) return;
    flow->state = WEFT_BRIDGE_DRAINING;
    s_pause(flow, true);
}

static int64_t s_backoff(struct weft_bridge_flow *flow)
{
    int64_t wait_ms = S_WAIT_MS_MIN;
    for (uint32_t i = 0; i < flow->tries && wait_ms < S_WAIT_MS_MAX; i++) wait_ms *= 2;
    flow->tries++;
    weft_node_counter_add(flow->bridge->node, WEFT_BRIDGE_RETRIES, 1);
    return wait_ms < S_WAIT_MS_MAX ? wait_ms : S_WAIT_MS_MAX;
}

void weft_bridge_flow_begin_anew(struct weft_bridge_flow *flow)
{
    weft_bridge_flow_stop(flow, 0, NULL);
    flow->known = flow->noted = false;
    pthread_mutex_lock(&flow->bridge->lock);
    flow->topic->state = WEFT_BRIDGE_TOPIC_WANTED; // its ids are to be learnt again
    flow->topic->retry_ms = 0;
    pthread_cond_signal(&flow->bridge->changed);
    pthread_mutex_unlock(&flow->bridge->lock);
}

// ---- beginning and looking

// False: not yet.
static bool s_topic_ready(struct weft_bridge_flow *flow)
{
    weft_bridge_t *self = flow->bridge;
    pthread_mutex_lock(&self->lock);
    bool ready = flow->topic->state == WEFT_BRIDGE_TOPIC_READY && (uint32_t) flow->partition < flow->topic->partitions;
    weft_id_t source_id = flow->topic->source_id, target_id = flow->topic->target_id;
    bool lacks = !ready && flow->topic->state == WEFT_BRIDGE_TOPIC_READY;
    if (lacks)
        snprintf(flow->reason, sizeof flow->reason, "topic '%.100s' of the target has %u partitions only",
                 flow->topic->target_name, (unsigned) flow->topic->partitions);
    else if (!ready)
        snprintf(flow->reason, sizeof flow->reason, "%s", flow->topic->reason);
    pthread_mutex_unlock(&self->lock);
    if (!ready) return false;
    bool same = weft_id_equal(source_id, flow->source_id) && weft_id_equal(target_id, flow->target_id);
    if (same && flow->known) return true; // it looks again, from where it is
    flow->source_id = source_id;
    flow->target_id = target_id;
    flow->producer_id = weft_bridge_producer_id(self->name, self->source_cluster, source_id, flow->partition);
    weft_bridge_resume_init(&flow->resume);
    weft_bridge_epochs_init(&flow->epochs);
    flow->planned = -1;
    flow->lost_from = -1;
    flow->origins = (struct weft_bridge_origins){.ids = {self->source_cluster}, .count = 1};
    flow->noted = false;
    flow->known = true;
    pthread_mutex_lock(&self->lock);
    weft_bridge_map_clear(&flow->map);
    pthread_mutex_unlock(&self->lock);
    (void) !weft_bridge_note_load(flow);
    (void) weft_bridge_add_origins(flow);
    return true;
}

static void s_look(struct weft_bridge_flow *flow)
{
    weft_bridge_t *self = flow->bridge;
    if (flow->target == NULL &&
        weft_producer_topic(self->producer, flow->topic->target_name, &flow->target) != WEFT_OK) {
        snprintf(flow->reason, sizeof flow->reason, "'%s' is no name for a topic", flow->topic->target_name);
        return;
    }
    if (!s_topic_ready(flow)) return;
    flow->state = WEFT_BRIDGE_LOOKING;
    flow->look_at = weft_bridge_resume_look(&flow->resume);
    self->assign_due = true;
    weft_node_counter_add(self->node, WEFT_BRIDGE_LOOKS, 1);
}

static void s_map(struct weft_bridge_flow *flow, const struct weft_bridge_span *span)
{
    pthread_mutex_lock(&flow->bridge->lock);
    weft_bridge_map_add(&flow->map, span);
    pthread_mutex_unlock(&flow->bridge->lock);
}

void weft_bridge_flow_met(struct weft_bridge_flow *flow, const struct weft_batch_view *view)
{
    struct weft_batch batch;
    struct weft_bridge_span span;
    if (!weft_id_equal(view->topic_id, flow->target_id)) { // made anew meanwhile
        weft_bridge_flow_begin_anew(flow);
        return;
    }
    if (weft_batch_read(view->bytes, &batch) != WEFT_OK) return;
    flow->look_at = view->next_offset;
    if (!weft_bridge_resume_meet(&flow->resume, flow->producer_id, &batch, view->bytes, &flow->bridge->scratch, &span))
        return;
    flow->moved = true;
    s_map(flow, &span);
}

// To an offset, if the source still has what was read before it (else it says DIVERGED); -1: where it all begins.
static weft_err_t s_seek(struct weft_bridge_flow *flow, int64_t from)
{
    weft_bridge_t *self = flow->bridge;
    if (from >= 0) {
        int32_t epoch = weft_bridge_epochs_of(&flow->epochs, from - 1);
        return weft_consumer_seek_behind(self->source, flow->topic->name, flow->partition, from, epoch);
    }
    bool latest = weft_options_int(self->options, "from") == 1 && !flow->late;
    struct weft_position at = {.from = latest ? WEFT_FROM_LATEST : WEFT_FROM_EARLIEST};
    return weft_consumer_seek(self->source, flow->topic->name, flow->partition, at);
}

static void s_copy(struct weft_bridge_flow *flow, int64_t from)
{
    if (s_seek(flow, from) != WEFT_OK) {
        weft_bridge_flow_stop(flow, S_WAIT_MS_MAX, "the source has this partition no more");
        flow->state = WEFT_BRIDGE_STANDING;
        return;
    }
    flow->state = WEFT_BRIDGE_COPYING;
    flow->diverged = from >= 0 && from < flow->resume.sent_next; // what the source has lost was copied
    flow->reason[0] = '\0';
    flow->paused = true; // whatever it was: seek keeps it
    s_pause(flow, false);
}

// Where the source has what the place says, and what it has lost.
static void s_round(struct weft_bridge_flow *flow)
{
    if (flow->resume.place.epoch > flow->epochs.round) { // it was not noted what that round has copied
        weft_bridge_epochs_init(&flow->epochs);
        flow->epochs.round = flow->resume.place.epoch;
        flow->planned = -1;
    }
    if (flow->lost_from < 0) return;
    if (flow->resume.read_next < 0 || flow->resume.read_next > flow->lost_from)
        flow->resume.read_next = flow->lost_from;
    weft_bridge_epochs_cut(&flow->epochs, flow->lost_from);
    flow->planned = -1;
    flow->lost_from = -1;
}

void weft_bridge_flow_lost(struct weft_bridge_flow *flow, int64_t from)
{
    if (flow->lost_from < 0 || flow->lost_from > from) flow->lost_from = from;
    weft_bridge_flow_stop(flow, 0, NULL);
}

void weft_bridge_flow_looked(struct weft_bridge_flow *flow)
{
    flow->looked_ms = weft_mono_ms();
    enum weft_bridge_verdict verdict = weft_bridge_resume_decide(&flow->resume, flow->look_at);
    if (verdict == WEFT_BRIDGE_LOOK_ALL) {
        weft_node_trace(flow->bridge->node, 1,
                        "'%s' %d: the target does not hold what was noted, all of it is looked at",
                        flow->topic->target_name, (int) flow->partition);
        weft_bridge_flow_stop(flow, 0, NULL);
        return;
    }
    if (verdict == WEFT_BRIDGE_USED_UP) {
        weft_bridge_flow_stop(flow, S_WAIT_MS_MAX, "its session has used up its epochs");
        return;
    }
    s_round(flow);
    if (flow->noted && flow->planned == flow->resume.epoch) {
        s_copy(flow, flow->resume.read_next);
        return;
    }
    // Who copies on from the target knows the session before its first batch comes; and who begins after us, in which
    // leader epoch of the source the batches of this round were written.
    flow->state = WEFT_BRIDGE_NOTING;
    flow->planned = flow->resume.epoch;
    if (!weft_bridge_note_write(flow)) weft_bridge_flow_stop(flow, s_backoff(flow), "its place can't be noted now");
}

void weft_bridge_flow_tick(struct weft_bridge_flow *flow, int64_t now_ms)
{
    weft_bridge_t *self = flow->bridge;
    bool rest = flow->out_count == 0 && flow->out_notes == 0;
    if (flow->gone) return;
    switch (flow->state) {
    case WEFT_BRIDGE_DRAINING:
        if (rest) flow->state = WEFT_BRIDGE_STANDING;
        break;
    case WEFT_BRIDGE_WAITING:
    case WEFT_BRIDGE_STANDING:
        if (now_ms >= flow->retry_ms && rest && self->notes_read && !self->standing_by && self->claimed) s_look(flow);
        break;
    case WEFT_BRIDGE_ASKING:
        if (now_ms < flow->retry_ms) break;
        if (!self->sessions_behind) // else its note may be there: copying it would send it back to where it came from
            weft_bridge_flow_session_known(self, flow->asking_id);
        else if (flow->reason[0] == '\0')
            snprintf(flow->reason, sizeof flow->reason, "the notes of other bridges in the source can't be read now");
        break;
    case WEFT_BRIDGE_LOOKING:
    case WEFT_BRIDGE_NOTING:
    case WEFT_BRIDGE_COPYING: break;
    }
    weft_bridge_flow_pace(flow);
}

// ---- copying

static void s_send(struct weft_bridge_flow *flow, const struct weft_bridge_piece *piece)
{
    weft_bridge_t *self = flow->bridge;
    int32_t after = weft_bridge_resume_after(&flow->resume);
    struct weft_bridge_sent *sent = weft_calloc(1, sizeof *sent);
    *sent = (struct weft_bridge_sent){
        .flow = flow,
        .batch = weft_bridge_resume_sent(&flow->resume, piece->source, piece->source_next, piece->count),
        .bytes = piece->bytes.size};
    struct weft_batch_identity as = {flow->producer_id, sent->batch.epoch, sent->batch.sequence, after,
                                     flow->target_id};
    if (flow->out_count + flow->out_notes == 0) flow->heard_ms = weft_mono_ms();
    flow->out_count++; // it may be reported before send returns
    flow->out_bytes += sent->bytes;
    weft_err_t err = weft_producer_send_batch(self->producer, flow->target, flow->partition, piece->bytes, &as, sent);
    if (err == WEFT_OK) return;
    flow->out_count--;
    flow->out_bytes -= sent->bytes;
    if (err == WEFT_ERR_BATCH_TOO_LARGE) flow->batch_bytes_max = sent->bytes / 2;
    free(sent);
    bool soon = err == WEFT_ERR_LOCAL_QUEUE_FULL || err == WEFT_ERR_LOCAL_NOT_CONNECTED;
    char why[WEFT_BRIDGE_REASON_BYTES];
    snprintf(why, sizeof why, "%s", weft_producer_error_text(self->producer));
    weft_bridge_flow_stop(flow, soon ? S_WAIT_MS_MIN : s_backoff(flow), why);
    if (err == WEFT_ERR_TOPIC_REPLACED) weft_bridge_flow_begin_anew(flow);
}

static void s_rewritten(struct weft_bridge_flow *flow, const struct weft_batch_view *view,
                        const struct weft_batch *batch)
{
    weft_bridge_t *self = flow->bridge;
    struct weft_bridge_piece piece;
    size_t most = flow->batch_bytes_max < S_BATCH_BYTES_MIN ? S_BATCH_BYTES_MIN : flow->batch_bytes_max;
    if (weft_bridge_rewrite_begin(&self->rewrite, view->bytes, batch, view->position) != WEFT_OK) {
        weft_bridge_flow_stop(flow, S_WAIT_MS_MAX, "a batch of the source can't be read");
        return;
    }
    weft_node_counter_add(self->node, WEFT_BRIDGE_REWRITTEN, 1);
    while (flow->state == WEFT_BRIDGE_COPYING &&
           weft_bridge_rewrite_next(&self->rewrite, flow->producer_id, flow->resume.sent_next, most, &piece)) {
        bool alone = !flow->resume.owned;
        if (piece.marked) weft_node_counter_add(self->node, WEFT_BRIDGE_MARKS, 1);
        s_send(flow, &piece);
        if (!alone || piece.source_next == view->next_offset || flow->state != WEFT_BRIDGE_COPYING) continue;
        // The rest comes again when the first piece is answered.
        (void) !s_seek(flow, piece.source_next);
        return;
    }
}

// Who wrote a batch of the source: another bridge may have brought it from where we bring it to.
enum s_from { S_FROM_HERE, S_FROM_TARGET, S_FROM_UNKNOWN };

static enum s_from s_from(struct weft_bridge_flow *flow, const struct weft_batch *batch)
{
    weft_bridge_t *self = flow->bridge;
    if (!weft_bridge_is_producer_id(batch->producer_id)) return S_FROM_HERE;
    const struct weft_bridge_session *session = weft_map_get_u64(self->sessions, (uint64_t) batch->producer_id);
    if (session == NULL) return S_FROM_UNKNOWN;
    if (session->plain) return S_FROM_HERE;
    if (weft_bridge_origins_has(&session->origins, self->target_cluster)) return S_FROM_TARGET;
    size_t before = flow->origins.count;
    for (size_t i = 0; i < session->origins.count; i++)
        if (!weft_bridge_origins_add(&flow->origins, session->origins.ids[i])) return S_FROM_TARGET; // too long a way
    if (flow->origins.count != before) flow->noted = false; // said in the target before the first such batch is there
    return S_FROM_HERE;
}

// Nothing of this batch is copied. While others are under way the place to go on from is still before them.
static void s_pass(struct weft_bridge_flow *flow, const struct weft_batch_view *view)
{
    if (flow->out_count > 0) return;
    flow->resume.read_next = view->next_offset;
    flow->moved = true;
}

void weft_bridge_flow_batch(struct weft_bridge_flow *flow, const struct weft_batch_view *view)
{
    weft_bridge_t *self = flow->bridge;
    struct weft_batch batch;
    if (flow->state != WEFT_BRIDGE_COPYING || weft_batch_read(view->bytes, &batch) != WEFT_OK) return;
    if (!weft_id_equal(view->topic_id, flow->source_id)) {
        weft_bridge_flow_begin_anew(flow);
        return;
    }
    if (!flow->resume.owned && flow->out_count > 0) { // the first batch of a round goes alone
        (void) !s_seek(flow, view->position);
        return;
    }
    bool back = view->position < flow->resume.sent_next && flow->resume.read_next >= 0;
    bool follows = flow->out_count == 0 && view->position >= flow->resume.read_next; // what was lost begins before it
    if (back && !flow->diverged && !follows) { // never to be copied twice: begin from what is known
        weft_bridge_flow_stop(flow, S_WAIT_MS_MIN, NULL);
        return;
    }
    flow->diverged = false;
    if (flow->resume.read_next < 0) flow->resume.read_next = view->position;
    if (weft_bridge_epochs_of(&flow->epochs, batch.base_offset) != batch.leader_epoch) { // one round, one epoch
        if (flow->out_count == 0) {
            (void) weft_bridge_epochs_begin(&flow->epochs, batch.base_offset, batch.leader_epoch);
            flow->planned = -1;
        }
        weft_bridge_flow_stop(flow, 0, NULL);
        return;
    }
    if (batch.count == 0) {
        s_pass(flow, view);
        return;
    }
    enum s_from from = s_from(flow, &batch);
    if (from == S_FROM_TARGET) {
        weft_node_counter_add(self->node, WEFT_BRIDGE_LOOPED, batch.count);
        s_pass(flow, view);
        return;
    }
    if (from == S_FROM_UNKNOWN) {
        s_pause(flow, true);
        flow->state = WEFT_BRIDGE_ASKING;
        flow->asking_id = batch.producer_id;
        flow->asking_at = view->position;
        flow->diverged = back;
        // Its session was noted there before its first batch: in a topic that may have to be found first.
        flow->retry_ms = weft_mono_ms() + 2 * weft_consumer_option_int(self->source, "metadata.ms") + 2000;
        return;
    }
    // Where no session is known any more the first batch is taken from anybody: not on the word of a look of long ago.
    bool old = flow->resume.sequence == 0 && weft_mono_ms() - flow->looked_ms > S_LOOK_MS_MAX;
    if (!flow->noted || old) {
        weft_bridge_flow_stop(flow, 0, NULL);
        return;
    }
    if (!weft_bridge_is_plain(&batch, view->position, flow->resume.sent_next, flow->batch_bytes_max)) {
        s_rewritten(flow, view, &batch);
        return;
    }
    struct weft_bridge_piece piece = {view->bytes, batch.base_offset, view->next_offset, batch.count, false};
    s_send(flow, &piece);
}

// It is heard now, or will not be.
void weft_bridge_flow_session_known(weft_bridge_t *self, int64_t producer_id)
{
    if (weft_map_get_u64(self->sessions, (uint64_t) producer_id) == NULL) {
        struct weft_bridge_session *session = weft_calloc(1, sizeof *session);
        session->plain = true;
        weft_map_put_u64(self->sessions, (uint64_t) producer_id, session);
    }
    for (size_t i = 0; i < self->flow_count; i++) {
        struct weft_bridge_flow *flow = self->flows[i];
        if (flow->state != WEFT_BRIDGE_ASKING || flow->asking_id != producer_id) continue;
        flow->retry_ms = 0;
        bool diverged = flow->diverged;
        s_copy(flow, flow->asking_at);
        flow->diverged = diverged;
    }
}

// ---- what became of it

static void s_written(struct weft_bridge_flow *flow, const struct weft_bridge_sent *sent, int64_t base_offset,
                      bool duplicate)
{
    weft_bridge_t *self = flow->bridge;
    const struct weft_bridge_batch *batch = &sent->batch;
    if (duplicate) weft_node_counter_add(self->node, WEFT_BRIDGE_DUPLICATES, 1);
    if (flow->state == WEFT_BRIDGE_DRAINING) return; // the look will tell
    if (!weft_bridge_resume_written(&flow->resume, batch, base_offset, duplicate)) {
        weft_bridge_flow_stop(flow, 0, NULL);
        return;
    }
    struct weft_bridge_span span = {batch->source, batch->source_next, base_offset, base_offset + batch->count,
                                    batch->source_next - batch->source == (int64_t) batch->count};
    s_map(flow, &span);
    flow->epochs.round = batch->epoch;
    flow->moved = true;
    flow->tries = 0;
    weft_node_counter_add(self->node, WEFT_BRIDGE_RECORDS, batch->count);
    weft_node_counter_add(self->node, WEFT_BRIDGE_BYTES, sent->bytes);
    weft_node_counter_add(self->node, WEFT_BRIDGE_BATCHES, 1);
}

static void s_failed(struct weft_bridge_flow *flow, const struct weft_bridge_sent *sent,
                     const struct weft_batch_report *report)
{
    if (report->error == WEFT_ERR_BATCH_TOO_LARGE) flow->batch_bytes_max = sent->bytes / 2;
    if (report->error == WEFT_ERR_TOPIC_REPLACED) weft_bridge_flow_begin_anew(flow);
    bool told = flow->state == WEFT_BRIDGE_DRAINING; // the first one's reason counts, and one wait for all
    if (told) return;
    if (report->error == WEFT_ERR_OUT_OF_ORDER_SEQUENCE) weft_bridge_resume_gap(&flow->resume);
    // It says only that the log is not what was thought; the look tells.
    bool follows = report->error == WEFT_ERR_OUT_OF_ORDER_SEQUENCE || report->error == WEFT_ERR_UNKNOWN_PRODUCER;
    weft_bridge_flow_stop(flow, s_backoff(flow), follows ? NULL : report->text);
}

static void s_noted(struct weft_bridge_flow *flow, const struct weft_bridge_sent *sent, weft_err_t error,
                    const char *text)
{
    flow->out_notes--;
    if (error != WEFT_OK) {
        weft_node_counter_add(flow->bridge->node, WEFT_BRIDGE_NOTES_FAILED, 1);
        flow->moved = true;
        if (sent->first_note) flow->planned = -1;
        pthread_mutex_lock(&flow->bridge->lock);
        flow->map.dirty = UINT64_MAX;
        pthread_mutex_unlock(&flow->bridge->lock);
        if (flow->state == WEFT_BRIDGE_NOTING) weft_bridge_flow_stop(flow, s_backoff(flow), text);
        return;
    }
    if (!sent->first_note || flow->state != WEFT_BRIDGE_NOTING) return;
    flow->noted = true;
    s_copy(flow, flow->resume.read_next);
}

static void s_settings_noted(weft_bridge_t *self, struct weft_bridge_topic *topic, weft_err_t error)
{
    if (error == WEFT_OK) return;
    weft_node_counter_add(self->node, WEFT_BRIDGE_NOTES_FAILED, 1);
    pthread_mutex_lock(&self->lock);
    topic->carried_moved = true;
    pthread_mutex_unlock(&self->lock);
}

void weft_bridge_reported(void *context, const struct weft_batch_report *report)
{
    weft_bridge_t *self = context;
    int64_t now_ms = weft_mono_ms();
    for (uint32_t i = 0; report->opaques != NULL && i < report->count; i++) {
        struct weft_bridge_sent *sent = report->opaques[i];
        if (sent == NULL) continue;
        struct weft_bridge_flow *flow = sent->flow;
        bool is_note = sent->is_note;
        if (flow != NULL) flow->heard_ms = now_ms;
        if (sent->topic != NULL) {
            s_settings_noted(self, sent->topic, report->error);
        } else if (is_note && flow == NULL) {
            self->claim_out = false;
        } else if (is_note) {
            s_noted(flow, sent, report->error, report->text);
        } else {
            flow->out_count--;
            flow->out_bytes -= sent->bytes;
            if (report->error != WEFT_OK)
                s_failed(flow, sent, report);
            else
                s_written(flow, sent, report->base_offset, report->duplicate);
        }
        free(sent);
        if (!is_note) return; // a batch has one opaque
    }
}
