// SPDX-License-Identifier: MPL-2.0
// The broker as a node: create checks everything that a person may have got wrong before anything runs, in this order:
// options, the directory and its lock, what is stored, the endpoints. Only then is the clean marker taken, durably
// (rule 2): a start that failed before it leaves a clean directory clean.
//
// Layout of the data directory: identity, lock, checkpoint, clean, topics/<topic id>/<partition>/ (docs/STORAGE.md).
#include "broker.h"
#include "counters.h"

#include "../../lib/log/compact_part.h"
#include "../../lib/log/sync_part.h"
#include <weft_gen/config.h>
#include <weft_gen/limits.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define S_DATA_BYTES_MAX 140          // a log's path, with topic id and partition behind it, stays below 200 bytes
#define S_REPLY_SLACK_BYTES (2 << 20) // refusals still reach a peer whose data budget is used up

// ---- what parts share

char *weft_broker_directory(const struct weft_broker *self, weft_id_t topic, int64_t partition)
{
    char id[WEFT_ID_TEXT_BYTES];
    weft_id_text(topic, id);
    weft_buf_t path;
    weft_buf_init(&path);
    weft_buf_printf(&path, "%s/topics/%s", self->data, id);
    if (partition >= 0) weft_buf_printf(&path, "/%lld", (long long) partition);
    char *text = weft_slice_dup(weft_buf_slice(&path));
    weft_buf_fini(&path);
    return text;
}

