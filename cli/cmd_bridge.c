// SPDX-License-Identifier: MPL-2.0
// weft bridge offset | groups | status: questions to a running bridge, on the endpoint where it listens. One frame there and
// one back (docs/BRIDGE.md), so a socket is opened here rather than a client of a cluster.
#include "cli.h"

#include "../lib/base/options.h"
#include "../lib/wire/codec.h"

#include <weft_gen/records.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define BRIDGE_OPTIONS \
    {"--endpoint", "ENDPOINT", "tcp://127.0.0.1:9700", false, "Where the bridge listens: its option listen."}, \
    { \
        "--timeout", "DURATION", "5s", false, "How long to wait for its answer." \
    }

static const struct cli_option s_status_options[] = {BRIDGE_OPTIONS, {0}};
static const struct cli_option s_groups_options[] = {BRIDGE_OPTIONS, {0}};
static const struct cli_option s_offset_options[] = {
    {"--back", NULL, NULL, false, "OFFSET is one of the target's: where does it stand in the source?"},
    BRIDGE_OPTIONS,
    {0}};

// ---- asking

typedef void s_show(const struct cli_args *args, const struct weft_bridge_answer_record *answer);

struct answer {
    weft_codec_t codec;
    weft_buf_t bytes;
    struct weft_bridge_answer_record record; // into both
};

static void s_answer_init(struct answer *self)
{
    weft_codec_init(&self->codec);
    weft_buf_init(&self->bytes);
    weft_bridge_answer_record_init(&self->record);
}

static void s_answer_fini(struct answer *self)
{
    weft_buf_fini(&self->bytes);
    weft_codec_fini(&self->codec);
}

// One message there and one back. False: said why.
static bool s_exchange(const struct cli_args *args, void *socket, int64_t timeout_ms, weft_slice_t question,
                       weft_buf_t *out)
{
    const char *endpoint = cli_get(args, "--endpoint");
    if (zmq_connect(socket, endpoint) != 0) {
        cli_fail(args, "--endpoint is '%s': %s; it takes one like tcp://10.0.0.1:9700", endpoint, zmq_strerror(errno));
        return false;
    }
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};
    bool sent = zmq_send(socket, question.data, question.size, 0) >= 0;
    int ready = sent ? zmq_poll(&item, 1, (long) timeout_ms) : -1;
    if (ready <= 0) {
        cli_fail(args,
                 "no answer from %s within %s: is that the option listen of a bridge that runs? ('weft node describe "
                 "bridge' tells of it)",
                 endpoint, cli_get(args, "--timeout"));
        return false;
    }
    zmq_msg_t message;
    zmq_msg_init(&message);
    bool got = zmq_msg_recv(&message, socket, ZMQ_DONTWAIT) >= 0;
    if (got) weft_buf_append(out, zmq_msg_data(&message), zmq_msg_size(&message));
    zmq_msg_close(&message);
    if (!got) cli_fail(args, "no answer from %s", endpoint);
    return got;
}

static int s_ask(const struct cli_args *args, const struct weft_bridge_ask_record *ask, struct answer *out)
{
    int64_t timeout_ms = 0;
    int none = 0;
    if (!cli_duration(args, "--timeout", 1, &timeout_ms)) return CLI_USAGE;
    weft_buf_t question;
    weft_buf_init(&question);
    weft_bridge_ask_record_encode(ask, &question);
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_DEALER);
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    bool answered = s_exchange(args, socket, timeout_ms, weft_buf_slice(&question), &out->bytes);
    zmq_close(socket);
    zmq_ctx_term(context);
    weft_buf_fini(&question);
    if (!answered) return CLI_FAILED;
    struct weft_bridge_answer_record *record = &out->record;
    weft_err_t err = weft_bridge_answer_record_decode(&out->codec, weft_buf_slice(&out->bytes), record, NULL);
    if (err != WEFT_OK)
        return cli_fail(args, "what answers at %s is no bridge of this release", cli_get(args, "--endpoint"));
    if (record->error == 0) return CLI_DONE;
    int size = record->message.size > 0 ? (int) record->message.size : 0;
    const char *message = size > 0 ? (const char *) record->message.data : "";
    if (record->error == WEFT_ERR_NOT_FOUND) return cli_fail(args, "%.*s", size, message);
    return cli_fail(args, "what answers at %s is no bridge of this release; it says: %.*s", cli_get(args, "--endpoint"),
                    size, message);
}

// The whole of a verb: asks, and shows what is answered.
static int s_run(const struct cli_args *args, const struct weft_bridge_ask_record *ask, s_show *show)
{
    struct answer answer;
    s_answer_init(&answer);
    int status = s_ask(args, ask, &answer);
    if (status == CLI_DONE) show(args, &answer.record);
    s_answer_fini(&answer);
    return status;
}

