// SPDX-License-Identifier: MPL-2.0
// Sending batches and hearing their fate, in order per partition (the rules stand in producer_part.h).
//
// A partition's closed batches form a list in order of sequence. Whatever makes an attempt fail only marks its batch
// READY again and may set a time before which nothing of the partition is sent; the one place that sends walks the list
// from its head and stops at the first batch that can't go. So the order on a link is always that of the sequences,
// however many attempts failed.
#include "producer_inner.h"

#include "../base/assert.h"
#include "../base/mutate.h"
#include "../base/trace.h"
#include "../wire/codec.h"

#include <stdio.h>
#include <stdlib.h>

#define REDIRECTS_AT_ONCE 3 // then a redirection waits for the back-off: two confused nodes can't make it spin
#define MOVING_TRIES_MAX 3
#define BLOCKED_US 2000 // the transport takes no more: try again after this, if nothing else calls earlier

void weft_producer_identity_draw(weft_producer_part_t *self, struct weft_ppartition *partition)
{
    do partition->identity = (int64_t) (weft_rand_next(&self->rand) >> 1);
    while (!partition->identity);
    partition->epoch = 0;
    partition->next_sequence = 0;
    partition->spooled_sequence = -1;
}

static void s_unlink(struct weft_ppartition *partition, struct weft_pbatch *batch)
{
    if (batch->previous)
        batch->previous->next = batch->next;
    else
        partition->first = batch->next;
    if (batch->next)
        batch->next->previous = batch->previous;
    else
        partition->last = batch->previous;
    batch->previous = batch->next = NULL;
}

// ---- fates

static void s_delivered(weft_producer_part_t *self, struct weft_pbatch *batch, int64_t offset)
{
    batch->partition->tries = 0;
    s_unlink(batch->partition, batch);
    weft_producer_report_batch(self, batch, offset, WEFT_OK, WEFT_OUTCOME_APPLIED, "");
}

static void s_failed(weft_producer_part_t *self, struct weft_pbatch *batch, weft_err_t error, const char *text)
{
    if (batch->state == WEFT_PBATCH_SENT) batch->partition->in_flight--;
    weft_requests_cancel(&self->requests, &batch->call);
    if (!batch->given) batch->partition->broken = self->idempotent;
    s_unlink(batch->partition, batch);
    bool doubt = batch->in_doubt || weft_err_outcome(error) == WEFT_OUTCOME_MAYBE_APPLIED;
    weft_producer_report_batch(self, batch, -1, error, doubt ? WEFT_OUTCOME_MAYBE_APPLIED : WEFT_OUTCOME_NOT_APPLIED,
                               text);
}

static void s_expired(weft_producer_part_t *self, struct weft_pbatch *batch)
{
    if (batch->state == WEFT_PBATCH_SENT) batch->in_doubt = true;
    weft_err_t error = batch->in_doubt     ? WEFT_ERR_LOCAL_TIMED_OUT
                       : batch->last_error ? batch->last_error
                                           : WEFT_ERR_LOCAL_NOT_CONNECTED;
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    snprintf(text, sizeof text, "not delivered within delivery.timeout.ms (%s). %s",
             batch->in_doubt ? "it may have been written" : "it was not written",
             weft_err_sentence(batch->last_error ? batch->last_error : error));
    s_failed(self, batch, error, text);
}

void weft_producer_fail_partition(weft_producer_part_t *self, struct weft_ppartition *partition, weft_err_t error,
                                  const char *text)
{
    if (partition->builder.count) weft_producer_close_batch(self, partition);
    // Only what is there now: a report may send more.
    for (struct weft_pbatch *last = partition->last; partition->first;) {
        struct weft_pbatch *batch = partition->first;
        if (batch->state == WEFT_PBATCH_SENT) batch->in_doubt = true;
        s_failed(self, batch, error, text);
        if (batch == last) break;
    }
}

void weft_producer_fail_all(weft_producer_part_t *self, weft_err_t error, const char *text)
{
    for (size_t i = 0; i < self->active_count; i++) weft_producer_fail_partition(self, self->active[i], error, text);
}

// ---- identity

