// SPDX-License-Identifier: MPL-2.0
// Metadata is asked for by a call of its own, never more than one at a time. While a leader is being replaced it is
// asked for at a steady short pace, since the first answer that names the new one ends an outage; the back-off grows only
// when that takes longer than any election should.
#include "requests_inner.h"

#include "../base/assert.h"
#include "../base/trace.h"

#include <stdlib.h>

#define ANSWER_BYTES_PER_US 4 // however large an answer is, a client asks for no more than so much of it
#define EAGER_US 3000000      // how long metadata is asked for at a steady pace before the back-off grows

void weft_requests_refresh(weft_requests_t *self)
{
    self->metadata_wanted = true;
}

void weft_requests_refresh_now(weft_requests_t *self)
{
    self->metadata_wanted = true;
    self->metadata_tries = 0;
    self->metadata_us = 0;
}

static void s_metadata_send(weft_requests_t *self)
{
    struct weft_metadata_request request;
    weft_metadata_request_init(&request);
    weft_slice_t *names = NULL;
    size_t count = 0;
    self->metadata_all = self->config.all_topics;
    if (!self->config.all_topics) {
        names = weft_alloc((self->view->topic_count + 1) * sizeof *names);
        for (size_t i = 0; i < self->view->topic_count && count < 10000; i++)
            if (self->view->topics[i]->wanted) names[count++] = weft_text(self->view->topics[i]->name);
        request.topics = names;
        request.topics_count = count;
        request.brokers_only = count == 0;
    }
    request.internal = self->config.internal_topics || !self->config.all_topics;
    request.id = weft_requests_id(self, &self->metadata);
    weft_buf_clear(&self->metadata.header);
    weft_metadata_request_encode(&request, &self->metadata.header);
    free(names);
    self->metadata_wanted = false;
    self->metadata.attempt_us = self->config.attempt_us < 5000000 ? self->config.attempt_us : 5000000;
    self->metadata.deadline_us = WEFT_TIME_NEVER;
    weft_requests_submit(self, &self->metadata);
}

// Every partition of every topic wanted has a leader that is, or is about to be, connected.
static bool s_is_settled(const weft_requests_t *self)
{
    for (size_t i = 0; i < self->view->topic_count; i++) {
        const struct weft_view_topic *topic = self->view->topics[i];
        if (!topic->wanted) continue;
        if (topic->state != WEFT_VIEW_KNOWN) return false;
        for (int32_t k = 0; k < topic->partition_count; k++)
            if (!topic->partitions[k].link || !weft_requests_is_near(self, topic->partitions[k].link)) return false;
    }
    return true;
}

// What waits at a node that leads its partition no more is given up: if that node is stopped or cut off, nothing else
// would tell.
static void s_reroute(weft_requests_t *self)
{
    for (size_t i = 0; i < self->slot_count; i++) {
        struct weft_call *call = self->slots[i];
        if (!call || call->state != WEFT_CALL_SENT || call->to != WEFT_TO_LEADER) continue;
        const struct weft_view_link *link = weft_view_leader(call->topic, call->partition);
        if (!link || link == call->link || weft_requests_epoch(call) <= call->epoch) continue;
        self->reroute_count++;
        weft_requests_attempt_failed(self, call, WEFT_ERR_LOCAL_NOT_CONNECTED);
    }
}

void weft_requests_metadata_done(struct weft_call *call, weft_err_t error, const char *text,
                                 const struct weft_reply_header *header, struct weft_message *message)
{
    weft_requests_t *self = call->context;
    int64_t now_us = weft_port_now_us(&self->port);
    struct weft_error why;
    struct weft_metadata_reply reply;
    if (!error)
        error = weft_metadata_reply_decode(&self->inner_codec, weft_frame_slice(&message->header), &reply, &why);
    if (error) {
        weft_trace(WEFT_TRACE_DEBUG, "client", "metadata: %s", text);
        self->metadata_us = now_us + weft_requests_backoff_us(self, ++self->metadata_tries);
        self->metadata_wanted = true;
        return;
    }
    weft_view_apply(self->view, &reply, self->metadata_all);
    if (self->config.metadata_us) self->metadata_next_us = now_us + self->config.metadata_us;
    bool settled = s_is_settled(self);
    if (settled)
        self->unsettled_us = WEFT_TIME_NEVER;
    else if (self->unsettled_us == WEFT_TIME_NEVER)
        self->unsettled_us = now_us;
    bool eager = settled || now_us - self->unsettled_us < EAGER_US;
    self->metadata_tries = eager ? 1 : self->metadata_tries + 1;
    int64_t wait_us = weft_requests_backoff_us(self, self->metadata_tries);
    int64_t least_us = (int64_t) message->header.size / ANSWER_BYTES_PER_US;
    self->metadata_us = now_us + (wait_us > least_us ? wait_us : least_us);
    if (!settled) self->metadata_wanted = true;
    s_reroute(self);
    weft_requests_make_due(self);
}

void weft_requests_metadata_turn(weft_requests_t *self, int64_t now_us)
{
    if (self->metadata_next_us <= now_us) {
        self->metadata_wanted = true;
        self->metadata_next_us = WEFT_TIME_NEVER; // until it is answered
    }
    if (!self->metadata_wanted || self->metadata.id) return;
    if (self->metadata_us > now_us)
        weft_requests_check_by(self, self->metadata_us);
    else
        s_metadata_send(self);
}
