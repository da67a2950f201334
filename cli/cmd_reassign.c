// SPDX-License-Identifier: MPL-2.0
// weft cluster reassign: which brokers hold which partitions; weft cluster balance: let the cluster even itself out.
//
// Wishes come from options (one topic) or from a plan, the JSON that Kafka's tool takes too and that --dry-run --json
// prints: {"partitions": [{"topic": "orders", "partition": 0, "replicas": [1, 2, 3]}]}. The coordinator checks each move
// alone; a plan is tried dry first, so that a slip in it leaves all as it was.
#include "json_read.h"
#include "moves.h"

#include "../lib/base/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_STEP_MS 200
#define PLAN_BYTES_MAX (64 << 20)
#define WISHES_MAX 2000 // of one request; a long plan takes several

static const struct cli_option s_options[] = {
    {"--topic", "T", NULL, false, "Move this topic's partitions (with --to or --cancel)."},
    {"--partition", "P", NULL, false, "Only this one."},
    {"--to", "B,B,...", NULL, false,
     "Brokers to hold it; the first is preferred as leader. For a whole topic the list is turned by one for each "
     "partition, so that leaders are even."},
    {"--plan", "FILE", NULL, false, "Moves as JSON; - is standard input."},
    {"--cancel", NULL, NULL, false, "End moves under way where they are: of --topic, --plan, or all."},
    {"--list", NULL, NULL, false, "Show the moves under way and how far they are."},
    {"--throttle", "BYTES", NULL, false,
     "Bytes a second that each receiving broker copies at most; 0: no limit. Alone it changes the limit in force."},
    {"--dry-run", NULL, NULL, false, "Check and show, change nothing."},
    {"--wait", NULL, NULL, false, "Return once all are done, with progress."},
    {"--timeout", "DURATION", "10s", false, "How long to try each request."},
    {0}};
static const struct cli_option s_balance_options[] = {
    {"--replicas", NULL, NULL, false, "Move replicas too, over brokers and racks, not only leaderships."},
    {"--throttle", "BYTES", NULL, false, "Bytes a second that each receiving broker copies at most; 0: no limit."},
    {"--dry-run", NULL, NULL, false, "Show what would move, change nothing."},
    {"--wait", NULL, NULL, false, "Return once all are done, with progress."},
    {"--timeout", "DURATION", "10s", false, "How long to try each request."},
    {0}};

struct wish {
    char topic[250];
    int32_t partition;
    int32_t to[WEFT_REPLICAS_KNOWN_MAX];
    size_t to_count;
};

struct wishes {
    struct wish *list;
    size_t count, capacity;
};

static struct wish *s_add(struct wishes *self, const char *topic, int32_t partition)
{
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? self->capacity * 2 : 16;
        self->list = weft_realloc(self->list, self->capacity * sizeof *self->list);
    }
    struct wish *wish = &self->list[self->count++];
    *wish = (struct wish){.partition = partition};
    snprintf(wish->topic, sizeof wish->topic, "%s", topic);
    return wish;
}

// ---- the plan

static bool s_read_ids(struct cli_json_reader *json, struct wish *wish)
{
    if (!cli_json_read_open(json, '[')) return false;
    while (cli_json_read_next(json, ']')) {
        int64_t id = 0;
        if (wish->to_count == WEFT_REPLICAS_KNOWN_MAX)
            return cli_json_read_failed(json, "more than %d replicas", WEFT_REPLICAS_KNOWN_MAX);
        if (!cli_json_read_int(json, 0, INT32_MAX, &id)) return false;
        wish->to[wish->to_count++] = (int32_t) id;
    }
    return !*json->error;
}

