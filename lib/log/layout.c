// SPDX-License-Identifier: MPL-2.0
// File names of a partition directory: 20 digits, so that names sort as numbers do.
#include "layout.h"

#include "../base/assert.h"

#include <stdio.h>

const char *weft_log_path(char path[WEFT_LOG_PATH_BYTES_MAX], const char *directory, int64_t offset, const char *suffix)
{
    int size = snprintf(path, WEFT_LOG_PATH_BYTES_MAX, "%s/%020lld%s", directory, (long long) offset, suffix);
    weft_assert(size > 0 && size < WEFT_LOG_PATH_BYTES_MAX);
    return path;
}

const char *weft_log_path_named(char path[WEFT_LOG_PATH_BYTES_MAX], const char *directory, const char *name)
{
    int size = snprintf(path, WEFT_LOG_PATH_BYTES_MAX, "%s/%s", directory, name);
    weft_assert(size > 0 && size < WEFT_LOG_PATH_BYTES_MAX);
    return path;
}

bool weft_log_name_parse(const char *name, const char *suffix, int64_t *offset)
{
    uint64_t value = 0;
    for (int i = 0; i < WEFT_LOG_NAME_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9') return false;
        value = value * 10 + (uint64_t) (name[i] - '0');
        if (value > (uint64_t) WEFT_LOG_OFFSET_MAX) return false;
    }
    if (strcmp(name + WEFT_LOG_NAME_DIGITS, suffix) != 0) return false;
    *offset = (int64_t) value;
    return true;
}
