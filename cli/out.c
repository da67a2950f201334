// SPDX-License-Identifier: MPL-2.0
// What people and scripts see: error sentences, tables, JSON, progress.
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int s_complain(const struct cli_args *args, int status, const char *format, va_list list)
{
    fprintf(stderr, "%sweft %s:%s ", cli_colour(stderr) ? "\033[31m" : "", args->verb->words,
            cli_colour(stderr) ? "\033[0m" : "");
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    if (status == CLI_USAGE)
        fprintf(stderr, "usage: weft %s%s%s [options] ('weft %s --help' tells all)\n", args->verb->words,
                *args->verb->arguments ? " " : "", args->verb->arguments, args->verb->words);
    return status;
}

int cli_fail(const struct cli_args *args, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int status = s_complain(args, CLI_FAILED, format, list);
    va_end(list);
    return status;
}

int cli_usage(const struct cli_args *args, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int status = s_complain(args, CLI_USAGE, format, list);
    va_end(list);
    return status;
}

bool cli_reader_left(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

int cli_end(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    int why = errno;
    if (why == EPIPE || cli_reader_left()) return CLI_READER_LEFT;
    fprintf(stderr, "weft: standard output can't be written: %s\n", strerror(why));
    return CLI_FAILED;
}

bool cli_colour(FILE *stream)
{
    const char *no_colour = getenv("NO_COLOR");
    return isatty(fileno(stream)) && !(no_colour && *no_colour);
}

// ---- table

struct cli_table {
    const char *const *columns;
    size_t column_count;
    char **cells;
    size_t cell_count, cell_capacity;
};

cli_table_t *cli_table_new(const char *const *columns, size_t count)
{
    cli_table_t *self = weft_calloc(1, sizeof *self);
    self->columns = columns;
    self->column_count = count;
    return self;
}

void cli_table_cell(cli_table_t *self, const char *format, ...)
{
    if (self->cell_count == self->cell_capacity) {
        self->cell_capacity = self->cell_capacity ? self->cell_capacity * 2 : 64;
        self->cells = weft_realloc(self->cells, self->cell_capacity * sizeof *self->cells);
    }
    va_list list;
    va_start(list, format);
    char *cell = NULL;
    if (vasprintf(&cell, format, list) < 0) cell = weft_strdup("");
    va_end(list);
    self->cells[self->cell_count++] = cell;
}

static void s_print_cell(FILE *stream, const char *text, size_t width, bool right, bool last)
{
    if (right)
        fprintf(stream, "%*s", (int) width, text);
    else if (last)
        fputs(text, stream);
    else
        fprintf(stream, "%-*s", (int) width, text);
    fputs(last ? "\n" : "  ", stream);
}

void cli_table_print(cli_table_t *self, FILE *stream)
{
    size_t widths[CLI_OPTIONS_MAX] = {0};
    size_t count = self->column_count;
    for (size_t i = 0; i < count; i++) widths[i] = strlen(self->columns[i]) - (self->columns[i][0] == '>');
    for (size_t i = 0; i < self->cell_count; i++)
        if (strlen(self->cells[i]) > widths[i % count]) widths[i % count] = strlen(self->cells[i]);
    bool colour = cli_colour(stream);
    if (colour) fputs("\033[1m", stream);
    for (size_t i = 0; i < count; i++) {
        bool right = self->columns[i][0] == '>';
        s_print_cell(stream, self->columns[i] + right, widths[i], right, i + 1 == count);
    }
    if (colour) fputs("\033[0m", stream);
    for (size_t i = 0; i < self->cell_count; i++)
        s_print_cell(stream, self->cells[i], widths[i % count], self->columns[i % count][0] == '>',
                     i % count + 1 == count);
}

void cli_table_destroy(cli_table_t **self_p)
{
    if (!*self_p) return;
    for (size_t i = 0; i < (*self_p)->cell_count; i++) free((*self_p)->cells[i]);
    free((*self_p)->cells);
    free(*self_p);
    *self_p = NULL;
}

// ---- JSON

void cli_json_init(cli_json_t *self)
{
    weft_buf_init(&self->buf);
    self->comma = false;
}

void cli_json_fini(cli_json_t *self)
{
    weft_buf_fini(&self->buf);
}

// Bytes of a legal UTF-8 sequence at `at`, 0 if there is none (RFC 3629: no overlong forms, no surrogates).
static size_t s_utf8_bytes(const uint8_t *at, size_t left)
{
    if (at[0] < 0x80) return 1;
    size_t size = at[0] >= 0xf0 && at[0] <= 0xf4 ? 4 : at[0] >= 0xe0 ? 3 : at[0] >= 0xc2 ? 2 : 0;
    if (size == 0 || size > left || at[0] > 0xf4) return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf0 && at[1] < 0x90) ||
        (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return size;
}

static void s_json_string(weft_buf_t *buf, weft_slice_t text)
{
    weft_buf_append(buf, "\"", 1);
    for (size_t i = 0; i < text.size;) {
        size_t size = s_utf8_bytes(text.data + i, text.size - i);
        uint8_t c = text.data[i];
        if (size == 0)
            weft_buf_append(buf, "\\ufffd", 6), size = 1;
        else if (c == '"' || c == '\\')
            weft_buf_printf(buf, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            weft_buf_printf(buf, "\\u%04x", c);
        else
            weft_buf_append(buf, text.data + i, size);
        i += size;
    }
    weft_buf_append(buf, "\"", 1);
}

static void s_json_key(cli_json_t *self, const char *key)
{
    if (self->comma) weft_buf_append(&self->buf, ", ", 2);
    self->comma = true;
    if (!key) return;
    s_json_string(&self->buf, weft_slice_text(key));
    weft_buf_append(&self->buf, ": ", 2);
}

void cli_json_open(cli_json_t *self, const char *key, char bracket)
{
    s_json_key(self, key);
    weft_buf_append(&self->buf, &bracket, 1);
    self->comma = false;
}

void cli_json_close(cli_json_t *self, char bracket)
{
    weft_buf_append(&self->buf, &bracket, 1);
    self->comma = true;
}

void cli_json_text(cli_json_t *self, const char *key, const char *text)
{
    cli_json_slice(self, key, weft_slice_text(text));
}

void cli_json_slice(cli_json_t *self, const char *key, weft_slice_t text)
{
    s_json_key(self, key);
    if (text.data)
        s_json_string(&self->buf, text);
    else
        weft_buf_append(&self->buf, "null", 4);
}

static bool s_is_utf8(weft_slice_t text)
{
    for (size_t i = 0, size; i < text.size; i += size)
        if ((size = s_utf8_bytes(text.data + i, text.size - i)) == 0) return false;
    return true;
}

static void s_base64(weft_buf_t *buf, weft_slice_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t have = bytes.size - i < 3 ? bytes.size - i : 3;
        uint32_t bits = (uint32_t) bytes.data[i] << 16;
        if (have > 1) bits |= (uint32_t) bytes.data[i + 1] << 8;
        if (have > 2) bits |= bytes.data[i + 2];
        char four[4] = {digits[bits >> 18], digits[bits >> 12 & 63], digits[bits >> 6 & 63], digits[bits & 63]};
        if (have < 3) four[3] = '=';
        if (have < 2) four[2] = '=';
        weft_buf_append(buf, four, sizeof four);
    }
}

void cli_json_bytes(cli_json_t *self, const char *key, weft_slice_t bytes)
{
    if (!bytes.data || s_is_utf8(bytes)) {
        cli_json_slice(self, key, bytes);
        return;
    }
    char name[64];
    if (key) snprintf(name, sizeof name, "%s_base64", key);
    if (!key) cli_json_open(self, NULL, '{');
    s_json_key(self, key ? name : "base64");
    weft_buf_append(&self->buf, "\"", 1);
    s_base64(&self->buf, bytes);
    weft_buf_append(&self->buf, "\"", 1);
    if (!key) cli_json_close(self, '}');
}

void cli_json_int(cli_json_t *self, const char *key, int64_t number)
{
    s_json_key(self, key);
    weft_buf_printf(&self->buf, "%" PRId64, number);
}

void cli_json_float(cli_json_t *self, const char *key, double number, int decimals)
{
    s_json_key(self, key);
    weft_buf_printf(&self->buf, "%.*f", decimals, number);
}

void cli_json_bool(cli_json_t *self, const char *key, bool value)
{
    s_json_key(self, key);
    weft_buf_printf(&self->buf, "%s", value ? "true" : "false");
}

void cli_json_print(cli_json_t *self, FILE *stream)
{
    fwrite(self->buf.data, 1, self->buf.size, stream);
    fputc('\n', stream);
    fflush(stream);
}

// ---- numbers for people

static char *s_scratch(void)
{
    static char buffers[8][48];
    static unsigned next;
    return buffers[next++ % 8];
}

const char *cli_bytes_text(double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;
    while (bytes >= 1024 && unit < 5) bytes /= 1024, unit++;
    char *text = s_scratch();
    snprintf(text, 48, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return text;
}

const char *cli_count_text(int64_t count)
{
    char digits[32];
    int size = snprintf(digits, sizeof digits, "%" PRId64, count), first = count < 0;
    char *text = s_scratch(), *at = text;
    for (int i = 0; i < size; i++) {
        if (i > first && (size - i) % 3 == 0) *at++ = ',';
        *at++ = digits[i];
    }
    *at = '\0';
    return text;
}

// ---- progress

int64_t cli_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t cli_wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void cli_progress_begin(struct cli_progress *self, const char *what, int64_t total)
{
    *self = (struct cli_progress){.what = what, .total = total, .next_us = cli_now_us() + 500000};
}

void cli_progress_show(struct cli_progress *self, int64_t done, int64_t bytes, double seconds)
{
    int64_t now = cli_now_us();
    if (now < self->next_us || !isatty(STDERR_FILENO)) return;
    self->next_us = now + 100000;
    self->shown = true;
    fprintf(stderr, "\r\033[K%s %s", self->what, cli_count_text(done));
    if (self->total > 0)
        fprintf(stderr, " of %s (%.0f %%)", cli_count_text(self->total), 100.0 * (double) done / (double) self->total);
    if (seconds > 0)
        fprintf(stderr, ", %s/s, %s/s", cli_count_text((int64_t) ((double) done / seconds)),
                cli_bytes_text((double) bytes / seconds));
}

void cli_progress_end(struct cli_progress *self)
{
    if (self->shown) fputs("\r\033[K", stderr);
}

static volatile sig_atomic_t s_interrupted;

static void s_on_signal(int number)
{
    (void) number;
    if (s_interrupted) _exit(130);
    s_interrupted = 1;
}

void cli_catch_signals(void)
{
    struct sigaction action = {.sa_handler = s_on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool cli_interrupted(void)
{
    return s_interrupted != 0;
}

bool cli_sleep_ms(int ms)
{
    struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = (long) (ms % 1000) * 1000000};
    if (!s_interrupted) nanosleep(&wait, NULL); // a signal ends it
    return !s_interrupted;
}
