// SPDX-License-Identifier: MPL-2.0
// Parsing by table: the longest verb whose words match, then its options in any place, then its arguments. Whatever
// does not fit is answered with what was given, what is allowed and the nearest thing that exists.
#include "cli.h"

#include "../lib/base/options.h"
#include "../lib/base/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CLI_BOOTSTRAP_DEFAULT "tcp://127.0.0.1:9650"

const struct cli_option cli_option_bootstrap = {"--bootstrap", "ENDPOINT[,...]", NULL, false,
                                                "Any nodes of the cluster (WEFT_BOOTSTRAP, or " CLI_BOOTSTRAP_DEFAULT
                                                ")."};
const struct cli_option cli_option_json = {"--json", NULL, NULL, false, "Print JSON for scripts."};
static const struct cli_option s_option_help = {"--help", NULL, NULL, false, "Print this help."};

// Number of arguments that the verb's words take at the start of argv, 0 if they don't match.
static int s_words_match(const struct cli_verb *verb, int argc, char **argv)
{
    const char *word = verb->words;
    int taken = 0;
    while (*word) {
        size_t size = strcspn(word, " ");
        if (taken >= argc || strlen(argv[taken]) != size || strncmp(argv[taken], word, size) != 0) return 0;
        taken++;
        word += size;
        word += strspn(word, " ");
    }
    return taken;
}

static const struct cli_verb *s_verb_find(int argc, char **argv, int *taken)
{
    const struct cli_verb *found = NULL;
    *taken = 0;
    for (size_t i = 0; cli_verbs[i]; i++) {
        int words = s_words_match(cli_verbs[i], argc, argv);
        if (words > *taken) {
            *taken = words;
            found = cli_verbs[i];
        }
    }
    return found;
}

// `weft topic`: lists what begins so.
static void s_print_group(const char *group, FILE *stream)
{
    size_t size = strlen(group);
    for (size_t i = 0; cli_verbs[i]; i++) {
        if (strncmp(cli_verbs[i]->words, group, size) == 0 && cli_verbs[i]->words[size] == ' ')
            fprintf(stream, "  weft %-24s %s\n", cli_verbs[i]->words, cli_verbs[i]->summary);
    }
}

static bool s_is_group(const char *word)
{
    size_t size = strlen(word);
    for (size_t i = 0; cli_verbs[i]; i++)
        if (strncmp(cli_verbs[i]->words, word, size) == 0 && cli_verbs[i]->words[size] == ' ') return true;
    return false;
}

static int s_unknown_verb(int argc, char **argv)
{
    bool group = s_is_group(argv[0]), word_follows = argc > 1 && argv[1][0] != '-';
    if (group && !word_follows) {
        bool asked = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
        FILE *stream = asked ? stdout : stderr;
        fprintf(stream, "usage: weft %s VERB [arguments] [options]\n", argv[0]);
        s_print_group(argv[0], stream);
        return asked ? CLI_DONE : CLI_USAGE;
    }
    char given[160]; // an argument behind a verb of one word is no part of its name
    snprintf(given, sizeof given, "%s%s%s", argv[0], word_follows ? " " : "", word_follows ? argv[1] : "");
    const char *names[128];
    size_t count = 0;
    for (size_t i = 0; cli_verbs[i] && count < 128; i++) names[count++] = cli_verbs[i]->words;
    const char *near = weft_nearest(given, names, count);
    if (!near) near = weft_nearest(argv[0], names, count);
    if (!group && (!near || !strchr(near, ' '))) snprintf(given, sizeof given, "%s", argv[0]);
    if (near)
        fprintf(stderr, "weft: there is no '%s'; did you mean 'weft %s'?\n", given, near);
    else
        fprintf(stderr, "weft: there is no '%s'; 'weft help' lists what there is\n", given);
    return CLI_USAGE;
}

