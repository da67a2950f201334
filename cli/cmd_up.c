// SPDX-License-Identifier: MPL-2.0
// weft up: coordinator and brokers in one process. weft up FILE: what a topology names (run.c).
#include "connect.h"
#include "run.h"

#include "../lib/base/disk.h"
#include "../lib/net/process.h"
#include "../lib/wire/port.h"

#include <weft/embedded.h>

#include <string.h>

static const struct cli_option s_up_options[] = {
    {"--brokers", "N", "1", false, "How many brokers."},
    {"--coordinators", "M", "1", false, "How many coordinators: 1, 3 or 5."},
    {"--shards", "N", "1", false, "Threads of each broker that serve partitions."},
    {"--data", "DIR", "weft-data", false, "Where data is kept; made if absent."},
    {"--listen", "ENDPOINT", "tcp://127.0.0.1:9650", false,
     "Endpoint of the first broker; the others follow on the next ports ('*' takes free ones)."},
    {"--advertise", "ENDPOINT", NULL, false,
     "What others are told to connect to instead of --listen (with one broker); needed where that is no address of "
     "this machine, as 0.0.0.0."},
    {"--set", "KEY=VALUE", NULL, true, "A setting of every broker (docs/CONFIG.md, scope broker)."},
    {"--ready-file", "FILE", NULL, false,
     "Written once everything serves: the endpoint, for scripts; with FILE also a line NODE ENDPOINT for each."},
    {"--processes", NULL, NULL, false, "With FILE: each node is a process of its own."},
    {"--once", NULL, NULL, false,
     "With FILE: nothing is started again; when a node ends, all do: status 0 if it had done its work, 1 if it "
     "failed."},
    {"--status-file", "FILE", NULL, false, "With FILE: how all nodes are, JSON, written again whenever it changes."},
    CLI_OPTION_TRACE,
    {0}};

// Where clients on this machine reach it: what is advertised, else what it listens on, of which 0.0.0.0 is no address.
static void s_reachable(const struct cli_args *args, const char *endpoint, char *out, size_t size)
{
    static const char any[] = "tcp://0.0.0.0:", any6[] = "tcp://[::]:", star[] = "tcp://*:";
    const char *advertised = cli_get(args, "--advertise");
    if (advertised)
        snprintf(out, size, "%s", advertised);
    else if (strncmp(endpoint, any, strlen(any)) == 0 || strncmp(endpoint, any6, strlen(any6)) == 0 ||
             strncmp(endpoint, star, strlen(star)) == 0)
        snprintf(out, size, "tcp://127.0.0.1%s", strrchr(endpoint, ':'));
    else
        snprintf(out, size, "%s", endpoint);
}

static int s_announce(const struct cli_args *args, weft_embedded_t *embedded, int64_t brokers, int64_t coordinators)
{
    const char *endpoint = weft_embedded_endpoint(embedded);
    char reachable[WEFT_ENDPOINT_BYTES_MAX];
    s_reachable(args, endpoint, reachable, sizeof reachable);
    char voters[32];
    snprintf(voters, sizeof voters, coordinators == 1 ? "a coordinator" : "%d coordinators", (int) coordinators);
    printf("weft serves %s: %s broker%s and %s, data in %s\n", endpoint, cli_count_text(brokers),
           brokers == 1 ? "" : "s", voters, cli_get(args, "--data"));
    if (strcmp(reachable, "tcp://127.0.0.1:9650") != 0) printf("  export WEFT_BOOTSTRAP=%s\n", reachable);
    printf("  weft topic create NAME makes a topic, weft cluster status shows the cluster; Ctrl-C stops it\n");
    fflush(stdout);
    const char *file = cli_get(args, "--ready-file");
    if (!file) return CLI_DONE;
    char line[WEFT_ENDPOINT_BYTES_MAX + 2];
    int size = snprintf(line, sizeof line, "%s\n", reachable);
    if (weft_disk_replace_file(weft_disk_posix(), file, weft_slice(line, (size_t) size)) == WEFT_OK) return CLI_DONE;
    return cli_fail(args, "can't write the ready file '%s'", file);
}

