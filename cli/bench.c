// SPDX-License-Identifier: MPL-2.0
// What the benches share: parameters, cluster, records, output.
#include "bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../lib/base/disk.h"

#define BENCH_SIZES \
    {"--record-bytes", "N", "100", false, "Size of a record's value."}, \
        {"--batch-bytes", "N", "64KiB", false, "Size of a batch."}, \
        {"--in-flight", "N", "64", false, "Batches per partition that may wait for their answer."}, \
        {"--partitions", "N", "1", false, "Partitions of the topic."}, \
    { \
        "--seconds", "N", "2", false, "How long to measure; long runs measure the disk behind the page cache." \
    }

const struct cli_option bench_limit_options[] = {
    BENCH_SIZES,
    {"--dir", "DIR", NULL, false, "Where the file is written [TMPDIR or /tmp]."},
    {"--overwrite", NULL, NULL, false, "Write over the same 256 MiB again and again: warm pages, as no log has them."},
    {0}};

const struct cli_option bench_options[] = {
    BENCH_SIZES,
    {"--count", "N", NULL, false, "Measure so many records instead of a time; consume: 5000000."},
    {"--acks", "none|leader|all", "all", false, "Ack level."},
    {"--no-durable", NULL, NULL, false, "With acks all: do not wait for the disk."},
    {"--compression", "none|lz4|zstd", "none", false, "Of batches."},
    {"--keys", "N", "0", false, "Distinct keys; 0: no keys."},
    {"--rate", "N", "0", false, "Records a second; 0: as fast as possible (latency: one at a time)."},
    {"--linger", "MS", "5", false, "linger.ms of the producer (latency: always 0)."},
    {"--replicas", "R", "1", false, "Copies of each partition."},
    {"--topic", "NAME", NULL, false, "A topic that exists; else one is made and deleted."},
    {"--embedded", NULL, NULL, false, "Start a cluster in this process, with data in --dir."},
    {"--dir", "DIR", NULL, false, "Data of the embedded cluster [a new directory in TMPDIR or /tmp]."},
    {"--brokers", "N", "1", false, "Brokers of the embedded cluster."},
    {"--shards", "N", "1", false, "Shards of each embedded broker."},
    {"--set", "KEY=VALUE", NULL, true, "A further setting of the producer or consumer."},
    {0}};

static uint64_t s_random(struct bench *self)
{
    self->random ^= self->random << 13; // xorshift64, Marsaglia 2003: cheap and repeatable is all it has to be
    self->random ^= self->random >> 7;
    self->random ^= self->random << 17;
    return self->random;
}

bool bench_parse(struct bench *self, const struct cli_args *args)
{
    *self = (struct bench){.args = args, .replicas = 1, .random = 0x9e3779b97f4a7c15u};
    int64_t seconds = 2;
    self->brokers = self->shards = 1;
    if (!cli_number(args, "--record-bytes", 1, BENCH_RECORD_BYTES_MAX, &self->record_bytes) ||
        !cli_number(args, "--batch-bytes", 256, 16 << 20, &self->batch_bytes) ||
        !cli_number(args, "--in-flight", 1, 64, &self->in_flight) ||
        !cli_number(args, "--partitions", 1, 10000, &self->partitions) ||
        !cli_number(args, "--seconds", 1, 86400, &seconds))
        return false;
    if (args->verb != &cli_verb_bench_limit &&
        (!cli_number(args, "--count", 1, INT64_MAX, &self->count) ||
         !cli_number(args, "--keys", 0, 1000000000, &self->keys) ||
         !cli_number(args, "--rate", 0, 100000000, &self->rate) ||
         !cli_number(args, "--linger", 0, 60000, &self->linger_ms) ||
         !cli_number(args, "--replicas", 1, 16, &self->replicas) ||
         !cli_number(args, "--shards", 1, 64, &self->shards) ||
         !cli_number(args, "--brokers", 1, WEFT_EMBEDDED_BROKERS_MAX, &self->brokers)))
        return false;
    self->seconds = (double) seconds;
    self->acks = cli_get(args, "--acks");
    self->compression = cli_get(args, "--compression");
    self->durable = self->acks && strcmp(self->acks, "all") == 0 && !cli_has(args, "--no-durable");
    if (args->verb == &cli_verb_bench_consume && !self->count) self->count = 5000000;
    self->pool = weft_alloc(BENCH_POOL_BYTES + BENCH_RECORD_BYTES_MAX);
    // Text-like content: words of a small alphabet repeat, so that compression has something to find, but not
    // everything.
    for (size_t i = 0; i < BENCH_POOL_BYTES + BENCH_RECORD_BYTES_MAX; i++)
        self->pool[i] = (uint8_t) ("etaoinshrdlu 0123"[s_random(self) % 17]);
    return true;
}

