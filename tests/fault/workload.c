// SPDX-License-Identifier: MPL-2.0
// Clients for the fault tests: producers and consumers, a thread each, that write down all they do and hear (history.h).
//
//   weft_fault_workload produce DIR TOPIC N    N producers until SIGTERM; then what waits is flushed and reported
//   weft_fault_workload consume DIR TOPIC N    N consumers of all partitions, from the first record, until SIGTERM
//   weft_fault_workload read DIR TOPIC         the whole log, once
//   options: --rate R (records a second and producer, 0: all that goes), --bytes B (of a value), --first CLIENT (number of
//   the first client), --seconds S (at most; read: or fails), --flush S, --set key=value (of producer or consumer)
//
// A line "status SENT ACKED FAILED READ" every 100 ms on stdout. A producer sends its records to the partitions in turn:
// in a partition they must stand in the order of their sequences.
#include "history.h"

#include <weft/weft.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { S_CLIENTS_MAX = 256, S_SETTINGS_MAX = 32, S_RECORD_BYTES_MAX = 1 << 20, S_HEAD_BYTES = 16 };

static struct {
    const char *mode, *directory, *topic;
    int clients, first, seconds, flush_seconds;
    long rate;
    size_t bytes;
    const char *settings[S_SETTINGS_MAX + 1];
    int setting_count;
} s_options = {.clients = 1, .seconds = 0, .flush_seconds = 60, .rate = 200, .bytes = 100};

static atomic_bool s_stopping;
static atomic_ullong s_sent, s_acked, s_failed, s_read;
static atomic_int s_broken; // clients that could not do their work

struct s_client {
    uint32_t number;
    FILE *file;
    pthread_t thread;
};

static int64_t s_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

static void s_nap_ms(int ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL); // allow-sleep: a pace, not a wait for somebody
}

static void s_on_signal(int number)
{
    atomic_store(&s_stopping, true);
}

static void s_complain(const struct s_client *self, const char *what, const char *text)
{
    fprintf(stderr, "client %u: %s: %s\n", self->number, what, text);
    atomic_fetch_add(&s_broken, 1);
}

// ---- records

static void s_put_u64(uint8_t *out, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8) out[i] = (uint8_t) value;
}

static uint64_t s_get_u64(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value = value << 8 | bytes[i];
    return value;
}

static uint8_t s_filler(uint64_t id, size_t at)
{
    return (uint8_t) ((id * 0x9e3779b97f4a7c15U >> 56) + at);
}

static void s_fill(uint8_t *value, size_t bytes, uint64_t id)
{
    s_put_u64(value, id);
    s_put_u64(value + 8, (uint64_t) s_now_ns());
    for (size_t i = S_HEAD_BYTES; i < bytes; i++) value[i] = s_filler(id, i);
}

static bool s_check(weft_slice_t value, uint64_t *id)
{
    if (value.size < S_HEAD_BYTES) return false;
    *id = s_get_u64(value.data);
    for (size_t i = S_HEAD_BYTES; i < value.size; i++) {
        if (value.data[i] != s_filler(*id, i)) return false;
    }
    return true;
}

static void s_log(struct s_client *self, struct history_event event)
{
    event.time_ns = s_now_ns();
    if (fwrite(&event, sizeof event, 1, self->file) != 1) {
        perror("history");
        exit(1);
    }
}

static void s_open(struct s_client *self, enum history_kind kind)
{
    static const char *const names[] = {"producer", "consumer", "final"};
    char path[4096];
    snprintf(path, sizeof path, "%s/%s-%u.history", s_options.directory, names[kind], self->number);
    self->file = fopen(path, "wb");
    struct history_head head = {.magic = {0}, .client = self->number, .kind = kind};
    memcpy(head.magic, HISTORY_MAGIC, sizeof head.magic);
    if (!self->file || fwrite(&head, sizeof head, 1, self->file) != 1) {
        perror(path);
        exit(1);
    }
}

// ---- producers

static void s_on_report(void *context, const struct weft_report *report)
{
    struct s_client *self = context;
    uint64_t sequence = (uint64_t) (uintptr_t) report->opaque - 1;
    struct history_event event = {.type = report->error ? HISTORY_FAIL : HISTORY_ACK,
                                  .how = (uint8_t) report->outcome,
                                  .partition = report->partition,
                                  .id = HISTORY_ID(self->number, sequence),
                                  .offset = report->offset,
                                  .error = (int32_t) report->error};
    s_log(self, event);
    if (report->error && atomic_fetch_add(&s_failed, 1) == 0)
        fprintf(stderr, "client %u: first failure: %s: %s\n", self->number, weft_err_name(report->error), report->text);
    if (!report->error) atomic_fetch_add(&s_acked, 1);
}

