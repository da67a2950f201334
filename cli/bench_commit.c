// SPDX-License-Identifier: MPL-2.0
// weft bench commit: commits of consumer groups, durable, straight over DEALER sockets: one to each shard that leads a
// partition of __offsets. No client object, so that what is measured is the brokers, as far as one machine lets it. A fixed
// number of commits is in flight; each answer lets the next group commit. An id names the slot of a commit in flight, so
// that its answer finds when it was sent.
#include "bench.h"

#include "../lib/core/offsets.h"
#include <weft_gen/messages.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define COMMIT_LINKS_MAX 64
#define COMMIT_WAIT_MS 10000
#define COMMIT_PAUSE_MS 50
#define COMMIT_ASKS_MAX 20 // until it is believed that a topic does not exist: a broker's metadata may lag

struct link {
    char endpoint[256];
    void *socket;
};

struct commit {
    struct bench bench;
    int64_t groups, entries, in_flight;
    void *context;
    struct link links[COMMIT_LINKS_MAX];
    int link_count;
    bool topic_unknown;
    int64_t topic_partitions; // that it has, as the metadata tells
    int *link_of_group;
    int64_t *committed; // by group
    weft_id_t topic;
    weft_codec_t codec;
    weft_buf_t out;
    // By slot.
    int64_t *sent_us;
    uint32_t *free_slots;
    size_t free_count;
    int64_t next_group, done, refused;
    weft_err_t refusal;
    weft_histogram_t *latency;
    struct weft_error error;
};

// ---- links

static int s_link(struct commit *self, weft_slice_t endpoint)
{
    for (int i = 0; i < self->link_count; i++)
        if (weft_slice_is_text(endpoint, self->links[i].endpoint)) return i;
    if (self->link_count == COMMIT_LINKS_MAX || endpoint.size >= sizeof self->links[0].endpoint) return -1;
    struct link *link = &self->links[self->link_count];
    int none = 0;
    memcpy(link->endpoint, endpoint.data, endpoint.size);
    link->endpoint[endpoint.size] = '\0';
    link->socket = zmq_socket(self->context, ZMQ_DEALER);
    zmq_setsockopt(link->socket, ZMQ_SNDHWM, &none, sizeof none);
    zmq_setsockopt(link->socket, ZMQ_RCVHWM, &none, sizeof none);
    zmq_setsockopt(link->socket, ZMQ_LINGER, &none, sizeof none);
    if (zmq_connect(link->socket, link->endpoint) != 0) {
        zmq_close(link->socket);
        return -1;
    }
    return self->link_count++;
}

// Sends what is in self->out and waits for the answer, into *reply (to be closed). False: none came.
static bool s_call(struct commit *self, int link, zmq_msg_t *reply)
{
    int wait_ms = COMMIT_WAIT_MS;
    void *socket = self->links[link].socket;
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    zmq_msg_init(reply);
    return zmq_send(socket, self->out.data, self->out.size, 0) >= 0 && zmq_msg_recv(reply, socket, 0) >= 0;
}

static weft_slice_t s_bytes(zmq_msg_t *message)
{
    return weft_slice(zmq_msg_data(message), zmq_msg_size(message));
}

// ---- __offsets and who leads it

static weft_err_t s_begin(struct commit *self, int *link)
{
    struct weft_offsets_begin_request request;
    weft_offsets_begin_request_init(&request);
    request.id = 1;
    weft_buf_clear(&self->out);
    weft_offsets_begin_request_encode(&request, &self->out);
    zmq_msg_t message;
    struct weft_reply_header reply;
    weft_err_t err = WEFT_ERR_LOCAL_TIMED_OUT;
    if (s_call(self, *link, &message))
        err = weft_reply_header_decode(&self->codec, s_bytes(&message), &reply, &self->error);
    if (err == WEFT_OK) err = reply.error;
    if (err == WEFT_ERR_NOT_COORDINATOR && reply.endpoint.size != 0) *link = s_link(self, reply.endpoint);
    if (err != WEFT_OK) weft_error_set(&self->error, err, "__offsets is not made: %s", weft_err_sentence(err));
    zmq_msg_close(&message);
    return *link < 0 ? WEFT_ERR_INVALID_ENDPOINT : err;
}

