// SPDX-License-Identifier: MPL-2.0
// weft log dump | verify: looks at segments on disk; no server is needed, nothing is written.
#include "connect.h"

#include "../lib/log/inspect.h"

#include <inttypes.h>
#include <stdlib.h>

static const struct cli_option s_dump_options[] = {{"--records", NULL, NULL, false, "Records too, not only batches."},
                                                   {"--from", "OFFSET", "0", false, "Begin at this offset."},
                                                   {"--count", "N", NULL, false, "Stop after so many batches."},
                                                   {0}};
static const struct cli_option s_verify_options[] = {
    {"--strict", NULL, NULL, false, "What a crash leaves behind the last whole batch is a problem too."}, {0}};

#define LOG_NONE "there is no log in '%s'; PATH is a node's data, a partition's directory or a segment file"

struct dump {
    const struct cli_args *args;
    bool json, records;
    int64_t from, count_max, count, problems;
    weft_buf_t scratch;
};

static const char *s_codec(uint16_t attributes)
{
    unsigned codec = attributes & WEFT_BATCH_ATTR_CODEC_MASK;
    return codec == WEFT_CODEC_NONE   ? "none"
           : codec == WEFT_CODEC_LZ4  ? "lz4"
           : codec == WEFT_CODEC_ZSTD ? "zstd"
                                      : "unknown";
}

static void s_record_json(cli_json_t *json, const struct weft_batch *batch, const struct weft_record *record)
{
    cli_json_open(json, NULL, '{');
    cli_json_int(json, "offset", batch->base_offset + record->offset_delta);
    cli_json_int(json, "timestamp_ms", weft_record_timestamp_ms(batch, record));
    cli_json_bytes(json, "key", record->key);
    cli_json_bytes(json, "value", record->value);
    cli_json_close(json, '}');
}

static void s_batch_json(struct dump *self, const struct weft_inspect_batch *found, weft_slice_t payload)
{
    const struct weft_batch *batch = found->batch;
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "file", found->file);
    cli_json_int(&json, "position", found->position);
    cli_json_int(&json, "base_offset", batch->base_offset);
    cli_json_int(&json, "last_offset", weft_batch_next_offset(batch) - 1);
    cli_json_int(&json, "count", batch->count);
    cli_json_int(&json, "leader_epoch", batch->leader_epoch);
    cli_json_text(&json, "codec", s_codec(batch->attributes));
    cli_json_int(&json, "bytes", (int64_t) weft_batch_bytes(batch));
    cli_json_int(&json, "raw_bytes", batch->raw_bytes);
    cli_json_int(&json, "base_timestamp_ms", batch->base_timestamp_ms);
    cli_json_int(&json, "max_timestamp_ms", batch->max_timestamp_ms);
    cli_json_int(&json, "producer_id", batch->producer_id);
    cli_json_int(&json, "producer_epoch", batch->producer_epoch);
    cli_json_int(&json, "base_sequence", batch->base_sequence);
    cli_json_int(&json, "crc32c", batch->crc);
    if (self->records) {
        cli_json_open(&json, "records", '[');
        weft_record_iter_t iter;
        struct weft_record record;
        weft_record_iter_init(&iter, payload);
        while (weft_record_iter_next(&iter, &record, NULL)) s_record_json(&json, batch, &record);
        cli_json_close(&json, ']');
    }
    cli_json_close(&json, '}');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

static void s_batch_text(struct dump *self, const struct weft_inspect_batch *found, weft_slice_t payload)
{
    const struct weft_batch *batch = found->batch;
    printf("offset %" PRId64 " to %" PRId64 "  %u record%s  %s  epoch %d  %s  at byte %" PRId64, batch->base_offset,
           weft_batch_next_offset(batch) - 1, batch->count, batch->count == 1 ? "" : "s",
           cli_bytes_text((double) weft_batch_bytes(batch)), batch->leader_epoch,
           cli_time_text(batch->base_timestamp_ms), found->position);
    if (batch->attributes & WEFT_BATCH_ATTR_CODEC_MASK)
        printf("  %s of %s", s_codec(batch->attributes), cli_bytes_text(batch->raw_bytes));
    if (batch->producer_id >= 0)
        printf("  producer %" PRId64 "/%d sequence %d", batch->producer_id, batch->producer_epoch,
               batch->base_sequence);
    putchar('\n');
    if (!self->records) return;
    weft_record_iter_t iter;
    struct weft_record record;
    weft_record_iter_init(&iter, payload);
    while (weft_record_iter_next(&iter, &record, NULL)) {
        printf("  %" PRId64 "  ", batch->base_offset + record.offset_delta);
        if (record.key.data) fwrite(record.key.data, 1, record.key.size, stdout), fputs(": ", stdout);
        if (record.value.data)
            fwrite(record.value.data, 1, record.value.size, stdout);
        else
            fputs("(nil)", stdout);
        putchar('\n');
    }
}

static void s_on_log(void *context, const char *directory)
{
    struct dump *self = context;
    if (!self->json) printf("%s%s:\n", self->count ? "\n" : "", directory);
}

