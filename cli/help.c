// SPDX-License-Identifier: MPL-2.0
// --help, the manual pages and the bash completion, all made from the verbs' tables.
#include "cli.h"

#include <ctype.h>
#include <string.h>

static void s_wrap(FILE *stream, const char *text, const char *indent, size_t width)
{
    size_t column = 0;
    for (const char *at = text; *at;) {
        if (*at == '\n') {
            fputc('\n', stream);
            column = 0;
            at++;
            continue;
        }
        size_t size = strcspn(at, " \n");
        if (column && column + 1 + size > width) {
            fputc('\n', stream);
            column = 0;
        }
        column += (size_t) fprintf(stream, "%s%.*s", column ? " " : indent, (int) size, at);
        at += size;
        at += strspn(at, " ");
    }
    if (column) fputc('\n', stream);
}

static void s_option_line(FILE *stream, const struct cli_option *option)
{
    char left[64];
    snprintf(left, sizeof left, "%s%s%s", option->name, option->value ? " " : "", option->value ? option->value : "");
    fprintf(stream, strlen(left) > 30 ? "  %s\n  " : "  %-30s ", left);
    if (strlen(left) > 30) fprintf(stream, "%-30s ", "");
    fputs(option->doc, stream);
    if (option->repeats) fputs(" May be repeated.", stream);
    if (option->initial) fprintf(stream, " [%s]", option->initial);
    fputc('\n', stream);
}

void cli_help(const struct cli_verb *verb, FILE *stream)
{
    const char *on = cli_colour(stream) ? "\033[1m" : "", *off = *on ? "\033[0m" : "";
    fprintf(stream, "%s\n\n%susage:%s weft %s%s%s [options]\n", verb->summary, on, off, verb->words,
            *verb->arguments ? " " : "", verb->arguments);
    if (verb->doc && *verb->doc) {
        fputc('\n', stream);
        s_wrap(stream, verb->doc, "", 100);
    }
    fprintf(stream, "\n%soptions:%s\n", on, off);
    for (const struct cli_option *option = verb->options; option && option->name; option++)
        s_option_line(stream, option);
    if (verb->connects) s_option_line(stream, &cli_option_bootstrap);
    if (verb->prints) s_option_line(stream, &cli_option_json);
    fprintf(stream, "  %-30s %s\n", "--help", "Print this help.");
    if (verb->examples && *verb->examples) fprintf(stream, "\n%sexamples:%s\n%s\n", on, off, verb->examples);
}

void cli_help_all(FILE *stream)
{
    const char *on = cli_colour(stream) ? "\033[1m" : "", *off = *on ? "\033[0m" : "";
    fprintf(stream, "Weft %s: a distributed commit log on ZeroMQ.\n\n%susage:%s weft VERB [arguments] [options]\n",
            WEFT_VERSION, on, off);
    char group[32] = "";
    for (size_t i = 0; cli_verbs[i]; i++) {
        char word[32];
        snprintf(word, sizeof word, "%.*s", (int) strcspn(cli_verbs[i]->words, " "), cli_verbs[i]->words);
        if (strcmp(word, group) != 0 && (strchr(cli_verbs[i]->words, ' ') || i == 0 || strchr(group, '*')))
            fputc('\n', stream);
        snprintf(group, sizeof group, "%s%s", word, "");
        fprintf(stream, "  %-24s %s\n", cli_verbs[i]->words, cli_verbs[i]->summary);
    }
    fprintf(stream, "\n'weft VERB --help' tells all of one verb; 'weft up' is the place to begin.\n"
                    "Exit status: 0 done, 1 failed (one sentence on stderr), 2 usage.\n");
}

// ---- manual pages (man(7) macros)

static void s_roff_text(FILE *stream, const char *text)
{
    bool line_begins = true;
    for (; *text; text++) {
        if (line_begins && (*text == '.' || *text == '\'')) fputs("\\&", stream);
        if (*text == '-' || *text == '\\') fputc('\\', stream);
        if (*text == '\\')
            fputc('e', stream);
        else
            fputc(*text, stream);
        line_begins = *text == '\n';
    }
    fputc('\n', stream);
}

