// SPDX-License-Identifier: MPL-2.0
/*
 * A table of settings, and beside it one slot a setting: the text as given and the number parsed from it. A value is parsed into a
 * scratch slot first and put in place only when it is legal, a file into a copy of everything: refused means unchanged.
 *
 * Files are read and judged line by line here (options_file.c) before CZMQ's zconfig parses them.
 */
#include "options.h"

#include "assert.h"
#include "options_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRINT_BYTES_MAX 96 // of what was given, in a sentence

struct s_slot {
    char *text;
    int64_t number;
    bool set;
};

struct weft_options {
    const struct weft_option *table;
    size_t count;
    char *scope;
    struct s_slot *slots;
};

// ---- parsing values

struct s_unit {
    const char *name;
    int64_t factor;
};

static const struct s_unit s_byte_units[] = {{"", 1},          {"B", 1},         {"KiB", 1 << 10},
                                             {"MiB", 1 << 20}, {"GiB", 1 << 30}, {NULL, 0}};
static const struct s_unit s_duration_units[] = {{"", 1},        {"ms", 1},       {"s", 1000}, {"m", 60 * 1000},
                                                 {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
static const struct s_unit s_no_units[] = {{"", 1}, {NULL, 0}};

static const struct s_unit *s_units(enum weft_option_type type)
{
    if (type == WEFT_OPTION_BYTES) return s_byte_units;
    return type == WEFT_OPTION_DURATION ? s_duration_units : s_no_units;
}

// Digits with an optional minus, then a unit; false if it is anything else or does not fit.
static bool s_parse_number(const char *text, const struct s_unit *units, int64_t *out)
{
    const char *digits = text[0] == '-' ? text + 1 : text;
    if (digits[0] < '0' || digits[0] > '9') return false;
    errno = 0;
    char *end;
    long long number = strtoll(text, &end, 10);
    if (errno) return false;
    for (; units->name; units++) {
        if (strcmp(end, units->name) == 0) return !__builtin_mul_overflow((int64_t) number, units->factor, out);
    }
    return false;
}

static bool s_parse_choice(const char *choices, const char *text, int64_t *out)
{
    size_t size = strlen(text);
    int64_t index = 0;
    for (const char *at = choices; *at; index++) {
        size_t choice = strcspn(at, "|");
        if (choice == size && memcmp(at, text, size) == 0) {
            *out = index;
            return true;
        }
        at += choice + (at[choice] == '|');
    }
    return false;
}

static bool s_parse_text(const char *text, int64_t *out)
{
    for (const char *at = text; *at; at++) {
        if ((unsigned char) *at < 0x20 || *at == 0x7f) return false;
    }
    *out = (int64_t) strlen(text);
    return true;
}

bool weft_option_parse(const struct weft_option *option, const char *text, int64_t *out)
{
    int64_t number = 0;
    bool good = false;
    switch (option->type) {
    case WEFT_OPTION_BOOL:
        number = strcmp(text, "true") == 0;
        good = number || strcmp(text, "false") == 0;
        break;
    case WEFT_OPTION_INT:
    case WEFT_OPTION_BYTES:
    case WEFT_OPTION_DURATION: good = s_parse_number(text, s_units(option->type), &number); break;
    case WEFT_OPTION_TEXT: good = s_parse_text(text, &number); break;
    case WEFT_OPTION_CHOICE: good = s_parse_choice(option->choices, text, &number); break;
    }
    bool bounded = option->type != WEFT_OPTION_BOOL && option->type != WEFT_OPTION_CHOICE;
    if (!good || (bounded && (number < option->min || number > option->max))) return false;
    *out = number;
    return true;
}

// ---- sentences

const char *weft_options_printable(const char *text, char *out, size_t size)
{
    size_t used = 0;
    for (; text[used] && used < size - 1; used++) {
        unsigned char byte = (unsigned char) text[used];
        out[used] = byte >= 0x20 && byte != 0x7f ? (char) byte : '?';
    }
    out[used] = 0;
    if (text[used]) memcpy(out + size - 4, "...", 4);
    return out;
}

// The largest unit that divides it: 67108864 is 64MiB.
static void s_print_number(const struct s_unit *units, int64_t number, char *out, size_t size)
{
    const struct s_unit *best = units;
    for (const struct s_unit *unit = units; unit->name; unit++) {
        if (number != 0 && number % unit->factor == 0 && unit->factor > best->factor) best = unit;
    }
    snprintf(out, size, "%" PRId64 "%s", number / best->factor, best->name);
}

void weft_option_allowed(const struct weft_option *option, char *out, size_t size)
{
    static const char *const forms[] = {"", "a number", "a number of bytes (with KiB, MiB or GiB if you like)",
                                        "a duration (in ms, or with s, m, h or d)"};
    if (option->type == WEFT_OPTION_BOOL) {
        snprintf(out, size, "true or false");
    } else if (option->type == WEFT_OPTION_CHOICE) {
        snprintf(out, size, "one of %s", option->choices);
    } else if (option->type == WEFT_OPTION_TEXT) {
        snprintf(out, size, "%" PRId64 " to %" PRId64 " printable bytes", option->min, option->max);
    } else {
        char low[32], high[32];
        s_print_number(s_units(option->type), option->min, low, sizeof(low));
        s_print_number(s_units(option->type), option->max, high, sizeof(high));
        if (option->max == INT64_MAX) {
            snprintf(out, size, "%s from %s up", forms[option->type], low);
        } else {
            snprintf(out, size, "%s from %s to %s", forms[option->type], low, high);
        }
    }
}

static weft_err_t s_refuse_value(const struct weft_option *option, const char *value, const char *place,
                                 struct weft_error *error)
{
    char given[PRINT_BYTES_MAX], allowed[256];
    weft_option_allowed(option, allowed, sizeof(allowed));
    return weft_error_set(error, WEFT_ERR_INVALID_OPTION, "%s'%s' can't be '%s'; allowed is %s.", place, option->name,
                          weft_options_printable(value, given, sizeof(given)), allowed);
}

static weft_err_t s_refuse_name(const weft_options_t *self, const char *name, const char *place,
                                struct weft_error *error)
{
    const char **known = weft_alloc(self->count * sizeof(*known));
    for (size_t i = 0; i < self->count; i++) known[i] = self->table[i].name;
    const char *nearest = weft_nearest(name, known, self->count);
    free(known);
    char given[PRINT_BYTES_MAX];
    weft_options_printable(name, given, sizeof(given));
    const char *article = self->scope[0] && strchr("aeiou", self->scope[0]) ? "an" : "a";
    if (nearest)
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION, "%s'%s' is no setting of %s %s; did you mean '%s'?",
                              place, given, article, self->scope, nearest);
    return weft_error_set(error, WEFT_ERR_INVALID_OPTION,
                          "%s'%s' is no setting of %s %s; docs/CONFIG.md lists those that are.", place, given, article,
                          self->scope);
}

// ---- life

weft_options_t *weft_options_new(const struct weft_option *table, size_t count, const char *scope)
{
    weft_options_t *self = weft_alloc(sizeof(*self));
    *self = (weft_options_t){table, count, weft_strdup(scope), weft_calloc(count, sizeof(struct s_slot))};
    for (size_t i = 0; i < count; i++) {
        bool legal = weft_option_parse(&table[i], table[i].initial, &self->slots[i].number);
        weft_assert(legal); // the generator checked it
        self->slots[i].text = weft_strdup(table[i].initial);
    }
    return self;
}

void weft_options_destroy(weft_options_t **self_p)
{
    weft_options_t *self = *self_p;
    if (!self) return;
    for (size_t i = 0; i < self->count; i++) free(self->slots[i].text);
    free(self->slots);
    free(self->scope);
    free(self);
    *self_p = NULL;
}

weft_options_t *weft_options_copy(const weft_options_t *self)
{
    weft_options_t *copy = weft_alloc(sizeof(*copy));
    *copy = (weft_options_t){self->table, self->count, weft_strdup(self->scope),
                             weft_calloc(self->count, sizeof(struct s_slot))};
    for (size_t i = 0; i < self->count; i++) {
        copy->slots[i] = self->slots[i];
        copy->slots[i].text = weft_strdup(self->slots[i].text);
    }
    return copy;
}

// ---- setting

static size_t s_find(const weft_options_t *self, const char *name)
{
    size_t i = 0;
    while (i < self->count && strcmp(self->table[i].name, name) != 0) i++;
    return i;
}

// `place` stands before the sentence: "broker.conf:7: ", or nothing.
static weft_err_t s_set(weft_options_t *self, const char *name, const char *value, const char *place,
                        struct weft_error *error)
{
    size_t i = s_find(self, name);
    if (i == self->count) return s_refuse_name(self, name, place, error);
    int64_t number;
    if (!weft_option_parse(&self->table[i], value, &number))
        return s_refuse_value(&self->table[i], value, place, error);
    char *text = weft_strdup(value);
    free(self->slots[i].text);
    self->slots[i] = (struct s_slot){text, number, true};
    return WEFT_OK;
}

weft_err_t weft_options_set(weft_options_t *self, const char *name, const char *value, struct weft_error *error)
{
    return s_set(self, name, value ? value : "", "", error);
}

weft_err_t weft_options_set_pair(weft_options_t *self, const char *pair, struct weft_error *error)
{
    const char *equals = strchr(pair, '=');
    char given[PRINT_BYTES_MAX];
    if (!equals)
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION, "'%s' is no setting; the form is key=value.",
                              weft_options_printable(pair, given, sizeof(given)));
    char *name = weft_slice_dup(weft_slice(pair, (size_t) (equals - pair)));
    weft_err_t err = s_set(self, name, equals + 1, "", error);
    free(name);
    return err;
}

