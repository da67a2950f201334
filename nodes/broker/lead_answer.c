// SPDX-License-Identifier: MPL-2.0
// Answers. The data of one partition leaves as it was read; that of several is copied once, into one frame, since a
// message has one. Partitions are served in turn: who could not be served for want of room stands first next time, who
// was served stands at the end once it has more. What somebody waits for goes first.
#include "lead_self.h"

#include <weft_gen/limits.h>
#include <weft_gen/messages.h>

#include <stdlib.h>
#include <string.h>

#define S_ANSWERS_MAX 4096     // partitions in one answer
#define S_BEYOND 4             // this part of shard.bytes comes on top for followers
#define S_RETRY_US (10 * 1000) // when there is no room for data: until it is looked for again

// ---- gathering

static struct weft_replicate_answer *s_add(weft_lead_t *self, weft_id_t topic, uint32_t partition)
{
    if (self->answer_count == self->answer_capacity) {
        self->answer_capacity = self->answer_capacity == 0 ? 64 : 2 * self->answer_capacity;
        self->answers = weft_realloc(self->answers, self->answer_capacity * sizeof self->answers[0]);
    }
    struct weft_replicate_answer *answer = &self->answers[self->answer_count++];
    *answer = (struct weft_replicate_answer){.topic_id = topic,
                                             .partition = partition,
                                             .high_watermark = -1,
                                             .durable = -1,
                                             .log_end = -1,
                                             .epoch = -1,
                                             .epoch_end = -1};
    return answer;
}

static void s_add_frame(weft_lead_t *self, weft_frame_t *frame)
{
    if (self->frame_count == self->frame_capacity) {
        size_t capacity = self->frame_capacity == 0 ? 64 : 2 * self->frame_capacity;
        weft_frame_t *frames = weft_alloc(capacity * sizeof *frames);
        for (size_t i = 0; i < self->frame_count; i++) {
            frames[i] = WEFT_FRAME_EMPTY;
            weft_frame_move(&frames[i], &self->frames[i]);
        }
        free(self->frames);
        self->frames = frames;
        self->frame_capacity = capacity;
    }
    self->data_bytes += frame->size;
    self->frames[self->frame_count] = WEFT_FRAME_EMPTY;
    weft_frame_move(&self->frames[self->frame_count++], frame);
}

static struct weft_replicate_answer *s_add_marks(weft_lead_t *self, struct weft_lead_entry *entry)
{
    weft_partition_t *partition = entry->partition;
    struct weft_replicate_answer *answer = s_add(self, partition->topic, partition->number);
    answer->high_watermark = weft_replica_committed(partition->replica);
    answer->durable = weft_replica_durable(partition->replica);
    answer->log_start = weft_log_start(partition->log);
    answer->log_end = weft_log_end(partition->log);
    answer->urgent = weft_partition_durable_wanted(partition);
    answer->tombstones_below = weft_log_tombstones_below(partition->log);
    if (answer->urgent) entry->sent_lazily = -1;
    weft_ring_take(&entry->in_moved);
    return answer;
}

static void s_add_alignment(weft_lead_t *self, struct weft_lead_entry *entry)
{
    struct weft_replicate_answer *answer = s_add_marks(self, entry);
    answer->high_watermark = answer->durable = -1; // nothing of what it holds is known to be ours
    weft_log_epoch_end(entry->partition->log, entry->last_epoch, &answer->epoch, &answer->epoch_end);
}

static void s_add_errors(weft_lead_t *self, struct weft_lead_session *session)
{
    size_t told = 0;
    for (; told < session->error_count && self->answer_count < S_ANSWERS_MAX; told++) {
        const struct weft_lead_error *error = &session->errors[told];
        struct weft_replicate_answer *answer = s_add(self, error->topic, error->partition);
        answer->error = (int) error->code < 0 ? WEFT_ERR_INTERNAL : error->code; // local codes never travel
        answer->log_start = error->log_start;
    }
    session->error_count -= told;
    if (session->error_count == 0) return;
    memmove(session->errors, session->errors + told, session->error_count * sizeof session->errors[0]);
}

// ---- data

// Reads what comes next for the follower, up to `room` bytes, the first one at least one batch. An error of the disk
// tells it to ask again later.
static weft_err_t s_read(struct weft_lead_entry *entry, size_t room, bool first, weft_frame_t *out)
{
    weft_partition_t *partition = entry->partition;
    weft_shard_t *shard = partition->shard;
    int64_t start = weft_log_start(partition->log), end = weft_log_end(partition->log);
    int64_t offset = entry->offset > start ? entry->offset : start; // below it only in the batch that contains it
    int64_t have_bytes = weft_log_bytes_between(partition->log, offset, end);
    size_t bytes_max = entry->max_bytes < room ? entry->max_bytes : room;
    size_t about = (uint64_t) have_bytes < bytes_max ? (size_t) have_bytes : bytes_max;
    weft_frame_pool_t *pool = about <= WEFT_SHARD_SMALL_FRAME_BYTES ? shard->small_frames : shard->large_frames;
    weft_err_t code = weft_log_read(partition->log, offset, bytes_max, first, end, pool, out);
    if (code == WEFT_OK) return WEFT_OK;
    weft_partition_disk(partition, code, "read");
    if (code == WEFT_ERR_DAMAGED) weft_partition_suspect(partition, entry->offset);
    return code == WEFT_ERR_DAMAGED || code == WEFT_ERR_OFFSET_OUT_OF_RANGE ? code : WEFT_ERR_DISK_FAILED;
}

