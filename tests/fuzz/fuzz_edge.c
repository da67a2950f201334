// SPDX-License-Identifier: MPL-2.0
/*
 * The edge between clients and a core that both lie. The input is a program, a byte an event and more its arguments:
 * requests as clients make them and as they don't, answers of the core to what was sent, late, twice, under guessed ids,
 * with errors, endpoints and metadata of every kind, links that come and go, time, and restarts from a spool in whose
 * files anything may stand.
 *
 * Checked beside "no crash": a request is answered once at most; what is under way is bounded; the edge goes on answering
 * `hello`; a batch that a spool delivers is one that was given to it; at the end everything is freed.
 */
#include "lib/base/assert.h"
#include "lib/base/options.h"
#include "lib/base/trace.h"
#include "lib/testing/crash_disk.h"
#include "lib/wire/node.h"
#include "nodes/edge/edge.h"
#include "tests/support/fake_world.h"
#include "tests/support/test.h"

#include <weft_gen/config.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <string.h>

#define SENT_MAX 16
#define REQUESTS_MAX 8 // option `client.requests`
#define EVENTS_MAX 300
#define TAG_BYTES 8 // each value begins with one: it tells whether a batch is one of ours

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sent {
    uint64_t id;
    enum weft_api api;
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
};

struct rig {
    const uint8_t *at, *end;
    weft_crash_disk_t *disk; // NULL: no spool
    weft_fake_world_t *world;
    struct weft_node *node;
    weft_codec_t codec;
    struct sent sent[SENT_MAX];
    size_t sent_count; // all of them; the ring has the last ones
    uint64_t next_id;
    bool *answered; // by id
    weft_buf_t header, data;
};

static const char *const s_endpoints[] = {"tcp://10.0.0.1:1", "tcp://10.0.0.2:1", "",           "tcp://10.0.0.3:99999",
                                          "ipc://",           "tcp://:",          "inproc://x", "udp://10.0.0.1:1"};
static const uint32_t s_numbers[] = {0, 1, 2, 3, 64, 99999, 100000, INT32_MAX, UINT32_MAX, (uint32_t) INT32_MIN};

static uint32_t s_byte(struct rig *rig)
{
    return rig->at < rig->end ? *rig->at++ : 0;
}

static uint32_t s_number(struct rig *rig)
{
    return s_numbers[s_byte(rig) % (sizeof s_numbers / sizeof *s_numbers)];
}

static weft_slice_t s_endpoint(struct rig *rig)
{
    return weft_slice_text(s_endpoints[s_byte(rig) % (sizeof s_endpoints / sizeof *s_endpoints)]);
}

static weft_slice_t s_bytes(struct rig *rig)
{
    size_t size = s_byte(rig) << 8;
    size |= s_byte(rig);
    if (size > (size_t) (rig->end - rig->at)) size = (size_t) (rig->end - rig->at);
    rig->at += size;
    return weft_slice(rig->at - size, size);
}

static weft_id_t s_topic_id(uint32_t number)
{
    return (weft_id_t){.bytes = {7, (uint8_t) number}};
}

static weft_slice_t s_topic_name(uint32_t number)
{
    static const char *const names[] = {"orders", "a", "__offsets", "", "no/name", "gone"};
    return weft_slice_text(names[number % (sizeof names / sizeof *names)]);
}

// ---- what the edge sends

// A batch that the spool delivers is whole, and one of those that it was given.
static void s_check_delivered(weft_slice_t header, weft_slice_t data)
{
    struct weft_batch batch;
    weft_codec_t codec;
    struct weft_produce_request request;
    weft_codec_init(&codec);
    weft_err_t err = weft_produce_request_decode(&codec, header, &request, NULL);
    weft_assert(err == WEFT_OK);
    if (!request.spool && weft_batch_verify(data, &batch) == WEFT_OK) {
        weft_assert(weft_batch_bytes(&batch) == data.size);
        weft_assert(memmem(data.data, data.size, "genuine:", TAG_BYTES) != NULL);
    }
    weft_codec_fini(&codec);
}

