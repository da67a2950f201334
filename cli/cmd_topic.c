// SPDX-License-Identifier: MPL-2.0
// weft topic ...: create, list, describe, alter, add-partitions, delete, delete-records.
#include "moves.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TOPIC_SET \
    { \
        "--set", "KEY=VALUE", NULL, true, "A setting of the topic (docs/CONFIG.md, scope topic)." \
    }
#define TOPIC_TIMEOUT \
    { \
        "--timeout", "DURATION", "10s", false, "How long to try." \
    }
#define TOPIC_WAIT_MS 10000

static const struct cli_option s_create_options[] = {
    {"--partitions", "P", "1", false, "Number of partitions."},
    {"--replicas", "R", NULL, false, "Copies of each partition; else 3, or as many as there are brokers."},
    TOPIC_SET,
    {"--if-not-exists", NULL, NULL, false, "Succeed if a topic of that name exists already."},
    {"--validate-only", NULL, NULL, false, "Check only, change nothing."},
    TOPIC_TIMEOUT,
    {0}};

// Splits the --set options into settings; returns the count, or -1 after a usage sentence. The caller frees keys.
static int s_settings(const struct cli_args *args, struct weft_setting *out, size_t max)
{
    int count = 0;
    const char *pair;
    for (; (pair = cli_get_nth(args, "--set", count)); count++) {
        const char *equals = strchr(pair, '=');
        if (!equals || equals == pair || (size_t) count == max) {
            for (int i = 0; i < count; i++) free((void *) (uintptr_t) out[i].key);
            cli_usage(args, "--set takes KEY=VALUE, not '%s'", pair);
            return -1;
        }
        char *key = weft_strdup(pair);
        key[equals - pair] = '\0';
        out[count] = (struct weft_setting){.key = key, .value = key + (equals - pair) + 1};
    }
    return count;
}

static void s_settings_free(struct weft_setting *settings, int count)
{
    for (int i = 0; i < count; i++) free((void *) (uintptr_t) settings[i].key);
}

static void s_print_change(const struct cli_args *args, const char *topic, const struct weft_topic_change *change,
                           const char *sentence)
{
    if (!cli_json(args)) {
        puts(sentence);
        return;
    }
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "topic", topic);
    cli_json_text(&json, "topic_id", cli_id_text(change->topic_id));
    cli_json_int(&json, "version", (int64_t) change->version);
    cli_json_close(&json, '}');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

// With --if-not-exists: what is there, which need not be what was asked for.
static int s_print_existing(const struct cli_args *args, weft_admin_t *admin, const char *topic, int64_t partitions,
                            int64_t replicas)
{
    weft_topic_config_t *config = NULL;
    weft_err_t err = weft_admin_describe_topic(admin, topic, &config);
    if (err != WEFT_OK) return cli_admin_fail(args, admin, err);
    bool differs = (cli_has(args, "--partitions") && config->partitions != partitions) ||
                   (cli_has(args, "--replicas") && config->replicas != replicas);
    if (differs)
        cli_fail(args, "topic '%s' exists already and differs: it has %u partition%s and %u replica%s", topic,
                 config->partitions, config->partitions == 1 ? "" : "s", config->replicas,
                 config->replicas == 1 ? "" : "s");
    if (cli_json(args)) {
        cli_json_t json;
        cli_json_init(&json);
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "topic", topic);
        cli_json_text(&json, "topic_id", cli_id_text(config->topic_id));
        cli_json_bool(&json, "existed", true);
        cli_json_int(&json, "partitions", config->partitions);
        cli_json_int(&json, "replicas", config->replicas);
        cli_json_close(&json, '}');
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
    } else if (!differs) {
        printf("topic '%s' exists already\n", topic);
    }
    weft_topic_config_destroy(&config);
    return CLI_DONE;
}

static void s_print_created(const struct cli_args *args, weft_admin_t *admin, const struct weft_topic_change *change,
                            int64_t partitions)
{
    const char *topic = args->arguments[0];
    char sentence[400];
    weft_topic_config_t *config = NULL;
    if (cli_has(args, "--validate-only"))
        snprintf(sentence, sizeof sentence, "topic '%s' could be created", topic);
    else if (weft_admin_describe_topic(admin, topic, &config) == WEFT_OK && config->replicas > 1)
        snprintf(sentence, sizeof sentence, "created topic '%s' with %" PRId64 " partition%s of %u replicas", topic,
                 partitions, partitions == 1 ? "" : "s", config->replicas);
    else
        snprintf(sentence, sizeof sentence, "created topic '%s' with %" PRId64 " partition%s", topic, partitions,
                 partitions == 1 ? "" : "s");
    weft_topic_config_destroy(&config);
    s_print_change(args, topic, change, sentence);
}

