// SPDX-License-Identifier: MPL-2.0
// The blocking face of the producer part. send() gives the part a turn only when a batch was closed, and once per tick
// of the coarse clock (4 ms): so a record costs no system call, and lingering batches, answers and retries still
// advance in a loop that does nothing but send.
#include <weft/producer.h>

#include "../base/assert.h"
#include "driver.h"
#include "producer_part.h"
#include "settings.h"

#include <weft_gen/config.h>

#include <stdio.h>
#include <stdlib.h>

#define S_EXACT_SENDS 16
#define S_EXACT_EVERY 64
#define LEAVING_POLL_US 2000 // the transport does not tell when it is through

struct weft_producer {
    weft_producer_part_t *part; // belongs to the driver
    struct weft_driver *driver;
    weft_options_t *options;
    int64_t tick_ms;
    int64_t time_ms; // of the last record
    uint64_t sends_of_tick;
    bool inside; // a call is under way: reports may send, but not drive
    bool closed;
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
};

static int64_t s_now_us(const weft_producer_t *self)
{
    return weft_driver_now_us(self->driver);
}

weft_err_t weft_producer_new(const char *const *settings, weft_producer_t **out, struct weft_error *error)
{
    struct weft_error ignored;
    if (!error) error = &ignored;
    weft_producer_t *self = weft_calloc(1, sizeof *self);
    weft_err_t err = weft_settings_parse(settings, weft_options_producer, weft_options_producer_count, "producer",
                                         &self->options, error);
    if (err) goto fail_new;
    err = weft_producer_part_new(self->options, &self->part, error);
    if (err) goto fail_options;
    const struct weft_driver_how how = {.bootstrap = weft_options_text(self->options, "bootstrap"),
                                        .client = weft_options_text(self->options, "client")};
    err = weft_driver_new(weft_producer_part_base(self->part), &how, &self->driver, error);
    if (err) goto fail_options; // the driver destroyed the part
    *out = self;
    return WEFT_OK;

fail_options:
    weft_options_destroy(&self->options);
fail_new:
    free(self);
    return err;
}

void weft_producer_destroy(weft_producer_t **self_p)
{
    weft_producer_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    weft_assert(!self->inside);
    self->inside = true;
    bool closed = self->closed;
    self->closed = true; // a report that sends again would wait for ever
    if (!closed) weft_producer_part_give_up(self->part, WEFT_ERR_LOCAL_CLOSED);
    self->driver->ops->destroy(&self->driver);
    weft_options_destroy(&self->options);
    free(self);
}

int64_t weft_producer_option_int(const weft_producer_t *self, const char *name)
{
    return weft_options_int(self->options, name);
}

const char *weft_producer_option_text(const weft_producer_t *self, const char *name)
{
    return weft_options_text(self->options, name);
}

void weft_producer_on_report(weft_producer_t *self, weft_report_fn *fn, void *context)
{
    weft_producer_part_on_report(self->part, fn, context);
}

void weft_producer_on_batch(weft_producer_t *self, weft_batch_report_fn *fn, void *context)
{
    weft_producer_part_on_batch(self->part, fn, context);
}

void weft_producer_set_partitioner(weft_producer_t *self, weft_partitioner_fn *fn, void *context)
{
    weft_producer_part_set_partitioner(self->part, fn, context);
}

// ---- driving

static weft_err_t s_run(weft_producer_t *self, int64_t timeout_us)
{
    weft_assert(!self->inside);
    // What the part wished for at its last turn may be out of date: let it say again before anybody waits. Callers
    // loop.
    if (weft_producer_part_is_changed(self->part)) timeout_us = 0;
    self->inside = true;
    weft_err_t err = self->driver->ops->run(self->driver, timeout_us);
    self->inside = false;
    return err;
}

// The time left until `deadline_us` (-1: for ever).
static int64_t s_left_us(const weft_producer_t *self, int64_t deadline_us)
{
    if (deadline_us < 0) return -1;
    int64_t left_us = deadline_us - s_now_us(self);
    return left_us > 0 ? left_us : 0;
}

static int64_t s_deadline_us(const weft_producer_t *self, int timeout_ms)
{
    return timeout_ms < 0 ? -1 : s_now_us(self) + (int64_t) timeout_ms * 1000;
}

static weft_err_t s_say(weft_producer_t *self, weft_err_t error, const char *text)
{
    snprintf(self->text, sizeof self->text, "%s", text);
    return error;
}

// ---- topics

weft_err_t weft_producer_topic(weft_producer_t *self, const char *name, weft_topic_t **out)
{
    weft_err_t err = weft_producer_part_topic(self->part, name, out);
    if (err) return s_say(self, err, weft_producer_part_error_text(self->part));
    return WEFT_OK;
}

