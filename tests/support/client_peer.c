// SPDX-License-Identifier: MPL-2.0
// Calls are kept by value with their data copied, so that a test may answer them in any order, later, or twice.
#include "client_peer.h"

#include "test.h"

#include <stdio.h>

void peer_init(struct peer *self, struct weft_part *part, const char *topic, uint32_t partitions, const char *endpoint)
{
    *self = (struct peer){.topic = topic, .partitions = partitions, .epoch = 1, .version = 1};
    for (uint32_t i = 0; i < partitions; i++) self->leaders[i] = endpoint;
    self->topic_id.bytes[0] = 7;
    weft_codec_init(&self->codec);
    self->world = weft_fake_world_new(NULL);
    const weft_world_t *world = weft_fake_world_of(self->world);
    struct weft_error error;
    weft_part_id_t id;
    assert_ok(world->ops->add(world->self, &(struct weft_world_part){.name = "client", .frame_bytes_max = 1 << 25},
                              part, &id, NULL, &error));
    world->ops->start(world->self);
    weft_fake_world_settle(self->world);
    weft_fake_world_link(self->world, endpoint, true);
    peer_pump(self);
}

static void s_call_fini(struct peer_call *call)
{
    weft_buf_fini(&call->header);
    weft_buf_fini(&call->data);
}

void peer_forget(struct peer *self)
{
    for (size_t i = 0; i < self->call_count; i++) s_call_fini(&self->calls[i]);
    self->call_count = 0;
}

void peer_fini(struct peer *self)
{
    weft_fake_world_destroy(&self->world);
    peer_forget(self);
    s_call_fini(&self->calls[PEER_CALLS_MAX - 1]); // the one taken last
    weft_codec_fini(&self->codec);
}

static void s_answer(struct peer *self, const char *endpoint, weft_buf_t *header, weft_slice_t data)
{
    char to[WEFT_ENDPOINT_BYTES_MAX];
    snprintf(to, sizeof to, "%s", endpoint);
    weft_fake_world_from(self->world, to, weft_buf_slice(header), data);
    weft_buf_fini(header);
    peer_pump(self);
}

static bool s_asks_for_offsets(struct peer *self, weft_slice_t bytes)
{
    struct weft_metadata_request request;
    struct weft_error error;
    assert_ok(weft_metadata_request_decode(&self->codec, bytes, &request, &error));
    for (size_t i = 0; i < request.topics_count; i++)
        if (weft_slice_is_text(request.topics[i], "__offsets")) return true;
    return false;
}

// `partitions` has room for all.
static struct weft_metadata_topic s_offsets_topic(struct peer *self, struct weft_metadata_partition *partitions)
{
    struct weft_metadata_topic topic = {.name = weft_text("__offsets"), .partitions = partitions};
    topic.id.bytes[0] = 9;
    if (!self->offsets_partitions) topic.error = WEFT_ERR_UNKNOWN_TOPIC;
    topic.partitions_count = self->offsets_partitions;
    memset(partitions, 0, PEER_PARTITIONS_MAX * sizeof *partitions);
    for (uint32_t i = 0; i < self->offsets_partitions; i++)
        partitions[i] = (struct weft_metadata_partition){.partition = i,
                                                         .leader = self->offsets_leader ? 1 : -1,
                                                         .epoch = self->epoch,
                                                         .endpoint = weft_text(self->offsets_leader)};
    return topic;
}

static void s_metadata(struct peer *self, const char *endpoint, uint64_t id, weft_slice_t bytes)
{
    struct weft_metadata_partition partitions[PEER_PARTITIONS_MAX];
    memset(partitions, 0, sizeof partitions);
    for (uint32_t i = 0; i < self->partitions; i++) {
        partitions[i].partition = i;
        partitions[i].leader = self->leaders[i] ? 1 : -1;
        partitions[i].epoch = self->epoch;
        partitions[i].endpoint = weft_text(self->leaders[i] ? self->leaders[i] : "");
    }
    struct weft_metadata_partition offsets_partitions[PEER_PARTITIONS_MAX];
    bool offsets = s_asks_for_offsets(self, bytes);
    struct weft_metadata_topic topics[2];
    if (offsets) topics[1] = s_offsets_topic(self, offsets_partitions);
    struct weft_metadata_topic topic = {
        .id = self->topic_id, .partitions = partitions, .partitions_count = self->partitions};
    topic.name = weft_text(self->topic ? self->topic : "missing");
    if (!self->topic) {
        topic.error = WEFT_ERR_UNKNOWN_TOPIC;
        topic.partitions_count = 0;
    }
    struct weft_metadata_reply reply;
    weft_metadata_reply_init(&reply);
    reply.header.id = id;
    reply.version = self->version;
    reply.cluster_id.bytes[0] = (uint8_t) (1 + self->cluster);
    topics[0] = topic;
    reply.topics = topics;
    reply.topics_count = offsets ? 2 : 1;
    weft_slice_t coordinator = weft_text(self->coordinator);
    reply.coordinators = &coordinator;
    reply.coordinators_count = self->coordinator ? 1 : 0;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_metadata_reply_encode(&reply, &header);
    self->metadata_count++;
    snprintf(self->metadata_from, sizeof self->metadata_from, "%s", endpoint);
    s_answer(self, endpoint, &header, WEFT_SLICE_NIL);
}