static int s_start_embedded(struct bench *self)
{
    const char *base = cli_get(self->args, "--dir"), *temporary = getenv("TMPDIR");
    snprintf(self->directory, sizeof self->directory, "%s/weft-bench.XXXXXX",
             base        ? base
             : temporary ? temporary
                         : "/tmp");
    if ((base && weft_disk_posix()->ops->mkdir(weft_disk_posix(), base) != WEFT_OK) || !mkdtemp(self->directory)) {
        *self->directory = '\0'; // nothing to take away
        return cli_fail(self->args, "can't make a directory in %s; name another place with --dir",
                        base        ? base
                        : temporary ? temporary
                                    : "/tmp");
    }
    struct weft_error error;
    static const char *const settings[] = {"retention.check.ms=200", NULL}; // see s_create_topic
    struct weft_embedded_options options = {.data = self->directory,
                                            .listen = "tcp://127.0.0.1:*",
                                            .brokers = (uint32_t) self->brokers,
                                            .shards = (uint32_t) self->shards,
                                            .broker_settings = settings};
    if (weft_embedded_start(&options, &self->embedded, &error) != WEFT_OK)
        return cli_fail(self->args, "%s", error.text);
    snprintf(self->bootstrap, sizeof self->bootstrap, "%s", weft_embedded_endpoint(self->embedded));
    return CLI_DONE;
}

/*
 * What is produced goes again behind BENCH_KEPT_BYTES, as it does in `bench limit` and in every log that runs for long:
 * so pages of the page cache are used again. Memory that a virtual machine was never given before costs it ten times
 * the copy (4.6 us for 4 KiB, measured), and would be measured instead.
 */
static weft_err_t s_create_topic(const struct bench *self, weft_admin_t *admin)
{
    char bytes[32];
    snprintf(bytes, sizeof bytes, "%" PRId64, BENCH_KEPT_BYTES / self->partitions + (1 << 20));
    const struct weft_setting settings[] = {{"max.batch.bytes", "16MiB"},
                                            {"max.record.bytes", "2MiB"},
                                            {"segment.bytes", bytes},
                                            {"retention.bytes", bytes}};
    bool is_read = self->args->verb == &cli_verb_bench_consume;
    return weft_admin_create_topic(admin, self->topic, (uint32_t) self->partitions, (uint32_t) self->replicas, settings,
                                   is_read ? 2 : 4, false, NULL);
}

int bench_open(struct bench *self)
{
    if (cli_has(self->args, "--embedded")) {
        int status = s_start_embedded(self);
        if (status != CLI_DONE) return status;
    } else {
        snprintf(self->bootstrap, sizeof self->bootstrap, "%s", cli_bootstrap(self->args));
    }
    if (cli_get(self->args, "--topic")) {
        snprintf(self->topic, sizeof self->topic, "%s", cli_get(self->args, "--topic"));
        return CLI_DONE;
    }
    snprintf(self->topic, sizeof self->topic, "bench-%d-%" PRId64, (int) getpid(), cli_wall_ms());
    char bootstrap[BENCH_BOOTSTRAP_BYTES + 16];
    snprintf(bootstrap, sizeof bootstrap, "bootstrap=%s", self->bootstrap);
    const char *settings[] = {bootstrap, "request.timeout.ms=10s", NULL};
    weft_admin_t *admin = NULL;
    struct weft_error error;
    if (weft_admin_new(settings, &admin, &error) != WEFT_OK) return cli_fail(self->args, "%s", error.text);
    weft_err_t err = s_create_topic(self, admin);
    self->topic_created = err == WEFT_OK;
    if (err == WEFT_OK) err = weft_admin_wait_topic(admin, self->topic, 10000);
    int status = err == WEFT_OK ? CLI_DONE : cli_admin_fail(self->args, admin, err);
    weft_admin_destroy(&admin);
    return status;
}

