// SPDX-License-Identifier: MPL-2.0
/**
 * Record batch: the unit on the wire, in page cache, on disk and between replicas; never re-encoded.
 *
 * A msgpack array(14) with constant-width integers (80 bytes), then the payload: records back to back, each a msgpack
 * array [ts_delta, key|nil, value|nil, headers|nil]. Field by field Kafka's RecordBatch v2 (KIP-98). Offsets of the
 * fields: docs/STORAGE.md.
 *
 * Everything here works on caller's memory; only the builder allocates. Nothing trusts the bytes: weft_batch_verify
 * must have accepted a batch before anything else may read it. Iteration checks every bound by itself.
 */
#ifndef WEFT_WIRE_BATCH_H
#define WEFT_WIRE_BATCH_H

#include "../base/bytes.h"

#define WEFT_BATCH_HEADER_BYTES 80
#define WEFT_BATCH_FORMAT 1
#define WEFT_BATCH_ATTR_CODEC_MASK 0x0007
#define WEFT_BATCH_ATTR_LOG_APPEND_TIME 0x0008
#define WEFT_BATCH_ATTR_TRANSACTIONAL 0x0010
#define WEFT_BATCH_ATTR_CONTROL 0x0020
#define WEFT_BATCH_ATTR_DELETE_HORIZON 0x0040
#define WEFT_BATCH_ATTR_CRC_ABSENT 0x8000

enum weft_codec { WEFT_CODEC_NONE = 0, WEFT_CODEC_LZ4 = 3, WEFT_CODEC_ZSTD = 4 };

struct weft_batch {
    int64_t base_offset;
    int32_t leader_epoch;
    uint8_t format;
    uint32_t crc;
    uint16_t attributes;
    uint32_t last_offset_delta;
    int64_t base_timestamp_ms;
    int64_t max_timestamp_ms;
    int64_t producer_id; // -1 = none
    int16_t producer_epoch;
    int32_t base_sequence;
    uint32_t count;     // records present
    uint32_t raw_bytes; // payload before compression
    uint32_t payload_bytes;
};

static inline size_t weft_batch_bytes(const struct weft_batch *batch)
{
    return WEFT_BATCH_HEADER_BYTES + (size_t) batch->payload_bytes;
}
static inline int64_t weft_batch_next_offset(const struct weft_batch *batch)
{
    return batch->base_offset + batch->last_offset_delta + 1;
}
static inline enum weft_codec weft_batch_codec(const struct weft_batch *batch)
{
    return (enum weft_codec)(batch->attributes & WEFT_BATCH_ATTR_CODEC_MASK);
}

/** Limits that a batch is checked against; from topic and broker configuration. */
struct weft_batch_limits {
    uint32_t batch_bytes_max;  // header and payload
    uint32_t record_bytes_max; // one record, encoded
    uint32_t raw_bytes_max;    // inflated payload
};

// Reads the header only: shape, format, sizes within schemas/limits.json, and that `bytes` holds the whole batch (more
// may follow). BAD_BATCH; TRUNCATED when bytes end before the batch does (then *batch is filled if the header was
// whole: bytes.size >= 80).
WEFT_MUST_USE weft_err_t weft_batch_read(weft_slice_t bytes, struct weft_batch *batch);
// Shape and CRC of a stored batch (CRC must be present). BAD_CRC, BAD_BATCH, TRUNCATED.
WEFT_MUST_USE weft_err_t weft_batch_verify(weft_slice_t bytes, struct weft_batch *batch);

/**
 * What a leader does to a produced batch: checks shape, attributes (reserved codecs, transactional and control are
 * refused; an absent CRC is taken as is), CRC, limits and records in one pass; *crc_state is what weft_batch_stamp
 * needs. Errors: BAD_BATCH, BAD_CRC, RECORD_TOO_LARGE, BATCH_TOO_LARGE, UNSUPPORTED_COMPRESSION; `error` says which
 * field and value. More may follow the batch: weft_batch_bytes(batch) says where. A compressed payload is not looked
 * into: its count is bounded by raw_bytes (5 bytes are the smallest record), which bounds inflation. The leader does
 * that next (weft_batch_payload, weft_batch_check_records).
 */
WEFT_MUST_USE weft_err_t weft_batch_accept(weft_slice_t bytes, const struct weft_batch_limits *limits,
                                           struct weft_batch *batch, uint32_t *crc_state, struct weft_error *error);
/**
 * Patches base_offset, leader_epoch, clears CRC_ABSENT, and re-extends the CRC over only those bytes. `header` is the
 * batch's first 80 bytes, writable.
 */
void weft_batch_stamp(uint8_t *header, int64_t base_offset, int32_t leader_epoch, uint32_t crc_state,
                      struct weft_batch *batch);
/**
 * As stamp, with log-append time: also sets base and max timestamp and the attribute, recomputing the CRC over the
 * whole batch.
 */
void weft_batch_stamp_append_time(uint8_t *bytes, int64_t base_offset, int32_t leader_epoch, int64_t now_ms,
                                  struct weft_batch *batch);

// Writes a header into 80 bytes, CRC as given in *batch.
void weft_batch_write_header(uint8_t *header, const struct weft_batch *batch);
// Computes and writes the CRC of a whole batch in memory.
void weft_batch_seal(uint8_t *bytes, size_t size);

/**
 * Walks uncompressed records' bounds: each is a legal record, `count` of them fill the payload, with no gaps between.
 * BAD_BATCH, RECORD_TOO_LARGE.
 */
