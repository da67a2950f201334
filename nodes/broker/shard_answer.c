// SPDX-License-Identifier: MPL-2.0
// What every request of a shard needs: its answer, a refusal that says what to do, the budgets that bound what waits for
// a peer, and the partition that it names.
#include "partition.h"

#include "../../lib/core/cluster_view.h"
#include <weft_gen/messages.h>

// ---- answers

void weft_shard_gauge(weft_shard_t *self, enum weft_shard_counter counter, int more)
{
    weft_counter_add(self->counters, counter, (uint64_t) (int64_t) more);
    if (more > 0 || weft_counter_get(self->counters, counter) != 0) return;
    if (counter == WEFT_COUNT_PARTITIONS_REFUSED) weft_broker_notice_clear(&self->shared->notice);
    if (counter == WEFT_COUNT_BATCHES_DAMAGED) weft_broker_notice_clear(&self->shared->damage);
}

void weft_shard_answer(weft_shard_t *self, const struct weft_asker *asker, weft_frame_t *data)
{
    weft_err_t code =
        self->port.ops->reply(self->port.world, &asker->peer, asker->delimited, weft_buf_slice(&self->reply), data);
    if (code != WEFT_OK) weft_counter_add(self->counters, WEFT_COUNT_REPLIES_DROPPED, 1);
}

static enum weft_shard_counter s_counter_of(weft_err_t code)
{
    static const struct {
        weft_err_t code;
        enum weft_shard_counter counter;
    } table[] = {
        {WEFT_ERR_NOT_LEADER, WEFT_COUNT_NOT_LEADER},
        {WEFT_ERR_OVERLOADED, WEFT_COUNT_OVERLOADED},
        {WEFT_ERR_BAD_FRAME, WEFT_COUNT_BAD_FRAMES},
        {WEFT_ERR_INVALID_REQUEST, WEFT_COUNT_BAD_FRAMES},
        {WEFT_ERR_UNKNOWN_API, WEFT_COUNT_UNKNOWN_APIS},
        {WEFT_ERR_UNSUPPORTED, WEFT_COUNT_UNKNOWN_APIS},
        {WEFT_ERR_BAD_CRC, WEFT_COUNT_BAD_CRCS},
        {WEFT_ERR_BAD_BATCH, WEFT_COUNT_BAD_BATCHES},
        {WEFT_ERR_RECORD_TOO_LARGE, WEFT_COUNT_BAD_BATCHES},
        {WEFT_ERR_BATCH_TOO_LARGE, WEFT_COUNT_BAD_BATCHES},
        {WEFT_ERR_TIMED_OUT, WEFT_COUNT_TIMED_OUT},
        {WEFT_ERR_UNSUPPORTED_COMPRESSION, WEFT_COUNT_BAD_BATCHES},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].code == code) return table[i].counter;
    return WEFT_COUNT_REFUSED_OTHER;
}

static void s_refuse_header(weft_shard_t *self, const struct weft_asker *asker, struct weft_reply_header *header)
{
    weft_counter_add(self->counters, s_counter_of(header->error), 1);
    if (asker == NULL) return;
    header->id = asker->request_id;
    struct weft_topic_delete_reply reply; // any reply: with an error it is the header alone
    weft_topic_delete_reply_init(&reply);
    reply.header = *header;
    weft_buf_clear(&self->reply);
    weft_topic_delete_reply_encode(&reply, &self->reply);
    weft_shard_answer(self, asker, NULL);
}

void weft_shard_refuse(weft_shard_t *self, const struct weft_asker *asker, weft_err_t code, const char *sentence)
{
    if (code == WEFT_ERR_DISK_FAILED && sentence == NULL)
        sentence = "The broker could not read or write its disk; see its trace.";
    struct weft_reply_header header;
    weft_reply_header_init(&header);
    header.error = (int) code < 0 ? WEFT_ERR_INTERNAL : code; // local codes never travel
    header.message = weft_slice_text(sentence);
    if (code == WEFT_ERR_OVERLOADED || code == WEFT_ERR_COORDINATOR_LOADING) header.retry_ms = WEFT_SHARD_RETRY_MS;
    s_refuse_header(self, asker, &header);
}

void weft_shard_refuse_unsettled(weft_shard_t *self, const struct weft_asker *asker)
{
    weft_shard_refuse(self, asker, WEFT_ERR_NOT_ENOUGH_REPLICAS,
                      "The new leader has not yet committed all it inherited; try again shortly.");
}

void weft_shard_refuse_moved(weft_shard_t *self, const struct weft_asker *asker, weft_err_t code, weft_id_t topic,
                             uint32_t partition)
{
    const struct weft_cluster_topic *known = weft_cluster_topic(self->cluster, topic);
    if (known == NULL || partition >= known->partition_count) {
        weft_shard_refuse(self, asker, code, NULL);
        return;
    }
    if (code == WEFT_ERR_NOT_LEADER) {
        weft_counter_add(self->counters, WEFT_COUNT_NOT_LEADER, 1);
        if (asker == NULL) return;
        weft_buf_clear(&self->reply);
        weft_cluster_not_leader_encode(self->cluster, known, partition, asker->request_id, &self->reply);
        weft_shard_answer(self, asker, NULL);
        return;
    }
    struct weft_reply_header header;
    weft_reply_header_init(&header);
    header.error = code;
    header.leader = known->partitions[partition].leader;
    header.endpoint = weft_slice_text(weft_cluster_leader_endpoint(self->cluster, known, partition));
    s_refuse_header(self, asker, &header);
}