static void s_pump(struct rig *rig)
{
    for (const struct weft_fake_sent *one; (one = weft_fake_world_take_sent(rig->world)) != NULL;) {
        struct weft_request_header header;
        weft_err_t err = weft_request_header_decode(weft_buf_slice(&one->header), &header, NULL);
        weft_assert(err == WEFT_OK || header.id != 0); // what `must` asks for is the core's to judge
        if (header.api == WEFT_API_PRODUCE) s_check_delivered(weft_buf_slice(&one->header), weft_buf_slice(&one->data));
        struct sent *sent = &rig->sent[rig->sent_count++ % SENT_MAX];
        *sent = (struct sent){.id = header.id, .api = header.api};
        memcpy(sent->endpoint, one->endpoint, sizeof sent->endpoint);
    }
    for (const struct weft_fake_sent *one; (one = weft_fake_world_take_reply(rig->world)) != NULL;) {
        struct weft_reply_header header;
        weft_err_t err = weft_reply_header_decode(&rig->codec, weft_buf_slice(&one->header), &header, NULL);
        weft_assert(err == WEFT_OK);
        if (one->peer == 0) continue; // peer 0 says what it likes
        weft_assert(header.id < rig->next_id && !rig->answered[header.id]);
        rig->answered[header.id] = true;
    }
    weft_assert(weft_counter_get(rig->node->counters[0], WEFT_EDGE_UNDER_WAY) <= 4 * REQUESTS_MAX);
}

// ---- clients

static void s_batch(struct rig *rig)
{
    uint32_t bits = s_byte(rig);
    weft_buf_clear(&rig->data);
    const struct weft_test_batch how = {.count = 1 + (bits & 1),
                                        .value_bytes = 8,
                                        .key = "genuine:",
                                        .codec = bits & 64 ? WEFT_CODEC_LZ4 : WEFT_CODEC_NONE,
                                        .has_producer = bits & 2,
                                        .producer_id = 50 + (bits >> 2) % 2,
                                        .base_sequence = (int32_t) (bits >> 3) % 8};
    weft_test_batch_make(&rig->data, &how);
    if (bits & 128) rig->data.data[rig->data.size - 1] ^= 1;
}

static void s_request(struct rig *rig, uint8_t peer)
{
    weft_slice_t data = rig->data.size > 0 ? weft_buf_slice(&rig->data) : WEFT_SLICE_NIL;
    weft_fake_world_request(rig->world, 0, peer, (peer & 1) != 0, weft_buf_slice(&rig->header), data, peer & 2);
    s_pump(rig);
}

static void s_produce(struct rig *rig)
{
    struct weft_produce_request request;
    uint32_t bits = s_byte(rig);
    weft_produce_request_init(&request);
    request.id = rig->next_id++;
    if (bits & 1) request.topic_id = s_topic_id(bits >> 5);
    if (!(bits & 1)) request.topic = s_topic_name(bits >> 5);
    request.partition = bits & 2 ? s_number(rig) : 0;
    request.timeout_ms = bits & 4 ? s_number(rig) : 1000;
    if (bits & 8) request.acks = weft_slice_text("none");
    request.spool = !(bits & 16);
    s_batch(rig);
    weft_buf_clear(&rig->header);
    weft_produce_request_encode(&request, &rig->header);
    s_request(rig, 1 + bits % 3);
}

static void s_fetch(struct rig *rig)
{
    struct weft_fetch_request request;
    uint32_t bits = s_byte(rig);
    weft_fetch_request_init(&request);
    request.id = rig->next_id++;
    request.topic = s_topic_name(bits >> 5);
    request.partition = bits & 2 ? s_number(rig) : 0;
    request.max_wait_ms = s_number(rig);
    request.max_bytes = s_number(rig);
    weft_buf_clear(&rig->header);
    weft_buf_clear(&rig->data);
    weft_fetch_request_encode(&request, &rig->header);
    s_request(rig, 1 + bits % 3);
}

