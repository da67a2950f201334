// SPDX-License-Identifier: MPL-2.0
// weft produce: records from standard input, one a line (or another delimiter), key before value where a separator is
// given.
//
// Input is read in large pieces and cut in place; the producer copies each record once, into its batch. Reports are
// taken a batch at a time. A terminal or a slow pipe is waited for with poll(2), so that lingering batches leave and
// answers are heard meanwhile.
#include "connect.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PRODUCE_READ_BYTES (1 << 18)
#define PRODUCE_RECORD_BYTES_MAX (8 << 20)
#define PRODUCE_POLL_MS 5
#define PRODUCE_WAIT_MS 200         // between two looks at signals and silence
#define PRODUCE_SILENT_US 5000000   // then it is said that nothing is acknowledged
#define PRODUCE_INTERRUPTED_MS 2000 // what is under way may take so long then

static const struct cli_option s_options[] = {
    {"--key-separator", "C", NULL, false, "What stands between key and value; a record without it has no key."},
    {"--delimiter", "D", "\\n", false, "What ends a record. Escapes: \\n \\t \\0 \\xHH."},
    {"--partition", "N", NULL, false, "Send all to this partition."},
    {"--acks", "none|leader|all", "all", false, "When a record counts as delivered."},
    {"--no-durable", NULL, NULL, false, "With acks all: do not wait until it is synced to disk."},
    {"--compression", "none|lz4|zstd", "none", false, "Of batches."},
    {"--header", "NAME=VALUE", NULL, true, "A header for every record."},
    {"--empty-is-nil", NULL, NULL, false, "An empty value is sent as nil (deletes its key in a compacted topic)."},
    {"--print-acks", NULL, NULL, false,
     "Print 'PARTITION OFFSET' for every record once it is acknowledged; with --json a line {\"partition\": P, "
     "\"offset\": O}."},
    CLI_OPTION_WAIT,
    {"--set", "KEY=VALUE", NULL, true, "A setting of the producer (docs/CONFIG.md, scope producer)."},
    {0}};

struct produce {
    const struct cli_args *args;
    weft_producer_t *producer;
    weft_topic_t *topic;
    weft_headers_t *headers;
    struct weft_send_extra extra;
    weft_slice_t delimiter, separator; // separator nil: no keys
    int32_t partition;
    bool empty_is_nil, print_acks;
    int64_t record_bytes_max; // of the topic
    int64_t sent, delivered, failed, bytes;
    int64_t spooled; // of those delivered, what only the spool of an edge has
    bool ended;      // all of the input was sent
    weft_err_t first_error;
    char first_text[WEFT_ERROR_TEXT_BYTES_MAX];
    struct cli_progress progress;
    int64_t started_us;
    int64_t heard_us; // when nothing waited, or the last report
    bool told_silent;
};

// A cluster that is away is waited for as long as delivery.timeout.ms says: not without a word.
static void s_watch_silence(struct produce *self)
{
    int64_t now = cli_now_us();
    size_t waiting = weft_producer_waiting_count(self->producer);
    if (waiting == 0) self->heard_us = now;
    if (self->told_silent || now - self->heard_us < PRODUCE_SILENT_US) return;
    self->told_silent = true;
    cli_progress_end(&self->progress);
    cli_fail(self->args, "nothing was acknowledged for %d s, %s record%s wait; trying for %s (delivery.timeout.ms)",
             PRODUCE_SILENT_US / 1000000, cli_count_text((int64_t) waiting), waiting == 1 ? "" : "s",
             weft_producer_option_text(self->producer, "delivery.timeout.ms"));
}

static void s_on_batch(void *context, const struct weft_batch_report *report)
{
    struct produce *self = context;
    self->heard_us = cli_now_us();
    self->told_silent = false;
    if (report->error != WEFT_OK) {
        self->failed += report->count;
        if (self->first_error == WEFT_OK) {
            self->first_error = report->error;
            snprintf(self->first_text, sizeof self->first_text, "a batch of %s record%s for partition %d: %s",
                     cli_count_text(report->count), report->count == 1 ? "" : "s", report->partition, report->text);
        }
        return;
    }
    self->delivered += report->count;
    if (report->base_offset < 0 && strcmp(cli_get(self->args, "--acks"), "none") != 0) self->spooled += report->count;
    if (!self->print_acks) return;
    const char *form = cli_json(self->args) ? "{\"partition\": %d, \"offset\": %" PRId64 "}\n" : "%d %" PRId64 "\n";
    for (uint32_t i = 0; i < report->count; i++)
        printf(form, report->partition, report->base_offset < 0 ? -1 : report->base_offset + i);
    fflush(stdout);
}

