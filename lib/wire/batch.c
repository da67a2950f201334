// SPDX-License-Identifier: MPL-2.0
// The 80 bytes before a batch's records. Every integer has a constant width, so a header is a template: 15 marker bytes
// that never change, and the values between them. The CRC takes bytes 22 to the end first and bytes 0 to 16 last: what
// a leader patches (offset, epoch) lies in the last 17, so that it verifies, patches and re-extends the CRC without
// reading the payload twice (I2: followers append the same bytes).
#include "batch.h"

#include "../base/assert.h"
#include "../base/crc32c.h"
#include "batch_bytes.h"

#include <inttypes.h>
#include <weft_gen/limits.h>

static const struct s_marker {
    uint8_t at, byte;
} s_markers[] = {
    {0, 0x9e},
    {S_AT_BASE_OFFSET - 1, 0xd3},
    {S_AT_LEADER_EPOCH - 1, 0xd2},
    {S_AT_FORMAT - 1, 0xcc},
    {S_AT_CRC - 1, 0xce},
    {S_AT_ATTRIBUTES - 1, 0xcd},
    {S_AT_LAST_OFFSET_DELTA - 1, 0xce},
    {S_AT_BASE_TIMESTAMP - 1, 0xd3},
    {S_AT_MAX_TIMESTAMP - 1, 0xd3},
    {S_AT_PRODUCER_ID - 1, 0xd3},
    {S_AT_PRODUCER_EPOCH - 1, 0xd1},
    {S_AT_BASE_SEQUENCE - 1, 0xd2},
    {S_AT_COUNT - 1, 0xce},
    {S_AT_RAW_BYTES - 1, 0xce},
    {S_AT_PAYLOAD_BYTES - 1, 0xc6},
};

// ---- header

// The first marker that is not there, among those that lie within the bytes; NULL if all are.
static const struct s_marker *s_wrong_marker(weft_slice_t bytes)
{
    for (size_t i = 0; i < sizeof s_markers / sizeof *s_markers; i++) {
        if (s_markers[i].at < bytes.size && bytes.data[s_markers[i].at] != s_markers[i].byte) return &s_markers[i];
    }
    return NULL;
}

static void s_load_header(const uint8_t *header, struct weft_batch *batch)
{
    *batch = (struct weft_batch){
        .base_offset = (int64_t) s_load64(header + S_AT_BASE_OFFSET),
        .leader_epoch = (int32_t) s_load32(header + S_AT_LEADER_EPOCH),
        .format = header[S_AT_FORMAT],
        .crc = s_load32(header + S_AT_CRC),
        .attributes = s_load16(header + S_AT_ATTRIBUTES),
        .last_offset_delta = s_load32(header + S_AT_LAST_OFFSET_DELTA),
        .base_timestamp_ms = (int64_t) s_load64(header + S_AT_BASE_TIMESTAMP),
        .max_timestamp_ms = (int64_t) s_load64(header + S_AT_MAX_TIMESTAMP),
        .producer_id = (int64_t) s_load64(header + S_AT_PRODUCER_ID),
        .producer_epoch = (int16_t) s_load16(header + S_AT_PRODUCER_EPOCH),
        .base_sequence = (int32_t) s_load32(header + S_AT_BASE_SEQUENCE),
        .count = s_load32(header + S_AT_COUNT),
        .raw_bytes = s_load32(header + S_AT_RAW_BYTES),
        .payload_bytes = s_load32(header + S_AT_PAYLOAD_BYTES),
    };
}

void weft_batch_write_header(uint8_t *header, const struct weft_batch *batch)
{
    for (size_t i = 0; i < sizeof s_markers / sizeof *s_markers; i++) header[s_markers[i].at] = s_markers[i].byte;
    s_store64(header + S_AT_BASE_OFFSET, (uint64_t) batch->base_offset);
    s_store32(header + S_AT_LEADER_EPOCH, (uint32_t) batch->leader_epoch);
    header[S_AT_FORMAT] = batch->format;
    s_store32(header + S_AT_CRC, batch->crc);
    s_store16(header + S_AT_ATTRIBUTES, batch->attributes);
    s_store32(header + S_AT_LAST_OFFSET_DELTA, batch->last_offset_delta);
    s_store64(header + S_AT_BASE_TIMESTAMP, (uint64_t) batch->base_timestamp_ms);
    s_store64(header + S_AT_MAX_TIMESTAMP, (uint64_t) batch->max_timestamp_ms);
    s_store64(header + S_AT_PRODUCER_ID, (uint64_t) batch->producer_id);
    s_store16(header + S_AT_PRODUCER_EPOCH, (uint16_t) batch->producer_epoch);
    s_store32(header + S_AT_BASE_SEQUENCE, (uint32_t) batch->base_sequence);
    s_store32(header + S_AT_COUNT, batch->count);
    s_store32(header + S_AT_RAW_BYTES, batch->raw_bytes);
    s_store32(header + S_AT_PAYLOAD_BYTES, batch->payload_bytes);
}