static void s_look(struct rig *rig)
{
    struct weft_metadata_request request;
    uint32_t bits = s_byte(rig);
    weft_slice_t names[3] = {s_topic_name(bits >> 5), s_topic_name(bits >> 3), s_topic_name(bits)};
    weft_metadata_request_init(&request);
    request.id = rig->next_id++;
    request.topics = names;
    request.topics_count = bits % 4;
    weft_buf_clear(&rig->header);
    weft_buf_clear(&rig->data);
    weft_metadata_request_encode(&request, &rig->header);
    s_request(rig, 1 + bits % 3);
}

// Whatever bytes, from a peer of which nothing is expected.
static void s_raw(struct rig *rig)
{
    weft_slice_t header = s_bytes(rig), data = s_bytes(rig);
    weft_buf_clear(&rig->header);
    weft_buf_clear(&rig->data);
    weft_buf_append(&rig->header, header.data, header.size);
    weft_buf_append(&rig->data, data.data, data.size);
    s_request(rig, 0);
}

// ---- the core

// One of the last that was sent, or a guess.
static struct sent s_sent(struct rig *rig)
{
    uint32_t which = s_byte(rig);
    struct sent sent = {.id = ((uint64_t) (which >> 4) << 20) | (which & 15)};
    memcpy(sent.endpoint, s_endpoints[which & 1], strlen(s_endpoints[which & 1]) + 1);
    if (which < 240 && rig->sent_count > 0) {
        size_t known = rig->sent_count < SENT_MAX ? rig->sent_count : SENT_MAX;
        sent = rig->sent[(rig->sent_count - 1 - which % known) % SENT_MAX];
    }
    return sent;
}

static void s_answer(struct rig *rig, const struct sent *sent)
{
    weft_slice_t data = s_byte(rig) & 1 ? weft_buf_slice(&rig->header) : WEFT_SLICE_NIL; // no batch at all
    weft_fake_world_from(rig->world, sent->endpoint, weft_buf_slice(&rig->header), data);
    s_pump(rig);
}

static void s_answer_error(struct rig *rig)
{
    struct sent sent = s_sent(rig);
    struct weft_produce_reply reply;
    weft_produce_reply_init(&reply);
    reply.header.id = sent.id;
    reply.header.error = weft_err_of_number((int32_t) s_byte(rig) % 96);
    reply.header.endpoint = s_endpoint(rig);
    reply.header.leader = (int32_t) s_number(rig);
    reply.header.retry_ms = s_number(rig);
    reply.duplicate = true;
    weft_buf_clear(&rig->header);
    weft_produce_reply_encode(&reply, &rig->header);
    s_answer(rig, &sent);
}

static void s_topic(struct rig *rig, struct weft_metadata_topic *topic, struct weft_metadata_partition *partitions)
{
    uint32_t bits = s_byte(rig);
    *topic = (struct weft_metadata_topic){.name = s_topic_name(bits >> 5),
                                          .id = s_topic_id(bits & 1 ? bits >> 5 : s_byte(rig)),
                                          .internal = bits & 2,
                                          .error = bits & 4 ? (int32_t) s_byte(rig) : 0,
                                          .partitions = partitions,
                                          .partitions_count = (bits >> 3) % 4};
    for (size_t i = 0; i < topic->partitions_count; i++)
        partitions[i] = (struct weft_metadata_partition){.partition = bits & 1 ? (uint32_t) i : s_number(rig),
                                                         .leader = (int32_t) s_number(rig),
                                                         .epoch = (int32_t) s_number(rig),
                                                         .endpoint = s_endpoint(rig)};
}

