// SPDX-License-Identifier: MPL-2.0
// weft bench produce | consume | latency: the client library against a cluster, its own or one that runs.
#include "bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct produced {
    weft_histogram_t *latency; // of batches, first send to answer
    int64_t delivered, failed;
    char text[256];
};

static void s_on_batch(void *context, const struct weft_batch_report *report)
{
    struct produced *self = context;
    if (report->error == WEFT_OK) {
        self->delivered += report->count;
        weft_histogram_add(self->latency, (uint64_t) report->latency_us * 1000);
    } else {
        self->failed += report->count;
        snprintf(self->text, sizeof self->text, "%s", report->text);
    }
}

// Waits until it is time for record `index` at the wished rate; polls meanwhile.
static void s_pace(const struct bench *bench, weft_producer_t *producer, int64_t index, int64_t started_us)
{
    if (bench->rate == 0) return;
    int64_t due = started_us + (int64_t) ((double) index * 1e6 / (double) bench->rate);
    for (int64_t now = cli_now_us(); now < due; now = cli_now_us())
        weft_producer_poll(producer, due - now > 2000 ? 1 : 0);
}

// Sends until count or time is over, then flushes. The number sent, or -1 after a sentence.
static int64_t s_send_all(struct bench *bench, weft_producer_t *producer, weft_topic_t *topic,
                          const struct produced *result)
{
    struct cli_progress progress;
    cli_progress_begin(&progress, "produced", bench->count);
    int64_t sent = 0, started = cli_now_us();
    char text[32];
    for (; ((sent & 1023) && !cli_interrupted()) || bench_goes_on(bench, sent, started); sent++) {
        s_pace(bench, producer, sent, started);
        weft_err_t err = weft_producer_send_wait(producer, topic, WEFT_PARTITION_AUTO, bench_key(bench, text),
                                                 bench_value(bench), NULL, 60000);
        if (err != WEFT_OK || result->failed > 0) {
            cli_fail(bench->args, "%s", err != WEFT_OK ? weft_producer_error_text(producer) : result->text);
            return -1;
        }
        if ((sent & 0xffff) == 0)
            cli_progress_show(&progress, sent, sent * bench->record_bytes, (double) (cli_now_us() - started) / 1e6);
        if (bench->count && sent + 1 == bench->count) {
            sent++;
            break;
        }
    }
    cli_progress_end(&progress);
    if (weft_producer_flush(producer, 120000) == WEFT_OK) return sent;
    cli_fail(bench->args, "%s", weft_producer_error_text(producer));
    return -1;
}

static weft_topic_t *s_topic(struct bench *bench, weft_producer_t *producer)
{
    weft_topic_t *topic = NULL;
    int32_t partitions;
    if (weft_producer_topic(producer, bench->topic, &topic) == WEFT_OK &&
        weft_producer_partition_count(producer, topic, 15000, &partitions) == WEFT_OK)
        return topic;
    cli_fail(bench->args, "%s", weft_producer_error_text(producer));
    return NULL;
}

static void s_print_rate(struct bench *bench, const char *name, int64_t records, double seconds, double cpu_s,
                         const weft_histogram_t *latency)
{
    if (cli_interrupted()) return; // half a run is no result
    double rate = (double) records / seconds;
    if (cli_json(bench->args)) {
        cli_json_t json;
        bench_json_begin(bench, &json, name);
        cli_json_int(&json, "records", records);
        cli_json_float(&json, "seconds", seconds, 3);
        cli_json_float(&json, "records_per_s", rate, 0);
        cli_json_float(&json, "mib_per_s", rate * (double) bench->record_bytes / 1048576, 1);
        cli_json_float(&json, "cpu_seconds", cpu_s, 3);
        if (latency) bench_latency_json(&json, latency);
        cli_json_close(&json, '}');
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
        return;
    }
    printf("%s: %s records of %s bytes in %.2f s\n  %14s records/s  %s/s", name, cli_count_text(records),
           cli_count_text(bench->record_bytes), seconds, cli_count_text((int64_t) rate),
           cli_bytes_text(rate * (double) bench->record_bytes));
    printf("  (%.0f %% of a core, all threads here)\n", 100 * cpu_s / seconds);
    if (latency) printf("  batch latency "), bench_latency_text(latency);
}