static int s_compare_found(const void *a, const void *b)
{
    const struct weft_broker_found *x = a, *y = b;
    int order = memcmp(&x->topic, &y->topic, sizeof x->topic);
    return order != 0 ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

// Among the first `count`, which are sorted.
static const struct weft_broker_found *s_find_found(const struct weft_broker *self, size_t count, weft_id_t topic,
                                                    uint32_t partition)
{
    if (count == 0) return NULL;
    const struct weft_broker_found wanted = {.topic = topic, .partition = partition};
    return bsearch(&wanted, self->found, count, sizeof self->found[0], s_compare_found);
}

int64_t weft_broker_found_end(const struct weft_broker *self, weft_id_t topic, uint32_t partition)
{
    const struct weft_broker_found *found = s_find_found(self, self->found_count, topic, partition);
    return found != NULL ? found->synced_end : 0;
}

void weft_broker_found_keep(struct weft_broker *self, weft_id_t topic, uint32_t partition, int64_t synced_end)
{
    const struct weft_broker_found *found = s_find_found(self, self->found_count, topic, partition);
    if (found == NULL) return;
    struct weft_broker_found *own = &self->found[found - self->found];
    own->synced_end = synced_end;
    own->missing = false;
}

// ---- what is stored

struct s_listing {
    struct weft_broker *broker;
    weft_checkpoint_t *checkpoint;
    weft_id_t topic;
};

static void s_add_found(struct weft_broker *self, const struct weft_broker_found *found)
{
    if ((self->found_count & (self->found_count + 1)) == 0) // grows when a power of two, less one, is full
        self->found = weft_realloc(self->found, 2 * (self->found_count + 1) * sizeof self->found[0]);
    self->found[self->found_count++] = *found;
}

static void s_on_partition(void *context, const char *name, bool is_directory)
{
    struct s_listing *listing = context;
    struct weft_broker *self = listing->broker;
    char *end;
    unsigned long number = strtoul(name, &end, 10);
    if (!is_directory || *name < '0' || *name > '9' || *end != '\0' || number >= WEFT_PARTITIONS_MAX) return;
    const struct weft_broker_found found = {
        .topic = listing->topic,
        .partition = (uint32_t) number,
        .synced_end = weft_checkpoint_get(listing->checkpoint, listing->topic, (uint32_t) number),
    };
    s_add_found(self, &found);
}

static void s_on_topic(void *context, const char *name, bool is_directory)
{
    struct s_listing *listing = context;
    const struct weft_disk *disk = listing->broker->disk;
    if (!is_directory || weft_id_parse(name, &listing->topic) != WEFT_OK) return;
    char *directory = weft_broker_directory(listing->broker, listing->topic, -1);
    weft_err_t code = disk->ops->list(disk, directory, s_on_partition, listing);
    if (code != WEFT_OK)
        weft_trace(WEFT_TRACE_WARN, listing->broker->base.name, "%s can't be listed (%s)", directory,
                   weft_err_name(code));
    free(directory);
}

static void s_sort_found(struct weft_broker *self)
{
    if (self->found_count > 1) qsort(self->found, self->found_count, sizeof self->found[0], s_compare_found);
}

// What was synced and has no directory any more is not to be begun anew in silence (I9).
static void s_add_missing(struct weft_broker *self, const weft_checkpoint_t *checkpoint)
{
    size_t sorted = self->found_count, cursor = 0;
    struct weft_broker_found entry = {.missing = true};
    while (weft_checkpoint_next(checkpoint, &cursor, &entry.topic, &entry.partition, &entry.synced_end))
        if (s_find_found(self, sorted, entry.topic, entry.partition) == NULL) s_add_found(self, &entry);
}

static weft_err_t s_list_stored(struct weft_broker *self, weft_checkpoint_t *checkpoint, struct weft_error *error)
{
    weft_buf_t path;
    weft_buf_init(&path);
    weft_buf_printf(&path, "%s/topics", self->data);
    char *directory = weft_slice_dup(weft_buf_slice(&path));
    weft_buf_fini(&path);
    struct s_listing listing = {.broker = self, .checkpoint = checkpoint};
    weft_err_t code = self->disk->ops->mkdir(self->disk, directory);
    if (code == WEFT_OK) code = self->disk->ops->list(self->disk, directory, s_on_topic, &listing);
    if (code != WEFT_OK)
        weft_error_set(error, code, "the directory %s can't be made or listed: %s", directory, weft_err_sentence(code));
    free(directory);
    if (code != WEFT_OK) return code;
    s_sort_found(self);
    s_add_missing(self, checkpoint);
    s_sort_found(self);
    return WEFT_OK;
}

// ---- endpoints

// The port of "tcp://host:port", or -1 for "*" and other transports; *digits points at it.
static long s_port(const char *endpoint, const char **digits)
{
    const char *colon = strrchr(endpoint, ':');
    if (strncmp(endpoint, "tcp://", 6) != 0 || colon == NULL || colon < endpoint + 6) return -1;
    char *end;
    long port = strtol(colon + 1, &end, 10);
    *digits = colon + 1;
    return end == colon + 1 || *end != '\0' ? -1 : port;
}

// Shard n's endpoint: the following ports of tcp, suffixes of ipc and inproc; a free port ("*") stays one.
static void s_endpoint_of(const char *first, size_t shard, char out[WEFT_ENDPOINT_BYTES_MAX])
{
    const char *digits = NULL;
    long port = s_port(first, &digits);
    if (shard == 0 || (strncmp(first, "tcp://", 6) == 0 && port <= 0))
        snprintf(out, WEFT_ENDPOINT_BYTES_MAX, "%s", first);
    else if (port > 0)
        snprintf(out, WEFT_ENDPOINT_BYTES_MAX, "%.*s%ld", (int) (digits - first), first, port + (long) shard);
    else
        snprintf(out, WEFT_ENDPOINT_BYTES_MAX, "%s-%zu", first, shard);
}

static bool s_wildcard(const char *endpoint)
{
    return strncmp(endpoint, "tcp://*:", 8) == 0 || strncmp(endpoint, "tcp://0.0.0.0:", 14) == 0 ||
           strncmp(endpoint, "tcp://[::]:", 11) == 0;
}

// Where a shard's second door listens: as `replica.listen` says, else beside the first one.
static void s_replica_listen(const struct weft_broker *self, size_t number, char out[WEFT_ENDPOINT_BYTES_MAX])
{
    const char *listen = weft_options_text(self->options, "listen");
    const char *own = weft_options_text(self->options, "replica.listen");
    const char *colon = strrchr(listen, ':');
    char beside[WEFT_ENDPOINT_BYTES_MAX + 16];
    if (*own != '\0') {
        s_endpoint_of(own, number, out);
    } else if (strncmp(listen, "tcp://", 6) == 0 && colon > listen + 5) {
        snprintf(out, WEFT_ENDPOINT_BYTES_MAX, "%.*s:*", (int) (colon - listen), listen);
    } else {
        snprintf(beside, sizeof beside, "%s-replica", listen);
        beside[WEFT_ENDPOINT_BYTES_MAX - 8] = '\0'; // a longer one is refused where it is bound
        s_endpoint_of(beside, number, out);
    }
}

// What others are told of an endpoint that was bound. An address of every interface is none that they could reach: the
// host that `advertise` names for the first door is right for the second one, too.
static void s_advertise(const struct weft_broker *self, const char *option, size_t number, const char *bound,
                        char out[WEFT_ENDPOINT_BYTES_MAX])
{
    const char *advertise = weft_options_text(self->options, option);
    const char *first = weft_options_text(self->options, "advertise"), *host_end = strrchr(first, ':');
    if (*advertise != '\0')
        s_endpoint_of(advertise, number, out);
    else if (s_wildcard(bound) && strncmp(first, "tcp://", 6) == 0 && host_end > first + 5)
        snprintf(out, WEFT_ENDPOINT_BYTES_MAX, "%.*s%s", (int) (host_end - first), first, strrchr(bound, ':'));
    else
        snprintf(out, WEFT_ENDPOINT_BYTES_MAX, "%s", bound);
    if (s_wildcard(out))
        weft_trace(WEFT_TRACE_WARN, self->base.name,
                   "others are told to reach this broker at %s, which only works on this machine; set `%s`", out,
                   option);
}

static weft_err_t s_add_shard(struct weft_broker *self, const weft_world_t *world, size_t number,
                              struct weft_error *error)
{
    char name[WEFT_NODE_NAME_BYTES_MAX], listen[WEFT_ENDPOINT_BYTES_MAX], bound[WEFT_ENDPOINT_BYTES_MAX] = "";
    char listen_too[WEFT_ENDPOINT_BYTES_MAX], bound_too[WEFT_ENDPOINT_BYTES_MAX] = "";
    snprintf(name, sizeof name, "broker-%d/shard-%zu", (int) self->id, number);
    s_endpoint_of(weft_options_text(self->options, "listen"), number, listen);
    s_replica_listen(self, number, listen_too);
    const struct weft_world_part how = {
        .name = name,
        .listen = listen,
        .listen_too = listen_too,
        .bound_too = bound_too,
        .frame_bytes_max = WEFT_FRAME_BYTES_MAX,
        .peer_bytes_max = (size_t) weft_options_int(self->options, "peer.bytes") + S_REPLY_SLACK_BYTES,
        .awake_us = weft_options_int(self->options, "awake.us"),
    };
    struct weft_broker_shard *shard = &self->shards[number];
    weft_err_t code = world->ops->add(world->self, &how, weft_shard_new(self, number), &shard->id, bound, error);
    if (code != WEFT_OK) return code;
    self->base.parts[self->base.part_count++] = shard->id;
    self->base.counters[self->base.counters_count++] = &shard->counters;
    if (number == 0) snprintf(self->base.endpoint, sizeof self->base.endpoint, "%s", bound);
    s_advertise(self, "advertise", number, bound, shard->endpoint);
    s_advertise(self, "replica.advertise", number, bound_too, shard->replica_endpoint);
    return WEFT_OK;
}

// ---- create

// What is no endpoint at all is told at once; a broker that looks for its coordinator says so every now and then only.
static weft_err_t s_check_coordinators(const char *list, struct weft_error *error)
{
    for (list += strspn(list, ", "); *list != '\0'; list += strspn(list, ", ")) {
        size_t size = strcspn(list, ", ");
        const char *transport = strstr(list, "://");
        if (transport == NULL || (size_t) (transport - list) + 3 >= size)
            return weft_error_set(error, WEFT_ERR_INVALID_OPTION,
                                  "coordinators: '%.*s' is no endpoint; write tcp://HOST:PORT or ipc://PATH",
                                  (int) (size < 80 ? size : 80), list);
        list += size;
    }
    return WEFT_OK;
}

static weft_err_t s_check_listen(const weft_options_t *options, const char *listen_option, const char *advertise_option,
                                 struct weft_error *error)
{
    const char *listen = weft_options_text(options, listen_option);
    const char *advertise = weft_options_text(options, advertise_option);
    const char *digits;
    long shards = (long) weft_options_int(options, "shards"), port = s_port(listen, &digits);
    if (port > 0 && shards > 1 && port + shards - 1 > 65535) // of one shard the socket tells
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION,
                              "%s: %ld shards need the ports %ld to %ld, and 65535 is the last", listen_option, shards,
                              port, port + shards - 1);
    bool any_port = port == -1 && (*listen == '\0' || strncmp(listen, "tcp://", 6) == 0);
    if (any_port && *advertise != '\0' && shards > 1)
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION,
                              "%s: with `%s` and several shards the port must be a number, not '%s'", listen_option,
                              advertise_option, listen);
    return WEFT_OK;
}

