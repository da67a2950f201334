// SPDX-License-Identifier: MPL-2.0
// weft group list | describe | delete: who is in a consumer group, what he owns, and how far behind he is.
#include "connect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_TIMEOUT \
    { \
        "--timeout", "DURATION", "10s", false, "How long to try each request." \
    }

static const struct cli_option s_list_options[] = {GROUP_TIMEOUT, {0}};
static const struct cli_option s_describe_options[] = {
    {"--members", NULL, NULL, false, "Members and what they subscribe to, not partitions."}, GROUP_TIMEOUT, {0}};
static const struct cli_option s_delete_options[] = {GROUP_TIMEOUT, {0}};

// "12 s", "3 min": how long, for people.
static const char *s_age(int64_t ms)
{
    static char texts[4][32];
    static unsigned turn;
    char *text = texts[turn++ % 4];
    if (ms < 0)
        snprintf(text, sizeof *texts, "-");
    else if (ms < 1000)
        snprintf(text, sizeof *texts, "%" PRId64 " ms", ms);
    else if (ms < 120000)
        snprintf(text, sizeof *texts, "%" PRId64 " s", ms / 1000);
    else if (ms < 7200000)
        snprintf(text, sizeof *texts, "%" PRId64 " min", ms / 60000);
    else
        snprintf(text, sizeof *texts, "%" PRId64 " h", ms / 3600000);
    return text;
}

static int64_t s_since(int64_t wall_ms)
{
    int64_t now = cli_wall_ms();
    return wall_ms < 0 ? -1 : now > wall_ms ? now - wall_ms : 0;
}

static const char *s_number(int64_t number)
{
    return number < 0 ? "-" : cli_count_text(number);
}

static const char *s_or_dash(const char *text)
{
    return *text ? text : "-";
}

// ---- list

static void s_list_json(const weft_group_list_t *list)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '[');
    for (size_t i = 0; i < list->count; i++) {
        const struct weft_group_entry *group = &list->groups[i];
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "group", group->name);
        cli_json_text(&json, "state", group->state);
        cli_json_int(&json, "members", group->members);
        cli_json_text(&json, "assignor", group->assignor);
        cli_json_int(&json, "partitions", group->partitions);
        cli_json_int(&json, "committed_ms", group->committed_ms);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

static void s_list_table(const weft_group_list_t *list)
{
    static const char *const columns[] = {"GROUP", "STATE", ">MEMBERS", "ASSIGNOR", ">PARTITIONS", ">LAST COMMIT"};
    if (list->count == 0) {
        puts("there are no groups; 'weft consume TOPIC --group NAME' makes one");
        return;
    }
    cli_table_t *table = cli_table_new(columns, 6);
    for (size_t i = 0; i < list->count; i++) {
        const struct weft_group_entry *group = &list->groups[i];
        cli_table_cell(table, "%s", group->name);
        cli_table_cell(table, "%s", group->state);
        cli_table_cell(table, "%u", group->members);
        cli_table_cell(table, "%s", s_or_dash(group->assignor));
        cli_table_cell(table, "%u", group->partitions);
        cli_table_cell(table, "%s%s", s_age(s_since(group->committed_ms)), group->committed_ms < 0 ? "" : " ago");
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
}

static int s_list(const struct cli_args *args)
{
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    weft_group_list_t *list = NULL;
    int status = CLI_DONE;
    weft_err_t err = weft_admin_list_groups(admin, &list);
    if (err)
        status = cli_admin_fail(args, admin, err);
    else if (cli_json(args))
        s_list_json(list);
    else
        s_list_table(list);
    if (!err && list->unanswered)
        status = cli_fail(args,
                          "%u of %u partitions of __offsets did not answer: groups that only have offsets there are "
                          "missing; 'weft cluster status' says what is wrong",
                          list->unanswered, list->asked);
    weft_group_list_destroy(&list);
    weft_admin_destroy(&admin);
    return status;
}

// ---- describe

static void s_member_json(cli_json_t *json, const struct weft_group_member_info *member)
{
    cli_json_open(json, NULL, '{');
    cli_json_text(json, "member", cli_id_text(member->id));
    cli_json_text(json, "instance", member->instance);
    cli_json_text(json, "client", member->client);
    cli_json_text(json, "host", member->host);
    cli_json_text(json, "rack", member->rack);
    cli_json_int(json, "epoch", (int64_t) member->epoch);
    cli_json_int(json, "heard_ms", member->heard_ms);
    cli_json_int(json, "idle_ms", member->idle_ms);
    cli_json_int(json, "session_ms", member->session_ms);
    cli_json_bool(json, "paused", member->paused);
    cli_json_open(json, "topics", '[');
    for (size_t i = 0; i < member->topic_count; i++) cli_json_text(json, NULL, member->topics[i]);
    cli_json_close(json, ']');
    cli_json_int(json, "owns", member->owns);
    cli_json_int(json, "target", member->target);
    cli_json_int(json, "releasing", member->releasing);
    cli_json_close(json, '}');
}

static void s_partition_json(cli_json_t *json, const weft_group_info_t *info,
                             const struct weft_group_partition_info *partition)
{
    cli_json_open(json, NULL, '{');
    cli_json_text(json, "topic", partition->topic);
    cli_json_text(json, "topic_id", cli_id_text(partition->topic_id));
    cli_json_int(json, "partition", partition->partition);
    if (partition->member >= 0)
        cli_json_text(json, "member", cli_id_text(info->members[partition->member].id));
    else
        cli_json_slice(json, "member", WEFT_SLICE_NIL);
    cli_json_bool(json, "releasing", partition->releasing);
    cli_json_int(json, "committed", partition->committed);
    cli_json_int(json, "log_start", partition->log_start);
    cli_json_int(json, "end", partition->end);
    cli_json_int(json, "lag", partition->lag);
    cli_json_int(json, "committed_ms", partition->committed_ms);
    cli_json_text(json, "metadata", partition->metadata);
    if (partition->error) cli_json_text(json, "error", weft_err_name(partition->error));
    cli_json_close(json, '}');
}

static void s_describe_json(const char *name, const weft_group_info_t *info)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "group", name);
    cli_json_text(&json, "state", info->state);
    cli_json_text(&json, "assignor", info->assignor);
    cli_json_int(&json, "epoch", (int64_t) info->epoch);
    cli_json_int(&json, "empty_ms", info->empty_ms);
    cli_json_open(&json, "members", '[');
    for (size_t i = 0; i < info->member_count; i++) s_member_json(&json, &info->members[i]);
    cli_json_close(&json, ']');
    cli_json_open(&json, "partitions", '[');
    for (size_t i = 0; i < info->partition_count; i++) s_partition_json(&json, info, &info->partitions[i]);
    cli_json_close(&json, ']');
    cli_json_open(&json, "left", '[');
    for (size_t i = 0; i < info->left_count; i++) {
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "member", cli_id_text(info->left[i].id));
        cli_json_text(&json, "instance", info->left[i].instance);
        cli_json_text(&json, "client", info->left[i].client);
        cli_json_text(&json, "host", info->left[i].host);
        cli_json_int(&json, "ago_ms", (int64_t) info->left[i].ago_ms);
        cli_json_text(&json, "why", info->left[i].why);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    cli_json_close(&json, '}');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

