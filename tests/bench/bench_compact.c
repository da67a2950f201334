// SPDX-License-Identifier: MPL-2.0
// How fast compaction is, beside the disk: bench_compact DIRECTORY [MiB] [keys] [value bytes] [codec]. It makes a log of that size in
// segments of 64 MiB, batches of 64 KiB with random keys of 16 bytes; measures how long the same bytes take to be written into one file
// by megabytes, synced every 16, and to be read again, both with the page cache emptied of them; then compacts the log, cold as well.
#include "../../lib/base/rand.h"
#include "../../lib/log/compact.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024.0 * 1024.0)

static void s_must(weft_err_t err, const char *doing)
{
    if (!err) return;
    fprintf(stderr, "bench_compact: %s: %s\n", doing, weft_err_sentence(err));
    exit(1);
}

static double s_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static double s_cpu(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static void s_forget(void *context, const char *name, bool is_directory)
{
    char path[512];
    if (is_directory) return;
    snprintf(path, sizeof path, "%s/%s", (const char *) context, name);
    int fd = open(path, O_RDONLY);
    if (fd < 0) return;
    (void) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

// What is in the directory is read from the disk next time.
static void s_cool(char *directory)
{
    const struct weft_disk *disk = weft_disk_posix();
    sync();
    s_must(disk->ops->list(disk, directory, s_forget, directory), "listing");
}

static void s_batch(weft_rand_t *rand, weft_batch_builder_t *builder, const uint8_t *value, size_t value_bytes,
                    uint64_t keys)
{
    char key[17];
    while (builder->buf.size < 64 * 1024) {
        snprintf(key, sizeof key, "%016llx",
                 (unsigned long long) (weft_rand_below(rand, keys) * 0x9e3779b97f4a7c15ULL));
        weft_batch_builder_add(builder, 1, weft_slice(key, 16),
                               weft_slice(value + weft_rand_below(rand, 4096), value_bytes), WEFT_SLICE_NIL);
    }
}

static int64_t s_fill(weft_log_t *log, int64_t bytes, uint64_t keys, size_t value_bytes, enum weft_codec codec)
{
    weft_batch_builder_t builder;
    weft_buf_t out;
    weft_rand_t rand;
    int64_t records = 0;
    bool rolled;
    uint8_t *value = weft_alloc(4096 + value_bytes);
    weft_rand_init(&rand, 1);
    for (size_t i = 0; i < 4096 + value_bytes; i++)
        value[i] = (uint8_t) ("weft"[i % 4] + (int) weft_rand_below(&rand, 8));
    weft_buf_init(&out);
    weft_batch_builder_init(&builder);
    while (weft_log_bytes(log) < bytes) {
        struct weft_batch batch;
        s_batch(&rand, &builder, value, value_bytes, keys);
        s_must(weft_batch_builder_finish(&builder, codec, -1, -1, -1, &out), "building");
        s_must(weft_batch_read(weft_buf_slice(&out), &batch), "building");
        batch.base_offset = weft_log_end(log);
        weft_batch_write_header(out.data, &batch);
        weft_batch_seal(out.data, out.size);
        s_must(weft_log_append(log, weft_buf_slice(&out), WEFT_SLICE_NIL, &batch, &rolled), "appending");
        records += batch.count;
    }
    s_must(weft_log_roll_due(log, 0, true, &rolled), "rolling");
    struct weft_log_sync job;
    while (weft_log_sync_begin(log, &job)) {
        weft_log_sync_run(&job);
        s_must(weft_log_sync_done(log, &job), "syncing");
    }
    weft_batch_builder_fini(&builder);
    weft_buf_fini(&out);
    free(value);
    return records;
}

// Seconds to write and to read so many bytes.
static void s_disk(char *directory, int64_t bytes, double *write_s, double *read_s)
{
    const struct weft_disk *disk = weft_disk_posix();
    char path[512];
    weft_file_t *file;
    size_t got;
    uint8_t *block = weft_alloc(1 << 20);
    memset(block, 'w', 1 << 20);
    const weft_slice_t slice = weft_slice(block, 1 << 20);
    snprintf(path, sizeof path, "%s/ceiling", directory);
    s_must(disk->ops->open(disk, path, WEFT_OPEN_CREATE, &file), "opening");
    double from = s_now();
    for (int64_t at = 0; at < bytes; at += 1 << 20) {
        s_must(disk->ops->pwritev(file, &slice, 1, at), "writing");
        if ((at >> 20) % 16 == 15) s_must(disk->ops->sync(file), "syncing");
    }
    s_must(disk->ops->sync(file), "syncing");
    *write_s = s_now() - from;
    s_cool(directory);
    from = s_now();
    for (int64_t at = 0; at < bytes; at += 1 << 20) s_must(disk->ops->pread(file, block, 1 << 20, at, &got), "reading");
    *read_s = s_now() - from;
    disk->ops->close(&file);
    s_must(disk->ops->unlink(disk, path), "removing");
    free(block);
}

static double s_compact(weft_log_t *log, struct weft_compact_report *report)
{
    const struct weft_compact_wish wish = {.limit = INT64_MAX,
                                           .now_ms = 1000,
                                           .delete_retention_ms = 1000,
                                           .tombstones_limit = INT64_MAX,
                                           .memory_bytes = 256 << 20,
                                           .seed = 42};
    weft_compact_t *job;
    bool more = true;
    size_t moved;
    double from = s_now();
    if (!weft_log_compact_begin(log, &wish, &job)) s_must(WEFT_ERR_INTERNAL, "beginning");
    while (more) s_must(weft_compact_step(job, 1 << 20, &more, &moved), "compacting");
    s_must(weft_log_compact_done(log, &job, report), "swapping");
    return s_now() - from;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_compact DIRECTORY [MiB] [keys] [value bytes] [codec 0|3|4]\n");
        return 2;
    }
    char directory[256];
    int64_t bytes = (argc > 2 ? atoll(argv[2]) : 512) << 20;
    uint64_t keys = argc > 3 ? strtoull(argv[3], NULL, 10) : 1000000;
    size_t value_bytes = argc > 4 ? strtoul(argv[4], NULL, 10) : 100;
    enum weft_codec codec = argc > 5 ? (enum weft_codec) atoi(argv[5]) : WEFT_CODEC_NONE;
    const struct weft_log_config config = {.segment_bytes = 64 << 20,
                                           .segment_ms = -1,
                                           .retention_ms = -1,
                                           .retention_bytes = -1,
                                           .index_interval_bytes = 4096};
    const struct weft_disk *disk = weft_disk_posix();
    struct weft_compact_report report;
    struct weft_error error;
    weft_log_t *log;
    double write_s, read_s;
    snprintf(directory, sizeof directory, "%s/bench-compact", argv[1]);
    (void) !weft_disk_remove_tree(disk, directory);
    s_must(weft_log_open(disk, directory, &config, 0, &log, NULL, &error), "opening");
    int64_t records = s_fill(log, bytes, keys, value_bytes, codec);
    double mib = (double) weft_log_bytes(log) / MIB;
    s_disk(directory, weft_log_bytes(log), &write_s, &read_s);
    weft_log_idle(log);
    s_cool(directory);
    double cpu_s = s_cpu(), took_s = s_compact(log, &report);
    cpu_s = s_cpu() - cpu_s;
    printf("disk:       %.0f MiB written in %.2f s (%.0f MiB/s), read in %.2f s (%.0f MiB/s)\n", mib, write_s,
           mib / write_s, read_s, mib / read_s);
    printf("compaction: %.0f MiB, %lld records, %.2f s (%.0f MiB/s of log), %.2f s of a processor; read %.0f, written "
           "%.0f MiB\n",
           mib, (long long) records, took_s, mib / took_s, cpu_s, (double) report.read_bytes / MIB,
           (double) report.written_bytes / MIB);
    double moved_mib = (double) (report.read_bytes + report.written_bytes) / MIB;
    double alone_s =
        (double) report.read_bytes / MIB / (mib / read_s) + (double) report.written_bytes / MIB / (mib / write_s);
    printf("ratio:      %.2f of the time that the disk alone takes for the %.0f MiB moved; %.2f of its write speed by "
           "log bytes\n",
           alone_s / took_s, moved_mib, write_s / took_s);
    weft_log_destroy(&log);
    s_must(weft_disk_remove_tree(disk, directory), "removing");
    return 0;
}
