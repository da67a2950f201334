// SPDX-License-Identifier: MPL-2.0
#include "lib/wire/batch.h"

#include "lib/base/rand.h"
#include "tests/support/test.h"

#include <lz4frame.h>
#include <pthread.h>
#include <string.h>
#include <zstd.h>

static const enum weft_codec s_codecs[] = {WEFT_CODEC_LZ4, WEFT_CODEC_ZSTD};

static weft_buf_t s_raw, s_packed, s_out;

static int s_setup(void **state)
{
    weft_buf_init(&s_raw);
    weft_buf_init(&s_packed);
    weft_buf_init(&s_out);
    return 0;
}

static int s_teardown(void **state)
{
    weft_buf_fini(&s_raw);
    weft_buf_fini(&s_packed);
    weft_buf_fini(&s_out);
    return 0;
}

// Text with repeats near and far.
static void s_make_raw(size_t size, uint64_t seed)
{
    weft_rand_t rand;
    weft_rand_init(&rand, seed);
    weft_buf_clear(&s_raw);
    weft_buf_reserve(&s_raw, size + 32);
    while (s_raw.size < size) {
        size_t back = s_raw.size ? weft_rand_below(&rand, s_raw.size) : 0;
        if (s_raw.size > 100 && weft_rand_chance(&rand, 600000) && back + 20 < s_raw.size)
            weft_buf_append(&s_raw, s_raw.data + back, 20);
        else
            weft_buf_printf(&s_raw, "%u,", (unsigned) weft_rand_below(&rand, 100000));
    }
    s_raw.size = size;
}

static void test_compress__gives_back_every_size(void **state)
{
    static const size_t sizes[] = {1, 2, 5, 63, 64, 65, 1000, 65535, 65536, 65537, 200000, 5000000};
    for (size_t c = 0; c < 2; c++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            s_make_raw(sizes[i], i);
            weft_buf_clear(&s_packed);
            weft_buf_append(&s_packed, "kept", 4); // both append
            assert_ok(weft_compress(s_codecs[c], weft_buf_slice(&s_raw), &s_packed));
            assert_memory_equal(s_packed.data, "kept", 4);
            weft_buf_clear(&s_out);
            weft_buf_append(&s_out, "kept", 4);
            assert_ok(
                weft_decompress(s_codecs[c], weft_slice(s_packed.data + 4, s_packed.size - 4), s_raw.size, &s_out));
            assert_int_equal(s_out.size, s_raw.size + 4);
            assert_memory_equal(s_out.data + 4, s_raw.data, s_raw.size);
        }
    }
}

static void test_compress__lying_sizes_are_refused(void **state)
{
    s_make_raw(150000, 1);
    for (size_t c = 0; c < 2; c++) {
        weft_buf_clear(&s_packed);
        assert_ok(weft_compress(s_codecs[c], weft_buf_slice(&s_raw), &s_packed));
        weft_slice_t packed = weft_buf_slice(&s_packed);
        assert_err(weft_decompress(s_codecs[c], packed, s_raw.size - 1, &s_out), WEFT_ERR_BAD_BATCH);
        assert_err(weft_decompress(s_codecs[c], packed, s_raw.size + 1, &s_out), WEFT_ERR_BAD_BATCH);
        assert_err(weft_decompress(s_codecs[c], packed, 0, &s_out), WEFT_ERR_BAD_BATCH);
        assert_err(weft_decompress(s_codecs[c], packed, SIZE_MAX, &s_out), WEFT_ERR_BAD_BATCH);
        assert_err(weft_decompress(s_codecs[c], WEFT_SLICE_NIL, s_raw.size, &s_out), WEFT_ERR_BAD_BATCH);
        weft_buf_append(&s_packed, "x", 1);
        assert_err(weft_decompress(s_codecs[c], weft_buf_slice(&s_packed), s_raw.size, &s_out), WEFT_ERR_BAD_BATCH);
        for (size_t cut = 0; cut < packed.size; cut += 1 + cut / 50)
            assert_err(weft_decompress(s_codecs[c], weft_slice(packed.data, cut), s_raw.size, &s_out),
                       WEFT_ERR_BAD_BATCH);
        assert_int_equal(s_out.size, 0);
    }
}

static void test_compress__reserved_codecs_are_refused(void **state)
{
    weft_slice_t text = weft_slice_text("text");
    assert_err(weft_compress((enum weft_codec) 1, text, &s_out), WEFT_ERR_UNSUPPORTED_COMPRESSION);
    assert_err(weft_decompress((enum weft_codec) 2, text, 4, &s_out), WEFT_ERR_UNSUPPORTED_COMPRESSION);
    assert_ok(weft_decompress(WEFT_CODEC_NONE, text, 4, &s_out));
    assert_slice(weft_buf_slice(&s_out), "text");
    assert_err(weft_decompress(WEFT_CODEC_NONE, text, 5, &s_out), WEFT_ERR_BAD_BATCH);
}

