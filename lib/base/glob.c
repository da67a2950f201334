// SPDX-License-Identifier: MPL-2.0
// The loop of two pointers: on a mismatch go back to the last star and let it take one byte more; only the last star
// ever needs that.
#include "glob.h"

#include <string.h>

// `set` stands behind '['; returns the byte behind ']', or NULL if the set is not closed.
static const char *s_set_match(const char *set, unsigned char c, bool *matched)
{
    bool invert = *set == '!';
    const char *at = set + invert;
    bool found = false;
    for (bool first = true; *at && (first || *at != ']'); first = false) {
        unsigned char low = (unsigned char) *at++;
        unsigned char high = low;
        if (at[0] == '-' && at[1] && at[1] != ']') {
            high = (unsigned char) at[1];
            at += 2;
        }
        if (c >= low && c <= high) found = true;
    }
    if (*at != ']') return NULL;
    *matched = found != invert;
    return at + 1;
}

// One step that takes one byte of the name: the pattern behind it, or NULL on a mismatch.
static const char *s_step(const char *pattern, char c)
{
    if (*pattern == '?') return pattern + 1;
    if (*pattern == '[') {
        bool matched = false;
        const char *behind = s_set_match(pattern + 1, (unsigned char) c, &matched);
        if (behind) return matched ? behind : NULL;
    }
    return *pattern == c ? pattern + 1 : NULL;
}

bool weft_glob_match(const char *pattern, const char *name)
{
    const char *star = NULL, *star_name = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            star_name = name;
            continue;
        }
        const char *next = *pattern ? s_step(pattern, *name) : NULL;
        if (next) {
            pattern = next;
            name++;
        } else if (star) {
            pattern = star;
            name = ++star_name;
        } else
            return false;
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}

bool weft_glob_is_pattern(const char *text)
{
    return strpbrk(text, "*?[") != NULL;
}