static int s_create(const struct cli_args *args)
{
    int64_t partitions = 1, replicas = 0; // 0: the coordinator chooses
    if (!cli_number(args, "--partitions", 1, 100000, &partitions) || !cli_number(args, "--replicas", 1, 16, &replicas))
        return CLI_USAGE;
    struct weft_setting settings[64];
    int count = s_settings(args, settings, 64);
    if (count < 0) return CLI_USAGE;
    weft_admin_t *admin = cli_admin_new(args);
    int status = CLI_FAILED;
    if (admin) {
        const char *topic = args->arguments[0];
        bool dry = cli_has(args, "--validate-only");
        struct weft_topic_change change = {0};
        weft_err_t err = weft_admin_create_topic(admin, topic, (uint32_t) partitions, (uint32_t) replicas, settings,
                                                 (size_t) count, dry, &change);
        bool existed = err == WEFT_ERR_TOPIC_EXISTS && cli_has(args, "--if-not-exists");
        if (err == WEFT_OK && !dry) err = weft_admin_wait_topic(admin, topic, TOPIC_WAIT_MS);
        if (existed) {
            status = s_print_existing(args, admin, topic, partitions, replicas);
        } else if (err != WEFT_OK) {
            status = cli_admin_fail(args, admin, err);
        } else {
            s_print_created(args, admin, &change, partitions);
            status = CLI_DONE;
        }
        weft_admin_destroy(&admin);
    }
    s_settings_free(settings, count);
    return status;
}

static const struct cli_option s_list_options[] = {
    {"--internal", NULL, NULL, false, "Internal topics too."}, TOPIC_TIMEOUT, {0}};

static void s_list_json(const weft_metadata_t *metadata)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '[');
    for (size_t i = 0; i < metadata->topic_count; i++) {
        const struct weft_topic_info *topic = &metadata->topics[i];
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "topic", topic->name);
        cli_json_text(&json, "topic_id", cli_id_text(topic->id));
        cli_json_int(&json, "partitions", (int64_t) topic->partition_count);
        cli_json_int(&json, "replicas", topic->partition_count ? (int64_t) topic->partitions[0].replica_count : 0);
        cli_json_bool(&json, "internal", topic->internal);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

static int s_list(const struct cli_args *args)
{
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    weft_metadata_t *metadata = NULL;
    weft_err_t err = weft_admin_metadata(admin, NULL, 0, cli_has(args, "--internal"), &metadata);
    int status = CLI_DONE;
    if (err != WEFT_OK) {
        status = cli_admin_fail(args, admin, err);
    } else if (cli_json(args)) {
        s_list_json(metadata);
    } else if (metadata->topic_count == 0) {
        puts("there are no topics; 'weft topic create NAME' makes one");
    } else {
        static const char *const columns[] = {"TOPIC", ">PARTITIONS", ">REPLICAS", ">LEADERLESS"};
        cli_table_t *table = cli_table_new(columns, 4);
        for (size_t i = 0; i < metadata->topic_count; i++) {
            const struct weft_topic_info *topic = &metadata->topics[i];
            size_t leaderless = 0;
            for (size_t p = 0; p < topic->partition_count; p++) leaderless += topic->partitions[p].leader < 0;
            cli_table_cell(table, "%s", topic->name);
            cli_table_cell(table, "%zu", topic->partition_count);
            cli_table_cell(table, "%zu", topic->partition_count ? topic->partitions[0].replica_count : 0);
            cli_table_cell(table, "%zu", leaderless);
        }
        cli_table_print(table, stdout);
        cli_table_destroy(&table);
    }
    weft_metadata_destroy(&metadata);
    weft_admin_destroy(&admin);
    return status;
}

static const struct cli_option s_plain_options[] = {TOPIC_TIMEOUT, {0}};

// ---- describe

// Offsets that the replica furthest behind lacks, of those that were heard; -1: nothing is known.
static int64_t s_lag(const struct weft_partition_marks *marks)
{
    int64_t lag = marks->replica_count ? 0 : -1;
    for (size_t i = 0; i < marks->replica_count; i++)
        if (marks->replicas[i].log_end >= 0 && marks->log_end - marks->replicas[i].log_end > lag)
            lag = marks->log_end - marks->replicas[i].log_end;
    return lag;
}