// What no batch may say, whoever made it; everything after this can trust the sizes.
static bool s_header_possible(const struct weft_batch *batch)
{
    return batch->format == WEFT_BATCH_FORMAT &&
           batch->payload_bytes <= WEFT_BATCH_BYTES_MAX - WEFT_BATCH_HEADER_BYTES &&
           batch->raw_bytes <= WEFT_RAW_BYTES_MAX && batch->count <= (uint64_t) batch->last_offset_delta + 1;
}

weft_err_t weft_batch_read(weft_slice_t bytes, struct weft_batch *batch)
{
    if (s_wrong_marker(bytes)) return WEFT_ERR_BAD_BATCH;
    if (bytes.size < WEFT_BATCH_HEADER_BYTES) return WEFT_ERR_TRUNCATED;
    struct weft_batch read;
    s_load_header(bytes.data, &read);
    if (!s_header_possible(&read)) return WEFT_ERR_BAD_BATCH;
    *batch = read;
    return weft_batch_bytes(&read) <= bytes.size ? WEFT_OK : WEFT_ERR_TRUNCATED;
}

// ---- checksum

// Over everything that the leader does not patch.
static uint32_t s_crc_state(const uint8_t *bytes, size_t size)
{
    return weft_crc32c(0, bytes + S_CRC_FROM, size - S_CRC_FROM);
}

weft_err_t weft_batch_verify(weft_slice_t bytes, struct weft_batch *batch)
{
    struct weft_batch read;
    weft_err_t err = weft_batch_read(bytes, &read);
    if (err) return err;
    if (read.attributes & WEFT_BATCH_ATTR_CRC_ABSENT) return WEFT_ERR_BAD_BATCH;
    uint32_t crc = weft_crc32c(s_crc_state(bytes.data, weft_batch_bytes(&read)), bytes.data, S_CRC_PATCHED);
    if (crc != read.crc) return WEFT_ERR_BAD_CRC;
    *batch = read;
    return WEFT_OK;
}

void weft_batch_seal(uint8_t *bytes, size_t size)
{
    weft_assert(size >= WEFT_BATCH_HEADER_BYTES);
    s_store32(bytes + S_AT_CRC, weft_crc32c(s_crc_state(bytes, size), bytes, S_CRC_PATCHED));
}

// ---- accepting a produced batch

static weft_err_t s_accept_header(weft_slice_t bytes, struct weft_batch *batch, struct weft_error *error)
{
    const struct s_marker *wrong = s_wrong_marker(bytes);
    if (wrong) {
        return weft_error_set(error, WEFT_ERR_BAD_BATCH, "batch: byte %u is 0x%02x instead of the marker 0x%02x",
                              wrong->at, bytes.data[wrong->at], wrong->byte);
    }
    if (bytes.size < WEFT_BATCH_HEADER_BYTES) {
        return weft_error_set(error, WEFT_ERR_BAD_BATCH, "batch: %zu bytes are no whole header (%d)", bytes.size,
                              WEFT_BATCH_HEADER_BYTES);
    }
    s_load_header(bytes.data, batch);
    if (batch->format != WEFT_BATCH_FORMAT) {
        return weft_error_set(error, WEFT_ERR_BAD_BATCH, "batch: format is %u, known is %d", batch->format,
                              WEFT_BATCH_FORMAT);
    }
    if (weft_batch_bytes(batch) > bytes.size) {
        return weft_error_set(error, WEFT_ERR_BAD_BATCH,
                              "batch: payload_bytes is %" PRIu32 ", but %zu bytes follow the header",
                              batch->payload_bytes, bytes.size - WEFT_BATCH_HEADER_BYTES);
    }
    return WEFT_OK;
}

