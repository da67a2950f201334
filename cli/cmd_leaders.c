// SPDX-License-Identifier: MPL-2.0
// weft cluster elect | alter | voters: a leader by hand, settings of the cluster, its coordinators.
#include "connect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLUSTER_TIMEOUT \
    { \
        "--timeout", "DURATION", "10s", false, "How long to try." \
    }

static const struct cli_option s_elect_options[] = {
    {"--broker", "B", NULL, false, "Who is to lead; else the best that is left."},
    {"--unclean", NULL, NULL, false,
     "Also a replica that is not known to have everything: acknowledged records that it lacks are lost."},
    {"--yes", NULL, NULL, false, "Do not ask before an unclean election."},
    CLUSTER_TIMEOUT,
    {0}};
static const struct cli_option s_alter_options[] = {
    {"--set", "KEY=VALUE", NULL, true, "A setting of the cluster (docs/CONFIG.md, scope cluster)."},
    {"--unset", "KEY", NULL, true, "Back to the default."},
    CLUSTER_TIMEOUT,
    {0}};
static const struct cli_option s_voters_options[] = {
    {"--timeout", "DURATION", "150s", false, "How long to try; a new one copies what it lacks first."}, {0}};

// ---- elect

// The topic's name has to be typed: what is lost does not come back.
static int s_confirm(const struct cli_args *args)
{
    const char *topic = args->arguments[0];
    if (cli_has(args, "--yes")) return CLI_DONE;
    if (!isatty(STDIN_FILENO))
        return cli_usage(args, "an unclean election may lose acknowledged records; --yes says that this is meant");
    fprintf(
        stderr,
        "Acknowledged records of %s/%s that the new leader lacks are lost for good.\nType the topic's name to go on: ",
        topic, args->arguments[1]);
    char line[300];
    if (!fgets(line, sizeof line, stdin)) line[0] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    return strcmp(line, topic) ? cli_fail(args, "that is not '%s'; nothing was changed", topic) : CLI_DONE;
}

static int s_elect(const struct cli_args *args)
{
    int64_t partition, broker = -1;
    if (!cli_whole(args->arguments[1], 0, INT32_MAX, &partition))
        return cli_usage(args, "'%s' is no partition, a number from 0", args->arguments[1]);
    if (!cli_number(args, "--broker", 0, INT32_MAX, &broker)) return CLI_USAGE;
    bool unclean = cli_has(args, "--unclean");
    int status = unclean ? s_confirm(args) : CLI_DONE;
    if (status) return status;
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    struct weft_elected elected = {0};
    const char *topic = args->arguments[0];
    weft_err_t err = weft_admin_elect_leader(admin, topic, (int32_t) partition, (int32_t) broker, unclean, &elected);
    if (err == WEFT_ERR_ELECTION_NOT_NEEDED && broker < 0)
        status = cli_fail(args, "%s/%" PRId64 " has a leader already; --broker B moves leadership to another replica",
                          topic, partition);
    else if (err)
        status = cli_admin_fail(args, admin, err);
    else if (cli_json(args)) {
        cli_json_t json;
        cli_json_init(&json);
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "topic", topic);
        cli_json_int(&json, "partition", partition);
        cli_json_int(&json, "leader", elected.broker);
        cli_json_int(&json, "epoch", elected.epoch);
        cli_json_text(&json, "loss", elected.loss);
        cli_json_close(&json, '}');
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
    } else
        printf("broker %d leads %s/%" PRId64 " in epoch %d\n%s%s", elected.broker, topic, partition, elected.epoch,
               elected.loss, *elected.loss ? "\n" : "");
    weft_admin_destroy(&admin);
    return status;
}

// ---- alter

static int s_alter(const struct cli_args *args)
{
    struct weft_setting settings[2 * 64];
    size_t count = 0, own = 0;
    const char *text;
    for (; own < 64 && (text = cli_get_nth(args, "--set", (int) own)); own++, count++) {
        char *key = weft_strdup(text), *equals = strchr(key, '=');
        settings[count] = (struct weft_setting){key, equals ? equals + 1 : ""};
        if (equals) *equals = '\0';
        if (equals && equals > key && equals[1]) continue;
        for (size_t i = 0; i <= count; i++) free((void *) (uintptr_t) settings[i].key);
        return cli_usage(args, "--set takes KEY=VALUE, not '%s'", text);
    }
    for (int i = 0; i < 64 && (text = cli_get_nth(args, "--unset", i)); i++)
        settings[count++] = (struct weft_setting){text, ""};
    if (!count) return cli_usage(args, "nothing to alter: give --set KEY=VALUE or --unset KEY");
    weft_admin_t *admin = cli_admin_new(args);
    int status = CLI_FAILED;
    if (admin) {
        uint64_t version = 0;
        weft_err_t err = weft_admin_alter_cluster(admin, settings, count, &version);
        status = err ? cli_admin_fail(args, admin, err) : CLI_DONE;
        if (!err && cli_json(args))
            printf("{\"version\": %" PRIu64 "}\n", version);
        else if (!err)
            printf("altered %zu setting%s of the cluster\n", count, count == 1 ? "" : "s");
        weft_admin_destroy(&admin);
    }
    for (size_t i = 0; i < own; i++) free((void *) (uintptr_t) settings[i].key);
    return status;
}

