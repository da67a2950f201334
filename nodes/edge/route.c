// SPDX-License-Identifier: MPL-2.0
// Where each message goes. The partition of a group is the one of __offsets that its name hashes to. A topic that is not
// known here is sought by metadata; then the coordinator is asked, which knows, or says that there is none.
#include "edge.h"
#include "spool.h"

#include "../../lib/core/offsets.h"
#include <weft_gen/messages.h>

#define S_ATTEMPT_US 30000000 // silence after which an attempt is given up, beyond what its node may park it
#define S_SILENT_US 10000000  // after which a node that is silent was taken for gone, whatever it was
#define S_PARKED_US_MAX (600 * 1000000LL) // no node parks anything longer

bool weft_edge_is_admin(enum weft_api api)
{
    switch ((int) api) {
    case WEFT_API_TOPIC_CREATE:
    case WEFT_API_TOPIC_DELETE:
    case WEFT_API_TOPIC_ALTER:
    case WEFT_API_TOPIC_ADD_PARTITIONS:
    case WEFT_API_BROKER_DRAIN:
    case WEFT_API_BROKER_REMOVE:
    case WEFT_API_REASSIGN:
    case WEFT_API_BALANCE:
    case WEFT_API_ELECT_LEADER:
    case WEFT_API_CLUSTER_ALTER:
    case WEFT_API_VOTER_CHANGE:
    case WEFT_API_GROUP_DELETE:
    case WEFT_API_DELETE_RECORDS: return true;
    default: return false;
    }
}

bool weft_edge_is_inner(enum weft_api api)
{
    switch ((int) api) {
    case WEFT_API_BROKER_REGISTER:
    case WEFT_API_BROKER_HEARTBEAT:
    case WEFT_API_IN_SYNC_CHANGE:
    case WEFT_API_PARTITION_REPORT:
    case WEFT_API_GROUP_CHECK:
    case WEFT_API_REPLICATE:
    case WEFT_API_PROGRESS:
    case WEFT_API_QUORUM:
    case WEFT_API_CLUSTER_UPDATE:
    case WEFT_API_UNKNOWN: return true;
    default: return false;
    }
}

// ---- topics

static void s_map_topics(weft_edge_part_t *self)
{
    if (self->topics != NULL && self->topics_updates == self->view.updates) return;
    weft_map_destroy(&self->topics);
    self->topics = weft_map_new();
    self->topics_updates = self->view.updates;
    for (size_t i = 0; i < self->view.topic_count; i++) {
        struct weft_view_topic *topic = self->view.topics[i];
        if (topic->state == WEFT_VIEW_KNOWN) weft_map_put(self->topics, weft_id_slice(&topic->id), topic);
    }
}

struct weft_view_topic *weft_edge_topic_of_id(weft_edge_part_t *self, weft_id_t id)
{
    if (weft_id_is_zero(id)) return NULL;
    struct weft_view_topic *topic = self->topics != NULL ? weft_map_get(self->topics, weft_id_slice(&id)) : NULL;
    if (topic != NULL && topic->state == WEFT_VIEW_KNOWN && weft_id_equal(topic->id, id)) return topic;
    s_map_topics(self);
    topic = weft_map_get(self->topics, weft_id_slice(&id));
    return topic != NULL && topic->state == WEFT_VIEW_KNOWN ? topic : NULL;
}

struct weft_view_topic *weft_edge_topic(weft_edge_part_t *self, weft_slice_t name, weft_id_t id)
{
    if (name.size == 0) return weft_edge_topic_of_id(self, id);
    struct weft_view_topic *topic = weft_view_topic_find(&self->view, name);
    return topic != NULL && topic->state == WEFT_VIEW_KNOWN ? topic : NULL;
}

bool weft_edge_is_known(const struct weft_edge_call *call)
{
    const struct weft_view_topic *topic = call->call.topic;
    return topic != NULL && topic->state == WEFT_VIEW_KNOWN && call->call.partition < topic->partition_count;
}

static void s_to_partition(weft_edge_part_t *self, struct weft_edge_call *call, weft_slice_t name, weft_id_t id,
                           uint32_t partition)
{
    call->call.to = WEFT_TO_LEADER;
    call->call.topic = weft_edge_topic(self, name, id);
    call->call.partition = partition < INT32_MAX ? (int32_t) partition : INT32_MAX;
    call->unknown = !weft_edge_is_known(call);
}