// Which link leads to the partition of each group; false while one has no leader yet.
static bool s_take_metadata(struct commit *self, const struct weft_metadata_reply *reply)
{
    const struct weft_metadata_topic *offsets = NULL;
    for (size_t i = 0; i < reply->topics_count; i++) {
        const struct weft_metadata_topic *topic = &reply->topics[i];
        if (weft_slice_is_text(topic->name, WEFT_OFFSETS_TOPIC)) offsets = topic;
        if (!weft_slice_is_text(topic->name, self->bench.topic)) continue;
        self->topic_unknown = topic->error != 0;
        self->topic_partitions = (int64_t) topic->partitions_count;
        self->topic = topic->id;
    }
    if (offsets == NULL || offsets->partitions_count == 0 || weft_id_is_zero(self->topic)) return false;
    for (int64_t i = 0; i < self->groups; i++) {
        char name[32];
        snprintf(name, sizeof name, "bench-%" PRId64, i);
        uint32_t number = weft_offsets_partition(weft_slice_text(name), (uint32_t) offsets->partitions_count);
        if (offsets->partitions[number].endpoint.size == 0) return false;
        self->link_of_group[i] = s_link(self, offsets->partitions[number].endpoint);
        if (self->link_of_group[i] < 0) return false;
    }
    return true;
}

static bool s_find_leaders(struct commit *self, int link)
{
    weft_slice_t topics[2] = {weft_slice_text(WEFT_OFFSETS_TOPIC), weft_slice_text(self->bench.topic)};
    struct weft_metadata_request request;
    weft_metadata_request_init(&request);
    request.id = 1;
    request.internal = true;
    request.topics = topics;
    request.topics_count = 2;
    weft_buf_clear(&self->out);
    weft_metadata_request_encode(&request, &self->out);
    zmq_msg_t message;
    struct weft_metadata_reply reply;
    bool found = s_call(self, link, &message) &&
                 weft_metadata_reply_decode(&self->codec, s_bytes(&message), &reply, &self->error) == WEFT_OK &&
                 reply.header.error == WEFT_OK && s_take_metadata(self, &reply);
    zmq_msg_close(&message);
    return found;
}

static int s_await_leaders(struct commit *self, int link)
{
    const char *topic = self->bench.topic;
    for (int i = 0; i < COMMIT_WAIT_MS / COMMIT_PAUSE_MS; i++) {
        bool found = s_find_leaders(self, link);
        if (found && self->topic_partitions < self->bench.partitions)
            return cli_fail(self->bench.args,
                            "topic '%s' has no %" PRId64 " partitions but %" PRId64 ": see --partitions", topic,
                            self->bench.partitions, self->topic_partitions);
        if (found) return CLI_DONE;
        if (self->topic_unknown && i >= COMMIT_ASKS_MAX)
            return cli_fail(self->bench.args, "there is no topic '%s'; without --topic one is made", topic);
        if (!cli_sleep_ms(COMMIT_PAUSE_MS)) return CLI_INTERRUPTED;
    }
    return cli_fail(self->bench.args, "a partition of __offsets has no leader");
}

static int s_open(struct commit *self)
{
    char first[BENCH_BOOTSTRAP_BYTES];
    snprintf(first, sizeof first, "%.*s", (int) strcspn(self->bench.bootstrap, ", "), self->bench.bootstrap);
    int link = s_link(self, weft_slice_text(first)), coordinator = link;
    if (link < 0) return cli_fail(self->bench.args, "%s is no endpoint", first);
    weft_err_t err = WEFT_ERR_LOCAL_TIMED_OUT;
    for (int i = 0; i < COMMIT_WAIT_MS / COMMIT_PAUSE_MS && err != WEFT_OK; i++) {
        err = s_begin(self, &coordinator);
        enum weft_err_class class = weft_err_class(err);
        if (err != WEFT_OK && class != WEFT_CLASS_RETRY && class != WEFT_CLASS_REFRESH) break;
        if (err != WEFT_OK && !cli_sleep_ms(COMMIT_PAUSE_MS)) return CLI_INTERRUPTED;
    }
    if (err != WEFT_OK) return cli_fail(self->bench.args, "%s", self->error.text);
    return s_await_leaders(self, link);
}

