// SPDX-License-Identifier: MPL-2.0
/** A producer against a cluster that the test plays; what it reports is kept. */
#ifndef WEFT_TESTS_UNIT_CLIENT_PRODUCER_FIXTURE_H
#define WEFT_TESTS_UNIT_CLIENT_PRODUCER_FIXTURE_H

#include "tests/support/client_peer.h"
#include "tests/support/test.h"

#include "lib/client/producer_part.h"

#include <stdio.h>
#include <string.h>
#include <weft_gen/config.h>

#define NODE_A "tcp://a:1"
#define NODE_B "tcp://b:1"

struct fixture {
    weft_producer_part_t *part;
    struct peer peer;
    weft_topic_t *topic;
    // what was reported
    size_t delivered, failed;
    int64_t offsets[1000];
    weft_err_t error;
    enum weft_err_outcome outcome;
    char text[512];
    int seen[1000]; // opaque numbers in order
    size_t seen_count;
    bool send_again; // from inside a report
};

static inline void s_send(struct fixture *self, int32_t partition, const char *key, int number);

static inline void s_report(void *context, const struct weft_report *report)
{
    struct fixture *self = context;
    self->seen[self->seen_count++] = (int) (intptr_t) report->opaque;
    if (report->error) {
        self->failed++;
        self->error = report->error;
        self->outcome = report->outcome;
        snprintf(self->text, sizeof self->text, "%s", report->text);
    } else
        self->offsets[self->delivered++] = report->offset;
    if (self->send_again) {
        self->send_again = false;
        s_send(self, 0, NULL, 99);
    }
}

static inline void s_open(struct fixture *self, uint32_t partitions, const char *const *settings)
{
    memset(self, 0, sizeof *self);
    weft_options_t *options = weft_options_new(weft_options_producer, weft_options_producer_count, "producer");
    assert_ok(weft_options_set(options, "bootstrap", NODE_A "," NODE_B, NULL));
    for (size_t i = 0; settings && settings[i]; i++) assert_ok(weft_options_set_pair(options, settings[i], NULL));
    struct weft_error error;
    assert_ok(weft_producer_part_new(options, &self->part, &error));
    weft_options_destroy(&options);
    weft_producer_part_on_report(self->part, s_report, self);
    assert_ok(weft_producer_part_topic(self->part, "orders", &self->topic));
    peer_init(&self->peer, weft_producer_part_base(self->part), partitions ? "orders" : NULL, partitions, NODE_A);
    weft_fake_world_advance(self->peer.world, 1000);
    peer_pump(&self->peer);
}

static inline void s_close(struct fixture *self)
{
    peer_fini(&self->peer);
}

static inline void s_send(struct fixture *self, int32_t partition, const char *key, int number)
{
    char value[16];
    snprintf(value, sizeof value, "%d", number);
    struct weft_send_extra extra = {.opaque = (void *) (intptr_t) number};
    assert_ok(weft_producer_part_send(self->part, self->topic, partition, weft_text(key), weft_text(value), 1000,
                                      &extra, NULL));
}

// What a driver does after a call from outside.
static inline void s_turn(struct fixture *self)
{
    struct weft_part *part = weft_producer_part_base(self->part);
    (void) part->ops->turn(part, weft_fake_world_now_us(self->peer.world));
    peer_pump(&self->peer);
}

static inline void s_flush(struct fixture *self)
{
    weft_producer_part_flush(self->part);
    s_turn(self);
}

static inline void s_advance_ms(struct fixture *self, int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 10) {
        weft_fake_world_advance(self->peer.world, 10000);
        s_turn(self);
    }
}

// One record, one batch.
static inline void s_send_batch(struct fixture *self, int number)
{
    s_send(self, 0, NULL, number);
    s_flush(self);
}

static inline uint64_t s_counter(struct fixture *self, const char *name)
{
    const weft_counters_t *counters = weft_producer_part_counters(self->part);
    for (size_t i = 0; i < counters->count; i++)
        if (!strcmp(counters->infos[i].name, name)) return weft_counter_get(counters, i);
    fail();
    return 0;
}

#endif
