// SPDX-License-Identifier: MPL-2.0
/**
 * What the benches share: options, the cluster they run against, the records they send, how results are printed.
 *
 * `limit` moves the same bytes over bare sockets and writes them with bare pwrite; the other benches are to be read as
 * ratios to it, from the same machine and run. A run has a warm-up that does not count.
 */
#ifndef WEFT_CLI_BENCH_H
#define WEFT_CLI_BENCH_H

#include "connect.h"

#include "../lib/base/metrics.h"

#include <weft/embedded.h>

extern const struct cli_option bench_options[]; // of produce, consume and latency; limit has its own
extern const struct cli_option bench_limit_options[];

#define BENCH_BOOTSTRAP_BYTES 4096
#define BENCH_KEPT_BYTES (INT64_C(256) << 20) // of what is produced: older files go, and their pages are used again

struct bench {
    const struct cli_args *args;
    int64_t record_bytes, batch_bytes, in_flight, partitions, replicas, keys, rate, linger_ms, seed;
    int64_t brokers, shards; // of the embedded cluster
    int64_t count;           // records, 0: until `seconds` are over
    double seconds;
    const char *acks, *compression;
    bool durable;
    weft_embedded_t *embedded; // own cluster, or NULL
    char directory[256];       // its data, removed at the end
    char bootstrap[BENCH_BOOTSTRAP_BYTES];
    char topic[256];
    bool topic_created;
    uint8_t *pool; // text to cut values from
    uint64_t random;
};

#define BENCH_RECORD_BYTES_MAX (1 << 20)
#define BENCH_POOL_BYTES (1 << 15) // stays in a core's cache: the bench shall not measure its own misses

// Reads the options; false after a usage sentence.
bool bench_parse(struct bench *self, const struct cli_args *args);
// Connects or starts the embedded cluster, makes the topic. CLI_DONE, or a status after a sentence.
int bench_open(struct bench *self);
void bench_close(struct bench *self);
weft_producer_t *bench_producer(struct bench *self, const char *acks, bool durable, int64_t linger_ms);

weft_slice_t bench_value(struct bench *self);
weft_slice_t bench_key(struct bench *self, char text[32]); // nil when keys = 0

// Opens a result object with all parameters in it; bench_print closes and prints it, or the table.
void bench_json_begin(struct bench *self, cli_json_t *json, const char *name);
void bench_latency_json(cli_json_t *json, const weft_histogram_t *histogram);
void bench_latency_text(const weft_histogram_t *histogram);
double bench_cpu_seconds(void); // of this process so far

// True while the run goes on: neither count nor time is reached.
bool bench_goes_on(const struct bench *self, int64_t done, int64_t started_us);

#endif
