// SPDX-License-Identifier: MPL-2.0
// Inflating is bounded by raw_bytes, and by nothing else: output goes straight into memory of exactly that size. zstd's
// one-shot call does so by itself (no window buffer, whatever the frame's header asks for). lz4's frame decoder would
// buffer up to 8 MiB when a 20-byte frame announces 4 MiB blocks, so the frame is walked here (lz4 frame format 1.6)
// and its blocks are decoded in place, each with the output before it as dictionary. The frame's own xxhash sums are
// skipped: the batch's CRC covers the same bytes.
//
// zstd contexts are costly to make and are kept, one pair a thread, until the thread ends.
#include "batch.h"

#include "../base/assert.h"

#include <limits.h>
#include <lz4.h>
#include <lz4frame.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { S_ZSTD_LEVEL = 3, S_LZ4_DICTIONARY_BYTES = 65536 };

// ---- contexts

struct s_contexts {
    ZSTD_CCtx *compress;
    ZSTD_DCtx *decompress;
};

static pthread_key_t s_contexts_key;
static pthread_once_t s_contexts_once = PTHREAD_ONCE_INIT;
static _Thread_local struct s_contexts s_contexts; // the key is only there for its destructor

static void s_contexts_free(void *contexts)
{
    struct s_contexts *self = contexts;
    ZSTD_freeCCtx(self->compress);
    ZSTD_freeDCtx(self->decompress);
    *self = (struct s_contexts){NULL, NULL};
}

static void s_contexts_start(void)
{
    weft_assert(pthread_key_create(&s_contexts_key, s_contexts_free) == 0);
}

static void s_contexts_keep(void)
{
    pthread_once(&s_contexts_once, s_contexts_start);
    weft_assert(pthread_setspecific(s_contexts_key, &s_contexts) == 0);
}

static ZSTD_CCtx *s_zstd_compressor(void)
{
    if (!s_contexts.compress) {
        s_contexts.compress = ZSTD_createCCtx();
        weft_assert(s_contexts.compress);
        s_contexts_keep();
    }
    return s_contexts.compress;
}

static ZSTD_DCtx *s_zstd_decompressor(void)
{
    if (!s_contexts.decompress) {
        s_contexts.decompress = ZSTD_createDCtx();
        weft_assert(s_contexts.decompress);
        s_contexts_keep();
    }
    return s_contexts.decompress;
}

// ---- compressing

static weft_err_t s_lz4_compress(weft_slice_t raw, weft_buf_t *out)
{
    LZ4F_preferences_t preferences;
    memset(&preferences, 0, sizeof preferences);
    preferences.frameInfo.contentSize = raw.size;
    size_t bound = LZ4F_compressFrameBound(raw.size, &preferences);
    weft_buf_reserve(out, bound);
    size_t size = LZ4F_compressFrame(out->data + out->size, bound, raw.data, raw.size, &preferences);
    if (LZ4F_isError(size)) return WEFT_ERR_INTERNAL;
    out->size += size;
    return WEFT_OK;
}

static weft_err_t s_zstd_compress(weft_slice_t raw, weft_buf_t *out)
{
    size_t bound = ZSTD_compressBound(raw.size);
    weft_buf_reserve(out, bound);
    size_t size =
        ZSTD_compressCCtx(s_zstd_compressor(), out->data + out->size, bound, raw.data, raw.size, S_ZSTD_LEVEL);
    if (ZSTD_isError(size)) return WEFT_ERR_INTERNAL;
    out->size += size;
    return WEFT_OK;
}

weft_err_t weft_compress(enum weft_codec codec, weft_slice_t raw, weft_buf_t *out)
{
    switch (codec) {
    case WEFT_CODEC_NONE: weft_buf_append(out, raw.data, raw.size); return WEFT_OK;
    case WEFT_CODEC_LZ4: return s_lz4_compress(raw, out);
    case WEFT_CODEC_ZSTD: return s_zstd_compress(raw, out);
    }
    return WEFT_ERR_UNSUPPORTED_COMPRESSION;
}

// ---- lz4 frames

struct s_lz4_frame {
    const uint8_t *at, *end;
    size_t block_bytes_max;
    bool blocks_linked, block_checksums, content_checksum;
};

static uint32_t s_load32_little(const uint8_t *at)
{
    return (uint32_t) at[0] | (uint32_t) at[1] << 8 | (uint32_t) at[2] << 16 | (uint32_t) at[3] << 24;
}

// Reads the frame's header: magic, flags, block size, content size if given, header checksum. Leaves `at` at the first
// block.
static bool s_lz4_open(struct s_lz4_frame *self, weft_slice_t packed, size_t raw_bytes)
{
    enum {
        CONTENT_CHECKSUM = 4,
        CONTENT_SIZE = 8,
        BLOCK_CHECKSUM = 16,
        INDEPENDENT = 32,
        VERSION = 0xc0,
        VERSION_1 = 0x40
    };
    enum { RESERVED_OR_DICTIONARY = 3 };
    if (packed.size < 7 || s_load32_little(packed.data) != UINT32_C(0x184d2204)) return false;
    uint8_t flags = packed.data[4], block = packed.data[5];
    if ((flags & VERSION) != VERSION_1 || (flags & RESERVED_OR_DICTIONARY)) return false;
    unsigned size_class = block >> 4;
    if ((block & 0x8f) || size_class < 4) return false;
    size_t header_bytes = flags & CONTENT_SIZE ? 15 : 7;
    if (packed.size < header_bytes) return false;
    if (flags & CONTENT_SIZE) {
        uint64_t content = s_load32_little(packed.data + 6) | (uint64_t) s_load32_little(packed.data + 10) << 32;
        if (content != raw_bytes) return false;
    }
    *self = (struct s_lz4_frame){
        .at = packed.data + header_bytes,
        .end = packed.data + packed.size,
        .block_bytes_max = (size_t) 1 << (8 + 2 * size_class), // 64 KiB, 256 KiB, 1 MiB, 4 MiB
        .blocks_linked = !(flags & INDEPENDENT),
        .block_checksums = flags & BLOCK_CHECKSUM,
        .content_checksum = flags & CONTENT_CHECKSUM,
    };
    return true;
}

