// SPDX-License-Identifier: MPL-2.0
// The shard as a part: dispatch, turn, stop. A request is guarded and recognised once (weft_request_header_decode),
// then handed to its function; whatever it is, it is answered, refused with a sentence, or parked with a deadline
// (I7). What a stop leaves undone is written before `stopped`: every promise is kept, then the sessions are
// snapshotted, then the sync part (stopped after the shards) marks the directory clean.
#include "follow.h"
#include "lead.h"
#include "offsets.h"
#include "partition.h"
#include "update.h"

#include "../../lib/base/assert.h"
#include "../../lib/core/cluster_view.h"
#include "../../lib/log/compact_part.h"
#include <weft_gen/config.h>
#include <weft_gen/limits.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_OPENS_A_TURN 4 // a millisecond or two, and up to ten where the file system is slow to make files
#define S_SWEEP_US 1000000
#define S_SYNCS_A_LAG 5 // a follower syncs so often within replica.lag.ms, whether or not somebody waits

static weft_shard_t *s_self(struct weft_part *part)
{
    return (weft_shard_t *) part;
}

// ---- messages

static void s_dispatch(weft_shard_t *self, const struct weft_asker *asker, enum weft_api api, weft_slice_t header,
                       weft_frame_t *data)
{
    switch (api) {
    case WEFT_API_PRODUCE: weft_shard_produce(self, asker, header, data); return;
    case WEFT_API_FETCH: weft_shard_fetch(self, asker, header); return;
    case WEFT_API_LIST_OFFSETS: weft_shard_list_offsets(self, asker, header); return;
    case WEFT_API_COMMIT: weft_shard_commit(self, asker, header); return;
    case WEFT_API_COMMITTED: weft_shard_committed(self, asker, header); return;
    case WEFT_API_OFFSETS_LIST: weft_shard_offsets_list(self, asker, header); return;
    case WEFT_API_OFFSETS_DELETE: weft_shard_offsets_delete(self, asker, header); return;
    case WEFT_API_DELETE_RECORDS: weft_shard_delete_records(self, asker, header); return;
    case WEFT_API_PARTITION_STATUS: weft_shard_partition_status(self, asker, header); return;
    case WEFT_API_NODE_STATUS: weft_shard_node_status(self, asker, header); return;
    case WEFT_API_HELLO: weft_shard_hello(self, asker, header); return;
    case WEFT_API_METADATA: weft_shard_metadata(self, asker, header); return;
    case WEFT_API_TOPIC_DESCRIBE: weft_shard_topic_describe(self, asker, header); return;
    case WEFT_API_TOPIC_CREATE:
    case WEFT_API_TOPIC_DELETE:
    case WEFT_API_TOPIC_ALTER:
    case WEFT_API_TOPIC_ADD_PARTITIONS:
    case WEFT_API_CLUSTER_STATUS:
    case WEFT_API_BROKER_REGISTER:
    case WEFT_API_BROKER_HEARTBEAT:
    case WEFT_API_BROKER_DRAIN:
    case WEFT_API_BROKER_REMOVE:
    case WEFT_API_REASSIGN:
    case WEFT_API_REASSIGN_LIST:
    case WEFT_API_BALANCE:
    case WEFT_API_ELECT_LEADER:
    case WEFT_API_CLUSTER_ALTER:
    case WEFT_API_VOTER_CHANGE:
    case WEFT_API_IN_SYNC_CHANGE:
    case WEFT_API_GROUP_CHECK:
    case WEFT_API_GROUP_DELETE:
    case WEFT_API_GROUP_DESCRIBE:
    case WEFT_API_GROUP_HEARTBEAT:
    case WEFT_API_GROUP_LIST:
    case WEFT_API_GROUP_TOKEN:
    case WEFT_API_OFFSETS_BEGIN:
    case WEFT_API_PARTITION_REPORT: weft_shard_to_coordinator(self, asker); return;
    case WEFT_API_REPLICATE: // has a door of its own
    case WEFT_API_PROGRESS:
        weft_shard_refuse(self, api == WEFT_API_REPLICATE || asker->delimited ? asker : NULL, WEFT_ERR_INVALID_REQUEST,
                          "Replicas are served at the broker's replica endpoint, not here.");
        return;
    case WEFT_API_QUORUM:
    // Orders of a coordinator come over the control part's own links: from a peer they are nobody's.
    case WEFT_API_CLUSTER_UPDATE:
    case WEFT_API_UNKNOWN: break;
    }
    weft_shard_refuse(self, asker, WEFT_ERR_UNKNOWN_API, NULL);
}

