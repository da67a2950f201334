// SPDX-License-Identifier: MPL-2.0
// What the program asks about offsets of its group: to commit, to look. Commits are only wished for here;
// consumer_offsets.c carries them out and answers by tickets.
#include "consumer_inner.h"

#include "../core/offsets.h"

#include <stdio.h>
#include <stdlib.h>

#define LOOKS_MAX 10000

static weft_err_t s_refuse(weft_consumer_part_t *self, weft_err_t error, const char *text)
{
    snprintf(self->text, sizeof self->text, "%s", text);
    return error;
}

static weft_err_t s_check(weft_consumer_part_t *self)
{
    if (!*self->offsets.group)
        return s_refuse(self, WEFT_ERR_INVALID_ARGUMENT, "there is no group to commit for; set the option group");
    if (self->group.leaving || (self->group.closing && !self->group.in_callback))
        return s_refuse(self, WEFT_ERR_LOCAL_CLOSED, "the consumer is closed");
    return WEFT_OK;
}

// ---- commit

weft_err_t weft_consumer_part_commit(weft_consumer_part_t *self, uint64_t *ticket)
{
    weft_err_t err = s_check(self);
    if (err) return err;
    for (size_t i = 0; i < self->partition_count; i++) weft_consumer_want(self, self->partitions[i], false);
    *ticket = weft_consumer_ticket(self);
    return WEFT_OK;
}

static weft_err_t s_check_offset(weft_consumer_part_t *self, const struct weft_group_offset *at)
{
    const char *name = at->topic ? at->topic : "";
    const struct weft_cpartition *partition = weft_consumer_find(self, name, at->partition);
    weft_err_t err = WEFT_OK;
    const char *what = NULL;
    if (at->offset < 0) {
        err = WEFT_ERR_INVALID_ARGUMENT;
        what = "the offset is negative";
    } else if (at->metadata && strlen(at->metadata) > WEFT_OFFSET_METADATA_BYTES_MAX) {
        err = WEFT_ERR_METADATA_TOO_LARGE;
        what = weft_err_sentence(err);
    } else if (!partition || partition->lost) {
        err = WEFT_ERR_NOT_FOUND;
        what = partition ? "the partition was lost" : "the partition is neither owned nor assigned";
    }
    if (err) snprintf(self->text, sizeof self->text, "%.200s/%d: %s", name, (int) at->partition, what);
    return err;
}

weft_err_t weft_consumer_part_commit_offsets(weft_consumer_part_t *self, const struct weft_group_offset *list,
                                             size_t count, uint64_t *ticket)
{
    weft_err_t err = s_check(self);
    for (size_t i = 0; i < count && !err; i++) err = s_check_offset(self, &list[i]);
    if (err) return err;
    for (size_t i = 0; i < count; i++)
        weft_consumer_want_at(self, weft_consumer_find(self, list[i].topic, list[i].partition), &list[i]);
    *ticket = weft_consumer_ticket(self);
    return WEFT_OK;
}

bool weft_consumer_part_committed(weft_consumer_part_t *self, uint64_t ticket, weft_err_t *error)
{
    const struct weft_coffsets *offsets = &self->offsets;
    if (ticket > offsets->answered) return false;
    bool failed = ticket >= offsets->failed_from && ticket <= offsets->failed_to;
    *error = failed ? offsets->failed : WEFT_OK;
    if (failed) snprintf(self->text, sizeof self->text, "%s", offsets->failed_text);
    return true;
}

uint64_t weft_consumer_part_token(const weft_consumer_part_t *self, const char *topic, int32_t partition)
{
    const struct weft_cpartition *found = topic ? weft_consumer_find(self, topic, partition) : NULL;
    return found && !found->lost ? found->token : 0;
}

// ---- look

static void s_look_over(weft_consumer_part_t *self, weft_err_t error, const char *text)
{
    struct weft_coffsets *offsets = &self->offsets;
    offsets->look_waits = false;
    offsets->look_done = true;
    offsets->look_error = error;
    if (error) snprintf(self->text, sizeof self->text, "%s", text);
}

static void s_fill(struct weft_coffsets *offsets, struct weft_committed *out, const struct weft_committed_offset *found)
{
    out->offset = found->offset;
    out->leader_epoch = found->epoch;
    out->committed_ms = found->committed_ms;
    out->error = weft_err_of_number(found->error);
    out->metadata = found->metadata.size ? weft_arena_text(&offsets->look_arena, found->metadata) : "";
}

