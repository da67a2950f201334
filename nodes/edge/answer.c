// SPDX-License-Identifier: MPL-2.0
// What clients are told. The core's answers go back as they came, but for the id and for every endpoint: a client that
// reaches only the edge is told that all is here. Of a refusal that named another node nothing but its reason is left.
#include "edge.h"
#include "header.h"
#include "held.h"
#include "spool.h"

#include <weft_gen/limits.h>
#include <weft_gen/messages.h>

#include <stdlib.h>
#include <string.h>

#define S_PROTOCOL 1
#define S_COUNTERS_MAX 96

void weft_edge_answer(weft_edge_part_t *self, const struct weft_edge_asker *asker, weft_frame_t *data)
{
    if (data != NULL && data->size > 0) weft_held_wrap(self->held, data);
    weft_err_t code =
        self->port.ops->reply(self->port.world, &asker->peer, asker->delimited, weft_buf_slice(&self->reply), data);
    weft_counter_add(weft_edge_counters(self), code == WEFT_OK ? WEFT_EDGE_ANSWERED : WEFT_EDGE_REPLIES_DROPPED, 1);
}

static void s_refuse(weft_edge_part_t *self, const struct weft_edge_asker *asker, struct weft_reply_header *header)
{
    weft_counter_add(weft_edge_counters(self), WEFT_EDGE_REFUSED, 1);
    header->id = asker->id;
    struct weft_topic_delete_reply reply; // any reply: with an error it is the header alone
    weft_topic_delete_reply_init(&reply);
    reply.header = *header;
    weft_buf_clear(&self->reply);
    weft_topic_delete_reply_encode(&reply, &self->reply);
    weft_edge_answer(self, asker, NULL);
}

void weft_edge_refuse(weft_edge_part_t *self, const struct weft_edge_asker *asker, weft_err_t code,
                      const char *sentence)
{
    struct weft_reply_header header;
    weft_reply_header_init(&header);
    header.error = (int) code < 0 ? WEFT_ERR_INTERNAL : code; // local codes never travel
    header.message = weft_slice_text(sentence != NULL && *sentence != '\0' ? sentence : NULL);
    if (code == WEFT_ERR_OVERLOADED || code == WEFT_ERR_DISK_FULL) header.retry_ms = WEFT_EDGE_RETRY_MS;
    s_refuse(self, asker, &header);
}

// ---- metadata

// Everybody is reached here: whatever else is said of them stays.
static void s_move_here(const weft_edge_part_t *self, struct weft_metadata_reply *reply, weft_slice_t *here)
{
    *here = weft_slice_text(self->node->endpoint);
    if (reply->coordinators_count > 0) reply->coordinators_count = 1;
    if (reply->coordinators_count > 0) reply->coordinators = here;
    for (size_t i = 0; i < reply->brokers_count; i++) {
        if (reply->brokers[i].endpoints_count > 1) reply->brokers[i].endpoints_count = 1;
        if (reply->brokers[i].endpoints_count > 0) reply->brokers[i].endpoints = here;
    }
    for (size_t i = 0; i < reply->topics_count; i++)
        for (size_t k = 0; k < reply->topics[i].partitions_count; k++) {
            struct weft_metadata_partition *partition = &reply->topics[i].partitions[k];
            if (partition->endpoint.size == 0 && self->spool == NULL) continue; // nobody leads it
            partition->endpoint = *here;
            partition->error = WEFT_OK;
        }
}

// Who made a topic and asks for it through another node must find it: what lags is not passed on.
static bool s_lags(const weft_edge_part_t *self, const struct weft_metadata_reply *reply)
{
    if (reply->version < self->view.version) return true;
    for (size_t i = 0; i < reply->topics_count; i++)
        if (reply->topics[i].error != 0) return true;
    return false;
}

enum s_passed { S_PASSED, S_LAGS, S_NOT_UNDERSTOOD };

