// SPDX-License-Identifier: MPL-2.0
// Offsets of the group, at the leader of its partition of __offsets. One commit is under way at a time and carries the
// newest that is wanted of each partition, so that however fast a program commits, nothing queues up; n grows with each
// that is sent, so that one which comes late is refused and not taken for news. What an attempt carried is wanted again
// if it was not answered.
#include "consumer_inner.h"

#include "../base/mutate.h"
#include "../core/offsets.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ENTRIES_MAX 5000         // in one request
#define ENTRY_BYTES 128          // of a request, at most, but for names and metadata
#define REQUEST_BYTES_MAX 800000 // of the 1 MiB that a header may have
#define TRIES_MAX 4
#define BEGIN_AGAIN_US 500000

static struct weft_coffsets *s_of(weft_consumer_part_t *self)
{
    return &self->offsets;
}

void weft_consumer_offsets_init(weft_consumer_part_t *self, const weft_options_t *options)
{
    struct weft_coffsets *offsets = s_of(self);
    snprintf(offsets->group, sizeof offsets->group, "%s", weft_options_text(options, "group"));
    offsets->auto_us = *offsets->group ? weft_options_int(options, "auto.commit.ms") * 1000 : 0;
    weft_buf_init(&offsets->commit.call.header);
    weft_buf_init(&offsets->fence.call.header);
    weft_buf_init(&offsets->ask.header);
    weft_buf_init(&offsets->begin.header);
    weft_buf_init(&offsets->look.header);
    weft_arena_init(&offsets->look_arena);
}

void weft_consumer_offsets_fini(weft_consumer_part_t *self)
{
    struct weft_coffsets *offsets = s_of(self);
    weft_requests_cancel(&self->requests, &offsets->commit.call);
    weft_requests_cancel(&self->requests, &offsets->fence.call);
    weft_requests_cancel(&self->requests, &offsets->ask);
    weft_requests_cancel(&self->requests, &offsets->begin);
    weft_requests_cancel(&self->requests, &offsets->look);
    free(offsets->commit.list);
    free(offsets->fence.list);
    free(offsets->looked);
    weft_arena_fini(&offsets->look_arena);
}

// ---- lists of whom a call is about

static void s_list_add(struct weft_coffsets_call *call, struct weft_cpartition *partition)
{
    if (call->count == call->capacity) {
        call->capacity = call->capacity ? call->capacity * 2 : 16;
        call->list = weft_realloc(call->list, call->capacity * sizeof(void *));
    }
    call->list[call->count++] = partition;
}

static void s_list_forget(struct weft_coffsets_call *call, const struct weft_cpartition *partition)
{
    for (size_t i = 0; i < call->count; i++)
        if (call->list[i] == partition) call->list[i] = NULL;
}

static void s_unwant(struct weft_coffsets *offsets, struct weft_cpartition *partition)
{
    if (partition->commit.want >= 0) offsets->want_count--;
    partition->commit.want = -1;
    free(partition->commit.metadata);
    partition->commit.metadata = NULL;
}

static void s_unsend(struct weft_cpartition *partition)
{
    partition->commit.sent = -1;
    partition->commit.fenced = false;
    free(partition->commit.sent_metadata);
    partition->commit.sent_metadata = NULL;
}

void weft_consumer_offsets_forget(weft_consumer_part_t *self, struct weft_cpartition *partition)
{
    struct weft_coffsets *offsets = s_of(self);
    s_unwant(offsets, partition);
    s_unsend(partition);
    s_list_forget(&offsets->commit, partition);
    s_list_forget(&offsets->fence, partition);
}

// ---- the way to the leader

static weft_id_t s_topic_id(const struct weft_cpartition *partition)
{
    return partition->owned ? partition->topic_id : partition->topic->id;
}

static void s_begun(struct weft_call *call, weft_err_t error, const char *text, const struct weft_reply_header *header,
                    struct weft_message *message)
{
    weft_consumer_part_t *self = call->context;
    struct weft_coffsets *offsets = s_of(self);
    offsets->begin_us = weft_port_now_us(&self->port) + BEGIN_AGAIN_US;
    if (!error) offsets->missing = false;
    if (!error && offsets->topic->state == WEFT_VIEW_MISSING) offsets->topic->state = WEFT_VIEW_ASKED;
    weft_requests_refresh_now(&self->requests);
}