static bool s_read_wish(struct cli_json_reader *json, struct wishes *out)
{
    struct wish *wish = s_add(out, "", -1);
    bool replicas = false;
    char key[32];
    if (!cli_json_read_open(json, '{')) return false;
    while (cli_json_read_next(json, '}')) {
        int64_t number = 0;
        if (!cli_json_read_key(json, key, sizeof key)) return false;
        if (!strcmp(key, "topic")) {
            if (!cli_json_read_text(json, wish->topic, sizeof wish->topic)) return false;
        } else if (!strcmp(key, "partition")) {
            if (!cli_json_read_int(json, 0, INT32_MAX, &number)) return false;
            wish->partition = (int32_t) number;
        } else if (!strcmp(key, "replicas")) {
            replicas = true;
            if (!s_read_ids(json, wish)) return false;
        } else if (!cli_json_read_skip(json))
            return false;
    }
    if (*json->error) return false;
    if (*wish->topic && wish->partition >= 0 && replicas) return true;
    return cli_json_read_failed(json, "an entry needs \"topic\", \"partition\" and \"replicas\"");
}

static bool s_read_list(struct cli_json_reader *json, struct wishes *out)
{
    if (!cli_json_read_open(json, '[')) return false;
    while (cli_json_read_next(json, ']'))
        if (!s_read_wish(json, out)) return false;
    return !*json->error;
}

static bool s_read_plan(struct cli_json_reader *json, struct wishes *out)
{
    char key[32];
    if (cli_json_read_is(json, '[')) return s_read_list(json, out) && cli_json_read_end(json);
    if (!cli_json_read_open(json, '{')) return false;
    while (cli_json_read_next(json, '}')) {
        if (!cli_json_read_key(json, key, sizeof key)) return false;
        bool list = !strcmp(key, "partitions") || !strcmp(key, "moves");
        if (!(list ? s_read_list(json, out) : cli_json_read_skip(json))) return false;
    }
    return cli_json_read_end(json);
}

// The whole file as text, or NULL after a sentence.
static char *s_file(const struct cli_args *args, const char *path)
{
    FILE *file = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    if (!file) {
        cli_fail(args, "can't read the plan '%s': %s", path, strerror(errno));
        return NULL;
    }
    weft_buf_t buf;
    weft_buf_init(&buf);
    char piece[8192];
    for (size_t size; buf.size < PLAN_BYTES_MAX && (size = fread(piece, 1, sizeof piece, file)) > 0;)
        weft_buf_append(&buf, piece, size);
    bool failed = ferror(file) != 0;
    if (file != stdin) fclose(file);
    weft_buf_append(&buf, "", 1);
    if (!failed) return (char *) buf.data; // the caller frees it
    weft_buf_fini(&buf);
    cli_fail(args, "can't read the plan '%s'", path);
    return NULL;
}

static int s_wishes_of_plan(const struct cli_args *args, const char *path, struct wishes *out)
{
    char *text = s_file(args, path);
    if (!text) return CLI_FAILED;
    struct cli_json_reader json;
    cli_json_read_begin(&json, text);
    bool good = s_read_plan(&json, out);
    free(text);
    if (!good) return cli_fail(args, "the plan '%s', %s", path, json.error);
    if (!out->count) return cli_fail(args, "the plan '%s' names no partition", path);
    return CLI_DONE;
}

// ---- wishes of options

static bool s_ids(const struct cli_args *args, int32_t *out, size_t *count)
{
    *count = 0;
    for (const char *at = cli_get(args, "--to"); at && *at;) {
        size_t size = strcspn(at, ",");
        char number[16];
        int64_t id;
        snprintf(number, sizeof number, "%.*s", (int) (size < sizeof number ? size : sizeof number - 1), at);
        if (!cli_whole(number, 0, INT32_MAX, &id) || *count == WEFT_REPLICAS_KNOWN_MAX) break;
        out[(*count)++] = (int32_t) id;
        at += size + (at[size] == ',');
        if (!*at) return true;
    }
    cli_usage(args, "--to takes broker ids, as 1,2,3 (at most %d), not '%s'", WEFT_REPLICAS_KNOWN_MAX,
              cli_get(args, "--to"));
    return false;
}