// Whatever options another client's lz4 library wrote its frame with.
static void test_compress__reads_every_kind_of_lz4_frame(void **state)
{
    static const LZ4F_blockSizeID_t sizes[] = {LZ4F_max64KB, LZ4F_max256KB, LZ4F_max1MB, LZ4F_max4MB};
    s_make_raw(700000, 3);
    for (unsigned kind = 0; kind < 64; kind++) {
        LZ4F_preferences_t preferences;
        memset(&preferences, 0, sizeof preferences);
        preferences.frameInfo.blockSizeID = sizes[kind & 3];
        preferences.frameInfo.blockMode = kind & 4 ? LZ4F_blockIndependent : LZ4F_blockLinked;
        preferences.frameInfo.contentChecksumFlag = kind & 8 ? LZ4F_contentChecksumEnabled : LZ4F_noContentChecksum;
        preferences.frameInfo.blockChecksumFlag = kind & 16 ? LZ4F_blockChecksumEnabled : LZ4F_noBlockChecksum;
        preferences.frameInfo.contentSize = kind & 32 ? s_raw.size : 0;
        weft_buf_clear(&s_packed);
        weft_buf_reserve(&s_packed, LZ4F_compressFrameBound(s_raw.size, &preferences));
        s_packed.size = LZ4F_compressFrame(s_packed.data, s_packed.capacity, s_raw.data, s_raw.size, &preferences);
        assert_false(LZ4F_isError(s_packed.size));
        weft_buf_clear(&s_out);
        assert_ok(weft_decompress(WEFT_CODEC_LZ4, weft_buf_slice(&s_packed), s_raw.size, &s_out));
        assert_true(weft_slice_equal(weft_buf_slice(&s_out), weft_buf_slice(&s_raw)));
    }
}

// And the library reads ours.
static void test_compress__stock_libraries_read_ours(void **state)
{
    s_make_raw(300000, 4);
    assert_ok(weft_compress(WEFT_CODEC_LZ4, weft_buf_slice(&s_raw), &s_packed));
    LZ4F_dctx *context;
    assert_false(LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)));
    weft_buf_reserve(&s_out, s_raw.size);
    size_t at = 0;
    for (size_t hint = 1; hint != 0;) {
        size_t given = s_out.capacity - s_out.size, taken = s_packed.size - at;
        hint = LZ4F_decompress(context, s_out.data + s_out.size, &given, s_packed.data + at, &taken, NULL);
        assert_false(LZ4F_isError(hint));
        s_out.size += given;
        at += taken;
    }
    LZ4F_freeDecompressionContext(context);
    assert_true(weft_slice_equal(weft_buf_slice(&s_out), weft_buf_slice(&s_raw)));

    weft_buf_clear(&s_packed);
    assert_ok(weft_compress(WEFT_CODEC_ZSTD, weft_buf_slice(&s_raw), &s_packed));
    assert_int_equal(ZSTD_getFrameContentSize(s_packed.data, s_packed.size), s_raw.size);
    assert_int_equal(ZSTD_decompress(s_out.data, s_raw.size, s_packed.data, s_packed.size), s_raw.size);
}

static void test_compress__a_bomb_takes_no_more_than_it_was_allowed(void **state)
{
    weft_buf_reserve(&s_raw, 64 << 20);
    memset(s_raw.data, 0, 64 << 20);
    s_raw.size = 64 << 20;
    for (size_t c = 0; c < 2; c++) {
        weft_buf_clear(&s_packed);
        assert_ok(weft_compress(s_codecs[c], weft_buf_slice(&s_raw), &s_packed));
        assert_true(s_packed.size < 300000);
        assert_err(weft_decompress(s_codecs[c], weft_buf_slice(&s_packed), 1000, &s_out), WEFT_ERR_BAD_BATCH);
        assert_true(s_out.capacity <= 2048);
    }
}

static void test_compress__damage_is_survived(void **state)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 5);
    s_make_raw(3000, 6);
    for (size_t c = 0; c < 2; c++) {
        weft_buf_clear(&s_packed);
        assert_ok(weft_compress(s_codecs[c], weft_buf_slice(&s_raw), &s_packed));
        for (int round = 0; round < 3000; round++) {
            size_t at = weft_rand_below(&rand, s_packed.size);
            uint8_t kept = s_packed.data[at];
            s_packed.data[at] = (uint8_t) weft_rand_next(&rand);
            weft_buf_clear(&s_out);
            if (weft_decompress(s_codecs[c], weft_buf_slice(&s_packed), s_raw.size, &s_out) == WEFT_OK)
                assert_int_equal(s_out.size, s_raw.size);
            s_packed.data[at] = kept;
        }
    }
}

static void *s_round_trip(void *succeeded)
{
    weft_slice_t raw = weft_slice_text("thread after thread after thread after thread after thread after thread");
    weft_buf_t packed, out;
    weft_buf_init(&packed);
    weft_buf_init(&out);
    bool ok = !weft_compress(WEFT_CODEC_ZSTD, raw, &packed) &&
              !weft_decompress(WEFT_CODEC_ZSTD, weft_buf_slice(&packed), raw.size, &out) &&
              weft_slice_equal(weft_buf_slice(&out), raw);
    weft_buf_fini(&packed);
    weft_buf_fini(&out);
    *(bool *) succeeded = ok;
    return NULL;
}

static void test_compress__threads_that_end_leave_nothing(void **state) // the leak checker looks on
{
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        bool succeeded = false;
        assert_int_equal(pthread_create(&thread, NULL, s_round_trip, &succeeded), 0);
        pthread_join(thread, NULL);
        assert_true(succeeded);
    }
}

#define s_test(function) cmocka_unit_test_setup_teardown(function, s_setup, s_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        s_test(test_compress__gives_back_every_size),
        s_test(test_compress__lying_sizes_are_refused),
        s_test(test_compress__reserved_codecs_are_refused),
        s_test(test_compress__reads_every_kind_of_lz4_frame),
        s_test(test_compress__stock_libraries_read_ours),
        s_test(test_compress__a_bomb_takes_no_more_than_it_was_allowed),
        s_test(test_compress__damage_is_survived),
        s_test(test_compress__threads_that_end_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
