// SPDX-License-Identifier: MPL-2.0
// Judges the histories of a directory (history.h) and prints what it found as JSON, with the first examples of each kind.
//
// The final read is the truth: one value for each offset of each partition. Everything that a client was told is held
// against it: acknowledgements (O1), live reads (O2, O4), sequences in it (O3), epochs (O5), refusals. Files are streamed
// and read twice at most, so that only the final log is held in memory: 16 bytes a record.
#include "history.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { S_PARTITIONS_MAX = 1024, S_CLIENTS_MAX = 4096, S_FILES_MAX = 1024, S_EXAMPLES_MAX = 5, S_EXAMPLE_BYTES = 160 };

// ---- findings

enum s_finding {
    S_MISSING,       // O1: acknowledged, and not at its offset
    S_TWO_VALUES,    // O2: a client saw another record at an offset
    S_VANISHED,      // O4: delivered, and not in the log
    S_DUPLICATE,     // O3
    S_ORDER,         // O3
    S_READ_GAP,      // O4
    S_STEP_BACK,     // O4
    S_DIVERGED,      // O4: the consumer was told that what it read was lost
    S_LOG_GAP,       // the log itself has a hole
    S_EPOCH_BACK,    // O5: epochs fall along the log
    S_EPOCH_DIFFERS, // O5: a record was read under another epoch than it has
    S_INVENTED,      // a record that nobody sent
    S_BAD_BYTES,
    S_DENIED, // reported as surely not written, and there
    S_FINDINGS
};

static const char *const s_names[S_FINDINGS] = {"missing",       "two_values", "vanished",  "duplicate", "order",
                                                "read_gap",      "step_back",  "diverged",  "log_gap",   "epoch_back",
                                                "epoch_differs", "invented",   "bad_bytes", "denied"};
static uint64_t s_counts[S_FINDINGS];
static char s_examples[S_FINDINGS][S_EXAMPLES_MAX][S_EXAMPLE_BYTES];

static void s_find(enum s_finding finding, const char *file, int32_t partition, int64_t offset, uint64_t id,
                   uint64_t other)
{
    if (s_counts[finding]++ >= S_EXAMPLES_MAX) return;
    snprintf(s_examples[finding][s_counts[finding] - 1], S_EXAMPLE_BYTES,
             "%.60s: partition %d offset %lld record %u/%llu other %u/%llu", file, partition, (long long) offset,
             HISTORY_CLIENT(id), (unsigned long long) HISTORY_SEQUENCE(id), HISTORY_CLIENT(other),
             (unsigned long long) HISTORY_SEQUENCE(other));
}

// ---- the final log

struct s_entry {
    uint64_t id;
    int32_t epoch;
    int32_t reserved;
};

struct s_partition {
    struct s_entry *entries;
    int64_t first; // offset of entries[0]
    size_t count, room;
    uint64_t *ack_ms; // bit set: an acknowledgement came in that millisecond
};

struct s_client {
    uint64_t sent; // records, with sequences 0 to sent - 1
    uint8_t *seen; // one bit a sequence: in the log
    size_t seen_bytes;
};

static struct s_partition s_partitions[S_PARTITIONS_MAX];
static struct s_client s_clients[S_CLIENTS_MAX];
static uint64_t s_sent, s_acked, s_refused, s_unknown, s_unknown_present, s_read, s_final, s_trimmed;
static int64_t s_begin_ns = INT64_MAX, s_first_ack_ns = INT64_MAX, s_last_ack_ns;
static size_t s_ms_count; // length of the run

static void *s_grown(void *memory, size_t bytes)
{
    void *result = realloc(memory, bytes);
    if (!result) abort();
    return result;
}

static void s_refuse(const char *file, const char *why)
{
    fprintf(stderr, "%s: %s\n", file, why);
    exit(2);
}

static const struct s_entry *s_entry_at(int32_t partition, int64_t offset)
{
    const struct s_partition *self = &s_partitions[partition];
    if (offset < self->first || offset >= self->first + (int64_t) self->count) return NULL;
    return &self->entries[offset - self->first];
}