static int s_wishes_of_topic(const struct cli_args *args, weft_admin_t *admin, struct wishes *out)
{
    const char *topic = cli_get(args, "--topic");
    int64_t only = -1;
    int32_t to[WEFT_REPLICAS_KNOWN_MAX];
    size_t to_count = 0;
    if (!cli_number(args, "--partition", 0, 1000000, &only)) return CLI_USAGE;
    if (cli_get(args, "--to") && !s_ids(args, to, &to_count)) return CLI_USAGE;
    weft_topic_config_t *config = NULL;
    weft_err_t err = weft_admin_describe_topic(admin, topic, &config);
    if (err) return cli_admin_fail(args, admin, err);
    int64_t count = config->partitions;
    weft_topic_config_destroy(&config);
    if (only >= count)
        return cli_fail(args, "topic '%s' has %" PRId64 " partitions, numbered from 0; there is no partition %" PRId64,
                        topic, count, only);
    for (int64_t p = only < 0 ? 0 : only; p < (only < 0 ? count : only + 1); p++) {
        struct wish *wish = s_add(out, topic, (int32_t) p);
        wish->to_count = to_count;
        for (size_t i = 0; i < to_count; i++) wish->to[i] = to[(i + (only < 0 ? (size_t) p : 0)) % to_count];
    }
    return CLI_DONE;
}

// --cancel without a topic: all that is under way.
static int s_wishes_of_running(const struct cli_args *args, weft_admin_t *admin, struct wishes *out)
{
    weft_moves_t *moves = NULL;
    weft_err_t err = weft_admin_list_moves(admin, &moves);
    if (err) return cli_admin_fail(args, admin, err);
    for (size_t i = 0; i < moves->move_count; i++) s_add(out, moves->moves[i].topic, moves->moves[i].partition);
    weft_moves_destroy(&moves);
    return CLI_DONE;
}

// ---- doing it

// Until none of `wishes` (NULL: none at all) is under way.
static int s_wait(const struct cli_args *args, weft_admin_t *admin, const struct wishes *wishes)
{
    struct cli_moves_watch watch;
    cli_moves_watch_begin(&watch, args, admin);
    int status = CLI_DONE;
    weft_err_t err = WEFT_OK;
    for (size_t left = 1; !err && status == CLI_DONE;) {
        err = cli_moves_watch_look(&watch, &left);
        if (!err && wishes && left) {
            left = 0;
            for (size_t i = 0; i < wishes->count; i++) {
                const struct cli_moves_item *item =
                    cli_moves_watch_find(&watch, wishes->list[i].topic, wishes->list[i].partition);
                left += item && item->under_way;
            }
        }
        if (err || !left) break;
        if (!cli_sleep_ms(WAIT_STEP_MS))
            status = cli_fail(args, "not waited for any longer; the moves go on, --cancel ends them");
    }
    cli_moves_watch_end(&watch);
    return err ? cli_admin_fail(args, admin, err) : status;
}

// Answers to the requests of one plan, as one list.
struct answer {
    weft_moves_t **parts;
    size_t part_count;
    struct weft_move *moves; // point into the parts
    size_t move_count, refused;
};

static void s_answer_fini(struct answer *self)
{
    for (size_t i = 0; i < self->part_count; i++) weft_moves_destroy(&self->parts[i]);
    free(self->parts);
    free(self->moves);
    *self = (struct answer){.move_count = 0};
}

