// SPDX-License-Identifier: MPL-2.0
// weft consume: records of topics to standard output, as values, by a format, or as JSON lines.
#include "connect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CONSUME_OUT_BYTES (1 << 18)
#define CONSUME_SILENT_US 5000000 // then it is said what can't be read
#define CONSUME_WATCH_US 500000
#define CONSUME_COMMIT_EVERY_US 1000000
#define CONSUME_COMMIT_MS 5000

static const struct cli_option s_options[] = {
    {"--from", "earliest|latest|OFFSET|@TIME", NULL, false,
     "Where to begin [latest; earliest with --exit-at-end or --count]. @TIME is Unix seconds, ms, ISO 8601 (seconds "
     "and zone "
     "optional, UTC without one), or so long ago: @-90s, @-1h."},
    {"--partition", "N", NULL, true, "Only this partition."},
    {"--count", "N", NULL, false, "Stop after so many records."},
    {"--exit-at-end", NULL, NULL, false, "Stop at the end that the partitions had at the start."},
    {"--format", "FMT", NULL, false,
     "%t topic, %p partition, %o offset, %k key, %v value, %h headers, %T timestamp in ms, %K and %S sizes of key and "
     "value; \\n \\t \\0 \\xHH. [%v\\n]"},
    {"--group", "G", NULL, false,
     "As a member of this consumer group: partitions are shared with its other members, what was printed is committed, "
     "and "
     "the group goes on there. --from is for what it has no offset of. With --partition: its offsets, no membership."},
    {"--show-rebalance", NULL, NULL, false, "With --group: tell on stderr which partitions come and go."},
    {"--read", "committed|durable", "committed", false, "Read committed records, or only what is synced to disk."},
    CLI_OPTION_WAIT,
    {"--set", "KEY=VALUE", NULL, true, "A setting of the consumer (docs/CONFIG.md, scope consumer)."},
    {0}};

// What is not heard of, and since when.
struct watch {
    int64_t next_us, since_us;
    size_t count; // partitions whose leader does not answer
    weft_err_t why;
    char first[300];
    bool told;
    char told_of[300];
    size_t told_count;
};

struct consume {
    const struct cli_args *args;
    weft_consumer_t *consumer;
    weft_slice_t format; // nil: value and newline
    bool json;
    const char *group; // NULL: none
    int64_t commit_us; // when what was printed is committed next
    bool fenced;       // a commit was refused because others own the partition
    bool leaving;
    int64_t count_max, count, bytes;
    weft_err_t fatal;
    int64_t from_offset; // asked for, -1: none
    struct watch watch;
};

static void s_put(weft_slice_t bytes)
{
    if (bytes.size) fwrite_unlocked(bytes.data, 1, bytes.size, stdout);
}

static void s_put_headers(weft_slice_t headers)
{
    weft_slice_t rest = headers, name, value;
    for (bool first = true; weft_headers_next(&rest, &name, &value); first = false) {
        if (!first) putchar_unlocked(',');
        s_put(name);
        putchar_unlocked('=');
        s_put(value);
    }
}

static void s_print_format(weft_slice_t format, const struct weft_record_view *record)
{
    for (size_t i = 0; i < format.size; i++) {
        if (format.data[i] != '%' || i + 1 == format.size) {
            putchar_unlocked(format.data[i]);
            continue;
        }
        switch (format.data[++i]) {
        case 't': fputs(record->topic, stdout); break;
        case 'p': printf("%d", record->partition); break;
        case 'o': printf("%" PRId64, record->offset); break;
        case 'k': s_put(record->key); break;
        case 'v':
        case 's': s_put(record->value); break;
        case 'h': s_put_headers(record->headers); break;
        case 'T': printf("%" PRId64, record->timestamp_ms); break;
        case 'K': printf("%" PRId64, record->key.data ? (int64_t) record->key.size : -1); break;
        case 'S': printf("%" PRId64, record->value.data ? (int64_t) record->value.size : -1); break;
        default: putchar_unlocked(format.data[i]); break;
        }
    }
}

