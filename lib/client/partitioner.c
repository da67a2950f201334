// SPDX-License-Identifier: MPL-2.0
// murmur2 (Austin Appleby, public domain algorithm) with the seed and the byte order that Kafka's clients use, so that
// a key lands in the same partition there and here.
#include <weft/record.h>

#include "../base/assert.h"

uint32_t weft_murmur2(weft_slice_t key)
{
    const uint32_t m = 0x5bd1e995;
    uint32_t h = 0x9747b28c ^ (uint32_t) key.size;
    const uint8_t *at = key.data;
    size_t rest = key.size;
    for (; rest >= 4; at += 4, rest -= 4) {
        uint32_t k = (uint32_t) at[0] | (uint32_t) at[1] << 8 | (uint32_t) at[2] << 16 | (uint32_t) at[3] << 24;
        k *= m;
        k ^= k >> 24;
        k *= m;
        h = h * m ^ k;
    }
    if (rest == 3) h ^= (uint32_t) at[2] << 16;
    if (rest >= 2) h ^= (uint32_t) at[1] << 8;
    if (rest >= 1) h = (h ^ at[0]) * m;
    h ^= h >> 13;
    h *= m;
    return h ^ h >> 15;
}

int32_t weft_partition_of_key(weft_slice_t key, int32_t partition_count)
{
    weft_assert(partition_count > 0);
    return (int32_t) ((weft_murmur2(key) & 0x7fffffff) % (uint32_t) partition_count);
}