static weft_err_t s_ask(weft_admin_t *admin, const struct wishes *wishes, bool cancel, int64_t throttle, bool dry,
                        struct answer *out)
{
    *out = (struct answer){.parts = weft_calloc(wishes->count / WISHES_MAX + 1, sizeof *out->parts),
                           .moves = weft_calloc(wishes->count, sizeof *out->moves)};
    struct weft_replica_wish *list = weft_calloc(WISHES_MAX, sizeof *list);
    weft_err_t err = WEFT_OK;
    for (size_t at = 0; at < wishes->count && !err; at += WISHES_MAX) {
        size_t count = wishes->count - at < WISHES_MAX ? wishes->count - at : WISHES_MAX;
        for (size_t i = 0; i < count; i++) {
            const struct wish *wish = &wishes->list[at + i];
            list[i] = (struct weft_replica_wish){wish->topic, wish->partition, wish->to, cancel ? 0 : wish->to_count};
        }
        weft_moves_t *part = NULL;
        err = weft_admin_reassign(admin, list, count, throttle, dry, &part);
        if (err) break;
        out->parts[out->part_count++] = part;
        for (size_t i = 0; i < part->move_count && out->move_count < wishes->count; i++) {
            out->moves[out->move_count++] = part->moves[i];
            out->refused += part->moves[i].error != WEFT_OK;
        }
    }
    free(list);
    return err;
}

static void s_print(const struct cli_args *args, const struct weft_moves *moves, bool table, const char *sentence)
{
    if (cli_json(args)) {
        cli_json_t json;
        cli_json_init(&json);
        cli_json_open(&json, NULL, '{');
        if (moves->leaders) cli_moves_json(&json, "leaders", moves->leaders, moves->leader_count, NULL);
        cli_moves_json(&json, "partitions", moves->moves, moves->move_count, NULL);
        cli_json_bool(&json, "dry_run", cli_has(args, "--dry-run"));
        cli_json_close(&json, '}');
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
        return;
    }
    puts(sentence);
    if (moves->leader_count && table) cli_moves_table(moves->leaders, moves->leader_count, NULL);
    if (moves->move_count && table) cli_moves_table(moves->moves, moves->move_count, NULL);
}

// What a person may not have meant, or would forget.
static void s_remind(const struct cli_args *args, const struct answer *answer)
{
    size_t fewer = 0;
    for (size_t i = 0; i < answer->move_count; i++)
        fewer += answer->moves[i].to_count && answer->moves[i].to_count < answer->moves[i].from_count;
    if (fewer && !cli_has(args, "--cancel"))
        printf("mind: %zu partition%s %s fewer replicas than before\n", fewer, fewer == 1 ? "" : "s",
               cli_has(args, "--dry-run") ? "would have"
               : fewer == 1               ? "gets"
                                          : "get");
    const char *throttle = cli_get(args, "--throttle");
    if (throttle && strcmp(throttle, "0") && !cli_has(args, "--dry-run"))
        puts("the limit on copying stays in force afterwards: weft cluster alter --unset reassign.bytes ends it");
}

static int s_finish(const struct cli_args *args, weft_admin_t *admin, const struct answer *answer, bool tried,
                    const struct wishes *wishes)
{
    bool dry = cli_has(args, "--dry-run"), cancel = cli_has(args, "--cancel"), wait = cli_has(args, "--wait");
    size_t count = answer->move_count;
    char sentence[200];
    if (answer->refused)
        snprintf(sentence, sizeof sentence, "%zu of %zu moves are refused, %s", answer->refused, count,
                 tried ? "nothing was changed" : "the others go on");
    else {
        if (wait && !dry) {
            int status = s_wait(args, admin, wishes);
            if (status) return status;
        }
        snprintf(sentence, sizeof sentence, "%zu partition%s %s", count, count == 1 ? "" : "s",
                 cancel && dry ? "would be moved no further"
                 : cancel      ? "moved no further"
                 : dry         ? "would be moved"
                 : wait        ? "moved"
                               : "being moved; weft cluster reassign --list shows how far");
    }
    struct weft_moves all = {.moves = answer->moves, .move_count = count};
    s_print(args, &all, dry || answer->refused, sentence);
    if (!cli_json(args) && !answer->refused) s_remind(args, answer);
    return answer->refused ? CLI_FAILED : CLI_DONE;
}