static void s_cell(cli_table_t *table, weft_slice_t text)
{
    if (text.size == 0)
        cli_table_cell(table, "-");
    else
        cli_table_cell(table, "%.*s", (int) text.size, (const char *) text.data);
}

static void s_number_cell(cli_table_t *table, int64_t number)
{
    if (number < 0)
        cli_table_cell(table, "-");
    else
        cli_table_cell(table, "%" PRId64, number);
}

// ---- offset

static void s_offset_show(const struct cli_args *args, const struct weft_bridge_answer_record *answer)
{
    const char *topic = args->arguments[0], *partition = args->arguments[1];
    int64_t asked = strtoll(args->arguments[2], NULL, 10);
    bool back = cli_has(args, "--back");
    int64_t source = back ? answer->offset : asked, target = back ? asked : answer->offset;
    if (cli_json(args)) {
        cli_json_t json;
        cli_json_init(&json);
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "topic", topic);
        cli_json_int(&json, "partition", strtoll(partition, NULL, 10));
        cli_json_int(&json, "offset", source);
        cli_json_slice(&json, "target_topic", answer->target_topic);
        cli_json_int(&json, "target_offset", target);
        cli_json_bool(&json, "exact", answer->exact);
        cli_json_close(&json, '}');
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
        return;
    }
    static const char *const columns[] = {"TOPIC", ">PARTITION", ">OFFSET", "TARGET TOPIC", ">TARGET OFFSET", "EXACT"};
    cli_table_t *table = cli_table_new(columns, 6);
    cli_table_cell(table, "%s", topic);
    cli_table_cell(table, "%s", partition);
    s_number_cell(table, source);
    s_cell(table, answer->target_topic);
    s_number_cell(table, target);
    cli_table_cell(table, "%s", answer->exact ? "yes" : "no, maybe behind");
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
}

static int s_offset(const struct cli_args *args)
{
    int64_t partition = 0, offset = 0;
    if (strlen(args->arguments[0]) > 249) return cli_usage(args, "a topic's name has at most 249 bytes");
    if (!cli_whole(args->arguments[1], 0, INT32_MAX, &partition))
        return cli_usage(args, "PARTITION is '%s'; it takes a whole number from 0 up", args->arguments[1]);
    if (!cli_whole(args->arguments[2], 0, INT64_MAX, &offset))
        return cli_usage(args, "OFFSET is '%s'; it takes a whole number from 0 up", args->arguments[2]);
    struct weft_bridge_ask_record ask;
    weft_bridge_ask_record_init(&ask);
    ask.topic = weft_slice_text(args->arguments[0]);
    ask.partition = (uint32_t) partition;
    if (cli_has(args, "--back"))
        ask.target_offset = offset;
    else
        ask.offset = offset;
    return s_run(args, &ask, s_offset_show);
}

// ---- groups

