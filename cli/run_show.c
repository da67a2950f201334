// SPDX-License-Identifier: MPL-2.0
/*
 * What `weft up FILE` shows. On a terminal, in the foreground, a table that is drawn again in its place, with all
 * lines above it, also those of trace, which comes from any thread and is held in a ring until the loop prints it. Else
 * lines as things
 * happen. With --json a line of JSON whenever something has changed. A status file always holds the last JSON whole.
 */
#include "run.h"

#include "../lib/base/disk.h"
#include "../lib/base/trace.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define S_TRACE_LINES 256
#define S_TABLE_US 500000
#define S_STATUS_US 1000000
#define S_TOPICS_SHOWN 256
#define S_REASON_MS 60000 // that long the table says why a node was started again

struct run_show {
    bool table, json;
    const char *status_file;
    int drawn; // lines of the table on the screen
    int64_t table_us, status_us, json_us;
    unsigned topic_changes;
    pthread_mutex_t lock; // over the ring of trace lines
    char *ring[S_TRACE_LINES];
    size_t ring_count, ring_dropped;
};

// ---- lines

// A job in the background must not draw over what a person types. A terminal that is nobody's has no such jobs.
static bool s_has_table(run_show_t *self)
{
    if (!self->table) return false;
    pid_t group = tcgetpgrp(STDOUT_FILENO);
    if (group < 0 || group == getpgrp()) return true;
    self->drawn = 0; // others write below it now
    return false;
}

static void s_erase(run_show_t *self)
{
    if (!s_has_table(self)) return;
    if (self->drawn > 0) printf("\033[%dA\r\033[J", self->drawn);
    self->drawn = 0;
}

static const char *s_level(enum weft_trace_level level)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    return names[level];
}

static void s_trace_line(void *context, enum weft_trace_level level, const char *source, const char *line)
{
    run_show_t *self = context;
    char *text = NULL;
    if (asprintf(&text, "%s %s: %s", s_level(level), source, line) < 0) return;
    pthread_mutex_lock(&self->lock);
    if (self->ring_count < S_TRACE_LINES) {
        self->ring[self->ring_count++] = text;
        text = NULL;
    } else {
        self->ring_dropped++;
    }
    pthread_mutex_unlock(&self->lock);
    free(text);
}

static void s_print_trace(run_show_t *self)
{
    pthread_mutex_lock(&self->lock);
    if (self->ring_count > 0) s_erase(self);
    for (size_t i = 0; i < self->ring_count; i++) {
        puts(self->ring[i]);
        free(self->ring[i]);
    }
    if (self->ring_dropped) printf("(and %zu lines more)\n", self->ring_dropped);
    self->ring_count = self->ring_dropped = 0;
    pthread_mutex_unlock(&self->lock);
}

static void s_say(struct run *run, FILE *stream, const char *of, const char *format, va_list list)
{
    char text[2 * WEFT_ERROR_TEXT_BYTES_MAX];
    vsnprintf(text, sizeof text, format, list);
    s_erase(run->show);
    fprintf(stream, "%s%s%s\n", of ? of : "", of ? " " : "", text);
    fflush(stream);
}

void run_say(struct run *run, const char *of, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    s_say(run, run->show->json ? stderr : stdout, of, format, list);
    va_end(list);
}

void run_complain(struct run *run, const char *of, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    s_say(run, run->show->table ? stdout : stderr, of, format, list);
    va_end(list);
}

void run_pass(struct run *run, const char *of, const char *line)
{
    s_erase(run->show);
    FILE *stream = run->show->table ? stdout : stderr;
    fprintf(stream, "%s | %s\n", of, line);
}

// ---- JSON

