// SPDX-License-Identifier: MPL-2.0
// weft bench limit: what this machine allows. The same bytes as produce and consume, over a bare DEALER/ROUTER pair on
// TCP loopback, checked on both sides with CRC-32C and written with bare pwrite; fetched with bare pread; one frame to
// and fro; one fdatasync. One I/O thread a side, as the client and a broker of one shard have. No protocol, no records
// walked, no offsets: the ceiling for the figures of the other benches.
#include "bench.h"

#include "../lib/base/crc32c.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#define LIMIT_HEADER_BYTES 80
#define LIMIT_FETCH_BYTES (1 << 20)
#define LIMIT_FETCH_FILE_BYTES (INT64_C(128) << 20)
#define LIMIT_FETCH_IN_FLIGHT 2

enum { LIMIT_PRODUCE = 'p', LIMIT_FETCH = 'f', LIMIT_ECHO = 'e', LIMIT_END = 'x' };

struct limit_server {
    void *context, *socket;
    char endpoint[256];
    char path[300];
    int file;
    int64_t at, file_bytes;
    bool overwrite;
    uint64_t bad;
    pthread_t thread;
};

// A log never writes over what it wrote: a new file is begun, as a log begins a new segment; the old one goes.
static void s_roll(struct limit_server *self)
{
    close(self->file);
    self->file = open(self->path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (self->file < 0) self->bad++;
    unlink(self->path);
    self->at = self->file_bytes = 0;
}

static void s_serve_produce(struct limit_server *self, zmq_msg_t *data)
{
    size_t size = zmq_msg_size(data);
    uint32_t crc;
    memcpy(&crc, zmq_msg_data(data), sizeof crc);
    if (weft_crc32c(0, (uint8_t *) zmq_msg_data(data) + 4, size - 4) != crc) self->bad++;
    if (self->at + (int64_t) size > BENCH_KEPT_BYTES) {
        if (self->overwrite)
            self->at = 0;
        else
            s_roll(self);
    }
    if (pwrite(self->file, zmq_msg_data(data), size, self->at) != (ssize_t) size) self->bad++;
    self->at += (int64_t) size;
    if (self->at > self->file_bytes) self->file_bytes = self->at;
}

// There must be something to fetch, also when the file was begun just now.
static void s_grow(struct limit_server *self)
{
    static const uint8_t piece[LIMIT_FETCH_BYTES];
    if (pwrite(self->file, piece, sizeof piece, self->file_bytes) != (ssize_t) sizeof piece) self->bad++;
    self->file_bytes += (int64_t) sizeof piece;
}

static void s_free(void *data, void *hint)
{
    free(data);
}

static void s_serve_fetch(struct limit_server *self, zmq_msg_t *reply)
{
    while (self->file_bytes < LIMIT_FETCH_FILE_BYTES) s_grow(self);
    if (self->at + LIMIT_FETCH_BYTES > self->file_bytes) self->at = 0;
    void *buffer = weft_alloc(LIMIT_FETCH_BYTES);
    if (pread(self->file, buffer, LIMIT_FETCH_BYTES, self->at) != LIMIT_FETCH_BYTES) self->bad++;
    self->at += LIMIT_FETCH_BYTES;
    zmq_msg_init_data(reply, buffer, LIMIT_FETCH_BYTES, s_free, NULL);
}

// [id][kind][data] in, [id][kind](data) out, until told to end.
static void *s_serve(void *argument)
{
    struct limit_server *self = argument;
    for (bool on = true; on;) {
        zmq_msg_t id, kind, data;
        zmq_msg_init(&id), zmq_msg_init(&kind), zmq_msg_init(&data);
        if (zmq_msg_recv(&id, self->socket, 0) < 0 || zmq_msg_recv(&kind, self->socket, 0) < 0 ||
            zmq_msg_recv(&data, self->socket, 0) < 0)
            break;
        char what = *(char *) zmq_msg_data(&kind);
        if (what == LIMIT_PRODUCE) s_serve_produce(self, &data);
        on = what != LIMIT_END;
        zmq_msg_send(&id, self->socket, ZMQ_SNDMORE);
        zmq_msg_send(&kind, self->socket, what == LIMIT_FETCH ? ZMQ_SNDMORE : 0);
        if (what == LIMIT_FETCH) {
            zmq_msg_close(&data);
            s_serve_fetch(self, &data);
            zmq_msg_send(&data, self->socket, 0);
        }
        zmq_msg_close(&data);
    }
    return NULL;
}

struct limit {
    struct bench *bench;
    struct limit_server server;
    void *context, *socket;
};

static void s_unbounded(void *socket)
{
    int none = 0;
    zmq_setsockopt(socket, ZMQ_SNDHWM, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
}

static bool s_open(struct limit *self)
{
    const char *directory = getenv("TMPDIR");
    snprintf(self->server.path, sizeof self->server.path, "%s/weft-bench-limit.XXXXXX",
             cli_get(self->bench->args, "--dir") ? cli_get(self->bench->args, "--dir")
             : directory                         ? directory
                                                 : "/tmp");
    self->server.file = mkstemp(self->server.path);
    if (self->server.file < 0) {
        cli_fail(self->bench->args, "can't make a file in the directory of %s; name another with --dir",
                 self->server.path);
        return false;
    }
    unlink(self->server.path); // gone however this ends
    self->server.context = zmq_ctx_new();
    self->server.socket = zmq_socket(self->server.context, ZMQ_ROUTER);
    s_unbounded(self->server.socket);
    zmq_bind(self->server.socket, "tcp://127.0.0.1:*");
    size_t size = sizeof self->server.endpoint;
    zmq_getsockopt(self->server.socket, ZMQ_LAST_ENDPOINT, self->server.endpoint, &size);
    pthread_create(&self->server.thread, NULL, s_serve, &self->server);
    self->context = zmq_ctx_new();
    self->socket = zmq_socket(self->context, ZMQ_DEALER);
    s_unbounded(self->socket);
    zmq_connect(self->socket, self->server.endpoint);
    return true;
}

static void s_request(struct limit *self, char kind, void *data, size_t size, zmq_free_fn *release)
{
    zmq_send(self->socket, &kind, 1, ZMQ_SNDMORE);
    zmq_msg_t message;
    zmq_msg_init_data(&message, data, size, release, NULL);
    zmq_msg_send(&message, self->socket, 0);
}

// Receives one answer; for a fetch checks what came. Returns its data bytes.
static size_t s_answer(struct limit *self)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    zmq_msg_recv(&message, self->socket, 0);
    size_t size = 0;
    while (zmq_msg_more(&message)) {
        zmq_msg_recv(&message, self->socket, 0);
        size = zmq_msg_size(&message);
        volatile uint32_t crc = weft_crc32c(0, zmq_msg_data(&message), size);
        (void) crc;
    }
    zmq_msg_close(&message);
    return size;
}

static void s_close(struct limit *self)
{
    char end[1];
    s_request(self, LIMIT_END, end, 0, NULL);
    s_answer(self);
    pthread_join(self->server.thread, NULL);
    zmq_close(self->socket);
    zmq_ctx_term(self->context);
    zmq_close(self->server.socket);
    zmq_ctx_term(self->server.context);
}

static void s_keep(void *data, void *hint) {}

// A record of R bytes takes R + 6 in a batch, as Weft encodes it: [delta, nil, bin, nil].
static int64_t s_encoded_bytes(const struct bench *bench)
{
    return bench->record_bytes + (bench->record_bytes < 256 ? 6 : bench->record_bytes < 65536 ? 7 : 9);
}

// The frame that Weft would send for a batch of so many bytes at most: whole records behind a header. Its odd size matters: what
// follows in the file begins anywhere in a page, and copying there costs several times what copying to a page's beginning does.
static size_t s_frame_bytes(const struct bench *bench)
{
    int64_t records = (bench->batch_bytes - LIMIT_HEADER_BYTES) / s_encoded_bytes(bench);
    return (size_t) (LIMIT_HEADER_BYTES + (records > 0 ? records : 1) * s_encoded_bytes(bench));
}

// Batches a second. Each batch is checksummed anew by the sender, as an encoder must.
static double s_produce(struct limit *self, double seconds)
{
    struct bench *bench = self->bench;
    size_t size = s_frame_bytes(bench);
    int64_t window = bench->in_flight * bench->partitions;
    uint8_t **batches = weft_calloc((size_t) window, sizeof *batches);
    for (int64_t i = 0; i < window; i++) {
        batches[i] = weft_alloc(size);
        for (size_t at = 0; at < size; at++) batches[i][at] = bench->pool[at % BENCH_POOL_BYTES];
    }
    int64_t sent = 0, answered = 0, started = cli_now_us(), counted_from = 0;
    double warm_s = seconds / 5, rate = 0;
    for (bool counting = false, on = true; on || answered < sent;) {
        while (on && sent - answered < window) {
            uint8_t *batch = batches[sent % window];
            memcpy(batch + 4, &sent, sizeof sent);
            uint32_t crc = weft_crc32c(0, batch + 4, size - 4);
            memcpy(batch, &crc, sizeof crc);
            s_request(self, LIMIT_PRODUCE, batch, size, s_keep);
            sent++;
        }
        s_answer(self);
        answered++;
        double elapsed = (double) (cli_now_us() - started) / 1e6;
        if (!counting && elapsed > warm_s)
            counting = true, started = cli_now_us(), counted_from = answered;
        else if (counting && on && elapsed > seconds)
            on = false, rate = (double) (answered - counted_from) / elapsed;
    }
    for (int64_t i = 0; i < window; i++) free(batches[i]);
    free(batches);
    return rate;
}

static double s_fetch(struct limit *self, double seconds) // bytes a second
{
    char nothing[1];
    int64_t started = cli_now_us(), bytes = 0, waiting = 0;
    bool on = true;
    double rate = 0;
    while (on || waiting > 0) {
        for (; on && waiting < LIMIT_FETCH_IN_FLIGHT; waiting++) s_request(self, LIMIT_FETCH, nothing, 0, s_keep);
        bytes += (int64_t) s_answer(self);
        waiting--;
        double elapsed = (double) (cli_now_us() - started) / 1e6;
        if (on && elapsed > seconds) on = false, rate = (double) bytes / elapsed;
    }
    return rate;
}

static void s_echo(struct limit *self, double seconds, weft_histogram_t *histogram)
{
    int64_t started = cli_now_us();
    uint8_t *record = weft_calloc(1, (size_t) self->bench->record_bytes + 80);
    while (cli_now_us() - started < (int64_t) (seconds * 1e6)) {
        int64_t at = cli_now_us();
        s_request(self, LIMIT_ECHO, record, (size_t) self->bench->record_bytes + 80, s_keep);
        s_answer(self);
        weft_histogram_add(histogram, (uint64_t) (cli_now_us() - at) * 1000);
    }
    free(record);
}

static void s_sync(struct limit *self, double seconds, weft_histogram_t *histogram)
{
    char page[4096] = {0};
    int64_t started = cli_now_us();
    while (cli_now_us() - started < (int64_t) (seconds * 1e6)) {
        int64_t at = cli_now_us();
        if (pwrite(self->server.file, page, sizeof page, self->server.file_bytes) < 0 ||
            fdatasync(self->server.file) < 0)
            return;
        self->server.file_bytes += (int64_t) sizeof page;
        weft_histogram_add(histogram, (uint64_t) (cli_now_us() - at) * 1000);
    }
}

static int s_limit(const struct cli_args *args)
{
    struct bench bench;
    if (!bench_parse(&bench, args)) return CLI_USAGE;
    struct limit self = {.bench = &bench, .server.overwrite = cli_has(args, "--overwrite")};
    if (!s_open(&self)) return CLI_FAILED;
    weft_histogram_t *echo = weft_histogram_new(), *sync = weft_histogram_new();
    int64_t encoded = s_encoded_bytes(&bench);
    double records_per_batch = (double) ((int64_t) s_frame_bytes(&bench) - LIMIT_HEADER_BYTES) / (double) encoded;
    double produced = s_produce(&self, bench.seconds) * records_per_batch;
    self.server.at = 0;
    double fetched = s_fetch(&self, bench.seconds / 2) / (double) s_frame_bytes(&bench) * records_per_batch;
    s_echo(&self, bench.seconds / 4, echo);
    s_close(&self);
    if (ftruncate(self.server.file, 0) == 0) s_sync(&self, bench.seconds / 8, sync);
    close(self.server.file);
    if (cli_json(args)) {
        cli_json_t json;
        bench_json_begin(&bench, &json, "limit");
        cli_json_float(&json, "records_per_s", produced, 0);
        cli_json_float(&json, "mib_per_s", produced * (double) bench.record_bytes / 1048576, 1);
        cli_json_float(&json, "consume_records_per_s", fetched, 0);
        cli_json_float(&json, "round_trip_p50_us", (double) weft_histogram_quantile(echo, 0.5) / 1e3, 1);
        cli_json_float(&json, "round_trip_p99_us", (double) weft_histogram_quantile(echo, 0.99) / 1e3, 1);
        cli_json_float(&json, "fdatasync_p50_us", (double) weft_histogram_quantile(sync, 0.5) / 1e3, 1);
        cli_json_float(&json, "fdatasync_p99_us", (double) weft_histogram_quantile(sync, 0.99) / 1e3, 1);
        cli_json_close(&json, '}');
        cli_json_print(&json, stdout);
        cli_json_fini(&json);
    } else {
        printf("bare sockets and disk: %s-byte records, batches of %s, %s in flight\n",
               cli_count_text(bench.record_bytes), cli_bytes_text((double) bench.batch_bytes),
               cli_count_text(bench.in_flight * bench.partitions));
        printf("  produce     %14s records/s  %s/s\n", cli_count_text((int64_t) produced),
               cli_bytes_text(produced * (double) bench.record_bytes));
        printf("  fetch       %14s records/s  %s/s, frames of 1 MiB\n", cli_count_text((int64_t) fetched),
               cli_bytes_text(fetched * (double) bench.record_bytes));
        printf("  round trip  "), bench_latency_text(echo);
        printf("  fdatasync   "), bench_latency_text(sync);
    }
    free(bench.pool);
    weft_histogram_destroy(&echo);
    weft_histogram_destroy(&sync);
    return self.server.bad
               ? cli_fail(args, "%llu writes, reads or checksums failed", (unsigned long long) self.server.bad)
               : CLI_DONE;
}

const struct cli_verb cli_verb_bench_limit = {
    "bench limit",
    "",
    0,
    0,
    "Measure what bare sockets and files reach here: the ceiling.",
    "Moves the same bytes as produce and consume over a bare DEALER/ROUTER pair on TCP loopback, with a CRC on both "
    "sides, and writes them with bare pwrite (not synced).",
    "  weft bench limit --record-bytes 100 --batch-bytes 64KiB --in-flight 64",
    bench_limit_options,
    false,
    true,
    s_limit};