// What comes in through the door of the other brokers.
static void s_dispatch_replica(weft_shard_t *self, const struct weft_asker *asker, enum weft_api api,
                               weft_slice_t header)
{
    if (api == WEFT_API_REPLICATE)
        weft_lead_replicate(self->lead, asker, header);
    else if (api == WEFT_API_PROGRESS)
        weft_lead_progress(self->lead, asker, header);
    else if (api == WEFT_API_NODE_STATUS)
        weft_shard_node_status(self, asker, header);
    else if (api == WEFT_API_HELLO)
        weft_shard_hello(self, asker, header);
    else
        weft_shard_refuse(self, asker, WEFT_ERR_INVALID_REQUEST,
                          "This endpoint is for the replicas of other brokers; see metadata for the one to use.");
}

// While it stops a shard still tells where things are and how it is.
static bool s_stopping_serves(enum weft_api api)
{
    return api == WEFT_API_HELLO || api == WEFT_API_METADATA || api == WEFT_API_NODE_STATUS ||
           api == WEFT_API_REPLICATE || api == WEFT_API_PROGRESS; // acknowledgements still wait for followers
}

static void s_message(struct weft_part *part, struct weft_message *message)
{
    weft_shard_t *self = s_self(part);
    if (message->link != 0) {
        weft_follow_message(self->follow, message);
        return;
    }
    weft_counter_add(self->counters, WEFT_COUNT_REQUESTS, 1);
    weft_slice_t header = weft_frame_slice(&message->header);
    struct weft_request_header request = {.api = WEFT_API_UNKNOWN};
    self->error.text[0] = '\0';
    weft_err_t code = weft_request_header_decode(header, &request, &self->error);
    const struct weft_asker asker = {.request_id = request.id, .peer = message->peer, .delimited = message->delimited};
    if (code != WEFT_OK) {
        weft_trace(WEFT_TRACE_DEBUG, self->name, "a message is refused: %s", self->error.text);
        weft_shard_refuse(self, &asker, code, self->error.text[0] != '\0' ? self->error.text : NULL);
        return;
    }
    if (self->stopping && !s_stopping_serves(request.api)) {
        weft_shard_refuse(self, &asker, WEFT_ERR_STOPPING, NULL);
        return;
    }
    if (message->peer.door == 1)
        s_dispatch_replica(self, &asker, request.api, header);
    else
        s_dispatch(self, &asker, request.api, header, &message->data);
}

// ---- mail

// The cluster's settings, where this shard obeys one.
static void s_take_settings(weft_shard_t *self)
{
    const char *text = weft_cluster_config(self->cluster, "reassign.bytes");
    if (text == NULL) text = "";
    if (strncmp(text, self->throttle, sizeof self->throttle - 1) == 0) return;
    snprintf(self->throttle, sizeof self->throttle, "%s", text);
    weft_options_t *options = weft_options_new(weft_options_cluster, weft_options_cluster_count, "cluster");
    struct weft_error error;
    int64_t bytes_per_s = 0;
    if (text[0] == '\0' || weft_options_set(options, "reassign.bytes", text, &error) == WEFT_OK)
        bytes_per_s = weft_options_int(options, "reassign.bytes");
    else
        weft_trace(WEFT_TRACE_WARN, self->name, "%s", error.text);
    weft_options_destroy(&options);
    int64_t share = bytes_per_s / (int64_t) self->broker->shard_count;
    weft_follow_throttle(self->follow, bytes_per_s != 0 && share == 0 ? 1 : share);
}

