// SPDX-License-Identifier: MPL-2.0
/*
 * Every request, reply, command and record, chosen by the first byte. What is accepted is encoded again; that must be accepted too, and encode to the
 * same bytes: so nothing that a peer sends can make us send what others refuse, and two nodes that decoded the same hold the same.
 */
#include "lib/base/assert.h"

#include <weft_gen/kinds.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROUND(kind) \
    static void s_round_##kind(weft_codec_t *codec, weft_slice_t bytes) \
    { \
        struct weft_##kind value; \
        struct weft_error error; \
        weft_err_t err = weft_##kind##_decode(codec, bytes, &value, &error); \
        weft_assert(!err || err == WEFT_ERR_BAD_FRAME || err == WEFT_ERR_INVALID_REQUEST); \
        if (err) return; \
        weft_buf_t first, second; \
        weft_buf_init(&first); \
        weft_buf_init(&second); \
        weft_##kind##_encode(&value, &first); \
        err = weft_##kind##_decode(codec, weft_buf_slice(&first), &value, &error); \
        weft_assert(!err); \
        weft_##kind##_encode(&value, &second); \
        weft_assert(weft_slice_equal(weft_buf_slice(&first), weft_buf_slice(&second))); \
        weft_buf_fini(&first); \
        weft_buf_fini(&second); \
    }
WEFT_KINDS(ROUND)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    typedef void round_fn(weft_codec_t * codec, weft_slice_t bytes);
#define ROW(kind) s_round_##kind,
    static round_fn *const rounds[] = {WEFT_KINDS(ROW)};
    if (size == 0) return 0;
    weft_codec_t codec;
    weft_codec_init(&codec);
    weft_slice_t bytes = weft_slice(data + 1, size - 1);
    rounds[data[0] % (sizeof(rounds) / sizeof(rounds[0]))](&codec, bytes);
    struct weft_reply_header header;
    weft_err_t err = weft_reply_header_decode(&codec, bytes, &header, NULL);
    weft_assert(!err || err == WEFT_ERR_BAD_FRAME || err == WEFT_ERR_INVALID_REQUEST);
    weft_codec_fini(&codec);
    return 0;
}
