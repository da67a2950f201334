// SPDX-License-Identifier: MPL-2.0
// Links and partitions: who is pulled from where, and what to do when that changes or fails. Everything is derived from
// the assignment that is in force (weft_follow_update), so it may be called as often as somebody likes.
#include "follow_self.h"

#include "../../lib/base/assert.h"
#include <weft_gen/messages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_SILENCE_US (2 * 1000 * 1000) // beyond the time that a request may be parked
#define S_WAIT_US_MIN (20 * 1000)      // of a partition that was refused, doubled up to
#define S_WAIT_US_MAX (500 * 1000)
#define S_SESSION_WAIT_US_MIN (50 * 1000) // of a session that failed, doubled up to
#define S_SESSION_WAIT_US_MAX (1000 * 1000)
#define S_FAILURES_MAX 16

weft_follow_t *weft_follow_new(weft_shard_t *shard)
{
    weft_follow_t *self = weft_calloc(1, sizeof *self);
    const weft_options_t *options = shard->broker->options;
    self->shard = shard;
    self->next_id = 1;
    self->waiting_us = WEFT_TIME_NEVER;
    self->wait_us = weft_options_int(options, "replica.wait.ms") * 1000;
    self->reply_bytes = (uint32_t) weft_options_int(options, "replica.bytes");
    weft_ring_init(&self->links);
    weft_ring_init(&self->waiting);
    weft_codec_init(&self->codec);
    weft_buf_init(&self->buf);
    return self;
}

// ---- links

static void s_session_init(struct weft_follow_session *self, struct weft_follow_link *link, bool live)
{
    self->link = link;
    self->live = live;
    weft_ring_init(&self->pulls);
    weft_ring_init(&self->due);
}

static struct weft_follow_link *s_open(weft_follow_t *follow, const char *endpoint)
{
    for (struct weft_ring_node *node = follow->links.head.next; node != &follow->links.head; node = node->next) {
        struct weft_follow_link *link = node->owner;
        if (strcmp(link->endpoint, endpoint) == 0) return link;
    }
    struct weft_follow_link *self = weft_calloc(1, sizeof *self);
    self->follow = follow;
    self->in_links.owner = self;
    snprintf(self->endpoint, sizeof self->endpoint, "%s", endpoint);
    s_session_init(&self->sessions[0], self, true);
    s_session_init(&self->sessions[1], self, false);
    weft_ring_init(&self->moved);
    const weft_port_t *port = &follow->shard->port;
    if (port->ops->link_open(port->world, endpoint, &self->link) != WEFT_OK) {
        self->link = 0;
        weft_trace(WEFT_TRACE_WARN, follow->shard->name, "the endpoint '%s' of a leader can't be used", endpoint);
    }
    weft_ring_push(&follow->links, &self->in_links);
    return self;
}

static void s_close(struct weft_follow_link *self)
{
    const weft_port_t *port = &self->follow->shard->port;
    weft_assert(self->pull_count == 0);
    if (self->link != 0) port->ops->link_close(port->world, self->link);
    weft_ring_take(&self->in_links);
    free(self->sessions[0].forget);
    free(self->sessions[1].forget);
    free(self);
}

static struct weft_follow_link *s_link(const weft_follow_t *self, weft_link_t link)
{
    for (struct weft_ring_node *node = self->links.head.next; node != &self->links.head; node = node->next) {
        struct weft_follow_link *one = node->owner;
        if (one->link == link) return one;
    }
    return NULL;
}

// ---- sessions

void weft_follow_session_reset(struct weft_follow_session *self, bool wait)
{
    self->id = 0;
    self->sequence = 0;
    self->outstanding_count = 0;
    self->forget_count = 0;
    for (struct weft_ring_node *node = self->pulls.head.next; node != &self->pulls.head; node = node->next) {
        struct weft_pull *pull = node->owner;
        pull->named = false;
        if (!weft_ring_in(&pull->in_waiting)) weft_pull_due(pull);
    }
    if (self->failures < S_FAILURES_MAX) self->failures++;
    int64_t wait_us = S_SESSION_WAIT_US_MIN << (self->failures < 6 ? self->failures - 1 : 5);
    if (wait_us > S_SESSION_WAIT_US_MAX) wait_us = S_SESSION_WAIT_US_MAX;
    if (!wait && self->failures <= 2) wait_us = 0;
    self->start_us = weft_port_now_us(&self->link->follow->shard->port) + wait_us;
}

