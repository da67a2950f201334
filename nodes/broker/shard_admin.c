// SPDX-License-Identifier: MPL-2.0
// The small requests: about one partition (offsets, delete-records, status) and about this node (hello, status). Marks
// are told only once all that a new leader inherited is committed (rule 5); delete-records never passes the high
// watermark.
#include "partition.h"

#include "../../lib/core/cluster_view.h"
#include <weft_gen/limits.h>
#include <weft_gen/messages.h>

#include <string.h>

#define S_PROTOCOL 1
#define S_DELETES_MAX 1000 // deletions that wait for followers, of one partition
#define S_COUNTERS_MAX 128 // the shard's and its transport's

// Refuses a request that does not decode; true when it did.
static bool s_decoded(weft_shard_t *self, const struct weft_asker *asker, weft_err_t code)
{
    if (code != WEFT_OK) weft_shard_refuse(self, asker, code, self->error.text);
    return code == WEFT_OK;
}

// The led partition whose marks may be told, or NULL: refused.
static weft_partition_t *s_settled(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t topic, weft_id_t id,
                                   uint32_t number)
{
    const struct weft_target target = {topic, id, number};
    weft_partition_t *partition = weft_shard_led_partition(self, asker, &target);
    if (partition == NULL || weft_replica_settled(partition->replica)) return partition;
    weft_shard_refuse_unsettled(self, asker);
    return NULL;
}

// ---- list_offsets

static weft_err_t s_offset_of(weft_partition_t *partition, const struct weft_list_offsets_request *request,
                              bool durable, struct weft_list_offsets_reply *reply)
{
    weft_shard_t *self = partition->shard;
    int64_t mark = durable ? weft_replica_durable(partition->replica) : weft_replica_committed(partition->replica);
    if (weft_slice_is_text(request->at, "earliest")) {
        reply->offset = weft_log_start(partition->log);
    } else if (weft_slice_is_text(request->at, "latest")) {
        reply->offset = mark;
    } else if (weft_slice_is_text(request->at, "time")) {
        int64_t offset = -1, timestamp_ms = -1;
        weft_err_t code = weft_log_offset_by_time(partition->log, request->time_ms, &offset, &timestamp_ms);
        if (code != WEFT_OK) {
            weft_partition_disk(partition, code, "read");
            return weft_error_set(&self->error, WEFT_ERR_DISK_FAILED,
                                  "The offset could not be read from the log; see the broker's trace.");
        }
        bool found = offset >= 0 && offset < mark;
        reply->offset = found ? offset : mark;
        reply->timestamp_ms = found ? timestamp_ms : -1;
    } else {
        return weft_error_set(&self->error, WEFT_ERR_INVALID_REQUEST,
                              "at is '%.*s'; it must be earliest, latest or time.", (int) request->at.size,
                              (const char *) request->at.data);
    }
    return WEFT_OK;
}

void weft_shard_list_offsets(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_list_offsets_request request;
    if (!s_decoded(self, asker, weft_list_offsets_request_decode(&self->codec, header, &request, &self->error))) return;
    bool durable = weft_slice_is_text(request.read, "durable");
    if (!durable && !weft_slice_is_text(request.read, "committed")) {
        weft_shard_refuse(self, asker, WEFT_ERR_INVALID_REQUEST, "read must be committed or durable.");
        return;
    }
    weft_partition_t *partition = s_settled(self, asker, request.topic, request.topic_id, request.partition);
    if (partition == NULL) return;
    if (durable) weft_partition_durable_asked(partition, 0);
    struct weft_list_offsets_reply reply;
    weft_list_offsets_reply_init(&reply);
    if (!s_decoded(self, asker, s_offset_of(partition, &request, durable, &reply))) return;
    reply.header.id = asker->request_id;
    reply.epoch = weft_replica_leader_epoch(partition->replica);
    reply.high_watermark = weft_replica_committed(partition->replica);
    reply.log_start = weft_log_start(partition->log);
    weft_buf_clear(&self->reply);
    weft_list_offsets_reply_encode(&reply, &self->reply);
    weft_shard_answer(self, asker, NULL);
}

// ---- delete_records