static int s_produce_run(struct bench *bench)
{
    weft_producer_t *producer = bench_producer(bench, bench->acks, bench->durable, bench->linger_ms);
    if (!producer) return CLI_FAILED;
    struct produced result = {.latency = weft_histogram_new()};
    weft_producer_on_batch(producer, s_on_batch, &result);
    weft_topic_t *topic = s_topic(bench, producer);
    int status = CLI_FAILED;
    if (topic) {
        struct bench warm = *bench; // connections, page tables and buffers are there before the clock starts
        warm.count = bench->count ? bench->count / 10 : 0;
        warm.seconds = bench->seconds / 10;
        int64_t sent = s_send_all(&warm, producer, topic, &result);
        if (sent >= 0) {
            weft_histogram_destroy(&result.latency);
            result.latency = weft_histogram_new();
            int64_t started = cli_now_us();
            double cpu = bench_cpu_seconds();
            sent = s_send_all(bench, producer, topic, &result);
            if (sent >= 0) {
                s_print_rate(bench, "produce", sent, (double) (cli_now_us() - started) / 1e6, bench_cpu_seconds() - cpu,
                             result.latency);
                status = CLI_DONE;
            }
        }
    }
    weft_producer_destroy(&producer);
    weft_histogram_destroy(&result.latency);
    return status;
}

// ---- consume

// Records read before those that are measured.
static int64_t s_warm_up(const struct bench *bench)
{
    return bench->count / 10;
}

static int s_fill(struct bench *bench)
{
    weft_producer_t *producer = bench_producer(bench, "all", false, 5); // who reads sees what is committed
    if (!producer) return CLI_FAILED;
    struct produced result = {.latency = weft_histogram_new()};
    weft_producer_on_batch(producer, s_on_batch, &result);
    weft_topic_t *topic = s_topic(bench, producer);
    struct bench all = *bench;
    all.count += s_warm_up(bench);
    int64_t sent = topic ? s_send_all(&all, producer, topic, &result) : -1;
    weft_producer_destroy(&producer);
    weft_histogram_destroy(&result.latency);
    return sent < 0 ? CLI_FAILED : CLI_DONE;
}

static weft_consumer_t *s_consumer(struct bench *bench)
{
    struct cli_settings settings = {.count = 0};
    cli_settings_add(&settings, "bootstrap=%s", bench->bootstrap);
    cli_settings_add(&settings, "reset=earliest");
    const char *pair;
    for (int i = 0; (pair = cli_get_nth(bench->args, "--set", i)); i++) cli_settings_add(&settings, "%s", pair);
    weft_consumer_t *consumer = NULL;
    struct weft_error error;
    if (weft_consumer_new(cli_settings_list(&settings), &consumer, &error) != WEFT_OK)
        cli_usage(bench->args, "%s", error.text);
    cli_settings_fini(&settings);
    const char *topics[] = {bench->topic};
    if (consumer &&
        weft_consumer_subscribe(consumer, topics, 1, (struct weft_position){WEFT_FROM_EARLIEST, 0}) != WEFT_OK) {
        cli_fail(bench->args, "%s", weft_consumer_error_text(consumer));
        weft_consumer_destroy(&consumer);
    }
    return consumer;
}

static int s_consume_run(struct bench *bench)
{
    weft_consumer_t *consumer = s_consumer(bench);
    if (!consumer) return CLI_FAILED;
    int64_t records = 0, started = 0, warm = s_warm_up(bench), all = warm + bench->count;
    double cpu = 0;
    int status = CLI_DONE;
    while (records < all && status == CLI_DONE && !cli_interrupted()) {
        weft_records_t *list = NULL;
        struct weft_record_view record;
        if (weft_consumer_poll(consumer, 1000, &list) != WEFT_OK) {
            status = cli_fail(bench->args, "%s", weft_consumer_error_text(consumer));
            break;
        }
        while (!started && records < warm && weft_records_next(list, &record)) records++;
        if (!started && records == warm) started = cli_now_us(), cpu = bench_cpu_seconds();
        while (started && records < all && weft_records_next(list, &record)) records++;
        if (records < all && weft_consumer_at_end(consumer))
            status =
                cli_fail(bench->args, "topic '%s' holds %s records, fewer than --count %s and %s before to warm up",
                         bench->topic, cli_count_text(records), cli_count_text(bench->count), cli_count_text(warm));
    }
    if (status == CLI_DONE && !cli_interrupted())
        s_print_rate(bench, "consume", bench->count, (double) (cli_now_us() - started) / 1e6, bench_cpu_seconds() - cpu,
                     NULL);
    weft_consumer_destroy(&consumer);
    return status;
}

// ---- latency

struct timed {
    weft_histogram_t *latency;
    int64_t waiting, failed;
    char text[256];
};

static void s_on_report(void *context, const struct weft_report *report)
{
    struct timed *self = context;
    self->waiting--;
    if (report->error != WEFT_OK) {
        self->failed++;
        snprintf(self->text, sizeof self->text, "%s", report->text);
        return;
    }
    int64_t intended_us = (int64_t) (intptr_t) report->opaque;
    weft_histogram_add(self->latency, (uint64_t) (cli_now_us() - intended_us) * 1000);
}

/*
 * One record at a time (rate 0), or at a fixed rate: then latency counts from the moment the record was due, not from
 * when it could be sent, so that a stall counts for every record it delayed (coordinated omission: Tene, "How NOT to
 * measure latency").
 */
