// SPDX-License-Identifier: MPL-2.0
// weft cluster status | brokers, weft node status: what is healthy, what is not, and what to do.
//
// When no coordinator is in office any node still tells what it knows: brokers serve on (I10), so that is worth seeing.
#include "connect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COORDINATOR_ANSWERS "400ms" // one that is up answers within
#define COORDINATORS_SHOWN 16

static const struct cli_option s_options[] = {{"--timeout", "DURATION", "10s", false, "How long to try."}, {0}};
static const struct cli_option s_node_options[] = {
    {"--endpoint", "ENDPOINT", NULL, false, "The node to ask; else any of --bootstrap."},
    {"--timeout", "DURATION", "10s", false, "How long to try."},
    {0}};

static const char *s_state(const struct weft_broker_health *broker)
{
    return !broker->alive     ? "gone"
           : broker->sick     ? "sick"
           : broker->leaving  ? "leaving"
           : broker->draining ? "draining"
                              : "alive";
}

// What a coordinator says of itself that takes no part though it runs: its disk is another, or an old copy. NULL: it is
// heard, or does not answer. To be freed.
static char *s_says(const struct cli_args *args, const struct weft_coordinator_health *voter)
{
    if (voter->active || voter->reachable) return NULL;
    weft_admin_t *admin = cli_admin_within(args, COORDINATOR_ANSWERS);
    weft_node_report_t *report = NULL;
    char *says = NULL;
    if (admin && weft_admin_node_status(admin, voter->endpoint, &report) == WEFT_OK)
        says = strdup(*report->message ? report->message : report->health);
    weft_node_report_destroy(&report);
    weft_admin_destroy(&admin);
    return says;
}

void cli_coordinators_json(const struct cli_args *args, cli_json_t *json, const char *key,
                           const weft_cluster_health_t *health)
{
    cli_json_open(json, key, '[');
    for (size_t i = 0; i < health->coordinator_count; i++) {
        const struct weft_coordinator_health *voter = &health->coordinators[i];
        char *says = s_says(args, voter);
        cli_json_open(json, NULL, '{');
        cli_json_int(json, "id", voter->id);
        cli_json_text(json, "endpoint", voter->endpoint);
        cli_json_bool(json, "active", voter->active);
        cli_json_bool(json, "reachable", voter->reachable || voter->active);
        cli_json_int(json, "behind", (int64_t) voter->behind);
        cli_json_text(json, "says", says ? says : "");
        cli_json_close(json, '}');
        free(says);
    }
    cli_json_close(json, ']');
}