static void s_deleted(weft_partition_t *partition, const struct weft_asker *asker)
{
    weft_shard_t *self = partition->shard;
    struct weft_delete_records_reply reply;
    weft_delete_records_reply_init(&reply);
    reply.header.id = asker->request_id;
    reply.log_start = weft_log_start(partition->log);
    weft_buf_clear(&self->reply);
    weft_delete_records_reply_encode(&reply, &self->reply);
    weft_shard_answer(self, asker, NULL);
}

// Also where the log starts there already: an earlier attempt may not have made it durable.
static weft_err_t s_delete(weft_partition_t *partition, int64_t before_offset)
{
    if (before_offset < weft_log_start(partition->log)) return WEFT_OK;
    return weft_partition_trim(partition, before_offset);
}

/*
 * What is not durable yet is not deleted yet: the offsets below the log's start are never given anew, and a power loss
 * would bring a follower back that ends below it. And what only the leader deleted would be back with the next one: a
 * request is parked until the followers did.
 */
static void s_park_delete(weft_partition_t *partition, const struct weft_asker *asker, int64_t before_offset,
                          uint32_t wait_ms)
{
    weft_shard_t *self = partition->shard;
    if (partition->deletes.count >= S_DELETES_MAX) {
        weft_shard_refuse(self, asker, WEFT_ERR_OVERLOADED, NULL);
        return;
    }
    if (wait_ms > WEFT_SHARD_WAIT_MS_MAX) wait_ms = WEFT_SHARD_WAIT_MS_MAX;
    struct weft_wait *wait = weft_waits_take(&self->waits, WEFT_WAIT_DELETE);
    wait->asker = *asker;
    wait->partition = partition;
    wait->before_offset = before_offset;
    weft_wait_list_push(&partition->deletes, wait);
    weft_waits_deadline(&self->waits, wait, weft_port_now_us(&self->port) + (int64_t) wait_ms * 1000);
}

static void s_unpark_delete(struct weft_wait *wait)
{
    weft_partition_t *partition = wait->partition;
    weft_wait_list_remove(&partition->deletes, wait);
    weft_waits_give(&partition->shard->waits, wait);
}

void weft_shard_delete_moved(weft_partition_t *partition)
{
    struct weft_wait *next;
    for (struct weft_wait *wait = partition->deletes.head; wait != NULL; wait = next) {
        next = wait->next;
        bool deleted = wait->before_offset <= weft_log_start(partition->log);
        if (deleted || wait->before_offset > weft_replica_durable(partition->replica)) continue;
        weft_err_t code = s_delete(partition, wait->before_offset);
        if (code == WEFT_OK) continue;
        weft_shard_refuse(partition->shard, &wait->asker, code, NULL);
        s_unpark_delete(wait);
    }
    weft_shard_delete_wake(partition);
}

void weft_shard_delete_wake(weft_partition_t *partition)
{
    struct weft_wait *next;
    int64_t deleted = partition->deletes.count != 0 ? weft_replica_deleted(partition->replica) : 0;
    for (struct weft_wait *wait = partition->deletes.head; wait != NULL; wait = next) {
        next = wait->next;
        if (wait->before_offset > deleted) continue;
        s_deleted(partition, &wait->asker);
        s_unpark_delete(wait);
    }
}

void weft_shard_delete_timed_out(weft_shard_t *self, struct weft_wait *wait)
{
    bool durable = wait->before_offset <= weft_replica_durable(wait->partition->replica);
    weft_shard_refuse(
        self, &wait->asker, WEFT_ERR_TIMED_OUT,
        durable ? "The records are gone from the leader, but not yet from all in-sync replicas; ask again."
                : "The records are not durable yet on all in-sync replicas, and are not deleted before; ask again.");
    s_unpark_delete(wait);
}

void weft_shard_delete_refuse_all(weft_partition_t *partition, weft_err_t code)
{
    while (partition->deletes.head != NULL) {
        struct weft_wait *wait = partition->deletes.head;
        if (code == WEFT_ERR_NOT_LEADER)
            weft_shard_refuse_moved(partition->shard, &wait->asker, code, partition->topic, partition->number);
        else
            weft_shard_refuse(partition->shard, &wait->asker, code, NULL);
        s_unpark_delete(wait);
    }
}