#define CONSUME_FORMAT "%t %p %o %k %v %h %T %K %S"

static int s_check_format(const struct cli_args *args, weft_slice_t format)
{
    for (size_t i = 0; i < format.size; i++) {
        if (format.data[i] != '%') continue;
        if (++i == format.size)
            return cli_usage(args,
                             "--format ends with a lone %%; it takes "
                             "%s and %%%%",
                             CONSUME_FORMAT);
        if (!format.data[i] || !strchr("tpokvshTKS%", format.data[i]))
            return cli_usage(args, "--format has '%%%c'; it takes %s and %%%%", format.data[i], CONSUME_FORMAT);
    }
    return CLI_DONE;
}

static void s_print_json(const struct weft_record_view *record)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "topic", record->topic);
    cli_json_int(&json, "partition", record->partition);
    cli_json_int(&json, "offset", record->offset);
    cli_json_int(&json, "timestamp_ms", record->timestamp_ms);
    cli_json_bytes(&json, "key", record->key);
    cli_json_bytes(&json, "value", record->value);
    cli_json_open(&json, "headers", '[');
    weft_slice_t rest = record->headers, name, value;
    while (weft_headers_next(&rest, &name, &value)) {
        cli_json_open(&json, NULL, '[');
        cli_json_slice(&json, NULL, name);
        cli_json_bytes(&json, NULL, value);
        cli_json_close(&json, ']');
    }
    cli_json_close(&json, ']');
    cli_json_close(&json, '}');
    fwrite(json.buf.data, 1, json.buf.size, stdout);
    putchar('\n');
    cli_json_fini(&json);
}

static void s_print(struct consume *self, const struct weft_record_view *record)
{
    if (self->json) {
        s_print_json(record);
    } else if (self->format.data) {
        s_print_format(self->format, record);
    } else {
        s_put(record->value);
        putchar_unlocked('\n');
    }
}

// An offset that was asked for and is not there: refused, with what there is. False: it is within, reading went on
// behind a gap.
static bool s_outside(struct consume *self, const struct weft_consumer_event *event)
{
    weft_admin_t *admin = cli_admin_new(self->args);
    struct weft_offset_found found = {0};
    weft_err_t err = WEFT_ERR_INTERNAL;
    if (admin)
        err = weft_admin_list_offsets(admin, event->topic, event->partition,
                                      (struct weft_position){.from = WEFT_FROM_LATEST}, false, &found);
    weft_admin_destroy(&admin);
    int64_t end = found.high_watermark;
    if (err == WEFT_OK && self->from_offset >= found.log_start && self->from_offset < end) return false;
    char holds[128] = "";
    const char *between = "";
    if (err == WEFT_OK && end <= found.log_start) {
        snprintf(holds, sizeof holds, ": it is empty, its next offset is %" PRId64, end);
    } else if (err == WEFT_OK) {
        snprintf(holds, sizeof holds, ": it holds %" PRId64 " to %" PRId64, found.log_start, end - 1);
        between = " or an offset in between";
    }
    cli_fail(self->args, "offset %" PRId64 " is outside %s/%d%s; use --from earliest%s latest%s", self->from_offset,
             event->topic, event->partition, holds, *between ? "," : " or", between);
    self->fatal = WEFT_ERR_OFFSET_OUT_OF_RANGE;
    return true;
}

static void s_tell_rebalance(const struct consume *self, const struct weft_consumer_event *event)
{
    const char *what = event->type == WEFT_EVENT_ASSIGNED ? "assigned" : "revoked";
    if (event->offset >= 0)
        cli_fail(self->args, "%s %s/%d at offset %" PRId64, what, event->topic, event->partition, event->offset);
    else
        cli_fail(self->args, "%s %s/%d", what, event->topic, event->partition);
}

// Without membership: members own what is read here, so that nothing of it will ever be committed.
static bool s_is_held(struct consume *self, const struct weft_consumer_event *event)
{
    bool held = event->type == WEFT_EVENT_COMMIT_FAILED && event->error == WEFT_ERR_FENCED &&
                cli_has(self->args, "--partition");
    if (held && !self->fenced)
        cli_fail(self->args, "members of group '%s' hold %s/%d: leave out --partition to join them, or stop them first",
                 self->group, event->topic, event->partition);
    self->fenced |= held;
    return held;
}

