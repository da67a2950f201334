// SPDX-License-Identifier: MPL-2.0
/**
 * Producer part: the whole producer without its blocking calls (those are producer.c). Runs in any world: over sockets,
 * or in the simulator.
 *
 * Never blocks. Functions here may be called between turns, by whoever runs the part, or from its reports; what they
 * start leaves with the next turn (`weft_producer_part_wants_turn`), so a world that waits has to be made to give one.
 *
 * Order and exactly once (I3; REPLICATION.md rules 15 to 17). Each partition has a producer identity of its own: id (63
 * random bits), epoch and sequence. A batch gets its sequence when it is closed and keeps its bytes for every retry. At
 * most in.flight batches of a partition are unanswered. After a refusal or a lost link the unanswered ones are sent
 * again, first one first; those that overtook are refused OUT_OF_ORDER_SEQUENCE and sent again too. When a batch is
 * given up (its time is over, or it is refused for good), sequences behind it would gap: then nothing new is sent until
 * the fate of every batch sent so far is known, and what was never taken goes on under the next epoch from sequence 0.
 * The new epoch fences whatever of the old one may still be on its way, so it can't land later. Only what the spool of an edge
 * still has to deliver, while this goes by another edge, is not fenced: then a new identity is drawn.
 */
#ifndef WEFT_CLIENT_PRODUCER_PART_H
#define WEFT_CLIENT_PRODUCER_PART_H

#include "../base/metrics.h"
#include "../base/options.h"
#include "../wire/port.h"

#include <weft/producer.h>

typedef struct weft_producer_part weft_producer_part_t;

// Checks the options (scope producer; borrowed for the call). The part is destroyed through its ops by the world that
// runs it.
WEFT_MUST_USE weft_err_t weft_producer_part_new(const weft_options_t *options, weft_producer_part_t **out,
                                                struct weft_error *error);
struct weft_part *weft_producer_part_base(weft_producer_part_t *self);

// As in <weft/producer.h>; before the first send.
void weft_producer_part_on_report(weft_producer_part_t *self, weft_report_fn *fn, void *context);
void weft_producer_part_on_batch(weft_producer_part_t *self, weft_batch_report_fn *fn, void *context);
void weft_producer_part_set_partitioner(weft_producer_part_t *self, weft_partitioner_fn *fn, void *context);

WEFT_MUST_USE weft_err_t weft_producer_part_topic(weft_producer_part_t *self, const char *name, weft_topic_t **out);
// Partitions of the topic; 0: not known yet, -1: there is no such topic.
int32_t weft_producer_part_partition_count(weft_producer_part_t *self, const weft_topic_t *topic);

// timestamp_ms is taken as it is: the caller tells the time. `extra` may be NULL; its timestamp_ms is not looked at,
// nor its `delivery`.
WEFT_MUST_USE weft_err_t weft_producer_part_send(weft_producer_part_t *self, weft_topic_t *topic, int32_t partition,
                                                 weft_slice_t key, weft_slice_t value, int64_t timestamp_ms,
                                                 const struct weft_send_extra *extra, weft_delivery_t *delivery);

// A batch as it is, under an identity of the program's: as weft_producer_send_batch.
WEFT_MUST_USE weft_err_t weft_producer_part_send_batch(weft_producer_part_t *self, weft_topic_t *topic,
                                                       int32_t partition, weft_slice_t batch,
                                                       const struct weft_batch_identity *as, void *opaque);

void weft_producer_part_flush(weft_producer_part_t *self); // closes every open batch; they leave as the windows allow
void weft_producer_part_give_up(weft_producer_part_t *self, weft_err_t error); // reports all that waits as failed
bool weft_producer_part_wants_turn(const weft_producer_part_t *self);          // something was closed that could leave
// Something changed since the last turn, maybe only a timer: give a turn before waiting.
bool weft_producer_part_is_changed(const weft_producer_part_t *self);
size_t weft_producer_part_waiting_count(const weft_producer_part_t *self);
size_t weft_producer_part_waiting_bytes(const weft_producer_part_t *self);
// With acks none: reported, but still with the transport. What is left of it when the program ends is lost.
size_t weft_producer_part_leaving_bytes(const weft_producer_part_t *self);
uint64_t weft_producer_part_reported_batches(const weft_producer_part_t *self);
weft_err_t weft_producer_part_take_first_error(weft_producer_part_t *self, char *text,
                                               size_t text_bytes); // since the last take
const weft_counters_t *weft_producer_part_counters(const weft_producer_part_t *self);
const char *weft_producer_part_error_text(const weft_producer_part_t *self); // of the last refused send

// ---- futures, made by producer.c; the part fills them

struct weft_delivery {
    struct weft_producer *producer; // NULL once the producer is gone or the future done
    uint32_t references;            // of the program, and of the batch
    bool done;
    weft_err_t error;
    enum weft_err_outcome outcome;
    int32_t partition;
    int64_t offset;
};

weft_delivery_t *weft_delivery_new(struct weft_producer *producer);
void weft_delivery_drop(weft_delivery_t *self); // one reference

#endif