static bool s_on_batch(void *context, const struct weft_inspect_batch *found)
{
    struct dump *self = context;
    if (weft_batch_next_offset(found->batch) <= self->from) return true;
    if (self->count == self->count_max || ferror(stdout)) return false;
    self->count++;
    weft_slice_t payload = WEFT_SLICE_NIL;
    weft_buf_clear(&self->scratch);
    if (self->records && weft_batch_payload(found->bytes, found->batch, &self->scratch, &payload) != WEFT_OK)
        cli_fail(self->args, "%s, byte %" PRId64 ": the batch's payload can't be decompressed", found->file,
                 found->position);
    if (self->json)
        s_batch_json(self, found, payload);
    else
        s_batch_text(self, found, payload);
    return true;
}

// Among JSON lines it has no place.
static void s_on_aside(void *context, const char *directory)
{
    struct dump *self = context;
    if (!self->json) printf("%s is set aside: a damaged replica that was replaced; it is not looked at\n", directory);
}

static void s_on_problem(void *context, const struct weft_inspect_problem *problem)
{
    struct dump *self = context;
    fflush(stdout);
    cli_fail(self->args, "%s", problem->sentence);
}

static int s_dump(const struct cli_args *args)
{
    struct dump self = {.args = args, .json = cli_json(args), .records = cli_has(args, "--records"), .count_max = -1};
    if (!cli_number(args, "--from", 0, INT64_MAX, &self.from) ||
        !cli_number(args, "--count", 0, INT64_MAX, &self.count_max))
        return CLI_USAGE;
    weft_buf_init(&self.scratch);
    struct weft_inspect inspect = {
        .context = &self, .log = s_on_log, .batch = s_on_batch, .problem = s_on_problem, .aside = s_on_aside};
    struct weft_inspect_report report = {0};
    struct weft_error error;
    weft_err_t err = weft_inspect_run(weft_disk_posix(), args->arguments[0], &inspect, &report, &error);
    weft_buf_fini(&self.scratch);
    if (err != WEFT_OK) return cli_fail(args, "%s", error.text);
    if (report.logs == 0 && report.segments == 0 && report.aside == 0)
        return cli_fail(args, LOG_NONE, args->arguments[0]);
    return report.problems ? CLI_FAILED : CLI_DONE;
}

static void s_verify_json(const struct weft_inspect_report *report, bool good)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '{');
    cli_json_bool(&json, "good", good);
    cli_json_int(&json, "logs", report->logs);
    cli_json_int(&json, "segments", report->segments);
    cli_json_int(&json, "batches", report->batches);
    cli_json_int(&json, "records", report->records);
    cli_json_int(&json, "bytes", report->bytes);
    cli_json_int(&json, "problems", report->problems);
    cli_json_int(&json, "tail_bytes", report->tail_bytes);
    cli_json_int(&json, "set_aside", report->aside);
    cli_json_close(&json, '}');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

static int s_verify(const struct cli_args *args)
{
    struct dump self = {.args = args, .json = cli_json(args)};
    struct weft_inspect inspect = {.context = &self, .problem = s_on_problem, .indexes = true, .aside = s_on_aside};
    struct weft_inspect_report report = {0};
    struct weft_error error;
    weft_err_t err = weft_inspect_run(weft_disk_posix(), args->arguments[0], &inspect, &report, &error);
    if (err != WEFT_OK) return cli_fail(args, "%s", error.text);
    if (report.logs == 0 && report.segments == 0 && report.aside == 0)
        return cli_fail(args, LOG_NONE, args->arguments[0]);
    bool good = report.problems == 0 && !(cli_has(args, "--strict") && report.tail_bytes > 0);
    if (cli_json(args)) {
        s_verify_json(&report, good);
    } else {
        printf("%s: %s records in %s batches, %s segments of %s logs, %s: %s\n", args->arguments[0],
               cli_count_text(report.records), cli_count_text(report.batches), cli_count_text(report.segments),
               cli_count_text(report.logs), cli_bytes_text((double) report.bytes),
               good ? "all checksums right" : "damaged, see above");
        if (report.tail_bytes)
            printf("behind the last whole batches stand %s, which a crash left and recovery cuts\n",
                   cli_bytes_text((double) report.tail_bytes));
    }
    return good ? CLI_DONE : CLI_FAILED;
}

#define LOG_DOC \
    "PATH is a segment file, a partition's directory, or any directory above (a node's data). Takes no lock: beside " \
    "a running node it shows the moment of reading. Damaged replicas that were set aside (N.damaged) are only named; " \
    "give " \
    "the directory itself to look into one."
const struct cli_verb cli_verb_log_dump = {
    "log dump",
    "PATH",
    1,
    1,
    "Print the batches of a log on disk.",
    LOG_DOC " --json prints JSON Lines: one object a batch; keys and values that are no UTF-8 as base64.",
    "  weft log dump weft-data/broker-1\n  weft log dump --records --json 00000000000000000000.log",
    s_dump_options,
    false,
    true,
    s_dump};
const struct cli_verb cli_verb_log_verify = {"log verify",
                                             "PATH",
                                             1,
                                             1,
                                             "Check every checksum and index of a log on disk.",
                                             LOG_DOC,
                                             "  weft log verify weft-data",
                                             s_verify_options,
                                             false,
                                             true,
                                             s_verify};
