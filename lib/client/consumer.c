// SPDX-License-Identifier: MPL-2.0
// The blocking face of the consumer part. While a program walks through a poll, the part gets a turn at every frame
// that was read to its end: so the next fetches are asked for, and answers taken in, while it works.
// Of a group: the member part runs on its own thread (consumer_member.h) from the first subscription on, and wakes this
// one's driver when it has put something on the desk; only a wake by the program interrupts.
#include <weft/consumer.h>

#include "../base/assert.h"
#include "consumer_member.h"
#include "consumer_part.h"
#include "driver.h"
#include "member_part.h"
#include "settings.h"

#include <weft_gen/config.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define DESTROY_WAITS_MS 2000

struct weft_records {
    weft_consumer_t *consumer;
};

struct weft_consumer {
    weft_consumer_part_t *part; // belongs to the driver
    struct weft_driver *driver;
    weft_options_t *options;
    struct weft_records records;
    weft_desk_t *desk;              // NULL: no group
    weft_consumer_member_t *member; // NULL: not subscribed in a group
    bool exclusive;
    bool closed;
    atomic_bool woken;     // by the program, and not told yet
    uint64_t event_serial; // of the last event that made a poll return: one that nobody takes does so once
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
};

static int64_t s_now_us(const weft_consumer_t *self)
{
    return weft_driver_now_us(self->driver);
}

static void s_wake(void *context)
{
    weft_consumer_t *self = context;
    self->driver->ops->wake(self->driver);
}

static void s_meet(weft_consumer_t *self)
{
    self->exclusive = weft_options_bool(self->options, "exclusive");
    self->desk = weft_desk_new();
    weft_desk_on_change(self->desk, WEFT_DESK_CONSUMER, s_wake, self);
    weft_consumer_part_meet(self->part, self->desk);
}

// Known before anything is sent, so that a wrong name is told where it is written.
static weft_err_t s_check_group(const weft_consumer_t *self, struct weft_error *error)
{
    const char *group = weft_options_text(self->options, "group");
    return *group ? weft_member_group_check(group, error) : WEFT_OK;
}

weft_err_t weft_consumer_new(const char *const *settings, weft_consumer_t **out, struct weft_error *error)
{
    struct weft_error ignored;
    if (!error) error = &ignored;
    weft_consumer_t *self = weft_calloc(1, sizeof *self);
    weft_err_t err = weft_settings_parse(settings, weft_options_consumer, weft_options_consumer_count, "consumer",
                                         &self->options, error);
    if (err) goto fail_new;
    err = s_check_group(self, error);
    if (err) goto fail_options;
    err = weft_consumer_part_new(self->options, &self->part, error);
    if (err) goto fail_options;
    const struct weft_driver_how how = {.bootstrap = weft_options_text(self->options, "bootstrap"),
                                        .client = weft_options_text(self->options, "client")};
    err = weft_driver_new(weft_consumer_part_base(self->part), &how, &self->driver, error);
    if (err) goto fail_options; // the driver destroyed the part
    if (*weft_options_text(self->options, "group")) s_meet(self);
    self->records.consumer = self;
    *out = self;
    return WEFT_OK;

fail_options:
    weft_options_destroy(&self->options);
fail_new:
    free(self);
    return err;
}

void weft_consumer_destroy(weft_consumer_t **self_p)
{
    weft_consumer_t *self = *self_p;
    if (!self) return;
    if (self->desk && !self->closed)
        (void) !weft_consumer_close(self, DESTROY_WAITS_MS); // its callback may use *self_p
    *self_p = NULL;
    if (self->desk) weft_desk_on_change(self->desk, WEFT_DESK_CONSUMER, NULL, NULL);
    weft_consumer_member_stop(&self->member);
    self->driver->ops->destroy(&self->driver);
    weft_desk_drop(&self->desk);
    weft_options_destroy(&self->options);
    free(self);
}

int64_t weft_consumer_option_int(const weft_consumer_t *self, const char *name)
{
    return weft_options_int(self->options, name);
}

const char *weft_consumer_option_text(const weft_consumer_t *self, const char *name)
{
    return weft_options_text(self->options, name);
}

static weft_err_t s_said(weft_consumer_t *self, weft_err_t error)
{
    if (error) snprintf(self->text, sizeof self->text, "%s", weft_consumer_part_error_text(self->part));
    return error;
}

weft_err_t weft_consumer_assign(weft_consumer_t *self, const struct weft_assignment *list, size_t count)
{
    return s_said(self, weft_consumer_part_assign(self->part, list, count));
}

weft_err_t weft_consumer_subscribe(weft_consumer_t *self, const char *const *patterns, size_t count,
                                   struct weft_position at)
{
    weft_err_t err = s_said(self, weft_consumer_part_subscribe(self->part, patterns, count, at));
    if (err || !self->desk || self->member) return err;
    struct weft_error error;
    err = weft_consumer_member_start(self->options, self->desk, &self->member, &error);
    if (err) snprintf(self->text, sizeof self->text, "%s", error.text);
    return err;
}

