// SPDX-License-Identifier: MPL-2.0
// The admin, the topics and the producers; consumers are in sim_consumers.c.
#include "sim_clients.h"

#include "../../lib/base/assert.h"

#include <weft_gen/config.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000)

void sim_clients_bootstrap(const struct sim_clients *self, weft_options_t *options)
{
    char list[2048] = "", endpoint[WEFT_ENDPOINT_BYTES_MAX];
    for (size_t i = self->nodes->count; i-- > 0;) { // brokers, then the coordinator
        sim_nodes_endpoint(self->nodes, i, endpoint);
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", list[0] ? "," : "", endpoint);
    }
    weft_assert(weft_options_set(options, "bootstrap", list, NULL) == WEFT_OK);
}

weft_part_id_t sim_clients_run_part(struct sim_clients *self, sim_host_t host, const char *name, struct weft_part *part)
{
    const weft_world_t *world = weft_sim_host_world(self->sim, host);
    struct weft_world_part how = {.name = name, .frame_bytes_max = 32 << 20, .peer_bytes_max = 64 << 20};
    weft_part_id_t id = 0;
    weft_assert(world->ops->add(world->self, &how, part, &id, NULL, NULL) == WEFT_OK);
    world->ops->start(world->self);
    return id;
}

// ---- admin

weft_admin_part_t *sim_clients_admin_run(struct sim_clients *self, const char *name, sim_host_t *host,
                                         weft_part_id_t *id)
{
    weft_options_t *options = weft_options_new(weft_options_admin, weft_options_admin_count, "admin");
    sim_clients_bootstrap(self, options);
    struct weft_error error;
    weft_admin_part_t *admin = NULL;
    weft_assert(weft_admin_part_new(options, &admin, &error) == WEFT_OK);
    weft_options_destroy(&options);
    *host = weft_sim_host_add(self->sim, name, NULL);
    *id = sim_clients_run_part(self, *host, name, weft_admin_part_base(admin));
    return admin;
}

static void s_admin_start(struct sim_clients *self)
{
    self->admin = sim_clients_admin_run(self, "admin", &self->admin_host, &self->admin_id);
    weft_sim_run_until(self->sim, weft_sim_now_us(self->sim) + 1000); // it has started
}

static bool s_admin_is_done(void *context)
{
    const struct sim_clients *self = context;
    return weft_admin_part_is_done(self->admin);
}

struct weft_call *sim_admin_begin(struct sim_clients *self, enum weft_call_to to, const char *topic, int partition)
{
    struct weft_call *call = weft_admin_part_begin(self->admin, to, topic, partition, NULL);
    weft_buf_clear(&call->header);
    return call;
}

static void s_submit(struct sim_clients *self, int64_t timeout_us)
{
    weft_admin_part_submit(self->admin, timeout_us);
    weft_sim_part_poke(self->sim, self->admin_host, self->admin_id);
}

weft_err_t sim_admin_run(struct sim_clients *self, int64_t timeout_us)
{
    s_submit(self, timeout_us);
    int64_t limit = weft_sim_now_us(self->sim) + timeout_us + 5 * SECOND;
    if (!weft_sim_run_until_true(self->sim, limit, s_admin_is_done, self)) {
        sim_history_violate(self->history, "O9: an admin call did not end by its own timeout");
        return WEFT_ERR_LOCAL_TIMED_OUT;
    }
    return weft_admin_part_error(self->admin);
}

static weft_err_t s_offsets(struct sim_clients *self, int topic, int partition, bool durable, int64_t *start,
                            int64_t *end)
{
    const char *name = self->topics[topic].name;
    struct weft_call *call = sim_admin_begin(self, WEFT_TO_LEADER, name, partition);
    struct weft_list_offsets_request request;
    weft_list_offsets_request_init(&request);
    request.id = call->id;
    request.topic = weft_slice_text(name);
    request.partition = (uint32_t) partition;
    request.read = weft_slice_text(durable ? "durable" : "committed");
    weft_list_offsets_request_encode(&request, &call->header);
    weft_err_t err = sim_admin_run(self, 30 * SECOND);
    if (err != WEFT_OK) return err;
    struct weft_list_offsets_reply reply;
    err = weft_list_offsets_reply_decode(&self->codec, weft_admin_part_reply(self->admin), &reply, NULL);
    if (err != WEFT_OK) return err;
    *start = reply.log_start;
    *end = reply.offset;
    return WEFT_OK;
}