static weft_err_t s_accept_attributes(const struct weft_batch *batch, struct weft_error *error)
{
    const unsigned known = WEFT_BATCH_ATTR_CODEC_MASK | WEFT_BATCH_ATTR_LOG_APPEND_TIME | WEFT_BATCH_ATTR_CRC_ABSENT;
    unsigned codec = batch->attributes & WEFT_BATCH_ATTR_CODEC_MASK;
    if (codec != WEFT_CODEC_NONE && codec != WEFT_CODEC_LZ4 && codec != WEFT_CODEC_ZSTD) {
        return weft_error_set(error, WEFT_ERR_UNSUPPORTED_COMPRESSION,
                              "batch: codec is %u; known are 0 (none), 3 (lz4) and 4 (zstd)", codec);
    }
    if (batch->attributes & ~known) {
        return weft_error_set(
            error, WEFT_ERR_BAD_BATCH,
            "batch: attributes are 0x%04x; of these 0x%04x may not be produced (transactional and control "
            "batches are not known, the others are reserved)",
            batch->attributes, batch->attributes & ~known);
    }
    return WEFT_OK;
}

static weft_err_t s_accept_sizes(const struct weft_batch *batch, const struct weft_batch_limits *limits,
                                 struct weft_error *error)
{
    if (weft_batch_bytes(batch) > limits->batch_bytes_max || weft_batch_bytes(batch) > WEFT_BATCH_BYTES_MAX) {
        return weft_error_set(error, WEFT_ERR_BATCH_TOO_LARGE,
                              "batch: it has %zu bytes, at most %" PRIu32 " are allowed", weft_batch_bytes(batch),
                              limits->batch_bytes_max);
    }
    if (batch->raw_bytes > limits->raw_bytes_max || batch->raw_bytes > WEFT_RAW_BYTES_MAX) {
        return weft_error_set(error, WEFT_ERR_BATCH_TOO_LARGE,
                              "batch: raw_bytes is %" PRIu32 ", at most %" PRIu32 " are allowed", batch->raw_bytes,
                              limits->raw_bytes_max);
    }
    if (!(batch->attributes & WEFT_BATCH_ATTR_CODEC_MASK) && batch->raw_bytes != batch->payload_bytes) {
        return weft_error_set(error, WEFT_ERR_BAD_BATCH,
                              "batch: raw_bytes is %" PRIu32 ", payload_bytes %" PRIu32
                              ": uncompressed, they are equal",
                              batch->raw_bytes, batch->payload_bytes);
    }
    return WEFT_OK;
}

static weft_err_t s_accept_fields(const struct weft_batch *batch, struct weft_error *error)
{
    if (batch->count != (uint64_t) batch->last_offset_delta + 1) {
        return weft_error_set(error, WEFT_ERR_BAD_BATCH,
                              "batch: count is %" PRIu32 ", last_offset_delta %" PRIu32 ": produced, count is one more",
                              batch->count, batch->last_offset_delta);
    }
    if (batch->count > batch->raw_bytes / S_RECORD_BYTES_MIN) {
        return weft_error_set(error, WEFT_ERR_BAD_BATCH, "batch: count is %" PRIu32 ", too many for raw_bytes %" PRIu32,
                              batch->count, batch->raw_bytes);
    }
    if (batch->max_timestamp_ms < batch->base_timestamp_ms) {
        return weft_error_set(error, WEFT_ERR_BAD_BATCH,
                              "batch: max_timestamp is %" PRId64 ", before base_timestamp %" PRId64,
                              batch->max_timestamp_ms, batch->base_timestamp_ms);
    }
    if (batch->producer_id < -1) {
        return weft_error_set(error, WEFT_ERR_BAD_BATCH,
                              "batch: producer_id is %" PRId64 "; -1 is none, others count from 0", batch->producer_id);
    }
    if (batch->producer_id >= 0 && (batch->producer_epoch < 0 || batch->base_sequence < 0)) {
        return weft_error_set(error, WEFT_ERR_BAD_BATCH,
                              "batch: producer_epoch is %d, base_sequence %" PRId32
                              ": with a producer_id, both count from 0",
                              batch->producer_epoch, batch->base_sequence);
    }
    return WEFT_OK;
}

// The state for stamp, which clears CRC_ABSENT: with that bit gone. It sits in the first three of the bytes that the
// CRC covers.
static uint32_t s_crc_state_cleared(const uint8_t *bytes, size_t size)
{
    uint8_t head[3] = {bytes[S_CRC_FROM], bytes[S_CRC_FROM + 1] & 0x7f, bytes[S_CRC_FROM + 2]};
    uint32_t crc = weft_crc32c(0, head, sizeof head);
    return weft_crc32c(crc, bytes + S_CRC_FROM + sizeof head, size - S_CRC_FROM - sizeof head);
}