static void s_groups_json(const struct weft_bridge_answer_record *answer)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '[');
    for (size_t i = 0; i < answer->groups_count; i++) {
        const struct weft_bridge_group *row = &answer->groups[i];
        cli_json_open(&json, NULL, '{');
        cli_json_slice(&json, "group", row->group);
        cli_json_slice(&json, "topic", row->topic);
        cli_json_int(&json, "partition", row->partition);
        cli_json_int(&json, "offset", row->offset);
        cli_json_slice(&json, "target_topic", row->target_topic);
        cli_json_int(&json, "target_offset", row->target_offset);
        cli_json_bool(&json, "exact", row->exact);
        cli_json_int(&json, "committed", row->committed);
        cli_json_slice(&json, "reason", row->reason);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

static void s_groups_table(const struct weft_bridge_answer_record *answer)
{
    static const char *const columns[] = {"GROUP",          "TOPIC", ">PARTITION",       ">COMMITTED", "TARGET TOPIC",
                                          ">TARGET OFFSET", "EXACT", ">COMMITTED THERE", "WHY NOT"};
    cli_table_t *table = cli_table_new(columns, 9);
    for (size_t i = 0; i < answer->groups_count; i++) {
        const struct weft_bridge_group *row = &answer->groups[i];
        s_cell(table, row->group);
        s_cell(table, row->topic);
        cli_table_cell(table, "%u", row->partition);
        s_number_cell(table, row->offset);
        s_cell(table, row->target_topic);
        s_number_cell(table, row->target_offset);
        cli_table_cell(table, "%s", row->target_offset < 0 ? "-" : row->exact ? "yes" : "no, maybe behind");
        s_number_cell(table, row->committed);
        s_cell(table, row->reason);
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
}

static void s_groups_show(const struct cli_args *args, const struct weft_bridge_answer_record *answer)
{
    if (cli_json(args))
        s_groups_json(answer);
    else
        s_groups_table(answer);
}

static int s_groups(const struct cli_args *args)
{
    const char *group = args->argument_count > 0 ? args->arguments[0] : "*";
    if (strlen(group) > 255) return cli_usage(args, "a group's name has at most 255 bytes");
    struct weft_bridge_ask_record ask;
    weft_bridge_ask_record_init(&ask);
    ask.group = weft_slice_text(group);
    return s_run(args, &ask, s_groups_show);
}

// ---- status

static void s_status_json(const struct weft_bridge_answer_record *answer)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '[');
    for (size_t i = 0; i < answer->partitions_count; i++) {
        const struct weft_bridge_partition *row = &answer->partitions[i];
        cli_json_open(&json, NULL, '{');
        cli_json_slice(&json, "topic", row->topic);
        cli_json_int(&json, "partition", row->partition);
        cli_json_slice(&json, "target_topic", row->target_topic);
        cli_json_slice(&json, "state", row->state);
        cli_json_int(&json, "source_next", row->source_next);
        cli_json_int(&json, "target_next", row->target_next);
        cli_json_int(&json, "lag", row->lag);
        cli_json_slice(&json, "reason", row->reason);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

static void s_status_table(const struct weft_bridge_answer_record *answer)
{
    static const char *const columns[] = {"TOPIC",        ">PARTITION",   "TARGET TOPIC", "STATE",
                                          ">SOURCE NEXT", ">TARGET NEXT", ">LAG",         "WHY NOT"};
    if (answer->partitions_count == 0) {
        puts("nothing is copied: no topic of the source matches its option topics (yet), or it has not reached both "
             "clusters");
        return;
    }
    cli_table_t *table = cli_table_new(columns, 8);
    for (size_t i = 0; i < answer->partitions_count; i++) {
        const struct weft_bridge_partition *row = &answer->partitions[i];
        s_cell(table, row->topic);
        cli_table_cell(table, "%u", row->partition);
        s_cell(table, row->target_topic);
        s_cell(table, row->state);
        s_number_cell(table, row->source_next);
        s_number_cell(table, row->target_next);
        s_number_cell(table, row->lag);
        s_cell(table, row->reason);
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
}

static void s_status_show(const struct cli_args *args, const struct weft_bridge_answer_record *answer)
{
    if (cli_json(args))
        s_status_json(answer);
    else
        s_status_table(answer);
}

static int s_status(const struct cli_args *args)
{
    struct weft_bridge_ask_record ask;
    weft_bridge_ask_record_init(&ask);
    return s_run(args, &ask, s_status_show);
}

// ---- verbs

const struct cli_verb cli_verb_bridge_status = {
    "bridge status",
    "",
    0,
    0,
    "List what a running bridge copies, and how far it is.",
    "SOURCE NEXT is the next offset to be copied, TARGET NEXT the one behind the last copy, LAG how far the source is "
    "ahead. Counters are told by 'weft up' and by the node's report.",
    "  weft bridge status --endpoint tcp://127.0.0.1:9700",
    s_status_options,
    false,
    true,
    s_status};
const struct cli_verb cli_verb_bridge_offset = {
    "bridge offset",
    "TOPIC PARTITION OFFSET",
    3,
    3,
    "Tell which offset of the target an offset of the source stands for.",
    "TOPIC is the source's name of it. The answer is where in the target to read on who would read OFFSET next in the "
    "source. Not exact: it may be too early, never too late (docs/BRIDGE.md). With --back the other way round.",
    "  weft bridge offset orders 0 1042 --endpoint tcp://127.0.0.1:9700\n"
    "  weft bridge offset orders 0 977 --back",
    s_offset_options,
    false,
    true,
    s_offset};
const struct cli_verb cli_verb_bridge_groups = {
    "bridge groups",
    "[GROUP]",
    0,
    1,
    "List consumer groups' offsets as a running bridge has translated them.",
    "COMMITTED is the group's offset in the source, TARGET OFFSET that place in the target, COMMITTED THERE what the "
    "group has there: it is set forward only, and only while the group has no members there. GROUP is a name or a "
    "glob. The bridge translates those that its option groups names, every groups.ms.",
    "  weft bridge groups --endpoint tcp://127.0.0.1:9700\n"
    "  weft bridge groups 'billing*' --json",
    s_groups_options,
    false,
    true,
    s_groups};