// Nobody committed in this cluster before.
static void s_begin(weft_consumer_part_t *self, int64_t now_us)
{
    struct weft_coffsets *offsets = s_of(self);
    if (offsets->begin.id || now_us < offsets->begin_us) return;
    struct weft_offsets_begin_request request;
    weft_offsets_begin_request_init(&request);
    request.id = weft_requests_id(&self->requests, &offsets->begin);
    weft_buf_clear(&offsets->begin.header);
    weft_offsets_begin_request_encode(&request, &offsets->begin.header);
    offsets->begin.to = WEFT_TO_COORDINATOR;
    offsets->begin.done = s_begun;
    offsets->begin.context = self;
    offsets->begin.attempt_us = self->attempt_us;
    offsets->begin.deadline_us = now_us + self->attempt_us;
    weft_requests_submit(&self->requests, &offsets->begin);
}

bool weft_consumer_aim(weft_consumer_part_t *self, struct weft_call *call, int64_t now_us)
{
    struct weft_coffsets *offsets = s_of(self);
    if (!offsets->topic) {
        offsets->topic = weft_view_topic(&self->view, WEFT_OFFSETS_TOPIC);
        weft_requests_refresh_now(&self->requests);
    }
    offsets->topic->wanted = true;
    if (offsets->missing || offsets->topic->state == WEFT_VIEW_MISSING) s_begin(self, now_us);
    if (offsets->topic->state != WEFT_VIEW_KNOWN || offsets->topic->partition_count < 1) return false;
    call->to = WEFT_TO_LEADER;
    call->topic = offsets->topic;
    call->partition =
        (int32_t) weft_offsets_partition(weft_text(offsets->group), (uint32_t) offsets->topic->partition_count);
    call->context = self;
    return true;
}

// True: a refusal that another try may end.
static bool s_is_passing(weft_err_t error)
{
    enum weft_err_class class = weft_err_class(error);
    return error != WEFT_ERR_FENCED && (class == WEFT_CLASS_RETRY || class == WEFT_CLASS_REFRESH);
}

static void s_try_later(weft_consumer_part_t *self, struct weft_coffsets_call *call, weft_err_t error,
                        uint32_t retry_ms)
{
    if (error == WEFT_ERR_UNKNOWN_TOPIC) s_of(self)->missing = true;
    bool at_once = (call->call.redirected || error == WEFT_ERR_LOCAL_NOT_CONNECTED) && call->tries < 2;
    if (call->tries < TRIES_MAX) call->tries++;
    weft_counter_add(&self->counters, WEFT_CONSUMER_RETRIES, 1);
    int64_t wait_us = at_once ? 0 : weft_requests_backoff_us(&self->requests, call->tries);
    if (wait_us < (int64_t) retry_ms * 1000) wait_us = (int64_t) retry_ms * 1000;
    call->retry_us = weft_port_now_us(&self->port) + wait_us;
}

// Sends what was encoded; when to come back.
static int64_t s_try(weft_consumer_part_t *self, struct weft_coffsets_call *call, int64_t now_us)
{
    call->call.attempt_us = self->attempt_us / 3; // a leader that is gone is found out while there is time
    call->call.parked_us = 0;
    if (weft_requests_try(&self->requests, &call->call) == WEFT_OK) return WEFT_TIME_NEVER;
    weft_requests_cancel(&self->requests, &call->call);
    call->retry_us = now_us + self->requests.config.backoff_us; // not at every turn till the leader is reached
    return call->retry_us;
}

// ---- committed: raises the fence, tells where to begin

static void s_fence_answered(weft_consumer_part_t *self, struct weft_cpartition *partition,
                             const struct weft_committed_offset *offset)
{
    if (!partition || partition->state != WEFT_CSTATE_FENCE) return;
    if (!offset->error)
        weft_consumer_fenced(self, partition, offset->offset, offset->epoch);
    else if (offset->error == WEFT_ERR_FENCED)
        weft_consumer_lose(self, partition, "its offsets have another owner by now");
    else if (weft_err_of_number(offset->error) != WEFT_ERR_UNKNOWN_TOPIC &&
             weft_err_class(weft_err_of_number(offset->error)) == WEFT_CLASS_PERMANENT)
        weft_consumer_stop_partition(self, partition, WEFT_EVENT_STOPPED, -1, -1, weft_err_of_number(offset->error),
                                     weft_err_sentence(weft_err_of_number(offset->error)));
}