static int s_latency_loop(struct bench *bench, weft_producer_t *producer, weft_topic_t *topic, struct timed *timed)
{
    int64_t started = cli_now_us();
    for (int64_t i = 0; bench_goes_on(bench, i, started) && timed->failed == 0; i++) {
        s_pace(bench, producer, i, started);
        int64_t intended = bench->rate ? started + (int64_t) ((double) i * 1e6 / (double) bench->rate) : cli_now_us();
        struct weft_send_extra extra = {.opaque = (void *) (intptr_t) intended};
        char text[32];
        if (weft_producer_send_wait(producer, topic, WEFT_PARTITION_AUTO, bench_key(bench, text), bench_value(bench),
                                    &extra, 60000) != WEFT_OK)
            return cli_fail(bench->args, "%s", weft_producer_error_text(producer));
        timed->waiting++;
        while (bench->rate == 0 && timed->waiting > 0) weft_producer_poll(producer, 1000);
    }
    if (weft_producer_flush(producer, 60000) != WEFT_OK)
        return cli_fail(bench->args, "%s", weft_producer_error_text(producer));
    return timed->failed ? cli_fail(bench->args, "%s", timed->text) : CLI_DONE;
}

static int s_latency_run(struct bench *bench)
{
    weft_producer_t *producer = bench_producer(bench, bench->acks, bench->durable, 0);
    if (!producer) return CLI_FAILED;
    struct timed timed = {.latency = weft_histogram_new()};
    weft_producer_on_report(producer, s_on_report, &timed);
    weft_topic_t *topic = s_topic(bench, producer);
    struct bench warm = *bench;
    warm.seconds = bench->seconds / 10;
    warm.count = bench->count / 10;
    int status = topic ? s_latency_loop(&warm, producer, topic, &timed) : CLI_FAILED;
    weft_histogram_destroy(&timed.latency);
    timed.latency = weft_histogram_new();
    if (status == CLI_DONE) status = s_latency_loop(bench, producer, topic, &timed);
    if (cli_interrupted()) {
        status = CLI_INTERRUPTED;
    } else if (status == CLI_DONE && cli_json(bench->args)) {
        cli_json_t json;
        bench_json_begin(bench, &json, "latency");
        cli_json_int(&json, "rate", bench->rate);
        bench_latency_json(&json, timed.latency);
        cli_json_close(&json, '}');
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
    } else if (status == CLI_DONE) {
        printf("latency of one record, acks %s%s, %s\n  ", bench->acks, bench->durable ? " durable" : "",
               bench->rate ? "at a fixed rate" : "one at a time");
        bench_latency_text(timed.latency);
    }
    weft_producer_destroy(&producer);
    weft_histogram_destroy(&timed.latency);
    return status;
}

static int s_with_cluster(const struct cli_args *args, int (*fill)(struct bench *), int (*run)(struct bench *))
{
    struct bench bench;
    if (!bench_parse(&bench, args)) return CLI_USAGE;
    cli_catch_signals(); // the topic and the directory that it makes are taken away again
    int status = bench_open(&bench);
    if (status == CLI_DONE && fill && bench.topic_created) status = fill(&bench);
    if (status == CLI_DONE) status = run(&bench);
    bench_close(&bench);
    return cli_interrupted() ? CLI_INTERRUPTED : status;
}

static int s_produce(const struct cli_args *args)
{
    return s_with_cluster(args, NULL, s_produce_run);
}
static int s_latency(const struct cli_args *args)
{
    return s_with_cluster(args, NULL, s_latency_run);
}
static int s_consume(const struct cli_args *args)
{
    return s_with_cluster(args, s_fill, s_consume_run);
}

#define BENCH_DOC \
    "Runs against --bootstrap, or with --embedded against a cluster of its own in this process. Compare with 'weft " \
    "bench limit' of the same run."
const struct cli_verb cli_verb_bench_produce = {"bench produce",
                                                "",
                                                0,
                                                0,
                                                "Measure sending.",
                                                BENCH_DOC,
                                                "  weft bench produce --embedded --acks leader --record-bytes 100",
                                                bench_options,
                                                true,
                                                true,
                                                s_produce};
const struct cli_verb cli_verb_bench_consume = {
    "bench consume",
    "",
    0,
    0,
    "Measure reading from the beginning.",
    BENCH_DOC " Fills a topic of its own first, unless --topic names one that exists. Reads a tenth of "
              "--count first, which is not measured.",
    "  weft bench consume --embedded --count 10000000",
    bench_options,
    true,
    true,
    s_consume};
const struct cli_verb cli_verb_bench_latency = {
    "bench latency",
    "",
    0,
    0,
    "Measure the time from send to acknowledgement.",
    BENCH_DOC " With --rate latency counts from the moment a record was due (no coordinated omission).",
    "  weft bench latency --embedded --acks leader\n  weft bench latency --rate 10000 --acks all",
    bench_options,
    true,
    true,
    s_latency};