static void s_replicas_json(cli_json_t *json, const struct weft_partition_marks *marks)
{
    cli_json_open(json, "replica_status", '[');
    for (size_t i = 0; i < marks->replica_count; i++) {
        const struct weft_replica_marks *replica = &marks->replicas[i];
        cli_json_open(json, NULL, '{');
        cli_json_int(json, "broker", replica->broker);
        cli_json_bool(json, "in_sync", replica->in_sync);
        cli_json_int(json, "log_end", replica->log_end);
        cli_json_int(json, "synced_end", replica->synced_end);
        cli_json_int(json, "behind_ms", replica->behind_ms);
        cli_json_close(json, '}');
    }
    cli_json_close(json, ']');
}

static void s_describe_json(const struct weft_topic_info *topic, const weft_topic_config_t *config,
                            const struct weft_partition_marks *marks, const bool *known)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "topic", topic->name);
    cli_json_text(&json, "topic_id", cli_id_text(topic->id));
    cli_json_open(&json, "partitions", '[');
    for (size_t i = 0; i < topic->partition_count; i++) {
        const struct weft_partition_info *partition = &topic->partitions[i];
        cli_json_open(&json, NULL, '{');
        cli_json_int(&json, "partition", partition->partition);
        cli_json_int(&json, "leader", partition->leader);
        cli_json_int(&json, "epoch", partition->epoch);
        cli_json_ids(&json, "replicas", partition->replicas, partition->replica_count);
        cli_json_ids(&json, "isr", partition->isr, partition->isr_count);
        cli_json_ids(&json, "offline_replicas", partition->offline, partition->offline_count);
        if (known[i]) {
            cli_json_int(&json, "log_start", marks[i].log_start);
            cli_json_int(&json, "log_end", marks[i].log_end);
            cli_json_int(&json, "high_watermark", marks[i].high_watermark);
            cli_json_int(&json, "durable", marks[i].durable);
            cli_json_int(&json, "bytes", marks[i].bytes);
            cli_json_int(&json, "segments", marks[i].segments);
            if (s_lag(&marks[i]) >= 0) cli_json_int(&json, "lag", s_lag(&marks[i]));
            s_replicas_json(&json, &marks[i]);
        }
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    cli_json_open(&json, "config", '{');
    for (size_t i = 0; i < config->setting_count; i++)
        cli_json_text(&json, config->settings[i].key, config->settings[i].value);
    cli_json_close(&json, '}');
    cli_json_close(&json, '}');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

static void s_describe_table(const struct weft_topic_info *topic, const weft_topic_config_t *config,
                             const struct weft_partition_marks *marks, const bool *known)
{
    printf("topic %s, id %s, %zu partition%s, %u replica%s\n", topic->name, cli_id_text(topic->id),
           topic->partition_count, topic->partition_count == 1 ? "" : "s", config->replicas,
           config->replicas == 1 ? "" : "s");
    for (size_t i = 0; i < config->setting_count; i++)
        if (!config->settings[i].is_default) printf("  %s = %s\n", config->settings[i].key, config->settings[i].value);
    static const char *const columns[] = {">PARTITION", ">LEADER", ">EPOCH",   "REPLICAS", "IN SYNC",   "OFFLINE",
                                          ">START",     ">END",    ">DURABLE", ">SIZE",    ">SEGMENTS", ">LAG"};
    cli_table_t *table = cli_table_new(columns, 12);
    char text[128];
    for (size_t i = 0; i < topic->partition_count; i++) {
        const struct weft_partition_info *partition = &topic->partitions[i];
        cli_table_cell(table, "%d", partition->partition);
        cli_table_cell(table, partition->leader < 0 ? "none" : "%d", partition->leader);
        cli_table_cell(table, "%d", partition->epoch);
        cli_table_cell(table, "%s", cli_ids_text(partition->replicas, partition->replica_count, text, sizeof text));
        cli_table_cell(table, "%s", cli_ids_text(partition->isr, partition->isr_count, text, sizeof text));
        cli_table_cell(table, "%s", cli_ids_text(partition->offline, partition->offline_count, text, sizeof text));
        cli_table_cell(table, known[i] ? "%" PRId64 : "-", marks[i].log_start);
        cli_table_cell(table, known[i] ? "%" PRId64 : "-", marks[i].high_watermark);
        cli_table_cell(table, known[i] ? "%" PRId64 : "-", marks[i].durable);
        cli_table_cell(table, "%s", known[i] ? cli_bytes_text((double) marks[i].bytes) : "-");
        cli_table_cell(table, known[i] ? "%u" : "-", marks[i].segments);
        cli_table_cell(table, known[i] && s_lag(&marks[i]) >= 0 ? "%" PRId64 : "-", s_lag(&marks[i]));
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
}

// A leader that does not answer is not waited for a second time.
static void s_ask_leaders(weft_admin_t *admin, const struct weft_topic_info *topic, struct weft_partition_marks *marks,
                          bool *known)
{
    int32_t mute[64];
    size_t mute_count = 0;
    for (size_t i = 0; i < topic->partition_count; i++) {
        int32_t leader = topic->partitions[i].leader;
        bool skip = leader < 0;
        for (size_t k = 0; k < mute_count; k++) skip |= mute[k] == leader;
        if (skip) continue;
        weft_err_t err = weft_admin_partition_status(admin, topic->name, topic->partitions[i].partition, &marks[i]);
        known[i] = err == WEFT_OK;
        if (err < 0 && mute_count < 64) mute[mute_count++] = leader;
    }
}

static int s_describe_found(const struct cli_args *args, weft_admin_t *admin, const struct weft_topic_info *topic)
{
    weft_topic_config_t *config = NULL;
    weft_err_t err = weft_admin_describe_topic(admin, topic->name, &config);
    if (err != WEFT_OK) return cli_admin_fail(args, admin, err);
    struct weft_partition_marks *marks = weft_calloc(topic->partition_count + 1, sizeof *marks);
    bool *known = weft_calloc(topic->partition_count + 1, sizeof *known);
    weft_admin_t *quick = cli_admin_quick(args);
    if (quick) s_ask_leaders(quick, topic, marks, known);
    weft_admin_destroy(&quick);
    if (cli_json(args))
        s_describe_json(topic, config, marks, known);
    else
        s_describe_table(topic, config, marks, known);
    free(marks);
    free(known);
    weft_topic_config_destroy(&config);
    return CLI_DONE;
}

static bool s_is_found(const weft_metadata_t *metadata)
{
    return metadata->topic_count == 1 && metadata->topics[0].error == WEFT_OK;
}

static int s_describe(const struct cli_args *args)
{
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    weft_metadata_t *metadata = NULL;
    int status;
    weft_err_t err = weft_admin_metadata(admin, args->arguments, 1, true, &metadata);
    if (err != WEFT_OK) {
        status = cli_admin_fail(args, admin, err);
    } else if (!s_is_found(metadata)) {
        weft_topic_config_t *config = NULL; // asked for its sentence, which knows the nearest name
        err = weft_admin_describe_topic(admin, args->arguments[0], &config);
        weft_topic_config_destroy(&config);
        status = err != WEFT_OK
                     ? cli_admin_fail(args, admin, err)
                     : cli_fail(args, "topic '%s' is not known to every node yet; try again", args->arguments[0]);
    } else {
        status = s_describe_found(args, admin, &metadata->topics[0]);
    }
    weft_metadata_destroy(&metadata);
    weft_admin_destroy(&admin);
    return status;
}

// ---- alter, add partitions, delete

static const struct cli_option s_alter_options[] = {
    TOPIC_SET, {"--unset", "KEY", NULL, true, "Back to the default."}, TOPIC_TIMEOUT, {0}};

static int s_finish(const struct cli_args *args, weft_admin_t **admin, weft_err_t err,
                    const struct weft_topic_change *change, const char *what)
{
    int status = CLI_DONE;
    char sentence[400];
    snprintf(sentence, sizeof sentence, "%s topic '%s'", what, args->arguments[0]);
    if (err != WEFT_OK)
        status = cli_admin_fail(args, *admin, err);
    else
        s_print_change(args, args->arguments[0], change, sentence);
    weft_admin_destroy(admin);
    return status;
}

static int s_alter(const struct cli_args *args)
{
    struct weft_setting settings[64];
    int count = s_settings(args, settings, 64);
    if (count < 0) return CLI_USAGE;
    const char *unset[64];
    size_t unset_count = 0;
    for (const char *key; unset_count < 64 && (key = cli_get_nth(args, "--unset", (int) unset_count)); unset_count++)
        unset[unset_count] = key;
    if (count == 0 && unset_count == 0) return cli_usage(args, "nothing to alter: give --set KEY=VALUE or --unset KEY");
    weft_admin_t *admin = cli_admin_new(args);
    struct weft_topic_change change = {0};
    int status = CLI_FAILED;
    if (admin) {
        weft_err_t err =
            weft_admin_alter_topic(admin, args->arguments[0], settings, (size_t) count, unset, unset_count, &change);
        status = s_finish(args, &admin, err, &change, "altered");
    }
    s_settings_free(settings, count);
    return status;
}

static const struct cli_option s_add_options[] = {
    {"--to", "P", NULL, false, "Number of partitions afterwards."}, TOPIC_TIMEOUT, {0}};

static int s_add_partitions(const struct cli_args *args)
{
    int64_t to = 0;
    if (!cli_get(args, "--to")) return cli_usage(args, "--to P is missing: the number of partitions afterwards");
    if (!cli_number(args, "--to", 1, 100000, &to)) return CLI_USAGE;
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    struct weft_topic_change change = {0};
    weft_err_t err = weft_admin_add_partitions(admin, args->arguments[0], (uint32_t) to, &change);
    if (err == WEFT_OK) err = weft_admin_wait_topic(admin, args->arguments[0], TOPIC_WAIT_MS);
    return s_finish(args, &admin, err, &change, "grew");
}

static int s_delete(const struct cli_args *args)
{
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    struct weft_topic_change change = {0};
    weft_err_t err = weft_admin_delete_topic(admin, args->arguments[0], &change);
    return s_finish(args, &admin, err, &change, "deleted");
}

static const struct cli_option s_delete_records_options[] = {
    {"--partition", "N", NULL, false, "The partition."},
    {"--before", "OFFSET", NULL, false, "First offset to keep; -1: delete all that is committed."},
    TOPIC_TIMEOUT,
    {0}};

static int s_delete_records(const struct cli_args *args)
{
    int64_t partition = 0, before = 0;
    if (!cli_get(args, "--partition") || !cli_get(args, "--before"))
        return cli_usage(args, "--partition N and --before OFFSET are needed");
    if (!cli_number(args, "--partition", 0, 1000000, &partition) ||
        !cli_number(args, "--before", -1, INT64_MAX, &before))
        return CLI_USAGE;
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    int64_t start = 0;
    weft_err_t err = weft_admin_delete_records(admin, args->arguments[0], (int32_t) partition, before, &start);
    int status = CLI_DONE;
    if (err != WEFT_OK)
        status = cli_admin_fail(args, admin, err);
    else if (cli_json(args))
        printf("{\"topic\": \"%s\", \"partition\": %" PRId64 ", \"log_start\": %" PRId64 "}\n", args->arguments[0],
               partition, start);
    else
        printf("%s/%" PRId64 " begins at offset %" PRId64 " now\n", args->arguments[0], partition, start);
    weft_admin_destroy(&admin);
    return status;
}

const struct cli_verb cli_verb_topic_create = {
    "topic create",
    "NAME",
    1,
    1,
    "Create a topic.",
    "A name is 1 to 249 of letters, digits, dot, underscore and hyphen. Returns once every partition has a leader.",
    "  weft topic create orders --partitions 6\n  weft topic create events --partitions 12 --set retention.ms=1d --set "
    "segment.bytes=64MiB",
    s_create_options,
    true,
    true,
    s_create};
const struct cli_verb cli_verb_topic_list = {"topic list",   "",   0,    0,     "List the topics.", NULL, NULL,
                                             s_list_options, true, true, s_list};
const struct cli_verb cli_verb_topic_describe = {
    "topic describe",
    "NAME",
    1,
    1,
    "Show partitions, leaders, replicas, offsets, sizes and settings of a topic.",
    "START is the first offset kept, END the high watermark, DURABLE the end of what is synced on every in-sync "
    "replica, LAG how many offsets the replica furthest behind lacks.",
    NULL,
    s_plain_options,
    true,
    true,
    s_describe};
const struct cli_verb cli_verb_topic_alter = {
    "topic alter",
    "NAME",
    1,
    1,
    "Change settings of a topic.",
    NULL,
    "  weft topic alter events --set retention.bytes=10GiB --unset retention.ms",
    s_alter_options,
    true,
    true,
    s_alter};
const struct cli_verb cli_verb_topic_add_partitions = {
    "topic add-partitions",
    "NAME",
    1,
    1,
    "Grow a topic.",
    "Existing records stay where they are; keys may map to other partitions from now on.",
    "  weft topic add-partitions orders --to 12",
    s_add_options,
    true,
    true,
    s_add_partitions};
const struct cli_verb cli_verb_topic_delete = {
    "topic delete", "NAME", 1, 1, "Delete a topic and its records.", NULL, NULL, s_plain_options, true, true, s_delete};
const struct cli_verb cli_verb_topic_delete_records = {
    "topic delete-records",
    "NAME",
    1,
    1,
    "Delete the records below an offset.",
    NULL,
    "  weft topic delete-records events --partition 0 --before 100000",
    s_delete_records_options,
    true,
    true,
    s_delete_records};
