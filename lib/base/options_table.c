// SPDX-License-Identifier: MPL-2.0
// Tables of options as such: those of shared objects are judged before anything is made of them, since weft_options_new
// takes a wrong one for a defect of our own.
#include "options.h"

#include "options_file.h"

#include <string.h>

#define S_COUNT_MAX 512
#define S_NAME_BYTES_MAX 64

const char *weft_option_type_name(enum weft_option_type type)
{
    static const char *const names[] = {"bool", "int", "bytes", "duration", "text", "choice"};
    return (size_t) type < sizeof names / sizeof *names ? names[type] : "unknown";
}

const char *weft_option_role_name(enum weft_option_role role)
{
    static const char *const names[] = {"",       "listen",       "control",      "source",
                                        "target", "source-topic", "target-topic", "path"};
    return (size_t) role < sizeof names / sizeof *names ? names[role] : "unknown";
}

// As a file can say it (options_file.c).
static bool s_is_name(const char *name)
{
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return size > 0 && size <= S_NAME_BYTES_MAX && name[size] == '\0';
}

static weft_err_t s_check(const struct weft_option *option, struct weft_error *error)
{
    const char *name = option->name;
    if ((unsigned) option->type > WEFT_OPTION_CHOICE)
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION, "option '%s' has no type that exists (%d)", name,
                              (int) option->type);
    if ((unsigned) option->role > WEFT_OPTION_ROLE_PATH ||
        (option->role != WEFT_OPTION_ROLE_NONE && option->type != WEFT_OPTION_TEXT))
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION, "option '%s' has a role (%d) that it can't have", name,
                              (int) option->role);
    if (option->doc == NULL || option->initial == NULL)
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION, "option '%s' lacks its %s", name,
                              option->doc == NULL ? "doc" : "default (initial)");
    if (option->type == WEFT_OPTION_CHOICE && (option->choices == NULL || *option->choices == '\0'))
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION, "option '%s' lacks its choices", name);
    int64_t parsed;
    if (weft_option_parse(option, option->initial, &parsed)) return WEFT_OK;
    char allowed[256], given[96];
    weft_option_allowed(option, allowed, sizeof allowed);
    return weft_error_set(error, WEFT_ERR_INVALID_OPTION,
                          "option '%s' has the default '%s', which it does not allow itself; allowed is %s", name,
                          weft_options_printable(option->initial, given, sizeof given), allowed);
}

weft_err_t weft_options_check_table(const struct weft_option *table, size_t count, struct weft_error *error)
{
    if (count > S_COUNT_MAX || (count > 0 && table == NULL))
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION, "its table of options %s",
                              count > S_COUNT_MAX ? "has more than 512 lines" : "is missing");
    for (size_t i = 0; i < count; i++) {
        if (table[i].name == NULL || !s_is_name(table[i].name))
            return weft_error_set(error, WEFT_ERR_INVALID_OPTION,
                                  "option %zu has no name of letters, digits, '.', '_' and '-' (at most 64)", i + 1);
        weft_err_t err = s_check(&table[i], error);
        if (err != WEFT_OK) return err;
        for (size_t k = 0; k < i; k++)
            if (strcmp(table[k].name, table[i].name) == 0)
                return weft_error_set(error, WEFT_ERR_INVALID_OPTION, "two options have the name '%s'", table[i].name);
    }
    return WEFT_OK;
}