static void s_fences_answered(struct weft_call *call, weft_err_t error, const char *text,
                              const struct weft_reply_header *header, struct weft_message *message)
{
    weft_consumer_part_t *self = call->context;
    struct weft_coffsets_call *fence = &s_of(self)->fence;
    struct weft_committed_reply reply;
    struct weft_error why;
    if (!error) {
        error = weft_committed_reply_decode(&self->requests.codec, weft_frame_slice(&message->header), &reply, &why);
        text = why.text;
    }
    if (!error && reply.offsets_count != fence->count) {
        error = WEFT_ERR_INTERNAL;
        text = "the answer does not tell of every partition that was asked for";
    }
    for (size_t i = 0; i < fence->count && error; i++) {
        struct weft_cpartition *partition = fence->list[i];
        if (!partition || partition->state != WEFT_CSTATE_FENCE) continue;
        partition->unheard = s_is_passing(error) ? error : WEFT_OK;
        if (!s_is_passing(error) && error != WEFT_ERR_INTERNAL)
            weft_consumer_stop_partition(self, partition, WEFT_EVENT_STOPPED, -1, -1, error, text);
    }
    size_t count = fence->count;
    fence->count = 0;
    if (error) {
        s_try_later(self, fence, error, header ? header->retry_ms : 0);
        return;
    }
    for (size_t i = 0; i < count; i++) s_fence_answered(self, fence->list[i], &reply.offsets[i]);
    fence->tries = 0;
    bool again = false; // of a topic that the broker does not know yet
    for (size_t i = 0; i < count; i++)
        if (fence->list[i] && fence->list[i]->state == WEFT_CSTATE_FENCE && !fence->list[i]->lost) again = true;
    if (again) s_try_later(self, fence, WEFT_ERR_LOCAL_WOULD_BLOCK, 0);
}

static bool s_is_ready_to_fence(const struct weft_cpartition *partition)
{
    if (partition->state != WEFT_CSTATE_FENCE || partition->lost || partition->letting_go) return false;
    return partition->owned || partition->topic->state == WEFT_VIEW_KNOWN;
}

static int64_t s_fence_turn(weft_consumer_part_t *self, int64_t now_us)
{
    struct weft_coffsets *offsets = s_of(self);
    struct weft_coffsets_call *fence = &offsets->fence;
    if (fence->call.state == WEFT_CALL_SENT) return WEFT_TIME_NEVER;
    fence->count = 0;
    for (size_t i = 0; i < self->partition_count && fence->count < ENTRIES_MAX; i++)
        if (s_is_ready_to_fence(self->partitions[i])) s_list_add(fence, self->partitions[i]);
    if (!fence->count) return WEFT_TIME_NEVER;
    if (!weft_consumer_aim(self, &fence->call, now_us)) return now_us + self->requests.config.backoff_us;
    if (fence->retry_us > now_us) return fence->retry_us;
    struct weft_committed_request request;
    weft_committed_request_init(&request);
    request.id = weft_requests_id(&self->requests, &fence->call);
    request.group = weft_text(offsets->group);
    request.entries = weft_calloc(fence->count, sizeof *request.entries);
    request.entries_count = fence->count;
    for (size_t i = 0; i < fence->count; i++)
        request.entries[i] = (struct weft_committed_entry){.topic_id = s_topic_id(fence->list[i]),
                                                           .partition = (uint32_t) fence->list[i]->index,
                                                           .token = fence->list[i]->token};
    weft_buf_clear(&fence->call.header);
    weft_committed_request_encode(&request, &fence->call.header);
    free(request.entries);
    fence->call.done = s_fences_answered;
    return s_try(self, fence, now_us);
}

// ---- commit: what is wanted

void weft_consumer_want(weft_consumer_part_t *self, struct weft_cpartition *partition, bool spare)
{
    struct weft_ccommit *commit = &partition->commit;
    int64_t offset = partition->position;
    int32_t epoch = partition->read_epoch;
    if (partition->state == WEFT_CSTATE_FENCE || partition->lost || offset < 0) return;
    if (weft_mutated("commit_runs_ahead") && partition->fetch_offset > offset) offset = partition->fetch_offset;
    int64_t newest = commit->want >= 0 ? commit->want : commit->sent >= 0 ? commit->sent : commit->done;
    bool spared = spare && self->handed == partition && offset != newest; // else the program committed it itself
    if (spared) {
        offset--;
        epoch = self->handed_epoch;
    }
    if (offset == newest) return;
    s_unwant(s_of(self), partition);
    commit->want = offset;
    commit->want_epoch = epoch;
    s_of(self)->want_count++;
}

