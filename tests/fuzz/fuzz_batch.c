// SPDX-License-Identifier: MPL-2.0
// Batches as a peer might send them: read, verify, accept, inflate, iterate, and bare records. Checked beside "no
// crash": what was accepted uncompressed iterates to exactly its count; what accept took and stamp patched, verify
// takes too; a batch that was built from bare records is accepted. Since no fuzzer guesses a CRC or 15 markers, the
// bytes are also tried with the CRC said to be absent, and as a payload behind a good header.
#include "lib/base/assert.h"
#include "lib/wire/batch.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct weft_batch_limits s_limits = {1 << 20, 1 << 16, 1 << 20};

// Iterates to the end; also the headers of each record.
static uint32_t s_iterate(weft_slice_t payload, bool *bad)
{
    weft_record_iter_t iter;
    struct weft_record record;
    uint32_t count = 0;
    int64_t last = -1;
    weft_record_iter_init(&iter, payload);
    for (; weft_record_iter_next(&iter, &record, bad); count++) {
        weft_assert(record.offset_delta > last);
        last = record.offset_delta;
        weft_slice_t rest = record.headers, name, value;
        bool begun = false;
        while (weft_record_header_next(&rest, &begun, &name, &value)) weft_assert(name.data);
        weft_assert(rest.size == 0);
    }
    return count;
}

static void s_read_payload(weft_slice_t bytes, const struct weft_batch *batch, bool accepted)
{
    weft_buf_t scratch;
    weft_slice_t payload;
    weft_buf_init(&scratch);
    if (weft_batch_payload(bytes, batch, &scratch, &payload) == WEFT_OK) {
        weft_assert(payload.size == batch->raw_bytes);
        bool bad = false, legal = weft_batch_check_records(payload, batch->count, UINT32_MAX, NULL) == WEFT_OK;
        uint32_t count = s_iterate(payload, &bad);
        weft_assert(!legal || (!bad && count == batch->count));
        weft_assert(legal || !accepted ||
                    weft_batch_codec(batch) != WEFT_CODEC_NONE); // uncompressed, accept had looked
    }
    weft_buf_fini(&scratch);
}

// `bytes` is writable, `size` long.
static void s_try_batch(uint8_t *bytes, size_t size)
{
    struct weft_batch batch, stored;
    struct weft_error error;
    uint32_t crc_state;
    weft_err_t read = weft_batch_read(weft_slice(bytes, size), &batch);
    if (weft_batch_accept(weft_slice(bytes, size), &s_limits, &batch, &crc_state, &error)) {
        weft_assert(error.code > 0 && error.text[0]); // it travels, and it says something
        return;
    }
    weft_assert(read == WEFT_OK);
    s_read_payload(weft_slice(bytes, size), &batch, true);
    weft_batch_stamp(bytes, INT64_MAX / 2, 3, crc_state, &batch);
    weft_assert(weft_batch_verify(weft_slice(bytes, size), &stored) == WEFT_OK);
    weft_assert(stored.base_offset == INT64_MAX / 2 && stored.count == batch.count);
    weft_batch_stamp_append_time(bytes, 5, 3, 1000, &batch);
    weft_assert(weft_batch_verify(weft_slice(bytes, size), &stored) == WEFT_OK);
}

// Four bytes choose codec, count and raw_bytes; the rest is the payload.
static void s_try_payload(const uint8_t *data, size_t size)
{
    if (size < 4) return;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_buf_reserve(&bytes, WEFT_BATCH_HEADER_BYTES + size);
    uint32_t payload_bytes = (uint32_t) size - 4, codec = data[0] & WEFT_BATCH_ATTR_CODEC_MASK;
    struct weft_batch batch = {.format = WEFT_BATCH_FORMAT,
                               .attributes = (uint16_t) (codec | WEFT_BATCH_ATTR_CRC_ABSENT),
                               .last_offset_delta = data[1],
                               .producer_id = -1,
                               .count = data[1] + 1u,
                               .raw_bytes = codec ? (uint32_t) (data[2] << 8 | data[3]) : payload_bytes,
                               .payload_bytes = payload_bytes};
    weft_batch_write_header(bytes.data, &batch);
    bytes.size = WEFT_BATCH_HEADER_BYTES;
    weft_buf_append(&bytes, data + 4, payload_bytes);
    s_try_batch(bytes.data, bytes.size);
    weft_buf_fini(&bytes);
}

static void s_try_bare(weft_slice_t records)
{
    weft_buf_t out;
    struct weft_error error;
    weft_buf_init(&out);
    if (weft_batch_of_bare_records(records, 1000, &s_limits, &out, &error) == WEFT_OK) {
        struct weft_batch batch;
        uint32_t crc_state;
        bool bad = true;
        weft_assert(weft_batch_accept(weft_buf_slice(&out), &s_limits, &batch, &crc_state, &error) == WEFT_OK);
        weft_assert(s_iterate(records, &bad) == batch.count && !bad);
    } else {
        weft_assert(error.code > 0 && error.text[0]);
    }
    weft_buf_fini(&out);
}

static void s_try_codecs(weft_slice_t packed)
{
    static const enum weft_codec codecs[] = {WEFT_CODEC_LZ4, WEFT_CODEC_ZSTD};
    weft_buf_t out;
    weft_buf_init(&out);
    size_t raw_bytes = packed.size >= 2 ? (size_t) packed.data[0] << 4 | packed.data[1] : 1;
    for (size_t i = 0; i < 2; i++) {
        weft_buf_clear(&out);
        weft_slice_t rest = packed.size >= 2 ? weft_slice(packed.data + 2, packed.size - 2) : packed;
        if (weft_decompress(codecs[i], rest, raw_bytes, &out) == WEFT_OK) weft_assert(out.size == raw_bytes);
    }
    weft_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = weft_alloc(size); // of exactly this size: the sanitizer sees a read beyond
    if (size) memcpy(copy, data, size);
    bool bad;
    struct weft_batch batch;
    if (weft_batch_verify(weft_slice(copy, size), &batch) == WEFT_OK)
        s_read_payload(weft_slice(copy, size), &batch, false);
    s_try_batch(copy, size);
    if (size >= WEFT_BATCH_HEADER_BYTES) {
        memcpy(copy, data, size);
        copy[23] |= 0x80; // CRC absent
        s_try_batch(copy, size);
    }
    s_iterate(weft_slice(data, size), &bad);
    s_try_payload(data, size);
    s_try_bare(weft_slice(data, size));
    s_try_codecs(weft_slice(data, size));
    free(copy);
    return 0;
}