// False: it did not fit, and goes first next time.
static bool s_add_data(weft_lead_t *self, struct weft_lead_entry *entry, size_t room)
{
    weft_partition_t *partition = entry->partition;
    weft_shard_t *shard = self->shard;
    bool first = self->data_bytes == 0;
    if (!first && room < WEFT_BATCH_HEADER_BYTES) return false;
    if (!partition->in_used && !weft_shard_make_room(shard)) return false;
    weft_frame_t frame = WEFT_FRAME_EMPTY;
    weft_err_t code = s_read(entry, room, first, &frame);
    if (code == WEFT_OK && frame.size == 0) {
        weft_frame_drop(&frame);
        return false;
    }
    weft_partition_used(partition);
    struct weft_replicate_answer *answer = s_add_marks(self, entry);
    entry->awaiting = true;
    answer->error = code;
    if (code != WEFT_OK) return true;
    answer->bytes = (uint32_t) frame.size;
    // The reply may end before the log does; then the next one says whether anybody waits.
    if (!answer->urgent) entry->sent_lazily = answer->log_end;
    s_add_frame(self, &frame);
    return true;
}

// Is there room with the peer and the shard for what may be read? Part of it is the followers' alone: consumers that take
// nothing off must not hold up acknowledgements (REPLICATION.md rule 8).
static bool s_no_room(weft_lead_t *self, const struct weft_lead_session *session)
{
    return weft_shard_peer_full(self->shard, &session->peer, session->max_bytes) ||
           weft_shard_frames_full(self->shard, session->max_bytes, self->shard->bytes_max / S_BEYOND);
}

// True: something ready is left.
static bool s_add_ready(weft_lead_t *self, struct weft_lead_session *session, weft_ring_t *ready)
{
    bool full = s_no_room(self, session);
    struct weft_ring_node *node = ready->head.next, *next;
    bool left = false;
    for (; node != &ready->head && self->answer_count < S_ANSWERS_MAX; node = next) {
        struct weft_lead_entry *entry = node->owner;
        next = node->next;
        if (entry->align) {
            s_add_alignment(self, entry);
        } else if (entry->awaiting || entry->offset >= weft_log_end(entry->partition->log)) {
            s_add_marks(self, entry);
        } else {
            size_t room = session->max_bytes > self->data_bytes ? session->max_bytes - self->data_bytes : 0;
            left = full || !s_add_data(self, entry, room);
            if (left) break;
        }
        weft_ring_take(&entry->in_ready);
    }
    return left;
}

static void s_add_moved(weft_lead_t *self, struct weft_lead_session *session)
{
    while (!weft_ring_empty(&session->moved) && self->answer_count < S_ANSWERS_MAX) {
        struct weft_lead_entry *entry = weft_ring_first(&session->moved);
        weft_ring_take(&entry->in_moved);
        if (!entry->align) s_add_marks(self, entry);
    }
}

// ---- the reply

static void s_one_frame(weft_lead_t *self, weft_frame_t *out)
{
    if (self->frame_count == 1) {
        weft_frame_move(out, &self->frames[0]);
        return;
    }
    weft_shard_t *shard = self->shard;
    weft_frame_pool_t *pool =
        self->data_bytes <= WEFT_SHARD_SMALL_FRAME_BYTES ? shard->small_frames : shard->large_frames;
    weft_frame_pool_take(pool, self->data_bytes, out);
    size_t at = 0;
    for (size_t i = 0; i < self->frame_count; i++) {
        memcpy(out->data + at, self->frames[i].data, self->frames[i].size);
        at += self->frames[i].size;
        weft_frame_drop(&self->frames[i]);
    }
}

static void s_reply(weft_lead_t *self, struct weft_lead_session *session)
{
    weft_shard_t *shard = self->shard;
    const struct weft_asker asker = session->wait->asker;
    weft_waits_give(&shard->waits, session->wait);
    session->wait = NULL;
    weft_ring_take(&session->in_woken); // its time may have been up in the turn in which it was woken
    session->fresh = false;
    struct weft_replicate_reply reply;
    weft_replicate_reply_init(&reply);
    reply.header.id = asker.request_id;
    reply.session = session->id;
    reply.partitions = self->answers;
    reply.partitions_count = self->answer_count;
    weft_frame_t data = WEFT_FRAME_EMPTY;
    if (self->frame_count != 0) s_one_frame(self, &data);
    weft_counter_add(shard->counters, WEFT_COUNT_REPLICATE_BYTES, self->data_bytes);
    weft_buf_clear(&shard->reply);
    weft_replicate_reply_encode(&reply, &shard->reply);
    weft_shard_answer(shard, &asker, &data);
    weft_frame_drop(&data);
}

void weft_lead_answer(struct weft_lead_session *session, enum weft_lead_why why)
{
    weft_lead_t *self = session->lead;
    self->answer_count = self->frame_count = 0;
    self->data_bytes = 0;
    s_add_errors(self, session);
    bool left = s_add_ready(self, session, &session->ready[0]);
    if (!left) left = s_add_ready(self, session, &session->ready[1]);
    if (why == WEFT_LEAD_TIME_IS_UP) s_add_moved(self, session);
    if (self->answer_count == 0 && why == WEFT_LEAD_WHAT_THERE_IS && !session->fresh) {
        if (left) self->retry_us = weft_port_now_us(&self->shard->port) + S_RETRY_US;
        return;
    }
    s_reply(self, session);
}
