// SPDX-License-Identifier: MPL-2.0
// weft group reset: sets the committed offsets of a group that has no members.
//
// First all new offsets are worked out, then one token is asked for, which outranks every member of the past, and they are
// committed with it. Where the coordinator knows of no members, ever, none is asked for: who reads for the group without
// membership has token 0, and need not take another. A run that fails half-way says how many were set, and may be repeated.
#include "connect.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct cli_option s_options[] = {
    {"--to", "earliest|latest|OFFSET|@TIME|+N|-N", NULL, false,
     "Where the group is to go on; +N and -N count from where it is, and stop at the partition's ends. @TIME as for "
     "weft "
     "consume --from."},
    {"--topic", "T", NULL, true, "Partitions of this topic."},
    {"--partition", "N", NULL, true, "Only these partitions of each --topic."},
    {"--all-topics", NULL, NULL, false, "Every partition that the group has an offset of."},
    {"--dry-run", NULL, NULL, false, "Only show what would be set."},
    {"--timeout", "DURATION", "10s", false, "How long to try each request."},
    {0}};

/** One partition to be set. */
struct change {
    char *topic;
    int32_t partition;
    int64_t now, end, to; // -1: none, not known
    int32_t epoch;
};

struct reset {
    const struct cli_args *args;
    weft_admin_t *admin;
    const char *group, *to;
    bool shifts;
    int64_t shift;
    struct weft_position at;
    struct change *changes;
    size_t count, capacity;
    weft_group_offsets_t *offsets;
    bool memberless; // the coordinator does not know the group
};

static int64_t s_committed(const struct reset *self, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < self->offsets->count; i++)
        if (self->offsets->offsets[i].partition == partition && strcmp(self->offsets->offsets[i].topic, topic) == 0)
            return self->offsets->offsets[i].offset;
    return -1;
}

static void s_add(struct reset *self, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < self->count; i++)
        if (self->changes[i].partition == partition && strcmp(self->changes[i].topic, topic) == 0) return;
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? 2 * self->capacity : 64;
        self->changes = weft_realloc(self->changes, self->capacity * sizeof *self->changes);
    }
    self->changes[self->count++] = (struct change){.topic = weft_strdup(topic),
                                                   .partition = partition,
                                                   .now = s_committed(self, topic, partition),
                                                   .end = -1,
                                                   .to = -1,
                                                   .epoch = -1};
}

// ---- which partitions

static int s_add_topic(struct reset *self, const char *topic)
{
    uint32_t partitions = 0;
    int status = cli_topic_partitions(self->args, topic, &partitions, NULL);
    if (status != CLI_DONE) return status;
    const char *text;
    for (int n = 0; (text = cli_get_nth(self->args, "--partition", n)); n++) {
        int64_t number;
        if (!cli_whole(text, 0, INT32_MAX, &number))
            return cli_usage(self->args, "--partition is '%s'; it takes a number from 0", text);
        if (number >= partitions)
            return cli_fail(self->args, "topic '%s' has no partition %s; it has %u", topic, text, partitions);
        s_add(self, topic, (int32_t) number);
    }
    if (cli_has(self->args, "--partition")) return CLI_DONE;
    for (uint32_t i = 0; i < partitions; i++) s_add(self, topic, (int32_t) i);
    return CLI_DONE;
}

static int s_choose(struct reset *self)
{
    const char *topic;
    for (int i = 0; (topic = cli_get_nth(self->args, "--topic", i)); i++) {
        int status = s_add_topic(self, topic);
        if (status != CLI_DONE) return status;
    }
    if (!cli_has(self->args, "--all-topics")) return CLI_DONE;
    for (size_t i = 0; i < self->offsets->count; i++)
        if (*self->offsets->offsets[i].topic)
            s_add(self, self->offsets->offsets[i].topic, self->offsets->offsets[i].partition);
    if (self->count == 0)
        return cli_fail(self->args, "group '%s' has no offsets; name topics with --topic", self->group);
    return CLI_DONE;
}

// ---- where to