weft_err_t weft_consumer_seek(weft_consumer_t *self, const char *topic, int32_t partition, struct weft_position at)
{
    return s_said(self, weft_consumer_part_seek(self->part, topic, partition, at));
}

weft_err_t weft_consumer_seek_behind(weft_consumer_t *self, const char *topic, int32_t partition, int64_t offset,
                                     int32_t leader_epoch)
{
    return s_said(self, weft_consumer_part_seek_behind(self->part, topic, partition, offset, leader_epoch));
}

weft_err_t weft_consumer_pause(weft_consumer_t *self, const char *topic, int32_t partition)
{
    return s_said(self, weft_consumer_part_pause(self->part, topic, partition, true));
}

weft_err_t weft_consumer_resume(weft_consumer_t *self, const char *topic, int32_t partition)
{
    return s_said(self, weft_consumer_part_pause(self->part, topic, partition, false));
}

// ---- reading

static weft_err_t s_fatal(weft_consumer_t *self)
{
    const struct weft_error *fatal = weft_consumer_part_fatal(self->part);
    if (fatal->code) snprintf(self->text, sizeof self->text, "%s", fatal->text);
    return fatal->code;
}

static weft_err_t s_interrupted(weft_consumer_t *self)
{
    snprintf(self->text, sizeof self->text, "%s", weft_err_sentence(WEFT_ERR_INTERRUPTED));
    return WEFT_ERR_INTERRUPTED;
}

// One run of the driver; true: the program woke it. A wake by the member part is none of its business.
static bool s_run(weft_consumer_t *self, int64_t timeout_us)
{
    (void) !self->driver->ops->run(self->driver, timeout_us);
    return atomic_exchange(&self->woken, false);
}

static weft_err_t s_wait(weft_consumer_t *self, int timeout_ms)
{
    int64_t deadline_us = timeout_ms < 0 ? -1 : s_now_us(self) + (int64_t) timeout_ms * 1000;
    int64_t left_us = 0; // first only what is there
    for (;;) {
        bool woken = s_run(self, left_us);
        weft_err_t fatal = s_fatal(self);
        if (fatal) return fatal;
        bool there = weft_consumer_part_begin_poll(self->part);
        bool happened = weft_consumer_part_event_serial(self->part) != self->event_serial;
        self->event_serial = weft_consumer_part_event_serial(self->part);
        if (there || happened) {
            if (woken) self->woken = true; // told by the next poll
            return WEFT_OK;
        }
        if (woken) return s_interrupted(self);
        left_us = deadline_us < 0 ? -1 : deadline_us - s_now_us(self);
        if (deadline_us >= 0 && left_us <= 0) return WEFT_OK;
    }
}

static weft_err_t s_may_block(weft_consumer_t *self)
{
    if (!weft_consumer_part_in_callback(self->part)) return WEFT_OK;
    snprintf(self->text, sizeof self->text, "not inside the callback of weft_consumer_on_rebalance");
    return WEFT_ERR_INVALID_ARGUMENT;
}

weft_err_t weft_consumer_poll(weft_consumer_t *self, int timeout_ms, weft_records_t **records)
{
    weft_err_t err = s_may_block(self);
    if (err) return err;
    if (self->closed) {
        snprintf(self->text, sizeof self->text, "%s", weft_err_sentence(WEFT_ERR_LOCAL_CLOSED));
        return WEFT_ERR_LOCAL_CLOSED;
    }
    weft_consumer_part_waits(self->part, true);
    (void) weft_consumer_part_begin_poll(self->part); // makes room first: the turn can ask for more
    err = s_wait(self, timeout_ms);
    weft_consumer_part_waits(self->part, false);
    if (!err) *records = &self->records;
    return err;
}

// Rule 22: the clock is asked for every record, since the process may have been stopped since the last one; and what was
// asked back meanwhile goes no further.
static bool s_may_deliver(weft_consumer_t *self)
{
    if (!self->member) return true;
    if (weft_consumer_part_has_news(self->part)) (void) !self->driver->ops->run(self->driver, 0);
    return !weft_consumer_part_lease_over(self->part, s_now_us(self));
}

bool weft_records_next(weft_records_t *self, struct weft_record_view *record)
{
    weft_consumer_t *consumer = self->consumer;
    bool crossed = false;
    if (__builtin_expect(consumer->exclusive, 0) && !s_may_deliver(consumer)) return false;
    if (__builtin_expect(consumer->closed, 0)) return false;
    bool found = weft_consumer_part_next(consumer->part, record, &crossed);
    if (__builtin_expect(crossed, 0)) (void) !consumer->driver->ops->run(consumer->driver, 0);
    return found;
}

bool weft_records_next_batch(weft_records_t *self, struct weft_batch_view *batch)
{
    weft_consumer_t *consumer = self->consumer;
    bool crossed = false;
    if (consumer->closed || (consumer->exclusive && !s_may_deliver(consumer))) return false;
    bool found = weft_consumer_part_next_batch(consumer->part, batch, &crossed);
    if (crossed) (void) !consumer->driver->ops->run(consumer->driver, 0);
    return found;
}

