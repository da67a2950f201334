// SPDX-License-Identifier: MPL-2.0
/**
 * The weft command: verbs described once.
 *
 * Each verb is a constant table (words, arguments, options, docs, function). Parsing, --help, the manual pages and the
 * bash completion all read the same tables, so they can't disagree. Exit status: 0 done, 1 failed (one sentence on
 * stderr that says what to do), 2 usage.
 */
#ifndef WEFT_CLI_CLI_H
#define WEFT_CLI_CLI_H

#include "../lib/base/bytes.h"
#include "../lib/base/error.h"

#include <stdio.h>

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130, CLI_READER_LEFT = 141 }; // as a shell has it

#define CLI_OPTIONS_MAX 32
#define CLI_REPEAT_MAX 256

struct cli_option {
    const char *name;    // "--partitions"
    const char *value;   // placeholder: "P"; NULL: a switch
    const char *initial; // default shown and used, NULL: none
    bool repeats;
    const char *doc;
};

// Of every verb that runs nodes.
#define CLI_OPTION_TRACE \
    { \
        "--trace", "error|warn|info|debug", "info", false, "How much is said on stderr." \
    }

struct cli_args;

struct cli_verb {
    const char *words;     // "topic create"
    const char *arguments; // "NAME" or "TOPIC..." or ""; [X] is optional
    int argument_count_min, argument_count_max;
    const char *summary;              // one line
    const char *doc;                  // paragraphs for --help and the manual page
    const char *examples;             // lines
    const struct cli_option *options; // ends with a NULL name
    bool connects;                    // takes --bootstrap
    bool prints;                      // takes --json
    int (*run)(const struct cli_args *args);
};

extern const struct cli_verb *const *cli_verbs; // ends with NULL
extern const struct cli_option cli_option_bootstrap, cli_option_json;

struct cli_args {
    const struct cli_verb *verb;
    const char *arguments[CLI_REPEAT_MAX];
    int argument_count;
    struct {
        const struct cli_option *option;
        const char *value; // "" for a switch
    } given[CLI_REPEAT_MAX];
    int given_count;
};

// ---- args.c

// Finds the verb and parses; on a usage error prints it and returns CLI_USAGE; prints help itself for --help (then
// *verb_p is NULL and the result CLI_DONE).
int cli_parse(int argc, char **argv, struct cli_args *out);
const char *cli_get(const struct cli_args *args, const char *option); // last value, its default, or NULL
bool cli_has(const struct cli_args *args, const char *option);        // given at all
const char *cli_get_nth(const struct cli_args *args, const char *option,
                        int n);                         // n-th of a repeated one, NULL at the end
const char *cli_bootstrap(const struct cli_args *args); // --bootstrap, WEFT_BOOTSTRAP, or the default
bool cli_json(const struct cli_args *args);
// Parses a decimal (or size with KiB, MiB, GiB) within bounds; else prints a usage sentence and returns false.
bool cli_number(const struct cli_args *args, const char *option, int64_t min, int64_t max, int64_t *out);
// The same of a duration (500ms, 10s, 1m), up to a day. As told with --help, the option is given or has a default.
bool cli_duration(const struct cli_args *args, const char *option, int64_t min_ms, int64_t *out_ms);
// A whole number in plain decimal, all of the text; false if it is not one or out of bounds.
bool cli_whole(const char *text, int64_t min, int64_t max, int64_t *out);
// Sets the trace level as CLI_OPTION_TRACE was given; else prints a usage sentence and returns false.
bool cli_trace_level(const struct cli_args *args);
// Unescapes \n \t \0 \\ \xHH in place into a fresh slice (heap; the caller frees data).
weft_slice_t cli_unescape(const char *text);

// ---- out.c

