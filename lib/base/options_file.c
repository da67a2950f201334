// SPDX-License-Identifier: MPL-2.0
/*
 * zconfig parses, but it is no judge of strangers' text: it cuts long lines, prints its complaints to standard output, follows any depth, and
 * keeps no line numbers. So every line is judged first (size, characters, indentation, quotes), comments and blank lines are left out, and
 * only what zconfig surely takes is handed over. Each line that is handed over makes exactly one item: walking the items depth first meets
 * them in the order of their lines, which gives the line numbers back.
 */
#include "options_file.h"

#include "assert.h"
#include "disk.h"

#include <czmq.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct s_line {
    unsigned number;
    bool has_value;
};

struct s_file {
    const char *path;
    weft_buf_t clean; // text for zconfig
    weft_buf_t lines; // struct s_line of each line in it
    size_t depth;     // of the line before
    struct weft_error *error;
};

static weft_err_t s_refuse(const struct s_file *self, unsigned line, const char *what)
{
    char path[128];
    return weft_error_set(self->error, WEFT_ERR_INVALID_OPTION, "%s:%u: %s.",
                          weft_options_printable(self->path, path, sizeof(path)), line, what);
}

// Narrower than ZPL: all that our keys are made of (zconfig refuses some names that hold a slash).
static bool s_is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

static size_t s_spaces(const char *text)
{
    return strspn(text, " ");
}

// What stands behind the '='; NULL if it is legal, else what is wrong.
static const char *s_judge_value(const char *value)
{
    value += s_spaces(value);
    if (*value != '"' && *value != '\'') return NULL;
    const char *end = strchr(value + 1, *value);
    if (!end) return "the quote is not closed on its line";
    end++;
    end += s_spaces(end);
    return *end == 0 || *end == '#' ? NULL : "something follows the closing quote; remove it, or put a # before it";
}

// A line without its end, comments and blank lines excluded. NULL if it is legal.
static const char *s_judge(struct s_file *self, const char *line, bool *has_value)
{
    size_t indent = s_spaces(line);
    if (indent % 4 != 0) return "indented by other than a multiple of four spaces";
    size_t depth = indent / 4 + 1;
    if (depth > self->depth + 1) return "indented deeper than one level below the line before it";
    if (depth > WEFT_OPTIONS_DEPTH_MAX) return "nested too deeply";
    const char *at = line + indent;
    const char *name = at;
    while (s_is_name(*at)) at++;
    if (at == name) return "the form is key = value";
    at += s_spaces(at);
    *has_value = *at == '=';
    if (!*has_value && *at != 0 && *at != '#') return "the form is key = value";
    self->depth = depth;
    return *has_value ? s_judge_value(at + 1) : NULL;
}

static weft_err_t s_take_line(struct s_file *self, unsigned number, const uint8_t *text, size_t size)
{
    char line[WEFT_OPTIONS_LINE_BYTES_MAX + 2];
    if (size > WEFT_OPTIONS_LINE_BYTES_MAX) return s_refuse(self, number, "the line is longer than 1000 bytes");
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\t') return s_refuse(self, number, "a tab; indent and separate with spaces");
        if (text[i] < 0x20 || text[i] == 0x7f) return s_refuse(self, number, "this is no text (a control character)");
    }
    memcpy(line, text, size);
    while (size > 0 && line[size - 1] == ' ') size--;
    line[size] = 0;
    const char *content = line + s_spaces(line);
    if (*content == 0 || *content == '#') return WEFT_OK;
    struct s_line entry = {.number = number};
    const char *wrong = s_judge(self, line, &entry.has_value);
    if (wrong) return s_refuse(self, number, wrong);
    weft_buf_append(&self->clean, line, size);
    weft_buf_append(&self->clean, "\n", 1);
    weft_buf_append(&self->lines, &entry, sizeof(entry));
    return WEFT_OK;
}

static weft_err_t s_take_lines(struct s_file *self, weft_slice_t text)
{
    const uint8_t *at = text.data, *end = text.data + text.size;
    for (unsigned number = 1; at < end; number++) {
        const uint8_t *newline = memchr(at, '\n', (size_t) (end - at));
        const uint8_t *stop = newline ? newline : end;
        size_t size = (size_t) (stop - at);
        if (size > 0 && at[size - 1] == '\r') size--;
        weft_err_t err = s_take_line(self, number, at, size);
        if (err) return err;
        at = newline ? newline + 1 : end;
    }
    return WEFT_OK;
}

struct s_tell {
    const struct s_file *file;
    const struct s_line *next;
    weft_options_item_fn *item;
    void *context;
};