static int64_t s_field_bytes(weft_slice_t bytes)
{
    if (!bytes.data) return 1;
    return (int64_t) bytes.size + (bytes.size <= 0xff ? 2 : bytes.size <= 0xffff ? 3 : 5);
}

// What the topic does not take is refused here, by its number: a broker knows only its place in a batch.
static bool s_fits(const struct produce *self, weft_slice_t key, weft_slice_t value)
{
    int64_t headers = self->extra.headers.data ? (int64_t) self->extra.headers.size : 1;
    int64_t size = 2 + s_field_bytes(key) + s_field_bytes(value) + headers; // as the first of its batch
    if (size <= self->record_bytes_max) return true;
    cli_fail(self->args, "record %s has %s bytes; topic '%s' takes at most %s (max.record.bytes)",
             cli_count_text(self->sent + 1), cli_count_text(size), self->args->arguments[0],
             cli_count_text(self->record_bytes_max));
    return false;
}

static bool s_send(struct produce *self, const uint8_t *data, size_t size)
{
    weft_slice_t key = WEFT_SLICE_NIL, value = {data, size};
    if (self->separator.data) {
        const uint8_t *found = memmem(data, size, self->separator.data, self->separator.size);
        if (found) {
            key = weft_slice(data, (size_t) (found - data));
            value = weft_slice(found + self->separator.size, size - key.size - self->separator.size);
        }
    }
    if (self->empty_is_nil && value.size == 0) value = WEFT_SLICE_NIL;
    if (!s_fits(self, key, value)) return false;
    weft_err_t err;
    while ((err = weft_producer_send_wait(self->producer, self->topic, self->partition, key, value, &self->extra,
                                          PRODUCE_WAIT_MS)) == WEFT_ERR_LOCAL_QUEUE_FULL) {
        if (cli_interrupted() || self->first_error != WEFT_OK) return false;
        s_watch_silence(self);
    }
    if (err != WEFT_OK) {
        if (!cli_interrupted())
            cli_fail(self->args, "record %s: %s", cli_count_text(self->sent + 1),
                     weft_producer_error_text(self->producer));
        return false;
    }
    self->sent++;
    self->bytes += (int64_t) size;
    return true;
}

// Sends every whole record of the buffer, keeps the rest at its front.
static bool s_cut(struct produce *self, weft_buf_t *buf, bool end)
{
    const uint8_t *at = buf->data;
    size_t left = buf->size;
    while (left > 0) {
        const uint8_t *found = self->delimiter.size == 1 ? memchr(at, self->delimiter.data[0], left)
                                                         : memmem(at, left, self->delimiter.data, self->delimiter.size);
        if (!found && !end) break;
        size_t size = found ? (size_t) (found - at) : left;
        if (!s_send(self, at, size)) return false;
        size_t taken = found ? size + self->delimiter.size : size;
        at += taken;
        left -= taken;
    }
    if (left > PRODUCE_RECORD_BYTES_MAX) {
        cli_fail(self->args, "record %s is longer than %s bytes; is --delimiter right?", cli_count_text(self->sent + 1),
                 cli_count_text(PRODUCE_RECORD_BYTES_MAX));
        return false;
    }
    memmove(buf->data, at, left);
    buf->size = left;
    return true;
}