weft_err_t sim_admin_offsets(struct sim_clients *self, int topic, int partition, bool durable, int64_t *start,
                             int64_t *end)
{
    weft_err_t err = WEFT_ERR_UNKNOWN_TOPIC;
    for (int tries = 0; err == WEFT_ERR_UNKNOWN_TOPIC && tries < 10; tries++) {
        if (tries > 0)
            weft_sim_run_until(self->sim,
                               weft_sim_now_us(self->sim) + 300000); // a node that has only just started told
        err = s_offsets(self, topic, partition, durable, start, end);
    }
    return err;
}

weft_err_t sim_admin_touch(struct sim_clients *self, int64_t timeout_us)
{
    struct weft_call *call = sim_admin_begin(self, WEFT_TO_COORDINATOR, NULL, 0);
    struct weft_topic_alter_request request;
    struct weft_config_entry entry = {weft_slice_text("retention.ms"), weft_slice_text("6d")};
    weft_topic_alter_request_init(&request);
    request.id = call->id;
    request.topic = weft_slice_text(self->topics[0].name);
    request.set = &entry;
    request.set_count = 1;
    request.operation = weft_rand_id(weft_sim_rand(self->sim));
    weft_topic_alter_request_encode(&request, &call->header);
    return sim_admin_run(self, timeout_us);
}

// ---- topics

static bool s_create_topic(struct sim_clients *self, const struct sim_topic *topic)
{
    const char *segment_bytes = weft_sim_chance(self->sim, 700000) ? "65536" : "1MiB";
    const char *segment_ms = weft_sim_chance(self->sim, 500000) ? "2s" : "1h";
    char min_insync[8];
    snprintf(min_insync, sizeof min_insync, "%d", topic->min_insync);
    struct weft_config_entry config[7] = {
        {weft_slice_text("segment.bytes"), weft_slice_text(segment_bytes)},
        {weft_slice_text("segment.ms"), weft_slice_text(segment_ms)},
        {weft_slice_text("retention.bytes"), weft_slice_text(topic->retained ? "100000" : "-1")},
        {weft_slice_text("min.insync"), weft_slice_text(min_insync)},
        {weft_slice_text("cleanup.policy"), weft_slice_text("compact")},
        {weft_slice_text("compact.dirty.percent"), weft_slice_text("10")},
        {weft_slice_text("delete.retention.ms"), weft_slice_text(topic->tombstones_stay ? "1d" : "300ms")}};
    if (topic->compacted) {
        config[0].value = weft_slice_text("65536");
        config[1].value = weft_slice_text("1s");
    }
    weft_id_t operation = weft_rand_id(weft_sim_rand(self->sim));
    for (int tries = 0; tries < 50; tries++) {
        struct weft_call *call = sim_admin_begin(self, WEFT_TO_COORDINATOR, NULL, 0);
        struct weft_topic_create_request request;
        weft_topic_create_request_init(&request);
        request.id = call->id;
        request.topic = weft_slice_text(topic->name);
        request.partitions = (uint32_t) topic->partitions;
        request.config = config;
        request.config_count = topic->compacted ? 7 : 4;
        request.replicas = (uint32_t) topic->replicas;
        request.operation = operation;
        weft_topic_create_request_encode(&request, &call->header);
        weft_err_t err = sim_admin_run(self, 20 * SECOND);
        if (err == WEFT_OK || err == WEFT_ERR_TOPIC_EXISTS) return true; // the answer to a first try may have been lost
        weft_sim_trace(self->sim, "admin", "topic_create: %s", weft_admin_part_error_text(self->admin));
        weft_sim_run_until(self->sim, weft_sim_now_us(self->sim) + 100000); // no broker has registered yet
    }
    return false;
}

bool sim_clients_led(struct sim_clients *self, int index)
{
    struct weft_call *call = sim_admin_begin(self, WEFT_TO_ANY, NULL, 0);
    struct weft_metadata_request request;
    weft_metadata_request_init(&request);
    request.id = call->id;
    weft_slice_t name = weft_slice_text(self->topics[index].name);
    request.topics = &name;
    request.topics_count = 1;
    weft_metadata_request_encode(&request, &call->header);
    if (sim_admin_run(self, 20 * SECOND) != WEFT_OK) return false;
    struct weft_metadata_reply reply;
    weft_slice_t bytes = weft_admin_part_reply(self->admin);
    if (weft_metadata_reply_decode(&self->codec, bytes, &reply, NULL) != WEFT_OK) return false;
    if (reply.topics_count != 1 || reply.topics[0].partitions_count != (size_t) self->topics[index].partitions) {
        return false;
    }
    for (size_t i = 0; i < reply.topics[0].partitions_count; i++) {
        if (reply.topics[0].partitions[i].leader < 0) return false;
    }
    return true;
}