static void s_reset_link(struct weft_follow_link *self)
{
    for (size_t i = 0; i < 2; i++) {
        weft_follow_session_reset(&self->sessions[i], false);
        self->sessions[i].failures = 0;
        self->sessions[i].start_us = 0;
    }
    while (!weft_ring_empty(&self->moved)) weft_ring_take(self->moved.head.next);
}

// ---- pulls

weft_follow_t *weft_pull_follow(const struct weft_pull *self)
{
    return self->session->link->follow;
}

void weft_pull_due(struct weft_pull *self)
{
    weft_ring_take(&self->in_waiting);
    weft_ring_take(&self->in_moved); // told with it
    if (!weft_ring_in(&self->in_due)) weft_ring_push(&self->session->due, &self->in_due);
}

void weft_pull_wait(struct weft_pull *self, int64_t least_us)
{
    weft_follow_t *follow = weft_pull_follow(self);
    int64_t wait_us = S_WAIT_US_MIN << (self->failures < 5 ? self->failures : 5);
    if (self->failures < S_FAILURES_MAX) self->failures++;
    if (wait_us > S_WAIT_US_MAX) wait_us = S_WAIT_US_MAX;
    if (wait_us < least_us) wait_us = least_us;
    self->retry_us = weft_port_now_us(&follow->shard->port) + wait_us;
    self->named = false; // an answer that is still on its way is for nobody
    weft_ring_take(&self->in_due);
    weft_ring_take(&self->in_moved);
    weft_ring_push(&follow->waiting, &self->in_waiting);
    if (self->retry_us < follow->waiting_us) follow->waiting_us = self->retry_us;
}

static void s_forget(struct weft_follow_session *self, const weft_partition_t *partition)
{
    if (self->forget_count == self->forget_capacity) {
        self->forget_capacity = self->forget_capacity == 0 ? 16 : 2 * self->forget_capacity;
        self->forget = weft_realloc(self->forget, self->forget_capacity * sizeof self->forget[0]);
    }
    self->forget[self->forget_count++] =
        (struct weft_partition_ref){.topic_id = partition->topic, .partition = partition->number};
}

static void s_detach(weft_partition_t *partition)
{
    struct weft_pull *self = partition->pull;
    if (self == NULL) return;
    partition->pull = NULL;
    struct weft_follow_session *session = self->session;
    // One that is named in the other session, or by another link, is taken along there; this tells of those that go.
    if (session->id != 0 || session->outstanding_count != 0) s_forget(session, partition);
    session->link->pull_count--;
    weft_shard_gauge(partition->shard, WEFT_COUNT_PARTITIONS_FOLLOWED, -1);
    weft_ring_take(&self->in_pulls);
    weft_ring_take(&self->in_due);
    weft_ring_take(&self->in_moved);
    weft_ring_take(&self->in_waiting);
    free(self);
}

static void s_attach(weft_partition_t *partition, struct weft_follow_session *session)
{
    struct weft_pull *self = weft_calloc(1, sizeof *self);
    self->partition = partition;
    self->session = session;
    self->in_pulls.owner = self->in_due.owner = self->in_moved.owner = self->in_waiting.owner = self;
    self->epoch = weft_replica_leader_epoch(partition->replica);
    self->told_start = self->told_end = self->told_synced = -1;
    partition->pull = self;
    session->link->pull_count++;
    weft_shard_gauge(partition->shard, WEFT_COUNT_PARTITIONS_FOLLOWED, 1);
    weft_ring_push(&session->pulls, &self->in_pulls);
    weft_pull_due(self);
    // It is in no other session's list of those to be forgotten any more than it is named there: order does not matter,
    // a session forgets only what is its own.
}

// ---- partitions

// The door of the shard that leads it, NULL: none is known.
static const char *s_leader_endpoint(const weft_partition_t *partition)
{
    const weft_shard_t *shard = partition->shard;
    const struct weft_cluster_broker *leader =
        weft_cluster_broker(shard->cluster, weft_replica_leader(partition->replica));
    if (leader == NULL || leader->shard_count == 0 || leader->replica_endpoints == NULL) return NULL;
    const char *endpoint =
        leader->replica_endpoints[weft_cluster_shard_of(partition->topic, partition->number, leader->shard_count)];
    return endpoint == NULL || endpoint[0] == '\0' ? NULL : endpoint;
}

static bool s_follows(const weft_partition_t *partition)
{
    return partition->state == WEFT_PARTITION_OPEN && !partition->disk_failed && !partition->damaged &&
           !partition->shard->stopping && weft_replica_role(partition->replica) == WEFT_ROLE_FOLLOWER;
}

