// SPDX-License-Identifier: MPL-2.0
// Questions for offsets, on a ROUTER: one frame (behind an empty one, from a REQ) with a msgpack map, answered with one.
#include "bridge_inner.h"

#include "../../lib/base/glob.h"

#include <weft_gen/records.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define S_QUESTIONS_MAX 64        // a turn
#define S_UNREAD_BYTES (64 << 20) // of all askers together; then they are told no more than that
#define S_FRAMES_MAX 3            // routing id, delimiter, question
#define S_LIST_MAX 4096           // rows in one answer

static void s_list(weft_bridge_t *self, struct weft_bridge_answer_record *answer, struct weft_bridge_partition *list)
{
    answer->partitions = list;
    for (size_t i = 0; i < self->flow_count && answer->partitions_count < S_LIST_MAX; i++) {
        const struct weft_bridge_flow *flow = self->flows[i];
        if (flow->gone) continue;
        int64_t next = flow->resume.read_next > flow->resume.place.source_next ? flow->resume.read_next
                                                                               : flow->resume.place.source_next;
        list[answer->partitions_count++] = (struct weft_bridge_partition){
            .topic = weft_text(flow->topic->name),
            .partition = (uint32_t) flow->partition,
            .target_topic = weft_text(flow->topic->target_name),
            .state = weft_text(weft_bridge_state_name(flow)),
            .source_next = next,
            .target_next = flow->resume.place.target_next,
            .lag = flow->source_end < 0      ? -1
                   : flow->source_end > next ? flow->source_end - next
                                             : 0,
            .reason = flow->reason[0] != '\0' ? weft_text(flow->reason) : WEFT_SLICE_NIL};
    }
}

// Borrows from the list, which is locked.
static const char *s_groups(weft_bridge_t *self, const char *pattern, struct weft_bridge_answer_record *answer,
                            struct weft_bridge_group *list)
{
    answer->groups = list;
    for (size_t i = 0; i < self->translated_count && answer->groups_count < S_LIST_MAX; i++) {
        const struct weft_bridge_translated *row = &self->translated[i];
        if (!weft_glob_match(pattern, row->group)) continue;
        list[answer->groups_count++] =
            (struct weft_bridge_group){.group = weft_text(row->group),
                                       .topic = weft_text(row->topic),
                                       .partition = (uint32_t) row->partition,
                                       .offset = row->offset,
                                       .target_topic = weft_text(row->target_topic),
                                       .target_offset = row->target_offset,
                                       .exact = row->exact,
                                       .committed = row->committed,
                                       .reason = row->reason == NULL ? WEFT_SLICE_NIL : weft_text(row->reason)};
    }
    if (answer->groups_count > 0) return NULL;
    answer->error = WEFT_ERR_NOT_FOUND;
    return *self->groups == NULL ? "this bridge translates no groups: its option groups is empty"
                                 : "no such group with offsets in what this bridge copies is known to it (yet)";
}

static const char *s_ask(weft_bridge_t *self, const struct weft_bridge_ask_record *ask,
                         struct weft_bridge_answer_record *answer)
{
    char *topic = weft_slice_dup(ask->topic);
    struct weft_bridge_flow *flow = weft_bridge_flow_find(self, topic, (int32_t) ask->partition);
    free(topic);
    struct weft_bridge_mapped mapped;
    answer->error = WEFT_ERR_NOT_FOUND;
    if (flow == NULL) return "this bridge copies no such partition";
    answer->target_topic = weft_text(flow->topic->target_name);
    if (ask->offset < 0 && ask->target_offset < 0) return "neither offset nor target_offset is given";
    pthread_mutex_lock(&self->lock);
    bool known = ask->offset >= 0 ? weft_bridge_map_target(&flow->map, ask->offset, &mapped)
                                  : weft_bridge_map_source(&flow->map, ask->target_offset, &mapped);
    pthread_mutex_unlock(&self->lock);
    if (!known) return "nothing of this partition was copied yet";
    answer->error = WEFT_OK;
    answer->offset = mapped.offset;
    answer->exact = mapped.exact;
    return NULL;
}