// One record; false when none was taken now.
static bool s_send(struct s_client *self, weft_producer_t *producer, weft_topic_t *topic, uint64_t sequence,
                   int32_t partitions, uint8_t *value)
{
    uint64_t id = HISTORY_ID(self->number, sequence);
    int32_t partition = (int32_t) ((sequence + self->number) % (uint64_t) partitions);
    struct weft_send_extra extra = {.opaque = (void *) (uintptr_t) (sequence + 1)};
    s_fill(value, s_options.bytes, id);
    weft_err_t err =
        weft_producer_send(producer, topic, partition, WEFT_SLICE_NIL, weft_bytes(value, s_options.bytes), &extra);
    if (err == WEFT_ERR_LOCAL_QUEUE_FULL) return false;
    if (err) {
        s_complain(self, "send", weft_producer_error_text(producer));
        atomic_store(&s_stopping, true);
        return false;
    }
    // Noted behind the call: only then it is taken. Nothing can be read or reported before the next call.
    s_log(self, (struct history_event){.type = HISTORY_SEND, .partition = partition, .id = id});
    atomic_fetch_add(&s_sent, 1);
    return true;
}

static void s_send_all(struct s_client *self, weft_producer_t *producer, weft_topic_t *topic, int32_t partitions)
{
    static _Thread_local uint8_t value[S_RECORD_BYTES_MAX];
    int64_t begin_ns = s_now_ns();
    uint64_t sequence = 0;
    while (!atomic_load(&s_stopping)) {
        uint64_t due =
            s_options.rate ? (uint64_t) ((double) (s_now_ns() - begin_ns) / 1e9 * (double) s_options.rate) : UINT64_MAX;
        for (int burst = 0; burst < 256 && sequence < due && s_send(self, producer, topic, sequence, partitions, value);
             burst++)
            sequence++;
        weft_producer_poll(producer, s_options.rate ? 2 : 0);
    }
}

static void *s_produce(void *argument)
{
    struct s_client *self = argument;
    struct weft_error error = {0};
    weft_producer_t *producer = NULL;
    weft_topic_t *topic = NULL;
    int32_t partitions = 0;
    s_open(self, HISTORY_PRODUCER);
    if (weft_producer_new(s_options.settings, &producer, &error)) {
        s_complain(self, "producer", error.text);
        return NULL;
    }
    weft_producer_on_report(producer, s_on_report, self);
    if (weft_producer_topic(producer, s_options.topic, &topic) ||
        weft_producer_partition_count(producer, topic, 30000, &partitions)) {
        s_complain(self, "topic", weft_producer_error_text(producer));
    } else {
        s_send_all(self, producer, topic, partitions);
        (void) !weft_producer_close(producer, s_options.flush_seconds * 1000); // what is left is reported as unknown
    }
    weft_producer_destroy(&producer);
    fclose(self->file);
    return NULL;
}

// ---- consumers

static void s_take_records(struct s_client *self, weft_records_t *records)
{
    struct weft_record_view record;
    while (records && weft_records_next(records, &record)) {
        uint64_t id = 0;
        struct history_event event = {
            .type = HISTORY_READ, .partition = record.partition, .offset = record.offset, .epoch = record.leader_epoch};
        if (!s_check(record.value, &id)) event.type = HISTORY_BAD;
        event.id = id;
        s_log(self, event);
        atomic_fetch_add(&s_read, 1);
    }
}

static void s_take_events(struct s_client *self, weft_consumer_t *consumer)
{
    struct weft_consumer_event event;
    while (weft_consumer_event(consumer, &event)) {
        if (event.type == WEFT_EVENT_ASSIGNED) continue;
        fprintf(stderr, "client %u: partition %d: %s\n", self->number, event.partition, event.text ? event.text : "");
        s_log(self, (struct history_event){.type = HISTORY_EVENT,
                                           .how = (uint8_t) event.type,
                                           .partition = event.partition,
                                           .id = (uint64_t) event.from_offset,
                                           .offset = event.offset,
                                           .error = (int32_t) event.error});
    }
}

static void s_consume_all(struct s_client *self, weft_consumer_t *consumer, bool once)
{
    int64_t end_ns = s_options.seconds ? s_now_ns() + (int64_t) s_options.seconds * 1000000000 : INT64_MAX;
    while (!atomic_load(&s_stopping)) {
        weft_records_t *records = NULL;
        weft_err_t err = weft_consumer_poll(consumer, 100, &records);
        if (!err) s_take_records(self, records);
        s_take_events(self, consumer);
        if (once && weft_consumer_at_end(consumer)) return;
        if (s_now_ns() > end_ns) {
            if (once) s_complain(self, "read", "the end was not reached in time");
            return;
        }
    }
}