void weft_follow_update(weft_partition_t *partition)
{
    weft_follow_t *self = partition->shard->follow;
    struct weft_pull *pull = partition->pull;
    const char *endpoint = s_follows(partition) ? s_leader_endpoint(partition) : NULL;
    if (endpoint == NULL) {
        s_detach(partition);
        return;
    }
    bool live = weft_replica_in_sync(partition->replica);
    bool stays = pull != NULL && strcmp(pull->session->link->endpoint, endpoint) == 0 && pull->session->live == live;
    if (!stays) {
        s_detach(partition);
        s_attach(partition, &s_open(self, endpoint)->sessions[live ? 0 : 1]);
    } else if (pull->epoch != weft_replica_leader_epoch(partition->replica)) {
        pull->epoch = weft_replica_leader_epoch(partition->replica);
        pull->named = false;
        pull->failures = 0;
        weft_pull_due(pull);
    } else if (weft_ring_in(&pull->in_waiting)) {
        weft_pull_due(pull); // something changed: perhaps what it was refused for
    }
}

void weft_follow_end(weft_partition_t *partition)
{
    s_detach(partition);
}

void weft_follow_moved(weft_partition_t *partition)
{
    struct weft_pull *pull = partition->pull;
    if (pull == NULL || !pull->named || weft_ring_in(&pull->in_due) || weft_ring_in(&pull->in_moved)) return;
    if (pull->told_end == weft_replica_log_end(partition->replica) &&
        pull->told_synced == weft_replica_synced_end(partition->replica) &&
        pull->told_start == weft_replica_log_start(partition->replica))
        return;
    weft_ring_push(&pull->session->link->moved, &pull->in_moved);
}

// ---- world

void weft_follow_link_up(weft_follow_t *self, weft_link_t link)
{
    struct weft_follow_link *one = s_link(self, link);
    if (one == NULL) return;
    one->up = true;
    one->blocked_us = 0;
    s_reset_link(one); // whatever was asked over the old connection
}

void weft_follow_link_down(weft_follow_t *self, weft_link_t link)
{
    struct weft_follow_link *one = s_link(self, link);
    if (one == NULL) return;
    one->up = false;
    s_reset_link(one);
}

void weft_follow_restart(weft_follow_t *self)
{
    for (struct weft_ring_node *node = self->links.head.next; node != &self->links.head; node = node->next)
        s_reset_link(node->owner);
}

void weft_follow_throttle(weft_follow_t *self, int64_t bytes_per_s)
{
    if (self->bytes_per_s == bytes_per_s) return;
    self->bytes_per_s = bytes_per_s;
    self->tokens = 0;
    self->tokens_us = weft_port_now_us(&self->shard->port);
}

// The session that asked request `id`; what was asked before it over the same link is not answered any more.
static struct weft_follow_session *s_answered(struct weft_follow_link *link, uint64_t id)
{
    for (size_t i = 0; i < 2; i++) {
        struct weft_follow_session *session = &link->sessions[i];
        for (size_t k = 0; k < session->outstanding_count; k++) {
            if (session->outstanding[k].id != id) continue;
            session->outstanding_count -= k + 1;
            memmove(session->outstanding, session->outstanding + k + 1,
                    session->outstanding_count * sizeof session->outstanding[0]);
            return session;
        }
    }
    return NULL;
}

static struct weft_pull *s_find_pull(const struct weft_follow_session *session,
                                     const struct weft_replicate_answer *answer, uint64_t id)
{
    const weft_shard_t *shard = session->link->follow->shard;
    const struct weft_shard_topic *topic = weft_map_get(shard->topics, weft_id_slice(&answer->topic_id));
    if (topic == NULL || answer->partition >= topic->partition_count) return NULL;
    const weft_partition_t *partition = topic->partitions[answer->partition];
    struct weft_pull *pull = partition != NULL ? partition->pull : NULL;
    // Of what it was named for by then; not of another epoch, or before it was refused.
    bool current = pull != NULL && pull->session == session && pull->named && id >= pull->named_id;
    return current ? pull : NULL;
}