// A batch that was surely not written gets the partition's identity and next sequence, in bytes of its own: of the old
// ones a frame may still be held somewhere.
static void s_restamp(weft_producer_part_t *self, struct weft_pbatch *batch)
{
    struct weft_ppartition *partition = batch->partition;
    weft_slice_t old = weft_shared_slice(batch->bytes);
    weft_buf_t copy;
    weft_buf_init(&copy);
    weft_buf_append(&copy, old.data, old.size);
    struct weft_batch header;
    weft_err_t err = weft_batch_read(weft_buf_slice(&copy), &header);
    weft_assert(!err); // our own builder made it
    header.producer_id = partition->identity;
    header.producer_epoch = partition->epoch;
    header.base_sequence = partition->next_sequence;
    weft_batch_write_header(copy.data, &header);
    weft_batch_seal(copy.data, copy.size);
    partition->next_sequence = (int32_t) (((uint32_t) partition->next_sequence + batch->count) & 0x7fffffff);
    weft_shared_drop(&batch->bytes);
    batch->bytes = weft_shared_new(&copy);
    batch->state = WEFT_PBATCH_READY;
    weft_requests_cancel(&self->requests, &batch->call);
}

static bool s_unresolved(const struct weft_pbatch *batch)
{
    return batch->state == WEFT_PBATCH_SENT || batch->in_doubt;
}

// An edge still has to deliver what it keeps of this, and now it goes by another one: a new epoch would fence that. By the same
// one it goes behind it.
static bool s_waits_elsewhere(const struct weft_ppartition *partition)
{
    const struct weft_view_link *leader = weft_view_leader(partition->topic->view, partition->index);
    return partition->spooled_sequence >= 0 && (leader == NULL || leader->link != partition->spooled_by);
}

// After a batch was given up. False: something sent is still in doubt, nothing new may be sent yet.
static bool s_mend(weft_producer_part_t *self, struct weft_ppartition *partition)
{
    for (struct weft_pbatch *batch = partition->first; batch; batch = batch->next)
        if (s_unresolved(batch)) return false;
    if (partition->epoch == INT16_MAX || s_waits_elsewhere(partition))
        weft_producer_identity_draw(self, partition);
    else
        partition->epoch++;
    partition->next_sequence = 0;
    partition->broken = false;
    for (struct weft_pbatch *batch = partition->first; batch; batch = batch->next)
        if (!batch->given) s_restamp(self, batch);
    weft_counter_add(&self->counters, WEFT_PRODUCER_IDENTITIES, 1);
    return true;
}

// ---- answers

static void s_try_later(weft_producer_part_t *self, struct weft_ppartition *partition, int64_t wait_us)
{
    int64_t at_us = weft_port_now_us(&self->port) + wait_us;
    if (at_us > partition->retry_us) partition->retry_us = at_us;
}

static bool s_doubt_before(const struct weft_pbatch *batch)
{
    for (const struct weft_pbatch *before = batch->previous; before; before = before->previous)
        if (s_unresolved(before)) return true;
    return false;
}

// The broker misses sequences before this batch. Earlier ones unanswered: it overtook them. None: what was acknowledged
// before it is gone there (acks leader and a failover, or the session expired).
static void s_gap(weft_producer_part_t *self, struct weft_pbatch *batch, weft_err_t error, const char *text)
{
    struct weft_ppartition *partition = batch->partition;
    // Once the partition is broken what is not in doubt waits for the mending, which waits for this one: then it is
    // judged like a head.
    if (batch != partition->first && (!partition->broken || s_doubt_before(batch))) {
        // Not alone: the head is still on its way or waits for its turn. Then this one follows it.
        if (partition->first->state == WEFT_PBATCH_SENT)
            s_try_later(self, partition, weft_requests_backoff_us(&self->requests, 1));
        return;
    }
    if (batch->in_doubt || batch->given) {
        s_failed(self, batch, error, text);
        return;
    }
    batch->state = WEFT_PBATCH_RESTAMP;
    partition->broken = true;
}

