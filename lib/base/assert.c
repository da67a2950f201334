// SPDX-License-Identifier: MPL-2.0
// A failed assertion says what and where with one write(2), so that the line survives the abort whole.
#include "assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void weft_assert_failed(const char *expression, const char *file, int line)
{
    char text[512];
    int size = snprintf(text, sizeof text, "weft: assertion failed: %s (%s:%d)\n", expression, file, line);
    if (size > (int) sizeof text - 1) size = (int) sizeof text - 1;
    if (size > 0 && write(STDERR_FILENO, text, (size_t) size) < 0) abort();
    abort();
}