static const struct cli_option *s_option_find(const struct cli_verb *verb, const char *name, size_t size)
{
    const struct cli_option *common[] = {verb->connects ? &cli_option_bootstrap : NULL,
                                         verb->prints ? &cli_option_json : NULL, &s_option_help};
    for (size_t i = 0; i < 3; i++)
        if (common[i] && strlen(common[i]->name) == size && strncmp(common[i]->name, name, size) == 0) return common[i];
    for (const struct cli_option *option = verb->options; option && option->name; option++)
        if (strlen(option->name) == size && strncmp(option->name, name, size) == 0) return option;
    return NULL;
}

static int s_unknown_option(const struct cli_args *args, const char *given, size_t size)
{
    const char *names[CLI_OPTIONS_MAX + 3];
    size_t count = 0;
    for (const struct cli_option *option = args->verb->options; option && option->name && count < CLI_OPTIONS_MAX;
         option++)
        names[count++] = option->name;
    if (args->verb->connects) names[count++] = cli_option_bootstrap.name;
    if (args->verb->prints) names[count++] = cli_option_json.name;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int) size, given);
    const char *near = weft_nearest(name, names, count);
    if (near) return cli_usage(args, "there is no option %s; did you mean %s?", name, near);
    return cli_usage(args, "there is no option %s; 'weft %s --help' lists them", name, args->verb->words);
}

static int s_give(struct cli_args *args, const struct cli_option *option, const char *value)
{
    if (args->given_count == CLI_REPEAT_MAX) return cli_usage(args, "more than %d options were given", CLI_REPEAT_MAX);
    args->given[args->given_count].option = option;
    args->given[args->given_count++].value = value;
    return CLI_DONE;
}

// One option at argv[*at]; moves *at past its value.
static int s_parse_option(struct cli_args *args, int argc, char **argv, int *at)
{
    const char *given = argv[*at];
    size_t size = strcspn(given, "=");
    const struct cli_option *option = s_option_find(args->verb, given, size);
    if (!option) return s_unknown_option(args, given, size);
    const char *value = "";
    if (option->value) {
        if (given[size] == '=')
            value = given + size + 1;
        else if (*at + 1 < argc)
            value = argv[++*at];
        else
            return cli_usage(args, "%s takes a value: %s %s", option->name, option->name, option->value);
    } else if (given[size] == '=')
        return cli_usage(args, "%s takes no value", option->name);
    return s_give(args, option, value);
}

int cli_parse(int argc, char **argv, struct cli_args *out)
{
    memset(out, 0, sizeof *out);
    int taken = 0;
    const struct cli_verb *verb = s_verb_find(argc, argv, &taken);
    // `weft bridge ofset`: a verb that takes no argument, and others begin with it.
    bool slip = verb && verb->argument_count_max == 0 && argc > taken && argv[taken][0] != '-' && s_is_group(argv[0]);
    if (!verb || (slip && taken == 1)) return s_unknown_verb(argc, argv);
    out->verb = verb;
    bool options_end = false;
    for (int at = taken; at < argc; at++) {
        if (!options_end && strcmp(argv[at], "--") == 0) {
            options_end = true;
        } else if (!options_end && strncmp(argv[at], "--", 2) == 0) {
            int status = s_parse_option(out, argc, argv, &at);
            if (status != CLI_DONE) return status;
        } else if (!options_end && strcmp(argv[at], "-h") == 0) {
            int status = s_give(out, &s_option_help, "");
            if (status != CLI_DONE) return status;
        } else {
            if (out->argument_count == CLI_REPEAT_MAX)
                return cli_usage(out, "more than %d arguments were given", CLI_REPEAT_MAX);
            out->arguments[out->argument_count++] = argv[at];
        }
    }
    if (cli_has(out, "--help")) {
        cli_help(verb, stdout);
        out->verb = NULL;
        return CLI_DONE;
    }
    if (out->argument_count < verb->argument_count_min) return cli_usage(out, "it takes %s", verb->arguments);
    if (out->argument_count > verb->argument_count_max)
        return cli_usage(out, "'%s' is one argument too many", out->arguments[verb->argument_count_max]);
    return CLI_DONE;
}