static void s_metadata(struct rig *rig, struct sent sent)
{
    struct weft_metadata_topic topics[4];
    struct weft_metadata_partition partitions[4][4];
    weft_slice_t coordinators[2];
    struct weft_metadata_broker broker = {.endpoints = coordinators, .endpoints_count = 2, .alive = true};
    struct weft_metadata_reply reply;
    uint32_t bits = s_byte(rig);
    weft_metadata_reply_init(&reply);
    reply.header.id = sent.id;
    reply.version = bits & 64 ? s_number(rig) : 1;
    reply.cluster_id.bytes[0] = bits >= 240 ? 2 : 1;
    reply.coordinator_id = (int32_t) (bits & 1);
    coordinators[0] = s_endpoint(rig);
    coordinators[1] = s_endpoint(rig);
    reply.coordinators = coordinators;
    reply.coordinators_count = (bits >> 1) % 3;
    reply.brokers = &broker;
    reply.brokers_count = (bits >> 3) & 1;
    reply.topics = topics;
    reply.topics_count = (bits >> 4) & 3;
    for (size_t i = 0; i < reply.topics_count; i++) s_topic(rig, &topics[i], partitions[i]);
    weft_buf_clear(&rig->header);
    weft_metadata_reply_encode(&reply, &rig->header);
    s_answer(rig, &sent);
}

static void s_answer_metadata(struct rig *rig)
{
    s_metadata(rig, s_sent(rig));
}

// To the last question of the edge itself.
static void s_tell(struct rig *rig)
{
    for (size_t i = 0; i < SENT_MAX && i < rig->sent_count; i++) {
        const struct sent *sent = &rig->sent[(rig->sent_count - 1 - i) % SENT_MAX];
        if (sent->api != WEFT_API_METADATA) continue;
        s_metadata(rig, *sent);
        return;
    }
}

// A map that begins with the right id, and then anything.
static void s_answer_raw(struct rig *rig)
{
    struct sent sent = s_sent(rig);
    uint8_t head[13] = {0x80 | (s_byte(rig) & 15), 0xa2, 'i', 'd', 0xcf};
    for (int i = 0; i < 8; i++) head[5 + i] = (uint8_t) (sent.id >> (56 - 8 * i));
    weft_slice_t rest = s_bytes(rig);
    weft_buf_clear(&rig->header);
    weft_buf_append(&rig->header, head, s_byte(rig) & 1 ? 0 : sizeof head);
    weft_buf_append(&rig->header, rest.data, rest.size);
    s_answer(rig, &sent);
}

static void s_link(struct rig *rig)
{
    uint32_t bits = s_byte(rig);
    weft_fake_world_link(rig->world, s_endpoints[bits & 1], bits & 2);
    s_pump(rig);
}

static void s_time(struct rig *rig)
{
    static const int64_t steps[] = {1000, 50000, 600000, 6000000, 40000000};
    weft_fake_world_advance(rig->world, steps[s_byte(rig) % 5]);
    s_pump(rig);
}

static void s_outstanding(struct rig *rig)
{
    weft_fake_world_outstanding(rig->world, s_byte(rig) & 1 ? 1 << 30 : 0);
}

// ---- life

static bool s_begin(struct rig *rig)
{
    struct weft_error error = {.text = ""};
    weft_options_t *options = weft_options_new(weft_options_edge, weft_options_edge_count, "edge");
    char requests[40];
    snprintf(requests, sizeof requests, "client.requests=%d", REQUESTS_MAX);
    weft_assert(weft_options_set(options, "bootstrap", s_endpoints[0], &error) == WEFT_OK);
    weft_assert(weft_options_set_pair(options, requests, &error) == WEFT_OK);
    if (rig->disk != NULL) {
        weft_assert(weft_options_set(options, "spool", "spool", &error) == WEFT_OK);
        weft_assert(weft_options_set(options, "spool.bytes", "1MiB", &error) == WEFT_OK);
    }
    rig->world = weft_fake_world_new(rig->disk != NULL ? weft_crash_disk_of(rig->disk) : weft_disk_posix());
    const weft_world_t *world = weft_fake_world_of(rig->world);
    weft_err_t err = weft_node_edge.create(world, options, &rig->node, &error);
    weft_options_destroy(&options);
    if (err != WEFT_OK) {
        weft_assert(rig->disk != NULL && error.text[0] != '\0'); // a sentence
        weft_fake_world_destroy(&rig->world);
        return false;
    }
    world->ops->start(world->self);
    weft_fake_world_link(rig->world, s_endpoints[0], true);
    s_pump(rig);
    return true;
}