bool sim_clients_create_topics(struct sim_clients *self)
{
    for (int i = 0; i < self->topic_count; i++) {
        if (!s_create_topic(self, &self->topics[i])) return false;
        int tries = 0;
        while (!sim_clients_led(self, i)) {
            if (++tries == 50) return false;
            weft_sim_run_until(self->sim, weft_sim_now_us(self->sim) + 100000);
        }
    }
    return true;
}

// ---- deleting records

static void s_delete_check(void *context)
{
    struct sim_clients *self = context;
    if (self->delete_topic < 0) return;
    if (!weft_admin_part_is_done(self->admin)) {
        if (!self->calm) weft_sim_at(self->sim, weft_sim_now_us(self->sim) + 20000, s_delete_check, self);
        return;
    }
    bool done = weft_admin_part_error(self->admin) == WEFT_OK;
    weft_sim_trace(self->sim, "admin", "delete_records: %s",
                   done ? "done" : weft_err_name(weft_admin_part_error(self->admin)));
    sim_history_delete(self->history, self->delete_topic, self->delete_partition, self->delete_before, done);
    self->delete_topic = -1;
}

void sim_admin_delete_some(struct sim_clients *self)
{
    if (self->delete_topic >= 0 || self->consumer_count == 0) return;
    const struct sim_consumer *seen = &self->consumers[weft_sim_below(self->sim, (uint64_t) self->consumer_count)];
    int partition = (int) weft_sim_below(self->sim, (uint64_t) self->topics[seen->topic].partitions);
    if (seen->part == NULL || seen->expected[partition] <= 0) return;
    self->delete_topic = seen->topic;
    self->delete_partition = partition;
    self->delete_before = (int64_t) weft_sim_below(self->sim, (uint64_t) seen->expected[partition] + 1);
    sim_history_delete(self->history, seen->topic, partition, self->delete_before, false);
    const char *name = self->topics[seen->topic].name;
    struct weft_call *call = sim_admin_begin(self, WEFT_TO_LEADER, name, partition);
    struct weft_delete_records_request request;
    weft_delete_records_request_init(&request);
    request.id = call->id;
    request.topic = weft_slice_text(name);
    request.partition = (uint32_t) partition;
    request.before_offset = self->delete_before;
    weft_delete_records_request_encode(&request, &call->header);
    weft_sim_trace(self->sim, "admin", "delete_records of %s %d below %lld", name, partition,
                   (long long) self->delete_before);
    s_submit(self, 10 * SECOND);
    s_delete_check(self);
}

// ---- producers

static void s_report(void *context, const struct weft_report *report)
{
    struct sim_producer *self = context;
    struct sim_record *record = report->opaque;
    if (report->error == WEFT_OK) {
        sim_history_acked(self->owner->history, record, report->offset, weft_sim_now_us(self->owner->sim));
    } else {
        weft_sim_trace(self->owner->sim, "producer", "record %u of writer %u: %s (%s)", record->sequence,
                       record->producer, weft_err_name(report->error), report->text);
        sim_history_failed(self->owner->history, record, report->outcome == WEFT_OUTCOME_MAYBE_APPLIED);
    }
}

static void s_set(weft_options_t *options, char *told, size_t told_bytes, const char *name, const char *value)
{
    weft_assert(weft_options_set(options, name, value, NULL) == WEFT_OK);
    snprintf(told + strlen(told), told_bytes - strlen(told), " %s=%s", name, value);
}

static const char *s_pick(sim_t *sim, const char *const *choices, size_t count)
{
    return choices[weft_sim_below(sim, count)];
}

