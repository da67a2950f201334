// SPDX-License-Identifier: MPL-2.0
// What a record costs in the batch code: encode, encode with header and CRC, accept (CRC and bounds), iterate; and both
// codecs. Prints ns per record. Not a test: figures are for people. bench_batch [value bytes] [records a batch]
#include "lib/base/crc32c.h"
#include "lib/wire/batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { S_RECORDS_TOTAL = 20000000 };

static double s_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); // what others take meanwhile is not ours
    return (double) now.tv_sec + (double) now.tv_nsec * 1e-9;
}

static void s_print(const char *what, double seconds, double records)
{
    printf("%-28s %7.2f ns/record\n", what, seconds / records * 1e9);
}

static void s_must(weft_err_t err)
{
    if (!err) return;
    fprintf(stderr, "bench_batch: %s\n", weft_err_name(err));
    exit(1);
}

static void s_add_all(weft_batch_builder_t *builder, const uint8_t *values, size_t value_bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        weft_batch_builder_add(builder, 1000 + (int64_t) (i & 63), WEFT_SLICE_NIL,
                               weft_slice(values + i * value_bytes, value_bytes), WEFT_SLICE_NIL);
}

static void s_bench_codec(const char *name, enum weft_codec codec, weft_slice_t raw, size_t count)
{
    weft_buf_t packed, unpacked;
    weft_buf_init(&packed);
    weft_buf_init(&unpacked);
    size_t rounds = S_RECORDS_TOTAL / 20 / count + 1;
    double start = s_now();
    for (size_t i = 0; i < rounds; i++) {
        weft_buf_clear(&packed);
        s_must(weft_compress(codec, raw, &packed));
    }
    double middle = s_now();
    for (size_t i = 0; i < rounds; i++) {
        weft_buf_clear(&unpacked);
        s_must(weft_decompress(codec, weft_buf_slice(&packed), raw.size, &unpacked));
    }
    double end = s_now();
    printf("%-5s ratio %.2f", name, (double) raw.size / (double) packed.size);
    printf("  pack %.1f  unpack %.1f ns/record\n", (middle - start) * 1e9 / (double) (rounds * count),
           (end - middle) * 1e9 / (double) (rounds * count));
    weft_buf_fini(&packed);
    weft_buf_fini(&unpacked);
}

static void s_bench(size_t value_bytes, size_t count)
{
    size_t rounds = S_RECORDS_TOTAL / count;
    double records = (double) (rounds * count);
    uint8_t *values = weft_alloc(value_bytes * count + 1);
    for (size_t i = 0; i < value_bytes * count; i++) values[i] = (uint8_t) ("abcdefgh"[rand() % 8]);
    weft_batch_builder_t builder;
    weft_buf_t out;
    weft_batch_builder_init(&builder);
    weft_buf_init(&out);

    double start = s_now();
    for (size_t round = 0; round < rounds; round++) {
        weft_batch_builder_reset(&builder);
        s_add_all(&builder, values, value_bytes, count);
    }
    s_print("add", s_now() - start, records);

    weft_batch_builder_reset(&builder);
    start = s_now();
    for (size_t round = 0; round < rounds; round++) {
        s_add_all(&builder, values, value_bytes, count);
        s_must(weft_batch_builder_finish(&builder, WEFT_CODEC_NONE, -1, -1, -1, &out));
    }
    s_print("add, finish (CRC)", s_now() - start, records);

    const struct weft_batch_limits limits = {1 << 24, 1 << 23, 1 << 24};
    struct weft_batch batch;
    uint32_t crc_state = 0;
    start = s_now();
    for (size_t round = 0; round < rounds; round++) {
        s_must(weft_batch_accept(weft_buf_slice(&out), &limits, &batch, &crc_state, NULL));
        weft_batch_stamp(out.data, (int64_t) round, 7, crc_state, &batch);
    }
    s_print("accept, stamp", s_now() - start, records);

    weft_slice_t payload = weft_slice(out.data + WEFT_BATCH_HEADER_BYTES, batch.payload_bytes);
    start = s_now();
    for (size_t round = 0; round < rounds; round++)
        s_must(weft_batch_check_records(payload, batch.count, 1 << 23, NULL));
    s_print("  of it: records' bounds", s_now() - start, records);
    start = s_now();
    for (size_t round = 0; round < rounds; round++) crc_state = weft_crc32c(crc_state, payload.data, payload.size);
    s_print("  of it: CRC", s_now() - start, records);

    uint64_t sum = crc_state;
    start = s_now();
    for (size_t round = 0; round < rounds; round++) {
        weft_record_iter_t iter;
        struct weft_record record;
        weft_record_iter_init(&iter, payload);
        while (weft_record_iter_next(&iter, &record, NULL))
            sum += record.value.size + (uint64_t) record.timestamp_delta_ms;
    }
    s_print("iterate", s_now() - start, records);
    s_bench_codec("lz4", WEFT_CODEC_LZ4, payload, count);
    s_bench_codec("zstd", WEFT_CODEC_ZSTD, payload, count);
    printf("(%llu)\n", (unsigned long long) sum); // keeps the work from being optimised away
    weft_batch_builder_fini(&builder);
    weft_buf_fini(&out);
    free(values);
}

int main(int argc, char **argv)
{
    size_t value_bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 600; // about 64 KiB
    if (count == 0) return 2;
    s_bench(value_bytes, count);
    return 0;
}