void bench_close(struct bench *self)
{
    if (self->topic_created && !self->embedded) {
        char bootstrap[BENCH_BOOTSTRAP_BYTES + 16];
        snprintf(bootstrap, sizeof bootstrap, "bootstrap=%s", self->bootstrap);
        const char *settings[] = {bootstrap, NULL};
        weft_admin_t *admin = NULL;
        if (weft_admin_new(settings, &admin, NULL) == WEFT_OK) {
            if (weft_admin_delete_topic(admin, self->topic, NULL) != WEFT_OK)
                cli_fail(self->args, "topic '%s' is left behind: %s", self->topic, weft_admin_error_text(admin));
            weft_admin_destroy(&admin);
        }
    }
    if (self->embedded) weft_embedded_stop(&self->embedded);
    if (*self->directory && weft_disk_remove_tree(weft_disk_posix(), self->directory) != WEFT_OK)
        cli_fail(self->args, "the directory %s is left behind", self->directory);
    free(self->pool);
    self->pool = NULL;
}

weft_producer_t *bench_producer(struct bench *self, const char *acks, bool durable, int64_t linger_ms)
{
    struct cli_settings settings = {.count = 0};
    cli_settings_add(&settings, "bootstrap=%s", self->bootstrap);
    cli_settings_add(&settings, "acks=%s", acks);
    cli_settings_add(&settings, "durable=%s", durable ? "true" : "false");
    if (strcmp(acks, "none") == 0) cli_settings_add(&settings, "idempotent=false");
    cli_settings_add(&settings, "compression=%s", self->compression);
    cli_settings_add(&settings, "batch.bytes=%" PRId64, self->batch_bytes < 1024 ? 1024 : self->batch_bytes);
    cli_settings_add(&settings, "in.flight=%" PRId64, self->in_flight);
    cli_settings_add(&settings, "linger.ms=%" PRId64, linger_ms);
    const char *pair;
    for (int i = 0; self->args->verb != &cli_verb_bench_consume && (pair = cli_get_nth(self->args, "--set", i)); i++)
        cli_settings_add(&settings, "%s", pair);
    weft_producer_t *producer = NULL;
    struct weft_error error;
    if (weft_producer_new(cli_settings_list(&settings), &producer, &error) != WEFT_OK)
        cli_usage(self->args, "%s", error.text);
    cli_settings_fini(&settings);
    return producer;
}

weft_slice_t bench_value(struct bench *self)
{
    return weft_slice(self->pool + (s_random(self) & (BENCH_POOL_BYTES - 1)), (size_t) self->record_bytes);
}

weft_slice_t bench_key(struct bench *self, char text[32])
{
    if (self->keys == 0) return WEFT_SLICE_NIL;
    int size = snprintf(text, 32, "key-%" PRIu64, s_random(self) % (uint64_t) self->keys);
    return weft_slice(text, (size_t) size);
}

void bench_json_begin(struct bench *self, cli_json_t *json, const char *name)
{
    cli_json_init(json);
    cli_json_open(json, NULL, '{');
    cli_json_text(json, "bench", name);
    cli_json_int(json, "record_bytes", self->record_bytes);
    cli_json_int(json, "batch_bytes", self->batch_bytes);
    cli_json_int(json, "in_flight", self->in_flight);
    cli_json_int(json, "partitions", self->partitions);
    if (!self->acks) return;
    cli_json_text(json, "acks", self->acks);
    cli_json_bool(json, "durable", self->durable);
    cli_json_text(json, "compression", self->compression);
    cli_json_int(json, "keys", self->keys);
    cli_json_int(json, "replicas", self->replicas);
}

static const struct {
    const char *name;
    double quantile;
} s_quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};

void bench_latency_json(cli_json_t *json, const weft_histogram_t *histogram)
{
    char key[32];
    cli_json_int(json, "latency_count", (int64_t) weft_histogram_count(histogram));
    for (size_t i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "%s_us", s_quantiles[i].name);
        cli_json_float(json, key, (double) weft_histogram_quantile(histogram, s_quantiles[i].quantile) / 1e3, 1);
    }
    cli_json_float(json, "max_us", (double) weft_histogram_max(histogram) / 1e3, 1);
}

void bench_latency_text(const weft_histogram_t *histogram)
{
    for (size_t i = 0; i < 4; i++)
        printf("%s %.0f us  ", s_quantiles[i].name,
               (double) weft_histogram_quantile(histogram, s_quantiles[i].quantile) / 1e3);
    printf("max %.0f us\n", (double) weft_histogram_max(histogram) / 1e3);
}

double bench_cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

bool bench_goes_on(const struct bench *self, int64_t done, int64_t started_us)
{
    if (cli_interrupted()) return false;
    if (self->count) return done < self->count;
    return (double) (cli_now_us() - started_us) / 1e6 < self->seconds;
}