void weft_shard_delete_records(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_delete_records_request request;
    if (!s_decoded(self, asker, weft_delete_records_request_decode(&self->codec, header, &request, &self->error)))
        return;
    weft_partition_t *partition = s_settled(self, asker, request.topic, request.topic_id, request.partition);
    if (partition == NULL) return;
    if (partition->keeps_offsets) {
        weft_shard_refuse(self, asker, WEFT_ERR_INVALID_REQUEST,
                          "Offsets of groups are deleted by `offsets_delete`, never by their place in the log.");
        return;
    }
    int64_t committed = weft_replica_committed(partition->replica);
    int64_t before = request.before_offset == -1 ? committed : request.before_offset;
    if (before < 0 || before > committed) {
        weft_error_set(&self->error, WEFT_ERR_OFFSET_OUT_OF_RANGE,
                       "before_offset %lld is not in 0 to %lld (the high watermark).", (long long) before,
                       (long long) committed);
        weft_shard_refuse(self, asker, WEFT_ERR_OFFSET_OUT_OF_RANGE, self->error.text);
        return;
    }
    bool durable = before <= weft_replica_durable(partition->replica);
    weft_err_t code = durable ? s_delete(partition, before) : WEFT_OK;
    if (code != WEFT_OK) {
        weft_shard_refuse(self, asker, code, NULL);
        return;
    }
    if (!durable) weft_partition_durable_asked(partition, request.timeout_ms);
    if (before <= weft_replica_deleted(partition->replica))
        s_deleted(partition, asker);
    else
        s_park_delete(partition, asker, before, request.timeout_ms);
}

// ---- partition_status

static size_t s_replicas(const weft_partition_t *partition, struct weft_replica_status out[WEFT_REPLICA_MEMBERS_MAX])
{
    struct weft_replica_peer peers[WEFT_REPLICA_MEMBERS_MAX];
    size_t count = weft_replica_peers(partition->replica, peers);
    for (size_t i = 0; i < count; i++)
        out[i] = (struct weft_replica_status){
            .broker = peers[i].broker,
            .in_sync = peers[i].in_sync,
            .log_end = peers[i].log_end,
            .synced_end = peers[i].synced_end,
            .behind_ms = peers[i].behind_ms < UINT32_MAX ? (uint32_t) peers[i].behind_ms : UINT32_MAX,
        };
    return count;
}

void weft_shard_partition_status(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_partition_status_request request;
    if (!s_decoded(self, asker, weft_partition_status_request_decode(&self->codec, header, &request, &self->error)))
        return;
    weft_partition_t *partition = s_settled(self, asker, request.topic, request.topic_id, request.partition);
    if (partition == NULL) return;
    if (request.suspect_offset >= 0) weft_partition_suspect(partition, request.suspect_offset);
    struct weft_partition_status_reply reply;
    weft_partition_status_reply_init(&reply);
    reply.header.id = asker->request_id;
    reply.log_start = weft_log_start(partition->log);
    reply.log_end = weft_log_end(partition->log);
    reply.high_watermark = weft_replica_committed(partition->replica);
    reply.durable = weft_replica_durable(partition->replica);
    reply.bytes = weft_log_bytes(partition->log);
    reply.segments = (uint32_t) weft_log_segment_count(partition->log);
    reply.epoch = weft_replica_leader_epoch(partition->replica);
    reply.producers = (uint32_t) weft_sessions_count(weft_replica_sessions(partition->replica));
    struct weft_replica_status replicas[WEFT_REPLICA_MEMBERS_MAX];
    reply.replicas = replicas;
    reply.replicas_count = s_replicas(partition, replicas);
    weft_buf_clear(&self->reply);
    weft_partition_status_reply_encode(&reply, &self->reply);
    weft_shard_answer(self, asker, NULL);
}

// ---- node_status, hello

static size_t s_list_counters(const weft_counters_t *set, struct weft_counter *out, size_t used)
{
    for (size_t i = 0; set != NULL && i < set->count && used < S_COUNTERS_MAX; i++)
        out[used++] =
            (struct weft_counter){.name = weft_slice_text(set->infos[i].name), .value = weft_counter_get(set, i)};
    return used;
}