static weft_err_t s_check_options(const weft_options_t *options, struct weft_error *error)
{
    weft_err_t code = s_check_listen(options, "listen", "advertise", error);
    if (code == WEFT_OK) code = s_check_listen(options, "replica.listen", "replica.advertise", error);
    if (code != WEFT_OK) return code;
    if (strlen(weft_options_text(options, "data")) > S_DATA_BYTES_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION,
                              "data: the path is longer than %d bytes; use a shorter one", S_DATA_BYTES_MAX);
    if (!weft_text_is_clean(weft_options_text(options, "rack"))) // it is stored and shown, by other nodes too
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION,
                              "rack: the name must be UTF-8 text without control characters");
    if (strspn(weft_options_text(options, "coordinators"), ", ") == strlen(weft_options_text(options, "coordinators")))
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION,
                              "coordinators: give the endpoint of at least one coordinator");
    return s_check_coordinators(weft_options_text(options, "coordinators"), error);
}

static struct weft_broker *s_new(const weft_world_t *world, const weft_options_t *options)
{
    struct weft_broker *self = weft_calloc(1, sizeof *self);
    self->base.type = &weft_node_broker;
    self->options = weft_options_copy(options);
    self->disk = world->disk;
    self->id = (int32_t) weft_options_int(options, "id");
    self->data = weft_strdup(weft_options_text(options, "data"));
    for (size_t n = strlen(self->data); n > 1 && self->data[n - 1] == '/';) self->data[--n] = '\0';
    snprintf(self->base.name, sizeof self->base.name, "broker-%d", (int) self->id);
    self->shard_count = (size_t) weft_options_int(options, "shards");
    weft_counters_init(&self->counters, weft_control_counter_infos, WEFT_CONTROL_COUNTERS);
    for (size_t i = 0; i < self->shard_count; i++)
        weft_counters_init(&self->shards[i].counters, weft_shard_counter_infos, WEFT_SHARD_COUNTERS);
    return self;
}