static bool s_pump(struct produce *self)
{
    weft_buf_t buf;
    weft_buf_init(&buf);
    bool good = true, end = false;
    while (good && !end && !cli_interrupted() && self->first_error == WEFT_OK) {
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        if (poll(&input, 1, self->sent == self->delivered + self->failed ? 200 : PRODUCE_POLL_MS) <= 0) {
            weft_producer_poll(self->producer, 0);
            s_watch_silence(self);
            continue;
        }
        weft_buf_reserve(&buf, PRODUCE_READ_BYTES);
        ssize_t got = read(STDIN_FILENO, buf.data + buf.size, PRODUCE_READ_BYTES);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            cli_fail(self->args, "reading standard input failed: %s", strerror(errno));
            good = false;
            break;
        }
        buf.size += (size_t) got;
        end = got == 0;
        good = s_cut(self, &buf, end);
        cli_progress_show(&self->progress, self->sent, self->bytes, (double) (cli_now_us() - self->started_us) / 1e6);
    }
    self->ended = good && end;
    weft_buf_fini(&buf);
    return good;
}

// Every record has its fate after delivery.timeout.ms: until then, but not for long once it was interrupted.
static weft_err_t s_flush(struct produce *self)
{
    int64_t patience_ms = weft_producer_option_int(self->producer, "delivery.timeout.ms") + 10000;
    int64_t until_us = cli_now_us() + patience_ms * 1000;
    bool interrupted = false;
    for (;;) {
        weft_err_t err = weft_producer_flush(self->producer, PRODUCE_WAIT_MS);
        if (weft_producer_waiting_count(self->producer) == 0 || cli_now_us() >= until_us) return err;
        s_watch_silence(self);
        if (!interrupted && cli_interrupted()) until_us = cli_now_us() + PRODUCE_INTERRUPTED_MS * 1000;
        interrupted = cli_interrupted();
    }
}

static void s_print_json(const struct produce *self, double seconds)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "topic", self->args->arguments[0]);
    cli_json_int(&json, "records", self->sent);
    cli_json_int(&json, "delivered", self->delivered);
    cli_json_int(&json, "spooled", self->spooled);
    cli_json_int(&json, "failed", self->sent - self->delivered);
    if (self->ended)
        cli_json_slice(&json, "stopped_at", WEFT_SLICE_NIL);
    else
        cli_json_int(&json, "stopped_at", self->sent + 1);
    cli_json_int(&json, "bytes", self->bytes);
    cli_json_float(&json, "seconds", seconds, 6);
    cli_json_close(&json, '}');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

static int s_finish(struct produce *self, bool good)
{
    weft_err_t err = s_flush(self);
    double seconds = (double) (cli_now_us() - self->started_us) / 1e6;
    bool quiet = strcmp(cli_get(self->args, "--acks"), "none") == 0;
    cli_progress_end(&self->progress);
    if (cli_json(self->args)) s_print_json(self, seconds);
    const char *sent = cli_count_text(self->sent), *delivered = cli_count_text(self->delivered);
    if (err != WEFT_OK || self->failed > 0) {
        const char *text = *self->first_text ? self->first_text : weft_producer_error_text(self->producer);
        cli_fail(self->args, "%s of %s records were not acknowledged: %s", cli_count_text(self->sent - self->delivered),
                 sent, *text ? text : weft_err_sentence(err));
        good = false;
    }
    if (!good && !self->ended)
        return cli_fail(self->args, "stopped after record %s: %s delivered, nothing after it was sent", sent,
                        delivered);
    if (!good) return CLI_FAILED;
    if (!cli_json(self->args) && !self->print_acks)
        fprintf(stderr, "%s %s record%s to '%s' in %.2f s%s%s%s\n", quiet ? "sent" : "delivered", sent,
                self->sent == 1 ? "" : "s", self->args->arguments[0], seconds, self->spooled > 0 ? ", " : "",
                self->spooled > 0 ? cli_count_text(self->spooled) : "",
                self->spooled > 0 ? " of them to the spool of an edge, which will deliver them" : "");
    return cli_interrupted() ? CLI_INTERRUPTED : CLI_DONE;
}

static bool s_headers(struct produce *self)
{
    const char *pair;
    for (int i = 0; (pair = cli_get_nth(self->args, "--header", i)); i++) {
        const char *equals = strchr(pair, '=');
        if (!equals) {
            cli_usage(self->args, "--header takes NAME=VALUE, not '%s'", pair);
            return false;
        }
        if (!self->headers) self->headers = weft_headers_new();
        char *name = weft_strdup(pair);
        name[equals - pair] = '\0';
        weft_headers_add(self->headers, name, weft_slice_text(equals + 1));
        free(name);
    }
    if (self->headers) self->extra.headers = weft_headers_encoded(self->headers);
    return true;
}