static void s_update(weft_shard_t *self, const weft_update_t *update)
{
    weft_err_t code = weft_update_apply(update, self->cluster, weft_shard_on_change, self, &self->error);
    if (code != WEFT_OK) { // the control part applied the very same bytes before
        weft_trace(WEFT_TRACE_ERROR, self->name, "%s", self->error.text);
        return;
    }
    self->applied_index = update->to_index;
    weft_counter_set(self->counters, WEFT_COUNT_CLUSTER_INDEX, update->to_index);
    if (update->snapshot) weft_shard_reconcile(self);
    s_take_settings(self);
}

static void s_joined(weft_shard_t *self, weft_id_t incarnation)
{
    self->incarnation = incarnation;
    for (size_t i = 0; i < self->all.count; i++)
        if (self->all.items[i]->replica != NULL) weft_replica_set_incarnation(self->all.items[i]->replica, incarnation);
    weft_follow_restart(self->follow);
    weft_shard_reconcile(self);
}

static void s_mail(struct weft_part *part, struct weft_mail *mail)
{
    weft_shard_t *self = s_self(part);
    switch (mail->kind) {
    case WEFT_MAIL_BROKER_JOINED: s_joined(self, ((const struct weft_broker_joined *) mail->body)->incarnation); break;
    case WEFT_MAIL_BROKER_UPDATE: s_update(self, mail->body); break;
    case WEFT_MAIL_BROKER_GROUPS: weft_ledger_groups_told(self, mail->body); break;
    case WEFT_MAIL_SYNCED: weft_shard_synced(self, mail->body); return; // frees it
    case WEFT_MAIL_COMPACTED: weft_shard_compacted(self, mail->body); return;
    default:
        weft_trace(WEFT_TRACE_WARN, self->name, "mail of kind %u is not for a shard", (unsigned) mail->kind);
        break;
    }
    if (mail->body_free != NULL) mail->body_free(mail->body);
}

// ---- turn

static void s_time_out(weft_shard_t *self, int64_t now_us)
{
    struct weft_wait *wait;
    while ((wait = weft_waits_due(&self->waits, now_us)) != NULL) {
        if (wait->kind == WEFT_WAIT_PRODUCE)
            weft_shard_produce_timed_out(self, wait);
        else if (wait->kind == WEFT_WAIT_FETCH)
            weft_shard_fetch_timed_out(self, wait);
        else if (wait->kind == WEFT_WAIT_DELETE)
            weft_shard_delete_timed_out(self, wait);
        else if (wait->kind == WEFT_WAIT_OFFSETS)
            weft_ledger_timed_out(wait);
        else
            weft_lead_timed_out(self->lead, wait);
    }
}

static void s_wake(weft_shard_t *self)
{
    for (size_t i = 0; i < self->woken.count; i++) {
        weft_partition_t *partition = self->woken.items[i];
        partition->in_woken = false;
        if (partition->state != WEFT_PARTITION_OPEN) continue;
        weft_shard_delete_moved(partition);
        weft_shard_fetch_wake(partition);
    }
    self->woken.count = 0;
}

static int64_t s_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// Group commit: soon when somebody waits and none is under way, else after sync.ms.
static int64_t s_sync(weft_shard_t *self, int64_t now_us)
{
    if (self->dirty.count == 0 || self->syncs_in_flight > 0) return WEFT_TIME_NEVER;
    if (!self->sync_urgent && !self->stopping && now_us < self->dirty_due_us) return self->dirty_due_us;
    int64_t until_us = self->stopping ? 0 : weft_shard_gathers_until(self);
    if (now_us < until_us) return until_us;
    weft_shard_sync_post(self);
    return WEFT_TIME_NEVER;
}