weft_err_t weft_producer_partition_count(weft_producer_t *self, weft_topic_t *topic, int timeout_ms, int32_t *count)
{
    int64_t deadline_us = s_deadline_us(self, timeout_ms);
    for (;;) {
        int32_t found = weft_producer_part_partition_count(self->part, topic);
        if (found > 0) {
            *count = found;
            return WEFT_OK;
        }
        if (found < 0) {
            snprintf(self->text, sizeof self->text, "topic '%s' does not exist; create it first",
                     weft_topic_name(topic));
            return WEFT_ERR_UNKNOWN_TOPIC;
        }
        int64_t left_us = s_left_us(self, deadline_us);
        if (!left_us)
            return s_say(self, WEFT_ERR_LOCAL_TIMED_OUT,
                         "no node told of the topic in time; check bootstrap and the cluster");
        if (left_us < 0 || left_us > 100000) left_us = 100000; // that a topic is missing is a matter of time too
        weft_err_t err = s_run(self, left_us);
        if (err) return s_say(self, err, weft_err_sentence(err));
    }
}

// ---- send

static weft_err_t s_send(weft_producer_t *self, weft_topic_t *topic, int32_t partition, weft_slice_t key,
                         weft_slice_t value, const struct weft_send_extra *extra, int64_t now_ms)
{
    weft_delivery_t *delivery = extra && extra->delivery ? weft_delivery_new(self) : NULL;
    int64_t timestamp_ms = extra && extra->timestamp_ms ? extra->timestamp_ms : now_ms;
    weft_err_t err = weft_producer_part_send(self->part, topic, partition, key, value, timestamp_ms, extra, delivery);
    if (!delivery) return err;
    if (err)
        free(delivery);
    else
        *extra->delivery = delivery;
    return err;
}

// A turn that does not wait, from inside send.
static void s_turn(weft_producer_t *self)
{
    weft_err_t woken = s_run(self, 0);
    if (woken) weft_producer_wake(self); // it was meant for a call that waits
}

// The time of a record. A program may note the time, send, and ask for what came since: so the first sends of a tick read
// the real clock, and then each 64th. Who sends more than 4,000 a second may be told a time that is behind by those.
static int64_t s_time_ms(weft_producer_t *self)
{
    if (self->sends_of_tick < S_EXACT_SENDS || self->sends_of_tick % S_EXACT_EVERY == 0)
        self->time_ms = weft_driver_wall_ms(self->driver);
    self->sends_of_tick++;
    return self->time_ms;
}

weft_err_t weft_producer_send(weft_producer_t *self, weft_topic_t *topic, int32_t partition, weft_slice_t key,
                              weft_slice_t value, const struct weft_send_extra *extra)
{
    if (__builtin_expect(self->closed, 0))
        return s_say(self, WEFT_ERR_LOCAL_CLOSED, weft_err_sentence(WEFT_ERR_LOCAL_CLOSED));
    int64_t tick_ms = weft_driver_coarse_ms(self->driver);
    if (__builtin_expect(tick_ms != self->tick_ms, 0)) {
        self->sends_of_tick = 0;
        if (!self->inside) {
            self->tick_ms = tick_ms;
            s_turn(self); // before the record is taken: the part's clock stood still since its last turn
        }
    }
    weft_err_t err = s_send(self, topic, partition, key, value, extra, s_time_ms(self));
    if (__builtin_expect(err != WEFT_OK, 0)) s_say(self, err, weft_producer_part_error_text(self->part));
    if (__builtin_expect(weft_producer_part_wants_turn(self->part) || err, 0) && !self->inside) s_turn(self);
    return err;
}

weft_err_t weft_producer_send_wait(weft_producer_t *self, weft_topic_t *topic, int32_t partition, weft_slice_t key,
                                   weft_slice_t value, const struct weft_send_extra *extra, int timeout_ms)
{
    weft_err_t err = weft_producer_send(self, topic, partition, key, value, extra);
    if (err != WEFT_ERR_LOCAL_QUEUE_FULL || self->inside) return err;
    for (int64_t deadline_us = s_deadline_us(self, timeout_ms); err == WEFT_ERR_LOCAL_QUEUE_FULL;) {
        int64_t left_us = s_left_us(self, deadline_us);
        if (!left_us) return err;
        weft_err_t woken = s_run(self, left_us);
        if (woken) return s_say(self, woken, weft_err_sentence(woken));
        err = weft_producer_send(self, topic, partition, key, value, extra);
    }
    return err;
}

weft_err_t weft_producer_send_batch(weft_producer_t *self, weft_topic_t *topic, int32_t partition, weft_slice_t batch,
                                    const struct weft_batch_identity *as, void *opaque)
{
    if (self->closed) return s_say(self, WEFT_ERR_LOCAL_CLOSED, weft_err_sentence(WEFT_ERR_LOCAL_CLOSED));
    weft_err_t err = weft_producer_part_send_batch(self->part, topic, partition, batch, as, opaque);
    if (err) s_say(self, err, weft_producer_part_error_text(self->part));
    if (!self->inside) s_turn(self);
    return err;
}