void weft_consumer_want_at(weft_consumer_part_t *self, struct weft_cpartition *partition,
                           const struct weft_group_offset *at)
{
    struct weft_ccommit *commit = &partition->commit;
    s_unwant(s_of(self), partition);
    commit->want = at->offset;
    commit->want_epoch = at->leader_epoch;
    // Of what was read the program need not tell: no record before that offset is of a newer epoch than the last one.
    bool read = partition->state == WEFT_CSTATE_READ && at->offset <= partition->position;
    if (at->leader_epoch < 0 && read) commit->want_epoch = partition->read_epoch;
    if (at->metadata && *at->metadata) commit->metadata = weft_strdup(at->metadata);
    s_of(self)->want_count++;
}

bool weft_consumer_offsets_idle(const weft_consumer_part_t *self)
{
    return !self->offsets.want_count && !self->offsets.commit.count;
}

// What was asked for up to now is answered.
static void s_end_round(weft_consumer_part_t *self)
{
    struct weft_coffsets *offsets = s_of(self);
    if (!weft_consumer_offsets_idle(self)) return;
    if (offsets->round_error) {
        offsets->failed_from = offsets->answered + 1;
        offsets->failed_to = offsets->asked;
        offsets->failed = offsets->round_error;
        snprintf(offsets->failed_text, sizeof offsets->failed_text, "%s", offsets->round_text);
    }
    offsets->answered = offsets->asked;
    offsets->round_error = WEFT_OK;
    offsets->token_tries = 0;
    offsets->commit.begun_us = 0;
}

uint64_t weft_consumer_ticket(weft_consumer_part_t *self)
{
    uint64_t ticket = ++s_of(self)->asked;
    s_end_round(self);
    return ticket;
}

static void s_failed(weft_consumer_part_t *self, struct weft_cpartition *partition, int64_t offset, weft_err_t error,
                     const char *text)
{
    struct weft_coffsets *offsets = s_of(self);
    weft_counter_add(&self->counters, WEFT_CONSUMER_COMMITS_FAILED, 1);
    if (!offsets->round_error) {
        offsets->round_error = error;
        snprintf(offsets->round_text, sizeof offsets->round_text, "%s", text);
    }
    if (error == WEFT_ERR_FENCED && partition->owned)
        weft_consumer_lose(self, partition, text);
    else if (!partition->lost)
        weft_consumer_tell(self, WEFT_EVENT_COMMIT_FAILED, partition->topic, partition->index, partition->commit.done,
                           offset, error, text);
}

void weft_consumer_give_up(weft_consumer_part_t *self, weft_err_t error, const char *text)
{
    struct weft_coffsets *offsets = s_of(self);
    if (!*offsets->group || weft_consumer_offsets_idle(self)) return;
    weft_requests_cancel(&self->requests, &offsets->commit.call);
    weft_requests_cancel(&self->requests, &offsets->ask);
    offsets->token_wanted = false;
    offsets->commit.count = 0;
    for (size_t i = 0; i < self->partition_count; i++) {
        struct weft_cpartition *partition = self->partitions[i];
        struct weft_ccommit *commit = &partition->commit;
        int64_t offset = commit->want >= 0 ? commit->want : commit->sent;
        s_unwant(offsets, partition);
        s_unsend(partition);
        if (offset >= 0) s_failed(self, partition, offset, error, text);
    }
    offsets->want_count = 0;
    s_end_round(self);
}

void weft_consumer_no_token(weft_consumer_part_t *self, weft_err_t error, const char *text)
{
    for (size_t i = 0; i < self->partition_count; i++) {
        struct weft_cpartition *partition = self->partitions[i];
        int64_t offset = partition->commit.want;
        if (!partition->commit.fenced) continue;
        partition->commit.fenced = false;
        if (offset < 0) continue;
        s_unwant(s_of(self), partition);
        s_failed(self, partition, offset, error, text);
    }
    s_end_round(self);
}

// ---- commit: answers

// It is wanted again, unless something newer is.
static void s_want_again(struct weft_coffsets *offsets, struct weft_cpartition *partition)
{
    struct weft_ccommit *commit = &partition->commit;
    if (commit->want < 0 && commit->sent >= 0) {
        commit->want = commit->sent;
        commit->want_epoch = commit->sent_epoch;
        commit->metadata = commit->sent_metadata;
        commit->sent_metadata = NULL;
        offsets->want_count++;
    }
    s_unsend(partition);
}