static void s_json_counters(const struct run_node *node, cli_json_t *json)
{
    cli_json_open(json, "counters", '{');
    for (size_t i = 0; i < node->counter_count; i++) { // those of several parts (shards) are added up
        bool first = true;
        uint64_t sum = 0;
        for (size_t k = 0; k < node->counter_count; k++) {
            if (strcmp(node->counters[k].name, node->counters[i].name) != 0) continue;
            if (k < i) first = false;
            sum += node->counters[k].value;
        }
        if (first) cli_json_int(json, node->counters[i].name, (int64_t) sum);
    }
    cli_json_close(json, '}');
}

static const char *s_state_name(const struct run_node *node)
{
    if (node->state == RUN_DONE) return "done";
    if (node->state == RUN_STOPPED) return "stopped";
    return weft_health_name(node->health);
}

static void s_json_node(const struct run_node *node, cli_json_t *json)
{
    cli_json_open(json, NULL, '{');
    cli_json_text(json, "name", node->name);
    cli_json_text(json, "type", node->type);
    cli_json_text(json, "endpoint", node->endpoint);
    cli_json_text(json, "health", s_state_name(node));
    cli_json_text(json, "sentence", node->sentence);
    cli_json_int(json, "since_ms", node->since_ms);
    cli_json_int(json, "restarts", node->restarts);
    cli_json_text(json, "reason", *node->reason ? node->reason : NULL);
    if (*node->reason) cli_json_int(json, "reason_ms", node->reason_ms);
    cli_json_bool(json, "own_process", node->own_process);
    cli_json_int(json, "pid", node->own_process ? node->pid : getpid());
    s_json_counters(node, json);
    cli_json_close(json, '}');
}

static void s_json_topics(struct run *run, cli_json_t *json)
{
    struct run_topic_view *views = weft_calloc(S_TOPICS_SHOWN, sizeof *views);
    unsigned changes;
    size_t count = run->topics ? run_topics_view(run->topics, views, S_TOPICS_SHOWN, &changes) : 0;
    cli_json_open(json, "topics", '[');
    for (size_t i = 0; i < count; i++) {
        cli_json_open(json, NULL, '{');
        cli_json_text(json, "name", views[i].name);
        cli_json_bool(json, "made", views[i].made);
        cli_json_text(json, "sentence", views[i].sentence);
        cli_json_close(json, '}');
    }
    cli_json_close(json, ']');
    free(views);
}

static void s_json(struct run *run, cli_json_t *json)
{
    cli_json_init(json);
    cli_json_open(json, NULL, '{');
    cli_json_text(json, "topology", weft_topology_name(run->topology));
    cli_json_text(json, "file", run->path);
    cli_json_text(json, "data", weft_topology_data(run->topology));
    cli_json_int(json, "pid", getpid());
    cli_json_int(json, "time_ms", cli_wall_ms());
    cli_json_bool(json, "ready", run->ready);
    cli_json_bool(json, "stopping", run->stopping);
    cli_json_open(json, "nodes", '[');
    for (size_t i = 0; i < run->node_count; i++) s_json_node(run->nodes[i], json);
    cli_json_close(json, ']');
    s_json_topics(run, json);
    cli_json_close(json, '}');
}

// Replaced whole: who reads it finds the old or the new one.
static void s_write_status(struct run *run)
{
    const char *path = run->show->status_file;
    char other[4096];
    snprintf(other, sizeof other, "%s.new", path);
    FILE *file = fopen(other, "w");
    bool good = file != NULL;
    if (good) {
        cli_json_t json;
        s_json(run, &json);
        cli_json_print(&json, file);
        cli_json_fini(&json);
        good = !ferror(file);
        good = fclose(file) == 0 && good;
    }
    if (good && rename(other, path) == 0) return;
    run_say(run, NULL, "the status file '%s' can't be written; it is not tried again", path);
    run->show->status_file = NULL;
}

