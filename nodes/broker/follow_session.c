// SPDX-License-Identifier: MPL-2.0
// Requests and reports. A request is sent when the session has none under way, or has something new to say: partitions
// that are new there, that got data, that have to align. Places that only moved are told by `progress`, unless a
// request is about to leave: an entry that the leader has just sent data for would be sent it again.
#include "follow_self.h"

#include "../../lib/base/mutate.h"
#include <weft_gen/messages.h>

#include <string.h>

#define S_NAMED_MAX 2000         // partitions in one request: its header stays below 300 KB
#define S_BLOCKED_US (10 * 1000) // the transport takes nothing: tried again then
#define S_TOKENS_BYTES_MIN 65536 // less is not asked for
#define S_PARTITION_BYTES (1 << 20)
#define S_CATCH_UP_BYTES ((uint32_t) 1 << 20)

// ---- the throttle

static void s_refill(weft_follow_t *self, int64_t now_us)
{
    int64_t most = self->bytes_per_s > S_TOKENS_BYTES_MIN ? self->bytes_per_s : S_TOKENS_BYTES_MIN;
    int64_t us = now_us - self->tokens_us;
    if (us > 1000000) us = 1000000;
    self->tokens += self->bytes_per_s * us / 1000000;
    self->tokens_us = now_us;
    if (self->tokens > most) self->tokens = most;
}

// How much a request of those that catch up may ask for; 0: *next_us tells when to come back. Less than the live ones:
// what they ask for may have to be read from the leader's disk, and everything else of that shard waits meanwhile.
static uint32_t s_allowance(weft_follow_t *self, int64_t now_us, int64_t *next_us)
{
    uint32_t most = self->reply_bytes < S_CATCH_UP_BYTES ? self->reply_bytes : S_CATCH_UP_BYTES;
    if (self->bytes_per_s == 0) return most;
    if (now_us - self->tokens_us >= 1000) s_refill(self, now_us); // less would round the rest away
    if (self->tokens >= S_TOKENS_BYTES_MIN) return self->tokens < (int64_t) most ? (uint32_t) self->tokens : most;
    *next_us = now_us + 1000 + (S_TOKENS_BYTES_MIN - self->tokens) * 1000000 / self->bytes_per_s;
    return 0;
}

// ---- requests

static bool s_may_report(const struct weft_pull *pull)
{
    return weft_replica_aligned(pull->partition->replica) || weft_mutated("follower_reports_unaligned");
}

static void s_name(struct weft_pull *pull, uint64_t id, struct weft_replicate_partition *out)
{
    const weft_partition_t *partition = pull->partition;
    bool lies = weft_mutated("follower_reports_unaligned");
    pull->named = true;
    pull->named_id = id;
    pull->asked_to_align = !weft_replica_aligned(partition->replica);
    pull->told_end = weft_replica_log_end(partition->replica);
    pull->told_synced = weft_replica_synced_end(partition->replica);
    pull->told_start = weft_replica_log_start(partition->replica);
    if (!pull->asked_to_align) pull->partition->reported_epoch = pull->epoch;
    *out = (struct weft_replicate_partition){
        .topic_id = partition->topic,
        .partition = partition->number,
        .leader_epoch = pull->epoch,
        .offset = pull->told_end,
        .synced_end = pull->told_synced,
        .log_start = pull->told_start,
        .last_epoch = weft_replica_last_epoch(partition->replica),
        .align = pull->asked_to_align,
        .max_bytes = S_PARTITION_BYTES,
    };
    if (pull->asked_to_align && lies) weft_ring_push(&pull->session->link->moved, &pull->in_moved);
}

// Names what is due; and, with no request under way, what moved.
static size_t s_name_all(struct weft_follow_session *self, uint64_t id)
{
    weft_follow_t *follow = self->link->follow;
    if (follow->named == NULL) follow->named = weft_alloc(S_NAMED_MAX * sizeof follow->named[0]);
    size_t count = 0;
    while (count < S_NAMED_MAX && !weft_ring_empty(&self->due)) {
        struct weft_pull *pull = weft_ring_first(&self->due);
        weft_ring_take(&pull->in_due);
        s_name(pull, id, &follow->named[count++]);
    }
    if (self->outstanding_count != 0) return count;
    struct weft_ring_node *node = self->link->moved.head.next, *next;
    for (; node != &self->link->moved.head && count < S_NAMED_MAX; node = next) {
        struct weft_pull *pull = node->owner;
        next = node->next;
        if (pull->session != self) continue;
        weft_ring_take(&pull->in_moved);
        s_name(pull, id, &follow->named[count++]);
    }
    return count;
}

static weft_err_t s_send(struct weft_follow_link *self)
{
    const weft_follow_t *follow = self->follow;
    const weft_port_t *port = &follow->shard->port;
    return port->ops->send(port->world, self->link, weft_buf_slice(&follow->buf), NULL);
}

// Not sent: all of it is to be said again.
static void s_unsaid(struct weft_follow_session *self, size_t named, int64_t now_us)
{
    const weft_follow_t *follow = self->link->follow;
    self->link->blocked_us = now_us + S_BLOCKED_US;
    for (size_t i = 0; i < named; i++) {
        const struct weft_replicate_partition *one = &follow->named[i];
        const struct weft_shard_topic *topic = weft_map_get(follow->shard->topics, weft_id_slice(&one->topic_id));
        weft_pull_due(topic->partitions[one->partition]->pull);
    }
}