static void s_commit_refused(weft_consumer_part_t *self, struct weft_cpartition *partition, weft_err_t error,
                             const char *text)
{
    bool fenced = error == WEFT_ERR_FENCED && weft_consumer_want_token(self, partition);
    if (fenced || (s_is_passing(error) && error != WEFT_ERR_UNKNOWN_TOPIC)) {
        s_want_again(s_of(self), partition);
        partition->commit.fenced = fenced;
        return;
    }
    int64_t offset = partition->commit.sent;
    s_unsend(partition);
    s_failed(self, partition, offset, error, text);
}

// True: some are to be tried again.
static bool s_commit_taken(weft_consumer_part_t *self, const struct weft_commit_reply *reply)
{
    bool again = false;
    struct weft_coffsets_call *commit = &s_of(self)->commit;
    if (!reply->refused_count) s_of(self)->token_tries = 0;
    for (size_t i = 0; i < reply->refused_count; i++) {
        const struct weft_refused_entry *refused = &reply->refused[i];
        if (refused->index >= commit->count || !commit->list[refused->index]) continue;
        char text[256];
        snprintf(text, sizeof text, "%.*s", (int) refused->message.size, (const char *) refused->message.data);
        weft_err_t error = weft_err_of_number(refused->error);
        s_commit_refused(self, commit->list[refused->index], error, *text ? text : weft_err_sentence(error));
        again = again || commit->list[refused->index]->commit.want >= 0;
        commit->list[refused->index] = NULL;
    }
    for (size_t i = 0; i < commit->count; i++) {
        struct weft_cpartition *partition = commit->list[i];
        if (!partition) continue;
        partition->commit.done = partition->commit.sent;
        s_unsend(partition);
        weft_counter_add(&self->counters, WEFT_CONSUMER_COMMITS, 1);
    }
    return again;
}

// Of a single entry the header has the error: is it the entry's topic that is unknown, or __offsets?
static bool s_is_of_entry(const struct weft_coffsets *offsets, weft_err_t error)
{
    return error == WEFT_ERR_UNKNOWN_TOPIC && offsets->commit.count == 1 && offsets->commit.tries > 1 &&
           offsets->topic->state == WEFT_VIEW_KNOWN;
}

static void s_commit_answered(struct weft_call *call, weft_err_t error, const char *text,
                              const struct weft_reply_header *header, struct weft_message *message)
{
    weft_consumer_part_t *self = call->context;
    struct weft_coffsets *offsets = s_of(self);
    struct weft_coffsets_call *commit = &offsets->commit;
    struct weft_commit_reply reply;
    struct weft_error why;
    if (!error) {
        error = weft_commit_reply_decode(&self->requests.codec, weft_frame_slice(&message->header), &reply, &why);
        text = why.text;
    }
    if (!error) {
        commit->tries = 0;
        commit->retry_us = commit->begun_us = 0; // what is wanted beside has its own time
        if (s_commit_taken(self, &reply)) s_try_later(self, commit, WEFT_ERR_OVERLOADED, 0);
    } else if (s_is_passing(error) && !s_is_of_entry(offsets, error)) {
        for (size_t i = 0; i < commit->count; i++)
            if (commit->list[i]) s_want_again(offsets, commit->list[i]);
        s_try_later(self, commit, error, header ? header->retry_ms : 0);
    } else
        for (size_t i = 0; i < commit->count; i++)
            if (commit->list[i]) s_commit_refused(self, commit->list[i], error, text);
    commit->count = 0;
    s_end_round(self);
}

// ---- commit: sending

static void s_send_one(weft_consumer_part_t *self, struct weft_cpartition *partition, struct weft_commit_entry *entry)
{
    struct weft_coffsets *offsets = s_of(self);
    struct weft_ccommit *commit = &partition->commit;
    commit->sent = commit->want;
    commit->sent_epoch = commit->want_epoch;
    commit->sent_metadata = commit->metadata;
    commit->metadata = NULL;
    commit->want = -1;
    offsets->want_count--;
    s_list_add(&offsets->commit, partition);
    *entry = (struct weft_commit_entry){.topic_id = s_topic_id(partition),
                                        .partition = (uint32_t) partition->index,
                                        .offset = commit->sent,
                                        .epoch = commit->sent_epoch,
                                        .token = partition->owned ? partition->token : offsets->token};
    if (weft_mutated("commits_without_epoch")) entry->epoch = -1;
    if (commit->sent_metadata) entry->metadata = weft_text(commit->sent_metadata);
    if (weft_id_is_zero(entry->topic_id)) entry->topic = weft_text(partition->topic->name);
}