const char *cli_get(const struct cli_args *args, const char *name)
{
    for (int i = args->given_count - 1; i >= 0; i--)
        if (strcmp(args->given[i].option->name, name) == 0) return args->given[i].value;
    for (const struct cli_option *option = args->verb->options; option && option->name; option++)
        if (strcmp(option->name, name) == 0) return option->initial;
    return NULL;
}

bool cli_has(const struct cli_args *args, const char *name)
{
    for (int i = 0; i < args->given_count; i++)
        if (strcmp(args->given[i].option->name, name) == 0) return true;
    return false;
}

const char *cli_get_nth(const struct cli_args *args, const char *name, int n)
{
    for (int i = 0; i < args->given_count; i++)
        if (strcmp(args->given[i].option->name, name) == 0 && n-- == 0) return args->given[i].value;
    return NULL;
}

const char *cli_bootstrap(const struct cli_args *args)
{
    const char *value = cli_get(args, "--bootstrap");
    if (!value) value = getenv("WEFT_BOOTSTRAP");
    return value && *value ? value : CLI_BOOTSTRAP_DEFAULT;
}

bool cli_json(const struct cli_args *args)
{
    return cli_has(args, "--json");
}

bool cli_number(const struct cli_args *args, const char *option, int64_t min, int64_t max, int64_t *out)
{
    const char *text = cli_get(args, option);
    if (!text) return true;
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    int64_t unit = strcmp(end, "KiB") == 0   ? 1024
                   : strcmp(end, "MiB") == 0 ? 1048576
                   : strcmp(end, "GiB") == 0 ? 1073741824
                   : *end                    ? 0
                                             : 1;
    if (end == text || errno || unit == 0 || number > INT64_MAX / unit || number < INT64_MIN / unit ||
        number * unit < min || number * unit > max) {
        cli_usage(args, "%s is '%s'; it takes a whole number from %lld to %lld", option, text, (long long) min,
                  (long long) max);
        return false;
    }
    *out = number * unit;
    return true;
}

bool cli_duration(const struct cli_args *args, const char *option, int64_t min_ms, int64_t *out_ms)
{
    const struct weft_option duration = {.name = option,
                                         .type = WEFT_OPTION_DURATION,
                                         .initial = "1d",
                                         .min = min_ms,
                                         .max = 86400000,
                                         .doc = "As said."};
    const char *text = cli_get(args, option);
    if (!text || weft_option_parse(&duration, text, out_ms)) return true;
    cli_usage(args, "%s is '%s'; it takes a duration (500ms, 10s, 1m) up to a day%s", option, text,
              min_ms == 0 ? ", 0 for none" : "");
    return false;
}

bool cli_whole(const char *text, int64_t min, int64_t max, int64_t *out)
{
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (strspn(text, "0123456789-") == 0 || end == text || *end || errno || number < min || number > max) return false;
    *out = number;
    return true;
}

bool cli_trace_level(const struct cli_args *args)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    const char *wanted = cli_get(args, "--trace");
    for (int i = 0; i < 4; i++) {
        if (strcmp(wanted, names[i]) != 0) continue;
        weft_trace_level_set((enum weft_trace_level) i);
        return true;
    }
    cli_usage(args, "--trace is '%s'; it takes error, warn, info or debug", wanted);
    return false;
}

static int s_hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

weft_slice_t cli_unescape(const char *text)
{
    uint8_t *out = weft_alloc(strlen(text) + 1);
    size_t size = 0;
    for (const char *at = text; *at; at++) {
        if (*at != '\\' || !at[1]) {
            out[size++] = (uint8_t) *at;
            continue;
        }
        at++;
        switch (*at) {
        case 'n': out[size++] = '\n'; break;
        case 't': out[size++] = '\t'; break;
        case 'r': out[size++] = '\r'; break;
        case '0': out[size++] = '\0'; break;
        case 'x':
            if (s_hex(at[1]) >= 0 && s_hex(at[2]) >= 0) {
                out[size++] = (uint8_t) (s_hex(at[1]) * 16 + s_hex(at[2]));
                at += 2;
                break;
            }
            out[size++] = 'x';
            break;
        default: out[size++] = (uint8_t) *at; break;
        }
    }
    return weft_slice(out, size);
}