// Of these nothing is said here.
static bool s_is_other_talk(struct consume *self, const struct weft_consumer_event *event)
{
    if (event->type == WEFT_EVENT_ASSIGNED || (self->group && event->type == WEFT_EVENT_REVOKED)) {
        if (cli_has(self->args, "--show-rebalance") && !self->leaving) s_tell_rebalance(self, event);
        return true;
    }
    return self->leaving && event->type == WEFT_EVENT_COMMIT_FAILED; // s_leave says so
}

// Says what happened; what ends the run is remembered.
static void s_events(struct consume *self)
{
    struct weft_consumer_event event;
    while (weft_consumer_event(self->consumer, &event)) {
        if (s_is_other_talk(self, &event)) continue;
        if (s_is_held(self, &event)) {
            self->fatal = event.error;
            continue;
        }
        bool moved = event.type == WEFT_EVENT_RESET && event.offset >= 0;
        if (moved && event.error == WEFT_ERR_OFFSET_OUT_OF_RANGE && self->from_offset >= 0 &&
            event.from_offset == self->from_offset && s_outside(self, &event))
            return;
        if (event.partition < 0)
            cli_fail(self->args, "%s", event.text);
        else if (event.type == WEFT_EVENT_LOST)
            cli_fail(self->args, "lost %s/%d: %s", event.topic, event.partition, event.text);
        else if (moved)
            cli_fail(self->args, "%s/%d went on at offset %" PRId64 ", not %" PRId64 ": %s", event.topic,
                     event.partition, event.offset, event.from_offset, event.text);
        else
            cli_fail(self->args, "%s/%d at offset %" PRId64 ": %s", event.topic, event.partition, event.from_offset,
                     event.text);
        // A run that shall end must not call what is left the whole.
        bool ends = cli_has(self->args, "--exit-at-end") || self->count_max >= 0;
        bool stops = event.type == WEFT_EVENT_STOPPED || event.type == WEFT_EVENT_BAD_BATCH ||
                     (event.type == WEFT_EVENT_DIVERGED && event.offset < 0) ||
                     (event.type == WEFT_EVENT_REVOKED && ends);
        if (stops && self->fatal == WEFT_OK) self->fatal = event.error != WEFT_OK ? event.error : WEFT_ERR_INTERNAL;
    }
}

// ---- waiting is not silent

static void s_find_silent(struct consume *self)
{
    struct watch *watch = &self->watch;
    struct weft_partition_position at;
    watch->count = 0;
    size_t all = 0;
    for (; weft_consumer_position(self->consumer, all, &at); all++) {
        if (at.unheard == WEFT_OK || watch->count++ > 0) continue;
        watch->why = at.unheard;
        snprintf(watch->first, sizeof watch->first, "%s/%d", at.topic, at.partition);
    }
    if (all > 0 || self->group) return; // a member may have nothing to read
    watch->count = 1;                   // no topic that matches is there, or no node tells
    watch->why = WEFT_ERR_UNKNOWN_TOPIC;
    snprintf(watch->first, sizeof watch->first, "%s", self->args->arguments[0]);
}

static void s_tell_silent(struct consume *self)
{
    struct watch *watch = &self->watch;
    bool changed = watch->count != watch->told_count || strcmp(watch->first, watch->told_of) != 0;
    if (watch->told && !changed) return;
    watch->told = true;
    watch->told_count = watch->count;
    snprintf(watch->told_of, sizeof watch->told_of, "%s", watch->first);
    fflush(stdout);
    char more[64] = "";
    if (watch->count > 1)
        snprintf(more, sizeof more, " and %s more partition%s", cli_count_text((int64_t) watch->count - 1),
                 watch->count == 2 ? "" : "s");
    if (watch->why == WEFT_ERR_UNKNOWN_TOPIC)
        cli_fail(self->args, "no topic is known yet that '%s' matches; looking on", watch->first);
    else if (watch->why == WEFT_ERR_LOCAL_NOT_CONNECTED)
        cli_fail(self->args,
                 "%s%s can't be read for %d s now: no leader, or it can't be reached; trying on "
                 "('weft topic describe' shows leaders)",
                 watch->first, more, CONSUME_SILENT_US / 1000000);
    else
        cli_fail(self->args, "%s%s can't be read for %d s now: %s; trying on", watch->first, more,
                 CONSUME_SILENT_US / 1000000, weft_err_name(watch->why));
}