static void s_ask(struct weft_follow_session *self, uint32_t max_bytes, int64_t now_us)
{
    weft_follow_t *follow = self->link->follow;
    struct weft_replicate_request request;
    weft_replicate_request_init(&request);
    request.id = follow->next_id++;
    request.broker_id = follow->shard->broker->id;
    request.incarnation = follow->shard->incarnation;
    request.session = self->id;
    request.sequence = self->sequence + 1;
    request.max_wait_ms = (uint32_t) (follow->wait_us / 1000);
    request.max_bytes = max_bytes;
    request.forget = self->forget;
    request.forget_count = self->forget_count < S_NAMED_MAX ? self->forget_count : S_NAMED_MAX;
    // One that is followed again must not be forgotten after it was named.
    bool all_forgotten = request.forget_count == self->forget_count;
    request.partitions_count = all_forgotten ? s_name_all(self, request.id) : 0;
    request.partitions = follow->named;
    weft_buf_clear(&follow->buf);
    weft_replicate_request_encode(&request, &follow->buf);
    if (s_send(self->link) != WEFT_OK) {
        s_unsaid(self, request.partitions_count, now_us);
        return;
    }
    self->sequence++;
    self->forget_count -= request.forget_count;
    if (self->forget_count != 0)
        memmove(self->forget, self->forget + request.forget_count, self->forget_count * sizeof self->forget[0]);
    self->outstanding[self->outstanding_count++] = (struct weft_follow_request){request.id, now_us};
}

// Returns when to be called again.
static int64_t s_session_send(struct weft_follow_session *self, int64_t now_us)
{
    if (weft_ring_empty(&self->pulls) && (self->id == 0 || self->forget_count == 0)) {
        self->forget_count = 0;
        return WEFT_TIME_NEVER; // an idle session is forgotten by the leader, too
    }
    bool more = !weft_ring_empty(&self->due) || self->forget_count != 0;
    bool can = self->outstanding_count == 0 || (self->id != 0 && self->outstanding_count < WEFT_FOLLOW_OUTSTANDING_MAX);
    if (!can || (!more && self->outstanding_count != 0)) return WEFT_TIME_NEVER;
    if (now_us < self->start_us) return self->start_us;
    uint32_t max_bytes = self->link->follow->reply_bytes;
    int64_t next_us = WEFT_TIME_NEVER;
    if (!self->live) max_bytes = s_allowance(self->link->follow, now_us, &next_us);
    if (max_bytes == 0) return next_us;
    s_ask(self, max_bytes, now_us);
    return WEFT_TIME_NEVER;
}

// ---- reports

static size_t s_take_moved(struct weft_follow_link *self)
{
    weft_follow_t *follow = self->follow;
    if (follow->progress == NULL) follow->progress = weft_alloc(S_NAMED_MAX * sizeof follow->progress[0]);
    size_t count = 0;
    while (count < S_NAMED_MAX && !weft_ring_empty(&self->moved)) {
        struct weft_pull *pull = weft_ring_first(&self->moved);
        weft_ring_take(&pull->in_moved);
        if (!pull->named || !s_may_report(pull)) continue; // told when it is named
        pull->told_end = weft_replica_log_end(pull->partition->replica);
        pull->told_synced = weft_replica_synced_end(pull->partition->replica);
        pull->told_start = weft_replica_log_start(pull->partition->replica);
        pull->partition->reported_epoch = pull->epoch;
        follow->progress[count++] = (struct weft_partition_progress){.topic_id = pull->partition->topic,
                                                                     .partition = pull->partition->number,
                                                                     .leader_epoch = pull->epoch,
                                                                     .log_end = pull->told_end,
                                                                     .synced_end = pull->told_synced,
                                                                     .log_start = pull->told_start};
    }
    return count;
}

static void s_report(struct weft_follow_link *self, int64_t now_us)
{
    weft_follow_t *follow = self->follow;
    while (!weft_ring_empty(&self->moved)) {
        struct weft_progress_request request;
        weft_progress_request_init(&request);
        request.id = follow->next_id++;
        request.broker_id = follow->shard->broker->id;
        request.incarnation = follow->shard->incarnation;
        request.partitions_count = s_take_moved(self);
        request.partitions = follow->progress;
        if (request.partitions_count == 0) continue;
        weft_buf_clear(&follow->buf);
        weft_progress_request_encode(&request, &follow->buf);
        if (s_send(self) == WEFT_OK) continue;
        self->blocked_us = now_us + S_BLOCKED_US;
        for (size_t i = 0; i < request.partitions_count; i++) {
            const struct weft_shard_topic *topic =
                weft_map_get(follow->shard->topics, weft_id_slice(&follow->progress[i].topic_id));
            struct weft_pull *pull = topic->partitions[follow->progress[i].partition]->pull;
            weft_ring_push(&self->moved, &pull->in_moved);
        }
        return;
    }
}

int64_t weft_follow_link_send(struct weft_follow_link *self, int64_t now_us)
{
    if (now_us < self->blocked_us) return self->blocked_us;
    int64_t next_us = s_session_send(&self->sessions[0], now_us);
    int64_t second_us = s_session_send(&self->sessions[1], now_us);
    if (second_us < next_us) next_us = second_us;
    if (now_us >= self->blocked_us) s_report(self, now_us);
    return now_us < self->blocked_us ? self->blocked_us : next_us;
}