static void s_retry(weft_producer_part_t *self, struct weft_pbatch *batch, weft_err_t error,
                    const struct weft_reply_header *header)
{
    struct weft_ppartition *partition = batch->partition;
    // The head is refused once in each round; what comes behind it in the window does not make the wait longer.
    if (batch == partition->first) partition->tries++;
    weft_counter_add(&self->counters, WEFT_PRODUCER_RETRIES, 1);
    if (batch->call.redirected && partition->tries <= REDIRECTS_AT_ONCE) return; // the view knows where to go
    // ... or will: until then nothing can be sent
    bool unled = error == WEFT_ERR_NOT_LEADER && !weft_view_leader(partition->topic->view, partition->index);
    if (unled || error == WEFT_ERR_LOCAL_NOT_CONNECTED) return;
    // Where leadership is just changing the answer comes within a second: no long waits.
    bool moving = weft_err_class(error) == WEFT_CLASS_REFRESH;
    uint32_t tries = moving && partition->tries > MOVING_TRIES_MAX ? MOVING_TRIES_MAX : partition->tries;
    int64_t wait_us = weft_requests_backoff_us(&self->requests, tries);
    if (header && (int64_t) header->retry_ms * 1000 > wait_us) wait_us = (int64_t) header->retry_ms * 1000;
    s_try_later(self, partition, wait_us);
}

// What the cluster has, it has in order: what was spooled before it is delivered.
static void s_note_spooled(const struct weft_pbatch *batch, bool spooled)
{
    struct weft_ppartition *partition = batch->partition;
    struct weft_batch header;
    if (!spooled && partition->spooled_sequence < 0) return;
    if (weft_batch_read(weft_shared_slice(batch->bytes), &header) || header.producer_id != partition->identity) return;
    uint32_t ahead = ((uint32_t) header.base_sequence - (uint32_t) partition->spooled_sequence) & 0x7fffffff;
    if (partition->spooled_sequence >= 0 && ahead >= 0x40000000) return; // an older one
    weft_link_t by = batch->call.link != NULL ? batch->call.link->link : 0;
    bool several = partition->spooled_sequence >= 0 && partition->spooled_by != by;
    partition->spooled_by = several ? 0 : by;
    partition->spooled_sequence = spooled ? header.base_sequence : -1;
}

static void s_answered(struct weft_call *call, weft_err_t error, const char *text,
                       const struct weft_reply_header *header, struct weft_message *message)
{
    struct weft_pbatch *batch = call->context;
    weft_producer_part_t *self = batch->partition->topic->part;
    struct weft_produce_reply reply;
    struct weft_error why;
    batch->partition->in_flight--;
    batch->state = WEFT_PBATCH_READY;
    self->wants_turn = true;
    if (!error) {
        error = weft_produce_reply_decode(&self->requests.codec, weft_frame_slice(&message->header), &reply, &why);
        if (!error) {
            if (reply.duplicate) weft_counter_add(&self->counters, WEFT_PRODUCER_DUPLICATES, 1);
            batch->duplicate = reply.duplicate;
            s_note_spooled(batch, weft_slice_is_text(reply.level, "spooled"));
            s_delivered(self, batch, reply.offset);
            return;
        }
        batch->in_doubt = true;
        text = why.text;
    }
    batch->last_error = error;
    if (!header || weft_err_outcome(error) == WEFT_OUTCOME_MAYBE_APPLIED)
        batch->in_doubt = !weft_mutated("doubt_is_refusal");
    if (weft_err_outcome(error) == WEFT_OUTCOME_APPLIED) {
        batch->duplicate = true; // an old one
        s_delivered(self, batch, -1);
    } else if (error == WEFT_ERR_OUT_OF_ORDER_SEQUENCE || error == WEFT_ERR_UNKNOWN_PRODUCER)
        s_gap(self, batch, error, text);
    else if (weft_err_class(error) == WEFT_CLASS_RETRY || weft_err_class(error) == WEFT_CLASS_REFRESH)
        s_retry(self, batch, error, header);
    else if (weft_err_class(error) == WEFT_CLASS_FATAL && !batch->given) {
        self->fatal = error;
        snprintf(self->text, sizeof self->text, "%s", text);
        char kept[WEFT_ERROR_TEXT_BYTES_MAX];
        snprintf(kept, sizeof kept, "%s", text);
        weft_producer_fail_all(self, error, kept);
    } else
        s_failed(self, batch, error, text);
}

// ---- sending