static void *s_consume(void *argument)
{
    struct s_client *self = argument;
    struct weft_error error = {0};
    weft_consumer_t *consumer = NULL;
    bool once = strcmp(s_options.mode, "read") == 0;
    s_open(self, once ? HISTORY_FINAL : HISTORY_CONSUMER);
    if (weft_consumer_new(s_options.settings, &consumer, &error)) {
        s_complain(self, "consumer", error.text);
        return NULL;
    }
    struct weft_assignment all = {
        .topic = s_options.topic, .partition = WEFT_PARTITION_ALL, .at = {.from = WEFT_FROM_EARLIEST}};
    if (weft_consumer_assign(consumer, &all, 1))
        s_complain(self, "assign", weft_consumer_error_text(consumer));
    else
        s_consume_all(self, consumer, once);
    weft_consumer_destroy(&consumer);
    fclose(self->file);
    return NULL;
}

// ---- the program

static void s_usage(void)
{
    fputs("usage: weft_fault_workload produce|consume DIR TOPIC N [options], or read DIR TOPIC [options]\n", stderr);
    exit(2);
}

static void s_option(const char *name, const char *value)
{
    if (!value) s_usage();
    if (strcmp(name, "--set") == 0 && s_options.setting_count < S_SETTINGS_MAX)
        s_options.settings[s_options.setting_count++] = value;
    else if (strcmp(name, "--rate") == 0)
        s_options.rate = atol(value);
    else if (strcmp(name, "--bytes") == 0)
        s_options.bytes = (size_t) atol(value);
    else if (strcmp(name, "--first") == 0)
        s_options.first = atoi(value);
    else if (strcmp(name, "--seconds") == 0)
        s_options.seconds = atoi(value);
    else if (strcmp(name, "--flush") == 0)
        s_options.flush_seconds = atoi(value);
    else
        s_usage();
}

static void s_arguments(int count, char **words)
{
    if (count < 4) s_usage();
    s_options.mode = words[1];
    s_options.directory = words[2];
    s_options.topic = words[3];
    int at = 4;
    bool reads = strcmp(s_options.mode, "read") == 0;
    if (!reads && strcmp(s_options.mode, "produce") != 0 && strcmp(s_options.mode, "consume") != 0) s_usage();
    if (!reads) {
        if (count < 5) s_usage();
        s_options.clients = atoi(words[at++]);
    }
    for (; at < count; at += 2) s_option(words[at], at + 1 < count ? words[at + 1] : NULL);
    if (s_options.clients < 1 || s_options.clients > S_CLIENTS_MAX || s_options.bytes < S_HEAD_BYTES ||
        s_options.bytes > S_RECORD_BYTES_MAX)
        s_usage();
}

static void s_status(void)
{
    printf("status %llu %llu %llu %llu\n", atomic_load(&s_sent), atomic_load(&s_acked), atomic_load(&s_failed),
           atomic_load(&s_read));
    fflush(stdout);
}

static atomic_int s_running;

static void *s_run(void *argument)
{
    void *result = strcmp(s_options.mode, "produce") == 0 ? s_produce(argument) : s_consume(argument);
    atomic_fetch_sub(&s_running, 1);
    return result;
}

int main(int count, char **words)
{
    static struct s_client clients[S_CLIENTS_MAX];
    s_arguments(count, words);
    signal(SIGTERM, s_on_signal);
    signal(SIGINT, s_on_signal);
    signal(SIGPIPE, SIG_IGN);
    int64_t begin_ns = s_now_ns();
    atomic_store(&s_running, s_options.clients);
    for (int i = 0; i < s_options.clients; i++) {
        clients[i].number = (uint32_t) (s_options.first + i);
        if (pthread_create(&clients[i].thread, NULL, s_run, &clients[i])) return 1;
    }
    while (atomic_load(&s_running) > 0) {
        s_nap_ms(100); // allow-sleep: the pace of the status lines
        s_status();
        if (s_options.seconds && strcmp(s_options.mode, "produce") == 0 &&
            s_now_ns() - begin_ns > (int64_t) s_options.seconds * 1000000000)
            atomic_store(&s_stopping, true);
    }
    for (int i = 0; i < s_options.clients; i++) pthread_join(clients[i].thread, NULL);
    s_status();
    return atomic_load(&s_broken) ? 1 : 0;
}