#define PICK(sim, ...) \
    s_pick((sim), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void s_producer_start(struct sim_producer *self)
{
    struct sim_clients *owner = self->owner;
    sim_t *sim = owner->sim;
    weft_options_t *options = weft_options_new(weft_options_producer, weft_options_producer_count, "producer");
    sim_clients_bootstrap(owner, options);
    const char *through = owner->producer_through[self - owner->producers];
    if (through != NULL) weft_assert(weft_options_set(options, "bootstrap", through, NULL) == WEFT_OK);
    const char *acks = PICK(sim, "all", "all", "all", "leader", "none");
    bool durable = weft_sim_chance(sim, owner->lazy ? 0 : 600000), idempotent = weft_sim_chance(sim, 800000);
    self->settings[0] = '\0';
    s_set(options, self->settings, sizeof self->settings, "acks", acks);
    if (owner->producer_no_spool[self - owner->producers])
        s_set(options, self->settings, sizeof self->settings, "spool", "false");
    s_set(options, self->settings, sizeof self->settings, "durable", durable ? "true" : "false");
    s_set(options, self->settings, sizeof self->settings, "idempotent", idempotent ? "true" : "false");
    s_set(options, self->settings, sizeof self->settings, "compression", PICK(sim, "none", "none", "lz4", "zstd"));
    s_set(options, self->settings, sizeof self->settings, "batch.bytes", PICK(sim, "1KiB", "4KiB", "64KiB"));
    s_set(options, self->settings, sizeof self->settings, "linger.ms", PICK(sim, "0", "1ms", "5ms", "50ms"));
    s_set(options, self->settings, sizeof self->settings, "in.flight", PICK(sim, "1", "2", "16", "64"));
    s_set(options, self->settings, sizeof self->settings, "request.timeout.ms", PICK(sim, "500ms", "2s", "10s"));
    s_set(options, self->settings, sizeof self->settings, "delivery.timeout.ms", PICK(sim, "3s", "2m", "2m", "10m"));
    struct weft_error error;
    weft_assert(weft_producer_part_new(options, &self->part, &error) == WEFT_OK);
    weft_options_destroy(&options);
    bool answered = strcmp(acks, "none") != 0; // without answers nothing is sent again, nor numbered
    bool spread = owner->producer_spread[self - owner->producers];
    struct sim_writer writer = {.idempotent = idempotent && answered && !spread,
                                .by_edge = through != NULL,
                                .promise = !answered                     ? SIM_PROMISE_NONE
                                           : strcmp(acks, "leader") == 0 ? SIM_PROMISE_LEADER
                                           : durable                     ? SIM_PROMISE_DURABLE
                                                                         : SIM_PROMISE_COMMITTED};
    self->writer = sim_history_writer(owner->history, &writer);
    weft_sim_trace(sim, "producer", "writer %u:%s%s%s", self->writer, self->settings,
                   through != NULL ? " through " : "", through != NULL ? through : "");
    weft_producer_part_on_report(self->part, s_report, self);
    for (int i = 0; i < owner->topic_count; i++) {
        weft_assert(weft_producer_part_topic(self->part, owner->topics[i].name, &self->topics[i]) == WEFT_OK);
    }
    self->started_us = weft_sim_now_us(sim);
    self->part_id = sim_clients_run_part(owner, self->host, "producer", weft_producer_part_base(self->part));
}

static void s_send_to(struct sim_producer *self, int topic, int partition)
{
    struct sim_clients *owner = self->owner;
    sim_t *sim = owner->sim;
    uint32_t bytes = (uint32_t) (60 + weft_sim_below(sim, weft_sim_chance(sim, 50000) ? 5000 : 300));
    weft_buf_clear(&owner->scratch);
    struct sim_record *record =
        sim_history_send(owner->history, self->writer, topic, partition, bytes, weft_sim_now_us(sim), &owner->scratch);
    char key[16];
    bool compacted = owner->topics[topic].compacted;
    snprintf(key, sizeof key, "k%u", sim_history_key(record));
    weft_slice_t key_slice = !compacted && weft_sim_chance(sim, 300000) ? WEFT_SLICE_NIL : weft_slice_text(key);
    weft_slice_t value = weft_buf_slice(&owner->scratch);
    record->tombstone = compacted && weft_sim_chance(sim, 100000);
    if (record->tombstone) value = WEFT_SLICE_NIL;
    struct weft_send_extra extra = {.opaque = record};
    weft_err_t err = weft_producer_part_send(self->part, self->topics[topic], partition, key_slice, value,
                                             weft_sim_host_wall_ms(sim, self->host), &extra, NULL);
    if (err != WEFT_OK) sim_history_unsend(owner->history, record);
}

static void s_send_one(struct sim_producer *self)
{
    const struct sim_clients *owner = self->owner;
    int topic = (int) weft_sim_below(owner->sim, (uint64_t) owner->topic_count);
    int partition = (int) weft_sim_below(owner->sim, (uint64_t) owner->topics[topic].partitions);
    s_send_to(self, topic, partition);
}

void sim_producers_probe(struct sim_clients *self)
{
    for (int i = 0; i < self->producer_count; i++) {
        struct sim_producer *producer = &self->producers[i];
        for (int t = 0; t < self->topic_count && producer->part != NULL; t++) {
            for (int p = 0; p < self->topics[t].partitions; p++) s_send_to(producer, t, p);
        }
    }
    sim_producers_finish(self);
}

static void s_producer_step(void *context)
{
    struct sim_producer *self = context;
    sim_t *sim = self->owner->sim;
    if (!self->busy) return;
    bool ready = self->part != NULL && weft_sim_now_us(sim) > self->started_us + 1000;
    if (ready && weft_producer_part_waiting_count(self->part) < 300) {
        for (uint64_t count = 1 + weft_sim_below(sim, weft_sim_chance(sim, 100000) ? 40 : 6); count > 0; count--) {
            s_send_one(self);
        }
        if (weft_sim_chance(sim, 100000)) weft_producer_part_flush(self->part);
        weft_sim_part_poke(sim, self->host, self->part_id);
    }
    int64_t wait_us = (int64_t) weft_sim_below(sim, weft_sim_chance(sim, 50000) ? 1000000 : 60000);
    weft_sim_at(sim, weft_sim_now_us(sim) + 100 + wait_us, s_producer_step, self);
}

void sim_producers_start(struct sim_clients *self)
{
    for (int i = 0; i < self->producer_count; i++) {
        struct sim_producer *producer = &self->producers[i];
        char name[32];
        snprintf(name, sizeof name, "producer-%d", i + 1);
        *producer = (struct sim_producer){.owner = self, .busy = true};
        producer->host = weft_sim_host_add(self->sim, name, NULL);
        s_producer_start(producer);
        weft_sim_at(self->sim, weft_sim_now_us(self->sim) + (int64_t) weft_sim_below(self->sim, 100000),
                    s_producer_step, producer);
    }
}

static void s_producer_again(void *context)
{
    struct sim_producer *self = context;
    if (self->part == NULL && self->busy) s_producer_start(self);
}

void sim_producer_kill(struct sim_producer *self)
{
    if (self->part == NULL) return;
    weft_sim_trace(self->owner->sim, "producer", "writer %u is killed", self->writer);
    weft_producer_part_on_report(self->part, NULL, NULL); // the dead tell nothing
    weft_sim_host_kill(self->owner->sim, self->host, weft_sim_chance(self->owner->sim, 500000));
    self->part = NULL;
    sim_history_abandon(self->owner->history, self->writer);
    weft_sim_at(self->owner->sim,
                weft_sim_now_us(self->owner->sim) + (int64_t) weft_sim_below(self->owner->sim, 2000000),
                s_producer_again, self);
}

void sim_producers_finish(struct sim_clients *self)
{
    for (int i = 0; i < self->producer_count; i++) {
        struct sim_producer *producer = &self->producers[i];
        producer->busy = false;
        if (producer->part == NULL) continue;
        weft_producer_part_flush(producer->part);
        weft_sim_part_poke(self->sim, producer->host, producer->part_id);
    }
}

void sim_producers_trace(const struct sim_clients *self)
{
    for (int i = 0; i < self->producer_count; i++) {
        const struct sim_producer *producer = &self->producers[i];
        if (producer->part == NULL) continue;
        weft_sim_trace(self->sim, "producer", "writer %u: %llu records without an answer, %zu in the client",
                       producer->writer, (unsigned long long) sim_history_unanswered(self->history, producer->writer),
                       weft_producer_part_waiting_count(producer->part));
        const char *name;
        uint64_t value;
        const weft_counters_t *counters = weft_producer_part_counters(producer->part);
        for (size_t j = 0; j < counters->count; j++) {
            name = counters->infos[j].name;
            value = weft_counter_get(counters, j);
            if (value > 0) weft_sim_trace(self->sim, "producer", "    %s %llu", name, (unsigned long long) value);
        }
    }
}

bool sim_producers_done(const struct sim_clients *self)
{
    for (int i = 0; i < self->producer_count; i++) {
        const struct sim_producer *producer = &self->producers[i];
        if (producer->part != NULL && sim_history_unanswered(self->history, producer->writer) > 0) return false;
    }
    return true;
}

// ---- life

void sim_clients_init(struct sim_clients *self, sim_t *sim, sim_history_t *history, struct sim_nodes *nodes)
{
    *self = (struct sim_clients){.sim = sim, .history = history, .nodes = nodes, .delete_topic = -1};
    weft_buf_init(&self->scratch);
    weft_codec_init(&self->codec);
    s_admin_start(self);
}

// The parts belong to the world: they go with their hosts.
void sim_clients_fini(struct sim_clients *self)
{
    for (int i = 0; i < self->producer_count; i++) {
        struct sim_producer *producer = &self->producers[i];
        if (producer->part != NULL) weft_producer_part_on_report(producer->part, NULL, NULL);
    }
    weft_buf_fini(&self->scratch);
    weft_codec_fini(&self->codec);
}