static int s_do(const struct cli_args *args, weft_admin_t *admin, const struct wishes *wishes, int64_t throttle)
{
    bool cancel = cli_has(args, "--cancel"), dry = cli_has(args, "--dry-run");
    if (!wishes->count) {
        puts(cli_json(args) ? "{\"partitions\": []}" : "nothing is being moved");
        return CLI_DONE;
    }
    struct answer answer;
    bool tried = true;
    weft_err_t err = s_ask(admin, wishes, cancel, throttle, true, &answer);
    if (!err && !dry && !answer.refused) {
        s_answer_fini(&answer);
        tried = false;
        err = s_ask(admin, wishes, cancel, throttle, false, &answer);
    }
    int status = err ? cli_admin_fail(args, admin, err) : s_finish(args, admin, &answer, tried, wishes);
    s_answer_fini(&answer);
    return status;
}

static const char *s_throttle_text(int64_t bytes_per_second)
{
    static char text[128];
    if (bytes_per_second <= 0) return "copying is not limited";
    snprintf(text, sizeof text, "copying is limited to %s a second for each broker that receives",
             cli_bytes_text((double) bytes_per_second));
    return text;
}

static int s_list(const struct cli_args *args, weft_admin_t *admin)
{
    struct cli_moves_watch watch;
    cli_moves_watch_begin(&watch, args, admin);
    weft_moves_t *moves = NULL;
    weft_err_t err = cli_moves_watch_look(&watch, NULL);
    if (!err) err = weft_admin_list_moves(admin, &moves);
    int status = err ? cli_admin_fail(args, admin, err) : CLI_DONE;
    if (!err && cli_json(args)) {
        cli_json_t json;
        cli_json_init(&json);
        cli_json_open(&json, NULL, '{');
        cli_moves_json(&json, "partitions", moves->moves, moves->move_count, &watch);
        cli_json_int(&json, "bytes_per_second", moves->bytes_per_second);
        cli_json_close(&json, '}');
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
    } else if (!err) {
        if (moves->move_count) cli_moves_table(moves->moves, moves->move_count, &watch);
        size_t count = moves->move_count + moves->more;
        printf("%zu partition%s being moved, %s\n", count, count == 1 ? "" : "s",
               s_throttle_text(moves->bytes_per_second));
    }
    weft_moves_destroy(&moves);
    cli_moves_watch_end(&watch);
    return status;
}

static int s_throttle_alone(const struct cli_args *args, weft_admin_t *admin, int64_t throttle)
{
    char value[32];
    snprintf(value, sizeof value, "%" PRId64, throttle);
    struct weft_setting setting = {"reassign.bytes", value};
    weft_err_t err = weft_admin_alter_cluster(admin, &setting, 1, NULL);
    if (err) return cli_admin_fail(args, admin, err);
    if (cli_json(args))
        printf("{\"bytes_per_second\": %" PRId64 "}\n", throttle);
    else
        puts(s_throttle_text(throttle));
    return CLI_DONE;
}

// Exactly one thing is asked for. 0: none.
static int s_check(const struct cli_args *args)
{
    bool topic = cli_has(args, "--topic"), plan = cli_has(args, "--plan"), cancel = cli_has(args, "--cancel");
    bool to = cli_has(args, "--to"), list = cli_has(args, "--list");
    if (list && (topic || plan || cancel || to)) return cli_usage(args, "--list stands alone");
    if (topic && plan) return cli_usage(args, "--topic and --plan exclude each other");
    if (cancel && to) return cli_usage(args, "--cancel takes no --to");
    if ((to || cli_has(args, "--partition")) && !topic) return cli_usage(args, "--topic T is missing");
    if (topic && !to && !cancel) return cli_usage(args, "--to is missing: which brokers are to hold it, as 1,2,3");
    if (!topic && !plan && !cancel && !list && !cli_has(args, "--throttle"))
        return cli_usage(args, "nothing is asked for: --topic T --to 1,2,3, --plan FILE, --list or --cancel");
    return CLI_DONE;
}