// True: more logs are to be opened.
static bool s_open_some(weft_shard_t *self)
{
    for (size_t i = 0; i < S_OPENS_A_TURN && self->unopened.count > 0; i++) {
        weft_partition_t *partition = self->unopened.items[self->unopened.count - 1];
        if (self->stopping || !weft_shard_make_room(self)) return false; // the next sync makes room
        weft_partition_open(partition);
    }
    return self->unopened.count > 0;
}

static int64_t s_turn(struct weft_part *part, int64_t now_us)
{
    weft_shard_t *self = s_self(part);
    s_time_out(self, now_us);
    bool again = s_open_some(self);
    if (self->sweep_at == SIZE_MAX && now_us >= self->sweep_us) {
        self->sweep_at = 0;
        self->sweep_us = now_us + s_min(S_SWEEP_US, self->retention_us);
        weft_lead_sweep(self->lead, now_us);
        weft_follow_sweep(self->follow, now_us);
    }
    if (self->sweep_at != SIZE_MAX && weft_shard_sweep(self, now_us)) again = true;
    s_wake(self);
    int64_t ledgers_us = weft_ledgers_turn(self, now_us);
    int64_t sync_us = s_sync(self, now_us);
    int64_t lead_us = weft_lead_turn(self->lead, now_us), follow_us = weft_follow_turn(self->follow, now_us);
    atomic_store_explicit(&self->shared->turn_us, now_us, memory_order_relaxed);
    if (again) return now_us;
    int64_t next_us = s_min(now_us + WEFT_SHARD_TICK_US, weft_waits_next_us(&self->waits));
    next_us = s_min(s_min(next_us, ledgers_us), s_min(lead_us, follow_us));
    return s_min(next_us, s_min(sync_us, self->sweep_us));
}

// ---- stop

static void s_stop(struct weft_part *part)
{
    weft_shard_t *self = s_self(part);
    if (self->stopping) return;
    self->stopping = true;
    for (size_t i = 0; i < self->all.count; i++) weft_partition_compact_cancel(self->all.items[i]);
    weft_ledgers_stop(self);
    for (size_t i = 0; i < self->all.count; i++) weft_shard_fetch_refuse_all(self->all.items[i], WEFT_ERR_STOPPING);
}

static void s_rest(weft_partition_t *partition)
{
    if (partition->state != WEFT_PARTITION_OPEN || weft_log_broken(partition->log)) return;
    weft_partition_snapshot(partition, weft_log_end(partition->log));
    if (weft_log_dirty(partition->log)) weft_partition_dirty(partition, true);
}

static bool s_stopped(struct weft_part *part)
{
    weft_shard_t *self = s_self(part);
    if (self->syncs_in_flight > 0 || self->compactions > 0) return false;
    // Nothing is appended any more. A snapshot is an open file until its sync: so many at a time.
    for (size_t i = self->used_max / 2; i > 0 && self->rest_at < self->all.count; i--)
        s_rest(self->all.items[self->rest_at++]);
    if (self->dirty.count > 0 && weft_shard_sync_post(self)) return false;
    if (self->rest_at < self->all.count) return false;
    s_time_out(self, WEFT_TIME_NEVER); // who still waits for a mark waits for other replicas: maybe applied
    return true;
}

// ---- life

static void s_start(struct weft_part *part, const struct weft_port *port)
{
    weft_shard_t *self = s_self(part);
    self->port = *port;
    int64_t now_us = weft_port_now_us(port);
    self->started_us = now_us;
    self->lead = weft_lead_new(self, port->ops->seed(port->world));
    self->follow = weft_follow_new(self);
    self->sweep_us = now_us + S_SWEEP_US;
    atomic_store_explicit(&self->shared->turn_us, now_us, memory_order_relaxed);
}