static void s_watch_silence(struct consume *self)
{
    struct watch *watch = &self->watch;
    int64_t now = cli_now_us();
    if (now < watch->next_us) return;
    watch->next_us = now + CONSUME_WATCH_US;
    s_find_silent(self);
    if (watch->count == 0) {
        if (watch->told) cli_fail(self->args, "all partitions can be read again");
        watch->told = false;
        watch->since_us = now;
    } else if (now - watch->since_us >= CONSUME_SILENT_US)
        s_tell_silent(self);
}

static bool s_is_glob(const char *topic)
{
    return strpbrk(topic, "*?[") != NULL;
}

// Everything was read; of patterns it is told when nothing matched.
static int s_at_end(struct consume *self)
{
    struct weft_partition_position at;
    if (self->fatal != WEFT_OK) return CLI_FAILED;
    if (weft_consumer_position(self->consumer, 0, &at)) return CLI_DONE;
    for (int i = 0; i < self->args->argument_count; i++)
        if (!s_is_glob(self->args->arguments[i])) return CLI_DONE;
    return cli_fail(self->args, "no topic matches '%s'%s; 'weft topic list' shows them", self->args->arguments[0],
                    self->args->argument_count > 1 ? " or the other patterns" : "");
}

// ---- as a member of a group: what was printed and taken is committed, nothing else

static bool s_flushed(void)
{
    return fflush(stdout) == 0 && !ferror(stdout) && !cli_reader_left();
}

static void s_rebalanced(void *context, const struct weft_rebalance *rebalance)
{
    struct consume *self = context;
    if (rebalance->type != WEFT_EVENT_REVOKED || !s_flushed()) return;
    if (weft_consumer_commit(self->consumer, CONSUME_COMMIT_MS) != WEFT_OK)
        cli_fail(self->args, "%s", weft_consumer_error_text(self->consumer));
}

// What fails is told by an event, and tried again with the next.
static void s_commit_sometimes(struct consume *self)
{
    int64_t now = cli_now_us();
    if (!self->group || now < self->commit_us) return;
    self->commit_us = now + CONSUME_COMMIT_EVERY_US;
    (void) !weft_consumer_commit_async(self->consumer);
}

// The end: the last commit, and the group knows at once. What happens meanwhile is told too: a jump over offsets that are
// gone is committed like any other place.
static int s_leave(struct consume *self, int status)
{
    if (!self->group) return status;
    if (self->fenced && status == CLI_DONE) status = CLI_FAILED;
    self->leaving = true;
    weft_err_t err = s_flushed() && !self->fenced ? weft_consumer_commit(self->consumer, CONSUME_COMMIT_MS) : WEFT_OK;
    if (err != WEFT_OK) {
        cli_fail(self->args, "the last records were not committed: %s", weft_consumer_error_text(self->consumer));
        if (status == CLI_DONE) status = CLI_FAILED;
    }
    s_events(self);
    (void) !weft_consumer_close(self->consumer, CONSUME_COMMIT_MS);
    s_events(self);
    return status;
}

