// SPDX-License-Identifier: MPL-2.0
// weft node list | describe | run, and weft TYPE for every type of node that the library knows: a node as a process.
#include "cli.h"

#include "../lib/base/options.h"
#include "../lib/hosted_node.h"
#include "../lib/node_process.h"

#include <string.h>

static const struct cli_option s_run_options[] = {
    {"--config", "FILE", NULL, false, "Settings, 'key = value' lines (ZPL)."},
    {"--set", "KEY=VALUE", NULL, true, "A setting; wins over the file."},
    {"--show", NULL, NULL, false, "Print all settings with their values and meaning, and end."},
    {"--ready-file", "FILE", NULL, false, "Written once it serves: its endpoint, for scripts."},
    {"--report-fd", "FD", NULL, false, "Descriptor on which a parent ('weft up FILE') is told health and counters."},
    CLI_OPTION_TRACE,
    {0}};
static const struct cli_option s_none[] = {{0}};

// ---- run

static void s_show(const struct weft_node_type *type, const weft_options_t *options)
{
    static const char *const columns[] = {"SETTING", "VALUE", "MEANING"};
    cli_table_t *table = cli_table_new(columns, 3);
    for (size_t i = 0; i < type->option_count; i++) {
        const char *value = weft_options_text(options, type->options[i].name);
        cli_table_cell(table, "%s", type->options[i].name);
        cli_table_cell(table, "%s", *value ? value : "-");
        cli_table_cell(table, "%s", type->options[i].doc);
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
    struct weft_error error = {0};
    if (weft_hosted_node_check(type, options, &error) != WEFT_OK)
        fprintf(stderr, "weft %s: it can't start with these: %s\n", type->name, error.text);
}

static weft_err_t s_read_options(const struct cli_args *args, weft_options_t *options, struct weft_error *error)
{
    weft_err_t err = WEFT_OK;
    if (cli_get(args, "--config")) err = weft_options_load(options, cli_get(args, "--config"), error);
    const char *pair;
    for (int i = 0; err == WEFT_OK && (pair = cli_get_nth(args, "--set", i)); i++)
        err = weft_options_set_pair(options, pair, error);
    return err;
}

// Of a type by its name or its file.
static int s_run_type(const struct cli_args *args, const char *name)
{
    if (!cli_trace_level(args)) return CLI_USAGE;
    struct weft_error error = {0};
    const struct weft_node_type *type = NULL;
    void *library = NULL;
    if (weft_node_type_open(name, &type, &library, &error) != WEFT_OK) return cli_fail(args, "%s", error.text);
    weft_options_t *options = weft_options_new(type->options, type->option_count, type->name);
    int64_t report_fd = -1;
    int status = CLI_DONE;
    if (!cli_number(args, "--report-fd", 3, 1023, &report_fd))
        status = CLI_USAGE;
    else if (s_read_options(args, options, &error) != WEFT_OK)
        status = cli_usage(args, "%s", error.text);
    else if (cli_has(args, "--show"))
        s_show(type, options);
    else
        status = weft_node_process_run(type, &options, &library, cli_get(args, "--ready-file"), (int) report_fd);
    weft_options_destroy(&options);
    weft_node_library_close(&library);
    return status;
}

static int s_run(const struct cli_args *args)
{
    return s_run_type(args, args->arguments[0]);
}

static int s_type(const struct cli_args *args)
{
    return s_run_type(args, args->verb->words);
}

// ---- list

static int s_list(const struct cli_args *args)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '[');
    static const char *const columns[] = {"TYPE", "MEANING"};
    cli_table_t *table = cli_table_new(columns, 2);
    for (size_t i = 0; weft_node_types[i] != NULL; i++) {
        const struct weft_node_type *type = weft_node_types[i];
        cli_table_cell(table, "%s", type->name);
        cli_table_cell(table, "%s", type->doc);
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "type", type->name);
        cli_json_text(&json, "doc", type->doc);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    if (cli_json(args))
        cli_json_print(&json, stdout);
    else
        cli_table_print(table, stdout);
    cli_table_destroy(&table);
    cli_json_fini(&json);
    return CLI_DONE;
}

// ---- describe