static void s_encode(weft_producer_part_t *self, struct weft_pbatch *batch)
{
    struct weft_ppartition *partition = batch->partition;
    struct weft_produce_request request;
    weft_produce_request_init(&request);
    request.id = weft_requests_id(&self->requests, &batch->call);
    request.topic = weft_text(partition->topic->view->name);
    request.topic_id = partition->topic->view->id;
    request.partition = (uint32_t) partition->index;
    request.acks = weft_text(self->acks);
    request.durable = self->durable;
    if (batch->given) request.after_sequence = batch->after_sequence;
    request.spool = self->spool && !batch->given; // who keeps an identity must know what the log has
    int64_t timeout_ms = self->attempt_us / 1000;
    request.timeout_ms = timeout_ms < UINT32_MAX ? (uint32_t) timeout_ms : UINT32_MAX;
    weft_buf_clear(&batch->call.header);
    weft_produce_request_encode(&request, &batch->call.header);
    if (request.after_sequence >= 0) weft_request_add_must(&batch->call.header, "after_sequence");
    batch->call.to = WEFT_TO_LEADER;
    batch->call.topic = partition->topic->view;
    batch->call.partition = partition->index;
    batch->call.data = batch->bytes;
    batch->call.attempt_us = self->attempt_us + 1000000; // the broker says TIMED_OUT first
    batch->call.parked_us = 0;
    batch->call.done = s_answered;
    batch->call.context = batch;
}

static weft_err_t s_send(weft_producer_part_t *self, struct weft_pbatch *batch)
{
    if (!batch->call.id) s_encode(self, batch);
    weft_err_t err = weft_requests_try(&self->requests, &batch->call);
    if (err) return err;
    batch->state = WEFT_PBATCH_SENT;
    batch->partition->in_flight++;
    if (self->answered) return WEFT_OK;
    batch->partition->in_flight--; // acks none: taken by the transport is all that is promised
    weft_requests_cancel(&self->requests, &batch->call);
    s_delivered(self, batch, -1);
    return WEFT_OK;
}

// Sends what may go, in order. When to come back.
static int64_t s_dispatch(weft_producer_part_t *self, struct weft_ppartition *partition, int64_t now_us)
{
    if (partition->retry_us > now_us) return partition->retry_us;
    if (partition->broken && partition->first) s_mend(self, partition);
    // Without answers the transport's queue is all there is to push back on the program.
    if (weft_producer_part_leaving_bytes(self) > self->buffer_bytes) return now_us + BLOCKED_US;
    uint32_t window = self->in_flight_max;
    if (window > self->requests.session_window) window = self->requests.session_window;
    for (struct weft_pbatch *batch = partition->first, *next; batch && partition->in_flight < window; batch = next) {
        next = batch->next;
        if (batch->state == WEFT_PBATCH_SENT) continue;
        if (partition->broken && !batch->in_doubt) continue;
        weft_err_t err = s_send(self, batch);
        if (err == WEFT_ERR_LOCAL_WOULD_BLOCK) return now_us + BLOCKED_US;
        if (err) return now_us + self->requests.config.backoff_us; // no leader, no link: or sooner, when there is one
    }
    return WEFT_TIME_NEVER;
}

static bool s_ripe(const weft_producer_part_t *self, const struct weft_ppartition *partition, int64_t now_us)
{
    if (!partition->builder.count || now_us - partition->opened_us < self->linger_us) return false;
    // Beyond the window a batch does better to grow.
    uint32_t window =
        self->in_flight_max < self->requests.session_window ? self->in_flight_max : self->requests.session_window;
    return partition->in_flight < window && (!partition->last || partition->last->state == WEFT_PBATCH_SENT);
}

int64_t weft_producer_partition_turn(weft_producer_part_t *self, struct weft_ppartition *partition, int64_t now_us)
{
    while (partition->first && partition->first->deadline_us <= now_us) s_expired(self, partition->first);
    if (s_ripe(self, partition, now_us)) {
        bool wants_turn = self->wants_turn; // it is dispatched right here
        weft_producer_close_batch(self, partition);
        self->wants_turn = wants_turn;
    }
    int64_t next_us = s_dispatch(self, partition, now_us);
    if (partition->first && partition->first->deadline_us < next_us) next_us = partition->first->deadline_us;
    if (partition->builder.count) {
        int64_t ripe_us = partition->opened_us + self->linger_us;
        if (ripe_us > now_us && ripe_us < next_us) next_us = ripe_us;
        if (partition->opened_us + self->delivery_us <= now_us)
            weft_producer_close_batch(self, partition);
        else if (partition->opened_us + self->delivery_us < next_us)
            next_us = partition->opened_us + self->delivery_us;
    }
    return next_us;
}