// ---- commits

static void s_send(struct commit *self)
{
    struct weft_commit_entry entries[64];
    int64_t group = self->next_group++ % self->groups, at = ++self->committed[group];
    char name[32];
    int size = snprintf(name, sizeof name, "bench-%" PRId64, group);
    for (int64_t i = 0; i < self->entries; i++)
        entries[i] =
            (struct weft_commit_entry){.topic_id = self->topic,
                                       .partition = (uint32_t) ((at * self->entries + i) % self->bench.partitions),
                                       .offset = at,
                                       .epoch = 1};
    uint32_t slot = self->free_slots[--self->free_count];
    struct weft_commit_request request;
    weft_commit_request_init(&request);
    request.id = slot;
    request.group = weft_slice(name, (size_t) size);
    request.n = (uint64_t) at;
    request.entries = entries;
    request.entries_count = (size_t) self->entries;
    weft_buf_clear(&self->out);
    weft_commit_request_encode(&request, &self->out);
    self->sent_us[slot] = cli_now_us();
    zmq_send(self->links[self->link_of_group[group]].socket, self->out.data, self->out.size, 0);
}

static void s_take(struct commit *self, zmq_msg_t *message)
{
    struct weft_reply_header reply;
    if (weft_reply_header_decode(&self->codec, s_bytes(message), &reply, &self->error) != WEFT_OK ||
        reply.id >= (uint64_t) self->in_flight || self->sent_us[reply.id] == 0)
        return;
    if (reply.error == WEFT_OK)
        weft_histogram_add(self->latency, (uint64_t) (cli_now_us() - self->sent_us[reply.id]) * 1000);
    else
        self->refused++, self->refusal = reply.error;
    self->done += reply.error == WEFT_OK;
    self->sent_us[reply.id] = 0;
    self->free_slots[self->free_count++] = (uint32_t) reply.id;
}

// Takes all that is there; false: nothing was.
static bool s_receive(struct commit *self)
{
    bool any = false;
    for (int i = 0; i < self->link_count; i++) {
        zmq_msg_t message;
        zmq_msg_init(&message);
        while (zmq_msg_recv(&message, self->links[i].socket, ZMQ_DONTWAIT) >= 0) {
            any = true;
            s_take(self, &message);
        }
        zmq_msg_close(&message);
    }
    return any;
}

static bool s_wait(const struct commit *self)
{
    zmq_pollitem_t items[COMMIT_LINKS_MAX];
    for (int i = 0; i < self->link_count; i++)
        items[i] = (zmq_pollitem_t){.socket = self->links[i].socket, .events = ZMQ_POLLIN};
    return zmq_poll(items, self->link_count, COMMIT_WAIT_MS) > 0;
}

// Commits for so long, then waits for the answers. False after a sentence.
static bool s_commit_for(struct commit *self, double seconds)
{
    int64_t until_us = cli_now_us() + (int64_t) (seconds * 1e6);
    self->done = self->refused = 0;
    for (;;) {
        bool goes_on = cli_now_us() < until_us && !cli_interrupted();
        while (goes_on && self->free_count > 0) s_send(self);
        if (!goes_on && self->free_count == (size_t) self->in_flight) return true;
        if (s_receive(self) || s_wait(self)) continue;
        cli_fail(self->bench.args, "no answer came for %d s", COMMIT_WAIT_MS / 1000);
        return false;
    }
}