static void s_append(const char *file, const struct history_event *event)
{
    struct s_partition *self = &s_partitions[event->partition];
    if (self->count == 0) self->first = event->offset;
    if (event->offset != self->first + (int64_t) self->count) {
        s_find(S_LOG_GAP, file, event->partition, event->offset, event->id, 0);
        return;
    }
    if (self->count == self->room) {
        self->room = self->room ? 2 * self->room : 1024;
        self->entries = s_grown(self->entries, self->room * sizeof *self->entries);
    }
    if (self->count && event->epoch < self->entries[self->count - 1].epoch)
        s_find(S_EPOCH_BACK, file, event->partition, event->offset, event->id, 0);
    self->entries[self->count++] = (struct s_entry){event->id, event->epoch, 0};
    s_final++;
}

// True if it was set before.
static bool s_see(uint64_t id)
{
    struct s_client *client = &s_clients[HISTORY_CLIENT(id) % S_CLIENTS_MAX];
    uint64_t sequence = HISTORY_SEQUENCE(id);
    size_t byte = sequence / 8;
    if (byte >= client->seen_bytes) {
        size_t bytes = byte * 2 + 64;
        client->seen = s_grown(client->seen, bytes);
        memset(client->seen + client->seen_bytes, 0, bytes - client->seen_bytes);
        client->seen_bytes = bytes;
    }
    bool before = client->seen[byte] >> sequence % 8 & 1;
    client->seen[byte] |= (uint8_t) (1 << sequence % 8);
    return before;
}

static bool s_is_there(uint64_t id)
{
    const struct s_client *client = &s_clients[HISTORY_CLIENT(id) % S_CLIENTS_MAX];
    size_t byte = HISTORY_SEQUENCE(id) / 8;
    return byte < client->seen_bytes && client->seen[byte] >> HISTORY_SEQUENCE(id) % 8 & 1;
}

static void s_judge_log(void)
{
    static uint64_t next[S_CLIENTS_MAX]; // one above the last sequence
    for (int32_t p = 0; p < S_PARTITIONS_MAX; p++) {
        memset(next, 0, sizeof next);
        for (size_t i = 0; i < s_partitions[p].count; i++) {
            uint64_t id = s_partitions[p].entries[i].id, sequence = HISTORY_SEQUENCE(id);
            uint32_t client = HISTORY_CLIENT(id);
            int64_t offset = s_partitions[p].first + (int64_t) i;
            if (client >= S_CLIENTS_MAX || sequence >= s_clients[client].sent) {
                s_find(S_INVENTED, "final", p, offset, id, 0);
                continue;
            }
            if (s_see(id)) s_find(S_DUPLICATE, "final", p, offset, id, 0);
            if (sequence + 1 <= next[client])
                s_find(S_ORDER, "final", p, offset, id, HISTORY_ID(client, next[client] - 1));
            next[client] = sequence + 1;
        }
    }
}

// ---- what clients were told

static void s_judge_ack(const char *file, const struct history_event *event)
{
    struct s_partition *self = &s_partitions[event->partition];
    s_acked++;
    size_t ms = (size_t) ((event->time_ns - s_begin_ns) / 1000000);
    if (ms < s_ms_count) {
        if (!self->ack_ms) self->ack_ms = calloc(s_ms_count / 64 + 1, sizeof *self->ack_ms);
        if (!self->ack_ms) abort();
        self->ack_ms[ms / 64] |= UINT64_C(1) << ms % 64;
    }
    const struct s_entry *entry = s_entry_at(event->partition, event->offset);
    if (entry && entry->id == event->id) return;
    if (!entry && self->count && event->offset < self->first) {
        s_trimmed++; // deleted by retention, which the test asked for
        return;
    }
    s_find(S_MISSING, file, event->partition, event->offset, event->id, entry ? entry->id : 0);
}

static void s_judge_fail(const char *file, const struct history_event *event)
{
    enum { MAYBE_APPLIED = 1 }; // enum weft_err_outcome: not applied 0, maybe 1, applied 2
    if (event->how != 0) {
        s_unknown++;
        s_unknown_present += s_is_there(event->id);
        return;
    }
    s_refused++;
    if (s_is_there(event->id)) s_find(S_DENIED, file, event->partition, event->offset, event->id, 0);
}