static void s_destroy(struct weft_node **self_p)
{
    struct weft_broker *self = (struct weft_broker *) *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    weft_identity_destroy(&self->identity);
    weft_options_destroy(&self->options);
    weft_counters_fini(&self->counters);
    for (size_t i = 0; i < self->shard_count; i++) weft_counters_fini(&self->shards[i].counters);
    free(self->found);
    free(self->data);
    free(self);
}

static weft_err_t s_add_parts(struct weft_broker *self, const weft_world_t *world, weft_checkpoint_t **checkpoint_p,
                              struct weft_error *error)
{
    char name[WEFT_NODE_NAME_BYTES_MAX];
    snprintf(name, sizeof name, "broker-%d/control", (int) self->id);
    struct weft_world_part how = {.name = name, .frame_bytes_max = WEFT_FRAME_BYTES_MAX, .peer_bytes_max = 1 << 20};
    weft_err_t code = world->ops->add(world->self, &how, weft_control_new(self), &self->control_id, NULL, error);
    if (code != WEFT_OK) return code;
    self->base.parts[self->base.part_count++] = self->control_id;
    self->base.counters[self->base.counters_count++] = &self->counters;
    for (size_t i = 0; i < self->shard_count; i++) {
        code = s_add_shard(self, world, i, error);
        if (code != WEFT_OK) return code;
    }
    snprintf(name, sizeof name, "broker-%d/compact", (int) self->id);
    code = world->ops->add(world->self, &how,
                           weft_compact_part_new(name, weft_options_int(self->options, "compact.bytes")),
                           &self->compact_id, NULL, error);
    if (code != WEFT_OK) return code;
    self->base.parts[self->base.part_count++] = self->compact_id; // behind the shards: they take back what it runs
    // Nothing is served before the marker is gone for good.
    code = weft_checkpoint_take_clean(*checkpoint_p, &self->was_clean);
    if (code != WEFT_OK)
        return weft_error_set(error, code, "the clean marker in %s can't be removed: %s", self->data,
                              weft_err_sentence(code));
    snprintf(name, sizeof name, "broker-%d/sync", (int) self->id);
    self->sync = weft_sync_part_new(name, *checkpoint_p, weft_options_int(self->options, "checkpoint.ms"));
    *checkpoint_p = NULL;
    weft_sync_part_vouch(self->sync, self->was_clean); // else once the cluster knows
    code = world->ops->add(world->self, &how, self->sync, &self->sync_id, NULL, error);
    if (code == WEFT_OK)
        self->base.parts[self->base.part_count++] = self->sync_id; // stopped last: it answers the shards
    return code;
}