void weft_shard_node_status(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    static const char *const healths[] = {"starting", "serving", "degraded", "stopping", "failed"};
    (void) header; // nothing in it but what every request has
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    enum weft_health health = weft_broker_health(&self->broker->base, sentence, sizeof sentence);
    struct weft_counter counters[S_COUNTERS_MAX];
    size_t count = s_list_counters(self->counters, counters, 0);
    count = s_list_counters(weft_port_counters(&self->port), counters, count);
    struct weft_node_status_reply reply;
    weft_node_status_reply_init(&reply);
    reply.header.id = asker->request_id;
    reply.node = weft_slice_text(self->broker->base.name);
    reply.health = weft_slice_text(healths[self->stopping ? WEFT_HEALTH_STOPPING : health]);
    reply.health_message = weft_slice_text(sentence);
    reply.uptime_ms = (uint64_t) (weft_port_now_us(&self->port) - self->started_us) / 1000;
    reply.version = weft_slice_text(WEFT_VERSION);
    reply.counters = counters;
    reply.counters_count = count;
    weft_buf_clear(&self->reply);
    weft_node_status_reply_encode(&reply, &self->reply);
    weft_shard_answer(self, asker, NULL);
}

void weft_shard_hello(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_hello_request request;
    if (!s_decoded(self, asker, weft_hello_request_decode(&self->codec, header, &request, &self->error))) return;
    if (request.protocol_min > S_PROTOCOL || request.protocol_max < S_PROTOCOL) {
        weft_error_set(&self->error, WEFT_ERR_UNSUPPORTED_VERSION,
                       "You speak protocol versions %u to %u; this broker speaks %u.", (unsigned) request.protocol_min,
                       (unsigned) request.protocol_max, (unsigned) S_PROTOCOL);
        weft_shard_refuse(self, asker, WEFT_ERR_UNSUPPORTED_VERSION, self->error.text);
        return;
    }
    weft_slice_t features[] = {weft_slice_text("lz4"), weft_slice_text("zstd"), weft_slice_text("idempotence"),
                               weft_slice_text("watch")};
    struct weft_hello_reply reply;
    weft_hello_reply_init(&reply);
    reply.header.id = asker->request_id;
    reply.protocol_min = reply.protocol_max = S_PROTOCOL;
    reply.node = weft_slice_text("broker");
    reply.node_id = self->broker->id;
    reply.shard = (int32_t) self->number;
    reply.cluster_id = weft_cluster_id(self->cluster);
    reply.version = weft_slice_text(WEFT_VERSION);
    reply.frame_bytes_max = WEFT_FRAME_BYTES_MAX;
    reply.batch_bytes_max = WEFT_BATCH_BYTES_MAX;
    reply.session_window = WEFT_SESSION_WINDOW;
    reply.features = features;
    reply.features_count = sizeof features / sizeof features[0];
    reply.wall_ms = weft_port_wall_ms(&self->port);
    weft_buf_clear(&self->reply);
    weft_hello_reply_encode(&reply, &self->reply);
    weft_shard_answer(self, asker, NULL);
}

// ---- metadata, topic_describe: the same words as every node's

void weft_shard_metadata(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_metadata_request request;
    if (!s_decoded(self, asker, weft_metadata_request_decode(&self->codec, header, &request, &self->error))) return;
    if (!weft_shard_has_state(self, asker)) return;
    weft_buf_clear(&self->reply);
    weft_cluster_metadata_encode(self->cluster, &request, &self->reply);
    weft_shard_answer(self, asker, NULL);
}

void weft_shard_topic_describe(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_topic_describe_request request;
    if (!s_decoded(self, asker, weft_topic_describe_request_decode(&self->codec, header, &request, &self->error)))
        return;
    if (!weft_shard_has_state(self, asker)) return;
    weft_buf_clear(&self->reply);
    weft_cluster_topic_describe_encode(self->cluster, &request, &self->reply);
    weft_shard_answer(self, asker, NULL);
}
