// SPDX-License-Identifier: MPL-2.0
// weft cluster status | brokers, weft node status: what is healthy, what is not, and what to do.
#include "connect.h"

#include <inttypes.h>

static const struct cli_option s_options[] = {{"--timeout", "DURATION", "10s", false, "How long to try."}, {0}};
static const struct cli_option s_node_options[] = {
    {"--endpoint", "ENDPOINT", NULL, false, "The node to ask; else any of --bootstrap."},
    {"--timeout", "DURATION", "10s", false, "How long to try."},
    {0}};

static void s_broker_json(cli_json_t *json, const struct weft_broker_health *broker)
{
    cli_json_open(json, NULL, '{');
    cli_json_int(json, "id", broker->id);
    cli_json_bool(json, "alive", broker->alive);
    cli_json_text(json, "endpoint", broker->endpoint);
    cli_json_text(json, "rack", broker->rack);
    cli_json_int(json, "shards", broker->shards);
    cli_json_int(json, "leads", broker->leads);
    cli_json_int(json, "replicas", broker->replicas);
    cli_json_int(json, "heartbeat_age_ms", broker->heartbeat_age_ms);
    cli_json_text(json, "version", broker->version);
    cli_json_close(json, '}');
}

static void s_brokers_json(cli_json_t *json, const char *key, const weft_cluster_health_t *health)
{
    cli_json_open(json, key, '[');
    for (size_t i = 0; i < health->broker_count; i++) s_broker_json(json, &health->brokers[i]);
    cli_json_close(json, ']');
}

static void s_status_json(const weft_cluster_health_t *health)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "cluster_id", cli_id_text(health->cluster_id));
    cli_json_bool(&json, "healthy", health->problem_count == 0);
    cli_json_text(&json, "coordinator", health->coordinator);
    cli_json_int(&json, "epoch", (int64_t) health->epoch);
    cli_json_int(&json, "version", (int64_t) health->version);
    cli_json_int(&json, "topics", health->topics);
    cli_json_int(&json, "partitions", health->partitions);
    cli_json_int(&json, "leaderless", health->leaderless);
    s_brokers_json(&json, "brokers", health);
    cli_json_open(&json, "problems", '[');
    for (size_t i = 0; i < health->problem_count; i++) cli_json_text(&json, NULL, health->problems[i]);
    cli_json_close(&json, ']');
    cli_json_close(&json, '}');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