// Enough of an id to tell members apart.
static const char *s_short_id(weft_id_t id)
{
    static char texts[4][12];
    static unsigned turn;
    char *text = texts[turn++ % 4];
    snprintf(text, sizeof *texts, "%.8s", cli_id_text(id));
    return text;
}

// Who stands where nobody holds a partition: the one member, or all of them, if they are away.
static const struct weft_group_member_info *s_away(const weft_group_info_t *info, bool *away)
{
    *away = info->member_count > 0;
    for (size_t i = 0; i < info->member_count; i++) *away = *away && info->members[i].paused;
    return *away && info->member_count == 1 ? &info->members[0] : NULL;
}

static void s_partitions_table(const weft_group_info_t *info)
{
    static const char *const columns[] = {"TOPIC",  ">PARTITION", ">COMMITTED", ">END", ">LAG",
                                          "MEMBER", "INSTANCE",   "CLIENT",     "HOST"};
    cli_table_t *table = cli_table_new(columns, 9);
    bool away;
    const struct weft_group_member_info *absent = s_away(info, &away);
    for (size_t i = 0; i < info->partition_count; i++) {
        const struct weft_group_partition_info *partition = &info->partitions[i];
        const struct weft_group_member_info *member =
            partition->member < 0 ? absent : &info->members[partition->member];
        cli_table_cell(table, "%s", *partition->topic ? partition->topic : "(deleted)");
        cli_table_cell(table, "%d", partition->partition);
        cli_table_cell(table, "%s", s_number(partition->committed));
        cli_table_cell(table, "%s", partition->error ? weft_err_name(partition->error) : s_number(partition->end));
        cli_table_cell(table, "%s", s_number(partition->lag));
        cli_table_cell(table, "%s%s",
                       member ? s_short_id(member->id)
                       : away ? "(away)"
                              : "-",
                       partition->releasing ? " (releasing)"
                       : member && away     ? " (away)"
                                            : "");
        cli_table_cell(table, "%s", member ? s_or_dash(member->instance) : "-");
        cli_table_cell(table, "%s", member ? s_or_dash(member->client) : "-");
        cli_table_cell(table, "%s", member ? s_or_dash(member->host) : "-");
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
}

static void s_members_table(const weft_group_info_t *info)
{
    static const char *const columns[] = {"MEMBER", "INSTANCE",    "CLIENT", "HOST",     ">OWNS",
                                          ">TO BE", ">LAST HEARD", ">IDLE",  ">SESSION", "TOPICS"};
    cli_table_t *table = cli_table_new(columns, 10);
    for (size_t i = 0; i < info->member_count; i++) {
        const struct weft_group_member_info *member = &info->members[i];
        cli_table_cell(table, "%s", s_short_id(member->id));
        cli_table_cell(table, "%s", s_or_dash(member->instance));
        cli_table_cell(table, "%s", s_or_dash(member->client));
        cli_table_cell(table, "%s", s_or_dash(member->host));
        cli_table_cell(table, "%u", member->owns);
        cli_table_cell(table, "%u", member->target);
        cli_table_cell(table, "%s", member->paused ? "away" : s_age(member->heard_ms));
        cli_table_cell(table, "%s", s_age(member->idle_ms));
        cli_table_cell(table, "%s", s_age(member->session_ms));
        weft_buf_t topics;
        weft_buf_init(&topics);
        for (size_t n = 0; n < member->topic_count; n++) {
            if (n) weft_buf_append(&topics, " ", 1);
            weft_buf_append(&topics, member->topics[n], strlen(member->topics[n]));
        }
        cli_table_cell(table, "%.*s", (int) topics.size, (const char *) topics.data);
        weft_buf_fini(&topics);
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
}

static void s_headline(const char *name, const weft_group_info_t *info)
{
    int64_t lag = 0;
    bool whole = true;
    uint32_t waiting = 0;
    for (size_t i = 0; i < info->partition_count; i++) {
        if (info->partitions[i].lag >= 0) lag += info->partitions[i].lag;
        whole = whole && info->partitions[i].lag >= 0;
    }
    for (size_t i = 0; i < info->member_count; i++)
        waiting += !info->members[i].owns && !info->members[i].target && !info->members[i].paused;
    if (strcmp(info->state, "none") == 0)
        printf("group '%s' has only offsets, never had members", name);
    else
        printf("group '%s' is %s", name, info->state);
    if (info->empty_ms >= 0) printf(" since %s", s_age(info->empty_ms));
    if (*info->assignor) printf(", %s", info->assignor);
    printf(": %zu member%s", info->member_count, info->member_count == 1 ? "" : "s");
    if (waiting) printf(" (%u wait%s for a partition)", waiting, waiting == 1 ? "s" : "");
    printf(", %zu partition%s, lag %s%s\n", info->partition_count, info->partition_count == 1 ? "" : "s",
           whole ? "" : "at least ", cli_count_text(lag));
}

static void s_left(const weft_group_info_t *info)
{
    if (!info->left_count) return;
    puts("\nleft lately:");
    for (size_t i = 0; i < info->left_count; i++)
        printf("  %s%s%s, %s at %s: %s ago: %s\n", s_short_id(info->left[i].id), *info->left[i].instance ? " " : "",
               info->left[i].instance, s_or_dash(info->left[i].client), s_or_dash(info->left[i].host),
               s_age((int64_t) info->left[i].ago_ms), info->left[i].why);
}

static int s_describe(const struct cli_args *args)
{
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    const char *name = args->arguments[0];
    weft_group_info_t *info = NULL;
    int status = CLI_DONE;
    weft_err_t err = weft_admin_describe_group(admin, name, &info);
    if (err) {
        status = cli_admin_fail(args, admin, err);
    } else if (cli_json(args)) {
        s_describe_json(name, info);
    } else {
        s_headline(name, info);
        if (cli_has(args, "--members") && info->member_count) s_members_table(info);
        if (!cli_has(args, "--members") && info->partition_count) s_partitions_table(info);
        s_left(info);
    }
    weft_group_info_destroy(&info);
    weft_admin_destroy(&admin);
    return status;
}

// ---- delete

static int s_delete(const struct cli_args *args)
{
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    const char *name = args->arguments[0];
    uint32_t deleted = 0;
    weft_err_t err = weft_admin_delete_group(admin, name, &deleted);
    int status = CLI_DONE;
    if (err) {
        status = cli_admin_fail(args, admin, err);
    } else if (cli_json(args)) {
        cli_json_t json;
        cli_json_init(&json);
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "group", name);
        cli_json_int(&json, "deleted", deleted);
        cli_json_close(&json, '}');
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
    } else {
        printf("deleted group '%s' and its %u offset%s\n", name, deleted, deleted == 1 ? "" : "s");
    }
    weft_admin_destroy(&admin);
    return status;
}

const struct cli_verb cli_verb_group_list = {
    "group list",
    "",
    0,
    0,
    "List consumer groups.",
    "Groups that have, or had, members, and those that only have committed offsets (state none).",
    "  weft group list",
    s_list_options,
    true,
    true,
    s_list};
const struct cli_verb cli_verb_group_describe = {
    "group describe",
    "GROUP",
    1,
    1,
    "Show who is in a group, what he owns and how far behind he is.",
    "States: stable (everybody has what he is to have), reconciling (partitions are being released and taken), "
    "assigning "
    "(a new target is worked out), empty. COMMITTED is the next offset to be read, LAG the records behind it. Members "
    "that "
    "left lately are listed with the reason: closed, left, timed out, stopped polling, replaced, did not release in "
    "time, paused and did not come back in its session.",
    "  weft group describe billing\n  weft group describe billing --members",
    s_describe_options,
    true,
    true,
    s_describe};
const struct cli_verb cli_verb_group_delete = {"group delete",
                                               "GROUP",
                                               1,
                                               1,
                                               "Forget a group that has no members, and its offsets.",
                                               "A group with members is refused, and says who is in it.",
                                               "  weft group delete billing",
                                               s_delete_options,
                                               true,
                                               true,
                                               s_delete};