static void s_print(struct commit *self, double seconds, double cpu_s)
{
    double rate = (double) self->done / seconds;
    if (cli_json(self->bench.args)) {
        cli_json_t json;
        cli_json_init(&json);
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "bench", "commit");
        cli_json_int(&json, "groups", self->groups);
        cli_json_int(&json, "partitions", self->bench.partitions);
        cli_json_int(&json, "entries", self->entries);
        cli_json_int(&json, "in_flight", self->in_flight);
        cli_json_int(&json, "commits", self->done);
        cli_json_int(&json, "refused", self->refused);
        cli_json_float(&json, "seconds", seconds, 3);
        cli_json_float(&json, "commits_per_s", rate, 0);
        cli_json_float(&json, "offsets_per_s", rate * (double) self->entries, 0);
        cli_json_float(&json, "cpu_seconds", cpu_s, 3);
        bench_latency_json(&json, self->latency);
        cli_json_close(&json, '}');
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
        return;
    }
    printf("commit: %s groups, %s offsets a commit, %s in flight, durable, %.2f s\n", cli_count_text(self->groups),
           cli_count_text(self->entries), cli_count_text(self->in_flight), seconds);
    printf("  %14s commits/s  (%.0f %% of a core, all threads here)\n", cli_count_text((int64_t) rate),
           100 * cpu_s / seconds);
    printf("  %14s offsets/s\n  ", cli_count_text((int64_t) (rate * (double) self->entries)));
    bench_latency_text(self->latency);
}

static int s_measure(struct commit *self)
{
    // The new leaders have read their logs, connections and tables are there.
    if (!s_commit_for(self, self->bench.seconds / 5 + 0.5)) return CLI_FAILED;
    weft_histogram_destroy(&self->latency);
    self->latency = weft_histogram_new();
    int64_t started = cli_now_us();
    double cpu = bench_cpu_seconds();
    if (!s_commit_for(self, self->bench.seconds)) return CLI_FAILED;
    double seconds = (double) (cli_now_us() - started) / 1e6;
    if (cli_interrupted()) return CLI_INTERRUPTED; // half a run is no result
    s_print(self, seconds, bench_cpu_seconds() - cpu);
    if (self->refused == 0) return CLI_DONE;
    return cli_fail(self->bench.args, "%" PRId64 " commits were refused, the last with %s", self->refused,
                    weft_err_name(self->refusal));
}

// ---- afterwards

// One after another, so it takes its time; an embedded cluster goes as a whole.
static int s_delete_groups(struct commit *self)
{
    char bootstrap[BENCH_BOOTSTRAP_BYTES + 16];
    snprintf(bootstrap, sizeof bootstrap, "bootstrap=%s", self->bench.bootstrap);
    const char *settings[] = {bootstrap, NULL};
    weft_admin_t *admin = NULL;
    struct weft_error error;
    if (weft_admin_new(settings, &admin, &error) != WEFT_OK) return cli_fail(self->bench.args, "%s", error.text);
    int status = CLI_DONE;
    for (int64_t i = 0; i < self->groups && status == CLI_DONE && !cli_interrupted(); i++) {
        if (self->committed[i] == 0) continue;
        char name[32];
        snprintf(name, sizeof name, "bench-%" PRId64, i);
        weft_err_t err = weft_admin_delete_group(admin, name, NULL);
        if (err == WEFT_OK || err == WEFT_ERR_UNKNOWN_GROUP) continue;
        status =
            cli_fail(self->bench.args, "groups from '%s' on are left behind: %s", name, weft_admin_error_text(admin));
    }
    weft_admin_destroy(&admin);
    return status;
}

// ---- the verb

static bool s_parse(struct commit *self, const struct cli_args *args)
{
    int64_t seconds = 5;
    *self = (struct commit){.groups = 1000, .entries = 1, .in_flight = 4096};
    struct bench *bench = &self->bench;
    *bench = (struct bench){.args = args, .replicas = 1, .partitions = 10, .brokers = 1, .shards = 1};
    if (!cli_number(args, "--groups", 1, 100000, &self->groups) ||
        !cli_number(args, "--partitions", 1, 10000, &bench->partitions) ||
        !cli_number(args, "--entries", 1, 64, &self->entries) ||
        !cli_number(args, "--in-flight", 1, 65536, &self->in_flight) ||
        !cli_number(args, "--seconds", 1, 86400, &seconds) ||
        !cli_number(args, "--replicas", 1, 16, &bench->replicas) ||
        !cli_number(args, "--shards", 1, 64, &bench->shards) ||
        !cli_number(args, "--brokers", 1, WEFT_EMBEDDED_BROKERS_MAX, &bench->brokers))
        return false;
    if (self->entries > bench->partitions) {
        cli_usage(args,
                  "--entries %" PRId64
                  ": a commit has at most one offset of each partition, and --partitions is %" PRId64,
                  self->entries, bench->partitions);
        return false;
    }
    bench->seconds = (double) seconds;
    return true;
}