static void s_roff_word(FILE *stream, const char *text)
{
    for (; *text; text++) {
        if (*text == '-') fputc('\\', stream);
        fputc(*text, stream);
    }
}

static void s_roff_option(FILE *stream, const struct cli_option *option)
{
    fputs(option->value ? ".TP\n.BI \"" : ".TP\n.B \"", stream);
    s_roff_word(stream, option->name);
    if (option->value) {
        fputs(" \" \"", stream);
        s_roff_word(stream, option->value);
    }
    fputs("\"\n", stream);
    s_roff_text(stream, option->doc);
    if (option->repeats) fputs("May be repeated.\n", stream);
    if (option->initial) {
        fputs("Default: ", stream);
        s_roff_text(stream, option->initial);
    }
}

static void s_manual_verb(const struct cli_verb *verb, FILE *stream)
{
    char title[64];
    snprintf(title, sizeof title, "weft-%s", verb->words);
    for (char *at = title; *at; at++)
        if (*at == ' ') *at = '-';
    fprintf(stream, ".TH %s 1 \"\" \"Weft %s\" \"Weft manual\"\n.SH NAME\n%s \\- ", title, WEFT_VERSION, title);
    s_roff_text(stream, verb->summary);
    fprintf(stream, ".SH SYNOPSIS\n.BI \"weft ");
    s_roff_word(stream, verb->words);
    fprintf(stream, "\" \"%s%s\" \" [options]\"\n", *verb->arguments ? " " : "", verb->arguments);
    if (verb->doc && *verb->doc) {
        fputs(".SH DESCRIPTION\n", stream);
        s_roff_text(stream, verb->doc);
    }
    fputs(".SH OPTIONS\n", stream);
    for (const struct cli_option *option = verb->options; option && option->name; option++)
        s_roff_option(stream, option);
    if (verb->connects) s_roff_option(stream, &cli_option_bootstrap);
    if (verb->prints) s_roff_option(stream, &cli_option_json);
    if (verb->examples && *verb->examples) {
        fputs(".SH EXAMPLES\n.nf\n", stream);
        s_roff_text(stream, verb->examples);
        fputs(".fi\n", stream);
    }
    fputs(".SH EXIT STATUS\n0 done, 1 failed (one sentence on stderr that says what to do), 2 usage,\n130 interrupted, "
          "141 who read its output left.\n.SH SEE "
          "ALSO\n.BR weft (1)\n",
          stream);
}

int cli_manual(const char *words, FILE *stream)
{
    if (words) {
        for (size_t i = 0; cli_verbs[i]; i++) {
            if (strcmp(cli_verbs[i]->words, words) == 0) {
                s_manual_verb(cli_verbs[i], stream);
                return CLI_DONE;
            }
        }
        fprintf(stderr, "weft manual: there is no verb '%s'; 'weft help' lists them\n", words);
        return CLI_USAGE;
    }
    fprintf(stream,
            ".TH weft 1 \"\" \"Weft %s\" \"Weft manual\"\n.SH NAME\nweft \\- a distributed commit log on ZeroMQ\n.SH "
            "SYNOPSIS\n.BI weft \" VERB \" \"[arguments] [options]\"\n.SH DESCRIPTION\n",
            WEFT_VERSION);
    fputs("Runs nodes, manages topics, produces and consumes, looks into logs and measures.\n.SH VERBS\n", stream);
    for (size_t i = 0; cli_verbs[i]; i++) {
        fprintf(stream, ".TP\n.B weft %s\n", cli_verbs[i]->words);
        s_roff_text(stream, cli_verbs[i]->summary);
    }
    fputs(".SH ENVIRONMENT\n.TP\n.B WEFT_BOOTSTRAP\nEndpoints of any nodes, comma separated.\n.TP\n.B NO_COLOR\nNo "
          "colour, even on a terminal.\n",
          stream);
    fputs(".SH EXIT STATUS\n0 done, 1 failed (one sentence on stderr that says what to do), 2 usage,\n130 interrupted, "
          "141 who read its output left.\n",
          stream);
    return CLI_DONE;
}

// ---- bash completion