struct s_load {
    weft_options_t *made;
    const char *path;
    unsigned *lines; // per option: where it was set, 0 = not yet
    struct weft_error *error;
};

static weft_err_t s_load_pair(void *context, unsigned line, const char *name, const char *value)
{
    struct s_load *load = context;
    char place[PRINT_BYTES_MAX + 32], path[PRINT_BYTES_MAX];
    snprintf(place, sizeof(place), "%s:%u: ", weft_options_printable(load->path, path, sizeof(path)), line);
    weft_err_t err = s_set(load->made, name, value, place, load->error);
    if (err) return err;
    unsigned *before = &load->lines[s_find(load->made, name)];
    if (*before)
        return weft_error_set(load->error, WEFT_ERR_INVALID_OPTION,
                              "%s'%s' was set in line %u already; keep one of them.", place, name, *before);
    *before = line;
    return WEFT_OK;
}

weft_err_t weft_options_load(weft_options_t *self, const char *path, struct weft_error *error)
{
    struct s_load load = {weft_options_copy(self), path, weft_calloc(self->count, sizeof(unsigned)), error};
    weft_err_t err = weft_options_file_read(path, s_load_pair, &load, error);
    if (!err) { // all or nothing: what was made changes places with what was there
        weft_options_t before = *self;
        *self = *load.made;
        *load.made = before;
    }
    free(load.lines);
    weft_options_destroy(&load.made);
    return err;
}

// ---- reading

static size_t s_index(const weft_options_t *self, const char *name)
{
    size_t i = s_find(self, name);
    weft_assert(i < self->count);
    return i;
}

int64_t weft_options_int(const weft_options_t *self, const char *name)
{
    return self->slots[s_index(self, name)].number;
}

bool weft_options_bool(const weft_options_t *self, const char *name)
{
    return self->slots[s_index(self, name)].number != 0;
}

const char *weft_options_text(const weft_options_t *self, const char *name)
{
    return self->slots[s_index(self, name)].text;
}

bool weft_options_is_set(const weft_options_t *self, const char *name)
{
    return self->slots[s_index(self, name)].set;
}