void cli_coordinators_table(const struct cli_args *args, const weft_cluster_health_t *health)
{
    static const char *const columns[] = {">COORDINATOR", "STATE", "ENDPOINT", ">BEHIND"};
    cli_table_t *table = cli_table_new(columns, 4);
    char *says[COORDINATORS_SHOWN];
    size_t count = health->coordinator_count < COORDINATORS_SHOWN ? health->coordinator_count : COORDINATORS_SHOWN;
    for (size_t i = 0; i < count; i++) {
        const struct weft_coordinator_health *voter = &health->coordinators[i];
        cli_table_cell(table, "%d", voter->id);
        says[i] = s_says(args, voter);
        cli_table_cell(table, "%s",
                       voter->active      ? "active"
                       : voter->reachable ? "reachable"
                       : says[i]          ? "takes no part"
                                          : "unreachable");
        cli_table_cell(table, "%s", voter->endpoint);
        cli_table_cell(table, voter->active || !voter->reachable ? "-" : "%" PRIu64, voter->behind);
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
    for (size_t i = 0; i < count; i++) {
        if (says[i]) printf("coordinator %d takes no part: %s\n", health->coordinators[i].id, says[i]);
        free(says[i]);
    }
    if (*health->voter_change) printf("%s\n", health->voter_change);
}

static void s_broker_json(cli_json_t *json, const struct weft_broker_health *broker)
{
    cli_json_open(json, NULL, '{');
    cli_json_int(json, "id", broker->id);
    cli_json_bool(json, "alive", broker->alive);
    cli_json_text(json, "state", s_state(broker));
    cli_json_bool(json, "draining", broker->draining);
    cli_json_bool(json, "leaving", broker->leaving);
    cli_json_bool(json, "sick", broker->sick);
    cli_json_text(json, "endpoint", broker->endpoint);
    cli_json_text(json, "rack", broker->rack);
    cli_json_int(json, "shards", broker->shards);
    cli_json_int(json, "leads", broker->leads);
    cli_json_int(json, "replicas", broker->replicas);
    cli_json_int(json, "heartbeat_age_ms", broker->heartbeat_age_ms);
    cli_json_bool(json, "heard", broker->heard);
    cli_json_text(json, "version", broker->version);
    cli_json_close(json, '}');
}

static void s_brokers_json(cli_json_t *json, const char *key, const weft_cluster_health_t *health)
{
    cli_json_open(json, key, '[');
    for (size_t i = 0; i < health->broker_count; i++) s_broker_json(json, &health->brokers[i]);
    cli_json_close(json, ']');
}

static void s_status_json(const struct cli_args *args, const weft_cluster_health_t *health)
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
    cli_json_int(&json, "offline", health->offline);
    cli_json_int(&json, "under_replicated", health->under_replicated);
    cli_json_int(&json, "under_min_insync", health->under_min_insync);
    cli_json_int(&json, "moving", health->moving);
    cli_json_int(&json, "level", health->level);
    cli_coordinators_json(args, &json, "coordinators", health);
    cli_json_text(&json, "voter_change", health->voter_change);
    s_brokers_json(&json, "brokers", health);
    cli_json_open(&json, "problems", '[');
    for (size_t i = 0; i < health->problem_count; i++) cli_json_text(&json, NULL, health->problems[i]);
    cli_json_close(&json, ']');
    cli_json_close(&json, '}');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

// ">": not heard since the coordinator took office, so long ago.
static void s_heard_cell(cli_table_t *table, const struct weft_broker_health *broker)
{
    static const struct {
        uint32_t ms, below;
        const char *unit;
    } units[] = {{1, 10000, "ms"}, {1000, 120000, "s"}, {60000, 7200000, "min"}, {3600000, UINT32_MAX, "h"}};
    size_t i = 0;
    while (i < 3 && broker->heartbeat_age_ms >= units[i].below) i++;
    cli_table_cell(table, "%s%u %s ago", broker->heard ? "" : "> ", broker->heartbeat_age_ms / units[i].ms,
                   units[i].unit);
}

static void s_brokers_table(const weft_cluster_health_t *health)
{
    static const char *const columns[] = {">BROKER", "STATE",     "ENDPOINT",    "RACK",   ">SHARDS",
                                          ">LEADS",  ">REPLICAS", ">LAST HEARD", "VERSION"};
    cli_table_t *table = cli_table_new(columns, 9);
    for (size_t i = 0; i < health->broker_count; i++) {
        const struct weft_broker_health *broker = &health->brokers[i];
        cli_table_cell(table, "%d", broker->id);
        cli_table_cell(table, "%s", s_state(broker));
        cli_table_cell(table, "%s", broker->endpoint);
        cli_table_cell(table, "%s", *broker->rack ? broker->rack : "-");
        cli_table_cell(table, "%u", broker->shards);
        cli_table_cell(table, "%u", broker->leads);
        cli_table_cell(table, "%u", broker->replicas);
        s_heard_cell(table, broker);
        cli_table_cell(table, "%s", broker->version);
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
}

static void s_count(uint32_t count, const char *what)
{
    if (count) printf(", %u %s", count, what);
}

static void s_status_text(const struct cli_args *args, const weft_cluster_health_t *health)
{
    bool colour = cli_colour(stdout), good = health->problem_count == 0;
    size_t alive = 0, reachable = 0;
    for (size_t i = 0; i < health->broker_count; i++) alive += health->brokers[i].alive;
    for (size_t i = 0; i < health->coordinator_count; i++)
        reachable += health->coordinators[i].active || health->coordinators[i].reachable;
    printf("cluster %s is %s%s%s", cli_id_text(health->cluster_id),
           !colour ? ""
           : good  ? "\033[32m"
                   : "\033[31m",
           good ? "healthy" : "not healthy", colour ? "\033[0m" : "");
    printf(": %zu of %zu broker%s alive", alive, health->broker_count, health->broker_count == 1 ? "" : "s");
    if (health->coordinator_count > 1) printf(", %zu of %zu coordinators", reachable, health->coordinator_count);
    printf("\n  %u topic%s, %u partition%s, %u without a leader", health->topics, health->topics == 1 ? "" : "s",
           health->partitions, health->partitions == 1 ? "" : "s", health->leaderless);
    s_count(health->under_min_insync,
            health->under_min_insync == 1 ? "that takes no acks all" : "that take no acks all");
    s_count(health->offline, "with a replica gone");
    s_count(health->under_replicated, "not fully in sync");
    s_count(health->moving, "being moved");
    printf("\n  coordinator %s, epoch %" PRIu64 ", state %" PRIu64 "\n\n", health->coordinator, health->epoch,
           health->version);
    if (health->coordinator_count > 1) {
        cli_coordinators_table(args, health);
        putchar('\n');
    }
    if (health->broker_count) s_brokers_table(health);
    for (size_t i = 0; i < health->problem_count; i++)
        printf("%s%s%s\n", i == 0 ? "\nwhat is wrong, and what to do:\n" : "", "  - ", health->problems[i]);
}

// Each coordinator that some node knows of, and whether it answers.
static void s_ask_coordinators(const struct cli_args *args, const weft_metadata_t *metadata)
{
    weft_admin_t *admin = cli_admin_within(args, COORDINATOR_ANSWERS);
    for (size_t i = 0; admin && i < metadata->coordinator_count; i++) {
        weft_node_report_t *report = NULL;
        weft_err_t err = weft_admin_node_status(admin, metadata->coordinators[i], &report);
        printf("  coordinator at %s %s\n", metadata->coordinators[i], err ? "does not answer" : "answers");
        weft_node_report_destroy(&report);
    }
    weft_admin_destroy(&admin);
    puts("what to do:\n  - start the coordinators that are down, or see to their network; more than half of them must "
         "reach each other");
}

// No coordinator is in office: what some node knows. Says nothing if nobody answers at all.
static void s_without_coordinator(const struct cli_args *args)
{
    weft_metadata_t *metadata = NULL;
    weft_admin_t *admin = cli_admin_quick(args);
    weft_err_t err = admin ? weft_admin_metadata(admin, NULL, 0, true, &metadata) : WEFT_ERR_INTERNAL;
    weft_admin_destroy(&admin);
    if (err) return;
    size_t alive = 0, partitions = 0, leaderless = 0;
    for (size_t i = 0; i < metadata->broker_count; i++) alive += metadata->brokers[i].alive;
    for (size_t i = 0; i < metadata->topic_count; i++)
        for (size_t k = 0; k < metadata->topics[i].partition_count; k++, partitions++)
            leaderless += metadata->topics[i].partitions[k].leader < 0;
    printf("cluster %s has no active coordinator: nothing changes, what is led is served\n"
           "  as brokers knew it last: %zu of %zu broker%s alive, %zu topic%s, %zu partition%s, %zu without a leader\n",
           cli_id_text(metadata->cluster_id), alive, metadata->broker_count, metadata->broker_count == 1 ? "" : "s",
           metadata->topic_count, metadata->topic_count == 1 ? "" : "s", partitions, partitions == 1 ? "" : "s",
           leaderless);
    if (metadata->coordinator_count) s_ask_coordinators(args, metadata);
    fflush(stdout);
    weft_metadata_destroy(&metadata);
}

static int s_health(const struct cli_args *args, bool whole)
{
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    weft_cluster_health_t *health = NULL;
    weft_err_t err = weft_admin_cluster_status(admin, &health);
    int status = CLI_DONE;
    if (err != WEFT_OK) {
        char text[WEFT_ERROR_TEXT_BYTES_MAX];
        snprintf(text, sizeof text, "%s", weft_admin_error_text(admin));
        bool deaf = strstr(text, "no connection") == text; // then nobody would tell more
        if (whole && !cli_json(args) && !deaf) s_without_coordinator(args);
        status = cli_fail(args, "%s", text);
    } else if (cli_json(args) && whole) {
        s_status_json(args, health);
    } else if (cli_json(args)) {
        cli_json_t json;
        cli_json_init(&json);
        s_brokers_json(&json, NULL, health);
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
    } else if (whole) {
        s_status_text(args, health);
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