static void s_brokers_table(const weft_cluster_health_t *health)
{
    static const char *const columns[] = {">BROKER", "STATE",     "ENDPOINT",    "RACK",   ">SHARDS",
                                          ">LEADS",  ">REPLICAS", ">LAST HEARD", "VERSION"};
    cli_table_t *table = cli_table_new(columns, 9);
    for (size_t i = 0; i < health->broker_count; i++) {
        const struct weft_broker_health *broker = &health->brokers[i];
        cli_table_cell(table, "%d", broker->id);
        cli_table_cell(table, "%s", broker->alive ? "alive" : "gone");
        cli_table_cell(table, "%s", broker->endpoint);
        cli_table_cell(table, "%s", *broker->rack ? broker->rack : "-");
        cli_table_cell(table, "%u", broker->shards);
        cli_table_cell(table, "%u", broker->leads);
        cli_table_cell(table, "%u", broker->replicas);
        cli_table_cell(table, broker->alive ? "%u ms ago" : "-", broker->heartbeat_age_ms);
        cli_table_cell(table, "%s", broker->version);
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
}

static void s_status_text(const weft_cluster_health_t *health)
{
    bool colour = cli_colour(stdout), good = health->problem_count == 0;
    printf("cluster %s is %s%s%s\n", cli_id_text(health->cluster_id),
           !colour ? ""
           : good  ? "\033[32m"
                   : "\033[31m",
           good ? "healthy" : "not healthy", colour ? "\033[0m" : "");
    printf("  coordinator %s, epoch %" PRIu64 ", state %" PRIu64 "\n", health->coordinator, health->epoch,
           health->version);
    printf("  %u topic%s, %u partition%s, %u without a leader\n\n", health->topics, health->topics == 1 ? "" : "s",
           health->partitions, health->partitions == 1 ? "" : "s", health->leaderless);
    if (health->broker_count) s_brokers_table(health);
    for (size_t i = 0; i < health->problem_count; i++)
        printf("%s%s%s\n", i == 0 ? "\nwhat is wrong:\n" : "", "  - ", health->problems[i]);
}

static int s_health(const struct cli_args *args, bool whole)
{
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    weft_cluster_health_t *health = NULL;
    weft_err_t err = weft_admin_cluster_status(admin, &health);
    int status = CLI_DONE;
    if (err != WEFT_OK) {
        status = cli_admin_fail(args, admin, err);
    } else if (cli_json(args) && whole) {
        s_status_json(health);
    } else if (cli_json(args)) {
        cli_json_t json;
        cli_json_init(&json);
        s_brokers_json(&json, NULL, health);
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
    } else if (whole) {
        s_status_text(health);
    } else {
        s_brokers_table(health);
    }
    weft_cluster_health_destroy(&health);
    weft_admin_destroy(&admin);
    return status;
}

static int s_status(const struct cli_args *args)
{
    return s_health(args, true);
}
static int s_brokers(const struct cli_args *args)
{
    return s_health(args, false);
}

static void s_node_json(const weft_node_report_t *report)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "node", report->node);
    cli_json_text(&json, "health", report->health);
    cli_json_text(&json, "message", report->message);
    cli_json_text(&json, "version", report->version);
    cli_json_int(&json, "uptime_ms", (int64_t) report->uptime_ms);
    cli_json_open(&json, "counters", '{');
    for (size_t i = 0; i < report->counter_count; i++)
        cli_json_int(&json, report->counters[i].name, (int64_t) report->counters[i].value);
    cli_json_close(&json, '}');
    cli_json_close(&json, '}');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

static int s_node_status(const struct cli_args *args)
{
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    weft_node_report_t *report = NULL;
    weft_err_t err = weft_admin_node_status(admin, cli_get(args, "--endpoint"), &report);
    int status = CLI_DONE;
    if (err != WEFT_OK) {
        status = cli_admin_fail(args, admin, err);
    } else if (cli_json(args)) {
        s_node_json(report);
    } else {
        printf("%s is %s%s%s, up %.1f s, Weft %s\n\n", report->node, report->health, *report->message ? ": " : "",
               report->message, (double) report->uptime_ms / 1e3, report->version);
        static const char *const columns[] = {"COUNTER", ">VALUE"};
        cli_table_t *table = cli_table_new(columns, 2);
        for (size_t i = 0; i < report->counter_count; i++) {
            cli_table_cell(table, "%s", report->counters[i].name);
            cli_table_cell(table, "%s", cli_count_text((int64_t) report->counters[i].value));
        }
        cli_table_print(table, stdout);
        cli_table_destroy(&table);
    }
    weft_node_report_destroy(&report);
    weft_admin_destroy(&admin);
    return status;
}

const struct cli_verb cli_verb_cluster_status = {
    "cluster status", "",   0,    0,       "Tell at a glance what is healthy, what is not, and what to do.", NULL, NULL,
    s_options,        true, true, s_status};
const struct cli_verb cli_verb_cluster_brokers = {
    "cluster brokers", "", 0, 0, "List the brokers.", NULL, NULL, s_options, true, true, s_brokers};
const struct cli_verb cli_verb_node_status = {"node status",
                                              "",
                                              0,
                                              0,
                                              "Show health and counters of one node.",
                                              "Counters tell of everything that was refused, dropped or is waiting.",
                                              "  weft node status --endpoint tcp://127.0.0.1:9650",
                                              s_node_options,
                                              true,
                                              true,
                                              s_node_status};