// Prints "weft VERB: sentence" to stderr; returns CLI_FAILED or CLI_USAGE.
int cli_fail(const struct cli_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_usage(const struct cli_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Whoever read our output is gone (`weft consume orders | head -1`): known before the next write fails.
bool cli_reader_left(void);
// The process's exit status: `status`, unless standard output could not be written. Said, but for a reader that left.
int cli_end(int status);

bool cli_colour(FILE *stream); // a terminal, and NO_COLOR is not set

/** A table whose columns align; numbers to the right. Cells are copied. */
typedef struct cli_table cli_table_t;
cli_table_t *cli_table_new(const char *const *columns,
                           size_t count); // a column whose title begins with '>' is right-aligned
void cli_table_cell(cli_table_t *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cli_table_print(cli_table_t *self, FILE *stream);
void cli_table_destroy(cli_table_t **self_p);

/** JSON, written in order; strings are escaped, invalid UTF-8 replaced. Keys are NULL inside arrays. */
typedef struct cli_json_writer {
    weft_buf_t buf;
    bool comma;
} cli_json_t;
void cli_json_init(cli_json_t *self);
void cli_json_fini(cli_json_t *self);
void cli_json_open(cli_json_t *self, const char *key, char bracket); // '{' or '['
void cli_json_close(cli_json_t *self, char bracket);                 // '}' or ']'
void cli_json_text(cli_json_t *self, const char *key, const char *text);
void cli_json_slice(cli_json_t *self, const char *key, weft_slice_t text); // nil: null
// The same, but bytes that are no UTF-8 stay whole: "KEY_base64" instead of "KEY", inside arrays {"base64": ...}.
void cli_json_bytes(cli_json_t *self, const char *key, weft_slice_t bytes);
void cli_json_int(cli_json_t *self, const char *key, int64_t number);
void cli_json_float(cli_json_t *self, const char *key, double number, int decimals);
void cli_json_bool(cli_json_t *self, const char *key, bool value);
void cli_json_print(cli_json_t *self, FILE *stream); // with a newline

// Human forms: "12.3 MiB", "1,234,567", "350 ms". Written into one of a few static buffers: use at once.
const char *cli_bytes_text(double bytes);
const char *cli_count_text(int64_t count);

/** Progress on stderr, only on a terminal, at most ten times a second. */
struct cli_progress {
    const char *what;
    int64_t total; // 0: unknown
    int64_t next_us;
    bool shown;
};
void cli_progress_begin(struct cli_progress *self, const char *what, int64_t total);
void cli_progress_show(struct cli_progress *self, int64_t done, int64_t bytes, double seconds);
void cli_progress_end(struct cli_progress *self);

int64_t cli_now_us(void);  // monotonic
int64_t cli_wall_ms(void); // Unix time

// True once SIGINT or SIGTERM came, after cli_catch_signals.
void cli_catch_signals(void);
bool cli_interrupted(void);
bool cli_sleep_ms(int ms); // false: interrupted

// ---- help.c

void cli_help(const struct cli_verb *verb, FILE *stream); // of one verb
void cli_help_all(FILE *stream);                          // overview
int cli_manual(const char *words, FILE *stream);          // roff; NULL: weft.1
int cli_completion(FILE *stream);                         // bash

// ---- verbs

extern const struct cli_verb cli_verb_up, cli_verb_topology_check, cli_verb_topology_draw;
extern const struct cli_verb cli_verb_topic_create, cli_verb_topic_list, cli_verb_topic_describe, cli_verb_topic_alter,
    cli_verb_topic_add_partitions, cli_verb_topic_delete, cli_verb_topic_delete_records;
extern const struct cli_verb cli_verb_produce, cli_verb_consume;
extern const struct cli_verb cli_verb_cluster_status, cli_verb_cluster_brokers, cli_verb_node_status;
extern const struct cli_verb cli_verb_node_list, cli_verb_node_describe, cli_verb_node_run;
struct weft_node_type;
const struct cli_verb *cli_verb_of_type(const struct weft_node_type *type); // weft TYPE; lives for ever
extern const struct cli_verb cli_verb_cluster_drain, cli_verb_cluster_remove, cli_verb_cluster_reassign,
    cli_verb_cluster_balance, cli_verb_cluster_elect, cli_verb_cluster_alter, cli_verb_cluster_voters;
extern const struct cli_verb cli_verb_group_list, cli_verb_group_describe, cli_verb_group_reset, cli_verb_group_delete;
extern const struct cli_verb cli_verb_bridge_status, cli_verb_bridge_offset, cli_verb_bridge_groups;
extern const struct cli_verb cli_verb_log_dump, cli_verb_log_verify;
extern const struct cli_verb cli_verb_bench_limit, cli_verb_bench_produce, cli_verb_bench_consume,
    cli_verb_bench_latency, cli_verb_bench_commit;
extern const struct cli_verb cli_verb_help, cli_verb_manual, cli_verb_completion, cli_verb_version;

#endif