bool run_write_ready(struct run *run)
{
    const char *path = cli_get(run->args, "--ready-file");
    if (!path) return true;
    weft_buf_t text;
    weft_buf_init(&text);
    char *bootstrap = run_bootstrap(run);
    weft_buf_printf(&text, "%s\n", bootstrap);
    free(bootstrap);
    for (size_t i = 0; i < run->node_count; i++)
        weft_buf_printf(&text, "%s %s\n", run->nodes[i]->name, run->nodes[i]->endpoint);
    bool good = weft_disk_replace_file(weft_disk_posix(), path, weft_buf_slice(&text)) == WEFT_OK;
    weft_buf_fini(&text);
    return good;
}

// ---- the table

static const char *s_ago(int64_t since_ms)
{
    static char text[32];
    int64_t seconds = (cli_wall_ms() - since_ms) / 1000;
    if (seconds < 0) seconds = 0;
    if (seconds < 100)
        snprintf(text, sizeof text, "%llds", (long long) seconds);
    else if (seconds < 6000)
        snprintf(text, sizeof text, "%lldm", (long long) seconds / 60);
    else if (seconds < 100 * 3600)
        snprintf(text, sizeof text, "%lldh", (long long) seconds / 3600);
    else
        snprintf(text, sizeof text, "%lldd", (long long) seconds / 86400);
    return text;
}

// One or two of its counters that say what it does: those of records first, then any that moved.
static void s_counters_text(const struct run_node *node, char *out, size_t size)
{
    size_t used = 0, shown = 0;
    out[0] = '\0';
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < node->counter_count && shown < 2 && used < size; i++) {
            const struct run_counter *counter = &node->counters[i];
            bool records = strstr(counter->name, "records") != NULL;
            if (counter->value == 0 || records != (pass == 0)) continue;
            size_t name = strlen(counter->name);
            if (name > 6 && strcmp(counter->name + name - 6, "_count") == 0) name -= 6;
            used += (size_t) snprintf(out + used, size - used, "%s%s %.*s", shown ? ", " : "",
                                      cli_count_text((int64_t) counter->value), (int) name, counter->name);
            shown++;
        }
    }
}

// A line of the table, cut to the screen: one that wraps would spoil the way back up.
static void s_line(run_show_t *self, unsigned columns, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char text[1024];
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    size_t bytes = 0, shown = 0;
    while (text[bytes] && shown < columns - 1) {
        bytes++;
        while (((unsigned char) text[bytes] & 0xc0) == 0x80) bytes++;
        shown++;
    }
    printf("%.*s\n", (int) bytes, text);
    self->drawn++;
}

static void s_row(struct run *run, unsigned columns, const struct run_node *node, size_t name, size_t endpoint)
{
    char what[WEFT_ERROR_TEXT_BYTES_MAX + 16] = "";
    bool well = node->health == WEFT_HEALTH_SERVING && node->state == RUN_UP;
    bool lately = *node->reason && cli_wall_ms() - node->reason_ms < S_REASON_MS;
    if (!well && node->state != RUN_STOPPED)
        snprintf(what, sizeof what, "%s", node->sentence);
    else if (well && lately)
        snprintf(what, sizeof what, "before: %s", node->reason);
    else if (well)
        s_counters_text(node, what, sizeof what);
    s_line(run->show, columns, "%-*s  %-12.12s %-8s %5s %4u  %-*s  %s", (int) name, node->name, node->type,
           s_state_name(node), s_ago(node->since_ms), node->restarts, (int) endpoint, node->endpoint, what);
}

// Topics are shown only where something is the matter with them.
static void s_topic_rows(struct run *run, unsigned columns, size_t room)
{
    struct run_topic_view *views = weft_calloc(S_TOPICS_SHOWN, sizeof *views);
    unsigned changes;
    size_t count = run->topics ? run_topics_view(run->topics, views, S_TOPICS_SHOWN, &changes) : 0;
    for (size_t i = 0; i < count && room > 0; i++) {
        if (!views[i].refused && !(views[i].made && *views[i].sentence)) continue;
        s_line(run->show, columns, "topic %s  %s: %s", views[i].name, views[i].made ? "differs" : "not made",
               views[i].sentence);
        room--;
    }
    free(views);
}

