// SPDX-License-Identifier: MPL-2.0
/**
 * Assertions: for what our own code guarantees, never for what a peer, a file or a person sent.
 *
 * weft_assert is always on and O(1). weft_assert_slow is compiled only with WEFT_ASSERT_SLOW (debug, sanitizer,
 * simulator and fuzz builds) and may walk whole structures.
 */
#ifndef WEFT_BASE_ASSERT_H
#define WEFT_BASE_ASSERT_H

// Prints the expression, file, line and formatted reason to stderr, then aborts. Never returns.
_Noreturn void weft_assert_failed(const char *expression, const char *file, int line);

#define weft_assert(expression) \
    do { \
        if (__builtin_expect(!(expression), 0)) weft_assert_failed(#expression, __FILE__, __LINE__); \
    } while (0)

#ifdef WEFT_ASSERT_SLOW
#define weft_assert_slow(expression) weft_assert(expression)
#else
#define weft_assert_slow(expression) ((void) 0)
#endif

#endif