// Depth first, in the order of the lines. Recursion is bounded by WEFT_OPTIONS_DEPTH_MAX.
static weft_err_t s_tell_items(struct s_tell *tell, zconfig_t *parent, size_t depth)
{
    weft_err_t err = WEFT_OK;
    for (zconfig_t *item = zconfig_child(parent); item && !err; item = zconfig_next(item)) {
        const struct s_line *line = tell->next++;
        err = tell->item(tell->context, line->number, depth, zconfig_name(item),
                         line->has_value ? zconfig_value(item) : NULL);
        if (!err) err = s_tell_items(tell, item, depth + 1);
    }
    return err;
}

static weft_err_t s_parse(struct s_file *self, weft_options_item_fn *item, void *context)
{
    weft_buf_append(&self->clean, "", 1);
    zconfig_t *root = zconfig_str_load((const char *) self->clean.data);
    weft_assert(root); // every line was judged
    struct s_tell tell = {self, (const struct s_line *) (const void *) self->lines.data, item, context};
    weft_err_t err = s_tell_items(&tell, root, 1);
    weft_assert(err || (const uint8_t *) tell.next == self->lines.data + self->lines.size);
    zconfig_destroy(&root);
    return err;
}

weft_err_t weft_options_file_items(const char *path, weft_slice_t text, weft_options_item_fn *item, void *context,
                                   struct weft_error *error)
{
    struct s_file file = {.path = path, .error = error};
    weft_buf_init(&file.clean);
    weft_buf_init(&file.lines);
    weft_err_t err = s_take_lines(&file, text);
    if (!err && file.lines.size > 0) err = s_parse(&file, item, context);
    weft_buf_fini(&file.clean);
    weft_buf_fini(&file.lines);
    return err;
}

// ---- items as pairs: the names down to a value, joined with dots

struct s_pairs {
    struct s_file file; // for its path and error
    weft_options_pair_fn *pair;
    void *context;
    char name[WEFT_OPTIONS_LINE_BYTES_MAX * 2];
    size_t ends[WEFT_OPTIONS_DEPTH_MAX + 1]; // by depth: bytes of `name` that belong to it
    size_t depth;
    unsigned bare; // line of the item before, if it had no value: something must stand below it; else 0
};

static weft_err_t s_refuse_bare(const struct s_pairs *self)
{
    return s_refuse(&self->file, self->bare, "the key has no value; the form is key = value");
}

static weft_err_t s_take_item(void *context, unsigned line, size_t depth, const char *name, const char *value)
{
    struct s_pairs *self = context;
    if (self->bare && depth <= self->depth) return s_refuse_bare(self);
    size_t before = self->ends[depth - 1];
    int more = snprintf(self->name + before, sizeof(self->name) - before, "%s%s", before > 0 ? "." : "", name);
    if (before + (size_t) more >= WEFT_OPTIONS_LINE_BYTES_MAX)
        return s_refuse(&self->file, line, "the key is too long");
    self->depth = depth;
    self->ends[depth] = before + (size_t) more;
    self->bare = value ? 0 : line;
    return value ? self->pair(self->context, line, self->name, value) : WEFT_OK;
}

weft_err_t weft_options_file_parse(const char *path, weft_slice_t text, weft_options_pair_fn *pair, void *context,
                                   struct weft_error *error)
{
    struct s_pairs pairs = {.file = {.path = path, .error = error}, .pair = pair, .context = context};
    weft_err_t err = weft_options_file_items(path, text, s_take_item, &pairs, error);
    if (!err && pairs.bare) err = s_refuse_bare(&pairs);
    return err;
}

weft_err_t weft_options_file_bytes(const char *path, weft_buf_t *out, struct weft_error *error)
{
    char shown[128];
    weft_err_t err = WEFT_ERR_DISK_FAILED;
    struct stat what;
    if (stat(path, &what) != 0 ||
        S_ISREG(what.st_mode)) // a pipe or device has no size: it would pass for an empty file
        err = weft_disk_read_file(weft_disk_posix(), path, WEFT_OPTIONS_FILE_BYTES_MAX, out);
    weft_options_printable(path, shown, sizeof(shown));
    if (err == WEFT_ERR_NOT_FOUND) {
        weft_error_set(error, err, "There is no configuration file '%s'; check the path.", shown);
    } else if (err == WEFT_ERR_TOO_LARGE) {
        weft_error_set(error, err, "'%s' is larger than 1 MiB, so it is hardly a configuration file; check the path.",
                       shown);
    } else if (err) {
        weft_error_set(error, err,
                       "The configuration file '%s' can't be read; check that it is a file and may be read.", shown);
    }
    return err;
}

weft_err_t weft_options_file_read(const char *path, weft_options_pair_fn *pair, void *context, struct weft_error *error)
{
    weft_buf_t text;
    weft_buf_init(&text);
    weft_err_t err = weft_options_file_bytes(path, &text, error);
    if (!err) err = weft_options_file_parse(path, weft_buf_slice(&text), pair, context, error);
    weft_buf_fini(&text);
    return err;
}