// Case arms: the values of options that are a choice, "a|b|CAPITALS": what stands in capitals is for people.
static void s_completion_choices(FILE *stream)
{
    for (size_t i = 0; cli_verbs[i]; i++) {
        for (const struct cli_option *option = cli_verbs[i]->options; option && option->name; option++) {
            if (!option->value || !strchr(option->value, '|')) continue;
            fprintf(stream, "        '%s '*'%s') words='", cli_verbs[i]->words, option->name);
            for (const char *at = option->value; *at;) {
                size_t size = strcspn(at, "|");
                if (islower((unsigned char) *at)) fprintf(stream, "%.*s ", (int) size, at);
                at += size + (at[size] == '|');
            }
            fputs("' ;;\n", stream);
        }
    }
}

// The first words of all verbs, once each.
static void s_completion_first_words(FILE *stream)
{
    char last[32] = "";
    for (size_t i = 0; cli_verbs[i]; i++) {
        char word[32];
        snprintf(word, sizeof word, "%.*s", (int) strcspn(cli_verbs[i]->words, " "), cli_verbs[i]->words);
        if (strcmp(word, last) != 0) fprintf(stream, "%s ", word);
        snprintf(last, sizeof last, "%s", word);
    }
}

static void s_completion_options(const struct cli_verb *verb, FILE *stream)
{
    for (const struct cli_option *option = verb->options; option && option->name; option++)
        fprintf(stream, "%s ", option->name);
    if (verb->connects) fputs("--bootstrap ", stream);
    if (verb->prints) fputs("--json ", stream);
    fputs("--help", stream);
}

int cli_completion(FILE *stream)
{
    fputs("# bash completion for weft; made by: weft completion\n"
          "_weft() {\n"
          "    local at=$COMP_CWORD current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} words=''\n"
          "    local -a all=(\"${COMP_WORDS[@]}\")\n"
          "    if [ \"$at\" -gt 1 ] && [[ ${all[1]} == help || ${all[1]} == manual ]]; then\n"
          "        all=(\"${all[0]}\" \"${all[@]:2}\") at=$((at - 1))\n    fi\n"
          "    local first=${all[1]-} both=\"${all[1]-} ${all[2]-}\"\n"
          "    case \"$both $previous\" in\n",
          stream);
    s_completion_choices(stream);
    fputs("    esac\n"
          "    if [ -n \"$words\" ]; then\n        COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
          "        return 0\n    fi\n"
          "    if [ \"$at\" -eq 1 ]; then\n        words='",
          stream);
    s_completion_first_words(stream);
    char last[32] = "";
    fputs("'\n    elif [ \"$at\" -eq 2 ] && [[ $current != -* ]]; then\n        case $first in\n", stream);
    for (size_t i = 0; cli_verbs[i]; i++) {
        size_t size = strcspn(cli_verbs[i]->words, " ");
        if (!cli_verbs[i]->words[size]) continue;
        if (strncmp(last, cli_verbs[i]->words, size) != 0 || last[size]) {
            if (*last) fputs("' ;;\n", stream);
            snprintf(last, sizeof last, "%.*s", (int) size, cli_verbs[i]->words);
            fprintf(stream, "            %s) words='", last);
        }
        fprintf(stream, "%s ", cli_verbs[i]->words + size + 1);
    }
    fputs("' ;;\n        esac\n    fi\n    if [ -z \"$words\" ]; then\n        case $both in\n", stream);
    for (size_t i = 0; cli_verbs[i]; i++) {
        if (!strchr(cli_verbs[i]->words, ' ')) continue;
        fprintf(stream, "            '%s') words='", cli_verbs[i]->words);
        s_completion_options(cli_verbs[i], stream);
        fputs("' ;;\n", stream);
    }
    fputs("            *) case $first in\n", stream);
    for (size_t i = 0; cli_verbs[i]; i++) {
        if (strchr(cli_verbs[i]->words, ' ')) continue;
        fprintf(stream, "                %s) words='", cli_verbs[i]->words);
        s_completion_options(cli_verbs[i], stream);
        fputs("' ;;\n", stream);
    }
    fputs("            esac ;;\n        esac\n    fi\n"
          "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
          "    [ ${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- \"$current\"))\n"
          "    return 0\n}\ncomplete -F _weft weft\n",
          stream);
    return CLI_DONE;
}
