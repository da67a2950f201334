// SPDX-License-Identifier: MPL-2.0
/*
 * "Did you mean": optimal string alignment, that is Damerau-Levenshtein where no part is edited twice. Three rows of the matrix suffice; names
 * are bounded, so the rows stand on the stack. Near is at most a third of the longer name, and at least one edit is allowed.
 */
#include "options.h"

#include <string.h>

#define NAME_BYTES_MAX 64

static size_t s_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t s_distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
    size_t rows[3][NAME_BYTES_MAX + 1];
    for (size_t j = 0; j <= b_size; j++) rows[0][j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3], *above_that = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            row[j] = s_min(s_min(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = s_min(row[j], above_that[j - 2] + 1);
        }
    }
    return rows[a_size % 3][b_size];
}

const char *weft_nearest(const char *name, const char *const *known, size_t count)
{
    size_t name_size = strlen(name);
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    if (name_size == 0 || name_size > NAME_BYTES_MAX) return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(known[i]);
        if (size > NAME_BYTES_MAX) continue;
        size_t longer = size > name_size ? size : name_size;
        size_t near = longer / 3 > 0 ? longer / 3 : 1;
        size_t distance = s_distance(name, name_size, known[i], size);
        if (distance <= near && distance < best_distance) {
            best = known[i];
            best_distance = distance;
        }
    }
    return best;
}