// The next block's bytes; size 0 at the end mark. False when the frame is cut off.
static bool s_lz4_block(struct s_lz4_frame *self, weft_slice_t *block, bool *stored)
{
    if (self->end - self->at < 4) return false;
    uint32_t word = s_load32_little(self->at);
    self->at += 4;
    size_t size = word & UINT32_C(0x7fffffff), with_sum = size + (size && self->block_checksums ? 4 : 0);
    if (size > self->block_bytes_max || with_sum > (size_t) (self->end - self->at)) return false;
    *block = weft_slice(self->at, size);
    *stored = word >> 31;
    self->at += with_sum;
    return true;
}

// Inflates one block behind the `done` bytes that are there. Returns how many it gave, negative if it is bad.
static int s_lz4_inflate(const struct s_lz4_frame *self, weft_slice_t block, bool stored, uint8_t *to, size_t done,
                         size_t room)
{
    if (room > self->block_bytes_max) room = self->block_bytes_max;
    if (stored) {
        if (block.size > room) return -1;
        memcpy(to + done, block.data, block.size);
        return (int) block.size;
    }
    size_t dictionary = self->blocks_linked ? done : 0;
    if (dictionary > S_LZ4_DICTIONARY_BYTES) dictionary = S_LZ4_DICTIONARY_BYTES;
    return LZ4_decompress_safe_usingDict((const char *) block.data, (char *) to + done, (int) block.size, (int) room,
                                         (const char *) to + done - dictionary, (int) dictionary);
}

static weft_err_t s_lz4_decompress(weft_slice_t packed, size_t raw_bytes, uint8_t *to)
{
    struct s_lz4_frame frame;
    if (!s_lz4_open(&frame, packed, raw_bytes)) return WEFT_ERR_BAD_BATCH;
    size_t done = 0;
    for (;;) {
        weft_slice_t block;
        bool stored;
        if (!s_lz4_block(&frame, &block, &stored)) return WEFT_ERR_BAD_BATCH;
        if (block.size == 0) break;
        int got = s_lz4_inflate(&frame, block, stored, to, done, raw_bytes - done);
        if (got < 0) return WEFT_ERR_BAD_BATCH;
        done += (size_t) got;
    }
    size_t rest = frame.content_checksum ? 4 : 0;
    return done == raw_bytes && (size_t) (frame.end - frame.at) == rest ? WEFT_OK : WEFT_ERR_BAD_BATCH;
}

// ---- zstd

static weft_err_t s_zstd_decompress(weft_slice_t packed, size_t raw_bytes, uint8_t *to)
{
    size_t size = ZSTD_decompressDCtx(s_zstd_decompressor(), to, raw_bytes, packed.data, packed.size);
    return !ZSTD_isError(size) && size == raw_bytes ? WEFT_OK : WEFT_ERR_BAD_BATCH;
}

// A frame that says that it holds more is refused before memory is taken for it.
static bool s_zstd_plausible(weft_slice_t packed, size_t raw_bytes)
{
    unsigned long long content = ZSTD_getFrameContentSize(packed.data, packed.size);
    if (content == ZSTD_CONTENTSIZE_ERROR) return false;
    return content == ZSTD_CONTENTSIZE_UNKNOWN || content <= raw_bytes;
}

weft_err_t weft_decompress(enum weft_codec codec, weft_slice_t packed, size_t raw_bytes, weft_buf_t *out)
{
    if (codec != WEFT_CODEC_NONE && codec != WEFT_CODEC_LZ4 && codec != WEFT_CODEC_ZSTD)
        return WEFT_ERR_UNSUPPORTED_COMPRESSION;
    if (raw_bytes > INT_MAX || packed.size > INT_MAX || packed.size == 0) return WEFT_ERR_BAD_BATCH;
    if (codec == WEFT_CODEC_NONE && packed.size != raw_bytes) return WEFT_ERR_BAD_BATCH;
    if (codec == WEFT_CODEC_ZSTD && !s_zstd_plausible(packed, raw_bytes)) return WEFT_ERR_BAD_BATCH;

    weft_buf_reserve(out, raw_bytes ? raw_bytes : 1);
    uint8_t *to = out->data + out->size;
    weft_err_t err = WEFT_OK;
    if (codec == WEFT_CODEC_NONE)
        memcpy(to, packed.data, raw_bytes);
    else if (codec == WEFT_CODEC_LZ4)
        err = s_lz4_decompress(packed, raw_bytes, to);
    else
        err = s_zstd_decompress(packed, raw_bytes, to);
    if (!err) out->size += raw_bytes;
    return err;
}
