// SPDX-License-Identifier: MPL-2.0
// The loop of two pointers: on a mismatch go back to the last star and let it take one byte more; only the last star
// ever needs that.
//
// Prepared patterns run as a set of states instead (Baeza-Yates and Gonnet's shift-and, with loops for stars): bit i of a
// pattern says that its first i elements can have taken what was read so far. They stand one behind the other: nothing is
// taken at the last bit of one, so nothing is carried into the next.
#include "glob.h"

#include "assert.h"

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

// ---- prepared

static void s_bit_set(uint64_t *words, size_t bit)
{
    words[bit / 64] |= (uint64_t) 1 << bit % 64;
}

static bool s_bit(const uint64_t *words, size_t bit)
{
    return words[bit / 64] >> bit % 64 & 1;
}

void weft_globs_init(struct weft_globs *self)
{
    memset(self, 0, sizeof *self);
}

// The element at `at`, into bit `bit`; returns what is behind it.
static const char *s_element(struct weft_globs *self, const char *at, size_t bit)
{
    const char *behind = at + 1;
    bool any = *at == '?', matched = false, set = *at == '[' && s_set_match(at + 1, 1, &matched);
    if (!any && !set) s_bit_set(self->takes[(unsigned char) *at], bit);
    for (unsigned c = 1; (any || set) && c < 256; c++) {
        if (set) behind = s_set_match(at + 1, (unsigned char) c, &matched);
        if (any || matched) s_bit_set(self->takes[c], bit);
    }
    return behind;
}

void weft_globs_add(struct weft_globs *self, const char *pattern)
{
    struct weft_globs_one *one = &self->each[self->count++];
    size_t size = strlen(pattern);
    self->bytes += size;
    weft_assert(self->count <= WEFT_GLOBS_MAX && self->bytes <= WEFT_GLOBS_BYTES_MAX);
    *one = (struct weft_globs_one){.pattern = pattern, .size = size, .first = self->bits};
    while (one->tail < size && !strchr("*?[]", pattern[size - 1 - one->tail])) one->tail++;
    for (const char *at = pattern; *at;) {
        if (*at == '*') {
            s_bit_set(self->stars, self->bits);
            at++;
        } else
            at = s_element(self, at, self->bits++);
    }
    one->last = self->bits++;
}

static bool s_may_match(const struct weft_globs *self, const struct weft_globs_one *one, const char *name, size_t size)
{
    if (*name && !s_bit(self->takes[(unsigned char) *name], one->first) && !s_bit(self->stars, one->first))
        return false;
    if (size < one->last - one->first) return false;
    return memcmp(name + size - one->tail, one->pattern + one->size - one->tail, one->tail) == 0;
}

// Words from `low` to `high` of the states, over the whole name.
static void s_run(const struct weft_globs *self, const char *name, uint64_t *states, size_t low, size_t high)
{
    for (uint64_t some = 1; *name && some; name++) {
        const uint64_t *takes = self->takes[(unsigned char) *name];
        uint64_t carry = 0;
        some = 0;
        for (size_t i = low; i <= high; i++) {
            uint64_t taken = states[i] & takes[i];
            states[i] = taken << 1 | carry | (states[i] & self->stars[i]);
            carry = taken >> 63;
            some |= states[i];
        }
    }
}

uint32_t weft_globs_match(const struct weft_globs *self, const char *name, uint32_t among)
{
    uint64_t states[WEFT_GLOBS_WORDS] = {0};
    size_t size = strlen(name), low = WEFT_GLOBS_WORDS, high = 0;
    uint32_t may = 0, out = 0;
    for (size_t i = 0; i < self->count; i++) {
        const struct weft_globs_one *one = &self->each[i];
        if (!(among >> i & 1) || !s_may_match(self, one, name, size)) continue;
        may |= UINT32_C(1) << i;
        s_bit_set(states, one->first);
        if (low > one->first / 64) low = one->first / 64;
        high = one->last / 64;
    }
    if (!may) return 0;
    s_run(self, name, states, low, high);
    for (size_t i = 0; i < self->count; i++)
        if ((may >> i & 1) && s_bit(states, self->each[i].last)) out |= UINT32_C(1) << i;
    return out;
}