static int s_loop(struct consume *self)
{
    bool exit_at_end = cli_has(self->args, "--exit-at-end");
    self->watch.since_us = cli_now_us();
    while (!cli_interrupted()) {
        weft_records_t *records = NULL;
        weft_err_t err = weft_consumer_poll(self->consumer, 200, &records);
        if (err == WEFT_ERR_INTERRUPTED) continue;
        if (err != WEFT_OK) return cli_fail(self->args, "%s", weft_consumer_error_text(self->consumer));
        s_events(self); // before the records: those behind an offset that is not there are not what was asked for
        if (self->fatal == WEFT_ERR_OFFSET_OUT_OF_RANGE) return CLI_FAILED;
        struct weft_record_view record;
        while (self->count != self->count_max && weft_records_next(records, &record)) {
            s_print(self, &record);
            self->count++;
            self->bytes += (int64_t) (record.key.size + record.value.size);
        }
        s_events(self);
        if (self->count == self->count_max) return CLI_DONE;
        if (exit_at_end && weft_consumer_at_end(self->consumer)) return s_at_end(self);
        if (self->fatal != WEFT_OK) return CLI_FAILED;
        if (!s_flushed()) return CLI_READER_LEFT;
        s_commit_sometimes(self);
        s_watch_silence(self);
    }
    return CLI_INTERRUPTED;
}

// Topics asked for by name must exist, and have the partitions asked for.
static int s_check_topics(const struct cli_args *args)
{
    for (int i = 0; i < args->argument_count; i++) {
        uint32_t partitions = 0;
        const char *number;
        if (s_is_glob(args->arguments[i])) continue;
        int status = cli_topic_partitions(args, args->arguments[i], &partitions, NULL);
        if (status != CLI_DONE) return status;
        for (int n = 0; (number = cli_get_nth(args, "--partition", n)); n++)
            if ((uint64_t) strtoll(number, NULL, 10) >= partitions)
                return cli_fail(args, "topic '%s' has no partition %s; it has %u", args->arguments[i], number,
                                partitions);
    }
    return CLI_DONE;
}

static weft_err_t s_assign(struct consume *self, struct weft_position at)
{
    const struct cli_args *args = self->args;
    struct weft_assignment list[CLI_REPEAT_MAX];
    size_t count = 0;
    if (!cli_has(args, "--partition"))
        return weft_consumer_subscribe(self->consumer, args->arguments, (size_t) args->argument_count, at);
    // As for a member: where the group stands, and only where it does not, as the option reset (s_open) says.
    if (self->group && (at.from == WEFT_FROM_EARLIEST || at.from == WEFT_FROM_LATEST))
        at = (struct weft_position){.from = WEFT_FROM_RESET};
    const char *number;
    for (int i = 0; i < args->argument_count; i++)
        for (int n = 0; (number = cli_get_nth(args, "--partition", n)) && count < CLI_REPEAT_MAX; n++)
            list[count++] = (struct weft_assignment){
                .topic = args->arguments[i], .partition = (int32_t) strtol(number, NULL, 10), .at = at};
    return weft_consumer_assign(self->consumer, list, count);
}

static int s_open(struct consume *self)
{
    const struct cli_args *args = self->args;
    const char *from = cli_get(args, "--from");
    if (!from) from = cli_has(args, "--exit-at-end") || cli_has(args, "--count") ? "earliest" : "latest";
    struct weft_position at;
    if (!cli_position(from, &at))
        return cli_usage(args,
                         "--from is '%s'; it takes earliest, latest, an offset or @TIME (@2026-01-31T12:00, "
                         "@2026-01-31T12:00:00+01:00, @1700000000, @-1h)",
                         from);
    if (at.from == WEFT_FROM_OFFSET) self->from_offset = at.value;
    const char *number;
    char *end;
    for (int n = 0; (number = cli_get_nth(args, "--partition", n)); n++)
        if (strtoll(number, &end, 10) < 0 || end == number || *end)
            return cli_usage(args, "--partition is '%s'; it takes a number from 0", number);
    for (int i = 0; i < args->argument_count; i++)
        if (s_is_glob(args->arguments[i]) && cli_has(args, "--partition"))
            return cli_usage(args, "--partition goes with topic names, not with the pattern '%s'", args->arguments[i]);
    int status = s_check_topics(args);
    if (status != CLI_DONE) return status;
    struct cli_settings settings = {.count = 0};
    cli_settings_add(&settings, "bootstrap=%s", cli_bootstrap(args));
    cli_settings_add(&settings, "client=weft consume");
    cli_settings_add(&settings, "read=%s", cli_get(args, "--read"));
    cli_settings_add(&settings, "reset=%s", strcmp(from, "latest") == 0 ? "latest" : "earliest");
    if (self->group) cli_settings_add(&settings, "group=%s", self->group);
    if (self->group) cli_settings_add(&settings, "auto.commit.ms=0"); // s_commit_sometimes
    const char *pair;
    for (int i = 0; (pair = cli_get_nth(args, "--set", i)); i++) cli_settings_add(&settings, "%s", pair);
    struct weft_error error;
    if (weft_consumer_new(cli_settings_list(&settings), &self->consumer, &error) != WEFT_OK)
        status = cli_usage(args, "%s", error.text);
    cli_settings_fini(&settings);
    if (status == CLI_DONE && self->group) weft_consumer_on_rebalance(self->consumer, s_rebalanced, self);
    if (status == CLI_DONE && s_assign(self, at) != WEFT_OK)
        status = cli_fail(args, "%s", weft_consumer_error_text(self->consumer));
    return status;
}