static weft_err_t s_open_identity(struct weft_broker *self, struct weft_error *error)
{
    weft_rand_t rand;
    weft_rand_seed_os(&rand);
    const struct weft_identity_claim claim = {.node = "broker",
                                              .node_id = self->id,
                                              .directory_id = weft_rand_id(&rand),
                                              .now_ms = (int64_t) time(NULL) * 1000};
    return weft_identity_open(self->disk, self->data, &claim, &self->identity, error);
}

static weft_err_t s_create(const weft_world_t *world, const weft_options_t *options, struct weft_node **out,
                           struct weft_error *error)
{
    weft_err_t code = s_check_options(options, error);
    if (code != WEFT_OK) return code;
    struct weft_broker *self = s_new(world, options);
    struct weft_node *node = &self->base;
    weft_checkpoint_t *checkpoint = NULL;
    code = s_open_identity(self, error);
    if (code != WEFT_OK) goto fail_node;
    code = weft_checkpoint_open(world->disk, self->data, &checkpoint, error);
    if (code != WEFT_OK) goto fail_node;
    code = s_list_stored(self, checkpoint, error);
    if (code != WEFT_OK) goto fail_checkpoint;
    code = s_add_parts(self, world, &checkpoint, error);
    if (code != WEFT_OK) goto fail_checkpoint;
    weft_trace(WEFT_TRACE_INFO, self->base.name, "data in %s, %zu partitions stored, %s, listening at %s", self->data,
               self->found_count,
               weft_identity_made(self->identity) ? "a new directory"
               : self->was_clean                  ? "last stop clean"
                                                  : "last stop not clean",
               self->base.endpoint);
    *out = node;
    return WEFT_OK;

fail_checkpoint:
    weft_checkpoint_destroy(&checkpoint);
fail_node:
    s_destroy(&node);
    return code;
}

const struct weft_parts_type weft_node_broker = {
    .name = "broker",
    .doc = "Stores partitions, leads some, follows others.",
    .options = weft_options_broker,
    .option_count = sizeof weft_options_broker / sizeof weft_options_broker[0],
    .create = s_create,
    .health = weft_broker_health,
    .destroy = s_destroy,
};