static void s_encode(weft_bridge_t *self, struct weft_bridge_answer_record *answer, const char *message)
{
    if (message != NULL) answer->message = weft_text(message);
    weft_buf_clear(&self->value);
    weft_bridge_answer_record_encode(answer, &self->value);
}

static void s_encode_list(weft_bridge_t *self, struct weft_bridge_answer_record *answer)
{
    struct weft_bridge_partition *list = weft_calloc(self->flow_count + 1, sizeof *list);
    s_list(self, answer, list);
    s_encode(self, answer, NULL);
    free(list);
}

static void s_encode_groups(weft_bridge_t *self, struct weft_bridge_answer_record *answer, weft_slice_t group)
{
    char *pattern = weft_slice_dup(group);
    pthread_mutex_lock(&self->lock); // the steward has another list soon
    struct weft_bridge_group *list = weft_calloc(self->translated_count + 1, sizeof *list);
    const char *message = s_groups(self, pattern, answer, list);
    s_encode(self, answer, message);
    pthread_mutex_unlock(&self->lock);
    free(list);
    free(pattern);
}

// In self->value; 0 where the question had no id.
static uint64_t s_answer(weft_bridge_t *self, weft_slice_t question)
{
    struct weft_bridge_ask_record ask;
    struct weft_bridge_answer_record answer;
    struct weft_error why = {.code = WEFT_OK};
    weft_bridge_answer_record_init(&answer);
    weft_err_t err = weft_bridge_ask_record_decode(&self->codec, question, &ask, &why);
    answer.id = err == WEFT_OK ? ask.id : 0;
    if (err != WEFT_OK) {
        weft_node_counter_add(self->node, WEFT_BRIDGE_BAD_QUESTIONS, 1);
        answer.error = err;
        s_encode(self, &answer, why.text);
    } else if (ask.group.data != NULL) {
        s_encode_groups(self, &answer, ask.group);
    } else if (ask.topic.data != NULL) {
        s_encode(self, &answer, s_ask(self, &ask, &answer));
    } else {
        s_encode_list(self, &answer);
    }
    return answer.id;
}

static void s_reply(weft_bridge_t *self, zmq_msg_t *frames, int count, weft_slice_t question)
{
    uint64_t id = s_answer(self, question);
    if (weft_unread_bytes(self->unread) + self->value.size > S_UNREAD_BYTES) {
        struct weft_bridge_answer_record refusal;
        weft_bridge_answer_record_init(&refusal);
        refusal.id = id;
        refusal.error = WEFT_ERR_OVERLOADED;
        s_encode(self, &refusal, "too many answers of this bridge wait to be read");
    }
    weft_node_counter_add(self->node, WEFT_BRIDGE_ANSWERS, 1);
    for (int i = 0; i + 1 < count; i++) // whom it goes to; one that is gone or full gets nothing
        if (zmq_msg_send(&frames[i], self->router, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) return;
    (void) !weft_unread_send(self->unread, self->router, weft_buf_slice(&self->value), 0, ZMQ_DONTWAIT);
}

// False: nothing is there.
static bool s_take(weft_bridge_t *self)
{
    zmq_msg_t frames[S_FRAMES_MAX], rest;
    int count = 0;
    bool more = true, there = false;
    while (more) {
        zmq_msg_t *frame = count < S_FRAMES_MAX ? &frames[count] : &rest;
        zmq_msg_init(frame);
        if (zmq_msg_recv(frame, self->router, there ? 0 : ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(frame);
            break;
        }
        there = true;
        more = zmq_msg_more(frame) != 0;
        if (count < S_FRAMES_MAX)
            count++;
        else
            zmq_msg_close(frame);
    }
    if (count >= 2)
        s_reply(self, frames, count, weft_bytes(zmq_msg_data(&frames[count - 1]), zmq_msg_size(&frames[count - 1])));
    for (int i = 0; i < count; i++) zmq_msg_close(&frames[i]);
    return there;
}

void weft_bridge_answer(weft_bridge_t *self)
{
    for (int i = 0; self->router != NULL && i < S_QUESTIONS_MAX && s_take(self); i++) {}
}