static void s_to_group(weft_edge_part_t *self, struct weft_edge_call *call, weft_slice_t group)
{
    struct weft_view_topic *topic = weft_edge_topic(self, weft_slice_text(WEFT_OFFSETS_TOPIC), (weft_id_t){{0}});
    call->call.to = WEFT_TO_LEADER;
    call->call.topic = topic;
    call->call.partition =
        topic != NULL ? (int32_t) weft_offsets_partition(group, (uint32_t) topic->partition_count) : INT32_MAX;
    call->unknown = topic == NULL;
}

// ---- one a message

static void s_parked(struct weft_edge_call *call, uint64_t ms)
{
    int64_t us = ms > S_PARKED_US_MAX / 1000 ? S_PARKED_US_MAX : (int64_t) ms * 1000;
    call->call.parked_us = us;
    call->call.attempt_us = us + S_ATTEMPT_US;
}

// A batch with an identity is written once however often it is sent (I3).
static bool s_has_identity(weft_slice_t data)
{
    struct weft_batch batch;
    return weft_batch_looks_like_batch(data) && weft_batch_read(data, &batch) == WEFT_OK && batch.producer_id >= 0;
}

// What may go to the spool goes there before its time is over, unless what was sent before it is still unanswered.
static int64_t s_longest(const weft_edge_part_t *self)
{
    int64_t after_us = weft_spool_after_us(self->spool);
    return (after_us > self->look_us ? after_us : self->look_us) + S_SILENT_US;
}

static weft_err_t s_produce(weft_edge_part_t *self, struct weft_edge_call *call, weft_slice_t header)
{
    struct weft_produce_request request;
    weft_err_t code = weft_produce_request_decode(&self->codec, header, &request, &self->error);
    if (code != WEFT_OK) return code;
    s_to_partition(self, call, request.topic, request.topic_id, request.partition);
    s_parked(call, request.timeout_ms);
    call->call.parked_us = 0; // silence is noticed: no leader is silent for so long on purpose
    call->repeatable = call->call.data != NULL && s_has_identity(weft_shared_slice(call->call.data));
    bool internal = call->call.topic != NULL && call->call.topic->internal;
    call->spools = self->spool != NULL && request.spool && !internal && request.after_sequence < 0;
    if (call->spools && !call->unknown) call->deadline_us = call->begun_us + s_longest(self);
    bool none = weft_slice_is_text(request.acks, "none");
    call->answers = !none || call->delimited;
    if (!none || !call->delimited) return WEFT_OK;
    request.acks = weft_slice_text("leader"); // a REQ waits for an answer whatever it asked for
    weft_buf_clear(&self->scratch);
    weft_produce_request_encode(&request, &self->scratch);
    return WEFT_OK;
}

static weft_err_t s_fetch(weft_edge_part_t *self, struct weft_edge_call *call, weft_slice_t header)
{
    struct weft_fetch_request request;
    weft_err_t code = weft_fetch_request_decode(&self->codec, header, &request, &self->error);
    if (code != WEFT_OK) return code;
    s_to_partition(self, call, request.topic, request.topic_id, request.partition);
    s_parked(call, request.max_bytes == 0 ? UINT32_MAX : request.max_wait_ms);
    call->repeatable = true;
    return WEFT_OK;
}

static weft_err_t s_list_offsets(weft_edge_part_t *self, struct weft_edge_call *call, weft_slice_t header)
{
    struct weft_list_offsets_request request;
    weft_err_t code = weft_list_offsets_request_decode(&self->codec, header, &request, &self->error);
    if (code != WEFT_OK) return code;
    s_to_partition(self, call, request.topic, request.topic_id, request.partition);
    call->repeatable = true;
    return WEFT_OK;
}

static weft_err_t s_delete_records(weft_edge_part_t *self, struct weft_edge_call *call, weft_slice_t header)
{
    struct weft_delete_records_request request;
    weft_err_t code = weft_delete_records_request_decode(&self->codec, header, &request, &self->error);
    if (code != WEFT_OK) return code;
    s_to_partition(self, call, request.topic, request.topic_id, request.partition);
    s_parked(call, request.timeout_ms);
    return WEFT_OK;
}