// ---- waiting

size_t weft_producer_poll(weft_producer_t *self, int timeout_ms)
{
    uint64_t before = weft_producer_part_reported_batches(self->part);
    int64_t deadline_us = s_deadline_us(self, timeout_ms);
    for (;;) {
        weft_err_t woken = s_run(self, s_left_us(self, deadline_us));
        size_t reported = (size_t) (weft_producer_part_reported_batches(self->part) - before);
        if (reported || woken || !s_left_us(self, deadline_us)) return reported;
    }
}

static weft_err_t s_flush(weft_producer_t *self, int timeout_ms)
{
    int64_t deadline_us = s_deadline_us(self, timeout_ms);
    while (weft_producer_part_waiting_count(self->part)) {
        weft_producer_part_flush(self->part); // again: records may have waited for their topic, or come from a report
        int64_t left_us = s_left_us(self, deadline_us);
        weft_err_t woken = s_run(self, left_us);
        if (!weft_producer_part_waiting_count(self->part)) break;
        if (woken) return s_say(self, woken, weft_err_sentence(woken));
        if (!left_us) {
            snprintf(self->text, sizeof self->text, "%zu records still wait for their answer",
                     weft_producer_part_waiting_count(self->part));
            return WEFT_ERR_LOCAL_TIMED_OUT;
        }
    }
    while (weft_producer_part_leaving_bytes(self->part)) {
        int64_t left_us = s_left_us(self, deadline_us);
        weft_err_t woken = s_run(self, left_us < 0 || left_us > LEAVING_POLL_US ? LEAVING_POLL_US : left_us);
        if (woken || !left_us)
            return s_say(self, woken ? woken : WEFT_ERR_LOCAL_TIMED_OUT,
                         "records sent with acks none have not all left");
    }
    return weft_producer_part_take_first_error(self->part, self->text, sizeof self->text);
}

weft_err_t weft_producer_flush(weft_producer_t *self, int timeout_ms)
{
    weft_assert(!self->inside);
    return s_flush(self, timeout_ms);
}

weft_err_t weft_producer_close(weft_producer_t *self, int timeout_ms)
{
    weft_assert(!self->inside);
    if (self->closed) return WEFT_OK;
    self->closed = true;
    weft_err_t err = s_flush(self, timeout_ms);
    if (!weft_producer_part_waiting_count(self->part)) return err;
    self->inside = true;
    weft_producer_part_give_up(self->part, WEFT_ERR_LOCAL_CLOSED);
    self->inside = false;
    return err;
}

size_t weft_producer_waiting_count(const weft_producer_t *self)
{
    return weft_producer_part_waiting_count(self->part);
}
size_t weft_producer_waiting_bytes(const weft_producer_t *self)
{
    return weft_producer_part_waiting_bytes(self->part);
}
int weft_producer_fd(const weft_producer_t *self)
{
    return self->driver->ops->fd(self->driver);
}
void weft_producer_wake(weft_producer_t *self)
{
    self->driver->ops->wake(self->driver);
}
const char *weft_producer_error_text(const weft_producer_t *self)
{
    return self->text;
}

bool weft_producer_counter(const weft_producer_t *self, size_t index, const char **name, uint64_t *value)
{
    const weft_counters_t *counters = weft_producer_part_counters(self->part);
    if (index >= counters->count) return false;
    *name = counters->infos[index].name;
    *value = weft_counter_get(counters, index);
    return true;
}

// ---- futures

bool weft_delivery_is_done(const weft_delivery_t *self)
{
    return self->done;
}

weft_err_t weft_delivery_wait(weft_delivery_t *self, int timeout_ms)
{
    for (int64_t deadline_us = s_deadline_us(self->producer, timeout_ms); !self->done;) {
        int64_t left_us = s_left_us(self->producer, deadline_us);
        weft_err_t woken = s_run(self->producer, left_us);
        if (self->done) break;
        if (woken) return woken;
        if (!left_us) return WEFT_ERR_LOCAL_TIMED_OUT;
    }
    return self->error;
}

weft_err_t weft_delivery_error(const weft_delivery_t *self)
{
    return self->error;
}
enum weft_err_outcome weft_delivery_outcome(const weft_delivery_t *self)
{
    return self->outcome;
}
int32_t weft_delivery_partition(const weft_delivery_t *self)
{
    return self->partition;
}
int64_t weft_delivery_offset(const weft_delivery_t *self)
{
    return self->offset;
}

void weft_delivery_destroy(weft_delivery_t **self_p)
{
    if (*self_p) weft_delivery_drop(*self_p);
    *self_p = NULL;
}