void weft_shard_to_coordinator(weft_shard_t *self, const struct weft_asker *asker)
{
    struct weft_reply_header header;
    weft_reply_header_init(&header);
    const char *endpoint = weft_cluster_coordinator(self->cluster, NULL);
    header.error = endpoint[0] != '\0' ? WEFT_ERR_NOT_COORDINATOR : WEFT_ERR_COORDINATOR_UNAVAILABLE;
    header.endpoint = weft_slice_text(endpoint);
    s_refuse_header(self, asker, &header);
}

bool weft_shard_overloaded(const weft_shard_t *self)
{
    return weft_waits_bytes(&self->waits) + self->ledger_bytes >= self->bytes_max;
}

// One reply always goes out: who asks for more than the budget would be sent away for ever.
bool weft_shard_frames_full(weft_shard_t *self, size_t bytes_more, size_t bytes_beyond)
{
    size_t out_bytes =
        weft_frame_pool_outside_bytes(self->small_frames) + weft_frame_pool_outside_bytes(self->large_frames);
    return out_bytes > 0 && weft_waits_bytes(&self->waits) + out_bytes + bytes_more > self->bytes_max + bytes_beyond;
}

// Likewise, and as the transport sees it.
bool weft_shard_peer_full(weft_shard_t *self, const struct weft_peer *peer, size_t bytes_more)
{
    size_t out_bytes = self->port.ops->peer_outstanding_bytes(self->port.world, peer);
    return out_bytes > 0 && out_bytes + bytes_more > self->peer_bytes_max;
}

bool weft_shard_is_member(const weft_shard_t *self, const struct weft_replica_assignment *assignment)
{
    for (size_t i = 0; i < assignment->member_count; i++)
        if (assignment->members[i].broker == self->broker->id)
            return weft_id_equal(assignment->members[i].incarnation, self->incarnation);
    return false;
}

// ---- targets

bool weft_shard_has_state(weft_shard_t *self, const struct weft_asker *asker)
{
    if (self->applied_index != 0) return true;
    weft_shard_refuse(self, asker, WEFT_ERR_COORDINATOR_UNAVAILABLE,
                      "This broker has not heard from a coordinator since its start; try again shortly.");
    return false;
}

// One lookup: the usual end of it is a topic that exists.
static const struct weft_shard_topic *s_find_topic(const weft_shard_t *self, const struct weft_target *target)
{
    if (target->topic.size == 0) return weft_map_get(self->topics, weft_id_slice(&target->topic_id));
    const struct weft_shard_topic *topic = weft_map_get(self->topics_by_name, target->topic);
    bool replaced = topic != NULL && !weft_id_is_zero(target->topic_id) && !weft_id_equal(topic->id, target->topic_id);
    return replaced ? NULL : topic;
}

bool weft_shard_others_may_lead(const weft_shard_t *self, const weft_partition_t *partition)
{
    const struct weft_replica_assignment *assignment = &partition->assignment;
    for (size_t i = 0; i < assignment->member_count; i++)
        if (assignment->members[i].in_sync && assignment->members[i].broker != self->broker->id) return true;
    return false;
}

// What can't be served here is served by another replica, now or soon: only the last one says what is wrong with it.
static bool s_says_why(const weft_shard_t *self, const weft_partition_t *partition)
{
    if (partition->state != WEFT_PARTITION_REFUSED) return false;
    if (partition->assignment.leader >= 0 && partition->assignment.leader != self->broker->id) return false;
    return partition->refusal != WEFT_ERR_DAMAGED || !weft_shard_others_may_lead(self, partition);
}

weft_partition_t *weft_shard_led_partition(weft_shard_t *self, const struct weft_asker *asker,
                                           const struct weft_target *target)
{
    const struct weft_shard_topic *topic = s_find_topic(self, target);
    if (topic == NULL || target->partition >= topic->partition_count) {
        const struct weft_cluster_topic *known;
        if (!weft_shard_has_state(self, asker)) return NULL;
        weft_err_t code = weft_cluster_find_partition(self->cluster, target->topic, target->topic_id, target->partition,
                                                      &known, &self->error);
        if (code == WEFT_OK)
            code = weft_error_set(&self->error, WEFT_ERR_UNKNOWN_TOPIC,
                                  "the topic is not known to this shard yet; try again");
        weft_shard_refuse(self, asker, code, self->error.text);
        return NULL;
    }
    weft_partition_t *partition = topic->partitions[target->partition];
    if (partition != NULL && !partition->in_used && !weft_shard_make_room(self)) {
        weft_shard_refuse(self, asker, WEFT_ERR_OVERLOADED,
                          "More partitions are in use than this broker may keep open; come back after retry_ms.");
        return NULL;
    }
    if (partition != NULL && partition->state == WEFT_PARTITION_WAITING) weft_partition_open(partition);
    if (partition != NULL && s_says_why(self, partition)) {
        weft_shard_refuse(self, asker, partition->refusal, partition->refusal_text);
        return NULL;
    }
    if (partition == NULL || partition->state == WEFT_PARTITION_REFUSED || !partition->leads) {
        weft_shard_refuse_moved(self, asker, WEFT_ERR_NOT_LEADER, topic->id, target->partition);
        return NULL;
    }
    weft_partition_used(partition);
    return partition;
}