static enum s_passed s_pass_metadata(weft_edge_part_t *self, const struct weft_edge_asker *asker, weft_slice_t header,
                                     bool final)
{
    struct weft_metadata_reply reply;
    struct weft_error why;
    weft_slice_t here;
    if (weft_metadata_reply_decode(&self->codec, header, &reply, &why) != WEFT_OK) return S_NOT_UNDERSTOOD;
    if (!final && s_lags(self, &reply)) return S_LAGS;
    weft_view_apply(&self->view, &reply, false);
    s_move_here(self, &reply, &here);
    reply.header.id = asker->id;
    weft_buf_clear(&self->reply);
    weft_metadata_reply_encode(&reply, &self->reply);
    weft_edge_answer(self, asker, NULL);
    return S_PASSED;
}

// A topic as the view has it; `partitions` has room for all of them.
static void s_topic_known(const struct weft_view_topic *topic, struct weft_metadata_partition *partitions,
                          struct weft_metadata_topic *out)
{
    *out = (struct weft_metadata_topic){.name = weft_slice_text(topic->name),
                                        .id = topic->id,
                                        .internal = topic->internal,
                                        .partitions = partitions,
                                        .partitions_count = (size_t) topic->partition_count};
    for (int32_t i = 0; i < topic->partition_count; i++)
        partitions[i] = (struct weft_metadata_partition){
            .partition = (uint32_t) i, .leader = topic->partitions[i].leader, .epoch = topic->partitions[i].epoch};
}

static bool s_wants(const struct weft_metadata_request *request, const struct weft_view_topic *topic)
{
    if (topic->state != WEFT_VIEW_KNOWN || request->brokers_only) return false;
    if (request->topics_count == 0) return !topic->internal || request->internal;
    for (size_t i = 0; i < request->topics_count; i++)
        if (weft_slice_is_text(request->topics[i], topic->name)) return true;
    return false;
}

// All topics that are wanted; the arrays are the caller's to free.
static void s_known(const weft_edge_part_t *self, const struct weft_metadata_request *request,
                    struct weft_metadata_reply *reply)
{
    size_t topics = 0, partitions = 0;
    for (size_t i = 0; i < self->view.topic_count; i++) {
        if (!s_wants(request, self->view.topics[i])) continue;
        topics++;
        partitions += (size_t) self->view.topics[i]->partition_count;
    }
    weft_metadata_reply_init(reply);
    reply->cluster_id = self->view.cluster_id;
    reply->version = self->view.version;
    reply->topics = weft_calloc(topics + 1, sizeof *reply->topics);
    struct weft_metadata_partition *at = weft_calloc(partitions + 1, sizeof *at);
    for (size_t i = 0; i < self->view.topic_count; i++) {
        if (!s_wants(request, self->view.topics[i])) continue;
        s_topic_known(self->view.topics[i], at, &reply->topics[reply->topics_count++]);
        at += self->view.topics[i]->partition_count;
    }
    if (topics == 0) free(at); // else the first topic has it
}

static void s_known_free(struct weft_metadata_reply *reply)
{
    if (reply->topics_count > 0) free(reply->topics[0].partitions);
    free(reply->topics);
}

static bool s_metadata_known(weft_edge_part_t *self, const struct weft_edge_asker *asker, weft_slice_t header)
{
    struct weft_metadata_request request;
    if (weft_metadata_request_decode(&self->codec, header, &request, &self->error) != WEFT_OK) return false;
    struct weft_metadata_reply reply;
    s_known(self, &request, &reply);
    weft_slice_t here = weft_slice_text(self->node->endpoint);
    reply.coordinators = &here;
    reply.coordinators_count = 1;
    s_move_here(self, &reply, &here);
    reply.header.id = asker->id;
    weft_buf_clear(&self->reply);
    weft_metadata_reply_encode(&reply, &self->reply);
    weft_edge_answer(self, asker, NULL);
    s_known_free(&reply);
    return true;
}

