// SPDX-License-Identifier: MPL-2.0
/**
 * Trace: diagnostics for people, one line each, to stderr or to a function that the program sets.
 *
 * Not the commit log. Levels: error (a person must act), warn (something was refused or lost its way), info (life-cycle
 * of nodes and partitions), debug (decisions; compiled in, off by default). A call below the level costs one load and
 * compare. Trace never blocks on a full pipe for longer than one write(2), and never fails its caller.
 */
#ifndef WEFT_BASE_TRACE_H
#define WEFT_BASE_TRACE_H

enum weft_trace_level { WEFT_TRACE_ERROR, WEFT_TRACE_WARN, WEFT_TRACE_INFO, WEFT_TRACE_DEBUG };

extern int weft_trace_level_now; // set by weft_trace_level_set; read by the macro only

typedef void weft_trace_sink_fn(void *context, enum weft_trace_level level, const char *source, const char *line);

void weft_trace_level_set(enum weft_trace_level level);
// Replaces stderr; NULL restores it. `line` is the sentence alone, without time, level, source or newline. Set it
// before threads start.
void weft_trace_sink_set(weft_trace_sink_fn *sink, void *context);
void weft_trace_emit(enum weft_trace_level level, const char *source, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// `source` names the node or part: "broker-1", "coordinator-1", "client".
#define weft_trace(level, source, ...) \
    do { \
        if (__builtin_expect((int) (level) <= weft_trace_level_now, 0)) \
            weft_trace_emit((level), (source), __VA_ARGS__); \
    } while (0)

#endif
