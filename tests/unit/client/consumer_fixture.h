// SPDX-License-Identifier: MPL-2.0
/** A consumer against a cluster that the test plays. */
#ifndef WEFT_TESTS_UNIT_CLIENT_CONSUMER_FIXTURE_H
#define WEFT_TESTS_UNIT_CLIENT_CONSUMER_FIXTURE_H

#include "tests/support/client_peer.h"
#include "tests/support/test.h"

#include "lib/client/consumer_part.h"

#include <stdio.h>
#include <string.h>
#include <weft_gen/config.h>

#define NODE_A "tcp://a:1"
#define NODE_B "tcp://b:1"

struct fixture {
    weft_consumer_part_t *part;
    struct peer peer;
    weft_buf_t batches;
};

static inline void s_turn(struct fixture *self)
{
    struct weft_part *part = weft_consumer_part_base(self->part);
    (void) part->ops->turn(part, weft_fake_world_now_us(self->peer.world));
    peer_pump(&self->peer);
}

static inline void s_advance_ms(struct fixture *self, int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 10) {
        weft_fake_world_advance(self->peer.world, 10000);
        s_turn(self);
    }
}

static inline void s_open(struct fixture *self, uint32_t partitions, const char *const *settings)
{
    memset(self, 0, sizeof *self);
    weft_options_t *options = weft_options_new(weft_options_consumer, weft_options_consumer_count, "consumer");
    assert_ok(weft_options_set(options, "bootstrap", NODE_A "," NODE_B, NULL));
    for (size_t i = 0; settings && settings[i]; i++) assert_ok(weft_options_set_pair(options, settings[i], NULL));
    struct weft_error error;
    assert_ok(weft_consumer_part_new(options, &self->part, &error));
    weft_options_destroy(&options);
    weft_buf_init(&self->batches);
    peer_init(&self->peer, weft_consumer_part_base(self->part), partitions ? "orders" : NULL, partitions, NODE_A);
}

static inline void s_close(struct fixture *self)
{
    peer_fini(&self->peer);
    weft_buf_fini(&self->batches);
}

static inline void s_assign(struct fixture *self, int32_t partition, enum weft_from from, int64_t value)
{
    struct weft_assignment assignment = {.topic = "orders", .partition = partition, .at = {from, value}};
    assert_ok(weft_consumer_part_assign(self->part, &assignment, 1));
    s_advance_ms(self, 200);
}

// Appends a batch to what the next answer holds.
static inline void s_batch(struct fixture *self, int64_t base_offset, uint32_t count, enum weft_codec codec)
{
    weft_buf_t batch;
    weft_buf_init(&batch);
    weft_test_batch_make(&batch, &(struct weft_test_batch){.base_offset = base_offset,
                                                           .leader_epoch = 3,
                                                           .count = count,
                                                           .value_bytes = 20,
                                                           .timestamp_ms = 1000,
                                                           .codec = codec});
    weft_buf_append(&self->batches, batch.data, batch.size);
    weft_buf_fini(&batch);
}

static inline void s_answer(struct fixture *self, const struct peer_call *call, int64_t high_watermark)
{
    peer_fetched(&self->peer, call, weft_buf_slice(&self->batches), high_watermark, 0);
    weft_buf_clear(&self->batches);
    peer_pump(&self->peer);
}

// Reads all of a poll; checks that offsets follow each other from `first` on. The number of records.
static inline int64_t s_read(struct fixture *self, int64_t first)
{
    int64_t count = 0;
    struct weft_record_view record;
    (void) weft_consumer_part_begin_poll(self->part);
    while (weft_consumer_part_next(self->part, &record, NULL)) {
        char text[24];
        int size = snprintf(text, sizeof text, "%lld", (long long) record.offset);
        assert_int_equal(record.offset, first + count);
        assert_memory_equal(record.value.data, text, (size_t) size);
        assert_int_equal(record.leader_epoch, 3);
        assert_string_equal(record.topic, "orders");
        count++;
    }
    return count;
}

static inline struct weft_consumer_event s_event(struct fixture *self, enum weft_consumer_event_type type)
{
    struct weft_consumer_event event;
    while (weft_consumer_part_event(self->part, &event))
        if (event.type == type) return event;
    fail_msg("no such event");
    return event;
}

static inline void s_no_event(struct fixture *self, enum weft_consumer_event_type type)
{
    struct weft_consumer_event event;
    while (weft_consumer_part_event(self->part, &event)) assert_int_not_equal(event.type, type);
}

#endif