static void s_encode_commit(weft_consumer_part_t *self)
{
    struct weft_coffsets *offsets = s_of(self);
    struct weft_coffsets_call *commit = &offsets->commit;
    struct weft_commit_entry *entries = weft_calloc(ENTRIES_MAX, sizeof *entries);
    size_t count = 0, bytes = 0;
    for (size_t i = 0; i < self->partition_count && count < ENTRIES_MAX && bytes < REQUEST_BYTES_MAX; i++) {
        struct weft_cpartition *partition = self->partitions[i];
        if (partition->commit.want < 0) continue;
        s_send_one(self, partition, &entries[count]);
        bytes += ENTRY_BYTES + entries[count].metadata.size + entries[count].topic.size;
        count++;
    }
    struct weft_commit_request request;
    weft_commit_request_init(&request);
    request.id = weft_requests_id(&self->requests, &commit->call);
    request.group = weft_text(offsets->group);
    request.n = weft_mutated("commits_uncounted") ? 0 : ++offsets->n;
    request.entries = entries;
    request.entries_count = count;
    weft_buf_clear(&commit->call.header);
    weft_commit_request_encode(&request, &commit->call.header);
    free(entries);
}

static int64_t s_commit_turn(weft_consumer_part_t *self, int64_t now_us)
{
    struct weft_coffsets *offsets = s_of(self);
    struct weft_coffsets_call *commit = &offsets->commit;
    if (weft_consumer_offsets_idle(self)) return WEFT_TIME_NEVER;
    if (!commit->begun_us) commit->begun_us = now_us;
    int64_t deadline_us = commit->begun_us + self->attempt_us;
    if (now_us >= deadline_us) {
        weft_consumer_give_up(self, WEFT_ERR_LOCAL_TIMED_OUT, "the leader of the group's offsets did not answer");
        return WEFT_TIME_NEVER;
    }
    if (commit->call.state == WEFT_CALL_SENT) return deadline_us;
    if (offsets->token_wanted) {
        weft_consumer_token_turn(self, now_us, deadline_us);
        return deadline_us;
    }
    if (!weft_consumer_aim(self, &commit->call, now_us)) return now_us + self->requests.config.backoff_us;
    if (commit->retry_us > now_us) return commit->retry_us;
    s_encode_commit(self);
    commit->call.done = s_commit_answered;
    int64_t next_us = s_try(self, commit, now_us);
    if (commit->call.state == WEFT_CALL_SENT) return deadline_us;
    for (size_t i = 0; i < commit->count; i++) s_want_again(offsets, commit->list[i]);
    commit->count = 0;
    return next_us < deadline_us ? next_us : deadline_us;
}

void weft_consumer_auto_commit(weft_consumer_part_t *self, int64_t now_us)
{
    struct weft_coffsets *offsets = s_of(self);
    if (!offsets->auto_us || self->group.closing) return;
    if (!offsets->auto_now && now_us < offsets->auto_last_us + offsets->auto_us) return;
    offsets->auto_last_us = now_us;
    offsets->auto_records = weft_counter_get(&self->counters, WEFT_CONSUMER_RECORDS);
    offsets->auto_now = false;
    for (size_t i = 0; i < self->partition_count; i++) {
        struct weft_cpartition *partition = self->partitions[i];
        weft_consumer_want(self, partition, false);
        // Where it begins is not known yet, but will have to be.
        if (partition->state == WEFT_CSTATE_RESOLVE && partition->commit.done < 0) offsets->auto_now = true;
    }
    (void) weft_consumer_ticket(self);
}

int64_t weft_consumer_offsets_turn(weft_consumer_part_t *self, int64_t now_us)
{
    struct weft_coffsets *offsets = s_of(self);
    int64_t next_us = s_fence_turn(self, now_us);
    int64_t commit_us = s_commit_turn(self, now_us);
    if (commit_us < next_us) next_us = commit_us;
    int64_t look_us = weft_consumer_look_turn(self, now_us);
    if (look_us < next_us) next_us = look_us;
    bool read = offsets->auto_records != weft_counter_get(&self->counters, WEFT_CONSUMER_RECORDS);
    int64_t auto_us = offsets->auto_last_us + offsets->auto_us; // whoever waits in poll looks then
    if (offsets->auto_us && read && auto_us > now_us && auto_us < next_us) next_us = auto_us;
    return next_us;
}