// What only a group gives a meaning to must not be passed over.
static int s_check_group(const struct cli_args *args, const char *group)
{
    static const char *const names[] = {"instance",   "rack",      "assignor",       "session.ms", "max.poll.ms",
                                        "release.ms", "exclusive", "auto.commit.ms", "group",      "max.poll.records"};
    const char *pair;
    if (group && !*group) return cli_usage(args, "--group is empty; it takes a name");
    if (!group && cli_has(args, "--show-rebalance")) return cli_usage(args, "--show-rebalance goes with --group");
    for (int n = 0; !group && (pair = cli_get_nth(args, "--set", n)); n++)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (strcspn(pair, "=") == strlen(names[i]) && strncmp(pair, names[i], strlen(names[i])) == 0)
                return cli_usage(args, "--set %s= goes with --group", names[i]);
    return CLI_DONE;
}

static int s_consume(const struct cli_args *args)
{
    struct consume self = {
        .args = args, .json = cli_json(args), .group = cli_get(args, "--group"), .count_max = -1, .from_offset = -1};
    if (s_check_group(args, self.group) != CLI_DONE) return CLI_USAGE;
    if (!cli_number(args, "--count", 0, INT64_MAX, &self.count_max)) return CLI_USAGE;
    if (cli_get(args, "--format")) self.format = cli_unescape(cli_get(args, "--format"));
    if (s_check_format(args, self.format) != CLI_DONE) {
        free((void *) (uintptr_t) self.format.data);
        return CLI_USAGE;
    }
    static char buffer[CONSUME_OUT_BYTES];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    int status = s_open(&self);
    if (status == CLI_DONE) {
        cli_catch_signals();
        status = s_leave(&self, s_loop(&self));
    }
    weft_consumer_destroy(&self.consumer);
    free((void *) (uintptr_t) self.format.data);
    return status;
}

const struct cli_verb cli_verb_consume = {
    "consume",
    "TOPIC...",
    1,
    64,
    "Print records.",
    "TOPIC is a name or a pattern (* ? [a-z]; quote it). Prints values, a line each, unless --format or --json asks "
    "for more. Goes on until interrupted, unless --count or --exit-at-end ends it. "
    "--json prints JSON Lines: one object a record; a key or value that is no UTF-8 comes as key_base64 or "
    "value_base64, such a header's value as {\"base64\": ...}. "
    "With --group a record is committed once it was written out, so each is printed at least once, whoever of the "
    "group "
    "prints it. What the consumer had to do beyond reading (an offset that was gone, a topic deleted) is said on "
    "stderr.",
    "  weft consume orders --from earliest --exit-at-end\n  weft consume 'log.*' --format '%t/%p %o %k: %v\\n'\n  weft "
    "consume orders --from @2026-01-31T12:00:00Z --count 10 --json\n  weft consume orders --group "
    "billing --from earliest",
    s_options,
    true,
    true,
    s_consume};