WEFT_MUST_USE weft_err_t weft_batch_check_records(weft_slice_t payload, uint32_t count, uint32_t record_bytes_max,
                                                  struct weft_error *error);

// ---- reading records

struct weft_record {
    int64_t timestamp_delta_ms;
    int64_t offset_delta; // position, with gaps of compaction counted
    weft_slice_t key;     // data NULL: nil
    weft_slice_t value;   // data NULL: nil (tombstone)
    weft_slice_t headers; // encoded msgpack array [name, value, ...]; data NULL: nil
};

typedef struct weft_record_iter {
    const uint8_t *at, *end;
    int64_t offset_delta;
} weft_record_iter_t;

// `payload` is uncompressed and checked (or from a CRC-verified batch: iteration is bounds-checked all the same and
// ends at the first bad record).
void weft_record_iter_init(weft_record_iter_t *self, weft_slice_t payload);
// True and fills *record, or false at the end. *bad (may be NULL) is set when it ended at something that is no record.
bool weft_record_iter_next(weft_record_iter_t *self, struct weft_record *record, bool *bad);

/** When a record was made, or appended where its batch says so. Saturates where base and delta leave all time. */
static inline int64_t weft_record_timestamp_ms(const struct weft_batch *batch, const struct weft_record *record)
{
    int64_t timestamp_ms;
    if (batch->attributes & WEFT_BATCH_ATTR_LOG_APPEND_TIME) return batch->max_timestamp_ms;
    if (!__builtin_add_overflow(batch->base_timestamp_ms, record->timestamp_delta_ms, &timestamp_ms))
        return timestamp_ms;
    return record->timestamp_delta_ms < 0 ? INT64_MIN : INT64_MAX;
}

// Headers: next (name, value) pair; false at the end or at bad bytes. Begin with the record's headers and *begun false.
bool weft_record_header_next(weft_slice_t *headers_rest, bool *begun, weft_slice_t *name, weft_slice_t *value);

// ---- building

/**
 * Builder: records are encoded straight into the batch's memory; finish() gives header + payload contiguous.
 * Reused after weft_batch_builder_reset. Not thread-safe.
 */
typedef struct weft_batch_builder {
    weft_buf_t buf; // 80 bytes of header room, then records
    uint32_t count;
    int64_t base_timestamp_ms;
    int64_t max_timestamp_ms;
} weft_batch_builder_t;

void weft_batch_builder_init(weft_batch_builder_t *self);
void weft_batch_builder_fini(weft_batch_builder_t *self);
void weft_batch_builder_reset(weft_batch_builder_t *self);
// Encoded size of a record, upper bound (to decide whether it still fits).
size_t weft_record_bytes_bound(weft_slice_t key, weft_slice_t value, weft_slice_t headers);
// headers: an encoded msgpack array [name, value, ...] or nil (not checked: the caller encoded it). The first record's
// timestamp becomes the base. A key or value of WEFT_SLICE_NIL is nil; an empty one needs data that is not NULL.
void weft_batch_builder_add(weft_batch_builder_t *self, int64_t timestamp_ms, weft_slice_t key, weft_slice_t value,
                            weft_slice_t headers);
/**
 * Compresses (kept uncompressed where that is not smaller), writes the header with base_offset 0 and leader_epoch 0,
 * seals the CRC. The whole batch replaces what `out` held (uncompressed, `out` and builder swap their memory: no copy);
 * the builder is reset. Needs a record at least. producer_id -1: no session. UNSUPPORTED_COMPRESSION: the builder is
 * unchanged.
 */
WEFT_MUST_USE weft_err_t weft_batch_builder_finish(weft_batch_builder_t *self, enum weft_codec codec,
                                                   int64_t producer_id, int16_t producer_epoch, int32_t base_sequence,
                                                   weft_buf_t *out);

/**
 * Thin clients: bare records back to back (no batch header) become one batch in `out`, replacing what it held. ts_delta
 * counts from now_ms, which is the batch's base; its max_timestamp is now_ms at least. BAD_BATCH, RECORD_TOO_LARGE,
 * BATCH_TOO_LARGE.
 */
WEFT_MUST_USE weft_err_t weft_batch_of_bare_records(weft_slice_t records, int64_t now_ms,
                                                    const struct weft_batch_limits *limits, weft_buf_t *out,
                                                    struct weft_error *error);
// True if the bytes begin like a batch (0x9e), false if like a bare record (0x94) or anything else.
bool weft_batch_looks_like_batch(weft_slice_t bytes);

// ---- compression (lz4 frame, zstd). Any thread; a thread keeps its zstd contexts until it ends.

WEFT_MUST_USE weft_err_t weft_compress(enum weft_codec codec, weft_slice_t raw, weft_buf_t *out);
// Inflates exactly raw_bytes into `out` (appended); anything more or less is BAD_BATCH: never allocates beyond
// raw_bytes.
WEFT_MUST_USE weft_err_t weft_decompress(enum weft_codec codec, weft_slice_t packed, size_t raw_bytes, weft_buf_t *out);

// The batch's records, uncompressed: points into `bytes` when not compressed, else into `scratch`.
WEFT_MUST_USE weft_err_t weft_batch_payload(weft_slice_t bytes, const struct weft_batch *batch, weft_buf_t *scratch,
                                            weft_slice_t *payload);

#endif