// What can't work is refused before anything starts.
static int s_check_up(const struct cli_args *args, int64_t brokers, struct cli_settings *settings)
{
    const char *listen = cli_get(args, "--listen"), *advertise = cli_get(args, "--advertise"), *pair;
    if (!strstr(listen, "://"))
        return cli_usage(args, "--listen is '%s', no endpoint; did you mean tcp://%s?", listen, listen);
    if (advertise && !strstr(advertise, "://"))
        return cli_usage(args, "--advertise is '%s', no endpoint; did you mean tcp://%s?", advertise, advertise);
    if (advertise && brokers > 1)
        return cli_usage(args,
                         "--advertise is of one broker, not of %s; run each with 'weft broker --set advertise=...'",
                         cli_count_text(brokers));
    for (int i = 0; (pair = cli_get_nth(args, "--set", i)); i++) {
        static const char *const own[] = {"id", "data", "listen", "shards", "coordinators", "advertise"};
        for (size_t k = 0; k < sizeof own / sizeof *own; k++)
            if (strncmp(pair, own[k], strlen(own[k])) == 0 && pair[strlen(own[k])] == '=')
                return cli_usage(args, "--set %s is not for 'weft up', which gives each broker its own%s%s", own[k],
                                 k == 1 || k == 2 || k == 3 || k == 5 ? "; there is --" : "",
                                 k == 1 || k == 2 || k == 3 || k == 5 ? own[k] : "");
        cli_settings_add(settings, "%s", pair);
    }
    if (advertise) cli_settings_add(settings, "advertise=%s", advertise);
    return CLI_DONE;
}

static int s_serve_up(const struct cli_args *args, const struct weft_embedded_options *options)
{
    weft_process_begin();
    weft_embedded_t *embedded = NULL;
    struct weft_error error;
    if (weft_embedded_start(options, &embedded, &error) != WEFT_OK) return cli_fail(args, "%s", error.text);
    int status = s_announce(args, embedded, options->brokers, options->coordinators);
    while (status == CLI_DONE && weft_process_wait_signal(500000) == 0) {
        char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
        if (weft_embedded_health(embedded, sentence, sizeof sentence) == WEFT_HEALTH_FAILED)
            status = cli_fail(args, "%s", sentence);
    }
    bool clean = weft_embedded_stop(&embedded) == WEFT_OK && status == CLI_DONE;
    if (clean) puts("weft stopped cleanly");
    return status;
}

// Options of one form given with the other.
static int s_check_form(const struct cli_args *args)
{
    static const char *const alone[] = {"--brokers", "--coordinators", "--shards", "--listen", "--advertise", "--set"};
    static const char *const with[] = {"--processes", "--once", "--status-file", "--json"};
    bool file = args->argument_count > 0;
    for (size_t i = 0; file && i < sizeof alone / sizeof *alone; i++)
        if (cli_has(args, alone[i]))
            return cli_usage(args, "%s is not for 'weft up FILE'; write it in %s", alone[i], args->arguments[0]);
    for (size_t i = 0; !file && i < sizeof with / sizeof *with; i++)
        if (cli_has(args, with[i])) return cli_usage(args, "%s needs a topology: weft up FILE %s", with[i], with[i]);
    return CLI_DONE;
}

static int s_up(const struct cli_args *args)
{
    if (s_check_form(args) != CLI_DONE) return CLI_USAGE;
    if (args->argument_count > 0) return cli_trace_level(args) ? cli_run_topology(args) : CLI_USAGE;
    int64_t brokers = 1, shards = 1, coordinators = 1;
    if (!cli_trace_level(args) || !cli_number(args, "--brokers", 1, WEFT_EMBEDDED_BROKERS_MAX, &brokers) ||
        !cli_number(args, "--coordinators", 1, WEFT_EMBEDDED_COORDINATORS_MAX, &coordinators) ||
        !cli_number(args, "--shards", 1, 64, &shards))
        return CLI_USAGE;
    if (coordinators % 2 == 0)
        return cli_usage(args, "--coordinators is %d; it takes 1, 3 or 5: one more than an odd number bears no more",
                         (int) coordinators);
    struct cli_settings settings = {.count = 0};
    int status = s_check_up(args, brokers, &settings);
    struct weft_embedded_options options = {.data = cli_get(args, "--data"),
                                            .listen = cli_get(args, "--listen"),
                                            .brokers = (uint32_t) brokers,
                                            .shards = (uint32_t) shards,
                                            .coordinators = (uint32_t) coordinators,
                                            .broker_settings = cli_settings_list(&settings)};
    if (status == CLI_DONE) status = s_serve_up(args, &options);
    cli_settings_fini(&settings);
    return status;
}

const struct cli_verb cli_verb_up = {
    "up",
    "[FILE]",
    0,
    1,
    "Run a coordinator and brokers in this process, or what a topology FILE names.",
    "Data is kept in --data and found again at the next start. SIGTERM or Ctrl-C stops cleanly; kill -9 loses nothing "
    "that was acknowledged durable.\n\n"
    "FILE names nodes, their types, options and whom they connect to (docs/TOPOLOGIES.md). It is checked whole, then "
    "run: a node that ends is started again, after a while that doubles each time. SIGHUP reads FILE again: new nodes "
    "are started, those gone are stopped, changed ones start anew, others are not touched.",
    "  weft up\n  weft up --brokers 3 --data /srv/weft --listen tcp://10.0.0.1:9650\n"
    "  weft up --listen tcp://0.0.0.0:9650 --advertise tcp://log.example.org:9650\n"
    "  weft up topologies/three-broker.conf --processes",
    s_up_options,
    false,
    true,
    s_up};