static void s_judge_read(const char *file, const struct history_event *event, int64_t *next)
{
    s_read++;
    const struct s_partition *self = &s_partitions[event->partition];
    if (event->offset < *next) s_find(S_STEP_BACK, file, event->partition, event->offset, event->id, 0);
    if (event->offset > *next && !(*next == 0 && self->first > 0))
        s_find(S_READ_GAP, file, event->partition, event->offset, event->id, 0);
    *next = event->offset + 1;
    const struct s_entry *entry = s_entry_at(event->partition, event->offset);
    if (!entry && self->count && event->offset < self->first) return; // deleted since
    if (!entry)
        s_find(S_VANISHED, file, event->partition, event->offset, event->id, 0);
    else if (entry->id != event->id)
        s_find(S_TWO_VALUES, file, event->partition, event->offset, event->id, entry->id);
    else if (entry->epoch != event->epoch)
        s_find(S_EPOCH_DIFFERS, file, event->partition, event->offset, event->id, 0);
}

static void s_judge_event(const char *file, const struct history_event *event, int64_t *next)
{
    enum { RESET = 2, DIVERGED = 3 }; // enum weft_consumer_event_type
    if (event->how != RESET && event->how != DIVERGED) return;
    if (event->how == DIVERGED) s_find(S_DIVERGED, file, event->partition, event->offset, 0, 0);
    *next = event->offset;
}

// ---- files

typedef void s_each_fn(const char *file, const struct history_head *head, const struct history_event *event);

static void s_walk(const char *directory, const char *file, enum history_kind kind, s_each_fn *each)
{
    static struct history_event events[4096];
    char path[4096];
    struct history_head head;
    snprintf(path, sizeof path, "%s/%s", directory, file);
    FILE *stream = fopen(path, "rb");
    if (!stream) s_refuse(path, "cannot be read");
    if (fread(&head, sizeof head, 1, stream) != 1 || memcmp(head.magic, HISTORY_MAGIC, sizeof head.magic) != 0)
        s_refuse(path, "is no history");
    if (head.kind == (uint32_t) kind) {
        size_t got;
        while ((got = fread(events, sizeof events[0], sizeof events / sizeof events[0], stream)) > 0) {
            for (size_t i = 0; i < got; i++) {
                if ((events[i].partition < 0 || events[i].partition >= S_PARTITIONS_MAX) &&
                    events[i].type != HISTORY_EVENT)
                    s_refuse(path, "names a partition out of range");
                each(file, &head, &events[i]);
            }
        }
    }
    fclose(stream);
}

static void s_each_sent(const char *file, const struct history_head *head, const struct history_event *event)
{
    if (head->client >= S_CLIENTS_MAX) s_refuse(file, "names a client out of range");
    if (event->type == HISTORY_SEND) {
        s_sent++;
        s_clients[head->client].sent = HISTORY_SEQUENCE(event->id) + 1;
        if (event->time_ns < s_begin_ns) s_begin_ns = event->time_ns;
    } else if (event->type == HISTORY_ACK) {
        if (event->time_ns < s_first_ack_ns) s_first_ack_ns = event->time_ns;
        if (event->time_ns > s_last_ack_ns) s_last_ack_ns = event->time_ns;
    }
}

static void s_each_final(const char *file, const struct history_head *head, const struct history_event *event)
{
    if (event->type == HISTORY_READ) s_append(file, event);
    if (event->type != HISTORY_BAD) return;
    s_find(S_BAD_BYTES, file, event->partition, event->offset, 0, 0);
    s_append(file, event);
}

static void s_each_told(const char *file, const struct history_head *head, const struct history_event *event)
{
    if (event->type == HISTORY_ACK) s_judge_ack(file, event);
    if (event->type == HISTORY_FAIL) s_judge_fail(file, event);
}

static int64_t s_next[S_PARTITIONS_MAX]; // of the consumer whose history is read

static void s_each_consumed(const char *file, const struct history_head *head, const struct history_event *event)
{
    if (event->partition < 0) return;
    int64_t *next = &s_next[event->partition];
    if (event->type == HISTORY_READ) s_judge_read(file, event, next);
    if (event->type == HISTORY_EVENT) s_judge_event(file, event, next);
    if (event->type != HISTORY_BAD) return;
    s_find(S_BAD_BYTES, file, event->partition, event->offset, 0, 0);
    *next = event->offset + 1;
}