bool weft_consumer_event(weft_consumer_t *self, struct weft_consumer_event *event)
{
    return weft_consumer_part_event(self->part, event);
}

bool weft_consumer_at_end(const weft_consumer_t *self)
{
    return weft_consumer_part_at_end(self->part);
}

bool weft_consumer_position(const weft_consumer_t *self, size_t index, struct weft_partition_position *out)
{
    return weft_consumer_part_position(self->part, index, out);
}

// ---- offsets of the group

// Runs until `over` says so; `over` fills in the result.
typedef bool s_over_fn(weft_consumer_t *self, void *context, weft_err_t *error);

static weft_err_t s_until(weft_consumer_t *self, int timeout_ms, s_over_fn *over, void *context)
{
    int64_t deadline_us = timeout_ms < 0 ? -1 : s_now_us(self) + (int64_t) timeout_ms * 1000;
    int64_t left_us = 0;
    weft_err_t err = WEFT_OK;
    for (;;) {
        bool woken = s_run(self, left_us);
        if (over(self, context, &err)) {
            if (woken) self->woken = true;
            return err ? s_said(self, err) : WEFT_OK;
        }
        if (woken && !self->closed) return s_interrupted(self); // close is what a wake mostly leads to
        left_us = deadline_us < 0 ? -1 : deadline_us - s_now_us(self);
        if (deadline_us < 0 || left_us > 0) continue;
        snprintf(self->text, sizeof self->text, "%s", weft_err_sentence(WEFT_ERR_LOCAL_TIMED_OUT));
        return WEFT_ERR_LOCAL_TIMED_OUT;
    }
}

static bool s_committed(weft_consumer_t *self, void *ticket, weft_err_t *error)
{
    return weft_consumer_part_committed(self->part, *(const uint64_t *) ticket, error);
}

weft_err_t weft_consumer_commit(weft_consumer_t *self, int timeout_ms)
{
    uint64_t ticket;
    weft_err_t err = s_said(self, weft_consumer_part_commit(self->part, &ticket));
    return err ? err : s_until(self, timeout_ms, s_committed, &ticket);
}

weft_err_t weft_consumer_commit_async(weft_consumer_t *self)
{
    uint64_t ticket;
    return s_said(self, weft_consumer_part_commit(self->part, &ticket));
}

weft_err_t weft_consumer_commit_offsets(weft_consumer_t *self, const struct weft_group_offset *list, size_t count,
                                        int timeout_ms)
{
    uint64_t ticket;
    weft_err_t err = s_said(self, weft_consumer_part_commit_offsets(self->part, list, count, &ticket));
    return err || !timeout_ms ? err : s_until(self, timeout_ms, s_committed, &ticket);
}

static bool s_looked(weft_consumer_t *self, void *list, weft_err_t *error)
{
    return weft_consumer_part_looked(self->part, list, error);
}

weft_err_t weft_consumer_committed(weft_consumer_t *self, struct weft_committed *list, size_t count, int timeout_ms)
{
    int64_t timeout_us = timeout_ms < 0 ? INT64_MAX / 4 : (int64_t) timeout_ms * 1000;
    weft_err_t err = s_said(self, weft_consumer_part_look(self->part, list, count, timeout_us));
    return err ? err : s_until(self, timeout_ms, s_looked, list);
}

uint64_t weft_consumer_token(const weft_consumer_t *self, const char *topic, int32_t partition)
{
    return weft_consumer_part_token(self->part, topic, partition);
}

// ---- close

static bool s_closed(weft_consumer_t *self, void *context, weft_err_t *error)
{
    return weft_consumer_part_close_step(self->part, error);
}

weft_err_t weft_consumer_close(weft_consumer_t *self, int timeout_ms)
{
    weft_err_t err = s_may_block(self);
    if (err || self->closed) return err;
    self->closed = true;
    weft_consumer_part_close(self->part);
    err = s_until(self, timeout_ms, s_closed, NULL);
    weft_consumer_member_stop(&self->member);
    return err;
}

void weft_consumer_on_rebalance(weft_consumer_t *self, weft_rebalance_fn *fn, void *context)
{
    weft_consumer_part_on_rebalance(self->part, fn, context);
}

// ---- beside

int weft_consumer_fd(const weft_consumer_t *self)
{
    return self->driver->ops->fd(self->driver);
}
void weft_consumer_wake(weft_consumer_t *self)
{
    self->woken = true;
    self->driver->ops->wake(self->driver);
}
const char *weft_consumer_error_text(const weft_consumer_t *self)
{
    return self->text;
}

bool weft_consumer_counter(const weft_consumer_t *self, size_t index, const char **name, uint64_t *value)
{
    const weft_counters_t *counters = weft_consumer_part_counters(self->part);
    if (index >= counters->count) return false;
    *name = counters->infos[index].name;
    *value = weft_counter_get(counters, index);
    return true;
}