static weft_err_t s_partition_status(weft_edge_part_t *self, struct weft_edge_call *call, weft_slice_t header)
{
    struct weft_partition_status_request request;
    weft_err_t code = weft_partition_status_request_decode(&self->codec, header, &request, &self->error);
    if (code != WEFT_OK) return code;
    s_to_partition(self, call, request.topic, request.topic_id, request.partition);
    call->repeatable = true;
    return WEFT_OK;
}

static weft_err_t s_offsets(weft_edge_part_t *self, struct weft_edge_call *call, weft_slice_t header)
{
    struct weft_commit_request commit;
    struct weft_committed_request committed;
    struct weft_offsets_delete_request deletion;
    struct weft_offsets_list_request list;
    weft_err_t code = WEFT_ERR_UNKNOWN_API;
    switch ((int) call->api) {
    case WEFT_API_COMMIT:
        code = weft_commit_request_decode(&self->codec, header, &commit, &self->error);
        if (code == WEFT_OK) s_to_group(self, call, commit.group);
        break;
    case WEFT_API_COMMITTED:
        code = weft_committed_request_decode(&self->codec, header, &committed, &self->error);
        if (code == WEFT_OK) s_to_group(self, call, committed.group);
        break;
    case WEFT_API_OFFSETS_DELETE:
        code = weft_offsets_delete_request_decode(&self->codec, header, &deletion, &self->error);
        if (code == WEFT_OK) s_to_group(self, call, deletion.group);
        break;
    case WEFT_API_OFFSETS_LIST:
        code = weft_offsets_list_request_decode(&self->codec, header, &list, &self->error);
        if (code == WEFT_OK)
            s_to_partition(self, call, weft_slice_text(WEFT_OFFSETS_TOPIC), (weft_id_t){{0}}, list.partition);
        break;
    default: break;
    }
    call->repeatable = call->api == WEFT_API_COMMITTED || call->api == WEFT_API_OFFSETS_LIST;
    return code;
}

static weft_err_t s_group_heartbeat(weft_edge_part_t *self, struct weft_edge_call *call, weft_slice_t header)
{
    struct weft_group_heartbeat_request request;
    weft_err_t code = weft_group_heartbeat_request_decode(&self->codec, header, &request, &self->error);
    if (code != WEFT_OK) return code;
    call->call.to = WEFT_TO_COORDINATOR;
    s_parked(call, request.wait_ms);
    call->repeatable = true; // it tells how things are, not what to change
    return WEFT_OK;
}

weft_err_t weft_edge_route(weft_edge_part_t *self, struct weft_edge_call *call, weft_slice_t header)
{
    s_parked(call, 0);
    call->answers = true;
    switch ((int) call->api) {
    case WEFT_API_PRODUCE: return s_produce(self, call, header);
    case WEFT_API_FETCH: return s_fetch(self, call, header);
    case WEFT_API_LIST_OFFSETS: return s_list_offsets(self, call, header);
    case WEFT_API_DELETE_RECORDS: return s_delete_records(self, call, header);
    case WEFT_API_PARTITION_STATUS: return s_partition_status(self, call, header);
    case WEFT_API_COMMIT:
    case WEFT_API_COMMITTED:
    case WEFT_API_OFFSETS_DELETE:
    case WEFT_API_OFFSETS_LIST: return s_offsets(self, call, header);
    case WEFT_API_GROUP_HEARTBEAT: return s_group_heartbeat(self, call, header);
    case WEFT_API_METADATA:
    case WEFT_API_TOPIC_DESCRIBE:
        call->call.to = WEFT_TO_ANY;
        call->repeatable = true;
        return WEFT_OK;
    default:
        call->call.to = WEFT_TO_COORDINATOR;
        call->repeatable = call->api == WEFT_API_CLUSTER_STATUS || call->api == WEFT_API_GROUP_DESCRIBE ||
                           call->api == WEFT_API_GROUP_LIST || call->api == WEFT_API_REASSIGN_LIST ||
                           call->api == WEFT_API_OFFSETS_BEGIN;
        return WEFT_OK;
    }
}