static weft_err_t s_accept_crc(weft_slice_t bytes, const struct weft_batch *batch, uint32_t *state,
                               struct weft_error *error)
{
    if (batch->attributes & WEFT_BATCH_ATTR_CRC_ABSENT) {
        *state = s_crc_state_cleared(bytes.data, weft_batch_bytes(batch));
        return WEFT_OK;
    }
    *state = s_crc_state(bytes.data, weft_batch_bytes(batch));
    uint32_t crc = weft_crc32c(*state, bytes.data, S_CRC_PATCHED);
    if (crc == batch->crc) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_BAD_CRC, "batch: crc32c is 0x%08" PRIx32 ", its bytes give 0x%08" PRIx32,
                          batch->crc, crc);
}

weft_err_t weft_batch_accept(weft_slice_t bytes, const struct weft_batch_limits *limits, struct weft_batch *batch,
                             uint32_t *crc_state, struct weft_error *error)
{
    struct weft_batch read;
    uint32_t state;
    weft_err_t err = s_accept_header(bytes, &read, error);
    if (!err) err = s_accept_attributes(&read, error);
    if (!err) err = s_accept_sizes(&read, limits, error);
    if (!err)
        err = s_accept_crc(bytes, &read, &state, error); // before the fields: a flipped bit is to be named as such
    if (!err) err = s_accept_fields(&read, error);
    if (!err && !(read.attributes & WEFT_BATCH_ATTR_CODEC_MASK)) {
        weft_slice_t payload = weft_slice(bytes.data + WEFT_BATCH_HEADER_BYTES, read.payload_bytes);
        err = weft_batch_check_records(payload, read.count, limits->record_bytes_max, error);
    }
    if (err) return err;
    *batch = read;
    *crc_state = state;
    return WEFT_OK;
}

// ---- stamping

// Patches both the bytes and *batch; returns nothing to check: the batch was accepted.
static void s_patch(uint8_t *header, int64_t base_offset, int32_t leader_epoch, uint16_t attributes,
                    struct weft_batch *batch)
{
    batch->base_offset = base_offset;
    batch->leader_epoch = leader_epoch;
    batch->attributes = attributes;
    s_store64(header + S_AT_BASE_OFFSET, (uint64_t) base_offset);
    s_store32(header + S_AT_LEADER_EPOCH, (uint32_t) leader_epoch);
    s_store16(header + S_AT_ATTRIBUTES, attributes);
}

void weft_batch_stamp(uint8_t *header, int64_t base_offset, int32_t leader_epoch, uint32_t crc_state,
                      struct weft_batch *batch)
{
    s_patch(header, base_offset, leader_epoch, batch->attributes & (uint16_t) ~WEFT_BATCH_ATTR_CRC_ABSENT, batch);
    batch->crc = weft_crc32c(crc_state, header, S_CRC_PATCHED);
    s_store32(header + S_AT_CRC, batch->crc);
}

void weft_batch_stamp_append_time(uint8_t *bytes, int64_t base_offset, int32_t leader_epoch, int64_t now_ms,
                                  struct weft_batch *batch)
{
    uint16_t attributes =
        (batch->attributes & (uint16_t) ~WEFT_BATCH_ATTR_CRC_ABSENT) | WEFT_BATCH_ATTR_LOG_APPEND_TIME;
    s_patch(bytes, base_offset, leader_epoch, attributes, batch);
    batch->base_timestamp_ms = now_ms;
    batch->max_timestamp_ms = now_ms;
    s_store64(bytes + S_AT_BASE_TIMESTAMP, (uint64_t) now_ms);
    s_store64(bytes + S_AT_MAX_TIMESTAMP, (uint64_t) now_ms);
    weft_batch_seal(bytes, weft_batch_bytes(batch));
    batch->crc = s_load32(bytes + S_AT_CRC);
}

bool weft_batch_looks_like_batch(weft_slice_t bytes)
{
    return bytes.size > 0 && bytes.data[0] == s_markers[0].byte;
}

weft_err_t weft_batch_payload(weft_slice_t bytes, const struct weft_batch *batch, weft_buf_t *scratch,
                              weft_slice_t *payload)
{
    if (weft_batch_bytes(batch) > bytes.size) return WEFT_ERR_TRUNCATED;
    weft_slice_t packed = weft_slice(bytes.data + WEFT_BATCH_HEADER_BYTES, batch->payload_bytes);
    enum weft_codec codec = weft_batch_codec(batch);
    if (codec == WEFT_CODEC_NONE) {
        *payload = packed;
        return WEFT_OK;
    }
    weft_buf_clear(scratch);
    weft_err_t err = weft_decompress(codec, packed, batch->raw_bytes, scratch);
    if (err) return err;
    *payload = weft_buf_slice(scratch);
    return WEFT_OK;
}