static void s_end(struct rig *rig)
{
    weft_fake_world_destroy(&rig->world);
    weft_node_edge.destroy(&rig->node);
}

// One file of the spool: overwritten, cut, appended to or gone.
static void s_edit(struct rig *rig)
{
#define LOG "spool/topics/07000000000000000000000000000000/0/00000000000000000000"
    static const char *const files[] = {LOG ".log",         LOG ".index",    "spool/topics.known", "spool/renamed",
                                        "spool/identity",   "spool/clean",   "spool/checkpoint",   "spool/dead-letters",
                                        "spool/topics/x/y", "spool/topics/0"};
    const struct weft_disk *disk = weft_crash_disk_of(rig->disk);
    uint32_t what = s_byte(rig);
    int64_t position = (int64_t) s_byte(rig) << 8, size;
    position |= s_byte(rig);
    weft_slice_t bytes = s_bytes(rig);
    const char *path = files[what % (sizeof files / sizeof *files)];
    weft_file_t *file;
    if (what >= 240) {
        (void) !disk->ops->unlink(disk, path);
        return;
    }
    if (disk->ops->open(disk, path, WEFT_OPEN_CREATE, &file) != WEFT_OK) return;
    weft_assert(disk->ops->size(file, &size) == WEFT_OK);
    if (what >= 200)
        weft_assert(disk->ops->truncate(file, position % (size + 64)) == WEFT_OK);
    else if (bytes.size > 0)
        weft_assert(disk->ops->pwritev(file, &bytes, 1, position % (size + 1)) == WEFT_OK);
    disk->ops->close(&file);
}

static bool s_restart(struct rig *rig)
{
    uint32_t bits = s_byte(rig);
    if (rig->disk == NULL) return true;
    s_end(rig);
    weft_crash_disk_kill(rig->disk);
    for (uint32_t i = 0; i < (bits & 3); i++) s_edit(rig);
    return s_begin(rig);
}

static void s_hello(struct rig *rig)
{
    struct weft_hello_request request;
    weft_hello_request_init(&request);
    request.id = rig->next_id++;
    weft_buf_clear(&rig->header);
    weft_buf_clear(&rig->data);
    weft_hello_request_encode(&request, &rig->header);
    s_request(rig, 1);
    weft_assert(rig->answered[request.id]);
}

static void s_run(struct rig *rig)
{
    static void (*const events[])(struct rig *) = {
        s_produce,    s_produce, s_produce,      s_fetch,           s_look, s_raw,  s_answer_error, s_tell,
        s_answer_raw, s_link,    s_answer_error, s_answer_metadata, s_time, s_time, s_outstanding};
    for (int i = 0; i < EVENTS_MAX && rig->at < rig->end; i++) {
        uint32_t event = s_byte(rig) % (sizeof events / sizeof *events + 1);
        if (event < sizeof events / sizeof *events)
            events[event](rig);
        else if (!s_restart(rig))
            return;
    }
    s_hello(rig);
    weft_fake_world_stop(rig->world, rig->node->parts[0], 100000);
    s_pump(rig);
    s_end(rig);
}

static void s_silence(void *context, enum weft_trace_level level, const char *source, const char *line) {}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    weft_trace_sink_set(s_silence, NULL);
    struct rig rig = {.at = data + 1, .end = data + size, .next_id = 1};
    rig.answered = weft_calloc(EVENTS_MAX + 2, sizeof *rig.answered);
    weft_codec_init(&rig.codec);
    weft_buf_init(&rig.header);
    weft_buf_init(&rig.data);
    if (data[0] & 1) rig.disk = weft_crash_disk_new(1);
    if (s_begin(&rig)) s_run(&rig);
    weft_crash_disk_destroy(&rig.disk);
    weft_codec_fini(&rig.codec);
    weft_buf_fini(&rig.header);
    weft_buf_fini(&rig.data);
    free(rig.answered);
    return 0;
}
