// SPDX-License-Identifier: MPL-2.0
/**
 * Big-endian loads and stores, and the places of a batch's fields. For the batch's own files only.
 */
#ifndef WEFT_WIRE_BATCH_BYTES_H
#define WEFT_WIRE_BATCH_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

// Where the values stand; the msgpack marker of each is the byte before.
enum {
    S_AT_BASE_OFFSET = 2,
    S_AT_LEADER_EPOCH = 11,
    S_AT_FORMAT = 16,
    S_AT_CRC = 18,
    S_AT_ATTRIBUTES = 23,
    S_AT_LAST_OFFSET_DELTA = 26,
    S_AT_BASE_TIMESTAMP = 31,
    S_AT_MAX_TIMESTAMP = 40,
    S_AT_PRODUCER_ID = 49,
    S_AT_PRODUCER_EPOCH = 58,
    S_AT_BASE_SEQUENCE = 61,
    S_AT_COUNT = 66,
    S_AT_RAW_BYTES = 71,
    S_AT_PAYLOAD_BYTES = 76,
    S_CRC_FROM = 22,   // the CRC runs from here to the end,
    S_CRC_PATCHED = 17 // then over the first 17 bytes, which the leader patches
};

enum { S_RECORD_BYTES_MIN = 5 }; // 94 00 c0 c0 c0

static inline uint16_t s_load16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return be16toh(value);
}

static inline uint32_t s_load32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return be32toh(value);
}

static inline uint64_t s_load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return be64toh(value);
}

static inline void s_store16(uint8_t *at, uint16_t value)
{
    value = htobe16(value);
    memcpy(at, &value, sizeof value);
}

static inline void s_store32(uint8_t *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof value);
}

static inline void s_store64(uint8_t *at, uint64_t value)
{
    value = htobe64(value);
    memcpy(at, &value, sizeof value);
}

#endif