static void s_looked(struct weft_call *call, weft_err_t error, const char *text, const struct weft_reply_header *header,
                     struct weft_message *message)
{
    weft_consumer_part_t *self = call->context;
    struct weft_coffsets *offsets = &self->offsets;
    struct weft_committed_reply reply;
    struct weft_error why;
    if (!error) {
        error = weft_committed_reply_decode(&self->requests.codec, weft_frame_slice(&message->header), &reply, &why);
        text = why.text;
    }
    if (!error && reply.offsets_count != offsets->look_count) {
        error = WEFT_ERR_INTERNAL;
        text = "the answer does not tell of every partition that was asked for";
    }
    for (size_t i = 0; i < offsets->look_count && !error; i++) s_fill(offsets, &offsets->looked[i], &reply.offsets[i]);
    if (error == WEFT_ERR_UNKNOWN_TOPIC) error = WEFT_OK; // nobody has committed anything in this cluster
    s_look_over(self, error, text);
}

static void s_look_send(weft_consumer_part_t *self)
{
    struct weft_coffsets *offsets = &self->offsets;
    struct weft_committed_request request;
    weft_committed_request_init(&request);
    request.id = weft_requests_id(&self->requests, &offsets->look);
    request.group = weft_text(offsets->group);
    request.entries = weft_calloc(offsets->look_count + 1, sizeof *request.entries);
    request.entries_count = offsets->look_count;
    for (size_t i = 0; i < offsets->look_count; i++)
        request.entries[i] = (struct weft_committed_entry){.topic = weft_text(offsets->looked[i].topic),
                                                           .partition = (uint32_t) offsets->looked[i].partition};
    weft_buf_clear(&offsets->look.header);
    weft_committed_request_encode(&request, &offsets->look.header);
    free(request.entries);
    offsets->look_waits = false;
    offsets->look.done = s_looked;
    offsets->look.attempt_us = self->attempt_us / 3;
    weft_requests_submit(&self->requests, &offsets->look);
}

int64_t weft_consumer_look_turn(weft_consumer_part_t *self, int64_t now_us)
{
    struct weft_coffsets *offsets = &self->offsets;
    if (!offsets->look_waits) return WEFT_TIME_NEVER;
    if (now_us >= offsets->look.deadline_us)
        s_look_over(self, WEFT_ERR_LOCAL_TIMED_OUT, "no node told where the group's offsets are");
    else if (weft_consumer_aim(self, &offsets->look, now_us))
        s_look_send(self);
    return offsets->look_waits ? now_us + self->requests.config.backoff_us : WEFT_TIME_NEVER;
}

weft_err_t weft_consumer_part_look(weft_consumer_part_t *self, const struct weft_committed *list, size_t count,
                                   int64_t timeout_us)
{
    struct weft_coffsets *offsets = &self->offsets;
    if (!*offsets->group)
        return s_refuse(self, WEFT_ERR_INVALID_ARGUMENT, "there is no group to look at; set the option group");
    if (!count || count > LOOKS_MAX)
        return s_refuse(self, WEFT_ERR_INVALID_ARGUMENT, "1 to 10,000 partitions can be asked for at once");
    for (size_t i = 0; i < count; i++)
        if (!list[i].topic || !weft_topic_name_is_legal(list[i].topic) || list[i].partition < 0)
            return s_refuse(self, WEFT_ERR_INVALID_TOPIC, weft_err_sentence(WEFT_ERR_INVALID_TOPIC));
    weft_requests_cancel(&self->requests, &offsets->look);
    weft_arena_reset(&offsets->look_arena);
    offsets->looked = weft_realloc(offsets->looked, count * sizeof *list);
    offsets->look_count = count;
    for (size_t i = 0; i < count; i++)
        offsets->looked[i] =
            (struct weft_committed){.topic = weft_arena_text(&offsets->look_arena, weft_text(list[i].topic)),
                                    .partition = list[i].partition,
                                    .offset = -1,
                                    .leader_epoch = -1,
                                    .committed_ms = -1,
                                    .metadata = ""};
    offsets->look_done = false;
    offsets->look_waits = true;
    offsets->look.deadline_us = (self->started ? weft_port_now_us(&self->port) : 0) + timeout_us;
    return WEFT_OK;
}

bool weft_consumer_part_looked(weft_consumer_part_t *self, struct weft_committed *list, weft_err_t *error)
{
    const struct weft_coffsets *offsets = &self->offsets;
    if (!offsets->look_done) return false;
    *error = offsets->look_error;
    for (size_t i = 0; i < offsets->look_count && !*error; i++) {
        const char *topic = list[i].topic;
        list[i] = offsets->looked[i];
        list[i].topic = topic;
    }
    return true;
}