static int s_work_out(struct reset *self, struct change *change)
{
    struct weft_position at = self->shifts ? (struct weft_position){.from = WEFT_FROM_LATEST} : self->at;
    struct weft_offset_found found;
    weft_err_t err = weft_admin_list_offsets(self->admin, change->topic, change->partition, at, false, &found);
    if (err) return cli_admin_fail(self->args, self->admin, err);
    change->end = found.high_watermark;
    change->to = found.offset;
    if (self->shifts) {
        if (change->now < 0)
            return cli_fail(self->args,
                            "group '%s' has no offset of %s/%d to count from; use earliest, latest, an offset or @TIME",
                            self->group, change->topic, change->partition);
        if (__builtin_add_overflow(change->now, self->shift, &change->to))
            change->to = self->shift < 0 ? found.log_start : found.high_watermark;
        if (change->to < found.log_start) change->to = found.log_start;
        if (change->to > found.high_watermark) change->to = found.high_watermark;
    } else if (self->at.from == WEFT_FROM_OFFSET &&
               (change->to < found.log_start || change->to > found.high_watermark)) {
        return cli_fail(self->args, "offset %" PRId64 " is outside %s/%d, which goes from %" PRId64 " to %" PRId64,
                        change->to, change->topic, change->partition, found.log_start, found.high_watermark);
    }
    return CLI_DONE;
}

static int s_parse(struct reset *self)
{
    self->to = cli_get(self->args, "--to");
    if (!self->to) return cli_usage(self->args, "--to is missing: earliest, latest, an offset, @TIME, +N or -N");
    if (!cli_has(self->args, "--topic") && !cli_has(self->args, "--all-topics"))
        return cli_usage(self->args, "say which: --topic T, or --all-topics");
    if (cli_has(self->args, "--partition") && !cli_has(self->args, "--topic"))
        return cli_usage(self->args, "--partition goes with --topic");
    if (*self->to == '+' || *self->to == '-') {
        self->shifts = true;
        if (!isdigit((unsigned char) self->to[1]) || !cli_whole(self->to + 1, 0, INT64_MAX, &self->shift))
            return cli_usage(self->args, "--to is '%s'; + and - take a number of records", self->to);
        if (*self->to == '-') self->shift = -self->shift;
        return CLI_DONE;
    }
    if (!cli_position(self->to, &self->at))
        return cli_usage(
            self->args, "--to is '%s'; it takes earliest, latest, an offset, @TIME (@2026-01-31T12:00, @-1h), +N or -N",
            self->to);
    return CLI_DONE;
}

// ---- the change itself

static weft_err_t s_set(struct reset *self, uint64_t token, size_t *done)
{
    struct weft_group_offset *list = weft_calloc(self->count ? self->count : 1, sizeof *list);
    for (size_t i = 0; i < self->count; i++)
        list[i] = (struct weft_group_offset){.topic = self->changes[i].topic,
                                             .partition = self->changes[i].partition,
                                             .offset = self->changes[i].to,
                                             .leader_epoch = self->changes[i].epoch};
    weft_err_t err = weft_admin_commit_group_offsets(self->admin, self->group, token, list, self->count, done);
    free(list);
    return err;
}

static int s_commit(struct reset *self)
{
    size_t done = 0;
    weft_err_t err = self->memberless ? s_set(self, 0, &done) : WEFT_ERR_FENCED;
    if (err == WEFT_ERR_FENCED) { // it has members, or had some that were forgotten since
        uint64_t token = 0;
        done = 0;
        err = weft_admin_group_token(self->admin, self->group, &token);
        if (!err) err = s_set(self, token, &done);
    }
    if (!err) return CLI_DONE;
    if (done) cli_fail(self->args, "%zu of %zu offsets were set", done, self->count);
    return cli_admin_fail(self->args, self->admin, err);
}

static void s_print_json(const struct reset *self, bool dry)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "group", self->group);
    cli_json_bool(&json, "dry_run", dry);
    cli_json_open(&json, "partitions", '[');
    for (size_t i = 0; i < self->count; i++) {
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "topic", self->changes[i].topic);
        cli_json_int(&json, "partition", self->changes[i].partition);
        cli_json_int(&json, "before", self->changes[i].now);
        cli_json_int(&json, "offset", self->changes[i].to);
        cli_json_int(&json, "end", self->changes[i].end);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    cli_json_close(&json, '}');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

