// SPDX-License-Identifier: MPL-2.0
// A line is formatted on the stack and leaves with one write(2): lines of several threads and processes on the same
// stderr never mix, and nothing is allocated or locked. What peers sent may stand in a line: control bytes are shown as
// '?', so that nobody forges lines or drives the terminal. Colour only where stderr is a terminal and NO_COLOR is not
// set.
#include "trace.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { S_TEXT_BYTES_MAX = 2048, S_PREFIX_BYTES_MAX = 256 };

int weft_trace_level_now = WEFT_TRACE_INFO;

static weft_trace_sink_fn *s_sink;
static void *s_sink_context;

static const struct {
    const char *name, *colour;
} s_levels[] = {
    [WEFT_TRACE_ERROR] = {"error", "\x1b[31m"},
    [WEFT_TRACE_WARN] = {"warn", "\x1b[33m"},
    [WEFT_TRACE_INFO] = {"info", "\x1b[32m"},
    [WEFT_TRACE_DEBUG] = {"debug", "\x1b[2m"},
};

void weft_trace_level_set(enum weft_trace_level level)
{
    weft_trace_level_now = (int) level;
}

void weft_trace_sink_set(weft_trace_sink_fn *sink, void *context)
{
    s_sink = sink;
    s_sink_context = context;
}

static bool s_coloured(void)
{
    return isatty(STDERR_FILENO) && !getenv("NO_COLOR");
}

static void s_write(enum weft_trace_level level, const char *source, const char *text)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    char when[32], line[S_PREFIX_BYTES_MAX + S_TEXT_BYTES_MAX];
    if (strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc) == 0) when[0] = '\0';
    bool coloured = s_coloured();
    int size =
        snprintf(line, sizeof line - 1, "%s.%03ldZ %s%s%s %.128s: %s", when, now.tv_nsec / 1000000,
                 coloured ? s_levels[level].colour : "", s_levels[level].name, coloured ? "\x1b[0m" : "", source, text);
    if (size < 0) return;
    if (size > (int) sizeof line - 2) size = (int) sizeof line - 2;
    line[size++] = '\n';
    ssize_t written; // a full or closed stderr loses the line: trace never fails its caller
    do written = write(STDERR_FILENO, line, (size_t) size);
    while (written < 0 && errno == EINTR);
}

void weft_trace_emit(enum weft_trace_level level, const char *source, const char *format, ...)
{
    int saved_errno = errno;
    char text[S_TEXT_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (size < 0) text[0] = '\0';
    for (unsigned char *at = (unsigned char *) text; *at; at++) {
        if (*at < ' ' || *at == 0x7f) *at = '?';
    }
    if (s_sink)
        s_sink(s_sink_context, level, source ? source : "weft", text);
    else
        s_write(level, source ? source : "weft", text);
    errno = saved_errno;
}