static void s_take_answers(struct weft_follow_session *session, const struct weft_replicate_reply *reply,
                           weft_slice_t data)
{
    weft_follow_t *self = session->link->follow;
    size_t told = 0;
    for (size_t i = 0; i < reply->partitions_count; i++) told += reply->partitions[i].bytes;
    if (told != data.size) {
        weft_counter_add(self->shard->counters, WEFT_COUNT_REPLICATE_BAD, 1);
        weft_trace(WEFT_TRACE_WARN, self->shard->name, "%s sent %zu bytes of batches and told of %zu: asked again",
                   session->link->endpoint, data.size, told);
        weft_follow_session_reset(session, true);
        return;
    }
    if (!session->live) self->tokens -= (int64_t) data.size;
    size_t at = 0;
    for (size_t i = 0; i < reply->partitions_count; i++) {
        const struct weft_replicate_answer *answer = &reply->partitions[i];
        struct weft_pull *pull = s_find_pull(session, answer, reply->header.id);
        if (pull != NULL)
            weft_pull_answer(pull, answer,
                             data.data == NULL ? WEFT_SLICE_NIL : weft_slice(data.data + at, answer->bytes));
        at += answer->bytes;
    }
}

void weft_follow_message(weft_follow_t *self, struct weft_message *message)
{
    struct weft_follow_link *link = s_link(self, message->link);
    struct weft_replicate_reply reply;
    weft_shard_t *shard = self->shard;
    if (link == NULL || shard->stopping) return;
    weft_err_t code =
        weft_replicate_reply_decode(&self->codec, weft_frame_slice(&message->header), &reply, &shard->error);
    if (code != WEFT_OK) { // its request's time will be up
        weft_counter_add(shard->counters, WEFT_COUNT_REPLICATE_BAD, 1);
        return;
    }
    struct weft_follow_session *session = s_answered(link, reply.header.id);
    if (session == NULL) return; // it was given up
    if (reply.header.error != WEFT_OK) {
        weft_trace(WEFT_TRACE_DEBUG, shard->name, "%s answers %s", link->endpoint, weft_err_name(reply.header.error));
        weft_follow_session_reset(session, reply.header.error != WEFT_ERR_SESSION_NOT_FOUND);
        return;
    }
    session->id = reply.session;
    session->failures = 0;
    s_take_answers(session, &reply, weft_frame_slice(&message->data));
}

// ---- time

static void s_end_waiting(weft_follow_t *self, int64_t now_us)
{
    struct weft_ring_node *node = self->waiting.head.next, *next;
    self->waiting_us = WEFT_TIME_NEVER;
    for (; node != &self->waiting.head; node = next) {
        struct weft_pull *pull = node->owner;
        next = node->next;
        if (pull->retry_us <= now_us)
            weft_pull_due(pull);
        else if (pull->retry_us < self->waiting_us)
            self->waiting_us = pull->retry_us;
    }
}

static void s_check_silence(struct weft_follow_session *self, int64_t now_us)
{
    if (self->outstanding_count == 0) return;
    int64_t wait_us = self->link->follow->wait_us + S_SILENCE_US;
    if (now_us - self->outstanding[0].sent_us < wait_us) return;
    weft_trace(WEFT_TRACE_DEBUG, self->link->follow->shard->name, "%s does not answer: asked again",
               self->link->endpoint);
    weft_follow_session_reset(self, true);
}

int64_t weft_follow_turn(weft_follow_t *self, int64_t now_us)
{
    if (self->shard->stopping) return WEFT_TIME_NEVER;
    if (now_us >= self->waiting_us) s_end_waiting(self, now_us);
    int64_t next_us = self->waiting_us;
    for (struct weft_ring_node *node = self->links.head.next; node != &self->links.head; node = node->next) {
        struct weft_follow_link *link = node->owner;
        if (!link->up) continue;
        int64_t link_us = weft_follow_link_send(link, now_us);
        if (link_us < next_us) next_us = link_us;
    }
    return next_us;
}

void weft_follow_sweep(weft_follow_t *self, int64_t now_us)
{
    struct weft_ring_node *node = self->links.head.next, *next;
    for (; node != &self->links.head; node = next) {
        struct weft_follow_link *link = node->owner;
        next = node->next;
        s_check_silence(&link->sessions[0], now_us);
        s_check_silence(&link->sessions[1], now_us);
        if (link->pull_count == 0) s_close(link);
    }
}

void weft_follow_destroy(weft_follow_t **self_p)
{
    weft_follow_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    // The world may be gone by now: it closes what it opened.
    while (!weft_ring_empty(&self->links)) {
        struct weft_follow_link *link = weft_ring_first(&self->links);
        weft_assert(link->pull_count == 0);
        weft_ring_take(&link->in_links);
        free(link->sessions[0].forget);
        free(link->sessions[1].forget);
        free(link);
    }
    weft_codec_fini(&self->codec);
    weft_buf_fini(&self->buf);
    free(self->named);
    free(self->progress);
    free(self);
}
