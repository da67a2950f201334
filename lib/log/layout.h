// SPDX-License-Identifier: MPL-2.0
/**
 * Layout: big-endian integers and file names of everything that lib/log keeps beside the batches (docs/STORAGE.md).
 */
#ifndef WEFT_LOG_LAYOUT_H
#define WEFT_LOG_LAYOUT_H

#include "../base/bytes.h"

#include <string.h>

#define WEFT_LOG_PATH_BYTES_MAX 320 // directory (255) and a file name
#define WEFT_LOG_NAME_DIGITS 20
#define WEFT_LOG_OFFSET_MAX ((int64_t) 1 << 62) // of a batch; sums with 32-bit counts can't overflow

static inline void weft_put_u32(uint8_t *at, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(at, &value, sizeof value);
}

static inline void weft_put_u64(uint8_t *at, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(at, &value, sizeof value);
}

static inline uint32_t weft_get_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap32(value);
}

static inline uint64_t weft_get_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap64(value);
}

// `directory`/`offset, 20 digits``suffix`. Returns `path`.
const char *weft_log_path(char path[WEFT_LOG_PATH_BYTES_MAX], const char *directory, int64_t offset,
                          const char *suffix);
// `directory`/`name`. Returns `path`.
const char *weft_log_path_named(char path[WEFT_LOG_PATH_BYTES_MAX], const char *directory, const char *name);
// Is `name` 20 digits and then `suffix`? Then *offset is the number.
bool weft_log_name_parse(const char *name, const char *suffix, int64_t *offset);

#endif