static void s_link_up(struct weft_part *part, weft_link_t link)
{
    weft_follow_link_up(s_self(part)->follow, link);
}

static void s_link_down(struct weft_part *part, weft_link_t link)
{
    weft_follow_link_down(s_self(part)->follow, link);
}

static void s_destroy(struct weft_part **self_p)
{
    weft_shard_t *self = s_self(*self_p);
    if (self == NULL) return;
    *self_p = NULL;
    weft_shard_topics_fini(self);
    weft_lead_destroy(&self->lead);
    while (self->all.count > 0) {
        weft_partition_t *partition = self->all.items[self->all.count - 1];
        weft_partition_destroy(&partition);
    }
    weft_follow_destroy(&self->follow);
    free(self->all.items);
    free(self->unopened.items);
    free(self->dirty.items);
    free(self->woken.items);
    free(self->ledgers.items);
    weft_cluster_destroy(&self->cluster);
    weft_waits_fini(&self->waits);
    weft_codec_fini(&self->codec);
    weft_buf_fini(&self->reply);
    weft_buf_fini(&self->scratch);
    weft_frame_pool_destroy(&self->small_frames);
    weft_frame_pool_destroy(&self->large_frames);
    free(self);
}

static const struct weft_part_ops s_ops = {
    .start = s_start,
    .message = s_message,
    .mail = s_mail,
    .link_up = s_link_up,
    .link_down = s_link_down,
    .turn = s_turn,
    .stop = s_stop,
    .stopped = s_stopped,
    .destroy = s_destroy,
};

struct weft_part *weft_shard_new(struct weft_broker *broker, size_t number)
{
    weft_shard_t *self = weft_calloc(1, sizeof *self);
    self->part.ops = &s_ops;
    self->broker = broker;
    self->shared = &broker->shards[number];
    self->counters = &self->shared->counters;
    self->number = number;
    snprintf(self->name, sizeof self->name, "broker-%d/shard-%zu", (int) broker->id, number);
    self->cluster = weft_cluster_new();
    self->topics = weft_map_new();
    self->topics_by_name = weft_map_new();
    weft_waits_init(&self->waits);
    self->sweep_at = SIZE_MAX;
    self->used_max = weft_shard_open_max(broker->shard_count);
    weft_codec_init(&self->codec);
    weft_buf_init(&self->reply);
    weft_buf_init(&self->scratch);
    self->small_frames = weft_frame_pool_new(WEFT_SHARD_SMALL_FRAME_BYTES, 1024);
    self->large_frames = weft_frame_pool_new(WEFT_SHARD_LARGE_FRAME_BYTES, 64);
    self->peer_bytes_max = (size_t) weft_options_int(broker->options, "peer.bytes");
    self->bytes_max = (size_t) weft_options_int(broker->options, "shard.bytes");
    self->fetch_waiters_max = (size_t) weft_options_int(broker->options, "waiters");
    self->offsets_bytes_max = (size_t) weft_options_int(broker->options, "offsets.bytes");
    self->sync_us = weft_options_int(broker->options, "sync.ms") * 1000;
    self->replica_lag_ms = weft_options_int(broker->options, "replica.lag.ms");
    self->follow_sync_us = s_min(self->sync_us, self->replica_lag_ms * 1000 / S_SYNCS_A_LAG);
    self->retention_us = weft_options_int(broker->options, "retention.check.ms") * 1000;
    return &self->part;
}

// ---- lists

void weft_partition_list_push(struct weft_partition_list *list, weft_partition_t *partition)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        list->items = weft_realloc(list->items, list->capacity * sizeof(weft_partition_t *));
    }
    list->items[list->count++] = partition;
}

void weft_partition_list_remove(struct weft_partition_list *list, const weft_partition_t *partition)
{
    for (size_t i = list->count; i-- > 0;) { // from the end: that is where those of one topic stand
        if (list->items[i] != partition) continue;
        list->items[i] = list->items[--list->count];
        return;
    }
}