// ---- voters

static int s_voters_list(const struct cli_args *args, weft_admin_t *admin)
{
    weft_cluster_health_t *health = NULL;
    weft_err_t err = weft_admin_cluster_status(admin, &health);
    if (err) return cli_admin_fail(args, admin, err);
    if (cli_json(args)) {
        cli_json_t json;
        cli_json_init(&json);
        cli_coordinators_json(args, &json, NULL, health);
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
    } else {
        cli_coordinators_table(args, health);
    }
    weft_cluster_health_destroy(&health);
    return CLI_DONE;
}

// "4=tcp://10.0.0.4:9651" or, to remove, "4".
static bool s_voter(const struct cli_args *args, bool add, int32_t *id, const char **endpoint)
{
    char number[16];
    const char *text = args->arguments[1], *equals = strchr(text, '=');
    size_t size = equals ? (size_t) (equals - text) : strlen(text);
    int64_t whole;
    snprintf(number, sizeof number, "%.*s", (int) (size < sizeof number ? size : sizeof number - 1), text);
    if ((equals != NULL) != add || !cli_whole(number, 1, INT32_MAX, &whole)) {
        cli_usage(args, add ? "'%s' is not ID=ENDPOINT, as 4=tcp://10.0.0.4:9651" : "'%s' is no coordinator id", text);
        return false;
    }
    *id = (int32_t) whole;
    *endpoint = add ? equals + 1 : NULL;
    return true;
}

static const char *s_even(uint32_t voters)
{
    static char text[100];
    snprintf(text, sizeof text, ", which survive no more failures than %u: add one more, or remove one", voters - 1);
    return text;
}

static int s_voters(const struct cli_args *args)
{
    int count = args->argument_count;
    bool add = count && !strcmp(args->arguments[0], "add"), remove = count && !strcmp(args->arguments[0], "remove");
    int32_t id = 0;
    const char *endpoint = NULL;
    if (count && !add && !remove) return cli_usage(args, "'%s' is neither add nor remove", args->arguments[0]);
    if (count == 1) return cli_usage(args, add ? "ID=ENDPOINT is missing" : "ID is missing");
    if (count && !s_voter(args, add, &id, &endpoint)) return CLI_USAGE;
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    int status = CLI_DONE;
    uint32_t voters = 0;
    if (!count)
        status = s_voters_list(args, admin);
    else {
        weft_err_t err = weft_admin_change_voter(admin, id, endpoint, &voters);
        if (err)
            status = cli_admin_fail(args, admin, err);
        else if (cli_json(args))
            printf("{\"voters\": %u}\n", voters);
        else
            printf("coordinator %d %s; there are %u now%s\n", id, add ? "votes" : "votes no more", voters,
                   voters % 2 ? "" : s_even(voters));
    }
    weft_admin_destroy(&admin);
    return status;
}

const struct cli_verb cli_verb_cluster_elect = {
    "cluster elect",
    "TOPIC PARTITION",
    2,
    2,
    "Choose a partition's leader by hand.",
    "Among the replicas that have all that was acknowledged; with --unclean also among the others, which may lose "
    "acknowledged records and is the last resort when the others are gone for good.",
    "  weft cluster elect orders 3 --broker 2\n  weft cluster elect orders 3 --unclean",
    s_elect_options,
    true,
    true,
    s_elect};
const struct cli_verb cli_verb_cluster_alter = {
    "cluster alter",
    "",
    0,
    0,
    "Change settings of the whole cluster.",
    NULL,
    "  weft cluster alter --set reassign.bytes=50MiB\n  weft cluster alter --unset reassign.bytes",
    s_alter_options,
    true,
    true,
    s_alter};
const struct cli_verb cli_verb_cluster_voters = {
    "cluster voters",
    "[add ID=ENDPOINT | remove ID]",
    0,
    2,
    "List the coordinators, add one or remove one.",
    "From three on, one at a time, with all of them up. Start the new one first, with all of them in its setting "
    "'coordinators'.",
    "  weft cluster voters\n  weft cluster voters add 4=tcp://10.0.0.4:9651\n  weft cluster voters remove 2",
    s_voters_options,
    true,
    true,
    s_voters};
