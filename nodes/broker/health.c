// SPDX-License-Identifier: MPL-2.0
// What a broker says of itself, put together from what its parts let other threads read: atomics, counters, and notices.
//
// A notice is a text that one part writes and any thread reads at any time, so it is kept in atomic words under a version
// that is odd while it is written; who reads beside a writer tries again.
#include "broker.h"
#include "counters.h"

#include <stdio.h>
#include <string.h>

#define S_TRIES 100

// ---- notices

void weft_broker_notice_set(struct weft_broker_notice *notice, const char *text)
{
    uint64_t words[WEFT_BROKER_NOTICE_WORDS] = {0};
    snprintf((char *) words, sizeof words, "%s", text);
    uint32_t version = atomic_load_explicit(&notice->version, memory_order_relaxed);
    atomic_store_explicit(&notice->version, version + 1, memory_order_relaxed);
    for (size_t i = 0; i < WEFT_BROKER_NOTICE_WORDS; i++)
        atomic_store_explicit(&notice->words[i], words[i], memory_order_release);
    atomic_store_explicit(&notice->version, version + 2, memory_order_release);
    atomic_store_explicit(&notice->set, *text != '\0', memory_order_release);
}

void weft_broker_notice_clear(struct weft_broker_notice *notice)
{
    if (weft_broker_notice_is_set(notice)) weft_broker_notice_set(notice, "");
}

bool weft_broker_notice_is_set(const struct weft_broker_notice *notice)
{
    return atomic_load_explicit(&notice->set, memory_order_acquire);
}

static bool s_read(const struct weft_broker_notice *notice, uint64_t words[WEFT_BROKER_NOTICE_WORDS])
{
    uint32_t before = atomic_load_explicit(&notice->version, memory_order_acquire);
    for (size_t i = 0; i < WEFT_BROKER_NOTICE_WORDS; i++)
        words[i] = atomic_load_explicit(&notice->words[i], memory_order_acquire);
    return before % 2 == 0 && atomic_load_explicit(&notice->version, memory_order_relaxed) == before;
}

// Returns `text`.
static const char *s_notice(const struct weft_broker_notice *notice, char text[WEFT_ERROR_TEXT_BYTES_MAX])
{
    uint64_t words[WEFT_BROKER_NOTICE_WORDS];
    for (int i = 0; i < S_TRIES; i++) {
        if (!weft_broker_notice_is_set(notice) || !s_read(notice, words)) continue;
        snprintf(text, WEFT_ERROR_TEXT_BYTES_MAX, "%s", (const char *) words);
        return text;
    }
    snprintf(text, WEFT_ERROR_TEXT_BYTES_MAX, "see its trace");
    return text;
}

// ---- health

// The first shard that has a partition with the trouble that `counter` counts, or NULL.
static const struct weft_broker_shard *s_troubled(const struct weft_broker *self, enum weft_shard_counter counter,
                                                  uint64_t *count)
{
    const struct weft_broker_shard *first = NULL;
    *count = 0;
    for (size_t i = 0; i < self->shard_count; i++) {
        uint64_t value = weft_counter_get(&self->shards[i].counters, counter);
        if (value != 0 && first == NULL) first = &self->shards[i];
        *count += value;
    }
    return first;
}

enum weft_health weft_broker_health(const struct weft_node *node, char *sentence, size_t sentence_bytes)
{
    const struct weft_broker *self = (const struct weft_broker *) node;
    uint64_t count;
    const struct weft_broker_shard *shard;
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    switch ((enum weft_broker_standing) atomic_load_explicit(&self->standing, memory_order_relaxed)) {
    case WEFT_BROKER_STARTING:
        snprintf(sentence, sentence_bytes, "waits for a coordinator at %s",
                 weft_options_text(self->options, "coordinators"));
        return WEFT_HEALTH_STARTING;
    case WEFT_BROKER_REJECTED:
        snprintf(sentence, sentence_bytes, "%s", s_notice(&self->notice, text));
        return WEFT_HEALTH_FAILED;
    case WEFT_BROKER_LEAVING:
        snprintf(sentence, sentence_bytes, "a clean stop is under way");
        return WEFT_HEALTH_STOPPING;
    case WEFT_BROKER_JOINED:
    case WEFT_BROKER_ALONE: break;
    }
    if ((shard = s_troubled(self, WEFT_COUNT_PARTITIONS_REFUSED, &count)) != NULL) {
        snprintf(sentence, sentence_bytes, "partitions not served: %llu; %s", (unsigned long long) count,
                 s_notice(&shard->notice, text));
        return WEFT_HEALTH_DEGRADED;
    }
    if (s_troubled(self, WEFT_COUNT_PARTITIONS_DISK_FULL, &count) != NULL) {
        snprintf(sentence, sentence_bytes, "the disk under %s is full; free space, writing goes on by itself then",
                 self->data);
        return WEFT_HEALTH_DEGRADED;
    }
    if ((shard = s_troubled(self, WEFT_COUNT_BATCHES_DAMAGED, &count)) != NULL) {
        snprintf(sentence, sentence_bytes, "damaged batches met by readers: %llu; %s", (unsigned long long) count,
                 s_notice(&shard->damage, text));
        return WEFT_HEALTH_DEGRADED;
    }
    if (atomic_load_explicit(&self->standing, memory_order_relaxed) == WEFT_BROKER_ALONE) {
        if (weft_broker_notice_is_set(&self->notice))
            snprintf(sentence, sentence_bytes, "serving on without changes: %s", s_notice(&self->notice, text));
        else
            snprintf(sentence, sentence_bytes, "no coordinator answers at %s; serving on without changes",
                     weft_options_text(self->options, "coordinators"));
        return WEFT_HEALTH_DEGRADED;
    }
    snprintf(sentence, sentence_bytes, "serving");
    return WEFT_HEALTH_SERVING;
}