static int s_reassign(const struct cli_args *args)
{
    int64_t throttle = WEFT_THROTTLE_KEEP;
    int status = s_check(args);
    if (status) return status;
    if (!cli_number(args, "--throttle", 0, INT64_MAX, &throttle)) return CLI_USAGE;
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    cli_catch_signals();
    struct wishes wishes = {0};
    bool moves = true;
    if (cli_has(args, "--list")) {
        status = s_list(args, admin);
        moves = false;
    } else if (cli_has(args, "--plan"))
        status = s_wishes_of_plan(args, cli_get(args, "--plan"), &wishes);
    else if (cli_has(args, "--topic"))
        status = s_wishes_of_topic(args, admin, &wishes);
    else if (cli_has(args, "--cancel"))
        status = s_wishes_of_running(args, admin, &wishes);
    else {
        status = s_throttle_alone(args, admin, throttle);
        moves = false;
    }
    if (moves && status == CLI_DONE) status = s_do(args, admin, &wishes, throttle);
    free(wishes.list);
    weft_admin_destroy(&admin);
    return status;
}

static int s_balance(const struct cli_args *args)
{
    int64_t throttle = WEFT_THROTTLE_KEEP;
    if (!cli_number(args, "--throttle", 0, INT64_MAX, &throttle)) return CLI_USAGE;
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    cli_catch_signals();
    bool dry = cli_has(args, "--dry-run");
    weft_moves_t *moves = NULL;
    weft_err_t err = weft_admin_balance(admin, cli_has(args, "--replicas"), throttle, dry, &moves);
    int status = err ? cli_admin_fail(args, admin, err) : CLI_DONE;
    if (!err && !dry && cli_has(args, "--wait") && moves->move_count) status = s_wait(args, admin, NULL);
    if (!err && status == CLI_DONE) {
        char leaders[60] = "", replicas[60] = "", sentence[200];
        size_t led = moves->leader_count, stored = moves->move_count + moves->more;
        if (led) snprintf(leaders, sizeof leaders, "%zu leadership%s", led, led == 1 ? "" : "s");
        if (stored)
            snprintf(replicas, sizeof replicas, "the replicas of %zu partition%s", stored, stored == 1 ? "" : "s");
        snprintf(sentence, sizeof sentence, "%s%s%s %s", leaders, led && stored ? " and " : "", replicas,
                 dry                       ? "would move"
                 : led == 1 && stored == 0 ? "moves"
                                           : "move");
        s_print(args, moves, dry, moves->leader_count + moves->move_count ? sentence : "all is even");
    }
    weft_moves_destroy(&moves);
    weft_admin_destroy(&admin);
    return status;
}

const struct cli_verb cli_verb_cluster_reassign = {
    "cluster reassign",
    "",
    0,
    0,
    "Choose which brokers hold which partitions.",
    "Data moves first, leadership second: new replicas copy what they lack, and the old ones leave once all new ones "
    "are "
    "in sync. Producers and consumers go on. A plan is {\"partitions\": [{\"topic\": \"orders\", \"partition\": 0, "
    "\"replicas\": [1, 2, 3]}]}.",
    "  weft cluster reassign --topic orders --partition 0 --to 4,5,6 --wait\n  weft cluster reassign --plan moves.json "
    "--throttle 50MiB\n  weft cluster reassign --list\n  weft cluster reassign --cancel",
    s_options,
    true,
    true,
    s_reassign};
const struct cli_verb cli_verb_cluster_balance = {
    "cluster balance",
    "",
    0,
    0,
    "Even out leaderships, and with --replicas what is stored.",
    "Leaderships go to the preferred replicas, the first ones, where these are in sync. Replicas move as few as "
    "possible.",
    "  weft cluster balance --replicas --dry-run\n  weft cluster balance --replicas --throttle 50MiB --wait",
    s_balance_options,
    true,
    true,
    s_balance};
