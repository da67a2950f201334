// SPDX-License-Identifier: MPL-2.0
// The topic itself is the recorder's memory: its last records carry the numbers that were recorded last, so no file of its
// own can be older or newer than what was really kept. A consumer goes to the end of every partition, back by as many
// records as asked for, and reads to the end as it was then.
#include "recorder_inner.h"

#include "../common/clients.h"

#include <stdio.h>
#include <stdlib.h>
#include <weft/consumer.h>

#define QUIET_MS_MAX 10000 // without any record or answer: given up

struct s_past {
    struct weft_recorder *recorder;
    weft_consumer_t *consumer;
    int64_t depth; // records of a partition
    int64_t *ends; // of the partitions by index; NULL until all are known
    int32_t count;
};

static size_t s_learn(struct s_past *past, weft_records_t *records)
{
    struct weft_recorder *self = past->recorder;
    struct weft_record_view record;
    size_t read = 0, count;
    bool made;
    for (; weft_records_next(records, &record); read++) {
        if (weft_frames_decode(&record, self->frames, &count, &made)) continue;
        weft_sequences_learn(self->sequences, self->frames, count, record.timestamp_ms);
    }
    return read;
}

// Once the end of every partition is known it goes back from there.
static void s_go_back(struct s_past *past)
{
    struct weft_partition_position at;
    for (int32_t i = 0; i < past->count; i++) {
        if (!weft_consumer_position(past->consumer, (size_t) i, &at) || at.position < 0) return;
    }
    past->ends = weft_calloc((size_t) past->count, sizeof *past->ends);
    for (int32_t i = 0; i < past->count; i++) {
        if (!weft_consumer_position(past->consumer, (size_t) i, &at)) continue;
        past->ends[i] = at.position;
        int64_t from = at.position - past->depth;
        struct weft_position to = {from > 0 ? WEFT_FROM_OFFSET : WEFT_FROM_EARLIEST, from};
        if (weft_consumer_seek(past->consumer, past->recorder->topic_name, at.partition, to))
            past->ends[i] = -1; // gone meanwhile: there is nothing to learn
    }
}

static bool s_is_read(const struct s_past *past)
{
    struct weft_partition_position at;
    for (int32_t i = 0; past->ends && i < past->count; i++) {
        if (weft_consumer_position(past->consumer, (size_t) i, &at) && at.position < past->ends[i]) return false;
    }
    return past->ends != NULL;
}

// A partition that can't be read; all are assigned, so they stand in their order.
static void s_give_up(struct s_past *past, int32_t partition)
{
    if (past->ends && partition >= 0 && partition < past->count) past->ends[partition] = -1;
}

static bool s_read(struct s_past *past)
{
    for (int64_t quiet_ms = weft_mono_ms(); !weft_node_stopping(past->recorder->node);) {
        weft_records_t *records = NULL;
        struct weft_consumer_event event;
        if (weft_consumer_poll(past->consumer, 20, &records)) return false;
        if (past->ends && s_learn(past, records)) quiet_ms = weft_mono_ms();
        while (weft_consumer_event(past->consumer, &event)) {
            quiet_ms = weft_mono_ms();
            if (event.type == WEFT_EVENT_BAD_BATCH || event.type == WEFT_EVENT_STOPPED)
                s_give_up(past, event.partition);
        }
        if (s_is_read(past)) return true;
        if (!past->ends) s_go_back(past);
        weft_recorder_publish(past->recorder);
        if (weft_mono_ms() - quiet_ms > QUIET_MS_MAX) return false;
    }
    return false;
}

bool weft_recorder_resume(struct weft_recorder *self)
{
    struct s_past past = {.recorder = self, .depth = weft_options_int(self->options, "sequence.resume")};
    if (weft_options_int(self->options, "sequence.frame") < 0 || !past.depth) return true;
    if (weft_producer_partition_count(self->producer, self->topic, 0, &past.count)) return false;
    char **settings = weft_inside_settings(self->node, weft_options_text(self->options, "bootstrap"),
                                           (const char *[]){"reset=earliest", NULL}, "");
    weft_err_t err = weft_consumer_new((const char *const *) settings, &past.consumer, NULL);
    weft_list_free(&settings);
    if (err) return false;
    struct weft_assignment all = {self->topic_name, WEFT_PARTITION_ALL, {WEFT_FROM_LATEST, 0}};
    bool done = weft_consumer_assign(past.consumer, &all, 1) == WEFT_OK && s_read(&past);
    free(past.ends);
    weft_consumer_destroy(&past.consumer);
    return done;
}
