// SPDX-License-Identifier: MPL-2.0
// A cursor over JSON text (RFC 8259), enough for plans that people write: no tree, no allocation, depth bounded. The
// first thing that does not fit is remembered with its line; all later calls do nothing.
#include "json_read.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 32

void cli_json_read_begin(struct cli_json_reader *self, const char *text)
{
    *self = (struct cli_json_reader){.at = text, .line = 1};
}

bool cli_json_read_failed(struct cli_json_reader *self, const char *format, ...)
{
    if (*self->error) return false;
    size_t used = (size_t) snprintf(self->error, sizeof self->error, "line %d: ", self->line);
    va_list list;
    va_start(list, format);
    vsnprintf(self->error + used, sizeof self->error - used, format, list);
    va_end(list);
    return false;
}

static char s_peek(struct cli_json_reader *self)
{
    for (; *self->at && strchr(" \t\r\n", *self->at); self->at++) self->line += *self->at == '\n';
    return *self->at;
}

bool cli_json_read_open(struct cli_json_reader *self, char bracket)
{
    if (*self->error) return false;
    if (s_peek(self) != bracket) return cli_json_read_failed(self, "expected '%c'", bracket);
    if (self->depth == DEPTH_MAX) return cli_json_read_failed(self, "nested deeper than %d", DEPTH_MAX);
    self->depth++;
    self->at++;
    self->first = true;
    return true;
}

bool cli_json_read_is(struct cli_json_reader *self, char c)
{
    return !*self->error && s_peek(self) == c;
}

bool cli_json_read_next(struct cli_json_reader *self, char bracket)
{
    if (*self->error) return false;
    char c = s_peek(self);
    if (c == bracket) {
        self->at++;
        self->depth--;
        self->first = false;
        return false;
    }
    if (!self->first) {
        if (c != ',') return cli_json_read_failed(self, "expected ',' or '%c'", bracket);
        self->at++;
        if (s_peek(self) == bracket) return cli_json_read_failed(self, "a ',' before '%c'", bracket);
    }
    self->first = false;
    return true;
}

// Characters beyond ASCII stay as they are; of \u escapes only those below 0x80 have a use in names and keys.
static bool s_escape(struct cli_json_reader *self, char *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found = *self->at ? strchr(from, *self->at) : NULL;
    if (found) {
        *out = to[found - from];
        self->at++;
        return true;
    }
    unsigned code = 0;
    int size = 0;
    if (*self->at != 'u' || sscanf(self->at + 1, "%4x%n", &code, &size) != 1 || size != 4 || code > 127 || code == 0)
        return cli_json_read_failed(self, "an escape that is not taken here");
    *out = (char) code;
    self->at += 5;
    return true;
}

bool cli_json_read_text(struct cli_json_reader *self, char *out, size_t size)
{
    if (*self->error) return false;
    if (s_peek(self) != '"') return cli_json_read_failed(self, "expected a string");
    self->at++;
    size_t used = 0;
    while (*self->at != '"') {
        char c = *self->at;
        if (!c || (unsigned char) c < 0x20) return cli_json_read_failed(self, "a string that does not end");
        self->at++;
        if (c == '\\' && !s_escape(self, &c)) return false;
        if (used + 1 >= size) return cli_json_read_failed(self, "a string longer than %zu bytes", size - 1);
        out[used++] = c;
    }
    self->at++;
    out[used] = '\0';
    return true;
}

bool cli_json_read_key(struct cli_json_reader *self, char *out, size_t size)
{
    if (!cli_json_read_text(self, out, size)) return false;
    if (s_peek(self) != ':') return cli_json_read_failed(self, "expected ':' behind \"%s\"", out);
    self->at++;
    return true;
}

bool cli_json_read_int(struct cli_json_reader *self, int64_t min, int64_t max, int64_t *out)
{
    if (*self->error) return false;
    char c = s_peek(self), *end;
    errno = 0;
    long long number = strtoll(self->at, &end, 10);
    if ((c != '-' && !isdigit((unsigned char) c)) || end == self->at || errno || strchr(".eE", *end ? *end : ' ') ||
        number < min || number > max)
        return cli_json_read_failed(self, "expected a whole number from %lld to %lld", (long long) min,
                                    (long long) max);
    self->at = end;
    *out = number;
    return true;
}

bool cli_json_read_skip(struct cli_json_reader *self)
{
    char text[1024];
    switch (s_peek(self)) {
    case '"': return cli_json_read_text(self, text, sizeof text);
    case '[':
        if (!cli_json_read_open(self, '[')) return false;
        while (cli_json_read_next(self, ']'))
            if (!cli_json_read_skip(self)) return false;
        return !*self->error;
    case '{':
        if (!cli_json_read_open(self, '{')) return false;
        while (cli_json_read_next(self, '}'))
            if (!cli_json_read_key(self, text, sizeof text) || !cli_json_read_skip(self)) return false;
        return !*self->error;
    default: break;
    }
    size_t size = strspn(self->at, "+-.0123456789abcdefghijklmnopqrstuvwxyzE");
    if (!size) return cli_json_read_failed(self, "expected a value");
    self->at += size;
    return true;
}

bool cli_json_read_end(struct cli_json_reader *self)
{
    if (*self->error) return false;
    return !s_peek(self) || cli_json_read_failed(self, "more behind the end");
}