static void s_prepare(struct commit *self)
{
    self->context = zmq_ctx_new();
    self->link_of_group = weft_calloc((size_t) self->groups, sizeof *self->link_of_group);
    self->committed = weft_calloc((size_t) self->groups, sizeof *self->committed);
    self->sent_us = weft_calloc((size_t) self->in_flight, sizeof *self->sent_us);
    self->free_slots = weft_calloc((size_t) self->in_flight, sizeof *self->free_slots);
    for (int64_t i = 0; i < self->in_flight; i++) self->free_slots[self->free_count++] = (uint32_t) i;
    self->latency = weft_histogram_new();
    weft_codec_init(&self->codec);
    weft_buf_init(&self->out);
}

static void s_fini(struct commit *self)
{
    for (int i = 0; i < self->link_count; i++) zmq_close(self->links[i].socket);
    zmq_ctx_term(self->context);
    free(self->link_of_group);
    free(self->committed);
    free(self->sent_us);
    free(self->free_slots);
    weft_histogram_destroy(&self->latency);
    weft_codec_fini(&self->codec);
    weft_buf_fini(&self->out);
}

static int s_commit(const struct cli_args *args)
{
    struct commit self;
    if (!s_parse(&self, args)) return CLI_USAGE;
    cli_catch_signals(); // the topic and the directory that it makes are taken away again
    int status = bench_open(&self.bench);
    if (status == CLI_DONE) {
        s_prepare(&self);
        status = s_open(&self);
        if (status == CLI_DONE) status = s_measure(&self);
        if (cli_has(args, "--delete") && !self.bench.embedded) {
            int deleted = s_delete_groups(&self);
            if (status == CLI_DONE) status = deleted;
        }
        s_fini(&self);
    }
    bench_close(&self.bench);
    return cli_interrupted() ? CLI_INTERRUPTED : status;
}

static const struct cli_option s_options[] = {
    {"--groups", "N", "1000", false, "Consumer groups that commit in turn."},
    {"--partitions", "N", "10", false, "Partitions that each group commits."},
    {"--entries", "N", "1", false, "Offsets in one commit, at most one of each partition."},
    {"--in-flight", "N", "4096", false, "Commits of all groups that may wait for their answer."},
    {"--seconds", "N", "5", false, "How long to measure."},
    {"--replicas", "R", "1", false, "Copies of the topic's partitions; those of __offsets: offsets.replicas."},
    {"--topic", "NAME", NULL, false, "A topic that exists, with those partitions; else one is made and deleted."},
    {"--delete", NULL, NULL, false, "Delete the groups at the end, one after another: a thousand take seconds."},
    {"--embedded", NULL, NULL, false, "Start a cluster in this process, with data in --dir."},
    {"--dir", "DIR", NULL, false, "Data of the embedded cluster [a new directory in TMPDIR or /tmp]."},
    {"--brokers", "N", "1", false, "Brokers of the embedded cluster."},
    {"--shards", "N", "1", false, "Shards of each embedded broker."},
    {0}};

const struct cli_verb cli_verb_bench_commit = {
    "bench commit",
    "",
    0,
    0,
    "Measure commits of consumer groups.",
    "Each is answered once it is on the disk of every replica in sync. Runs against --bootstrap, where it leaves "
    "groups named bench-0 and up, whose offsets expire (or see --delete); or with --embedded against a cluster of its "
    "own in this process.",
    "  weft bench commit --embedded --groups 1000 --entries 10",
    s_options,
    true,
    true,
    s_commit};