static int s_open(struct produce *self)
{
    const struct cli_args *args = self->args;
    struct cli_settings settings = {.count = 0};
    cli_settings_add(&settings, "bootstrap=%s", cli_bootstrap(args));
    cli_settings_add(&settings, "client=weft produce");
    cli_settings_add(&settings, "acks=%s", cli_get(args, "--acks"));
    cli_settings_add(&settings, "compression=%s", cli_get(args, "--compression"));
    if (strcmp(cli_get(args, "--acks"), "none") == 0) cli_settings_add(&settings, "idempotent=false");
    if (cli_has(args, "--no-durable")) cli_settings_add(&settings, "durable=false");
    const char *pair;
    for (int i = 0; (pair = cli_get_nth(args, "--set", i)); i++) cli_settings_add(&settings, "%s", pair);
    struct weft_error error;
    int status = CLI_DONE;
    if (weft_producer_new(cli_settings_list(&settings), &self->producer, &error) != WEFT_OK)
        status = cli_usage(args, "%s", error.text);
    cli_settings_fini(&settings);
    if (status != CLI_DONE) return status;
    weft_producer_on_batch(self->producer, s_on_batch, self);
    uint32_t partitions = 0;
    status = cli_topic_partitions(args, args->arguments[0], &partitions, &self->record_bytes_max);
    if (status != CLI_DONE) return status;
    if (self->partition >= 0 && (uint32_t) self->partition >= partitions)
        return cli_fail(args, "topic '%s' has no partition %d; it has %u, from 0 to %u", args->arguments[0],
                        self->partition, partitions, partitions - 1);
    if (weft_producer_topic(self->producer, args->arguments[0], &self->topic) != WEFT_OK)
        return cli_fail(args, "%s", weft_producer_error_text(self->producer));
    return CLI_DONE;
}

static int s_produce(const struct cli_args *args)
{
    struct produce self = {.args = args,
                           .partition = WEFT_PARTITION_AUTO,
                           .empty_is_nil = cli_has(args, "--empty-is-nil"),
                           .print_acks = cli_has(args, "--print-acks")};
    int64_t partition = -1;
    if (!cli_number(args, "--partition", 0, 1000000, &partition)) return CLI_USAGE;
    self.partition = (int32_t) partition;
    if (!s_headers(&self)) return CLI_USAGE;
    self.delimiter = cli_unescape(cli_get(args, "--delimiter"));
    if (cli_get(args, "--key-separator")) self.separator = cli_unescape(cli_get(args, "--key-separator"));
    int status = CLI_USAGE;
    if (self.delimiter.size == 0 || (self.separator.data && self.separator.size == 0)) {
        cli_usage(args, "--delimiter and --key-separator take at least one character");
    } else {
        status = s_open(&self);
        if (status == CLI_DONE) {
            cli_catch_signals();
            self.started_us = self.heard_us = cli_now_us();
            cli_progress_begin(&self.progress, "produced", 0);
            status = s_finish(&self, s_pump(&self));
        }
    }
    weft_producer_destroy(&self.producer);
    weft_headers_destroy(&self.headers);
    free((void *) (uintptr_t) self.delimiter.data);
    free((void *) (uintptr_t) self.separator.data);
    return status;
}

const struct cli_verb cli_verb_produce = {
    "produce",
    "TOPIC",
    1,
    1,
    "Send records from standard input.",
    "Each line is a record's value; with --key-separator what stands before the separator is its key. Records with one "
    "key go to one partition, in order. "
    "Exit status 0 means that every record was acknowledged as --acks asks; by default that it is synced to disk on "
    "every in-sync replica. A record that the topic does not take ends the run: all before it is delivered, nothing "
    "after it is sent, and its number is told. --json prints one object at the end: 'failed' counts what was sent but "
    "not acknowledged, 'stopped_at' is the number of the first record of the input that was not sent (null: all were "
    "sent).",
    "  echo 'hello' | weft produce greetings\n  weft produce orders --key-separator : < orders.txt\n  tail -f app.log "
    "| weft produce logs --compression zstd",
    s_options,
    true,
    true,
    s_produce};