static void s_describe_options(const struct weft_node_type *type)
{
    static const char *const columns[] = {"OPTION", "TYPE", "DEFAULT", "ALLOWED", "ROLE", "MEANING"};
    cli_table_t *table = cli_table_new(columns, 6);
    for (size_t i = 0; i < type->option_count; i++) {
        const struct weft_option *option = &type->options[i];
        char allowed[256];
        weft_option_allowed(option, allowed, sizeof allowed);
        const char *role = weft_option_role_name(option->role);
        const char *bounds = strstr(allowed, "from "); // its type says the rest
        cli_table_cell(table, "%s", option->name);
        cli_table_cell(table, "%s", weft_option_type_name(option->type));
        cli_table_cell(table, "%s", *option->initial ? option->initial : "-");
        cli_table_cell(table, "%s", bounds && option->type != WEFT_OPTION_CHOICE ? bounds : allowed);
        cli_table_cell(table, "%s", *role ? role : "-");
        cli_table_cell(table, "%s%s", option->doc, option->live ? " May change while it runs." : "");
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
}

static void s_describe_counters(const struct weft_node_type *type)
{
    static const char *const columns[] = {"COUNTER", "MEANING"};
    cli_table_t *table = cli_table_new(columns, 2);
    for (size_t i = 0; i < type->counter_count; i++) {
        cli_table_cell(table, "%s", type->counters[i].name);
        cli_table_cell(table, "%s", type->counters[i].doc);
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
}

static void s_describe(const struct weft_node_type *type)
{
    printf("%s: %s\n", type->name, type->doc);
    if ((type->traits & WEFT_NODE_OWN_PROCESS) != 0) puts("A topology gives it a process of its own.");
    if (type->option_count > 0) {
        putchar('\n');
        s_describe_options(type);
    }
    if (type->counter_count > 0) {
        putchar('\n');
        s_describe_counters(type);
    } else if (type->each_counter != NULL) {
        puts("\nIts counters are those of its parts, as it runs.");
    }
}

static void s_json_option(cli_json_t *json, const struct weft_option *option)
{
    const char *role = weft_option_role_name(option->role);
    cli_json_open(json, NULL, '{');
    cli_json_text(json, "name", option->name);
    cli_json_text(json, "type", weft_option_type_name(option->type));
    cli_json_text(json, "default", option->initial);
    if (option->type == WEFT_OPTION_CHOICE) {
        cli_json_text(json, "choices", option->choices);
    } else if (option->type != WEFT_OPTION_BOOL) {
        cli_json_int(json, "min", option->min);
        cli_json_int(json, "max", option->max);
    }
    cli_json_text(json, "role", *role ? role : NULL);
    cli_json_bool(json, "live", option->live);
    cli_json_text(json, "doc", option->doc);
    cli_json_close(json, '}');
}

static void s_describe_json(const struct weft_node_type *type)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "type", type->name);
    cli_json_text(&json, "doc", type->doc);
    cli_json_bool(&json, "own_process", (type->traits & WEFT_NODE_OWN_PROCESS) != 0);
    cli_json_open(&json, "options", '[');
    for (size_t i = 0; i < type->option_count; i++) s_json_option(&json, &type->options[i]);
    cli_json_close(&json, ']');
    cli_json_open(&json, "counters", '[');
    for (size_t i = 0; i < type->counter_count; i++) {
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "name", type->counters[i].name);
        cli_json_text(&json, "doc", type->counters[i].doc);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    cli_json_close(&json, '}');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

static int s_describe_verb(const struct cli_args *args)
{
    struct weft_error error = {0};
    const struct weft_node_type *type = NULL;
    void *library = NULL;
    if (weft_node_type_open(args->arguments[0], &type, &library, &error) != WEFT_OK)
        return cli_fail(args, "%s", error.text);
    if (cli_json(args))
        s_describe_json(type);
    else
        s_describe(type);
    weft_node_library_close(&library);
    return CLI_DONE;
}

// ---- verbs

const struct cli_verb cli_verb_node_list = {"node list",
                                            "",
                                            0,
                                            0,
                                            "List the types of nodes, one sentence each.",
                                            "Each runs as a process by 'weft TYPE'.",
                                            "  weft node list",
                                            s_none,
                                            false,
                                            true,
                                            s_list};
const struct cli_verb cli_verb_node_describe = {
    "node describe",
    "TYPE|FILE.so",
    1,
    1,
    "Tell all of a type of node: its options and counters.",
    "A shared object with a type of your own is given by its path; docs/NODES.md tells how to write one.",
    "  weft node describe broker\n  weft node describe ./libcounter.so --json",
    s_none,
    false,
    true,
    s_describe_verb};
const struct cli_verb cli_verb_node_run = {
    "node run",
    "FILE.so",
    1,
    1,
    "Run a node of a type of your own as a process.",
    "FILE.so is a shared object with the symbol weft_node_type_main (docs/NODES.md). Prints one line when it serves; "
    "SIGTERM or Ctrl-C stops it within its stop.ms.",
    "  weft node run ./libcounter.so --set topic=orders --set bootstrap=tcp://10.0.0.1:9650",
    s_run_options,
    false,
    false,
    s_run};

const struct cli_verb *cli_verb_of_type(const struct weft_node_type *type)
{
    struct cli_verb *verb = weft_calloc(1, sizeof *verb);
    weft_buf_t summary, doc;
    weft_buf_init(&summary);
    weft_buf_init(&doc);
    weft_buf_printf(&summary, "Run %s %s as a process.", strchr("aeiou", type->name[0]) ? "an" : "a", type->name);
    weft_buf_printf(&doc,
                    "%s Prints one line when it serves; SIGTERM or Ctrl-C stops it. 'weft node describe %s' lists the "
                    "settings, 'weft %s --show' with the values they have.",
                    type->doc, type->name, type->name);
    weft_buf_append(&summary, "", 1);
    weft_buf_append(&doc, "", 1);
    *verb = (struct cli_verb){.words = type->name,
                              .arguments = "",
                              .summary = (const char *) summary.data, // they live as long as the process
                              .doc = (const char *) doc.data,
                              .options = s_run_options,
                              .run = s_type};
    return verb;
}