// Its settings and replicas are not known here.
static bool s_describe_known(weft_edge_part_t *self, const struct weft_edge_asker *asker, weft_slice_t header)
{
    struct weft_topic_describe_request request;
    if (weft_topic_describe_request_decode(&self->codec, header, &request, &self->error) != WEFT_OK) return false;
    const struct weft_view_topic *topic = weft_edge_topic(self, request.topic, request.topic_id);
    if (topic == NULL) return false;
    struct weft_topic_describe_reply reply;
    weft_topic_describe_reply_init(&reply);
    reply.header.id = asker->id;
    reply.topic_id = topic->id;
    reply.partitions = (uint32_t) topic->partition_count;
    weft_buf_clear(&self->reply);
    weft_topic_describe_reply_encode(&reply, &self->reply);
    weft_edge_answer(self, asker, NULL);
    return true;
}

bool weft_edge_answer_known(weft_edge_part_t *self, enum weft_api api, const struct weft_edge_asker *asker,
                            weft_slice_t header)
{
    if (weft_id_is_zero(self->view.cluster_id) || self->spool == NULL) return false;
    if (api == WEFT_API_METADATA) return s_metadata_known(self, asker, header);
    return api == WEFT_API_TOPIC_DESCRIBE && s_describe_known(self, asker, header);
}

void weft_edge_topics_encode(weft_edge_part_t *self, weft_buf_t *out)
{
    struct weft_metadata_request request;
    struct weft_metadata_reply reply;
    weft_metadata_request_init(&request);
    request.internal = true;
    s_known(self, &request, &reply);
    reply.version = 0; // whatever a node tells is newer
    weft_metadata_reply_encode(&reply, out);
    s_known_free(&reply);
}

// ---- passing on

// More than the client takes, or all clients do, is not built up: it asks again.
static bool s_is_too_much(weft_edge_part_t *self, const struct weft_edge_asker *asker, size_t bytes)
{
    size_t peer = self->port.ops->peer_outstanding_bytes(self->port.world, &asker->peer);
    size_t all = weft_held_bytes(self->held);
    return (peer > 0 && peer + bytes > self->client_bytes_max) || (all > 0 && all + bytes > self->bytes_max);
}

static void s_pass_refusal(weft_edge_part_t *self, const struct weft_edge_asker *asker, weft_err_t error,
                           const char *text, const struct weft_reply_header *header)
{
    struct weft_reply_header told;
    weft_reply_header_init(&told);
    told.error = error;
    told.message = weft_slice_text(text);
    told.leader = header->leader;
    told.retry_ms = header->retry_ms;
    s_refuse(self, asker, &told);
}

bool weft_edge_pass_on(struct weft_edge_call *call, weft_err_t error, const char *text,
                       const struct weft_reply_header *header, struct weft_message *message)
{
    weft_edge_part_t *self = call->edge;
    const struct weft_edge_asker asker = weft_edge_asker_of(call);
    weft_slice_t bytes = weft_frame_slice(&message->header);
    if (!call->answers) return true;
    bool final = call->call.to != WEFT_TO_ANY; // else any node said it
    if (error == WEFT_ERR_UNKNOWN_TOPIC && !final) return false;
    weft_err_t told = error;
    weft_edge_doubt(call, &told, &text);
    if (error != WEFT_OK && (told != error || header->endpoint.size > 0)) {
        s_pass_refusal(self, &asker, told, text, header);
        return true;
    }
    if (error == WEFT_OK && call->api == WEFT_API_METADATA) {
        enum s_passed passed = s_pass_metadata(self, &asker, bytes, final);
        if (passed != S_NOT_UNDERSTOOD) return passed == S_PASSED;
    }
    if (call->repeatable && call->api != WEFT_API_PRODUCE &&
        s_is_too_much(self, &asker, bytes.size + message->data.size)) {
        weft_counter_add(weft_edge_counters(self), WEFT_EDGE_OVERLOADED, 1);
        weft_edge_refuse(self, &asker, WEFT_ERR_OVERLOADED,
                         "You, or all clients of the edge together, have not taken the answers before; read them.");
        return true;
    }
    weft_buf_clear(&self->reply);
    if (weft_edge_header_with_id(bytes, &weft_guard_reply, asker.id, &self->reply, &self->error) != WEFT_OK) {
        weft_edge_refuse(self, &asker, WEFT_ERR_INTERNAL, "The core's answer could not be understood.");
        return true;
    }
    weft_edge_answer(self, &asker, &message->data);
    return true;
}

