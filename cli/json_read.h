// SPDX-License-Identifier: MPL-2.0
/**
 * Reading JSON that a person or a script wrote: a cursor over the text.
 *
 *     cli_json_read_begin(&json, text);
 *     cli_json_read_open(&json, '[');
 *     while (cli_json_read_next(&json, ']')) cli_json_read_int(&json, 0, 9, &number);
 *     if (!cli_json_read_end(&json)) puts(json.error);
 *
 * Every function returns false once something did not fit; `error` has the sentence, with the line.
 */
#ifndef WEFT_CLI_JSON_READ_H
#define WEFT_CLI_JSON_READ_H

#include "cli.h"

struct cli_json_reader {
    const char *at;
    int line, depth;
    bool first;
    char error[200]; // "" while all is well
};

void cli_json_read_begin(struct cli_json_reader *self, const char *text); // text is borrowed
bool cli_json_read_failed(struct cli_json_reader *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool cli_json_read_is(struct cli_json_reader *self, char c);         // the next thing begins with it
bool cli_json_read_open(struct cli_json_reader *self, char bracket); // '[' or '{'
bool cli_json_read_next(struct cli_json_reader *self, char bracket); // false behind the last one, at ']' or '}'
bool cli_json_read_key(struct cli_json_reader *self, char *out, size_t size);
bool cli_json_read_text(struct cli_json_reader *self, char *out, size_t size);
bool cli_json_read_int(struct cli_json_reader *self, int64_t min, int64_t max, int64_t *out);
bool cli_json_read_skip(struct cli_json_reader *self); // any value
bool cli_json_read_end(struct cli_json_reader *self);  // nothing follows

#endif
