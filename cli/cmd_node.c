// SPDX-License-Identifier: MPL-2.0
// weft coordinator | broker: a node as a process.
#include "cli.h"

#include "../lib/base/options.h"
#include "../lib/net/process.h"
#include "../lib/wire/node.h"

static const struct cli_option s_node_options[] = {
    {"--config", "FILE", NULL, false, "Settings, 'key = value' lines (ZPL)."},
    {"--set", "KEY=VALUE", NULL, true, "A setting; wins over the file."},
    {"--show", NULL, NULL, false, "Print all settings with their values and meaning, and end."},
    CLI_OPTION_TRACE,
    {0}};

static void s_show(const struct weft_parts_type *type, const weft_options_t *options)
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
}

static int s_run_node(const struct cli_args *args, const struct weft_parts_type *type)
{
    if (!cli_trace_level(args)) return CLI_USAGE;
    weft_options_t *options = weft_options_new(type->options, type->option_count, type->name);
    struct weft_error error = {0};
    weft_err_t err = WEFT_OK;
    if (cli_get(args, "--config")) err = weft_options_load(options, cli_get(args, "--config"), &error);
    const char *pair;
    for (int i = 0; err == WEFT_OK && (pair = cli_get_nth(args, "--set", i)); i++)
        err = weft_options_set_pair(options, pair, &error);
    int status = CLI_DONE;
    if (err != WEFT_OK)
        status = cli_usage(args, "%s", error.text);
    else if (cli_has(args, "--show"))
        s_show(type, options);
    else
        status = weft_process_run(type, options);
    weft_options_destroy(&options);
    return status;
}

static int s_coordinator(const struct cli_args *args)
{
    return s_run_node(args, &weft_node_coordinator);
}
static int s_broker(const struct cli_args *args)
{
    return s_run_node(args, &weft_node_broker);
}

const struct cli_verb cli_verb_coordinator = {
    "coordinator",
    "",
    0,
    0,
    "Run a coordinator as a process.",
    "Prints one line when it serves. 'weft coordinator --show' lists the settings.",
    "  weft coordinator --set listen=tcp://10.0.0.1:9651 --set data=/srv/weft/coordinator",
    s_node_options,
    false,
    false,
    s_coordinator};
const struct cli_verb cli_verb_broker = {"broker",
                                         "",
                                         0,
                                         0,
                                         "Run a broker as a process.",
                                         "Prints one line when it serves. 'weft broker --show' lists the settings.",
                                         "  weft broker --set id=2 --set listen=tcp://10.0.0.2:9650 --set "
                                         "coordinators=tcp://10.0.0.1:9651 --set data=/srv/weft/broker",
                                         s_node_options,
                                         false,
                                         false,
                                         s_broker};