static void s_draw(struct run *run)
{
    struct winsize window = {0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col < 20) window = (struct winsize){24, 80, 0, 0};
    size_t name = 4, endpoint = 8, good = 0, rows = window.ws_row > 5 ? window.ws_row - 5u : 1;
    for (size_t i = 0; i < run->node_count; i++) {
        const struct run_node *node = run->nodes[i];
        if (strlen(node->name) > name) name = strlen(node->name);
        if (strlen(node->endpoint) > endpoint) endpoint = strlen(node->endpoint);
        good += node->state == RUN_UP && node->health == WEFT_HEALTH_SERVING;
    }
    s_erase(run->show);
    s_line(run->show, window.ws_col, "%s", "");
    s_line(run->show, window.ws_col, "%s: %zu of %zu nodes serve, data in %s, up %s%s",
           weft_topology_name(run->topology), good, run->node_count, weft_topology_data(run->topology),
           s_ago(run->started_ms), run->stopping ? ", stopping" : "");
    s_line(run->show, window.ws_col, "%-*s  %-12s %-8s %5s %4s  %-*s  %s", (int) name, "NODE", "TYPE", "HEALTH",
           "SINCE", "NEW", (int) endpoint, "ENDPOINT", "WHAT");
    for (size_t i = 0; i < run->node_count && i < rows; i++) s_row(run, window.ws_col, run->nodes[i], name, endpoint);
    if (run->node_count > rows)
        s_line(run->show, window.ws_col, "... and %zu more", run->node_count - rows);
    else
        s_topic_rows(run, window.ws_col, rows - run->node_count);
    fflush(stdout);
}

// ---- its life

run_show_t *run_show_new(const struct cli_args *args)
{
    run_show_t *self = weft_calloc(1, sizeof *self);
    self->json = cli_json(args);
    self->table = !self->json && isatty(STDOUT_FILENO) && isatty(STDERR_FILENO);
    self->status_file = cli_get(args, "--status-file");
    pthread_mutex_init(&self->lock, NULL);
    if (self->table) weft_trace_sink_set(s_trace_line, self);
    return self;
}

void run_show(struct run *run)
{
    run_show_t *self = run->show;
    int64_t now = cli_now_us();
    if (run->topics) {
        unsigned changes;
        run_topics_view(run->topics, NULL, 0, &changes);
        if (changes != self->topic_changes) run->changed = true;
        self->topic_changes = changes;
    }
    bool status = self->status_file && (run->changed || now - self->status_us >= S_STATUS_US);
    bool shown = s_has_table(self), table = shown && (run->changed || now - self->table_us >= S_TABLE_US);
    if (status || table)
        for (size_t i = 0; i < run->node_count; i++) run_node_count(run->nodes[i]);
    if (status) self->status_us = now, s_write_status(run);
    if (self->table) s_print_trace(self);
    if (table || (shown && self->drawn == 0)) self->table_us = now, s_draw(run);
    if (self->json && run->changed) {
        cli_json_t json;
        s_json(run, &json);
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
    }
    run->changed = false;
}

void run_show_forget(struct run *run)
{
    run->show->drawn = 0;
}

void run_show_end(struct run *run)
{
    run->changed = true;
    run_show(run);
    if (!run->show->table) return;
    run->show->table = false;
    run->show->drawn = 0;
    weft_trace_sink_set(NULL, NULL);
}

void run_show_destroy(run_show_t **self_p)
{
    run_show_t *self = *self_p;
    if (!self) return;
    if (self->table) weft_trace_sink_set(NULL, NULL);
    for (size_t i = 0; i < self->ring_count; i++) free(self->ring[i]);
    pthread_mutex_destroy(&self->lock);
    free(self);
    *self_p = NULL;
}
