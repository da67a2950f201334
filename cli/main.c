// SPDX-License-Identifier: MPL-2.0
// The weft command: finds the verb, runs it, returns its status.
#include "cli.h"

#include "../lib/nodes.h"

#include <malloc.h>
#include <signal.h>
#include <string.h>

#define TYPES_MAX 32

static const struct cli_verb *const s_verbs[] = {
    &cli_verb_up, // and behind it a verb for every type of node
    &cli_verb_topology_check,
    &cli_verb_topology_draw,
    &cli_verb_topic_create,
    &cli_verb_topic_list,
    &cli_verb_topic_describe,
    &cli_verb_topic_alter,
    &cli_verb_topic_add_partitions,
    &cli_verb_topic_delete,
    &cli_verb_topic_delete_records,
    &cli_verb_produce,
    &cli_verb_consume,
    &cli_verb_group_list,
    &cli_verb_group_describe,
    &cli_verb_group_reset,
    &cli_verb_group_delete,
    &cli_verb_cluster_status,
    &cli_verb_cluster_brokers,
    &cli_verb_cluster_drain,
    &cli_verb_cluster_remove,
    &cli_verb_cluster_reassign,
    &cli_verb_cluster_balance,
    &cli_verb_cluster_elect,
    &cli_verb_cluster_alter,
    &cli_verb_cluster_voters,
    &cli_verb_node_list,
    &cli_verb_node_describe,
    &cli_verb_node_run,
    &cli_verb_node_status,
    &cli_verb_bridge_status,
    &cli_verb_bridge_offset,
    &cli_verb_bridge_groups,
    &cli_verb_log_dump,
    &cli_verb_log_verify,
    &cli_verb_bench_limit,
    &cli_verb_bench_produce,
    &cli_verb_bench_consume,
    &cli_verb_bench_latency,
    &cli_verb_bench_commit,
    &cli_verb_help,
    &cli_verb_manual,
    &cli_verb_completion,
    &cli_verb_version,
    NULL,
};

static const struct cli_verb *s_all[sizeof s_verbs / sizeof *s_verbs + TYPES_MAX];
const struct cli_verb *const *cli_verbs = s_all;

static void s_collect_verbs(void)
{
    size_t count = 0;
    s_all[count++] = s_verbs[0];
    for (size_t i = 0; weft_node_types[i] && i < TYPES_MAX; i++) s_all[count++] = cli_verb_of_type(weft_node_types[i]);
    for (size_t i = 1; s_verbs[i]; i++) s_all[count++] = s_verbs[i];
}

static const struct cli_option s_none[] = {{0}};

// The arguments of `weft help topic create` as one string of words.
static void s_join(const struct cli_args *args, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < args->argument_count && used + 1 < size; i++)
        used += (size_t) snprintf(out + used, size - used, "%s%s", i ? " " : "", args->arguments[i]);
}

static int s_help(const struct cli_args *args)
{
    char words[128];
    s_join(args, words, sizeof words);
    if (!*words) {
        cli_help_all(stdout);
        return CLI_DONE;
    }
    bool any = false;
    for (size_t i = 0; cli_verbs[i]; i++) {
        size_t size = strlen(words);
        if (strncmp(cli_verbs[i]->words, words, size) != 0 ||
            (cli_verbs[i]->words[size] && cli_verbs[i]->words[size] != ' '))
            continue;
        if (any) fputs("\n----\n\n", stdout);
        cli_help(cli_verbs[i], stdout);
        any = true;
    }
    return any ? CLI_DONE : cli_usage(args, "there is no verb '%s'; 'weft help' lists them", words);
}

// One page: of the verb, or with NULL of the command itself, into DIR/weft-topic-create.1.
static bool s_write_page(const char *directory, const char *words)
{
    char path[4096];
    int size = snprintf(path, sizeof path, "%s/weft%s%s.1", directory, words ? "-" : "", words ? words : "");
    if (size >= (int) sizeof path) return false;
    for (char *at = path + strlen(directory); *at; at++)
        if (*at == ' ') *at = '-';
    FILE *file = fopen(path, "w");
    if (!file) return false;
    bool written = cli_manual(words, file) == CLI_DONE && !ferror(file);
    return fclose(file) == 0 && written;
}

static int s_manual(const struct cli_args *args)
{
    char words[128];
    s_join(args, words, sizeof words);
    const char *directory = cli_get(args, "--write");
    if (!directory) return cli_manual(*words ? words : NULL, stdout);
    bool written = s_write_page(directory, NULL);
    for (size_t i = 0; written && cli_verbs[i]; i++) written = s_write_page(directory, cli_verbs[i]->words);
    return written ? CLI_DONE : cli_fail(args, "can't write the pages into '%s'", directory);
}

static int s_completion(const struct cli_args *args)
{
    if (args->argument_count == 1 && strcmp(args->arguments[0], "bash") != 0)
        return cli_usage(args, "'%s' is no shell it knows; there is bash", args->arguments[0]);
    return cli_completion(stdout);
}

static int s_version(const struct cli_args *args)
{
    if (cli_json(args))
        printf("{\"version\": \"%s\"}\n", WEFT_VERSION);
    else
        printf("weft %s\n", WEFT_VERSION);
    return CLI_DONE;
}

const struct cli_verb cli_verb_help = {
    "help", "[VERB]", 0,     2,     "Tell what there is, or all of one verb.", NULL, "  weft help topic create",
    s_none, false,    false, s_help};
static const struct cli_option s_manual_options[] = {
    {"--write", "DIR", NULL, false, "Write the pages of all verbs into this directory instead."}, {0}};
const struct cli_verb cli_verb_manual = {
    "manual",
    "[VERB]",
    0,
    2,
    "Print a manual page in roff.",
    "Without VERB the page of the command itself. The installed pages are made by this.",
    "  weft manual topic create | man -l -",
    s_manual_options,
    false,
    false,
    s_manual};
const struct cli_verb cli_verb_completion = {
    "completion", "[bash]", 0,     1,           "Print the bash completion.", NULL, "  source <(weft completion)",
    s_none,       false,    false, s_completion};
const struct cli_verb cli_verb_version = {"version", "",    0,    0,        "Print the version.", NULL, NULL,
                                          s_none,    false, true, s_version};

static int s_main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        cli_help_all(argc < 2 ? stderr : stdout);
        return argc < 2 ? CLI_USAGE : CLI_DONE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0) {
        printf("weft %s\n", WEFT_VERSION);
        return CLI_DONE;
    }
    struct cli_args args;
    int status = cli_parse(argc - 1, argv + 1, &args);
    if (status != CLI_DONE || !args.verb) return status;
    return args.verb->run(&args);
}

// Batches and frames of 64 KiB to a few MiB come and go all the time. By default glibc gives such memory back to the
// kernel and faults it in again, page by page: measured, a quarter of the produce rate. Kept are at most 64 MiB an
// arena.
static void s_keep_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    mallopt(M_TOP_PAD, 1 << 20);
}

int main(int argc, char **argv)
{
    s_keep_memory();
    s_collect_verbs();
    signal(SIGPIPE, SIG_IGN); // a reader that goes away is seen by the failed write
    return cli_end(s_main(argc, argv));
}