// ---- pauses

// The longest time without an acknowledgement between the first and the last one; *at_ms: when it began.
static size_t s_longest_gap(const uint64_t *bits, size_t *at_ms)
{
    size_t longest = 0, last = SIZE_MAX;
    for (size_t ms = 0; bits && ms < s_ms_count; ms++) {
        if (!(bits[ms / 64] >> ms % 64 & 1)) continue;
        if (last != SIZE_MAX && ms - last > longest) {
            longest = ms - last;
            *at_ms = last;
        }
        last = ms;
    }
    return longest;
}

static void s_print_gaps(void)
{
    uint64_t *any = calloc(s_ms_count / 64 + 1, sizeof *any);
    if (!any) abort();
    size_t worst = 0, at = 0, worst_at = 0, partition = 0;
    for (size_t p = 0; p < S_PARTITIONS_MAX; p++) {
        if (!s_partitions[p].ack_ms) continue;
        for (size_t i = 0; i <= s_ms_count / 64; i++) any[i] |= s_partitions[p].ack_ms[i];
        size_t gap = s_longest_gap(s_partitions[p].ack_ms, &at);
        if (gap <= worst) continue;
        worst = gap;
        worst_at = at;
        partition = p;
    }
    at = 0;
    size_t all = s_longest_gap(any, &at);
    printf("\"gap_ms\": %zu, \"gap_at_ms\": %zu, \"partition_gap_ms\": %zu, \"partition_gap_at_ms\": %zu, "
           "\"partition_gap_of\": %zu, ",
           all, at, worst, worst_at, partition);
    free(any);
}

int main(int count, char **words)
{
    static char *files[S_FILES_MAX];
    size_t file_count = 0;
    if (count != 2) {
        fputs("usage: weft_fault_history DIR\n", stderr);
        return 2;
    }
    DIR *directory = opendir(words[1]);
    if (!directory) s_refuse(words[1], "cannot be read");
    for (struct dirent *entry; (entry = readdir(directory)) && file_count < S_FILES_MAX;) {
        if (strstr(entry->d_name, ".history")) files[file_count++] = strdup(entry->d_name);
    }
    closedir(directory);
    for (size_t i = 0; i < file_count; i++) s_walk(words[1], files[i], HISTORY_PRODUCER, s_each_sent);
    if (s_last_ack_ns > s_begin_ns) s_ms_count = (size_t) ((s_last_ack_ns - s_begin_ns) / 1000000) + 1;
    for (size_t i = 0; i < file_count; i++) s_walk(words[1], files[i], HISTORY_FINAL, s_each_final);
    s_judge_log();
    for (size_t i = 0; i < file_count; i++) s_walk(words[1], files[i], HISTORY_PRODUCER, s_each_told);
    for (size_t i = 0; i < file_count; i++) {
        memset(s_next, 0, sizeof s_next);
        s_walk(words[1], files[i], HISTORY_CONSUMER, s_each_consumed);
    }

    printf("{\"sent\": %llu, \"acked\": %llu, \"refused\": %llu, \"unknown\": %llu, \"unknown_present\": %llu, "
           "\"read\": %llu, \"final\": %llu, \"trimmed\": "
           "%llu, \"begin_ns\": %lld, \"first_ack_ns\": %lld, ",
           (unsigned long long) s_sent, (unsigned long long) s_acked, (unsigned long long) s_refused,
           (unsigned long long) s_unknown, (unsigned long long) s_unknown_present, (unsigned long long) s_read,
           (unsigned long long) s_final, (unsigned long long) s_trimmed, (long long) s_begin_ns,
           (long long) s_first_ack_ns);
    s_print_gaps();
    printf("\"found\": {");
    for (int i = 0; i < S_FINDINGS; i++) {
        printf("%s\"%s\": {\"count\": %llu, \"examples\": [", i ? ", " : "", s_names[i],
               (unsigned long long) s_counts[i]);
        for (uint64_t k = 0; k < s_counts[i] && k < S_EXAMPLES_MAX; k++)
            printf("%s\"%s\"", k ? ", " : "", s_examples[i][k]);
        printf("]}");
    }
    printf("}}\n");
    return 0;
}
