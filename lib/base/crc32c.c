// SPDX-License-Identifier: MPL-2.0
// CRC-32C. The crc32 instruction takes eight bytes a cycle but answers after three, so three streams run interleaved;
// their ends are joined with carry-less multiplication (Gopal et al., "Fast CRC computation for iSCSI polynomial using
// CRC32 instruction", Intel 2011).
//
// Joining: a CRC register a, followed by n more bytes, becomes a * x^(8n) mod P. In reflected bits clmul(a, k) is x*a*k
// as a 64-bit message word, and the instruction maps a word w to w * x^32 mod P: with k = x^(8n - 33) mod P the product
// can just be xored into the last word of the stream that ends n bytes later. The k are computed at start, not written
// down.
//
// The portable way is the table of eight slices (Kounavis and Berry 2005).
#include "crc32c.h"

#include <string.h>

#define S_POLYNOMIAL UINT32_C(0x82f63b78) // reflected: bit 31 is x^0

typedef uint32_t s_crc_fn(uint32_t crc, const void *data, size_t size);

static uint32_t s_table[8][256];

static void s_make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? S_POLYNOMIAL : 0);
        s_table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (int slice = 1; slice < 8; slice++)
            s_table[slice][i] = (s_table[slice - 1][i] >> 8) ^ s_table[0][s_table[slice - 1][i] & 255];
    }
}

static inline uint64_t s_load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

uint32_t weft_crc32c_portable(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *at = data;
    crc = ~crc;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (; size >= 8; size -= 8, at += 8) {
        uint64_t word = s_load64(at) ^ crc;
        crc = s_table[7][word & 255] ^ s_table[6][word >> 8 & 255] ^ s_table[5][word >> 16 & 255] ^
              s_table[4][word >> 24 & 255] ^ s_table[3][word >> 32 & 255] ^ s_table[2][word >> 40 & 255] ^
              s_table[1][word >> 48 & 255] ^ s_table[0][word >> 56];
    }
#endif
    for (; size; size--, at++) crc = (crc >> 8) ^ s_table[0][(crc ^ *at) & 255];
    return ~crc;
}

#if defined(__x86_64__)

#include <immintrin.h>

#define S_TARGET __attribute__((target("sse4.2,pclmul")))

// Lengths of one of the three streams. Long ones hide the joining, short ones leave little for the serial end.
enum { S_LONG_BYTES = 2048, S_SHORT_BYTES = 192 };

static struct s_join {
    uint64_t by_one, by_two; // multipliers over one and two streams' lengths
} s_long, s_short;

// a * b mod P, reflected.
static uint32_t s_multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (; a; a <<= 1) { // from x^0 up: bit 31 first
        if (a & UINT32_C(0x80000000)) product ^= b;
        b = (b >> 1) ^ (b & 1 ? S_POLYNOMIAL : 0); // b * x
    }
    return product;
}

// x^n mod P, reflected.
static uint32_t s_x_to(uint64_t n)
{
    uint32_t result = UINT32_C(0x80000000), square = UINT32_C(0x40000000); // x^0, x^1
    for (; n; n >>= 1) {
        if (n & 1) result = s_multiply(result, square);
        square = s_multiply(square, square);
    }
    return result;
}

static struct s_join s_make_join(uint64_t stream_bytes)
{
    return (struct s_join){s_x_to(8 * stream_bytes - 33), s_x_to(16 * stream_bytes - 33)};
}

S_TARGET static inline uint64_t s_times(uint64_t crc, uint64_t multiplier)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long) crc), _mm_cvtsi64_si128((long long) multiplier), 0);
    return (uint64_t) _mm_cvtsi128_si64(product);
}

S_TARGET static inline uint64_t s_three_streams(uint64_t a, const uint8_t *at, size_t stream_bytes,
                                                const struct s_join *join)
{
    uint64_t b = 0, c = 0;
    const uint8_t *end = at + stream_bytes - 8;
    for (; at < end; at += 8) {
        a = _mm_crc32_u64(a, s_load64(at));
        b = _mm_crc32_u64(b, s_load64(at + stream_bytes));
        c = _mm_crc32_u64(c, s_load64(at + 2 * stream_bytes));
    }
    a = _mm_crc32_u64(a, s_load64(at));
    b = _mm_crc32_u64(b, s_load64(at + stream_bytes));
    uint64_t joined = s_times(a, join->by_two) ^ s_times(b, join->by_one);
    return _mm_crc32_u64(c, s_load64(at + 2 * stream_bytes) ^ joined);
}

S_TARGET static uint32_t s_crc32c_sse42(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *at = data;
    uint64_t state = (uint32_t) ~crc;
    for (; size >= 3 * S_LONG_BYTES; size -= 3 * S_LONG_BYTES, at += 3 * S_LONG_BYTES)
        state = s_three_streams(state, at, S_LONG_BYTES, &s_long);
    for (; size >= 3 * S_SHORT_BYTES; size -= 3 * S_SHORT_BYTES, at += 3 * S_SHORT_BYTES)
        state = s_three_streams(state, at, S_SHORT_BYTES, &s_short);
    for (; size >= 8; size -= 8, at += 8) state = _mm_crc32_u64(state, s_load64(at));
    uint32_t narrow = (uint32_t) state;
    if (size & 4) {
        uint32_t word;
        memcpy(&word, at, sizeof word);
        narrow = _mm_crc32_u32(narrow, word);
        at += 4;
    }
    for (size &= 3; size; size--, at++) narrow = _mm_crc32_u8(narrow, *at);
    return ~narrow;
}

static s_crc_fn *s_choose(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("pclmul")) return weft_crc32c_portable;
    s_long = s_make_join(S_LONG_BYTES);
    s_short = s_make_join(S_SHORT_BYTES);
    return s_crc32c_sse42;
}

#else

static s_crc_fn *s_choose(void)
{
    return weft_crc32c_portable;
}

#endif

static s_crc_fn *s_chosen;

// Before main, so that no call pays for a check.
__attribute__((constructor)) static void s_start(void)
{
    s_make_table();
    s_chosen = s_choose();
}

uint32_t weft_crc32c(uint32_t crc, const void *data, size_t size)
{
    return s_chosen(crc, data, size);
}
