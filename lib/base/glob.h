// SPDX-License-Identifier: MPL-2.0
/**
 * Glob: topic patterns, matched in bounded time and without allocation (no regular expressions: ZEROMQ.md tells of a 74
 * MiB regcomp).
 */
#ifndef WEFT_BASE_GLOB_H
#define WEFT_BASE_GLOB_H

#include <stdbool.h>

// * any bytes, ? one byte, [abc] [a-z] [!a-z] one of a set (an unclosed [ stands for itself). The whole name must
// match. O(pattern * name).
bool weft_glob_match(const char *pattern, const char *name);
bool weft_glob_is_pattern(const char *text); // has * ? or [

#endif