// ---- the edge's own

void weft_edge_hello(weft_edge_part_t *self, const struct weft_edge_asker *asker, weft_slice_t header)
{
    struct weft_hello_request request;
    weft_err_t code = weft_hello_request_decode(&self->codec, header, &request, &self->error);
    if (code == WEFT_OK && (request.protocol_min > S_PROTOCOL || request.protocol_max < S_PROTOCOL))
        code = weft_error_set(&self->error, WEFT_ERR_UNSUPPORTED_VERSION,
                              "You speak protocol versions %u to %u; this edge speaks %u.",
                              (unsigned) request.protocol_min, (unsigned) request.protocol_max, (unsigned) S_PROTOCOL);
    if (code != WEFT_OK) {
        weft_edge_refuse(self, asker, code, self->error.text);
        return;
    }
    weft_slice_t features[] = {weft_slice_text("lz4"), weft_slice_text("zstd"), weft_slice_text("idempotence"),
                               weft_slice_text("watch"), weft_slice_text("spool")};
    struct weft_hello_reply reply;
    weft_hello_reply_init(&reply);
    reply.header.id = asker->id;
    reply.protocol_min = reply.protocol_max = S_PROTOCOL;
    reply.node = weft_slice_text("edge");
    reply.node_id = 0;
    reply.cluster_id = self->view.cluster_id;
    reply.version = weft_slice_text(WEFT_VERSION);
    reply.frame_bytes_max = WEFT_FRAME_BYTES_MAX;
    reply.batch_bytes_max = self->requests.batch_bytes_max;
    reply.session_window = self->requests.session_window;
    reply.features = features;
    reply.features_count = sizeof features / sizeof features[0] - (self->spool == NULL);
    reply.wall_ms = weft_port_wall_ms(&self->port);
    weft_buf_clear(&self->reply);
    weft_hello_reply_encode(&reply, &self->reply);
    weft_edge_answer(self, asker, NULL);
}

static size_t s_list_counters(const weft_counters_t *set, struct weft_counter *out, size_t used)
{
    for (size_t i = 0; set != NULL && i < set->count && used < S_COUNTERS_MAX; i++)
        out[used++] =
            (struct weft_counter){.name = weft_slice_text(set->infos[i].name), .value = weft_counter_get(set, i)};
    return used;
}

void weft_edge_node_status(weft_edge_part_t *self, const struct weft_edge_asker *asker)
{
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    enum weft_health health = weft_edge_health(&self->node->base, sentence, sizeof sentence);
    static const char *const healths[] = {"starting", "serving", "degraded", "stopping", "failed"};
    struct weft_counter counters[S_COUNTERS_MAX];
    size_t count = s_list_counters(weft_edge_counters(self), counters, 0);
    count = s_list_counters(weft_port_counters(&self->port), counters, count);
    struct weft_node_status_reply reply;
    weft_node_status_reply_init(&reply);
    reply.header.id = asker->id;
    reply.node = weft_slice_text(self->node->base.name);
    reply.health = weft_slice_text(healths[health]);
    reply.health_message = weft_slice_text(sentence);
    reply.uptime_ms = (uint64_t) (weft_port_now_us(&self->port) - self->started_us) / 1000;
    reply.version = weft_slice_text(WEFT_VERSION);
    reply.counters = counters;
    reply.counters_count = count;
    weft_buf_clear(&self->reply);
    weft_node_status_reply_encode(&reply, &self->reply);
    weft_edge_answer(self, asker, NULL);
}
