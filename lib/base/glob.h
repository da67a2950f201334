// SPDX-License-Identifier: MPL-2.0
/**
 * Glob: topic patterns, matched in bounded time and without allocation (no regular expressions: ZEROMQ.md tells of a 74
 * MiB regcomp).
 */
#ifndef WEFT_BASE_GLOB_H
#define WEFT_BASE_GLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// * any bytes, ? one byte, [abc] [a-z] [!a-z] one of a set (an unclosed [ stands for itself). The whole name must
// match. O(pattern * name).
bool weft_glob_match(const char *pattern, const char *name);
bool weft_glob_is_pattern(const char *text); // has * ? or [

#define WEFT_GLOBS_MAX 32
#define WEFT_GLOBS_BYTES_MAX 1024 // of all together
#define WEFT_GLOBS_WORDS ((WEFT_GLOBS_BYTES_MAX + WEFT_GLOBS_MAX) / 64 + 1)

/**
 * Patterns prepared for matching many names against all of them; 36 KiB. Elements (bytes, sets, ?) are bits, and all
 * ways to match of all patterns go on side by side, so a name costs O(its length) whatever they are, and nothing at all
 * where no pattern fits its first and its last bytes.
 */
struct weft_globs {
    struct weft_globs_one {
        const char *pattern; // borrowed
        size_t size, tail;   // its bytes; those at the end that stand for themselves
        size_t first, last;  // bits: before its first element, behind its last
    } each[WEFT_GLOBS_MAX];
    size_t count, bits, bytes;
    uint64_t takes[256][WEFT_GLOBS_WORDS]; // by byte: elements that take it
    uint64_t stars[WEFT_GLOBS_WORDS];      // elements with a star in front; the one behind the last as well
};

void weft_globs_init(struct weft_globs *self);
// Within the limits above.
void weft_globs_add(struct weft_globs *self, const char *pattern);
// Bit i: the pattern added as number i matches, as weft_glob_match says. Only those of `among` are asked.
uint32_t weft_globs_match(const struct weft_globs *self, const char *name, uint32_t among);

#endif
