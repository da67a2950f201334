// SPDX-License-Identifier: MPL-2.0
// weft cluster drain | remove: a broker gives up what it leads, or all that it stores.
#include "moves.h"

#include <string.h>

#define WAIT_STEP_MS 200
#define STALL_US 5000000 // no progress for so long: it is asked whether there can be any

#define CLUSTER_TIMEOUT \
    { \
        "--timeout", "DURATION", "10s", false, "How long to try each request." \
    }

static const struct cli_option s_drain_options[] = {{"--undo", NULL, NULL, false, "Let it lead again."},
                                                    {"--wait", NULL, NULL, false, "Return once it leads nothing."},
                                                    CLUSTER_TIMEOUT,
                                                    {0}};
static const struct cli_option s_remove_options[] = {
    {"--undo", NULL, NULL, false, "Keep it after all; what was moved stays moved."},
    {"--dry-run", NULL, NULL, false, "Only say how much would move."},
    {"--wait", NULL, NULL, false, "Return once it stores nothing, with progress."},
    CLUSTER_TIMEOUT,
    {0}};

static const char *s_plural(uint32_t count)
{
    return count == 1 ? "" : "s";
}

static bool s_broker_id(const struct cli_args *args, int32_t *out)
{
    int64_t id;
    if (!cli_whole(args->arguments[0], 0, INT32_MAX, &id)) {
        cli_usage(args, "'%s' is no broker id; weft cluster brokers lists them", args->arguments[0]);
        return false;
    }
    *out = (int32_t) id;
    return true;
}

// The broker as the coordinator sees it now; *found false: it is not registered (any more).
static weft_err_t s_look(weft_admin_t *admin, int32_t id, struct weft_broker_health *out, bool *found)
{
    weft_cluster_health_t *health = NULL;
    weft_err_t err = weft_admin_cluster_status(admin, &health);
    *found = false;
    for (size_t i = 0; !err && i < health->broker_count; i++) {
        if (health->brokers[i].id != id) continue;
        *out = health->brokers[i];
        out->endpoint = out->rack = out->version = ""; // of the result that is freed here
        *found = true;
    }
    weft_cluster_health_destroy(&health);
    return err;
}

// ---- drain

static int s_print_drain(const struct cli_args *args, int32_t id, const struct weft_drain_state *state)
{
    bool undo = cli_has(args, "--undo");
    if (cli_json(args)) {
        cli_json_t json;
        cli_json_init(&json);
        cli_json_open(&json, NULL, '{');
        cli_json_int(&json, "broker", id);
        cli_json_bool(&json, "draining", !undo);
        cli_json_int(&json, "leads", state->leads);
        cli_json_int(&json, "stuck", state->stuck);
        cli_json_close(&json, '}');
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
    } else if (undo) {
        printf("broker %d may lead again; weft cluster balance gives it its share back at once\n", id);
    } else if (state->leads == 0) {
        printf("broker %d leads nothing and is kept from leading; weft cluster drain %d --undo ends that\n", id, id);
    } else {
        printf("broker %d drains: it leads %u partition%s still", id, state->leads, s_plural(state->leads));
        if (state->stuck) printf(", of which %u can be led by no other replica now", state->stuck);
        putchar('\n');
    }
    return CLI_DONE;
}

static int s_stuck(const struct cli_args *args, int32_t id, uint32_t count)
{
    return cli_fail(
        args,
        "broker %d still leads %u partition%s that no other replica can lead now: they have one replica, or the others "
        "are not in sync, or are on brokers that are drained or sick; add replicas (weft cluster reassign), wait for "
        "them, or undo another drain",
        id, count, s_plural(count));
}

static int s_wait_drained(const struct cli_args *args, weft_admin_t *admin, int32_t id, struct weft_drain_state *state)
{
    struct cli_progress progress;
    uint32_t total = state->leads;
    cli_progress_begin(&progress, "leaderships moved:", total);
    int64_t moved_us = cli_now_us();
    weft_err_t err = WEFT_OK;
    int status = CLI_DONE;
    while (state->leads && status == CLI_DONE && !err) {
        if (state->stuck >= state->leads) {
            status = s_stuck(args, id, state->leads);
            break;
        }
        struct weft_broker_health broker;
        bool found;
        if (!cli_sleep_ms(WAIT_STEP_MS)) status = CLI_INTERRUPTED;
        err = s_look(admin, id, &broker, &found);
        uint32_t leads = err || !found ? 0 : broker.leads;
        if (leads != state->leads) moved_us = cli_now_us();
        state->leads = leads;
        cli_progress_show(&progress, total > leads ? total - leads : 0, 0, 0);
        if (!err && leads && cli_now_us() - moved_us > STALL_US) {
            err = weft_admin_drain_broker(admin, id, false, state);
            moved_us = cli_now_us();
        }
    }
    cli_progress_end(&progress);
    return err ? cli_admin_fail(args, admin, err) : status;
}