static void s_keep(struct peer *self, const struct weft_fake_sent *sent, const struct weft_request_header *header)
{
    assert_true(self->call_count < PEER_CALLS_MAX - 1);
    struct peer_call *call = &self->calls[self->call_count++];
    *call = (struct peer_call){.api = header->api, .id = header->id};
    snprintf(call->endpoint, sizeof call->endpoint, "%s", sent->endpoint);
    weft_buf_init(&call->header);
    weft_buf_init(&call->data);
    weft_slice_t bytes = weft_buf_slice(&sent->header);
    weft_buf_append(&call->header, bytes.data, bytes.size);
    struct weft_error error;
    if (header->api == WEFT_API_PRODUCE) {
        struct weft_produce_request request;
        assert_ok(weft_produce_request_decode(&self->codec, bytes, &request, &error));
        call->partition = request.partition;
        weft_buf_append(&call->data, sent->data.data, sent->data.size);
        assert_true(weft_batch_verify(weft_buf_slice(&call->data), &call->batch) == WEFT_OK || self->careless);
    } else if (header->api == WEFT_API_FETCH) {
        assert_ok(weft_fetch_request_decode(&self->codec, bytes, &call->fetch, &error));
        call->partition = call->fetch.partition;
        call->fetch.topic = call->fetch.read = WEFT_SLICE_NIL;
    } else if (header->api == WEFT_API_LIST_OFFSETS) {
        struct weft_list_offsets_request request;
        assert_ok(weft_list_offsets_request_decode(&self->codec, bytes, &request, &error));
        call->partition = request.partition;
        snprintf(call->at, sizeof call->at, "%.*s", (int) request.at.size, (const char *) request.at.data);
    } else if (header->api == WEFT_API_PARTITION_STATUS) {
        struct weft_partition_status_request request;
        assert_ok(weft_partition_status_request_decode(&self->codec, bytes, &request, &error));
        call->partition = request.partition;
        call->suspect_offset = request.suspect_offset;
    }
}

void peer_pump(struct peer *self)
{
    for (const struct weft_fake_sent *sent; (sent = weft_fake_world_take_sent(self->world));) {
        struct weft_request_header header;
        struct weft_error error;
        assert_ok(weft_request_header_decode(weft_buf_slice(&sent->header), &header, &error));
        if (header.api == WEFT_API_HELLO && header.id >> 63) continue;
        if (header.api == WEFT_API_METADATA) {
            if (self->silent)
                self->metadata_left++;
            else
                s_metadata(self, sent->endpoint, header.id, weft_buf_slice(&sent->header));
        } else
            s_keep(self, sent, &header);
    }
}

const struct peer_call *peer_take(struct peer *self, enum weft_api api)
{
    peer_pump(self);
    assert_true(self->call_count > 0);
    assert_int_equal(self->calls[0].api, api);
    struct peer_call *last = &self->calls[PEER_CALLS_MAX - 1];
    s_call_fini(last);
    *last = self->calls[0];
    self->call_count--;
    memmove(&self->calls[0], &self->calls[1], self->call_count * sizeof self->calls[0]);
    return last;
}

// ---- answers

void peer_answer(struct peer *self, const struct peer_call *call, weft_buf_t *header)
{
    s_answer(self, call->endpoint, header, WEFT_SLICE_NIL);
}

void peer_refuse(struct peer *self, const struct peer_call *call, weft_err_t error, const char *endpoint,
                 uint32_t retry_ms)
{
    struct weft_produce_reply reply; // an error carries the header's fields only: any reply does
    weft_produce_reply_init(&reply);
    reply.header.id = call->id;
    reply.header.error = error;
    reply.header.retry_ms = retry_ms;
    if (endpoint) {
        reply.header.leader = 2;
        reply.header.endpoint = weft_text(endpoint);
    }
    weft_buf_t header;
    weft_buf_init(&header);
    weft_produce_reply_encode(&reply, &header);
    s_answer(self, call->endpoint, &header, WEFT_SLICE_NIL);
}

void peer_produced(struct peer *self, const struct peer_call *call, int64_t offset, bool duplicate)
{
    struct weft_produce_reply reply;
    weft_produce_reply_init(&reply);
    reply.header.id = call->id;
    reply.offset = offset;
    reply.level = weft_text("durable");
    reply.duplicate = duplicate;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_produce_reply_encode(&reply, &header);
    s_answer(self, call->endpoint, &header, WEFT_SLICE_NIL);
}

static void s_fetch_answer(struct peer *self, const struct peer_call *call, const struct weft_fetch_reply *reply,
                           weft_slice_t data)
{
    weft_buf_t header;
    weft_buf_init(&header);
    weft_fetch_reply_encode(reply, &header);
    s_answer(self, call->endpoint, &header, data);
}

void peer_fetched(struct peer *self, const struct peer_call *call, weft_slice_t data, int64_t high_watermark,
                  int64_t log_start)
{
    struct weft_fetch_reply reply;
    weft_fetch_reply_init(&reply);
    reply.header.id = call->id;
    reply.high_watermark = high_watermark;
    reply.durable = high_watermark;
    reply.log_start = log_start;
    s_fetch_answer(self, call, &reply, data);
}

void peer_diverged(struct peer *self, const struct peer_call *call, int64_t end_offset)
{
    struct weft_fetch_reply reply;
    weft_fetch_reply_init(&reply);
    reply.header.id = call->id;
    reply.end_offset = end_offset;
    s_fetch_answer(self, call, &reply, WEFT_SLICE_NIL);
}

void peer_offset(struct peer *self, const struct peer_call *call, int64_t offset)
{
    struct weft_list_offsets_reply reply;
    weft_list_offsets_reply_init(&reply);
    reply.header.id = call->id;
    reply.offset = offset;
    reply.high_watermark = offset;
    weft_buf_t header;
    weft_buf_init(&header);
    weft_list_offsets_reply_encode(&reply, &header);
    s_answer(self, call->endpoint, &header, WEFT_SLICE_NIL);
}