static void s_print(const struct reset *self, bool dry)
{
    static const char *const columns[] = {"TOPIC", ">PARTITION", ">BEFORE", ">OFFSET", ">LAG"};
    cli_table_t *table = cli_table_new(columns, 5);
    for (size_t i = 0; i < self->count; i++) {
        const struct change *change = &self->changes[i];
        cli_table_cell(table, "%s", change->topic);
        cli_table_cell(table, "%d", change->partition);
        cli_table_cell(table, "%s", change->now < 0 ? "-" : cli_count_text(change->now));
        cli_table_cell(table, "%s", cli_count_text(change->to));
        cli_table_cell(table, "%s", cli_count_text(change->end > change->to ? change->end - change->to : 0));
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
    if (dry) puts("nothing was changed: --dry-run");
}

// Who has to be stopped: a few of them by name.
static int s_refuse(const struct reset *self, const weft_group_info_t *info)
{
    char who[1024] = ""; // three fit: an instance has 255 bytes, a client and a host 128 each
    size_t size = 0, away = 0, count = info->member_count;
    for (size_t i = 0; i < info->member_count && i < 3; i++) {
        const struct weft_group_member_info *member = &info->members[i];
        const char *comma = i ? ", " : "";
        if (*member->instance)
            size += (size_t) snprintf(who + size, sizeof who - size, "%s%s", comma, member->instance);
        else if (*member->client || *member->host)
            size += (size_t) snprintf(who + size, sizeof who - size, "%s%s@%s", comma, member->client, member->host);
        else
            size += (size_t) snprintf(who + size, sizeof who - size, "%s%s", comma, cli_id_text(member->id));
        if (member->paused)
            size += (size_t) snprintf(
                who + size, sizeof who - size, " (stopped, its place is kept for %u s more)",
                member->session_ms > member->heard_ms ? (member->session_ms - member->heard_ms + 999) / 1000 : 0);
    }
    for (size_t i = 0; i < count; i++) away += info->members[i].paused;
    const char *one = away ? "wait until it is out" : "stop it first";
    const char *many = away == 0       ? "stop them first"
                       : away == count ? "wait until they are out"
                                       : "stop those that run, and wait until the others are out";
    return cli_fail(self->args, "group '%s' has %zu member%s: %s%s; %s", self->group, count, count == 1 ? "" : "s", who,
                    count > 3 ? " and more" : "", count == 1 ? one : many);
}

// What is tried is refused if it would be in earnest.
static int s_check_empty(struct reset *self)
{
    weft_group_info_t *info = NULL;
    weft_err_t err = weft_admin_describe_group(self->admin, self->group, &info);
    self->memberless = err == WEFT_ERR_UNKNOWN_GROUP || (!err && strcmp(info->state, "none") == 0);
    if (err) return err == WEFT_ERR_UNKNOWN_GROUP ? CLI_DONE : cli_admin_fail(self->args, self->admin, err);
    int status = info->member_count ? s_refuse(self, info) : CLI_DONE;
    weft_group_info_destroy(&info);
    return status;
}

static int s_run(struct reset *self)
{
    bool dry = cli_has(self->args, "--dry-run");
    int status = s_check_empty(self);
    if (status != CLI_DONE) return status;
    weft_err_t err = weft_admin_group_offsets(self->admin, self->group, &self->offsets);
    if (err) return cli_admin_fail(self->args, self->admin, err);
    status = s_choose(self);
    for (size_t i = 0; i < self->count && status == CLI_DONE; i++) status = s_work_out(self, &self->changes[i]);
    if (status == CLI_DONE && !dry) status = s_commit(self);
    if (status != CLI_DONE) return status;
    if (cli_json(self->args))
        s_print_json(self, dry);
    else
        s_print(self, dry);
    return CLI_DONE;
}

static int s_reset(const struct cli_args *args)
{
    struct reset self = {.args = args, .group = args->arguments[0]};
    int status = s_parse(&self);
    if (status != CLI_DONE) return status;
    self.admin = cli_admin_new(args);
    if (!self.admin) return CLI_FAILED;
    status = s_run(&self);
    for (size_t i = 0; i < self.count; i++) free(self.changes[i].topic);
    free(self.changes);
    weft_group_offsets_destroy(&self.offsets);
    weft_admin_destroy(&self.admin);
    return status;
}

const struct cli_verb cli_verb_group_reset = {"group reset",
                                              "GROUP",
                                              1,
                                              1,
                                              "Set where a group without members goes on.",
                                              "Also of a group that is not there yet. A group with members is refused, "
                                              "and says who is in it. What a member of the past still "
                                              "commits is refused from then on.",
                                              "  weft group reset billing --topic orders --to earliest --dry-run\n  "
                                              "weft group reset billing --topic orders --partition "
                                              "3 --to 1042\n  weft group reset billing --all-topics --to @-1h",
                                              s_options,
                                              true,
                                              true,
                                              s_reset};