static int s_drain(const struct cli_args *args)
{
    int32_t id;
    if (!s_broker_id(args, &id)) return CLI_USAGE;
    bool undo = cli_has(args, "--undo");
    if (undo && cli_has(args, "--wait")) return cli_usage(args, "--undo has nothing to wait for");
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    cli_catch_signals();
    struct weft_drain_state state = {0};
    weft_err_t err = weft_admin_drain_broker(admin, id, undo, &state);
    int status = err ? cli_admin_fail(args, admin, err) : CLI_DONE;
    if (!status && cli_has(args, "--wait")) status = s_wait_drained(args, admin, id, &state);
    if (!status) status = s_print_drain(args, id, &state);
    weft_admin_destroy(&admin);
    return status;
}

// ---- remove

static int s_print_remove(const struct cli_args *args, int32_t id, const struct weft_remove_state *state)
{
    bool undo = cli_has(args, "--undo"), dry = cli_has(args, "--dry-run");
    if (cli_json(args)) {
        cli_json_t json;
        cli_json_init(&json);
        cli_json_open(&json, NULL, '{');
        cli_json_int(&json, "broker", id);
        cli_json_bool(&json, "removed", state->removed);
        cli_json_int(&json, "replicas", state->replicas);
        cli_json_bool(&json, "dry_run", dry);
        cli_json_close(&json, '}');
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
    } else if (undo) {
        printf("broker %d stays\n", id);
    } else if (dry) {
        printf("%u replica%s would move away from broker %d\n", state->replicas, s_plural(state->replicas), id);
    } else if (state->removed) {
        printf("broker %d is removed; its process may be ended and its data deleted\n", id);
    } else if (state->replicas == 0) {
        printf("broker %d stores nothing any more: stop it, and it is forgotten\n", id);
    } else {
        printf("broker %d leaves: %u replica%s to move; weft cluster reassign --list shows the progress\n", id,
               state->replicas, s_plural(state->replicas));
    }
    return CLI_DONE;
}

static int s_wait_removed(const struct cli_args *args, weft_admin_t *admin, int32_t id, struct weft_remove_state *state)
{
    struct cli_moves_watch watch;
    cli_moves_watch_begin(&watch, args, admin);
    weft_err_t err = WEFT_OK;
    int status = CLI_DONE;
    while (!state->removed && !err && status == CLI_DONE) {
        struct weft_broker_health broker;
        bool found;
        if (!cli_sleep_ms(WAIT_STEP_MS))
            status =
                cli_fail(args, "not waited for any longer; it goes on, weft cluster remove %d --undo stops it", id);
        err = s_look(admin, id, &broker, &found);
        if (!err && !found) state->removed = true, state->replicas = 0;
        if (!err && found) state->replicas = broker.replicas;
        if (!err && found && broker.alive && !broker.replicas) break; // it is forgotten once it is stopped
        if (!err && found && !broker.leaving && !status)
            status = cli_fail(args, "broker %d is no longer to leave: somebody has undone it", id);
        if (!err && found) err = cli_moves_watch_look(&watch, NULL);
    }
    cli_moves_watch_end(&watch);
    return err ? cli_admin_fail(args, admin, err) : status;
}

static int s_remove(const struct cli_args *args)
{
    int32_t id;
    if (!s_broker_id(args, &id)) return CLI_USAGE;
    bool undo = cli_has(args, "--undo"), dry = cli_has(args, "--dry-run"), wait = cli_has(args, "--wait");
    if (undo + dry + wait > 1) return cli_usage(args, "--undo, --dry-run and --wait exclude each other");
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    cli_catch_signals();
    struct weft_remove_state state = {0};
    weft_err_t err = weft_admin_remove_broker(admin, id,
                                              undo  ? WEFT_REMOVE_UNDO
                                              : dry ? WEFT_REMOVE_DRY_RUN
                                                    : WEFT_REMOVE,
                                              &state);
    int status = err ? cli_admin_fail(args, admin, err) : CLI_DONE;
    if (!status && wait) status = s_wait_removed(args, admin, id, &state);
    if (!status) status = s_print_remove(args, id, &state);
    weft_admin_destroy(&admin);
    return status;
}

const struct cli_verb cli_verb_cluster_drain = {
    "cluster drain",
    "BROKER",
    1,
    1,
    "Move leaderships away from a broker, before it is worked on.",
    "Clients follow without an error. It keeps its replicas and stays in sync; it is kept from leading until --undo, "
    "also over restarts.",
    "  weft cluster drain 2 --wait\n  weft cluster drain 2 --undo",
    s_drain_options,
    true,
    true,
    s_drain};
const struct cli_verb cli_verb_cluster_remove = {
    "cluster remove",
    "BROKER",
    1,
    1,
    "Decommission: move all replicas away from a broker, then forget it.",
    "Data moves first, leadership second; nothing is lost nor unavailable meanwhile. Once it stores nothing it is "
    "forgotten as soon as it is stopped; a dead one, once nothing is stored only there. Its data directory is refused "
    "from "
    "then on, unless it is started with rejoin=true; an empty one is a new broker. weft cluster alter --set "
    "reassign.bytes=50MiB bounds the copying.",
    "  weft cluster remove 3 --dry-run\n  weft cluster remove 3 --wait",
    s_remove_options,
    true,
    true,
    s_remove};
